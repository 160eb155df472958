//! The names that an unknown one may have been meant to be.

use super::*;
use crate::source::advice::similar;

impl<'s> Program<'_, 's> {
    /// A name that a file declares or imports.
    pub(in crate::source) fn similar_item(
        &self,
        source: u32,
        text: &str,
        is_meant: impl Fn(Item) -> bool,
    ) -> Option<&'s str> {
        let own = self.items.iter().filter(|&&(file, _, item)| file == source && is_meant(item));
        similar(text, own.map(|&(_, name, _)| self.name(name)))
    }

    pub(in crate::source) fn similar_variant(&self, number: u32, text: &str) -> Option<&'s str> {
        similar(text, self.enum_variants(number).iter().map(|variant| self.name(variant.name)))
    }

    pub(in crate::source) fn similar_field(&self, head: Head, text: &str) -> Option<&'s str> {
        let Head::Struct(number) = head else { return None };
        let fields = range(&self.fields, at(&self.structs, number)?.fields);
        similar(text, fields.iter().map(|field| self.name(field.name)))
    }

    pub(in crate::source) fn similar_method(&self, head: Head, text: &str) -> Option<&'s str> {
        let own = self.methods.iter().filter(|method| method.0 == head);
        similar(text, own.map(|method| self.name(method.1)))
    }
}

//! What the notes of modules say about uses of a template: the rows of `type_inferences`.
//!
//! A row concerns the template that its expression names: `max`, or a call such as `max(a, b)` or `max<T>(a, b)`. The
//! context says what has the type:
//!
//! | context | what has the type |
//! |---|---|
//! | `argument N`, `call_site N` | argument N of the call, from 0; without a number argument 0 |
//! | `return`, `assignment`, `var_init` | the result |
//! | `constraint N` | type parameter N |
//!
//! Rows with another context are uses without a type.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use hashbrown::{DefaultHashBuilder, HashMap};

use super::error::MetadataError;
use crate::alloc_util::{AllocError, try_copy_bytes, try_copy_str, try_push, try_to_string};
use crate::format::note::{Note, TypeInference};
use crate::types::{Hint, HintSource, Type};

/// A use of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageSite {
    /// The source file.
    pub file: String,
    /// The place in it, `file:line:column`.
    pub location: String,
    /// The type at this place as the note spells it; empty if unknown.
    pub context_type: String,
}

/// A row of the note.
pub(super) struct TemplateUse {
    pub(super) hint: Option<Hint>,
    pub(super) site: UsageSite,
}

/// The uses in one module, by the name of the template.
#[derive(Default)]
pub(super) struct TemplateUses(HashMap<Box<[u8]>, Vec<TemplateUse>, DefaultHashBuilder>);

impl TemplateUses {
    pub(super) fn read(note: &Note<'_>) -> Result<Self, MetadataError> {
        let mut uses = Self::default();
        for row in note.entries::<TypeInference>() {
            let row = row?;
            let expression = try_to_string(row.expr())?;
            let Some(name) = template_of(&expression) else { continue };
            let context_type = try_to_string(row.inferred_type())?;
            let source = source_of(&try_to_string(row.context())?);
            let hint = match (source, Type::parse(&context_type)) {
                (Some(source), Ok(ty)) => Some(Hint { source, ty }),
                _ => None,
            };
            let (file, location) =
                (try_to_string(row.from_file())?, try_to_string(row.from_loc())?);
            let site = UsageSite { file, location, context_type };
            uses.add(name, TemplateUse { hint, site })?;
        }
        Ok(uses)
    }

    fn add(&mut self, name: &str, template_use: TemplateUse) -> Result<(), AllocError> {
        self.0.try_reserve(1).map_err(|_| AllocError)?;
        let uses = self.0.entry(try_copy_bytes(name.as_bytes())?).or_default();
        try_push(uses, template_use)
    }

    /// The uses of a template, in the order of the note.
    pub(super) fn of(&self, template: &[u8]) -> &[TemplateUse] {
        self.0.get(template).map_or(&[], Vec::as_slice)
    }
}

impl UsageSite {
    pub(super) fn try_clone(&self) -> Result<Self, AllocError> {
        Ok(Self {
            file: try_copy_str(&self.file)?,
            location: try_copy_str(&self.location)?,
            context_type: try_copy_str(&self.context_type)?,
        })
    }
}

/// The template that an expression calls or names.
fn template_of(expression: &str) -> Option<&str> {
    let expression = expression.trim();
    let end = expression.find(['(', '<']).unwrap_or(expression.len());
    let name = expression.get(..end)?.trim_end();
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.');
    (!name.is_empty() && name.chars().all(is_name)).then_some(name)
}

fn source_of(context: &str) -> Option<HintSource> {
    let (word, number) = context.trim().split_once([' ', ':']).unwrap_or((context.trim(), "0"));
    let number = number.trim().parse().ok()?;
    match word {
        "argument" | "arg" | "call_site" => Some(HintSource::CallSite(number)),
        "return" | "result" => Some(HintSource::Return),
        "assignment" | "var_init" => Some(HintSource::Assignment),
        "constraint" => Some(HintSource::Constraint(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_name_a_template_and_a_source() {
        for (text, name) in [
            ("max", Some("max")),
            (" max(1, 2) ", Some("max")),
            ("std.max<i64>(a)", Some("std.max")),
            ("1 + max(2)", None),
            ("(max)", None),
            ("", None),
        ] {
            assert_eq!(template_of(text), name, "{text}");
        }
        for (text, source) in [
            ("argument 2", Some(HintSource::CallSite(2))),
            ("call_site", Some(HintSource::CallSite(0))),
            ("call_site:1", Some(HintSource::CallSite(1))),
            ("var_init", Some(HintSource::Assignment)),
            ("return", Some(HintSource::Return)),
            ("constraint 1", Some(HintSource::Constraint(1))),
            ("argument x", None),
            ("condition", None),
        ] {
            assert_eq!(source_of(text), source, "{text}");
        }
    }
}

//! The structs and enums that a module declares in records of the Simple compiler.

use super::{Module, TemplateRef};
use crate::format::template::TemplateKind;
use crate::format::template_record::TemplateRecord;

/// A struct or enum in a record of the Simple compiler.
pub(in crate::templates) struct Declaration<'m> {
    pub(in crate::templates) kind: TemplateKind,
    pub(in crate::templates) bytes: &'m [u8],
    pub(in crate::templates) record: TemplateRecord<'m>,
}

fn is_declaration(kind: TemplateKind) -> bool {
    matches!(kind, TemplateKind::Struct | TemplateKind::Enum)
}

impl Module {
    /// The declaration of the struct or enum `name`.
    pub(in crate::templates) fn declaration(&self, name: &str) -> Option<Declaration<'_>> {
        let TemplateRef { body, kind, .. } = self.template(name.as_bytes())?;
        let kind = kind.filter(|kind| is_declaration(*kind))?;
        let record = TemplateRecord::parse(kind, body)?;
        Some(Declaration { kind, bytes: body, record })
    }

    /// Whether it declares structs or enums.
    pub(in crate::templates) fn has_declarations(&self) -> bool {
        self.templates.values().any(|entry| entry.kind.is_some_and(is_declaration))
    }

    /// Whether the note lists an instance, compiled or not.
    pub(in crate::templates) fn lists(&self, symbol: &[u8]) -> bool {
        let rows = self.rows.iter().chain(&self.lost_rows);
        rows.into_iter().any(|row| self.text(row.symbol).as_bytes() == symbol)
    }
}

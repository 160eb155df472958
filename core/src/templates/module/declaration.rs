//! The structs and enums that a module declares in records of the Simple compiler.

use alloc::vec::Vec;

use spin::Once;

use super::{Module, Span, TemplateRef};
use crate::alloc_util::{AllocError, try_collect};
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

/// Whether a module has declarations, and the symbols that its note lists.
#[derive(Default)]
pub(super) struct Declared {
    is_any: bool,
    /// In order, after the first search; `None` if there was no memory for them.
    symbols: Once<Option<Vec<Span>>>,
}

impl Declared {
    /// Adds a template of this kind.
    pub(super) fn add(&mut self, kind: Option<TemplateKind>) {
        self.is_any |= kind.is_some_and(is_declaration);
    }
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
        self.declared.is_any
    }

    /// Whether the note lists an instance, compiled or not.
    pub(in crate::templates) fn lists(&self, symbol: &[u8]) -> bool {
        let text = |span: &Span| self.text(*span).as_bytes();
        match self.declared.symbols.call_once(|| self.sorted_symbols().ok()) {
            Some(symbols) => symbols.binary_search_by(|span| text(span).cmp(symbol)).is_ok(),
            None => self.row_symbols().any(|span| text(&span) == symbol),
        }
    }

    fn row_symbols(&self) -> impl Iterator<Item = Span> {
        self.rows.iter().chain(&self.lost_rows).map(|row| row.symbol)
    }

    fn sorted_symbols(&self) -> Result<Vec<Span>, AllocError> {
        let mut symbols = try_collect(self.row_symbols())?;
        symbols.sort_unstable_by(|one, other| self.text(*one).cmp(self.text(*other)));
        Ok(symbols)
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::String;

    use super::super::Storage;
    use super::*;
    use crate::format::write::{Module as NewModule, NewSection, Payload};
    use crate::format::{Header, Layout, SectionFlags, SectionKind};

    #[test]
    fn listed_symbols_are_those_of_all_rows() {
        let mut note = String::from("possible |template, type_args, mangled_name|\n");
        for number in (0..300).rev() {
            note += &format!("    \"f\", \"T{number}\", \"f$T{}\"\n", number / 2);
        }
        note += "instantiations |template, type_args, mangled_name, status, to_obj|\n    \
                 \"f\", \"U\", \"f$U\", \"jit_compiled\", \"jit_memory\"\n    \
                 \"f\", \"V\", \"f$V\", \"compiled\", \"a.o\"\n";
        let payload = Payload::Bytes(note.as_bytes());
        let (kind, name, flags) = (SectionKind::Note, &b"note.sdn"[..], SectionFlags(1));
        let section = NewSection { kind, name, flags, alignment: 8, virtual_size: None, payload };
        let (layout, header) = (Layout::Packed, Header::default());
        let file =
            NewModule { layout, header, stub: &[], sections: &[section], symbols: &[] }.to_vec();
        let module = Module::parse(b"m", Storage::Memory, false, &file.unwrap()).unwrap();
        let every = (0..400).map(|number| format!("f$T{number}"));
        let every = every.chain(["", "f", "f$U", "f$V", "g"].map(String::from));
        for symbol in every {
            let symbol = symbol.as_bytes();
            let is_listed = module.row_symbols().any(|row| module.text(row).as_bytes() == symbol);
            assert_eq!(module.lists(symbol), is_listed, "{}", symbol.escape_ascii());
        }
        assert!(module.lists(b"f$T149") && module.lists(b"f$U") && !module.lists(b"f$V"));
        assert!(!module.has_declarations());
    }
}

//! Conversion of a module to another layout, and removal of its stub.
//!
//! The packed and the native layout can express nearly the same. Parts that the target layout cannot express are
//! dropped and listed in [`Converted::dropped`], which is complete. A module is verified before conversion, so that no
//! damage is copied. The symbol index is rebuilt, since symbols may be renumbered.

use alloc::vec::Vec;

use thiserror::Error;

use crate::format::error::{FormatError, Result};
use crate::format::ext::{hash_index, prelink};
use crate::format::model::{Binding, Flags, Reloc, RelocKind, SectionKind, SymbolKind};
use crate::format::read::{Section, Smf, Symbol};
use crate::format::wire::{Layout, PACKED_HEADER, slice};
use crate::format::write::error::WriteError;
use crate::format::write::module::{
    Module, NewSection, NewSymbol, Payload, Place, default_section, section_number,
};
use crate::printable::Printable;

/// A converted module.
#[derive(Debug)]
pub struct Converted<'d> {
    /// The new file.
    pub bytes: Vec<u8>,
    /// The dropped parts, in the order of the old file.
    pub dropped: Vec<Dropped<'d>>,
}

/// A part that the new layout cannot express.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Dropped<'d> {
    /// A section whose kind has no number in the layout, or the relocations of such a section.
    #[error("section {} ({kind})", Printable(name))]
    Section {
        /// The name of the section.
        name: &'d [u8],
        /// The kind of the section.
        kind: SectionKind,
    },
    /// A symbol whose kind has no number in the layout, or whose section cannot be stated; a symbol beside bytecode, whose
    /// functions need none.
    #[error("symbol {} ({kind})", Printable(name))]
    Symbol {
        /// The name of the symbol.
        name: &'d [u8],
        /// The kind of the symbol.
        kind: SymbolKind,
    },
    /// A property of a symbol that is otherwise preserved.
    #[error("{what} of symbol {}", Printable(name))]
    Detail {
        /// The name of the symbol.
        name: &'d [u8],
        /// The property.
        what: &'static str,
    },
    /// A relocation whose kind has no number in the layout, or whose symbol or section was dropped.
    #[error("relocation {index} of {} ({kind} against {})", Printable(table), Printable(symbol))]
    Reloc {
        /// The name of the section that held it.
        table: &'d [u8],
        /// The index in that section.
        index: u32,
        /// The kind of the relocation.
        kind: RelocKind,
        /// The name of its symbol.
        symbol: &'d [u8],
    },
    /// The stub before the module.
    #[error("stub of {bytes} bytes")]
    Stub {
        /// The length of the stub in bytes.
        bytes: u64,
    },
    /// Reserved header bytes that were not zero.
    #[error("reserved bytes of the header")]
    Reserved,
}

/// The reason why a module cannot be converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// The module is invalid.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The new file cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The file is a dynlib: a shared object with a trailer, without sections to convert.
    #[error("a dynlib is an ELF shared object with a trailer and has no sections to convert")]
    Dynlib,
    /// The input is an ELF object. The module that contains it can be converted.
    #[error("an ELF object is not a module; convert the module that contains it")]
    Object,
    /// The module is valid in the placement of its section `.smf.image` only, which the layout cannot state.
    #[error(
        "the module is valid in the placement of its section `.smf.image` only, which this layout cannot state; pack its objects with `--layout native`"
    )]
    Prelinked,
    /// The header precedes the stub, so the stub cannot be removed.
    #[error("the header precedes the stub, so the stub cannot be removed")]
    LeadingHeader,
}

/// Converts `smf` to `layout`, [`Layout::Packed`] or [`Layout::Native`].
///
/// # Errors
/// An invalid module, a dynlib, or a layout that cannot be written.
pub fn convert<'d>(smf: &Smf<'d>, layout: Layout) -> Result<Converted<'d>, ConvertError> {
    check_layout(smf)?;
    smf.verify()?;
    let is_moved = layout == Layout::Native && smf.layout() != layout;
    if is_moved && prelink::is_required(smf) {
        return Err(ConvertError::Prelinked);
    }
    let mut conversion = Conversion {
        smf: *smf,
        layout,
        kept: Vec::new(),
        section_numbers: Vec::new(),
        symbols: Vec::new(),
        symbol_numbers: Vec::new(),
        relocs: Vec::new(),
        dropped: Vec::new(),
    };
    conversion.choose_sections()?;
    conversion.convert_symbols()?;
    conversion.convert_relocs()?;
    conversion.finish()
}

/// Refuses layouts without sections of their own.
fn check_layout(smf: &Smf<'_>) -> Result<(), ConvertError> {
    match smf.layout() {
        Layout::Dynlib => Err(ConvertError::Dynlib),
        Layout::ElfX86_64 | Layout::ElfAarch64 => Err(ConvertError::Object),
        _ => Ok(()),
    }
}

/// The bytes of `smf` without its stub, otherwise unchanged.
///
/// # Errors
/// A dynlib, or a header that precedes the stub.
pub fn without_stub(smf: &Smf<'_>) -> Result<Vec<u8>, ConvertError> {
    check_layout(smf)?;
    if smf.base() > smf.header_offset() {
        return Err(ConvertError::LeadingHeader);
    }
    let file = smf.file();
    let len = file.len() as u64 - smf.base();
    let mut module = slice(file, smf.base(), len).unwrap_or(&[]).to_vec();
    let mut header = smf.header();
    (header.stub_size, header.data_offset) = (0, 0);
    header.flags.0 &= !Flags::HAS_STUB;
    let at = usize::try_from(smf.header_offset() - smf.base()).unwrap_or(usize::MAX);
    if let Some(bytes) = module.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        header.encode(bytes, smf.layout());
    }
    Ok(module)
}

struct Conversion<'d> {
    smf: Smf<'d>,
    layout: Layout,
    /// The sections that the layout can express, with their old numbers.
    kept: Vec<Section<'d>>,
    /// The new number of each old section.
    section_numbers: Vec<Option<u16>>,
    symbols: Vec<NewSymbol<'d>>,
    /// The new number of each old symbol.
    symbol_numbers: Vec<Option<u32>>,
    /// The relocations of each preserved section; empty except for relocation sections.
    relocs: Vec<Vec<Reloc>>,
    dropped: Vec<Dropped<'d>>,
}

impl<'d> Conversion<'d> {
    fn choose_sections(&mut self) -> Result<()> {
        let mut tables = self.smf.reloc_tables();
        for section in self.smf.sections().iter() {
            let Section { name, kind, .. } = section;
            let table = if kind == SectionKind::Reloc { tables.next().transpose()? } else { None };
            let sayable = |s: &Section<'_>| {
                // The native layout has fewer kinds of relocations, so that they cannot be those that the image counts.
                let is_image = s.name == prelink::NAME && self.layout != self.smf.layout();
                !(is_image && self.layout == Layout::Native)
                    && section_number(self.layout, s.kind, s.name).is_some()
            };
            // Relocations of a dropped section have no target.
            let kept = sayable(&section) && table.is_none_or(|table| sayable(&table.target));
            let number = u16::try_from(self.kept.len()).ok();
            if kept && number.is_some() {
                self.section_numbers.push(number);
                self.kept.push(section);
            } else {
                self.section_numbers.push(None);
                self.dropped.push(Dropped::Section { name, kind });
            }
        }
        Ok(())
    }

    fn convert_symbols(&mut self) -> Result<()> {
        // The string table of bytecode, which holds the names of its functions, cannot be rebuilt from symbols.
        let is_bytecode = self.smf.functions()?.is_some();
        for symbol in self.smf.symbols().iter() {
            let symbol = symbol?;
            match self.new_symbol(&symbol).filter(|_| !is_bytecode) {
                Some(new) => {
                    self.note_details(&symbol, &new);
                    self.symbol_numbers.push(u32::try_from(self.symbols.len()).ok());
                    self.symbols.push(new);
                }
                None => {
                    self.symbol_numbers.push(None);
                    self.dropped.push(Dropped::Symbol { name: symbol.name(), kind: symbol.kind });
                }
            }
        }
        Ok(())
    }

    /// Records the properties that a preserved symbol loses: the section of a type, which needs none, and the kind
    /// `section`.
    fn note_details(&mut self, symbol: &Symbol<'d>, new: &NewSymbol<'d>) {
        let name = symbol.name();
        if new.place == Place::Unstated && symbol.section.is_some() && !new.kind.has_address() {
            self.dropped.push(Dropped::Detail { name, what: "the section" });
        }
        if new.kind != symbol.kind {
            self.dropped.push(Dropped::Detail { name, what: "the kind `section`" });
        }
    }

    fn new_symbol(&self, symbol: &Symbol<'d>) -> Option<NewSymbol<'d>> {
        let kind = self.new_kind(symbol)?;
        self.layout.symbol_number(kind)?;
        Some(NewSymbol {
            name: symbol.name(),
            kind,
            binding: symbol.binding,
            place: self.new_place(symbol, kind)?,
            visibility: symbol.visibility,
            flags: symbol.flags,
            value: symbol.value,
            size: symbol.size,
            type_id: symbol.type_id,
            version: symbol.version,
            template_params: symbol.template_params,
            template_offset: symbol.template_offset,
        })
    }

    /// The kind of a symbol in the new layout. The native layout has no section symbols; a local function or datum at
    /// the same offset is equivalent for relocations.
    fn new_kind(&self, symbol: &Symbol<'d>) -> Option<SymbolKind> {
        if self.layout != Layout::Native || symbol.kind != SymbolKind::Section {
            return Some(symbol.kind);
        }
        let code = self.smf.section(symbol.section?).ok()?.kind == SectionKind::Code;
        Some(if code { SymbolKind::Function } else { SymbolKind::Data })
    }

    fn new_place(&self, symbol: &Symbol<'d>, kind: SymbolKind) -> Option<Place> {
        if !symbol.defined {
            let sayable = self.layout == Layout::Packed
                || (symbol.binding != Binding::Local && symbol.value == 0 && symbol.size == 0);
            return sayable.then_some(Place::Import);
        }
        let Some(section) = symbol.section else { return Some(Place::Unstated) };
        let number = *self.section_numbers.get(usize::try_from(section).ok()?)?;
        match self.layout {
            Layout::Packed => number.map(Place::Section),
            _ if !kind.has_address() => Some(Place::Unstated),
            _ => {
                let wanted = default_section(kind)?;
                let home = self.kept.iter().position(|section| section.kind == wanted)?;
                (usize::from(number?) == home).then_some(Place::Unstated)
            }
        }
    }

    fn convert_relocs(&mut self) -> Result<()> {
        self.relocs.resize(self.kept.len(), Vec::new());
        for table in self.smf.reloc_tables() {
            let table = table?;
            let number = |index| self.section_numbers.get(usize::try_from(index).ok()?).copied()?;
            let target = number(table.target.index);
            let home = number(table.section.index);
            for (index, reloc) in (0u32..).zip(table.iter()) {
                let new = self.new_reloc(&reloc).filter(|_| target.is_some());
                match (new, home.and_then(|home| self.relocs.get_mut(usize::from(home)))) {
                    (Some(new), Some(relocs)) => relocs.push(new),
                    _ => self.dropped.push(Dropped::Reloc {
                        table: table.section.name,
                        index,
                        kind: reloc.kind,
                        symbol: self.smf.symbols().get(reloc.symbol)?.name(),
                    }),
                }
            }
        }
        Ok(())
    }

    fn new_reloc(&self, reloc: &Reloc) -> Option<Reloc> {
        self.layout.reloc_number(reloc.kind)?;
        let symbol = *self.symbol_numbers.get(usize::try_from(reloc.symbol).ok()?)?;
        Some(Reloc { symbol: symbol?, ..*reloc })
    }

    fn finish(mut self) -> Result<Converted<'d>, ConvertError> {
        let stub = self.stub();
        self.check_reserved();
        let index = self.new_index();
        let mut sections = Vec::with_capacity(self.kept.len());
        let mut names = !self.symbols.is_empty();
        for (section, relocs) in self.kept.iter().zip(&self.relocs) {
            let payload = match section.kind {
                SectionKind::Reloc => Payload::Relocs(relocs),
                SectionKind::StrTab if core::mem::take(&mut names) => Payload::Strings,
                SectionKind::Note if section.name == hash_index::NAME => {
                    sections.push(hash_index::section(&index));
                    continue;
                }
                _ => Payload::Bytes(self.payload(section)?),
            };
            let generated = matches!(payload, Payload::Relocs(_) | Payload::Strings);
            let memory = section.memory_size();
            let note = section.name == b"note.sdn" && !section.is_compressed();
            sections.push(NewSection {
                kind: section.kind,
                name: section.name,
                flags: section.flags,
                alignment: section.alignment,
                virtual_size: if generated || note { None } else { Some(memory) },
                payload,
            });
        }
        let (header, layout) = (self.smf.header(), self.layout);
        let module = Module { layout, header, stub, sections: &sections, symbols: &self.symbols };
        Ok(Converted { bytes: module.to_vec()?, dropped: self.dropped })
    }

    /// Rebuilds the symbol index with the new numbers; empty if the file has no section for it.
    fn new_index(&mut self) -> Vec<u8> {
        let is_index = |s: &&Section<'_>| s.kind == SectionKind::Note && s.name == hash_index::NAME;
        let Some(&Section { name, kind, .. }) = self.kept.iter().find(is_index) else {
            return Vec::new();
        };
        hash_index::encode(&self.symbols).unwrap_or_else(|| {
            self.dropped.push(Dropped::Section { name, kind });
            hash_index::NO_INDEX.to_vec()
        })
    }

    /// The payload of a section. A note of size 0 gets its actual size; compressed bytes are copied unchanged.
    fn payload(&self, section: &Section<'d>) -> Result<&'d [u8]> {
        if section.name != b"note.sdn" || section.is_compressed() {
            return Ok(section.data);
        }
        Ok(self.smf.note_bytes()?.map_or(section.data, |(note, _)| note))
    }

    /// The stub, if the layout supports one.
    fn stub(&mut self) -> &'d [u8] {
        let bytes = if self.smf.layout() == Layout::Compact { 0 } else { self.smf.base() };
        if bytes != 0 && self.layout == Layout::Native {
            self.dropped.push(Dropped::Stub { bytes });
            return &[];
        }
        slice(self.smf.file(), 0, bytes).unwrap_or(&[])
    }

    /// Records a loss if reserved bytes after the last field of the packed header are not zero.
    fn check_reserved(&mut self) {
        if self.smf.layout() == Layout::Native {
            return;
        }
        let first = self.smf.layout().header_fields().prefetch_files as u64 + 1;
        let len = PACKED_HEADER as u64 - first;
        let reserved = slice(self.smf.file(), self.smf.header_offset() + first, len);
        if reserved.is_some_and(|bytes| bytes.iter().any(|byte| *byte != 0)) {
            self.dropped.push(Dropped::Reserved);
        }
    }
}

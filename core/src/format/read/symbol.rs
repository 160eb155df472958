//! The symbol table.
//!
//! The stored hash of a name is only a hint: one writer computes it incorrectly.

use crate::format::error::{ElfError, ElfPart, FormatError, Result, SymbolError};
use crate::format::model::{Binding, SymbolFlags, SymbolKind};
use crate::format::read::elf;
use crate::format::read::elf::symbol::ElfSymbol;
use crate::format::read::functions::Function;
use crate::format::read::section::Sections;
use crate::format::wire::{
    IMPORT_SECTION, Layout, PACKED_ADDRESSED, SECTION_MARKER, SYMBOL, array, first_name,
    is_first_name, name_at, offset_in, starts_with_name, u8_at, u16_at, u32_at, u64_at, unended,
};

/// The location of a symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SymbolPlace {
    /// Defined in another module.
    Import {
        /// Whether the import may stay unresolved.
        weak: bool,
    },
    /// Defined in a section of the file.
    Section {
        /// The index of the section.
        section: u32,
        /// The offset from the start of the section, in bytes.
        value: u64,
        /// The length of the symbol in bytes.
        size: u64,
    },
    /// The symbol has no address.
    Nowhere,
}

/// A symbol, decoded.
#[derive(Clone, Copy, Debug)]
pub struct Symbol<'d> {
    /// The index in the table.
    pub index: u32,
    /// The kind of entity that the symbol names.
    pub kind: SymbolKind,
    /// The visibility to other modules.
    pub binding: Binding,
    /// The visibility byte, undecoded.
    pub visibility: u8,
    /// The layout phase and markers.
    pub flags: SymbolFlags,
    /// Whether the file defines the symbol; false for an import.
    pub defined: bool,
    /// The section of the symbol; `None` for imports and for symbols without an address.
    pub section: Option<u32>,
    /// The offset from the start of the section, in bytes.
    pub value: u64,
    /// The length in bytes; 0 if the writer did not state it.
    pub size: u64,
    /// A type number, as the writer defines it.
    pub type_id: u32,
    /// The version, as the writer defines it.
    pub version: u32,
    /// The number of type parameters of a template.
    pub template_params: u8,
    /// The offset of the template, as the writer defines it.
    pub template_offset: u64,
    /// The stored hash of the name: a hint, never proof.
    pub name_hash: u32,
    /// The offset of the symbol entry in the file, in bytes.
    pub entry_offset: u64,
    name: &'d [u8],
}

impl<'d> Symbol<'d> {
    /// A function of bytecode, whose code section is `section`.
    pub(crate) fn of_function(function: &Function<'d>, section: u32) -> Self {
        Symbol {
            index: function.index,
            kind: SymbolKind::Function,
            binding: Binding::Global,
            visibility: 1,
            flags: SymbolFlags::default(),
            defined: true,
            section: Some(section),
            value: function.code_offset.into(),
            size: function.length.into(),
            type_id: 0,
            version: 0,
            template_params: 0,
            template_offset: 0,
            name_hash: 0,
            entry_offset: 0,
            name: function.name(),
        }
    }

    /// The name: any bytes except NUL.
    #[inline]
    pub fn name(&self) -> &'d [u8] {
        self.name
    }

    /// Whether the symbol is visible to other modules.
    pub fn is_export(&self) -> bool {
        self.defined && self.binding != Binding::Local
    }

    /// Checks that the symbol lies inside its section, which has `size` bytes in memory.
    ///
    /// # Errors
    /// [`SymbolError::Outside`].
    pub fn check_place(&self, size: u64) -> Result<()> {
        let Symbol { index, value, size: length, entry_offset: at, .. } = *self;
        match value.checked_add(length) {
            Some(end) if end <= size => Ok(()),
            _ => Err(SymbolError::Outside { index, value, size: length, at }.into()),
        }
    }

    /// Whether another module must define the symbol, or may if the symbol is weak.
    pub fn is_import(&self) -> bool {
        !self.defined
    }
}

/// An exported symbol as a lookup returns it, without the fields that are more expensive to decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The index in the table.
    pub index: u32,
    /// The kind of entity that the symbol names.
    pub kind: SymbolKind,
    /// The visibility to other modules, never local.
    pub binding: Binding,
    /// The section of the symbol; `None` if it has no address.
    pub section: Option<u32>,
    /// The offset from the start of the section, in bytes.
    pub value: u64,
    /// The length in bytes; 0 if the writer did not state it.
    pub size: u64,
}

impl From<Symbol<'_>> for Found {
    fn from(symbol: Symbol<'_>) -> Self {
        let Symbol { index, kind, binding, section, value, size, .. } = symbol;
        Found { index, kind, binding, section, value, size }
    }
}

/// The fields of an entry that are decoded without strings or sections.
#[derive(Clone, Copy)]
struct Entry {
    name_offset: u32,
    kind: u8,
    binding: u8,
    visibility: u8,
    /// The section index, which only the packed layout can state.
    section: Option<u16>,
    value: u64,
    size: u64,
}

impl Entry {
    #[inline]
    fn decode(bytes: &[u8; SYMBOL], layout: Layout) -> Self {
        let marked = layout == Layout::Packed && u8_at(bytes, 43) == Some(SECTION_MARKER);
        Entry {
            name_offset: u32_at(bytes, 0).unwrap_or(0),
            kind: u8_at(bytes, 8).unwrap_or(0),
            binding: u8_at(bytes, 9).unwrap_or(0),
            visibility: u8_at(bytes, 10).unwrap_or(0),
            section: if marked { u16_at(bytes, 41) } else { None },
            value: u64_at(bytes, 16).unwrap_or(0),
            size: u64_at(bytes, 24).unwrap_or(0),
        }
    }

    /// Whether the symbol is defined according to its entry alone.
    #[inline]
    fn is_defined(&self) -> bool {
        match self.section {
            Some(section) => section != IMPORT_SECTION,
            None => {
                self.visibility != 0
                    || self.binding == Binding::Local.number()
                    || self.value != 0
                    || self.size != 0
            }
        }
    }
}

/// All fields that determine the section of a symbol, in one word: kind, binding and visibility, and in the packed
/// layout the stated section. The value is below 2^56.
fn section_words(bytes: &[u8; SYMBOL], layout: Layout) -> u64 {
    let kind = u64::from(u32_at(bytes, 8).unwrap_or(0) & 0xff_ffff);
    match layout {
        Layout::Packed => kind << 32 | u64::from(u32_at(bytes, 40).unwrap_or(0)),
        _ => kind,
    }
}

/// The section of an ordinary symbol of the packed layout: one with an address that states one of the first `sections`
/// sections. The result depends on [`section_words`] only.
fn packed_section(bytes: &[u8; SYMBOL], sections: u32) -> Option<u32> {
    let (kind, binding, stated) = (u8_at(bytes, 8)?, u8_at(bytes, 9)?, u32_at(bytes, 40)?);
    let has_address = PACKED_ADDRESSED.checked_shr(kind.into()).unwrap_or(0) & 1 != 0;
    let section = stated >> 8 & 0xffff;
    let is_ordinary = stated >> 24 == u32::from(SECTION_MARKER)
        && section < sections.min(u32::from(IMPORT_SECTION))
        && binding <= Binding::Weak.number();
    (is_ordinary && has_address).then_some(section)
}

/// As [`packed_section`], for the native layout: the section of a visible symbol, which its kind determines.
fn native_section(bytes: &[u8; SYMBOL], code: Option<u32>, data: Option<u32>) -> Option<u32> {
    let (kind, binding, visibility) = (u8_at(bytes, 8)?, u8_at(bytes, 9)?, u8_at(bytes, 10)?);
    let section = match Layout::Native.symbol_kind(kind)? {
        SymbolKind::Function => code?,
        SymbolKind::Data | SymbolKind::Constant => data?,
        _ => return None,
    };
    (visibility != 0 && binding <= Binding::Weak.number()).then_some(section)
}

/// Whether no symbol is defined and there is code, which is then that of `main`.
fn is_main_alone(table: &[u8], sections: Sections<'_>, code: Option<u32>) -> bool {
    !entries(table, sections.layout).any(|entry| entry.is_defined())
        && code.and_then(|code| sections.get(code)).is_some_and(|code| code.size != 0)
}

fn entries(table: &[u8], layout: Layout) -> impl Iterator<Item = Entry> {
    table.as_chunks::<SYMBOL>().0.iter().map(move |bytes| Entry::decode(bytes, layout))
}

/// The symbol table of a file and the data needed to decode it.
#[derive(Clone, Copy, Debug)]
pub struct Symbols<'d> {
    /// The entries; empty for an ELF object, whose symbols are stored elsewhere.
    table: &'d [u8],
    /// The string table, without unterminated bytes at the end, up to the length of a name.
    strings: &'d [u8],
    /// The sections that the symbols refer to.
    pub(crate) sections: Sections<'d>,
    /// The first code section.
    pub(crate) code: Option<u32>,
    /// The first data section.
    data: Option<u32>,
    /// One writer emits a defined `main` that decodes as an import. True if no other symbol is defined and there is
    /// code for `main`.
    lone_main: bool,
}

impl<'d> Symbols<'d> {
    /// A symbol table with the entries in `table` and their names in `strings`.
    // Row `parse` of the benchmark: the fields of the caller stay in registers.
    #[inline(always)]
    pub(crate) fn new(
        table: &'d [u8],
        strings: &'d [u8],
        sections: Sections<'d>,
        (code, data): (Option<u32>, Option<u32>),
    ) -> Self {
        let strings = strings.get(..strings.len() - unended(strings)).unwrap_or(strings);
        let lone_main = !table.is_empty() && is_main_alone(table, sections, code);
        Self { table, strings, sections, code, data, lone_main }
    }

    /// The number of symbols.
    pub fn len(&self) -> usize {
        match self.table.len() / SYMBOL {
            0 if self.sections.layout.is_object() => elf::symbol::count(&self.sections),
            count => count,
        }
    }

    /// Whether the table is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The symbol with this index.
    ///
    /// # Errors
    /// [`SymbolError::NoSuchSymbol`] past the end; otherwise the reason why the entry is invalid: a name outside the
    /// strings, an undefined type or binding, a section that does not exist.
    #[inline]
    pub fn get(&self, index: u32) -> Result<Symbol<'d>> {
        let Some(bytes) = self.entry_bytes(index) else { return self.get_elsewhere(index) };
        let (entry, at) = (Entry::decode(bytes, self.sections.layout), self.entry_offset(index));
        let offset = u64::from(entry.name_offset);
        let name = self.strings_at(entry.name_offset).and_then(first_name);
        let name = name.ok_or(SymbolError::Name { index, offset, at })?;
        let (kind, binding) = self.kind(&entry, index, at)?;
        let defined = self.is_defined(&entry);
        let section = if defined { self.section(&entry, kind, index, at)? } else { None };
        Ok(Symbol {
            index,
            kind,
            binding,
            visibility: entry.visibility,
            flags: SymbolFlags(u8_at(bytes, 11).unwrap_or(0)),
            defined,
            section,
            value: entry.value,
            size: entry.size,
            type_id: u32_at(bytes, 32).unwrap_or(0),
            version: u32_at(bytes, 36).unwrap_or(0),
            template_params: u8_at(bytes, 40).unwrap_or(0),
            template_offset: u64_at(bytes, 48).unwrap_or(0),
            name_hash: u32_at(bytes, 4).unwrap_or(0),
            entry_offset: at,
            name,
        })
    }

    /// The location of the symbol with this index. This takes a fraction of the work of [`Symbols::get`]: it does not
    /// check that the name is terminated.
    ///
    /// # Errors
    /// As [`Symbols::get`], except for names that are unterminated or too long.
    #[inline]
    pub fn place(&self, index: u32) -> Result<SymbolPlace> {
        match self.entry_bytes(index) {
            Some(bytes) => self.place_in(index, bytes),
            None => self.place_elsewhere(index),
        }
    }

    /// Calls `visit` with [`Symbols::place`] of each symbol, in the order of the table, and the element of `out` with
    /// the same index, until an error or the end of `out`.
    ///
    /// # Errors
    /// The first one of [`Symbols::place`] or of `visit`.
    #[inline]
    pub fn try_for_each_place<T, E: From<FormatError>>(
        &self,
        out: &mut [T],
        mut visit: impl FnMut(u32, SymbolPlace, &mut T) -> Result<(), E>,
    ) -> Result<(), E> {
        match self.sections.layout {
            Layout::Native => {
                let (code, data) = (self.code, self.data);
                let section = |bytes: &[u8; SYMBOL]| native_section(bytes, code, data);
                self.walk_places(Layout::Native, section, out, visit)
            }
            Layout::Packed => {
                let sections = u32::try_from(self.sections.len()).unwrap_or(u32::MAX);
                let section = |bytes: &[u8; SYMBOL]| packed_section(bytes, sections);
                self.walk_places(Layout::Packed, section, out, visit)
            }
            _ => (0u32..)
                .zip(out)
                .take(self.len())
                .try_for_each(|(index, out)| visit(index, self.place(index)?, out)),
        }
    }

    /// Consecutive symbols mostly share a section, so the section of the previous symbol is reused while
    /// [`section_words`] is equal.
    // Row `lookup` of the benchmark: compiled once for each layout.
    #[inline(always)]
    #[expect(clippy::explicit_counter_loop, reason = "a zipped range would be asked in each turn")]
    fn walk_places<T, E: From<FormatError>>(
        &self,
        layout: Layout,
        section_of: impl Fn(&[u8; SYMBOL]) -> Option<u32>,
        out: &mut [T],
        mut visit: impl FnMut(u32, SymbolPlace, &mut T) -> Result<(), E>,
    ) -> Result<(), E> {
        let names = self.strings.len() as u64;
        // The initial value differs from the words of every symbol.
        let (mut known, mut section) = (u64::MAX, 0);
        let mut index = 0;
        for (bytes, out) in self.table.as_chunks::<SYMBOL>().0.iter().zip(out) {
            let words = section_words(bytes, layout);
            if words != known
                && let Some(found) = section_of(bytes)
            {
                (known, section) = (words, found);
            }
            let is_named = u64::from(u32_at(bytes, 0).unwrap_or(u32::MAX)) < names;
            let place = if words == known && is_named {
                let (value, size) = (u64_at(bytes, 16), u64_at(bytes, 24));
                SymbolPlace::Section { section, value: value.unwrap_or(0), size: size.unwrap_or(0) }
            } else {
                self.place(index)?
            };
            visit(index, place, out)?;
            index += 1;
        }
        Ok(())
    }

    fn place_in(&self, index: u32, bytes: &[u8; SYMBOL]) -> Result<SymbolPlace> {
        let entry = Entry::decode(bytes, self.sections.layout);
        let at = self.entry_offset(index);
        let offset = u64::from(entry.name_offset);
        if offset >= self.strings.len() as u64 {
            return Err(SymbolError::Name { index, offset, at }.into());
        }
        let (kind, binding) = self.kind(&entry, index, at)?;
        if !self.is_defined(&entry) {
            return Ok(SymbolPlace::Import { weak: binding == Binding::Weak });
        }
        let section = self.section(&entry, kind, index, at)?;
        Ok(match section.filter(|_| kind.has_address()) {
            Some(section) => SymbolPlace::Section { section, value: entry.value, size: entry.size },
            None => SymbolPlace::Nowhere,
        })
    }

    /// The symbol with this index if it is an export with this name. This takes a fraction of the work of
    /// [`Symbols::get`].
    #[inline]
    pub(crate) fn export(&self, index: u32, name: &[u8]) -> Option<Found> {
        // Compiled once for each layout.
        match self.sections.layout {
            Layout::Native => self.export_in(Layout::Native, index, name),
            _ => self.export_in(Layout::Packed, index, name),
        }
    }

    // Row `lookup` of the benchmark: compiled once for each layout.
    #[inline(always)]
    fn export_in(&self, layout: Layout, index: u32, name: &[u8]) -> Option<Found> {
        let bytes = self.entry_bytes(index)?;
        let entry = Entry::decode(bytes, layout);
        if !is_first_name(self.strings_at(entry.name_offset)?, name) {
            return None;
        }
        let exported = |binding: &Binding| *binding != Binding::Local;
        let binding = Binding::ALL.get(usize::from(entry.binding)).copied().filter(exported)?;
        let kind = layout.symbol_kind(entry.kind)?;
        if !self.is_defined(&entry) {
            return None;
        }
        let section = self.section(&entry, kind, index, 0).ok()?;
        Some(Found { index, kind, binding, section, value: entry.value, size: entry.size })
    }

    fn entry_bytes(&self, index: u32) -> Option<&'d [u8; SYMBOL]> {
        let start = usize::try_from(index).ok()?.checked_mul(SYMBOL)?;
        array(self.table, start)
    }

    /// The offset of the entry with this index in the file.
    fn entry_offset(&self, index: u32) -> u64 {
        offset_in(self.sections.data, self.table) + u64::from(index) * SYMBOL as u64
    }

    /// The symbol of an ELF object with this index.
    fn get_elsewhere(&self, index: u32) -> Result<Symbol<'d>> {
        let count = u32::try_from(self.len()).unwrap_or(u32::MAX);
        let is_object = self.sections.layout.is_object();
        let found = if is_object { elf::symbol::get(&self.sections, index) } else { None };
        let (symbol, at) = found.ok_or(SymbolError::NoSuchSymbol { index, count })?;
        let part = ElfPart::Symbol(index);
        let mut symbol = symbol.map_err(|kind| ElfError::Part { part, kind, at })?;
        if !symbol.defined && name_at(self.strings, symbol.name) == Some(elf::symbol::GOT) {
            symbol = symbol.nowhere();
        }
        let ElfSymbol { kind, binding, defined, section, value, size, .. } = symbol;
        let name = match section.filter(|_| kind == SymbolKind::Section) {
            Some(section) => self.sections.get(section).map(|section| section.name),
            None => name_at(self.strings, symbol.name),
        };
        let offset = symbol.name.into();
        Ok(Symbol {
            index,
            kind,
            binding,
            visibility: defined.into(),
            flags: SymbolFlags(0),
            defined,
            section,
            value,
            size,
            type_id: 0,
            version: 0,
            template_params: 0,
            template_offset: 0,
            name_hash: 0,
            entry_offset: at,
            name: name.ok_or(SymbolError::Name { index, offset, at })?,
        })
    }

    fn place_elsewhere(&self, index: u32) -> Result<SymbolPlace> {
        let Symbol { binding, defined, section, value, size, .. } = self.get_elsewhere(index)?;
        Ok(match section {
            _ if !defined => SymbolPlace::Import { weak: binding == Binding::Weak },
            Some(section) => SymbolPlace::Section { section, value, size },
            None => SymbolPlace::Nowhere,
        })
    }

    #[inline]
    fn is_defined(&self, entry: &Entry) -> bool {
        entry.is_defined() || (self.lone_main && self.is_main(entry.name_offset))
    }

    fn is_main(&self, name_offset: u32) -> bool {
        self.strings_at(name_offset).is_some_and(|strings| starts_with_name(strings, b"main"))
    }

    fn strings_at(&self, name_offset: u32) -> Option<&'d [u8]> {
        self.strings.get(usize::try_from(name_offset).ok()?..)
    }

    /// The kind and binding. The packed layout has one number for types and for sections: a local symbol that states a
    /// section is a section symbol.
    #[inline]
    fn kind(&self, entry: &Entry, index: u32, at: u64) -> Result<(SymbolKind, Binding)> {
        let binding = Binding::ALL.get(usize::from(entry.binding)).copied();
        let binding = binding.ok_or(SymbolError::Binding { index, value: entry.binding, at })?;
        let kind = self.sections.layout.symbol_kind(entry.kind);
        let kind = kind.ok_or(SymbolError::Kind { index, value: entry.kind, at })?;
        let has_section = entry.section.is_some_and(|section| section != IMPORT_SECTION);
        if kind == SymbolKind::Type && binding == Binding::Local && has_section {
            return Ok((SymbolKind::Section, binding));
        }
        Ok((kind, binding))
    }

    /// The section of a defined symbol: the stated one, else the code section for functions and the data section for
    /// data.
    // Row `look up` of the benchmark: compiled once for each layout, so that the number of sections takes no division.
    #[inline(always)]
    fn section(&self, entry: &Entry, kind: SymbolKind, index: u32, at: u64) -> Result<Option<u32>> {
        if let Some(section) = entry.section {
            let section = u32::from(section);
            if u64::from(section) >= self.sections.len() as u64 {
                return Err(SymbolError::Section { index, section, at }.into());
            }
            return Ok(Some(section));
        }
        let missing = FormatError::Symbol(SymbolError::NoSection { index, at });
        match kind {
            SymbolKind::Function => self.code.ok_or(missing).map(Some),
            SymbolKind::Data | SymbolKind::Constant => self.data.ok_or(missing).map(Some),
            _ => Ok(None),
        }
    }

    /// The symbols in the order of the table. An item is an error for an invalid entry.
    pub fn iter(&self) -> impl Iterator<Item = Result<Symbol<'d>>> + use<'d> {
        let symbols = *self;
        (0u32..).take(symbols.len()).map(move |index| symbols.get(index))
    }

    /// Whether one of `names` is imported. Malformed entries are skipped.
    pub(crate) fn has_import(&self, names: &[&[u8]]) -> bool {
        let mut symbols = self.iter().filter_map(Result::ok);
        symbols.any(|symbol| symbol.is_import() && names.contains(&symbol.name()))
    }

    /// The exported symbol with this name: the first global one, else the first weak one. Allocates nothing; takes time
    /// linear in the table.
    pub fn find_export(&self, name: &[u8]) -> Option<Symbol<'d>> {
        let mut weak = None;
        for (index, entry) in (0u32..).zip(entries(self.table, self.sections.layout)) {
            if !self.strings_at(entry.name_offset).is_some_and(|s| starts_with_name(s, name)) {
                continue;
            }
            // `name` may contain a NUL, which a symbol name cannot.
            let whole = |symbol: &Symbol<'_>| symbol.is_export() && symbol.name() == name;
            match self.get(index).ok().filter(whole) {
                Some(symbol) if symbol.binding == Binding::Global => return Some(symbol),
                Some(_) => weak = weak.or(Some(index)),
                None => {}
            }
        }
        match weak {
            Some(index) => self.get(index).ok(),
            None => self.find_export_elsewhere(name),
        }
    }

    /// As [`Symbols::find_export`], in an ELF object. A name has at most one visible symbol there.
    fn find_export_elsewhere(&self, name: &[u8]) -> Option<Symbol<'d>> {
        if !self.sections.layout.is_object() {
            return None;
        }
        let mut exports = self.iter().filter_map(Result::ok).filter(Symbol::is_export);
        exports.find(|symbol| symbol.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::vec::Vec;

    use super::*;
    use crate::format::model::Header;
    use crate::format::model::SectionKind;
    use crate::format::read::smf::Smf;
    use crate::format::write::module::{Module, NewSection, NewSymbol, Payload, Place};
    use crate::testing::some;

    const SYMBOLS: u64 = 40;

    fn file(layout: Layout) -> Vec<u8> {
        let section = |kind, name| NewSection::new(kind, name, Payload::Bytes(&[0; 64]));
        let sections = [section(SectionKind::Code, b".text"), section(SectionKind::Data, b".data")];
        let names: Vec<_> = (0..SYMBOLS).map(|number| format!("name{number}")).collect();
        let symbols = names.iter().zip(0..).map(|(name, value)| NewSymbol {
            name: name.as_bytes(),
            place: Place::Section(0),
            value,
            size: 1,
            ..NewSymbol::default()
        });
        let symbols: Vec<_> = symbols.collect();
        let header = Header::default();
        let module = Module { layout, header, stub: &[], sections: &sections, symbols: &symbols };
        module.to_vec().unwrap()
    }

    /// Runs of symbols, between which the fields that determine the section change in every way.
    #[test]
    fn iteration_and_lookup_agree_on_symbol_places() {
        let mut state = 1u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        let (mut whole, mut broken) = (0, 0);
        for layout in [Layout::Native, Layout::Packed] {
            let file = file(layout);
            let table = Smf::parse(&file).unwrap().symbols().entry_offset(0);
            for _ in some(0..4000, 10) {
                let mut file = file.clone();
                for _ in 0..random(8) {
                    // Mostly valid values, in a few consecutive symbols.
                    let (at, value) = match random(10) {
                        0 => (3, random(2)),
                        1 => (8, random(8)),
                        2 | 3 => (9, random(4)),
                        4 => (10, random(2)),
                        5 => (40, random(2)),
                        6 => (41, random(3)),
                        7 => (42, random(2) * 0xff),
                        8 => (43, random(2) * 0x53),
                        _ => (16, random(256)),
                    };
                    let first = random(SYMBOLS);
                    for number in first..SYMBOLS.min(first + 1 + random(5)) {
                        let entry = table + number * SYMBOL as u64;
                        file[usize::try_from(entry).unwrap() + at] = value as u8;
                    }
                }
                let Ok(smf) = Smf::parse(&file) else { continue };
                let (symbols, mut walked) = (smf.symbols(), Vec::new());
                let result = symbols.try_for_each_place(&mut [(); 64], |index, place, ()| {
                    walked.push((index, place));
                    Ok::<(), FormatError>(())
                });
                let each = (0..u32::try_from(SYMBOLS).unwrap()).map(|n| (n, symbols.place(n)));
                let asked: Vec<_> = each.map_while(|(n, place)| Some((n, place.ok()?))).collect();
                assert_eq!(walked, asked);
                let next = symbols.place(u32::try_from(asked.len()).unwrap());
                assert_eq!(result.err(), next.err().filter(|_| asked.len() < symbols.len()));
                whole += u32::from(asked.len() == symbols.len());
                broken += u32::from(asked.len() < symbols.len());
            }
        }
        let eighth = (whole + broken) / 8;
        assert!(whole > eighth && broken > eighth, "{whole} {broken}");
    }
}

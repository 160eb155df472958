//! The dynamic symbols, up to the highest one that hash tables and relocations refer to.

use crate::format::error::{
    Result, SharedObjectErrorKind as Kind, SharedObjectPart as Part, ensure,
};
use crate::format::read::shared_object::dynamic::{Dynamic, Entry};
use crate::format::read::shared_object::image::{Range, View, refuse};
use crate::format::wire::elf_tag::Tag;

const SHN_UNDEF: u16 = 0;
/// The first reserved section number. Only SHN_XINDEX among the reserved ones refers to a section.
const SHN_LORESERVE: u16 = 0xff00;
const SHN_XINDEX: u16 = 0xffff;

const STB_LOCAL: u8 = 0;
const STB_WEAK: u8 = 2;
const STV_DEFAULT: u8 = 0;
const STT_TLS: u8 = 6;
const STT_GNU_IFUNC: u8 = 10;

/// A dynamic symbol.
#[derive(Clone, Copy)]
pub(crate) struct Symbol {
    name: u32,
    info: u8,
    other: u8,
    section: u16,
    value: u64,
    at: u64,
}

impl Symbol {
    fn decode(entry: View<'_>) -> Option<Self> {
        let is_64 = entry.encoding.is_64;
        let (info, section, value) = if is_64 { (4, 6, 8) } else { (12, 14, 4) };
        Some(Self {
            name: entry.u32(0)?,
            info: entry.u8(info)?,
            other: entry.u8(info + 1)?,
            section: entry.u16(section)?,
            value: entry.word(value)?,
            at: entry.at,
        })
    }

    fn kind(&self) -> u8 {
        self.info & 0xf
    }

    pub(crate) fn is_weak(&self) -> bool {
        self.info >> 4 == STB_WEAK
    }

    /// Whether a relocation against the symbol yields an address. An undefined symbol that is local or not visible to
    /// other objects yields the load address instead.
    pub(crate) fn can_be_found(&self) -> bool {
        self.is_defined() || self.info >> 4 != STB_LOCAL && self.other & 3 == STV_DEFAULT
    }

    pub(crate) fn is_thread_local(&self) -> bool {
        self.kind() == STT_TLS
    }

    pub(crate) fn is_defined(&self) -> bool {
        self.section != SHN_UNDEF
    }

    /// Whether the symbol lies in a section, and so has an address.
    fn has_address(&self) -> bool {
        self.is_defined() && (self.section < SHN_LORESERVE || self.section == SHN_XINDEX)
    }
}

/// The symbol table. Its length follows only from the tables that refer to it.
#[derive(Clone, Copy)]
pub(crate) struct SymbolTable<'d> {
    entry: Entry,
    /// The bytes from the first symbol to the end of those that its segment loads.
    view: View<'d>,
    /// The size of thread-local data in bytes.
    pub(crate) tls: Option<u64>,
}

impl<'d> SymbolTable<'d> {
    /// # Errors
    /// No segment loads the table, or its entries have another size.
    pub(crate) fn read(dynamic: &Dynamic<'d>, tls: Option<u64>) -> Result<Self> {
        let entry = dynamic.require(Tag::SYMTAB)?;
        let view = dynamic.table_from(&entry, dynamic.word_size())?;
        let table = Self { entry, view, tls };
        match dynamic.get(Tag::SYMENT) {
            Some(size) if size.value != table.stride() => {
                Err(size.refuse(Kind::EntrySize { value: size.value }))
            }
            _ => Ok(table),
        }
    }

    fn stride(&self) -> u64 {
        if self.view.encoding.is_64 { 24 } else { 16 }
    }

    /// The symbol with this number.
    pub(crate) fn get(&self, index: u32) -> Option<Symbol> {
        let at = u64::from(index).checked_mul(self.stride())?;
        Symbol::decode(self.view.part(at, self.stride())?)
    }

    /// Checks the first `count` symbols and returns their addresses.
    ///
    /// # Errors
    /// The first symbol without a valid name or address.
    pub(crate) fn check(&self, dynamic: &Dynamic<'_>, count: u64) -> Result<Range> {
        let size = count.saturating_mul(self.stride());
        let missing = self.entry.refuse(Kind::SymbolIndex { index: count.saturating_sub(1) });
        let symbols = self.view.part(0, size).ok_or(missing)?;
        for (index, entry) in (0..).zip(symbols.entries(self.stride())) {
            let Some(symbol) = Symbol::decode(entry) else { continue };
            let checked = self.check_one(dynamic, &symbol);
            checked.map_err(|kind| refuse(Part::Symbol(index), kind, symbol.at))?;
        }
        Ok(Range { start: self.entry.value, size })
    }

    fn check_one(&self, dynamic: &Dynamic<'_>, symbol: &Symbol) -> Result<(), Kind> {
        let offset = u64::from(symbol.name);
        ensure(dynamic.has_string(offset), Kind::String { offset })?;
        let address = symbol.value;
        // The loader treats an undefined symbol with a value as a function that is called through it.
        let image = dynamic.image;
        let is_sound = symbol.is_defined() || address == 0 || !image.has_known_relocations();
        ensure(is_sound, Kind::SymbolAddress { address })?;
        if symbol.is_thread_local() {
            let is_inside = self.tls.is_some_and(|size| address <= size);
            let is_sound = !symbol.is_defined() || is_inside;
            return ensure(is_sound, Kind::SymbolAddress { address });
        }
        if !symbol.has_address() {
            return Ok(());
        }
        // Symbols such as `_end` are one past the last byte.
        let load = dynamic.image.load_with(Range { start: address, size: 0 }, 0);
        ensure(load.is_some(), Kind::SymbolAddress { address })?;
        // The loader calls the function to resolve an address.
        let is_callable = symbol.kind() != STT_GNU_IFUNC || dynamic.image.is_executable(address);
        ensure(is_callable, Kind::NotExecutable { address })
    }
}

//! The relocations: the addresses that they write to, and their symbols.
//!
//! The system's loader writes to every address that a relocation states. The object may relocate any of its own data.
//! The addresses must be writable, and must not belong to tables that the loader itself reads.
//!
//! The functions that the loader calls when it opens and closes an object are in arrays. Their code is not checked: a
//! relocation must fill in every entry, and addresses known before loading must be in executable segments.

use crate::format::error::{
    Result, SharedObjectErrorKind as Kind, SharedObjectPart as Part, ensure,
};
use crate::format::read::shared_object::dynamic::{Dynamic, Entry};
use crate::format::read::shared_object::image::{EM_MIPS, Image, Range, View, refuse};
use crate::format::read::shared_object::machine::{Action, action};
use crate::format::read::shared_object::symbols::SymbolTable;
use crate::format::wire::elf_tag::Tag;

/// A table of relocations.
#[derive(Clone, Copy)]
struct Table<'d> {
    entry: Entry,
    view: View<'d>,
    /// The number of words in an entry: 3 with an addend, 2 without, 1 in the table of `DT_RELR`.
    words: u64,
}

/// A relocation.
struct Reloc {
    address: u64,
    symbol: u32,
    kind: u32,
    addend: u64,
}

impl Table<'_> {
    fn stride(&self) -> u64 {
        self.view.encoding.word_size() * self.words
    }

    fn range(&self) -> Range {
        Range { start: self.entry.value, size: self.view.len() }
    }

    fn decode(&self, entry: View<'_>) -> Option<Reloc> {
        let info = entry.nth_word(1)?;
        let shift = if entry.encoding.is_64 { 32 } else { 8 };
        Some(Reloc {
            address: entry.nth_word(0)?,
            symbol: u32::try_from(info >> shift).ok()?,
            kind: u32::try_from(info & ((1 << shift) - 1)).ok()?,
            addend: if self.words == 3 { entry.nth_word(2)? } else { 0 },
        })
    }
}

/// The relocations of a shared object.
#[derive(Clone, Copy)]
pub(crate) struct Relocs<'d> {
    tables: [Option<Table<'d>>; 3],
    relative: Option<Table<'d>>,
}

/// The tables of relocations with entries, and the tags of their sizes.
const TABLES: [(Tag, Tag, Tag, Tag); 2] = [
    (Tag::RELA, Tag::RELASZ, Tag::RELAENT, Tag::RELACOUNT),
    (Tag::REL, Tag::RELSZ, Tag::RELENT, Tag::RELCOUNT),
];

impl<'d> Relocs<'d> {
    /// Reads the relocation tables.
    ///
    /// # Errors
    /// A table that is not in the file or has entries of another size.
    pub(crate) fn read(dynamic: &Dynamic<'d>) -> Result<Self> {
        let mut tables = [None; 3];
        for (slot, (tag, size, entry_size, _)) in tables.iter_mut().zip(TABLES) {
            let Some(entry) = dynamic.get(tag) else { continue };
            let table = read_table(dynamic, entry, size, if tag == Tag::RELA { 3 } else { 2 })?;
            check_entry_size(&dynamic.require(entry_size)?, table.stride())?;
            *slot = Some(table);
        }
        if let Some(entry) = dynamic.get(Tag::JMPREL) {
            let kind = dynamic.require(Tag::PLTREL)?;
            // Relocations of the known machines have addends.
            let has_rel = !dynamic.image.has_known_relocations();
            let words = match kind.value {
                value if value == u64::from(Tag::RELA.0) => 3,
                value if value == u64::from(Tag::REL.0) && has_rel => 2,
                value => return Err(kind.refuse(Kind::Value { value })),
            };
            tables[2] = Some(read_table(dynamic, entry, Tag::PLTRELSZ, words)?);
        }
        let mut relative = None;
        if let Some(entry) = dynamic.get(Tag::RELR) {
            check_entry_size(&dynamic.require(Tag::RELRENT)?, dynamic.word_size())?;
            relative = Some(read_table(dynamic, entry, Tag::RELRSZ, 1)?);
        }
        let relocs = Self { tables, relative };
        relocs.check_counts(dynamic)?;
        Ok(relocs)
    }

    /// The addresses of the tables.
    pub(crate) fn ranges(&self) -> [Range; 4] {
        let [rela, rel, plt] = self.tables;
        [rela, rel, plt, self.relative].map(|table| table.map_or(Range::default(), |t| t.range()))
    }

    /// Checks that as many relocations as `DT_RELACOUNT` or `DT_RELCOUNT` states are at the start of their table and
    /// add the load address. The loader aborts the process otherwise.
    fn check_counts(&self, dynamic: &Dynamic<'_>) -> Result<()> {
        let image = dynamic.image;
        for (table, (.., count)) in self.tables.iter().zip(TABLES) {
            let (Some(table), Some(count)) = (table, dynamic.get(count)) else { continue };
            let own = table.view.len() - self.shared_with_plt(table);
            let too_many = count.refuse(Kind::Value { value: count.value });
            ensure(count.value <= own / table.stride(), too_many)?;
            let first = usize::try_from(count.value).unwrap_or(usize::MAX);
            for entry in table.view.entries(table.stride()).take(first) {
                let value = table.decode(entry).map_or(0, |reloc| reloc.kind);
                if !matches!(action(&image, value), Some((Action::Relative, _)) | None) {
                    let part = Part::Relocation(table.entry.tag);
                    return Err(refuse(part, Kind::RelocationType { value }, entry.at));
                }
            }
        }
        Ok(())
    }

    /// The number of bytes at the end of a table that are shared with `DT_JMPREL`.
    fn shared_with_plt(&self, table: &Table<'_>) -> u64 {
        let [_, _, Some(plt)] = self.tables else { return 0 };
        let end = |range: Range| range.start.wrapping_add(range.size);
        let is_tail = end(plt.range()) == end(table.range());
        if is_tail { plt.view.len().min(table.view.len()) } else { 0 }
    }

    /// The greatest symbol index in a relocation, plus one.
    pub(crate) fn symbols(&self, dynamic: &Dynamic<'_>) -> u64 {
        if dynamic.image.machine == EM_MIPS {
            // The fields have another order on MIPS.
            return 0;
        }
        let tables = self.tables.iter().flatten();
        let symbols = tables.flat_map(|table| {
            table.view.entries(table.stride()).filter_map(|entry| table.decode(entry))
        });
        symbols.map(|reloc| u64::from(reloc.symbol) + 1).max().unwrap_or(0)
    }

    /// Checks every relocation. `tables` are the tables that no relocation may write to.
    ///
    /// # Errors
    /// The first relocation that cannot be applied.
    pub(crate) fn check(
        &self,
        dynamic: &Dynamic<'_>,
        symbols: &SymbolTable<'_>,
        tables: &Tables,
    ) -> Result<()> {
        let image = dynamic.image;
        let mut check = Check { dynamic, symbols, tables, arrays: Arrays::read(dynamic)? };
        for table in self.tables.iter().flatten() {
            for entry in table.view.entries(table.stride()) {
                let Some(reloc) = table.decode(entry) else { continue };
                let checked = check.check(&reloc);
                let part = Part::Relocation(table.entry.tag);
                checked.map_err(|kind| refuse(part, kind, entry.at))?;
            }
        }
        if let Some(table) = &self.relative {
            check.check_relative(table)?;
        }
        if image.has_known_relocations() {
            check.arrays.check_filled()?;
        }
        Ok(())
    }
}

fn check_entry_size(entry: &Entry, expected: u64) -> Result<()> {
    ensure(entry.value == expected, entry.refuse(Kind::EntrySize { value: entry.value }))
}

fn read_table<'d>(dynamic: &Dynamic<'d>, entry: Entry, size: Tag, words: u64) -> Result<Table<'d>> {
    let size = dynamic.require(size)?;
    let view = dynamic.table(&entry, size.value, dynamic.word_size())?;
    let table = Table { entry, view, words };
    let partial = size.refuse(Kind::PartialEntry { size: size.value });
    ensure(size.value.is_multiple_of(table.stride()), partial)?;
    Ok(table)
}

/// The context of the checks.
struct Check<'c, 'd> {
    dynamic: &'c Dynamic<'d>,
    symbols: &'c SymbolTable<'c>,
    tables: &'c Tables,
    arrays: Arrays,
}

impl Check<'_, '_> {
    fn check(&mut self, reloc: &Reloc) -> Result<(), Kind> {
        let value = reloc.kind;
        let image = self.dynamic.image;
        let (action, size) = match action(&image, value) {
            Some((Action::None, _)) => return Ok(()),
            Some(known) => known,
            None if image.has_known_relocations() => return Err(Kind::RelocationType { value }),
            // Of an unknown relocation, only the address is known.
            None => return self.check_place(reloc.address, 1),
        };
        self.check_place(reloc.address, size)?;
        self.check_symbol(reloc, action)?;
        let target = matches!(action, Action::Relative | Action::Indirect).then_some(reloc.addend);
        if let Some(address) = target
            && action == Action::Indirect
            && !self.dynamic.image.is_executable(address)
        {
            return Err(Kind::NotExecutable { address });
        }
        self.arrays.fill(&self.dynamic.image, Range { start: reloc.address, size }, target)
    }

    fn check_place(&self, address: u64, size: u64) -> Result<(), Kind> {
        let place = Range { start: address, size };
        ensure(self.dynamic.image.is_writable(place), Kind::NotWritable)?;
        ensure(!self.tables.overlap(place), Kind::OverTable { address })
    }

    /// Checks that a relocation and its symbol are both thread-local or neither is.
    fn check_symbol(&self, reloc: &Reloc, action: Action) -> Result<(), Kind> {
        let index = u64::from(reloc.symbol);
        let symbol = self.symbols.get(reloc.symbol).ok_or(Kind::SymbolIndex { index })?;
        if matches!(action, Action::Relative | Action::Indirect) {
            return Ok(());
        }
        let is_thread_local = action == Action::ThreadLocal;
        // Without a symbol the relocation refers to the object's own data.
        let is_own = reloc.symbol == 0 || symbol.is_defined();
        let is_sound = if is_thread_local {
            let is_there = !is_own || self.symbols.tls.is_some();
            is_there && (reloc.symbol == 0 || symbol.is_thread_local())
        } else {
            !symbol.is_thread_local()
        };
        match action {
            _ if !is_sound => Err(Kind::ThreadLocal),
            _ if reloc.symbol != 0 && !symbol.can_be_found() => Err(Kind::Undefined),
            Action::SymbolSize if symbol.is_weak() => Err(Kind::WeakSize),
            _ => Ok(()),
        }
    }

    /// Checks the addresses in a table of `DT_RELR`: an address, followed by bitmaps of the next words.
    fn check_relative(&mut self, table: &Table<'_>) -> Result<()> {
        let word = self.dynamic.word_size();
        let mut next = None;
        for entry in table.view.entries(word) {
            let fault = |kind| refuse(Part::Relocation(Tag::RELR), kind, entry.at);
            let value = entry.word(0).unwrap_or(0);
            if value & 1 == 0 {
                self.check_relative_at(value).map_err(fault)?;
                next = value.checked_add(word);
                continue;
            }
            let start = next.ok_or(fault(Kind::Value { value }))?;
            for bit in (1..8 * word).filter(|bit| value >> bit & 1 != 0) {
                let address = start.checked_add((bit - 1) * word);
                let address = address.ok_or(fault(Kind::NotWritable))?;
                self.check_relative_at(address).map_err(fault)?;
            }
            next = start.checked_add((8 * word - 1) * word);
        }
        Ok(())
    }

    fn check_relative_at(&mut self, address: u64) -> Result<(), Kind> {
        let size = self.dynamic.word_size();
        self.check_place(address, size)?;
        let target = self.dynamic.image.bytes(address, size).and_then(|place| place.word(0));
        self.arrays.fill(&self.dynamic.image, Range { start: address, size }, target)
    }
}

/// The arrays of functions and their sizes.
const ARRAYS: [(Tag, Tag); 3] = [
    (Tag::PREINIT_ARRAY, Tag::PREINIT_ARRAYSZ),
    (Tag::INIT_ARRAY, Tag::INIT_ARRAYSZ),
    (Tag::FINI_ARRAY, Tag::FINI_ARRAYSZ),
];

/// An array of functions.
#[derive(Clone, Copy)]
struct Array {
    entry: Entry,
    range: Range,
    word: u64,
    /// The number of relocations that fill in an entry.
    relocated: u64,
}

/// The arrays of a shared object.
struct Arrays([Option<Array>; 3]);

impl Arrays {
    /// Reads the arrays, and checks the functions outside them.
    ///
    /// # Errors
    /// An array that is not in the file or overlaps another array; a function outside the code.
    fn read(dynamic: &Dynamic<'_>) -> Result<Self> {
        for entry in [Tag::INIT, Tag::FINI].into_iter().filter_map(|tag| dynamic.get(tag)) {
            let address = entry.value;
            ensure(
                dynamic.image.is_executable(address),
                entry.refuse(Kind::NotExecutable { address }),
            )?;
        }
        let mut arrays = Self([None; 3]);
        for ((tag, size), index) in ARRAYS.into_iter().zip(0..) {
            let Some(entry) = dynamic.get(tag) else { continue };
            let array = read_array(dynamic, entry, size)?;
            let overlaps = arrays.0.iter().flatten().any(|other| other.range.overlaps(array.range));
            ensure(!overlaps, entry.refuse(Kind::ArraysOverlap))?;
            if let Some(slot) = arrays.0.get_mut(index) {
                *slot = Some(array);
            }
        }
        Ok(arrays)
    }

    /// Records that a relocation writes to `place`, with the value `target` if it is known.
    ///
    /// # Errors
    /// A place that is not a whole entry; a target outside the code.
    fn fill(&mut self, image: &Image<'_>, place: Range, target: Option<u64>) -> Result<(), Kind> {
        let array = self.0.iter_mut().flatten().find(|array| array.range.overlaps(place));
        let Some(array) = array else { return Ok(()) };
        let offset = place.start.wrapping_sub(array.range.start);
        let is_whole = place.size == array.word && offset.is_multiple_of(array.word);
        ensure(is_whole, Kind::Misaligned { address: place.start })?;
        if let Some(address) = target.filter(|&address| !image.is_executable(address)) {
            return Err(Kind::NotExecutable { address });
        }
        array.relocated += 1;
        Ok(())
    }

    /// Checks that every entry is filled in.
    ///
    /// # Errors
    /// The first array whose number of relocations differs from its number of entries.
    fn check_filled(&self) -> Result<()> {
        for Array { entry, range, word, relocated } in self.0.iter().flatten() {
            let (entries, relocated) = (range.size / word, *relocated);
            ensure(entries == relocated, entry.refuse(Kind::FunctionArray { entries, relocated }))?;
        }
        Ok(())
    }
}

fn read_array(dynamic: &Dynamic<'_>, entry: Entry, size: Tag) -> Result<Array> {
    let (word, size) = (dynamic.word_size(), dynamic.require(size)?);
    let partial = size.refuse(Kind::PartialEntry { size: size.value });
    ensure(size.value.is_multiple_of(word), partial)?;
    dynamic.table(&entry, size.value, word)?;
    let range = Range { start: entry.value, size: size.value };
    Ok(Array { entry, range, word, relocated: 0 })
}

/// Tables that share no bytes with each other.
pub(crate) struct Tables {
    /// The program headers and the dynamic section.
    headers: [Range; 3],
    entries: [(Tag, Range); 11],
}

impl Tables {
    /// Takes the addresses of the other tables with the tags of their entries. Absent tables are empty.
    ///
    /// # Errors
    /// A table that shares bytes with another one. Function relocations at the end of the other relocations may be
    /// shared.
    pub(crate) fn new(
        dynamic: &Dynamic<'_>,
        [stated, mapped]: [Range; 2],
        entries: [(Tag, Range); 11],
    ) -> Result<Self> {
        let headers = [stated, mapped, dynamic.range];
        for (index, (tag, range)) in entries.into_iter().enumerate() {
            let shares = |other: &(Tag, Range)| {
                let is_relocs = [Tag::RELA, Tag::REL].contains(&other.0) && tag == Tag::JMPREL;
                other.1.overlaps(range) && !(is_relocs && other.1.ends_with(range))
            };
            if entries.iter().take(index).any(shares)
                || headers.iter().any(|other| other.overlaps(range))
            {
                return Err(dynamic.require(tag)?.refuse(Kind::TablesOverlap));
            }
        }
        Ok(Self { headers, entries })
    }

    /// Whether `range` shares bytes with a table.
    fn overlap(&self, range: Range) -> bool {
        let entries = self.entries.iter().map(|(_, table)| table);
        self.headers.iter().chain(entries).any(|table| table.overlaps(range))
    }
}

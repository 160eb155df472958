//! The headers and tables of a valid 64-bit little-endian shared object: their offsets in the file.

use std::ops::Range;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const PT_NOTE: u32 = 4;
const PT_GNU_PROPERTY: u32 = 0x6474_e553;

const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_RELA: u64 = 7;
const DT_RELASZ: u64 = 8;
const DT_STRSZ: u64 = 10;
const DT_PLTRELSZ: u64 = 2;
const DT_JMPREL: u64 = 23;
const DT_INIT_ARRAY: u64 = 25;
const DT_FINI_ARRAY: u64 = 26;
const DT_INIT_ARRAYSZ: u64 = 27;
const DT_FINI_ARRAYSZ: u64 = 28;
const DT_RELRSZ: u64 = 35;
const DT_RELR: u64 = 36;
const DT_GNU_HASH: u64 = 0x6fff_fef5;
const DT_VERSYM: u64 = 0x6fff_fff0;
const DT_VERDEF: u64 = 0x6fff_fffc;
const DT_VERDEFNUM: u64 = 0x6fff_fffd;
const DT_VERNEED: u64 = 0x6fff_fffe;
const DT_VERNEEDNUM: u64 = 0x6fff_ffff;

/// The purpose of bytes of a shared object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Header,
    ProgramHeaders,
    Dynamic,
    Strings,
    Symbols,
    GnuHash,
    Hash,
    VersionIndices,
    NeededVersions,
    DefinedVersions,
    Relocations,
    RelativeRelocations,
    Functions,
    Note,
}

/// A header or a table.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) kind: Kind,
    pub(crate) bytes: Range<usize>,
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap())
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn size(value: u64) -> usize {
    usize::try_from(value).unwrap()
}

/// A parsed shared object.
pub(crate) struct Object {
    pub(crate) bytes: Vec<u8>,
    /// Kind, flags, offset, address and size in the file of each program header.
    segments: Vec<(u32, u32, usize, u64, usize)>,
    /// Tag, value and offset in the file of each dynamic entry.
    dynamic: Vec<(u64, u64, usize)>,
}

impl Object {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        let (table, count) = (size(u64_at(&bytes, 32)), usize::from(u16_at(&bytes, 56)));
        let segments = (0..count).map(|index| {
            let at = table + 56 * index;
            let word = |field| u64_at(&bytes, at + field);
            (u32_at(&bytes, at), u32_at(&bytes, at + 4), size(word(8)), word(16), size(word(32)))
        });
        let segments: Vec<_> = segments.collect();
        let start = segments.iter().find(|segment| segment.0 == PT_DYNAMIC).unwrap().2;
        let entries = (start..).step_by(16);
        let entries = entries.map(|at| (u64_at(&bytes, at), u64_at(&bytes, at + 8), at));
        let dynamic = entries.take_while(|(tag, ..)| *tag != 0).collect();
        Self { bytes, segments, dynamic }
    }

    pub(crate) fn get(&self, tag: u64) -> Option<u64> {
        Some(self.dynamic.iter().rfind(|entry| entry.0 == tag)?.1)
    }

    /// The offset in the file of the byte that is loaded at `address`.
    pub(crate) fn offset(&self, address: u64) -> usize {
        let inside = |segment: &&(u32, u32, usize, u64, usize)| {
            let (kind, _, _, start, size) = **segment;
            kind == PT_LOAD && (start..start + size as u64).contains(&address)
        };
        let (_, _, offset, start, _) = *self.segments.iter().find(inside).unwrap();
        offset + size(address - start)
    }

    /// The parts of the file that are loaded as code.
    pub(crate) fn code(&self) -> impl Iterator<Item = Range<usize>> {
        let code =
            self.segments.iter().filter(|segment| segment.0 == PT_LOAD && segment.1 & 1 != 0);
        code.map(|(_, _, offset, _, size)| *offset..*offset + *size)
    }

    fn sized(&self, kind: Kind, tag: u64, size_tag: u64) -> Option<Table> {
        let start = self.offset(self.get(tag)?);
        Some(Table { kind, bytes: start..start + size(self.get(size_tag)?) })
    }

    /// Every header and table of the object.
    pub(crate) fn tables(&self) -> Vec<Table> {
        let bytes = &self.bytes;
        let program_headers = size(u64_at(bytes, 32));
        let count = usize::from(u16_at(bytes, 56));
        let dynamic = self.segments.iter().find(|segment| segment.0 == PT_DYNAMIC).unwrap();
        let mut tables = vec![
            Table { kind: Kind::Header, bytes: 0..64 },
            Table {
                kind: Kind::ProgramHeaders,
                bytes: program_headers..program_headers + 56 * count,
            },
            Table { kind: Kind::Dynamic, bytes: dynamic.2..dynamic.2 + dynamic.4 },
        ];
        let notes = [PT_INTERP, PT_NOTE, PT_GNU_PROPERTY];
        let notes = self.segments.iter().filter(|segment| notes.contains(&segment.0));
        tables.extend(
            notes
                .map(|segment| Table { kind: Kind::Note, bytes: segment.2..segment.2 + segment.4 }),
        );
        tables.extend(
            [
                (Kind::Strings, DT_STRTAB, DT_STRSZ),
                (Kind::Relocations, DT_RELA, DT_RELASZ),
                (Kind::Relocations, DT_JMPREL, DT_PLTRELSZ),
                (Kind::RelativeRelocations, DT_RELR, DT_RELRSZ),
                (Kind::Functions, DT_INIT_ARRAY, DT_INIT_ARRAYSZ),
                (Kind::Functions, DT_FINI_ARRAY, DT_FINI_ARRAYSZ),
            ]
            .into_iter()
            .filter_map(|(kind, tag, size_tag)| self.sized(kind, tag, size_tag)),
        );
        let symbols = self.symbol_count();
        let counted = [(Kind::Symbols, DT_SYMTAB, 24), (Kind::VersionIndices, DT_VERSYM, 2)];
        tables.extend(counted.into_iter().filter_map(|(kind, tag, entry)| {
            let start = self.offset(self.get(tag)?);
            Some(Table { kind, bytes: start..start + entry * symbols })
        }));
        tables.extend(self.hash_tables());
        tables.extend(self.version_tables());
        tables
    }

    /// The number of symbols: up to the string table, which linkers place behind them, or as stated by `DT_HASH`.
    pub(crate) fn symbol_count(&self) -> usize {
        if let Some(hash) = self.get(DT_HASH) {
            return size(u32_at(&self.bytes, self.offset(hash) + 4).into());
        }
        let table = self.offset(self.get(DT_GNU_HASH).unwrap());
        let field = |index: usize| size(u32_at(&self.bytes, table + 4 * index).into());
        let (buckets, first, filter) = (field(0), field(1), field(2));
        let chains = 4 + 2 * filter + buckets;
        let last = (4 + 2 * filter..chains).map(field).max().unwrap();
        let end = (last..).find(|symbol| field(chains + symbol - first) & 1 != 0);
        end.map_or(first, |end| end + 1)
    }

    fn hash_tables(&self) -> Vec<Table> {
        let mut tables = Vec::new();
        if let Some(address) = self.get(DT_HASH) {
            let start = self.offset(address);
            let words = 2 + u32_at(&self.bytes, start) + u32_at(&self.bytes, start + 4);
            tables.push(Table { kind: Kind::Hash, bytes: start..start + 4 * size(words.into()) });
        }
        if let Some(address) = self.get(DT_GNU_HASH) {
            let start = self.offset(address);
            let field = |index: usize| size(u32_at(&self.bytes, start + 4 * index).into());
            let chained = self.symbol_count().saturating_sub(field(1));
            let words = 4 + 2 * field(2) + field(0) + chained;
            tables.push(Table { kind: Kind::GnuHash, bytes: start..start + 4 * words });
        }
        tables
    }

    fn version_tables(&self) -> Vec<Table> {
        let mut tables = Vec::new();
        for (kind, tag, count, record, aux, next, aux_at, aux_next) in [
            (Kind::NeededVersions, DT_VERNEED, DT_VERNEEDNUM, 16, 16, 12, 8, 12),
            (Kind::DefinedVersions, DT_VERDEF, DT_VERDEFNUM, 20, 8, 16, 12, 4),
        ] {
            let (Some(address), Some(count)) = (self.get(tag), self.get(count)) else { continue };
            let start = self.offset(address);
            let (mut at, mut end) = (start, start);
            for _ in 0..count {
                let mut name = at + size(u32_at(&self.bytes, at + aux_at).into());
                end = end.max(at + record).max(name + aux);
                while u32_at(&self.bytes, name + aux_next) != 0 {
                    name += size(u32_at(&self.bytes, name + aux_next).into());
                    end = end.max(name + aux);
                }
                at += size(u32_at(&self.bytes, at + next).into());
            }
            tables.push(Table { kind, bytes: start..end });
        }
        tables
    }

    /// The names of the defined symbols.
    pub(crate) fn names(&self) -> Vec<Vec<u8>> {
        let (symbols, strings) =
            (self.offset(self.get(DT_SYMTAB).unwrap()), self.offset(self.get(DT_STRTAB).unwrap()));
        let defined = (1..self.symbol_count()).map(|index| symbols + 24 * index);
        let defined = defined.filter(|&at| u16_at(&self.bytes, at + 6) != 0);
        let names = defined.map(|at| {
            let name = &self.bytes[strings + size(u32_at(&self.bytes, at).into())..];
            name.split(|byte| *byte == 0).next().unwrap().to_vec()
        });
        names.collect()
    }
}

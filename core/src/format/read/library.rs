//! LSMF archives: an index and complete modules, back to back (FORMAT.md, section 7).
//!
//! Opening an archive reads its header only. An entry of the index is checked when it is read, so that the cost of one
//! module does not depend on the number of modules. Only bytes outside the archive are refused: modules may overlap,
//! repeat, and be in any order. If two modules have the same name, the first one is used.
//!
//! The format's text does not state which bytes the hashes cover. The coverage was determined by experiment and is
//! confirmed by the sample: `index_hash` is FNV-1a-64 of the index, `library_hash` is that of the index followed by all
//! data from `data_offset` to the end of the archive. Neither covers the header. A hash of 0 means that the writer
//! stored none.
//!
//! [`write`](crate::format::write::library::write) lays an archive out as in the sample: header, index, then the
//! modules back to back.

use crate::alloc_util::hash::{fnv1a_64, fnv1a_64_more};
use crate::format::error::{FormatError, LibraryError, Result, Table, ensure};
use crate::format::wire::library::{ENTRY, HEADER, MAGIC, NAME, entry, field, header};
use crate::format::wire::{array, slice, u8_at, u32_at, until_nul};

/// Whether `data` is an archive and not a module.
pub(super) fn is_library(data: &[u8]) -> bool {
    data.starts_with(MAGIC)
}

/// A module inside an archive.
#[derive(Clone, Copy, Debug)]
pub struct Module<'d> {
    /// The number of the module, from 0, in the order of the index.
    pub index: u32,
    /// The name, such as `std/math/scale`; not empty.
    pub name: &'d str,
    /// The offset of the module from the start of the archive, in bytes.
    pub offset: u64,
    /// The length of the module in bytes.
    pub size: u64,
    /// The hash of the module in the index; 0 for none.
    pub hash: u64,
    /// The module: a complete SMF file.
    pub data: &'d [u8],
    /// The hash of the object in the index; 0 for none.
    pub object_hash: u64,
    /// The relocatable object that the module was made from, if the archive contains it.
    pub object: Option<&'d [u8]>,
}

impl Module<'_> {
    /// Compares the bytes with the hashes in the index that are not 0.
    ///
    /// # Errors
    /// [`LibraryError::ModuleHash`], with the offset of the hash that does not match. `at` is the offset of the entry.
    fn verify(&self, at: u64) -> Result<()> {
        let parts = [
            (self.hash, self.data, entry::HASH),
            (self.object_hash, self.object.unwrap_or(&[]), entry::OBJECT_HASH),
        ];
        for (expected, bytes, place) in parts {
            let found = if expected == 0 { 0 } else { fnv1a_64(bytes) };
            if found != expected {
                let at = at.saturating_add(place as u64);
                return Err(
                    LibraryError::ModuleHash { index: self.index, expected, found, at }.into()
                );
            }
        }
        Ok(())
    }
}

/// An LSMF archive.
///
/// ```
/// use smf_core::format::{Library, Smf};
///
/// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/samples/library.lsm");
/// let file = std::fs::read(path)?;
/// let library = Library::parse(&file)?;
/// for module in library.modules() {
///     let module = module?;
///     Smf::parse(module.data)?.verify()?;
///     let found = library.find(module.name).ok_or("no such module")??;
///     assert_eq!(found.offset, module.offset);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Library<'d> {
    pub(crate) data: &'d [u8],
    pub(crate) header: &'d [u8; HEADER],
    pub(crate) entries: &'d [[u8; ENTRY]],
    /// The index as the header delimits it; it may be longer than its entries.
    pub(crate) index: &'d [u8],
    pub(crate) index_offset: u64,
}

impl<'d> Library<'d> {
    /// Parses the archive in `data`, the whole file.
    ///
    /// # Errors
    /// [`LibraryError::NoMagic`], also for a file shorter than its header; [`LibraryError::Version`];
    /// [`FormatError::TableOutside`] for an index that does not lie inside the archive or is too small for its module
    /// count.
    pub fn parse(data: &'d [u8]) -> Result<Self> {
        let header: &[u8; HEADER] = array(data, 0)
            .filter(|header| is_library(&header[..]))
            .ok_or(LibraryError::NoMagic { at: 0 })?;
        let version = |at| u8_at(header, at).unwrap_or(0);
        let (major, minor) = (version(4), version(5));
        ensure((major, minor) == (1, 0), LibraryError::Version { major, minor, at: 4 })?;
        let count = u32_at(header, header::COUNT).unwrap_or(0);
        let index_offset = field(header, header::INDEX_OFFSET);
        let index_size = field(header, header::INDEX_SIZE);
        let outside = FormatError::TableOutside {
            table: Table::Modules,
            offset: index_offset,
            count: count.into(),
            at: header::COUNT as u64,
        };
        let index = slice(data, index_offset, index_size).ok_or(outside)?;
        let len = u64::from(count).saturating_mul(ENTRY as u64);
        let (entries, _) = slice(index, 0, len).ok_or(outside)?.as_chunks();
        Ok(Self { data, header, entries, index, index_offset })
    }

    /// The whole file.
    pub fn file(&self) -> &'d [u8] {
        self.data
    }

    /// The number of modules.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the archive has no modules.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The module with this index; `None` past the end of the index.
    ///
    /// # Errors
    /// [`LibraryError::ModuleName`] for a name that is empty or not UTF-8;
    /// [`LibraryError::ModuleOutside`] for a module, or its object, that leaves the archive.
    pub fn module(&self, index: u32) -> Option<Result<Module<'d>>> {
        let entry = self.entries.get(usize::try_from(index).ok()?)?;
        Some(self.read(index, entry))
    }

    /// The first module with this name; `None` without one. Takes time linear in the index.
    ///
    /// # Errors
    /// As [`Library::module`]; entries of other names are not checked.
    pub fn find(&self, name: &str) -> Option<Result<Module<'d>>> {
        let named = |entry: &&[u8; ENTRY]| !name.is_empty() && name_of(entry) == name.as_bytes();
        let (entry, index) = self.entries.iter().zip(0..).find(|(entry, _)| named(entry))?;
        Some(self.read(index, entry))
    }

    /// The modules in the order of the index; each may fail as in [`Library::module`].
    pub fn modules(&self) -> impl Iterator<Item = Result<Module<'d>>> + Clone + use<'d> {
        let library = *self;
        self.entries.iter().zip(0..).map(move |(entry, index)| library.read(index, entry))
    }

    /// Reads every entry and compares every hash that is not 0 with the bytes that it covers: the index, each module,
    /// each object, and the whole archive. Time is linear in the archive. To guarantee this, modules whose lengths add
    /// up to more than the archive are refused here.
    ///
    /// # Errors
    /// Those of [`Library::module`]; [`LibraryError::ModuleOverlap`]; [`LibraryError::ModuleHash`];
    /// [`LibraryError::Hash`] with the offset of the header's hash that does not match.
    pub fn verify(&self) -> Result<()> {
        let index_hash = fnv1a_64(self.index);
        self.compare(header::INDEX_HASH, index_hash)?;
        let mut left = self.data.len();
        for module in self.modules() {
            let module = module?;
            let (index, at) = (module.index, self.entry_offset(module.index));
            let claimed = module.data.len().checked_add(module.object.map_or(0, <[u8]>::len));
            left = claimed
                .and_then(|claimed| left.checked_sub(claimed))
                .ok_or(LibraryError::ModuleOverlap { index, at })?;
            module.verify(at)?;
        }
        let start = usize::try_from(field(self.header, header::DATA_OFFSET)).unwrap_or(usize::MAX);
        let data = self.data.get(start..).unwrap_or(&[]);
        self.compare(header::LIBRARY_HASH, fnv1a_64_more(index_hash, data))
    }

    fn compare(&self, place: usize, found: u64) -> Result<()> {
        let expected = field(self.header, place);
        if expected == 0 || expected == found {
            return Ok(());
        }
        Err(LibraryError::Hash { expected, found, at: place as u64 }.into())
    }

    /// The offset of the entry with this index from the start of the archive, in bytes.
    fn entry_offset(&self, index: u32) -> u64 {
        self.index_offset.saturating_add(u64::from(index).saturating_mul(ENTRY as u64))
    }

    fn read(&self, index: u32, entry: &'d [u8; ENTRY]) -> Result<Module<'d>> {
        let at = self.entry_offset(index);
        let name = core::str::from_utf8(name_of(entry)).unwrap_or("");
        ensure(!name.is_empty(), LibraryError::ModuleName { index, at })?;
        let part = |offset_at, size_at| {
            let (offset, size) = (field(entry, offset_at), field(entry, size_at));
            let at = at.saturating_add(offset_at as u64);
            slice(self.data, offset, size).ok_or(LibraryError::ModuleOutside {
                index,
                offset,
                size,
                at,
            })
        };
        let data = part(entry::OFFSET, entry::SIZE)?;
        let object = match field(entry, entry::OBJECT_SIZE) {
            0 => None,
            _ => Some(part(entry::OBJECT_OFFSET, entry::OBJECT_SIZE)?),
        };
        let (offset, size) = (field(entry, entry::OFFSET), field(entry, entry::SIZE));
        let (hash, object_hash) = (field(entry, entry::HASH), field(entry, entry::OBJECT_HASH));
        Ok(Module { index, name, offset, size, hash, data, object_hash, object })
    }
}

fn name_of(entry: &[u8; ENTRY]) -> &[u8] {
    until_nul(entry.get(..NAME).unwrap_or(&[]))
}

#[cfg(test)]
mod tests {
    use crate::format::write::library::{LibraryWriteError, NamedModule, length, write};
    use std::format;
    use std::string::{String, ToString};
    use std::vec;
    use std::vec::Vec;

    use super::*;
    use crate::testing::{cut, flipped};

    const SAMPLE: &[u8] = include_bytes!("../../../../tests/samples/library.lsm");
    const MODULES: [NamedModule<'static>; 3] = [
        ("std/math/scale", include_bytes!("../../../../tests/samples/lib.smf")),
        ("app/main", include_bytes!("../../../../tests/samples/app.smf")),
        ("legacy/stub", include_bytes!("../../../../tests/samples/native-stub219.smf")),
    ];

    fn patched(place: usize, bytes: &[u8]) -> Vec<u8> {
        let mut archive = SAMPLE.to_vec();
        archive[place..place + bytes.len()].copy_from_slice(bytes);
        archive
    }

    fn fault(archive: &[u8]) -> Option<FormatError> {
        Library::parse(archive).and_then(|library| library.verify()).err()
    }

    fn archive(modules: &[NamedModule]) -> Result<Vec<u8>, LibraryWriteError> {
        let mut out = vec![0xaa; length(modules)? + 3];
        let len = write(modules, &mut out)?;
        assert!(len == out.len() - 3 && out[len..] == [0xaa; 3]);
        out.truncate(len);
        Ok(out)
    }

    #[test]
    fn sample_is_read() {
        let library = Library::parse(SAMPLE).unwrap();
        library.verify().unwrap();
        assert_eq!((library.len(), library.is_empty()), (3, false));
        let found: Vec<_> = library.modules().map(|module| module.unwrap()).collect();
        for (module, (name, data)) in found.iter().zip(MODULES) {
            assert_eq!((module.name, module.data, module.object), (name, data, None));
            assert_eq!((module.size, module.hash), (data.len() as u64, fnv1a_64(data)));
            assert_eq!(library.find(name).unwrap().unwrap().index, module.index);
        }
        assert_eq!([found[0].offset, found[1].offset, found[2].offset], [0x200, 0x307, 0x519]);
        assert_eq!(library.module(2).unwrap().unwrap().name, "legacy/stub");
        assert!(library.module(3).is_none() && library.find("app").is_none());
        assert!(library.find("").is_none());
    }

    #[test]
    fn sample_is_written_byte_for_byte() {
        assert_eq!(length(&MODULES), Ok(SAMPLE.len()));
        assert_eq!(archive(&MODULES).unwrap(), SAMPLE);
    }

    #[test]
    fn library_is_rewritten_byte_for_byte() {
        let empty = archive(&[]).unwrap();
        assert_eq!(empty.len(), HEADER);
        assert!(Library::parse(&empty).unwrap().is_empty() && fault(&empty).is_none());
        let names: Vec<String> =
            (0..if cfg!(miri) { 20 } else { 2000 }).map(|i| format!("module/{i}")).collect();
        let modules: Vec<_> = names.iter().map(|name| (name.as_str(), name.as_bytes())).collect();
        let many = archive(&modules).unwrap();
        let library = Library::parse(&many).unwrap();
        library.verify().unwrap();
        for (module, (name, data)) in library.modules().map(|m| m.unwrap()).zip(modules) {
            assert_eq!((module.name, module.data), (name, data));
        }
    }

    #[test]
    fn names_that_do_not_round_trip_are_refused() {
        use LibraryWriteError as E;
        let long = "x".repeat(64);
        assert_eq!(archive(&[("a", b""), ("", b"")]), Err(E::NameEmpty { index: 1 }));
        assert_eq!(archive(&[(&long, b"")]), Err(E::NameTooLong { index: 0, len: 64 }));
        assert_eq!(archive(&[("a\0b", b"")]), Err(E::NameHoldsNul { index: 0 }));
        let twice = [("a", &b"1"[..]), ("b", b"2"), ("c", b"3"), ("b", b"4"), ("a", b"5")];
        assert_eq!(archive(&twice), Err(E::NameTwice { first: 1, second: 3 }));
        assert_eq!(archive(&[(&long[1..], b"")]).unwrap().len(), 256);
        let mut short = [0; 130];
        let error = E::BufferTooSmall { needed: 257, len: 130 };
        assert_eq!(write(&[("a", b"!")], &mut short), Err(error));
        assert!(error.to_string().contains("257"));
    }

    #[test]
    fn error_names_the_cause_and_the_offset() {
        for len in 0..HEADER {
            assert_eq!(
                fault(&SAMPLE[..len]),
                Some(FormatError::Library(LibraryError::NoMagic { at: 0 }))
            );
        }
        let version = FormatError::Library(LibraryError::Version { major: 1, minor: 1, at: 4 });
        assert_eq!(fault(&patched(5, &[1])), Some(version));
        for (place, bytes) in [(8, &[4][..]), (12, &[0xff; 8]), (20, &[0x7f, 1]), (21, &[9])] {
            let error = fault(&patched(place, bytes)).unwrap();
            assert!(matches!(
                error,
                FormatError::TableOutside { table: Table::Modules, at: 8, .. }
            ));
        }
        let lenient = |place, bytes: &[u8]| {
            let mut archive = patched(place, bytes);
            archive[header::INDEX_HASH..][..8].fill(0);
            fault(&archive)
        };
        let nameless = Some(FormatError::Library(LibraryError::ModuleName { index: 1, at: 0x100 }));
        assert_eq!(lenient(0x100, &[0]), nameless);
        assert_eq!(lenient(0x100, &[0xff]), nameless);
        let outside = |offset, size, at| {
            Some(FormatError::Library(LibraryError::ModuleOutside { index: 2, offset, size, at }))
        };
        assert_eq!(lenient(0x1c0, &[0x1a]), outside(0x51a, 0xdb, 0x1c0));
        assert_eq!(lenient(0x1c8, &[0xff; 8]), outside(0x519, u64::MAX, 0x1c0));
        assert_eq!(lenient(0x1d8, &[0xff; 8]), outside(0, u64::MAX, 0x1d0));
    }

    #[test]
    fn every_flipped_bit_of_index_and_data_is_an_error() {
        let at = header::INDEX_HASH as u64;
        for (bit, damaged) in flipped(SAMPLE).filter(|(bit, _)| bit / 8 >= HEADER) {
            match fault(&damaged).unwrap() {
                FormatError::Library(LibraryError::Hash { at: place, .. }) => {
                    assert!(place == at && bit < 0x1000)
                }
                FormatError::Library(LibraryError::ModuleHash { index, at, .. }) => {
                    assert_eq!(at, 0x80 + u64::from(index) * 128 + 96);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn absent_hash_is_not_compared() {
        let mut archive = SAMPLE.to_vec();
        archive[header::INDEX_HASH..][..8].fill(0);
        archive[0xe0..0xe8].fill(0);
        archive[0x200] ^= 1;
        let at = header::LIBRARY_HASH as u64;
        assert!(
            matches!(fault(&archive), Some(FormatError::Library(LibraryError::Hash { at: a, .. })) if a == at)
        );
        archive[header::LIBRARY_HASH..][..8].fill(0);
        assert_eq!(fault(&archive), None);
    }

    #[test]
    fn objects_are_read_and_checked() {
        let mut archive = SAMPLE.to_vec();
        archive[header::INDEX_HASH..][..8].fill(0);
        archive[header::LIBRARY_HASH..][..8].fill(0);
        archive[0x80 + entry::OBJECT_OFFSET..][..2].copy_from_slice(&[0x00, 0x02]);
        archive[0x80 + entry::OBJECT_SIZE] = 8;
        let object_hash = fnv1a_64(&SAMPLE[0x200..0x208]);
        archive[0x80 + entry::OBJECT_HASH..][..8].copy_from_slice(&object_hash.to_le_bytes());
        let module = Library::parse(&archive).unwrap().module(0).unwrap().unwrap();
        assert_eq!(module.object, Some(&SAMPLE[0x200..0x208]));
        assert_eq!(fault(&archive), None);
        archive[0x80 + entry::OBJECT_SIZE] = 9;
        assert!(matches!(
            fault(&archive),
            Some(FormatError::Library(LibraryError::ModuleHash { at: 0xe8, .. }))
        ));
    }

    #[test]
    fn overlapping_modules_without_hashes_are_refused_by_verify() {
        let mut archive = archive(&[("a", b"1"), ("b", b"2")]).unwrap();
        archive[header::INDEX_HASH..][..8].fill(0);
        for entry in [HEADER, HEADER + ENTRY] {
            archive[entry + entry::OFFSET..][..8].fill(0);
            archive[entry + entry::SIZE] = 200;
            archive[entry + entry::HASH..][..8].fill(0);
        }
        let overlap = FormatError::Library(LibraryError::ModuleOverlap { index: 1, at: 0x100 });
        assert_eq!(fault(&archive), Some(overlap));
        assert!(Library::parse(&archive).unwrap().modules().all(|module| module.is_ok()));
    }

    #[test]
    fn first_of_two_modules_with_one_name_is_found() {
        let mut archive = archive(&[("a", b"1"), ("b", b"2")]).unwrap();
        archive[HEADER + ENTRY] = b'a';
        archive[header::INDEX_HASH..][..8].fill(0);
        archive[header::LIBRARY_HASH..][..8].fill(0);
        let library = Library::parse(&archive).unwrap();
        assert_eq!(library.find("a").unwrap().unwrap().data, b"1");
        assert!(library.find("b").is_none() && library.verify().is_ok());
    }

    #[test]
    fn damaged_input_never_panics() {
        let walk = |archive: &[u8]| {
            let Ok(library) = Library::parse(archive) else { return };
            assert!(library.modules().flatten().all(|module| !module.name.is_empty()));
            assert!(library.find("app/main").is_none_or(|m| m.is_err() || library.len() > 1));
            let _ = library.verify();
        };
        cut(SAMPLE).for_each(walk);
        flipped(SAMPLE).for_each(|(_, damaged)| walk(&damaged));
    }
}

//! Modules of archives, and parts of modules.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use smf_core::cache::{CacheError, FileCache, Options, Policy};
use smf_core::format::write::library;

use crate::{Directory, LARGE, cache, get};

pub(crate) fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/samples").join(name)
}

#[test]
fn modules_of_archive_share_its_bytes() {
    let directory = Directory::new();
    let (packed, native) =
        (fs::read(sample("packed.smf")).unwrap(), fs::read(sample("native.smf")).unwrap());
    let modules = [("a/packed", &packed[..]), ("b/native", &native[..])];
    let mut bytes = vec![0; library::length(&modules).unwrap()];
    library::write(&modules, &mut bytes).unwrap();
    let path = directory.file("both.lsm", &bytes);
    let name = path.as_os_str().as_bytes();
    let cache = cache(1, 1 << 20, Policy::Lru);
    let first = cache.get_module(name, b"a/packed").unwrap();
    let second = cache.get_module(name, b"b/native").unwrap();
    let again = cache.get_module(name, b"a/packed").unwrap();
    assert!(*first == packed && *second == native && again.as_ptr() == first.as_ptr());
    assert!(first.smf().unwrap().verify().is_ok());
    let (start, handle) = (first.as_ptr(), second.handle());
    assert_eq!(cache.get_by_handle(handle).unwrap().as_ptr(), second.as_ptr());
    assert_eq!(cache.get(name).unwrap().as_ptr().wrapping_add(library_offset(&bytes, 0)), start);
    let statistics = cache.statistics();
    assert_eq!((statistics.files, statistics.links), (1, 2));
    assert_eq!((statistics.misses, statistics.hits), (1, 4));
    for missing in [&b"none"[..], b"", b"\xff", &[b'x'; 5000]] {
        let error = cache.get_module(name, missing).map(|_| ()).unwrap_err();
        assert_eq!(error, CacheError::NoSuchModule);
    }
    drop((first, second, again));
    // The modules of an evicted archive are stale.
    get(&cache, &directory.file("other", b"other")).unwrap();
    assert!(cache.get_by_handle(handle).is_err());
    let error = cache.get_module(directory.0.join("other").as_os_str().as_bytes(), b"x");
    assert!(matches!(error, Err(CacheError::Format(_))));
    assert!(*cache.get_module(name, b"b/native").unwrap() == native);
}

fn library_offset(bytes: &[u8], index: u32) -> usize {
    let library = smf_core::format::Library::parse(bytes).unwrap();
    library.module(index).unwrap().unwrap().offset as usize
}

#[test]
fn uncompressed_note_and_templates_are_bytes_of_file() {
    let cache = FileCache::new(LARGE, Options::default()).unwrap();
    let (mut notes, mut templates) = (0, 0);
    for entry in fs::read_dir(sample("")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "smf") {
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        let smf = smf_core::format::Smf::parse(&bytes).unwrap();
        if smf.sections().iter().any(|section| section.is_compressed()) {
            // Those are decompressed.
            continue;
        }
        let file = get(&cache, &path).unwrap();
        for _ in 0..2 {
            let note = file.read_note_sdn().unwrap();
            assert_eq!(note, smf.note_bytes().unwrap().map(|(note, _)| note));
            notes += usize::from(note.is_some());
            let section = smf.sections().of_kind(smf_core::format::SectionKind::TemplateCode);
            let found = file.read_template_bytes().unwrap();
            assert_eq!(found, section.map(|section| section.data));
            templates += usize::from(found.is_some());
            for part in [note, found].into_iter().flatten() {
                assert!(file.as_ptr_range().contains(&part.as_ptr()), "a copy");
            }
        }
    }
    assert!(notes >= 2 && templates >= 2, "{notes} {templates}");
}

#[cfg(not(feature = "compress"))]
#[test]
fn compressed_section_without_decoders_is_not_built_error() {
    use smf_core::format::error::{CompressionError, CompressionErrorKind};
    use smf_core::format::{Compression, FormatError, SectionKind};

    let cache = FileCache::new(LARGE, Options::default()).unwrap();
    for (name, compression) in
        [("compressed-zstd.smf", Compression::ZSTD), ("compressed-lz4.smf", Compression::LZ4)]
    {
        let file = get(&cache, &sample(name)).unwrap();
        let section = file.smf().unwrap().sections().of_kind(SectionKind::Data).unwrap();
        for error in [
            file.section_bytes(&section).unwrap_err(),
            file.read_note_sdn().unwrap_err(),
            file.read_template_bytes().unwrap_err(),
        ] {
            let CacheError::Format(FormatError::Compression(CompressionError::Decompress {
                kind,
                ..
            })) = error
            else {
                panic!("{error}");
            };
            assert_eq!(kind, CompressionErrorKind::NotBuilt { compression });
        }
    }
    let statistics = cache.statistics();
    assert_eq!(statistics.bytes, statistics.peak_bytes, "nothing was reserved");
}

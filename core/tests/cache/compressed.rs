//! Compressed sections: decompressed once, stored with their file, counted and freed.

use smf_core::format::error::CompressionError;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Barrier, Mutex};
use std::thread;

use smf_core::cache::{CacheError, CacheRef, Capacity, FileCache, Options, Policy};
use smf_core::format::error::CompressionErrorKind;
use smf_core::format::write::library;
use smf_core::format::write::{Module, NewSection, Payload};
use smf_core::format::{Compression, FormatError, Header, SectionFlags, SectionKind, Smf};

use crate::allocations::LIVE;
use crate::alone::alone;
use crate::limits::mappings;
use crate::modules::sample;
use crate::{Directory, LARGE, Numbers, cache, get, reserved};

/// A Zstandard frame of `len` bytes `value`.
fn frame(value: u8, len: usize) -> Vec<u8> {
    const BLOCK: usize = 128 << 10;
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 0x38];
    let blocks = len.div_ceil(BLOCK).max(1);
    for block in 0..blocks {
        let last = block + 1 == blocks;
        let size = if last { len - block * BLOCK } else { BLOCK };
        let header = u32::from(last) | 1 << 1 | (size as u32) << 3;
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.push(value);
    }
    frame
}

fn data(payload: &[u8], virtual_size: usize) -> NewSection<'_> {
    NewSection {
        kind: SectionKind::Data,
        name: b".data",
        flags: SectionFlags(SectionFlags::READ | SectionFlags::COMPRESSED),
        alignment: 16,
        virtual_size: Some(virtual_size as u64),
        payload: Payload::Bytes(payload),
    }
}

/// A module with compressed sections of these payloads and sizes.
fn module_of(payloads: &[(Vec<u8>, usize)]) -> Vec<u8> {
    let sections: Vec<_> = payloads.iter().map(|(payload, size)| data(payload, *size)).collect();
    let header = Header { compression: Compression::ZSTD, ..Header::default() };
    let layout = smf_core::format::Layout::Packed;
    Module { layout, header, stub: &[], sections: &sections, symbols: &[] }.to_vec().unwrap()
}

/// A module with a section of each of these values and lengths.
fn module(sections: &[(u8, usize)]) -> Vec<u8> {
    let payloads: Vec<_> =
        sections.iter().map(|(value, len)| (frame(*value, *len), *len)).collect();
    module_of(&payloads)
}

fn section<'v>(view: &'v CacheRef<'_>, number: usize) -> Result<&'v [u8], CacheError> {
    let smf = view.smf()?;
    let section = smf.sections().iter().filter(|section| section.is_compressed()).nth(number);
    view.section_bytes(&section.unwrap())
}

fn is_all(bytes: &[u8], value: u8, len: usize) -> bool {
    bytes.len() == len && bytes.iter().all(|byte| *byte == value)
}

#[test]
fn sections_of_samples_are_decompressed_once_and_counted_until_eviction() {
    let growing = FileCache::new(LARGE, Options::default()).unwrap();
    check_samples(&growing);
    check_samples(&reserved(Capacity { files: 6, ..LARGE }, Options::default()));
}

fn check_samples(cache: &FileCache) {
    let mut bytes = 0;
    for name in ["compressed-zstd.smf", "compressed-lz4.smf"] {
        let path = sample(name);
        let file = get(cache, &path).unwrap();
        bytes += file.len() as u64;
        assert_eq!(cache.statistics().bytes, bytes);
        let smf = file.smf().unwrap();
        let mut seen = 0;
        for section in smf.sections().iter() {
            let found = file.section_bytes(&section).unwrap();
            assert_eq!(found, &*smf.contents(&section).unwrap());
            if section.is_compressed() {
                bytes += section.virtual_size;
                seen += 1;
            }
            assert_eq!(cache.statistics().bytes, bytes);
            let other = cache.get(path.as_os_str().as_bytes()).unwrap();
            let again = other.smf().unwrap().section(section.index).unwrap();
            assert_eq!(other.section_bytes(&again).unwrap().as_ptr(), found.as_ptr());
        }
        assert_eq!(seen, 3);
        let note = file.read_note_sdn().unwrap().unwrap();
        let templates = file.read_template_bytes().unwrap().unwrap();
        for (kind, part) in [(SectionKind::Note, note), (SectionKind::TemplateCode, templates)] {
            let section = smf.sections().of_kind(kind).unwrap();
            assert_eq!(file.section_bytes(&section).unwrap().as_ptr_range(), part.as_ptr_range());
        }
        assert_eq!(cache.statistics().bytes, bytes);
    }
    assert_eq!(cache.statistics().peak_bytes, bytes);
    for name in ["compressed-zstd.smf", "compressed-lz4.smf"] {
        assert!(cache.evict(sample(name).as_os_str().as_bytes()));
    }
    assert_eq!((cache.statistics().bytes, cache.statistics().detached_bytes), (0, 0));
}

#[test]
fn note_and_templates_of_uncached_file_are_decompressed() {
    for name in ["compressed-zstd.smf", "compressed-lz4.smf"] {
        let bytes = fs::read(sample(name)).unwrap();
        let smf = Smf::parse(&bytes).unwrap();
        let note = smf.note_contents().unwrap().unwrap().0;
        let templates = smf.sections().of_kind(SectionKind::TemplateCode).unwrap();
        let templates = smf.contents(&templates).unwrap();
        let cache = FileCache::new(LARGE, Options::default()).unwrap();
        for _ in 0..3 {
            let file = get(&cache, &sample(name)).unwrap();
            assert_eq!(file.read_note_sdn().unwrap().unwrap(), &*note);
            assert_eq!(file.read_template_bytes().unwrap().unwrap(), &*templates);
        }
        let counted = bytes.len() + note.len() + templates.len();
        assert_eq!(cache.statistics().bytes, counted as u64);
    }
}

#[test]
fn sections_of_archive_modules_live_with_archive() {
    let directory = Directory::new();
    let modules = [("one", module(&[(1, 500), (2, 600)])), ("two", module(&[(3, 500)]))];
    let modules = modules.each_ref().map(|(name, bytes)| (*name, &bytes[..]));
    let mut bytes = vec![0; library::length(&modules).unwrap()];
    library::write(&modules, &mut bytes).unwrap();
    let path = directory.file("both.lsm", &bytes);
    let name = path.as_os_str().as_bytes();
    let cache = cache(1, 1 << 20, Policy::Lru);
    let (one, two) =
        (cache.get_module(name, b"one").unwrap(), cache.get_module(name, b"two").unwrap());
    assert!(is_all(section(&one, 1).unwrap(), 2, 600));
    let first = section(&one, 0).unwrap();
    assert!(is_all(first, 1, 500) && is_all(section(&two, 0).unwrap(), 3, 500));
    assert_eq!(cache.statistics().bytes, bytes.len() as u64 + 1600);
    // A new request for the module finds the same archive.
    let again = cache.get_module(name, b"one").unwrap();
    assert_eq!(section(&again, 0).unwrap().as_ptr(), first.as_ptr());
    // A section of one module is foreign to the other.
    let smf = two.smf().unwrap();
    let foreign = smf.sections().iter().find(|section| section.is_compressed()).unwrap();
    let index = foreign.index;
    let refused = one.section_bytes(&foreign).map(<[u8]>::len);
    assert_eq!(refused, Err(CacheError::ForeignSection { index }));
    let mut wrong = foreign;
    wrong.virtual_size += 1;
    let refused = two.section_bytes(&wrong).map(<[u8]>::len);
    assert_eq!(refused, Err(CacheError::ForeignSection { index }));
    drop((one, two, again));
    get(&cache, &directory.file("other", b"other")).unwrap();
    assert_eq!(cache.statistics().bytes, 5);
}

#[test]
fn replaced_file_in_use_keeps_its_decompressed_sections() {
    let directory = Directory::new();
    let bytes = module(&[(1, 3000), (2, 5000)]);
    let path = directory.file("module", &bytes);
    let name = path.as_os_str().as_bytes();
    for policy in [Policy::Lru, Policy::Sieve] {
        let cache = cache(4, 1 << 20, policy);
        fs::write(&path, &bytes).unwrap();
        let old = get(&cache, &path).unwrap();
        let first = section(&old, 0).unwrap();
        let other = directory.file("new", &module(&[(7, 4000)]));
        fs::rename(&other, &path).unwrap();
        assert_eq!(cache.refresh(name), Ok(true));
        let new = get(&cache, &path).unwrap();
        assert!(is_all(section(&new, 0).unwrap(), 7, 4000) && is_all(first, 1, 3000));
        let statistics = cache.statistics();
        assert_eq!(statistics.bytes, new.len() as u64 + 4000);
        assert_eq!(statistics.detached_bytes, bytes.len() as u64 + 3000);
        // A section that is decompressed now counts as detached as well.
        assert!(is_all(section(&old, 1).unwrap(), 2, 5000));
        assert_eq!(cache.statistics().detached_bytes, bytes.len() as u64 + 8000);
        assert_eq!(cache.statistics().bytes, new.len() as u64 + 4000);
        drop(old);
        get(&cache, &directory.file("other", b"other")).unwrap();
        cache.clear();
        let statistics = cache.statistics();
        assert_eq!((statistics.detached_files, statistics.bytes), (1, 0), "the new one is held");
        assert_eq!(statistics.detached_bytes, new.len() as u64 + 4000);
        drop(new);
        get(&cache, &directory.0.join("other")).unwrap();
        cache.clear();
        let statistics = cache.statistics();
        assert_eq!((statistics.bytes, statistics.detached_bytes), (0, 0));
    }
}

#[test]
fn decompression_evicts_first_or_is_refused() {
    let directory = Directory::new();
    let bytes = module(&[(1, 10_000), (2, 20_000)]);
    let path = directory.file("module", &bytes);
    let small: Vec<_> = (0..4).map(|i| directory.file(&format!("{i}"), &[i; 3000])).collect();
    let capacity = bytes.len() as u64 + 12_000;
    let cache = cache(10, capacity, Policy::Lru);
    let file = get(&cache, &path).unwrap();
    small.iter().for_each(|path| drop(get(&cache, path).unwrap()));
    // With its file larger than the whole cache: nothing is evicted for that.
    let size = bytes.len() as u64 + 20_000;
    let refused = section(&file, 1).map(<[u8]>::len);
    assert_eq!(refused, Err(CacheError::TooLarge { size, capacity }));
    assert_eq!((cache.statistics().files, cache.statistics().evictions), (5, 0));
    let held: Vec<_> = small.iter().map(|path| get(&cache, path).unwrap()).collect();
    let refused = section(&file, 0).map(<[u8]>::len);
    assert_eq!(refused, Err(CacheError::AllInUse { files: 5, bytes: capacity }));
    drop(held);
    assert!(is_all(section(&file, 0).unwrap(), 1, 10_000));
    let statistics = cache.statistics();
    assert_eq!((statistics.files, statistics.evictions), (1, 4));
    assert_eq!((statistics.bytes, statistics.peak_bytes), (capacity - 2000, capacity));
    assert!(get(&cache, &small[0]).is_err(), "only 2,000 bytes are free");
    // The first section of the file counts against the second.
    let refused = section(&file, 1).map(<[u8]>::len);
    assert_eq!(refused, Err(CacheError::TooLarge { size: size + 10_000, capacity }));
    // Only the file itself can be evicted, with its decompressed sections.
    drop(file);
    get(&cache, &small[0]).unwrap();
    assert_eq!(cache.statistics().bytes, 3000);
}

#[test]
fn bomb_reserves_nothing_and_broken_section_releases_reservation() {
    let directory = Directory::new();
    let mut broken = frame(9, 5000);
    // An invalid checksum.
    broken[4] |= 4;
    broken.extend_from_slice(b"none");
    let bytes =
        module_of(&[(frame(1, 100 << 20), 5000), (frame(2, 10_000), 1 << 20), (broken, 5000)]);
    let path = directory.file("module", &bytes);
    let other = directory.file("other", &[1; 3000]);
    let capacity = bytes.len() as u64 + 6000;
    let cache = cache(10, capacity, Policy::Lru);
    let file = get(&cache, &path).unwrap();
    get(&cache, &other).unwrap();
    let fault = |number| match section(&file, number) {
        Err(CacheError::Format(FormatError::Compression(CompressionError::Decompress {
            kind: fault,
            ..
        }))) => fault,
        other => panic!("{:?}", other.map(<[u8]>::len)),
    };
    assert!(matches!(fault(1), CompressionErrorKind::Short { .. }));
    let statistics = cache.statistics();
    assert_eq!((statistics.files, statistics.bytes), (2, capacity - 3000));
    assert_eq!(statistics.peak_bytes, capacity - 3000, "nothing was reserved");
    // These errors show during decompression.
    assert_eq!(fault(0), CompressionErrorKind::Long { virtual_size: 5000 });
    assert_eq!(fault(2), CompressionErrorKind::Checksum);
    assert_eq!(cache.statistics().bytes, bytes.len() as u64);
    let before = LIVE.get();
    for number in 0..3 {
        fault(number);
        assert_eq!(LIVE.get(), before, "section {number}");
    }
    // The reservation was released.
    assert!(get(&cache, &directory.file("third", &[1; 6000])).is_ok());
    assert_eq!(cache.statistics().bytes, capacity);
}

#[test]
fn section_beyond_compression_ratio_is_refused() {
    let directory = Directory::new();
    let bytes = module_of(&[(frame(1, 10_000), 100 << 20)]);
    let cache = cache(10, 1 << 30, Policy::Lru);
    let file = get(&cache, &directory.file("module", &bytes)).unwrap();
    assert!(matches!(
        section(&file, 0).map(<[u8]>::len),
        Err(CacheError::Format(FormatError::Compression(CompressionError::Ratio {
            virtual_size: 0x640_0000,
            ..
        })))
    ));
    assert_eq!(cache.statistics().bytes, bytes.len() as u64);
}

#[test]
fn threads_decompressing_one_section_get_same_bytes() {
    let directory = Directory::new();
    const LEN: usize = 300_000;
    let bytes = module(&[(1, LEN), (2, LEN)]);
    let path = directory.file("module", &bytes);
    // Capacity for each section once, so that the second thread has to wait.
    let cache = cache(2, bytes.len() as u64 + 2 * LEN as u64, Policy::Sieve);
    for _ in 0..30 {
        let (barrier, starts) = (Barrier::new(4), Mutex::new(Vec::new()));
        let held = get(&cache, &path).unwrap();
        thread::scope(|scope| {
            for thread in 0..4 {
                let (cache, barrier, starts, path) = (&cache, &barrier, &starts, &path);
                scope.spawn(move || {
                    let file = get(cache, path).unwrap();
                    barrier.wait();
                    for number in [thread % 2, 1 - thread % 2] {
                        let found = section(&file, number).unwrap();
                        assert!(is_all(found, number as u8 + 1, LEN));
                        starts.lock().unwrap().push((number, found.as_ptr() as usize));
                    }
                });
            }
        });
        let mut starts = starts.into_inner().unwrap();
        starts.sort_unstable();
        starts.dedup();
        assert_eq!(starts.len(), 2);
        let statistics = cache.statistics();
        assert_eq!(statistics.bytes, bytes.len() as u64 + 2 * LEN as u64);
        assert_eq!(statistics.peak_bytes, statistics.bytes);
        drop(held);
        cache.clear();
        assert_eq!(cache.statistics().bytes, 0);
    }
}

#[test]
fn memory_of_sections_is_freed() {
    if !alone("compressed::memory_of_sections_is_freed") {
        return;
    }
    let directory = Directory::new();
    let path = directory.file("module", &module(&[(1, 70_000), (2, 5000), (3, 300)]));
    let rounds = |cache: &FileCache, growing: &FileCache| {
        for _ in 0..3 {
            for number in 0..3 {
                section(&get(cache, &path).unwrap(), number).unwrap();
                section(&get(growing, &path).unwrap(), number).unwrap();
            }
            assert!(cache.statistics().bytes > 75_000 && growing.statistics().bytes > 75_000);
            cache.clear();
            growing.clear();
        }
    };
    let reserved = reserved(Capacity { files: 4, ..LARGE }, Options::default());
    let growing = FileCache::new(LARGE, Options::default()).unwrap();
    rounds(&reserved, &growing);
    let before = (LIVE.get(), mappings());
    rounds(&reserved, &growing);
    assert_eq!((LIVE.get(), mappings()), before);
    // Also if the cache is dropped with its files.
    let before = LIVE.get();
    let last = FileCache::new(LARGE, Options::default()).unwrap();
    section(&get(&last, &path).unwrap(), 0).unwrap();
    assert!(LIVE.get() > before + 70_000);
    drop(last);
    assert_eq!(LIVE.get(), before);
}

/// Against a naive model of exact LRU of files and their sections.
#[test]
fn bytes_in_cache_are_those_of_naive_model() {
    let directory = Directory::new();
    let mut numbers = Numbers(17);
    let lens: Vec<[usize; 2]> =
        (0..20).map(|_| [300 + numbers.below(4000), 300 + numbers.below(4000)]).collect();
    let files: Vec<_> = lens
        .iter()
        .enumerate()
        .map(|(i, [one, two])| {
            let bytes = module(&[(i as u8, *one), (i as u8 + 100, *two)]);
            (directory.file(&format!("{i}"), &bytes), bytes.len() as u64)
        })
        .collect();
    let capacity = Capacity { files: 8, bytes: 30_000 };
    let cache = FileCache::new(capacity, Options::default()).unwrap();
    // The most recently used first, with the sections that are decompressed.
    let mut list: Vec<(usize, [bool; 2])> = Vec::new();
    let size = |(file, there): &(usize, [bool; 2])| {
        let sections = (0..2).map(|number| if there[number] { lens[*file][number] } else { 0 });
        files[*file].1 + sections.sum::<usize>() as u64
    };
    let (mut evictions, mut kept) = (0, 0);
    for step in 0..4000 {
        let file = numbers.below(20).min(numbers.below(20));
        let known = list.iter().position(|known| known.0 == file);
        let mut own = known.map_or((file, [false; 2]), |at| list.remove(at));
        let mut demands = vec![if known.is_some() { 0 } else { files[file].1 }];
        let number = numbers.below(3);
        if number < 2 && !own.1[number] {
            demands.push(lens[file][number] as u64);
        }
        for demand in demands {
            let there = if demand == files[file].1 && known.is_none() { 0 } else { size(&own) };
            while list.iter().map(size).sum::<u64>() + there + demand > capacity.bytes
                || list.len() >= 8
            {
                list.pop();
                evictions += 1;
            }
        }
        let view = get(&cache, &files[file].0).unwrap();
        if number < 2 {
            let found = section(&view, number).unwrap();
            assert!(is_all(found, (file + number * 100) as u8, lens[file][number]));
            kept += u64::from(own.1[number]);
            own.1[number] = true;
        }
        drop(view);
        list.insert(0, own);
        if numbers.below(30) == 0 {
            let gone = list.remove(numbers.below(list.len())).0;
            assert!(cache.evict(files[gone].0.as_os_str().as_bytes()));
        }
        let statistics = cache.statistics();
        assert_eq!(
            (statistics.files as usize, statistics.bytes, statistics.evictions),
            (list.len(), list.iter().map(size).sum(), evictions),
            "step {step}"
        );
        assert!(statistics.peak_bytes <= capacity.bytes);
    }
    assert!(evictions > 500 && kept > 200, "{evictions} {kept}");
}

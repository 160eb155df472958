//! Every prefix and every flipped bit of every sample, through all readers; a subset of them unless the mode is
//! exhaustive.
//!
//! A malformed file is an error or a module, never a panic, a crash or an endless loop. The loader never requests more
//! memory than the size of the file justifies, and reading does not allocate. Nothing is executed here, but every file
//! is mapped and relocated.

use std::io;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use smf_core::format::ext::gnu_property;
use smf_core::format::write::{Module, NewSection, Payload};
use smf_core::format::{File, Header, Layout, Library, Limits, SectionKind, Smf};
use smf_core::link::{Host, Image, NoImports, Resolve};
use smf_loader::inspect;
use smf_tests::allocator::{Watched, counted};
use smf_tests::scale::scale;
use smf_tests::services::{self, ModelServices};
use smf_tests::walk::{Census, walk, walk_library};
use smf_tests::{Sample, samples};

/// Low limits for the memory of one file, so that the run is quick.
const LIMITS: Limits = Limits { virtual_size: 16 << 20, sections: 4096, compression_ratio: 200 };

/// The time after which a file counts as hanging.
const PATIENCE: Duration = Duration::from_secs(20);

/// One mutation in this many has its JSON parsed.
const JSON_EVERY: u64 = 5;

/// The number of mutations that a thread takes at a time.
const CHUNK: u64 = 512;

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// The maximum size of one allocation for a file. A section that decompresses to more than its size in the file takes
/// its decompressed size, and a block.
fn explained_by(file: &[u8]) -> usize {
    let compressed = Smf::parse(file)
        .is_ok_and(|smf| smf.sections().iter().any(|section| section.is_compressed()));
    if compressed { DECOMPRESSED } else { (2 * file.len()).max(ROW) }
}

/// The limit for the smallest samples: a row of the JSON, whose values keep the order of their keys.
const ROW: usize = 1 << 10;

/// The limit for compressed samples whose virtual sizes are flipped to any size that their frames can fill: two blocks
/// of zstd, and the tables of its decoder.
const DECOMPRESSED: usize = 1 << 20;

/// Reads `file` in every way; `closely` includes the JSON.
fn check(file: &[u8], closely: bool) {
    let ((), allocations, _) = counted(|| {
        if let Ok(smf) = Smf::parse(file) {
            let _ = smf.verify();
        }
        if let Ok(library) = Library::parse(file) {
            let _ = library.verify();
        }
    });
    assert_eq!(allocations, 0, "reading allocates");

    if let Ok(library) = Library::parse(file) {
        walk_library(&library, file);
    }
    if let Ok(parsed) = File::parse(file) {
        show(&parsed, explained_by(file), closely);
    }
    let Ok(smf) = Smf::parse_within(file, LIMITS) else { return };
    walk(&smf);

    let ((), _, largest) = counted(|| {
        let _ = smf.verify_compressed();
        place(&smf);
    });
    assert!(largest <= explained_by(file), "{largest} bytes to link {}", file.len());
}

/// Prints a file as text and as JSON, which is valid whenever it is complete.
fn show(file: &File<'_>, most: usize, closely: bool) {
    let (written, _, largest) = counted(|| {
        let _ = inspect::write_text(file, "file", io::sink());
        inspect::write_json(file, "file", io::sink()).is_ok()
    });
    assert!(largest <= most, "{largest} bytes to print, at most {most} are justified");
    assert!(written || inspect::check(file).is_err(), "valid, but cannot be printed");
    if closely && written {
        let mut json = Vec::new();
        inspect::write_json(file, "file", &mut json).unwrap();
        let _: serde::de::IgnoredAny = serde_json::from_slice(&json).unwrap();
    }
}

/// Maps and relocates with a model of the services of the process, once with every import resolved and once with none.
fn place(smf: &Smf<'_>) {
    let everything = |_: &[u8]| Some(place as *const () as u64);
    for imports in [&everything as &dyn Resolve, &NoImports] {
        if let Ok(image) = Image::map(smf)
            && let Ok(module) = image.link_with(imports, Host::new(&ModelServices))
        {
            services::check(&module);
        }
        services::assert_released();
    }
}

/// One mutation of a sample: the first `len` numbers truncate it, the others flip a bit.
fn spoil(sample: &Sample, number: u64, scratch: &mut Vec<u8>) {
    let number = usize::try_from(number).unwrap();
    let len = sample.bytes.len();
    scratch.clear();
    if number < len {
        scratch.extend_from_slice(&sample.bytes[..number]);
    } else {
        scratch.extend_from_slice(&sample.bytes);
        let bit = number - len;
        scratch[bit / 8] ^= 1 << (bit % 8);
    }
}

/// One mutation in this many is checked: all of them in the exhaustive mode.
fn stride() -> u64 {
    scale(1, 13)
}

fn mutations(sample: &Sample) -> u64 {
    9 * sample.bytes.len() as u64
}

/// The case that a thread is checking, for the report of a hang.
#[derive(Default)]
struct Progress {
    sample: AtomicUsize,
    mutation: AtomicU64,
    /// The number of cases started.
    cases: AtomicU64,
    /// Whether the thread has finished.
    idle: AtomicBool,
}

impl Progress {
    fn describe(&self, samples: &[Sample]) -> String {
        let sample = &samples[self.sample.load(Ordering::Relaxed)];
        let mutation = self.mutation.load(Ordering::Relaxed);
        match mutation.checked_sub(sample.bytes.len() as u64) {
            None => format!("the first {mutation} bytes of {}", sample.name),
            Some(bit) => {
                format!("{} with bit {} of byte {} flipped", sample.name, bit % 8, bit / 8)
            }
        }
    }
}

/// Marks the end of a thread's work on drop, and names the case in which it panicked.
struct Shift<'a>(&'a Progress, &'a [Sample]);

impl Drop for Shift<'_> {
    fn drop(&mut self) {
        self.0.idle.store(true, Ordering::Relaxed);
        if thread::panicking() {
            eprintln!("at {}", self.0.describe(self.1));
        }
    }
}

/// Distributes the chunks of all samples one by one.
fn next_chunk(chunks: &[(usize, u64)], next: &AtomicUsize) -> Option<(usize, u64)> {
    chunks.get(next.fetch_add(1, Ordering::Relaxed)).copied()
}

fn work(samples: &[Sample], chunks: &[(usize, u64)], next: &AtomicUsize, progress: &Progress) {
    let _shift = Shift(progress, samples);
    let mut file = Vec::new();
    while let Some((index, start)) = next_chunk(chunks, next) {
        let sample = &samples[index];
        progress.sample.store(index, Ordering::Relaxed);
        let end = mutations(sample).min(start + CHUNK);
        for mutation in (start..end).filter(|mutation| mutation.is_multiple_of(stride())) {
            progress.mutation.store(mutation, Ordering::Relaxed);
            progress.cases.fetch_add(1, Ordering::Relaxed);
            spoil(sample, mutation, &mut file);
            check(&file, mutation.is_multiple_of(JSON_EVERY));
        }
    }
}

/// Ends the process and names the case when a thread spends too long on one: a thread that hangs
/// cannot be made to panic.
fn watch(samples: &[Sample], workers: &[Progress], done: &AtomicBool) {
    let mut seen = vec![(0, Instant::now()); workers.len()];
    while !done.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(50));
        for (worker, (cases, since)) in workers.iter().zip(&mut seen) {
            let now = worker.cases.load(Ordering::Relaxed);
            if now != *cases {
                (*cases, *since) = (now, Instant::now());
            } else if !worker.idle.load(Ordering::Relaxed) && since.elapsed() > PATIENCE {
                eprintln!("no end: {}", worker.describe(samples));
                std::process::abort();
            }
        }
    }
}

#[test]
fn prefix_or_flipped_bit_is_an_error_or_a_module() {
    let samples = samples();
    assert!(samples.len() >= 40, "only {} samples", samples.len());
    let chunks_of = |(index, sample): (usize, &Sample)| {
        (0..mutations(sample))
            .step_by(usize::try_from(CHUNK).unwrap())
            .map(move |at| (index, at))
            .collect::<Vec<_>>()
    };
    let chunks: Vec<_> = samples.iter().enumerate().flat_map(chunks_of).collect();
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let workers: Vec<Progress> = (0..threads).map(|_| Progress::default()).collect();
    let (next, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| watch(&samples, &workers, &done));
        let started: Vec<_> = workers
            .iter()
            .map(|progress| scope.spawn(|| work(&samples, &chunks, &next, progress)))
            .collect();
        let ended = started.into_iter().map(thread::ScopedJoinHandle::join);
        let failed = ended.filter(Result::is_err).count();
        done.store(true, Ordering::Relaxed);
        assert_eq!(failed, 0, "{failed} threads found a broken guarantee");
    });
    let checked: u64 = workers.iter().map(|worker| worker.cases.load(Ordering::Relaxed)).sum();
    assert_eq!(checked, samples.iter().map(|s| mutations(s).div_ceil(stride())).sum::<u64>());
}

#[test]
fn allocations_are_counted() {
    let (grown, allocations, largest) = counted(|| {
        let mut grown = vec![0u8; 100];
        grown.reserve_exact(900);
        grown
    });
    assert_eq!((grown.len(), allocations, largest), (100, 2, 1000));
}

/// The walk visits every part of the samples: otherwise it would find no defects.
#[test]
fn walk_of_samples_counts_their_parts() {
    let census = |name| walk(&Smf::parse(&smf_tests::sample(name).bytes).unwrap());
    let none = Census::default();
    assert_eq!(census("bcod.smf"), Census { sections: 2, functions: 2, ..none });
    let note = census("note-zero-size.smf");
    assert_eq!((note.templates, note.note_rows), (3, 4));
    assert_eq!(census("compact.smf").templates, 2);
    for name in ["compressed-zstd.smf", "compressed-lz4.smf"] {
        let compressed = census(name);
        assert_eq!((compressed.templates, compressed.note_rows, compressed.relocs), (4, 6, 3));
    }
    let packed = census("packed.smf");
    assert!(packed.symbols >= 6 && packed.relocs >= 4, "{packed:?}");
    assert_eq!(census("elf-object.smf").object, [24, 13, 7]);
    let services = census("services.smf");
    assert_eq!((services.sections, services.libraries, services.debug_fields), (21, 1, 14));
    let properties = census("properties.smf");
    assert_eq!((properties.sections, properties.properties), (2, 2));
    let relative = census("relative.smf");
    assert_eq!((relative.relative, relative.relocs, services.relative), (11, 16, 0));
    let without = census("without-relocs.smf");
    assert_eq!((without.relative, without.relocs), (11, 1));
    let library = smf_tests::sample("library.lsm").bytes;
    assert_eq!(walk_library(&Library::parse(&library).unwrap(), &library), 3);
}

#[test]
fn walk_reads_properties_from_a_note_alone() {
    let payload = gnu_property::encode(&[(0xc000_0002, 3)]).unwrap().unwrap();
    let other = NewSection::new(SectionKind::RoData, gnu_property::NAME, Payload::Bytes(b"other"));
    let sections = [other, gnu_property::section(&payload)];
    let (layout, header) = (Layout::Packed, Header::default());
    let module = Module { layout, header, stub: &[], sections: &sections, symbols: &[] };
    let file = module.to_vec().unwrap();
    assert_eq!(walk(&Smf::parse(&file).unwrap()).properties, 1);
}

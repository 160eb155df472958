//! `format` without an allocator: reading and writing make no allocation.
//!
//! Every sample, and every flipped bit of the short ones, goes through the oracle of `format`. Compressed sections are
//! the exception: decompression allocates.

use smf_core::format::note::Note;
use smf_core::format::write::library;
use smf_core::format::write::{Module, NewSection, NewSymbol};
use smf_core::format::{Header, Layout, Library, Smf};
use smf_tests::allocator::{Watched, counted};
use smf_tests::walk::{walk, walk_library, walk_note};
use smf_tests::{sample, samples};

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// The result of `work`, which must not allocate.
fn alone<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let (result, requests, _) = counted(work);
    assert_eq!(requests, 0, "{what} allocates memory");
    result
}

fn has_compressed(smf: &Smf<'_>) -> bool {
    smf.sections().iter().any(|section| section.is_compressed())
}

/// Reads a file in every way; whether it is a module or an archive.
fn read(name: &str, file: &[u8]) -> bool {
    let module = alone(name, || Smf::parse(file).ok().filter(|smf| !has_compressed(smf)));
    let walked = module.map(|smf| alone(name, || walk(&smf)));
    let archive = alone(name, || {
        let library = Library::parse(file).ok()?;
        let mut modules = library.modules().flatten();
        let none = !modules.any(|m| Smf::parse(m.data).is_ok_and(|smf| has_compressed(&smf)));
        none.then(|| walk_library(&library, file))
    });
    walked.is_some() || archive.is_some()
}

#[test]
fn reading_does_not_allocate() {
    let (mut whole, mut flipped) = (0, 0);
    for sample in samples() {
        whole += u32::from(read(&sample.name, &sample.bytes));
        if sample.bytes.len() > 600 || sample.is_bad() {
            continue;
        }
        let mut bytes = sample.bytes.clone();
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            flipped += u32::from(read(&sample.name, &bytes));
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
    assert!(whole >= 15 && flipped > 10_000, "{whole} samples, {flipped} flipped bits");
}

#[test]
fn reading_a_note_does_not_allocate() {
    let file = sample("note-zero-size.smf").bytes;
    let smf = Smf::parse(&file).unwrap();
    let (bytes, at) = smf.note_bytes().unwrap().unwrap();
    let rows = alone("a note", || {
        let note = Note::parse(bytes, at).unwrap();
        note.check().unwrap();
        walk_note(&note, bytes)
    });
    assert_eq!(rows, 4);
}

#[test]
fn writing_does_not_allocate() {
    let sections = [NewSection::code(&[0xc3; 100])];
    let symbols = [NewSymbol { name: b"main", ..NewSymbol::default() }];
    for layout in [Layout::Packed, Layout::Native] {
        let header = Header::default();
        let module = Module { layout, header, stub: &[], sections: &sections, symbols: &symbols };
        let mut room = [0; 2000];
        let len = alone("the writer", || module.write(&mut room).unwrap());
        let written = &room[..len];
        assert_eq!(alone("the reader", || Smf::parse(written).unwrap().symbols().len()), 1);
        let modules = [("one", written), ("two", written)];
        let mut archive = [0; 6000];
        let len = alone("the writer of archives", || library::write(&modules, &mut archive));
        assert_eq!(Library::parse(&archive[..len.unwrap()]).unwrap().modules().count(), 2);
    }
}

#[test]
fn allocation_is_noticed() {
    let ((), requests, largest) =
        counted(|| drop(std::hint::black_box(Vec::<u8>::with_capacity(99))));
    assert_eq!((requests, largest), (1, 99));
}

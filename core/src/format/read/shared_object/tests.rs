//! Damaged shared objects. Another test passes accepted objects to a loader.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails loudly")]

use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use crate::format::error::{
    FormatError, SharedObjectError, SharedObjectErrorKind as Kind, SharedObjectPart as Part,
};
use crate::format::read::shared_object::{MIN_PAGE_SIZE, check};
use crate::format::read::smf::Smf;
use crate::format::wire::elf_tag::Tag;

const DYNLIB: &[u8] = include_bytes!("../../../../../tests/samples/dynlib.smf");

/// The offset of the sample's dynamic section in the file.
const DYNAMIC: usize = 0x2f50;

fn object() -> Vec<u8> {
    Smf::parse(DYNLIB).unwrap().shared_object().unwrap().to_vec()
}

fn refused(object: &[u8]) -> (Part, Kind, u64) {
    match check(object, MIN_PAGE_SIZE).unwrap_err() {
        FormatError::SharedObject(SharedObjectError { part, kind, at }) => (part, kind, at),
        other => panic!("{other}"),
    }
}

fn with(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut object = object();
    object[at..at + bytes.len()].copy_from_slice(bytes);
    object
}

#[test]
fn sample_is_accepted_and_its_damaged_table_is_named_with_an_offset() {
    let target = check(&object(), MIN_PAGE_SIZE).unwrap();
    assert_eq!(target.to_string(), "x86-64 (64 bits, little-endian)");
    // DT_STRTAB outside every segment.
    let at = DYNAMIC as u64 + 16;
    let damaged = with(DYNAMIC + 24, &[0xff; 8]);
    assert_eq!(refused(&damaged), (Part::Entry(Tag::STRTAB), Kind::NotLoaded, at));
    let error = check(&damaged, MIN_PAGE_SIZE).unwrap_err().to_string();
    assert!(error.starts_with("DT_STRTAB of the shared object does not lie"), "{error}");
    assert!(error.ends_with("at offset 0x2f60"), "{error}");
}

#[test]
fn verify_checks_the_shared_object_of_a_dynlib() {
    let mut damaged = DYNLIB.to_vec();
    damaged[DYNAMIC + 24] ^= 0x80;
    let error = Smf::parse(&damaged).unwrap().verify().unwrap_err();
    assert!(matches!(error, FormatError::SharedObject(SharedObjectError { .. })), "{error}");
    Smf::parse(DYNLIB).unwrap().verify().unwrap();
}

#[test]
fn writable_code_and_executable_stacks_are_refused() {
    // The flags of the second segment and of PT_GNU_STACK.
    let (code, stack) = (64 + 56 + 4, 64 + 6 * 56 + 4);
    assert_eq!(refused(&with(code, &[7])).1, Kind::WriteAndExecute);
    assert_eq!(refused(&with(stack, &[7])).1, Kind::ExecutableStack);
}

#[test]
fn parts_that_share_bytes_are_refused() {
    // The second segment at the bytes of the first.
    let (part, kind, _) = refused(&with(64 + 56 + 8, &0u64.to_le_bytes()));
    assert_eq!((part, kind), (Part::Segment(1), Kind::SegmentsOverlap));
    // The names inside of the symbol table, and inside of the program headers.
    for address in [0x230u64, 0x48] {
        let (_, kind, _) = refused(&with(DYNAMIC + 24, &address.to_le_bytes()));
        assert_eq!(kind, Kind::TablesOverlap, "{address:#x}");
    }
}

#[test]
fn header_with_other_type_class_or_byte_order_is_refused() {
    assert_eq!(refused(&with(16, &[2])).1, Kind::Type { value: 2 });
    assert_eq!(refused(&with(4, &[3])).1, Kind::Ident);
    // As a 32-bit object, the program headers have another size.
    assert_eq!(refused(&with(4, &[1])).1, Kind::ProgramHeaders);
    assert_eq!(refused(&with(5, &[2])).1, Kind::Ident);
}

#[test]
fn object_for_another_machine_is_checked() {
    let riscv = with(18, &[243]);
    let target = check(&riscv, MIN_PAGE_SIZE).unwrap();
    assert_eq!(target.to_string(), "machine 243 (64 bits, little-endian)");
    let mut damaged = riscv;
    damaged[DYNAMIC + 24] ^= 0x80;
    assert_eq!(refused(&damaged).0, Part::Entry(Tag::STRTAB));
}

#[test]
fn truncation_before_the_end_of_the_segments_is_refused() {
    let object = object();
    // The last segment ends at 0x3000.
    for len in (0..object.len()).step_by(if cfg!(miri) { 997 } else { 1 }) {
        assert_eq!(check(&object[..len], MIN_PAGE_SIZE).is_ok(), len >= 0x3000, "{len}");
    }
}

/// A 32-bit big-endian object: one segment with everything, and a hash table.
fn big_32() -> Vec<u8> {
    let mut object = vec![0u8; 0x200];
    let mut put = |at: usize, words: &[u32]| {
        for (index, word) in words.iter().enumerate() {
            object[at + 4 * index..][..4].copy_from_slice(&word.to_be_bytes());
        }
    };
    put(0, &[0x7f45_4c46, 0x0102_0100]);
    // Type 3 of machine 20 (PowerPC), version 1; program headers at 52: two of 32 bytes.
    put(16, &[3 << 16 | 20, 1, 0, 52, 0, 0, 52 << 16 | 32, 2 << 16]);
    put(52, &[1, 0, 0, 0, 0x200, 0x200, 6, 0x1000]);
    put(84, &[2, 0x100, 0x100, 0x100, 0x40, 0x40, 6, 4]);
    // DT_HASH, DT_STRTAB, DT_SYMTAB, DT_STRSZ.
    put(0x100, &[4, 0x180, 5, 0x1c0, 6, 0x150, 10, 1, 0, 0]);
    // One bucket, which refers to symbol 1 of two.
    put(0x180, &[1, 2, 1, 0, 0]);
    object
}

#[test]
fn objects_of_32_bits_and_big_endian_are_checked() {
    let object = big_32();
    let target = check(&object, MIN_PAGE_SIZE).unwrap();
    assert_eq!(target.to_string(), "machine 20 (32 bits, big-endian)");
    let mut circle = object;
    circle[0x193] = 1;
    assert_eq!(refused(&circle), (Part::Entry(Tag::HASH), Kind::Chain, 0x100));
}

/// The error has the offset of the record with the link, not the offset outside the file that the link refers to.
#[test]
fn version_record_with_invalid_link_is_named_by_its_own_offset() {
    const RECORD: usize = 0x1d0;
    let mut object = big_32();
    let put = |object: &mut [u8], at: usize, word: u32| {
        object[at..at + 4].copy_from_slice(&word.to_be_bytes());
    };
    let entries = [Tag::VERDEF.0, RECORD as u32, Tag::VERSYM.0, RECORD as u32 + 0x20];
    (0x120..).step_by(4).zip(entries).for_each(|(at, word)| put(&mut object, at, word));
    put(&mut object, RECORD, 1 << 16);
    put(&mut object, RECORD + 12, 20);
    // vd_next, then vd_aux.
    for (field, link) in [(16, 0x1000), (16, u32::MAX), (12, 0x1000)] {
        put(&mut object, RECORD + field, link);
        let expected = (Part::DefinedVersion, Kind::VersionChain, RECORD as u64);
        assert_eq!(refused(&object), expected, "{field} {link:#x}");
    }
}

/// Chains that join would be followed once for each bucket.
#[test]
fn hash_chain_steps_are_limited_by_the_symbol_count() {
    const BUCKETS: u32 = 1 << 16;
    const SYMBOLS: u32 = 1 << 16;
    let mut object = big_32();
    let hash = 0x200;
    let words = 2 + BUCKETS + SYMBOLS;
    object.resize(hash + 4 * words as usize, 0);
    let mut put = |at: usize, word: u32| object[at..at + 4].copy_from_slice(&word.to_be_bytes());
    let size = hash as u32 + 4 * words;
    [68, 72].into_iter().for_each(|at| put(at, size));
    put(0x104, hash as u32);
    put(hash, BUCKETS);
    put(hash + 4, SYMBOLS);
    (0..BUCKETS).for_each(|bucket| put(hash + 8 + 4 * bucket as usize, 1));
    let chains = hash + 8 + 4 * BUCKETS as usize;
    (1..SYMBOLS - 1).for_each(|symbol| put(chains + 4 * symbol as usize, symbol + 1));
    assert_eq!(refused(&object), (Part::Entry(Tag::HASH), Kind::Chain, 0x100));
}

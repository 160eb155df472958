//! Limits of the memory that compressed sections may claim, and of the memory that `verify` holds.

use smf_core::format::error::CompressionError;
use smf_core::format::{Compression, FormatError, Limits, SectionKind, Smf};
use smf_tests::allocator::{Watched, peak};
use smf_tests::compressed::{module, section, through};

#[global_allocator]
static ALLOCATOR: Watched = Watched;

const MIB: u64 = 1 << 20;
/// The maximum decompressed size of a Zstandard block.
const BLOCK: u64 = 128 << 10;

/// A frame of `count` blocks of 128 KiB, each one byte in the file, with a window of `64 KiB << window_log`.
fn zeroes(count: u64, window: u8) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, window];
    for number in 1..=count {
        let header = u32::from(number == count) | 1 << 1 | (128 << 10) << 3;
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.push(0);
    }
    frame
}

/// A module with one section of that many blocks of zeroes.
fn bomb(count: u64) -> Vec<u8> {
    let frame = zeroes(count, 0x58);
    module(Compression::ZSTD, &[section(SectionKind::Data, b".data", &frame, count * BLOCK)])
}

fn verify(file: &[u8], limits: Limits) -> Result<(), FormatError> {
    let smf = Smf::parse_within(file, limits)?;
    smf.verify()?;
    smf.verify_compressed()
}

fn ratio(compression_ratio: u64) -> Limits {
    Limits { compression_ratio, ..Limits::default() }
}

#[test]
fn bombs_are_refused_before_memory_is_allocated() {
    for (blocks, len) in [(4_136, 16_700..17_000), (31_100, 124_000..128_000)] {
        let file = bomb(blocks);
        assert!(len.contains(&file.len()), "{}", file.len());
        let (result, held) = peak(|| verify(&file, Limits::default()));
        let Err(FormatError::Compression(CompressionError::Ratio {
            index: 1,
            virtual_size,
            limit,
            ..
        })) = result
        else {
            panic!("{} bytes: {result:?}, {held} bytes of memory", file.len());
        };
        assert_eq!(virtual_size, blocks * BLOCK);
        assert!(limit <= MIB + 200 * file.len() as u64);
        assert_eq!(held, 0);
    }
}

#[test]
fn ratio_applies_beyond_the_first_mebibyte_and_is_adjustable() {
    let claim = |frame: &[u8], virtual_size| {
        module(Compression::ZSTD, &[section(SectionKind::Data, b".data", frame, virtual_size)])
    };
    let frame = zeroes(100, 0x58);
    for most in [0, 1, 200, 1000] {
        let limit = MIB + most * frame.len() as u64;
        assert!(Smf::parse_within(&claim(&frame, limit), ratio(most)).is_ok(), "{most}");
        let refused = Smf::parse_within(&claim(&frame, limit + 1), ratio(most)).unwrap_err();
        let FormatError::Compression(CompressionError::Ratio {
            index: 1,
            size,
            virtual_size,
            limit: told,
            ..
        }) = refused
        else {
            panic!("{refused}");
        };
        assert_eq!((size, virtual_size, told), (frame.len() as u64, limit + 1, limit));
    }
    assert_eq!(Limits::default().compression_ratio, 200);
    verify(&bomb(100), ratio(u64::MAX)).unwrap();
}

/// Sections that are each within the limit must not exceed it together, and file bytes shared by several sections
/// count once.
#[test]
fn many_small_sections_are_limited_together() {
    let frame = zeroes(8, 0x50);
    let one = section(SectionKind::Data, b".data", &frame, MIB);
    assert!(Smf::parse(&module(Compression::ZSTD, &[one])).is_ok());
    let file = module(Compression::ZSTD, &[one; 40]);
    let (result, held) = peak(|| verify(&file, Limits::default()));
    let refused = result.unwrap_err();
    assert!(
        matches!(refused, FormatError::Compression(CompressionError::Ratio { .. })),
        "{refused}"
    );
    assert_eq!(held, 0);
    let all = 40 * MIB;
    assert!(all > MIB + 200 * file.len() as u64, "the file does not explain them");
}

/// The section is more than ten times as large as the memory held: the window of the frame, or a block, and a
/// little more.
#[test]
fn verify_holds_one_window_of_a_section() {
    let noise: Vec<u8> = {
        let mut state = 1u32;
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..50_000).map(next).collect()
    };
    let data = noise.iter().copied().cycle().take(64 << 20).collect::<Vec<u8>>();
    let cases = [
        (Compression::ZSTD, "zstd", &["-c", "-1", "--check"][..], 5 * MIB),
        (Compression::LZ4, "lz4", &["-c", "-q", "-BD"], 5 * MIB),
        (Compression::LZ4, "lz4", &["-c", "-q", "-B4", "-BX"], 5 * MIB),
    ];
    for (compression, tool, arguments, most) in cases {
        // A ratio that the tools achieve with data of this kind.
        let Some(frame) = through(tool, arguments, &data) else { return };
        let size = data.len() as u64;
        let mut file = module(compression, &[section(SectionKind::Data, b".data", &frame, size)]);
        let (result, held) = peak(|| verify(&file, ratio(u64::MAX)));
        assert_eq!(result, Ok(()), "{tool} {arguments:?}");
        assert!(held as u64 <= most, "{tool} {arguments:?}: {held} bytes held for {size}");
        println!("{tool} {arguments:?}: {held} bytes held for {size}, {} in the file", frame.len());
        // The frame ends with a checksum of its contents.
        let end =
            file.windows(frame.len()).position(|window| window == frame).unwrap() + frame.len();
        file[end - 1] ^= 1;
        let refused = verify(&file, ratio(u64::MAX)).unwrap_err();
        assert!(
            matches!(
                refused,
                FormatError::Compression(CompressionError::Decompress { index: 1, .. })
            ),
            "{refused}"
        );
    }
}

/// The window that a frame declares is allocated only as far as its blocks can fill it.
#[test]
fn declared_window_beyond_its_blocks_is_not_allocated() {
    // 8 MiB, 128 MiB and 2 TiB.
    for (descriptor, is_sound) in [(0x68, true), (0x88, false), (0xff, false)] {
        let frame = zeroes(2, descriptor);
        let file =
            module(Compression::ZSTD, &[section(SectionKind::Data, b".data", &frame, 2 * BLOCK)]);
        let (result, held) = peak(|| verify(&file, Limits::default()));
        assert_eq!(result.is_ok(), is_sound, "{descriptor:x}: {result:?}");
        assert!(held as u64 <= 2 * MIB, "{descriptor:x}: {held}");
    }
}

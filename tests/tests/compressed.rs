//! Compressed sections: round trips with the reference tools, bombs, wrong sizes, and execution.
#![allow(unsafe_code)]

use smf_core::format::error::CompressionErrorKind;
use smf_core::format::error::{CompressionError, SectionError};
use smf_core::format::note::{Note, Possible};
use smf_core::format::template::Templates;
use smf_core::format::{Arch, Compression, FormatError, Limits, SectionFlags, SectionKind, Smf};
use smf_core::link::{Image, LinkError, NoImports, host_arch};
use smf_loader::pack::{Algorithm, Input, Options, pack};
use smf_tests::compile::{Compiler, scratch};
use smf_tests::compressed::{decompress, module, section, through};

const BOTH: [Compression; 2] = [Compression::ZSTD, Compression::LZ4];

/// Data of the kinds that sections contain, and edge cases for compressors.
fn data() -> Vec<Vec<u8>> {
    let mut state = 1u32;
    let mut noise = |len: usize, bits: u32| -> Vec<u8> {
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> (32 - bits)) as u8
        };
        (0..len).map(next).collect()
    };
    let table = |len: u32| (0..len).flat_map(|n| (n * n / 7).to_le_bytes()).collect();
    let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    vec![
        Vec::new(),
        b"a".to_vec(),
        b"possible |template, type_args|\n".repeat(40),
        vec![0; 300_000],
        noise(1000, 8),
        noise(200_000, 3),
        table(50_000),
        program[..500_000].to_vec(),
        [noise(70_000, 8), noise(70_000, 8).repeat(3), vec![7; 70_000]].concat(),
    ]
}

/// The memory of a loaded module.
fn bytes_at<'m>(address: u64, len: usize) -> &'m [u8] {
    // SAFETY: the caller passes a section of a loaded module, and uses the bytes before it is unloaded.
    unsafe { std::slice::from_raw_parts(address as *const u8, len) }
}

/// The tool for an algorithm, and all of its options that change the output in a way that matters to a reader.
fn ways(compression: Compression) -> (&'static str, &'static [&'static [&'static str]]) {
    match compression {
        Compression::ZSTD => (
            "zstd",
            &[
                &["-c", "-1"],
                &["-c", "-3", "--no-check"],
                &["-c", "-19", "--check"],
                &["-c", "--fast=7"],
            ],
        ),
        _ => (
            "lz4",
            &[
                &["-c", "-q"],
                &["-c", "-q", "-9", "-BD", "--no-frame-crc"],
                &["-c", "-q", "-B4", "-BX"],
                &["-c", "-q", "-B5", "-BD", "-BX"],
            ],
        ),
    }
}

/// `data` compressed by the reference tool for an algorithm.
fn compress(compression: Compression, data: &[u8]) -> Option<Vec<u8>> {
    let (tool, ways) = ways(compression);
    through(tool, ways[0], data)
}

/// The error of a section that cannot be decompressed.
fn fault(compression: Compression, payload: &[u8], virtual_size: u64) -> CompressionErrorKind {
    match decompress(compression, payload, virtual_size) {
        Err(FormatError::Compression(CompressionError::Decompress {
            index: 1,
            kind: fault,
            ..
        })) => fault,
        other => panic!("{:?}", other.map(|bytes| bytes.len())),
    }
}

#[test]
fn output_of_reference_tools_is_read() {
    for compression in BOTH {
        let (tool, ways) = ways(compression);
        for data in data() {
            let size = data.len() as u64;
            for way in ways {
                let Some(payload) = through(tool, way, &data) else { return };
                // A section is never longer in the file than in memory.
                if payload.len() <= data.len() {
                    let found = decompress(compression, &payload, size).unwrap();
                    assert!(found == data, "{tool} {way:?}: {size} bytes differ");
                }
            }
        }
    }
}

/// The reverse: sections that `smf pack` compresses, decompressed by the tools.
#[test]
fn written_frames_are_read_by_reference_tools() {
    const TABLES: &str = "
        #define R4(x) x, x * 3, x * x, -x
        #define R16(x) R4(x), R4(x + 1), R4(x + 2), R4(x + 3)
        #define R64(x) R16(x), R16(x + 5), R16(x + 7), R16(x + 9)
        const long constants[] = {R64(1), R64(2), R64(3), R64(4), R64(5), R64(6), R64(7), R64(8)};
        int variables[] = {R64(11), R64(12), R64(13), R64(14)};
        const char text[] = __FILE__ __FILE__ __FILE__ __FILE__ __FILE__ __FILE__ __FILE__;";
    let directory = scratch();
    let (source, object) = (directory.path().join("tables.c"), directory.path().join("tables.o"));
    std::fs::write(&source, TABLES).unwrap();
    if !Compiler::Gcc.compile(&source, 2, &[], &object) || host_arch() != Arch::X86_64 {
        return;
    }
    let object = std::fs::read(object).unwrap();
    for (algorithm, tool) in [(Algorithm::Zstd, "zstd"), (Algorithm::Lz4, "lz4")] {
        let inputs = [Input { name: "tables.o", data: &object }];
        let options = Options { compress: Some(algorithm), ..Options::default() };
        let packed = pack(&inputs, &options).unwrap().bytes;
        let smf = Smf::parse(&packed).unwrap();
        let compressed = || smf.sections().iter().filter(|section| section.is_compressed());
        assert_eq!(compressed().count(), 2);
        for section in compressed() {
            let Some(found) = through(tool, &["-d", "-c", "-q"], section.data) else { return };
            assert!(found == *smf.contents(&section).unwrap(), "{tool}: {section:?}");
            // In both formats this bit announces a checksum of the decompressed bytes.
            assert_eq!(section.data[4] & 4, 4);
        }
    }
}

#[test]
fn frames_follow_each_other_and_some_are_skipped() {
    let skipped = [&[0x5a, 0x2a, 0x4d, 0x18, 5, 0, 0, 0][..], b"SMF\0!"].concat();
    for compression in BOTH {
        let parts = [b"one".repeat(50), b"two".repeat(60), Vec::new()];
        let Some(frames) =
            parts.iter().map(|part| compress(compression, part)).collect::<Option<Vec<_>>>()
        else {
            return;
        };
        let payload =
            [&skipped, &frames[0][..], &skipped, &skipped, &frames[1], &frames[2], &skipped]
                .concat();
        let size = 150 + 180;
        assert_eq!(decompress(compression, &payload, size).unwrap(), parts.concat());
        assert_eq!(
            decompress(compression, &skipped, 13).unwrap_err(),
            FormatError::Compression(CompressionError::Decompress {
                index: 1,
                kind: CompressionErrorKind::Short { max: 0, virtual_size: 13 },
                at: 8,
            })
        );
        let cut = [&frames[0][..], &skipped[..skipped.len() - 1]].concat();
        assert_eq!(fault(compression, &cut, 150), CompressionErrorKind::Truncated);
        let tail = [&frames[0][..], b"????"].concat();
        assert_eq!(fault(compression, &tail, 150), CompressionErrorKind::NoFrame { compression });
    }
}

/// A frame that is truncated anywhere or has any flipped bit is an error or, where the bit is unused, decompresses to
/// the same bytes. A checksum detects all other damage.
#[test]
fn damaged_frame_is_refused() {
    let text =
        b"Generic templates become machine code when a missing symbol asks for it. ".repeat(6);
    let size = text.len() as u64;
    for compression in BOTH {
        let Some(whole) = compress(compression, &text) else { return };
        for len in 0..whole.len() {
            assert!(decompress(compression, &whole[..len], size).is_err(), "{len} bytes");
        }
        for bit in 0..whole.len() * 8 {
            let mut broken = whole.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            if let Ok(found) = decompress(compression, &broken, size) {
                assert_eq!(found, text, "bit {bit}");
            }
        }
        let mut last = whole.clone();
        *last.last_mut().unwrap() ^= 1;
        assert_eq!(fault(compression, &last, size), CompressionErrorKind::Checksum);
    }
}

#[test]
fn virtual_size_that_differs_from_the_contents_is_refused() {
    for compression in BOTH {
        let data = b"0123456789".repeat(500);
        let Some(payload) = compress(compression, &data) else { return };
        assert_eq!(decompress(compression, &payload, 5000).unwrap(), data);
        assert_eq!(
            fault(compression, &payload, 4999),
            CompressionErrorKind::Long { virtual_size: 4999 },
            "{compression}"
        );
        for virtual_size in [5001, 10_000_000, u64::from(u32::MAX)] {
            let CompressionErrorKind::Short { max, virtual_size: stated } =
                fault(compression, &payload, virtual_size)
            else {
                panic!("{compression}: not too short");
            };
            assert!(max >= 5000 && max < virtual_size && stated == virtual_size);
        }
    }
}

/// A Zstandard frame: `descriptor` and the rest of the header, and blocks.
fn zstd_frame(header: &[u8], blocks: &[(u32, u32, &[u8])]) -> Vec<u8> {
    let mut frame = [&[0x28, 0xb5, 0x2f, 0xfd], header].concat();
    for (number, (kind, size, bytes)) in blocks.iter().enumerate() {
        let last = u32::from(number + 1 == blocks.len());
        frame.extend_from_slice(&(last | kind << 1 | size << 3).to_le_bytes()[..3]);
        frame.extend_from_slice(bytes);
    }
    frame
}

const RLE: (u32, u32, &[u8]) = (1, 128 << 10, &[0]);

/// 4 GiB of zeroes in 128 KiB, in a section that states this size or a smaller one.
#[test]
fn bomb_is_refused_before_decompression() {
    let bomb = zstd_frame(&[0x00, 0x58], &vec![RLE; 32 << 10]);
    assert!(bomb.len() < 400_000);
    for virtual_size in [200_000, 16 << 20] {
        assert_eq!(
            fault(Compression::ZSTD, &bomb, virtual_size),
            CompressionErrorKind::Long { virtual_size }
        );
    }
    // The memory limit applies to the decompressed sizes of sections, and is checked first.
    let claims = section(SectionKind::Data, b".data", &bomb, 4 << 30);
    let file = module(Compression::ZSTD, &[claims]);
    let limited = Limits { virtual_size: 64 << 20, ..Limits::default() };
    for limits in [Limits::default(), limited] {
        let refused = Smf::parse_within(&file, limits).unwrap_err();
        assert!(
            matches!(refused, FormatError::Section(SectionError::VirtualSize { .. })),
            "{refused}"
        );
    }
    // The output of the reference tool.
    let Some(bomb) = through("lz4", &["-c", "-q", "-9"], &vec![0; 100 << 20]) else { return };
    let size = bomb.len() as u64;
    assert_eq!(
        fault(Compression::LZ4, &bomb, size),
        CompressionErrorKind::Long { virtual_size: size }
    );
    // A frame that states its decompressed size is refused for that alone.
    let Some(bomb) = through("zstd", &["-c", "-q", "--stream-size=104857600"], &vec![0; 100 << 20])
    else {
        return;
    };
    let file = module(Compression::ZSTD, &[section(SectionKind::Data, b".data", &bomb, 100_000)]);
    let smf = Smf::parse(&file).unwrap();
    let refused = smf.check_compressed(&smf.section(1).unwrap()).unwrap_err();
    let long = CompressionErrorKind::Long { virtual_size: 100_000 };
    assert!(
        matches!(refused, FormatError::Compression(CompressionError::Decompress { kind: fault, .. }) if fault == long),
        "{refused}"
    );
}

/// Decompressed bytes are never parsed as frames: a bomb inside a bomb is ordinary data.
#[test]
fn decompressed_bytes_are_not_parsed() {
    for compression in BOTH {
        let Some(inner) = compress(compression, &[0; 50_000]) else { return };
        let Some(outer) = compress(compression, &inner.repeat(9)) else { return };
        let size = inner.len() as u64 * 9;
        assert_eq!(decompress(compression, &outer, size).unwrap(), inner.repeat(9));
    }
}

#[test]
fn window_larger_than_the_section_is_refused() {
    let frame = |window: u8| zstd_frame(&[0, window], &[RLE]);
    let size = 128 << 10;
    // Decoders should support windows of 8 MiB; 9 MiB and 2 TiB are refused.
    assert!(decompress(Compression::ZSTD, &frame(0x68), size).is_ok());
    for (descriptor, window) in [(0x69, 9 << 20), (0xa8, 1 << 31), (0xff, 15 << 38)] {
        let found = fault(Compression::ZSTD, &frame(descriptor), size);
        assert_eq!(found, CompressionErrorKind::Window { size: window, limit: 8 << 20 });
    }
    // The window of a single-segment frame is its contents.
    let header = [&[0xe0][..], &(1u64 << 40).to_le_bytes()].concat();
    let found = fault(Compression::ZSTD, &zstd_frame(&header, &[RLE]), size);
    assert_eq!(found, CompressionErrorKind::Window { size: 1 << 40, limit: 8 << 20 });
    // A section of 16 MiB justifies a window of 16 MiB.
    let blocks = vec![RLE; 100];
    let size = 100 * (128 << 10);
    assert!(decompress(Compression::ZSTD, &zstd_frame(&[0, 0x70], &blocks), size).is_ok());
    let found = fault(Compression::ZSTD, &zstd_frame(&[0, 0x71], &blocks), size);
    assert_eq!(found, CompressionErrorKind::Window { size: 18 << 20, limit: 16 << 20 });
}

#[test]
fn unsupported_frame_is_refused_by_name() {
    let raw: (u32, u32, &[u8]) = (0, 3, b"abc");
    let zstd = |header: &[u8]| zstd_frame(header, &[raw]);
    for (payload, expected) in [
        (zstd(&[0x21, 7, 3]), CompressionErrorKind::Dictionary),
        (zstd(&[0x28, 3]), CompressionErrorKind::Broken),
        (zstd(&[0x20, 4]), CompressionErrorKind::Broken),
        (zstd_frame(&[0x20, 3], &[(3, 3, b"abc")]), CompressionErrorKind::Broken),
        (zstd_frame(&[0, 0], &[(1, 1025, b"a")]), CompressionErrorKind::Broken),
        (zstd_frame(&[0x24, 3], &[raw]), CompressionErrorKind::Truncated),
    ] {
        assert_eq!(fault(Compression::ZSTD, &payload, 40), expected, "{payload:x?}");
    }
    assert_eq!(
        decompress(Compression::ZSTD, &zstd(&[0x21, 0, 3]), 40).unwrap_err().to_string(),
        "section 1: it decompresses to no more than 0x3 bytes, and its virtual_size is 0x28, at offset 0x8"
    );

    let no_frame = CompressionErrorKind::NoFrame { compression: Compression::LZ4 };
    let lz4 = |flags: u8, sizes: u8, checksum: u8| {
        let frame = [4, 0x22, 0x4d, 0x18, flags, sizes, checksum, 3, 0, 0, 0x80];
        [&frame[..], b"abc", &[0; 4]].concat()
    };
    assert_eq!(
        fault(Compression::LZ4, &lz4(0x60, 0x40, 0x82), 40),
        CompressionErrorKind::Short { max: 3, virtual_size: 40 }
    );
    for (payload, expected) in [
        (lz4(0x60, 0x40, 0x83), CompressionErrorKind::Checksum),
        // A block without a frame, and a frame of the previous format.
        (b"\x30abc".to_vec(), no_frame),
        (b"\x02\x21\x4c\x18\x04\x00\x00\x00\x30abc".to_vec(), no_frame),
    ] {
        assert_eq!(fault(Compression::LZ4, &payload, 40), expected, "{payload:x?}");
    }
}

#[test]
fn compressed_section_of_other_kind_is_refused() {
    use SectionKind as S;
    let Some(payload) = compress(Compression::LZ4, &[1; 100]) else { return };
    let parse = |compression, kind, name| {
        let file = module(compression, &[section(kind, name, &payload, 100)]);
        Smf::parse(&file).map(|smf| smf.verify_compressed().unwrap())
    };
    for kind in [S::Data, S::RoData, S::Debug, S::LaunchMeta, S::DrvManifest, S::Unknown(200)] {
        assert_eq!(parse(Compression::LZ4, kind, b"some"), Ok(()), "{kind}");
    }
    for (kind, name) in [
        (S::Reloc, &b".rela"[..]),
        (S::SymTab, b".symtab"),
        (S::StrTab, b".strtab"),
        (S::Note, b".smf.image"),
    ] {
        let error = parse(Compression::LZ4, kind, name).unwrap_err();
        let FormatError::Compression(CompressionError::SectionKind {
            index: 1, kind: named, ..
        }) = error
        else {
            panic!("{error}");
        };
        assert_eq!(named, kind);
    }
    for compression in [Compression::NONE, Compression(3), Compression(0xff)] {
        let error = parse(compression, S::Data, b".data").unwrap_err();
        assert!(error.to_string().contains("algorithm"), "{error}");
    }
}

#[test]
fn code_is_never_compressed() {
    let Some(payload) = compress(Compression::LZ4, &[0xc3; 100]) else { return };
    let code = section(SectionKind::Code, b".text2", &payload, 100);
    let mut file = module(Compression::LZ4, &[code]);
    let smf = Smf::parse(&file).unwrap();
    assert_eq!(&*smf.contents(&smf.section(1).unwrap()).unwrap(), [0xc3; 100]);
    let refused = Image::map(&smf).err().unwrap();
    assert_eq!(refused, LinkError::CompressedCode { section: 1 });
    let flags = usize::try_from(smf.header_offset()).unwrap() + 8;
    file[flags] |= 1;
    let error = Smf::parse(&file).unwrap_err().to_string();
    assert!(error.contains("section 1") && error.contains("code"), "{error}");
}

#[test]
fn section_is_decompressed_into_the_pages_of_its_module() {
    for compression in BOTH {
        for data in data().into_iter().filter(|data| data.len() > 5000) {
            let (tool, ways) = ways(compression);
            for way in ways {
                let Some(payload) = through(tool, way, &data) else { return };
                if payload.len() > data.len() {
                    continue;
                }
                let size = data.len() as u64;
                let debug = section(SectionKind::Debug, b".debug", b"not looked at", 13);
                let file = module(
                    compression,
                    &[section(SectionKind::Data, b".data", &payload, size), debug],
                );
                let smf = Smf::parse(&file).unwrap();
                let linked = Image::map(&smf).unwrap().link(&NoImports).unwrap();
                let at = linked.symbol(b"datum").unwrap();
                assert!(linked.contains(at + size - 1));
                assert!(bytes_at(at, data.len()) == data, "{tool} {way:?}");
            }
        }
        let broken = module(compression, &[section(SectionKind::Data, b".data", b"nothing", 100)]);
        let refused = Image::map(&Smf::parse(&broken).unwrap()).err().unwrap();
        let LinkError::Format(FormatError::Compression(CompressionError::Decompress {
            index: 1,
            ..
        })) = refused
        else {
            panic!("{refused}");
        };
    }
}

#[test]
fn notes_and_templates_are_decompressed_on_request() {
    const ROW: &str = "    \"List\", \"Int\", \"List$Int\"\n";
    let note = "possible |template, type_args, mangled_name|\n".to_owned() + &ROW.repeat(50);
    let name = "T".repeat(100);
    let templates = [b"GTPL\x01\0\x01\0\0\0\0\x64\0\0\0", name.as_bytes(), &[1]].concat();
    for compression in BOTH {
        let file = |note: &str, templates: &[u8]| {
            let contents = [note.as_bytes(), templates];
            let stored = contents.map(|contents| compress(compression, contents));
            let [Some(first), Some(second)] = &stored else { return None };
            let [note, templates] = contents.map(|contents| contents.len() as u64);
            Some(module(
                compression,
                &[
                    section(SectionKind::Note, b"note.sdn", first, note),
                    section(SectionKind::TemplateCode, b".templates", second, templates),
                ],
            ))
        };
        let Some(sound) = file(&note, &templates) else { return };
        let smf = Smf::parse(&sound).unwrap();
        smf.verify().unwrap();
        smf.verify_compressed().unwrap();
        assert!(matches!(
            smf.note_bytes(),
            Err(FormatError::Compression(CompressionError::StillCompressed { index: 1, .. }))
        ));
        assert!(matches!(
            smf.templates(),
            Err(FormatError::Compression(CompressionError::StillCompressed { index: 2, .. }))
        ));
        let (text, at) = smf.note_contents().unwrap().unwrap();
        assert_eq!((&*text, at), (note.as_bytes(), smf.section(1).unwrap().offset));
        assert_eq!(Note::parse(&text, at).unwrap().entries::<Possible>().count(), 50);
        let contents = smf.contents(&smf.section(2).unwrap()).unwrap();
        let found = Templates::parse(&contents, 0).unwrap();
        assert_eq!(found.iter().next().unwrap().unwrap().name, name.as_bytes());

        // Errors inside the contents are reported when the contents are read.
        let cut = templates.get(..100).unwrap();
        for broken in [file(&note, cut), file(&note.replace(", ", " "), &templates)] {
            let broken = broken.unwrap();
            let smf = Smf::parse(&broken).unwrap();
            smf.verify().unwrap();
            assert!(smf.verify_compressed().is_err());
        }
    }
}

#[test]
fn section_without_bytes_is_not_compressed() {
    let file = module(Compression::ZSTD, &[]);
    let smf = Smf::parse(&file).unwrap();
    assert!(smf.verify_compressed().is_ok());
    let bss = section(SectionKind::Bss, b".bss", b"", 64);
    let file = module(Compression::ZSTD, &[bss]);
    let smf = Smf::parse(&file).unwrap();
    let section = smf.section(1).unwrap();
    assert!(section.flags.has(SectionFlags::COMPRESSED) && !section.is_compressed());
    smf.verify_compressed().unwrap();
    assert!(Image::map(&smf).is_ok());
}

/// The window of a frame is allocated only as far as its blocks can fill it.
#[test]
fn hundred_thousand_empty_frames_with_large_windows_are_read() {
    let empty = zstd_frame(&[0, 0x68], &[(0, 0, b"")]);
    let payload = empty.repeat(100_000);
    let size = 16 << 20;
    assert_eq!(
        fault(Compression::ZSTD, &payload, size),
        CompressionErrorKind::Short { max: 0, virtual_size: size }
    );
    let payload = [&payload[..], &zstd_frame(&[0, 0x70], &vec![RLE; 128])].concat();
    assert_eq!(decompress(Compression::ZSTD, &payload, size).unwrap().len(), 16 << 20);
}

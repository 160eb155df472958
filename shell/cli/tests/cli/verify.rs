//! `smf verify` on several files and on archives.

use std::fs;

use smf_core::format::write::{Module, NewSection, NewSymbol, Payload, Place};
use smf_core::format::{Compression, Header, Layout, SectionFlags, SectionKind, Smf, SymbolKind};
use smf_core::link::host_arch;

use super::{contains, fails, ok, sample, scratch, smf, text};

#[test]
fn verify_reports_every_file() {
    let output = smf(&["verify", "packed.smf", "bad/empty.smf", "absent", "library.lsm"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "packed.smf: ok\nlibrary.lsm: ok\n");
    let errors = text(&output.stderr);
    assert_eq!(errors.lines().count(), 2);
    assert_eq!(
        errors.lines().next(),
        Some("error: bad/empty.smf: the file is empty, at offset 0x0")
    );
    contains(&errors, &["error: absent: "]);
}

#[test]
fn verify_checks_archive_members() {
    let directory = scratch("archive");
    let original = fs::read(sample("library.lsm")).unwrap();
    let path = directory.join("damaged.lsm");
    let path_text = path.to_str().unwrap();
    let mut damaged = original.clone();
    damaged[600] ^= 1;
    fs::write(&path, &damaged).unwrap();
    contains(&fails(&["verify", path_text]), &["module 0", "hash", "offset 0x"]);
    // A module that was invalid before it was archived has a valid hash.
    let bad = sample("bad/reloc-type.smf");
    let member = format!("broken={}", bad.display());
    ok(&["lib", "create", "-o", path_text, "good=packed.smf", &member]);
    contains(&fails(&["verify", path_text]), &["module `broken`", "type 99", "offset 0x70"]);
}

/// As a load does, without running anything.
#[test]
fn verify_relocates_modules_of_this_machine() {
    let directory = scratch("relocated");
    let [source, module] = ["half.spl", "half.smf"].map(|name| directory.join(name));
    let module_text = module.to_str().unwrap();
    fs::write(&source, "fn half(x: i64) -> i64: x / 2\n").unwrap();
    ok(&["compile", source.to_str().unwrap(), "-o", module_text]);
    assert_eq!(ok(&["verify", module_text]), format!("{module_text}: ok\n"));
    let mut bytes = fs::read(&module).unwrap();
    let tables =
        Smf::parse(&bytes).unwrap().sections().named(b".eh_frame").unwrap().offset as usize;
    bytes[tables..][..2].copy_from_slice(&[0xff, 0x7f]);
    fs::write(&module, &bytes).unwrap();
    contains(&fails(&["verify", module_text]), &["unwinding tables: a record exceeds the section"]);
}

/// 16.7 KB that claim 517 MiB: every command that reads modules refuses the file.
#[test]
fn compression_bomb_is_refused_by_every_command() {
    const BLOCK: u64 = 128 << 10;
    let blocks = 4_136u32;
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58];
    for number in 1..=blocks {
        let header = u32::from(number == blocks) | 1 << 1 | (128 << 10) << 3;
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.push(0);
    }
    let data = NewSection {
        kind: SectionKind::Data,
        name: b".data",
        flags: SectionFlags(SectionFlags::READ | SectionFlags::COMPRESSED),
        alignment: 16,
        virtual_size: Some(u64::from(blocks) * BLOCK),
        payload: Payload::Bytes(&frame),
    };
    let header = Header { compression: Compression::ZSTD, arch: host_arch(), ..Header::default() };
    let sections = [NewSection::code(&[0xc3]), data];
    let main = NewSymbol {
        name: b"main",
        kind: SymbolKind::Function,
        place: Place::Section(0),
        ..NewSymbol::default()
    };
    let module =
        Module { layout: Layout::Packed, header, stub: &[], sections: &sections, symbols: &[main] };
    let directory = scratch("bomb");
    let (path, out) = (directory.join("bomb.smf"), directory.join("out.smf"));
    fs::write(&path, module.to_vec().unwrap()).unwrap();
    let (path, out) = (path.to_str().unwrap(), out.to_str().unwrap());
    for args in [
        &["verify", path][..],
        &["inspect", path],
        &["run", path, "main"],
        &["convert", path, "--layout", "native", "-o", out],
        &["templates", path],
        &["note", path],
        &["strip-stub", path, "-o", out],
        &["jit", path, "f", "i64"],
    ] {
        contains(&fails(args), &["section 1", "compressed bytes claim", "offset 0x"]);
        assert!(!fs::exists(out).unwrap(), "{args:?}");
    }
}

/// Found: SIGSEGV inside the system's loader, and `ok` from `verify`.
#[test]
fn damaged_dynlib_is_refused_before_it_is_opened() {
    let directory = scratch("damaged-dynlib");
    let path = directory.join("damaged.smf");
    let path_text = path.to_str().unwrap();
    let mut damaged = fs::read(sample("dynlib.smf")).unwrap();
    // Damages the address of the string table in the dynamic section.
    damaged[0x2f6b] ^= 0x10;
    fs::write(&path, &damaged).unwrap();
    let why = &["DT_STRTAB of the shared object", "offset 0x2f60"];
    contains(&fails(&["verify", path_text]), why);
    contains(&fails(&["run", path_text, "plugin", "37"]), why);
    contains(&fails(&["run", "packed.smf", "--with", path_text]), why);
}

#[test]
fn dynlib_for_another_machine_verifies_but_does_not_run() {
    let directory = scratch("foreign-dynlib");
    let path = directory.join("foreign.smf");
    let path_text = path.to_str().unwrap();
    let mut foreign = fs::read(sample("dynlib.smf")).unwrap();
    foreign[18] = 243;
    fs::write(&path, &foreign).unwrap();
    contains(&ok(&["verify", path_text]), &[": ok"]);
    contains(&fails(&["run", path_text, "plugin"]), &["built for machine 243", "this process is"]);
    foreign[0x2f6b] ^= 0x10;
    fs::write(&path, &foreign).unwrap();
    contains(&fails(&["verify", path_text]), &["DT_STRTAB"]);
}

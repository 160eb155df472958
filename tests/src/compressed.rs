//! Modules with compressed sections, and the reference tools for compression.

use std::io::{ErrorKind, Write};
use std::process::{Command, Stdio};
use std::thread;

use smf_core::format::write::{Module, NewSection, NewSymbol, Payload, Place};
use smf_core::format::{
    Arch, Compression, FormatError, Header, Layout, Limits, SectionFlags, SectionKind, Smf,
    SymbolKind,
};
use smf_core::link::host_arch;

use crate::skip::lacks;

/// A section that is compressed with the algorithm of the header.
pub fn section<'a>(
    kind: SectionKind,
    name: &'a [u8],
    payload: &'a [u8],
    virtual_size: u64,
) -> NewSection<'a> {
    NewSection {
        kind,
        name,
        flags: SectionFlags(SectionFlags::READ | SectionFlags::COMPRESSED),
        alignment: 16,
        virtual_size: Some(virtual_size),
        payload: Payload::Bytes(payload),
    }
}

/// A packed module with code that returns, followed by these sections; the symbol `datum` refers to the first.
///
/// # Panics
/// If the writer refuses the module.
pub fn module(compression: Compression, sections: &[NewSection<'_>]) -> Vec<u8> {
    const RETURN: &[u8] = match host_arch() {
        Arch::X86_64 => &[0xc3],
        Arch::AARCH64 => &[0xc0, 0x03, 0x5f, 0xd6],
        _ => &[0x82, 0x80],
    };
    let code = NewSection::code(RETURN);
    let sections = [&[code], sections].concat();
    let symbol = |name, kind, section| NewSymbol {
        name,
        kind,
        place: Place::Section(section),
        ..NewSymbol::default()
    };
    let symbols = [
        symbol(b"nothing", SymbolKind::Function, 0),
        symbol(b"datum", SymbolKind::Data, u16::from(sections.len() > 1)),
    ];
    let header = Header { compression, arch: host_arch(), ..Header::default() };
    let layout = Layout::Packed;
    let module = Module { layout, header, stub: &[], sections: &sections, symbols: &symbols };
    module.to_vec().unwrap()
}

/// Decompresses `payload` as a section of `virtual_size` bytes, with any compression ratio, and checks the guarantees of
/// `format`.
///
/// # Errors
/// The reason why it is not such a section.
///
/// # Panics
/// If a guarantee is broken.
pub fn decompress(
    compression: Compression,
    payload: &[u8],
    virtual_size: u64,
) -> Result<Vec<u8>, FormatError> {
    let file = module(compression, &[section(SectionKind::Data, b".data", payload, virtual_size)]);
    let any_ratio = Limits { compression_ratio: u64::MAX, ..Limits::default() };
    let smf = Smf::parse_within(&file, any_ratio)?;
    smf.verify()?;
    let data = smf.section(1)?;
    let claim = smf.check_compressed(&data);
    let contents = smf.contents(&data);
    assert!(claim.is_ok() || contents == Err(claim.unwrap_err()));
    assert_eq!(smf.verify_compressed().err(), contents.as_ref().err().copied());
    contents.map(|contents| {
        assert_eq!(contents.len() as u64, virtual_size);
        contents.into_owned()
    })
}

/// Runs `program` with `arguments` and `input` on its standard input. Returns its output, `None` if the machine does
/// not have it.
///
/// # Panics
/// If it fails, or is missing where the variable `CI` is set.
pub fn through(program: &str, arguments: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            lacks(program);
            return None;
        }
        Err(error) => panic!("{command:?}: {error}"),
    };
    let mut stdin = child.stdin.take().unwrap();
    let output = thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "{command:?}: {}", output.status);
    Some(output.stdout)
}

//! The smallest module with something of everything: code, data and a relocation between them, for each
//! instruction set that the loader runs on. Written by hand, so that no compiler for them is needed.

use smf_core::format::write::{Module, NewSection, NewSymbol, Payload, Place, WriteError};
use smf_core::format::{
    Arch, Binding, Flags, Header, Layout, Reloc, RelocKind, SectionFlags, SectionKind, SymbolKind,
};

/// `answer() = 42` and, eight bytes behind it, `add(a, b) = a + b`.
fn code(arch: Arch) -> [u8; 16] {
    let words: [u64; 2] = match arch {
        // mov eax, 42; ret. lea rax, [rdi + rsi]; ret.
        Arch::X86_64 => [0xcccc_c300_0000_2ab8, 0xcccc_ccc3_3704_8d48],
        // mov w0, #42; ret. add x0, x0, x1; ret.
        Arch::AARCH64 => [0xd65f_03c0_5280_0540, 0xd65f_03c0_8b01_0000],
        // li a0, 42; ret. add a0, a0, a1; ret.
        _ => [0x0000_8067_02a0_0513, 0x0000_8067_00b5_0533],
    };
    let both = u128::from(words[0]) | u128::from(words[1]) << 64;
    both.to_le_bytes()
}

/// A packed module for `arch` that exports `answer`, `add`, and `pointer`, which holds the address of
/// `answer`; with `more` zeroes behind it.
///
/// # Errors
/// None that the writer knows of.
pub fn module(arch: Arch, more: usize) -> Result<Vec<u8>, WriteError> {
    let (code, data) = (code(arch), vec![0; 8 + more]);
    let relocs = [Reloc { offset: 0, symbol: 0, kind: RelocKind::Abs64, addend: 0 }];
    let section = |kind, name: &'static [u8], flags, payload| NewSection {
        kind,
        name,
        flags: SectionFlags(SectionFlags::READ | flags),
        alignment: 16,
        virtual_size: None,
        payload,
    };
    let sections = [
        section(SectionKind::Code, b".text", SectionFlags::EXECUTE, Payload::Bytes(&code)),
        section(SectionKind::Data, b".data", SectionFlags::WRITE, Payload::Bytes(&data)),
        section(SectionKind::Reloc, b".rela.data", 0, Payload::Relocs(&relocs)),
    ];
    let symbol = |name: &'static [u8], kind, section, value| NewSymbol {
        name,
        kind,
        binding: Binding::Global,
        place: Place::Section(section),
        value,
        size: 8,
        ..NewSymbol::default()
    };
    let symbols = [
        symbol(b"answer", SymbolKind::Function, 0, 0),
        symbol(b"add", SymbolKind::Function, 0, 8),
        symbol(b"pointer", SymbolKind::Data, 1, 0),
    ];
    let header = Header { arch, flags: Flags(Flags::EXECUTABLE), ..Header::default() };
    let layout = Layout::Packed;
    Module { layout, header, stub: &[], sections: &sections, symbols: &symbols }.to_vec()
}

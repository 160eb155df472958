//! The smallest module with one of everything: code, data, a relocation between them, and a template with its possible
//! instance, for each instruction set of the loader. It is written by hand, so that no cross compiler is needed.

use smf_core::format::template::{Container, Template};
use smf_core::format::write::{
    Module, NewSection, NewSymbol, NewTemplates, Payload, Place, WriteError,
};
use smf_core::format::{
    Arch, Binding, Flags, Header, Layout, Reloc, RelocKind, SectionFlags, SectionKind, SymbolKind,
};

/// The note: the possible instance of the template `same`.
const NOTE: &[u8] = b"possible |template, type_args, mangled_name|\n    same, i64, same$i64\n";

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

/// `same(a) = a`, precompiled for any types: the body of a template in the form that `templates` describes, with
/// one variant.
fn same(arch: Arch) -> Vec<u8> {
    let code: [u8; 4] = match arch {
        // mov rax, rdi; ret.
        Arch::X86_64 => [0x48, 0x89, 0xf8, 0xc3],
        // ret: result and argument are in one register.
        Arch::AARCH64 => 0xd65f_03c0_u32.to_le_bytes(),
        _ => 0x0000_8067_u32.to_le_bytes(),
    };
    let body: [&[u8]; 7] = [
        // 32 bytes in all, version 1, one variant of 20 bytes.
        &[b'M', b'A', b'C', b'H', 32, 0, 0, 0, 1, 0, 1, 0],
        &[20, 0, 0, 0],
        &[arch.0, 0],
        // No types.
        &[0, 0],
        &[4, 0, 0, 0],
        // No relocations.
        &[0; 4],
        &code,
    ];
    body.concat()
}

/// A packed module for `arch` that exports `answer`, `add`, and `pointer`, which holds the address of
/// `answer`, followed by `more` zero bytes. Its template `same` may become `same$i64`.
///
/// # Errors
/// None known.
pub fn module(arch: Arch, more: usize) -> Result<Vec<u8>, WriteError> {
    let (code, data) = (code(arch), vec![0; 8 + more]);
    let body = &same(arch)[..];
    let (kind, params, constraints) = (None, 0, Default::default());
    let templates = &[Template { name: b"same", kind, params, constraints, body }];
    let templates = NewTemplates { container: Container::Counted, templates }.to_vec();
    let templates = templates.unwrap_or_default();
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
        section(SectionKind::TemplateCode, b".templates", 0, Payload::Bytes(&templates)),
        section(SectionKind::Note, b"note.sdn", 0, Payload::Bytes(NOTE)),
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

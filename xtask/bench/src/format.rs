//! Reading: the time until a file is parsed, and until it is verified.
//!
//! Both sides open a file and read every field of its eight sections. Their guarantees for opened files differ:
//! `object` has found the tables of symbols and of names, and compares a section with the file when its bytes are
//! requested; smf has checked the alignment, the file range, the sizes and the compression of each section, on which
//! its readers rely, and the memory limit of all sections together. The row of the lowest level of the peer shows the
//! cost of opening without its checks.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::Write;

use memmap2::Mmap;
use object::read::elf::{FileHeader, SectionHeader};
use object::read::{Object, ObjectSection};
use object::write::elf as write_elf;
use object::{LittleEndian, SectionFlags, elf};
use smf_core::format::write::{Module, NewSection, NewSymbol, Payload, Place};
use smf_core::format::{self, Header, Layout, Reloc, RelocKind, SectionKind, Smf};

use crate::measure::{Bench, Measure, Target, repeat};

const PARSE: &str = "parse a header and 8 sections";
const PARSE_LOW: &str = "parse a header and 8 sections, peer's lowest level";
const VERIFY: &str = "verify 10,000 symbols and 30,000 relocations, a byte";

const SECTIONS: usize = 8;
const SYMBOLS: usize = 10_000;
const RELOCS: usize = 30_000;

pub(crate) fn measure(bench: &mut Bench) {
    let (smf, elf) = (map(&module_with_sections()), map(&elf_with_sections()));
    assert_eq!(read_elf(&elf), read_elf_low(&elf));
    let target = Target { ratio: Some(0.3), limit: Some(100.0) };
    let parse = Measure { name: PARSE, peer: "object, File", target, ..Measure::default() };
    bench.take(&parse, repeat(|| read_smf(&smf)), Some(repeat(|| read_elf(&elf))));
    let low = Measure { name: PARSE_LOW, peer: "object, FileHeader64", ..Measure::default() };
    bench.take(&low, repeat(|| read_smf(&smf)), Some(repeat(|| read_elf_low(&elf))));

    let large = map(&large_module());
    let verify = Measure {
        name: VERIFY,
        per: large.len() as u64,
        target: Target::limit(1.0),
        ..Measure::default()
    };
    bench.take(&verify, repeat(|| Smf::parse(&large).unwrap().verify().unwrap()), None);
}

fn map(bytes: &[u8]) -> Mmap {
    let mut file: File = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    // SAFETY: the file has no name, so that no other process can change it.
    unsafe { Mmap::map(&file) }.unwrap()
}

/// Parses and reads every field of every section.
fn read_smf(data: &[u8]) -> u64 {
    let smf = Smf::parse(data).unwrap();
    let fields = smf.sections().iter().map(|section| {
        let kind = u64::from(section.kind == SectionKind::Code);
        section.name.len() as u64
            + kind
            + section.offset
            + section.size
            + u64::from(section.flags.0)
    });
    fields.sum()
}

fn read_elf(data: &[u8]) -> u64 {
    let file = object::File::parse(data).unwrap();
    let fields = file.sections().map(|section| {
        let kind = u64::from(section.kind() == object::SectionKind::Text);
        let (offset, _) = section.file_range().unwrap_or_default();
        let SectionFlags::Elf { sh_flags, .. } = section.flags() else { unreachable!() };
        section.name_bytes().unwrap().len() as u64 + kind + offset + section.size() + sh_flags.0
    });
    fields.sum()
}

/// The same with only the header and the section table decoded.
fn read_elf_low(data: &[u8]) -> u64 {
    let header = elf::FileHeader64::<LittleEndian>::parse(data).unwrap();
    let endian = header.endian().unwrap();
    let sections = header.sections(endian, data).unwrap();
    let fields = sections.iter().skip(1).map(|section| {
        let flags = section.sh_flags(endian);
        let code = flags.0 & elf::SHF_EXECINSTR.0 != 0;
        let name = sections.section_name(endian, section).unwrap();
        let (offset, size) = (section.sh_offset(endian), section.sh_size(endian));
        name.len() as u64 + u64::from(code) + offset + size + flags.0
    });
    fields.sum()
}

fn section<'a>(kind: SectionKind, name: &'a [u8], payload: Payload<'a>) -> NewSection<'a> {
    let flags = match kind {
        SectionKind::Code => format::SectionFlags::READ | format::SectionFlags::EXECUTE,
        _ => format::SectionFlags::READ,
    };
    let flags = format::SectionFlags(flags);
    NewSection { kind, name, flags, alignment: 8, virtual_size: None, payload }
}

fn write(sections: &[NewSection<'_>], symbols: &[NewSymbol<'_>]) -> Vec<u8> {
    let header = Header::default();
    let module = Module { layout: Layout::Packed, header, stub: &[], sections, symbols };
    let mut file = vec![0; module.file_len().unwrap()];
    module.write(&mut file).unwrap();
    file
}

fn names() -> Vec<String> {
    (0..SECTIONS).map(|number| format!(".section{number}")).collect()
}

fn module_with_sections() -> Vec<u8> {
    let names = names();
    let sections = names.iter().enumerate().map(|(number, name)| {
        let kind = if number == 0 { SectionKind::Code } else { SectionKind::RoData };
        section(kind, name.as_bytes(), Payload::Bytes(&[0; 64]))
    });
    write(&sections.collect::<Vec<_>>(), &[])
}

/// An ELF file with this number of sections, including the one with the section names.
fn elf_with_sections() -> Vec<u8> {
    let mut file = Vec::new();
    let mut writer = write_elf::Writer::new(object::Endianness::Little, true, &mut file);
    let names = names();
    writer.reserve_file_header();
    writer.reserve_null_section_index();
    let mut placed = Vec::new();
    for name in names.iter().skip(1) {
        let name = writer.add_section_name(name.as_bytes());
        writer.reserve_section_index();
        placed.push((name, writer.reserve(64, 8)));
    }
    writer.reserve_shstrtab_section_index();
    writer.reserve_shstrtab().unwrap();
    writer.reserve_section_headers();
    let header = write_elf::FileHeader {
        os_abi: elf::ELFOSABI_NONE,
        abi_version: 0,
        e_type: elf::ET_REL,
        e_machine: elf::EM_X86_64,
        e_entry: 0,
        e_flags: elf::FileFlags(0),
    };
    writer.write_file_header(&header).unwrap();
    for _ in &placed {
        writer.write_align(8);
        writer.write(&[0; 64]);
    }
    writer.write_shstrtab();
    writer.write_null_section_header();
    for (number, (name, offset)) in placed.into_iter().enumerate() {
        let code = if number == 0 { elf::SHF_EXECINSTR.0 } else { 0 };
        writer.write_section_header(&write_elf::SectionHeader {
            sh_name: writer.section_name_offset(Some(name)),
            sh_type: elf::SHT_PROGBITS,
            sh_flags: elf::SectionFlags(elf::SHF_ALLOC.0 | code),
            sh_addr: 0,
            sh_offset: offset,
            sh_size: 64,
            sh_link: 0,
            sh_info: 0,
            sh_addralign: 8,
            sh_entsize: 0,
        });
    }
    writer.write_shstrtab_section_header();
    file
}

/// A module with many instances of every part that can be checked.
fn large_module() -> Vec<u8> {
    let code = vec![0x90; 8 * RELOCS];
    let kinds = [RelocKind::Pc32, RelocKind::Plt32, RelocKind::GotPcRel, RelocKind::Abs64];
    let relocs: Vec<_> = (0..RELOCS)
        .map(|number| Reloc {
            offset: 8 * number as u64,
            symbol: u32::try_from(number * 7919 % SYMBOLS).unwrap(),
            kind: kinds[number % kinds.len()],
            addend: -4,
        })
        .collect();
    let names: Vec<_> = (0..SYMBOLS).map(|number| format!("function_{number}")).collect();
    let symbols: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(number, name)| NewSymbol {
            name: name.as_bytes(),
            place: Place::Section(0),
            value: 16 * number as u64,
            size: 16,
            ..NewSymbol::default()
        })
        .collect();
    let sections = [
        section(SectionKind::Code, b".text", Payload::Bytes(&code)),
        section(SectionKind::Reloc, b".rela.text", Payload::Relocs(&relocs)),
    ];
    write(&sections, &symbols)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files_have_eight_sections() {
        let elf = elf_with_sections();
        assert_eq!(object::File::parse(&*elf).unwrap().sections().count(), SECTIONS);
        assert_eq!(Smf::parse(&module_with_sections()).unwrap().sections().len(), SECTIONS);
        Smf::parse(&large_module()).unwrap().verify().unwrap();
    }
}

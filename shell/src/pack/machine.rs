//! The supported instruction sets.

use std::fmt;

use ::object::LittleEndian;
use ::object::elf::{self, RelocationType};
use ::object::read::archive::ArchiveFile;
use ::object::read::elf::FileHeader;
use smf_core::format::{Arch, File};

/// An instruction set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Machine {
    /// x86-64.
    #[default]
    X86_64,
    /// 64-bit ARM.
    Aarch64,
}

impl Machine {
    /// The instruction set of an ELF file; `None` if it is not supported.
    pub(super) fn of(machine: elf::Machine) -> Option<Self> {
        match machine {
            elf::EM_X86_64 => Some(Machine::X86_64),
            elf::EM_AARCH64 => Some(Machine::Aarch64),
            _ => None,
        }
    }

    /// The instruction set of an ELF object or a module, or of the first one in an archive; `None` for other bytes.
    pub fn of_object(data: &[u8]) -> Option<Self> {
        if let Ok(archive) = ArchiveFile::parse(data) {
            let members = archive.members().filter_map(|member| member.ok()?.data(data).ok());
            return members
                .filter(|data| ArchiveFile::parse(*data).is_err())
                .find_map(Self::of_object);
        }
        let of_elf = || Self::of(elf::FileHeader64::parse(data).ok()?.e_machine(LittleEndian));
        let of_module = || match File::parse(data).ok()? {
            File::Module(smf) => Self::of_arch(smf.header().arch),
            File::Library(library) => {
                library.modules().find_map(|module| Self::of_object(module.ok()?.data))
            }
        };
        of_elf().or_else(of_module)
    }

    fn of_arch(arch: Arch) -> Option<Self> {
        [Machine::X86_64, Machine::Aarch64].into_iter().find(|machine| machine.arch() == arch)
    }

    /// The value of the module header.
    pub(super) fn arch(self) -> Arch {
        match self {
            Machine::X86_64 => Arch::X86_64,
            Machine::Aarch64 => Arch::AARCH64,
        }
    }

    /// The ELF name of a relocation type.
    pub(super) fn reloc_name(self, kind: RelocationType) -> Option<&'static str> {
        match self {
            Machine::X86_64 => elf::NAMES_R_X86_64.name(kind),
            Machine::Aarch64 => elf::NAMES_R_AARCH64.name(kind),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Machine::X86_64 => "x86-64",
            Machine::Aarch64 => "aarch64",
        })
    }
}

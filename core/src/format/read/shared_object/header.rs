//! The file header of a shared object.

use crate::format::error::{
    Result, SharedObjectErrorKind as Kind, SharedObjectPart as Part, ensure,
};
use crate::format::read::shared_object::view::{Encoding, View, refuse};
use crate::format::wire::{ELF_MAGIC, array, u8_at};

const ET_DYN: u16 = 3;

const E_CLASS: usize = 4;
const E_DATA: usize = 5;
const E_IDENT_VERSION: usize = 6;
const E_TYPE: usize = 16;
const E_MACHINE: usize = 18;
const E_VERSION: usize = 20;

/// The maximum number of program headers. The system's loader copies all of them to the stack.
const MAX_PROGRAM_HEADERS: u16 = 64;

/// Machines whose relocations are known here, or whose tables differ from the generic ones.
pub(crate) mod machine {
    pub(crate) const MIPS: u16 = 8;
    pub(crate) const S390: u16 = 22;
    pub(crate) const X86_64: u16 = 62;
    pub(crate) const AARCH64: u16 = 183;
    pub(crate) const ALPHA: u16 = 0x9026;
}

/// The file header, as far as a loader reads it.
#[derive(Clone, Copy)]
pub(crate) struct FileHeader<'d> {
    pub(crate) file: View<'d>,
    pub(crate) machine: u16,
    /// The program header table.
    pub(crate) table: View<'d>,
}

impl<'d> FileHeader<'d> {
    /// Reads the header of `object`.
    ///
    /// # Errors
    /// A header that is not one of a shared object; a program header table outside the file.
    pub(crate) fn read(object: &'d [u8]) -> Result<Self> {
        let fault = |kind, at: usize| refuse(Part::Object, kind, at as u64);
        let header = array::<16>(object, 0).filter(|header| header.starts_with(&ELF_MAGIC));
        let header = header.ok_or(fault(Kind::CutOff, 0))?;
        let ident = |at| u8_at(header, at).unwrap_or(0);
        let encoding = Encoding { is_64: ident(E_CLASS) == 2, is_big: ident(E_DATA) == 2 };
        for (at, values) in [(E_CLASS, 1..=2), (E_DATA, 1..=2), (E_IDENT_VERSION, 1..=1)] {
            ensure(values.contains(&ident(at)), fault(Kind::Ident, at))?;
        }
        let file = View::new(object, encoding);
        let size = if encoding.is_64 { 64 } else { 52 };
        let header = file.part(0, size).ok_or(fault(Kind::CutOff, 0))?;
        ensure(header.u32(E_VERSION) == Some(1), fault(Kind::Ident, E_VERSION))?;
        let value = header.u16(E_TYPE).unwrap_or(0);
        ensure(value == ET_DYN, fault(Kind::Type { value }, E_TYPE))?;
        let table = program_headers(file, header)?;
        Ok(Self { file, machine: header.u16(E_MACHINE).unwrap_or(0), table })
    }

    /// Whether the relocation types of the machine are known here.
    pub(crate) fn has_known_relocations(&self) -> bool {
        let is_known = matches!(self.machine, machine::X86_64 | machine::AARCH64);
        is_known && self.file.encoding.is_64
    }

    /// The size of a program header in bytes.
    pub(crate) fn stride(&self) -> u64 {
        stride(self.file.encoding)
    }
}

fn stride(encoding: Encoding) -> u64 {
    if encoding.is_64 { 56 } else { 32 }
}

/// The program header table.
fn program_headers<'d>(file: View<'d>, header: View<'d>) -> Result<View<'d>> {
    // The fields are e_phoff, e_phentsize and e_phnum.
    let [offset_at, size_at, count_at] =
        if file.encoding.is_64 { [32, 54, 56] } else { [28, 42, 44] };
    let fault = |at: usize| refuse(Part::Object, Kind::ProgramHeaders, at as u64);
    let stride = stride(file.encoding);
    ensure(header.u16(size_at).map(u64::from) == Some(stride), fault(size_at))?;
    let count = header.u16(count_at).unwrap_or(0);
    ensure(count <= MAX_PROGRAM_HEADERS, fault(count_at))?;
    let offset = header.word(offset_at).unwrap_or(0);
    file.part(offset, u64::from(count) * stride).ok_or(fault(offset_at))
}

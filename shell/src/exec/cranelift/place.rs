//! The code of a unit, and its relocations.

use cranelift_codegen::Context;
use cranelift_codegen::FinalizedRelocTarget;
use cranelift_codegen::binemit::Reloc;
use cranelift_codegen::ir::{ExternalName, LibCall};
use smf_core::alloc_util::{AllocError, try_box, try_collect, try_push};
use smf_core::exec::{BackendError, CompiledUnit};
use smf_core::link::Name;
use smf_core::memory::code_alloc::{CodeMemory, Request};

use super::declarations::{Data, OWN};
use crate::exec::callees::other;

/// The alignment of functions, in bytes.
const ALIGN: usize = 16;

/// The landing pad before each function, for indirect calls under control-flow protection: `endbr64`.
#[cfg(target_arch = "x86_64")]
const LANDING_PAD: &[u8] = &[0xf3, 0x0f, 0x1e, 0xfa];
#[cfg(not(target_arch = "x86_64"))]
const LANDING_PAD: &[u8] = &[];

/// What a relocation refers to.
#[derive(Clone, Copy)]
enum Target {
    /// The start of a function of the unit.
    Function(u32),
    /// An offset in the code of the unit.
    Offset(usize),
    /// A number in the list of addresses.
    Outside(u32),
    Address(u64),
}

struct Relocation {
    /// The function that has it.
    function: usize,
    /// In all of the code.
    offset: usize,
    kind: Reloc,
    target: Target,
    addend: i64,
}

/// The code of a unit before it is placed.
#[derive(Default)]
pub(super) struct UnitCode {
    bytes: Vec<u8>,
    align: usize,
    /// The offset of each function, at its landing pad.
    starts: Vec<usize>,
    code_bytes: usize,
    relocations: Vec<Relocation>,
}

/// The address of a function of the C library.
fn library_function(call: LibCall) -> Option<u64> {
    let function = match call {
        LibCall::Memcpy => libc::memcpy as *const (),
        LibCall::Memmove => libc::memmove as *const (),
        LibCall::Memset => libc::memset as *const (),
        LibCall::Memcmp => libc::memcmp as *const (),
        _ => return None,
    };
    Some(function as usize as u64)
}

impl UnitCode {
    /// Bytes of the code of the functions alone.
    pub(super) fn code_bytes(&self) -> usize {
        self.code_bytes
    }

    /// Appends the function that was compiled in `context`.
    pub(super) fn add(&mut self, context: &Context) -> Result<(), BackendError> {
        let no_code = BackendError::Defect("Cranelift: a function has no code");
        let compiled = context.compiled_code().ok_or(no_code)?;
        let code = compiled.code_buffer();
        let align = usize::try_from(compiled.buffer.alignment).unwrap_or(ALIGN).max(ALIGN);
        self.align = self.align.max(align);
        let start = self.bytes.len() + LANDING_PAD.len();
        let start = start.next_multiple_of(align);
        let end = start + code.len();
        self.bytes.try_reserve(end - self.bytes.len()).map_err(|_| AllocError)?;
        self.bytes.resize(start - LANDING_PAD.len(), 0xcc);
        self.bytes.extend_from_slice(LANDING_PAD);
        self.bytes.extend_from_slice(code);
        self.code_bytes += code.len();
        let function = self.starts.len();
        try_push(&mut self.starts, start - LANDING_PAD.len())?;
        for relocation in compiled.buffer.relocs() {
            let target = match &relocation.target {
                FinalizedRelocTarget::Func(offset) => Target::Offset(start + *offset as usize),
                FinalizedRelocTarget::ExternalName(ExternalName::User(name)) => {
                    match &context.func.params.user_named_funcs()[*name] {
                        name if name.namespace == OWN => Target::Function(name.index),
                        name => Target::Outside(name.index),
                    }
                }
                FinalizedRelocTarget::ExternalName(ExternalName::LibCall(call)) => {
                    match library_function(*call) {
                        Some(address) => Target::Address(address),
                        None => return Err(other(&format!("no library function {call}"))?),
                    }
                }
                FinalizedRelocTarget::ExternalName(name) => {
                    return Err(other(&format!("no symbol {name:?}"))?);
                }
            };
            let offset = start + relocation.offset as usize;
            let (kind, addend) = (relocation.kind, relocation.addend);
            try_push(&mut self.relocations, Relocation { function, offset, kind, target, addend })?;
        }
        Ok(())
    }

    fn target(&self, target: Target, base: u64, outside: &[u64]) -> Option<u64> {
        match target {
            Target::Function(index) => {
                let start = self.starts.get(usize::try_from(index).ok()?)?;
                Some(base + *start as u64)
            }
            Target::Offset(offset) => Some(base + offset as u64),
            Target::Outside(number) => outside.get(usize::try_from(number).ok()?).copied(),
            Target::Address(address) => Some(address),
        }
    }

    /// Places the code, which refers to `data`.
    pub(super) fn place(
        self,
        memory: &CodeMemory,
        outside: &[u64],
        data: Data,
        name: &dyn Fn(usize) -> Result<Name, AllocError>,
    ) -> Result<CompiledUnit, BackendError> {
        if self.bytes.is_empty() {
            return Ok(CompiledUnit { addresses: Vec::new(), bytes: 0, code: try_box(data)? });
        }
        let size = self.bytes.len();
        let mut block = memory.allocate_with(Request::new(size).aligned_to(self.align))?;
        let base = block.address() as u64;
        let places = block.as_mut_slice();
        for (place, byte) in places.iter_mut().zip(&self.bytes) {
            *place = *byte;
        }
        for relocation in &self.relocations {
            let target = self.target(relocation.target, base, outside);
            let no_target = BackendError::Defect("Cranelift: a relocation has no target");
            let target = target.ok_or(no_target)?;
            let value = target.wrapping_add_signed(relocation.addend);
            let at = base + relocation.offset as u64;
            let bytes = places.get_mut(relocation.offset..).unwrap_or_default();
            match apply(relocation.kind, value, at, bytes) {
                Some(true) => {}
                Some(false) => {
                    let function = name(relocation.function)?;
                    return Err(BackendError::OutOfReach { function, target });
                }
                None => return Err(other(&format!("no relocation {:?}", relocation.kind))?),
            }
        }
        let data_bytes: usize = data.iter().map(|words| size_of_val(&**words)).sum();
        let addresses = try_collect(self.starts.iter().map(|start| base + *start as u64))?;
        let code = try_box((block.publish()?, data))?;
        Ok(CompiledUnit { addresses, bytes: size + data_bytes, code })
    }
}

/// Writes a value at address `at`, whose bytes are the first of `bytes`. Whether it fits; `None` for a kind that code
/// for this machine does not have.
fn apply(kind: Reloc, value: u64, at: u64, bytes: &mut [u8]) -> Option<bool> {
    let distance = value.wrapping_sub(at).cast_signed();
    match kind {
        Reloc::Abs8 => {
            *bytes.first_chunk_mut()? = value.to_le_bytes();
            Some(true)
        }
        Reloc::X86PCRel4 | Reloc::X86CallPCRel4 | Reloc::X86CallPLTRel4 => {
            let Ok(distance) = i32::try_from(distance) else { return Some(false) };
            *bytes.first_chunk_mut()? = distance.to_le_bytes();
            Some(true)
        }
        Reloc::Arm64Call => {
            const REACH: i64 = 1 << 27;
            if !(-REACH..REACH).contains(&distance) || distance % 4 != 0 {
                return Some(false);
            }
            let word: &mut [u8; 4] = bytes.first_chunk_mut()?;
            let distance = ((distance >> 2) as u32) & 0x03ff_ffff;
            *word = (u32::from_le_bytes(*word) & 0xfc00_0000 | distance).to_le_bytes();
            Some(true)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relocations_are_written_or_out_of_reach() {
        let mut bytes = [0xffu8; 8];
        assert_eq!(apply(Reloc::Abs8, 0x1122_3344_5566_7788, 0, &mut bytes), Some(true));
        assert_eq!(bytes, 0x1122_3344_5566_7788u64.to_le_bytes());
        assert_eq!(apply(Reloc::X86CallPCRel4, 0x1000, 0x2000, &mut bytes), Some(true));
        assert_eq!(bytes[..4], (-0x1000i32).to_le_bytes());
        assert_eq!(apply(Reloc::X86CallPCRel4, 1 << 40, 0, &mut bytes), Some(false));
        let mut call = 0x9400_0000u32.to_le_bytes();
        assert_eq!(apply(Reloc::Arm64Call, 0x1000, 0x2000, &mut call), Some(true));
        assert_eq!(u32::from_le_bytes(call), 0x97ff_fc00);
        assert_eq!(apply(Reloc::Arm64Call, 1 << 28, 0, &mut call), Some(false));
        assert_eq!(apply(Reloc::Abs4, 0, 0, &mut call), None);
        assert_eq!(apply(Reloc::Abs8, 0, 0, &mut call), None);
    }
}

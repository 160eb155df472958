//! Machine code of a program in executable memory.

use smf_core::codegen::code::Relocation;
use smf_core::codegen::{
    CodegenError, NativeOptimizingCompiler, Options, TRAP_HOOK, TrapConvention,
};
use smf_core::format::RelocKind;
use smf_core::ir::{CalleeKind, FunctionInstance};
use smf_core::link::aarch64::{Operand, patch};
use smf_core::memory::code_alloc::{CodeMemory, ExecutableBlock};
use smf_core::trap::trap_hook;

/// The most bytes of a veneer, or of the address of a target, aligned to 8.
const VENEER: usize = 24;

/// The machine code of all functions of a program.
#[derive(Debug)]
pub struct PlacedProgram {
    block: ExecutableBlock,
    /// The offsets of the functions.
    offsets: Vec<usize>,
    code_size: usize,
}

/// A function before it has an address.
struct Unplaced {
    bytes: Vec<u8>,
    relocations: Vec<Relocation>,
    offset: usize,
}

impl PlacedProgram {
    /// Compiles functions at an optimisation level, and places them. `host` is the address of a symbol.
    ///
    /// # Errors
    /// The limit that a function exceeds, or a symbol that the host does not have.
    pub fn new(
        functions: &[FunctionInstance<'_, '_>],
        level: u8,
        traps: TrapConvention,
        memory: &CodeMemory,
        host: impl Fn(&str) -> Option<u64>,
    ) -> Result<Self, String> {
        let (mut compiler, mut unplaced, mut code_size) =
            (NativeOptimizingCompiler::new(), Vec::new(), 0);
        // The largest alignment of read-only data, in front of the first function too.
        let (mut next, mut most) = (0, 16);
        for (function, tag) in functions.iter().zip(0..) {
            let options = Options { traps, tag, own_function: Some(tag), ..Options::default() };
            let lookup = |index: u32| functions.get(index as usize).map(FunctionInstance::body);
            let code = compiler.compile(function, &options, level, &lookup);
            let code = code.map_err(|error: CodegenError| error.to_string())?;
            let align = code.align as usize;
            let offset = usize::next_multiple_of(next, align);
            next = offset + code.bytes.len();
            most = most.max(align);
            code_size += code.code_size as usize;
            let (bytes, relocations) = (code.bytes.to_vec(), code.relocations.to_vec());
            unplaced.push(Unplaced { bytes, relocations, offset });
        }
        let veneers: usize = unplaced.iter().map(|function| function.relocations.len()).sum();
        let size = next + most + (veneers + 1) * VENEER;
        let mut block = memory.allocate(size).map_err(|error| error.to_string())?;
        let start = block.address().next_multiple_of(most) - block.address();
        let mut place = Place {
            base: block.address() as u64,
            bytes: block.as_mut_slice(),
            offsets: unplaced.iter().map(|function| start + function.offset).collect(),
            free: (start + next).next_multiple_of(8),
            host: &host,
        };
        for (instance, function) in functions.iter().zip(&unplaced) {
            place.function(instance, function, start + function.offset)?;
        }
        let offsets = place.offsets;
        let block = block.publish().map_err(|error| error.to_string())?;
        Ok(Self { block, offsets, code_size })
    }

    /// The address of a function.
    pub fn address(&self, index: usize) -> u64 {
        (self.block.address() + self.offsets[index]) as u64
    }

    /// The number of the function with this address.
    pub fn function_at(&self, address: u64) -> Option<u32> {
        let index = (0..self.offsets.len()).find(|&index| self.address(index) == address)?;
        u32::try_from(index).ok()
    }

    /// Bytes of instructions of all functions.
    pub fn code_size(&self) -> usize {
        self.code_size
    }
}

/// Code on its way to its address.
struct Place<'p> {
    base: u64,
    bytes: &'p mut [u8],
    offsets: Vec<usize>,
    /// The offset of the next veneer.
    free: usize,
    host: &'p dyn Fn(&str) -> Option<u64>,
}

impl Place<'_> {
    fn function(
        &mut self,
        instance: &FunctionInstance<'_, '_>,
        function: &Unplaced,
        offset: usize,
    ) -> Result<(), String> {
        self.bytes[offset..offset + function.bytes.len()].copy_from_slice(&function.bytes);
        // The slot of the last address that an ADRP refers to; the LDR behind it takes the same.
        let mut slot = 0;
        for reloc in &function.relocations {
            let at = offset + reloc.offset as usize;
            let target = self.target(instance, reloc)?;
            let from = self.base + at as u64;
            let target = match reloc.kind {
                RelocKind::Arm64GotLoadPage21 => {
                    slot = self.append(&target.to_le_bytes());
                    slot
                }
                RelocKind::Arm64GotLoadPageOff12 => slot,
                _ => target,
            };
            relocate(&mut self.bytes[at..], from, reloc, target)?;
        }
        Ok(())
    }

    /// The address that a relocation refers to: functions outside of the program get a veneer, because they are far
    /// away.
    fn target(
        &mut self,
        instance: &FunctionInstance<'_, '_>,
        reloc: &Relocation,
    ) -> Result<u64, String> {
        if reloc.target == TRAP_HOOK {
            return Ok(self.veneer(trap_hook as *const () as u64));
        }
        let index = u16::try_from(reloc.target).map_err(|error| error.to_string())?;
        let callee = instance.body().callee(index).map_err(|error| error.to_string())?;
        match callee.kind {
            CalleeKind::Function(index) => Ok(self.base + self.offsets[index as usize] as u64),
            _ => {
                let address = (self.host)(callee.name);
                let address = address.ok_or_else(|| format!("no symbol {}", callee.name))?;
                Ok(self.veneer(address))
            }
        }
    }

    /// A jump to an address.
    fn veneer(&mut self, address: u64) -> u64 {
        let jump: &[u8] = match cfg!(target_arch = "aarch64") {
            // ldr x16, 8; br x16
            true => &[0x50, 0, 0, 0x58, 0, 2, 0x1f, 0xd6],
            // nop; jmp [rip]
            false => &[0x66, 0x90, 0xff, 0x25, 0, 0, 0, 0],
        };
        self.append(&[jump, &address.to_le_bytes()].concat())
    }

    /// Puts bytes behind the code, and returns their address.
    fn append(&mut self, bytes: &[u8]) -> u64 {
        let at = self.free;
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self.free = (at + bytes.len()).next_multiple_of(8);
        self.base + at as u64
    }
}

/// Applies a relocation at the start of `place`, whose address is `from`.
fn relocate(place: &mut [u8], from: u64, reloc: &Relocation, target: u64) -> Result<(), String> {
    let value = i128::from(target) + i128::from(reloc.addend);
    let operand = match reloc.kind {
        RelocKind::Abs64 => {
            let value = u64::try_from(value).map_err(|error| error.to_string())?;
            place[..8].copy_from_slice(&value.to_le_bytes());
            return Ok(());
        }
        RelocKind::Pc32 | RelocKind::Plt32 => {
            let distance = i32::try_from(value - i128::from(from));
            let distance = distance.map_err(|error| error.to_string())?;
            place[..4].copy_from_slice(&distance.to_le_bytes());
            return Ok(());
        }
        RelocKind::Arm64Branch26 => Operand::Branch26,
        RelocKind::Arm64GotLoadPage21 => Operand::Page21,
        RelocKind::Arm64GotLoadPageOff12 => Operand::PageOff12,
        other => return Err(format!("a relocation of kind {other:?}")),
    };
    let word = u32::from_le_bytes(place[..4].try_into().unwrap());
    let patched = patch(operand, word, from, value).map_err(|error| format!("{error:?}"))?;
    place[..4].copy_from_slice(&patched.to_le_bytes());
    Ok(())
}

//! Links programs of several functions in executable memory and calls them.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::vec::Vec;

#[cfg_attr(target_arch = "x86_64", path = "harness/x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "harness/aarch64.rs")]
mod machine;

use machine::{INTEGERS, enter, handler, veneer};

use crate::codegen::code::Relocation;
use crate::codegen::{NativeCompiler, Options, TRAP_HOOK, TrapConvention};
use crate::format::RelocKind;
use crate::ir::{
    Argument, Arguments, CalleeKind, Function, FunctionInstance, Scalar, Stop, Verified,
};
use crate::link::aarch64::{Operand, patch};
use crate::memory::code_alloc::{CodeMemory, ExecutableBlock, Request};

std::thread_local! {
    static TRAP: Cell<Option<(u32, u32, [u64; 2])>> = const { Cell::new(None) };
}

extern "C" fn trap_hook(code: u32, at: u32, _function: u64, left: u64, right: u64) -> u64 {
    TRAP.set(Some((code, at, [left, right])));
    0
}

/// The values of callee-saved registers at calls.
const PRESERVED: [u64; 6] = [11, 22, 33, 44, 55, 66];

/// What generated code sees as the context, and what a call leaves.
#[repr(C, align(16))]
pub(super) struct Context {
    stack_pointer: u64,
    handler: u64,
    pub(super) stack_limit: u64,
    result: u64,
    float_result: u64,
    preserved: [u64; 6],
    code: u32,
    at: u32,
    tag: u32,
    is_trap: u32,
}

/// The offset of the address of the handler in the context.
const HANDLER: i32 = 8;

/// The offset of the stack limit in the context.
pub(super) const STACK_LIMIT: i32 = 16;

/// Code to compile for [`TrapConvention::Context`].
pub(super) const CONTEXT: Options = Options {
    traps: TrapConvention::Context { handler_offset: HANDLER },
    tag: 0x1234_5678,
    own_function: None,
    landing_pad: false,
    sign_return_address: false,
    source_map: false,
};

impl Context {
    pub(super) fn new() -> Self {
        Self {
            stack_pointer: 0,
            handler: handler as *const () as u64,
            stack_limit: 0,
            result: 0,
            float_result: 0,
            preserved: PRESERVED,
            code: 0,
            at: 0,
            tag: 0,
            is_trap: 0,
        }
    }
}

/// The most bytes of a veneer or an address slot, with padding.
pub(crate) const VENEER: usize = 32;

/// Applies a relocation at `place`, which has the address `address`.
fn relocate(place: &mut [u8], address: u64, relocation: &Relocation, target: u64) {
    let value = i128::from(target) + i128::from(relocation.addend);
    let word = place.first_chunk_mut::<4>().unwrap();
    let operand = match relocation.kind {
        RelocKind::Abs64 => {
            return place[..8].copy_from_slice(&u64::try_from(value).unwrap().to_le_bytes());
        }
        RelocKind::Arm64Branch26 => Operand::Branch26,
        RelocKind::Arm64GotLoadPage21 => Operand::Page21,
        RelocKind::Arm64GotLoadPageOff12 => Operand::PageOff12,
        _ => {
            let distance = i32::try_from(value - i128::from(address)).unwrap();
            return *word = distance.to_le_bytes();
        }
    };
    let patched = patch(operand, u32::from_le_bytes(*word), address, value).unwrap();
    *word = patched.to_le_bytes();
}

/// Appends something with the alignment of an address, and returns its offset.
fn append(code: &mut Vec<u8>, bytes: &[u8]) -> usize {
    code.resize(code.len().next_multiple_of(8), 0);
    code.extend(bytes);
    code.len() - bytes.len()
}

/// Code that is being linked at an address.
pub(crate) struct Link<'c> {
    code: &'c mut Vec<u8>,
    base: usize,
    /// The slot of the last address that an ADRP refers to; the LDR behind it takes the same.
    slot: usize,
}

impl<'c> Link<'c> {
    pub(crate) fn new(code: &'c mut Vec<u8>, base: usize) -> Self {
        Self { code, base, slot: 0 }
    }

    /// Applies a relocation at the offset `place` against an offset in the code, or an address elsewhere. Appends a
    /// veneer or a slot for an address where the kind of the relocation needs one.
    pub(crate) fn apply(
        &mut self,
        place: usize,
        relocation: &Relocation,
        target: Result<usize, usize>,
    ) {
        let mut target = match target {
            Ok(offset) => offset,
            Err(address) => append(self.code, &veneer(address)),
        };
        if relocation.kind == RelocKind::Arm64GotLoadPage21 {
            self.slot = append(self.code, &(self.base + target).to_le_bytes());
            target = self.slot;
        } else if relocation.kind == RelocKind::Arm64GotLoadPageOff12 {
            target = self.slot;
        }
        let [address, target] = [place, target].map(|offset| (self.base + offset) as u64);
        relocate(&mut self.code[place..], address, relocation, target);
    }
}

/// The functions of the host, by name.
pub(super) type HostFunctions = BTreeMap<&'static str, usize>;

/// A linked program.
pub(super) struct Program {
    block: ExecutableBlock,
    /// Offsets of the functions.
    starts: Vec<usize>,
    options: Options,
}

/// Verifies an encoded function without type parameters.
pub(super) fn verified(bytes: &[u8]) -> Verified<'_> {
    let body = Function::parse(bytes).unwrap();
    Verified::new(body).unwrap_or_else(|error| panic!("{error}"))
}

pub(super) fn plain<'v, 'd>(verified: &'v Verified<'d>) -> FunctionInstance<'v, 'd> {
    verified.instance(Arguments::new(&[] as &[Argument]).unwrap()).unwrap()
}

impl Program {
    /// Compiles and links functions, which call each other by their numbers.
    pub(super) fn link(
        compiler: &mut NativeCompiler,
        functions: &[FunctionInstance<'_, '_>],
        host: &HostFunctions,
        options: Options,
    ) -> Self {
        let (mut code, mut fixes, mut starts) = (Vec::new(), Vec::new(), Vec::new());
        for (number, instance) in (0..).zip(functions) {
            // Every second function calls itself without a relocation.
            let own_function = (number % 2 == 0).then_some(number);
            let options = Options { own_function, ..options };
            let made = compiler.compile(instance, &options).unwrap_or_else(|e| panic!("{e}"));
            code.resize(usize::next_multiple_of(code.len(), made.align as usize), 0xcc);
            starts.push(code.len());
            for relocation in made.relocations {
                let place = code.len() + relocation.offset as usize;
                let target = match relocation.target {
                    TRAP_HOOK => Err(trap_hook as *const () as usize),
                    number => {
                        let number = u16::try_from(number).unwrap();
                        let callee = instance.body().callee(number).unwrap();
                        match callee.kind {
                            CalleeKind::Function(index) => Ok(index as usize),
                            _ => Err(host[callee.name]),
                        }
                    }
                };
                fixes.push((place, *relocation, target));
            }
            code.extend_from_slice(made.bytes);
        }
        let size = code.len() + fixes.len() * VENEER + 4096;
        let mut block =
            CodeMemory::default().allocate_with(Request::new(size).aligned_to(4096)).unwrap();
        let base = block.address();
        let mut link = Link::new(&mut code, base);
        for (place, relocation, target) in fixes {
            link.apply(place, &relocation, target.map(|index: usize| starts[index]));
        }
        block.as_mut_slice()[..code.len()].copy_from_slice(&code);
        Self { block: block.publish().unwrap(), starts, options }
    }

    /// Calls function `number`. Under [`CONTEXT`], parameter 0 is the context.
    pub(super) fn call(
        &self,
        number: usize,
        arguments: &[(Scalar, u64)],
        result: Option<Scalar>,
    ) -> Result<u64, Stop> {
        self.call_with(&mut Context::new(), number, arguments, result)
    }

    pub(super) fn call_with(
        &self,
        context: &mut Context,
        number: usize,
        arguments: &[(Scalar, u64)],
        result: Option<Scalar>,
    ) -> Result<u64, Stop> {
        let (mut ints, mut floats, mut stack) = (Vec::new(), Vec::new(), Vec::new());
        let has_context = self.options.traps != TrapConvention::Hook;
        if has_context {
            ints.push(std::ptr::from_mut(context) as u64);
        }
        for &(scalar, bits) in arguments.iter().skip(usize::from(has_context)) {
            // The upper bits of a narrow argument are undefined.
            let noise = 0xdead_beef_dead_beef << scalar.bits().min(63);
            let bits = if scalar.bits() < 64 { bits | noise } else { bits };
            match scalar.is_float() {
                true if floats.len() < 8 => floats.push(bits),
                false if ints.len() < INTEGERS => ints.push(bits),
                _ => stack.push(bits),
            }
        }
        assert!(stack.len() <= 8);
        ints.resize(INTEGERS, 0xdead_beef_dead_beef);
        floats.resize(8, 0xdead_beef_dead_beef);
        stack.resize(8, 0xdead_beef_dead_beef);
        TRAP.set(None);
        let function = self.block.as_ptr().wrapping_add(self.starts[number]);
        // SAFETY: the function follows the C convention and reads no more than these arguments; the block outlives it.
        unsafe { enter(context, function, ints.as_ptr(), floats.as_ptr(), stack.as_ptr()) };
        if context.is_trap != 0 {
            assert_eq!(context.tag, self.options.tag);
            return Err(Stop::Trap { code: context.code, at: context.at, operands: [0; 2] });
        }
        assert_eq!(context.preserved, PRESERVED, "callee-saved registers");
        if let Some((code, at, operands)) = TRAP.take() {
            return Err(Stop::Trap { code, at, operands });
        }
        let Some(scalar) = result else { return Ok(0) };
        let bits = if scalar.is_float() { context.float_result } else { context.result };
        Ok(bits & (u64::MAX >> (64 - scalar.bits())))
    }
}

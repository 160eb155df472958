//! The code generator as an engine, and calls of machine code of drawn programs.
#![allow(unsafe_code)]

mod place;

use smf_core::codegen::TrapConvention;
use smf_core::ir::Scalar;
use smf_core::memory::code_alloc::CodeMemory;
use smf_core::trap::{CallArg, TrapError, call_values};

pub use place::PlacedProgram;

use super::engine::{Engine, Outcome, Runnable};
use super::host::{FUNCTIONS, HANDLER, Host, HostFunction, canonical};
use super::interpreter::place;
use super::program::Program;

/// The code generator for this machine.
#[derive(Clone, Copy, Debug)]
pub struct Native {
    /// The optimisation level.
    pub level: u8,
    /// Whether traps jump to the handler in the context, in programs whose functions all have one.
    pub has_context: bool,
}

impl Engine for Native {
    fn name(&self) -> &str {
        match (self.level, self.has_context) {
            (0, false) => "machine code",
            (0, true) => "machine code with contexts",
            (_, false) => "optimised machine code",
            (_, true) => "optimised machine code with contexts",
        }
    }

    fn compile<'p>(&self, program: &'p Program) -> Result<Box<dyn Runnable + 'p>, String> {
        thread_local! {
            static MEMORY: CodeMemory = CodeMemory::default();
        }
        let functions = program.instances();
        let has_context = self.has_context && program.has_context();
        let traps = match has_context {
            true => TrapConvention::Context { handler_offset: i32::try_from(HANDLER).unwrap() },
            false => TrapConvention::Hook,
        };
        let host = |name: &str| Some((FUNCTIONS[HostFunction::index(name)?].address)());
        let placed = MEMORY
            .with(|memory| PlacedProgram::new(&functions, self.level, traps, memory, host))?;
        let (params, result) = program.signature(program.entry());
        // A trap in an inlined function is one in the caller, at the location in the callee if that has one.
        let (may_inline, has_locations) = (self.level > 1, program.has_locations());
        let entry = program.entry();
        Ok(Box::new(Placed {
            entry,
            placed,
            params,
            result,
            has_context,
            may_inline,
            has_locations,
        }))
    }
}

struct Placed {
    entry: usize,
    placed: PlacedProgram,
    params: Vec<Scalar>,
    result: Option<Scalar>,
    has_context: bool,
    may_inline: bool,
    has_locations: bool,
}

impl Runnable for Placed {
    fn run(&mut self, args: &[u64], host: &mut Host) -> Outcome {
        let Self { entry, placed, params, result, has_context, .. } = self;
        if *has_context {
            host.set_handler(trap_handler());
        }
        let function_of = |function| match *has_context {
            true => u32::try_from(function).ok(),
            false => placed.function_at(function),
        };
        // SAFETY: a drawn program with these arguments, which ends.
        let outcome = unsafe {
            call_native(placed.address(*entry), args, params, *result, host, function_of)
        };
        match outcome {
            Outcome::Trapped { code, at, .. } if self.may_inline => {
                let at = at.filter(|_| self.has_locations);
                Outcome::Trapped { code, at, function: None }
            }
            outcome => outcome,
        }
    }
}

/// The address of a handler that reports a trap, with the tag of the function as its address.
#[cfg(target_arch = "x86_64")]
fn trap_handler() -> u64 {
    /// Gets the context, the code, the place and the tag, with the stack of the function that trapped.
    #[unsafe(naked)]
    unsafe extern "C" fn handler() {
        std::arch::naked_asm!(
            "mov edi, esi",
            "mov esi, edx",
            "mov edx, ecx",
            "xor ecx, ecx",
            "xor r8d, r8d",
            "and rsp, -16",
            "call {hook}",
            "ud2",
            hook = sym smf_core::trap::trap_hook,
        )
    }
    handler as *const () as u64
}

/// The address of a handler that reports a trap, with the tag of the function as its address.
#[cfg(target_arch = "aarch64")]
fn trap_handler() -> u64 {
    /// Gets the context, the code, the place and the tag, with the stack of the function that trapped.
    #[unsafe(naked)]
    unsafe extern "C" fn handler() {
        std::arch::naked_asm!(
            "mov w0, w1",
            "mov w1, w2",
            "mov w2, w3",
            "mov x3, xzr",
            "mov x4, xzr",
            "bl {hook}",
            "brk #1",
            hook = sym smf_core::trap::trap_hook,
        )
    }
    handler as *const () as u64
}

/// The address of a handler: none on machines without a code generator.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn trap_handler() -> u64 {
    0
}

/// Calls the machine code of function 0 with the memory and the functions of the host. `function_of` is the number of
/// the function for what the code reports as the function that trapped.
///
/// # Panics
/// If the call fails in another way than by a trap.
///
/// # Safety
/// The code is that of a drawn program, which the interpreter has run with these arguments.
pub unsafe fn call_native(
    address: u64,
    args: &[u64],
    params: &[Scalar],
    result: Option<Scalar>,
    host: &mut Host,
    function_of: impl Fn(u64) -> Option<u32>,
) -> Outcome {
    let args = place(args, params, host);
    let word = |(&bits, scalar): (&u64, &Scalar)| match scalar.is_float() {
        true => CallArg::Float(bits),
        false => CallArg::Integer(extended(bits, *scalar)),
    };
    let words: Vec<CallArg> = args.iter().zip(params).map(word).collect();
    // SAFETY: the caller's contract; the host outlives the call.
    let returned = host.serve(|| unsafe { call_values(address, &words) });
    match returned {
        Err(TrapError::Trap(trap)) => {
            let function = function_of(trap.function);
            Outcome::Trapped { code: trap.code, at: Some(trap.at), function }
        }
        Err(other) => panic!("{other}"),
        Ok(returned) => Outcome::Returned(match result {
            None => 0,
            Some(scalar) => {
                let bits = if scalar.is_float() { returned.float } else { returned.integer };
                canonical(bits & (u64::MAX >> (64 - scalar.bits())), result)
            }
        }),
    }
}

/// An argument as a caller of the C calling convention extends it.
fn extended(bits: u64, scalar: Scalar) -> u64 {
    match scalar {
        Scalar::I8 => i64::from(bits as i8).cast_unsigned(),
        Scalar::I16 => i64::from(bits as i16).cast_unsigned(),
        Scalar::I32 => i64::from(bits as i32).cast_unsigned(),
        _ => bits,
    }
}

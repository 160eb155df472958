//! The interpreter of the IR as an engine: the oracle.

use smf_core::ir::{self, Callee, CalleeKind, FunctionInstance, ProgramHost, Scalar, Stop};

use super::engine::{Engine, Outcome, Runnable};
use super::host::{FUNCTIONS, Host, HostFunction, canonical};
use super::program::Program;

/// The interpreter with a limit of steps.
#[derive(Clone, Copy, Debug)]
pub struct Interpreter {
    /// The largest number of instructions of a run, those of called functions included.
    pub steps: u64,
}

impl Default for Interpreter {
    fn default() -> Self {
        Self { steps: 20_000 }
    }
}

impl Engine for Interpreter {
    fn name(&self) -> &str {
        "interpreter"
    }

    fn compile<'p>(&self, program: &'p Program) -> Result<Box<dyn Runnable + 'p>, String> {
        Ok(Box::new(Interpreted { program, steps: self.steps }))
    }
}

struct Interpreted<'p> {
    program: &'p Program,
    steps: u64,
}

impl Runnable for Interpreted<'_> {
    fn run(&mut self, args: &[u64], host: &mut Host) -> Outcome {
        let functions = self.program.instances();
        let (params, result) = self.program.signature(self.program.entry());
        let entry = u32::try_from(self.program.entry()).unwrap();
        let args = place(args, &params, host);
        let mut outer = Outer { host };
        let mut program = ProgramHost::new(&functions, &mut outer, self.steps).unwrap();
        match program.call_function(entry, &args) {
            Ok(bits) if result.is_some() => Outcome::Returned(canonical(bits, result)),
            Ok(_) => Outcome::Returned(0),
            Err(Stop::Trap { code, at, .. }) => {
                let function = program.failed_function();
                let at = function.map(|function| self.program.place_of(function, at));
                let function = function.and_then(|function| u32::try_from(function).ok());
                Outcome::Trapped { code, at, function }
            }
            Err(Stop::Steps | Stop::Depth) => Outcome::Exhausted,
            Err(_) => Outcome::Invalid,
        }
    }
}

/// The arguments, with the address of the memory for each parameter that is an address.
pub fn place(args: &[u64], params: &[Scalar], host: &Host) -> Vec<u64> {
    let placed = |(&bits, scalar): (&u64, &Scalar)| match scalar {
        Scalar::Pointer => host.address(),
        _ => bits,
    };
    args.iter().zip(params).map(placed).collect()
}

/// The functions of the host and its memory.
struct Outer<'h> {
    host: &'h mut Host,
}

impl Outer<'_> {
    fn memory(&mut self) -> ir::Memory<'_> {
        ir::Memory { base: self.host.address(), bytes: self.host.memory() }
    }
}

impl ir::Host for Outer<'_> {
    fn load(&mut self, address: u64, size: u8) -> Result<u64, Stop> {
        self.memory().load(address, size)
    }

    fn store(&mut self, address: u64, size: u8, bits: u64) -> Result<(), Stop> {
        self.memory().store(address, size, bits)
    }

    fn call(
        &mut self,
        _: &FunctionInstance<'_, '_>,
        callee: &Callee<'_>,
        args: &[u64],
    ) -> Result<u64, Stop> {
        let function = HostFunction::index(callee.name).filter(|_| callee.kind == CalleeKind::Host);
        Ok(self.host.call(function.ok_or(Stop::Callee)?, args))
    }

    fn call_indirect(
        &mut self,
        _: &FunctionInstance<'_, '_>,
        callee: &Callee<'_>,
        address: u64,
        args: &[u64],
    ) -> Result<u64, Stop> {
        let at = |function: &HostFunction| (function.address)() == address;
        let function = FUNCTIONS.iter().position(at).ok_or(Stop::Callee)?;
        let types = FUNCTIONS[function].params.iter().map(|scalar| scalar.code());
        let is_same = types.eq(callee.signature.params.iter().copied());
        if is_same { Ok(self.host.call(function, args)) } else { Err(Stop::Callee) }
    }
}

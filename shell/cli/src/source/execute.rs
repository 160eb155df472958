//! The execution of a function by a back end.
#![allow(unsafe_code)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smf_core::exec::{
    Backend, FunctionHandle, Level, Manager, ManagerError, ManagerOptions, ManagerStatistics,
    TrapReport, Unit, UnitFunction,
};
use smf_core::ir::Callee;
use smf_core::link::Name;
use smf_core::trap::Trap;
use smf_core::types::Type;
use smf_loader::call;
use smf_loader::exec::BackendChoice;

use super::arguments::{Arguments, Outcome, not_printed, scalar_of};
use super::host::{Resolver, text_result};
use super::interpret::{for_each_host_callee, interpret};
use super::stack::{find_functions, on_large_stack};
use super::trap::{At, Trapped};
use super::{BackendName, Executable};
use crate::loaded_code;
use crate::output::Failure;
use crate::trace;
use crate::values::Returns;

/// Why the host does not have a function of this name, or what may provide it, behind a semicolon; empty if nothing does.
type Explain = dyn Fn(&[u8]) -> String + Sync;

/// How a function is executed.
pub(crate) struct Execution {
    pub(crate) backend: BackendName,
    pub(crate) level: Level,
    pub(crate) resolver: Arc<Resolver>,
    /// For a function that is undefined.
    pub(crate) explain: Box<Explain>,
}

impl Execution {
    /// Refuses a function of the host that it does not have, or that has other types than it is called with.
    fn check(&self, unit: &Unit, function: &Name, callee: &Callee<'_>) -> Result<(), Failure> {
        let name = callee.name.as_bytes();
        if self.resolver.resolve(name).is_none() {
            let (symbol, explained) = (callee.name, (self.explain)(name));
            let why = format!("function `{function}` calls `{symbol}`, which is undefined");
            return Err(Failure::Because(why + &explained));
        }
        if self.resolver.has_signatures() && !self.resolver.accepts(name, unit.called_types(callee))
        {
            let (function, callee) = (function.clone(), Name::new(name)?);
            return Err(ManagerError::CalleeSignature { function, callee }.into());
        }
        Ok(())
    }
}

/// An outcome, and how long it took.
pub(crate) struct Executed {
    pub(crate) outcome: Outcome,
    /// The generation of code.
    pub(crate) generate: Option<Duration>,
    pub(crate) call: Duration,
    /// The counters of the manager; `None` without one.
    pub(crate) manager: Option<ManagerStatistics>,
}

/// The back end with this name; `None` for the interpreter, which generates no code.
fn backend(name: BackendName) -> Result<Option<Box<dyn Backend>>, Failure> {
    let choice = match name {
        BackendName::Interpret => return Ok(None),
        BackendName::Native => BackendChoice::Native,
        BackendName::Cranelift => BackendChoice::Cranelift,
        BackendName::Llvm => BackendChoice::Llvm,
    };
    Ok(Some(choice.open(None)?))
}

fn no_function() -> Failure {
    Failure::Because("the program has no such function".to_owned())
}

/// Calls function `index`. What it prints is written when this returns.
pub(crate) fn execute(
    executable: &Executable,
    index: usize,
    arguments: &mut Arguments,
    execution: &Execution,
) -> Result<Executed, Failure> {
    let function = executable.unit.functions().get(index).ok_or_else(no_function)?;
    let result = result_of(executable, index)?;
    let backend = backend(execution.backend)?;
    let unit = &executable.unit;
    for_each_host_callee(unit, |function, callee| execution.check(unit, function, callee))?;
    call::install_chain_lookup();
    let text_at = (result == Returns::Text).then(|| arguments.add_text_result());
    let run = || match backend {
        Some(backend) => native(executable, function, arguments, backend, execution, result),
        None => {
            let _span = trace::span("call", Path::new(&function.name().to_string()));
            let start = Instant::now();
            let resolver = &*execution.resolver;
            let outcome = interpret(executable, index, arguments, text_at, resolver)?;
            Ok(Executed { outcome, generate: None, call: start.elapsed(), manager: None })
        }
    };
    on_large_stack(run).map_err(Failure::Because)?
}

/// The type of the result of function `index`.
pub(crate) fn result_of(executable: &Executable, index: usize) -> Result<Returns, Failure> {
    let function = executable.unit.functions().get(index).ok_or_else(no_function)?;
    let definition = executable.source.as_ref().and_then(|unit| unit.functions.get(index));
    let declared = definition.and_then(|definition| definition.result.as_ref());
    match (declared, function.result().or_else(|| scalar_of(declared?))) {
        (Some(Type::Text), _) => Ok(Returns::Text),
        (None, _) if definition.is_some() => Ok(Returns::Nothing),
        (_, Some(scalar)) => Ok(Returns::Scalar(scalar)),
        (None, None) => Ok(Returns::Nothing),
        (Some(ty), None) => Err(Failure::Because(not_printed(&function.name().to_string(), ty))),
    }
}

/// The functions of a program.
struct Functions(Vec<FunctionHandle>);

/// More than the code of a function has, in bytes.
const MAX_CODE: u64 = 1 << 20;

impl Functions {
    fn new(mut functions: Vec<FunctionHandle>) -> Self {
        functions.sort_unstable_by_key(FunctionHandle::address);
        Self(functions)
    }

    /// The name of the function around an address.
    fn around(&self, pc: u64) -> Option<String> {
        let after = self.0.partition_point(|function| function.address() <= Some(pc));
        let function = self.0.get(after.checked_sub(1)?)?;
        (pc - function.address()? < MAX_CODE).then(|| function.name().to_string())
    }
}

fn native(
    executable: &Executable,
    function: &UnitFunction,
    arguments: &mut Arguments,
    backend: Box<dyn Backend>,
    execution: &Execution,
    result: Returns,
) -> Result<Executed, Failure> {
    let start = Instant::now();
    let options = ManagerOptions { level: execution.level, ..ManagerOptions::default() };
    let manager = Manager::new(backend, options);
    let name = function.name().to_string();
    let span = trace::span("generate", Path::new(&name));
    manager.compile(&executable.unit, &|name: &[u8]| execution.resolver.resolve(name))?;
    drop(span);
    let function = manager.find(function.name().as_bytes()).ok_or_else(no_function)?;
    let functions = Functions::new(manager.functions().unwrap_or_default());
    find_functions(move |pc| functions.around(pc));
    let generated = Instant::now();
    let span = trace::span("call", Path::new(&name));
    // SAFETY: running a program is what the user asks for; the memory of the arguments outlives the call.
    let returned = unsafe { manager.call(&function, &arguments.values) };
    drop(span);
    let call = generated.elapsed();
    let returned = returned.map_err(|error| match error {
        ManagerError::Trap(TrapReport { code, at, operands, function, address, .. }) => {
            let trap = Trap { code, at, function: address, operands };
            let of_module = if function.is_none() { loaded_code::trap_at(trap) } else { None };
            let function = function.as_ref().map(|name| name.as_bytes());
            let trap = Trapped { function, code, operands, at: At::Line(at) };
            Failure::Because(of_module.unwrap_or_else(|| trap.describe(executable)))
        }
        ManagerError::Call(error) => Failure::Because(loaded_code::describe(error)),
        error => error.into(),
    })?;
    let outcome = match (result, returned) {
        (Returns::Text, _) => {
            let address = arguments.values.first().map_or(0, |value| value.bits());
            // SAFETY: the function returned the address and the length of a text.
            Outcome::Text(unsafe { text_result(&mut arguments.memory, address) })
        }
        (Returns::Scalar(_), Some(value)) => Outcome::Value(value),
        _ => Outcome::Nothing,
    };
    let manager = Some(manager.statistics());
    Ok(Executed { outcome, generate: Some(generated - start), call, manager })
}

//! The interpreter of the intermediate representation as a back end.
#![allow(unsafe_code)]

use std::ops::Range;

use smf_core::exec::{Unit, Value};
use smf_core::ir::{
    Callee, CalleeKind, FunctionInstance, Host, ProgramHost, Scalar, Stop, data_addresses,
};
use smf_core::link::Name;
use smf_core::trap::{CallArg, TrapError};
use smf_loader::call;

use super::Executable;
use super::arguments::{Arguments, Outcome};
use super::host::{Resolver, text};
use super::trap::{self, At, Trapped};
use crate::loaded_code;
use crate::output::Failure;
use crate::values::{ArgumentMemory, little_endian};

/// The maximum depth of calls, for which [the stack](super::stack) suffices.
const MAX_DEPTH: usize = 20_000;

/// The addresses of functions, data and stack slots in [`ProgramHost`], which the process does not have.
const OWN_ADDRESSES: Range<u64> = 1 << 44..1 << 45;

/// What interpreted functions use beside each other: the memory of arguments, and functions of the host.
struct Outside<'p> {
    data: Vec<(u64, &'p [u8])>,
    memory: &'p mut ArgumentMemory,
    resolver: &'p Resolver,
    /// The symbol of a function of the host that was to get an address that the process does not have.
    refused: Option<String>,
    /// Why a function of the host has not returned.
    failed_call: Option<TrapError>,
}

/// Interprets function `index`; `text_at` is the address of a result that is a text.
pub(super) fn interpret(
    executable: &Executable,
    index: usize,
    arguments: &mut Arguments,
    text_at: Option<u64>,
    resolver: &Resolver,
) -> Result<Outcome, Failure> {
    let Arguments { values, memory } = arguments;
    let functions = executable.unit.functions();
    let instances = functions.iter().map(|function| function.instance());
    let instances: Vec<FunctionInstance<'_, '_>> = instances.collect::<Result<_, _>>()?;
    let data = data_addresses(&instances).collect();
    let mut outside = Outside { data, memory, resolver, refused: None, failed_call: None };
    let words: Vec<u64> = values.iter().map(|value| value.bits()).collect();
    let mut program = ProgramHost::new(&instances, &mut outside, u64::MAX)?;
    program.set_max_depth(MAX_DEPTH);
    let result = program.call_function(u32::try_from(index).unwrap_or(u32::MAX), &words);
    let failed_index = program.failed_function();
    let failed = failed_index.and_then(|failed| functions.get(failed)).map(|f| f.name());
    let (refused, failed_call) = (outside.refused.take(), outside.failed_call);
    let bits = result.map_err(|stop| match stop {
        Stop::Address(_) if let Some(symbol) = refused => {
            Failure::Because(refusal(executable, failed_index, &symbol))
        }
        Stop::Callee if let Some(error) = failed_call => {
            Failure::Because(loaded_code::describe(error))
        }
        Stop::Trap { code, at, operands } => {
            let function = failed.map(|name| name.as_bytes());
            let trap = Trapped { function, code, operands, at: At::Offset(at) };
            Failure::Because(trap.describe(executable))
        }
        Stop::Depth => {
            let name = failed.map(|name| format!(" in function `{name}`")).unwrap_or_default();
            Failure::Because(format!("the stack is exhausted{name}: calls nest too deeply"))
        }
        stop => match failed {
            Some(name) => Failure::Because(format!("{stop}, in function `{name}`")),
            None => stop.into(),
        },
    })?;
    if let Some(at) = text_at {
        return Ok(Outcome::Text(outside.text_at(at)?));
    }
    let result = functions.get(index).and_then(|function| function.result());
    Ok(result.map_or(Outcome::Nothing, |scalar| Outcome::Value(Value::new(scalar, bits))))
}

/// Visits the functions that a unit calls and does not define, with their callers.
pub(crate) fn for_each_host_callee(
    unit: &Unit,
    mut visit: impl FnMut(&Name, &Callee<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    for function in unit.functions() {
        let instance = function.instance()?;
        for number in 0..instance.body().callee_count() {
            let callee = instance.body().callee(number)?;
            if callee.kind == CalleeKind::Host {
                visit(function.name(), &callee)?;
            }
        }
    }
    Ok(())
}

/// The error of a call of a function of the host with an address that only the interpreter has.
fn refusal(executable: &Executable, caller: Option<usize>, symbol: &str) -> String {
    let places = caller.map(|caller| trap::calls(executable, caller, symbol)).unwrap_or_default();
    let name = caller.and_then(|caller| executable.unit.functions().get(caller));
    let name = name.map(|caller| format!(", in function `{}`", caller.name())).unwrap_or_default();
    let at = if places.is_empty() { "" } else { " at " };
    format!(
        "the interpreter cannot pass the address of a function, or of locals with texts or functions, to the external function `{symbol}`{name}{at}{}; use another back end",
        places.join(" or ")
    )
}

impl Outside<'_> {
    /// The address at which the process has the memory of an address of the program; `stack` is that of the slots.
    fn translate(&mut self, address: u64, (start, stack): (u64, &mut [u8])) -> Result<u64, Stop> {
        let offset = address.checked_sub(start).and_then(|offset| usize::try_from(offset).ok());
        let slots = offset.and_then(|offset| stack.get_mut(offset..)).filter(|s| !s.is_empty());
        if let Some(slots) = slots {
            // The function would find an address in them that the process does not have.
            let mut words = slots.as_chunks().0.iter().map(|&word| u64::from_le_bytes(word));
            if words.any(|word| OWN_ADDRESSES.contains(&word)) {
                return Err(Stop::Address(address));
            }
            return Ok(slots.as_mut_ptr().expose_provenance() as u64);
        }
        let after = self.data.partition_point(|&(start, _)| start <= address);
        let found = after.checked_sub(1).and_then(|index| self.data.get(index));
        let inside = found.and_then(|&(start, bytes)| {
            let offset = usize::try_from(address - start).ok()?;
            bytes.get(offset..).filter(|_| !bytes.is_empty())
        });
        match inside {
            Some(bytes) => Ok(bytes.as_ptr().expose_provenance() as u64),
            None if address == 0 || self.memory.bytes_at(address, 0).is_some() => Ok(address),
            None if OWN_ADDRESSES.contains(&address) => Err(Stop::Address(address)),
            None => Ok(address),
        }
    }

    fn text_at(&mut self, at: u64) -> Result<String, Stop> {
        let (address, length) = (self.load(at, 8)?, self.load(at + 8, 8)?);
        let address = self.translate(address, (0, &mut []))?;
        // SAFETY: the function returned the address and the length of a text.
        Ok(unsafe { text(address, length) })
    }
}

impl Host for Outside<'_> {
    fn load(&mut self, address: u64, size: u8) -> Result<u64, Stop> {
        let bytes = self.memory.bytes_at(address, size.into()).ok_or(Stop::Address(address))?;
        Ok(little_endian(bytes))
    }

    fn store(&mut self, address: u64, size: u8, bits: u64) -> Result<(), Stop> {
        let bytes = self.memory.bytes_at(address, size.into()).ok_or(Stop::Address(address))?;
        bytes.iter_mut().zip(bits.to_le_bytes()).for_each(|(place, byte)| *place = byte);
        Ok(())
    }

    fn call(
        &mut self,
        caller: &FunctionInstance<'_, '_>,
        callee: &Callee<'_>,
        arguments: &[u64],
    ) -> Result<u64, Stop> {
        self.call_with_stack(caller, callee, arguments, (0, &mut []))
    }

    fn call_with_stack(
        &mut self,
        caller: &FunctionInstance<'_, '_>,
        callee: &Callee<'_>,
        arguments: &[u64],
        (start, stack): (u64, &mut [u8]),
    ) -> Result<u64, Stop> {
        let address = self.resolver.resolve(callee.name.as_bytes()).ok_or(Stop::Callee)?;
        let (params, result) = caller.concrete(&callee.signature);
        let mut words = Vec::with_capacity(arguments.len());
        for (&bits, scalar) in arguments.iter().zip(params) {
            words.push(match scalar {
                Some(Scalar::Pointer) => {
                    let address = self.translate(bits, (start, &mut *stack));
                    if address.is_err() {
                        self.refused = Some(callee.name.to_string());
                    }
                    CallArg::Integer(address?)
                }
                Some(scalar) => Value::new(scalar, bits).argument(),
                None => CallArg::Integer(bits),
            });
        }
        // SAFETY: the source declares the function with these parameters, which machine code is trusted to have.
        let returned = unsafe { call::call_values(address, &words) }.map_err(|error| {
            self.failed_call = Some(error);
            Stop::Callee
        })?;
        Ok(result.map_or(0, |scalar| Value::returned(scalar, returned).bits()))
    }
}

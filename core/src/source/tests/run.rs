//! Compiles and interprets programs.

use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use crate::ir::{Arguments, Callee, Function, FunctionInstance, Host, ProgramHost, Stop, Verified};
use crate::source::{Compiled, Mode, SourceFile, TranslationUnit, TrapCause, compile};

/// Steps that a program may take.
const STEPS: u64 = 20_000_000;

pub(super) fn file(text: &str) -> SourceFile<'_> {
    SourceFile { name: "t.spl", module: "t", text }
}

pub(super) fn compiled(text: &str, mode: Mode) -> Compiled {
    compile(&[file(text)], mode).unwrap()
}

/// The diagnostics as `line: code: message`.
pub(super) fn messages(compiled: &Compiled) -> Vec<String> {
    let line =
        |d: &crate::source::Diagnostic| format!("{}: {}: {}", d.line, d.code.as_str(), d.message);
    compiled.diagnostics.iter().map(line).collect()
}

pub(super) fn errors_of(text: &str) -> Vec<String> {
    messages(&compiled(text, Mode::Compile))
}

pub(super) fn unit_of(text: &str, mode: Mode) -> TranslationUnit {
    let compiled = compiled(text, mode);
    let messages = messages(&compiled);
    compiled.unit.unwrap_or_else(|| panic!("{text}\n{messages:#?}"))
}

/// The address of the memory behind pointers.
const MEMORY: u64 = 0x5000_0000_0000;

/// What printing writes; read-only data is where [`ProgramHost`] has it.
struct Printer<'u> {
    data: Vec<(u64, &'u [u8])>,
    out: String,
    /// The memory at [`MEMORY`].
    memory: Vec<u8>,
}

impl Printer<'_> {
    fn text(&self, address: u64, len: u64) -> &str {
        for &(start, bytes) in self.data.iter().rev() {
            if address >= start {
                let from = (address - start) as usize;
                return std::str::from_utf8(&bytes[from..from + len as usize]).unwrap();
            }
        }
        panic!("no text at 0x{address:x}");
    }

    fn bytes(&mut self, address: u64, size: u8) -> Result<&mut [u8], Stop> {
        let bytes = address.checked_sub(MEMORY).and_then(|offset| {
            let offset = usize::try_from(offset).ok()?;
            self.memory.get_mut(offset..)?.get_mut(..size.into())
        });
        bytes.ok_or(Stop::Address(address))
    }
}

impl Host for Printer<'_> {
    fn load(&mut self, address: u64, size: u8) -> Result<u64, Stop> {
        let bytes = self.bytes(address, size)?;
        Ok(bytes.iter().rev().fold(0, |bits, &byte| bits << 8 | u64::from(byte)))
    }

    fn store(&mut self, address: u64, size: u8, bits: u64) -> Result<(), Stop> {
        let bytes = self.bytes(address, size)?;
        bytes.copy_from_slice(&bits.to_le_bytes()[..size.into()]);
        Ok(())
    }

    fn call(
        &mut self,
        _: &FunctionInstance<'_, '_>,
        callee: &Callee<'_>,
        arguments: &[u64],
    ) -> Result<u64, Stop> {
        let two =
            || (f64::from_bits(arguments[0]), f64::from_bits(*arguments.get(1).unwrap_or(&0)));
        let text = match callee.name.strip_prefix("rt_print_") {
            Some("i64") => (arguments[0] as i64).to_string(),
            Some("u64") => arguments[0].to_string(),
            Some("f64") => two().0.to_string(),
            Some("f32") => f32::from_bits(arguments[0] as u32).to_string(),
            Some("bool") => (arguments[0] != 0).to_string(),
            Some("text") => self.text(arguments[0], arguments[1]).to_string(),
            _ => {
                return Ok(match callee.name {
                    "fmod" => (two().0 % two().1).to_bits(),
                    "pow" => two().0.powf(two().1).to_bits(),
                    "floor" => two().0.floor().to_bits(),
                    "host_add" => arguments[0].wrapping_add(arguments[1]),
                    _ => return Err(Stop::Callee),
                });
            }
        };
        self.out += &text;
        Ok(0)
    }
}

/// Interprets a function of a unit, and what it prints.
pub(super) fn call_unit(
    unit: &TranslationUnit,
    name: &str,
    arguments: &[u64],
) -> (Result<u64, Stop>, String) {
    call_with_memory(unit, name, arguments, Vec::new())
}

/// The result of a function of the addresses of two arrays.
pub(super) fn run_in(unit: &TranslationUnit, name: &str, arrays: [[i64; 4]; 2]) -> i64 {
    let memory = arrays.as_flattened().iter().flat_map(|number| number.to_le_bytes()).collect();
    let (result, _) = call_with_memory(unit, name, &[MEMORY, MEMORY + 32], memory);
    result.unwrap_or_else(|stop| panic!("{name}: {stop}")) as i64
}

fn call_with_memory(
    unit: &TranslationUnit,
    name: &str,
    arguments: &[u64],
    memory: Vec<u8>,
) -> (Result<u64, Stop>, String) {
    let index = unit.find(name).unwrap_or_else(|| panic!("no function {name}"));
    let functions: Vec<Function<'_>> =
        unit.functions.iter().map(|f| Function::parse(&f.ir).unwrap()).collect();
    let verified: Vec<Verified<'_>> = functions
        .iter()
        .zip(&unit.functions)
        .map(|(f, u)| Verified::new(*f).unwrap_or_else(|e| panic!("{}: {e}", u.symbol)))
        .collect();
    let none = Arguments::new(&[]).unwrap();
    let instances: Vec<FunctionInstance<'_, '_>> =
        verified.iter().map(|v| v.instance(none).unwrap()).collect();
    let mut next = 0x1100_0000_0000_u64;
    let mut data = Vec::new();
    for function in &functions {
        data.push((next, function.data_bytes));
        next += (function.data_bytes.len() as u64).next_multiple_of(4096);
    }
    let mut printer = Printer { data, out: String::new(), memory };
    let result = {
        let mut host = ProgramHost::new(&instances, &mut printer, STEPS).unwrap();
        host.call_function(index as u32, arguments)
    };
    (result, printer.out)
}

/// The result of a function of a program.
pub(super) fn run(text: &str, name: &str, arguments: &[i64]) -> i64 {
    let unit = unit_of(text, Mode::Compile);
    let arguments: Vec<u64> = arguments.iter().map(|&a| a as u64).collect();
    let (result, _) = call_unit(&unit, name, &arguments);
    result.unwrap_or_else(|stop| panic!("{text}\n{stop}")) as i64
}

/// The same in the mode of the execution manager.
pub(super) fn manage(text: &str, name: &str, arguments: &[i64]) -> i64 {
    let unit = unit_of(text, Mode::Manager);
    let arguments: Vec<u64> = arguments.iter().map(|&a| a as u64).collect();
    let (result, _) = call_unit(&unit, name, &arguments);
    result.unwrap_or_else(|stop| panic!("{text}\n{stop}")) as i64
}

/// What `main` of a program prints.
pub(super) fn output(text: &str) -> String {
    let unit = unit_of(text, Mode::Compile);
    let (result, out) = call_unit(&unit, "main", &[]);
    result.unwrap_or_else(|stop| panic!("{text}\n{stop}"));
    out
}

/// The code of the trap that a function ends with.
pub(super) fn trap(text: &str, name: &str, arguments: &[i64]) -> u32 {
    let unit = unit_of(text, Mode::Compile);
    let arguments: Vec<u64> = arguments.iter().map(|&a| a as u64).collect();
    match call_unit(&unit, name, &arguments).0 {
        Err(Stop::Trap { code, .. }) => code,
        other => panic!("{text}\n{other:?}"),
    }
}

/// What the traps of a function say.
pub(super) fn trap_message(text: &str, name: &str, arguments: &[i64]) -> String {
    let unit = unit_of(text, Mode::Compile);
    let arguments: Vec<u64> = arguments.iter().map(|&a| a as u64).collect();
    match call_unit(&unit, name, &arguments).0 {
        Err(Stop::Trap { code, operands, .. }) => {
            TrapCause::of(code, operands).unwrap().to_string()
        }
        other => panic!("{text}\n{other:?}"),
    }
}

/// The value of an expression of type i64.
pub(super) fn value(expression: &str) -> i64 {
    run(&format!("fn f() -> i64: {expression}\n"), "f", &[])
}

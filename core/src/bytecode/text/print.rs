//! Functions written as text.

use alloc::vec::Vec;
use core::fmt;

use super::name::is_plain;
use crate::bytecode::instruction::{
    Instruction, Instructions, MAX_SIZE, OPCODE_SIZE, Role, target,
};
use crate::bytecode::verify::FunctionCode;
use crate::format::constants::{Constant, Constants};
use crate::ir::text::Quoted;

/// Writes function number `index`, whose name is `name`; `callee` gives the names of functions that
/// can be named, the others are written as `#INDEX`.
///
/// # Errors
/// What `out` refuses.
pub fn disassemble<'n>(
    out: &mut dyn fmt::Write,
    name: &[u8],
    function: FunctionCode<'_>,
    callee: &dyn Fn(u32) -> Option<&'n [u8]>,
) -> fmt::Result {
    annotate(out, name, function, callee, &mut |_, _| Ok(()))
}

/// Writes the constants of a pool.
///
/// # Errors
/// What `out` refuses.
pub fn write_constants(out: &mut dyn fmt::Write, constants: Constants<'_>) -> fmt::Result {
    for index in (0..).take(constants.len()) {
        match constants.get(index) {
            Some(Constant::I64(value)) => write!(out, "constant i64 {value}")?,
            Some(Constant::F64(bits)) => {
                out.write_str("constant f64 ")?;
                write_float(out, bits)?;
            }
            Some(Constant::Bool(value)) => write!(out, "constant bool {value}")?,
            Some(Constant::Nil) => out.write_str("constant nil")?,
            Some(Constant::Text(text)) => {
                out.write_str("constant string ")?;
                write!(out, "{}", Quoted(text))?;
            }
            None => out.write_str("constant nil ; not valid")?,
        }
        out.write_char('\n')?;
    }
    Ok(())
}

/// As [`disassemble`]; `note` may write comments behind each instruction, whose offset it gets, and at
/// the end, for which it gets the length of the code.
///
/// # Errors
/// What `out` refuses.
pub fn annotate<'n>(
    out: &mut dyn fmt::Write,
    name: &[u8],
    function: FunctionCode<'_>,
    callee: &dyn Fn(u32) -> Option<&'n [u8]>,
    note: &mut dyn FnMut(&mut dyn fmt::Write, u32) -> fmt::Result,
) -> fmt::Result {
    let FunctionCode { code, params, locals } = function;
    out.write_str("function ")?;
    write_name(out, name)?;
    writeln!(out, ", {params}, {locals}")?;
    let labels = Labels::of(code);
    let mut end = 0;
    for (at, instruction) in Instructions::new(code).map_while(Result::ok) {
        labels.write(out, at)?;
        out.write_str("    ")?;
        write_instruction(out, &instruction, at, &labels, callee)?;
        out.write_char('\n')?;
        note(out, at)?;
        end = at + instruction.size();
    }
    labels.write(out, end)?;
    note(out, end)?;
    let rest = usize::try_from(end).ok().and_then(|end| code.get(end..)).unwrap_or(&[]);
    for bytes in rest.chunks(16) {
        out.write_str("    BYTES")?;
        bytes.iter().try_for_each(|byte| write!(out, " 0x{byte:02x}"))?;
        out.write_char('\n')?;
    }
    Ok(())
}

/// The instructions of a function where its jumps lead, ascending.
struct Labels {
    offsets: Vec<u32>,
}

impl Labels {
    fn of(code: &[u8]) -> Self {
        let instructions = || Instructions::new(code).map_while(Result::ok);
        let mut begins: Vec<u32> = instructions().map(|(at, _)| at).collect();
        begins.push(instructions().last().map_or(0, |(at, last)| at + last.size()));
        let target = |(at, instruction): (u32, Instruction)| {
            let to = target(at, instruction.size(), instruction.jump_offset()?);
            u32::try_from(to).ok().filter(|to| begins.binary_search(to).is_ok())
        };
        let mut offsets: Vec<u32> = instructions().filter_map(target).collect();
        offsets.sort_unstable();
        offsets.dedup();
        Self { offsets }
    }

    fn write(&self, out: &mut dyn fmt::Write, at: u32) -> fmt::Result {
        match self.offsets.binary_search(&at) {
            Ok(_) => writeln!(out, "L{at:x}:"),
            Err(_) => Ok(()),
        }
    }
}

fn write_instruction<'n>(
    out: &mut dyn fmt::Write,
    instruction: &Instruction,
    at: u32,
    labels: &Labels,
    callee: &dyn Fn(u32) -> Option<&'n [u8]>,
) -> fmt::Result {
    out.write_str(instruction.name())?;
    let (bytes, _) = instruction.encode();
    let mut begin = OPCODE_SIZE;
    let roles = Instruction::roles_of(instruction.opcode()).unwrap_or(&[]);
    for (number, role) in roles.iter().enumerate() {
        out.write_str(if number == 0 { " " } else { ", " })?;
        let value = little_endian(&bytes, begin, role.size());
        begin += role.size();
        match role {
            Role::Integer => write!(out, "{}", value.cast_signed())?,
            Role::Float => write_float(out, value)?,
            Role::Offset => {
                let offset = instruction.jump_offset().unwrap_or(0);
                let to = target(at, instruction.size(), offset);
                match u32::try_from(to).ok().filter(|to| labels.offsets.binary_search(to).is_ok()) {
                    Some(to) => write!(out, "L{to:x}")?,
                    None => write!(out, "{offset:+}")?,
                }
            }
            Role::Function => match u32::try_from(value).ok().and_then(callee) {
                Some(name) => write_name(out, name)?,
                None => write!(out, "#{value}")?,
            },
            Role::Slot | Role::Local | Role::Host | Role::Short | Role::Long => {
                write!(out, "{value}")?;
            }
        }
    }
    Ok(())
}

fn little_endian(bytes: &[u8; MAX_SIZE as usize], begin: u32, size: u32) -> u64 {
    let bytes = bytes.iter().skip(usize::try_from(begin).unwrap_or(0));
    let operand = bytes.take(usize::try_from(size).unwrap_or(0));
    operand.rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

/// The shortest text that gives the same bits, or the bits.
fn write_float(out: &mut dyn fmt::Write, bits: u64) -> fmt::Result {
    let float = f64::from_bits(bits);
    if float.is_nan() { write!(out, "0x{bits:x}") } else { write!(out, "{float:?}") }
}

fn write_name(out: &mut dyn fmt::Write, name: &[u8]) -> fmt::Result {
    if !name.is_empty() && name.iter().all(|&byte| is_plain(byte)) {
        return name.iter().try_for_each(|&byte| out.write_char(char::from(byte)));
    }
    write!(out, "{}", Quoted(name))
}

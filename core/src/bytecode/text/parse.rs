//! Text read into functions.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::error::{TextError, TextFault};
use super::name::is_plain;
use super::program::{Assembled, AssembledConstant, AssembledProgram};
use crate::bytecode::instruction::{Instruction, Role};
use crate::ir::text::unescape;

/// The functions of a source without constants, in its order.
///
/// # Errors
/// The first line that cannot be assembled; names that are missing come last.
pub fn assemble(source: &str) -> Result<Vec<Assembled>, TextError> {
    assemble_with(source, Assembler::default()).map(|program| program.functions)
}

/// The functions and the constants of a source, in its order.
///
/// # Errors
/// As [`assemble`].
pub fn assemble_program(source: &str) -> Result<AssembledProgram, TextError> {
    assemble_with(source, Assembler { has_pool: true, ..Assembler::default() })
}

fn assemble_with(source: &str, mut assembler: Assembler) -> Result<AssembledProgram, TextError> {
    for (text, line) in source.lines().zip(1u32..) {
        assembler.line(text, line)?;
    }
    assembler.finish_function()?;
    assembler.finish()
}

/// A place in the code that waits for what a name stands for.
struct Waiting {
    name: Vec<u8>,
    /// In which function, and where in its code.
    function: usize,
    at: usize,
    line: u32,
}

#[derive(Default)]
struct Assembler {
    functions: Vec<Assembled>,
    constants: Vec<AssembledConstant>,
    /// Whether there may be constants.
    has_pool: bool,
    /// The functions by name.
    names: BTreeMap<Vec<u8>, u32>,
    calls: Vec<Waiting>,
    /// The labels of the last function, and its jumps to them.
    labels: BTreeMap<Vec<u8>, usize>,
    jumps: Vec<Waiting>,
    mnemonics: BTreeMap<&'static str, u16>,
}

impl Assembler {
    fn line(&mut self, text: &str, line: u32) -> Result<(), TextError> {
        let text = without_comment(text).trim();
        let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        if word == "function" {
            self.finish_function()?;
        }
        let done = if text.is_empty() { Ok(()) } else { self.statement(text, word, rest, line) };
        done.map_err(|fault| TextError { line, fault })
    }

    fn statement(
        &mut self,
        text: &str,
        word: &str,
        rest: &str,
        line: u32,
    ) -> Result<(), TextFault> {
        if word == "function" {
            return self.function(rest.trim());
        }
        if let Some(label) = text.strip_suffix(':') {
            return self.label(label.trim());
        }
        if word == "constant" {
            return self.constant(rest.trim());
        }
        if word == "BYTES" {
            return self.bytes(rest);
        }
        self.instruction(word, rest.trim(), line)
    }

    fn function(&mut self, rest: &str) -> Result<(), TextFault> {
        let (name, rest) = take_name(rest)?;
        let numbers = rest.trim_start().strip_prefix(',').ok_or(TextFault::Function)?;
        let (params, locals) = numbers.split_once(',').ok_or(TextFault::Function)?;
        let number = |text| short(text).ok_or(TextFault::Function);
        let (params, locals) = (number(params)?, number(locals)?);
        if params > locals {
            return Err(TextFault::Locals);
        }
        let index = u32::try_from(self.functions.len()).map_err(|_| TextFault::TooFar)?;
        if self.names.insert(name.clone(), index).is_some() {
            return Err(TextFault::FunctionTwice);
        }
        self.functions.push(Assembled { name, params, locals, code: Vec::new() });
        Ok(())
    }

    fn constant(&mut self, rest: &str) -> Result<(), TextFault> {
        if !self.has_pool {
            return Err(TextFault::UnexpectedConstant);
        }
        let (kind, value) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let value = value.trim();
        let constant = match (kind, value) {
            ("i64", value) => integer(value).map(|bits| AssembledConstant::I64(bits.cast_signed())),
            ("f64", value) => float(value).map(AssembledConstant::F64),
            ("bool", "true") => Some(AssembledConstant::Bool(true)),
            ("bool", "false") => Some(AssembledConstant::Bool(false)),
            ("nil", "") => Some(AssembledConstant::Nil),
            ("string", value) if value.starts_with('"') => {
                let (text, rest) = take_name(value)?;
                rest.is_empty().then_some(AssembledConstant::Text(text))
            }
            _ => None,
        };
        self.constants.push(constant.ok_or(TextFault::Constant)?);
        Ok(())
    }

    fn code(&mut self) -> Result<&mut Vec<u8>, TextFault> {
        self.functions.last_mut().map(|last| &mut last.code).ok_or(TextFault::NoFunction)
    }

    fn label(&mut self, name: &str) -> Result<(), TextFault> {
        let at = self.code()?.len();
        let (name, rest) = take_name(name)?;
        if !rest.is_empty() {
            return Err(TextFault::Name);
        }
        match self.labels.insert(name, at) {
            None => Ok(()),
            Some(_) => Err(TextFault::LabelTwice),
        }
    }

    fn bytes(&mut self, rest: &str) -> Result<(), TextFault> {
        let code = self.code()?;
        for (text, operand) in rest.split_whitespace().zip(1..) {
            let byte = unsigned(text).and_then(|value| u8::try_from(value).ok());
            code.push(byte.ok_or(TextFault::Number { operand })?);
        }
        Ok(())
    }

    fn instruction(&mut self, word: &str, rest: &str, line: u32) -> Result<(), TextFault> {
        self.code()?;
        if self.mnemonics.is_empty() {
            let named = |&opcode| Some((Instruction::name_of(opcode)?, opcode));
            self.mnemonics = Instruction::OPCODES.iter().filter_map(named).collect();
        }
        let opcode = *self.mnemonics.get(word).ok_or(TextFault::Mnemonic)?;
        let roles = Instruction::roles_of(opcode).unwrap_or(&[]);
        let operands = split_operands(rest);
        if operands.len() != roles.len() {
            return Err(TextFault::Operands { needed: roles.len(), found: operands.len() });
        }
        self.code()?.extend(opcode.to_le_bytes());
        for ((text, role), operand) in operands.into_iter().zip(roles).zip(1..) {
            self.operand(text, *role, line)?.ok_or(TextFault::Number { operand })?;
        }
        Ok(())
    }

    /// Appends an operand; `None` when it is no number that fits.
    fn operand(&mut self, text: &str, role: Role, line: u32) -> Result<Option<()>, TextFault> {
        let bits = match role {
            Role::Integer => integer(text),
            Role::Float => float(text),
            Role::Offset if !text.starts_with(['+', '-']) => {
                self.wait(text, role, line)?;
                Some(0)
            }
            Role::Offset => distance(text),
            Role::Function => match text.strip_prefix('#') {
                Some(index) => unsigned(index).filter(|&index| u32::try_from(index).is_ok()),
                None => {
                    self.wait(text, role, line)?;
                    Some(0)
                }
            },
            Role::Long => unsigned(text).filter(|&value| u32::try_from(value).is_ok()),
            Role::Slot | Role::Local | Role::Host | Role::Short => short(text).map(u64::from),
        };
        let Some(bits) = bits else { return Ok(None) };
        let size = usize::try_from(role.size()).unwrap_or(0);
        self.code()?.extend(bits.to_le_bytes().iter().take(size));
        Ok(Some(()))
    }

    /// Remembers that a name stands at the end of the code.
    fn wait(&mut self, text: &str, role: Role, line: u32) -> Result<(), TextFault> {
        let (name, rest) = take_name(text)?;
        if !rest.is_empty() {
            return Err(TextFault::Name);
        }
        let at = self.code()?.len();
        let function = self.functions.len().saturating_sub(1);
        let waiting = Waiting { name, function, at, line };
        if role == Role::Offset {
            self.jumps.push(waiting)
        } else {
            self.calls.push(waiting)
        }
        Ok(())
    }

    /// Puts the distances into the jumps of the last function.
    fn finish_function(&mut self) -> Result<(), TextError> {
        for Waiting { name, at, line, .. } in core::mem::take(&mut self.jumps) {
            let error = |fault| TextError { line, fault };
            let label = self.labels.get(&name).ok_or(error(TextFault::NoSuchName))?;
            let distance = i64::try_from(*label).ok().zip(i64::try_from(at).ok());
            let distance = distance.and_then(|(to, at)| i32::try_from(to - at - 4).ok());
            let distance = distance.ok_or(error(TextFault::TooFar))?;
            let code = self.code().map_err(error)?;
            patch(code, at, distance.to_le_bytes());
        }
        self.labels.clear();
        Ok(())
    }

    /// Puts the indices into the calls.
    fn finish(mut self) -> Result<AssembledProgram, TextError> {
        for Waiting { name, function, at, line } in core::mem::take(&mut self.calls) {
            let fault = TextFault::NoSuchName;
            let index = *self.names.get(&name).ok_or(TextError { line, fault })?;
            if let Some(function) = self.functions.get_mut(function) {
                patch(&mut function.code, at, index.to_le_bytes());
            }
        }
        Ok(AssembledProgram { functions: self.functions, constants: self.constants })
    }
}

fn patch(code: &mut [u8], at: usize, bytes: [u8; 4]) {
    if let Some(place) = code.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *place = bytes;
    }
}

/// Whether characters stand in a quoted name, one after another.
#[derive(Default)]
struct Quotes {
    quoted: bool,
    escaped: bool,
}

impl Quotes {
    /// Whether the next character stands outside.
    fn is_outside(&mut self, character: char) -> bool {
        let escaped = self.escaped;
        self.escaped = self.quoted && character == '\\' && !escaped;
        self.quoted ^= character == '"' && !escaped;
        !self.quoted
    }
}

/// The text before the first `;` that does not stand in a quoted name.
fn without_comment(text: &str) -> &str {
    let mut quotes = Quotes::default();
    let begins = |character| quotes.is_outside(character) && character == ';';
    text.split(begins).next().unwrap_or(text)
}

/// What stands between commas that do not stand in a quoted name.
fn split_operands(text: &str) -> Vec<&str> {
    if text.is_empty() {
        return Vec::new();
    }
    let mut quotes = Quotes::default();
    let separates = |character| quotes.is_outside(character) && character == ',';
    text.split(separates).map(str::trim).collect()
}

/// A name, and what stands behind it.
fn take_name(text: &str) -> Result<(Vec<u8>, &str), TextFault> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.bytes().position(|byte| !is_plain(byte)).unwrap_or(text.len());
        let (name, rest) = text.split_at_checked(end).ok_or(TextFault::Name)?;
        return if name.is_empty() { Err(TextFault::Name) } else { Ok((name.into(), rest)) };
    };
    let mut quotes = Quotes { quoted: true, escaped: false };
    let end = quoted.find(|character| quotes.is_outside(character)).ok_or(TextFault::Name)?;
    let (name, rest) = quoted.split_at_checked(end).ok_or(TextFault::Name)?;
    let name = unescape(name).ok().filter(|name| !name.contains(&0));
    Ok((name.ok_or(TextFault::Name)?, rest.get(1..).unwrap_or("")))
}

fn unsigned(text: &str) -> Option<u64> {
    let text = text.trim();
    let (digits, radix) = text.strip_prefix("0x").map_or((text, 10), |digits| (digits, 16));
    if digits.starts_with('+') { None } else { u64::from_str_radix(digits, radix).ok() }
}

fn short(text: &str) -> Option<u16> {
    u16::try_from(unsigned(text)?).ok()
}

/// The bits of an integer; hexadecimal ones may use all 64.
fn integer(text: &str) -> Option<u64> {
    let Some(digits) = text.strip_prefix('-') else {
        let value = unsigned(text)?;
        let fits = text.starts_with("0x") || i64::try_from(value).is_ok();
        return fits.then_some(value);
    };
    0i64.checked_sub_unsigned(unsigned(digits)?).map(i64::cast_unsigned)
}

fn float(text: &str) -> Option<u64> {
    if text.starts_with("0x") {
        return unsigned(text);
    }
    text.parse().ok().map(f64::to_bits)
}

/// The bits of a distance in bytes, which has a sign.
fn distance(text: &str) -> Option<u64> {
    let (sign, digits) = text.split_at_checked(1)?;
    let magnitude = i64::try_from(unsigned(digits)?).ok()?;
    let distance = if sign == "-" { -magnitude } else { magnitude };
    i32::try_from(distance).ok().map(|distance| i64::from(distance).cast_unsigned())
}

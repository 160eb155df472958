//! From bodies to text.

use core::fmt::{self, Write};

use super::lexer::in_name;
use crate::ir::function::{Callee, CalleeKind, Function, TypeEntry};
use crate::ir::instruction::{Instruction, NONE};
use crate::ir::opcode::Opcode;
use crate::ir::types::ValueType;

/// Writes the text form of a template; reading it again gives the same body. Locals are `v0` and so
/// on, type parameters `T0`, and a label has the number of its instruction.
///
/// A body that the verifier refuses is written as far as it can be read.
///
/// # Errors
/// Those of `out`.
pub fn print(name: &str, body: &Function<'_>, out: &mut dyn Write) -> fmt::Result {
    write!(out, "template {}", Name(name))?;
    for index in 0..body.type_params() {
        write!(out, "{}T{index}", if index == 0 { "<" } else { ", " })?;
    }
    out.write_str(if body.type_params() == 0 { "(" } else { ">(" })?;
    let signature = body.signature();
    for (index, &code) in signature.params.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        write!(out, "{comma}v{index}: {}", Code(code))?;
    }
    out.write_str(")")?;
    if signature.result != 0 {
        write!(out, " -> {}", Code(signature.result))?;
    }
    out.write_str("\n")?;
    for (index, &code) in body.local_codes().iter().enumerate().skip(signature.params.len()) {
        writeln!(out, "    local v{index}: {}", Code(code))?;
    }
    let mut targets = alloc::vec![false; body.len()];
    for target in body.instructions().flatten().filter_map(|instruction| instruction.target()) {
        let place = usize::try_from(target).ok().and_then(|target| targets.get_mut(target));
        place.into_iter().for_each(|place| *place = true);
    }
    for ((index, instruction), is_target) in body.instructions().enumerate().zip(targets) {
        if is_target {
            writeln!(out, "L{index}:")?;
        }
        match instruction {
            Some(instruction) => {
                out.write_str("    ")?;
                statement(body, &instruction, out)?;
                out.write_str("\n")?;
            }
            None => writeln!(out, "    # no opcode at 0x{:x}", body.offset(index))?,
        }
    }
    out.write_str("end\n")
}

/// A name, in quotation marks when it needs them.
struct Name<'n>(&'n str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let begins = self.0.chars().next().is_some_and(|first| !first.is_ascii_digit());
        if begins && self.0.chars().all(in_name) {
            f.write_str(self.0)
        } else {
            write!(f, "\"{}\"", self.0)
        }
    }
}

/// A type by its code.
struct Code(u8);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match ValueType::from_code(self.0) {
            Some(ty) => ty.fmt(f),
            None => write!(f, "0x{:02x}", self.0),
        }
    }
}

fn statement(body: &Function<'_>, i: &Instruction, out: &mut dyn Write) -> fmt::Result {
    let name = i.opcode.name();
    match i.opcode {
        Opcode::Jump => write!(out, "{name} L{}", i.imm),
        Opcode::BranchIf(_) => write!(out, "{name} v{}, L{}", i.a, i.imm),
        Opcode::ReturnNone => out.write_str(name),
        Opcode::Trap => write!(out, "{name} {}", i.imm.cast_unsigned()),
        Opcode::Call => match body.callee(i.b) {
            Ok(callee) => call(body, i, &callee, out),
            Err(_) => write!(out, "# a call of callee {}, which there is not", i.b),
        },
        _ => {
            write!(out, "{name} {} v{}", Code(i.type_code), i.a)?;
            operands(body, i, out)
        }
    }
}

/// What follows the type and the first local.
fn operands(body: &Function<'_>, i: &Instruction, out: &mut dyn Write) -> fmt::Result {
    let number = i.number();
    match i.opcode {
        Opcode::SizeOf | Opcode::Return => Ok(()),
        Opcode::Constant => write!(out, ", {number}"),
        Opcode::WideConstant => write!(out, ", 0x{:x}", body.constant(i.imm).unwrap_or(0)),
        Opcode::Convert => {
            let code = u8::try_from(i.c).unwrap_or(0);
            write!(out, ", {} v{}", Code(code), i.b)
        }
        Opcode::Branch(_) if i.immediate => write!(out, ", {number}, L{}", i.imm),
        Opcode::Branch(_) => write!(out, ", v{}, L{}", i.b, i.imm),
        Opcode::Binary(_) | Opcode::Compare(_) if i.immediate => {
            write!(out, ", v{}, {number}", i.b)
        }
        Opcode::Binary(_) | Opcode::Compare(_) => write!(out, ", v{}, v{}", i.b, i.c),
        Opcode::Load | Opcode::Store => write!(out, ", v{}{}", i.b, Distance(number)),
        Opcode::LoadElement | Opcode::StoreElement | Opcode::Element if i.c == NONE => {
            write!(out, ", v{}[{number}]", i.b)
        }
        Opcode::LoadElement | Opcode::StoreElement | Opcode::Element => {
            write!(out, ", v{}[v{}{}]", i.b, i.c, Distance(number))
        }
        _ => write!(out, ", v{}", i.b),
    }
}

/// ` + N`, ` - N`, or nothing.
struct Distance(i32);

impl fmt::Display for Distance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            ..0 => write!(f, " - {}", self.0.unsigned_abs()),
            _ => write!(f, " + {}", self.0),
        }
    }
}

fn call(
    body: &Function<'_>,
    i: &Instruction,
    callee: &Callee<'_>,
    out: &mut dyn Write,
) -> fmt::Result {
    out.write_str(if callee.kind == CalleeKind::Host { "call_host " } else { "call " })?;
    if i.a != NONE {
        write!(out, "v{} = ", i.a)?;
    }
    write!(out, "{}", Name(callee.name))?;
    types(callee, out)?;
    out.write_str("(")?;
    let operands = body.call_operands(i, callee);
    for (index, local) in operands.iter().flat_map(|operands| operands.iter()).enumerate() {
        write!(out, "{}v{local}", if index == 0 { "" } else { ", " })?;
    }
    out.write_str(")")?;
    if i.a == NONE && callee.signature.result != 0 && callee.kind == CalleeKind::Instance {
        write!(out, " -> {}", Code(callee.signature.result))?;
    }
    Ok(())
}

/// `<T0, Pair<i64, T1>>`
fn types(callee: &Callee<'_>, out: &mut dyn Write) -> fmt::Result {
    // How many types are still to come at each level that is open.
    let mut open = alloc::vec![u32::from(callee.arity)];
    if callee.arity == 0 {
        return Ok(());
    }
    out.write_str("<")?;
    for entry in callee.types() {
        if let Some(left) = open.last_mut() {
            *left = left.saturating_sub(1);
        }
        match entry {
            TypeEntry::Type(ty) => write!(out, "{ty}")?,
            TypeEntry::Named { name, arity: 0 } => write!(out, "{}", Name(name))?,
            TypeEntry::Named { name, arity } => {
                write!(out, "{}<", Name(name))?;
                open.push(arity.into());
                continue;
            }
        }
        while open.last() == Some(&0) {
            open.pop();
            out.write_str(">")?;
        }
        if !open.is_empty() {
            out.write_str(", ")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::string::String;

    use super::super::parse;
    use super::*;

    #[test]
    fn text_leads_to_text() {
        let text = "template \"a b\"<T0, T1>(v0: T0, v1: ptr) -> T0
    local v2: i64
    local v3: bool
    local v4: f64
L0:
    const i64 v2, -7
    const_wide f64 v4, 0x7ff8000000000001
    neg T0 v0, v0
    convert T0 v0, i64 v2
    size_of T1 v2
    sub i64 v2, v2, -3
    le T0 v3, v0, 9
    br_false v3, L11
    br_ne i64 v2, -2, L0
    load T0 v0, v1 - 8
    store_element T0 v0, v1[v2 + 1]
L11:
    element T1 v1, v1[3]
    call v0 = \"g h\"<Pair<T0, Unit>, A<A<i8>>, u8>(v0, v1)
    call f(v2) -> T0
    call_host v2 = abs(v2)
    jump L16
L16:
    trap 4294967295
    return T0 v0
end
";
        let templates = parse(text).unwrap();
        let body = Function::parse(&templates[0].body).unwrap();
        let mut again = String::new();
        print("a b", &body, &mut again).unwrap();
        assert_eq!(again, text);
    }
}

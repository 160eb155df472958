//! From functions to text.

use core::fmt::{self, Write};

use super::error::limits;
use super::lexer::in_name;
use crate::ir::function::{Callee, CalleeKind, Function, SourceLocation, TypeEntry};
use crate::ir::instruction::{Instruction, NONE};
use crate::ir::interpret::value::{number, signed};
use crate::ir::opcode::Opcode;
use crate::ir::operand_kind::OperandKind;
use crate::ir::types::{Scalar, ValueType};

/// Writes the text form of a template; [`parse`](super::parse) reads it as the same function. Locals are named `v0` and
/// so on, type parameters `T0`, slots `s0`, data `d0`, and a label has the number of its instruction.
///
/// A function that the verifier refuses is written as far as it can be read. The parser refuses a template whose data is aligned
/// to more than 16 bytes.
///
/// # Errors
/// Those of `out`.
pub fn print(name: &str, body: &Function<'_>, out: &mut dyn Write) -> fmt::Result {
    Printer { body, names: None }.function(name, out)
}

/// Writes the text form of a function of a program, as [`print`] does for a template. `names` are the names of all
/// functions of the program by number, distinct; a callee without a name is written as its number.
///
/// # Errors
/// Those of `out`.
pub fn print_function(
    name: &str,
    body: &Function<'_>,
    names: &[&str],
    out: &mut dyn Write,
) -> fmt::Result {
    Printer { body, names: Some(names) }.function(name, out)
}

/// A name, in quotation marks when it needs them.
struct Name<'n>(&'n str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let begins = self.0.chars().next().is_some_and(|first| !first.is_ascii_digit());
        if begins && self.0.chars().all(in_name) {
            return f.write_str(self.0);
        }
        f.write_str("\"")?;
        for character in self.0.chars() {
            match character {
                '"' | '\\' => write!(f, "\\{character}")?,
                _ if character.is_control() => {
                    let mut buffer = [0; 4];
                    let mut bytes = character.encode_utf8(&mut buffer).bytes();
                    bytes.try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
                }
                _ => f.write_char(character)?,
            }
        }
        f.write_str("\"")
    }
}

/// The name of a type, in quotation marks also where it would be read as a scalar or a type parameter.
struct TypeName<'n>(&'n str);

impl fmt::Display for TypeName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_parameter = self.0.starts_with('T');
        if is_parameter || Scalar::from_name(self.0).is_some() {
            return Quoted(self.0.as_bytes()).fmt(f);
        }
        Name(self.0).fmt(f)
    }
}

/// Bytes as a quoted text.
pub(crate) struct Quoted<'b>(pub(crate) &'b [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for &byte in self.0 {
            match byte {
                b'"' | b'\\' => write!(f, "\\{}", char::from(byte))?,
                b' '..=b'~' => f.write_char(char::from(byte))?,
                _ => write!(f, "\\x{byte:02x}")?,
            }
        }
        f.write_str("\"")
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

struct Printer<'p, 'd> {
    body: &'p Function<'d>,
    /// Names of functions by number; `None` for a template.
    names: Option<&'p [&'p str]>,
}

impl Printer<'_, '_> {
    fn function(&self, name: &str, out: &mut dyn Write) -> fmt::Result {
        self.head(name, out)?;
        self.declarations(out)?;
        self.instructions(out)?;
        out.write_str("end\n")
    }

    fn head(&self, name: &str, out: &mut dyn Write) -> fmt::Result {
        // Only a template has type parameters.
        let is_function = self.names.is_some() && self.body.type_params() == 0;
        let keyword = if is_function { "function" } else { "template" };
        write!(out, "{keyword} {}", Name(name))?;
        if self.body.type_params() > 0 {
            list(["<", ">"], (0..self.body.type_params()).map(ValueType::Parameter), out)?;
        }
        let signature = self.body.signature();
        let params = signature.params.iter().enumerate();
        let params = params
            .map(|(index, &code)| fmt::from_fn(move |f| write!(f, "v{index}: {}", Code(code))));
        list(["(", ")"], params, out)?;
        result(signature.result, out)?;
        out.write_str("\n")
    }

    fn declarations(&self, out: &mut dyn Write) -> fmt::Result {
        for (index, slot) in self.body.slots().enumerate() {
            match slot {
                Some(slot) => {
                    writeln!(out, "    slot s{index} align {}: {}", slot.align, slot.size)?
                }
                None => writeln!(out, "    # slot s{index} is malformed")?,
            }
        }
        for index in 0..self.body.data_count() {
            match self.body.data(index) {
                Some(data) => {
                    let (align, bytes) = (data.align, Quoted(data.bytes));
                    writeln!(out, "    data d{index} align {align}: {bytes}")?;
                }
                None => writeln!(out, "    # data d{index} is malformed")?,
            }
        }
        let params = self.body.signature().params.len();
        for (index, &code) in self.body.local_codes().iter().enumerate().skip(params) {
            writeln!(out, "    local v{index}: {}", Code(code))?;
        }
        Ok(())
    }

    fn instructions(&self, out: &mut dyn Write) -> fmt::Result {
        let body = self.body;
        let mut targets = alloc::vec![false; body.len()];
        for target in body.instructions().flatten().filter_map(|instruction| instruction.target()) {
            let place = usize::try_from(target).ok().and_then(|target| targets.get_mut(target));
            place.into_iter().for_each(|place| *place = true);
        }
        let mut locations = body.locations().peekable();
        for ((index, instruction), is_target) in body.instructions().enumerate().zip(targets) {
            if is_target {
                writeln!(out, "L{index}:")?;
            }
            let is_here = |location: &SourceLocation<'_>| location.instruction as usize <= index;
            while let Some(location) = locations.next_if(is_here) {
                self.location(&location, out)?;
            }
            out.write_str("    ")?;
            match instruction {
                Some(instruction) => self.statement(&instruction, out)?,
                None => write!(out, "# no opcode at 0x{:x}", body.offset(index))?,
            }
            out.write_str("\n")?;
        }
        Ok(())
    }

    fn location(&self, location: &SourceLocation<'_>, out: &mut dyn Write) -> fmt::Result {
        write!(out, "    location {}", location.line)?;
        if location.column != 0 {
            write!(out, ":{}", location.column)?;
        }
        if let Some(file) = location.file {
            write!(out, " in {}", Name(file))?;
        }
        out.write_str("\n")
    }

    fn statement(&self, i: &Instruction, out: &mut dyn Write) -> fmt::Result {
        match i.opcode {
            Opcode::FunctionAddress => match self.body.callee(i.b) {
                Ok(callee) => self.address(i, &callee, out),
                Err(_) => write!(out, "# the address of callee {}, which is missing", i.b),
            },
            _ if i.opcode.is_call() => match self.body.callee(i.b) {
                Ok(callee) => self.call(i, &callee, out),
                Err(_) => write!(out, "# a call of callee {}, which is missing", i.b),
            },
            _ => self.operands(*i, out),
        }
    }

    /// An opcode and its operands.
    fn operands(&self, mut i: Instruction, out: &mut dyn Write) -> fmt::Result {
        use OperandKind as K;
        out.write_str(i.opcode.name())?;
        let mut separator = " ";
        for &operand in i.opcode.operands() {
            if !operand.is_suffix() {
                out.write_str(separator)?;
            }
            separator = if operand.is_prefix() { " " } else { ", " };
            match operand {
                K::Type => write!(out, "{}", Code(i.type_code))?,
                K::Source => write!(out, "{}", Code(u8::try_from(i.c).unwrap_or(0)))?,
                K::Set(_) => write!(out, "v{}", i.a)?,
                K::Local(field, _) => write!(out, "v{}", i.field_mut(field))?,
                K::Other => write!(out, "v{}", i.imm.cast_unsigned())?,
                K::Second(_) if !i.immediate => write!(out, "v{}", i.c)?,
                K::Short if !i.immediate => write!(out, "v{}", i.b)?,
                K::Second(_) | K::Short => write!(out, "{}", i.number())?,
                K::Number => write!(out, "{}", constant(&i))?,
                K::Wide => write!(out, "0x{:x}", self.body.constant(i.imm).unwrap_or(0))?,
                K::Distance => write!(out, "{}", Distance(i.imm))?,
                K::Element if i.c == NONE => write!(out, "[{}]", i.imm)?,
                K::Element => write!(out, "[v{}{}]", i.c, Distance(i.imm))?,
                K::Target => write!(out, "L{}", i.imm)?,
                K::Code => write!(out, "{}", i.imm.cast_unsigned())?,
                K::Slot => write!(out, "s{}", i.b)?,
                K::Data => write!(out, "d{}", i.b)?,
                K::Callee => {}
            }
        }
        Ok(())
    }

    fn call(&self, i: &Instruction, callee: &Callee<'_>, out: &mut dyn Write) -> fmt::Result {
        let is_tail = matches!(i.opcode, Opcode::ReturnCall | Opcode::ReturnCallIndirect);
        let suffix = match callee.kind {
            _ if matches!(i.opcode, Opcode::CallIndirect | Opcode::ReturnCallIndirect) => "",
            CalleeKind::Host => "_host",
            _ => "",
        };
        write!(out, "{}{suffix} ", i.opcode.name())?;
        let is_stated = !is_tail && i.a != NONE;
        if is_stated {
            write!(out, "v{} = ", i.a)?;
        }
        match callee.kind {
            CalleeKind::Indirect => write!(out, "v{}", i.c)?,
            _ => self.callee(callee, out)?,
        }
        let operands = self.body.operands_of(i).into_iter().flat_map(|operands| operands.iter());
        let operands = operands.map(|local| fmt::from_fn(move |f| write!(f, "v{local}")));
        list(["(", ")"], operands, out)?;
        if is_stated || is_tail { Ok(()) } else { result(callee.signature.result, out) }
    }

    fn address(&self, i: &Instruction, callee: &Callee<'_>, out: &mut dyn Write) -> fmt::Result {
        let is_host = callee.kind == CalleeKind::Host;
        let name = if is_host { "host_address" } else { i.opcode.name() };
        write!(out, "{name} v{}, ", i.a)?;
        self.callee(callee, out)?;
        list(["(", ")"], callee.signature.params.iter().map(|&code| Code(code)), out)?;
        result(callee.signature.result, out)
    }

    /// The name of a callee with its type arguments, or its number.
    fn callee(&self, callee: &Callee<'_>, out: &mut dyn Write) -> fmt::Result {
        let CalleeKind::Function(number) = callee.kind else {
            write!(out, "{}", Name(callee.name))?;
            let is_instance = callee.kind == CalleeKind::Instance;
            // Without them, the name is that of a function of the program.
            let needs_types = self.names.is_some() && is_instance && callee.arity == 0;
            return if needs_types { out.write_str("<>") } else { types(callee, out) };
        };
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        match self.names.and_then(|names| names.get(index)) {
            Some(name) => write!(out, "{}", Name(name)),
            None => write!(out, "{number}"),
        }
    }
}

/// A list in brackets, with commas.
fn list<T: fmt::Display>(
    [open, close]: [&str; 2],
    items: impl Iterator<Item = T>,
    out: &mut dyn Write,
) -> fmt::Result {
    out.write_str(open)?;
    for (index, item) in items.enumerate() {
        write!(out, "{}{item}", if index == 0 { "" } else { ", " })?;
    }
    out.write_str(close)
}

/// ` -> TYPE`, or nothing for a function without a result.
fn result(code: u8, out: &mut dyn Write) -> fmt::Result {
    if code == 0 { Ok(()) } else { write!(out, " -> {}", Code(code)) }
}

/// The number of a constant: in place of one that its type does not have, the number that the local gets, because the parser
/// refuses others.
fn constant(i: &Instruction) -> i128 {
    match i.ty() {
        Some(ValueType::Scalar(scalar)) if !scalar.is_float() => {
            let (least, most) = limits(scalar);
            let fits = (least..=most).contains(&i.imm.into());
            if fits { i.imm.into() } else { signed(number(i.imm, scalar), scalar) }
        }
        _ => i.imm.into(),
    }
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
            TypeEntry::Named { name, arity: 0 } => write!(out, "{}", TypeName(name))?,
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

    /// All of version 2, and names that need escape sequences.
    const PROGRAM: &str = r#"function main(v0: i64, v1: ptr) -> i64
    slot s0 align 16: 24
    slot s1 align 1: 3
    data d0 align 1: "a\"\\\x00\x0a\xff"
    data d1 align 8: "        "
    data d2 align 4096: ""
    local v2: ptr
    local v3: u64
    local v4: bool
    local v5: u8
    local v6: f64
    location 7
    slot_address v2, s0 + 8
    data_address v2, d1 + 3
    location 8:2 in "a b"
    copy_memory v1, v2, 8
    copy_memory v1, v2, v3
    location 0 in file.simple
    fill_memory v1, v5, v3
    fill_memory v1, v5, 0
    check_stack v1 + 16
L7:
    trap_lt i64 v0, v0, 4294967295
    trap_ge i64 v0, -32768, 7
    trap_true v4, 3
    trap_false v4, 4
    select i64 v0, v4, v0, v0
    sqrt f64 v6, v6
    abs f64 v6, v6
    add_checked i64 v0, v0, 1
    sub_checked i64 v0, v0, v0
    mul_checked i64 v0, v0, -7
    rotl u64 v3, v3, 13
    br_true v4, L7
    function_address v2, other(i64, ptr) -> i64
    function_address v2, 7()
    function_address v2, "t t"<i64>()
    host_address v2, "quo\"te\x0a"(f64) -> f64
    call v0 = main(v0, v1)
    call v0 = 9(v0, v1)
    call other(v0, v1) -> i64
    call v0 = main<>(v0, v1)
    call v0 = template<i64, A<u8>, "i64", "T1">(v0)
    call_host h(v0)
    call_host h(v0) -> f32
    call_indirect v0 = v2(v0, v6)
    call_indirect v1()
    call_indirect v1() -> u8
    return_call other(v0, v1)
    return_call main<>(v0, v1)
    return_call t<i8>()
    return_call 12()
    return_call_host abs(v0)
    return_call_indirect v2(v6)
end
function other(v0: i64, v1: ptr) -> i64
    trap 1
end
"#;

    #[test]
    fn program_leads_to_the_same_text_and_the_same_bytes() {
        let text = PROGRAM;
        let functions = parse(text).unwrap();
        assert!(functions.iter().all(|function| !function.is_template));
        let names: std::vec::Vec<&str> = functions.iter().map(|f| f.name.as_str()).collect();
        let mut again = String::new();
        for function in &functions {
            let body = Function::parse(&function.body).unwrap();
            print_function(&function.name, &body, &names, &mut again).unwrap();
        }
        assert_eq!(again, text);
        // A function alone, whose callees have numbers.
        let body = Function::parse(&functions[0].body).unwrap();
        let mut alone = String::new();
        print_function("main", &body, &[], &mut alone).unwrap();
        assert!(alone.contains("return_call 1(v0, v1)"), "{alone}");
        assert_eq!(parse(&alone).unwrap()[0].body, functions[0].body);
    }
}

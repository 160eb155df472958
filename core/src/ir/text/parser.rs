//! From text to bodies.

mod statement;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::lexer::{Lexer, Token};
use super::{ParsedTemplate, TextError, TextFault};
use crate::ir::builder::{BuildError, FunctionBuilder, Label, Local, Value};
use crate::ir::error::IrError;
use crate::ir::function::Function;
use crate::ir::instruction::INSTRUCTION_SIZE;
use crate::ir::opcode::Opcode;
use crate::ir::types::{Scalar, ValueType};
use crate::ir::verify::Verified;

/// The templates in `text`, in its order, each verified.
///
/// # Errors
/// The first thing that is wrong, with its line.
pub fn parse(text: &str) -> Result<Vec<ParsedTemplate>, TextError> {
    let mut templates = Vec::new();
    let mut open: Option<Template<'_>> = None;
    let mut line = 0;
    for (number, content) in (1u32..).zip(text.lines()) {
        line = number;
        let at = |fault| TextError { line: number, fault };
        let mut words = Words { lexer: Lexer::new(content) };
        let Some(first) = words.lexer.peek().map_err(at)? else { continue };
        match (&mut open, first) {
            (None, Token::Name("template")) => open = Some(template(words, number).map_err(at)?),
            (None, _) => return Err(at(TextFault::Expected("`template`"))),
            (Some(_), Token::Name("end")) => {
                words.name().and_then(|_| words.end()).map_err(at)?;
                if let Some(template) = open.take() {
                    templates.push(template.finish()?);
                }
            }
            (Some(template), _) => template.statement(&mut words, number).map_err(at)?,
        }
    }
    match open {
        None => Ok(templates),
        Some(_) => Err(TextError { line, fault: TextFault::Expected("`end`") }),
    }
}

/// The words of a line, taken as something that is expected.
#[derive(Clone, Copy)]
struct Words<'t> {
    lexer: Lexer<'t>,
}

impl<'t> Words<'t> {
    fn name(&mut self) -> Result<&'t str, TextFault> {
        match self.lexer.next()? {
            Some(Token::Name(name)) => Ok(name),
            _ => Err(TextFault::Expected("a name")),
        }
    }

    /// Whether the next word is `sign`; takes it then.
    fn has(&mut self, sign: char) -> Result<bool, TextFault> {
        let found = self.lexer.peek()? == Some(Token::Sign(sign));
        if found {
            self.lexer.next()?;
        }
        Ok(found)
    }

    fn sign(&mut self, sign: char, what: &'static str) -> Result<(), TextFault> {
        if self.has(sign)? { Ok(()) } else { Err(TextFault::Expected(what)) }
    }

    fn comma(&mut self) -> Result<(), TextFault> {
        self.sign(',', "a comma")
    }

    fn end(&mut self) -> Result<(), TextFault> {
        match self.lexer.next()? {
            None => Ok(()),
            Some(_) => Err(TextFault::Expected("the end of the line")),
        }
    }

    /// A number as it is written, and whether a minus stands before it.
    fn digits(&mut self) -> Result<(bool, &'t str), TextFault> {
        let negative = self.has('-')?;
        match self.lexer.next()? {
            Some(Token::Number(digits)) => Ok((negative, digits)),
            _ => Err(TextFault::Expected("a number")),
        }
    }

    fn integer(&mut self) -> Result<i64, TextFault> {
        let (negative, digits) = self.digits()?;
        let value = integer(negative, digits).ok_or(TextFault::Number)?;
        i64::try_from(value).map_err(|_| TextFault::Number)
    }

    fn short(&mut self) -> Result<i32, TextFault> {
        i32::try_from(self.integer()?).map_err(|_| TextFault::Number)
    }

    /// `+ N` or `- N`, or nothing.
    fn distance(&mut self) -> Result<i32, TextFault> {
        match self.lexer.peek()? {
            Some(Token::Sign('-')) => self.short(),
            Some(Token::Sign('+')) => {
                self.lexer.next()?;
                self.short()
            }
            _ => Ok(0),
        }
    }
}

fn integer(negative: bool, digits: &str) -> Option<i128> {
    let value = match digits.strip_prefix("0x") {
        Some(hex) => i128::from(u64::from_str_radix(hex, 16).ok()?),
        None => i128::from(digits.parse::<u64>().ok()?),
    };
    Some(if negative { -value } else { value })
}

/// A template whose `end` has not come yet.
struct Template<'t> {
    name: &'t str,
    type_params: u8,
    /// By name.
    types: BTreeMap<&'t str, ValueType>,
    locals: BTreeMap<&'t str, Local>,
    labels: BTreeMap<&'t str, NamedLabel>,
    builder: FunctionBuilder,
    /// The line of the template, and that of each instruction.
    line: u32,
    lines: Vec<u32>,
}

struct NamedLabel {
    label: Label,
    /// The line of its first use.
    line: u32,
    is_bound: bool,
}

/// `template NAME<T, U>(a: T, b: i64) -> T`
fn template(mut words: Words<'_>, line: u32) -> Result<Template<'_>, TextFault> {
    words.name()?;
    let name = words.name()?;
    let types = type_parameters(&mut words)?;
    let type_params = u8::try_from(types.len()).unwrap_or(u8::MAX);
    let mut params = Vec::new();
    words.sign('(', "`(`")?;
    while !words.has(')')? {
        if !params.is_empty() {
            words.comma()?;
        }
        let name = words.name()?;
        words.sign(':', "`:`")?;
        params.push((name, named_type(&types, words.name()?)?));
    }
    let result = match words.lexer.next()? {
        None => None,
        Some(Token::Arrow) => Some(named_type(&types, words.name()?)?),
        Some(_) => return Err(TextFault::Expected("`->`")),
    };
    words.end()?;
    let builder = FunctionBuilder::new(type_params, result);
    let (locals, labels, lines) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    let mut template = Template { name, type_params, types, locals, labels, builder, line, lines };
    for (name, ty) in params {
        let local = template.builder.param(ty);
        template.declare(name, local)?;
    }
    Ok(template)
}

/// `<T, U>`, or nothing.
fn type_parameters<'t>(words: &mut Words<'t>) -> Result<BTreeMap<&'t str, ValueType>, TextFault> {
    let mut types = BTreeMap::new();
    if !words.has('<')? {
        return Ok(types);
    }
    loop {
        let parameter = words.name()?;
        let index = u8::try_from(types.len());
        let index = index.map_err(|_| TextFault::Build(BuildError::Parameters))?;
        let taken = Scalar::from_name(parameter).is_some();
        if taken || types.insert(parameter, ValueType::Parameter(index)).is_some() {
            return Err(TextFault::Duplicate);
        }
        if !words.has(',')? {
            words.sign('>', "`>`")?;
            return Ok(types);
        }
    }
}

fn named_type(types: &BTreeMap<&str, ValueType>, name: &str) -> Result<ValueType, TextFault> {
    let scalar = Scalar::from_name(name).map(ValueType::Scalar);
    scalar.or_else(|| types.get(name).copied()).ok_or(TextFault::Type)
}

impl<'t> Template<'t> {
    fn finish(self) -> Result<ParsedTemplate, TextError> {
        let Self { name, type_params, labels, builder, line, lines, .. } = self;
        if let Some(label) = labels.values().find(|label| !label.is_bound) {
            return Err(TextError { line: label.line, fault: TextFault::Label });
        }
        let body = builder.finish();
        let body = body.map_err(|error| TextError { line, fault: TextFault::Build(error) })?;
        let typed = |error: IrError, begin: u32| {
            let size = u32::try_from(INSTRUCTION_SIZE).unwrap_or(1);
            let index = error.offset().and_then(|at| at.checked_sub(begin)).map(|at| at / size);
            let index = index.and_then(|index| usize::try_from(index).ok());
            let line = index.and_then(|index| lines.get(index)).copied().unwrap_or(line);
            TextError { line, fault: TextFault::Typed(error) }
        };
        let parsed = Function::parse(&body).map_err(|error| typed(error, u32::MAX))?;
        Verified::new(parsed).map_err(|error| typed(error, parsed.offset(0)))?;
        Ok(ParsedTemplate { name: name.into(), type_params, body })
    }

    fn declare(&mut self, name: &'t str, local: Local) -> Result<(), TextFault> {
        match self.locals.insert(name, local) {
            None => Ok(()),
            Some(_) => Err(TextFault::Duplicate),
        }
    }

    fn ty(&self, words: &mut Words<'t>) -> Result<ValueType, TextFault> {
        named_type(&self.types, words.name()?)
    }

    fn local(&self, words: &mut Words<'t>) -> Result<Local, TextFault> {
        self.locals.get(words.name()?).copied().ok_or(TextFault::Local)
    }

    /// A local, or a number that `fits`.
    fn value(&self, words: &mut Words<'t>) -> Result<Value, TextFault> {
        match words.lexer.peek()? {
            Some(Token::Name(_)) => self.local(words).map(Value::Local),
            _ => words.short().map(Value::Number),
        }
    }

    fn label(&mut self, name: &'t str, line: u32) -> &mut NamedLabel {
        let builder = &mut self.builder;
        self.labels.entry(name).or_insert_with(|| {
            let label = builder.label();
            NamedLabel { label, line, is_bound: false }
        })
    }

    fn target(&mut self, words: &mut Words<'t>, line: u32) -> Result<Label, TextFault> {
        let name = words.name()?;
        Ok(self.label(name, line).label)
    }

    /// One line that is neither the begin nor the end of a template.
    fn statement(&mut self, words: &mut Words<'t>, line: u32) -> Result<(), TextFault> {
        let first = words.name()?;
        if words.has(':')? {
            words.end()?;
            let place = self.label(first, line);
            if core::mem::replace(&mut place.is_bound, true) {
                return Err(TextFault::Duplicate);
            }
            let label = place.label;
            self.builder.bind(label);
            return Ok(());
        }
        if first == "local" {
            let name = words.name()?;
            words.sign(':', "`:`")?;
            let ty = self.ty(words)?;
            let local = self.builder.local(ty);
            self.declare(name, local)?;
            return words.end();
        }
        match first {
            "call" => self.call(words)?,
            "call_host" => self.call_host(words)?,
            _ => {
                let opcode = Opcode::from_name(first).ok_or(TextFault::Statement)?;
                self.instruction(opcode, words, line)?;
            }
        }
        self.lines.push(line);
        words.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Line and fault of a template with these lines between its first and its last.
    fn fault(lines: &str) -> Option<(u32, TextFault)> {
        let text = std::format!("template t<T>(a: T, n: i64) -> i64\n{lines}\nreturn i64 n\nend");
        parse(&text).err().map(|error| (error.line, error.fault))
    }

    #[test]
    fn says_what_is_wrong_in_which_line() {
        use TextFault as F;
        assert_eq!(fault(""), None);
        for (lines, line, expected) in [
            ("\nhop i64 n", 3, F::Statement),
            ("add i64 n, n", 2, F::Expected("a comma")),
            ("add i64 n, n, m", 2, F::Local),
            ("add i46 n, n, 1", 2, F::Type),
            ("add i64 n, n, 4294967296", 2, F::Number),
            ("const i8 n, 256", 2, F::Typed(local_type(40))),
            ("local n: i64", 2, F::Duplicate),
            ("# nothing\nl:\nl:", 4, F::Duplicate),
            ("jump there\n", 2, F::Label),
            ("move i64 n, n n", 2, F::Expected("the end of the line")),
            ("load i64 n, n", 2, F::Typed(pointer(40))),
            ("l:\nmove i64 n, n\nload i64 n, n", 4, F::Typed(pointer(52))),
            ("const T a, 1.5", 2, F::Number),
            ("const_wide T a, 1", 2, F::Expected("a scalar type")),
            ("br_lt i64 n, 40000, l\nl:", 1, F::Build(BuildError::BranchNumber(40_000))),
            ("call f<A<>>()", 2, F::Expected("a name")),
            ("call n = f(n) -> i64", 2, F::Expected("the end of the line")),
            ("?", 2, F::Character('?')),
            ("return_none", 2, F::Typed(IrError::Result { at: 40, expected: Some(INT) })),
        ] {
            assert_eq!(fault(lines), Some((line, expected)), "{lines}");
        }
        let nested = std::format!("call f<{}i8{}>()", "A<".repeat(65), ">".repeat(65));
        let expected = F::Expected("a type that nests less deeply");
        assert_eq!(fault(&nested), Some((2, expected)));
    }

    const INT: ValueType = ValueType::Scalar(Scalar::I64);

    fn local_type(at: u32) -> IrError {
        let expected = ValueType::Scalar(Scalar::I8);
        IrError::LocalType { at, local: 1, found: INT, expected }
    }

    fn pointer(at: u32) -> IrError {
        let expected = ValueType::Scalar(Scalar::Pointer);
        IrError::LocalType { at, local: 1, found: INT, expected }
    }

    #[test]
    fn templates_begin_and_end() {
        let fault = |text| parse(text).err().map(|error| (error.line, error.fault));
        assert_eq!(fault("\n# nothing\n"), None);
        assert_eq!(fault("return_none"), Some((1, TextFault::Expected("`template`"))));
        assert_eq!(fault("template t()\nreturn_none"), Some((2, TextFault::Expected("`end`"))));
        assert_eq!(fault("template t<i64>()"), Some((1, TextFault::Duplicate)));
        assert_eq!(fault("template t<T, T>()"), Some((1, TextFault::Duplicate)));
        assert_eq!(fault("template t(a: T)"), Some((1, TextFault::Type)));
        let two = parse("template a()\nreturn_none\nend # a\ntemplate b()\ntrap 3\nend").unwrap();
        assert_eq!(two.iter().map(|template| &template.name[..]).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn numbers_are_as_wide_as_they_need_to_be() {
        let bits = |ty: &str, number: &str| {
            let text =
                std::format!("template t()\nlocal a: {ty}\nconst {ty} a, {number}\ntrap 1\nend");
            let body = parse(&text).ok()?.remove(0).body;
            let body = Function::parse(&body).ok()?;
            let instruction = body.instruction(0)?;
            Some(match instruction.opcode {
                Opcode::WideConstant => body.constant(instruction.imm)?,
                _ => instruction.imm as u64,
            })
        };
        assert_eq!(bits("i64", "-5"), Some(-5i64 as u64));
        assert_eq!(bits("i64", "-9223372036854775808"), Some(1 << 63));
        assert_eq!(bits("u64", "0xffffffffffffffff"), Some(u64::MAX));
        assert_eq!(bits("u32", "4294967295"), Some(0xffff_ffff));
        assert_eq!(bits("u32", "4294967296"), None);
        assert_eq!(bits("i64", "-9223372036854775809"), None);
        assert_eq!(bits("f64", "-1.5"), Some((-1.5f64).to_bits()));
        assert_eq!(bits("f32", "2.5e3"), Some(2500f32.to_bits().into()));
        assert_eq!(bits("f32", "7"), Some(7));
        assert_eq!(bits("i64", "1.5"), None);
    }
}

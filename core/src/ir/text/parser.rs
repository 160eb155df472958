//! From text to functions.

mod call;
mod data;
mod head;
mod statement;

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use self::head::{Functions, Head, named_type};
use super::error::{TextError, TextErrorKind};
use super::lexer::Token;
use super::words::Words;
use crate::ir::builder::{Data, FunctionBuilder, Label, Local, Slot, Value};
use crate::ir::error::IrError;
use crate::ir::function::Function;
use crate::ir::instruction::INSTRUCTION_SIZE;
use crate::ir::opcode::Opcode;
use crate::ir::types::ValueType;
use crate::ir::verify::Verified;

/// A function of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedFunction {
    /// Its name.
    pub name: String,
    /// Whether it begins with `template`; otherwise it is a function of the program, and can be called by number.
    pub is_template: bool,
    /// The number of its type parameters; 0 unless it is a template.
    pub type_params: u8,
    /// Its encoded form, which has been verified.
    pub body: Vec<u8>,
}

/// The functions and templates in `text`, in its order, each verified.
///
/// Functions are numbered from 0 in the order of the text, without the templates between them. The text is
/// trusted to be of moderate size: an allocation that fails ends the process.
///
/// # Errors
/// The first error, with its line.
pub fn parse(text: &str) -> Result<Vec<ParsedFunction>, TextError> {
    let declared = head::functions(text)?;
    let mut functions = Vec::new();
    let mut open: Option<Parser<'_>> = None;
    let mut line = 0;
    for (number, content) in (1u32..).zip(text.lines()) {
        line = number;
        let at = |kind| TextError { line: number, kind };
        let mut words = Words::new(content);
        let Some(first) = words.peek().map_err(at)? else { continue };
        match (&mut open, first) {
            (None, Token::Name("template" | "function")) => {
                open = Some(Parser::new(words, number, &declared).map_err(at)?);
            }
            (None, _) => return Err(at(TextErrorKind::Expected("`template` or `function`"))),
            (Some(_), Token::Name("end")) => {
                words.name().and_then(|_| words.end()).map_err(at)?;
                if let Some(parser) = open.take() {
                    functions.push(parser.finish()?);
                }
            }
            (Some(parser), _) => {
                parser.statement(&mut words, number).map_err(at)?;
                if let Some(error) = parser.builder.error() {
                    return Err(at(TextErrorKind::Build(error)));
                }
            }
        }
    }
    match open {
        None => Ok(functions),
        Some(_) => Err(TextError { line, kind: TextErrorKind::Expected("`end`") }),
    }
}

/// A function whose `end` has not come yet.
struct Parser<'t> {
    name: Cow<'t, str>,
    is_template: bool,
    type_params: u8,
    functions: &'t Functions<'t>,
    types: BTreeMap<Cow<'t, str>, ValueType>,
    locals: BTreeMap<Cow<'t, str>, Local>,
    slots: BTreeMap<Cow<'t, str>, Slot>,
    data: BTreeMap<Cow<'t, str>, Data>,
    labels: BTreeMap<Cow<'t, str>, NamedLabel>,
    builder: FunctionBuilder,
    /// The line of the function, and that of each instruction.
    line: u32,
    lines: Vec<u32>,
}

struct NamedLabel {
    label: Label,
    /// The line of its first use.
    line: u32,
    is_bound: bool,
}

impl<'t> Parser<'t> {
    fn new(
        words: Words<'t>,
        line: u32,
        functions: &'t Functions<'t>,
    ) -> Result<Self, TextErrorKind> {
        let Head { name, is_template, types, params, result } = Head::parse(words)?;
        let type_params = u8::try_from(types.len()).unwrap_or(u8::MAX);
        let mut parser = Self {
            name,
            is_template,
            type_params,
            functions,
            types,
            locals: BTreeMap::new(),
            slots: BTreeMap::new(),
            data: BTreeMap::new(),
            labels: BTreeMap::new(),
            builder: FunctionBuilder::new(type_params, result),
            line,
            lines: Vec::new(),
        };
        for (name, ty) in params {
            let local = parser.builder.param(ty);
            declare(&mut parser.locals, name, local)?;
        }
        Ok(parser)
    }

    fn finish(self) -> Result<ParsedFunction, TextError> {
        let Self { name, is_template, type_params, labels, builder, line, lines, .. } = self;
        if let Some(label) = labels.values().find(|label| !label.is_bound) {
            return Err(TextError { line: label.line, kind: TextErrorKind::Label });
        }
        let body = builder.finish();
        let body = body.map_err(|error| TextError { line, kind: TextErrorKind::Build(error) })?;
        let refused = |error: IrError, start: u32| {
            let size = u32::try_from(INSTRUCTION_SIZE).unwrap_or(1);
            let index = error.offset().and_then(|at| at.checked_sub(start)).map(|at| at / size);
            let index = index.and_then(|index| usize::try_from(index).ok());
            let line = index.and_then(|index| lines.get(index)).copied().unwrap_or(line);
            TextError { line, kind: TextErrorKind::Verify(error) }
        };
        let parsed = Function::parse(&body).map_err(|error| refused(error, u32::MAX))?;
        Verified::new(parsed).map_err(|error| refused(error, parsed.offset(0)))?;
        Ok(ParsedFunction { name: name.into_owned(), is_template, type_params, body })
    }

    fn ty(&self, words: &mut Words<'t>) -> Result<ValueType, TextErrorKind> {
        named_type(&self.types, &words.name()?)
    }

    fn local(&self, words: &mut Words<'t>) -> Result<Local, TextErrorKind> {
        self.locals.get(&words.name()?).copied().ok_or(TextErrorKind::Local)
    }

    /// A local or a number.
    fn value(&self, words: &mut Words<'t>) -> Result<Value, TextErrorKind> {
        match words.is_name()? {
            true => self.local(words).map(Value::Local),
            false => words.number().map(Value::Number),
        }
    }

    fn label(&mut self, name: Cow<'t, str>, line: u32) -> &mut NamedLabel {
        let builder = &mut self.builder;
        self.labels.entry(name).or_insert_with(|| {
            let label = builder.label();
            NamedLabel { label, line, is_bound: false }
        })
    }

    fn target(&mut self, words: &mut Words<'t>, line: u32) -> Result<Label, TextErrorKind> {
        let name = words.name()?;
        Ok(self.label(name, line).label)
    }

    /// One line between the first and the last of a function.
    fn statement(&mut self, words: &mut Words<'t>, line: u32) -> Result<(), TextErrorKind> {
        let first = words.name()?;
        if words.has(':')? {
            words.end()?;
            let place = self.label(first, line);
            if core::mem::replace(&mut place.is_bound, true) {
                return Err(TextErrorKind::Duplicate);
            }
            let label = place.label;
            self.builder.bind(label);
            return Ok(());
        }
        if self.declaration(&first, words)? {
            return words.end();
        }
        if !self.call_statement(&first, words)? {
            let opcode = Opcode::from_name(&first).ok_or(TextErrorKind::Statement)?;
            self.instruction(opcode, words, line)?;
        }
        self.lines.push(line);
        words.end()
    }

    /// A declaration, if the first word begins one.
    fn declaration(&mut self, first: &str, words: &mut Words<'t>) -> Result<bool, TextErrorKind> {
        match first {
            "local" => {
                let name = words.name()?;
                words.sign(':', "`:`")?;
                let ty = self.ty(words)?;
                let local = self.builder.local(ty);
                declare(&mut self.locals, name, local)?;
            }
            "slot" => {
                let (name, align) = (words.name()?, alignment(words)?);
                words.sign(':', "`:`")?;
                let slot = self.builder.slot(words.number()?, align.unwrap_or(8));
                declare(&mut self.slots, name, slot)?;
            }
            "data" => self.data_declaration(words)?,
            "location" => self.location(words)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// `LINE`, `LINE:COLUMN`, `LINE in FILE` or `LINE:COLUMN in FILE`
    fn location(&mut self, words: &mut Words<'t>) -> Result<(), TextErrorKind> {
        let line = words.number()?;
        let column = if words.has(':')? { words.number()? } else { 0 };
        let file = if words.has_word("in")? { Some(words.name()?) } else { None };
        let file = file.map(|name| self.builder.file(&name));
        self.builder.location(line, column, file);
        Ok(())
    }
}

/// `align N`, or nothing.
fn alignment(words: &mut Words<'_>) -> Result<Option<u32>, TextErrorKind> {
    Ok(if words.has_word("align")? { Some(words.number()?) } else { None })
}

fn declare<'t, V>(
    names: &mut BTreeMap<Cow<'t, str>, V>,
    name: Cow<'t, str>,
    value: V,
) -> Result<(), TextErrorKind> {
    match names.insert(name, value) {
        None => Ok(()),
        Some(_) => Err(TextErrorKind::Duplicate),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::builder::BuildError;
    use crate::ir::types::Scalar;

    /// Line and fault of a template with these lines between its first and its last.
    fn fault(lines: &str) -> Option<(u32, TextErrorKind)> {
        let text = std::format!("template t<T>(a: T, n: i64) -> i64\n{lines}\nreturn i64 n\nend");
        parse(&text).err().map(|error| (error.line, error.kind))
    }

    #[test]
    fn says_what_is_wrong_in_which_line() {
        use TextErrorKind as F;
        assert_eq!(fault(""), None);
        for (lines, line, expected) in [
            ("\nhop i64 n", 3, F::Statement),
            ("add i64 n, n", 2, F::Expected("a comma")),
            ("add i64 n, n, m", 2, F::Local),
            ("add i46 n, n, 1", 2, F::Type),
            ("add i64 n, n, 4294967296", 2, F::Number),
            ("const i8 n, 127", 2, F::Verify(local_type(40))),
            ("local n: i64", 2, F::Duplicate),
            ("# nothing\nl:\nl:", 4, F::Duplicate),
            ("jump there\n", 2, F::Label),
            ("move i64 n, n n", 2, F::Expected("the end of the line")),
            ("load i64 n, n", 2, F::Verify(pointer(40))),
            ("l:\nmove i64 n, n\nload i64 n, n", 4, F::Verify(pointer(52))),
            ("const T a, 1.5", 2, F::Number),
            ("const_wide T a, 1", 2, F::Expected("a scalar type")),
            ("\nbr_lt i64 n, 40000, l\nl:", 3, F::Build(BuildError::BranchNumber(40_000))),
            ("call f<A<>>()", 2, F::Expected("a name")),
            ("call n = f(n) -> i64", 2, F::Expected("the end of the line")),
            ("?", 2, F::Character('?')),
            ("return_none", 2, F::Verify(IrError::Result { at: 40, expected: Some(INT) })),
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
        let fault = |text| parse(text).err().map(|error| (error.line, error.kind));
        assert_eq!(fault("\n# nothing\n"), None);
        assert_eq!(
            fault("return_none"),
            Some((1, TextErrorKind::Expected("`template` or `function`")))
        );
        assert_eq!(fault("template t()\nreturn_none"), Some((2, TextErrorKind::Expected("`end`"))));
        assert_eq!(fault("template t<i64>()"), Some((1, TextErrorKind::Duplicate)));
        assert_eq!(fault("template t<T, T>()"), Some((1, TextErrorKind::Duplicate)));
        assert_eq!(fault("template t(a: T)"), Some((1, TextErrorKind::Type)));
        let two = parse("template a()\nreturn_none\nend # a\ntemplate b()\ntrap 3\nend").unwrap();
        assert_eq!(two.iter().map(|template| &template.name[..]).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn call_of_another_signature_is_refused_with_its_line() {
        let error = |statement: &str| {
            let text = std::format!(
                "function f(n: i64, x: f64) -> i64\nlocal p: ptr\n{statement}\nreturn i64 n\nend\n\
                 function g(a: i64, b: f64) -> i64\nreturn i64 a\nend\n\
                 function nothing()\nreturn_none\nend\n\
                 template t(n: i64) -> i64\ncall n = other(n)\nreturn i64 n\nend"
            );
            parse(&text).err().map(|error| std::format!("{error}"))
        };
        for statement in [
            "call n = g(n, x)",
            "call g(n, x) -> i64",
            "call nothing()",
            "return_call g(n, x)",
            "function_address p, g(i64, f64) -> i64",
            "call n = t<>(n)",
        ] {
            assert_eq!(error(statement), None, "{statement}");
        }
        for (statement, why) in [
            ("call n = h(n)", "no such function; an instance has its types behind it, as in `f<>`"),
            (
                "return_call t(n)",
                "no such function; an instance has its types behind it, as in `f<>`",
            ),
            ("call n = g(n)", "the function takes 2 arguments, and 1 is given"),
            ("call nothing(n, x)", "the function takes 0 arguments, and 2 are given"),
            ("call n = g(n, n)", "argument 2 is of type i64, and the parameter of type f64"),
            ("call x = g(n, x)", "the result of the function is of type i64"),
            ("call g(n, x)", "the result of the function is of type i64"),
            ("call n = nothing()", "the function has no result"),
            ("return_call nothing()", "the function has no result"),
            (
                "function_address p, g(f64, f64) -> i64",
                "argument 1 is of type f64, and the parameter of type i64",
            ),
        ] {
            assert_eq!(error(statement), Some(std::format!("line 3: {why}")), "{statement}");
        }
    }

    #[test]
    fn data_of_a_template_beyond_the_alignment_of_its_instances_is_refused() {
        let error = |kind: &str, align: u32| {
            let text = std::format!("{kind} f()\ndata d align {align}: i64 5\nreturn_none\nend");
            parse(&text).err().map(|error| std::format!("{error}"))
        };
        let expected = "line 2: data of a template is aligned to at most 16 bytes, and not to 32";
        assert_eq!(error("template", 32), Some(expected.into()));
        assert_eq!((error("template", 16), error("function", 4096)), (None, None));
    }

    /// The bits of a constant.
    fn bits(ty: &str, number: &str) -> Result<u64, std::string::String> {
        let text = std::format!("template t()\nlocal a: {ty}\nconst {ty} a, {number}\ntrap 1\nend");
        let body = parse(&text).map_err(|error| std::format!("{error}"))?.remove(0).body;
        let body = Function::parse(&body).unwrap();
        let instruction = body.instruction(0).unwrap();
        let scalar = Scalar::from_name(ty).unwrap();
        Ok(match instruction.opcode {
            Opcode::WideConstant => body.constant(instruction.imm).unwrap(),
            _ => crate::ir::interpret::value::number(instruction.imm, scalar),
        })
    }

    #[test]
    fn numbers_are_as_wide_as_they_need_to_be() {
        for (ty, number, expected) in [
            ("i64", "-5", -5i64 as u64),
            ("i64", "-9223372036854775808", 1 << 63),
            ("u64", "0xffffffffffffffff", u64::MAX),
            ("u32", "4294967295", 0xffff_ffff),
            ("i8", "-128", 0x80),
            ("i8", "0xff", 0xff),
            ("u8", "-1", 0xff),
            ("u64", "-1", u64::MAX),
            ("bool", "1", 1),
            ("f64", "-1.5", (-1.5f64).to_bits()),
            ("f32", "2.5e3", 2500f32.to_bits().into()),
            ("f32", "7", 7f32.to_bits().into()),
            ("f64", "-0", (-0f64).to_bits()),
            // The bits of floats, those of NaN with a payload among them.
            ("f32", "0x3f800000", 1f32.to_bits().into()),
            ("f32", "0xbf800000", (-1f32).to_bits().into()),
            ("f64", "0x10", 0x10),
            ("f64", "0x7ff8000000000001", 0x7ff8_0000_0000_0001),
            ("f64", "0xfff0000000000000", f64::NEG_INFINITY.to_bits()),
            ("f32", "0xffc00001", 0xffc0_0001),
        ] {
            assert_eq!(bits(ty, number), Ok(expected), "{ty} {number}");
        }
    }

    #[test]
    fn number_that_a_type_does_not_have_is_refused_with_the_limits() {
        for (ty, number, limits) in [
            ("u8", "300", "-128 to 255"),
            ("u8", "70000", "-128 to 255"),
            ("u8", "-300", "-128 to 255"),
            ("i8", "128", "-128 to 127"),
            ("i8", "0x100", "-128 to 127"),
            ("i16", "-32769", "-32768 to 32767"),
            ("bool", "2", "0 to 1"),
            ("u32", "4294967296", "-2147483648 to 4294967295"),
            ("i64", "-9223372036854775809", "-9223372036854775808 to 9223372036854775807"),
            ("ptr", "-9223372036854775809", "-9223372036854775808 to 18446744073709551615"),
        ] {
            let expected = std::format!("a constant of type {ty} is a number from {limits}");
            assert_eq!(bits(ty, number), Err(std::format!("line 3: {expected}")), "{number}");
            let data = std::format!("template t()\ndata d: {ty} {number}\ntrap 1\nend");
            let error = parse(&data).unwrap_err();
            assert_eq!(std::format!("{error}"), std::format!("line 2: {expected}"), "{number}");
        }
        for (ty, number) in [("f32", "0x100000000"), ("f32", "-0x10"), ("i64", "1.5")] {
            let expected = "line 3: a number that does not fit here";
            assert_eq!(bits(ty, number), Err(expected.into()), "{ty} {number}");
        }
    }

    /// The binary form permits a number beyond the type, of which the local gets the low bits.
    #[test]
    fn constant_beyond_its_type_is_printed_as_a_number_of_the_type() {
        let mut builder = FunctionBuilder::new(0, None);
        let [a, b] = [Scalar::U8, Scalar::I8].map(|scalar| builder.local(scalar));
        builder.constant(Scalar::U8, a, 300);
        builder.constant(Scalar::I8, b, 200);
        builder.return_none();
        let bytes = builder.finish().unwrap();
        let mut out = String::new();
        crate::ir::text::print("t", &Function::parse(&bytes).unwrap(), &mut out).unwrap();
        assert!(out.contains("const u8 v0, 44\n    const i8 v1, -56\n"), "{out}");
        assert!(parse(&out).is_ok(), "{out}");
    }
}

//! Calls, and addresses of functions.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use super::Parser;
use super::head::{Declared, named_type};
use crate::ir::builder::{Local, NewCallee, TypeArgument};
use crate::ir::function::CalleeKind;
use crate::ir::opcode::Opcode;
use crate::ir::text::error::TextErrorKind;
use crate::ir::text::words::Words;
use crate::ir::types::ValueType;

/// The maximum depth of arguments of a type.
const MAX_NESTING: u32 = 64;

/// A callee as a text names it.
struct NamedCallee<'t> {
    kind: CalleeKind,
    /// The function, if the text has it.
    declared: Option<&'t Declared<'t>>,
    name: Cow<'t, str>,
    types: Vec<TypeArgument>,
}

impl NamedCallee<'_> {
    fn as_new(&self) -> NewCallee<'_> {
        let is_named = matches!(self.kind, CalleeKind::Instance | CalleeKind::Host);
        let name = if is_named { &*self.name } else { "" };
        NewCallee { kind: self.kind, name, types: &self.types }
    }

    /// Checks that a function of the text has this signature.
    fn check(
        &self,
        arguments: impl ExactSizeIterator<Item = Option<ValueType>>,
        result: Option<ValueType>,
    ) -> Result<(), TextErrorKind> {
        let Some(declared) = self.declared else { return Ok(()) };
        let (expected, given) = (declared.params.len(), arguments.len());
        if given != expected {
            return Err(TextErrorKind::ArgumentCount { given, expected });
        }
        for (number, (argument, (_, expected))) in (1..).zip(arguments.zip(&declared.params)) {
            if let Some(found) = argument.filter(|argument| argument != expected) {
                let expected = *expected;
                return Err(TextErrorKind::ArgumentType { number, found, expected });
            }
        }
        match declared.result {
            expected if result == expected => Ok(()),
            Some(expected) => Err(TextErrorKind::ResultType(expected)),
            None => Err(TextErrorKind::NoResult),
        }
    }
}

impl<'t> Parser<'t> {
    /// A call, if the first word begins one.
    pub(super) fn call_statement(
        &mut self,
        first: &str,
        words: &mut Words<'t>,
    ) -> Result<bool, TextErrorKind> {
        match first {
            "call" => self.call(words, CalleeKind::Instance)?,
            "call_host" => self.call(words, CalleeKind::Host)?,
            "call_indirect" => self.call(words, CalleeKind::Indirect)?,
            "return_call" => self.return_call(words, CalleeKind::Instance)?,
            "return_call_host" => self.return_call(words, CalleeKind::Host)?,
            "return_call_indirect" => self.return_call(words, CalleeKind::Indirect)?,
            "function_address" => self.function_address(words, CalleeKind::Instance)?,
            "host_address" => self.function_address(words, CalleeKind::Host)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// `d = CALLEE(a, b)`, `CALLEE(a, b)` or `CALLEE(a, b) -> T`
    fn call(&mut self, words: &mut Words<'t>, kind: CalleeKind) -> Result<(), TextErrorKind> {
        let to = self.result(words)?;
        let (address, callee) = self.callee(words, kind)?;
        let arguments = self.arguments(words)?;
        let dropped = if to.is_none() && words.has_arrow()? { Some(self.ty(words)?) } else { None };
        let result = to.and_then(|to| self.builder.local_type(to)).or(dropped);
        callee.check(arguments.iter().map(|&local| self.builder.local_type(local)), result)?;
        let opcode = if address.is_some() { Opcode::CallIndirect } else { Opcode::Call };
        self.builder.call_of(opcode, callee.as_new(), to, address, &arguments, dropped);
        Ok(())
    }

    /// `CALLEE(a, b)`
    fn return_call(
        &mut self,
        words: &mut Words<'t>,
        kind: CalleeKind,
    ) -> Result<(), TextErrorKind> {
        let (address, callee) = self.callee(words, kind)?;
        let arguments = self.arguments(words)?;
        let result = ValueType::from_code(self.builder.result);
        callee.check(arguments.iter().map(|&local| self.builder.local_type(local)), result)?;
        let opcode = match address {
            Some(_) => Opcode::ReturnCallIndirect,
            None => Opcode::ReturnCall,
        };
        self.builder.call_of(opcode, callee.as_new(), None, address, &arguments, None);
        Ok(())
    }

    /// `d, CALLEE(i64, ptr) -> T`
    fn function_address(
        &mut self,
        words: &mut Words<'t>,
        kind: CalleeKind,
    ) -> Result<(), TextErrorKind> {
        let to = self.local(words)?;
        words.comma()?;
        let (_, callee) = self.callee(words, kind)?;
        let params = words.list(|words| self.ty(words))?;
        let result: Option<ValueType> =
            if words.has_arrow()? { Some(self.ty(words)?) } else { None };
        callee.check(params.iter().copied().map(Some), result)?;
        self.builder.address_of(to, callee.as_new(), &params, result);
        Ok(())
    }

    /// `d =`, or nothing.
    fn result(&self, words: &mut Words<'t>) -> Result<Option<Local>, TextErrorKind> {
        let mut ahead = *words;
        if !ahead.is_name()? || ahead.name().is_err() || !ahead.has('=')? {
            return Ok(None);
        }
        let to = self.local(words)?;
        *words = ahead;
        Ok(Some(to))
    }

    /// The callee of a call, and its address if that is a local.
    ///
    /// A name without type arguments is that of a function of the text. In a template it may be that of another one.
    fn callee(
        &self,
        words: &mut Words<'t>,
        kind: CalleeKind,
    ) -> Result<(Option<Local>, NamedCallee<'t>), TextErrorKind> {
        let unnamed =
            |kind| NamedCallee { kind, declared: None, name: Cow::Borrowed(""), types: Vec::new() };
        if kind == CalleeKind::Indirect {
            return Ok((Some(self.local(words)?), unnamed(kind)));
        }
        if !words.is_name()? && kind == CalleeKind::Instance {
            return Ok((None, unnamed(CalleeKind::Function(words.number()?))));
        }
        let name = words.name()?;
        let has_types = kind == CalleeKind::Instance && words.has('<')?;
        let types = if has_types { self.type_arguments(words, 0)? } else { Vec::new() };
        let is_function = kind == CalleeKind::Instance && !has_types;
        let declared = if is_function { self.functions.get(&name) } else { None };
        let kind = match declared {
            Some(declared) => CalleeKind::Function(declared.number),
            None if is_function && !self.is_template => return Err(TextErrorKind::Function),
            None => kind,
        };
        Ok((None, NamedCallee { kind, declared, name, types }))
    }

    fn arguments(&self, words: &mut Words<'t>) -> Result<Vec<Local>, TextErrorKind> {
        words.list(|words| self.local(words))
    }

    /// Types up to the `>` that belongs to the `<` in front of them.
    fn type_arguments(
        &self,
        words: &mut Words<'t>,
        depth: u32,
    ) -> Result<Vec<TypeArgument>, TextErrorKind> {
        let mut types = Vec::new();
        if depth == 0 && words.has('>')? {
            return Ok(types);
        }
        loop {
            // In quotation marks, the name of a scalar or of a type parameter is that of another type.
            let is_quoted = words.is_quoted()?;
            let name = words.name()?;
            let arguments = match words.has('<')? {
                true if depth == MAX_NESTING => {
                    return Err(TextErrorKind::Expected("a type that nests less deeply"));
                }
                true => Some(self.type_arguments(words, depth + 1)?),
                false => None,
            };
            types.push(match (arguments, named_type(&self.types, &name)) {
                (None, Ok(ty)) if !is_quoted => TypeArgument::Type(ty),
                (arguments, _) => {
                    TypeArgument::Named(name.into_owned(), arguments.unwrap_or_default())
                }
            });
            if !words.has(',')? {
                words.sign('>', "`>`")?;
                return Ok(types);
            }
        }
    }
}

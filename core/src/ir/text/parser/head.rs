//! The first lines of functions and templates.

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::ir::builder::BuildError;
use crate::ir::text::error::{TextError, TextErrorKind};
use crate::ir::text::lexer::Token;
use crate::ir::text::words::Words;
use crate::ir::types::{Scalar, ValueType};

/// The first line of a function or a template.
pub(super) struct Head<'t> {
    pub(super) name: Cow<'t, str>,
    pub(super) is_template: bool,
    pub(super) types: BTreeMap<Cow<'t, str>, ValueType>,
    pub(super) params: Vec<(Cow<'t, str>, ValueType)>,
    pub(super) result: Option<ValueType>,
}

impl<'t> Head<'t> {
    /// `template NAME<T, U>(a: T, b: i64) -> T`, or `function NAME(a: i64) -> i64`
    pub(super) fn parse(mut words: Words<'t>) -> Result<Self, TextErrorKind> {
        let is_template = words.name()? == "template";
        let name = words.name()?;
        let types = if is_template { type_parameters(&mut words)? } else { BTreeMap::new() };
        let params = words.list(|words| {
            let name = words.name()?;
            words.sign(':', "`:`")?;
            Ok((name, named_type(&types, &words.name()?)?))
        })?;
        let result = match words.next()? {
            None => None,
            Some(Token::Arrow) => Some(named_type(&types, &words.name()?)?),
            Some(_) => return Err(TextErrorKind::Expected("`->`")),
        };
        words.end()?;
        Ok(Self { name, is_template, types, params, result })
    }
}

/// A function of the text, as its callers need it.
pub(super) struct Declared<'t> {
    pub(super) number: u32,
    pub(super) params: Vec<(Cow<'t, str>, ValueType)>,
    pub(super) result: Option<ValueType>,
}

/// The functions of a text by name.
pub(super) type Functions<'t> = BTreeMap<Cow<'t, str>, Declared<'t>>;

/// The functions of a text, so that a call may come before the function that it calls.
pub(super) fn functions(text: &str) -> Result<Functions<'_>, TextError> {
    let mut functions = Functions::new();
    for (line, content) in (1u32..).zip(text.lines()) {
        let words = Words::new(content);
        let mut ahead = words;
        // A label may have this name. A malformed token is found again where the line is parsed.
        if !matches!(ahead.has_word("function"), Ok(true)) || !matches!(ahead.is_name(), Ok(true)) {
            continue;
        }
        let at = |kind| TextError { line, kind };
        let Head { name, params, result, .. } = Head::parse(words).map_err(at)?;
        let number = u32::try_from(functions.len()).unwrap_or(u32::MAX);
        if functions.insert(name, Declared { number, params, result }).is_some() {
            return Err(at(TextErrorKind::Duplicate));
        }
    }
    Ok(functions)
}

/// `<T, U>`, or nothing.
fn type_parameters<'t>(
    words: &mut Words<'t>,
) -> Result<BTreeMap<Cow<'t, str>, ValueType>, TextErrorKind> {
    let mut types = BTreeMap::new();
    if !words.has('<')? {
        return Ok(types);
    }
    loop {
        let parameter = words.name()?;
        let index = u8::try_from(types.len());
        let index = index.map_err(|_| TextErrorKind::Build(BuildError::Parameters))?;
        let taken = Scalar::from_name(&parameter).is_some();
        if taken || types.insert(parameter, ValueType::Parameter(index)).is_some() {
            return Err(TextErrorKind::Duplicate);
        }
        if !words.has(',')? {
            words.sign('>', "`>`")?;
            return Ok(types);
        }
    }
}

pub(super) fn named_type(
    types: &BTreeMap<Cow<'_, str>, ValueType>,
    name: &str,
) -> Result<ValueType, TextErrorKind> {
    let scalar = Scalar::from_name(name).map(ValueType::Scalar);
    scalar.or_else(|| types.get(name).copied()).ok_or(TextErrorKind::Type)
}

//! The arguments of a template, inferred from how it is used.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use super::{MAX_ARGUMENTS, Type, TypeId, Unifier, UnifyError, Variables};

/// What is known of a template: its parameters, and the types of what it takes and returns, in which
/// parameters are variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signature {
    /// The names of its type parameters, at most [`MAX_ARGUMENTS`].
    pub parameters: Vec<Box<str>>,
    /// The types of its arguments. When there are none, argument n has the type of parameter n.
    pub arguments: Vec<Type>,
    /// The type of its result. When nothing is said, that of the first parameter.
    pub result: Option<Type>,
}

/// Where something is known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HintSource {
    /// What is passed as an argument, counted from 0.
    CallSite(u32),
    /// What the result is used as.
    Return,
    /// What the result is assigned to.
    Assignment,
    /// What a parameter, counted from 0, must be.
    Constraint(u32),
}

impl fmt::Display for HintSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CallSite(index) => write!(f, "argument {index} of the call"),
            Self::Return => f.write_str("the result"),
            Self::Assignment => f.write_str("the assignment"),
            Self::Constraint(index) => write!(f, "the constraint on parameter {index}"),
        }
    }
}

/// A type that something is known to have. Variables in it that are called like parameters are those.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// What has it.
    pub source: HintSource,
    /// The type.
    pub ty: Type,
}

/// Why the arguments of a template cannot be inferred.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InferError {
    /// More than [`MAX_ARGUMENTS`] parameters.
    TooManyParameters(usize),
    /// A hint about an argument or a parameter that the template does not have.
    NoSuch(HintSource),
    /// A hint that does not fit what the template and the hints before it say.
    Conflict {
        /// What the hint is about.
        source: HintSource,
        /// What was known of that before: the left side; and what the hint says: the right side.
        error: UnifyError,
    },
    /// A parameter of which the hints do not say what it is.
    Unknown {
        /// The parameter.
        parameter: Box<str>,
        /// What is known of it.
        known: Type,
    },
    /// A type that is too large.
    TooLarge,
}

impl fmt::Display for InferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyParameters(count) => {
                write!(f, "{count} type parameters are more than the {MAX_ARGUMENTS} there may be")
            }
            Self::NoSuch(source) => write!(f, "the template does not have {source}"),
            Self::Conflict { source, error } => write!(f, "{source}: {error}"),
            Self::Unknown { parameter, known: Type::Variable(_) } => {
                write!(f, "nothing says what the type parameter `{parameter}` is")
            }
            Self::Unknown { parameter, known } => {
                write!(f, "of the type parameter `{parameter}` no more is known than `{known}`")
            }
            Self::TooLarge => UnifyError::TooLarge.fmt(f),
        }
    }
}

impl core::error::Error for InferError {}

/// What each parameter must be, so that all hints are true.
///
/// # Errors
/// [`InferError`]; a conflict names the first hint that does not fit those before it.
pub fn infer(signature: &Signature, hints: &[Hint]) -> Result<Vec<Type>, InferError> {
    let count = signature.parameters.len();
    if count > MAX_ARGUMENTS {
        return Err(InferError::TooManyParameters(count));
    }
    let (mut unifier, mut variables) = (Unifier::new(), Variables::new());
    let mut parameters = Vec::new();
    for name in &signature.parameters {
        let id = unifier.variable(name).map_err(|_| InferError::TooLarge)?;
        variables.entry(name.clone()).or_insert(id);
        parameters.push(id);
    }
    let mut enter = |unifier: &mut Unifier, ty: &Type| {
        unifier.enter(ty, &mut variables).map_err(|_| InferError::TooLarge)
    };
    let (mut arguments, mut result) = (parameters.clone(), parameters.first().copied());
    if !signature.arguments.is_empty() {
        let entered = signature.arguments.iter().map(|ty| enter(&mut unifier, ty));
        arguments = entered.collect::<Result<_, _>>()?;
    }
    if let Some(ty) = &signature.result {
        result = Some(enter(&mut unifier, ty)?);
    }
    for Hint { source, ty } in hints {
        let about: Option<TypeId> = match *source {
            HintSource::CallSite(index) => place(&arguments, index),
            HintSource::Return | HintSource::Assignment => result,
            HintSource::Constraint(index) => place(&parameters, index),
        };
        let known = about.ok_or(InferError::NoSuch(*source))?;
        let hinted = enter(&mut unifier, ty)?;
        let unified = unifier.unify(known, hinted);
        unified.map_err(|error| InferError::Conflict { source: *source, error })?;
    }
    let known = parameters.iter().zip(&signature.parameters).map(|(id, parameter)| {
        let known = unifier.resolve(*id).map_err(|_| InferError::TooLarge)?;
        let parameter = parameter.clone();
        if known.is_concrete() { Ok(known) } else { Err(InferError::Unknown { parameter, known }) }
    });
    known.collect()
}

fn place(all: &[TypeId], index: u32) -> Option<TypeId> {
    all.get(usize::try_from(index).ok()?).copied()
}

#[cfg(test)]
mod tests {
    use std::string::{String, ToString};

    use super::*;

    /// `map<T, U>(items: [T], f: fn(T) -> U) -> [U]`
    fn map() -> Signature {
        Signature {
            parameters: ["T", "U"].map(Box::from).to_vec(),
            arguments: ["[?T]", "fn(?T) -> ?U"].map(|text| Type::parse(text).unwrap()).to_vec(),
            result: Some(Type::parse("[?U]").unwrap()),
        }
    }

    fn identity() -> Signature {
        Signature { parameters: Vec::from(["T".into()]), ..Signature::default() }
    }

    fn inferred(signature: &Signature, hints: &[(HintSource, &str)]) -> Result<String, String> {
        let hint = |(source, text): &(HintSource, &str)| Hint {
            source: *source,
            ty: Type::parse(text).unwrap(),
        };
        let hints: Vec<_> = hints.iter().map(hint).collect();
        let types = infer(signature, &hints).map_err(|error| error.to_string())?;
        Ok(super::super::Spelled(&types).to_string())
    }

    #[test]
    fn every_source_of_hints_is_used() {
        use HintSource::{Assignment, CallSite, Constraint, Return};
        for source in [CallSite(0), Return, Assignment, Constraint(0)] {
            assert_eq!(inferred(&identity(), &[(source, "i64")]).as_deref(), Ok("i64"));
        }
        let found = inferred(&map(), &[(CallSite(0), "[i64]"), (Return, "[text]")]);
        assert_eq!(found.as_deref(), Ok("i64, text"));
        let found = inferred(&map(), &[(CallSite(1), "fn(Vec<u8>) -> bool")]);
        assert_eq!(found.as_deref(), Ok("Vec<u8>, bool"));
        let found = inferred(&map(), &[(Constraint(0), "?U"), (Assignment, "[f64]")]);
        assert_eq!(found.as_deref(), Ok("f64, f64"));
    }

    #[test]
    fn what_cannot_be_inferred_is_told() {
        use HintSource::{CallSite, Constraint, Return};
        for (hints, why) in [
            (
                &[(CallSite(0), "[i64]"), (CallSite(1), "fn(f64) -> bool")][..],
                "argument 1 of the call: `fn(i64) -> ?U` and `fn(f64) -> bool` are different types: `i64` here is `f64` there",
            ),
            (&[(CallSite(2), "i64")], "the template does not have argument 2 of the call"),
            (&[(CallSite(0), "[i64]")], "nothing says what the type parameter `U` is"),
            (
                &[(CallSite(0), "[Vec<?X>]"), (Constraint(1), "i8")],
                "of the type parameter `T` no more is known than `Vec<?X>`",
            ),
            (
                &[(Constraint(0), "[?T]")],
                "the constraint on parameter 0: `?T` would have to be a part of itself: `[?T]`",
            ),
            (&[(Return, "i64")], "the result: `[?U]` and `i64` are different types"),
        ] {
            assert_eq!(inferred(&map(), hints).unwrap_err(), why);
        }
        let many = Signature { parameters: (0..65).map(|_| "T".into()).collect(), ..identity() };
        assert_eq!(infer(&many, &[]), Err(InferError::TooManyParameters(65)));
    }
}

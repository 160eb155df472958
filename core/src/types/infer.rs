//! Inference of template arguments from uses of the template.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::term::{MAX_ARGUMENTS, Type};
use super::unify::{TypeId, Unifier, UnifyError, Variables};

/// The signature of a template. Its type parameters occur in it as variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TemplateSignature {
    /// The names of the type parameters, at most [`MAX_ARGUMENTS`].
    pub parameters: Vec<Box<str>>,
    /// The types of the function arguments. If empty, argument n has the type of parameter n.
    pub arguments: Vec<Type>,
    /// The type of the result. If absent, the first type parameter.
    pub result: Option<Type>,
}

/// The source of a [`Hint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HintSource {
    /// The function argument with this index, from 0.
    #[error("argument {} of the call", .0.saturating_add(1))]
    CallSite(u32),
    /// The use of the result.
    #[error("the result")]
    Return,
    /// The assignment of the result.
    #[error("the assignment")]
    Assignment,
    /// A constraint on the type parameter with this index, from 0.
    #[error("the constraint on parameter {}", .0.saturating_add(1))]
    Constraint(u32),
}

/// A known type of an argument, result or parameter. A variable with the name of a type parameter means
/// that parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// The position that has the type.
    pub source: HintSource,
    /// The type.
    pub ty: Type,
}

/// The reason why template arguments cannot be inferred.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message of each variant explains its fields")]
pub enum InferError {
    /// The template has more than [`MAX_ARGUMENTS`] parameters.
    #[error("the template has {0} type parameters; the limit is {MAX_ARGUMENTS}")]
    TooManyParameters(usize),
    /// A hint names an argument or a parameter that the template does not have.
    #[error("the template does not have {0}")]
    NoSuch(HintSource),
    /// A hint contradicts the signature or an earlier hint. The left side of the error is the earlier type,
    /// the right side the hint.
    #[error("{hint}: {error}")]
    Conflict { hint: HintSource, error: UnifyError },
    /// The hints do not determine a parameter at all.
    #[error("no hint determines the type parameter `{parameter}`")]
    Unknown { parameter: Box<str> },
    /// The hints determine a parameter only in part.
    #[error("the hints determine the type parameter `{parameter}` only as `{known}`")]
    Incomplete { parameter: Box<str>, known: Type },
    /// A type exceeds the limits.
    #[error("{}", UnifyError::TooLarge)]
    TooLarge,
}

/// Infers the type arguments of a template, in the order of its parameters, so that all hints hold.
///
/// # Errors
/// [`InferError`]. A conflict names the first hint that contradicts the earlier ones.
pub fn infer(signature: &TemplateSignature, hints: &[Hint]) -> Result<Vec<Type>, InferError> {
    let count = signature.parameters.len();
    if count > MAX_ARGUMENTS {
        return Err(InferError::TooManyParameters(count));
    }
    let (mut unifier, mut variables) = (Unifier::default(), Variables::new());
    let mut parameters = Vec::new();
    for name in &signature.parameters {
        let id = unifier.variable(name);
        variables.entry(name.clone()).or_insert(id);
        parameters.push(id);
    }
    let mut add = |unifier: &mut Unifier, ty: &Type| {
        unifier.add(ty, &mut variables).map_err(|_| InferError::TooLarge)
    };
    let (mut arguments, mut result) = (parameters.clone(), parameters.first().copied());
    if !signature.arguments.is_empty() {
        let added = signature.arguments.iter().map(|ty| add(&mut unifier, ty));
        arguments = added.collect::<Result<_, _>>()?;
    }
    if let Some(ty) = &signature.result {
        result = Some(add(&mut unifier, ty)?);
    }
    for &Hint { source: hint, ref ty } in hints {
        let known = match hint {
            HintSource::CallSite(index) => place(&arguments, index),
            HintSource::Return | HintSource::Assignment => result,
            HintSource::Constraint(index) => place(&parameters, index),
        };
        let known = known.ok_or(InferError::NoSuch(hint))?;
        let hinted = add(&mut unifier, ty)?;
        let unified = unifier.unify(known, hinted);
        unified.map_err(|error| InferError::Conflict { hint, error })?;
    }
    let known = parameters.iter().zip(&signature.parameters).map(|(id, parameter)| {
        let parameter = parameter.clone();
        match unifier.resolve(*id).map_err(|_| InferError::TooLarge)? {
            Type::Variable(_) => Err(InferError::Unknown { parameter }),
            known if known.is_concrete() => Ok(known),
            known => Err(InferError::Incomplete { parameter, known }),
        }
    });
    known.collect()
}

fn place(all: &[TypeId], index: u32) -> Option<TypeId> {
    all.get(usize::try_from(index).ok()?).copied()
}

#[cfg(test)]
mod tests {
    use std::string::{String, ToString};

    use super::super::term::TypeList;
    use super::*;

    /// `map<T, U>(items: [T], f: fn(T) -> U) -> [U]`
    fn map() -> TemplateSignature {
        TemplateSignature {
            parameters: ["T", "U"].map(Box::from).to_vec(),
            arguments: ["[?T]", "fn(?T) -> ?U"].map(|text| Type::parse(text).unwrap()).to_vec(),
            result: Some(Type::parse("[?U]").unwrap()),
        }
    }

    fn identity() -> TemplateSignature {
        TemplateSignature { parameters: Vec::from(["T".into()]), ..TemplateSignature::default() }
    }

    fn inferred(
        signature: &TemplateSignature,
        hints: &[(HintSource, &str)],
    ) -> Result<String, String> {
        let hint = |(source, text): &(HintSource, &str)| Hint {
            source: *source,
            ty: Type::parse(text).unwrap(),
        };
        let hints: Vec<_> = hints.iter().map(hint).collect();
        let types = infer(signature, &hints).map_err(|error| error.to_string())?;
        Ok(TypeList(&types).to_string())
    }

    #[test]
    fn hints_of_every_source_determine_parameters() {
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
    fn contradicting_or_missing_hints_are_refused() {
        use HintSource::{CallSite, Constraint, Return};
        for (hints, why) in [
            (
                &[(CallSite(0), "[i64]"), (CallSite(1), "fn(f64) -> bool")][..],
                "argument 2 of the call: `fn(i64) -> ?U` and `fn(f64) -> bool` are different types: `i64` differs from `f64`",
            ),
            (&[(CallSite(2), "i64")], "the template does not have argument 3 of the call"),
            (&[(CallSite(0), "[i64]")], "no hint determines the type parameter `U`"),
            (
                &[(CallSite(0), "[Vec<?X>]"), (Constraint(1), "i8")],
                "the hints determine the type parameter `T` only as `Vec<?X>`",
            ),
            (
                &[(Constraint(0), "[?T]")],
                "the constraint on parameter 1: `?T` would contain itself: `[?T]`",
            ),
            (&[(Return, "i64")], "the result: `[?U]` and `i64` are different types"),
        ] {
            assert_eq!(inferred(&map(), hints).unwrap_err(), why);
        }
        let many =
            TemplateSignature { parameters: (0..65).map(|_| "T".into()).collect(), ..identity() };
        assert_eq!(infer(&many, &[]), Err(InferError::TooManyParameters(65)));
    }
}

//! The types of a function of a module that `smf compile` made.

use std::ffi::OsString;
use std::path::Path;

use smf_core::exec::Value;
use smf_core::format::Smf;
use smf_core::format::note::Note;
use smf_core::ir::Scalar;
use smf_core::trap::{CallArg, MAX_ARGS};
use smf_core::types::Type;

use crate::output::Failure;
use crate::source::arguments::{Arguments, not_printed, of_types};
use crate::values::{Returns, typed_word};

/// The types that the note of the module has for a function.
pub(crate) struct Signature {
    name: String,
    /// The types of the parameters; `None` if they are malformed.
    parameters: Option<Vec<Type>>,
    result: String,
}

impl Signature {
    pub(crate) fn of(linked: &Smf<'_>, name: &str) -> Option<Self> {
        let (note, at) = linked.note_contents().ok()??;
        let note = Note::parse(&note, at).ok()?;
        let found = note.signature(&linked.symbols().find_export(name.as_bytes())?)?;
        let parameters = found.parameters().to_string();
        let parameters = match parameters.is_empty() {
            true => Some(Vec::new()),
            false => Type::parse_arguments(&parameters).ok(),
        };
        Some(Self { name: name.to_owned(), parameters, result: found.result().to_string() })
    }

    /// The arguments of a call, as texts of the types of the parameters; their texts state the types if those are malformed.
    pub(crate) fn arguments(&self, texts: &[OsString]) -> Result<Arguments, Failure> {
        match &self.parameters {
            Some(parameters) => {
                let made = of_types(&self.name, parameters, "", texts);
                made.map_err(|failure| match failure {
                    Failure::Usage(why) if texts.len() < parameters.len() => {
                        Failure::Usage(why + "; a module keeps no defaults of parameters")
                    }
                    failure => failure,
                })
            }
            None => untyped(texts),
        }
    }

    /// How the result is shown, and whether it is a text in memory; `stated` is the type that the user states.
    ///
    /// # Errors
    /// A result that is not shown, or is in memory and of another type.
    pub(crate) fn returns(
        &self,
        file: &Path,
        stated: Option<Returns>,
    ) -> Result<(Returns, bool), Failure> {
        let Self { name, result, .. } = self;
        match (&**result, stated) {
            ("text", None | Some(Returns::Text)) => return Ok((Returns::Text, true)),
            ("text", Some(Returns::Nothing)) => return Ok((Returns::Nothing, true)),
            ("text", Some(_)) => {
                return Err(Failure::usage_of(file, "the function has a text as result"));
            }
            ("()", None | Some(Returns::Nothing)) => return Ok((Returns::Nothing, false)),
            ("()", Some(_)) => return Err(Failure::usage_of(file, "the function has no result")),
            _ => {}
        }
        match (Scalar::from_name(result), Type::parse_arguments(result).as_deref()) {
            (Some(scalar), _) => {
                let is_other = match stated {
                    Some(Returns::Scalar(other)) => other.is_float() != scalar.is_float(),
                    Some(Returns::Text) => scalar.is_float(),
                    _ => false,
                };
                if is_other {
                    let why = format_args!("the function has a result of type {scalar}");
                    return Err(Failure::usage_of(file, why));
                }
                Ok((stated.unwrap_or(Returns::Scalar(scalar)), false))
            }
            (None, Ok([ty])) => Err(Failure::Because(not_printed(name, ty))),
            (None, _) => Err(Failure::of(file, format_args!("`{name}` has no type of result"))),
        }
    }
}

/// The arguments of a call, whose texts state their types.
pub(crate) fn untyped(texts: &[OsString]) -> Result<Arguments, Failure> {
    if texts.len() > MAX_ARGS {
        let why = format!("a function of machine code is called with up to {MAX_ARGS} arguments");
        return Err(Failure::Usage(why));
    }
    let mut arguments = Arguments::default();
    for (number, text) in (1..).zip(texts) {
        let word = typed_word(text, &mut arguments.memory);
        let wrong = |why| Failure::Usage(format!("argument {number}: {why}"));
        arguments.values.push(match word.map_err(wrong)? {
            CallArg::Integer(bits) => Value::new(Scalar::U64, bits),
            CallArg::Float(bits) => Value::new(Scalar::F64, bits),
        });
    }
    Ok(arguments)
}

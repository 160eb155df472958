//! Arguments of functions by the types of their parameters, and results.

use std::ffi::{OsStr, OsString};

use smf_core::exec::Value;
use smf_core::ir::Scalar;
use smf_core::plural;
use smf_core::trap::{CallArg, MAX_ARGS};
use smf_core::types::Type;

use super::Executable;
use crate::output::Failure;
use crate::values::{ArgumentMemory, Typed, typed_array, typed_number};

/// The arguments of a call.
#[derive(Default)]
pub(crate) struct Arguments {
    pub(crate) values: Vec<Value>,
    pub(crate) memory: ArgumentMemory,
}

/// What a function returned.
#[derive(Debug)]
pub(crate) enum Outcome {
    Nothing,
    Value(Value),
    Text(String),
}

impl Outcome {
    /// The line that shows it, without its end.
    pub(crate) fn line(&self) -> Option<String> {
        match self {
            Self::Nothing => None,
            Self::Value(value) => Some(value.to_string()),
            Self::Text(text) => Some(text.clone()),
        }
    }

    /// The exit status that it stands for: the low 8 bits of an integer, 1 for `true`, else 0.
    pub(crate) fn status(&self) -> u8 {
        let integer = match self {
            Self::Value(value) => value.as_integer(),
            _ => None,
        };
        integer.map_or(0, |integer| integer.to_le_bytes()[0])
    }
}

/// The arguments of function `index` from their texts.
pub(crate) fn parse(
    executable: &Executable,
    index: usize,
    texts: &[OsString],
) -> Result<Arguments, Failure> {
    let Some(function) = executable.unit.functions().get(index) else {
        return Ok(Arguments::default());
    };
    let source = executable.source.as_ref();
    let (types, names) = match source.and_then(|unit| Some((unit, unit.functions.get(index)?))) {
        Some((unit, definition)) => (definition.params.clone(), unit.param_names(definition)),
        None => (function.params().iter().map(|&scalar| of_scalar(scalar)).collect(), ""),
    };
    of_types(&function.name().to_string(), &types, names, texts)
}

/// As [`parse`], for a function with parameters of these types. `names` has a comma behind each name; it may be empty.
pub(crate) fn of_types(
    function: &str,
    types: &[Type],
    names: &str,
    texts: &[OsString],
) -> Result<Arguments, Failure> {
    check_count(function, types.len(), texts.len())?;
    let mut arguments = Arguments::default();
    let mut names = names.split_terminator(',');
    for (number, (text, ty)) in (1..).zip(texts.iter().zip(types)) {
        let name = names.next().map(|name| format!(" `{name}`")).unwrap_or_default();
        if let Err(why) = arguments.add(text, ty) {
            return Err(Failure::Usage(format!("argument {number}{name}: {why}")));
        }
    }
    Ok(arguments)
}

/// Refuses another number of arguments than a function takes.
fn check_count(function: &str, taken: usize, given: usize) -> Result<(), Failure> {
    if given == taken {
        return Ok(());
    }
    let (s, is) = (plural::s(taken), plural::is(given));
    let why = format!("function `{function}` takes {taken} argument{s}, and {given} {is} given");
    Err(Failure::Usage(why))
}

/// Why a result of this type cannot be shown.
pub(crate) fn not_printed(function: &str, result: &Type) -> String {
    let ty = type_name(result);
    format!(
        "the result of function `{function}` is of type `{ty}`, which is not printed: return a number, a bool or a text"
    )
}

pub(crate) fn of_scalar(scalar: Scalar) -> Type {
    match scalar {
        Scalar::Pointer => Type::Pointer,
        // The name of a scalar is that of a type.
        scalar => Type::from_word(scalar.name()).unwrap_or(Type::I64),
    }
}

/// The scalar of a type of numbers or bools.
pub(crate) fn scalar_of(ty: &Type) -> Option<Scalar> {
    match ty {
        Type::Int { .. } | Type::Float { .. } | Type::Bool => Scalar::from_name(&ty.to_string()),
        _ => None,
    }
}

/// The type of the elements of an array of numbers or bools, and its length if that is part of the type.
fn array_of(ty: &Type) -> Option<(Scalar, Option<usize>)> {
    match ty {
        Type::Array(element) => Some((scalar_of(element)?, None)),
        Type::Named { name, args } => {
            let length = name.strip_prefix("array_")?.parse().ok()?;
            let [element] = &**args else { return None };
            Some((scalar_of(element)?, Some(length)))
        }
        _ => None,
    }
}

/// Whether values of a type can be given on the command line.
pub(crate) fn has_form(ty: &Type) -> bool {
    *ty == Type::Text || scalar_of(ty).is_some() || array_of(ty).is_some()
}

impl Arguments {
    /// What is passed in registers. A function of the C convention ignores surplus arguments.
    pub(crate) fn words(&self) -> Vec<CallArg> {
        let mut words: Vec<_> = self.values.iter().map(|value| value.argument()).collect();
        words.resize(words.len().max(MAX_ARGS), CallArg::Integer(0));
        words
    }

    /// Puts the address of a result that is a text before the other arguments.
    pub(crate) fn add_text_result(&mut self) -> u64 {
        let address = self.memory.add_bytes(vec![0; 2 * size_of::<u64>()]);
        self.values.insert(0, Value::new(Scalar::Pointer, address));
        address
    }

    /// Adds an argument of a type from its text.
    pub(crate) fn add(&mut self, text: &OsStr, ty: &Type) -> Result<(), String> {
        let text = text.to_str().ok_or("not UTF-8")?;
        if let Some(scalar) = scalar_of(ty) {
            self.values.push(Value::new(scalar, typed_number(text, scalar)?));
            return Ok(());
        }
        match ty {
            Type::Text => {
                let text = text.strip_prefix("str:").unwrap_or(text);
                let address = self.memory.add_text(text);
                self.pair(address, text.len());
            }
            Type::Pointer => {
                let word = match Typed::parse(text)? {
                    Typed::Array(array) => self.memory.add_array(array).0,
                    Typed::Text(text) => self.memory.add_c_text(text)?,
                    Typed::Number(Scalar::Pointer, bits) => bits,
                    Typed::Number(scalar, _) if text.contains(':') => {
                        self.memory.add_array(typed_array(text, scalar)?).0
                    }
                    // Code would access memory of this process there.
                    Typed::Number(_, bits) if bits != 0 => return Err(no_address(text)),
                    Typed::Number(..) => 0,
                };
                self.values.push(Value::new(Scalar::Pointer, word));
            }
            _ => {
                let (scalar, length) = array_of(ty).ok_or_else(|| no_form(ty))?;
                let (address, count) = self.memory.add_array(typed_array(text, scalar)?);
                match length {
                    None => self.pair(address, count),
                    Some(length) if length == count => {
                        self.values.push(Value::new(Scalar::Pointer, address));
                    }
                    Some(length) => {
                        let why = format!("the array has {length} elements, and {count} are given");
                        return Err(why);
                    }
                }
            }
        }
        Ok(())
    }

    fn pair(&mut self, address: u64, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.values.extend([Value::new(Scalar::Pointer, address), count.into()]);
    }
}

fn no_address(text: &str) -> String {
    format!("`{text}` is not an address; give an array, such as i64:3,1,2, or 0")
}

fn no_form(ty: &Type) -> String {
    format!("a value of type `{}` cannot be given on the command line", type_name(ty))
}

/// A type as it is written in source.
pub(crate) fn type_name(ty: &Type) -> String {
    let list = |types: &[Type]| types.iter().map(type_name).collect::<Vec<_>>().join(", ");
    if let Some((mutable, target)) = ty.as_pointer() {
        return format!("*{} {}", if mutable { "mut" } else { "const" }, type_name(target));
    }
    match ty {
        Type::Array(element) => format!("[{}]", type_name(element)),
        Type::Tuple(parts) => format!("({})", list(parts)),
        Type::Named { name, args } => match (name.strip_prefix("array_"), &**args) {
            (Some(length), [element]) => format!("[{}; {length}]", type_name(element)),
            (_, []) => name.to_string(),
            _ => format!("{name}<{}>", list(args)),
        },
        Type::Function { args, result } => format!("fn({}) -> {}", list(args), type_name(result)),
        ty => ty.to_string(),
    }
}

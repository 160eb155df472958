//! Calls that name no function of the compiled program: of generic functions, and with default arguments.
//!
//! A function that makes the call is compiled behind the last line of the file that declares the callee.

use std::ffi::OsString;
use std::path::Path;

use smf_core::ir::Scalar;
use smf_core::plural;
use smf_core::source::{Diagnostic, Mode, Template, TypeParam, compile};
use smf_core::types::{
    Conflict, Hint, HintSource, InferError, TemplateSignature, Type, UnifyError, demangle, infer,
    wrong_count,
};
use smf_loader::source::Program;

use super::Executable;
use super::arguments::type_name;
use crate::output::Failure;
use crate::values::Typed;

/// The program with the function to call, and the number of that function.
pub(crate) type Target = (Executable, usize);

/// The program with a function that calls function `index` with as many arguments as are given, the other ones being
/// defaults; `None` if a parameter without an argument has no default.
pub(crate) fn with_defaults(
    program: &Program,
    executable: &Executable,
    index: usize,
    given: usize,
) -> Result<Option<Target>, Failure> {
    let Some(source) = &executable.source else { return Ok(None) };
    let definition = source.functions.get(index).filter(|d| given < d.params.len());
    let Some(definition) = definition else { return Ok(None) };
    let params = source.param_names(definition).split_terminator(',').zip(&definition.params);
    let params: Vec<(&str, String)> =
        params.take(given).map(|(name, ty)| (name, type_name(ty))).collect();
    let files = program.files();
    let Some(at) = files.iter().position(|file| file.name == source.file(definition)) else {
        return Ok(None);
    };
    let symbol = definition.symbol.as_str();
    let of_module =
        files.get(at).and_then(|file| symbol.strip_prefix(file.module)?.strip_prefix('.'));
    let caller = unused_name(executable, symbol);
    let text = caller_text(&caller, &params, of_module.unwrap_or(symbol));
    let Ok(compiled) = compile_behind(program, at, &text)? else { return Ok(None) };
    Ok(compiled.find(caller.as_bytes()).map(|index| (compiled, index)))
}

/// The program with the instance of a generic function that a name with type arguments (`max<f64>`, `max$f64`) or the
/// arguments of the call ask for; `None` if no generic function has the name.
pub(crate) fn instance(
    file: &Path,
    program: &Program,
    executable: &Executable,
    name: &str,
    arguments: &[OsString],
) -> Result<Option<Target>, Failure> {
    let failed = |why: &str| Failure::usage_of(file, format_args!("function `{name}`: {why}"));
    let (base, types) = match (name.split_once('<'), demangle(name)?) {
        (Some((base, types)), _) => {
            let types = types.strip_suffix('>').ok_or_else(|| failed("missing `>`"))?;
            let types = Type::parse_arguments(types).map_err(|e| failed(&e.to_string()))?;
            (base.to_owned(), Some(types))
        }
        (None, Some((base, types))) => (base, Some(types)),
        (None, None) => (name.to_owned(), None),
    };
    let mut templates = executable.source.iter().flat_map(|source| &source.templates);
    let Some(template) = templates.find(|template| template.name == base) else { return Ok(None) };
    let types = match types {
        Some(types) => types,
        None => inferred(template, arguments).map_err(|why| {
            let names: Vec<_> = template.type_params.iter().map(|param| &*param.name).collect();
            let names = names.join(", ");
            failed(&format!("{why}: write the type arguments, as in `{base}<{names}>`"))
        })?,
    };
    let (given, taken) = (types.len(), template.type_params.len());
    if given != taken {
        return Err(failed(&wrong_count(&base, taken, given).to_string()));
    }
    let names: Vec<String> = (0..template.params.len()).map(|n| format!("p{n}")).collect();
    let params = names.iter().zip(&template.params);
    let params: Vec<(&str, String)> =
        params.map(|(name, ty)| (name.as_str(), type_name(&substituted(ty, &types)))).collect();
    let list = types.iter().map(type_name).collect::<Vec<_>>().join(", ");
    let caller = unused_name(executable, &base);
    let callee = format!("{base}<{list}>");
    let given = arguments.len();
    if given < params.len() {
        let params: Vec<_> = params.iter().take(given).cloned().collect();
        let text = caller_text(&caller, &params, &callee);
        if let Ok(compiled) = compile_in(program, &text)? {
            return Ok(compiled.find(caller.as_bytes()).map(|index| (compiled, index)));
        }
    }
    let compiled = compile_in(program, &caller_text(&caller, &params, &callee))?;
    let compiled = compiled.map_err(|why| failed(&why))?;
    // The symbol of an instance for a type of another module is not known.
    let index = compiled.find(caller.as_bytes()).and_then(|caller| compiled.callee(caller));
    Ok(index.map(|index| (compiled, index)))
}

/// The type arguments that follow from the texts of arguments. A number without a type and without a point has any number
/// type that another argument asks for, else i64.
fn inferred(template: &Template, arguments: &[OsString]) -> Result<Vec<Type>, String> {
    let count = template.type_params.len();
    let signature = TemplateSignature {
        parameters: (0..count).map(|n| format!("T{n}").into_boxed_str()).collect(),
        arguments: template.params.clone(),
        result: None,
    };
    let hint = |(index, text): (u32, &OsString)| {
        let text = text.to_string_lossy();
        let position = usize::try_from(index).ok()?;
        if let Some(Type::Array(_)) = template.params.get(position)
            && let Some(element) = untyped_element(&text)
        {
            let ty = Type::Array(Box::new(element));
            return Some((Hint { source: HintSource::CallSite(index), ty }, false));
        }
        let of_scalar = |scalar: Scalar| Type::from_word(scalar.name());
        let (ty, is_flexible) = match Typed::parse(&text) {
            Ok(Typed::Number(scalar, _)) => {
                let is_integer = !scalar.is_float() && scalar != Scalar::Bool;
                (of_scalar(scalar).ok()?, is_integer && !text.contains(':'))
            }
            Ok(Typed::Array(array)) => {
                (Type::Array(Box::new(of_scalar(array.scalar()).ok()?)), false)
            }
            Ok(Typed::Text(_)) | Err(_) => (Type::Text, false),
        };
        Some((Hint { source: HintSource::CallSite(index), ty }, is_flexible))
    };
    let hints: Vec<(Hint, bool)> = (0..).zip(arguments).filter_map(hint).collect();
    let firm: Vec<Hint> = hints.iter().filter(|h| !h.1).map(|h| h.0.clone()).collect();
    let all = || hints.iter().map(|h| h.0.clone()).collect::<Vec<_>>();
    let found = infer(&signature, &firm).or_else(|_| infer(&signature, &all()));
    found.map_err(|error| why_unknown(template, &error))
}

/// Why the type arguments are not known, with the type parameters as they are written and arguments counted from 1.
fn why_unknown(template: &Template, error: &InferError) -> String {
    let named = |param: &TypeParam| Type::Named { name: (&*param.name).into(), args: Vec::new() };
    let names: Vec<Type> = template.type_params.iter().map(named).collect();
    let shown = |ty: &Type| type_name(&substituted(ty, &names));
    match error {
        InferError::Unknown { parameter } => {
            let name = shown(&Type::Variable(parameter.clone()));
            format!("no argument determines the type parameter `{name}`")
        }
        InferError::NoSuch(_) => {
            let count = template.params.len();
            format!("it has {count} parameter{}", plural::s(count))
        }
        InferError::Conflict {
            hint: HintSource::CallSite(index),
            error: UnifyError::Conflict(Conflict { left, right, .. }),
        } => {
            let (wanted, given) = (shown(left), shown(right));
            format!("argument {}: expected `{wanted}`, found `{given}`", index + 1)
        }
        error => error.to_string(),
    }
}

/// The type of the numbers in a list without a type, such as `1,5,3`.
fn untyped_element(text: &str) -> Option<Type> {
    let parts = text.split(',').map(|part| match Typed::parse(part.trim()) {
        Ok(Typed::Number(scalar, _)) if scalar != Scalar::Bool && !part.contains(':') => {
            Some(scalar.is_float())
        }
        _ => None,
    });
    let has_float = parts.collect::<Option<Vec<bool>>>()?.contains(&true);
    Some(if has_float { Type::F64 } else { Type::I64 })
}

/// A type with the type arguments in place of the variables `T0`, `T1` and so on.
fn substituted(ty: &Type, types: &[Type]) -> Type {
    replaced(ty, &|ty| {
        let Type::Variable(name) = ty else { return None };
        types.get(name.strip_prefix('T')?.parse::<usize>().ok()?)
    })
}

/// A type whose parts are replaced for which `find` has another type.
fn replaced<'t>(ty: &Type, find: &dyn Fn(&Type) -> Option<&'t Type>) -> Type {
    if let Some(other) = find(ty) {
        return other.clone();
    }
    let all = |parts: &[Type]| parts.iter().map(|part| replaced(part, find)).collect();
    match ty {
        Type::Array(element) => Type::Array(Box::new(replaced(element, find))),
        Type::Tuple(parts) => Type::Tuple(all(parts)),
        Type::Named { name, args } => Type::Named { name: name.clone(), args: all(args) },
        Type::Function { args, result } => {
            Type::Function { args: all(args), result: Box::new(replaced(result, find)) }
        }
        ty => ty.clone(),
    }
}

/// A name that no function has.
fn unused_name(executable: &Executable, callee: &str) -> String {
    let mut name = format!("call_{}", callee.replace(['.', '$'], "_"));
    while executable.find(name.as_bytes()).is_some() {
        name.push('_');
    }
    name
}

fn caller_text(name: &str, params: &[(&str, String)], callee: &str) -> String {
    let list = |parts: Vec<String>| parts.join(", ");
    // A parameter would hide the callee.
    let first = callee.split(['.', '<']).next();
    let own = |name: &str| {
        let mut own = name.to_owned();
        while first == Some(&*own) || own != name && params.iter().any(|(other, _)| *other == own) {
            own.push('_');
        }
        own
    };
    let declared = params.iter().map(|(name, ty)| format!("mut {}: {ty}", own(name)));
    let declared = list(declared.collect());
    let passed = list(params.iter().map(|(name, _)| own(name)).collect());
    format!("fn {name}({declared}): {callee}({passed})\n")
}

/// The program with a declaration behind the text of the first file in which it has no errors, or the first error
/// behind the first file.
fn compile_in(program: &Program, text: &str) -> Result<Result<Executable, String>, Failure> {
    let first = compile_behind(program, 0, text)?;
    if first.is_err() {
        for at in 1..program.files().len() {
            if let Ok(compiled) = compile_behind(program, at, text)? {
                return Ok(Ok(compiled));
            }
        }
    }
    Ok(first)
}

/// The program with a declaration behind the text of file `at`, or the message of the first error.
fn compile_behind(
    program: &Program,
    at: usize,
    text: &str,
) -> Result<Result<Executable, String>, Failure> {
    let mut files = program.files();
    let all = files.get(at).map(|file| format!("{}\n{text}", file.text)).unwrap_or_default();
    if let Some(file) = files.get_mut(at) {
        file.text = &all;
    }
    let compiled = compile(&files, Mode::Manager)?;
    let Some(source) = compiled.unit else {
        let error = compiled.diagnostics.first();
        // The call itself is behind the text.
        let is_written = |error: &Diagnostic| {
            let file = program.files().into_iter().find(|file| file.name == error.file);
            file.is_some_and(|file| {
                usize::try_from(error.line).is_ok_and(|line| line <= file.text.lines().count())
            })
        };
        return Ok(Err(match error {
            Some(error) if is_written(error) => {
                let Diagnostic { message, code, file, line, column, .. } = error;
                format!("{message} ({} at {file}:{line}:{column})", code.as_str())
            }
            Some(error) => error.message.clone(),
            None => String::new(),
        }));
    };
    Executable::new(source).map(Ok)
}

//! note.sdn of a compiled program.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::{self, Write};

use smf_core::AllocError;
use smf_core::format::write::note_edit::put_text;
use smf_core::ir::{Function, ValueType};
use smf_core::source::{FunctionDefinition, Template, TranslationUnit};
use smf_core::types::{Type, mangle};

/// The note. `is_import`: whether the code refers to a function of another module.
pub(super) fn write(
    unit: &TranslationUnit,
    is_import: impl Fn(&str) -> bool,
) -> Result<String, AllocError> {
    let mut text = String::new();
    let instances: Vec<(usize, &FunctionDefinition)> =
        unit.functions.iter().enumerate().filter(|(_, f)| f.instance_of.is_some()).collect();
    // Writing to a string does not fail.
    let _ = instantiations(&mut text, unit, &instances);
    let _ = possible(&mut text, unit)?;
    let _ = inferences(&mut text, unit, &instances);
    let _ = dependencies(&mut text, unit);
    let _ = signatures(&mut text, unit);
    let _ = import_signatures(&mut text, unit, is_import);
    let _ = assertions(&mut text, unit);
    text.push_str("# END_NOTE\n");
    Ok(text)
}

/// Quoted cells.
fn cells(text: &mut String, cells: &[&str]) -> fmt::Result {
    for (number, cell) in cells.iter().enumerate() {
        text.write_str(if number == 0 { "" } else { ", " })?;
        put_text(text, cell)?;
    }
    Ok(())
}

fn row(text: &mut String, id: usize, row: &[&str]) -> fmt::Result {
    write!(text, "    {id}, ")?;
    cells(text, row)?;
    text.write_char('\n')
}

fn list(types: &[Type]) -> String {
    types.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// The file and the place where an instance is used first, or else where its template is declared.
fn use_of<'u>(unit: &'u TranslationUnit, function: &'u FunctionDefinition) -> (&'u str, String) {
    let declared = (unit.file(function), function.line, 1);
    let used = function.first_use.and_then(|place| {
        let file = usize::try_from(place.file).ok().and_then(|file| unit.files.get(file))?;
        Some((file.as_str(), place.line, place.column))
    });
    let (file, line, column) = used.unwrap_or(declared);
    (file, format!("{file}:{line}:{column}"))
}

/// The template and the type arguments of an instance.
fn instance(function: &FunctionDefinition) -> (&str, &[Type]) {
    function.instance_of.as_ref().map_or(("", &[]), |(template, types)| (template, types))
}

fn instantiations(
    text: &mut String,
    unit: &TranslationUnit,
    instances: &[(usize, &FunctionDefinition)],
) -> fmt::Result {
    text.write_str(
        "instantiations |id, template, type_args, mangled_name, from_file, from_loc, to_obj, status|\n",
    )?;
    for (id, (_, function)) in instances.iter().enumerate() {
        let ((template, types), (file, place)) = (instance(function), use_of(unit, function));
        let (types, symbol, object) = (list(types), &*function.symbol, unit.file(function));
        row(text, id, &[template, &types, symbol, file, &place, object, "compiled"])?;
    }
    Ok(())
}

/// The instances that can be made, for some scalars.
fn possible(text: &mut String, unit: &TranslationUnit) -> Result<fmt::Result, AllocError> {
    let made: HashSet<&str> = unit.functions.iter().map(|f| &*f.symbol).collect();
    let mut all = Vec::new();
    for template in &unit.templates {
        for types in &template.possible {
            let Some(symbol) = mangle(&template.name, types)? else { continue };
            if !made.contains(&*symbol) {
                all.push((&*template.name, list(types), symbol));
            }
        }
    }
    let mut write = || {
        text.write_str(
            "possible |id, template, type_args, mangled_name, required_by, can_defer|\n",
        )?;
        for (id, (template, types, symbol)) in all.iter().enumerate() {
            write!(text, "    {id}, ")?;
            cells(text, &[template, types, symbol, ""])?;
            text.write_str(", true\n")?;
        }
        Ok(())
    };
    Ok(write())
}

/// The types of the arguments of each instance.
fn inferences(
    text: &mut String,
    unit: &TranslationUnit,
    instances: &[(usize, &FunctionDefinition)],
) -> fmt::Result {
    text.write_str("type_inferences |id, inferred_type, expr, context, from_file, from_loc|\n")?;
    let templates: HashMap<&str, &Template> =
        unit.templates.iter().map(|template| (&*template.name, template)).collect();
    let mut id = 0;
    for (_, function) in instances {
        let ((template, types), (file, place)) = (instance(function), use_of(unit, function));
        // The type of a pointer as a type argument has its target.
        let written = |number: usize| match templates.get(template)?.params.get(number)? {
            // The parameters of a template have the type variables `T0`, `T1` ...
            Type::Variable(name) => types.get(name.strip_prefix('T')?.parse::<usize>().ok()?),
            _ => None,
        };
        for (number, ty) in function.params.iter().enumerate() {
            let ty = written(number).unwrap_or(ty).to_string();
            let context = format!("argument {number}");
            row(text, id, &[&ty, template, &context, file, &place])?;
            id += 1;
        }
    }
    Ok(())
}

/// The instances that instances call.
fn dependencies(text: &mut String, unit: &TranslationUnit) -> fmt::Result {
    text.write_str("dependencies |from_inst, to_inst, dep_kind|\n")?;
    for function in unit.functions.iter().filter(|f| f.instance_of.is_some()) {
        let callees: BTreeSet<usize> = super::callees(function).into_iter().collect();
        for callee in callees.into_iter().filter_map(|index| unit.functions.get(index)) {
            if callee.instance_of.is_some() && callee.symbol != function.symbol {
                text.write_str("    ")?;
                cells(text, &[&function.symbol, &callee.symbol, "type_param"])?;
                text.write_char('\n')?;
            }
        }
    }
    Ok(())
}

/// The types of the functions. A result in a register has its scalar type, which is that of the discriminant of an enum.
fn signatures(text: &mut String, unit: &TranslationUnit) -> fmt::Result {
    writeln!(text, "signatures |id, {}|", SIGNATURE_COLUMNS.join(", "))?;
    for (id, function) in unit.functions.iter().enumerate() {
        row(text, id, &signature(unit, function).each_ref().map(String::as_str))?;
    }
    Ok(())
}

/// The types by which imports are declared, if any are.
fn import_signatures(
    text: &mut String,
    unit: &TranslationUnit,
    is_import: impl Fn(&str) -> bool,
) -> fmt::Result {
    let imports = unit.externals.iter().filter(|external| is_import(&external.symbol));
    let rows: BTreeSet<(&str, u64)> =
        imports.filter_map(|external| Some((&*external.symbol, external.type_hash?))).collect();
    if rows.is_empty() {
        return Ok(());
    }
    text.write_str("import_signatures |id, function, type_hash|\n")?;
    for (id, (symbol, hash)) in rows.iter().enumerate() {
        row(text, id, &[symbol, &type_hash(*hash)])?;
    }
    Ok(())
}

/// The cell of a hash of types.
fn type_hash(hash: u64) -> String {
    format!("{hash:016x}")
}

/// The columns of the table of signatures, after the number of the row.
pub(crate) const SIGNATURE_COLUMNS: [&str; 7] =
    ["function", "parameters", "result", "file", "first_line", "last_line", "type_hash"];

/// The row of a function in the table of signatures.
pub(crate) fn signature(unit: &TranslationUnit, function: &FunctionDefinition) -> [String; 7] {
    let scalar = Function::parse(function.ir()).ok().and_then(|ir| ir.signature().result());
    let result = match (scalar, &function.result) {
        (Some(ValueType::Scalar(scalar)), _) => scalar.name().to_owned(),
        (_, Some(ty)) => ty.to_string(),
        (_, None) => "()".to_owned(),
    };
    let [first, last] = [function.line, function.last_line].map(|line| line.to_string());
    let (symbol, file) = (function.symbol.clone(), unit.file(function).to_owned());
    let params = list(&function.params);
    [symbol, params, result, file, first, last, type_hash(function.type_hash)]
}

/// The messages of all assertions, if there are any: one without a message tells which of two functions has it.
fn assertions(text: &mut String, unit: &TranslationUnit) -> fmt::Result {
    let rows: Vec<_> = assertion_rows(unit).collect();
    if rows.iter().all(|[.., message, _]| message.is_empty()) {
        return Ok(());
    }
    writeln!(text, "assertions |id, {}|", ASSERTION_COLUMNS.join(", "))?;
    for (id, cells) in rows.iter().enumerate() {
        row(text, id, &cells.each_ref().map(String::as_str))?;
    }
    Ok(())
}

/// The columns of the table of assertions, after the number of the row.
pub(crate) const ASSERTION_COLUMNS: [&str; 4] = ["function", "line", "message", "file"];

/// The rows of the table of assertions.
pub(crate) fn assertion_rows(unit: &TranslationUnit) -> impl Iterator<Item = [String; 4]> {
    unit.functions.iter().flat_map(move |function| {
        function.assertions.iter().map(move |assertion| {
            let (symbol, message) = (function.symbol.clone(), assertion.message.clone());
            [symbol, assertion.line.to_string(), message, unit.file(function).to_owned()]
        })
    })
}

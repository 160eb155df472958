//! From lowered functions to a [`TranslationUnit`].

use alloc::string::String;
use alloc::vec::Vec;

use super::code::Code;
use super::diagnostic::formatted;
use super::lower::generator::{AssertionMessage, Generator, Lowered};
use super::names::{HashIndex, Name};
use super::program::operation::ConstValue;
use super::program::type_hash::TypeHashes;
use super::program::{FunctionInfo, Item, Program, ResultType, at, count};
use super::ty::TypeId;
use super::unit::*;
use crate::alloc_util::sort::sort;
use crate::alloc_util::{
    AllocError, hash, try_collect, try_copy_str, try_push, try_push_str, try_with_capacity,
};
use crate::plural;
use crate::types::{Type, mangle};

/// The unit of what was lowered.
pub(super) fn unit(
    generator: &mut Generator<'_, '_>,
    lowered: Vec<Lowered>,
) -> Result<TranslationUnit, AllocError> {
    let functions = try_with_capacity(lowered.len())?;
    let mut unit = TranslationUnit { functions, ..TranslationUnit::default() };
    for source in generator.program.sources {
        try_push(&mut unit.files, try_copy_str(source.file.name)?)?;
    }
    let mut hashes = TypeHashes::default();
    for function in lowered {
        let names = &mut unit.param_names;
        let function = unit_function(generator, function, names, &mut hashes)?;
        unit.functions.push(function);
    }
    for number in 0..count(&generator.program.functions) {
        let Some(info) = generator.program.function(number) else { continue };
        if info.is_external {
            let external = external(&generator.program, &info, &mut hashes)?;
            try_push(&mut unit.externals, external)?;
        }
    }
    constants(generator, &mut unit)?;
    Ok(unit)
}

fn is_template(info: &FunctionInfo) -> bool {
    info.is_generic() && info.owner.is_none() && !info.is_external
}

/// The longest texts of all templates together, in bytes. Each has the types of its files and what it calls.
const MAX_TEMPLATE_TEXTS: usize = 64 << 20;

/// The generic functions of the files, checked as far as that is possible without types.
pub(super) fn templates(generator: &mut Generator<'_, '_>) -> Result<Vec<Template>, AllocError> {
    let mut templates = Vec::new();
    if !generator.program.functions.iter().any(is_template) {
        return Ok(templates);
    }
    let mentions = super::scope::Mentions::new(&generator.program)?;
    let mut length = 0;
    for number in 0..count(&generator.program.functions) {
        let Some(info) = generator.program.function(number) else { continue };
        if is_template(&info) {
            // Nothing in the IR states a bound: the instances are made from the text.
            let ir = generator.template(number).filter(|_| !generator.program.is_bounded(&info));
            let info = generator.program.function(number).unwrap_or(info);
            let template = template(generator, (number, &info), ir, &mentions)?;
            length += template.text.len();
            if length > MAX_TEMPLATE_TEXTS {
                let message = format_args!(
                    "the texts of the templates up to this one are longer than {MAX_TEMPLATE_TEXTS} bytes: each has the \
                     types of its files and the functions that it calls"
                );
                let span = info.decl.word.span;
                generator.program.error(info.source, span, Code::TooLarge, message);
                break;
            }
            try_push(&mut templates, template)?;
        }
    }
    Ok(templates)
}

/// The symbol of a function without its type arguments: behind a dot if it belongs to a type or a function.
fn base_symbol(
    generator: &Generator<'_, '_>,
    number: u32,
    info: &FunctionInfo,
) -> Result<String, AllocError> {
    let name = generator.program.name(info.decl.word.name);
    if let Some(owner) = info.owner_name {
        return formatted(format_args!("{}.{name}", generator.program.name(owner)));
    }
    let mut symbol = try_copy_str(name)?;
    let mut inner = number;
    // The number of a function is above that of the function around it.
    while let Some(outer) = generator.outer_function(inner).filter(|&outer| outer < inner)
        && let Some(info) = generator.program.function(outer)
    {
        let name = generator.program.name(info.decl.word.name);
        symbol = match info.owner_name {
            Some(owner) => {
                formatted(format_args!("{}.{name}.{symbol}", generator.program.name(owner)))?
            }
            None => formatted(format_args!("{name}.{symbol}"))?,
        };
        inner = outer;
    }
    Ok(symbol)
}

fn external(
    program: &Program<'_, '_>,
    info: &FunctionInfo,
    hashes: &mut TypeHashes,
) -> Result<ExternalFunction, AllocError> {
    let symbol = try_copy_str(program.name(info.decl.word.name))?;
    let result = match info.result {
        ResultType::Known(result) => result,
        ResultType::Missing | ResultType::Inferring => TypeId::UNIT,
    };
    let params = program.param_list(info.params).iter().map(|param| param.ty);
    let type_hash = match info.is_undeclared() {
        true => None,
        false => Some(hashes.of(program, params.chain([result]))?),
    };
    Ok(ExternalFunction { symbol, type_hash })
}

fn unit_function(
    generator: &mut Generator<'_, '_>,
    lowered: Lowered,
    names: &mut String,
    hashes: &mut TypeHashes,
) -> Result<FunctionDefinition, AllocError> {
    let Some(&instance) = at(&generator.instances, lowered.instance) else {
        return Err(AllocError);
    };
    let Some(info) = generator.program.function(instance.function) else { return Err(AllocError) };
    let base = base_symbol(generator, instance.function, &info)?;
    let types = try_collect(generator.instance_types(&instance).iter().copied())?;
    let terms = symbol_terms(&mut generator.program, &info, &types)?;
    let (symbol, instance_of) = match mangle(&base, &terms)? {
        Some(symbol) => (symbol, Some((base, terms)).filter(|_| info.is_generic())),
        None => (base, None),
    };
    let result = generator.result(lowered.instance);
    let names_before = names.len();
    let (params, param_types) = params(&mut generator.program, &info, &types, names)?;
    let sizes = param_types.iter().map(|&ty| generator.program.size(ty).0);
    let param_sizes = try_collect(sizes)?;
    let all_types = param_types.into_iter().chain([result]);
    let type_hash = hashes.of(&generator.program, all_types)?;
    let (file, offset) = instance.asked;
    let first_use = generator.program.source(file).filter(|_| instance_of.is_some()).map(|used| {
        let (line, start) = used.file.line(offset);
        SourcePlace { file, line, column: offset.saturating_sub(start).saturating_add(1) }
    });
    Ok(FunctionDefinition {
        symbol,
        instance_of,
        params,
        param_sizes,
        param_names: names_before..names.len(),
        result: match result {
            TypeId::UNIT | TypeId::NEVER => None,
            result => Some(generator.program.term(result)?),
        },
        type_hash,
        is_local: generator.program.is_private(&info) && info.decl.word.name != Name::MAIN,
        file: info.source,
        line: lowered.line,
        last_line: lowered.last_line,
        first_use,
        assertions: assertions(&generator.program, info.source, &lowered.messages)?,
        ir: lowered.bytes,
    })
}

/// The type arguments in the symbol of a function: those of the type that it is a method of, and its own.
fn symbol_terms(
    program: &mut Program<'_, '_>,
    info: &FunctionInfo,
    types: &[TypeId],
) -> Result<Vec<Type>, AllocError> {
    let Some(own) = info.self_type else { return program.terms(types) };
    let own = program.types.substitute(own, types).unwrap_or(TypeId::ERROR);
    let mut terms = program.terms(program.types.parts(own))?;
    let outer = info.type_params.saturating_sub(info.decl.type_params.len);
    let outer = usize::try_from(outer).unwrap_or(usize::MAX);
    for term in program.terms(types.get(outer..).unwrap_or(&[]))? {
        try_push(&mut terms, term)?;
    }
    Ok(terms)
}

/// The types of the parameters, `self` included. Appends their names, with a comma behind each.
fn params(
    program: &mut Program<'_, '_>,
    info: &FunctionInfo,
    types: &[TypeId],
    names: &mut String,
) -> Result<(Vec<Type>, Vec<TypeId>), AllocError> {
    let own = info.self_type.filter(|_| info.receiver() != super::syntax::Receiver::None);
    let count = info.params.len() + usize::from(own.is_some());
    let (mut terms, mut param_types) = (try_with_capacity(count)?, try_with_capacity(count)?);
    let mut add = |program: &mut Program<'_, '_>, name: Name, ty| {
        let ty = program.types.substitute(ty, types).unwrap_or(TypeId::ERROR);
        try_push(&mut terms, program.term(ty)?)?;
        try_push(&mut param_types, ty)?;
        try_push_str(names, program.name(name))?;
        try_push_str(names, ",")
    };
    if let Some(ty) = own {
        add(program, Name::SELF, ty)?;
    }
    for index in 0..info.params.len() {
        let Some(&param) = program.param_list(info.params).get(index) else { break };
        add(program, param.name, param.ty)?;
    }
    Ok((terms, param_types))
}

/// The assertions of a function in the file `own`. They are found by their lines: of other files, such as those in the default of
/// a field, there are those alone at whose line the function has none, each once.
fn assertions(
    program: &Program<'_, '_>,
    own: u32,
    messages: &[AssertionMessage],
) -> Result<Vec<Assertion>, AllocError> {
    let mut list: Vec<Assertion> = Vec::new();
    let Some(file) = program.source(own).map(|source| &source.file) else { return Ok(list) };
    let is_own = |message: &&AssertionMessage| message.source == own;
    let own_lines = messages.iter().filter(is_own).map(|message| file.line(message.offset).0);
    let mut own_lines = try_collect(own_lines)?;
    sort(&mut own_lines);
    for message in messages {
        let (line, start) = file.line(message.offset);
        let source = program.source(message.source);
        let text = source.map_or(&[][..], |source| source.tree.text(message.text));
        let text = core::str::from_utf8(text).unwrap_or("");
        let is_last = |last: &Assertion| (last.line, last.message.as_str()) == (line, text);
        let is_known =
            || own_lines.binary_search(&line).is_ok() || list.last().is_some_and(is_last);
        if !is_own(&message) && is_known() {
            continue;
        }
        let column = message.offset.saturating_sub(start).saturating_add(1);
        try_push(&mut list, Assertion { line, column, message: try_copy_str(text)? })?;
    }
    Ok(list)
}

fn constants(
    generator: &mut Generator<'_, '_>,
    unit: &mut TranslationUnit,
) -> Result<(), AllocError> {
    for number in 0..count(&generator.program.consts) {
        let Some(evaluated) = generator.program.constant(number) else { continue };
        let Some(info) = at(&generator.program.consts, number).copied() else { continue };
        let value = match evaluated.value {
            ConstValue::Integer(value) => ConstantValue::Integer(value),
            ConstValue::Bool(value) => ConstantValue::Integer(value.into()),
            ConstValue::Float(value) => ConstantValue::Float(value),
            ConstValue::Text(source, text) => {
                let source = generator.program.source(source);
                let bytes = source.map_or(&[][..], |source| source.tree.text(text));
                let mut copy = Vec::new();
                for &byte in bytes {
                    try_push(&mut copy, byte)?;
                }
                ConstantValue::Text(copy)
            }
        };
        let name = try_copy_str(generator.program.name(info.decl.word.name))?;
        let ty = generator.program.term(evaluated.ty)?;
        try_push(&mut unit.constants, Constant { name, ty, value })?;
    }
    Ok(())
}

fn template(
    generator: &mut Generator<'_, '_>,
    (number, info): (u32, &FunctionInfo),
    ir: Option<Vec<u8>>,
    mentions: &super::scope::Mentions,
) -> Result<Template, AllocError> {
    let type_params = type_params(&generator.program, info)?;
    let scope = generator.program.type_scope(info);
    let types = try_collect(scope.iter().map(|entry| entry.1))?;
    let (params, _) = params(&mut generator.program, info, &types, &mut String::new())?;
    let result = match info.result {
        ResultType::Known(TypeId::UNIT) | ResultType::Missing | ResultType::Inferring => None,
        ResultType::Known(result) => Some(generator.program.term(result)?),
    };
    let text = super::scope::template_text(generator, number, mentions)?;
    let name = generator.program.name(info.decl.word.name);
    // As the symbols of its instances.
    let name = match generator.program.source(info.source) {
        Some(source) if generator.program.is_later_name(info) => {
            formatted(format_args!("{}.{name}", source.module))?
        }
        _ => try_copy_str(name)?,
    };
    Ok(Template { name, type_params, params, result, ir, text, possible: Vec::new() })
}

/// The scalars for which [`Template::possible`] lists instances.
const LISTED: [TypeId; 4] = [TypeId::I64, TypeId::F64, TypeId::I32, TypeId::BOOL];

/// The most type parameters of templates whose possible instances are listed.
const MAX_LISTED_PARAMS: usize = 2;

/// Adds which instances the templates have. The instances of the unit are known no more.
pub(super) fn possible_instances(
    generator: &mut Generator<'_, '_>,
    unit: &mut TranslationUnit,
) -> Result<(), AllocError> {
    let mut templates = unit.templates.iter_mut();
    for number in 0..count(&generator.program.functions) {
        let info = generator.program.function(number).filter(is_template);
        let Some((info, template)) = info.and_then(|info| Some((info, templates.next()?))) else {
            continue;
        };
        let params = template.type_params.len();
        if params > MAX_LISTED_PARAMS {
            continue;
        }
        for combination in 0..LISTED.len().pow(count(&template.type_params)) {
            let mut rest = combination;
            let mut types = try_with_capacity(params)?;
            for _ in 0..params {
                types.extend(LISTED.get(rest % LISTED.len()));
                rest /= LISTED.len();
            }
            if generator.has_instance(number, &info, &types)? {
                try_push(&mut template.possible, generator.program.terms(&types)?)?;
            }
        }
    }
    Ok(())
}

/// The type parameters of a function that is no method.
fn type_params(
    program: &Program<'_, '_>,
    info: &FunctionInfo,
) -> Result<Vec<TypeParam>, AllocError> {
    let mut params = Vec::new();
    let Some(tree) = program.source(info.source).map(|source| &source.tree) else {
        return Ok(params);
    };
    for param in tree.entries(&tree.type_params, info.decl.type_params) {
        let mut bounds = Vec::new();
        for &bound in tree.list(param.bounds) {
            try_push(&mut bounds, try_copy_str(program.name(Name(bound)))?)?;
        }
        let name = try_copy_str(program.name(param.word.name))?;
        try_push(&mut params, TypeParam { name, bounds })?;
    }
    Ok(params)
}

/// The instance of the generic function `name` of a file for `types`.
pub(super) fn instance(
    generator: &mut Generator<'_, '_>,
    file: u32,
    name: &str,
    types: &[Type],
) -> Result<(), AllocError> {
    let span = super::token::Span::default();
    // Behind the module of a template whose name several files have.
    let name = name.rsplit('.').next().unwrap_or(name);
    let found = generator.program.names.find(name).and_then(|name: Name| {
        match generator.program.item(file, name) {
            Some(Item::Function(number)) => Some(number),
            _ => None,
        }
    });
    let Some(number) = found else {
        let message = format_args!("name `{name}` not found");
        generator.program.error(file, span, Code::UnknownName, message);
        return Ok(());
    };
    let declared = generator.program.function(number);
    let span = declared.map_or(span, |info| info.decl.word.span);
    let mut arguments = Vec::new();
    for ty in types {
        match generator.program.type_of_term(file, ty) {
            Some(ty) => try_push(&mut arguments, ty)?,
            None => {
                let message = format_args!("type `{ty}` not found");
                generator.program.error(file, span, Code::UnknownType, message);
                return Ok(());
            }
        }
    }
    let wanted = generator.program.function(number).map_or(0, |info| info.type_params);
    if wanted != count(&arguments) {
        let found = arguments.len();
        let s = plural::s(wanted);
        let message = format_args!("`{name}` has {wanted} type parameter{s}, found {found}");
        generator.program.error(file, span, Code::BadCall, message);
        return Ok(());
    }
    if generator.check_bounds(number, &arguments, (file, span)) {
        generator.instance(number, &arguments, 0, (file, span));
    }
    Ok(())
}

/// Puts the module in front of the symbol that a function of an earlier file or block has, and a number where that is not
/// enough.
pub(super) fn separate_symbols(
    generator: &mut Generator<'_, '_>,
    unit: &mut TranslationUnit,
) -> Result<(), AllocError> {
    let all = duplicates(unit)?;
    if all.is_empty() {
        return Ok(());
    }
    for later in all {
        let number = u32::try_from(later).map_err(|_| AllocError)?;
        let info = at(&generator.instances, number).map(|instance| instance.function);
        let Some(info) = info.and_then(|number| generator.program.function(number)) else {
            continue;
        };
        let module = generator.program.source(info.source).map_or("", |source| source.module);
        if let Some(function) = unit.functions.get_mut(later) {
            function.symbol = formatted(format_args!("{module}.{}", function.symbol))?;
        }
    }
    // The module of a function is the same for its instances for types of one name.
    for (number, later) in (2_u32..).zip(duplicates(unit)?) {
        if let Some(function) = unit.functions.get_mut(later) {
            function.symbol = formatted(format_args!("{number}.{}", function.symbol))?;
        }
    }
    Ok(())
}

/// The functions whose symbol a function of an earlier file has.
fn duplicates(unit: &TranslationUnit) -> Result<Vec<usize>, AllocError> {
    let symbol = |number: u32| at(&unit.functions, number).map_or("", |f| f.symbol.as_str());
    let file = |number: usize| unit.functions.get(number).map_or(0, |function| function.file);
    let mut index = HashIndex::with_capacity(unit.functions.len())?;
    // The function of the earliest file, by the number of the first one with its symbol.
    let mut earliest = try_collect(0..unit.functions.len())?;
    let mut found = Vec::new();
    for (later, number) in (0..unit.functions.len()).zip(0..) {
        let text = symbol(number);
        let hash = hash::fnv1a_32(text.as_bytes());
        match index.find(hash, |earlier| symbol(earlier) == text) {
            Some(first) => {
                let first = usize::try_from(first).unwrap_or(usize::MAX);
                let mut later = later;
                if let Some(earliest) = earliest.get_mut(first)
                    && file(later) < file(*earliest)
                {
                    core::mem::swap(earliest, &mut later);
                }
                try_push(&mut found, later)?;
            }
            None => index.insert(hash, number)?,
        }
    }
    Ok(found)
}

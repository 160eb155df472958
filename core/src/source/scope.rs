//! The source text of a template: the function behind the declarations of its file and of the files that it imports.
//!
//! Types, implementations, constants and generic functions are copied; other functions become `extern fn` if the module that
//! has the template exports them by their names, and are copied otherwise.

use alloc::string::String;
use alloc::vec::Vec;

use super::lower::generator::Generator;
use super::program::{FunctionInfo, Program, ResultType, at, count};
use super::syntax::{Receiver, Tree};
use super::token::Span;
use crate::alloc_util::{AllocError, try_collect, try_filled, try_push, try_push_str};

/// A text that compiles on its own and declares the function.
pub(super) fn template_text(
    generator: &mut Generator<'_, '_>,
    info: &FunctionInfo,
) -> Result<String, AllocError> {
    let mut text = String::new();
    let own = info.decl.span;
    let reached = reached(&generator.program, info.source)?;
    let is_reached = |source: u32| at(&reached, source).copied().unwrap_or(false);
    for (number, source) in (0..).zip(generator.program.sources) {
        if !is_reached(number) {
            continue;
        }
        let tree = &source.tree;
        let aliases = tree.aliases.iter().map(|decl| decl.span);
        let consts = tree.consts.iter().map(|decl| decl.span);
        let structs = tree.structs.iter().map(|decl| decl.span);
        let enums = tree.enums.iter().map(|decl| decl.span);
        let impls = tree.impls.iter().map(|decl| decl.span).filter(|&span| !is_type(tree, span));
        for span in aliases.chain(consts).chain(structs).chain(enums).chain(impls) {
            add(&mut text, span.of(source.file.text))?;
        }
    }
    for number in 0..count(&generator.program.functions) {
        let Some(other) = generator.program.function(number) else { continue };
        let is_own = other.source == info.source && other.decl.span == own;
        let is_left_out = other.owner.is_some() || other.decl.is_script;
        if is_own || is_left_out || !is_reached(other.source) {
            continue;
        }
        let Some(source) = generator.program.source(other.source) else { continue };
        if other.is_generic() || other.is_external || !generator.program.has_symbol(&other) {
            add(&mut text, other.decl.span.of(source.file.text))?;
        } else {
            declare(generator, &other, &mut text)?;
        }
    }
    if let Some(source) = generator.program.source(info.source) {
        add(&mut text, own.of(source.file.text))?;
    }
    Ok(text)
}

/// Whether a file imports another one, by the number of that: its own names, and those that they need.
fn reached(program: &Program<'_, '_>, first: u32) -> Result<Vec<bool>, AllocError> {
    let mut reached = try_filled(program.sources.len(), &false)?;
    let mut open = try_collect([first].into_iter())?;
    while let Some(file) = open.pop() {
        let place = usize::try_from(file).ok().and_then(|file| reached.get_mut(file));
        let Some(place) = place.filter(|place| !**place) else { continue };
        *place = true;
        for import in program.source(file).map_or(&[][..], |source| &source.tree.uses) {
            if let Some(target) = program.imported_module(file, import) {
                try_push(&mut open, target)?;
            }
        }
    }
    Ok(reached)
}

/// Whether a declaration is that of a struct or an enum, whose span the methods in its body have.
fn is_type(tree: &Tree, span: Span) -> bool {
    // In the order of the file.
    let is_struct = tree.structs.binary_search_by_key(&span.start, |decl| decl.span.start);
    is_struct.is_ok()
        || tree.enums.binary_search_by_key(&span.start, |decl| decl.span.start).is_ok()
}

fn add(text: &mut String, declaration: &str) -> Result<(), AllocError> {
    try_push_str(text, declaration.trim_end())?;
    try_push_str(text, "\n")
}

/// A function as `extern fn`.
fn declare(
    generator: &mut Generator<'_, '_>,
    info: &FunctionInfo,
    text: &mut String,
) -> Result<(), AllocError> {
    let ResultType::Known(result) = info.result else { return Ok(()) };
    if info.receiver() != Receiver::None {
        return Ok(());
    }
    let program = &generator.program;
    try_push_str(text, "extern fn ")?;
    try_push_str(text, program.name(info.decl.word.name))?;
    try_push_str(text, "(")?;
    for (index, param) in program.param_list(info.params).iter().enumerate() {
        try_push_str(text, if index == 0 { "" } else { ", " })?;
        try_push_str(text, program.name(param.name))?;
        try_push_str(text, ": ")?;
        try_push_str(text, &program.type_text(param.ty))?;
    }
    try_push_str(text, ") -> ")?;
    try_push_str(text, &program.type_text(result))?;
    try_push_str(text, "\n")
}

//! The source text of a template: the function behind the declarations of its file and of the files that it imports.
//!
//! Types and implementations are copied, as a type argument may be any type; of the constants and functions there are those
//! that the text mentions. Generic ones are copied; others become `extern fn` if the module that has the template exports them by
//! their names and no file uses them as values, and are copied otherwise.
//!
//! The text starts with a line `#:module LENGTH MODULE`, a tab and the name of the file for each file, in the order of the
//! program. The declarations of the files follow in that order, with their imports; those of the file of the template,
//! whose length is `*`, come last. A declaration is on the line that it has in its file, so that diagnostics, traps and line
//! tables of instances count as those of the program: a line `#:line`, a tab and `COUNT` stands for so many empty ones. With
//! the count 0 it stands for nothing, and the next line is part of a declaration, whatever it starts with.

use alloc::string::String;
use alloc::vec::Vec;
use core::slice;

use super::SourceFile;
use super::diagnostic::formatted;
use super::lower::generator::Generator;
use super::names::Name;
use super::program::{FunctionInfo, Import, Item, Program, ResultType, at, at_mut, count};
use super::syntax::{ExprKind, PatternKind, Receiver, Tree, UseItems};
use super::token::Span;
use super::ty::{Head, TypeId};
use crate::alloc_util::{AllocError, try_collect, try_filled, try_push, try_push_str};

/// What a line of the header starts with.
const HEADER: &str = "#:module ";

/// What a line starts with that stands for several empty ones, before their number.
const LINES: &str = "#:line\t";

/// Fewer empty lines than these are written as they are.
const FEW_LINES: u32 = 8;

/// The most lines of a text that such a line may add, which bounds its memory.
const MAX_LINES: usize = 1 << 20;

/// More files than these are not told apart.
const MAX_FILES: usize = 256;

/// A declaration of a text.
#[derive(Clone, Copy)]
struct Part {
    source: u32,
    span: Span,
    /// The number of a function that becomes an `extern fn`; other declarations are copied.
    declared: Option<u32>,
}

/// A declaration that a text has if it mentions it, by its number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mentioned {
    Function(u32),
    Const(u32),
}

/// Where a function at the top level or a constant is declared: in the order of files, and of declarations in them.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct ItemSpan {
    source: u32,
    start: u32,
    end: u32,
    item: Mentioned,
}

/// What the functions and constants of a program mention, for the texts of all its templates.
pub(super) struct Mentions {
    /// By the number of a function: whether a file uses it as a value, and does not only call it.
    values: Vec<bool>,
    /// Pairs of declarations, of which the first mentions the second; ascending.
    by_items: Vec<(Mentioned, Mentioned)>,
    /// Pairs of a file, and a declaration that its types, implementations or imports mention.
    by_files: Vec<(u32, Mentioned)>,
}

impl Mentions {
    pub(super) fn new(program: &Program<'_, '_>) -> Result<Self, AllocError> {
        let values = try_filled(program.functions.len(), &false)?;
        let mut mentions = Self { values, by_items: Vec::new(), by_files: Vec::new() };
        let mut spans = Vec::new();
        for number in 0..count(&program.functions) {
            let Some(info) = program.function(number) else { continue };
            // What a function inside another one mentions is part of the outer one.
            let is_item =
                program.item(info.source, info.decl.word.name) == Some(Item::Function(number));
            if is_item && !info.decl.is_script {
                let (source, Span { start, end }) = (info.source, info.decl.span);
                let item = Mentioned::Function(number);
                try_push(&mut spans, ItemSpan { source, start, end, item })?;
            }
        }
        for (number, info) in (0..).zip(&program.consts) {
            let (source, Span { start, end }) = (info.source, info.decl.span);
            try_push(&mut spans, ItemSpan { source, start, end, item: Mentioned::Const(number) })?;
        }
        spans.sort_unstable();
        for (file, source) in (0..).zip(program.sources) {
            mentions.add_expressions(program, file, &source.tree, &spans)?;
            mentions.add_patterns(program, file, &source.tree, &spans)?;
            mentions.add_imports(program, file, &source.tree)?;
        }
        mentions.by_items.sort_unstable();
        mentions.by_items.dedup();
        Ok(mentions)
    }

    /// `spans` are those of all constants and of all functions at the top level, ascending.
    fn add_expressions(
        &mut self,
        program: &Program<'_, '_>,
        file: u32,
        tree: &Tree,
        spans: &[ItemSpan],
    ) -> Result<(), AllocError> {
        let mut called = try_filled(tree.exprs.len(), &false)?;
        for expr in &tree.exprs {
            if let ExprKind::Call { callee, .. } = expr.kind
                && let Some(place) = at_mut(&mut called, callee.0)
            {
                *place = true;
            }
        }
        for (expr, is_called) in tree.exprs.iter().zip(called) {
            let Some(item) = named_item(program, file, tree, expr.kind) else { continue };
            if let Mentioned::Function(function) = item
                && !is_called
                && let Some(place) = at_mut(&mut self.values, function)
            {
                *place = true;
            }
            self.add(file, expr.span.start, item, spans)?;
        }
        Ok(())
    }

    /// Adds the constants that patterns name.
    fn add_patterns(
        &mut self,
        program: &Program<'_, '_>,
        file: u32,
        tree: &Tree,
        spans: &[ItemSpan],
    ) -> Result<(), AllocError> {
        for pattern in &tree.patterns {
            let item = match pattern.kind {
                PatternKind::Bind(name) => named_item(program, file, tree, ExprKind::Name(name)),
                PatternKind::Variant { path: Some(path), variant, .. } => {
                    named_item(program, file, tree, ExprKind::Field(path, variant))
                }
                _ => None,
            };
            if let Some(item @ Mentioned::Const(_)) = item {
                self.add(file, pattern.span.start, item, spans)?;
            }
        }
        Ok(())
    }

    /// Adds what is mentioned at an offset of a file.
    fn add(
        &mut self,
        file: u32,
        start: u32,
        item: Mentioned,
        spans: &[ItemSpan],
    ) -> Result<(), AllocError> {
        let after = spans.partition_point(|span| (span.source, span.start) <= (file, start));
        let around = after.checked_sub(1).and_then(|index| spans.get(index));
        match around {
            Some(user) if user.source == file && start < user.end => {
                try_push(&mut self.by_items, (user.item, item))
            }
            _ => try_push(&mut self.by_files, (file, item)),
        }
    }

    fn add_imports(
        &mut self,
        program: &Program<'_, '_>,
        file: u32,
        tree: &Tree,
    ) -> Result<(), AllocError> {
        for import in &tree.uses {
            let names = match &import.items {
                UseItems::Module(name) => slice::from_ref(&name.0),
                UseItems::Names(names) => tree.list(*names),
                UseItems::All => &[],
            };
            for &name in names {
                if let Some(item) = program.item(file, Name(name)).and_then(mentioned) {
                    try_push(&mut self.by_files, (file, item))?;
                }
            }
        }
        Ok(())
    }

    /// What a declaration mentions.
    fn of(&self, item: Mentioned) -> impl Iterator<Item = Mentioned> {
        let first = self.by_items.partition_point(|&(user, _)| user < item);
        let mentions = self.by_items.get(first..).unwrap_or(&[]).iter();
        mentions.take_while(move |&&(user, _)| user == item).map(|&(_, used)| used)
    }
}

/// A text that compiles on its own and declares the function of this number.
pub(super) fn template_text(
    generator: &mut Generator<'_, '_>,
    number: u32,
    mentions: &Mentions,
) -> Result<String, AllocError> {
    let program = &generator.program;
    let Some(info) = program.function(number) else { return Ok(String::new()) };
    let reached = reached(program, info.source)?;
    let has_imports = reached.iter().filter(|&&is_reached| is_reached).count() > 1;
    let mut parts = mentioned_parts(generator, number, mentions, &reached)?;
    let files = (0..).zip(program.sources).zip(&reached).filter(|&(_, &is_reached)| is_reached);
    for ((source, file), _) in files {
        let uses = file.tree.uses.iter().filter(|_| has_imports).map(|decl| decl.span);
        for span in uses.chain(types(&file.tree)) {
            try_push(&mut parts, Part { source, span, declared: None })?;
        }
    }
    parts.sort_unstable_by_key(|part| (part.source, part.span.start));
    let mut texts = try_collect(program.sources.iter().map(|_| Text::default()))?;
    for &part in &parts {
        if let Some(text) = at_mut(&mut texts, part.source) {
            text.add(program, part)?;
        }
    }
    if has_imports {
        import_by_name(program, &parts, &mut texts)?;
    }
    join(program, &texts, &reached, info.source)
}

/// The function of a template, and the functions and constants that the text mentions because of it.
fn mentioned_parts(
    generator: &Generator<'_, '_>,
    own: u32,
    mentions: &Mentions,
    reached: &[bool],
) -> Result<Vec<Part>, AllocError> {
    let program = &generator.program;
    let is_reached = |file| at(reached, file) == Some(&true);
    let mut parts = Vec::new();
    let mut found_functions = try_filled(program.functions.len(), &false)?;
    let mut found_consts = try_filled(program.consts.len(), &false)?;
    let mut open = try_collect([Mentioned::Function(own)].into_iter())?;
    for &(_, item) in mentions.by_files.iter().filter(|&&(file, _)| is_reached(file)) {
        try_push(&mut open, item)?;
    }
    while let Some(item) = open.pop() {
        let place = match item {
            Mentioned::Function(number) => at_mut(&mut found_functions, number),
            Mentioned::Const(number) => at_mut(&mut found_consts, number),
        };
        let Some(place) = place.filter(|place| !**place) else { continue };
        *place = true;
        let part = match item {
            Mentioned::Function(number) => {
                let is_value = at(&mentions.values, number) == Some(&true);
                function_part(generator, number, number == own || is_value)
            }
            Mentioned::Const(number) => at(&program.consts, number).map(|info| Part {
                source: info.source,
                span: info.decl.span,
                declared: None,
            }),
        };
        let Some(part) = part.filter(|part| is_reached(part.source)) else { continue };
        try_push(&mut parts, part)?;
        if part.declared.is_none() {
            for used in mentions.of(item) {
                try_push(&mut open, used)?;
            }
        }
    }
    Ok(parts)
}

/// A function in a text; `None` for one that is part of another declaration.
fn function_part(generator: &Generator<'_, '_>, number: u32, is_copied: bool) -> Option<Part> {
    let program = &generator.program;
    let info = program.function(number)?;
    let is_inner = generator.outer_function(number).is_some();
    if info.owner.is_some() || info.decl.is_script || is_inner {
        return None;
    }
    let is_copied = is_copied || info.is_external || !is_declared(program, &info);
    let declared = Some(number).filter(|_| !is_copied);
    Some(Part { source: info.source, span: info.decl.span, declared })
}

/// The declarations of a file, each on the line that it has there.
#[derive(Default)]
struct Text {
    text: String,
    lines: u32,
}

impl Text {
    fn add(&mut self, program: &Program<'_, '_>, part: Part) -> Result<(), AllocError> {
        let Some(source) = program.source(part.source) else { return Ok(()) };
        let before = source.file.line(part.span.start).0.saturating_sub(1);
        let gap = before.saturating_sub(self.lines);
        if gap > FEW_LINES {
            try_push_str(&mut self.text, &formatted(format_args!("{LINES}{gap}\n"))?)?;
            self.lines = before;
        }
        while self.lines < before {
            self.push("\n")?;
        }
        match part.declared.and_then(|number| program.function(number)) {
            Some(info) => declare(program, &info, &mut self.text)?,
            None => self.push(part.span.of(source.file.text).trim_end())?,
        }
        self.push("\n")
    }

    fn push(&mut self, text: &str) -> Result<(), AllocError> {
        let lines = text.bytes().filter(|&byte| byte == b'\n').count();
        self.lines = self.lines.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
        for line in text.split_inclusive('\n') {
            if line.starts_with(LINES) {
                try_push_str(&mut self.text, LINES)?;
                try_push_str(&mut self.text, "0\n")?;
            }
            try_push_str(&mut self.text, line)?;
        }
        Ok(())
    }
}

/// Adds imports by name of the declarations that have the name of a private function of another imported module: marks are
/// ignored in a text, so that `use module.*` would import both.
fn import_by_name(
    program: &Program<'_, '_>,
    parts: &[Part],
    texts: &mut [Text],
) -> Result<(), AllocError> {
    let is_part = |source: u32, span: Span| {
        let place = (source, span.start);
        parts.binary_search_by_key(&place, |part| (part.source, part.span.start)).is_ok()
    };
    let is_declared = |item: Item| match item {
        Item::Function(number) => {
            program.function(number).is_some_and(|info| is_part(info.source, info.decl.span))
        }
        Item::Const(number) => {
            at(&program.consts, number).is_some_and(|info| is_part(info.source, info.decl.span))
        }
        // The text has the types of its files.
        Item::Struct(_) | Item::Enum(_) | Item::Alias(_) => true,
        Item::Module(_) | Item::Ambiguous => false,
    };
    for &(file, name) in &program.unhidden {
        let item = program.item(file, name).filter(|&item| is_declared(item));
        let mut imports = program.imports_of(file).iter().flatten();
        let declares =
            |import: &&Import| item.is_some() && program.item(import.module, name) == item;
        if let Some(import) = imports.find(declares)
            && let Some(source) = program.source(import.module)
            && let Some(text) = at_mut(texts, file)
        {
            let name = program.name(name);
            text.push(&formatted(format_args!("use {}.{{{name}}}\n", source.module))?)?;
        }
    }
    Ok(())
}

/// The declarations of a file that are no functions or constants.
fn types(tree: &Tree) -> impl Iterator<Item = Span> {
    let aliases = tree.aliases.iter().map(|decl| decl.span);
    let structs = tree.structs.iter().map(|decl| decl.span);
    let enums = tree.enums.iter().map(|decl| decl.span);
    let impls = tree.impls.iter().map(|decl| decl.span).filter(|&span| !is_type(tree, span));
    aliases.chain(structs).chain(enums).chain(impls)
}

/// The texts of the files that are reached, behind the header.
fn join(
    program: &Program<'_, '_>,
    texts: &[Text],
    reached: &[bool],
    own: u32,
) -> Result<String, AllocError> {
    let mut joined = String::new();
    let files = || (0..).zip(texts).filter(|&(number, _)| at(reached, number) == Some(&true));
    for (number, Text { text, .. }) in files() {
        let source = program.source(number);
        let names = source.map_or(["", ""], |source| [source.module, source.file.name]);
        let [module, name] = names.map(|name| if name.contains(['\n', '\t']) { "" } else { name });
        let line = match number == own {
            true => formatted(format_args!("{HEADER}* {module}\t{name}\n"))?,
            false => formatted(format_args!("{HEADER}{} {module}\t{name}\n", text.len()))?,
        };
        try_push_str(&mut joined, &line)?;
    }
    for (_, Text { text, .. }) in files().filter(|&(number, _)| number != own) {
        try_push_str(&mut joined, text)?;
    }
    let text = at(texts, own).map_or("", |text| text.text.as_str());
    try_push_str(&mut joined, text)?;
    Ok(joined)
}

/// The files of the text of a template, and the number of the one that declares it.
pub(super) fn files<'t>(file: SourceFile<'t>) -> Result<(Vec<SourceFile<'t>>, u32), AllocError> {
    let mut lengths = Vec::new();
    let (mut files, mut own, mut rest) = (Vec::new(), 0, file.text);
    while files.len() < MAX_FILES
        && let Some((line, behind)) = rest.strip_prefix(HEADER).and_then(|r| r.split_once('\n'))
    {
        let (length, names) = line.split_once(' ').unwrap_or((line, ""));
        let (module, name) = names.split_once('\t').unwrap_or((names, ""));
        let name = if name.is_empty() { file.name } else { name };
        if length == "*" {
            own = count(&files);
        }
        try_push(&mut lengths, length.parse::<usize>().ok())?;
        try_push(&mut files, SourceFile { name, module, text: "" })?;
        rest = behind;
    }
    if files.is_empty() {
        return Ok((try_collect([file].into_iter())?, 0));
    }
    for (part, length) in files.iter_mut().zip(lengths) {
        let Some(length) = length else { continue };
        (part.text, rest) = rest.split_at_checked(length).unwrap_or((rest, ""));
    }
    if let Some(part) = at_mut(&mut files, own) {
        part.text = rest;
    }
    Ok((files, own))
}

/// The text of a file with the empty lines that its lines stand for.
pub(super) fn with_lines(text: &str) -> Result<String, AllocError> {
    let (mut whole, mut added) = (String::new(), 0_usize);
    let mut lines = text.split_inclusive('\n');
    while let Some(line) = lines.next() {
        let count =
            line.strip_prefix(LINES).and_then(|count| count.trim_end().parse::<usize>().ok());
        let count = count.filter(|count| added.saturating_add(*count) <= MAX_LINES);
        match count {
            Some(0) => try_push_str(&mut whole, lines.next().unwrap_or(""))?,
            Some(count) => {
                added += count;
                whole.try_reserve(count).map_err(|_| AllocError)?;
                whole.extend(core::iter::repeat_n('\n', count));
            }
            None => try_push_str(&mut whole, line)?,
        }
    }
    Ok(whole)
}

/// The function or constant that `f`, `f<A>` or `module.f` names.
fn named_item(
    program: &Program<'_, '_>,
    source: u32,
    tree: &Tree,
    kind: ExprKind,
) -> Option<Mentioned> {
    let (file, name) = match kind {
        ExprKind::Name(name) | ExprKind::Generic(name, _) => (source, name),
        ExprKind::Field(base, name) => match tree.expr(base).kind {
            ExprKind::Name(module) => match program.item(source, module) {
                Some(Item::Module(file)) => (file, name),
                _ => return None,
            },
            _ => return None,
        },
        _ => return None,
    };
    program.item(file, name).and_then(mentioned)
}

fn mentioned(item: Item) -> Option<Mentioned> {
    match item {
        Item::Function(number) => Some(Mentioned::Function(number)),
        Item::Const(number) => Some(Mentioned::Const(number)),
        _ => None,
    }
}

/// Whether a file imports another one, by the number of that: its own names, and those that they need.
fn reached(program: &Program<'_, '_>, first: u32) -> Result<Vec<bool>, AllocError> {
    let mut reached = try_filled(program.sources.len(), &false)?;
    let mut open = try_collect([first].into_iter())?;
    while let Some(file) = open.pop() {
        let Some(place) = at_mut(&mut reached, file).filter(|place| !**place) else { continue };
        *place = true;
        for import in program.imports_of(file).iter().flatten() {
            try_push(&mut open, import.module)?;
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

/// Whether an `extern fn` states all of a function: it is called by its symbol, its file has the names of its types, and no
/// parameter has a default or is changed.
fn is_declared(program: &Program<'_, '_>, info: &FunctionInfo) -> bool {
    let is_named = |ty| has_names(program, info.source, ty);
    !info.is_generic()
        && program.has_symbol(info)
        && matches!(info.result, ResultType::Known(result) if is_named(result))
        && program
            .param_list(info.params)
            .iter()
            .all(|param| is_named(param.ty) && param.default.is_none() && !param.mutable)
}

/// Whether the name of each struct and enum in a type stands for that in a file.
fn has_names(program: &Program<'_, '_>, source: u32, ty: TypeId) -> bool {
    let named = |info: Option<Name>| info.and_then(|name| program.item(source, name));
    let is_known = match program.types.head(ty) {
        Head::Struct(number) => {
            let name = at(&program.structs, number).map(|info| info.name);
            named(name) == Some(Item::Struct(number))
        }
        Head::Enum(number) => {
            let name = at(&program.enums, number).map(|info| info.name);
            named(name) == Some(Item::Enum(number))
        }
        _ => true,
    };
    is_known && program.types.parts(ty).iter().all(|&part| has_names(program, source, part))
}

/// A function as `extern fn`.
fn declare(
    program: &Program<'_, '_>,
    info: &FunctionInfo,
    text: &mut String,
) -> Result<(), AllocError> {
    let ResultType::Known(result) = info.result else { return Ok(()) };
    if info.receiver() != Receiver::None {
        return Ok(());
    }
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
    try_push_str(text, &program.type_text(result))
}

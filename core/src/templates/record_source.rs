//! The source text of a function whose parts are texts in a [record](TemplateRecord) of the Simple compiler.
//!
//! The texts of a body become a block. They may be statements or lines; the compiler's sources do not define how
//! they are indented, so two readings are tried in turn.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use core::ops::Range;

use hashbrown::{DefaultHashBuilder, HashMap};

use super::module::declaration::Declaration;
use crate::alloc_util::{AllocError, TryWriter, try_push, try_push_str, try_to_string};
use crate::format::template::{Container, TemplateKind, Templates};
use crate::format::template_record::{TemplateRecord, Texts, VariantRecord};
use crate::source::{Part, first_part};
use crate::types::{Type, TypeList};

/// How the lines of a body are indented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Indentation {
    /// All lines relative to the least indented one.
    Common,
    /// The first line of each text has the indentation of the body; the others are relative to the least indented one
    /// of the text. That is a statement cut out of its file.
    Statements,
}

impl Indentation {
    pub(super) const ALL: [Self; 2] = [Self::Common, Self::Statements];
}

/// The indentation of the lines of a block, in spaces.
const BLOCK: &str = "    ";

/// The name that the function gets: that of the record, or of the template that it is a specialisation of, if it is an
/// identifier.
pub(super) fn function_name<'d>(record: &TemplateRecord<'d>) -> &'d str {
    let names = [Some(record.name), record.original];
    names.into_iter().flatten().find(|name| is_identifier(name)).unwrap_or("instance")
}

fn is_identifier(name: &str) -> bool {
    let starts = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    starts && name.bytes().all(is_word)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The source of the function of `record`, before the declarations of `sections` that it and `arguments` refer to.
pub(super) fn text(
    record: &TemplateRecord<'_>,
    name: &str,
    indentation: Indentation,
    sections: [&[u8]; 2],
    arguments: &[Type],
) -> Result<String, AllocError> {
    let mut text = String::new();
    for (parameter, ty) in record.bindings.pairs() {
        writeln!(TryWriter(&mut text), "type {parameter} = {ty}").map_err(|_| AllocError)?;
    }
    put_function(&mut text, record, name, indentation)?;
    // A specialisation has the name of its template, which is not declared as well.
    add_declarations(&mut text, name, sections, arguments, indentation)?;
    Ok(text)
}

fn put_function(
    out: &mut String,
    record: &TemplateRecord<'_>,
    name: &str,
    indentation: Indentation,
) -> Result<(), AllocError> {
    try_push_str(out, "fn ")?;
    put_head(out, name, record.type_params)?;
    try_push_str(out, "(")?;
    put_list(out, record.members)?;
    try_push_str(out, ")")?;
    if let Some(result) = record.result {
        try_push_str(out, " -> ")?;
        try_push_str(out, result)?;
    }
    try_push_str(out, ":\n")?;
    put_block(out, record.body, indentation)
}

/// A name with its type parameters.
fn put_head(out: &mut String, name: &str, type_params: Texts<'_>) -> Result<(), AllocError> {
    try_push_str(out, name)?;
    if !type_params.is_empty() {
        try_push_str(out, "<")?;
        put_list(out, type_params)?;
        try_push_str(out, ">")?;
    }
    Ok(())
}

fn put_list(out: &mut String, texts: Texts<'_>) -> Result<(), AllocError> {
    for (index, text) in texts.iter().enumerate() {
        try_push_str(out, if index == 0 { "" } else { ", " })?;
        try_push_str(out, text)?;
    }
    Ok(())
}

/// The lines of all texts, indented as a block.
fn put_block(
    out: &mut String,
    texts: Texts<'_>,
    indentation: Indentation,
) -> Result<(), AllocError> {
    // A literal may extend over several texts.
    let mut joined = String::new();
    for text in lines_of(texts) {
        try_push_str(&mut joined, text)?;
        try_push_str(&mut joined, "\n")?;
    }
    let literals = literals(&joined)?;
    let mut lines = lines(&joined, &literals);
    let common = least_indentation(lines.clone());
    // A tab must not follow a blank.
    let has_tab = |line: Line<'_>| line.blanks().contains('\t');
    let block = if lines.clone().any(has_tab) { "\t" } else { BLOCK };
    for text in lines_of(texts) {
        let count = text.split('\n').count();
        let own = least_indentation(lines.clone().take(count).skip(1));
        for (index, line) in lines.by_ref().take(count).enumerate() {
            let cut = match (indentation, index) {
                (Indentation::Common, _) => common,
                (Indentation::Statements, 0) => line.blanks().len(),
                (Indentation::Statements, _) => own,
            };
            let (block, cut) = if line.is_in_literal { ("", 0) } else { (block, cut) };
            try_push_str(out, block)?;
            // A blank line may be shorter.
            try_push_str(out, line.text.get(cut..).unwrap_or(""))?;
            try_push_str(out, "\n")?;
        }
    }
    Ok(())
}

/// The texts that have lines, without the line break at the end.
fn lines_of(texts: Texts<'_>) -> impl Iterator<Item = &str> {
    let texts = texts.iter().filter(|text| !text.is_empty());
    texts.map(|text| text.strip_suffix('\n').unwrap_or(text))
}

/// A line of a body.
#[derive(Clone, Copy)]
struct Line<'t> {
    text: &'t str,
    /// Whether it begins inside of a literal, whose blanks are part of that.
    is_in_literal: bool,
}

impl<'t> Line<'t> {
    /// Its indentation.
    fn blanks(self) -> &'t str {
        let len = self.text.len() - self.text.trim_start().len();
        if self.is_in_literal { "" } else { self.text.get(..len).unwrap_or("") }
    }
}

/// The lines of a text whose literals of several lines are given.
fn lines<'t>(
    text: &'t str,
    mut literals: &'t [Range<usize>],
) -> impl Iterator<Item = Line<'t>> + Clone {
    let mut at = 0_usize;
    text.split_inclusive('\n').map(move |line| {
        while let Some((_, rest)) = literals.split_first().filter(|(first, _)| first.end <= at) {
            literals = rest;
        }
        let is_in_literal = literals.first().is_some_and(|literal| literal.start < at);
        at = at.saturating_add(line.len());
        Line { text: line.strip_suffix('\n').unwrap_or(line), is_in_literal }
    })
}

/// The ranges of the literals of a text that have several lines.
fn literals(text: &str) -> Result<Vec<Range<usize>>, AllocError> {
    let (mut found, mut at) = (Vec::new(), 0_usize);
    while let Some((part, len)) = text.get(at..).and_then(first_part) {
        let range = at..at.saturating_add(len);
        at = range.end;
        let is_long = text.get(range.clone()).is_some_and(|literal| literal.contains('\n'));
        if part == Part::Literal && is_long {
            try_push(&mut found, range)?;
        }
    }
    Ok(found)
}

/// The bytes of white space before the least indented line that is not blank.
fn least_indentation<'t>(lines: impl Iterator<Item = Line<'t>>) -> usize {
    let indented = lines.filter(|line| !line.is_in_literal && !line.text.trim().is_empty());
    indented.map(|line| line.blanks().len()).min().unwrap_or(0)
}

/// Declarations by name.
type Declarations<'d> = HashMap<&'d str, (TemplateKind, TemplateRecord<'d>), DefaultHashBuilder>;

/// Adds the declarations of a section. The first of a name wins.
fn read_declarations<'d>(
    all: &mut Declarations<'d>,
    own: &str,
    section: &'d [u8],
) -> Result<(), AllocError> {
    let Ok(templates) = Templates::parse(section, 0) else { return Ok(()) };
    if !matches!(templates.container, Container::Records { .. }) {
        return Ok(());
    }
    for template in templates.iter().flatten() {
        let Some(kind) = template.kind else { continue };
        let Some(record) = TemplateRecord::parse(kind, template.body) else { continue };
        if record.name != own {
            all.try_reserve(1).map_err(|_| AllocError)?;
            all.entry(record.name).or_insert((kind, record));
        }
    }
    Ok(())
}

/// Adds the declarations of the sections whose names occur in the text or in `arguments`, and those that they refer
/// to. Those that the text has are left out.
pub(super) fn add_declarations(
    text: &mut String,
    own: &str,
    sections: [&[u8]; 2],
    arguments: &[Type],
    indentation: Indentation,
) -> Result<(), AllocError> {
    let mut declarations = Declarations::default();
    for section in sections {
        read_declarations(&mut declarations, own, section)?;
    }
    if declarations.is_empty() {
        return Ok(());
    }
    let arguments = try_to_string(TypeList(arguments))?;
    for word in words(&arguments) {
        if let Some((kind, record)) = declarations.remove(word)
            && !declares(text, word)
        {
            put_any(text, kind, &record, indentation)?;
        }
    }
    let mut at = 0;
    // The text grows meanwhile.
    while let Some((mut word_at, end)) = next_code(text, &mut at) {
        while let Some(word) = text.get(..end).and_then(|text| next_word(text, &mut word_at)) {
            if let Some((kind, record)) = declarations.remove(word)
                && !declares(text, record.name)
            {
                put_any(text, kind, &record, indentation)?;
            }
        }
    }
    Ok(())
}

/// The start and the end of the code in the next part of the text from `at`, which moves behind the part: of a literal that which
/// may be in braces, nothing of a comment.
fn next_code(text: &str, at: &mut usize) -> Option<(usize, usize)> {
    let start = *at;
    let rest = text.get(start..)?;
    let (part, len) = first_part(rest)?;
    let end = start.saturating_add(len);
    *at = end;
    let braces = || {
        let literal = rest.get(..len)?;
        let (open, close) = literal.find('{').zip(literal.rfind('}'))?;
        Some((start.saturating_add(open), start.saturating_add(close)))
    };
    Some(match part {
        Part::Code => (start, end),
        Part::Literal => braces().unwrap_or((end, end)),
        Part::Comment => (end, end),
    })
}

/// The words of a text.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut at = 0;
    core::iter::from_fn(move || next_word(text, &mut at))
}

/// Whether a text declares the struct or enum `name`.
pub(super) fn declares(text: &str, name: &str) -> bool {
    text.lines().any(|line| {
        let rest = ["struct ", "enum "].into_iter().find_map(|word| line.strip_prefix(word));
        rest.is_some_and(|rest| words(rest).next() == Some(name))
    })
}

/// A struct or enum as source.
pub(super) fn put_declaration(
    out: &mut String,
    declaration: &Declaration<'_>,
) -> Result<(), AllocError> {
    put_any(out, declaration.kind, &declaration.record, Indentation::Common)
}

/// The next word of the text from `at`, which moves behind it.
fn next_word<'t>(text: &'t str, at: &mut usize) -> Option<&'t str> {
    let bytes = text.as_bytes().get(*at..)?;
    let start = bytes.iter().position(|&byte| is_word(byte))?;
    let rest = bytes.get(start..)?;
    let len = rest.iter().position(|&byte| !is_word(byte)).unwrap_or(rest.len());
    let start = at.saturating_add(start);
    *at = start.saturating_add(len);
    text.get(start..*at)
}

/// A declaration as source. The front end has no classes and traits: their names are declared in a form that it refuses.
fn put_any(
    out: &mut String,
    kind: TemplateKind,
    record: &TemplateRecord<'_>,
    indentation: Indentation,
) -> Result<(), AllocError> {
    let word = match kind {
        TemplateKind::Function => return put_function(out, record, record.name, indentation),
        TemplateKind::Struct => "struct ",
        TemplateKind::Enum => "enum ",
        TemplateKind::Class => "class ",
        TemplateKind::Trait => "trait ",
    };
    try_push_str(out, word)?;
    put_head(out, record.name, record.type_params)?;
    try_push_str(out, ":\n")?;
    if kind == TemplateKind::Enum {
        return record.variants().try_for_each(|variant| put_variant(out, &variant));
    }
    put_block(out, record.members, Indentation::Common)
}

/// A variant of an enum as a line.
fn put_variant(out: &mut String, variant: &VariantRecord<'_>) -> Result<(), AllocError> {
    try_push_str(out, BLOCK)?;
    try_push_str(out, variant.name)?;
    for (number, (ty, field)) in variant.payload.iter().zip(variant.fields.iter()).enumerate() {
        try_push_str(out, if number == 0 { "(" } else { ", " })?;
        if !field.is_empty() {
            try_push_str(out, field)?;
            try_push_str(out, ": ")?;
        }
        try_push_str(out, ty)?;
    }
    try_push_str(out, if variant.payload.is_empty() { "" } else { ")" })?;
    if let Some(discriminant) = variant.discriminant {
        write!(TryWriter(out), " = {discriminant}").map_err(|_| AllocError)?;
    }
    try_push_str(out, "\n")
}

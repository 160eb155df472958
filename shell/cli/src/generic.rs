//! `smf asm` and `smf disasm` for templates with IR bodies.
//!
//! The text form is that of `smf_core::ir::text`, with lines between the templates that list
//! instances: `possible max<i64>, max<f64>`, or `possible max<u8> as greatest` for an explicit symbol.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::fmt::Write;

use smf_core::format::ext::source_template::SourceTemplate;
use smf_core::format::note::Possible;
use smf_core::format::template::{Constraints, Container, Template, TemplateKind};
use smf_core::format::write::note::NewPossible;
use smf_core::format::write::{NewTemplates, WriteError, write_templates};
use smf_core::ir::function_of;
use smf_core::ir::text::{ParsedFunction, parse, print};
use smf_core::types::{Type, TypeList, mangle, wrong_count};
use smf_loader::inspect::Parts;

use crate::output::{one_line, printable, with_line};

/// The first word of a line that lists instances.
const POSSIBLE: &str = "possible";

/// Whether a source consists of templates, by its first word.
pub(crate) fn is_source(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim_start);
    let first = lines.find(|line| !line.is_empty() && !line.starts_with(['#', ';']));
    let word = first.and_then(|line| line.split_whitespace().next());
    matches!(word, Some("template" | POSSIBLE))
}

/// An instance of a `possible` line.
#[derive(Debug, PartialEq)]
struct Row {
    line: usize,
    template: String,
    arguments: Vec<Type>,
    spelled: String,
    symbol: String,
}

/// Assembles a module.
pub(crate) fn assemble(source: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut rows = Vec::new();
    let mut templates = String::new();
    for (number, line) in source.lines().enumerate() {
        let row = line.trim_start().strip_prefix(POSSIBLE);
        match row.filter(|rest| rest.starts_with([' ', '\t'])) {
            // An empty line keeps the line numbers.
            Some(rest) => rows_of(rest, number + 1, &mut rows)
                .map_err(|why| format!("line {}: {why}", number + 1))?,
            None => templates.push_str(line),
        }
        templates.push('\n');
    }
    let templates = parse(&templates).map_err(|error| with_line(&error, error.line, source))?;
    check(&templates, &rows)?;
    Ok(write(&templates, &rows)?)
}

/// Parses `NAME<TYPES>` and `NAME<TYPES> as SYMBOL`, separated by commas.
fn rows_of(text: &str, line: usize, rows: &mut Vec<Row>) -> Result<(), Box<dyn Error>> {
    let mut rest = text.trim();
    loop {
        let (template, after) = name(rest, '<').ok_or("expected a template name and `<`")?;
        let after = after.strip_prefix('<').ok_or("expected `<` after the template name")?;
        let end = closing(after).ok_or("missing `>`")?;
        let (types, after) = after.split_at(end);
        let arguments = Type::parse_arguments(types)?;
        let mangled = mangle(template, &arguments)?.ok_or("the instance has no mangled name")?;
        let mut symbol = format!("fn${mangled}");
        rest = after.get(1..).unwrap_or("").trim_start();
        if let Some(own) = rest.strip_prefix("as ") {
            let (own, after) = name(own.trim_start(), ',').ok_or("expected a symbol")?;
            (symbol, rest) = (own.to_owned(), after.trim_start());
        }
        let spelled = TypeList(&arguments).to_string();
        rows.push(Row { line, template: template.to_owned(), arguments, spelled, symbol });
        match rest.strip_prefix(',') {
            Some(more) => rest = more.trim_start(),
            None if rest.is_empty() || rest.starts_with('#') => return Ok(()),
            None => return Err("expected a comma or the end of the line".into()),
        }
    }
}

/// Splits off a name, which is quoted or ends at `stop` or a blank.
fn name(text: &str, stop: char) -> Option<(&str, &str)> {
    let (name, rest) = match text.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"')?,
        None => {
            let end = text.find(|c: char| c == stop || c.is_whitespace()).unwrap_or(text.len());
            text.split_at(end)
        }
    };
    (!name.is_empty()).then_some((name, rest))
}

/// The position of the `>` that closes a `<` before the text. The `>` of an arrow `->` does not count.
fn closing(text: &str) -> Option<usize> {
    let text = text.replace("->", "  ");
    let mut depth = 1u32;
    text.bytes().position(|byte| {
        match byte {
            b'<' => depth += 1,
            b'>' => depth -= 1,
            _ => {}
        }
        depth == 0
    })
}

/// Checks the rows against the templates, where line numbers are available.
fn check(templates: &[ParsedFunction], rows: &[Row]) -> Result<(), String> {
    let mut params = HashMap::new();
    for ParsedFunction { name, type_params, .. } in templates {
        if params.insert(name, usize::from(*type_params)).is_some() {
            return Err(format!("duplicate template `{name}`"));
        }
    }
    let mut symbols = HashSet::new();
    for Row { line, template, arguments, symbol, .. } in rows {
        let taken = params.get(template).copied();
        let taken = taken.ok_or_else(|| format!("line {line}: no template `{template}`"))?;
        let given = arguments.len();
        if given != taken {
            return Err(format!("line {line}: {}", wrong_count(template, taken, given)));
        }
        if !symbols.insert(symbol) {
            return Err(format!("line {line}: duplicate row for `{symbol}`"));
        }
    }
    Ok(())
}

fn write(templates: &[ParsedFunction], rows: &[Row]) -> Result<Vec<u8>, WriteError> {
    let templates: Vec<_> = templates
        .iter()
        .map(|template| Template {
            name: template.name.as_bytes(),
            kind: Some(TemplateKind::Function),
            params: template.type_params,
            constraints: Constraints::default(),
            body: &template.body,
        })
        .collect();
    let container = Container::Gtpl { constrained: false };
    let rows: Vec<_> = rows
        .iter()
        .map(|row| NewPossible {
            template: &row.template,
            type_args: &row.spelled,
            mangled_name: &row.symbol,
        })
        .collect();
    write_templates(&NewTemplates { container, templates: &templates }, &rows)
}

/// Writes the templates that are wanted and whose bodies are IR or source. Returns the names of all such templates.
pub(crate) fn print_templates<'p>(
    text: &mut String,
    parts: &'p Parts<'_>,
    is_wanted: &dyn Fn(&[u8]) -> bool,
) -> Result<Vec<&'p [u8]>, Box<dyn Error>> {
    let mut names = Vec::new();
    for template in parts.templates()?.into_iter().flat_map(|templates| templates.iter()) {
        let template = template?;
        let source = SourceTemplate::parse(template.body);
        // The IR of a source template may be missing.
        let body = function_of(source.map_or(template.body, |source| source.ir));
        if source.is_none() && body.is_none() {
            continue;
        }
        names.push(template.name);
        if !is_wanted(template.name) {
            continue;
        }
        text.push_str(if text.is_empty() { "" } else { "\n" });
        if let Some(source) = source {
            writeln!(text, "template {}, source", printable(template.name))?;
            // Without those that keep each declaration on its line.
            for line in source.text.lines().filter(|line| !line.is_empty()) {
                writeln!(text, "    | {}", one_line(line))?;
            }
        }
        if let Some(body) = body {
            let name = String::from_utf8_lossy(template.name);
            print(&name, &body.map_err(|error| format!("template `{name}`: {error}"))?, text)?;
        }
    }
    Ok(names)
}

/// Writes the instances that the note of a module with IR templates permits, as lines for [`assemble`].
pub(crate) fn print_instances(text: &mut String, parts: &Parts<'_>) -> Result<(), Box<dyn Error>> {
    let mut templates = parts.templates()?.into_iter().flat_map(|templates| templates.iter());
    let is_ir = |template: &Template<'_>| function_of(template.body).is_some();
    let Some(note) =
        parts.note()?.filter(|_| templates.any(|found| found.is_ok_and(|t| is_ir(&t))))
    else {
        return Ok(());
    };
    for (index, row) in note.entries::<Possible>().enumerate() {
        let row = row?;
        let [template, arguments, symbol] =
            [row.template(), row.type_args(), row.mangled_name()].map(|cell| cell.to_string());
        let types = Type::parse_arguments(&arguments).ok();
        let usual = types.and_then(|types| mangle(&template, &types).ok().flatten());
        let is_usual = usual.is_some_and(|usual| symbol.strip_prefix("fn$") == Some(&usual));
        text.push_str(if index == 0 { "\n" } else { "" });
        write!(text, "{POSSIBLE} {}<{}>", quoted(&template), one_line(&arguments))?;
        if !is_usual {
            write!(text, " as {}", quoted(&symbol))?;
        }
        text.push('\n');
    }
    Ok(())
}

/// A name in the text form, quoted where necessary.
fn quoted(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_.$".contains(c);
    if name.chars().all(is_plain) { name.to_owned() } else { format!("\"{}\"", one_line(name)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Result<Vec<[String; 3]>, Box<dyn Error>> {
        let mut rows = Vec::new();
        rows_of(text, 1, &mut rows)?;
        Ok(rows.into_iter().map(|row| [row.template, row.spelled, row.symbol]).collect())
    }

    #[test]
    fn possible_line_is_parsed_or_refused_with_its_cause() {
        let found =
            rows(" max<i64>, \"a b\"<Vec<fn(i8) -> u8>, f64> as x ,max<u8> as \"y z\" # so")
                .unwrap();
        let expected = [
            ["max", "i64", "fn$max$i64"],
            ["a b", "Vec<fn(i8) -> u8>, f64", "x"],
            ["max", "u8", "y z"],
        ];
        assert_eq!(found, expected);
        for (text, cause) in [
            ("", "name"),
            ("max", "`<`"),
            ("max<i64", "`>`"),
            ("max<>", "no type arguments"),
            ("max<i64,>", "syntax error in the type arguments at byte 4"),
            ("max<i64> u8", "a comma"),
            ("max<i64>,", "name"),
            ("max<i64> as ", "a comma"),
        ] {
            let told = rows(text).unwrap_err().to_string();
            assert!(told.contains(cause), "{text}: {told}");
        }
    }

    #[test]
    fn template_source_is_recognised_by_its_first_word() {
        assert!(is_source("\n# so\n  template f()\nend") && is_source("possible f<i64>"));
        assert!(
            !is_source("; so\nfunction main, 0, 0") && !is_source("") && !is_source("templates")
        );
    }

    #[test]
    fn row_that_matches_no_template_is_refused() {
        let template = "template f<T>(a: T)\nreturn_none\nend\n";
        for (rows, cause) in [
            ("possible g<i64>", "line 4: no template `g`"),
            ("possible f<i64, i64>", "line 4: `f` has 1 type parameter, and 2 types are given"),
            ("possible f<i64>, f<i64>", "line 4: duplicate row for `fn$f$i64`"),
            (template, "duplicate template `f`"),
            ("nothing", "line 4: `template` or `function` is expected"),
        ] {
            let told = assemble(&format!("{template}{rows}")).unwrap_err().to_string();
            assert!(told.contains(cause), "{told}");
        }
    }
}

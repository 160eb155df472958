//! `smf templates`: shows the templates of a module and their instances.

use std::io::Write;
use std::path::PathBuf;

use serde_json::{Value, json};
use smf_core::format::note::{Instantiation, Note, Possible};
use smf_core::format::sdn::Cell;
use smf_core::format::template::{Template, Templates};
use smf_core::format::{FormatError, SectionKind};

use crate::output::{self, Failure, one_line};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The module
    file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// A possible or existing instance.
struct Row {
    symbol: String,
    template: String,
    arguments: String,
    /// The status of an existing instance; `None` for a possible one.
    status: String,
}

impl Row {
    fn all(note: &Note<'_>) -> Result<Vec<Self>, FormatError> {
        let instances = note.entries::<Instantiation<'_>>().map(|row| {
            let row = row?;
            let cells = [row.mangled_name(), row.template(), row.type_args()];
            Ok(Self::new(cells, row.status().to_string()))
        });
        let possible = note.entries::<Possible<'_>>().map(|row| {
            let row = row?;
            let cells = [row.mangled_name(), row.template(), row.type_args()];
            Ok(Self::new(cells, "possible".to_owned()))
        });
        instances.chain(possible).collect()
    }

    fn new(cells: [Cell<'_>; 3], status: String) -> Self {
        let [symbol, template, arguments] = cells.map(|cell| cell.to_string());
        Self { symbol, template, arguments, status }
    }

    fn json(&self) -> Value {
        let Self { symbol, template, arguments, status } = self;
        json!({
            "mangled_name": symbol,
            "template": template,
            "type_args": arguments,
            "status": status,
        })
    }
}

fn name(template: &Template<'_>) -> String {
    String::from_utf8_lossy(template.name).into_owned()
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let broken = |error: FormatError| Failure::of(&args.file, error);
    let data = output::read(&args.file)?;
    let smf = output::module(&args.file, &data)?;
    let section = smf.sections().of_kind(SectionKind::TemplateCode);
    let section = section.map(|section| Ok((smf.contents(&section)?, section.offset))).transpose();
    let section = section.map_err(broken)?;
    let listed = section
        .as_ref()
        .map(|(payload, at)| Templates::parse(payload, *at)?.iter().collect::<Result<Vec<_>, _>>());
    let templates = listed.transpose().map_err(broken)?.unwrap_or_default();
    let note = smf.note_contents().map_err(broken)?;
    let rows = note.as_ref().map(|(text, at)| Row::all(&Note::parse(text, *at)?));
    let rows = rows.transpose().map_err(broken)?.unwrap_or_default();
    if args.json {
        let templates = templates.iter().map(|template| {
            let kind = template.kind.map(|kind| kind.name());
            json!({
                "name": name(template),
                "kind": kind,
                "params": template.kind.map(|_| template.params),
                "body_size": template.body.len(),
            })
        });
        let templates: Vec<_> = templates.collect();
        let rows: Vec<_> = rows.iter().map(Row::json).collect();
        return output::to_stdout(|out| {
            writeln!(out, "{}", json!({"templates": templates, "instances": rows}))
        });
    }
    output::to_stdout(|out| {
        for template in &templates {
            let kind = template.kind.map_or("template", |kind| kind.name());
            write!(out, "{kind} {}", one_line(&name(template)))?;
            if template.kind.is_some() {
                write!(out, ", {} type parameters", template.params)?;
            }
            writeln!(out, ", {} bytes", template.body.len())?;
        }
        for row in &rows {
            let Row { symbol, template, arguments, status } = row;
            let cells = [symbol, template, arguments, status];
            let [symbol, template, arguments, status] = cells.map(|text| one_line(text));
            writeln!(out, "{symbol}: {template} of {arguments}, {status}")?;
        }
        Ok(())
    })
}

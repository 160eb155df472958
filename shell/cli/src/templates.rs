//! `smf templates`: shows the templates of a module and their instances.

use std::io::Write;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::{Value, json};
use smf_core::format::FormatError;
use smf_core::format::note::{Instantiation, Note, Possible};
use smf_core::format::sdn::Cell;
use smf_core::format::template::Template;
use smf_loader::inspect::Parts;

use crate::output::{self, At, Failure, one_line};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The module
    file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// A possible or existing instance.
#[derive(Serialize)]
struct Row {
    mangled_name: String,
    template: String,
    type_args: String,
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
        let [mangled_name, template, type_args] = cells.map(|cell| cell.to_string());
        Self { mangled_name, template, type_args, status }
    }
}

fn template_json(template: &Template<'_>) -> Value {
    json!({
        "name": String::from_utf8_lossy(template.name),
        "kind": template.kind.map(|kind| kind.name()),
        "params": template.kind.map(|_| template.params),
        "body_size": template.body.len(),
    })
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let data = output::read(&args.file)?;
    let smf = output::module(&args.file, &data)?;
    let parts = Parts::of(&smf).at(&args.file)?;
    let templates = parts.templates().at(&args.file)?;
    let templates = templates.into_iter().flat_map(|templates| templates.iter());
    let templates = templates.collect::<Result<Vec<_>, _>>().at(&args.file)?;
    let note = parts.note().at(&args.file)?;
    let rows = note.map_or(Ok(Vec::new()), |note| Row::all(&note)).at(&args.file)?;
    output::to_stdout(|out| {
        if args.json {
            let templates: Vec<_> = templates.iter().map(template_json).collect();
            return writeln!(out, "{}", json!({"templates": templates, "instances": rows}));
        }
        for template in &templates {
            let kind = template.kind.map_or("template", |kind| kind.name());
            write!(out, "{kind} {}", one_line(&String::from_utf8_lossy(template.name)))?;
            if template.kind.is_some() {
                write!(out, ", {} type parameters", template.params)?;
            }
            writeln!(out, ", {} bytes", template.body.len())?;
        }
        for Row { mangled_name, template, type_args, status } in &rows {
            let line = format!("{mangled_name}: {template} of {type_args}, {status}");
            writeln!(out, "{}", one_line(&line))?;
        }
        Ok(())
    })
}

//! `smf templates`: shows the templates of a module and their instances, or the known facts about the types of one.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use serde_json::{Value, json};
use smf_core::format::FormatError;
use smf_core::format::note::{Instantiation, Note, Possible};
use smf_core::format::sdn::Cell;
use smf_core::format::template::Template;
use smf_core::memory::code_alloc::CodeMemory;
use smf_core::plural;
use smf_core::templates::{
    DeferredHints, JitConfig, JitInstantiator, ObjTaker, TakeError, TakerConfig, TypeConstraint,
    TypeVariable, UsageSite,
};
use smf_core::types::{Type, TypeList};
use smf_loader::inspect::Parts;

use crate::output::{self, At, Failure, one_line};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The module
    file: PathBuf,
    /// Show the known facts about the types of this template: its type parameters, constraints, uses and inferred types
    name: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// A possible or existing instance.
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

    fn json(&self) -> Value {
        let Self { mangled_name, template, type_args, status } = self;
        json!({"mangled_name": mangled_name, "template": template, "type_args": type_args, "status": status})
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
    if let Some(name) = &args.name {
        return describe(args, &data, name);
    }
    let parts = Parts::of(&smf).at(&args.file)?;
    let templates = parts.templates().at(&args.file)?;
    let templates = templates.into_iter().flat_map(|templates| templates.iter());
    let templates = templates.collect::<Result<Vec<_>, _>>().at(&args.file)?;
    let note = parts.note().at(&args.file)?;
    let rows = note.map_or(Ok(Vec::new()), |note| Row::all(&note)).at(&args.file)?;
    output::to_stdout(|out| {
        if args.json {
            let templates: Vec<_> = templates.iter().map(template_json).collect();
            let rows: Vec<_> = rows.iter().map(Row::json).collect();
            return writeln!(out, "{}", json!({"templates": templates, "instances": rows}));
        }
        for template in &templates {
            let kind = template.kind.map_or("template", |kind| kind.name());
            write!(out, "{kind} {}", output::printable(template.name))?;
            if template.kind.is_some() {
                let count = template.params;
                write!(out, ", {count} type parameter{}", plural::s(count))?;
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

/// Shows the known facts about the types of a template.
fn describe(args: &Args, data: &[u8], name: &str) -> Result<(), Failure> {
    let config = JitConfig { update_smf: false, ..JitConfig::default() };
    let jit = JitInstantiator::new(config, CodeMemory::default()).at(&args.file)?;
    jit.load_smf_bytes(args.file.as_os_str().as_bytes(), data).at(&args.file)?;
    let hints = ObjTaker::new(&jit, TakerConfig::default()).take_deferred(name).at(&args.file)?;
    let inferred = jit.infer_arguments(name, &[]);
    output::to_stdout(|out| {
        if args.json {
            return writeln!(out, "{}", hints_json(&hints, &inferred));
        }
        for TypeVariable { name, fallback, .. } in &hints.type_vars {
            let fallback = fallback.as_ref().map(|ty| format!(", by default {ty}"));
            let line = format!("type parameter {name}{}", fallback.unwrap_or_default());
            writeln!(out, "{}", one_line(&line))?;
        }
        for TypeConstraint { kind, lhs, rhs, source_loc } in &hints.constraints {
            let place = source_loc.as_ref().map(|place| format!(", at {place}"));
            let line = format!("{lhs} {kind} {rhs}{}", place.unwrap_or_default());
            writeln!(out, "{}", one_line(&line))?;
        }
        for UsageSite { location, context_type, .. } in &hints.usage_sites {
            writeln!(out, "{}", one_line(&format!("used at {location}: {context_type}")))?;
        }
        let line = match &inferred {
            Ok(types) => format!("inferred: {name}<{}>", TypeList(types)),
            Err(error) => error.to_string(),
        };
        writeln!(out, "{}", one_line(&line))
    })
}

fn hints_json(hints: &DeferredHints, inferred: &Result<Vec<Type>, TakeError>) -> Value {
    let variable = |of: &TypeVariable| {
        let fallback = of.fallback.as_ref().map(ToString::to_string);
        json!({"id": of.id, "name": of.name, "fallback": fallback})
    };
    let constraint = |of: &TypeConstraint| {
        let kind = of.kind.to_string();
        json!({"kind": kind, "lhs": of.lhs, "rhs": of.rhs, "source_loc": of.source_loc})
    };
    let site = |of: &UsageSite| json!({"file": of.file, "loc": of.location, "context_type": of.context_type});
    let types = inferred.as_ref().ok();
    let types: Option<Vec<String>> =
        types.map(|types| types.iter().map(ToString::to_string).collect());
    json!({
        "symbol": hints.symbol,
        "type_vars": hints.type_vars.iter().map(variable).collect::<Vec<_>>(),
        "constraints": hints.constraints.iter().map(constraint).collect::<Vec<_>>(),
        "usage_sites": hints.usage_sites.iter().map(site).collect::<Vec<_>>(),
        "inferred": types,
    })
}

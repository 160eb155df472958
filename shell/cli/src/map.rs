//! `smf map`: draws a module.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use smf_core::format::{File, Section, SectionKind, Smf};
use smf_loader::inspect;

use crate::nm::symbols;
use crate::output::{self, At, Failure};

/// Draws a module as a page for browsers, or as a picture
///
/// The page is one file that needs no network: sections to scale with their symbols, relocations between sections, pages
/// of code by layout phase, templates and instances, and a search.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The module
    file: PathBuf,
    /// The output
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// Write a picture (SVG) of the sections and their symbols instead of a page
    #[arg(long)]
    svg: bool,
}

/// The page; `@MODULE@` stands for the module as `smf inspect --json` shows it.
const PAGE: &str = include_str!("map.html");

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    output::check_distinct(&args.output, std::iter::once(&*args.file))?;
    check_extension(args)?;
    let data = output::read(&args.file)?;
    let smf = output::module_with_sections(&args.file, &data)?;
    let file = File::Module(smf);
    inspect::check(&file).at(&args.file)?;
    let text = match args.svg {
        true => picture(&args.file, &smf)?,
        false => page(&args.file, &file)?,
    };
    output::write(&args.output, text.as_bytes(), None)
}

/// Refuses a name that states the other form.
fn check_extension(args: &Args) -> Result<(), Failure> {
    let extension = args.output.extension().unwrap_or_default().to_ascii_lowercase();
    let why = match (args.svg, &*extension.to_string_lossy()) {
        (false, "svg") => "this would be a page of HTML; a picture needs --svg",
        (true, "html" | "htm") => "this would be a picture; a page needs no --svg",
        _ => return Ok(()),
    };
    Err(Failure::usage_of(&args.output, why))
}

fn page(path: &Path, file: &File<'_>) -> Result<String, Failure> {
    let mut json = Vec::new();
    inspect::write_json(file, &path.to_string_lossy(), &mut json).at(path)?;
    let json = String::from_utf8_lossy(&json);
    // Inside of a script element `<` may begin its end.
    Ok(PAGE.replacen("@MODULE@", &json.replace('<', "\\u003c"), 1))
}

/// The width of a picture and of its bars, and the height of a row, in units of SVG.
const WIDTH: f64 = 1100.0;
const LEFT: f64 = 210.0;
const BARS: f64 = WIDTH - LEFT - 16.0;
const ROW: f64 = 30.0;

fn picture(path: &Path, smf: &Smf<'_>) -> Result<String, Failure> {
    let (linked, symbols) = symbols(smf).at(path)?;
    let is_any = |section: &Section<'_>| section.kind != SectionKind::Unknown(0);
    let sections: Vec<_> = linked.sections().iter().filter(is_any).collect();
    let longest = sections.iter().map(|section| section.memory_size()).max().unwrap_or(0).max(1);
    let scale = BARS / longest as f64;
    let height = sections.len() as f64 * ROW + 16.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    for (row, section) in sections.iter().enumerate() {
        let (y, size) = (row as f64 * ROW + 12.0, section.memory_size());
        let (name, colour) = (escaped(section.name), colour(section.kind));
        let width = (size as f64 * scale).max(1.0);
        let _ = writeln!(
            svg,
            "<text x=\"8\" y=\"{}\">{name} ({size} bytes)</text>\n\
             <rect x=\"{LEFT}\" y=\"{y}\" width=\"{width:.2}\" height=\"{}\" fill=\"{colour}\" opacity=\"0.35\"/>",
            y + 13.0,
            ROW - 12.0
        );
    }
    for symbol in symbols {
        let row = sections.iter().position(|section| Some(section.index) == symbol.section);
        let Some(row) = row.filter(|_| symbol.defined && symbol.size > 0) else { continue };
        let kind = sections.get(row).map_or(SectionKind::Unknown(0), |section| section.kind);
        let x = LEFT + symbol.value as f64 * scale;
        let width = (symbol.size as f64 * scale).max(0.4);
        let _ = writeln!(
            svg,
            "<rect x=\"{x:.2}\" y=\"{}\" width=\"{width:.2}\" height=\"{}\" fill=\"{}\" stroke=\"#ffffff\" \
             stroke-width=\"0.4\"><title>{}: {} bytes</title></rect>",
            row as f64 * ROW + 12.0,
            ROW - 12.0,
            colour(kind),
            escaped(symbol.name()),
            symbol.size
        );
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}

fn colour(kind: SectionKind) -> &'static str {
    match kind {
        SectionKind::Code => "#4878a8",
        SectionKind::Data => "#c0803c",
        SectionKind::RoData => "#5d9457",
        SectionKind::Bss => "#9a9a9a",
        _ => "#8a6fae",
    }
}

/// A name as text of XML.
fn escaped(name: &[u8]) -> String {
    let mut text = String::new();
    for c in String::from_utf8_lossy(name).chars() {
        match c {
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '&' => text.push_str("&amp;"),
            _ if c.is_control() => text.extend(c.escape_default()),
            _ => text.push(c),
        }
    }
    text
}

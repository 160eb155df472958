//! `smf help`: commands and chapters of the guide.

use clap::CommandFactory;
use smf_loader::guide::CHAPTERS;

use crate::args::Cli;
use crate::output::{self, Failure};

/// Shows the help of a command, or a chapter of the guide
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A command, or a topic: command, simple, exec, ir, rust, c, bytecode, templates, reload, formats, security, performance, tools, porting
    topics: Vec<String>,
}

/// The lines of a chapter, without those that only its tests need.
fn shown(chapter: &str) -> impl Iterator<Item = &str> {
    let mut is_rust = false;
    chapter.lines().filter(move |line| {
        is_rust = line.starts_with("```rust") || is_rust && !line.starts_with("```");
        !(is_rust && line.starts_with("# "))
    })
}

/// The width of paragraphs, as of the help of commands.
const WIDTH: usize = 100;

/// A chapter with its paragraphs and list items wrapped. Code, tables and headings stay as they are.
fn wrapped(chapter: &str) -> String {
    let mut text = String::with_capacity(chapter.len());
    let (mut column, mut indent, mut is_code) = (0, "", false);
    for line in shown(chapter) {
        let is_fence = line.starts_with("```");
        is_code ^= is_fence;
        let is_item = line.starts_with("* ");
        let is_fixed = is_code || is_fence || line.is_empty() || line.starts_with(['|', '#']);
        if (is_fixed || is_item) && column != 0 {
            text.push('\n');
            column = 0;
        }
        if is_fixed {
            text.push_str(line);
            text.push('\n');
            continue;
        }
        if column == 0 {
            indent = if is_item { "  " } else { "" };
        }
        for word in line.split_whitespace() {
            let len = word.chars().count();
            if column + 1 + len > WIDTH {
                text.push('\n');
                text.push_str(indent);
                column = indent.len();
            } else if column != 0 {
                text.push(' ');
                column += 1;
            }
            text.push_str(word);
            column += len;
        }
    }
    if column != 0 {
        text.push('\n');
    }
    text
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let topic = match &*args.topics {
        [topic] => CHAPTERS.iter().find(|(name, _)| name == topic),
        _ => None,
    };
    let mut command = Some(Cli::command());
    if let Some(command) = &mut command {
        // The names of the parents become part of the usage line.
        command.build();
    }
    for name in &args.topics {
        command = command.and_then(|command| command.find_subcommand(name).cloned());
    }
    if command.is_none() && topic.is_none() {
        let topics: Vec<&str> = CHAPTERS.iter().map(|(name, _)| *name).collect();
        let (name, topics) = (args.topics.join(" "), topics.join(", "));
        let why = format!("no command and no topic `{name}`; topics are {topics}");
        return Err(Failure::Usage(why));
    }
    let mut shown = command.map_or(String::new(), |mut c| format!("{}\n", c.render_long_help()));
    shown += &topic.map_or(String::new(), |(_, text)| wrapped(text));
    output::put(shown.as_bytes())
}

//! The README and the guide: every command prints the documented output.

use std::fs;
use std::path::Path;

use std::process::Command;

use super::{contains, fails, ok, scratch, smf, text};

const README: &str = include_str!("../../../../README.md");

/// A chapter of the guide.
pub(crate) fn chapter(topic: &str) -> &'static str {
    let chapters = smf_loader::guide::CHAPTERS;
    chapters.iter().find(|(name, _)| *name == topic).unwrap().1
}

/// Splits a shell command into words; quoted text is one word.
fn words(command: &str) -> Vec<String> {
    command
        .split('\'')
        .enumerate()
        .flat_map(|(number, part)| match number % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect(),
            _ => vec![part.to_owned()],
        })
        .collect()
}

/// Runs a command of the README on files in `directory`; returns its output.
fn run(command: &str, directory: &Path) -> String {
    let words = words(command);
    let words = words.iter().map(|word| match word.rsplit_once('/').map_or(&**word, |(_, n)| n) {
        name if [".smf", ".sbc", ".sbt"].iter().any(|end| name.ends_with(end)) => {
            directory.join(name).to_str().unwrap().to_owned()
        }
        _ => word.clone(),
    });
    let words: Vec<String> = words.collect();
    assert_eq!(words[0], "smf");
    let output = smf(&words[1..].iter().map(String::as_str).collect::<Vec<_>>());
    let place = format!("{}/", directory.to_str().unwrap());
    (text(&output.stdout) + &text(&output.stderr)).replace(&place, "")
}

/// The lines of the code blocks in a chapter.
fn code_lines(chapter: &str) -> Vec<&str> {
    let mut is_code = false;
    let mut lines = Vec::new();
    for line in chapter.lines() {
        if line.starts_with("```") {
            is_code = !is_code;
        } else if is_code {
            lines.push(line);
        }
    }
    lines
}

/// Runs the commands of a chapter, which starts with the text of the file `source`; returns their number.
pub(crate) fn tour(topic: &str, source: &str, directory: &Path) -> usize {
    let lines = code_lines(chapter(topic));
    let first = lines.iter().position(|line| line.starts_with("$ ")).unwrap();
    fs::write(directory.join(source), lines[..first].join("\n")).unwrap();
    let commands = lines[first..].split(|line| line.starts_with("$ ")).skip(1);
    let names = lines[first..].iter().filter_map(|line| line.strip_prefix("$ "));
    let mut count = 0;
    for (command, expected) in names.zip(commands) {
        let printed = run(command, directory);
        assert_eq!(printed.lines().collect::<Vec<_>>(), expected, "{command}");
        count += 1;
    }
    count
}

#[test]
fn readme_tour_of_bytecode_prints_as_documented() {
    assert_eq!(tour("bytecode", "sum.sbc", &scratch("tour-bytecode")), 4);
}

/// Writes the files of a text, and runs its commands in `directory`; returns the numbers of both. A file begins with a
/// line that names it, `# NAME.spl`, and ends at the next command or blank block.
fn run_simple(blocks: &[Vec<&str>], directory: &Path) -> (usize, usize) {
    let (mut files, mut commands) = (0, 0);
    for block in blocks {
        let name = block.first().and_then(|line| line.strip_prefix("# "));
        if let Some(name) = name.filter(|name| name.ends_with(".spl")) {
            fs::write(directory.join(name), block.join("\n") + "\n").unwrap();
            files += 1;
            continue;
        }
        let mut lines = block.iter().peekable();
        while let Some(line) = lines.next() {
            let mut command =
                line.strip_prefix("$ smf ").unwrap_or_else(|| panic!("{line}")).to_owned();
            while let Some(more) = lines.peek().and_then(|line| line.strip_prefix("> ")) {
                command = format!("{command}\n{more}");
                lines.next();
            }
            let mut expected = String::new();
            while let Some(line) = lines.next_if(|line| !line.starts_with("$ ")) {
                expected += &format!("{line}\n");
            }
            let mut smf = Command::new(env!("CARGO_BIN_EXE_smf"));
            let output = smf.args(words(&command)).current_dir(directory).output().unwrap();
            assert_eq!(text(&output.stdout) + &text(&output.stderr), expected, "{command}");
            commands += 1;
        }
    }
    (files, commands)
}

#[cfg(target_arch = "x86_64")]
#[test]
fn guide_of_simple_prints_as_documented() {
    let mut blocks: Vec<Vec<&str>> = Vec::new();
    let mut is_code = false;
    for line in chapter("simple").lines() {
        if line.starts_with("```") {
            is_code = !is_code;
            if is_code {
                blocks.push(Vec::new());
            }
        } else if is_code {
            blocks.last_mut().unwrap().push(line);
        }
    }
    assert_eq!(run_simple(&blocks, &scratch("guide-simple")), (3, 12));
}

#[cfg(target_arch = "x86_64")]
#[test]
fn readme_tour_of_simple_prints_as_documented() {
    let (_, tour) = README.split_once("\n## Simple\n").unwrap();
    let (tour, _) = tour.split_once("\n## ").unwrap();
    let mut blocks: Vec<Vec<&str>> = vec![Vec::new()];
    for line in tour.lines() {
        match line.strip_prefix("    ") {
            Some(code) => blocks.last_mut().unwrap().push(code),
            None if line.is_empty()
                && blocks.last().unwrap().len() > 1
                && !blocks.last().unwrap()[0].starts_with("$ ") =>
            {
                blocks.last_mut().unwrap().push("");
            }
            None => blocks.push(Vec::new()),
        }
    }
    blocks.retain(|block| !block.is_empty());
    assert_eq!(run_simple(&blocks, &scratch("tour-simple")), (1, 6));
}

#[test]
fn readme_tour_of_the_command_prints_as_documented() {
    let directory = scratch("tour-command");
    let (_, tour) = README.split_once("\n## Command line\n").unwrap();
    let (tour, _) = tour.split_once("\n## ").unwrap();
    let lines: Vec<&str> = tour.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    let first = lines.iter().position(|line| line.starts_with("$ ")).unwrap();
    fs::write(directory.join("greet.c"), lines[..first].join("\n")).unwrap();
    let mut gcc = Command::new("gcc");
    assert!(gcc.args(["-O2", "-c", "greet.c"]).current_dir(&directory).status().unwrap().success());
    let mut count = 0;
    for (number, line) in lines.iter().enumerate().skip(first) {
        let Some(command) = line.strip_prefix("$ smf ") else { continue };
        let mut smf = Command::new(env!("CARGO_BIN_EXE_smf"));
        let output = smf.args(words(command)).current_dir(&directory).output().unwrap();
        let printed = text(&output.stdout) + &text(&output.stderr);
        let expected = lines[number + 1..].iter().take_while(|line| !line.starts_with("$ "));
        let expected: String = expected.map(|line| format!("{line}\n")).collect();
        assert_eq!(printed, expected, "{command}");
        count += 1;
    }
    assert_eq!(count, 5);
}

/// `cargo test` runs the code of the chapter.
#[test]
fn readme_tour_of_rust_is_in_the_chapter() {
    let (_, tour) = README.split_once("\n## Rust\n").unwrap();
    let (tour, _) = tour.split_once("\n## ").unwrap();
    let lines: Vec<&str> = tour.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    assert_eq!(lines.len(), 8);
    let code: Vec<&str> =
        code_lines(chapter("rust")).into_iter().filter(|line| !line.is_empty()).collect();
    assert!(code.windows(lines.len()).any(|part| part == lines), "{lines:?}");
}

#[test]
fn readme_is_short() {
    let lines = README.lines().count();
    assert!((120..=160).contains(&lines), "{lines} lines");
}

#[test]
fn help_prints_commands_and_chapters() {
    for (topic, text) in smf_loader::guide::CHAPTERS {
        let shown = ok(&["help", topic]);
        // Lines that the doc tests need are not shown. `templates` is a command as well, whose help comes first.
        let mut is_rust = false;
        let mut is_hidden = |line: &str| {
            is_rust = line.starts_with("```rust") || is_rust && !line.starts_with("```");
            is_rust && line.starts_with("# ")
        };
        let expected: Vec<&str> = text.lines().filter(|line| !is_hidden(line)).collect();
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines.ends_with(&expected), "{shown}");
    }
    contains(&ok(&["help"]), &["Usage: smf", "run", "pack", "help"]);
    contains(&ok(&["help", "run"]), &["Usage: smf run", "--host-symbols"]);
    contains(&ok(&["help", "lib", "create"]), &["Usage: smf lib create"]);
    contains(&fails(&["help", "nothing"]), &["`nothing`", "reload, formats"]);
}

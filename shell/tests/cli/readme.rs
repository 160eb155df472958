//! The tours of the README: every command prints the documented output.

use std::fs;
use std::path::Path;

use super::{scratch, smf, text};

const README: &str = include_str!("../../../README.md");

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

/// Runs the commands of a section, which starts with the text of the file `source`; returns their number.
pub(crate) fn tour(heading: &str, source: &str, directory: &Path) -> usize {
    let (_, tour) = README.split_once(heading).unwrap();
    let ends = ["\n### ", "\nThe other commands are"].map(|end| tour.find(end));
    let end = ends.into_iter().flatten().min().unwrap();
    let blocks = tour[..end].split("\n\n").filter(|block| block.starts_with("    "));
    let lines: Vec<&str> =
        blocks.flat_map(str::lines).map(|line| line.strip_prefix("    ").unwrap()).collect();
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
    assert_eq!(tour("### Bytecode\n", "sum.sbc", &scratch("tour-bytecode")), 4);
}

//! The README and the topics of `smf help`. `tests/newcomer` follows the texts themselves.

use super::{contains, is_misused, ok};

const README: &str = include_str!("../../../../README.md");

#[test]
fn readme_is_short() {
    let lines = README.lines().count();
    assert!((120..=160).contains(&lines), "{lines} lines");
}

/// In the order of the chapters, so that none is missing.
#[test]
fn readme_names_the_topics_of_help() {
    let (_, list) = README.split_once("and the module `guide`: ").unwrap();
    let (list, _) = list.split_once('.').unwrap();
    let topics: Vec<&str> = list.split(',').map(str::trim).collect();
    let chapters: Vec<&str> = smf_loader::guide::CHAPTERS.iter().map(|(name, _)| *name).collect();
    assert_eq!(topics, chapters);
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
        let expected = text.lines().filter(|line| !is_hidden(line)).flat_map(str::split_whitespace);
        let expected: Vec<&str> = expected.collect();
        let words: Vec<&str> = shown.split_whitespace().collect();
        assert!(words.ends_with(&expected), "{shown}");
        let mut is_code = false;
        let mut is_paragraph = |line: &str| {
            is_code ^= line.starts_with("```");
            !is_code && !line.starts_with(['|', '#'])
        };
        let long = shown.lines().find(|line| is_paragraph(line) && line.chars().count() > 100);
        assert_eq!(long, None, "{topic}");
    }
    contains(&ok(&["help"]), &["Usage: smf", "run", "pack", "help"]);
    contains(&ok(&["help", "run"]), &["Usage: smf run", "--host-symbols"]);
    contains(&ok(&["help", "lib", "create"]), &["Usage: smf lib create"]);
    contains(&is_misused(&["help", "nothing"]), &["`nothing`", "reload, formats"]);
}

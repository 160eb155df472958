//! Figures of the structure of the code: `cargo xtask figures [DIRECTORY]`.

use std::path::Path;

use super::imports::{self, is_test_file};
use super::source::Source;
use crate::error::Error;

/// The packages that are counted.
const PACKAGES: [&str; 2] = ["core/src", "shell/src"];

/// The lines of a function from its head to its closing brace that fit on a screen.
const MAX_FUNCTION_LINES: usize = 60;

/// A source file: its path below the repository, and its text.
pub(super) type File = (String, String);

/// The figures of all files.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    code_lines: usize,
    inline_always: usize,
    unsafe_files: usize,
    long_functions: Vec<String>,
}

/// Prints the figures of the repository at `root`.
pub(crate) fn print(root: &Path) -> Result<(), Error> {
    let files = super::rust_files(root)?;
    for package in PACKAGES {
        let imports = imports::imports(&below(&files, package));
        let cycles = imports::cycles(&imports);
        println!("{package}: {} file cycles", cycles.len());
        if package.starts_with("core") {
            println!("{package}: {} upward imports", imports::upward(&imports).len());
        }
    }
    let counts = count(&files);
    println!("core: {} files that allow unsafe code", counts.unsafe_files);
    println!("core: {} inline(always)", counts.inline_always);
    println!("core and shell: {} lines of code", counts.code_lines);
    let long = counts.long_functions.len();
    println!("core and shell: {long} functions over {MAX_FUNCTION_LINES} lines");
    counts.long_functions.iter().for_each(|function| println!("    {function}"));
    Ok(())
}

/// The functions with too many lines.
pub(super) fn long_functions_of(files: &[File]) -> Vec<String> {
    let message = |found| format!("{found}, of at most {MAX_FUNCTION_LINES}");
    count(files).long_functions.into_iter().map(message).collect()
}

/// The files below a directory, with their paths from there.
pub(super) fn below(files: &[File], directory: &str) -> Vec<File> {
    let in_directory = files.iter().filter_map(|(name, text)| {
        let path = name.strip_prefix(directory)?.strip_prefix('/')?;
        Some((path.to_owned(), text.clone()))
    });
    in_directory.collect()
}

fn count(files: &[File]) -> Counts {
    let mut counts = Counts::default();
    for (name, text) in files {
        let Some(package) = PACKAGES.iter().find(|package| name.starts_with(**package)) else {
            continue;
        };
        if name.starts_with("core") && !name.contains("tests/") {
            let allows = format!("#![{}]", super::ALLOW_UNSAFE.concat());
            counts.unsafe_files += usize::from(text.lines().any(|line| line == allows));
        }
        if is_test_file(name.get(package.len() + 1..).unwrap_or_default()) {
            continue;
        }
        let source = Source::new(text);
        counts.code_lines += source.lines.len();
        if name.starts_with("core") {
            counts.inline_always += source.inline_always;
        }
        let long = source.functions.iter().filter(|(_, _, lines)| *lines > MAX_FUNCTION_LINES);
        let long = long.map(|(f, line, lines)| format!("{name}: {f}, line {line}: {lines} lines"));
        counts.long_functions.extend(long);
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_lines_leave_out_comments_blank_lines_and_tests() {
        let text = "//! A.\n\n/// B.\nfn f() {\n    g(); // C\n}\n#[cfg(test)]\nmod tests {\n}\n";
        let files = [
            ("core/src/a.rs".to_owned(), text.to_owned()),
            ("core/src/a/tests.rs".to_owned(), text.to_owned()),
            ("tests/src/a.rs".to_owned(), text.to_owned()),
        ];
        assert_eq!(count(&files), Counts { code_lines: 3, ..Counts::default() });
    }

    #[test]
    fn function_over_the_limit_is_named_with_its_length() {
        let code =
            format!("fn short() {{\n}}\nfn long(a: [u8; 2]) {{\n{}}}\n", "    g();\n".repeat(60));
        let counts = count(&[("core/src/a.rs".to_owned(), code)]);
        assert_eq!(counts.long_functions, ["core/src/a.rs: long, line 3: 62 lines"]);
    }
}

//! The list of functions in `shell/capi/load_order.ld`: writes it, and checks that it names functions that exist, because the
//! linker ignores the other names.

mod record;

use std::collections::BTreeSet;
use std::path::Path;

use crate::error::{At, Error};
use crate::shell::command;

pub(crate) use record::run;

/// The features of the libraries for which the list is made: the smallest, and what `cargo xtask install` builds by default. The
/// compiler inlines other functions with each.
pub(crate) const FEATURES: [&str; 2] = ["gdb", "gdb,exec"];

/// What a name follows in the script. The section of a function is `.text.NAME`, or `.text.unlikely.NAME` of a cold one.
const PREFIX: &str = "*(.text*.";

/// Prints a warning if half of the names in the script or more are of no function in `archive`.
pub(crate) fn check(archive: &Path, script: &Path) -> Result<(), Error> {
    let text = std::fs::read_to_string(script);
    let text = text.at(script)?;
    let names = command("nm --defined-only --quiet").args([archive]).output()?;
    let functions = functions(&names);
    let all: Vec<&str> = patterns(&text).collect();
    let missing = all.iter().filter(|pattern| !functions.iter().any(|f| matches(pattern, f)));
    let missing: Vec<_> = missing.copied().collect();
    if missing.len() * 2 >= all.len() {
        eprintln!(
            "warning: {}: {} of {} names are of no function, so that first loads take more page faults; run `cargo xtask \
             load-order`. The first missing: {}",
            script.display(),
            missing.len(),
            all.len(),
            missing.first().unwrap_or(&"none"),
        );
    }
    Ok(())
}

/// The names in a script, with `*` for any text.
fn patterns(script: &str) -> impl Iterator<Item = &str> {
    script.lines().filter_map(|line| line.trim().strip_prefix(PREFIX)?.strip_suffix(')'))
}

/// The functions in the output of `nm`.
fn functions(names: &str) -> BTreeSet<&str> {
    let function = |line| {
        let (rest, name) = str::rsplit_once(line, ' ')?;
        rest.ends_with(['t', 'T', 'w', 'W']).then_some(name)
    };
    names.lines().filter_map(function).collect()
}

/// Whether `pattern`, with `*` for any text, is `name`.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, mut rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(first) else { return false };
    while let Some((part, behind)) = rest.split_once('*') {
        let Some((_, after)) = name.split_once(part) else { return false };
        (name, rest) = (after, behind);
    }
    name.ends_with(rest)
}

/// The name with `*` for the hashes that each build changes: `17h0123456789abcdefE` at the end of a legacy name, `Cs0aB1_` in
/// other names, and `.llvm.123` after either.
fn without_hashes(name: &str) -> String {
    let (name, mut short) = match name.split_once(".llvm.") {
        Some((name, _)) => (name, true),
        None => (name, false),
    };
    let is_hash = |hash: &str| hash.len() == 17 && hash.ends_with('E');
    let name = match name.rsplit_once("17h").filter(|(_, hash)| is_hash(hash)) {
        Some((name, _)) => {
            short = true;
            format!("{name}17h")
        }
        None => without_disambiguators(name),
    };
    if short { format!("{name}*") } else { name }
}

/// Replaces the disambiguators of crates, `Cs0aB1_` before the length of a name, by `Cs*_`.
fn without_disambiguators(name: &str) -> String {
    let mut parts = name.split("Cs");
    let mut short = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let is_number = |rest: &str| rest.starts_with(|first: char| first.is_ascii_digit());
        let rest = part.split_once('_').filter(|(hash, rest)| {
            is_number(rest) && hash.chars().all(|letter| letter.is_ascii_alphanumeric())
        });
        short.push_str("Cs");
        match rest {
            Some((_, rest)) => short.extend(["*_", rest]),
            None => short.push_str(part),
        }
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn star_is_any_text() {
        assert!(matches("f17h*", "f17h0123E"));
        assert!(matches("_RNvCs*_7rust*Cs*_5gimli", "_RNvCsabc_7rust4growCsd_5gimli"));
        assert!(matches("smf_loader_open", "smf_loader_open"));
        assert!(!matches("smf_loader_open", "smf_loader_open_at"));
        assert!(!matches("f17h*", "of17h0123E"));
        assert!(!matches("_RNvCs*_5gimli", "_RNvCsd_5gimli4grow"));
    }

    #[test]
    fn name_without_hashes_is_a_pattern_of_it() {
        let cases = [
            ("_ZN9smf_core4load17h0123456789abcdefE", "_ZN9smf_core4load17h*"),
            ("_ZN9smf_core4load17h0123456789abcdefE.llvm.42", "_ZN9smf_core4load17h*"),
            ("_RNvCslNYA_7rust4growCsduw_5gimli", "_RNvCs*_7rust4growCs*_5gimli"),
            ("_RNvCslNYA_7rust4grow.llvm.7", "_RNvCs*_7rust4grow*"),
            ("smf_loader_open", "smf_loader_open"),
            ("openCsX_y", "openCsX_y"),
        ];
        for (name, pattern) in cases {
            assert_eq!(without_hashes(name), pattern);
            assert!(matches(pattern, name), "{name}");
        }
    }

    #[test]
    fn names_are_those_of_functions() {
        let names = "0000000000000000 t f17h01E\n                 U memcpy\n0 D table\n0 T open\n";
        assert_eq!(functions(names), BTreeSet::from(["f17h01E", "open"]));
        let script = ".text.load :\n {\n   *(.text*.f17h*)\n  *(.text*.open)\n }\n *(.bss.x)";
        assert_eq!(patterns(script).collect::<Vec<_>>(), ["f17h*", "open"]);
    }
}

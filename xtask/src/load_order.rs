//! Checks that `shell/capi/load_order.ld` names functions that exist: the linker ignores the other names.

use std::collections::BTreeSet;
use std::path::Path;

use crate::error::Error;
use crate::shell::command;

/// Prints a warning if half of the names in the script or more are of no function in `archive`.
pub(crate) fn check(archive: &Path, script: &Path) -> Result<(), Error> {
    let text = std::fs::read_to_string(script);
    let text = text.map_err(|error| Error::File(script.to_owned(), error))?;
    let names = command("nm --defined-only --quiet").args([archive]).output()?;
    let functions = functions(&names);
    let all: Vec<&str> = patterns(&text).collect();
    let missing = all.iter().filter(|pattern| !functions.iter().any(|f| matches(pattern, f)));
    let missing: Vec<_> = missing.copied().collect();
    if missing.len() * 2 >= all.len() {
        eprintln!(
            "warning: {}: {} of {} names are of no function, so that first loads take more page faults; list the functions \
             again, as the file says. The first missing: {}",
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
    script.lines().filter_map(|line| line.trim().strip_prefix("*(.text.")?.strip_suffix(')'))
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
    fn names_are_those_of_functions() {
        let names = "0000000000000000 t f17h01E\n                 U memcpy\n0 D table\n0 T open\n";
        assert_eq!(functions(names), BTreeSet::from(["f17h01E", "open"]));
        let script = ".text.load :\n {\n   *(.text.f17h*)\n  *(.text.open)\n }\n *(.bss.x)";
        assert_eq!(patterns(script).collect::<Vec<_>>(), ["f17h*", "open"]);
    }
}

//! What loading a module runs, side by side in the shared library.
//!
//! The kernel brings in the neighbours of each page that is touched, 64 KiB at a time, so that functions
//! which are strewn over the library make all of it resident. A program that loads a module is run one
//! instruction at a time; the functions that it was in make up `load.ld`, which the linker is given. The
//! names there are without what the compiler puts in anew each time; a function that is renamed,
//! or that the compiler no longer copies into its callers, is none of them until the list is made again,
//! which the sizes say: they count what is run from elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::Program;
use crate::error::Error;
use crate::shell::{command, root, target};

/// The list, as the linker is given it.
const LIST: &str = "shell/capi/load.ld";

const HEAD: &str = "\
/* What loading a module runs, side by side: `cargo xtask footprint --order` writes this file. A name that
 * nothing has is no error, it only leaves its function where it was. */
SECTIONS
{
    .plt : { *(.plt) }
    .text.load :
    {
        /* What begins and ends every library. */
        *crt*.o(.text)
";

const FOOT: &str = "    }\n}\nINSERT BEFORE .text;\n";

/// The functions of a library by their addresses; several names may be one function.
struct Functions(BTreeMap<u64, BTreeSet<String>>);

impl Functions {
    fn of(library: &Path) -> Result<Self, Error> {
        let table = command("nm --defined-only").args([library]).output()?;
        let mut all: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
        for line in table.lines() {
            let mut words = line.split_whitespace();
            if let (Some(at), Some("t" | "T"), Some(name)) =
                (words.next(), words.next(), words.next())
                && let Ok(at) = u64::from_str_radix(at, 16)
            {
                all.entry(at).or_default().insert(name.to_owned());
            }
        }
        Ok(Functions(all))
    }

    /// Those that the program is in while it runs.
    fn run_by(&self, program: &Program) -> Result<BTreeMap<u64, &BTreeSet<String>>, Error> {
        let mut found = BTreeMap::new();
        for at in places(program)? {
            found.extend(self.0.range(..=at).next_back().map(|(start, names)| (*start, names)));
        }
        Ok(found)
    }

    /// How the linker finds these functions and no others: by the whole name where others, made of the same
    /// generic one, are told apart by its hash alone.
    fn patterns_of(&self, some: &BTreeMap<u64, &BTreeSet<String>>) -> BTreeSet<String> {
        let others = self.0.iter().filter(|(at, _)| !some.contains_key(at));
        let others: BTreeSet<String> =
            others.flat_map(|(_, names)| names).map(|name| pattern(name)).collect();
        let exact = |name: &String| {
            let pattern = pattern(name);
            if others.contains(&pattern) { name.clone() } else { pattern }
        };
        some.values().flat_map(|names| names.iter()).map(exact).collect()
    }
}

/// Where in the library the program is while it runs.
fn places(program: &Program) -> Result<Vec<u64>, Error> {
    let tool = target().join("steps");
    command("gcc -O2 xtask/src/footprint/steps.c -o").args([&tool]).run()?;
    let library = fs::canonicalize(program.library())
        .map_err(|error| Error::File(program.library(), error))?;
    let said = command(&tool.display().to_string())
        .args([library.as_path(), program.path.as_path()])
        .args([program.module()])
        .output()?;
    Ok(said.lines().filter_map(|line| u64::from_str_radix(line, 16).ok()).collect())
}

/// How many functions that the program runs are not beside the others.
pub(super) fn strewn(program: &Program) -> Result<usize, Error> {
    let functions = Functions::of(&program.library())?;
    let [start, size] = section(&program.library(), ".text.load")?;
    let found = functions.run_by(program)?;
    Ok(found.keys().filter(|&&at| at < start || at >= start + size).count())
}

/// Lists what the program runs, for the linker.
pub(super) fn write(program: &Program) -> Result<(), Error> {
    let functions = Functions::of(&program.library())?;
    let found = functions.run_by(program)?;
    let patterns = functions.patterns_of(&found);
    let lines =
        patterns.iter().map(|name| format!("        *(.text.{name} .text.unlikely.{name})\n"));
    let text = format!("{HEAD}{}{FOOT}", lines.collect::<String>());
    let path = root().join(LIST);
    println!("{} functions in {LIST}", found.len());
    fs::write(&path, text).map_err(|error| Error::File(path, error))
}

/// What a function is called in every build: `*` stands for a hash of it (`17h` and sixteen digits), for
/// one of a crate (`Cs`, digits and letters, `_`), and for the number of a copy that the optimiser made.
fn pattern(name: &str) -> String {
    let name = name.split_once(".llvm.").map_or(name, |(name, _)| name);
    if let Some((stem, _)) = name.rsplit_once("17h").filter(|_| name.starts_with("_ZN")) {
        return format!("{stem}17h*");
    }
    if !name.starts_with("_R") {
        return name.to_owned();
    }
    let mut pattern = String::new();
    let mut rest = name;
    while let Some((before, hash)) = rest.split_once("Cs")
        && let Some((hash, after)) = hash.split_once('_')
    {
        let is_hash = hash.bytes().all(|byte| byte.is_ascii_alphanumeric());
        pattern += before;
        pattern += if is_hash { "Cs*_" } else { "Cs" };
        rest = if is_hash { after } else { &rest[before.len() + 2..] };
    }
    pattern + rest
}

/// The address and the size of a section.
fn section(library: &Path, name: &'static str) -> Result<[u64; 2], Error> {
    let table = command("size -A -d").args([library]).output()?;
    let line = table.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let mut numbers = line.into_iter().flat_map(str::split_whitespace).map(str::parse::<u64>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(size)), Some(Ok(address))) => Ok([address, size]),
        _ => Err(Error::Missing(name, PathBuf::from(library))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_have_no_hashes() {
        let cases = [
            ("smf_loader_open", "smf_loader_open"),
            ("_ZN4spin4once4call17h0123456789abcdefE", "_ZN4spin4once4call17h*"),
            ("_ZN4spin4once4call17h0123456789abcdefE.llvm.77", "_ZN4spin4once4call17h*"),
            ("_RNvCsfLfy6EI15iL_7___rustc12___rust_alloc", "_RNvCs*_7___rustc12___rust_alloc"),
            ("_RINvNtCsa1_4core3ptrNtCsb2_3std4BombE", "_RINvNtCs*_4core3ptrNtCs*_3std4BombE"),
        ];
        for (name, expected) in cases {
            assert_eq!(pattern(name), expected);
        }
    }
}

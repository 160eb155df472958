//! Which modules a file imports.
//!
//! A module has its path below the directory of the program as its name, with dots. A path behind `use` is that of a module
//! there, or below the directory of the file; or it is that of an item of such a module.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::diagnostic::{Diagnostics, File, formatted};
use super::names::{Name, Names};
use super::parser;
use super::syntax::UseItems;
use crate::alloc_util::{AllocError, try_push};

/// A module that an import may mean.
pub(super) struct Candidate {
    pub(super) module: String,
    /// Whether the last name of the path is that of an item of the module.
    pub(super) names_item: bool,
}

/// The modules that an import of the file of `module` may mean: the first one that exists is it.
pub(super) fn candidates(
    module: &str,
    names: &Names<'_>,
    path: &[u32],
    items: UseItems,
) -> Result<Vec<Candidate>, AllocError> {
    let mut candidates = Vec::new();
    let own = module.rsplit_once('.').map(|(directory, _)| directory);
    let parent = match (items, path) {
        (UseItems::Module(_), [parent @ .., _]) => parent,
        _ => &[],
    };
    for (path, names_item) in [(path, false), (parent, true)] {
        if path.is_empty() {
            continue;
        }
        let path = joined(names, path, ".");
        let module = formatted(format_args!("{path}"))?;
        try_push(&mut candidates, Candidate { module, names_item })?;
        if let Some(directory) = own {
            let module = formatted(format_args!("{directory}.{path}"))?;
            try_push(&mut candidates, Candidate { module, names_item })?;
        }
    }
    Ok(candidates)
}

/// The names of a path with a separator between them.
pub(super) fn joined<'n>(
    names: &'n Names<'_>,
    path: &'n [u32],
    separator: &'n str,
) -> impl fmt::Display + use<'n> {
    fmt::from_fn(move |f| {
        for (index, &part) in path.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { separator })?;
            f.write_str(names.text(Name(part)))?;
        }
        Ok(())
    })
}

/// The modules that the file of `module` asks for by `use`: for each, the names that it may have, of which the first one
/// with a file is the module. `a.b` is the name of the file `a/b.spl` below the directory of the program.
///
/// ```
/// # fn main() -> Result<(), smf_core::AllocError> {
/// let found = smf_core::source::imports("geometry.shapes", "use units.{metre}\n")?;
/// assert_eq!(found, [["units", "geometry.units"]]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// No memory. What does not parse has no imports.
pub fn imports(module: &str, text: &str) -> Result<Vec<Vec<String>>, AllocError> {
    // Most files have none, and need not be read twice.
    if !text.lines().any(may_import) {
        return Ok(Vec::new());
    }
    let file = File::new("", text)?;
    let mut names = Names::default();
    let tree = parser::parse_imports(&file, &mut names, &mut Diagnostics::new())?;
    let mut modules = Vec::new();
    for import in &tree.uses {
        let mut found = Vec::new();
        for candidate in candidates(module, &names, tree.list(import.path), import.items)? {
            try_push(&mut found, candidate.module)?;
        }
        try_push(&mut modules, found)?;
    }
    Ok(modules)
}

/// Whether a line has a word with which an import begins.
fn may_import(line: &str) -> bool {
    let mut words = line.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.any(|word| matches!(word, "use" | "import" | "from"))
}

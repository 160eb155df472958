//! Compares the types by which a module declares functions of other modules with those of their definitions.
//!
//! The notes of modules that `smf compile` makes state both. Imports are taken as they are declared where a note does not
//! state them, or is malformed.

use std::collections::HashMap;

use smf_core::format::note::{FunctionSignature, ImportSignature, Note};
use smf_core::format::{Smf, Symbol};
use thiserror::Error;

/// What precedes the types of imports in the text of a note.
const TABLE: &str = "\nimport_signatures |";

/// An `extern fn` whose types are not those of the function that another module defines.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{importer}: `extern fn {function}` has other types than the function in {definer}")]
pub struct MismatchedImport {
    /// The name of the module that declares the function.
    pub importer: String,
    /// The symbol of the function.
    pub function: String,
    /// The name of the module that defines it.
    pub definer: String,
}

/// Compares the types of the imports of `importer`. Modules have names in messages; `definer` returns the one that defines
/// a symbol.
///
/// # Errors
/// The first import with other types.
pub(crate) fn check<'m>(
    importer: (&[u8], &Smf<'_>),
    definer: impl Fn(&[u8]) -> Option<(&'m [u8], &'m Smf<'m>)>,
) -> Result<(), MismatchedImport> {
    let (importer, smf) = importer;
    let Ok(Some((text, at))) = smf.note_contents() else { return Ok(()) };
    // Most notes have no such table, and are not parsed.
    if !str::from_utf8(&text).is_ok_and(|text| text.contains(TABLE)) {
        return Ok(());
    }
    let Ok(note) = Note::parse(&text, at) else { return Ok(()) };
    let mut definitions = HashMap::new();
    for import in note.entries::<ImportSignature<'_>>().filter_map(Result::ok) {
        let function = import.function().to_string();
        let Some((name, smf)) = definer(function.as_bytes()) else { continue };
        let hashes = definitions.entry(name).or_insert_with(|| type_hashes(smf));
        if hashes.get(&function).is_some_and(|hash| !import.type_hash().eq_str(hash)) {
            let [importer, definer] = [importer, name].map(|name| String::from_utf8_lossy(name));
            let (importer, definer) = (importer.into_owned(), definer.into_owned());
            return Err(MismatchedImport { importer, function, definer });
        }
    }
    Ok(())
}

/// The hashes of the types of the functions that a module exports, as far as its note states them.
fn type_hashes(smf: &Smf<'_>) -> HashMap<String, String> {
    let Ok(Some((text, at))) = smf.note_contents() else { return HashMap::new() };
    let Ok(note) = Note::parse(&text, at) else { return HashMap::new() };
    let exports = smf.symbols().iter().filter_map(Result::ok).filter(Symbol::is_export);
    let exports: HashMap<_, _> = exports.map(|symbol| (symbol.name(), symbol.value)).collect();
    let rows = note.entries::<FunctionSignature<'_>>().filter_map(Result::ok);
    let rows = rows.map(|row| (row, row.function().to_string()));
    let exported = rows.filter(|(row, function)| {
        let value = exports.get(function.as_bytes());
        value.is_some_and(|value| row.code_offset().is_none_or(|offset| offset == *value))
    });
    let hashes = exported.map(|(row, function)| (function, row.type_hash().to_string()));
    hashes.filter(|(_, hash)| !hash.is_empty()).collect()
}

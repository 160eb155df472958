//! Compares the types by which a module declares functions of other modules with those of their definitions.
//!
//! The notes of modules that `smf compile` makes state both. Imports are taken as they are declared where a note does not
//! state them, or is malformed.

use std::collections::HashMap;

use smf_core::format::note::{FunctionSignature, ImportSignature, Note};
use smf_core::format::{Smf, Symbol};
use smf_core::link::Name;
use smf_core::loader::{LoadError, NamedModule};
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

impl From<MismatchedImport> for LoadError {
    fn from(error: MismatchedImport) -> Self {
        let MismatchedImport { importer, function, definer } = error;
        let [symbol, module, other] =
            [function, importer, definer].map(|n| Name::new(n.as_bytes()));
        let names = symbol.and_then(|symbol| Ok((symbol, module?, other?)));
        names.map_or_else(Self::from, |(symbol, module, other)| Self::ImportTypes {
            symbol,
            module,
            other,
        })
    }
}

/// Compares the types of the imports of `importer`. Modules have names in messages; `definer` returns the one that defines
/// a symbol.
///
/// # Errors
/// The first import with other types.
pub(crate) fn check<'m>(
    importer: NamedModule<'_>,
    definer: impl Fn(&[u8]) -> Option<NamedModule<'m>>,
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

#[cfg(test)]
#[cfg(all(feature = "source", feature = "pack", target_arch = "x86_64"))]
mod tests {
    use smf_core::format::Arch;
    use smf_core::loader::{LoaderOptions, ModuleBytes, StateMigration};
    use smf_core::source::{Mode, SourceFile, compile};

    use super::*;
    use crate::compile::CompileOptions;
    use crate::loader::Loader;

    fn module(text: &str) -> ModuleBytes {
        let file = SourceFile { name: "m.spl", module: "m", text };
        let unit = compile(&[file], Mode::Compile).unwrap().unit.unwrap();
        let options = CompileOptions { arch: Arch::X86_64, level: 2, debug_directory: None };
        ModuleBytes::new(crate::compile::compile(&unit, &options).unwrap()).unwrap()
    }

    fn user(ty: &str) -> ModuleBytes {
        module(&format!("extern fn sum(xs: [{ty}]) -> i64\nfn f() -> i64: sum([4{ty}, 5{ty}])\n"))
    }

    /// A loader with a module `library`, whose function takes an array of i64.
    fn loader() -> Loader {
        let options = LoaderOptions { reload_unmarked: true, ..LoaderOptions::default() };
        let loader = Loader::new(options).unwrap();
        let library = module("fn sum(xs: [i64]) -> i64: xs[0] + xs[1]\n");
        loader.modules().load(b"library", library).unwrap();
        loader
    }

    fn is_refused<T>(result: Result<T, LoadError>) {
        let message = "user: `extern fn sum` has other types than the function in library";
        assert_eq!(result.map(drop).unwrap_err().to_string(), message);
    }

    #[test]
    fn new_version_with_other_types_of_an_import_is_refused() {
        let loader = loader();
        let modules = loader.modules();
        is_refused(modules.load(b"user", user("i8")));
        let module = modules.load(b"user", user("i64")).unwrap();
        let reload = |ty| modules.reload(module, user(ty), StateMigration::Copy, &mut |_| {});
        is_refused(reload("i8"));
        reload("i64").unwrap();
    }

    /// As for the code of an instance.
    #[test]
    fn provider_with_other_types_of_an_import_is_refused_when_it_is_needed() {
        let loader = loader();
        loader.modules().register_provider(b"user", user("i8")).unwrap();
        is_refused(loader.modules().resolve_import(b"f"));
    }
}

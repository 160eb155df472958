//! A module becomes a program: itself, the modules that provide its imports, and the host behind them.
//!
//! Three steps, each of which consumes the one before. A [`Loader`] holds candidates: the main module
//! and whatever may provide imports. [`Loader::place`] gives memory to the main module and, to
//! closure, to every candidate that exports a name somebody placed imports: a candidate that nobody
//! asks for costs its symbol table and nothing else. [`Placed::link`] resolves names among the
//! candidates first, where the first in the order of being added wins, and then in the host.
//! Modules may import from each other in circles.
//!
//! The index over all exports is built when the first import asks for it; time is linear in the
//! symbols of all candidates.

use std::collections::HashMap;
use std::fmt;

use smf_core::format::functions::Functions;
use smf_core::format::library::is_library;
use smf_core::format::{FormatError, Library, Smf};
use smf_core::link::{Chain, Exports, Image, LinkError, Module, Resolve, missing_imports};

use crate::loaded::Known;

/// How many functions of a bytecode module an error names.
const NAMED_FUNCTIONS: usize = 8;

/// Why a program could not be loaded. Names of modules are those the caller gave.
#[derive(Debug)]
#[non_exhaustive]
pub enum LoadError {
    /// Bytes that are no sound module or archive.
    Format {
        /// The module or archive.
        module: String,
        /// What is wrong with it.
        error: FormatError,
    },
    /// An archive where one module is wanted.
    Archive {
        /// The archive.
        module: String,
        /// How many modules it has.
        modules: usize,
    },
    /// A module of bytecode.
    Bytecode {
        /// The module.
        module: String,
        /// The names of its first functions, separated by commas.
        functions: String,
    },
    /// A sound module that cannot be placed or linked.
    Link {
        /// The module.
        module: String,
        /// Why not.
        error: LinkError,
    },
    /// Imports that nobody provides: all of them, in the order in which they appear.
    MissingImports(Vec<MissingImport>),
}

/// An import that nobody provides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingImport {
    /// The name; what is not UTF-8 in it is replaced.
    pub name: String,
    /// The module that wants it.
    pub module: String,
}

impl fmt::Display for MissingImport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` (wanted by {})", self.name, self.module)
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Format { module, error } => write!(f, "{module}: {error}"),
            LoadError::Archive { module, modules } => write!(
                f,
                "{module}: a library archive of {modules} modules; name one of them (`smf lib list` shows them, `smf lib extract` takes one out)"
            ),
            LoadError::Bytecode { module, functions } => write!(
                f,
                "{module}: holds bytecode ({functions}); running bytecode is not supported yet"
            ),
            LoadError::Link { module, error } => write!(f, "{module}: {error}"),
            LoadError::MissingImports(imports) => {
                let plural = if imports.len() == 1 { "" } else { "s" };
                write!(f, "nobody provides the import{plural} ")?;
                for (index, import) in imports.iter().enumerate() {
                    let separator = if index == 0 { "" } else { ", " };
                    write!(f, "{separator}{import}")?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            LoadError::Format { error, .. } => Some(error),
            LoadError::Link { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// A module that may become part of the program.
struct Candidate<'d> {
    name: String,
    smf: Smf<'d>,
}

impl<'d> Candidate<'d> {
    fn parse(name: String, data: &'d [u8]) -> Result<Self, LoadError> {
        match Smf::parse(data) {
            Ok(smf) => Ok(Self { name, smf }),
            Err(error) => Err(LoadError::Format { module: name, error }),
        }
    }

    fn place(&self) -> Result<(Image<'d>, Part<'d>), LoadError> {
        let (name, smf) = (self.name.clone(), self.smf);
        match Image::place(&smf) {
            Ok(image) => {
                let exports = image.exports();
                Ok((image, Part { name, smf, exports }))
            }
            Err(error) => Err(link_error(name, &smf, error)),
        }
    }
}

/// What a program may be made of.
pub struct Loader<'d> {
    main: Candidate<'d>,
    /// In the order of being added.
    others: Vec<Candidate<'d>>,
}

impl<'d> Loader<'d> {
    /// A loader whose main module is `data`; errors call it `name`.
    ///
    /// # Errors
    /// [`LoadError::Format`] for what is no module, [`LoadError::Archive`] for an archive.
    pub fn new(name: &str, data: &'d [u8]) -> Result<Self, LoadError> {
        let module = name.to_owned();
        if !is_library(data) {
            return Ok(Self { main: Candidate::parse(module, data)?, others: Vec::new() });
        }
        Err(match Library::parse(data) {
            Ok(library) => LoadError::Archive { module, modules: library.len() },
            Err(error) => LoadError::Format { module, error },
        })
    }

    /// Adds the module, or every module of the archive, that is `data`. A module of an archive is
    /// called `name(module)` in errors.
    ///
    /// # Errors
    /// [`LoadError::Format`] for what is neither, or for a broken module of an archive.
    pub fn provide(&mut self, name: &str, data: &'d [u8]) -> Result<(), LoadError> {
        if !is_library(data) {
            self.others.push(Candidate::parse(name.to_owned(), data)?);
            return Ok(());
        }
        let broken = |error| LoadError::Format { module: name.to_owned(), error };
        for module in Library::parse(data).map_err(broken)?.modules() {
            let module = module.map_err(broken)?;
            let name = format!("{name}({})", module.name);
            self.others.push(Candidate::parse(name, module.data)?);
        }
        Ok(())
    }

    /// Gives memory to the main module and to every other that somebody placed imports from.
    ///
    /// # Errors
    /// [`LoadError::Format`] for a broken symbol of any candidate, and for any other fault of a module
    /// that is placed; [`LoadError::Bytecode`] and [`LoadError::Link`] for one that cannot be.
    pub fn place(self) -> Result<Placed<'d>, LoadError> {
        let (main, part) = self.main.place()?;
        let places = vec![None; self.others.len()];
        let scope = Scope { main: part, others: Vec::new(), places, providers: None };
        let mut placed = Placed { main, others: Vec::new(), scope };
        placed.place_imports_of(placed.scope.main.smf, &self.others)?;
        let mut next = 0;
        while let Some(smf) = placed.scope.others.get(next).map(|part| part.smf) {
            placed.place_imports_of(smf, &self.others)?;
            next += 1;
        }
        Ok(placed)
    }
}

/// A module that has its addresses, without its memory.
struct Part<'d> {
    name: String,
    smf: Smf<'d>,
    exports: Exports<'d>,
}

/// What names mean inside a program.
struct Scope<'d> {
    main: Part<'d>,
    /// In the order of being placed.
    others: Vec<Part<'d>>,
    /// For each candidate, its number in `others` if it was placed.
    places: Vec<Option<usize>>,
    /// Which candidate provides a name; built when the first import asks.
    providers: Option<HashMap<&'d [u8], usize>>,
}

impl Resolve for Scope<'_> {
    fn resolve(&self, name: &[u8]) -> Option<u64> {
        self.main.exports.resolve(name).or_else(|| {
            let candidate = *self.providers.as_ref()?.get(name)?;
            let place = self.places.get(candidate).copied()??;
            self.others.get(place)?.exports.resolve(name)
        })
    }
}

/// A program that has its memory, and in which no module knows an address of another yet.
pub struct Placed<'d> {
    main: Image<'d>,
    /// As in the scope.
    others: Vec<Image<'d>>,
    scope: Scope<'d>,
}

impl<'d> Placed<'d> {
    /// Places every candidate that exports what `smf` imports, unless that has happened.
    fn place_imports_of(
        &mut self,
        smf: Smf<'d>,
        candidates: &[Candidate<'d>],
    ) -> Result<(), LoadError> {
        for import in missing_imports(&smf, &self.scope.main.exports.clone()) {
            let providers = match &mut self.scope.providers {
                Some(providers) => providers,
                none => none.insert(providers(candidates)?),
            };
            let Some(&number) = providers.get(import.name()) else { continue };
            let (Some(candidate), Some(place @ None)) =
                (candidates.get(number), self.scope.places.get_mut(number))
            else {
                continue;
            };
            let (image, part) = candidate.place()?;
            *place = Some(self.others.len());
            self.others.push(image);
            self.scope.others.push(part);
        }
        Ok(())
    }

    /// Links every module against all of them and, for what none of them has, against `host`.
    ///
    /// # Errors
    /// [`LoadError::MissingImports`] with every name that is missing anywhere; [`LoadError::Link`] for
    /// the first module that cannot be linked for another reason.
    pub fn link(self, host: &dyn Resolve) -> Result<Program<'d>, LoadError> {
        let Self { main, others, scope } = self;
        let imports = Chain(&[&scope, host]);
        let link = |image: Image<'d>, part: &Part<'d>| match image.link(&imports) {
            Ok(module) => Ok(module),
            Err(LinkError::MissingImports { .. }) => Err(scope.missing(&imports)),
            Err(error) => Err(link_error(part.name.clone(), &part.smf, error)),
        };
        let main = link(main, &scope.main)?;
        let others = others.into_iter().zip(&scope.others).map(|(image, part)| link(image, part));
        let others: Vec<_> = others.collect::<Result<_, _>>()?;
        let known = std::iter::once(&main).chain(&others).map(Known::of).collect();
        Ok(Program { _known: known, main, others })
    }
}

impl Scope<'_> {
    fn missing(&self, imports: &dyn Resolve) -> LoadError {
        let parts = std::iter::once(&self.main).chain(&self.others);
        let missing = parts.flat_map(|part| {
            missing_imports(&part.smf, imports).map(|symbol| MissingImport {
                name: String::from_utf8_lossy(symbol.name()).into_owned(),
                module: part.name.clone(),
            })
        });
        LoadError::MissingImports(missing.collect())
    }
}

/// A program that can be called. Dropping it unloads every module.
pub struct Program<'d> {
    /// The first to be dropped: nobody may hear of code that is not there any more.
    _known: Vec<Known>,
    main: Module<'d>,
    others: Vec<Module<'d>>,
}

impl<'d> Program<'d> {
    /// The main module.
    pub fn main(&self) -> &Module<'d> {
        &self.main
    }

    /// The modules that provide imports, in the order in which they were wanted.
    pub fn others(&self) -> &[Module<'d>] {
        &self.others
    }
}

/// Which candidate provides a name: the first that exports it. A function of bytecode counts, so that
/// who needs it learns why it cannot be had.
fn providers<'d>(candidates: &[Candidate<'d>]) -> Result<HashMap<&'d [u8], usize>, LoadError> {
    let mut providers = HashMap::new();
    for (number, Candidate { name, smf }) in candidates.iter().enumerate() {
        for symbol in smf.symbols().iter() {
            let symbol =
                symbol.map_err(|error| LoadError::Format { module: name.clone(), error })?;
            if symbol.is_export() && symbol.kind.has_address() {
                providers.entry(symbol.name()).or_insert(number);
            }
        }
        for function in smf.functions().ok().flatten().iter().flat_map(Functions::iter).flatten() {
            providers.entry(function.name()).or_insert(number);
        }
    }
    Ok(providers)
}

fn link_error(module: String, smf: &Smf<'_>, error: LinkError) -> LoadError {
    match (error, smf.functions()) {
        (LinkError::Format(error), _) => LoadError::Format { module, error },
        (LinkError::Bytecode, Ok(Some(functions))) => {
            LoadError::Bytecode { module, functions: names_of(&functions) }
        }
        _ => LoadError::Link { module, error },
    }
}

fn names_of(functions: &Functions<'_>) -> String {
    let sound = functions.iter().filter_map(Result::ok).take(NAMED_FUNCTIONS);
    let names: Vec<_> = sound.map(|f| String::from_utf8_lossy(f.name()).into_owned()).collect();
    let more = if functions.len() > names.len() { ", ..." } else { "" };
    names.join(", ") + more
}

#[cfg(test)]
mod tests {
    use super::*;
    use smf_core::format::write::{Module as NewModule, NewSection, NewSymbol, Payload, Place};
    use smf_core::format::{Arch, Header, Layout, SectionFlags, SectionKind};
    use smf_core::link::{NoImports, host_arch};

    const BYTECODE: &[u8] = include_bytes!("../../tests/samples/bcod.smf");
    const LIBRARY: &[u8] = include_bytes!("../../tests/samples/library.lsm");
    const APP: &[u8] = include_bytes!("../../tests/samples/app.smf");

    /// A module that exports and imports these names; a function is never called here.
    fn module(arch: Arch, exports: &[&str], imports: &[&str]) -> Vec<u8> {
        let code = NewSection {
            kind: SectionKind::Code,
            name: b".text",
            flags: SectionFlags(SectionFlags::READ | SectionFlags::EXECUTE),
            alignment: 16,
            virtual_size: None,
            payload: Payload::Bytes(&[0; 16]),
        };
        let places = [(exports, Place::Section(0)), (imports, Place::Import)];
        let symbols: Vec<_> = places
            .iter()
            .flat_map(|(names, place)| names.iter().map(|name| (name.as_bytes(), *place)))
            .map(|(name, place)| NewSymbol { name, place, ..NewSymbol::default() })
            .collect();
        let header = Header { arch, ..Header::default() };
        let (layout, stub) = (Layout::Packed, &[][..]);
        let module = NewModule { layout, header, stub, sections: &[code], symbols: &symbols };
        module.to_vec().unwrap()
    }

    fn here(exports: &[&str], imports: &[&str]) -> Vec<u8> {
        module(host_arch(), exports, imports)
    }

    /// Which of `with` were loaded for `main`, by number.
    fn loaded(main: &[u8], with: &[&[u8]]) -> Result<Vec<usize>, LoadError> {
        let mut loader = Loader::new("main", main)?;
        for (number, data) in with.iter().enumerate() {
            loader.provide(&format!("with{number}"), data)?;
        }
        let program = loader.place()?.link(&NoImports)?;
        let number_of = |module: &Module<'_>| {
            let file = module.smf().file();
            with.iter().position(|data| data.as_ptr_range().contains(&file.as_ptr())).unwrap()
        };
        Ok(program.others().iter().map(number_of).collect())
    }

    fn error(main: &[u8], with: &[&[u8]]) -> String {
        loaded(main, with).unwrap_err().to_string()
    }

    #[test]
    fn only_what_is_wanted_is_loaded() {
        let main = here(&["main"], &["b"]);
        let (a, b, c) = (here(&["a"], &["x"]), here(&["b"], &["c"]), here(&["c"], &[]));
        assert_eq!(loaded(&main, &[&a, &b, &c]).unwrap(), [1, 2]);
        assert_eq!(loaded(&c, &[&a, &b]).unwrap(), [0; 0]);
    }

    #[test]
    fn the_first_definition_wins_even_over_one_that_is_loaded() {
        let main = here(&["main"], &["b", "a"]);
        let (first, second) = (here(&["a"], &[]), here(&["a", "b"], &[]));
        assert_eq!(loaded(&main, &[&first, &second]).unwrap(), [1, 0]);
        assert_eq!(loaded(&main, &[&second, &first]).unwrap(), [0]);
    }

    #[test]
    fn what_the_main_module_exports_is_taken_from_it() {
        let main = here(&["main", "a"], &["b"]);
        let (a, b) = (here(&["a"], &[]), here(&["b"], &["a"]));
        assert_eq!(loaded(&main, &[&a, &b]).unwrap(), [1]);
    }

    #[test]
    fn modules_may_import_from_each_other() {
        let main = here(&["main"], &["a"]);
        let (a, b) = (here(&["a"], &["b"]), here(&["b"], &["a", "main"]));
        assert_eq!(loaded(&main, &[&a, &b]).unwrap(), [0, 1]);
    }

    #[test]
    fn every_missing_name_is_listed_with_who_wants_it() {
        let main = here(&["main"], &["x", "a", "y"]);
        let a = here(&["a"], &["x", "z"]);
        let Err(LoadError::MissingImports(missing)) = loaded(&main, &[&a]) else { panic!() };
        let found: Vec<_> = missing.iter().map(|m| (&*m.name, &*m.module)).collect();
        assert_eq!(found, [("x", "main"), ("y", "main"), ("x", "with0"), ("z", "with0")]);
        let expected = "nobody provides the imports `x` (wanted by main), `y` (wanted by main), \
                        `x` (wanted by with0), `z` (wanted by with0)";
        assert_eq!(LoadError::MissingImports(missing).to_string(), expected);
    }

    #[test]
    fn the_host_is_asked_last() {
        let main = here(&["main"], &["a", "h"]);
        let a = here(&["a"], &[]);
        let asked = std::cell::RefCell::new(Vec::new());
        let host = |name: &[u8]| {
            asked.borrow_mut().push(name.to_vec());
            Some(0x1000)
        };
        let mut loader = Loader::new("main", &main).unwrap();
        loader.provide("a", &a).unwrap();
        loader.place().unwrap().link(&host).unwrap();
        assert!(asked.borrow().iter().all(|name| name == b"h"), "{asked:?}");
        assert!(!asked.borrow().is_empty());
    }

    #[test]
    fn a_module_for_another_machine_matters_only_when_it_is_wanted() {
        let foreign = module(Arch::WASM64, &["a"], &[]);
        let with = error(&here(&["main"], &["a"]), &[&foreign]);
        assert!(with.starts_with("with0: ") && with.contains("wasm64"), "{with}");
        assert_eq!(loaded(&here(&["main"], &[]), &[&foreign]).unwrap(), [0; 0]);
    }

    #[test]
    fn archives_provide_modules_and_are_none() {
        if host_arch() == Arch::X86_64 {
            assert_eq!(loaded(APP, &[LIBRARY]).unwrap(), [0]);
        }
        let alone = error(LIBRARY, &[]);
        assert!(alone.contains("archive of 3 modules"), "{alone}");
        let mut broken = LIBRARY.to_vec();
        let header = 512 + 263 - 128;
        broken[header] = 0;
        let with = error(&here(&["main"], &[]), &[&broken]);
        assert!(with.starts_with("with0(std/math/scale): "), "{with}");
    }

    #[test]
    fn bytecode_is_named_with_its_functions() {
        if host_arch() == Arch::X86_64 {
            let expected = "holds bytecode (answer, sum); running bytecode is not supported yet";
            assert_eq!(error(BYTECODE, &[]), format!("main: {expected}"));
            let with = error(&here(&["main"], &["sum"]), &[BYTECODE]);
            assert_eq!(with, format!("with0: {expected}"));
        }
    }
}

//! Modules that are loaded when somebody imports from them.
//!
//! A candidate that nobody asks for costs its bytes and an entry a name. The index over the names is
//! made when the first import asks; of two candidates with one name, the first counts.

use alloc::vec::Vec;
use core::hash::BuildHasher;

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};

use super::LoadError;
use super::bytes::{ModuleBytes, ReadModule};
use crate::alloc_util::{AllocError, SharedBytes, try_concat, try_push};
use crate::format::bytes::offset_in;
use crate::format::functions::Functions;
use crate::format::library::is_library;
use crate::format::{Binding, FormatError, Library};
use crate::link::ShortName;

/// A module that may be loaded.
#[derive(Clone)]
pub(super) struct Candidate {
    pub(super) name: SharedBytes,
    pub(super) read: ReadModule,
}

/// All of them, in the order in which they were added.
#[derive(Default)]
pub(super) struct ProviderIndex {
    all: Vec<Candidate>,
    hasher: DefaultHashBuilder,
    providers: HashTable<Provider>,
    /// How many of all are in the index.
    indexed: usize,
}

/// Who provides a name: the name is bytes of the candidate's file.
#[derive(Clone, Copy)]
struct Provider {
    candidate: usize,
    start: usize,
    len: usize,
    weak: bool,
}

impl ProviderIndex {
    /// Adds a module, or every module of an archive, under the names `archive(module)`.
    pub(super) fn add(&mut self, name: &[u8], bytes: ModuleBytes) -> Result<(), LoadError> {
        if !is_library(bytes.as_slice()) {
            let read = ReadModule::parse(bytes).map_err(|error| broken(name, error))?;
            return Ok(try_push(
                &mut self.all,
                Candidate { name: SharedBytes::copy_of(name)?, read },
            )?);
        }
        let before = self.all.len();
        let added = self.add_archive(name, &bytes);
        added.inspect_err(|_| self.all.truncate(before))
    }

    fn add_archive(&mut self, name: &[u8], bytes: &ModuleBytes) -> Result<(), LoadError> {
        let whole = |error| broken(name, error);
        let library = Library::parse(bytes.as_slice()).map_err(whole)?;
        for module in library.modules() {
            let module = module.map_err(whole)?;
            let name = try_concat(&[name, b"(", module.name.as_bytes(), b")"])?;
            let Some(part) = bytes.part_of(module.data) else { continue };
            let read = ReadModule::parse(part).map_err(|error| broken(&name, error))?;
            try_push(&mut self.all, Candidate { name: SharedBytes::new(name)?, read })?;
        }
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The first candidate that exports `name`, and its number.
    ///
    /// # Errors
    /// A candidate with a broken symbol table; no memory for the index.
    pub(super) fn find(&mut self, name: &[u8]) -> Result<Option<(usize, Candidate)>, LoadError> {
        while self.indexed < self.all.len() {
            self.index(self.indexed)?;
            self.indexed += 1;
        }
        let Self { all, hasher, providers, .. } = self;
        let found = providers.find(hasher.hash_one(name), |provider| provider.name(all) == name);
        let Some(provider) = found else { return Ok(None) };
        Ok(all.get(provider.candidate).map(|found| (provider.candidate, found.clone())))
    }

    /// Enters every export of a candidate, functions of bytecode among them.
    fn index(&mut self, candidate: usize) -> Result<(), LoadError> {
        let Self { all, hasher, providers, .. } = self;
        let Some(Candidate { name, read }) = all.get(candidate) else { return Ok(()) };
        let smf = read.smf();
        let broken = |error| broken(name, error);
        let mut add = |name: &[u8], weak: bool| -> Result<(), AllocError> {
            let start = usize::try_from(offset_in(smf.file(), name)).unwrap_or(0);
            let new = Provider { candidate, start, len: name.len(), weak };
            let is_it = |old: &Provider| old.name(all) == name;
            let rehash = |old: &Provider| hasher.hash_one(old.name(all));
            providers.try_reserve(1, rehash).map_err(|_| AllocError)?;
            match providers.entry(hasher.hash_one(name), is_it, rehash) {
                Entry::Occupied(mut old) if old.get().weak && !weak => *old.get_mut() = new,
                Entry::Occupied(_) => {}
                Entry::Vacant(place) => {
                    place.insert(new);
                }
            }
            Ok(())
        };
        for symbol in read.linked().map_err(broken)?.symbols().iter() {
            let symbol = symbol.map_err(broken)?;
            if symbol.is_export() && symbol.kind.has_address() {
                add(symbol.name(), symbol.binding == Binding::Weak)?;
            }
        }
        let functions = smf.functions().ok().flatten();
        for function in functions.iter().flat_map(Functions::iter).flatten() {
            add(function.name(), false)?;
        }
        Ok(())
    }
}

fn broken(name: &[u8], error: FormatError) -> LoadError {
    let module = ShortName::new(name);
    LoadError::Format { module, error }
}

impl Provider {
    fn name<'c>(&self, all: &'c [Candidate]) -> &'c [u8] {
        let file = all.get(self.candidate).map(|candidate| candidate.read.smf().file());
        let name = file.and_then(|file| file.get(self.start..)?.get(..self.len));
        name.unwrap_or(&[])
    }
}

//! Modules that are loaded on demand, when another module imports from them.
//!
//! The index over their exports is built for the first import. Of two providers that export one name, the first is
//! used.

use alloc::vec::Vec;
use core::hash::BuildHasher;

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};

use super::bytes::{ModuleBytes, ParsedModule};
use super::error::{LoadError, Result};
use crate::alloc_util::{AllocError, try_concat, try_push};
use crate::format::bytes::offset_in;
use crate::format::functions::Functions;
use crate::format::{Binding, File, FormatError, Library};
use crate::link::Name;

/// A module that is loaded on demand.
#[derive(Clone)]
pub(super) struct Provider {
    pub(super) name: Name,
    pub(super) parsed: ParsedModule,
}

/// The providers in registration order, and an index over their exports.
#[derive(Default)]
pub(super) struct ProviderIndex {
    providers: Vec<Provider>,
    hasher: DefaultHashBuilder,
    exports: HashTable<Export>,
    /// The number of indexed providers.
    indexed: usize,
}

/// An exported name: a range of the file of its provider.
#[derive(Clone, Copy)]
struct Export {
    provider: usize,
    start: usize,
    len: usize,
    weak: bool,
}

impl ProviderIndex {
    /// Adds a module, or every module of an archive under the name `archive(module)`.
    pub(super) fn add(&mut self, name: &[u8], bytes: ModuleBytes) -> Result<()> {
        let Ok(File::Library(library)) = bytes.file() else {
            return self.add_module(Name::new(name)?, bytes);
        };
        let before = self.providers.len();
        let added = self.add_archive(name, &library, &bytes);
        added.inspect_err(|_| self.providers.truncate(before))
    }

    fn add_module(&mut self, name: Name, bytes: ModuleBytes) -> Result<()> {
        let parsed = ParsedModule::parse(&name, bytes)?;
        Ok(try_push(&mut self.providers, Provider { name, parsed })?)
    }

    fn add_archive(
        &mut self,
        name: &[u8],
        library: &Library<'_>,
        bytes: &ModuleBytes,
    ) -> Result<()> {
        for module in library.modules() {
            let module = module.map_err(|error| malformed(name, error))?;
            let name = try_concat(&[name, b"(", module.name.as_bytes(), b")"])?;
            let Some(part) = bytes.part_of(module.data) else { continue };
            self.add_module(Name::new(&name)?, part)?;
        }
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.providers.is_empty()
    }

    /// The first provider that exports `name`, and its index.
    ///
    /// # Errors
    /// A provider with a malformed symbol table; no memory for the index.
    pub(super) fn find(&mut self, name: &[u8]) -> Result<Option<(usize, Provider)>> {
        while self.indexed < self.providers.len() {
            self.index(self.indexed)?;
            self.indexed += 1;
        }
        let Self { providers, hasher, exports, .. } = self;
        let found = exports.find(hasher.hash_one(name), |export| export.name(providers) == name);
        let Some(&Export { provider, .. }) = found else { return Ok(None) };
        Ok(providers.get(provider).map(|found| (provider, found.clone())))
    }

    /// Indexes every export of a provider, bytecode functions included.
    fn index(&mut self, provider: usize) -> Result<()> {
        let Self { providers, hasher, exports, .. } = self;
        let Some(Provider { name, parsed }) = providers.get(provider) else { return Ok(()) };
        let smf = parsed.smf();
        let malformed = |error| malformed(name, error);
        let mut add = |name: &[u8], weak: bool| -> Result<(), AllocError> {
            let start = usize::try_from(offset_in(smf.file(), name)).unwrap_or(0);
            let new = Export { provider, start, len: name.len(), weak };
            let is_it = |old: &Export| old.name(providers) == name;
            let rehash = |old: &Export| hasher.hash_one(old.name(providers));
            exports.try_reserve(1, rehash).map_err(|_| AllocError)?;
            match exports.entry(hasher.hash_one(name), is_it, rehash) {
                Entry::Occupied(mut old) if old.get().weak && !weak => *old.get_mut() = new,
                Entry::Occupied(_) => {}
                Entry::Vacant(place) => {
                    place.insert(new);
                }
            }
            Ok(())
        };
        for symbol in parsed.linked().map_err(malformed)?.symbols().iter() {
            let symbol = symbol.map_err(malformed)?;
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

fn malformed(name: &[u8], error: FormatError) -> LoadError {
    LoadError::named(name, |module| LoadError::Format { module, error })
}

impl Export {
    fn name<'p>(&self, providers: &'p [Provider]) -> &'p [u8] {
        let file = providers.get(self.provider).map(|provider| provider.parsed.smf().file());
        let name = file.and_then(|file| file.get(self.start..)?.get(..self.len));
        name.unwrap_or(&[])
    }
}

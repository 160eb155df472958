//! Modules that are loaded on demand, when another module imports from them.
//!
//! Modules are [read](NewProviders::read) without the lock of the index. Of two providers that export one name, the first is
//! used.

use alloc::vec::Vec;
use core::hash::BuildHasher;

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};

use super::bytes::{ModuleBytes, ParsedModule};
use super::error::{LoadError, Result};
use crate::alloc_util::{AllocError, try_concat, try_push, try_reserve};
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
}

/// Modules that are not in the index yet, and every export of them.
#[derive(Default)]
pub(super) struct NewProviders {
    providers: Vec<Provider>,
    exports: Vec<Export>,
}

/// An exported name: a range of the file of its provider.
#[derive(Clone, Copy)]
struct Export {
    provider: usize,
    start: usize,
    len: usize,
    weak: bool,
}

impl NewProviders {
    /// A module, or every module of an archive under the name `archive(module)`.
    ///
    /// # Errors
    /// [`LoadError::Format`], also for a malformed table of symbols or functions; [`LoadError::OutOfMemory`].
    pub(super) fn read(name: &[u8], bytes: &ModuleBytes) -> Result<Self> {
        let mut new = Self::default();
        match bytes.file() {
            Ok(File::Library(library)) => new.add_archive(name, &library, bytes)?,
            _ => new.add(Name::new(name)?, bytes.clone())?,
        }
        Ok(new)
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
            self.add(Name::new(&name)?, part)?;
        }
        Ok(())
    }

    /// Adds a module with its exports, bytecode functions included.
    fn add(&mut self, name: Name, bytes: ModuleBytes) -> Result<()> {
        let parsed = ParsedModule::parse(&name, bytes)?;
        let (smf, provider) = (parsed.smf(), self.providers.len());
        let malformed = |error| malformed(&name, error);
        let mut add = |name: &[u8], weak: bool| {
            let start = usize::try_from(offset_in(smf.file(), name)).unwrap_or(0);
            try_push(&mut self.exports, Export { provider, start, len: name.len(), weak })
        };
        for symbol in parsed.linked().map_err(malformed)?.symbols().iter() {
            let symbol = symbol.map_err(malformed)?;
            if symbol.is_export() && symbol.kind.has_address() {
                add(symbol.name(), symbol.binding == Binding::Weak)?;
            }
        }
        let functions = smf.functions().map_err(malformed)?;
        for function in functions.iter().flat_map(Functions::iter) {
            add(function.map_err(malformed)?.name(), false)?;
        }
        Ok(try_push(&mut self.providers, Provider { name, parsed })?)
    }

    /// The modules, in registration order.
    pub(super) fn providers(&self) -> &[Provider] {
        &self.providers
    }
}

impl ProviderIndex {
    /// Adds modules with their exports.
    pub(super) fn add(&mut self, new: NewProviders) -> Result<(), AllocError> {
        let Self { providers, hasher, exports } = self;
        let rehash = |old: &Export| hasher.hash_one(old.name(providers));
        exports.try_reserve(new.exports.len(), rehash).map_err(|_| AllocError)?;
        try_reserve(providers, new.providers.len())?;
        let first = providers.len();
        providers.extend(new.providers);
        for export in new.exports {
            let export = Export { provider: first.saturating_add(export.provider), ..export };
            let name = export.name(providers);
            let is_it = |old: &Export| old.name(providers) == name;
            let rehash = |old: &Export| hasher.hash_one(old.name(providers));
            match exports.entry(hasher.hash_one(name), is_it, rehash) {
                Entry::Occupied(mut old) if old.get().weak && !export.weak => {
                    *old.get_mut() = export;
                }
                Entry::Occupied(_) => {}
                Entry::Vacant(place) => {
                    place.insert(export);
                }
            }
        }
        Ok(())
    }

    /// The providers, in registration order.
    pub(super) fn all(&self) -> &[Provider] {
        &self.providers
    }

    /// The provider called `module`, if it exports `name`.
    pub(super) fn find_in(&self, module: &[u8], name: &[u8]) -> Option<Provider> {
        let provider = self.by_name(module)?;
        let smf = provider.parsed.linked().ok()?;
        let is_exported = smf.symbols().find_export(name).is_some()
            || smf.functions().ok().flatten().is_some_and(|functions| {
                functions.iter().flatten().any(|function| function.name() == name)
            });
        is_exported.then(|| provider.clone())
    }

    /// The last provider called `module`, which is the one that the sink has.
    pub(super) fn by_name(&self, module: &[u8]) -> Option<&Provider> {
        self.providers.iter().rfind(|provider| *provider.name == *module)
    }

    /// The first provider that exports `name`, and its index.
    pub(super) fn find(&self, name: &[u8]) -> Option<(usize, Provider)> {
        let Self { providers, hasher, exports } = self;
        let is_it = |export: &Export| export.name(providers) == name;
        let &Export { provider, .. } = exports.find(hasher.hash_one(name), is_it)?;
        Some((provider, providers.get(provider)?.clone()))
    }
}

fn malformed(name: &[u8], error: FormatError) -> LoadError {
    Name::in_error(name, |module| LoadError::Format { module, error })
}

impl Export {
    fn name<'p>(&self, providers: &'p [Provider]) -> &'p [u8] {
        let file = providers.get(self.provider).map(|provider| provider.parsed.smf().file());
        let name = file.and_then(|file| file.get(self.start..)?.get(..self.len));
        name.unwrap_or(&[])
    }
}

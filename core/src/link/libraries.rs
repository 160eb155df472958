//! The shared libraries of the system that a module needs. See [`needed`] for their names in the file.

use alloc::vec::Vec;

use super::error::{LinkError, Result};
use super::host_services::{Host, HostServiceError, HostServices, LibraryError, LibraryToken};
use super::resolve::Resolve;
use crate::alloc_util::{AllocError, TryArc, try_collect, try_push};
use crate::format::Smf;
use crate::format::ext::needed::NeededLibraries;

/// Open libraries, in the order of the file. Dropping them closes them, the last one first.
pub(crate) struct Libraries {
    services: &'static dyn HostServices,
    open: Vec<LibraryToken>,
    /// Whether the file names libraries.
    is_listed: bool,
    added: Option<AddedLibraries>,
}

/// Libraries that the host has added to a loader.
pub(crate) type AddedLibraries = TryArc<Vec<TryArc<Libraries>>>;

impl Libraries {
    /// No libraries.
    pub(super) fn none(host: Host) -> Self {
        let services = host.services();
        Self { services, open: Vec::new(), is_listed: false, added: None }
    }

    /// The libraries that `smf` needs, none of which is open.
    ///
    /// # Errors
    /// A malformed list.
    pub(super) fn unopened(smf: &Smf<'_>, host: Host) -> Result<Self> {
        let mut libraries = Self::none(host);
        libraries.is_listed = NeededLibraries::of(smf)?.is_some();
        Ok(libraries)
    }

    /// Opens the libraries that `smf` needs; only those that the process has open if initialisers are refused.
    ///
    /// # Errors
    /// A malformed list; [`LinkError::Library`] for one that cannot be opened, or without the service.
    pub(crate) fn open(smf: &Smf<'_>, host: Host, refuses_initialisers: bool) -> Result<Self> {
        let mut libraries = Self::none(host);
        let Some(needed) = NeededLibraries::of(smf)? else { return Ok(libraries) };
        libraries.is_listed = true;
        if refuses_initialisers {
            for name in needed.iter() {
                libraries.find(name).map_err(|error| refused(name, error))?;
            }
            return Ok(libraries);
        }
        let names = try_collect(needed.iter())?;
        let open = libraries.services.open_libraries(&names);
        libraries.open = open.map_err(|(number, error)| {
            refused(names.get(number).copied().unwrap_or_default(), error)
        })?;
        Ok(libraries)
    }

    /// Opens one library.
    ///
    /// # Errors
    /// [`LibraryError`].
    pub(crate) fn open_one(name: &[u8], host: Host) -> Result<Self, LibraryError> {
        let mut libraries = Self::none(host);
        let open = libraries.services.open_libraries(&[name]);
        libraries.open = open.map_err(|(_, error)| error)?;
        Ok(libraries)
    }

    /// Adds a library that the process has open.
    fn find(&mut self, name: &[u8]) -> Result<(), LibraryError> {
        let library = self.services.find_library(name)?.ok_or(LibraryError::Initialisers)?;
        let added = try_push(&mut self.open, library);
        Ok(added.inspect_err(|_| self.services.close_library(library))?)
    }

    pub(super) fn services(&self) -> &'static dyn HostServices {
        self.services
    }

    /// Searches thread-local symbols in `added` first. Other symbols are resolved there by the loader.
    pub(crate) fn search_in(&mut self, added: Option<AddedLibraries>) {
        self.added = added;
    }

    /// The libraries in which thread-local symbols are searched, in this order.
    pub(super) fn tokens(&self) -> Result<Vec<LibraryToken>, AllocError> {
        let added = self.added.iter().flat_map(|added| added.iter());
        let added = added.flat_map(|library| &library.open);
        try_collect(added.chain(&self.open).copied())
    }

    /// Whether neither the process nor a library defines the thread-local symbol `name`. False if the search fails.
    pub(crate) fn lack_tls(&self, name: &[u8], is_static: bool) -> Result<bool, AllocError> {
        let found = self.services.find_tls(name, is_static, &self.tokens()?);
        if let Ok(Some(block)) = found {
            self.services.release_tls(block);
        }
        Ok(matches!(found, Ok(None)))
    }

    pub(super) fn is_listed(&self) -> bool {
        self.is_listed
    }
}

impl Resolve for Libraries {
    /// The address of `name` in the first library that defines it.
    fn resolve(&self, name: &[u8]) -> Option<u64> {
        let find = |library: &LibraryToken| self.services.library_symbol(*library, name);
        self.open.iter().find_map(find)
    }
}

impl Drop for Libraries {
    fn drop(&mut self) {
        while let Some(library) = self.open.pop() {
            self.services.close_library(library);
        }
    }
}

fn refused(library: &[u8], error: LibraryError) -> LinkError {
    match error {
        LibraryError::Service(HostServiceError::OutOfMemory) => {
            LinkError::Host(HostServiceError::OutOfMemory)
        }
        error => LinkError::named(library, |library| LinkError::Library { library, error }),
    }
}

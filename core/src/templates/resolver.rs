//! Names that mean addresses: those that were given, and behind them whatever can be made.

use alloc::alloc::handle_alloc_error;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::alloc::Layout;
use core::fmt;

use hashbrown::{DefaultHashBuilder, HashMap};

use super::error::MetadataError;
use super::instantiator::{JitConfig, JitInstantiator};
use crate::alloc_util::{AllocError, Shared, try_box, try_copy_bytes};
use crate::link::Resolve;
use crate::memory::lock::Lock;

/// A table of symbols that grows when somebody asks for an instance.
///
/// As the fallback of a [`ModuleLoader`](crate::loader::ModuleLoader) it lets modules load whose
/// relocations name instances that are not there yet. The code is there as long as the resolver is.
pub struct JitSymbolResolver {
    jit: Shared<JitInstantiator>,
    symbols: Lock<HashMap<Box<[u8]>, u64, DefaultHashBuilder>>,
}

impl JitSymbolResolver {
    /// A table without symbols, and an instantiator of its own.
    pub fn new(config: JitConfig) -> Self {
        Self::of(Arc::new(JitInstantiator::new(config)))
    }

    /// A table without symbols in front of an instantiator.
    pub fn of(jit: Arc<JitInstantiator>) -> Self {
        Self { jit: Shared::Arc(jit), symbols: Lock::new(HashMap::default()) }
    }

    /// As [`of`](Self::of), for who has no memory for an `Arc`.
    ///
    /// # Errors
    /// No memory.
    pub fn try_of(jit: JitInstantiator) -> Result<Self, AllocError> {
        let jit = Shared::of(try_box(jit)?)?;
        Ok(Self { jit, symbols: Lock::new(HashMap::default()) })
    }

    /// The instantiator.
    pub fn instantiator(&self) -> &JitInstantiator {
        &self.jit
    }

    /// Gives a name an address; returns the one that it had. Ends the process when there is no memory, which
    /// [`try_register`](Self::try_register) does not.
    pub fn register(&self, name: &[u8], address: u64) -> Option<u64> {
        let registered = self.try_register(name, address);
        registered.unwrap_or_else(|AllocError| handle_alloc_error(Layout::for_value(name)))
    }

    /// As [`register`](Self::register).
    ///
    /// # Errors
    /// No memory.
    pub fn try_register(&self, name: &[u8], address: u64) -> Result<Option<u64>, AllocError> {
        let mut symbols = self.symbols.lock();
        symbols.try_reserve(1).map_err(|_| AllocError)?;
        Ok(symbols.insert(try_copy_bytes(name)?, address))
    }

    /// The address of `name`: the one that it was given, else that of the instance of this symbol, which
    /// is made if it is not there yet. `None` when there is none; why, [`JitInstantiator`] tells.
    #[inline]
    pub fn resolve(&self, name: &[u8]) -> Option<u64> {
        let known = self.symbols.lock().get(name).copied();
        known.or_else(|| self.instantiate(name))
    }

    #[cold]
    fn instantiate(&self, name: &[u8]) -> Option<u64> {
        let address = self.jit.try_jit_instantiate(name).instance()?.address();
        let mut symbols = self.symbols.lock();
        // Without memory to keep it, it is found again another time.
        let name = try_copy_bytes(name).ok().filter(|_| symbols.try_reserve(1).is_ok());
        // Who has given it an address meanwhile is right.
        Some(name.map_or(address, |name| *symbols.entry(name).or_insert(address)))
    }

    /// Loads the note and the templates of the module at `path`.
    ///
    /// # Errors
    /// As [`JitInstantiator::load_smf_metadata`].
    pub fn load(&self, path: &[u8]) -> Result<(), MetadataError> {
        self.jit.load_smf_metadata(path)
    }
}

impl Resolve for JitSymbolResolver {
    fn resolve(&self, name: &[u8]) -> Option<u64> {
        self.resolve(name)
    }
}

impl fmt::Debug for JitSymbolResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let symbols = self.symbols.lock().len();
        f.debug_struct("JitSymbolResolver")
            .field("symbols", &symbols)
            .field("jit", &*self.jit)
            .finish()
    }
}

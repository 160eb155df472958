//! A symbol table that falls back to the instantiator.

use alloc::boxed::Box;

use hashbrown::{DefaultHashBuilder, HashMap};

use super::error::InstantiateError;
use super::instantiator::JitInstantiator;
use crate::alloc_util::{AllocError, try_copy_bytes};
use crate::link::Resolve;
use crate::memory::lock::Lock;

/// A table of symbols that compiles missing instances.
///
/// As the fallback resolver of a module loader it resolves relocations against instances that do not exist
/// yet. The resolver owns their code.
#[derive(Debug)]
pub struct JitSymbolResolver {
    jit: JitInstantiator,
    symbols: Lock<HashMap<Box<[u8]>, u64, DefaultHashBuilder>>,
}

impl JitSymbolResolver {
    /// An empty table with `jit` as its fallback.
    pub fn new(jit: JitInstantiator) -> Self {
        Self { jit, symbols: Lock::new(HashMap::default()) }
    }

    /// The instantiator.
    pub fn instantiator(&self) -> &JitInstantiator {
        &self.jit
    }

    /// Defines `name` as `address`. Returns the address that was registered before.
    ///
    /// # Errors
    /// No memory.
    pub fn register(&self, name: &[u8], address: u64) -> Result<Option<u64>, AllocError> {
        let mut symbols = self.symbols.lock();
        symbols.try_reserve(1).map_err(|_| AllocError)?;
        Ok(symbols.insert(try_copy_bytes(name)?, address))
    }

    /// The address of `name`: the registered one, or else that of the instance with this symbol, which is
    /// compiled if it does not exist.
    ///
    /// # Errors
    /// Those of [`JitInstantiator::try_jit_instantiate`], except [`InstantiateError::UpdateFailed`].
    pub fn try_resolve(&self, name: &[u8]) -> Result<u64, InstantiateError> {
        let known = self.symbols.lock().get(name).copied();
        if let Some(address) = known {
            return Ok(address);
        }
        match self.jit.try_jit_instantiate(name) {
            Ok(instance) | Err(InstantiateError::UpdateFailed { instance, .. }) => {
                Ok(instance.address())
            }
            Err(error) => Err(error),
        }
    }

    /// As [`try_resolve`](Self::try_resolve); `None` for an error.
    pub fn resolve(&self, name: &[u8]) -> Option<u64> {
        self.try_resolve(name).ok()
    }
}

impl Resolve for JitSymbolResolver {
    fn resolve(&self, name: &[u8]) -> Option<u64> {
        self.resolve(name)
    }
}

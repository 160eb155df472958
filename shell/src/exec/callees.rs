//! What the back ends of other code generators share: callees outside of a unit, and why a function is refused.

use std::collections::HashMap;

use smf_core::alloc_util::{AllocError, try_copy_bytes, try_push};
use smf_core::exec::BackendError;
use smf_core::link::Name;
use smf_core::trap::trap_hook;

/// An error without a variant of its own.
pub(super) fn other(message: &str) -> Result<BackendError, AllocError> {
    Ok(BackendError::Other(Name::new(message.as_bytes())?))
}

/// Callees outside of the unit, by number; number 0 is the trap hook.
pub(super) struct Outside<'s> {
    symbol: &'s mut dyn FnMut(&[u8]) -> Option<u64>,
    pub(super) addresses: Vec<u64>,
    numbers: HashMap<Box<[u8]>, u32>,
}

impl<'s> Outside<'s> {
    pub(super) fn new(symbol: &'s mut dyn FnMut(&[u8]) -> Option<u64>) -> Result<Self, AllocError> {
        let mut addresses = Vec::new();
        try_push(&mut addresses, trap_hook as *const () as usize as u64)?;
        Ok(Self { symbol, addresses, numbers: HashMap::new() })
    }

    /// The number of a callee of the host.
    pub(super) fn number(&mut self, name: &str) -> Result<u32, Failure> {
        if let Some(&known) = self.numbers.get(name.as_bytes()) {
            return Ok(known);
        }
        let undefined = || Name::in_error(name.as_bytes(), Failure::Undefined);
        let address = (self.symbol)(name.as_bytes()).ok_or_else(undefined)?;
        let number = u32::try_from(self.addresses.len()).map_err(|_| AllocError)?;
        try_push(&mut self.addresses, address)?;
        self.numbers.try_reserve(1).map_err(|_| AllocError)?;
        self.numbers.insert(try_copy_bytes(name.as_bytes())?, number);
        Ok(number)
    }
}

/// Why a function cannot be translated.
pub(super) enum Failure {
    /// A symbol that neither the manager nor the host has.
    Undefined(Name),
    /// An instance of a template.
    Template(Name),
    /// What the verifier of the IR excludes.
    Invalid,
    OutOfMemory,
}

impl From<AllocError> for Failure {
    fn from(_: AllocError) -> Self {
        Self::OutOfMemory
    }
}

impl Failure {
    pub(super) fn of(self, function: Name) -> Result<BackendError, AllocError> {
        Ok(match self {
            Self::Undefined(symbol) => BackendError::Undefined { function, symbol },
            Self::Template(template) => BackendError::Template { function, template },
            Self::Invalid => other(&format!("function `{function}` is invalid"))?,
            Self::OutOfMemory => AllocError.into(),
        })
    }
}

//! Compiled instances.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::alloc_util::TryArc;
use crate::link::Name;
use crate::memory::code_alloc::ExecutableBlock;

/// The machine code of a template for some type arguments. Clones share the code, which is freed with the
/// last of them and the instantiator.
#[derive(Clone)]
pub struct Instance(pub(super) TryArc<InstanceData>);

/// What the clones of an [`Instance`] share.
pub(super) struct InstanceData {
    pub(super) symbol: Name,
    /// The observer's registrations, which are dropped before the code.
    pub(super) _registrations: [Option<Box<dyn Send + Sync>>; 2],
    pub(super) block: ExecutableBlock,
    /// Bytes of compiled code at the start of the block; address slots and veneers follow.
    pub(super) code_len: usize,
    /// The signature in the compiler's encoding; empty if undeclared.
    pub(super) signature: Box<[u8]>,
    /// Whether the template is source text.
    pub(super) is_source: bool,
    /// The symbols that the code, and that of the instances which it calls, was linked with.
    pub(super) imports: Vec<Import>,
    /// The symbols of the instances that the code calls.
    pub(super) calls: Vec<Name>,
    /// [`Module::is_outdated`](super::module::Module::is_outdated) of the modules whose templates it was made of, and the instances
    /// that it calls.
    pub(super) sources: Vec<TryArc<AtomicBool>>,
}

/// A symbol outside of the instances, and its address.
#[derive(Clone)]
pub(super) struct Import {
    /// The module of the template whose instance refers to the symbol.
    pub(super) module: Name,
    pub(super) symbol: Name,
    pub(super) address: u64,
}

impl Instance {
    /// Whether it is of templates that are still those of their modules.
    pub(super) fn is_current(&self) -> bool {
        self.0.sources.iter().all(|is_outdated| !is_outdated.load(Ordering::Relaxed))
    }

    /// The signature that the compiler has [declared](super::Environment::declare_signature), in an encoding
    /// of its own; empty if it has declared none.
    pub fn signature(&self) -> &[u8] {
        &self.0.signature
    }

    /// Whether the body of the template is source text: the place of a trap is a line of it, and the codes of traps are those
    /// of the [front end](crate::source).
    pub fn is_source(&self) -> bool {
        self.0.is_source
    }

    /// The symbol.
    pub fn symbol(&self) -> &[u8] {
        &self.0.symbol
    }

    /// The relocated code.
    pub fn code(&self) -> &[u8] {
        let block = self.0.block.as_slice();
        block.get(..self.0.code_len).unwrap_or(block)
    }

    /// The addresses of the code and of the slots and veneers that follow it.
    pub fn range(&self) -> Range<usize> {
        let start = self.0.block.address();
        start..start + self.0.block.len()
    }

    /// The entry point.
    pub fn address(&self) -> u64 {
        self.0.block.address() as u64
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at 0x{:x}", self.0.symbol, self.address())
    }
}

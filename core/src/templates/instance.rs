//! Compiled instances.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

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
    pub(super) dependencies: Dependencies,
}

/// What an instance depends on.
#[derive(Default)]
pub(super) struct Dependencies {
    /// The symbols that the code, and that of the instances which it calls, was linked with.
    pub(super) imports: Vec<Import>,
    /// The symbols of the instances that the code calls.
    pub(super) calls: Vec<Name>,
    /// The templates that it was made of, and the instances that it calls.
    pub(super) sources: Vec<TryArc<Source>>,
}

/// The templates of a module, which versions of it share if these are the same.
#[derive(Default)]
pub(super) struct Source {
    /// The [owner](super::JitInstantiator::with_owner) of the module; 0 for a module of every owner.
    pub(super) owner: u64,
    /// Whether others took their place, or the module was unloaded, so that their instances are not found.
    pub(super) is_outdated: AtomicBool,
    /// The number of their instances.
    pub(super) instances: AtomicUsize,
}

impl Source {
    /// Whether requests of `owner` use the templates; 0 for requests without an owner, which use all.
    pub(super) fn is_of(&self, owner: u64) -> bool {
        owner == 0 || self.owner == 0 || self.owner == owner
    }
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
        self.0.dependencies.sources.iter().all(|source| !source.is_outdated.load(Ordering::Relaxed))
    }

    /// Whether it is current, and of templates that requests of `owner` use.
    pub(super) fn is_of(&self, owner: u64) -> bool {
        self.is_current() && self.0.dependencies.sources.iter().all(|source| source.is_of(owner))
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

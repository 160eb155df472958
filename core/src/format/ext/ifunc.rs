//! Indirect functions (IFUNC): functions whose address a resolver in the module returns when the module is loaded.
//!
//! The writable section [`SECTION`] holds one 64-bit slot for each of them. Relocations write the address of the
//! resolver into the slot; once all modules that are loaded together are relocated, and before their constructors run,
//! the loader calls each resolver and writes its result into the slot. Code reaches the function through the slot
//! alone. Resolvers take the arguments that the system's loader passes on their machine: none on x86-64, and the hardware
//! capabilities on aarch64. The module imports [`NAME`], which nothing defines, so that other readers refuse it.

/// The import of a module with indirect functions. Its address is that of the section.
pub const NAME: &[u8] = b"__smf_requires_ifunc";

/// The section of the slots.
pub const SECTION: &[u8] = b".igot";

/// Bytes of a slot.
pub const SLOT: u64 = 8;

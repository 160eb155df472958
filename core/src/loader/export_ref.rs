//! An export of a held module with a type that the caller states.
#![allow(unsafe_code)]

use core::fmt;
use core::marker::PhantomData;
use core::mem::transmute_copy;
use core::ops::Deref;

use super::error::{LoadError, Result};
use super::module_ref::ModuleRef;
use crate::link::Name;

/// An export as a value of type `T`: a function pointer, or a raw pointer to data. It derefs to that value, so that a
/// function is called as `add(40, 2)`. The borrow of the [`ModuleRef`] keeps the module loaded.
pub struct ExportRef<'m, T> {
    value: T,
    module: PhantomData<&'m ()>,
}

impl ModuleRef<'_> {
    /// The export called `name`, at its address in this version, as a value of type `T`.
    ///
    /// `T` is a function pointer such as `extern "C" fn(i64) -> i64`, or a raw pointer such as `*mut i64`; a type of
    /// another size does not compile. A trap of the called function ends the process; [`call`](crate::trap::call)
    /// returns it as an error.
    ///
    /// # Errors
    /// [`LoadError::NoExport`]; [`LoadError::Bytecode`] for a bytecode function that cannot be called by address.
    ///
    /// # Safety
    /// `T` is the type of the export, with the C calling convention for functions. A copy of the value is not used after
    /// the module is no longer held.
    ///
    /// # Example
    /// ```
    /// # #![allow(unsafe_code)]
    /// # #[cfg(target_arch = "x86_64")]
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use smf_core::loader::{LoaderOptions, ModuleBytes, ModuleLoader};
    ///
    /// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/samples/packed.smf");
    /// let loader = ModuleLoader::new(LoaderOptions::default())?;
    /// let packed = loader.load(b"packed", ModuleBytes::new(std::fs::read(path)?)?)?;
    /// let module = loader.get(packed)?;
    /// // SAFETY: `add` is a C function of this type.
    /// let add = unsafe { module.get::<extern "C" fn(i64, i64) -> i64>("add") }?;
    /// assert_eq!(add(40, 2), 42);
    /// # Ok(())
    /// # }
    /// # #[cfg(not(target_arch = "x86_64"))]
    /// # fn main() {}
    /// ```
    pub unsafe fn get<T: Copy>(&self, name: impl AsRef<[u8]>) -> Result<ExportRef<'_, T>> {
        const { assert!(size_of::<T>() == size_of::<usize>(), "not the size of an address") };
        let name = name.as_ref();
        let export = self.export(name).ok_or_else(|| self.no_export(name))?;
        // An address of this process fits.
        let address = export.address as usize;
        // SAFETY: both have the size of an address, and the caller says that the address is one of a `T`.
        let value = unsafe { transmute_copy::<usize, T>(&address) };
        Ok(ExportRef { value, module: PhantomData })
    }

    fn no_export(&self, name: &[u8]) -> LoadError {
        let module = self.version().name.clone();
        let missing = || Name::in_error(name, |symbol| LoadError::NoExport { module, symbol });
        self.refusal(name).unwrap_or_else(missing)
    }
}

impl<T> Deref for ExportRef<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: fmt::Debug> fmt::Debug for ExportRef<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ExportRef").field(&self.value).finish()
    }
}

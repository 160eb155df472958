//! Simple source in a manager.
//!
//! A call of a function that the source does not declare goes to the function of that name of an earlier compilation, if
//! its parameters and its result are numbers or bools. Where they are structs, arrays or texts, the source declares it.

use super::error::ManagerError;
use super::external::ExternalFunctions;
use super::manager::Manager;
use super::unit::{Unit, UnitError, UnitFunction};
use crate::alloc_util::{AllocError, try_collect, try_with_capacity};
use crate::link::Name;
use crate::source::{Compiled, ExternalSignature, Mode, SourceFile, TranslationUnit, compile_in};

impl Unit {
    /// The functions of a translation unit by their symbols, whose IR is moved out of it.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn from_source(unit: &mut TranslationUnit) -> Result<Self, UnitError> {
        let mut functions = try_with_capacity(unit.functions.len())?;
        for function in &mut unit.functions {
            let ir = core::mem::take(&mut function.ir);
            let (name, hash) = (function.symbol.as_bytes(), function.type_hash);
            functions.push(UnitFunction::trusted(name, ir, hash)?);
        }
        let mut externals = try_with_capacity(unit.externals.len())?;
        for function in &unit.externals {
            if let Some(hash) = function.type_hash {
                externals.push((Name::new(function.symbol.as_bytes())?, hash));
            }
        }
        Ok(Self::new(functions)?.with_externals(externals))
    }
}

impl Manager {
    /// Compiles the files of a program at the [level](Self::level) of the manager. Its functions can be called if the
    /// result has a unit, from which their IR is moved to the manager; otherwise the diagnostics have errors, and
    /// nothing changes. `host` resolves what [`compile`](Self::compile) does by it.
    ///
    /// ```
    /// use smf_core::exec::{Manager, ManagerOptions, NativeBackend};
    /// use smf_core::link::NoImports;
    /// use smf_core::source::{Mode, SourceFile};
    ///
    /// # fn main() -> Result<(), smf_core::exec::ManagerError> {
    /// let manager = Manager::new(Box::new(NativeBackend::default()), ManagerOptions::default());
    /// let text = "fn add(x, y): x + y\n";
    /// let file = SourceFile { name: "add.spl", module: "add", text };
    /// assert!(manager.compile_source(&[file], Mode::Manager, &NoImports)?.unit.is_some());
    /// // SAFETY: the function accesses no memory.
    /// let sum = unsafe { manager.call_by_name(b"add", &[10i64.into(), 32i64.into()]) }?;
    /// assert_eq!(sum, Some(42i64.into()));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`compile`](Self::compile). Errors in the source are diagnostics.
    pub fn compile_source(
        &self,
        files: &[SourceFile<'_>],
        mode: Mode,
        host: &dyn ExternalFunctions,
    ) -> Result<Compiled, ManagerError> {
        let mut compiled = self.translate_source(files, mode)?;
        if let Some(unit) = &mut compiled.unit {
            self.compile(&Unit::from_source(unit)?, host)?;
        }
        Ok(compiled)
    }

    /// Translates the files of a program to IR, as [`compile_source`](Self::compile_source) does before it compiles. The
    /// result has a unit if there are no errors in the source.
    ///
    /// # Errors
    /// [`AllocError`].
    pub fn translate_source(
        &self,
        files: &[SourceFile<'_>],
        mode: Mode,
    ) -> Result<Compiled, AllocError> {
        // Another thread that compiles meanwhile starts without memory.
        let mut memory = core::mem::take(&mut *self.front_end.lock());
        let compiled = compile_in(&mut memory, files, mode, &|name| self.external(name))?;
        *self.front_end.lock() = memory;
        Ok(compiled)
    }

    /// The signature of a function of an earlier unit, as source sees it.
    fn external(&self, name: &str) -> Option<ExternalSignature> {
        let function = self.find(name.as_bytes())?;
        // Without memory for it, the function is not found, and the compilation fails.
        let params = try_collect(function.params().iter().copied()).ok()?;
        Some(ExternalSignature { params, result: function.result() })
    }
}

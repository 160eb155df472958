//! Compiles functions of a verified program, one at a time.

use core::fmt;

use super::lower::{Locations, LowerError, Lowered, Lowering};
use crate::bytecode::verify::{Fault, Program, Verifier, VerifyError};

/// Why there is no code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompileError {
    /// The program is refused.
    Verify(VerifyError),
    /// The code cannot be made.
    Lower(LowerError),
}

impl From<VerifyError> for CompileError {
    fn from(error: VerifyError) -> Self {
        CompileError::Verify(error)
    }
}

impl From<LowerError> for CompileError {
    fn from(error: LowerError) -> Self {
        CompileError::Lower(error)
    }
}

impl From<Fault> for CompileError {
    fn from(fault: Fault) -> Self {
        CompileError::Verify(fault.into())
    }
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CompileError::Verify(error) => error.fmt(f),
            CompileError::Lower(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for CompileError {}

/// Compiles functions. Its memory is reused from one function to the next.
#[derive(Debug, Default)]
pub struct Compiler {
    verifier: Verifier,
    lowering: Lowering,
}

impl Compiler {
    /// A compiler that has allocated nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets whether [`Lowered::source_map`] are recorded.
    pub fn record_source_map(&mut self, keep: bool) {
        self.lowering.record_source_map(keep);
    }

    /// Compiles the function `index` of `program`.
    ///
    /// # Errors
    /// The program has no such function, no memory, or more code than a function may have.
    pub fn function(
        &mut self,
        program: &Program<'_>,
        index: u32,
    ) -> Result<Lowered<'_>, CompileError> {
        let facts = self.verifier.facts(program, index)?;
        Ok(self.lowering.function(&facts)?)
    }

    /// The locations of an activation's values at loop heads, in the code that
    /// [`function`](Self::function) makes. On-stack replacement fills them before it enters that code.
    ///
    /// # Errors
    /// As [`function`](Self::function).
    pub fn osr_locations(
        &mut self,
        program: &Program<'_>,
        index: u32,
    ) -> Result<Locations<'_>, CompileError> {
        let facts = self.verifier.facts(program, index)?;
        Ok(self.lowering.osr_locations(&facts))
    }
}

#[cfg(test)]
mod tests;

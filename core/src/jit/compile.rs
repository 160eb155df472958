//! Programs checked and compiled at once, and functions of them compiled one by one.
//!
//! There are two ways. Simple functions go the [quick](super::lower) one, in a single walk over their
//! code; all others go through the verifier, whose facts the code is made from. Which way a function goes
//! nobody can tell but by the time it takes and by the code that comes out: summaries, errors, traps and
//! the heads of loops are the same.
//!
//! A quick walk over a function that calls others takes their results for integers while nothing is
//! known of them. When the program turns out to be another one, or is refused, everything is done again
//! without the quick way, so that what is said of it is what the verifier says.
//!
//! One thing is allowed more: the verifier limits how much it compares where paths meet
//! ([`Fault::Joins`]), and a quick walk compares nothing that would count.

use alloc::vec::Vec;
use core::fmt;

use super::lower::{LowerError, Lowered, Lowering, Places};
use super::verify::{
    Calls, Facts, Fault, Found, FunctionCode, Program, Verifier, VerifyError, Visitor,
};

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

/// Checks and compiles. Its memory is reused.
#[derive(Debug, Default)]
pub struct Compiler {
    verifier: Verifier,
    lowering: Lowering,
    /// Whether all functions go through the verifier.
    is_thorough: bool,
}

impl Compiler {
    /// One that has no memory yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether [`Lowered::origins`] are kept.
    pub fn keep_origins(&mut self, keep: bool) {
        self.lowering.keep_origins(keep);
    }

    /// Whether all functions go through the verifier: the code is better where many variables or
    /// deep loops compete for registers, and takes twice as long to make.
    pub fn be_thorough(&mut self, thorough: bool) {
        self.is_thorough = thorough;
    }

    /// Checks and compiles every function, and shows the code to `each` with the index, in the order of
    /// the functions. What `each` makes of it is for nothing when a later function is refused, or when
    /// the functions begin again at index 0, which happens once at most.
    ///
    /// # Errors
    /// The first thing that is wrong with the program, or no memory.
    pub fn program<'c>(
        &mut self,
        functions: Vec<FunctionCode<'c>>,
        mut each: impl FnMut(u32, Lowered<'_>),
    ) -> Result<Program<'c>, CompileError> {
        let Self { verifier, lowering, is_thorough } = self;
        let mut pass = Pass { lowering, each: &mut each, is_quick: !*is_thorough, error: None };
        let mut found = verifier.visit(&functions, &mut pass);
        if found.is_err() && pass.is_quick {
            (pass.is_quick, pass.error) = (false, None);
            found = verifier.visit(&functions, &mut pass);
        }
        let found = found?;
        pass.error.map_or(Ok(found.program(functions)), |error| Err(error.into()))
    }

    /// Compiles a function of a program.
    ///
    /// # Errors
    /// No such function, no memory, or too much code.
    pub fn function(
        &mut self,
        program: &Program<'_>,
        index: u32,
    ) -> Result<Lowered<'_>, CompileError> {
        if self.quick(program, index) {
            return Ok(self.lowering.lowered()?);
        }
        let facts = self.verifier.facts(program, index)?;
        Ok(self.lowering.function(&facts)?)
    }

    /// Where an activation keeps its values at the heads of loops, in the code that
    /// [`function`](Self::function) makes: what [`abi`](super::lower::abi)'s way in from the interpreter
    /// fills before it goes there. Which way that went is for the caller to say ([`Lowered::is_quick`]): a
    /// walk that had no memory then may have it now.
    ///
    /// # Errors
    /// As [`function`](Self::function).
    pub fn places(
        &mut self,
        program: &Program<'_>,
        index: u32,
        is_quick: bool,
    ) -> Result<Places<'_>, CompileError> {
        if let Some(function) = program.function(index).filter(|_| is_quick) {
            return Ok(self.lowering.simple_places(function));
        }
        let facts = self.verifier.facts(program, index)?;
        Ok(self.lowering.places(&facts))
    }

    /// Compiles a function the quick way, if that is one for it.
    fn quick(&mut self, program: &Program<'_>, index: u32) -> bool {
        let function = program.function(index).filter(|_| !self.is_thorough);
        let quick = function
            .and_then(|function| self.lowering.quick(function, index, &mut program.calls()));
        quick.is_some()
    }
}

/// One time through a program.
struct Pass<'l, F> {
    lowering: &'l mut Lowering,
    each: &'l mut F,
    is_quick: bool,
    error: Option<LowerError>,
}

impl<F: FnMut(u32, Lowered<'_>)> Pass<'_, F> {
    fn keep(&mut self, error: LowerError) {
        self.error = self.error.or(Some(error));
    }
}

impl<'c, F: FnMut(u32, Lowered<'_>)> Visitor<'c> for Pass<'_, F> {
    #[inline(always)]
    fn take_over(
        &mut self,
        function: FunctionCode<'c>,
        index: u32,
        calls: &mut dyn Calls,
    ) -> Option<Found<'_>> {
        if !self.is_quick {
            return None;
        }
        let (longest, result) = self.lowering.quick(function, index, calls)?;
        (self.each)(index, self.lowering.lowered().ok()?);
        Some(Found { longest, result, taken_for_integers: self.lowering.taken_for_integers() })
    }

    #[inline(always)]
    fn look(&mut self, facts: Facts<'_, 'c>) {
        match self.lowering.function(&facts) {
            Ok(lowered) => (self.each)(facts.index, lowered),
            Err(error) => self.keep(error),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;

//! Passes that rewrite IR functions before they are compiled.
//!
//! | level | passes |
//! |---|---|
//! | 0 | none |
//! | 1 | control flow, dead definitions, value numbering with constants |
//! | 2 and above | inlining first; behind those of level 1 loop rotation and loop-invariant motion |
//!
//! The IR is not in SSA form: a local may be set several times, and each pass states what it uses a fact for. The
//! result has the same results, effects on memory and traps, including the source location that a trap reports. An
//! access to memory that the function does not use the value of may be removed; one that would fault is the
//! responsibility of the front end. Each pass takes time in proportion to the function.

mod control;
mod dead;
mod edit;
mod inline;
mod live;
mod local_map;
mod loop_invariant;
mod rotate;
#[cfg(test)]
mod tests;
mod value_numbering;
mod value_table;

use alloc::vec::Vec;

pub use inline::Lookup;

use crate::alloc_util::AllocError;
use crate::ir::function::Function;
use crate::ir::verify::FunctionInstance;

/// The memory of the passes, which is used again from function to function.
#[derive(Debug, Default)]
pub struct PassMemory {
    function: edit::EditableFunction,
    live: live::Live,
    control: control::Control,
    dead: dead::Dead,
    value_numbering: value_numbering::ValueNumbering,
    loop_invariant: loop_invariant::LoopInvariant,
    inline: inline::Inline,
    rotate: rotate::Rotate,
    bytes: Vec<u8>,
}

/// Rewrites `instance` for an optimisation level. The result has no type parameters in its instructions, locals and
/// signatures, and is compiled for the same type arguments. `None` when it is to be compiled as it stands.
///
/// `lookup` finds functions of the same program, verified, for inlining.
///
/// # Errors
/// [`AllocError`].
pub fn optimize<'m>(
    level: u8,
    instance: &FunctionInstance<'_, '_>,
    lookup: Lookup<'_>,
    memory: &'m mut PassMemory,
) -> Result<Option<Function<'m>>, AllocError> {
    if level == 0 || instance.body().is_empty() {
        return Ok(None);
    }
    memory.function.load(instance)?;
    let has_inlined =
        level > 1 && memory.inline.run(&mut memory.function, instance.body(), lookup)?;
    let is_straight = memory.function.is_straight();
    let has_changed = memory.simplify(is_straight)?;
    if is_straight && !has_inlined && !has_changed {
        return Ok(None);
    }
    if level > 1 && !is_straight {
        memory.move_out_of_loops()?;
    }
    if !memory.function.encode(instance, &mut memory.bytes)? {
        return Ok(None);
    }
    Ok(Function::parse(&memory.bytes).ok())
}

impl PassMemory {
    /// Removes what is redundant. Returns whether anything is left out or replaced.
    fn simplify(&mut self, is_straight: bool) -> Result<bool, AllocError> {
        self.function.take_changed();
        self.remove_useless(is_straight)?;
        self.value_numbering.run(&mut self.function)?;
        let has_changed = self.function.take_changed();
        if has_changed {
            self.remove_useless(is_straight)?;
        }
        Ok(has_changed)
    }

    /// Removes jumps and definitions that have no effect.
    fn remove_useless(&mut self, is_straight: bool) -> Result<(), AllocError> {
        if !is_straight {
            self.control.run(&mut self.function)?;
        }
        self.dead.run(&mut self.function, &mut self.live)
    }

    /// The passes of loops, which use that redundant checks are gone.
    fn move_out_of_loops(&mut self) -> Result<(), AllocError> {
        let function = &mut self.function;
        self.rotate.run(function)?;
        self.control.run(function)?;
        if self.loop_invariant.run(function, &mut self.live)? {
            self.value_numbering.run(function)?;
            self.dead.run(function, &mut self.live)?;
        }
        Ok(())
    }
}

//! An activation of the interpreter as compiled code has it.

use alloc::vec::Vec;

use super::LowerError;
use super::frame::{Frame, signed};
use super::homes::Homes;
use super::variable::Variable;
use crate::alloc_util::try_resize;
use crate::codegen::x64::Gpr;

/// Where the values of an activation are at a loop head.
#[derive(Debug)]
pub struct Locations<'h> {
    pub(super) frame: Frame,
    pub(super) homes: &'h Homes,
}

/// The registers that an activation may keep variables in, in the order of [`OsrFrame::registers`].
pub const OSR_REGISTERS: [Gpr; 10] = [
    Gpr::Rdi,
    Gpr::Rsi,
    Gpr::R8,
    Gpr::R9,
    Gpr::R10,
    Gpr::R11,
    Gpr::R12,
    Gpr::R13,
    Gpr::R14,
    Gpr::R15,
];

/// An activation as it is in registers and on the stack at a loop head.
#[derive(Clone, Debug, Default)]
pub struct OsrFrame {
    /// What the registers of [`OSR_REGISTERS`] hold.
    pub registers: [u64; OSR_REGISTERS.len()],
    /// The words of the stack, from the lowest that is in use. After the return address come the
    /// arguments that were passed on the stack.
    pub words: Vec<u64>,
    /// How many of the words are below `rsp`.
    pub below: usize,
    /// Which of the words is the return address, to be filled in.
    pub return_address: usize,
}

impl Locations<'_> {
    /// Fills an image with the values of an activation.
    ///
    /// # Errors
    /// No memory for its words.
    pub fn fill(
        &self,
        image: &mut OsrFrame,
        locals: &[u64],
        vector: &[u64],
    ) -> Result<(), LowerError> {
        let words = |bytes: i32| usize::try_from(bytes / 8).unwrap_or(0);
        let (below, incoming) = (words(-self.frame.slots), words(self.frame.incoming));
        let arguments = words(signed(self.frame.incoming_bytes()));
        image.registers = [0; OSR_REGISTERS.len()];
        image.below = below;
        image.return_address = (below + incoming).saturating_sub(1);
        image.words.clear();
        try_resize(&mut image.words, below + incoming + arguments, 0)?;
        for (local, &value) in (0..).zip(locals) {
            self.put(image, Variable::local(local), value);
        }
        for (slot, &value) in (0..).zip(vector) {
            self.put(image, Variable::slot(slot), value);
        }
        Ok(())
    }

    /// Puts a value into its home, if it has one: what nobody names has none.
    fn put(&self, image: &mut OsrFrame, variable: Variable, value: u64) {
        let place = match self.homes.register(variable) {
            Some(register) => {
                let number = OSR_REGISTERS.iter().position(|&found| found == register);
                number.and_then(|number| image.registers.get_mut(number))
            }
            None => {
                let offset = self
                    .frame
                    .offset(variable)
                    .and_then(|offset| usize::try_from(offset - self.frame.slots.min(0)).ok());
                offset.and_then(|offset| image.words.get_mut(offset / 8))
            }
        };
        if let Some(place) = place {
            *place = value;
        }
    }
}

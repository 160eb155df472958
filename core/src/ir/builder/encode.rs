//! The end of a function: targets are filled in, and the tables are written.

use alloc::vec::Vec;

use super::error::{count_16, count_32};
use super::{BuildError, FunctionBuilder, UNBOUND};
use crate::alloc_util::try_reserve;
use crate::ir::function::{HEADER_2, MAGIC, TYPE};
use crate::ir::instruction::INSTRUCTION_SIZE;

impl FunctionBuilder {
    /// The encoded function.
    ///
    /// # Errors
    /// The first error of any method.
    pub fn finish(mut self) -> Result<Vec<u8>, BuildError> {
        let mut out = Vec::new();
        self.finish_into(&mut out)?;
        Ok(out)
    }

    /// Replaces `out` by the encoded function. The builder can be used for another one after
    /// [`reset`](FunctionBuilder::reset).
    ///
    /// # Errors
    /// The first error of any method; `out` is empty then.
    pub fn finish_into(&mut self, out: &mut Vec<u8>) -> Result<(), BuildError> {
        out.clear();
        self.resolve()?;
        let finished = self.encode(out);
        if finished.is_err() {
            out.clear();
        }
        finished
    }

    /// Fills in the targets that were not bound when their instructions were appended.
    fn resolve(&mut self) -> Result<(), BuildError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        for fixup in &self.fixups {
            let label = usize::try_from(fixup.label).unwrap_or(usize::MAX);
            let target = self.labels.get(label).copied().filter(|&place| place != UNBOUND);
            let target = target.ok_or(BuildError::Unbound(label))?;
            let index = usize::try_from(fixup.instruction).unwrap_or(usize::MAX);
            let instruction = self.instructions.get_mut(index);
            if let Some([.., i0, i1, i2, i3]) = instruction {
                [*i0, *i1, *i2, *i3] = target.to_le_bytes();
            }
        }
        Ok(())
    }

    /// The bytes of all tables. Every count fits, so that this does not wrap before memory ends.
    fn encoded_len(&self) -> usize {
        let tables = self.constants.len() * 8
            + self.instructions.len() * INSTRUCTION_SIZE
            + self.operands.len() * 2
            + self.callees.as_flattened().len()
            + self.slots.as_flattened().len()
            + self.data.as_flattened().len()
            + self.locations.as_flattened().len();
        let bytes = [&self.types, &self.locals, &self.codes, &self.strings, &self.data_bytes];
        HEADER_2 + tables + bytes.iter().map(|bytes| bytes.len()).sum::<usize>()
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), BuildError> {
        try_reserve(out, self.encoded_len())?;
        self.header(out)?;
        for constant in &self.constants {
            out.extend_from_slice(&constant.to_le_bytes());
        }
        out.extend_from_slice(self.instructions.as_flattened());
        // The codes of the callees' parameters follow those of the locals.
        let locals = count_32(self.locals.len(), "locals")?;
        for &[head @ .., p0, p1, p2, p3] in &self.callees {
            let head: [u8; 8] = head;
            // The header's count of all codes fits.
            let first = u32::from_le_bytes([p0, p1, p2, p3]).wrapping_add(locals);
            out.extend_from_slice(&head);
            out.extend(first.to_le_bytes());
        }
        out.extend_from_slice(&self.types);
        for operand in &self.operands {
            out.extend_from_slice(&operand.to_le_bytes());
        }
        out.extend_from_slice(&self.locals);
        out.extend_from_slice(&self.codes);
        out.extend_from_slice(&self.strings);
        out.extend_from_slice(self.slots.as_flattened());
        out.extend_from_slice(self.data.as_flattened());
        out.extend_from_slice(self.locations.as_flattened());
        out.extend_from_slice(&self.data_bytes);
        let length = count_32(out.len(), "bytes")?;
        if let Some(field) = out.get_mut(4..8) {
            field.copy_from_slice(&length.to_le_bytes());
        }
        Ok(())
    }

    fn header(&self, out: &mut Vec<u8>) -> Result<(), BuildError> {
        let has_tables =
            !(self.slots.is_empty() && self.data.is_empty() && self.locations.is_empty());
        let has_callees = self.callees.iter().any(|&[_, _, kind, ..]| kind > 1);
        let version = if has_tables || has_callees { 2 } else { self.version.max(1) };
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&version.to_le_bytes());
        out.extend_from_slice(&[0, 0, self.type_params, self.result]);
        out.extend_from_slice(&self.params.to_le_bytes());
        let codes = self.locals.len().saturating_add(self.codes.len());
        let [constants, instructions] = [self.constants.len(), self.instructions.len()];
        let types = self.types.len() / TYPE;
        let counts = [
            count_16(self.locals.len(), "locals")?,
            count_16(self.callees.len(), "callees")?,
            count_16(types, "types of instances")?,
            count_16(self.strings.len(), "bytes of names")?,
        ];
        out.extend_from_slice(counts.map(u16::to_le_bytes).as_flattened());
        let counts = [
            count_32(self.operands.len(), "operands of calls")?,
            count_32(codes, "types of locals and parameters")?,
            count_32(constants, "constants")?,
            count_32(instructions, "instructions")?,
        ];
        out.extend_from_slice(counts.map(u32::to_le_bytes).as_flattened());
        if version > 1 {
            let slots = count_16(self.slots.len(), "stack slots")?;
            let counts = [slots, count_16(self.data.len(), "pieces of data")?];
            out.extend_from_slice(counts.map(u16::to_le_bytes).as_flattened());
            let bytes = count_32(self.data_bytes.len(), "bytes of data")?;
            let counts = [bytes, count_32(self.locations.len(), "source locations")?, 0];
            out.extend_from_slice(counts.map(u32::to_le_bytes).as_flattened());
        }
        Ok(())
    }
}

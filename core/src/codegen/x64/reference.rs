//! References to labels, and jump relaxation.
//!
//! Instructions are put down with empty distances to labels. The references, and the labels that are bound between them,
//! are listed in the order of the code; the distances are written when the code is asked for.
//!
//! The compiler has jumps relaxed before: a forward jump is put down with a distance of 32 bits, and
//! [`Assembler::settle`] makes it short where the label is near enough. It goes through the list twice:
//!
//! 1. From the end to the start it chooses the form of each forward jump. All code between the jump and its label has its
//!    final length by then, so that the choice is exact. The position of a bound label becomes its offset plus the bytes
//!    that are removed behind it, which is its final offset plus the bytes that are removed in all.
//! 2. From the start to the end it moves the code and writes the distances to bound labels. The others, to constants
//!    behind the code, stay listed.
//!
//! Both take one step for each label and reference, and each byte is moved once. A jump backward has the form that it was
//! put down with: code that is removed later only brings its label nearer.

use super::assembler::{Assembler, Reference, ReferenceKind};
use crate::alloc_util::try_push;
use crate::codegen::assemble_error::AssembleError;
use crate::codegen::label::Label;
use crate::codegen::machine::{Cut, without_cuts};

/// The longest distance in one byte.
const SHORT: u32 = 127;

impl Assembler {
    /// Lists a reference whose distance is at `site`.
    #[inline]
    pub(super) fn refer(&mut self, site: u32, label: Label, kind: ReferenceKind) {
        let reference = Reference { site, label, kind, removed: 0 };
        if try_push(&mut self.references, reference).is_err() {
            self.keep(AssembleError::OutOfMemory { bytes: size_of::<Reference>() });
        }
    }

    /// A jump in its shortest form if it leads back, and in its near form otherwise. `escaped`: 0x0f comes before the
    /// opcode of the near form.
    #[inline]
    pub(super) fn jump(&mut self, short: u8, near: u8, escaped: bool, label: Label) {
        let (opcode, len) =
            if escaped { (u64::from(near) << 8 | 0x0f, 2) } else { (u64::from(near), 1) };
        let kind = match self.labels.offset(label) {
            Some(target) => {
                let distance = target.wrapping_sub(self.at + 2).cast_signed();
                if i8::try_from(distance).is_ok() {
                    return self.jump_short(short, label);
                }
                ReferenceKind::Near(0)
            }
            None => ReferenceKind::Jump { opcode: len as u8 },
        };
        self.refer(self.at + len, label, kind);
        self.put_short(opcode, len + 4);
    }

    /// A jump in its short form.
    #[inline]
    pub(super) fn jump_short(&mut self, opcode: u8, label: Label) {
        self.refer(self.at + 1, label, ReferenceKind::Short);
        self.put_short(opcode.into(), 2);
    }

    /// Puts a label where the next instruction will be.
    #[inline]
    pub fn bind(&mut self, label: Label) {
        match self.labels.bind(label, self.at) {
            Ok(()) => self.refer(self.at, label, ReferenceKind::Bind),
            Err(error) => self.keep(error),
        }
    }

    /// Writes the distances that are listed. Repeated calls change nothing.
    pub(super) fn resolve(&mut self) {
        let references = core::mem::take(&mut self.references);
        for &Reference { site, label, kind, .. } in &references {
            match self.labels.target(label) {
                Ok(target) => self.write(site, site, kind, target),
                Err(error) => self.keep(error),
            }
        }
        // The memory is reused.
        self.references = references;
        self.references.clear();
    }

    /// Writes a distance. It is at `site`, and will be at `now` when the code has moved.
    #[inline]
    fn write(&mut self, site: u32, now: u32, kind: ReferenceKind, target: u32) {
        let behind = match kind {
            ReferenceKind::Bind => return,
            ReferenceKind::Short => return self.write_short(site, now, target),
            ReferenceKind::Jump { .. } => 0,
            ReferenceKind::Near(behind) => u32::from(behind),
        };
        let place = self.bytes.get_mut(site as usize..).and_then(<[u8]>::first_chunk_mut);
        if let Some(place) = place {
            *place = target.wrapping_sub(now + 4 + behind).to_le_bytes();
        }
    }

    fn write_short(&mut self, site: u32, now: u32, target: u32) {
        let distance = i64::from(target) - i64::from(now + 1);
        match (i8::try_from(distance), self.bytes.get_mut(site as usize)) {
            (Ok(distance), Some(place)) => *place = distance.cast_unsigned(),
            (Ok(_), None) => {}
            (Err(_), _) => self.keep(AssembleError::NotShort { offset: now, distance }),
        }
    }

    /// Makes forward jumps short where their labels are near enough, and leaves out jumps to the next instruction. Labels
    /// that are bound must not be used any more, and what is put down behind this stays where it is. Returns the places at
    /// which code was removed.
    pub(crate) fn settle(&mut self) -> &[Cut] {
        if self.error.is_none() {
            let total = self.choose();
            self.close(total);
            without_cuts(&self.cuts, self.relocations.iter_mut().map(|place| &mut place.offset));
        }
        &self.cuts
    }

    /// Chooses the forms of forward jumps. Returns the number of bytes to remove.
    fn choose(&mut self) -> u32 {
        let mut behind = 0;
        for found in self.references.iter_mut().rev() {
            match (found.kind, self.labels.offset(found.label)) {
                (ReferenceKind::Bind, _) => self.labels.move_up(found.label, behind),
                (ReferenceKind::Jump { opcode }, Some(target)) => {
                    found.removed = match target.wrapping_sub(found.site + 4 + behind) {
                        0 => opcode + 4,
                        1..=SHORT => opcode + 2,
                        _ => 0,
                    };
                    behind += u32::from(found.removed);
                }
                _ => {}
            }
        }
        behind
    }

    /// Moves the code and writes the distances to bound labels.
    fn close(&mut self, total: u32) {
        let mut references = core::mem::take(&mut self.references);
        let (mut from, mut removed) = (0, 0);
        references.retain_mut(|found| {
            let site = found.site;
            found.site -= removed;
            let Some(target) = self.labels.offset(found.label) else { return true };
            let target = target.wrapping_sub(total);
            match found.kind {
                ReferenceKind::Jump { opcode } if found.removed != 0 => {
                    let start = site - u32::from(opcode);
                    let near = self.bytes.get(site as usize - 1).copied();
                    self.move_down(from, start, removed);
                    self.put_short_jump(start - removed, near.unwrap_or(0), target);
                    (from, removed) = (site + 4, removed + u32::from(found.removed));
                    if try_push(&mut self.cuts, Cut { end: from, removed }).is_err() {
                        self.keep(AssembleError::OutOfMemory { bytes: size_of::<Cut>() });
                    }
                }
                kind => self.write(site, found.site, kind, target),
            }
            false
        });
        self.move_down(from, self.at, removed);
        self.at -= removed;
        self.references = references;
    }

    /// Moves the code from `from` to `end` down by so many bytes.
    #[inline]
    fn move_down(&mut self, from: u32, end: u32, by: u32) {
        let [from, end, by] = [from, end, by].map(|offset| offset as usize);
        if by != 0 && from <= end && end <= self.bytes.len() {
            self.bytes.copy_within(from..end, from - by);
        }
    }

    /// Puts down the short form of a jump with this last byte of its opcode. What it overwrites has been moved.
    fn put_short_jump(&mut self, start: u32, near: u8, target: u32) {
        // The condition is in both opcodes of a conditional jump.
        let opcode = if near == 0xe9 { 0xeb } else { near & 0x0f | 0x70 };
        let distance = target.wrapping_sub(start + 2) as u8;
        let place = self.bytes.get_mut(start as usize..).and_then(<[u8]>::first_chunk_mut);
        if let Some(place) = place {
            *place = [opcode, distance];
        }
    }
}

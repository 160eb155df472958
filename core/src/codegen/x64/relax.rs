//! Jump relaxation: forward jumps are put down with a distance of 32 bits and made short once all labels are bound.
//!
//! While instructions are put down, the storage collects bound labels and references to labels in the order of the code.
//! [`Assembler::settle`] goes through them twice:
//!
//! 1. From the end to the start it chooses the form of each forward jump. All code between the jump and its label has its
//!    final length by then, so that the choice is exact. The position of a bound label becomes its offset plus the bytes
//!    that are removed behind it, which is its final offset plus the bytes that are removed in all.
//! 2. From the start to the end it moves the code and writes the distances.
//!
//! Both take one step for each label and reference, and each byte is moved once. A jump backward has the form that it was
//! put down with: code that is removed later only brings its label nearer. Distances to labels that are bound later, those
//! of constants behind the code, form chains as without relaxation.

use alloc::vec::Vec;

use super::assembler::Assembler;
use super::label::{BOUND, Label, LabelState};
use super::operand::sealed::Sealed;
use super::storage::{Growing, Reference, Storage};
use crate::alloc_util::try_push;
use crate::codegen::assemble_error::AssembleError;
use crate::codegen::code::Relocation;
use crate::codegen::machine::{Cut, without_cuts};

/// The longest distance in one byte.
const SHORT: u32 = 127;

/// Memory that doubles when it is full, and references to labels that are not settled yet.
#[derive(Clone, Debug, Default)]
pub struct Relaxing {
    memory: Growing,
    references: Vec<Collected>,
    cuts: Vec<Cut>,
}

/// A reference to a label, or its place.
#[derive(Clone, Copy, Debug)]
struct Collected {
    site: u32,
    label: Label,
    reference: Reference,
    /// Bytes by which a jump becomes shorter.
    removed: u8,
}

impl Sealed for Relaxing {}
impl Storage for Relaxing {
    const RELAXES: bool = true;

    #[inline(always)]
    fn bytes(&mut self) -> &mut [u8] {
        self.memory.bytes()
    }

    #[inline(always)]
    fn labels(&mut self) -> &mut [LabelState] {
        self.memory.labels()
    }

    #[inline(always)]
    fn relocations(&mut self) -> &mut [Relocation] {
        self.memory.relocations()
    }

    fn used(&self, bytes: usize, relocations: usize) -> (&[u8], &[Relocation]) {
        self.memory.used(bytes, relocations)
    }

    fn grow_bytes(&mut self, count: usize) -> Result<(), AssembleError> {
        self.memory.grow_bytes(count)
    }

    fn grow_labels(&mut self, count: usize) -> Result<(), AssembleError> {
        self.memory.grow_labels(count)
    }

    fn grow_relocations(&mut self, count: usize) -> Result<(), AssembleError> {
        self.memory.grow_relocations(count)
    }

    fn clear(&mut self) {
        self.references.clear();
        self.cuts.clear();
    }

    #[inline]
    fn collect(
        &mut self,
        site: u32,
        label: Label,
        reference: Reference,
    ) -> Result<(), AssembleError> {
        let collected = Collected { site, label, reference, removed: 0 };
        let bytes = size_of::<Collected>();
        try_push(&mut self.references, collected).map_err(|_| AssembleError::OutOfMemory { bytes })
    }
}

impl Assembler<Relaxing> {
    /// An assembler whose storage grows, and whose forward jumps become short where their labels are near enough.
    /// A jump to the next instruction is left out.
    pub fn relaxing() -> Self {
        Self::new(Relaxing::default())
    }

    /// Gives all jumps their final form. Labels that are bound must not be used any more, and what is put down behind this
    /// stays where it is. Returns the places at which code was removed.
    pub(crate) fn settle(&mut self) -> &[Cut] {
        self.is_settled = true;
        if self.error.is_none() {
            let total = self.choose();
            self.close(total);
            let used = self.relocations;
            let relocations = self.storage.memory.relocations.iter_mut().take(used);
            without_cuts(&self.storage.cuts, relocations.map(|place| &mut place.offset));
        }
        &self.storage.cuts
    }

    /// Chooses the forms of forward jumps. Returns the number of bytes to remove.
    fn choose(&mut self) -> u32 {
        let Relaxing { memory, references, .. } = &mut self.storage;
        let mut behind = 0;
        for found in references.iter_mut().rev() {
            let Some(label) = memory.labels.get_mut(found.label.0 as usize) else { continue };
            match found.reference {
                Reference::Bind => label.near += behind,
                Reference::Jump { opcode } if label.short == BOUND => {
                    let distance = label.near.wrapping_sub(found.site + 4 + behind);
                    found.removed = match distance {
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

    /// Moves the code and writes the distances.
    fn close(&mut self, total: u32) {
        let references = core::mem::take(&mut self.storage.references);
        let (mut from, mut removed) = (0, 0);
        for found in &references {
            let Collected { site, label, reference, .. } = *found;
            let state = self.storage.memory.labels.get(label.0 as usize);
            let state = state.copied().unwrap_or(LabelState::UNUSED);
            let now = site - removed;
            let target = match (state.short == BOUND, reference) {
                (_, Reference::Bind) => continue,
                (true, _) => state.near.wrapping_sub(total),
                (false, Reference::Near(trailing)) => {
                    let link = self.follow(label, state, now) | u32::from(trailing) << 28;
                    self.write(site, link);
                    continue;
                }
                (false, _) => {
                    self.keep(Err(AssembleError::Unbound { label: label.0 }));
                    continue;
                }
            };
            match reference {
                Reference::Jump { opcode } if found.removed != 0 => {
                    let start = site - u32::from(opcode);
                    let near = self.storage.memory.bytes.get(site as usize - 1).copied();
                    self.move_down(from, start, removed);
                    self.put_short_jump(start - removed, near.unwrap_or(0), target);
                    (from, removed) = (site + 4, removed + u32::from(found.removed));
                    let pushed = try_push(&mut self.storage.cuts, Cut { end: from, removed });
                    if pushed.is_err() {
                        self.keep(Err(AssembleError::OutOfMemory { bytes: size_of::<Cut>() }));
                    }
                }
                Reference::Short => {
                    let distance = self.fit(now, i64::from(target) - i64::from(now + 1));
                    if let Some(place) = self.storage.memory.bytes.get_mut(site as usize) {
                        *place = distance;
                    }
                }
                Reference::Near(trailing) => {
                    self.write(site, target.wrapping_sub(now + 4 + u32::from(trailing)));
                }
                _ => self.write(site, target.wrapping_sub(now + 4)),
            }
        }
        self.move_down(from, self.at, removed);
        self.at -= removed;
        self.storage.references = references;
    }

    fn write(&mut self, site: u32, word: u32) {
        if let Some(place) = self.word_at(site) {
            *place = word.to_le_bytes();
        }
    }

    /// Moves the code from `from` to `end` down by so many bytes.
    #[inline]
    fn move_down(&mut self, from: u32, end: u32, by: u32) {
        let [from, end, by] = [from, end, by].map(|offset| offset as usize);
        let bytes = self.storage.memory.bytes.as_mut_slice();
        if by != 0 && from <= end && end <= bytes.len() {
            bytes.copy_within(from..end, from - by);
        }
    }

    /// Puts down the short form of a jump with this last byte of its opcode. What it overwrites has been moved.
    fn put_short_jump(&mut self, start: u32, near: u8, target: u32) {
        let bytes = &mut self.storage.memory.bytes;
        // The condition is in both opcodes of a conditional jump.
        let opcode = if near == 0xe9 { 0xeb } else { near & 0x0f | 0x70 };
        let distance = target.wrapping_sub(start + 2) as u8;
        let place = bytes.get_mut(start as usize..).and_then(<[u8]>::first_chunk_mut);
        if let Some(place) = place {
            *place = [opcode, distance];
        }
    }
}

//! Places in code that jumps and addresses lead to, before or after they are known.
//!
//! Instructions that lead to a label that is not bound yet form a chain through their own
//! distances: each holds where the one before it is, and the table of labels holds the last.
//! Binding walks the chain and puts the distances in. So references need no list of their own, and
//! all the work is one step for each reference.
//!
//! Invariants:
//!
//! 1. The place of a distance in a chain lies in front of the one that leads to it, which ends
//!    every walk.
//! 2. `open` is the number of distances in all chains, so that none of them is forgotten.
//! 3. Chains are whole while there is no error. With one, instructions may not have been written,
//!    so chains are no longer walked: there will be no code.
//!
//! A storage that relaxes jumps collects the references instead ([`relax`](super::relax)) until they are settled.

use super::assembler::Assembler;
use super::label::{BOUND, Label, LabelState, Labels, NIL};
use super::storage::{Reference, Storage};
use crate::codegen::assemble_error::AssembleError;

/// Where a label stands.
enum Found {
    At(u32),
    Open(LabelState),
    Unknown,
}

impl<S: Storage> Assembler<S> {
    /// A label that is not bound.
    #[inline]
    pub fn label(&mut self) -> Label {
        let number = self.labels;
        if let Some(state) = self.storage.labels().get_mut(number as usize) {
            *state = LabelState::UNUSED;
        } else {
            self.grow_labels(number);
        }
        self.labels = number.saturating_add(1);
        Label(number)
    }

    /// As many labels that are not bound.
    pub fn labels(&mut self, count: usize) -> Labels {
        let first = self.labels;
        let count = u32::try_from(count).unwrap_or(u32::MAX).min(u32::MAX - first);
        let (start, end) = (first as usize, (first + count) as usize);
        if self.storage.labels().len() < end {
            let grown = self.storage.grow_labels(end);
            self.keep(grown);
        }
        let end = end.min(self.storage.labels().len());
        self.storage.labels().get_mut(start..end).unwrap_or_default().fill(LabelState::UNUSED);
        self.labels = first + count;
        Labels { first, count }
    }

    #[cold]
    #[inline(never)]
    fn grow_labels(&mut self, number: u32) {
        let grown = self.storage.grow_labels((number as usize).saturating_add(1));
        self.keep(grown);
        if let Some(state) = self.storage.labels().get_mut(number as usize) {
            *state = LabelState::UNUSED;
        }
    }

    #[inline(always)]
    fn find(&mut self, label: Label) -> Found {
        let known = label.0 < self.labels;
        match self.storage.labels().get(label.0 as usize).filter(|_| known) {
            Some(state) if state.short == BOUND => Found::At(state.near),
            Some(state) => Found::Open(*state),
            None => Found::Unknown,
        }
    }

    #[inline(always)]
    fn set(&mut self, label: Label, state: LabelState) {
        if let Some(place) = self.storage.labels().get_mut(label.0 as usize) {
            *place = state;
        }
    }

    #[cold]
    #[inline(never)]
    fn unknown(&mut self, label: Label) -> u32 {
        self.keep(Err(AssembleError::UnknownLabel { label: label.0 }));
        0
    }

    /// The first label that something leads to and that is not bound.
    #[cold]
    pub(super) fn unbound(&mut self) -> Result<(), AssembleError> {
        let used = self.storage.labels().iter().zip(0..self.labels);
        let mut unbound =
            used.filter(|(state, _)| state.short != BOUND && **state != LabelState::UNUSED);
        unbound.next().map_or(Ok(()), |(_, label)| Err(AssembleError::Unbound { label }))
    }

    /// What to write at `site`, four bytes before the last `trailing` ones of an instruction, to
    /// lead to `label`.
    #[inline(always)]
    pub(super) fn distance(&mut self, label: Label, site: u32, trailing: u32) -> u32 {
        if self.collects() {
            return self.collect(site, label, Reference::Near(trailing as u8));
        }
        match self.find(label) {
            Found::At(target) => target.wrapping_sub(site + 4 + trailing),
            Found::Open(state) => self.follow(label, state, site) | trailing << 28,
            Found::Unknown => self.unknown(label),
        }
    }

    /// A jump to `label`, with an opcode for a distance of 8 bits, and one for 32 bits that may
    /// have an escape in front.
    #[inline(always)]
    pub(super) fn jump(&mut self, short: u8, near: u8, escaped: bool, label: Label) {
        let (opcode, len) =
            if escaped { (u64::from(near) << 8 | 0x0f, 2) } else { (u64::from(near), 1) };
        let site = self.at + len;
        let distance = match self.find(label) {
            Found::At(target) => {
                let distance = target.wrapping_sub(self.at + 2).cast_signed();
                if i8::try_from(distance).is_ok() {
                    return self.jump_short(short, label);
                }
                match self.collects() {
                    true => self.collect(site, label, Reference::Near(0)),
                    false => target.wrapping_sub(site + 4),
                }
            }
            Found::Open(_) if self.collects() => {
                let opcode = len as u8;
                self.collect(site, label, Reference::Jump { opcode })
            }
            Found::Open(state) => self.follow(label, state, site),
            Found::Unknown => self.unknown(label),
        };
        self.put_short(opcode | u64::from(distance) << (8 * len), len + 4);
    }

    /// Whether references are collected to be settled.
    #[inline(always)]
    fn collects(&self) -> bool {
        S::RELAXES && !self.is_settled
    }

    /// Leaves a reference to `label` to be settled.
    #[inline(always)]
    fn collect(&mut self, site: u32, label: Label, reference: Reference) -> u32 {
        if let Err(error) = self.storage.collect(site, label, reference) {
            self.keep(Err(error));
        }
        0
    }

    /// Puts `site` at the end of a chain. Returns what leads to the one before it.
    #[inline(always)]
    pub(super) fn follow(&mut self, label: Label, state: LabelState, site: u32) -> u32 {
        self.open += 1;
        self.set(label, LabelState { near: site, ..state });
        state.near
    }

    /// A jump to `label` with a distance of 8 bits, which the caller promises to be enough.
    #[inline]
    pub(super) fn jump_short(&mut self, opcode: u8, label: Label) {
        let site = self.at + 1;
        let distance = match self.find(label) {
            Found::At(_) | Found::Open(_) if self.collects() => {
                self.collect(site, label, Reference::Short);
                0
            }
            Found::At(target) => {
                let distance = i64::from(target) - i64::from(site + 1);
                self.fit(site, distance)
            }
            Found::Open(state) => {
                self.open += 1;
                self.set(label, LabelState { short: site, ..state });
                let before = site.wrapping_sub(state.short);
                if state.short == NIL { 0 } else { self.fit(state.short, before.into()) }
            }
            Found::Unknown => {
                self.unknown(label);
                0
            }
        };
        self.put_short(u64::from(opcode) | u64::from(distance) << 8, 2);
    }

    /// `distance` as the byte at `site`, or an error.
    #[inline]
    pub(super) fn fit(&mut self, site: u32, distance: i64) -> u8 {
        if let Ok(distance) = i8::try_from(distance) {
            return distance.cast_unsigned();
        }
        self.keep(Err(AssembleError::NotShort { offset: site, distance }));
        0
    }

    /// Binds `label` to the end of the code so far: what is put down next is what it leads to.
    #[inline]
    pub fn bind(&mut self, label: Label) {
        match self.find(label) {
            Found::Open(state) if self.collects() || state == LabelState::UNUSED => {
                self.set(label, LabelState { near: self.at, short: BOUND });
                if self.collects() {
                    self.collect(self.at, label, Reference::Bind);
                }
            }
            Found::Open(state) if self.error.is_none() => self.bind_used(label, state),
            Found::Open(_) => {}
            Found::At(_) => self.bind_again(label),
            Found::Unknown => {
                self.unknown(label);
            }
        }
    }

    #[inline(never)]
    fn bind_used(&mut self, label: Label, LabelState { near, short }: LabelState) {
        self.set(label, LabelState { near: self.at, short: BOUND });
        self.close_near(near);
        self.close_short(short);
    }

    #[cold]
    #[inline(never)]
    fn bind_again(&mut self, label: Label) {
        let offset = self.at;
        self.keep(Err(AssembleError::BoundTwice { label: label.0, offset }));
    }

    #[inline]
    fn close_near(&mut self, mut site: u32) {
        let target = self.at;
        while site != NIL {
            let Some(place) = self.word_at(site) else { return };
            let link = u32::from_le_bytes(*place);
            let end = site + 4 + (link >> 28);
            *place = target.wrapping_sub(end).to_le_bytes();
            self.open = self.open.wrapping_sub(1);
            site = link & NIL;
        }
    }

    #[inline]
    fn close_short(&mut self, mut site: u32) {
        let target = self.at;
        while site != NIL {
            let distance = self.fit(site, i64::from(target) - i64::from(site + 1));
            let Some(place) = self.storage.bytes().get_mut(site as usize) else { return };
            let before = u32::from(core::mem::replace(place, distance));
            self.open = self.open.wrapping_sub(1);
            site = if before == 0 { NIL } else { site.wrapping_sub(before) };
        }
    }

    #[inline(always)]
    pub(super) fn word_at(&mut self, site: u32) -> Option<&mut [u8; 4]> {
        self.storage.bytes().get_mut(site as usize..)?.first_chunk_mut()
    }
}

//! Any other instruction set: relocations of data, and calls within reach.

use super::traits::{Jump, Machine, Requirement, VENEER, common_requirement};
use crate::format::RelocKind;

pub(in super::super) struct Generic;

impl Machine for Generic {
    const JUMPS_THROUGH_GOT: bool = false;
    const BRANCH_REACH: u64 = u64::MAX;

    fn requirement(kind: RelocKind) -> Option<Requirement> {
        match common_requirement(kind) {
            // There are no veneers.
            Some(Requirement::Veneer) => Some(Requirement::Nothing),
            requirement => requirement,
        }
    }

    fn veneer(_: Jump) -> Option<[u8; VENEER as usize]> {
        None
    }
}

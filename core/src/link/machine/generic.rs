//! Any other instruction set: relocations of data, and calls of what is in reach.

use super::{Aarch64, Jump, Machine, Need, VENEER, X86_64, common_need};
use crate::format::RelocKind;

pub(in super::super) struct Generic;

impl Machine for Generic {
    const JUMPS_THROUGH_GOT: bool = false;
    const BRANCH_REACH: u64 = u64::MAX;
    const IS_HOST: bool = !X86_64::IS_HOST && !Aarch64::IS_HOST;

    fn need(kind: RelocKind) -> Option<Need> {
        match common_need(kind) {
            // In whose code nobody knows how to jump, there are no veneers.
            Some(Need::Veneer) => Some(Need::Nothing),
            need => need,
        }
    }

    fn veneer(_: Jump) -> Option<[u8; VENEER as usize]> {
        None
    }
}

//! The host functions that a program calls, each with what it is passed first.

use alloc::vec::Vec;

use hashbrown::HashMap;

use super::error::Fault;
use super::program::HostCall;
use crate::alloc_util::sort::sort_by_key;
use crate::alloc_util::{AllocError, try_collect};

/// The host functions that a program calls, by index.
#[derive(Debug, Default)]
pub(super) struct HostCalls {
    calls: HashMap<u16, HostCall>,
    last: Option<(u16, u16)>,
}

impl HostCalls {
    pub(super) fn add(
        &mut self,
        index: u16,
        argc: u16,
        function: u32,
        at: u32,
    ) -> Result<(), Fault> {
        if self.last == Some((index, argc)) {
            return Ok(());
        }
        self.calls.try_reserve(1).map_err(|_| AllocError)?;
        let first = self.calls.entry(index).or_insert(HostCall { index, argc, function, at });
        if first.argc != argc {
            let HostCall { argc: other, function, at, .. } = *first;
            return Err(Fault::HostArguments { index, argc, other, function, at });
        }
        self.last = Some((index, argc));
        Ok(())
    }

    /// All of them, by index.
    pub(super) fn into_calls(self) -> Result<Vec<HostCall>, AllocError> {
        let mut calls = try_collect(self.calls.into_values())?;
        sort_by_key(&mut calls, |call| call.index);
        Ok(calls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "takes minutes in the interpreter")]
    fn calls_are_kept_once_and_given_by_index() {
        let mut calls = HostCalls::default();
        // 7 is prime to 65,536: every index comes, in no order, and each twice.
        for number in (0..=u16::MAX).chain(0..=9) {
            let index = number.wrapping_mul(7);
            calls.add(index, index % 9, number.into(), 0).unwrap();
        }
        let refused = calls.add(14, 8, 1, 2).unwrap_err();
        let (index, argc, other, function, at) = (14, 8, 5, 2, 0);
        assert_eq!(refused, Fault::HostArguments { index, argc, other, function, at });
        let calls = calls.into_calls().unwrap();
        assert_eq!(calls.len(), 65_536);
        for (call, index) in calls.iter().zip(0..=u16::MAX) {
            assert_eq!((call.index, call.argc), (index, index % 9));
        }
    }
}

//! The host functions that a program calls, each with what it is passed first.
//!
//! Stored in pages of 256 indices, each in order, so that a call that comes late moves no more than a page.

use alloc::vec::Vec;

use super::error::Fault;
use super::program::HostCall;
use crate::alloc_util::{AllocError, try_reserve, try_with_capacity};

/// The host functions that a program calls, by index.
#[derive(Debug, Default)]
pub(super) struct HostCalls {
    /// Those whose index has the number of the page in its high byte.
    pages: Vec<Vec<HostCall>>,
    count: usize,
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
        let page = self.page(index >> 8)?;
        match page.binary_search_by_key(&index, |call| call.index) {
            Ok(place) => {
                let other = page.get(place).filter(|call| call.argc != argc);
                if let Some(&HostCall { argc: other, function, at, .. }) = other {
                    return Err(Fault::HostArguments { index, argc, other, function, at });
                }
            }
            Err(place) => {
                try_reserve(page, 1)?;
                page.insert(place, HostCall { index, argc, function, at });
                self.count += 1;
            }
        }
        self.last = Some((index, argc));
        Ok(())
    }

    fn page(&mut self, number: u16) -> Result<&mut Vec<HostCall>, Fault> {
        let number = usize::from(number);
        let missing = (number + 1).saturating_sub(self.pages.len());
        try_reserve(&mut self.pages, missing)?;
        self.pages.resize_with(self.pages.len() + missing, Vec::new);
        self.pages.get_mut(number).ok_or(Fault::OutOfMemory)
    }

    /// All of them, by index.
    pub(super) fn into_calls(self) -> Result<Vec<HostCall>, AllocError> {
        let mut calls = try_with_capacity(self.count)?;
        self.pages.iter().for_each(|page| calls.extend_from_slice(page));
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

//! Where no code is made of templates nothing traps: plain calls.
#![allow(unsafe_code)]

use alloc::vec::Vec;

use super::{Ended, Returned, Word};
use crate::link::LinkError;
use crate::link::call::{MAX_ARGS, call};

/// Where a trap would go.
#[derive(Debug)]
pub(super) struct Landing;

impl Landing {
    pub(super) const fn new() -> Self {
        Self
    }
}

/// A call.
#[derive(Debug)]
pub(super) struct Frame {
    function: u64,
    words: [i64; MAX_ARGS],
    len: usize,
}

impl Frame {
    pub(super) fn of_words(
        function: u64,
        words: &[Word],
        _: &mut Vec<u64>,
    ) -> Result<Self, LinkError> {
        let mut frame = Self { function, words: [0; MAX_ARGS], len: words.len() };
        let too_many = LinkError::TooManyArguments { given: words.len() };
        let places = frame.words.get_mut(..words.len()).ok_or(too_many)?;
        for (place, word) in places.iter_mut().zip(words) {
            let Word::Integer(bits) = *word else { return Err(LinkError::FloatArguments) };
            *place = bits.cast_signed();
        }
        Ok(frame)
    }
}

/// Calls a function of integers.
///
/// # Safety
/// As [`call`].
pub(super) unsafe fn run_integers(
    _: *mut Landing,
    function: u64,
    args: &[i64],
) -> Result<u64, LinkError> {
    // SAFETY: passed on to the caller.
    let returned = unsafe { call(function, args) };
    returned.map(i64::cast_unsigned)
}

/// Calls what the frame says.
///
/// # Safety
/// As [`call`].
pub(super) unsafe fn run(frame: *mut Frame) -> Result<Returned, LinkError> {
    // SAFETY: the caller's frame, which nobody else looks at.
    let Frame { function, words, len } = unsafe { &*frame };
    // SAFETY: passed on to the caller.
    let integer = unsafe { call(*function, words.get(..*len).unwrap_or(words)) }?;
    Ok(Returned { integer: integer.cast_unsigned(), float: 0 })
}

/// Never reached: no code of this machine leads to the hook.
///
/// # Safety
/// None.
pub(super) unsafe fn land(_: *mut Landing, ended: Ended) -> ! {
    unreachable!("{}, on a machine that no code is made for", LinkError::from(ended))
}

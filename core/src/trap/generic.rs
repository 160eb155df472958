//! Where no code is made of templates nothing traps: plain calls.
#![allow(unsafe_code)]

use alloc::vec::Vec;

use crate::link::LinkError;
use crate::link::call::{MAX_ARGS, call};
use crate::trap::{Ending, Failed, Returned, TrapChain, Word};

/// Where a trap would go.
#[derive(Debug)]
pub(super) struct Landing;

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
pub(super) unsafe fn run_integers<'h>(
    _: &'h TrapChain,
    function: u64,
    args: &[i64],
) -> Result<u64, Failed<'h>> {
    // SAFETY: passed on to the caller.
    let returned = unsafe { call(function, args) };
    // Nothing else that it refuses.
    returned.map(i64::cast_unsigned).map_err(|_| Failed::TooManyArguments { given: args.len() })
}

/// Calls what the frame says.
///
/// # Safety
/// As [`call`].
pub(super) unsafe fn run<'h>(
    head: &'h TrapChain,
    frame: &mut Frame,
) -> Result<Returned, Failed<'h>> {
    let Frame { function, words, len } = frame;
    // SAFETY: passed on to the caller.
    let integer = unsafe { run_integers(head, *function, words.get(..*len).unwrap_or(words)) }?;
    Ok(Returned { integer, float: 0 })
}

/// Never reached: no code of this machine leads to the hook.
///
/// # Safety
/// As [`Ending::of`].
pub(super) unsafe fn land(head: &TrapChain) -> ! {
    // SAFETY: passed on to the caller.
    let error = LinkError::from(Failed::Ended(unsafe { Ending::of(head) }));
    unreachable!("{error}, on a machine that no code is made for")
}

//! Epoch-based reclamation of replaced code.
//!
//! A thread pins the current epoch before it enters module code and unpins it when it has returned. The
//! epoch advances from `n` to `n + 1` only when no thread is pinned in `n - 1`, so two counters are enough,
//! one for even and one for odd epochs. Code that became unreachable in epoch `n` is not reached by a thread
//! that pins epoch `n + 1` or later, and every thread of epoch `n` has unpinned when epoch `n + 2` begins.
//!
//! No operation waits for another thread. Any thread may pin, retire and advance at any time, so that
//! several loaders can share one [`Epochs`].
//!
//! Orderings. A retiring thread unlinks the code, then reads the epoch; an advancing thread reads a counter,
//! then writes the epoch. Both read by a read-modify-write operation that adds nothing:
//!
//! * The advancing thread's operation on the counter comes either after the pinning thread's increment,
//!   and sees it, or before. In the second case the increment reads from it, and the pinning thread
//!   observes everything that happened before the advance: the new epoch, and the unlinking.
//! * The retiring thread's operation on the epoch comes either before an advance, which then publishes the
//!   unlinking together with the new epoch, or after it, and then the code counts as retired in the new epoch.
//!
//! A host may also count threads in a way of its own ([`Epochs::with_others`]): the advance from `n` to `n + 1` then
//! waits until each of them has been outside since epoch `n` began. Code that retired in epoch `n - 1` was unlinked
//! before that.
//!
//! A plain load in either place misses one of these cases. The models in `tests/epoch_model.rs` run every
//! interleaving under loom (`RUSTFLAGS="--cfg loom"`), with the stub that the threads call through.
//!
//! Source: K. Fraser, Practical lock-freedom (2004), 5.2.3.

#[cfg(all(test, loom))]
use loom::sync::atomic::AtomicUsize;

#[cfg(not(all(test, loom)))]
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

/// Whether every thread that enters code without a guard has been outside of it since an epoch began, and observes
/// afterwards what was unlinked before.
pub type HaveLeft = fn(epoch: usize) -> bool;

/// A reclamation domain: which threads may be inside code that was entered through it.
#[derive(Debug)]
pub struct Epochs {
    current: AtomicUsize,
    /// How many guards there are, by the parity of the epoch that each one pins.
    pinned: [AtomicUsize; 2],
    others_have_left: HaveLeft,
}

/// Pins the epoch in which it was made, until it is dropped.
#[derive(Debug)]
#[must_use = "the epoch is unpinned when the guard is dropped"]
pub struct Guard<'e> {
    epochs: &'e Epochs,
    epoch: PinnedEpoch,
}

/// An epoch that is pinned, until it is [unpinned](Epochs::unpin).
#[derive(Debug)]
pub(super) struct PinnedEpoch(usize);

/// The epoch in which something became unreachable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RetiredAt(usize);

impl Epochs {
    /// A domain in which no thread is pinned.
    #[cfg(not(all(test, loom)))]
    pub const fn new() -> Self {
        Self::with_others(|_| true)
    }

    /// A domain that threads also enter without a guard, in a way of the host. The epoch after `epoch` begins only when
    /// `have_left(epoch)`.
    ///
    /// Code that retired before `epoch` was unlinked before the call of `have_left`, and is freed after it at the
    /// earliest.
    #[cfg(not(all(test, loom)))]
    pub const fn with_others(have_left: HaveLeft) -> Self {
        let pinned = [AtomicUsize::new(0), AtomicUsize::new(0)];
        Self { current: AtomicUsize::new(0), pinned, others_have_left: have_left }
    }

    #[cfg(all(test, loom))]
    pub(super) fn new() -> Self {
        let pinned = [AtomicUsize::new(0), AtomicUsize::new(0)];
        Self { current: AtomicUsize::new(0), pinned, others_have_left: |_| true }
    }

    /// The current epoch. A thread that reads it observes what was unlinked before it began.
    pub fn current(&self) -> usize {
        self.current.load(Acquire)
    }

    /// The counter of the epochs with the parity of `epoch`.
    fn pinned(&self, epoch: usize) -> &AtomicUsize {
        let [even, odd] = &self.pinned;
        if epoch.is_multiple_of(2) { even } else { odd }
    }

    /// Pins the current epoch: code that is reachable from now on is not freed before the guard is dropped.
    /// Guards may be nested.
    #[inline]
    pub fn pin(&self) -> Guard<'_> {
        Guard { epochs: self, epoch: self.pin_until_unpinned() }
    }

    /// As [`pin`](Self::pin), until [`unpin`](Self::unpin).
    #[inline]
    pub(super) fn pin_until_unpinned(&self) -> PinnedEpoch {
        loop {
            let epoch = self.current.load(Acquire);
            let pinned = self.pinned(epoch);
            pinned.fetch_add(1, AcqRel);
            // An advance in between may have taken this counter for empty.
            if self.current.load(Acquire) == epoch {
                return PinnedEpoch(epoch);
            }
            pinned.fetch_sub(1, Release);
        }
    }

    /// Ends a pin of this domain.
    #[inline]
    pub(super) fn unpin(&self, epoch: &PinnedEpoch) {
        // Release: an advancing thread that reads this value observes what was done while pinned.
        self.pinned(epoch.0).fetch_sub(1, Release);
    }

    /// The number of pins. A thread that reads 0 observes what was done while the domain was pinned.
    pub(super) fn pins(&self) -> usize {
        let [even, odd] = &self.pinned;
        even.load(Acquire).saturating_add(odd.load(Acquire))
    }

    /// The epoch in which code retires that the caller has just made unreachable.
    pub(super) fn retire(&self) -> RetiredAt {
        RetiredAt(self.current.fetch_add(0, AcqRel))
    }

    /// Advances by as many epochs as the pinned threads allow, at most the two that a retirement waits for.
    pub(super) fn advance(&self) {
        self.advance_if(self.others_have_left);
    }

    /// As [`advance`](Self::advance), with another test of the threads without guards.
    fn advance_if(&self, others_have_left: impl Fn(usize) -> bool) {
        for _ in 0..2 {
            let epoch = self.current();
            // That of the epoch before, which has the other parity.
            if self.pinned(epoch.wrapping_add(1)).fetch_add(0, AcqRel) != 0
                || !others_have_left(epoch)
            {
                return;
            }
            let next = epoch.wrapping_add(1);
            // Where another thread was faster, the epoch has advanced all the same.
            let _ = self.current.compare_exchange(epoch, next, AcqRel, Relaxed);
        }
    }

    /// Whether every thread has unpinned that was pinned when the code retired.
    pub(super) fn has_passed(&self, RetiredAt(epoch): RetiredAt) -> bool {
        self.current.load(Acquire).wrapping_sub(epoch) >= 2
    }
}

#[cfg(not(all(test, loom)))]
impl Default for Epochs {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.epochs.unpin(&self.epoch);
    }
}

/// The two domains that may be pinned by code of any module of one loader. A [held](super::ModuleRef) module pins a domain
/// of its version instead.
#[derive(Debug)]
pub(super) struct Domains {
    /// Of the loader: constructors of versions that lookups do not find yet pin it.
    constructing: Epochs,
    /// Of the host: calls by address pin it, in whichever loader the code is.
    calls: Option<&'static Epochs>,
}

/// The epochs of both domains in which a version became unreachable.
#[derive(Clone, Copy, Debug)]
pub(super) struct RetiredAtBoth {
    constructing: RetiredAt,
    calls: Option<RetiredAt>,
}

impl Domains {
    pub(super) fn new(calls: Option<&'static Epochs>) -> Self {
        Self { constructing: Epochs::new(), calls }
    }

    /// Pins the loader's own domain.
    pub(super) fn pin(&self) -> Guard<'_> {
        self.constructing.pin()
    }

    pub(super) fn retire(&self) -> RetiredAtBoth {
        RetiredAtBoth {
            constructing: self.constructing.retire(),
            calls: self.calls.map(Epochs::retire),
        }
    }

    pub(super) fn advance(&self) {
        self.constructing.advance();
        if let Some(calls) = self.calls {
            calls.advance();
        }
    }

    pub(super) fn has_passed(&self, retirement: RetiredAtBoth) -> bool {
        let RetiredAtBoth { constructing, calls } = retirement;
        let calls_passed = self.calls.zip(calls).is_none_or(|(epochs, at)| epochs.has_passed(at));
        calls_passed && self.constructing.has_passed(constructing)
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn retirement_passes_when_all_earlier_guards_are_dropped() {
        let epochs = Epochs::new();
        let retired_at = epochs.retire();
        assert!(!epochs.has_passed(retired_at));
        epochs.advance();
        assert!(epochs.has_passed(retired_at), "no thread is pinned");

        let earlier = epochs.pin();
        let retired_at = epochs.retire();
        (0..9).for_each(|_| epochs.advance());
        assert!(!epochs.has_passed(retired_at));
        let later = epochs.pin();
        drop(earlier);
        epochs.advance();
        assert!(epochs.has_passed(retired_at), "a later guard does not count");
        let retired_at = epochs.retire();
        (0..9).for_each(|_| epochs.advance());
        assert!(!epochs.has_passed(retired_at));
        drop(later);
        epochs.advance();
        assert!(epochs.has_passed(retired_at));
    }

    #[test]
    fn passing_agrees_with_a_list_of_the_pinned_guards() {
        let epochs = Epochs::new();
        let mut pinned: Vec<(u32, Guard<'_>)> = Vec::new();
        let mut retired: Vec<(RetiredAt, Vec<u32>)> = Vec::new();
        let mut seed = 1u32;
        for step in 0..if cfg!(miri) { 500 } else { 20_000 } {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            match seed >> 29 {
                0..=2 if pinned.len() < 6 => pinned.push((step, epochs.pin())),
                0..=5 if !pinned.is_empty() => {
                    drop(pinned.swap_remove((seed >> 8) as usize % pinned.len()));
                }
                6 => retired.push((epochs.retire(), pinned.iter().map(|(id, _)| *id).collect())),
                _ => epochs.advance(),
            }
            retired.retain(|(retired_at, earlier)| {
                let passed = epochs.has_passed(*retired_at);
                let unpinned = pinned.iter().all(|(id, _)| !earlier.contains(id));
                assert!(unpinned || !passed, "passed while an earlier guard is pinned");
                !passed
            });
        }
        pinned.clear();
        epochs.advance();
        assert!(retired.iter().all(|(retired_at, _)| epochs.has_passed(*retired_at)));
    }

    #[test]
    fn epoch_advances_when_the_threads_of_the_host_have_left() {
        static LEFT_IN: AtomicUsize = AtomicUsize::new(0);
        let epochs = Epochs::with_others(|epoch| LEFT_IN.load(Acquire) >= epoch);
        let retired_at = epochs.retire();
        (0..9).for_each(|_| epochs.advance());
        assert!(!epochs.has_passed(retired_at));
        LEFT_IN.store(epochs.current(), Release);
        epochs.advance();
        assert!(epochs.has_passed(retired_at));
    }

    #[test]
    fn a_guard_of_either_domain_delays_a_retirement_in_both() {
        static CALLS: Epochs = Epochs::new();
        let domains = Domains::new(Some(&CALLS));
        for pin in [Domains::pin, |_: &Domains| CALLS.pin()] {
            let guard = pin(&domains);
            let retirement = domains.retire();
            (0..9).for_each(|_| domains.advance());
            assert!(!domains.has_passed(retirement));
            drop(guard);
            domains.advance();
            assert!(domains.has_passed(retirement));
        }
    }
}

#[cfg(test)]
#[cfg(loom)]
#[path = "tests/epoch_model.rs"]
mod model;

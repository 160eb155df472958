//! When nobody can be inside of code any more that was replaced.
//!
//! Time is cut into eras. Whoever enters code says so in the era that it is then, and leaves it when
//! he is out. An era can end only when everybody of the one before has left, so two counters are
//! enough, one for even eras and one for odd ones. What was replaced during era `n` cannot be reached
//! by who enters in era `n + 1` or later, and everybody of era `n` has left when era `n + 2` begins.
//!
//! Entering and leaving never wait; only one thread at a time may try to end an era. He looks at a
//! counter by adding nothing to it: either he then sees the one who has just entered, or that one's
//! own addition comes later and shows him everything that was done before, the new era and the new way
//! included. A plain load could miss both. `loom` has tried every order (`RUSTFLAGS="--cfg loom"`).

#[cfg(all(test, loom))]
use loom::sync::atomic::AtomicUsize;

#[cfg(not(all(test, loom)))]
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Release};

/// The eras of one loader.
pub(super) struct Eras {
    era: AtomicUsize,
    /// Who is inside, by the parity of the era in which he entered.
    inside: [AtomicUsize; 2],
}

/// The parity of the era in which somebody entered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entered(bool);

/// A moment after which nobody new reaches what was replaced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retirement(usize);

impl Eras {
    pub(super) fn new() -> Self {
        Self { era: AtomicUsize::new(0), inside: [AtomicUsize::new(0), AtomicUsize::new(0)] }
    }

    fn inside(&self, odd: bool) -> &AtomicUsize {
        let [even_eras, odd_eras] = &self.inside;
        if odd { odd_eras } else { even_eras }
    }

    /// Counts the caller as inside, until [`leave`](Self::leave).
    #[inline]
    pub(super) fn enter(&self) -> Entered {
        loop {
            let era = self.era.load(Acquire);
            let odd = era % 2 == 1;
            self.inside(odd).fetch_add(1, AcqRel);
            // Had the era ended in between, the count might be one that is taken for empty.
            if self.era.load(Acquire) == era {
                return Entered(odd);
            }
            self.inside(odd).fetch_sub(1, Release);
        }
    }

    #[inline]
    pub(super) fn leave(&self, entered: Entered) {
        self.inside(entered.0).fetch_sub(1, Release);
    }

    /// To be asked for once the way to what was replaced is closed.
    pub(super) fn retire(&self) -> Retirement {
        Retirement(self.era.load(Acquire))
    }

    /// Ends as many eras as can be ended at once. One thread at a time.
    pub(super) fn advance(&self) {
        for _ in 0..2 {
            let era = self.era.load(Acquire);
            let of_the_one_before = self.inside(era.is_multiple_of(2));
            if of_the_one_before.fetch_add(0, AcqRel) != 0 {
                break;
            }
            self.era.store(era.wrapping_add(1), Release);
        }
    }

    /// Whether everybody has left who was inside when this was retired.
    pub(super) fn has_passed(&self, Retirement(era): Retirement) -> bool {
        self.era.load(Acquire).wrapping_sub(era) >= 2
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn what_is_retired_waits_for_those_inside_and_for_nobody_else() {
        let eras = Eras::new();
        let retired = eras.retire();
        assert!(!eras.has_passed(retired));
        eras.advance();
        assert!(eras.has_passed(retired), "nobody is inside");

        let before = eras.enter();
        let retired = eras.retire();
        (0..9).for_each(|_| eras.advance());
        assert!(!eras.has_passed(retired));
        let after = eras.enter();
        eras.leave(before);
        eras.advance();
        assert!(eras.has_passed(retired), "who came later does not count");
        let retired = eras.retire();
        (0..9).for_each(|_| eras.advance());
        assert!(!eras.has_passed(retired));
        eras.leave(after);
        eras.advance();
        assert!(eras.has_passed(retired));
    }

    #[test]
    fn agrees_with_a_list_of_who_is_inside() {
        let eras = Eras::new();
        let mut inside: std::vec::Vec<(u32, Entered)> = std::vec::Vec::new();
        let mut retired: std::vec::Vec<(Retirement, std::vec::Vec<u32>)> = std::vec::Vec::new();
        let mut seed = 1u32;
        for step in 0..if cfg!(miri) { 500 } else { 20_000 } {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            match seed >> 29 {
                0..=2 if inside.len() < 6 => inside.push((step, eras.enter())),
                0..=5 if !inside.is_empty() => {
                    let (_, entered) = inside.swap_remove((seed >> 8) as usize % inside.len());
                    eras.leave(entered);
                }
                6 => retired.push((eras.retire(), inside.iter().map(|(who, _)| *who).collect())),
                _ => eras.advance(),
            }
            retired.retain(|(retirement, witnesses)| {
                let passed = eras.has_passed(*retirement);
                let left = inside.iter().all(|(who, _)| !witnesses.contains(who));
                assert!(left || !passed, "freed under somebody's feet");
                !passed
            });
        }
        inside.into_iter().for_each(|(_, entered)| eras.leave(entered));
        eras.advance();
        assert!(retired.iter().all(|(retirement, _)| eras.has_passed(*retirement)));
    }
}

#[cfg(test)]
#[cfg(loom)]
mod model {
    use super::*;
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicBool;
    use loom::thread;

    /// One thread reads through a pointer that another replaces and frees.
    #[test]
    fn nobody_reads_what_was_freed() {
        loom::model(|| {
            let eras = Arc::new(Eras::new());
            let current = Arc::new(AtomicUsize::new(0));
            let freed: Arc<[AtomicBool; 2]> =
                Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
            let reader = {
                let (eras, current, freed) = (eras.clone(), current.clone(), freed.clone());
                thread::spawn(move || {
                    let entered = eras.enter();
                    let version = current.load(Acquire);
                    assert!(!freed[version].load(Acquire), "read after it was freed");
                    eras.leave(entered);
                })
            };
            current.store(1, Release);
            let retirement = eras.retire();
            eras.advance();
            if eras.has_passed(retirement) {
                freed[0].store(true, Release);
            }
            reader.join().unwrap();
            eras.advance();
            assert!(eras.has_passed(retirement));
        });
    }
}

#[cfg(test)]
#[cfg(loom)]
#[path = "tests/eras_model.rs"]
mod table_model;

//! What is mapped, and what may be done with it.
//!
//! The books hold addresses as numbers. Whoever mapped memory has the only pointer to it, so that the
//! interpreter reports memory whose owner forgot it.

use core::ops::Range;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::string::String;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::vec::Vec;

use rustix::mm::ProtFlags;

use super::fs::Bytes;

/// Neighbouring pages that are alike.
pub(super) struct Run {
    pub(super) range: Range<usize>,
    pub(super) rights: ProtFlags,
    /// What they held when they could last be written; empty while they can.
    pub(super) held: Vec<u8>,
    pub(super) file: Option<Part>,
}

/// The part of a file that a run shows, from an offset.
#[derive(Clone)]
pub(super) struct Part {
    pub(super) file: Arc<Bytes>,
    pub(super) offset: u64,
    /// Whether what is stored in the memory goes into the file.
    pub(super) shared: bool,
}

impl Run {
    /// Where it shows this place of a file; `None` when it does not.
    #[cfg(test)]
    pub(super) fn shows(&self, file: &Bytes, offset: u64) -> Option<usize> {
        let part = self.file.as_ref().filter(|part| part.shared && part.file.is(file))?;
        let skipped = usize::try_from(offset.checked_sub(part.offset)?).ok()?;
        (skipped < self.range.len()).then(|| self.range.start + skipped)
    }

    /// The piece of it that lies in `range`; `None` when there is none.
    fn piece(&self, range: &Range<usize>) -> Option<Self> {
        let start = self.range.start.max(range.start);
        let end = self.range.end.min(range.end);
        let skipped = start.checked_sub(self.range.start)?;
        let len = end.checked_sub(start).filter(|&len| len != 0)?;
        let held = self.held.get(skipped..skipped + len).unwrap_or(&[]).to_vec();
        let file =
            self.file.clone().map(|part| Part { offset: part.offset + skipped as u64, ..part });
        Some(Self { range: start..end, rights: self.rights, held, file })
    }
}

/// The runs of one mapping, without a gap and in no order.
pub(super) type Runs = Vec<Run>;

/// Every mapping, by its first address.
pub(super) fn books() -> MutexGuard<'static, BTreeMap<usize, Runs>> {
    static BOOKS: Mutex<BTreeMap<usize, Runs>> = Mutex::new(BTreeMap::new());
    // A test that failed in between says so itself.
    BOOKS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The mapping in which the whole of `range` lies.
pub(super) fn around<'b>(
    books: &'b mut BTreeMap<usize, Runs>,
    range: &Range<usize>,
) -> Option<&'b mut Runs> {
    let (_, runs) = books.range_mut(..=range.start).next_back()?;
    let end = runs.iter().map(|run| run.range.end).max()?;
    (range.start < range.end && range.end <= end).then_some(runs)
}

/// Takes what is in `range` out of a mapping.
pub(super) fn cut(runs: &mut Runs, range: &Range<usize>) -> Runs {
    let mut taken = Vec::new();
    for run in core::mem::take(runs) {
        taken.extend(run.piece(range));
        runs.extend(run.piece(&(0..range.start)));
        runs.extend(run.piece(&(range.end..usize::MAX)));
    }
    taken
}

/// The mappings as the kernel lists them.
pub(in super::super::super) fn list() -> String {
    let mut list = String::new();
    for runs in books().values() {
        let mut runs: Vec<&Run> = runs.iter().collect();
        runs.sort_by_key(|run| run.range.start);
        for Run { range, rights, .. } in runs {
            let right = |flag, name| if rights.contains(flag) { name } else { '-' };
            let [read, write, execute] =
                [(ProtFlags::READ, 'r'), (ProtFlags::WRITE, 'w'), (ProtFlags::EXEC, 'x')]
                    .map(|(flag, name)| right(flag, name));
            let Range { start, end } = range;
            // A string takes everything.
            let _ = writeln!(list, "{start:x}-{end:x} {read}{write}{execute}p 0 00:00 0");
        }
    }
    list
}

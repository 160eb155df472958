//! The recorded mappings and their protections.
//!
//! Addresses are stored as numbers, so the owner of a mapping has the only pointer to it and Miri reports leaks.

use core::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{collections::BTreeMap, fmt::Write, string::String, vec::Vec};

use rustix::mm::ProtFlags;

use super::fs::Bytes;

/// Adjacent pages with the same attributes.
pub(super) struct Run {
    pub(super) range: Range<usize>,
    pub(super) protection: ProtFlags,
    /// The bytes when the pages were last writable; empty while they are.
    pub(super) saved: Vec<u8>,
    pub(super) file: Option<Part>,
}

/// The part of a file that a run maps, from an offset.
#[derive(Clone)]
pub(super) struct Part {
    pub(super) file: Arc<Bytes>,
    pub(super) offset: u64,
    /// Whether stores go to the file (`MAP_SHARED`).
    pub(super) shared: bool,
}

impl Run {
    /// The address at which it maps this offset of a file, if it does.
    #[cfg(test)]
    pub(super) fn shows(&self, file: &Bytes, offset: u64) -> Option<usize> {
        let part = self.file.as_ref().filter(|part| part.shared && part.file.is(file))?;
        let skipped = usize::try_from(offset.checked_sub(part.offset)?).ok()?;
        (skipped < self.range.len()).then(|| self.range.start + skipped)
    }

    /// The part inside `range`, if there is one.
    fn piece(&self, range: &Range<usize>) -> Option<Self> {
        let start = self.range.start.max(range.start);
        let end = self.range.end.min(range.end);
        let skipped = start.checked_sub(self.range.start)?;
        let len = end.checked_sub(start).filter(|&len| len != 0)?;
        let saved = self.saved.get(skipped..skipped + len).unwrap_or(&[]).to_vec();
        let file =
            self.file.clone().map(|part| Part { offset: part.offset + skipped as u64, ..part });
        Some(Self { range: start..end, protection: self.protection, saved, file })
    }
}

/// The runs of one mapping, without gaps, unordered.
pub(super) type Runs = Vec<Run>;

/// Every mapping, by its first address.
pub(super) fn mappings() -> MutexGuard<'static, BTreeMap<usize, Runs>> {
    static MAPPINGS: Mutex<BTreeMap<usize, Runs>> = Mutex::new(BTreeMap::new());
    // A panic of another test is reported by that test.
    MAPPINGS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The mapping that contains the whole of `range`.
pub(super) fn around<'b>(
    mappings: &'b mut BTreeMap<usize, Runs>,
    range: &Range<usize>,
) -> Option<&'b mut Runs> {
    let (_, runs) = mappings.range_mut(..=range.start).next_back()?;
    let end = runs.iter().map(|run| run.range.end).max()?;
    (range.start < range.end && range.end <= end).then_some(runs)
}

/// Removes the runs inside `range` from a mapping.
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
pub(crate) fn list() -> String {
    let mut list = String::new();
    for runs in mappings().values() {
        let mut runs: Vec<&Run> = runs.iter().collect();
        runs.sort_by_key(|run| run.range.start);
        for Run { range, protection, .. } in runs {
            let letter = |flag, name| if protection.contains(flag) { name } else { '-' };
            let [read, write, execute] =
                [(ProtFlags::READ, 'r'), (ProtFlags::WRITE, 'w'), (ProtFlags::EXEC, 'x')]
                    .map(|(flag, name)| letter(flag, name));
            let Range { start, end } = range;
            // Writing to a string does not fail.
            let _ = writeln!(list, "{start:x}-{end:x} {read}{write}{execute}p 0 00:00 0");
        }
    }
    list
}

//! Values behind pointers, interpreted. The execution manager runs the same programs as machine code.

use std::vec::Vec;

use super::run::{run_in, unit_of};
use crate::source::Mode;

/// Functions of two addresses.
pub(crate) const TEXT: &str = include_str!("pointers.spl");

/// The arrays at these addresses.
pub(crate) const ARRAYS: [[i64; 4]; 2] = [[1, 2, 3, 4], [5, 6, 7, 8]];

/// The names of the functions that the text names as cases, and their results.
pub(crate) fn cases() -> impl Iterator<Item = (&'static str, i64)> {
    let cases = TEXT.lines().filter_map(|line| line.strip_prefix("# case ")?.split_once(' '));
    cases.map(|(name, result)| (name, result.parse().unwrap()))
}

#[test]
fn values_behind_pointers_are_copied() {
    let unit = unit_of(TEXT, Mode::Compile);
    let mut wrong = Vec::new();
    for (name, expected) in cases() {
        let result = run_in(&unit, name, ARRAYS);
        if result != expected {
            wrong.push((name, result, expected));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(cases().count() > 20);
}

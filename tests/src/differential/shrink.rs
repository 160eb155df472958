//! Smaller cases that fail in the same way: fewer bytes to draw from, then fewer lines of the program's text.

use smf_core::ir::text::parse;

use super::draw::{Case, draw};
use super::program::Program;

/// The largest number of attempts.
const ATTEMPTS: u32 = 4000;

/// Removes and clears bytes as long as `fails` holds, and returns the smallest bytes found.
pub fn shrink(data: &[u8], mut fails: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
    let mut best = data.to_vec();
    let mut left = ATTEMPTS;
    let mut size = best.len().div_ceil(2);
    while size > 0 && left > 0 {
        let (mut at, mut improved) = (0, false);
        while at < best.len() && left > 0 {
            let end = best.len().min(at + size);
            let removed = [&best[..at], &best[end..]].concat();
            let mut cleared = best.clone();
            cleared[at..end].fill(0);
            let smaller = [removed, cleared].into_iter().find(|smaller| {
                left = left.saturating_sub(1);
                *smaller != best && fails(smaller)
            });
            match smaller {
                Some(smaller) => {
                    improved |= smaller.len() < best.len();
                    at += if smaller.len() < best.len() { 0 } else { size };
                    best = smaller;
                }
                None => at += size,
            }
        }
        if !improved {
            size /= 2;
        }
    }
    best
}

/// The smallest case found for which `fails` holds, as it does for that of `data`.
pub fn smallest(data: &[u8], fails: impl Fn(&Case) -> bool) -> Case {
    let case = draw(&shrink(data, |data| fails(&draw(data))));
    let text = case.program.to_string();
    let mut lines: Vec<&str> = text.lines().collect();
    let mut best = case;
    for size in [32, 16, 8, 4, 2, 1, 1] {
        let mut at = 0;
        while at < lines.len() {
            let end = lines.len().min(at + size);
            let fewer = [&lines[..at], &lines[end..]].concat();
            match case_of(&fewer, &best)
                .filter(|_| lines[at..end].iter().all(|line| is_removable(line)))
            {
                Some(case) if fails(&case) => (lines, best) = (fewer, case),
                _ => at += size,
            }
        }
    }
    best
}

/// Whether a program without this line may still mean the same on all engines. The bytes of a slot are not defined
/// before they are filled, and the bits of NaN must not be stored.
fn is_removable(line: &str) -> bool {
    let first = line.split_whitespace().next().unwrap_or("");
    !matches!(first, "fill_memory" | "select" | "end" | "template" | "slot" | "data")
}

fn case_of(lines: &[&str], like: &Case) -> Option<Case> {
    let functions = parse(&lines.join("\n")).ok()?;
    let bytes = functions.into_iter().map(|function| function.body).collect();
    let program = Program::with_entry(bytes, like.program.entry());
    Some(Case { program, arguments: like.arguments.clone(), seed: like.seed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_bytes_that_matter_are_left() {
        let data: Vec<u8> = (0..200).collect();
        let found = shrink(&data, |data| data.contains(&17) && data.contains(&150));
        assert_eq!(found, [17, 150]);
    }
}

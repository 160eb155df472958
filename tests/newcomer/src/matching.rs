//! Compares printed text with text that is shown, in which `...` stands for what differs or is left out.

/// Whether `printed` is what `shown` says. A line of `...` alone stands for any number of lines, `...` in a line for any
/// part of it.
pub(crate) fn is_shown(shown: &[&str], printed: &[&str]) -> bool {
    match shown.split_first() {
        None => printed.is_empty(),
        Some((first, rest)) if first.trim() == "..." => {
            (0..=printed.len()).any(|skipped| is_shown(rest, printed.get(skipped..).unwrap_or(&[])))
        }
        Some((first, rest)) => printed
            .split_first()
            .is_some_and(|(line, others)| is_line(first, line) && is_shown(rest, others)),
    }
}

fn is_line(shown: &str, printed: &str) -> bool {
    let Some((before, after)) = shown.split_once("...") else { return shown == printed };
    let Some(rest) = printed.strip_prefix(before) else { return false };
    let mut starts = (0..=rest.len()).filter_map(|start| rest.get(start..));
    starts.any(|rest| is_line(after, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_text_is_shown_and_other_text_is_not() {
        assert!(is_shown(&[], &[]));
        assert!(is_shown(&["a", "b"], &["a", "b"]));
        assert!(!is_shown(&["a"], &["a", "b"]));
        assert!(!is_shown(&["a", "b"], &["a"]));
        assert!(!is_shown(&["a"], &["b"]));
    }

    #[test]
    fn ellipsis_stands_for_lines_and_parts_of_lines() {
        assert!(is_shown(&["a", "...", "d"], &["a", "b", "c", "d"]));
        assert!(is_shown(&["a", "...", "d"], &["a", "d"]));
        assert!(!is_shown(&["a", "...", "d"], &["a", "b"]));
        assert!(is_shown(
            &["14 files, ... ms, 0 failed"],
            &["14 files, 20 bytes, 1.5 ms, 0 failed"]
        ));
        assert!(!is_shown(&["14 files, ..., 0 failed"], &["14 files, 20 bytes, 1 failed"]));
        assert!(is_shown(&["size ..."], &["size 5 µs"]));
    }
}

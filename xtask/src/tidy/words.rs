//! Words that the code does not use: identifiers that have been replaced, and phrases that are not plain English.
//!
//! The lists hold unmistakable words only. An ordinary word that is also an old name is not on them.

use std::path::Path;

/// Identifiers that have been replaced, and what replaced them.
const IDENTIFIERS: &[(&str, &str)] = &[
    ("Eras", "Epochs"),
    ("Entered", "epoch::Guard"),
    ("Retirement", "RetiredAt"),
    ("OldData", "StateMigration"),
    ("CodeFix", "Fixup"),
    ("CodeFault", "FixupError"),
    ("CodePlan", "FixupPlan"),
    ("ImagePlan", "Prelink"),
    ("Kept", "PreservedData"),
    ("KeepError", "PreserveError"),
    ("call_landing", "call_catching"),
    ("ThreadHead", "TrapChain"),
    ("Ending", "TrapGuard"),
    ("Ledger", "LockedState"),
    ("Seats", "HandleTable"),
    ("Pinned", "CacheRef"),
    ("Freshness", "Revalidation"),
    ("EachGet", "Revalidation::OnGet"),
    ("OnRequest", "Revalidation::Manual"),
    ("NOWHERE", "NIL"),
    ("KeptCode", "CachedCode"),
    ("ReadyMade", "PrecompiledBodies"),
    ("write_ready", "encode_precompiled"),
    ("Told", "NoteUpdate"),
    ("News", "NoteUpdates"),
    ("Making", "Instantiation"),
    ("set_process", "set_host_resolver"),
    ("set_fallback", "set_fallback_resolver"),
    ("TakenFunction", "FunctionBody"),
    ("TakenTemplate", "TemplateBody"),
    ("CodeRanges", "CodeMap"),
];

/// Phrases that are not plain technical English. An underscore counts as a space, so that test names are covered.
const PHRASES: &[&str] = &[
    "whoever",
    "whomever",
    "somebody",
    "nobody",
    "everybody",
    "himself",
    "the begin",
    "gives back",
    "give back",
    "given back",
    "gave back",
    "giving back",
    "throws out",
    "throw out",
    "thrown out",
    "threw out",
    "this room",
    "every room",
    "of the house",
];

/// Phrases that are searched in prose alone, because code spells methods the same way.
const PROSE_PHRASES: &[&str] = &["is none"];

/// The file that lists the words, published test vectors, and the record of renamed items for users.
const EXEMPT_FILES: &[&str] =
    &["xtask/src/tidy/words.rs", "core/src/format/read/decompress/frames.rs", "CHANGELOG.md"];

/// The findings in a file, each with its line.
pub(super) fn check(name: &str, text: &str) -> Vec<String> {
    let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
    let is_text = extension.is_some_and(|extension| ["rs", "md", "toml", "h"].contains(&extension));
    if !is_text || EXEMPT_FILES.contains(&name) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        for (old, new) in IDENTIFIERS.iter().filter(|(old, _)| has_word(line, old)) {
            findings.push(format!("line {number}: `{old}` is now `{new}`"));
        }
        let lower = line.to_lowercase();
        let spaced = lower.replace('_', " ");
        let prose = lower.replace("there is none", "");
        let in_prose = PROSE_PHRASES.iter().filter(|phrase| has_word(&prose, phrase));
        let anywhere = PHRASES.iter().filter(|phrase| has_word(&spaced, phrase));
        findings.extend(anywhere.chain(in_prose).map(|p| format!("line {number}: \"{p}\"")));
    }
    findings
}

/// Whether `line` contains `word` with no letter, digit or underscore beside it.
fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|before| before.chars().next_back());
        let after = line.get(at + word.len()..).and_then(|after| after.chars().next());
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaced_identifier_is_found_with_its_line() {
        assert_eq!(
            check("core/src/a.rs", "//! A.\nlet eras = Eras::new();\n"),
            ["line 2: `Eras` is now `Epochs`"]
        );
        assert!(check("core/src/a.rs", "struct AllEras; struct Eras2;").is_empty());
    }

    #[test]
    fn phrase_is_found_in_prose_and_in_test_names() {
        assert_eq!(check("README.md", "Whoever loads it"), ["line 1: \"whoever\""]);
        assert_eq!(check("a.rs", "fn memory_is_given_back() {}"), ["line 1: \"given back\""]);
        assert_eq!(check("a.rs", "/// The symbol is none."), ["line 1: \"is none\""]);
        assert!(check("a.rs", "if x.is_none() { the_beginning() }").is_empty());
    }

    #[test]
    fn files_of_other_kinds_are_skipped() {
        assert!(check("a.c", "// nobody\n").is_empty());
    }
}

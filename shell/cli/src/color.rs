//! Colour of messages on standard error.

use std::io::IsTerminal;
use std::sync::OnceLock;

use clap::ColorChoice;

static IS_ON: OnceLock<bool> = OnceLock::new();

/// Decides whether messages have colour. Without a choice of the user they have it on a terminal, unless the
/// environment variable `NO_COLOR` is set and not empty, or `TERM` is `dumb`.
pub(crate) fn choose(choice: ColorChoice) {
    let is_on = match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => {
            let is_refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            let is_dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
            !is_refused && !is_dumb && std::io::stderr().is_terminal()
        }
    };
    // A second choice has no effect.
    let _ = IS_ON.set(is_on);
}

/// A line with its kind, `error` for example, in colour: what precedes the first colon.
pub(crate) fn with_kind(line: &str) -> String {
    let color = match line.split(|c: char| !c.is_alphabetic()).next() {
        Some("error") => 31,
        Some("warning") => 33,
        _ => 36,
    };
    match line.split_once(':') {
        Some((kind, rest)) if IS_ON.get() == Some(&true) => {
            format!("\x1b[1;{color}m{kind}\x1b[0m:{rest}")
        }
        _ => line.to_owned(),
    }
}

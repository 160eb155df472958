//! Events through `tracing`: the message is the name of the event, and its fields are those of the log.

use std::fmt::Display;

use tracing::field::{DisplayValue, display};
use tracing::{Level, enabled, event};

use super::Field;

/// Whether a subscriber takes events.
pub(super) fn is_on() -> bool {
    enabled!(target: "smf", Level::WARN) || enabled!(target: "smf", Level::INFO)
}

/// Fields without a value are not recorded.
pub(super) fn write(name: &'static str, fields: &[(&'static str, Field<'_>)]) {
    let find = |wanted| fields.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
    let text = |wanted| -> Option<DisplayValue<&dyn Display>> {
        match find(wanted)? {
            Field::Text(text) => Some(display(text)),
            Field::Number(_) => None,
        }
    };
    let number = |wanted| match find(wanted)? {
        Field::Number(number) => Some(number),
        Field::Text(_) => None,
    };
    // The level and the names of fields are constants of each event.
    macro_rules! report {
        ($level:expr) => {
            event!(
                target: "smf",
                $level,
                module = text("module"),
                symbol = text("symbol"),
                descriptor = text("descriptor"),
                error = text("error"),
                bytes = number("bytes"),
                code_bytes = number("code_bytes"),
                relocations = number("relocations"),
                copied_symbols = number("copied_symbols"),
                "{name}"
            )
        };
    }
    match name {
        "refuse" => report!(Level::WARN),
        _ => report!(Level::INFO),
    }
}

//! The `--layout` option.

use clap::ValueEnum;
use smf_core::format::Layout;

/// A layout of written modules.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum WrittenLayout {
    /// The header follows the module, as a trailer
    Packed,
    /// The header precedes the module, as a C struct
    Native,
}

impl From<WrittenLayout> for Layout {
    fn from(layout: WrittenLayout) -> Self {
        match layout {
            WrittenLayout::Packed => Layout::Packed,
            WrittenLayout::Native => Layout::Native,
        }
    }
}

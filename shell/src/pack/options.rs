//! The options of the packer.

use smf_core::format::Layout;

use super::compress::Algorithm;
use super::phases::PhaseList;

/// The properties of the module to make.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// [`Layout::Packed`] or [`Layout::Native`].
    pub layout: Layout,
    /// The name of the entry point; by default `main`, if it is defined.
    pub entry: Option<&'a str>,
    /// The bytes before the module; packed layout only.
    pub stub: &'a [u8],
    /// Marks the module as reloadable, and gives it a local symbol for each writable datum that it does not
    /// export, so that a new version can take over its contents. Data of one name in several objects stay
    /// with the old version, because the name is ambiguous.
    pub reloadable: bool,
    /// The algorithm for sections that become smaller by it. Code is never compressed.
    pub compress: Option<Algorithm>,
    /// The phases of functions, which determine the order of code: startup first, cold last. They apply to
    /// functions in sections of their own, and override the phases that compilers express.
    pub phases: Option<&'a PhaseList<'a>>,
    /// How many of a program's files to prefetch.
    pub prefetch: u8,
}

impl Default for Options<'_> {
    /// A packed, uncompressed module without a stub, with `main` as entry point if it is defined.
    fn default() -> Self {
        Options {
            layout: Layout::Packed,
            entry: None,
            stub: &[],
            reloadable: false,
            compress: None,
            phases: None,
            prefetch: 0,
        }
    }
}

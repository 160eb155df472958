//! The options of the packer.

use smf_core::format::Layout;

use super::archive::Input;
use super::compress::Algorithm;
use super::phases::PhaseList;
use super::shared_library::SharedLibrary;

/// The properties of the module to make: by default packed and uncompressed, without a stub.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// [`Layout::Packed`] or [`Layout::Native`].
    pub layout: Layout,
    /// The name of the entry point; by default `main`, if it is defined.
    pub entry: Option<&'a str>,
    /// The names of symbols to export although they are hidden. Archive members that define them are linked.
    pub exports: &'a [&'a str],
    /// Exports hidden symbols as if they were not hidden.
    pub export_all: bool,
    /// Archives of which only needed members are linked, after those of all inputs.
    pub libraries: &'a [Input<'a>],
    /// The shared libraries that the module opens at load.
    pub needed: &'a [SharedLibrary<'a>],
    /// Leaves instances of templates that the program imports to the loader, if the notes permit it; otherwise they are
    /// compiled.
    pub defer: bool,
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
    /// Leaves the unwinding tables out: the module becomes smaller, and an exception that reaches it ends the process.
    pub omit_unwind_tables: bool,
    /// Keeps the relocations that the image of the packed layout makes superfluous, with which the module can be linked again, converted
    /// to another layout, and loaded by other readers of SMF; without them, these refuse it. Reloadable modules always have
    /// them, for the migration of data, and so have modules in the native layout.
    pub emit_relocs: bool,
    /// Keeps the debugging information of the objects (DWARF), which debuggers get with the module, and the symbols of
    /// functions that are not exported. Neither is loaded into memory with the module.
    pub debug_info: bool,
    /// How many of a program's files to prefetch.
    pub prefetch: u8,
}

//! A static linker: relocatable ELF objects for x86-64 or aarch64, as gcc, clang and rustc write them,
//! into one module.
//!
//! ```text
//! object, archive      parse sections, symbols, groups, relocations
//! resolve              resolve symbols; link archive members that are needed
//! gc_sections          keep the sections that exports and the entry point reach
//! relocs, scanner      translate relocations: values, GOT slots, stubs, relaxed instructions
//! x86_64, aarch64      the relocation types of each instruction set
//! phases               order code by when it runs
//! layout               assign addresses
//! relocate, operands   write contents; collect the relocations for the loader
//! compress             compress sections
//! emit                 write the module
//! check                verify the module
//! ```
//!
//! Modules are laid out so that loading touches few pages: distances inside the module are resolved by the
//! packer (see [`smf_core::format::ext::prelink`]), calls of an imported function share one stub, and the
//! relocations for the loader are gathered in tables of addresses. The packed layout has no relocation for
//! aarch64 distances, so that an aarch64 module in that layout is valid in its prelinked image only, and
//! says so. Where pages are larger than 4 KiB, use the native layout.
//!
//! Objects may be hostile: everything is checked, allocations are bounded by the length of the input, and
//! every error names its input. A construct that a module cannot express is an error: thread-local storage,
//! indirect functions, constructors, other relocation types.

mod aarch64;
mod archive;
mod check;
mod compress;
mod emit;
mod error;
mod gc_sections;
mod layout;
mod machine;
mod object;
mod operands;
mod options;
mod output;
mod pack_reloc;
mod phases;
mod relocate;
mod relocs;
mod resolve;
mod scanner;
mod target;
mod x86_64;

pub use archive::Input;
pub use compress::Algorithm;
pub use error::{PackError, PackWarning, RelocType};
pub use machine::Machine;
pub use options::Options;
pub use phases::{PhaseList, PhaseListError, parse_phases};

use phases::SectionPhases;
use smf_core::format::Layout;
use smf_core::format::write::WriteError;

/// A packed module.
#[derive(Clone, Debug)]
pub struct Packed {
    /// The contents of the file.
    pub bytes: Vec<u8>,
    /// Remarks for the author of the objects.
    pub warnings: Vec<PackWarning>,
}

/// Links objects into a module.
///
/// All objects are linked, and the archive members that define undefined names, in any order of inputs.
/// Without objects and entry point, all archive members are linked. Global and weak symbols are exported
/// unless they are hidden or internal.
///
/// # Errors
/// The first reason why the module cannot be made.
pub fn pack<'a>(inputs: &[Input<'a>], options: &Options<'a>) -> Result<Packed, PackError> {
    match options.layout {
        Layout::Packed => {}
        Layout::Native if options.stub.is_empty() => {}
        Layout::Native => return Err(WriteError::StubInNative.into()),
        layout => return Err(WriteError::Layout(layout).into()),
    }
    let mut warnings = Vec::new();
    let program = resolve::link(inputs, options.entry, &mut warnings)?;
    let reachable = gc_sections::mark_reachable(&program, options.entry, &mut warnings)?;
    let plan = relocs::scan(&reachable, &mut warnings)?;
    let entry = options.entry.and_then(|name| program.find(name.as_bytes()));
    let entry = entry.and_then(|id| program.resolve_global(id, false).ok());
    let no_phases = PhaseList::new();
    let list = options.phases.unwrap_or(&no_phases);
    let phases = SectionPhases::new(&reachable, list, &mut warnings);
    let addresses = layout::place(&reachable, &plan, phases, options.layout, entry)?;
    if options.layout == Layout::Native && addresses.read_only_bytes() != 0 {
        let bytes = addresses.read_only_bytes();
        warnings.push(PackWarning::ReadOnlyDataWritable { bytes });
    }
    let bytes = emit::emit(&addresses, options, entry, &mut warnings)?;
    check::check(&bytes, options)?;
    Ok(Packed { bytes, warnings })
}

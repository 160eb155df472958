//! A static linker: relocatable ELF objects for x86-64 or aarch64, as gcc, clang and rustc write them,
//! into one module.
//!
//! ```text
//! object, archive      parse sections, symbols, groups, relocations
//! resolve              resolve symbols; link archive members that are needed
//! gc_sections          keep the sections that exports, constructors and the entry point reach
//! eh_frame             the unwinding tables of kept functions
//! init_sections        sections with constructors and destructors, fragments of `.init` and `.fini`
//! module               convert input modules to objects; merge their templates and notes
//! relocs, scanner      translate relocations: values, GOT slots, stubs, relaxed instructions
//! x86_64, aarch64      the relocation types of each instruction set
//! shared_library       shared libraries of the system that the module needs
//! thunk                move instructions that access imported data by a distance
//! tls                  the relocation types of thread-local storage
//! outline_atomics      the functions for atomic operations that code for aarch64 calls
//! registrars           `atexit` and its like, which belong to each module
//! phases               order code by when it runs
//! merge                merge equal strings and constants
//! layout               assign addresses
//! gnu_property         combine the properties of the objects
//! contents, parallel   copy and relocate the input sections, on all cores
//! relocate, operands   write values; collect the relocations for the loader
//! debug_info           merge the debugging information
//! compress             compress sections
//! emit, output_file    write the module
//! check                verify the module
//! ```
//!
//! Modules are laid out so that loading touches few pages: distances inside the module are resolved by the
//! packer (see [`smf_core::format::ext::prelink`]), calls of an imported function share one stub, and the
//! relocations for the loader are gathered in tables of addresses. A distance that no relocation expresses makes a
//! module valid in its prelinked image only, and the module says so.
//!
//! Objects may be hostile: everything is checked, allocations are bounded by the length of the input, and
//! every error names its input. A construct that a module cannot express is an error.

mod aarch64;
mod archive;
mod check;
mod compress;
mod contents;
mod debug_info;
mod eh_frame;
mod emit;
mod error;
mod gc_sections;
mod gnu_property;
mod init_sections;
mod layout;
mod machine;
mod merge;
mod module;
mod object;
mod operands;
mod options;
mod outline_atomics;
mod output;
mod output_file;
mod pack_reloc;
mod parallel;
mod phases;
mod registrars;
mod relocate;
mod relocs;
mod resolve;
mod scanner;
mod section_symbols;
mod shared_library;
mod target;
mod thunk;
mod tls;
mod tls_value;
mod x86_64;

pub use archive::Input;
pub use compress::Algorithm;
pub use error::{PackError, PackWarning, RelocType};
pub use machine::Machine;
pub use options::Options;
pub use phases::{PhaseList, PhaseListError, parse_phases};
pub use shared_library::{SharedLibrary, SharedObject};

use debug_info::DebugInfo;
use error::Refusals;
use layout::ModuleLayout;
use phases::SectionPhases;
use smf_core::format::write::WriteError;
use smf_core::format::{Arch, Layout};

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
/// Modules are linked as objects, and archives of modules (LSMF) as archives of objects.
///
/// All objects are linked, and the archive members that define undefined names, in any order of inputs.
/// Those of [`Options::libraries`] come last, and only needed members of them are linked.
/// Without objects and entry point, all archive members are linked; a member that repeats a strong definition of an
/// earlier one is linked only if something refers to it, and is an error then. Global and weak symbols are exported
/// unless they are hidden or internal; the options export those as well.
///
/// # Errors
/// The reasons why the module cannot be made; [`PackError::Several`] if there is more than one.
pub fn pack<'a>(inputs: &[Input<'a>], options: &Options<'a>) -> Result<Packed, PackError> {
    match options.layout {
        Layout::Packed => {}
        Layout::Native if options.stub.is_empty() => {}
        Layout::Native => return Err(WriteError::StubInNative.into()),
        layout => return Err(WriteError::Layout(layout).into()),
    }
    let inputs = module::Inputs::new(inputs, options.debug_info)?;
    link(&inputs, options).map_err(|error| inputs.explain(error))
}

fn link(inputs: &module::Inputs<'_>, options: &Options<'_>) -> Result<Packed, PackError> {
    let mut warnings = Vec::new();
    let mut refusals = Refusals::default();
    let options = &Options { entry: inputs.entry(options), ..*options };
    let Options { entry, exports, export_all, libraries, .. } = *options;
    let roots = resolve::Roots { entry, exports, export_all, libraries };
    let imports = |instances: &_| imports(inputs, &roots, options, instances);
    let instances = inputs.instantiate(options.defer, imports)?;
    let linked = inputs.link_inputs(instances.inputs());
    let program = resolve::link(&linked, &roots, &mut warnings, &mut refusals)?;
    let reloadable = refusals.require(inputs.check_flags(&program, options))?;
    let options = &Options { reloadable, ..*options };
    let omits = options.omit_unwind_tables;
    let reachable = gc_sections::mark_reachable(&program, options.entry, omits, &mut refusals);
    let reachable = refusals.require(reachable)?;
    if reachable.is_empty() && !inputs.are_templates && refusals.is_empty() {
        return Err(program.nothing_exported());
    }
    warnings.extend(reachable.warning_of_hidden());
    inputs.warn_of_arrays(&program, &mut warnings);
    inputs.check_import_types(&program, &mut refusals);
    let plan = relocs::scan(&reachable, &mut warnings, &mut refusals);
    let entry = options.entry.and_then(|name| program.find(name.as_bytes()));
    let entry = entry.and_then(|id| program.resolve_global(id).ok());
    let phases = SectionPhases::new(&reachable, options.phases, &mut warnings);
    let addresses = layout::place(&reachable, &plan, phases, options.layout, entry);
    let addresses = refusals.require(addresses)?;
    if options.layout == Layout::Native && addresses.read_only_bytes() != 0 {
        let bytes = addresses.read_only_bytes();
        warnings.push(PackWarning::ReadOnlyDataWritable { bytes });
    }
    let debug_info = match options.debug_info {
        true => merge_debug_info(inputs, &addresses, &mut warnings, &mut refusals),
        false => DebugInfo::default(),
    };
    let mut array_symbols = inputs.array_symbols(&program);
    array_symbols.extend(module::part_symbols(&addresses));
    let properties = gnu_property::combine(&program, &mut refusals);
    let additions = emit::Additions {
        debug_info,
        needs_unwinding: reachable.needs_unwinding() || inputs.need_unwinding(&program),
        needed: inputs.needed(&program)?,
        array_symbols,
        metadata: module::merge_metadata(inputs, &addresses, &instances, properties)?,
    };
    let bytes = emit::emit(&addresses, options, entry, &additions, &mut warnings);
    if matches!(bytes, Err(PackError::Write(_))) {
        // A consequence of what is refused already, if anything is.
        refusals.finish()?;
    }
    let bytes = refusals.require(bytes)?;
    refusals.finish()?;
    check::check(&bytes, options)?;
    Ok(Packed { bytes, warnings })
}

/// The debugging information of the module, with warnings of what is left out.
fn merge_debug_info(
    inputs: &module::Inputs<'_>,
    addresses: &ModuleLayout<'_, '_>,
    warnings: &mut Vec<PackWarning>,
    refusals: &mut Refusals,
) -> DebugInfo {
    inputs.warn_of_debug_info(addresses.program, warnings);
    let merged = debug_info::merge(addresses, refusals);
    let debug_info = refusals.check(merged).unwrap_or_default();
    let explains = |warning: &PackWarning| matches!(warning, PackWarning::DebugInfoLeftOut { .. });
    if debug_info.outputs.is_empty() && !warnings.iter().any(explains) {
        warnings.push(debug_info::warning_of_none(addresses.program));
    }
    debug_info
}

/// The names that the program imports, and its machine; `None` for one that cannot be linked.
fn imports(
    inputs: &module::Inputs<'_>,
    roots: &resolve::Roots<'_>,
    options: &Options<'_>,
    instances: &module::Instances,
) -> Option<(Vec<Vec<u8>>, Arch)> {
    // What is refused here is refused again when the program is linked.
    let (mut warnings, mut refusals) = (Vec::new(), Refusals::default());
    let linked = inputs.link_inputs(instances.inputs());
    let program = resolve::link(&linked, roots, &mut warnings, &mut refusals).ok()?;
    let omits = options.omit_unwind_tables;
    let reachable = gc_sections::mark_reachable(&program, roots.entry, omits, &mut refusals);
    let reachable = reachable.ok()?;
    let plan = relocs::scan(&reachable, &mut warnings, &mut refusals);
    let imports = plan.imports.keys().filter_map(|id| program.global(*id));
    let names = imports.map(|global| global.name.to_vec()).collect();
    Some((names, program.machine().arch()))
}

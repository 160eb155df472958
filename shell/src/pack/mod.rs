//! A static linker: relocatable ELF objects for x86-64 or aarch64, as gcc, clang and rustc write them,
//! into one module.
//!
//! ```text
//! object, archive     bytes into sections, symbols, groups, relocations
//! resolve             names across objects; which members of archives come along
//! reach               what the exports and the entry need; the rest falls away
//! fixes               what every relocation asks for: a value, a slot, a stub, another instruction
//! x86_64, aarch64     what relocations mean on each of them
//! phases              when code runs
//! place               where everything goes
//! apply, operands     the bytes, and the relocations that are left
//! compress            those bytes that become fewer
//! emit                the module
//! check               whether readers accept it
//! ```
//!
//! The module is made so that loading it touches few pages: distances inside the module are settled
//! here (see [`smf_core::format::ext::prelink`]), calls of other modules share one stub each, and what is
//! left for the loader stands together in tables of addresses. For aarch64 the packed numbering has no
//! relocation to keep beside a settled distance, so that a packed module works under its own placement
//! alone and says so; where pages are larger than 4 KiB, it takes a native one.
//!
//! Objects may be hostile: everything is checked, nothing is allocated that their length does not
//! explain, and every error names what it is about. What a module cannot express is an error, never
//! left out: thread-local storage, indirect functions, constructors, relocations of other kinds.

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
mod phases;
mod relocate;
mod relocs;
mod resolve;
mod x86_64;

pub use compress::Algorithm;
pub use error::{PackError, PackWarning, RelocType};
pub use machine::Machine;
use phases::Phases;
pub use phases::{PhaseList, PhaseListError, parse_phases};
use smf_core::format::Layout;
use smf_core::format::write::WriteError;

/// An object or an archive of objects.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// What messages call it; its path, as a rule.
    pub name: &'a str,
    /// Its bytes.
    pub data: &'a [u8],
}

/// What kind of module to make.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// [`Layout::Packed`] or [`Layout::Native`].
    pub layout: Layout,
    /// The function at which running begins; without one, it is `main` if there is a `main`.
    pub entry: Option<&'a str>,
    /// What stands before the module; packed only.
    pub stub: &'a [u8],
    /// Marks the module as one that a new version may replace while it runs, and gives it a local symbol for
    /// each datum that it may write to and does not export, so that the new version can take over what it
    /// holds. Those of one name in several objects stay with the old version: nobody can tell them apart.
    pub reloadable: bool,
    /// What to compress sections with that become smaller by it; code never is.
    pub compress: Option<Algorithm>,
    /// When functions run, which decides where their code lies: what starts first, what hardly ever runs
    /// last. Counts for functions with sections of their own, before what compilers say.
    pub phases: Option<&'a PhaseList<'a>>,
    /// How many of the files that the program is started with are worth reading ahead.
    pub prefetch: u8,
}

impl Default for Options<'_> {
    /// A packed module with no stub and nothing compressed, that begins at `main` if there is one.
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

/// A module, and what there is to say about it.
#[derive(Clone, Debug)]
pub struct Packed {
    /// The file.
    pub bytes: Vec<u8>,
    /// What its maker may want to change.
    pub warnings: Vec<PackWarning>,
}

/// Links objects into a module.
///
/// Objects are linked in; of archives, the members that define what is undefined, in whatever order
/// the inputs come. When there are archives alone and no entry, all their members are linked in.
/// Exported is what is global or weak and neither hidden nor internal.
///
/// # Errors
/// The first reason why there can be no such module, by the names of what it is about.
pub fn pack<'a>(inputs: &[Input<'a>], options: &Options<'a>) -> Result<Packed, PackError> {
    match options.layout {
        Layout::Packed => {}
        Layout::Native if options.stub.is_empty() => {}
        Layout::Native => return Err(WriteError::StubInNative.into()),
        layout => return Err(WriteError::Layout(layout).into()),
    }
    let mut warnings = Vec::new();
    let program = resolve::link(inputs, options, &mut warnings)?;
    let reach = gc_sections::reach(&program, options, &mut warnings)?;
    let fixes = relocs::scan(&program, &reach, &mut warnings)?;
    let entry = options.entry.and_then(|name| program.find(name.as_bytes()));
    let entry = entry.and_then(|id| program.meaning(id, false).ok());
    let nothing = PhaseList::new();
    let list = options.phases.unwrap_or(&nothing);
    let phases = Phases::new(&program, &reach, list, &mut warnings);
    let placement = layout::place(&program, &reach, &fixes, phases, options.layout, entry)?;
    if options.layout == Layout::Native && placement.read_only_bytes() != 0 {
        let bytes = placement.read_only_bytes();
        warnings.push(PackWarning::ReadOnlyDataWritable { bytes });
    }
    let bytes = emit::emit(&program, &fixes, &placement, options, entry, &mut warnings)?;
    check::check(&bytes, options)?;
    Ok(Packed { bytes, warnings })
}

//! What debuggers get to read of a loaded module: its debugging information, with the addresses that the module has, and its
//! unwinding tables.

use smf_core::alloc_util::{AllocError, try_collect, try_push};
use smf_core::format::ext::debug_addresses::{self, DebugFields};
use smf_core::format::{Contents, FormatError, Section, SectionKind, Smf};
use smf_core::link::Module;
#[cfg(feature = "inspect")]
use smf_core::loader::ModuleRef;

use crate::fallible_buf::FallibleBuf;
use crate::tools::{DebugSection, Function, Tool, ToolError};

/// The sections of a module for debuggers.
///
/// # Errors
/// Malformed debugging information, or a failed allocation.
pub(crate) fn sections(module: &Module<'_>) -> Result<Vec<DebugSection>, ToolError> {
    let tool = Tool::Gdb;
    let smf = module.linked();
    let mut sections = Vec::new();
    for section in smf.sections().iter() {
        if let Some(tables) = unwinding_tables(module, &section) {
            try_push(&mut sections, tables).map_err(|_| ToolError::OutOfMemory { tool })?;
        }
    }
    // With a malformed list of addresses, none of the sections is of use.
    let exports = module.exports();
    let found = add_sections(smf, &|index| exports.section(index), &mut sections);
    let found = found.map_err(|error| match error {
        Failed::Format(error) => ToolError::DebugInfo { tool, error },
        Failed::Alloc => ToolError::OutOfMemory { tool },
    });
    found.map(|()| sections)
}

/// The debugging information of a loaded module, with the addresses that the module has; empty if it has none.
#[cfg(feature = "inspect")]
pub(crate) fn of_module(module: &ModuleRef<'_>) -> Vec<DebugSection> {
    let mut sections = Vec::new();
    let Some(smf) = module.linked() else { return sections };
    match add_sections(smf, &|index| module.section_address(index), &mut sections) {
        Ok(()) => sections,
        Err(_) => Vec::new(),
    }
}

/// The debugging information of a file that is not loaded, with the offsets of the code; empty if it has none.
#[cfg(feature = "inspect")]
pub(crate) fn of_file(smf: &Smf<'_>) -> Vec<DebugSection> {
    let mut sections = Vec::new();
    match add_sections(smf, &|_| None, &mut sections) {
        Ok(()) => sections,
        Err(_) => Vec::new(),
    }
}

/// Why the sections cannot be made.
enum Failed {
    Format(FormatError),
    Alloc,
}

impl From<AllocError> for Failed {
    fn from(_: AllocError) -> Self {
        Failed::Alloc
    }
}

impl From<FormatError> for Failed {
    fn from(error: FormatError) -> Self {
        Failed::Format(error)
    }
}

/// Adds the debugging information of a module whose sections lie at the addresses that `base` returns.
fn add_sections(
    smf: &Smf<'_>,
    base: &dyn Fn(u32) -> Option<u64>,
    sections: &mut Vec<DebugSection>,
) -> Result<(), Failed> {
    // Sections of other writers have no list, and are not in the form described there.
    let Some(addresses) = DebugFields::addresses(smf)? else { return Ok(()) };
    let lists = try_collect(addresses.lists())?;
    for section in smf.sections().iter().filter(|s| s.kind == SectionKind::Debug) {
        let Some(name) = debug_addresses::elf_name(section.name) else { continue };
        let mut bytes = match smf.contents(&section)? {
            Contents::Borrowed(bytes) => {
                let mut copy = FallibleBuf::default();
                copy.put(bytes);
                copy.finish()?
            }
            Contents::Owned(bytes) => bytes,
        };
        for list in lists.iter().filter(|list| list.debug.index == section.index) {
            let Some(base) = base(list.target.index) else { continue };
            list.offsets().for_each(|offset| add(&mut bytes, offset, base));
        }
        try_push(sections, DebugSection { name, address: 0, bytes })?;
    }
    Ok(())
}

/// Adds the address of a section to a field.
fn add(bytes: &mut [u8], offset: u32, base: u64) {
    let field = usize::try_from(offset).ok().and_then(|offset| bytes.get_mut(offset..));
    if let Some(field) = field.and_then(<[u8]>::first_chunk_mut) {
        *field = u64::from_le_bytes(*field).wrapping_add(base).to_le_bytes();
    }
}

/// The unwinding tables of a module, as they are in memory, if the section has them.
fn unwinding_tables(module: &Module<'_>, section: &Section<'_>) -> Option<DebugSection> {
    let name = &b".eh_frame"[..];
    let address = module.exports().section(section.index);
    let address =
        address.filter(|_| section.kind == SectionKind::RoData && section.name == name)?;
    let bytes = Function { address, size: section.memory_size(), name }.code().ok()?;
    Some(DebugSection { name, address, bytes })
}

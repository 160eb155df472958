//! The arrays of constructors and destructors in a linked image.
//!
//! The sections called `.init_array` and `.fini_array` hold addresses of 8 bytes each, which the linker has relocated. They are
//! read once and checked: every entry is an address in the code of the module.

use alloc::vec::Vec;

use super::error::{LinkError, Result};
use super::host_services::InitFunctions;
use super::layout::ImageLayout;
use super::special_imports::{DSO_HANDLE, REQUIRES_CONSTRUCTORS};
use crate::alloc_util::{try_collect, try_push};
use crate::format::ext::ifunc;
use crate::format::{Binding, Section, SectionKind, Smf, SymbolPlace};

/// Bytes of an entry.
const ENTRY: usize = 8;

/// The functions that run when a module is loaded and unloaded.
#[derive(Debug, Default)]
pub(super) struct InitArrays {
    /// In the order in which they run.
    pub(super) constructors: Vec<u64>,
    /// In reverse order.
    pub(super) destructors: Vec<u64>,
    /// 0 if there is none.
    pub(super) dso_handle: u64,
}

impl InitArrays {
    /// Reads the arrays of `smf` from its image in `memory`, relocated for the address `base`. `has_handlers`: code of
    /// the module may register exit handlers.
    ///
    /// # Errors
    /// [`LinkError::InitArraySize`], [`LinkError::InitArrayEntry`]; no memory.
    pub(super) fn read(
        smf: &Smf<'_>,
        layout: &ImageLayout<'_>,
        base: u64,
        memory: &[u8],
        has_handlers: bool,
    ) -> Result<Self> {
        // Empty ones say nothing, and an object may have as many as it has sections.
        let is_filled = |section: &Section<'_>| section.memory_size() != 0;
        let mut code = None;
        let mut read = |name| {
            let mut addresses = Vec::new();
            for section in init_sections(smf, name).filter(is_filled) {
                let code = match &code {
                    Some(known) => known,
                    None => code.insert(code_ranges(smf, layout, base)?),
                };
                read_entries(layout, code, memory, &section, &mut addresses)?;
            }
            Ok::<_, LinkError>(addresses)
        };
        let (constructors, destructors) = (read(b".init_array")?, read(b".fini_array")?);
        let has_init = has_handlers || !constructors.is_empty() || !destructors.is_empty();
        let dso_handle = if has_init { dso_handle(smf, layout, base) } else { None };
        Ok(Self { constructors, destructors, dso_handle: dso_handle.unwrap_or(0) })
    }

    /// Whether anything may run at unload or has to run at load.
    pub(super) fn is_empty(&self) -> bool {
        self.constructors.is_empty() && self.destructors.is_empty() && self.dso_handle == 0
    }

    pub(super) fn functions(&self) -> InitFunctions<'_> {
        let Self { constructors, destructors, dso_handle } = self;
        InitFunctions { constructors, destructors, dso_handle: *dso_handle }
    }
}

/// The sections called `name`. The kind is checked because other readers of the format use names freely.
fn init_sections<'d>(smf: &Smf<'d>, name: &'static [u8]) -> impl Iterator<Item = Section<'d>> {
    let is_array =
        move |section: &Section<'_>| section.kind == SectionKind::RoData && section.name == name;
    smf.sections().iter().filter(is_array)
}

/// Whether `smf` has constructors or destructors.
pub fn has_init_functions(smf: &Smf<'_>) -> bool {
    let is_filled = |name| init_sections(smf, name).any(|section| section.virtual_size != 0);
    is_filled(b".init_array") || is_filled(b".fini_array")
}

/// Whether loading or unloading `smf`, the file that is linked, runs machine code of it: constructors, destructors, exit
/// handlers or resolvers of indirect functions.
pub fn runs_code_at_load(smf: &Smf<'_>) -> bool {
    has_init_functions(smf) || smf.symbols().has_import(&[REQUIRES_CONSTRUCTORS, ifunc::NAME])
}

/// Appends the entries of one array, addresses in `code`, to `addresses`.
fn read_entries(
    layout: &ImageLayout<'_>,
    code: &[(u64, u64)],
    memory: &[u8],
    array: &Section<'_>,
    addresses: &mut Vec<u64>,
) -> Result<()> {
    let (section, size) = (array.index, array.memory_size());
    if !size.is_multiple_of(ENTRY as u64) {
        return Err(LinkError::InitArraySize { section, size });
    }
    let bytes = layout.section(section).and_then(|start| {
        let start = usize::try_from(start).ok()?;
        memory.get(start..)?.get(..usize::try_from(size).ok()?)
    });
    let bytes = bytes.ok_or(LinkError::TooLarge)?;
    let words = bytes.as_chunks::<ENTRY>().0;
    for (offset, word) in (0u64..).step_by(ENTRY).zip(words) {
        let address = u64::from_le_bytes(*word);
        if !code.iter().any(|(start, end)| (*start..*end).contains(&address)) {
            return Err(LinkError::InitArrayEntry { section, offset, address });
        }
        try_push(addresses, address)?;
    }
    Ok(())
}

/// The start and the end of each code section.
pub(super) fn code_ranges(
    smf: &Smf<'_>,
    layout: &ImageLayout<'_>,
    base: u64,
) -> Result<Vec<(u64, u64)>> {
    let code = smf.sections().iter().filter(|section| section.kind == SectionKind::Code);
    Ok(try_collect(code.filter_map(|section| {
        let start = base.checked_add(layout.section(section.index)?)?;
        Some((start, start.checked_add(section.memory_size())?))
    }))?)
}

/// The address of the local symbol `__dso_handle`.
fn dso_handle(smf: &Smf<'_>, layout: &ImageLayout<'_>, base: u64) -> Option<u64> {
    let mut symbols = smf.symbols().iter().map_while(core::result::Result::ok);
    let symbol =
        symbols.find(|symbol| symbol.binding == Binding::Local && symbol.name() == DSO_HANDLE)?;
    let SymbolPlace::Section { section, value, .. } = smf.symbols().place(symbol.index).ok()?
    else {
        return None;
    };
    base.checked_add(layout.section(section)?)?.checked_add(value)
}

//! Thread-local storage of a module: allocation, and the values of the imports that denote it.
//!
//! See [`tls`](crate::format::ext::tls) for the imports. The initial contents are relocated before the storage is
//! allocated, because the process copies them; the module number and the offset are known only afterwards.

use alloc::vec::Vec;

use super::error::{LinkError, Result};
use super::host_resources::HostResources;
use super::host_services::{HostServiceError, TlsBlock, TlsTemplate};
use super::resolve::{Exports, Resolve};
use crate::alloc_util::try_push;
use crate::format::ext::tls::{SECTION, TlsImport, Value};
use crate::format::{Section, SectionKind, Smf};

/// The imports of a module that denote values of thread-local storage, with their numbers in the order of the symbol
/// table.
#[derive(Default)]
pub(super) struct TlsImports<'d>(Vec<(usize, TlsImport<'d>)>);

impl<'d> TlsImports<'d> {
    /// Adds the import with this number if it is one.
    pub(super) fn add(&mut self, number: usize, name: &'d [u8]) -> Result<bool> {
        let Some(import) = TlsImport::parse(name) else { return Ok(false) };
        try_push(&mut self.0, (number, import))?;
        Ok(true)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the module has storage of its own.
    pub(super) fn has_storage(&self) -> bool {
        self.0
            .iter()
            .any(|(_, import)| import.symbol.is_none() && import.value != Value::Descriptor)
    }

    /// Allocates the module's own storage with these initial contents. `prefers_static`: other modules access it at a fixed
    /// offset from the thread pointer, and are refused if it has none.
    #[cold]
    pub(super) fn allocate(
        &self,
        section: &Section<'_>,
        initial: &[u8],
        prefers_static: bool,
        resources: &mut HostResources,
    ) -> Result<()> {
        let is_static = |(_, import): &(usize, TlsImport<'_>)| {
            import.symbol.is_none() && import.value.is_static()
        };
        let (size, alignment) = (section.memory_size(), section.alignment);
        let to_usize = |number: u64| usize::try_from(number).map_err(|_| LinkError::TooLarge);
        let template = TlsTemplate {
            initial,
            size: to_usize(size)?,
            alignment: to_usize(alignment)?,
            is_static: self.0.iter().any(is_static),
        };
        let services = resources.services;
        let preferred = TlsTemplate { is_static: true, ..template };
        let preferred = prefers_static.then(|| services.allocate_tls(&preferred).ok()).flatten();
        let granted = preferred.map_or_else(|| services.allocate_tls(&template), Ok);
        resources.tls = Some(granted.map_err(|error| match error {
            HostServiceError::Refused { reason, .. } => {
                let section = section.index;
                LinkError::ThreadLocalStorage { section, size, alignment, reason }
            }
            error => error.into(),
        })?);
        Ok(())
    }

    /// Enters the values of the imports into `values`, which are those of all imports.
    #[cold]
    pub(super) fn resolve(
        &self,
        values: &mut [u64],
        modules: &dyn Resolve,
        resources: &mut HostResources,
    ) -> Result<()> {
        for (number, import) in &self.0 {
            let value = value(import, modules, resources)?;
            if let Some(entry) = values.get_mut(*number) {
                *entry = value;
            }
        }
        Ok(())
    }
}

/// The section with the initial contents.
pub(super) fn section<'d>(smf: &Smf<'d>) -> Result<Section<'d>> {
    let mut sections = smf.sections().iter();
    let found = sections.find(|s| s.kind == SectionKind::RoData && s.name == SECTION);
    found.ok_or(LinkError::NoTlsSection)
}

/// The imports of `smf` that denote values of thread-local symbols of others. A malformed symbol ends the list.
pub(crate) fn imported_tls<'d>(smf: &Smf<'d>) -> impl Iterator<Item = TlsImport<'d>> + use<'d> {
    let symbols = smf.symbols().iter().map_while(Result::ok);
    let imports = symbols.filter(|symbol| symbol.is_import());
    let imports = imports.filter_map(|symbol| TlsImport::parse(symbol.name()));
    imports.filter(|import| import.symbol.is_some())
}

/// The thread-local symbol at `address`, an export of the module `smf` with the storage `block`; `None` if it is not one.
pub(crate) fn symbol_at(
    smf: &Smf<'_>,
    exports: &Exports<'_>,
    address: u64,
    block: TlsBlock,
) -> Option<TlsBlock> {
    let section = section(smf).ok()?;
    let at = address.checked_sub(exports.section(section.index)?)?;
    Some(TlsBlock {
        block_offset: block.block_offset.checked_add(at)?,
        offset: block.offset.map(|offset| offset.wrapping_add_unsigned(at)),
        ..block
    })
    .filter(|_| at <= section.memory_size())
}

fn value(
    import: &TlsImport<'_>,
    modules: &dyn Resolve,
    resources: &mut HostResources,
) -> Result<u64> {
    if import.value == Value::Descriptor {
        return Ok(resources.services.tls_descriptor_function()?);
    }
    let block = match import.symbol {
        Some(name) => match modules.resolve_tls(name)? {
            Some(block) if import.value.is_static() && block.offset.is_none() => {
                let reason = "code needs it in static storage (initial exec), and the module that defines it has none; compile with -fPIC and without -ftls-model=initial-exec, or load the two modules together";
                let refused = |symbol| LinkError::ThreadLocalSymbol { symbol, reason };
                return Err(LinkError::named(name, refused));
            }
            Some(block) => block,
            None => find(name, import.value.is_static(), resources)?,
        },
        None => resources.tls.ok_or(LinkError::NoTlsSection)?,
    };
    Ok(match import.value {
        Value::Module => block.module,
        Value::BlockOffset => block.block_offset,
        _ => block.offset.ok_or(LinkError::NoTlsSection)?.cast_unsigned(),
    })
}

/// The storage of a symbol of a shared object.
fn find(name: &[u8], is_static: bool, resources: &mut HostResources) -> Result<TlsBlock> {
    let missing = || LinkError::named(name, |symbol| LinkError::MissingTls { symbol });
    let found = resources.services.find_tls(name, is_static, &resources.libraries.tokens()?);
    let block = match found {
        Err(HostServiceError::Refused { reason, .. }) => {
            let refused = |symbol| LinkError::ThreadLocalSymbol { symbol, reason };
            return Err(LinkError::named(name, refused));
        }
        found => found?.ok_or_else(missing)?,
    };
    if let Err(error) = try_push(&mut resources.imported_tls, block) {
        resources.services.release_tls(block);
        return Err(error.into());
    }
    Ok(block)
}

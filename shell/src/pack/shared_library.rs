//! Shared libraries of the system that a module needs: their names, and which of them it needs at all.

use hashbrown::HashSet;

use ::object::LittleEndian as LE;
use ::object::elf;
use ::object::read::elf::{Dyn, FileHeader, Sym};
use smf_core::format::ext::needed::check_name;

use super::error::{PackError, Result};
use super::machine::Machine;
use super::pack_reloc::RelocPlan;
use super::resolve::Program;

type Elf = elf::FileHeader64<LE>;

/// A shared library for a module to open at load, as `DT_NEEDED` for a shared object.
#[derive(Clone, Copy, Debug)]
pub struct SharedLibrary<'a> {
    /// Its `DT_SONAME`.
    pub name: &'a str,
    /// The contents of the file if the library is needed only if it defines an import (`AS_NEEDED` in a linker script).
    pub as_needed: Option<&'a [u8]>,
}

impl<'a> SharedLibrary<'a> {
    /// A library that is needed in any case.
    pub fn new(name: &'a str) -> Self {
        Self { name, as_needed: None }
    }
}

/// What a static linker reads of a shared library.
pub struct SharedObject<'a> {
    /// The instruction set.
    pub machine: Machine,
    /// `DT_SONAME`.
    pub soname: Option<&'a [u8]>,
    symbols: HashSet<&'a [u8]>,
}

impl<'a> SharedObject<'a> {
    /// Reads a shared library; `None` if the bytes are not one, or one for a machine that is not supported.
    pub fn read(data: &'a [u8]) -> Option<Self> {
        let header = Elf::parse(data).ok().filter(|header| header.e_type(LE) == elf::ET_DYN)?;
        let machine = Machine::of(header.e_machine(LE))?;
        let sections = header.sections(LE, data).ok()?;
        let mut soname = None;
        if let Some((entries, link)) = sections.dynamic(LE, data).ok()? {
            let strings = sections.strings(LE, data, link).ok()?;
            let mut entries = entries.iter();
            let entry = entries.find(|entry| entry.tag(LE) == elf::DT_SONAME);
            let offset = entry.and_then(|entry| u32::try_from(entry.val(LE)).ok());
            soname = offset.and_then(|offset| strings.get(offset).ok());
        }
        let table = sections.symbols(LE, data, elf::SHT_DYNSYM).ok()?;
        let defined = table.iter().filter(|symbol| {
            let is_global =
                [elf::STB_GLOBAL, elf::STB_WEAK, elf::STB_GNU_UNIQUE].contains(&symbol.st_bind());
            is_global && !symbol.is_undefined(LE)
        });
        let symbols = defined.filter_map(|symbol| table.symbol_name(LE, symbol).ok()).collect();
        Some(Self { machine, soname, symbols })
    }

    /// Whether the library defines `name` for others.
    pub fn defines(&self, name: &[u8]) -> bool {
        self.symbols.contains(name)
    }
}

/// The names of the needed libraries, each once.
///
/// # Errors
/// [`PackError::LibraryName`].
pub(super) fn needed<'a>(
    libraries: &[SharedLibrary<'a>],
    program: &Program<'_>,
    plan: &RelocPlan,
) -> Result<Vec<&'a [u8]>> {
    let mut names: Vec<&[u8]> = Vec::new();
    for library in libraries {
        let name = library.name.as_bytes();
        check_name(name)
            .map_err(|error| PackError::LibraryName { name: library.name.to_owned(), error })?;
        if names.contains(&name) || !is_needed(library, program, plan) {
            continue;
        }
        names.push(name);
    }
    Ok(names)
}

fn is_needed(library: &SharedLibrary<'_>, program: &Program<'_>, plan: &RelocPlan) -> bool {
    let Some(file) = library.as_needed else { return true };
    let Some(object) = SharedObject::read(file) else { return false };
    let imports = plan.imports.iter().filter(|(_, import)| !import.is_weak).map(|(id, _)| *id);
    let thread_local = plan.tls_imports.iter().filter_map(|(_, symbol)| *symbol);
    let mut names = imports.chain(thread_local).filter_map(|id| program.global(id));
    names.any(|global| object.defines(global.name))
}

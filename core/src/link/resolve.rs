//! Symbol resolution: the exports of a module, and resolvers for its imports.
//!
//! Lookups use the hash index of the file (`.smf.hash`) if there is one. Otherwise the first lookup scans the symbol
//! table, and the second builds an index: most modules are asked for a single name.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use hashbrown::HashMap;
use spin::Once;

use super::error::Result;
use super::host_services::TlsBlock;
use super::preserved_data::{self, PreservedData};
use super::special_imports::is_special;
use crate::alloc_util::{AllocError, TryArc};
use crate::format::ext::tls::TlsImport;
use crate::format::{Binding, Found, Smf, Symbol, SymbolIndex, SymbolKind, Symbols};

/// A source of symbol addresses. Modules call or access what they import, so that an address has to be that of what they
/// expect, and valid while they are loaded. Machine code of modules is trusted, and so are these addresses.
pub trait Resolve {
    /// The address of the exported symbol `name`; `None` if there is none.
    fn resolve(&self, name: &[u8]) -> Option<u64>;

    /// The address of `name` for code that belongs to the module called `module`, whose own definition comes first. By default
    /// that of the name in any module.
    fn resolve_for(&self, module: &[u8], name: &[u8]) -> Option<u64> {
        let _ = module;
        self.resolve(name)
    }

    /// The address of `import` while a module is linked. By default that of its name. `is_called`: code of the module
    /// jumps to it; the kind of the import itself is not reliable. `libraries`: the shared libraries that the module
    /// needs, which define what nothing else does.
    ///
    /// # Errors
    /// A definition of the wrong kind.
    fn resolve_import(
        &self,
        import: &Symbol<'_>,
        is_called: bool,
        libraries: &dyn Resolve,
    ) -> Result<Option<u64>> {
        let _ = is_called;
        Ok(self.resolve(import.name()).or_else(|| libraries.resolve(import.name())))
    }

    /// The thread-local symbol `name` of another module, while a module is linked, which does not own the storage; `None`
    /// by default, and if no module defines it.
    ///
    /// # Errors
    /// A failed allocation.
    fn resolve_tls(&self, name: &[u8]) -> Result<Option<TlsBlock>> {
        let _ = name;
        Ok(None)
    }
}

impl<F: Fn(&[u8]) -> Option<u64>> Resolve for F {
    fn resolve(&self, name: &[u8]) -> Option<u64> {
        self(name)
    }
}

impl<R: Resolve + ?Sized> Resolve for TryArc<R> {
    fn resolve(&self, name: &[u8]) -> Option<u64> {
        (**self).resolve(name)
    }

    fn resolve_for(&self, module: &[u8], name: &[u8]) -> Option<u64> {
        (**self).resolve_for(module, name)
    }
}

/// Resolves nothing: for modules without imports.
#[derive(Clone, Copy, Debug)]
pub struct NoImports;

impl Resolve for NoImports {
    fn resolve(&self, _: &[u8]) -> Option<u64> {
        None
    }
}

/// The imports of `smf` that are not weak and that `imports` does not resolve, in the order of the symbol table of the
/// linked file. A malformed symbol ends the list. Imports that the linker itself resolves are not listed.
pub fn missing_imports<'d, 'r>(
    smf: &Smf<'d>,
    imports: &'r dyn Resolve,
) -> impl Iterator<Item = Symbol<'d>> + use<'d, 'r> {
    let linked = smf.linked().ok().into_iter();
    let symbols = linked.flat_map(|linked| linked.symbols().iter().map_while(Result::ok));
    symbols.filter(|symbol| {
        let needed = symbol.is_import() && symbol.binding != Binding::Weak;
        let is_linkers = is_special(symbol.name()) || TlsImport::parse(symbol.name()).is_some();
        needed && !is_linkers && imports.resolve(symbol.name()).is_none()
    })
}

/// An exported symbol of a mapped module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Export {
    /// The address, valid while the module is loaded.
    pub address: u64,
    /// Function, data or constant.
    pub kind: SymbolKind,
    /// [`Binding::Global`] or [`Binding::Weak`].
    pub binding: Binding,
    /// The size in bytes; 0 if unknown.
    pub size: u64,
}

impl Export {
    /// Whether the binding is not weak.
    pub fn is_strong(&self) -> bool {
        self.binding != Binding::Weak
    }
}

/// The exports of a mapped module. Clones share one table; the addresses are valid while the module is loaded.
#[derive(Clone)]
pub struct Exports<'d>(TryArc<Table<'d>>);

struct Table<'d> {
    symbols: Symbols<'d>,
    /// The address of each section; 0 if it is not loaded.
    sections: Vec<u64>,
    /// Data in the memory of an older version.
    preserved: Vec<PreservedData>,
    /// Whether there was a lookup without an index.
    was_scanned: AtomicBool,
    index: Once<Index<'d>>,
}

impl<'d> Exports<'d> {
    pub(super) fn new(
        symbols: Symbols<'d>,
        sections: Vec<u64>,
        preserved: Vec<PreservedData>,
    ) -> Result<Self, AllocError> {
        let (was_scanned, index) = (AtomicBool::new(false), Once::new());
        Ok(Exports(TryArc::new(Table { symbols, sections, preserved, was_scanned, index })?))
    }

    /// The exported symbol called `name`; `None` if there is none, or it has no address. A wrong index in the file,
    /// which verification reports, may hide a name.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<Export> {
        let table = &*self.0;
        match table.index.get() {
            Some(index) => index.find(table, name),
            None => table.find_first(name),
        }
    }

    /// The exported symbol called `name`, by a linear scan.
    pub fn symbol(&self, name: &[u8]) -> Option<Symbol<'d>> {
        self.0.symbols.find_export(name)
    }

    /// The address of a symbol of this module; `None` if it has none.
    pub fn address(&self, symbol: &Symbol<'_>) -> Option<u64> {
        self.0.address(&(*symbol).into())
    }

    /// The address of a section; `None` if it is not loaded.
    pub fn section(&self, index: u32) -> Option<u64> {
        self.0.section(index)
    }
}

impl Resolve for Exports<'_> {
    #[inline]
    fn resolve(&self, name: &[u8]) -> Option<u64> {
        let table = &*self.0;
        match table.index.get() {
            Some(Index::InFile(index)) => table.address_in_file(index, name),
            Some(Index::Built(names)) => {
                names.get(name).map(|export| export.address).filter(|address| *address != 0)
            }
            None => table.find_first(name).map(|export| export.address),
        }
    }
}

impl<'d> Table<'d> {
    /// A lookup before there is an index: the first one scans a file without an index, and the second builds one.
    // Out of line: row "look up one of 1,000 symbols".
    #[cold]
    fn find_first(&self, name: &[u8]) -> Option<Export> {
        // An index that cannot be read is ignored.
        let in_file = SymbolIndex::of(self.symbols).ok().flatten();
        if in_file.is_none() && !self.was_scanned.swap(true, Ordering::Relaxed) {
            return self.scan(name);
        }
        let index = || match in_file {
            Some(index) => Ok(Index::InFile(index)),
            None => index_names(self).map(Index::Built),
        };
        match self.index.try_call_once(index) {
            Ok(index) => index.find(self, name),
            // Without memory for an index, lookups scan.
            Err(AllocError) => self.scan(name),
        }
    }

    fn scan(&self, name: &[u8]) -> Option<Export> {
        self.symbols.find_export(name).and_then(|symbol| self.export(&symbol.into()))
    }

    #[inline]
    fn export(&self, found: &Found) -> Option<Export> {
        let Found { kind, binding, size, .. } = *found;
        Some(Export { address: self.address(found)?, kind, binding, size })
    }

    /// The address of a symbol; `None` if it has none.
    #[inline]
    fn address(&self, found: &Found) -> Option<u64> {
        if !found.kind.has_address() {
            return None;
        }
        if !self.preserved.is_empty()
            && let Some(address) = self.preserved_address(found)
        {
            return Some(address);
        }
        self.section(found.section?)?.checked_add(found.value)
    }

    // Not inlined: the other index needs no stack then (row "look up one of 1,000 symbols").
    #[inline(never)]
    fn address_in_file(&self, index: &SymbolIndex<'d>, name: &[u8]) -> Option<u64> {
        self.address(&index.find(name)?)
    }

    fn preserved_address(&self, found: &Found) -> Option<u64> {
        let section = found.section?;
        let (_, range) = preserved_data::containing(&self.preserved, section, found.value)?;
        range.address_of(section, found.value, found.size)
    }

    #[inline]
    fn section(&self, index: u32) -> Option<u64> {
        let index = usize::try_from(index).ok()?;
        self.sections.get(index).copied().filter(|address| *address != 0)
    }
}

/// A hash index of exported names.
enum Index<'d> {
    InFile(SymbolIndex<'d>),
    /// The address is 0 if the symbol has none; it still hides others of its name.
    Built(HashMap<&'d [u8], Export>),
}

impl<'d> Index<'d> {
    fn find(&self, table: &Table<'d>, name: &[u8]) -> Option<Export> {
        match self {
            Index::InFile(index) => table.export(&index.find(name)?),
            Index::Built(names) => names.get(name).copied().filter(|export| export.address != 0),
        }
    }
}

/// The exported names of a module. Of several symbols with one name it contains the first global one, else the first
/// weak one, as [`Symbols::find_export`].
fn index_names<'d>(module: &Table<'d>) -> Result<HashMap<&'d [u8], Export>, AllocError> {
    let mut names = HashMap::new();
    names.try_reserve(module.symbols.len()).map_err(|_| AllocError)?;
    for symbol in module.symbols.iter().filter_map(Result::ok).filter(Symbol::is_export) {
        let address = module.address(&symbol.into()).unwrap_or(0);
        let Symbol { kind, binding, size, .. } = symbol;
        let new = Export { address, kind, binding, size };
        let known = names.entry(symbol.name()).or_insert(new);
        if !known.is_strong() && new.is_strong() {
            *known = new;
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::ext::hash_index;
    use crate::format::write::{Module, NewSection, NewSymbol, Payload, Place};
    use crate::format::{Header, Layout, SectionKind};

    #[test]
    fn index_is_built_by_the_second_lookup() {
        let smf = Smf::parse(include_bytes!("../../../tests/samples/packed.smf")).unwrap();
        let exports =
            Exports::new(smf.symbols(), alloc::vec![0x1000, 0x2000, 0x3000, 0], Vec::new())
                .unwrap();
        for (name, address, built) in [
            (&b"add"[..], Some(0x1010), false),
            (b"add", Some(0x1010), true),
            (b"absload", Some(0x1050), true),
            (b"counter", None, true),
            (b"ad", None, true),
            (b"addd", None, true),
        ] {
            assert_eq!((exports.resolve(name), exports.0.index.is_completed()), (address, built));
        }
        // A clone shares the index.
        assert!(exports.clone().0.index.is_completed());
    }

    /// A file with exports of each binding, one of them a type that hides a weak function of its name, and with
    /// `payload` as its index.
    fn file(payload: Option<&[u8]>) -> Vec<u8> {
        let section = |kind, name, payload| NewSection::new(kind, name, Payload::Bytes(payload));
        let mut sections = std::vec![
            section(SectionKind::Code, b".text", &[0xc3; 64]),
            section(SectionKind::Data, b".data", &[0; 64]),
        ];
        sections.extend(payload.map(hash_index::section));
        let (layout, header) = (Layout::Packed, Header::default());
        let symbols = symbols();
        Module { layout, header, stub: &[], sections: &sections, symbols: &symbols }
            .to_vec()
            .unwrap()
    }

    fn symbols() -> [NewSymbol<'static>; 6] {
        let new = |name, kind, binding, section, value, size| NewSymbol {
            name,
            kind,
            binding,
            place: Place::Section(section),
            value,
            size,
            ..NewSymbol::default()
        };
        use Binding::{Global, Local, Weak};
        use SymbolKind::{Constant, Data, Function, Type};
        [
            new(b"run", Function, Weak, 0, 16, 8),
            new(b"run", Function, Global, 0, 32, 4),
            new(b"datum", Data, Weak, 1, 8, 8),
            new(b"hidden", Function, Weak, 0, 0, 1),
            NewSymbol { place: Place::Unstated, ..new(b"hidden", Type, Global, 0, 0, 0) },
            new(b"own", Constant, Local, 1, 0, 8),
        ]
    }

    #[test]
    fn scan_and_both_indexes_agree() {
        let indexed = file(hash_index::encode(&symbols()).as_deref());
        for (file, in_file) in [(&indexed, true), (&file(None), false)] {
            let smf = Smf::parse(file).unwrap();
            smf.verify().unwrap();
            let exports =
                Exports::new(smf.symbols(), std::vec![0x1000, 0x2000, 0], Vec::new()).unwrap();
            let export = |address, kind, binding, size| Export { address, kind, binding, size };
            let run = export(0x1020, SymbolKind::Function, Binding::Global, 4);
            let datum = export(0x2008, SymbolKind::Data, Binding::Weak, 8);
            // The first lookup scans unless the file has an index.
            for built in [in_file, true, true] {
                let first = exports.find(b"run");
                assert_eq!(exports.0.index.is_completed(), built);
                assert_eq!(first, exports.find(b"run"));
                for (name, expected) in [
                    (&b"run"[..], Some(run)),
                    (b"datum", Some(datum)),
                    (b"hidden", None),
                    (b"own", None),
                    (b"absent", None),
                ] {
                    assert_eq!(exports.find(name), expected);
                    let address = expected.map(|export| export.address);
                    assert_eq!(exports.resolve(name), address);
                    let scanned = exports.symbol(name).and_then(|symbol| exports.address(&symbol));
                    assert_eq!(scanned, address);
                }
            }
        }
    }

    #[test]
    fn unreadable_index_is_ignored() {
        for payload in [&b"HASH"[..], b"HASH\x01\0\0\0\x06\0\0\0", b"HASH\x02\0\0\0", b""] {
            let file = file(Some(payload));
            let smf = Smf::parse(&file).unwrap();
            let exports =
                Exports::new(smf.symbols(), std::vec![0x1000, 0x2000, 0], Vec::new()).unwrap();
            for built in [false, true] {
                assert_eq!(exports.resolve(b"run"), Some(0x1020));
                assert_eq!(exports.0.index.is_completed(), built);
            }
        }
    }

    #[test]
    fn export_in_a_section_that_is_not_loaded_has_no_address() {
        let file = file(hash_index::encode(&symbols()).as_deref());
        let smf = Smf::parse(&file).unwrap();
        for sections in [std::vec![], std::vec![0, 0, 0], std::vec![u64::MAX, 0, 0]] {
            let exports = Exports::new(smf.symbols(), sections, Vec::new()).unwrap();
            assert_eq!((exports.find(b"run"), exports.resolve(b"run")), (None, None));
        }
    }
}

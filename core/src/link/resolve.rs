//! Names become addresses: what a module exports, and the chain that its imports are looked up in.
//!
//! Where the file brings an index of its names (`.smf.hash`), lookups use that. Otherwise a first lookup
//! walks the symbol table and builds nothing; the second one builds an index, which then serves every
//! lookup that follows. Most modules are asked for one name.

use core::hash::BuildHasher;
use core::sync::atomic::{AtomicBool, Ordering};

use hashbrown::{DefaultHashBuilder, HashTable};
use spin::Once;

use super::error::LinkError;
use super::preserved_data::{self, PreservedData};
use crate::alloc_util::{AllocError, TryArc};
use crate::format::ext::prelink;
use crate::format::{Binding, Found, Smf, Symbol, SymbolIndex, SymbolKind, Symbols};

/// Something that knows addresses of names.
pub trait Resolve {
    /// The address of the exported symbol `name`; `None` when there is none.
    fn resolve(&self, name: &[u8]) -> Option<u64>;

    /// The address of what `import` asks for, while a module is linked: by its name, unless it matters
    /// what is found there. `is_called` tells that code of the module jumps there; what kind of a symbol
    /// the import itself says that it is, not every writer knows.
    ///
    /// # Errors
    /// A definition that cannot be what the import means.
    fn resolve_import(
        &self,
        import: &Symbol<'_>,
        is_called: bool,
    ) -> Result<Option<u64>, LinkError> {
        let _ = is_called;
        Ok(self.resolve(import.name()))
    }
}

impl<F: Fn(&[u8]) -> Option<u64>> Resolve for F {
    fn resolve(&self, name: &[u8]) -> Option<u64> {
        self(name)
    }
}

#[cfg(feature = "kernel")]
impl<R: Resolve + ?Sized> Resolve for TryArc<R> {
    fn resolve(&self, name: &[u8]) -> Option<u64> {
        (**self).resolve(name)
    }
}

/// Knows no names: for modules without imports.
#[derive(Clone, Copy, Debug)]
pub struct NoImports;

impl Resolve for NoImports {
    fn resolve(&self, _: &[u8]) -> Option<u64> {
        None
    }
}

/// Resolvers asked one after another; the first that knows a name wins.
#[derive(Clone, Copy)]
pub struct Chain<'r>(pub &'r [&'r dyn Resolve]);

impl Resolve for Chain<'_> {
    fn resolve(&self, name: &[u8]) -> Option<u64> {
        self.0.iter().find_map(|resolver| resolver.resolve(name))
    }
}

/// The imports of `smf` that must be provided and that `imports` does not provide, in the order of
/// the symbol table: of that of the ELF object in its code, if it has one. A broken symbol ends the list,
/// and a broken object has none. [`prelink::NAME`] is for nobody to provide and is not
/// among them.
pub fn missing_imports<'d, 'r>(
    smf: &Smf<'d>,
    imports: &'r dyn Resolve,
) -> impl Iterator<Item = Symbol<'d>> + use<'d, 'r> {
    let linked = smf.linked().ok().into_iter();
    let symbols = linked.flat_map(|linked| linked.symbols().iter().map_while(Result::ok));
    symbols.filter(|symbol| {
        let needed = symbol.is_import() && symbol.binding != Binding::Weak;
        needed && symbol.name() != prelink::NAME && imports.resolve(symbol.name()).is_none()
    })
}

/// An exported symbol of a placed module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Export {
    /// Its address; good while the module is loaded.
    pub address: u64,
    /// What it names: a function, data, a constant.
    pub kind: SymbolKind,
    /// [`Binding::Global`], or [`Binding::Weak`] when another module's may take its place.
    pub binding: Binding,
    /// Its length in bytes; 0 when the writer did not know.
    pub size: u64,
}

impl Export {
    /// Whether it is more than a default that others may override.
    pub fn is_strong(&self) -> bool {
        self.binding != Binding::Weak
    }
}

/// What a placed module exports. Cheap to clone; the addresses are good while the module is loaded.
#[derive(Clone)]
pub struct Exports<'d>(TryArc<Table<'d>>);

struct Table<'d> {
    symbols: Symbols<'d>,
    /// The address of each section; 0 when it is not loaded.
    sections: alloc::vec::Vec<u64>,
    /// Data that is elsewhere.
    kept: alloc::vec::Vec<PreservedData>,
    asked: AtomicBool,
    index: Once<Index<'d>>,
}

impl<'d> Exports<'d> {
    pub(super) fn new(
        symbols: Symbols<'d>,
        sections: alloc::vec::Vec<u64>,
    ) -> Result<Self, AllocError> {
        Self::with_kept(symbols, sections, alloc::vec::Vec::new())
    }

    /// As [`Exports::new`], of a module that leaves some of its data where an older version has it.
    pub(super) fn with_kept(
        symbols: Symbols<'d>,
        sections: alloc::vec::Vec<u64>,
        kept: alloc::vec::Vec<PreservedData>,
    ) -> Result<Self, AllocError> {
        let (asked, index) = (AtomicBool::new(false), Once::new());
        Ok(Exports(TryArc::new(Table { symbols, sections, kept, asked, index })?))
    }

    /// The exported symbol of this name; `None` when there is none, or none with an address. In a file
    /// with an index that is wrong, which verifying tells, a name may be missing.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<Export> {
        let table = &*self.0;
        table.index().map_or_else(|| table.walk(name), |index| index.find(table, name))
    }

    /// The exported symbol of this name. Linear in the table; builds nothing.
    pub fn symbol(&self, name: &[u8]) -> Option<Symbol<'d>> {
        self.0.symbols.find_export(name)
    }

    /// The address of a symbol of this module; `None` when it has none.
    pub fn address(&self, symbol: &Symbol<'_>) -> Option<u64> {
        self.0.place(&(*symbol).into())
    }

    /// The address of a section; `None` when it is not loaded.
    pub(super) fn section(&self, index: u32) -> Option<u64> {
        self.0.section(index)
    }

    /// Whether the index has been built.
    #[cfg(test)]
    pub(super) fn has_index(&self) -> bool {
        self.0.index.is_completed()
    }
}

impl Resolve for Exports<'_> {
    #[inline]
    fn resolve(&self, name: &[u8]) -> Option<u64> {
        let table = &*self.0;
        let Some(index) = table.index() else {
            return table.walk(name).map(|export| export.address);
        };
        match index {
            Index::InFile(index) => table.place(&index.find(name)?),
            Index::Built(names) => names.address(name),
        }
    }
}

impl<'d> Table<'d> {
    /// What leads to the names, if there is something better than to walk, which is little code.
    #[inline]
    fn index(&self) -> Option<&Index<'d>> {
        if !cfg!(feature = "full") {
            return None;
        }
        self.index.get().or_else(|| self.first_index())
    }

    /// The index when there was none yet: that of the file, else one that is built for whoever asks for
    /// the second time.
    #[cold]
    fn first_index(&self) -> Option<&Index<'d>> {
        // One that cannot be read is as good as none.
        let in_file = SymbolIndex::of(self.symbols).ok().flatten();
        if in_file.is_none() && !self.asked.swap(true, Ordering::Relaxed) {
            return None;
        }
        let index = || match in_file {
            Some(index) => Ok(Index::InFile(index)),
            None => Names::new(self).map(Index::Built),
        };
        // Without memory for one, names are found by walking.
        self.index.try_call_once(index).ok()
    }

    #[cold]
    fn walk(&self, name: &[u8]) -> Option<Export> {
        self.symbols.find_export(name).and_then(|symbol| self.export(&symbol.into()))
    }

    #[inline]
    fn export(&self, found: &Found) -> Option<Export> {
        let Found { kind, binding, size, .. } = *found;
        Some(Export { address: self.place(found)?, kind, binding, size })
    }

    /// The address of a symbol; `None` when it has none.
    #[inline]
    fn place(&self, found: &Found) -> Option<u64> {
        if !found.kind.has_address() {
            return None;
        }
        if !self.kept.is_empty()
            && let Some(address) = self.kept_place(found)
        {
            return Some(address);
        }
        self.section(found.section?)?.checked_add(found.value)
    }

    #[cold]
    fn kept_place(&self, found: &Found) -> Option<u64> {
        let section = found.section?;
        let (_, kept) = preserved_data::holding(&self.kept, section, found.value)?;
        kept.place(section, found.value, found.size)
    }

    #[inline]
    fn section(&self, index: u32) -> Option<u64> {
        let index = usize::try_from(index).ok()?;
        self.sections.get(index).copied().filter(|address| *address != 0)
    }
}

/// What leads from names to symbols.
enum Index<'d> {
    InFile(SymbolIndex<'d>),
    Built(Names<'d>),
}

impl<'d> Index<'d> {
    #[inline]
    fn find(&self, table: &Table<'d>, name: &[u8]) -> Option<Export> {
        match self {
            Index::InFile(index) => table.export(&index.find(name)?),
            Index::Built(names) => {
                let symbol = table.symbols.get(names.find(name)?.symbol).ok()?;
                table.export(&symbol.into())
            }
        }
    }
}

/// Exported names and where they lead.
struct Names<'d> {
    hasher: DefaultHashBuilder,
    table: HashTable<Entry<'d>>,
}

struct Entry<'d> {
    name: &'d [u8],
    /// 0 for what has none, which hides a namesake all the same.
    address: u64,
    /// Its number.
    symbol: u32,
    weak: bool,
}

impl<'d> Names<'d> {
    /// Of two symbols of one name the first global one counts, else the first weak one: what
    /// [`Symbols::find_export`] finds.
    fn new(module: &Table<'d>) -> Result<Self, AllocError> {
        let hasher = DefaultHashBuilder::default();
        let mut table = HashTable::new();
        let rehash = |entry: &Entry<'_>| hasher.hash_one(entry.name);
        table.try_reserve(module.symbols.len(), rehash).map_err(|_| AllocError)?;
        for symbol in module.symbols.iter().filter_map(Result::ok).filter(Symbol::is_export) {
            let name = symbol.name();
            let address = module.place(&symbol.into()).unwrap_or(0);
            let weak = symbol.binding == Binding::Weak;
            let new = Entry { name, address, symbol: symbol.index, weak };
            match table.entry(hasher.hash_one(name), |entry| entry.name == name, rehash) {
                hashbrown::hash_table::Entry::Vacant(place) => {
                    place.insert(new);
                }
                hashbrown::hash_table::Entry::Occupied(mut old) => {
                    if old.get().weak && !new.weak {
                        *old.get_mut() = new;
                    }
                }
            }
        }
        Ok(Names { hasher, table })
    }

    #[inline]
    fn find(&self, name: &[u8]) -> Option<&Entry<'d>> {
        let hash = self.hasher.hash_one(name);
        self.table.find(hash, |entry| entry.name == name)
    }

    #[inline]
    fn address(&self, name: &[u8]) -> Option<u64> {
        self.find(name).map(|entry| entry.address).filter(|address| *address != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::ext::hash_index;
    use crate::format::write::{Module, NewSection, NewSymbol, Payload, Place};
    use crate::format::{Header, Layout, SectionKind};

    #[test]
    fn the_index_is_built_for_the_second_lookup() {
        let smf = Smf::parse(include_bytes!("../../../tests/samples/packed.smf")).unwrap();
        let exports = Exports::new(smf.symbols(), alloc::vec![0x1000, 0x2000, 0x3000, 0]).unwrap();
        for (name, address, built) in [
            (&b"add"[..], Some(0x1010), false),
            (b"add", Some(0x1010), true),
            (b"absload", Some(0x1050), true),
            (b"counter", None, true),
            (b"ad", None, true),
            (b"addd", None, true),
        ] {
            assert_eq!((exports.resolve(name), exports.has_index()), (address, built));
        }
        // A clone shares the index.
        assert!(exports.clone().has_index());
    }

    /// A file with exports of each binding, among them a type that hides a weak function of its name, and with
    /// this index.
    fn file(payload: Option<&[u8]>) -> alloc::vec::Vec<u8> {
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
    fn whatever_leads_to_a_symbol_says_the_same_of_it() {
        let indexed = file(hash_index::encode(&symbols()).as_deref());
        for (file, in_file) in [(&indexed, true), (&file(None), false)] {
            let smf = Smf::parse(file).unwrap();
            smf.verify().unwrap();
            let exports = Exports::new(smf.symbols(), std::vec![0x1000, 0x2000, 0]).unwrap();
            let export = |address, kind, binding, size| Export { address, kind, binding, size };
            let run = export(0x1020, SymbolKind::Function, Binding::Global, 4);
            let datum = export(0x2008, SymbolKind::Data, Binding::Weak, 8);
            // The first lookup walks, unless the file brings an index; the others follow one.
            for built in [in_file, true, true] {
                let first = exports.find(b"run");
                assert_eq!(exports.has_index(), built);
                assert_eq!(first, exports.find(b"run"));
                for (name, expected) in [
                    (&b"run"[..], Some(run)),
                    (b"datum", Some(datum)),
                    (b"hidden", None),
                    (b"own", None),
                    (b"nobody", None),
                ] {
                    assert_eq!(exports.find(name), expected);
                    let address = expected.map(|export| export.address);
                    assert_eq!(exports.resolve(name), address);
                    // The walk agrees.
                    let walked = exports.symbol(name).and_then(|symbol| exports.address(&symbol));
                    assert_eq!(walked, address);
                }
            }
        }
    }

    #[test]
    fn an_index_that_cannot_be_read_is_as_good_as_none() {
        for payload in [&b"HASH"[..], b"HASH\x01\0\0\0\x06\0\0\0", b"HASH\x02\0\0\0", b""] {
            let file = file(Some(payload));
            let smf = Smf::parse(&file).unwrap();
            let exports = Exports::new(smf.symbols(), std::vec![0x1000, 0x2000, 0]).unwrap();
            for built in [false, true] {
                assert_eq!(exports.resolve(b"run"), Some(0x1020));
                assert_eq!(exports.has_index(), built);
            }
        }
    }

    #[test]
    fn an_export_whose_section_is_not_loaded_has_no_address() {
        let file = file(hash_index::encode(&symbols()).as_deref());
        let smf = Smf::parse(&file).unwrap();
        for sections in [std::vec![], std::vec![0, 0, 0], std::vec![u64::MAX, 0, 0]] {
            let exports = Exports::new(smf.symbols(), sections).unwrap();
            assert_eq!((exports.find(b"run"), exports.resolve(b"run")), (None, None));
        }
    }
}

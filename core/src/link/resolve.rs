//! Names become addresses: what a module exports, and the chain that its imports are looked up in.
//!
//! A first lookup walks the symbol table and builds nothing; the second one builds an index, which
//! then serves every lookup that follows. Most modules are asked for one name.

use alloc::sync::Arc;
use core::hash::BuildHasher;
use core::sync::atomic::{AtomicBool, Ordering};

use hashbrown::{DefaultHashBuilder, HashTable};
use spin::Once;

use super::error::LinkError;
use crate::format::{Binding, Smf, Symbol, SymbolKind, Symbols, image};

/// Something that knows addresses of names.
pub trait Resolve {
    /// The address of the exported symbol `name`; `None` when there is none.
    fn resolve(&self, name: &[u8]) -> Option<u64>;

    /// The address of what `import` asks for, while a module is linked: by its name, unless it matters
    /// what kind of a symbol it is.
    ///
    /// # Errors
    /// A definition that cannot be what the import means.
    fn resolve_import(&self, import: &Symbol<'_>) -> Result<Option<u64>, LinkError> {
        Ok(self.resolve(import.name()))
    }
}

impl<F: Fn(&[u8]) -> Option<u64>> Resolve for F {
    fn resolve(&self, name: &[u8]) -> Option<u64> {
        self(name)
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
/// and a broken object has none. [`image::NAME`] is for nobody to provide and is not
/// among them.
pub fn missing_imports<'d, 'r>(
    smf: &Smf<'d>,
    imports: &'r dyn Resolve,
) -> impl Iterator<Item = Symbol<'d>> + use<'d, 'r> {
    let linked = smf.linked().ok().into_iter();
    let symbols = linked.flat_map(|linked| linked.symbols().iter().map_while(Result::ok));
    symbols.filter(|symbol| {
        let needed = symbol.is_import() && symbol.binding != Binding::Weak;
        needed && symbol.name() != image::NAME && imports.resolve(symbol.name()).is_none()
    })
}

/// A symbol that others can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Export {
    /// Where it is.
    pub address: u64,
    /// What it is.
    pub kind: SymbolKind,
    /// Global or weak.
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
pub struct Exports<'d>(Arc<Table<'d>>);

struct Table<'d> {
    symbols: Symbols<'d>,
    /// The address of each section; 0 when it is not loaded.
    sections: alloc::vec::Vec<u64>,
    asked: AtomicBool,
    index: Once<Index<'d>>,
}

impl<'d> Exports<'d> {
    pub(super) fn new(symbols: Symbols<'d>, sections: alloc::vec::Vec<u64>) -> Self {
        let (asked, index) = (AtomicBool::new(false), Once::new());
        Exports(Arc::new(Table { symbols, sections, asked, index }))
    }

    /// The exported symbol of this name. Linear in the table; builds nothing.
    pub fn symbol(&self, name: &[u8]) -> Option<Symbol<'d>> {
        self.0.symbols.find_export(name)
    }

    /// What is exported under this name.
    pub fn find(&self, name: &[u8]) -> Option<Export> {
        let address = self.resolve(name)?;
        let symbol = self.symbol(name)?;
        Some(Export { address, kind: symbol.kind, binding: symbol.binding, size: symbol.size })
    }

    /// The address of a symbol of this module; `None` when it has none.
    pub fn address(&self, symbol: &Symbol<'_>) -> Option<u64> {
        self.0.address(symbol)
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
        if let Some(index) = table.index.get() {
            return index.get(name);
        }
        if !table.asked.swap(true, Ordering::Relaxed) {
            return table.symbols.find_export(name).and_then(|symbol| table.address(&symbol));
        }
        table.index.call_once(|| Index::new(table)).get(name)
    }
}

impl<'d> Table<'d> {
    fn address(&self, symbol: &Symbol<'_>) -> Option<u64> {
        if !symbol.kind.has_address() {
            return None;
        }
        self.section(symbol.section?)?.checked_add(symbol.value)
    }

    fn section(&self, index: u32) -> Option<u64> {
        let index = usize::try_from(index).ok()?;
        self.sections.get(index).copied().filter(|address| *address != 0)
    }
}

/// Exported names and their addresses.
struct Index<'d> {
    hasher: DefaultHashBuilder,
    table: HashTable<Entry<'d>>,
}

struct Entry<'d> {
    name: &'d [u8],
    address: u64,
    weak: bool,
}

impl<'d> Index<'d> {
    /// Of two symbols of one name the first global one counts, else the first weak one: what
    /// [`Symbols::find_export`] finds.
    fn new(module: &Table<'d>) -> Self {
        let hasher = DefaultHashBuilder::default();
        let mut table = HashTable::with_capacity(module.symbols.len());
        for symbol in module.symbols.iter().filter_map(Result::ok).filter(Symbol::is_export) {
            let Some(address) = module.address(&symbol) else { continue };
            let name = symbol.name();
            let new = Entry { name, address, weak: symbol.binding == Binding::Weak };
            let rehash = |entry: &Entry<'_>| hasher.hash_one(entry.name);
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
        Index { hasher, table }
    }

    #[inline]
    fn get(&self, name: &[u8]) -> Option<u64> {
        let hash = self.hasher.hash_one(name);
        self.table.find(hash, |entry| entry.name == name).map(|entry| entry.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_is_built_for_the_second_lookup() {
        let smf = Smf::parse(include_bytes!("../../../tests/samples/packed.smf")).unwrap();
        let exports = Exports::new(smf.symbols(), alloc::vec![0x1000, 0x2000, 0x3000, 0]);
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
}

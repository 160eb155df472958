//! Replacement of modules to whose data other modules refer: the data stays in place.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use smf_core::format::{Binding, SymbolKind};
use smf_core::loader::{LoadError, LoaderOptions, ModuleHandle, ModuleLoader, StateMigration};

use crate::alone::alone;
use crate::build::{Does, Spec};
use crate::reloading::{assert_flat, footprint, reload, version};
use crate::{address, call, collect};

/// A module whose `add` adds to its datum `d`, which another module reads and adds to.
fn with_datum(value: i32) -> Spec {
    version(value).data("other", 7).data("d", 100).function("add", Does::Adds("d"))
}

struct Shared {
    loader: ModuleLoader,
    module: ModuleHandle,
    user: ModuleHandle,
}

impl Shared {
    fn new() -> Self {
        let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
        let module = loader.load(b"m", with_datum(1).bytes()).unwrap();
        let user = Spec::new().function("read", Does::Reads("d"));
        let user = user.function("add there", Does::AddsThere("d"));
        let user = loader.load(b"user", user.bytes()).unwrap();
        Self { loader, module, user }
    }

    fn reload(&self, spec: &Spec) -> Result<(u32, u32), LoadError> {
        let bytes = spec.bytes();
        let done = self.loader.reload(self.module, bytes, StateMigration::Copy, &mut |_| {})?;
        Ok((done.migrated.symbols, done.kept))
    }

    /// The sums that each side reads, after it added something.
    fn sums(&self) -> [i64; 3] {
        let Self { loader, module, user } = self;
        [
            call(loader, *module, "add", &[1]),
            call(loader, *user, "read", &[]),
            call(loader, *user, "add there", &[10]),
        ]
    }
}

#[test]
fn data_referenced_by_another_module_stays_in_place() {
    let shared = Shared::new();
    let Shared { loader, module, user } = &shared;
    assert_eq!(shared.sums(), [101, 101, 111]);
    let there = address(loader, "d").unwrap();
    // With any other data beside it and before it.
    let other_place = || version(2).data("more", 1).data("d", 5).function("add", Does::Adds("d"));
    for (round, new) in (1i64..).zip([with_datum(2), other_place(), with_datum(3)]) {
        let (_, kept) = shared.reload(&new).unwrap();
        assert_eq!((kept, address(loader, "d")), (1, Some(there)));
        let before = 100 + 11 * round;
        assert_eq!(shared.sums(), [before + 1, before + 1, before + 11]);
    }
    // A module that is loaded later finds it there as well.
    let later = Spec::new().function("later", Does::Reads("d"));
    let later = loader.load(b"later", later.bytes()).unwrap();
    assert_eq!(call(loader, later, "later", &[]), 144);
    loader.unload_all(&[*user, later]).unwrap();
    // Without a reference to its address, the next reload migrates it.
    assert_eq!(shared.reload(&with_datum(4)), Ok((2, 0)));
    assert!(address(loader, "d") != Some(there));
    assert_eq!(call(loader, *module, "add", &[1]), 145);
    collect(loader);
    assert_eq!(loader.statistics().retired, 0);
}

/// Code that reaches its data by 32-bit distances must be placed near data that lies below 2 GiB.
#[test]
fn new_version_is_placed_near_data_that_stays() {
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    let low = version(1).data("d", 100).function("add", Does::AddsLow("d"));
    let module = loader.load(b"m", low.bytes()).unwrap();
    let user = Spec::new().function("read", Does::Reads("d"));
    let user = loader.load(b"user", user.bytes()).unwrap();
    assert!(address(&loader, "d").is_some_and(|address| address < 2 << 30));
    // Free pages elsewhere, in which the next version could otherwise be placed.
    let elsewhere = loader.load(b"elsewhere", with_datum(1).bytes()).unwrap();
    loader.unload(elsewhere).unwrap();
    for round in 1..=3 {
        let new = with_datum(round + 1).bytes();
        let done = loader.reload(module, new, StateMigration::Copy, &mut |_| {}).unwrap();
        assert_eq!(done.kept, 1);
        let sum = 100 + i64::from(round);
        assert_eq!(call(&loader, module, "add", &[1]), sum);
        assert_eq!(call(&loader, user, "read", &[]), sum);
    }
}

#[test]
fn reload_is_refused_if_referenced_data_cannot_stay() {
    let shared = Shared::new();
    let check = |new: &Spec| {
        let error = shared.reload(new).unwrap_err();
        assert!(matches!(error, LoadError::DataInUse { .. }), "{error}");
        let before = call(&shared.loader, shared.user, "read", &[]);
        assert_eq!(shared.sums(), [before + 1, before + 1, before + 11]);
        assert_eq!(call(&shared.loader, shared.module, "f", &[]), 1);
        error.to_string()
    };
    let add = || version(2).function("add", Does::Adds("d"));
    let expected = "m cannot be replaced: user refers to its `d` by address, and the new version \
                    cannot use it there";
    assert_eq!(check(&add().wide("d", 1)), expected, "another size");
    assert_eq!(check(&version(2).function("add", Does::Returns(1))), expected, "gone");
    assert_eq!(check(&add().pointer("d")), expected, "an address of one version");
    assert_eq!(check(&version(2).function("d", Does::Returns(1))), expected, "a function");
    assert_eq!(check(&add().constant("d", 100)), expected, "read-only");
    let by_section = version(2).data("other", 7).data("d", 100);
    let by_section = by_section.function("add", Does::AddsBySection("d"));
    assert_eq!(check(&by_section), expected, "referred to by another symbol");
    let image = add().data("d", 100).import(".smf.image", Binding::Global, SymbolKind::Data);
    assert_eq!(check(&image), expected, "referred to without relocations");
    let bytes = with_datum(2).bytes();
    let left = shared.loader.reload(shared.module, bytes, StateMigration::Reset, &mut |_| {});
    assert_eq!(left.unwrap_err().to_string(), expected);
    // Data without references from other modules is not restricted.
    shared.loader.unload(shared.user).unwrap();
    assert_eq!(shared.reload(&add().wide("d", 1)), Ok((0, 0)));
}

/// A loader that replaces its module each time a name is looked up outside of it; that module; and the number
/// of these lookups. A request for `absent` finds nothing from the second time on.
fn restless() -> (Arc<ModuleLoader>, ModuleHandle, Arc<AtomicI32>) {
    let loader = Arc::new(ModuleLoader::new(LoaderOptions::default()).unwrap());
    let module = loader.load(b"m", with_datum(0).bytes()).unwrap();
    let (inner, asked) = (Arc::downgrade(&loader), Arc::new(AtomicI32::new(0)));
    let count = asked.clone();
    loader
        .set_fallback_resolver(Some(Box::new(move |name: &[u8]| {
            let (loader, round) = (inner.upgrade()?, 1 + count.fetch_add(1, Ordering::Relaxed));
            reload(&loader, module, &with_datum(round)).unwrap();
            if round > 1 {
                // Data that is about to be imported stays in place, like imported data.
                let wide = version(round).function("add", Does::Adds("d")).wide("d", 1);
                let error = reload(&loader, module, &wide).unwrap_err();
                assert!(error.to_string().contains("user refers to its `d`"), "{error}");
            }
            let found = loader.resolve(b"f").unwrap().filter(|_| name != b"absent" || round == 1);
            found.map(|found| found.address)
        })))
        .unwrap();
    (loader, module, asked)
}

#[test]
fn data_is_first_imported_from_a_module_replaced_meanwhile() {
    let user =
        |hook| Spec::new().function("read", Does::Reads("d")).function("u", Does::Calls(hook));
    let (loader, module, asked) = restless();
    let loaded = loader.load(b"user", user("hook").bytes()).unwrap();
    // The second attempt is the last.
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    assert_eq!((call(&loader, loaded, "read", &[]), call(&loader, loaded, "u", &[])), (100, 2));
    call(&loader, module, "add", &[1]);
    assert_eq!(call(&loader, loaded, "read", &[]), 101);

    // The same for a new version that imports a name which the old version did not.
    let (loader, module, asked) = restless();
    let loaded = loader.load(b"user", version(1).bytes()).unwrap();
    reload(&loader, loaded, &user("hook").reloadable().function("f", Does::Returns(7))).unwrap();
    assert_eq!((asked.load(Ordering::Relaxed), call(&loader, loaded, "read", &[])), (2, 100));
    call(&loader, module, "add", &[1]);
    assert_eq!(call(&loader, loaded, "read", &[]), 101);

    // A failed attempt leaves no holds.
    let (loader, module, asked) = restless();
    let error = loader.load(b"user", user("absent").bytes()).unwrap_err();
    assert!(matches!(error, LoadError::Link { .. }), "{error}");
    let wide = version(9).function("add", Does::Adds("d")).wide("d", 1);
    assert_eq!((asked.load(Ordering::Relaxed), reload(&loader, module, &wide)), (2, Ok(0)));
    collect(&loader);
    assert_eq!(loader.statistics().retired, 0);
}

#[test]
fn section_relocation_to_data_beside_shared_data_is_accepted() {
    let shared = Shared::new();
    let spec = with_datum(2).function("beside", Does::AddsBySection("other"));
    assert_eq!(shared.reload(&spec), Ok((1, 1)));
    assert_eq!(call(&shared.loader, shared.module, "beside", &[1]), 8);
    assert_eq!(shared.sums(), [101, 101, 111]);
}

#[test]
fn referenced_constant_stays_while_it_is_unchanged() {
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    let spec = |value, constant| version(value).constant("k", constant);
    let module = loader.load(b"m", spec(1, 5).bytes()).unwrap();
    let user = Spec::new().function("u", Does::Reads("k"));
    let user = loader.load(b"user", user.bytes()).unwrap();
    let there = address(&loader, "k");
    reload(&loader, module, &spec(2, 5)).unwrap();
    assert_eq!((call(&loader, user, "u", &[]), address(&loader, "k")), (5, there));
    let error = reload(&loader, module, &spec(3, 6)).unwrap_err();
    assert!(matches!(error, LoadError::DataInUse { .. }), "{error}");
    loader.unload(user).unwrap();
    reload(&loader, module, &spec(3, 6)).unwrap();
}

#[test]
fn memory_with_shared_data_is_freed_eventually() {
    if !alone("shared_data::memory_with_shared_data_is_freed_eventually") {
        return;
    }
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    let spec = |value| version(value).data("a", 1).data("b", 2);
    let module = loader.load(b"m", spec(0).bytes()).unwrap();
    let mut before = (0, 0, 0);
    let mut user: Option<ModuleHandle> = None;
    for round in 0..1000 {
        // Alternately another datum stays, in the memory of another version.
        let (name, datum) = [("even", "a"), ("odd", "b")][round as usize % 2];
        let new = Spec::new().function("u", Does::Reads(datum)).bytes();
        let new = loader.load(name.as_bytes(), new).unwrap();
        user.replace(new).into_iter().for_each(|old| loader.unload(old).unwrap());
        reload(&loader, module, &spec(round)).unwrap();
        assert_eq!(call(&loader, new, "u", &[]), [1, 2][round as usize % 2]);
        if round == 100 {
            before = footprint();
        }
    }
    assert_flat(before, footprint(), 900);
}

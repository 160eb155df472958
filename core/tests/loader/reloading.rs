//! Replacement of modules by new versions.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::{env, fs};

use smf_core::format::{Binding, SymbolKind};
use smf_core::link::Name;
use smf_core::loader::epoch::Epochs;
use smf_core::loader::{
    LoadError, LoaderOptions, ModuleBytes, ModuleHandle, ModuleLoader, StateMigration,
};

use crate::alone::alone;
use crate::build::{Does, Spec};
use crate::{address, call, call_at, collect};

pub(super) fn version(value: i32) -> Spec {
    Spec::new().reloadable().function("f", Does::Returns(value))
}

pub(super) fn reload(
    loader: &ModuleLoader,
    module: ModuleHandle,
    spec: &Spec,
) -> Result<u32, LoadError> {
    let reloaded = loader.reload(module, spec.bytes(), StateMigration::Copy, &mut |_| {})?;
    Ok(reloaded.migrated.symbols)
}

#[test]
fn callers_reach_the_new_version_and_holders_the_old_one() {
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    let module = loader.load(b"m", version(1).bytes()).unwrap();
    let user = loader.load(b"user", Spec::new().function("u", Does::Calls("f")).bytes()).unwrap();
    let resolved = address(&loader, "f").unwrap();
    let held = loader.get(module).unwrap();
    assert_eq!((call(&loader, user, "u", &[]), call_at(resolved, &[])), (1, 1));

    assert_eq!(reload(&loader, module, &version(2)), Ok(0));
    assert_eq!((call(&loader, user, "u", &[]), call_at(resolved, &[])), (2, 2));
    assert_eq!(address(&loader, "f"), Some(resolved));
    assert_eq!(call(&loader, module, "f", &[]), 2);
    assert_eq!(call_at(held.function(b"f").unwrap(), &[]), 1);
    assert_eq!(loader.statistics().retired, 1);
    drop(held);
    collect(&loader);
    assert_eq!(loader.statistics().retired, 0);
    let mut names = Vec::new();
    loader.for_each(|name, handle| names.push((name.to_vec(), handle)));
    assert_eq!(names, [(b"m".to_vec(), module), (b"user".to_vec(), user)]);
}

#[test]
fn replaced_versions_stay_while_threads_may_call_them_uncounted() {
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    let module = loader.load(b"m", version(0).bytes()).unwrap();
    let retired = || {
        let now = loader.statistics();
        assert_eq!(now.replaced_bytes == 0, now.retired == 0, "{now:?}");
        (now.retired, now.uncounted)
    };
    // No other module and no host has an address.
    reload(&loader, module, &version(1)).unwrap();
    assert_eq!(retired(), (0, 0));
    // The host has one.
    let resolved = address(&loader, "f").unwrap();
    reload(&loader, module, &version(2)).unwrap();
    reload(&loader, module, &version(3)).unwrap();
    loader.collect();
    assert_eq!((retired(), call_at(resolved, &[])), ((2, 2), 3));
    collect(&loader);
    assert_eq!(retired(), (0, 0));
    // A held, and therefore counted, version stays despite the statement of the host.
    let held = loader.get(module).unwrap();
    reload(&loader, module, &version(4)).unwrap();
    collect(&loader);
    assert_eq!((retired(), call_at(held.function(b"f").unwrap(), &[])), ((1, 0), 3));
    drop(held);
    loader.collect();
    assert_eq!(retired(), (0, 0));
    // Unloading a module states the same for its versions.
    reload(&loader, module, &version(5)).unwrap();
    assert_eq!(retired(), (1, 1));
    loader.unload(module).unwrap();
    assert_eq!(retired(), (0, 0));
}

#[test]
fn replaced_version_imported_by_another_module_stays() {
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    let module = loader.load(b"m", version(1).bytes()).unwrap();
    let user = loader.load(b"user", Spec::new().function("u", Does::Calls("f")).bytes()).unwrap();
    reload(&loader, module, &version(2)).unwrap();
    assert_eq!((loader.statistics().uncounted, call(&loader, user, "u", &[])), (1, 2));
    // Threads that the importer let in may still run after it is unloaded.
    loader.unload(user).unwrap();
    assert_eq!(loader.statistics().uncounted, 1);
    collect(&loader);
    assert_eq!(loader.statistics().retired, 0);
}

#[test]
fn replaced_version_stays_during_a_call_counted_by_the_host() {
    static CALLS: Epochs = Epochs::new();
    let options = LoaderOptions { call_epochs: Some(&CALLS), ..LoaderOptions::default() };
    let loader = ModuleLoader::new(options).unwrap();
    let module = loader.load(b"m", version(1).bytes()).unwrap();
    let resolved = address(&loader, "f").unwrap();
    let inside = CALLS.pin();
    reload(&loader, module, &version(2)).unwrap();
    collect(&loader);
    assert_eq!((loader.statistics().retired, loader.statistics().uncounted), (1, 0));
    drop(inside);
    loader.collect();
    assert_eq!((loader.statistics().retired, call_at(resolved, &[])), (0, 2));
}

/// A module that imports from `m`, one that imports from that one, and one that imports from neither.
fn load_users(loader: &ModuleLoader) -> [ModuleHandle; 3] {
    let spec = |name: &str, does| Spec::new().reloadable().function(name, does).bytes();
    [("direct", Does::Calls("f")), ("indirect", Does::Calls("direct")), ("other", Does::Returns(1))]
        .map(|(name, does)| loader.load(name.as_bytes(), spec(name, does)).unwrap())
}

#[test]
fn a_hold_keeps_what_its_code_may_be_inside_and_nothing_else() {
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    let module = loader.load(b"m", version(0).bytes()).unwrap();
    let [direct, indirect, other] = load_users(&loader);
    let retired = || loader.statistics().retired;
    let replace = |module, spec: &Spec| {
        reload(&loader, module, spec).unwrap();
        collect(&loader);
    };
    // Nothing that `other` imports is replaced or unloaded.
    let held = loader.get(other).unwrap();
    for number in 0..20 {
        replace(module, &version(number));
        let gone = loader.load(b"gone", Spec::new().function("g", Does::Returns(1)).bytes());
        loader.unload(gone.unwrap()).unwrap();
        assert_eq!(retired(), 0, "after {number} rounds");
    }
    drop(held);
    for importer in [direct, indirect] {
        let held = loader.get(importer).unwrap();
        replace(module, &version(1));
        assert_eq!(retired(), 1);
        // Later holds do not count.
        let later = loader.get(importer).unwrap();
        drop(held);
        loader.collect();
        assert_eq!(retired(), 0);
        drop(later);
    }
    // A replaced version of an importer, the new version of which imports nothing.
    let held = loader.get(direct).unwrap();
    replace(direct, &Spec::new().reloadable().function("direct", Does::Returns(3)));
    replace(module, &version(2));
    assert_eq!((retired(), call(&loader, indirect, "indirect", &[])), (2, 3));
    drop(held);
    loader.collect();
    assert_eq!(retired(), 0);
    // The holder of an old version may call newer ones by a stable address, and of a module that has none it may not.
    let held = loader.get(module).unwrap();
    assert_ne!(address(&loader, "f"), None);
    for number in 1..=3 {
        replace(module, &version(number));
        assert_eq!(retired(), number as usize);
    }
    drop(held);
    loader.collect();
    let held = loader.get(other).unwrap();
    for number in 1..=3 {
        replace(other, &Spec::new().reloadable().function("other", Does::Returns(number)));
        assert_eq!(retired(), 1, "the held version alone");
    }
    assert_eq!(call_at(held.function(b"other").unwrap(), &[]), 1);
}

#[test]
fn any_hold_keeps_a_module_that_a_forward_stub_leads_to() {
    let loader = Arc::new(ModuleLoader::new(LoaderOptions::default()).unwrap());
    let weak = Arc::downgrade(&loader);
    let forward = move |name: &[u8]| {
        let loader = weak.upgrade().filter(|_| name == b"made")?;
        loader.resolve_import(b"g").unwrap()
    };
    loader.set_fallback_resolver(Some(Box::new(forward))).unwrap();
    let other = loader.load(b"other", Spec::new().function("o", Does::Returns(1)).bytes()).unwrap();
    let spec = Spec::new().function("g", Does::Returns(5)).function("user", Does::Calls("made"));
    let user = loader.load(b"user", spec.bytes()).unwrap();
    assert_eq!(call(&loader, user, "user", &[]), 5);
    // Code of `other` may have got the address of the stub.
    let held = loader.get(other).unwrap();
    loader.unload(user).unwrap();
    assert_eq!(loader.statistics().retired, 1);
    drop(held);
    loader.collect();
    assert_eq!(loader.statistics().retired, 0);
}

/// The fallback resolver, which loads the provider for an import, is asked for the imports of the provider as well.
#[test]
fn module_does_not_depend_on_imports_of_a_provider_that_was_replaced() {
    let loader = Arc::new(ModuleLoader::new(LoaderOptions::default()).unwrap());
    let weak = Arc::downgrade(&loader);
    let resolver = move |name: &[u8]| {
        let import: &[u8] = if name == b"made" { b"p" } else { b"datum" };
        weak.upgrade()?.resolve_import(import).unwrap()
    };
    loader.set_fallback_resolver(Some(Box::new(resolver))).unwrap();
    let owner = Spec::new().function("o", Does::Returns(1)).data("datum", 5);
    let owner = loader.load(b"owner", owner.bytes()).unwrap();
    let first = Spec::new().reloadable().function("p", Does::AddsNear("near"));
    loader.register_provider(b"provider", first.bytes()).unwrap();
    let user = Spec::new().function("main", Does::Calls("made"));
    let user = loader.load(b"user", user.bytes()).unwrap();
    assert_eq!(call(&loader, user, "main", &[1]), 6);
    let provider = loader.find(b"provider").unwrap();
    let second = Spec::new().reloadable().function("p", Does::Returns(3));
    reload(&loader, provider, &second).unwrap();
    collect(&loader);
    assert_eq!(call(&loader, user, "main", &[]), 3);
    loader.unload(owner).unwrap();
}

/// Code that the fallback resolver made for a version calls the newest one, by a stub.
#[test]
fn hold_of_a_replaced_version_keeps_the_unloaded_module() {
    let loader = Arc::new(ModuleLoader::new(LoaderOptions::default()).unwrap());
    let weak = Arc::downgrade(&loader);
    let resolver = move |_: &[u8]| weak.upgrade()?.resolve_import(b"f").unwrap();
    loader.set_fallback_resolver(Some(Box::new(resolver))).unwrap();
    let module = loader.load(b"m", version(1).bytes()).unwrap();
    let second = version(2).function("u", Does::Calls("made"));
    reload(&loader, module, &second).unwrap();
    let held = loader.get(module).unwrap();
    reload(&loader, module, &version(3)).unwrap();
    collect(&loader);
    let user = held.function(b"u").unwrap();
    assert_eq!(call_at(user, &[]), 3);
    loader.unload(module).unwrap();
    assert_eq!((loader.statistics().retired, call_at(user, &[])), (2, 3));
    drop(held);
    loader.collect();
    assert_eq!(loader.statistics().retired, 0);
}

#[test]
fn replaced_versions_take_no_more_memory_than_the_limit() {
    let with_limit = |max_replaced_bytes| {
        let options = LoaderOptions { max_replaced_bytes, ..LoaderOptions::default() };
        let loader = ModuleLoader::new(options).unwrap();
        let module = loader.load(b"m", version(0).bytes()).unwrap();
        let resolved = address(&loader, "f").unwrap();
        (loader, module, resolved)
    };
    let (loader, module, resolved) = with_limit(usize::MAX);
    reload(&loader, module, &version(1)).unwrap();
    let one = loader.statistics().replaced_bytes;
    assert!(one >= 4096, "{one}");
    assert_eq!(call_at(resolved, &[]), 1);

    for (limit, versions) in [(0, 1), (one, 1), (2 * one - 1, 1), (2 * one, 2), (5 * one, 5)] {
        let (loader, module, resolved) = with_limit(limit);
        for round in 0..2 {
            for number in 1..=versions {
                reload(&loader, module, &version(number)).unwrap();
            }
            let error = reload(&loader, module, &version(77)).unwrap_err();
            let bytes = versions as usize * one;
            assert!(
                matches!(error, LoadError::ReplacedCodeLimit { bytes: found, limit: told, .. }
                    if (found, told) == (bytes, limit)),
                "{error}"
            );
            assert!(error.to_string().contains("smf_loader_collect"), "{error}");
            assert_eq!(call_at(resolved, &[]), i64::from(versions), "unchanged in round {round}");
            collect(&loader);
            assert_eq!(loader.statistics().retired, 0);
        }
    }
}

#[test]
fn only_module_marked_reloadable_is_replaced() {
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    let plain = Spec::new().function("f", Does::Returns(1));
    let module = loader.load(b"m", plain.bytes()).unwrap();
    let error = reload(&loader, module, &version(2)).unwrap_err();
    let expected = "m is not marked as reloadable, so it cannot be replaced";
    assert_eq!((error.to_string(), call(&loader, module, "f", &[])), (expected.into(), 1));
    let options = LoaderOptions { reload_unmarked: true, ..LoaderOptions::default() };
    let loader = ModuleLoader::new(options).unwrap();
    let module = loader.load(b"m", plain.bytes()).unwrap();
    reload(&loader, module, &version(2)).unwrap();
    assert_eq!(call(&loader, module, "f", &[]), 2);
}

#[test]
fn function_that_others_call_keeps_its_types() {
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    let of = |spec: Spec, types| spec.signature("g", ["i64", "f64"]).signature("f", types);
    let module = loader.load(b"m", of(version(1), ["i64", "i64"]).bytes()).unwrap();
    // Nothing has the address.
    reload(&loader, module, &of(version(2), ["i64,i64", "i64"])).unwrap();
    let resolved = address(&loader, "f").unwrap();
    for types in [["i64", "i64"], ["i64,i64", "bool"]] {
        let error = reload(&loader, module, &of(version(3), types)).unwrap_err();
        let expected = Name::in_error(b"m", |module| LoadError::SignatureChanged {
            module,
            symbol: Name::new(b"f").unwrap(),
        });
        assert_eq!((error, call_at(resolved, &[])), (expected, 2), "{types:?}");
    }
    reload(&loader, module, &of(version(4), ["i64,i64", "i64"])).unwrap();
    // A version without a note states nothing.
    reload(&loader, module, &version(5)).unwrap();
    reload(&loader, module, &of(version(6), ["bool", "()"])).unwrap();
    // The note of a linked module may list a function of this name that is not exported.
    let linked = |number, own: [&'static str; 2], other| {
        version(number).signature_at(64, ["f", other, other]).signature_at(0, ["f", own[0], own[1]])
    };
    reload(&loader, module, &linked(7, ["bool", "()"], "i64")).unwrap();
    reload(&loader, module, &linked(8, ["bool", "()"], "f64")).unwrap();
    let error = reload(&loader, module, &linked(9, ["i64", "()"], "f64")).unwrap_err();
    assert!(matches!(error, LoadError::SignatureChanged { .. }), "{error}");
    assert_eq!(call_at(resolved, &[]), 8);
}

#[test]
fn function_that_others_call_keeps_the_fields_of_its_types() {
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    let of = |number, type_hash| version(number).signature("f", ["P", "i64"]).type_hash(type_hash);
    let module = loader.load(b"m", of(1, "0a").bytes()).unwrap();
    let resolved = address(&loader, "f").unwrap();
    reload(&loader, module, &of(2, "0a")).unwrap();
    let error = reload(&loader, module, &of(3, "0b")).unwrap_err();
    assert!(matches!(error, LoadError::SignatureChanged { .. }), "{error}");
    assert_eq!(call_at(resolved, &[]), 2);
    // Versions of an earlier compiler state no fields.
    reload(&loader, module, &of(4, "")).unwrap();
    reload(&loader, module, &of(5, "0b")).unwrap();
    assert_eq!(call_at(resolved, &[]), 5);
}

/// A module that is not reloadable.
pub(super) fn plain(value: i32) -> Spec {
    Spec::new().function("f", Does::Returns(value))
}

/// A version with an import that nothing defines.
pub(super) fn needy(function: &str) -> Spec {
    Spec::new().reloadable().function(function, Does::Calls("nowhere"))
}

#[test]
fn data_of_same_name_and_size_migrates_unless_linker_filled() {
    let with_data = |factor: i64| {
        Spec::new()
            .reloadable()
            .function("count", Does::Adds("counter"))
            .function("add other", Does::Adds("other"))
            .function("add table", Does::Adds("table"))
            .data("counter", 10 * factor)
            .pointer("table")
            .data("other", 100 * factor)
    };
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    let module = loader.load(b"m", with_data(1).bytes()).unwrap();
    assert_eq!(call(&loader, module, "count", &[5]), 15);
    let old_table = call(&loader, module, "add table", &[0]);
    let moved = loader
        .reload(module, with_data(2).bytes(), StateMigration::Copy, &mut |_| {})
        .unwrap()
        .migrated;
    assert_eq!((moved.symbols, moved.bytes, moved.reset), (2, 16, 1), "the table is reset");
    assert_eq!(call(&loader, module, "count", &[1]), 16);
    assert_eq!(call(&loader, module, "add other", &[0]), 100);
    let new_table = call(&loader, module, "add table", &[0]);
    let function = loader.get(module).unwrap().function(b"count").unwrap();
    assert!(new_table == function as i64 && new_table != old_table, "its own address, not the old");
    loader.reload(module, with_data(3).bytes(), StateMigration::Reset, &mut |_| {}).unwrap();
    assert_eq!(call(&loader, module, "count", &[0]), 30);
}

#[test]
fn data_with_ambiguous_name_is_not_migrated() {
    let twice = || {
        Spec::new()
            .reloadable()
            .function("one", Does::Adds("twice"))
            .data("twice", 1)
            .data("twice", 2)
    };
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    let module = loader.load(b"m", twice().bytes()).unwrap();
    assert_eq!(call(&loader, module, "one", &[5]), 6);
    let moved = loader.reload(module, twice().bytes(), StateMigration::Copy, &mut |_| {});
    let moved = moved.unwrap().migrated;
    assert_eq!((moved.symbols, moved.reset), (0, 2));
    assert_eq!(call(&loader, module, "one", &[0]), 1);
}

#[test]
fn refused_reload_leaves_the_old_version() {
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    let spec = version(1).function("g", Does::Returns(7));
    let module = loader.load(b"m", spec.bytes()).unwrap();
    let user = Spec::new().function("u", Does::Calls("g"));
    let user = loader.load(b"user", user.bytes()).unwrap();
    let check = |result: Result<u32, LoadError>, expected: &str| {
        assert_eq!(result.unwrap_err().to_string(), expected);
        assert_eq!((call(&loader, module, "f", &[]), call(&loader, user, "u", &[])), (1, 7));
        assert_eq!((loader.statistics().modules, loader.statistics().retired), (2, 0));
    };
    check(
        reload(&loader, module, &version(2)),
        "m: `g` is called from outside, and the new version does not export it as a function",
    );
    check(
        reload(&loader, module, &version(2).data("g", 1)),
        "m: `g` is called from outside, and the new version does not export it as a function",
    );
    let wants = version(2).function("g", Does::Calls("absent name"));
    check(reload(&loader, module, &wants), "m: unresolved import `absent name`");
    let file = spec.file();
    for len in [0, 1, 100, file.len() - 1] {
        let half = ModuleBytes::new(file[..len].to_vec()).unwrap();
        let half = loader.reload(module, half, StateMigration::Copy, &mut |_| {});
        assert!(matches!(half, Err(LoadError::Format { .. })), "{half:?}");
    }
    let stale = ModuleHandle::from_raw(77);
    assert!(matches!(reload(&loader, stale, &version(2)), Err(LoadError::Stale { .. })));
}

#[test]
fn unused_exports_may_be_removed_and_others_added() {
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    let spec = version(1).function("g", Does::Returns(7));
    let module = loader.load(b"m", spec.bytes()).unwrap();
    reload(&loader, module, &version(2).function("h", Does::Returns(8))).unwrap();
    assert_eq!(address(&loader, "g"), None);
    assert_eq!(address(&loader, "h").map(|h| call_at(h, &[])), Some(8));
}

#[test]
fn new_version_may_need_additional_modules() {
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    // It calls back into the module that is being replaced.
    let library = Spec::new().function("l", Does::Calls("h"));
    loader.register_provider(b"library", library.bytes()).unwrap();
    let module = loader.load(b"m", version(1).bytes()).unwrap();
    let new = version(2).function("g", Does::Calls("l")).function("h", Does::Returns(4));
    let broken = new.clone().import("absent name", Binding::Global, SymbolKind::Function);
    assert!(reload(&loader, module, &broken).is_err());
    assert_eq!((loader.statistics().modules, loader.find(b"library")), (1, None));
    reload(&loader, module, &new).unwrap();
    assert_eq!(call(&loader, module, "g", &[]), 4);
    reload(&loader, module, &new.clone().function("i", Does::Returns(5))).unwrap();
    assert_eq!((call(&loader, module, "g", &[]), call(&loader, module, "i", &[])), (4, 5));
    // The new version needs the library; the old one is gone with its references.
    let library = loader.find(b"library").unwrap();
    assert!(matches!(loader.unload(library), Err(LoadError::Needed { .. })));
    loader.unload_all(&[library, module]).unwrap();
}

/// Loads a module that calls `between` and then `g`, while the resolver of `between` repeatedly replaces
/// the module that exports `g`.
fn link_between(new: impl Fn(i32) -> Spec + Send + Sync + 'static) -> Result<i64, LoadError> {
    let loader = Arc::new(ModuleLoader::new(LoaderOptions::default()).unwrap());
    let old = version(0).function("g", Does::Returns(0));
    let module = loader.load(b"m", old.bytes()).unwrap();
    let (weak, replaced) = (Arc::downgrade(&loader), AtomicI32::new(0));
    let between = move |name: &[u8]| {
        let loader = weak.upgrade().filter(|_| name == b"between")?;
        let number = replaced.fetch_add(1, Ordering::Relaxed) + 1;
        reload(&loader, module, &new(number)).unwrap();
        address(&loader, "f")
    };
    loader.set_fallback_resolver(Some(Box::new(between))).unwrap();
    let user = Spec::new()
        .import("between", Binding::Global, SymbolKind::Function)
        .function("u", Does::Calls("g"));
    let user = loader.load(b"user", user.bytes())?;
    Ok(call(&loader, user, "u", &[]))
}

#[test]
fn module_replaced_during_every_link_is_linked_nevertheless() {
    let called = link_between(|number| version(0).function("g", Does::Returns(number)));
    assert_eq!(called, Ok(1), "by the first attempt");
    // A name that no longer exists is reported as missing, without endless retries.
    let missing = link_between(version).unwrap_err();
    assert_eq!(missing.to_string(), "user: unresolved import `g`");
}

#[test]
fn references_of_the_old_version_end_with_it() {
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    let library = loader.load(b"l", Spec::new().function("l", Does::Returns(1)).bytes()).unwrap();
    let old = Spec::new().reloadable().function("f", Does::Calls("l"));
    let module = loader.load(b"m", old.bytes()).unwrap();
    let held = loader.get(module).unwrap();
    // Threads may enter it by this address.
    assert!(address(&loader, "f").is_some());
    reload(&loader, module, &version(2)).unwrap();
    assert!(matches!(loader.unload(library), Err(LoadError::Needed { .. })), "the old one is held");
    assert_eq!(call_at(held.function(b"f").unwrap(), &[]), 1);
    drop(held);
    let error = loader.unload(library).unwrap_err().to_string();
    assert!(error.starts_with("l is in use: a replaced version of m imports from it"), "{error}");
    assert!(error.contains("smf_loader_collect"), "{error}");
    collect(&loader);
    loader.unload(library).unwrap();
}

/// The numbers of mappings, open files and resident pages of this process.
pub(super) fn footprint() -> (usize, usize, u64) {
    let maps = fs::read_to_string("/proc/self/maps").unwrap().lines().count();
    let files = fs::read_dir("/proc/self/fd").unwrap().count();
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    (maps, files, pages.split(' ').nth(1).unwrap().parse().unwrap())
}

/// Asserts that the rounds left nothing behind. A sanitizer (`SMF_TEST_SANITIZER` is set) has memory
/// of its own, which grows: then the limit is one mapping or page in every second round.
pub(super) fn assert_flat(before: (usize, usize, u64), after: (usize, usize, u64), rounds: usize) {
    assert_eq!(after.1, before.1, "open files");
    if env::var_os("SMF_TEST_SANITIZER").is_some() {
        assert!(after.0 < before.0 + rounds / 2, "{} mappings, and {} before", after.0, before.0);
        let pages = before.2 + rounds as u64 / 2;
        assert!(after.2 < pages, "{} pages, and {} before", after.2, before.2);
    } else {
        assert_eq!(after.0, before.0, "mappings");
        assert!(after.2 <= before.2 + 16, "{} pages, and {} before", after.2, before.2);
    }
}

#[test]
fn ten_thousand_reloads_take_no_more_memory_than_a_hundred() {
    if !alone("reloading::ten_thousand_reloads_take_no_more_memory_than_a_hundred") {
        return;
    }
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    let spec = |value| version(value).data("d", 5).function("add", Does::Adds("d"));
    let module = loader.load(b"m", spec(0).bytes()).unwrap();
    let user = loader.load(b"user", Spec::new().function("u", Does::Calls("f")).bytes()).unwrap();
    let mut before = (0, 0, 0);
    for value in 1..=10_000 {
        reload(&loader, module, &spec(value)).unwrap();
        assert_eq!(call(&loader, user, "u", &[]), i64::from(value));
        collect(&loader);
        if value == 100 {
            before = footprint();
        }
    }
    assert_flat(before, footprint(), 9_900);
    assert_eq!(call(&loader, module, "add", &[1]), 6);
}

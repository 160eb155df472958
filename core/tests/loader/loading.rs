//! Name resolution, and references between modules.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::Duration;

use smf_core::format::functions::Functions;
use smf_core::format::{Binding, Smf, SymbolKind};
use smf_core::link::{LinkError, Resolve};
use smf_core::loader::epoch::Epochs;
use smf_core::loader::{
    DuplicateExports, LoadError, LoaderOptions, ModuleBytes, ModuleHandle, ModuleLoader,
};

use crate::build::{Does, Spec};
use crate::{address, call, call_at, collect};

fn error(loader: &ModuleLoader, name: &str, spec: &Spec) -> String {
    loader.load(name.as_bytes(), spec.bytes()).unwrap_err().to_string()
}

fn names(loader: &ModuleLoader) -> Vec<String> {
    let mut names = Vec::new();
    loader.for_each(|name, _| names.push(String::from_utf8_lossy(name).into_owned()));
    names
}

#[test]
fn import_resolves_to_module_then_others_then_host_then_fallback() {
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    let one = |value| Spec::new().function("f", Does::Returns(value)).bytes();
    let user = |name: &str| Spec::new().function(name, Does::Calls("f")).bytes();
    let host = loader.load(b"host code", one(9)).unwrap();
    let host_address = loader.get(host).unwrap().function(b"f").unwrap();
    loader.unload(host).unwrap();

    let asked = Arc::new(Mutex::new(Vec::new()));
    let told = asked.clone();
    loader
        .set_fallback_resolver(Some(Box::new(move |name: &[u8]| {
            told.lock().unwrap().push(name.to_vec());
            None
        })))
        .unwrap();
    assert!(loader.load(b"u0", user("u")).is_err());
    assert_eq!(*asked.lock().unwrap(), [b"f".to_vec()]);

    loader
        .set_fallback_resolver(Some(Box::new(move |name: &[u8]| (name == b"f").then_some(0x1000))))
        .unwrap();
    loader
        .set_host_resolver(Some(Box::new(move |name: &[u8]| (name == b"f").then_some(0x2000))))
        .unwrap();
    assert_eq!(address(&loader, "f"), Some(0x2000));
    assert_eq!(loader.define(b"f", 0x3000).unwrap(), None);
    assert_eq!(address(&loader, "f"), Some(0x3000));
    assert_eq!(loader.define(b"f", host_address).unwrap(), Some(0x3000));

    loader.load(b"first", one(1)).unwrap();
    loader.load(b"second", one(2)).unwrap();
    let user = loader.load(b"user", user("u")).unwrap();
    assert_eq!(call(&loader, user, "u", &[]), 1);
    let own = Spec::new().function("f", Does::Returns(3)).function("g", Does::Calls("f"));
    let own = loader.load(b"own", own.bytes()).unwrap();
    assert_eq!(call(&loader, own, "g", &[]), 3);
    assert_eq!(names(&loader), ["first", "second", "user", "own"]);
    loader.set_host_resolver(None).unwrap();
    loader.set_fallback_resolver(None).unwrap();
    assert_eq!(address(&loader, "absent name"), None);
}

/// Modules have the addresses of their resolver, which may be those of a library that is closed with it.
#[test]
fn resolver_is_kept_until_the_modules_that_were_linked_with_it_are_unloaded() {
    type Setter = fn(&ModuleLoader, Option<Box<dyn Resolve + Send + Sync>>);
    let setters: [Setter; 2] = [
        |loader, resolver| loader.set_host_resolver(resolver).unwrap(),
        |loader, resolver| loader.set_fallback_resolver(resolver).unwrap(),
    ];
    for set in setters {
        let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
        let library = Arc::new(());
        let owned = library.clone();
        let resolver =
            move |name: &[u8]| (name == b"f" && Arc::strong_count(&owned) > 0).then_some(0x1000);
        set(&loader, Some(Box::new(resolver)));
        let user = Spec::new().function("u", Does::Calls("f")).bytes();
        let user = loader.load(b"user", user).unwrap();
        set(&loader, None);
        let other = Spec::new().function("o", Does::Returns(1)).bytes();
        loader.load(b"other", other).unwrap();
        assert_eq!(Arc::strong_count(&library), 2);
        loader.unload(user).unwrap();
        assert_eq!(Arc::strong_count(&library), 1);
    }
}

#[test]
fn module_is_linked_with_those_that_were_loaded_after_it_was_mapped() {
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    let user = || Spec::new().function("u", Does::Calls("f")).bytes();
    let mapped = loader.map(b"user", user()).unwrap();
    loader.load(b"library", Spec::new().function("f", Does::Returns(7)).bytes()).unwrap();
    let linked = mapped.link(&mut |_| {}).unwrap();
    assert_eq!(call(&loader, linked, "u", &[]), 7);
    let mapped = loader.map(b"second", user()).unwrap();
    loader.load(b"second", user()).unwrap();
    let error = mapped.link(&mut |_| {}).unwrap_err();
    assert!(matches!(error, LoadError::NameTaken { .. }), "{error}");
}

#[test]
fn strong_definition_overrides_an_earlier_weak_one() {
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    loader.load(b"weak", Spec::new().weak("f", Does::Returns(1)).bytes()).unwrap();
    assert_eq!(address(&loader, "f").map(|f| call_at(f, &[])), Some(1));
    loader.load(b"strong", Spec::new().function("f", Does::Returns(2)).bytes()).unwrap();
    loader.load(b"late", Spec::new().function("f", Does::Returns(3)).bytes()).unwrap();
    assert_eq!(address(&loader, "f").map(|f| call_at(f, &[])), Some(2));
}

#[test]
fn unresolved_weak_import_is_zero() {
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    let spec = Spec::new().function("f", Does::Returns(1)).import(
        "nowhere",
        Binding::Weak,
        SymbolKind::Function,
    );
    loader.load(b"m", spec.bytes()).unwrap();
}

#[test]
fn duplicate_export_is_refused_by_the_refuse_policy() {
    let options =
        LoaderOptions { duplicate_exports: DuplicateExports::Refuse, ..LoaderOptions::default() };
    let loader = ModuleLoader::new(options).unwrap();
    let spec = |name: &str| Spec::new().function(name, Does::Returns(1));
    loader.load(b"one", spec("f").bytes()).unwrap();
    assert_eq!(error(&loader, "two", &spec("f")), "both one and two export `f`");
    loader.load(b"weak", Spec::new().weak("f", Does::Returns(2)).bytes()).unwrap();
    loader.load(b"other", spec("g").bytes()).unwrap();
    assert_eq!(names(&loader), ["one", "weak", "other"]);
}

#[test]
fn provider_is_loaded_when_it_is_needed() {
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    let uses =
        |name: &str, used: &'static str| Spec::new().function(name, Does::Calls(used)).bytes();
    loader
        .register_provider(b"unused", Spec::new().function("z", Does::Calls("nowhere")).bytes())
        .unwrap();
    loader.register_provider(b"b", uses("b", "c")).unwrap();
    loader.register_provider(b"c", Spec::new().function("c", Does::Returns(7)).bytes()).unwrap();
    loader
        .register_provider(b"late c", Spec::new().function("c", Does::Returns(8)).bytes())
        .unwrap();
    let main = loader.load(b"main", uses("main", "b")).unwrap();
    assert_eq!(call(&loader, main, "main", &[]), 7);
    assert_eq!(names(&loader), ["main", "b", "c"]);
    // A loaded provider is reused.
    loader.load(b"again", uses("again", "c")).unwrap();
    assert_eq!(names(&loader), ["main", "b", "c", "again"]);
}

#[test]
fn provider_of_two_concurrent_loads_is_loaded_once() {
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    let uses = |name: &str| Spec::new().function(name, Does::Calls("shared")).bytes();
    let shared = Spec::new().function("shared", Does::Returns(7));
    loader.register_provider(b"library", shared.bytes()).unwrap();
    // Neither load sees the library of the other.
    let first = loader.map(b"first", uses("first")).unwrap();
    let second = loader.map(b"second", uses("second")).unwrap();
    let first = first.link(&mut |_| {}).unwrap();
    let second = second.link(&mut |_| {}).unwrap();
    assert_eq!((call(&loader, first, "first", &[]), call(&loader, second, "second", &[])), (7, 7));
    assert_eq!(names(&loader), ["first", "library", "second"]);
}

#[test]
fn import_of_the_fallback_resolver_loads_the_provider_that_an_import_would_load() {
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    let weak = Spec::new().weak("f", Does::Returns(1));
    loader.register_provider(b"weak", weak.bytes()).unwrap();
    let strong = Spec::new().function("f", Does::Returns(2));
    loader.register_provider(b"strong", strong.bytes()).unwrap();
    let bytecode: &[u8] = include_bytes!("../../../tests/samples/bcod.smf");
    loader.register_provider(b"bytecode", ModuleBytes::new(bytecode).unwrap()).unwrap();
    let broken = Spec::new().function("broken", Does::Calls("nowhere"));
    loader.register_provider(b"broken", broken.bytes()).unwrap();
    let import = |name: &str| loader.resolve_import(name.as_bytes());
    assert_eq!(call_at(import("f").unwrap().unwrap(), &[]), 2);
    assert_eq!(call_at(import("sum").unwrap().unwrap(), &[10]), 55);
    assert_eq!(import("absent").unwrap(), None);
    let error = import("broken").unwrap_err().to_string();
    assert!(error.starts_with("broken: ") && error.contains("nowhere"), "{error}");
    assert_eq!(names(&loader), ["strong", "bytecode"]);
}

#[test]
fn provider_that_another_thread_loads_meanwhile_is_found() {
    let loader = Arc::new(ModuleLoader::new(LoaderOptions::default()).unwrap());
    let provider = Spec::new().function("f", Does::Returns(7)).function("g", Does::Calls("host"));
    loader.register_provider(b"provider", provider.bytes()).unwrap();
    let (weak, is_first) = (Arc::downgrade(&loader), AtomicBool::new(true));
    // The import of the provider is resolved while it is loaded, before it is found.
    let resolver = move |name: &[u8]| {
        if name == b"host" && is_first.swap(false, Ordering::Relaxed) {
            let loader = weak.upgrade()?;
            let other = thread::spawn(move || loader.resolve_import(b"f").unwrap().is_some());
            assert!(other.join().unwrap());
        }
        (name == b"host").then_some(0x1000)
    };
    loader.set_host_resolver(Some(Box::new(resolver))).unwrap();
    assert_eq!(call_at(loader.resolve_import(b"f").unwrap().unwrap(), &[]), 7);
    assert_eq!(names(&loader), ["provider"]);
}

#[test]
fn provider_with_the_name_of_another_module_is_refused() {
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    loader.register_provider(b"name", Spec::new().function("f", Does::Returns(1)).bytes()).unwrap();
    let user = Spec::new().function("u", Does::Calls("f"));
    assert_eq!(error(&loader, "name", &user), "a module called name is loaded already");
    loader.load(b"name", Spec::new().function("g", Does::Returns(2)).bytes()).unwrap();
    assert_eq!(error(&loader, "user", &user), "a module called name is loaded already");
    assert_eq!(names(&loader), ["name"]);
}

#[test]
fn cyclic_modules_are_unloaded_together() {
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    let a = Spec::new().function("a", Does::Calls("b")).function("end", Does::Returns(5));
    let b = Spec::new().function("b", Does::Calls("end"));
    loader.register_provider(b"b", b.bytes()).unwrap();
    let a = loader.load(b"a", a.bytes()).unwrap();
    let b = loader.find(b"b").unwrap();
    assert_eq!(call(&loader, a, "a", &[]), 5);
    let needed = |module: &str, by: &str| Err(format!("{module} is in use: {by} imports from it"));
    let text = |result: Result<(), LoadError>| result.map_err(|error| error.to_string());
    assert_eq!(text(loader.unload(a)), needed("a", "b"));
    assert_eq!(text(loader.unload(b)), needed("b", "a"));
    let outside = loader.load(b"c", Spec::new().function("c", Does::Calls("b")).bytes()).unwrap();
    assert_eq!(text(loader.unload_all(&[a, b])), needed("b", "c"));
    loader.unload_all(&[b, outside, a]).unwrap();
    assert_eq!((names(&loader).len(), loader.statistics().retired), (0, 0));
}

#[test]
fn held_or_needed_module_is_not_unloaded() {
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    let library = loader.load(b"library", Spec::new().function("f", Does::Returns(1)).bytes());
    let library = library.unwrap();
    let app = loader.load(b"app", Spec::new().function("g", Does::Calls("f")).bytes()).unwrap();
    let held = loader.get(app).unwrap();
    assert_eq!(loader.unload(app).unwrap_err().to_string(), "app is held 1 time");
    let again = loader.get(app).unwrap();
    assert_eq!(loader.unload(app).unwrap_err().to_string(), "app is held 2 times");
    drop((held, again));
    assert!(matches!(loader.unload(library), Err(LoadError::Needed { .. })));
    loader.unload(app).unwrap();
    loader.unload(library).unwrap();
    for stale in [app, library, ModuleHandle::from_raw(0), ModuleHandle::from_raw(u64::MAX)] {
        assert!(matches!(loader.get(stale), Err(LoadError::Stale { .. })));
        assert!(matches!(loader.unload(stale), Err(LoadError::Stale { .. })));
    }
    // The slot is reused, and the old handle is stale.
    let new = loader.load(b"new", Spec::new().function("f", Does::Returns(1)).bytes()).unwrap();
    assert!(loader.get(app).is_err() && loader.get(library).is_err() && loader.get(new).is_ok());
}

#[test]
fn unload_during_a_call_keeps_the_memory_until_it_returns() {
    static CALLS: Epochs = Epochs::new();
    let options = LoaderOptions { call_epochs: Some(&CALLS), ..LoaderOptions::default() };
    let loader = ModuleLoader::new(options).unwrap();
    let gone = loader.load(b"gone", Spec::new().function("f", Does::Returns(6)).bytes()).unwrap();
    let f = address(&loader, "f").unwrap();
    let inside = CALLS.pin();
    loader.unload(gone).unwrap();
    assert_eq!(loader.statistics().retired, 1);
    assert_eq!(call_at(f, &[]), 6);
    drop(inside);
    collect(&loader);
    assert_eq!(loader.statistics().retired, 0);
}

#[test]
fn unload_during_a_call_needs_no_later_action() {
    static CALLS: Epochs = Epochs::new();
    let options = LoaderOptions { call_epochs: Some(&CALLS), ..LoaderOptions::default() };
    let loader = ModuleLoader::new(options).unwrap();
    let library = loader.load(b"library", Spec::new().function("f", Does::Returns(1)).bytes());
    let library = library.unwrap();
    let user = loader.load(b"user", Spec::new().function("u", Does::Calls("f")).bytes()).unwrap();
    let inside = CALLS.pin();
    loader.unload(user).unwrap();
    assert!(matches!(loader.unload(library), Err(LoadError::Needed { .. })));
    drop(inside);
    loader.unload(library).unwrap();
}

#[test]
fn every_missing_import_is_reported_with_its_importer() {
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    let uses = |name: &str, used: [&'static str; 2]| {
        let [one, two] = used.map(Does::Calls);
        Spec::new().function(name, one).function(&format!("{name}2"), two)
    };
    loader.register_provider(b"a", uses("a", ["x", "z"]).bytes()).unwrap();
    let mut missing = Vec::new();
    let main = uses("main", ["y", "a"]).bytes();
    let failed = loader.load_reporting(b"main", main, &mut |import| {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        missing.push((text(import.symbol), text(import.module)));
    });
    assert_eq!(failed.unwrap_err().to_string(), "main: unresolved import `y`");
    let expected = [("y", "main"), ("x", "a"), ("z", "a")];
    assert_eq!(missing, expected.map(|(symbol, module)| (symbol.to_owned(), module.to_owned())));
    assert_eq!(loader.statistics().modules, 0);
}

#[test]
fn ten_thousand_unresolved_imports_are_all_reported() {
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    for number in 0..50 {
        let name = format!("m{number}");
        loader
            .load(name.as_bytes(), Spec::new().function(&name, Does::Returns(1)).bytes())
            .unwrap();
    }
    let mut spec = Spec::new().function("f", Does::Returns(1));
    for number in 0..10_000 {
        spec = spec.import(&format!("absent{number}"), Binding::Global, SymbolKind::Function);
    }
    let mut count = 0;
    let failed = loader.load_reporting(b"wants", spec.bytes(), &mut |_| count += 1);
    let LoadError::Link { error: LinkError::MissingImports { count: counted, .. }, .. } =
        failed.unwrap_err()
    else {
        panic!()
    };
    assert_eq!((count, counted, loader.statistics().modules), (10_000, 10_000, 50));
}

#[test]
fn call_of_data_is_refused() {
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    loader.load(b"data", Spec::new().function("f", Does::Returns(1)).data("d", 5).bytes()).unwrap();
    let calls = Spec::new().function("g", Does::Calls("d"));
    let expected = "calls: the module calls its import `d`, which its provider exports as data";
    assert_eq!(error(&loader, "calls", &calls), expected);
    let reads = loader.load(b"reads", Spec::new().function("g", Does::Reads("d")).bytes()).unwrap();
    assert_eq!(call(&loader, reads, "g", &[]), 5);
}

#[test]
fn names_may_contain_any_bytes() {
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    let long = "x".repeat(4096);
    for name in ["fn$Vec$i64", "a<b>", "with space", &long] {
        let module =
            loader.load(name.as_bytes(), Spec::new().function(name, Does::Returns(3)).bytes());
        let module = module.unwrap();
        assert_eq!(call(&loader, module, name, &[]), 3);
        assert!(loader.find(name.as_bytes()) == Some(module) && address(&loader, name).is_some());
    }
    let invalid = loader.load(b"\xff\xfe", Spec::new().function("f", Does::Returns(1)).bytes());
    assert_eq!(loader.find(b"\xff\xfe"), Some(invalid.unwrap()));
}

#[test]
fn failed_load_leaves_nothing_behind() {
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    let good = Spec::new().function("f", Does::Returns(1));
    loader.load(b"good", good.bytes()).unwrap();
    assert_eq!(error(&loader, "good", &good), "a module called good is loaded already");
    let library: &[u8] = include_bytes!("../../../tests/samples/library.lsm");
    let archive = loader.load(b"l", ModuleBytes::new(library).unwrap()).unwrap_err();
    assert!(matches!(archive, LoadError::Archive { .. }), "{archive}");
    let cut = loader.load(b"l", ModuleBytes::new(&library[..20]).unwrap()).unwrap_err();
    assert!(matches!(cut, LoadError::Format { .. }), "{cut}");
    let short = loader.load(b"short", ModuleBytes::new([0u8; 3]).unwrap()).unwrap_err().to_string();
    assert!(short.starts_with("short: "), "{short}");
    let file = good.file();
    for len in 0..file.len() {
        assert!(
            loader.load(b"cut", ModuleBytes::new(file[..len].to_vec()).unwrap()).is_err(),
            "{len}"
        );
    }
    assert_eq!(loader.statistics().modules, 1);
}

#[test]
fn archive_provides_all_modules_or_a_single_one() {
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    let library: &[u8] = include_bytes!("../../../tests/samples/library.lsm");
    let app: &[u8] = include_bytes!("../../../tests/samples/app.smf");
    let bytes = ModuleBytes::new(library).unwrap();
    let scale = bytes.module("std/math/scale").unwrap().unwrap();
    assert!(bytes.module("no such").unwrap().is_none());
    loader.register_provider(b"library", bytes).unwrap();
    let app = loader.load(b"app", ModuleBytes::new(app).unwrap()).unwrap();
    assert_eq!(call(&loader, app, "direct", &[14]), 42);
    assert_eq!(names(&loader), ["app", "library(std/math/scale)"]);
    loader.load(b"scale", scale).unwrap();
    let mut broken = library.to_vec();
    let header = 512 + 263 - 128;
    broken[header] = 0;
    let error = loader
        .register_provider(b"broken", ModuleBytes::new(broken).unwrap())
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("broken(std/math/scale): "), "{error}");
}

#[test]
fn malformed_provider_is_refused_when_it_is_registered() {
    let bytecode = include_bytes!("../../../tests/samples/bcod.smf").to_vec();
    let user = Spec::new().function("user", Does::Calls("of host"));
    for good in [Spec::new().function("f", Does::Returns(1)).file(), bytecode] {
        for at in 0..good.len() {
            let mut file = good.clone();
            file[at] ^= 0xff;
            let functions = Smf::parse(&file).and_then(|smf| smf.functions());
            let has_functions = functions.is_ok_and(|table| {
                table.iter().flat_map(Functions::iter).all(|function| function.is_ok())
            });
            let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
            loader.define(b"of host", 0x1000).unwrap();
            let registered = loader.register_provider(b"provider", ModuleBytes::new(file).unwrap());
            assert!(has_functions || registered.is_err(), "byte {at}");
            // A provider that was refused or that nothing needs does not matter.
            loader.load(b"user", user.bytes()).unwrap();
        }
    }
}

#[test]
fn foreign_modules_are_resolved_and_unloaded() {
    struct Stranger(Arc<Mutex<u32>>);
    impl smf_core::link::Resolve for Stranger {
        fn resolve(&self, name: &[u8]) -> Option<u64> {
            (name == b"strange").then_some(0x4000)
        }
    }
    impl Drop for Stranger {
        fn drop(&mut self) {
            *self.0.lock().unwrap() += 1;
        }
    }
    let dropped = Arc::new(Mutex::new(0));
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    let stranger = loader.insert_foreign(b"stranger", Box::new(Stranger(dropped.clone()))).unwrap();
    assert!(loader.insert_foreign(b"stranger", Box::new(Stranger(dropped.clone()))).is_err());
    assert_eq!(*dropped.lock().unwrap(), 1);
    assert_eq!(address(&loader, "strange"), Some(0x4000));
    let user = Spec::new().function("f", Does::Calls("strange")).bytes();
    let user = loader.load(b"user", user).unwrap();
    assert!(matches!(loader.unload(stranger), Err(LoadError::Needed { .. })));
    loader.unload_all(&[user, stranger]).unwrap();
    assert_eq!(*dropped.lock().unwrap(), 2);
}

/// A resolver that uses the loader, of which it is a module.
struct UsesLoader {
    loader: Weak<ModuleLoader>,
    find: fn(&ModuleLoader) -> Option<u64>,
}

impl Resolve for UsesLoader {
    fn resolve(&self, name: &[u8]) -> Option<u64> {
        if name == b"strange" { (self.find)(&*self.loader.upgrade()?) } else { None }
    }
}

/// The result of `act`, which fails if it waits for itself.
fn within_20_seconds<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    let (result, received) = channel();
    thread::spawn(move || result.send(act()));
    received.recv_timeout(Duration::from_secs(20)).unwrap()
}

#[test]
fn foreign_module_uses_the_loader_in_a_lookup_that_starts_again() {
    let loader = Arc::new(ModuleLoader::new(LoaderOptions::default()).unwrap());
    let weak = Arc::downgrade(&loader);
    let foreign = move |find| Box::new(UsesLoader { loader: weak.clone(), find });
    let unloaded = foreign(|loader| {
        loader.unload(loader.find(b"unloaded")?).unwrap();
        Some(0x4000)
    });
    loader.insert_foreign(b"unloaded", unloaded).unwrap();
    let stays = foreign(|loader| loader.find(b"stays").map(|_| 0x5000));
    loader.insert_foreign(b"stays", stays).unwrap();
    let found = within_20_seconds(move || address(&loader, "strange"));
    assert_eq!(found, Some(0x5000));
}

#[test]
fn foreign_module_that_is_inserted_during_a_load_is_compared_without_locks() {
    let options =
        LoaderOptions { duplicate_exports: DuplicateExports::Refuse, ..LoaderOptions::default() };
    let loader = Arc::new(ModuleLoader::new(options).unwrap());
    let weak = Arc::downgrade(&loader);
    let insert = move |name: &[u8]| {
        let loader = weak.upgrade()?;
        if loader.find(b"foreign").is_none() {
            let find = |loader: &ModuleLoader| loader.find(b"foreign").map(|_| 0x4000);
            let foreign = UsesLoader { loader: weak.clone(), find };
            loader.insert_foreign(b"foreign", Box::new(foreign)).unwrap();
        }
        (name == b"imported").then_some(0x1000)
    };
    loader.set_host_resolver(Some(Box::new(insert))).unwrap();
    let load = |export: &'static str| {
        let loader = loader.clone();
        let spec = Spec::new().function(export, Does::Calls("imported"));
        within_20_seconds(move || loader.load(b"user", spec.bytes()).map_err(|e| e.to_string()))
    };
    assert_eq!(load("strange"), Err("both foreign and user export `strange`".to_owned()));
    loader.unload(loader.find(b"foreign").unwrap()).unwrap();
    assert!(load("other").is_ok());
}

/// By address, also of a stub, and by `resolve_import`.
#[test]
fn module_depends_on_what_the_fallback_resolver_finds_for_it() {
    let loader = Arc::new(ModuleLoader::new(LoaderOptions::default()).unwrap());
    let plain = Spec::new().function("plain", Does::Returns(1));
    let stubbed = Spec::new().reloadable().function("stubbed", Does::Returns(2));
    let called = Spec::new().function("called", Does::Returns(3));
    let [plain, stubbed, called] = [("plain", plain), ("stubbed", stubbed), ("called", called)]
        .map(|(name, spec)| loader.load(name.as_bytes(), spec.bytes()).unwrap());
    let known = ["plain", "stubbed"].map(|name| address(&loader, name).unwrap());
    let weak = Arc::downgrade(&loader);
    let resolver = move |name: &[u8]| match name {
        b"one" => Some(known[0]),
        b"two" => Some(known[1]),
        // The address is that of code which calls the module.
        _ => weak.upgrade()?.resolve_import(b"called").unwrap().map(|_| known[0]),
    };
    loader.set_fallback_resolver(Some(Box::new(resolver))).unwrap();
    for (import, exporter) in [("one", plain), ("two", stubbed), ("three", called)] {
        let spec = Spec::new().function("user", Does::Calls(import));
        let user = loader.load(b"user", spec.bytes()).unwrap();
        let error = loader.unload(exporter).unwrap_err().to_string();
        assert!(error.ends_with("is in use: user imports from it"), "{error}");
        loader.unload(user).unwrap();
    }
    loader.unload_all(&[plain, stubbed, called]).unwrap();
}

/// The resolver loads a module for an import of another, whose function the new module reaches by a stub.
#[test]
fn module_depends_on_the_one_for_which_the_fallback_resolver_loads_it() {
    let loader = Arc::new(ModuleLoader::new(LoaderOptions::default()).unwrap());
    let weak = Arc::downgrade(&loader);
    let resolver = move |name: &[u8]| match (weak.upgrade()?, name) {
        (loader, b"helped") => {
            let helper = Spec::new().function("help", Does::Calls("reached"));
            loader.load(b"helper", helper.bytes()).unwrap();
            loader.resolve_import(b"help").unwrap()
        }
        (loader, _) => loader.resolve_import(b"five").unwrap(),
    };
    loader.set_fallback_resolver(Some(Box::new(resolver))).unwrap();
    let spec = || {
        let spec = Spec::new().reloadable().function("five", Does::Returns(5));
        spec.function("start", Does::Calls("helped"))
    };
    let asking = loader.load(b"asking", spec().bytes()).unwrap();
    let helper = loader.find(b"helper").unwrap();
    assert_eq!(call(&loader, asking, "start", &[]), 5);
    for (module, importer) in [(asking, "helper"), (helper, "asking")] {
        let error = loader.unload(module).unwrap_err().to_string();
        assert!(error.ends_with(&format!("is in use: {importer} imports from it")), "{error}");
    }
    assert_eq!(call(&loader, helper, "help", &[]), 5);
    loader.unload_all(&[asking, helper]).unwrap();
    assert_eq!(loader.statistics().retired, 0);
}

#[test]
fn fallback_resolver_may_load_modules() {
    let loader = Arc::new(ModuleLoader::new(LoaderOptions::default()).unwrap());
    let inner = Arc::downgrade(&loader);
    loader
        .set_fallback_resolver(Some(Box::new(move |name: &[u8]| {
            let loader = inner.upgrade()?;
            let made = Spec::new().function(std::str::from_utf8(name).ok()?, Does::Returns(11));
            loader.load(b"made", made.bytes()).ok()?;
            loader.resolve(name).ok()?.map(|resolved| resolved.address)
        })))
        .unwrap();
    let user =
        loader.load(b"user", Spec::new().function("u", Does::Calls("made to order")).bytes());
    assert_eq!(call(&loader, user.unwrap(), "u", &[]), 11);
}

#[test]
fn typed_exports_are_called_and_read_while_the_module_is_held() {
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    let spec = Spec::new().data("counter", 40).function("add", Does::Adds("counter"));
    let handle = loader.load(b"m", spec.bytes()).unwrap();
    let module = loader.get(handle).unwrap();
    // SAFETY: the types are those of the exports.
    let add = unsafe { module.get::<extern "C" fn(i64) -> i64>("add") }.unwrap();
    // SAFETY: as above.
    let counter = unsafe { module.get::<*mut i64>(b"counter") }.unwrap();
    assert_eq!((add(2), add(3)), (42, 45));
    // SAFETY: `module` holds the data, and no other thread uses it.
    assert_eq!(unsafe { **counter }, 45);
    assert!(matches!(loader.unload(handle), Err(LoadError::InUse { pins: 1, .. })));
    // SAFETY: nothing is called.
    let missing = unsafe { module.get::<*mut i64>("absent") };
    assert_eq!(missing.unwrap_err().to_string(), "m does not export `absent`");
    drop(module);
    loader.unload(handle).unwrap();
}

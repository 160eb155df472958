//! Modules that import instances which do not exist yet.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use smf_core::format::write::{Module, NewSection, NewSymbol, Payload, Place};
use smf_core::format::{Header, Layout, Reloc, RelocKind, SectionFlags, SectionKind};
use smf_core::link::Resolve;
use smf_core::loader::epoch::Epochs;
use smf_core::loader::{LoadError, LoaderOptions, ModuleBytes, ModuleHandle, ModuleLoader};
use smf_core::memory::code_alloc::CodeMemory;
use smf_core::templates::{JitConfig, JitInstantiator, JitSymbolResolver};

use crate::build::{Directory, SILENT, Spec, compiler, instantiator, loaded};
use crate::call_at;

/// A module with a function `main` that jumps to its import.
pub(crate) fn user(import: &str) -> ModuleBytes {
    importer("main", import)
}

/// A module with a function that jumps to its import, and a function `seven`, which returns 7.
fn importer(function: &str, import: &str) -> ModuleBytes {
    importer_with(function, import, 7)
}

/// As [`importer`], where `seven` returns `value`.
fn importer_with(function: &str, import: &str, value: u8) -> ModuleBytes {
    // jmp import; mov eax, value; ret
    let code = [0xe9, 0, 0, 0, 0, 0xb8, value, 0, 0, 0, 0xc3];
    let section = |kind, name, flags, payload| NewSection {
        kind,
        name,
        flags: SectionFlags(flags),
        alignment: 8,
        virtual_size: None,
        payload,
    };
    let relocs = [Reloc { offset: 1, symbol: 0, kind: RelocKind::Plt32, addend: -4 }];
    let sections = [
        section(SectionKind::Code, &b".text"[..], 5, Payload::Bytes(&code)),
        section(SectionKind::Reloc, b".rela.text", 1, Payload::Relocs(&relocs)),
    ];
    let import =
        NewSymbol { name: import.as_bytes(), place: Place::Import, ..NewSymbol::default() };
    let main = NewSymbol {
        name: function.as_bytes(),
        place: Place::Section(0),
        size: 5,
        ..NewSymbol::default()
    };
    let place = Place::Section(0);
    let seven = NewSymbol { name: b"seven", place, value: 5, size: 6, ..NewSymbol::default() };
    let symbols = [import, main, seven];
    let (header, layout) = (Header::default(), Layout::Packed);
    let module = Module { layout, header, stub: &[], sections: &sections, symbols: &symbols };
    ModuleBytes::new(module.to_vec().unwrap()).unwrap()
}

#[test]
fn module_with_a_missing_instance_loads_and_runs() {
    let (jit, _) = loaded(
        SILENT,
        &[Spec::new().template("Vec", "ret 64").possible("Vec", "i64", "fn$Vec$i64")],
    );
    let resolver = Arc::new(JitSymbolResolver::new(jit));
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    assert!(loader.load(b"early", user("fn$Vec$i64")).is_err());
    let fallback = resolver.clone();
    let fallback = move |name: &[u8]| fallback.resolve(name);
    loader.set_fallback_resolver(Some(Box::new(fallback))).unwrap();
    let module = loader.load(b"user", user("fn$Vec$i64")).unwrap();
    let main = loader.get(module).unwrap().function(b"main").unwrap();
    assert_eq!(call_at(main, &[]), 64);
    // All importers get the same address.
    let resolved = loader.resolve(b"fn$Vec$i64").unwrap().unwrap().address;
    assert_eq!(Resolve::resolve(&*resolver, b"fn$Vec$i64"), Some(resolved));
    let other = loader.load(b"lacking", user("fn$Vec$f64")).unwrap_err().to_string();
    assert!(other.contains("unresolved import `fn$Vec$f64`"), "{other}");
}

/// An instance belongs to the loader whose module it calls, and lasts as long as that module.
#[test]
fn instance_that_calls_an_unloaded_or_foreign_module_is_made_again() {
    let loader = || Arc::new(ModuleLoader::new(LoaderOptions::default()).unwrap());
    let loaders = [loader(), loader()];
    let asking = Arc::new(Mutex::new(loaders[0].clone()));
    let of_symbols = asking.clone();
    let symbols = move |name: &[u8]| {
        let loader = of_symbols.lock().unwrap().clone();
        loader.resolve_import(name).unwrap()
    };
    let jit = JitInstantiator::new(SILENT, CodeMemory::default()).unwrap();
    let jit = jit.with_compiler(compiler(Arc::default())).unwrap().with_symbols(symbols).unwrap();
    let templates =
        Spec::new().both("down", "ret 7").both("up", "call main").both("over", "call up$i64");
    let directory = Directory::new("owners");
    jit.load_smf_metadata(&directory.file("a.smf", &templates.file())).unwrap();
    let resolver = Arc::new(JitSymbolResolver::new(jit));
    let mut addresses = Vec::new();
    for loader in &loaders {
        *asking.lock().unwrap() = loader.clone();
        let of_loader = resolver.clone();
        let fallback = move |name: &[u8]| of_loader.resolve(name);
        loader.set_fallback_resolver(Some(Box::new(fallback))).unwrap();
        let main = loader.load(b"main", user("down$i64")).unwrap();
        // `over` calls `main` through `up`.
        let importer = loader.load(b"importer", importer("start", "over$i64")).unwrap();
        let start = loader.get(importer).unwrap().function(b"start").unwrap();
        assert_eq!(call_at(start, &[]), 7);
        let error = loader.unload(main).unwrap_err();
        assert!(matches!(error, LoadError::Needed { .. }), "{error}");
        addresses.push(resolver.resolve(b"over$i64").unwrap());
        assert_eq!(resolver.resolve(b"over$i64"), addresses.last().copied());
    }
    assert_ne!(addresses[0], addresses[1]);
    *asking.lock().unwrap() = loaders[0].clone();
    assert_eq!(resolver.resolve(b"over$i64"), Some(addresses[0]));
    let handles = [b"importer" as &[u8], b"main"].map(|name| loaders[0].find(name).unwrap());
    loaders[0].unload_all(&handles).unwrap();
    assert_eq!(resolver.resolve(b"over$i64"), None);
    let error = resolver.instantiator().try_jit_instantiate(b"over$i64").unwrap_err().to_string();
    assert!(error.contains("undefined symbol `main`"), "{error}");
    *asking.lock().unwrap() = loaders[1].clone();
    assert_eq!(resolver.resolve(b"over$i64"), Some(addresses[1]));
}

/// An instance requires an export of a module, which requires an instance.
#[test]
fn instances_and_modules_call_each_other() {
    let loader = Arc::new(ModuleLoader::new(LoaderOptions::default()).unwrap());
    let known = Arc::downgrade(&loader);
    let symbols = move |name: &[u8]| Some(known.upgrade()?.resolve(name).ok()??.address);
    let jit = JitInstantiator::new(SILENT, CodeMemory::default())
        .unwrap()
        .with_compiler(compiler(Arc::default()))
        .unwrap()
        .with_symbols(symbols)
        .unwrap();
    let module = Spec::new().both("outer", "call main").both("inner", "down");
    let directory = Directory::new("linked");
    jit.load_smf_metadata(&directory.file("a.smf", &module.file())).unwrap();
    let resolver = JitSymbolResolver::new(jit);
    loader.set_fallback_resolver(Some(Box::new(resolver))).unwrap();
    loader.load(b"middle", user("inner$i64")).unwrap();
    let outer = loader.resolve(b"outer$i64").unwrap().unwrap().address;
    assert_eq!(call_at(outer, &[12]), 12);
}

/// The stub by which an instance calls the module that imports it leads there while a call may be inside of that.
#[test]
fn instance_reaches_its_unloaded_importer_during_a_call() {
    static CALLS: Epochs = Epochs::new();
    let options = LoaderOptions { call_epochs: Some(&CALLS), ..LoaderOptions::default() };
    let loader = Arc::new(ModuleLoader::new(options).unwrap());
    let known = Arc::downgrade(&loader);
    let symbols = move |name: &[u8]| known.upgrade()?.resolve_import(name).ok()?;
    let jit = JitInstantiator::new(SILENT, CodeMemory::default()).unwrap();
    let jit = jit.with_compiler(compiler(Arc::default())).unwrap().with_symbols(symbols).unwrap();
    let directory = Directory::new("during");
    let templates = Spec::new().both("up", "call seven");
    jit.load_smf_metadata(&directory.file("a.smf", &templates.file())).unwrap();
    let resolver = JitSymbolResolver::new(jit);
    loader.set_fallback_resolver(Some(Box::new(resolver))).unwrap();
    let module = loader.load(b"module", importer("start", "up$i64")).unwrap();
    let start_of = |module| loader.get(module).unwrap().function(b"start").unwrap();
    let start = start_of(module);
    assert_eq!(call_at(start, &[]), 7);
    let inside = CALLS.pin();
    loader.unload(module).unwrap();
    assert_eq!((loader.statistics().retired, call_at(start, &[])), (1, 7));
    // Another module takes its place, while the call lasts and afterwards.
    let other = loader.load(b"other", importer("start", "up$i64")).unwrap();
    drop(inside);
    loader.collect();
    assert_eq!((loader.statistics().retired, call_at(start_of(other), &[])), (0, 7));
    loader.unload(other).unwrap();
}

/// The symbols of a loader, where an instance calls the functions of the module of its template first.
struct OwnFirst(Weak<ModuleLoader>);

impl Resolve for OwnFirst {
    fn resolve(&self, name: &[u8]) -> Option<u64> {
        self.0.upgrade()?.resolve_import(name).unwrap()
    }

    fn resolve_for(&self, module: &[u8], name: &[u8]) -> Option<u64> {
        let own = self.0.upgrade()?.resolve_import_from(module, name).unwrap();
        own.or_else(|| self.resolve(name))
    }
}

/// A loader whose instances are those of a template of the module `own` that calls `seven`.
fn with_templates() -> Arc<ModuleLoader> {
    let loader = Arc::new(ModuleLoader::new(LoaderOptions::default()).unwrap());
    let jit = JitInstantiator::new(SILENT, CodeMemory::default()).unwrap();
    let jit = jit.with_compiler(compiler(Arc::default())).unwrap();
    let jit = jit.with_symbols(OwnFirst(Arc::downgrade(&loader))).unwrap();
    jit.load_smf_bytes(b"own", &Spec::new().both("up", "call seven").file()).unwrap();
    let resolver = JitSymbolResolver::new(jit);
    loader.set_fallback_resolver(Some(Box::new(resolver))).unwrap();
    loader
}

fn call(loader: &ModuleLoader, module: ModuleHandle, function: &str) -> i64 {
    call_at(loader.get(module).unwrap().function(function.as_bytes()).unwrap(), &[])
}

/// The importing module, and one that was loaded earlier, define a function of the same name.
#[test]
fn instance_calls_the_functions_of_the_module_of_its_template() {
    let loader = with_templates();
    loader.define(b"nine", 9).unwrap();
    loader.load(b"earlier", importer_with("start", "nine", 5)).unwrap();
    let user = loader.load(b"user", user("up$i64")).unwrap();
    assert_eq!(call(&loader, user, "main"), 5, "no module is called `own`");
    loader.unload(user).unwrap();
    loader.register_provider(b"own", importer_with("own", "nine", 9)).unwrap();
    let user = loader.load(b"user", importer("main", "up$i64")).unwrap();
    assert_eq!(call(&loader, user, "main"), 9, "the provider is loaded");
    let own = loader.find(b"own").unwrap();
    assert!(matches!(loader.unload(own), Err(LoadError::Needed { .. })));
    let other = loader.load(b"other", importer("main", "up$i64")).unwrap();
    assert_eq!(call(&loader, other, "main"), 9, "it is loaded already");
}

#[test]
fn instance_calls_the_functions_of_its_module_that_is_being_loaded() {
    let loader = with_templates();
    loader.register_provider(b"own", importer_with("start", "up$i64", 9)).unwrap();
    // Both are loaded at once, and this one is the first that defines `seven`.
    let user = loader.load(b"user", importer("main", "start")).unwrap();
    assert_eq!(call(&loader, user, "main"), 9);
    let own = loader.find(b"own").unwrap();
    loader.unload_all(&[user, own]).unwrap();
}

#[test]
fn module_that_is_not_loaded_after_all_has_no_templates() {
    let file = |value: &str| Spec::new().both("f", value).file();
    let (jit, _) = loaded(SILENT, &[]);
    let value_of = |symbol: &[u8]| {
        jit.try_jit_instantiate(symbol).map(|instance| call_at(instance.address(), &[])).ok()
    };
    jit.load_read_metadata(b"failed", &file("ret 1")).unwrap();
    jit.forget_read_metadata(b"failed");
    assert!(!jit.has_template("f") && value_of(b"f$i64").is_none());
    jit.load_read_metadata(b"other", &file("ret 2")).unwrap();
    assert_eq!(value_of(b"f$i64"), Some(2));
    // Nor does it take those away that the caller has loaded.
    jit.load_smf_bytes(b"own", &Spec::new().both("g", "ret 3").file()).unwrap();
    for module in [&b"own"[..], b"unknown"] {
        jit.forget_read_metadata(module);
    }
    assert_eq!(value_of(b"g$i64"), Some(3));
}

/// A reload that is refused shows the sink the new version, whose imports may need instances of its own templates, and then the
/// previous one again.
#[test]
fn instances_of_templates_that_were_replaced_are_not_found() {
    let file = |value: &str| Spec::new().both("f", value).file();
    let (jit, _) = loaded(SILENT, &[]);
    jit.load_read_metadata(b"caller", &Spec::new().both("g", "call f$i64").file()).unwrap();
    let value_of = |symbol: &[u8]| {
        jit.try_jit_instantiate(symbol).map(|instance| call_at(instance.address(), &[])).ok()
    };
    jit.load_read_metadata(b"m", &file("ret 1")).unwrap();
    let first = jit.try_jit_instantiate(b"f$i64").unwrap();
    // Nothing has changed.
    jit.load_read_metadata(b"m", &file("ret 1")).unwrap();
    assert_eq!(jit.address(b"f$i64"), Some(first.address()));
    jit.load_read_metadata(b"m", &file("ret 2")).unwrap();
    assert_eq!(jit.address(b"f$i64"), None);
    assert_eq!([value_of(b"g$i64"), value_of(b"f$i64")], [Some(2), Some(2)]);
    jit.load_read_metadata(b"m", &file("ret 1")).unwrap();
    assert_eq!([value_of(b"g$i64"), value_of(b"f$i64")], [Some(1), Some(1)]);
    assert_eq!(call_at(first.address(), &[]), 1, "it remains for its callers");
    jit.forget_read_metadata(b"m");
    assert_eq!([value_of(b"g$i64"), value_of(b"f$i64")], [None, None]);
}

/// The value of `symbol`, without arguments; `None` without an instance.
fn value(jit: &JitInstantiator, symbol: &str) -> Option<i64> {
    let instance = jit.try_jit_instantiate(symbol.as_bytes()).ok()?;
    Some(call_at(instance.address(), &[]))
}

/// An instantiator whose owner is the number in the result.
fn owned() -> (JitInstantiator, Arc<AtomicU64>) {
    let owner = Arc::new(AtomicU64::new(0));
    let of_jit = owner.clone();
    let (jit, _) = instantiator(SILENT);
    (jit.with_owner(move || of_jit.load(Ordering::Relaxed)).unwrap(), owner)
}

/// Two loaders have different modules of one name.
#[test]
fn templates_of_an_owner_are_not_used_for_another() {
    let (jit, owner) = owned();
    let file = |of_f: &str| Spec::new().both("f", of_f).both("bad", of_f).file();
    jit.load_smf_bytes(b"all", &Spec::new().both("g", "call f$i64").both("h", "ret 9").file())
        .unwrap();
    let set = |number| owner.store(number, Ordering::Relaxed);
    for (number, bytes) in [(1, file("ret 1")), (2, file("ret 2")), (3, file("fail"))] {
        set(number);
        jit.load_read_metadata(b"m", &bytes).unwrap();
    }
    set(1);
    let first = jit.try_jit_instantiate(b"h$i64").unwrap().address();
    for number in [1, 2, 1] {
        set(number);
        let expected = number.cast_signed();
        assert_eq!([value(&jit, "f$i64"), value(&jit, "g$i64")], [Some(expected); 2]);
        assert_eq!(jit.address(b"h$i64"), Some(first), "of templates of every owner");
    }
    set(3);
    assert_eq!([value(&jit, "bad$i64"), value(&jit, "f$i64"), value(&jit, "g$i64")], [None; 3]);
    set(2);
    assert_eq!(value(&jit, "bad$i64"), Some(2), "the failure is that of the other owner");
    set(4);
    assert!(!jit.can_jit_instantiate(b"f$i64") && !jit.has_template("f"));
    assert_eq!([value(&jit, "f$i64"), value(&jit, "g$i64")], [None; 2]);
    // Nor does an owner remove the templates of another one.
    jit.forget_read_metadata(b"m");
    set(2);
    jit.forget_read_metadata(b"m");
    assert_eq!([value(&jit, "f$i64"), value(&jit, "g$i64")], [None; 2]);
    set(1);
    assert_eq!([value(&jit, "f$i64"), value(&jit, "g$i64")], [Some(1); 2]);
    let made = jit.address(b"f$i64");
    jit.withdraw_owner(1);
    assert_eq!([value(&jit, "f$i64"), value(&jit, "g$i64")], [None; 2]);
    jit.load_read_metadata(b"m", &file("ret 1")).unwrap();
    assert_eq!(jit.address(b"f$i64"), made, "the instance of the same template");
    jit.forget_owner(1);
    assert_eq!([value(&jit, "f$i64"), value(&jit, "h$i64")], [None, Some(9)]);
    set(0);
    assert_eq!((jit.stats().loaded_smf_count, jit.has_template("f")), (2, true));
}

#[test]
fn unloaded_module_leaves_no_templates_before_those_of_others() {
    let file = |value: &str| Spec::new().both("f", value).file();
    let (jit, _) = loaded(SILENT, &[]);
    jit.load_read_metadata(b"one", &file("ret 1")).unwrap();
    jit.load_read_metadata(b"kept", &Spec::new().both("k", "ret 7").file()).unwrap();
    let first = jit.try_jit_instantiate(b"f$i64").unwrap().address();
    jit.forget_read_metadata(b"one");
    assert_eq!(value(&jit, "f$i64"), None);
    jit.load_read_metadata(b"two", &file("ret 2")).unwrap();
    assert_eq!([value(&jit, "f$i64"), value(&jit, "k$i64")], [Some(2), Some(7)]);
    jit.forget_read_metadata(b"two");
    // The same templates under the same name: their instance is found again.
    jit.load_read_metadata(b"one", &file("ret 1")).unwrap();
    assert_eq!(jit.address(b"f$i64"), Some(first));
    // A new version without templates.
    jit.load_read_metadata(b"one", user("f").as_slice()).unwrap();
    assert_eq!(jit.address(b"f$i64"), None);
    jit.load_read_metadata(b"one", &file("ret 1")).unwrap();
    for number in 0..100 {
        let name = format!("other{number}");
        jit.load_read_metadata(name.as_bytes(), &file("ret 3")).unwrap();
        jit.forget_read_metadata(name.as_bytes());
    }
    assert_eq!(jit.stats().loaded_smf_count, 2);
}

#[test]
fn instances_of_unloaded_templates_do_not_count() {
    let config = JitConfig { max_instances: 2, ..SILENT };
    let (jit, _) = loaded(config, &[Spec::new().both("k", "ret 7")]);
    assert_eq!(value(&jit, "k$i64"), Some(7));
    for number in 0..5 {
        let file = Spec::new().both("f", format!("ret {number}")).both("g", "ret 1").file();
        jit.load_read_metadata(b"m", &file).unwrap();
        assert_eq!([value(&jit, "f$i64"), value(&jit, "g$i64")], [Some(number), None]);
        assert_eq!(jit.stats().cached_count, 2);
        if number % 2 == 0 {
            jit.forget_read_metadata(b"m");
        }
    }
    assert_eq!(jit.stats().cached_count, 1);
}

#[test]
fn instances_that_return_with_their_templates_count_again() {
    let (jit, _) = loaded(JitConfig { max_instances: 2, ..SILENT }, &[]);
    let first = Spec::new().both("f", "ret 1").both("g", "ret 2").file();
    let second = Spec::new().both("h", "ret 3").both("i", "ret 4").file();
    jit.load_read_metadata(b"first", &first).unwrap();
    assert_eq!([value(&jit, "f$i64"), value(&jit, "g$i64")], [Some(1), Some(2)]);
    jit.forget_read_metadata(b"first");
    jit.load_read_metadata(b"second", &second).unwrap();
    assert_eq!(value(&jit, "h$i64"), Some(3));
    jit.load_read_metadata(b"first", &first).unwrap();
    assert_eq!([value(&jit, "f$i64"), value(&jit, "i$i64")], [Some(1), None]);
}

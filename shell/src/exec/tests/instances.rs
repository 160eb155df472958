//! Instances of templates of modules.
#![allow(unsafe_code)]

use std::sync::{Arc, Mutex, OnceLock, Weak};

use super::*;

#[test]
fn modules_import_instances_of_templates_of_modules() {
    let memory = smf_core::memory::code_alloc::CodeMemory::default();
    let options = ExecOptions { memory: Some(memory.clone()), ..ExecOptions::default() };
    let manager = ExecManager::new(options).unwrap();
    let library = module(
        "fn largest<T>(a: T, b: T) -> T: if a > b: a else: b\nfn pairs<T>(a: T) -> (T, T): (a, a)\nfn bonus() -> i64: 2\n\
         fn extra<T>(a: T) -> i64: (a as i64) + bonus()\nfn quotient<T>(a: T, b: T) -> T: a / b\n",
    );
    let load = |name: &str, bytes: &[u8]| manager.compile_file(&scratch(name, bytes));
    let error = load("early.smf", &importer("early", "largest$i64")).unwrap_err().to_string();
    assert!(error.starts_with("unresolved import `largest$i64`"), "{error}");
    load("largest.smf", &library).unwrap();
    load("user.smf", &importer("of_user", "largest$i64")).unwrap();
    load("user2.smf", &importer("of_user2", "extra$i64")).unwrap();
    assert_eq!(run(&manager, "of_user", &[-3, 7]), Ok(7));
    assert_eq!(run(&manager, "of_user2", &[40]), Ok(42));
    let error = load("bad.smf", &importer("bad", "largest$text")).unwrap_err().to_string();
    assert!(error.contains("; cannot instantiate `largest$text`: "), "{error}");
    // Instances are called by name with the types that their bodies have.
    assert!(manager.has_function(b"largest$f64") && !manager.has_function(b"smallest$f64"));
    assert_eq!(text(&manager, "largest$f64", &["1.5", "2.5"]), Ok("2.5".into()));
    let error = run(&manager, "largest$text", &[1, 2]).unwrap_err();
    assert!(error.starts_with("cannot instantiate `largest$text`"), "{error}");
    manager
        .compile_source("s", "extern fn of_user(a: i64, b: i64) -> i64\nfn f(): of_user(8, 9)")
        .unwrap();
    assert_eq!(run(&manager, "f", &[]), Ok(9));
    // A module that is no more than its templates.
    load("twice.smf", &module("fn twice<T>(a: T) -> T: a + a\n")).unwrap();
    assert_eq!(run(&manager, "twice$u8", &[200]), Ok(144));
    let error = run(&manager, "quotient$i64", &[1, 0]).unwrap_err();
    assert_eq!(error, "division by zero, at 5 in function `quotient$i64`");
    let small = "\nfn small<T>(a: T) -> i64:\n    assert (a as i64) > 3, \"a is small\"\n    1\n";
    load("small.smf", &module(small)).unwrap();
    let error = run(&manager, "small$i64", &[1]).unwrap_err();
    assert_eq!(error, "assertion failed, at 3 in function `small$i64`: a is small");
    drop(manager);
    assert_eq!(memory.statistics().live_blocks, 0);
}

/// IR whose function `f` calls `callee` with two values of a type, and returns one.
fn caller(callee: &str, ty: &str) -> String {
    format!(
        "function f(a: {ty}, b: {ty}) -> {ty}\ncall_host a = \"{callee}\"(a, b)\nreturn {ty} a\nend\n"
    )
}

#[test]
fn unit_that_calls_an_instance_is_checked_and_told_why_there_is_none() {
    let manager = manager(BackendChoice::Auto);
    let library = module("fn largest<T>(a: T, b: T) -> T: if a > b: a else: b\nfn one(): 1\n");
    manager.compile_file(&scratch("checked.smf", &library)).unwrap();
    let compile = |callee: &str, ty: &str| {
        let compiled = manager.compile_ir(caller(callee, ty).as_bytes());
        compiled.map_err(|error| error.to_string())
    };
    compile("largest$i64", "i64").unwrap();
    assert_eq!(run(&manager, "f", &[8, 9]), Ok(9));
    let expected = "function `f` calls `largest$i64`, which has another signature";
    assert_eq!(compile("largest$i64", "f64").unwrap_err(), expected);
    let error = compile("largest$text", "i64").unwrap_err();
    let expected = "function `f` calls `largest$text`, which is undefined; cannot instantiate `largest$text`: ";
    assert!(error.starts_with(expected), "{error}");
    let expected = "function `f` calls `smallest$i64`, which is undefined";
    assert_eq!(compile("smallest$i64", "i64").unwrap_err(), expected);
}

#[test]
fn failures_of_weak_imports_are_not_those_of_other_names() {
    let manager = manager(BackendChoice::Auto);
    let library = module("fn largest<T>(a: T, b: T) -> T: if a > b: a else: b\nfn one(): 1\n");
    let load = |name: &str, bytes: &[u8]| manager.compile_file(&scratch(name, bytes));
    let weak = |name: &str| importer_with(name, &["largest$text"], smf_core::format::Binding::Weak);
    load("of_weak.smf", &library).unwrap();
    load("weak.smf", &weak("weak")).unwrap();
    assert_eq!(run(&manager, "absent", &[]), Err("no function `absent`".into()));
    load("weaker.smf", &weak("weaker")).unwrap();
    let error = load("absent.smf", &importer("of_absent", "absent")).unwrap_err().to_string();
    assert!(error.contains("`absent`") && !error.contains("largest"), "{error}");
}

/// A manager with a resolver that uses it.
fn manager_with(
    resolver: impl Fn(&[u8]) -> Option<u64> + Send + Sync + 'static,
    own: &OnceLock<Weak<ExecManager>>,
) -> Arc<ExecManager> {
    let symbols = Box::new(resolver) as Box<dyn Resolve + Send + Sync>;
    let symbols = Some(TryArc::new(symbols).unwrap());
    let manager = ExecManager::new(ExecOptions { symbols, ..ExecOptions::default() }).unwrap();
    let manager = Arc::new(manager);
    own.set(Arc::downgrade(&manager)).unwrap();
    manager
}

#[test]
fn load_that_fails_states_its_own_reasons_and_none_of_another_load() {
    let own: Arc<OnceLock<Weak<ExecManager>>> = Arc::default();
    let (of_resolver, other) = (own.clone(), Arc::new(OnceLock::new()));
    let result = other.clone();
    // While a module is linked, another thread loads one.
    let resolver = move |name: &[u8]| {
        if name == b"meanwhile" {
            let manager = of_resolver.get()?.upgrade()?;
            let file = scratch("other.smf", &importer("other", "smallest$text"));
            let load = std::thread::spawn(move || manager.compile_file(&file));
            result.set(load.join().unwrap().unwrap_err().to_string()).unwrap();
        }
        None
    };
    let manager = manager_with(resolver, &own);
    let library = module(
        "fn largest<T>(a: T, b: T) -> T: if a > b: a else: b\n\
         fn smallest<T>(a: T, b: T) -> T: if a < b: a else: b\nfn one(): 1\n",
    );
    manager.compile_file(&scratch("both.smf", &library)).unwrap();
    let binding = smf_core::format::Binding::Global;
    let module = importer_with("first", &["largest$text", "meanwhile"], binding);
    let first = manager.compile_file(&scratch("first.smf", &module)).unwrap_err().to_string();
    let other = other.get().unwrap();
    let cannot = |name: &str| format!("; cannot instantiate `{name}$text`: ");
    assert!(first.contains(&cannot("largest")) && !first.contains("smallest"), "{first}");
    assert!(other.contains(&cannot("smallest")) && !other.contains("largest"), "{other}");
}

#[test]
fn resolver_of_the_host_may_call_functions_of_modules() {
    extern "C" fn host_add(a: i64, b: i64) -> i64 {
        a + b
    }
    let own: Arc<OnceLock<Weak<ExecManager>>> = Arc::default();
    let asked: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let (of_resolver, names) = (own.clone(), asked.clone());
    let resolver = move |name: &[u8]| {
        names.lock().unwrap().push(name.to_vec());
        if name != b"host_add" {
            return None;
        }
        let manager = of_resolver.get()?.upgrade()?;
        assert_eq!(run(&manager, "five", &[]), Ok(5));
        Some(host_add as *const () as u64)
    };
    let manager = manager_with(resolver, &own);
    let library = module(
        "extern fn host_add(a: i64, b: i64) -> i64\npub fn five() -> i64: 5\n\
         pub fn direct<T>(x: T, n: i64) -> i64: host_add(n, 7)\n",
    );
    manager.compile_file(&scratch("asks_host.smf", &library)).unwrap();
    // It is not asked for functions by name.
    assert_eq!(run(&manager, "absent", &[]), Err("no function `absent`".into()));
    assert!(!asked.lock().unwrap().contains(&b"absent".to_vec()));
    assert_eq!(run(&manager, "direct$i64", &[1, 4]), Ok(11));
}

/// A loader, and the templates of its modules.
fn loader_with_templates()
-> (TryArc<crate::loader::Loader>, TryArc<crate::loader_templates::LoaderTemplates>) {
    use smf_core::loader::LoaderOptions;
    use smf_core::templates::JitConfig;

    use crate::loader::Loader;
    use crate::loader_templates::LoaderTemplates;

    let loader = TryArc::new(Loader::new(LoaderOptions::default()).unwrap()).unwrap();
    let config = JitConfig { update_smf: false, ..JitConfig::default() };
    let templates = LoaderTemplates::attach(&loader, config, Default::default()).unwrap();
    (loader, templates)
}

#[test]
fn instance_states_why_there_is_none() {
    use smf_core::format::write::{Module, NewSection, Payload};
    use smf_core::format::{Header, Layout, SectionKind};
    use smf_core::loader::ModuleBytes;

    let (loader, templates) = loader_with_templates();
    let modules = loader.modules();
    let bytes = |bytes: Vec<u8>| ModuleBytes::new(bytes).unwrap();
    modules.register_provider(b"provider", bytes(importer("ext", "nowhere"))).unwrap();
    let text = "extern fn ext() -> i64\nfn one(): 1\npub fn plus<T>(a: T) -> i64: ext()\n";
    modules.load(b"library", bytes(module(text))).unwrap();
    let error = templates.instance(b"plus$i64").unwrap_err().to_string();
    let expected = "cannot instantiate `plus$i64`: undefined symbol `ext`; provider: ";
    assert!(error.starts_with(expected) && error.contains("nowhere"), "{error}");
    modules.define(b"nowhere", host_functions::address(b"rt_print").unwrap_or(0x1000)).unwrap();
    assert!(templates.instance(b"plus$i64").unwrap().is_some());
    assert!(templates.instance(b"absent").unwrap().is_none());
    // The templates of another module may be those that are wanted.
    let code = NewSection::code(&[0xc3]);
    let garbage = Payload::Bytes(b"garbage");
    let kind = SectionKind::TemplateCode;
    let body = NewSection { kind, name: b".template", payload: garbage, ..code };
    let (layout, header, sections) = (Layout::Packed, Header::default(), [code, body]);
    let broken = Module { layout, header, stub: &[], sections: &sections, symbols: &[] };
    modules.load(b"broken", bytes(broken.to_vec().unwrap())).unwrap();
    for _ in 0..2 {
        let error = templates.instance(b"absent").unwrap_err().to_string();
        let expected = "no template is known for `absent`, and those of broken cannot be read: ";
        assert!(error.starts_with(expected), "{error}");
    }
    templates.detach().unwrap();
}

/// Detaching neither frees code that modules call, nor detaches others that were attached since.
#[test]
fn code_of_instances_stays_until_the_modules_that_were_linked_with_it_are_unloaded() {
    use smf_core::loader::ModuleBytes;
    use smf_core::memory::code_alloc::CodeMemory;
    use smf_core::templates::JitConfig;

    use crate::loader_templates::LoaderTemplates;

    let (loader, replaced) = loader_with_templates();
    let memory = CodeMemory::default();
    let config = JitConfig { update_smf: false, ..JitConfig::default() };
    let templates = LoaderTemplates::attach(&loader, config, memory.clone()).unwrap();
    replaced.detach().unwrap();
    let bytes = |bytes: Vec<u8>| ModuleBytes::new(bytes).unwrap();
    let modules = loader.modules();
    let text = "fn one() -> i64: 1\nfn id<T>(x: T) -> T: x\n";
    let library = modules.load(b"templates", bytes(module(text))).unwrap();
    let user = modules.load(b"user", bytes(importer("f", "id$i64"))).unwrap();
    templates.detach().unwrap();
    assert!(templates.instance(b"id$i64").unwrap().is_none());
    drop(templates);
    assert_eq!(memory.statistics().live_blocks, 1);
    modules.unload_all(&[user, library]).unwrap();
    assert_eq!(memory.statistics().live_blocks, 0);
}

/// The templates of a loader, and the function of their module that has the name of one of another module.
#[test]
fn instances_are_those_of_loaded_modules_and_call_functions_of_these() {
    use smf_core::loader::ModuleBytes;
    use smf_core::trap;

    let (loader, templates) = loader_with_templates();
    let modules = loader.modules();
    let bytes = |text: &str| ModuleBytes::new(module(text)).unwrap();
    modules.load(b"other", bytes("fn helper(a: i64) -> i64: 0 - a\n")).unwrap();
    let text = "fn helper(a: i64) -> i64: a * 7\nfn calls<T>(x: T, a: i64) -> i64: helper(a)\n";
    modules.register_provider(b"own", bytes(text)).unwrap();
    let instance = templates.instance(b"calls$i64").unwrap().unwrap();
    // SAFETY: the function has two parameters of type i64.
    assert_eq!(unsafe { trap::call(instance.address(), &[1, 6]) }, Ok(42));
    assert!(modules.find(b"own").is_some());

    let text =
        "extern fn nowhere() -> i64\nfn calls_it() -> i64: nowhere()\nfn late<T>(x: T) -> T: x\n";
    modules.load(b"failed", bytes(text)).unwrap_err();
    assert!(templates.instance(b"late$i64").unwrap().is_none());
    templates.detach().unwrap();
}

#[test]
fn instances_call_functions_of_the_host() {
    extern "C" fn host_add(a: i64, b: i64) -> i64 {
        a + b
    }
    let resolver = |name: &[u8]| (name == b"host_add").then_some(host_add as *const () as u64);
    let symbols = Box::new(resolver) as Box<dyn Resolve + Send + Sync>;
    let symbols = Some(TryArc::new(symbols).unwrap());
    let manager = ExecManager::new(ExecOptions { symbols, ..ExecOptions::default() }).unwrap();
    // `five` is copied into the code of the instances, because the module does not export it.
    let library = module(
        "extern fn host_add(a: i64, b: i64) -> i64\nfn five(n: i64) -> i64: host_add(n, 5)\n\
         pub fn by_copy<T>(x: T, n: i64) -> i64: five(n)\npub fn direct<T>(x: T, n: i64) -> i64: host_add(n, 7)\n",
    );
    manager.compile_file(&scratch("calls_host.smf", &library)).unwrap();
    manager.compile_file(&scratch("imports.smf", &importer("of_import", "by_copy$i32"))).unwrap();
    for (name, expected) in [("of_import", 9), ("by_copy$i64", 9), ("direct$i64", 11)] {
        assert_eq!(run(&manager, name, &[1, 4]), Ok(expected), "{name}");
    }
}

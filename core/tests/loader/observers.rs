//! The events that an observer receives when modules are loaded, replaced and unloaded.

use std::sync::{Arc, Mutex};

use smf_core::alloc_util::AttachResult;
use smf_core::codegen::registry::{CodeRegistry, Edge, Phase};
use smf_core::link::Module;
use smf_core::loader::{LoadEvent, LoadObserver, LoaderOptions, ModuleBytes, ModuleLoader};

use crate::build::{Does, Spec};
use crate::reloading::{plain, reload, version};

/// The events of a loader and its phases, as text.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<String>>>, Arc<Mutex<Vec<String>>>);

impl CodeRegistry for Events {
    fn on_phase(&self, phase: Phase, edge: Edge, subject: &[u8]) {
        let text = format!("{} {edge:?} {}", phase.name(), subject.escape_ascii());
        self.1.lock().unwrap().push(text);
    }
}

impl LoadObserver for Events {
    fn on_load(&self, _: &[u8], _: &Module<'_>) -> AttachResult {
        Ok(None)
    }

    fn on_event(&self, event: &LoadEvent<'_>) {
        let text = match event {
            LoadEvent::Loaded { module, bytes } => {
                assert!(*bytes > 0);
                format!("load {}", module.escape_ascii())
            }
            LoadEvent::Unloaded { module } => format!("unload {}", module.escape_ascii()),
            LoadEvent::Reloaded { module, bytes, symbols } => {
                assert!(*bytes > 0);
                format!("reload {}, {symbols} symbols", module.escape_ascii())
            }
            LoadEvent::Refused { module, error } => {
                format!("refuse {}: {error}", module.escape_ascii())
            }
            other => panic!("{other:?}"),
        };
        self.0.lock().unwrap().push(text);
    }
}

#[test]
fn observer_is_notified_of_each_event() {
    let events = Events::default();
    let observer = Box::new(events.clone());
    let loader = ModuleLoader::with_observer(LoaderOptions::default(), observer).unwrap();
    let counter = |value| version(value).data("counter", 5);
    loader.register_provider(b"m", counter(1).bytes()).unwrap();
    let user = Spec::new().function("u", Does::Calls("f")).bytes();
    let user = loader.load(b"user", user).unwrap();
    let module = loader.find(b"m").unwrap();
    assert_eq!(reload(&loader, module, &counter(2)), Ok(1));
    let without = Spec::new().reloadable().function("g", Does::Returns(3));
    assert!(reload(&loader, module, &without).is_err());
    assert!(loader.unload(module).is_err());
    // One event for each module.
    loader.unload_all(&[user, module, user]).unwrap();
    assert!(loader.load(b"broken", ModuleBytes::new(b"broken").unwrap()).is_err());
    let events = events.0.lock().unwrap();
    let [load_user, load, reload, refused, needed, rest @ .., broken] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((&**load_user, &**load), ("load user", "load m"));
    assert_eq!(reload, "reload m, 1 symbols");
    assert!(refused.starts_with("refuse m: m: `f` is called from outside"), "{refused}");
    assert_eq!(needed, "refuse m: m is in use: user imports from it");
    assert_eq!(rest, ["unload user", "unload m"]);
    assert!(broken.starts_with("refuse broken: "), "{broken}");
}

#[test]
fn observer_is_notified_of_providers_that_a_new_version_loads() {
    let events = Events::default();
    let observer = Box::new(events.clone());
    let loader = ModuleLoader::with_observer(LoaderOptions::default(), observer).unwrap();
    let module = loader.load(b"m", version(1).bytes()).unwrap();
    loader.register_provider(b"p", plain(2).bytes()).unwrap();
    let new = Spec::new().reloadable().function("g", Does::Calls("f"));
    reload(&loader, module, &new).unwrap();
    let expected = ["load m", "load p", "reload m, 0 symbols"];
    assert_eq!(*events.0.lock().unwrap(), expected);
}

#[test]
fn phases_begin_and_end_in_order_also_when_loading_fails() {
    let events = Events::default();
    let observer = Box::new(events.clone());
    let loader = ModuleLoader::with_observer(LoaderOptions::default(), observer).unwrap();
    loader.register_provider(b"m", version(1).bytes()).unwrap();
    let user = || Spec::new().function("u", Does::Calls("f"));
    loader.load(b"user", user().bytes()).unwrap();
    let both = |phase, module| ["Begin", "End"].map(|edge| format!("{phase} {edge} {module}"));
    let expected = [
        both("parse", "user"),
        both("map", "user"),
        both("map", "m"),
        both("resolve", "user"),
        both("resolve", "m"),
        both("relocate", "user"),
        both("relocate", "m"),
    ];
    assert_eq!(std::mem::take(&mut *events.1.lock().unwrap()), expected.as_flattened());

    assert!(loader.load(b"broken", ModuleBytes::new(b"broken").unwrap()).is_err());
    let missing = Spec::new().function("v", Does::Calls("missing")).bytes();
    assert!(loader.load(b"lacks", missing).is_err());
    let expected = [
        both("parse", "broken"),
        both("parse", "lacks"),
        both("map", "lacks"),
        both("resolve", "lacks"),
    ];
    assert_eq!(*events.1.lock().unwrap(), expected.as_flattened());
}

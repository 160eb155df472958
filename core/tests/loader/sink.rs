//! The sink of modules, which gives an instantiator their templates.

use std::sync::{Arc, Mutex};

use smf_core::loader::{LoaderOptions, ModuleBytes, ModuleLoader, StateMigration};

use crate::build::Spec;
use crate::reloading::{needy, plain, reload, version};

/// What a sink has received.
type Received = Arc<Mutex<Vec<(Vec<u8>, Option<ModuleBytes>)>>>;

/// Sets a new sink.
fn set_sink(loader: &ModuleLoader) -> Received {
    let received = Received::default();
    let sink = received.clone();
    let sink = move |name: &[u8], bytes: Option<&ModuleBytes>| {
        sink.lock().unwrap().push((name.to_vec(), bytes.cloned()));
    };
    loader.set_module_sink(Some(Box::new(sink))).unwrap();
    received
}

/// Takes the names, and the numbers of the files, that a sink has received.
fn take_received(received: &Received, files: &[Vec<u8>]) -> Vec<(String, Option<usize>)> {
    let received = std::mem::take(&mut *received.lock().unwrap());
    let number = |bytes: ModuleBytes| files.iter().position(|file| *file == bytes.as_slice());
    let text = |name| String::from_utf8(name).unwrap();
    received.into_iter().map(|(name, bytes)| (text(name), bytes.and_then(number))).collect()
}

#[test]
fn sink_receives_modules_that_were_loaded_or_registered_before() {
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    let files = [&plain(1), &version(1), &version(2), &version(3)].map(Spec::file);
    let bytes = |number: usize| ModuleBytes::new(files[number].clone()).unwrap();
    let gone = loader.load(b"gone", bytes(0)).unwrap();
    let module = loader.load(b"module", bytes(1)).unwrap();
    loader.reload(module, bytes(2), StateMigration::Copy, &mut |_| {}).unwrap();
    loader.register_provider(b"provider", bytes(3)).unwrap();
    loader.unload(gone).unwrap();
    let expected = [("provider".to_owned(), Some(3)), ("module".to_owned(), Some(2))];
    let first = set_sink(&loader);
    assert_eq!(take_received(&first, &files), expected);
    let second = set_sink(&loader);
    assert_eq!(take_received(&second, &files), expected);
    loader.unload(module).unwrap();
    assert_eq!(take_received(&second, &files), [("module".to_owned(), None)]);
    assert!(first.lock().unwrap().is_empty());
}

/// A sink that is set after a module was passed to the previous one, and before the module is loaded.
#[test]
fn sink_receives_a_module_whose_load_is_in_progress() {
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    let files = [plain(1).file()];
    let mapped = loader.map(b"m", ModuleBytes::new(files[0].clone()).unwrap()).unwrap();
    let received = set_sink(&loader);
    assert!(received.lock().unwrap().is_empty());
    mapped.link(&mut |_| {}).unwrap();
    assert_eq!(take_received(&received, &files), [("m".to_owned(), Some(0))]);
    let mapped = loader.map(b"n", ModuleBytes::new(files[0].clone()).unwrap()).unwrap();
    assert_eq!(take_received(&received, &files), [("n".to_owned(), Some(0))]);
    let other = set_sink(&loader);
    drop(mapped);
    let all = [("m".to_owned(), Some(0)), ("n".to_owned(), None)];
    assert_eq!(take_received(&other, &files), all);
}

/// The templates of a module that is loaded are used, rather than those of a provider of its name.
#[test]
fn sink_receives_the_loaded_module_rather_than_the_provider_of_its_name() {
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    let files = [&plain(1), &plain(2)].map(Spec::file);
    let bytes = |number: usize| ModuleBytes::new(files[number].clone()).unwrap();
    let received = set_sink(&loader);
    loader.load(b"m", bytes(0)).unwrap();
    loader.register_provider(b"m", bytes(1)).unwrap();
    let taken = take_received(&received, &files);
    assert_eq!(taken.last(), Some(&("m".to_owned(), Some(0))));
    assert_eq!(take_received(&set_sink(&loader), &files).last(), taken.last());
}

#[test]
fn sink_receives_the_previous_bytes_after_a_failure() {
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    let received = set_sink(&loader);
    let files = [&plain(1), &version(1), &version(2), &needy("f"), &version(3)].map(Spec::file);
    let take = || {
        let received = take_received(&received, &files).into_iter();
        received.map(|(_, number)| number).collect::<Vec<_>>()
    };
    let load = |number: usize| loader.load(b"m", ModuleBytes::new(files[number].clone()).unwrap());
    load(3).unwrap_err();
    assert_eq!(take(), [Some(3), None]);
    let unmarked = load(0).unwrap();
    assert_eq!(take(), [Some(0)]);
    load(1).unwrap_err();
    reload(&loader, unmarked, &version(1)).unwrap_err();
    assert!(take().is_empty(), "the name is taken, and the module is not reloadable");
    loader.unload(unmarked).unwrap();
    assert_eq!(take(), [None], "it is unloaded");
    loader.register_provider(b"m", ModuleBytes::new(files[4].clone()).unwrap()).unwrap();
    load(3).unwrap_err();
    let module = load(1).unwrap();
    assert_eq!(take(), [Some(4), Some(3), Some(4), Some(1)]);
    reload(&loader, module, &version(2)).unwrap();
    reload(&loader, module, &needy("f")).unwrap_err();
    assert_eq!(take(), [Some(2), Some(3), Some(2)]);
    let hold = loader.get(module).unwrap();
    loader.unload(module).unwrap_err();
    assert!(take().is_empty(), "it is still loaded");
    drop(hold);
    loader.unload_all(&[module, module]).unwrap();
    assert_eq!(take(), [Some(4)], "the provider has the name now");
}

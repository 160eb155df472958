//! Thread-local symbols that modules import from each other.

use smf_core::link::LinkError;
use smf_core::loader::{
    LoadError, LoaderOptions, ModuleBytes, ModuleHandle, ModuleLoader, StateMigration,
};

use super::*;

/// Access models of a module that imports thread-local symbols. Without `-fPIC` that is initial exec.
const IMPORTS: [&[&str]; 4] =
    [&["-fPIC"], &["-fPIC", "-mtls-dialect=gnu2"], &["-fPIC", "-ftls-model=initial-exec"], &[]];

fn object(name: &str, flags: &[&str]) -> Option<Vec<u8>> {
    compiled("gcc", name, &[&["-c", "-Wall", "-Werror", "-O2"], flags].concat())
}

fn try_reloadable(object: &[u8]) -> Vec<u8> {
    let options = Options { reloadable: true, ..Options::default() };
    pack(&[Input { name: "a.o", data: object }], &options).unwrap().bytes
}

/// A module that can be linked again.
fn linkable(object: &[u8]) -> Vec<u8> {
    let options = Options { emit_relocs: true, ..Options::default() };
    pack(&[Input { name: "a.o", data: object }], &options).unwrap().bytes
}

fn loader() -> ModuleLoader {
    let options = LoaderOptions { host_services: PROCESS_SERVICES, ..LoaderOptions::default() };
    let loader = ModuleLoader::new(options).unwrap();
    loader.set_host_resolver(Some(Box::new(process()))).unwrap();
    loader
}

fn load(loader: &ModuleLoader, name: &str, file: &[u8]) -> Result<ModuleHandle, LoadError> {
    loader.load(name.as_bytes(), ModuleBytes::new(file.to_vec()).unwrap())
}

#[test]
fn modules_share_storage_with_every_access_model() {
    let _alone = alone();
    let directory = scratch();
    let [definer, user, merged] =
        ["definer.smf", "user.smf", "merged.smf"].map(|name| directory.path().join(name));
    let [definer, user, merged] = [&definer, &user, &merged].map(|path| path.to_str().unwrap());
    for of_definer in IMPORTS {
        let Some(object_of_definer) = object("definer.c", of_definer) else { return };
        fs::write(definer, linkable(&object_of_definer)).unwrap();
        for of_user in IMPORTS {
            let object_of_user = object("user.c", of_user).unwrap();
            fs::write(user, linkable(&object_of_user)).unwrap();
            let run = |arguments: &[&str]| {
                let output = smf([&["run"], arguments, &["--host-symbols"]].concat());
                String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
            };
            let context = format!("{of_definer:?} {of_user:?}");
            assert_eq!(run(&[user, "check", "--with", definer]), "0\n", "{context}");
            for inputs in [[user, definer], [definer, user]] {
                let output = smf([&["pack"], &inputs[..], &["-o", merged]].concat());
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                assert_eq!(run(&[merged, "check"]), "0\n", "merged {context}");
            }
        }
    }
}

/// A library that the host adds to a loader offers its thread-local symbols too, as those that a module names do.
#[test]
fn thread_local_symbol_of_an_added_library_is_found() {
    let _alone = alone();
    let directory = scratch();
    let names = ["-Dshared_value=added_value", "-Dshared_other=added_other"];
    let with = |flags: &[&'static str]| [&names[..], flags].concat();
    let library = directory.path().join("libadded.so");
    let Some(bytes) = compiled("gcc", "shared.c", &with(&["-shared", "-fPIC"])) else { return };
    fs::write(&library, bytes).unwrap();
    let file = packed(&object("imports.c", &with(&["-fPIC"])).unwrap());
    let loader = loader();
    let error = load(&loader, "early", &file).err().unwrap().to_string();
    assert!(error.contains("unresolved thread-local import `added_"), "{error}");
    // SAFETY: the library has no initialisers.
    unsafe { loader.add_library(library.to_str().unwrap().as_bytes()) }.unwrap();
    for expected in [41, 42] {
        let handle = load(&loader, "imports", &file).unwrap();
        let bump = loader.get(handle).unwrap().function(b"bump_shared").unwrap();
        // The library keeps the value.
        assert_eq!(run(bump, &[]), expected);
        loader.unload(handle).unwrap();
    }
}

/// Found: a load that lacks functions and thread-local symbols listed the functions, and one that lacks several thread-local
/// symbols listed the first.
#[test]
fn all_missing_symbols_are_listed() {
    let _alone = alone();
    let directory = scratch();
    let [source, module] = ["in.c", "in.smf"].map(|name| directory.path().join(name));
    let storage = "extern __thread long beta, alpha; long get(void) { return alpha++ + beta++; }";
    let calls = "long one(void), two(void); long call(void) { return one() + two(); }";
    for (text, expected) in [
        (storage.to_owned(), "unresolved imports `alpha`, `beta` (imported by "),
        (
            format!("{storage} {calls}"),
            "unresolved imports `one`, `two`, `alpha`, `beta` (imported by ",
        ),
    ] {
        fs::write(&source, text).unwrap();
        let Some(object) = object(source.to_str().unwrap(), &["-fPIC"]) else { return };
        fs::write(&module, packed(&object)).unwrap();
        let output = smf(["run", module.to_str().unwrap(), "get", "--host-symbols"]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.starts_with(&format!("error: {expected}")), "{error}");
    }
}

const DEFINER: &str = "__thread long value = 3; long get(void) { return value; }";
const USER: &str = "extern __thread long value; long set(long x) { return value = x; }";

/// The modules of two texts, the second with these options.
fn pair(flags: &[&str]) -> Option<[Vec<u8>; 2]> {
    let directory = scratch();
    let source = directory.path().join("in.c");
    let make = |text: &str, flags: &[&str]| {
        fs::write(&source, text).unwrap();
        object(source.to_str().unwrap(), flags)
    };
    Some([try_reloadable(&make(DEFINER, &["-fPIC"])?), packed(&make(USER, flags)?)])
}

#[test]
fn storage_of_a_loaded_module_is_used_until_the_user_is_unloaded() {
    let _alone = alone();
    let Some([definer, user]) = pair(&["-fPIC"]) else { return };
    let loader = loader();
    let missing = load(&loader, "user", &user).unwrap_err();
    assert!(
        matches!(&missing, LoadError::Link { error: LinkError::MissingTls { symbol }, .. }
        if symbol.as_bytes() == b"value"),
        "{missing}"
    );
    let definer_handle = load(&loader, "definer", &definer).unwrap();
    let user_handle = load(&loader, "user", &user).unwrap();
    let function = |name: &str| loader.resolve(name.as_bytes()).unwrap().unwrap().address;
    assert_eq!((run(function("set"), &[9]), run(function("get"), &[])), (9, 9));
    // A new version has storage of its own.
    let bytes = ModuleBytes::new(definer.clone()).unwrap();
    let reload = |bytes, how| loader.reload(definer_handle, bytes, how, &mut |_| {});
    for how in [StateMigration::Copy, StateMigration::Reset] {
        let error = reload(bytes.clone(), how).unwrap_err();
        assert!(matches!(error, LoadError::DataInUse { .. }), "{error}");
        assert!(error.to_string().contains("value"), "{error}");
    }
    assert!(loader.unload(definer_handle).is_err());
    loader.unload(user_handle).unwrap();
    loader.collect();
    reload(bytes, StateMigration::Copy).unwrap();
    assert_eq!(run(function("get"), &[]), 3);
    loader.unload(definer_handle).unwrap();
}

#[test]
fn initial_exec_import_from_dynamic_storage_is_refused_by_name() {
    let _alone = alone();
    let Some([definer, user]) = pair(&["-fPIC", "-ftls-model=initial-exec"]) else { return };
    let loader = loader();
    load(&loader, "definer", &definer).unwrap();
    let error = load(&loader, "user", &user).unwrap_err().to_string();
    assert!(error.contains("`value`") && error.contains("-fPIC"), "{error}");
    // Loaded together, the storage is static.
    let loader = self::loader();
    loader.register_provider(b"definer", ModuleBytes::new(definer).unwrap()).unwrap();
    load(&loader, "user", &user).unwrap();
    let function = |name: &str| loader.resolve(name.as_bytes()).unwrap().unwrap().address;
    assert_eq!((run(function("set"), &[9]), run(function("get"), &[])), (9, 9));
}

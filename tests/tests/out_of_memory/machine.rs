//! Files, modules of machine code, instances of templates of machine code, and code memory.

use std::cell::Cell;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use smf_core::cache::{Capacity, FileCache, Options};
use smf_core::format::Smf;
use smf_core::link::{Image, NoImports, host_arch};
use smf_core::loader::{LoaderOptions, ModuleBytes, ModuleLoader, StateMigration};
use smf_core::memory::FileBytes;
use smf_core::memory::code_alloc::{CodeMemory, CodeMemoryOptions};
use smf_core::templates::{InstantiateError, JitConfig, JitInstantiator};
use smf_tests::{sample, tiny};

use super::{Scenario, directory, judge};

/// Makes the only possible instance. If its first request had an error, the second succeeds.
fn instantiate(jit: &JitInstantiator) -> Result<(), InstantiateError> {
    jit.try_jit_instantiate(b"same$i64").map(drop)
}

pub(super) const SCENARIOS: &[Scenario] = &[
    ("read a file", |granted| {
        let path = sample("packed.smf").path();
        let path = path.to_str().unwrap().as_bytes();
        judge(granted, || FileBytes::read(path, 1 << 20), drop)
    }),
    ("map and link", |granted| {
        let file = sample("packed.smf").bytes;
        let smf = Smf::parse(&file).unwrap();
        judge(granted, || Image::map(&smf)?.link(&NoImports), drop)
    }),
    ("cache get", |granted| {
        let path = sample("packed.smf").path();
        let path = path.to_str().unwrap().as_bytes();
        let cache = FileCache::new(Capacity { files: 8, bytes: 1 << 20 }, Options::default());
        let cache = cache.unwrap();
        judge(granted, || cache.get(path).map(drop), |()| assert!(cache.evict(path)))
    }),
    ("load two modules", |granted| {
        let [app, lib] = ["app.smf", "lib.smf"].map(|name| sample(name).bytes.leak());
        let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
        loader.register_provider(b"lib", ModuleBytes::new(&*lib).unwrap()).unwrap();
        let load = || loader.load(b"app", ModuleBytes::new(&*app)?);
        judge(granted, load, |app| {
            loader.unload_all(&[app, loader.find(b"lib").unwrap()]).unwrap();
        })
    }),
    ("provide an archive", |granted| {
        let bytes: &'static [u8] = sample("library.lsm").bytes.leak();
        let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
        let provide = || loader.register_provider(b"archive", ModuleBytes::new(bytes)?);
        judge(granted, provide, drop)
    }),
    ("resolve through a stub", |granted| {
        let bytes: &'static [u8] = sample("packed.smf").bytes.leak();
        let options = LoaderOptions { reload_unmarked: true, ..LoaderOptions::default() };
        let loader = ModuleLoader::new(options).unwrap();
        loader.load(b"packed", ModuleBytes::new(bytes).unwrap()).unwrap();
        let resolve = || loader.resolve(b"answer").map(|found| assert!(found.is_some()));
        judge(granted, resolve, drop)
    }),
    ("unload", |granted| {
        let bytes: &'static [u8] = sample("packed.smf").bytes.leak();
        let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
        let load = || loader.load(b"packed", ModuleBytes::new(bytes).unwrap()).unwrap();
        let module = Cell::new(load());
        judge(granted, || loader.unload(module.get()), |()| module.set(load()))
    }),
    ("reload", |granted| {
        let bytes: &'static [u8] = sample("packed.smf").bytes.leak();
        let options = LoaderOptions { reload_unmarked: true, ..LoaderOptions::default() };
        let loader = ModuleLoader::new(options).unwrap();
        let module = loader.load(b"packed", ModuleBytes::new(bytes).unwrap()).unwrap();
        let reload =
            || loader.reload(module, ModuleBytes::new(bytes)?, StateMigration::Copy, &mut |_| {});
        judge(granted, reload, drop)
    }),
    ("read what templates may become", |granted| {
        let module = tiny::module(host_arch(), 0).unwrap();
        let jit = JitInstantiator::new(JitConfig::default(), CodeMemory::default()).unwrap();
        judge(granted, || jit.load_smf_bytes(b"tiny", &module), drop)
    }),
    ("instantiate", |granted| {
        let jit = JitInstantiator::new(JitConfig::default(), CodeMemory::default()).unwrap();
        jit.load_smf_bytes(b"tiny", &tiny::module(host_arch(), 0).unwrap()).unwrap();
        judge(granted, || instantiate(&jit), drop)
    }),
    ("instantiate and tell the file", |granted| {
        let directory = directory();
        let path = directory.path().join("tiny.smf");
        fs::write(&path, tiny::module(host_arch(), 0).unwrap()).unwrap();
        let jit = JitInstantiator::new(JitConfig::default(), CodeMemory::default()).unwrap();
        jit.load_smf_metadata(path.as_os_str().as_bytes()).unwrap();
        let made = judge(granted, || instantiate(&jit), drop);
        // Required if the instance was made but the update of the file failed.
        jit.update().unwrap();
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        let file = fs::read(&path).unwrap();
        Smf::parse(&file).unwrap().verify().unwrap();
        made
    }),
    ("allocate and publish code", |granted| {
        judge(
            granted,
            || CodeMemory::new(CodeMemoryOptions::default())?.allocate(100)?.publish(),
            drop,
        )
    }),
];

//! Loaders and instantiators made, and told whom they may ask.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_void};
use std::ptr;

use smf_core::instantiate::{JitConfig, JitInstantiator, JitSymbolResolver, ReadyMade};
use smf_core::link::host_arch;
use smf_core::loader::{LoaderOptions, ModuleLoader};
use smf_core::memory::exec::{CodeMemory, CodeMemoryOptions};
use smf_core::owned::{Counted, boxed};
use smf_loader::ffi::{
    SmfJitOptions, SmfLoaderOptions, smf_jit_close, smf_jit_open, smf_loader_close,
    smf_loader_open, smf_loader_resolve, smf_loader_set_jit, smf_loader_set_resolver,
};
use smf_loader::loader::Loader;
use smf_tests::tiny;

use super::c::{load_jit, open_jit, open_loader, unless};
use super::{Scenario, judge};

fn options() -> Result<LoaderOptions, String> {
    let memory = CodeMemory::try_new(CodeMemoryOptions::default());
    Ok(LoaderOptions::new(memory.map_err(|error| error.to_string())?))
}

extern "C" fn knows(_: *const c_char, _: i64, _: *mut c_void) -> i64 {
    4096
}

fn find(loader: u64, name: &CStr) -> i64 {
    // SAFETY: a name; nobody wants to be told more.
    unsafe { smf_loader_resolve(loader, name.as_ptr(), ptr::null_mut()) }
}

pub(super) const SCENARIOS: &[Scenario] = &[
    ("make a loader", |granted| {
        let make = || ModuleLoader::try_new(options()?).map_err(|error| error.to_string());
        judge(granted, make, drop)
    }),
    ("make a loader of files", |granted| {
        let make = || Loader::try_new(options()?).map_err(|error| error.to_string());
        judge(granted, make, drop)
    }),
    ("tell a loader whom to ask", |granted| {
        let loader = ModuleLoader::default();
        let tell = || {
            let process = |name: &[u8]| (name == b"process").then_some(1);
            loader.try_set_process(Some(boxed(process)?))?;
            let fallback = |_: &[u8]| Some(2);
            loader.try_set_fallback(Some(boxed(fallback)?))
        };
        judge(granted, tell, |()| {
            for (name, address) in [(&b"process"[..], 1), (b"other", 2)] {
                assert_eq!(loader.resolve(name).unwrap().unwrap().address, address);
            }
        })
    }),
    ("make an instantiator", |granted| {
        let make = || {
            let memory = CodeMemory::try_new(CodeMemoryOptions::default());
            let memory = memory.map_err(|error| error.to_string())?;
            let made = JitInstantiator::try_new(JitConfig::default(), memory)
                .and_then(|jit| jit.try_with_compiler(boxed(ReadyMade)?))
                .and_then(|jit| Counted::new(JitSymbolResolver::try_of(jit)?));
            made.map_err(|error| error.to_string())
        };
        judge(granted, make, drop)
    }),
    ("C: open a loader", |granted| {
        let options = SmfLoaderOptions {
            size: size_of::<SmfLoaderOptions>() as i64,
            kept_bytes: 1 << 20,
            clash: 0,
            flags: 3,
        };
        // SAFETY: options with their size.
        let open = || unless(0, unsafe { smf_loader_open(&raw const options) });
        judge(granted, open, |loader| assert!(smf_loader_close(loader)))
    }),
    ("C: look for a name in the process", |granted| {
        let options = SmfLoaderOptions {
            size: size_of::<SmfLoaderOptions>() as i64,
            kept_bytes: 0,
            clash: 0,
            flags: 2,
        };
        // SAFETY: options with their size.
        let loader = unsafe { smf_loader_open(&raw const options) };
        let end = judge(granted, || unless(0, find(loader, c"malloc")), |_| ());
        assert_eq!(find(loader, c"nobody has this name"), 0);
        assert!(smf_loader_close(loader));
        end
    }),
    ("C: set a resolver", |granted| {
        let loader = open_loader();
        let set = || {
            // SAFETY: a function that uses nothing.
            unless(false, unsafe {
                smf_loader_set_resolver(loader, Some(knows), ptr::null_mut())
            })?;
            unless(0, find(loader, c"anything"))
        };
        let end = judge(granted, set, |address| assert_eq!(address, 4096));
        // SAFETY: nobody.
        assert!(unsafe { smf_loader_set_resolver(loader, None, ptr::null_mut()) });
        assert!(smf_loader_close(loader));
        end
    }),
    ("C: open an instantiator", |granted| {
        let size = size_of::<SmfJitOptions>() as i64;
        let options = SmfJitOptions { size, max_depth: 9, flags: 0 };
        // SAFETY: options with their size.
        let open = || unless(0, unsafe { smf_jit_open(&raw const options) });
        judge(granted, open, |jit| assert!(smf_jit_close(jit)))
    }),
    ("C: give a loader an instantiator", |granted| {
        let (loader, jit) = (open_loader(), open_jit());
        assert!(load_jit(jit, &tiny::module(host_arch(), 0).unwrap()));
        let set = || unless(false, smf_loader_set_jit(loader, jit));
        let end = judge(granted, set, |_| assert_ne!(find(loader, c"same$i64"), 0));
        assert!(smf_loader_set_jit(loader, 0));
        assert!(smf_jit_close(jit) && smf_loader_close(loader));
        end
    }),
];

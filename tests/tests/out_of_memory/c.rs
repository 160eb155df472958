//! The C API: results without memory, and their error codes.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_void};
use std::fmt;
use std::ptr;

use smf_core::link::host_arch;
use smf_loader::ffi::{
    RuntimeValue, SmfCacheOptions, SmfLoaderOptions, SmfSymbol, rt_alloc_exec_memory,
    rt_free_exec_memory, rt_mmap_file, rt_mmap_read_bytes, rt_mmap_read_string, smf_cache_close,
    smf_cache_evict, smf_cache_get, smf_cache_open, smf_cache_release, smf_clear_error,
    smf_jit_close, smf_jit_instantiate, smf_jit_load_bytes, smf_jit_open, smf_jit_register,
    smf_jit_resolve, smf_last_error, smf_loader_close, smf_loader_define, smf_loader_find,
    smf_loader_hold, smf_loader_load, smf_loader_load_archived, smf_loader_load_bytes,
    smf_loader_modules, smf_loader_open, smf_loader_provide_bytes, smf_loader_release,
    smf_loader_reload_bytes, smf_loader_resolve, smf_loader_symbols, smf_loader_unload,
    smf_loader_unload_all, smf_mmap_unmap, smf_pair_new, smf_text_new, smf_value_free,
};
use smf_tests::{sample, tiny};

use super::{Scenario, judge};

/// The failure of a function. Its text is read on demand: a copy would need memory, which
/// may be refused.
#[derive(Debug)]
pub(super) struct Failed;

impl Failed {
    /// The text of the error, which is cleared.
    fn take(&self) -> String {
        let error = smf_last_error();
        assert_ne!(error.code, 0, "a failure without a reason");
        // SAFETY: a text of the library, valid until the next call.
        let text = unsafe { CStr::from_ptr(error.text) }.to_str().unwrap().to_owned();
        smf_clear_error();
        text
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.take())
    }
}

/// The returned value, or an error if it is the value for failure.
pub(super) fn unless<T: PartialEq>(failed: T, returned: T) -> Result<T, Failed> {
    if returned == failed { Err(Failed) } else { Ok(returned) }
}

/// `SMF_ERROR_NO_MEMORY`.
const NO_MEMORY: i32 = 8;

/// Frees a value.
fn free(value: *mut RuntimeValue) {
    // SAFETY: created by the library, and freed once.
    assert!(unsafe { smf_value_free(value) });
}

pub(super) fn path(name: &str) -> CString {
    CString::new(sample(name).path().into_os_string().into_encoded_bytes()).unwrap()
}

pub(super) fn open_loader() -> u64 {
    // SAFETY: null selects the default options.
    unsafe { smf_loader_open(ptr::null()) }
}

pub(super) fn load(loader: u64, name: &CStr, bytes: &[u8]) -> u64 {
    // SAFETY: a name, and bytes with their number.
    unsafe { smf_loader_load_bytes(loader, name.as_ptr(), bytes.as_ptr(), bytes.len() as i64) }
}

pub(super) fn open_cache() -> u64 {
    let size = size_of::<SmfCacheOptions>() as i64;
    let options = SmfCacheOptions { size, files: 8, bytes: 1 << 20, policy: 0, freshness: 0 };
    // SAFETY: options with their size.
    unsafe { smf_cache_open(&raw const options) }
}

pub(super) fn open_jit() -> u64 {
    // SAFETY: null selects the default options.
    unsafe { smf_jit_open(ptr::null()) }
}

pub(super) fn load_jit(jit: u64, bytes: &[u8]) -> bool {
    // SAFETY: a name, and bytes with their number.
    unsafe { smf_jit_load_bytes(jit, c"tiny".as_ptr(), bytes.as_ptr(), bytes.len() as i64) }
}

extern "C" fn see_module(_: u64, _: *const c_char, _: i64, _: *mut c_void) -> bool {
    true
}

extern "C" fn see_symbol(_: *const SmfSymbol, _: *const c_char, _: i64, _: *mut c_void) -> bool {
    true
}

pub(super) const SCENARIOS: &[Scenario] = &[
    ("C: executable memory", |granted| {
        let alloc = || unless(0, rt_alloc_exec_memory(100));
        judge(granted, alloc, |block| assert!(rt_free_exec_memory(block, 100)))
    }),
    ("C: map a file", |granted| {
        let path = path("packed.smf");
        let map = || {
            // SAFETY: a path.
            let mapping = unsafe { rt_mmap_file(path.as_ptr(), 1, 2, 0, 0) };
            unless(0, mapping.address).map(|_| mapping)
        };
        judge(granted, map, |mapping| assert!(smf_mmap_unmap(mapping.address, mapping.size)))
    }),
    ("C: read a mapping", |granted| {
        let path = path("packed.smf");
        // SAFETY: a path.
        let mapping = unsafe { rt_mmap_file(path.as_ptr(), 1, 2, 0, 0) };
        let read = || {
            let bytes = unless(ptr::null_mut(), rt_mmap_read_bytes(mapping.address, 0, 100))?;
            let text = unless(ptr::null_mut(), rt_mmap_read_string(mapping.address, 1, 100));
            free(bytes);
            text
        };
        let end = judge(granted, read, free);
        assert!(smf_mmap_unmap(mapping.address, mapping.size));
        end
    }),
    ("C: values", |granted| {
        let make = || {
            // SAFETY: the length is that of the bytes.
            let text = unless(ptr::null_mut(), unsafe { smf_text_new(b"text".as_ptr(), 4) })?;
            let pair = unless(ptr::null_mut(), smf_pair_new(1, 2));
            free(text);
            pair
        };
        judge(granted, make, free)
    }),
    ("C: open a cache", |granted| {
        judge(granted, || unless(0, open_cache()), |cache| assert!(smf_cache_close(cache)))
    }),
    ("C: get of a cache", |granted| {
        let (cache, path) = (open_cache(), path("packed.smf"));
        // SAFETY: a path.
        let get = || unless(0, unsafe { smf_cache_get(cache, path.as_ptr()) }.file);
        let end = judge(granted, get, |file| {
            assert!(smf_cache_release(cache, file));
            // SAFETY: a path.
            assert_eq!(unsafe { smf_cache_evict(cache, path.as_ptr()) }, 1);
        });
        assert!(smf_cache_close(cache));
        end
    }),
    ("C: load bytes", |granted| {
        let (loader, bytes) = (open_loader(), sample("packed.smf").bytes);
        let loading = || unless(0, load(loader, c"packed", &bytes));
        let end = judge(granted, loading, |module| assert!(smf_loader_unload(loader, module)));
        assert!(smf_loader_close(loader));
        end
    }),
    ("C: load a file", |granted| {
        let (loader, path) = (open_loader(), path("packed.smf"));
        // SAFETY: a path.
        let loading = || unless(0, unsafe { smf_loader_load(loader, path.as_ptr()) });
        let end = judge(granted, loading, |module| {
            // SAFETY: one number.
            assert!(unsafe { smf_loader_unload_all(loader, &raw const module, 1) });
        });
        assert!(smf_loader_close(loader));
        end
    }),
    ("C: load what lacks something", |granted| {
        let (loader, bytes) = (open_loader(), sample("app.smf").bytes);
        let lacking = || {
            let failed = unless(0, load(loader, c"app", &bytes)).unwrap_err();
            // The missing import is reported as long as there is memory for it.
            if smf_last_error().code == NO_MEMORY { Err(failed) } else { Ok(()) }
        };
        let end = judge(granted, lacking, drop);
        assert!(smf_loader_close(loader));
        end
    }),
    ("C: provide bytes", |granted| {
        let (loader, bytes) = (open_loader(), sample("library.lsm").bytes);
        let provide = || {
            let (start, len) = (bytes.as_ptr(), bytes.len() as i64);
            // SAFETY: a name, and bytes with their number.
            unless(false, unsafe {
                smf_loader_provide_bytes(loader, c"archive".as_ptr(), start, len)
            })
        };
        let end = judge(granted, provide, |_| ());
        assert!(smf_loader_close(loader));
        end
    }),
    ("C: reload bytes", |granted| {
        let loader = open_loader();
        let bytes = tiny::module(host_arch(), 0).unwrap();
        let options = SmfLoaderOptions {
            size: size_of::<SmfLoaderOptions>() as i64,
            kept_bytes: 1 << 20,
            clash: 0,
            flags: 1,
            max_replaced_bytes: 0,
            host_functions: std::ptr::null(),
            host_function_count: 0,
            compile_threshold: 0,
        };
        assert!(smf_loader_close(loader));
        // SAFETY: options with their size.
        let loader = unsafe { smf_loader_open(&raw const options) };
        let module = load(loader, c"tiny", &bytes);
        let reload = || {
            let (start, len) = (bytes.as_ptr(), bytes.len() as i64);
            // SAFETY: bytes with their number; the second result is not requested.
            unless(false, unsafe {
                smf_loader_reload_bytes(loader, module, start, len, 1, ptr::null_mut())
            })
        };
        let end = judge(granted, reload, |_| ());
        assert!(smf_loader_close(loader));
        end
    }),
    ("C: find, resolve and define", |granted| {
        let (loader, bytes) = (open_loader(), sample("packed.smf").bytes);
        let _module = load(loader, c"packed", &bytes);
        let find = || {
            // SAFETY: names.
            unless(0, unsafe { smf_loader_find(loader, c"packed".as_ptr()) })?;
            // SAFETY: as above.
            unless(false, unsafe { smf_loader_define(loader, c"mine".as_ptr(), 4096) })?;
            // SAFETY: as above; the second result is not requested.
            unless(0, unsafe { smf_loader_resolve(loader, c"answer".as_ptr(), ptr::null_mut()) })
        };
        let end = judge(granted, find, |_| ());
        assert!(smf_loader_close(loader));
        end
    }),
    ("C: load out of an archive", |granted| {
        let (loader, path) = (open_loader(), path("library.lsm"));
        let loading = || {
            // SAFETY: a path and a name.
            unless(0, unsafe {
                smf_loader_load_archived(loader, path.as_ptr(), c"std/math/scale".as_ptr())
            })
        };
        let end = judge(granted, loading, |module| assert!(smf_loader_unload(loader, module)));
        assert!(smf_loader_close(loader));
        end
    }),
    ("C: look at modules and symbols", |granted| {
        let (loader, bytes) = (open_loader(), sample("packed.smf").bytes);
        let module = load(loader, c"packed", &bytes);
        let look = || {
            // SAFETY: visitors that use nothing.
            unless(-1, unsafe { smf_loader_modules(loader, Some(see_module), ptr::null_mut()) })?;
            // SAFETY: as above.
            unless(-1, unsafe {
                smf_loader_symbols(loader, module, Some(see_symbol), ptr::null_mut())
            })
        };
        let end = judge(granted, look, |count| assert!(count > 0));
        assert!(smf_loader_close(loader));
        end
    }),
    ("C: hold a module", |granted| {
        let (loader, bytes) = (open_loader(), sample("packed.smf").bytes);
        let module = load(loader, c"packed", &bytes);
        let hold = || unless(0, smf_loader_hold(loader, module));
        let end = judge(granted, hold, |held| assert!(smf_loader_release(loader, held)));
        assert!(smf_loader_close(loader));
        end
    }),
    ("C: read what templates may become", |granted| {
        let (jit, bytes) = (open_jit(), tiny::module(host_arch(), 0).unwrap());
        let end = judge(granted, || unless(false, load_jit(jit, &bytes)), |_| ());
        assert!(smf_jit_close(jit));
        end
    }),
    ("C: make an instance", |granted| {
        let jit = open_jit();
        assert!(load_jit(jit, &tiny::module(host_arch(), 0).unwrap()));
        let make = || {
            // SAFETY: a symbol; the second result is not requested.
            let outcome =
                unsafe { smf_jit_instantiate(jit, c"same$i64".as_ptr(), ptr::null_mut()) };
            unless(false, outcome == 0)
        };
        let end = judge(granted, make, |_| ());
        assert!(smf_jit_close(jit));
        end
    }),
    ("C: resolve an instance", |granted| {
        let jit = open_jit();
        assert!(load_jit(jit, &tiny::module(host_arch(), 0).unwrap()));
        let make = || {
            // SAFETY: a symbol.
            unless(false, unsafe { smf_jit_register(jit, c"mine".as_ptr(), 4096) })?;
            // SAFETY: as above.
            unless(0, unsafe { smf_jit_resolve(jit, c"same$i64".as_ptr()) })
        };
        let end = judge(granted, make, |_| ());
        assert!(smf_jit_close(jit));
        end
    }),
];

//! Creation and configuration of loaders and instantiators: resolvers and compilers.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_void};
use std::ptr;

use smf_core::alloc_util::{TryArc, try_box};
#[cfg(target_arch = "x86_64")]
use smf_core::format::template::{Container, Template};
#[cfg(target_arch = "x86_64")]
use smf_core::format::write::note::NewPossible;
#[cfg(target_arch = "x86_64")]
use smf_core::format::write::{NewTemplates, write_templates};
use smf_core::link::host_arch;
use smf_core::loader::{LoaderOptions, ModuleLoader};
use smf_core::memory::code_alloc::{CodeMemory, CodeMemoryOptions};
use smf_core::templates::{JitConfig, JitInstantiator, JitSymbolResolver, PrecompiledBodies};
use smf_loader::ffi::{
    SmfJitOptions, SmfLoaderOptions, smf_jit_close, smf_jit_open, smf_loader_close,
    smf_loader_open, smf_loader_resolve, smf_loader_set_jit, smf_loader_set_resolver,
};
#[cfg(target_arch = "x86_64")]
use smf_loader::ffi::{
    SmfTemplate, smf_jit_emit, smf_jit_instantiate, smf_jit_relocate, smf_jit_set_compiler,
};
use smf_loader::loader::Loader;
use smf_tests::tiny;

use super::c::{load_jit, open_jit, open_loader, unless};
use super::{Scenario, judge};

fn options() -> Result<LoaderOptions, String> {
    let memory = CodeMemory::new(CodeMemoryOptions::default());
    Ok(LoaderOptions::new(memory.map_err(|error| error.to_string())?))
}

extern "C" fn knows(_: *const c_char, _: i64, _: *mut c_void) -> i64 {
    4096
}

/// A module with a template that no compiler here accepts.
#[cfg(target_arch = "x86_64")]
fn foreign() -> Vec<u8> {
    let (kind, params, constraints) = (None, 0, Default::default());
    let template = Template { name: b"of", kind, params, constraints, body: b"foreign" };
    let templates = &[template];
    let row = NewPossible { template: "of", type_args: "(Vec<i64>, T)", mangled_name: "of$it" };
    write_templates(&NewTemplates { container: Container::Counted, templates }, &[row]).unwrap()
}

/// Compiles every template to a call of itself, after checking its type arguments.
#[cfg(target_arch = "x86_64")]
extern "C" fn compile(unit: u64, template: *const SmfTemplate, _: *mut c_void) -> bool {
    // SAFETY: valid until this function returns.
    let types = unsafe { (*template).types };
    // SAFETY: as above; the text ends with a NUL.
    let types = unsafe { CStr::from_ptr(types) };
    let expected =
        br#"[{"kind":"tuple","name":"tuple","args":[{"kind":"named","name":"Vec","args":[{"#;
    assert!(types.to_bytes().starts_with(expected));
    let code = [0xe8, 0, 0, 0, 0, 0xc3];
    // SAFETY: bytes with their number.
    let emitted = unsafe { smf_jit_emit(unit, code.as_ptr(), code.len() as i64) };
    let call = RELOC_PLT32;
    // SAFETY: a null symbol refers to the code itself.
    emitted && unsafe { smf_jit_relocate(unit, 1, call, ptr::null(), -4) }
}

/// `SMF_RELOC_PLT32`.
#[cfg(target_arch = "x86_64")]
const RELOC_PLT32: i32 = 3;

fn find(loader: u64, name: &CStr) -> i64 {
    // SAFETY: a name; the second result is not requested.
    unsafe { smf_loader_resolve(loader, name.as_ptr(), ptr::null_mut()) }
}

pub(super) const SCENARIOS: &[Scenario] = &[
    ("make a loader", |granted| {
        let make = || ModuleLoader::new(options()?).map_err(|error| error.to_string());
        judge(granted, make, drop)
    }),
    ("make a loader of files", |granted| {
        let make = || Loader::new(options()?).map_err(|error| error.to_string());
        judge(granted, make, drop)
    }),
    ("tell a loader whom to ask", |granted| {
        let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
        let tell = || {
            let process = |name: &[u8]| (name == b"process").then_some(1);
            loader.set_host_resolver(Some(try_box(process)?))?;
            let fallback = |_: &[u8]| Some(2);
            loader.set_fallback_resolver(Some(try_box(fallback)?))
        };
        judge(granted, tell, |()| {
            for (name, address) in [(&b"process"[..], 1), (b"other", 2)] {
                assert_eq!(loader.resolve(name).unwrap().unwrap().address, address);
            }
        })
    }),
    ("make an instantiator", |granted| {
        let make = || {
            let memory = CodeMemory::new(CodeMemoryOptions::default());
            let memory = memory.map_err(|error| error.to_string())?;
            let made = JitInstantiator::new(JitConfig::default(), memory)
                .and_then(|jit| jit.with_compiler(PrecompiledBodies))
                .and_then(|jit| TryArc::new(JitSymbolResolver::new(jit)));
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
            max_replaced_bytes: 0,
            host_functions: std::ptr::null(),
            host_function_count: 0,
            compile_threshold: 0,
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
            max_replaced_bytes: 0,
            host_functions: std::ptr::null(),
            host_function_count: 0,
            compile_threshold: 0,
        };
        // SAFETY: options with their size.
        let loader = unsafe { smf_loader_open(&raw const options) };
        let end = judge(granted, || unless(0, find(loader, c"malloc")), |_| ());
        assert_eq!(find(loader, c"no such name"), 0);
        assert!(smf_loader_close(loader));
        end
    }),
    ("C: set a resolver", |granted| {
        let loader = open_loader();
        let set = || {
            // SAFETY: the function uses no state.
            unless(false, unsafe {
                smf_loader_set_resolver(loader, Some(knows), ptr::null_mut())
            })?;
            unless(0, find(loader, c"anything"))
        };
        let end = judge(granted, set, |address| assert_eq!(address, 4096));
        // SAFETY: null is permitted.
        assert!(unsafe { smf_loader_set_resolver(loader, None, ptr::null_mut()) });
        assert!(smf_loader_close(loader));
        end
    }),
    ("C: open an instantiator", |granted| {
        let size = size_of::<SmfJitOptions>() as i64;
        let options = SmfJitOptions { size, max_depth: 9, flags: 0, max_instances: 0 };
        // SAFETY: options with their size.
        let open = || unless(0, unsafe { smf_jit_open(&raw const options) });
        judge(granted, open, |jit| assert!(smf_jit_close(jit)))
    }),
    #[cfg(target_arch = "x86_64")]
    ("C: make an instance by a compiler of the caller", |granted| {
        let jit = open_jit();
        assert!(load_jit(jit, &foreign()));
        let make = || {
            // SAFETY: the compiler uses only its arguments; the text is a symbol.
            unless(false, unsafe { smf_jit_set_compiler(jit, Some(compile), ptr::null_mut()) })?;
            // SAFETY: a symbol; the second result is not requested.
            let made = unsafe { smf_jit_instantiate(jit, c"of$it".as_ptr(), ptr::null_mut()) };
            unless(false, made == 0)
        };
        let end = judge(granted, make, |_| ());
        assert!(smf_jit_close(jit));
        end
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

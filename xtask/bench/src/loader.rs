//! Calls of a function in a loaded module, compared with a call of the same code in this program.
//!
//! Each way is measured for a module that cannot be replaced, and for a reloadable one, which is
//! called through a stub: through the address from Rust, through `rt_call_function_1` as in C, and by name
//! through `smf_loader_call`.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;

use smf_loader::ffi;
use smf_loader::pack::{Input, Options, pack};

use crate::measure::{Bench, Measure, repeat};

const FROM_RUST: &str = "call a module's function from Rust";
const FROM_C: &str = "call a module's function from C";
const FROM_RUST_STUB: &str = "call a module's function from Rust, may be replaced";
const FROM_C_STUB: &str = "call a module's function from C, may be replaced";
const BY_NAME: &str = "call a module's function by its name";

/// The maximum cost of a call in addition to that of a direct one, in nanoseconds.
const OVER: f64 = 2.0;

/// The code of the module.
const SOURCE: &str = "long work(long x) { return 3 * x + 1; }";
const NAME: &CStr = c"work";

/// The same code in this program.
#[inline(never)]
extern "C" fn work(x: i64) -> i64 {
    x.wrapping_mul(3).wrapping_add(1)
}

pub(crate) fn measure(bench: &mut Bench) {
    if !bench.wants(&[FROM_RUST, FROM_C, FROM_RUST_STUB, FROM_C_STUB, BY_NAME]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    for (reloadable, from_rust, from_c) in
        [(false, FROM_RUST, FROM_C), (true, FROM_RUST_STUB, FROM_C_STUB)]
    {
        let open = Open::load(directory.path(), reloadable);
        let function = open.function();
        let take = |bench: &mut Bench, name, ours| {
            let (peer, over) = ("a direct call", Some(OVER));
            let measure = Measure { name, peer, over, ..Measure::default() };
            bench.take(&measure, ours, Some(repeat(|| work(black_box(14)))));
        };
        take(bench, from_rust, repeat(|| function(black_box(14))));
        let address = open.address;
        // C calls the exported function; here it would otherwise be inlined into the loop.
        let call: extern "C" fn(i64, i64) -> i64 = black_box(ffi::rt_call_function_1);
        take(bench, from_c, repeat(|| call(address, black_box(14))));
        if !reloadable {
            let by_name = Measure { name: BY_NAME, ..Measure::default() };
            bench.take(&by_name, repeat(|| open.call_by_name(black_box(14))), None);
        }
        assert!(ffi::smf_loader_close(open.loader));
    }
}

/// A loader with the module, opened through the C API.
struct Open {
    loader: u64,
    module: u64,
    /// The stable address of the function.
    address: i64,
}

impl Open {
    fn load(directory: &Path, reloadable: bool) -> Self {
        let (source, object) = (directory.join("work.c"), directory.join("work.o"));
        fs::write(&source, SOURCE).unwrap();
        let mut gcc = Command::new("gcc");
        gcc.args(["-O2", "-fPIC", "-c", "-o"]).arg(&object).arg(&source);
        assert!(gcc.status().unwrap().success());
        let data = fs::read(&object).unwrap();
        let input = Input { name: "work.o", data: &data };
        let file = pack(&[input], &Options { reloadable, ..Options::default() }).unwrap().bytes;
        // SAFETY: null is allowed.
        let loader = unsafe { ffi::smf_loader_open(std::ptr::null()) };
        let (bytes, length) = (file.as_ptr(), i64::try_from(file.len()).unwrap());
        // SAFETY: the length is that of the slice, and the name ends with a NUL.
        let module = unsafe { ffi::smf_loader_load_bytes(loader, NAME.as_ptr(), bytes, length) };
        // SAFETY: the name ends with a NUL, and null is allowed.
        let address =
            unsafe { ffi::smf_loader_resolve(loader, NAME.as_ptr(), std::ptr::null_mut()) };
        assert!(loader != 0 && module != 0 && address != 0);
        let open = Self { loader, module, address };
        assert_eq!((open.function()(14), ffi::rt_call_function_1(address, 14)), (43, 43));
        assert_eq!((open.call_by_name(14), work(14)), (43, 43));
        open
    }

    fn function(&self) -> extern "C" fn(i64) -> i64 {
        let address = usize::try_from(self.address).unwrap();
        // SAFETY: the function is declared so in the source, and is not unloaded.
        unsafe { std::mem::transmute::<usize, extern "C" fn(i64) -> i64>(address) }
    }

    fn call_by_name(&self, argument: i64) -> i64 {
        let mut result = 0;
        let Self { loader, module, .. } = *self;
        // SAFETY: the name ends with a NUL; there is one argument, and a place for the result.
        let called = unsafe {
            ffi::smf_loader_call(loader, module, NAME.as_ptr(), &argument, 1, &mut result)
        };
        assert!(called);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_calling_gives_the_same_result() {
        let directory = tempfile::tempdir().unwrap();
        for reloadable in [false, true] {
            let open = Open::load(directory.path(), reloadable);
            assert!(ffi::smf_loader_close(open.loader));
        }
    }
}

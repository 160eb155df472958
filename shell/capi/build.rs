//! Passes the shared library's linker script for release builds, which discards unwinding tables.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=unwind.ld");
    let is = |variable: &str, value: &str| env::var(variable).is_ok_and(|found| found == value);
    // Release builds abort on panic. Build scripts do not see that setting, only the profile.
    if is("CARGO_CFG_TARGET_OS", "linux") && is("PROFILE", "release") {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/unwind.ld");
        println!("cargo::rustc-cdylib-link-arg=-Wl,-T,{script}");
    }
}

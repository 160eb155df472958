//! Tells the linker of the shared library what to put side by side, and what to leave out.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=order.ld");
    println!("cargo::rerun-if-changed=load.ld");
    println!("cargo::rerun-if-changed=unwind.ld");
    let is = |variable: &str, value: &str| env::var(variable).is_ok_and(|found| found == value);
    if is("CARGO_CFG_TARGET_OS", "linux") {
        let directory = env!("CARGO_MANIFEST_DIR");
        println!("cargo::rustc-cdylib-link-arg=-Wl,-T,{directory}/order.ld");
        println!("cargo::rustc-cdylib-link-arg=-Wl,-T,{directory}/load.ld");
        // What is built for release aborts where it would unwind; a script for building is not told so.
        if is("PROFILE", "release") {
            println!("cargo::rustc-cdylib-link-arg=-Wl,-T,{directory}/unwind.ld");
        }
    }
}

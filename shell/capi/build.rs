//! Tells the linker of the shared library what to put side by side, and what to leave out.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=order.ld");
    println!("cargo::rerun-if-changed=unwind.ld");
    if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux") {
        let directory = env!("CARGO_MANIFEST_DIR");
        println!("cargo::rustc-cdylib-link-arg=-Wl,-T,{directory}/order.ld");
        // What is built for release aborts where it would unwind.
        if env::var("PROFILE").is_ok_and(|profile| profile == "release") {
            println!("cargo::rustc-cdylib-link-arg=-Wl,-T,{directory}/unwind.ld");
        }
    }
}

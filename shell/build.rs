//! Tells the linker of the shared library what to put side by side.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=order.ld");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux") {
        let directory = env!("CARGO_MANIFEST_DIR");
        println!("cargo::rustc-cdylib-link-arg=-Wl,-T,{directory}/order.ld");
    }
}

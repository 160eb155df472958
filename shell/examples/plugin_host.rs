//! A host that offers a function to its plugins: `cargo run -p smf-loader --example plugin_host`.
//!
//! The plugin `app.smf` imports `scale`, which the host defines.
#![allow(unsafe_code)]

use std::error::Error;
use std::path::Path;

use smf_loader::loader::Loader;

const PLUGIN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/samples/app.smf");

/// The function that plugins import.
extern "C" fn scale(x: i64) -> i64 {
    10 * x
}

fn call_plugin(x: i64) -> Result<i64, Box<dyn Error>> {
    let loader = Loader::builder().define("scale", scale as *const () as u64).build()?;
    // A plugin in a dynlib file would be refused here; `load_file` is the unsafe way to load it.
    let plugin = loader.load_module(Path::new(PLUGIN), None)?;
    let held = loader.modules().get(plugin)?;
    // SAFETY: `direct` takes an integer and returns one.
    let direct = unsafe { held.get::<extern "C" fn(i64) -> i64>("direct") }?;
    Ok(direct(x))
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("{}", call_plugin(14)?);
    Ok(())
}

#[cfg(all(test, target_arch = "x86_64"))]
#[test]
fn plugin_calls_the_function_of_the_host() -> Result<(), Box<dyn Error>> {
    assert_eq!(call_plugin(14)?, 140);
    Ok(())
}

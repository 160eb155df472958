//! Maps, links and calls one module: `cargo run -p smf-core --example load_module`.
#![allow(unsafe_code)]

use std::error::Error;
use std::fs;

use smf_core::format::Smf;
use smf_core::link::{Image, NoImports};
use smf_core::trap::call;

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/samples/packed.smf");

fn sum_in_module(a: i64, b: i64) -> Result<i64, Box<dyn Error>> {
    let bytes = fs::read(SAMPLE)?;
    // The image has pages of its own: the bytes are not needed afterwards.
    let image = Image::map(&Smf::parse(&bytes)?)?;
    let module = image.link(&NoImports)?;
    let add = module.function(b"add").ok_or("the module has no function `add`")?;
    // SAFETY: `add` takes two integers and returns one, and the module stays loaded during the call.
    Ok(unsafe { call(add, &[a, b]) }?)
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("{}", sum_in_module(40, 2)?);
    Ok(())
}

#[cfg(all(test, target_arch = "x86_64"))]
#[test]
fn function_of_the_sample_is_called() -> Result<(), Box<dyn Error>> {
    assert_eq!(sum_in_module(40, 2)?, 42);
    Ok(())
}

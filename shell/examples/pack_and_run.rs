//! Packs an object of the C compiler into a module, loads it, and calls it:
//! `cargo run -p smf-loader --example pack_and_run`.
#![allow(unsafe_code)]

use std::error::Error;
use std::fs;
use std::process::Command;

use smf_core::format::Smf;
use smf_core::link::{Image, NoImports};
use smf_core::trap::call;
use smf_loader::pack::{Input, Options, pack};

const SOURCE: &str = "static long calls; long square(long x) { calls++; return x * x; }\n";

fn square_in_module(x: i64) -> Result<i64, Box<dyn Error>> {
    let directory = std::env::temp_dir().join(format!("pack_and_run-{}", std::process::id()));
    fs::create_dir_all(&directory)?;
    let (source, object) = (directory.join("square.c"), directory.join("square.o"));
    fs::write(&source, SOURCE)?;
    let compiled =
        Command::new("cc").args(["-O2", "-fPIC", "-c", "-o"]).arg(&object).arg(&source).status();
    if !compiled?.success() {
        return Err("cc failed".into());
    }
    let data = fs::read(&object)?;
    fs::remove_dir_all(&directory)?;

    let packed = pack(&[Input { name: "square.o", data: &data }], &Options::default())?;
    let module = Image::map(&Smf::parse(&packed.bytes)?)?.link(&NoImports)?;
    let square = module.function(b"square").ok_or("the module has no function `square`")?;
    // SAFETY: `square` takes an integer and returns one, and the module stays loaded during the call.
    Ok(unsafe { call(square, &[x]) }?)
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("{}", square_in_module(12)?);
    Ok(())
}

#[cfg(test)]
#[test]
fn packed_object_is_called() -> Result<(), Box<dyn Error>> {
    assert_eq!(square_in_module(12)?, 144);
    Ok(())
}

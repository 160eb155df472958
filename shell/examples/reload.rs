//! Replaces a module while the program runs: `cargo run -p smf-loader --example reload`.
#![allow(unsafe_code)]

use std::error::Error;
use std::fs;

use smf_core::bytecode::text::{assemble, write_module};
use smf_core::format::Flags;
use smf_core::loader::StateMigration;
use smf_core::trap::call;
use smf_loader::loader::Loader;

/// A module of bytecode that may be replaced, with a function that returns `value`.
fn version(value: i64) -> Result<Vec<u8>, Box<dyn Error>> {
    let text = format!("function answer, 0, 0\n    CONST_I64_PUSH {value}\n    RET 0\n");
    Ok(write_module(&assemble(&text)?, Flags(Flags::RELOADABLE))?)
}

/// The results before and after the module is replaced, by one address.
fn call_twice() -> Result<[i64; 2], Box<dyn Error>> {
    let directory = std::env::temp_dir().join(format!("reload-{}", std::process::id()));
    fs::create_dir_all(&directory)?;
    let path = directory.join("answer.smf");
    fs::write(&path, version(1)?)?;
    let loader = Loader::builder().build()?;
    let module = loader.load_module(&path, None)?;
    // The stable address leads to the newest version.
    let answer = loader.modules().resolve(b"answer")?.ok_or("no function `answer`")?.address;
    // SAFETY: `answer` takes nothing and returns an integer, and the module stays loaded.
    let first = unsafe { call(answer, &[]) }?;

    fs::write(&path, version(2)?)?;
    loader.reload_file(module, &path, StateMigration::Copy)?;
    // SAFETY: as above.
    let second = unsafe { call(answer, &[]) }?;
    fs::remove_dir_all(&directory)?;
    Ok([first, second])
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("{:?}", call_twice()?);
    Ok(())
}

#[cfg(all(test, target_arch = "x86_64"))]
#[test]
fn stable_address_leads_to_the_new_version() -> Result<(), Box<dyn Error>> {
    assert_eq!(call_twice()?, [1, 2]);
    Ok(())
}

//! Compiles a program in Simple to a module, and loads it: `cargo run -p smf-loader --features source,pack --example
//! compile_source`.
#![allow(unsafe_code)]

use std::error::Error;

use smf_core::format::Arch;
use smf_core::source::{Mode, SourceFile};
use smf_loader::compile::CompileOptions;
use smf_loader::loader::Loader;

const SOURCE: &str = "fn percent(part: i64, whole: i64) -> i64: part * 100 / whole\n";

fn percent(part: i64, whole: i64) -> Result<i64, Box<dyn Error>> {
    let file = SourceFile { name: "percent.spl", module: "percent", text: SOURCE };
    let output = smf_core::source::compile(&[file], Mode::Compile)?;
    let unit = output.unit.ok_or("the source has errors")?;
    let arch = if cfg!(target_arch = "aarch64") { Arch::AARCH64 } else { Arch::X86_64 };
    let options = CompileOptions { arch, level: 2, debug_directory: None };
    let module = smf_loader::compile::compile(&unit, &options)?;

    let path = std::env::temp_dir().join(format!("percent-{}.smf", std::process::id()));
    std::fs::write(&path, module)?;
    let loader = Loader::builder().build()?;
    let loaded = loader.load_module(&path, None)?;
    std::fs::remove_file(&path)?;
    let held = loader.modules().get(loaded)?;
    // SAFETY: `percent` takes two integers and returns one.
    let percent = unsafe { held.get::<extern "C" fn(i64, i64) -> i64>("percent") }?;
    Ok(percent(part, whole))
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("{}", percent(1, 4)?);
    Ok(())
}

#[cfg(test)]
#[test]
fn compiled_module_is_loaded_and_called() -> Result<(), Box<dyn Error>> {
    assert_eq!(percent(1, 4)?, 25);
    Ok(())
}

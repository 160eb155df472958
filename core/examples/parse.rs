//! Lists the sections and symbols of a module: `cargo run -p smf-core --example parse [FILE]`.
//!
//! Parsing borrows the bytes, copies nothing and allocates nothing.

use std::env;
use std::error::Error;
use std::fs;

use smf_core::format::Smf;

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/samples/packed.smf");

fn list(path: &str) -> Result<(), Box<dyn Error>> {
    let bytes = fs::read(path)?;
    let module = Smf::parse(&bytes)?;
    module.verify()?;
    println!("{path}: {} layout, {} bytes", module.layout().name(), bytes.len());
    for section in module.sections().iter() {
        println!("  section {:12} {:>8} bytes", section.name.escape_ascii(), section.virtual_size);
    }
    for symbol in module.symbols().iter() {
        let symbol = symbol?;
        println!("  symbol  {:12} {:#x}", symbol.name().escape_ascii(), symbol.value);
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    list(&env::args().nth(1).unwrap_or(SAMPLE.to_owned()))
}

#[cfg(test)]
#[test]
fn sample_is_listed() -> Result<(), Box<dyn Error>> {
    list(SAMPLE)
}

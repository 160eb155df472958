//! Prints the contents of a module as text: `cargo run -p smf-loader --features inspect --example
//! inspect`.

use std::error::Error;

use smf_core::format::File;
use smf_loader::inspect;

const MODULE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/samples/packed.smf");

fn describe() -> Result<String, Box<dyn Error>> {
    let bytes = std::fs::read(MODULE)?;
    let file = File::parse(&bytes)?;
    // A malformed table is an error with an offset, before anything is printed.
    inspect::check(&file)?;
    let mut text = Vec::new();
    inspect::write_text(&file, "packed.smf", &mut text)?;
    Ok(String::from_utf8(text)?)
}

fn main() -> Result<(), Box<dyn Error>> {
    print!("{}", describe()?);
    Ok(())
}

#[cfg(test)]
#[test]
fn module_is_described() -> Result<(), Box<dyn Error>> {
    let text = describe()?;
    assert!(text.starts_with("packed.smf: packed 1.1, 1029 bytes\n"), "{text}");
    assert!(text.contains("\nsymbols ("), "{text}");
    Ok(())
}

//! A host in Rust, with the arguments of `standard.c`: FUNCTION ARGUMENT MODULE... Loads the modules from the last one to
//! the first, and calls the function of the first.
#![allow(unsafe_code)]

use std::error::Error;
use std::path::Path;

use loader::host_symbols::HostSymbols;
use loader::loader::Loader;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [function, argument, modules @ ..] = &*arguments else { return Err("arguments".into()) };
    let loader = Loader::builder().build()?;
    let mut symbols = HostSymbols::of_process()?;
    // SAFETY: the library of C++ is that of the compiler.
    unsafe { symbols.add_library("stdc++") }?;
    loader.modules().set_host_resolver(Some(Box::new(symbols)))?;
    let mut last = None;
    for module in modules.iter().rev() {
        last = Some(loader.load_module(Path::new(module), None)?);
    }
    let held = loader.modules().get(last.ok_or("no module")?)?;
    // SAFETY: the functions of these programs take an integer and return one.
    let function = unsafe { held.get::<extern "C" fn(i64) -> i64>(function) }?;
    println!("{}", function(argument.parse()?));
    drop(held);
    drop(loader);
    println!("ok");
    Ok(())
}

//! Compiles functions in Simple while the program runs, and replaces one: `cargo run -p smf-loader --features exec
//! --example exec_manager`.
#![allow(unsafe_code)]

use std::error::Error;

use smf_loader::exec::{ExecManager, ExecOptions};

fn scores() -> Result<[i64; 2], Box<dyn Error>> {
    let manager = ExecManager::new(ExecOptions::default())?;
    manager.compile_source("bonus.spl", "fn bonus(x: i64) -> i64: x + 1\n")?;
    let score = "extern fn bonus(x: i64) -> i64\nfn score(x): bonus(x) * 2\n";
    manager.compile_source("score.spl", score)?;
    // SAFETY: the functions access no memory.
    let before = unsafe { manager.call_integers(b"score", &[20]) }?;
    // `score` calls the new version.
    manager.compile_source("bonus.spl", "fn bonus(x: i64) -> i64: x + 30\n")?;
    // SAFETY: as above.
    let after = unsafe { manager.call_integers(b"score", &[20]) }?;
    Ok([before, after])
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("{:?}", scores()?);
    Ok(())
}

#[cfg(test)]
#[test]
fn callers_reach_the_new_version_of_a_function() -> Result<(), Box<dyn Error>> {
    assert_eq!(scores()?, [42, 100]);
    Ok(())
}

//! Bytecode: interpret, compile, call.

use std::string::{String, ToString};

use super::fail_each;
use crate::bytecode::host::HostTable;
use crate::bytecode::text::assemble;
use crate::bytecode::verify::{FunctionCode, Verifier};
use crate::memory::code_alloc::CodeMemory;
use crate::memory::testing::alone;
use crate::vm::{Engine, Tiers};

const TWO: &str =
    "function f, 1, 1\nLOAD_PUSH 0\nCALL g, 1\nRET 0\nfunction g, 1, 1\nLOAD_PUSH 0\nRET 0";

#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn failed_call_runs_bytecode_or_is_an_error() {
    if !alone("faults::tier::failed_call_runs_bytecode_or_is_an_error") {
        return;
    }
    let functions = assemble(TWO).unwrap();
    // Each run uses a new engine and new memory: code memory does not retry a refused backing.
    let run = |threshold| {
        let codes = functions.iter().map(|function| FunctionCode {
            code: &function.code,
            params: function.params,
            locals: function.locals,
        });
        let program = Verifier::new().verify(codes.collect()).map_err(|error| error.to_string())?;
        let (memory, tiers) = (CodeMemory::default(), Tiers::Compile { threshold });
        let engine = Engine::with_tiers(program, HostTable::new(), tiers, &memory)
            .map_err(|error| error.to_string())?;
        for argument in 0..3 {
            let result = engine.call(0, &[argument]).map_err(|error| error.to_string())?;
            assert_eq!(result, argument);
        }
        engine.address(1).map_err(|error| error.to_string())?;
        Ok::<(), String>(())
    };
    let mut points = fail_each("bytecode, compiled", || run(0), || {}, drop);
    points += fail_each("bytecode, compiled while it runs", || run(2), || {}, drop);
    std::println!("{points} points in tiers");
    assert!(points > 100, "the faults did not reach the calls");
}

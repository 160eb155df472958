//! The commands for bytecode.

use std::fs;

use super::{contains, fails, ok, scratch};

#[test]
fn bytecode_is_assembled_listed_and_run() {
    assert_eq!(ok(&["run", "bcod.smf", "answer"]), "42\n");
    assert_eq!(ok(&["run", "--interpret", "bcod.smf", "sum", "100"]), "5050\n");
    let directory = scratch("bytecode");
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let (source, module, again) = (path("a.sbc"), path("a.smf"), path("b.smf"));
    let program = "function half, 0, 0\nCONST_F64 0, 0.5\nRET 0\n\
        function main, 0, 0 ; the entry point\nCONST_I64_PUSH 1\nCONST_I64_PUSH 0\nDIV_I64\nRET 0\n";
    fs::write(&source, program).unwrap();
    assert_eq!(ok(&["asm", &source, "-o", &module]), "");
    assert_eq!(ok(&["verify", &module]), format!("{module}: ok\n"));
    assert_eq!(ok(&["run", &module, "half"]), "0.5\n");
    contains(&fails(&["run", &module]), &["division by zero", "function 1", "offset 0x14"]);
    fs::write(&source, ok(&["disasm", &module])).unwrap();
    assert_eq!(ok(&["asm", &source, "-o", &again]), "");
    assert_eq!(fs::read(&module).unwrap(), fs::read(&again).unwrap());
    let one = ok(&["disasm", "bcod.smf", "answer"]);
    assert_eq!(one, "function answer, 0, 1\n    CONST_I64 0, 42\n    RET 0\n");
    contains(&fails(&["disasm", "packed.smf"]), &["no bytecode"]);
    fs::write(&source, "function f, 0, 0\nADD_I64\nPUSH\n").unwrap();
    contains(&fails(&["asm", &source, "-o", &again]), &["line 3", "1"]);
    fs::write(&source, "function main, 0, 0\nADD_I64\nRET 0\n").unwrap();
    ok(&["asm", &source, "-o", &again]);
    contains(&fails(&["run", &again]), &["function 0: ADD_I64 pops 2", "offset 0x0"]);
}

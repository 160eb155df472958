//! Programs in a child process whose parent had threads that held the locks of the engine at the fork.

use std::{panic, vec};

use super::*;
use crate::bytecode::instruction::Instruction as I;
use crate::bytecode::testing::{code, function};
use crate::bytecode::verify::Verifier;
use crate::memory::testing::{End, in_child};
use crate::trap::bytecode::DEFAULT_BUDGET;

const STACK_SPACE: StackSpace =
    StackSpace { depth: MAX_DEPTH, budget: DEFAULT_BUDGET, stack_end: 0 };

/// Found: each of these calls waited for ever before lock waits ended in a child.
#[test]
#[cfg_attr(miri, ignore = "forks, runs machine code")]
fn call_in_child_of_engine_locked_at_fork_returns() {
    let seven = code(&[I::ConstI64Push { value: 7 }, I::Ret { src: 0 }]);
    let program = || Verifier::new().verify(vec![function(&seven, 0, 0), function(&seven, 0, 0)]);
    let native =
        Native::new(program().unwrap(), HostTable::new(), CodeMemory::default(), 1).unwrap();
    let address = native.address(0).unwrap();
    // Neither function is compiled yet.
    let compiling = native.compiling().unwrap();
    let entry_trampolines = native.entry_trampolines().unwrap();
    let interpreters = native.interpreters.lock_for_tests();
    let child = in_child(|| {
        for _ in 0..5 {
            assert_eq!(
                (native.call(0, &[], STACK_SPACE), native.call(1, &[], STACK_SPACE)),
                (Ok(7), Ok(7))
            );
        }
        let forked = CodeError::Exec(ExecError::Forked);
        assert_eq!((native.compile(1), native.address(1)), (Err(forked), Err(forked)));
        assert!(!native.has_address(address));
        native.for_each_code(|_, _, _| panic!("nothing is compiled"));
        native.on_trap(None);
        0
    });
    assert_eq!(child, End::Status(0));
    drop((compiling, entry_trampolines, interpreters));
    for _ in 0..5 {
        assert_eq!(native.call(1, &[], STACK_SPACE), Ok(7));
    }
    assert!(native.compile(1).is_ok() && native.has_address(address));
}

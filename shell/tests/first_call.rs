//! A first call does not wait for other threads.
//!
//! To register a process for `membarrier(2)` takes milliseconds once it has threads. Only those that free what others may be
//! using need it.
#![cfg(all(target_arch = "x86_64", target_os = "linux", not(miri), not(feature = "tagged")))]
#![allow(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test fails loudly")]

use std::sync::Barrier;
use std::thread;

use rustix::io::Errno;
use rustix::thread::{MembarrierCommand, membarrier};
use smf_loader::exec::{ExecManager, ExecOptions};
use smf_loader::ffi::{
    rt_alloc_exec_memory, rt_call_function_0, rt_free_exec_memory, rt_make_executable,
    rt_make_writable,
};

fn is_registered() -> bool {
    match membarrier(MembarrierCommand::PrivateExpedited) {
        Ok(()) => true,
        Err(Errno::PERM) => false,
        // Without the call there is nothing to register for.
        Err(_) => false,
    }
}

/// The address of `mov eax, 42; ret`.
fn forty_two() -> i64 {
    let block = rt_alloc_exec_memory(4096);
    assert!(rt_make_writable(block, 4096));
    let code = [0xb8, 42, 0, 0, 0, 0xc3];
    // SAFETY: a writable block of this test.
    unsafe { std::ptr::with_exposed_provenance_mut::<[u8; 6]>(block as usize).write(code) };
    assert!(rt_make_executable(block, 4096));
    block
}

#[test]
fn first_calls_do_not_register_the_process() {
    let (called, looked) = (Barrier::new(2), Barrier::new(2));
    let block = forty_two();
    let manager = ExecManager::new(ExecOptions::default()).unwrap();
    manager.compile_source("add.spl", "fn add(x, y): x + y\n").unwrap();
    let is_registered = thread::scope(|scope| {
        let calls = scope.spawn(|| {
            let arguments = [40i64.into(), 2i64.into()];
            // SAFETY: the function accesses no memory.
            let sum = unsafe { manager.call_by_name(b"add", &arguments) };
            let calls = (rt_call_function_0(block), sum.unwrap());
            called.wait();
            looked.wait();
            calls
        });
        called.wait();
        let is_registered = is_registered();
        looked.wait();
        assert_eq!(calls.join().unwrap(), (42, Some(42i64.into())));
        is_registered
    });
    assert!(!is_registered);
    assert!(rt_free_exec_memory(block, 4096));
}

//! Tests of locks and objects in forked children.

use std::sync::mpsc::channel;
use std::thread;

use super::*;

unsafe extern "C" {
    safe fn fork() -> i32;
    safe fn _exit(status: i32) -> !;
    safe fn alarm(seconds: u32) -> u32;
    fn waitpid(process: i32, status: *mut i32, options: i32) -> i32;
}

/// Whether `act` is true in a child, which is given 20 seconds.
pub(crate) fn in_child(act: impl FnOnce() -> bool) -> bool {
    let child = fork();
    assert!(child >= 0);
    if child == 0 {
        alarm(20);
        _exit(if act() { 7 } else { 1 });
    }
    let mut status = 0;
    // SAFETY: the status is this function's own.
    assert_eq!(unsafe { waitpid(child, &raw mut status, 0) }, child);
    status == 7 << 8
}

/// Runs `act` while another thread runs `hold` and retains its result.
pub(crate) fn while_held<T>(hold: impl FnOnce() -> T + Send, act: impl FnOnce()) {
    let ((is_held, wait), (leave, left)) = (channel(), channel::<()>());
    thread::scope(|scope| {
        scope.spawn(move || {
            let held = hold();
            is_held.send(()).unwrap();
            // Blocks until `act` has returned or panicked.
            let _ = left.recv();
            drop(held);
        });
        wait.recv().unwrap();
        let _leave = leave;
        act();
    });
}

#[test]
fn locks_are_held_and_released() {
    static ONE: ProcessLock<u32> = ProcessLock::new(1);
    static TWO: ProcessLock<u32> = ProcessLock::new(2);
    let locks: [&dyn HeldAtFork; 2] = [&ONE, &TWO];
    locks.iter().for_each(|lock| lock.hold());
    let tries = || ONE.lock.try_write().is_ok() || TWO.lock.try_read().is_ok();
    assert!(!thread::spawn(tries).join().unwrap());
    // SAFETY: held above.
    locks.iter().for_each(|lock| unsafe { lock.release() });
    assert_eq!((*ONE.lock(), *TWO.read()), (1, 2));
    assert_eq!(*TWO.lock(), 2);
}

#[test]
#[cfg_attr(miri, ignore = "forks")]
fn child_is_of_the_next_generation() {
    let present = generation();
    assert!(in_child(|| generation() == present + 1 && in_child(|| generation() == present + 2)));
    assert_eq!(generation(), present);
}

#[test]
#[cfg_attr(miri, ignore = "forks")]
fn object_in_use_at_fork_is_refused_in_the_child_alone() {
    let (busy, idle) = (Users::default(), Users::default());
    drop((busy.enter().unwrap(), idle.enter().unwrap()));
    while_held(
        || busy.enter(),
        || {
            assert!(in_child(|| {
                let refused = (0..3).all(|_| busy.enter().is_none());
                let works =
                    (0..2).all(|_| idle.enter().is_some() && Users::default().enter().is_some());
                // An object that the child uses is refused in the child's own child, and only while it is used.
                let user = idle.enter();
                let again = in_child(|| idle.enter().is_none());
                drop(user);
                refused && works && again && in_child(|| idle.enter().is_some())
            }));
            assert!(busy.enter().is_some());
        },
    );
    assert!(in_child(|| busy.enter().is_some()));
}

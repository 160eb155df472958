//! The trap hook of an engine.
#![allow(unsafe_code)]

use core::mem::transmute;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use crate::vm::observer::TrapHook;

/// The trap hook. It is no lock, which a child process could inherit in the locked state.
#[derive(Debug, Default)]
pub(super) struct Hook(AtomicPtr<()>);

impl Hook {
    pub(super) fn set(&self, hook: Option<TrapHook>) {
        let place = hook.map_or(ptr::null_mut(), |hook| hook as *mut ());
        self.0.store(place, Ordering::Release);
    }

    pub(super) fn get(&self) -> Option<TrapHook> {
        let place = self.0.load(Ordering::Acquire);
        // SAFETY: null, which is `None`, or the function that `set` has stored.
        unsafe { transmute::<*mut (), Option<TrapHook>>(place) }
    }
}

//! GDB's JIT interface: a list of ELF objects in memory, and a function at which debuggers stop.
//!
//! Source: the GDB manual, "JIT Compilation Interface". It prescribes the names of the two symbols, by which
//! debuggers find them in the program or a library. A program that statically links another definition of
//! them (LLVM has one) disables the feature `gdb` in one of the two.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::ptr;

use smf_core::alloc_util::{AllocError, try_box, try_copy_bytes};

use super::elf::MACHINE;
use crate::fork::{ProcessGuard, ProcessLock};

/// `jit_code_entry`.
#[repr(C)]
struct Entry {
    next: *mut Entry,
    prev: *mut Entry,
    symfile: *const u8,
    symfile_size: u64,
}

/// `jit_descriptor`.
#[repr(C)]
struct Descriptor {
    version: u32,
    action: u32,
    relevant: *mut Entry,
    first: *mut Entry,
}

const NO_ACTION: u32 = 0;
const REGISTER: u32 = 1;
const UNREGISTER: u32 = 2;

#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
static mut __jit_debug_descriptor: Descriptor =
    Descriptor { version: 1, action: NO_ACTION, relevant: ptr::null_mut(), first: ptr::null_mut() };

/// Debuggers set a breakpoint here, and read the descriptor when it is hit.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn __jit_debug_register_code() {
    // SAFETY: an empty instruction sequence. It is opaque to the compiler, which therefore keeps the
    // function, its calls, and the stores before them.
    unsafe { std::arch::asm!("", options(nostack, preserves_flags)) };
}

/// An ELF file without sections: `e_ident`, the type (ET_EXEC), machine and version, no entry point and tables, and the
/// sizes of the header and of a section header.
static EMPTY: [u64; 8] = [
    u64::from_le_bytes(*b"\x7fELF\x02\x01\x01\0"),
    0,
    2 | (MACHINE as u64) << 16 | 1 << 32,
    0,
    0,
    0,
    64 << 32,
    64 << 16,
];

/// Makes gdb take breakpoints out of code whose object was just unregistered: it does so when the next object is
/// registered, and would restore old bytes in code that has the same address by then.
fn reset_breakpoints(list: &ProcessGuard<()>) {
    let (next, prev) = (ptr::null_mut(), ptr::null_mut());
    let (symfile, symfile_size) = ((&raw const EMPTY).cast(), size_of_val(&EMPTY) as u64);
    let mut entry = Entry { next, prev, symfile, symfile_size };
    notify(list, REGISTER, &raw mut entry);
    notify(list, UNREGISTER, &raw mut entry);
}

/// Guards the list of objects.
pub(super) static LIST: ProcessLock<()> = ProcessLock::new(());

/// An object that is registered with debuggers.
#[derive(Debug)]
pub(super) struct Object {
    /// From `Box::into_raw`; an element of the list.
    entry: *mut Entry,
    /// The bytes that the entry points to.
    _symfile: Box<[u8]>,
}

// SAFETY: the entry is accessed under the lock of the list only, from any thread.
unsafe impl Send for Object {}
// SAFETY: a shared reference gives no access to the entry.
unsafe impl Sync for Object {}

impl Object {
    /// Registers an ELF object with debuggers.
    ///
    /// # Errors
    /// Allocation failure.
    pub(super) fn register(symfile: Vec<u8>) -> Result<Self, AllocError> {
        let symfile = try_copy_bytes(&symfile)?;
        let place = try_box(MaybeUninit::<Entry>::uninit())?;
        let (first, size) = (symfile.as_ptr(), symfile.len() as u64);
        let list = LIST.lock();
        // SAFETY: copies a field of the static, which is only modified under the lock.
        let next = unsafe { __jit_debug_descriptor.first };
        let prev = ptr::null_mut();
        let entry = Entry { next, prev, symfile: first, symfile_size: size };
        let entry = Box::into_raw(Box::write(place, entry));
        // SAFETY: entries in the list are alive, and this thread holds the lock.
        if let Some(next) = unsafe { next.as_mut() } {
            next.prev = entry;
        }
        set_first(&list, entry);
        notify(&list, REGISTER, entry);
        Ok(Self { entry, _symfile: symfile })
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        let list = LIST.lock();
        // SAFETY: `register` allocated it, and only this function frees it; this thread holds the lock.
        let Entry { next, prev, .. } = unsafe { self.entry.read() };
        // SAFETY: entries in the list are alive, and this thread holds the lock.
        if let Some(next) = unsafe { next.as_mut() } {
            next.prev = prev;
        }
        // SAFETY: as above.
        match unsafe { prev.as_mut() } {
            Some(prev) => prev.next = next,
            None => set_first(&list, next),
        }
        notify(&list, UNREGISTER, self.entry);
        reset_breakpoints(&list);
        // SAFETY: from `Box::into_raw`, and removed from the list.
        drop(unsafe { Box::from_raw(self.entry) });
    }
}

fn set_first(_: &ProcessGuard<()>, entry: *mut Entry) {
    // SAFETY: the lock is held, no reference to the static exists, and debuggers read it while the
    // process is stopped.
    unsafe { __jit_debug_descriptor.first = entry };
}

fn notify(_: &ProcessGuard<()>, action: u32, entry: *mut Entry) {
    // SAFETY: the lock is held.
    unsafe { __jit_debug_descriptor.relevant = entry };
    // SAFETY: as above.
    unsafe { __jit_debug_descriptor.action = action };
    __jit_debug_register_code();
    // A debugger that attaches later reads the list, and must not see an outdated action.
    // SAFETY: as above.
    unsafe { __jit_debug_descriptor.action = NO_ACTION };
    // SAFETY: as above.
    unsafe { __jit_debug_descriptor.relevant = ptr::null_mut() };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The contents of the objects in the list; checks the backward links.
    fn listed() -> Vec<Vec<u8>> {
        let _list = LIST.lock();
        let mut found = Vec::new();
        // SAFETY: the lock is held.
        let mut entry = unsafe { __jit_debug_descriptor.first };
        let mut prev = ptr::null_mut();
        // SAFETY: an entry in the list is alive while the lock is held.
        while let Some(at) = unsafe { entry.as_ref() } {
            assert_eq!(at.prev, prev);
            let size = usize::try_from(at.symfile_size).unwrap();
            // SAFETY: the object outlives its entry.
            found.push(unsafe { std::slice::from_raw_parts(at.symfile, size) }.to_vec());
            (prev, entry) = (entry, at.next);
        }
        found
    }

    #[test]
    fn objects_are_registered_and_unregistered_in_any_order() {
        let object = |number: u8| Object::register(vec![0xee, number]).unwrap();
        let ours = || listed().into_iter().filter(|o| o.first() == Some(&0xee)).map(|o| o[1]);
        let (one, two, three) = (object(1), object(2), object(3));
        assert!(ours().eq([3, 2, 1]));
        drop(two);
        assert!(ours().eq([3, 1]));
        drop(three);
        let four = object(4);
        assert!(ours().eq([4, 1]));
        drop(one);
        drop(four);
        assert!(ours().eq([0; 0]));
    }
}

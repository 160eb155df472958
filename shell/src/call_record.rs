//! The record of a thread that calls code by address.
//!
//! A call through `rt_call_function_*` must find that its address is code, keep that code from being freed, and be ready
//! for a trap. The entry code of the exports does so with a few accesses to the record of its thread: it pushes a frame
//! to the trap chain, whose head also states that the thread is inside of code, and compares the address with one that
//! the thread [found](CallRecord::found) before. No other thread's cache line is written, and no fence executed.
//!
//! An advance of the epoch ([`have_left`]) pays for that. It waits until each thread has been outside since the epoch
//! began: its chain is empty, or it has called in the slow way, which [reports](remember) that. A thread that is inside
//! loses its found addresses, so that its next call is a slow one: code is freed although threads call without a pause.
//!
//! Orderings. A calling thread writes its chain, then reads the found address and the code; an advancing thread unlinks
//! the code, then reads the chain. Between the two, the advancing thread makes every thread of the process execute a
//! full barrier (`membarrier(2)`): a chain that it sees empty is that of a thread that has left, or that observes what
//! was unlinked. Where the kernel lacks that system call no address is ever found, so that every call is a slow one.
//!
//! Source: M. Desnoyers et al., User-level implementations of read-copy update (2012), for the barrier.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::mem::offset_of;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering, fence};

use rustix::thread::{MembarrierCommand, membarrier, membarrier_query};
use smf_core::alloc_util::try_push;
use smf_core::trap::{Landing, TrapChain};

use crate::fork::{HeldAtFork, ProcessLock};

/// The binary logarithm of the number of addresses that a thread finds without a slow call.
const FOUND_BITS: u32 = 4;

/// The bits of the hash that are not part of the number of a slot.
pub(crate) const FOUND_SHIFT: u32 = u32::BITS - FOUND_BITS;

/// The factor of the hash, 2^32 divided by the golden ratio.
pub(crate) const FOUND_FACTOR: u32 = 0x9e37_79b1;

/// The state of a thread that the entry code uses.
#[repr(C)]
pub(crate) struct CallRecord {
    pub(crate) chain: TrapChain,
    /// Whether the thread has a last error.
    has_error: Cell<bool>,
    is_registered: Cell<bool>,
    /// The last epoch in which the thread is known to have been outside of code.
    left_in: AtomicUsize,
    /// Callable addresses, each in the slot of its hash, or [`empty`].
    found: [AtomicUsize; 1 << FOUND_BITS],
}

/// The content of an unused slot, which is not the address of any code with this hash: 0 has the hash 0.
const fn empty(slot: usize) -> usize {
    if slot == 0 { usize::MAX } else { 0 }
}

// The record of each thread, as `CallRecord::forget` leaves it.
core::arch::global_asm!(
    ".pushsection .tdata.smf_call_record, \"awT\", @progbits",
    ".globl smf_call_record",
    ".hidden smf_call_record",
    ".type smf_call_record, @object",
    ".size smf_call_record, {size}",
    ".balign {align}",
    "smf_call_record:",
    ".zero {found}",
    ".quad {empty}",
    ".zero {size} - {found} - 8",
    ".popsection",
    size = const size_of::<CallRecord>(),
    align = const align_of::<CallRecord>(),
    found = const offset_of!(CallRecord, found),
    empty = const empty(0) as i64,
);

impl CallRecord {
    /// The offset of the word that refers to the innermost frame.
    pub(crate) const INNERMOST: usize = offset_of!(Self, chain) + TrapChain::INNERMOST;
    pub(crate) const HAS_ERROR: usize = offset_of!(Self, has_error);
    pub(crate) const FOUND: usize = offset_of!(Self, found);

    /// Empties the slots of the addresses that `is_gone`.
    fn forget(&self, is_gone: impl Fn(usize) -> bool) {
        for (number, slot) in self.found.iter().enumerate() {
            if is_gone(slot.load(Ordering::Relaxed)) {
                slot.store(empty(number), Ordering::Relaxed);
            }
        }
    }
}

/// The record of this thread, by the initial exec model: its offset from the thread pointer is fixed when the library is
/// loaded. A `thread_local!` in a shared library calls the dynamic linker on every access instead (U. Drepper, ELF
/// Handling For Thread-Local Storage, 4.3 and 4.4.6).
#[inline]
pub(crate) fn current() -> *const CallRecord {
    let record;
    // SAFETY: reads a GOT entry and the first word of the thread control block, which is its own address.
    unsafe {
        core::arch::asm!(
            "mov {record}, [rip + smf_call_record@GOTTPOFF]",
            "add {record}, fs:[0]",
            record = out(reg) record,
            options(pure, readonly, nostack),
        );
    }
    record
}

/// The record of this thread, for the duration of `act`.
fn with_current<T>(act: impl FnOnce(&CallRecord) -> T) -> T {
    // SAFETY: a thread-local variable, which lives as long as the thread.
    act(unsafe { &*current() })
}

/// Notes whether this thread has a last error, which a call that returns 0 clears.
pub(crate) fn set_has_error(has_error: bool) {
    with_current(|record| record.has_error.set(has_error));
}

/// The address of a registered record.
#[derive(Clone, Copy)]
struct RecordAddress(*const CallRecord);

// SAFETY: other threads access the atomic fields alone, while the record is registered.
unsafe impl Send for RecordAddress {}
// SAFETY: as above.
unsafe impl Sync for RecordAddress {}

impl RecordAddress {
    /// The record. The list of records is locked.
    fn get(&self) -> &CallRecord {
        // SAFETY: the record is registered, and a thread that ends removes its own first.
        unsafe { &*self.0 }
    }

    fn is_own(&self) -> bool {
        self.0 == current()
    }
}

/// The records of the threads that have found an address.
static RECORDS: ProcessLock<Vec<RecordAddress>> = ProcessLock::new(Vec::new());

/// The locks of this file that `fork` handlers take.
pub(crate) const LOCKS: &[&dyn HeldAtFork] = &[&RECORDS];

/// Removes the records of the parent's other threads, which are not in this child.
pub(crate) fn begin_child() {
    RECORDS.lock().retain(RecordAddress::is_own);
}

/// Removes the record of a thread that ends.
struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        RECORDS.lock().retain(|record| !record.is_own());
        with_current(|record| {
            record.is_registered.set(false);
            record.forget(|_| true);
        });
    }
}

thread_local! {
    static LEAVE: Leave = const { Leave };
}

/// Registers the record of this thread. Whether it is registered.
#[cold]
#[inline(never)]
fn register(record: &CallRecord, landing: Landing) -> bool {
    let can_fence = membarrier_query().contains_command(MembarrierCommand::PrivateExpedited);
    // Not while the thread is ending: nothing would remove the record.
    if !can_fence || LEAVE.try_with(|_| ()).is_err() {
        return false;
    }
    record.chain.set_landing(landing);
    record.is_registered.set(try_push(&mut RECORDS.lock(), RecordAddress(record)).is_ok());
    record.is_registered.get()
}

/// Reports that this thread was outside of code if it is, and remembers a callable address, at which `is_cached` is true
/// until its code is unregistered: later calls of the thread find it. The thread pins `epoch`, the current one.
pub(crate) fn remember(
    address: usize,
    epoch: usize,
    landing: Landing,
    is_cached: impl Fn(usize) -> bool,
) {
    with_current(|record| {
        if !record.is_registered.get() && !register(record, landing) {
            return;
        }
        if !record.chain.is_active() {
            record.left_in.fetch_max(epoch, Ordering::Release);
        }
        let number = ((address as u32).wrapping_mul(FOUND_FACTOR) >> FOUND_SHIFT) as usize;
        let Some(slot) = record.found.get(number) else { return };
        slot.store(address, Ordering::Relaxed);
        // A thread that unregisters code changes `is_cached`, then the slot: one of the two threads sees the change of
        // the other.
        fence(Ordering::SeqCst);
        if !is_cached(address) {
            slot.store(empty(number), Ordering::Relaxed);
        }
    });
}

/// Makes all threads forget the addresses in a range, whose code the caller has unregistered.
pub(crate) fn forget(range: &Range<usize>) {
    fence(Ordering::SeqCst);
    for record in RECORDS.read().iter() {
        record.get().forget(|address| range.contains(&address));
    }
}

/// Whether every thread has been outside of the code that it called by address since `epoch` began. A thread that has
/// not reports it with its next call.
pub(crate) fn have_left(epoch: usize) -> bool {
    let records = RECORDS.read();
    let is_late = |record: &&RecordAddress| record.get().left_in.load(Ordering::Acquire) < epoch;
    let needs_fence = records.iter().filter(is_late).any(|record| !record.is_own());
    // A process that cannot fence never frees code that another thread may execute.
    if needs_fence && fence_all().is_err() {
        return false;
    }
    let mut have_left = true;
    for record in records.iter().filter(is_late).map(RecordAddress::get) {
        if record.chain.is_active() {
            record.forget(|_| true);
            have_left = false;
        } else {
            record.left_in.fetch_max(epoch, Ordering::Release);
        }
    }
    have_left
}

/// Makes every running thread of the process execute a full memory barrier. Registers a process that is not registered,
/// which takes milliseconds if it has other threads: those that free code wait, and not those that call it.
fn fence_all() -> rustix::io::Result<()> {
    membarrier(MembarrierCommand::PrivateExpedited).or_else(|_| {
        membarrier(MembarrierCommand::RegisterPrivateExpedited)?;
        membarrier(MembarrierCommand::PrivateExpedited)
    })
}

#[cfg(test)]
#[cfg(all(feature = "c-api", not(feature = "tagged")))]
mod tests {
    use std::thread;

    use super::*;
    use crate::call::CALL_EPOCHS;
    use crate::ffi::{rt_alloc_exec_memory, rt_call_function_1, rt_free_exec_memory};
    use crate::ffi::{rt_make_executable, rt_make_writable, smf_last_error};

    fn has_found(address: i64) -> bool {
        with_current(|record| {
            record.found.iter().any(|slot| slot.load(Ordering::Relaxed) as i64 == address)
        })
    }

    /// A block with `jmp rdi`: calls the function that it is given.
    fn new_caller() -> i64 {
        let block = rt_alloc_exec_memory(4096);
        assert!(rt_make_writable(block, 4096));
        // SAFETY: a block of this test.
        unsafe {
            std::ptr::with_exposed_provenance_mut::<[u8; 2]>(block as usize).write([0xff, 0xe7])
        };
        assert!(rt_make_executable(block, 4096));
        block
    }

    /// Calls the block until this thread finds its address. When another test advances the epoch during a call, this
    /// thread is inside, and forgets.
    fn call_until_found(block: i64, argument: i64, expected: i64) {
        let is_found = |_| {
            assert_eq!(rt_call_function_1(block, argument), expected);
            has_found(block)
        };
        assert!((0..1000).any(is_found));
    }

    fn address_of(function: extern "C" fn(i64) -> i64) -> i64 {
        (function as *const ()).expose_provenance() as i64
    }

    fn has_left_for_others(epoch: usize) -> bool {
        thread::spawn(move || have_left(epoch)).join().unwrap()
    }

    #[test]
    fn thread_finds_an_address_until_its_code_is_freed() {
        extern "C" fn next(_: i64) -> i64 {
            43
        }
        let block = new_caller();
        assert!(!has_found(block));
        for _ in 0..3 {
            call_until_found(block, address_of(next), 43);
        }
        assert!(thread::spawn(move || rt_free_exec_memory(block, 4096)).join().unwrap());
        // From now on another test may get a block at this address.
        assert!(!has_found(block));
    }

    #[test]
    fn no_address_is_found_at_first() {
        thread::spawn(|| {
            for function in [0, -1, 1, i64::MIN, i64::MAX] {
                assert_eq!(rt_call_function_1(function, 0), 0, "{function:#x}");
                assert_ne!(smf_last_error().code, 0, "{function:#x}");
            }
        })
        .join()
        .unwrap();
    }

    #[test]
    fn thread_inside_a_call_holds_back_the_epoch_and_reports_with_its_next_call() {
        extern "C" fn inside(is_found: i64) -> i64 {
            let _ = is_found;
            let epoch = CALL_EPOCHS.current() + 1;
            let left = has_left_for_others(epoch);
            i64::from(left) << 1
                | i64::from(with_current(|record| {
                    record.found.iter().skip(1).any(|slot| slot.load(Ordering::Relaxed) != 0)
                }))
        }
        extern "C" fn nested(function: i64) -> i64 {
            // The outer call is still active when this one returns.
            let _ = function;
            i64::from(with_current(|record| record.chain.is_active()))
        }
        let block = new_caller();
        for _ in 0..3 {
            assert_eq!(rt_call_function_1(block, address_of(inside)), 0);
            assert_eq!(rt_call_function_1(block, address_of(nested)), 1);
            assert!(!with_current(|record| record.chain.is_active()));
        }
        // Outside, other threads see it.
        let epoch = CALL_EPOCHS.current() + 1;
        with_current(|record| record.left_in.store(0, Ordering::Relaxed));
        while !has_left_for_others(epoch) {}
        assert!(with_current(|record| record.left_in.load(Ordering::Relaxed)) >= epoch);
        assert!(rt_free_exec_memory(block, 4096));
    }

    #[test]
    fn record_of_a_thread_is_removed_when_it_ends() {
        extern "C" fn one(_: i64) -> i64 {
            1
        }
        thread::spawn(|| {
            let block = new_caller();
            call_until_found(block, address_of(one), 1);
            assert!(RECORDS.read().iter().any(RecordAddress::is_own));
            drop(Leave);
            assert!(!has_found(block) && !RECORDS.read().iter().any(RecordAddress::is_own));
            assert!(rt_free_exec_memory(block, 4096));
        })
        .join()
        .unwrap();
    }
}

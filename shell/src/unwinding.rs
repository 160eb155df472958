//! Registration of unwinding tables with every unwinder in the process.
//!
//! A process may contain several unwinders: that of libgcc in the program or as a shared library, and LLVM's libunwind.
//! All of them export `__register_frame`. libgcc's takes a whole section, ended by a zero word; libunwind's takes one
//! function record (FDE). libunwind is recognised by `__unw_add_dynamic_fde`, which it exports too. Its function for whole
//! sections is not used: it ends at the first FDE that does not belong to the common record (CIE) before it.
//!
//! The program may load an unwinder later, so that each registration looks for new ones if libraries have been loaded
//! since the last.
//!
//! Source: gcc, `libgcc/unwind-dw2-fde.c`; LLVM, `libunwind/src/UnwindLevel1-gcc-ext.c` and `libunwind.cpp`.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_int, c_void};
use std::mem::{self, MaybeUninit};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use smf_core::alloc_util::try_push;
use smf_core::link::{HostService, HostServiceError};

use crate::fork::{HeldAtFork, ProcessLock};

type Register = unsafe extern "C" fn(*const c_void);

/// An unwinder in the process.
struct Unwinder {
    register: Register,
    deregister: Register,
    /// The functions take one FDE instead of a section.
    by_record: bool,
}

/// The unwinders that have been found, each once. None is removed: the token of a registration is the number of them
/// at that time.
static FOUND: ProcessLock<Vec<Unwinder>> = ProcessLock::new(Vec::new());

/// Locked for reading during `dl_iterate_phdr`, so that no fork happens meanwhile: glibc's lock of the list of libraries
/// would stay locked in the child (`elf/dl-iteratephdr.c`). Readers do not wait for each other.
static ITERATING: ProcessLock<()> = ProcessLock::new(());

/// The locks of this file that `fork` handlers take.
pub(crate) const LOCKS: &[&dyn HeldAtFork] = &[&ITERATING, &FOUND];

/// The names under which unwinders are loaded.
const LIBRARIES: [&CStr; 3] = [c"libgcc_s.so.1", c"libunwind.so.1", c"libc++abi.so.1"];

/// The functions of unwinders that are looked for.
const NAMES: [&CStr; 3] = [c"__register_frame", c"__deregister_frame", c"__unw_add_dynamic_fde"];

// Those in the same object as this code, where they may be hidden; null if there are none.
#[cfg(not(miri))]
core::arch::global_asm!(
    ".weak __register_frame",
    ".weak __deregister_frame",
    ".weak __unw_add_dynamic_fde",
    ".pushsection .data.rel.ro.smf_own_unwinder, \"aw\"",
    ".balign 8",
    ".hidden smf_own_unwinder",
    ".globl smf_own_unwinder",
    "smf_own_unwinder:",
    ".quad __register_frame",
    ".quad __deregister_frame",
    ".quad __unw_add_dynamic_fde",
    ".popsection",
);

#[cfg(not(miri))]
unsafe extern "C" {
    safe static smf_own_unwinder: [Option<Register>; 3];
}

#[cfg(miri)]
#[expect(non_upper_case_globals, reason = "stands for the table above")]
static smf_own_unwinder: [Option<Register>; 3] = [None; 3];

/// The unwinder whose functions these are, in the order of [`NAMES`].
fn unwinder([register, deregister, add_record]: [Option<Register>; 3]) -> Option<Unwinder> {
    let (register, deregister) = (register?, deregister?);
    // libgcc's may be found together with libunwind's if the program exports the former.
    let by_record =
        add_record.is_some_and(|add_record| object_of(register) == object_of(add_record));
    Some(Unwinder { register, deregister, by_record })
}

/// The address of the program or library that contains a function; 0 if there is none.
fn object_of(function: Register) -> usize {
    let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: any address is allowed, and `info` may be written to.
    let is_known = unsafe { libc::dladdr(function as *const c_void, info.as_mut_ptr()) } != 0;
    // SAFETY: null pointers, or what the function wrote.
    let info = unsafe { info.assume_init() };
    if is_known { info.dli_fbase.addr() } else { 0 }
}

/// The functions of unwinders in a library that is loaded already, or in the program with the libraries that it was started
/// with.
fn find(library: Option<&CStr>) -> [Option<Register>; 3] {
    let name = library.map_or(ptr::null(), CStr::as_ptr);
    // SAFETY: a NUL-terminated name or null; nothing is loaded, so that no initialisers run. The handle is not closed, so
    // that the functions remain.
    let handle = unsafe { libc::dlopen(name, libc::RTLD_LAZY | libc::RTLD_NOLOAD) };
    NAMES.map(|name| {
        if handle.is_null() {
            return None;
        }
        // SAFETY: a handle of `dlopen` and a NUL-terminated name.
        let symbol = unsafe { libc::dlsym(handle, name.as_ptr()) };
        // SAFETY: the functions of these names take one pointer or address and return none; null is `None`.
        unsafe { mem::transmute::<*mut c_void, Option<Register>>(symbol) }
    })
}

/// The libraries of the process.
struct Loaded {
    /// The number of loaded libraries at the last search; 0 before it.
    searched: u64,
    /// How many libraries have been loaded since the process began.
    count: u64,
    /// Which of [`LIBRARIES`] are there, unless the two numbers are equal.
    known: [bool; LIBRARIES.len()],
}

impl Loaded {
    fn new(searched: u64) -> Self {
        let mut loaded = Loaded { searched, count: 0, known: [false; LIBRARIES.len()] };
        let _no_fork = ITERATING.read();
        // SAFETY: the function has the expected type and writes to `loaded` alone.
        unsafe { libc::dl_iterate_phdr(Some(Self::add), (&raw mut loaded).cast()) };
        loaded
    }

    /// Adds a library. Returns another number than 0 to end the iteration.
    unsafe extern "C" fn add(
        info: *mut libc::dl_phdr_info,
        _: usize,
        loaded: *mut c_void,
    ) -> c_int {
        // SAFETY: `dl_iterate_phdr` passes a valid structure.
        let info = unsafe { &*info };
        // SAFETY: the pointer that `new` passes.
        let loaded = unsafe { &mut *loaded.cast::<Self>() };
        loaded.count = info.dlpi_adds;
        if loaded.count == loaded.searched {
            return 1;
        }
        if !info.dlpi_name.is_null() {
            // SAFETY: the name of a loaded library, which cannot be unloaded during the iteration.
            let path = unsafe { CStr::from_ptr(info.dlpi_name) };
            let name = path.to_bytes().rsplit(|byte| *byte == b'/').next();
            for (known, library) in loaded.known.iter_mut().zip(LIBRARIES) {
                *known |= name == Some(library.to_bytes());
            }
        }
        0
    }
}

/// Looks for unwinders that have been loaded since the last call. Returns how many are known.
///
/// No lock is held while libraries are opened: the system's loader has its own, which other threads hold while they run
/// initialisers.
fn search() -> Result<usize, HostServiceError> {
    /// The number of loaded libraries at the last search.
    static SEARCHED: AtomicU64 = AtomicU64::new(0);
    let loaded = Loaded::new(SEARCHED.load(Ordering::Acquire));
    if loaded.count != loaded.searched || loaded.count == 0 {
        let mut new = [unwinder(smf_own_unwinder), unwinder(find(None)), None, None, None];
        for ((slot, library), known) in new.iter_mut().skip(2).zip(LIBRARIES).zip(loaded.known) {
            *slot = if known { unwinder(find(Some(library))) } else { None };
        }
        let found = &mut *FOUND.lock();
        for unwinder in new.into_iter().flatten() {
            if found.iter().all(|known| !ptr::fn_addr_eq(known.register, unwinder.register)) {
                try_push(found, unwinder)?;
            }
        }
        SEARCHED.store(loaded.count, Ordering::Release);
    }
    Ok(FOUND.read().len())
}

/// Registers a section `.eh_frame`. Returns the token for [`deregister`].
///
/// # Errors
/// [`HostServiceError::Unavailable`] without an unwinder; [`HostServiceError::OutOfMemory`].
pub(crate) fn register(address: usize, size: usize) -> Result<usize, HostServiceError> {
    let count = search()?;
    if count == 0 {
        return Err(HostServiceError::Unavailable(HostService::Unwinding));
    }
    for_each_known(count, |unwinder| apply(unwinder, unwinder.register, address, size));
    Ok(count)
}

/// Reverses [`register`], which returned `token`.
pub(crate) fn deregister(address: usize, size: usize, token: usize) {
    for_each_known(token, |unwinder| apply(unwinder, unwinder.deregister, address, size));
}

/// Calls a function of each of the first unwinders. No fork happens meanwhile: the lock of an unwinder would stay locked
/// in the child.
fn for_each_known(count: usize, act: impl FnMut(&Unwinder)) {
    FOUND.read().iter().take(count).for_each(act);
}

fn apply(unwinder: &Unwinder, function: Register, address: usize, size: usize) {
    let start = ptr::with_exposed_provenance::<u8>(address);
    if !unwinder.by_record {
        // SAFETY: the linker has checked the records of the section, which a zero word ends. It stays in memory until it
        // is deregistered.
        return unsafe { function(start.cast()) };
    }
    // SAFETY: the section is mapped and not written to.
    let bytes = unsafe { std::slice::from_raw_parts(start, size) };
    for record in function_records(bytes) {
        // SAFETY: as above, for one record.
        unsafe { function(record.as_ptr().cast()) };
    }
}

/// The function records of a section, each with its length field.
fn function_records(mut section: &[u8]) -> impl Iterator<Item = &[u8]> {
    let records = std::iter::from_fn(move || {
        let length = u32::from_le_bytes(*section.first_chunk()?);
        let size = usize::try_from(length).ok().filter(|length| *length != 0)?.checked_add(4)?;
        let (record, rest) = section.split_at_checked(size)?;
        section = rest;
        Some(record)
    });
    // A common record has the number 0.
    records.filter(|record| record.get(4..8).is_some_and(|number| number != [0; 4]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn function_records_end_at_the_zero_word() {
        let section =
            [&[4, 0, 0, 0, 0, 0, 0, 0][..], &[8, 0, 0, 0, 12, 0, 0, 0, 1, 2, 3, 4], &[0; 8]];
        let section = section.concat();
        let found: Vec<_> = function_records(&section).collect();
        assert_eq!(found, [&section[8..20]]);
        assert_eq!(function_records(&section[..15]).count(), 0);
    }

    #[test]
    #[cfg(all(target_env = "gnu", not(miri)))]
    fn each_unwinder_of_the_process_is_found_once() {
        for _ in 0..2 {
            assert_eq!(search().unwrap(), 1);
        }
        assert!(FOUND.read().iter().all(|unwinder| !unwinder.by_record));
    }

    /// A common record, and a function record of 16 addresses.
    fn section(start: u64) -> Vec<u8> {
        let common = [12, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0x78, 16, 0, 0, 0];
        let function = [20, 0, 0, 0, 20, 0, 0, 0];
        let mut section = [&common[..], &function, &start.to_le_bytes(), &[16]].concat();
        section.resize(common.len() + 4 + 20, 0);
        section.extend([0; 4]);
        section
    }

    /// Finding the table that was registered first takes libgcc so long that the fork happens meanwhile.
    #[test]
    #[cfg(all(target_env = "gnu", not(miri)))]
    fn child_of_a_process_that_removes_a_table_adds_one() {
        use std::sync::atomic::{AtomicBool, AtomicUsize};

        const COUNT: usize = 300_000;
        let add = |section: &[u8]| register(section.as_ptr().expose_provenance(), section.len());
        let remove =
            |section: &[u8]| deregister(section.as_ptr().expose_provenance(), section.len(), 1);
        let tables: Vec<u8> = (1..=COUNT as u64).flat_map(|number| section(number * 16)).collect();
        let own = section((COUNT as u64 + 1) * 16);
        let tables = || tables.chunks(own.len());
        tables().for_each(|table| assert_eq!(add(table).unwrap(), 1));
        let removed = AtomicUsize::new(0);
        let is_done = AtomicBool::new(false);
        let works = std::thread::scope(|scope| {
            scope.spawn(|| {
                for table in tables().take_while(|_| !is_done.load(Ordering::Relaxed)) {
                    removed.fetch_add(1, Ordering::Relaxed);
                    remove(table);
                }
            });
            let works = (0..8).all(|_| {
                while removed.load(Ordering::Relaxed) == 0 {
                    std::thread::yield_now();
                }
                crate::fork::tests::in_child(|| add(&own) == Ok(1))
            });
            is_done.store(true, Ordering::Relaxed);
            works
        });
        tables().skip(removed.into_inner()).collect::<Vec<_>>().into_iter().rev().for_each(remove);
        assert!(works);
    }
}

//! System calls whose arguments are addresses of memory.
#![allow(unsafe_code)]

use alloc::vec::Vec;
use core::ffi::c_void;
use core::ptr::{self, NonNull};

use rustix::fd::OwnedFd;
use rustix::io::{self, retry_on_intr};
#[cfg(not(miri))]
use rustix::mm;
use rustix::mm::{Advice, MapFlags, MprotectFlags, MremapFlags, MsyncFlags, ProtFlags};
use rustix::time::ClockId;

use super::super::types::{Errno, Nanoseconds, Protection};
#[cfg(miri)]
use super::shim::mm;

/// The size of a page in bytes, a power of two: x86-64 and riscv64 have no other.
#[cfg(any(target_arch = "x86_64", target_arch = "riscv64"))]
pub(crate) fn page_size() -> usize {
    4096
}

/// The size of a page in bytes, a power of two: 4, 16 or 64 KiB, as the kernel was configured.
///
/// Found by `madvise(2)`, which refuses addresses that are not a multiple of it. Kernels before 6.4 provide the
/// auxiliary vector only through `/proc`, which may not be mounted.
#[cfg(not(any(target_arch = "x86_64", target_arch = "riscv64")))]
pub(crate) fn page_size() -> usize {
    use core::sync::atomic::{AtomicUsize, Ordering};
    static PAGE_SIZE: AtomicUsize = AtomicUsize::new(0);

    let is_multiple = |&address: &usize| {
        let address = ptr::without_provenance_mut(address);
        // SAFETY: advice on no bytes at all.
        unsafe { mm::madvise(address, 0, Advice::Normal) }.is_ok()
    };
    match PAGE_SIZE.load(Ordering::Relaxed) {
        0 => {
            let size = [4 << 10, 16 << 10].into_iter().find(is_multiple).unwrap_or(64 << 10);
            PAGE_SIZE.store(size, Ordering::Relaxed);
            size
        }
        known => known,
    }
}

/// The address of new memory. No choice replaces an existing mapping.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    /// At an address that the kernel chooses.
    Anywhere,
    /// Below 2 GiB if the architecture has a flag for it; else as `Hint(1 GiB)`.
    Low,
    /// At this address if it is free and a multiple of the page size, otherwise as `Anywhere`.
    Hint(usize),
    /// At this address or not at all (`MAP_FIXED_NOREPLACE`); kernels before 4.17 treat it as `Hint`.
    Exactly(usize),
}

/// `MAP_32BIT` of `asm/mman.h`, which rustix does not name: the first 2 GiB. The kernel searches
/// the upper half of them, from 1 GiB.
#[cfg(target_arch = "x86_64")]
const LOW: (usize, MapFlags) = (0, MapFlags::from_bits_retain(0x40));
#[cfg(not(target_arch = "x86_64"))]
const LOW: (usize, MapFlags) = (1 << 30, MapFlags::empty());

/// One `pread(2)` at offset `at` of at most `limit` bytes, appended to `bytes` within its capacity.
///
/// Returns the number of bytes read: 0 at the end of the file or if `bytes` has no spare capacity. The kernel
/// reads at most 0x7fff_f000 bytes at once.
pub(crate) fn read(
    file: &OwnedFd,
    at: u64,
    bytes: &mut Vec<u8>,
    limit: usize,
) -> Result<usize, Errno> {
    fault_point!(Read);
    let len = bytes.len();
    let spare = bytes.spare_capacity_mut();
    let limit = limit.min(spare.len());
    let (spare, _) = spare.split_at_mut(limit);
    let count = retry_on_intr(|| io::pread(file, &mut *spare, at).map(|(read, _)| read.len()))?;
    // SAFETY: the call above initialised `count` bytes after the first `len`, inside the spare capacity, so
    // `len + count` is within the capacity and does not overflow.
    unsafe { bytes.set_len(len + count) };
    Ok(count)
}

/// `mmap(2)` of `len` bytes of private, anonymous, zero-filled memory.
///
/// The kernel refuses a `len` of 0. The caller owns the memory and unmaps it with [`unmap`].
pub(crate) fn map(place: Place, len: usize, protection: Protection) -> Result<NonNull<u8>, Errno> {
    fault_point!(Map);
    let (hint, flags) = match place {
        Place::Anywhere => (0, MapFlags::empty()),
        Place::Low => LOW,
        Place::Hint(address) => (address, MapFlags::empty()),
        Place::Exactly(address) => (address, MapFlags::FIXED_NOREPLACE),
    };
    let hint = ptr::without_provenance_mut::<c_void>(hint);
    let protection = flags_of(protection);
    // SAFETY: without MAP_FIXED, which none of the flags implies, the kernel never replaces an existing
    // mapping, so no reference and no allocation is affected.
    let start = unsafe { mm::mmap_anonymous(hint, len, protection, MapFlags::PRIVATE | flags) }?;
    // Without MAP_FIXED the kernel maps nothing at address 0.
    Ok(NonNull::new(start.cast()).ok_or(io::Errno::FAULT)?)
}

/// The `PROT_*` flags of a protection, for `mmap` and `mprotect`.
fn flags_of(protection: Protection) -> ProtFlags {
    match protection {
        Protection::None => ProtFlags::empty(),
        Protection::Read => ProtFlags::READ,
        Protection::ReadWrite => ProtFlags::READ | ProtFlags::WRITE,
        Protection::ReadExecute => ProtFlags::READ | ProtFlags::EXEC,
    }
}

/// `mmap(2)` of `len` bytes of `file` from `offset`, a multiple of the page size: over the mapping at `over`, or at an
/// address that the kernel chooses, which the caller owns and unmaps with [`unmap`]. `sharing` is `SHARED`, or `PRIVATE`:
/// then the pages are those of the file until this process writes to them.
///
/// Access beyond the end of the file raises SIGBUS.
///
/// # Safety
///
/// * If there is an `over`, it to `over + len` are whole pages inside one live mapping of the caller.
/// * No reference into them is alive, and no code in them is running.
pub(crate) unsafe fn map_file(
    file: &OwnedFd,
    sharing: MapFlags,
    offset: u64,
    over: Option<NonNull<u8>>,
    len: usize,
    protection: Protection,
) -> Result<NonNull<u8>, Errno> {
    fault_point!(MapFile(protection));
    let (start, fixed) = match over {
        Some(over) => (over.as_ptr().cast(), MapFlags::FIXED),
        None => (ptr::null_mut(), MapFlags::empty()),
    };
    let (protection, flags) = (flags_of(protection), sharing | fixed);
    // SAFETY: MAP_FIXED replaces pages that the caller owns and that are unused; without it, the kernel never replaces
    // an existing mapping.
    let start = unsafe { mm::mmap(start, len, protection, flags, file, offset) }?;
    // The kernel maps nothing at address 0 of its own choice.
    Ok(NonNull::new(start.cast()).ok_or(io::Errno::FAULT)?)
}

/// `mmap(2)` of private, anonymous, zero-filled memory over the mapping at `start`.
///
/// # Safety
///
/// As for [`map_file`].
pub(crate) unsafe fn map_over(
    start: NonNull<u8>,
    len: usize,
    protection: Protection,
) -> Result<(), Errno> {
    fault_point!(MapOver);
    let flags = MapFlags::PRIVATE | MapFlags::FIXED;
    let start = start.as_ptr().cast();
    // SAFETY: MAP_FIXED replaces pages that the caller owns and that are unused.
    unsafe { mm::mmap_anonymous(start, len, flags_of(protection), flags) }?;
    Ok(())
}

/// `mremap(2)` with an old size of 0: maps `len` bytes of the shared mapping at `pattern`, with its protection,
/// over the mapping at `start`.
///
/// # Safety
///
/// * `pattern` is the start of a live, shared mapping of the caller.
/// * `start` to `start + len` are as for [`map_file`], and not in that mapping.
pub(crate) unsafe fn copy_mapping(
    pattern: NonNull<u8>,
    start: NonNull<u8>,
    len: usize,
) -> Result<(), Errno> {
    fault_point!(CopyMapping);
    let (pattern, start) = (pattern.as_ptr().cast(), start.as_ptr().cast());
    // SAFETY: the destination is owned by the caller and unused; the pattern does not change.
    unsafe { mm::mremap_fixed(pattern, 0, len, MremapFlags::MAYMOVE, start) }?;
    Ok(())
}

/// `mremap(2)` with `MREMAP_FIXED`: moves `len` bytes of the mapping at `from` over the mapping at `to`. A thread that
/// accesses `to` meanwhile finds the old or the new pages.
///
/// # Safety
///
/// * `from` to `from + len` are whole pages inside one live mapping of the caller, to which no reference is alive. They
///   are unmapped afterwards.
/// * `to` to `to + len` are whole, live pages of the caller, apart from those. Code that refers to them or runs them
///   accepts the new pages in their place.
pub(crate) unsafe fn move_mapping(
    from: NonNull<u8>,
    len: usize,
    to: NonNull<u8>,
) -> Result<(), Errno> {
    fault_point!(MoveMapping);
    let (from, to) = (from.as_ptr().cast(), to.as_ptr().cast());
    // SAFETY: the contract of this function.
    unsafe { mm::mremap_fixed(from, len, len, MremapFlags::MAYMOVE, to) }?;
    Ok(())
}

/// `munmap(2)`.
///
/// # Safety
///
/// * `start` and `len` are those of one live mapping that the caller owns.
/// * No reference into it is alive, and no thread accesses or executes it.
pub(crate) unsafe fn unmap(start: NonNull<u8>, len: usize) {
    // SAFETY: the caller owns the whole mapping and does not use it any more.
    let result = unsafe { mm::munmap(start.as_ptr().cast(), len) };
    // The call fails only for misaligned or empty ranges and where it would split a mapping. The contract
    // excludes all of them, and a destructor could not report the error.
    debug_assert!(result.is_ok(), "munmap: {result:?}");
}

/// `mprotect(2)`. No [`Protection`] is writable and executable at once.
///
/// # Safety
///
/// * `start` to `start + len` are whole pages inside one live mapping of the caller.
/// * No reference into them is alive that needs an access which `protection` removes.
pub(crate) unsafe fn protect(
    start: NonNull<u8>,
    len: usize,
    protection: Protection,
) -> Result<(), Errno> {
    fault_point!(Protect);
    let flags = MprotectFlags::from_bits_retain(flags_of(protection).bits());
    // SAFETY: the caller owns the pages, and no live reference needs the removed access.
    Ok(unsafe { mm::mprotect(start.as_ptr().cast(), len, flags) }?)
}

/// `riscv_flush_icache(2)` for all threads of the process: the harts that run them, now or later, fetch the
/// bytes stored before the call. rustix does not provide it.
///
/// Source: arch/riscv/kernel/sys_riscv.c of Linux; 259 is `__NR_arch_specific_syscall + 15` of
/// asm/unistd.h.
#[cfg(target_arch = "riscv64")]
pub(crate) fn flush_instruction_cache(code: &[u8]) -> Result<(), Errno> {
    fault_point!(SynchronizeCores);
    let range = code.as_ptr_range();
    let result: isize;
    // SAFETY: the call takes two addresses, which it does not dereference, and flags; it changes no register
    // except a0, and no memory.
    unsafe {
        core::arch::asm!(
            "ecall",
            inlateout("a0") range.start => result,
            in("a1") range.end,
            in("a2") 0usize,
            in("a7") 259usize,
            options(nostack)
        );
    }
    match i32::try_from(result) {
        Ok(0..) => Ok(()),
        Ok(negative) => Err(io::Errno::from_raw_os_error(negative.wrapping_neg()).into()),
        Err(_) => Err(io::Errno::INVAL.into()),
    }
}

/// `clock_gettime(2)` of `CLOCK_REALTIME_COARSE`, with which file systems stamp files; 0 if it fails. It advances every
/// 1 to 10 ms.
pub(crate) fn wall_clock() -> Nanoseconds {
    clock(ClockId::RealtimeCoarse)
}

/// `clock_gettime(2)` of a clock; 0 if it fails.
///
/// A system call: the first lookup in the vDSO by rustix would dominate the one call that a load makes, and it reads an
/// address that valgrind hides from programs.
///
/// Sources: `asm/unistd_64.h` of x86-64, `asm-generic/unistd.h` of Linux.
#[cfg(not(miri))]
pub(super) fn clock(id: ClockId) -> Nanoseconds {
    let id = id as isize;
    let mut time = [0i64; 2];
    let into = time.as_mut_ptr();
    let result: isize;
    // SAFETY: the call writes the two words of `time`, changes the registers listed, and no other memory.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") 228isize => result,
            in("rdi") id,
            in("rsi") into,
            out("rcx") _,
            out("r11") _,
            options(nostack)
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        core::arch::asm!(
            "svc 0",
            inlateout("x0") id => result,
            in("x1") into,
            in("x8") 113usize,
            options(nostack)
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "riscv64")]
    unsafe {
        core::arch::asm!(
            "ecall",
            inlateout("a0") id => result,
            in("a1") into,
            in("a7") 113usize,
            options(nostack)
        );
    }
    let [seconds, rest] = time;
    if result == 0 { seconds.saturating_mul(1_000_000_000).saturating_add(rest) } else { 0 }
}

/// As without the interpreter.
#[cfg(miri)]
pub(super) fn clock(id: ClockId) -> Nanoseconds {
    let time = rustix::time::clock_gettime_dynamic(rustix::time::DynamicClockId::Known(id));
    time.map_or(0, |time| time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec))
}

/// `madvise(2)`.
///
/// # Safety
///
/// * `start` to `start + len` are whole pages of one live mapping.
/// * If `advice` discards bytes, no reference into them is alive.
pub(crate) unsafe fn advise(start: NonNull<u8>, len: usize, advice: Advice) -> Result<(), Errno> {
    fault_point!(Advise(advice));
    // SAFETY: the caller owns the pages and allows the effect of the advice on their bytes.
    Ok(unsafe { mm::madvise(start.as_ptr().cast(), len, advice) }?)
}

/// `mlock(2)` if `locked`, otherwise `munlock(2)`.
///
/// # Safety
///
/// `start` to `start + len` are whole pages of one live mapping.
pub(crate) unsafe fn lock(start: NonNull<u8>, len: usize, locked: bool) -> Result<(), Errno> {
    fault_point!(Lock);
    let start = start.as_ptr().cast();
    if locked {
        // SAFETY: locking changes no byte of the caller's pages.
        Ok(unsafe { mm::mlock(start, len) }?)
    } else {
        // SAFETY: as above.
        Ok(unsafe { mm::munlock(start, len) }?)
    }
}

/// `msync(2)`; with `wait`, it returns after the data is on the storage device.
///
/// # Safety
///
/// `start` to `start + len` are whole pages of one live mapping.
pub(crate) unsafe fn sync(start: NonNull<u8>, len: usize, wait: bool) -> Result<(), Errno> {
    fault_point!(Sync);
    let flags = if wait { MsyncFlags::SYNC } else { MsyncFlags::ASYNC };
    // SAFETY: writing the caller's pages to their file changes none of their bytes.
    Ok(unsafe { mm::msync(start.as_ptr().cast(), len, flags) }?)
}

#[cfg(test)]
mod tests {
    use super::super::open;
    use super::*;
    use rustix::fs::OFlags;

    #[test]
    #[cfg_attr(miri, ignore = "short reads")]
    fn read_appends_within_the_capacity() {
        let file = open(c"/dev/zero", OFlags::RDONLY).unwrap();
        let mut bytes = Vec::with_capacity(64);
        bytes.push(7);
        assert_eq!(read(&file, 0, &mut bytes, 3), Ok(3));
        assert_eq!(bytes, [7, 0, 0, 0]);
        let capacity = bytes.capacity();
        assert_eq!(read(&file, 0, &mut bytes, usize::MAX), Ok(capacity - 4));
        assert_eq!(read(&file, 0, &mut bytes, usize::MAX), Ok(0));
        assert_eq!((bytes.len(), bytes.capacity()), (capacity, capacity));
    }

    #[test]
    fn wall_clock_agrees_with_the_standard_library() {
        let now = || std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as i64;
        let (before, found, after) = (now(), wall_clock(), now());
        // The coarse clock is up to a tick behind.
        assert!((before - 20_000_000..=after).contains(&found), "{before} {found} {after}");
    }

    #[test]
    fn page_size_agrees_with_the_auxiliary_vector() {
        assert_eq!(page_size(), rustix::param::page_size());
    }

    #[test]
    fn map_exactly_at_a_used_address_is_refused() {
        let len = page_size();
        let start = map(Place::Anywhere, len, Protection::ReadWrite).unwrap();
        // SAFETY: the first byte of a new mapping without references.
        unsafe { start.write(42) };
        match map(Place::Exactly(start.addr().get()), len, Protection::Read) {
            Err(errno) => assert_eq!(errno, io::Errno::EXIST),
            Ok(elsewhere) => {
                assert_ne!(elsewhere, start, "kernels before 4.17 treat it as a hint");
                // SAFETY: the whole mapping, never used.
                unsafe { unmap(elsewhere, len) };
            }
        }
        // SAFETY: as above; it is still mapped.
        assert_eq!(unsafe { start.read() }, 42);
        // SAFETY: the whole mapping, and `start` is not used again.
        unsafe { unmap(start, len) };
    }
}

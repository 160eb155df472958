//! Every system call of the loader, one function each.
//!
//! Nothing is decided here: a function makes its call, repeats it when a signal interrupted it, and
//! returns the kernel's word. In tests each one asks `faults` first and so can be made to fail.
//!
//! Sources: the manual page of section 2 that each function names; for what rustix does with the
//! arguments, the documentation of `rustix::mm` and `rustix::fs`.
#![allow(unsafe_code)]

use alloc::vec::Vec;
use core::ffi::{CStr, c_void};
use core::ptr::{self, NonNull};

use rustix::fd::OwnedFd;
use rustix::fs::{FileType, MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::{self, retry_on_intr};
use rustix::mm::{Advice, MapFlags, MprotectFlags, MremapFlags, MsyncFlags, ProtFlags};
use rustix::thread::MembarrierCommand;
use rustix::time::{ClockId, DynamicClockId};
#[cfg(not(miri))]
use rustix::{fs, mm, thread};
#[cfg(miri)]
use shim::{fs, mm, thread};

use super::types::{Errno, FileAccess, FileKind, FileStamp, Nanoseconds, Protection};

#[cfg(test)]
use super::fault_injection::{self, Call};

#[cfg(miri)]
pub(super) mod shim;
pub(super) mod writing;

/// The longest path that `open(2)` takes, without its NUL: `PATH_MAX` of `linux/limits.h` less one.
pub(super) const PATH_LIMIT: usize = 4095;

/// The size of a page in bytes, a power of two: x86-64 and riscv64 have no other.
#[cfg(any(target_arch = "x86_64", target_arch = "riscv64"))]
#[inline]
pub(super) fn page_size() -> usize {
    4096
}

/// The size of a page in bytes, a power of two: 4, 16 or 64 KiB, as the kernel was configured.
///
/// `madvise(2)` tells by the addresses that it refuses as no multiple of it. The auxiliary vector
/// would tell as well, but kernels before 6.4 give it out through `/proc` alone, which need not be
/// mounted.
#[cfg(not(any(target_arch = "x86_64", target_arch = "riscv64")))]
pub(super) fn page_size() -> usize {
    use core::sync::atomic::{AtomicUsize, Ordering};
    static KNOWN: AtomicUsize = AtomicUsize::new(0);

    let is_multiple = |&address: &usize| {
        let address = ptr::without_provenance_mut(address);
        // SAFETY: advice on no bytes at all.
        unsafe { mm::madvise(address, 0, Advice::Normal) }.is_ok()
    };
    match KNOWN.load(Ordering::Relaxed) {
        0 => {
            let size = [4 << 10, 16 << 10].into_iter().find(is_multiple).unwrap_or(64 << 10);
            KNOWN.store(size, Ordering::Relaxed);
            size
        }
        known => known,
    }
}

/// `open(2)` for reading, following symbolic links.
///
/// Not blocking, so that a named pipe that nobody writes cannot hang the caller; a terminal does
/// not become the controlling one; no child process inherits the descriptor.
pub(super) fn open(path: &CStr) -> Result<OwnedFd, Errno> {
    #[cfg(test)]
    fault_injection::check(Call::Open)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    Ok(retry_on_intr(|| fs::open(path, flags, Mode::empty()))?)
}

/// What `fstat(2)` says of an open file.
pub(super) struct FileStatus {
    pub(super) kind: FileKind,
    /// Means nothing unless `kind` is `Regular`.
    pub(super) stamp: FileStamp,
}

/// `fstat(2)`.
pub(super) fn status(file: &OwnedFd) -> Result<FileStatus, Errno> {
    #[cfg(test)]
    fault_injection::check(Call::Status)?;
    status_of(&fs::fstat(file)?)
}

/// `stat(2)`, following symbolic links.
pub(super) fn status_at(path: &CStr) -> Result<FileStatus, Errno> {
    #[cfg(test)]
    fault_injection::check(Call::Status)?;
    status_of(&fs::stat(path)?)
}

fn status_of(status: &fs::Stat) -> Result<FileStatus, Errno> {
    let kind = match FileType::from_raw_mode(status.st_mode) {
        FileType::RegularFile => FileKind::Regular,
        FileType::Directory => FileKind::Directory,
        FileType::Fifo => FileKind::Fifo,
        FileType::CharacterDevice => FileKind::CharacterDevice,
        FileType::BlockDevice => FileKind::BlockDevice,
        _ => FileKind::Other,
    };
    let size = u64::try_from(status.st_size).map_err(|_| io::Errno::OVERFLOW)?;
    let seconds = Nanoseconds::from(status.st_mtime).saturating_mul(1_000_000_000);
    let modified = seconds.saturating_add(Nanoseconds::from(status.st_mtime_nsec as u32));
    let (device, inode) = (status.st_dev, status.st_ino);
    Ok(FileStatus { kind, stamp: FileStamp { size, modified, device, inode } })
}

/// One `pread(2)` at `at` of at most `limit` bytes, put behind what `bytes` holds without growing it.
///
/// Returns how many came: 0 at the end of the file, and 0 when `bytes` has no spare capacity. The
/// kernel reads at most 0x7fff_f000 bytes at once.
pub(super) fn read(
    file: &OwnedFd,
    at: u64,
    bytes: &mut Vec<u8>,
    limit: usize,
) -> Result<usize, Errno> {
    #[cfg(test)]
    fault_injection::check(Call::Read)?;
    let len = bytes.len();
    let spare = bytes.spare_capacity_mut();
    let limit = limit.min(spare.len());
    let (spare, _) = spare.split_at_mut(limit);
    let count = retry_on_intr(|| io::pread(file, &mut *spare, at).map(|(read, _)| read.len()))?;
    // SAFETY: the call above has initialised `count` bytes behind the first `len`, inside the spare
    // capacity, so that `len + count` is within the capacity and does not overflow.
    unsafe { bytes.set_len(len + count) };
    Ok(count)
}

/// One `read(2)` into `buffer`; returns how many bytes came, 0 at the end of the file.
pub(super) fn read_into(file: &OwnedFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    #[cfg(test)]
    fault_injection::check(Call::Read)?;
    Ok(retry_on_intr(|| io::read(file, &mut *buffer))?)
}

/// Where new memory is wanted. No choice ever replaces memory that is there already.
#[derive(Clone, Copy)]
pub(super) enum Place {
    /// Where the kernel likes.
    Anywhere,
    /// Below 2 GiB if the architecture has a flag for it; else as `Hint(1 GiB)`.
    Low,
    /// At this address if it is free and a multiple of the page size, else where the kernel likes.
    Hint(usize),
    /// At this address or not at all; a kernel before 4.17 reads it as `Hint`.
    Exactly(usize),
}

/// `mmap(2)` of `len` bytes of private, anonymous, zero-filled memory.
///
/// `len` must not be 0; the kernel refuses it. The memory is the caller's to `unmap`.
pub(super) fn map(place: Place, len: usize, protection: Protection) -> Result<NonNull<u8>, Errno> {
    #[cfg(test)]
    fault_injection::check(Call::Map)?;
    let (hint, flags) = match place {
        Place::Anywhere => (0, MapFlags::empty()),
        Place::Low => LOW,
        Place::Hint(address) => (address, MapFlags::empty()),
        Place::Exactly(address) => (address, MapFlags::FIXED_NOREPLACE),
    };
    let hint = ptr::without_provenance_mut::<c_void>(hint);
    let protection = flags_of(protection);
    // SAFETY: without MAP_FIXED, which none of the flags is or implies, the kernel maps memory only
    // where there was none, so no reference and no allocation can be hit.
    let start = unsafe { mm::mmap_anonymous(hint, len, protection, MapFlags::PRIVATE | flags) }?;
    // The kernel maps nothing at address 0 unless told to with MAP_FIXED.
    Ok(NonNull::new(start.cast()).ok_or(io::Errno::FAULT)?)
}

/// `MAP_32BIT` of `asm/mman.h`, which rustix does not name: the first 2 GiB. The kernel searches
/// the upper half of them, from 1 GiB.
#[cfg(target_arch = "x86_64")]
const LOW: (usize, MapFlags) = (0, MapFlags::from_bits_retain(0x40));
#[cfg(not(target_arch = "x86_64"))]
const LOW: (usize, MapFlags) = (1 << 30, MapFlags::empty());

/// What `mmap` and `mprotect` call a protection: the same numbers for both.
fn flags_of(protection: Protection) -> ProtFlags {
    match protection {
        Protection::None => ProtFlags::empty(),
        Protection::Read => ProtFlags::READ,
        Protection::ReadWrite => ProtFlags::READ | ProtFlags::WRITE,
        Protection::ReadExecute => ProtFlags::READ | ProtFlags::EXEC,
    }
}

/// `mmap(2)` of the first `len` bytes of `file` over what is mapped from `start`, shared.
///
/// Bytes beyond the end of the file are a fault (SIGBUS) for whoever touches them.
///
/// # Safety
///
/// * `start` to `start + len` are whole pages inside one live `map` of the caller.
/// * Nothing refers to them or runs in them.
pub(super) unsafe fn map_file(
    file: &OwnedFd,
    start: NonNull<u8>,
    len: usize,
    protection: Protection,
) -> Result<(), Errno> {
    #[cfg(test)]
    fault_injection::check(Call::MapFile(protection))?;
    let flags = MapFlags::SHARED | MapFlags::FIXED;
    // SAFETY: MAP_FIXED replaces what is the caller's own and unused.
    unsafe { mm::mmap(start.as_ptr().cast(), len, flags_of(protection), flags, file, 0) }?;
    Ok(())
}

/// `mmap(2)` of `len` bytes of `file` from `offset`, a multiple of the page size, where the kernel
/// likes, shared.
///
/// The memory is the caller's to `unmap`; what lies beyond the end of the file is as in [`map_file`].
pub(super) fn map_file_anywhere(
    file: &OwnedFd,
    offset: u64,
    len: usize,
    protection: Protection,
) -> Result<NonNull<u8>, Errno> {
    #[cfg(test)]
    fault_injection::check(Call::MapFile(protection))?;
    let (anywhere, flags) = (ptr::null_mut(), MapFlags::SHARED);
    // SAFETY: without MAP_FIXED the kernel maps memory only where there was none.
    let start = unsafe { mm::mmap(anywhere, len, flags_of(protection), flags, file, offset) }?;
    // The kernel maps nothing at address 0 unless told to with MAP_FIXED.
    Ok(NonNull::new(start.cast()).ok_or(io::Errno::FAULT)?)
}

/// `mmap(2)` of private, anonymous, zero-filled memory over what is mapped from `start`.
///
/// # Safety
///
/// As for [`map_file`].
pub(super) unsafe fn map_over(
    start: NonNull<u8>,
    len: usize,
    protection: Protection,
) -> Result<(), Errno> {
    #[cfg(test)]
    fault_injection::check(Call::MapOver)?;
    let flags = MapFlags::PRIVATE | MapFlags::FIXED;
    let start = start.as_ptr().cast();
    // SAFETY: MAP_FIXED replaces what is the caller's own and unused.
    unsafe { mm::mmap_anonymous(start, len, flags_of(protection), flags) }?;
    Ok(())
}

/// `mremap(2)` with an old size of 0: maps `len` bytes of what is shared at `pattern`, from there on
/// and with its protection, over what is mapped from `start`.
///
/// # Safety
///
/// * `pattern` is the start of a live, shared mapping of the caller.
/// * `start` to `start + len` are as for [`map_file`], and not in that mapping.
pub(super) unsafe fn copy_mapping(
    pattern: NonNull<u8>,
    start: NonNull<u8>,
    len: usize,
) -> Result<(), Errno> {
    #[cfg(test)]
    fault_injection::check(Call::CopyMapping)?;
    let (pattern, start) = (pattern.as_ptr().cast(), start.as_ptr().cast());
    // SAFETY: the place is the caller's own and unused; the pattern stays as it is.
    unsafe { mm::mremap_fixed(pattern, 0, len, MremapFlags::MAYMOVE, start) }?;
    Ok(())
}

/// `munmap(2)`.
///
/// # Safety
///
/// * `start` and `len` are those of one `map`, which has not been unmapped yet.
/// * No reference into the memory is alive, and nothing reads, writes or runs it any more.
pub(super) unsafe fn unmap(start: NonNull<u8>, len: usize) {
    // SAFETY: the caller owns the whole mapping and gives it up.
    let result = unsafe { mm::munmap(start.as_ptr().cast(), len) };
    // The call fails only for misaligned or empty ranges and where it would split a mapping, all of
    // which the contract excludes; and a caller that drops memory could do nothing about it.
    debug_assert!(result.is_ok(), "munmap: {result:?}");
}

/// `madvise(2)` with `MADV_POPULATE_WRITE` (Linux 5.14): gives pages memory before the first write.
///
/// # Safety
///
/// `start` to `start + len` lies inside one live `map` and is writable.
pub(super) unsafe fn populate(start: NonNull<u8>, len: usize) -> Result<(), Errno> {
    #[cfg(test)]
    fault_injection::check(Call::Populate)?;
    // SAFETY: populating changes no byte, and the pages are the caller's.
    Ok(unsafe { mm::madvise(start.as_ptr().cast(), len, Advice::LinuxPopulateWrite) }?)
}

/// `mprotect(2)`. There is no argument that asks for writable and executable at once.
///
/// # Safety
///
/// * `start` to `start + len` are whole pages inside one live `map`.
/// * No reference into them is alive that the new protection does not allow.
pub(super) unsafe fn protect(
    start: NonNull<u8>,
    len: usize,
    protection: Protection,
) -> Result<(), Errno> {
    #[cfg(test)]
    fault_injection::check(Call::Protect)?;
    let flags = MprotectFlags::from_bits_retain(flags_of(protection).bits());
    // SAFETY: the pages are the caller's, and nothing refers to them that would be cut off.
    Ok(unsafe { mm::mprotect(start.as_ptr().cast(), len, flags) }?)
}

/// `madvise(2)` with `MADV_POPULATE_READ` (Linux 5.14): maps pages before they are first read or run.
///
/// # Safety
///
/// `start` to `start + len` lies inside one live `map` and is readable.
pub(super) unsafe fn populate_for_reading(start: NonNull<u8>, len: usize) -> Result<(), Errno> {
    #[cfg(test)]
    fault_injection::check(Call::PopulateForReading)?;
    // SAFETY: populating changes no byte, and the pages are the caller's.
    Ok(unsafe { mm::madvise(start.as_ptr().cast(), len, Advice::LinuxPopulateRead) }?)
}

/// What becomes of pages in a child process.
#[derive(Clone, Copy)]
pub(super) enum InChild {
    /// They are not mapped: `MADV_DONTFORK` (Linux 2.6.16).
    Absent,
    /// They are zero: `MADV_WIPEONFORK` (Linux 4.14), for private anonymous memory alone.
    Zero,
}

/// `madvise(2)` on what `fork(2)` does with pages.
///
/// # Safety
///
/// `start` to `start + len` are whole pages inside one live `map`.
pub(super) unsafe fn on_fork(start: NonNull<u8>, len: usize, fate: InChild) -> Result<(), Errno> {
    #[cfg(test)]
    fault_injection::check(Call::OnFork)?;
    let advice = match fate {
        InChild::Absent => Advice::LinuxDontFork,
        InChild::Zero => Advice::LinuxWipeOnFork,
    };
    // SAFETY: nothing changes in this process.
    Ok(unsafe { mm::madvise(start.as_ptr().cast(), len, advice) }?)
}

/// How a memory file is asked for. `vm.memfd_noexec` and the age of the kernel decide which is had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MemoryFile {
    /// `MFD_NOEXEC_SEAL` (Linux 6.3): nobody can ever `execve` it. Mapping it executable is another
    /// matter, which the flag does not touch; and it is allowed under every `vm.memfd_noexec`.
    NeverRunAsProgram,
    /// Without either flag: kernels before 6.3.
    Plain,
    /// `MFD_EXEC` (Linux 6.3).
    Executable,
}

/// `memfd_create(2)`; no child process inherits the descriptor. The name is seen in the list of
/// mappings and means nothing.
pub(super) fn memory_file(name: &CStr, kind: MemoryFile) -> Result<OwnedFd, Errno> {
    #[cfg(test)]
    fault_injection::check(Call::MemoryFile)?;
    let kind = match kind {
        MemoryFile::NeverRunAsProgram => MemfdFlags::NOEXEC_SEAL,
        MemoryFile::Plain => MemfdFlags::empty(),
        MemoryFile::Executable => MemfdFlags::EXEC,
    };
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | kind;
    Ok(fs::memfd_create(name, flags)?)
}

/// `open(2)` with `O_TMPFILE` (Linux 3.11): a file without a name in `directory`.
pub(super) fn temporary_file(directory: &CStr) -> Result<OwnedFd, Errno> {
    #[cfg(test)]
    fault_injection::check(Call::TemporaryFile)?;
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::EXCL | OFlags::CLOEXEC;
    Ok(retry_on_intr(|| fs::open(directory, flags, Mode::RUSR | Mode::WUSR))?)
}

/// `ftruncate(2)`: gives a file its size in bytes, without memory for them.
pub(super) fn resize(file: &OwnedFd, size: u64) -> Result<(), Errno> {
    #[cfg(test)]
    fault_injection::check(Call::Resize)?;
    Ok(retry_on_intr(|| fs::ftruncate(file, size))?)
}

/// `fcntl(2)` with `F_ADD_SEALS`: the size stays as it is and, when `writers` is given as false
/// (`F_SEAL_FUTURE_WRITE`, Linux 5.1), no mapping made from now on can be or become writable.
pub(super) fn seal(file: &OwnedFd, writers: bool) -> Result<(), Errno> {
    #[cfg(test)]
    fault_injection::check(Call::Seal)?;
    let size = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    let seals = if writers { size } else { size | SealFlags::FUTURE_WRITE };
    Ok(fs::fcntl_add_seals(file, seals)?)
}

/// `clock_gettime(2)` of `CLOCK_MONOTONIC_COARSE`, in nanoseconds: 3 ns through the vDSO where a
/// precise clock takes 21. It advances with the kernel's tick, every 1 to 10 ms.
#[inline]
pub(super) fn coarse_time() -> u64 {
    clock(ClockId::MonotonicCoarse).unsigned_abs()
}

/// A number that threads which run at once mostly have for themselves. A wrong one costs time and
/// nothing else.
///
/// On x86-64 the number of the core, by `getcpu(2)`: 2 ns through the vDSO.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) fn core_number() -> usize {
    thread::sched_getcpu()
}

/// A number that threads which run at once mostly have for themselves. A wrong one costs time and
/// nothing else.
///
/// Where asking for the number of the core is a system call, one made of the address of the stack:
/// stacks of threads are at least 64 KiB apart, and the golden ratio spreads what is left.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(super) fn core_number() -> usize {
    let here = 0u8;
    let stack = (&raw const here).addr() >> 16;
    stack.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48
}

/// `sched_yield(2)`.
pub(super) fn yield_now() {
    thread::sched_yield();
}

/// `gettid(2)`: a number that no other thread of the process has at the same time.
pub(super) fn thread_id() -> i32 {
    thread::gettid().as_raw_nonzero().get()
}

/// `getpid(2)`.
pub(super) fn process_id() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

/// `membarrier(2)` with `MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE` (Linux 4.16; riscv64 6.10):
/// every other thread of the process executes a context synchronising instruction before it goes on.
pub(super) fn synchronize_cores() -> Result<(), Errno> {
    #[cfg(test)]
    fault_injection::check(Call::SynchronizeCores)?;
    barrier(MembarrierCommand::PrivateExpeditedSyncCore)
}

/// `membarrier(2)`: announces that the process is going to call [`synchronize_cores`].
pub(super) fn register_synchronize_cores() -> Result<(), Errno> {
    #[cfg(test)]
    fault_injection::check(Call::RegisterSynchronizeCores)?;
    barrier(MembarrierCommand::RegisterPrivateExpeditedSyncCore)
}

/// `membarrier(2)` with `MEMBARRIER_CMD_PRIVATE_EXPEDITED` (Linux 4.14): every other thread of the
/// process executes a full memory barrier between the beginning and the end of the call.
pub(super) fn barrier_in_all_threads() -> Result<(), Errno> {
    #[cfg(test)]
    fault_injection::check(Call::Barrier)?;
    barrier(MembarrierCommand::PrivateExpedited)
}

/// `membarrier(2)`: announces that the process is going to call [`barrier_in_all_threads`].
pub(super) fn register_barrier_in_all_threads() -> Result<(), Errno> {
    #[cfg(test)]
    fault_injection::check(Call::RegisterBarrier)?;
    barrier(MembarrierCommand::RegisterPrivateExpedited)
}

/// `membarrier(2)`.
fn barrier(command: MembarrierCommand) -> Result<(), Errno> {
    Ok(thread::membarrier(command)?)
}

/// `riscv_flush_icache(2)` for all threads of the process: the harts they run on, or will run on,
/// fetch what was stored before the call. rustix does not have it.
///
/// Source: arch/riscv/kernel/sys_riscv.c of Linux; 259 is `__NR_arch_specific_syscall + 15` of
/// asm/unistd.h.
#[cfg(target_arch = "riscv64")]
pub(super) fn flush_instruction_cache(code: &[u8]) -> Result<(), Errno> {
    #[cfg(test)]
    fault_injection::check(Call::SynchronizeCores)?;
    let range = code.as_ptr_range();
    let result: isize;
    // SAFETY: the call takes two addresses, which it does not dereference, and flags; it changes no
    // register but a0 and no memory.
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

/// One `pread(2)` at `at` into bytes that exist already; returns how many came, as [`read`].
pub(super) fn read_at(file: &OwnedFd, at: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
    #[cfg(test)]
    fault_injection::check(Call::Read)?;
    Ok(retry_on_intr(|| io::pread(file, &mut *bytes, at))?)
}

/// `mmap(2)` of `len` bytes of a file from `offset`, a multiple of the page size, never executable.
///
/// `len` must not be 0; the kernel refuses it. The memory is the caller's to `unmap`.
pub(super) fn map_file_range(
    file: &OwnedFd,
    offset: u64,
    len: usize,
    access: FileAccess,
) -> Result<NonNull<u8>, Errno> {
    #[cfg(test)]
    fault_injection::check(Call::Map)?;
    let (protection, flags) = match access {
        FileAccess::Read => (ProtFlags::READ, MapFlags::PRIVATE),
        FileAccess::WritePrivate => (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE),
        FileAccess::WriteShared => (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED),
    };
    // SAFETY: without MAP_FIXED the kernel maps memory only where there was none.
    let start = unsafe { mm::mmap(ptr::null_mut(), len, protection, flags, file, offset) }?;
    Ok(NonNull::new(start.cast()).ok_or(io::Errno::FAULT)?)
}

/// `open(2)` for reading and writing; otherwise as [`open`].
pub(super) fn open_writable(path: &CStr) -> Result<OwnedFd, Errno> {
    #[cfg(test)]
    fault_injection::check(Call::Open)?;
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    Ok(retry_on_intr(|| fs::open(path, flags, Mode::empty()))?)
}

/// `posix_fadvise(2)` with `POSIX_FADV_WILLNEED`: the kernel begins to read the file and returns.
pub(super) fn read_ahead(file: &OwnedFd) -> Result<(), Errno> {
    #[cfg(test)]
    fault_injection::check(Call::ReadAhead)?;
    Ok(fs::fadvise(file, 0, None, fs::Advice::WillNeed)?)
}

/// `madvise(2)`.
///
/// # Safety
///
/// * `start` to `start + len` are whole pages of one live mapping.
/// * With advice that discards bytes: nobody relies on what they were.
pub(super) unsafe fn advise(start: NonNull<u8>, len: usize, advice: Advice) -> Result<(), Errno> {
    #[cfg(test)]
    fault_injection::check(Call::Advise)?;
    // SAFETY: the pages are the caller's, and so is what the advice does to their bytes.
    Ok(unsafe { mm::madvise(start.as_ptr().cast(), len, advice) }?)
}

/// `mlock(2)`, or `munlock(2)`.
///
/// # Safety
///
/// `start` to `start + len` are whole pages of one live mapping.
pub(super) unsafe fn lock(start: NonNull<u8>, len: usize, locked: bool) -> Result<(), Errno> {
    #[cfg(test)]
    fault_injection::check(Call::Lock)?;
    let start = start.as_ptr().cast();
    if locked {
        // SAFETY: the pages are the caller's, and locking changes no byte.
        Ok(unsafe { mm::mlock(start, len) }?)
    } else {
        // SAFETY: as above.
        Ok(unsafe { mm::munlock(start, len) }?)
    }
}

/// `msync(2)`, waiting for the disk or not.
///
/// # Safety
///
/// `start` to `start + len` are whole pages of one live mapping.
pub(super) unsafe fn sync(start: NonNull<u8>, len: usize, wait: bool) -> Result<(), Errno> {
    #[cfg(test)]
    fault_injection::check(Call::Sync)?;
    let flags = if wait { MsyncFlags::SYNC } else { MsyncFlags::ASYNC };
    // SAFETY: the pages are the caller's, and writing them to their file changes no byte.
    Ok(unsafe { mm::msync(start.as_ptr().cast(), len, flags) }?)
}

/// `lseek(2)` with `SEEK_DATA`, for what it does besides: ext4, btrfs, f2fs and tmpfs take the lock
/// that a write holds from its first byte to its last, so that this returns when none is going on.
/// (XFS needs no such help: its reads take that lock themselves.)
pub(super) fn wait_for_writes(file: &OwnedFd) {
    // The answer, or that a file system has none, means nothing here.
    let _ = fs::seek(file, fs::SeekFrom::Data(0));
}

/// The clock that only moves forwards, for measuring.
pub(super) fn monotonic() -> Nanoseconds {
    clock(ClockId::Monotonic)
}

/// The clock that file systems stamp their files with; no finer than a tick, 1 to 10 ms.
pub(super) fn wall_clock() -> Nanoseconds {
    clock(ClockId::RealtimeCoarse)
}

/// `clock_gettime(2)`; 0 where the kernel keeps its clocks from this process. Not the function of rustix
/// that is made for clocks which never fail: it panics where a sandbox refuses the call.
#[inline]
fn clock(clock: ClockId) -> Nanoseconds {
    let time = rustix::time::clock_gettime_dynamic(DynamicClockId::Known(clock));
    time.map_or(0, |time| time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "reads less than there is now and then")]
    fn reads_behind_what_is_there_and_never_grows_it() {
        let file = open(c"/dev/zero").unwrap();
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
    fn page_size_is_the_one_the_kernel_announces() {
        assert_eq!(page_size(), rustix::param::page_size());
    }

    #[test]
    fn a_taken_place_is_refused_and_left_alone() {
        let len = page_size();
        let start = map(Place::Anywhere, len, Protection::ReadWrite).unwrap();
        // SAFETY: one byte of the new mapping, which nothing else refers to.
        unsafe { start.write(42) };
        match map(Place::Exactly(start.addr().get()), len, Protection::Read) {
            Err(errno) => assert_eq!(errno, io::Errno::EXIST),
            Ok(elsewhere) => {
                assert_ne!(elsewhere, start, "a kernel before 4.17 takes a hint");
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

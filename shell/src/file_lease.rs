//! File leases: mapped files that do not change.
//!
//! While a process holds a read lease on a file (`F_SETLEASE`, fcntl(2)), the kernel stops every process that opens the
//! file for writing or truncates it, and signals the holder. One thread of this module receives the signals, makes the
//! pages of the file private, and then releases the lease, so that the writer goes on. The signals are directed to
//! that thread, which has all signals blocked and waits for them; no handler is installed. It is started for the first
//! lease and ends with the last loader, or with the last lease, if that is later. Where a filter of system calls refuses
//! signals to threads it does not end, and the host must not close this library.
//!
//! A thread that waits for a signal also receives those of the process, if all other threads block them. Therefore the
//! signal is SIGSTKFLT, which no kernel sends by itself, and not SIGIO. It is no real-time signal, of which the kernel queues a
//! limited number; while one is pending, others are dropped. The thread looks at all leases for each.
//!
//! Limits:
//!
//! * The kernel grants a lease to the owner of the file only, or with CAP_LEASE, and not while a writer has it open. Then
//!   there is no guard, and the file is copied.
//! * Only file systems of which it is known that every writer breaks a lease are used: ext4, xfs, btrfs, tmpfs. On
//!   overlayfs a write to the lower layer passes unseen; writers of network and FUSE file systems are elsewhere.
//! * After `/proc/sys/fs/lease-break-time` (45 s) the kernel lets the writer go on. A process that is stopped for longer
//!   may see its mapped files change.
//! * A child process has no thread that receives signals. Therefore all pages are made private before a fork, and parent
//!   and child share the copies. A child of a raw `clone(2)` shares the lease of its parent and is guarded only as
//!   long as the parent holds it.
//!
//! Renaming another file over the name does not break a lease, and need not: the mapped file does not change.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;
use std::{ptr, thread};

use libc::{c_int, pid_t, sigset_t};
use smf_core::alloc_util::TryArc;
use smf_core::memory::{FileGuards, FileMapping};

use crate::events::{self, Field};
use crate::fork::{HeldAtFork, ProcessGuard, ProcessLock};
use crate::raw_thread::Thread;

/// The locks of this module that the forking thread holds.
pub(crate) const LOCKS: &[&dyn HeldAtFork] = &[&NoLeases];

static LEASES: ProcessLock<Leases> =
    ProcessLock::new(Leases { thread: None, users: 0, files: Vec::new() });

/// The guards of files by leases.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileLeases;

struct Leases {
    /// The thread that receives the signals.
    thread: Option<Thread>,
    /// The number of [`LeaseUser`]s.
    users: usize,
    /// The files under a lease.
    files: Vec<TryArc<FileMapping>>,
}

/// A loader. As long as one exists, the thread remains between leases.
#[derive(Debug)]
pub(crate) struct LeaseUser(());

impl LeaseUser {
    pub(crate) fn new() -> Self {
        LEASES.lock().users += 1;
        Self(())
    }
}

impl Drop for LeaseUser {
    fn drop(&mut self) {
        let mut leases = LEASES.lock();
        leases.users -= 1;
        end_unused_thread(leases);
    }
}

/// The lock of the table, and the state in which a process forks: without leases.
struct NoLeases;

impl HeldAtFork for NoLeases {
    fn hold(&'static self) {
        let mut guard = LEASES.lock();
        guard.files.retain(|file| {
            // Without memory, the pages stay those of the file, for the child under the lease of the parent.
            let is_private = file.make_private().is_ok();
            if is_private {
                release_lease(file.descriptor());
            }
            !is_private
        });
        LEASES.keep(guard);
    }

    unsafe fn release(&'static self) {
        // SAFETY: the guarantee of the caller.
        unsafe { LEASES.release() };
    }
}

/// A file system on which every writer breaks a lease: `f_type` of statfs(2). XFS is missing from the libc crate for musl.
const HONOURED: [u64; 4] = [
    libc::EXT4_SUPER_MAGIC as u64,
    0x5846_5342,
    libc::BTRFS_SUPER_MAGIC as u64,
    libc::TMPFS_MAGIC as u64,
];

/// `F_SETSIG`, `F_SETOWN_EX` and `F_OWNER_TID` of fcntl(2), which the libc crate lacks for some targets.
const F_SETSIG: c_int = 10;
const F_SETOWN_EX: c_int = 15;
const F_OWNER_TID: c_int = 0;

/// `struct f_owner_ex` of fcntl(2).
#[repr(C)]
struct Owner {
    kind: c_int,
    id: pid_t,
}

// SAFETY: the kernel stops a writer while the lease is held, and `end_broken_lease` releases it when the pages are private. The
// limits at the head of this file apply.
unsafe impl FileGuards for FileLeases {
    fn accepts(&self, file: BorrowedFd<'_>, file_system: u64) -> bool {
        HONOURED.contains(&file_system) && may_take(file)
    }

    fn guard(&self, file: &TryArc<FileMapping>) -> Option<u64> {
        let leases = &mut *LEASES.lock();
        let thread = leases.thread()?;
        leases.files.try_reserve(1).ok()?;
        leases.files.push(file.clone());
        if !take(file.descriptor(), thread) {
            leases.files.pop();
            return None;
        }
        Some(token_of(file))
    }

    unsafe fn release(&self, token: u64) {
        let mut leases = LEASES.lock();
        let file = leases.remove(token);
        end_unused_thread(leases);
        // There is none after a fork, after the end of the lease, and in a child process.
        if let Some(file) = file {
            release_lease(file.descriptor());
        }
    }
}

impl Leases {
    fn remove(&mut self, token: u64) -> Option<TryArc<FileMapping>> {
        let at = self.files.iter().position(|file| token_of(file) == token)?;
        Some(self.files.swap_remove(at))
    }

    /// The number of the thread that receives the signals; `None` if it cannot be started.
    fn thread(&mut self) -> Option<pid_t> {
        if self.thread.is_none() {
            self.thread = Thread::create(64 << 10, receive_signals, ptr::null_mut());
        }
        self.thread.as_ref()?.number()
    }
}

/// Ends the thread if nothing needs it, and returns when it has ended: the host may close this library next. Where a
/// filter of system calls refuses the signal, the thread stays, for later leases.
fn end_unused_thread(mut leases: ProcessGuard<Leases>) {
    if leases.users != 0 || !leases.files.is_empty() {
        return;
    }
    // A receiver of an event on this thread may have dropped the last loader. The thread then ends when it returns.
    let ends = |thread: &mut Thread| thread.is_current() || thread.signal(SIGNAL);
    let Some(thread) = leases.thread.take_if(ends) else { return };
    // The thread may be waiting for the lock.
    drop(leases);
    if !thread.is_current() {
        thread.join();
    }
}

/// Whether this process may take leases on a file. The removal of a lease that does not exist is refused for the same
/// reasons as a lease.
fn may_take(file: BorrowedFd<'_>) -> bool {
    // SAFETY: the descriptor is open.
    let removed = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK) } == 0;
    removed || io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock
}

/// Takes a read lease, whose signals go to `thread`; whether the kernel grants it.
fn take(file: BorrowedFd<'_>, thread: pid_t) -> bool {
    let number = file.as_raw_fd();
    let owner = Owner { kind: F_OWNER_TID, id: thread };
    // SAFETY: the descriptor is open, and the structure is that of the call.
    let owned = unsafe { libc::fcntl(number, F_SETOWN_EX, &raw const owner) } == 0;
    // SAFETY: the descriptor is open.
    let signalled = owned && unsafe { libc::fcntl(number, F_SETSIG, SIGNAL) } == 0;
    // SAFETY: as above.
    signalled && unsafe { libc::fcntl(number, libc::F_SETLEASE, libc::F_RDLCK) } == 0
}

fn release_lease(file: BorrowedFd<'_>) {
    // SAFETY: the descriptor is open. It fails if the kernel has taken the lease away, which needs nothing done.
    let _ = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK) };
}

/// The signal that a file is about to change, or that the thread is to end.
const SIGNAL: c_int = libc::SIGSTKFLT;

/// Whether the table contains this thread.
fn is_needed() -> bool {
    LEASES.read().thread.as_ref().is_some_and(Thread::is_current)
}

/// Ends leases until the table contains another thread or none. It allocates no memory before the first lease ends.
extern "C" fn receive_signals(_: *mut c_void) -> *mut c_void {
    // The name is for debuggers; failure to set it does not matter.
    let _ = rustix::thread::set_name(c"smf-leases");
    let mut set = MaybeUninit::<sigset_t>::uninit();
    // SAFETY: the call initialises the set, and cannot fail.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: initialised above; the signal exists.
    unsafe { libc::sigaddset(set.as_mut_ptr(), SIGNAL) };
    loop {
        // SAFETY: the set is initialised.
        unsafe { libc::sigwaitinfo(set.as_ptr(), ptr::null_mut()) };
        end_broken_leases();
        if !is_needed() {
            return ptr::null_mut();
        }
    }
}

/// The address of the mapping, which its owner retains until the guard ends. The descriptor would not do: a child that has
/// closed those of its parent may get its number for a file of its own.
fn token_of(file: &TryArc<FileMapping>) -> u64 {
    (&raw const **file).addr() as u64
}

/// Whether a process waits for the end of the lease on a file of the table.
fn is_broken(file: &FileMapping) -> bool {
    // SAFETY: the descriptor is open. The kernel has marked the lease before it sends the signal.
    unsafe { libc::fcntl(file.descriptor().as_raw_fd(), libc::F_GETLEASE) != libc::F_RDLCK }
}

/// How often making pages private is tried, and the time between. Together less than the time after which the kernel
/// takes the lease away.
const ATTEMPTS: u32 = 400;
const INTERVAL: Duration = Duration::from_millis(100);

/// Ends all leases for whose end a process waits. Without memory for copies of the pages, the writers wait.
fn end_broken_leases() {
    for _ in 0..ATTEMPTS {
        while let Some(descriptor) = end_broken_lease() {
            // Without the lock, which a receiver of the event takes if it opens a file.
            events::emit("lease_break", &[("descriptor", Field::Text(&descriptor))]);
        }
        if !LEASES.read().files.iter().any(|file| is_broken(file)) {
            return;
        }
        thread::sleep(INTERVAL);
    }
}

/// Makes the pages of a file private, for the end of whose lease a process waits, and ends the lease. Returns the descriptor;
/// `None` if there is no such file with memory for the copy.
fn end_broken_lease() -> Option<RawFd> {
    // As long as this thread has the lock, no other one ends a lease, so that the pages are still there; and none forks, so that
    // a child never has a part of the pages replaced.
    let mut leases = LEASES.lock();
    let ended = |file: &TryArc<FileMapping>| is_broken(file) && file.make_private().is_ok();
    let at = leases.files.iter().position(ended)?;
    let file = leases.files.swap_remove(at);
    release_lease(file.descriptor());
    Some(file.descriptor().as_raw_fd())
}

/// Forgets the leases and the thread in a child process: they are the parent's.
pub(crate) fn begin_child() {
    let mut leases = LEASES.lock();
    // Dropping them would free memory in a child of a process with threads, where the allocator may be locked.
    mem::forget((leases.thread.take(), mem::take(&mut leases.files)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{Event, EventSink};
    use crate::fork::tests::in_child;
    use crate::skip::lacks;
    use smf_core::memory::{FileContents, FilePolicy, GuardedFile};
    use std::fs;
    use std::io::Write;
    use std::os::unix::ffi::OsStrExt;
    use std::path::{Path, PathBuf};
    use std::sync::Mutex;
    use std::sync::mpsc::{Sender, channel};
    use std::time::Instant;

    static GUARDS: FileLeases = FileLeases;

    fn file(name: &str, bytes: &[u8]) -> PathBuf {
        let path = std::env::temp_dir().join(format!("smf-lease-{}-{name}", std::process::id()));
        fs::write(&path, bytes).unwrap();
        path
    }

    fn open(path: &Path) -> Option<GuardedFile> {
        let path = path.as_os_str().as_bytes();
        match FileContents::open(path, 1 << 30, FilePolicy::Auto, &GUARDS).unwrap() {
            FileContents::Mapped(file) => Some(file),
            FileContents::Copied(_) => None,
        }
    }

    /// Opens a file under a lease; reports where there are none.
    ///
    /// A child that another test forked while the file was being written has it open for writing until the child ends, and
    /// there is no lease meanwhile.
    fn open_guarded(path: &Path) -> Option<GuardedFile> {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(10) {
            let guarded = open(path);
            if guarded.is_some() {
                return guarded;
            }
            thread::sleep(Duration::from_millis(50));
        }
        lacks(&format!("a file system with leases at {}", path.display()));
        None
    }

    #[test]
    fn writers_wait_and_readers_keep_the_bytes() {
        let old: Vec<u8> = (0..10_000_000u32).map(|at| (at % 251) as u8).collect();
        let path = file("writers", &old);
        let Some(guarded) = open_guarded(&path) else { return };
        let start = Instant::now();
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
        assert!(start.elapsed() < Duration::from_secs(5));
        assert_eq!(guarded.as_slice(), old);
        fs::write(&path, b"new").unwrap();
        assert_eq!(guarded.as_slice(), old);
        drop(guarded);
        fs::remove_file(&path).unwrap();
    }

    /// While a signal is pending, the kernel drops those for other leases.
    #[test]
    fn writers_of_many_files_wait_at_once() {
        let old: Vec<u8> = (0..1_000_000u32).map(|at| (at % 251) as u8).collect();
        let paths: Vec<PathBuf> = (0..20).map(|at| file(&format!("many-{at}"), &old)).collect();
        let guarded: Vec<_> = paths.iter().map_while(|path| open_guarded(path)).collect();
        let start = Instant::now();
        thread::scope(|scope| {
            paths.iter().for_each(|path| _ = scope.spawn(move || fs::write(path, b"new").unwrap()));
        });
        assert!(start.elapsed() < Duration::from_secs(20));
        assert!(guarded.iter().all(|file| file.as_slice() == old));
        paths.iter().for_each(|path| fs::remove_file(path).unwrap());
    }

    /// Opens a file under a lease when another lease ends.
    struct OpensFile(Mutex<Option<Sender<bool>>>);

    impl EventSink for OpensFile {
        fn event(&self, event: &Event<'_>) {
            if event.name == "lease_break"
                && let Some(opened) = self.0.lock().unwrap().take()
            {
                let path = file("meanwhile", &[2; 1_000_000]);
                let _user = LeaseUser::new();
                opened.send(open(&path).is_some()).unwrap();
                fs::remove_file(&path).unwrap();
            }
        }
    }

    #[test]
    fn receiver_of_the_end_of_a_lease_may_open_files() {
        static SINK: OpensFile = OpensFile(Mutex::new(None));
        assert!(events::set_sink(&SINK));
        let path = file("receiver", &[1; 1_000_000]);
        let Some(guarded) = open_guarded(&path) else { return };
        let (opened, is_open) = channel();
        *SINK.0.lock().unwrap() = Some(opened);
        fs::write(&path, b"new").unwrap();
        assert!(is_open.recv().unwrap());
        assert_eq!(guarded.as_slice(), [1; 1_000_000]);
        fs::remove_file(&path).unwrap();
    }

    /// A program that blocks SIGIO in all threads, and waits for it in one of them. In a child, because other tests do not
    /// block it.
    #[test]
    fn signals_of_the_program_are_left_to_it() {
        let path = file("signals", &[1; 1_000_000]);
        let is_received = || {
            let mut set = MaybeUninit::uninit();
            // SAFETY: writable memory.
            unsafe { libc::sigemptyset(set.as_mut_ptr()) };
            // SAFETY: initialised above; the signal exists.
            unsafe { libc::sigaddset(set.as_mut_ptr(), libc::SIGIO) };
            // SAFETY: initialised above.
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), ptr::null_mut()) };
            let _guarded = open(&path);
            let is_waiting = LEASES.read().thread.is_some();
            thread::sleep(Duration::from_millis(20));
            // SAFETY: every thread of this process blocks it.
            unsafe { libc::kill(std::process::id() as pid_t, libc::SIGIO) };
            thread::sleep(Duration::from_millis(20));
            let second = libc::timespec { tv_sec: 1, tv_nsec: 0 };
            // SAFETY: initialised above.
            let received =
                unsafe { libc::sigtimedwait(set.as_ptr(), ptr::null_mut(), &raw const second) };
            !is_waiting || received == libc::SIGIO
        };
        assert!(in_child(is_received));
        fs::remove_file(&path).unwrap();
    }

    /// Refuses a system call in this process from now on.
    fn refuse(number: libc::c_long) {
        let code = |operation: u32| operation as u16;
        let load = code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS);
        let branch = code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K);
        let end = code(libc::BPF_RET | libc::BPF_K);
        let step = |code, jf, k| libc::sock_filter { code, jt: 0, jf, k };
        let refused = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
        // The number is at the start of `struct seccomp_data`.
        let mut steps = [
            step(load, 0, 0),
            step(branch, 1, number as u32),
            step(end, 0, refused),
            step(end, 0, libc::SECCOMP_RET_ALLOW),
        ];
        let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
        // SAFETY: the call takes numbers.
        assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
        let mode = libc::SECCOMP_MODE_FILTER;
        // SAFETY: the filter is alive during the call, which copies it.
        assert_eq!(unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) }, 0);
    }

    #[test]
    fn loader_closes_where_signals_to_threads_are_refused() {
        let path = file("refused", &[1; 1_000_000]);
        let Some(guarded) = open_guarded(&path) else { return };
        drop(guarded);
        let is_closed = |refused: Option<libc::c_long>| {
            // The loaders of other tests.
            LEASES.lock().users = 0;
            let user = LeaseUser::new();
            if let Some(number) = refused {
                refuse(number);
            }
            drop(open(&path));
            let had_thread = LEASES.read().thread.is_some();
            drop(user);
            had_thread && LEASES.lock().thread.take().is_some() == refused.is_some()
        };
        assert!(in_child(|| is_closed(None)));
        assert!(in_child(|| is_closed(Some(libc::SYS_tgkill))));
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn file_is_copied_where_signals_cannot_be_blocked() {
        let path = file("unblocked", &[1; 1_000_000]);
        let Some(guarded) = open_guarded(&path) else { return };
        drop(guarded);
        assert!(in_child(|| {
            refuse(libc::SYS_rt_sigprocmask);
            open(&path).is_none() && LEASES.read().thread.is_none()
        }));
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn file_of_an_unknown_file_system_is_not_accepted() {
        let path = file("accepted", &[1; 10]);
        let file = fs::File::open(&path).unwrap();
        let of = |kind| GUARDS.accepts(std::os::fd::AsFd::as_fd(&file), kind);
        assert!(HONOURED.into_iter().all(of), "the owner of a file may take leases on it");
        assert!(!of(0x794c_7630), "overlayfs");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn file_open_for_writing_is_not_guarded() {
        let path = file("open", &[1; 1_000_000]);
        let mut writer = fs::OpenOptions::new().write(true).open(&path).unwrap();
        assert!(open(&path).is_none());
        writer.write_all(b"other").unwrap();
        drop(writer);
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn released_file_may_be_written_at_once() {
        let path = file("released", &[1; 1_000_000]);
        let guarded = open_guarded(&path);
        assert!(guarded.is_none_or(|file| file.as_slice().len() == 1_000_000));
        let start = Instant::now();
        fs::write(&path, b"more bytes").unwrap();
        assert!(LEASES.read().thread.is_none() || start.elapsed() < Duration::from_secs(5));
        fs::remove_file(&path).unwrap();
    }
}

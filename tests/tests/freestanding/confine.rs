//! Restrictions set before a process starts its program: another root directory, another user, fewer system calls.
//!
//! Sources: seccomp(2), `linux/filter.h`, `linux/seccomp.h`, chroot(2), user_namespaces(7).

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

unsafe extern "C" {
    safe fn geteuid() -> u32;
    safe fn setgid(group: u32) -> i32;
    safe fn setuid(user: u32) -> i32;
    safe fn unshare(flags: i32) -> i32;
    fn setgroups(count: usize, groups: *const u32) -> i32;
    fn chroot(path: *const std::ffi::c_char) -> i32;
    fn chdir(path: *const std::ffi::c_char) -> i32;
    fn prctl(option: i32, ...) -> i32;
}

const UNPRIVILEGED: u32 = 65534;
const CLONE_NEWUSER: i32 = 0x1000_0000;
const PR_SET_NO_NEW_PRIVS: i32 = 38;
const PR_SET_SECCOMP: i32 = 22;
const SECCOMP_MODE_FILTER: i64 = 2;

/// The error of a system call that returned a failure.
fn done(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes a directory readable for all users.
pub(crate) fn open_to_all(directory: &Path) {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Starts the command in `root` as its root directory and without any privilege. The start fails
/// where this is not permitted.
pub(crate) fn in_root(command: &mut Command, root: &Path) {
    let root = CString::new(root.as_os_str().as_bytes()).unwrap();
    let enter = move || {
        let is_root = geteuid() == 0;
        if !is_root {
            done(unshare(CLONE_NEWUSER))?;
        }
        // SAFETY: the path ends with a NUL.
        done(unsafe { chroot(root.as_ptr()) })?;
        // SAFETY: as above.
        done(unsafe { chdir(c"/".as_ptr()) })?;
        if is_root {
            // SAFETY: no groups are read.
            done(unsafe { setgroups(0, std::ptr::null()) })?;
            done(setgid(UNPRIVILEGED))?;
            done(setuid(UNPRIVILEGED))?;
        }
        Ok(())
    };
    // SAFETY: system calls alone, which a forked child may make.
    unsafe { command.pre_exec(enter) };
}

/// The effect of a system call that is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Otherwise {
    /// It fails with `EPERM`.
    Refuse,
    /// The process is killed.
    Kill,
}

/// `struct sock_filter`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    value: u32,
}

/// `struct sock_fprog`.
#[repr(C)]
struct Filter {
    len: u16,
    first: *const Instruction,
}

const LOAD_WORD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
const ALLOW: u32 = 0x7fff_0000;
const REFUSE_EPERM: u32 = 0x0005_0001;
const KILL_PROCESS: u32 = 0x8000_0000;

/// Allows a command the system calls with these names, and `execve`.
pub(crate) fn allow(command: &mut Command, names: &[&str], otherwise: Otherwise) {
    let plain = |code, value| Instruction { code, if_true: 0, if_false: 0, value };
    // The number of the call is the first field of `struct seccomp_data`.
    let mut filter = vec![plain(LOAD_WORD, 0)];
    for name in names.iter().chain(&["execve"]) {
        filter.push(Instruction {
            code: JUMP_IF_EQUAL,
            if_true: 0,
            if_false: 1,
            value: number(name),
        });
        filter.push(plain(RETURN, ALLOW));
    }
    let otherwise = if otherwise == Otherwise::Kill { KILL_PROCESS } else { REFUSE_EPERM };
    filter.push(plain(RETURN, otherwise));
    let install = move || {
        // SAFETY: all arguments are numbers.
        done(unsafe { prctl(PR_SET_NO_NEW_PRIVS, 1i64, 0i64, 0i64, 0i64) })?;
        let program = Filter { len: filter.len() as u16, first: filter.as_ptr() };
        // SAFETY: the length of the program is that of the filter.
        done(unsafe { prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &raw const program) })
    };
    // SAFETY: system calls alone, which a forked child may make.
    unsafe { command.pre_exec(install) };
}

/// The number of a system call on x86-64: `asm/unistd_64.h`.
fn number(name: &str) -> u32 {
    match name {
        "read" => 0,
        "write" => 1,
        "open" => 2,
        "close" => 3,
        "fstat" => 5,
        "lseek" => 8,
        "mmap" => 9,
        "mprotect" => 10,
        "munmap" => 11,
        "pread64" => 17,
        "madvise" => 28,
        "getpid" => 39,
        "execve" => 59,
        "exit" => 60,
        "fcntl" => 72,
        "ftruncate" => 77,
        "prctl" => 157,
        "gettid" => 186,
        "clock_gettime" => 228,
        "exit_group" => 231,
        "memfd_create" => 319,
        _ => panic!("the guide lists {name}, which this table lacks"),
    }
}

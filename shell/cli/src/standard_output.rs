//! Standard output, whose errors are reported.
//!
//! `std::io::Stdout` takes a closed descriptor for a sink. In place of one that is closed when the process starts, the standard
//! library opens `/dev/null` before `main`. Either way output would be lost without an error.
#![allow(unsafe_code)]

use std::io::{self, Write};
use std::mem::forget;
use std::os::fd::AsRawFd;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, fcntl_getfd, write};
use rustix::stdio::{dup2_stdout, raw_stdout, stdout};

/// Writes to standard output without a buffer.
pub(crate) struct StandardOutput;

impl Write for StandardOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(write(stdout(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Puts a file that cannot be written to in place of standard output that is closed: no other file gets its descriptor, and
/// every write fails as to a closed one.
extern "C" fn replace_closed() {
    if fcntl_getfd(stdout()) != Err(Errno::BADF) {
        return;
    }
    if let Ok(null) = open(c"/dev/null", OFlags::RDONLY, Mode::empty()) {
        match null.as_raw_fd() == raw_stdout() {
            true => forget(null),
            // Standard input is closed as well.
            false => drop(dup2_stdout(&null)),
        }
    }
}

// SAFETY: the C library calls the functions in this section before `main`. This one makes system calls only.
#[used]
#[unsafe(link_section = ".init_array")]
static REPLACE_CLOSED: extern "C" fn() = replace_closed;

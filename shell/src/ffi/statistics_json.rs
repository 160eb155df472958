//! `smf_statistics_json`: the counters of everything that is open, as JSON.
#![allow(unsafe_code)]

use std::ffi::c_char;
use std::fmt;

use super::blocks;
use super::cache_handles::CACHES;
use super::cache_statistics::write_text;
use super::error::attempt;
#[cfg(feature = "exec")]
use super::exec_handles::MANAGERS;
#[cfg(feature = "jit")]
use super::jit_handles::JITS;
use super::loader_handles::LOADERS;
use crate::counters::{self, Document};

/// Writes the counters of the executable memory and of every open cache, loader, instantiator and execution manager,
/// with as many bytes as fit and a NUL, and returns the length in bytes. -1 on failure.
///
/// # Safety
/// `text` is null or points to `size` bytes of memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_statistics_json(text: *mut c_char, size: i64) -> i64 {
    // SAFETY: the caller's promise.
    attempt(-1, || unsafe { write_text(text, size, |out| write(out)) })
}

fn write(out: &mut dyn fmt::Write) -> fmt::Result {
    let mut document = Document::new(out)?;
    document.object("executable_memory", &counters::code_memory(&blocks::statistics()))?;
    document.list("caches", |list| {
        CACHES
            .for_each(|handle, cache| list.add(Some(handle), &counters::cache(&cache.statistics())))
    })?;
    document.list("loaders", |list| {
        LOADERS.for_each(|handle, loader| {
            list.add(Some(handle), &counters::loader(&loader.modules().statistics()))
        })
    })?;
    #[cfg(feature = "jit")]
    document.list("instantiators", |list| {
        JITS.for_each(|handle, jit| {
            list.add(Some(handle), &counters::instantiator(&jit.jit().stats()))
        })
    })?;
    #[cfg(feature = "exec")]
    document.list("managers", |list| {
        MANAGERS.for_each(|handle, open| {
            list.add(Some(handle), &counters::manager(&open.manager.statistics()))
        })
    })?;
    document.finish()
}

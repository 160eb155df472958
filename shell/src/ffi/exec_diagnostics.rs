//! `smf_exec_diagnostics`, `smf_exec_diagnostic`: what the last compilation of a thread has to say.
#![allow(unsafe_code)]

use std::ffi::c_char;

use smf_core::source::Severity;

use super::args::to_i64;
use super::constants::*;
use super::error::{ArgumentError, or, succeeded};
use super::exec_handles::{DiagnosticText, enter, with_state};
use super::versioned_struct::{self, versioned};

/// A diagnostic of a compilation.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfExecDiagnostic {
    /// In: `sizeof(SmfExecDiagnostic)`. Out: the number of bytes filled in.
    pub size: i64,
    /// Its code; empty for an error outside of source.
    pub code: *const c_char,
    /// One sentence.
    pub message: *const c_char,
    /// What can be done; may be empty.
    pub note: *const c_char,
    /// The name of the file; may be empty.
    pub file: *const c_char,
    /// The line of the source; may be empty.
    pub source_line: *const c_char,
    /// `SMF_SEVERITY_*`.
    pub severity: i32,
    /// From 1; 0 if unknown.
    pub line: i32,
    /// From 1; 0 if unknown.
    pub column: i32,
    /// The number of characters from there.
    pub length: i32,
}

versioned!(SmfExecDiagnostic, 64);

/// The number of diagnostics of this thread's last compilation with a manager; -1 for an invalid handle.
#[unsafe(no_mangle)]
pub extern "C" fn smf_exec_diagnostics(manager: u64) -> i64 {
    or(-1, enter(manager).map(|_| with_state(manager, 0, |state| to_i64(state.diagnostics.len()))))
}

/// Fills in a diagnostic by its index from 0. Its texts are valid until this thread compiles with that manager again.
///
/// # Safety
/// `into` is null or points to the `size` bytes that its first field says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_exec_diagnostic(
    manager: u64,
    index: i64,
    into: *mut SmfExecDiagnostic,
) -> bool {
    succeeded(enter(manager).and_then(|_| {
        let at = usize::try_from(index).ok();
        let filled = with_state(manager, None, |state| {
            Some(fill(at.and_then(|at| state.diagnostics.get(at))?))
        });
        let filled = filled.ok_or(ArgumentError::unknown("index of a diagnostic", index))?;
        // SAFETY: the caller's promise.
        unsafe { versioned_struct::write(into, filled) }
    }))
}

fn fill(diagnostic: &DiagnosticText) -> SmfExecDiagnostic {
    let [line, column, length] =
        diagnostic.position.map(|number| i32::try_from(number).unwrap_or(i32::MAX));
    SmfExecDiagnostic {
        size: 0,
        code: diagnostic.code.as_ptr(),
        message: diagnostic.message.as_ptr(),
        note: diagnostic.note.as_ptr(),
        file: diagnostic.file.as_ptr(),
        source_line: diagnostic.source_line.as_ptr(),
        severity: match diagnostic.severity {
            Severity::Error => SMF_SEVERITY_ERROR,
            Severity::Warning => SMF_SEVERITY_WARNING,
        },
        line,
        column,
        length,
    }
}

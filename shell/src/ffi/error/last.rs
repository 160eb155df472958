//! The last error of each thread.
//!
//! Its text is memory of the C library, which frees it when the thread ends, by keys of pthread_key_create(3). A
//! `thread_local!` with a destructor would end the process where there is no memory to register that destructor, would be gone in
//! destructors of the thread that run later, and would keep this library loaded as long as the thread.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_void};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use libc::pthread_key_t;

use super::api_error::ApiError;
#[cfg(target_arch = "x86_64")]
use crate::call_record;
use crate::fallible_buf::try_format;

/// The result of `smf_last_error`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfError {
    /// A number of `SmfErrorCode`; 0 without an error.
    pub code: i32,
    /// One sentence, NUL-terminated; empty without an error. Valid until this thread calls `smf_last_error` again.
    pub text: *const c_char,
}

/// Where the text of the last error of a thread is.
#[derive(Clone, Copy)]
enum Text {
    /// In [`RECORDED`].
    Recorded,
    /// In [`RETURNED`].
    Returned,
    /// Nowhere: there was no memory for it.
    Lost,
}

thread_local! {
    static LAST: Cell<(i32, Text)> = const { Cell::new((0, Text::Lost)) };
}

/// The text of the last error, until `smf_last_error` returns it.
static RECORDED: ThreadText = ThreadText::new();

/// The text that `smf_last_error` returned last.
static RETURNED: ThreadText = ThreadText::new();

/// A text of each thread.
struct ThreadText {
    /// The key; [`NO_KEY`](Self::NO_KEY) before the first use.
    key: AtomicU32,
}

impl ThreadText {
    const NO_KEY: u32 = u32::MAX;

    const fn new() -> Self {
        Self { key: AtomicU32::new(Self::NO_KEY) }
    }

    fn key(&self) -> Option<pthread_key_t> {
        let known = self.key.load(Ordering::Acquire);
        if known != Self::NO_KEY {
            return Some(known);
        }
        let mut key = 0;
        // SAFETY: the values are null or memory of `malloc`. `free` stays when this library is unloaded.
        if unsafe { libc::pthread_key_create(&raw mut key, Some(libc::free)) } != 0 {
            return None;
        }
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        match self.key.compare_exchange(Self::NO_KEY, key, success, failure) {
            Ok(_) => Some(key),
            Err(of_other_thread) => {
                // SAFETY: a key of this call alone.
                unsafe { libc::pthread_key_delete(key) };
                Some(of_other_thread)
            }
        }
    }

    /// The text of this thread; null without one.
    fn get(&self) -> *mut c_void {
        // SAFETY: a key, or one that is deleted, of which the value is null.
        self.key().map_or(ptr::null_mut(), |key| unsafe { libc::pthread_getspecific(key) })
    }

    /// Sets the text of this thread, which is null or memory of `malloc`, and frees the one before. Whether it is set; otherwise
    /// it is freed.
    fn set(&self, text: *mut c_void) -> bool {
        let before = self.get();
        if before == text {
            // Both null.
            return true;
        }
        // SAFETY: as above; the value is freed once, by the next call or by the C library.
        let is_set =
            self.key().is_some_and(|key| unsafe { libc::pthread_setspecific(key, text) } == 0);
        // SAFETY: memory of `malloc` that is no value of a key, or null.
        unsafe { libc::free(if is_set { before } else { text }) };
        is_set
    }

    /// Takes the text out; null without one.
    fn take(&self) -> *mut c_void {
        let text = self.get();
        if let Some(key) = self.key() {
            // SAFETY: a key, which has a value, so that there is memory for it.
            unsafe { libc::pthread_setspecific(key, ptr::null()) };
        }
        text
    }

    /// Gives the key back. Texts of other threads stay.
    fn delete(&self) {
        if self.key.load(Ordering::Acquire) == Self::NO_KEY {
            return;
        }
        self.set(ptr::null_mut());
        let key = self.key.swap(Self::NO_KEY, Ordering::AcqRel);
        // SAFETY: no thread calls this library while it is unloaded; at the end of the process, the functions of keys accept
        // one that is deleted.
        unsafe { libc::pthread_key_delete(key) };
    }
}

/// Gives the keys back, of which a process has 1,024, when the library is unloaded.
extern "C" fn delete_keys() {
    [&RECORDED, &RETURNED].into_iter().for_each(ThreadText::delete);
}

#[used]
#[unsafe(link_section = ".fini_array")]
static FINI: extern "C" fn() = delete_keys;

/// The sentence of an error with a NUL, in memory of `malloc`; `None` without memory.
fn sentence(error: &ApiError) -> Option<*mut c_void> {
    let text = try_format(format_args!("{error}\0")).ok()?;
    // SAFETY: allocates.
    let copy = unsafe { libc::malloc(text.len()) };
    if copy.is_null() {
        return None;
    }
    // SAFETY: as many bytes, just allocated.
    unsafe { ptr::copy_nonoverlapping(text.as_ptr(), copy.cast(), text.len()) };
    Some(copy)
}

/// The value of `result`, or `failure` after recording the error.
#[inline]
pub(in super::super) fn or<T>(failure: T, result: Result<T, ApiError>) -> T {
    result.unwrap_or_else(|error| {
        record(error);
        failure
    })
}

/// The result of `act`, or `failure` after recording the error.
pub(in super::super) fn attempt<T>(failure: T, act: impl FnOnce() -> Result<T, ApiError>) -> T {
    or(failure, act())
}

/// The result of `act` for an object in use, or `failure` after recording the error.
pub(in super::super) fn attempt_with<O, T>(
    failure: T,
    object: Result<O, ApiError>,
    act: impl FnOnce(O) -> Result<T, ApiError>,
) -> T {
    or(failure, object.and_then(act))
}

/// Whether `result` is a success; an error is recorded.
pub(in super::super) fn succeeded(result: Result<(), ApiError>) -> bool {
    or(false, result.map(|()| true))
}

/// Makes `error` the last error of this thread.
#[cold]
#[inline(never)]
pub(in super::super) fn record(error: ApiError) {
    let is_recorded = sentence(&error).is_some_and(|text| RECORDED.set(text));
    set(error.code() as i32, if is_recorded { Text::Recorded } else { Text::Lost });
}

fn set(code: i32, text: Text) {
    LAST.set((code, text));
    #[cfg(target_arch = "x86_64")]
    call_record::set_has_error(code != 0);
}

/// The error of the last export that failed in this thread. A successful export leaves it unchanged, except
/// `rt_call_function_*`, which clear it when the function they called returned 0.
#[unsafe(no_mangle)]
pub extern "C" fn smf_last_error() -> SmfError {
    let (code, text) = LAST.get();
    if code == 0 {
        RETURNED.set(ptr::null_mut());
        return SmfError { code, text: c"".as_ptr() };
    }
    if let Text::Recorded = text {
        let is_returned = RETURNED.set(RECORDED.take());
        LAST.set((code, if is_returned { Text::Returned } else { Text::Lost }));
    }
    let text = RETURNED.get().cast::<c_char>().cast_const();
    // The C library has freed it where this is called behind its destructor.
    let is_lost = text.is_null() || matches!(LAST.get().1, Text::Lost);
    SmfError { code, text: if is_lost { NO_MEMORY.as_ptr() } else { text } }
}

/// The text of an error for whose text there is no memory.
const NO_MEMORY: &CStr = c"there is no memory for the text of the error";

/// Clears the last error of this thread.
#[unsafe(no_mangle)]
pub extern "C" fn smf_clear_error() {
    RECORDED.set(ptr::null_mut());
    set(0, Text::Lost);
}

const VERSION: &CStr =
    match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => c"",
    };

/// The version of the library, for example `0.1.0`, as in `SMF_VERSION`; a static string.
#[unsafe(no_mangle)]
pub extern "C" fn smf_version() -> *const c_char {
    VERSION.as_ptr()
}

#[cfg(test)]
mod tests {
    use super::super::argument::ArgumentError;
    use super::*;

    fn last() -> (i32, String) {
        let SmfError { code, text } = smf_last_error();
        // SAFETY: NUL-terminated, and valid until the next call.
        let text = unsafe { CStr::from_ptr(text) };
        (code, text.to_str().unwrap().to_owned())
    }

    /// Found: names were cut after 48 bytes, and sentences after 255, with the remedies at their ends.
    #[test]
    fn sentence_of_any_length_is_whole() {
        let (symbol, module) = ("s".repeat(300), "/m".repeat(300));
        record(ApiError::no_symbol(symbol.as_bytes(), module.as_bytes()));
        let sentence = format!("{module} has no symbol `{symbol}` of the requested kind");
        assert_eq!(last(), (25, sentence));
        record(ApiError::other(super::super::Code::Link, &symbol));
        assert_eq!(last(), (21, symbol));
    }

    #[test]
    fn last_error_is_per_thread() {
        record(ArgumentError::Zero { what: "the size" }.into());
        assert_eq!(last(), (1, "the size is 0".to_owned()));
        std::thread::spawn(|| assert_eq!(smf_last_error().code, 0)).join().unwrap();
        record(ApiError::Unmapped { address: 0xabc });
        assert_eq!(last(), (12, "no memory is mapped at 0xabc".to_owned()));
        smf_clear_error();
        assert_eq!(smf_last_error().code, 0);
    }

    /// Found: an error in a destructor of a thread was lost, and without memory the first one of a thread ended the process.
    #[test]
    fn error_in_a_destructor_of_a_thread_is_recorded() {
        struct Late(std::sync::mpsc::Sender<(i32, String)>);
        impl Drop for Late {
            fn drop(&mut self) {
                record(ApiError::Unmapped { address: 0x10 });
                self.0.send(last()).unwrap();
            }
        }
        thread_local! {
            static LATE: std::cell::RefCell<Option<Late>> = const { std::cell::RefCell::new(None) };
        }
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(|| {
            LATE.set(Some(Late(sender)));
            record(ApiError::State("early"));
            last()
        });
        assert_eq!(thread.join().unwrap(), (13, "early".to_owned()));
        assert_eq!(receiver.recv().unwrap(), (12, "no memory is mapped at 0x10".to_owned()));
    }

    #[test]
    fn text_is_valid_until_the_next_call() {
        record(ApiError::State("first"));
        let first = smf_last_error().text;
        record(ApiError::State("second"));
        // SAFETY: NUL-terminated, and valid until the next call.
        assert_eq!(unsafe { CStr::from_ptr(first) }, c"first");
        assert_eq!((last().1, last().1), ("second".to_owned(), "second".to_owned()));
    }

    #[test]
    fn failure_is_recorded_and_success_leaves_it() {
        smf_clear_error();
        assert_eq!((or(-1, Ok(5)), smf_last_error().code), (5, 0));
        assert_eq!((or(-1, Err(ApiError::State(""))), smf_last_error().code), (-1, 13));
        assert_eq!((or(-1, Ok(5)), smf_last_error().code), (5, 13));
    }
}

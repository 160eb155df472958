//! Values of the runtime: text, byte arrays and pairs, which belong to it and not to this library.
//!
//! In the C convention a value is a pointer that this library never follows. It makes and reads values
//! through a table of functions, which the runtime installs once, before the first value; without a
//! runtime a set of its own serves ([`builtin`]). Either way the functions `smf_text_*`, `smf_bytes_*`
//! and `smf_pair_*` work, so that a C program alone can use every export.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_void};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, Ordering};

use smf_core::alloc_util::try_box;

use super::args;
use super::builtin;
use super::error::{ApiError, or};

/// A value of the runtime. Only pointers to it exist.
#[repr(C)]
#[derive(Debug)]
pub struct RuntimeValue {
    _opaque: [u8; 0],
    _not_send: std::marker::PhantomData<*mut c_void>,
}

/// A byte array as an argument.
pub(super) type Bytes = *const RuntimeValue;

/// A value as a result.
pub(super) type Value = *mut RuntimeValue;

/// The value that stands for a failure.
pub(super) const NO_VALUE: Value = std::ptr::null_mut();

/// A path as an argument.
pub(super) type Path = *const c_char;

/// Where a mapping is, as a result.
pub(super) type Mapping = SmfMapping;

/// Where a mapping is; both numbers are 0 when there is none.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SmfMapping {
    /// Of the first byte.
    pub address: i64,
    /// In bytes.
    pub size: i64,
}

/// Both numbers as a result.
pub(super) fn mapping(address: i64, size: i64) -> Mapping {
    SmfMapping { address, size }
}

/// The functions of a runtime for its values. All must be there, may be called from any thread, and
/// must not unwind. A function that is given a value of another kind returns null or -1.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfValueHooks {
    /// `sizeof(SmfValueHooks)`, so that a later library knows which functions there are.
    pub size: i64,
    /// Text of these bytes, which are UTF-8; null when there is no memory.
    pub text_new: Option<unsafe extern "C" fn(*const u8, i64) -> *mut RuntimeValue>,
    /// A byte array of this length; null when there is no memory.
    pub bytes_new: Option<unsafe extern "C" fn(i64) -> *mut RuntimeValue>,
    /// The bytes of a byte array, to be written; good until it is freed.
    pub bytes_data: Option<unsafe extern "C" fn(*const RuntimeValue) -> *mut u8>,
    /// Their number.
    pub bytes_length: Option<unsafe extern "C" fn(*const RuntimeValue) -> i64>,
    /// The bytes of text; good until it is freed.
    pub text_data: Option<unsafe extern "C" fn(*const RuntimeValue) -> *const u8>,
    /// Their number.
    pub text_length: Option<unsafe extern "C" fn(*const RuntimeValue) -> i64>,
    /// A pair of integers; null when there is no memory.
    pub pair_new: Option<unsafe extern "C" fn(i64, i64) -> *mut RuntimeValue>,
    /// Frees a value, or does whatever the runtime does instead.
    pub free: Option<unsafe extern "C" fn(*mut RuntimeValue)>,
}

/// The functions of a table that is whole.
struct Hooks {
    text_new: unsafe extern "C" fn(*const u8, i64) -> *mut RuntimeValue,
    bytes_new: unsafe extern "C" fn(i64) -> *mut RuntimeValue,
    bytes_data: unsafe extern "C" fn(*const RuntimeValue) -> *mut u8,
    bytes_length: unsafe extern "C" fn(*const RuntimeValue) -> i64,
    text_data: unsafe extern "C" fn(*const RuntimeValue) -> *const u8,
    text_length: unsafe extern "C" fn(*const RuntimeValue) -> i64,
    pair_new: unsafe extern "C" fn(i64, i64) -> *mut RuntimeValue,
    free: unsafe extern "C" fn(*mut RuntimeValue),
}

impl SmfValueHooks {
    fn whole(&self) -> Option<Hooks> {
        Some(Hooks {
            text_new: self.text_new?,
            bytes_new: self.bytes_new?,
            bytes_data: self.bytes_data?,
            bytes_length: self.bytes_length?,
            text_data: self.text_data?,
            text_length: self.text_length?,
            pair_new: self.pair_new?,
            free: self.free?,
        })
    }
}

/// Null at first, [`BUILTIN`] for the built-in set, or a box that was leaked. The first value, or the installation,
/// decides for good. A pointer and no cell that is being filled for a moment: a child that was forked then would
/// wait for that for ever.
static SET: AtomicPtr<Hooks> = AtomicPtr::new(ptr::null_mut());

const BUILTIN: *mut Hooks = NonNull::dangling().as_ptr();

/// The runtime's functions, if it installed them; a value is about to be made.
fn hooks() -> Option<&'static Hooks> {
    if SET.load(Ordering::Relaxed).is_null() {
        // Another thread may have been first.
        let _ =
            SET.compare_exchange(ptr::null_mut(), BUILTIN, Ordering::Relaxed, Ordering::Relaxed);
    }
    hooks_in_use()
}

/// As above, for a value that somebody has: without a set there is none.
fn hooks_in_use() -> Option<&'static Hooks> {
    let set = SET.load(Ordering::Acquire);
    if set == BUILTIN {
        return None;
    }
    // SAFETY: null, or a box that `install` has leaked and that does not change.
    unsafe { set.as_ref() }
}

/// Installs the runtime's functions for values. Possible once, and before the first value is made.
///
/// # Safety
/// `hooks` is null or points to the `size` bytes that its first field says, and the functions are what
/// [`SmfValueHooks`] says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_set_value_hooks(hooks: *const SmfValueHooks) -> bool {
    // SAFETY: passed on to the caller.
    or(false, unsafe { install(hooks) }.map(|()| true))
}

unsafe fn install(hooks: *const SmfValueHooks) -> Result<(), ApiError> {
    if hooks.is_null() {
        return Err(ApiError::Null { what: "the table of functions for values" });
    }
    // SAFETY: not null, and the first field at least, which is the size, is there.
    let size = unsafe { hooks.cast::<i64>().read() };
    if !usize::try_from(size).is_ok_and(|size| size >= size_of::<SmfValueHooks>()) {
        return Err(ApiError::Hooks { what: "is smaller than this library knows it" });
    }
    // SAFETY: not null, and as long as its size says.
    let table = unsafe { hooks.read() };
    let whole = table.whole().ok_or(ApiError::Hooks { what: "has a null among them" })?;
    let set = Box::into_raw(try_box(whole)?);
    let null = ptr::null_mut();
    if SET.compare_exchange(null, set, Ordering::Release, Ordering::Relaxed).is_err() {
        // SAFETY: from `Box::into_raw` above, and no other thread has seen it.
        drop(unsafe { Box::from_raw(set) });
        return Err(ApiError::ValuesInUse);
    }
    Ok(())
}

/// Hands out the bytes of a byte array.
///
/// # Safety
/// The value is null, or one of the runtime when that has installed its functions; and its bytes do not
/// change meanwhile.
pub(super) unsafe fn with_bytes<T>(
    value: Bytes,
    read: impl FnOnce(&[u8]) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    const KIND: ApiError = ApiError::NotA { kind: "a byte array" };
    if value.is_null() {
        return Err(ApiError::Null { what: "the byte array" });
    }
    let Some(hooks) = hooks_in_use() else {
        let buffer = builtin::bytes(value.addr()).ok_or(KIND)?;
        return read(buffer.as_slice());
    };
    // SAFETY: the runtime's function for its value, says the caller.
    let length = unsafe { (hooks.bytes_length)(value) };
    let length = usize::try_from(length).map_err(|_| KIND)?;
    // SAFETY: as above.
    let data = unsafe { (hooks.bytes_data)(value) };
    if length == 0 {
        return read(&[]);
    }
    if data.is_null() || isize::try_from(length).is_err() {
        return Err(KIND);
    }
    // SAFETY: the runtime says that these are the bytes of the array, and the caller that they do not
    // change meanwhile.
    read(unsafe { std::slice::from_raw_parts(data, length) })
}

/// The bytes of a path; `None` when there is none.
///
/// # Safety
/// `path` is null or points to bytes that end with a NUL, and that stay while the result is used.
pub(super) unsafe fn path<'p>(path: Path) -> Result<Option<&'p [u8]>, ApiError> {
    if path.is_null() {
        return Ok(None);
    }
    // SAFETY: not null, so that it ends with a NUL, says the caller.
    Ok(Some(unsafe { CStr::from_ptr(path) }.to_bytes()))
}

/// A new byte array, its `len` bytes filled in by `fill`.
pub(super) fn filled_bytes(
    len: usize,
    fill: impl FnOnce(&mut [u8]) -> Result<(), ApiError>,
) -> Result<Value, ApiError> {
    let length = i64::try_from(len).map_err(|_| ApiError::NoRoom { bytes: len })?;
    // SAFETY: zeros; nothing is copied.
    let value = unsafe { bytes_new(std::ptr::null(), length) }?;
    // SAFETY: a value of the runtime, just made.
    let data = unsafe { smf_bytes_data(value) };
    let filled = if len == 0 {
        fill(&mut [])
    } else if data.is_null() {
        Err(ApiError::NotA { kind: "a byte array" })
    } else {
        // SAFETY: as many bytes, which have been written, of a value that nobody else knows yet.
        fill(unsafe { std::slice::from_raw_parts_mut(data, len) })
    };
    if let Err(error) = filled {
        // SAFETY: as above.
        unsafe { smf_value_free(value) };
        return Err(error);
    }
    Ok(value)
}

/// New text.
pub(super) fn new_text(text: &str) -> Result<Value, ApiError> {
    let length = i64::try_from(text.len()).map_err(|_| ApiError::NoRoom { bytes: text.len() })?;
    // SAFETY: a slice has its bytes.
    unsafe { text_new(text.as_ptr(), length) }
}

/// What was made, or the failure that a null stands for.
fn made(value: *mut RuntimeValue, bytes: usize) -> Result<*mut RuntimeValue, ApiError> {
    if value.is_null() { Err(ApiError::NoRoom { bytes }) } else { Ok(value) }
}

fn token(token: usize) -> *mut RuntimeValue {
    std::ptr::without_provenance_mut(token)
}

/// Text of `length` bytes, which should be UTF-8 and are taken as they are. Null on failure.
///
/// # Safety
/// `bytes` is null or points to that many bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_text_new(bytes: *const u8, length: i64) -> *mut RuntimeValue {
    // SAFETY: passed on to the caller.
    or(std::ptr::null_mut(), unsafe { text_new(bytes, length) })
}

unsafe fn text_new(bytes: *const u8, length: i64) -> Result<*mut RuntimeValue, ApiError> {
    let count = count(length)?;
    if bytes.is_null() && count != 0 {
        return Err(ApiError::Null { what: "the text" });
    }
    if let Some(hooks) = hooks() {
        // SAFETY: as many bytes as the caller says, for the runtime's function.
        return made(unsafe { (hooks.text_new)(bytes, length) }, count);
    }
    // SAFETY: as many bytes as the caller says.
    unsafe { builtin::new_text(bytes, count) }.map(token)
}

/// A byte array of `length` bytes: a copy of those at `bytes`, or zeros when that is null. Null on
/// failure.
///
/// # Safety
/// `bytes` is null or points to that many bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_bytes_new(bytes: *const u8, length: i64) -> *mut RuntimeValue {
    // SAFETY: passed on to the caller.
    or(std::ptr::null_mut(), unsafe { bytes_new(bytes, length) })
}

unsafe fn bytes_new(bytes: *const u8, length: i64) -> Result<*mut RuntimeValue, ApiError> {
    let count = count(length)?;
    let Some(hooks) = hooks() else {
        // SAFETY: as many bytes as the caller says, or none.
        return unsafe { builtin::new_bytes(bytes, count) }.map(token);
    };
    // SAFETY: the runtime's function.
    let value = made(unsafe { (hooks.bytes_new)(length) }, count)?;
    // SAFETY: the runtime's function for the runtime's value.
    let data = unsafe { (hooks.bytes_data)(value) };
    if data.is_null() {
        return if count == 0 { Ok(value) } else { Err(ApiError::NotA { kind: "a byte array" }) };
    }
    if bytes.is_null() {
        // SAFETY: the runtime has made an array of that many bytes, and nobody else knows it yet.
        unsafe { data.write_bytes(0, count) };
    } else {
        // SAFETY: as above, and the caller says that there are as many at `bytes`.
        unsafe { data.copy_from_nonoverlapping(bytes, count) };
    }
    Ok(value)
}

fn count(length: i64) -> Result<usize, ApiError> {
    let count = usize::try_from(args::length("the length", length)?).ok();
    let too_large = ApiError::TooLarge { what: "the length", value: length };
    count.filter(|&count| isize::try_from(count).is_ok()).ok_or(too_large)
}

/// A pair of integers. Null on failure.
#[unsafe(no_mangle)]
pub extern "C" fn smf_pair_new(first: i64, second: i64) -> *mut RuntimeValue {
    let pair = match hooks() {
        // SAFETY: the runtime's function.
        Some(hooks) => made(unsafe { (hooks.pair_new)(first, second) }, 16),
        None => builtin::new_pair(first, second).map(token),
    };
    or(std::ptr::null_mut(), pair)
}

/// Reads something out of a value, through the runtime's table or out of the built-in set.
fn read<T>(
    value: *const RuntimeValue,
    failure: T,
    kind: &'static str,
    hook: impl FnOnce(&Hooks) -> Option<T>,
    own: impl FnOnce(usize) -> Option<T>,
) -> T {
    if value.is_null() {
        return or(failure, Err(ApiError::Null { what: "the value" }));
    }
    let found = match hooks_in_use() {
        Some(hooks) => hook(hooks),
        None => own(value.addr()),
    };
    or(failure, found.ok_or(ApiError::NotA { kind }))
}

/// The bytes of a byte array, to be read and written until it is freed; null on failure.
///
/// # Safety
/// `value` is null, or a value of the runtime when that has installed its functions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_bytes_data(value: *const RuntimeValue) -> *mut u8 {
    let null = std::ptr::null_mut();
    // SAFETY: the runtime's function for its value, says the caller.
    let hook = |hooks: &Hooks| Some(unsafe { (hooks.bytes_data)(value) }).filter(|d| !d.is_null());
    read(value, null, "a byte array", hook, |v| Some(builtin::bytes(v)?.data()))
}

/// The number of bytes in a byte array; -1 on failure.
///
/// # Safety
/// `value` is null, or a value of the runtime when that has installed its functions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_bytes_length(value: *const RuntimeValue) -> i64 {
    // SAFETY: as in `smf_bytes_data`.
    let hook = |hooks: &Hooks| Some(unsafe { (hooks.bytes_length)(value) }).filter(|&l| l >= 0);
    read(value, -1, "a byte array", hook, |v| i64::try_from(builtin::bytes(v)?.len()).ok())
}

/// The bytes of text until it is freed; in the built-in set there is a NUL behind them. Null on failure.
///
/// # Safety
/// `value` is null, or a value of the runtime when that has installed its functions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_text_data(value: *const RuntimeValue) -> *const u8 {
    // SAFETY: as in `smf_bytes_data`.
    let hook = |hooks: &Hooks| Some(unsafe { (hooks.text_data)(value) }).filter(|d| !d.is_null());
    let own = |v| Some(builtin::text(v)?.data().cast_const());
    read(value, std::ptr::null(), "text", hook, own)
}

/// The number of bytes in text; -1 on failure.
///
/// # Safety
/// `value` is null, or a value of the runtime when that has installed its functions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_text_length(value: *const RuntimeValue) -> i64 {
    // SAFETY: as in `smf_bytes_data`.
    let hook = |hooks: &Hooks| Some(unsafe { (hooks.text_length)(value) }).filter(|&l| l >= 0);
    read(value, -1, "text", hook, |v| i64::try_from(builtin::text(v)?.len()).ok())
}

/// The first integer of a pair of the built-in set; 0 on failure.
#[unsafe(no_mangle)]
pub extern "C" fn smf_pair_first(value: *const RuntimeValue) -> i64 {
    read(value, 0, "a pair of the built-in set", |_| None, |v| Some(builtin::pair(v)?.0))
}

/// The second integer of a pair of the built-in set; 0 on failure.
#[unsafe(no_mangle)]
pub extern "C" fn smf_pair_second(value: *const RuntimeValue) -> i64 {
    read(value, 0, "a pair of the built-in set", |_| None, |v| Some(builtin::pair(v)?.1))
}

/// Frees a value.
///
/// # Safety
/// `value` is null, or a value of the runtime when that has installed its functions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_value_free(value: *mut RuntimeValue) -> bool {
    let hook = |hooks: &Hooks| {
        // SAFETY: as in `smf_bytes_data`.
        unsafe { (hooks.free)(value) };
        Some(true)
    };
    read(value, false, "a live value", hook, |v| builtin::free(v).then_some(true))
}

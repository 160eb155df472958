//! Values of the runtime: text, byte arrays and pairs, which the runtime owns.
//!
//! In the C convention a value is a pointer that this library never dereferences. The library creates and reads
//! values through a table of functions that the runtime installs once, before the first value; without one the
//! [`builtin`] set applies. `smf_text_*`, `smf_bytes_*` and `smf_pair_*` work in both cases, so that a C program
//! without a runtime can use every export.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_void};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, Ordering};

use smf_core::alloc_util::try_box;

use super::args::{self, array_len, to_i64};
use super::builtin::{self, BufferKind, buffer};
use super::cptr::{BYTE_ARRAY, TEXT, fill_value, value_bytes};
use super::error::{ApiError, ArgumentError, Code, or, succeeded};
use super::versioned_struct::{self, versioned};

/// An opaque value of the runtime.
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

/// The result of a failure.
pub(super) const NO_VALUE: Value = ptr::null_mut();

/// A path as an argument.
pub(super) type Path = *const c_char;

/// A truth value as a result of `rt_*`, `compiler_*` and `type_*`.
pub(super) type Bool = bool;

/// The address and size of a mapping as a result.
pub(super) type Mapping = SmfMapping;

/// The address and size of a mapping; both are 0 on failure.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SmfMapping {
    /// The address of the first byte.
    pub address: i64,
    /// In bytes.
    pub size: i64,
}

pub(super) fn to_bool(value: bool) -> Bool {
    value
}

pub(super) fn mapping(address: i64, size: i64) -> Mapping {
    SmfMapping { address, size }
}

/// The runtime's functions for its values. They must be callable from any thread, and not unwind. A function returns null
/// or -1 for a value of another kind. All must be present, except those for lists.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SmfValueHooks {
    /// `sizeof(SmfValueHooks)`.
    pub size: i64,
    /// Creates text of these bytes, which are UTF-8; null without memory.
    pub text_new: Option<unsafe extern "C" fn(*const u8, i64) -> *mut RuntimeValue>,
    /// Creates a byte array of this length; null without memory.
    pub bytes_new: Option<unsafe extern "C" fn(i64) -> *mut RuntimeValue>,
    /// The writable bytes of a byte array, valid until it is freed.
    pub bytes_data: Option<unsafe extern "C" fn(*const RuntimeValue) -> *mut u8>,
    /// The length of a byte array.
    pub bytes_length: Option<unsafe extern "C" fn(*const RuntimeValue) -> i64>,
    /// The bytes of text, valid until it is freed.
    pub text_data: Option<unsafe extern "C" fn(*const RuntimeValue) -> *const u8>,
    /// The length of text in bytes.
    pub text_length: Option<unsafe extern "C" fn(*const RuntimeValue) -> i64>,
    /// Creates a pair of integers; null without memory.
    pub pair_new: Option<unsafe extern "C" fn(i64, i64) -> *mut RuntimeValue>,
    /// Frees a value, or does what the runtime does instead.
    pub free: Option<unsafe extern "C" fn(*mut RuntimeValue)>,
    /// Creates an empty list; null without memory. May be absent: then functions that return lists fail.
    pub list_new: Option<unsafe extern "C" fn() -> *mut RuntimeValue>,
    /// Appends text to a list, which owns it then; false without memory. May be absent as well.
    pub list_push: Option<unsafe extern "C" fn(*mut RuntimeValue, *mut RuntimeValue) -> bool>,
}

versioned!(SmfValueHooks, 72, 88);

/// A complete table of functions.
struct Hooks {
    text_new: unsafe extern "C" fn(*const u8, i64) -> *mut RuntimeValue,
    bytes_new: unsafe extern "C" fn(i64) -> *mut RuntimeValue,
    bytes_data: unsafe extern "C" fn(*const RuntimeValue) -> *mut u8,
    bytes_length: unsafe extern "C" fn(*const RuntimeValue) -> i64,
    text_data: unsafe extern "C" fn(*const RuntimeValue) -> *const u8,
    text_length: unsafe extern "C" fn(*const RuntimeValue) -> i64,
    pair_new: unsafe extern "C" fn(i64, i64) -> *mut RuntimeValue,
    free: unsafe extern "C" fn(*mut RuntimeValue),
    list: Option<ListHooks>,
}

/// The functions for lists.
#[derive(Clone, Copy)]
struct ListHooks {
    new: unsafe extern "C" fn() -> *mut RuntimeValue,
    push: unsafe extern "C" fn(*mut RuntimeValue, *mut RuntimeValue) -> bool,
}

impl SmfValueHooks {
    fn complete(&self) -> Option<Hooks> {
        Some(Hooks {
            text_new: self.text_new?,
            bytes_new: self.bytes_new?,
            bytes_data: self.bytes_data?,
            bytes_length: self.bytes_length?,
            text_data: self.text_data?,
            text_length: self.text_length?,
            pair_new: self.pair_new?,
            free: self.free?,
            list: self.list_new.zip(self.list_push).map(|(new, push)| ListHooks { new, push }),
        })
    }
}

/// Null at first, then for good [`BUILTIN`] from the first value on, or a leaked box that `install` stored. Not a
/// `OnceLock`: a child of `fork` would wait for ever for a thread that was initialising it.
static HOOKS: AtomicPtr<Hooks> = AtomicPtr::new(ptr::null_mut());

const BUILTIN: *mut Hooks = NonNull::dangling().as_ptr();

/// The installed functions, before a value is created: without any, the built-in set applies from now on.
fn hooks() -> Option<&'static Hooks> {
    if HOOKS.load(Ordering::Relaxed).is_null() {
        // Fails if another thread was first.
        let null = ptr::null_mut();
        let _ = HOOKS.compare_exchange(null, BUILTIN, Ordering::Relaxed, Ordering::Relaxed);
    }
    hooks_in_use()
}

/// The installed functions, before an existing value is read.
fn hooks_in_use() -> Option<&'static Hooks> {
    let hooks = HOOKS.load(Ordering::Acquire);
    if hooks == BUILTIN {
        return None;
    }
    // SAFETY: null, or a box that `install` has leaked and that does not change.
    unsafe { hooks.as_ref() }
}

/// Installs the runtime's functions for values. Possible once, before the first value is created.
///
/// # Safety
/// `hooks` is null or points to the `size` bytes that its first field says, and the functions conform to
/// [`SmfValueHooks`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_set_value_hooks(hooks: *const SmfValueHooks) -> bool {
    // SAFETY: the caller's promise.
    let hooks = unsafe { versioned_struct::read(hooks, SmfValueHooks::default()) };
    succeeded(hooks.and_then(install))
}

fn install(hooks: SmfValueHooks) -> Result<(), ApiError> {
    let hooks = hooks.complete().ok_or(ArgumentError::NullHook)?;
    let hooks = Box::into_raw(try_box(hooks)?);
    let null = ptr::null_mut();
    if HOOKS.compare_exchange(null, hooks, Ordering::Release, Ordering::Relaxed).is_err() {
        // SAFETY: from `Box::into_raw` above, and not published.
        drop(unsafe { Box::from_raw(hooks) });
        let why = "the functions for values were installed before, or a value was created before";
        return Err(ApiError::State(why));
    }
    Ok(())
}

/// Passes the bytes of a byte array to `read`.
///
/// # Safety
/// The value is null, or, with installed functions, one of the runtime. Its bytes do not change during the call.
pub(super) unsafe fn with_bytes<T>(
    value: Bytes,
    read: impl FnOnce(&[u8]) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    if value.is_null() {
        return Err(ArgumentError::Null { what: "the byte array" }.into());
    }
    let Some(hooks) = hooks_in_use() else {
        let found = buffer(BufferKind::Bytes, value.addr());
        return read(found.ok_or_else(|| ApiError::NotA { kind: BYTE_ARRAY })?.as_slice());
    };
    // SAFETY: the runtime's function for its value.
    let length = unsafe { (hooks.bytes_length)(value) };
    // SAFETY: as above.
    let data = unsafe { (hooks.bytes_data)(value) };
    // SAFETY: both are of the same array, which does not change by the caller's promise.
    read(unsafe { value_bytes(data, length, BYTE_ARRAY) }?)
}

/// The bytes of a path; `None` for null.
///
/// # Safety
/// `path` is null or NUL-terminated and valid while the result is used.
pub(super) unsafe fn path<'p>(path: Path) -> Result<Option<&'p [u8]>, ApiError> {
    if path.is_null() {
        return Ok(None);
    }
    // SAFETY: not null, so NUL-terminated by the caller's promise.
    Ok(Some(unsafe { CStr::from_ptr(path) }.to_bytes()))
}

/// A new byte array of `len` bytes, which `fill` writes.
pub(super) fn filled_bytes(
    len: usize,
    fill: impl FnOnce(&mut [u8]) -> Result<(), ApiError>,
) -> Result<Value, ApiError> {
    // SAFETY: null stands for zeros.
    let value = unsafe { bytes_new(ptr::null(), to_i64(len)) }?;
    // SAFETY: a new value.
    let data = unsafe { smf_bytes_data(value) };
    // SAFETY: the array has `len` bytes, which are zeros, and no other thread has the value yet.
    unsafe { fill_value(data, len, fill) }.map(|()| value).inspect_err(|_| {
        // SAFETY: the value is not used any more.
        unsafe { smf_value_free(value) };
    })
}

/// New text.
pub(super) fn new_text(text: &str) -> Result<Value, ApiError> {
    // SAFETY: the bytes of a slice.
    unsafe { text_new(text.as_ptr(), to_i64(text.len())) }
}

/// A new list of the texts that `fill` passes to its argument.
pub(super) fn new_list(
    fill: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<(), ApiError>) -> Result<(), ApiError>,
) -> Result<Value, ApiError> {
    let Some(hooks) = hooks() else {
        let list = builtin::new_list()?;
        let filled = fill(&mut |text| builtin::push(list, text));
        return filled.map(|()| from_token(list)).inspect_err(|_| {
            builtin::free(list);
        });
    };
    let none = || ApiError::other(Code::Unsupported, &"the installed functions create no lists");
    let functions = hooks.list.ok_or_else(none)?;
    // SAFETY: the runtime's function.
    let list = created(unsafe { (functions.new)() }, 0)?;
    let filled = fill(&mut |text| {
        // SAFETY: the runtime's function, with the bytes of a slice.
        let text =
            created(unsafe { (hooks.text_new)(text.as_ptr(), to_i64(text.len())) }, text.len())?;
        // SAFETY: the runtime's function for its values.
        if unsafe { (functions.push)(list, text) } {
            return Ok(());
        }
        // SAFETY: as above; the list does not own the text.
        unsafe { (hooks.free)(text) };
        Err(ApiError::NoMemory { bytes: size_of::<Value>() })
    });
    filled.map(|()| list).inspect_err(|_| {
        // SAFETY: the runtime's function for its value, which is not used any more.
        unsafe { (hooks.free)(list) };
    })
}

/// A new value; null stands for a lack of memory.
fn created(value: *mut RuntimeValue, bytes: usize) -> Result<*mut RuntimeValue, ApiError> {
    if value.is_null() { Err(ApiError::NoMemory { bytes }) } else { Ok(value) }
}

/// The pointer that stands for a value of the built-in set.
fn from_token(token: usize) -> *mut RuntimeValue {
    ptr::without_provenance_mut(token)
}

/// Creates text of `length` bytes, which should be UTF-8 and are not checked. Null on failure.
///
/// # Safety
/// `bytes` is null or points to that many bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_text_new(bytes: *const u8, length: i64) -> *mut RuntimeValue {
    // SAFETY: the caller's promise.
    or(NO_VALUE, unsafe { text_new(bytes, length) })
}

unsafe fn text_new(bytes: *const u8, length: i64) -> Result<*mut RuntimeValue, ApiError> {
    let len = array_len::<u8>("the length", length)?;
    if bytes.is_null() && len != 0 {
        return Err(ArgumentError::Null { what: "the text" }.into());
    }
    if let Some(hooks) = hooks() {
        // SAFETY: the runtime's function; `bytes` is valid by the caller's promise.
        return created(unsafe { (hooks.text_new)(bytes, length) }, len);
    }
    // SAFETY: the caller's promise.
    unsafe { builtin::new_buffer(BufferKind::Text, bytes, len) }.map(from_token)
}

/// Creates a byte array of `length` bytes: a copy of those at `bytes`, or zeros if that is null. Null on failure.
///
/// # Safety
/// `bytes` is null or points to that many bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_bytes_new(bytes: *const u8, length: i64) -> *mut RuntimeValue {
    // SAFETY: the caller's promise.
    or(NO_VALUE, unsafe { bytes_new(bytes, length) })
}

unsafe fn bytes_new(bytes: *const u8, length: i64) -> Result<*mut RuntimeValue, ApiError> {
    let len = array_len::<u8>("the length", length)?;
    let Some(hooks) = hooks() else {
        // SAFETY: the caller's promise.
        return unsafe { builtin::new_buffer(BufferKind::Bytes, bytes, len) }.map(from_token);
    };
    // SAFETY: the runtime's function.
    let value = created(unsafe { (hooks.bytes_new)(length) }, len)?;
    // SAFETY: the runtime's function for its value.
    let data = unsafe { (hooks.bytes_data)(value) };
    if data.is_null() {
        if len == 0 {
            return Ok(value);
        }
        // SAFETY: the runtime's function for its value, which nothing else has.
        unsafe { (hooks.free)(value) };
        return Err(ApiError::NotA { kind: BYTE_ARRAY });
    }
    if bytes.is_null() {
        // SAFETY: the array has `len` bytes, and no other thread has the value yet.
        unsafe { data.write_bytes(0, len) };
    } else {
        // SAFETY: as above; `bytes` is valid by the caller's promise.
        unsafe { data.copy_from_nonoverlapping(bytes, len) };
    }
    Ok(value)
}

/// Creates a pair of integers. Null on failure.
#[unsafe(no_mangle)]
pub extern "C" fn smf_pair_new(first: i64, second: i64) -> *mut RuntimeValue {
    let pair = match hooks() {
        // SAFETY: the runtime's function.
        Some(hooks) => created(unsafe { (hooks.pair_new)(first, second) }, builtin::PAIR_SIZE),
        None => builtin::new_pair(first, second).map(from_token),
    };
    or(NO_VALUE, pair)
}

/// Reads a property of a value, through the installed functions or from the built-in set.
fn read<T>(
    value: *const RuntimeValue,
    failure: T,
    kind: &'static str,
    hook: impl FnOnce(&Hooks) -> Option<T>,
    built_in: impl FnOnce(usize) -> Option<T>,
) -> T {
    if value.is_null() {
        return or(failure, Err(ArgumentError::Null { what: "the value" }.into()));
    }
    let found = match hooks_in_use() {
        Some(hooks) => hook(hooks),
        None => built_in(value.addr()),
    };
    or(failure, found.ok_or_else(|| ApiError::NotA { kind }))
}

/// The bytes of a byte array, readable and writable until it is freed; null on failure.
///
/// # Safety
/// `value` is null, or, with installed functions, a value of the runtime.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_bytes_data(value: *const RuntimeValue) -> *mut u8 {
    // SAFETY: the runtime's function for its value.
    let hook = |hooks: &Hooks| Some(unsafe { (hooks.bytes_data)(value) }).filter(|d| !d.is_null());
    read(value, ptr::null_mut(), BYTE_ARRAY, hook, |token| {
        Some(buffer(BufferKind::Bytes, token)?.data())
    })
}

/// The length of a byte array; -1 on failure.
///
/// # Safety
/// As for [`smf_bytes_data`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_bytes_length(value: *const RuntimeValue) -> i64 {
    // SAFETY: the runtime's function for its value.
    let hook = |hooks: &Hooks| Some(unsafe { (hooks.bytes_length)(value) }).filter(|&l| l >= 0);
    read(value, -1, BYTE_ARRAY, hook, |token| Some(to_i64(buffer(BufferKind::Bytes, token)?.len())))
}

/// The bytes of text, valid until it is freed; the built-in set appends a NUL. Null on failure.
///
/// # Safety
/// As for [`smf_bytes_data`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_text_data(value: *const RuntimeValue) -> *const u8 {
    // SAFETY: the runtime's function for its value.
    let hook = |hooks: &Hooks| Some(unsafe { (hooks.text_data)(value) }).filter(|d| !d.is_null());
    let built_in = |token| Some(buffer(BufferKind::Text, token)?.data().cast_const());
    read(value, ptr::null(), TEXT, hook, built_in)
}

/// The length of text in bytes; -1 on failure.
///
/// # Safety
/// As for [`smf_bytes_data`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_text_length(value: *const RuntimeValue) -> i64 {
    // SAFETY: the runtime's function for its value.
    let hook = |hooks: &Hooks| Some(unsafe { (hooks.text_length)(value) }).filter(|&l| l >= 0);
    read(value, -1, TEXT, hook, |token| Some(to_i64(buffer(BufferKind::Text, token)?.len())))
}

const BUILTIN_PAIR: &str = "a pair of the built-in set";

/// The first integer of a pair of the built-in set; 0 on failure.
#[unsafe(no_mangle)]
pub extern "C" fn smf_pair_first(value: *const RuntimeValue) -> i64 {
    read(value, 0, BUILTIN_PAIR, |_| None, |token| Some(builtin::pair(token)?.0))
}

/// The second integer of a pair of the built-in set; 0 on failure.
#[unsafe(no_mangle)]
pub extern "C" fn smf_pair_second(value: *const RuntimeValue) -> i64 {
    read(value, 0, BUILTIN_PAIR, |_| None, |token| Some(builtin::pair(token)?.1))
}

const BUILTIN_LIST: &str = "a list of the built-in set";

/// The number of texts in a list of the built-in set; -1 on failure.
#[unsafe(no_mangle)]
pub extern "C" fn smf_list_length(value: *const RuntimeValue) -> i64 {
    read(
        value,
        -1,
        BUILTIN_LIST,
        |_| None,
        |token| builtin::list(token, |texts| Some(to_i64(texts.len()))),
    )
}

/// A text in a list of the built-in set, by its index from 0; null on failure. It is freed with the list.
#[unsafe(no_mangle)]
pub extern "C" fn smf_list_get(value: *const RuntimeValue, index: i64) -> *mut RuntimeValue {
    let list = match args::length("the index in the list", index) {
        Ok(_) => value,
        Err(error) => return or(NO_VALUE, Err(error.into())),
    };
    read(
        list,
        NO_VALUE,
        BUILTIN_LIST,
        |_| None,
        |token| {
            let index = usize::try_from(index).ok()?;
            builtin::list(token, |texts| texts.get(index).copied().map(from_token))
        },
    )
}

/// Frees a value. False for an invalid one.
///
/// # Safety
/// As for [`smf_bytes_data`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_value_free(value: *mut RuntimeValue) -> bool {
    let hook = |hooks: &Hooks| {
        // SAFETY: the runtime's function for its value.
        unsafe { (hooks.free)(value) };
        Some(true)
    };
    read(value, false, "a live value", hook, |token| builtin::free(token).then_some(true))
}

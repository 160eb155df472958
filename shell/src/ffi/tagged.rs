//! Values in the tagged convention: words of the runtime, created and read through its accessor functions.
//!
//! The low three bits of a word are its tag, and tag 1 marks a heap pointer: a byte array, text or a tuple. The runtime
//! owns the objects and frees them. Text may also be a NUL-terminated string without a tag, which compiled programs
//! pass for literals; the runtime's accessors distinguish the two.
//!
//! A `[u8]` is packed, one byte an element, or a slot array, one word an element. Accessors of older runtimes read the
//! words of a slot array as bytes. A slot array is therefore read through `rt_array_bytes_copy_checked`, or refused
//! where the runtime lacks it; a packed array is then recognised by its elements.
//!
//! Source: `runtime.h` of the Simple runtime; the packed representation is that of `rt_byte_array_new`.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU8, Ordering};

use super::args::to_i64;
use super::cptr::{BYTE_ARRAY, TEXT, fill_value, value_bytes};
use super::error::ApiError;

/// A byte array as an argument.
pub(super) type Bytes = i64;

/// A value as a result.
pub(super) type Value = i64;

/// The result of a failure: NIL.
pub(super) const NO_VALUE: Value = 3;

/// A path as an argument: text, or NIL for none.
pub(super) type Path = i64;

/// A truth value as a result: compiled programs test all 64 bits.
pub(super) type Bool = i64;

/// The address and size of a mapping as a result: a tuple of two integers.
pub(super) type Mapping = i64;

const TAG_MASK: i64 = 7;
const HEAP_TAG: i64 = 1;

/// The bits below an integer in its word.
#[cfg(feature = "exec")]
const INTEGER_SHIFT: u32 = 3;

// SAFETY: the functions of the runtime, which accept any word: they look objects up before they access them.
unsafe extern "C" {
    safe fn rt_array_data_ptr_u8(array: i64) -> *mut u8;
    safe fn rt_array_get(array: i64, index: i64) -> i64;
    safe fn rt_array_header_ptr(array: i64) -> i64;
    safe fn rt_array_len(array: i64) -> i64;
    safe fn rt_array_new(capacity: i64) -> i64;
    safe fn rt_array_push(array: i64, value: i64) -> i8;
    fn rt_array_set_len_known(header: i64, length: i64) -> i8;
    /// Reserves: the length of the new array is 0.
    safe fn rt_byte_array_new(capacity: u64) -> i64;
    fn rt_string_data(text: i64) -> *const u8;
    fn rt_string_len(text: i64) -> i64;
    fn rt_string_new(bytes: *const u8, length: u64) -> i64;
    safe fn rt_tuple_new(length: i64) -> i64;
    safe fn rt_tuple_set(tuple: i64, index: i64, value: i64) -> i8;
    safe fn rt_value_int(number: i64) -> i64;
}

/// The accessors that older runtimes lack: weak references, which the linker resolves to null there.
#[repr(C)]
struct Optional {
    /// The length in bytes if the array is packed, else -1.
    bytes_basis_len: Option<unsafe extern "C" fn(i64) -> i64>,
    /// Copies the elements of a packed or slot array of bytes. Returns a negative number if the value is no such array.
    bytes_copy_checked: Option<unsafe extern "C" fn(i64, *mut u8, i64) -> i64>,
    /// A packed array of zeros.
    byte_array_new_len: Option<unsafe extern "C" fn(u64) -> i64>,
}

std::arch::global_asm!(
    ".weak rt_array_bytes_basis_len",
    ".weak rt_array_bytes_copy_checked",
    ".weak rt_byte_array_new_len",
    ".pushsection .data.rel.ro.smf_optional_accessors,\"aw\",@progbits",
    ".hidden smf_optional_accessors",
    ".globl smf_optional_accessors",
    ".type smf_optional_accessors,@object",
    ".balign 8",
    "smf_optional_accessors:",
    ".quad rt_array_bytes_basis_len",
    ".quad rt_array_bytes_copy_checked",
    ".quad rt_byte_array_new_len",
    ".size smf_optional_accessors, . - smf_optional_accessors",
    ".popsection",
);

unsafe extern "C" {
    /// Defined above, and filled in by the linkers before any code runs.
    static smf_optional_accessors: Optional;
}

fn optional() -> &'static Optional {
    // SAFETY: the object has three words, each null or the address of a function with the type of its field.
    unsafe { &smf_optional_accessors }
}

fn is_heap(value: i64) -> bool {
    value & TAG_MASK == HEAP_TAG
}

pub(super) fn to_bool(value: bool) -> Bool {
    value.into()
}

/// Passes the bytes of a byte array to `read`.
///
/// # Safety
/// The value is a word of the runtime, and its bytes do not change during the call.
pub(super) unsafe fn with_bytes<T>(
    value: Bytes,
    read: impl FnOnce(&[u8]) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    if !is_heap(value) {
        return Err(ApiError::NotA { kind: BYTE_ARRAY });
    }
    let length = rt_array_len(value);
    let data = rt_array_data_ptr_u8(value);
    // SAFETY: both are of the same array, which does not change by the caller's promise.
    let bytes = unsafe { value_bytes(data, length, BYTE_ARRAY) }?;
    let is_packed = match (optional().bytes_basis_len, optional().bytes_copy_checked) {
        // SAFETY: as above.
        (Some(basis_len), _) => (0..).contains(&unsafe { basis_len(value) }),
        (None, Some(_)) => false,
        (None, None) => converts_slots() || elements_are(value, bytes),
    };
    if is_packed { read(bytes) } else { read(&copy_of_slots(value, length)?) }
}

/// Whether the elements of an array are these bytes of its data, which a slot array does not have: there, a byte other
/// than 0 that is not the first one of a word would make the element above 255.
fn elements_are(value: Bytes, bytes: &[u8]) -> bool {
    let mut elements = bytes.iter().zip(0..);
    let is_equal = elements.all(|(byte, at)| rt_array_get(value, at) == i64::from(*byte));
    is_equal
        && bytes.chunks(size_of::<i64>()).any(|word| word.iter().skip(1).any(|byte| *byte != 0))
}

/// The bytes of an array that may be a slot array.
fn copy_of_slots(value: Bytes, length: i64) -> Result<Vec<u8>, ApiError> {
    let copy_checked = optional().bytes_copy_checked.ok_or_else(|| ApiError::NotA {
        kind: "a packed byte array; the runtime lacks rt_array_bytes_copy_checked for others",
    })?;
    let none = || ApiError::NotA { kind: BYTE_ARRAY };
    let len = usize::try_from(length).map_err(|_| none())?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| ApiError::NoMemory { bytes: len })?;
    bytes.resize(len, 0);
    // SAFETY: an accessor of the runtime, which writes at most `length` bytes.
    let copied = unsafe { copy_checked(value, bytes.as_mut_ptr(), length) };
    if copied >= 0 { Ok(bytes) } else { Err(none()) }
}

/// Whether `rt_array_data_ptr_u8` converts a slot array to bytes, which the Rust runtime does and the C runtime does
/// not. Found out once, by an array of one element.
fn converts_slots() -> bool {
    const UNKNOWN: u8 = 0;
    const NO: u8 = 1;
    const YES: u8 = 2;
    const ELEMENT: u8 = b'A';
    static KNOWN: AtomicU8 = AtomicU8::new(UNKNOWN);
    if KNOWN.load(Ordering::Relaxed) == UNKNOWN {
        let array = rt_array_new(1);
        rt_array_push(array, rt_value_int(ELEMENT.into()));
        let data = rt_array_data_ptr_u8(array);
        // SAFETY: the data of an array of one element, of at least one byte.
        let converts = !data.is_null() && unsafe { data.read() } == ELEMENT;
        KNOWN.store(if converts { YES } else { NO }, Ordering::Relaxed);
    }
    KNOWN.load(Ordering::Relaxed) == YES
}

/// The bytes of a path; `None` for NIL.
///
/// # Safety
/// The value is a word of the runtime or the address of a NUL-terminated string, and its bytes are valid while the
/// result is used.
pub(super) unsafe fn path<'p>(path: Path) -> Result<Option<&'p [u8]>, ApiError> {
    if path == NO_VALUE {
        return Ok(None);
    }
    // SAFETY: an accessor of the runtime, which checks the kind of the object.
    let length = unsafe { rt_string_len(path) };
    // SAFETY: as above.
    let data = unsafe { rt_string_data(path) };
    // SAFETY: both are of the same text, which is valid by the caller's promise.
    unsafe { value_bytes(data, length, TEXT) }.map(Some)
}

/// A new value; the runtime returns another kind of word when it is out of memory.
fn created(value: Value, bytes: usize) -> Result<Value, ApiError> {
    if is_heap(value) { Ok(value) } else { Err(ApiError::NoMemory { bytes }) }
}

/// A new packed array of `len` zero bytes.
fn new_bytes(len: usize) -> Result<Value, ApiError> {
    if let Some(new_len) = optional().byte_array_new_len {
        // SAFETY: a function of the runtime.
        return created(unsafe { new_len(len as u64) }, len);
    }
    let array = created(rt_byte_array_new(len as u64), len)?;
    let data = rt_array_data_ptr_u8(array);
    if len != 0 {
        if data.is_null() {
            return Err(ApiError::NoMemory { bytes: len });
        }
        // SAFETY: the array has room for `len` bytes, and no other thread has the value yet.
        unsafe { data.write_bytes(0, len) };
    }
    let header = rt_array_header_ptr(array);
    // SAFETY: the header of an array whose capacity is at least `len`.
    unsafe { rt_array_set_len_known(header, to_i64(len)) };
    Ok(array)
}

/// A new byte array of `len` bytes, which `fill` writes.
pub(super) fn filled_bytes(
    len: usize,
    fill: impl FnOnce(&mut [u8]) -> Result<(), ApiError>,
) -> Result<Value, ApiError> {
    let value = new_bytes(len)?;
    let data = rt_array_data_ptr_u8(value);
    // SAFETY: the array has `len` initialised bytes, and no other thread has the value yet.
    unsafe { fill_value(data, len, fill) }.map(|()| value)
}

/// New text.
pub(super) fn new_text(text: &str) -> Result<Value, ApiError> {
    // SAFETY: a function of the runtime, with the bytes of a slice.
    created(unsafe { rt_string_new(text.as_ptr(), text.len() as u64) }, text.len())
}

/// A new list of the texts that `fill` passes to its argument: an array of their words.
pub(super) fn new_list(
    fill: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<(), ApiError>) -> Result<(), ApiError>,
) -> Result<Value, ApiError> {
    let list = created(rt_array_new(0), 0)?;
    fill(&mut |text| {
        // SAFETY: a function of the runtime, with the bytes of a slice.
        let word = created(unsafe { rt_string_new(text.as_ptr(), text.len() as u64) }, text.len())?;
        match rt_array_push(list, word) {
            0 => Err(ApiError::NoMemory { bytes: size_of::<Value>() }),
            _ => Ok(()),
        }
    })?;
    Ok(list)
}

/// The elements of an array of words.
#[cfg(feature = "exec")]
fn elements(array: Value) -> Result<impl Iterator<Item = Value>, ApiError> {
    if !is_heap(array) {
        return Err(ApiError::NotA { kind: "an array" });
    }
    match rt_array_len(array) {
        length @ 0.. => Ok((0..length).map(move |index| rt_array_get(array, index))),
        _ => Err(ApiError::NotA { kind: "an array" }),
    }
}

/// The integers of an array, whose elements are tagged.
#[cfg(feature = "exec")]
pub(super) fn integers(array: Value) -> Result<Vec<i64>, ApiError> {
    let mut integers = Vec::new();
    for word in elements(array)? {
        if word & TAG_MASK != 0 {
            return Err(ApiError::NotA { kind: "an array of integers" });
        }
        smf_core::alloc_util::try_push(&mut integers, word >> INTEGER_SHIFT)?;
    }
    Ok(integers)
}

/// The texts of an array.
///
/// # Safety
/// As for [`path`], of every element.
#[cfg(feature = "exec")]
pub(super) unsafe fn texts<'t>(array: Value) -> Result<Vec<&'t [u8]>, ApiError> {
    let mut texts = Vec::new();
    for word in elements(array)? {
        // SAFETY: the caller's promise.
        let text = unsafe { path(word) }?.ok_or_else(|| ApiError::NotA { kind: TEXT })?;
        smf_core::alloc_util::try_push(&mut texts, text)?;
    }
    Ok(texts)
}

/// An address and a size as a tuple.
pub(super) fn mapping(address: i64, size: i64) -> Mapping {
    let tuple = rt_tuple_new(2);
    if !is_heap(tuple) {
        return NO_VALUE;
    }
    for (index, number) in [(0, address), (1, size)] {
        rt_tuple_set(tuple, index, rt_value_int(number));
    }
    tuple
}

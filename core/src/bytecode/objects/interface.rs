//! The interface between the interpreter and the owner of objects.

use core::fmt::Debug;

use super::value::{ObjectHandle, Value};
use crate::trap::bytecode::{ValueError, ValueKind};

/// Which variant of which enumeration an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant {
    /// The enumeration; 0 when the instruction that made the object does not name one.
    pub type_id: u32,
    /// The variant of the enumeration.
    pub discriminant: u32,
}

/// The objects of a host.
///
/// A handle stays valid as long as the object can be reached from the values of a running call, which
/// [`collect`](Self::collect) enumerates, or from what the host holds itself.
///
/// # Errors
/// Every method that takes a handle fails with [`ValueError::BadHandle`] for a handle that names no object and with
/// [`ValueError::WrongKind`] for an object of a kind that the method does not mention. Methods that make or extend
/// objects fail with [`ValueError::OutOfMemory`] and leave everything as it is.
pub trait Objects: Debug {
    /// The kind of an object.
    fn kind(&self, object: ObjectHandle) -> Result<ValueKind, ValueError>;

    /// Makes an array. `type_id` is the operand of the instruction and has no meaning in the format.
    fn new_array(&mut self, type_id: u16, elements: &[Value]) -> Result<ObjectHandle, ValueError>;

    /// Makes a tuple.
    fn new_tuple(&mut self, elements: &[Value]) -> Result<ObjectHandle, ValueError>;

    /// Makes a dictionary of pairs of a key and a value, which follow each other in `pairs`. Of several pairs with
    /// one key the last one counts.
    fn new_dict(&mut self, pairs: &[Value]) -> Result<ObjectHandle, ValueError>;

    /// Makes a string.
    fn new_string(&mut self, bytes: &[u8]) -> Result<ObjectHandle, ValueError>;

    /// Makes a variant of an enumeration.
    fn new_variant(
        &mut self,
        variant: Variant,
        fields: &[Value],
    ) -> Result<ObjectHandle, ValueError>;

    /// Makes a block of `size` bytes, in which all 8 bytes hold a value, at first nil. `type_id` is the operand of
    /// the instruction and has no meaning in the format.
    fn new_block(&mut self, size: u32, type_id: u16) -> Result<ObjectHandle, ValueError>;

    /// The element of an array, a tuple, a dictionary or a string; that of a string is a string.
    fn get(&mut self, collection: ObjectHandle, index: Value) -> Result<Value, ValueError>;

    /// Replaces an element of an array, or sets the value of a key of a dictionary.
    fn set(
        &mut self,
        collection: ObjectHandle,
        index: Value,
        value: Value,
    ) -> Result<(), ValueError>;

    /// The number of elements of an array, a tuple or a dictionary, or of the bytes of a string.
    fn length(&self, collection: ObjectHandle) -> Result<u64, ValueError>;

    /// Appends an element to an array.
    fn append(&mut self, array: ObjectHandle, value: Value) -> Result<(), ValueError>;

    /// A new array or string of the elements from `start` on and before `end`. Bounds beyond the ends are the ends.
    fn slice(
        &mut self,
        collection: ObjectHandle,
        start: i64,
        end: i64,
    ) -> Result<ObjectHandle, ValueError>;

    /// Which variant an object is; `None` for an object of another kind.
    fn variant(&self, object: ObjectHandle) -> Result<Option<Variant>, ValueError>;

    /// A field of a variant.
    fn field(&self, variant: ObjectHandle, field: u16) -> Result<Value, ValueError>;

    /// The value at an offset of a block, in bytes, a multiple of 8.
    fn load(&self, block: ObjectHandle, offset: u32) -> Result<Value, ValueError>;

    /// Replaces the value at an offset of a block, in bytes, a multiple of 8.
    fn store(&mut self, block: ObjectHandle, offset: u32, value: Value) -> Result<(), ValueError>;

    /// Whether two objects are equal: strings of equal bytes, otherwise one and the same object.
    fn equal(&self, left: ObjectHandle, right: ObjectHandle) -> Result<bool, ValueError>;

    /// Frees objects that cannot be reached from `roots`, which are the objects of all values of the call. Called
    /// after [`ValueError::OutOfMemory`]; the operation is repeated once if the result is true.
    fn collect(&mut self, roots: &mut dyn Iterator<Item = ObjectHandle>) -> bool {
        let _ = roots;
        false
    }
}

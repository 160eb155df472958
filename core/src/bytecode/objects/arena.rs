//! Objects for hosts that have none of their own: an arena that only grows until it is cleared or dropped.
//!
//! Its size is bounded in objects and in bytes. [`Engine::call`](crate::vm) makes an arena for each call of a function
//! that works on objects and drops it at the end of the call. A host that makes its own arena decides itself when it
//! is [cleared](ObjectArena::clear).

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::dict::{Dict, Key};
use super::interface::{Objects, Variant};
use super::value::{ObjectHandle, Value};
use crate::alloc_util::{try_box, try_collect, try_copy_bytes, try_filled, try_push};
use crate::trap::bytecode::{ValueError, ValueKind};

/// The bytes of a value, and of an offset of a block.
const VALUE_SIZE: usize = size_of::<Value>();
const CELL_SIZE: u32 = 8;

/// The bytes that an object is charged beside its elements.
const OBJECT_SIZE: usize = size_of::<Object>();

/// The bytes that a pair of a dictionary is charged.
const PAIR_SIZE: usize = 4 * VALUE_SIZE;

/// The maximum size of an arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArenaLimits {
    /// The number of objects.
    pub objects: usize,
    /// The bytes of objects and their elements together. Spare capacity of arrays that grow is not counted.
    pub bytes: usize,
}

impl Default for ArenaLimits {
    /// 2^20 objects and 64 MiB.
    fn default() -> Self {
        Self { objects: 1 << 20, bytes: 64 << 20 }
    }
}

#[derive(Debug)]
pub(super) enum Object {
    Array(Vec<Value>),
    Tuple(Box<[Value]>),
    Dict(Box<Dict>),
    Text {
        bytes: Box<[u8]>,
        /// Of a text that is known to be UTF-8: the character that was read last, and the byte where it begins.
        last: Option<(u32, u32)>,
    },
    Variant(Variant, Box<[Value]>),
    Block(Box<[Value]>),
}

impl Object {
    fn kind(&self) -> ValueKind {
        match self {
            Object::Array(_) => ValueKind::Array,
            Object::Tuple(_) => ValueKind::Tuple,
            Object::Dict(_) => ValueKind::Dict,
            Object::Text { .. } => ValueKind::Text,
            Object::Variant(..) => ValueKind::Variant,
            Object::Block(_) => ValueKind::Block,
        }
    }

    fn wrong_kind(&self, needed: ValueKind) -> ValueError {
        ValueError::WrongKind { needed, found: self.kind() }
    }
}

/// An arena of objects. A handle is valid until the arena is cleared.
///
/// A character of a string is searched from the one that was read last: a loop over a string takes time in proportion to it,
/// and a jump in proportion to its distance.
///
/// ```
/// use smf_core::bytecode::objects::{ObjectArena, Objects, Value};
///
/// let mut arena = ObjectArena::new();
/// let array = arena.new_array(0, &[Value::I64(7)]).unwrap();
/// arena.append(array, Value::Bool(true)).unwrap();
/// assert_eq!(arena.get(array, Value::I64(-1)), Ok(Value::Bool(true)));
/// assert_eq!(arena.elements(array), Some(&[Value::I64(7), Value::Bool(true)][..]));
/// ```
#[derive(Debug, Default)]
pub struct ObjectArena {
    objects: Vec<Object>,
    limits: ArenaLimits,
    /// The bytes that are charged.
    bytes: usize,
    /// How often it was cleared: the upper half of its handles.
    generation: u32,
}

impl ObjectArena {
    /// An empty arena with the default limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty arena with these limits.
    pub fn with_limits(limits: ArenaLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Drops all objects. Their handles name no object any more.
    pub fn clear(&mut self) {
        self.objects.clear();
        self.bytes = 0;
        self.generation = self.generation.wrapping_add(1);
    }

    /// The number of objects.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there are no objects.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// The bytes that are charged against the [limit](ArenaLimits::bytes).
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The elements of an array or a tuple, or the fields of a variant; `None` for other objects and handles.
    pub fn elements(&self, object: ObjectHandle) -> Option<&[Value]> {
        match self.object(object).ok()? {
            Object::Array(elements) => Some(elements),
            Object::Tuple(elements) | Object::Variant(_, elements) => Some(elements),
            _ => None,
        }
    }

    /// The pairs of a dictionary in the order of their insertion; none for other objects and handles.
    pub fn pairs(&self, object: ObjectHandle) -> impl Iterator<Item = (Value, Value)> + '_ {
        let dict = match self.object(object) {
            Ok(Object::Dict(dict)) => Some(&**dict),
            _ => None,
        };
        dict.into_iter().flat_map(Dict::iter)
    }

    /// The bytes of a string; `None` for other objects and handles.
    pub fn text(&self, object: ObjectHandle) -> Option<&[u8]> {
        if let Object::Text { bytes, .. } = self.object(object).ok()? { Some(bytes) } else { None }
    }

    fn index(&self, handle: ObjectHandle) -> Result<usize, ValueError> {
        let generation = u32::try_from(handle.0 >> 32).ok();
        let index = usize::try_from(handle.0 & u64::from(u32::MAX)).ok();
        let index = index.filter(|_| generation == Some(self.generation));
        index.ok_or(ValueError::BadHandle)
    }

    fn object(&self, handle: ObjectHandle) -> Result<&Object, ValueError> {
        self.objects.get(self.index(handle)?).ok_or(ValueError::BadHandle)
    }

    fn object_mut(&mut self, handle: ObjectHandle) -> Result<&mut Object, ValueError> {
        let index = self.index(handle)?;
        self.objects.get_mut(index).ok_or(ValueError::BadHandle)
    }

    /// The bytes charged after `more` bytes more.
    fn charged(&self, more: usize) -> Result<usize, ValueError> {
        let bytes = self.bytes.checked_add(more).filter(|&bytes| bytes <= self.limits.bytes);
        bytes.ok_or(ValueError::OutOfMemory)
    }

    /// The bytes charged after one more object with so many bytes of elements.
    fn charged_object(&self, elements: usize) -> Result<usize, ValueError> {
        if self.objects.len() >= self.limits.objects || u32::try_from(self.objects.len()).is_err() {
            return Err(ValueError::OutOfMemory);
        }
        self.charged(elements.saturating_add(OBJECT_SIZE))
    }

    /// Adds an object, after which `bytes` bytes are charged.
    fn add(&mut self, object: Object, bytes: usize) -> Result<ObjectHandle, ValueError> {
        let index = self.objects.len() as u64;
        try_push(&mut self.objects, object)?;
        self.bytes = bytes;
        Ok(ObjectHandle(u64::from(self.generation) << 32 | index))
    }

    fn copy(&self, values: &[Value]) -> Result<(Vec<Value>, usize), ValueError> {
        let bytes = self.charged_object(size_of_val(values))?;
        Ok((try_collect(values.iter().copied())?, bytes))
    }

    /// The key that a value is.
    fn key(&self, value: Value) -> Result<Key<'_>, ValueError> {
        let Value::Object(object) = value else { return Key::of(value, None) };
        match self.object(object)? {
            Object::Text { bytes, .. } => Key::of(value, Some(bytes)),
            other => Err(other.wrong_kind(ValueKind::Key)),
        }
    }

    /// The value of a key of a dictionary.
    fn pair(&self, dict: ObjectHandle, key: Value) -> Result<Value, ValueError> {
        let Object::Dict(dict) = self.object(dict)? else { return Ok(Value::Nil) };
        Ok(dict.get(self.key(key)?).unwrap_or_default())
    }

    /// Sets the value of a key of a dictionary.
    fn set_pair(&mut self, dict: ObjectHandle, key: Value, value: Value) -> Result<(), ValueError> {
        // Taken out, because the key may lie in the same arena.
        let Object::Dict(place) = self.object_mut(dict)? else { return Ok(()) };
        let mut taken = core::mem::take(&mut **place);
        let result = self.set_pair_of(&mut taken, key, value);
        if let Ok(Object::Dict(place)) = self.object_mut(dict) {
            **place = taken;
        }
        self.bytes = result?;
        Ok(())
    }

    /// Sets the value of a key of a dictionary that is not in the arena; the bytes charged after that.
    fn set_pair_of(&self, dict: &mut Dict, key: Value, value: Value) -> Result<usize, ValueError> {
        let original = key;
        let key = self.key(key)?;
        let text = if let Key::Text(text) = key { text.len() } else { 0 };
        let more = if dict.contains(key) { 0 } else { PAIR_SIZE.saturating_add(text) };
        let bytes = self.charged(more)?;
        dict.set(key, original, value)?;
        Ok(bytes)
    }
}

/// The position of an element, whose index counts from the end if it is negative.
fn position(index: i64, length: usize) -> Result<usize, ValueError> {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let index = if index < 0 { index.saturating_add(length) } else { index };
    let index = usize::try_from(index).map_err(|_| ValueError::IndexOutOfRange)?;
    Ok(index)
}

/// The bytes of character `at`, which are searched from the character that was read last, so that a loop over a text takes time in
/// proportion to it; `None` if there are fewer characters, or the text is not UTF-8.
pub(super) fn character<'t>(
    text: &'t [u8],
    last: &mut Option<(u32, u32)>,
    at: usize,
) -> Option<&'t [u8]> {
    if last.is_none() {
        core::str::from_utf8(text).ok()?;
    }
    let (known, byte) = last.unwrap_or_default();
    let (known, byte) = (usize::try_from(known).ok()?, usize::try_from(byte).ok()?);
    // All bytes of a character but the first are 0b10xx_xxxx.
    let begins = |&(_, byte): &(usize, &u8)| byte & 0xc0 != 0x80;
    let bytes = || text.iter().enumerate();
    let start = match at.checked_sub(known) {
        Some(distance) => bytes().skip(byte).filter(begins).nth(distance),
        None => bytes().take(byte).rev().filter(begins).nth(known - at - 1),
    };
    let (start, _) = start?;
    let end = bytes().skip(start).filter(begins).nth(1).map_or(text.len(), |(end, _)| end);
    // Beyond 4 GiB the search begins at the last place before.
    *last = u32::try_from(at).ok().zip(u32::try_from(start).ok()).or(*last).or(Some((0, 0)));
    text.get(start..end)
}

/// The bound of a slice, which counts from the end if it is negative.
fn bound(index: i64, length: usize) -> usize {
    let whole = i64::try_from(length).unwrap_or(i64::MAX);
    let index = if index < 0 { index.saturating_add(whole) } else { index };
    usize::try_from(index.max(0)).unwrap_or(length).min(length)
}

/// The number of the cell of a block at an offset.
fn cell(offset: u32) -> Result<usize, ValueError> {
    let index =
        usize::try_from(offset / CELL_SIZE).ok().filter(|_| offset.is_multiple_of(CELL_SIZE));
    index.ok_or(ValueError::IndexOutOfRange)
}

impl Objects for ObjectArena {
    fn kind(&self, object: ObjectHandle) -> Result<ValueKind, ValueError> {
        self.object(object).map(Object::kind)
    }

    fn new_array(&mut self, _: u16, elements: &[Value]) -> Result<ObjectHandle, ValueError> {
        let (elements, bytes) = self.copy(elements)?;
        self.add(Object::Array(elements), bytes)
    }

    fn new_tuple(&mut self, elements: &[Value]) -> Result<ObjectHandle, ValueError> {
        let (elements, bytes) = self.copy(elements)?;
        self.add(Object::Tuple(elements.into_boxed_slice()), bytes)
    }

    fn new_dict(&mut self, pairs: &[Value]) -> Result<ObjectHandle, ValueError> {
        let (before, mut dict) = (self.bytes, try_box(Dict::default())?);
        self.bytes = self.charged_object(size_of::<Dict>())?;
        let filled = pairs.as_chunks().0.iter().try_for_each(|&[key, value]| {
            self.bytes = self.set_pair_of(&mut dict, key, value)?;
            Ok(())
        });
        let bytes = self.bytes;
        let added = filled.and_then(|()| self.add(Object::Dict(dict), bytes));
        if added.is_err() {
            self.bytes = before;
        }
        added
    }

    fn new_string(&mut self, bytes: &[u8]) -> Result<ObjectHandle, ValueError> {
        let charged = self.charged_object(bytes.len())?;
        let bytes = try_copy_bytes(bytes)?;
        self.add(Object::Text { bytes, last: None }, charged)
    }

    fn new_variant(
        &mut self,
        variant: Variant,
        fields: &[Value],
    ) -> Result<ObjectHandle, ValueError> {
        let (fields, bytes) = self.copy(fields)?;
        self.add(Object::Variant(variant, fields.into_boxed_slice()), bytes)
    }

    fn new_block(&mut self, size: u32, _: u16) -> Result<ObjectHandle, ValueError> {
        let cells = usize::try_from(size / CELL_SIZE).unwrap_or(usize::MAX);
        let bytes = self.charged_object(cells.saturating_mul(VALUE_SIZE))?;
        let cells = try_filled(cells, &Value::Nil)?;
        self.add(Object::Block(cells.into_boxed_slice()), bytes)
    }

    fn get(&mut self, collection: ObjectHandle, index: Value) -> Result<Value, ValueError> {
        let (bytes, last) = match self.object_mut(collection)? {
            Object::Array(elements) => {
                let at = position(index.as_i64()?, elements.len())?;
                return elements.get(at).copied().ok_or(ValueError::IndexOutOfRange);
            }
            Object::Tuple(elements) => {
                let at = usize::try_from(index.as_i64()?).ok();
                let element = at.and_then(|at| elements.get(at));
                return element.copied().ok_or(ValueError::IndexOutOfRange);
            }
            Object::Text { bytes, last } => (bytes, last),
            Object::Dict(_) => return self.pair(collection, index),
            other => return Err(other.wrong_kind(ValueKind::Collection)),
        };
        let at = usize::try_from(index.as_i64()?).map_err(|_| ValueError::IndexOutOfRange)?;
        let mut copy = [0; 4];
        let character = character(bytes, last, at).ok_or(ValueError::IndexOutOfRange)?;
        let copy = copy.get_mut(..character.len()).ok_or(ValueError::IndexOutOfRange)?;
        copy.copy_from_slice(character);
        self.new_string(copy).map(Value::Object)
    }

    fn set(
        &mut self,
        collection: ObjectHandle,
        index: Value,
        value: Value,
    ) -> Result<(), ValueError> {
        match self.object_mut(collection)? {
            Object::Array(elements) => {
                let at = position(index.as_i64()?, elements.len())?;
                *elements.get_mut(at).ok_or(ValueError::IndexOutOfRange)? = value;
                Ok(())
            }
            Object::Dict(_) => self.set_pair(collection, index, value),
            other => Err(other.wrong_kind(ValueKind::Array)),
        }
    }

    fn length(&self, collection: ObjectHandle) -> Result<u64, ValueError> {
        Ok(match self.object(collection)? {
            Object::Array(elements) => elements.len() as u64,
            Object::Tuple(elements) => elements.len() as u64,
            Object::Dict(dict) => dict.len() as u64,
            Object::Text { bytes, .. } => bytes.len() as u64,
            other => return Err(other.wrong_kind(ValueKind::Collection)),
        })
    }

    fn append(&mut self, array: ObjectHandle, value: Value) -> Result<(), ValueError> {
        let bytes = self.charged(VALUE_SIZE);
        match self.object_mut(array)? {
            Object::Array(elements) => {
                let bytes = bytes?;
                try_push(elements, value)?;
                self.bytes = bytes;
                Ok(())
            }
            other => Err(other.wrong_kind(ValueKind::Array)),
        }
    }

    fn slice(
        &mut self,
        collection: ObjectHandle,
        start: i64,
        end: i64,
    ) -> Result<ObjectHandle, ValueError> {
        match self.object(collection)? {
            Object::Array(elements) => {
                let (start, end) = (bound(start, elements.len()), bound(end, elements.len()));
                let (elements, bytes) = self.copy(elements.get(start..end).unwrap_or(&[]))?;
                self.add(Object::Array(elements), bytes)
            }
            Object::Text { bytes, .. } => {
                let (start, end) = (bound(start, bytes.len()), bound(end, bytes.len()));
                let bytes = bytes.get(start..end).unwrap_or(&[]);
                let charged = self.charged_object(bytes.len())?;
                let bytes = try_copy_bytes(bytes)?;
                self.add(Object::Text { bytes, last: None }, charged)
            }
            other => Err(other.wrong_kind(ValueKind::Array)),
        }
    }

    fn variant(&self, object: ObjectHandle) -> Result<Option<Variant>, ValueError> {
        let object = self.object(object)?;
        Ok(if let Object::Variant(variant, _) = object { Some(*variant) } else { None })
    }

    fn field(&self, variant: ObjectHandle, field: u16) -> Result<Value, ValueError> {
        match self.object(variant)? {
            Object::Variant(_, fields) => {
                fields.get(usize::from(field)).copied().ok_or(ValueError::IndexOutOfRange)
            }
            other => Err(other.wrong_kind(ValueKind::Variant)),
        }
    }

    fn load(&self, block: ObjectHandle, offset: u32) -> Result<Value, ValueError> {
        match self.object(block)? {
            Object::Block(cells) => {
                cells.get(cell(offset)?).copied().ok_or(ValueError::IndexOutOfRange)
            }
            other => Err(other.wrong_kind(ValueKind::Block)),
        }
    }

    fn store(&mut self, block: ObjectHandle, offset: u32, value: Value) -> Result<(), ValueError> {
        match self.object_mut(block)? {
            Object::Block(cells) => {
                let cell = cells.get_mut(cell(offset)?);
                *cell.ok_or(ValueError::IndexOutOfRange)? = value;
                Ok(())
            }
            other => Err(other.wrong_kind(ValueKind::Block)),
        }
    }

    fn equal(&self, left: ObjectHandle, right: ObjectHandle) -> Result<bool, ValueError> {
        match (self.object(left)?, self.object(right)?) {
            (Object::Text { bytes: left, .. }, Object::Text { bytes: right, .. }) => {
                Ok(left == right)
            }
            _ => Ok(left == right),
        }
    }
}

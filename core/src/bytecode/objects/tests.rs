//! The arena: each operation, each error, limits and handles.

use std::vec::Vec;

use super::arena::{Object, character};
use super::*;

const NIL: Value = Value::Nil;

fn int(value: i64) -> Value {
    Value::I64(value)
}

fn wrong(needed: ValueKind, found: ValueKind) -> ValueError {
    ValueError::WrongKind { needed, found }
}

const OUT: ValueError = ValueError::IndexOutOfRange;

#[test]
fn array_is_indexed_from_both_ends_and_grows() {
    let mut arena = ObjectArena::new();
    let array = arena.new_array(3, &[int(1), int(2)]).unwrap();
    assert_eq!(arena.kind(array), Ok(ValueKind::Array));
    arena.append(array, Value::Bool(true)).unwrap();
    assert_eq!(arena.length(array), Ok(3));
    assert_eq!(arena.get(array, int(0)), Ok(int(1)));
    assert_eq!(arena.get(array, int(-1)), Ok(Value::Bool(true)));
    assert_eq!(arena.get(array, int(-3)), Ok(int(1)));
    for outside in [3, -4, i64::MIN, i64::MAX] {
        assert_eq!(arena.get(array, int(outside)), Err(OUT), "{outside}");
        assert_eq!(arena.set(array, int(outside), NIL), Err(OUT), "{outside}");
    }
    arena.set(array, int(-2), NIL).unwrap();
    assert_eq!(arena.elements(array), Some(&[int(1), NIL, Value::Bool(true)][..]));
    let kind = wrong(ValueKind::I64, ValueKind::Bool);
    assert_eq!(arena.get(array, Value::Bool(true)), Err(kind));
    assert_eq!(arena.set(array, Value::Bool(true), NIL), Err(kind));
}

#[test]
fn tuple_is_read_from_its_start_and_does_not_change() {
    let mut arena = ObjectArena::new();
    let tuple = arena.new_tuple(&[int(1), NIL]).unwrap();
    assert_eq!((arena.length(tuple), arena.get(tuple, int(1))), (Ok(2), Ok(NIL)));
    assert_eq!(arena.get(tuple, int(-1)), Err(OUT));
    assert_eq!(arena.get(tuple, int(2)), Err(OUT));
    let kind = wrong(ValueKind::Array, ValueKind::Tuple);
    assert_eq!(arena.set(tuple, int(0), NIL), Err(kind));
    assert_eq!(arena.append(tuple, NIL), Err(kind));
    assert_eq!(arena.slice(tuple, 0, 1), Err(kind));
}

#[test]
fn dictionary_finds_keys_by_value() {
    let mut arena = ObjectArena::new();
    let name = arena.new_string(b"name").unwrap();
    let same = arena.new_string(b"name").unwrap();
    let keys = [int(1), Value::F64(1.0), Value::Bool(true), Value::Function(1)];
    let pairs: Vec<_> = (10..).zip(keys).flat_map(|(value, key)| [key, int(value)]).collect();
    let dict = arena.new_dict(&pairs).unwrap();
    arena.set(dict, Value::Object(name), int(20)).unwrap();
    arena.set(dict, Value::Object(same), int(21)).unwrap();
    assert_eq!(arena.length(dict), Ok(5));
    for (key, value) in keys.into_iter().zip(10..) {
        assert_eq!(arena.get(dict, key), Ok(int(value)));
    }
    assert_eq!(arena.get(dict, Value::Object(name)), Ok(int(21)));
    assert_eq!(arena.get(dict, int(99)), Ok(NIL));
    assert_eq!(arena.get(dict, Value::F64(-0.0)), Ok(NIL));
    arena.set(dict, Value::F64(0.0), int(5)).unwrap();
    assert_eq!(arena.get(dict, Value::F64(-0.0)), Ok(int(5)));
    let kind = wrong(ValueKind::Key, ValueKind::Nil);
    assert_eq!((arena.get(dict, NIL), arena.set(dict, NIL, NIL)), (Err(kind), Err(kind)));
    let kind = wrong(ValueKind::Key, ValueKind::Dict);
    assert_eq!(arena.get(dict, Value::Object(dict)), Err(kind));
    assert_eq!(arena.set(dict, Value::Object(dict), NIL), Err(kind));
    assert_eq!(arena.pairs(dict).count(), 6);
    let twice = arena.new_dict(&[int(1), int(2), int(1), int(3)]).unwrap();
    assert_eq!((arena.length(twice), arena.get(twice, int(1))), (Ok(1), Ok(int(3))));
}

#[test]
fn dictionary_of_many_keys_agrees_with_a_list() {
    let mut arena = ObjectArena::new();
    let dict = arena.new_dict(&[]).unwrap();
    let count = if cfg!(miri) { 50 } else { 3000 };
    for number in 0..count {
        arena.set(dict, int(number * 7919 % 1009), int(number)).unwrap();
    }
    for key in 0..1009 {
        let last = (0..count).rev().find(|number| number * 7919 % 1009 == key);
        assert_eq!(arena.get(dict, int(key)), Ok(last.map_or(NIL, int)), "{key}");
    }
}

#[test]
fn string_is_indexed_by_character_and_sliced_by_byte() {
    let mut arena = ObjectArena::new();
    let text = arena.new_string("a\u{e9}b".as_bytes()).unwrap();
    assert_eq!(arena.length(text), Ok(4));
    let Ok(Value::Object(character)) = arena.get(text, int(1)) else { panic!() };
    assert_eq!(arena.text(character), Some("\u{e9}".as_bytes()));
    for outside in [3, -1] {
        assert_eq!(arena.get(text, int(outside)), Err(OUT));
    }
    let bytes = arena.new_string(b"\xff\xfe").unwrap();
    assert_eq!(arena.get(bytes, int(0)), Err(OUT));
    let part = arena.slice(text, -1, 9).unwrap();
    assert_eq!(arena.text(part), Some(&b"b"[..]));
    let empty = arena.slice(text, 3, 1).unwrap();
    assert_eq!(arena.text(empty), Some(&b""[..]));
    assert_eq!(arena.set(text, int(0), NIL), Err(wrong(ValueKind::Array, ValueKind::Text)));
}

#[test]
fn slice_bounds_outside_of_an_array_are_its_ends() {
    let mut arena = ObjectArena::new();
    let array = arena.new_array(0, &[int(0), int(1), int(2)]).unwrap();
    let mut slice = |start, end| {
        let slice = arena.slice(array, start, end).unwrap();
        arena.elements(slice).unwrap().to_vec()
    };
    assert_eq!(slice(1, 3), [int(1), int(2)]);
    assert_eq!(slice(-2, -1), [int(1)]);
    assert_eq!(slice(i64::MIN, i64::MAX).len(), 3);
    assert!(slice(2, 1).is_empty() && slice(5, 9).is_empty() && slice(0, i64::MIN).is_empty());
}

#[test]
fn variants_and_blocks_have_their_own_operations() {
    let mut arena = ObjectArena::new();
    let variant = Variant { type_id: 9, discriminant: 2 };
    let object = arena.new_variant(variant, &[int(1)]).unwrap();
    assert_eq!(arena.variant(object), Ok(Some(variant)));
    assert_eq!((arena.field(object, 0), arena.field(object, 1)), (Ok(int(1)), Err(OUT)));
    let block = arena.new_block(20, 0).unwrap();
    assert_eq!(arena.variant(block), Ok(None));
    assert_eq!(arena.load(block, 8), Ok(NIL));
    arena.store(block, 8, int(5)).unwrap();
    assert_eq!(arena.load(block, 8), Ok(int(5)));
    for outside in [4, 16, 24, u32::MAX] {
        assert_eq!(arena.load(block, outside), Err(OUT), "{outside}");
        assert_eq!(arena.store(block, outside, NIL), Err(OUT), "{outside}");
    }
    let kind = wrong(ValueKind::Block, ValueKind::Variant);
    assert_eq!((arena.load(object, 0), arena.store(object, 0, NIL)), (Err(kind), Err(kind)));
    assert_eq!(arena.field(block, 0), Err(wrong(ValueKind::Variant, ValueKind::Block)));
    let kind = wrong(ValueKind::Collection, ValueKind::Block);
    assert_eq!((arena.get(block, int(0)), arena.length(block)), (Err(kind), Err(kind)));
}

#[test]
fn objects_are_equal_by_identity_and_strings_by_content() {
    let mut arena = ObjectArena::new();
    let make = |arena: &mut ObjectArena| {
        (arena.new_string(b"x").unwrap(), arena.new_tuple(&[int(1)]).unwrap())
    };
    let (text, tuple) = make(&mut arena);
    let (other_text, other_tuple) = make(&mut arena);
    assert_eq!(arena.equal(text, other_text), Ok(true));
    assert_eq!(arena.equal(tuple, tuple), Ok(true));
    assert_eq!(arena.equal(tuple, other_tuple), Ok(false));
    assert_eq!(arena.equal(tuple, text), Ok(false));
}

#[test]
fn handle_of_a_cleared_arena_names_no_object() {
    let mut arena = ObjectArena::new();
    let old = arena.new_tuple(&[]).unwrap();
    assert!(!arena.is_empty());
    arena.clear();
    let new = arena.new_tuple(&[]).unwrap();
    assert_ne!(old, new);
    assert_eq!(arena.kind(new), Ok(ValueKind::Tuple));
    let bad = ValueError::BadHandle;
    for handle in [old, ObjectHandle(new.0 + 1), ObjectHandle(u64::MAX)] {
        assert_eq!(arena.kind(handle), Err(bad));
        assert_eq!(arena.get(handle, NIL), Err(bad));
        assert_eq!(arena.set(handle, NIL, NIL), Err(bad));
        assert_eq!(arena.length(handle), Err(bad));
        assert_eq!(arena.append(handle, NIL), Err(bad));
        assert_eq!(arena.slice(handle, 0, 0), Err(bad));
        assert_eq!(arena.variant(handle), Err(bad));
        assert_eq!(arena.field(handle, 0), Err(bad));
        assert_eq!(arena.load(handle, 0), Err(bad));
        assert_eq!(arena.store(handle, 0, NIL), Err(bad));
        assert_eq!(arena.equal(handle, new), Err(bad));
        assert_eq!(arena.equal(new, handle), Err(bad));
        assert_eq!((arena.text(handle), arena.elements(handle)), (None, None));
        assert_eq!(arena.pairs(handle).count(), 0);
    }
}

#[test]
fn arena_grows_no_further_than_its_limits() {
    let none = ValueError::OutOfMemory;
    let mut arena = ObjectArena::with_limits(ArenaLimits { objects: 2, bytes: 1 << 20 });
    let array = arena.new_array(0, &[]).unwrap();
    arena.new_string(b"x").unwrap();
    assert_eq!((arena.new_tuple(&[]), arena.len()), (Err(none), 2));
    assert_eq!(arena.slice(array, 0, 0), Err(none));
    let mut arena = ObjectArena::with_limits(ArenaLimits { objects: 100, bytes: 1000 });
    assert_eq!(arena.new_block(u32::MAX, 0), Err(none));
    assert_eq!(arena.new_string(&[0; 1000]), Err(none));
    let (array, dict) = (arena.new_array(0, &[]).unwrap(), arena.new_dict(&[]).unwrap());
    let mut appended = 0;
    while arena.append(array, NIL).is_ok() {
        appended += 1;
    }
    assert_eq!(arena.length(array), Ok(appended));
    let before = (arena.bytes(), arena.len());
    assert!(before.0 > 900 && before.0 <= 1000, "{before:?}");
    assert_eq!(arena.set(dict, int(1), NIL), Err(none));
    assert_eq!(arena.length(dict), Ok(0));
    assert_eq!(arena.new_dict(&[int(1), NIL]), Err(none));
    assert_eq!(arena.new_variant(Variant { type_id: 0, discriminant: 0 }, &[NIL]), Err(none));
    assert_eq!((arena.bytes(), arena.len()), before);
}

#[test]
fn characters_of_a_text_are_found_in_any_order() {
    let texts = ["", "a", "ASCII only", "aé€😀z", "😀😀a", "éa\u{0}é"];
    for text in texts {
        let mut arena = ObjectArena::new();
        let handle = arena.new_string(text.as_bytes()).unwrap();
        let count = text.chars().count();
        // Steps of every length, forwards and backwards.
        for (step, from) in (1..=count + 1).flat_map(|step| (0..=count).map(move |at| (step, at))) {
            for at in (from..=count).step_by(step).chain((0..=from).rev().step_by(step)) {
                let found = arena.get(handle, int(at as i64));
                let found = found.map(|value| match value {
                    Value::Object(object) => arena.text(object).unwrap().to_vec(),
                    _ => panic!("{value:?}"),
                });
                let character = text.chars().nth(at);
                let expected = character.map(|c| std::format!("{c}").into_bytes()).ok_or(OUT);
                assert_eq!(found, expected, "{text:?} {at}");
            }
        }
    }
    let mut arena = ObjectArena::new();
    let invalid = arena.new_string(b"ab\xff").unwrap();
    assert_eq!(arena.get(invalid, int(0)), Err(OUT));
    let text = arena.new_string(b"ab").unwrap();
    assert_eq!(arena.get(text, int(-1)), Err(OUT));
}

/// A place that is not that of the character shows where the search begins.
#[test]
fn search_for_a_character_begins_at_the_last_one() {
    let mut last = Some((2, 4));
    assert_eq!(character(b"abcdef", &mut last, 3), Some(&b"f"[..]));
    assert_eq!(last, Some((3, 5)));
    assert_eq!(character(b"abcdef", &mut last, 2), Some(&b"e"[..]));
    assert_eq!(character(b"abcdef", &mut last, 9), None);
    assert_eq!(last, Some((2, 4)));
    // A text that is known to be UTF-8 is not validated again.
    assert_eq!(character(b"a\xffc", &mut Some((0, 0)), 0), Some(&b"a"[..]));
    assert_eq!(character(b"a\xffc", &mut None, 0), None);
}

#[test]
fn text_takes_no_more_memory_for_the_last_character() {
    assert_eq!(size_of::<Object>(), 32);
}

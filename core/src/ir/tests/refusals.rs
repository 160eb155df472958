//! What the verifier refuses of version 2: each operation, and each table.

use std::format;
use std::vec::Vec;

use super::super::text::{TextErrorKind, parse};
use super::super::*;

/// The error of a function with these lines, and the lines `return i64 n` and `end`. Its instructions begin at 56 if
/// there are no constants.
fn error(lines: &str) -> Option<IrError> {
    let text = format!(
        "function f(n: i64, p: ptr) -> i64\nlocal b: bool\nlocal u: u64\nlocal c: u8\nlocal x: f64\n\
         slot s: 16\ndata d: \"four\"\n{lines}\nreturn i64 n\nend\nfunction g(x: f64)\nreturn_none\nend"
    );
    match parse(&text).err()?.kind {
        TextErrorKind::Verify(error) => Some(error),
        other => panic!("{other:?} in {lines}"),
    }
}

const AT: u32 = 56;

fn local(number: u16, found: Scalar, expected: Scalar) -> Option<IrError> {
    let (found, expected) = (found.into(), expected.into());
    Some(IrError::LocalType { at: AT, local: number, found, expected })
}

#[test]
fn operands_of_other_types_are_refused() {
    use Scalar::{Bool, F64, I64, Pointer, U8, U64};
    for lines in [
        "select f64 x, b, x, x",
        "select bool b, b, b, b",
        "sqrt f64 x, x",
        "abs f64 x, x",
        "add_checked i64 n, n, -5",
        "rotl u8 c, c, 9",
        "trap_lt i64 n, -32768, 4294967295",
        "trap_eq bool b, 1, 0",
        "trap_true b, 0",
        "slot_address p, s + 16",
        "data_address p, d + 4",
        "copy_memory p, p, 0",
        "fill_memory p, c, u",
        "check_stack p - 5",
        "function_address p, g(f64)",
        "call g(x)",
        "call_indirect n = p(c, x)",
        "return_call_indirect p(x)",
        "return_call f(n, p)",
    ] {
        assert_eq!(error(lines), None, "{lines}");
    }
    for (lines, expected) in [
        ("select f64 x, b, x, n", local(0, I64, F64)),
        ("select f64 x, b, n, x", local(0, I64, F64)),
        ("select f64 x, n, x, x", local(0, I64, Bool)),
        ("select f64 n, b, x, x", local(0, I64, F64)),
        ("sqrt f64 x, n", local(0, I64, F64)),
        ("add_checked i64 n, n, u", local(3, U64, I64)),
        ("trap_lt i64 n, u, 1", local(3, U64, I64)),
        ("trap_lt i64 u, n, 1", local(3, U64, I64)),
        ("trap_false n, 1", local(0, I64, Bool)),
        ("slot_address n, s", local(0, I64, Pointer)),
        ("data_address u, d", local(3, U64, Pointer)),
        ("function_address x, g(f64)", local(5, F64, Pointer)),
        ("copy_memory n, p, 1", local(0, I64, Pointer)),
        ("copy_memory p, n, 1", local(0, I64, Pointer)),
        ("fill_memory n, c, 1", local(0, I64, Pointer)),
        ("fill_memory p, n, 1", local(0, I64, U8)),
        ("check_stack u", local(3, U64, Pointer)),
        ("call_indirect n(x)", local(0, I64, Pointer)),
        ("return_call_indirect u()", local(3, U64, Pointer)),
    ] {
        assert_eq!(error(lines), expected, "{lines}");
    }
    let not_index =
        |local, found: Scalar| Some(IrError::NotIndex { at: AT, local, found: found.into() });
    assert_eq!(error("copy_memory p, p, c"), not_index(4, U8));
    assert_eq!(error("fill_memory p, c, p"), not_index(1, Pointer));
}

#[test]
fn operations_without_a_meaning_for_a_type_are_refused() {
    for (lines, opcode, ty) in [
        ("sqrt i64 n, n", Opcode::Unary(Unary::SquareRoot), Scalar::I64),
        ("abs i64 n, n", Opcode::Unary(Unary::Absolute), Scalar::I64),
        ("add_checked f64 x, x, x", Opcode::Binary(Binary::AddChecked), Scalar::F64),
        ("mul_checked ptr p, p, p", Opcode::Binary(Binary::MultiplyChecked), Scalar::Pointer),
        ("rotl f64 x, x, x", Opcode::Binary(Binary::RotateLeft), Scalar::F64),
        ("trap_lt bool b, b, 1", Opcode::TrapCompare(Condition::Less), Scalar::Bool),
    ] {
        let expected = IrError::NoMeaning { at: AT, opcode, ty: ty.into() };
        assert_eq!(error(lines), Some(expected), "{lines}");
    }
}

#[test]
fn numbers_outside_of_their_range_are_refused() {
    let number = |number, ty: Scalar| Some(IrError::Number { at: AT, number, ty: ty.into() });
    assert_eq!(error("trap_eq bool b, 2, 1"), number(2, Scalar::Bool));
    assert_eq!(error("copy_memory p, p, -1"), number(-1, Scalar::U64));
    assert_eq!(error("fill_memory p, c, -2147483648"), number(i64::from(i32::MIN), Scalar::U64));
    let offset = |offset, size| Some(IrError::Offset { at: AT, offset, size });
    assert_eq!(error("slot_address p, s + 17"), offset(17, 16));
    assert_eq!(error("slot_address p, s - 1"), offset(-1, 16));
    assert_eq!(error("data_address p, d + 5"), offset(5, 4));
    assert_eq!(error("data_address p, d - 1"), offset(-1, 4));
}

#[test]
fn calls_of_another_kind_or_result_are_refused() {
    let expected = Some(Scalar::I64.into());
    let result = Some(IrError::Result { at: AT, expected });
    // The text takes the result of the function for that of the callee, so that another one is written into the bytes.
    let text = "function f() -> i64\nreturn_call g()\nend\nfunction g() -> i64\ntrap 1\nend";
    let bytes = parse(text).unwrap().remove(0).body;
    let patched = |place: usize, value: u8| {
        let mut bytes = bytes.clone();
        bytes[place] = value;
        Verified::new(Function::parse(&bytes).unwrap()).err()
    };
    // One instruction at 56, one callee at 68.
    assert_eq!(patched(71, 0), result);
    assert_eq!(patched(71, 5), result);
    assert_eq!(patched(70, 3), Some(IrError::CalleeField { at: 68 }));
    let indirect = |place: usize, value: u8| {
        let text =
            "function f(p: ptr) -> i64\nlocal n: i64\ncall_indirect n = p()\nreturn i64 n\nend";
        let mut bytes = parse(text).unwrap().remove(0).body;
        bytes[place] = value;
        Verified::new(Function::parse(&bytes).unwrap()).err()
    };
    // Two instructions at 56, one callee at 80.
    assert_eq!(indirect(82, 2), Some(IrError::CalleeUse { at: AT, opcode: Opcode::CallIndirect }));
    assert_eq!(indirect(82, 4), Some(IrError::CalleeKind { at: 80, kind: 4 }));
    for place in [80, 81, 86, 87] {
        assert_eq!(indirect(place, 1), Some(IrError::CalleeField { at: 80 }));
    }
    assert_eq!(indirect(84, 1), Some(IrError::HostTypes { at: 80 }));
    // An indirect callee, which `return_call` does not take.
    let mut bytes = bytes.clone();
    (bytes[68], bytes[70]) = (0, 3);
    let found = Verified::new(Function::parse(&bytes).unwrap()).err();
    assert_eq!(found, Some(IrError::CalleeUse { at: AT, opcode: Opcode::ReturnCall }));
}

/// A function of version 2 whose only instruction has these bytes.
fn raw(instruction: [u8; 12]) -> Option<IrError> {
    let text = "function f(n: i64, p: ptr)\nlocal b: bool\nlocal c: u8\nslot s: 8\ndata d: \"\"\n\
                trap_true b, 1\nreturn_none\nend";
    let mut bytes = parse(text).unwrap().remove(0).body;
    bytes[56..68].copy_from_slice(&instruction);
    Verified::new(Function::parse(&bytes).unwrap()).err()
}

#[test]
fn unused_fields_and_missing_entries_are_refused() {
    let encode = |name: &str, is_number, ty: u8, [a, b, c]: [u8; 3], imm: u8| {
        let code = Opcode::from_name(name).unwrap().code(is_number);
        [code, ty, a, 0, b, 0, c, 0, imm, 0, 0, 0]
    };
    for (instruction, name) in [
        (encode("trap_true", false, 11, [2, 0, 0], 1), "trap_true"),
        (encode("trap_true", false, 0, [2, 1, 0], 1), "trap_true"),
        (encode("trap_true", false, 0, [2, 0, 1], 1), "trap_true"),
        (encode("trap_eq", false, 4, [0, 0, 1], 1), "trap_eq"),
        (encode("trap_eq", true, 4, [0, 1, 1], 1), "trap_eq"),
        (encode("sqrt", false, 10, [0, 0, 1], 0), ""),
        (encode("slot_address", false, 0, [1, 0, 1], 0), "slot_address"),
        (encode("slot_address", false, 12, [1, 0, 0], 0), "slot_address"),
        (encode("data_address", false, 0, [1, 0, 1], 0), "data_address"),
        (encode("copy_memory", true, 0, [1, 1, 1], 1), "copy_memory"),
        (encode("copy_memory", false, 0, [1, 1, 0], 1), "copy_memory"),
        (encode("fill_memory", true, 0, [1, 3, 1], 1), "fill_memory"),
        (encode("check_stack", false, 0, [1, 1, 0], 0), "check_stack"),
        (encode("check_stack", false, 0, [1, 0, 1], 0), "check_stack"),
    ] {
        let found = raw(instruction);
        match Opcode::from_name(name) {
            Some(opcode) => assert_eq!(found, Some(IrError::Unused { at: AT, opcode }), "{name}"),
            None => assert!(found.is_some()),
        }
    }
    let index = |part, index| Some(IrError::Index { at: AT, part, index });
    let slot = encode("slot_address", false, 0, [1, 1, 0], 0);
    assert_eq!(raw(slot), index(Part::Slots, 1));
    let data = encode("data_address", false, 0, [1, 1, 0], 0);
    assert_eq!(raw(data), index(Part::Data, 1));
    let callee = encode("function_address", false, 0, [1, 0, 0], 0);
    assert_eq!(raw(callee), index(Part::Callees, 0));
    let callee = encode("call_indirect", false, 0, [0, 3, 1], 0);
    assert_eq!(raw(callee), index(Part::Callees, 3));
    let mut select = encode("select", false, 4, [0, 2, 0], 9);
    assert_eq!(raw(select), index(Part::Locals, 9));
    select[8..].fill(0xff);
    assert_eq!(raw(select), index(Part::Locals, u32::MAX));
}

#[test]
fn operations_and_callees_of_version_2_are_refused_in_version_1() {
    for (name, ty) in [("sqrt", 10), ("select", 4), ("trap_eq", 4), ("add_checked", 4), ("rotl", 4)]
    {
        let text = "function f(a: i64, x: f64)\nmove i64 a, a\nreturn_none\nend";
        let mut bytes = parse(text).unwrap().remove(0).body;
        assert_eq!(bytes[8], 1);
        let code = Opcode::from_name(name).unwrap().code(false);
        bytes[40..42].copy_from_slice(&[code, ty]);
        let found = Verified::new(Function::parse(&bytes).unwrap()).err();
        assert_eq!(found, Some(IrError::Opcode { at: 40, code }), "{name}");
    }
    for opcode in (0..=0xff).filter_map(Opcode::from_code).map(|(opcode, _)| opcode) {
        let is_new = Opcode::from_code(opcode.code(false)).is_none_or(|_| opcode.version() == 2);
        let code = opcode.code(false);
        let is_listed = matches!(code, 0x06 | 0x0a | 0x0b | 0x1a..=0x1d | 0x45..=0x4a | 0x54..=0x56 | 0x60..=0x67);
        assert_eq!(is_new, is_listed, "{opcode:?}");
    }
    let text = "function f()\ncall_host g()\nreturn_none\nend";
    let bytes = parse(text).unwrap().remove(0).body;
    for kind in [2, 3] {
        let mut bytes = bytes.clone();
        bytes[40 + 24 + 2] = kind;
        let found = Verified::new(Function::parse(&bytes).unwrap()).err();
        assert_eq!(found, Some(IrError::CalleeKind { at: 64, kind }));
    }
}

/// The error of a function with these tables.
fn tables<R>(make: impl FnOnce(&mut FunctionBuilder) -> R) -> Option<IrError> {
    let mut body = FunctionBuilder::new(0, None);
    make(&mut body);
    body.return_none();
    let bytes = body.finish().unwrap();
    Verified::new(Function::parse(&bytes).unwrap()).err()
}

#[test]
fn malformed_slots_and_data_are_refused() {
    // One instruction; then the tables.
    let at = AT + 12;
    for (size, align) in [(0, 1), (1 << 20, 16), (5, 2)] {
        assert_eq!(tables(|body| body.slot(size, align)), None);
    }
    for align in [0, 3, 32, u32::MAX] {
        let expected = IrError::Alignment { at, align, limit: MAX_SLOT_ALIGN };
        assert_eq!(tables(|body| body.slot(8, align)), Some(expected));
    }
    let (name, limit) = ("bytes of stack slots", MAX_SLOT_BYTES);
    let large =
        |sizes: &[u32]| tables(|body| sizes.iter().map(|&size| body.slot(size, 16)).count());
    let refused = |at, value| Some(IrError::Limit { at, name, limit, value });
    assert_eq!(large(&[(1 << 20) + 1]), refused(at, (1 << 20) + 1));
    assert_eq!(large(&[u32::MAX, 8]), refused(at, u64::from(u32::MAX)));
    // The gap for the alignment counts.
    assert_eq!(large(&[1, (1 << 20) - 16]), None);
    assert_eq!(large(&[1, (1 << 20) - 15]), refused(at + 8, (1 << 20) + 1));
    for align in [0, 3, 8192] {
        let expected = IrError::Alignment { at, align, limit: MAX_DATA_ALIGN };
        assert_eq!(tables(|body| body.data(b"four", align)), Some(expected));
    }
    let patched = |place: usize, value: u8| {
        let mut body = FunctionBuilder::new(0, None);
        body.data(b"x", 1);
        body.data(b"12345678", 8);
        body.return_none();
        let mut bytes = body.finish().unwrap();
        bytes[at as usize + place] = value;
        Verified::new(Function::parse(&bytes).unwrap()).err()
    };
    let beyond = |at, offset, size| Some(IrError::Data { at, offset, size });
    // The first entry behind its place, and over the second.
    assert_eq!(patched(0, 7), None);
    assert_eq!(patched(0, 15), beyond(at + 12, 8, 8));
    assert_eq!(patched(0, 16), beyond(at, 16, 1));
    assert_eq!(patched(4, 17), beyond(at, 0, 17));
    // The first entry reaches into the second.
    assert_eq!(patched(4, 8), None);
    assert_eq!(patched(4, 9), beyond(at + 12, 8, 8));
    assert_eq!(patched(12, 4), beyond(at + 12, 4, 8));
    assert_eq!(patched(12 + 4, 9), beyond(at + 12, 8, 9));
    // The sum of offset and size does not wrap.
    let mut whole = FunctionBuilder::new(0, None);
    whole.data(b"12345678", 1);
    whole.return_none();
    let mut bytes = whole.finish().unwrap();
    let start = at as usize;
    bytes[start..start + 4].copy_from_slice(&8u32.to_le_bytes());
    bytes[start + 4..start + 8].fill(0xff);
    let found = Verified::new(Function::parse(&bytes).unwrap()).err();
    assert_eq!(found, beyond(at, 8, u32::MAX));
}

#[test]
fn malformed_locations_and_headers_are_refused() {
    let mut body = FunctionBuilder::new(0, None);
    let p = body.local(Scalar::Pointer);
    body.location(1, 0, None);
    body.copy(Scalar::Pointer, p, p);
    let file = body.file("f");
    body.location(2, 5, Some(file));
    body.return_none();
    let bytes = body.finish().unwrap();
    // Two instructions, one type code, two bytes of strings.
    let at = AT + 24 + 1 + 2;
    let patched = |places: &[(usize, u8)]| {
        let mut bytes = bytes.clone();
        for &(place, value) in places {
            bytes[place] = value;
        }
        Function::parse(&bytes).and_then(Verified::new).err()
    };
    let start = at as usize;
    assert_eq!(patched(&[]), None);
    let order = |at, instruction| Some(IrError::Location { at, instruction });
    assert_eq!(patched(&[(start, 1)]), order(at + 12, 1));
    assert_eq!(patched(&[(start + 12, 0)]), order(at + 12, 0));
    let part = Part::Instructions;
    assert_eq!(patched(&[(start + 12, 2)]), Some(IrError::Index { at: at + 12, part, index: 2 }));
    assert_eq!(patched(&[(start + 10, 1), (start + 11, 0)]), Some(IrError::Name { at }));
    assert_eq!(patched(&[(start + 10, 0), (start + 11, 0)]), None);
    assert_eq!(patched(&[(start + 22, 9)]), Some(IrError::Name { at: at + 12 }));
    assert_eq!(patched(&[(52, 1)]), Some(IrError::Reserved { value: 1 }));
    assert_eq!(patched(&[(8, 3)]), Some(IrError::Version { version: 3 }));
    assert!(matches!(patched(&[(40, 1)]), Some(IrError::Tables { .. })));
    assert!(matches!(patched(&[(44, 1)]), Some(IrError::Tables { .. })));
    let length = bytes.len() as u32;
    let short: Vec<u8> = bytes[..50].to_vec();
    let mut stated = short.clone();
    stated[4] = 50;
    assert!(matches!(Function::parse(&stated).err(), Some(IrError::Tables { stated: 50, .. })));
    assert_eq!(Function::parse(&short).err(), Some(IrError::Length { stated: length, given: 50 }));
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "release builds do not verify trusted functions")]
#[should_panic(expected = "an invalid function is trusted")]
fn invalid_function_is_not_trusted_in_debug_builds() {
    let mut body = FunctionBuilder::new(0, None);
    let n = body.local(Scalar::I64);
    body.copy(Scalar::U64, n, n);
    body.return_none();
    let bytes = body.finish().unwrap();
    drop(Verified::trusted(Function::parse(&bytes).unwrap()));
}

#[test]
fn every_error_names_its_place() {
    let errors = [
        (error("slot_address p, s + 17"), "at 0x38: the offset 17 lies outside of 16 bytes"),
        (
            tables(|body| body.slot(1 << 21, 8)),
            "at 0x44: 2097152 bytes of stack slots; the limit is 1048576",
        ),
        (
            tables(|body| body.slot(8, 3)),
            "at 0x44: an alignment of 3; it must be a power of two up to 16",
        ),
    ];
    for (error, message) in errors {
        assert_eq!(std::string::ToString::to_string(&error.unwrap()), message);
    }
}

//! Functions that work on objects: what is dynamic, what is checked all the same, and the constant pool.

use std::vec;
use std::vec::Vec;

use super::super::{Constants, Fault, Kind, KindSet, Place, Program, Verifier, VerifyError};
use super::{INT, TRUE, one, verify};
use crate::bytecode::instruction::Instruction as I;
use crate::bytecode::testing::{code, function};
use crate::format::constants::Constant;

const ARRAY: I = I::ArrayLit { dest: 0, count: 0, type_id: 0 };

fn with_program<R>(functions: &[(&[I], u16)], run: impl FnOnce(&Program<'_>) -> R) -> R {
    let codes: Vec<_> = functions.iter().map(|(instructions, _)| code(instructions)).collect();
    let functions: Vec<_> =
        codes.iter().zip(functions).map(|(code, &(_, params))| function(code, params, 3)).collect();
    run(&Verifier::new().verify(functions).unwrap())
}

fn call(function: u32) -> [I; 2] {
    [I::Call { function, argc: 0 }, I::RetVoid]
}

#[test]
fn dynamic_functions_are_those_with_objects_and_their_callers() {
    let tail = [I::TailCall { function: 1, argc: 0 }];
    let functions: [(&[I], u16); 6] = [
        (&call(1), 0),
        (&call(2), 0),
        (&[ARRAY, I::Call { function: 3, argc: 0 }, I::RetVoid], 0),
        (&[INT, I::Ret { src: 0 }], 0),
        (&tail, 0),
        (&call(3), 0),
    ];
    with_program(&functions, |program| {
        let compiles: Vec<_> = (0..7).map(|index| program.compiles(index)).collect();
        assert_eq!(compiles, [false, false, false, true, false, true, false]);
        let results: Vec<_> = (0..6).map(|index| program.summary(index).unwrap().result).collect();
        let value = Kind::Value;
        assert_eq!(results, [value, value, value, Kind::I64, value, Kind::Nil]);
        let mut verifier = Verifier::new();
        assert_eq!(verifier.facts(program, 0).unwrap_err(), Fault::Objects);
        assert!(verifier.facts(program, 3).is_ok());
        // The facts of a function that compiles are not those of a dynamic one.
        assert_eq!(verifier.facts(program, 5).unwrap().max_stack_depth(), 1);
    });
    // A program without objects is the same as ever, also after one with objects.
    let mut verifier = Verifier::new();
    let (objects, plain) = (code(&[ARRAY, I::RetVoid]), code(&[I::RetVoid]));
    assert!(!verifier.verify(vec![function(&objects, 0, 0)]).unwrap().compiles(0));
    assert!(verifier.verify(vec![function(&plain, 0, 0)]).unwrap().compiles(0));
}

#[test]
fn known_kinds_are_checked_in_dynamic_functions() {
    let fault = |instructions: &[I]| one(instructions).unwrap_err().fault;
    let kind = |slot, needed, found| Fault::Kind { place: Place::Slot(slot), needed, found };
    let (value, bool, i64) = (KindSet::VALUE, KindSet::BOOL, KindSet::I64);
    let len = I::Len { dest: 1, collection: 0 };
    assert_eq!(fault(&[TRUE, len]), kind(0, value, bool));
    assert_eq!(fault(&[TRUE, ARRAY, I::AddI64]), Fault::Underflow { needed: 2, length: 1 });
    assert_eq!(fault(&[ARRAY, I::ConstTrue { dest: 1 }, I::NegI64]), kind(1, i64, bool));
    assert_eq!(fault(&[len]), Fault::NoSlot { slot: 0, length: 0 });
    // What a length is, and a match, is known.
    let add = [ARRAY, len, I::Push { src: 1 }, I::Not, I::RetVoid];
    assert_eq!(fault(&add), kind(2, bool, i64));
    assert_eq!(fault(&[TRUE, I::IsSome { dest: 1, value: 0 }, I::NegI64]), kind(1, i64, bool));
    // An element has any kind.
    let get = I::IndexGet { dest: 1, collection: 0, index: 1 };
    let first = [ARRAY, I::ConstI64 { dest: 1, value: 0 }, get];
    for operator in [I::NegI64, I::Not, I::JmpIf { offset: 4 }] {
        one(&[&first[..], &[operator, I::RetVoid]].concat()).unwrap();
    }
}

#[test]
fn operands_of_every_instruction_are_required() {
    let value = |slot| I::Push { src: slot };
    let object = [ARRAY, INT];
    let checked = [
        I::CallIndirect { argc: 3 },
        I::ArrayLit { dest: 0, count: 3, type_id: 0 },
        I::DictLit { dest: 0, count: 2 },
        I::TupleLit { dest: 0, count: 3 },
        I::EnumNew { dest: 0, discriminant: 0, count: 3 },
        I::EnumNewTyped { dest: 0, type_id: 0, discriminant: 0, count: 3 },
        I::CallRuntime { index: 0, argc: 3 },
    ];
    for instruction in checked {
        let needed = match instruction {
            I::CallIndirect { .. } | I::DictLit { .. } => 4,
            _ => 3,
        };
        let short = one(&[ARRAY, value(0), instruction]).unwrap_err();
        assert_eq!(short.fault, Fault::Underflow { needed, length: 2 }, "{instruction:?}");
        one(&[ARRAY, value(0), value(0), value(0), instruction, I::RetVoid]).unwrap();
    }
    let slots = [
        I::LoadHeap { dest: 0, ptr: 9, offset: 0 },
        I::StoreHeap { ptr: 9, offset: 0, src: 0 },
        I::StoreHeap { ptr: 0, offset: 0, src: 9 },
        I::IndexGet { dest: 0, collection: 9, index: 1 },
        I::IndexGet { dest: 0, collection: 0, index: 9 },
        I::IndexSet { collection: 9, index: 1, value: 1 },
        I::IndexSet { collection: 0, index: 9, value: 1 },
        I::IndexSet { collection: 0, index: 1, value: 9 },
        I::Len { dest: 0, collection: 9 },
        I::Append { collection: 9, value: 0 },
        I::Append { collection: 0, value: 9 },
        I::Slice { dest: 0, collection: 9, start: 1, end: 1 },
        I::Slice { dest: 0, collection: 0, start: 9, end: 1 },
        I::Slice { dest: 0, collection: 0, start: 1, end: 9 },
        I::EnumMatch { dest: 0, value: 9, discriminant: 0 },
        I::EnumMatchTyped { dest: 0, value: 9, type_id: 0, discriminant: 0 },
        I::EnumPayload { dest: 0, value: 9, field: 0 },
        I::IsSome { dest: 0, value: 9 },
    ];
    for instruction in slots {
        let error = one(&[&object[..], &[instruction]].concat()).unwrap_err();
        assert_eq!(error.fault, Fault::NoSlot { slot: 9, length: 2 }, "{instruction:?}");
    }
}

#[test]
fn paths_of_a_dynamic_function_may_leave_different_kinds() {
    let head = [TRUE, I::Push { src: 0 }, I::JmpIf { offset: 5 }];
    let body = [I::ConstI64 { dest: 0, value: 1 }, I::Jmp { offset: 6 }, I::ConstNone { dest: 0 }];
    let read = [I::Ret { src: 0 }];
    let typed = one(&[&head[..], &body, &read].concat()).unwrap_err();
    assert_eq!(typed.fault, Fault::Mixed { place: Place::Slot(0) });
    let array = [I::ArrayLit { dest: 1, count: 0, type_id: 0 }, I::Ret { src: 0 }];
    assert_eq!(one(&[&head[..], &body, &array].concat()).unwrap().result, Kind::Value);
    // Their operand stacks are of one depth.
    let deep = [INT, I::Jmp { offset: 6 }, I::ConstNone { dest: 0 }];
    let error = one(&[&head[..], &deep, &array].concat()).unwrap_err();
    assert!(matches!(error.fault, Fault::Length { .. }), "{error}");
    // In a loop a slot that is nil before it becomes something else.
    let around = [
        I::ConstNone { dest: 0 },
        I::ConstNone { dest: 1 },
        I::ConstTrue { dest: 2 },
        I::Dup { src: 0, dest: 1 },
        ARRAY,
        I::Push { src: 2 },
        I::JmpIf { offset: 3 },
        I::Ret { src: 1 },
    ];
    one(&around).unwrap();
}

#[test]
fn arguments_of_dynamic_calls_have_any_kind() {
    let callee = [I::RetVoid];
    let caller = [TRUE, I::Call { function: 1, argc: 1 }, ARRAY, I::RetVoid];
    verify(&[(&caller, 0, 0), (&callee, 1, 1)]).unwrap();
    let typed = [TRUE, I::Call { function: 1, argc: 1 }, I::RetVoid];
    assert!(verify(&[(&typed, 0, 0), (&callee, 1, 1)]).is_err());
    let host = [TRUE, I::CallSffi { index: 0, argc: 1 }, ARRAY, I::RetVoid];
    assert!(matches!(one(&host).unwrap_err().fault, Fault::Kind { .. }));
    // The parameters of a dynamic function are values: they are used as what they are.
    let uses = [I::LoadPush { local: 0 }, I::Not, ARRAY, I::RetVoid];
    verify(&[(&uses, 1, 1)]).unwrap();
}

#[test]
fn loaded_constants_must_exist_and_be_valid() {
    let entries = [
        Constant::I64(1).encode(0),
        Constant::F64(0).encode(0),
        Constant::Bool(true).encode(0),
        Constant::Nil.encode(0),
        Constant::Text(b"").encode(0),
        [9; 16],
    ]
    .concat();
    let check = |instructions: &[I]| -> Result<Kind, VerifyError> {
        let code = code(instructions);
        let pool = Constants::parse(&entries, b"text\0");
        let program = Verifier::new().verify_program(vec![function(&code, 0, 1)], pool)?;
        Ok(program.summary(0).unwrap().result)
    };
    let load = |index| [I::LoadConst { dest: 0, index }, I::RetVoid];
    let text = |index| [I::LoadString { dest: 0, index }, I::RetVoid];
    for index in 0..5 {
        assert_eq!(check(&load(index)), Ok(Kind::Value), "{index}");
        let expected = if index == 4 { None } else { Some(Fault::NoText { index }) };
        assert_eq!(check(&text(index)).err().map(|error| error.fault), expected);
    }
    let bad = check(&load(5)).unwrap_err();
    assert_eq!((bad.fault, bad.at, bad.opcode), (Fault::BadConstant { index: 5 }, 0, 7));
    let none = check(&text(6)).unwrap_err();
    assert_eq!(none.fault, Fault::NoConstant { index: 6, count: 6 });
    // The kind of a constant is known.
    let negate = |index| [I::LoadConst { dest: 0, index }, I::NegI64, I::RetVoid];
    assert!(check(&negate(0)).is_ok() && check(&negate(4)).is_ok());
    for index in 1..4 {
        assert!(matches!(check(&negate(index)).unwrap_err().fault, Fault::Kind { .. }));
    }
}

#[test]
fn runtime_function_gets_the_same_number_of_arguments_everywhere() {
    let one_way = [INT, I::CallRuntime { index: 3, argc: 1 }, I::RetVoid];
    let other = [I::CallRuntime { index: 3, argc: 0 }, I::RetVoid];
    let error = verify(&[(&one_way, 0, 0), (&other, 0, 0)]).unwrap_err();
    let (index, argc, other, function, at) = (3, 0, 1, 0, 10);
    assert_eq!(error.fault, Fault::HostArguments { index, argc, other, function, at });
    with_program(&[(&one_way, 0)], |program| {
        let calls: Vec<_> = program.runtime_calls().collect();
        assert_eq!((calls.len(), calls[0].index, calls[0].argc, calls[0].at), (1, 3, 1, 10));
        assert_eq!(program.host_calls().count(), 0);
    });
}

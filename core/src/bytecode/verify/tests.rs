//! Accepted and refused programs, error messages, and size limits.

mod objects;
mod oracle;

use std::string::ToString;
use std::vec;
use std::vec::Vec;

use super::*;
use crate::bytecode::instruction::{DecodeError, Instruction as I, Instructions};
use crate::bytecode::testing::{code, function};
use crate::format::constants::Constant;
use crate::format::functions::Functions;

fn verify(functions: &[(&[I], u16, u16)]) -> Result<Vec<Summary>, VerifyError> {
    let codes: Vec<_> = functions.iter().map(|(instructions, ..)| code(instructions)).collect();
    let functions: Vec<_> =
        codes.iter().zip(functions).map(|(code, f)| function(code, f.1, f.2)).collect();
    let count = u32::try_from(functions.len()).unwrap();
    let program = Verifier::new().verify(functions)?;
    Ok((0..count).map(|index| program.summary(index).unwrap()).collect())
}

fn one(instructions: &[I]) -> Result<Summary, VerifyError> {
    verify(&[(instructions, 0, 2)]).map(|summaries| summaries[0])
}

/// The offset and the kind of the error.
fn fault(instructions: &[I]) -> (u32, Fault) {
    let error = one(instructions).unwrap_err();
    (error.at, error.fault)
}

const INT: I = I::ConstI64Push { value: 7 };
const TRUE: I = I::ConstTrue { dest: 0 };

#[test]
fn sample_is_accepted() {
    let sample = include_bytes!("../../../../tests/samples/bcod.smf");
    let table = Functions::parse(&sample[0xd0..0x16a], &sample[0x16a..0x175], 0xd0).unwrap();
    let program = Verifier::new().verify(functions_of(&table).unwrap()).unwrap();
    assert_eq!(program.summary(0), Some(Summary { max_stack_depth: 1, result: Kind::I64 }));
    assert_eq!(program.summary(1), Some(Summary { max_stack_depth: 6, result: Kind::I64 }));
    assert_eq!(program.summary(2), None);
    let mut verifier = Verifier::new();
    let facts = verifier.facts(&program, 1).unwrap();
    // The loop head, and the instruction after the loop.
    let targets = facts.targets();
    assert_eq!(targets.len(), 2);
    assert!(targets[0].last_back_jump.is_some() && targets[1].last_back_jump.is_none());
    assert_eq!([facts.length_at(0), facts.length_at(1)], [Some(4), Some(4)]);
    let (mut locals, mut slots) = facts.kinds_at(0);
    assert_eq!([locals.next(), slots.nth(3)], [Some(Some(Kind::I64)); 2]);
    assert!(!facts.has_calls());
}

#[test]
fn operand_stack_is_extended_by_writes_only() {
    let dest = 3;
    let summary = one(&[I::ConstF64 { dest, bits: 0 }, I::Ret { src: 3 }]).unwrap();
    assert_eq!(summary, Summary { max_stack_depth: 4, result: Kind::F64 });
    let nil = one(&[I::ConstF64 { dest, bits: 0 }, I::Ret { src: 2 }]).unwrap();
    assert_eq!(nil.result, Kind::Nil);
    let slot = fault(&[I::ConstTrue { dest: 3 }, I::Ret { src: 4 }]);
    assert_eq!(slot, (4, Fault::NoSlot { slot: 4, length: 4 }));
    // The top of the stack is popped before the slot is written, which extends the stack again.
    assert_eq!(one(&[INT, I::Pop { dest: 1 }, I::Ret { src: 0 }]).unwrap().result, Kind::Nil);
    let store = fault(&[I::Store { local: 0, src: 0 }, I::RetVoid]);
    assert_eq!(store, (0, Fault::NoSlot { slot: 0, length: 0 }));
    let swap = fault(&[TRUE, I::Swap { a: 0, b: 1 }]);
    assert_eq!(swap, (4, Fault::NoSlot { slot: 1, length: 1 }));
}

#[test]
fn operand_of_wrong_kind_is_refused() {
    assert_eq!(one(&[INT, INT, I::AddI64, I::Ret { src: 0 }]).unwrap().result, Kind::I64);
    assert_eq!(fault(&[INT, I::AddI64]).1, Fault::Underflow { needed: 2, length: 1 });
    assert_eq!(fault(&[I::Not]).1, Fault::Underflow { needed: 1, length: 0 });
    let (needed, found) = (KindSet::I64, KindSet::BOOL);
    let kind = |place, needed, found| Fault::Kind { place, needed, found };
    let place = Place::Slot(1);
    assert_eq!(fault(&[INT, I::ConstTrue { dest: 1 }, I::AddI64]).1, kind(place, needed, found));
    assert_eq!(
        fault(&[TRUE, INT, I::MulI64Pop { dest: 0 }]).1,
        kind(Place::Slot(0), needed, found)
    );
    let float = I::ConstF64 { dest: 0, bits: 0 };
    for (instructions, accepted) in [
        (&[INT, INT, I::Eq][..], true),
        (&[float, INT, I::Eq], true),
        (&[float, INT, I::Ge], true),
        (&[TRUE, I::Push { src: 0 }, I::Ne], true),
        (&[TRUE, I::Push { src: 0 }, I::Lt], false),
        (&[TRUE, INT, I::Eq], false),
        (&[I::ConstNone { dest: 0 }, I::ConstUnit { dest: 1 }, I::Eq], true),
        (&[I::ConstNone { dest: 0 }, INT, I::Eq], false),
        (&[I::ConstNone { dest: 0 }, I::ConstUnit { dest: 1 }, I::Le], false),
        (&[float, INT, I::AddF64], false),
        (&[float, I::Push { src: 0 }, I::DivF64], true),
        (&[INT, I::NegI64], true),
        (&[float, I::NegI64], false),
        (&[TRUE, I::Not], true),
        (&[INT, I::Not], false),
        (&[TRUE, I::Push { src: 0 }, I::And], true),
        (&[INT, I::JmpIf { offset: 2 }], false),
    ] {
        assert_eq!(one(instructions).is_ok(), accepted, "{instructions:?}");
    }
}

#[test]
fn locals_begin_as_arguments_and_nil() {
    let load = |local| [I::LoadPush { local }, I::Ret { src: 0 }];
    let result = |local| verify(&[(&load(local), 1, 2)]).map(|found| found[0].result);
    assert_eq!(result(0), Ok(Kind::I64));
    assert_eq!(result(1), Ok(Kind::Nil));
    assert_eq!(result(2).unwrap_err().fault, Fault::NoLocal { local: 2, locals: 2 });
    let store = [INT, I::PopStore { local: 1 }, I::Load { dest: 0, local: 1 }, I::Ret { src: 0 }];
    assert_eq!(one(&store).unwrap().result, Kind::I64);
    // Also in unreachable code.
    let (local, src) = (2, 0);
    assert_eq!(
        fault(&[I::RetVoid, I::Store { local, src }]).1,
        Fault::NoLocal { local, locals: 2 }
    );
    let fewer = verify(&[(&[I::RetVoid], 2, 1)]).unwrap_err();
    assert_eq!(fewer.fault, Fault::Locals { params: 2, locals: 1 });
}

#[test]
fn jump_into_an_instruction_is_refused() {
    let raw = |code: &[u8]| {
        let error = Verifier::new().verify(vec![function(code, 0, 0)]).unwrap_err();
        (error.at, error.fault)
    };
    let jump = |offset: i32| {
        let mut code = vec![0x45, 0, 0x40, 0];
        code.extend(offset.to_le_bytes());
        code.extend([3, 0, 0, 0, 0x45, 0]);
        code
    };
    assert_eq!(raw(&jump(2)), (2, Fault::JumpInside { target: 10 }));
    assert_eq!(raw(&jump(1)), (2, Fault::JumpInside { target: 9 }));
    assert_eq!(raw(&jump(-2)), (2, Fault::JumpInside { target: 6 }));
    assert_eq!(raw(&jump(8)), (2, Fault::JumpOutside { target: 16 }));
    assert_eq!(raw(&jump(7)), (2, Fault::JumpOutside { target: 15 }));
    assert_eq!(raw(&jump(-9)), (2, Fault::JumpOutside { target: -1 }));
    assert_eq!(raw(&jump(i32::MIN)).1, Fault::JumpOutside { target: 8 + i64::from(i32::MIN) });
    for offset in [0, 4, 6, -6, -8] {
        let code = jump(offset);
        Verifier::new().verify(vec![function(&code, 0, 0)]).unwrap();
    }
    assert_eq!(raw(&jump(0)[..9]).1, Fault::Decode(DecodeError::Truncated { at: 8, needed: 2 }));
    assert_eq!(
        raw(&[0xff, 0xff]).1,
        Fault::Decode(DecodeError::UnknownOpcode { opcode: 0xffff, at: 0 })
    );
}

#[test]
fn code_cut_at_any_byte_is_refused() {
    let whole =
        code(&[INT, INT, I::AddI64Pop { dest: 0 }, TRUE, I::JmpIf { offset: 0 }, I::RetVoid]);
    let begins: Vec<_> = Instructions::new(&whole).map(|found| found.unwrap().0).collect();
    for cut in (0..u32::try_from(whole.len()).unwrap()).filter(|cut| !begins.contains(cut)) {
        let code = &whole[..usize::try_from(cut).unwrap()];
        let error = Verifier::new().verify(vec![function(code, 0, 0)]).unwrap_err();
        let at = *begins.iter().rfind(|&&begin| begin < cut).unwrap();
        assert_eq!(error.at, at);
        assert!(matches!(error.fault, Fault::Decode(DecodeError::Truncated { .. })), "{cut}");
    }
}

#[test]
fn paths_with_different_stack_depths_are_refused() {
    // One path pushes, the other does not.
    let unbalanced = fault(&[TRUE, TRUE, I::JmpIf { offset: 4 }, INT, I::RetVoid]);
    assert_eq!(unbalanced, (24, Fault::Length { target: 24, there: 0, here: 1 }));
    let found = fault(&[TRUE, INT, I::Pop { dest: 1 }, I::Push { src: 0 }, I::JmpIf { offset: 1 }]);
    assert_eq!(found, (22, Fault::Length { target: 4, there: 1, here: 2 }));
    // A loop that pushes in each iteration.
    let grows = fault(&[INT, I::Jmp { offset: 0 }]);
    assert_eq!(grows, (10, Fault::Length { target: 0, there: 0, here: 1 }));
}

#[test]
fn mixed_kinds_are_refused_where_they_are_read() {
    let condition = [I::ConstFalse { dest: 1 }, I::Push { src: 1 }, I::JmpIf { offset: 5 }];
    let arms = [I::ConstI64 { dest: 0, value: 1 }, I::Jmp { offset: 6 }, TRUE];
    let both = [&[TRUE][..], &condition, &arms].concat();
    let jumps: Vec<_> = both
        .iter()
        .map(|&i| match i {
            I::JmpIf { .. } => I::JmpIf { offset: 6 },
            I::Jmp { .. } => I::Jmp { offset: 7 },
            other => other,
        })
        .collect();
    let with = |rest: &[I]| one(&[&jumps[..], rest].concat());
    let mixed = with(&[I::Ret { src: 0 }]).unwrap_err();
    assert_eq!((mixed.at, mixed.fault), (40, Fault::Mixed { place: Place::Slot(0) }));
    assert_eq!(mixed.opcode, 0x44);
    with(&[I::RetVoid]).unwrap();
    with(&[I::Ret { src: 1 }]).unwrap();
    with(&[TRUE, I::Ret { src: 0 }]).unwrap();
    with(&[I::Push { src: 0 }, I::RetVoid]).unwrap_err();
}

#[test]
fn loop_may_change_kinds_of_slots_that_are_not_read() {
    // Slot 1 is nil before the loop and bool after one iteration.
    let head = [I::ConstNone { dest: 1 }];
    let with = |first: I, last: I| {
        let body = [first, TRUE, I::Dup { src: 0, dest: 1 }, I::Push { src: 1 }];
        one(&[&[TRUE][..], &head, &body, &[I::JmpIf { offset: 2 }, last]].concat())
    };
    with(I::RetVoid, I::RetVoid).unwrap();
    with(I::ConstI64 { dest: 0, value: 0 }, I::Ret { src: 1 }).unwrap();
    let error = with(I::Dup { src: 1, dest: 0 }, I::RetVoid).unwrap_err();
    assert_eq!((error.at, error.fault), (8, Fault::Mixed { place: Place::Slot(1) }));
}

#[test]
fn slot_that_is_nil_before_a_loop_may_be_read_inside() {
    // The slot stays nil, so that reading it is valid.
    let body = |last: I| {
        let head = [TRUE, I::ConstNone { dest: 1 }];
        let (local, slot) = (I::LoadPush { local: 1 }, I::Push { src: 1 });
        let jump = [I::Push { src: 0 }, I::JmpIf { offset: 2 }, I::RetVoid];
        let reads = [slot, I::PopStore { local: 0 }, local, I::Pop { dest: 1 }, last];
        one(&[&head[..], &reads, &jump].concat())
    };
    assert_eq!(body(I::Dup { src: 1, dest: 1 }).map(|summary| summary.max_stack_depth), Ok(3));
    // Here it does not stay nil: one iteration changes it.
    let error = body(I::Dup { src: 0, dest: 1 }).unwrap_err();
    assert_eq!((error.at, error.fault), (8, Fault::Mixed { place: Place::Slot(1) }));
    let error = body(I::Store { local: 1, src: 0 }).unwrap_err();
    assert_eq!((error.at, error.fault), (16, Fault::Mixed { place: Place::Local(1) }));
}

#[test]
fn every_opcode_is_verified_with_its_length() {
    for &opcode in I::OPCODES {
        let mut bytes = opcode.to_le_bytes().to_vec();
        bytes.resize(14, 0);
        let size = usize::try_from(I::decode(&bytes, 0).unwrap().size()).unwrap();
        bytes.truncate(size);
        // Unreachable code whose operands are 0 has no other error.
        let whole = [&code(&[I::RetVoid])[..], &bytes, &code(&[I::RetVoid])].concat();
        let pool = Constant::Text(b"").encode(0);
        let pool = Constants::parse(&pool, b"\0");
        let functions = vec![function(&whole, 0, 1)];
        let found = Verifier::new().verify_program(functions, pool).map(drop);
        let supported = I::decode(&bytes, 0).unwrap().is_supported();
        assert_eq!(found.is_ok(), supported, "{opcode:#x} {found:?}");
        for cut in 1..size {
            let needed = if cut < 2 { 2 } else { u32::try_from(size).unwrap() };
            let error =
                Verifier::new().verify(vec![function(&whole[..2 + cut], 0, 1)]).unwrap_err();
            let truncated = Fault::Decode(DecodeError::Truncated { at: 2, needed });
            assert_eq!(error.fault, truncated, "{opcode:#x} {cut}");
        }
    }
}

#[test]
fn results_are_of_one_kind_throughout_the_program() {
    let int = [I::ConstI64 { dest: 0, value: 1 }, I::Ret { src: 0 }];
    let call = |function| I::Call { function, argc: 0 };
    let adds = [call(1), INT, I::AddI64, I::Ret { src: 0 }];
    assert_eq!(verify(&[(&adds, 0, 0), (&int, 0, 0)]).unwrap()[0].result, Kind::I64);
    let error = verify(&[(&adds, 0, 0), (&[I::RetVoid], 0, 0)]).unwrap_err();
    assert_eq!((error.function, error.at), (1, 0));
    let (callee, needed, known) = (1, KindSet::NIL, KindSet::I64);
    assert_eq!(error.fault, Fault::Result { callee, needed, known, function: 0, at: 18 });
    // A chain of calls whose kind is known only at its end.
    let passes = |function| [call(function), I::Ret { src: 0 }];
    let chain = verify(&[(&passes(1), 0, 0), (&passes(2), 0, 0), (&int, 0, 0)]).unwrap();
    assert!(chain.iter().all(|summary| summary.result == Kind::I64));
    // A function that never returns has the result nil.
    assert_eq!(verify(&[(&passes(0), 0, 0)]).unwrap()[0].result, Kind::Nil);
    let tail = [I::TailCall { function: 1, argc: 0 }];
    assert_eq!(verify(&[(&tail, 0, 0), (&int, 0, 0)]).unwrap()[0].result, Kind::I64);
    let mixed = [TRUE, I::Push { src: 0 }, I::JmpIf { offset: 4 }, I::RetVoid, I::Ret { src: 0 }];
    let error = one(&mixed).unwrap_err();
    let (callee, needed, known) = (0, KindSet::BOOL, KindSet::NIL);
    assert_eq!(error.fault, Fault::Result { callee, needed, known, function: 0, at: 14 });
}

#[test]
fn unknown_result_at_a_join_is_resolved_when_it_is_read() {
    let int = [I::ConstI64 { dest: 0, value: 1 }, I::Ret { src: 0 }];
    // Slot 0 is the result of function 1 on one path, an integer or a bool on the other.
    let with = |other: I, result: &[I]| {
        let call = [I::Call { function: 1, argc: 0 }, I::Pop { dest: 0 }, I::Jmp { offset: 7 }];
        let first = [I::ConstTrue { dest: 0 }, I::Push { src: 0 }, I::JmpIf { offset: 6 }];
        let code = [&first[..], &call, &[other, I::Ret { src: 0 }]].concat();
        verify(&[(&code, 0, 0), (result, 0, 0)]).map(|found| found[0].result)
    };
    assert_eq!(with(I::ConstI64 { dest: 0, value: 0 }, &int), Ok(Kind::I64));
    assert_eq!(with(I::ConstTrue { dest: 0 }, &int).unwrap_err().function, 1);
    assert_eq!(with(I::ConstNone { dest: 0 }, &[I::RetVoid]), Ok(Kind::Nil));
}

#[test]
fn call_must_pass_the_declared_arguments() {
    let callee = [I::RetVoid];
    let caller = |argc| [INT, INT, I::Call { function: 1, argc }, I::RetVoid];
    verify(&[(&caller(2), 0, 0), (&callee, 2, 2)]).unwrap();
    let error = verify(&[(&caller(1), 0, 0), (&callee, 2, 2)]).unwrap_err();
    assert_eq!(error.fault, Fault::Arguments { callee: 1, argc: 1, params: 2 });
    let error = verify(&[(&caller(2), 0, 0)]).unwrap_err();
    assert_eq!((error.at, error.fault), (20, Fault::NoFunction { callee: 1, count: 1 }));
    let few = [INT, I::Call { function: 1, argc: 2 }];
    let error = verify(&[(&few, 0, 0), (&callee, 2, 2)]).unwrap_err();
    assert_eq!(error.fault, Fault::Underflow { needed: 2, length: 1 });
    let host = |argc| [INT, INT, I::CallSffi { index: 9, argc }, I::RetVoid];
    let differ = verify(&[(&host(2), 0, 0), (&host(1), 0, 0)]).unwrap_err();
    let (index, argc, other, function, at) = (9, 1, 2, 0, 20);
    assert_eq!(differ.fault, Fault::HostArguments { index, argc, other, function, at });
    let code = code(&host(2));
    let program =
        Verifier::new().verify(vec![super::FunctionCode { code: &code, params: 0, locals: 0 }]);
    let calls: Vec<_> = program.unwrap().host_calls().collect();
    assert_eq!(calls, [HostCall { index, argc: 2, function, at }]);
}

#[test]
fn code_without_final_return_is_refused_if_called() {
    assert_eq!(one(&[INT, INT, I::MulI64]).unwrap().result, Kind::I64);
    assert_eq!(
        one(&[TRUE, I::Push { src: 0 }, I::JmpIf { offset: 4 }, I::Ret { src: 0 }]).unwrap().result,
        Kind::Bool
    );
    assert_eq!(fault(&[]), (0, Fault::NothingReturned));
    assert_eq!(fault(&[INT, I::PopStore { local: 0 }]), (14, Fault::NothingReturned));
    let caller = [I::Call { function: 1, argc: 0 }, I::RetVoid];
    let error = verify(&[(&caller, 0, 0), (&[INT], 0, 0)]).unwrap_err();
    assert_eq!((error.function, error.at, error.fault), (1, 10, Fault::RunsOff));
}

#[test]
fn unsupported_instructions_are_refused_by_name() {
    for &opcode in I::OPCODES {
        let bytes = [&opcode.to_le_bytes()[..], &[0; 12]].concat();
        let instruction = I::decode(&bytes, 0).unwrap();
        if !instruction.is_supported() {
            let error = one(&[I::RetVoid, instruction]).unwrap_err();
            assert_eq!((error.fault, error.opcode), (Fault::Unsupported, opcode));
            let name = instruction.name();
            let said = std::format!(
                "function 0: {name} is not supported: its meaning is not defined, or it needs a scheduler of actors, at offset 0x2"
            );
            assert_eq!(error.to_string(), said);
        }
    }
    let add = one(&[TRUE, INT, I::AddI64]).unwrap_err();
    assert_eq!(
        add.to_string(),
        "function 0: ADD_I64 needs i64 and finds bool in slot 0, at offset 0xe"
    );
    let decode = Verifier::new().verify(vec![function(&[0xff, 0], 0, 0)]).unwrap_err();
    assert_eq!(decode.to_string(), "function 0: unknown opcode 0x00ff, at offset 0x0");
}

#[test]
fn loops_entered_in_the_middle_are_followed() {
    // The condition is behind the body, and the body is reached by back edges only.
    let inverted = [
        I::ConstI64 { dest: 0, value: 10 },
        I::Jmp { offset: 5 },
        I::Push { src: 0 },
        INT,
        I::SubI64Pop { dest: 0 },
        I::Push { src: 0 },
        INT,
        I::LtJmpIfNot { offset: 2 },
        I::Ret { src: 0 },
    ];
    assert_eq!(one(&inverted).unwrap(), Summary { max_stack_depth: 3, result: Kind::I64 });
    let mut broken = inverted;
    broken[4] = I::AddF64;
    assert_eq!(one(&broken).unwrap_err().opcode, 0x25);
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes in the interpreter")]
fn large_programs_take_memory_and_time_proportional_to_length() {
    // 65,535 slots, with merging paths.
    let wide = code(&[
        I::ConstTrue { dest: 65535 },
        I::Push { src: 65535 },
        I::JmpIf { offset: 0 },
        I::RetVoid,
    ]);
    let mut verifier = Verifier::new();
    assert!(verifier.verify(vec![function(&wide, 0, 0)]).is_err());
    let wide = code(&[
        I::ConstTrue { dest: 65535 },
        I::Push { src: 65535 },
        I::JmpIf { offset: 1 },
        I::RetVoid,
    ]);
    let program = verifier.verify(vec![function(&wide, 0, 65535)]).unwrap();
    assert_eq!(program.summary(0).unwrap().max_stack_depth, 65537);
    // 10 MB of one function.
    let unit = code(&[
        INT,
        I::PopStore { local: 0 },
        I::LoadPush { local: 0 },
        INT,
        I::LtJmpIfNot { offset: 5 },
    ]);
    let mut long = unit.repeat(10_000_000 / unit.len());
    long.extend([0x45, 0]);
    verifier.verify(vec![function(&long, 0, 1)]).unwrap();
    // 100,000 functions, each calling the next.
    let codes: Vec<_> = (1..=100_000u32)
        .map(|next| code(&[I::Call { function: next % 100_000, argc: 0 }, I::Ret { src: 0 }]))
        .collect();
    let functions = codes.iter().map(|code| function(code, 0, 0)).collect();
    assert_eq!(verifier.verify(functions).unwrap().summary(7).unwrap().result, Kind::Nil);
    // Many targets with deep stacks are refused before memory is allocated for them.
    let mut many = vec![I::ConstTrue { dest: 9999 }];
    many.extend((2..4000).flat_map(|_| [I::Push { src: 9999 }, I::JmpIf { offset: 1 }]));
    let jumps: Vec<_> = many
        .iter()
        .enumerate()
        .map(|(number, &i)| match i {
            I::JmpIf { .. } => I::JmpIf { offset: i32::try_from(number + 1).unwrap() },
            other => other,
        })
        .collect();
    assert_eq!(one(&jumps).unwrap_err().fault, Fault::Joins);
}

//! Both ways of compiling against each other: whatever the quick way accepts, the verifier does, and what
//! is found is the same; and each reason for giving up is one.

use std::vec::Vec;

use super::*;
use crate::jit::bytecode::Instruction as I;
use crate::jit::lower::Image;
use crate::jit::testing::{Random, code, function, mostly_simple, view};
use crate::jit::text::{Assembled, assemble};
use crate::jit::verify::{HostCall, Summary};

/// What is said of a program.
type Said = (Vec<Summary>, Vec<HostCall>);

fn said(program: &Program<'_>) -> Said {
    let summaries = (0..).map_while(|index| program.summary(index));
    (summaries.collect(), program.host_calls().collect())
}

/// What compiling a program says of it, and where the heads of loops are in each function's bytecode.
fn compiled(
    compiler: &mut Compiler,
    functions: &[FunctionCode<'_>],
) -> Result<(Said, Vec<Vec<u32>>), CompileError> {
    let mut heads = Vec::new();
    let program = compiler.program(functions.to_vec(), |index, lowered| {
        heads.truncate(usize::try_from(index).unwrap());
        heads.push(lowered.loop_heads.iter().map(|&(head, _)| head).collect());
    })?;
    Ok((said(&program), heads))
}

/// Compiles a program both ways and compares; how many of its functions go the quick way.
pub(crate) fn check(functions: &[FunctionCode<'_>]) -> usize {
    let mut compiler = Compiler::new();
    let quick = compiled(&mut compiler, functions);
    compiler.be_thorough(true);
    assert_eq!(quick, compiled(&mut compiler, functions), "{functions:?}");
    compiler.be_thorough(false);
    let program = match Verifier::new().verify(functions.to_vec()) {
        Ok(program) => program,
        Err(error) => {
            assert_eq!(quick, Err(CompileError::Verify(error)), "{functions:?}");
            return 0;
        }
    };
    let (what, heads) = quick.unwrap();
    assert_eq!(what, said(&program), "{functions:?}");
    let mut count = 0;
    for (index, heads) in (0..).zip(heads) {
        // One by one they are compiled to the same, whose results are known.
        let lowered = compiler.function(&program, index).unwrap();
        assert!(heads.iter().eq(lowered.loop_heads.iter().map(|(head, _)| head)), "{functions:?}");
        count += usize::from(compiler.quick(&program, index));
    }
    count
}

/// Whether a function alone goes the quick way.
fn is_simple(instructions: &[I], params: u16, locals: u16) -> bool {
    let code = code(instructions);
    check(&[function(&code, params, locals)]) == 1
}

const fn push(value: i64) -> I {
    I::ConstI64Push { value }
}

const fn load(local: u16) -> I {
    I::LoadPush { local }
}

const fn set(local: u16) -> I {
    I::PopStore { local }
}

const RETURN: I = I::Ret { src: 0 };

#[test]
fn simple_functions_go_the_quick_way() {
    assert!(is_simple(&[push(1), RETURN], 0, 0));
    assert!(is_simple(&[I::RetVoid], 6, 14));
    assert!(is_simple(&[I::ConstTrue { dest: 0 }, I::Not, RETURN], 0, 0));
    let counts =
        [push(0), set(1), load(1), load(0), I::LtJmpIfNot { offset: 10 }, load(1), push(1)];
    let ends = [I::AddI64, set(1), I::Jmp { offset: 2 }, I::Load { dest: 0, local: 1 }, RETURN];
    assert!(is_simple(&[&counts[..], &ends[..]].concat(), 1, 2));
    // A loop whose head nothing is known of before it jumps back.
    let until = [load(0), push(1), I::SubI64, set(0), load(0), push(0), I::Gt];
    let back = [I::JmpIf { offset: 0 }, load(0), RETURN];
    assert!(is_simple(&[&until[..], &back[..]].concat(), 1, 1));
}

#[test]
fn what_is_not_simple_is_given_up() {
    let refused: &[(&str, &[I], u16, u16)] = &[
        ("locals that are many", &[I::RetVoid], 0, 15),
        ("parameters on the stack", &[I::RetVoid], 7, 7),
        ("a local that is not set", &[load(0), set(0), I::RetVoid], 0, 1),
        (
            "a local of two kinds",
            &[push(1), set(0), I::ConstTrue { dest: 0 }, set(0), I::RetVoid],
            0,
            1,
        ),
        ("results of two kinds are refused", &[push(1), RETURN, I::RetVoid], 0, 0),
        ("a float", &[I::ConstF64 { dest: 0, bits: 0 }, RETURN], 0, 0),
        ("nil", &[I::ConstNone { dest: 0 }, RETURN], 0, 0),
        (
            "nil before what is written",
            &[I::ConstI64 { dest: 1, value: 1 }, I::Ret { src: 1 }],
            0,
            0,
        ),
        ("a slot that is pushed", &[push(1), I::Push { src: 0 }, RETURN], 0, 0),
        ("a call in place of this one", &[I::TailCall { function: 0, argc: 0 }], 0, 0),
        ("the end without a return", &[push(1)], 0, 0),
        ("code that nothing leads to", &[I::RetVoid, I::RetVoid], 0, 0),
        ("a jump to the end", &[push(1), I::Jmp { offset: 2 }], 0, 0),
        ("what never returns", &[I::Jmp { offset: 0 }], 0, 0),
        ("a vector at a target", &[push(1), I::Jmp { offset: 2 }, RETURN], 0, 0),
        (
            "a vector at a target from above",
            &[load(0), push(1), I::EqJmpIfNot { offset: 4 }, push(1), RETURN],
            1,
            1,
        ),
        (
            "a constant that is jumped by",
            &[I::ConstTrue { dest: 0 }, I::JmpIf { offset: 2 }, I::RetVoid],
            0,
            0,
        ),
        ("a bool as an integer", &[I::ConstTrue { dest: 0 }, push(1), I::AddI64, RETURN], 0, 0),
        (
            "bools in an order",
            &[I::ConstTrue { dest: 0 }, I::ConstTrue { dest: 1 }, I::Lt, RETURN],
            0,
            0,
        ),
        ("a division by zero", &[load(0), push(0), I::DivI64, RETURN], 1, 1),
        ("too few values", &[I::AddI64, RETURN], 0, 0),
        ("a slot that is not there", &[RETURN], 0, 0),
        ("a local that is not there", &[push(0), set(1), I::RetVoid], 1, 1),
        (
            "a jump backward to where the vector is not empty",
            &[load(0), load(0), I::LtJmpIfNot { offset: 4 }, I::Jmp { offset: 1 }, I::RetVoid],
            1,
            1,
        ),
        (
            "a loop that leaves less set than it found",
            &[
                load(0),
                push(0),
                I::EqJmpIfNot { offset: 6 },
                push(1),
                set(1),
                I::Jmp { offset: 6 },
                load(0),
                push(0),
                I::EqJmpIfNot { offset: 5 },
                I::RetVoid,
            ],
            1,
            2,
        ),
        (
            "a result that only a guess makes an integer",
            &[I::Call { function: 0, argc: 0 }, RETURN],
            0,
            0,
        ),
    ];
    for &(why, instructions, params, locals) in refused {
        assert!(!is_simple(instructions, params, locals), "{why}");
    }
    let long: Vec<I> = (0..13).map(push).chain([RETURN]).collect();
    assert!(!is_simple(&long, 0, 0), "a long vector");
    assert!(is_simple(&long[1..], 0, 0));
}

#[test]
fn both_ways_find_the_same() {
    let mut random = Random(0x9_1cc);
    let (mut quick, mut all) = (0, 0);
    let rounds = if cfg!(debug_assertions) { 3_000 } else { 100_000 };
    for round in 0..rounds {
        let mut functions = mostly_simple(&mut random, round % 2 == 0);
        if round % 4 == 3 {
            // One byte is another one, which few programs survive.
            let (code, ..) = &mut functions[0];
            let place = random.below(code.len() as u64) as usize;
            code[place] = random.next() as u8;
        }
        quick += check(&view(&functions));
        all += functions.len();
    }
    assert!(quick > all / 3 && quick < all * 9 / 10, "{quick} of {all}");
}

#[test]
fn what_is_returned_later_is_taken_for_an_integer_until_it_is_known() {
    let calls = code(&[I::Call { function: 1, argc: 0 }, set(0), I::RetVoid]);
    let integer = code(&[push(1), RETURN]);
    let other = [
        code(&[I::ConstTrue { dest: 0 }, RETURN]),
        code(&[I::RetVoid]),
        code(&[I::ConstF64 { dest: 0, bits: 0 }, RETURN]),
        code(&[I::Call { function: 1, argc: 0 }, RETURN]),
    ];
    let program = |callee| [function(&calls, 0, 1), function(callee, 0, 0)];
    assert_eq!(check(&program(&integer)), 2);
    for (callee, quick) in other.iter().zip([2, 1, 0, 0]) {
        // One by one, more is known.
        assert_eq!(check(&program(callee)), quick, "{callee:?}");
    }
    let argument = code(&[I::Call { function: 1, argc: 1 }, RETURN]);
    assert_eq!(check(&[function(&argument, 0, 1), function(&integer, 0, 0)]), 0);
    assert_eq!(check(&[function(&argument, 0, 1)]), 0);
}

#[test]
fn functions_begin_again_when_a_guess_was_wrong() {
    let calls = code(&[I::Call { function: 1, argc: 0 }, set(0), I::RetVoid]);
    let returns = code(&[I::ConstF64 { dest: 0, bits: 0 }, RETURN]);
    let functions = [function(&calls, 0, 1), function(&returns, 0, 0)];
    let mut seen = Vec::new();
    Compiler::new().program(functions.to_vec(), |index, _| seen.push(index)).unwrap();
    assert_eq!(seen, [0, 1, 0, 1]);
}

/// A function that went one way for want of memory may not be entered as if it had gone the other.
#[test]
fn values_are_where_the_way_says_that_the_function_went() {
    let assembled = assemble(
        "function f, 1, 3\nCONST_I64_PUSH 0\nPOP_STORE 2\nagain:\nLOAD_PUSH 2\nLOAD_PUSH 0\n\
         LT_JMP_IF_NOT done\nLOAD_PUSH 2\nLOAD_PUSH 0\nADD_I64\nPOP_STORE 2\nJMP again\n\
         done:\nLOAD 0, 2\nRET 0\n",
    );
    let assembled = assembled.unwrap();
    let Assembled { code, params, locals, .. } = &assembled[0];
    let functions = [FunctionCode { code, params: *params, locals: *locals }];
    let program = Verifier::new().verify(functions.to_vec()).unwrap();
    let filled = |compiler: &mut Compiler, is_quick| {
        let mut image = Image::default();
        let places = compiler.places(&program, 0, is_quick).unwrap();
        places.fill(&mut image, &[11, 22, 33], &[]).unwrap();
        (image.registers, image.words, image.below, image.return_address)
    };
    let images = [false, true].map(|is_thorough| {
        let mut compiler = Compiler::new();
        compiler.be_thorough(is_thorough);
        let is_quick = compiler.function(&program, 0).unwrap().is_quick;
        assert_eq!(is_quick, !is_thorough);
        let image = filled(&mut compiler, is_quick);
        compiler.be_thorough(!is_thorough);
        assert_eq!(filled(&mut compiler, is_quick), image);
        image
    });
    assert_ne!(images[0], images[1], "homes by number, and by use");
}

//! Unwind rows at every instruction, against a simulation of stack pointer, frame pointer and saved registers.

use std::collections::BTreeMap;
use std::vec::Vec;

use super::super::Hint;
use crate::codegen::unwind::{UnwindOp, UnwindRow};
use crate::codegen::{Aarch64Compiler, Options, TrapConvention};
use crate::ir::{
    Argument, Arguments, Binary, Condition, Function, FunctionBuilder, Scalar, Verified,
};

use crate::testing::scale;

const I64: Scalar = Scalar::I64;
const F64: Scalar = Scalar::F64;

/// The shape of a function.
#[derive(Clone, Copy, Debug)]
struct Shape {
    /// Locals that are live across a call.
    ints: u16,
    floats: u16,
    slot: u32,
    ends_in_tail_call: bool,
    options: Options,
}

fn build(shape: Shape) -> Vec<u8> {
    let mut f = FunctionBuilder::new(0, Some(I64.into()));
    f.param(Scalar::Pointer);
    let a = f.param(I64);
    let skip = f.label();
    if shape.slot > 0 {
        let slot = f.slot(shape.slot, 16);
        let pointer = f.local(Scalar::Pointer);
        f.slot_address(pointer, slot, 0);
        f.store(I64, a, pointer, 0);
    }
    let ints: Vec<_> = (0..shape.ints).map(|_| f.local(I64)).collect();
    let floats: Vec<_> = (0..shape.floats).map(|_| f.local(F64)).collect();
    for (number, &int) in (0..).zip(&ints) {
        f.binary(Binary::AddChecked, I64, int, a, number);
    }
    for (number, &float) in (0..).zip(&floats) {
        f.convert(F64, float, I64, a);
        f.binary(Binary::Add, F64, float, float, number);
    }
    if shape.ints + shape.floats > 0 {
        f.call_host("host", None, &[]);
    }
    // Two ends, so that rules must hold behind the first one.
    f.branch(Condition::Less, I64, a, 0, skip);
    f.return_value(I64, a);
    f.bind(skip);
    for _ in 0..3 {
        ints.iter().for_each(|&int| f.binary(Binary::Xor, I64, a, a, int));
        for &float in &floats {
            let back = f.local(I64);
            f.convert(I64, back, F64, float);
            f.binary(Binary::Divide, I64, a, a, back);
        }
    }
    match shape.ends_in_tail_call {
        true => f.return_call_function(1, &[a]),
        false => f.return_value(I64, a),
    }
    f.finish().unwrap()
}

/// The machine at an instruction. Addresses count from the canonical frame address, which is the stack pointer at the
/// entry.
#[derive(Clone, Debug, Default, PartialEq)]
struct State {
    sp: i64,
    fp: Option<i64>,
    /// Registers whose value of the entry lies at an address only, by DWARF number.
    saved: BTreeMap<u8, i64>,
    is_signed: bool,
}

impl State {
    /// Executes an instruction; whether it ends the code.
    fn step(&mut self, word: u32) -> bool {
        let [low, high] = [word & 31, word >> 10 & 31].map(|number| number as u8);
        let pair = i64::from((word << 10) as i32 >> 25) * 8;
        let unscaled = i64::from((word << 11) as i32 >> 23);
        let is_frame_base = word >> 5 & 31 == 29;
        match word {
            0xa9bf_7bfd => {
                self.sp -= 16;
                self.saved.extend([(29, self.sp), (30, self.sp + 8)]);
            }
            0x9100_03fd => self.fp = Some(self.sp),
            0x9100_03bf => self.sp = self.fp.unwrap(),
            0xa8c1_7bfd => {
                assert_eq!(self.saved.remove(&29), Some(self.sp));
                assert_eq!(self.saved.remove(&30), Some(self.sp + 8));
                (self.sp, self.fp) = (self.sp + 16, None);
            }
            // SUB (immediate) of the stack pointer.
            _ if word & 0xff80_03ff == 0xd100_03ff => {
                let shift = if word >> 22 & 1 == 1 { 12 } else { 0 };
                self.sp -= i64::from(word >> 10 & 0xfff) << shift;
            }
            // STP, LDP, STUR and LDUR from the frame pointer.
            _ if is_frame_base && word >> 22 == 0x2a4 => self.save([low, high], pair),
            _ if is_frame_base && word >> 22 == 0x2a5 => self.restore([low, high], pair),
            _ if is_frame_base && word >> 22 == 0x1b4 => self.save([low + 64, high + 64], pair),
            _ if is_frame_base && word >> 22 == 0x1b5 => self.restore([low + 64, high + 64], pair),
            _ if is_frame_base && word >> 21 == 0x7c0 => self.save([low], unscaled),
            _ if is_frame_base && word >> 21 == 0x7c2 => self.restore([low], unscaled),
            _ if is_frame_base && word >> 21 == 0x7e0 => self.save([low + 64], unscaled),
            _ if is_frame_base && word >> 21 == 0x7e2 => self.restore([low + 64], unscaled),
            _ if word == Hint::PACIASP.0 => self.is_signed = true,
            _ if word == Hint::AUTIASP.0 => self.is_signed = false,
            // RET, BR, B.
            0xd65f_03c0 => return true,
            _ => return word & 0xffff_fc1f == 0xd61f_0000 || word >> 26 == 5,
        }
        false
    }

    fn save<const N: usize>(&mut self, registers: [u8; N], offset: i64) {
        let addresses = (0..).step_by(8).map(|more| self.fp.unwrap() + offset + more);
        self.saved.extend(registers.into_iter().zip(addresses));
    }

    fn restore<const N: usize>(&mut self, registers: [u8; N], offset: i64) {
        for (register, more) in registers.into_iter().zip((0..).step_by(8)) {
            assert_eq!(self.saved.remove(&register), Some(self.fp.unwrap() + offset + more));
        }
    }
}

/// What the rows say.
#[derive(Clone, Debug)]
struct Rules {
    cfa: (u8, i64),
    saved: BTreeMap<u8, i64>,
    is_signed: bool,
}

fn apply(rules: &mut Rules, stack: &mut Vec<Rules>, op: UnwindOp) {
    match op {
        UnwindOp::DefineCfa { register, offset } => rules.cfa = (register, offset.into()),
        UnwindOp::Saved { register, below } => {
            rules.saved.insert(register, -i64::from(below));
        }
        UnwindOp::Restored { register } => {
            rules.saved.remove(&register);
        }
        UnwindOp::RememberState => stack.push(rules.clone()),
        UnwindOp::RestoreState => *rules = stack.pop().unwrap(),
        UnwindOp::NegateReturnAddressState => rules.is_signed = !rules.is_signed,
    }
}

fn check(shape: Shape, compiler: &mut Aarch64Compiler) -> (usize, usize) {
    let bytes = build(shape);
    let verified = Verified::new(Function::parse(&bytes).unwrap()).unwrap();
    let instance = verified.instance(Arguments::new(&[] as &[Argument]).unwrap()).unwrap();
    let code = compiler.compile(&instance, &shape.options).unwrap();
    let mut rows = code.unwind.iter().peekable();
    let mut rules = Rules { cfa: (31, 0), saved: BTreeMap::new(), is_signed: false };
    let (mut stack, mut state, mut whole) = (Vec::new(), State::default(), State::default());
    let mut most = 0;
    let instructions = code.bytes[..code.code_size as usize].chunks_exact(4);
    for (word, offset) in instructions.zip((0u32..).step_by(4)) {
        while let Some(&UnwindRow { op, .. }) = rows.next_if(|row| row.offset <= offset) {
            apply(&mut rules, &mut stack, op);
        }
        let base = if rules.cfa.0 == 31 { state.sp } else { state.fp.unwrap() };
        assert_eq!(base + rules.cfa.1, 0, "at {offset}: {rules:?} {state:?} {shape:?}");
        assert_eq!(rules.saved, state.saved, "at {offset}: {shape:?}");
        assert_eq!(rules.is_signed, state.is_signed, "at {offset}: {shape:?}");
        assert!(state.saved.values().all(|&address| address >= state.sp), "at {offset}: {shape:?}");
        if state.saved.len() >= most {
            (most, whole) = (state.saved.len(), state.clone());
        }
        if state.step(u32::from_le_bytes(word.try_into().unwrap())) && state.sp == 0 {
            state = whole.clone();
        }
    }
    (most, code.unwind.len())
}

#[test]
fn rows_are_exact_at_every_instruction() {
    let mut compiler = Aarch64Compiler::new();
    let context = TrapConvention::Context { handler_offset: 8 };
    let mut saved = 0;
    // The step of the sample has no factor in common with the product, so that each value of each factor comes up.
    for number in (0..13 * 10 * 2 * 2 * 2 * 3).step_by(scale(1, 7)) {
        let traps = if number / 130 % 2 == 0 { TrapConvention::Hook } else { context };
        let sign_return_address = number / 260 % 2 == 1;
        let options = Options { traps, sign_return_address, ..Options::default() };
        let shape = Shape {
            ints: number % 13,
            floats: number / 13 % 10,
            ends_in_tail_call: number / 520 % 2 == 1,
            slot: [0, 64, 5000][usize::from(number / 1040 % 3)],
            options,
        };
        let (most, rows) = check(shape, &mut compiler);
        assert_eq!(most == 0, rows == 0, "{shape:?}");
        saved = saved.max(most);
    }
    // x19 to x28, d8 to d15, and the frame record.
    assert_eq!(saved, 20);
}

/// Found: the upper half of the product was computed in x30, which only a function with a frame saves.
#[test]
fn checked_product_in_the_place_of_the_context_leaves_the_return_address() {
    let mut f = FunctionBuilder::new(0, Some(I64.into()));
    f.param(Scalar::Pointer);
    // x1 to x15 stay in use, so that the product takes x0, in which the trap reads the context.
    let params: Vec<_> = (0..7).map(|_| f.param(I64)).collect();
    let others: Vec<_> = (0..8).map(|_| f.local(I64)).collect();
    others.iter().for_each(|&other| f.constant(I64, other, 9));
    let product = f.local(I64);
    f.binary(Binary::MultiplyChecked, I64, product, params[0], 5);
    for &used in params.iter().chain(&others) {
        f.binary(Binary::Xor, I64, product, product, used);
    }
    f.return_value(I64, product);
    let bytes = f.finish().unwrap();
    let verified = Verified::new(Function::parse(&bytes).unwrap()).unwrap();
    let instance = verified.instance(Arguments::new(&[] as &[Argument]).unwrap()).unwrap();
    let traps = TrapConvention::Context { handler_offset: 8 };
    let mut compiler = Aarch64Compiler::new();
    let code = compiler.compile(&instance, &Options { traps, ..Options::default() }).unwrap();
    assert_eq!(code.frame_size, 0);
    let words = code.bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word));
    // MADD, SMULH. Source: DDI 0487, C4.1 "Data-processing (3 source)".
    let products: Vec<u32> = words.filter(|word| word >> 24 == 0x9b).collect();
    assert_eq!(products.len(), 2);
    assert!(products.iter().all(|word| word & 31 != 30), "{products:x?}");
}

//! Unwind rows against a simulation of the stack, instruction by instruction, and against their encoding.

use std::collections::BTreeMap;
use std::vec::Vec;

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory};
use iced_x86::{OpAccess, OpKind, Register};

use super::harness::{CONTEXT, plain, verified};
use crate::codegen::unwind::{UnwindOp, UnwindRow, UnwindTable, encode_rows};
use crate::codegen::{CompiledFunction, Options, X64Compiler};
use crate::ir::{Binary, Condition, FunctionBuilder, Local, Scalar};

const CALLEE_SAVED: [Register; 6] =
    [Register::RBX, Register::RBP, Register::R12, Register::R13, Register::R14, Register::R15];

/// DWARF numbers. Source: System V ABI, AMD64 supplement, figure 3.36.
fn dwarf(register: Register) -> u8 {
    match register {
        Register::RBX => 3,
        Register::RBP => 6,
        Register::RSP => 7,
        Register::R12 => 12,
        Register::R13 => 13,
        Register::R14 => 14,
        Register::R15 => 15,
        other => panic!("{other:?}"),
    }
}

/// What the stack and the registers hold, with addresses relative to the canonical frame address.
#[derive(Clone, Debug, PartialEq)]
struct Machine {
    stack_pointer: i64,
    /// The frame pointer, once it is set.
    frame_pointer: Option<i64>,
    /// The registers that have the caller's values.
    intact: Vec<Register>,
    /// Where the stack holds the caller's values.
    saved: BTreeMap<i64, Register>,
}

impl Machine {
    fn entry() -> Self {
        let intact = CALLEE_SAVED.to_vec();
        Self { stack_pointer: -8, frame_pointer: None, intact, saved: BTreeMap::new() }
    }

    fn step(&mut self, i: &Instruction, factory: &mut InstructionInfoFactory) {
        let operand = i.op0_register();
        match i.code() {
            Code::Push_r64 => {
                self.stack_pointer -= 8;
                if self.intact.contains(&operand) {
                    self.saved.insert(self.stack_pointer, operand);
                }
            }
            Code::Pop_r64 => {
                let at = self.stack_pointer;
                self.stack_pointer += 8;
                self.intact.retain(|&register| register != operand);
                if self.saved.get(&at) == Some(&operand) {
                    self.intact.push(operand);
                }
                if operand == Register::RBP {
                    self.frame_pointer = None;
                }
            }
            _ if operand == Register::RSP && writes_first(i, factory) => self.adjust(i),
            _ if operand == Register::RBP && writes_first(i, factory) => {
                assert_eq!(i.op1_register(), Register::RSP, "{i}");
                self.frame_pointer = Some(self.stack_pointer);
                self.intact.retain(|&register| register != operand);
            }
            _ => self.others(i, factory),
        }
    }

    fn adjust(&mut self, i: &Instruction) {
        self.stack_pointer = match i.op1_kind() {
            OpKind::Register => {
                assert_eq!(i.op1_register(), Register::RBP, "{i}");
                self.frame_pointer.unwrap()
            }
            OpKind::Memory => {
                assert_eq!(i.memory_base(), Register::RBP, "{i}");
                self.frame_pointer.unwrap() + i.memory_displacement64() as i64
            }
            _ => {
                let sign = if i.mnemonic() == iced_x86::Mnemonic::Sub { -1 } else { 1 };
                self.stack_pointer + sign * i.immediate(1) as i64
            }
        };
    }

    /// Registers that are overwritten, and memory in the frame.
    fn others(&mut self, i: &Instruction, factory: &mut InstructionInfoFactory) {
        let info = factory.info(i).clone();
        let writes = |access| {
            matches!(
                access,
                OpAccess::Write
                    | OpAccess::ReadWrite
                    | OpAccess::CondWrite
                    | OpAccess::ReadCondWrite
            )
        };
        for used in info.used_registers().iter().filter(|used| writes(used.access())) {
            let full = used.register().full_register();
            if i.flow_control() != FlowControl::Call
                && i.flow_control() != FlowControl::IndirectCall
            {
                assert!(full != Register::RSP || i.flow_control() == FlowControl::Return, "{i}");
            }
            self.intact.retain(|&register| register != full);
        }
        if i.op_count() > 0 && i.op0_kind() == OpKind::Memory && writes_first(i, factory) {
            let base = match i.memory_base() {
                Register::RBP => self.frame_pointer,
                Register::RSP => Some(self.stack_pointer),
                _ => None,
            };
            let at = base.map(|base| base + i.memory_displacement64() as i64);
            if let Some(at) = at {
                assert!(!self.saved.contains_key(&at), "{i} overwrites a saved register");
                assert!(at >= self.stack_pointer, "{i} writes below the stack pointer");
            }
        }
    }
}

fn writes_first(i: &Instruction, factory: &mut InstructionInfoFactory) -> bool {
    let access = factory.info(i).op0_access();
    matches!(access, OpAccess::Write | OpAccess::ReadWrite)
}

/// The rules at an offset.
#[derive(Clone, Debug, PartialEq)]
struct Rules {
    register: u8,
    offset: u32,
    saved: BTreeMap<u8, u32>,
}

fn rules_at(rows: &[UnwindRow], offset: u32) -> Rules {
    let mut rules = Rules { register: 7, offset: 8, saved: BTreeMap::new() };
    let mut remembered = Vec::new();
    for row in rows.iter().take_while(|row| row.offset <= offset) {
        match row.op {
            UnwindOp::DefineCfa { register, offset } => {
                (rules.register, rules.offset) = (register, offset)
            }
            UnwindOp::Saved { register, below } => drop(rules.saved.insert(register, below)),
            UnwindOp::Restored { register } => drop(rules.saved.remove(&register)),
            UnwindOp::RememberState => remembered.push(rules.clone()),
            UnwindOp::RestoreState => rules = remembered.pop().unwrap(),
            UnwindOp::NegateReturnAddressState => panic!("aarch64 alone"),
        }
    }
    rules
}

/// The rules lead to the canonical frame address and to the caller's registers.
fn check_rules(machine: &Machine, rules: &Rules, i: &Instruction) {
    let base = match rules.register {
        6 => machine.frame_pointer.unwrap_or_else(|| panic!("no frame pointer at {i}")),
        7 => machine.stack_pointer,
        other => panic!("register {other}"),
    };
    assert_eq!(base + i64::from(rules.offset), 0, "at {:x}: {i}", i.ip());
    for register in CALLEE_SAVED {
        match rules.saved.get(&dwarf(register)) {
            Some(&below) => {
                let found = machine.saved.get(&-i64::from(below));
                assert_eq!(found, Some(&register), "at {:x}: {i}", i.ip());
            }
            None => {
                assert!(machine.intact.contains(&register), "{register:?} at {:x}: {i}", i.ip())
            }
        }
    }
}

/// Follows all paths. Returns the number of instructions.
fn check_code(code: &CompiledFunction<'_>) -> usize {
    let mut factory = InstructionInfoFactory::new();
    let mut states: BTreeMap<u64, Machine> = BTreeMap::new();
    let mut open = std::vec![(0u64, Machine::entry())];
    while let Some((at, mut machine)) = open.pop() {
        if let Some(known) = states.get(&at) {
            // Registers that hold locals may differ.
            assert_eq!(known.stack_pointer, machine.stack_pointer, "at {at:x}");
            continue;
        }
        states.insert(at, machine.clone());
        let bytes = &code.bytes[at as usize..code.code_size as usize];
        let i = Decoder::with_ip(64, bytes, at, DecoderOptions::NONE).decode();
        assert!(!i.is_invalid());
        check_rules(&machine, &rules_at(code.unwind, at as u32), &i);
        machine.step(&i, &mut factory);
        let target = i.near_branch64();
        match i.flow_control() {
            FlowControl::Return | FlowControl::IndirectBranch => {}
            // To the hook, or a tail call: not resolved, so that it leads to the next instruction.
            FlowControl::UnconditionalBranch if target == i.next_ip() && i.len() == 5 => {}
            FlowControl::UnconditionalBranch => open.push((target, machine)),
            FlowControl::ConditionalBranch => {
                open.push((target, machine.clone()));
                open.push((i.next_ip(), machine));
            }
            _ => open.push((i.next_ip(), machine)),
        }
    }
    states.len()
}

/// A function with returns in the middle, calls, and more locals than registers.
fn function(locals: usize, calls: bool, traps: bool, slot: bool) -> Vec<u8> {
    let mut f = FunctionBuilder::new(0, Some(Scalar::I64.into()));
    let context = f.param(Scalar::Pointer);
    let a = f.param(Scalar::I64);
    let all: Vec<Local> = (0..locals).map(|_| f.local(Scalar::I64)).collect();
    for (number, &local) in (0..).zip(&all) {
        f.binary(Binary::Add, Scalar::I64, local, a, number);
    }
    if slot {
        let slot = f.slot(100, 16);
        let pointer = f.local(Scalar::Pointer);
        f.slot_address(pointer, slot, 0);
        f.store(Scalar::I64, a, pointer, 8);
        f.load(Scalar::I64, a, pointer, 8);
    }
    for (number, &local) in (0..).zip(&all) {
        let skip = f.label();
        f.branch(Condition::Less, Scalar::I64, local, 10, skip);
        if number % 3 == 0 {
            f.return_value(Scalar::I64, local);
        } else if calls {
            f.call_function(7, None, &[context, local], Some(Scalar::I64.into()));
        }
        f.bind(skip);
        if traps {
            f.trap_compare(Condition::Greater, Scalar::I64, local, 100, 9);
        }
        f.binary(Binary::Xor, Scalar::I64, a, a, local);
    }
    if calls && locals.is_multiple_of(2) {
        f.return_call_function(8, &[context, a]);
    } else {
        f.return_value(Scalar::I64, a);
    }
    f.finish().unwrap()
}

#[test]
fn rows_are_exact_at_every_instruction() {
    let mut compiler = X64Compiler::new();
    let mut instructions = 0;
    for locals in 0..24 {
        for bits in 0..16 {
            let bytes = function(locals, bits & 1 != 0, bits & 2 != 0, bits & 4 != 0);
            let options = if bits & 8 != 0 { CONTEXT } else { Options::default() };
            let verified = verified(&bytes);
            let code = compiler.compile(&plain(&verified), &options).unwrap();
            instructions += check_code(&code);
            // No frame without a need.
            let has_frame = bits & 5 != 0 && (bits & 4 != 0 || locals > 0);
            assert!(has_frame || locals > 4 || code.unwind.is_empty(), "{locals} {bits}");
        }
    }
    assert!(instructions > 10_000, "{instructions}");
}

#[test]
fn encoding_leads_back_to_the_rows() {
    let mut compiler = X64Compiler::new();
    let machine = X64Compiler::unwind_machine();
    for locals in [0, 3, 9, 23] {
        let bytes = function(locals, true, true, true);
        let verified = verified(&bytes);
        let code = compiler.compile(&plain(&verified), &Options::default()).unwrap();
        let (address, size) = (0x1234_5678_9abc, u64::from(code.code_size));
        let mut table = UnwindTable::new(machine).unwrap();
        // The functions of one section share the common record.
        let places = [(address, size), (address + size + 7, size / 2)];
        for (address, size) in places {
            let instructions = encode_rows(&machine, code.unwind).unwrap();
            table.add(&instructions, address as usize, size as usize).unwrap();
        }
        let section = table.finish().unwrap();
        for (number, (address, size)) in places.into_iter().enumerate() {
            assert_eq!(decode(&section, number, address, size), code.unwind);
        }
    }
}

struct Reader<'r>(&'r [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (taken, rest) = self.0.split_first_chunk().unwrap();
        self.0 = rest;
        *taken
    }

    fn byte(&mut self) -> u8 {
        let [byte] = self.take();
        byte
    }

    fn uleb(&mut self) -> u32 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = self.byte();
            value |= u32::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return value;
            }
        }
    }
}

/// The rows of FDE `number` of the two in a section.
fn decode(section: &[u8], number: usize, address: u64, size: u64) -> Vec<UnwindRow> {
    let mut reader = Reader(section);
    let cie_len = u32::from_le_bytes(reader.take()) as usize;
    assert_eq!(section[4..8], [0; 4]);
    // Version 1, "zR", code alignment 1, data alignment -8, return address 16, absolute addresses.
    assert_eq!(section[8..17], [1, b'z', b'R', 0, 1, 0x78, 16, 1, 0]);
    assert_eq!(section[17..22], [0x0c, 7, 8, 0x90, 1]);
    let mut start = 4 + cie_len;
    for _ in 0..number {
        start += 4 + u32::from_le_bytes(Reader(&section[start..]).take()) as usize;
    }
    let mut reader = Reader(&section[start..]);
    let len = u32::from_le_bytes(reader.take()) as usize;
    assert_eq!(u32::from_le_bytes(reader.take()) as usize, start + 4);
    assert_eq!(u64::from_le_bytes(reader.take()), address);
    assert_eq!(u64::from_le_bytes(reader.take()), size);
    assert_eq!(reader.byte(), 0);
    let rest = len - 4 - 16 - 1;
    let is_last = number == 1;
    assert_eq!(reader.0[rest..] == [0; 4], is_last, "a terminator and nothing else");
    reader.0 = &reader.0[..rest];
    let (mut rows, mut offset) = (Vec::new(), 0);
    while !reader.0.is_empty() {
        let byte = reader.byte();
        let op = match (byte >> 6, byte) {
            (1, _) => {
                offset += u32::from(byte & 0x3f);
                continue;
            }
            (2, _) => UnwindOp::Saved { register: byte & 0x3f, below: 8 * reader.uleb() },
            (3, _) => UnwindOp::Restored { register: byte & 0x3f },
            (_, 0) => continue,
            (_, 2) => {
                offset += u32::from(reader.byte());
                continue;
            }
            (_, 3) => {
                offset += u32::from(u16::from_le_bytes(reader.take()));
                continue;
            }
            (_, 0x0a) => UnwindOp::RememberState,
            (_, 0x0b) => UnwindOp::RestoreState,
            (_, 0x0c) => UnwindOp::DefineCfa { register: reader.byte(), offset: reader.uleb() },
            _ => panic!("0x{byte:x}"),
        };
        rows.push(UnwindRow { offset, op });
    }
    rows
}

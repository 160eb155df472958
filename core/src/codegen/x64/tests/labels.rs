//! Random programs with labels, compared with a naive assembler that lays out the program anew for each
//! line.

use crate::codegen::machine::without_cuts;
use std::vec::Vec;

use super::super::*;
use super::reader::Random;
use crate::testing::some;

/// A line of a program.
#[derive(Clone, Copy, Debug)]
enum Line {
    /// This number of position-independent bytes: `mov eax, imm32` and `nop` alternately.
    Plain(u32),
    Bind(usize),
    Jmp(usize),
    Jcc(Cond, usize),
    JmpShort(usize),
    Call(usize),
    /// `lea` of a label.
    Lea(usize),
    /// `cmp dword [rip + label], imm32`: bytes follow the distance.
    Compare(usize),
    /// A call of an external target.
    Outside(u32),
    /// The address of an external target, in an immediate.
    Address(u32),
    /// The address of an external target, by its distance.
    Distance(u32),
    /// A literal byte.
    Byte,
    /// A query of the current offset.
    Offset,
    Align(u32),
}

fn put(line: Line, labels: &[Label], asm: &mut Assembler) {
    match line {
        Line::Plain(len) => {
            (0..len / 5).for_each(|_| asm.mov(W32, Gpr::Rax, 0x0101_0101));
            (0..len % 5).for_each(|_| asm.push(Gpr::Rax));
        }
        Line::Bind(label) => asm.bind(labels[label]),
        Line::Jmp(label) => asm.jmp(labels[label]),
        Line::Jcc(cond, label) => asm.jcc(cond, labels[label]),
        Line::JmpShort(label) => asm.jmp_short(labels[label]),
        Line::Call(label) => asm.call(labels[label]),
        Line::Lea(label) => asm.lea(W64, Gpr::Rax, Rip::Label(labels[label])),
        Line::Compare(label) => asm.cmp(W32, Rip::Label(labels[label]), 0x0101_0101),
        Line::Outside(target) => asm.call_symbol(target),
        Line::Address(target) => asm.mov_symbol(Gpr::Rax, target, 0),
        Line::Distance(target) => {
            asm.lea(W64, Gpr::Rax, Rip::Symbol { target, addend: 0 });
        }
        Line::Byte => asm.bytes(&[0x90]),
        Line::Offset => {
            asm.offset();
        }
        Line::Align(alignment) => asm.align(alignment),
    }
}

/// The naive assembler: chooses the form of one jump after the other, with the layout that results from the
/// previous choices.
struct Naive<'p> {
    program: &'p [Line],
    /// The offset of each line, and of the end.
    offsets: Vec<i64>,
    /// Whether each line is a jump in its short form, or elided.
    forms: Vec<Form>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Near,
    Short,
    Gone,
}

impl<'p> Naive<'p> {
    fn new(program: &'p [Line], relaxes: bool) -> Self {
        let forms = std::vec![Form::Near; program.len()];
        let mut naive = Self { program, offsets: Vec::new(), forms };
        // The form of a jump back depends on the forms of the jumps back before it, that of a jump forward on the forms
        // of all jumps behind it.
        for line in 0..program.len() {
            naive.place();
            naive.forms[line] = naive.form_back(line);
        }
        for line in (0..program.len()).rev().filter(|_| relaxes) {
            naive.place();
            naive.forms[line] = naive.form_forward(line);
        }
        naive.place();
        naive
    }

    fn place(&mut self) {
        self.offsets.clear();
        let mut at = 0;
        for (line, form) in self.program.iter().zip(&self.forms) {
            self.offsets.push(at);
            at += match (*line, *form) {
                (Line::Plain(len), _) => i64::from(len),
                (Line::Bind(_) | Line::Offset, _) | (_, Form::Gone) => 0,
                (Line::Jmp(_) | Line::Jcc(..), Form::Short) | (Line::JmpShort(_), _) => 2,
                (Line::Jmp(_) | Line::Call(_) | Line::Outside(_), _) => 5,
                (Line::Jcc(..), _) => 6,
                (Line::Lea(_) | Line::Distance(_), _) => 7,
                (Line::Address(_), _) => 10,
                (Line::Byte, _) => 1,
                (Line::Compare(_), _) => 10,
                (Line::Align(alignment), _) => -at & (i64::from(alignment) - 1),
            };
        }
        self.offsets.push(at);
    }

    fn line_of(&self, label: usize) -> usize {
        let is_it = |line: &Line| matches!(line, Line::Bind(bound) if *bound == label);
        self.program.iter().position(is_it).unwrap()
    }

    fn target(&self, label: usize) -> i64 {
        self.offsets[self.line_of(label)]
    }

    /// The line of the label of a jump.
    fn label_of(&self, line: usize) -> Option<usize> {
        match self.program[line] {
            Line::Jmp(label) | Line::Jcc(_, label) => Some(self.line_of(label)),
            _ => None,
        }
    }

    fn form_back(&self, line: usize) -> Form {
        let bound = self.label_of(line).filter(|bound| *bound < line);
        let distance = bound.map(|bound| self.offsets[bound] - (self.offsets[line] + 2));
        if distance.is_some_and(|distance| distance >= -128) { Form::Short } else { Form::Near }
    }

    fn form_forward(&self, line: usize) -> Form {
        let bound = self.label_of(line).filter(|bound| *bound > line);
        match bound.map(|bound| self.offsets[bound] - self.offsets[line + 1]) {
            Some(0) => Form::Gone,
            Some(1..=127) => Form::Short,
            _ => self.forms[line],
        }
    }

    /// The bytes, and the relocations as offset and target.
    fn assemble(&self) -> (Vec<u8>, Vec<(u32, u32)>) {
        let (mut bytes, mut outside) = (Vec::<u8>::new(), Vec::new());
        for (index, line) in self.program.iter().enumerate() {
            let end = self.offsets[index + 1];
            let near = |label| i32::try_from(self.target(label) - end).unwrap().to_le_bytes();
            let short = |label| i8::try_from(self.target(label) - end).unwrap().to_le_bytes();
            match (*line, self.forms[index]) {
                (_, Form::Gone) | (Line::Bind(_) | Line::Offset, _) => {}
                (Line::Plain(len), _) => {
                    (0..len / 5).for_each(|_| bytes.extend([0xb8, 1, 1, 1, 1]));
                    (0..len % 5).for_each(|_| bytes.push(0x50));
                }
                (Line::JmpShort(label), _) | (Line::Jmp(label), Form::Short) => {
                    bytes.push(0xeb);
                    bytes.extend(short(label));
                }
                (Line::Jcc(cond, label), Form::Short) => {
                    bytes.push(0x70 + cond.number());
                    bytes.extend(short(label));
                }
                (Line::Jmp(label), _) => {
                    bytes.push(0xe9);
                    bytes.extend(near(label));
                }
                (Line::Jcc(cond, label), _) => {
                    bytes.extend([0x0f, 0x80 + cond.number()]);
                    bytes.extend(near(label));
                }
                (Line::Call(label), _) => {
                    bytes.push(0xe8);
                    bytes.extend(near(label));
                }
                (Line::Lea(label), _) => {
                    bytes.extend([0x48, 0x8d, 0x05]);
                    bytes.extend(near(label));
                }
                (Line::Compare(label), _) => {
                    bytes.extend([0x81, 0x3d]);
                    bytes.extend(near(label));
                    bytes.extend([1; 4]);
                }
                (Line::Outside(target), _) => {
                    outside.push((bytes.len() as u32 + 1, target));
                    bytes.extend([0xe8, 0, 0, 0, 0]);
                }
                (Line::Distance(target), _) => {
                    outside.push((bytes.len() as u32 + 3, target));
                    bytes.extend([0x48, 0x8d, 0x05, 0, 0, 0, 0]);
                }
                (Line::Address(target), _) => {
                    outside.push((bytes.len() as u32 + 2, target));
                    bytes.extend([0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0]);
                }
                (Line::Byte, _) => bytes.push(0x90),
                // The encoding of nops is not compared here.
                (Line::Align(_), _) => bytes.resize(usize::try_from(end).unwrap(), 0x90),
            }
        }
        (bytes, outside)
    }
}

/// A program that binds each of its labels once.
fn program(random: &mut Random) -> (Vec<Line>, usize) {
    let labels = 1 + random.below(8);
    let lines = 1 + random.below(40);
    let mut program: Vec<Line> = (0..lines)
        .map(|_| {
            let label = random.below(labels);
            match random.below(20) {
                0..=4 => Line::Jmp(label),
                5..=9 => Line::Jcc(random.pick(&Cond::ALL), label),
                10 => Line::Call(label),
                11 => Line::Lea(label),
                12 => Line::Compare(label),
                13 => {
                    let outside = [Line::Outside, Line::Address, Line::Distance];
                    random.pick(&outside)(random.next() as u32)
                }
                14 if random.below(4) == 0 => Line::Offset,
                15 if random.below(4) == 0 => Line::Align(random.pick(&[2, 16, 32])),
                16 => Line::Plain(random.below(300) as u32),
                17 if random.below(4) == 0 => Line::Byte,
                _ => Line::Plain(random.below(20) as u32),
            }
        })
        .collect();
    for label in 0..labels {
        program.insert(random.below(program.len() + 1), Line::Bind(label));
    }
    // A promised short jump that holds: over a few bytes to a label of its own.
    if random.next() & 1 == 0 {
        let at = random.below(program.len() + 1);
        let over = Line::Plain(random.below(128) as u32);
        program.splice(at..at, [Line::JmpShort(labels), over, Line::Bind(labels)]);
    }
    (program, labels + 1)
}

/// Replaces all padding between instructions by single nops.
fn with_plain_nops(naive: &Naive<'_>, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (line, ends) in naive.program.iter().zip(naive.offsets.windows(2)) {
        if matches!(line, Line::Align(_)) {
            bytes[ends[0] as usize..ends[1] as usize].fill(0x90);
        }
    }
    bytes
}

fn check(program: &[Line], count: usize, asm: &mut Assembler) -> usize {
    let labels: Vec<Label> = (0..count).map(|_| asm.label()).collect();
    program.iter().for_each(|line| put(*line, &labels, asm));
    compare(&Naive::new(program, false), asm)
}

fn compare(naive: &Naive<'_>, asm: &mut Assembler) -> usize {
    let program = naive.program;
    let (bytes, outside) = naive.assemble();
    let code = asm.code().unwrap();
    assert_eq!(with_plain_nops(naive, code.bytes), bytes, "{program:?}");
    let found: Vec<_> = code.relocations.iter().map(|at| (at.offset, at.target)).collect();
    assert_eq!(found, outside, "{program:?}");
    bytes.len()
}

#[test]
fn labels_agree_with_a_naive_assembler() {
    let mut random = Random(3);
    let mut asm = Assembler::new();
    for _ in some(0..20_000, 20) {
        let (program, labels) = program(&mut random);
        asm.clear();
        check(&program, labels, &mut asm);
    }
}

#[test]
fn relaxed_jumps_agree_with_a_naive_assembler() {
    let mut random = Random(5);
    let mut asm = Assembler::new();
    for _ in some(0..20_000, 20) {
        let (mut program, count) = program(&mut random);
        program.retain(|line| !matches!(line, Line::Align(_)));
        // A label behind all code that moves.
        let last = count;
        for line in &mut program {
            match line {
                Line::Lea(label) | Line::Compare(label) if random.next() & 1 == 0 => *label = last,
                _ => {}
            }
        }
        asm.clear();
        let labels: Vec<Label> = (0..=count).map(|_| asm.label()).collect();
        let mut offsets = Vec::new();
        for line in &program {
            offsets.push(asm.offset());
            put(*line, &labels, &mut asm);
        }
        without_cuts(asm.settle(), offsets.iter_mut());
        for line in [Line::Plain(random.below(20) as u32), Line::Bind(last)] {
            offsets.push(asm.offset());
            put(line, &labels, &mut asm);
            program.push(line);
        }
        let naive = Naive::new(&program, true);
        compare(&naive, &mut asm);
        let found: Vec<i64> = offsets.iter().map(|&offset| offset.into()).collect();
        assert_eq!(found, naive.offsets[..offsets.len()], "{program:?}");
    }
}

#[test]
fn relaxed_jump_without_a_label_is_an_error() {
    let settled = |put: fn(&mut Assembler, Label)| {
        let mut asm = Assembler::new();
        let [_, label] = [asm.label(), asm.label()];
        put(&mut asm, label);
        asm.settle();
        asm.code().map(|code| code.bytes.to_vec())
    };
    let unbound = Err(AssembleError::Unbound { label: 1 });
    assert_eq!(settled(|asm, label| asm.jmp(label)), unbound);
    assert_eq!(settled(|asm, label| asm.jcc_short(Cond::E, label)), unbound);
    assert_eq!(settled(|asm, label| asm.lea(W64, Gpr::Rax, Rip::Label(label))), unbound);
    let far = settled(|asm, label| {
        asm.jmp_short(label);
        asm.nops(128);
        asm.bind(label);
    });
    assert_eq!(far, Err(AssembleError::NotShort { offset: 1, distance: 128 }));
    assert_eq!(settled(|asm, _| asm.ret()), Ok([0xc3].to_vec()));
}

#[test]
fn label_error_is_reported_at_the_end() {
    let assembled = |put: fn(&mut Assembler)| {
        let mut asm = Assembler::new();
        put(&mut asm);
        asm.finish().map(|code| code.bytes)
    };
    let unbound = assembled(|asm| {
        let [_, label] = [asm.label(), asm.label()];
        asm.jmp(label);
        asm.ret();
    });
    assert_eq!(unbound, Err(AssembleError::Unbound { label: 1 }));
    let twice = assembled(|asm| {
        let label = asm.label();
        asm.bind(label);
        asm.ret();
        asm.bind(label);
    });
    assert_eq!(twice, Err(AssembleError::BoundTwice { label: 0, offset: 1 }));
    let unknown = assembled(|asm| asm.jmp(Label(7)));
    assert_eq!(unknown, Err(AssembleError::UnknownLabel { label: 7 }));
    let unused = assembled(|asm| {
        asm.label();
        asm.ret();
    });
    assert_eq!(unused, Ok([0xc3].to_vec()));
}

#[test]
fn short_jump_out_of_range_is_an_error() {
    let over = |len: u32, jumps: u32| {
        let mut asm = Assembler::new();
        let label = asm.label();
        (0..jumps).for_each(|_| asm.jmp_short(label));
        asm.nops(len);
        asm.bind(label);
        asm.finish().map(|code| code.bytes.len())
    };
    assert_eq!(over(127, 1), Ok(129));
    assert_eq!(over(128, 1), Err(AssembleError::NotShort { offset: 1, distance: 128 }));
    assert_eq!(over(125, 2), Ok(129));
    assert_eq!(over(126, 2), Err(AssembleError::NotShort { offset: 1, distance: 128 }));
    assert!(over(0, 65).is_err());
    assert!(over(0, 64).is_ok());
    let back = |len: u32| {
        let mut asm = Assembler::new();
        let label = asm.label();
        asm.bind(label);
        asm.nops(len);
        asm.jmp_short(label);
        asm.finish().map(|code| code.bytes.len())
    };
    assert_eq!(back(126), Ok(128));
    assert_eq!(back(127), Err(AssembleError::NotShort { offset: 128, distance: -129 }));
}

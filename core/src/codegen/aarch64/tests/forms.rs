//! Every form of the instructions on registers with operands of every class.

use std::format;
use std::string::{String, ToString};

use super::super::*;
use super::disassembler::{Random, check, cond_name, disassemble, float_name, name, name_sp};

fn shift_text(kind: ShiftKind, amount: u32) -> String {
    let name = format!("{kind:?}").to_lowercase();
    if amount == 0 && kind == ShiftKind::Lsl {
        String::new()
    } else {
        format!(", {name} #{amount}")
    }
}

#[test]
fn addition() {
    check(&[
        |asm, random| {
            let (op, width) = (random.pick(AddSub::ALL), random.width());
            let [to, left, right] = [random.gpr(), random.gpr(), random.gpr()];
            asm.add_sub(op, width, to, left, right);
            let [to, left, right] = [to, left, right].map(|register| name(register, width));
            format!("{} {to}, {left}, {right}", op.name())
        },
        |asm, random| {
            let (op, width) = (random.pick(AddSub::ALL), random.width());
            let registers = [random.gpr(), random.gpr(), random.gpr()];
            let kind = random.pick(&[ShiftKind::Lsl, ShiftKind::Lsr, ShiftKind::Asr]);
            let amount = random.below(width.bits());
            asm.add_sub_shifted(op, width, registers, (kind, amount));
            let [to, left, right] = registers.map(|register| name(register, width));
            format!("{} {to}, {left}, {right}{}", op.name(), shift_text(kind, amount))
        },
        extended,
        |asm, random| {
            let (op, width) = (random.pick(AddSub::ALL), random.width());
            let [to, left] = [random.gpr(), random.gpr()];
            let imm = random.below(4096);
            let high = random.below(2) == 1;
            let value = if high { imm << 12 } else { imm };
            let imm12 = Imm12::new(value.into()).unwrap();
            assert_eq!(imm12.value(), value);
            asm.add_sub_imm(op, width, to, left, imm12);
            let flags = matches!(op, AddSub::ADDS | AddSub::SUBS);
            let to = if flags { name(to, width) } else { name_sp(to, width) };
            let shift = if high && imm != 0 { ", lsl #12" } else { "" };
            format!("{} {to}, {}, #0x{imm:x}{shift}", op.name(), name_sp(left, width))
        },
    ]);
}

fn extended(asm: &mut Assembler, random: &mut Random) -> String {
    use Extension::*;
    let (op, width) = (random.pick(AddSub::ALL), random.width());
    let registers @ [to, left, right] = [random.gpr(), random.gpr(), random.gpr()];
    let extend = random.pick(&[Uxtb, Uxth, Uxtw, Uxtx, Sxtb, Sxth, Sxtw, Sxtx]);
    let amount = random.below(5);
    asm.add_sub_extended(op, width, registers, (extend, amount));
    let flags = matches!(op, AddSub::ADDS | AddSub::SUBS);
    let is_long = width == Width::W64 && matches!(extend, Uxtx | Sxtx);
    let right = name(right, if is_long { Width::W64 } else { Width::W32 });
    let whole = if width == Width::W64 { Uxtx } else { Uxtw };
    let has_sp = left == Gpr::SP || to == Gpr::SP && !flags;
    let extension = match (extend == whole && has_sp, amount) {
        (true, 0) => String::new(),
        (true, _) => format!(", lsl #{amount}"),
        (false, 0) => format!(", {}", format!("{extend:?}").to_lowercase()),
        (false, _) => format!(", {} #{amount}", format!("{extend:?}").to_lowercase()),
    };
    let to = if flags { name(to, width) } else { name_sp(to, width) };
    format!("{} {to}, {}, {right}{extension}", op.name(), name_sp(left, width))
}

/// A value that is a bit mask: an element of 2 to 64 bits, repeated.
fn mask(random: &mut Random, width: Width) -> u64 {
    let size = random.pick(if width == Width::W64 {
        &[2, 4, 8, 16, 32, 64]
    } else {
        &[2, 4, 8, 16, 32, 32]
    });
    let ones = 1 + random.below(size - 1);
    let run = u64::MAX >> (64 - ones);
    let by = random.below(size);
    let all = u64::MAX >> (64 - size);
    let element = if by == 0 { run } else { (run << by | run >> (size - by)) & all };
    let value = (0..64 / size).fold(0, |value, number| value | element << (number * size));
    if width == Width::W64 { value } else { value & 0xffff_ffff }
}

#[test]
fn logic() {
    check(&[
        |asm, random| {
            let (op, width) = (random.pick(Logical::ALL), random.width());
            let registers = [random.gpr(), random.gpr(), random.gpr()];
            let kind =
                random.pick(&[ShiftKind::Lsl, ShiftKind::Lsr, ShiftKind::Asr, ShiftKind::Ror]);
            let amount = random.below(width.bits());
            asm.logical_shifted(op, width, registers, (kind, amount));
            let [to, left, right] = registers.map(|register| name(register, width));
            format!("{} {to}, {left}, {right}{}", op.name(), shift_text(kind, amount))
        },
        |asm, random| {
            let op = random.pick(&[Logical::AND, Logical::ORR, Logical::EOR, Logical::ANDS]);
            let width = random.width();
            let [to, left] = [random.gpr(), random.gpr()];
            let value = mask(random, width);
            let imm = match width {
                Width::W32 => BitMask::new32(value as u32),
                Width::W64 => BitMask::new64(value),
            };
            asm.logical_imm(op, width, to, left, imm.unwrap());
            let to = if op == Logical::ANDS { name(to, width) } else { name_sp(to, width) };
            format!("{} {to}, {}, #0x{value:x}", op.name(), name(left, width))
        },
        |asm, random| {
            let width = random.width();
            let [to, from] = [random.gpr(), random.gpr()];
            asm.mov(width, to, from);
            let zero = name(Gpr::ZR, width);
            format!("orr {}, {zero}, {}", name(to, width), name(from, width))
        },
        |asm, random| {
            let [to, from] = [random.gpr(), random.gpr()];
            asm.mov_sp(to, from);
            format!("add {}, {}, #0x0", name_sp(to, Width::W64), name_sp(from, Width::W64))
        },
    ]);
}

#[test]
fn moves_of_bits() {
    check(&[
        |asm, random| {
            let (op, width) = (random.pick(MovWide::ALL), random.width());
            let (to, imm) = (random.gpr(), random.next() as u16);
            let shift = random.below(width.bits() / 16) * 16;
            asm.mov_wide(op, width, to, imm, shift);
            let shift = if shift == 0 { String::new() } else { format!(", lsl #{shift}") };
            format!("{} {}, #0x{imm:x}{shift}", op.name(), name(to, width))
        },
        |asm, random| {
            let (op, width) = (random.pick(Bitfield::ALL), random.width());
            let registers = [random.gpr(), random.gpr()];
            let [immr, imms] = [random.below(width.bits()), random.below(width.bits())];
            asm.bitfield(op, width, registers, [immr, imms]);
            let [to, from] = registers.map(|register| name(register, width));
            format!("{} {to}, {from}, #{immr}, #{imms}", op.name())
        },
        |asm, random| {
            let width = random.width();
            let registers = [random.gpr(), random.gpr(), random.gpr()];
            let [to, high, low] = registers;
            let by = random.below(width.bits());
            asm.extr(width, to, [high, low], by);
            let [to, high, low] = registers.map(|register| name(register, width));
            format!("extr {to}, {high}, {low}, #{by}")
        },
        |asm, random| {
            let width = random.width();
            let [to, from] = [random.gpr(), random.gpr()];
            let (bits, by) = (width.bits(), random.below(width.bits()));
            let [to_name, from_name] = [to, from].map(|register| name(register, width));
            let last = bits - 1;
            match random.below(3) {
                0 => {
                    asm.lsl(width, to, from, by);
                    let immr = (bits - by) % bits;
                    format!("ubfm {to_name}, {from_name}, #{immr}, #{}", last - by)
                }
                1 => {
                    asm.lsr(width, to, from, by);
                    format!("ubfm {to_name}, {from_name}, #{by}, #{last}")
                }
                _ => {
                    asm.asr(width, to, from, by);
                    format!("sbfm {to_name}, {from_name}, #{by}, #{last}")
                }
            }
        },
        extensions,
    ]);
}

fn extensions(asm: &mut Assembler, random: &mut Random) -> String {
    let [to, from] = [random.gpr(), random.gpr()];
    let bits = random.pick(&[8, 16, 32]);
    if random.below(2) == 0 {
        asm.sign_extend(Width::W64, to, from, bits);
        let [to, from] = [to, from].map(|register| name(register, Width::W64));
        return format!("sbfm {to}, {from}, #0, #{}", bits - 1);
    }
    asm.zero_extend(to, from, bits);
    let [to, from] = [to, from].map(|register| name(register, Width::W32));
    match bits {
        32 => format!("orr {to}, wzr, {from}"),
        _ => format!("ubfm {to}, {from}, #0, #{}", bits - 1),
    }
}

#[test]
fn arithmetic() {
    check(&[
        |asm, random| {
            let (op, width) = (random.pick(TwoSource::ALL), random.width());
            let registers @ [to, left, right] = [random.gpr(), random.gpr(), random.gpr()];
            asm.two_source(op, width, to, left, right);
            let [to, left, right] = registers.map(|register| name(register, width));
            format!("{} {to}, {left}, {right}", op.name())
        },
        three_source,
        |asm, random| {
            let (op, width, cond) = (random.pick(Select::ALL), random.width(), random.cond());
            let registers = [random.gpr(), random.gpr(), random.gpr()];
            asm.select(op, width, registers, cond);
            let [to, first, second] = registers.map(|register| name(register, width));
            format!("{} {to}, {first}, {second}, {}", op.name(), cond_name(cond))
        },
        |asm, random| {
            let (to, cond) = (random.gpr(), random.cond());
            asm.cset(to, cond);
            let inverted = Cond::ALL[cond as usize ^ 1];
            format!("csinc {}, wzr, wzr, {}", name(to, Width::W32), cond_name(inverted))
        },
    ]);
}

fn three_source(asm: &mut Assembler, random: &mut Random) -> String {
    let op = random.pick(ThreeSource::ALL);
    let is_plain = matches!(op, ThreeSource::MADD | ThreeSource::MSUB);
    let is_upper = matches!(op, ThreeSource::SMULH | ThreeSource::UMULH);
    let width = if is_plain { random.width() } else { Width::W64 };
    let registers @ [to, left, right] = [random.gpr(), random.gpr(), random.gpr()];
    let addend = if is_upper { Gpr::ZR } else { random.gpr() };
    asm.three_source(op, width, registers, addend);
    let narrow = if is_plain || is_upper { width } else { Width::W32 };
    let [left, right] = [left, right].map(|register| name(register, narrow));
    let third = if is_upper { String::new() } else { format!(", {}", name(addend, width)) };
    format!("{} {}, {left}, {right}{third}", op.name(), name(to, width))
}

#[test]
fn floats() {
    check(&[
        |asm, random| {
            let (op, float) = (random.pick(Scalar::ALL), random.float());
            let registers @ [to, left, right] = [random.fpr(), random.fpr(), random.fpr()];
            asm.scalar(op, float, to, left, right);
            let [to, left, right] = registers.map(|register| float_name(register, float));
            format!("{} {to}, {left}, {right}", op.name())
        },
        |asm, random| {
            let (op, float) = (random.pick(ScalarUnary::ALL), random.float());
            let [to, from] = [random.fpr(), random.fpr()];
            asm.scalar_unary(op, float, to, from);
            format!("{} {}, {}", op.name(), float_name(to, float), float_name(from, float))
        },
        |asm, random| {
            let float = random.float();
            let [to, from] = [random.fpr(), random.fpr()];
            asm.fcvt(float, to, from);
            let other = if float == Float::F32 { Float::F64 } else { Float::F32 };
            format!("fcvt {}, {}", float_name(to, other), float_name(from, float))
        },
        |asm, random| {
            let float = random.float();
            let [left, right] = [random.fpr(), random.fpr()];
            if random.below(2) == 0 {
                asm.fcmp_zero(float, left);
                return format!("fcmp {}, #0.0", float_name(left, float));
            }
            asm.fcmp(float, left, right);
            format!("fcmp {}, {}", float_name(left, float), float_name(right, float))
        },
        |asm, random| {
            let (float, cond) = (random.float(), random.cond());
            let registers = [random.fpr(), random.fpr(), random.fpr()];
            asm.fcsel(float, registers, cond);
            let [to, first, second] = registers.map(|register| float_name(register, float));
            format!("fcsel {to}, {first}, {second}, {}", cond_name(cond))
        },
        |asm, random| {
            let to = random.fpr();
            asm.fzero(to);
            format!("movi {}, #0x0", float_name(to, Float::F64))
        },
        |asm, random| {
            let (to, from) = (random.fpr(), random.gpr());
            asm.dup_bytes(to, from);
            format!("dup v{}.16b, {}", to.number(), name(from, Width::W32))
        },
    ]);
}

#[test]
fn floats_and_integers() {
    check(&[
        |asm, random| {
            let (op, float, width) = (random.pick(Round::ALL), random.float(), random.width());
            let (to, from) = (random.gpr(), random.fpr());
            asm.to_int(op, float, width, to, from);
            format!("{} {}, {}", op.name(), name(to, width), float_name(from, float))
        },
        |asm, random| {
            let (op, float, width) = (random.pick(ToFloat::ALL), random.float(), random.width());
            let (to, from) = (random.fpr(), random.gpr());
            asm.to_float(op, float, width, to, from);
            format!("{} {}, {}", op.name(), float_name(to, float), name(from, width))
        },
        |asm, random| {
            let (float, general, fpr) = (random.float(), random.gpr(), random.fpr());
            let width = if float == Float::F64 { Width::W64 } else { Width::W32 };
            let names = [name(general, width), float_name(fpr, float)];
            if random.below(2) == 0 {
                asm.fmov_to_int(float, general, fpr);
                return format!("fmov {}, {}", names[0], names[1]);
            }
            asm.fmov_from_int(float, fpr, general);
            format!("fmov {}, {}", names[1], names[0])
        },
        |asm, random| {
            let (float, to) = (random.float(), random.fpr());
            let (sign, exponent) = (random.pick(&[-1.0, 1.0]), random.below(8));
            let value = sign * f64::from(16 + random.below(16)) / 16.0 * 2f64.powi(exponent - 3);
            let imm = match float {
                Float::F32 => FloatImm::new32((value as f32).to_bits()),
                Float::F64 => FloatImm::new64(value.to_bits()),
            };
            asm.fmov_imm(float, to, imm.unwrap());
            // As C's "%.18e": an exponent of two digits with a sign.
            let text = format!("{value:.18e}");
            let (digits, power) = text.split_once('e').unwrap();
            let power: i32 = power.parse().unwrap();
            format!("fmov {}, #{digits}e{power:+03}", float_name(to, float))
        },
    ]);
}

#[test]
fn jumps_and_hints() {
    check(&[|asm, random| {
        let to = random.gpr();
        let name = name(to, Width::W64);
        match random.below(3) {
            0 => {
                asm.br(to);
                format!("br {name}")
            }
            1 => {
                asm.blr(to);
                format!("blr {name}")
            }
            _ => {
                asm.ret();
                "ret".to_string()
            }
        }
    }]);
    let mut asm = Assembler::new();
    Hint::ALL.iter().for_each(|hint| asm.hint(*hint));
    let Some(lines) = disassemble(&asm.finish().unwrap().bytes, true) else { return };
    let names: std::vec::Vec<_> = Hint::ALL.iter().map(|hint| hint.name().to_string()).collect();
    assert_eq!(lines, names);
}

/// What a sequence of MOVZ, MOVN, MOVK and ORR leaves in its register.
fn run(code: &[u8]) -> u64 {
    let mut value = 0;
    for word in code.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())) {
        let ones = if word >> 31 == 1 { u64::MAX } else { 0xffff_ffff };
        let shift = (word >> 21 & 3) * 16;
        let imm = u64::from(word >> 5 & 0xffff);
        value = match word >> 23 & 0xff {
            0x25 => !(imm << shift) & ones,
            0xa5 => imm << shift,
            0xe5 => value & !(0xffff << shift) | imm << shift,
            // ORR (immediate), which has been compared with the disassembler.
            0x64 => decoded(word) & ones,
            _ => panic!("{word:08x}"),
        };
    }
    value
}

/// The operand of ORR (immediate), as DecodeBitMasks of the manual computes it.
fn decoded(word: u32) -> u64 {
    let (n, immr, imms) = (word >> 22 & 1, word >> 16 & 63, word >> 10 & 63);
    let len = 31 - (n << 6 | !imms & 63).leading_zeros();
    let size = 1 << len;
    let (ones, by) = ((imms & (size - 1)) + 1, immr & (size - 1));
    let run = u64::MAX >> (64 - ones);
    let all = u64::MAX >> (64 - size);
    let element = if by == 0 { run } else { (run >> by | run << (size - by)) & all };
    (0..64 / size).fold(0, |value, number| value | element << (number * size))
}

#[test]
fn constants_are_exact_and_short() {
    let mut random = Random(3);
    for trial in 0..20_000u32 {
        let pieces = random.next();
        let value = match trial % 5 {
            0 => random.next() >> random.below(64),
            1 => !(random.next() >> random.below(64)),
            2 => mask(&mut random, Width::W64),
            3 => (0..4)
                .filter(|piece| pieces >> piece & 1 == 1)
                .fold(0, |all, piece| all | 0xffff << (piece * 16)),
            _ => (0..4)
                .filter(|piece| pieces >> piece & 1 == 1)
                .fold(0, |all, piece| all | (pieces >> 32 & 0xffff) << (piece * 16)),
        };
        let width = random.width();
        let mut asm = Assembler::new();
        asm.mov_imm(width, Gpr::X3, value);
        let code = asm.finish().unwrap().bytes;
        let expected = if width == Width::W32 { value & 0xffff_ffff } else { value };
        assert_eq!(run(&code), expected, "{code:02x?}");
        assert!(code.len() <= 16, "0x{value:x}");
    }
    let lens = [0, 1, 0xffff_0000, u64::MAX, 0xffff_ffff_0000_ffff, 0x5555_5555_5555_5555];
    for value in lens {
        let mut asm = Assembler::new();
        asm.mov_imm(Width::W64, Gpr::X0, value);
        assert_eq!(asm.finish().unwrap().bytes.len(), 4, "0x{value:x}");
    }
}

#[test]
fn only_bit_masks_are_encoded() {
    // Every mask that the manual's function decodes is found, and nothing else.
    let mut all = std::collections::BTreeSet::new();
    for fields in 0..1u32 << 13 {
        let (n, imms) = (fields >> 12, fields & 63);
        let prefix = n << 6 | !imms & 63;
        if prefix < 2 {
            continue;
        }
        let size = 1u32 << (31 - prefix.leading_zeros());
        if imms & (size - 1) != size - 1 {
            all.insert(decoded(fields << 10));
        }
    }
    assert_eq!(all.len(), 5334);
    for &value in &all {
        let bits = BitMask::new64(value).unwrap().bits;
        assert_eq!(decoded(bits), value);
    }
    let mut random = Random(4);
    for _ in 0..10_000 {
        let value = random.next() & random.next();
        assert_eq!(BitMask::new64(value).is_some(), all.contains(&value), "0x{value:x}");
    }
}

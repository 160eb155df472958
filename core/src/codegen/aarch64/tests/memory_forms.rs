//! Every form of loads and stores.

use std::format;
use std::string::{String, ToString};

use super::super::*;
use super::disassembler::{Form, Random, check, name, name_sp};

/// The mnemonic of an access at an unscaled offset, and the letter of its register.
fn names(access: Access, is_unscaled: bool) -> (String, char) {
    let mut parts = access.name().split(' ');
    let mnemonic = parts.next().unwrap();
    let letter = match parts.next().and_then(|letter| letter.chars().next()) {
        Some(letter) => letter,
        None if access == Access::LDRSW => 'x',
        None => 'w',
    };
    let mnemonic = match is_unscaled {
        true => mnemonic.replacen("dr", "dur", 1).replacen("tr", "tur", 1),
        false => mnemonic.to_string(),
    };
    (mnemonic, letter)
}

fn register(letter: char, number: u32) -> String {
    match (letter, number) {
        ('w' | 'x', 31) => format!("{letter}zr"),
        _ => format!("{letter}{number}"),
    }
}

fn emit(asm: &mut Assembler, access: Access, number: u32, mem: Mem) {
    match access.is_float() {
        true => asm.memory_float(access, Fpr::new(number as u8), mem),
        false => asm.memory(access, Gpr::new(number as u8), mem),
    }
}

fn base_name(base: Gpr) -> String {
    name_sp(base, Width::W64)
}

#[test]
fn single_registers() {
    let forms: [Form; 4] = [scaled, unscaled, indexed, written_back];
    check(&forms);
}

fn scaled(asm: &mut Assembler, random: &mut Random) -> String {
    let (access, number, base) = (random.pick(Access::ALL), random.below(32), random.gpr());
    let offset = i64::from(random.below(4096)) << access.scale();
    emit(asm, access, number, Mem::Offset(base, offset));
    let (mnemonic, letter) = names(access, false);
    let offset = if offset == 0 { String::new() } else { format!(", #{offset}") };
    format!("{mnemonic} {}, [{}{offset}]", register(letter, number), base_name(base))
}

fn unscaled(asm: &mut Assembler, random: &mut Random) -> String {
    let (access, number, base) = (random.pick(Access::ALL), random.below(32), random.gpr());
    let offset = random.signed(9);
    emit(asm, access, number, Mem::Offset(base, offset));
    let is_unscaled = offset < 0 || offset & ((1 << access.scale()) - 1) != 0;
    let (mnemonic, letter) = names(access, is_unscaled);
    let offset = if offset == 0 { String::new() } else { format!(", #{offset}") };
    format!("{mnemonic} {}, [{}{offset}]", register(letter, number), base_name(base))
}

fn indexed(asm: &mut Assembler, random: &mut Random) -> String {
    let (access, number) = (random.pick(Access::ALL), random.below(32));
    let (base, index) = (random.gpr(), random.gpr());
    let extend = random.pick(&[Extension::Uxtw, Extension::Uxtx, Extension::Sxtw, Extension::Sxtx]);
    let is_scaled = random.below(2) == 1;
    emit(asm, access, number, Mem::Index(base, index, extend, is_scaled));
    let (mnemonic, letter) = names(access, false);
    let is_long = matches!(extend, Extension::Uxtx | Extension::Sxtx);
    let index = name(index, if is_long { Width::W64 } else { Width::W32 });
    let extension = match (extend, is_scaled) {
        (Extension::Uxtx, false) => String::new(),
        (Extension::Uxtx, true) => format!(", lsl #{}", access.scale()),
        (_, false) => format!(", {}", format!("{extend:?}").to_lowercase()),
        (_, true) => format!(", {} #{}", format!("{extend:?}").to_lowercase(), access.scale()),
    };
    let register = register(letter, number);
    format!("{mnemonic} {register}, [{}, {index}{extension}]", base_name(base))
}

fn written_back(asm: &mut Assembler, random: &mut Random) -> String {
    let access = random.pick(Access::ALL);
    // The register may not be the base.
    let [number, base] = [random.below(16), 16 + random.below(16)];
    let (base, offset) = (Gpr::new(base as u8), random.signed(9));
    let (mnemonic, letter) = names(access, false);
    let (register, base_name) = (register(letter, number), base_name(base));
    if random.below(2) == 0 {
        emit(asm, access, number, Mem::Pre(base, offset));
        return format!("{mnemonic} {register}, [{base_name}, #{offset}]!");
    }
    emit(asm, access, number, Mem::Post(base, offset));
    format!("{mnemonic} {register}, [{base_name}], #{offset}")
}

#[test]
fn pairs() {
    check(&[|asm, random| {
        let op = random.pick(Pair::ALL);
        let (mnemonic, letter) = op.name().split_once(' ').unwrap();
        // Different registers, none of which is the base.
        let numbers @ [first, second] = [random.below(8), 8 + random.below(8)];
        let base = Gpr::new(16 + random.below(16) as u8);
        let offset = random.signed(7) << op.scale();
        let mode = random.pick(&[PairMode::Offset, PairMode::Pre, PairMode::Post]);
        match op.is_float() {
            true => {
                asm.pair_float(op, numbers.map(|number| Fpr::new(number as u8)), mode, base, offset)
            }
            false => asm.pair(op, numbers.map(|number| Gpr::new(number as u8)), mode, base, offset),
        }
        let base = base_name(base);
        let address = match mode {
            PairMode::Offset if offset == 0 => format!("[{base}]"),
            PairMode::Offset => format!("[{base}, #{offset}]"),
            PairMode::Pre => format!("[{base}, #{offset}]!"),
            PairMode::Post => format!("[{base}], #{offset}"),
        };
        format!("{mnemonic} {letter}{first}, {letter}{second}, {address}")
    }]);
}

//! Instruction operands, compared with the output of the GNU assembler and linker.

use std::fs;
use std::path::Path;
use std::process::Command;

use smf_core::link::aarch64::{Operand, patch};
use smf_tests::compile::{scratch, succeed};

use crate::tools::{TOOLS, compiler};

/// Instructions with an operand `S`, and the kind of the operand.
const INSTRUCTIONS: [(&str, Operand); 25] = [
    ("b S", Operand::Branch26),
    ("bl S", Operand::Branch26),
    ("b.eq S", Operand::Word19),
    ("cbz x1, S", Operand::Word19),
    ("cbnz w2, S", Operand::Word19),
    ("ldr x3, S", Operand::Word19),
    ("ldrsw x4, S", Operand::Word19),
    ("ldr q5, S", Operand::Word19),
    ("tbz w6, #5, S", Operand::Branch14),
    ("tbnz x7, #63, S", Operand::Branch14),
    ("adrp x8, S", Operand::Page21),
    ("adr x9, S", Operand::Page21),
    ("add x10, x11, :lo12:S", Operand::PageOff12),
    ("add w12, w13, :lo12:S", Operand::PageOff12),
    ("ldrb w14, [x15, :lo12:S]", Operand::PageOff12),
    ("strh w16, [x17, :lo12:S]", Operand::PageOff12),
    ("ldrsh x18, [x19, :lo12:S]", Operand::PageOff12),
    ("ldr w20, [x21, :lo12:S]", Operand::PageOff12),
    ("ldrsw x22, [x23, :lo12:S]", Operand::PageOff12),
    ("str x24, [x25, :lo12:S]", Operand::PageOff12),
    ("prfm pldl1keep, [x26, :lo12:S]", Operand::PageOff12),
    ("ldr b27, [x28, :lo12:S]", Operand::PageOff12),
    ("str s29, [x30, :lo12:S]", Operand::PageOff12),
    ("ldr d31, [sp, :lo12:S]", Operand::PageOff12),
    ("str q0, [x1, :lo12:S]", Operand::PageOff12),
];

/// An address that an instruction at `place` can refer to, up to the limits of the operand.
fn reachable(operand: Operand, instruction: &str, place: u64, random: u64) -> u64 {
    let (bits, unit) = match operand {
        Operand::Branch26 => (28, 4),
        Operand::Word19 => (21, 4),
        Operand::Branch14 => (16, 4),
        Operand::Page21 if instruction.starts_with("adrp") => (33, 1),
        Operand::Page21 => (21, 1),
        Operand::PageOff12 => (40, 16),
    };
    let distance = (random % (1 << bits) / unit * unit).cast_signed() - (1 << (bits - 1));
    let target = place.checked_add_signed(distance).unwrap();
    target - target % unit
}

fn run_tool(tool: &str, arguments: &[&str], directory: &Path) {
    let mut command = Command::new(format!("{TOOLS}{tool}"));
    command.args(arguments).current_dir(directory);
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    succeed(&command, &output);
}

/// The words of the code in an ELF file.
fn words_of(file: &str, directory: &Path) -> Vec<u32> {
    run_tool("objcopy", &["-O", "binary", "-j", ".text", file, "out.bin"], directory);
    let bytes = fs::read(directory.join("out.bin")).unwrap();
    bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
}

#[test]
fn patched_operands_equal_those_of_the_gnu_linker() {
    const BASE: u64 = 0x100_0000_0000;
    if compiler().is_none() {
        return;
    }
    let (mut text, mut script) =
        (String::new(), format!("SECTIONS {{ .text {BASE:#x} : {{ *(.text) }} }}\n"));
    let (mut state, mut targets) = (1u64, Vec::new());
    for number in 0..4000usize {
        let (instruction, operand) = INSTRUCTIONS[number % INSTRUCTIONS.len()];
        let place = BASE + number as u64 * 4;
        state = state.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
        let target = reachable(operand, instruction, place, state >> 20);
        text += &format!("{}\n", instruction.replace('S', &format!("s{number}")));
        script += &format!("s{number} = {target:#x};\n");
        targets.push((operand, place, target));
    }
    let directory = scratch();
    let directory = directory.path();
    fs::write(directory.join("in.s"), text).unwrap();
    fs::write(directory.join("script"), script).unwrap();
    run_tool("as", &["in.s", "-o", "in.o"], directory);
    run_tool("ld", &["-T", "script", "in.o", "-o", "out"], directory);
    let (before, after) = (words_of("in.o", directory), words_of("out", directory));
    assert_eq!((before.len(), after.len()), (targets.len(), targets.len()));
    for (number, (operand, place, target)) in targets.into_iter().enumerate() {
        let found = patch(operand, before[number], place, i128::from(target));
        let instruction = INSTRUCTIONS[number % INSTRUCTIONS.len()].0;
        assert_eq!(found, Ok(after[number]), "{instruction} from {place:#x} to {target:#x}");
    }
}

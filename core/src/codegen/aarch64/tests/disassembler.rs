//! Intended instructions, compared with the output of GNU objdump.

use std::path::PathBuf;
use std::process::Command;
use std::string::{String, ToString};
use std::vec::Vec;
use std::{env, format, fs, process};

use super::super::*;
pub(super) use crate::testing::Random;
use crate::testing::{has, scale};

const OBJDUMP: &str = "aarch64-linux-gnu-objdump";

impl Random {
    /// A number of `bits` bits with a sign.
    pub(super) fn signed(&mut self, bits: u32) -> i64 {
        (self.next() as i64) >> (64 - bits)
    }

    pub(super) fn gpr(&mut self) -> Gpr {
        Gpr::new(self.below(32) as u8)
    }

    pub(super) fn fpr(&mut self) -> Fpr {
        Fpr::new(self.below(32) as u8)
    }

    pub(super) fn width(&mut self) -> Width {
        self.pick(&[Width::W32, Width::W64])
    }

    pub(super) fn float(&mut self) -> Float {
        self.pick(&[Float::F32, Float::F64])
    }

    pub(super) fn cond(&mut self) -> Cond {
        self.pick(&Cond::ALL)
    }
}

/// The name of a register, 31 being the zero register.
pub(super) fn name(register: Gpr, width: Width) -> String {
    let letter = if width == Width::W64 { 'x' } else { 'w' };
    match register.number() {
        31 => format!("{letter}zr"),
        number => format!("{letter}{number}"),
    }
}

/// The name of a register, 31 being the stack pointer.
pub(super) fn name_sp(register: Gpr, width: Width) -> String {
    match (register.number(), width) {
        (31, Width::W64) => "sp".to_string(),
        (31, Width::W32) => "wsp".to_string(),
        _ => name(register, width),
    }
}

pub(super) fn float_name(register: Fpr, float: Float) -> String {
    let letter = if float == Float::F64 { 'd' } else { 's' };
    format!("{letter}{}", register.number())
}

pub(super) fn cond_name(cond: Cond) -> &'static str {
    ["eq", "ne", "cs", "cc", "mi", "pl", "vs", "vc", "hi", "ls", "ge", "lt", "gt", "le"]
        [cond as usize]
}

pub(super) type Form = fn(&mut Assembler, &mut Random) -> String;

/// Trials of each form: exhaustive, sampled.
const TIMES: [usize; 2] = [2000, 200];

/// Encodes each form several times and compares all instructions with what the forms state.
pub(super) fn check(forms: &[Form]) {
    let mut asm = Assembler::new();
    let mut random = Random(1);
    let [full, sampled] = TIMES;
    let mut expected = Vec::new();
    for form in forms {
        for _ in 0..scale(full, sampled) {
            expected.push(form(&mut asm, &mut random));
        }
    }
    let bytes = asm.finish().unwrap().bytes;
    assert_eq!(bytes.len(), expected.len() * 4);
    let Some(lines) = disassemble(&bytes, false) else { return };
    assert_eq!(lines.len(), expected.len());
    let wrong: Vec<_> = lines.iter().zip(&expected).filter(|(line, text)| line != text).collect();
    let some = &wrong[..wrong.len().min(20)];
    assert!(wrong.is_empty(), "{} of {} differ: {some:#?}", wrong.len(), lines.len());
}

/// The instructions at address 0, as the assembler's aliases or as they are; `None`, with a message, if the disassembler
/// is missing.
pub(super) fn disassemble(bytes: &[u8], aliases: bool) -> Option<Vec<String>> {
    if !has(OBJDUMP) {
        return None;
    }
    let path = scratch_file();
    fs::write(&path, bytes).unwrap();
    let output = Command::new(OBJDUMP)
        .args(["-D", "-z", "-b", "binary", "-m", "aarch64", "-M"])
        .arg(if aliases { "aliases" } else { "no-aliases" })
        .arg(&path)
        .output()
        .unwrap();
    fs::remove_file(&path).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    Some(text.lines().filter_map(instruction).collect())
}

/// The path of a file of this process and thread.
fn scratch_file() -> PathBuf {
    let thread = format!("{:?}", std::thread::current().id());
    let number: String = thread.chars().filter(char::is_ascii_digit).collect();
    env::temp_dir().join(format!("smf-aarch64-{}-{number}.bin", process::id()))
}

/// The text of an instruction in a line `   0:\td503201f \tnop`, with one space between words and without comments.
fn instruction(line: &str) -> Option<String> {
    let mut columns = line.splitn(3, '\t');
    columns.next().filter(|address| address.trim_end().ends_with(':'))?;
    columns.next()?;
    let text = columns.next()?.split("//").next()?;
    let text = text.split(" <").next()?;
    Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

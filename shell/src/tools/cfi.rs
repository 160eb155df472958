//! Infers call frame information (CFI) for functions that have none.
//!
//! Without CFI, debuggers fall back to frame pointers, which compilers omit. This module decodes a function
//! from its first to its last instruction, tracks changes of the stack and the frame pointer, and writes what
//! a compiler would have written to `.debug_frame`: for each instruction, the offset of the canonical frame
//! address (CFA) from the stack or frame pointer, and the locations of the callee-saved registers.
//!
//! The result is a heuristic: code is followed in address order. The target of a branch has the state of the
//! branch; after any other interruption of control flow, the state before the last epilogue applies. An
//! unknown instruction, or an unpredictable stack pointer, ends the description of a function after the last
//! return before it; a function without such a return is not described.
//!
//! Source: DWARF 5, section 6.4 (call frame information); System V ABI, AMD64 supplement, 3.2.2 and
//! figure 3.36 (register numbers).

use std::collections::HashMap;

use smf_core::alloc_util::{AllocError, try_push};

use super::x86_64::{Effect, RBP, RSP, decode};
use crate::fallible_buf::FallibleBuf;

/// The callee-saved registers, by their instruction encoding: rbx, rbp, r12-r15.
const CALLEE_SAVED: [u8; 6] = [3, 5, 12, 13, 14, 15];

/// The DWARF register numbers, by instruction encoding.
const DWARF_REGISTERS: [u8; 16] = [0, 2, 1, 3, 7, 6, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15];

/// The unwinding state before an instruction. Offsets count downwards from the CFA, which is the address above
/// the return address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    /// The offset of the stack pointer, if known.
    stack: Option<i64>,
    /// The offset of the frame pointer, if it points into the frame.
    frame: Option<i64>,
    /// The offset at which each callee-saved register is saved, if it is.
    saved: [Option<i64>; CALLEE_SAVED.len()],
}

/// A row of the call frame table: the state from offset `at` of the function on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    at: usize,
    frame: State,
}

impl State {
    const ENTRY: Self = Self { stack: Some(8), frame: None, saved: [None; CALLEE_SAVED.len()] };

    /// The CFA rule: register, by instruction encoding, and offset.
    fn cfa(&self) -> Option<(u8, i64)> {
        let from = |register, distance: Option<i64>| distance.map(|distance| (register, distance));
        from(RBP, self.frame).or(from(RSP, self.stack)).filter(|&(_, distance)| distance >= 0)
    }

    /// The state after an instruction; `None` when the CFA becomes unknown.
    fn after(&self, effect: Effect) -> Option<Self> {
        let mut next = *self;
        match effect {
            Effect::None | Effect::Call | Effect::Branch(_) | Effect::Jump(_) | Effect::End => {}
            Effect::Push(register) => {
                next.grow(8);
                next.save(register, next.stack);
            }
            Effect::Pop(register) => {
                next.restore(register);
                next.grow(-8);
                next.lose(register);
            }
            Effect::Move(distance) => next.grow(distance.checked_neg()?),
            Effect::StackFromFrame(distance) => {
                next.stack = self.frame.and_then(|frame| frame.checked_sub(distance));
            }
            Effect::FrameFromStack(distance) => {
                let to = self.stack.and_then(|stack| stack.checked_sub(distance));
                // A frame pointer points to the saved frame pointer of the caller. Other pointers into the stack
                // are not frame pointers.
                let [_, saved, ..] = self.saved;
                next.frame = to.filter(|_| to == saved);
            }
            Effect::Store(register, base, distance) => {
                let base = if base == RSP { self.stack } else { self.frame };
                next.save(register, base.and_then(|base| base.checked_sub(distance)));
            }
            Effect::Leave => {
                next.stack = self.frame;
                next.restore(RBP);
                next.grow(-8);
                next.frame = None;
            }
            Effect::Lose(register) => next.lose(register),
        }
        next.cfa().map(|_| next)
    }

    fn grow(&mut self, bytes: i64) {
        self.stack = self.stack.and_then(|stack| stack.checked_add(bytes));
    }

    /// Records an unknown write to a register.
    fn lose(&mut self, register: u8) {
        match register {
            RSP => self.stack = None,
            RBP => self.frame = None,
            _ => {}
        }
    }

    fn slot(&mut self, register: u8) -> Option<&mut Option<i64>> {
        self.saved.get_mut(CALLEE_SAVED.iter().position(|&saved| saved == register)?)
    }

    /// Records a store of a register to the frame; the first one saves it.
    fn save(&mut self, register: u8, at: Option<i64>) {
        if let Some(slot @ None) = self.slot(register) {
            *slot = at.filter(|at| *at > 0);
        }
    }

    /// Records a pop of a register, which restores it if it was saved there.
    fn restore(&mut self, register: u8) {
        let stack = self.stack;
        if let Some(slot) = self.slot(register)
            && *slot == stack
        {
            *slot = None;
        }
    }
}

/// The maximum number of passes over a function. A pass can correct states that an earlier correction affects.
const MAX_PASSES: usize = 8;

/// The call frame table of a function, and the number of bytes that it covers; `None` without a described
/// return or without memory.
///
/// The state at the target of a backward branch, behind a call that does not return, is known in the second
/// pass only.
fn rows(code: &[u8]) -> Option<(Vec<Row>, usize)> {
    let mut pass = Pass::run(code, HashMap::new())?;
    for _ in 1..MAX_PASSES {
        let again = Pass::run(code, pass.branches)?;
        let is_stable = again.rows == pass.rows;
        pass = again;
        if is_stable {
            break;
        }
    }
    Some((pass.rows, pass.described))
}

/// One pass over a function.
struct Pass<'c> {
    code: &'c [u8],
    /// Before the next instruction.
    frame: State,
    /// The state before the current epilogue, which applies after a return.
    body: State,
    in_epilogue: bool,
    /// The states at branch targets, of this pass and of the previous one.
    branches: HashMap<usize, State>,
    last: HashMap<usize, State>,
    rows: Vec<Row>,
    /// The end of the last described return; the end of the function after a complete pass.
    described: usize,
}

impl<'c> Pass<'c> {
    fn run(code: &'c [u8], last: HashMap<usize, State>) -> Option<Self> {
        let (frame, body) = (State::ENTRY, State::ENTRY);
        let mut rows = Vec::new();
        try_push(&mut rows, Row { at: 0, frame }).ok()?;
        let (branches, described) = (HashMap::new(), 0);
        let mut pass =
            Self { code, frame, body, in_epilogue: false, branches, last, rows, described };
        let mut at = 0;
        while let Some(rest @ [_, ..]) = code.get(at..) {
            pass.enter(at)?;
            let Some(end) = pass.step(rest, at) else {
                // The description ends after the last return.
                pass.rows.retain(|row| row.at < pass.described);
                return (pass.described != 0).then_some(pass);
            };
            at = end;
        }
        pass.described = at;
        Some(pass)
    }

    /// Decodes the instruction at `at`; its end, or `None` when it cannot be followed.
    fn step(&mut self, rest: &[u8], at: usize) -> Option<usize> {
        let (len, effect) = decode(rest)?;
        let end = at + len;
        self.apply(effect, end)?;
        if effect == Effect::End {
            self.described = end;
        }
        Some(end)
    }

    /// Applies the state of a branch to `at`, which takes precedence over that of the code before it.
    fn enter(&mut self, at: usize) -> Option<()> {
        if let Some(frame) = self.branches.get(&at).or(self.last.get(&at)) {
            self.frame = *frame;
        }
        if self.rows.last().is_some_and(|row| row.frame != self.frame) {
            try_push(&mut self.rows, Row { at, frame: self.frame }).ok()?;
        }
        Some(())
    }

    /// Applies an instruction that ends at `end`.
    fn apply(&mut self, effect: Effect, end: usize) -> Option<()> {
        let goes_on = match effect {
            Effect::End => false,
            // A jump out of the function is a tail call, behind an epilogue.
            Effect::Jump(distance) => self.branch(end, distance)?,
            Effect::Branch(distance) => self.branch(end, distance).map(|_| true)?,
            _ => true,
        };
        self.frame = if goes_on { self.frame.after(effect)? } else { self.body };
        self.in_epilogue = match effect {
            Effect::None => self.in_epilogue,
            effect => is_epilogue(effect),
        };
        if !self.in_epilogue {
            self.body = self.frame;
        }
        Some(())
    }

    /// Records the state at a branch target; `false` when it is outside the function.
    fn branch(&mut self, end: usize, distance: i64) -> Option<bool> {
        let target = i64::try_from(end).ok().and_then(|end| end.checked_add(distance));
        let target = target.and_then(|target| usize::try_from(target).ok());
        let Some(target) = target.filter(|&target| target < self.code.len()) else {
            return Some(false);
        };
        self.branches.try_reserve(1).ok()?;
        let known = self.branches.entry(target).or_insert(self.frame);
        // Two states differ behind a call that does not return, with its arguments on the stack.
        if self.frame.stack < known.stack {
            *known = self.frame;
        }
        Some(true)
    }
}

/// Whether an instruction may belong to an epilogue.
fn is_epilogue(effect: Effect) -> bool {
    match effect {
        Effect::Pop(_) | Effect::Leave | Effect::StackFromFrame(_) => true,
        Effect::Move(distance) => distance > 0,
        _ => false,
    }
}

const DW_CFA_ADVANCE_LOC: u8 = 0x40;
const DW_CFA_OFFSET: u8 = 0x80;
const DW_CFA_RESTORE: u8 = 0xc0;
const DW_CFA_ADVANCE_LOC4: u8 = 0x04;
const DW_CFA_DEF_CFA: u8 = 0x0c;
const RETURN_ADDRESS: u8 = 16;

/// Encodes `.debug_frame` for functions, each given by its address and code; functions without a call frame
/// table are omitted.
///
/// # Errors
/// Allocation failure.
pub(super) fn debug_frame(
    functions: impl Iterator<Item = (u64, Vec<u8>)>,
) -> Result<Vec<u8>, AllocError> {
    let mut section = FallibleBuf::default();
    // One common information entry (CIE): no augmentation, code alignment factor 1, data alignment factor
    // -8; initially the CFA is 8 bytes above the stack pointer, with the return address below it.
    let mut cie = FallibleBuf::default();
    cie.put_u32(&[u32::MAX]);
    cie.put(&[1, 0, 1, 0x78, RETURN_ADDRESS]);
    put_def_cfa(&mut cie, RSP, 8);
    cie.put(&[DW_CFA_OFFSET | RETURN_ADDRESS, 1]);
    put_entry(&mut section, cie)?;
    for (address, code) in functions {
        if let Some((rows, described)) = rows(&code) {
            let mut entry = FallibleBuf::default();
            entry.put_u32(&[0]);
            entry.put_u64(&[address, described as u64]);
            put_rows(&mut entry, &rows);
            put_entry(&mut section, entry)?;
        }
    }
    section.finish()
}

/// Appends an entry (CIE or FDE) with its length, padded to a multiple of 8 bytes.
fn put_entry(section: &mut FallibleBuf, entry: FallibleBuf) -> Result<(), AllocError> {
    let entry = entry.finish()?;
    let len = (entry.len() + 4).next_multiple_of(8) - 4;
    section.put_u32(&[u32::try_from(len).unwrap_or(0)]);
    section.put(&entry);
    // Padded with DW_CFA_nop.
    section.put([0; 8].get(..len - entry.len()).unwrap_or_default());
    Ok(())
}

fn put_rows(entry: &mut FallibleBuf, rows: &[Row]) {
    for pair in rows.windows(2) {
        let [before, row] = pair else { continue };
        put_advance_loc(entry, row.at - before.at);
        let cfa = row.frame.cfa().filter(|cfa| Some(*cfa) != before.frame.cfa());
        if let Some((register, distance)) = cfa {
            put_def_cfa(entry, register, distance.unsigned_abs());
        }
        let saved = before.frame.saved.into_iter().zip(row.frame.saved);
        for (&register, (was, is)) in CALLEE_SAVED.iter().zip(saved) {
            match is {
                _ if was == is => {}
                Some(distance) => {
                    entry.put(&[DW_CFA_OFFSET | dwarf_register(register)]);
                    entry.put_uleb128(distance.unsigned_abs() / 8);
                }
                None => entry.put(&[DW_CFA_RESTORE | dwarf_register(register)]),
            }
        }
    }
}

fn put_advance_loc(entry: &mut FallibleBuf, bytes: usize) {
    match u8::try_from(bytes) {
        Ok(few @ 0..0x40) => entry.put(&[DW_CFA_ADVANCE_LOC | few]),
        _ => {
            entry.put(&[DW_CFA_ADVANCE_LOC4]);
            entry.put_u32(&[u32::try_from(bytes).unwrap_or(0)]);
        }
    }
}

fn put_def_cfa(entry: &mut FallibleBuf, register: u8, distance: u64) {
    entry.put(&[DW_CFA_DEF_CFA, dwarf_register(register)]);
    entry.put_uleb128(distance);
}

fn dwarf_register(register: u8) -> u8 {
    DWARF_REGISTERS.get(usize::from(register)).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skip::lacks;
    use std::path::{Path, PathBuf};
    use std::process::Command;

    fn output(command: &mut Command) -> Option<String> {
        let output = command.output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The compiler's CFI of a function: its range, and the CFA rule from each address on.
    struct CompilerCfi {
        start: usize,
        end: usize,
        rows: Vec<(usize, String)>,
    }

    /// The CFI of a linked file, from readelf.
    fn compiler_cfi(file: &Path) -> Option<Vec<CompilerCfi>> {
        let text =
            output(Command::new("readelf").args(["-W", "--debug-dump=frames-interp"]).arg(file))?;
        let hex = |text: &str| usize::from_str_radix(text, 16).unwrap();
        let mut all: Vec<CompilerCfi> = Vec::new();
        let mut in_function = false;
        for line in text.lines() {
            if let Some((_, range)) = line.split_once(" pc=") {
                let (start, end) = range.trim().split_once("..").unwrap();
                all.push(CompilerCfi { start: hex(start), end: hex(end), rows: Vec::new() });
                in_function = true;
            } else if line.contains("CIE") {
                in_function = false;
            }
            let mut words = line.split_whitespace();
            let (at, cfa) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
            if in_function && at.len() == 16 && (cfa.starts_with('r') || cfa == "exp") {
                all.last_mut().unwrap().rows.push((hex(at), cfa.to_owned()));
            }
        }
        Some(all)
    }

    /// The address and the contents of `.text`.
    fn text(file: &Path) -> (usize, Vec<u8>) {
        let table = output(Command::new("readelf").args(["-W", "-S"]).arg(file)).unwrap();
        let line = table.lines().find(|line| line.contains(" .text ")).unwrap();
        let address =
            line.split_whitespace().skip_while(|word| *word != "PROGBITS").nth(1).unwrap();
        let bytes = file.with_extension("text");
        let mut copy = Command::new("objcopy");
        copy.args(["-O", "binary", "--only-section=.text"]);
        output(copy.arg(file).arg(&bytes)).unwrap();
        (usize::from_str_radix(address, 16).unwrap(), std::fs::read(bytes).unwrap())
    }

    fn shown(frame: &State) -> String {
        let (register, distance) = frame.cfa().unwrap();
        format!("{}+{distance}", if register == RSP { "rsp" } else { "rbp" })
    }

    /// The comparison of the inferred CFI with the compiler's.
    #[derive(Default, Debug)]
    struct Comparison {
        functions: usize,
        described: usize,
        instructions: usize,
        different: usize,
    }

    fn compare(file: &Path) -> Option<Comparison> {
        let all = compiler_cfi(file)?;
        let (start, code) = text(file);
        let mut sum = Comparison::default();
        for compiler_cfi in all {
            let inside = compiler_cfi
                .start
                .checked_sub(start)
                .and_then(|at| code.get(at..compiler_cfi.end - start));
            // Skips CFA rules that are expressions, as in the dynamic linker.
            let Some(code) = inside.filter(|_| compiler_cfi.rows.iter().all(|row| row.1 != "exp"))
            else {
                continue;
            };
            sum.functions += 1;
            let Some((rows, described)) = rows(code) else { continue };
            sum.described += usize::from(described == code.len());
            let mut at = 0;
            while at < described {
                let ours = rows.iter().rev().find(|row| row.at <= at).map(|row| shown(&row.frame));
                let theirs =
                    compiler_cfi.rows.iter().rev().find(|row| row.0 <= compiler_cfi.start + at);
                let theirs = theirs.map_or("rsp+8", |row| &row.1);
                let len = decode(&code[at..]).unwrap().0;
                let here = &code[at..at + len];
                let padding = here.ends_with(&[0x90]) || here.windows(2).any(|w| w == [0x0f, 0x1f]);
                if !padding {
                    sum.instructions += 1;
                    sum.different += usize::from(ours.as_deref() != Some(theirs));
                }
                at += len;
            }
        }
        Some(sum)
    }

    /// Checks the instruction lengths against objdump.
    fn compare_lengths(file: &Path) -> Option<usize> {
        let mut objdump = Command::new("objdump");
        let listing = output(objdump.args(["-d", "-w", "-j", ".text"]).arg(file))?;
        let mut count = 0;
        for line in listing.lines() {
            // Address, bytes and text, separated by tabs.
            let mut parts = line.split('\t').skip(1);
            let (Some(bytes), Some(text)) = (parts.next(), parts.next()) else { continue };
            let bytes: Vec<u8> = bytes
                .split_whitespace()
                .map(|byte| u8::from_str_radix(byte, 16).unwrap())
                .collect();
            if !text.contains("(bad)") && bytes[0] != 0x9b {
                let len = decode(&bytes).map(|(len, _)| len);
                assert_eq!(len, Some(bytes.len()), "{line}");
                count += 1;
            }
        }
        Some(count)
    }

    /// One of the C test programs as a shared library; `None` without this compiler.
    fn compiled(compiler: &str, name: &str, options: &[&str]) -> Option<PathBuf> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let file =
            format!("smf-frames-{}-{compiler}-{name}{}", std::process::id(), options.concat());
        let file = std::env::temp_dir().join(file);
        let mut command = Command::new(compiler);
        command.args(["-shared", "-fPIC", "-fasynchronous-unwind-tables", "-I"]);
        command.arg(here.join("include")).args(options).arg("-o").arg(&file);
        command.arg(here.join("tests/c").join(name).with_extension("c"));
        output(&mut command)?;
        file.exists().then_some(file)
    }

    #[test]
    fn inferred_cfi_agrees_with_that_of_compilers() {
        let mut sum = Comparison::default();
        for compiler in ["gcc", "clang"] {
            for name in ["exports", "hooks"] {
                for options in [
                    &["-O0"][..],
                    &["-O1"],
                    &["-O2"],
                    &["-O3", "-march=haswell"],
                    &["-Os"],
                    &["-O2", "-fno-omit-frame-pointer"],
                    &["-O2", "-fstack-protector-strong"],
                ] {
                    let Some(file) = compiled(compiler, name, options) else { continue };
                    let lengths = compare_lengths(&file);
                    let one = compare(&file);
                    for made in [file.clone(), file.with_extension("text")] {
                        let _ = std::fs::remove_file(made);
                    }
                    let (Some(lengths), Some(one)) = (lengths, one) else { continue };
                    assert!(lengths > 100 && one.functions > 5, "{options:?}: {one:?}");
                    sum.functions += one.functions;
                    sum.described += one.described;
                    sum.instructions += one.instructions;
                    sum.different += one.different;
                }
            }
        }
        if sum.functions == 0 {
            lacks("a compiler or binutils");
        }
        assert_eq!(sum.described, sum.functions);
        // These programs call `exit`, with arguments on the stack, from each of their many checks, which is
        // the hardest case.
        assert!(sum.different * 50 <= sum.instructions, "{sum:?}");
    }

    #[test]
    fn code_that_cannot_be_followed_is_not_described() {
        // ret; push rbx and ret; mov rsp, rax; an invalid opcode; truncated.
        for (code, described) in [
            (&b"\xc3"[..], Some(1)),
            (b"\x53\x5b\xc3", Some(3)),
            (b"\x48\x89\xc4\xc3", None),
            (b"\x06\xc3", None),
            (b"\x48\x89", None),
            (b"", Some(0)),
            // The same after push rbx; pop rbx; ret.
            (b"\x53\x5b\xc3\x53\x48\x89\xc4\xc3", Some(3)),
            (b"\x53\x5b\xc3\x06\xc3", Some(3)),
        ] {
            assert_eq!(rows(code).map(|(_, described)| described), described, "{code:x?}");
        }
    }

    #[test]
    fn arbitrary_bytes_are_decoded_without_panic() {
        let mut seed = 1u64;
        for _ in 0..20_000 {
            let mut code = Vec::new();
            for _ in 0..24 {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                code.push(seed.to_le_bytes()[7]);
            }
            if let Some(instruction @ (len, _)) = decode(&code) {
                assert!((1..=15).contains(&len), "{code:x?}");
                // A truncated instruction is not decoded.
                assert_eq!(decode(&code[..len]), Some(instruction), "{code:x?}");
                assert_eq!(decode(&code[..len - 1]), None, "{code:x?}");
            }
            let _ = debug_frame([(0x1000, code)].into_iter());
        }
    }

    #[test]
    fn fde_encodes_the_call_frame_table() {
        // push rbp; mov rbp, rsp; push rbx; pop rbx; leave; ret
        let section =
            debug_frame([(0x1122, b"\x55\x48\x89\xe5\x53\x5b\xc9\xc3".to_vec())].into_iter())
                .unwrap();
        let cie = [
            20, 0, 0, 0, 255, 255, 255, 255, 1, 0, 1, 0x78, 16, 0x0c, 7, 8, 0x90, 1, 0, 0, 0, 0, 0,
            0,
        ];
        assert_eq!(section[..24], cie);
        let entry = &section[24..];
        assert_eq!((entry.len() % 8, usize::from(entry[0])), (0, entry.len() - 4));
        assert_eq!(
            entry[4..24],
            [0, 0, 0, 0, 0x22, 0x11, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0]
        );
        let expected = [
            [0x41, 0x0c, 7, 16, 0x86, 2].as_slice(), // after push rbp: rsp+16, rbp at -16
            &[0x43, 0x0c, 6, 16],                    // after mov: rbp+16
            &[0x41, 0x83, 3],                        // rbx at -24
            &[0x41, 0xc3],                           // rbx restored
            &[0x41, 0x0c, 7, 8, 0xc6],               // after leave
        ]
        .concat();
        assert_eq!(entry[24..24 + expected.len()], expected);
    }

    #[test]
    fn registers_saved_by_mov_are_tracked() {
        // sub rsp, 32; mov [rsp + 16], rbp; mov [rsp], r12; mov [rsp + 8], rax; mov [rsp], rbp;
        // mov rbp, [rsp + 16]; add rsp, 32; ret
        let code = b"\x48\x83\xec\x20\x48\x89\x6c\x24\x10\x4c\x89\x24\x24\x48\x89\x44\x24\x08\
            \x48\x89\x2c\x24\x48\x8b\x6c\x24\x10\x48\x83\xc4\x20\xc3";
        let (rows, described) = rows(code).unwrap();
        assert_eq!(described, code.len());
        let saved = |at| rows.iter().rev().find(|row| row.at <= at).unwrap().frame.saved;
        assert_eq!(saved(4), [None; 6]);
        assert_eq!(saved(9), [None, Some(24), None, None, None, None]);
        assert_eq!(saved(13), [None, Some(24), Some(40), None, None, None]);
        assert_eq!(saved(31), saved(13));
        assert_eq!(shown(&rows.last().unwrap().frame), "rsp+8");
    }
}

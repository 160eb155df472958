//! Labels, limits of branches, relocations, and operands that cannot be encoded.

use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, vec};

use super::super::assembler::MAX_CODE;
use super::super::*;
use super::disassembler::{Random, disassemble};
use crate::codegen::code::Relocation;
use crate::codegen::x64::AssembleError as E;
use crate::format::RelocKind;

type Branch = fn(&mut Assembler, Label);

/// Instructions that refer to a label: the text in front of the address.
const BRANCHES: [(Branch, &str); 8] = [
    (|asm, to| asm.b(to), "b"),
    (|asm, to| asm.bl(to), "bl"),
    (|asm, to| asm.b_cond(Cond::Lo, to), "b.cc"),
    (|asm, to| asm.cbz(Width::W64, Gpr::X3, to), "cbz x3,"),
    (|asm, to| asm.cbnz(Width::W32, Gpr::X4, to), "cbnz w4,"),
    (|asm, to| asm.tbz(Gpr::X5, 33, to), "tbz x5, #33,"),
    (|asm, to| asm.adr(Gpr::X7, to), "adr x7,"),
    (|asm, to| asm.ldr_literal_d(Fpr::new(9), to), "ldr d9,"),
];

#[test]
fn references_lead_to_their_labels_in_both_directions() {
    let mut asm = Assembler::new();
    let mut random = Random(2);
    let labels: Vec<Label> = (0..20).map(|_| asm.label()).collect();
    let mut expected = Vec::new();
    for &label in &labels {
        for _ in 0..20 {
            let (branch, text) = random.pick(&BRANCHES);
            let to = random.pick(&labels);
            branch(&mut asm, to);
            expected.push((text, to));
        }
        asm.bind(label);
    }
    asm.ret();
    assert!(asm.code().is_ok());
    let offsets = |label| asm.label_offset(label).unwrap();
    let texts: Vec<String> =
        expected.iter().map(|&(text, to)| format!("{text} 0x{:x}", offsets(to))).collect();
    let bytes = asm.code().unwrap().bytes.to_vec();
    let Some(lines) = disassemble(&bytes, false) else { return };
    assert_eq!(lines[..texts.len()], texts);
}

/// A reference, `between` bytes of data, and its label; or the label first.
fn apart(branch: Branch, between: usize, backward: bool, long: bool) -> Result<Vec<u8>, E> {
    let mut asm = Assembler::new();
    asm.set_long_branches(long);
    let label = asm.label();
    if backward {
        asm.bind(label);
        asm.put_data(&vec![0; between], 1);
        branch(&mut asm, label);
    } else {
        branch(&mut asm, label);
        asm.put_data(&vec![0; between - 4], 1);
        asm.bind(label);
    }
    asm.code().map(|code| code.bytes.to_vec())
}

#[test]
fn limits_are_exact() {
    let limits = [27, 27, 20, 20, 20, 15, 20, 20].map(|bits| 1usize << bits);
    for ((branch, name), limit) in BRANCHES.into_iter().zip(limits) {
        if limit == MAX_CODE {
            continue;
        }
        // ADR counts bytes.
        assert!(apart(branch, limit - 4, false, false).is_ok(), "{name}");
        let error = E::BranchRange { offset: 0, distance: limit as i64, limit: limit as i64 };
        assert_eq!(apart(branch, limit, false, false), Err(error), "{name}");
        let near = apart(branch, limit, true, false).unwrap();
        assert_eq!(near.len(), limit + 4, "{name}");
        let far = apart(branch, limit + 4, true, false);
        if name.starts_with("b.") || name.starts_with('c') || name.starts_with('t') {
            // The inverted condition leads over a branch.
            let far = far.unwrap();
            let Some(lines) = disassemble(&far[limit + 4..], false) else { return };
            let inverted = name
                .replace("b.cc", "b.cs")
                .replace("bnz", "B")
                .replace("bz", "bnz")
                .replace('B', "bz");
            assert_eq!(lines[0], format!("{inverted} 0x8"), "{name}");
            assert!(lines[1].starts_with("b "), "{lines:?}");
            let forward = apart(branch, limit, false, true);
            assert!(forward.is_ok() || name.starts_with('t'), "{name}: {forward:?}");
        } else {
            assert!(far.is_err(), "{name}");
        }
    }
}

#[test]
fn labels_are_bound_once() {
    let mut asm = Assembler::new();
    let label = asm.label();
    asm.b(label);
    assert_eq!(asm.code(), Err(E::Unbound { label: 0 }));
    asm.clear();
    let label = asm.label();
    asm.bind(label);
    asm.hint(Hint::NOP);
    asm.bind(label);
    assert_eq!(asm.code(), Err(E::BoundTwice { label: 0, offset: 4 }));
    asm.clear();
    asm.bind(label);
    assert_eq!(asm.finish().err(), Some(E::UnknownLabel { label: 0 }));
}

#[test]
fn relocations_stand_at_their_instructions() {
    let mut asm = Assembler::new();
    asm.hint(Hint::NOP);
    asm.bl_target(7);
    asm.b_target(8);
    asm.load_address(Gpr::X3, 9);
    let code = asm.finish().unwrap();
    let relocation = |offset, kind, target, addend| Relocation { offset, kind, target, addend };
    let expected = [
        relocation(4, RelocKind::Arm64Branch26, 7, 0),
        relocation(8, RelocKind::Arm64Branch26, 8, 0),
        relocation(12, RelocKind::Arm64GotLoadPage21, 9, 0),
        relocation(16, RelocKind::Arm64GotLoadPageOff12, 9, 0),
    ];
    assert_eq!(code.relocations, expected);
    let Some(lines) = disassemble(&code.bytes, true) else { return };
    let texts = ["nop", "bl 0x4", "b 0x8", "adrp x3, 0x0", "ldr x3, [x3]"];
    assert_eq!(lines, texts.map(|text| text.to_string()));
}

#[test]
fn operands_that_cannot_be_encoded_are_refused() {
    let refused = |emit: fn(&mut Assembler)| {
        let mut asm = Assembler::new();
        asm.hint(Hint::NOP);
        emit(&mut asm);
        asm.hint(Hint::NOP);
        matches!(asm.finish(), Err(E::Immediate { offset: 4, .. }))
    };
    use Width::{W32, W64};
    assert!(refused(|asm| asm.lsl(W32, Gpr::X1, Gpr::X1, 32)));
    assert!(refused(|asm| asm.lsr(W64, Gpr::X1, Gpr::X1, 64)));
    assert!(refused(|asm| asm.zero_extend(Gpr::X1, Gpr::X1, 0)));
    assert!(refused(|asm| asm.mov_wide(MovWide::MOVZ, W32, Gpr::X1, 1, 32)));
    assert!(refused(|asm| asm.mov_wide(MovWide::MOVZ, W64, Gpr::X1, 1, 8)));
    assert!(refused(|asm| asm.extr(W32, Gpr::X1, [Gpr::X1; 2], 32)));
    assert!(refused(|asm| asm.add_sub_extended(
        AddSub::ADD,
        W64,
        [Gpr::X1; 3],
        (Extension::Uxtx, 5)
    )));
    assert!(refused(|asm| asm.add_sub_shifted(
        AddSub::ADD,
        W64,
        [Gpr::X1; 3],
        (ShiftKind::Ror, 5)
    )));
    assert!(refused(|asm| asm.three_source(ThreeSource::UMULH, W64, [Gpr::X1; 3], Gpr::X1)));
    assert!(refused(|asm| asm.three_source(ThreeSource::SMADDL, W32, [Gpr::X1; 3], Gpr::ZR)));
    assert!(refused(|asm| asm.memory(Access::LDR_X, Gpr::X1, Mem::Offset(Gpr::X1, 32768))));
    assert!(refused(|asm| asm.memory(Access::LDR_X, Gpr::X1, Mem::Offset(Gpr::X1, -257))));
    assert!(refused(|asm| asm.memory(Access::LDR_X, Gpr::X1, Mem::Offset(Gpr::X1, 257))));
    assert!(refused(|asm| asm.memory(Access::LDR_X, Gpr::X1, Mem::Pre(Gpr::SP, 256))));
    assert!(refused(|asm| asm.memory(Access::LDR_D, Gpr::X1, Mem::Offset(Gpr::SP, 0))));
    assert!(refused(|asm| asm.memory_float(Access::LDR_X, Fpr::V0, Mem::Offset(Gpr::SP, 0))));
    assert!(refused(|asm| {
        asm.memory(Access::LDR_X, Gpr::X1, Mem::Index(Gpr::X1, Gpr::X1, Extension::Uxtb, false));
    }));
    let pair = |bytes| {
        let mut asm = Assembler::new();
        asm.pair(Pair::STP_X, [Gpr::X1, Gpr::X2], PairMode::Offset, Gpr::SP, bytes);
        asm.finish().is_ok()
    };
    assert_eq!([-520, -512, 4, 504, 512].map(pair), [false, true, false, true, false]);
    let mask = BitMask::new64(0xff_0000_0000).unwrap();
    let mut asm = Assembler::new();
    asm.logical_imm(Logical::AND, W32, Gpr::X1, Gpr::X1, mask);
    assert!(asm.finish().is_err());
    let mut asm = Assembler::new();
    asm.logical_imm(Logical::BIC, W64, Gpr::X1, Gpr::X1, mask);
    assert!(asm.finish().is_err());
    assert_eq!(
        [4096, 4097, 1 << 24].map(|value| Imm12::new(value).is_some()),
        [true, false, false]
    );
}

//! The relocations of a module in the making: which values to compute, and the GOT slots, stubs and imports
//! that they need.

use std::collections::{HashMap, HashSet};

use ::object::elf::RelocationType;
use smf_core::link::aarch64::Operand;

use super::object::{GlobalId, InputReloc, SectionId};
use super::resolve::Resolution;

/// A relocation of the input, translated into a value to compute.
pub(super) struct PackReloc {
    pub(super) section: SectionId,
    /// The ELF relocation, with the offset of the field after the rewrite.
    pub(super) input: InputReloc,
    pub(super) form: RelocForm,
    pub(super) to: RelocTarget,
    /// The addend of the value.
    pub(super) addend: i64,
    /// The change of the instruction that holds the field.
    pub(super) rewrite: Option<Rewrite>,
}

/// How a value is computed, in the terms of the psABI: S is the symbol's address, A the addend, P the address
/// of the field, GOT the start of the global offset table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum RelocForm {
    /// S + A in `bytes` bytes, read as a signed or unsigned number.
    Absolute { bytes: u64, signed: bool },
    /// S + A - P in `bytes` bytes.
    PcRelative { bytes: u64 },
    /// S + A - GOT in `bytes` bytes.
    GotRelative { bytes: u64 },
    /// The address S + A in an operand of an aarch64 instruction.
    Instruction(Operand),
}

impl RelocForm {
    pub(super) fn bytes(self) -> u64 {
        match self {
            RelocForm::Absolute { bytes, .. }
            | RelocForm::PcRelative { bytes }
            | RelocForm::GotRelative { bytes } => bytes,
            RelocForm::Instruction(_) => 4,
        }
    }
}

pub(super) const ABS64: RelocForm = RelocForm::Absolute { bytes: 8, signed: false };
pub(super) const PC32: RelocForm = RelocForm::PcRelative { bytes: 4 };

/// The target S of a relocation.
#[derive(Clone, Copy)]
pub(super) enum RelocTarget {
    Symbol(Resolution),
    /// A slot of the GOT.
    GotSlot(usize),
    /// The stub that jumps to the address in a GOT slot.
    Stub(usize),
}

/// A change of the instruction whose operand is relocated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rewrite {
    /// `mov slot(%rip), %r` to `lea symbol(%rip), %r`.
    MovToLea,
    /// `lea symbol(%rip), %r` to `mov slot(%rip), %r`.
    LeaToMov,
    /// `call *slot(%rip)` to `addr32 call symbol`.
    Call,
    /// `jmp *slot(%rip)` to `jmp symbol; nop`, whose operand lies one byte earlier.
    Jump,
    /// `ldr x, [x, slot]` to `add x, x, symbol`.
    LoadToAdd,
    /// `add x, x, symbol` to `ldr x, [x, slot]`.
    AddToLoad,
}

/// All relocations of the module and the GOT slots, stubs and imports that they need.
#[derive(Default)]
pub(super) struct RelocPlan {
    pub(super) relocs: Vec<PackReloc>,
    /// The target and addend that each GOT slot holds.
    pub(super) slots: Vec<(Resolution, i64)>,
    pub(super) slot_numbers: HashMap<(Resolution, i64), usize>,
    /// The GOT slot that each stub jumps through.
    pub(super) stubs: Vec<usize>,
    pub(super) stub_numbers: HashMap<usize, usize>,
    /// Imported symbols, in order of first reference.
    pub(super) imports: Vec<Import>,
    pub(super) import_numbers: HashMap<GlobalId, usize>,
    /// A relocation refers to the start of the GOT.
    pub(super) uses_got: bool,
    /// Imports of each object for which a warning was issued.
    pub(super) warned: HashSet<(usize, GlobalId)>,
}

/// An imported symbol.
pub(super) struct Import {
    pub(super) global: GlobalId,
    /// All references are weak.
    pub(super) is_weak: bool,
    /// A reference uses it as data.
    pub(super) is_data: bool,
}

/// Code that jumps to the address in a GOT slot.
#[derive(Clone, Copy)]
pub(super) struct Stub {
    pub(super) bytes: &'static [u8],
    /// The references to the slot: offset in the bytes, form and addend.
    pub(super) operands: &'static [(u64, RelocForm, i64)],
}

/// The properties of an instruction set that the layout and the contents of sections depend on.
pub(super) struct Isa {
    /// Fills gaps in code, so that execution traps there.
    pub(super) trap: u8,
    pub(super) stub: Stub,
    /// The minimum alignment of the code in bytes.
    pub(super) code_alignment: u64,
    /// The relocation types whose field holds an address, which the loader has to write.
    pub(super) addresses: &'static [RelocationType],
}

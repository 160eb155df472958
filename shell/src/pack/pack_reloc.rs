//! The relocations of a module in the making: which values to compute, and the GOT slots, stubs and imports
//! that they need.

use std::ops::Range;

use hashbrown::HashSet;

use ::object::elf::RelocationType;
use smf_core::format::ext::tls::Value;
use smf_core::link::aarch64::Operand;

use super::init_sections::FragmentFrame;
use super::object::{GlobalId, IndexMap, IndexSet, InputReloc, SectionId};
use super::registrars::Registrar;
use super::resolve::{Program, Resolution};
use super::thunk::Thunk;
use super::tls_value::{TlsSlots, TlsSymbol, TlsValue};

/// A relocation of the input, translated into a value to compute.
#[derive(Clone, Copy)]
pub(super) struct PackReloc {
    /// The index of the ELF relocation among those of the section.
    pub(super) index: usize,
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
    /// S + A - GOT in the offset of a 64-bit load of aarch64, which has 15 bits.
    GotLoad15,
}

impl RelocForm {
    pub(super) fn bytes(self) -> u64 {
        match self {
            RelocForm::Absolute { bytes, .. }
            | RelocForm::PcRelative { bytes }
            | RelocForm::GotRelative { bytes } => bytes,
            RelocForm::Instruction(_) | RelocForm::GotLoad15 => 4,
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
    /// The same with a landing pad, because its address is taken.
    LandingStub(usize),
    /// The thunk that executes an instruction in its place.
    Thunk(usize),
    /// None: the relocation is refused already.
    Refused,
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
    /// An instruction to a jump, or a call to a call, and `nops` bytes of padding.
    Thunk { nops: u8, is_call: bool },
    /// `ldr x, [x, slot]` to `add x, x, symbol`.
    LoadToAdd,
    /// `add x, x, symbol` to `ldr x, [x, slot]`.
    AddToLoad,
}

/// The relocations of an input section in a plan.
pub(super) struct SectionRelocs {
    pub(super) id: SectionId,
    /// Those that are not plain, in the order of the input.
    pub(super) planned: Range<usize>,
    /// How many relocations the input has.
    pub(super) count: usize,
}

/// All relocations of the module and the GOT slots, stubs and imports that they need.
///
/// Most relocations are plain: their field holds the address of a symbol of the module, or its distance, in the form
/// that [`Isa::plain`] has for their type. They are not recorded, but read from the input again.
#[derive(Default)]
pub(super) struct RelocPlan {
    /// The relocations that are not plain.
    pub(super) relocs: Vec<PackReloc>,
    /// The sections with relocations, in order of their ids.
    pub(super) sections: Vec<SectionRelocs>,
    /// The sections of unwinding tables, of which some records are kept.
    pub(super) frames: Vec<SectionRelocs>,
    /// The target and addend that each GOT slot holds.
    pub(super) slots: IndexSet<(Resolution, i64)>,
    /// The GOT slot that each stub jumps through.
    pub(super) stubs: IndexSet<usize>,
    /// The same for those whose address is taken.
    pub(super) landing_stubs: IndexSet<usize>,
    /// Instructions that are executed elsewhere.
    pub(super) thunks: Vec<Thunk>,
    /// Registrars that are referred to.
    pub(super) registrars: IndexSet<Registrar>,
    /// Imported symbols, in order of first reference.
    pub(super) imports: IndexMap<GlobalId, Import>,
    /// Values of thread-local storage that the loader provides: of the module's own, or of an imported symbol.
    pub(super) tls_imports: IndexSet<(Value, Option<GlobalId>)>,
    /// A relocation refers to the start of the GOT.
    pub(super) uses_got: bool,
    /// Code expects the GOT to start at a page boundary.
    pub(super) is_got_paged: bool,
    /// Imports of each object for which a warning was issued.
    pub(super) warned: HashSet<(usize, GlobalId)>,
}

impl RelocPlan {
    /// The relocations of a section, except those that ask for nothing.
    pub(super) fn of_section(
        &self,
        program: &Program<'_>,
        found: &SectionRelocs,
        inputs: impl Iterator<Item = InputReloc>,
    ) -> impl Iterator<Item = PackReloc> {
        let planned = self.relocs.get(found.planned.clone()).unwrap_or(&[]);
        let mut planned = planned.iter().peekable();
        inputs.enumerate().filter_map(move |(index, input)| {
            let planned = planned.next_if(|reloc| reloc.index == index);
            planned.copied().or_else(|| PackReloc::plain(program, index, input))
        })
    }

    /// Records the import that a value of thread-local storage needs, if any.
    pub(super) fn note_tls(&mut self, value: TlsValue) {
        self.tls_imports.extend(value.import());
    }

    /// The number of the first of the adjacent slots of an access to thread-local storage.
    pub(super) fn tls_slots(&mut self, kind: TlsSlots, symbol: TlsSymbol, addend: i64) -> usize {
        let (symbol, addend) = match kind {
            TlsSlots::Local => (TlsSymbol::Base, 0),
            _ => (symbol, addend),
        };
        let word = |word| TlsValue::Slot { kind, symbol, addend, word };
        // The slots of one access are added at once.
        let numbers = (0..kind.words()).map(|number| {
            self.note_tls(word(number));
            self.slots.insert_full((Resolution::Tls(word(number)), 0)).0
        });
        numbers.min().unwrap_or(0)
    }
}

/// An imported symbol.
pub(super) struct Import {
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

/// The code of a [`Registrar`]: adds arguments and jumps to the target through its GOT slot.
#[derive(Clone, Copy)]
pub(super) struct RegistrarCode {
    pub(super) bytes: &'static [u8],
    /// The operands that refer to the handle: offset in the bytes, form and addend.
    pub(super) handle: &'static [(u64, RelocForm, i64)],
    /// The operands that refer to the GOT slot.
    pub(super) slot: &'static [(u64, RelocForm, i64)],
}

/// The properties of an instruction set that the layout and the contents of sections depend on.
pub(super) struct Isa {
    /// Fills gaps in code, so that execution traps there.
    pub(super) trap: u8,
    pub(super) stub: Stub,
    /// A stub that indirect branches may go to.
    pub(super) landing_stub: Stub,
    /// The code of each [`Registrar`], in the order of [`Registrar::ALL`].
    pub(super) registrars: [RegistrarCode; 3],
    pub(super) fragments: FragmentFrame,
    /// The minimum alignment of the code in bytes.
    pub(super) code_alignment: u64,
    /// The relocation types whose field holds the address of the symbol or its distance, if the module contains it.
    pub(super) plain: &'static [(RelocationType, RelocForm)],
    /// The relocation types whose field holds an address, which the loader has to write.
    pub(super) addresses: &'static [RelocationType],
}

impl PackReloc {
    /// A plain relocation; `None` for one that asks for nothing.
    fn plain(program: &Program<'_>, index: usize, input: InputReloc) -> Option<Self> {
        let form = program.machine().isa().plain_form(input.kind)?;
        let to = RelocTarget::Symbol(program.resolution(input.symbol).ok()?);
        Some(PackReloc { index, input, form, to, addend: input.addend, rewrite: None })
    }
}

impl Isa {
    /// The form of the field of a plain relocation; `None` if no relocation of the type is plain.
    pub(super) fn plain_form(&self, kind: RelocationType) -> Option<RelocForm> {
        self.plain.iter().find(|(plain, _)| *plain == kind).map(|(_, form)| *form)
    }
}

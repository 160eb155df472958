//! The scan of one section's relocations: allocates GOT slots, stubs and imports as they are referred to.

use hashbrown::HashSet;
use std::cell::OnceCell;

use ::object::elf;
use smf_core::format::ext::tls::TlsImport;

use super::error::{PackError, PackWarning, Result};
use super::object::{GlobalId, InputReloc, Section, SectionId, SymbolId};
use super::output::Segment;
use super::pack_reloc::{Import, PackReloc, RelocForm, RelocPlan, RelocTarget, Rewrite};
use super::registrars::Registrar;
use super::resolve::{Program, Resolution};
use super::thunk::{self, InstructionRange, MovableInstructions, Thunk};

/// The scan of one section.
pub(super) struct RelocScanner<'s, 'd> {
    pub(super) program: &'s Program<'d>,
    pub(super) plan: &'s mut RelocPlan,
    pub(super) warnings: &'s mut Vec<PackWarning>,
    /// Symbols that are referred to by instructions which have no alternative form.
    pub(super) unrelaxable: &'s HashSet<SymbolId>,
    /// The instructions of the section that can be moved to a thunk, once one of them has to be.
    pub(super) movable: OnceCell<MovableInstructions>,
    pub(super) id: SectionId,
    pub(super) section: &'s Section<'d>,
    /// The index of the current relocation.
    pub(super) index: usize,
}

impl<'s> RelocScanner<'s, '_> {
    pub(super) fn push(
        &mut self,
        reloc: InputReloc,
        form: RelocForm,
        to: RelocTarget,
        addend: i64,
        rewrite: Option<Rewrite>,
    ) -> Result<()> {
        // A direct jump is one byte shorter than one through a slot; a `nop` fills the gap.
        let padding = match rewrite {
            Some(Rewrite::Jump) => 1,
            Some(Rewrite::Thunk { nops, .. }) => u64::from(nops),
            _ => 0,
        };
        let len = form.bytes() + padding;
        let end = reloc.offset.checked_add(len).filter(|end| *end <= self.section.size);
        if end.is_none() {
            let reason = "a relocation reaches outside the section";
            return Err(self.program.bad_section(self.id, reason));
        }
        let to = match to {
            // Loaders call addresses in the module alone.
            RelocTarget::Symbol(to @ Resolution::Import(_)) if self.is_init_array() => {
                self.landing_stub(reloc, to)
            }
            to => to,
        };
        if let RelocTarget::Symbol(resolution) = to {
            let is_near = matches!(form, RelocForm::PcRelative { .. } | RelocForm::Instruction(_));
            self.note(reloc, resolution, is_near);
        }
        self.plan.uses_got |= matches!(form, RelocForm::GotRelative { .. });
        let (index, input) = (self.index, reloc);
        self.plan.relocs.push(PackReloc { index, input, form, to, addend, rewrite });
        Ok(())
    }

    /// Whether the section is an array of constructors or destructors.
    fn is_init_array(&self) -> bool {
        [Segment::InitArray, Segment::FiniArray].contains(&Segment::of(self.section))
    }

    /// A reference to the symbol itself.
    pub(super) fn direct(
        &mut self,
        reloc: InputReloc,
        form: RelocForm,
        resolution: Resolution,
        rewrite: Option<Rewrite>,
    ) -> Result<()> {
        self.push(reloc, form, RelocTarget::Symbol(resolution), reloc.addend, rewrite)
    }

    /// Records a reference to a symbol.
    fn note(&mut self, reloc: InputReloc, resolution: Resolution, is_data: bool) {
        match resolution {
            Resolution::Import(global) => self.import(reloc, global, is_data),
            Resolution::Got => self.plan.uses_got = true,
            Resolution::Tls(value) => self.plan.note_tls(value),
            // `__dso_handle` is the address of a GOT slot that holds that address, and so is unique.
            Resolution::DsoHandle => {
                self.plan.slots.insert((resolution, 0));
            }
            Resolution::Registrar(registrar) => self.registrar(registrar),
            _ => {}
        }
    }

    fn import(&mut self, reloc: InputReloc, global: GlobalId, is_data: bool) {
        let symbol = self.program.symbol(reloc.symbol);
        let is_weak = symbol.is_some_and(|symbol| symbol.is_weak);
        let is_data = is_data || symbol.is_some_and(|symbol| symbol.kind == elf::STT_OBJECT);
        self.add_import(global, is_weak, is_data);
    }

    /// Records a reference to a function that the packer adds, and what its code refers to.
    fn registrar(&mut self, registrar: Registrar) {
        if !self.plan.registrars.insert(registrar) {
            return;
        }
        if self.program.dso_handle() == Resolution::DsoHandle {
            self.plan.slots.insert((Resolution::DsoHandle, 0));
        }
        let Some(target) = self.program.target_of(registrar) else { return };
        if let Resolution::Import(global) = target {
            self.add_import(global, false, false);
        }
        self.plan.slots.insert((target, 0));
    }

    fn add_import(&mut self, global: GlobalId, is_weak: bool, is_data: bool) {
        let import = self.plan.imports.entry(global).or_insert(Import { is_weak, is_data });
        import.is_weak &= is_weak;
        import.is_data |= is_data;
    }

    pub(super) fn slot(&mut self, reloc: InputReloc, to: Resolution, addend: i64) -> RelocTarget {
        self.note(reloc, to, false);
        RelocTarget::GotSlot(self.plan.slots.insert_full((to, addend)).0)
    }

    pub(super) fn stub(&mut self, reloc: InputReloc, to: Resolution, addend: i64) -> RelocTarget {
        self.note(reloc, to, false);
        let (slot, _) = self.plan.slots.insert_full((to, addend));
        RelocTarget::Stub(self.plan.stubs.insert_full(slot).0)
    }

    /// A stub whose address is taken.
    pub(super) fn landing_stub(&mut self, reloc: InputReloc, to: Resolution) -> RelocTarget {
        self.note(reloc, to, false);
        let (slot, _) = self.plan.slots.insert_full((to, 0));
        RelocTarget::LandingStub(self.plan.landing_stubs.insert_full(slot).0)
    }

    /// Moves the instruction that refers to an external symbol by a distance or an address (`is_absolute`) to a thunk.
    /// Returns the jump to it, or `None` if the instruction cannot be moved.
    pub(super) fn thunk(
        &mut self,
        reloc: InputReloc,
        resolution: Resolution,
        is_absolute: bool,
    ) -> Option<(InputReloc, RelocTarget, Rewrite)> {
        let object = self.program.object(self.id.object).filter(|_| self.section.is_code())?;
        let (id, section) = (self.id, self.section);
        let movable = self.movable.get_or_init(|| thunk::movable_instructions(object, id, section));
        let &InstructionRange { start, end } = movable.get(&reloc.offset)?;
        let bytes = section.bytes.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)?;
        let is_call = bytes.starts_with(&[0xff, 0x15]);
        // A distance counts from the end of the instruction.
        let behind = if is_absolute { 0 } else { end.checked_sub(reloc.offset)? };
        let offset = reloc.addend.checked_add_unsigned(behind)?;
        let field = reloc.offset.checked_sub(start)?;
        let (bytes, slot_operand, back_operand) = thunk::encode(bytes, field, offset, is_absolute)?;
        let nops = u8::try_from(end.checked_sub(start)?.checked_sub(5)?).ok()?;
        self.note(reloc, resolution, !is_absolute);
        let (slot, _) = self.plan.slots.insert_full((resolution, 0));
        let number = self.plan.thunks.len();
        self.plan.thunks.push(Thunk {
            bytes,
            slot_operand,
            back_operand,
            slot,
            section: id,
            back: end,
        });
        let jump = InputReloc { offset: start.checked_add(1)?, ..reloc };
        Some((jump, RelocTarget::Thunk(number), Rewrite::Thunk { nops, is_call }))
    }

    /// The size of a symbol as an absolute value.
    pub(super) fn size(&self, reloc: InputReloc, resolution: Resolution) -> Result<RelocTarget> {
        let size = match resolution {
            Resolution::Common(id) => self.program.global(id).map(|global| global.common_size),
            Resolution::Import(_) => None,
            _ => self.program.definition(reloc.symbol).map(|symbol| symbol.size),
        };
        let unknown = || self.error(reloc, "needs the size of an imported symbol");
        Ok(RelocTarget::Symbol(Resolution::Absolute(size.ok_or_else(unknown)?)))
    }

    /// The error for a relocation type that a module cannot express.
    pub(super) fn unsupported(&self, reloc: InputReloc) -> PackError {
        let name = self.program.machine().reloc_name(reloc.kind).unwrap_or_default();
        let has = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
        let why = if has(&["TLS", "TPOFF", "DTPOFF", "DTPMOD"]) {
            "refers to thread-local storage in a way that a module cannot express; compile with -fPIC"
        } else if has(&["IRELATIVE"]) {
            "is an indirect function (IFUNC), which a module cannot express"
        } else if has(&["MOVW_UABS", "MOVW_SABS"]) {
            "is part of an address in instructions, which a relocatable module cannot express; compile with -mcmodel=small"
        } else {
            "cannot be expressed in a module"
        };
        self.error(reloc, why)
    }

    pub(super) fn error(&self, reloc: InputReloc, why: &'static str) -> PackError {
        let place = self.program.place(self.id);
        let symbol = self.program.symbol_title(reloc.symbol);
        let kind = self.program.reloc_type(reloc);
        PackError::RelocKind { place, kind, symbol, why }
    }

    /// Warns of an import that is referred to by a 21-bit distance.
    pub(super) fn warn_of_adjacent_import(&mut self, reloc: InputReloc, resolution: Resolution) {
        if self.newly_imported(resolution).is_some() {
            let place = self.program.place(self.id);
            let symbol = self.program.symbol_title(reloc.symbol);
            self.warnings.push(PackWarning::AdjacentImport { place, symbol });
        }
    }

    /// Warns of an import that is referred to by a 32-bit distance or address.
    pub(super) fn warn_of_near_import(&mut self, reloc: InputReloc, resolution: Resolution) {
        let Some(name) = self.newly_imported(resolution) else { return };
        let place = self.program.place(self.id);
        let symbol = self.program.symbol_title(reloc.symbol);
        match self.program.machine().isa().addresses.contains(&reloc.kind) {
            // The offset of thread-local storage that an input module imports.
            true if TlsImport::parse(name).is_some() => {}
            true => self.warnings.push(PackWarning::LowImport { place, symbol }),
            false => self.warnings.push(PackWarning::NearImport { place, symbol }),
        }
    }

    /// The name of an import of which the object has caused no warning yet.
    fn newly_imported(&mut self, resolution: Resolution) -> Option<&'s [u8]> {
        let Resolution::Import(global) = resolution else { return None };
        let is_new = self.plan.warned.insert((self.id.object, global));
        self.program.global(global).map(|global| global.name).filter(|_| is_new)
    }
}

/// Whether the target's distance from the code is unknown until load time.
pub(super) fn is_external(resolution: Resolution) -> bool {
    matches!(resolution, Resolution::Import(_) | Resolution::Absolute(_))
}

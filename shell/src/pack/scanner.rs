//! The scan of one section's relocations: allocates GOT slots, stubs and imports as they are referred to.

use std::collections::HashSet;

use ::object::elf;

use super::error::{PackError, PackWarning, RelocType};
use super::object::{GlobalId, Section, SectionId, SymbolId, text};
use super::pack_reloc::{Import, PackReloc, RelocForm, RelocPlan, RelocTarget, Rewrite};
use super::resolve::{Program, Resolution};

/// An ELF relocation, decoded.
#[derive(Clone, Copy)]
pub(super) struct InputReloc {
    pub(super) kind: u32,
    pub(super) symbol: SymbolId,
    pub(super) offset: u64,
    pub(super) addend: i64,
}

/// The scan of one section.
pub(super) struct RelocScanner<'s, 'd> {
    pub(super) program: &'s Program<'d>,
    pub(super) plan: &'s mut RelocPlan,
    pub(super) warnings: &'s mut Vec<PackWarning>,
    /// Symbols that are referred to by instructions which have no alternative form.
    pub(super) unrelaxable: &'s HashSet<SymbolId>,
    pub(super) id: SectionId,
    pub(super) section: &'s Section<'d>,
}

impl RelocScanner<'_, '_> {
    pub(super) fn push(
        &mut self,
        reloc: InputReloc,
        form: RelocForm,
        to: RelocTarget,
        addend: i64,
        rewrite: Option<Rewrite>,
    ) -> Result<(), PackError> {
        let InputReloc { kind, symbol, offset, .. } = reloc;
        // A direct jump is one byte shorter than one through a slot; a `nop` fills the gap.
        let len = form.bytes() + u64::from(rewrite == Some(Rewrite::Jump));
        let end = offset.checked_add(len).filter(|end| *end <= self.section.size);
        if end.is_none() {
            let (object, section) = self.program.titles(self.id);
            let reason = "a relocation reaches outside the section";
            return Err(PackError::BrokenSection { object, section, reason });
        }
        if let RelocTarget::Symbol(resolution) = to {
            let is_near = matches!(form, RelocForm::PcRelative { .. } | RelocForm::Instruction(_));
            self.note(reloc, resolution, is_near)?;
        }
        self.plan.uses_got |= matches!(form, RelocForm::GotRelative { .. });
        let section = self.id;
        self.plan.relocs.push(PackReloc {
            section,
            offset,
            form,
            to,
            addend,
            rewrite,
            kind,
            symbol,
        });
        Ok(())
    }

    /// Records a reference to a symbol.
    fn note(
        &mut self,
        reloc: InputReloc,
        resolution: Resolution,
        is_data: bool,
    ) -> Result<(), PackError> {
        match resolution {
            Resolution::Import(global) => self.import(reloc, global, is_data),
            Resolution::Got => self.plan.uses_got = true,
            // `__dso_handle` is the address of a GOT slot that holds that address, and so is unique.
            Resolution::DsoHandle => {
                self.slot_number(resolution, 0)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn import(&mut self, reloc: InputReloc, global: GlobalId, is_data: bool) {
        let is_weak = self.program.symbol(reloc.symbol).is_some_and(|symbol| symbol.is_weak);
        let is_object =
            self.program.symbol(reloc.symbol).is_some_and(|s| s.kind == elf::STT_OBJECT);
        let plan = &mut *self.plan;
        let number = *plan.import_numbers.entry(global).or_insert(plan.imports.len());
        if number == plan.imports.len() {
            plan.imports.push(Import { global, is_weak: true, is_data: false });
        }
        if let Some(import) = plan.imports.get_mut(number) {
            import.is_weak &= is_weak;
            import.is_data |= is_data || is_object;
        }
    }

    pub(super) fn slot(
        &mut self,
        reloc: InputReloc,
        resolution: Resolution,
        addend: i64,
    ) -> Result<RelocTarget, PackError> {
        self.note(reloc, resolution, false)?;
        self.slot_number(resolution, addend).map(RelocTarget::GotSlot)
    }

    fn slot_number(&mut self, resolution: Resolution, addend: i64) -> Result<u32, PackError> {
        let slots = &mut self.plan.slots;
        let next = u32::try_from(slots.len()).map_err(|_| PackError::TooLarge)?;
        let number = *self.plan.slot_numbers.entry((resolution, addend)).or_insert(next);
        if number == next {
            slots.push((resolution, addend));
        }
        Ok(number)
    }

    pub(super) fn stub(
        &mut self,
        reloc: InputReloc,
        resolution: Resolution,
        addend: i64,
    ) -> Result<RelocTarget, PackError> {
        self.note(reloc, resolution, false)?;
        let slot = self.slot_number(resolution, addend)?;
        let next = u32::try_from(self.plan.stubs.len()).map_err(|_| PackError::TooLarge)?;
        let number = *self.plan.stub_numbers.entry(slot).or_insert(next);
        if number == next {
            self.plan.stubs.push(slot);
        }
        Ok(RelocTarget::Stub(number))
    }

    /// The size of a symbol as an absolute value.
    pub(super) fn size(
        &self,
        reloc: InputReloc,
        resolution: Resolution,
    ) -> Result<RelocTarget, PackError> {
        let size = match resolution {
            Resolution::Common(id) => self.program.global(id).map(|global| global.common_size),
            Resolution::Import(_) => None,
            _ => self.program.definition(reloc.symbol).map(|symbol| symbol.size),
        };
        let unknown = || self.error(reloc, "needs the size of an imported symbol");
        Ok(RelocTarget::Symbol(Resolution::Absolute(size.ok_or_else(unknown)?)))
    }

    pub(super) fn error(&self, reloc: InputReloc, why: &'static str) -> PackError {
        let (object, section) = self.program.titles(self.id);
        let symbol = self.symbol_title(reloc);
        PackError::RelocKind {
            object,
            section,
            kind: RelocType { machine: self.program.machine(), number: reloc.kind },
            symbol,
            why,
        }
    }

    fn symbol_title(&self, reloc: InputReloc) -> String {
        self.program.symbol(reloc.symbol).map_or_else(String::new, |symbol| text(symbol.name))
    }

    pub(super) fn warn_of_near_import(&mut self, reloc: InputReloc, resolution: Resolution) {
        let Resolution::Import(global) = resolution else { return };
        if self.plan.warned.insert((self.id.object, global)) {
            let (object, section) = self.program.titles(self.id);
            let symbol = self.symbol_title(reloc);
            self.warnings.push(PackWarning::NearImport { object, section, symbol });
        }
    }
}

/// Whether the target's distance from the code is unknown until load time.
pub(super) fn is_external(resolution: Resolution) -> bool {
    matches!(resolution, Resolution::Import(_) | Resolution::Absolute(_))
}

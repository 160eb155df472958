//! The scan of one section's relocations: allocates GOT slots, stubs and imports as they are referred to.

use std::collections::HashSet;

use ::object::elf;

use super::error::{PackError, PackWarning, RelocType, Result};
use super::object::{GlobalId, InputReloc, Section, SectionId, SymbolId};
use super::pack_reloc::{Import, PackReloc, RelocForm, RelocPlan, RelocTarget, Rewrite};
use super::resolve::{Program, Resolution};

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
    ) -> Result<()> {
        // A direct jump is one byte shorter than one through a slot; a `nop` fills the gap.
        let len = form.bytes() + u64::from(rewrite == Some(Rewrite::Jump));
        let end = reloc.offset.checked_add(len).filter(|end| *end <= self.section.size);
        if end.is_none() {
            let (object, section) = self.program.titles(self.id);
            let reason = "a relocation reaches outside the section";
            return Err(PackError::BrokenSection { object, section, reason });
        }
        if let RelocTarget::Symbol(resolution) = to {
            let is_near = matches!(form, RelocForm::PcRelative { .. } | RelocForm::Instruction(_));
            self.note(reloc, resolution, is_near);
        }
        self.plan.uses_got |= matches!(form, RelocForm::GotRelative { .. });
        let (section, input) = (self.id, reloc);
        self.plan.relocs.push(PackReloc { section, input, form, to, addend, rewrite });
        Ok(())
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
            // `__dso_handle` is the address of a GOT slot that holds that address, and so is unique.
            Resolution::DsoHandle => {
                self.slot_number(resolution, 0);
            }
            _ => {}
        }
    }

    fn import(&mut self, reloc: InputReloc, global: GlobalId, is_data: bool) {
        let symbol = self.program.symbol(reloc.symbol);
        let is_weak = symbol.is_some_and(|symbol| symbol.is_weak);
        let is_data = is_data || symbol.is_some_and(|symbol| symbol.kind == elf::STT_OBJECT);
        let plan = &mut *self.plan;
        let number = *plan.import_numbers.entry(global).or_insert(plan.imports.len());
        match plan.imports.get_mut(number) {
            Some(import) => {
                import.is_weak &= is_weak;
                import.is_data |= is_data;
            }
            None => plan.imports.push(Import { global, is_weak, is_data }),
        }
    }

    pub(super) fn slot(&mut self, reloc: InputReloc, to: Resolution, addend: i64) -> RelocTarget {
        self.note(reloc, to, false);
        RelocTarget::GotSlot(self.slot_number(to, addend))
    }

    fn slot_number(&mut self, resolution: Resolution, addend: i64) -> usize {
        let RelocPlan { slots, slot_numbers, .. } = &mut *self.plan;
        *slot_numbers.entry((resolution, addend)).or_insert_with(|| {
            slots.push((resolution, addend));
            slots.len() - 1
        })
    }

    pub(super) fn stub(&mut self, reloc: InputReloc, to: Resolution, addend: i64) -> RelocTarget {
        self.note(reloc, to, false);
        let slot = self.slot_number(to, addend);
        let RelocPlan { stubs, stub_numbers, .. } = &mut *self.plan;
        RelocTarget::Stub(*stub_numbers.entry(slot).or_insert_with(|| {
            stubs.push(slot);
            stubs.len() - 1
        }))
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
            "refers to thread-local storage, which a module cannot express"
        } else if has(&["IRELATIVE"]) {
            "is an indirect function (IFUNC), which a module cannot express"
        } else if has(&["MOVW_UABS", "MOVW_SABS"]) {
            "is part of an address in instructions, which a relocatable module cannot express; compile with -mcmodel=small"
        } else if has(&["LD64_GOTPAGE_LO15"]) {
            "needs the GOT nearer than a module guarantees; compile with -fPIC"
        } else if has(&["GOT_LD_PREL19"]) {
            "needs the GOT nearer than a module guarantees; compile with -mcmodel=small"
        } else {
            "cannot be expressed in a module"
        };
        self.error(reloc, why)
    }

    pub(super) fn error(&self, reloc: InputReloc, why: &'static str) -> PackError {
        let (object, section) = self.program.titles(self.id);
        let symbol = self.program.symbol_title(reloc.symbol);
        let kind = RelocType { machine: self.program.machine(), number: reloc.kind.0 };
        PackError::RelocKind { object, section, kind, symbol, why }
    }

    pub(super) fn warn_of_near_import(&mut self, reloc: InputReloc, resolution: Resolution) {
        let Resolution::Import(global) = resolution else { return };
        if self.plan.warned.insert((self.id.object, global)) {
            let (object, section) = self.program.titles(self.id);
            let symbol = self.program.symbol_title(reloc.symbol);
            self.warnings.push(PackWarning::NearImport { object, section, symbol });
        }
    }
}

/// Whether the target's distance from the code is unknown until load time.
pub(super) fn is_external(resolution: Resolution) -> bool {
    matches!(resolution, Resolution::Import(_) | Resolution::Absolute(_))
}

//! Relocations of thread-local storage.
//!
//! The access models stay as compiled. General and local dynamic accesses call `__tls_get_addr` with the address of two
//! words in the GOT, a module number and an offset. A TLS descriptor is three words: the function of the loader that
//! its code calls, and those two. Initial exec loads an offset from the thread pointer from the GOT. Local exec
//! contains that offset, which the loader writes into the code: 32 bits on x86-64, and on aarch64 24 bits in two instructions,
//! an addition shifted by 12 bits and one with the lower bits, for which the native layout has a relocation. Local dynamic
//! code adds offsets in the same forms. Other forms of aarch64 are refused.
//!
//! Sources: Drepper, ELF Handling For Thread-Local Storage; System V ABI, AMD64 supplement, 4.4; AAELF64, 5.7.11.

use ::object::elf::{self, RelocationType};

use super::aarch64::{PAGE_OFF12, PAGE21, WORD19, holds_offset};
use super::error::Result;
use super::machine::Machine;
use super::object::InputReloc;
use super::pack_reloc::{ABS64, PC32, RelocForm, RelocTarget};
use super::resolve::Resolution;
use super::scanner::RelocScanner;
use super::tls_value::{TlsSlots, TlsSymbol, TlsValue};

const SIGNED32: RelocForm = RelocForm::Absolute { bytes: 4, signed: true };

/// What a relocation type asks for.
#[derive(Clone, Copy)]
enum Access {
    /// The address of words in the GOT, in a field of this form.
    Slots(TlsSlots, RelocForm),
    /// The value itself, in a field of this form.
    Value(fn(TlsSymbol) -> TlsValue, RelocForm),
    /// Marks an instruction and changes nothing.
    Mark,
    /// A type that a module cannot express.
    Unsupported,
}

/// The access of a relocation type; `None` if it does not refer to thread-local storage.
fn access(machine: Machine, kind: RelocationType) -> Option<Access> {
    match machine {
        Machine::X86_64 => x86_64_access(kind),
        Machine::Aarch64 => aarch64_access(kind),
    }
}

fn x86_64_access(kind: RelocationType) -> Option<Access> {
    Some(match kind {
        elf::R_X86_64_TLSGD => Access::Slots(TlsSlots::General, PC32),
        elf::R_X86_64_TLSLD => Access::Slots(TlsSlots::Local, PC32),
        elf::R_X86_64_GOTPC32_TLSDESC | elf::R_X86_64_CODE_4_GOTPC32_TLSDESC => {
            Access::Slots(TlsSlots::Descriptor, PC32)
        }
        elf::R_X86_64_TLSDESC_CALL => Access::Mark,
        elf::R_X86_64_GOTTPOFF
        | elf::R_X86_64_CODE_4_GOTTPOFF
        | elf::R_X86_64_CODE_5_GOTTPOFF
        | elf::R_X86_64_CODE_6_GOTTPOFF => Access::Slots(TlsSlots::Offset, PC32),
        elf::R_X86_64_DTPMOD64 => Access::Value(TlsValue::module, ABS64),
        elf::R_X86_64_DTPOFF64 => Access::Value(TlsValue::BlockOffset, ABS64),
        elf::R_X86_64_DTPOFF32 => Access::Value(TlsValue::BlockOffset, SIGNED32),
        elf::R_X86_64_TPOFF64 => Access::Value(TlsValue::Offset, ABS64),
        elf::R_X86_64_TPOFF32 => Access::Value(TlsValue::Offset32, SIGNED32),
        elf::R_X86_64_TLSDESC
        | elf::R_X86_64_CODE_5_GOTPC32_TLSDESC
        | elf::R_X86_64_CODE_6_GOTPC32_TLSDESC => Access::Unsupported,
        _ => return None,
    })
}

fn aarch64_access(kind: RelocationType) -> Option<Access> {
    use TlsSlots::{Descriptor, General, Local, Offset};
    Some(match kind {
        elf::R_AARCH64_TLSGD_ADR_PREL21 | elf::R_AARCH64_TLSGD_ADR_PAGE21 => {
            Access::Slots(General, PAGE21)
        }
        elf::R_AARCH64_TLSGD_ADD_LO12_NC => Access::Slots(General, PAGE_OFF12),
        elf::R_AARCH64_TLSLD_ADR_PREL21 | elf::R_AARCH64_TLSLD_ADR_PAGE21 => {
            Access::Slots(Local, PAGE21)
        }
        elf::R_AARCH64_TLSLD_ADD_LO12_NC => Access::Slots(Local, PAGE_OFF12),
        elf::R_AARCH64_TLSLD_ADD_DTPREL_HI12 | elf::R_AARCH64_TLSLD_ADD_DTPREL_LO12_NC => {
            Access::Value(TlsValue::BlockOffset, PAGE_OFF12)
        }
        elf::R_AARCH64_TLSIE_ADR_GOTTPREL_PAGE21 => Access::Slots(Offset, PAGE21),
        elf::R_AARCH64_TLSIE_LD_GOTTPREL_PREL19 => Access::Slots(Offset, WORD19),
        elf::R_AARCH64_TLSIE_LD64_GOTTPREL_LO12_NC => Access::Slots(Offset, PAGE_OFF12),
        elf::R_AARCH64_TLSDESC_ADR_PREL21 | elf::R_AARCH64_TLSDESC_ADR_PAGE21 => {
            Access::Slots(Descriptor, PAGE21)
        }
        elf::R_AARCH64_TLSDESC_LD_PREL19 => Access::Slots(Descriptor, WORD19),
        elf::R_AARCH64_TLSDESC_LD64_LO12 | elf::R_AARCH64_TLSDESC_ADD_LO12 => {
            Access::Slots(Descriptor, PAGE_OFF12)
        }
        elf::R_AARCH64_TLSDESC_CALL => Access::Mark,
        elf::R_AARCH64_TLS_DTPMOD => Access::Value(TlsValue::module, ABS64),
        elf::R_AARCH64_TLS_DTPREL => Access::Value(TlsValue::BlockOffset, ABS64),
        elf::R_AARCH64_TLS_TPREL => Access::Value(TlsValue::Offset, ABS64),
        elf::R_AARCH64_TLSLE_ADD_TPREL_HI12
        | elf::R_AARCH64_TLSLE_ADD_TPREL_LO12_NC
        | elf::R_AARCH64_TLSLE_LDST8_TPREL_LO12_NC
        | elf::R_AARCH64_TLSLE_LDST16_TPREL_LO12_NC
        | elf::R_AARCH64_TLSLE_LDST32_TPREL_LO12_NC
        | elf::R_AARCH64_TLSLE_LDST64_TPREL_LO12_NC
        | elf::R_AARCH64_TLSLE_LDST128_TPREL_LO12_NC => Access::Value(TlsValue::Offset, PAGE_OFF12),
        // From the first one in AAELF64 5.7.11 to the last static and dynamic ones.
        RelocationType(512..=573 | 1028..=1031) => Access::Unsupported,
        _ => return None,
    })
}

impl RelocScanner<'_, '_> {
    /// Records what a relocation needs if it refers to thread-local storage; returns whether it does.
    pub(super) fn tls(&mut self, reloc: InputReloc) -> Result<bool> {
        let machine = self.program.machine();
        let Some(access) = access(machine, reloc.kind) else {
            return if self.is_thread_local(reloc) {
                Err(self.error(reloc, "uses thread-local storage as if it were other data"))
            } else {
                Ok(false)
            };
        };
        match access {
            Access::Mark => {}
            Access::Unsupported => return Err(self.unsupported(reloc)),
            Access::Slots(slots, form) => {
                // The addend of x86-64 is that of the distance.
                let (of_symbol, of_field) = match machine {
                    Machine::X86_64 => (0, reloc.addend),
                    Machine::Aarch64 => (reloc.addend, 0),
                };
                let symbol = self.tls_symbol(reloc)?;
                let slot = self.plan.tls_slots(slots, symbol, of_symbol);
                self.push(reloc, form, RelocTarget::GotSlot(slot), of_field, None)?;
            }
            Access::Value(value, form) => {
                if form == PAGE_OFF12 && !holds_offset(self.section, reloc) {
                    return Err(self.error(reloc, "does not match its instruction"));
                }
                let value = value(self.tls_symbol(reloc)?);
                let is_local_dynamic = matches!(value, TlsValue::BlockOffset(_)) && form != ABS64;
                if is_local_dynamic && value.import().is_some() {
                    return Err(self.error(reloc, "is imported, and local dynamic code cannot use an import; compile with -fPIC"));
                }
                let to = RelocTarget::Symbol(Resolution::Tls(value));
                let addend = if matches!(value, TlsValue::Module(_)) { 0 } else { reloc.addend };
                self.push(reloc, form, to, addend, None)?;
            }
        }
        Ok(true)
    }

    /// Whether a symbol is thread-local.
    fn is_thread_local(&self, reloc: InputReloc) -> bool {
        let program = self.program;
        match program.resolution(reloc.symbol) {
            Ok(Resolution::Section { id, .. }) => program.is_thread_local(id),
            Ok(Resolution::ArrayBound { array, .. }) => {
                program.array(array).first().is_some_and(|id| program.is_thread_local(*id))
            }
            Ok(Resolution::Tls(_)) => true,
            Ok(Resolution::Import(_)) => {
                program.symbol(reloc.symbol).is_some_and(|symbol| symbol.kind == elf::STT_TLS)
            }
            _ => false,
        }
    }

    /// The place in thread-local storage that a symbol denotes.
    fn tls_symbol(&self, reloc: InputReloc) -> Result<TlsSymbol> {
        match self.program.resolution(reloc.symbol) {
            Ok(Resolution::Section { id, value }) if self.program.is_thread_local(id) => {
                Ok(TlsSymbol::Section { id, value })
            }
            Ok(Resolution::Import(global)) => Ok(TlsSymbol::Import(global)),
            Ok(Resolution::Tls(TlsValue::BlockOffset(symbol))) => Ok(symbol),
            // Local dynamic code may name no symbol.
            Ok(Resolution::Absolute(0)) if reloc.symbol.symbol == 0 => Ok(TlsSymbol::Base),
            _ => {
                Err(self
                    .error(reloc, "is a reference to thread-local storage, and its symbol is not"))
            }
        }
    }
}

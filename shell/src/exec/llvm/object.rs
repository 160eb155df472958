//! The object of a unit: its code and constants in one block of code memory, relocated.
//!
//! Code refers to its constants and to other functions by distance, so that both lie in one block. Functions of the
//! process are reached by veneers behind them: the trap hook, and the functions of the C library that LLVM calls.
//!
//! Source: System V ABI, AMD64 supplement, 4.4 "Relocation".
#![allow(unsafe_code)]

use object::elf::{
    R_X86_64_64, R_X86_64_PC32, R_X86_64_PLT32, RelocationType, SHF_ALLOC, SHF_WRITE, SHT_NOTE,
    SHT_X86_64_UNWIND,
};
use object::read::elf::{ElfFile64, ElfSection64};
use object::{
    LittleEndian, Object, ObjectSection, ObjectSymbol, RelocationFlags, RelocationTarget,
    SectionFlags, SectionIndex, SymbolIndex,
};
use smf_core::alloc_util::{AllocError, try_box, try_push};
use smf_core::codegen::registry::register_block;
use smf_core::exec::{BackendError, CompiledUnit, SharedRegistry};
use smf_core::link::Name;
use smf_core::memory::code_alloc::{CodeMemory, Request};
use smf_core::trap::trap_hook;

use super::declare::{TRAP_SYMBOL, symbol};
use super::frames;
use crate::exec::callees::other;

type File<'o> = ElfFile64<'o, LittleEndian>;

/// The alignment of the block, in bytes; that of functions.
const ALIGN: usize = 16;

/// A jump to the address behind it: `endbr64; jmp *0(%rip); int3; int3` and the address.
const VENEER: [u8; 12] = [0xf3, 0x0f, 0x1e, 0xfa, 0xff, 0x25, 0x02, 0, 0, 0, 0xcc, 0xcc];
const VENEER_BYTES: usize = VENEER.len() + size_of::<u64>();

/// What a relocation refers to.
#[derive(Clone, Copy)]
enum Target {
    /// An offset in the block.
    Offset(u64),
    /// The veneer with this number.
    Veneer(usize),
}

struct Relocation {
    /// In the block.
    offset: usize,
    kind: RelocationType,
    target: Target,
    addend: i64,
}

/// The code of a unit before it is placed.
pub(super) struct ObjectCode {
    bytes: Vec<u8>,
    align: usize,
    /// Where sections begin, by index.
    sections: Vec<(SectionIndex, usize)>,
    /// The offset of each function, and its size in bytes.
    functions: Vec<(usize, usize)>,
    /// The call frame instructions of functions, by offset.
    frames: Vec<(usize, Vec<u8>)>,
    /// The addresses that veneers jump to.
    veneers: Vec<(SymbolIndex, u64)>,
    relocations: Vec<Relocation>,
}

/// The address of a function that the object imports.
fn import(name: &str) -> Option<u64> {
    let function = match name {
        TRAP_SYMBOL => trap_hook as *const (),
        "memcpy" => libc::memcpy as *const (),
        "memmove" => libc::memmove as *const (),
        "memset" => libc::memset as *const (),
        "memcmp" | "bcmp" => libc::memcmp as *const (),
        "strlen" => libc::strlen as *const (),
        _ => return None,
    };
    Some(function as usize as u64)
}

fn malformed(error: object::Error) -> BackendError {
    other(&format!("LLVM: the object is malformed: {error}")).unwrap_or_else(BackendError::from)
}

/// Whether a section is part of the block.
fn is_placed(section: &ElfSection64<'_, '_, LittleEndian>) -> Result<bool, BackendError> {
    let SectionFlags::Elf { sh_flags, sh_type } = section.flags() else { return Ok(false) };
    let is_loaded = sh_flags.contains(SHF_ALLOC) && section.size() != 0;
    if !is_loaded || sh_type == SHT_NOTE || is_frames(section) {
        return Ok(false);
    }
    if sh_flags.contains(SHF_WRITE) {
        let name = section.name().unwrap_or_default();
        return Err(other(&format!("LLVM: the object has a writable section `{name}`"))?);
    }
    Ok(true)
}

fn is_frames(section: &ElfSection64<'_, '_, LittleEndian>) -> bool {
    let kind = section.elf_section_header().sh_type.get(LittleEndian);
    kind == SHT_X86_64_UNWIND || section.name() == Ok(".eh_frame")
}

impl ObjectCode {
    /// Reads the object of `count` functions.
    pub(super) fn read(bytes: &[u8], count: usize) -> Result<Self, BackendError> {
        let file = File::parse(bytes).map_err(malformed)?;
        let mut code = Self {
            bytes: Vec::new(),
            align: ALIGN,
            sections: Vec::new(),
            functions: Vec::new(),
            frames: Vec::new(),
            veneers: Vec::new(),
            relocations: Vec::new(),
        };
        for section in file.sections() {
            if is_placed(&section)? {
                code.add_section(&section)?;
            }
        }
        for index in 0..count {
            let found = file.symbol_by_name(&symbol(index));
            let found = found.ok_or(BackendError::Defect("LLVM: a function has no symbol"))?;
            let offset = code.offset_in(found.section_index(), found.address())?;
            try_push(&mut code.functions, (offset, usize::try_from(found.size()).unwrap_or(0)))?;
        }
        for section in file.sections() {
            if is_frames(&section) {
                code.add_frames(&file, &section)?;
            } else if let Some(start) = code.start_of(section.index()) {
                code.add_relocations(&file, &section, start)?;
            }
        }
        code.add_veneers()?;
        Ok(code)
    }

    fn add_section(
        &mut self,
        section: &ElfSection64<'_, '_, LittleEndian>,
    ) -> Result<(), BackendError> {
        let bytes = section.data().map_err(malformed)?;
        let align = usize::try_from(section.align()).unwrap_or(ALIGN).max(1);
        let start = self.bytes.len().next_multiple_of(align);
        self.align = self.align.max(align);
        self.bytes.try_reserve(start + bytes.len() - self.bytes.len()).map_err(|_| AllocError)?;
        self.bytes.resize(start, 0xcc);
        self.bytes.extend_from_slice(bytes);
        Ok(try_push(&mut self.sections, (section.index(), start))?)
    }

    /// Where a section begins, if it is part of the block.
    fn start_of(&self, section: SectionIndex) -> Option<usize> {
        self.sections.iter().find(|(index, _)| *index == section).map(|(_, start)| *start)
    }

    /// The offset in the block of an address in a section.
    fn offset_in(
        &self,
        section: Option<SectionIndex>,
        address: u64,
    ) -> Result<usize, BackendError> {
        let start = section.and_then(|section| self.start_of(section));
        let offset = usize::try_from(address).ok();
        let found = start.zip(offset).map(|(start, offset)| start + offset);
        found.ok_or(BackendError::Defect("LLVM: the code refers to a section that is not placed"))
    }

    /// What a relocation refers to.
    fn target(&mut self, file: &File<'_>, index: SymbolIndex) -> Result<Target, BackendError> {
        let symbol = file.symbol_by_index(index).map_err(malformed)?;
        if !symbol.is_undefined() {
            let offset = self.offset_in(symbol.section_index(), symbol.address())?;
            return Ok(Target::Offset(offset as u64));
        }
        if let Some(known) = self.veneers.iter().position(|(of, _)| *of == index) {
            return Ok(Target::Veneer(known));
        }
        let name = symbol.name().map_err(malformed)?;
        let Some(address) = import(name) else {
            return Err(other(&format!(
                "LLVM: the code calls `{name}`, which is no function of smf"
            ))?);
        };
        try_push(&mut self.veneers, (index, address))?;
        Ok(Target::Veneer(self.veneers.len() - 1))
    }

    fn add_relocations(
        &mut self,
        file: &File<'_>,
        section: &ElfSection64<'_, '_, LittleEndian>,
        start: usize,
    ) -> Result<(), BackendError> {
        for (offset, relocation) in section.relocations() {
            let RelocationFlags::Elf { r_type: kind } = relocation.flags() else { continue };
            let RelocationTarget::Symbol(symbol) = relocation.target() else {
                return Err(other(&format!("LLVM: a relocation of kind {kind} without a symbol"))?);
            };
            let target = self.target(file, symbol)?;
            let offset = start + usize::try_from(offset).map_err(|_| AllocError)?;
            let addend = relocation.addend();
            try_push(&mut self.relocations, Relocation { offset, kind, target, addend })?;
        }
        Ok(())
    }

    /// The call frame instructions of each function.
    fn add_frames(
        &mut self,
        file: &File<'_>,
        section: &ElfSection64<'_, '_, LittleEndian>,
    ) -> Result<(), BackendError> {
        let mut starts = Vec::new();
        for (at, relocation) in section.relocations() {
            let RelocationTarget::Symbol(symbol) = relocation.target() else { continue };
            if let Target::Offset(offset) = self.target(file, symbol)? {
                let start = offset.wrapping_add_signed(relocation.addend());
                try_push(&mut starts, (at, usize::try_from(start).unwrap_or(usize::MAX)))?;
            }
        }
        let bytes = section.data().map_err(malformed)?;
        for record in frames::records(bytes) {
            let found = starts.iter().find(|(at, _)| *at == record.start_field as u64);
            if let Some(&(_, start)) = found {
                try_push(&mut self.frames, (start, record.instructions.to_vec()))?;
            }
        }
        Ok(())
    }

    /// Appends the veneers.
    fn add_veneers(&mut self) -> Result<(), BackendError> {
        let start = self.bytes.len().next_multiple_of(ALIGN);
        let end = start + self.veneers.len() * VENEER_BYTES;
        self.bytes.try_reserve(end - self.bytes.len()).map_err(|_| AllocError)?;
        self.bytes.resize(start, 0xcc);
        for (_, address) in &self.veneers {
            self.bytes.extend_from_slice(&VENEER);
            self.bytes.extend_from_slice(&address.to_le_bytes());
        }
        let first = start as u64;
        for relocation in &mut self.relocations {
            if let Target::Veneer(number) = relocation.target {
                relocation.target = Target::Offset(first + (number * VENEER_BYTES) as u64);
            }
        }
        Ok(())
    }

    /// Places the code.
    pub(super) fn place(
        mut self,
        memory: &CodeMemory,
        registry: Option<&SharedRegistry>,
        name: &dyn Fn(usize) -> Result<Name, AllocError>,
    ) -> Result<CompiledUnit, BackendError> {
        if self.functions.is_empty() {
            return Ok(CompiledUnit { addresses: Vec::new(), bytes: 0, code: try_box(())? });
        }
        let size = self.bytes.len();
        let mut block = memory.allocate_with(Request::new(size).aligned_to(self.align))?;
        let base = block.address() as u64;
        self.relocate(base)?;
        for (place, byte) in block.as_mut_slice().iter_mut().zip(&self.bytes) {
            *place = *byte;
        }
        let mut addresses = Vec::new();
        for (start, _) in &self.functions {
            try_push(&mut addresses, base + *start as u64)?;
        }
        let block = block.publish()?;
        let registration = match registry {
            Some(registry) => {
                let tables = frames::tables(&self.functions, &mut self.frames, name)?;
                let start = block.address();
                // SAFETY: the frames are those that LLVM has written for these functions. The registration is dropped
                // before the block.
                unsafe { register_block(&***registry, start..start + block.len(), b"", &tables) }?
            }
            None => None,
        };
        // The registration is dropped first.
        let code = try_box((registration, block))?;
        Ok(CompiledUnit { addresses, bytes: size, code })
    }

    fn relocate(&mut self, base: u64) -> Result<(), BackendError> {
        for relocation in &self.relocations {
            let Target::Offset(target) = relocation.target else {
                return Err(BackendError::Defect("LLVM: a veneer has no place"));
            };
            let value = (base + target).wrapping_add_signed(relocation.addend);
            let distance = value.wrapping_sub(base + relocation.offset as u64).cast_signed();
            let place = self.bytes.get_mut(relocation.offset..).unwrap_or_default();
            let is_written = match relocation.kind {
                R_X86_64_64 => place.first_chunk_mut().map(|bytes| *bytes = value.to_le_bytes()),
                R_X86_64_PC32 | R_X86_64_PLT32 => {
                    let distance = i32::try_from(distance).map_err(|_| BackendError::UnitSize)?;
                    place.first_chunk_mut().map(|bytes| *bytes = distance.to_le_bytes())
                }
                kind => return Err(other(&format!("LLVM: no relocation of kind {kind}"))?),
            };
            is_written
                .ok_or(BackendError::Defect("LLVM: a relocation lies outside of the code"))?;
        }
        Ok(())
    }
}

//! Unwind rows: how to find the caller's frame at each instruction, and their encoding as `.eh_frame`.
//!
//! Rows are exact at every instruction boundary, prologues and epilogues included.
//!
//! Sources: DWARF 5, 6.4 "Call Frame Information"; Linux Standard Base 5.0, 10.6 "Exception Frames".

use alloc::vec::Vec;

use crate::alloc_util::{AllocError, try_reserve};

/// A change of the rules by which the caller's registers are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnwindOp {
    /// The canonical frame address is the value of a register plus `offset`.
    DefineCfa {
        /// DWARF number of the register.
        register: u8,
        /// In bytes.
        offset: u32,
    },
    /// The caller's value of a register lies in the stack.
    Saved {
        /// DWARF number of the register.
        register: u8,
        /// Bytes below the canonical frame address, a multiple of 8.
        below: u32,
    },
    /// The register has the caller's value again.
    Restored {
        /// DWARF number of the register.
        register: u8,
    },
    /// Puts all rules aside.
    RememberState,
    /// Takes back the rules that were put aside last.
    RestoreState,
    /// aarch64: the return address becomes signed, or is no longer.
    NegateReturnAddressState,
}

/// A change that holds from an offset in the code on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnwindRow {
    /// The first instruction that the change applies to, in bytes from the start of the code.
    pub offset: u32,
    /// The change.
    pub op: UnwindOp,
}

/// The properties of a machine that unwind tables depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnwindMachine {
    /// DWARF number of the return address.
    pub return_address: u8,
    /// DWARF number of the stack pointer.
    pub stack_pointer: u8,
    /// Bytes from the stack pointer to the canonical frame address at the first instruction.
    pub entry_offset: u8,
    /// Whether the return address is in memory at the first instruction, eight bytes below the canonical frame address.
    pub pushes_return_address: bool,
    /// Bytes that offsets of code are a multiple of.
    pub code_alignment: u8,
}

const DW_CFA_ADVANCE_LOC: u8 = 0x40;
const DW_CFA_OFFSET: u8 = 0x80;
const DW_CFA_RESTORE: u8 = 0xc0;
const DW_CFA_ADVANCE_LOC1: u8 = 0x02;
const DW_CFA_ADVANCE_LOC2: u8 = 0x03;
const DW_CFA_ADVANCE_LOC4: u8 = 0x04;
const DW_CFA_REMEMBER_STATE: u8 = 0x0a;
const DW_CFA_RESTORE_STATE: u8 = 0x0b;
const DW_CFA_DEF_CFA: u8 = 0x0c;
const DW_CFA_AARCH64_NEGATE_RA_STATE: u8 = 0x2d;

/// `-8` as SLEB128.
const DATA_ALIGNMENT: u8 = 0x78;

/// `DW_EH_PE_absptr`: 8 bytes, an address.
pub(crate) const ABSOLUTE: u8 = 0;
/// `DW_EH_PE_pcrel | DW_EH_PE_sdata4`: 4 bytes, the distance from the field.
pub(crate) const DISTANCE_4: u8 = 0x1b;

/// An `.eh_frame` section: one common record (CIE), and a record (FDE) for each function.
#[derive(Debug)]
pub struct UnwindTable {
    section: Vec<u8>,
}

impl UnwindTable {
    /// A section without functions, for code in memory.
    ///
    /// # Errors
    /// [`AllocError`].
    pub fn new(machine: UnwindMachine) -> Result<Self, AllocError> {
        Self::with_encoding(machine, ABSOLUTE)
    }

    /// A section without functions, for a file: it refers to functions by their distance.
    ///
    /// # Errors
    /// [`AllocError`].
    pub fn for_file(machine: UnwindMachine) -> Result<Self, AllocError> {
        Self::with_encoding(machine, DISTANCE_4)
    }

    fn with_encoding(machine: UnwindMachine, encoding: u8) -> Result<Self, AllocError> {
        let mut section = Vec::new();
        // The common record, that of a small function, and the end.
        try_reserve(&mut section, 96)?;
        begin_entry(&mut section);
        section.extend_from_slice(&[0, 0, 0, 0]); // CIE identifier
        section.extend_from_slice(&[1, b'z', b'R', 0, machine.code_alignment, DATA_ALIGNMENT]);
        section.extend_from_slice(&[machine.return_address, 1, encoding]);
        section.extend_from_slice(&[DW_CFA_DEF_CFA, machine.stack_pointer, machine.entry_offset]);
        if machine.pushes_return_address {
            section.extend_from_slice(&[DW_CFA_OFFSET | machine.return_address, 1]);
        }
        end_entry(&mut section, 0);
        Ok(Self { section })
    }

    /// Adds the function of `size` bytes at `address`, with its [call frame instructions](encode_rows), to a section
    /// for code in memory.
    ///
    /// # Errors
    /// [`AllocError`].
    pub fn add(
        &mut self,
        instructions: &[u8],
        address: usize,
        size: usize,
    ) -> Result<(), AllocError> {
        let (address, size) = ((address as u64).to_le_bytes(), (size as u64).to_le_bytes());
        self.add_record(instructions, &address, &size)
    }

    /// Adds the function of `size` bytes that starts `offset` bytes behind the start of the section, with its
    /// [call frame instructions](encode_rows), to a section for a file. Returns the offset of the distance in the
    /// section; `None` if the function is not within 2 GiB.
    ///
    /// # Errors
    /// [`AllocError`].
    pub fn add_at(
        &mut self,
        instructions: &[u8],
        offset: i64,
        size: u32,
    ) -> Result<Option<usize>, AllocError> {
        let field = self.section.len().saturating_add(8);
        let distance = i64::try_from(field).ok().and_then(|field| offset.checked_sub(field));
        let Some(distance) = distance.and_then(|distance| i32::try_from(distance).ok()) else {
            return Ok(None);
        };
        self.add_record(instructions, &distance.to_le_bytes(), &size.to_le_bytes())?;
        Ok(Some(field))
    }

    fn add_record(
        &mut self,
        instructions: &[u8],
        address: &[u8],
        size: &[u8],
    ) -> Result<(), AllocError> {
        let out = &mut self.section;
        // Head, padding and the terminator.
        try_reserve(out, instructions.len().saturating_add(48))?;
        let start = out.len();
        begin_entry(out);
        // The CIE is at the start of the section.
        let distance = u32::try_from(out.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&distance.to_le_bytes());
        out.extend_from_slice(address);
        out.extend_from_slice(size);
        out.push(0); // no augmentation data
        out.extend_from_slice(instructions);
        end_entry(out, start);
        Ok(())
    }

    /// The section, ended by a zero word.
    ///
    /// # Errors
    /// [`AllocError`].
    pub fn finish(mut self) -> Result<Vec<u8>, AllocError> {
        try_reserve(&mut self.section, 4)?;
        self.section.extend_from_slice(&[0; 4]);
        Ok(self.section)
    }
}

/// The call frame instructions of rows.
///
/// # Errors
/// [`AllocError`].
pub fn encode_rows(machine: &UnwindMachine, rows: &[UnwindRow]) -> Result<Vec<u8>, AllocError> {
    let mut out = Vec::new();
    // The longest row is an advance of 5 bytes and an operation of 11.
    try_reserve(&mut out, rows.len().saturating_mul(16))?;
    let mut at = 0;
    for row in rows {
        let delta = row.offset.saturating_sub(at);
        advance(&mut out, delta / u32::from(machine.code_alignment.max(1)));
        at = row.offset;
        encode_op(&mut out, row.op);
    }
    Ok(out)
}

fn begin_entry(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0; 4]);
}

/// Pads the entry that begins at `start` with `DW_CFA_nop` and states its length.
fn end_entry(out: &mut Vec<u8>, start: usize) {
    while !out.len().saturating_sub(start).is_multiple_of(8) {
        out.push(0);
    }
    let len = u32::try_from(out.len().saturating_sub(start + 4)).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(start..).and_then(<[u8]>::first_chunk_mut) {
        *place = len.to_le_bytes();
    }
}

fn advance(out: &mut Vec<u8>, delta: u32) {
    let [low, second, ..] = delta.to_le_bytes();
    match delta {
        0 => {}
        1..=0x3f => out.push(DW_CFA_ADVANCE_LOC | low),
        0x40..=0xff => out.extend_from_slice(&[DW_CFA_ADVANCE_LOC1, low]),
        0x100..=0xffff => out.extend_from_slice(&[DW_CFA_ADVANCE_LOC2, low, second]),
        _ => {
            out.push(DW_CFA_ADVANCE_LOC4);
            out.extend_from_slice(&delta.to_le_bytes());
        }
    }
}

fn encode_op(out: &mut Vec<u8>, op: UnwindOp) {
    match op {
        UnwindOp::DefineCfa { register, offset } => {
            out.extend_from_slice(&[DW_CFA_DEF_CFA, register]);
            uleb128(out, offset);
        }
        UnwindOp::Saved { register, below } if register < 0x40 => {
            out.push(DW_CFA_OFFSET | register);
            uleb128(out, below / 8);
        }
        UnwindOp::Saved { register, below } => {
            // DW_CFA_offset_extended
            out.extend_from_slice(&[0x05, register]);
            uleb128(out, below / 8);
        }
        UnwindOp::Restored { register } if register < 0x40 => out.push(DW_CFA_RESTORE | register),
        // DW_CFA_restore_extended
        UnwindOp::Restored { register } => out.extend_from_slice(&[0x06, register]),
        UnwindOp::RememberState => out.push(DW_CFA_REMEMBER_STATE),
        UnwindOp::RestoreState => out.push(DW_CFA_RESTORE_STATE),
        UnwindOp::NegateReturnAddressState => out.push(DW_CFA_AARCH64_NEGATE_RA_STATE),
    }
}

fn uleb128(out: &mut Vec<u8>, mut value: u32) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            return out.push(low & 0x7f);
        }
        out.push(low | 0x80);
    }
}

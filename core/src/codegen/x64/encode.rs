//! How an instruction becomes bytes: prefix, REX, opcode, ModR/M, SIB, displacement, immediate.
//!
//! Everything in front of the displacement is at most seven bytes, which are built in one word. The
//! word, the displacement and the immediate are then written whole, one over the end of the other,
//! into memory that is always longer, and the code grows by the bytes that count. There is one test
//! of the memory an instruction, and no loop.
//!
//! Facts: Intel SDM volume 2, chapter 2.1 (instruction format) and 2.2.1 (REX prefixes).

use super::assembler::ReferenceKind;
use super::assembler::{Assembler, MAX_CODE};
use super::operand::{Gpr, GprOrStack, Mem, Rip, Scale, Width, Xmm, XmmOrMem, sealed::Sealed};
use crate::alloc_util::{try_push, try_resize};
use crate::codegen::assemble_error::AssembleError;
use crate::codegen::code::Relocation;
use crate::format::RelocKind;

/// The maximum number of bytes that encoding an instruction writes: fields of fixed size, beyond its length of at most 15.
pub(super) const MAX_WRITE: usize = 24;

/// What says which instruction it is.
#[derive(Clone, Copy)]
pub(super) struct Opcode {
    /// 0x66, 0xf2 or 0xf3, as part of the opcode or for 16 bits; 0 for none.
    prefix: u8,
    /// REX.W.
    wide: bool,
    /// Escapes and the opcode, the first byte lowest.
    code: u32,
    len: u32,
}

impl Opcode {
    /// A byte.
    #[inline]
    pub(super) const fn one(byte: u8) -> Self {
        Self { prefix: 0, wide: false, code: byte as u32, len: 1 }
    }

    /// 0x0f and a byte.
    #[inline]
    pub(super) const fn two(byte: u8) -> Self {
        Self { code: (byte as u32) << 8 | 0x0f, len: 2, ..Self::one(0) }
    }

    #[inline]
    pub(super) const fn prefix(self, prefix: u8) -> Self {
        Self { prefix, ..self }
    }

    /// Works on so many bits: 0x66 for 16, REX.W for 64.
    #[inline]
    pub(super) fn width<W: Width>(self, width: W) -> Self {
        let prefix = if width.bits() == 16 { 0x66 } else { self.prefix };
        Self { prefix, wide: width.bits() == 64, ..self }
    }

    /// As [`width`](Self::width); the opcode is the next one unless it works on 8 bits.
    #[inline]
    pub(super) fn sized<W: Width>(self, width: W) -> Self {
        let next = if width.bits() == 8 { 0 } else { 1 << (8 * (self.len - 1)) };
        Self { code: self.code + next, ..self.width(width) }
    }

    /// The register in the low bits of the opcode, which stands without ModR/M.
    #[inline]
    const fn with_register(self, register: Gpr) -> Self {
        let low = (register.number() & 7) as u32;
        Self { code: self.code + (low << (8 * (self.len - 1))), ..self }
    }
}

/// An operand that ModR/M names, without the other one that it names.
#[derive(Clone, Copy)]
pub struct Parts {
    /// ModR/M and, above, SIB.
    modrm: u32,
    modrm_len: u32,
    /// REX.X and REX.B.
    rex: u32,
    displacement: i32,
    displacement_len: u32,
}

impl Parts {
    #[inline]
    const fn register(number: u8) -> Self {
        let (low, high) = (number as u32 & 7, number as u32 >> 3);
        let modrm = 0xc0 | low;
        Self { modrm, modrm_len: 1, rex: high, displacement: 0, displacement_len: 0 }
    }

    #[inline]
    fn memory(Mem { base, index, displacement }: Mem) -> Self {
        // No base is written as the base RBP without displacement, but in an SIB alone. RSP as base
        // is no index written, in an SIB alone.
        let number = u32::from(base.map_or(Gpr::Rbp, |base| base).number());
        let (low, high) = (number & 7, number >> 3);
        let (mode, displacement_len) = match displacement {
            _ if base.is_none() => (0x00, 4),
            0 if low != 5 => (0x00, 0),
            -128..=127 => (0x40, 1),
            _ => (0x80, 4),
        };
        if index.is_none() && base.is_some() && low != 4 {
            let modrm = mode | low;
            return Self { modrm, modrm_len: 1, rex: high, displacement, displacement_len };
        }
        let (index, scale) = match index {
            Some((index, scale)) => (u32::from(index.number()), scale as u32),
            None => (4, Scale::By1 as u32),
        };
        let sib = scale << 6 | (index & 7) << 3 | low;
        let rex = (index >> 3) << 1 | high;
        Self { modrm: mode | 4 | sib << 8, modrm_len: 2, rex, displacement, displacement_len }
    }
}

/// What ModR/M can name.
pub trait Operand: Sealed + Copy {
    /// Whether there can be a displacement.
    const IN_MEMORY: bool;

    /// What to write.
    fn parts(self) -> Parts;

    /// Itself, if only the program that compiles knows whether it is a register.
    #[inline]
    fn gpr_or_stack(self) -> Option<GprOrStack> {
        None
    }

    /// Whether it is a register whose low byte needs a REX to be named.
    #[inline]
    fn needs_rex(self) -> bool {
        false
    }

    /// Whether it is RAX, for which some instructions have a shorter form.
    #[inline]
    fn is_accumulator(self) -> bool {
        false
    }

    /// Lists what the displacement depends on. It is at `site`, and `trailing` bytes follow.
    #[inline]
    fn refer(self, _: &mut Assembler, _site: u32, _trailing: u32) {}
}

/// A general register or memory: [`Gpr`], [`Mem`], [`Rip`] or [`GprOrStack`].
pub trait GprOperand: Operand {}

/// An SSE register or memory: [`Xmm`], [`Mem`], [`Rip`] or [`XmmOrMem`].
pub trait XmmOperand: Operand {}

/// Memory: [`Mem`] or [`Rip`].
pub trait Address: GprOperand + XmmOperand {}

impl Sealed for Gpr {}
impl Operand for Gpr {
    const IN_MEMORY: bool = false;

    #[inline]
    fn parts(self) -> Parts {
        Parts::register(self.number())
    }

    #[inline]
    fn needs_rex(self) -> bool {
        self.number() >= 4
    }

    #[inline]
    fn is_accumulator(self) -> bool {
        self == Gpr::Rax
    }
}
impl GprOperand for Gpr {}

impl Sealed for Xmm {}
impl Operand for Xmm {
    const IN_MEMORY: bool = false;

    #[inline]
    fn parts(self) -> Parts {
        Parts::register(self.number())
    }
}
impl XmmOperand for Xmm {}

impl Sealed for Mem {}
impl Operand for Mem {
    const IN_MEMORY: bool = true;

    #[inline]
    fn parts(self) -> Parts {
        Parts::memory(self)
    }
}
impl GprOperand for Mem {}
impl XmmOperand for Mem {}
impl Address for Mem {}

impl Sealed for Rip {}
impl Operand for Rip {
    const IN_MEMORY: bool = true;

    #[inline]
    fn parts(self) -> Parts {
        Parts { modrm: 5, modrm_len: 1, rex: 0, displacement: 0, displacement_len: 4 }
    }

    #[inline]
    fn refer(self, asm: &mut Assembler, site: u32, trailing: u32) {
        match self {
            Rip::Label(label) => asm.refer(site, label, ReferenceKind::Near(trailing as u8)),
            Rip::Symbol { target, addend } => {
                let addend = i64::from(addend) - 4 - i64::from(trailing);
                asm.relocate(Relocation { offset: site, kind: RelocKind::Pc32, target, addend });
            }
        }
    }
}
impl GprOperand for Rip {}
impl XmmOperand for Rip {}
impl Address for Rip {}

impl Sealed for GprOrStack {}
impl Operand for GprOrStack {
    const IN_MEMORY: bool = true;

    #[inline]
    fn parts(self) -> Parts {
        match self.register() {
            Some(register) => register.parts(),
            None => self.memory().parts(),
        }
    }

    #[inline]
    fn gpr_or_stack(self) -> Option<GprOrStack> {
        Some(self)
    }

    #[inline]
    fn needs_rex(self) -> bool {
        self.register().is_some_and(Gpr::needs_rex)
    }
}
impl GprOperand for GprOrStack {}

impl Sealed for XmmOrMem {}
impl Operand for XmmOrMem {
    const IN_MEMORY: bool = true;

    #[inline]
    fn parts(self) -> Parts {
        match self {
            XmmOrMem::Xmm(register) => register.parts(),
            XmmOrMem::Mem(place) => place.parts(),
            XmmOrMem::Rip(place) => place.parts(),
        }
    }

    #[inline]
    fn refer(self, asm: &mut Assembler, site: u32, trailing: u32) {
        if let XmmOrMem::Rip(place) = self {
            place.refer(asm, site, trailing);
        }
    }
}
impl XmmOperand for XmmOrMem {}

/// An immediate of 0, 1, 2 or 4 bytes.
#[derive(Clone, Copy)]
pub(super) struct Imm {
    value: i32,
    len: u32,
}

impl Imm {
    pub(super) const NONE: Self = Self { value: 0, len: 0 };

    #[inline]
    pub(super) const fn byte(value: u8) -> Self {
        Self { value: value as i32, len: 1 }
    }

    /// As many bytes as an instruction of this width has, 4 at most.
    #[inline]
    pub(super) fn full<W: Width>(value: i32, width: W) -> Self {
        Self { value, len: width.bits().min(32) / 8 }
    }
}

/// An instruction before it is written.
#[derive(Clone, Copy)]
struct Pieces {
    /// All in front of the displacement.
    head: u64,
    head_len: u32,
    /// Where there can be none, nothing is written.
    displacement: Option<i32>,
    displacement_len: u32,
    imm: Imm,
}

impl Pieces {
    #[inline]
    const fn len(&self) -> u32 {
        self.head_len + self.displacement_len + self.imm.len
    }

    #[inline]
    fn write(&self, out: &mut [u8; MAX_WRITE]) {
        store(out, 0, self.head.to_le_bytes());
        if let Some(displacement) = self.displacement {
            store(out, self.head_len, displacement.to_le_bytes());
        }
        if self.imm.len != 0 {
            store(out, self.head_len + self.displacement_len, self.imm.value.to_le_bytes());
        }
    }
}

/// `at` is less than 16, of which the compiler learns here.
#[inline]
fn store<const N: usize>(out: &mut [u8; MAX_WRITE], at: u32, bytes: [u8; N]) {
    let place = out.get_mut((at & 15) as usize..).and_then(<[u8]>::first_chunk_mut);
    if let Some(place) = place {
        *place = bytes;
    }
}

impl Assembler {
    /// An instruction with ModR/M. `low_byte` says that `register` is one whose low byte needs a
    /// REX.
    #[inline]
    pub(super) fn emit<O: Operand>(
        &mut self,
        opcode: Opcode,
        register: u8,
        operand: O,
        imm: Imm,
        low_byte: bool,
    ) {
        if let Some(operand) = operand.gpr_or_stack() {
            return match operand.register() {
                Some(operand) => self.emit(opcode, register, operand, imm, low_byte),
                None => self.emit_stack(opcode, register, operand.memory(), imm, low_byte),
            };
        }
        let parts = operand.parts();
        let register = u32::from(register);
        let rex = u32::from(opcode.wide) << 3 | (register >> 3) << 2 | parts.rex;
        let modrm = parts.modrm | (register & 7) << 3;
        let code = u64::from(opcode.code) | u64::from(modrm) << (8 * opcode.len);
        let (head, head_len) = prefixed(code, opcode.len + parts.modrm_len, opcode, rex, low_byte);
        let Parts { displacement_len, .. } = parts;
        operand.refer(self, self.at + head_len, imm.len);
        let displacement = O::IN_MEMORY.then_some(parts.displacement);
        self.put(&Pieces { head, head_len, displacement, displacement_len, imm });
    }

    /// As [`emit`](Self::emit), once for all that may be on the stack: so that what is put down for
    /// registers stays small.
    #[inline(never)]
    fn emit_stack(&mut self, opcode: Opcode, register: u8, place: Mem, imm: Imm, low_byte: bool) {
        self.emit(opcode, register, place, imm, low_byte);
    }

    /// An instruction without a register, or with one that its opcode implies.
    #[inline]
    pub(super) fn emit_plain(&mut self, opcode: Opcode, imm: Imm) {
        let rex = u32::from(opcode.wide) << 3;
        let (head, head_len) = prefixed(opcode.code.into(), opcode.len, opcode, rex, false);
        self.put(&Pieces { head, head_len, displacement: None, displacement_len: 0, imm });
    }

    /// An instruction with a register in its opcode.
    #[inline]
    pub(super) fn emit_short(&mut self, opcode: Opcode, register: Gpr, imm: Imm, low_byte: bool) {
        let opcode = opcode.with_register(register);
        let rex = u32::from(opcode.wide) << 3 | u32::from(register.number() >> 3);
        let (head, head_len) = prefixed(opcode.code.into(), opcode.len, opcode, rex, low_byte);
        self.put(&Pieces { head, head_len, displacement: None, displacement_len: 0, imm });
    }

    /// An instruction with a register in its opcode and an immediate of 64 bits, the low half of
    /// which stands where other instructions have their displacement.
    #[inline]
    pub(super) fn emit_long(&mut self, opcode: Opcode, register: Gpr, imm: u64) {
        let opcode = opcode.with_register(register);
        let rex = u32::from(opcode.wide) << 3 | u32::from(register.number() >> 3);
        let (head, head_len) = prefixed(opcode.code.into(), opcode.len, opcode, rex, false);
        let [low, high] = [imm, imm >> 32].map(|half| (half as u32).cast_signed());
        let imm = Imm { value: high, len: 4 };
        self.put(&Pieces { head, head_len, displacement: Some(low), displacement_len: 4, imm });
    }

    /// Up to eight bytes.
    #[inline]
    pub(super) fn put_short(&mut self, head: u64, head_len: u32) {
        let imm = Imm::NONE;
        self.put(&Pieces { head, head_len, displacement: None, displacement_len: 0, imm });
    }

    #[inline]
    fn put(&mut self, pieces: &Pieces) {
        let at = self.at;
        let out = self.bytes.get_mut(at as usize..at as usize + MAX_WRITE);
        if let Some(out) = out.and_then(<[u8]>::first_chunk_mut) {
            pieces.write(out);
            self.at = at + pieces.len();
        } else {
            self.put_slowly(*pieces);
        }
    }

    /// Where the memory ends in less than [`MAX_WRITE`] bytes.
    #[cold]
    #[inline(never)]
    fn put_slowly(&mut self, pieces: Pieces) {
        let mut bytes = [0; MAX_WRITE];
        pieces.write(&mut bytes);
        self.put_bytes(bytes.get(..pieces.len() as usize).unwrap_or(&[]));
    }

    /// Puts down bytes one for one.
    pub(super) fn put_bytes(&mut self, bytes: &[u8]) {
        let end = (self.at as usize).saturating_add(bytes.len());
        if end > MAX_CODE {
            return self.keep(AssembleError::TooLarge { limit: MAX_CODE });
        }
        if self.bytes.len() < end + MAX_WRITE && self.error.is_none() {
            self.grow(end);
        }
        if let Some(place) = self.bytes.get_mut(self.at as usize..end) {
            place.copy_from_slice(bytes);
        }
        // No more than `MAX_CODE`.
        self.at = end as u32;
    }

    /// Doubles the memory for code, which is `end` bytes long.
    fn grow(&mut self, end: usize) {
        let len = end.max(self.bytes.len().saturating_mul(2)).max(1024) + MAX_WRITE;
        if try_resize(&mut self.bytes, len, 0).is_err() {
            self.keep(AssembleError::OutOfMemory { bytes: len });
        }
    }

    /// Records that the code depends on what is outside.
    pub(super) fn relocate(&mut self, relocation: Relocation) {
        if try_push(&mut self.relocations, relocation).is_err() {
            self.keep(AssembleError::OutOfMemory { bytes: size_of::<Relocation>() });
        }
    }
}

/// REX, if there must be one, and the prefix in front of `code`.
#[inline]
fn prefixed(code: u64, len: u32, opcode: Opcode, rex: u32, low_byte: bool) -> (u64, u32) {
    let (mut head, mut len) = (code, len);
    if rex != 0 || low_byte {
        head = head << 8 | u64::from(rex | 0x40);
        len += 1;
    }
    if opcode.prefix != 0 {
        head = head << 8 | u64::from(opcode.prefix);
        len += 1;
    }
    (head, len)
}

//! Instructions on general registers.

use super::assembler::Assembler;
use super::immediate::{BitMask, Imm12};
use super::operand::{Cond, Extension, Gpr, ShiftKind, Width};
use super::table::{AddSub, Bitfield, Logical, MovWide, Select, ThreeSource, TwoSource};

/// The fields Rd, Rn and Rm.
#[inline]
fn three(to: Gpr, left: Gpr, right: Gpr) -> u32 {
    right.bits() << 16 | left.bits() << 5 | to.bits()
}

impl Assembler {
    /// Addition or subtraction of two registers, none of them the stack pointer.
    #[inline]
    pub fn add_sub(&mut self, op: AddSub, width: Width, to: Gpr, left: Gpr, right: Gpr) {
        self.word(width.sf() | op.0 | three(to, left, right));
    }

    /// Addition or subtraction of a shifted register; the kind is not a rotation.
    pub fn add_sub_shifted(
        &mut self,
        op: AddSub,
        width: Width,
        [to, left, right]: [Gpr; 3],
        (kind, amount): (ShiftKind, u32),
    ) {
        if amount >= width.bits() || kind == ShiftKind::Ror {
            return self.refuse(amount.into());
        }
        let shift = (kind as u32) << 22 | amount << 10;
        self.word(width.sf() | op.0 | shift | three(to, left, right));
    }

    /// Addition or subtraction of an extended register, shifted left by at most 4. `left`, and `to` where no flags are set, can be
    /// the stack pointer.
    pub fn add_sub_extended(
        &mut self,
        op: AddSub,
        width: Width,
        [to, left, right]: [Gpr; 3],
        (extend, amount): (Extension, u32),
    ) {
        if amount > 4 {
            return self.refuse(amount.into());
        }
        let extension = 1 << 21 | (extend as u32) << 13 | amount << 10;
        self.word(width.sf() | op.0 | extension | three(to, left, right));
    }

    /// Addition or subtraction of an immediate. `left`, and `to` where no flags are set, can be the stack pointer.
    #[inline]
    pub fn add_sub_imm(&mut self, op: AddSub, width: Width, to: Gpr, left: Gpr, imm: Imm12) {
        // The forms differ in bits 28 and 24.
        let form = op.0 ^ 0x1a00_0000;
        self.word(width.sf() | form | imm.bits | left.bits() << 5 | to.bits());
    }

    /// SUBS to the zero register: compares two registers.
    #[inline]
    pub fn cmp(&mut self, width: Width, left: Gpr, right: Gpr) {
        self.add_sub(AddSub::SUBS, width, Gpr::ZR, left, right);
    }

    /// SUB from the zero register.
    #[inline]
    pub fn neg(&mut self, width: Width, to: Gpr, from: Gpr) {
        self.add_sub(AddSub::SUB, width, to, Gpr::ZR, from);
    }

    /// Logic on two registers.
    #[inline]
    pub fn logical(&mut self, op: Logical, width: Width, to: Gpr, left: Gpr, right: Gpr) {
        self.word(width.sf() | op.0 | three(to, left, right));
    }

    /// Logic on a shifted register.
    pub fn logical_shifted(
        &mut self,
        op: Logical,
        width: Width,
        [to, left, right]: [Gpr; 3],
        (kind, amount): (ShiftKind, u32),
    ) {
        if amount >= width.bits() {
            return self.refuse(amount.into());
        }
        let shift = (kind as u32) << 22 | amount << 10;
        self.word(width.sf() | op.0 | shift | three(to, left, right));
    }

    /// Logic on an immediate. `to` can be the stack pointer where no flags are set. A mask of 64 bits has no form of 32.
    #[inline]
    pub fn logical_imm(&mut self, op: Logical, width: Width, to: Gpr, left: Gpr, imm: BitMask) {
        let is_wide = imm.bits & 1 << 22 != 0;
        if op.0 & 1 << 21 != 0 || is_wide && width == Width::W32 {
            return self.refuse(imm.bits.into());
        }
        let form = op.0 & 0x6000_0000 | 0x1200_0000;
        self.word(width.sf() | form | imm.bits | left.bits() << 5 | to.bits());
    }

    /// ORR with the zero register: copies a register.
    #[inline]
    pub fn mov(&mut self, width: Width, to: Gpr, from: Gpr) {
        self.logical(Logical::ORR, width, to, Gpr::ZR, from);
    }

    /// ADD of 0: copies a register, one of which is the stack pointer.
    pub fn mov_sp(&mut self, to: Gpr, from: Gpr) {
        self.word(0x9100_0000 | from.bits() << 5 | to.bits());
    }

    /// `imm` at bit `shift`, a multiple of 16 below the width.
    #[inline]
    pub fn mov_wide(&mut self, op: MovWide, width: Width, to: Gpr, imm: u16, shift: u32) {
        if !shift.is_multiple_of(16) || shift >= width.bits() {
            return self.refuse(shift.into());
        }
        self.word(width.sf() | op.0 | (shift / 16) << 21 | u32::from(imm) << 5 | to.bits());
    }

    /// Sets a register to a constant by up to four instructions; of 32 bits, the upper ones are ignored.
    pub fn mov_imm(&mut self, width: Width, to: Gpr, value: u64) {
        let value = if width == Width::W32 { value & 0xffff_ffff } else { value };
        // 32 bits suffice where the upper half is 0.
        let is_short = value <= 0xffff_ffff;
        let (width, ones) = if is_short { (Width::W32, 0xffff_ffff) } else { (width, u64::MAX) };
        let pieces = |value: u64| {
            (0..width.bits()).step_by(16).filter(move |shift| value >> shift & 0xffff != 0)
        };
        let (zeros, inverted) = (pieces(value).count(), pieces(value ^ ones).count());
        if zeros.min(inverted) > 1 {
            let mask = match width {
                Width::W32 => BitMask::new64(value << 32 | value),
                Width::W64 => BitMask::new64(value),
            };
            if let Some(mask) = mask {
                return self.logical_imm(Logical::ORR, width, to, Gpr::ZR, mask);
            }
        }
        let (first, background) =
            if inverted < zeros { (MovWide::MOVN, ones) } else { (MovWide::MOVZ, 0) };
        let mut op = first;
        for shift in pieces(value ^ background) {
            let given = if op == MovWide::MOVN { value ^ ones } else { value };
            self.mov_wide(op, width, to, low16(given >> shift), shift);
            op = MovWide::MOVK;
        }
        if op == first {
            self.mov_wide(first, width, to, 0, 0);
        }
    }

    /// Two sources.
    #[inline]
    pub fn two_source(&mut self, op: TwoSource, width: Width, to: Gpr, left: Gpr, right: Gpr) {
        self.word(width.sf() | op.0 | three(to, left, right));
    }

    /// Multiplication and addition. Long and upper products are of 64 bits; upper products have no addend, which must be the zero
    /// register.
    pub fn three_source(
        &mut self,
        op: ThreeSource,
        width: Width,
        [to, left, right]: [Gpr; 3],
        addend: Gpr,
    ) {
        let is_upper = matches!(op, ThreeSource::SMULH | ThreeSource::UMULH);
        let is_plain = matches!(op, ThreeSource::MADD | ThreeSource::MSUB);
        if is_upper && addend != Gpr::ZR || !is_plain && width == Width::W32 {
            return self.refuse(addend.number().into());
        }
        self.word(width.sf() | op.0 | addend.bits() << 10 | three(to, left, right));
    }

    /// MADD to zero: the product.
    #[inline]
    pub fn mul(&mut self, width: Width, to: Gpr, left: Gpr, right: Gpr) {
        self.three_source(ThreeSource::MADD, width, [to, left, right], Gpr::ZR);
    }

    /// Moves bits: the fields immr and imms, both below the width.
    pub fn bitfield(
        &mut self,
        op: Bitfield,
        width: Width,
        [to, from]: [Gpr; 2],
        [immr, imms]: [u32; 2],
    ) {
        if immr >= width.bits() || imms >= width.bits() {
            return self.refuse(immr.max(imms).into());
        }
        // The field N equals sf.
        let n = (width as u32) << 22;
        let fields = immr << 16 | imms << 10 | from.bits() << 5 | to.bits();
        self.word(width.sf() | op.0 | n | fields);
    }

    /// UBFM: shifts left by less than the width.
    pub fn lsl(&mut self, width: Width, to: Gpr, from: Gpr, by: u32) {
        let bits = width.bits();
        if by >= bits {
            return self.refuse(by.into());
        }
        self.bitfield(Bitfield::UBFM, width, [to, from], [(bits - by) % bits, bits - 1 - by]);
    }

    /// UBFM: shifts right by less than the width, filled with zeros.
    pub fn lsr(&mut self, width: Width, to: Gpr, from: Gpr, by: u32) {
        self.bitfield(Bitfield::UBFM, width, [to, from], [by, width.bits() - 1]);
    }

    /// SBFM: shifts right by less than the width, filled with the sign.
    pub fn asr(&mut self, width: Width, to: Gpr, from: Gpr, by: u32) {
        self.bitfield(Bitfield::SBFM, width, [to, from], [by, width.bits() - 1]);
    }

    /// EXTR: the bits of `high` above those of `low`, from bit `by` on. With twice the same register, a rotation right.
    pub fn extr(&mut self, width: Width, to: Gpr, [high, low]: [Gpr; 2], by: u32) {
        if by >= width.bits() {
            return self.refuse(by.into());
        }
        let n = (width as u32) << 22;
        self.word(width.sf() | 0x1380_0000 | n | by << 10 | three(to, high, low));
    }

    /// UBFM of the low 8, 16 or 32 bits: zeros above.
    pub fn zero_extend(&mut self, to: Gpr, from: Gpr, bits: u32) {
        match bits {
            32 => self.mov(Width::W32, to, from),
            _ => self.bitfield(Bitfield::UBFM, Width::W32, [to, from], [0, bits.wrapping_sub(1)]),
        }
    }

    /// SBFM of the low 8, 16 or 32 bits: copies of the sign above, up to the width.
    pub fn sign_extend(&mut self, width: Width, to: Gpr, from: Gpr, bits: u32) {
        self.bitfield(Bitfield::SBFM, width, [to, from], [0, bits.wrapping_sub(1)]);
    }

    /// One of two registers.
    #[inline]
    pub fn select(&mut self, op: Select, width: Width, [to, first, second]: [Gpr; 3], cond: Cond) {
        self.word(width.sf() | op.0 | (cond as u32) << 12 | three(to, first, second));
    }

    /// CSINC of zero registers: 1 where the condition holds, else 0.
    #[inline]
    pub fn cset(&mut self, to: Gpr, cond: Cond) {
        let operands = [to, Gpr::ZR, Gpr::ZR];
        self.select(Select::CSINC, Width::W32, operands, cond.inverted());
    }
}

/// The low 16 bits.
fn low16(value: u64) -> u16 {
    let [a, b, ..] = value.to_le_bytes();
    u16::from_le_bytes([a, b])
}

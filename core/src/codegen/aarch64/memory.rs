//! Loads and stores.

use super::assembler::Assembler;
use super::operand::{Extension, Fpr, Gpr};
use super::table::{Access, Pair};

/// An address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mem {
    /// A base, which can be the stack pointer, and bytes: a multiple of the access size below 4096 times that, or 9 bits
    /// with a sign.
    Offset(Gpr, i64),
    /// A base and another register, extended, and multiplied by the access size if so said. [`Extension::Uxtx`] is a shift
    /// only; extensions of 8 and 16 bits do not exist.
    Index(Gpr, Gpr, Extension, bool),
    /// The base is first increased by 9 bits with a sign.
    Pre(Gpr, i64),
    /// The base is increased by 9 bits with a sign afterwards.
    Post(Gpr, i64),
}

/// How a pair is addressed: bytes are a multiple of the size of a register, 7 bits with a sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairMode {
    /// A base and bytes.
    Offset,
    /// The base is first increased.
    Pre,
    /// The base is increased afterwards.
    Post,
}

/// A signed number of `bits` bits as a field; `None` if it does not fit.
fn signed_field(value: i64, bits: u32) -> Option<u32> {
    let end = 1i64 << (bits - 1);
    if !(-end..end).contains(&value) {
        return None;
    }
    u32::try_from(value & ((1 << bits) - 1)).ok()
}

impl Access {
    /// Whether [`Mem::Offset`] can have so many bytes.
    #[inline]
    pub fn encodes(self, offset: i64) -> bool {
        self.offset_fields(offset).is_some()
    }

    /// The fields of an offset: scaled if possible, else not.
    #[inline]
    fn offset_fields(self, offset: i64) -> Option<u32> {
        let scale = self.scale();
        let is_multiple = offset & ((1 << scale) - 1) == 0;
        match u32::try_from(offset >> scale) {
            Ok(units) if units < 4096 && is_multiple => Some(1 << 24 | units << 10),
            _ => signed_field(offset, 9).map(|field| field << 12),
        }
    }

    /// The word of the instruction without its register.
    fn encode(self, mem: Mem) -> Result<u32, i64> {
        let indexed = |bytes: i64, mode: u32| {
            signed_field(bytes, 9).map(|field| field << 12 | mode << 10).ok_or(bytes)
        };
        let (base, fields) = match mem {
            Mem::Offset(base, bytes) => (base, self.offset_fields(bytes).ok_or(bytes)?),
            Mem::Pre(base, bytes) => (base, indexed(bytes, 3)?),
            Mem::Post(base, bytes) => (base, indexed(bytes, 1)?),
            Mem::Index(base, index, extend, is_scaled) => {
                let option = extend as u32;
                // Only extensions of 32 and 64 bits exist.
                if option & 2 == 0 {
                    return Err(option.into());
                }
                let fields = 1 << 21 | index.bits() << 16 | option << 13 | 2 << 10;
                (base, fields | u32::from(is_scaled) << 12)
            }
        };
        Ok(self.0 | fields | base.bits() << 5)
    }
}

impl Assembler {
    #[inline]
    fn access(&mut self, access: Access, register: u32, mem: Mem) {
        match access.encode(mem) {
            Ok(word) => self.word(word | register),
            Err(value) => self.refuse(value),
        }
    }

    /// A load or store of a general register.
    #[inline]
    pub fn memory(&mut self, access: Access, register: Gpr, mem: Mem) {
        if access.is_float() {
            return self.refuse(register.number().into());
        }
        self.access(access, register.bits(), mem);
    }

    /// A load or store of a floating-point register.
    #[inline]
    pub fn memory_float(&mut self, access: Access, register: Fpr, mem: Mem) {
        if !access.is_float() {
            return self.refuse(register.number().into());
        }
        self.access(access, register.bits(), mem);
    }

    fn any_pair(&mut self, op: Pair, registers: [u32; 2], mode: PairMode, base: Gpr, bytes: i64) {
        let scale = op.scale();
        let mode = match mode {
            PairMode::Offset => 2,
            PairMode::Pre => 3,
            PairMode::Post => 1,
        };
        let units = signed_field(bytes >> scale, 7).filter(|_| bytes & ((1 << scale) - 1) == 0);
        let Some(units) = units else { return self.refuse(bytes) };
        let [first, second] = registers;
        let fields = mode << 23 | units << 15 | second << 10 | base.bits() << 5 | first;
        self.word(op.0 & !(3 << 23) | fields);
    }

    /// A load or store of two general registers.
    pub fn pair(&mut self, op: Pair, registers: [Gpr; 2], mode: PairMode, base: Gpr, bytes: i64) {
        if op.is_float() {
            return self.refuse(bytes);
        }
        self.any_pair(op, registers.map(Gpr::bits), mode, base, bytes);
    }

    /// A load or store of two floating-point registers.
    pub fn pair_float(
        &mut self,
        op: Pair,
        registers: [Fpr; 2],
        mode: PairMode,
        base: Gpr,
        bytes: i64,
    ) {
        if !op.is_float() {
            return self.refuse(bytes);
        }
        self.any_pair(op, registers.map(Fpr::bits), mode, base, bytes);
    }
}

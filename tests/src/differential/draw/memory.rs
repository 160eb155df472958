//! Accesses of the host's memory, of stack slots and of read-only data.

use smf_core::ir::{Binary, Condition, Local, Scalar, Value};

use super::{ACCESSIBLE, WINDOW, Writer};

/// Where an access goes.
#[derive(Clone, Copy)]
pub(super) struct Region {
    /// The address of the first byte, or an address before it.
    address: Local,
    /// The offset of the first byte from that address.
    offset: i32,
    /// The number of bytes.
    size: i32,
}

impl Writer<'_, '_> {
    /// Declares slots, which are filled, and data.
    pub(super) fn storage(&mut self) {
        for _ in 0..self.source.choose([0, 0, 1, 2]) {
            let size = 16 << self.source.below(4);
            let align = 1 << self.source.below(5);
            let slot = self.builder.slot(size, align);
            let size = i32::try_from(size).unwrap();
            let address = self.temporary(Scalar::Pointer);
            self.builder.slot_address(address, slot, 0);
            let value = self.temporary(Scalar::U8);
            self.constant(Scalar::U8, value);
            self.builder.fill_memory(address, value, size);
            self.slots.push((slot, size));
        }
        for _ in 0..self.source.choose([0, 0, 0, 1]) {
            let bytes: Vec<u8> = (0..32).map(|_| self.source.byte()).collect();
            let align = 1 << self.source.below(7);
            let data = self.builder.data(&bytes, align);
            self.data.push((data, 32));
        }
    }

    /// A part of memory that may be written, if there is any.
    fn writable(&mut self) -> Option<Region> {
        match (self.memory, self.slots.len()) {
            (None, 0) => None,
            (Some(address), count) if count == 0 || self.source.below(3) != 0 => {
                Some(Region { address, offset: WINDOW, size: ACCESSIBLE })
            }
            (_, count) => {
                let (slot, size) = self.slots[usize::from(self.source.byte()) % count];
                let address = self.temporary(Scalar::Pointer);
                let inside = i32::from(self.source.below(2)) * 8;
                self.builder.slot_address(address, slot, inside);
                Some(Region { address, offset: -inside, size })
            }
        }
    }

    fn readable(&mut self) -> Option<Region> {
        let Some(&(data, size)) = self.data.first() else { return self.writable() };
        if self.source.below(3) != 0 {
            return self.writable();
        }
        let address = self.temporary(Scalar::Pointer);
        self.builder.data_address(address, data, 0);
        Some(Region { address, offset: 0, size })
    }

    /// An index below `bound`, a power of two.
    fn index(&mut self, bound: i32) -> Local {
        let scalar = self.source.choose([Scalar::I64, Scalar::U64]);
        let any = self.value(scalar, 1);
        let to = self.temporary(scalar);
        self.builder.binary(Binary::And, scalar, to, any, bound - 1);
        if self.source.below(4) == 0 {
            // As a front end checks it; the trap never happens.
            self.builder.trap_compare(Condition::GreaterEqual, scalar, to, bound, 40);
        }
        to
    }

    /// A value of this type, out of memory if there is any.
    pub(super) fn loaded(&mut self, scalar: Scalar) -> Local {
        let to = self.destination(scalar);
        self.load(scalar, to);
        to
    }

    pub(super) fn load(&mut self, scalar: Scalar, to: Local) {
        let Some(region) = self.readable() else { return self.constant(scalar, to) };
        match self.element(region, scalar) {
            Place::Bytes(address, bytes) => self.builder.load(scalar, to, address, bytes),
            Place::Element(array, index, more) => {
                self.builder.load_element(scalar, to, array, Some(index), more);
            }
        }
    }

    /// Stores a value of any type.
    pub(super) fn store(&mut self) {
        let Some(region) = self.writable() else { return };
        let scalar = match super::scalar(self.source) {
            Scalar::Pointer => Scalar::U64,
            scalar => scalar,
        };
        let value = self.value(scalar, 2);
        let value = if scalar.is_float() { self.number_or_zero(scalar, value) } else { value };
        match self.element(region, scalar) {
            Place::Bytes(address, bytes) => self.builder.store(scalar, value, address, bytes),
            Place::Element(array, index, more) => {
                self.builder.store_element(scalar, value, array, Some(index), more);
            }
        }
    }

    /// The value, or 0 for NaN, whose bits depend on the engine.
    fn number_or_zero(&mut self, scalar: Scalar, value: Local) -> Local {
        let is_number = self.temporary(Scalar::Bool);
        self.builder.compare(Condition::Equal, scalar, is_number, value, value);
        let (zero, to) = (self.temporary(scalar), self.temporary(scalar));
        self.builder.select(scalar, to, is_number, value, zero);
        to
    }

    fn element(&mut self, region: Region, scalar: Scalar) -> Place {
        let Region { address, offset, size } = region;
        let scale = i32::from(scalar.size());
        match self.source.below(4) {
            0 => {
                let within = i32::from(self.source.byte()) % (size - scale + 1);
                Place::Bytes(address, offset + within)
            }
            1 => {
                // The address of an element first, then an access from there.
                let array = self.temporary(Scalar::Pointer);
                let index = self.index(size / scale / 2);
                self.builder.element(scalar, array, address, Some(index), 0);
                let within = i32::from(self.source.below(16)) % (size / 2 - scale + 1);
                Place::Bytes(array, offset + within)
            }
            _ => {
                let count = size / scale / 2;
                let index = self.index(count);
                let more = i32::from(self.source.byte()) % count;
                Place::Element(address, index, offset / scale + more)
            }
        }
    }

    /// Fills or copies bytes.
    pub(super) fn bulk(&mut self) {
        let (Some(to), Some(from)) = (self.writable(), self.readable()) else { return };
        let half = to.size.min(from.size) / 2;
        let count =
            if self.source.below(2) == 0 { i32::from(self.source.byte()) % (half + 1) } else { 0 };
        let address = |writer: &mut Self, region: Region, more: i32| {
            let to = writer.temporary(Scalar::Pointer);
            writer.builder.element(Scalar::U8, to, region.address, None, region.offset + more);
            to
        };
        // The upper half is copied to the lower half, so that the bytes do not overlap.
        let (first, second) = (address(self, to, 0), address(self, from, half));
        let value = self.value(Scalar::U8, 1);
        let bytes: Value = if count == 0 { self.index(half.min(64)).into() } else { count.into() };
        match self.source.below(2) {
            0 => self.builder.fill_memory(first, value, bytes),
            _ => self.builder.copy_memory(first, second, bytes),
        }
    }
}

/// The operand of an access.
enum Place {
    /// An address and an offset in bytes.
    Bytes(Local, i32),
    /// An array, an index, and more elements.
    Element(Local, Local, i32),
}

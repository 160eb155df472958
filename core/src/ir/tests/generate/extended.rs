//! The operations of version 2, by groups that a code generator may lack.

use super::*;

/// Operations that a code generator has together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ir::tests) enum Group {
    /// `select`.
    Select,
    /// `sqrt`, `abs`, and rotations.
    Arithmetic,
    /// Operations that check for overflow.
    Checked,
    /// Conditional traps.
    Traps,
    /// Stack slots.
    Slots,
    /// Read-only data, and the stack limit, which is read from there.
    Data,
    /// Copies and fills.
    Regions,
    /// Calls of functions of the program, by number and by address.
    Calls,
    /// Tail calls.
    TailCalls,
    /// Source locations.
    Locations,
}

/// All groups.
pub(in crate::ir::tests) const ALL: &[Group] = &[
    Group::Select,
    Group::Arithmetic,
    Group::Checked,
    Group::Traps,
    Group::Slots,
    Group::Data,
    Group::Regions,
    Group::Calls,
    Group::TailCalls,
    Group::Locations,
];

/// The functions of the program from number 1 on; number 0 is the random one.
pub(in crate::ir::tests) const HELPERS: &str = "
function random()
    trap 99
end
function mix(a: i64, b: f64, c: u8) -> i64
    slot s align 16: 16
    local p: ptr
    local d: i64
    slot_address p, s + 8
    store i64 a, p - 8
    store f64 b, p
    convert i64 d, u8 c
    load i64 a, p - 8
    add i64 d, d, a
    return_call add(d, a)
end
function add(a: i64, b: i64) -> i64
    trap_lt i64 a, -32768, 12
    add_checked i64 a, a, b
    return i64 a
end
function half(a: f64) -> f64
    local two: f64
    const f64 two, 2
    div f64 a, a, two
    return f64 a
end
";

/// A function of the program: its number, parameters and result.
type Helper = (u32, &'static [Scalar], Scalar);

const CALLED: [Helper; 3] = [
    (1, &[Scalar::I64, Scalar::F64, Scalar::U8], Scalar::I64),
    (2, &[Scalar::I64, Scalar::I64], Scalar::I64),
    (3, &[Scalar::F64], Scalar::F64),
];

/// Bytes of each slot and of each entry of data.
const SIZE: i32 = 64;

/// The scalars of a kind of memory.
const KINDS: [Scalar; 3] = [Scalar::I64, Scalar::F32, Scalar::F64];

impl Generator<'_> {
    fn has(&self, group: Group) -> bool {
        self.groups.contains(&group)
    }

    /// Slots and data of each kind of memory. The slots are set to 0, because their bytes are undefined.
    pub(super) fn declare_memory(&mut self) {
        for (kind, &scalar) in KINDS.iter().enumerate() {
            if self.has(Group::Data) {
                let values = (0..SIZE / 8).map(|_| match scalar {
                    Scalar::F32 => self.random.bits(scalar) | self.random.bits(scalar) << 32,
                    _ => self.random.bits(scalar),
                });
                let bytes: Vec<u8> = values.flat_map(u64::to_le_bytes).collect();
                let align = self.random.pick(&[1, 8, 64]);
                self.data[kind] = Some(self.body.data(&bytes, align));
            }
            if self.has(Group::Slots) && self.has(Group::Regions) {
                let align = self.random.pick(&[1, 8, 16]);
                let slot = self.body.slot(SIZE as u32 + self.random.below(5) as u32, align);
                self.slots[kind] = Some(slot);
            }
        }
        let zero = self.body.local(Scalar::U8);
        for slot in self.slots.into_iter().flatten() {
            self.body.slot_address(self.pointers[0], slot, 0);
            self.body.fill_memory(self.pointers[0], zero, SIZE);
        }
    }

    pub(super) fn unary(&mut self) -> Unary {
        let count = if self.has(Group::Arithmetic) { 4 } else { 2 };
        self.random.pick(&Unary::ALL[..count])
    }

    pub(super) fn binary(&mut self) -> Binary {
        match self.random.below(8) {
            0 if self.has(Group::Arithmetic) => Binary::RotateLeft,
            _ => self.random.pick(&Binary::ALL[..10]),
        }
    }

    pub(super) fn extended(&mut self, group: Group) -> Option<()> {
        match group {
            Group::Select => {
                let (to, ty, _) = self.local(|_| true)?;
                let (first, second) = (self.same(ty), self.same(ty));
                let condition = self.exact(Scalar::Bool)?;
                self.body.select(ty, to, condition, first, second);
            }
            Group::Arithmetic => {
                let unary = self.random.pick(&[Unary::SquareRoot, Unary::Absolute]);
                let (to, ty, _) = self.local(Scalar::is_float)?;
                let from = self.same(ty);
                self.body.unary(unary, ty, to, from);
            }
            Group::Checked => {
                let binary = self.random.pick(&Binary::ALL[10..13]);
                let (to, ty, scalar) = self.local(|scalar| binary.types().has(scalar.into()))?;
                let (left, right) = (self.same(ty), self.second(ty, scalar, false));
                self.body.binary(binary, ty, to, left, right);
            }
            Group::Traps => self.conditional_trap()?,
            Group::Slots | Group::Data => self.memory_of(group)?,
            Group::Regions => self.region()?,
            Group::Calls => self.program_call()?,
            Group::TailCalls => {}
            Group::Locations => {
                let file = self.random.pick(&[None, Some("a"), Some("file \"b\"\n")]);
                let (line, column) = (self.random.next() as u32, self.random.next() as u16);
                let file = file.map(|name| self.body.file(name));
                self.body.location(line, column, file);
                // A second location here would replace this one and leave its name in the strings.
                self.body.copy(Scalar::I64, self.index, self.index);
            }
        }
        Some(())
    }

    /// A trap that is often not taken.
    fn conditional_trap(&mut self) -> Option<()> {
        let code = self.random.next() as u32;
        if self.random.below(8) == 0 {
            let condition = self.exact(Scalar::Bool)?;
            self.body.trap_if(condition, self.random.next() & 1 == 0, code);
            return Some(());
        }
        let condition = match self.random.below(6) {
            0 => self.random.pick(Condition::ALL),
            _ => Condition::Equal,
        };
        let (left, ty, scalar) = self.local(|scalar| condition.types().has(scalar.into()))?;
        let right = self.second(ty, scalar, true);
        self.body.trap_compare(condition, ty, left, right, code);
        Some(())
    }

    /// An access to a slot or to data.
    fn memory_of(&mut self, group: Group) -> Option<()> {
        let (local, ty, scalar) = self.local(|_| true)?;
        let kind = KINDS.iter().position(|&kind| kind == scalar).unwrap_or(0);
        let pointer = self.random.pick(&self.pointers);
        let places = (SIZE / i32::from(scalar.size())) as usize;
        let place = self.random.below(places) as i32 * i32::from(scalar.size());
        // The address of a byte in the middle, or behind the last one.
        let base = self.random.pick(&[0, place, SIZE]);
        if group == Group::Slots {
            self.body.slot_address(pointer, self.slots[kind]?, base);
            match self.random.below(2) {
                0 => self.body.load(ty, local, pointer, place - base),
                _ => self.body.store(ty, local, pointer, place - base),
            }
            return Some(());
        }
        self.body.data_address(pointer, self.data[kind]?, base);
        self.body.load(ty, local, pointer, place - base);
        if self.random.below(4) == 0 {
            // The least address, so that every stack is above.
            let limit = self.body.data(&[0; 8], 8);
            self.body.data_address(pointer, limit, 0);
            self.body.check_stack(pointer, 0);
        }
        Some(())
    }

    /// A copy between two regions of one kind, or a fill of integers.
    fn region(&mut self) -> Option<()> {
        let [pointer, from] = self.pointers;
        let kind = self.random.below(3);
        let bytes = match self.random.below(3) {
            0 => {
                let any = self.exact(Scalar::I64)?;
                self.body.binary(Binary::And, Scalar::I64, self.index, any, 0x38);
                Value::Local(self.index)
            }
            _ => Value::Number(self.random.below(SIZE as usize / 8 + 1) as i32 * 8),
        };
        let home = self.home(KINDS[kind]);
        match (self.random.below(4), self.slots[kind], self.data[kind]) {
            (0, Some(slot), _) => {
                self.body.slot_address(pointer, slot, 0);
                self.body.copy_memory(pointer, home, bytes);
            }
            (1, Some(slot), _) => {
                self.body.slot_address(pointer, slot, 0);
                self.body.copy_memory(home, pointer, bytes);
            }
            (2, Some(slot), Some(data)) => {
                self.body.slot_address(pointer, slot, 0);
                self.body.data_address(from, data, 0);
                self.body.copy_memory(pointer, from, bytes);
            }
            _ if kind == 0 => {
                let value = self.exact(Scalar::U8)?;
                self.body.fill_memory(home, value, bytes);
            }
            _ => self.body.copy_memory(home, home, bytes),
        }
        Some(())
    }

    fn helper(&mut self) -> Option<(Helper, Vec<Local>)> {
        let helper = self.random.pick(&CALLED);
        let arguments = helper.1.iter().map(|&scalar| self.exact(scalar)).collect::<Option<_>>()?;
        Some((helper, arguments))
    }

    fn program_call(&mut self) -> Option<()> {
        let ((number, params, result), arguments) = self.helper()?;
        let to = self.exact(result).filter(|_| self.random.below(4) > 0);
        if self.random.below(2) == 0 {
            self.body.call_function(number, to, &arguments, Some(result.into()));
            return Some(());
        }
        let params: Vec<ValueType> = params.iter().map(|&scalar| scalar.into()).collect();
        let pointer = self.pointers[0];
        self.body.function_address(pointer, number, &params, Some(result.into()));
        self.body.call_indirect(pointer, to, &arguments, Some(result.into()));
        Some(())
    }

    /// A tail call, if there is a function with this result.
    pub(super) fn return_call(&mut self, ty: ValueType) -> Option<()> {
        if !self.has(Group::TailCalls) {
            return None;
        }
        let ((number, params, result), arguments) = self.helper()?;
        if ty != result.into() {
            return None;
        }
        if self.random.below(2) == 0 {
            self.body.return_call_function(number, &arguments);
            return Some(());
        }
        let params: Vec<ValueType> = params.iter().map(|&scalar| scalar.into()).collect();
        let pointer = self.pointers[1];
        self.body.function_address(pointer, number, &params, Some(result.into()));
        self.body.return_call_indirect(pointer, &arguments);
        Some(())
    }
}

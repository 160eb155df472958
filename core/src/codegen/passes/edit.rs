//! The form of a function that passes rewrite: tables of its own, with all types bound to scalars.
//!
//! An instruction is deleted in place, and [`EditableFunction::rebuild`] removes the deleted ones, inserts others and
//! renumbers the targets. Each instruction has an origin, the source location that traps report, so that a trap reports
//! the same location after it was moved. In a function without source locations, the line of an origin is the offset of
//! the instruction before the passes, which is what its traps report.

use alloc::vec::Vec;

use crate::alloc_util::{AllocError, try_push, try_reserve, try_resize};
use crate::format::bytes::u32_at;
use crate::ir::function::{CALLEE, Function, LOCATION, VERSION};
use crate::ir::instruction::{Instruction, NONE};
use crate::ir::interpret::number;
use crate::ir::opcode::{Binary, Opcode};
use crate::ir::types::Scalar;
use crate::ir::verify::FunctionInstance;
use crate::ir::{BuildError, FunctionBuilder};

/// The source location of an instruction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) line: u32,
    pub(super) column: u16,
    /// The offset of the name of the file in the strings, or [`NONE`].
    pub(super) file: u16,
}

/// How a callee is called.
#[derive(Clone, Copy, Debug)]
pub(super) struct CalleeShape {
    /// The number of a function of the program; `None` for another kind of callee.
    pub(super) function: Option<u32>,
    /// The number of its parameters.
    pub(super) params: u8,
}

/// An instruction to insert in front of another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Insertion {
    pub(super) before: usize,
    /// The last instruction of the loop that begins at `before`: jumps from inside of the loop go past the insertion.
    pub(super) loop_end: usize,
    pub(super) instruction: Instruction,
    pub(super) origin: Origin,
}

/// A function in a form that passes rewrite.
#[derive(Debug, Default)]
pub(super) struct EditableFunction {
    pub(super) code: Vec<Instruction>,
    pub(super) origins: Vec<Origin>,
    /// The codes of the types of the locals, all of them scalars.
    pub(super) locals: Vec<u8>,
    pub(super) params: u16,
    pub(super) constants: Vec<u64>,
    pub(super) operands: Vec<u16>,
    pub(super) callees: Vec<CalleeShape>,
    /// How many operands may be added before calls share those that they have.
    operand_budget: usize,
    has_changed: bool,
    /// The new numbers of instructions, and of the first instruction inserted in front of each.
    numbers: Vec<[u32; 2]>,
    spare_code: Vec<Instruction>,
    spare_origins: Vec<Origin>,
    /// What is encoded.
    tables: FunctionBuilder,
}

/// What stands for a deleted instruction: a copy without a type.
const DELETED: Instruction =
    Instruction { opcode: Opcode::Move, immediate: false, type_code: 0, a: 0, b: 0, c: 0, imm: 0 };

/// Whether `i` stands for a deleted instruction.
pub(super) fn is_deleted(i: &Instruction) -> bool {
    i.opcode == Opcode::Move && i.type_code == 0
}

/// The scalar of a code; all codes of an [`EditableFunction`] are scalars.
pub(super) fn scalar_of(code: u8) -> Option<Scalar> {
    Scalar::from_code(code)
}

/// An instruction without an immediate in the place of the second value.
pub(super) fn plain(opcode: Opcode, type_code: u8, fields: [u16; 3], imm: i32) -> Instruction {
    let [a, b, c] = fields;
    Instruction { opcode, immediate: false, type_code, a, b, c, imm }
}

/// The instruction that copies `b` to `a`.
pub(super) fn copy(type_code: u8, a: u16, b: u16) -> Instruction {
    plain(Opcode::Move, type_code, [a, b, 0], 0)
}

/// Whether `i` may trap. An access to memory does not count: its address is the responsibility of the front end.
pub(super) fn can_trap(i: &Instruction) -> bool {
    match i.opcode {
        Opcode::Trap | Opcode::TrapCompare(_) | Opcode::TrapIf(_) | Opcode::CheckStack => true,
        Opcode::Binary(binary) => scalar_of(i.type_code).is_none_or(|scalar| {
            let is_division = matches!(binary, Binary::Divide | Binary::Remainder);
            let is_safe = is_division && i.immediate && number(i.imm, scalar) != 0;
            binary.can_trap() && !scalar.is_float() && !is_safe
        }),
        _ => false,
    }
}

/// Whether `i` reads memory and has no other effect.
pub(super) fn is_load(i: &Instruction) -> bool {
    matches!(i.opcode, Opcode::Load | Opcode::LoadElement)
}

/// Whether `i` only sets a local, to a value that depends on nothing but the locals it reads.
pub(super) fn is_pure(i: &Instruction) -> bool {
    use Opcode as O;
    match i.opcode {
        O::Constant | O::WideConstant | O::Move | O::SizeOf | O::Convert | O::Unary(_) => true,
        O::Compare(_) | O::Element | O::Select => true,
        O::SlotAddress | O::DataAddress | O::FunctionAddress => true,
        O::Binary(_) => !can_trap(i),
        _ => false,
    }
}

/// Whether `i` may change memory.
pub(super) fn is_memory_effect(i: &Instruction) -> bool {
    use Opcode as O;
    matches!(i.opcode, O::Store | O::StoreElement | O::CopyMemory | O::FillMemory)
        || i.opcode.is_call()
}

impl EditableFunction {
    /// Whether control reaches every instruction once, in their order.
    pub(super) fn is_straight(&self) -> bool {
        let ends = self.code.iter().position(|i| i.opcode.ends());
        ends == self.code.len().checked_sub(1) && !self.code.iter().any(|i| i.opcode.has_target())
    }

    /// Takes over the tables of `instance`.
    pub(super) fn load(&mut self, instance: &FunctionInstance<'_, '_>) -> Result<(), AllocError> {
        let body = instance.body();
        let bound = |code: u8| instance.scalar(code).map_or(code, Scalar::code);
        self.params = body.signature().params.len().try_into().unwrap_or(u16::MAX);
        refill(&mut self.locals, body.local_codes().iter().map(|&code| bound(code)))?;
        refill(&mut self.constants, body.constants.iter().map(|bits| u64::from_le_bytes(*bits)))?;
        refill(&mut self.operands, body.operands.iter().map(|local| u16::from_le_bytes(*local)))?;
        refill(&mut self.callees, body.callees.iter().map(shape))?;
        let code = body.instructions().map(|i| i.map_or(DELETED, |i| bind(i, bound)));
        refill(&mut self.code, code)?;
        self.operand_budget = self.operands.len().saturating_add(self.code.len());
        self.load_origins(body)
    }

    fn load_origins(&mut self, body: &Function<'_>) -> Result<(), AllocError> {
        self.origins.clear();
        try_reserve(&mut self.origins, body.len())?;
        if body.locations.is_empty() {
            let lines = (0..body.len()).map(|index| body.offset(index));
            self.origins.extend(lines.map(|line| Origin { line, column: 0, file: NONE }));
            return Ok(());
        }
        let mut current = Origin { line: 0, column: 0, file: NONE };
        let mut entries = body.locations.iter().map(location).peekable();
        for index in 0..body.len() {
            while let Some((_, origin)) = entries.next_if(|entry| entry.0 <= index) {
                current = origin;
            }
            self.origins.push(current);
        }
        Ok(())
    }

    /// How many instructions there are, deleted ones included.
    pub(super) fn len(&self) -> usize {
        self.code.len()
    }

    /// An instruction that is not deleted.
    pub(super) fn get(&self, index: usize) -> Option<Instruction> {
        self.code.get(index).copied().filter(|i| !is_deleted(i))
    }

    /// Replaces an instruction; its origin stays.
    pub(super) fn set(&mut self, index: usize, instruction: Instruction) {
        if let Some(i) = self.code.get_mut(index) {
            self.has_changed |= *i != instruction;
            *i = instruction;
        }
    }

    /// Whether an instruction was replaced or deleted since the last call.
    pub(super) fn take_changed(&mut self) -> bool {
        core::mem::take(&mut self.has_changed)
    }

    /// Deletes an instruction; its number stays until [`rebuild`](Self::rebuild).
    pub(super) fn delete(&mut self, index: usize) {
        self.set(index, DELETED);
    }

    /// The origin of an instruction.
    pub(super) fn origin(&self, index: usize) -> Origin {
        self.origins.get(index).copied().unwrap_or_default()
    }

    /// The type of a local.
    pub(super) fn local_code(&self, local: u16) -> u8 {
        self.locals.get(usize::from(local)).copied().unwrap_or(0)
    }

    /// Adds a local; `None` when a function cannot have more.
    pub(super) fn add_local(&mut self, code: u8) -> Result<Option<u16>, AllocError> {
        let number = u16::try_from(self.locals.len()).ok().filter(|&number| number != NONE);
        if number.is_some() {
            try_push(&mut self.locals, code)?;
        }
        Ok(number)
    }

    /// The instruction that sets `a` to the value of type `scalar` with these bits; `None` when the table of constants
    /// is full.
    pub(super) fn constant(
        &mut self,
        scalar: Scalar,
        a: u16,
        bits: u64,
    ) -> Result<Option<Instruction>, AllocError> {
        if let Some(imm) = immediate_of(scalar, bits) {
            return Ok(Some(plain(Opcode::Constant, scalar.code(), [a, 0, 0], imm)));
        }
        let recent = self.constants.iter().enumerate().rev().take(16);
        let known = recent.into_iter().find(|&(_, &known)| known == bits).map(|found| found.0);
        let index = known.unwrap_or(self.constants.len());
        let Ok(index) = i32::try_from(index) else { return Ok(None) };
        if known.is_none() {
            try_push(&mut self.constants, bits)?;
        }
        Ok(Some(plain(Opcode::WideConstant, scalar.code(), [a, 0, 0], index)))
    }

    /// The bits of the value that a constant sets its local to.
    pub(super) fn constant_bits(&self, i: &Instruction) -> Option<u64> {
        match i.opcode {
            Opcode::Constant => Some(number(i.imm, scalar_of(i.type_code)?)),
            Opcode::WideConstant => self.constants.get(usize::try_from(i.imm).ok()?).copied(),
            _ => None,
        }
    }

    /// The locals that a call passes.
    pub(super) fn operands_of(&self, i: &Instruction) -> &[u16] {
        let range = || {
            let count = self.callees.get(usize::from(i.b))?.params;
            let from = self.operands.get(usize::try_from(i.imm).ok()?..)?;
            from.get(..usize::from(count))
        };
        if i.opcode.is_call() { range().unwrap_or(&[]) } else { &[] }
    }

    /// Calls `each` with every local that `i` reads.
    pub(super) fn reads(&self, i: &Instruction, mut each: impl FnMut(u16)) {
        i.read().into_iter().flatten().for_each(&mut each);
        self.operands_of(i).iter().for_each(|&local| each(local));
    }

    /// Replaces each local that `i` reads by what `map` returns. The operands of a call are copied first, because calls
    /// may share them.
    pub(super) fn map_reads(
        &mut self,
        i: &mut Instruction,
        map: impl Fn(u16) -> u16,
    ) -> Result<(), AllocError> {
        i.map_read(&map);
        let operands = self.operands_of(i);
        let (count, first) = (operands.len(), self.operands.len());
        if operands.iter().all(|&local| map(local) == local) || count > self.operand_budget {
            return Ok(());
        }
        let (Ok(from), Ok(next)) = (usize::try_from(i.imm), i32::try_from(first)) else {
            return Ok(());
        };
        self.operand_budget -= count;
        try_resize(&mut self.operands, first.saturating_add(count), 0)?;
        self.operands.copy_within(from..from.saturating_add(count), first);
        self.operands.iter_mut().skip(first).for_each(|local| *local = map(*local));
        i.imm = next;
        Ok(())
    }

    /// Marks the instructions that are targets of jumps.
    pub(super) fn targets(&self, marks: &mut Vec<bool>) -> Result<(), AllocError> {
        marks.clear();
        try_resize(marks, self.len(), false)?;
        for target in self.code.iter().filter_map(Instruction::target) {
            let mark = usize::try_from(target).ok().and_then(|target| marks.get_mut(target));
            mark.into_iter().for_each(|mark| *mark = true);
        }
        Ok(())
    }

    /// Removes the deleted instructions and inserts others, which are sorted. Their targets are old numbers, too.
    pub(super) fn rebuild(&mut self, insertions: &[Insertion]) -> Result<(), AllocError> {
        if insertions.is_empty() && !self.code.iter().any(is_deleted) {
            return Ok(());
        }
        self.renumber(insertions)?;
        let capacity = self.len().saturating_add(insertions.len());
        self.spare_code.clear();
        self.spare_origins.clear();
        try_reserve(&mut self.spare_code, capacity)?;
        try_reserve(&mut self.spare_origins, capacity)?;
        let mut rest = insertions.iter().peekable();
        for (index, (i, origin)) in self.code.iter().zip(&self.origins).enumerate() {
            while let Some(insertion) = rest.next_if(|insertion| insertion.before <= index) {
                let (i, before) = (&insertion.instruction, insertion.before);
                self.spare_code.push(retarget(i, before, &self.numbers, insertions));
                self.spare_origins.push(insertion.origin);
            }
            if !is_deleted(i) {
                self.spare_code.push(retarget(i, index, &self.numbers, insertions));
                self.spare_origins.push(*origin);
            }
        }
        core::mem::swap(&mut self.code, &mut self.spare_code);
        core::mem::swap(&mut self.origins, &mut self.spare_origins);
        Ok(())
    }

    fn renumber(&mut self, insertions: &[Insertion]) -> Result<(), AllocError> {
        self.numbers.clear();
        try_reserve(&mut self.numbers, self.code.len())?;
        let mut rest = insertions.iter().peekable();
        let mut next = 0u32;
        for (index, i) in self.code.iter().enumerate() {
            let first = next;
            while rest.next_if(|insertion| insertion.before <= index).is_some() {
                next = next.saturating_add(1);
            }
            self.numbers.push([next, first]);
            next = next.saturating_add(u32::from(!is_deleted(i)));
        }
        Ok(())
    }

    /// Writes the binary form; the tables that passes do not change come from `body`. `false` when it has no binary
    /// form, because a count is too large.
    pub(super) fn encode(
        &mut self,
        instance: &FunctionInstance<'_, '_>,
        out: &mut Vec<u8>,
    ) -> Result<bool, AllocError> {
        let body = instance.body();
        let bound = |code: u8| instance.scalar(code).map_or(code, Scalar::code);
        let tables = &mut self.tables;
        (tables.type_params, tables.result) = (body.type_params, bound(body.result));
        (tables.params, tables.version) = (self.params, VERSION);
        refill(&mut tables.constants, self.constants.iter().copied())?;
        refill(&mut tables.instructions, self.code.iter().map(Instruction::encode))?;
        refill(&mut tables.callees, body.callees.iter().map(|entry| bind_callee(entry, bound)))?;
        refill(&mut tables.types, body.types.as_flattened().iter().copied())?;
        refill(&mut tables.operands, self.operands.iter().copied())?;
        refill(&mut tables.locals, self.locals.iter().copied())?;
        refill(&mut tables.codes, body.codes.iter().map(|&code| bound(code)))?;
        refill(&mut tables.strings, body.strings.iter().copied())?;
        refill(&mut tables.slots, body.slots.iter().copied())?;
        refill(&mut tables.data, body.data.iter().copied())?;
        refill(&mut tables.data_bytes, body.data_bytes.iter().copied())?;
        // The source locations where they change.
        let mut last = None;
        let changes = self.origins.iter().copied().enumerate();
        let changes = changes.filter(|&(_, origin)| last.replace(origin) != Some(origin));
        let changes = changes.map(|(index, origin)| location_entry(index, origin));
        refill(&mut tables.locations, changes)?;
        match tables.finish_into(out) {
            Err(BuildError::OutOfMemory) => Err(AllocError),
            written => Ok(written.is_ok()),
        }
    }
}

/// Replaces a list.
fn refill<T>(list: &mut Vec<T>, values: impl Iterator<Item = T>) -> Result<(), AllocError> {
    list.clear();
    try_reserve(list, values.size_hint().1.unwrap_or(0))?;
    list.extend(values);
    Ok(())
}

fn shape(entry: &[u8; CALLEE]) -> CalleeShape {
    let &[n0, n1, kind, _, _, params, t0, t1, ..] = entry;
    let function = (kind == 2).then(|| u32::from_le_bytes([n0, n1, t0, t1]));
    CalleeShape { function, params }
}

fn bind(mut i: Instruction, bound: impl Fn(u8) -> u8) -> Instruction {
    i.type_code = bound(i.type_code);
    if i.opcode == Opcode::Convert {
        i.c = u8::try_from(i.c).map_or(i.c, |code| bound(code).into());
    }
    i
}

fn location(entry: &[u8; LOCATION]) -> (usize, Origin) {
    let &[_, _, _, _, _, _, _, _, c0, c1, f0, f1] = entry;
    let first = u32_at(entry, 0).and_then(|first| usize::try_from(first).ok());
    let line = u32_at(entry, 4).unwrap_or(0);
    let (column, file) = (u16::from_le_bytes([c0, c1]), u16::from_le_bytes([f0, f1]));
    (first.unwrap_or(usize::MAX), Origin { line, column, file })
}

fn location_entry(index: usize, origin: Origin) -> [u8; LOCATION] {
    let [i0, i1, i2, i3] = u32::try_from(index).unwrap_or(u32::MAX).to_le_bytes();
    let [l0, l1, l2, l3] = origin.line.to_le_bytes();
    let ([c0, c1], [f0, f1]) = (origin.column.to_le_bytes(), origin.file.to_le_bytes());
    [i0, i1, i2, i3, l0, l1, l2, l3, c0, c1, f0, f1]
}

fn bind_callee(entry: &[u8; CALLEE], bound: impl Fn(u8) -> u8) -> [u8; CALLEE] {
    let mut entry = *entry;
    let [_, _, _, result, ..] = &mut entry;
    *result = bound(*result);
    entry
}

fn retarget(
    i: &Instruction,
    index: usize,
    numbers: &[[u32; 2]],
    insertions: &[Insertion],
) -> Instruction {
    let Some(target) = i.target().and_then(|target| usize::try_from(target).ok()) else {
        return *i;
    };
    let Some(&[number, first]) = numbers.get(target) else { return *i };
    let found = insertions.partition_point(|insertion| insertion.before < target);
    let end = insertions.get(found).filter(|insertion| insertion.before == target);
    let is_inside = end.is_some_and(|end| (target..=end.loop_end).contains(&index));
    let new = if is_inside { number } else { first };
    Instruction { imm: new.cast_signed(), ..*i }
}

/// The number in an instruction that stands for a value of type `scalar`, if there is one.
pub(super) fn immediate_of(scalar: Scalar, bits: u64) -> Option<i32> {
    candidates(scalar, bits).into_iter().flatten().find(|&imm| number(imm, scalar) == bits)
}

/// The same for a number of 16 bits.
pub(super) fn short_immediate_of(scalar: Scalar, bits: u64) -> Option<i16> {
    let fits = candidates(scalar, bits).into_iter().flatten();
    let mut fits = fits.filter_map(|imm| i16::try_from(imm).ok());
    fits.find(|&imm| number(imm.into(), scalar) == bits)
}

/// The value as it is, and sign-extended.
fn candidates(scalar: Scalar, bits: u64) -> [Option<i32>; 2] {
    match scalar {
        Scalar::F32 | Scalar::F64 => [float_candidate(scalar, bits), None],
        _ => {
            let shift = 64 - scalar.bits();
            let signed = (bits << shift).cast_signed() >> shift;
            [i32::try_from(bits).ok(), i32::try_from(signed).ok()]
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the caller compares the result")]
fn float_candidate(scalar: Scalar, bits: u64) -> Option<i32> {
    Some(match scalar {
        Scalar::F32 => f32::from_bits(u32::try_from(bits).ok()?) as i32,
        _ => f64::from_bits(bits) as i32,
    })
}

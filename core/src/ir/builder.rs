//! The builder of IR functions.
//!
//! The builder knows labels, shares what is said twice (constants, names, callees), and encodes. It
//! does not check types: what it gives is checked like any other body, by
//! [`Verified`](super::Verified).

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use super::function::{CALLEE, CalleeKind, DATA, HEADER, HEADER_2, LOCATION, MAGIC, SLOT, TYPE};
use super::instruction::{INSTRUCTION_SIZE, Instruction, NONE};
use super::opcode::{Binary, Condition, Opcode, Unary};
use super::types::{MAX_PARAMETERS, Scalar, ValueType};
use crate::alloc_util::{AllocError, try_push, try_reserve};

mod call;
mod error;
mod extended;

pub use error::BuildError;
pub use extended::{Data, Slot};

/// A local of the body that is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local(pub(super) u16);

impl Local {
    /// Its number, parameters first.
    pub fn number(self) -> u16 {
        self.0
    }
}

/// A place among the instructions, which may be named before it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(usize);

/// A second value: a local, or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// What a local holds.
    Local(Local),
    /// The number, in the type of the operation: integers wrap, floating-point numbers are the nearest.
    Number(i32),
}

impl From<Local> for Value {
    fn from(local: Local) -> Self {
        Self::Local(local)
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self::Number(number)
    }
}

/// A type argument for another template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypeArgument {
    /// A scalar, or a parameter of this template.
    Type(ValueType),
    /// A type with a name, and its own arguments.
    Named(String, Vec<TypeArgument>),
}

impl<T: Into<ValueType>> From<T> for TypeArgument {
    fn from(ty: T) -> Self {
        Self::Type(ty.into())
    }
}

/// Builds an IR function.
///
/// The first error is recorded and returned by [`FunctionBuilder::finish`], so that the other methods return
/// no results.
///
/// ```
/// use smf_core::ir::{Condition, Function, FunctionBuilder, ValueType, Verified};
///
/// let element = ValueType::Parameter(0);
/// let mut body = FunctionBuilder::new(1, Some(element));
/// let (a, b) = (body.param(element), body.param(element));
/// let second = body.label();
/// body.branch(Condition::Less, element, a, b, second);
/// body.return_value(element, a);
/// body.bind(second);
/// body.return_value(element, b);
/// let bytes = body.finish()?;
/// assert!(Verified::new(Function::parse(&bytes)?).is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct FunctionBuilder {
    type_params: u8,
    result: u8,
    params: u16,
    /// Codes of the types of the locals.
    locals: Vec<u8>,
    constants: Vec<u64>,
    instructions: Vec<[u8; INSTRUCTION_SIZE]>,
    /// The instructions that refer to labels.
    jumps: Vec<u32>,
    /// The instruction that each label stands in front of.
    labels: Vec<Option<u32>>,
    callees: Vec<[u8; CALLEE]>,
    types: Vec<u8>,
    operands: Vec<u16>,
    /// Codes of the types of the callees' parameters.
    codes: Vec<u8>,
    strings: Vec<u8>,
    known_strings: BTreeMap<String, u16>,
    slots: Vec<[u8; SLOT]>,
    data: Vec<[u8; DATA]>,
    data_bytes: Vec<u8>,
    locations: Vec<[u8; LOCATION]>,
    /// Whether something was used that version 1 of the binary form does not have.
    is_new: bool,
    error: Option<BuildError>,
    /// The function that was encoded last.
    out: Vec<u8>,
}

/// How many of the last constants and callees are searched for one that is used again: a long body is not
/// searched for each of its instructions.
const SEARCHED: usize = 16;

impl FunctionBuilder {
    /// A body with `type_params` type parameters that gives `result`.
    pub fn new(type_params: u8, result: Option<ValueType>) -> Self {
        let mut builder = Self {
            type_params,
            result: 0,
            params: 0,
            locals: Vec::new(),
            constants: Vec::new(),
            instructions: Vec::new(),
            jumps: Vec::new(),
            labels: Vec::new(),
            callees: Vec::new(),
            types: Vec::new(),
            operands: Vec::new(),
            codes: Vec::new(),
            strings: Vec::new(),
            known_strings: BTreeMap::new(),
            slots: Vec::new(),
            data: Vec::new(),
            data_bytes: Vec::new(),
            locations: Vec::new(),
            is_new: false,
            error: None,
            out: Vec::new(),
        };
        builder.reset(type_params, result);
        builder
    }

    /// Starts another function, with the memory of the last one.
    pub fn reset(&mut self, type_params: u8, result: Option<ValueType>) {
        self.type_params = type_params;
        self.result = result.map_or(0, ValueType::code);
        self.params = 0;
        self.locals.clear();
        self.constants.clear();
        self.instructions.clear();
        self.jumps.clear();
        self.labels.clear();
        self.callees.clear();
        self.types.clear();
        self.operands.clear();
        self.codes.clear();
        self.strings.clear();
        self.known_strings.clear();
        self.slots.clear();
        self.data.clear();
        self.data_bytes.clear();
        self.locations.clear();
        self.is_new = false;
        self.error = (type_params > MAX_PARAMETERS).then_some(BuildError::Parameters);
    }

    #[cold]
    fn fail(&mut self, error: BuildError) {
        self.error.get_or_insert(error);
    }

    /// Whether an error was recorded, so that nothing more needs to be built.
    pub fn has_failed(&self) -> bool {
        self.error.is_some()
    }

    /// How many instructions there are.
    pub fn len(&self) -> usize {
        self.instructions.len()
    }

    /// Whether there are no instructions.
    pub fn is_empty(&self) -> bool {
        self.instructions.is_empty()
    }

    /// How many locals there are, parameters included.
    pub fn local_count(&self) -> usize {
        self.locals.len()
    }

    /// Records that memory was refused.
    fn require(&mut self, result: Result<(), AllocError>) {
        if result.is_err() {
            self.fail(BuildError::OutOfMemory);
        }
    }

    /// The next parameter of the function.
    pub fn param(&mut self, ty: impl Into<ValueType>) -> Local {
        if usize::from(self.params) != self.locals.len() {
            self.fail(BuildError::Locals);
        }
        self.params = self.params.saturating_add(1);
        self.local(ty)
    }

    /// Another local, which is 0 until it is set.
    pub fn local(&mut self, ty: impl Into<ValueType>) -> Local {
        let number = u16::try_from(self.locals.len()).unwrap_or(NONE);
        if number == NONE {
            self.fail(BuildError::Locals);
            return Local(0);
        }
        let pushed = try_push(&mut self.locals, ty.into().code());
        self.require(pushed);
        Local(number)
    }

    /// The type of a local.
    pub fn local_type(&self, local: Local) -> Option<ValueType> {
        self.locals.get(usize::from(local.0)).and_then(|&code| ValueType::from_code(code))
    }

    /// A label that stands nowhere yet.
    pub fn label(&mut self) -> Label {
        let pushed = try_push(&mut self.labels, None);
        self.require(pushed);
        Label(self.labels.len().saturating_sub(1))
    }

    /// Puts a label in front of the next instruction.
    pub fn bind(&mut self, label: Label) {
        let next = u32::try_from(self.instructions.len()).unwrap_or(u32::MAX);
        let Some(place) = self.labels.get_mut(label.0) else { return };
        if place.replace(next).is_some() {
            self.fail(BuildError::Bound(label.0));
        }
    }

    /// Appends an instruction as it stands, but for its target: that is the number of a label.
    #[inline]
    pub(super) fn push(&mut self, instruction: Instruction) {
        let next = u32::try_from(self.instructions.len()).unwrap_or(u32::MAX);
        self.is_new |= instruction.opcode.version() > 1;
        let mut pushed = try_push(&mut self.instructions, instruction.encode());
        if instruction.opcode.has_target() {
            pushed = pushed.and(try_push(&mut self.jumps, next));
        }
        self.require(pushed);
    }

    fn plain(&mut self, opcode: Opcode, ty: Option<ValueType>, fields: [u16; 3], imm: i32) {
        let type_code = ty.map_or(0, ValueType::code);
        let [a, b, c] = fields;
        self.push(Instruction { opcode, immediate: false, type_code, a, b, c, imm });
    }

    /// Sets `to` to a number.
    pub fn constant(&mut self, ty: impl Into<ValueType>, to: Local, number: i32) {
        self.plain(Opcode::Constant, Some(ty.into()), [to.0, 0, 0], number);
    }

    /// Sets `to` to the value with these bits, of which those above the type's width are 0.
    pub fn wide_constant(&mut self, ty: Scalar, to: Local, bits: u64) {
        let next = self.constants.len();
        let mut last = self.constants.iter().enumerate().rev().take(SEARCHED);
        let index = last.find(|(_, known)| **known == bits).map_or(next, |(index, _)| index);
        if index == next {
            let pushed = try_push(&mut self.constants, bits);
            self.require(pushed);
        }
        match i32::try_from(index) {
            Ok(index) => self.plain(Opcode::WideConstant, Some(ty.into()), [to.0, 0, 0], index),
            Err(_) => self.fail(BuildError::TooLarge),
        }
    }

    /// Copies `from` to `to`.
    pub fn copy(&mut self, ty: impl Into<ValueType>, to: Local, from: Local) {
        self.plain(Opcode::Move, Some(ty.into()), [to.0, from.0, 0], 0);
    }

    /// Sets `to`, an i64 or u64, to the bytes that a `ty` takes.
    pub fn size_of(&mut self, ty: impl Into<ValueType>, to: Local) {
        self.plain(Opcode::SizeOf, Some(ty.into()), [to.0, 0, 0], 0);
    }

    /// Sets `to`, of type `ty`, to the value of `from`, of type `source`.
    pub fn convert(
        &mut self,
        ty: impl Into<ValueType>,
        to: Local,
        source: impl Into<ValueType>,
        from: Local,
    ) {
        let source = source.into().code().into();
        self.plain(Opcode::Convert, Some(ty.into()), [to.0, from.0, source], 0);
    }

    /// Sets `to` to `operation` of `from`.
    pub fn unary(&mut self, operation: Unary, ty: impl Into<ValueType>, to: Local, from: Local) {
        self.plain(Opcode::Unary(operation), Some(ty.into()), [to.0, from.0, 0], 0);
    }

    /// Sets `to` to `operation` of two values.
    pub fn binary(
        &mut self,
        operation: Binary,
        ty: impl Into<ValueType>,
        to: Local,
        left: Local,
        right: impl Into<Value>,
    ) {
        self.two(Opcode::Binary(operation), ty.into(), to, left, right.into());
    }

    /// Sets `to`, a bool, to whether `condition` holds for two values of type `ty`.
    pub fn compare(
        &mut self,
        condition: Condition,
        ty: impl Into<ValueType>,
        to: Local,
        left: Local,
        right: impl Into<Value>,
    ) {
        self.two(Opcode::Compare(condition), ty.into(), to, left, right.into());
    }

    fn two(&mut self, opcode: Opcode, ty: ValueType, to: Local, left: Local, right: Value) {
        let (immediate, c, imm) = match right {
            Value::Local(local) => (false, local.0, 0),
            Value::Number(number) => (true, 0, number),
        };
        let type_code = ty.code();
        self.push(Instruction { opcode, immediate, type_code, a: to.0, b: left.0, c, imm });
    }

    /// Goes to `target` when `condition` holds for two values of type `ty`.
    pub fn branch(
        &mut self,
        condition: Condition,
        ty: impl Into<ValueType>,
        left: Local,
        right: impl Into<Value>,
        target: Label,
    ) {
        let imm = Self::refer(target);
        self.condition(Opcode::Branch(condition), ty.into(), left, right.into(), imm);
    }

    /// A branch or a trap on a comparison; a number in it has 16 bits.
    fn condition(&mut self, opcode: Opcode, ty: ValueType, left: Local, right: Value, imm: i32) {
        let (immediate, b, c) = match right {
            Value::Local(local) => (false, local.0, 0),
            Value::Number(number) => {
                let short = i16::try_from(number);
                if short.is_err() {
                    self.fail(BuildError::BranchNumber(number));
                }
                (true, 0, short.unwrap_or(0).cast_unsigned())
            }
        };
        let type_code = ty.code();
        self.push(Instruction { opcode, immediate, type_code, a: left.0, b, c, imm });
    }

    /// Goes to `target`.
    pub fn jump(&mut self, target: Label) {
        let imm = Self::refer(target);
        self.plain(Opcode::Jump, None, [0; 3], imm);
    }

    /// Goes to `target` when `condition`, a bool, is `expected`.
    pub fn branch_if(&mut self, condition: Local, expected: bool, target: Label) {
        let imm = Self::refer(target);
        self.plain(Opcode::BranchIf(expected), None, [condition.0, 0, 0], imm);
    }

    /// The number of a label, in the place of its instruction until all are known.
    fn refer(label: Label) -> i32 {
        i32::try_from(label.0).unwrap_or(i32::MAX)
    }

    /// Sets `to` to what lies at `from + bytes`.
    pub fn load(&mut self, ty: impl Into<ValueType>, to: Local, from: Local, bytes: i32) {
        self.plain(Opcode::Load, Some(ty.into()), [to.0, from.0, 0], bytes);
    }

    /// Writes `value` to `to + bytes`.
    pub fn store(&mut self, ty: impl Into<ValueType>, value: Local, to: Local, bytes: i32) {
        self.plain(Opcode::Store, Some(ty.into()), [value.0, to.0, 0], bytes);
    }

    /// Sets `to` to element `index + more` of the array of `ty` at `array`.
    pub fn load_element(
        &mut self,
        ty: impl Into<ValueType>,
        to: Local,
        array: Local,
        index: Option<Local>,
        more: i32,
    ) {
        self.indexed(Opcode::LoadElement, ty.into(), [to, array], index, more);
    }

    /// Writes `value` to element `index + more` of the array of `ty` at `array`.
    pub fn store_element(
        &mut self,
        ty: impl Into<ValueType>,
        value: Local,
        array: Local,
        index: Option<Local>,
        more: i32,
    ) {
        self.indexed(Opcode::StoreElement, ty.into(), [value, array], index, more);
    }

    /// Sets `to` to the address of element `index + more` of the array of `ty` at `array`.
    pub fn element(
        &mut self,
        ty: impl Into<ValueType>,
        to: Local,
        array: Local,
        index: Option<Local>,
        more: i32,
    ) {
        self.indexed(Opcode::Element, ty.into(), [to, array], index, more);
    }

    fn indexed(
        &mut self,
        opcode: Opcode,
        ty: ValueType,
        [first, array]: [Local; 2],
        index: Option<Local>,
        more: i32,
    ) {
        let fields = [first.0, array.0, index.map_or(NONE, Local::number)];
        self.plain(opcode, Some(ty), fields, more);
    }

    /// Calls the instance of the template `name` for `types`. The callee takes what the locals are
    /// of, and gives what `to` is of; a result that nobody wants is stated as `dropped`.
    pub fn call(
        &mut self,
        name: &str,
        types: &[TypeArgument],
        to: Option<Local>,
        arguments: &[Local],
        dropped: Option<ValueType>,
    ) {
        self.call_of(CalleeKind::Instance, name, types, to, arguments, dropped);
    }

    /// Calls the function of the host that has the symbol `name`.
    pub fn call_host(&mut self, name: &str, to: Option<Local>, arguments: &[Local]) {
        self.call_of(CalleeKind::Host, name, &[], to, arguments, None);
    }

    /// Leaves the function with `value`.
    pub fn return_value(&mut self, ty: impl Into<ValueType>, value: Local) {
        self.plain(Opcode::Return, Some(ty.into()), [value.0, 0, 0], 0);
    }

    /// Leaves a function that gives nothing.
    pub fn return_none(&mut self) {
        self.plain(Opcode::ReturnNone, None, [0; 3], 0);
    }

    /// Leaves the function with the error `code`; 1 is the division by zero.
    pub fn trap(&mut self, code: u32) {
        self.plain(Opcode::Trap, None, [0; 3], code.cast_signed());
    }

    /// The body.
    ///
    /// # Errors
    /// The first mistake that was made.
    pub fn finish(mut self) -> Result<Vec<u8>, BuildError> {
        self.encode()?;
        Ok(self.out)
    }

    /// The body, in memory of the builder, which is to be [reset](Self::reset) before it builds another one.
    ///
    /// # Errors
    /// The first mistake that was made.
    pub fn encode(&mut self) -> Result<&[u8], BuildError> {
        self.resolve()?;
        let large = BuildError::TooLarge;
        let locals = u16::try_from(self.locals.len()).map_err(|_| BuildError::Locals)?;
        // The codes of the callees' parameters follow those of the locals.
        for callee in &mut self.callees {
            let [.., p0, p1, p2, p3] = callee;
            let first = u32::from_le_bytes([*p0, *p1, *p2, *p3]).checked_add(locals.into());
            [*p0, *p1, *p2, *p3] = first.ok_or(large)?.to_le_bytes();
        }
        self.out.clear();
        let size = self.size();
        try_reserve(&mut self.out, size).map_err(|_| BuildError::OutOfMemory)?;
        self.encode_header(locals).ok_or(large)?;
        self.encode_tables();
        let length = u32::try_from(self.out.len()).map_err(|_| large)?;
        if let Some(place) = self.out.get_mut(4..8) {
            place.copy_from_slice(&length.to_le_bytes());
        }
        Ok(&self.out)
    }

    /// Puts the numbers of instructions in the places of those of labels.
    fn resolve(&mut self) -> Result<(), BuildError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        for &jump in &self.jumps {
            let jump = usize::try_from(jump).ok().and_then(|jump| self.instructions.get_mut(jump));
            let Some([.., i0, i1, i2, i3]) = jump else { continue };
            let number = u32::from_le_bytes([*i0, *i1, *i2, *i3]);
            let label = usize::try_from(number).unwrap_or(usize::MAX);
            let place = self.labels.get(label).copied().flatten();
            let target = place.ok_or(BuildError::Unbound(label))?;
            [*i0, *i1, *i2, *i3] = target.to_le_bytes();
        }
        Ok(())
    }

    /// An upper bound of the encoded bytes.
    fn size(&self) -> usize {
        HEADER_2
            + 8 * self.constants.len()
            + INSTRUCTION_SIZE * self.instructions.len()
            + CALLEE * self.callees.len()
            + self.types.len()
            + 2 * self.operands.len()
            + self.locals.len()
            + self.codes.len()
            + self.strings.len()
            + SLOT * self.slots.len()
            + DATA * self.data.len()
            + LOCATION * self.locations.len()
            + self.data_bytes.len()
    }

    /// Appends the header, for which there is memory; `None` for more of something than it can count.
    fn encode_header(&mut self, locals: u16) -> Option<()> {
        let version = self.version();
        let codes = self.locals.len().checked_add(self.codes.len())?;
        let out = &mut self.out;
        out.extend(MAGIC);
        out.extend([0; 4]);
        out.extend(version.to_le_bytes());
        out.extend([0, 0, self.type_params, self.result]);
        out.extend(self.params.to_le_bytes());
        out.extend(locals.to_le_bytes());
        for count in [self.callees.len(), self.types.len() / TYPE, self.strings.len()] {
            out.extend(u16::try_from(count).ok()?.to_le_bytes());
        }
        for count in [self.operands.len(), codes, self.constants.len(), self.instructions.len()] {
            out.extend(u32::try_from(count).ok()?.to_le_bytes());
        }
        debug_assert_eq!(out.len(), HEADER);
        if version > 1 {
            for count in [self.slots.len(), self.data.len()] {
                out.extend(u16::try_from(count).ok()?.to_le_bytes());
            }
            for count in [self.data_bytes.len(), self.locations.len(), 0] {
                out.extend(u32::try_from(count).ok()?.to_le_bytes());
            }
        }
        Some(())
    }

    /// Appends the tables, for which there is memory.
    fn encode_tables(&mut self) {
        let out = &mut self.out;
        out.extend(self.constants.iter().flat_map(|constant| constant.to_le_bytes()));
        out.extend_from_slice(self.instructions.as_flattened());
        out.extend_from_slice(self.callees.as_flattened());
        out.extend_from_slice(&self.types);
        out.extend(self.operands.iter().flat_map(|operand| operand.to_le_bytes()));
        out.extend_from_slice(&self.locals);
        out.extend_from_slice(&self.codes);
        out.extend_from_slice(&self.strings);
        out.extend_from_slice(self.slots.as_flattened());
        out.extend_from_slice(self.data.as_flattened());
        out.extend_from_slice(self.locations.as_flattened());
        out.extend_from_slice(&self.data_bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::super::Function;
    use super::*;

    const INT: ValueType = ValueType::Scalar(Scalar::I64);

    fn fails(make: impl FnOnce(&mut FunctionBuilder, Local)) -> Option<BuildError> {
        let mut body = FunctionBuilder::new(0, None);
        let local = body.param(INT);
        make(&mut body, local);
        body.return_none();
        body.finish().err()
    }

    #[test]
    fn mistakes_are_kept_until_the_end() {
        assert_eq!(fails(|_, _| {}), None);
        assert_eq!(FunctionBuilder::new(65, None).finish(), Err(BuildError::Parameters));
        let unbound = |body: &mut FunctionBuilder, _| {
            let label = body.label();
            body.jump(label);
        };
        assert_eq!(fails(unbound), Some(BuildError::Unbound(0)));
        let bound = |body: &mut FunctionBuilder, _| {
            let label = body.label();
            body.bind(label);
            body.bind(label);
        };
        assert_eq!(fails(bound), Some(BuildError::Bound(0)));
        let late = |body: &mut FunctionBuilder, _| {
            body.local(INT);
            body.param(INT);
        };
        assert_eq!(fails(late), Some(BuildError::Locals));
        let far = |body: &mut FunctionBuilder, local| {
            let label = body.label();
            body.bind(label);
            body.branch(Condition::Equal, INT, local, 40_000, label);
        };
        assert_eq!(fails(far), Some(BuildError::BranchNumber(40_000)));
        for name in ["", "a\0b", &"x".repeat(1024)] {
            assert_eq!(fails(|body, _| body.call_host(name, None, &[])), Some(BuildError::Name));
        }
        assert_eq!(fails(|body, _| body.call_host(&"x".repeat(1023), None, &[])), None);
        let many = |body: &mut FunctionBuilder, local| body.call_host("f", None, &[local; 256]);
        assert_eq!(fails(many), Some(BuildError::TooLarge));
        let locals = |body: &mut FunctionBuilder, _| {
            for _ in 0..65_535 {
                body.local(INT);
            }
        };
        assert_eq!(fails(locals), Some(BuildError::Locals));
    }

    #[test]
    fn what_is_said_twice_is_kept_once() {
        let mut body = FunctionBuilder::new(1, None);
        let (a, b) = (body.local(INT), body.local(ValueType::Parameter(0)));
        for _ in 0..3 {
            body.wide_constant(Scalar::I64, a, 1 << 40);
            body.call("f", &[INT.into()], Some(a), &[a], None);
            body.call("f", &[INT.into()], Some(a), &[b], None);
            let pair = TypeArgument::Named("f".into(), vec![INT.into()]);
            body.call("f", &[pair], Some(a), &[a], None);
        }
        body.return_none();
        let bytes = body.finish().unwrap();
        let body = Function::parse(&bytes).unwrap();
        assert_eq!((body.callee_count(), body.constants.len(), body.strings), (3, 1, &b"f\0"[..]));
        assert_eq!((body.types.len(), body.codes.len(), body.operands.len()), (4, 5, 9));
    }
}

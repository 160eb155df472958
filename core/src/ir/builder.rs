//! The builder of IR functions.
//!
//! The builder resolves labels, stores equal constants, names and callees once, and encodes. It does not check types: its
//! output is verified like any other function, by [`Verified`](super::Verified).
//!
//! It lies on the path of compilation. Instructions are encoded as they are appended, and a builder is used again for
//! any number of functions ([`FunctionBuilder::reset`]), so that a function causes no allocation after the first ones.

use alloc::vec::Vec;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::function::{CALLEE, CalleeKind, DATA, LOCATION, SLOT};
use super::instruction::{INSTRUCTION_SIZE, Instruction, NONE};
use super::opcode::{Binary, Condition, Opcode, Unary};
use super::types::{MAX_PARAMETERS, Scalar, ValueType};
use crate::alloc_util::try_push;

mod call;
mod encode;
mod error;
mod extended;
mod operand;

pub use error::BuildError;
pub(crate) use operand::NewCallee;
pub use operand::{Data, FileName, Label, Local, Slot, TypeArgument, Value};

/// The place of a label that is not bound yet.
const UNBOUND: u32 = u32::MAX;

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
#[derive(Debug, Default)]
pub struct FunctionBuilder {
    pub(crate) type_params: u8,
    pub(crate) result: u8,
    pub(crate) params: u16,
    /// The version of the binary form that has everything that was used.
    pub(crate) version: u16,
    /// Codes of the types of the locals.
    pub(crate) locals: Vec<u8>,
    pub(crate) constants: Vec<u64>,
    /// Indices of constants, by value.
    known_constants: HashTable<u32>,
    pub(crate) instructions: Vec<[u8; INSTRUCTION_SIZE]>,
    /// The number of the instruction behind each label, or [`UNBOUND`].
    labels: Vec<u32>,
    /// Instructions whose target was not bound when they were appended.
    fixups: Vec<Fixup>,
    pub(crate) callees: Vec<[u8; CALLEE]>,
    /// Hashes and numbers of the callees.
    known_callees: HashTable<(u64, u16)>,
    pub(crate) types: Vec<u8>,
    pub(crate) operands: Vec<u16>,
    /// Codes of the types of the callees' parameters.
    pub(crate) codes: Vec<u8>,
    pub(crate) strings: Vec<u8>,
    /// Offsets of names in the strings, by name.
    known_strings: HashTable<u16>,
    hasher: DefaultHashBuilder,
    pub(crate) slots: Vec<[u8; SLOT]>,
    pub(crate) data: Vec<[u8; DATA]>,
    pub(crate) data_bytes: Vec<u8>,
    pub(crate) locations: Vec<[u8; LOCATION]>,
    error: Option<BuildError>,
}

/// An instruction whose target is a label.
#[derive(Clone, Copy, Debug)]
struct Fixup {
    instruction: u32,
    label: u32,
}

impl FunctionBuilder {
    /// A builder of a function with `type_params` type parameters and a result of type `result`.
    pub fn new(type_params: u8, result: Option<ValueType>) -> Self {
        let mut builder = Self::default();
        builder.reset(type_params, result);
        builder
    }

    /// Begins another function, in the memory of the last one.
    pub fn reset(&mut self, type_params: u8, result: Option<ValueType>) {
        self.type_params = type_params;
        self.result = result.map_or(0, ValueType::code);
        (self.params, self.version) = (0, 0);
        if !self.constants.is_empty() {
            self.known_constants.clear();
        }
        if !self.strings.is_empty() {
            self.known_strings.clear();
        }
        if !self.callees.is_empty() {
            self.known_callees.clear();
        }
        self.locals.clear();
        self.constants.clear();
        self.instructions.clear();
        self.labels.clear();
        self.fixups.clear();
        self.callees.clear();
        self.types.clear();
        self.operands.clear();
        self.codes.clear();
        self.strings.clear();
        self.slots.clear();
        self.data.clear();
        self.data_bytes.clear();
        self.locations.clear();
        self.error = (type_params > MAX_PARAMETERS).then_some(BuildError::Parameters);
    }

    #[cold]
    fn fail(&mut self, error: BuildError) {
        self.error.get_or_insert(error);
    }

    /// The first error so far.
    pub(super) fn error(&self) -> Option<BuildError> {
        self.error
    }

    /// Records the error of a step, if it failed.
    #[inline]
    fn record<E: Into<BuildError>>(&mut self, step: Result<(), E>) {
        if let Err(error) = step {
            self.fail(error.into());
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
    #[inline]
    pub fn local(&mut self, ty: impl Into<ValueType>) -> Local {
        let number = u16::try_from(self.locals.len()).unwrap_or(NONE);
        if number == NONE {
            self.fail(BuildError::Locals);
            return Local(0);
        }
        let pushed = try_push(&mut self.locals, ty.into().code());
        self.record(pushed);
        Local(number)
    }

    /// The type of a local.
    pub fn local_type(&self, local: Local) -> Option<ValueType> {
        self.locals.get(usize::from(local.0)).and_then(|&code| ValueType::from_code(code))
    }

    /// The number of instructions so far.
    pub fn len(&self) -> usize {
        self.instructions.len()
    }

    /// Whether there are no instructions yet.
    pub fn is_empty(&self) -> bool {
        self.instructions.is_empty()
    }

    /// The number of the next instruction.
    #[inline]
    fn next(&self) -> u32 {
        u32::try_from(self.instructions.len()).unwrap_or(UNBOUND)
    }

    /// A label that is not bound yet.
    #[inline]
    pub fn label(&mut self) -> Label {
        let number = u32::try_from(self.labels.len()).unwrap_or(UNBOUND);
        let pushed = try_push(&mut self.labels, UNBOUND);
        self.record(pushed);
        Label(number)
    }

    /// Binds a label to the next instruction.
    pub fn bind(&mut self, label: Label) {
        let next = self.next();
        let Some(place) = self.labels.get_mut(label.index()) else { return };
        if core::mem::replace(place, next) != UNBOUND {
            self.fail(BuildError::Bound(label.index()));
        }
    }

    /// The target in the next instruction; it is filled in later if the label is not bound yet.
    #[inline]
    pub(super) fn refer(&mut self, label: Label) -> i32 {
        match self.labels.get(label.index()) {
            Some(&place) if place != UNBOUND => place.cast_signed(),
            _ => {
                let fixup = Fixup { instruction: self.next(), label: label.0 };
                let pushed = try_push(&mut self.fixups, fixup);
                self.record(pushed);
                0
            }
        }
    }

    /// Appends an instruction.
    #[inline]
    pub(super) fn push(&mut self, instruction: Instruction) {
        self.version = self.version.max(instruction.opcode.version());
        let pushed = try_push(&mut self.instructions, instruction.encode());
        self.record(pushed);
    }

    #[inline]
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
        match self.constant_index(bits) {
            Ok(index) => self.plain(Opcode::WideConstant, Some(ty.into()), [to.0, 0, 0], index),
            Err(error) => self.fail(error),
        }
    }

    /// Copies `from` to `to`.
    pub fn copy(&mut self, ty: impl Into<ValueType>, to: Local, from: Local) {
        self.plain(Opcode::Move, Some(ty.into()), [to.0, from.0, 0], 0);
    }

    /// Sets `to`, an i64 or u64, to the size of `ty` in bytes.
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
        self.two(Opcode::Binary(operation), Some(ty.into()), to, left, right.into());
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
        self.two(Opcode::Compare(condition), Some(ty.into()), to, left, right.into());
    }

    fn two(&mut self, opcode: Opcode, ty: Option<ValueType>, to: Local, left: Local, right: Value) {
        let (immediate, c, imm) = match right {
            Value::Local(local) => (false, local.0, 0),
            Value::Number(number) => (true, 0, number),
        };
        let type_code = ty.map_or(0, ValueType::code);
        self.push(Instruction { opcode, immediate, type_code, a: to.0, b: left.0, c, imm });
    }

    /// Jumps to `target` if `condition` holds for two values of type `ty`.
    pub fn branch(
        &mut self,
        condition: Condition,
        ty: impl Into<ValueType>,
        left: Local,
        right: impl Into<Value>,
        target: Label,
    ) {
        let imm = self.refer(target);
        self.short(Opcode::Branch(condition), ty.into(), left, right.into(), imm);
    }

    /// An instruction that compares with a local or a number of 16 bits.
    fn short(&mut self, opcode: Opcode, ty: ValueType, left: Local, right: Value, imm: i32) {
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

    /// Jumps to `target`.
    pub fn jump(&mut self, target: Label) {
        let imm = self.refer(target);
        self.plain(Opcode::Jump, None, [0; 3], imm);
    }

    /// Jumps to `target` if `condition`, a bool, is `expected`.
    pub fn branch_if(&mut self, condition: Local, expected: bool, target: Label) {
        let imm = self.refer(target);
        self.plain(Opcode::BranchIf(expected), None, [condition.0, 0, 0], imm);
    }

    /// Loads `to` from the address `from + bytes`.
    pub fn load(&mut self, ty: impl Into<ValueType>, to: Local, from: Local, bytes: i32) {
        self.plain(Opcode::Load, Some(ty.into()), [to.0, from.0, 0], bytes);
    }

    /// Stores `value` at the address `to + bytes`.
    pub fn store(&mut self, ty: impl Into<ValueType>, value: Local, to: Local, bytes: i32) {
        self.plain(Opcode::Store, Some(ty.into()), [value.0, to.0, 0], bytes);
    }

    /// Loads `to` from element `index + more` of the array of `ty` at `array`.
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

    /// Stores `value` in element `index + more` of the array of `ty` at `array`.
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

    /// Calls the instance of the template `name` for `types`. The types of the callee's parameters and of its result are
    /// those of the locals; a result that is not used is stated as `dropped`.
    pub fn call(
        &mut self,
        name: &str,
        types: &[TypeArgument],
        to: Option<Local>,
        arguments: &[Local],
        dropped: Option<ValueType>,
    ) {
        let callee = NewCallee { kind: CalleeKind::Instance, name, types };
        self.call_of(Opcode::Call, callee, to, None, arguments, dropped);
    }

    /// Calls the function of the host with the symbol `name`.
    pub fn call_host(&mut self, name: &str, to: Option<Local>, arguments: &[Local]) {
        let callee = NewCallee { kind: CalleeKind::Host, name, types: &[] };
        self.call_of(Opcode::Call, callee, to, None, arguments, None);
    }

    /// Returns `value`.
    pub fn return_value(&mut self, ty: impl Into<ValueType>, value: Local) {
        self.plain(Opcode::Return, Some(ty.into()), [value.0, 0, 0], 0);
    }

    /// Returns from a function without a result.
    pub fn return_none(&mut self) {
        self.plain(Opcode::ReturnNone, None, [0; 3], 0);
    }

    /// Traps with `code`.
    pub fn trap(&mut self, code: u32) {
        self.plain(Opcode::Trap, None, [0; 3], code.cast_signed());
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
        assert_eq!(fails(many), Some(BuildError::Arguments(256)));
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

    #[test]
    fn thousands_of_callees_in_turn_are_kept_once() {
        let mut body = FunctionBuilder::new(0, None);
        let (a, x) = (body.local(INT), body.local(Scalar::F64));
        for _ in 0..3 {
            for index in 0..2_000 {
                body.call_function(index, Some(a), &[a], None);
                // The lower half of the number is the same.
                body.call_function(index | 1 << 16, Some(a), &[a], None);
                body.call_host(&std::format!("f{index}"), None, &[a, x]);
                let pair = TypeArgument::Named(std::format!("t{index}"), vec![INT.into()]);
                body.call("f", &[pair], Some(a), &[x], None);
            }
            body.call_indirect(a, None, &[x], None);
        }
        body.return_none();
        let bytes = body.finish().unwrap();
        let body = Function::parse(&bytes).unwrap();
        assert_eq!((body.callee_count(), body.len()), (8_001, 24_004));
    }

    /// Two functions from one builder, the second without the tables of the first.
    #[test]
    fn builder_is_reused_for_another_function() {
        let mut builder = FunctionBuilder::new(0, Some(INT));
        let mut fresh = Vec::new();
        let mut out = Vec::new();
        for round in 0..3 {
            builder.reset(0, Some(INT));
            let make = |body: &mut FunctionBuilder| {
                let a = body.param(INT);
                let p = body.local(Scalar::Pointer);
                let end = body.label();
                body.branch(Condition::Less, INT, a, 3, end);
                body.wide_constant(Scalar::I64, a, 1 << 40);
                if round == 0 {
                    let (slot, data) = (body.slot(9, 8), body.data(b"bytes", 1));
                    body.slot_address(p, slot, 0);
                    body.data_address(p, data, 5);
                    let file = body.file("file");
                    body.location(1, 2, Some(file));
                }
                body.call_host("f", Some(a), &[a]);
                body.bind(end);
                body.return_value(INT, a);
            };
            make(&mut builder);
            builder.finish_into(&mut out).unwrap();
            let mut other = FunctionBuilder::new(0, Some(INT));
            make(&mut other);
            other.finish_into(&mut fresh).unwrap();
            assert_eq!(out, fresh);
            let function = Function::parse(&out).unwrap();
            assert_eq!(function.version(), if round == 0 { 2 } else { 1 });
            assert!(super::super::Verified::new(function).is_ok());
        }
        builder.reset(0, None);
        builder.jump(Label(7));
        assert_eq!(builder.finish_into(&mut out), Err(BuildError::Unbound(7)));
        assert!(out.is_empty());
    }
}

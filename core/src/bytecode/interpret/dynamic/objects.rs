//! Instructions that work on objects.
//!
//! An instruction that makes an object removes its operands only when it has succeeded, so that it can be repeated.

use super::{DynamicRun, Frame, Step};
use crate::alloc_util::try_resize;
use crate::bytecode::instruction::Instruction;
use crate::bytecode::interpret::tier::TierUp;
use crate::bytecode::objects::{ObjectHandle, Objects, Value, ValueError, ValueKind, Variant};
use crate::format::constants::Constant;
use crate::trap::bytecode::Cause;

use Instruction as I;

impl<T: TierUp> DynamicRun<'_, '_, '_, T> {
    /// Executes an instruction that works on objects.
    pub(super) fn object_operation(&mut self, frame: Frame, instruction: I) -> Result<Step, Cause> {
        let (dest, value) = match instruction {
            I::LoadConst { dest, index } | I::LoadString { dest, index } => {
                (dest, self.constant(index)?)
            }
            I::IndexGet { dest, collection, index } => {
                let collection = self.object(frame, collection, ValueKind::Collection)?;
                (dest, self.objects.get(collection, self.slot(frame, index))?)
            }
            I::Len { dest, collection } => {
                let collection = self.object(frame, collection, ValueKind::Collection)?;
                let length = i64::try_from(self.objects.length(collection)?).unwrap_or(i64::MAX);
                (dest, Value::I64(length))
            }
            I::LoadHeap { dest, ptr, offset } => {
                let block = self.object(frame, ptr, ValueKind::Block)?;
                (dest, self.objects.load(block, offset)?)
            }
            I::EnumPayload { dest, value, field } => {
                let variant = self.object(frame, value, ValueKind::Variant)?;
                (dest, self.objects.field(variant, field)?)
            }
            I::EnumMatch { dest, value, discriminant } => {
                let variant = self.variant(frame, value)?;
                let is_this = variant.is_some_and(|v| v.discriminant == discriminant.into());
                (dest, Value::Bool(is_this))
            }
            I::EnumMatchTyped { dest, value, type_id, discriminant } => {
                let variant = self.variant(frame, value)?;
                (dest, Value::Bool(variant == Some(Variant { type_id, discriminant })))
            }
            I::IsSome { dest, value } => (dest, Value::Bool(self.slot(frame, value) != Value::Nil)),
            instruction => return self.new_object(frame, instruction),
        };
        self.write(frame, dest, value);
        Ok(Step::Next)
    }

    /// Executes an instruction that makes an object.
    fn new_object(&mut self, frame: Frame, instruction: I) -> Result<Step, Cause> {
        let (dest, count, object) = match instruction {
            I::ArrayLit { dest, count, type_id } => {
                let (objects, elements) = self.operands(count.into());
                (dest, elements.len(), objects.new_array(type_id, elements)?)
            }
            I::TupleLit { dest, count } => {
                let (objects, elements) = self.operands(count.into());
                (dest, elements.len(), objects.new_tuple(elements)?)
            }
            I::DictLit { dest, count } => {
                let (objects, pairs) = self.operands(2 * usize::from(count));
                (dest, pairs.len(), objects.new_dict(pairs)?)
            }
            I::EnumNew { dest, discriminant, count } => {
                let variant = Variant { type_id: 0, discriminant: discriminant.into() };
                let (objects, fields) = self.operands(count.into());
                (dest, fields.len(), objects.new_variant(variant, fields)?)
            }
            I::EnumNewTyped { dest, type_id, discriminant, count } => {
                let (objects, fields) = self.operands(count.into());
                let variant = Variant { type_id, discriminant };
                (dest, fields.len(), objects.new_variant(variant, fields)?)
            }
            I::GcAlloc { dest, size, type_id } => (dest, 0, self.objects.new_block(size, type_id)?),
            I::Slice { dest, collection, start, end } => {
                let collection = self.object(frame, collection, ValueKind::Array)?;
                let start = self.slot(frame, start).as_i64()?;
                let end = self.slot(frame, end).as_i64()?;
                (dest, 0, self.objects.slice(collection, start, end)?)
            }
            instruction => return self.change(frame, instruction),
        };
        let stack = &mut self.state.stack;
        stack.truncate(stack.len().saturating_sub(count));
        self.write(frame, dest, Value::Object(object));
        Ok(Step::Next)
    }

    /// Executes an instruction that changes an object, or that calls a function.
    fn change(&mut self, frame: Frame, instruction: I) -> Result<Step, Cause> {
        match instruction {
            I::IndexSet { collection, index, value } => {
                let collection = self.object(frame, collection, ValueKind::Array)?;
                let (index, value) = (self.slot(frame, index), self.slot(frame, value));
                self.objects.set(collection, index, value)?;
            }
            I::Append { collection, value } => {
                let array = self.object(frame, collection, ValueKind::Array)?;
                self.objects.append(array, self.slot(frame, value))?;
            }
            I::StoreHeap { ptr, offset, src } => {
                let block = self.object(frame, ptr, ValueKind::Block)?;
                self.objects.store(block, offset, self.slot(frame, src))?;
            }
            I::CallRuntime { index, argc } => {
                let value = self.call_runtime(index, argc)?;
                self.push(value);
            }
            I::CallIndirect { argc } => return self.call_indirect(argc),
            // The verifier lets no other instruction through.
            _ => {}
        }
        Ok(Step::Next)
    }

    /// The objects, and the last `count` values of the operand stack.
    fn operands(&mut self, count: usize) -> (&mut dyn Objects, &[Value]) {
        let stack = &self.state.stack;
        let first = stack.len().saturating_sub(count);
        (&mut *self.objects, stack.get(first..).unwrap_or(&[]))
    }

    /// The object in a slot, of which an operation needs one of this kind.
    fn object(&self, frame: Frame, slot: u16, needed: ValueKind) -> Result<ObjectHandle, Cause> {
        match self.slot(frame, slot) {
            Value::Object(object) => Ok(object),
            other => Err(other.wrong_kind(needed).into()),
        }
    }

    /// Which variant a value is; `None` for any other value.
    fn variant(&self, frame: Frame, slot: u16) -> Result<Option<Variant>, Cause> {
        match self.slot(frame, slot) {
            Value::Object(object) => Ok(self.objects.variant(object)?),
            _ => Ok(None),
        }
    }

    /// A constant of the pool. A string is made when it is first needed in a call.
    fn constant(&mut self, index: u32) -> Result<Value, Cause> {
        let constants = self.environment.program.constants();
        let text = match constants.get(index) {
            Some(Constant::I64(value)) => return Ok(Value::I64(value)),
            Some(Constant::F64(bits)) => return Ok(Value::F64(f64::from_bits(bits))),
            Some(Constant::Bool(value)) => return Ok(Value::Bool(value)),
            Some(Constant::Text(text)) => text,
            Some(Constant::Nil) | None => return Ok(Value::Nil),
        };
        let texts = &mut self.state.texts;
        if texts.is_empty() {
            try_resize(texts, constants.len(), None)?;
        }
        let place = usize::try_from(index).ok().and_then(|index| texts.get_mut(index));
        if let Some(Some(object)) = place {
            return Ok(Value::Object(*object));
        }
        let object = self.objects.new_string(text)?;
        if let Some(place) = place {
            *place = Some(object);
        }
        Ok(Value::Object(object))
    }

    /// Calls a runtime function of the host with the last values of the operand stack, which are removed. Without one
    /// of this index, a host function takes its place.
    fn call_runtime(&mut self, index: u16, argc: u16) -> Result<Value, Cause> {
        let Some(function) = self.environment.hosts.runtime(index) else {
            return self.call_host(index, argc);
        };
        let (objects, args) = self.operands(argc.into());
        let result = (function.call)(objects, args);
        if let Some(error) = self.environment.signals.take_error() {
            return Err(Cause::Host(error));
        }
        let stack = &mut self.state.stack;
        stack.truncate(stack.len().saturating_sub(argc.into()));
        result
    }

    /// Calls a function that is a value, which is popped.
    fn call_indirect(&mut self, argc: u16) -> Result<Step, Cause> {
        let function = match self.pop() {
            Value::Function(index) => index,
            Value::I64(index) => u32::try_from(index).map_err(|_| ValueError::NoFunction)?,
            other => return Err(other.wrong_kind(ValueKind::Function).into()),
        };
        let found = self.environment.program.function(function).ok_or(ValueError::NoFunction)?;
        if found.params != argc {
            return Err(ValueError::Arguments.into());
        }
        Ok(Step::Call { function, argc: argc.into() })
    }
}

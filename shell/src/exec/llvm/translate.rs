//! One function: its blocks, its locals, memory and traps.
//!
//! A local is a variable in the frame, which LLVM turns into values. Addresses are pointers without a type; a bool is a
//! number of one bit, and a byte in memory, as a parameter and as a result.
#![allow(unsafe_code)]

mod arithmetic;
mod call;
mod convert;

use inkwell::basic_block::BasicBlock;
use inkwell::builder::Builder;
use inkwell::module::Linkage;
use inkwell::types::{BasicType, BasicTypeEnum, IntType};
use inkwell::values::{
    BasicValue, BasicValueEnum, FloatValue, FunctionValue, InstructionValue, IntValue, PointerValue,
};
use inkwell::{AddressSpace, IntPredicate};
use smf_core::alloc_util::try_push;
use smf_core::ir::{FunctionInstance, Instruction, NONE, Opcode, STACK_LIMIT, Scalar};

use super::declare::{Declarations, Result, memory_type, type_of};
use crate::exec::callees::{Failure, Outside};

/// Translates function `index` of the unit.
pub(super) fn function(
    declarations: &Declarations<'_, '_>,
    outside: &mut Outside<'_>,
    instance: &FunctionInstance<'_, '_>,
    index: usize,
) -> Result<()> {
    let own = declarations.functions.get(index).copied().ok_or(Failure::Invalid)?;
    let mut translator = Translator {
        b: declarations.context.create_builder(),
        d: declarations,
        outside,
        instance,
        own,
        locals: Vec::new(),
        blocks: Vec::new(),
        slots: Vec::new(),
        data: Vec::new(),
        at: 0,
    };
    translator.declare()?;
    translator.body()
}

struct Translator<'t, 'm, 'c, 's, 'v, 'd> {
    b: Builder<'c>,
    d: &'t Declarations<'m, 'c>,
    outside: &'t mut Outside<'s>,
    instance: &'t FunctionInstance<'v, 'd>,
    /// The function itself, whose address traps report.
    own: FunctionValue<'c>,
    locals: Vec<(PointerValue<'c>, Scalar)>,
    /// The block of each instruction that starts one.
    blocks: Vec<Option<BasicBlock<'c>>>,
    slots: Vec<PointerValue<'c>>,
    /// The numbers and the addresses of the read-only data that instructions have named.
    data: Vec<(u16, PointerValue<'c>)>,
    /// The place of the current instruction.
    at: u32,
}

fn int<'c>(value: BasicValueEnum<'c>) -> Result<IntValue<'c>> {
    value.try_into().map_err(|_| Failure::Invalid)
}

fn float<'c>(value: BasicValueEnum<'c>) -> Result<FloatValue<'c>> {
    value.try_into().map_err(|_| Failure::Invalid)
}

fn pointer<'c>(value: BasicValueEnum<'c>) -> Result<PointerValue<'c>> {
    value.try_into().map_err(|_| Failure::Invalid)
}

/// Addresses need not be aligned.
fn unaligned(instruction: InstructionValue<'_>) -> Result<()> {
    instruction.set_alignment(1).map_err(|_| Failure::Invalid)
}

impl<'c> Translator<'_, '_, 'c, '_, '_, '_> {
    fn declare(&mut self) -> Result<()> {
        let body = *self.instance.body();
        let entry = self.new_block();
        self.b.position_at_end(entry);
        for &code in body.local_codes() {
            let scalar = self.instance.scalar(code).unwrap_or(Scalar::I64);
            let variable = self.b.build_alloca(self.type_of(scalar), "")?;
            try_push(&mut self.locals, (variable, scalar))?;
        }
        for slot in body.slots().flatten() {
            let ty = self.d.context.i8_type().array_type(slot.size);
            let variable = self.b.build_alloca(ty, "")?;
            let instruction = variable.as_instruction_value().ok_or(Failure::Invalid)?;
            instruction.set_alignment(slot.align).map_err(|_| Failure::Invalid)?;
            try_push(&mut self.slots, variable)?;
        }
        for _ in 0..body.len() {
            try_push(&mut self.blocks, None)?;
        }
        for instruction in body.instructions().flatten() {
            let Some(target) = instruction.target() else { continue };
            if self.blocks.get(target as usize).is_some_and(Option::is_none) {
                let block = self.new_block();
                self.blocks.get_mut(target as usize).into_iter().for_each(|b| *b = Some(block));
            }
        }
        self.set_initial_values(body.signature().params.len())
    }

    /// Parameters are those of the call, and other locals 0.
    fn set_initial_values(&mut self, params: usize) -> Result<()> {
        for local in 0..self.locals.len() {
            let Some(&(variable, scalar)) = self.locals.get(local) else { continue };
            let number = u32::try_from(local).map_err(|_| Failure::Invalid)?;
            let value = match self.own.get_nth_param(number) {
                Some(param) if local < params => self.as_value(param, scalar)?,
                _ => self.bits(scalar, 0)?,
            };
            self.b.build_store(variable, value)?;
        }
        Ok(())
    }

    fn body(&mut self) -> Result<()> {
        let body = *self.instance.body();
        let mut locations = body.locations().peekable();
        let has_locations = locations.len() > 0;
        let mut is_reachable = true;
        for (number, instruction) in body.instructions().flatten().enumerate() {
            if let Some(block) = self.blocks.get(number).copied().flatten() {
                if is_reachable {
                    self.b.build_unconditional_branch(block)?;
                }
                self.b.position_at_end(block);
                is_reachable = true;
            }
            // A trap reports the line in a function that states source locations, and elsewhere the offset.
            while let Some(location) = locations.next_if(|next| next.instruction as usize <= number)
            {
                self.at = location.line;
            }
            if !has_locations {
                self.at = body.offset(number);
            }
            if is_reachable {
                self.instruction(&instruction)?;
                is_reachable = !instruction.opcode.ends();
            }
        }
        Ok(())
    }

    fn new_block(&self) -> BasicBlock<'c> {
        self.d.context.append_basic_block(self.own, "")
    }

    fn type_of(&self, scalar: Scalar) -> BasicTypeEnum<'c> {
        type_of(self.d.context, scalar)
    }

    /// The type of an integer or a bool.
    fn int_type(&self, scalar: Scalar) -> Result<IntType<'c>> {
        self.type_of(scalar).try_into().map_err(|_| Failure::Invalid)
    }

    fn get(&self, local: u16) -> Result<BasicValueEnum<'c>> {
        let &(variable, scalar) = self.locals.get(usize::from(local)).ok_or(Failure::Invalid)?;
        Ok(self.b.build_load(self.type_of(scalar), variable, "")?)
    }

    fn int_local(&self, local: u16) -> Result<IntValue<'c>> {
        int(self.get(local)?)
    }

    fn set(&self, local: u16, value: BasicValueEnum<'c>) -> Result<()> {
        let &(variable, _) = self.locals.get(usize::from(local)).ok_or(Failure::Invalid)?;
        self.b.build_store(variable, value)?;
        Ok(())
    }

    /// A value as it is in memory.
    fn as_stored(&self, value: BasicValueEnum<'c>, scalar: Scalar) -> Result<BasicValueEnum<'c>> {
        Ok(match scalar {
            Scalar::Bool => {
                let byte = self.d.context.i8_type();
                self.b.build_int_z_extend(int(value)?, byte, "")?.into()
            }
            _ => value,
        })
    }

    /// A value that was in memory: every byte but 0 is true.
    fn as_value(&self, value: BasicValueEnum<'c>, scalar: Scalar) -> Result<BasicValueEnum<'c>> {
        Ok(match scalar {
            Scalar::Bool => self.is_not_zero(int(value)?)?.into(),
            _ => value,
        })
    }

    fn is_not_zero(&self, value: IntValue<'c>) -> Result<IntValue<'c>> {
        let zero = value.get_type().const_zero();
        Ok(self.b.build_int_compare(IntPredicate::NE, value, zero, "")?)
    }

    /// The block that starts at an instruction.
    fn block(&self, target: u32) -> Result<BasicBlock<'c>> {
        self.blocks.get(target as usize).copied().flatten().ok_or(Failure::Invalid)
    }

    /// A constant of a type, from its bits.
    fn bits(&self, scalar: Scalar, bits: u64) -> Result<BasicValueEnum<'c>> {
        Ok(match memory_type(self.d.context, scalar) {
            BasicTypeEnum::FloatType(ty) => {
                let same = match scalar {
                    Scalar::F32 => self.d.context.i32_type().const_int(bits & 0xffff_ffff, false),
                    _ => self.d.context.i64_type().const_int(bits, false),
                };
                self.b.build_bit_cast(same, ty, "")?
            }
            BasicTypeEnum::PointerType(ty) => {
                self.d.context.i64_type().const_int(bits, false).const_to_pointer(ty).into()
            }
            BasicTypeEnum::IntType(_) if scalar == Scalar::Bool => {
                self.d.context.bool_type().const_int(bits & 1, false).into()
            }
            BasicTypeEnum::IntType(ty) => {
                ty.const_int(bits & (u64::MAX >> (64 - scalar.bits())), false).into()
            }
            ty => ty.const_zero(),
        })
    }

    /// A number in an instruction as a value of a type.
    fn number(&self, scalar: Scalar, number: i32) -> Result<BasicValueEnum<'c>> {
        let bits = match scalar {
            Scalar::F32 => (number as f32).to_bits().into(),
            Scalar::F64 => f64::from(number).to_bits(),
            Scalar::Bool => u64::from(number != 0),
            _ => i64::from(number).cast_unsigned(),
        };
        self.bits(scalar, bits)
    }

    /// The second value of an instruction, out of this local unless it is a number.
    fn second(&self, i: &Instruction, scalar: Scalar, local: u16) -> Result<BasicValueEnum<'c>> {
        if i.immediate { self.number(scalar, i.number()) } else { self.get(local) }
    }

    fn instruction(&mut self, i: &Instruction) -> Result<()> {
        match self.instance.scalar(i.type_code) {
            Some(scalar) => self.typed(i, scalar),
            None => self.control(i),
        }
    }

    fn typed(&mut self, i: &Instruction, scalar: Scalar) -> Result<()> {
        let value = match i.opcode {
            Opcode::Constant => self.number(scalar, i.imm)?,
            Opcode::WideConstant => {
                let bits = self.instance.body().constant(i.imm);
                self.bits(scalar, bits.unwrap_or_default())?
            }
            Opcode::Move => self.get(i.b)?,
            Opcode::SizeOf => self.bits(Scalar::U64, scalar.size().into())?,
            Opcode::Convert => {
                let from = u8::try_from(i.c).ok().and_then(|code| self.instance.scalar(code));
                self.convert(self.get(i.b)?, from.unwrap_or(scalar), scalar)?
            }
            Opcode::Unary(unary) => self.unary(unary, scalar, i.b)?,
            Opcode::Binary(binary) => self.binary(i, binary, scalar)?,
            Opcode::Compare(condition) => self.compare(condition, scalar, i, [i.b, i.c])?.into(),
            Opcode::Branch(condition) => {
                let holds = self.compare(condition, scalar, i, [i.a, i.b])?;
                return self.branch(holds, true, i.imm.cast_unsigned());
            }
            Opcode::TrapCompare(condition) => {
                let holds = self.compare(condition, scalar, i, [i.a, i.b])?;
                let operands = match i.states_operands(scalar) {
                    true => Some([self.int_local(i.a)?, int(self.second(i, scalar, i.b)?)?]),
                    false => None,
                };
                return self.trap_if(holds, i.imm.cast_unsigned(), operands);
            }
            Opcode::Select => {
                let second = self.get(i.other().unwrap_or(i.c))?;
                self.b.build_select(self.int_local(i.b)?, self.get(i.c)?, second, "")?
            }
            Opcode::Load | Opcode::LoadElement => self.load(self.address(i, scalar)?, scalar)?,
            Opcode::Store | Opcode::StoreElement => {
                let value = self.as_stored(self.get(i.a)?, scalar)?;
                return unaligned(self.b.build_store(self.address(i, scalar)?, value)?);
            }
            Opcode::Element => self.address(i, scalar)?.into(),
            Opcode::Return => {
                let value = self.as_stored(self.get(i.a)?, scalar)?;
                self.b.build_return(Some(&value))?;
                return Ok(());
            }
            // An operation without a type.
            _ => return Err(Failure::Invalid),
        };
        self.set(i.a, value)
    }

    fn load(&self, address: PointerValue<'c>, scalar: Scalar) -> Result<BasicValueEnum<'c>> {
        let value = self.b.build_load(memory_type(self.d.context, scalar), address, "")?;
        unaligned(value.as_instruction_value().ok_or(Failure::Invalid)?)?;
        self.as_value(value, scalar)
    }

    /// The address of an access, or of an element.
    fn address(&self, i: &Instruction, scalar: Scalar) -> Result<PointerValue<'c>> {
        let base = pointer(self.get(i.b)?)?;
        if matches!(i.opcode, Opcode::Load | Opcode::Store) {
            return self.offset(base, i.imm.into());
        }
        let size = i64::from(scalar.size());
        let element = match i.c {
            NONE => base,
            index => {
                let bytes = self.d.context.i64_type().const_int(size.cast_unsigned(), false);
                let scaled = self.b.build_int_mul(self.int_local(index)?, bytes, "")?;
                self.add(base, scaled)?
            }
        };
        self.offset(element, i64::from(i.imm) * size)
    }

    fn offset(&self, base: PointerValue<'c>, bytes: i64) -> Result<PointerValue<'c>> {
        match bytes {
            0 => Ok(base),
            _ => self.add(base, self.d.context.i64_type().const_int(bytes.cast_unsigned(), true)),
        }
    }

    fn add(&self, base: PointerValue<'c>, bytes: IntValue<'c>) -> Result<PointerValue<'c>> {
        let byte = self.d.context.i8_type();
        // SAFETY: an address that the instruction computes without an access, and without a promise of bounds.
        Ok(unsafe { self.b.build_gep(byte, base, &[bytes], "") }?)
    }

    fn control(&mut self, i: &Instruction) -> Result<()> {
        match i.opcode {
            Opcode::Jump => {
                self.b.build_unconditional_branch(self.block(i.imm.cast_unsigned())?)?;
            }
            Opcode::BranchIf(expected) => {
                let condition = self.int_local(i.a)?;
                self.branch(condition, expected, i.imm.cast_unsigned())?;
            }
            Opcode::TrapIf(expected) => {
                let condition = self.int_local(i.a)?;
                let condition =
                    if expected { condition } else { self.b.build_not(condition, "")? };
                self.trap_if(condition, i.imm.cast_unsigned(), None)?;
            }
            Opcode::ReturnNone => {
                self.b.build_return(None)?;
            }
            Opcode::Trap => self.trap(i.imm.cast_unsigned(), None)?,
            Opcode::SlotAddress => {
                let slot = self.slots.get(usize::from(i.b)).copied().ok_or(Failure::Invalid)?;
                self.set(i.a, self.offset(slot, i.imm.into())?.into())?;
            }
            Opcode::DataAddress => self.data_address(i)?,
            Opcode::FunctionAddress => {
                let address = self.callee_address(i.b)?;
                self.set(i.a, address.into())?;
            }
            Opcode::CopyMemory | Opcode::FillMemory => self.bulk(i)?,
            Opcode::CheckStack => self.check_stack(i)?,
            _ => self.call(i)?,
        }
        Ok(())
    }

    fn branch(&mut self, condition: IntValue<'c>, expected: bool, target: u32) -> Result<()> {
        let (target, next) = (self.block(target)?, self.new_block());
        let (then, other) = if expected { (target, next) } else { (next, target) };
        self.b.build_conditional_branch(condition, then, other)?;
        self.b.position_at_end(next);
        Ok(())
    }

    fn trap_if(
        &mut self,
        condition: IntValue<'c>,
        code: u32,
        operands: Option<[IntValue<'c>; 2]>,
    ) -> Result<()> {
        let (block, next) = (self.new_block(), self.new_block());
        self.b.build_conditional_branch(condition, block, next)?;
        self.b.position_at_end(block);
        self.trap(code, operands)?;
        self.b.position_at_end(next);
        Ok(())
    }

    /// A trap at the current instruction. LLVM places blocks with a call of a cold function apart.
    fn trap(&mut self, code: u32, operands: Option<[IntValue<'c>; 2]>) -> Result<()> {
        let number = |number: u32| self.d.context.i32_type().const_int(number.into(), false).into();
        let function = self.own.as_global_value().as_pointer_value().into();
        let zero = self.d.context.i64_type().const_zero();
        let [left, right] = operands.unwrap_or([zero; 2]).map(Into::into);
        let arguments = [number(code), number(self.at), function, left, right];
        self.b.build_call(self.d.trap, &arguments, "")?;
        self.b.build_unreachable()?;
        Ok(())
    }

    fn data_address(&mut self, i: &Instruction) -> Result<()> {
        let known = self.data.iter().find(|(number, _)| *number == i.b);
        let address = match known {
            Some(&(_, address)) => address,
            None => self.add_data(i.b)?,
        };
        self.set(i.a, self.offset(address, i.imm.into())?.into())
    }

    /// Adds read-only data to the module.
    fn add_data(&mut self, number: u16) -> Result<PointerValue<'c>> {
        let entry = self.instance.body().data(number.into()).ok_or(Failure::Invalid)?;
        let bytes = self.d.context.const_string(entry.bytes, false);
        let global = self.d.module.add_global(bytes.get_type(), None, "");
        global.set_initializer(&bytes);
        global.set_constant(true);
        global.set_linkage(Linkage::Private);
        global.set_alignment(entry.align.max(1));
        let address = global.as_pointer_value();
        try_push(&mut self.data, (number, address))?;
        Ok(address)
    }

    fn bulk(&mut self, i: &Instruction) -> Result<()> {
        let to = pointer(self.get(i.a)?)?;
        let count = match i.immediate {
            true => int(self.bits(Scalar::I64, i64::from(i.imm).cast_unsigned())?)?,
            false => self.int_local(i.c)?,
        };
        match i.opcode {
            Opcode::CopyMemory => self.b.build_memcpy(to, 1, pointer(self.get(i.b)?)?, 1, count)?,
            _ => self.b.build_memset(to, 1, self.int_local(i.b)?, count)?,
        };
        Ok(())
    }

    fn check_stack(&mut self, i: &Instruction) -> Result<()> {
        let wide = self.d.context.i64_type();
        let limit = self.offset(pointer(self.get(i.a)?)?, i.imm.into())?;
        let limit = int(self.load(limit, Scalar::U64)?)?;
        let register = self.d.intrinsic("llvm.read_register", &[wide.as_basic_type_enum()])?;
        let name = self.d.context.metadata_string("rsp");
        let name = self.d.context.metadata_node(&[name.into()]);
        let read = self.b.build_call(register, &[name.into()], "")?;
        let current = int(read.try_as_basic_value().basic().ok_or(Failure::Invalid)?)?;
        let is_below = self.b.build_int_compare(IntPredicate::ULT, current, limit, "")?;
        self.trap_if(is_below, STACK_LIMIT, None)
    }

    /// A constant address.
    fn constant_address(&self, address: u64) -> PointerValue<'c> {
        let pointer = self.d.context.ptr_type(AddressSpace::default());
        self.d.context.i64_type().const_int(address, false).const_to_pointer(pointer)
    }
}

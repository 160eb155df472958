//! One function: its blocks, its locals, and everything that is not arithmetic.

mod arithmetic;
mod convert;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32, F64, I8, I16, I32, I64};
use cranelift_codegen::ir::{
    AbiParam, Block, FuncRef, InstBuilder, MemFlagsData, Signature, StackSlot, StackSlotData,
    StackSlotKind, Type, UserFuncName, Value,
};
use cranelift_codegen::isa::TargetFrontendConfig;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext, Variable};
use smf_core::alloc_util::try_push;
use smf_core::ir::{
    Callee, CalleeKind, Condition, FunctionInstance, Instruction, NONE, Opcode, STACK_LIMIT, Scalar,
};

use super::declarations::Declarations;
use crate::exec::callees::Failure;

/// The type of a value.
fn type_of(scalar: Scalar) -> Type {
    match scalar {
        Scalar::I8 | Scalar::U8 | Scalar::Bool => I8,
        Scalar::I16 | Scalar::U16 => I16,
        Scalar::I32 | Scalar::U32 => I32,
        Scalar::I64 | Scalar::U64 | Scalar::Pointer => I64,
        Scalar::F32 => F32,
        Scalar::F64 => F64,
    }
}

/// A parameter; callers extend narrow integers, as compilers of C do.
fn param(scalar: Scalar) -> AbiParam {
    let param = AbiParam::new(type_of(scalar));
    match scalar {
        Scalar::I8 | Scalar::I16 | Scalar::I32 => param.sext(),
        Scalar::U8 | Scalar::U16 | Scalar::U32 | Scalar::Bool => param.uext(),
        _ => param,
    }
}

fn signature(
    config: TargetFrontendConfig,
    instance: &FunctionInstance<'_, '_>,
    params: &[u8],
    result: u8,
) -> Signature {
    let mut signature = Signature::new(config.default_call_conv);
    let scalars = params.iter().filter_map(|&code| instance.scalar(code));
    signature.params.extend(scalars.map(param));
    signature.returns.extend(instance.scalar(result).map(|scalar| AbiParam::new(type_of(scalar))));
    signature
}

/// The signature of a function.
fn signature_of(config: TargetFrontendConfig, instance: &FunctionInstance<'_, '_>) -> Signature {
    let of = instance.body().signature();
    signature(config, instance, of.params, of.result)
}

/// Translates function `index` of the unit to `to`.
pub(super) fn function(
    declarations: &mut Declarations<'_, '_>,
    instance: &FunctionInstance<'_, '_>,
    index: usize,
    to: &mut cranelift_codegen::ir::Function,
    frontend: &mut FunctionBuilderContext,
) {
    let config = declarations.config;
    let number = u32::try_from(index).unwrap_or(u32::MAX);
    to.signature = signature_of(config, instance);
    to.name = UserFuncName::user(0, number);
    let trap = {
        let mut signature = Signature::new(config.default_call_conv);
        signature.params.extend([I32, I32, I64, I64, I64].map(AbiParam::new));
        signature.returns.push(AbiParam::new(I64));
        declarations.trap_hook(signature, to)
    };
    let own = {
        // A short address on x86-64; Cranelift's short addresses on AArch64 need two relocations.
        let (kind, signature) = (CalleeKind::Function(number), to.signature.clone());
        declarations.callee(kind, "", signature, to, cfg!(target_arch = "x86_64"))
    };
    let mut translator = Translator {
        b: FunctionBuilder::new(to, frontend),
        declarations,
        instance,
        locals: Vec::new(),
        blocks: Vec::new(),
        slots: Vec::new(),
        callees: Vec::new(),
        data: Vec::new(),
        trap,
        own,
        traps: Vec::new(),
        at: 0,
    };
    translator.declare();
    translator.body();
    translator.cold_blocks();
    translator.b.seal_all_blocks();
    translator.b.finalize(config);
}

/// A trap in a cold block of its own.
#[derive(Clone, Copy, Debug)]
struct ColdTrap {
    block: Block,
    code: u32,
    at: u32,
    /// What it states, if anything.
    operands: Option<[Value; 2]>,
}

struct Translator<'t, 'm, 's, 'v, 'd> {
    b: FunctionBuilder<'t>,
    declarations: &'t mut Declarations<'m, 's>,
    instance: &'t FunctionInstance<'v, 'd>,
    locals: Vec<(Variable, Scalar)>,
    /// The block of each instruction that starts one.
    blocks: Vec<Option<Block>>,
    slots: Vec<StackSlot>,
    callees: Vec<Option<FuncRef>>,
    /// The numbers and the addresses of the read-only data that instructions have named.
    data: Vec<(u16, i64)>,
    trap: FuncRef,
    /// The function itself, whose address traps report.
    own: FuncRef,
    traps: Vec<ColdTrap>,
    /// The place of the current instruction.
    at: u32,
}

impl Translator<'_, '_, '_, '_, '_> {
    fn declare(&mut self) {
        let body = *self.instance.body();
        for &code in body.local_codes() {
            let scalar = self.instance.scalar(code).unwrap_or(Scalar::I64);
            self.locals.push((self.b.declare_var(type_of(scalar)), scalar));
        }
        for slot in body.slots().flatten() {
            let shift = u8::try_from(slot.align.trailing_zeros()).unwrap_or(0);
            let data = StackSlotData::new(StackSlotKind::ExplicitSlot, slot.size, shift);
            self.slots.push(self.b.create_sized_stack_slot(data));
        }
        self.callees = vec![None; usize::from(body.callee_count())];
        self.blocks = vec![None; body.len()];
        for instruction in body.instructions().flatten() {
            let Some(target) = instruction.target() else { continue };
            let place = self.blocks.get_mut(target as usize).filter(|block| block.is_none());
            if let Some(place) = place {
                *place = Some(self.b.create_block());
            }
        }
        let entry = self.b.create_block();
        self.b.append_block_params_for_function_params(entry);
        self.b.switch_to_block(entry);
        for local in 0..body.signature().params.len() {
            let value = self.b.block_params(entry).get(local).copied();
            if let (Some(value), Some((variable, _))) = (value, self.locals.get(local)) {
                self.b.def_var(*variable, value);
            }
        }
    }

    fn body(&mut self) {
        let body = *self.instance.body();
        let mut locations = body.locations().peekable();
        let has_locations = locations.len() > 0;
        let mut is_reachable = true;
        for (number, instruction) in body.instructions().flatten().enumerate() {
            if let Some(block) = self.blocks.get(number).copied().flatten() {
                if is_reachable {
                    self.b.ins().jump(block, &[]);
                }
                self.b.switch_to_block(block);
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
                self.instruction(&instruction);
                is_reachable = !instruction.opcode.ends();
            }
        }
    }

    fn invalid(&mut self) {
        self.declarations.fail(Failure::Invalid);
    }

    fn get(&mut self, local: u16) -> Value {
        match self.locals.get(usize::from(local)) {
            Some(&(variable, _)) => self.b.use_var(variable),
            None => {
                self.invalid();
                self.b.ins().iconst(I64, 0)
            }
        }
    }

    fn set(&mut self, local: u16, value: Value) {
        match self.locals.get(usize::from(local)) {
            Some(&(variable, _)) => self.b.def_var(variable, value),
            None => self.invalid(),
        }
    }

    /// The block that starts at an instruction.
    fn block(&mut self, target: u32) -> Block {
        let block = self.blocks.get(target as usize).copied().flatten();
        block.unwrap_or_else(|| {
            self.invalid();
            self.b.create_block()
        })
    }

    /// A constant of a type, from its bits.
    fn bits(&mut self, scalar: Scalar, bits: u64) -> Value {
        match scalar {
            Scalar::F32 => self.b.ins().f32const(f32::from_bits(bits as u32)),
            Scalar::F64 => self.b.ins().f64const(f64::from_bits(bits)),
            _ => {
                let bits = bits & (u64::MAX >> (64 - scalar.bits()));
                self.b.ins().iconst(type_of(scalar), bits.cast_signed())
            }
        }
    }

    /// A number in an instruction as a value of a type.
    fn number(&mut self, scalar: Scalar, number: i32) -> Value {
        let bits = match scalar {
            Scalar::F32 => (number as f32).to_bits().into(),
            Scalar::F64 => f64::from(number).to_bits(),
            Scalar::Bool => u64::from(number != 0),
            _ => i64::from(number).cast_unsigned(),
        };
        self.bits(scalar, bits)
    }

    /// The second value of an instruction, out of this local unless it is a number.
    fn second(&mut self, i: &Instruction, scalar: Scalar, local: u16) -> Value {
        if i.immediate { self.number(scalar, i.number()) } else { self.get(local) }
    }

    fn instruction(&mut self, i: &Instruction) {
        match self.instance.scalar(i.type_code) {
            Some(scalar) => self.typed(i, scalar),
            None => self.control(i),
        }
    }

    fn typed(&mut self, i: &Instruction, scalar: Scalar) {
        let flags = MemFlagsData::new().with_notrap();
        let value = match i.opcode {
            Opcode::Constant => self.number(scalar, i.imm),
            Opcode::WideConstant => {
                let bits = self.instance.body().constant(i.imm);
                self.bits(scalar, bits.unwrap_or_default())
            }
            Opcode::Move => self.get(i.b),
            Opcode::SizeOf => self.bits(Scalar::U64, scalar.size().into()),
            Opcode::Convert => {
                let from = u8::try_from(i.c).ok().and_then(|code| self.instance.scalar(code));
                let value = self.get(i.b);
                self.convert(value, from.unwrap_or(scalar), scalar)
            }
            Opcode::Unary(unary) => self.unary(unary, scalar, i.b),
            Opcode::Binary(binary) => self.binary(i, binary, scalar),
            Opcode::Compare(condition) => self.compare(condition, scalar, i, [i.b, i.c]),
            Opcode::Branch(condition) => {
                let holds = self.compare(condition, scalar, i, [i.a, i.b]);
                return self.branch(holds, true, i.imm.cast_unsigned());
            }
            Opcode::TrapCompare(condition) => return self.trap_compare(i, condition, scalar),
            Opcode::Select => {
                let (condition, first) = (self.get(i.b), self.get(i.c));
                let second = self.get(i.other().unwrap_or(i.c));
                self.b.ins().select(condition, first, second)
            }
            Opcode::Load | Opcode::LoadElement => {
                let (address, offset) = self.address(i, scalar);
                let value = self.b.ins().load(type_of(scalar), flags, address, offset);
                match scalar {
                    Scalar::Bool => self.b.ins().icmp_imm_s(IntCC::NotEqual, value, 0),
                    _ => value,
                }
            }
            Opcode::Store | Opcode::StoreElement => {
                let (address, offset) = self.address(i, scalar);
                let value = self.get(i.a);
                self.b.ins().store(flags, value, address, offset);
                return;
            }
            Opcode::Element => {
                let (address, offset) = self.address(i, scalar);
                self.b.ins().iadd_imm_s(address, i64::from(offset))
            }
            Opcode::Return => {
                let value = self.get(i.a);
                self.b.ins().return_(&[value]);
                return;
            }
            // An operation without a type.
            _ => return self.invalid(),
        };
        self.set(i.a, value);
    }

    /// An address and an offset.
    fn address(&mut self, i: &Instruction, scalar: Scalar) -> (Value, i32) {
        let base = self.get(i.b);
        if matches!(i.opcode, Opcode::Load | Opcode::Store) {
            return (base, i.imm);
        }
        let size = i64::from(scalar.size());
        let address = match i.c {
            NONE => base,
            index => {
                let index = self.get(index);
                let scaled =
                    self.b.ins().ishl_imm_u(index, i64::from(scalar.size().trailing_zeros()));
                self.b.ins().iadd(base, scaled)
            }
        };
        match i32::try_from(i64::from(i.imm) * size) {
            Ok(offset) => (address, offset),
            Err(_) => (self.b.ins().iadd_imm_s(address, i64::from(i.imm) * size), 0),
        }
    }

    fn control(&mut self, i: &Instruction) {
        match i.opcode {
            Opcode::Jump => {
                let target = self.block(i.imm.cast_unsigned());
                self.b.ins().jump(target, &[]);
            }
            Opcode::BranchIf(expected) => {
                let condition = self.get(i.a);
                self.branch(condition, expected, i.imm.cast_unsigned());
            }
            Opcode::TrapIf(expected) => {
                let mut condition = self.get(i.a);
                if !expected {
                    condition = self.b.ins().bxor_imm_u(condition, 1);
                }
                self.trap_if(condition, i.imm.cast_unsigned(), None);
            }
            Opcode::ReturnNone => {
                self.b.ins().return_(&[]);
            }
            Opcode::Trap => {
                let block = self.trap_block(i.imm.cast_unsigned(), None);
                self.b.ins().jump(block, &[]);
            }
            Opcode::SlotAddress => {
                let Some(&slot) = self.slots.get(usize::from(i.b)) else { return self.invalid() };
                let base = self.b.ins().stack_addr(I64, slot, 0);
                let address = self.b.ins().iadd_imm_s(base, i64::from(i.imm));
                self.set(i.a, address);
            }
            Opcode::DataAddress => self.data_address(i),
            Opcode::FunctionAddress => {
                let Some(callee) = self.import(i.b, false) else { return self.invalid() };
                let address = self.b.ins().func_addr(I64, callee);
                self.set(i.a, address);
            }
            Opcode::CopyMemory | Opcode::FillMemory => self.bulk(i),
            Opcode::CheckStack => {
                let at = self.get(i.a);
                let end = self.b.ins().load(I64, MemFlagsData::new().with_notrap(), at, i.imm);
                let pointer = self.b.ins().get_stack_pointer(I64);
                let is_below = self.b.ins().icmp(IntCC::UnsignedLessThan, pointer, end);
                self.trap_if(is_below, STACK_LIMIT, None);
            }
            _ => self.call(i),
        }
    }

    fn branch(&mut self, condition: Value, expected: bool, target: u32) {
        let target = self.block(target);
        let next = self.b.create_block();
        let (then, other) = if expected { (target, next) } else { (next, target) };
        self.b.ins().brif(condition, then, &[], other, &[]);
        self.b.switch_to_block(next);
    }

    fn trap_compare(&mut self, i: &Instruction, condition: Condition, scalar: Scalar) {
        let holds = self.compare(condition, scalar, i, [i.a, i.b]);
        let operands = i.states_operands(scalar).then(|| {
            let right = self.second(i, scalar, i.b);
            [self.get(i.a), right]
        });
        self.trap_if(holds, i.imm.cast_unsigned(), operands);
    }

    fn trap_if(&mut self, condition: Value, code: u32, operands: Option<[Value; 2]>) {
        let block = self.trap_block(code, operands);
        let next = self.b.create_block();
        self.b.ins().brif(condition, block, &[], next, &[]);
        self.b.switch_to_block(next);
    }

    /// A block that traps at the current instruction.
    fn trap_block(&mut self, code: u32, operands: Option<[Value; 2]>) -> Block {
        let block = self.b.create_block();
        self.b.set_cold_block(block);
        self.traps.push(ColdTrap { block, code, at: self.at, operands });
        block
    }

    fn cold_blocks(&mut self) {
        let own = self.own;
        for ColdTrap { block, code, at, operands } in std::mem::take(&mut self.traps) {
            self.b.switch_to_block(block);
            let [code, at] = [code, at].map(|number| self.b.ins().iconst(I32, i64::from(number)));
            let function = self.b.ins().func_addr(I64, own);
            let [left, right] = operands.unwrap_or_else(|| [self.b.ins().iconst(I64, 0); 2]);
            self.b.ins().call(self.trap, &[code, at, function, left, right]);
            self.b.ins().trap(cranelift_codegen::ir::TrapCode::unwrap_user(1));
        }
    }

    fn data_address(&mut self, i: &Instruction) {
        let known =
            self.data.iter().find(|(number, _)| *number == i.b).map(|(_, address)| *address);
        let address = match known.map_or_else(|| self.copy_data(i.b), Ok) {
            Ok(address) => address,
            Err(failure) => return self.declarations.fail(failure),
        };
        let address = self.b.ins().iconst(I64, address + i64::from(i.imm));
        self.set(i.a, address);
    }

    /// Copies read-only data to memory that lives as long as the code.
    fn copy_data(&mut self, number: u16) -> Result<i64, Failure> {
        let entry = self.instance.body().data(number.into()).ok_or(Failure::Invalid)?;
        // More than the bytes, so that an aligned address lies inside of it.
        let align = usize::try_from(entry.align).unwrap_or(1).max(1);
        let mut words = Vec::new();
        let count = (entry.bytes.len() + align).div_ceil(size_of::<u128>()) + 1;
        words.try_reserve_exact(count).map_err(|_| Failure::OutOfMemory)?;
        words.resize(count, 0u128);
        let start = words.as_ptr().expose_provenance();
        let offset = start.next_multiple_of(align) - start;
        for (at, &byte) in (offset..).zip(entry.bytes) {
            if let Some(word) = words.get_mut(at / 16) {
                *word |= u128::from(byte) << (at % 16 * 8);
            }
        }
        let kept = try_push(self.declarations.data, words.into_boxed_slice());
        kept.map_err(|_| Failure::OutOfMemory)?;
        let address = (start + offset) as i64;
        self.data.push((number, address));
        Ok(address)
    }

    fn bulk(&mut self, i: &Instruction) {
        let config = self.declarations.config;
        let (to, from) = (self.get(i.a), self.get(i.b));
        let count =
            if i.immediate { self.b.ins().iconst(I64, i64::from(i.imm)) } else { self.get(i.c) };
        match i.opcode {
            Opcode::CopyMemory if i.immediate => {
                let (flags, size) =
                    (MemFlagsData::new().with_notrap(), u64::try_from(i.imm).unwrap_or(0));
                self.b.emit_small_memory_copy(config, to, from, size, 1, 1, true, flags);
            }
            Opcode::CopyMemory => self.b.call_memcpy(config, to, from, count),
            _ => self.b.call_memset(config, to, from, count),
        }
    }

    /// The reference to a callee for calls.
    fn callee(&mut self, index: u16) -> Option<FuncRef> {
        let place = usize::from(index);
        if let Some(known) = self.callees.get(place).copied().flatten() {
            return Some(known);
        }
        let reference = self.import(index, true)?;
        *self.callees.get_mut(place)? = Some(reference);
        Some(reference)
    }

    fn import(&mut self, index: u16, is_near: bool) -> Option<FuncRef> {
        let callee = self.instance.body().callee(index).ok()?;
        let (kind, signature) = (callee.kind, self.signature(&callee));
        Some(self.declarations.callee(kind, callee.name, signature, self.b.func, is_near))
    }

    fn signature(&self, callee: &Callee<'_>) -> Signature {
        let Callee { signature: of, .. } = callee;
        signature(self.declarations.config, self.instance, of.params, of.result)
    }

    fn call(&mut self, i: &Instruction) {
        let body = *self.instance.body();
        let Ok(callee) = body.callee(i.b) else { return self.invalid() };
        let Some(operands) = body.operands_of(i) else { return self.invalid() };
        let operands: Vec<u16> = operands.iter().collect();
        let args: Vec<Value> = operands.into_iter().map(|local| self.get(local)).collect();
        let call = if callee.kind == CalleeKind::Indirect {
            let signature = self.signature(&callee);
            let signature = self.b.import_signature(signature);
            let address = self.get(i.c);
            self.b.ins().call_indirect(signature, address, &args)
        } else {
            let Some(callee) = self.callee(i.b) else { return self.invalid() };
            self.b.ins().call(callee, &args)
        };
        let result = self.b.inst_results(call).first().copied();
        match i.opcode {
            // The calling convention of C has no tail calls.
            Opcode::ReturnCall | Opcode::ReturnCallIndirect => {
                self.b.ins().return_(result.as_slice());
            }
            _ => {
                if let Some(result) = result.filter(|_| i.a != NONE) {
                    self.set(i.a, result);
                }
            }
        }
    }

    fn compare(
        &mut self,
        condition: Condition,
        scalar: Scalar,
        i: &Instruction,
        [left, right]: [u16; 2],
    ) -> Value {
        let left = self.get(left);
        let right = self.second(i, scalar, right);
        if scalar.is_float() {
            return self.b.ins().fcmp(arithmetic::float_condition(condition), left, right);
        }
        self.b.ins().icmp(arithmetic::int_condition(condition, scalar), left, right)
    }
}

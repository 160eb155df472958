//! One function: its blocks, its locals, and everything that is not arithmetic.

mod arithmetic;
mod convert;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32, F64, I8, I16, I32, I64};
use cranelift_codegen::ir::{
    AbiParam, Block, FuncRef, InstBuilder, MemFlagsData, Signature, StackSlot, StackSlotData,
    StackSlotKind, Type, UserFuncName, Value,
};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext, Variable};
use cranelift_jit::JITModule;
use cranelift_module::Module;
use smf_core::ir::{
    Callee, CalleeKind, Condition, FunctionInstance, Instruction, NONE, Opcode, STACK_LIMIT, Scalar,
};

use super::{Declarations, TRAP};

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
    module: &JITModule,
    instance: &FunctionInstance<'_, '_>,
    params: &[u8],
    result: u8,
) -> Signature {
    let mut signature = module.make_signature();
    let scalars = params.iter().filter_map(|&code| instance.scalar(code));
    signature.params.extend(scalars.map(param));
    signature.returns.extend(instance.scalar(result).map(|scalar| AbiParam::new(type_of(scalar))));
    signature
}

/// The signature of a function.
pub(crate) fn signature_of(module: &JITModule, instance: &FunctionInstance<'_, '_>) -> Signature {
    let of = instance.body().signature();
    signature(module, instance, of.params, of.result)
}

/// Translates function `index` to `to`.
pub(crate) fn function(
    declarations: &mut Declarations<'_>,
    instance: &FunctionInstance<'_, '_>,
    index: usize,
    to: &mut cranelift_codegen::ir::Function,
    frontend: &mut FunctionBuilderContext,
) {
    to.signature = signature_of(declarations.module, instance);
    to.name = UserFuncName::user(0, u32::try_from(index).unwrap());
    let trap = {
        let mut signature = declarations.module.make_signature();
        signature.params.extend([I32, I32, I64].map(AbiParam::new));
        signature.returns.push(AbiParam::new(I64));
        declarations.callee(CalleeKind::Host, TRAP, &signature, to)
    };
    let config = declarations.module.target_config();
    let builder = FunctionBuilder::new(to, frontend);
    let mut translator = Translator {
        b: builder,
        declarations,
        instance,
        locals: Vec::new(),
        blocks: Vec::new(),
        slots: Vec::new(),
        callees: Vec::new(),
        trap,
        traps: Vec::new(),
        index: index as i64,
        at: 0,
    };
    translator.declare();
    translator.body();
    translator.cold_blocks();
    translator.b.seal_all_blocks();
    translator.b.finalize(config);
}

struct Translator<'t, 'm, 'v, 'd> {
    b: FunctionBuilder<'t>,
    declarations: &'t mut Declarations<'m>,
    instance: &'t FunctionInstance<'v, 'd>,
    locals: Vec<(Variable, Scalar)>,
    /// The block of each instruction that starts one.
    blocks: Vec<Option<Block>>,
    slots: Vec<StackSlot>,
    callees: Vec<Option<FuncRef>>,
    trap: FuncRef,
    /// Cold blocks with the code and the place of their traps.
    traps: Vec<(Block, u32, u32)>,
    /// The number of the function.
    index: i64,
    /// The place of the current instruction.
    at: u32,
}

impl Translator<'_, '_, '_, '_> {
    fn declare(&mut self) {
        let body = *self.instance.body();
        for &code in body.local_codes() {
            let scalar = self.instance.scalar(code).unwrap_or(Scalar::I64);
            self.locals.push((self.b.declare_var(type_of(scalar)), scalar));
        }
        for slot in body.slots().flatten() {
            let shift = u8::try_from(slot.align.trailing_zeros()).unwrap();
            let data = StackSlotData::new(StackSlotKind::ExplicitSlot, slot.size, shift);
            self.slots.push(self.b.create_sized_stack_slot(data));
        }
        self.callees = vec![None; usize::from(body.callee_count())];
        self.blocks = vec![None; body.len()];
        for instruction in body.instructions().flatten() {
            let Some(target) = instruction.target() else { continue };
            let block = &mut self.blocks[target as usize];
            if block.is_none() {
                *block = Some(self.b.create_block());
            }
        }
        let entry = self.b.create_block();
        self.b.append_block_params_for_function_params(entry);
        self.b.switch_to_block(entry);
        for local in 0..body.signature().params.len() {
            let value = self.b.block_params(entry)[local];
            self.b.def_var(self.locals[local].0, value);
        }
    }

    fn body(&mut self) {
        let body = *self.instance.body();
        let mut locations = body.locations().peekable();
        let has_locations = locations.len() > 0;
        let mut is_reachable = true;
        for (number, instruction) in body.instructions().flatten().enumerate() {
            if let Some(block) = self.blocks[number] {
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

    fn get(&mut self, local: u16) -> Value {
        self.b.use_var(self.locals[usize::from(local)].0)
    }

    fn set(&mut self, local: u16, value: Value) {
        self.b.def_var(self.locals[usize::from(local)].0, value);
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
                let bits = self.instance.body().constant(i.imm).unwrap();
                self.bits(scalar, bits)
            }
            Opcode::Move => self.get(i.b),
            Opcode::SizeOf => self.bits(Scalar::U64, scalar.size().into()),
            Opcode::Convert => {
                let from = self.instance.scalar(u8::try_from(i.c).unwrap()).unwrap();
                let value = self.get(i.b);
                self.convert(value, from, scalar)
            }
            Opcode::Unary(unary) => self.unary(unary, scalar, i.b),
            Opcode::Binary(binary) => self.binary(i, binary, scalar),
            Opcode::Compare(condition) => self.compare(condition, scalar, i, [i.b, i.c]),
            Opcode::Branch(condition) => {
                let holds = self.compare(condition, scalar, i, [i.a, i.b]);
                return self.branch(holds, true, i.imm.cast_unsigned());
            }
            Opcode::TrapCompare(condition) => {
                let holds = self.compare(condition, scalar, i, [i.a, i.b]);
                return self.trap_if(holds, i.imm.cast_unsigned());
            }
            Opcode::Select => {
                let (condition, first) = (self.get(i.b), self.get(i.c));
                let second = self.get(i.other().unwrap());
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
            other => unreachable!("{other:?} has no type"),
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
                let target = self.blocks[i.imm as usize].unwrap();
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
                self.trap_if(condition, i.imm.cast_unsigned());
            }
            Opcode::ReturnNone => {
                self.b.ins().return_(&[]);
            }
            Opcode::Trap => {
                let block = self.trap_block(i.imm.cast_unsigned());
                self.b.ins().jump(block, &[]);
            }
            Opcode::SlotAddress => {
                let slot = self.slots[usize::from(i.b)];
                let base = self.b.ins().stack_addr(I64, slot, 0);
                let address = self.b.ins().iadd_imm_s(base, i64::from(i.imm));
                self.set(i.a, address);
            }
            Opcode::DataAddress => self.data_address(i),
            Opcode::FunctionAddress => {
                let callee = self.callee(i.b);
                let address = self.b.ins().func_addr(I64, callee);
                self.set(i.a, address);
            }
            Opcode::CopyMemory | Opcode::FillMemory => self.bulk(i),
            Opcode::CheckStack => {
                let at = self.get(i.a);
                let end = self.b.ins().load(I64, MemFlagsData::new().with_notrap(), at, i.imm);
                let pointer = self.b.ins().get_stack_pointer(I64);
                let is_below = self.b.ins().icmp(IntCC::UnsignedLessThan, pointer, end);
                self.trap_if(is_below, STACK_LIMIT);
            }
            _ => self.call(i),
        }
    }

    fn branch(&mut self, condition: Value, expected: bool, target: u32) {
        let target = self.blocks[target as usize].unwrap();
        let next = self.b.create_block();
        let (then, other) = if expected { (target, next) } else { (next, target) };
        self.b.ins().brif(condition, then, &[], other, &[]);
        self.b.switch_to_block(next);
    }

    fn trap_if(&mut self, condition: Value, code: u32) {
        let block = self.trap_block(code);
        let next = self.b.create_block();
        self.b.ins().brif(condition, block, &[], next, &[]);
        self.b.switch_to_block(next);
    }

    /// A block that traps at the current instruction.
    fn trap_block(&mut self, code: u32) -> Block {
        let block = self.b.create_block();
        self.b.set_cold_block(block);
        self.traps.push((block, code, self.at));
        block
    }

    fn cold_blocks(&mut self) {
        for (block, code, at) in std::mem::take(&mut self.traps) {
            self.b.switch_to_block(block);
            let [code, at] = [code, at].map(|number| self.b.ins().iconst(I32, i64::from(number)));
            let function = self.b.ins().iconst(I64, self.index);
            self.b.ins().call(self.trap, &[code, at, function]);
            self.b.ins().trap(cranelift_codegen::ir::TrapCode::unwrap_user(1));
        }
    }

    fn data_address(&mut self, i: &Instruction) {
        let entry = self.instance.body().data(i.b.into()).unwrap();
        // More than the bytes, so that an aligned address lies inside of it.
        let align = entry.align as usize;
        let mut words = vec![0u128; (entry.bytes.len() + align).div_ceil(16) + 1];
        let start = words.as_ptr() as usize;
        let offset = start.next_multiple_of(align) - start;
        for (at, &byte) in (offset..).zip(entry.bytes) {
            words[at / 16] |= u128::from(byte) << (at % 16 * 8);
        }
        self.declarations.data.push(words);
        let address = (start + offset) as i64 + i64::from(i.imm);
        let address = self.b.ins().iconst(I64, address);
        self.set(i.a, address);
    }

    fn bulk(&mut self, i: &Instruction) {
        let config = self.declarations.module.target_config();
        let (to, from) = (self.get(i.a), self.get(i.b));
        let count =
            if i.immediate { self.b.ins().iconst(I64, i64::from(i.imm)) } else { self.get(i.c) };
        match i.opcode {
            Opcode::CopyMemory if i.immediate => {
                let (flags, size) =
                    (MemFlagsData::new().with_notrap(), u64::try_from(i.imm).unwrap());
                self.b.emit_small_memory_copy(config, to, from, size, 1, 1, true, flags);
            }
            Opcode::CopyMemory => self.b.call_memcpy(config, to, from, count),
            _ => self.b.call_memset(config, to, from, count),
        }
    }

    /// The reference to a callee with a number or a name.
    fn callee(&mut self, index: u16) -> FuncRef {
        if let Some(known) = self.callees[usize::from(index)] {
            return known;
        }
        let callee = self.instance.body().callee(index).unwrap();
        let signature = self.signature(&callee);
        let reference = self.declarations.callee(callee.kind, callee.name, &signature, self.b.func);
        self.callees[usize::from(index)] = Some(reference);
        reference
    }

    fn signature(&self, callee: &Callee<'_>) -> Signature {
        let Callee { signature: of, .. } = callee;
        signature(self.declarations.module, self.instance, of.params, of.result)
    }

    fn call(&mut self, i: &Instruction) {
        let body = *self.instance.body();
        let callee = body.callee(i.b).unwrap();
        let operands: Vec<u16> = body.call_operands(i, &callee).unwrap().iter().collect();
        let args: Vec<Value> = operands.into_iter().map(|local| self.get(local)).collect();
        let call = if callee.kind == CalleeKind::Indirect {
            let signature = self.signature(&callee);
            let signature = self.b.import_signature(signature);
            let address = self.get(i.c);
            self.b.ins().call_indirect(signature, address, &args)
        } else {
            let callee = self.callee(i.b);
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

//! The same programs in WebAssembly, compiled by Winch: one pass over the operand stack, verification included.

use wasm_encoder::{
    BlockType, CodeSection, Function, FunctionSection, InstructionSink, Module, TypeSection,
    ValType,
};
use wasmtime_environ::wasmparser::{FuncValidatorAllocations, Parser, Validator};
use wasmtime_environ::{
    ModuleEnvironment, ModuleTypesBuilder, StaticModuleIndex, Tunables, VMOffsets,
};
use winch_codegen::{BuiltinFunctions, CallingConvention, TargetIsa};

/// A compiler, and a module of many copies of the programs.
pub(super) struct Winch {
    isa: Box<dyn TargetIsa>,
    tunables: Tunables,
    module: Vec<u8>,
}

impl Winch {
    /// A module with `copies` of the four programs.
    pub(super) fn new(copies: u32) -> Self {
        let triple = cranelift_native::builder().unwrap().triple().clone();
        let flags = cranelift_codegen::settings::builder();
        let flags = cranelift_codegen::settings::Flags::new(flags);
        let isa = winch_codegen::lookup(triple).unwrap().finish(flags).unwrap();
        let tunables = Tunables { winch_callable: true, ..Tunables::default_host() };
        Self { isa, tunables, module: module(copies) }
    }

    /// Parses, verifies and compiles all functions, and returns the bytes of their code.
    pub(super) fn compile(&self) -> usize {
        let mut validator = Validator::new();
        let mut types = ModuleTypesBuilder::new(&validator);
        let index = StaticModuleIndex::from_u32(0);
        let environment = ModuleEnvironment::new(&self.tunables, &mut validator, &mut types, index);
        let mut translation = environment.translate(Parser::new(0), &self.module).unwrap();
        let offsets = VMOffsets::new(self.isa.pointer_bytes(), &translation.module);
        let host = self.isa.wasmtime_call_conv();
        let mut builtins = BuiltinFunctions::new(&offsets, host, CallingConvention::Default);
        let mut allocations = FuncValidatorAllocations::default();
        let mut bytes = 0;
        let inputs = std::mem::take(&mut translation.function_body_inputs);
        for (defined, input) in inputs {
            let function = translation.module.func_index(defined);
            let signature = translation.module.functions[function].signature;
            let ty = types[signature.unwrap_module_type_index()].unwrap_func();
            let mut validator = input.validator.into_validator(std::mem::take(&mut allocations));
            let compiled = self.isa.compile_function(
                ty,
                &input.body,
                &translation,
                &types,
                &mut builtins,
                &mut validator,
                &self.tunables,
            );
            bytes += compiled.unwrap().buffer.data().len();
            allocations = validator.into_allocations();
        }
        bytes
    }
}

fn module(copies: u32) -> Vec<u8> {
    let (mut types, mut functions) = (TypeSection::new(), FunctionSection::new());
    types.ty().function([ValType::I64], [ValType::I64]);
    let mut code = CodeSection::new();
    for copy in 0..copies {
        for (locals, body) in
            [(2, sum as fn(&mut InstructionSink<'_>, u32)), (3, nested), (3, primes), (0, fib)]
        {
            functions.function(0);
            let mut function = Function::new([(locals, ValType::I64)]);
            body(&mut function.instructions(), copy * 4 + 3);
            function.instructions().end();
            code.function(&function);
        }
    }
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&code);
    module.finish()
}

/// Starts `while left < right`; the block and the loop are closed by [`end_loop`].
fn while_less(code: &mut InstructionSink<'_>, left: u32, right: u32) {
    code.block(BlockType::Empty).loop_(BlockType::Empty);
    code.local_get(left).local_get(right).i64_ge_s().br_if(1);
}

/// Increments the counter and jumps back.
fn end_loop(code: &mut InstructionSink<'_>, counter: u32) {
    code.local_get(counter).i64_const(1).i64_add().local_set(counter);
    code.br(0).end().end();
}

fn sum(code: &mut InstructionSink<'_>, _: u32) {
    code.i64_const(0).local_set(1).i64_const(0).local_set(2);
    while_less(code, 1, 0);
    code.local_get(2).local_get(1).i64_add().local_set(2);
    end_loop(code, 1);
    code.local_get(2);
}

fn nested(code: &mut InstructionSink<'_>, _: u32) {
    code.i64_const(0).local_set(1).i64_const(0).local_set(3);
    while_less(code, 1, 0);
    code.i64_const(0).local_set(2);
    while_less(code, 2, 0);
    code.local_get(3).local_get(1).local_get(2).i64_mul().i64_add().local_set(3);
    end_loop(code, 2);
    end_loop(code, 1);
    code.local_get(3);
}

fn primes(code: &mut InstructionSink<'_>, _: u32) {
    code.i64_const(2).local_set(1).i64_const(0).local_set(3);
    while_less(code, 1, 0);
    code.i64_const(2).local_set(2);
    code.block(BlockType::Empty).block(BlockType::Empty).loop_(BlockType::Empty);
    code.local_get(2).local_get(2).i64_mul().local_get(1).i64_gt_s().br_if(1);
    code.local_get(1).local_get(2).i64_rem_s().i64_const(0).i64_eq().br_if(2);
    code.local_get(2).i64_const(1).i64_add().local_set(2);
    code.br(0).end().end();
    code.local_get(3).i64_const(1).i64_add().local_set(3);
    code.end();
    end_loop(code, 1);
    code.local_get(3);
}

fn fib(code: &mut InstructionSink<'_>, itself: u32) {
    code.local_get(0).i64_const(2).i64_lt_s().if_(BlockType::Empty).local_get(0).return_().end();
    code.local_get(0).i64_const(1).i64_sub().call(itself);
    code.local_get(0).i64_const(2).i64_sub().call(itself);
    code.i64_add();
}

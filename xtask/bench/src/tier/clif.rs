//! The same programs in the IR of Cranelift.
#![allow(unsafe_code)]

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{AbiParam, FuncRef, InstBuilder};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext, Variable};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{FuncId, Linkage, Module, default_libcall_names};

/// The programs in the order of the bytecode.
pub(super) struct Compiled {
    functions: Vec<extern "C" fn(i64) -> i64>,
    module: Option<JITModule>,
}

type Build = fn(&mut FunctionBuilder<'_>, FuncRef);

impl Compiled {
    /// Compiles with an optimisation level: `none` or `speed`.
    pub(super) fn new(level: &str) -> Self {
        let mut flags = settings::builder();
        flags.set("opt_level", level).unwrap();
        flags.set("enable_verifier", "false").unwrap();
        let isa = cranelift_native::builder().unwrap().finish(settings::Flags::new(flags)).unwrap();
        let mut module = JITModule::new(JITBuilder::with_isa(isa, default_libcall_names()));
        let mut functions = FunctionBuilderContext::new();
        let builds: [(&str, Build); 4] =
            [("sum", sum), ("nested", nested), ("primes", primes), ("fib", fib)];
        let ids = builds.map(|(name, build)| define(&mut module, &mut functions, name, build));
        module.finalize_definitions().unwrap();
        let address = |id| {
            let code = module.get_finalized_function(id);
            // SAFETY: such a function was defined above.
            unsafe { std::mem::transmute::<*const u8, extern "C" fn(i64) -> i64>(code) }
        };
        Self { functions: ids.map(address).to_vec(), module: Some(module) }
    }

    pub(super) fn call(&self, index: u32, argument: i64) -> i64 {
        self.functions[index as usize](argument)
    }
}

impl Drop for Compiled {
    fn drop(&mut self) {
        if let Some(module) = self.module.take() {
            // SAFETY: the functions are called through `self` only.
            unsafe { module.free_memory() };
        }
    }
}

fn define(
    module: &mut JITModule,
    context: &mut FunctionBuilderContext,
    name: &str,
    build: Build,
) -> FuncId {
    let mut code = module.make_context();
    code.func.signature.params.push(AbiParam::new(I64));
    code.func.signature.returns.push(AbiParam::new(I64));
    let id = module.declare_function(name, Linkage::Local, &code.func.signature).unwrap();
    let itself = module.declare_func_in_func(id, &mut code.func);
    let mut builder = FunctionBuilder::new(&mut code.func, context);
    let entry = builder.create_block();
    builder.append_block_params_for_function_params(entry);
    builder.switch_to_block(entry);
    build(&mut builder, itself);
    builder.seal_all_blocks();
    builder.finalize(module.target_config());
    module.define_function(id, &mut code).unwrap();
    id
}

/// The argument, and `N` variables that are initialised to `start`.
fn variables<const N: usize>(
    b: &mut FunctionBuilder<'_>,
    start: [i64; N],
) -> (Variable, [Variable; N]) {
    let n = b.declare_var(I64);
    let entry = b.current_block().unwrap();
    let argument = b.block_params(entry)[0];
    b.def_var(n, argument);
    let variables = start.map(|start| {
        let variable = b.declare_var(I64);
        let value = b.ins().iconst(I64, start);
        b.def_var(variable, value);
        variable
    });
    (n, variables)
}

/// `while left < right { body }`
fn while_less(
    b: &mut FunctionBuilder<'_>,
    [left, right]: [Variable; 2],
    body: impl FnOnce(&mut FunctionBuilder<'_>),
) {
    let [head, inside, done] = [b.create_block(), b.create_block(), b.create_block()];
    b.ins().jump(head, &[]);
    b.switch_to_block(head);
    let (left, right) = (b.use_var(left), b.use_var(right));
    let less = b.ins().icmp(IntCC::SignedLessThan, left, right);
    b.ins().brif(less, inside, &[], done, &[]);
    b.switch_to_block(inside);
    body(b);
    b.ins().jump(head, &[]);
    b.switch_to_block(done);
}

fn add_one(b: &mut FunctionBuilder<'_>, variable: Variable) {
    let value = b.use_var(variable);
    let more = b.ins().iadd_imm_s(value, 1);
    b.def_var(variable, more);
}

fn give(b: &mut FunctionBuilder<'_>, variable: Variable) {
    let value = b.use_var(variable);
    b.ins().return_(&[value]);
}

fn sum(b: &mut FunctionBuilder<'_>, _: FuncRef) {
    let (n, [i, sum]) = variables(b, [0, 0]);
    while_less(b, [i, n], |b| {
        let (old, more) = (b.use_var(sum), b.use_var(i));
        let new = b.ins().iadd(old, more);
        b.def_var(sum, new);
        add_one(b, i);
    });
    give(b, sum);
}

fn nested(b: &mut FunctionBuilder<'_>, _: FuncRef) {
    let (n, [i, j, sum]) = variables(b, [0, 0, 0]);
    while_less(b, [i, n], |b| {
        let zero = b.ins().iconst(I64, 0);
        b.def_var(j, zero);
        while_less(b, [j, n], |b| {
            let (old, one, other) = (b.use_var(sum), b.use_var(i), b.use_var(j));
            let product = b.ins().imul(one, other);
            let new = b.ins().iadd(old, product);
            b.def_var(sum, new);
            add_one(b, j);
        });
        add_one(b, i);
    });
    give(b, sum);
}

fn primes(b: &mut FunctionBuilder<'_>, _: FuncRef) {
    let (n, [candidate, divisor, count]) = variables(b, [2, 2, 0]);
    while_less(b, [candidate, n], |b| {
        let two = b.ins().iconst(I64, 2);
        b.def_var(divisor, two);
        let [inner, divide, more, prime, next] = std::array::from_fn(|_| b.create_block());
        b.ins().jump(inner, &[]);
        b.switch_to_block(inner);
        let (number, d) = (b.use_var(candidate), b.use_var(divisor));
        let square = b.ins().imul(d, d);
        let beyond = b.ins().icmp(IntCC::SignedGreaterThan, square, number);
        b.ins().brif(beyond, prime, &[], divide, &[]);
        b.switch_to_block(divide);
        let rest = b.ins().srem(number, d);
        let divides = b.ins().icmp_imm_s(IntCC::Equal, rest, 0);
        b.ins().brif(divides, next, &[], more, &[]);
        b.switch_to_block(more);
        add_one(b, divisor);
        b.ins().jump(inner, &[]);
        b.switch_to_block(prime);
        add_one(b, count);
        b.ins().jump(next, &[]);
        b.switch_to_block(next);
        add_one(b, candidate);
    });
    give(b, count);
}

fn fib(b: &mut FunctionBuilder<'_>, itself: FuncRef) {
    let (n, []) = variables(b, []);
    let [small, large] = [b.create_block(), b.create_block()];
    let value = b.use_var(n);
    let less = b.ins().icmp_imm_s(IntCC::SignedLessThan, value, 2);
    b.ins().brif(less, small, &[], large, &[]);
    b.switch_to_block(small);
    b.ins().return_(&[value]);
    b.switch_to_block(large);
    let [one, two] = [-1, -2].map(|less| {
        let argument = b.ins().iadd_imm_s(value, less);
        let call = b.ins().call(itself, &[argument]);
        b.inst_results(call)[0]
    });
    let sum = b.ins().iadd(one, two);
    b.ins().return_(&[sum]);
}

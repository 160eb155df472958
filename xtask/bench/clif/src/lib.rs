//! Cranelift as a compiler of the IR: the peer of the benchmark and of the differential tests.
//!
//! A function is translated instruction by instruction. Locals become variables of the frontend, which builds SSA form.
//! A trap is a call of [`trap_hook`] in a cold block, so that code has the same checks as
//! that of smf.
#![allow(unsafe_code)]

mod translate;

use cranelift_codegen::isa::{self, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_codegen::{Context, ir};
use cranelift_frontend::FunctionBuilderContext;
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{FuncId, Linkage, Module, default_libcall_names};
use smf_core::ir::{CalleeKind, FunctionInstance, Scalar};
use smf_core::trap::trap_hook;
use smf_tests::differential::host::FUNCTIONS;
use smf_tests::differential::{Engine, Host, Outcome, Program, Runnable, call_native};

/// Cranelift with an optimisation level.
#[derive(Clone, Copy, Debug)]
pub struct Cranelift {
    /// `none` or `speed`.
    pub level: &'static str,
}

impl Engine for Cranelift {
    fn name(&self) -> &str {
        self.level
    }

    fn compile<'p>(&self, program: &'p Program) -> Result<Box<dyn Runnable + 'p>, String> {
        let symbols = FUNCTIONS.iter().map(|function| (function.name, (function.address)()));
        let compiled = Compiled::new(&program.instances(), self.level, symbols)?;
        let (params, result) = program.signature(program.entry());
        Ok(Box::new(Callable { entry: program.entry(), compiled, params, result }))
    }
}

struct Callable {
    entry: usize,
    compiled: Compiled,
    params: Vec<Scalar>,
    result: Option<Scalar>,
}

impl Runnable for Callable {
    fn run(&mut self, args: &[u64], host: &mut Host) -> Outcome {
        let trap_function = |function| u32::try_from(function).ok();
        // SAFETY: a drawn program with these arguments, which ends.
        unsafe {
            call_native(
                self.compiled.address(self.entry),
                args,
                &self.params,
                self.result,
                host,
                trap_function,
            )
        }
    }
}

/// Machine code of the functions of a program, which call each other.
pub struct Compiled {
    functions: Vec<u64>,
    /// Read-only data, which the code refers to by address.
    _data: Vec<Vec<u128>>,
    code_size: usize,
    module: Option<JITModule>,
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiled").field("functions", &self.functions).finish_non_exhaustive()
    }
}

/// The compiler for this machine.
///
/// # Panics
/// If Cranelift does not support it.
pub fn machine(level: &str) -> OwnedTargetIsa {
    cranelift_native::builder().unwrap().finish(flags(level)).unwrap()
}

fn flags(level: &str) -> settings::Flags {
    let mut flags = settings::builder();
    flags.set("opt_level", level).unwrap();
    flags.set("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" }).unwrap();
    settings::Flags::new(flags)
}

/// Functions that a module has the code of.
struct Defined {
    declared: Vec<FuncId>,
    data: Vec<Vec<u128>>,
    code_size: usize,
}

fn define(
    module: &mut JITModule,
    functions: &[FunctionInstance<'_, '_>],
) -> Result<Defined, String> {
    let mut declared = Vec::new();
    for (index, function) in functions.iter().enumerate() {
        let signature = translate::signature_of(module, function);
        let name = format!("function{index}");
        let id = module.declare_function(&name, Linkage::Local, &signature);
        declared.push(id.map_err(|error| error.to_string())?);
    }
    let (mut context, mut frontend) = (module.make_context(), FunctionBuilderContext::new());
    let (mut data, mut code_size) = (Vec::new(), 0);
    for (index, function) in functions.iter().enumerate() {
        let mut translator = Declarations { module, functions: &declared, data: &mut data };
        translate::function(&mut translator, function, index, &mut context.func, &mut frontend);
        let defined = module.define_function(declared[index], &mut context);
        defined.map_err(|error| format!("{error:?}\n{}", context.func))?;
        code_size += context.compiled_code().map_or(0, |code| code.code_buffer().len());
        module.clear_context(&mut context);
    }
    Ok(Defined { declared, data, code_size })
}

/// The bytes of code of all functions for another machine, by its target triple.
///
/// # Errors
/// The message of Cranelift.
pub fn code_size_for(
    triple: &str,
    functions: &[FunctionInstance<'_, '_>],
    level: &str,
) -> Result<usize, String> {
    let machine = isa::lookup_by_name(triple).map_err(|error| error.to_string())?;
    let machine = machine.finish(flags(level)).map_err(|error| error.to_string())?;
    let mut module = JITModule::new(JITBuilder::with_isa(machine, default_libcall_names()));
    // It is never linked.
    let defined = define(&mut module, functions)?;
    // SAFETY: no function is called.
    unsafe { module.free_memory() };
    Ok(defined.code_size)
}

impl Compiled {
    /// Compiles functions with an optimisation level, `none` or `speed`. `symbols` are the functions of the host.
    ///
    /// # Errors
    /// The message of Cranelift.
    pub fn new<'s>(
        functions: &[FunctionInstance<'_, '_>],
        level: &str,
        symbols: impl Iterator<Item = (&'s str, u64)>,
    ) -> Result<Self, String> {
        let mut builder = JITBuilder::with_isa(machine(level), default_libcall_names());
        for (name, address) in symbols {
            builder.symbol(name, address as *const u8);
        }
        builder.symbol(TRAP, trap_hook as *const u8);
        let mut module = JITModule::new(builder);
        let Defined { declared, data, code_size } = define(&mut module, functions)?;
        module.finalize_definitions().map_err(|error| error.to_string())?;
        let address = |&id: &FuncId| module.get_finalized_function(id) as u64;
        let functions = declared.iter().map(address).collect();
        Ok(Self { functions, _data: data, code_size, module: Some(module) })
    }

    /// The address of a function.
    ///
    /// # Panics
    /// If there is no such function.
    pub fn address(&self, index: usize) -> u64 {
        self.functions[index]
    }

    /// The bytes of code of all functions.
    pub fn code_size(&self) -> usize {
        self.code_size
    }
}

impl Drop for Compiled {
    fn drop(&mut self) {
        if let Some(module) = self.module.take() {
            // SAFETY: the functions are called as long as `self` lives only.
            unsafe { module.free_memory() };
        }
    }
}

/// Compiles a function of no program for this machine, without memory for it, and returns the size of its code. It may
/// call itself only.
///
/// # Panics
/// If Cranelift refuses the function.
pub fn compile_only(compiler: &mut CompilerOnly, function: &FunctionInstance<'_, '_>) -> usize {
    let CompilerOnly { module, context, frontend, id } = compiler;
    let id = *id.get_or_insert_with(|| {
        let signature = translate::signature_of(module, function);
        module.declare_function("function", Linkage::Local, &signature).unwrap()
    });
    let mut data = Vec::new();
    let mut declarations = Declarations { module, functions: &[id], data: &mut data };
    translate::function(&mut declarations, function, 0, &mut context.func, frontend);
    let code = context.compile(module.isa(), &mut Default::default()).unwrap();
    let size = code.code_buffer().len();
    context.clear();
    size
}

/// The memory of [`compile_only`], which is reused.
pub struct CompilerOnly {
    module: JITModule,
    context: Context,
    frontend: FunctionBuilderContext,
    id: Option<FuncId>,
}

impl CompilerOnly {
    /// A compiler of one function with an optimisation level.
    pub fn new(level: &str) -> Self {
        let mut builder = JITBuilder::with_isa(machine(level), default_libcall_names());
        builder.symbol(TRAP, trap_hook as *const u8);
        let module = JITModule::new(builder);
        let (context, frontend) = (module.make_context(), FunctionBuilderContext::new());
        Self { module, context, frontend, id: None }
    }
}

impl std::fmt::Debug for CompilerOnly {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CompilerOnly").finish_non_exhaustive()
    }
}

/// The symbol of the hook that traps call.
const TRAP: &str = "smf_trap_hook";

/// What a function refers to.
struct Declarations<'m> {
    module: &'m mut JITModule,
    functions: &'m [FuncId],
    data: &'m mut Vec<Vec<u128>>,
}

impl Declarations<'_> {
    /// A function of the program or of the host, as the function that is translated refers to it.
    fn callee(
        &mut self,
        kind: CalleeKind,
        name: &str,
        signature: &ir::Signature,
        to: &mut ir::Function,
    ) -> ir::FuncRef {
        let id = match kind {
            CalleeKind::Function(index) => self.functions[index as usize],
            _ => self.module.declare_function(name, Linkage::Import, signature).unwrap(),
        };
        self.module.declare_func_in_func(id, to)
    }
}

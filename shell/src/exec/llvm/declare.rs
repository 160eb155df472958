//! Types, and what the functions of a unit refer to in common.

use inkwell::attributes::{Attribute, AttributeLoc};
use inkwell::builder::BuilderError;
use inkwell::context::Context;
use inkwell::intrinsics::Intrinsic;
use inkwell::module::{FlagBehavior, Module};
use inkwell::types::{BasicType, BasicTypeEnum, FunctionType};
use inkwell::values::FunctionValue;
use inkwell::{AddressSpace, GlobalVisibility};
use smf_core::alloc_util::try_push;
use smf_core::ir::{FunctionInstance, Opcode, Scalar};

use crate::exec::callees::Failure;

pub(super) type Result<T, E = Failure> = std::result::Result<T, E>;

impl From<BuilderError> for Failure {
    fn from(_: BuilderError) -> Self {
        Self::Invalid
    }
}

/// The symbol of the function that traps call.
pub(super) const TRAP_SYMBOL: &str = "smf_trap";

/// The symbol of function `index`.
pub(super) fn symbol(index: usize) -> String {
    format!("f{index}")
}

/// A module, and the functions that it declares.
pub(super) struct Declarations<'m, 'c> {
    pub(super) context: &'c Context,
    pub(super) module: &'m Module<'c>,
    pub(super) functions: Vec<FunctionValue<'c>>,
    pub(super) trap: FunctionValue<'c>,
}

/// The type of a value.
pub(super) fn type_of(context: &Context, scalar: Scalar) -> BasicTypeEnum<'_> {
    match scalar {
        Scalar::Bool => context.bool_type().into(),
        _ => memory_type(context, scalar),
    }
}

/// The type of a value in memory, as a parameter and as a result.
pub(super) fn memory_type(context: &Context, scalar: Scalar) -> BasicTypeEnum<'_> {
    match scalar {
        Scalar::I8 | Scalar::U8 | Scalar::Bool => context.i8_type().into(),
        Scalar::I16 | Scalar::U16 => context.i16_type().into(),
        Scalar::I32 | Scalar::U32 => context.i32_type().into(),
        Scalar::I64 | Scalar::U64 => context.i64_type().into(),
        Scalar::F32 => context.f32_type().into(),
        Scalar::F64 => context.f64_type().into(),
        Scalar::Pointer => context.ptr_type(AddressSpace::default()).into(),
    }
}

/// The attribute by which a caller extends an argument of less than 32 bits, as compilers of C do.
pub(super) fn extension(scalar: Scalar) -> Option<&'static str> {
    match scalar {
        Scalar::I8 | Scalar::I16 => Some("signext"),
        Scalar::U8 | Scalar::U16 | Scalar::Bool => Some("zeroext"),
        _ => None,
    }
}

/// An attribute by name.
pub(super) fn attribute(context: &Context, name: &str, value: u64) -> Attribute {
    context.create_enum_attribute(Attribute::get_named_enum_kind_id(name), value)
}

/// A type of functions, from the codes of a signature.
pub(super) fn function_type<'c>(
    context: &'c Context,
    instance: &FunctionInstance<'_, '_>,
    params: &[u8],
    result: u8,
) -> Result<FunctionType<'c>> {
    let mut types = Vec::new();
    for scalar in params.iter().filter_map(|&code| instance.scalar(code)) {
        try_push(&mut types, memory_type(context, scalar).into())?;
    }
    Ok(match instance.scalar(result) {
        Some(scalar) => memory_type(context, scalar).fn_type(&types, false),
        None => context.void_type().fn_type(&types, false),
    })
}

/// Whether a function contains tail calls, which LLVM makes of no other calls then.
fn has_tail_calls(instance: &FunctionInstance<'_, '_>) -> bool {
    let mut instructions = instance.body().instructions().flatten();
    instructions.any(|i| matches!(i.opcode, Opcode::ReturnCall | Opcode::ReturnCallIndirect))
}

impl<'m, 'c> Declarations<'m, 'c> {
    /// Declares the functions of a unit in a module.
    pub(super) fn new(
        context: &'c Context,
        module: &'m Module<'c>,
        instances: &[FunctionInstance<'_, '_>],
    ) -> Result<Self> {
        // Functions begin with a landing pad for indirect calls under control-flow protection.
        let one = context.i32_type().const_int(1, false);
        module.add_basic_value_flag("cf-protection-branch", FlagBehavior::Override, one);
        let mut functions = Vec::new();
        for (index, instance) in instances.iter().enumerate() {
            let of = instance.body().signature();
            let ty = function_type(context, instance, of.params, of.result)?;
            let function = module.add_function(&symbol(index), ty, None);
            // Not replaceable, so that calls and addresses need no table.
            function.as_global_value().set_visibility(GlobalVisibility::Hidden);
            // Exact at every instruction.
            let tables = attribute(context, "uwtable", 2);
            // An access to address 0 is a fault, and no licence to remove code.
            let faults = attribute(context, "null_pointer_is_valid", 0);
            // A frame of more than a page must not skip the guard page of the stack.
            let probes = context.create_string_attribute("probe-stack", "inline-asm");
            for attribute in [tables, faults, probes] {
                function.add_attribute(AttributeLoc::Function, attribute);
            }
            if !has_tail_calls(instance) {
                // Every call takes stack, so that a recursion without end is an error and no endless loop.
                let calls = context.create_string_attribute("disable-tail-calls", "true");
                function.add_attribute(AttributeLoc::Function, calls);
            }
            try_push(&mut functions, function)?;
        }
        let number = context.i32_type().into();
        let pointer = context.ptr_type(AddressSpace::default()).into();
        let wide = context.i64_type();
        let operand = wide.into();
        let ty = wide.fn_type(&[number, number, pointer, operand, operand], false);
        let trap = module.add_function(TRAP_SYMBOL, ty, None);
        for name in ["noreturn", "cold", "nounwind"] {
            trap.add_attribute(AttributeLoc::Function, attribute(context, name, 0));
        }
        Ok(Self { context, module, functions, trap })
    }

    /// An intrinsic function, for these types.
    pub(super) fn intrinsic(
        &self,
        name: &str,
        types: &[BasicTypeEnum<'c>],
    ) -> Result<FunctionValue<'c>> {
        let found = Intrinsic::find(name).ok_or(Failure::Invalid)?;
        found.get_declaration(self.module, types).ok_or(Failure::Invalid)
    }
}

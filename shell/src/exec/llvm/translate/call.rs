//! Calls, and addresses of functions.

use inkwell::attributes::AttributeLoc;
use inkwell::types::FunctionType;
use inkwell::values::{BasicMetadataValueEnum, CallSiteValue, LLVMTailCallKind, PointerValue};
use smf_core::alloc_util::try_push;
use smf_core::ir::{Callee, CalleeKind, Instruction, NONE, Opcode};
use smf_core::link::Name;

use super::{Translator, pointer};
use crate::exec::callees::Failure;
use crate::exec::llvm::declare::{Result, attribute, extension, function_type};

impl<'c> Translator<'_, '_, 'c, '_, '_, '_> {
    /// The address of a callee.
    pub(super) fn callee_address(&mut self, index: u16) -> Result<PointerValue<'c>> {
        let callee = self.instance.body().callee(index).map_err(|_| Failure::Invalid)?;
        match callee.kind {
            CalleeKind::Function(index) => {
                let function = self.d.functions.get(index as usize).ok_or(Failure::Invalid)?;
                Ok(function.as_global_value().as_pointer_value())
            }
            CalleeKind::Host => {
                let number = self.outside.number(callee.name)?;
                let address = self.outside.addresses.get(number as usize).copied();
                Ok(self.constant_address(address.ok_or(Failure::Invalid)?))
            }
            CalleeKind::Instance | CalleeKind::Indirect => {
                Err(Name::in_error(callee.name.as_bytes(), Failure::Template))
            }
        }
    }

    fn type_of_callee(&self, callee: &Callee<'_>) -> Result<FunctionType<'c>> {
        let Callee { signature, .. } = callee;
        function_type(self.d.context, self.instance, signature.params, signature.result)
    }

    pub(super) fn call(&mut self, i: &Instruction) -> Result<()> {
        let body = *self.instance.body();
        let callee = body.callee(i.b).map_err(|_| Failure::Invalid)?;
        let operands = body.operands_of(i).ok_or(Failure::Invalid)?;
        let scalars = callee.signature.params.iter().map(|&code| self.instance.scalar(code));
        let mut args: Vec<BasicMetadataValueEnum<'c>> = Vec::new();
        for (local, scalar) in operands.iter().zip(scalars) {
            let scalar = scalar.ok_or(Failure::Invalid)?;
            try_push(&mut args, self.as_stored(self.get(local)?, scalar)?.into())?;
        }
        let address = match callee.kind {
            CalleeKind::Indirect => pointer(self.get(i.c)?)?,
            _ => self.callee_address(i.b)?,
        };
        let ty = self.type_of_callee(&callee)?;
        let call = self.b.build_indirect_call(ty, address, &args, "")?;
        self.extend_arguments(call, &callee);
        let result = call.try_as_basic_value().basic();
        if matches!(i.opcode, Opcode::ReturnCall | Opcode::ReturnCallIndirect) {
            // Only a call of the caller's signature is sure to reuse the frame in the calling convention of C.
            let kind = match ty == self.own.get_type() {
                true => LLVMTailCallKind::LLVMTailCallKindMustTail,
                false => LLVMTailCallKind::LLVMTailCallKindTail,
            };
            call.set_tail_call_kind(kind);
            match result {
                Some(result) => self.b.build_return(Some(&result))?,
                None => self.b.build_return(None)?,
            };
            return Ok(());
        }
        match (result, self.instance.scalar(callee.signature.result)) {
            (Some(result), Some(scalar)) if i.a != NONE => {
                self.set(i.a, self.as_value(result, scalar)?)
            }
            _ => Ok(()),
        }
    }

    fn extend_arguments(&self, call: CallSiteValue<'c>, callee: &Callee<'_>) {
        for (number, &code) in (0..).zip(callee.signature.params) {
            if let Some(name) = self.instance.scalar(code).and_then(extension) {
                let extension = attribute(self.d.context, name, 0);
                call.add_attribute(AttributeLoc::Param(number), extension);
            }
        }
    }
}

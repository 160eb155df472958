//! What a function refers to: functions of the unit, callees elsewhere, the trap hook, data.

use cranelift_codegen::ir::{self, ExtFuncData, ExternalName, Signature, UserExternalName};
use cranelift_codegen::isa::TargetFrontendConfig;
use smf_core::ir::CalleeKind;
use smf_core::link::Name;

use crate::exec::callees::{Failure, Outside};

/// External names: the functions of the unit, and the addresses of others.
pub(super) const OWN: u32 = 0;
const OUTSIDE: u32 = 1;

/// The trap hook in the list of addresses.
const TRAP_HOOK: u32 = 0;

/// Read-only data, which code refers to by address.
pub(super) type Data = Vec<Box<[u128]>>;

/// What a function refers to.
pub(super) struct Declarations<'m, 's> {
    pub(super) config: TargetFrontendConfig,
    pub(super) outside: &'m mut Outside<'s>,
    pub(super) data: &'m mut Data,
    /// The first reason why the function cannot be translated.
    pub(super) failure: Option<Failure>,
}

impl Declarations<'_, '_> {
    pub(super) fn fail(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
    }

    /// A function of the unit or of the host, as the function that is translated refers to it. `is_near` for calls, which
    /// reach functions of the unit directly.
    pub(super) fn callee(
        &mut self,
        kind: CalleeKind,
        name: &str,
        signature: Signature,
        to: &mut ir::Function,
        is_near: bool,
    ) -> ir::FuncRef {
        let (name, colocated) = match kind {
            CalleeKind::Function(index) => (UserExternalName::new(OWN, index), is_near),
            CalleeKind::Host => match self.outside.number(name) {
                Ok(number) => (UserExternalName::new(OUTSIDE, number), false),
                Err(failure) => {
                    self.fail(failure);
                    (UserExternalName::new(OUTSIDE, TRAP_HOOK), false)
                }
            },
            CalleeKind::Instance | CalleeKind::Indirect => {
                self.fail(Name::in_error(name.as_bytes(), Failure::Template));
                (UserExternalName::new(OUTSIDE, TRAP_HOOK), false)
            }
        };
        import(to, name, signature, colocated)
    }

    /// The hook that traps call.
    pub(super) fn trap_hook(&self, signature: Signature, to: &mut ir::Function) -> ir::FuncRef {
        import(to, UserExternalName::new(OUTSIDE, TRAP_HOOK), signature, false)
    }
}

fn import(
    to: &mut ir::Function,
    name: UserExternalName,
    signature: Signature,
    colocated: bool,
) -> ir::FuncRef {
    let name = ExternalName::User(to.declare_imported_user_function(name));
    let signature = to.import_signature(signature);
    to.import_function(ExtFuncData { name, signature, colocated, patchable: false })
}

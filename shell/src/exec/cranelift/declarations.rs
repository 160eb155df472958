//! What a function refers to: functions of the unit, callees elsewhere, the trap hook, data.

use std::collections::HashMap;

use cranelift_codegen::ir::{self, ExtFuncData, ExternalName, Signature, UserExternalName};
use cranelift_codegen::isa::TargetFrontendConfig;
use smf_core::alloc_util::{AllocError, try_copy_bytes, try_push};
use smf_core::exec::BackendError;
use smf_core::ir::CalleeKind;
use smf_core::link::{Name, ShortName};
use smf_core::trap::trap_hook;

/// External names: the functions of the unit, and the addresses of others.
pub(super) const OWN: u32 = 0;
const OUTSIDE: u32 = 1;

/// The address of the trap hook in the list of addresses.
const TRAP_HOOK: u32 = 0;

/// An error without a variant of its own.
pub(super) fn other(message: &str) -> Result<BackendError, AllocError> {
    Ok(BackendError::Other(Name::new(message.as_bytes())?))
}

/// Callees outside of the unit, by number.
pub(super) struct Outside<'s> {
    symbol: &'s mut dyn FnMut(&[u8]) -> Option<u64>,
    pub(super) addresses: Vec<u64>,
    numbers: HashMap<Box<[u8]>, u32>,
}

impl<'s> Outside<'s> {
    pub(super) fn new(symbol: &'s mut dyn FnMut(&[u8]) -> Option<u64>) -> Result<Self, AllocError> {
        let mut addresses = Vec::new();
        try_push(&mut addresses, trap_hook as *const () as usize as u64)?;
        Ok(Self { symbol, addresses, numbers: HashMap::new() })
    }

    fn number(&mut self, name: &str) -> Result<u32, Failure> {
        if let Some(&known) = self.numbers.get(name.as_bytes()) {
            return Ok(known);
        }
        let undefined = || Failure::Undefined(ShortName::new(name.as_bytes()));
        let address = (self.symbol)(name.as_bytes()).ok_or_else(undefined)?;
        let number = u32::try_from(self.addresses.len()).map_err(|_| AllocError)?;
        try_push(&mut self.addresses, address)?;
        self.numbers.try_reserve(1).map_err(|_| AllocError)?;
        self.numbers.insert(try_copy_bytes(name.as_bytes())?, number);
        Ok(number)
    }
}

/// Why a function cannot be translated.
pub(super) enum Failure {
    /// A symbol that neither the manager nor the host has.
    Undefined(ShortName),
    /// An instance of a template.
    Template(ShortName),
    /// What the verifier of the IR excludes.
    Invalid,
    OutOfMemory,
}

impl From<AllocError> for Failure {
    fn from(_: AllocError) -> Self {
        Self::OutOfMemory
    }
}

impl Failure {
    pub(super) fn of(self, function: Name) -> Result<BackendError, AllocError> {
        Ok(match self {
            Self::Undefined(symbol) => BackendError::Undefined { function, symbol },
            Self::Template(template) => BackendError::Template { function, template },
            Self::Invalid => other(&format!("function `{function}` is invalid"))?,
            Self::OutOfMemory => AllocError.into(),
        })
    }
}

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
                self.fail(Failure::Template(ShortName::new(name.as_bytes())));
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

//! What an instance in the making needs, and how it is told apart for another process.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::{InstanceRequest, Instantiation, JitResult};
use crate::alloc_util::{try_concat, try_push};
use crate::link::ShortName;
use crate::templates::code_cache::{self, CachePolicy, Name};
use crate::templates::compiler::{CompileError, Compiled, Environment, Request, Target};
use crate::templates::error::InstantiateError;
use crate::templates::instance_table::Instance;
use crate::types::{Type, try_mangle, try_mangle_plain};

/// What symbols of functions begin with.
const FUNCTION: &[u8] = b"fn$";

/// What an instance in the making needs.
pub(super) struct Needs<'m, 'j> {
    making: &'m Instantiation<'j>,
    targets: Vec<Known>,
    /// What the compiler promised of the code.
    pub(super) interface: Box<[u8]>,
    /// Why the last thing that was asked for cannot be had.
    failure: Option<JitResult>,
}

/// Where a target is, and which instance, if it is one.
struct Known {
    address: u64,
    instance: Option<Instance>,
    /// What another process finds it by; only where code is kept.
    name: Option<Name>,
}

impl<'m, 'j> Needs<'m, 'j> {
    pub(super) fn of(making: &'m Instantiation<'j>) -> Self {
        Self { making, targets: Vec::new(), interface: Box::default(), failure: None }
    }

    fn add_instance(&mut self, instance: Instance) -> Result<Target, CompileError> {
        self.add(Known { address: instance.address(), instance: Some(instance), name: None })
    }

    /// Notes what a target is called, if somebody will ask.
    fn call_it(
        &mut self,
        target: Result<Target, CompileError>,
        name: impl FnOnce() -> Option<Name>,
    ) -> Result<Target, CompileError> {
        if let (true, Ok(Target(number))) = (self.making.jit.config.keep_code, target) {
            let number = usize::try_from(number).unwrap_or(usize::MAX);
            let known = self.targets.get_mut(number).filter(|known| known.name.is_none());
            if let Some(known) = known {
                known.name = name();
            }
        }
        target
    }

    /// The record that a file may keep of the code.
    pub(super) fn record(
        &self,
        request: &Request<'_>,
        compiled: &Compiled,
        keep: CachePolicy,
    ) -> Option<Vec<u8>> {
        code_cache::record(request, compiled, keep, &self.interface, |target| {
            let known = self.known(target)?;
            let interface = known.instance.as_ref().map_or(&[][..], Instance::interface);
            Some((known.name.as_ref()?, interface))
        })
    }

    fn add(&mut self, target: Known) -> Result<Target, CompileError> {
        let known = self.targets.iter().rposition(|known| known.address == target.address);
        let number = known.unwrap_or(self.targets.len());
        if known.is_none() {
            try_push(&mut self.targets, target)?;
        }
        let number = u32::try_from(number).ok().filter(|number| Target(*number) != Target::OWN);
        number.map(Target).ok_or(CompileError::because("more addresses than can be counted"))
    }

    /// Makes an instance, whose address the code may then have; `None` when nobody knows of it.
    fn made(
        &mut self,
        symbol: &[u8],
        given: Option<&InstanceRequest<'_>>,
    ) -> Option<Result<Target, CompileError>> {
        if *symbol == *self.making.symbol {
            return Some(Ok(Target::OWN));
        }
        let jit = self.making.jit;
        if let Some(instance) = jit.made.find(symbol) {
            return Some(self.add_instance(instance));
        }
        match jit.make(symbol, given) {
            JitResult::NotFound { .. } => None,
            JitResult::Success(instance) | JitResult::UpdateFailed { instance, .. } => {
                Some(self.add_instance(instance))
            }
            failure => {
                self.failure = Some(failure);
                Some(Err(CompileError::Needs))
            }
        }
    }

    fn known(&self, target: Target) -> Option<&Known> {
        self.targets.get(usize::try_from(target.0).ok()?)
    }

    /// What to say when the compiler gives up.
    pub(super) fn failure_of(self, error: CompileError) -> JitResult {
        let symbol = self.making.symbol.clone();
        let error = match (error, self.failure) {
            (CompileError::Needs, Some(JitResult::CompilationError(inner))) => {
                let needed = inner.needed.unwrap_or_else(|| ShortName::new(&inner.symbol));
                return JitResult::failed(symbol, Some(needed), inner.error);
            }
            (CompileError::Needs, Some(failure)) => return failure,
            (CompileError::Needs, None) => InstantiateError::Abandoned,
            (CompileError::OutOfMemory, _) => InstantiateError::OutOfMemory,
            (CompileError::Missing(symbol), _) => InstantiateError::Missing { symbol },
            (CompileError::Because(reason), _) => InstantiateError::Compile(reason),
        };
        JitResult::failed(symbol, None, error)
    }
}

impl Environment for Needs<'_, '_> {
    fn instance(&mut self, template: &[u8], arguments: &[Type]) -> Result<Target, CompileError> {
        let target = self.instance_of(template, arguments);
        self.call_it(target, || Name::of_instance(template, arguments).ok())
    }

    fn symbol(&mut self, symbol: &[u8]) -> Result<Target, CompileError> {
        let target = self.target_of(symbol);
        self.call_it(target, || Name::of_symbol(symbol).ok())
    }

    fn absolute(&mut self, address: u64) -> Result<Target, CompileError> {
        let target = self.add(Known { address, instance: None, name: None });
        self.call_it(target, || Name::of_fixed(address))
    }

    fn address(&self, target: Target) -> Option<u64> {
        self.known(target).map(|known| known.address)
    }

    fn declare_signature(&mut self, interface: Box<[u8]>) {
        self.interface = interface;
    }

    fn signature(&self, target: Target) -> Option<&[u8]> {
        let instance = self.known(target)?.instance.as_ref()?;
        Some(instance.interface()).filter(|interface| !interface.is_empty())
    }
}

impl Needs<'_, '_> {
    /// Another instance, or the one that is being made.
    fn instance_of(&mut self, template: &[u8], arguments: &[Type]) -> Result<Target, CompileError> {
        let missing = CompileError::Missing(ShortName::new(template));
        if arguments.is_empty() {
            // No row can speak of it: rows have arguments.
            return self
                .made(template, Some(&InstanceRequest { template, arguments }))
                .unwrap_or(Err(missing));
        }
        let name = core::str::from_utf8(template).map_err(|_| missing)?;
        let symbol = try_mangle(name, arguments)?.ok_or(missing)?;
        // As the notes in the field may spell it.
        let plain = try_mangle_plain(name, arguments)?.filter(|plain| *plain != symbol);
        for spelled in [Some(&symbol), plain.as_ref()].into_iter().flatten() {
            for prefix in [FUNCTION, b""] {
                if let Some(made) = self.made(&try_concat(&[prefix, spelled.as_bytes()])?, None) {
                    return made;
                }
            }
        }
        // No row speaks of it, but where there is a template it can be made.
        let is_function = self.making.symbol.starts_with(FUNCTION);
        let symbol = try_concat(&[if is_function { FUNCTION } else { b"" }, symbol.as_bytes()])?;
        let given = InstanceRequest { template, arguments };
        self.made(&symbol, Some(&given)).unwrap_or(Err(missing))
    }

    /// What has this symbol.
    fn target_of(&mut self, symbol: &[u8]) -> Result<Target, CompileError> {
        if let Some(made) = self.made(symbol, None) {
            return made;
        }
        let symbols = self.making.jit.symbols.as_ref();
        match symbols.and_then(|symbols| symbols.resolve(symbol)) {
            Some(address) => self.add(Known { address, instance: None, name: None }),
            None => Err(CompileError::Missing(ShortName::new(symbol))),
        }
    }
}

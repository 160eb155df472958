//! Calls of functions of the program, by number and by address, and of the host.

use smf_core::ir::{Binary, Condition, Local, Scalar, ValueType};

use super::super::host::{FUEL, FUNCTIONS, HostFunction};
use super::Writer;

impl Writer<'_, '_> {
    /// A value of this type, returned by a function if there is one.
    pub(super) fn called(&mut self, scalar: Scalar, depth: u8) -> Local {
        let to = self.temporary(scalar);
        let functions = self.callable(Some(scalar));
        if let Some(&function) = self.pick(&functions).filter(|_| self.source.below(3) != 0) {
            self.call_function(function, Some(to), depth);
        } else if let Some(host) = self.host(Some(scalar)) {
            let args = self.arguments(host.params, depth);
            self.builder.call_host(host.name, Some(to), &args);
        } else {
            self.constant(scalar, to);
        }
        to
    }

    /// A call as a statement: its result is dropped, or goes to a variable.
    pub(super) fn call(&mut self) {
        if self.source.below(3) == 0 {
            let host = self.source.choose([0, 3, 8, 8, 9, 6]);
            let host = FUNCTIONS[host];
            if host.params.first() == Some(&Scalar::Pointer) && self.memory.is_none() {
                return;
            }
            let args = self.arguments(host.params, 1);
            let to = host.result.and_then(|scalar| self.variable(scalar));
            if to.is_some() || host.result.is_none() {
                self.builder.call_host(host.name, to, &args);
            }
            return;
        }
        let functions = self.callable(None);
        let Some(&function) = self.pick(&functions) else { return };
        let to = self.signatures[function].result.and_then(|scalar| self.variable(scalar));
        let to = to.filter(|_| self.source.below(4) != 0);
        self.call_function(function, to, 1);
    }

    /// Calls any function, this one included, as long as the count in memory lasts.
    pub(super) fn recursive_call(&mut self) {
        let Some(memory) = self.memory else { return };
        let function = usize::from(self.source.byte()) % self.signatures.len();
        if !self.has_arguments(function) {
            return;
        }
        let over = self.builder.label();
        let (left, less) = (self.temporary(Scalar::I64), self.temporary(Scalar::I64));
        self.builder.load(Scalar::I64, left, memory, FUEL);
        self.builder.branch(Condition::LessEqual, Scalar::I64, left, 0, over);
        self.builder.binary(Binary::Subtract, Scalar::I64, less, left, 1);
        self.builder.store(Scalar::I64, less, memory, FUEL);
        let to = self.signatures[function].result.and_then(|scalar| self.variable(scalar));
        self.call_function(function, to, 1);
        self.builder.bind(over);
    }

    /// Leaves the function by a call of another one with the same result, if there is one.
    pub(super) fn tail_call(&mut self) -> bool {
        let result = self.signatures[self.index].result;
        let functions: Vec<usize> = self
            .callable(None)
            .into_iter()
            .filter(|&function| self.signatures[function].result == result)
            .filter(|&function| self.fits_in_arguments(function))
            .collect();
        let Some(&function) = self.pick(&functions) else { return false };
        let params = self.signatures[function].params.clone();
        let number = u32::try_from(function).unwrap();
        let args = self.arguments(&params, 1);
        if self.source.below(2) == 0 {
            self.builder.return_call_function(number, &args);
        } else {
            let address = self.function_address(number, &args, result);
            self.builder.return_call_indirect(address, &args);
        }
        true
    }

    /// Whether the arguments that another function takes on the stack fit where those of this function are, on each
    /// machine.
    fn fits_in_arguments(&self, function: usize) -> bool {
        let words = |function: usize, registers: usize| {
            let params = &self.signatures[function].params;
            let floats = params.iter().filter(|scalar| scalar.is_float()).count();
            floats.saturating_sub(8) + (params.len() - floats).saturating_sub(registers)
        };
        [6, 8]
            .into_iter()
            .all(|registers| words(function, registers) <= words(self.index, registers))
    }

    fn call_function(&mut self, function: usize, to: Option<Local>, depth: u8) {
        let signature = self.signatures[function].clone();
        let number = u32::try_from(function).unwrap();
        let args = self.arguments(&signature.params, depth.min(1));
        let dropped = signature.result.map(Into::into);
        if self.source.below(4) == 0 {
            let address = self.function_address(number, &args, signature.result);
            self.builder.call_indirect(address, to, &args, dropped);
        } else {
            self.builder.call_function(number, to, &args, dropped);
        }
    }

    fn function_address(&mut self, number: u32, args: &[Local], result: Option<Scalar>) -> Local {
        let to = self.temporary(Scalar::Pointer);
        let types = args.iter().filter_map(|&arg| self.builder.local_type(arg));
        let types: Vec<ValueType> = types.collect();
        self.builder.function_address(to, number, &types, result.map(Into::into));
        to
    }

    /// Later functions with this result, or with any, whose arguments exist here.
    fn callable(&self, result: Option<Scalar>) -> Vec<usize> {
        let later = self.index + 1..self.signatures.len();
        let fits =
            |&function: &usize| result.is_none() || self.signatures[function].result == result;
        later.filter(fits).filter(|&function| self.has_arguments(function)).collect()
    }

    fn has_arguments(&self, function: usize) -> bool {
        self.memory.is_some() || !self.signatures[function].params.contains(&Scalar::Pointer)
    }

    fn pick<'a, T>(&mut self, among: &'a [T]) -> Option<&'a T> {
        among.get(usize::from(self.source.byte()).checked_rem(among.len())?)
    }

    /// A function of the host with this result.
    fn host(&mut self, result: Option<Scalar>) -> Option<HostFunction> {
        let fits = |function: &&HostFunction| {
            let has_memory = self.memory.is_some();
            function.result == result && (has_memory || !function.params.contains(&Scalar::Pointer))
        };
        let functions: Vec<HostFunction> = FUNCTIONS.iter().filter(fits).copied().collect();
        self.pick(&functions).copied()
    }

    fn arguments(&mut self, params: &[Scalar], depth: u8) -> Vec<Local> {
        let argument = |&scalar: &Scalar| match (scalar, self.memory) {
            (Scalar::Pointer, Some(memory)) => memory,
            _ => self.value(scalar, depth),
        };
        params.iter().map(argument).collect()
    }
}

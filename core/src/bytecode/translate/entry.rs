//! How an activation starts and ends.

use super::abi::{Context, MAX_ARGUMENTS, REGISTER_ARGUMENTS, trap_code};
use super::calls::argument_offset;
use super::value_stack::{Class, Val};
use super::{Body, I64, TranslateError, Translator};
use crate::bytecode::verify::Kind;
use crate::ir::{Binary, Condition, Local, Scalar};
use crate::trap::bytecode::{MAX_STACK_DEPTH, activation_charge};

/// A function that calls nothing and has no more values and pairs of bytes than this does not check the stack: its
/// frame is small, and that much is left at every call.
const UNCHECKED: usize = 32;

impl Body<'_, '_> {
    /// Starts the function, or its replacement at target `start`; whether there is more.
    pub(super) fn enter(&mut self, start: Option<usize>) -> bool {
        let function = self.facts.function;
        let params = usize::from(function.params);
        if params > MAX_ARGUMENTS {
            let (limit, value) = (MAX_ARGUMENTS as u64, params as u64);
            self.t.fail(TranslateError::Limit { name: "parameters", limit, value });
            return false;
        }
        let frame = match start {
            Some(_) => Some(self.t.ir.param(Scalar::Pointer)),
            None => {
                self.declare_parameters(params.min(REGISTER_ARGUMENTS));
                None
            }
        };
        if self.facts.max_stack_depth() > MAX_STACK_DEPTH {
            self.locate();
            self.t.ir.trap(trap_code::STACK_LIMIT);
            return false;
        }
        let charge = activation_charge(function.locals, self.facts.max_stack_depth());
        // Positions are limited, and locals are numbered with 16 bits.
        self.charge = i32::try_from(charge).unwrap_or(i32::MAX);
        self.check_limits(start.is_some());
        match (frame, start) {
            (Some(frame), Some(start)) => self.load_frame(frame, start),
            _ => self.load_parameters(params),
        }
        true
    }

    /// The first parameters come in their homes.
    fn declare_parameters(&mut self, count: usize) {
        for local in 0..count {
            let home = self.t.ir.param(Scalar::I64);
            self.t.variables.set_home(local, Class::Int, home);
        }
    }

    /// Charges the budget and checks stack and interrupts. The activation of a replacement has been counted by the
    /// interpreter.
    fn check_limits(&mut self, is_replacement: bool) {
        let facts = self.facts;
        let calls = facts.has_calls();
        let loops = facts.targets().iter().any(|target| target.last_back_jump.is_some());
        let depth = usize::try_from(facts.max_stack_depth()).unwrap_or(usize::MAX);
        let size = depth + usize::from(facts.locals_named()) + facts.ops().len();
        if calls || size > UNCHECKED {
            self.locate();
            self.t.ir.check_stack(self.context, Context::STACK_END);
        }
        if self.charge != 0 && !is_replacement {
            self.locate();
            let left = self.change_budget(Binary::Subtract);
            self.t.ir.trap_compare(Condition::Less, I64, left, 0, trap_code::STACK_LIMIT);
        }
        if calls || loops {
            let shared = self.temporary(Scalar::Pointer);
            self.t.ir.load(Scalar::Pointer, shared, self.context, Context::SHARED);
            self.shared = Some(shared);
        }
        if calls && !is_replacement {
            self.check_interrupt();
        }
    }

    /// Loads the parameters that lie in the context.
    fn load_parameters(&mut self, params: usize) {
        let named = usize::from(self.facts.locals_named());
        for local in REGISTER_ARGUMENTS..params.min(named) {
            let Translator { ir, variables, .. } = &mut *self.t;
            let home = variables.local(ir, local, Class::Int);
            ir.load(I64, home, self.context, argument_offset(local));
        }
    }

    /// Loads the variables that are read behind target `start` from the interpreter's activation, and goes there.
    fn load_frame(&mut self, frame: Local, start: usize) {
        let (locals, slots) = self.facts.kinds_at(start);
        let named = usize::from(self.facts.locals_named());
        for (local, kind) in locals.enumerate().take(named) {
            if let Some(class) = class_with_value(kind) {
                let Translator { ir, variables, .. } = &mut *self.t;
                let home = variables.local(ir, local, class);
                ir.load(class.scalar(), home, frame, word(local));
            }
        }
        let first = usize::from(self.facts.function.locals);
        for (slot, kind) in slots.enumerate() {
            if let Some(class) = class_with_value(kind) {
                let Translator { ir, variables, .. } = &mut *self.t;
                let home = variables.slot(ir, slot, class);
                ir.load(class.scalar(), home, frame, word(first + slot));
            }
        }
        if let Some(&label) = self.t.labels.get(start) {
            self.t.ir.jump(label);
        }
    }

    /// Adds the charge of the activation to the budget, or takes it off; the new budget.
    fn change_budget(&mut self, operation: Binary) -> Local {
        let (before, after) = (self.temporary(Scalar::I64), self.temporary(Scalar::I64));
        let ir = &mut self.t.ir;
        ir.load(I64, before, self.context, Context::BUDGET);
        ir.binary(operation, I64, after, before, self.charge);
        ir.store(I64, after, self.context, Context::BUDGET);
        after
    }

    /// Gives the charge of the activation back to the budget.
    pub(super) fn release_budget(&mut self) {
        if self.charge != 0 {
            self.change_budget(Binary::Add);
        }
    }

    /// Returns a value.
    pub(super) fn return_value(&mut self, value: Val) -> bool {
        let result = self.integer_of(value);
        self.release_budget();
        self.t.ir.return_value(I64, result);
        false
    }
}

/// The class of a value that is read and other than nil, which every home holds before it is set.
fn class_with_value(kind: Option<Kind>) -> Option<Class> {
    kind.filter(|kind| *kind != Kind::Nil).map(Class::of)
}

/// The offset of a word.
fn word(index: usize) -> i32 {
    i32::try_from(index).unwrap_or(0).saturating_mul(8)
}

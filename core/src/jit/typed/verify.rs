//! Says of a body that it can be run, or where it cannot, in one pass over its instructions.
//!
//! What is checked for all instances at once: opcodes, indices, the types of all locals that an
//! instruction touches, targets, calls against the signatures that the body states, and that control
//! ends in a return or a trap. What a type parameter may be is gathered at the same time as a set, so
//! that an instance is checked without another look at the instructions.
//!
//! A second walk counts how often, and how deep in loops, each local is used, for the lowering.
//! Memory: a few bytes a local and an instruction, all of which the body's length explains.

use alloc::vec;
use alloc::vec::Vec;

use super::body::{Body, Callee, Operands, Signature, TypeEntry};
use super::error::{Part, TypedError};
use super::instruction::{Instruction, NONE};
use super::opcode::{Opcode, Unary};
use super::types::{Argument, Arguments, Scalar, Type, TypeSet};

/// A body that can be run with any arguments that its operations have a meaning for.
#[derive(Clone, Debug)]
pub struct Verified<'d> {
    body: Body<'d>,
    /// What each type parameter may be.
    allowed: Vec<TypeSet>,
    pub(super) usage: Usage,
}

/// How a body uses its locals.
#[derive(Clone, Debug, Default)]
pub(super) struct Usage {
    /// Uses of each local; one inside of a loop counts for several.
    pub(super) weights: Vec<u32>,
    /// Whether a local may be read before it was set, by number; false for parameters.
    pub(super) starts_as_zero: Vec<bool>,
    /// Whether an instruction is gone to.
    pub(super) is_target: Vec<bool>,
    /// The locals that are used, the most used one first.
    pub(super) order: Vec<u16>,
    /// The weights of all calls together.
    pub(super) calls: u32,
}

/// A body and the types of one instance.
#[derive(Clone, Copy, Debug)]
pub struct Instance<'v, 'd> {
    pub(super) verified: &'v Verified<'d>,
    pub(super) arguments: Arguments,
}

impl<'d> Verified<'d> {
    /// Checks `body`.
    ///
    /// # Errors
    /// The first thing that is wrong, in the order of the tables that are walked: types of locals,
    /// callees, instructions.
    pub fn new(body: Body<'d>) -> Result<Self, TypedError> {
        let allowed = vec![TypeSet::ANY; usize::from(body.type_params)];
        let mut check = Check { body, allowed, next_type: 0 };
        check.declarations()?;
        for (index, bytes) in body.instructions.iter().enumerate() {
            let at = body.offset(index);
            let code = bytes.first().copied().unwrap_or(0);
            let instruction =
                Instruction::decode(bytes).ok_or(TypedError::Opcode { at, code })?;
            check.instruction(at, &instruction)?;
        }
        let last = body.len().saturating_sub(1);
        let ends = body.instructions.last().and_then(Instruction::decode).is_some_and(|i| i.opcode.ends());
        if !ends {
            return Err(TypedError::FallsOff { at: body.offset(last) });
        }
        let allowed = check.allowed;
        Ok(Self { body, allowed, usage: Usage::of(&body) })
    }

    /// The body.
    pub fn body(&self) -> &Body<'d> {
        &self.body
    }

    /// What argument each type parameter may have, as far as this body goes.
    pub fn allowed(&self) -> &[TypeSet] {
        &self.allowed
    }

    /// The instance for `arguments`.
    ///
    /// # Errors
    /// [`TypedError::Arguments`] for another number of arguments than of parameters;
    /// [`TypedError::Argument`] for the first place that has no meaning for an argument.
    pub fn instance(&self, arguments: Arguments) -> Result<Instance<'_, 'd>, TypedError> {
        let (given, expected) = (arguments.len(), self.body.type_params);
        if given != expected {
            return Err(TypedError::Arguments { given, expected });
        }
        for (parameter, allowed) in (0..).zip(&self.allowed) {
            let argument = arguments.get(parameter).unwrap_or(Argument::Named);
            if !allowed.has(argument) {
                return Err(self.refusal(parameter, argument));
            }
        }
        Ok(Instance { verified: self, arguments })
    }

    /// Where `parameter` cannot be `argument`.
    #[cold]
    fn refusal(&self, parameter: u8, argument: Argument) -> TypedError {
        let code = Type::Parameter(parameter).code();
        let found = self.body.instructions().enumerate().find_map(|(index, instruction)| {
            let instruction = instruction.filter(|instruction| instruction.type_code == code)?;
            let refused = instruction.opcode.types().is_some_and(|types| !types.has(argument));
            refused.then(|| (self.body.offset(index), Some(instruction.opcode)))
        });
        let local = || self.body.codes.iter().position(|&found| found == code).unwrap_or(0);
        let (at, opcode) =
            found.unwrap_or_else(|| (self.body.place(self.body.codes, local()), None));
        TypedError::Argument { at, opcode, parameter, argument }
    }
}

impl<'v, 'd> Instance<'v, 'd> {
    /// The body.
    pub fn body(&self) -> &'v Body<'d> {
        &self.verified.body
    }

    /// The types that it is an instance for.
    pub fn arguments(&self) -> &Arguments {
        &self.arguments
    }

    /// What a type code stands for in this instance.
    #[inline]
    pub fn scalar(&self, code: u8) -> Option<Scalar> {
        self.arguments.scalar(code)
    }

    /// The scalars that a function with `signature`, given in terms of this body, takes and gives.
    pub fn concrete<'s>(
        &'s self,
        signature: &Signature<'s>,
    ) -> (impl ExactSizeIterator<Item = Option<Scalar>> + 's, Option<Scalar>) {
        let params = signature.params.iter().map(|&code| self.scalar(code));
        (params, self.scalar(signature.result))
    }

    /// Whether the function that this instance expects for a callee is `other`, an instance: the
    /// same scalars, in the same order, and the same result.
    pub fn agrees(&self, callee: &Callee<'_>, other: &Instance<'_, '_>) -> bool {
        let (expected, expected_result) = self.concrete(&callee.signature);
        let theirs = other.body().signature();
        let (found, found_result) = other.concrete(&theirs);
        expected_result == found_result && expected.eq(found)
    }
}

/// The walk over a body.
struct Check<'d> {
    body: Body<'d>,
    allowed: Vec<TypeSet>,
    /// The entry of the table of types at which those of the next callee begin.
    next_type: u16,
}

impl<'d> Check<'d> {
    /// What stands in front of the instructions: types of locals, of the result, and callees.
    fn declarations(&mut self) -> Result<(), TypedError> {
        let body = self.body;
        for (index, &code) in body.codes.iter().enumerate() {
            self.narrow(body.place(body.codes, index), code, TypeSet::SCALARS, None)?;
        }
        if body.result != 0 {
            self.narrow(13, body.result, TypeSet::SCALARS, None)?;
        }
        (0..body.callee_count()).try_for_each(|index| self.callee(index))
    }

    fn callee(&mut self, index: u16) -> Result<(), TypedError> {
        let callee = self.body.callee(index)?;
        let place = usize::from(index) * super::body::CALLEE;
        let at = self.body.place(self.body.callees.as_flattened(), place);
        if callee.signature.result != 0 {
            self.narrow(at, callee.signature.result, TypeSet::SCALARS, None)?;
        }
        let first = self.body.first_type(index);
        let part = Part::Types;
        let missing = TypedError::Index { at, part, index: first.into() };
        // One after another without a gap, so that no entry is walked over twice.
        if first != self.next_type {
            return Err(missing);
        }
        let mut left = u32::from(callee.arity);
        for entry in callee.types() {
            left = left.saturating_sub(1);
            self.next_type = self.next_type.checked_add(1).ok_or(missing)?;
            match entry {
                TypeEntry::Named { arity, .. } => left = left.saturating_add(arity.into()),
                TypeEntry::Type(ty) => drop(self.known(at, ty.code())?),
            }
        }
        if left == 0 { Ok(()) } else { Err(missing) }
    }

    /// The type with this code, if the template has it.
    fn known(&self, at: u32, code: u8) -> Result<Type, TypedError> {
        let known = |ty: &Type| match ty {
            Type::Scalar(_) => true,
            Type::Parameter(index) => *index < self.body.type_params,
        };
        Type::from_code(code).filter(known).ok_or(TypedError::TypeCode { at, code })
    }

    /// Notes that the type with this code has to be one of `types`.
    #[inline]
    fn narrow(
        &mut self,
        at: u32,
        code: u8,
        types: TypeSet,
        opcode: Option<Opcode>,
    ) -> Result<Type, TypedError> {
        let ty = self.known(at, code)?;
        match ty {
            Type::Scalar(scalar) if !types.has(scalar.into()) => {
                let opcode = opcode.unwrap_or(Opcode::Move);
                return Err(TypedError::NoMeaning { at, opcode, ty });
            }
            Type::Scalar(_) => {}
            Type::Parameter(index) => {
                if let Some(allowed) = self.allowed.get_mut(usize::from(index)) {
                    *allowed = allowed.and(types);
                }
            }
        }
        Ok(ty)
    }

    /// Checks one instruction: its type, then its fields.
    fn instruction(&mut self, at: u32, i: &Instruction) -> Result<(), TypedError> {
        let ty = match i.opcode.types() {
            Some(types) => Some(self.narrow(at, i.type_code, types, Some(i.opcode))?),
            None if i.type_code != 0 => {
                return Err(TypedError::Unused { at, opcode: i.opcode });
            }
            None => None,
        };
        match (i.opcode, ty) {
            (Opcode::Call, _) => self.call(at, i),
            (Opcode::Jump | Opcode::BranchIf(_) | Opcode::ReturnNone | Opcode::Trap, _) => {
                self.control(at, i)
            }
            (_, Some(ty)) => self.typed(at, i, ty),
            (_, None) => Ok(()),
        }
    }

    fn typed(&mut self, at: u32, i: &Instruction, ty: Type) -> Result<(), TypedError> {
        use Opcode as O;
        let is = |local| self.local(at, local, ty);
        let boolean = Type::Scalar(Scalar::Bool);
        match i.opcode {
            O::Constant => is(i.a).and(self.number(at, i, ty)).and(self.unused(at, i, [i.b, i.c])),
            O::WideConstant => is(i.a).and(self.wide(at, i, ty)),
            O::SizeOf => self.index(at, i.a).and(self.no_number(at, i)).and(self.unused(at, i, [i.b, i.c])),
            O::Move | O::Unary(Unary::Negate | Unary::Not) => {
                is(i.a).and(is(i.b)).and(self.no_number(at, i)).and(self.unused(at, i, [i.c, 0]))
            }
            O::Convert => self.convert(at, i, ty),
            O::Binary(_) => is(i.a).and(is(i.b)).and(self.second(at, i, i.c, ty)),
            O::Compare(_) => {
                self.local(at, i.a, boolean).and(is(i.b)).and(self.second(at, i, i.c, ty))
            }
            O::Branch(_) => is(i.a).and(self.branch(at, i, ty)),
            O::Load | O::Store => {
                is(i.a).and(self.pointer(at, i.b)).and(self.unused(at, i, [i.c, 0]))
            }
            O::LoadElement | O::StoreElement => is(i.a).and(self.element(at, i)),
            O::Element => self.pointer(at, i.a).and(self.element(at, i)),
            O::Return if self.body.result == ty.code() => {
                is(i.a).and(self.no_number(at, i)).and(self.unused(at, i, [i.b, i.c]))
            }
            O::Return => Err(TypedError::Result { at, expected: self.body.signature().result() }),
            _ => Ok(()),
        }
    }

    fn control(&self, at: u32, i: &Instruction) -> Result<(), TypedError> {
        match i.opcode {
            Opcode::BranchIf(_) => self.local(at, i.a, Scalar::Bool.into())?,
            _ => self.unused(at, i, [i.a, 0])?,
        }
        self.unused(at, i, [i.b, i.c])?;
        match i.opcode {
            Opcode::Trap => Ok(()),
            Opcode::ReturnNone if self.body.result != 0 => {
                Err(TypedError::Result { at, expected: self.body.signature().result() })
            }
            Opcode::ReturnNone => self.no_number(at, i),
            _ => self.target(at, i),
        }
    }

    fn call(&self, at: u32, i: &Instruction) -> Result<(), TypedError> {
        let callee = self.body.callee(i.b).map_err(|_| {
            TypedError::Index { at, part: Part::Callees, index: i.b.into() }
        })?;
        let index = i.imm.cast_unsigned();
        let none = TypedError::Index { at, part: Part::Operands, index };
        let operands: Operands<'d> = self.body.call_operands(i, &callee).ok_or(none)?;
        for (local, &code) in operands.iter().zip(callee.signature.params) {
            self.local(at, local, self.known(at, code)?)?;
        }
        if i.a != NONE {
            let result = callee.signature.result().ok_or(TypedError::CallResult { at })?;
            self.local(at, i.a, result)?;
        }
        self.unused(at, i, [i.c, 0])
    }

    fn convert(&mut self, at: u32, i: &Instruction, ty: Type) -> Result<(), TypedError> {
        let code = u8::try_from(i.c).unwrap_or(u8::MAX);
        let source = self.narrow(at, code, TypeSet::SCALARS, Some(i.opcode))?;
        self.local(at, i.a, ty)?;
        self.local(at, i.b, source)?;
        self.no_number(at, i)
    }

    /// The second value of an operation: a local, or a number in `imm`.
    fn second(&self, at: u32, i: &Instruction, local: u16, ty: Type) -> Result<(), TypedError> {
        if i.immediate {
            return self.number(at, i, ty).and(self.unused(at, i, [local, 0]));
        }
        self.local(at, local, ty).and(self.no_number(at, i))
    }

    fn branch(&self, at: u32, i: &Instruction, ty: Type) -> Result<(), TypedError> {
        self.target(at, i)?;
        if i.immediate {
            return self.number(at, i, ty).and(self.unused(at, i, [i.b, 0]));
        }
        self.local(at, i.b, ty).and(self.unused(at, i, [i.c, 0]))
    }

    /// A bool has but two numbers; the other types take every number modulo their width.
    fn number(&self, at: u32, i: &Instruction, ty: Type) -> Result<(), TypedError> {
        let number = i.number();
        if ty == Type::Scalar(Scalar::Bool) && !matches!(number, 0 | 1) {
            return Err(TypedError::Number { at, number: number.into(), ty });
        }
        Ok(())
    }

    fn wide(&self, at: u32, i: &Instruction, ty: Type) -> Result<(), TypedError> {
        let Type::Scalar(scalar) = ty else { return Err(TypedError::WideParameter { at }) };
        self.unused(at, i, [i.b, i.c])?;
        let index = i.imm.cast_unsigned();
        let none = TypedError::Index { at, part: Part::Constants, index };
        let bits = self.body.constant(i.imm).ok_or(none)?;
        let width = if scalar == Scalar::Bool { 1 } else { scalar.bits() };
        if bits.checked_shr(width).unwrap_or(0) != 0 {
            return Err(TypedError::Number { at, number: bits.cast_signed(), ty });
        }
        Ok(())
    }

    fn element(&self, at: u32, i: &Instruction) -> Result<(), TypedError> {
        self.pointer(at, i.b)?;
        if i.c == NONE { Ok(()) } else { self.index(at, i.c) }
    }

    fn target(&self, at: u32, i: &Instruction) -> Result<(), TypedError> {
        let index = i.imm.cast_unsigned();
        let inside = usize::try_from(index).is_ok_and(|index| index < self.body.len());
        let part = Part::Instructions;
        if inside { Ok(()) } else { Err(TypedError::Index { at, part, index }) }
    }

    #[inline]
    fn local(&self, at: u32, local: u16, expected: Type) -> Result<(), TypedError> {
        let found = self.found(at, local)?;
        if found == expected {
            return Ok(());
        }
        Err(TypedError::LocalType { at, local, found, expected })
    }

    fn pointer(&self, at: u32, local: u16) -> Result<(), TypedError> {
        self.local(at, local, Scalar::Pointer.into())
    }

    /// An index of elements, or their size: an integer of 64 bits.
    fn index(&self, at: u32, local: u16) -> Result<(), TypedError> {
        let found = self.found(at, local)?;
        match found {
            Type::Scalar(Scalar::I64 | Scalar::U64) => Ok(()),
            _ => Err(TypedError::NotIndex { at, local, found }),
        }
    }

    #[inline]
    fn found(&self, at: u32, local: u16) -> Result<Type, TypedError> {
        let none = TypedError::Index { at, part: Part::Locals, index: local.into() };
        self.body.local_type(local).ok_or(none)
    }

    #[inline]
    fn unused(&self, at: u32, i: &Instruction, fields: [u16; 2]) -> Result<(), TypedError> {
        if fields == [0, 0] { Ok(()) } else { Err(TypedError::Unused { at, opcode: i.opcode }) }
    }

    #[inline]
    fn no_number(&self, at: u32, i: &Instruction) -> Result<(), TypedError> {
        if i.imm == 0 { Ok(()) } else { Err(TypedError::Unused { at, opcode: i.opcode }) }
    }
}

impl Usage {
    /// How `body`, which has been checked, uses its locals.
    fn of(body: &Body<'_>) -> Self {
        let mut usage = Self {
            weights: vec![0; usize::from(body.locals)],
            starts_as_zero: vec![false; usize::from(body.locals)],
            is_target: vec![false; body.len()],
            order: Vec::new(),
            calls: 0,
        };
        let depths = usage.loops(body);
        let mut furthest = 0;
        let mut depth = 0i32;
        for ((index, instruction), change) in (0u32..).zip(body.instructions()).zip(depths) {
            let Some(instruction) = instruction else { continue };
            depth = depth.saturating_add(change);
            furthest = furthest.max(instruction.target().unwrap_or(0));
            let weight = 1u32 << (3 * depth.clamp(0, 6));
            usage.count(body, &instruction, weight, furthest > index);
        }
        // Parameters are set by the caller.
        usage.starts_as_zero.iter_mut().take(usize::from(body.params)).for_each(|s| *s = false);
        usage.rank();
        usage
    }

    /// Marks the targets. By how much each instruction lies deeper than the one before it: a jump
    /// backwards makes a loop of what is between.
    fn loops(&mut self, body: &Body<'_>) -> Vec<i32> {
        let mut changes = vec![0i32; body.len().saturating_add(1)];
        for (index, instruction) in body.instructions().enumerate() {
            let Some(target) = instruction.and_then(|instruction| instruction.target()) else {
                continue;
            };
            let target = usize::try_from(target).unwrap_or(usize::MAX);
            if let Some(mark) = self.is_target.get_mut(target) {
                *mark = true;
            }
            if target <= index {
                changes.get_mut(target).into_iter().for_each(|change| *change += 1);
                changes.get_mut(index + 1).into_iter().for_each(|change| *change -= 1);
            }
        }
        changes
    }

    /// Counts the locals of one instruction. `skippable` says that a jump from further up may have
    /// gone past it, so that what it sets may be read without having been set.
    fn count(&mut self, body: &Body<'_>, i: &Instruction, weight: u32, skippable: bool) {
        for local in i.read().into_iter().flatten() {
            self.touch(local, weight, true);
        }
        if i.opcode == Opcode::Call {
            self.calls = self.calls.saturating_add(weight);
            let callee = body.callee(i.b).ok();
            let operands = callee.and_then(|callee| body.call_operands(i, &callee));
            for local in operands.iter().flat_map(Operands::iter) {
                self.touch(local, weight, true);
            }
        }
        if let Some(local) = i.written() {
            self.touch(local, weight, skippable);
        }
    }

    fn touch(&mut self, local: u16, weight: u32, needs_zero: bool) {
        let local = usize::from(local);
        let places = self.weights.get_mut(local).zip(self.starts_as_zero.get_mut(local));
        let Some((uses, starts_as_zero)) = places else { return };
        if *uses == 0 {
            *starts_as_zero = needs_zero;
        }
        *uses = uses.saturating_add(weight);
    }

    fn rank(&mut self) {
        let used = (0u16..).zip(&self.weights).filter(|(_, weight)| **weight > 0);
        let mut ranked: Vec<(u32, u16)> = used.map(|(local, weight)| (*weight, local)).collect();
        ranked.sort_unstable_by_key(|&(weight, local)| (core::cmp::Reverse(weight), local));
        self.order = ranked.into_iter().map(|(_, local)| local).collect();
    }
}

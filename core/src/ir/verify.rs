//! The verifier, in one pass over a function.
//!
//! It checks for all instances at once: opcodes and their version, unused fields, indices, the types of all locals that an
//! instruction accesses, targets, calls against the signatures that the function states, the tables, and that control ends
//! in a return, a tail call or a trap. In the same pass it derives the permitted arguments of each type parameter as a
//! set, so that an instance is checked without the instructions.
//!
//! Its memory is bounded by the length of the function.

use alloc::vec::Vec;
use core::marker::PhantomData;

use super::arguments::Arguments;
use super::error::IrError;
use super::function::{Callee, Function, Signature};
use super::instruction::Instruction;
use super::types::{Argument, Scalar, TypeSet, ValueType};
use crate::alloc_util::{try_copy_bytes, try_filled};

mod check;
mod tables;

use check::Check;

/// A verified function: it has an instance for all type arguments that its operations are defined for.
#[derive(Clone, Debug)]
pub struct Verified<'d> {
    body: Function<'d>,
    facts: Facts,
}

/// A verified function that owns its bytes.
#[derive(Clone, Debug)]
pub struct VerifiedTemplate {
    bytes: Vec<u8>,
    facts: Facts,
}

/// What the verifier derives from a function.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// The permitted arguments of each type parameter.
    allowed: Vec<TypeSet>,
}

/// A function with an argument for each of its type parameters.
#[derive(Clone, Copy, Debug)]
pub struct FunctionInstance<'v, 'd> {
    body: Function<'d>,
    /// An instance exists only while the function that the verifier has accepted does.
    verified: PhantomData<&'v Facts>,
    arguments: Arguments,
}

impl<'d> Verified<'d> {
    /// Verifies `body`.
    ///
    /// # Errors
    /// The first error, in this order: types of locals, callees, other tables, instructions.
    pub fn new(body: Function<'d>) -> Result<Self, IrError> {
        let mut check = Check::new(body)?;
        check.declarations()?;
        for (index, bytes) in body.instructions.iter().enumerate() {
            let at = body.offset(index);
            let code = bytes.first().copied().unwrap_or(0);
            let instruction = Instruction::decode(bytes).ok_or(IrError::Opcode { at, code })?;
            if instruction.opcode.version() > body.version() {
                return Err(IrError::Opcode { at, code });
            }
            check.instruction(at, &instruction)?;
        }
        let last = body.len().saturating_sub(1);
        let ends =
            body.instructions.last().and_then(Instruction::decode).is_some_and(|i| i.opcode.ends());
        if !ends {
            return Err(IrError::FallsOff { at: body.offset(last) });
        }
        let facts = Facts { allowed: check.allowed };
        Ok(Self { body, facts })
    }

    /// Takes a function from a front end whose output is known to be valid, without verifying it.
    ///
    /// In a debug build the function is verified. In a release build it is the caller's contract that
    /// [`Verified::new`] would accept it. Nothing panics or accesses memory for a function that breaks the contract,
    /// but the interpreter and generated code do anything with it. Only the front ends of this library use it, whose
    /// output is verified in tests; functions from files and hosts are verified.
    ///
    /// # Errors
    /// [`IrError::OutOfMemory`].
    #[cfg_attr(
        not(feature = "kernel"),
        allow(dead_code, reason = "the front ends belong to the kernel")
    )]
    pub(crate) fn trusted(body: Function<'d>) -> Result<Self, IrError> {
        if cfg!(debug_assertions) {
            let verified = Self::new(body);
            let is_valid = !matches!(verified, Err(error) if error != IrError::OutOfMemory);
            debug_assert!(is_valid, "an invalid function is trusted: {verified:?}");
        }
        let allowed = try_filled(usize::from(body.type_params), &TypeSet::ANY)?;
        Ok(Self { body, facts: Facts { allowed } })
    }

    /// The function.
    pub fn body(&self) -> &Function<'d> {
        &self.body
    }

    /// What the verifier has derived.
    #[cfg(all(feature = "bytecode", any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub(crate) fn into_facts(self) -> Facts {
        self.facts
    }

    /// The permitted arguments of each type parameter.
    pub fn allowed(&self) -> &[TypeSet] {
        &self.facts.allowed
    }

    /// The instance for `arguments`.
    ///
    /// # Errors
    /// [`IrError::Arguments`] for another number of arguments than of parameters;
    /// [`IrError::Argument`] for the first operation that is not defined for an argument.
    pub fn instance(&self, arguments: Arguments) -> Result<FunctionInstance<'_, 'd>, IrError> {
        FunctionInstance::new(self.body, &self.facts, arguments)
    }
}

impl VerifiedTemplate {
    /// Verifies `bytes`, a function without anything behind it.
    ///
    /// # Errors
    /// Those of [`Function::parse`] and [`Verified::new`].
    pub fn new(bytes: &[u8]) -> Result<Self, IrError> {
        let Verified { facts, .. } = Verified::new(Function::parse(bytes)?)?;
        Ok(Self { bytes: try_copy_bytes(bytes)?.into_vec(), facts })
    }

    /// The function in `bytes`, of which the verifier has derived `facts`.
    #[cfg(all(feature = "bytecode", any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub(crate) fn of_facts(bytes: Vec<u8>, facts: Facts) -> Self {
        Self { bytes, facts }
    }

    /// The bytes that have been verified.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The instance for `arguments`.
    ///
    /// # Errors
    /// Those of [`Verified::instance`].
    #[inline]
    pub fn instance(&self, arguments: Arguments) -> Result<FunctionInstance<'_, '_>, IrError> {
        FunctionInstance::new(Function::parse(&self.bytes)?, &self.facts, arguments)
    }
}

impl<'v, 'd> FunctionInstance<'v, 'd> {
    #[inline]
    fn new(body: Function<'d>, facts: &'v Facts, arguments: Arguments) -> Result<Self, IrError> {
        let (given, expected) = (arguments.len(), body.type_params);
        if given != expected {
            return Err(IrError::Arguments { given, expected });
        }
        for (parameter, allowed) in (0..).zip(&facts.allowed) {
            let argument = arguments.get(parameter).unwrap_or(Argument::Named);
            if !allowed.has(argument) {
                return Err(refusal(&body, parameter, argument));
            }
        }
        Ok(Self { body, verified: PhantomData, arguments })
    }

    /// The same instance of another form of the function, which must be valid for its type arguments.
    pub(crate) fn with_body<'e>(&self, body: Function<'e>) -> FunctionInstance<'v, 'e> {
        FunctionInstance { body, verified: PhantomData, arguments: self.arguments }
    }

    /// The function.
    pub fn body(&self) -> &Function<'d> {
        &self.body
    }

    /// The type arguments.
    pub fn arguments(&self) -> &Arguments {
        &self.arguments
    }

    /// The scalar that a type code stands for in this instance.
    #[inline]
    pub fn scalar(&self, code: u8) -> Option<Scalar> {
        self.arguments.scalar(code)
    }

    /// The types of the parameters and of the result of `signature`, which is in terms of this function's parameters.
    pub fn concrete<'s>(
        &'s self,
        signature: &Signature<'s>,
    ) -> (impl ExactSizeIterator<Item = Option<Scalar>> + 's, Option<Scalar>) {
        let params = signature.params.iter().map(|&code| self.scalar(code));
        (params, self.scalar(signature.result))
    }

    /// Whether `other` has the signature that this instance states for a callee.
    pub fn agrees(&self, callee: &Callee<'_>, other: &FunctionInstance<'_, '_>) -> bool {
        let (expected, expected_result) = self.concrete(&callee.signature);
        let theirs = other.body().signature();
        let (found, found_result) = other.concrete(&theirs);
        expected_result == found_result && expected.eq(found)
    }
}

/// The first operation or local that is not defined for `argument` in the place of `parameter`.
#[cold]
fn refusal(body: &Function<'_>, parameter: u8, argument: Argument) -> IrError {
    let code = ValueType::Parameter(parameter).code();
    let found = body.instructions().enumerate().find_map(|(index, instruction)| {
        let instruction = instruction.filter(|instruction| instruction.type_code == code)?;
        let refused = instruction.opcode.types().is_some_and(|types| !types.has(argument));
        refused.then(|| (body.offset(index), Some(instruction.opcode)))
    });
    let local = || body.codes.iter().position(|&found| found == code).unwrap_or(0);
    let (at, opcode) = found.unwrap_or_else(|| (body.place(body.codes, local()), None));
    IrError::Argument { at, opcode, parameter, argument }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::super::builder::FunctionBuilder;
    use super::super::error::Part;
    use super::super::instruction::NONE;
    use super::super::opcode::{Binary, Condition, Opcode};
    use super::super::text::parse;
    use super::*;

    /// Two type parameters, and a local of each type, by the order of [`LOCALS`].
    fn fault(of: impl FnOnce(&mut FunctionBuilder, &[super::super::Local])) -> Option<IrError> {
        let mut body = FunctionBuilder::new(2, None);
        let locals: Vec<_> =
            LOCALS.iter().map(|&code| body.local(ValueType::from_code(code).unwrap())).collect();
        of(&mut body, &locals);
        body.return_none();
        let bytes = body.finish().unwrap();
        Verified::new(Function::parse(&bytes).unwrap()).err()
    }

    const I64: usize = 0;
    const U64: usize = 1;
    const F64: usize = 2;
    const BOOL: usize = 3;
    const POINTER: usize = 4;
    const T0: usize = 5;
    const T1: usize = 6;
    const LOCALS: [u8; 7] = [4, 8, 0x0a, 0x0b, 0x0c, 0x40, 0x41];

    fn plain(opcode: Opcode, type_code: u8, fields: [u16; 3], imm: i32) -> Instruction {
        let [a, b, c] = fields;
        Instruction { opcode, immediate: false, type_code, a, b, c, imm }
    }

    #[test]
    fn types_of_locals_must_be_those_of_operations() {
        let at = 40;
        let ty = |index: usize| ValueType::from_code(LOCALS[index]).unwrap();
        for (one, other) in [(I64, U64), (I64, T0), (T0, T1), (POINTER, U64), (F64, I64)] {
            let found = fault(|body, l| body.copy(ty(one), l[one], l[other]));
            let expected = ty(one);
            let (local, found_type) = (other as u16, ty(other));
            let error = IrError::LocalType { at, local, found: found_type, expected };
            assert_eq!(found, Some(error));
        }
        let index = fault(|body, l| body.load_element(ty(T0), l[T0], l[POINTER], Some(l[T0]), 0));
        let found = ty(T0);
        assert_eq!(index, Some(IrError::NotIndex { at, local: 5, found }));
        let base = fault(|body, l| body.store(ty(I64), l[I64], l[U64], 0));
        let expected = ty(POINTER);
        let error = IrError::LocalType { at, local: 1, found: ty(U64), expected };
        assert_eq!(base, Some(error));
        let size = fault(|body, l| body.size_of(ty(T0), l[POINTER]));
        assert_eq!(size, Some(IrError::NotIndex { at, local: 4, found: ty(POINTER) }));
    }

    #[test]
    fn operations_need_a_meaning_for_their_type() {
        let ty = |index: usize| ValueType::from_code(LOCALS[index]).unwrap();
        let binary = |operation, at: usize| {
            fault(|body, l| body.binary(operation, ty(at), l[at], l[at], l[at])).is_some()
        };
        for operation in Binary::ALL.iter().copied() {
            for index in [I64, U64, F64, BOOL, POINTER] {
                let ValueType::Scalar(scalar) = ty(index) else { continue };
                let has_meaning = operation.types().has(scalar.into());
                assert_eq!(binary(operation, index), !has_meaning, "{operation:?} {scalar}");
            }
            assert!(!binary(operation, T0) && !binary(operation, T1));
        }
        let order = |condition| {
            fault(|body, l| body.compare(condition, ty(BOOL), l[BOOL], l[BOOL], l[BOOL]))
        };
        assert_eq!(order(Condition::Equal), None);
        let less = Opcode::Compare(Condition::Less);
        let error = IrError::NoMeaning { at: 40, opcode: less, ty: ty(BOOL) };
        assert_eq!(order(Condition::Less), Some(error));
    }

    #[test]
    fn fields_must_refer_to_something_and_be_empty_otherwise() {
        let at = 40;
        let pushed = |instruction| fault(|body, _| body.push(instruction));
        let none = |part, index| Some(IrError::Index { at, part, index });
        assert_eq!(pushed(plain(Opcode::Move, 4, [0, 7, 0], 0)), none(Part::Locals, 7));
        assert_eq!(pushed(plain(Opcode::WideConstant, 4, [0; 3], 0)), none(Part::Constants, 0));
        assert_eq!(pushed(plain(Opcode::Call, 0, [NONE, 3, 0], 0)), none(Part::Callees, 3));
        assert_eq!(
            pushed(plain(Opcode::Move, 0x42, [0; 3], 0)),
            Some(IrError::TypeCode { at, code: 0x42 })
        );
        assert_eq!(
            pushed(plain(Opcode::Move, 0, [0; 3], 0)),
            Some(IrError::TypeCode { at, code: 0 })
        );
        for instruction in [
            plain(Opcode::Move, 4, [0, 0, 1], 0),
            plain(Opcode::Move, 4, [0, 0, 0], 1),
            plain(Opcode::Constant, 4, [0, 1, 0], 1),
            plain(Opcode::Load, 4, [0, 4, 1], 1),
            plain(Opcode::Binary(Binary::Add), 4, [0, 0, 0], 1),
            plain(Opcode::Trap, 4, [0, 0, 0], 1),
            plain(Opcode::Trap, 0, [1, 0, 0], 1),
            Instruction { immediate: true, ..plain(Opcode::Binary(Binary::Add), 4, [0, 0, 1], 1) },
        ] {
            let opcode = instruction.opcode;
            assert_eq!(pushed(instruction), Some(IrError::Unused { at, opcode }));
        }
        let number = fault(|body, l| body.constant(Scalar::Bool, l[BOOL], 2));
        let ty = Scalar::Bool.into();
        assert_eq!(number, Some(IrError::Number { at, number: 2, ty }));
        let wide = fault(|body, l| body.wide_constant(Scalar::Bool, l[BOOL], 2));
        assert_eq!(wide, Some(IrError::Number { at: 48, number: 2, ty }));
        let parameter = plain(Opcode::WideConstant, 0x40, [T0 as u16, 0, 0], 0);
        assert_eq!(pushed(parameter), Some(IrError::WideParameter { at }));
    }

    /// What is wrong in a template with one statement; line 1 is the template's.
    fn in_text(lines: &str) -> Option<IrError> {
        let text = std::format!("template t<T>(a: T, n: i64) -> i64\n{lines}\nend");
        match parse(&text) {
            Ok(_) => None,
            Err(error) => match error.kind {
                super::super::text::TextErrorKind::Verify(fault) => Some(fault),
                other => panic!("{other:?}"),
            },
        }
    }

    #[test]
    fn control_ends_in_a_return() {
        assert_eq!(in_text("return i64 n"), None);
        assert_eq!(in_text("trap 7"), None);
        assert_eq!(in_text("l:\njump l"), None);
        assert_eq!(in_text("move i64 n, n"), Some(IrError::FallsOff { at: 40 }));
        assert_eq!(in_text("l:\nbr_eq i64 n, 0, l"), Some(IrError::FallsOff { at: 40 }));
        assert_eq!(in_text(""), Some(IrError::FallsOff { at: 40 }));
        let expected = Some(Scalar::I64.into());
        assert_eq!(in_text("return T a"), Some(IrError::Result { at: 40, expected }));
        assert_eq!(in_text("return_none"), Some(IrError::Result { at: 40, expected }));
        let mut endless = parse("template t()\nl:\njump l\nend").unwrap().remove(0).body;
        for target in [1, u32::MAX] {
            endless[48..52].copy_from_slice(&target.to_le_bytes());
            let part = Part::Instructions;
            let error = IrError::Index { at: 40, part, index: target };
            assert_eq!(Verified::new(Function::parse(&endless).unwrap()).err(), Some(error));
        }
    }

    #[test]
    fn callees_are_checked_where_they_stand() {
        let text = "template t<T>(a: T) -> T\ncall a = f<P<T>, i8>(a)\nreturn T a\nend";
        let good = parse(text).unwrap().remove(0).body;
        let fault = |place: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[place] = byte;
            Verified::new(Function::parse(&bytes).unwrap()).err()
        };
        // Callee at 64, types at 76, operands at 88, codes at 90, strings at 92.
        assert_eq!(good.len(), 96);
        let part = Part::Types;
        assert_eq!(fault(66, 2), Some(IrError::CalleeKind { at: 64, kind: 2 }));
        assert_eq!(fault(66, 1), Some(IrError::HostTypes { at: 64 }));
        assert_eq!(fault(64, 1), Some(IrError::Name { at: 64 }));
        assert_eq!(fault(64, 200), Some(IrError::Name { at: 64 }));
        assert_eq!(fault(92, 0xff), Some(IrError::Name { at: 64 }));
        assert_eq!(fault(95, b'x'), Some(IrError::Index { at: 64, part, index: 0 }));
        assert_eq!(fault(68, 3), Some(IrError::Index { at: 64, part, index: 0 }));
        assert_eq!(fault(70, 1), Some(IrError::Index { at: 64, part, index: 1 }));
        assert_eq!(fault(80, 0x41), Some(IrError::TypeCode { at: 64, code: 0x41 }));
        assert_eq!(fault(69, 2), Some(IrError::Index { at: 64, part: Part::Codes, index: 1 }));
        assert_eq!(fault(67, 0), Some(IrError::CallResult { at: 40 }));
        assert!(matches!(fault(67, 4), Some(IrError::LocalType { at: 40, .. })));
        assert!(matches!(fault(91, 4), Some(IrError::LocalType { at: 40, .. })));
        assert_eq!(fault(88, 9), Some(IrError::Index { at: 40, part: Part::Locals, index: 9 }));
        let missing = Some(IrError::Index { at: 40, part: Part::Operands, index: 1 });
        assert_eq!(fault(48, 1), missing);
    }

    #[test]
    fn an_instance_needs_arguments_that_all_operations_have_a_meaning_for() {
        let text = "template t<T, U, V>(a: T, b: U) -> T\nadd T a, a, 1\nshl T a, a, a\n\
                    call f<V>()\nreturn T a\nend";
        let templates = parse(text).unwrap();
        let verified = Verified::new(Function::parse(&templates[0].body).unwrap()).unwrap();
        assert_eq!(verified.allowed(), [TypeSet::INTEGERS, TypeSet::SCALARS, TypeSet::ANY]);
        let instance =
            |arguments: &[Argument]| verified.instance(Arguments::new(arguments).unwrap()).err();
        let kept = VerifiedTemplate::new(&templates[0].body).unwrap();
        assert_eq!(kept.bytes(), templates[0].body);
        let (int, float) = (Argument::Scalar(Scalar::U8), Argument::Scalar(Scalar::F32));
        let good = Arguments::new(&[int, float, int]).unwrap();
        assert_eq!(kept.instance(good).unwrap().arguments(), &good);
        let bad = Arguments::new(&[float, int, int]).unwrap();
        assert_eq!(kept.instance(bad).err(), verified.instance(bad).err());
        assert_eq!(instance(&[int, float, Argument::Named]), None);
        let (given, expected) = (2, 3);
        assert_eq!(instance(&[int, int]), Some(IrError::Arguments { given, expected }));
        let refused = |at, opcode, parameter, argument| {
            Some(IrError::Argument { at, opcode, parameter, argument })
        };
        let shift = Some(Opcode::Binary(Binary::ShiftLeft));
        assert_eq!(instance(&[float, int, int]), refused(52, shift, 0, float));
        let named = Argument::Named;
        let codes = 40 + 4 * 12 + 12 + 4;
        assert_eq!(instance(&[int, named, int]), refused(codes + 1, None, 1, named));
    }

    #[test]
    fn callees_agree_where_the_scalars_are_the_same() {
        let text = "template caller<T>(a: T) -> T\ncall a = callee<T>(a)\nreturn T a\nend\n\
                    template callee<U>(a: U) -> i64\nlocal n: i64\nreturn i64 n\nend";
        let templates = parse(text).unwrap();
        let [caller, callee] = [0, 1].map(|index: usize| {
            Verified::new(Function::parse(&templates[index].body).unwrap()).unwrap()
        });
        let one = |scalar: Scalar| Arguments::new(&[scalar.into()]).unwrap();
        let agree = |callers: Scalar, callees: Scalar| {
            let (from, to) = (caller.instance(one(callers)), callee.instance(one(callees)));
            let expected = caller.body().callee(0).unwrap();
            from.unwrap().agrees(&expected, &to.unwrap())
        };
        assert!(agree(Scalar::I64, Scalar::I64));
        assert!(!agree(Scalar::I64, Scalar::U64));
        assert!(!agree(Scalar::U8, Scalar::U8));
    }
}

//! Compiles functions of a verified program: verifier, translation to IR and code generator, one behind the other.

use super::error::CodeError;
use crate::bytecode::translate::abi::Context;
use crate::bytecode::translate::{Entry, Translator};
use crate::bytecode::verify::{Fault, Program, Verifier};
use crate::codegen::lowering::Machine;
use crate::codegen::x64::X64;
use crate::codegen::{self, CompiledFunction, Options, TrapConvention};
use crate::ir::{Arguments, Function, IrError, Verified};

/// Compiles functions of bytecode for a machine. Its memory is reused.
///
/// ```
/// use smf_core::bytecode::{text::assemble, verify::{FunctionCode, Verifier}};
/// use smf_core::vm::X64Compiler;
///
/// let functions = assemble("function one, 0, 0\nCONST_I64 0, 1\nRET 0")?;
/// let code = FunctionCode { code: &functions[0].code, params: 0, locals: 0 };
/// let program = Verifier::new().verify(vec![code])?;
/// let mut compiler = X64Compiler::new();
/// let compiled = compiler.function(&program, 0)?;
/// assert!(compiled.code_size > 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[expect(private_bounds, reason = "the machines are those of this crate")]
pub struct Compiler<M: Machine> {
    verifier: Verifier,
    translator: Translator,
    codegen: codegen::Compiler<M>,
    records_source_map: bool,
}

/// Compiles functions of bytecode for x86-64.
pub type X64Compiler = Compiler<X64>;

impl<M: Machine> Default for Compiler<M> {
    fn default() -> Self {
        Self {
            verifier: Verifier::new(),
            translator: Translator::new(),
            codegen: codegen::Compiler::new(),
            records_source_map: false,
        }
    }
}

#[expect(private_bounds, reason = "the machines are those of this crate")]
impl<M: Machine> Compiler<M> {
    /// A compiler that has allocated nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets whether [`CompiledFunction::source_map`] is recorded. Its instructions are offsets in the bytecode.
    pub fn record_source_map(&mut self, record: bool) {
        self.records_source_map = record;
        self.translator.record_source_map(record);
    }

    /// Compiles function `index` of `program`.
    ///
    /// # Errors
    /// [`CodeError::NoFunction`]; [`CodeError::Translate`] and [`CodeError::Codegen`] for a function that exceeds a
    /// limit; no memory.
    pub fn function(
        &mut self,
        program: &Program<'_>,
        index: u32,
    ) -> Result<CompiledFunction<'_>, CodeError> {
        self.compile(program, index, Entry::Call)
    }

    /// Compiles the on-stack replacement of function `index` of `program` that is entered at the loop head at offset
    /// `at`.
    ///
    /// # Errors
    /// As [`function`](Self::function), and where no loop starts there.
    pub fn replacement(
        &mut self,
        program: &Program<'_>,
        index: u32,
        at: u32,
    ) -> Result<CompiledFunction<'_>, CodeError> {
        self.compile(program, index, Entry::LoopHead(at))
    }

    fn compile(
        &mut self,
        program: &Program<'_>,
        index: u32,
        entry: Entry,
    ) -> Result<CompiledFunction<'_>, CodeError> {
        let facts = self.verifier.facts(program, index).map_err(|fault| match fault {
            Fault::OutOfMemory => CodeError::OutOfMemory,
            Fault::Objects => CodeError::Objects { index },
            // The program has been verified.
            _ => CodeError::NoFunction { index },
        })?;
        let refused = |error| CodeError::of_translation(index, error);
        let bytes = self.translator.function(program, &facts, entry).map_err(refused)?;
        let malformed = |error: IrError| refused(error.into());
        let verified = Function::parse(bytes).and_then(Verified::trusted).map_err(malformed)?;
        let instance = verified.instance(Arguments::NONE).map_err(malformed)?;
        let options = Options {
            traps: TrapConvention::Context { handler_offset: Context::TRAP_HANDLER },
            tag: index,
            own_function: Some(index),
            // It is called through the table of functions.
            landing_pad: true,
            source_map: self.records_source_map,
            ..Options::default()
        };
        let compiled = self.codegen.compile(&instance, &options);
        compiled.map_err(|error| CodeError::of_codegen(index, error))
    }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;
    use crate::bytecode::instruction::Instruction as I;
    use crate::bytecode::testing::{code, function};
    use crate::bytecode::translate::TranslateError;

    #[test]
    fn compiler_that_is_used_again_makes_the_same_code() {
        let loops = code(&[
            I::LoadPush { local: 0 },
            I::ConstI64Push { value: 1 },
            I::SubI64,
            I::PopStore { local: 0 },
            I::LoadPush { local: 0 },
            I::ConstI64Push { value: 9 },
            I::LtJmpIfNot { offset: 0 },
            I::RetVoid,
        ]);
        let calls =
            code(&[I::LoadPush { local: 0 }, I::Call { function: 0, argc: 1 }, I::Ret { src: 0 }]);
        let program =
            Verifier::new().verify(vec![function(&loops, 1, 1), function(&calls, 1, 1)]).unwrap();
        let mut compiler = X64Compiler::new();
        for _ in 0..2 {
            for index in [0, 1] {
                let again = compiler.function(&program, index).unwrap();
                let mut fresh = X64Compiler::new();
                let compiled = fresh.function(&program, index).unwrap();
                assert_eq!(again.bytes, compiled.bytes);
                assert!(compiled.relocations.is_empty() && compiled.source_map.is_empty());
            }
            assert!(!compiler.replacement(&program, 0, 0).unwrap().bytes.is_empty());
        }
        let none = CodeError::NoFunction { index: 2 };
        assert_eq!(compiler.function(&program, 2).err(), Some(none));
        let none = CodeError::Translate { index: 0, error: TranslateError::NoLoop { at: 4 } };
        assert_eq!(compiler.replacement(&program, 0, 4).err(), Some(none));
    }

    #[test]
    fn function_beyond_a_limit_is_named() {
        let mut callee = vec![I::LoadPush { local: 0 }; 65];
        callee.extend([I::Call { function: 0, argc: 65 }, I::Ret { src: 0 }]);
        let (many, one) = (code(&callee), code(&[I::RetVoid]));
        let functions = vec![function(&many, 65, 65), function(&one, 0, 0), function(&many, 1, 1)];
        let program = Verifier::new().verify(functions).unwrap();
        let error = X64Compiler::new().function(&program, 2).map(drop).unwrap_err();
        let expected = "function 2 cannot be compiled: 65 arguments of a call, and the limit is 64";
        assert_eq!(std::format!("{error}"), expected);
    }

    #[test]
    fn source_map_names_offsets_of_the_bytecode() {
        let sum = code(&[
            I::LoadPush { local: 0 },
            I::ConstI64Push { value: 7 },
            I::DivI64,
            I::Ret { src: 0 },
        ]);
        let program = Verifier::new().verify(vec![function(&sum, 1, 1)]).unwrap();
        let mut compiler = X64Compiler::new();
        compiler.record_source_map(true);
        let compiled = compiler.function(&program, 0).unwrap();
        assert!(compiled.source_map.is_sorted_by_key(|location| location.offset));
        assert!(compiled.source_map.iter().any(|location| location.line == 14));
    }
}

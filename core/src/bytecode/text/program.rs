//! The functions and constants of a source, and the module that they become.

use alloc::vec::Vec;

use crate::format::Flags;
use crate::format::constants::Constant;
use crate::format::write::WriteError;
use crate::format::write::bytecode::{NewFunction, write_program};

/// A function of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assembled {
    /// Its name; not necessarily UTF-8, and without a NUL.
    pub name: Vec<u8>,
    /// How many arguments it takes.
    pub params: u16,
    /// How many locals it has, the arguments among them.
    pub locals: u16,
    /// Its code.
    pub code: Vec<u8>,
}

/// A constant of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AssembledConstant {
    /// An integer.
    I64(i64),
    /// The bits of a float.
    F64(u64),
    /// A truth value.
    Bool(bool),
    /// No information.
    Nil,
    /// A string; not necessarily UTF-8, and without a NUL.
    Text(Vec<u8>),
}

impl AssembledConstant {
    /// The constant as the pool of a module contains it.
    pub fn as_constant(&self) -> Constant<'_> {
        match self {
            AssembledConstant::I64(value) => Constant::I64(*value),
            AssembledConstant::F64(bits) => Constant::F64(*bits),
            AssembledConstant::Bool(value) => Constant::Bool(*value),
            AssembledConstant::Nil => Constant::Nil,
            AssembledConstant::Text(text) => Constant::Text(text),
        }
    }
}

/// The functions and the constants of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AssembledProgram {
    /// The functions, in their order.
    pub functions: Vec<Assembled>,
    /// The constants, in their order.
    pub constants: Vec<AssembledConstant>,
}

impl AssembledProgram {
    /// A module of the program, as [`write_program`] makes it.
    ///
    /// # Errors
    /// As there.
    pub fn to_module(&self, flags: Flags) -> Result<Vec<u8>, WriteError> {
        let constants = self.constants.iter().map(AssembledConstant::as_constant);
        write_assembled(&self.functions, &constants.collect::<Vec<_>>(), flags)
    }
}

/// A module of these functions, without a constant pool.
///
/// # Errors
/// As [`write_program`].
pub fn write_module(functions: &[Assembled], flags: Flags) -> Result<Vec<u8>, WriteError> {
    write_assembled(functions, &[], flags)
}

fn write_assembled(
    functions: &[Assembled],
    constants: &[Constant<'_>],
    flags: Flags,
) -> Result<Vec<u8>, WriteError> {
    let functions = functions.iter().map(|function| NewFunction {
        name: &function.name,
        params: function.params,
        locals: function.locals,
        code: &function.code,
    });
    write_program(&functions.collect::<Vec<_>>(), constants, flags)
}

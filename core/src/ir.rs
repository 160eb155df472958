//! Intermediate representation: generic functions that compile for any type arguments.
//!
//! A [`Function`] is the body of a template. Its operations are typed, by one of twelve scalars or by a type
//! parameter of the template, and work on typed locals. A [`FunctionInstance`] is a function together with
//! an argument for each type parameter. From bytes to code:
//!
//! 1. [`function_of`] finds the function in a container's template, and [`Function::parse`] splits it into
//!    tables;
//! 2. [`Verified::new`] verifies it once for all instances and derives the permitted arguments of each
//!    parameter ([`VerifiedTemplate`] is the owned form);
//! 3. [`Verified::instance`] checks the arguments, in constant time for each;
//! 4. a [`Compiler`](crate::codegen::Compiler) of the code generator compiles an instance; [`interpret()`] interprets it.
//!
//! [`FunctionBuilder`] builds functions, [`text`] prints and parses them.
//!
//! **Trust.** The verifier guarantees that an instance follows the semantics of its instructions, that control
//! stays inside the function, and that callees get arguments of their parameter types. It does not check
//! memory accesses or recursion depth: to run a function is to run machine code of the module.
//!
//! # The format, version 1
//!
//! All numbers are little-endian and unaligned. Offsets in errors count from the first byte of the
//! function. Unused fields must be 0.
//!
//! | offset | type | field |
//! |---|---|---|
//! | 0 | 4 B | magic `SMTB` |
//! | 4 | u32 | length of the whole body in bytes, the header included: what to skip, in any version |
//! | 8 | u16 | version: 1 |
//! | 10 | u16 | flags: none yet; a reader refuses those it does not know |
//! | 12 | u8 | number of type parameters, at most 64 |
//! | 13 | u8 | type code of the result; 0 when there is none |
//! | 14 | u16 | number of parameters |
//! | 16 | u16 | number of locals, parameters included, at most 65,535 |
//! | 18 | u16 | number of callees |
//! | 20 | u16 | number of type entries |
//! | 22 | u16 | bytes of strings |
//! | 24 | u32 | number of operands |
//! | 28 | u32 | number of type codes |
//! | 32 | u32 | number of constants |
//! | 36 | u32 | number of instructions |
//! | 40 | | the tables, without gaps, to the last byte of the body |
//!
//! | table, in this order | entry |
//! |---|---|
//! | constants | 8 B: the bits of a value, those above its width 0 |
//! | instructions | 12 B, see below; targets of jumps are numbers of instructions |
//! | callees | 12 B, see below |
//! | type entries | 4 B, see below |
//! | operands | u16: a local that a call hands over |
//! | type codes | u8: first those of the locals, parameters first; then those of callees' parameters |
//! | strings | UTF-8, each ended by a NUL, at most 1,023 bytes without it |
//!
//! ## Types
//!
//! | code | type | | code | type | | code | type |
//! |---|---|---|---|---|---|---|---|
//! | 01 | i8 | | 05 | u8 | | 09 | f32 |
//! | 02 | i16 | | 06 | u16 | | 0a | f64 |
//! | 03 | i32 | | 07 | u32 | | 0b | bool: 0 or 1 |
//! | 04 | i64 | | 08 | u64 | | 0c | ptr: an address of 64 bits |
//! | 40 + i | parameter i | | | | | | |
//!
//! Two locals are of one type when their codes are the same: a local of type `i64` is none of type
//! `T`, whatever `T` is in an instance.
//!
//! ## Instructions
//!
//! | offset | type | field |
//! |---|---|---|
//! | 0 | u8 | opcode; with 0x80 the second value is a number |
//! | 1 | u8 | type code T; 0 where the opcode names no type |
//! | 2, 4, 6 | u16 | a, b, c: locals, 0xffff for none |
//! | 8 | i32 | imm |
//!
//! | opcode | text | does | T |
//! |---|---|---|---|
//! | 01 | `const T a, imm` | a = the number imm | any |
//! | 02 | `const_wide T a, ..` | a = constant imm | a scalar |
//! | 03 | `move T a, b` | a = b | any |
//! | 04 | `size_of T a` | a (i64 or u64) = bytes of a T | any |
//! | 05 | `convert T a, S b` | a = b as T; c is the type code of b | any |
//! | 08, 09 | `neg` `not` `T a, b` | | number; integer, bool |
//! | 10 to 13 | `add sub mul div` `T a, b, c` | c is imm with 0x80 (then the field c is 0) | number |
//! | 14 | `rem` | | integer |
//! | 15 to 17 | `and or xor` | | integer, bool |
//! | 18, 19 | `shl shr` | | integer |
//! | 20, 21 | `eq ne` `T a, b, c` | a (bool) = whether it holds; imm as above | any |
//! | 22 to 25 | `lt le gt ge` | | all but bool |
//! | 30 to 35 | `br_eq` to `br_ge` `T a, b, L` | goes to imm; with 0x80, b is 0 and c an i16 in its place | as 20 to 25 |
//! | 38 | `jump L` | goes to imm | |
//! | 39, 3a | `br_true` `br_false` `a, L` | goes to imm | |
//! | 40, 41 | `load T a, b + imm`, `store T a, b + imm` | at address b + imm | any |
//! | 42, 43 | `load_element T a, b[c + imm]`, `store_element` | at b + (c + imm) * size of T; c (i64 or u64) may be none | any |
//! | 44 | `element T a, b[c + imm]` | a (ptr) = that address | any |
//! | 50 | `call a = ..` | callee b with operands from imm on; a may be none | |
//! | 51 | `return T a` | T is the result's | any |
//! | 52 | `return_none` | where there is no result | |
//! | 53 | `trap imm` | leaves with an error; imm is unsigned | |
//!
//! * Locals that are no parameters are 0 until they are set.
//! * Integers wrap; shifts count modulo the width; `shr` keeps the sign of signed types. `div` and `rem`
//!   by zero trap with code 1; the lowest number by -1 gives itself, and 0 as what is left.
//! * Floats are IEEE 754, rounded to nearest. Where one is no number, `ne` holds and nothing else.
//! * `convert` is Rust's `as`: integers wrap, floats are cut towards 0 and stop at the ends of integers,
//!   what is no number becomes 0. A pointer counts as u64; a bool becomes 0 or 1, and a number becomes
//!   true unless it is 0.
//! * A number in an instruction is converted to T: modulo the width for integers and pointers, the nearest
//!   float; for bool it is 0 or 1, and in a T that only an instance makes a bool, any number but 0 is 1.
//! * Memory is little-endian and need not be aligned. A bool is one byte; any but 0 is read as true.
//! * The last instruction is a jump, a return or a trap.
//!
//! ## Callees and type entries
//!
//! | offset | type | field of a callee |
//! |---|---|---|
//! | 0 | u16 | offset of its name in the strings |
//! | 2 | u8 | 0: an instance of the template with that name; 1: a function of the host with that symbol |
//! | 3 | u8 | type code of its result; 0 when there is none |
//! | 4 | u8 | number of type arguments; 0 for the host |
//! | 5 | u8 | number of parameters |
//! | 6 | u16 | number of its first type entry: where those of the callee before it end |
//! | 8 | u32 | number of its first type code: those of its parameters |
//!
//! | offset | type | field of a type entry |
//! |---|---|---|
//! | 0 | u8 | type code; 0xff for a type with a name |
//! | 1 | u8 | number of arguments of a type with a name: they are the entries behind it |
//! | 2 | u16 | offset of the name in the strings |
//!
//! The type arguments of `f<Pair<i64, T>, u8>` are four entries: `Pair` with two arguments, 04, 40, 05.
//!
//! ## Where bodies lie
//!
//! A body is what a container has as the code or body of a template. In the counted container each has its
//! length; in a GTPL, that of an only template stands behind its header, and those of several behind
//! all headers, as [`format::template`](crate::format::template) describes. Readers that do not know
//! the magic see the bytes that they have always left alone.

mod builder;
pub(crate) mod error;
pub(crate) mod function;
pub(crate) mod instruction;
pub(crate) mod interpret;
pub(crate) mod opcode;
pub mod text;
pub(crate) mod types;
pub(crate) mod verify;

pub use builder::{BuildError, Data, FunctionBuilder, Label, Local, Slot, TypeArgument, Value};
pub use error::{IrError, Part};
pub use function::{
    Callee, CalleeKind, DataEntry, Function, MAX_DATA_ALIGN, MAX_NAME, MAX_SLOT_ALIGN,
    MAX_SLOT_BYTES, Operands, Signature, SourceLocation, StackSlot, TypeEntry, function_of,
    is_function,
};
pub use instruction::{INSTRUCTION_SIZE, Instruction, NONE};
pub use interpret::{
    DIVISION_BY_ZERO, Host, Memory, OVERFLOW, ProgramHost, STACK_LIMIT, Stop, interpret,
};
pub use opcode::{Binary, Condition, Opcode, Unary};
pub use types::{Argument, Arguments, MAX_PARAMETERS, Scalar, TypeSet, ValueType};
pub use verify::{FunctionInstance, Verified, VerifiedTemplate};

#[cfg(test)]
mod tests;

//! The intermediate representation: typed three-address code that all front ends emit.
//!
//! A [`Function`] has typed locals (virtual registers) and a list of instructions of fixed size; it is not in SSA form.
//! Types are twelve scalars, and the type parameters of a template. A [`FunctionInstance`] is a function together with an
//! argument for each type parameter. From a front end or a file to code:
//!
//! 1. a [`FunctionBuilder`] builds a function, [`text`] parses it, or [`function_of`] finds it in a container's template;
//!    [`Function::parse`] splits its bytes into tables;
//! 2. [`Verified::new`] verifies it once for all instances and derives the permitted arguments of each type parameter
//!    ([`VerifiedTemplate`] owns the bytes); the output of the front ends of this library is not verified again;
//! 3. [`Verified::instance`] checks the arguments, in constant time for each;
//! 4. the code generator compiles an instance; [`interpret()`] interprets it, and is the reference for generated code.
//!
//! **Trust.** The verifier guarantees that an instance follows the semantics below, that control stays inside the
//! function, and that callees get arguments of their parameter types. It does not check memory accesses, addresses of
//! functions or the depth of recursion: to run a function from a file is to run machine code from that file.
//!
//! # Semantics
//!
//! **Values.** A local has one type for the whole function. A local that is not a parameter is 0 until it is set. Two
//! locals have the same type if their type codes are equal: an `i64` is not a `T`, even in an instance where `T` is `i64`.
//! Integers are two's complement; `bool` is 0 or 1; `ptr` is an address of 64 bits, which converts and compares as `u64`.
//!
//! **Immediate numbers** are converted to the type of the operation: modulo 2^width for integers and pointers, the nearest
//! value for floats. For `bool` the number must be 0 or 1; for a type parameter that is `bool` in an instance, every number
//! but 0 is 1.
//!
//! **Memory** is little-endian and byte-addressed. Accesses need not be aligned. A `bool` is one byte, and every byte but 0
//! loads as 1. An access to an address without memory is undefined behaviour of the program, as is a write to read-only
//! data, an access to a stack slot after its function has returned or made a tail call, and an indirect call of an address
//! without a function of the stated signature.
//!
//! **Traps** leave the function and all its callers up to the host, with a code and the location of the instruction. Codes
//! 1 (division by zero), 2 (overflow) and 3 (stack limit) are those of the operations below; front ends choose others.
//! Effects of earlier instructions on memory are complete, later ones have not begun.
//!
//! **Floats** are IEEE 754-2019 binary32 and binary64, rounded to nearest, ties to even, without exceptions. Results that
//! are NaN have unspecified sign and payload, but for `neg`, `abs`, `move`, `select`, loads and stores, which only change
//! or copy bits.
//!
//! ## Operations
//!
//! `T` ranges over the types in the last column: *any* scalar, *int*eger, *float*, *number* (integer or float), *bits*
//! (integer or bool), *ordered* (all but bool). `b|N` is a local or an immediate number.
//!
//! | code | text | semantics | T |
//! |---|---|---|---|
//! | 01 | `const T a, N` | a = N, the field imm | any |
//! | 02 | `const_wide T a, BITS` | a = constant imm, whose bits above the width are 0 | any, no parameter |
//! | 03 | `move T a, b` | a = b | any |
//! | 04 | `size_of T a` | a (i64 or u64) = the size of T in bytes | any |
//! | 05 | `convert T a, S b` | a = b converted from S, whose code is in the field c | any |
//! | 06 | `select T a, b, c, d` | a = c if b (bool) is 1, else d, in the field imm; version 2 | any |
//! | 08 | `neg T a, b` | a = -b; integers wrap; floats change their sign bit | number |
//! | 09 | `not T a, b` | a = the bitwise complement of b; of a bool, its negation | bits |
//! | 0a | `sqrt T a, b` | a = the square root of b, correctly rounded; version 2 | float |
//! | 0b | `abs T a, b` | a = b without its sign bit; version 2 | float |
//! | 10, 11, 12 | `add sub mul` `T a, b, c\|N` | integers wrap; floats round | number |
//! | 13 | `div T a, b, c\|N` | integers: rounded towards 0; by 0 traps with code 1; the lowest by -1 is the lowest | number |
//! | 14 | `rem T a, b, c\|N` | b - (b div c) * c, with the sign of b; by 0 traps with code 1; the lowest by -1 is 0 | int |
//! | 15, 16, 17 | `and or xor` `T a, b, c\|N` | bitwise | bits |
//! | 18, 19 | `shl shr` `T a, b, c\|N` | by c modulo the width; `shr` is arithmetic for signed types | int |
//! | 1a, 1b, 1c | `add_checked sub_checked mul_checked` `T a, b, c\|N` | the exact result; traps with code 2 if T does not have it; version 2 | int |
//! | 1d | `rotl T a, b, c\|N` | b rotated left by c modulo the width; version 2 | int |
//! | 20, 21 | `eq ne` `T a, b, c\|N` | a (bool) = whether it holds; NaN is unequal to everything | any |
//! | 22 to 25 | `lt le gt ge` `T a, b, c\|N` | a (bool) = whether it holds; never for NaN; pointers are unsigned | ordered |
//! | 30 to 35 | `br_eq` to `br_ge` `T a, b\|N, L` | jumps to L, the field imm, if it holds; N is in the field c, 16 bits | as 20 to 25 |
//! | 38 | `jump L` | jumps to L | |
//! | 39, 3a | `br_true` `br_false` `a, L` | jumps to L if a (bool) is 1, or 0 | |
//! | 40 | `load T a, b + N` | a = the T at address b + N, modulo 2^64; N is signed | any |
//! | 41 | `store T a, b + N` | the T at address b + N = a | any |
//! | 42, 43 | `load_element` `store_element` `T a, b[c + N]` | at address b + (c + N) * size of T, modulo 2^64; c (i64 or u64) may be missing | any |
//! | 44 | `element T a, b[c + N]` | a (ptr) = that address | any |
//! | 45 | `slot_address a, s + N` | a (ptr) = the address of byte N of stack slot s, N from 0 to its size; version 2 | |
//! | 46 | `data_address a, d + N` | a (ptr) = the address of byte N of read-only data d, N from 0 to its size; version 2 | |
//! | 47 | `function_address a, f` | a (ptr) = the address of callee f, which is not of kind 3; version 2 | |
//! | 48 | `copy_memory a, b, c\|N` | copies c bytes (i64 or u64, taken as unsigned) from address b to address a; if the regions overlap and a is not b, their bytes are unspecified afterwards; 0 bytes access nothing; version 2 | |
//! | 49 | `fill_memory a, b, c\|N` | sets c bytes from address a on to b (u8); 0 bytes access nothing; version 2 | |
//! | 4a | `check_stack a + N` | traps with code 3 if the frame of this function reaches below the address that is stored at a + N; may be ignored where the stack is checked otherwise; version 2 | |
//! | 50 | `call a = f(..)` | calls callee f, the field b, with the operands from imm on; a may be missing | |
//! | 51 | `return T a` | returns a; T is the type of the result | any |
//! | 52 | `return_none` | returns from a function without a result | |
//! | 53 | `trap CODE` | traps; CODE is unsigned, in the field imm | |
//! | 54 | `call_indirect a = c(..)` | calls the function at address c, which has the signature of callee b, of kind 3; version 2 | |
//! | 55 | `return_call f(..)` | as `call`, and returns its result; the frame of this function is released before the call; version 2 | |
//! | 56 | `return_call_indirect c(..)` | the same at address c; version 2 | |
//! | 60 to 65 | `trap_eq` to `trap_ge` `T a, b\|N, CODE` | traps with CODE if it holds; N is in the field c, 16 bits; version 2 | as 20 to 25 |
//! | 66, 67 | `trap_true` `trap_false` `a, CODE` | traps with CODE if a (bool) is 1, or 0; version 2 | |
//!
//! With 0x80 in its code, an operation takes the immediate number N: 10 to 1d and 20 to 25 in imm, with c = 0; 30 to 35 and
//! 60 to 65 in c, with b = 0; 48 and 49 in imm, with c = 0 and N not negative.
//!
//! `convert` is Rust's `as`: integers wrap or extend by the sign of the source type; floats are truncated towards 0 and
//! saturate at the limits of the integer, and NaN becomes 0; integers and wider floats round to the nearest float, ties to
//! even. A bool becomes 0 or 1, and a number becomes 1 unless it is 0; NaN becomes 1.
//!
//! The last instruction is one of `jump`, `return`, `return_none`, `trap`, `return_call` and `return_call_indirect`.
//!
//! # The binary form
//!
//! All numbers are little-endian and unaligned. Offsets in errors count from the first byte of the function. Unused
//! fields are 0. Version 1 lacks the fields, tables, kinds and operations that are marked with version 2; it is read in the
//! same way, and the builder writes it for a function that needs nothing of version 2.
//!
//! | offset | type | field |
//! |---|---|---|
//! | 0 | 4 B | magic `SMTB` |
//! | 4 | u32 | length of the whole function in bytes, header included: the distance to skip, in any version |
//! | 8 | u16 | version: 1 or 2 |
//! | 10 | u16 | flags: 0; a reader refuses flags that it does not know |
//! | 12 | u8 | number of type parameters, at most 64 |
//! | 13 | u8 | type code of the result; 0 if there is no result |
//! | 14 | u16 | number of parameters |
//! | 16 | u16 | number of locals, parameters included, at most 65,535 |
//! | 18 | u16 | number of callees |
//! | 20 | u16 | number of type entries |
//! | 22 | u16 | bytes of strings |
//! | 24 | u32 | number of operands |
//! | 28 | u32 | number of type codes |
//! | 32 | u32 | number of constants |
//! | 36 | u32 | number of instructions |
//! | 40 | u16 | version 2: number of stack slots |
//! | 42 | u16 | version 2: number of entries of read-only data |
//! | 44 | u32 | version 2: bytes of read-only data |
//! | 48 | u32 | version 2: number of source locations |
//! | 52 | u32 | version 2: reserved, 0 |
//! | 40 or 56 | | the tables, without gaps, to the last byte of the function |
//!
//! | table, in this order | entry |
//! |---|---|
//! | constants | 8 B: the bits of a value, those above its width 0 |
//! | instructions | 12 B, see below; targets of jumps are numbers of instructions |
//! | callees | 12 B, see below |
//! | type entries | 4 B, see below |
//! | operands | u16: a local that a call passes |
//! | type codes | u8: first those of the locals, parameters first; then those of callees' parameters |
//! | strings | UTF-8, each ended by a NUL, at most 1,023 bytes without it |
//! | stack slots | u32 size in bytes, u32 alignment: a power of two up to 16; together at most 1 MiB with the gaps for alignment |
//! | data | u32 offset in the data bytes, a multiple of the alignment, behind the end of the entry before; u32 size; u32 alignment: a power of two up to 4096, in a template up to 16 |
//! | source locations | u32 instruction, ascending; u32 line; u16 column, 0 if unknown; u16 offset of the file's name, 0xffff if unknown |
//! | data bytes | u8 |
//!
//! A source location holds from its instruction up to the next location. In functions from bytecode its line is the offset
//! of the bytecode instruction in its section.
//!
//! | type code | type | | type code | type | | type code | type |
//! |---|---|---|---|---|---|---|---|
//! | 01 | i8 | | 05 | u8 | | 09 | f32 |
//! | 02 | i16 | | 06 | u16 | | 0a | f64 |
//! | 03 | i32 | | 07 | u32 | | 0b | bool |
//! | 04 | i64 | | 08 | u64 | | 0c | ptr |
//! | 40 + i | parameter i | | | | | | |
//!
//! | offset | type | field of an instruction |
//! |---|---|---|
//! | 0 | u8 | opcode |
//! | 1 | u8 | type code T; 0 if the opcode names no type |
//! | 2, 4, 6 | u16 | a, b, c: locals in the order of the text unless stated otherwise; 0xffff for a missing result or index |
//! | 8 | i32 | imm |
//!
//! | offset | type | field of a callee |
//! |---|---|---|
//! | 0 | u16 | offset of its name in the strings; of kind 2, the lower half of the number of the function; of kind 3, 0 |
//! | 2 | u8 | 0: an instance of the template with the name; 1: the function of the host with the name as its symbol; 2: the function of the program with the number (version 2); 3: the function at an address (version 2) |
//! | 3 | u8 | type code of its result; 0 if there is no result |
//! | 4 | u8 | number of type arguments; 0 unless of kind 0 |
//! | 5 | u8 | number of parameters |
//! | 6 | u16 | number of its first type entry, where those of the callee before it end; of kind 2, the upper half of the number of the function; of kind 3, 0 |
//! | 8 | u32 | number of its first type code: those of its parameters |
//!
//! | offset | type | field of a type entry |
//! |---|---|---|
//! | 0 | u8 | type code; 0xff for a named type |
//! | 1 | u8 | number of arguments of a named type: they are the entries behind it |
//! | 2 | u16 | offset of the name in the strings |
//!
//! The type arguments of `f<Pair<i64, T>, u8>` are four entries: `Pair` with two arguments, 04, 40, 05.
//!
//! A container holds a function as the code or body of a template. In the counted container each body has a length; in a
//! GTPL, the body of an only template follows its header, and those of several follow all headers, as
//! [`format::template`](crate::format::template) describes. A reader that does not know the magic skips it.
//!
//! # Sources
//!
//! * IEEE Std 754-2019, clauses 4 (rounding), 5 (operations) and 6 (NaN).
//! * The Rust reference, *Operator expressions*: "Numeric cast" for `convert`, "Overflow" for shifts and division.
//! * The instruction set follows the integer and float operations of Cranelift's CLIF and WebAssembly 2.0 where those agree.

mod arguments;
mod builder;
pub(crate) mod error;
pub(crate) mod function;
pub(crate) mod instruction;
pub(crate) mod interpret;
pub(crate) mod opcode;
mod operand_kind;
pub mod text;
pub(crate) mod types;
pub(crate) mod verify;

pub use arguments::Arguments;
pub use builder::{
    BuildError, Data, FileName, FunctionBuilder, Label, Local, Slot, TypeArgument, Value,
};
pub use error::{IrError, Part};
#[cfg(feature = "kernel")]
pub(crate) use function::MAX_TEMPLATE_DATA_ALIGN;
pub use function::{
    Callee, CalleeKind, DataEntry, Function, MAX_DATA_ALIGN, MAX_NAME, MAX_SLOT_ALIGN,
    MAX_SLOT_BYTES, Operands, Signature, SourceLocation, StackSlot, TypeEntry, function_of,
    is_function,
};
pub(crate) use instruction::Access;
pub use instruction::{INSTRUCTION_SIZE, Instruction, NONE};
pub use interpret::{Host, Memory, ProgramHost, Stop, data_addresses, interpret};
pub use opcode::{Binary, Condition, Opcode, Unary};
pub use types::{Argument, MAX_PARAMETERS, Scalar, TypeSet, ValueType};
pub use verify::{FunctionInstance, Verified, VerifiedTemplate};

pub use crate::trap_code::{DIVISION_BY_ZERO, OVERFLOW, STACK_LIMIT, TrapCode};

#[cfg(test)]
mod tests;

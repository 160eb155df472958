//! The text form of IR functions: `.sir` for programs of functions, `.sbt` for templates.
//!
//! A statement is one line; `#` begins a comment. Both kinds of file have one grammar:
//!
//! ```text
//! template sum<T>(data: ptr, count: i64) -> T
//!     local i: i64
//!     local total: T
//!     local item: T
//! more:
//!     br_ge i64 i, count, done
//!     load_element T item, data[i]
//!     add T total, total, item
//!     add i64 i, i, 1
//!     jump more
//! done:
//!     return T total
//! end
//!
//! function digit(n: u64) -> u8
//!     data digits: "0123456789"
//!     local p: ptr
//!     local d: u8
//!     trap_ge u64 n, 10, 100
//!     data_address p, digits
//!     load_element u8 d, p[n]
//!     return u8 d
//! end
//! ```
//!
//! # Functions
//!
//! | line | meaning |
//! |---|---|
//! | `template NAME<T, U>(a: T, b: i64) -> T` | begins a template; its type parameters are types up to `end` |
//! | `function NAME(a: i64) -> i64` | begins a function of the program; functions are numbered in order from 0 |
//! | `end` | ends either |
//!
//! # Declarations
//!
//! They stand anywhere in a function, in front of their first use.
//!
//! | line | declares |
//! |---|---|
//! | `local NAME: TYPE` | another local, 0 until it is set |
//! | `slot NAME: BYTES`, `slot NAME align N: BYTES` | a stack slot, of alignment 8 unless stated |
//! | `data NAME: ITEMS`, `data NAME align N: ITEMS` | read-only data; its alignment is that of its largest type unless stated, at most 4096 and in a template 16 |
//! | `location LINE`, `location LINE:COLUMN`, either followed by `in FILE` | the source location from the next instruction on |
//! | `NAME:` | a label in front of the next instruction |
//!
//! Items of data are separated by commas. An item is a quoted text, or a scalar type followed by numbers:
//! `data d: i32 1 2 -3, "text\n", f64 1.5`.
//!
//! # Instructions
//!
//! `d` is the local that is set; `a`, `b`, `p` (an address), `c` (a bool) are read; `N` is a number. The operations are
//! those of the table in [`ir`](crate::ir).
//!
//! | statement | notes |
//! |---|---|
//! | `const T d, N` | a number that `T` has, or for an unsigned type that the signed one has; a wide constant where `T` is a scalar and 32 bits do not hold the number |
//! | `const_wide S d, 0xBITS` | the bits of a value of the scalar `S` |
//! | `move T d, a`; also `neg not sqrt abs` | |
//! | `size_of T d` | |
//! | `convert T d, S a` | from `S` to `T` |
//! | `add T d, a, b`; also `sub mul div rem and or xor shl shr rotl add_checked sub_checked mul_checked` | `b` is a local or a number |
//! | `lt T d, a, b`; also `eq ne le gt ge` | `d` is a bool; `b` is a local or a number |
//! | `select T d, c, a, b` | `a` where `c` is true, else `b` |
//! | `br_lt T a, b, LABEL`; also `br_eq br_ne br_le br_gt br_ge` | `b` is a local or a number of 16 bits |
//! | `jump LABEL`, `br_true c, LABEL`, `br_false c, LABEL` | |
//! | `trap CODE`, `trap_lt T a, b, CODE` (as `br_lt`), `trap_true c, CODE`, `trap_false c, CODE` | |
//! | `load T d, p + N`, `store T a, p - N` | `N` in bytes |
//! | `load_element T d, p[i + N]`, `store_element T a, p[N]`, `element T d, p[i]` | in elements |
//! | `slot_address d, SLOT + N`, `data_address d, DATA + N` | `N` in bytes |
//! | `copy_memory p, q, N`, `fill_memory p, a, N` | to `p`; `N` is a local or a number |
//! | `check_stack p + N` | |
//! | `return T a`, `return_none` | |
//!
//! # Calls
//!
//! | statement | calls |
//! |---|---|
//! | `call d = NAME(a, b)` | the function `NAME` of this text; in a template of a text without it, the instance `NAME<>` |
//! | `call d = NAME<TYPES>(a, b)` | the instance of a template for these types, which may be none |
//! | `call d = N(a, b)` | function `N` of the program |
//! | `call_host d = NAME(a, b)` | the function of the host with this symbol |
//! | `call_indirect d = p(a, b)` | the function at address `p` |
//! | `return_call NAME(a, b)`, `return_call_host NAME(a)`, `return_call_indirect p(a)` | the same as tail calls |
//! | `function_address d, NAME(TYPES) -> T`, `host_address d, NAME(TYPES) -> T` | sets `d` to the address of the callee |
//!
//! The callee has parameters of the types of the arguments, and a result of the type of `d`. Without `d =`, the
//! callee has no result, or one that is dropped and stated behind an arrow: `call NAME(a) -> T`.
//!
//! # Names, types, numbers
//!
//! A type is one of the twelve scalars, or a type parameter of the template. Among the types for a callee there may be
//! others, with arguments, nested to a depth of 64: `sort<Pair<T, i64>>(p)`. In quotation marks, the name of a scalar or of a
//! type parameter is that of such another type.
//!
//! A name consists of letters, digits, `_`, `.` and `$`, and does not begin with a digit. Any other name stands in
//! quotation marks, in which `\" \\ \n \r \t \0 \xNN` are escape sequences. Locals, labels, slots, data and functions have
//! name spaces of their own.
//!
//! Numbers are decimal, or hexadecimal behind `0x`. In hexadecimal, a constant of a float is stated by its bits, and one of a
//! signed integer may be.

mod error;
mod lexer;
mod parser;
mod print;
mod words;

pub use error::{TextError, TextErrorKind};
pub use parser::{ParsedFunction, parse};
pub(crate) use print::Quoted;
pub use print::{print, print_function};
pub(crate) use words::unescape;

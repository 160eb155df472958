//! The host of a program: memory, and functions that record their calls.
//!
//! A result depends on the function, its arguments, and the number of calls before it, so that a call that is lost,
//! repeated or moved changes the rest of the run.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::ptr;

use smf_core::ir::Scalar;

/// The offset of a count that programs with recursion decrement.
pub const FUEL: i32 = 0;

/// The offset of the address of the trap handler, which an engine may write. Programs do not access it.
pub const HANDLER: usize = 8;

/// The offset of the lowest permitted stack address, which is 0.
pub const STACK_END: i32 = 16;

/// The offset of the bytes that programs read and write.
pub const WINDOW: i32 = 32;

/// The number of these bytes.
pub const WINDOW_SIZE: usize = 512;

/// The function that prints a text, in [`FUNCTIONS`].
const PRINT_TEXT: usize = 23;

/// The calls that a program with recursion may make.
const CALLS: u64 = 20;

/// A call of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostCall {
    /// The number of the function in [`FUNCTIONS`].
    pub function: usize,
    /// The bits of the arguments. All NaN are one, and addresses count from the start of the memory.
    pub args: Vec<u64>,
}

/// A function of the host.
#[derive(Clone, Copy, Debug)]
pub struct HostFunction {
    /// Its symbol.
    pub name: &'static str,
    /// The types of its parameters.
    pub params: &'static [Scalar],
    /// The type of its result.
    pub result: Option<Scalar>,
    /// Its address: a function of these types in the C calling convention, which calls the current [`Host`].
    pub address: fn() -> u64,
}

impl HostFunction {
    /// The number of the function with this symbol.
    pub fn index(name: &str) -> Option<usize> {
        FUNCTIONS.iter().position(|function| function.name == name)
    }
}

/// Memory, and the calls so far.
#[derive(Debug)]
pub struct Host {
    words: Vec<u64>,
    calls: Vec<HostCall>,
}

thread_local! {
    static CURRENT: Cell<*mut Host> = const { Cell::new(ptr::null_mut()) };
}

impl Host {
    /// A host whose memory is filled from a seed.
    pub fn new(seed: u64) -> Self {
        let offset = usize::try_from(WINDOW).unwrap() / 8;
        let mut words = vec![0; offset + WINDOW_SIZE / 8];
        words[0] = CALLS;
        let mut state = seed;
        for word in &mut words[offset..] {
            state = mix(state, 1);
            // Half of the words are small numbers.
            *word = if state & 1 == 0 { state >> 60 } else { state };
        }
        Self { words, calls: Vec::new() }
    }

    /// A host with at least this many bytes of memory, which are 0.
    pub fn with_memory(bytes: usize) -> Self {
        Self { words: vec![0; bytes / 8 + WINDOW_SIZE], calls: Vec::new() }
    }

    /// The address of the memory.
    pub fn address(&self) -> u64 {
        self.words.as_ptr() as u64
    }

    /// The memory from offset 0.
    pub fn memory(&mut self) -> &mut [u8] {
        let bytes = self.words.len() * 8;
        // SAFETY: the words are initialised and are these bytes; a byte has no alignment.
        unsafe { std::slice::from_raw_parts_mut(self.words.as_mut_ptr().cast(), bytes) }
    }

    /// Writes the address of a trap handler.
    pub fn set_handler(&mut self, address: u64) {
        self.words[HANDLER / 8] = address;
    }

    /// The calls and the bytes that programs read and write, in this order.
    pub fn finish(mut self) -> (Vec<HostCall>, Vec<u8>) {
        let window = usize::try_from(WINDOW).unwrap();
        let memory = self.memory()[window..].to_vec();
        (self.calls, memory)
    }

    /// Runs `call` with this host as the one that the functions of [`FUNCTIONS`] call.
    pub fn serve<T>(&mut self, call: impl FnOnce() -> T) -> T {
        let previous = CURRENT.replace(ptr::from_mut(self));
        let result = call();
        CURRENT.set(previous);
        result
    }

    /// Calls a function with these bits, and returns those of its result.
    pub fn call(&mut self, function: usize, args: &[u64]) -> u64 {
        let HostFunction { params, result, .. } = FUNCTIONS[function];
        let base = self.address();
        let recorded = |(&bits, &scalar): (&u64, &Scalar)| match scalar {
            // Each engine has the texts of a program elsewhere.
            Scalar::Pointer if function == PRINT_TEXT => 0,
            Scalar::Pointer => bits.wrapping_sub(base),
            _ => canonical(bits, Some(scalar)),
        };
        let args: Vec<u64> = args.iter().zip(params).map(recorded).collect();
        let start = mix(self.calls.len() as u64, function as u64);
        let hash = args.iter().fold(start, |hash, &arg| mix(hash, arg));
        if let ([Scalar::Pointer, ..], [offset, ..]) = (params, &args[..]) {
            self.poke(*offset, hash);
        }
        self.calls.push(HostCall { function, args });
        match result {
            None => 0,
            Some(Scalar::F32) => ((hash >> 54) as f32 / 8.0).to_bits().into(),
            Some(Scalar::F64) => ((hash >> 54) as f64 / 8.0).to_bits(),
            Some(Scalar::Bool) => hash >> 63,
            Some(scalar) => (hash >> 32) & (u64::MAX >> (64 - scalar.bits())),
        }
    }

    /// Changes the word at an offset inside the window.
    fn poke(&mut self, offset: u64, value: u64) {
        let window = u64::try_from(WINDOW).unwrap()..u64::try_from(self.words.len() * 8).unwrap();
        if window.contains(&offset) {
            self.words[usize::try_from(offset).unwrap() / 8] = value;
        }
    }
}

/// The bits of a value, the same for all NaN.
pub fn canonical(bits: u64, scalar: Option<Scalar>) -> u64 {
    match scalar {
        Some(Scalar::F32) if f32::from_bits(bits as u32).is_nan() => f32::NAN.to_bits().into(),
        Some(Scalar::F64) if f64::from_bits(bits).is_nan() => f64::NAN.to_bits(),
        _ => bits,
    }
}

fn mix(hash: u64, value: u64) -> u64 {
    let hash =
        (hash ^ value).wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (hash ^ hash >> 29).wrapping_mul(0x94d0_49bb_1331_11eb) ^ hash >> 32
}

/// Records a call by machine code.
fn serve(function: usize, args: &[u64]) -> u64 {
    // SAFETY: `Host::serve` set the pointer to a host that outlives the machine code, and does not use it meanwhile.
    let host =
        unsafe { CURRENT.get().as_mut() }.expect("machine code runs inside of `Host::serve`");
    host.call(function, args)
}

/// A type of the C calling convention as 64 bits.
trait Bits: Sized {
    fn to_word(self) -> u64;
    fn from_word(bits: u64) -> Self;
}

macro_rules! integer_bits {
    ($($type:ident $unsigned:ident,)*) => {
        $(impl Bits for $type {
            fn to_word(self) -> u64 {
                (self as $unsigned).into()
            }
            fn from_word(bits: u64) -> Self {
                bits as Self
            }
        })*
    };
}

integer_bits! { i8 u8, u8 u8, i16 u16, u16 u16, i32 u32, u32 u32, i64 u64, u64 u64, }

impl Bits for bool {
    fn to_word(self) -> u64 {
        self.into()
    }
    fn from_word(bits: u64) -> Self {
        bits != 0
    }
}

impl Bits for f32 {
    fn to_word(self) -> u64 {
        self.to_bits().into()
    }
    fn from_word(bits: u64) -> Self {
        Self::from_bits(bits as u32)
    }
}

impl Bits for f64 {
    fn to_word(self) -> u64 {
        self.to_bits()
    }
    fn from_word(bits: u64) -> Self {
        Self::from_bits(bits)
    }
}

impl Bits for () {
    fn to_word(self) -> u64 {
        0
    }
    fn from_word(_: u64) -> Self {}
}

macro_rules! functions {
    (@result) => { None };
    (@result $scalar:ident) => { Some(Scalar::$scalar) };
    ($($index:literal $name:ident($($arg:ident: $type:ident $scalar:ident),*) -> $result:ty $(, $result_scalar:ident)?;)*) => {
        $(
        /// The function of the host with this name.
        pub extern "C" fn $name($($arg: $type),*) -> $result {
            <$result as Bits>::from_word(serve($index, &[$($arg.to_word()),*]))
        })*

        /// The functions of the host.
        pub const FUNCTIONS: &[HostFunction] = &[$(HostFunction {
            name: stringify!($name),
            params: &[$(Scalar::$scalar),*],
            result: functions!(@result $($result_scalar)?),
            address: || $name as *const () as u64,
        },)*];
    };
}

functions! {
    0 host_word() -> i64, I64;
    1 host_half() -> i32, I32;
    2 host_real() -> f64, F64;
    3 host_step(a: i64 I64) -> i64, I64;
    4 host_small(a: i8 I8, b: u8 U8, c: i16 I16, d: u16 U16, e: bool Bool) -> u8, U8;
    5 host_mixed(a: f64 F64, b: i32 I32, c: f32 F32, d: u32 U32, e: f64 F64) -> f32, F32;
    6 host_many(
        a: i64 I64, b: f64 F64, c: u64 U64, d: f64 F64, e: i64 I64, f: f64 F64, g: i64 I64, h: f64 F64, i: i32 I32,
        j: f32 F32, k: i64 I64, l: f64 F64, m: u16 U16, n: f64 F64, o: i64 I64, p: f64 F64, q: i8 I8, r: f64 F64,
        s: f32 F32, t: u8 U8
    ) -> u64, U64;
    7 host_flag(a: u64 U64) -> bool, Bool;
    8 host_take(a: i64 I64, b: f32 F32) -> ();
    9 host_poke(a: u64 Pointer, b: i64 I64) -> i16, I16;
    10 host_args0() -> i64, I64;
    11 host_args1(a: i64 I64) -> i64, I64;
    12 host_args2(a: i64 I64, b: i64 I64) -> i64, I64;
    13 host_args3(a: i64 I64, b: i64 I64, c: i64 I64) -> i64, I64;
    14 host_args4(a: i64 I64, b: i64 I64, c: i64 I64, d: i64 I64) -> i64, I64;
    15 host_args5(a: i64 I64, b: i64 I64, c: i64 I64, d: i64 I64, e: i64 I64) -> i64, I64;
    16 host_args6(a: i64 I64, b: i64 I64, c: i64 I64, d: i64 I64, e: i64 I64, f: i64 I64) -> i64, I64;
    17 host_args7(
        a: i64 I64, b: i64 I64, c: i64 I64, d: i64 I64, e: i64 I64, f: i64 I64, g: i64 I64
    ) -> i64, I64;
    18 host_args8(
        a: i64 I64, b: i64 I64, c: i64 I64, d: i64 I64, e: i64 I64, f: i64 I64, g: i64 I64, h: i64 I64
    ) -> i64, I64;
    19 rt_print_i64(a: i64 I64) -> ();
    20 rt_print_u64(a: u64 U64) -> ();
    21 rt_print_f64(a: f64 F64) -> ();
    22 rt_print_bool(a: bool Bool) -> ();
    23 rt_print_text(a: u64 Pointer, len: i64 I64) -> ();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_listed_by_their_numbers_and_record_calls() {
        let called = || {
            let mut host = Host::new(1);
            for (index, function) in FUNCTIONS.iter().enumerate() {
                assert_eq!(HostFunction::index(function.name), Some(index));
                assert_eq!(function.name == "rt_print_text", index == PRINT_TEXT);
                host.call(index, &vec![1; function.params.len()]);
            }
            host
        };
        let mut host = called();
        let result = host.serve(|| host_step(5));
        assert_eq!(result.cast_unsigned(), called().call(3, &[5]));
        let (calls, memory) = host.finish();
        assert_eq!((calls.len(), memory.len()), (FUNCTIONS.len() + 1, WINDOW_SIZE));
    }
}

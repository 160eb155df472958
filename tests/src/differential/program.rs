//! A program: verified functions in IR that call each other by number.

use std::fmt;

use smf_core::ir::text::print;
use smf_core::ir::{
    Arguments, Function, FunctionInstance, Scalar, SourceLocation, VerifiedTemplate,
};

/// The functions of a program, of which one is called from outside.
#[derive(Debug)]
pub struct Program {
    entry: usize,
    functions: Vec<VerifiedTemplate>,
    bytes: Vec<Vec<u8>>,
}

impl Program {
    /// A program of these encoded functions, of which the first is called from outside.
    ///
    /// # Panics
    /// As [`with_entry`](Self::with_entry).
    pub fn new(bytes: Vec<Vec<u8>>) -> Self {
        Self::with_entry(bytes, 0)
    }

    /// A program of these encoded functions, of which that with number `entry` is called from outside.
    ///
    /// # Panics
    /// If the verifier refuses one: a generator emits valid functions only.
    pub fn with_entry(bytes: Vec<Vec<u8>>, entry: usize) -> Self {
        let verified = |(index, bytes): (usize, &Vec<u8>)| match VerifiedTemplate::new(bytes) {
            Ok(function) => function,
            Err(error) => panic!("function {index}: {error}\n{}", text(index, bytes)),
        };
        Self { entry, functions: bytes.iter().enumerate().map(verified).collect(), bytes }
    }

    /// The number of the function that is called from outside.
    pub fn entry(&self) -> usize {
        self.entry
    }

    /// The encoded functions.
    pub fn bytes(&self) -> &[Vec<u8>] {
        &self.bytes
    }

    /// The functions as instances without type arguments.
    ///
    /// # Panics
    /// If a function has type parameters.
    pub fn instances(&self) -> Vec<FunctionInstance<'_, '_>> {
        let none = Arguments::new(&[]).unwrap();
        self.functions.iter().map(|function| function.instance(none).unwrap()).collect()
    }

    /// The types of the parameters of function `index`, and that of its result.
    pub fn signature(&self, index: usize) -> (Vec<Scalar>, Option<Scalar>) {
        let function = Function::parse(&self.bytes[index]).unwrap();
        let signature = function.signature();
        let params = signature.params.iter().filter_map(|&code| Scalar::from_code(code));
        (params.collect(), Scalar::from_code(signature.result))
    }

    /// What trap handlers see as the place of the instruction at an offset.
    pub fn place_of(&self, function: usize, offset: u32) -> u32 {
        let function = Function::parse(&self.bytes[function]).unwrap();
        let locations: Vec<SourceLocation<'_>> = function.locations().collect();
        if locations.is_empty() {
            return offset;
        }
        let after = |location: &SourceLocation<'_>| {
            function.offset(location.instruction as usize) <= offset
        };
        let after = locations.partition_point(after);
        after.checked_sub(1).map_or(0, |last| locations[last].line)
    }

    /// Whether each function states source locations.
    pub fn has_locations(&self) -> bool {
        let states = |bytes: &Vec<u8>| Function::parse(bytes).unwrap().locations().len() > 0;
        self.bytes.iter().all(states)
    }

    /// Whether parameter 0 of each function is an address: that of the memory.
    pub fn has_context(&self) -> bool {
        let is_first = |index| self.signature(index).0.first() == Some(&Scalar::Pointer);
        (0..self.bytes.len()).all(is_first)
    }

    /// The number of instructions of all functions.
    pub fn len(&self) -> usize {
        self.bytes.iter().map(|bytes| Function::parse(bytes).unwrap().len()).sum()
    }

    /// Whether the program has no instructions.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The text of a function that may be invalid.
fn text(index: usize, bytes: &[u8]) -> String {
    let mut text = String::new();
    let function = Function::parse(bytes).unwrap();
    let printed = print(&format!("f{index}"), &function, &mut text);
    printed.map_or_else(|error| format!("{error:?}"), |()| text)
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes
            .iter()
            .enumerate()
            .try_for_each(|(index, bytes)| f.write_str(&text(index, bytes)))
    }
}

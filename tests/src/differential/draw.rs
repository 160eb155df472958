//! Cases of any bytes: programs that end, on every engine in the same way.
//!
//! Equal bytes give equal cases, and missing bytes count as zeros. Functions are either structured (branches, loops
//! with counters, early returns) or a graph of blocks with jumps to any block, which a counter ends. They call later
//! functions, functions of the host, and each other up to a number of calls that lies in memory.
//!
//! What engines may do differently is not observable: an address is only used to access memory or to call, a float is
//! stored only if it is not NaN, and slots are written before they are read.

mod calls;
mod expressions;
mod graph;
mod memory;
mod statements;

use smf_core::ir::{Data, FunctionBuilder, Local, Scalar, Slot};

use super::host::{FUNCTIONS, WINDOW, WINDOW_SIZE};
use super::program::Program;
use crate::bytecode::draw::source::Source;

/// The largest number of functions of a program.
const MAX_FUNCTIONS: u8 = 5;

/// The largest number of statements of a function.
const STATEMENTS: u32 = 30;

/// The largest nesting depth of loops.
const MAX_LOOPS: u32 = 3;

/// More than the source locations of a function.
const MAX_LINES: u32 = 10_000;

/// The number of argument lists of a case.
const ARGUMENTS: usize = 3;

/// A program with arguments.
#[derive(Debug)]
pub struct Case {
    /// The program.
    pub program: Program,
    /// The arguments of each call of function 0.
    pub arguments: Vec<Vec<u64>>,
    /// The seed of the memory.
    pub seed: u64,
}

/// The parameters of a function, and its result.
#[derive(Clone, Debug)]
struct Signature {
    params: Vec<Scalar>,
    result: Option<Scalar>,
}

/// The case of these bytes.
pub fn draw(data: &[u8]) -> Case {
    let mut source = Source { data };
    let count = 1 + source.below(MAX_FUNCTIONS);
    let has_context = source.below(3) == 0;
    let has_locations = source.below(2) == 0;
    let signatures: Vec<Signature> =
        (0..count).map(|index| signature(&mut source, index, has_context)).collect();
    let seed = u64::from(source.byte());
    let arguments: Vec<Vec<u64>> = (0..ARGUMENTS)
        .map(|_| signatures[0].params.iter().map(|&scalar| bits(&mut source, scalar)).collect())
        .collect();
    let functions = (0..signatures.len())
        .map(|index| Writer::new(&mut source, &signatures, index, has_locations).function())
        .collect();
    Case { program: Program::new(functions), arguments, seed }
}

/// Pseudorandom bytes to draw a case from, equal in every run.
pub fn seeded(seed: u64) -> Vec<u8> {
    // Few functions need more bytes than this.
    (0..6).flat_map(|part| crate::bytecode::seeded(seed * 6 + part)).collect()
}

/// A type, mostly one with many operations.
fn scalar(source: &mut Source<'_>) -> Scalar {
    match source.below(4) {
        0 => Scalar::I64,
        1 => source.choose([Scalar::I32, Scalar::U64, Scalar::F64, Scalar::I64]),
        _ => source.choose(Scalar::ALL),
    }
}

/// The types of function `index`. The first parameter of function 0 is the address of the memory. So are those of the
/// other functions with `has_context`; otherwise half of them have no parameters.
fn signature(source: &mut Source<'_>, index: u8, has_context: bool) -> Signature {
    let most = if source.below(8) == 0 { 14 } else { 5 };
    let is_first = index == 0 || has_context;
    let count = if is_first { 1 + u16::from(source.below(most)) } else { source.arguments(most) };
    let mut params: Vec<Scalar> = (0..count).map(|_| scalar(source)).collect();
    if (is_first || source.below(2) == 0)
        && let Some(first) = params.first_mut()
    {
        *first = Scalar::Pointer;
    }
    // Only the first parameter is an address.
    let others = params.iter_mut().skip(1);
    others.filter(|scalar| **scalar == Scalar::Pointer).for_each(|scalar| *scalar = Scalar::U64);
    let result = (index == 0 || source.below(6) != 0).then(|| match scalar(source) {
        Scalar::Pointer => Scalar::I64,
        scalar => scalar,
    });
    Signature { params, result }
}

/// A value of a type: small, extreme or any.
fn bits(source: &mut Source<'_>, scalar: Scalar) -> u64 {
    let value = match scalar {
        Scalar::F64 => source.float(),
        Scalar::F32 => {
            let float = f64::from_bits(source.float());
            (float as f32).to_bits().into()
        }
        Scalar::Bool => u64::from(source.below(2)),
        _ => match source.below(4) {
            0 => 1 << (scalar.bits() - 1),
            _ => source.integer().cast_unsigned(),
        },
    };
    value & (u64::MAX >> (64 - scalar.bits()))
}

/// Writes one function.
struct Writer<'w, 'd> {
    source: &'w mut Source<'d>,
    builder: FunctionBuilder,
    signatures: &'w [Signature],
    index: usize,
    /// Locals that statements set, parameters included. Expressions set other locals.
    variables: Vec<(Local, Scalar)>,
    /// The address of the memory of the host.
    memory: Option<Local>,
    /// Stack slots with their sizes.
    slots: Vec<(Slot, i32)>,
    /// Read-only data with its sizes.
    data: Vec<(Data, i32)>,
    /// The number of enclosing loops.
    loops: u32,
    /// The number of statements that may still be drawn.
    left: u32,
    /// The line of the last source location, in a program that states them.
    line: Option<u32>,
}

impl<'w, 'd> Writer<'w, 'd> {
    fn new(
        source: &'w mut Source<'d>,
        signatures: &'w [Signature],
        index: usize,
        has_locations: bool,
    ) -> Self {
        let result = signatures[index].result.map(Into::into);
        Self {
            source,
            builder: FunctionBuilder::new(0, result),
            signatures,
            index,
            variables: Vec::new(),
            memory: None,
            slots: Vec::new(),
            data: Vec::new(),
            loops: 0,
            left: STATEMENTS,
            line: has_locations.then(|| u32::try_from(index).unwrap() * MAX_LINES),
        }
    }

    /// States a new source location, in programs that have them.
    fn locate(&mut self) {
        if let Some(line) = &mut self.line {
            *line += 1;
            self.builder.location(*line, 0, None);
        }
    }

    fn function(mut self) -> Vec<u8> {
        let params = &self.signatures[self.index].params;
        for &scalar in params {
            let local = self.builder.param(scalar);
            match scalar {
                Scalar::Pointer => self.memory = Some(local),
                _ => self.variables.push((local, scalar)),
            }
        }
        let more = if self.source.below(6) == 0 { 30 } else { 2 + self.source.below(8) };
        for _ in 0..more {
            let scalar = scalar(self.source);
            let local = self.builder.local(scalar);
            self.variables.push((local, scalar));
        }
        self.locate();
        self.storage();
        if self.source.below(4) == 0 {
            self.graph();
        } else {
            self.block();
            self.leave();
        }
        self.builder
            .finish()
            .expect("a generated function stays inside of the limits of the format")
    }

    /// Returns a value, or the result of another function.
    fn leave(&mut self) {
        if self.source.below(6) == 0 && self.tail_call() {
            return;
        }
        match self.signatures[self.index].result {
            None => self.builder.return_none(),
            Some(scalar) => {
                let value = self.value(scalar, 2);
                self.builder.return_value(scalar, value);
            }
        }
    }

    fn temporary(&mut self, scalar: Scalar) -> Local {
        self.builder.local(scalar)
    }

    /// A variable of this type, if any.
    fn variable(&mut self, scalar: Scalar) -> Option<Local> {
        let count = self.variables.iter().filter(|(_, other)| *other == scalar).count();
        let number = usize::from(self.source.byte()).checked_rem(count)?;
        self.variables.iter().filter(|(_, other)| *other == scalar).nth(number).map(|found| found.0)
    }

    /// Any variable, and its type.
    fn any_variable(&mut self) -> (Local, Scalar) {
        self.variables[usize::from(self.source.byte()) % self.variables.len()]
    }
}

/// Bytes at the end of the window that an access of the largest type may cover.
const ACCESSIBLE: i32 = WINDOW_SIZE as i32 / 2;

const _: () = assert!(WINDOW % 8 == 0 && !FUNCTIONS.is_empty());

//! Programs checked before anything runs: what is accepted needs no check while it runs, but for
//! division by zero, the depth of calls and the room for activations.
//!
//! A [`Program`] can be had from [`Verifier::verify`] alone. Of each function it knows the longest
//! vector and the kind of its result; [`Facts`] tell more, while a function is looked at.
//!
//! What is checked, for all of the code: every instruction exists, is whole and is supported; jumps
//! lead to the start of an instruction or to the end of the code; locals and called functions exist;
//! calls pass as many arguments as there are parameters. And for what can be reached: what is read or
//! popped is there and of the kind that is needed; where paths meet, the vectors are of one length;
//! what paths left with different kinds is not read; the results of a function are of one kind. The
//! end of the code returns the popped top of the vector, in a function that no other calls.
//!
//! A function that works on objects ([`bytecode::objects`](crate::bytecode::objects)), or calls one that does, is
//! *dynamic*: its values have kinds that are known at run time alone ([`Kind::Value`]), and what is read is checked
//! there. The kinds that are known all the same are checked as in other functions. The results of dynamic functions
//! are of any kind. They are interpreted, and [`Program::compiles`] tells them from the others.
//!
//! How: a scan decodes the code, once for all that look at it later, and finds the targets of jumps. A
//! walk follows the code in its order, keeping the kind of each value; at a target it compares with what
//! other paths left there. A target of which less is known
//! than before is walked from again, which ends because nothing is ever learnt anew. Results of
//! functions that have not been looked at are unknowns, resolved by unification ([`Kind`]).
//!
//! Bounds: time is linear in the code, as long as paths meet with few values. What is compared where
//! they meet counts, and so does code that is walked again: 128 units a byte of the program, and
//! 8,388,608; more is [`Fault::Joins`]. Memory beside the code: 24 bytes a function; for the function
//! that is looked at, 8.8 bytes a byte of code, 12 bytes a jump, 25 bytes and the kinds of locals and
//! vector for each target of one (4 bytes a value, no more values than 4 a byte of code and 262,144, else
//! [`Fault::Joins`]), and the vector itself. It is reused from one function to the next.

mod bit_set;
mod dynamic;
mod error;
mod flow;
mod frame;
mod hosts;
mod joins;
mod kind;
mod objects;
mod op;
mod program;
mod scan;

use alloc::vec::Vec;

pub use error::{Fault, Place, VerifyError};
pub use kind::{Kind, KindSet};
pub(crate) use op::{At, Op, offset};
pub use program::{FunctionCode, HostCall, Program, Summary, functions_of};
pub use scan::Target;

use crate::alloc_util::{AllocError, try_collect, try_push, try_resize, try_with_capacity};
use crate::format::constants::Constants;
use flow::Flow;
use frame::Frame;
use hosts::HostCalls;
use joins::{Effort, Joins};
use kind::{MAX_FUNCTIONS, Results, Type};
use program::is_marked;
use scan::{Callees, Scan};

/// What is found when each function is checked on its own.
struct Walked {
    max_stack_depth: Vec<u32>,
    /// The functions whose code ends without a return.
    runs_off: Vec<u32>,
}

/// Checks programs. Its memory is reused.
#[derive(Debug, Default)]
pub struct Verifier {
    scan: Scan,
    frame: Frame,
    joins: Joins,
    results: Results,
    effort: Effort,
    called: Vec<bool>,
    hosts: HostCalls,
    runtime: HostCalls,
    /// For each function whether it is dynamic; empty if none is.
    dynamic: Vec<bool>,
}

impl Verifier {
    /// One that has no memory yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Checks every function of a program without a constant pool.
    ///
    /// # Errors
    /// The first thing that is wrong, with function and offset, or no memory.
    pub fn verify<'c>(
        &mut self,
        functions: Vec<FunctionCode<'c>>,
    ) -> Result<Program<'c>, VerifyError> {
        self.verify_program(functions, Constants::default())
    }

    /// Checks every function of a program with this constant pool. Constants that no instruction loads are not
    /// checked.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn verify_program<'c>(
        &mut self,
        functions: Vec<FunctionCode<'c>>,
        constants: Constants<'c>,
    ) -> Result<Program<'c>, VerifyError> {
        let count = u32::try_from(functions.len()).ok().filter(|&count| count < MAX_FUNCTIONS);
        let count = count.ok_or(Fault::TooLarge)?;
        self.dynamic.clear();
        let walked = match self.walk_all(&functions, constants, count) {
            // Most programs have no dynamic functions, and pay nothing for them.
            Err(error) if error.fault == Fault::Objects => {
                self.dynamic = self.find_dynamic(&functions, constants)?;
                self.walk_all(&functions, constants, count)
            }
            walked => walked,
        };
        self.finish(functions, constants, walked?)
    }

    /// Checks every function on its own.
    fn walk_all(
        &mut self,
        functions: &[FunctionCode<'_>],
        constants: Constants<'_>,
        count: u32,
    ) -> Result<Walked, VerifyError> {
        self.start(functions, count)?;
        let max_stack_depth = try_with_capacity(functions.len())?;
        let mut walked = Walked { max_stack_depth, runs_off: Vec::new() };
        for (&function, index) in functions.iter().zip(0..) {
            let error = |(at, fault)| VerifyError::new(index, function.code, at, fault);
            self.scan_function(functions, constants, index, None).map_err(error)?;
            if self.scan.uses_objects && self.dynamic.is_empty() {
                return Err(error((0, Fault::Objects)));
            }
            let facts = self.walk(function, index, constants, None).map_err(error)?;
            walked.max_stack_depth.push(facts.max_stack_depth());
            if facts.runs_off {
                try_push(&mut walked.runs_off, index)?;
            }
        }
        Ok(walked)
    }

    /// Scans function number `caller`, and checks the functions, host functions and constants that it names. Its calls are
    /// added to `edges`.
    fn scan_function(
        &mut self,
        functions: &[FunctionCode<'_>],
        constants: Constants<'_>,
        caller: u32,
        edges: Option<&mut Vec<(u32, u32)>>,
    ) -> Result<(), (u32, Fault)> {
        let Self { scan, called, hosts, runtime, .. } = self;
        let mut calls = Callees { functions, called, constants, hosts, runtime, edges, caller };
        let index = usize::try_from(caller).unwrap_or(usize::MAX);
        functions.get(index).map_or(Ok(()), |function| scan.function(function, Some(&mut calls)))
    }

    fn start(&mut self, functions: &[FunctionCode<'_>], count: u32) -> Result<(), AllocError> {
        self.results.reset(count)?;
        self.called.clear();
        try_resize(&mut self.called, functions.len(), false)?;
        self.hosts = HostCalls::default();
        self.runtime = HostCalls::default();
        let bytes = functions.iter().map(|function| function.code.len() as u64).sum();
        self.effort = Effort::for_code(bytes);
        Ok(())
    }

    fn finish<'c>(
        &mut self,
        functions: Vec<FunctionCode<'c>>,
        constants: Constants<'c>,
        Walked { max_stack_depth, runs_off }: Walked,
    ) -> Result<Program<'c>, VerifyError> {
        let code = |index: u32| {
            let function = usize::try_from(index).ok().and_then(|index| functions.get(index));
            function.map_or(&[][..], |function| function.code)
        };
        for &index in &runs_off {
            let called = usize::try_from(index).ok().and_then(|index| self.called.get(index));
            if called == Some(&true) {
                let at = u32::try_from(code(index).len()).unwrap_or(u32::MAX);
                return Err(VerifyError::new(index, code(index), at, Fault::RunsOff));
            }
        }
        self.results.finish().map_err(|((index, at), clash)| {
            VerifyError::new(index, code(index), at, clash.into())
        })?;
        let count = u32::try_from(functions.len()).unwrap_or(u32::MAX);
        let dynamic = core::mem::take(&mut self.dynamic);
        let result = |index| match usize::try_from(index) {
            Ok(place) if is_marked(&dynamic, place) => Kind::Value,
            _ => self.results.resolve(index),
        };
        let results = try_collect((0..count).map(result))?;
        let hosts = core::mem::take(&mut self.hosts).into_calls()?;
        let runtime = core::mem::take(&mut self.runtime).into_calls()?;
        Ok(Program { functions, max_stack_depth, results, hosts, runtime, constants, dynamic })
    }

    /// The facts of one function of a program.
    ///
    /// # Errors
    /// [`Fault::NoFunction`] when it has no such function; [`Fault::Objects`] for one that does not
    /// [compile](Program::compiles); no memory.
    pub fn facts<'c>(&mut self, program: &Program<'c>, index: u32) -> Result<Facts<'_, 'c>, Fault> {
        let count = u32::try_from(program.functions.len()).unwrap_or(u32::MAX);
        let none = Fault::NoFunction { callee: index, count };
        let function = program.function(index).ok_or(none)?;
        if !program.compiles(index) {
            return Err(Fault::Objects);
        }
        self.dynamic.clear();
        self.results.reset(0)?;
        self.effort = Effort::for_code(u64::MAX);
        self.scan.function(&function, None).map_err(|(_, fault)| fault)?;
        let known = Some(program.results.as_slice());
        self.walk(function, index, program.constants, known).map_err(|(_, fault)| fault)
    }

    /// Walks over a function that has been scanned.
    fn walk<'c>(
        &mut self,
        function: FunctionCode<'c>,
        index: u32,
        constants: Constants<'_>,
        known: Option<&[Kind]>,
    ) -> Result<Facts<'_, 'c>, (u32, Fault)> {
        let Self { scan, frame, joins, results, effort, dynamic, .. } = self;
        let place = usize::try_from(index).unwrap_or(usize::MAX);
        results.forget_eithers();
        let mut flow = Flow {
            function,
            index,
            scan,
            joins,
            effort,
            known,
            constants,
            is_dynamic: is_marked(dynamic, place),
            guesses: true,
            runs_off: false,
        };
        flow.run(frame, results)?;
        let runs_off = flow.runs_off;
        self.frame.sort_compared();
        Ok(Facts { function, index, verifier: self, runs_off })
    }
}

/// What is known of a function while it is looked at.
#[derive(Debug)]
pub struct Facts<'v, 'c> {
    /// The function.
    pub function: FunctionCode<'c>,
    /// Its index.
    pub index: u32,
    /// Whether a path ends at the end of the code, which returns the popped top.
    pub runs_off: bool,
    verifier: &'v Verifier,
}

impl<'v> Facts<'v, '_> {
    /// The most values that its vector ever holds.
    pub fn max_stack_depth(&self) -> u32 {
        self.verifier.frame.max_stack_depth()
    }

    /// One more than the last local that is ever set; the parameters count. The others are nil.
    pub fn locals_set(&self) -> u16 {
        self.verifier.scan.locals_set
    }

    /// Its instructions, each at its pair of bytes.
    #[inline]
    pub(crate) fn ops(&self) -> &'v [Op] {
        self.verifier.scan.ops()
    }

    /// Where its jumps lead, ascending, each offset once.
    pub fn targets(&self) -> &'v [Target] {
        &self.verifier.scan.targets
    }

    /// The length of the vector at target number `target` of [`Facts::targets`]; `None` when no path
    /// leads there.
    pub fn length_at(&self, target: usize) -> Option<u32> {
        self.verifier.joins.length_at(target)
    }

    /// The kinds of the locals that are ever set, and of the positions of the operand stack, at a target: `None` for
    /// those that nothing reads before they are set. Both are empty when no path leads there.
    pub(crate) fn kinds_at(
        &self,
        target: usize,
    ) -> (impl Iterator<Item = Option<Kind>> + use<'v>, impl Iterator<Item = Option<Kind>> + use<'v>)
    {
        let types = self.verifier.joins.get(target).unwrap_or(&[]);
        let locals = usize::from(self.locals_set()).min(types.len());
        let (locals, slots) = types.split_at_checked(locals).unwrap_or_default();
        let kind = |ty: &Type| ty.kind().and_then(KindSet::single);
        (locals.iter().map(kind), slots.iter().map(kind))
    }

    /// For the comparison at offset `at`, whether its operands are floats; `None` when neither is.
    pub(crate) fn compared_floats(&self, at: u32) -> Option<[bool; 2]> {
        let compared = &self.verifier.frame.compared;
        let place = compared.binary_search_by_key(&at, |&(at, _)| at).ok()?;
        let floats = compared.get(place)?.1.map(|ty| ty == Type::F64);
        floats.contains(&true).then_some(floats)
    }

    /// One more than the last local that is ever named.
    pub fn locals_named(&self) -> u16 {
        self.verifier.scan.locals_named
    }

    /// Whether it calls functions or the host, or lets another function take its place.
    pub fn has_calls(&self) -> bool {
        self.verifier.scan.has_calls
    }
}

#[cfg(test)]
mod tests;

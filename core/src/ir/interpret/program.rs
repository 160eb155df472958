//! A program of several functions: stack slots, read-only data, calls by number and by address.

use alloc::vec::Vec;

use super::host::{Host, Stop, from_bytes, to_bytes};
use super::run::{Exit, run};
use crate::alloc_util::{try_push, try_resize};
use crate::ir::function::{Callee, CalleeKind, Function, MAX_DATA_ALIGN, MAX_SLOT_ALIGN};
use crate::ir::verify::FunctionInstance;

/// The address of function 0; the others follow at distances of [`FUNCTION_SIZE`].
const FUNCTIONS: u64 = 0x1000_0000_0000;

/// The distance between the addresses of two functions.
const FUNCTION_SIZE: u64 = 16;

/// The address of the first read-only data.
const DATA: u64 = 0x1100_0000_0000;

/// The address of the first stack slot.
const STACK: u64 = 0x1200_0000_0000;

/// The maximum depth of calls, each of which takes some of the stack of the thread, unless the host sets another.
const MAX_DEPTH: usize = 200;

/// The maximum number of bytes of all stack slots.
const MAX_STACK: u64 = 64 << 20;

/// Interprets a program: functions that call each other by number and by address.
///
/// The other memory, and other callees, are those of another host. Addresses of functions, of read-only data and of
/// stack slots are above 2^44 and below 2^45, where that host has no memory.
pub struct ProgramHost<'p> {
    functions: &'p [FunctionInstance<'p, 'p>],
    /// Where the data of each function begins, ascending.
    data: Vec<u64>,
    stack: Vec<u8>,
    /// The functions of the activations, the innermost last.
    active: Vec<usize>,
    /// The function that the first error occurred in.
    failed: Option<usize>,
    steps: u64,
    max_depth: usize,
    outer: &'p mut dyn Host,
}

/// The read-only data of the functions of a program, each with the address that [`ProgramHost`] gives its first byte,
/// for a host that gets such addresses as arguments.
pub fn data_addresses<'p>(
    functions: &'p [FunctionInstance<'p, 'p>],
) -> impl Iterator<Item = (u64, &'p [u8])> {
    functions.iter().scan(DATA, |next, function| {
        let (start, bytes) = (*next, function.body().data_bytes);
        *next += (bytes.len() as u64).next_multiple_of(MAX_DATA_ALIGN.into());
        Some((start, bytes))
    })
}

impl core::fmt::Debug for ProgramHost<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let mut debug = f.debug_struct("ProgramHost");
        debug.field("functions", &self.functions.len()).field("steps", &self.steps).finish()
    }
}

impl<'p> ProgramHost<'p> {
    /// A program of `functions`, which executes at most `steps` instructions. `outer` provides the rest.
    ///
    /// # Errors
    /// [`Stop::OutOfMemory`].
    pub fn new(
        functions: &'p [FunctionInstance<'p, 'p>],
        outer: &'p mut dyn Host,
        steps: u64,
    ) -> Result<Self, Stop> {
        let mut data = Vec::new();
        for (start, _) in data_addresses(functions) {
            try_push(&mut data, start)?;
        }
        Ok(Self {
            functions,
            data,
            stack: Vec::new(),
            active: Vec::new(),
            failed: None,
            steps,
            max_depth: MAX_DEPTH,
            outer,
        })
    }

    /// Permits so many nested calls, for which the thread has to have the stack.
    pub fn set_max_depth(&mut self, depth: usize) {
        self.max_depth = depth;
    }

    /// Calls function `index`.
    ///
    /// # Errors
    /// Why it ended before it returned; [`Stop::Callee`] when there is no such function.
    pub fn call_function(&mut self, index: u32, arguments: &[u64]) -> Result<u64, Stop> {
        let index = usize::try_from(index).map_err(|_| Stop::Callee)?;
        if self.active.len() >= self.max_depth {
            return Err(Stop::Depth);
        }
        try_push(&mut self.active, index)?;
        let result = self.activation(index, arguments);
        let last = self.active.pop();
        if result.is_err() && self.failed.is_none() {
            self.failed = last;
        }
        result
    }

    /// The function whose instruction ended the program with an error.
    pub fn failed_function(&self) -> Option<usize> {
        self.failed
    }

    /// Instructions that may still be executed.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Interprets a function, and those that it leaves by a tail call to.
    fn activation(&mut self, mut index: usize, arguments: &[u64]) -> Result<u64, Stop> {
        let mut owned: Vec<u64>;
        let mut arguments = arguments;
        loop {
            let instance = *self.functions.get(index).ok_or(Stop::Callee)?;
            if let Some(active) = self.active.last_mut() {
                *active = index;
            }
            let (callee, address) = match run(&instance, arguments, self, &mut u64::MAX.clone())? {
                Exit::Return(bits) => return Ok(bits),
                Exit::TailCall { callee, address, arguments } => {
                    owned = arguments;
                    (callee, address)
                }
            };
            let callee = instance.body().callee(callee).map_err(|_| Stop::Callee)?;
            let Some(next) = self.find(&instance, &callee, address)? else {
                return match address {
                    None => self.call_outer(&instance, &callee, &owned),
                    Some(address) => self.outer.call_indirect(&instance, &callee, address, &owned),
                };
            };
            (index, arguments) = (next, &owned);
        }
    }

    /// Calls a function of the outer host, which gets the stack slots.
    fn call_outer(
        &mut self,
        caller: &FunctionInstance<'_, '_>,
        callee: &Callee<'_>,
        arguments: &[u64],
    ) -> Result<u64, Stop> {
        let stack = (STACK, &mut *self.stack);
        self.outer.call_with_stack(caller, callee, arguments, stack)
    }

    /// The function of the program that a callee stands for, if it is one.
    fn find(
        &self,
        caller: &FunctionInstance<'_, '_>,
        callee: &Callee<'_>,
        address: Option<u64>,
    ) -> Result<Option<usize>, Stop> {
        let index = match (callee.kind, address) {
            (CalleeKind::Function(index), _) => usize::try_from(index).ok(),
            (_, Some(address)) => {
                let end = DATA - FUNCTIONS;
                let Some(offset) = address.checked_sub(FUNCTIONS).filter(|&offset| offset < end)
                else {
                    return Ok(None);
                };
                let exact = offset.is_multiple_of(FUNCTION_SIZE);
                usize::try_from(offset / FUNCTION_SIZE).ok().filter(|_| exact)
            }
            _ => return Ok(None),
        };
        let index = index.ok_or(Stop::Callee)?;
        let function = self.functions.get(index).ok_or(Stop::Callee)?;
        if caller.agrees(callee, function) { Ok(Some(index)) } else { Err(Stop::Callee) }
    }

    /// The bytes from `address` on, if they are read-only data.
    fn data_at(&self, address: u64) -> Option<&'p [u8]> {
        let after = self.data.partition_point(|&start| start <= address);
        let index = after.checked_sub(1)?;
        let offset = address.checked_sub(*self.data.get(index)?)?;
        self.functions.get(index)?.body().data_bytes.get(usize::try_from(offset).ok()?..)
    }
}

impl Host for ProgramHost<'_> {
    fn load(&mut self, address: u64, size: u8) -> Result<u64, Stop> {
        let bytes = match address {
            ..DATA => return self.outer.load(address, size),
            DATA..STACK => self.data_at(address),
            _ => usize::try_from(address - STACK).ok().and_then(|at| self.stack.get(at..)),
        };
        match bytes.and_then(|bytes| bytes.get(..size.into())) {
            Some(bytes) => Ok(from_bytes(bytes)),
            None => self.outer.load(address, size),
        }
    }

    fn store(&mut self, address: u64, size: u8, bits: u64) -> Result<(), Stop> {
        let offset = address.checked_sub(STACK).and_then(|at| usize::try_from(at).ok());
        let bytes = offset.and_then(|at| self.stack.get_mut(at..));
        match bytes.and_then(|bytes| bytes.get_mut(..size.into())) {
            Some(bytes) => to_bytes(bytes, bits),
            None => self.outer.store(address, size, bits)?,
        }
        Ok(())
    }

    fn call(
        &mut self,
        caller: &FunctionInstance<'_, '_>,
        callee: &Callee<'_>,
        arguments: &[u64],
    ) -> Result<u64, Stop> {
        match self.find(caller, callee, None)?.map(u32::try_from) {
            Some(Ok(index)) => self.call_function(index, arguments),
            _ => self.call_outer(caller, callee, arguments),
        }
    }

    fn call_indirect(
        &mut self,
        caller: &FunctionInstance<'_, '_>,
        callee: &Callee<'_>,
        address: u64,
        arguments: &[u64],
    ) -> Result<u64, Stop> {
        match self.find(caller, callee, Some(address))?.map(u32::try_from) {
            Some(Ok(index)) => self.call_function(index, arguments),
            _ => self.outer.call_indirect(caller, callee, address, arguments),
        }
    }

    fn function_address(
        &mut self,
        caller: &FunctionInstance<'_, '_>,
        callee: &Callee<'_>,
    ) -> Result<u64, Stop> {
        match self.find(caller, callee, None)? {
            Some(index) => Ok(FUNCTIONS + index as u64 * FUNCTION_SIZE),
            None => self.outer.function_address(caller, callee),
        }
    }

    fn data_address(&mut self, function: &Function<'_>, index: u16) -> Result<u64, Stop> {
        let start = self.active.last().and_then(|&active| self.data.get(active));
        let offset = function.data_offset(index).ok_or(Stop::Memory)?;
        start.map(|&start| start + u64::from(offset)).ok_or(Stop::Memory)
    }

    fn push_frame(&mut self, size: u64) -> Result<u64, Stop> {
        let start = self.stack.len() as u64;
        let start = start.next_multiple_of(MAX_SLOT_ALIGN.into());
        let end = start.checked_add(size).filter(|&end| end <= MAX_STACK).ok_or(Stop::Depth)?;
        try_resize(&mut self.stack, usize::try_from(end).map_err(|_| Stop::OutOfMemory)?, 0)?;
        Ok(STACK + start)
    }

    fn pop_frame(&mut self, address: u64) {
        let start = address.checked_sub(STACK).and_then(|start| usize::try_from(start).ok());
        self.stack.truncate(start.unwrap_or(usize::MAX));
    }

    fn step(&mut self) -> Result<(), Stop> {
        self.steps = self.steps.checked_sub(1).ok_or(Stop::Steps)?;
        self.outer.step()
    }
}

//! Inlining of small functions of the program that call nothing, and once of those that call only themselves.
//!
//! A recursion then has half as many frames: its last calls are decided by branches of the caller.
//!
//! The locals of the callee become new locals of the caller. Those that are no parameters are set to 0 first, because a
//! call in a loop would find the values of the previous call; the removal of dead definitions deletes what is not
//! needed. A return becomes a copy and a jump.
//!
//! A trap reports a line, whose file is that of the compiled function. So a function that may trap is inlined only where
//! it states locations in the one file of its caller, or is its caller. Its instructions then have their locations in
//! the callee, and those of other functions have that of the call.

use alloc::vec::Vec;

use super::edit::{EditableFunction, Origin, can_trap, copy, plain, scalar_of};
use crate::alloc_util::{AllocError, try_push, try_reserve};
use crate::ir::function::{Function, LOCATION};
use crate::ir::instruction::{Instruction, NONE};
use crate::ir::opcode::Opcode;

/// Finds a verified function of the program by its number.
pub type Lookup<'l> = &'l dyn Fn(u32) -> Option<&'l Function<'l>>;

/// The instructions of a callee that is inlined.
const MAX_CALLEE: usize = 24;

/// The locals of a callee that is inlined. All but the parameters are set to 0 first.
const MAX_LOCALS: u16 = 256;

/// The instructions by which a function may grow at least, and in proportion to its own.
const MIN_GROWTH: usize = 200;

/// The operands of calls above which no recursive function is inlined: their numbers have 31 bits.
const MAX_OPERANDS: usize = 1 << 24;

/// The memory of the pass.
#[derive(Debug, Default)]
pub(super) struct Inline {
    code: Vec<Instruction>,
    origins: Vec<Origin>,
    /// The first new instruction of each old one; those of inlined functions have their targets already.
    numbers: Vec<u32>,
    is_inlined: Vec<bool>,
}

impl Inline {
    /// Inlines calls in `function`. Whether there were any.
    pub(super) fn run(
        &mut self,
        function: &mut EditableFunction,
        own: &Function<'_>,
        lookup: Lookup<'_>,
    ) -> Result<bool, AllocError> {
        let may_call = function.callees.iter().any(|callee| callee.function.is_some());
        if !may_call {
            return Ok(false);
        }
        self.code.clear();
        self.origins.clear();
        self.numbers.clear();
        self.is_inlined.clear();
        let caller = Caller { own, file: only_file(own) };
        let mut growth = function.len().max(MIN_GROWTH);
        let mut has_inlined = false;
        for index in 0..function.len() {
            let Some(i) = function.code.get(index).copied() else { continue };
            try_push(&mut self.numbers, u32::try_from(self.code.len()).unwrap_or(u32::MAX))?;
            let before = self.code.len();
            if let Some((callee, origins)) = candidate(function, &caller, &i, lookup)
                && callee.len() <= growth
                && self.expand(function, index, &i, callee, origins)?
            {
                growth = growth.saturating_sub(self.code.len().saturating_sub(before));
                has_inlined = true;
                continue;
            }
            self.push(i, function.origin(index), false)?;
        }
        if has_inlined {
            self.retarget();
            core::mem::swap(&mut function.code, &mut self.code);
            core::mem::swap(&mut function.origins, &mut self.origins);
        }
        Ok(has_inlined)
    }

    fn push(&mut self, i: Instruction, origin: Origin, is_inlined: bool) -> Result<(), AllocError> {
        try_push(&mut self.code, i)?;
        try_push(&mut self.origins, origin)?;
        try_push(&mut self.is_inlined, is_inlined)
    }

    fn retarget(&mut self) {
        for (i, _) in self.code.iter_mut().zip(&self.is_inlined).filter(|(_, inlined)| !**inlined) {
            let target = i.target().and_then(|target| usize::try_from(target).ok());
            if let Some(&new) = target.and_then(|target| self.numbers.get(target)) {
                i.imm = new.cast_signed();
            }
        }
    }

    /// Appends the instructions of `callee` in the place of the call `i`. `false` when there are too many locals or
    /// constants.
    fn expand(
        &mut self,
        function: &mut EditableFunction,
        index: usize,
        i: &Instruction,
        callee: &Function<'_>,
        origins: Origins,
    ) -> Result<bool, AllocError> {
        let start = self.code.len().saturating_add(usize::from(callee.locals()));
        let Ok(start) = u32::try_from(start) else { return Ok(false) };
        // Constants that no instruction uses take no space; locals do, and would prevent further calls from being inlined.
        let Some(constants) = add_constants(function, callee)? else { return Ok(false) };
        let Some(first) = add_locals(function, callee)? else { return Ok(false) };
        let call = function.origin(index);
        let local = |local: u16| first.saturating_add(local);
        let count = callee.signature().params.len();
        for position in 0..count {
            let Some(&operand) = function.operands_of(i).get(position) else { continue };
            let Ok(number) = u16::try_from(position) else { continue };
            let code = function.local_code(operand);
            self.push(copy(code, local(number), operand), call, true)?;
        }
        for (number, &code) in (0u16..).zip(callee.local_codes()).skip(count) {
            self.push(plain(Opcode::Constant, code, [local(number), 0, 0], 0), call, true)?;
        }
        let moved = Renamed { first, constants, numbers: body_numbers(callee, start) };
        for (number, mut instruction) in callee.instructions().flatten().enumerate() {
            let origin = match origins {
                Origins::Own => function.origin(number),
                Origins::Callee(file) => origin_in(callee, number, file).unwrap_or(call),
                Origins::Call => call,
            };
            if instruction.opcode == Opcode::Call {
                add_operands(function, first, &mut instruction)?;
            }
            if let Some(result) = moved.result(&instruction, i.a) {
                self.push(result, origin, true)?;
            }
            self.push(moved.instruction(&instruction), origin, true)?;
        }
        Ok(true)
    }
}

/// The numbers of the instructions of an inlined function: a return with a value takes two.
struct Numbers {
    first: u32,
    /// The instructions that take two, as bits.
    pairs: u32,
    end: u32,
}

fn body_numbers(callee: &Function<'_>, first: u32) -> Numbers {
    let is_pair = callee.instructions().map(|i| i.is_some_and(|i| i.opcode == Opcode::Return));
    let pairs = is_pair
        .enumerate()
        .fold(0, |pairs, (index, is_pair)| pairs | u32::from(is_pair) << (index % 32));
    let len = u32::try_from(callee.len()).unwrap_or(u32::MAX);
    let end = first.saturating_add(len).saturating_add(pairs.count_ones());
    Numbers { first, pairs, end }
}

impl Numbers {
    fn of(&self, instruction: u32) -> u32 {
        let before = self.pairs & (1u32.checked_shl(instruction).unwrap_or(0).wrapping_sub(1));
        self.first.saturating_add(instruction).saturating_add(before.count_ones())
    }
}

/// How the instructions of a callee are written in the caller.
struct Renamed {
    first: u16,
    constants: i32,
    numbers: Numbers,
}

impl Renamed {
    /// The copy of the result that a return begins with. A result that is not used is copied to itself.
    fn result(&self, i: &Instruction, to: u16) -> Option<Instruction> {
        let value = self.first.saturating_add(i.a);
        let to = if to == NONE { value } else { to };
        (i.opcode == Opcode::Return).then(|| copy(i.type_code, to, value))
    }

    fn instruction(&self, i: &Instruction) -> Instruction {
        let mut new = *i;
        match i.opcode {
            Opcode::Return | Opcode::ReturnNone => {
                return plain(Opcode::Jump, 0, [0; 3], self.numbers.end.cast_signed());
            }
            Opcode::WideConstant => new.imm = i.imm.saturating_add(self.constants),
            _ => {}
        }
        if let Some(target) = i.target() {
            new.imm = self.numbers.of(target).cast_signed();
        }
        let rename = |local: u16| self.first.saturating_add(local);
        new.map_read(rename);
        if i.written().is_some() {
            new.a = rename(i.a);
        }
        new
    }
}

/// The function that calls.
struct Caller<'c> {
    own: &'c Function<'c>,
    file: Option<File<'c>>,
}

/// The file of all source locations of a function.
struct File<'f> {
    /// The offset of its name in the strings, or [`NONE`].
    offset: u16,
    name: Option<&'f str>,
}

/// The file that all source locations of a function name, if it has any.
fn only_file<'f>(function: &Function<'f>) -> Option<File<'f>> {
    let file_of = |&[.., f0, f1]: &[u8; LOCATION]| u16::from_le_bytes([f0, f1]);
    let offset = function.locations.first().map(file_of)?;
    let name = function.locations().next()?.file;
    let is_only = function.locations.iter().all(|entry| file_of(entry) == offset);
    is_only.then_some(File { offset, name })
}

/// The source locations of inlined instructions.
#[derive(Clone, Copy)]
enum Origins {
    /// Those in the function, which is inlined into itself.
    Own,
    /// Those in the callee, whose file has this offset in the strings of the caller.
    Callee(u16),
    /// That of the call.
    Call,
}

/// The source locations of the instructions of a small callee; `None` if a trap would report a place that it is not at.
fn origins_of(callee: &Function<'_>, caller: &Caller<'_>) -> Option<Origins> {
    if core::ptr::eq(callee.instructions, caller.own.instructions) {
        return Some(Origins::Own);
    }
    let mut traps =
        (0u32..).zip(callee.instructions()).filter(|(_, i)| i.is_none_or(|i| can_trap(&i)));
    let trap = traps.next().map(|found| found.0);
    let first = callee.locations().next().map(|first| first.instruction);
    let is_stated = trap.is_none() || first <= trap;
    let files = only_file(callee).zip(caller.file.as_ref());
    match files.filter(|(one, two)| one.name == two.name) {
        Some((_, file)) if is_stated => Some(Origins::Callee(file.offset)),
        _ => trap.is_none().then_some(Origins::Call),
    }
}

/// The callee of `i` and its source locations, if it is to be inlined.
fn candidate<'l>(
    function: &EditableFunction,
    caller: &Caller<'_>,
    i: &Instruction,
    lookup: Lookup<'l>,
) -> Option<(&'l Function<'l>, Origins)> {
    if i.opcode != Opcode::Call {
        return None;
    }
    let number = function.callees.get(usize::from(i.b))?.function?;
    let callee = lookup(number)?;
    let is_small = callee.len() <= MAX_CALLEE && callee.locals() <= MAX_LOCALS;
    let has_memory = callee.slots().len() > 0 || callee.data_count() > 0;
    // What follows takes time in proportion to the callee, for each call.
    if !is_small || has_memory || callee.type_params() != 0 {
        return None;
    }
    let origins = origins_of(callee, caller)?;
    let is_inlinable = |inner: Instruction| match inner.opcode {
        // The operands of the callee are those of the function, which no pass has changed yet.
        Opcode::Call if matches!(origins, Origins::Own) => {
            let callee = function.callees.get(usize::from(inner.b));
            let has_space = function.operands.len() < MAX_OPERANDS;
            has_space && callee.is_some_and(|callee| callee.function == Some(number))
        }
        Opcode::FunctionAddress | Opcode::CheckStack => false,
        opcode => !opcode.is_call(),
    };
    if !callee.instructions().all(|i| i.is_some_and(is_inlinable)) {
        return None;
    }
    // The entry of the callee in the caller states a signature, which must be that of the function.
    let params = callee.signature().params;
    let operands = function.operands_of(i);
    let is_same = operands.len() == params.len()
        && operands.iter().zip(params).all(|(&local, &code)| function.local_code(local) == code)
        && (i.a == NONE || function.local_code(i.a) == callee.signature().result);
    let is_bound = callee.local_codes().iter().all(|&code| scalar_of(code).is_some());
    (is_same && is_bound).then_some((callee, origins))
}

/// Gives `call` of an inlined function operands of its own.
fn add_operands(
    function: &mut EditableFunction,
    first: u16,
    call: &mut Instruction,
) -> Result<(), AllocError> {
    let next = function.operands.len();
    for position in 0..function.operands_of(call).len() {
        let local = function.operands_of(call).get(position).copied().unwrap_or(NONE);
        try_push(&mut function.operands, first.saturating_add(local))?;
    }
    call.imm = i32::try_from(next).unwrap_or(i32::MAX);
    Ok(())
}

/// Adds the locals of the callee; the number of the first one.
fn add_locals(
    function: &mut EditableFunction,
    callee: &Function<'_>,
) -> Result<Option<u16>, AllocError> {
    let count = function.locals.len();
    let codes = callee.local_codes();
    let fits = count.checked_add(codes.len()).is_some_and(|sum| sum < usize::from(NONE));
    let Some(first) = u16::try_from(count).ok().filter(|_| fits) else { return Ok(None) };
    try_reserve(&mut function.locals, codes.len())?;
    function.locals.extend_from_slice(codes);
    Ok(Some(first))
}

/// Adds the constants of the callee; the number of the first one.
fn add_constants(
    function: &mut EditableFunction,
    callee: &Function<'_>,
) -> Result<Option<i32>, AllocError> {
    let Ok(first) = i32::try_from(function.constants.len()) else { return Ok(None) };
    // A function of a few instructions uses a few constants, whatever its table has.
    if callee.constants.len() > MAX_CALLEE {
        return Ok(None);
    }
    for bits in callee.constants {
        try_push(&mut function.constants, u64::from_le_bytes(*bits))?;
    }
    Ok(Some(first))
}

/// The source location of an instruction of a callee, in the file with this offset; `None` in front of the first one.
fn origin_in(callee: &Function<'_>, number: usize, file: u16) -> Option<Origin> {
    let is_before = |first: u32| usize::try_from(first).is_ok_and(|first| first <= number);
    let found = callee.locations().take_while(|entry| is_before(entry.instruction)).last()?;
    Some(Origin { line: found.line, column: found.column, file })
}

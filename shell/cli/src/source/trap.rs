//! The description of a trap: what happened, in which function, and where in the source.

use smf_core::ir::{
    Binary, CalleeKind, DIVISION_BY_ZERO, Function, Instruction, OVERFLOW, Opcode, STACK_LIMIT,
    Scalar, SourceLocation, TrapCode,
};
use smf_core::source::{TRAP_ASSERT, TrapCause};
use smf_core::templates::Instance;
use smf_core::trap::Trap;
use smf_loader::source_trap::SourceTrap;

use super::Executable;

/// Where a function trapped.
#[derive(Clone, Copy, Debug)]
pub(super) enum At {
    /// The line of the source location, as compiled code reports it.
    Line(u32),
    /// The instruction, as an offset in bytes from the start of its function, as the interpreter reports it.
    Offset(u32),
}

/// A trap of a function of an [`Executable`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Trapped<'t> {
    pub(super) function: Option<&'t [u8]>,
    pub(super) code: u32,
    pub(super) operands: [u64; 2],
    pub(super) at: At,
}

impl Trapped<'_> {
    pub(super) fn describe(&self, executable: &Executable) -> String {
        let Self { function, code, at, .. } = *self;
        let functions = executable.unit.functions();
        let index = function.and_then(|name| executable.find(name));
        let own = index.and_then(|index| Some((index, sites(executable, index, code, at)?)));
        let (found, is_ambiguous) = match (own, at) {
            (Some(own), _) => (Some(own), false),
            (None, At::Line(_)) => inlined(executable, index, code, at),
            (None, At::Offset(_)) => (None, false),
        };
        let what = self.what(executable, found.as_ref());
        let place = match (&found, at) {
            (Some((_, sites)), _) => sites.place(),
            (None, At::Line(line)) if executable.source.is_some() => format!("line {line}"),
            (None, At::Line(offset) | At::Offset(offset)) => format!("offset {offset:#x}"),
        };
        let name = match found.map(|(index, _)| index).or(index) {
            _ if is_ambiguous => None,
            Some(index) => functions.get(index).map(|f| f.name().to_string()),
            None => function.map(|name| String::from_utf8_lossy(name).into_owned()),
        };
        match name {
            Some(name) => format!("{what} in function `{name}` at {place}"),
            None => format!("{what} at {place}"),
        }
    }

    /// What the trap code means.
    fn what(&self, executable: &Executable, found: Option<&(usize, Sites)>) -> String {
        if executable.source.is_none() && TrapCause::of(self.code, self.operands).is_some() {
            return TrapCode(self.code).to_string();
        }
        let message = found.filter(|_| self.code == TRAP_ASSERT);
        let message = message.and_then(|(index, sites)| message_at(executable, *index, sites));
        let message = message.map(|message| format!(": {message}")).unwrap_or_default();
        name(self.code, self.operands) + &message
    }
}

/// What a trap of compiled source means.
pub(crate) fn name(code: u32, operands: [u64; 2]) -> String {
    TrapCause::of(code, operands)
        .map_or_else(|| TrapCode(code).to_string(), |cause| cause.to_string())
}

/// Describes a trap of an instance of a template in IR, whose body is unknown if the template was replaced.
pub(crate) fn in_ir_instance(instance: &Instance, trap: Trap, body: Option<&[u8]>) -> String {
    let Trap { code, at, .. } = trap;
    let symbol = String::from_utf8_lossy(instance.symbol());
    let place = match body.and_then(|body| Function::parse(body).ok()) {
        None => at.to_string(),
        Some(body) if body.locations().len() == 0 => {
            format!("offset {at:#x} of the template's body")
        }
        Some(body) => sites_in(&body, code, At::Line(at))
            .map_or_else(|| format!("line {at}"), |sites| sites.place()),
    };
    format!("{} in function `{symbol}` at {place}", TrapCode(code))
}

/// Describes a trap of an instance of a template in source.
pub(crate) fn in_instance(instance: &Instance, trap: Trap, found: Option<SourceTrap>) -> String {
    let symbol = String::from_utf8_lossy(instance.symbol());
    let function = Some(symbol.into_owned());
    let found = found.unwrap_or_else(|| SourceTrap { function, ..SourceTrap::default() });
    in_source(trap, &found) + if found.file.is_empty() { " of the template" } else { "" }
}

/// Describes a trap in code that was compiled from source.
pub(crate) fn in_source(trap: Trap, found: &SourceTrap) -> String {
    let SourceTrap { function, file, message } = found;
    let what = name(trap.code, trap.operands);
    let message = if message.is_empty() { String::new() } else { format!(": {message}") };
    let function = function.as_ref().map(|name| format!(" in function `{name}`"));
    let place = if file.is_empty() { "line ".to_owned() } else { format!("{file}:") };
    format!("{what}{message}{} at {place}{}", function.unwrap_or_default(), trap.at)
}

/// The message of the assertion at a place.
fn message_at(executable: &Executable, index: usize, sites: &Sites) -> Option<String> {
    let definition = executable.source.as_ref()?.functions.get(index)?;
    let column = sites.column?;
    let mut assertions = definition.assertions.iter();
    let found = assertions.find(|a| a.line == sites.line && a.column == u32::from(column))?;
    Some(found.message.clone()).filter(|message| !message.is_empty())
}

/// The instructions that can have trapped.
#[derive(Debug)]
struct Sites {
    /// `None` if instructions of several files can.
    file: Option<String>,
    line: u32,
    /// `None` if instructions of several columns can.
    column: Option<u16>,
}

impl Sites {
    fn of(location: &SourceLocation<'_>) -> Self {
        let file = location.file.map(str::to_owned);
        Self { file, line: location.line, column: Some(location.column) }
    }

    /// Other instructions of the line can have trapped as well.
    fn add(&mut self, other: &Self) {
        let is_same_file = self.file == other.file;
        self.column = self.column.filter(|_| is_same_file && self.column == other.column);
        self.file = self.file.take().filter(|_| is_same_file);
    }

    fn place(&self) -> String {
        let file =
            self.file.as_deref().map_or_else(|| "line ".to_owned(), |file| format!("{file}:"));
        let column = self.column.filter(|&column| column > 0);
        let column = column.map(|column| format!(":{column}")).unwrap_or_default();
        format!("{file}{}{column}", self.line)
    }
}

/// The places at which a function calls the function of the host with this symbol.
pub(super) fn calls(executable: &Executable, index: usize, symbol: &str) -> Vec<String> {
    let function = executable.unit.functions().get(index);
    let Some(Ok(instance)) = function.map(|function| function.instance()) else {
        return Vec::new();
    };
    let body = instance.body();
    let locations: Vec<SourceLocation<'_>> = body.locations().collect();
    let mut places = Vec::new();
    for (number, instruction) in body.instructions().enumerate() {
        let is_call = |i: &Instruction| {
            let callee = body.callee(i.b).ok().filter(|callee| callee.kind == CalleeKind::Host);
            matches!(i.opcode, Opcode::Call | Opcode::ReturnCall)
                && callee.is_some_and(|callee| callee.name == symbol)
        };
        let Some(location) =
            location(&locations, number).filter(|_| instruction.is_some_and(|i| is_call(&i)))
        else {
            continue;
        };
        let place = Sites::of(location).place();
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

/// The source location of an instruction.
fn location<'l, 'b>(
    locations: &'l [SourceLocation<'b>],
    number: usize,
) -> Option<&'l SourceLocation<'b>> {
    let after =
        locations.partition_point(|l| usize::try_from(l.instruction).is_ok_and(|i| i <= number));
    locations.get(after.checked_sub(1)?)
}

/// The function whose code became part of function `index`, its caller, and trapped there with the line of the callee; and
/// whether several can have. The compiler inlines a function that may trap only into one of the same file.
fn inlined(
    executable: &Executable,
    index: Option<usize>,
    code: u32,
    at: At,
) -> (Option<(usize, Sites)>, bool) {
    let functions = executable.unit.functions();
    let file = index.and_then(|index| {
        let location = functions.get(index)?.instance().ok()?.body().locations().next()?;
        location.file.map(str::to_owned)
    });
    let mut found = (0..functions.len())
        .filter_map(|index| Some((index, sites(executable, index, code, at)?)))
        .filter(|(_, sites)| file.is_none() || sites.file == file);
    let mut first = found.next();
    let mut is_ambiguous = false;
    if let Some((_, sites)) = &mut first {
        // Several instances of a generic function have the line.
        for (_, other) in found {
            is_ambiguous = true;
            sites.add(&other);
        }
    }
    (first, is_ambiguous)
}

/// The instructions of a function that trap with `code` at a place.
fn sites(executable: &Executable, index: usize, code: u32, at: At) -> Option<Sites> {
    let instance = executable.unit.functions().get(index)?.instance().ok()?;
    sites_in(instance.body(), code, at)
}

/// The same of a body.
fn sites_in(body: &Function<'_>, code: u32, at: At) -> Option<Sites> {
    let mut found: Option<Sites> = None;
    let locations: Vec<SourceLocation<'_>> = body.locations().collect();
    for (number, instruction) in body.instructions().enumerate() {
        if !instruction.is_some_and(|instruction| traps(&instruction, code)) {
            continue;
        }
        let Some(location) = location(&locations, number) else { continue };
        let is_here = match at {
            At::Line(line) => location.line == line,
            At::Offset(offset) => body.offset(number) == offset,
        };
        if !is_here {
            continue;
        }
        match &mut found {
            None => found = Some(Sites::of(location)),
            Some(sites) => sites.add(&Sites::of(location)),
        }
    }
    found
}

/// Whether an instruction traps with `code`.
fn traps(instruction: &Instruction, code: u32) -> bool {
    let is_integer =
        Scalar::from_code(instruction.type_code).is_none_or(|scalar| !scalar.is_float());
    match instruction.opcode {
        Opcode::Binary(Binary::Divide | Binary::Remainder) => {
            code == DIVISION_BY_ZERO && is_integer
        }
        Opcode::Binary(Binary::AddChecked | Binary::SubtractChecked | Binary::MultiplyChecked) => {
            code == OVERFLOW
        }
        Opcode::CheckStack => code == STACK_LIMIT,
        Opcode::Trap | Opcode::TrapCompare(_) | Opcode::TrapIf(_) => {
            instruction.imm.cast_unsigned() == code
        }
        _ => false,
    }
}

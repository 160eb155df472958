//! The comparison of engines.

use std::fmt;

use super::draw::Case;
use super::engine::{Engine, Outcome};
use super::host::{Host, HostCall};

/// How often a case ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Runs that all engines made, with equal outcomes.
    pub compared: u32,
    /// How many of these ended in a trap.
    pub trapped: u32,
    /// Runs that exceeded the step limit of the first engine.
    pub exhausted: u32,
    /// Runs that the first engine found to be invalid. Drawn programs have none.
    pub invalid: u32,
}

impl Checked {
    /// The sums of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            compared: self.compared + other.compared,
            trapped: self.trapped + other.trapped,
            exhausted: self.exhausted + other.exhausted,
            invalid: self.invalid + other.invalid,
        }
    }
}

/// What is observable of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// How it ended.
    pub outcome: Outcome,
    /// The calls of the host.
    pub calls: Vec<HostCall>,
    /// The memory behind the run.
    pub memory: Vec<u8>,
}

impl Observed {
    /// Whether an engine that reports less about a trap may have observed the same.
    fn agrees(&self, other: &Self) -> bool {
        let is_equal = match (self.outcome, other.outcome) {
            (
                Outcome::Trapped { code, at, function },
                Outcome::Trapped { code: other_code, at: other_at, function: other_function },
            ) => code == other_code && is_same(at, other_at) && is_same(function, other_function),
            (outcome, other) => outcome == other,
        };
        is_equal && self.calls == other.calls && self.memory == other.memory
    }
}

/// Whether two engines report the same, or one of them does not report it.
fn is_same(one: Option<u32>, other: Option<u32>) -> bool {
    one.is_none() || other.is_none() || one == other
}

/// Two engines that disagree.
#[derive(Debug)]
pub struct Mismatch {
    /// The names of both.
    pub engines: [String; 2],
    /// The arguments of the call.
    pub args: Vec<u64>,
    /// What they observed; `None` if the second refused the program.
    pub observed: Option<Box<[Observed; 2]>>,
    /// Why it refused it.
    pub refused: String,
    /// The program.
    pub program: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = &self.engines;
        writeln!(f, "{}", self.program)?;
        let Some(observed) = &self.observed else {
            return write!(f, "{second} refuses the program: {}", self.refused);
        };
        writeln!(f, "with the arguments {:x?}", self.args)?;
        for (name, observed) in [first, second].into_iter().zip(observed.iter()) {
            writeln!(f, "{name}: {:x?}, {} calls", observed.outcome, observed.calls.len())?;
        }
        let [one, two] = &**observed;
        if let Some((one, two)) = one.calls.iter().zip(&two.calls).find(|(one, two)| one != two) {
            writeln!(f, "the first different calls of the host: {one:x?}, {two:x?}")?;
        }
        let mut bytes = one.memory.iter().zip(&two.memory);
        if let Some(offset) = bytes.position(|(one, two)| one != two) {
            writeln!(f, "the memory differs from offset {offset} of the window on")?;
        }
        Ok(())
    }
}

/// Runs `run` with a host.
pub fn observe(mut host: Host, run: impl FnOnce(&mut Host) -> Outcome) -> Observed {
    let outcome = run(&mut host);
    let (calls, memory) = host.finish();
    Observed { outcome, calls, memory }
}

/// Compares engines with what something else, which `name` describes, observed of the only call of a case.
///
/// # Errors
/// The first difference, or the refusal of an engine.
pub fn check_against(
    (name, expected): (&str, &Observed),
    engines: &[&dyn Engine],
    case: &Case,
) -> Result<(), Box<Mismatch>> {
    let [args] = &case.arguments[..] else { return Ok(()) };
    for engine in engines {
        let mismatch = Mismatch {
            engines: [name.to_owned(), engine.name().to_owned()],
            args: args.clone(),
            observed: None,
            refused: String::new(),
            program: String::new(),
        };
        let program = || case.program.to_string();
        let found = match engine.compile(&case.program) {
            Ok(mut runnable) => observe(Host::new(case.seed), |host| runnable.run(args, host)),
            Err(refused) => {
                return Err(Box::new(Mismatch { refused, program: program(), ..mismatch }));
            }
        };
        if !expected.agrees(&found) {
            let observed = Some(Box::new([expected.clone(), found]));
            return Err(Box::new(Mismatch { observed, program: program(), ..mismatch }));
        }
    }
    Ok(())
}

/// Runs a case on all engines and compares them with the first one, which has a limit of steps.
///
/// # Errors
/// The first difference, or the refusal of an engine.
pub fn check(engines: &[&dyn Engine], case: &Case) -> Result<Checked, Box<Mismatch>> {
    let [oracle, others @ ..] = engines else { return Ok(Checked::default()) };
    let mismatch = |engine: &dyn Engine| Mismatch {
        engines: [oracle.name().to_owned(), engine.name().to_owned()],
        args: Vec::new(),
        observed: None,
        refused: String::new(),
        program: case.program.to_string(),
    };
    let mut runnables = Vec::new();
    for &engine in engines {
        let refuse = |refused| Box::new(Mismatch { refused, ..mismatch(engine) });
        runnables.push(engine.compile(&case.program).map_err(refuse)?);
    }
    let mut checked = Checked::default();
    for args in &case.arguments {
        let mut observed = runnables
            .iter_mut()
            .map(|runnable| observe(Host::new(case.seed), |host| runnable.run(args, host)));
        let Some(expected) = observed.next() else { continue };
        match expected.outcome {
            Outcome::Exhausted => checked.exhausted += 1,
            Outcome::Invalid => checked.invalid += 1,
            _ => {}
        }
        if matches!(expected.outcome, Outcome::Exhausted | Outcome::Invalid) {
            continue;
        }
        for (engine, found) in others.iter().zip(observed) {
            if !expected.agrees(&found) {
                let observed = Some(Box::new([expected, found]));
                return Err(Box::new(Mismatch {
                    args: args.clone(),
                    observed,
                    ..mismatch(*engine)
                }));
            }
        }
        checked.compared += 1;
        checked.trapped += u32::from(matches!(expected.outcome, Outcome::Trapped { .. }));
    }
    Ok(checked)
}

//! Values of drawn programs: instructions that push one, and that compute with the last.

use smf_core::bytecode::verify::Kind;

use super::source::Source;
use super::{I, Writer};

/// The maximum number of arguments of a function of the host.
const MOST_HOST_ARGUMENTS: u8 = 8;

impl Writer<'_> {
    /// Computes with the last value on the stack.
    pub(super) fn fold(&mut self, source: &mut Source<'_>) {
        let Some(&kind) = self.vector.last() else { return };
        if source.below(2) == 0 {
            // First copies it elsewhere.
            let src = u16::try_from(self.vector.len() - 1).unwrap();
            self.slot_of(source, kind).into_iter().for_each(|dest| self.put(I::Dup { src, dest }));
        }
        match (kind, source.below(4)) {
            (Kind::Nil, _) => self.drop_last(source),
            (Kind::I64, 0) => self.operate(I::NegI64, 1, kind),
            (Kind::Bool, 0) => self.operate(I::Not, 1, kind),
            (_, choice) => {
                // The value below is the other operand if its kind fits.
                let before = self.vector.len() - 2;
                if choice != 1 || before < self.floor || self.vector[before] != kind {
                    self.value(source, kind, 1);
                }
                let operator = match kind {
                    Kind::F64 => source.choose([I::AddF64, I::SubF64, I::MulF64, I::DivF64]),
                    Kind::Bool => source.choose([I::And, I::Or, I::Eq, I::Ne]),
                    _ => source.choose([I::AddI64, I::SubI64, I::MulI64, I::DivI64, I::ModI64]),
                };
                self.operate(operator, 2, kind);
            }
        }
    }

    /// Pushes a value of a kind.
    pub(super) fn value(&mut self, source: &mut Source<'_>, kind: Kind, depth: u8) {
        if depth == 0 || source.below(3) == 0 {
            return self.leaf(source, kind);
        }
        match kind {
            Kind::I64 => self.integer(source, depth - 1),
            Kind::F64 => {
                self.value(source, Kind::F64, depth - 1);
                self.value(source, Kind::F64, depth - 1);
                let operator = source.choose([I::AddF64, I::SubF64, I::MulF64, I::DivF64]);
                self.operate(operator, 2, Kind::F64);
            }
            Kind::Bool => self.condition(source, depth - 1),
            Kind::Nil | Kind::Value => self.leaf(source, kind),
        }
    }

    /// Pushes an existing value.
    fn leaf(&mut self, source: &mut Source<'_>, kind: Kind) {
        match (kind, source.below(3), self.slot_of(source, kind)) {
            (Kind::I64, 0, _) => self.put(I::ConstI64Push { value: source.integer() }),
            (Kind::I64, 1, _) => {
                let local = self.local(source);
                self.put(I::LoadPush { local });
            }
            (_, _, Some(src)) => self.put(I::Push { src }),
            (_, _, None) => self.constant(source, self.vector.len(), kind),
        }
        self.vector.push(kind);
    }

    fn integer(&mut self, source: &mut Source<'_>, depth: u8) {
        let op = source.below(9);
        if op == 1 {
            return self.call(source, depth);
        }
        self.value(source, Kind::I64, depth);
        if op == 0 {
            return self.operate(I::NegI64, 1, Kind::I64);
        }
        self.value(source, Kind::I64, depth);
        let operator = match op {
            2 => source.choose([I::DivI64, I::ModI64]),
            3 | 4 => I::AddI64,
            5 => I::SubI64,
            _ => I::MulI64,
        };
        self.operate(operator, 2, Kind::I64);
    }

    /// Calls a later function, or one of the host, with arguments of this depth.
    pub(super) fn call(&mut self, source: &mut Source<'_>, depth: u8) {
        let later = self.params.len() - self.index - 1;
        let (argc, instruction) = if later > 0 && source.below(3) != 0 {
            let function = self.index + 1 + usize::from(source.byte()) % later;
            let argc = self.params[function];
            (argc, I::Call { function: u32::try_from(function).unwrap(), argc })
        } else {
            let argc = source.arguments(MOST_HOST_ARGUMENTS);
            (argc, I::CallSffi { index: argc, argc })
        };
        (0..argc).for_each(|_| self.value(source, Kind::I64, depth.min(1)));
        self.operate(instruction, argc.into(), Kind::I64);
    }

    fn condition(&mut self, source: &mut Source<'_>, depth: u8) {
        const NUMBERS: [Kind; 2] = [Kind::I64, Kind::F64];
        let (kinds, operator) = match source.below(4) {
            0 => {
                self.value(source, Kind::Bool, depth);
                return self.operate(I::Not, 1, Kind::Bool);
            }
            1 => ([Kind::Bool; 2], source.choose([I::And, I::Or, I::Eq, I::Ne])),
            _ => (
                [source.choose(NUMBERS), source.choose(NUMBERS)],
                source.choose([I::Eq, I::Ne, I::Lt, I::Le, I::Gt, I::Ge]),
            ),
        };
        kinds.into_iter().for_each(|kind| self.value(source, kind, depth));
        self.operate(operator, 2, Kind::Bool);
    }
}

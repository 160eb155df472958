//! Expressions: values in locals that are set once.

use smf_core::ir::{Binary, Condition, Local, Scalar, Unary, Value};

use super::{Writer, bits, scalar};

const CONDITIONS: [Condition; 6] = [
    Condition::Equal,
    Condition::NotEqual,
    Condition::Less,
    Condition::LessEqual,
    Condition::Greater,
    Condition::GreaterEqual,
];

impl Writer<'_, '_> {
    /// A local with a value of this type.
    pub(super) fn value(&mut self, scalar: Scalar, depth: u8) -> Local {
        if depth == 0 || self.source.below(4) == 0 {
            return self.leaf(scalar);
        }
        match scalar {
            Scalar::F32 | Scalar::F64 => self.float(scalar, depth - 1),
            Scalar::Bool => self.boolean(depth - 1),
            Scalar::Pointer => self.converted(scalar, depth - 1),
            _ => self.integer(scalar, depth - 1),
        }
    }

    fn leaf(&mut self, scalar: Scalar) -> Local {
        if self.source.below(4) != 0
            && let Some(local) = self.variable(scalar)
        {
            return local;
        }
        let to = self.temporary(scalar);
        self.constant(scalar, to);
        to
    }

    pub(super) fn constant(&mut self, scalar: Scalar, to: Local) {
        if self.source.below(3) == 0 {
            let bits = bits(self.source, scalar);
            self.builder.wide_constant(scalar, to, bits);
        } else {
            let number = self.number(scalar);
            self.builder.constant(scalar, to, number);
        }
    }

    /// A number in an instruction.
    fn number(&mut self, scalar: Scalar) -> i32 {
        match self.source.below(8) {
            number if scalar == Scalar::Bool => i32::from(number) & 1,
            0 => i32::MIN,
            1 => i32::MAX,
            2 => i32::from(i16::from_le_bytes([self.source.byte(), self.source.byte()])),
            _ => self.source.byte().cast_signed().into(),
        }
    }

    /// A second value: a local, or a number.
    fn second(&mut self, scalar: Scalar, depth: u8) -> Value {
        match self.source.below(3) {
            0 => self.number(scalar).into(),
            _ => self.value(scalar, depth).into(),
        }
    }

    /// A second value of a branch, whose numbers are short.
    pub(super) fn short_second(&mut self, scalar: Scalar, depth: u8) -> Value {
        match self.second(scalar, depth) {
            Value::Number(number) => Value::Number(number.clamp(i16::MIN.into(), i16::MAX.into())),
            local => local,
        }
    }

    /// A condition of two values of one type.
    pub(super) fn condition(&mut self) -> (Condition, Scalar) {
        let scalar = match scalar(self.source) {
            Scalar::Pointer => Scalar::U64,
            scalar => scalar,
        };
        let condition = self.source.choose(CONDITIONS);
        match (scalar, condition) {
            (Scalar::Bool, Condition::Equal | Condition::NotEqual) => (condition, scalar),
            (Scalar::Bool, _) => (condition, Scalar::I32),
            _ => (condition, scalar),
        }
    }

    fn binary(&mut self, operation: Binary, scalar: Scalar, left: Local, right: Value) -> Local {
        let to = self.temporary(scalar);
        self.builder.binary(operation, scalar, to, left, right);
        to
    }

    fn unary(&mut self, operation: Unary, scalar: Scalar, depth: u8) -> Local {
        let from = self.value(scalar, depth);
        let to = self.temporary(scalar);
        self.builder.unary(operation, scalar, to, from);
        to
    }

    fn integer(&mut self, scalar: Scalar, depth: u8) -> Local {
        match self.source.below(20) {
            0 => {
                let operation = self.source.choose([Unary::Negate, Unary::Not]);
                self.unary(operation, scalar, depth)
            }
            1 => self.converted(scalar, depth),
            2 => self.selected(scalar, depth),
            3 => self.loaded(scalar),
            4..7 => self.called(scalar, depth),
            7 | 8 => self.divided(scalar, depth),
            9 => self.checked(scalar, depth),
            10 if matches!(scalar, Scalar::I64 | Scalar::U64) => {
                let to = self.temporary(scalar);
                let of = super::scalar(self.source);
                self.builder.size_of(of, to);
                to
            }
            _ => {
                let operation = self.source.choose([
                    Binary::Add,
                    Binary::Subtract,
                    Binary::Subtract,
                    Binary::Multiply,
                    Binary::And,
                    Binary::Or,
                    Binary::Xor,
                    Binary::ShiftLeft,
                    Binary::ShiftRight,
                    Binary::RotateLeft,
                ]);
                let left = self.value(scalar, depth);
                let right = self.second(scalar, depth);
                self.binary(operation, scalar, left, right)
            }
        }
    }

    /// A quotient or remainder, rarely by 0.
    fn divided(&mut self, scalar: Scalar, depth: u8) -> Local {
        let operation = self.source.choose([Binary::Divide, Binary::Remainder]);
        let left = self.value(scalar, depth);
        let mut right = self.second(scalar, depth);
        match right {
            Value::Number(0) => right = Value::Number(7),
            Value::Local(local) if self.source.below(16) != 0 => {
                right = self.binary(Binary::Or, scalar, local, 1.into()).into();
            }
            _ => {}
        }
        self.binary(operation, scalar, left, right)
    }

    /// A checked operation, mostly on small numbers, which do not overflow.
    fn checked(&mut self, scalar: Scalar, depth: u8) -> Local {
        let operation = self.source.choose([
            Binary::AddChecked,
            Binary::SubtractChecked,
            Binary::MultiplyChecked,
        ]);
        let (mut left, mut right) = (self.value(scalar, depth), self.value(scalar, depth));
        if self.source.below(12) != 0 {
            left = self.binary(Binary::And, scalar, left, 7.into());
            left = self.binary(Binary::Or, scalar, left, 8.into());
            right = self.binary(Binary::And, scalar, right, 7.into());
        }
        let right = if self.source.below(4) == 0 { 5.into() } else { right.into() };
        self.binary(operation, scalar, left, right)
    }

    fn float(&mut self, scalar: Scalar, depth: u8) -> Local {
        match self.source.below(12) {
            0 | 1 => {
                let operation =
                    self.source.choose([Unary::Negate, Unary::SquareRoot, Unary::Absolute]);
                self.unary(operation, scalar, depth)
            }
            2 => self.converted(scalar, depth),
            3 => self.selected(scalar, depth),
            4 => self.loaded(scalar),
            5 => self.called(scalar, depth),
            _ => {
                let operation = self.source.choose([
                    Binary::Add,
                    Binary::Subtract,
                    Binary::Multiply,
                    Binary::Divide,
                ]);
                let left = self.value(scalar, depth);
                let right = self.second(scalar, depth);
                self.binary(operation, scalar, left, right)
            }
        }
    }

    pub(super) fn boolean(&mut self, depth: u8) -> Local {
        match self.source.below(8) {
            0 => self.unary(Unary::Not, Scalar::Bool, depth),
            1 => {
                let operation = self.source.choose([Binary::And, Binary::Or, Binary::Xor]);
                let left = self.value(Scalar::Bool, depth);
                let right = self.value(Scalar::Bool, depth).into();
                self.binary(operation, Scalar::Bool, left, right)
            }
            2 => self.converted(Scalar::Bool, depth),
            3 => self.loaded(Scalar::Bool),
            4 => self.called(Scalar::Bool, depth),
            _ => {
                let (condition, scalar) = self.condition();
                let left = self.value(scalar, depth);
                let right = self.second(scalar, depth);
                let to = self.temporary(Scalar::Bool);
                self.builder.compare(condition, scalar, to, left, right);
                to
            }
        }
    }

    fn converted(&mut self, scalar: Scalar, depth: u8) -> Local {
        let from = super::scalar(self.source);
        let value = self.value(from, depth);
        let to = self.temporary(scalar);
        self.builder.convert(scalar, to, from, value);
        to
    }

    fn selected(&mut self, scalar: Scalar, depth: u8) -> Local {
        let condition = self.boolean(depth);
        let (first, second) = (self.value(scalar, depth), self.value(scalar, depth));
        let to = self.temporary(scalar);
        self.builder.select(scalar, to, condition, first, second);
        to
    }
}

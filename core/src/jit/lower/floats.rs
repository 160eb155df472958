//! Arithmetic on floats, and comparisons with them.
//!
//! NaN is unordered: it makes every comparison false but `NE`. `UCOMISD` sets ZF, PF and CF for it, so
//! that *above* and *above or equal* are false; what asks for *below* swaps its operands.
//! Source: Intel SDM volume 2, "UCOMISD".

use super::Body;
use super::compare::Outcome;
use super::variable::Value;
use crate::bytecode::Relation;
use crate::bytecode::instruction::Opcode;
use crate::codegen::x64::{Cond, Float, Scalar, W64, Xmm, XmmOrMem};

impl Body<'_, '_> {
    /// Pops two floats and pushes what the instruction makes of them.
    pub(super) fn floats(&mut self, opcode: Opcode) {
        let row = match opcode {
            Opcode::AddF64 => Scalar::ADD,
            Opcode::SubF64 => Scalar::SUB,
            Opcode::MulF64 => Scalar::MUL,
            _ => Scalar::DIV,
        };
        let right = self.pop();
        let left = self.pop();
        let to = self.float_to_change(left);
        let from = self.float_operand(right, true);
        self.l.asm.scalar(row, Float::F64, to, from);
        self.release_float(from);
        self.push(Value::xmm(to));
    }

    fn release_float(&mut self, operand: XmmOrMem) {
        if let XmmOrMem::Xmm(register) = operand {
            self.release(Value::xmm(register));
        }
    }

    /// The operand in a register of its own.
    fn float_to_change(&mut self, value: Value) -> Xmm {
        if let Value::Float(number) = value {
            return number.xmm();
        }
        let to = self.float_temporary();
        self.load_float(to, value);
        self.release(value);
        to
    }

    /// The operand where an instruction takes it from. An integer is converted.
    fn float_operand(&mut self, value: Value, is_float: bool) -> XmmOrMem {
        match (value, self.place(value)) {
            (Value::Float(number), _) => XmmOrMem::Xmm(number.xmm()),
            (_, Some(place)) if is_float && place.register().is_none() => place.memory().into(),
            _ if is_float => XmmOrMem::Xmm(self.float_to_change(value)),
            _ => XmmOrMem::Xmm(self.converted(value)),
        }
    }

    fn load_float(&mut self, to: Xmm, value: Value) {
        match (value, self.place(value)) {
            (Value::Int(0), _) => self.l.asm.xorps(to, to),
            (Value::Int(_), _) => {
                let register = self.temporary();
                self.load(register, value);
                self.l.asm.movq(to, register);
                self.release(Value::gpr(register));
            }
            (_, Some(place)) => match place.register() {
                Some(register) => self.l.asm.movq(to, register),
                None => self.l.asm.movsd(to, place.memory()),
            },
            (_, None) => {}
        }
    }

    /// An integer as a float.
    fn converted(&mut self, value: Value) -> Xmm {
        let to = self.float_temporary();
        if let Value::Int(value) = value {
            // As the processor rounds: to nearest.
            self.load_float(to, Value::Int((value as f64).to_bits().cast_signed()));
            return to;
        }
        // The conversion would wait for what was in the register.
        self.l.asm.xorps(to, to);
        if let Some(place) = self.place(value) {
            self.l.asm.cvtsi2sd(to, W64, place);
        }
        self.release(value);
        to
    }

    /// Sets the flags by two numbers of which at least one is a float.
    pub(super) fn compare_floats(
        &mut self,
        relation: Relation,
        operands: [(Value, bool); 2],
    ) -> Outcome {
        let [left, right] = operands;
        let (outcome, first, second) = match relation {
            Relation::Eq => (Outcome::EqualFloats, left, right),
            Relation::Ne => (Outcome::UnequalFloats, left, right),
            Relation::Gt => (Outcome::When(Cond::A), left, right),
            Relation::Ge => (Outcome::When(Cond::Ae), left, right),
            Relation::Lt => (Outcome::When(Cond::A), right, left),
            Relation::Le => (Outcome::When(Cond::Ae), right, left),
        };
        let first = match self.float_operand(first.0, first.1) {
            XmmOrMem::Xmm(register) => register,
            XmmOrMem::Mem(place) => {
                let register = self.float_temporary();
                self.l.asm.movsd(register, place);
                register
            }
        };
        let second = self.float_operand(second.0, second.1);
        self.l.asm.ucomisd(first, second);
        self.release(Value::xmm(first));
        self.release_float(second);
        outcome
    }
}

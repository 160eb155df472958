//! Division: never by zero, and the lowest integer by -1 wraps, where the processor would fault.

use super::abi::TrapKind;
use super::variable::{TEMPORARIES, Value};
use super::{Body, Lowering};
use crate::codegen::x64::{Cond, Gpr, GprOrStack, W64};

/// Which result of a division is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Quotient,
    Rest,
}

impl Body<'_, '_> {
    /// Pops two integers and pushes what the division of left by right gives.
    pub(super) fn divide(&mut self, wanted: Wanted) {
        let right = self.pop();
        let left = self.pop();
        match right {
            Value::Int(0) => {
                self.release(left);
                self.l.trap_always(TrapKind::DivisionByZero);
                self.push(Value::Int(0));
            }
            Value::Int(-1) if wanted == Wanted::Quotient => {
                self.push(left);
                self.negate();
            }
            Value::Int(-1 | 1) if wanted == Wanted::Rest => {
                self.release(left);
                self.push(Value::Int(0));
            }
            Value::Int(1) => self.push(left),
            Value::Int(right) if right > 0 && right.count_ones() == 1 => {
                self.divide_temporary(wanted, left, right);
            }
            _ => self.divide_any(wanted, left, right),
        }
    }

    fn divide_temporary(&mut self, wanted: Wanted, left: Value, right: i64) {
        let to = self.destination(left, left, None);
        let bias = self.temporary();
        self.load(to.register, left);
        self.release_but(left, to.register);
        self.l.divide_by_power(wanted, right, to.register, bias);
        self.release(Value::gpr(bias));
        self.deliver(to);
    }

    /// With a divisor that the processor divides by: in `rcx` unless it is where that finds it anyway.
    fn divide_any(&mut self, wanted: Wanted, left: Value, right: Value) {
        self.claim(Gpr::Rax);
        self.claim(Gpr::Rdx);
        let source = self.source(left);
        self.l.moves.add(Gpr::Rax, source);
        let divisor = match self.place(right) {
            Some(place) if !matches!(place.register(), Some(Gpr::Rax | Gpr::Rdx)) => place,
            _ => {
                self.claim(Gpr::Rcx);
                let source = self.source(right);
                self.l.moves.add(Gpr::Rcx, source);
                Gpr::Rcx.into()
            }
        };
        self.l.moves.emit(&mut self.l.asm);
        let result = self.l.divide(wanted, divisor, matches!(right, Value::Int(_)));
        for &register in &TEMPORARIES {
            self.release_if_at_hand(register);
        }
        self.push_result(result);
    }
}

impl Lowering {
    /// Divides what is in `to` towards zero by a power of two above 1: `right` - 1 is added to what is
    /// negative first.
    pub(super) fn divide_by_power(&mut self, wanted: Wanted, right: i64, to: Gpr, bias: Gpr) {
        // At most 62.
        let count = right.trailing_zeros() as u8;
        let asm = &mut self.asm;
        asm.mov(W64, bias, to);
        if count != 1 {
            asm.sar(W64, bias, 63);
        }
        asm.shr(W64, bias, 64 - count);
        asm.add(W64, to, bias);
        if wanted == Wanted::Quotient {
            return asm.sar(W64, to, count);
        }
        match i32::try_from(right - 1) {
            Ok(mask) => asm.and(W64, to, mask),
            Err(_) => {
                asm.shl(W64, to, 64 - count);
                asm.shr(W64, to, 64 - count);
            }
        }
        asm.sub(W64, to, bias);
    }

    /// Divides RAX; says where the result is. A constant is neither 0 nor -1.
    pub(super) fn divide(&mut self, wanted: Wanted, divisor: GprOrStack, is_constant: bool) -> Gpr {
        if is_constant {
            self.asm.cqo();
            self.asm.idiv(W64, divisor);
        } else {
            self.divide_with_care(wanted, divisor);
        }
        if wanted == Wanted::Quotient { Gpr::Rax } else { Gpr::Rdx }
    }

    /// Divides RAX by what is not known to be neither 0 nor -1.
    fn divide_with_care(&mut self, wanted: Wanted, divisor: GprOrStack) {
        self.compare_place(divisor, 0);
        self.trap_if(Cond::E, TrapKind::DivisionByZero);
        self.compare_place(divisor, -1);
        let asm = &mut self.asm;
        let [divides, done] = [asm.label(), asm.label()];
        asm.jcc_short(Cond::Ne, divides);
        if wanted == Wanted::Quotient {
            asm.neg(W64, Gpr::Rax);
        } else {
            asm.zero(Gpr::Rdx);
        }
        asm.jmp_short(done);
        asm.bind(divides);
        asm.cqo();
        asm.idiv(W64, divisor);
        asm.bind(done);
    }
}

//! What the quick way does with the last values of the vector.

use super::vector::Sort;
use super::{Bytes, Place, Value, Walk, signed};
use crate::alloc_util::try_push;
use crate::jit::bytecode::Opcode;
use crate::jit::lower::division::Wanted;
use crate::jit::lower::integers::Operator;
use crate::jit::machine::{ARGUMENTS, Source};
use crate::jit::relation::Relation;
use crate::jit::verify::Kind;
use crate::jit::x64::{Cond, Gpr, GprOrStack, W8, W32, W64};

impl From<Place> for Source {
    fn from(place: Place) -> Self {
        match place {
            Place::Constant(bits) => Source::Constant(bits),
            Place::At(place) => place.into(),
        }
    }
}

impl Walk<'_, '_, '_> {
    /// Puts what an operator makes of two values of this kind in their place, or writes it to a slot.
    #[inline(never)]
    pub(super) fn combine(
        &mut self,
        operator: Operator,
        is_bool: bool,
        slot: Option<u16>,
    ) -> Option<()> {
        let (found, [left, right]) = self.pop_two()?;
        if found != is_bool {
            return None;
        }
        self.apply(operator, is_bool, [left, right], slot)
    }

    /// Puts the other one in place of a bool.
    #[cold]
    pub(super) fn invert(&mut self) -> Option<()> {
        let Value { sort: Sort::Bool, place } = self.pop()? else { return None };
        self.apply(Operator::Xor, true, [place, Place::Constant(1)], None)
    }

    #[inline(never)]
    fn apply(
        &mut self,
        operator: Operator,
        is_bool: bool,
        [left, right]: [Place; 2],
        slot: Option<u16>,
    ) -> Option<()> {
        // A constant on the left is one on the right, but for subtraction.
        let swaps = matches!(left, Place::Constant(_)) && operator != Operator::Sub;
        let (left, right) = if swaps { (right, left) } else { (left, right) };
        if let (Place::Constant(left), Place::Constant(right)) = (left, right) {
            let bits = operator.fold(left, right);
            let sort = if is_bool { Sort::Bool } else { Sort::Integer };
            return self.deliver(Value { sort, place: Place::Constant(bits) }, slot);
        }
        let stores_to = if slot.is_none() { self.next_stores_to(is_bool)? } else { None };
        let to = match stores_to {
            Some(register) => register,
            None => self.result_register(left, right)?,
        };
        match (left, right) {
            (Place::At(left), Place::Constant(right)) if let Ok(right) = i32::try_from(right) => {
                self.l.combine_with(operator, to, left, right);
            }
            _ => {
                let [left, right] = [self.operand(left)?, self.operand(right)?];
                self.l.combine_both(operator, to, left, right);
                self.release(Place::At(left));
                self.release(Place::At(right));
            }
        }
        self.release(left);
        self.release(right);
        if stores_to.is_some() {
            return Some(());
        }
        self.take(to);
        self.deliver(Value::at(to, is_bool), slot)
    }

    #[inline(always)]
    fn deliver(&mut self, value: Value, slot: Option<u16>) -> Option<()> {
        match slot {
            Some(slot) => self.set_slot(slot, value),
            None => self.push(value),
        }
    }

    /// The register where that local lives into which the next instruction pops the result, which is
    /// done then.
    #[inline(always)]
    fn next_stores_to(&mut self, is_bool: bool) -> Option<Option<Gpr>> {
        let Some((bytes, Opcode::PopStore)) = self.peek() else { return Some(None) };
        let home = self.l.quick.homes.get(usize::from(bytes.a()))?;
        let Some(register) = home.register() else { return Some(None) };
        self.home_to_set(bytes.a(), is_bool)?;
        self.next += 4;
        Some(Some(register))
    }

    /// A register for a result: that of an operand that is not needed any more, if there is one.
    #[inline(always)]
    fn result_register(&mut self, left: Place, right: Place) -> Option<Gpr> {
        for place in [left, right] {
            if place.temporary() != 0
                && let Place::At(place) = place
            {
                return place.register();
            }
        }
        self.temporary()
    }

    #[inline(always)]
    fn operand(&mut self, place: Place) -> Option<GprOrStack> {
        match place {
            Place::At(place) => Some(place),
            Place::Constant(_) => self.in_register(place).map(GprOrStack::from),
        }
    }

    /// Puts the quotient of two integers, or what is left over, in their place.
    #[inline(never)]
    pub(super) fn divide(&mut self, wanted: Wanted) -> Option<()> {
        let (false, [left, right]) = self.pop_two()? else { return None };
        if let Place::Constant(right) = right {
            if right == 0 || right == -1 || right == 1 {
                return None;
            }
            if right > 0 && right.count_ones() == 1 {
                let to = self.result_register(left, left)?;
                self.load(to, left);
                let bias = self.temporary()?;
                self.l.divide_by_power(wanted, right, to, bias);
                self.release(Place::At(bias.into()));
                return self.push(Value::at(to, false));
            }
        }
        self.spill();
        self.l.moves.add(Gpr::Rax, left.into());
        let divisor = match right {
            Place::At(place) if !matches!(place.register(), Some(Gpr::Rax | Gpr::Rdx)) => place,
            _ => {
                self.l.moves.add(Gpr::Rcx, right.into());
                Gpr::Rcx.into()
            }
        };
        self.l.moves.emit(&mut self.l.asm);
        let is_constant = matches!(right, Place::Constant(_));
        let result = self.l.divide(wanted, divisor, is_constant);
        self.release(left);
        self.release(right);
        self.take(result);
        self.push(Value::at(result, false))
    }

    /// Puts the bool that a comparison gives in place of two values, unless the next instruction only
    /// jumps by it.
    #[inline(never)]
    pub(super) fn compare(&mut self, relation: Relation) -> Option<()> {
        if let Some((bytes, opcode @ (Opcode::JmpIf | Opcode::JmpIfNot))) = self.peek() {
            self.next += 6;
            return self.compare_and_jump(relation, opcode == Opcode::JmpIf, bytes);
        }
        self.put_bool(relation)
    }

    #[cold]
    #[inline(never)]
    fn put_bool(&mut self, relation: Relation) -> Option<()> {
        let operands = self.pop_two()?;
        let cond = self.put_comparison(relation, operands)?;
        let to = self.temporary()?;
        self.l.asm.setcc(cond, to);
        self.l.asm.movzx(to, W8, to);
        self.push(Value::at(to, true))
    }

    /// Sets the flags by two values, integers unless they are only tested for equality.
    #[inline(always)]
    fn put_comparison(
        &mut self,
        relation: Relation,
        (are_bools, [left, right]): (bool, [Place; 2]),
    ) -> Option<Cond> {
        if are_bools && !matches!(relation, Relation::Eq | Relation::Ne) {
            return None;
        }
        let (relation, left, right) = match left {
            Place::Constant(_) => (relation.swapped(), right, left),
            _ => (relation, left, right),
        };
        match (left, right) {
            (Place::At(left), Place::Constant(right)) if let Ok(right) = i32::try_from(right) => {
                self.l.compare_place(left, right);
            }
            _ => {
                let left = self.in_register(left)?;
                let right = self.operand(right)?;
                self.l.asm.cmp(W64, left, right);
                self.release(Place::At(left.into()));
                self.release(Place::At(right));
            }
        }
        self.release(left);
        self.release(right);
        Some(signed(relation))
    }

    /// Jumps when a comparison of the last two values gives `when`.
    #[inline(never)]
    pub(super) fn compare_and_jump(
        &mut self,
        relation: Relation,
        when: bool,
        bytes: Bytes,
    ) -> Option<()> {
        let operands = self.pop_two()?;
        let label = self.lead(bytes)?;
        let cond = self.put_comparison(relation, operands)?;
        self.l.asm.jcc(if when { cond } else { cond.inverted() }, label);
        Some(())
    }

    /// Jumps when a popped bool is true, or false.
    pub(super) fn jump_if(&mut self, cond: Cond, bytes: Bytes) -> Option<()> {
        let Value { sort: Sort::Bool, place: Place::At(place) } = self.pop()? else {
            return None;
        };
        let label = self.lead(bytes)?;
        match place.register() {
            Some(register) => self.l.asm.test(W32, register, register),
            None => self.l.asm.cmp(W32, place, 0),
        }
        self.release(Place::At(place));
        self.l.asm.jcc(cond, label);
        Some(())
    }

    /// Passes integers and calls a function.
    #[inline(never)]
    pub(super) fn call(&mut self, function: u32, argc: u16) -> Option<()> {
        self.calls.function(function, argc).ok()?;
        self.pass(argc)?;
        self.l.put_call(function);
        let sort = match self.calls.result(function) {
            Some(Kind::I64) => Sort::Integer,
            Some(Kind::Bool) => Sort::Bool,
            Some(Kind::F64 | Kind::Nil) => return None,
            None => {
                try_push(&mut self.l.quick.taken, function).ok()?;
                Sort::Taken
            }
        };
        self.take(Gpr::Rax);
        self.push(Value { sort, place: Place::At(Gpr::Rax.into()) })
    }

    /// Passes integers and calls a function of the host.
    #[cold]
    pub(super) fn call_host(&mut self, index: u16, argc: u16) -> Option<()> {
        self.calls.host(index, argc, self.l.at()).ok()?;
        self.pass(argc)?;
        self.l.put_host_call(index, argc);
        self.take(Gpr::Rax);
        self.push(Value::at(Gpr::Rax, false))
    }

    /// Pops integers into the registers of arguments. What stays is where a call leaves it.
    fn pass(&mut self, argc: u16) -> Option<()> {
        let registers = ARGUMENTS.get(..usize::from(argc))?;
        if !self.l.quick.vector.ends_with_integers(registers.len()) {
            return None;
        }
        for &register in registers.iter().rev() {
            let place = self.pop()?.place;
            self.l.moves.add(register, place.into());
            self.release(place);
        }
        self.spill();
        self.l.moves.emit(&mut self.l.asm);
        Some(())
    }
}

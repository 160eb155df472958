//! Memory: stack slots, loads, stores and copies.

use super::*;

/// The stack slots of a function, which values of disjoint blocks share.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// Those of the blocks that are open, in the order of their use.
    used: Vec<BlockSlot>,
    free: Vec<BlockSlot>,
}

/// The free slots that are looked at for a value, which bounds the time.
const MAX_SEARCHED: usize = 64;

#[derive(Clone, Copy, Debug)]
struct BlockSlot {
    slot: Slot,
    size: u32,
    align: u32,
}

impl Body<'_, '_, '_> {
    /// Memory for a value of the type, which no other value has before the block ends.
    pub(super) fn temporary(&mut self, ty: TypeId, span: Span) -> Place {
        let (size, align) = self.program().size(ty);
        let free = &mut self.slots.free;
        let fits = |(_, slot): &(usize, &BlockSlot)| slot.size >= size && slot.align >= align;
        let last = free.iter().enumerate().rev().take(MAX_SEARCHED).filter(fits);
        let found = last.min_by_key(|(_, slot)| slot.size).map(|(index, _)| index);
        let slot = match found {
            Some(index) => free.swap_remove(index),
            None => self.new_slot(size, align, span),
        };
        self.push(|body| &mut body.slots.used, slot);
        Place::at(Base::Slot(slot.slot))
    }

    fn new_slot(&mut self, size: u32, align: u32, span: Span) -> BlockSlot {
        self.frame = self.frame.saturating_add(size);
        if self.frame > MAX_FRAME {
            let message =
                format_args!("the local values of the function take more than {MAX_FRAME} bytes");
            self.error(span, Code::TooLarge, message);
            self.frame = 0;
        }
        let (size, align) = (size.clamp(1, MAX_FRAME), align.clamp(1, crate::ir::MAX_SLOT_ALIGN));
        BlockSlot { slot: self.builder.slot(size, align), size, align }
    }

    /// The number of slots that are in use, before a block.
    pub(super) fn slots_in_use(&self) -> usize {
        self.slots.used.len()
    }

    /// Ends the use of the slots of a block, none of whose values is left.
    pub(super) fn free_slots(&mut self, before: usize) {
        while self.slots.used.len() > before {
            let Some(slot) = self.slots.used.pop() else { break };
            self.push(|body| &mut body.slots.free, slot);
        }
    }

    /// Fresh memory whose address is computed here, for a variable.
    pub(super) fn variable_place(&mut self, ty: TypeId, span: Span) -> Place {
        let place = self.temporary(ty, span);
        Place::at(Base::Pointer(self.address(place)))
    }

    /// The address of a place and the distance behind it.
    fn based(&mut self, place: Place) -> (Local, i32) {
        let offset = i32::try_from(place.offset).unwrap_or(0);
        match place.base {
            Base::Pointer(pointer) => (pointer, offset),
            Base::Slot(slot) => {
                let pointer = self.builder.local(Scalar::Pointer);
                self.builder.slot_address(pointer, slot, offset);
                (pointer, 0)
            }
        }
    }

    /// The address of a place.
    pub(super) fn address(&mut self, place: Place) -> Local {
        let (pointer, offset) = self.based(place);
        if offset == 0 {
            return pointer;
        }
        let result = self.builder.local(Scalar::Pointer);
        self.builder.element(Scalar::U8, result, pointer, None, offset);
        result
    }

    pub(super) fn inside(place: Place, offset: u32) -> Place {
        Place { offset: place.offset.saturating_add(offset), ..place }
    }

    /// The value at a place; that of memory is the place itself.
    pub(super) fn load(&mut self, place: Place, ty: TypeId) -> Typed {
        match self.repr(ty) {
            Repr::Nothing => Typed::new(ty, Value::None),
            Repr::Unknown => self.opaque(),
            Repr::Memory => Typed::new(ty, Value::Place(place)),
            Repr::Scalar(scalar) => {
                let result = self.builder.local(scalar);
                self.load_scalar(place, scalar, result);
                Typed::local(ty, result)
            }
            Repr::Pair => {
                let (pointer, offset) = self.based(place);
                let first = self.builder.local(Scalar::Pointer);
                let second = self.builder.local(Scalar::I64);
                self.builder.load(Scalar::Pointer, first, pointer, offset);
                self.builder.load(Scalar::I64, second, pointer, offset.saturating_add(8));
                Typed::new(ty, Value::Pair(first, second))
            }
        }
    }

    fn load_scalar(&mut self, place: Place, ty: ValueType, to: Local) {
        let (pointer, offset) = self.based(place);
        match place.index {
            None => self.builder.load(ty, to, pointer, offset),
            Some(index) => {
                let more = offset / size_of(ty);
                self.builder.load_element(ty, to, pointer, Some(index), more);
            }
        }
    }

    /// Writes a value of the type to fresh memory or over the old value.
    pub(super) fn store(&mut self, place: Place, typed: Typed) {
        match self.repr(typed.ty) {
            Repr::Nothing => {}
            Repr::Unknown => {
                self.opaque();
            }
            Repr::Scalar(ty) => {
                let value = self.local_of(typed);
                let (pointer, offset) = self.based(place);
                match place.index {
                    None => self.builder.store(ty, value, pointer, offset),
                    Some(index) => {
                        let more = offset / size_of(ty);
                        self.builder.store_element(ty, value, pointer, Some(index), more);
                    }
                }
            }
            Repr::Pair => {
                let Value::Pair(first, second) = typed.value else { return };
                let (pointer, offset) = self.based(place);
                self.builder.store(Scalar::Pointer, first, pointer, offset);
                self.builder.store(Scalar::I64, second, pointer, offset.saturating_add(8));
            }
            Repr::Memory => {
                let Value::Place(from) = typed.value else { return };
                self.copy(place, from, typed.ty);
            }
        }
    }

    /// Copies a value of memory.
    fn copy(&mut self, to: Place, from: Place, ty: TypeId) {
        let (size, _) = self.program().size(ty);
        let size = i32::try_from(size).unwrap_or(0);
        if size > 0 {
            let (to, from) = (self.address(to), self.address(from));
            self.builder.copy_memory(to, from, size);
        }
    }

    /// The value in memory of its own, which nothing else changes.
    pub(super) fn copied(&mut self, typed: Typed, span: Span) -> Typed {
        if typed.temporary || self.repr(typed.ty) != Repr::Memory {
            return typed;
        }
        let place = self.temporary(typed.ty, span);
        self.store(place, typed);
        Typed { temporary: true, ..Typed::new(typed.ty, Value::Place(place)) }
    }

    /// A fresh local with the value of another one, which may be that of a variable.
    pub(super) fn local_copy(&mut self, local: Local) -> Local {
        let Some(ty) = self.builder.local_type(local) else { return local };
        let copy = self.builder.local(ty);
        self.builder.copy(ty, copy, local);
        copy
    }

    /// A text or view in fresh locals.
    pub(super) fn pair_copy(&mut self, typed: Typed) -> Typed {
        let Value::Pair(first, second) = typed.value else { return typed };
        let (first, second) = (self.local_copy(first), self.local_copy(second));
        Typed { value: Value::Pair(first, second), ..typed }
    }

    /// The value where assignments between `after` and `last` cannot change it.
    pub(super) fn stable(&mut self, typed: Typed, after: ExprId, last: ExprId) -> Typed {
        let has_branches = Tree::has_between(&self.tree.branches, after, last);
        let has_calls = Tree::has_between(&self.tree.calls, after, last);
        match typed.value {
            Value::Local(local) if has_branches => {
                let copy = self.new_local(typed.ty);
                let ty = self.value_type(typed.ty);
                self.builder.copy(ty, copy, local);
                Typed { value: Value::Local(copy), ..typed }
            }
            Value::Place(_)
                if (has_branches || has_calls)
                    && (typed.is_pointee() || !self.is_immutable(after)) =>
            {
                self.copied(typed, self.span(after))
            }
            _ => typed,
        }
    }

    /// A place that assignments between `after` and `last` to variables with pointers and indices do not move.
    pub(super) fn stable_place(&mut self, place: Place, after: ExprId, last: ExprId) -> Place {
        let has_branches = Tree::has_between(&self.tree.branches, after, last);
        match place.base {
            Base::Pointer(pointer) if has_branches && place.is_pointee => {
                let base = Base::Pointer(self.local_copy(pointer));
                let index = place.index.map(|index| self.local_copy(index));
                Place { base, index, ..place }
            }
            _ => place,
        }
    }

    /// Whether an expression is a constant, an immutable variable, or a part of one.
    pub(super) fn is_immutable(&self, id: ExprId) -> bool {
        self.fixed_root(id).is_some()
    }

    /// The variable that an expression is, or a part of which it is.
    pub(super) fn root_variable(&self, id: ExprId) -> Option<Variable> {
        self.variable(self.root_name(id)?)
    }

    /// The name that an expression is, or a part of the value of which it is.
    pub(super) fn root_name(&self, id: ExprId) -> Option<Name> {
        match self.tree.expr(self.root(id)).kind {
            ExprKind::Name(name) => Some(name),
            _ => None,
        }
    }

    /// The expression of whose value another one is a part.
    pub(super) fn root(&self, id: ExprId) -> ExprId {
        let mut id = id;
        while let ExprKind::Field(base, _)
        | ExprKind::TupleField(base, _)
        | ExprKind::Index(base, _) = self.tree.expr(id).kind
        {
            id = base;
        }
        id
    }

    /// The variable or constant that an expression is, or a part of the value of which it is, if that does not change.
    pub(super) fn fixed_root(&self, id: ExprId) -> Option<Name> {
        let mut part = id;
        loop {
            let (file, name, is_own) = match self.tree.expr(part).kind {
                ExprKind::Name(name) => (self.source, name, true),
                ExprKind::Field(base, name) => match self.module_prefix(base) {
                    Some(file) => (file, name, false),
                    None => {
                        part = base;
                        continue;
                    }
                },
                ExprKind::TupleField(base, _) | ExprKind::Index(base, _) => {
                    part = base;
                    continue;
                }
                _ => return None,
            };
            let is_fixed = match self.variable(name).filter(|_| is_own) {
                Some(variable) => {
                    !variable.mutable && !matches!(self.head(variable.value.ty), Head::Pointer(_))
                }
                None => matches!(self.unit.program.item(file, name), Some(Item::Const(_))),
            };
            return is_fixed.then_some(name);
        }
    }

    /// Whether an expression is a part of a variable that can change, by an index with calls or branches.
    pub(super) fn is_computed_part(&self, id: ExprId) -> bool {
        let root = self.root(id);
        let is_computed = Tree::has_between(&self.tree.calls, root, id)
            || Tree::has_between(&self.tree.branches, root, id);
        is_computed && self.root_variable(id).is_some_and(|variable| variable.mutable)
    }

    /// Whether a function may write to memory behind pointers. Its body is looked through once.
    pub(super) fn may_write(&mut self, number: u32, info: &FunctionInfo) -> bool {
        if let Some(&Some(known)) = at(&self.unit.writers, number) {
            return known;
        }
        let may_write = self.has_writes(info);
        let noted = try_replace(&mut self.unit.writers, number, None, Some(may_write));
        self.program().diagnostics.allocated(noted);
        may_write
    }

    /// Whether the body of a function is not known, calls functions, or assigns to more than variables.
    fn has_writes(&self, info: &FunctionInfo) -> bool {
        let source = self.unit.program.source(info.source);
        let Some((source, body)) = source.zip(info.decl.body) else { return true };
        let tree = &source.tree;
        let span = tree.block(body).span;
        let is_variable = |target| matches!(tree.expr(target).kind, ExprKind::Name(_));
        tree.calls_in(span).next().is_some() || !tree.assigned_in(span).all(is_variable)
    }
}

fn size_of(ty: ValueType) -> i32 {
    match ty {
        ValueType::Scalar(scalar) => scalar.size().into(),
        ValueType::Parameter(_) => 1,
    }
}

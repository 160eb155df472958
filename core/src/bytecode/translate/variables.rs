//! The IR locals of a function: parameters, homes of variables, and temporaries.

use alloc::vec::Vec;

use super::value_stack::Class;
use crate::alloc_util::{AllocError, try_resize};
use crate::ir::{FunctionBuilder, Local, Scalar};

/// From this number of IR locals on temporaries are used again, so that locals are left for homes.
const FRESH_LOCALS: usize = 48_000;

/// The temporaries of a type that are used in turn then. No instruction needs more.
const RING: usize = 256;

/// The types of temporaries.
const TEMPORARIES: [Scalar; 5] =
    [Scalar::I64, Scalar::F64, Scalar::Bool, Scalar::Pointer, Scalar::U32];

/// The homes of a variable, by class.
type Homes = [Option<Local>; Class::ALL.len()];

/// The homes of the variables of a function.
#[derive(Debug, Default)]
pub(super) struct Variables {
    locals: Vec<Homes>,
    slots: Vec<Homes>,
    /// The class of the value that each local holds at the current instruction.
    classes: Vec<Class>,
    /// The number of IR locals of variables and temporaries.
    count: usize,
    /// The temporaries that are used again, by type, and the number of uses.
    rings: [(Vec<Local>, usize); TEMPORARIES.len()],
}

impl Variables {
    /// Starts with a function of this many locals and positions of the operand stack.
    pub(super) fn start(&mut self, locals: usize, slots: usize) -> Result<(), AllocError> {
        self.locals.clear();
        try_resize(&mut self.locals, locals, Homes::default())?;
        self.slots.clear();
        try_resize(&mut self.slots, slots, Homes::default())?;
        self.classes.clear();
        try_resize(&mut self.classes, locals, Class::Int)?;
        self.count = 0;
        for (ring, uses) in &mut self.rings {
            ring.clear();
            *uses = 0;
        }
        Ok(())
    }

    /// States the home of a local.
    pub(super) fn set_home(&mut self, local: usize, class: Class, home: Local) {
        if let Some(place) = self.locals.get_mut(local).and_then(|h| h.get_mut(class as usize)) {
            *place = Some(home);
        }
    }

    /// The home of a local for values of a class.
    #[inline]
    pub(super) fn local(&mut self, ir: &mut FunctionBuilder, local: usize, class: Class) -> Local {
        home(self.locals.get_mut(local), ir, class, &mut self.count)
    }

    /// The home of a position for values of a class.
    #[inline]
    pub(super) fn slot(&mut self, ir: &mut FunctionBuilder, slot: usize, class: Class) -> Local {
        home(self.slots.get_mut(slot), ir, class, &mut self.count)
    }

    /// The home of a position for values of a class, if it has one yet.
    pub(super) fn slot_home(&self, slot: usize, class: Class) -> Option<Local> {
        *self.slots.get(slot)?.get(class as usize)?
    }

    /// The class of the value that a local holds.
    #[inline]
    pub(super) fn class(&self, local: usize) -> Class {
        self.classes.get(local).copied().unwrap_or(Class::Int)
    }

    /// States the class of the value that a local holds.
    #[inline]
    pub(super) fn set_class(&mut self, local: usize, class: Class) {
        if let Some(place) = self.classes.get_mut(local) {
            *place = class;
        }
    }

    /// Whether temporaries are used again, so that none may live longer than the current instruction.
    #[inline]
    pub(super) fn reuses(&self) -> bool {
        self.count >= FRESH_LOCALS
    }

    /// A temporary.
    #[inline]
    pub(super) fn temporary(
        &mut self,
        ir: &mut FunctionBuilder,
        ty: Scalar,
    ) -> Result<Local, AllocError> {
        if self.reuses() {
            return self.reused(ir, ty);
        }
        self.count += 1;
        Ok(ir.local(ty))
    }

    #[cold]
    fn reused(&mut self, ir: &mut FunctionBuilder, ty: Scalar) -> Result<Local, AllocError> {
        let number = TEMPORARIES.iter().position(|&other| other == ty).unwrap_or(0);
        let Some((ring, uses)) = self.rings.get_mut(number) else { return Err(AllocError) };
        let index = *uses % RING;
        *uses += 1;
        if let Some(&local) = ring.get(index) {
            return Ok(local);
        }
        let local = ir.local(ty);
        crate::alloc_util::try_push(ring, local)?;
        Ok(local)
    }
}

#[inline]
fn home(
    homes: Option<&mut Homes>,
    ir: &mut FunctionBuilder,
    class: Class,
    count: &mut usize,
) -> Local {
    match homes.and_then(|homes| homes.get_mut(class as usize)) {
        Some(Some(home)) => *home,
        Some(place) => {
            *count += 1;
            *place.insert(ir.local(class.scalar()))
        }
        // The verifier has shown that every variable exists.
        None => ir.local(class.scalar()),
    }
}

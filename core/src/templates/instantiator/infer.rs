//! Type arguments of a template, inferred from what the notes of all modules say about its uses.
//!
//! The result is cached with the modules that it depends on: the one that has the template, and those that list uses of
//! it. When one of them is replaced, or another module lists uses, the arguments are inferred again; those of other
//! templates are not.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::Ordering;

use super::{JitInstantiator, State};
use crate::alloc_util::{
    AllocError, TryArc, try_copy_bytes, try_copy_str, try_push, try_to_string,
};
use crate::link::Name;
use crate::templates::deferred::{
    ConstraintKind, DeferredHints, TakeError, TypeConstraint, TypeVariable,
};
use crate::templates::derived::{Inferred, try_clone_all};
use crate::templates::module::Module;
use crate::templates::signature::Described;
use crate::templates::template_uses::{TemplateUse, UsageSite};
use crate::types::{Hint, HintSource, InferError, Type, TypeList, infer};

/// The maximum number of cached inferences. A full cache is cleared.
const MAX_INFERRED: usize = 10_000;

/// The modules that an inference depends on, and the hints in them.
struct Evidence {
    modules: Vec<TryArc<Module>>,
    described: Described,
}

impl JitInstantiator {
    /// The type arguments of the template `name` that follow from `hints` and from the uses that the notes of all modules
    /// list. Those without `hints` are cached.
    ///
    /// # Errors
    /// [`TakeError::NotATemplate`], [`TakeError::NoHints`] without any hint, [`TakeError::CannotInfer`],
    /// [`TakeError::DifferentUses`].
    pub fn infer_arguments(&self, name: &str, hints: &[Hint]) -> Result<Vec<Type>, TakeError> {
        let evidence = self.evidence(name)?.ok_or_else(|| TakeError::not_a_template(name))?;
        if hints.is_empty()
            && let Some(known) = self.find_inferred(name, &evidence.modules)?
        {
            self.inference_hits.fetch_add(1, Ordering::Relaxed);
            return Ok(known);
        }
        let mut all = Vec::new();
        for hint in hints {
            try_push(&mut all, clone_hint(hint)?)?;
        }
        for module in &evidence.modules {
            let listed = module.uses.of(name.as_bytes());
            for hint in listed.iter().filter_map(|row| row.hint.as_ref()) {
                try_push(&mut all, clone_hint(hint)?)?;
            }
        }
        if all.is_empty() {
            return Err(TakeError::no_hints(name));
        }
        self.inferences.fetch_add(1, Ordering::Relaxed);
        let Described { signature, fallbacks, .. } = &evidence.described;
        let mut inferred = infer(signature, &all);
        for (number, fallback) in fallbacks {
            let parameter = signature.parameters.get(*number);
            let is_unknown = matches!(&inferred, Err(InferError::Unknown { parameter: unknown })
                if Some(unknown) == parameter);
            if is_unknown {
                let source = HintSource::Constraint(u32::try_from(*number).unwrap_or(u32::MAX));
                try_push(&mut all, Hint { source, ty: fallback.try_clone()? })?;
                inferred = infer(signature, &all);
            }
        }
        let arguments = match inferred {
            Ok(arguments) => arguments,
            Err(error) => {
                let different = match error {
                    InferError::Conflict { .. } => evidence.different_uses(name, hints)?,
                    _ => None,
                };
                return Err(different.unwrap_or_else(|| TakeError::cannot_infer(name, error)));
            }
        };
        if hints.is_empty() {
            let cached =
                Inferred { arguments: try_clone_all(&arguments)?, depends_on: evidence.modules };
            self.state().add_inferred(name, cached)?;
        }
        Ok(arguments)
    }

    /// The known facts about the types of the template `name` while its type arguments are not.
    ///
    /// # Errors
    /// [`TakeError::NotATemplate`].
    pub fn deferred_hints(&self, name: &str) -> Result<DeferredHints, TakeError> {
        let evidence = self.evidence(name)?.ok_or_else(|| TakeError::not_a_template(name))?;
        let Described { signature, bounds, fallbacks } = evidence.described;
        let mut hints = DeferredHints { symbol: try_copy_str(name)?, ..DeferredHints::default() };
        for (id, parameter) in signature.parameters.iter().enumerate() {
            let fallback = fallbacks.iter().find(|(number, _)| *number == id);
            let fallback = fallback.map(|(_, ty)| ty.try_clone()).transpose()?;
            let id = u32::try_from(id).unwrap_or(u32::MAX);
            try_push(
                &mut hints.type_vars,
                TypeVariable { id, name: try_copy_str(parameter)?, fallback },
            )?;
        }
        for (number, bound) in bounds {
            let Some(parameter) = signature.parameters.get(number) else { continue };
            let kind = ConstraintKind::Implements;
            let (lhs, rhs) = (try_copy_str(parameter)?, bound.into_string());
            let constraint = TypeConstraint { kind, lhs, rhs, source_loc: None };
            try_push(&mut hints.constraints, constraint)?;
        }
        for module in &evidence.modules {
            for row in module.uses.of(name.as_bytes()) {
                try_push(&mut hints.usage_sites, row.site.try_clone()?)?;
                let Some(Hint { source: HintSource::Constraint(number), ty }) = &row.hint else {
                    continue;
                };
                let number = usize::try_from(*number).unwrap_or(usize::MAX);
                let Some(parameter) = signature.parameters.get(number) else { continue };
                let constraint = TypeConstraint {
                    kind: ConstraintKind::Equals,
                    lhs: try_copy_str(parameter)?,
                    rhs: try_to_string(ty)?,
                    source_loc: Some(try_copy_str(&row.site.location)?),
                };
                try_push(&mut hints.constraints, constraint)?;
            }
        }
        Ok(hints)
    }

    /// The template, and the modules that list uses of it; `None` if no module has the template.
    fn evidence(&self, name: &str) -> Result<Option<Evidence>, AllocError> {
        let state = self.state();
        let all = || state.modules.of(self.owner());
        let has_template = |module: &&TryArc<Module>| module.template(name.as_bytes()).is_some();
        let Some(owner) = all().find(has_template) else { return Ok(None) };
        let mut modules = Vec::new();
        try_push(&mut modules, owner.clone())?;
        for module in all() {
            if !module.ptr_eq(owner) && !module.uses.of(name.as_bytes()).is_empty() {
                try_push(&mut modules, module.clone())?;
            }
        }
        let owner = owner.clone();
        drop(state);
        let Some(template) = owner.template(name.as_bytes()) else { return Ok(None) };
        Ok(Some(Evidence { modules, described: Described::new(&template)? }))
    }

    fn find_inferred(
        &self,
        name: &str,
        depends_on: &[TryArc<Module>],
    ) -> Result<Option<Vec<Type>>, AllocError> {
        let state = self.state();
        let Some(known) = state.inferred.get(name.as_bytes()) else { return Ok(None) };
        let is_current = known.depends_on.len() == depends_on.len()
            && known.depends_on.iter().zip(depends_on).all(|(old, new)| old.ptr_eq(new));
        is_current.then(|| try_clone_all(&known.arguments)).transpose()
    }
}

impl Evidence {
    /// The error that two uses of the template have different types, although each of them is in order. The rows of one
    /// place are one use.
    fn different_uses(&self, name: &str, hints: &[Hint]) -> Result<Option<TakeError>, AllocError> {
        let mut first: Option<(&UsageSite, Vec<Type>)> = None;
        for module in &self.modules {
            let mut rows = module.uses.of(name.as_bytes());
            while let Some((row, _)) = rows.split_first() {
                let is_same = |other: &TemplateUse| {
                    (&other.site.file, &other.site.location) == (&row.site.file, &row.site.location)
                };
                let count = rows.iter().take_while(|other| is_same(other)).count();
                let (of_use, rest) = rows.split_at_checked(count).unwrap_or((rows, &[]));
                rows = rest;
                let mut all = Vec::new();
                for hint in hints.iter().chain(of_use.iter().filter_map(|row| row.hint.as_ref())) {
                    try_push(&mut all, clone_hint(hint)?)?;
                }
                let types = match infer(&self.described.signature, &all) {
                    Ok(types) => types,
                    Err(InferError::Conflict { .. }) => return Ok(None),
                    Err(_) => continue,
                };
                match &first {
                    Some((site, known)) if *known != types => {
                        let uses = [(*site, &known[..]), (&row.site, &types)].map(shown_use);
                        let [one, other] = uses;
                        let uses = try_to_string(format_args!("{one} and {other}"))?;
                        let symbol = Name::new(name.as_bytes())?;
                        return Ok(Some(TakeError::DifferentUses { symbol, uses }));
                    }
                    Some(_) => {}
                    None => first = Some((&row.site, types)),
                }
            }
        }
        Ok(None)
    }
}

/// The types of a use, and its place.
fn shown_use<'u>((site, types): (&'u UsageSite, &'u [Type])) -> impl fmt::Display + 'u {
    fmt::from_fn(move |f| {
        write!(f, "with `{}`", TypeList(types))?;
        if site.location.is_empty() { Ok(()) } else { write!(f, " at {}", site.location) }
    })
}

impl State {
    fn add_inferred(&mut self, name: &str, inferred: Inferred) -> Result<(), AllocError> {
        if self.inferred.len() >= MAX_INFERRED {
            self.inferred.clear();
        }
        self.inferred.try_reserve(1).map_err(|_| AllocError)?;
        let name: Box<[u8]> = try_copy_bytes(name.as_bytes())?;
        self.inferred.insert(name, inferred);
        Ok(())
    }
}

fn clone_hint(hint: &Hint) -> Result<Hint, AllocError> {
    Ok(Hint { source: hint.source, ty: hint.ty.try_clone()? })
}

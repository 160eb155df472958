//! Structs and enums that type arguments name.
//!
//! A type argument states only a name, and modules may declare different types of one name. An instance is compiled
//! with the declaration of the template's module, or else with that of the module that requests it. It is refused if
//! modules that it may belong to declare the type, or one that occurs in it, differently: those that list its symbol, or all
//! loaded modules if none does.

use alloc::string::String;
use alloc::vec::Vec;

use hashbrown::{DefaultHashBuilder, HashMap};

use super::JitInstantiator;
use crate::alloc_util::{AllocError, TryArc, try_collect, try_push};
use crate::format::ext::source_template::SourceTemplate;
use crate::link::Name;
use crate::templates::error::{InstantiateErrorKind, MetadataError};
use crate::templates::module::Module;
use crate::templates::module::declaration::Declaration;
use crate::templates::record_source;
use crate::types::Type;

/// Two modules that declare one type differently.
pub(super) struct Conflict {
    name: Name,
    one: Name,
    other: Name,
}

impl Conflict {
    fn new(name: &str, one: &Module, other: &Module) -> Result<Self, AllocError> {
        let (one, other) = (Name::new(&one.note.path)?, Name::new(&other.note.path)?);
        Ok(Self { name: Name::new(name.as_bytes())?, one, other })
    }
}

/// Why declarations cannot be compared, or differ.
pub(super) enum DeclarationError {
    Conflict(Conflict),
    OutOfMemory(AllocError),
}

impl From<AllocError> for DeclarationError {
    fn from(error: AllocError) -> Self {
        Self::OutOfMemory(error)
    }
}

impl From<DeclarationError> for InstantiateErrorKind {
    fn from(error: DeclarationError) -> Self {
        match error {
            DeclarationError::Conflict(Conflict { name, one, other }) => {
                Self::Declarations { name, one, other }
            }
            DeclarationError::OutOfMemory(error) => error.into(),
        }
    }
}

impl From<DeclarationError> for MetadataError {
    fn from(error: DeclarationError) -> Self {
        match error {
            DeclarationError::Conflict(Conflict { name, one, other }) => {
                Self::Declarations { name, one, other }
            }
            DeclarationError::OutOfMemory(error) => error.into(),
        }
    }
}

/// The names of types in `types`.
fn names_in<'t>(types: &'t [Type], names: &mut Vec<&'t str>) -> Result<(), AllocError> {
    types.iter().try_for_each(|ty| match ty {
        Type::Named { name, args } => {
            try_push(names, name)?;
            names_in(args, names)
        }
        Type::Tuple(parts) => names_in(parts, names),
        Type::Array(elem) | Type::Simd { elem, .. } => {
            names_in(core::slice::from_ref(&**elem), names)
        }
        Type::Function { args, result } => {
            names_in(args, names)?;
            names_in(core::slice::from_ref(&**result), names)
        }
        _ => Ok(()),
    })
}

/// The types that `arguments` name and that occur in those, each with the number of the first module that declares it.
///
/// # Errors
/// Two modules declare one of them differently.
fn declarations<'m>(
    modules: &[&'m Module],
    arguments: &'m [Type],
) -> Result<Vec<(&'m str, usize, Declaration<'m>)>, DeclarationError> {
    let (mut names, mut found) = (Vec::new(), Vec::new());
    names_in(arguments, &mut names)?;
    let mut seen: HashMap<&str, (), DefaultHashBuilder> = HashMap::default();
    while let Some(name) = names.pop() {
        seen.try_reserve(1).map_err(|_| AllocError)?;
        if seen.insert(name, ()).is_some() {
            continue;
        }
        let mut first: Option<(usize, &Module, Declaration<'m>)> = None;
        for (number, module) in modules.iter().enumerate() {
            let Some(declaration) = module.declaration(name) else { continue };
            match &first {
                Some((_, one, known)) if known.bytes != declaration.bytes => {
                    return Err(DeclarationError::Conflict(Conflict::new(name, one, module)?));
                }
                Some(_) => {}
                None => first = Some((number, module, declaration)),
            }
        }
        let Some((number, _, declaration)) = first else { continue };
        for word in declaration.record.members.iter().flat_map(record_source::words) {
            if !seen.contains_key(word) {
                try_push(&mut names, word)?;
            }
        }
        try_push(&mut found, (name, number, declaration))?;
    }
    Ok(found)
}

impl JitInstantiator {
    /// The module that has the declarations of types in `arguments` which the module `of` of the template lacks.
    ///
    /// # Errors
    /// Modules declare one of the types differently.
    pub(super) fn requester(
        &self,
        symbol: &[u8],
        of: &TryArc<Module>,
        body: &[u8],
        arguments: &[Type],
    ) -> Result<Option<TryArc<Module>>, InstantiateErrorKind> {
        let mut names = Vec::new();
        names_in(arguments, &mut names)?;
        if names.is_empty() {
            return Ok(None);
        }
        let modules = self.concerned(symbol, of)?;
        if modules.is_empty() {
            return Ok(None);
        }
        let template = SourceTemplate::parse(body);
        let mut requester = None;
        let all = try_collect(modules.iter().map(|module| &**module))?;
        for (name, number, declaration) in declarations(&all, arguments)? {
            let Some(module) = modules.get(number) else { continue };
            let text = template.as_ref().map_or("", |template| template.text);
            if record_source::declares(text, name) {
                let mut own = String::new();
                record_source::put_declaration(&mut own, &declaration)?;
                if !text.contains(&*own) {
                    return Err(DeclarationError::Conflict(Conflict::new(name, of, module)?).into());
                }
            } else if of.declaration(name).is_none() && requester.is_none() {
                requester = Some(module.clone());
            }
        }
        Ok(requester)
    }

    /// The module of a template, and the modules that list `symbol`, or all modules if none lists it; no module if there
    /// are no declarations.
    fn concerned(
        &self,
        symbol: &[u8],
        of: &TryArc<Module>,
    ) -> Result<Vec<TryArc<Module>>, AllocError> {
        let mut concerned = Vec::new();
        let (state, owner) = (self.state(), self.owner());
        let all = || state.modules.of(owner);
        if !all().any(|module| module.has_declarations()) {
            return Ok(concerned);
        }
        try_push(&mut concerned, of.clone())?;
        let is_listed = all().any(|module| module.lists(symbol));
        for module in all().filter(|module| !is_listed || module.lists(symbol)) {
            if !module.ptr_eq(of) {
                try_push(&mut concerned, module.clone())?;
            }
        }
        Ok(concerned)
    }

    /// Refuses a module that lists an existing instance and declares one of its types differently from others.
    pub(super) fn check_declarations(&self, module: &Module) -> Result<(), MetadataError> {
        if !module.has_declarations() {
            return Ok(());
        }
        let owner = module.source.owner;
        for row in &module.rows {
            let symbol = module.text(row.symbol).as_bytes();
            if !self.exists(symbol, owner) {
                continue;
            }
            let Ok(arguments) = Type::parse_arguments(module.text(row.arguments)) else { continue };
            let others = try_collect(self.state().modules.of(owner).cloned())?;
            let is_other = |other: &&TryArc<Module>| {
                // A module of the same path is replaced.
                other.lists(symbol) && !other.is_at(owner, &module.note.path)
            };
            let others = others.iter().filter(is_other).map(|other| &**other);
            let concerned = try_collect(core::iter::once(module).chain(others))?;
            declarations(&concerned, &arguments).map_err(MetadataError::from)?;
        }
        Ok(())
    }
}

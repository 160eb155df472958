//! Instances that no note lists: a symbol is read as a template and type arguments.
//!
//! `pick$i64`, `fn$pick$i64` and `pick<i64>` are the same instance. So is a spelling of the Simple compiler, such as `pick$str` for
//! `pick$text`. Its older spelling `pick$Int` means the one instance of `pick` for an integer type that exists or is listed.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Instance, JitInstantiator, State};
use crate::alloc_util::{AllocError, try_copy_bytes, try_copy_str, try_push};
use crate::link::Name;
use crate::templates::derived::{DerivedInstance, try_clone_all};
use crate::templates::error::{InstantiateError, InstantiateErrorKind, Result};
use crate::templates::symbols::{FUNCTION, instance_symbols};
use crate::types::{Type, demangle, demangle_foreign, is_alias, is_alias_of};

impl JitInstantiator {
    /// The instance of the template `name` for `types`, which need not be listed. Compiles it if it does not exist.
    ///
    /// # Errors
    /// [`InstantiateError`]. [`InstantiateError::NotFound`] names the template if no loaded module has it.
    pub fn resolve_generic(&self, name: &str, types: &[Type]) -> Result<Instance> {
        if !self.config.enabled || !self.has_template(name) {
            return Err(InstantiateError::not_found(name.as_bytes()));
        }
        let arguments = try_clone_all(types)?;
        let found = self.known_or_new(false, try_copy_str(name)?, arguments)?;
        let found = found.ok_or_else(|| InstantiateError::not_found(name.as_bytes()))?;
        let owner = self.owner();
        let is_known = self.exists(&found.symbol, owner)
            || self.state().modules.is_possible(&found.symbol, owner);
        if !is_known && self.parameters_of(name.as_bytes()).is_none() {
            return Err(InstantiateError::not_found(&found.symbol));
        }
        self.instantiate_derived(found)
    }

    /// Whether a loaded module has the template `name`.
    pub fn has_template(&self, name: &str) -> bool {
        let state = self.state();
        state.modules.of(self.owner()).any(|module| module.template(name.as_bytes()).is_some())
    }

    /// The body of the template `name`; `None` if no loaded module has it.
    ///
    /// # Errors
    /// No memory.
    pub fn template_body(
        &self,
        name: &[u8],
    ) -> core::result::Result<Option<Box<[u8]>>, AllocError> {
        let state = self.state();
        let found = state.modules.of(self.owner()).find_map(|module| module.template(name));
        found.map(|template| try_copy_bytes(template.body)).transpose()
    }

    /// The instance that `symbol` stands for, compiled if it does not exist; `None` if no template fits.
    pub(super) fn derive(&self, symbol: &[u8]) -> Result<Option<Instance>> {
        let Some(derived) = self.find_derived(symbol)? else { return Ok(None) };
        self.instantiate_derived(derived).map(Some)
    }

    /// Whether a template fits `symbol`, which is not an instance yet, nor recorded as one.
    pub(super) fn can_derive(&self, symbol: &[u8]) -> bool {
        let owner = self.owner();
        let is_known = |symbol: &[u8]| {
            self.exists(symbol, owner) || self.state().modules.find(symbol, owner).is_some()
        };
        // The spelling may be another one than that of the instance.
        !is_known(symbol)
            && matches!(self.find_derived(symbol), Ok(Some(found)) if !is_known(&found.symbol))
    }

    fn instantiate_derived(&self, derived: DerivedInstance) -> Result<Instance> {
        if let Some(instance) = self.find(&derived.symbol) {
            return Ok(instance);
        }
        let request = (derived.template.as_bytes(), &derived.arguments[..]);
        let instance = self.instantiate(&derived.symbol, Some(request))?;
        let mut state = self.state();
        // Without memory only its older spellings are not found.
        let is_known = state.derived.iter().any(|known| known.symbol == derived.symbol);
        if !is_known {
            let _ = try_push(&mut state.derived, derived);
        }
        Ok(instance)
    }

    fn find_derived(&self, symbol: &[u8]) -> Result<Option<DerivedInstance>> {
        let Ok(text) = core::str::from_utf8(symbol) else { return Ok(None) };
        if self.parameters_of(symbol) == Some(Some(0)) {
            // A specialisation, which has the name of an instance.
            return self.known_or_new(false, try_copy_str(text)?, Vec::new());
        }
        if let Some((name, types)) = text.strip_suffix('>').and_then(|text| text.split_once('<'))
            && self.parameters_of(name.as_bytes()).is_some()
            && let Ok(arguments) = Type::parse_arguments(types)
        {
            return self.known_or_new(false, try_copy_str(name)?, arguments);
        }
        if !text.contains('$') {
            return Ok(None);
        }
        let stripped = text.strip_prefix(FUNCTION).map(|rest| (true, rest));
        for (is_prefixed, text) in stripped.into_iter().chain([(false, text)]) {
            let Some((template, arguments)) = self.parse(text)? else { continue };
            if arguments.iter().any(is_alias)
                && let Some(found) = self.find_alias(symbol, &template, &arguments)?
            {
                return Ok(Some(found));
            }
            return self.known_or_new(is_prefixed, template, arguments);
        }
        Ok(None)
    }

    /// A loaded template and type arguments for it.
    fn parse(&self, symbol: &str) -> Result<Option<(String, Vec<Type>)>> {
        if let Some((template, arguments)) = demangle(symbol)?
            && let Some(parameters) = self.parameters_of(template.as_bytes())
            && parameters.is_none_or(|count| usize::from(count) == arguments.len())
        {
            return Ok(Some((template, arguments)));
        }
        let Some((template, arguments)) = symbol.rsplit_once('$') else { return Ok(None) };
        let Some(Some(count)) = self.parameters_of(template.as_bytes()) else { return Ok(None) };
        let arguments = demangle_foreign(arguments, count.into())?;
        let template = try_copy_str(template)?;
        Ok(arguments.map(|arguments| (template, arguments)))
    }

    /// The error of a symbol that names a loaded template with another number of type arguments than it takes.
    pub(super) fn count_error(&self, symbol: &[u8]) -> Result<Option<InstantiateError>> {
        let text = core::str::from_utf8(symbol).unwrap_or_default();
        let text = text.strip_prefix(FUNCTION).unwrap_or(text);
        let Some((template, arguments)) = demangle(text)? else { return Ok(None) };
        let arguments = arguments.len();
        let parameters = self.parameters_of(template.as_bytes()).flatten();
        let Some(parameters) = parameters.filter(|&count| usize::from(count) != arguments) else {
            return Ok(None);
        };
        let template = Name::new(template.as_bytes())?;
        let kind = InstantiateErrorKind::Parameters { template, parameters, arguments };
        Ok(Some(InstantiateError::failed(Name::new(symbol)?, None, kind)))
    }

    /// The number of type parameters of a loaded template whose instances need not be listed, if its container states
    /// it.
    fn parameters_of(&self, template: &[u8]) -> Option<Option<u8>> {
        let state = self.state();
        state.modules.of(self.owner()).find_map(|module| {
            let found = module.template(template)?;
            self.compiler(found.body)?.is_generic().then_some(found.parameters)
        })
    }

    /// The instance under the name by which it exists or is listed, or else under the usual one.
    fn known_or_new(
        &self,
        is_prefixed: bool,
        template: String,
        arguments: Vec<Type>,
    ) -> Result<Option<DerivedInstance>> {
        let symbols = instance_symbols(&template, &arguments, is_prefixed)?;
        let known = {
            let (state, owner) = (self.state(), self.owner());
            symbols.iter().map(String::as_bytes).position(|symbol| {
                self.exists(symbol, owner) || state.modules.is_possible(symbol, owner)
            })
        };
        let symbol = symbols.into_iter().nth(known.unwrap_or(0)).map(String::into_bytes);
        Ok(symbol.map(|symbol| DerivedInstance { symbol, template, arguments }))
    }

    /// The one instance of the template whose arguments the older spelling `arguments` means.
    fn find_alias(
        &self,
        symbol: &[u8],
        template: &str,
        arguments: &[Type],
    ) -> Result<Option<DerivedInstance>> {
        let (state, owner) = (self.state(), self.owner());
        let mut found: Option<DerivedInstance> = None;
        let mut add = |instance: DerivedInstance| match &found {
            Some(other) if other.arguments != instance.arguments => {
                let kind = InstantiateErrorKind::AmbiguousAlias {
                    one: Name::new(&other.symbol)?,
                    other: Name::new(&instance.symbol)?,
                };
                Err(InstantiateError::failed(Name::new(symbol)?, None, kind))
            }
            Some(_) => Ok(()),
            None => {
                found = Some(instance);
                Ok(())
            }
        };
        let means = |types: &[Type]| {
            let pairs = || arguments.iter().zip(types);
            types.len() == arguments.len() && pairs().all(|(alias, ty)| is_alias_of(alias, ty))
        };
        for (symbol, of, types) in listed(&state, owner) {
            // Malformed arguments are reported when the row itself is used.
            if of == template
                && let Ok(types) = Type::parse_arguments(types)
                && means(&types)
            {
                let symbol = try_copy_bytes(symbol.as_bytes())?.into_vec();
                add(DerivedInstance { symbol, template: try_copy_str(of)?, arguments: types })?;
            }
        }
        for known in &state.derived {
            let is_it = known.template == template && means(&known.arguments);
            if is_it && self.exists(&known.symbol, owner) {
                add(known.try_clone()?)?;
            }
        }
        Ok(found)
    }
}

/// The symbol, template and type arguments of the rows of the modules that `owner` uses.
fn listed(state: &State, owner: u64) -> impl Iterator<Item = (&str, &str, &str)> {
    state.modules.of(owner).flat_map(|module| {
        let rows = module.rows.iter().chain(&module.lost_rows);
        rows.map(|row| {
            (module.text(row.symbol), module.text(row.template), module.text(row.arguments))
        })
    })
}

//! The signature of a template, as far as its body states one: for the inference of type arguments.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::module::TemplateRef;
use crate::alloc_util::{AllocError, try_copy_str, try_push, try_to_string};
use crate::format::ext::source_template::SourceTemplate;
use crate::format::template_record::TemplateRecord;
use crate::ir::{ValueType, function_of};
use crate::types::{TemplateSignature, Type};

use super::ir_bodies::type_of;

/// The names of the type parameters of a template that does not name them.
const NAMES: [&str; 7] = ["T", "U", "V", "W", "X", "Y", "Z"];

/// A template with its type parameters, and what their declarations add.
pub(super) struct Described {
    pub(super) signature: TemplateSignature,
    /// The number of a type parameter, and the bound as it is spelled.
    pub(super) bounds: Vec<(usize, Box<str>)>,
    /// The number of a type parameter, and its default.
    pub(super) fallbacks: Vec<(usize, Type)>,
}

impl Described {
    /// Describes a template.
    ///
    /// # Errors
    /// No memory.
    pub(super) fn new(template: &TemplateRef<'_>) -> Result<Self, AllocError> {
        let signature = TemplateSignature::default();
        let mut described = Self { signature, bounds: Vec::new(), fallbacks: Vec::new() };
        if let Some(source) = SourceTemplate::parse(template.body) {
            described.add_source(&source)?;
        } else if let Some(Ok(function)) = function_of(template.body) {
            described.add_names(template.parameters.unwrap_or(0))?;
            described.add_ir(&function.signature())?;
        } else if let Some(record) =
            template.kind.and_then(|kind| TemplateRecord::parse(kind, template.body))
        {
            described.add_record(&record)?;
        } else {
            described.add_names(template.parameters.unwrap_or(0))?;
        }
        Ok(described)
    }

    fn add_source(&mut self, source: &SourceTemplate<'_>) -> Result<(), AllocError> {
        for text in source.type_params.iter() {
            self.add_declared(text)?;
        }
        // Types that cannot be read give no information: their places unify with every type.
        self.add_types(source.params.iter())?;
        self.signature.result = self.type_of_text(source.result)?;
        Ok(())
    }

    fn add_record(&mut self, record: &TemplateRecord<'_>) -> Result<(), AllocError> {
        for text in record.type_params.iter() {
            self.add_declared(text)?;
        }
        self.add_types(record.members.iter().map(type_of_parameter))?;
        self.signature.result = self.type_of_text(record.result.unwrap_or(""))?;
        Ok(())
    }

    /// A type parameter as it is declared, such as `T: Ord + Eq = i64`.
    fn add_declared(&mut self, text: &str) -> Result<(), AllocError> {
        let (text, fallback) = text.split_once('=').unwrap_or((text, ""));
        let (name, bound) = text.split_once(':').unwrap_or((text, ""));
        let number = self.signature.parameters.len();
        self.add_parameter(name.trim())?;
        if let Ok(fallback) = Type::parse(fallback.trim()) {
            try_push(&mut self.fallbacks, (number, fallback))?;
        }
        for bound in bound.split('+').map(str::trim).filter(|bound| !bound.is_empty()) {
            try_push(&mut self.bounds, (number, try_copy_str(bound)?.into_boxed_str()))?;
        }
        Ok(())
    }

    fn add_ir(&mut self, signature: &crate::ir::Signature<'_>) -> Result<(), AllocError> {
        for &code in signature.params {
            let ty = self.type_of_code(ValueType::from_code(code))?;
            let ty = match ty {
                Some(ty) => ty,
                None => unknown(self.signature.arguments.len())?,
            };
            try_push(&mut self.signature.arguments, ty)?;
        }
        self.signature.result = self.type_of_code(signature.result())?;
        Ok(())
    }

    fn add_names(&mut self, count: u8) -> Result<(), AllocError> {
        for number in 0..usize::from(count) {
            match NAMES.get(number) {
                Some(name) => self.add_parameter(name)?,
                None => self.add_parameter(&try_to_string(format_args!("T{number}"))?)?,
            }
        }
        Ok(())
    }

    fn add_parameter(&mut self, name: &str) -> Result<(), AllocError> {
        try_push(&mut self.signature.parameters, try_copy_str(name)?.into_boxed_str())
    }

    fn add_types<'t>(&mut self, texts: impl Iterator<Item = &'t str>) -> Result<(), AllocError> {
        for text in texts {
            let ty = match self.type_of_text(text)? {
                Some(ty) => ty,
                None => unknown(self.signature.arguments.len())?,
            };
            try_push(&mut self.signature.arguments, ty)?;
        }
        Ok(())
    }

    /// The type that `text` spells, in which names of type parameters are variables.
    fn type_of_text(&self, text: &str) -> Result<Option<Type>, AllocError> {
        let Ok(mut ty) = Type::parse(text) else { return Ok(None) };
        self.mark_variables(&mut ty)?;
        Ok(Some(ty))
    }

    fn mark_variables(&self, ty: &mut Type) -> Result<(), AllocError> {
        match ty {
            Type::Named { name, args } if args.is_empty() => {
                if self.signature.parameters.contains(name) {
                    *ty = Type::Variable(core::mem::take(name));
                }
                Ok(())
            }
            Type::Named { args, .. } | Type::Tuple(args) => {
                args.iter_mut().try_for_each(|part| self.mark_variables(part))
            }
            Type::Function { args, result } => {
                args.iter_mut().try_for_each(|part| self.mark_variables(part))?;
                self.mark_variables(result)
            }
            Type::Array(elem) | Type::Simd { elem, .. } => self.mark_variables(elem),
            _ => Ok(()),
        }
    }

    fn type_of_code(&self, ty: Option<ValueType>) -> Result<Option<Type>, AllocError> {
        match ty {
            Some(ValueType::Scalar(scalar)) => type_of(scalar).map(Type::try_clone).transpose(),
            Some(ValueType::Parameter(number)) => {
                let name = self.signature.parameters.get(usize::from(number));
                let name = name.map(|name| try_copy_str(name)).transpose()?;
                Ok(name.map(|name| Type::Variable(name.into_boxed_str())))
            }
            None => Ok(None),
        }
    }
}

/// A type that nothing is known about. Its name is no identifier.
fn unknown(number: usize) -> Result<Type, AllocError> {
    Ok(Type::Variable(try_to_string(format_args!("parameter {number}"))?.into_boxed_str()))
}

/// The type in the declaration of a parameter, such as `x: T` or `mut x: T = 1`.
fn type_of_parameter(text: &str) -> &str {
    let (_, ty) = text.split_once(':').unwrap_or(("", ""));
    ty.split_once('=').map_or(ty, |(ty, _)| ty).trim()
}

//! Functions that no file declares: those of earlier compilations, say.

use super::*;
use crate::ir::Scalar;

impl Program<'_, '_> {
    /// Whether the host has a function.
    pub(in crate::source) fn has_external(&self, name: &str) -> bool {
        (self.context.externals)(name).is_some()
    }

    /// The function of the host that is called without a declaration. What an address stands for is not known: such a function
    /// is declared in the source.
    pub(in crate::source) fn external(&self, name: &str) -> Option<ExternalSignature> {
        let signature = (self.context.externals)(name)?;
        let mut types = signature.params.iter().chain(&signature.result);
        let has_address = types.any(|&scalar| scalar == Scalar::Pointer);
        (!has_address).then_some(signature)
    }

    /// Declares the function `name` in a file if the host has it; its number.
    pub(in crate::source) fn declare_external(&mut self, source: u32, word: Word) -> Option<u32> {
        let signature = self.external(self.name(word.name))?;
        let params = List { start: count(&self.params), len: count(&signature.params) };
        for scalar in signature.params {
            let (name, ty) = (Name::UNDERSCORE, TypeId::scalar(scalar));
            let param = ParamInfo { name, ty, default: None, mutable: false };
            self.push(|program| &mut program.params, param);
        }
        let decl = FunctionDecl { is_extern: true, ..FunctionDecl::new(word, word.span) };
        let result = signature.result.map_or(TypeId::UNIT, TypeId::scalar);
        let info = FunctionInfo {
            source,
            decl,
            owner: None,
            self_type: None,
            owner_name: None,
            type_params: 0,
            params,
            result: ResultType::Known(result),
            is_external: true,
        };
        let number = self.push(|program| &mut program.functions, info);
        self.insert_item(source, word.name, Item::Function(number));
        Some(number)
    }
}

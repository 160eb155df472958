//! Functions that no file declares: those of earlier compilations, say.

use super::*;

impl Program<'_, '_> {
    /// Declares the function `name` in a file if the host has it; its number.
    pub(in crate::source) fn declare_external(&mut self, source: u32, word: Word) -> Option<u32> {
        let signature = (self.context.externals)(self.name(word.name))?;
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

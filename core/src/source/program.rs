//! The declarations of all files: names, signatures and types.

use alloc::vec::Vec;
use core::fmt;

use super::code::Code;
use super::diagnostic::{Diagnostics, File, STACK_ENDS, Severity};
use super::names::{HashIndex, Name, Names};
use super::syntax::*;
use super::token::Span;
use super::ty::{Head, TypeError, TypeId, Types};
use super::unit::ExternalSignature;
use crate::alloc_util::{try_push, try_replace, try_with_capacity};

mod collect;
pub(super) mod constant;
mod cycle;
pub(super) mod data;
mod external;
pub(super) mod layout;
pub(super) mod operation;
mod show;
mod similar;
pub(super) mod type_hash;
mod types;

/// How parameters without a type are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    /// A parameter without a type is an error.
    #[default]
    Compile,
    /// A parameter without a type is an i64, as in the execution manager.
    Manager,
}

/// Looks up a function that no file declares.
pub(super) type Externals<'p> = dyn Fn(&str) -> Option<ExternalSignature> + 'p;

/// What a name of a file stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Function(u32),
    Struct(u32),
    Enum(u32),
    Const(u32),
    Alias(u32),
    /// The number of a file.
    Module(u32),
    /// A name that several files declare, each of which is imported whole.
    Ambiguous,
}

impl Item {
    fn is_type(self) -> bool {
        matches!(self, Self::Struct(_) | Self::Enum(_) | Self::Alias(_))
    }
}

/// What a `use` of a file imports from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Import {
    /// The number of a file.
    pub(super) module: u32,
    /// Whether the last name of the path is that of an item of the module.
    names_item: bool,
}

/// A parsed file.
pub(super) struct Source<'s> {
    pub(super) file: File<'s>,
    /// Its name in `use`.
    pub(super) module: &'s str,
    pub(super) tree: Tree,
}

/// How the result type of a function is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResultType {
    Known(TypeId),
    /// It follows from the body.
    Missing,
    /// Its body is being looked at.
    Inferring,
}

/// A parameter with its type.
#[derive(Clone, Copy, Debug)]
pub(super) struct ParamInfo {
    pub(super) name: Name,
    pub(super) ty: TypeId,
    pub(super) default: Option<ExprId>,
    pub(super) mutable: bool,
}

/// A function or method.
#[derive(Clone, Copy, Debug)]
pub(super) struct FunctionInfo {
    pub(super) source: u32,
    pub(super) decl: FunctionDecl,
    /// The number of its implementation in the tree.
    pub(super) owner: Option<u32>,
    /// The type of `self`.
    pub(super) self_type: Option<TypeId>,
    /// The name of the type that it is a method of.
    pub(super) owner_name: Option<Name>,
    /// The type parameters of the implementation and its own.
    pub(super) type_params: u32,
    /// A range of [`Program::params`].
    pub(super) params: List,
    pub(super) result: ResultType,
    /// A function of another unit: called by its symbol.
    pub(super) is_external: bool,
}

impl FunctionInfo {
    /// How it gets `self`; a free function does not.
    pub(super) fn receiver(&self) -> Receiver {
        if self.owner.is_some() { self.decl.receiver } else { Receiver::None }
    }

    pub(super) fn is_generic(&self) -> bool {
        self.type_params > 0
    }

    /// Whether no file declares it, so that its parameters have neither names nor defaults.
    pub(super) fn is_undeclared(&self) -> bool {
        self.is_external && self.decl.params.len != self.params.len
    }
}

/// A struct or enum.
#[derive(Clone, Copy, Debug)]
pub(super) struct NominalInfo {
    pub(super) source: u32,
    /// The number of the declaration in the tree.
    pub(super) decl: u32,
    pub(super) name: Name,
    pub(super) type_params: u32,
    /// A range of [`Program::fields`], in the order of declaration; of an enum, those of all variants.
    pub(super) fields: List,
    /// Whether a syntax error may have hidden fields or variants. Its values are errors already.
    pub(super) is_broken: bool,
}

/// A field with its type in terms of the type parameters.
#[derive(Clone, Copy, Debug)]
pub(super) struct FieldInfo {
    pub(super) name: Name,
    pub(super) ty: TypeId,
    pub(super) default: Option<ExprId>,
}

/// A variant of an enum.
#[derive(Clone, Copy, Debug)]
pub(super) struct VariantInfo {
    pub(super) name: Name,
    pub(super) discriminant: i64,
    /// A range of [`Program::fields`].
    pub(super) fields: List,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct ConstInfo {
    pub(super) source: u32,
    pub(super) decl: ConstDecl,
    pub(super) state: constant::State,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct AliasInfo {
    pub(super) source: u32,
    pub(super) decl: AliasDecl,
    pub(super) ty: Option<TypeId>,
    pub(super) is_open: bool,
}

/// A name in scope with its type: a type parameter.
pub(super) type TypeScope<'e> = &'e [(Name, TypeId)];

/// How files are compiled.
#[derive(Clone, Copy)]
pub(super) struct Context<'p> {
    pub(super) mode: Mode,
    pub(super) externals: &'p Externals<'p>,
    /// Whether the file has the declarations of all modules that a function needs, and imports none.
    pub(super) is_template_text: bool,
    /// Whether functions are for other files if their own does not mark them, as texts of templates leave marks out.
    pub(super) ignores_marks: bool,
}

impl<'p> Context<'p> {
    /// Files that import each other.
    pub(super) fn new(mode: Mode, externals: &'p Externals<'p>) -> Self {
        Self { mode, externals, is_template_text: false, ignores_marks: false }
    }
}

/// Everything that the files declare.
pub(super) struct Program<'p, 's> {
    pub(super) sources: &'p [Source<'s>],
    pub(super) names: &'p Names<'s>,
    pub(super) diagnostics: Diagnostics,
    context: Context<'p>,
    pub(super) types: Types,
    /// By the number of a file: its imports in their order, `None` without a module.
    imports: Vec<Vec<Option<Import>>>,
    /// What the files declare, in their order, and behind it what they import.
    items: Vec<(u32, Name, Item)>,
    /// The number of items that files declare.
    declared: u32,
    /// The numbers of items that `use module.*` has added.
    imported_whole: Vec<u32>,
    /// Names that several modules declare which a file imports whole, where a function that is private there yielded.
    pub(super) unhidden: Vec<(u32, Name)>,
    item_index: HashIndex,
    methods: Vec<(Head, Name, u32)>,
    method_index: HashIndex,
    /// By the number of a name: whether a method of that name changes its receiver.
    mutating: Vec<bool>,
    pub(super) functions: Vec<FunctionInfo>,
    pub(super) params: Vec<ParamInfo>,
    pub(super) structs: Vec<NominalInfo>,
    pub(super) enums: Vec<NominalInfo>,
    pub(super) fields: Vec<FieldInfo>,
    /// The variants of each enum, by its number.
    pub(super) variants: Vec<Vec<VariantInfo>>,
    /// By the number of an enum: whether no variant has a payload.
    unit_enums: Vec<bool>,
    /// Each variant: the number of its enum, its name, and its place there.
    variant_places: Vec<(u32, Name, u32)>,
    variant_index: HashIndex,
    pub(super) consts: Vec<ConstInfo>,
    pub(super) aliases: Vec<AliasInfo>,
    layouts: layout::Layouts,
    /// Names that a failed import would have declared, by the file: errors of them follow from that one.
    missing: Vec<(u32, Name)>,
    missing_index: HashIndex,
    /// While a signature is resolved, the names that it has and no type: each is one error of it.
    unknown_types: Option<Vec<&'s str>>,
    /// By the number of a name: the last list of parameters or fields that has it.
    name_lists: Vec<u32>,
    /// The number of these lists.
    list_count: u32,
    /// The number of fields and variants that were declared twice.
    duplicates: u32,
    /// The nesting of what is being resolved or evaluated.
    depth: u32,
    /// The levels of types that are resolved or laid out for each other.
    type_levels: u32,
    /// The number of operations that are evaluated for their types only, as `false and` stands in front of them.
    skipped: u32,
    /// Whether the files name types of pointers.
    pub(super) has_pointers: bool,
}

/// An entry of a list by number.
pub(super) fn at<T>(list: &[T], number: u32) -> Option<&T> {
    list.get(usize::try_from(number).ok()?)
}

/// As [`at`], to change it.
pub(super) fn at_mut<T>(list: &mut [T], number: u32) -> Option<&mut T> {
    list.get_mut(usize::try_from(number).ok()?)
}

/// The entries of a range.
pub(super) fn range<T>(list: &[T], range: List) -> &[T] {
    let start = usize::try_from(range.start).unwrap_or(usize::MAX);
    list.get(start..start.saturating_add(range.len())).unwrap_or(&[])
}

pub(super) fn count<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).unwrap_or(u32::MAX)
}

impl<'p, 's> Program<'p, 's> {
    /// The program of `sources`, with every declaration resolved.
    pub(super) fn new(
        sources: &'p [Source<'s>],
        names: &'p Names<'s>,
        diagnostics: Diagnostics,
        context: Context<'p>,
    ) -> Result<Self, TypeError> {
        let trees = || sources.iter().map(|source| &source.tree);
        let functions = trees().map(|tree| tree.functions.len()).sum();
        let params = trees().map(|tree| tree.params.len()).sum();
        let mut types = trees().flat_map(|tree| &tree.types);
        let has_pointers = types.any(|node| matches!(node.kind, TypeKind::Pointer(..)));
        Ok(Self {
            has_pointers,
            sources,
            names,
            diagnostics,
            context,
            types: Types::new()?,
            imports: try_with_capacity(sources.len())?,
            items: try_with_capacity(functions)?,
            declared: 0,
            imported_whole: Vec::new(),
            unhidden: Vec::new(),
            item_index: HashIndex::with_capacity(functions)?,
            methods: Vec::new(),
            method_index: HashIndex::default(),
            mutating: Vec::new(),
            functions: try_with_capacity(functions)?,
            params: try_with_capacity(params)?,
            structs: Vec::new(),
            enums: Vec::new(),
            fields: Vec::new(),
            variants: Vec::new(),
            unit_enums: Vec::new(),
            variant_places: Vec::new(),
            variant_index: HashIndex::default(),
            consts: Vec::new(),
            aliases: Vec::new(),
            layouts: layout::Layouts::default(),
            missing: Vec::new(),
            missing_index: HashIndex::default(),
            unknown_types: None,
            name_lists: Vec::new(),
            list_count: 0,
            duplicates: 0,
            depth: 0,
            type_levels: 0,
            skipped: 0,
        })
    }

    pub(super) fn mode(&self) -> Mode {
        self.context.mode
    }

    pub(super) fn is_template_text(&self) -> bool {
        self.context.is_template_text
    }

    pub(super) fn source(&self, number: u32) -> Option<&'p Source<'s>> {
        at(self.sources, number)
    }

    pub(super) fn name(&self, name: Name) -> &'s str {
        self.names.text(name)
    }

    /// Pushes to a list of the program; its number there.
    pub(super) fn push<T>(&mut self, list: impl FnOnce(&mut Self) -> &mut Vec<T>, value: T) -> u32 {
        let list = list(self);
        let number = count(list);
        let result = try_push(list, value);
        self.diagnostics.allocated(result);
        number
    }

    pub(super) fn error(
        &mut self,
        source: u32,
        span: Span,
        code: Code,
        message: fmt::Arguments<'_>,
    ) {
        self.report(source, span, (Severity::Error, code), message, None);
    }

    /// Whether the stack has room for another level of nesting. If not, that is reported at the expression, once, also where
    /// diagnostics are muted: what is muted is looked at again, with more of the stack.
    #[inline]
    pub(super) fn has_stack(&mut self, source: u32, id: ExprId) -> bool {
        let has_stack = self.diagnostics.has_stack();
        if !has_stack {
            self.refuse_depth(source, id);
        }
        has_stack
    }

    #[cold]
    fn refuse_depth(&mut self, source: u32, id: ExprId) {
        if !core::mem::replace(&mut self.diagnostics.is_too_deep, true) {
            let span = self.source(source).map(|source| source.tree.expr(id).span);
            let (span, message) = (span.unwrap_or_default(), format_args!("{STACK_ENDS}"));
            self.unmuted(|program| program.error(source, span, Code::TooDeep, message));
        }
    }

    /// Runs `report` so that its errors are recorded where diagnostics are muted too.
    pub(super) fn unmuted(&mut self, report: impl FnOnce(&mut Self)) {
        let muted = core::mem::take(&mut self.diagnostics.muted);
        report(self);
        self.diagnostics.muted = muted;
    }

    pub(super) fn report(
        &mut self,
        source: u32,
        span: Span,
        kind: (Severity, Code),
        message: fmt::Arguments<'_>,
        note: Option<fmt::Arguments<'_>>,
    ) {
        // Muted errors are counted.
        if self.diagnostics.muted == 0 && self.follows_from_missing(source, span, kind.1) {
            return self.diagnostics.drop_implied();
        }
        if let Some(source) = at(self.sources, source) {
            self.diagnostics.add(&source.file, span, kind, message, note);
        }
    }

    /// Whether a failed import or a refused declaration would have declared the name.
    pub(super) fn is_missing(&self, source: u32, name: Name) -> bool {
        let same = |number: u32| at(&self.missing, number) == Some(&(source, name));
        self.missing_index.find(Self::item_hash(source, name), same).is_some()
    }

    /// Whether an error is one of a name that a failed import or a refused declaration would have declared.
    fn follows_from_missing(&self, source: u32, span: Span, code: Code) -> bool {
        let is_of_name =
            matches!(code, Code::UnknownName | Code::UnknownModule | Code::UnknownType);
        if self.missing.is_empty() || !is_of_name {
            return false;
        }
        let is_missing = |name| self.is_missing(source, name);
        let text = at(self.sources, source).map_or("", |source| span.of(source.file.text));
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        let word = text.split(|c| !is_part(c)).next().unwrap_or("");
        let name = self.names.find(word);
        // An import of all names of a module says nothing of the names of others.
        let is_import = text.starts_with("use ") || text.starts_with("import ");
        !is_import && (is_missing(Name::NONE) || name.is_some_and(is_missing))
    }

    /// Reports why a type was not made.
    pub(super) fn made(
        &mut self,
        source: u32,
        span: Span,
        result: Result<TypeId, TypeError>,
    ) -> TypeId {
        match result {
            Ok(ty) => return ty,
            Err(TypeError::Memory) => self.diagnostics.out_of_memory = true,
            Err(TypeError::Count) => {
                self.error(source, span, Code::TooLarge, format_args!("too many types"));
            }
            Err(TypeError::Nesting) => {
                let limit = super::ty::MAX_TYPE_NESTING;
                let message = format_args!("a type nests deeper than {limit} levels");
                self.error(source, span, Code::InstanceLimit, message);
            }
            Err(TypeError::Size) => {
                let limit = super::ty::MAX_TYPE_SIZE;
                let message = format_args!("a type has more than {limit} parts");
                self.error(source, span, Code::InstanceLimit, message);
            }
        }
        TypeId::ERROR
    }

    pub(super) fn intern(
        &mut self,
        source: u32,
        span: Span,
        head: Head,
        parts: &[TypeId],
    ) -> TypeId {
        let made = self.types.intern(head, parts);
        self.made(source, span, made)
    }

    /// A type with type arguments in place of its type parameters.
    pub(super) fn substituted(
        &mut self,
        (source, span): (u32, Span),
        ty: TypeId,
        arguments: &[TypeId],
    ) -> TypeId {
        let made = self.types.substitute(ty, arguments);
        self.made(source, span, made)
    }

    // Names.

    pub(super) fn item_hash(source: u32, name: Name) -> u32 {
        (source.wrapping_mul(0x9e37_79b1) ^ name.0).wrapping_mul(0x85eb_ca6b)
    }

    /// What `name` stands for in a file.
    pub(super) fn item(&self, source: u32, name: Name) -> Option<Item> {
        at(&self.items, self.item_number(source, name)?).map(|item| item.2)
    }

    fn item_number(&self, source: u32, name: Name) -> Option<u32> {
        let same = |number: u32| {
            at(&self.items, number).is_some_and(|&(s, n, _)| (s, n) == (source, name))
        };
        self.item_index.find(Self::item_hash(source, name), same)
    }

    /// The imports of a file in their order, `None` without a module.
    pub(super) fn imports_of(&self, source: u32) -> &[Option<Import>] {
        at(&self.imports, source).map_or(&[], Vec::as_slice)
    }

    /// The modules that a file imports: their names there, and their numbers.
    pub(super) fn modules_of(&self, source: u32) -> impl Iterator<Item = (Name, u32)> {
        self.items.iter().filter_map(move |&(file, name, item)| match item {
            Item::Module(module) if file == source => Some((name, module)),
            _ => None,
        })
    }

    /// A method `name` of a type with this head; implementations for other type arguments may have more of them.
    pub(super) fn method(&self, head: Head, name: Name) -> Option<u32> {
        self.find_method(head, name, |_| true)
    }

    /// The method `name` of a type. If only implementations for other type arguments have one, it is that.
    pub(super) fn method_of(&self, ty: TypeId, name: Name) -> Option<u32> {
        let head = self.types.head(ty);
        self.own_method(ty, name).or_else(|| self.method(head, name))
    }

    /// The method `name` of a type, by an implementation that may be for it.
    fn own_method(&self, ty: TypeId, name: Name) -> Option<u32> {
        let self_type = |number| at(&self.functions, number).and_then(|info| info.self_type);
        let is_own = |number| self_type(number).is_some_and(|own| self.types.may_agree(own, ty));
        self.find_method(self.types.head(ty), name, is_own)
    }

    /// Whether several implementations of a type have a method `name`, each for other type arguments.
    pub(super) fn has_several(&self, head: Head, name: Name) -> bool {
        let first = self.method(head, name);
        self.find_method(head, name, |number| Some(number) != first).is_some()
    }

    /// The number of methods `name` that the implementations of a type have, for any type arguments.
    fn method_count(&self, head: Head, name: Name) -> usize {
        let found = core::cell::Cell::new(0);
        self.find_method(head, name, |_| {
            found.set(found.get() + 1);
            false
        });
        found.get()
    }

    fn find_method(&self, head: Head, name: Name, test: impl Fn(u32) -> bool) -> Option<u32> {
        let same = |number: u32| {
            at(&self.methods, number).is_some_and(|m| (m.0, m.1) == (head, name) && test(m.2))
        };
        let number = self.method_index.find(Self::method_hash(head, name), same)?;
        at(&self.methods, number).map(|method| method.2)
    }

    /// The place of a variant in its enum.
    pub(super) fn variant_place(&self, number: u32, name: Name) -> Option<u32> {
        let same = |place: u32| {
            at(&self.variant_places, place).is_some_and(|v| (v.0, v.1) == (number, name))
        };
        let found = self.variant_index.find(Self::item_hash(number, name), same)?;
        at(&self.variant_places, found).map(|variant| variant.2)
    }

    fn add_variant_place(&mut self, number: u32, name: Name, place: u32) {
        let entry = self.push(|program| &mut program.variant_places, (number, name, place));
        let inserted = self.variant_index.insert(Self::item_hash(number, name), entry);
        self.diagnostics.allocated(inserted);
    }

    fn method_hash(head: Head, name: Name) -> u32 {
        let owner = match head {
            Head::Struct(number) => number.wrapping_mul(2),
            Head::Enum(number) => number.wrapping_mul(2).wrapping_add(1),
            _ => u32::MAX,
        };
        Self::item_hash(owner, name)
    }

    /// Whether a method of this name changes its receiver.
    pub(super) fn is_mutating_name(&self, name: Name) -> bool {
        at(&self.mutating, name.0).copied().unwrap_or(false)
    }

    /// Whether a function of another file has the name of this one.
    pub(super) fn is_shared_name(&self, info: &FunctionInfo) -> bool {
        (0..count(self.sources)).any(|source| self.has_name_of(source, info))
    }

    /// Whether a function of an earlier file has the name of this one.
    pub(super) fn is_later_name(&self, info: &FunctionInfo) -> bool {
        (0..info.source).any(|source| self.has_name_of(source, info))
    }

    /// Whether another file declares a function, generic or not as this one, with its name.
    fn has_name_of(&self, source: u32, info: &FunctionInfo) -> bool {
        let Some(Item::Function(number)) = self.item(source, info.decl.word.name) else {
            return false;
        };
        source != info.source
            && self.function(number).is_some_and(|other| {
                other.source == source
                    && other.is_generic() == info.is_generic()
                    && !(other.is_external && info.is_external)
            })
    }

    /// Whether a function without type parameters is called by its name from outside of its module.
    pub(super) fn has_symbol(&self, info: &FunctionInfo) -> bool {
        info.is_external || !self.is_private(info) && !self.is_shared_name(info)
    }

    /// Whether the file of a function marks functions by `pub` or `export`, and not this one.
    pub(super) fn is_private(&self, info: &FunctionInfo) -> bool {
        self.source(info.source).is_some_and(|source| {
            let tree = &source.tree;
            let name = info.decl.word.name;
            let is_exported = || tree.exports.binary_search_by_key(&name, |word| word.name).is_ok();
            tree.marks_functions && !info.decl.is_public && !is_exported()
        })
    }

    /// Whether a function is not for a file.
    fn is_hidden(&self, source: u32, info: &FunctionInfo) -> bool {
        let is_own = info.source == source || info.owner.is_some() || self.context.ignores_marks;
        !is_own && self.is_private(info)
    }

    /// Reports the use of a function in a file for which it is not; whether it is so.
    pub(super) fn refuse_private(&mut self, source: u32, span: Span, info: &FunctionInfo) -> bool {
        if !self.is_hidden(source, info) {
            return false;
        }
        let (name, module) = (self.name(info.decl.word.name), self.source(info.source));
        let module = module.map_or("", |source| source.module);
        let message = format_args!("function `{name}` is private to module `{module}`");
        let note = format_args!("mark it with `pub`, as others there");
        self.report(source, span, (Severity::Error, Code::UnknownName), message, Some(note));
        true
    }

    pub(super) fn function(&self, number: u32) -> Option<FunctionInfo> {
        at(&self.functions, number).copied()
    }

    pub(super) fn param_list(&self, list: List) -> &[ParamInfo] {
        range(&self.params, list)
    }

    /// Whether type parameters of a function have bounds, which exclude types.
    pub(super) fn is_bounded(&self, function: &FunctionInfo) -> bool {
        self.source(function.source).is_some_and(|source| {
            let mut params =
                source.tree.entries(&source.tree.type_params, function.decl.type_params);
            params.any(|param| !param.bounds.is_empty())
        })
    }

    /// The names of the type parameters of a function, as types.
    pub(super) fn type_scope(&mut self, function: &FunctionInfo) -> Vec<(Name, TypeId)> {
        let source = self.source(function.source).filter(|_| function.is_generic());
        let Some(source) = source else { return Vec::new() };
        let tree = &source.tree;
        let owner = function.owner.and_then(|owner| entry(&tree.impls, owner));
        let outer = owner.map_or(List::default(), |owner| owner.type_params);
        self.scope_of(function.source, &[outer, function.decl.type_params])
    }

    /// Type parameters, numbered over all lists.
    pub(super) fn scope_of(&mut self, source: u32, lists: &[List]) -> Vec<(Name, TypeId)> {
        let Some(tree) = self.source(source).map(|source| &source.tree) else { return Vec::new() };
        let mut scope = Vec::new();
        for &list in lists {
            for param in tree.entries(&tree.type_params, list) {
                let head = Head::Param(count(&scope));
                let ty = self.intern(source, param.word.span, head, &[]);
                self.diagnostics.push(&mut scope, (param.word.name, ty));
            }
        }
        scope
    }
}

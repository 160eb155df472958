//! From syntax trees to declarations: names first, then imports, then types and signatures.

use super::*;
use crate::alloc_util::{AllocError, hash};
use crate::source::imports::{candidates, joined};

/// Implementations for more type arguments cannot have a method of the same name: a call compares them one by one.
const MAX_METHODS: usize = 256;

impl<'p> Program<'p, '_> {
    /// Declares everything.
    pub(in crate::source) fn collect(&mut self) {
        for number in 0..count(self.sources) {
            self.declare(number);
        }
        self.declared = count(&self.items);
        let found = self.find_modules();
        self.diagnostics.allocated(found);
        // What a module imports can be imported from it, but by `*`.
        for number in self.check_cycles() {
            self.import(number);
        }
        for number in 0..count(self.sources) {
            self.check_exports(number);
            self.refuse_trait_impls(number);
        }
        self.resolve_structs();
        self.resolve_enums();
        for number in 0..count(self.sources) {
            self.refuse_undeclared_params(number);
        }
        for number in 0..count(&self.functions) {
            self.resolve_signature(number);
        }
        for number in 0..count(self.sources) {
            self.resolve_impls(number);
        }
        for number in 0..count(&self.aliases) {
            self.alias(number);
        }
        self.lay_out_declared();
    }

    /// Lays out the structs and enums without type parameters, so that one that contains itself is an error without use.
    fn lay_out_declared(&mut self) {
        let structs = (0..).zip(&self.structs).map(|(number, info)| (Head::Struct(number), *info));
        let enums = (0..).zip(&self.enums).map(|(number, info)| (Head::Enum(number), *info));
        let plain = structs.chain(enums).filter(|(_, info)| info.type_params == 0);
        let plain = crate::alloc_util::try_collect(plain.map(|(head, info)| (head, info.source)));
        for (head, source) in self.diagnostics.allocated(plain).unwrap_or_default() {
            let ty = self.intern(source, Span::default(), head, &[]);
            self.size(ty);
        }
    }

    fn add_item(&mut self, source: u32, word: Word, item: Item) {
        let name = self.name(word.name);
        if self.item(source, word.name).is_some() {
            let message = format_args!("`{name}` is declared twice");
            self.mark_broken(source, word.name);
            return self.error(source, word.span, Code::DuplicateName, message);
        }
        if item.is_type() && TypeId::primitive(word.name).is_some() {
            let message = format_args!("`{name}` is a built-in type, which is not declared again");
            self.error(source, word.span, Code::DuplicateName, message);
        }
        self.insert_item(source, word.name, item);
    }

    /// Notes that a declaration is not all that is known of a type or function, so that its uses are no errors.
    fn mark_broken(&mut self, source: u32, name: Name) {
        match self.item(source, name) {
            Some(Item::Struct(number)) => {
                at_mut(&mut self.structs, number).map(|info| info.is_broken = true)
            }
            Some(Item::Enum(number)) => {
                at_mut(&mut self.enums, number).map(|info| info.is_broken = true)
            }
            Some(Item::Function(number)) => {
                at_mut(&mut self.functions, number).map(|info| info.decl.is_broken = true)
            }
            _ => None,
        };
    }

    pub(super) fn insert_item(&mut self, source: u32, name: Name, item: Item) {
        let number = self.push(|program| &mut program.items, (source, name, item));
        let inserted = self.item_index.insert(Self::item_hash(source, name), number);
        self.diagnostics.allocated(inserted);
    }

    /// The names that a file declares.
    fn declare(&mut self, number: u32) {
        let Some(tree) = self.source(number).map(|source| &source.tree) else { return };
        for &name in &tree.refused {
            self.note_missing(number, name);
        }
        let nominal = |decl, word: Word, type_params: List, is_broken| {
            let (name, type_params, fields) = (word.name, type_params.len, List::default());
            NominalInfo { source: number, decl, name, type_params, fields, is_broken }
        };
        for (decl, info) in (0..).zip(&tree.structs) {
            let nominal = nominal(decl, info.word, info.type_params, info.is_broken);
            let item = Item::Struct(self.push(|program| &mut program.structs, nominal));
            self.add_item(number, info.word, item);
        }
        for (decl, info) in (0..).zip(&tree.enums) {
            let nominal = nominal(decl, info.word, info.type_params, info.is_broken);
            let item = Item::Enum(self.push(|program| &mut program.enums, nominal));
            self.add_item(number, info.word, item);
        }
        for &decl in &tree.consts {
            let state = constant::State::Open;
            let info = ConstInfo { source: number, decl, state };
            let item = Item::Const(self.push(|program| &mut program.consts, info));
            self.add_item(number, decl.word, item);
        }
        for &decl in &tree.aliases {
            let info = AliasInfo { source: number, decl, ty: None, is_open: false };
            let item = Item::Alias(self.push(|program| &mut program.aliases, info));
            self.add_item(number, decl.word, item);
        }
        for &decl in &tree.top_functions {
            let Some(decl) = entry(&tree.functions, decl) else { continue };
            if decl.is_script && self.refuse_script(number, tree, decl.word.span) {
                continue;
            }
            let item = Item::Function(self.add_function(number, decl, None));
            self.add_item(number, decl.word, item);
        }
    }

    /// Refuses statements at the top level that never run: beside `fn main`, and in an imported module.
    fn refuse_script(&mut self, number: u32, tree: &Tree, span: Span) -> bool {
        if !self.drops_script(number) {
            return false;
        }
        let statements = tree.list(tree.script).iter().map(|&number| tree.stmt(StmtId(number)));
        let mut variables = statements.filter(|s| matches!(s.kind, StmtKind::Let { .. }));
        if let Some(Stmt { span, kind }) = variables.next() {
            if let StmtKind::Let { pattern, .. } = kind
                && let PatternKind::Bind(name) = tree.pattern(pattern).kind
                && matches!(self.item(number, name), Some(Item::Const(_)))
            {
                let name = self.name(name);
                let message = format_args!("`{name}` is declared twice");
                self.error(number, tree.pattern(pattern).span, Code::DuplicateName, message);
                return true;
            }
            let message = format_args!(
                "a variable of a module is not supported: a function has no memory of its own"
            );
            let note = match number {
                0 => format_args!("declare it in `main`, or declare a `const`"),
                _ => format_args!("pass the value, or declare a `const`"),
            };
            self.report(number, span, (Severity::Error, Code::Refused), message, Some(note));
        } else if number == 0 {
            let message =
                format_args!("statements at the top level beside `fn main` are never run");
            self.error(number, span, Code::Unexpected, message);
        } else {
            let message =
                format_args!("statements at the top level of an imported module are not run");
            self.report(number, span, (Severity::Warning, Code::Unreachable), message, None);
        }
        true
    }

    /// Whether the statements at the top level of a file are no function that runs.
    pub(in crate::source) fn drops_script(&self, number: u32) -> bool {
        let main = match self.item(number, Name::MAIN) {
            Some(Item::Function(main)) => self.function(main),
            _ => None,
        };
        number != 0 || main.is_some_and(|main| !main.decl.is_script)
    }

    /// Refuses an `export` of a name that a file neither declares nor imports.
    fn check_exports(&mut self, number: u32) {
        let exports = self.source(number).map_or(&[][..], |source| &source.tree.exports);
        for &Word { name, span } in exports.iter().filter(|word| word.name != Name::UNDERSCORE) {
            if self.diagnostics.is_full() {
                break;
            }
            if self.item(number, name).is_none() {
                let text = self.name(name);
                let message = format_args!("the file declares no `{text}`");
                let similar = self.similar_item(number, text, |_| true);
                let note = format_args!("a similar name is `{}`", similar.unwrap_or_default());
                let kind = (Severity::Error, Code::UnknownName);
                self.report(number, span, kind, message, similar.map(|_| note));
            }
        }
    }

    /// Refuses implementations of traits: not all methods of their types are known. That of a trait which is refused itself
    /// is no error of its own.
    fn refuse_trait_impls(&mut self, number: u32) {
        let Some(tree) = self.source(number).map(|source| &source.tree) else { return };
        for decl in &tree.trait_impls {
            if let Some((file, name)) = self.type_path(number, tree.ty(decl.ty).kind) {
                self.mark_broken(file, name);
            }
            let of = self.type_path(number, tree.ty(decl.of).kind);
            if !of.is_some_and(|(file, name)| self.is_missing(file, name)) {
                let message = format_args!(
                    "an implementation of a trait is not supported: there is no dynamic dispatch"
                );
                self.error(number, decl.span, Code::Refused, message);
            }
        }
    }

    /// The file that a type is looked for in, and its name there.
    fn type_path(&self, number: u32, kind: TypeKind) -> Option<(u32, Name)> {
        match kind {
            TypeKind::Named(name, _) => Some((number, name)),
            TypeKind::Member(module, name, _) => match self.item(number, module)? {
                Item::Module(file) => Some((file, name)),
                _ => None,
            },
            _ => None,
        }
    }

    /// A function without its signature.
    pub(in crate::source) fn add_function(
        &mut self,
        source: u32,
        decl: FunctionDecl,
        owner: Option<u32>,
    ) -> u32 {
        let info = FunctionInfo {
            source,
            decl,
            owner,
            self_type: None,
            owner_name: None,
            type_params: decl.type_params.len,
            params: List::default(),
            result: ResultType::Missing,
            is_external: decl.is_extern,
        };
        self.push(|program| &mut program.functions, info)
    }

    // Imports.

    /// Finds the modules of all imports.
    fn find_modules(&mut self) -> Result<(), AllocError> {
        let mut index = HashIndex::with_capacity(self.sources.len())?;
        let hash = |module: &str| hash::fnv1a_32(module.as_bytes());
        let sources = self.sources;
        let find = |index: &HashIndex, module: &str| {
            let is_same = |number| at(sources, number).is_some_and(|known| known.module == module);
            index.find(hash(module), is_same)
        };
        for (number, source) in (0..).zip(sources) {
            if find(&index, source.module).is_none() {
                index.insert(hash(source.module), number)?;
            }
        }
        for source in sources {
            let mut imports = try_with_capacity(source.tree.uses.len())?;
            for decl in &source.tree.uses {
                let path = source.tree.list(decl.path);
                let meant = candidates(source.module, self.names, path, decl.items)?;
                let import = meant.iter().find_map(|candidate| {
                    let module = find(&index, &candidate.module)?;
                    Some(Import { module, names_item: candidate.names_item })
                });
                imports.push(import);
            }
            try_push(&mut self.imports, imports)?;
        }
        Ok(())
    }

    fn import(&mut self, number: u32) {
        let Some(tree) = self.source(number).map(|source| &source.tree) else { return };
        for (index, decl) in tree.uses.iter().enumerate() {
            let import = self.imports_of(number).get(index).copied().flatten();
            let Some(Import { module, names_item }) = import else {
                self.unknown_module(number, tree, decl);
                continue;
            };
            match decl.items {
                UseItems::Module(alias) if names_item => {
                    let name = tree.list(decl.path).last().map_or(Name::NONE, |&last| Name(last));
                    self.import_name(number, decl.span, module, [name, alias]);
                }
                UseItems::Module(alias) => self.import_module(number, decl.span, module, alias),
                UseItems::Names(list) => {
                    for pair in tree.list(list).as_chunks().0 {
                        self.import_name(number, decl.span, module, pair.map(Name));
                    }
                }
                UseItems::All => {}
            }
        }
        // Now, as a name that is imported by itself precedes that of a module that is imported whole.
        for (index, decl) in tree.uses.iter().enumerate() {
            let import = self.imports_of(number).get(index).copied().flatten();
            if let (UseItems::All, Some(Import { module, .. })) = (decl.items, import) {
                self.import_all(number, module);
            }
        }
    }

    fn import_module(&mut self, number: u32, span: Span, module: u32, alias: Name) {
        let item = Item::Module(module);
        if self.item(number, alias).is_some_and(|known| known != item) {
            let name = self.name(alias);
            let message = format_args!("`{name}` is declared twice");
            return self.error(number, span, Code::DuplicateName, message);
        }
        self.insert_item(number, alias, item);
    }

    /// Reports an import without a module, and notes the names that it would have declared.
    fn unknown_module(&mut self, number: u32, tree: &Tree, decl: &UseDecl) {
        let path = tree.list(decl.path);
        let message = format_args!("module `{}` not found", joined(self.names, path, "."));
        let file = joined(self.names, path, "/");
        let note = format_args!(
            "its file is `{file}.spl`, below the directory of the program or of this file"
        );
        let kind = (Severity::Error, Code::UnknownModule);
        self.report(number, decl.span, kind, message, Some(note));
        match decl.items {
            UseItems::Module(alias) => self.note_missing(number, alias),
            UseItems::All => self.note_missing(number, Name::NONE),
            UseItems::Names(list) => {
                for [_, alias] in tree.list(list).as_chunks().0 {
                    self.note_missing(number, Name(*alias));
                }
            }
        }
    }

    /// Notes a name of a file that a failed import or a refused declaration would have declared; [`Name::NONE`] for names that
    /// are not known.
    pub(in crate::source) fn note_missing(&mut self, source: u32, name: Name) {
        if self.is_missing(source, name) {
            return;
        }
        let entry = self.push(|program| &mut program.missing, (source, name));
        let inserted = self.missing_index.insert(Self::item_hash(source, name), entry);
        self.diagnostics.allocated(inserted);
    }

    fn import_all(&mut self, number: u32, module: u32) {
        let Some(tree) = self.source(module).map(|source| &source.tree) else { return };
        for &name in &tree.refused {
            self.note_missing(number, name);
        }
        let declared = range(&self.items, List { start: 0, len: self.declared });
        let first = declared.partition_point(|item| item.0 < module);
        for index in first..declared.len() {
            let item = self.items.get(index).filter(|item| item.0 == module);
            let Some(&(_, name, item)) = item else { break };
            match self.item(number, name) {
                None => {
                    let imported = count(&self.items);
                    self.insert_item(number, name, item);
                    self.push(|program| &mut program.imported_whole, imported);
                }
                Some(known) if known != item && name != Name::MAIN => {
                    self.import_second(number, name, [known, item]);
                }
                Some(_) => {}
            }
        }
    }

    /// A name that another module declares as well, unless the file itself declares it or imports it by name: that of a
    /// function which is not for the file yields, and others are ambiguous.
    fn import_second(&mut self, source: u32, name: Name, [known, item]: [Item; 2]) {
        let is_hidden = |item| match item {
            Item::Function(number) => {
                self.function(number).is_some_and(|info| self.is_hidden(source, &info))
            }
            _ => false,
        };
        let meant = match (is_hidden(known), is_hidden(item)) {
            (_, true) => known,
            (true, false) => item,
            (false, false) => Item::Ambiguous,
        };
        if meant != Item::Ambiguous {
            self.push(|program| &mut program.unhidden, (source, name));
        }
        let number = self.item_number(source, name);
        if let Some(number) = number.filter(|n| self.imported_whole.binary_search(n).is_ok())
            && let Some(entry) = at_mut(&mut self.items, number)
        {
            entry.2 = meant;
        }
    }

    /// Reports the use of a name that several modules declare.
    pub(in crate::source) fn ambiguous(&mut self, source: u32, span: Span, name: Name) {
        let name = self.name(name);
        let message = format_args!("several modules that are imported with `*` declare `{name}`");
        let note = format_args!("import it by its name, as in `use module.{{{name}}}`");
        self.report(source, span, (Severity::Error, Code::DuplicateName), message, Some(note));
    }

    fn import_name(&mut self, number: u32, span: Span, module: u32, [name, alias]: [Name; 2]) {
        match self.item(module, name) {
            None if self.is_missing(module, name) => self.note_missing(number, alias),
            None => {
                self.note_missing(number, alias);
                let module = self.source(module).map_or("", |source| source.module);
                let name = self.name(name);
                let message = format_args!("module `{module}` declares no `{name}`");
                self.error(number, span, Code::UnknownName, message);
            }
            Some(Item::Function(function))
                if self
                    .function(function)
                    .is_some_and(|info| self.refuse_private(number, span, &info)) =>
            {
                self.note_missing(number, alias);
            }
            Some(item) if self.item(number, alias).is_none_or(|known| known == item) => {
                self.insert_item(number, alias, item);
            }
            Some(_) => {
                let name = self.name(alias);
                let message = format_args!("`{name}` is declared twice");
                self.error(number, span, Code::DuplicateName, message);
            }
        }
    }

    // Types.

    fn resolve_structs(&mut self) {
        for number in 0..count(&self.structs) {
            let Some(&info) = at(&self.structs, number) else { continue };
            let Some(tree) = self.source(info.source).map(|source| &source.tree) else { continue };
            let Some(decl) = entry(&tree.structs, info.decl) else { continue };
            let scope = self.scope_of(info.source, &[decl.type_params]);
            let before = self.duplicates;
            let fields = self.resolve_fields(info.source, decl.fields, &scope);
            let has_duplicates = self.duplicates != before;
            if let Some(info) = at_mut(&mut self.structs, number) {
                info.fields = fields;
                info.is_broken |= has_duplicates;
            }
        }
    }

    fn resolve_fields(&mut self, source: u32, list: List, scope: TypeScope<'_>) -> List {
        let Some(tree) = self.source(source).map(|source| &source.tree) else {
            return List::default();
        };
        let start = count(&self.fields);
        self.list_count += 1;
        let number = self.list_count;
        for decl in tree.entries(&tree.fields, list) {
            let mut ty = self.resolve(source, decl.ty, scope);
            if self.types.has_view(ty) {
                let span = tree.ty(decl.ty).span;
                let message = format_args!(
                    "an array without a length is not supported as a field: it would grow"
                );
                self.error(source, span, Code::Refused, message);
                ty = TypeId::ERROR;
            }
            let is_named = decl.word.name != Name::UNDERSCORE;
            if is_named && self.is_repeated(number, decl.word.name) {
                let name = self.name(decl.word.name);
                let message = format_args!("field `{name}` is declared twice");
                self.error(source, decl.word.span, Code::DuplicateName, message);
                self.duplicates = self.duplicates.wrapping_add(1);
            }
            let field = FieldInfo { name: decl.word.name, ty, default: decl.default };
            self.push(|program| &mut program.fields, field);
        }
        List { start, len: count(&self.fields) - start }
    }

    fn resolve_enums(&mut self) {
        for number in 0..count(&self.enums) {
            let before = self.duplicates;
            let variants = self.resolve_variants(number).unwrap_or_default();
            let has_duplicates = self.duplicates != before;
            if let Some(info) = at_mut(&mut self.enums, number) {
                info.is_broken |= has_duplicates;
            }
            let is_unit = variants.iter().all(|variant| variant.fields.is_empty());
            self.push(|program| &mut program.unit_enums, is_unit);
            self.push(|program| &mut program.variants, variants);
        }
    }

    fn resolve_variants(&mut self, number: u32) -> Option<Vec<VariantInfo>> {
        let info = *at(&self.enums, number)?;
        let tree = &self.source(info.source)?.tree;
        let decl = entry(&tree.enums, info.decl)?;
        let scope = self.scope_of(info.source, &[decl.type_params]);
        let mut variants: Vec<VariantInfo> = Vec::new();
        let mut next = Some(0_i64);
        let mut discriminants = HashIndex::default();
        let mut is_wrong = decl.is_broken;
        for variant in tree.entries(&tree.variants, decl.variants) {
            let fields = self.resolve_fields(info.source, variant.fields, &scope);
            if let Some(value) = variant.discriminant {
                let value = self.constant_integer(info.source, value);
                is_wrong |= value.is_none();
                next = value.or(next);
            }
            let discriminant = next.unwrap_or_else(|| {
                let name = self.name(variant.word.name);
                let message = format_args!("the discriminant of `{name}` does not fit `i64`");
                self.error(info.source, variant.word.span, Code::OutOfRange, message);
                is_wrong = true;
                0
            });
            if self.variant_place(number, variant.word.name).is_some() {
                let name = self.name(variant.word.name);
                let message = format_args!("variant `{name}` is declared twice");
                self.error(info.source, variant.word.span, Code::DuplicateName, message);
                self.duplicates = self.duplicates.wrapping_add(1);
            } else {
                self.add_variant_place(number, variant.word.name, count(&variants));
            }
            let same = |number: u32| {
                at(&variants, number).is_some_and(|known| known.discriminant == discriminant)
            };
            let hash = hash_of(discriminant);
            if let Some(known) = discriminants.find(hash, same).filter(|_| !is_wrong)
                && let Some(known) = at(&variants, known)
            {
                let (one, two) = (self.name(known.name), self.name(variant.word.name));
                let message = format_args!(
                    "variants `{one}` and `{two}` have the discriminant {discriminant}"
                );
                self.error(info.source, variant.word.span, Code::DuplicateName, message);
            } else {
                let inserted = discriminants.insert(hash, count(&variants));
                self.diagnostics.allocated(inserted);
            }
            let added = VariantInfo { name: variant.word.name, discriminant, fields };
            self.diagnostics.push(&mut variants, added);
            next = discriminant.checked_add(1);
        }
        if variants.is_empty() && !decl.is_broken {
            let message = format_args!("an enum has at least one variant");
            self.error(info.source, decl.word.span, Code::Unexpected, message);
        }
        Some(variants)
    }

    // Signatures.

    fn resolve_impls(&mut self, number: u32) {
        let Some(tree) = self.source(number).map(|source| &source.tree) else { return };
        for (index, decl) in (0..).zip(&tree.impls) {
            if self.undeclared_params(number, tree, decl).is_some() {
                continue;
            }
            let scope = self.scope_of(number, &[decl.type_params]);
            let ty = self.resolve(number, decl.ty, &scope);
            let head = self.types.head(ty);
            let owner_name = match tree.ty(decl.ty).kind {
                TypeKind::Named(name, _) | TypeKind::Member(_, name, _) => name,
                _ => Name::UNDERSCORE,
            };
            if !matches!(head, Head::Struct(_) | Head::Enum(_) | Head::Error) {
                let message = format_args!("methods belong to a struct or an enum");
                self.error(number, tree.ty(decl.ty).span, Code::UnknownType, message);
                continue;
            }
            for &function in tree.list(decl.functions) {
                let Some(function) = entry(&tree.functions, function) else { continue };
                self.add_method(number, function, (index, decl), (ty, owner_name));
            }
        }
    }

    /// Refuses `impl P<T>:` and `impl P:` for `impl<T> P<T>:`. The methods are not known, so that the type is an error.
    fn refuse_undeclared_params(&mut self, number: u32) {
        let Some(source) = self.source(number) else { return };
        let tree = &source.tree;
        for decl in &tree.impls {
            let Some(item) = self.undeclared_params(number, tree, decl) else { continue };
            let span = tree.ty(decl.ty).span;
            let text = span.of(source.file.text);
            let declared = self.type_params_text(item);
            let (name, params) = text.split_once('<').unwrap_or((text, &declared));
            let message = format_args!("the type parameters of `{text}` are not declared");
            let note = format_args!("write `impl<{params} {name}<{params}:`");
            let kind = (Severity::Error, Code::UnknownType);
            self.report(number, span, kind, message, Some(note));
            if let TypeKind::Named(name, _) = tree.ty(decl.ty).kind {
                self.mark_broken(number, name);
            }
        }
    }

    fn nominal(&self, item: Item) -> Option<&NominalInfo> {
        match item {
            Item::Struct(number) => at(&self.structs, number),
            Item::Enum(number) => at(&self.enums, number),
            _ => None,
        }
    }

    /// The type parameters of a struct or enum as they are declared, up to the `>`.
    fn type_params_text(&self, item: Item) -> alloc::string::String {
        let params = self.nominal(item).and_then(|info| {
            let tree = &self.source(info.source)?.tree;
            let params = match item {
                Item::Struct(_) => entry(&tree.structs, info.decl)?.type_params,
                _ => entry(&tree.enums, info.decl)?.type_params,
            };
            Some(range(&tree.type_params, params))
        });
        let shown = fmt::from_fn(|f| {
            for (index, param) in params.unwrap_or(&[]).iter().enumerate() {
                f.write_str(if index == 0 { "" } else { ", " })?;
                f.write_str(self.name(param.word.name))?;
            }
            f.write_str(">")
        });
        super::super::diagnostic::formatted(format_args!("{shown}")).unwrap_or_default()
    }

    /// The generic type of an implementation without type parameters whose type arguments are missing, or no types.
    fn undeclared_params(&self, number: u32, tree: &Tree, decl: &ImplDecl) -> Option<Item> {
        let TypeKind::Named(name, arguments) = tree.ty(decl.ty).kind else { return None };
        let is_unknown = |&argument: &u32| match tree.ty(TypeNodeId(argument)).kind {
            TypeKind::Named(name, parts) => {
                parts.is_empty()
                    && self.item(number, name).is_none()
                    && TypeId::primitive(name).is_none()
            }
            _ => false,
        };
        let arguments = tree.list(arguments);
        let are_params = decl.type_params.is_empty() && arguments.iter().all(is_unknown);
        self.item(number, name).filter(|&item| {
            let info = self.nominal(item);
            let is_generic = info.is_some_and(|info| info.type_params > 0);
            info.is_some() && are_params && (is_generic || !arguments.is_empty())
        })
    }

    fn add_method(
        &mut self,
        source: u32,
        decl: FunctionDecl,
        (index, owner): (u32, &ImplDecl),
        (ty, owner_name): (TypeId, Name),
    ) {
        let head = self.types.head(ty);
        // Of a type that is an error nothing is known.
        let is_known = head != Head::Error;
        if is_known && self.own_method(ty, decl.word.name).is_some() {
            let name = self.name(decl.word.name);
            let message = format_args!("method `{name}` is declared twice");
            return self.error(source, decl.word.span, Code::DuplicateName, message);
        }
        if self.method_count(head, decl.word.name) >= MAX_METHODS {
            let message = format_args!("a type has at most {MAX_METHODS} methods of one name");
            return self.error(source, decl.word.span, Code::InstanceLimit, message);
        }
        let number = self.add_function(source, decl, Some(index));
        if let Some(info) = usize::try_from(number).ok().and_then(|n| self.functions.get_mut(n)) {
            info.type_params = owner.type_params.len.saturating_add(decl.type_params.len);
            info.self_type = Some(ty);
            info.owner_name = Some(owner_name);
        }
        self.resolve_signature(number);
        if !is_known {
            return;
        }
        if decl.receiver == Receiver::Mutable
            && let Head::Enum(number) = head
            && self.is_unit_enum(number)
        {
            let message = format_args!(
                "a method with `me` on an enum without payloads is not supported: return the new value"
            );
            self.error(source, decl.word.span, Code::Refused, message);
        }
        if decl.receiver == Receiver::Mutable {
            self.note_mutating(decl.word.name);
        }
        let method = self.push(|program| &mut program.methods, (head, decl.word.name, number));
        let inserted = self.method_index.insert(Self::method_hash(head, decl.word.name), method);
        self.diagnostics.allocated(inserted);
    }

    fn note_mutating(&mut self, name: Name) {
        let noted = try_replace(&mut self.mutating, name.0, false, true);
        self.diagnostics.allocated(noted);
    }

    /// Whether the list of parameters or fields with this number has the name already; it has it from now on.
    fn is_repeated(&mut self, list: u32, name: Name) -> bool {
        let last = try_replace(&mut self.name_lists, name.0, 0, list);
        self.diagnostics.allocated(last) == Some(list)
    }

    /// Resolves the types of the parameters and of the result.
    pub(in crate::source) fn resolve_signature(&mut self, number: u32) {
        let Some(info) = self.function(number) else { return };
        let Some(tree) = self.source(info.source).map(|source| &source.tree) else { return };
        let mut scope = self.type_scope(&info);
        if let Some(ty) = info.self_type {
            self.diagnostics.push(&mut scope, (Name::SELF_TYPE, ty));
        }
        self.unknown_types = Some(Vec::new());
        let start = count(&self.params);
        self.list_count += 1;
        let list = self.list_count;
        for param in tree.entries(&tree.params, info.decl.params) {
            let ty = match param.ty {
                Some(ty) => self.resolve(info.source, ty, &scope),
                None => self.untyped(&info, &param),
            };
            if self.is_repeated(list, param.word.name) {
                let name = self.name(param.word.name);
                let message = format_args!("parameter `{name}` is declared twice");
                self.error(info.source, param.word.span, Code::DuplicateName, message);
            }
            let (default, mutable) = (param.default, param.mutable);
            let param = ParamInfo { name: param.word.name, ty, default, mutable };
            self.push(|program| &mut program.params, param);
        }
        let params = List { start, len: count(&self.params) - start };
        self.check_main(&info, params);
        let result = match info.decl.result {
            Some(ty) => ResultType::Known(self.resolve(info.source, ty, &scope)),
            None if info.decl.body.is_none() => ResultType::Known(TypeId::UNIT),
            None => ResultType::Missing,
        };
        self.unknown_types = None;
        let result = match result {
            ResultType::Known(ty) if self.types.has_view(ty) => {
                self.refuse_view_as_result(&info);
                ResultType::Known(TypeId::ERROR)
            }
            result => result,
        };
        if let Some(info) = usize::try_from(number).ok().and_then(|n| self.functions.get_mut(n)) {
            info.params = params;
            info.result = result;
        }
    }

    /// Reports a result that has the address of an array of the caller, which it may outlive.
    pub(in crate::source) fn refuse_view_as_result(&mut self, info: &FunctionInfo) {
        let message = format_args!("an array without a length is not supported as a result");
        self.error(info.source, info.decl.word.span, Code::Refused, message);
    }

    /// The type of a parameter without one.
    fn untyped(&mut self, info: &FunctionInfo, param: &Param) -> TypeId {
        if let Some(default) = param.default
            && let Some(source) = self.source(info.source)
        {
            let kind = match source.tree.expr(default).kind {
                ExprKind::Unary(UnaryOp::Negate, number) => source.tree.expr(number).kind,
                kind => kind,
            };
            match kind {
                ExprKind::Bool(_) => return TypeId::BOOL,
                ExprKind::Float(..) => return TypeId::F64,
                ExprKind::Integer(_, Some(suffix)) => return TypeId::scalar(suffix),
                ExprKind::Integer(..) => return TypeId::I64,
                _ => {}
            }
        }
        if self.mode() == Mode::Manager {
            return TypeId::I64;
        }
        if info.decl.word.name == Name::MAIN && info.owner.is_none() {
            // It is refused.
            return TypeId::ERROR;
        }
        let (name, function) = (self.name(param.word.name), self.name(info.decl.word.name));
        let message = format_args!(
            "Parameter '{name}' in function '{function}' requires explicit type annotation"
        );
        self.error(info.source, param.word.span, Code::MissingParameterType, message);
        TypeId::ERROR
    }

    /// `main` has no parameters.
    fn check_main(&mut self, info: &FunctionInfo, params: List) {
        if info.decl.word.name == Name::MAIN && info.owner.is_none() && !params.is_empty() {
            let message = format_args!(
                "`fn main(args)` is not supported: the parameter is never bound by Simple"
            );
            self.error(info.source, info.decl.word.span, Code::Refused, message);
        }
    }
}

fn hash_of(number: i64) -> u32 {
    hash::fnv1a_32(&number.to_le_bytes())
}

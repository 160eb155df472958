//! Functions inside functions. Each is known in the block that declares it, as a variable is, and in the blocks and
//! functions inside that.

use super::*;

/// A block that declares functions.
struct Scope {
    /// The file and the block.
    block: (u32, BlockId),
    /// The scope around it.
    around: Option<u32>,
    /// The number of the function that has the block.
    function: u32,
}

/// A function inside another one.
struct Inner {
    scope: u32,
    name: Name,
    /// Its number.
    function: u32,
}

/// The functions inside functions, in the order in which the blocks that declare them are met.
#[derive(Default)]
pub(super) struct InnerFunctions {
    scopes: Vec<Scope>,
    scope_index: HashIndex,
    functions: Vec<Inner>,
    index: HashIndex,
}

impl InnerFunctions {
    /// The scope of a block that was met before.
    fn scope_of_block(&self, (source, block): (u32, BlockId)) -> Option<u32> {
        let same = |scope: u32| at(&self.scopes, scope).is_some_and(|s| s.block == (source, block));
        self.scope_index.find(Program::item_hash(source, Name(block.0)), same)
    }

    /// The number of the function that a scope declares by a name.
    fn declared(&self, scope: u32, name: Name) -> Option<u32> {
        let same = |inner: u32| {
            at(&self.functions, inner).is_some_and(|i| (i.scope, i.name) == (scope, name))
        };
        let found = self.index.find(Program::item_hash(scope, name), same)?;
        at(&self.functions, found).map(|inner| inner.function)
    }

    /// The scope that declares a function, of those inside others.
    pub(super) fn scope_of(&self, function: u32) -> Option<u32> {
        // Their numbers ascend.
        let found = self.functions.binary_search_by_key(&function, |inner| inner.function).ok()?;
        self.functions.get(found).map(|inner| inner.scope)
    }

    /// The function that contains a function.
    pub(super) fn outer_function(&self, function: u32) -> Option<u32> {
        at(&self.scopes, self.scope_of(function)?).map(|scope| scope.function)
    }

    fn add_scope(&mut self, scope: Scope) -> Result<u32, AllocError> {
        let (number, (source, block)) = (count(&self.scopes), scope.block);
        try_push(&mut self.scopes, scope)?;
        self.scope_index.insert(Program::item_hash(source, Name(block.0)), number)?;
        Ok(number)
    }

    fn add(&mut self, inner: Inner) -> Result<(), AllocError> {
        let (number, hash) = (count(&self.functions), Program::item_hash(inner.scope, inner.name));
        try_push(&mut self.functions, inner)?;
        self.index.insert(hash, number)
    }
}

impl Body<'_, '_, '_> {
    /// Opens the scope of a block, if its statements declare functions.
    pub(super) fn open_scope(&mut self, block: BlockId, statements: &[u32]) {
        let tree = self.tree;
        let declared = |&statement: &u32| match tree.stmt(StmtId(statement)).kind {
            StmtKind::Function(number) => entry(&tree.functions, number),
            _ => None,
        };
        if !statements.iter().any(|statement| declared(statement).is_some()) {
            return;
        }
        let block = (self.source, block);
        let known = self.unit.inner.scope_of_block(block);
        let Some(scope) = known.or_else(|| {
            let around = self.scopes.last().map(|open| open.0);
            let added = self.unit.inner.add_scope(Scope { block, around, function: self.number });
            self.program().diagnostics.allocated(added)
        }) else {
            return;
        };
        if known.is_none() {
            // Once, so that an error is reported although the body around it is only looked at for its type.
            let muted = core::mem::take(&mut self.program().diagnostics.muted);
            statements.iter().filter_map(declared).for_each(|decl| self.declare_inner(scope, decl));
            self.program().diagnostics.muted = muted;
        }
        let first = count(&self.variables);
        self.push(|body| &mut body.scopes, (scope, first));
    }

    fn declare_inner(&mut self, scope: u32, decl: FunctionDecl) {
        let (source, Word { name, span }) = (self.source, decl.word);
        if self.unit.inner.declared(scope, name).is_some() {
            let text = self.name(name);
            let message = format_args!("`{text}` is declared twice");
            self.error(span, Code::DuplicateName, message);
            return;
        }
        let refused = match self.number {
            NO_FUNCTION => Some("a function inside a constant or default"),
            _ if !decl.type_params.is_empty() => Some("a generic function inside a function"),
            _ => None,
        };
        if let Some(construct) = refused {
            self.refuse(span, construct, "declare it outside");
            return self.program().note_missing(source, name);
        }
        let function = self.program().add_function(source, decl, None);
        self.program().resolve_signature(function);
        let added = self.unit.inner.add(Inner { scope, name, function });
        self.program().diagnostics.allocated(added);
    }

    /// A function that this one or the one around it declares, by its name.
    pub(super) fn inner_function(&self, name: Name) -> Option<u32> {
        let inner = &self.unit.inner;
        let mut scope = self.scopes.last()?.0;
        loop {
            if let Some(found) = inner.declared(scope, name) {
                return Some(found);
            }
            scope = at(&inner.scopes, scope)?.around?;
        }
    }

    /// Whether a function that a block inside declares has the name of the variable with this number.
    pub(super) fn is_shadowed(&self, name: Name, variable: u32) -> bool {
        let inside = self.scopes.iter().rev().take_while(|open| open.1 > variable);
        inside.map(|open| open.0).any(|scope| self.unit.inner.declared(scope, name).is_some())
    }

    /// Whether a name is a variable of a function around this one.
    pub(super) fn is_captured(&self, name: Name) -> bool {
        let outer = self.unit.inner.outer_function(self.number);
        let Some(info) = outer.and_then(|outer| self.unit.program.function(outer)) else {
            return false;
        };
        let mut params = self.unit.program.param_list(info.params).iter();
        params.any(|param| param.name == name) || self.tree.binds_in(info.decl.span, name)
    }
}

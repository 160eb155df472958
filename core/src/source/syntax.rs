//! The syntax tree: flat arenas of nodes that refer to each other by number.
//!
//! No node owns memory. A list of nodes is a range of [`Tree::lists`]. An expression, statement, type or pattern has a
//! number of its own kind, and a span. Numbers that an arena does not have (after a failed allocation) read as
//! [`ExprKind::Error`] and the like, so that reading never fails.

use alloc::vec::Vec;

use super::names::Name;
use super::token::Span;

macro_rules! ids {
    ($($name:ident)*) => {
        $(
            #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
            pub(super) struct $name(pub(super) u32);
        )*
    };
}

ids! { ExprId StmtId TypeNodeId PatternId BlockId }

/// A range of [`Tree::lists`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct List {
    pub(super) start: u32,
    pub(super) len: u32,
}

impl List {
    pub(super) fn is_empty(self) -> bool {
        self.len == 0
    }

    pub(super) fn len(self) -> usize {
        usize::try_from(self.len).unwrap_or(usize::MAX)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnaryOp {
    Negate,
    Not,
    /// `~`.
    Complement,
    /// `*p`.
    Dereference,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BinaryOp {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    BitOr,
    BitXor,
    BitAnd,
    ShiftLeft,
    ShiftRight,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Power,
}

impl BinaryOp {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Or => "or",
            Self::And => "and",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
            Self::BitOr => "|",
            Self::BitXor => "xor",
            Self::BitAnd => "&",
            Self::ShiftLeft => "<<",
            Self::ShiftRight => ">>",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
            Self::Power => "**",
        }
    }

    /// `<`, `<=`, `>` and `>=`, which form chains.
    pub(super) fn is_order(self) -> bool {
        matches!(self, Self::Less | Self::LessEqual | Self::Greater | Self::GreaterEqual)
    }

    pub(super) fn is_comparison(self) -> bool {
        self.is_order() || matches!(self, Self::Equal | Self::NotEqual)
    }

    pub(super) fn is_bitwise(self) -> bool {
        matches!(self, Self::BitAnd | Self::BitOr | Self::BitXor)
    }

    pub(super) fn is_shift(self) -> bool {
        matches!(self, Self::ShiftLeft | Self::ShiftRight)
    }

    /// Whether the type of the result is that of the left operand, whatever integer is right.
    pub(super) fn is_of_left_type(self) -> bool {
        self.is_shift() || self == Self::Power
    }
}

/// The type that a suffix gives a number.
pub(super) type Suffix = Option<crate::ir::Scalar>;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum ExprKind {
    Error,
    /// The number of a literal in [`Tree::numbers`].
    Integer(u32, Suffix),
    /// The bits of an f64 in [`Tree::numbers`].
    Float(u32, Suffix),
    Bool(bool),
    Nil,
    /// A raw text: the number of its text in [`Tree::texts`].
    Text(u32),
    /// Parts of an interpolated text: expressions; those of literal parts are [`ExprKind::Text`].
    Interpolation(List),
    Name(Name),
    /// `name<A, B>` in front of a call, a literal or `.`.
    Generic(Name, List),
    Tuple(List),
    Array(List),
    Repeat(ExprId, ExprId),
    Unary(UnaryOp, ExprId),
    Binary(BinaryOp, ExprId, ExprId),
    /// `a < b <= c`: the operands, and the operators as numbers of [`Tree::operators`] from `first` on.
    Chain {
        operands: List,
        first: u32,
    },
    /// A call: the numbers of [`Tree::arguments`].
    Call {
        callee: ExprId,
        arguments: List,
    },
    /// `P { x: 1 }`.
    Literal {
        name: ExprId,
        arguments: List,
    },
    Field(ExprId, Name),
    /// A [`Field`](Self::Field) with type arguments.
    Instance(ExprId, List),
    TupleField(ExprId, u32),
    Index(ExprId, ExprId),
    Cast(ExprId, TypeNodeId),
    /// `e is E.A`.
    Is(ExprId, PatternId),
    Range {
        start: ExprId,
        end: Option<ExprId>,
        inclusive: bool,
    },
    /// Branches: pairs of a condition and a block; then the block of `else`.
    If {
        branches: List,
        otherwise: Option<BlockId>,
    },
    /// The numbers of [`Tree::arms`].
    Match {
        value: ExprId,
        arms: List,
    },
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Expr {
    pub(super) kind: ExprKind,
    pub(super) span: Span,
}

/// An argument of a call or a field of a literal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Argument {
    pub(super) name: Option<Word>,
    pub(super) value: ExprId,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Arm {
    pub(super) pattern: PatternId,
    pub(super) guard: Option<ExprId>,
    pub(super) body: BlockId,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum PatternKind {
    Error,
    Wildcard,
    Bind(Name),
    /// An integer, bool or constant.
    Value(ExprId),
    Range {
        start: ExprId,
        end: ExprId,
        inclusive: bool,
    },
    Or(List),
    Tuple(List),
    /// `m.E.V`, `E.V` or `V`, with patterns for the payload: the fields as numbers of [`Tree::pattern_fields`]. Without a
    /// payload, `m.K` may be a constant.
    Variant {
        /// `m.E` or `E`.
        path: Option<ExprId>,
        owner: Option<Name>,
        variant: Name,
        fields: List,
        has_fields: bool,
    },
    Typed(Name, TypeNodeId),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Pattern {
    pub(super) kind: PatternKind,
    pub(super) span: Span,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct PatternField {
    pub(super) name: Option<Name>,
    pub(super) pattern: PatternId,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum TypeKind {
    Error,
    Unit,
    Named(Name, List),
    /// A type of a module: the module, the type and its arguments.
    Member(Name, Name, List),
    Array(TypeNodeId, ExprId),
    View(TypeNodeId),
    Tuple(List),
    Function(List, Option<TypeNodeId>),
    Pointer(TypeNodeId, bool),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct TypeNode {
    pub(super) kind: TypeKind,
    pub(super) span: Span,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum StmtKind {
    Error,
    Let {
        mutable: bool,
        pattern: PatternId,
        ty: Option<TypeNodeId>,
        value: Option<ExprId>,
    },
    Assign {
        op: Option<BinaryOp>,
        target: ExprId,
        value: ExprId,
    },
    Expr(ExprId),
    While {
        label: Option<Name>,
        condition: ExprId,
        body: BlockId,
    },
    For {
        label: Option<Name>,
        index: Option<PatternId>,
        pattern: PatternId,
        items: ExprId,
        body: BlockId,
    },
    Loop {
        label: Option<Name>,
        body: BlockId,
    },
    Break(Option<Name>, Option<ExprId>),
    Continue(Option<Name>),
    Return(Option<ExprId>),
    Pass,
    Assert(ExprId, Option<ExprId>),
    /// A function inside a block: the number of its declaration.
    Function(u32),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Stmt {
    pub(super) kind: StmtKind,
    pub(super) span: Span,
}

/// Statements.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Block {
    pub(super) statements: List,
    pub(super) span: Span,
}

/// A name with its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) name: Name,
    pub(super) span: Span,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Param {
    pub(super) word: Word,
    pub(super) ty: Option<TypeNodeId>,
    pub(super) default: Option<ExprId>,
    pub(super) mutable: bool,
}

/// A type parameter, with the names of its bounds in [`Tree::lists`].
#[derive(Clone, Copy, Debug)]
pub(super) struct TypeParam {
    pub(super) word: Word,
    pub(super) bounds: List,
}

/// How a method gets the value that it is called on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receiver {
    /// No receiver: a free function or a static method.
    None,
    Value,
    /// `me`: the method may change the value.
    Mutable,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct FunctionDecl {
    pub(super) word: Word,
    /// The whole declaration.
    pub(super) span: Span,
    /// Numbers of [`Tree::type_params`].
    pub(super) type_params: List,
    /// Numbers of [`Tree::params`].
    pub(super) params: List,
    pub(super) result: Option<TypeNodeId>,
    pub(super) body: Option<BlockId>,
    pub(super) receiver: Receiver,
    pub(super) is_public: bool,
    pub(super) is_extern: bool,
    /// The statements at the top level, as a function.
    pub(super) is_script: bool,
    /// Whether its parameters have a syntax error, so that nothing follows from them.
    pub(super) is_broken: bool,
}

impl FunctionDecl {
    /// A function without parameters, result and body.
    pub(super) fn new(word: Word, span: Span) -> Self {
        Self {
            word,
            span,
            type_params: List::default(),
            params: List::default(),
            result: None,
            body: None,
            receiver: Receiver::None,
            is_public: false,
            is_extern: false,
            is_script: false,
            is_broken: false,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct FieldDecl {
    pub(super) word: Word,
    pub(super) ty: TypeNodeId,
    pub(super) default: Option<ExprId>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct StructDecl {
    pub(super) word: Word,
    pub(super) span: Span,
    pub(super) type_params: List,
    /// Numbers of [`Tree::fields`].
    pub(super) fields: List,
    /// Whether a syntax error may have hidden fields.
    pub(super) is_broken: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct VariantDecl {
    pub(super) word: Word,
    /// Numbers of [`Tree::fields`]; unnamed fields are called `_`.
    pub(super) fields: List,
    pub(super) discriminant: Option<ExprId>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct EnumDecl {
    pub(super) word: Word,
    pub(super) span: Span,
    pub(super) type_params: List,
    /// Numbers of [`Tree::variants`].
    pub(super) variants: List,
    /// Whether a syntax error may have hidden variants.
    pub(super) is_broken: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct ImplDecl {
    pub(super) type_params: List,
    pub(super) ty: TypeNodeId,
    /// Numbers of [`Tree::functions`].
    pub(super) functions: List,
    pub(super) span: Span,
}

/// `impl of for ty:`, which is refused.
#[derive(Clone, Copy, Debug)]
pub(super) struct TraitImpl {
    pub(super) of: TypeNodeId,
    pub(super) ty: TypeNodeId,
    pub(super) span: Span,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct ConstDecl {
    pub(super) word: Word,
    pub(super) span: Span,
    pub(super) ty: Option<TypeNodeId>,
    pub(super) value: ExprId,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct AliasDecl {
    pub(super) word: Word,
    pub(super) span: Span,
    pub(super) ty: TypeNodeId,
}

/// `use a.b.{x, y}`, `use a.b.*`, `use a.b`, `use a.b as n`.
#[derive(Clone, Copy, Debug)]
pub(super) struct UseDecl {
    /// The names of the path.
    pub(super) path: List,
    pub(super) items: UseItems,
    pub(super) span: Span,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum UseItems {
    /// The module under a name.
    Module(Name),
    All,
    /// Pairs of a name and the name that it gets here.
    Names(List),
}

/// The declarations and nodes of a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    pub(super) exprs: Vec<Expr>,
    pub(super) statements: Vec<Stmt>,
    pub(super) types: Vec<TypeNode>,
    pub(super) patterns: Vec<Pattern>,
    pub(super) blocks: Vec<Block>,
    pub(super) lists: Vec<u32>,
    pub(super) operators: Vec<BinaryOp>,
    pub(super) numbers: Vec<u64>,
    /// Spans of decoded texts in [`Tree::text_bytes`].
    pub(super) texts: Vec<Span>,
    pub(super) text_bytes: Vec<u8>,
    pub(super) arguments: Vec<Argument>,
    pub(super) arms: Vec<Arm>,
    pub(super) pattern_fields: Vec<PatternField>,
    pub(super) params: Vec<Param>,
    pub(super) type_params: Vec<TypeParam>,
    pub(super) fields: Vec<FieldDecl>,
    pub(super) variants: Vec<VariantDecl>,
    pub(super) functions: Vec<FunctionDecl>,
    pub(super) structs: Vec<StructDecl>,
    pub(super) enums: Vec<EnumDecl>,
    pub(super) impls: Vec<ImplDecl>,
    pub(super) consts: Vec<ConstDecl>,
    pub(super) aliases: Vec<AliasDecl>,
    pub(super) uses: Vec<UseDecl>,
    /// Numbers of the functions at the top level, in order.
    pub(super) top_functions: Vec<u32>,
    /// The statements at the top level.
    pub(super) script: List,
    /// The numbers of the expressions that are calls, ascending.
    pub(super) calls: Vec<u32>,
    /// The numbers of the expressions with blocks, ascending.
    pub(super) branches: Vec<u32>,
    /// Names that a construct outside of the subset declares, such as `class`.
    pub(super) refused: Vec<Name>,
    pub(super) trait_impls: Vec<TraitImpl>,
    /// The names in `export`, sorted.
    pub(super) exports: Vec<Word>,
    /// Whether a function is marked by `pub`, or anything by `export`: then functions without a mark are private.
    pub(super) marks_functions: bool,
}

/// An entry of an arena by number.
pub(super) fn entry<T: Copy>(arena: &[T], number: u32) -> Option<T> {
    arena.get(usize::try_from(number).ok()?).copied()
}

impl Tree {
    pub(super) fn expr(&self, id: ExprId) -> Expr {
        entry(&self.exprs, id.0).unwrap_or(Expr { kind: ExprKind::Error, span: Span::default() })
    }

    pub(super) fn stmt(&self, id: StmtId) -> Stmt {
        let missing = Stmt { kind: StmtKind::Error, span: Span::default() };
        entry(&self.statements, id.0).unwrap_or(missing)
    }

    pub(super) fn ty(&self, id: TypeNodeId) -> TypeNode {
        let missing = TypeNode { kind: TypeKind::Error, span: Span::default() };
        entry(&self.types, id.0).unwrap_or(missing)
    }

    pub(super) fn pattern(&self, id: PatternId) -> Pattern {
        let missing = Pattern { kind: PatternKind::Error, span: Span::default() };
        entry(&self.patterns, id.0).unwrap_or(missing)
    }

    pub(super) fn block(&self, id: BlockId) -> Block {
        entry(&self.blocks, id.0).unwrap_or_default()
    }

    /// An integer literal, with the sign in front of one that has a signed type by its suffix: `-128i8`.
    pub(super) fn integer(&self, id: ExprId) -> Option<(i128, Suffix)> {
        match self.expr(id).kind {
            ExprKind::Integer(number, suffix) => Some((self.number(number).into(), suffix)),
            ExprKind::Unary(UnaryOp::Negate, operand) => match self.expr(operand).kind {
                ExprKind::Integer(number, Some(scalar)) if scalar.is_signed() => {
                    Some((-i128::from(self.number(number)), Some(scalar)))
                }
                _ => None,
            },
            _ => None,
        }
    }

    pub(super) fn number(&self, number: u32) -> u64 {
        entry(&self.numbers, number).unwrap_or(0)
    }

    /// The decoded bytes of a text.
    pub(super) fn text(&self, number: u32) -> &[u8] {
        let span = entry(&self.texts, number).unwrap_or_default();
        let start = usize::try_from(span.start).unwrap_or(usize::MAX);
        let end = usize::try_from(span.end).unwrap_or(usize::MAX);
        self.text_bytes.get(start..end).unwrap_or(&[])
    }

    /// Whether a number of `list` lies above `after` and at or below `last`.
    pub(super) fn has_between(list: &[u32], after: ExprId, last: ExprId) -> bool {
        let first = list.partition_point(|&number| number <= after.0);
        list.get(first).is_some_and(|&number| number <= last.0)
    }

    /// The calls in a part of the text.
    pub(super) fn calls_in(&self, span: Span) -> impl Iterator<Item = ExprId> {
        let end_of = |call: u32| self.expr(ExprId(call)).span.end;
        let first = self.calls.partition_point(|&call| end_of(call) <= span.start);
        let rest = self.calls.get(first..).unwrap_or(&[]).iter();
        rest.take_while(move |&&call| end_of(call) <= span.end).map(|&call| ExprId(call))
    }

    /// The statements in a part of the text.
    fn statements_in(&self, span: Span) -> impl Iterator<Item = StmtKind> {
        // Nodes are numbered in the order in which they end.
        let first = self.statements.partition_point(|statement| statement.span.end <= span.start);
        let rest = self.statements.get(first..).unwrap_or(&[]).iter();
        let inside = rest.take_while(move |statement| statement.span.end <= span.end);
        inside.filter(move |statement| statement.span.start >= span.start).map(|s| s.kind)
    }

    /// What the statements in a part of the text assign to.
    pub(super) fn assigned_in(&self, span: Span) -> impl Iterator<Item = ExprId> {
        self.statements_in(span).filter_map(|statement| match statement {
            StmtKind::Assign { target, .. } => Some(target),
            _ => None,
        })
    }

    /// Whether a part of the text declares a name, as a variable or a function.
    pub(super) fn declares_in(&self, span: Span, name: Name) -> bool {
        let is_function = |statement| match statement {
            StmtKind::Function(number) => {
                entry(&self.functions, number).is_some_and(|decl| decl.word.name == name)
            }
            _ => false,
        };
        self.statements_in(span).any(is_function) || self.binds_in(span, name)
    }

    /// Whether a part of the text has a variable with a name.
    pub(super) fn binds_in(&self, span: Span, name: Name) -> bool {
        let first = self.patterns.partition_point(|pattern| pattern.span.end <= span.start);
        let rest = self.patterns.get(first..).unwrap_or(&[]).iter();
        let mut inside = rest.take_while(|pattern| pattern.span.end <= span.end);
        inside.any(|pattern| pattern.kind == PatternKind::Bind(name))
    }

    /// The numbers of a list.
    pub(super) fn list(&self, list: List) -> &[u32] {
        let start = usize::try_from(list.start).unwrap_or(usize::MAX);
        self.lists.get(start..start.saturating_add(list.len())).unwrap_or(&[])
    }

    /// The entries of `arena` whose numbers are in the list.
    pub(super) fn entries<'t, T: Copy>(
        &'t self,
        arena: &'t [T],
        list: List,
    ) -> impl DoubleEndedIterator<Item = T> + ExactSizeIterator + Clone + use<'t, T> {
        // Entries of one list are adjacent.
        let start = usize::try_from(list.start).unwrap_or(usize::MAX);
        arena.get(start..start.saturating_add(list.len())).unwrap_or(&[]).iter().copied()
    }
}

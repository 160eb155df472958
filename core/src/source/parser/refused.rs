//! Constructs of Simple outside of the subset: each is an error that names it.

use super::*;

/// What a refused word is followed by where it starts its construct.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Follow {
    /// A name or literal on the same line.
    Operand,
    /// `fn`.
    Function,
    /// `:`.
    Colon,
    /// Anything of these.
    Any,
}

pub(super) const SCHEDULER: &str = "it needs a scheduler";
const LATER: &str = "it is not part of the subset yet";
const SCOPE: &str = "it is outside of the subset";
const DISPATCH: &str = "there are no objects with dynamic dispatch; use a struct or an enum";

/// Words, the construct that they start, and the reason for its refusal.
const WORDS: &[(Name, Follow, &str, &str)] = &[
    (Name::CLASS, Follow::Operand, "`class`", DISPATCH),
    (Name::TRAIT, Follow::Operand, "`trait`", DISPATCH),
    (Name::MIXIN, Follow::Operand, "`mixin`", DISPATCH),
    (Name::ACTOR, Follow::Operand, "`actor`", SCHEDULER),
    (Name::UNION, Follow::Operand, "`union`", "use an enum"),
    (Name::NEWTYPE, Follow::Operand, "`newtype`", "use a struct"),
    (Name::UNIT, Follow::Operand, "`unit`", SCOPE),
    (Name::BITFIELD, Follow::Operand, "`bitfield`", SCOPE),
    (Name::MACRO, Follow::Operand, "`macro`", SCOPE),
    (Name::COMPTIME, Follow::Any, "`comptime`", SCOPE),
    (Name::ASM, Follow::Any, "`asm`", SCOPE),
    (Name::ASYNC, Follow::Any, "`async`", SCHEDULER),
    (Name::AWAIT, Follow::Operand, "`await`", SCHEDULER),
    (Name::SPAWN, Follow::Operand, "`spawn`", SCHEDULER),
    (Name::YIELD, Follow::Operand, "`yield`", SCHEDULER),
    (Name::GO, Follow::Any, "`go`", SCHEDULER),
    (Name::GEN, Follow::Any, "`gen`", SCHEDULER),
    (Name::KERNEL, Follow::Any, "`kernel`", SCOPE),
    (Name::GPU, Follow::Function, "`gpu`", SCOPE),
    (Name::DEFER, Follow::Any, "`defer`", LATER),
    (Name::ERRDEFER, Follow::Any, "`errdefer`", LATER),
    (Name::WITH, Follow::Operand, "`with`", LATER),
    (Name::TRY, Follow::Colon, "`try`", LATER),
    (Name::THROW, Follow::Operand, "`throw`", LATER),
    (Name::PANIC, Follow::Operand, "`panic`", LATER),
    (Name::REQUIRES, Follow::Any, "a contract `requires`", SCOPE),
    (Name::ENSURES, Follow::Any, "a contract `ensures`", SCOPE),
    (Name::INVARIANT, Follow::Any, "a contract `invariant`", SCOPE),
    (Name::DECREASES, Follow::Any, "a contract `decreases`", SCOPE),
    (Name::FORALL, Follow::Operand, "a quantifier `forall`", SCOPE),
    (Name::EXISTS, Follow::Operand, "a quantifier `exists`", SCOPE),
    (Name::ASSUME, Follow::Operand, "`assume`", SCOPE),
    (Name::ADMIT, Follow::Operand, "`admit`", SCOPE),
    (Name::GHOST, Follow::Operand, "`ghost`", SCOPE),
    (Name::LAZY, Follow::Operand, "`lazy`", SCOPE),
    (Name::ON, Follow::Operand, "an aspect `on`", SCOPE),
    (Name::BIND, Follow::Operand, "an aspect `bind`", SCOPE),
    (Name::FORBID, Follow::Operand, "an aspect `forbid`", SCOPE),
    (Name::ALLOW, Follow::Operand, "an aspect `allow`", SCOPE),
    (Name::MOCK, Follow::Operand, "`mock`", SCOPE),
    (Name::EXTEND, Follow::Operand, "`extend`", "write `impl`"),
    (Name::IMPLEMENTS, Follow::Operand, "`implements`", DISPATCH),
    (Name::INTERFACE, Follow::Operand, "`interface`", DISPATCH),
    (Name::HANDLE_POOL, Follow::Operand, "`handle_pool`", SCOPE),
    (Name::LITERAL, Follow::Function, "a literal function", SCOPE),
    (Name::STATIC, Follow::Operand, "a `static` variable", "functions have no global variables"),
    (Name::MOVE, Follow::Operand, "`move`", "values are copied"),
    (Name::DYN, Follow::Operand, "`dyn`", DISPATCH),
    (Name::SKIP, Follow::Operand, "`skip`", SCOPE),
    (Name::SUPER, Follow::Any, "`super`", "there is no inheritance"),
    (Name::SHARED, Follow::Operand, "`shared`", SCOPE),
];

/// Words of custom blocks, in front of `{`.
const BLOCKS: &[&str] = &["m", "sh", "sql", "re", "md", "html", "graph", "img"];

/// The words among them that declare a type or a bound.
const TYPES: &[Name] = &[Name::CLASS, Name::TRAIT, Name::MIXIN, Name::ACTOR, Name::UNION];

impl Parser<'_, '_> {
    /// Reports a construct that is not supported.
    pub(super) fn refuse(&mut self, span: Span, construct: &str, reason: &str) {
        let message = format_args!("{construct} is not supported: {reason}");
        self.error(span, Code::Refused, message);
    }

    pub(super) fn refuse_with_note(
        &mut self,
        span: Span,
        construct: &str,
        reason: &str,
        note: &str,
    ) {
        let message = format_args!("{construct} is not supported: {reason}");
        self.error_with_note(span, Code::Refused, message, Some(format_args!("{note}")));
    }

    /// Refuses a construct that starts with the current word; whether it did.
    pub(super) fn refused_item(&mut self) -> bool {
        let may_be = (Name::CLASS..=Name::SHARED).contains(&self.name())
            || matches!(self.peek(), TokenKind::Tilde | TokenKind::LeftBrace);
        may_be && self.refused_word()
    }

    fn refused_word(&mut self) -> bool {
        let Token { name, span, .. } = self.token();
        let next = *self.token_at(1);
        if next.kind == TokenKind::Tilde && !next.spaced {
            self.refuse(span, "a suspending form with `~`", SCHEDULER);
            return true;
        }
        if next.kind == TokenKind::LeftBrace && !next.spaced && BLOCKS.contains(&self.text(span)) {
            self.refuse(span, "a custom block", "it belongs to a library");
            return true;
        }
        let Some(&(_, follow, construct, reason)) = WORDS.iter().find(|word| word.0 == name) else {
            return false;
        };
        let is_operand = next.spaced
            && matches!(
                next.kind,
                TokenKind::Word
                    | TokenKind::Integer
                    | TokenKind::Float
                    | TokenKind::Text
                    | TokenKind::RawText
                    | TokenKind::Fn
                    | TokenKind::Mut
            );
        let starts = match follow {
            Follow::Operand => is_operand,
            Follow::Function => next.kind == TokenKind::Fn,
            Follow::Colon => next.kind == TokenKind::Colon,
            Follow::Any => {
                is_operand
                    || matches!(next.kind, TokenKind::Fn | TokenKind::Colon)
                    || (name == Name::SUPER && next.kind == TokenKind::Dot)
                    || (name == Name::ASM && matches!(next.kind, TokenKind::LeftBrace))
            }
        };
        if starts && name == Name::STATIC && next.kind == TokenKind::Fn {
            let reason = "a function that belongs to no type is declared with `fn`";
            self.refuse(span, "`static fn` outside of a type", reason);
        } else if starts {
            self.refuse(span, construct, reason);
            if next.kind == TokenKind::Word && TYPES.contains(&name) {
                self.add(|tree| &mut tree.refused, next.name);
            }
        }
        starts
    }

    /// Refuses a loop as a value, at its first word.
    pub(super) fn refuse_loop(&mut self, span: Span) {
        self.refuse(span, "a loop as a value", "assign to a variable in the loop");
    }

    /// The construct that an operator outside of the subset belongs to.
    pub(super) fn refused_operator(&self) -> Option<(&'static str, &'static str, &'static str)> {
        let no_note = "";
        Some(match self.kind() {
            TokenKind::SlashSlash => {
                let note =
                    "for a quotient rounded down write `a.fdiv(b)`; a comment starts with `#`";
                ("the parallel operator `//`", SCHEDULER, note)
            }
            TokenKind::TildeGreater => ("the operator `~>`", SCOPE, no_note),
            TokenKind::BarGreater => ("the pipe `|>`", "call the function", no_note),
            TokenKind::At => ("the matrix product `@`", SCOPE, no_note),
            TokenKind::Arrow => ("the operator `->`", SCHEDULER, no_note),
            TokenKind::LeftArrow => {
                ("the operator `<-`", SCHEDULER, "to compare with a negative number write `< -`")
            }
            TokenKind::LessLessLess | TokenKind::GreaterGreaterGreater => {
                ("the composition of functions", "functions are no values", no_note)
            }
            TokenKind::Caret => {
                ("the operator `^`", "its meaning differs between versions", "write `xor`")
            }
            TokenKind::Question => {
                let note = "use an enum and `match`; a choice is `if c: a else: b`";
                ("the operator `?`", LATER, note)
            }
            TokenKind::QuestionQuestion => ("the operator `??`", LATER, no_note),
            TokenKind::QuestionDot => ("the operator `?.`", LATER, no_note),
            TokenKind::DotQuestion => ("the operator `.?`", LATER, no_note),
            TokenKind::Bang if self.peek() == TokenKind::LeftParen && !self.token().spaced => {
                ("a macro `f!(...)`", SCOPE, "call a function, without `!`: `print(x)`")
            }
            TokenKind::Bang => ("the operator `!`", LATER, "the negation is `not`"),
            TokenKind::ColonEqual => ("`:=`", "declare with `val` or `var`", no_note),
            TokenKind::In => ("the operator `in`", "compare or loop", no_note),
            _ => return None,
        })
    }

    /// Whether the current token, where an operand starts, is part of `++x`, `x++`, `--x` or `x--`.
    pub(super) fn is_step(&self) -> bool {
        let (kind, next) = (self.kind(), *self.token_at(1));
        let is_prefix = next.kind == kind && !next.spaced;
        // `a--b` is `a - (-b)`.
        let is_last = kind == TokenKind::Plus || !next.kind.starts_operand();
        is_prefix || is_last && self.last_kind() == kind && !self.token().spaced
    }

    pub(super) fn refuse_step(&mut self) {
        if self.starts_line() && self.is(TokenKind::Minus) && self.token_at(2).spaced {
            let message = format_args!("a comment starts with `#`, not with `--`");
            return self.error(self.span(), Code::Unexpected, message);
        }
        let (construct, note) = match self.kind() {
            TokenKind::Plus => ("`++`", "write `x += 1`"),
            _ => ("`--`", "write `x -= 1`"),
        };
        self.refuse_with_note(self.span(), construct, "Simple does not have it", note);
    }

    /// Refuses a token that starts an operand outside of the subset; whether it did.
    pub(super) fn refused_operand(&mut self) -> bool {
        let span = self.span();
        let next = *self.token_at(1);
        let lambda = "it needs an environment object; pass a named function";
        match self.kind() {
            TokenKind::Backslash | TokenKind::Fn => self.refuse(span, "a lambda", lambda),
            TokenKind::Bar | TokenKind::BarBar => {
                self.refuse(span, "a lambda", lambda);
                // Its bars are operators else, and its parameters unknown names.
                self.skip_operand();
            }
            TokenKind::Backtick => self.refuse(span, "an atom", "it belongs to a library"),
            TokenKind::Colon if next.kind == TokenKind::Word && !next.spaced => {
                self.refuse(span, "a symbol", "it belongs to a library");
            }
            TokenKind::Ampersand | TokenKind::AndAnd => {
                self.refuse(span, "a reference `&`", "there is no memory manager");
            }
            TokenKind::LeftBrace => self.refuse(span, "a dictionary or set", "it allocates"),
            TokenKind::SlashSlash if self.starts_line() => {
                let message = format_args!("a comment starts with `#`, not with `//`");
                self.error(span, Code::Unexpected, message);
            }
            TokenKind::Plus if self.is_step() => self.refuse_step(),
            TokenKind::Plus => {
                self.refuse(span, "a unary `+`", "one of the parsers of Simple does not have it");
            }
            TokenKind::OldFormat => {
                self.refuse(span, "`f\"...\"`", "an ordinary text literal interpolates");
            }
            TokenKind::Ellipsis => self.refuse(span, "a spread `...`", SCOPE),
            TokenKind::While | TokenKind::For => self.refuse_loop(span),
            _ => {
                let Some((construct, reason, note)) = self.refused_operator() else {
                    return false;
                };
                if note.is_empty() {
                    self.refuse(span, construct, reason);
                } else {
                    self.refuse_with_note(span, construct, reason, note);
                }
            }
        }
        true
    }
}

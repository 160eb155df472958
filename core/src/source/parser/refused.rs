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

const SCHEDULER: &str = "it needs a scheduler";
const LATER: &str = "it is not part of the subset yet";
const SCOPE: &str = "it is outside of the subset";
const DISPATCH: &str = "there are no objects with dynamic dispatch; use a struct or an enum";

/// Words, the construct that they start, and the reason for its refusal.
const WORDS: &[(&str, Follow, &str, &str)] = &[
    ("class", Follow::Operand, "`class`", DISPATCH),
    ("trait", Follow::Operand, "`trait`", DISPATCH),
    ("mixin", Follow::Operand, "`mixin`", DISPATCH),
    ("actor", Follow::Operand, "`actor`", SCHEDULER),
    ("union", Follow::Operand, "`union`", "use an enum"),
    ("newtype", Follow::Operand, "`newtype`", "use a struct"),
    ("unit", Follow::Operand, "`unit`", SCOPE),
    ("bitfield", Follow::Operand, "`bitfield`", SCOPE),
    ("macro", Follow::Operand, "`macro`", SCOPE),
    ("comptime", Follow::Any, "`comptime`", SCOPE),
    ("asm", Follow::Any, "`asm`", SCOPE),
    ("async", Follow::Any, "`async`", SCHEDULER),
    ("await", Follow::Operand, "`await`", SCHEDULER),
    ("spawn", Follow::Operand, "`spawn`", SCHEDULER),
    ("yield", Follow::Operand, "`yield`", SCHEDULER),
    ("go", Follow::Any, "`go`", SCHEDULER),
    ("gen", Follow::Any, "`gen`", SCHEDULER),
    ("kernel", Follow::Any, "`kernel`", SCOPE),
    ("gpu", Follow::Function, "`gpu`", SCOPE),
    ("defer", Follow::Any, "`defer`", LATER),
    ("errdefer", Follow::Any, "`errdefer`", LATER),
    ("with", Follow::Operand, "`with`", LATER),
    ("try", Follow::Colon, "`try`", LATER),
    ("throw", Follow::Operand, "`throw`", LATER),
    ("panic", Follow::Operand, "`panic`", LATER),
    ("requires", Follow::Any, "a contract `requires`", SCOPE),
    ("ensures", Follow::Any, "a contract `ensures`", SCOPE),
    ("invariant", Follow::Any, "a contract `invariant`", SCOPE),
    ("decreases", Follow::Any, "a contract `decreases`", SCOPE),
    ("forall", Follow::Operand, "a quantifier `forall`", SCOPE),
    ("exists", Follow::Operand, "a quantifier `exists`", SCOPE),
    ("assume", Follow::Operand, "`assume`", SCOPE),
    ("admit", Follow::Operand, "`admit`", SCOPE),
    ("ghost", Follow::Operand, "`ghost`", SCOPE),
    ("lazy", Follow::Operand, "`lazy`", SCOPE),
    ("on", Follow::Operand, "an aspect `on`", SCOPE),
    ("bind", Follow::Operand, "an aspect `bind`", SCOPE),
    ("forbid", Follow::Operand, "an aspect `forbid`", SCOPE),
    ("allow", Follow::Operand, "an aspect `allow`", SCOPE),
    ("mock", Follow::Operand, "`mock`", SCOPE),
    ("extend", Follow::Operand, "`extend`", "write `impl`"),
    ("implements", Follow::Operand, "`implements`", DISPATCH),
    ("interface", Follow::Operand, "`interface`", DISPATCH),
    ("handle_pool", Follow::Operand, "`handle_pool`", SCOPE),
    ("literal", Follow::Function, "a literal function", SCOPE),
    ("static", Follow::Operand, "a `static` variable", "functions have no global variables"),
    ("move", Follow::Operand, "`move`", "values are copied"),
    ("dyn", Follow::Operand, "`dyn`", DISPATCH),
    ("skip", Follow::Operand, "`skip`", SCOPE),
    ("super", Follow::Any, "`super`", "there is no inheritance"),
    ("shared", Follow::Operand, "`shared`", SCOPE),
];

/// By the first letter of a word, a bit for each length that a word of [`WORDS`] with this letter has.
static LENGTHS_BY_LETTER: [u32; 128] = {
    let mut lengths = [0; 128];
    let mut rest = WORDS;
    while let Some(((word, ..), tail)) = rest.split_first() {
        if let Some((&letter, _)) = word.as_bytes().split_first()
            && let Some((_, from)) = lengths.split_at_mut_checked(letter as usize)
            && let Some((place, _)) = from.split_first_mut()
        {
            *place |= 1 << word.len();
        }
        rest = tail;
    }
    lengths
};

/// Words of custom blocks, in front of `{`.
const BLOCKS: &[&str] = &["m", "sh", "sql", "re", "md", "html", "graph", "img"];

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
        let span = self.span();
        let text = self.text(span);
        let next = self.token_at(1);
        if next.kind == TokenKind::Tilde && !next.spaced {
            self.refuse(span, "a suspending form with `~`", SCHEDULER);
            return true;
        }
        if next.kind == TokenKind::LeftBrace && !next.spaced && BLOCKS.contains(&text) {
            self.refuse(span, "a custom block", "it belongs to a library");
            return true;
        }
        let may_be = LENGTHS_BY_LETTER.get(usize::from(text.bytes().next().unwrap_or(0)));
        if may_be.is_none_or(|lengths| lengths >> text.len().min(31) & 1 == 0) {
            return false;
        }
        let Some(&(_, follow, construct, reason)) = WORDS.iter().find(|word| word.0 == text) else {
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
                    || (text == "super" && next.kind == TokenKind::Dot)
                    || (text == "asm" && matches!(next.kind, TokenKind::LeftBrace))
            }
        };
        if starts {
            self.refuse(span, construct, reason);
        }
        starts
    }

    /// The construct that an operator outside of the subset belongs to.
    pub(super) fn refused_operator(&self) -> Option<(&'static str, &'static str, &'static str)> {
        let no_note = "";
        Some(match self.kind() {
            TokenKind::SlashSlash => {
                let note = "for a quotient rounded down write `a.fdiv(b)`";
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
            TokenKind::Question => ("the operator `?`", LATER, "use an enum and `match`"),
            TokenKind::QuestionQuestion => ("the operator `??`", LATER, no_note),
            TokenKind::QuestionDot => ("the operator `?.`", LATER, no_note),
            TokenKind::DotQuestion => ("the operator `.?`", LATER, no_note),
            TokenKind::Bang => ("the operator `!`", LATER, "the negation is `not`"),
            TokenKind::ColonEqual => ("`:=`", "declare with `val` or `var`", no_note),
            TokenKind::In => ("the operator `in`", "compare or loop", no_note),
            _ => return None,
        })
    }

    /// Refuses a token that starts an operand outside of the subset; whether it did.
    pub(super) fn refused_operand(&mut self) -> bool {
        let span = self.span();
        let next = self.token_at(1);
        let lambda = "it needs an environment object; pass a named function";
        match self.kind() {
            TokenKind::Backslash | TokenKind::Fn | TokenKind::Bar => {
                self.refuse(span, "a lambda", lambda);
            }
            TokenKind::BarBar => self.refuse(span, "a lambda", lambda),
            TokenKind::Backtick => self.refuse(span, "an atom", "it belongs to a library"),
            TokenKind::Colon if next.kind == TokenKind::Word && !next.spaced => {
                self.refuse(span, "a symbol", "it belongs to a library");
            }
            TokenKind::Ampersand | TokenKind::AndAnd => {
                self.refuse(span, "a reference `&`", "there is no memory manager");
            }
            TokenKind::LeftBrace => self.refuse(span, "a dictionary", "it allocates"),
            TokenKind::Plus => {
                self.refuse(span, "a unary `+`", "one of the parsers of Simple does not have it");
            }
            TokenKind::OldFormat => {
                self.refuse(span, "`f\"...\"`", "an ordinary text literal interpolates");
            }
            TokenKind::Ellipsis => self.refuse(span, "a spread `...`", SCOPE),
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

//! Text literals: escapes and interpolation.

use super::*;
use crate::source::lexer::Lexer;
use crate::source::literal::{escape, push_char};

impl Parser<'_, '_> {
    /// A text literal as an expression.
    pub(super) fn text_literal(&mut self) -> ExprId {
        let token = self.bump();
        let span = token.span;
        match token.kind {
            TokenKind::Text => self.interpolated(span),
            TokenKind::DocText => self.raw_text(span, 3),
            _ => {
                let is_prefixed = self.text(span).starts_with('r');
                let start = Span::new(span.start + u32::from(is_prefixed), span.end);
                let text = self.raw_text(start, 1);
                self.set_span(text, span);
                text
            }
        }
    }

    pub(super) fn set_span(&mut self, id: ExprId, span: Span) {
        let index = usize::try_from(id.0).unwrap_or(usize::MAX);
        if let Some(expr) = self.tree.exprs.get_mut(index) {
            expr.span = span;
        }
    }

    /// The bytes between quotes of `quotes` bytes, as they are.
    fn raw_text(&mut self, span: Span, quotes: u32) -> ExprId {
        let end = span.end.saturating_sub(quotes).max(span.start + quotes);
        let inner = self.text(Span::new(span.start + quotes, end));
        let start = self.tree.text_bytes.len();
        let added = inner.bytes().try_for_each(|b| try_push(&mut self.tree.text_bytes, b));
        self.diagnostics.allocated(added);
        self.finish_text(start, span)
    }

    /// The text whose bytes start at `start`.
    fn finish_text(&mut self, start: usize, span: Span) -> ExprId {
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let bytes = Span::new(number(start), number(self.tree.text_bytes.len()));
        let text = self.add(|tree| &mut tree.texts, bytes);
        self.add_expr(ExprKind::Text(text), span)
    }

    /// `"..."`: a text, or parts of one when it has expressions in braces.
    fn interpolated(&mut self, span: Span) -> ExprId {
        let mark = self.scratch.len();
        let quote = if self.text(span).starts_with('\\') { 2 } else { 1 };
        let (mut at, end) = (span.start + quote, span.end.saturating_sub(quote));
        let mut has_parts = false;
        let mut start = self.tree.text_bytes.len();
        while at < end {
            let rest = self.text(Span::new(at, end));
            let Some(first) = rest.chars().next() else { break };
            let doubled = rest.chars().nth(1) == Some(first);
            match first {
                '\\' => at = self.escaped(at, end),
                '{' | '}' if doubled => {
                    self.push_text(first);
                    at += 2;
                }
                '{' => {
                    has_parts = true;
                    let part = self.finish_text(start, span);
                    self.note(part.0);
                    at = self.interpolation(at, end);
                    start = self.tree.text_bytes.len();
                }
                _ => {
                    self.push_text(first);
                    at += u32::try_from(first.len_utf8()).unwrap_or(1);
                }
            }
        }
        let last = self.finish_text(start, span);
        if !has_parts {
            self.scratch.truncate(mark);
            return last;
        }
        self.note(last.0);
        let parts = self.list_since(mark);
        self.add_expr(ExprKind::Interpolation(parts), span)
    }

    fn push_text(&mut self, character: char) {
        let result = push_char(&mut self.tree.text_bytes, character);
        self.diagnostics.allocated(result);
    }

    /// An escape sequence at `at`; the offset behind it.
    fn escaped(&mut self, at: u32, end: u32) -> u32 {
        match escape(self.text(Span::new(at + 1, end))) {
            Ok((character, len)) => {
                self.push_text(character);
                at.saturating_add(1).saturating_add(u32::try_from(len).unwrap_or(1))
            }
            Err(error) => {
                let message = format_args!("{}", error.message);
                self.error(Span::new(at, at + 2), error.code, message);
                at + 2
            }
        }
    }

    /// An expression in braces at `at`, whose number is noted; the offset behind it.
    fn interpolation(&mut self, at: u32, end: u32) -> u32 {
        let len = Lexer::braces_len(self.text(Span::new(at, end)));
        let Some(len) = len.and_then(|len| u32::try_from(len).ok()) else {
            let message = format_args!("texts nest too deeply in the braces of one another");
            self.error(Span::new(at, at + 1), Code::TooDeep, message);
            return end;
        };
        let span = Span::new(at + 1, at + len - 1);
        let value = self.sub_expression(span);
        self.note(value.0);
        span.end + 1
    }

    /// Parses a part of a text literal as an expression.
    fn sub_expression(&mut self, span: Span) -> ExprId {
        let tokens = layout::tokens_inside(self.file, span, self.names, self.diagnostics);
        let Some(tokens) = self.diagnostics.allocated(tokens) else { return self.add_error(span) };
        let outer = core::mem::replace(&mut self.tokens, tokens);
        let at = self.at;
        self.go_to(0);
        if self.is(TokenKind::End) {
            let message = format_args!("`{{}}` in a text has no expression");
            let note = format_args!("write `{{{{` and `}}}}` for braces");
            self.error_with_note(
                Span::new(span.start - 1, span.end + 1),
                Code::Unexpected,
                message,
                Some(note),
            );
        }
        self.in_text += 1;
        let value = self.expr();
        self.in_text -= 1;
        if self.is(TokenKind::Colon) {
            let construct = "a format specification in a text";
            self.refuse(self.span(), construct, "values are printed in their own form");
        } else if !self.is(TokenKind::End) {
            self.unexpected("`}`");
        }
        self.tokens = outer;
        self.go_to(at);
        value
    }
}

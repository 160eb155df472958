//! The layout: from the tokens of the lexer to those of the grammar, with lines and blocks.
//!
//! * A logical line ends with [`TokenKind::Newline`]. Lines without a token do not count.
//! * Indentation is compared with a stack of columns; a tab counts 4. A line that is indented further starts a block, a
//!   line that returns to a column of the stack ends blocks. Any other column is an error, as is a tab behind a blank; a
//!   line between two columns belongs to the inner block, and one that starts a function, struct, enum or `impl` to the outer
//!   one, so that it is one error.
//! * Inside brackets neither lines nor blocks exist.
//! * A line goes on in the next one behind a backslash; behind a binary operator, unless the next line is indented less
//!   or starts a statement at equal indentation; and in front of `.` or a binary operator that is indented further; in
//!   front of `and`, `or`, `|` and the like also at equal indentation.

use alloc::vec::Vec;

use super::code::Code;
use super::diagnostic::{Diagnostics, File};
use super::lexer::Lexer;
use super::names::{Name, Names};
use super::token::{Span, Token, TokenKind};
use crate::alloc_util::{AllocError, try_push, try_with_capacity};

/// The columns of a tab.
const TAB: u32 = 4;

/// The deepest indentation, in blocks.
const MAX_BLOCKS: usize = 200;

/// The tokens of a file, ended by [`TokenKind::End`].
pub(super) fn tokens<'s>(
    file: &File<'s>,
    names: &mut Names<'s>,
    diagnostics: &mut Diagnostics,
) -> Result<Vec<Token>, AllocError> {
    let mut layout = Layout::new(file, names, diagnostics);
    // Programs have about one token for three bytes.
    layout.tokens = try_with_capacity(file.text.len() / 2 + 8)?;
    layout.run(Lexer::new(file.text))?;
    layout.finish()?;
    Ok(layout.tokens)
}

/// The tokens of an expression inside a text literal, which starts at `offset` of the file and has one line.
pub(super) fn tokens_inside<'s>(
    file: &File<'s>,
    span: Span,
    names: &mut Names<'s>,
    diagnostics: &mut Diagnostics,
) -> Result<Vec<Token>, AllocError> {
    let mut layout = Layout::new(file, names, diagnostics);
    // Inside of brackets there are no lines.
    layout.open = 1;
    layout.run(Lexer::inner(file.text, span))?;
    layout.spaced = true;
    layout.push(TokenKind::End, Name::NONE, Span::new(span.end, span.end))?;
    Ok(layout.tokens)
}

struct Layout<'f, 's> {
    file: &'f File<'s>,
    names: &'f mut Names<'s>,
    diagnostics: &'f mut Diagnostics,
    tokens: Vec<Token>,
    /// The open blocks, by ascending columns from 0.
    blocks: Vec<Block>,
    /// The number of open brackets.
    open: u32,
    /// The first token of the current logical line.
    first: Option<TokenKind>,
    /// The column of the line that is read, while no token of it has been seen.
    column: Option<Column>,
    spaced: bool,
    /// Whether the last line was joined to the next one by a backslash.
    joined: bool,
    /// The last width since the last line at the margin that fits no open block.
    misfit: Option<u32>,
}

/// A block of lines.
#[derive(Clone, Copy, Default)]
struct Block {
    column: u32,
    /// Whether its first line starts a method.
    has_methods: bool,
}

/// The indentation of a line.
#[derive(Clone, Copy)]
struct Column {
    width: u32,
    mixed: bool,
    start: u32,
}

impl<'f, 's> Layout<'f, 's> {
    fn new(file: &'f File<'s>, names: &'f mut Names<'s>, diagnostics: &'f mut Diagnostics) -> Self {
        Self {
            file,
            names,
            diagnostics,
            tokens: Vec::new(),
            blocks: Vec::new(),
            open: 0,
            first: None,
            column: Some(Column { width: 0, mixed: false, start: 0 }),
            spaced: true,
            joined: false,
            misfit: None,
        }
    }

    fn run(&mut self, mut lexer: Lexer<'_>) -> Result<(), AllocError> {
        let position = |lexer: &Lexer<'_>| u32::try_from(lexer.position()).unwrap_or(u32::MAX);
        let mut end = position(&lexer);
        loop {
            lexer.blanks();
            let start = position(&lexer);
            if start != end {
                self.blank(Span::new(end, start));
            }
            let Some(kind) = lexer.next_token() else { return Ok(()) };
            end = position(&lexer);
            self.add(kind, Span::new(start, end))?;
        }
    }

    fn add(&mut self, kind: TokenKind, span: Span) -> Result<(), AllocError> {
        match kind {
            TokenKind::Blank => self.blank(span),
            TokenKind::Comment => {
                self.spaced = true;
                self.conditional(span);
            }
            TokenKind::LineBreak => {
                self.spaced = true;
                self.column = Some(Column { width: 0, mixed: false, start: span.end });
            }
            TokenKind::Joined => {
                self.spaced = true;
                self.joined = true;
            }
            TokenKind::Word => {
                let name = self.names.intern(span.of(self.file.text))?;
                return self.token(TokenKind::keyword(name).unwrap_or(kind), name, span);
            }
            TokenKind::Label => {
                let text = Span::new(span.start + 1, span.end).of(self.file.text);
                let name = self.names.intern(text)?;
                return self.token(kind, name, span);
            }
            TokenKind::Unknown | TokenKind::UnclosedText | TokenKind::UnclosedComment => {
                return self.malformed(kind, span);
            }
            _ => {
                self.token(kind, Name::NONE, span)?;
                match kind {
                    TokenKind::LeftParen | TokenKind::LeftBracket | TokenKind::LeftBrace => {
                        self.open = self.open.saturating_add(1);
                    }
                    TokenKind::RightParen | TokenKind::RightBracket | TokenKind::RightBrace => {
                        self.open = self.open.saturating_sub(1);
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Adds a token of the grammar, behind the line and the blocks that it starts or ends.
    fn token(&mut self, kind: TokenKind, name: Name, span: Span) -> Result<(), AllocError> {
        self.start_line(kind, span)?;
        self.push(kind, name, span)
    }

    #[inline]
    fn start_line(&mut self, kind: TokenKind, span: Span) -> Result<(), AllocError> {
        if let Some(column) = self.column {
            self.column = None;
            self.line(kind, column, span)?;
            // The tokens that open and close blocks stand in front of the line.
            self.spaced = true;
        }
        self.joined = false;
        Ok(())
    }

    /// Refuses `#if` and its kind, which look like comments.
    fn conditional(&mut self, span: Span) {
        let text = span.of(self.file.text);
        let word = text.split_ascii_whitespace().next().unwrap_or("");
        if ["#if", "#elif", "#else", "#endif"].contains(&word) {
            let reason = "a source has one meaning; write `# if` for a comment";
            let message =
                format_args!("conditional compilation `{word}` is not supported: {reason}");
            self.diagnostics.error(self.file, span, Code::Refused, message);
        }
    }

    /// Blanks count only in front of the first token of a line.
    fn blank(&mut self, span: Span) {
        self.spaced = true;
        let Some(column) = &mut self.column else { return };
        if column.start != span.start {
            // Behind a comment at the start of the line.
            return;
        }
        let mut has_blank = false;
        for byte in span.of(self.file.text).bytes() {
            match byte {
                b'\t' => {
                    column.mixed |= has_blank;
                    column.width = column.width.saturating_add(TAB);
                }
                b' ' => {
                    has_blank = true;
                    column.width = column.width.saturating_add(1);
                }
                _ => {}
            }
        }
    }

    /// The first token of a physical line.
    fn line(&mut self, kind: TokenKind, column: Column, span: Span) -> Result<(), AllocError> {
        // A declaration at the margin ends a bracket that was left open.
        let is_declaration = column.width == 0 && kind.starts_declaration()
            || self.leaves_bracket(kind, column.width, span)
            || self.starts_body();
        if is_declaration {
            self.open = 0;
        }
        let continues = self.open > 0 || self.joined || self.continues(kind, column.width, span);
        if continues && !is_declaration {
            return Ok(());
        }
        if column.mixed {
            let message = format_args!("a tab follows a blank in the indentation");
            self.diagnostics.error(self.file, span, Code::BadIndentation, message);
        }
        let before = Span::new(column.start, column.start);
        if self.first.take().is_some() {
            self.push(TokenKind::Newline, Name::NONE, before)?;
        }
        self.indent(kind, column.width, span)?;
        self.first = Some(kind);
        Ok(())
    }

    /// Whether a line in brackets starts a statement or method of an open block, so that a bracket was left open.
    fn leaves_bracket(&self, kind: TokenKind, width: u32, span: Span) -> bool {
        let current = self.block(0).column;
        let Some(last) = self.tokens.last().filter(|_| self.open > 0 && width <= current) else {
            return false;
        };
        // Two operands do not follow each other.
        let is_operand = matches!(kind, TokenKind::Word | TokenKind::If | TokenKind::Match);
        kind.starts_statement() && last.kind != TokenKind::Dot
            || is_operand && last.kind.ends_operand()
            || matches!(kind, TokenKind::Word | TokenKind::Fn | TokenKind::Pub)
                && self.starts_method(span)
    }

    /// Whether a line in brackets follows `-> T:`, so that the parameters of a function were left open.
    fn starts_body(&self) -> bool {
        let mut last = self.tokens.iter().rev().map(|token| token.kind);
        self.open > 0
            && last.next() == Some(TokenKind::Colon)
            && last.nth(1) == Some(TokenKind::Arrow)
    }

    /// Whether a line starts with `fn`, `me` or `static fn` and a name, as no operand does.
    fn starts_method(&self, first: Span) -> bool {
        let rest = usize::try_from(first.start).ok().and_then(|start| self.file.text.get(start..));
        let line = rest.and_then(|rest| rest.lines().next()).unwrap_or("");
        let mut words = line.split_ascii_whitespace().skip_while(|&word| word == "pub");
        let (Some(word), Some(next)) = (words.next(), words.next()) else { return false };
        match word {
            "fn" | "me" => next.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'),
            "static" => next == "fn",
            _ => false,
        }
    }

    /// Whether a line that starts with `kind` belongs to the logical line before.
    fn continues(&self, kind: TokenKind, width: u32, span: Span) -> bool {
        let (Some(last), Some(first)) = (self.tokens.last(), self.first) else { return false };
        let current = self.block(0).column;
        // `*` ends an import, and `>` a type.
        let is_import = matches!(first, TokenKind::Use | TokenKind::Export);
        let ends_type =
            matches!(last.kind, TokenKind::Greater | TokenKind::GreaterGreater) && !last.spaced;
        if last.kind.is_binary() && !is_import && !ends_type && !self.ends_with_step(*last) {
            // Else the error is that of the line with the operator.
            return width > current || width == current && !self.starts_statement(kind, span);
        }
        let opens_block =
            matches!(last.kind, TokenKind::Colon | TokenKind::FatArrow | TokenKind::Arrow);
        // Arms of a match may start with `|`.
        let is_arm = kind == TokenKind::Bar && first == TokenKind::Bar;
        if opens_block || is_arm {
            return false;
        }
        match kind {
            TokenKind::Dot => width >= current,
            _ if kind.continues_at_equal_indent() => width >= current,
            _ => kind.continues_when_deeper() && width > current,
        }
    }

    /// Whether the last tokens are `++` or `--`, which the parser refuses.
    fn ends_with_step(&self, last: Token) -> bool {
        let before = self.tokens.iter().nth_back(1);
        matches!(last.kind, TokenKind::Plus | TokenKind::Minus)
            && !last.spaced
            && before.is_some_and(|before| before.kind == last.kind)
    }

    /// Whether the line whose first token is at `span` starts a statement, and no operand.
    fn starts_statement(&self, kind: TokenKind, span: Span) -> bool {
        if kind != TokenKind::Word {
            let is_block =
                matches!(kind, TokenKind::If | TokenKind::Match | TokenKind::For | TokenKind::Case);
            return is_block || kind.starts_statement() || kind.starts_declaration();
        }
        let end = u32::try_from(self.file.text.len()).unwrap_or(u32::MAX);
        let mut lexer = Lexer::inner(self.file.text, Span::new(span.end, end));
        let start = lexer.position();
        lexer.blanks();
        let is_spaced = lexer.position() > start;
        let start = lexer.position();
        let Some(next) = lexer.next_token() else { return false };
        let word = self.file.text.get(start..lexer.position());
        let keyword = word.and_then(|word| self.names.find(word)).and_then(TokenKind::keyword);
        // An assignment, or a call without parentheses.
        next.assigns() || is_spaced && keyword.unwrap_or(next).starts_operand()
    }

    /// The open block behind `back` others, from the innermost; that of the file if there is none.
    fn block(&self, back: usize) -> Block {
        self.blocks.iter().nth_back(back).copied().unwrap_or_default()
    }

    /// Whether a line between the columns of two blocks belongs to the outer one: the start of a function, struct, enum or
    /// `impl` does, unless it is a method behind others.
    fn starts_around(&self, kind: TokenKind, span: Span) -> bool {
        matches!(kind, TokenKind::Struct | TokenKind::Enum | TokenKind::Impl)
            || !self.block(0).has_methods && (kind == TokenKind::Fn || self.starts_method(span))
    }

    /// Opens or closes blocks for a line that starts at `width`.
    fn indent(&mut self, kind: TokenKind, width: u32, span: Span) -> Result<(), AllocError> {
        let here = Span::new(span.start, span.start);
        let mut current = self.block(0).column;
        self.misfit = self.misfit.filter(|_| width > 0);
        if width > current {
            if self.blocks.len() >= MAX_BLOCKS {
                let message = format_args!("more than {MAX_BLOCKS} nested blocks");
                self.diagnostics.error(self.file, span, Code::TooDeep, message);
                return Ok(());
            }
            let has_methods = kind == TokenKind::Fn || self.starts_method(span);
            try_push(&mut self.blocks, Block { column: width, has_methods })?;
            return self.push(TokenKind::Indent, Name::NONE, here);
        }
        // A line between two columns belongs to the inner block, as do the lines behind it that are in order.
        while width < current {
            let outer = self.block(1).column;
            if width > outer && !self.starts_around(kind, span) {
                break;
            }
            self.blocks.pop();
            self.push(TokenKind::Dedent, Name::NONE, here)?;
            current = outer;
        }
        if width != current && self.misfit.replace(width) != Some(width) {
            let message = format_args!(
                "the line is indented by {width} columns, which is the indentation of no open block"
            );
            self.diagnostics.error(self.file, span, Code::BadIndentation, message);
        }
        Ok(())
    }

    /// Reports what is no token of the grammar.
    fn malformed(&mut self, kind: TokenKind, span: Span) -> Result<(), AllocError> {
        let (code, message) = match kind {
            TokenKind::UnclosedText => {
                let text = span.of(self.file.text);
                let is_on_lines = text.contains('\n');
                if !is_on_lines {
                    // It ends with its line, and so does a bracket around it.
                    self.open = 0;
                }
                let message = match text.contains('{') && !text.contains('}') {
                    true => "`{` without `}` in a text; write `{{` for a brace",
                    false if is_on_lines => {
                        "a text literal ends on its line; write `\\n` for a line break"
                    }
                    false => "the text literal has no end",
                };
                (Code::UnclosedLiteral, message)
            }
            TokenKind::UnclosedComment => (Code::UnclosedLiteral, "the comment has no end"),
            _ if span.of(self.file.text).starts_with(|first: char| first.is_alphabetic()) => {
                (Code::UnknownCharacter, "a name starts with a letter of ASCII or `_`")
            }
            _ => (Code::UnknownCharacter, "this character starts no token"),
        };
        self.start_line(kind, span)?;
        self.diagnostics.error(self.file, span, code, format_args!("{message}"));
        match kind {
            TokenKind::UnclosedText => self.push(TokenKind::RawText, Name::NONE, span),
            _ => Ok(()),
        }
    }

    fn push(&mut self, kind: TokenKind, name: Name, span: Span) -> Result<(), AllocError> {
        let spaced = core::mem::take(&mut self.spaced);
        try_push(&mut self.tokens, Token { kind, spaced, name, span })
    }

    /// Ends the last line and the open blocks.
    fn finish(&mut self) -> Result<(), AllocError> {
        let end = u32::try_from(self.file.text.len()).unwrap_or(u32::MAX);
        let here = Span::new(end, end);
        if self.first.is_some() {
            self.push(TokenKind::Newline, Name::NONE, here)?;
        }
        for _ in 0..self.blocks.len() {
            self.push(TokenKind::Dedent, Name::NONE, here)?;
        }
        self.push(TokenKind::End, Name::NONE, here)
    }
}

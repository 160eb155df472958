//! Tokens: their kinds, and the words that are keywords everywhere.
//!
//! Words that are keywords in one position only (`type`, `loop`, `me`, `static` ...) are [`TokenKind::Word`]; the
//! parser compares their names.

use super::names::Name;

/// The kind of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    // Between tokens of the grammar; the layout drops them.
    Blank,
    LineBreak,
    Comment,
    /// A backslash at the end of a line.
    Joined,
    // Errors of the lexer.
    UnclosedText,
    UnclosedComment,
    Unknown,
    // Words and literals.
    Word,
    Integer,
    Float,
    /// `"..."`, with interpolation.
    Text,
    /// `'...'` or `r"..."`.
    RawText,
    /// `f"..."`.
    OldFormat,
    /// `"""..."""`.
    DocText,
    /// `'name` in front of a loop or behind `break` and `continue`.
    Label,
    // Punctuation.
    LeftParen,
    RightParen,
    LeftBracket,
    RightBracket,
    LeftBrace,
    RightBrace,
    Comma,
    Colon,
    ColonColon,
    ColonEqual,
    Semicolon,
    Dot,
    DotDot,
    DotDotEqual,
    Ellipsis,
    DotQuestion,
    Arrow,
    FatArrow,
    LeftArrow,
    Equal,
    PlusEqual,
    MinusEqual,
    StarEqual,
    SlashEqual,
    PercentEqual,
    Plus,
    Minus,
    Star,
    StarStar,
    Slash,
    SlashSlash,
    Percent,
    Ampersand,
    AndAnd,
    Bar,
    BarBar,
    BarGreater,
    Caret,
    Tilde,
    TildeGreater,
    Less,
    LessEqual,
    LessLess,
    LessLessLess,
    Greater,
    GreaterEqual,
    GreaterGreater,
    GreaterGreaterGreater,
    EqualEqual,
    NotEqual,
    Bang,
    Question,
    QuestionQuestion,
    QuestionDot,
    At,
    Backslash,
    Backtick,
    HashBracket,
    // Made by the layout.
    Newline,
    Indent,
    Dedent,
    End,
    // Keywords.
    Fn,
    Val,
    Var,
    Let,
    Mut,
    Const,
    If,
    Elif,
    Else,
    For,
    While,
    Break,
    Continue,
    Pass,
    Return,
    Match,
    Case,
    In,
    Is,
    Not,
    And,
    Or,
    Xor,
    True,
    False,
    Nil,
    As,
    Struct,
    Enum,
    Impl,
    Extern,
    Use,
    Export,
    Pub,
    Assert,
}

impl TokenKind {
    /// Whether an operand has to follow it, so that a line that ends with it goes on in the next one.
    pub(super) fn is_binary(self) -> bool {
        matches!(
            self,
            Self::Plus
                | Self::Minus
                | Self::Star
                | Self::StarStar
                | Self::Slash
                | Self::Percent
                | Self::EqualEqual
                | Self::NotEqual
                | Self::Less
                | Self::LessEqual
                | Self::Greater
                | Self::GreaterEqual
                | Self::And
                | Self::Or
                | Self::AndAnd
                | Self::BarBar
                | Self::Xor
                | Self::Ampersand
                | Self::Bar
                | Self::LessLess
                | Self::GreaterGreater
                | Self::In
                | Self::Is
        )
    }

    /// Whether a line that starts with it continues the line before when it is indented as far.
    pub(super) fn continues_at_equal_indent(self) -> bool {
        matches!(
            self,
            Self::And
                | Self::Or
                | Self::AndAnd
                | Self::BarBar
                | Self::Xor
                | Self::Ampersand
                | Self::Bar
                | Self::LessLess
                | Self::GreaterGreater
                | Self::Slash
                | Self::Percent
                | Self::BarGreater
        )
    }

    /// Whether a line that starts with it continues the line before when it is indented further.
    pub(super) fn continues_when_deeper(self) -> bool {
        self.is_binary() || self.continues_at_equal_indent()
    }

    /// Whether an expression can start with it.
    pub(super) fn starts_operand(self) -> bool {
        matches!(
            self,
            Self::Word
                | Self::Integer
                | Self::Float
                | Self::Text
                | Self::RawText
                | Self::OldFormat
                | Self::DocText
                | Self::LeftParen
                | Self::LeftBracket
                | Self::LeftBrace
                | Self::True
                | Self::False
                | Self::Nil
                | Self::Not
                | Self::If
                | Self::Match
        )
    }

    /// Whether an expression can end with it.
    pub(super) fn ends_operand(self) -> bool {
        matches!(
            self,
            Self::Word
                | Self::Integer
                | Self::Float
                | Self::Text
                | Self::RawText
                | Self::RightParen
                | Self::RightBracket
                | Self::RightBrace
                | Self::True
                | Self::False
                | Self::Nil
        )
    }

    /// Whether it starts a declaration and nothing else.
    pub(super) fn starts_declaration(self) -> bool {
        matches!(
            self,
            Self::Fn
                | Self::Struct
                | Self::Enum
                | Self::Impl
                | Self::Extern
                | Self::Use
                | Self::Export
                | Self::Pub
                | Self::Const
        )
    }

    /// Whether it starts a statement and nothing else.
    pub(super) fn starts_statement(self) -> bool {
        matches!(
            self,
            Self::Val
                | Self::Var
                | Self::Let
                | Self::While
                | Self::Break
                | Self::Continue
                | Self::Pass
                | Self::Return
                | Self::Assert
        )
    }

    /// Whether it is `=` or an assignment with an operator.
    pub(super) fn assigns(self) -> bool {
        matches!(
            self,
            Self::Equal
                | Self::PlusEqual
                | Self::MinusEqual
                | Self::StarEqual
                | Self::SlashEqual
                | Self::PercentEqual
        )
    }

    /// Whether a logical line has ended in front of it.
    pub(super) fn ends_line(self) -> bool {
        matches!(self, Self::Newline | Self::Indent | Self::Dedent | Self::End)
    }

    /// The keyword that a word is.
    pub(super) fn keyword(word: Name) -> Option<Self> {
        Some(match word {
            Name::FN => Self::Fn,
            Name::VAL => Self::Val,
            Name::VAR => Self::Var,
            Name::LET => Self::Let,
            Name::MUT => Self::Mut,
            Name::CONST => Self::Const,
            Name::IF => Self::If,
            Name::ELIF => Self::Elif,
            Name::ELSE => Self::Else,
            Name::FOR => Self::For,
            Name::WHILE => Self::While,
            Name::BREAK => Self::Break,
            Name::CONTINUE => Self::Continue,
            Name::PASS => Self::Pass,
            Name::RETURN => Self::Return,
            Name::MATCH => Self::Match,
            Name::CASE => Self::Case,
            Name::IN => Self::In,
            Name::IS => Self::Is,
            Name::NOT => Self::Not,
            Name::AND => Self::And,
            Name::OR => Self::Or,
            Name::XOR => Self::Xor,
            Name::TRUE => Self::True,
            Name::FALSE => Self::False,
            Name::NIL => Self::Nil,
            Name::AS => Self::As,
            Name::STRUCT => Self::Struct,
            Name::ENUM => Self::Enum,
            Name::IMPL => Self::Impl,
            Name::EXTERN => Self::Extern,
            Name::USE => Self::Use,
            Name::EXPORT => Self::Export,
            Name::PUB => Self::Pub,
            Name::ASSERT => Self::Assert,
            _ => return None,
        })
    }

    /// How a message names it, where the text of the token does not.
    pub(super) fn description(self) -> Option<&'static str> {
        Some(match self {
            Self::Newline => "the end of the line",
            Self::Indent => "an indented block",
            Self::Dedent => "the end of the block",
            Self::End => "the end of the file",
            Self::Text | Self::RawText | Self::OldFormat | Self::DocText => "a text literal",
            _ => return None,
        })
    }
}

/// A part of the source text in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Span {
    pub(super) fn new(start: u32, end: u32) -> Self {
        Self { start, end }
    }

    /// From the start of this one to the end of `other`.
    pub(super) fn to(self, other: Self) -> Self {
        Self { start: self.start, end: other.end.max(self.end) }
    }

    /// The bytes of `text` in the span.
    pub(super) fn of(self, text: &str) -> &str {
        let (start, end) = (usize::try_from(self.start), usize::try_from(self.end));
        let range = start.unwrap_or(usize::MAX)..end.unwrap_or(usize::MAX);
        text.get(range).unwrap_or("")
    }
}

/// A token of the grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    /// Whether a blank or a line break precedes it.
    pub(super) spaced: bool,
    /// Of a word, keywords included, and of a label; otherwise [`Name::NONE`].
    pub(super) name: Name,
    pub(super) span: Span,
}

impl Token {
    /// The token behind all others.
    pub(super) const END: Self = Self {
        kind: TokenKind::End,
        spaced: true,
        name: Name::NONE,
        span: Span { start: 0, end: 0 },
    };

    pub(super) fn is_keyword(self) -> bool {
        self.name != Name::NONE && !matches!(self.kind, TokenKind::Word | TokenKind::Label)
    }
}

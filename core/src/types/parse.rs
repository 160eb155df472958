//! Types read from text.

use alloc::vec::Vec;
use core::fmt;

use super::{MAX_ARGUMENTS, MAX_DEPTH, MAX_LANES, MAX_NODES, Type, number};
use crate::alloc_util::{AllocError, try_box, try_copy_str, try_push};

/// Why text is no type. Places count bytes from the begin of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the sentence of each variant shows")]
pub enum TypeError {
    /// Something else than a type, or than what may follow one.
    Syntax { at: usize },
    /// More levels than [`MAX_DEPTH`].
    TooDeep { at: usize },
    /// More types than [`MAX_NODES`].
    TooLarge { at: usize },
    /// More type arguments than [`MAX_ARGUMENTS`].
    TooMany { at: usize },
    /// No type arguments at all, where an instance needs at least one.
    None,
    /// A type that is not known where a known one is needed.
    Variable { at: usize },
    /// No memory for the types.
    OutOfMemory,
}

impl fmt::Display for TypeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            TypeError::Syntax { at } => write!(f, "no type at byte {at} of the type arguments"),
            TypeError::TooDeep { at } => {
                write!(f, "types inside types beyond {MAX_DEPTH} levels, at byte {at}")
            }
            TypeError::TooLarge { at } => {
                write!(f, "a type made of more than {MAX_NODES} types, at byte {at}")
            }
            TypeError::TooMany { at } => {
                write!(f, "more than {MAX_ARGUMENTS} type arguments, at byte {at}")
            }
            TypeError::None => f.write_str("there are no type arguments"),
            TypeError::Variable { at } => {
                write!(f, "a type variable among the type arguments, at byte {at}")
            }
            TypeError::OutOfMemory => f.write_str("the allocator has no memory for the types"),
        }
    }
}

impl core::error::Error for TypeError {}

impl From<AllocError> for TypeError {
    fn from(_: AllocError) -> Self {
        Self::OutOfMemory
    }
}

impl Type {
    /// The type that `text` spells.
    ///
    /// # Errors
    /// [`TypeError`].
    pub fn parse(text: &str) -> Result<Self, TypeError> {
        let mut parser = Parser::new(text);
        let ty = parser.ty(1)?;
        parser.end()?;
        Ok(ty)
    }

    /// The types that `text` spells with commas between them: a cell of the column `type_args`.
    ///
    /// # Errors
    /// [`TypeError`]; a cell without a type, with more than [`MAX_ARGUMENTS`], or with a variable in it
    /// is refused.
    pub fn parse_arguments(text: &str) -> Result<Vec<Self>, TypeError> {
        let mut parser = Parser::new(text);
        parser.blanks();
        if parser.peek().is_none() {
            return Err(TypeError::None);
        }
        let mut arguments = Vec::new();
        loop {
            let at = parser.at;
            let ty = parser.ty(1)?;
            if arguments.len() == MAX_ARGUMENTS {
                return Err(TypeError::TooMany { at });
            }
            if !ty.is_concrete() {
                return Err(TypeError::Variable { at });
            }
            try_push(&mut arguments, ty)?;
            if !parser.takes(',') {
                parser.end()?;
                return Ok(arguments);
            }
        }
    }
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    nodes: usize,
}

/// Whether a character belongs to a name.
fn is_name(c: char) -> bool {
    !matches!(c, ',' | '<' | '>' | '[' | ']' | '(' | ')' | '?')
        && !c.is_whitespace()
        && !c.is_control()
}

impl<'t> Parser<'t> {
    fn new(text: &'t str) -> Self {
        Self { text, at: 0, nodes: 0 }
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    /// Takes `wanted` and the blanks before it, if it is there.
    fn takes(&mut self, wanted: char) -> bool {
        self.blanks();
        let found = self.peek() == Some(wanted);
        self.at += if found { wanted.len_utf8() } else { 0 };
        found
    }

    fn expect(&mut self, wanted: char) -> Result<(), TypeError> {
        if self.takes(wanted) { Ok(()) } else { Err(self.broken()) }
    }

    fn end(&mut self) -> Result<(), TypeError> {
        self.blanks();
        if self.rest().is_empty() { Ok(()) } else { Err(self.broken()) }
    }

    fn broken(&self) -> TypeError {
        TypeError::Syntax { at: self.at }
    }

    /// The characters of a name; empty when there is none.
    fn word(&mut self) -> &'t str {
        self.blanks();
        let rest = self.rest();
        // An arrow ends a name that stands in front of it without a blank.
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        let word = rest.get(..end).unwrap_or("");
        self.at += word.len();
        word
    }

    fn ty(&mut self, depth: usize) -> Result<Type, TypeError> {
        self.blanks();
        let at = self.at;
        self.nodes += 1;
        if depth > MAX_DEPTH {
            return Err(TypeError::TooDeep { at });
        }
        if self.nodes > MAX_NODES {
            return Err(TypeError::TooLarge { at });
        }
        if self.takes('[') {
            let elem = try_box(self.ty(depth + 1)?)?;
            self.expect(']')?;
            return Ok(Type::Array(elem));
        }
        if self.takes('(') {
            return Ok(Type::Tuple(self.list(')', depth)?));
        }
        if self.takes('?') {
            let name = self.word();
            return if name.is_empty() {
                Err(self.broken())
            } else {
                Ok(Type::Variable(try_copy_str(name)?.into_boxed_str()))
            };
        }
        self.named(depth)
    }

    /// A type that begins with a word.
    fn named(&mut self, depth: usize) -> Result<Type, TypeError> {
        let word = self.word();
        let close = match self.peek() {
            _ if word.is_empty() => return Err(self.broken()),
            Some('(') if word == "fn" => return self.function(depth),
            Some('<') if word == "simd" => return self.vector(depth),
            Some('<') => '>',
            Some('[') => ']',
            _ => return Ok(Type::try_of_word(word)?),
        };
        self.at += 1;
        let args = self.list(close, depth)?;
        if args.is_empty() {
            Err(self.broken())
        } else {
            Ok(Type::Named { name: try_copy_str(word)?.into_boxed_str(), args })
        }
    }

    fn function(&mut self, depth: usize) -> Result<Type, TypeError> {
        self.expect('(')?;
        let args = self.list(')', depth)?;
        self.blanks();
        self.at += if self.rest().starts_with("->") { 2 } else { return Err(self.broken()) };
        Ok(Type::Function { args, result: try_box(self.ty(depth + 1)?)? })
    }

    fn vector(&mut self, depth: usize) -> Result<Type, TypeError> {
        self.expect('<')?;
        let elem = try_box(self.ty(depth + 1)?)?;
        self.expect(',')?;
        let lanes = number(self.word()).filter(|lanes| (1..=MAX_LANES).contains(lanes));
        let lanes = lanes.ok_or(self.broken())?;
        self.expect('>')?;
        Ok(Type::Simd { lanes, elem })
    }

    /// Types with commas between them up to `close`.
    fn list(&mut self, close: char, depth: usize) -> Result<Vec<Type>, TypeError> {
        let mut list = Vec::new();
        if self.takes(close) {
            return Ok(list);
        }
        loop {
            try_push(&mut list, self.ty(depth + 1)?)?;
            if !self.takes(',') {
                self.expect(close)?;
                return Ok(list);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::boxed::Box;
    use std::string::{String, ToString};
    use std::vec;

    use super::super::tests::Numbers;
    use super::*;
    use crate::testing::some;

    fn named(name: &str, args: Vec<Type>) -> Type {
        Type::Named { name: name.into(), args }
    }

    #[test]
    fn cells_of_notes_are_read() {
        for (text, expected) in [
            ("Int", vec![named("Int", vec![])]),
            ("i64,f64", vec![Type::I64, Type::F64]),
            (" text , i64 ", vec![Type::Text, Type::I64]),
            ("Vec<Vec<i64>>", vec![named("Vec", vec![named("Vec", vec![Type::I64])])]),
            (
                "List[Int], [f64]",
                vec![named("List", vec![named("Int", vec![])]), Type::Array(Box::new(Type::F64))],
            ),
            (
                "fn(i64, f64) -> bool",
                vec![Type::Function {
                    args: vec![Type::I64, Type::F64],
                    result: Box::new(Type::Bool),
                }],
            ),
            (
                "fn() -> (), fn",
                vec![
                    Type::Function { args: vec![], result: Box::new(Type::Tuple(vec![])) },
                    named("fn", vec![]),
                ],
            ),
        ] {
            assert_eq!(Type::parse_arguments(text).as_deref(), Ok(&*expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_type_is_refused_with_its_place() {
        for (text, error) in [
            ("", TypeError::None),
            ("  ", TypeError::None),
            ("i64,", TypeError::Syntax { at: 4 }),
            (",i64", TypeError::Syntax { at: 0 }),
            ("Vec<i64", TypeError::Syntax { at: 7 }),
            ("Vec<>", TypeError::Syntax { at: 5 }),
            ("Vec<i64>>", TypeError::Syntax { at: 8 }),
            ("a b", TypeError::Syntax { at: 2 }),
            ("[i64", TypeError::Syntax { at: 4 }),
            ("fn(i64)", TypeError::Syntax { at: 7 }),
            ("simd<i64, 0>", TypeError::Syntax { at: 11 }),
            ("i64, Vec<?T>", TypeError::Variable { at: 4 }),
            ("?", TypeError::Syntax { at: 1 }),
        ] {
            assert_eq!(Type::parse_arguments(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn depth_size_and_number_are_bounded() {
        let nest = |depth: usize| "[".repeat(depth - 1) + "i64" + &"]".repeat(depth - 1);
        assert_eq!(Type::parse(&nest(MAX_DEPTH)).unwrap().size().1, MAX_DEPTH);
        assert_eq!(Type::parse(&nest(MAX_DEPTH + 1)), Err(TypeError::TooDeep { at: MAX_DEPTH }));
        assert!(matches!(
            Type::parse(&"[".repeat(if cfg!(miri) { 1 << 10 } else { 1 << 20 })),
            Err(TypeError::TooDeep { .. })
        ));
        let wide = |count: usize| std::format!("({})", vec!["i8"; count].join(","));
        assert!(Type::parse(&wide(MAX_NODES - 1)).is_ok());
        assert!(matches!(Type::parse(&wide(MAX_NODES)), Err(TypeError::TooLarge { .. })));
        let many = |count: usize| vec!["i8"; count].join(",");
        assert_eq!(Type::parse_arguments(&many(64)).unwrap().len(), 64);
        assert_eq!(Type::parse_arguments(&many(65)), Err(TypeError::TooMany { at: 64 * 3 }));
    }

    #[test]
    fn what_is_spelled_is_read_back() {
        let mut numbers = Numbers(7);
        for _ in some(0..20_000, 40) {
            let ty = numbers.ty(5, true);
            let text = ty.to_string();
            let read = Type::parse(&text).unwrap();
            // A name that spells another type reads as that one.
            assert_eq!(Type::parse(&read.to_string()), Ok(read), "{ty:?}");
        }
    }

    #[test]
    fn no_text_makes_it_panic() {
        const SIGNS: [char; 12] = ['i', '8', ',', '<', '>', '[', ']', '(', ')', '?', ' ', 'ü'];
        let mut numbers = Numbers(3);
        for _ in some(0..50_000, 200) {
            let len = numbers.below(12);
            let text: String = (0..len).map(|_| SIGNS[numbers.below(12) as usize]).collect();
            if let Ok(types) = Type::parse_arguments(&text) {
                assert!(types.iter().all(Type::is_concrete), "{text}");
            }
        }
    }
}

//! The parser of types in text form.

use alloc::string::String;
use alloc::vec::Vec;

use super::term::{MAX_ARGUMENTS, MAX_DEPTH, MAX_NODES, Type, parse_lanes};
use crate::alloc_util::{AllocError, try_box, try_collect, try_copy_str, try_push, try_to_string};

/// The reason why text is not a type. Offsets are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message of each variant explains its fields")]
pub enum TypeError {
    /// The text is not a type, or a token may not follow it.
    #[error("syntax error in the type arguments at byte {at}")]
    Syntax { at: usize },
    /// The type is nested deeper than [`MAX_DEPTH`].
    #[error("the type at byte {at} is nested deeper than {MAX_DEPTH} levels")]
    TooDeep { at: usize },
    /// The type has more than [`MAX_NODES`] nodes.
    #[error("the type at byte {at} has more than {MAX_NODES} nodes")]
    TooLarge { at: usize },
    /// There are more than [`MAX_ARGUMENTS`] type arguments.
    #[error("more than {MAX_ARGUMENTS} type arguments, at byte {at}")]
    TooMany { at: usize },
    /// There are no type arguments.
    #[error("there are no type arguments")]
    None,
    /// A type argument contains a variable.
    #[error("the type argument at byte {at} contains a type variable")]
    Variable { at: usize },
    /// The allocator has no memory left.
    #[error(transparent)]
    OutOfMemory(#[from] AllocError),
}

impl Type {
    /// Parses one type.
    ///
    /// # Errors
    /// [`TypeError`].
    pub fn parse(text: &str) -> Result<Self, TypeError> {
        let mut parser = Parser::new(text);
        let ty = parser.ty(1)?;
        parser.end()?;
        Ok(ty)
    }

    /// Parses a list of types without variables: a cell of the column `type_args`.
    ///
    /// # Errors
    /// [`TypeError`]; also if the list is empty, longer than [`MAX_ARGUMENTS`] or contains a variable.
    pub fn parse_arguments(text: &str) -> Result<Vec<Self>, TypeError> {
        let mut parser = Parser::new(text);
        parser.skip_whitespace();
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
            if !parser.consume(',') {
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

/// Whether a name may contain this character.
fn is_name(c: char) -> bool {
    !matches!(c, ',' | ';' | '<' | '>' | '[' | ']' | '(' | ')' | '?')
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

    fn skip_whitespace(&mut self) {
        let rest = self.rest();
        // The next token begins here, as a rule.
        if rest.as_bytes().first().is_some_and(u8::is_ascii_graphic) {
            return;
        }
        self.at += rest.len() - rest.trim_start().len();
    }

    /// Consumes whitespace and then `wanted`, if it follows.
    fn consume(&mut self, wanted: char) -> bool {
        self.skip_whitespace();
        let found = self.peek() == Some(wanted);
        self.at += if found { wanted.len_utf8() } else { 0 };
        found
    }

    fn expect(&mut self, wanted: char) -> Result<(), TypeError> {
        if self.consume(wanted) { Ok(()) } else { Err(self.syntax_error()) }
    }

    fn end(&mut self) -> Result<(), TypeError> {
        self.skip_whitespace();
        if self.rest().is_empty() { Ok(()) } else { Err(self.syntax_error()) }
    }

    fn syntax_error(&self) -> TypeError {
        TypeError::Syntax { at: self.at }
    }

    /// Consumes a name, which is empty if none follows.
    fn word(&mut self) -> &'t str {
        self.skip_whitespace();
        let rest = self.rest();
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        let word = rest.get(..end).unwrap_or("");
        self.at += word.len();
        word
    }

    fn ty(&mut self, depth: usize) -> Result<Type, TypeError> {
        self.skip_whitespace();
        let at = self.at;
        self.nodes += 1;
        if depth > MAX_DEPTH {
            return Err(TypeError::TooDeep { at });
        }
        if self.nodes > MAX_NODES {
            return Err(TypeError::TooLarge { at });
        }
        match self.peek() {
            Some('[') => {
                self.at += 1;
                let elem = self.ty(depth + 1)?;
                let name = if self.consume(';') { Some(self.fixed_array()?) } else { None };
                self.expect(']')?;
                match name {
                    None => Ok(Type::Array(try_box(elem)?)),
                    Some(name) => {
                        let args = try_collect(core::iter::once(elem))?;
                        Ok(Type::Named { name: name.into_boxed_str(), args })
                    }
                }
            }
            Some('(') => {
                self.at += 1;
                Ok(Type::Tuple(self.list(')', depth)?))
            }
            Some('?') => {
                self.at += 1;
                match self.word() {
                    "" => Err(self.syntax_error()),
                    name => Ok(Type::Variable(try_copy_str(name)?.into_boxed_str())),
                }
            }
            _ => self.named(depth),
        }
    }

    /// A type that starts with a word.
    fn named(&mut self, depth: usize) -> Result<Type, TypeError> {
        let word = self.word();
        let close = match self.peek() {
            _ if word.is_empty() => return Err(self.syntax_error()),
            // Their names in notes and symbols.
            _ if matches!(word, "*const" | "*mut") => {
                let name = Type::pointer_name(word == "*mut");
                let args = try_collect(core::iter::once(self.ty(depth + 1)?))?;
                return Ok(Type::Named { name: try_copy_str(name)?.into_boxed_str(), args });
            }
            Some('(') if word == "fn" => return self.function(depth),
            Some('<') if word == "simd" => return self.vector(depth),
            Some('<') => '>',
            Some('[') => ']',
            _ => return Ok(Type::from_word(word)?),
        };
        self.at += 1;
        let args = self.list(close, depth)?;
        if args.is_empty() {
            Err(self.syntax_error())
        } else {
            Ok(Type::Named { name: try_copy_str(word)?.into_boxed_str(), args })
        }
    }

    fn function(&mut self, depth: usize) -> Result<Type, TypeError> {
        self.expect('(')?;
        let args = self.list(')', depth)?;
        self.skip_whitespace();
        self.at += if self.rest().starts_with("->") { 2 } else { return Err(self.syntax_error()) };
        Ok(Type::Function { args, result: try_box(self.ty(depth + 1)?)? })
    }

    /// The name of an array of fixed length in notes and symbols, such as `array_3`, at the length.
    fn fixed_array(&mut self) -> Result<String, TypeError> {
        let length = self.word();
        let is_length = length.bytes().all(|byte| byte.is_ascii_digit());
        // The usual digits, so that a type has one name.
        let is_usual = length.parse::<u64>().is_ok() && (length == "0" || !length.starts_with('0'));
        if !is_length || !is_usual {
            return Err(self.syntax_error());
        }
        Ok(try_to_string(format_args!("array_{length}"))?)
    }

    fn vector(&mut self, depth: usize) -> Result<Type, TypeError> {
        self.expect('<')?;
        let elem = try_box(self.ty(depth + 1)?)?;
        self.expect(',')?;
        let lanes = parse_lanes(self.word()).ok_or(self.syntax_error())?;
        self.expect('>')?;
        Ok(Type::Simd { lanes, elem })
    }

    /// Types separated by commas, up to `close`.
    fn list(&mut self, close: char, depth: usize) -> Result<Vec<Type>, TypeError> {
        let mut list = Vec::new();
        if self.consume(close) {
            return Ok(list);
        }
        loop {
            try_push(&mut list, self.ty(depth + 1)?)?;
            if !self.consume(',') {
                self.expect(close)?;
                return Ok(list);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::boxed::Box;
    use std::string::ToString;
    use std::vec;

    use super::super::testing::Random;
    use super::*;
    use crate::testing::some;

    fn named(name: &str, args: Vec<Type>) -> Type {
        Type::Named { name: name.into(), args }
    }

    #[test]
    fn type_args_cells_parse() {
        for (text, expected) in [
            ("Int", vec![named("Int", vec![])]),
            ("i64,f64", vec![Type::I64, Type::F64]),
            (" text , i64 ", vec![Type::Text, Type::I64]),
            ("Vec<Vec<i64>>", vec![named("Vec", vec![named("Vec", vec![Type::I64])])]),
            (
                "List[Int], [f64]",
                vec![named("List", vec![named("Int", vec![])]), Type::Array(Box::new(Type::F64))],
            ),
            ("[i64; 3]", vec![named("array_3", vec![Type::I64])]),
            (
                "ptr, *const i64, [*mut *const T]",
                vec![
                    Type::Pointer,
                    named("ptr_const", vec![Type::I64]),
                    Type::Array(Box::new(named(
                        "ptr_mut",
                        vec![named("ptr_const", vec![named("T", vec![])])],
                    ))),
                ],
            ),
            (
                "[ array_2<u8> ;10 ]",
                vec![named("array_10", vec![named("array_2", vec![Type::int(8, false)])])],
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
    fn malformed_types_are_refused_with_their_offset() {
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
            ("[i64;]", TypeError::Syntax { at: 5 }),
            ("[i64; 03]", TypeError::Syntax { at: 8 }),
            ("[i64; -3]", TypeError::Syntax { at: 8 }),
            ("i64; 3", TypeError::Syntax { at: 3 }),
            ("fn(i64)", TypeError::Syntax { at: 7 }),
            ("simd<i64, 0>", TypeError::Syntax { at: 11 }),
            ("i64, Vec<?T>", TypeError::Variable { at: 4 }),
            ("?", TypeError::Syntax { at: 1 }),
        ] {
            assert_eq!(Type::parse_arguments(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn depth_nodes_and_arguments_are_limited() {
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
    fn display_output_parses_back() {
        let mut random = Random(7);
        for _ in some(0..20_000, 40) {
            let ty = random.ty(5, true);
            let text = ty.to_string();
            let read = Type::parse(&text).unwrap();
            // A name that spells a primitive type parses as that type.
            assert_eq!(Type::parse(&read.to_string()), Ok(read), "{ty:?}");
        }
    }

    #[test]
    fn random_text_never_panics() {
        const CHARS: [char; 12] = ['i', '8', ',', '<', '>', '[', ']', '(', ')', '?', ' ', 'ü'];
        let mut random = Random(3);
        for _ in some(0..50_000, 200) {
            let len = random.below(12);
            let text: String = (0..len).map(|_| CHARS[random.below(12) as usize]).collect();
            if let Ok(types) = Type::parse_arguments(&text) {
                assert!(types.iter().all(Type::is_concrete), "{text}");
            }
        }
    }
}

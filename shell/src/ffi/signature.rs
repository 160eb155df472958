//! The types of a function as text: a function type of C without names, such as `double(int32_t, const char *)`.
//!
//! ```text
//! signature = type '(' [ 'void' | type { ',' type } ] ')'
//! type      = { 'const' } name { 'const' } | anything '*' | [ 'struct' ] '{' type { ',' type } '}'
//! ```
//!
//! The names are those of C and of `<stdint.h>`, for the machine of the library. `anything` is any words: what a pointer
//! points to does not matter for a call.

use std::ffi::c_char;

use smf_core::alloc_util::try_push;

use super::error::{ApiError, Code};

/// The most parameters, as C guarantees them.
const MAX_PARAMETERS: usize = 127;

/// The most fields of a structure.
const MAX_FIELDS: usize = 16;

/// The type of a parameter or a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Type {
    /// No result.
    Void,
    /// An integer or a truth value.
    Int { bytes: u8, signed: bool },
    /// 4 bytes.
    Float,
    /// 8 bytes.
    Double,
    /// The address of anything.
    Pointer,
    /// Fields of the types above, except `Void`.
    Struct(Vec<Self>),
}

/// The types of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signature {
    pub(super) result: Type,
    pub(super) parameters: Vec<Type>,
}

impl Signature {
    /// Parses the text of a signature.
    ///
    /// # Errors
    /// The first character that is not in its place, or no memory.
    pub(super) fn parse(text: &[u8]) -> Result<Self, ApiError> {
        let mut parser = Parser { text, at: 0 };
        let result = parser.ty()?;
        parser.expect(b'(', "`(` or `*`")?;
        let parameters = parser.parameters()?;
        parser.skip_spaces();
        if parser.at < text.len() {
            return Err(parser.wrong("the end"));
        }
        Ok(Self { result, parameters })
    }
}

struct Parser<'t> {
    text: &'t [u8],
    /// The position of the next character.
    at: usize,
}

impl<'t> Parser<'t> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip_spaces(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    /// Skips a character, if it is the next one.
    fn skip(&mut self, character: u8) -> bool {
        self.skip_spaces();
        let is_next = self.peek() == Some(character);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, character: u8, expected: &str) -> Result<(), ApiError> {
        if self.skip(character) { Ok(()) } else { Err(self.wrong(expected)) }
    }

    /// The error for the next character.
    fn wrong(&self, expected: &str) -> ApiError {
        let at = self.at;
        match self.peek() {
            None => ApiError::other(
                Code::Argument,
                &format_args!("the signature ends at [{at}], where {expected} is expected"),
            ),
            Some(byte) => {
                let found = char::from(byte).escape_default();
                let error =
                    format_args!("signature[{at}] is `{found}`, where {expected} is expected");
                ApiError::other(Code::Argument, &error)
            }
        }
    }

    /// The next word, or an empty one.
    fn word(&mut self) -> &'t [u8] {
        self.skip_spaces();
        let rest = self.text.get(self.at..).unwrap_or_default();
        let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'_';
        let word = rest.get(..rest.iter().take_while(is_part).count()).unwrap_or_default();
        self.at += word.len();
        word
    }

    /// The types after `(`, and the `)`.
    fn parameters(&mut self) -> Result<Vec<Type>, ApiError> {
        let mut parameters = Vec::new();
        if self.skip(b')') {
            return Ok(parameters);
        }
        loop {
            self.skip_spaces();
            let start = self.at;
            let ty = self.ty()?;
            let is_none = ty == Type::Void && parameters.is_empty();
            if is_none && self.skip(b')') {
                return Ok(parameters);
            }
            self.add(&mut parameters, ty, start, MAX_PARAMETERS)?;
            if self.skip(b')') {
                return Ok(parameters);
            }
            self.expect(b',', "`,`, `)` or `*`")?;
        }
    }

    /// Adds a type that starts at `start`.
    fn add(
        &self,
        types: &mut Vec<Type>,
        ty: Type,
        start: usize,
        max: usize,
    ) -> Result<(), ApiError> {
        let here = Self { text: self.text, at: start };
        if ty == Type::Void {
            return Err(here.wrong("a type other than void"));
        }
        if types.len() == max {
            return Err(here.wrong("an end of the list, which is at its limit,"));
        }
        Ok(try_push(types, ty)?)
    }

    fn ty(&mut self) -> Result<Type, ApiError> {
        self.skip_spaces();
        if self.peek() == Some(b'{') { self.structure() } else { self.simple() }
    }

    /// `{type, type}`.
    fn structure(&mut self) -> Result<Type, ApiError> {
        self.expect(b'{', "`{`")?;
        let mut fields = Vec::new();
        loop {
            self.skip_spaces();
            let start = self.at;
            let ty = self.simple()?;
            if matches!(ty, Type::Struct(_)) {
                return Err(
                    Self { text: self.text, at: start }.wrong("a type other than a structure")
                );
            }
            self.add(&mut fields, ty, start, MAX_FIELDS)?;
            if self.skip(b'}') {
                return Ok(Type::Struct(fields));
            }
            self.expect(b',', "`,`, `}` or `*`")?;
        }
    }

    /// Words, and stars.
    fn simple(&mut self) -> Result<Type, ApiError> {
        self.skip_spaces();
        let (start, mut words) = (self.at, Words::default());
        loop {
            match self.word() {
                b"" if !words.is_empty() && self.skip(b'*') => {
                    self.rest_of_pointer();
                    return Ok(Type::Pointer);
                }
                b"" if words.is_struct() && self.peek() == Some(b'{') => return self.structure(),
                b"" => break,
                b"const" => {}
                word => words.add(word),
            }
        }
        if words.is_empty() {
            return Err(self.wrong("a type"));
        }
        words.ty().ok_or_else(|| {
            let name = String::from_utf8_lossy(self.text.get(start..self.at).unwrap_or_default());
            let (name, first) = (name.trim_end(), name.chars().next().unwrap_or(' '));
            let error = format_args!(
                "signature[{start}] is `{first}` of `{name}`, which is not a type of a call"
            );
            ApiError::other(Code::Argument, &error)
        })
    }

    /// Further stars, and `const` among them.
    fn rest_of_pointer(&mut self) {
        loop {
            let before = self.at;
            if !self.skip(b'*') && self.word() != b"const" {
                self.at = before;
                return;
            }
        }
    }
}

/// The words of a type, of which at most four have a meaning.
#[derive(Default)]
struct Words<'t> {
    words: [&'t [u8]; 4],
    count: usize,
}

impl<'t> Words<'t> {
    fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn is_struct(&self) -> bool {
        self.count == 1 && self.words.first() == Some(&&b"struct"[..])
    }

    fn add(&mut self, word: &'t [u8]) {
        if let Some(place) = self.words.get_mut(self.count) {
            *place = word;
        }
        self.count += 1;
    }

    fn ty(&self) -> Option<Type> {
        let int = |bytes, signed| Some(Type::Int { bytes, signed });
        let words = self.words.get(..self.count)?;
        if let Some(integer) = integer(words) {
            return Some(integer);
        }
        let [name] = words else { return None };
        match *name {
            b"void" => Some(Type::Void),
            b"float" => Some(Type::Float),
            b"double" => Some(Type::Double),
            b"bool" | b"_Bool" | b"uint8_t" => int(1, false),
            b"int8_t" => int(1, true),
            b"int16_t" => int(2, true),
            b"uint16_t" => int(2, false),
            b"int32_t" => int(4, true),
            b"uint32_t" => int(4, false),
            b"int64_t" | b"intptr_t" | b"ptrdiff_t" | b"ssize_t" => int(8, true),
            b"uint64_t" | b"uintptr_t" | b"size_t" => int(8, false),
            _ => None,
        }
    }
}

/// An integer type of C from its words, which have any order (C17, 6.7.2).
fn integer(words: &[&[u8]]) -> Option<Type> {
    let count = |name: &[u8]| words.iter().filter(|word| **word == name).count();
    let [signed, unsigned] = [&b"signed"[..], b"unsigned"].map(count);
    let [char, short, int, long] = [&b"char"[..], b"short", b"int", b"long"].map(count);
    if signed + unsigned + char + short + int + long != words.len() || signed + unsigned > 1 {
        return None;
    }
    let bytes = match (char, short, int, long) {
        (1, 0, 0, 0) => 1,
        (0, 1, 0 | 1, 0) => 2,
        // `unsigned` alone is an int.
        (0, 0, 0 | 1, 0) => 4,
        (0, 0, 0 | 1, 1 | 2) => 8,
        _ => return None,
    };
    let is_signed = unsigned == 0 && (char == 0 || signed == 1 || c_char::MIN != 0);
    Some(Type::Int { bytes, signed: is_signed })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Signature, String> {
        Signature::parse(text.as_bytes()).map_err(|error| error.to_string())
    }

    fn int(bytes: u8, signed: bool) -> Type {
        Type::Int { bytes, signed }
    }

    #[test]
    fn types_of_c_are_read() {
        use Type::{Double, Float, Pointer, Struct, Void};
        for (text, result, parameters) in [
            ("void()", Void, vec![]),
            (" void ( void ) ", Void, vec![]),
            ("double(float, double)", Double, vec![Float, Double]),
            (
                "int(unsigned,long long,unsigned char)",
                int(4, true),
                vec![int(4, false), int(8, true), int(1, false)],
            ),
            ("const char *(FILE*, struct point const*const*, void **)", Pointer, vec![Pointer; 3]),
            (
                "_Bool(int8_t, uint16_t const, size_t)",
                int(1, false),
                vec![int(1, true), int(2, false), int(8, false)],
            ),
            (
                "{double, int32_t}(struct {float, char *})",
                Struct(vec![Double, int(4, true)]),
                vec![Struct(vec![Float, Pointer])],
            ),
            ("char(short int)", int(1, c_char::MIN != 0), vec![int(2, true)]),
            // As compilers and DWARF spell them.
            (
                "long unsigned(short unsigned int, long long unsigned int, char unsigned)",
                int(8, false),
                vec![int(2, false), int(8, false), int(1, false)],
            ),
            (
                "int signed long(int unsigned, char signed, int long const long)",
                int(8, true),
                vec![int(4, false), int(1, true), int(8, true)],
            ),
        ] {
            assert_eq!(parse(text), Ok(Signature { result, parameters }), "{text}");
        }
    }

    #[test]
    fn first_wrong_character_and_its_place_are_named() {
        for (text, error) in [
            ("", "the signature ends at [0], where a type is expected"),
            ("int", "the signature ends at [3], where `(` or `*` is expected"),
            ("int(", "the signature ends at [4], where a type is expected"),
            ("int(int", "the signature ends at [7], where `,`, `)` or `*` is expected"),
            ("int(int;", "signature[7] is `;`, where `,`, `)` or `*` is expected"),
            ("int(int,)", "signature[8] is `)`, where a type is expected"),
            ("int() x", "signature[6] is `x`, where the end is expected"),
            ("int(int63_t)", "signature[4] is `i` of `int63_t`, which is not a type of a call"),
            (
                "long double()",
                "signature[0] is `l` of `long double`, which is not a type of a call",
            ),
            ("int(int, ...)", "signature[9] is `.`, where a type is expected"),
            ("int(*)", "signature[4] is `*`, where a type is expected"),
            ("*x()", "signature[0] is `*`, where a type is expected"),
            ("{const *}()", "signature[7] is `*`, where a type is expected"),
            (
                "int(long short)",
                "signature[4] is `l` of `long short`, which is not a type of a call",
            ),
            (
                "signed unsigned()",
                "signature[0] is `s` of `signed unsigned`, which is not a type of a call",
            ),
            ("int(int, void)", "signature[9] is `v`, where a type other than void is expected"),
            ("{int(int)", "signature[4] is `(`, where `,`, `}` or `*` is expected"),
            ("{}()", "signature[1] is `}`, where a type is expected"),
            (
                "{int, struct {int}}()",
                "signature[6] is `s`, where a type other than a structure is expected",
            ),
            ("{void}()", "signature[1] is `v`, where a type other than void is expected"),
            ("int(\u{e4})", "signature[4] is `\\u{c3}`, where a type is expected"),
        ] {
            assert_eq!(parse(text).unwrap_err(), error, "{text}");
        }
        let many = |count| format!("int({})", vec!["int"; count].join(","));
        assert_eq!(parse(&many(127)).unwrap().parameters.len(), 127);
        assert!(parse(&many(128)).unwrap_err().contains("signature[512] is `i`"));
        let fields = format!("{{{}}}()", vec!["int"; 17].join(","));
        assert!(parse(&fields).unwrap_err().contains("at its limit"));
    }
}

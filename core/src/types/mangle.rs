//! Mangled symbols of instances: `Vec$i64`, `fn$Pair$i64_f64`.
//!
//! ```text
//! symbol    = ["fn$"] template "$" argument { "_" argument }
//! argument  = word                         primitive type, or a name of letters and digits
//!           | name ".l" list ".g"          named type with arguments
//!           | ".a" argument                array
//!           | ".t" [ list ] ".g"           tuple
//!           | ".f" [ list ] ".r" argument  function with its result
//!           | ".s" lanes ".e" argument     vector of a type that is not a number or boolean
//! ```
//!
//! Letters and digits of a type name are unchanged. `._` is an underscore, `.x` with two hexadecimal
//! digits any other byte. `.n` precedes a type name that equals a primitive type. In a template name `.S`
//! is `$`, and a dot before `S`, `.`, `$` or the end is doubled. Names without special characters, such as
//! those of the published notes, are therefore spelled as in these notes, and the encoding is injective:
//! [`unmangle`] inverts it.
//!
//! Some writers join names that contain underscores without an escape (`Pair$my_type_i64`).
//! [`mangle_plain`] produces this spelling; instance lookup tries it as well.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Display, Write};

use super::term::{MAX_ARGUMENTS, MAX_DEPTH, MAX_NODES, Type, parse_lanes};
use crate::alloc_util::{AllocError, try_to_string};

/// A decoded symbol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mangled {
    /// Whether the symbol starts with `fn$`.
    pub is_function: bool,
    /// The name of the template.
    pub template: String,
    /// The type arguments, at least one.
    pub arguments: Vec<Type>,
}

/// The symbol of the instance of `template` for `arguments`, without the prefix `fn$`. `None` if there are
/// no arguments, a name is empty, or a type contains a variable.
///
/// # Errors
/// No memory.
pub fn mangle(template: &str, arguments: &[Type]) -> Result<Option<String>, AllocError> {
    if template.is_empty() || arguments.is_empty() || !arguments.iter().all(has_symbol) {
        return Ok(None);
    }
    try_to_string(Symbol { template, arguments }).map(Some)
}

/// The symbol in the spelling without escapes: the arguments as text, joined by underscores. `None` if
/// there are no arguments or the template has no name.
///
/// # Errors
/// No memory.
pub fn mangle_plain(template: &str, arguments: &[Type]) -> Result<Option<String>, AllocError> {
    if template.is_empty() || arguments.is_empty() {
        return Ok(None);
    }
    try_to_string(PlainSymbol { template, arguments }).map(Some)
}

/// Whether a type is concrete and all names in it are non-empty.
fn has_symbol(ty: &Type) -> bool {
    let is_named = match ty {
        Type::Named { name, .. } => !name.is_empty(),
        Type::Variable(_) => false,
        _ => true,
    };
    is_named && ty.parts().all(has_symbol)
}

struct Symbol<'s> {
    template: &'s str,
    arguments: &'s [Type],
}

impl Display for Symbol<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_template(f, self.template)?;
        f.write_char('$')?;
        write_list(f, self.arguments)
    }
}

struct PlainSymbol<'s> {
    template: &'s str,
    arguments: &'s [Type],
}

impl Display for PlainSymbol<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.template)?;
        for (index, ty) in self.arguments.iter().enumerate() {
            write!(f, "{}{ty}", if index == 0 { '$' } else { '_' })?;
        }
        Ok(())
    }
}

fn write_template(f: &mut fmt::Formatter<'_>, template: &str) -> fmt::Result {
    let mut chars = template.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '$' => f.write_str(".S")?,
            '.' if matches!(chars.peek(), None | Some('S' | '.' | '$')) => f.write_str("..")?,
            c => f.write_char(c)?,
        }
    }
    Ok(())
}

fn write_list(f: &mut fmt::Formatter<'_>, types: &[Type]) -> fmt::Result {
    for (index, ty) in types.iter().enumerate() {
        f.write_str(if index == 0 { "" } else { "_" })?;
        write_type(f, ty)?;
    }
    Ok(())
}

fn write_type(f: &mut fmt::Formatter<'_>, ty: &Type) -> fmt::Result {
    match ty {
        Type::Named { name, args } => {
            write_name(f, name, !args.is_empty())?;
            if !args.is_empty() {
                f.write_str(".l")?;
                write_list(f, args)?;
                f.write_str(".g")?;
            }
        }
        Type::Array(elem) => {
            f.write_str(".a")?;
            write_type(f, elem)?;
        }
        Type::Simd { lanes, elem } if !elem.is_lane() => {
            write!(f, ".s{lanes}.e")?;
            write_type(f, elem)?;
        }
        Type::Tuple(parts) => {
            f.write_str(".t")?;
            write_list(f, parts)?;
            f.write_str(".g")?;
        }
        Type::Function { args, result } => {
            f.write_str(".f")?;
            write_list(f, args)?;
            f.write_str(".r")?;
            write_type(f, result)?;
        }
        Type::Variable(_) => return Err(fmt::Error),
        // Spelled as one word.
        word => word.fmt(f)?,
    }
    Ok(())
}

fn write_name(f: &mut fmt::Formatter<'_>, name: &str, has_args: bool) -> fmt::Result {
    if !has_args && !Type::is_name(name) {
        f.write_str(".n")?;
    }
    for byte in name.bytes() {
        match byte {
            b'_' => f.write_str("._")?,
            b if b.is_ascii_alphanumeric() => f.write_char(char::from(b))?,
            b => write!(f, ".x{b:02x}")?,
        }
    }
    Ok(())
}

/// Decodes a symbol. `None` if [`mangle`] produces no such symbol, with or without the prefix `fn$`.
pub fn unmangle(symbol: &str) -> Option<Mangled> {
    let (first, rest) = symbol.split_once('$')?;
    let (is_function, template, arguments) = match rest.split_once('$') {
        None => (false, first, rest),
        Some((template, arguments)) if first == "fn" => (true, template, arguments),
        Some(_) => return None,
    };
    let template = decode_template(template)?;
    let mut decoder = Decoder { bytes: arguments.as_bytes(), nodes: 0 };
    let arguments = decoder.list(0)?;
    let sound = decoder.bytes.is_empty() && (1..=MAX_ARGUMENTS).contains(&arguments.len());
    let mangled = Mangled { is_function, template, arguments };
    // Only the canonical spelling is a symbol.
    let again = mangle(&mangled.template, &mangled.arguments).ok()?.filter(|_| sound)?;
    let symbol = if is_function { symbol.strip_prefix("fn$")? } else { symbol };
    (again == symbol).then_some(mangled)
}

fn decode_template(mangled: &str) -> Option<String> {
    let mut template = String::new();
    let mut chars = mangled.chars();
    while let Some(c) = chars.next() {
        match (c, chars.as_str().chars().next()) {
            ('.', Some('S')) => template.push('$'),
            ('.', Some('.')) => template.push('.'),
            (c, _) => {
                template.push(c);
                continue;
            }
        }
        chars.next();
    }
    (!template.is_empty()).then_some(template)
}

struct Decoder<'s> {
    bytes: &'s [u8],
    nodes: usize,
}

impl Decoder<'_> {
    fn consume(&mut self, token: &[u8]) -> bool {
        let rest = self.bytes.strip_prefix(token);
        self.bytes = rest.unwrap_or(self.bytes);
        rest.is_some()
    }

    fn list(&mut self, depth: usize) -> Option<Vec<Type>> {
        let mut list = Vec::new();
        if matches!(self.bytes, [] | [b'.', b'g' | b'r', ..]) {
            return Some(list);
        }
        loop {
            list.push(self.ty(depth + 1)?);
            if !self.consume(b"_") {
                return Some(list);
            }
        }
    }

    fn ty(&mut self, depth: usize) -> Option<Type> {
        self.nodes += 1;
        if depth > MAX_DEPTH || self.nodes > MAX_NODES {
            return None;
        }
        if self.consume(b".a") {
            return Some(Type::Array(Box::new(self.ty(depth + 1)?)));
        }
        if self.consume(b".t") {
            let parts = self.list(depth)?;
            return self.consume(b".g").then_some(Type::Tuple(parts));
        }
        if self.consume(b".f") {
            let args = self.list(depth)?;
            let result = if self.consume(b".r") { self.ty(depth + 1)? } else { return None };
            return Some(Type::Function { args, result: Box::new(result) });
        }
        if self.consume(b".s") {
            let lanes = parse_lanes(&self.name()?)?;
            let elem = if self.consume(b".e") { self.ty(depth + 1)? } else { return None };
            return Some(Type::Simd { lanes, elem: Box::new(elem) });
        }
        self.named(depth)
    }

    fn named(&mut self, depth: usize) -> Option<Type> {
        let escaped = self.consume(b".n");
        let name = self.name()?;
        if self.consume(b".l") {
            let args = self.list(depth)?;
            return self.consume(b".g").then(|| Type::Named { name: name.into(), args });
        }
        let plain = || Type::Named { name: name.as_str().into(), args: Vec::new() };
        Some(if escaped { plain() } else { Type::from_word(&name).ok()? })
    }

    /// Consumes and decodes a name.
    fn name(&mut self) -> Option<String> {
        let mut name = Vec::new();
        loop {
            match self.bytes {
                [b'.', b'_', rest @ ..] => {
                    name.push(b'_');
                    self.bytes = rest;
                }
                [b'.', b'x', high, low, rest @ ..] => {
                    let digit = |b: &u8| char::from(*b).to_digit(16);
                    name.push(u8::try_from(digit(high)? << 4 | digit(low)?).ok()?);
                    self.bytes = rest;
                }
                [byte, rest @ ..] if byte.is_ascii_alphanumeric() => {
                    name.push(*byte);
                    self.bytes = rest;
                }
                _ => break,
            }
        }
        String::from_utf8(name).ok().filter(|name| !name.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::format;

    use super::super::testing::Random;
    use super::*;
    use crate::testing::some;

    #[test]
    fn symbols_of_published_notes_are_produced() {
        for (template, cell, symbol) in [
            ("List", "Int", "List$Int"),
            ("Vec", "i64", "Vec$i64"),
            ("Pair", "i64,f64", "Pair$i64_f64"),
            ("Map", "text,i64", "Map$text_i64"),
            ("my_fn", "f32x4", "my_fn$f32x4"),
            ("std.Vec.push", "u8", "std.Vec.push$u8"),
            ("Vec", "Vec<i64>", "Vec$Vec.li64.g"),
            ("f", "[i64],(i8,u8),fn(i8)->bool", "f$.ai64_.ti8_u8.g_.fi8.rbool"),
            ("f", "my_type", "f$my._type"),
        ] {
            let arguments = Type::parse_arguments(cell).unwrap();
            assert_eq!(mangle(template, &arguments).unwrap().as_deref(), Some(symbol));
            for (text, is_function) in [(symbol.into(), false), (format!("fn${symbol}"), true)] {
                let mangled = unmangle(&text).unwrap();
                let expected = Mangled {
                    is_function,
                    template: template.into(),
                    arguments: arguments.clone(),
                };
                assert_eq!(mangled, expected);
            }
        }
        let arguments = Type::parse_arguments("my_type,i64").unwrap();
        let plain = mangle_plain("Pair", &arguments).unwrap();
        assert_eq!(plain.as_deref(), Some("Pair$my_type_i64"));
    }

    #[test]
    fn mangling_is_injective_and_unmangle_inverts_it() {
        let mut random = Random(11);
        let mut seen: HashMap<String, (String, Vec<Type>)> = HashMap::new();
        for _ in some(0..30_000, 40) {
            let template: String = random.name().into();
            let arguments: Vec<_> = (0..1 + random.below(3)).map(|_| random.ty(4, false)).collect();
            let symbol = mangle(&template, &arguments).unwrap().unwrap();
            let instance = (template.clone(), arguments.clone());
            let known = seen.entry(symbol.clone()).or_insert_with(|| instance.clone());
            assert_eq!(*known, instance, "{symbol}");
            for (text, is_function) in [(symbol.clone(), false), (format!("fn${symbol}"), true)] {
                let found = unmangle(&text).unwrap_or_else(|| panic!("{text} of {instance:?}"));
                let (template, arguments) = instance.clone();
                assert_eq!(found, Mangled { is_function, template, arguments }, "{text}");
            }
        }
    }

    #[test]
    fn malformed_symbols_are_refused() {
        for symbol in [
            "",
            "Vec",
            "Vec$",
            "$i64",
            "fn$Vec$",
            "fn$$i64",
            "a$b$c",
            "fn$a$b$c",
            "Vec$i64_",
            "Vec$_i64",
            "Vec$.z",
            "Vec$.x4",
            "Vec$.x41",
            "Vec$Vec.li64",
            "Vec$Vec.l.g",
            "Vec$i64.g",
            "Vec$.ni65",
            "Vec$.s4.ei8",
            "Vec$.s0.eVec",
            "Vec$a b",
            "a..b$i64",
        ] {
            assert_eq!(unmangle(symbol), None, "{symbol}");
        }
        assert_eq!(unmangle(&("f$".to_owned() + &".a".repeat(100_000) + "i8")), None);
        assert_eq!(mangle("Vec", &[]), Ok(None));
        assert_eq!(mangle("Vec", &[Type::Variable("T".into())]), Ok(None));
    }

    use std::borrow::ToOwned;
}

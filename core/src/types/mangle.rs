//! The symbol that an instance has: `Vec$i64`, `fn$Pair$i64_f64`.
//!
//! ```text
//! symbol    = ["fn$"] template "$" argument { "_" argument }
//! argument  = word                         a primitive type, or a named one of letters and digits
//!           | name ".l" list ".g"          a named type with arguments
//!           | ".a" argument                an array
//!           | ".t" [ list ] ".g"           a tuple
//!           | ".f" [ list ] ".r" argument  a function and its result
//!           | ".s" lanes ".e" argument     a vector of something that is no number
//! ```
//!
//! Letters and digits of a type's name stand as they are. `._` is an underscore, `.x` and two hexadecimal
//! digits any other byte; `.n` stands before the name of a type that would read as a primitive one.
//! In the template's name `$` is `.S`, and a dot before `S`, `.`, `$` or the end is doubled; every other
//! dot is one. So whatever has no need of any of that, as all symbols in the published notes, is spelled
//! as they spell it, and [`unmangle`] finds exactly one meaning for every symbol that [`mangle`] makes.
//!
//! A writer that joins names with underscores in them says `Pair$my_type_i64`. [`mangle_plain`] spells
//! as it does; who looks for an instance tries that as well.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use super::{MAX_ARGUMENTS, MAX_DEPTH, MAX_LANES, MAX_NODES, Type, Word, number};
use crate::alloc_util::{AllocError, TryWriter};

/// What a symbol says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mangled {
    /// Whether it begins with `fn$`.
    pub is_function: bool,
    /// The template.
    pub template: String,
    /// What it is made with, at least one type.
    pub arguments: Vec<Type>,
}

/// The symbol of `template` made with `arguments`, without `fn$` in front; `None` when there are no
/// arguments, a name is empty, or a type is not known.
pub fn mangle(template: &str, arguments: &[Type]) -> Option<String> {
    let mut symbol = String::new();
    put_symbol(&mut symbol, template, arguments)?;
    Some(symbol)
}

/// As [`mangle`], in the words of writers that know no nesting: every argument as text spells it, with
/// underscores between them.
pub fn mangle_plain(template: &str, arguments: &[Type]) -> Option<String> {
    let mut symbol = String::new();
    put_plain(&mut symbol, template, arguments)?;
    Some(symbol)
}

/// As [`mangle`], where memory may be refused.
pub(crate) fn try_mangle(template: &str, arguments: &[Type]) -> Result<Option<String>, AllocError> {
    tried(|symbol| put_symbol(symbol, template, arguments))
}

/// As [`mangle_plain`], where memory may be refused.
pub(crate) fn try_mangle_plain(
    template: &str,
    arguments: &[Type],
) -> Result<Option<String>, AllocError> {
    tried(|symbol| put_plain(symbol, template, arguments))
}

fn tried(put: impl Fn(&mut dyn Write) -> Option<()>) -> Result<Option<String>, AllocError> {
    // Where that goes well there is no other reason than memory.
    if put(&mut Nowhere).is_none() {
        return Ok(None);
    }
    let mut symbol = String::new();
    put(&mut TryWriter(&mut symbol)).ok_or(AllocError)?;
    Ok(Some(symbol))
}

/// Takes any text.
struct Nowhere;

impl Write for Nowhere {
    fn write_str(&mut self, _: &str) -> fmt::Result {
        Ok(())
    }
}

fn put_symbol(symbol: &mut dyn Write, template: &str, arguments: &[Type]) -> Option<()> {
    let known = arguments.iter().all(|ty| ty.is_concrete());
    if template.is_empty() || arguments.is_empty() || !known {
        return None;
    }
    put_template(symbol, template)?;
    symbol.write_char('$').ok()?;
    put_list(symbol, arguments)
}

fn put_plain(symbol: &mut dyn Write, template: &str, arguments: &[Type]) -> Option<()> {
    if template.is_empty() || arguments.is_empty() {
        return None;
    }
    symbol.write_str(template).ok()?;
    for (index, ty) in arguments.iter().enumerate() {
        write!(symbol, "{}{ty}", if index == 0 { '$' } else { '_' }).ok()?;
    }
    Some(())
}

fn put_template(symbol: &mut dyn Write, template: &str) -> Option<()> {
    let mut chars = template.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '$' => symbol.write_str(".S").ok()?,
            '.' if matches!(chars.peek(), None | Some('S' | '.' | '$')) => {
                symbol.write_str("..").ok()?
            }
            c => symbol.write_char(c).ok()?,
        }
    }
    Some(())
}

fn put_list(symbol: &mut dyn Write, types: &[Type]) -> Option<()> {
    for (index, ty) in types.iter().enumerate() {
        symbol.write_str(if index == 0 { "" } else { "_" }).ok()?;
        put_type(symbol, ty)?;
    }
    Some(())
}

fn put_type(symbol: &mut dyn Write, ty: &Type) -> Option<()> {
    match ty {
        Type::Named { name, args } => {
            put_name(symbol, name, args.is_empty())?;
            if !args.is_empty() {
                symbol.write_str(".l").ok()?;
                put_list(symbol, args)?;
                symbol.write_str(".g").ok()?;
            }
        }
        Type::Array(elem) => {
            symbol.write_str(".a").ok()?;
            put_type(symbol, elem)?;
        }
        Type::Simd { lanes, elem } if !elem.is_lane() => {
            write!(symbol, ".s{lanes}.e").ok()?;
            put_type(symbol, elem)?;
        }
        Type::Tuple(parts) => {
            symbol.write_str(".t").ok()?;
            put_list(symbol, parts)?;
            symbol.write_str(".g").ok()?;
        }
        Type::Function { args, result } => {
            symbol.write_str(".f").ok()?;
            put_list(symbol, args)?;
            symbol.write_str(".r").ok()?;
            put_type(symbol, result)?;
        }
        Type::Variable(_) => return None,
        // What is left is a word.
        word => write!(symbol, "{word}").ok()?,
    }
    Some(())
}

fn put_name(symbol: &mut dyn Write, name: &str, alone: bool) -> Option<()> {
    if name.is_empty() {
        return None;
    }
    if alone && !matches!(Type::known_word(name), Word::Name) {
        symbol.write_str(".n").ok()?;
    }
    for byte in name.bytes() {
        match byte {
            b'_' => symbol.write_str("._").ok()?,
            b if b.is_ascii_alphanumeric() => symbol.write_char(char::from(b)).ok()?,
            b => write!(symbol, ".x{b:02x}").ok()?,
        }
    }
    Some(())
}

/// What `symbol` says; `None` when [`mangle`] makes no such symbol, with or without `fn$` in front.
pub fn unmangle(symbol: &str) -> Option<Mangled> {
    let (first, rest) = symbol.split_once('$')?;
    let (is_function, template, arguments) = match rest.split_once('$') {
        None => (false, first, rest),
        Some((template, arguments)) if first == "fn" => (true, template, arguments),
        Some(_) => return None,
    };
    let template = template_of(template)?;
    let mut reader = Reader { bytes: arguments.as_bytes(), nodes: 0 };
    let arguments = reader.list(0)?;
    let sound = reader.bytes.is_empty() && (1..=MAX_ARGUMENTS).contains(&arguments.len());
    let mangled = Mangled { is_function, template, arguments };
    // There may be more ways to write it; only one is its symbol.
    let again = mangle(&mangled.template, &mangled.arguments).filter(|_| sound)?;
    let symbol = if is_function { symbol.strip_prefix("fn$")? } else { symbol };
    (again == symbol).then_some(mangled)
}

fn template_of(mangled: &str) -> Option<String> {
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

struct Reader<'s> {
    bytes: &'s [u8],
    nodes: usize,
}

impl Reader<'_> {
    fn takes(&mut self, token: &[u8]) -> bool {
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
            if !self.takes(b"_") {
                return Some(list);
            }
        }
    }

    fn ty(&mut self, depth: usize) -> Option<Type> {
        self.nodes += 1;
        if depth > MAX_DEPTH || self.nodes > MAX_NODES {
            return None;
        }
        if self.takes(b".a") {
            return Some(Type::Array(Box::new(self.ty(depth + 1)?)));
        }
        if self.takes(b".t") {
            let parts = self.list(depth)?;
            return self.takes(b".g").then_some(Type::Tuple(parts));
        }
        if self.takes(b".f") {
            let args = self.list(depth)?;
            let result = if self.takes(b".r") { self.ty(depth + 1)? } else { return None };
            return Some(Type::Function { args, result: Box::new(result) });
        }
        if self.takes(b".s") {
            let lanes = number(&self.name()?).filter(|lanes| (1..=MAX_LANES).contains(lanes))?;
            let elem = if self.takes(b".e") { self.ty(depth + 1)? } else { return None };
            return Some(Type::Simd { lanes, elem: Box::new(elem) });
        }
        self.named(depth)
    }

    fn named(&mut self, depth: usize) -> Option<Type> {
        let escaped = self.takes(b".n");
        let name = self.name()?;
        if self.takes(b".l") {
            let args = self.list(depth)?;
            return self.takes(b".g").then(|| Type::Named { name: name.into(), args });
        }
        let plain = || Type::Named { name: name.as_str().into(), args: Vec::new() };
        Some(if escaped { plain() } else { Type::of_word(&name) })
    }

    /// The characters of a name up to something that is none.
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

    use super::super::tests::Numbers;
    use super::*;
    use crate::testing::some;

    #[test]
    fn plain_symbols_are_those_of_the_notes() {
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
            assert_eq!(mangle(template, &arguments).as_deref(), Some(symbol));
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
        assert_eq!(mangle_plain("Pair", &arguments).as_deref(), Some("Pair$my_type_i64"));
    }

    #[test]
    fn every_instance_has_a_symbol_and_every_symbol_one_instance() {
        let mut numbers = Numbers(11);
        let mut seen: HashMap<String, (String, Vec<Type>)> = HashMap::new();
        for _ in some(0..30_000, 40) {
            let template: String = numbers.name().into();
            let arguments: Vec<_> =
                (0..1 + numbers.below(3)).map(|_| numbers.ty(4, false)).collect();
            let symbol = mangle(&template, &arguments).unwrap();
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
    fn what_is_no_symbol_is_refused() {
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
        assert_eq!(mangle("Vec", &[]), None);
        assert_eq!(mangle("Vec", &[Type::Variable("T".into())]), None);
    }

    use std::borrow::ToOwned;
}

//! From a mangled symbol back to a template and its type arguments.
//!
//! [`demangle`] is the inverse of [`mangle`]. [`demangle_foreign`] reads the spellings of the Simple compiler: its current one
//! (`arr_i64`, `str`) and its older one, which merges the widths of numbers (`Int`, `Float`, `Array_Int`). A type
//! `Int` or `Float` of the older spelling is an [alias](is_alias_of) of every integer or float.

use alloc::string::String;
use alloc::vec::Vec;

use super::mangle::mangle;
use super::term::{MAX_ARGUMENTS, MAX_DEPTH, Type, parse_lanes};
use crate::alloc_util::{AllocError, try_box, try_copy_str, try_push};

/// The template and the type arguments of a [mangled](mangle) symbol without the prefix `fn$`; `None` for any other text.
///
/// # Errors
/// No memory.
pub fn demangle(symbol: &str) -> Result<Option<(String, Vec<Type>)>, AllocError> {
    let Some((template, arguments)) = symbol.rsplit_once('$') else { return Ok(None) };
    let template = template_name(template)?;
    let mut parser = Parser { rest: arguments, depth: 0 };
    let Some(arguments) = parser.list()? else { return Ok(None) };
    if !parser.rest.is_empty() || arguments.len() > MAX_ARGUMENTS {
        return Ok(None);
    }
    // Other spellings of a name are none that `mangle` produces.
    let is_own = mangle(&template, &arguments)?.as_deref() == Some(symbol);
    Ok(is_own.then_some((template, arguments)))
}

fn template_name(text: &str) -> Result<String, AllocError> {
    let mut name = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let c = match (c, chars.peek()) {
            ('.', Some('S')) => '$',
            ('.', Some('.')) => '.',
            (c, _) => {
                push(&mut name, c)?;
                continue;
            }
        };
        chars.next();
        push(&mut name, c)?;
    }
    Ok(name)
}

fn push(text: &mut String, c: char) -> Result<(), AllocError> {
    text.try_reserve(c.len_utf8()).map_err(|_| AllocError)?;
    text.push(c);
    Ok(())
}

struct Parser<'t> {
    rest: &'t str,
    depth: usize,
}

/// A parsed part; `None` for text that is not mangled.
type Parsed<T> = Result<Option<T>, AllocError>;

impl Parser<'_> {
    fn consume(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// At least one type.
    fn list(&mut self) -> Parsed<Vec<Type>> {
        let mut types = Vec::new();
        loop {
            let Some(ty) = self.ty()? else { return Ok(None) };
            if types.len() == MAX_ARGUMENTS {
                return Ok(None);
            }
            try_push(&mut types, ty)?;
            if !self.consume("_") {
                return Ok(Some(types));
            }
        }
    }

    /// Types up to `end`.
    fn list_until(&mut self, end: &str) -> Parsed<Vec<Type>> {
        if self.consume(end) {
            return Ok(Some(Vec::new()));
        }
        let types = self.list()?;
        Ok(types.filter(|_| self.consume(end)))
    }

    fn ty(&mut self) -> Parsed<Type> {
        if self.depth == MAX_DEPTH {
            return Ok(None);
        }
        self.depth += 1;
        let ty = self.constructor();
        self.depth -= 1;
        ty
    }

    fn constructor(&mut self) -> Parsed<Type> {
        if self.consume(".a") {
            let elem = self.ty()?.map(try_box).transpose()?;
            return Ok(elem.map(Type::Array));
        }
        if self.consume(".t") {
            return Ok(self.list_until(".g")?.map(Type::Tuple));
        }
        if self.consume(".f") {
            let Some(args) = self.list_until(".r")? else { return Ok(None) };
            let result = self.ty()?.map(try_box).transpose()?;
            return Ok(result.map(|result| Type::Function { args, result }));
        }
        if self.consume(".s") {
            let (lanes, rest) = self.rest.split_once(".e").unwrap_or(("", ""));
            let Some(lanes) = parse_lanes(lanes) else { return Ok(None) };
            self.rest = rest;
            let elem = self.ty()?.map(try_box).transpose()?;
            return Ok(elem.map(|elem| Type::Simd { lanes, elem }));
        }
        self.named()
    }

    fn named(&mut self) -> Parsed<Type> {
        let is_marked = self.consume(".n");
        let mut bytes = Vec::new();
        let mut is_plain = !is_marked;
        while let Some(&byte) = self.rest.as_bytes().first() {
            let byte = if byte.is_ascii_alphanumeric() {
                self.rest = self.rest.get(1..).unwrap_or("");
                byte
            } else if self.consume("._") {
                is_plain = false;
                b'_'
            } else if let Some(hex) = self.rest.strip_prefix(".x").and_then(|rest| rest.get(..2)) {
                let Ok(byte) = u8::from_str_radix(hex, 16) else { return Ok(None) };
                self.rest = self.rest.get(4..).unwrap_or("");
                is_plain = false;
                byte
            } else {
                break;
            };
            try_push(&mut bytes, byte)?;
        }
        let Ok(name) = core::str::from_utf8(&bytes) else { return Ok(None) };
        if name.is_empty() {
            return Ok(None);
        }
        let args = if self.consume(".l") {
            let Some(args) = self.list_until(".g")? else { return Ok(None) };
            args
        } else if is_plain {
            return Type::from_word(name).map(Some);
        } else {
            Vec::new()
        };
        Ok(Some(Type::Named { name: try_copy_str(name)?.into_boxed_str(), args }))
    }
}

/// The `count` type arguments that the Simple compiler spells as `text`; `None` if it is no such list.
///
/// A single name may contain underscores. Of several names none may.
///
/// # Errors
/// No memory.
pub fn demangle_foreign(text: &str, count: usize) -> Result<Option<Vec<Type>>, AllocError> {
    let mut rest = text;
    let mut types = Vec::new();
    for index in 0..count {
        let is_last = index + 1 == count;
        let Some(ty) = foreign(&mut rest, is_last, 0)? else { return Ok(None) };
        try_push(&mut types, ty)?;
    }
    Ok((rest.is_empty() && count > 0).then_some(types))
}

/// The next type of `rest`. The last one is the whole rest if it is a name.
fn foreign(rest: &mut &str, is_last: bool, depth: usize) -> Parsed<Type> {
    let (word, behind) = rest.split_once('_').unwrap_or((rest, ""));
    if word.is_empty() || depth == MAX_DEPTH {
        return Ok(None);
    }
    if matches!(word, "arr" | "Array") && !behind.is_empty() {
        *rest = behind;
        let elem = foreign(rest, is_last, depth + 1)?.map(try_box).transpose()?;
        return Ok(elem.map(Type::Array));
    }
    let ty = match word {
        "str" | "String" => Type::Text,
        "Bool" => Type::Bool,
        word => Type::from_word(word)?,
    };
    if matches!(ty, Type::Named { .. }) && is_last {
        let whole = core::mem::take(rest);
        return Type::from_word(whole).map(Some);
    }
    *rest = behind;
    Ok(Some(ty))
}

/// Whether a type of the older spelling of the Simple compiler can mean `ty`: `Int` any integer, `Float` any float.
pub fn is_alias_of(alias: &Type, ty: &Type) -> bool {
    match (alias, ty) {
        (Type::Named { name, args }, Type::Int { .. }) if args.is_empty() => &**name == "Int",
        (Type::Named { name, args }, Type::Float { .. }) if args.is_empty() => &**name == "Float",
        (Type::Array(one), Type::Array(other)) => is_alias_of(one, other),
        (alias, ty) => alias == ty,
    }
}

/// Whether a type of the older spelling stands for several types.
pub fn is_alias(ty: &Type) -> bool {
    match ty {
        Type::Named { name, args } => args.is_empty() && matches!(&**name, "Int" | "Float"),
        Type::Array(elem) => is_alias(elem),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::super::term::TypeList;
    use super::super::testing::Random;
    use super::*;
    use crate::testing::some;

    #[test]
    fn demangle_is_the_inverse_of_mangle() {
        let mut random = Random(17);
        for _ in some(0..20_000, 40) {
            let template: String = random.name().into();
            let arguments: Vec<_> = (0..1 + random.below(3)).map(|_| random.ty(4, false)).collect();
            let symbol = mangle(&template, &arguments).unwrap().unwrap();
            assert_eq!(demangle(&symbol).unwrap(), Some((template, arguments)), "{symbol}");
        }
    }

    #[test]
    fn text_that_mangle_does_not_produce_is_refused() {
        for text in [
            "",
            "max",
            "max$",
            "$i64",
            "max$i64_",
            "max$_i64",
            "max$.a",
            "max$.ti8",
            "max$.x4",
            "max$a-b",
            "max$.ni65",
            "max$.s0.ei8",
            "max$.xff",
            "max$Vec.l.g",
        ] {
            assert_eq!(demangle(text).unwrap(), None, "{text}");
        }
        let deep = std::format!("max${}i64", ".a".repeat(1000));
        assert_eq!(demangle(&deep).unwrap(), None);
    }

    #[test]
    fn spellings_of_the_compiler_are_read() {
        for (text, count, expected) in [
            ("str", 1, "text"),
            ("arr_i64", 1, "[i64]"),
            ("Array_Int", 1, "[Int]"),
            ("Int_String", 2, "Int, text"),
            ("Bool_arr_f64", 2, "bool, [f64]"),
            ("my_type", 1, "my_type"),
            ("i64_my_type", 2, "i64, my_type"),
        ] {
            let found = demangle_foreign(text, count).unwrap().unwrap();
            assert_eq!(TypeList(&found).to_string(), expected);
        }
        for (text, count) in [("i64", 2), ("i64_i64", 1), ("", 1), ("_", 1), ("i64", 0)] {
            assert_eq!(demangle_foreign(text, count).unwrap(), None, "{text} {count}");
        }
    }

    #[test]
    fn older_spelling_is_an_alias_of_every_width() {
        let int = Type::from_word("Int").unwrap();
        assert!(is_alias(&int) && is_alias_of(&int, &Type::I64));
        assert!(is_alias_of(&int, &Type::int(8, false)) && !is_alias_of(&int, &Type::F64));
        let floats = Type::Array(std::boxed::Box::new(Type::from_word("Float").unwrap()));
        let doubles = Type::Array(std::boxed::Box::new(Type::F64));
        assert!(is_alias_of(&floats, &doubles) && !is_alias_of(&int, &doubles));
        assert!(!is_alias(&doubles) && is_alias(&floats));
    }
}

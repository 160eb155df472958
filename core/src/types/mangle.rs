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
//! those of the published notes, are therefore spelled as in these notes, and the encoding is injective.
//!
//! Some writers join names that contain underscores without an escape (`Pair$my_type_i64`).
//! [`mangle_plain`] produces this spelling; instance lookup tries it as well.

use alloc::string::String;
use core::fmt::{self, Display, Write};
use core::slice::from_ref;

use super::term::Type;
use crate::alloc_util::{AllocError, try_to_string};

/// The symbol of the instance of `template` for `arguments`, without the prefix `fn$`. `None` if there are
/// no arguments, a name is empty, or a type contains a variable.
///
/// # Errors
/// No memory.
pub fn mangle(template: &str, arguments: &[Type]) -> Result<Option<String>, AllocError> {
    if template.is_empty() || arguments.is_empty() || !arguments.iter().all(has_symbol) {
        return Ok(None);
    }
    let symbol = fmt::from_fn(|f| {
        write_template(f, template)?;
        write!(f, "${}", List(arguments))
    });
    try_to_string(symbol).map(Some)
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
    let symbol = fmt::from_fn(|f| {
        f.write_str(template)?;
        for (index, ty) in arguments.iter().enumerate() {
            write!(f, "{}{ty}", if index == 0 { '$' } else { '_' })?;
        }
        Ok(())
    });
    try_to_string(symbol).map(Some)
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

/// Mangled types, separated by underscores.
struct List<'t>(&'t [Type]);

impl Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, ty) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "_" })?;
            write_type(f, ty)?;
        }
        Ok(())
    }
}

fn write_type(f: &mut fmt::Formatter<'_>, ty: &Type) -> fmt::Result {
    match ty {
        Type::Named { name, args } if args.is_empty() => write_name(f, name, false),
        Type::Named { name, args } => {
            write_name(f, name, true)?;
            write!(f, ".l{}.g", List(args))
        }
        Type::Array(elem) => write!(f, ".a{}", List(from_ref(elem))),
        Type::Simd { lanes, elem } if !elem.is_lane() => {
            write!(f, ".s{lanes}.e{}", List(from_ref(elem)))
        }
        Type::Tuple(parts) => write!(f, ".t{}.g", List(parts)),
        Type::Function { args, result } => {
            write!(f, ".f{}.r{}", List(args), List(from_ref(result)))
        }
        Type::Variable(_) => Err(fmt::Error),
        // Spelled as one word.
        word => word.fmt(f),
    }
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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::vec::Vec;

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
        }
        let arguments = Type::parse_arguments("my_type,i64").unwrap();
        let plain = mangle_plain("Pair", &arguments).unwrap();
        assert_eq!(plain.as_deref(), Some("Pair$my_type_i64"));
    }

    #[test]
    fn mangling_is_injective() {
        let mut random = Random(11);
        let mut seen: HashMap<String, (String, Vec<Type>)> = HashMap::new();
        for _ in some(0..30_000, 40) {
            let template: String = random.name().into();
            let arguments: Vec<_> = (0..1 + random.below(3)).map(|_| random.ty(4, false)).collect();
            let symbol = mangle(&template, &arguments).unwrap().unwrap();
            let instance = (template.clone(), arguments.clone());
            let known = seen.entry(symbol.clone()).or_insert_with(|| instance.clone());
            assert_eq!(*known, instance, "{symbol}");
        }
    }

    #[test]
    fn instance_without_arguments_or_with_a_variable_has_no_symbol() {
        assert_eq!(mangle("Vec", &[]), Ok(None));
        assert_eq!(mangle("Vec", &[Type::Variable("T".into())]), Ok(None));
    }
}

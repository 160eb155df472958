//! The symbols of an instance.

use alloc::string::String;
use alloc::vec::Vec;

use crate::alloc_util::{AllocError, try_copy_str, try_push, try_to_string};
use crate::types::{Type, mangle, mangle_plain};

/// The prefix of function symbols.
pub(super) const FUNCTION: &str = "fn$";

/// The symbols by which notes may list the instance of `template` for `arguments`, or by which it may exist already. It is
/// the first of these that is known, or else made under the first, which has the prefix `fn$` if `is_prefixed`. Empty if
/// it has no symbol.
///
/// # Errors
/// No memory.
pub fn instance_symbols(
    template: &str,
    arguments: &[Type],
    is_prefixed: bool,
) -> Result<Vec<String>, AllocError> {
    let mut symbols = Vec::new();
    if arguments.is_empty() {
        // A specialisation, which has the name of an instance.
        try_push(&mut symbols, try_copy_str(template)?)?;
        return Ok(symbols);
    }
    let Some(usual) = mangle(template, arguments)? else { return Ok(symbols) };
    // Notes may use the spelling without escapes.
    let plain = mangle_plain(template, arguments)?.filter(|plain| *plain != usual);
    for name in [Some(&usual), plain.as_ref()].into_iter().flatten() {
        for is_prefixed in [is_prefixed, !is_prefixed] {
            let prefix = if is_prefixed { FUNCTION } else { "" };
            try_push(&mut symbols, try_to_string(format_args!("{prefix}{name}"))?)?;
        }
    }
    Ok(symbols)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbols(template: &str, arguments: &str, is_prefixed: bool) -> Vec<String> {
        let arguments = Type::parse_arguments(arguments).unwrap();
        instance_symbols(template, &arguments, is_prefixed).unwrap()
    }

    #[test]
    fn symbols_begin_with_the_one_by_which_a_new_instance_is_made() {
        assert_eq!(symbols("max", "i64", false), ["max$i64", "fn$max$i64"]);
        assert_eq!(symbols("max", "i64", true), ["fn$max$i64", "max$i64"]);
        let escaped = symbols("max", "Vec<i64>", true);
        assert_eq!(escaped.len(), 4);
        assert_eq!(escaped[2..], ["fn$max$Vec<i64>", "max$Vec<i64>"]);
        assert!(symbols("", "i64", false).is_empty());
        assert_eq!(instance_symbols("max$i64", &[], true).unwrap(), ["max$i64"]);
    }
}

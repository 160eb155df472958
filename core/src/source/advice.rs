//! What a message proposes to write instead of an unknown word.

/// Words that start a statement or declaration.
const STATEMENTS: &[&str] = &[
    "assert", "break", "const", "continue", "elif", "else", "enum", "extern", "for", "impl",
    "import", "let", "loop", "match", "pass", "print", "return", "struct", "use", "val", "var",
    "while",
];

/// Functions of the language.
const FUNCTIONS: [&str; 9] =
    ["print", "eprint", "print_raw", "len", "abs", "min", "max", "sqrt", "floor"];

/// Methods of the language.
const METHODS: [&str; 13] = [
    "len", "length", "abs", "min", "max", "sqrt", "floor", "fdiv", "to_i32", "to_i64", "to_u64",
    "to_f32", "to_f64",
];

/// The statement word that `word` may have been meant to be.
pub(super) fn statement_word(word: &str) -> Option<&'static str> {
    similar(word, STATEMENTS.iter().copied())
}

/// The function of the language that `name` may have been meant to be.
pub(super) fn similar_function(name: &str) -> Option<&'static str> {
    similar(name, FUNCTIONS)
}

/// The same for a method.
pub(super) fn similar_method(name: &str) -> Option<&'static str> {
    similar(name, METHODS)
}

/// The first of `names` that `word` may have been meant to be.
pub(super) fn similar<'n>(word: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    names.into_iter().find(|&name| name != word && is_similar(word, name))
}

/// Whether two words differ by one letter, or by two letters that stand in the other order.
fn is_similar(one: &str, two: &str) -> bool {
    let (one, two) = (one.as_bytes(), two.as_bytes());
    if one.len() < 3 || one.len().abs_diff(two.len()) > 1 {
        return false;
    }
    let before = one.iter().zip(two).take_while(|(a, b)| a == b).count();
    let after = one.iter().rev().zip(two.iter().rev()).take_while(|(a, b)| a == b).count();
    let is_swapped = || {
        let (a, b) = (one.get(before..before + 2), two.get(before..before + 2));
        one.len() == two.len() && a.zip(b).is_some_and(|(a, b)| a.iter().eq(b.iter().rev()))
    };
    let longest = one.len().max(two.len());
    before + after + 1 >= longest || before + after + 2 == longest && is_swapped()
}

/// What to write instead of a word of another language.
pub(super) fn other_language(word: &str) -> Option<&'static str> {
    Some(match word {
        "def" | "func" | "fun" | "function" => "a function begins with `fn`",
        "del" => "a variable ends with its block",
        "repeat" => "write `for i in 0..n:`",
        "unless" => "write `if not (c):`",
        "guard" => "write `if not (c): return`",
        "null" | "None" | "Some" => "there are no optional values; use an enum",
        "Ok" | "Err" => "there are no results with errors; use an enum",
        "str" | "to_string" | "String" => "texts are literals for printing",
        "unsafe" => "raw pointers need no mark",
        "switch" => "write `match`, with arms `case p:`",
        "True" => "write `true`",
        "False" => "write `false`",
        "println" | "printf" | "echo" | "puts" => "write `print`",
        "elsif" | "elseif" => "write `elif`",
        "foreach" => "write `for x in values:`",
        "new" => "a struct is made as `P(x: 1)`, without `new`",
        "do" => "write `loop:` or `while c:`",
        "raise" | "except" | "catch" | "finally" => {
            "there are no exceptions; return a bool or an enum"
        }
        _ => return None,
    })
}

/// The type that has another name in other languages.
pub(super) fn other_type(name: &str) -> Option<&'static str> {
    Some(match name {
        "string" | "Text" => "text",
        "Int" | "Integer" | "integer" | "long" => "i64",
        "uint" | "unsigned" => "u64",
        "short" => "i16",
        "byte" => "u8",
        "Float" | "Double" | "double" | "real" => "f64",
        "Bool" | "Boolean" | "boolean" => "bool",
        "Void" | "Unit" | "None" => "()",
        _ => return None,
    })
}

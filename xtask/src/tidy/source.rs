//! What the rules need to know of a Rust file: its imports, functions and lines of code, without tests.

use std::collections::BTreeSet;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::api::import_paths;

/// The conditions of items that are left out. The shim for Miri is test support as well.
const TESTS: [&str; 4] =
    ["cfg(test)", "cfg(miri)", "cfg(all(test,loom))", "cfg(all(test,not(loom)))"];

/// The parts of a file.
#[derive(Default)]
pub(super) struct Source {
    /// The paths that `use` names, each with its line.
    pub(super) imports: Vec<(usize, Vec<String>)>,
    /// Functions with a body: the name, the first line, and the number of lines to the closing brace.
    pub(super) functions: Vec<(String, usize, usize)>,
    /// The numbers of the lines on which a token begins or ends.
    pub(super) lines: BTreeSet<usize>,
    /// How often a function must be inlined.
    pub(super) inline_always: usize,
}

impl Source {
    /// The parts of a text; none of one that is not Rust.
    pub(super) fn new(text: &str) -> Self {
        let mut source = Self::default();
        source.add(text.parse().unwrap_or_default());
        source
    }

    fn add(&mut self, tokens: TokenStream) {
        let mut tokens = tokens.into_iter();
        let mut function = None;
        let mut is_attribute = false;
        while let Some(token) = tokens.next() {
            let line = token.span().start().line;
            match &token {
                TokenTree::Group(group) if is_attribute => {
                    let text = group.stream().to_string().replace(char::is_whitespace, "");
                    self.inline_always += text.matches("inline(always)").count();
                    let is_test = TESTS.contains(&&*text);
                    if is_test {
                        tokens.find(ends_item);
                    }
                    // Comments of documentation are attributes.
                    if is_test || text.starts_with("doc=") {
                        is_attribute = false;
                        continue;
                    }
                }
                TokenTree::Group(group) => {
                    let body = group.delimiter() == Delimiter::Brace;
                    if let Some((name, first)) = function.take_if(|_| body) {
                        let last = group.span_close().end().line;
                        self.functions.push((name, first, last - first + 1));
                    }
                    self.add(group.stream());
                }
                TokenTree::Ident(word) if word == "use" => {
                    let rest = tokens.clone().take_while(|token| !is(token, ';')).collect();
                    let paths = import_paths(rest).into_iter();
                    self.imports.extend(paths.map(|path| (line, path)));
                }
                TokenTree::Ident(word) if word == "fn" => {
                    if let Some(TokenTree::Ident(name)) = tokens.clone().next() {
                        function = Some((name.to_string(), line));
                    }
                }
                token if is(token, ';') => function = None,
                _ => {}
            }
            is_attribute = is(&token, '#') || (is_attribute && is(&token, '!'));
            if !is_attribute {
                self.lines.extend([line, token.span().end().line]);
            }
        }
    }
}

fn is(token: &TokenTree, sign: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == sign)
}

/// Whether a token is the last one of an item: its semicolon, or its body.
fn ends_item(token: &TokenTree) -> bool {
    let is_body = |token: &TokenTree| matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace);
    is(token, ';') || is_body(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imports(text: &str) -> Vec<String> {
        let imports = Source::new(text).imports.into_iter();
        imports.map(|(line, path)| format!("{line} {}", path.join("::"))).collect()
    }

    #[test]
    fn imports_of_comments_literals_and_tests_are_left_out() {
        let text = "// use a;\nlet x = \"use b;\";\n#[cfg(test)]\nmod tests {\n    use c;\n}\n\
                    #[cfg(test)]\nuse d::{e, f};\n#[cfg(all(test, not(loom)))]\nuse g;\n\
                    pub use h::{i, j::*};\nfn k<'l>() -> impl M + use<'l> { use n as o; }\n";
        assert_eq!(imports(text), ["11 h::i", "11 h::j", "12 n"]);
    }

    #[test]
    fn lines_of_code_have_no_comments() {
        let text = "//! A.\n\n/// B.\n#[must_use]\nfn f() {\n    g(); // C\n    /* D\n    */\n}\n";
        assert_eq!(Source::new(text).lines.into_iter().collect::<Vec<_>>(), [4, 5, 6, 9]);
    }

    #[test]
    fn functions_have_their_lines_also_in_macros() {
        let text = "trait T {\n    fn a();\n    fn b(f: fn()) {\n    }\n}\n\
                    macro_rules! m { () => {\n    fn c() -> [u8; { 2 }]\n    {\n\n    }\n}}\n";
        let functions = Source::new(text).functions;
        assert_eq!(functions, [("b".to_owned(), 3, 2), ("c".to_owned(), 7, 4)]);
    }
}

//! Lexer, layout and parser: grouping, refusals, recovery and robustness.

use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use super::random::{Random, SEEDS};
use super::run::run;
use crate::source::diagnostic::{Diagnostics, File};
use crate::source::lexer::Lexer;
use crate::source::names::Names;
use crate::source::parser;
use crate::source::syntax::*;

/// The messages of a parse, as `line: code: message`, and the tree.
fn parse(text: &str) -> (Tree, Vec<String>) {
    let file = File::new("t.spl", text).unwrap();
    let mut names = Names::default();
    let mut diagnostics = Diagnostics::default();
    let tree = parser::parse(&file, &mut names, &mut diagnostics).unwrap();
    let list = diagnostics.into_list();
    let line =
        |d: &crate::source::Diagnostic| format!("{}: {}: {}", d.line, d.code.as_str(), d.message);
    (tree, list.iter().map(line).collect())
}

fn messages(text: &str) -> Vec<String> {
    parse(text).1
}

/// An expression with every operation in parentheses.
fn grouped(text: &str) -> String {
    let (tree, messages) = parse(text);
    assert!(messages.is_empty(), "{text}: {messages:?}");
    let script = tree.list(tree.script);
    let StmtKind::Expr(id) = tree.stmt(StmtId(script[0])).kind else { panic!("{text}") };
    show(&tree, text, id)
}

fn show(tree: &Tree, text: &str, id: ExprId) -> String {
    let expr = tree.expr(id);
    let sub = |id| show(tree, text, id);
    match expr.kind {
        ExprKind::Binary(op, a, b) => format!("({} {} {})", sub(a), op.text(), sub(b)),
        ExprKind::Unary(op, a) => {
            let op = match op {
                UnaryOp::Negate => "-",
                UnaryOp::Not => "not ",
                UnaryOp::Complement => "~",
                UnaryOp::Dereference => "*",
            };
            format!("({op}{})", sub(a))
        }
        ExprKind::Chain { operands, first } => {
            let mut out = String::from("chain(");
            for (i, &operand) in tree.list(operands).iter().enumerate() {
                if i > 0 {
                    let op = tree.operators[first as usize + i - 1];
                    out += &format!(" {} ", op.text());
                }
                out += &sub(ExprId(operand));
            }
            out + ")"
        }
        ExprKind::Call { callee, arguments } => {
            let arguments: Vec<_> =
                tree.entries(&tree.arguments, arguments).map(|a| sub(a.value)).collect();
            format!("{}({})", sub(callee), arguments.join(", "))
        }
        ExprKind::Index(a, b) => format!("{}[{}]", sub(a), sub(b)),
        ExprKind::Cast(a, ty) => format!("({} as {})", sub(a), tree.ty(ty).span.of(text)),
        _ => expr.span.of(text).to_string(),
    }
}

#[test]
fn every_byte_belongs_to_one_token() {
    let text = "fn f(a: i64) -> i64: # c\n\t'x' \"y{z}\" /* /* */ */ 1..=2 é \\\n @ r\"q\" 0x1f";
    let mut lexer = Lexer::new(text);
    let mut end = 0;
    while lexer.next_token().is_some() {
        assert!(lexer.position() > end);
        end = lexer.position();
    }
    assert_eq!(end, text.len());
}

#[test]
fn operators_group_by_the_table_of_the_rust_parser() {
    for (text, expected) in [
        ("1 + 2 * 3", "(1 + (2 * 3))"),
        ("2 * 3 ** 2", "(2 * (3 ** 2))"),
        ("2 ** 3 * 2", "((2 ** 3) * 2)"),
        ("a - b - c", "((a - b) - c)"),
        ("a < b <= c", "chain(a < b <= c)"),
        ("a < b == c", "((a < b) == c)"),
        ("a or b and c", "(a or (b and c))"),
        ("not a and b", "((not a) and b)"),
        ("-a * b", "((-a) * b)"),
        ("-a as i64", "(-(a as i64))"),
        ("a + b as f64", "(a + (b as f64))"),
        ("(a + b) * c", "((a + b) * c)"),
        ("a & b & c | d", "(((a & b) & c) | d)"),
        ("a && b || c", "((a and b) or c)"),
        ("(a & b) == c", "((a & b) == c)"),
        ("2 ** -1", "(2 ** (-1))"),
        ("a * b ** c / d", "((a * (b ** c)) / d)"),
        ("a ** b / c", "((a ** b) / c)"),
        ("f(a)[i](b)", "f(a)[i](b)"),
        ("x <\n    y", "(x < y)"),
        ("x\n    + y", "(x + y)"),
        ("x and y\nor z", "((x and y) or z)"),
        ("x + \\\ny", "(x + y)"),
        ("(x +\n y\n)", "(x + y)"),
    ] {
        assert_eq!(grouped(text), expected, "{text}");
    }
}

#[test]
fn expression_that_the_parsers_group_differently_is_refused_with_both_readings() {
    for (text, first, second) in [
        ("not a == b", "(not a) == b", "not (a == b)"),
        ("a == not b", "a == (not b)", "a == not b"),
        ("-2 ** 2", "(-2) ** 2", "-(2 ** 2)"),
        ("2 ** 3 ** 2", "2 ** (3 ** 2)", "(2 ** 3) ** 2"),
        ("a & b == c", "(a & b) == c", "a & (b == c)"),
        ("a + b & c", "(a + b) & c", "a + (b & c)"),
        ("a & b + c", "a & (b + c)", "(a & b) + c"),
        ("a | b & c", "a | (b & c)", "(a | b) & c"),
        ("1 << n - 1", "1 << (n - 1)", "(1 << n) - 1"),
        ("x >> 1 & 1", "(x >> 1) & 1", "x >> (1 & 1)"),
        ("a == b < c", "a == (b < c)", "(a == b) < c"),
        ("~a ** b", "(~a) ** b", "~(a ** b)"),
        ("8 / 2 ** 2", "8 / (2 ** 2)", "(8 / 2) ** 2"),
        ("a % b ** c", "a % (b ** c)", "(a % b) ** c"),
    ] {
        let expected = format!(
            "1: E1103: `{text}` is ambiguous: one parser of Simple reads `{first}`, the other one \
             `{second}`"
        );
        assert_eq!(messages(text), [expected], "{text}");
    }
}

#[test]
fn blocks_follow_indentation() {
    let text = "fn f(a: i64) -> i64:\n    if a > 1:\n        return 1\n    elif a < 0: return 2\n\
                \u{20}   else:\n        pass\n\n    # comment\n    a\n\nfn g() -> i64: 1\n";
    let (tree, messages) = parse(text);
    assert!(messages.is_empty(), "{messages:?}");
    assert_eq!((tree.functions.len(), tree.statements.len()), (2, 6));
}

#[test]
fn unknown_column_and_tab_behind_blank_are_refused() {
    let message = "3: E1004: the line is indented by 2 columns, which is the indentation of no \
                   open block";
    assert_eq!(messages("fn f():\n    pass\n  pass\n"), [message]);
    let message = "2: E1004: a tab follows a blank in the indentation";
    assert_eq!(messages("fn f():\n  \tpass\n"), [message]);
    assert!(messages("fn f():\n\tpass\n\tpass\n").is_empty());
}

#[test]
fn each_refused_construct_is_named() {
    for (text, name) in [
        ("val f = \\x: x", "a lambda"),
        ("val f = |x| x", "a lambda"),
        ("val f = fn(x): x", "a lambda"),
        ("f(_ * 2)", "the placeholder `_`"),
        ("class A:\n    x: i64\n", "`class`"),
        ("trait A:\n    fn f()\n", "`trait`"),
        ("mixin A:\n    x: i64\n", "`mixin`"),
        ("actor A:\n    x: i64\n", "`actor`"),
        ("union U: A\n", "`union`"),
        ("fn f(a: dyn T): a", "a trait object `dyn`"),
        ("fn f(a: Any): a", "the type `Any`"),
        ("val d = {1: 2}", "a dictionary"),
        ("val c = [for x in xs: x]", "a comprehension"),
        ("val c = [x for x in xs]", "a comprehension"),
        ("a[1:2]", "a slice"),
        ("a[1..2]", "a slice"),
        ("fn f(a: i64?): 1", "an optional type `T?`"),
        ("val x = f()?", "the operator `?`"),
        ("val x = a ?? 1", "the operator `??`"),
        ("val x = a?.b", "the operator `?.`"),
        ("val x = a.?b", "the operator `.?`"),
        ("val x = a!", "the operator `!`"),
        ("if val x = a: 1", "`if val`"),
        ("while val x = a: 1", "`while val`"),
        ("a in b", "the operator `in`"),
        ("a not in b", "the operator `in`"),
        ("a is E.A is E.B", "a chain of `is`"),
        ("async fn f(): 1", "`async`"),
        ("val x = await f()", "`await`"),
        ("spawn f()", "`spawn`"),
        ("yield x", "`yield`"),
        ("gen fn f(): 1", "`gen`"),
        ("go f()", "`go`"),
        ("if~ a: 1", "a suspending form with `~`"),
        ("while~ a: 1", "a suspending form with `~`"),
        ("val x = 7 // 2", "the parallel operator `//`"),
        ("f ~> g", "the operator `~>`"),
        ("x |> f", "the pipe `|>`"),
        ("a @ b", "the matrix product `@`"),
        ("a->m()", "the operator `->`"),
        ("a <- b", "the operator `<-`"),
        ("f >>> g", "the composition of functions"),
        ("f <<< g", "the composition of functions"),
        ("a ^ b", "the operator `^`"),
        ("x := 1", "`:=`"),
        ("val x = 100_km", "a unit suffix"),
        ("f(:name)", "a symbol"),
        ("f(`atom)", "an atom"),
        ("val x = sh{ls}", "a custom block"),
        ("macro m: 1", "`macro`"),
        ("comptime: 1", "`comptime`"),
        ("#if debug\nval x = 1\n#endif\n", "conditional compilation `#if`"),
        ("on f: 1", "an aspect `on`"),
        ("fn f():\n    requires: x\n", "a contract `requires`"),
        ("unit UserId: i64 as uid", "`unit`"),
        ("bitfield B: 1", "`bitfield`"),
        ("asm: 1", "`asm`"),
        ("kernel fn f(): 1", "`kernel`"),
        ("val v = vec[1, 2]", "`vec[...]`"),
        ("fn f(a: vec[4, f32]): 1", "a SIMD type `vec[N, T]`"),
        ("fn f(a: &i64): 1", "a reference type `&T`"),
        ("fn f(a: *i64): 1", "a shared pointer `*T`"),
        ("fn f(a: -i64): 1", "a weak pointer `-T`"),
        ("fn f(a: +i64): 1", "a handle `+T`"),
        ("fn f(a: iso i64): 1", "an isolated pointer `iso T`"),
        ("fn f(a: {i64: i64}): 1", "a dictionary type `{K: V}`"),
        ("fn f(a: i64 | f64): 1", "a union type"),
        ("fn f(a: Option<i64>): 1", "the type `Option` or `Result`"),
        ("defer f()", "`defer`"),
        ("errdefer f()", "`errdefer`"),
        ("with f() as g: 1", "`with`"),
        ("let x = a else: 1", "`let ... else`"),
        ("val x = &a", "a reference `&`"),
        ("val x = +a", "a unary `+`"),
        ("val x = f\"a\"", "`f\"...\"`"),
        ("fn f(xs...): 1", "a variadic parameter"),
        ("fn f<const N: i64>(): 1", "a const type parameter"),
        ("struct A(B):\n    x: i64\n", "inheritance"),
        ("static x = 1", "a `static` variable"),
        ("@gpu_kernel\nfn f(): 1", "attribute `@gpu_kernel`"),
        ("print \"{x:.2}\"", "a format specification in a text"),
        ("fn f():\n    struct S:\n        x: i64\n", "a declaration inside a function"),
        ("match x:\n    case \"a\": 1\n", "a text pattern"),
        ("match x:\n    case nil: 1\n", "the pattern `nil`"),
        ("match x:\n    case [a]: 1\n", "an array pattern"),
    ] {
        let found = messages(text);
        let first = found.first().cloned().unwrap_or_default();
        assert!(first.contains(name), "{text:?}: {found:?}");
        assert!(first.contains("E1201"), "{text:?}: {found:?}");
    }
}

#[test]
fn refused_words_are_names_elsewhere() {
    for text in [
        "val on = 1\nval gen = on + 1\n",
        "var go = 1\ngo = 2\ngo += 1\n",
        "fn loop_(type: i64, default: i64) -> i64: type + default\n",
        "val shared = f(spawn, yield)\n",
        "val result = x.result.loop\n",
    ] {
        assert!(messages(text).is_empty(), "{text:?}: {:?}", messages(text));
    }
}

#[test]
fn several_errors_are_reported_in_one_run() {
    let text = "fn f(a: i64 -> i64:\n    a +\n\nfn g():\n    val = 3\n    1 + / 2\n    ok()\n    )\n\
                \nstruct S:\n    x i64\n    y: i64\n\nfn h() -> i64 1\n\nfn ok(): 1\n";
    let found = messages(text);
    let lines: Vec<_> = found.iter().map(|m| m.split(':').next().unwrap()).collect();
    assert_eq!(lines, ["1", "2", "5", "6", "8", "11", "14"], "{found:#?}");
}

#[test]
fn declaration_at_the_margin_ends_an_open_bracket() {
    let found = messages("fn f():\n    g(1, 2\n\nfn h():\n    val = 1\n");
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[1].starts_with("5:"), "{found:?}");
}

#[test]
fn nesting_is_bounded_and_named() {
    for (open, close) in [("(", ")"), ("[", "]"), ("f(", ")"), ("- ", ""), ("2 ** (", ")")] {
        let text = format!("val x = {}1{}", open.repeat(5000), close.repeat(5000));
        let found = messages(&text);
        assert!(found[0].contains("E1102") || found[0].contains("E1103"), "{open} {found:?}");
    }
    let deep: String = (0..400).map(|depth| "    ".repeat(depth) + "if a:\n").collect();
    assert!(messages(&deep)[0].contains("E1102"));
    let types = format!("fn f(a: {}i64{}): 1", "B<".repeat(3000), ">".repeat(3000));
    assert!(messages(&types)[0].contains("E1102"));
    // A long sum is not deep.
    assert!(messages(&format!("val x = 1{}", " + 1".repeat(20_000))).is_empty());
}

#[test]
fn random_tokens_and_bytes_neither_panic_nor_take_long() {
    const WORDS: &[&str] = &[
        "fn",
        "if",
        "else",
        "elif",
        ":",
        "\n",
        "    ",
        "  ",
        "\t",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "x",
        "y",
        "1",
        "2.5",
        "\"a{x}b\"",
        "'q'",
        "'l:",
        "match",
        "case",
        "->",
        "=>",
        "=",
        "==",
        "+",
        "-",
        "*",
        "**",
        "<",
        ">",
        ">>",
        ",",
        ".",
        "..",
        "..=",
        "struct",
        "enum",
        "impl",
        "use",
        "for",
        "in",
        "while",
        "loop",
        "return",
        "not",
        "and",
        "as",
        "i64",
        "?",
        "|",
        "&",
        "@",
        "\\",
        "#",
        "\"",
        "\\\n",
        ";",
        "val",
        "var",
        "is",
        "pub",
        "extern",
        "const",
        "where",
        "me",
        "static",
        "é",
        "\0",
    ];
    for seed in SEEDS {
        let mut random = Random(seed);
        let text: String = (0..random.below(120))
            .map(|_| WORDS[random.below(WORDS.len())].to_string() + " ")
            .collect();
        messages(&text);
        let text: String = (0..random.below(80))
            .map(|_| char::from_u32(random.below(300) as u32).unwrap_or(' '))
            .collect();
        messages(&text);
    }
}

#[test]
fn diagnostic_prints_the_line_with_a_caret_and_as_json() {
    let file = File::new("dir/t.spl", "fn f():\n\tval né = 1 // 2\n").unwrap();
    let mut names = Names::default();
    let mut diagnostics = Diagnostics::default();
    parser::parse(&file, &mut names, &mut diagnostics).unwrap();
    let list = diagnostics.into_list();
    let text = list[0].to_string();
    assert_eq!(
        text,
        "error[E1201]: the parallel operator `//` is not supported: it needs a scheduler\n  --> \
         dir/t.spl:2:13\n   |\n 2 | \tval né = 1 // 2\n   | \t           ^^\n   = note: for a \
         quotient rounded down write `a.fdiv(b)`; a comment starts with `#`"
    );
    let mut json = String::new();
    list[0].write_json(&mut json).unwrap();
    assert_eq!(
        json,
        "{\"severity\":\"error\",\"code\":\"E1201\",\"message\":\"the parallel operator `//` is \
         not supported: it needs a scheduler\",\"file\":\"dir/t.spl\",\"line\":2,\"column\":13,\
         \"length\":2,\"source\":\"\\tval né = 1 // 2\",\"note\":\"for a quotient rounded down \
         write `a.fdiv(b)`; a comment starts with `#`\"}"
    );
}

#[test]
fn byte_order_mark_is_no_part_of_the_text() {
    let text = "fn f(): 1 // 2\n";
    let marked = std::format!("\u{feff}{text}");
    let [with, without] = [&*marked, text].map(|text| {
        let file = File::new("t.spl", text).unwrap();
        let mut diagnostics = Diagnostics::default();
        parser::parse(&file, &mut Names::default(), &mut diagnostics).unwrap();
        let list = diagnostics.into_list();
        list.iter().map(ToString::to_string).collect::<Vec<_>>()
    });
    assert_eq!(with, without);
    assert_eq!(with.len(), 1, "{with:?}");
    // Only at the start.
    assert!(messages("fn f():\u{feff} 1\n").iter().any(|message| message.contains("E1001")));
}

#[test]
fn lines_with_only_the_mark_of_documentation_enclose_a_block() {
    let f = "fn f() -> i64: 7\n";
    let block = "///\nAny prose: it's \"free\".\n    /// Also this.\n///\n";
    let indented = "fn f() -> i64:\n    ///\n  prose\n    ///  \n    7\n".to_string();
    // An empty line between others of documentation opens nothing, and neither does one that nothing closes.
    let lines = format!("/// One.\n///\n/// Two.\n{f}///\n/// Three.\n///\nfn g() -> i64: 8\n");
    for text in [format!("{block}{f}"), format!("{f}{block}"), indented, lines] {
        assert_eq!(run(&text, "f", &[]), 7, "{text}");
    }
    assert_eq!(run(&format!("///\n{f}"), "f", &[]), 7);
    assert_eq!(run(&format!("/// One.\n///\n{f}///\n"), "f", &[]), 7);
}

#[test]
fn attributes_of_layout_are_refused() {
    for attribute in ["@packed", "@repr(u8)", "@align(16)", "#[repr(packed)]"] {
        let found = messages(&std::format!("{attribute}\nstruct P:\n    a: u8\n    b: i64\n"));
        let error = found.iter().find(|message| message.contains("E1201"));
        assert!(
            error.is_some_and(|error| error.contains("is that of C")),
            "{attribute}: {found:?}"
        );
    }
    assert_eq!(messages("@repr(C)\nstruct P:\n    a: u8\n    b: i64\n"), [""; 0]);
}

//! Templates in source text: records of the Simple compiler, and those that `smf compile` writes.

use smf_core::extract::FunctionExtractor;
use smf_core::format::File;
use smf_core::format::template::{Container, Template, TemplateKind};
use smf_core::format::write::note::NewPossible;
use smf_core::format::write::{NewTemplates, write_templates};
use smf_core::memory::code_alloc::CodeMemory;
use smf_core::source::{Mode, SourceFile, compile};
use smf_core::templates::{
    ConstraintKind, Instance, IrBodies, JitConfig, JitInstantiator, JitStats, ObjTaker, TakeError,
    Taken, TakerConfig, encode_source,
};
use smf_core::trap::{CallArg, TrapError, call_values};
use smf_core::types::{Hint, HintSource, Type, TypeList};

use crate::build::Spec;

/// A record as the Simple compiler writes it.
#[derive(Clone)]
pub(crate) struct Record(TemplateKind, String, Vec<u8>);

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.bytes());
}

fn list(out: &mut Vec<u8>, texts: &[&str]) {
    out.extend((texts.len() as u32).to_le_bytes());
    texts.iter().for_each(|entry| text(out, entry));
}

fn head(name: &str, type_params: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    text(&mut out, name);
    out.push(type_params.len() as u8);
    type_params.iter().for_each(|entry| text(&mut out, entry));
    out
}

pub(crate) fn function(
    name: &str,
    type_params: &[&str],
    params: &[&str],
    result: &str,
    body: &[&str],
) -> Record {
    let mut out = head(name, type_params);
    list(&mut out, params);
    match result {
        "" => out.push(0),
        result => {
            out.push(1);
            text(&mut out, result);
        }
    }
    list(&mut out, body);
    out.extend([1, 0, 0, 0, 0, 0]);
    Record(TemplateKind::Function, name.to_owned(), out)
}

pub(crate) fn structure(name: &str, type_params: &[&str], fields: &[&str]) -> Record {
    let mut out = head(name, type_params);
    list(&mut out, fields);
    out.extend([1, 0, 0, 0, 0, 0]);
    Record(TemplateKind::Struct, name.to_owned(), out)
}

/// A specialisation: no type parameters of its own, and a binding.
fn specialisation(name: &str, original: &str, binding: [&str; 2], body: &str) -> Record {
    let mut out = head(name, &[]);
    list(&mut out, &["x: T"]);
    out.push(1);
    text(&mut out, "T");
    list(&mut out, &[body]);
    out.extend([0, 1]);
    text(&mut out, original);
    out.extend([1, 0, 0, 0]);
    binding.iter().for_each(|part| text(&mut out, part));
    Record(TemplateKind::Function, name.to_owned(), out)
}

pub(crate) fn module(version: u8, records: &[Record], rows: &[[&str; 3]]) -> Vec<u8> {
    let mut templates = Vec::new();
    for Record(kind, name, body) in records {
        let (kind, name) = (Some(*kind), name.as_bytes());
        // The name and the number of parameters are read from the record.
        templates.push(Template { name, kind, params: 0, constraints: Default::default(), body });
    }
    let container = Container::Records { version };
    write(&NewTemplates { container, templates: &templates }, rows)
}

/// A module without templates, whose note lists these inferred types: type, expression, context and line.
fn uses(rows: &[[&str; 4]]) -> Vec<u8> {
    let mut note =
        String::from("type_inferences |id, inferred_type, expr, context, from_file, from_loc|\n");
    for (id, [ty, expression, context, line]) in rows.iter().enumerate() {
        note += &format!(
            "    {id}, \"{ty}\", \"{expression}\", \"{context}\", \"user.spl\", \"user.spl:{line}:5\"\n"
        );
    }
    note += "# END_NOTE\n";
    Spec::new().note(note.as_bytes()).file()
}

fn write(templates: &NewTemplates<'_>, rows: &[[&str; 3]]) -> Vec<u8> {
    let rows: Vec<_> = rows
        .iter()
        .map(|[template, type_args, mangled_name]| NewPossible {
            template,
            type_args,
            mangled_name,
        })
        .collect();
    write_templates(templates, &rows).unwrap()
}

fn jit_with(config: JitConfig, module: &[u8]) -> JitInstantiator {
    let jit = JitInstantiator::new(config, CodeMemory::default()).unwrap();
    jit.load_smf_bytes(b"max.smf", module).unwrap();
    jit
}

pub(crate) fn jit(module: &[u8]) -> JitInstantiator {
    jit_with(JitConfig::default(), module)
}

pub(crate) fn instance(jit: &JitInstantiator, symbol: &str) -> Instance {
    jit.try_jit_instantiate(symbol.as_bytes()).unwrap_or_else(|error| panic!("{symbol}: {error}"))
}

pub(crate) fn error(jit: &JitInstantiator, symbol: &str) -> String {
    jit.try_jit_instantiate(symbol.as_bytes()).unwrap_err().to_string()
}

pub(crate) fn run(instance: &Instance, arguments: &[i64]) -> Result<i64, TrapError> {
    let words: Vec<_> = arguments.iter().map(|&word| CallArg::Integer(word as u64)).collect();
    // SAFETY: tests pass the arguments that the source of the instance declares.
    unsafe { call_values(instance.address(), &words) }.map(|result| result.integer as i64)
}

fn run_floats(instance: &Instance, arguments: &[f64]) -> f64 {
    let words: Vec<_> = arguments.iter().map(|word| CallArg::Float(word.to_bits())).collect();
    // SAFETY: as above.
    let result = unsafe { call_values(instance.address(), &words) };
    f64::from_bits(result.unwrap().float)
}

fn max() -> Record {
    let body = ["if a > b:", "    return a", "return b"];
    function("max", &["T"], &["a: T", "b: T"], "T", &body)
}

#[test]
fn record_becomes_the_listed_instance() {
    for version in [1, 2] {
        let row = ["max", "i64", "fn$max$i64"];
        let jit = jit(&module(version, &[max()], &[row]));
        let instance = instance(&jit, "fn$max$i64");
        assert_eq!(run(&instance, &[3, -4]), Ok(3));
        assert_eq!(run(&instance, &[-3, 4]), Ok(4));
        let note = String::from_utf8(jit.note(b"max.smf").unwrap().unwrap()).unwrap();
        assert!(note.contains("jit_compiled") && note.contains("fn$max$i64"), "{note}");
    }
}

#[test]
fn body_texts_are_joined_in_either_indentation() {
    for body in [
        &["a"][..],
        &["return a"],
        &["    if a > b:", "        return a", "    return a"],
        &["if a > b:\n    return a\nelse:\n    return a"],
        // Statements cut out of a file.
        &["if a > b:\n            return a\n        else:\n            return a"],
        &["val c = a", "if c > b:\n            return c\n        else:\n            return c", ""],
    ] {
        let record = function("first", &["T"], &["a: T", "b: T"], "T", body);
        let jit = jit(&module(2, &[record], &[]));
        assert_eq!(run(&instance(&jit, "first$i64"), &[5, 6]), Ok(5), "{body:?}");
    }
}

/// Blanks in front of a line that begins inside of a literal belong to the literal.
#[test]
fn lines_of_literals_in_bodies_are_not_indented() {
    let quotes = "\"\"\"";
    for body in [
        &[&*format!("val s = {quotes}a\n    b{quotes}"), "s.len()"][..],
        &[&format!("val s = {quotes}a\n    b{quotes}\ns.len()")],
        // One text a line.
        &[&format!("    val s = {quotes}a"), &format!("    b{quotes}"), "    s.len()"],
    ] {
        let record = function("f", &["T"], &["x: T"], "i64", body);
        assert_eq!(
            run(&instance(&jit(&module(2, &[record], &[])), "f$i64"), &[0]),
            Ok(7),
            "{body:?}"
        );
    }
}

#[test]
fn bodies_may_be_indented_with_tabs() {
    for body in [
        &["if x > 0:\n\treturn x", "x + x"][..],
        &["if x > 0:", "\treturn x", "x + x"],
        &["\tif x > 0:", "\t\treturn x", "\tx + x"],
    ] {
        let jit = jit(&module(2, &[function("f", &["T"], &["x: T"], "T", body)], &[]));
        let instance = instance(&jit, "f$i64");
        assert_eq!([3, -3].map(|x| run(&instance, &[x])), [Ok(3), Ok(-6)], "{body:?}");
    }
}

/// Nor do words outside of the braces of a literal. The front end has no classes.
#[test]
fn words_of_comments_do_not_refer_to_declarations() {
    let mut class = head("Klass", &[]);
    list(&mut class, &["x: i64"]);
    list(&mut class, &["fn x_of(self) -> i64: self.x"]);
    class.extend([1, 0, 0, 0, 0, 0]);
    let class = Record(TemplateKind::Class, "Klass".to_owned(), class);
    let error_of = |body: &str| {
        let record = function("f", &["T"], &["x: T"], "T", &[body]);
        let jit = jit(&module(2, &[record, class.clone()], &[]));
        jit.try_jit_instantiate(b"f$i64").err().map(|error| error.to_string())
    };
    for body in ["x  # as in Klass", "val s = \"Klass\"\nx", "/* Klass */ x"] {
        assert_eq!(error_of(body), None, "{body}");
    }
    for body in ["Klass(x: 1)\nx", "print \"{Klass(x: 1).x}\"\nx"] {
        let error = error_of(body).unwrap();
        assert!(error.contains("`class` is not supported"), "{body}: {error}");
    }
}

#[test]
fn unlisted_symbol_in_any_spelling_is_one_instance() {
    let first = function("first", &["T"], &["a: T"], "T", &["a"]);
    let length = function("length", &["T"], &["items: [T]"], "i64", &["items.len()"]);
    let jit = jit(&module(2, &[max(), first, length], &[]));
    assert!(jit.can_jit_instantiate(b"max$f64") && !jit.can_jit_instantiate(b"min$f64"));
    let maximum = instance(&jit, "max$f64");
    assert_eq!(run_floats(&maximum, &[1.5, 2.5]), 2.5);
    // There is one already, in each spelling.
    assert!(!jit.can_jit_instantiate(b"max$f64") && !jit.can_jit_instantiate(b"max<f64>"));
    assert_eq!(instance(&jit, "fn$max$f64").address(), maximum.address());
    assert_eq!(jit.resolve_generic("max", &[Type::F64]).unwrap().address(), maximum.address());
    // The older spelling of the Simple compiler, while it is unique.
    assert_eq!(instance(&jit, "max$Float").address(), maximum.address());
    let int = instance(&jit, "max$i32");
    assert_eq!(instance(&jit, "fn$max$Int").address(), int.address());
    instance(&jit, "max$u8");
    let found = error(&jit, "max$Int");
    assert!(found.contains("the symbol may mean `max$i32` or `max$u8`"), "{found}");
    // Its current spelling.
    assert_eq!(instance(&jit, "length$arr_i64").symbol(), b"length$.ai64");
    assert_eq!(error(&jit, "min$f64"), "no module lists an instance `min$f64`");
    assert_eq!(error(&jit, "max"), "no module lists an instance `max`");
    assert_eq!(error(&jit, "max$"), "no module lists an instance `max$`");
    let missing = jit.resolve_generic("min", &[Type::F64]).unwrap_err().to_string();
    assert_eq!(missing, "no module lists an instance `min`");
    let count = jit.resolve_generic("max", &[Type::F64, Type::F64]).unwrap_err().to_string();
    assert!(count.contains("has 1 type parameter"), "{count}");
}

#[test]
fn record_refers_to_other_records() {
    let pair = structure("Pair", &["A", "B"], &["a: A", "b: B"]);
    let unused = function("broken", &["T"], &["a: T"], "T", &["not Simple at all ("]);
    let sum =
        function("sum", &["T"], &["a: T", "b: T"], "T", &["val p = Pair(a: a, b: b)", "p.a + p.b"]);
    let twice = function("twice", &["T"], &["a: T"], "T", &["sum(a, a)"]);
    let jit = jit(&module(2, &[sum, twice, pair, unused], &[]));
    assert_eq!(run(&instance(&jit, "twice$i64"), &[21]), Ok(42));
    assert_eq!(run_floats(&instance(&jit, "sum$f64"), &[0.5, 0.25]), 0.75);
    let found = error(&jit, "Pair$i64_i64");
    assert!(found.contains("it is a struct, which has no code"), "{found}");
    let found = error(&jit, "broken$i64");
    assert!(found.contains("`not Simple at all (`"), "{found}");
}

#[test]
fn structs_in_a_signature_are_passed_by_address() {
    let point = structure("Point", &[], &["x: i64", "y: i64"]);
    let swap =
        function("pick", &["T"], &["first: bool", "a: T", "b: T"], "T", &["if first: a else: b"]);
    let user = function("dist", &["T"], &["p: Point", "scale: T"], "T", &["p.x * scale + p.y"]);
    let jit = jit(&module(2, &[swap, user, point], &[]));
    let dist = instance(&jit, "dist$i64");
    let point = [3i64, 4];
    assert_eq!(run(&dist, &[point.as_ptr().expose_provenance() as i64, 10]), Ok(34));
    let signature = IrBodies::signature(&dist).unwrap();
    assert_eq!(signature.0.len(), 2);
    // `pick` is generic in a type that its record does not name.
    let found = error(&jit, "pick$Missing");
    assert!(found.contains("type `Missing` not found"), "{found}");
    instance(&jit, "pick$Point");
}

#[test]
fn specialisation_is_compiled_with_its_bindings() {
    let record = specialisation("same$i64", "same", ["T", "i64"], "x + 1");
    let jit = jit(&module(2, &[record], &[]));
    assert_eq!(run(&jit.resolve_generic("same$i64", &[]).unwrap(), &[4]), Ok(5));
    assert_eq!(run(&instance(&jit, "same$i64"), &[4]), Ok(5));
}

#[test]
fn trap_of_an_instance_is_an_error_of_the_call() {
    let divide = function("div", &["T"], &["a: T", "b: T"], "T", &["a / b"]);
    let jit = jit(&module(2, &[divide], &[]));
    let instance = instance(&jit, "div$i64");
    assert_eq!(run(&instance, &[7, 2]), Ok(3));
    assert!(matches!(run(&instance, &[7, 0]), Err(TrapError::Trap(trap)) if trap.code == 1));
}

#[test]
fn what_does_not_compile_is_quoted() {
    for (record, expected) in [
        (function("f", &["T"], &["a: T"], "T", &["return b"]), "`return b`: name `b` not found"),
        (function("f", &["T"], &["a"], "T", &["a"]), "`fn f<T>(a) -> T:`: "),
        (function("f", &["T"], &["a: T"], "T", &[]), "its record has no body"),
        (function("f", &["T"], &["a: T"], "T", &["while"]), "`while`: "),
        (function("f", &["T"], &["a: Missing"], "T", &["a"]), "type `Missing` not found"),
    ] {
        let jit = jit(&module(2, &[record], &[]));
        let found = error(&jit, "f$i64");
        assert!(found.contains(expected), "{found}");
        assert_eq!(jit.stats().failed_count, 1);
    }
}

/// A module as `smf compile` writes the templates of `text`.
pub(crate) fn compiled(text: &str, rows: &[[&str; 3]]) -> Vec<u8> {
    let file = SourceFile { name: "max.spl", module: "max", text };
    let compiled = compile(&[file], Mode::Compile).unwrap();
    let unit = compiled.unit.unwrap_or_else(|| panic!("{}", compiled.diagnostics[0]));
    let bodies: Vec<_> = unit.templates.iter().map(|one| encode_source(one).unwrap()).collect();
    let templates: Vec<_> = unit
        .templates
        .iter()
        .zip(&bodies)
        .map(|(template, body)| Template {
            name: template.name.as_bytes(),
            kind: Some(TemplateKind::Function),
            params: template.type_params.len() as u8,
            constraints: Default::default(),
            body,
        })
        .collect();
    let container = Container::Gtpl { constrained: false };
    write(&NewTemplates { container, templates: &templates }, rows)
}

pub(crate) const SOURCE: &str = "\
struct Point:
    x: i64
    y: i64

fn scale() -> i64: 10

fn max<T>(a: T, b: T) -> T:
    if a > b:
        return a
    b

fn largest<T>(a: T, b: T, c: T) -> T: max(max(a, b), c)

fn pick<T>(first: bool, a: T, b: T) -> T:
    if first:
        return a
    b

fn scaled<T>(a: T) -> i64: scale() + 1
";

#[test]
fn source_template_becomes_an_instance_of_scalars_and_structs() {
    let jit = jit(&compiled(SOURCE, &[["max", "i64", "fn$max$i64"]]));
    assert_eq!(run(&instance(&jit, "fn$max$i64"), &[3, 9]), Ok(9));
    assert_eq!(run_floats(&instance(&jit, "max$f64"), &[3.0, 2.0]), 3.0);
    assert_eq!(run(&instance(&jit, "largest$i64"), &[3, 9, 4]), Ok(9));
    let pick = instance(&jit, "pick$Point");
    let (one, two, mut result) = ([1i64, 2], [3i64, 4], [0i64; 2]);
    let address = |point: &[i64; 2]| point.as_ptr().expose_provenance() as i64;
    let out = result.as_mut_ptr().expose_provenance() as i64;
    run(&pick, &[out, 0, address(&one), address(&two)]).unwrap();
    // SAFETY: the instance wrote the result there.
    assert_eq!(unsafe { std::ptr::read_volatile(&raw const result) }, [3, 4]);
    let found = error(&jit, "scaled$i64");
    assert!(found.contains("undefined symbol `scale`"), "{found}");
    let found = error(&jit, "max$Point");
    assert!(found.contains("cannot instantiate `max$Point`: `if a > b:`"), "{found}");
}

#[test]
fn limits_are_errors_with_name_limit_and_value() {
    let file = compiled(SOURCE, &[]);
    let base = JitConfig::default();
    let jit = jit_with(JitConfig { max_module_instances: 2, ..base }, &file);
    instance(&jit, "max$i64");
    instance(&jit, "max$i32");
    let found = error(&jit, "max$i16");
    let limit = "Maximum number of instances of templates of `max.smf` (2) exceeded";
    assert!(found.ends_with(limit), "{found}");
    let jit = jit_with(JitConfig { max_code: 8, ..base }, &file);
    let found = error(&jit, "max$i64");
    assert!(found.contains("its code has ") && found.ends_with("the limit is 8"), "{found}");
    let jit = jit_with(base, &file);
    let found = error(&jit, &format!("max${}i64", ".a".repeat(16)));
    assert!(found.ends_with("nested 17 levels deep; the limit is 16"), "{found}");
    let endless = compiled(
        "struct Box<T>:\n    value: T\n\nfn grow<T>(a: T, n: i64) -> i64:\n    if n == 0:\n        return 0\n    grow(Box(value: a), n - 1)\n",
        &[],
    );
    let jit = jit_with(base, &endless);
    let found = error(&jit, "grow$i64");
    assert!(found.contains("16") || found.contains("50"), "{found}");
}

#[test]
fn code_of_a_source_template_is_cached_in_memory_once() {
    let jit = jit(&compiled(SOURCE, &[]));
    let one = instance(&jit, "max$i64");
    let two = instance(&jit, "max$i64");
    assert_eq!(one.address(), two.address());
    let JitStats { cached_count, failed_count, .. } = jit.stats();
    assert_eq!((cached_count, failed_count), (1, 0));
}

/// `first<T>(items: [T], other: T) -> T`, with a bound, and `make<T = i64>() -> T`.
fn taken_templates() -> Vec<u8> {
    let larger = function("larger", &["T: Ord"], &["a: T", "b: T"], "T", &["if a > b: a else: b"]);
    let width = function("width", &["T", "U = i32"], &["a: T"], "i64", &["a as i64"]);
    module(2, &[larger, width, max()], &[])
}

#[test]
fn generic_object_is_taken_with_types_of_the_notes() {
    let jit = jit(&taken_templates());
    let taker = ObjTaker::new(&jit, TakerConfig::default());
    let strict = ObjTaker::new(&jit, TakerConfig { allow_deferred: false });
    let taken = taker.take_generic("max").unwrap();
    assert!(matches!(&taken, Taken::Template { symbol, .. } if symbol == "max"), "{taken:?}");
    assert_eq!(
        strict.take_generic("max").unwrap_err().to_string(),
        "Cannot infer type arguments for max"
    );
    let error = jit.infer_arguments("max", &[]).unwrap_err().to_string();
    assert_eq!(error, "No type hints available for inference of max");
    jit.load_smf_bytes(b"user.smf", &uses(&[["f64", "max(x, y)", "argument 1", "3"]])).unwrap();
    let Taken::Instance(found) = taker.take_object(None, "max").unwrap() else { panic!() };
    assert_eq!(found.symbol(), b"max$f64");
    assert_eq!(run_floats(&found, &[1.5, 0.5]), 1.5);
    // Hints of the caller.
    let hint = Hint { source: HintSource::Return, ty: Type::I64 };
    let Taken::Instance(found) =
        taker.take_generic_with("larger", std::slice::from_ref(&hint)).unwrap()
    else {
        panic!()
    };
    assert_eq!(found.symbol(), b"larger$i64");
    let error = strict.take_generic_with("max", &[hint]).unwrap_err().to_string();
    assert!(error.starts_with("Cannot infer type arguments for max: argument 2 of the"), "{error}");
    // A default of a type parameter.
    let hint = Hint { source: HintSource::CallSite(0), ty: Type::I64 };
    let types = jit.infer_arguments("width", &[hint]).unwrap();
    assert_eq!(TypeList(&types).to_string(), "i64, i32");
}

#[test]
fn inference_is_cached_until_a_module_that_it_depends_on_changes() {
    let jit = jit(&taken_templates());
    let load = |name: &str, rows: &[[&str; 4]]| {
        jit.load_smf_bytes(name.as_bytes(), &uses(rows)).unwrap();
    };
    load("a.smf", &[["f64", "max(x, y)", "argument 1", "3"]]);
    load("b.smf", &[["i64", "larger(x, y)", "return", "4"]]);
    let infer = |name: &str| TypeList(&jit.infer_arguments(name, &[]).unwrap()).to_string();
    let counts = || (jit.stats().inference_count, jit.stats().inference_hit_count);
    assert_eq!((infer("max"), infer("larger")), ("f64".into(), "i64".into()));
    assert_eq!((infer("max"), counts()), ("f64".into(), (2, 1)));
    // Only the inference that depends on it is repeated.
    load("a.smf", &[["i32", "max(x, y)", "argument 1", "3"]]);
    assert_eq!((infer("max"), infer("larger")), ("i32".into(), "i64".into()));
    assert_eq!(counts(), (3, 2));
    // Another module with uses.
    load("c.smf", &[["i32", "max", "var_init", "9"]]);
    load("d.smf", &[["i32", "other", "var_init", "9"]]);
    assert_eq!((infer("max"), infer("larger")), ("i32".into(), "i64".into()));
    assert_eq!(counts(), (4, 3));
    load("c.smf", &[["u8", "max", "var_init", "9"]]);
    let error = jit.infer_arguments("max", &[]).unwrap_err().to_string();
    let expected = "Cannot infer type arguments for max: it is used with `i32` at user.spl:3:5 and with `u8` at user.spl:9:5";
    assert_eq!(error, expected);
}

/// Each of the two calls is in order.
#[test]
fn uses_with_different_types_are_named_with_their_places() {
    let jit = jit(&taken_templates());
    let rows = [
        ["i64", "max(1, 2)", "argument 0", "3"],
        ["i64", "max(1, 2)", "argument 1", "3"],
        ["f64", "max(x, y)", "argument 0", "4"],
        ["f64", "max(x, y)", "argument 1", "4"],
    ];
    jit.load_smf_bytes(b"user.smf", &uses(&rows)).unwrap();
    let expected = "Cannot infer type arguments for max: it is used with `i64` at user.spl:3:5 and with `f64` at user.spl:4:5";
    assert_eq!(jit.infer_arguments("max", &[]).unwrap_err().to_string(), expected);
    let taker = ObjTaker::new(&jit, TakerConfig::default());
    let Taken::Template { reason, .. } = taker.take_generic("max").unwrap() else { panic!() };
    assert_eq!(reason.to_string(), expected);
    let strict = ObjTaker::new(&jit, TakerConfig { allow_deferred: false });
    assert_eq!(strict.take_generic("max").unwrap_err().to_string(), expected);
    // One call that contradicts itself.
    jit.load_smf_bytes(
        b"user.smf",
        &uses(&[rows[0], ["f64", "max(1, y)", "argument 1", "3"], rows[2], rows[3]]),
    )
    .unwrap();
    let error = jit.infer_arguments("max", &[]).unwrap_err().to_string();
    assert!(error.contains("argument 2 of the call: `i64` and `f64` are different"), "{error}");
}

#[test]
fn object_with_types_is_the_instance_or_a_named_error() {
    let jit = jit(&taken_templates());
    let taker = ObjTaker::new(&jit, TakerConfig::default());
    let instance = taker.take_with_types("max", &[Type::I64]).unwrap();
    assert_eq!(run(&instance, &[3, 9]), Ok(9));
    assert_eq!(taker.take_object(None, "max$i64").unwrap().kind(), "instance");
    let error =
        |name: &str, types: &[Type]| taker.take_with_types(name, types).unwrap_err().to_string();
    assert_eq!(error("min", &[Type::I64]), "Symbol min is not a generic template");
    let expected = "Type argument count mismatch: expected 1, got 2";
    assert_eq!(error("max", &[Type::I64, Type::I64]), expected);
    let found = error("max", &[Type::Tuple(vec![Type::I64, Type::I64])]);
    assert!(
        found.starts_with("Template instantiation failed: cannot instantiate `max$"),
        "{found}"
    );
}

#[test]
fn deferred_object_lists_variables_constraints_and_uses() {
    let jit = jit(&taken_templates());
    let rows = [["f64", "larger(x, y)", "constraint 0", "3"], ["?X", "larger", "condition", "8"]];
    jit.load_smf_bytes(b"user.smf", &uses(&rows)).unwrap();
    let taker = ObjTaker::new(&jit, TakerConfig::default());
    let found = taker.take_deferred("larger").unwrap();
    assert_eq!((&*found.symbol, found.type_vars.len()), ("larger", 1));
    assert_eq!((found.type_vars[0].id, &*found.type_vars[0].name), (0, "T"));
    let [implements, equals] = &found.constraints[..] else { panic!("{found:?}") };
    assert_eq!((implements.kind, &*implements.rhs), (ConstraintKind::Implements, "Ord"));
    assert_eq!((equals.kind, &*equals.lhs, &*equals.rhs), (ConstraintKind::Equals, "T", "f64"));
    assert_eq!(equals.source_loc.as_deref(), Some("user.spl:3:5"));
    let sites: Vec<_> = found.usage_sites.iter().map(|site| &*site.location).collect();
    assert_eq!(sites, ["user.spl:3:5", "user.spl:8:5"]);
    assert_eq!(found.usage_sites[1].context_type, "?X");
    let width = taker.take_deferred("width").unwrap();
    assert_eq!(width.type_vars[1].fallback, Some(Type::int(32, true)));
    assert!(matches!(taker.take_deferred("min"), Err(TakeError::NotATemplate { .. })));
    let strict = ObjTaker::new(&jit, TakerConfig { allow_deferred: false });
    let error = strict.take_deferred("max").unwrap_err().to_string();
    assert_eq!(error, "Deferred types not allowed for max");
}

#[test]
fn bounds_of_source_templates_are_constraints() {
    let jit = jit(&compiled("fn keep<T: Num + Ord, U>(a: T, b: U) -> T: a\n", &[]));
    let found = ObjTaker::new(&jit, TakerConfig::default()).take_deferred("keep").unwrap();
    let names: Vec<_> = found.type_vars.iter().map(|variable| &*variable.name).collect();
    assert_eq!(names, ["T", "U"]);
    let bounds = found.constraints.iter().map(|found| (found.kind, &*found.lhs, &*found.rhs));
    let bound = |name| (ConstraintKind::Implements, "T", name);
    assert_eq!(bounds.collect::<Vec<_>>(), [bound("Num"), bound("Ord")]);
    assert_eq!(run(&instance(&jit, "keep$i64_i64"), &[3, 9]), Ok(3));
}

#[test]
fn concrete_object_is_a_function_of_the_module() {
    let jit = jit(&taken_templates());
    let taker = ObjTaker::new(&jit, TakerConfig::default());
    let bytes = include_bytes!("../../../tests/samples/packed.smf");
    let smf = File::parse(bytes).unwrap().module().unwrap();
    let functions = FunctionExtractor::new(&smf).unwrap();
    let Taken::Code(body) = taker.take_object(Some(&functions), "add").unwrap() else { panic!() };
    assert_eq!(body.symbol.name(), b"add");
    assert_eq!(taker.take_concrete(&functions, "gone").unwrap().kind(), "not found");
    assert_eq!(taker.take_object(Some(&functions), "gone").unwrap().kind(), "not found");
    assert_eq!(taker.take_object(Some(&functions), "max").unwrap().kind(), "template");
}

#[test]
fn constants_are_those_of_the_concrete_type() {
    let text = "fn add<T>(a: T) -> T: a + 300\n\
                fn above<T>(a: T) -> bool: a > -1\n\
                fn large<T>(a: T) -> T: if a == a: 100000 else: a\n\
                fn one<T>(a: T) -> T: if a == a: 1 else: a\n\
                fn shifted<T>(a: T) -> T: a << 9\n\
                fn inverted<T>(a: T) -> T: ~a\n\
                fn arm<T>(a: T) -> i64:\n    match a:\n        case 200: 1\n        case _: 2\n\
                fn sum<T>(n: T) -> T:\n    var t = n\n    for i in 0..n: t = t + i\n    t\n";
    let jit = jit(&compiled(text, &[]));
    for (symbol, expected) in [
        ("add$u8", "the number does not fit `u8`"),
        ("above$u8", "the number does not fit `u8`"),
        ("above$u64", "the number does not fit `u64`"),
        ("large$i16", "the number does not fit `i16`"),
        ("arm$i8", "the number does not fit `i8`"),
        ("large$bool", "expected `bool`, found `i64`"),
        ("one$bool", "expected `bool`, found `i64`"),
        ("inverted$bool", "`~` has no meaning for `bool`"),
        ("sum$f64", "a range of `f64` has no steps"),
    ] {
        let found = error(&jit, symbol);
        assert!(found.contains(expected), "{symbol}: {found}");
    }
    for (symbol, argument, expected) in [
        ("add$i16", 1, 301),
        ("above$i8", 3, 1),
        ("large$u32", 3, 100_000),
        // The count is taken modulo the width.
        ("shifted$u8", 3, 6),
        ("inverted$i64", 3, -4),
        ("arm$u8", 200, 1),
        ("sum$i64", 3, 6),
    ] {
        assert_eq!(run(&instance(&jit, symbol), &[argument]), Ok(expected), "{symbol}");
    }
    assert_eq!(run_floats(&instance(&jit, "add$f64"), &[0.5]), 300.5);
}

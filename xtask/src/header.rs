//! Checks `smf.h`, which is written by hand, against the exports.
//!
//! The C compiler compares them. From the Rust sources of the exports comes a C file that includes the header and states
//! the type of every function and callback, the type and the place of every field, and the number of every constant, once
//! for each convention. Names that the header alone has are found in its preprocessed text. Every function must be in a
//! section that states its behaviour with threads and forks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use quote::ToTokens;
use syn::{
    Attribute, Expr, Field, FnArg, GenericArgument, Item, ItemMacro, ItemStruct, PathArguments,
    ReturnType, Type, parse_quote,
};

use crate::error::{At, Error};
use crate::library;
use crate::shell::{root, target};

/// The directory of the exports.
const EXPORTS: &str = "shell/src/ffi";

/// The options with which the compiler compares. A structure is initialised with as many values as Rust has fields, which
/// is too few where the header has more.
const CHECKS: [&str; 3] =
    ["-fsyntax-only", "-Werror=missing-field-initializers", "-Werror=redundant-decls"];

/// The starts of the names that some builds of the Simple runtime define themselves, and that therefore are weak symbols.
/// Those of its mapping functions are linked with a runtime in the tests of the C API.
const WEAK: [&str; 4] = ["rt_exec_manager_", "rt_jit_", "rt_get_jit_", "rt_set_jit_"];

/// Compares the header with the exports, and prints every difference.
pub(crate) fn run() -> Result<(), Error> {
    let differences = compare(&root().join(library::HEADER), &sources()?, &target())?;
    differences.iter().for_each(|difference| println!("{difference}"));
    match differences.len() {
        0 => Ok(()),
        count => Err(Error::Findings(count, "header")),
    }
}

/// The sources of the exports, by their paths.
fn sources() -> Result<BTreeMap<PathBuf, String>, Error> {
    let (mut sources, mut places) = (BTreeMap::new(), vec![root().join(EXPORTS)]);
    while let Some(place) = places.pop() {
        if place.is_dir() {
            for file in fs::read_dir(&place).at(&place)? {
                places.push(file.at(&place)?.path());
            }
        } else {
            sources.insert(place.clone(), fs::read_to_string(&place).at(&place)?);
        }
    }
    Ok(sources)
}

/// The differences between a header and the sources. The C files are written to a directory.
fn compare(
    header: &Path,
    sources: &BTreeMap<PathBuf, String>,
    directory: &Path,
) -> Result<BTreeSet<String>, Error> {
    let mut differences = check_groups(&fs::read_to_string(header).at(header)?);
    for (macros, other) in [(&[][..], "tagged.rs"), (&["-DSMF_TAGGED"], "values.rs")] {
        let mut exports = Exports { is_tagged: !macros.is_empty(), ..Exports::default() };
        for (path, source) in sources.iter().filter(|(path, _)| !path.ends_with(other)) {
            let parsed = syn::parse_file(source).map_err(std::io::Error::other).at(path)?;
            exports.add(parsed.items);
        }
        let statements = exports.statements();
        let file = directory.join(format!("header{}.c", macros.concat()));
        fs::write(
            &file,
            format!("#include \"{}\"\n#include <stddef.h>\n{statements}\n", header.display()),
        )
        .at(&file)?;
        let mut compile = Command::new(library::compiler());
        compile.env("LC_ALL", "C").args(macros).args(CHECKS).arg(&file);
        let errors = compile.output().at(header)?;
        let found = String::from_utf8_lossy(&errors.stderr);
        let mut found = found.lines().filter_map(|line| line.split_once(" error: ")).peekable();
        if found.peek().is_none() && !errors.status.success() {
            return Err(Error::Status(format!("{compile:?}"), errors.status));
        }
        differences.extend(found.map(|(_, error)| {
            error.trim_start_matches("static assertion failed: ").replace('"', "")
        }));
        let text = |options: &[_]| library::preprocessed(header, &[macros, options].concat());
        let (declared, defined) = (text(&[]).at(header)?, text(&["-dM"]).at(header)?);
        differences.extend(exports.absent(&declared, &defined));
    }
    Ok(differences)
}

/// What the sources export in one of the conventions.
#[derive(Default)]
struct Exports {
    is_tagged: bool,
    /// The types of parameters and result.
    functions: BTreeMap<String, (Vec<Type>, ReturnType)>,
    weak: BTreeSet<String>,
    structs: BTreeMap<String, Vec<(String, Type)>>,
    /// Types under other names: those of values, which differ between the conventions, and callbacks.
    aliases: BTreeMap<String, Type>,
    constants: BTreeMap<String, String>,
}

impl Exports {
    /// Adds the exports among the items.
    fn add(&mut self, items: Vec<Item>) {
        for item in items {
            match item {
                Item::Mod(module) if self.has(&module.attrs) => {
                    self.add(module.content.map(|(_, items)| items).unwrap_or_default());
                }
                Item::Fn(function) if self.has(&function.attrs) => {
                    let syn::Signature { ident, inputs, output, abi, .. } = function.sig;
                    if abi.is_some() && is_export(&ident.to_string()) {
                        let types = inputs.into_iter().filter_map(|input| match input {
                            FnArg::Typed(input) => Some(*input.ty),
                            FnArg::Receiver(_) => None,
                        });
                        let types = (types.collect(), output);
                        self.functions.insert(ident.to_string(), types);
                    }
                }
                Item::Macro(item) => self.add_generated(&item),
                Item::Struct(item) if is_struct(&item) => {
                    let field = |f: Field| Some((f.ident?.to_string(), f.ty));
                    let fields = item.fields.into_iter().filter_map(field).collect();
                    self.structs.insert(item.ident.to_string(), fields);
                }
                Item::Type(item) if self.has(&item.attrs) => {
                    self.aliases.insert(item.ident.to_string(), *item.ty);
                }
                Item::Const(item) if item.ident.to_string().starts_with("SMF_") => {
                    self.constants.insert(item.ident.to_string(), number(&item.expr));
                }
                Item::Enum(item) if item.ident == "Code" => {
                    self.constants.insert("SMF_OK".to_owned(), "0".to_owned());
                    self.constants.extend(item.variants.iter().filter_map(|variant| {
                        let name = format!("SMF_ERROR{}", in_capitals(&variant.ident.to_string()));
                        Some((name, number(&variant.discriminant.as_ref()?.1)))
                    }));
                }
                _ => {}
            }
        }
    }

    /// Adds the functions of `export!` and `calls!`, which take as many integers as are listed after the first, and the
    /// names of `export_weak!`.
    fn add_generated(&mut self, item: &ItemMacro) {
        let is = |name| item.mac.path.is_ident(name);
        let text = item.mac.tokens.to_string();
        let entries = text.split(';').map(str::trim).filter(|entry| !entry.is_empty());
        if is("export_weak") {
            self.weak.extend(entries.map(str::to_owned));
        } else if is("export") || is("calls") {
            for (name, listed) in entries.filter_map(|entry| entry.split_once('(')) {
                let count = listed.matches(char::is_alphabetic).count() + 1;
                let parameters = (0..count).map(|_| parse_quote!(i64)).collect();
                let types = (parameters, parse_quote!(-> i64));
                self.functions.insert(name.trim().to_owned(), types);
            }
        }
    }

    /// Whether an item belongs to the convention.
    fn has(&self, attributes: &[Attribute]) -> bool {
        attributes.iter().filter(|attribute| attribute.path().is_ident("cfg")).all(|attribute| {
            let condition = attribute.meta.to_token_stream().to_string();
            let is_of_tagged = !condition.contains("not");
            condition != "cfg (test)"
                && (!condition.contains("\"tagged\"") || is_of_tagged == self.is_tagged)
        })
    }

    /// The statements for the compiler. A type without a form in C is one that fails.
    fn statements(&self) -> String {
        let version = env!("CARGO_PKG_VERSION");
        let is_version = format!("SMF_VERSION is {version}");
        let mut statements =
            vec![state(&format!("!__builtin_strcmp(SMF_VERSION, \"{version}\")"), &is_version)];
        for (part, number) in ["MAJOR", "MINOR", "PATCH"].iter().zip(version.split('.')) {
            statements.push(state(&format!("SMF_VERSION_{part} == {number}"), &is_version));
        }
        for (name, number) in &self.constants {
            statements.push(state(&format!("{name} == {number}"), &format!("{name} is {number}")));
        }
        for (name, (parameters, result)) in &self.functions {
            let of = self.function(parameters.iter(), result, "");
            statements.push(state_type(name, &of, &format!("{name} is exported as")));
            if WEAK.iter().any(|start| name.starts_with(start)) && !self.weak.contains(name) {
                statements.push(state("0", &format!("{name} is not a weak symbol")));
            }
        }
        // The runtime defines none that begins with `smf_`.
        let is_own =
            |name: &&String| name.starts_with("smf_") || !self.functions.contains_key(*name);
        for name in self.weak.iter().filter(is_own) {
            statements.push(state("0", &format!("{name} is a weak symbol")));
        }
        for (name, alias) in self.aliases.iter().filter(|(name, _)| name.starts_with("Smf")) {
            statements.push(state_type(name, &self.in_c(alias, ""), &format!("{name} is")));
        }
        for (name, fields) in &self.structs {
            let declarations: String =
                fields.iter().map(|(field, of)| format!(" {};", self.in_c(of, field))).collect();
            statements.push(format!("struct Rust{name} {{{declarations} }};"));
            statements
                .push(format!("const {name} {name}_ = {{ {} }};", "0, ".repeat(fields.len())));
            let size = format!("sizeof({name}) == sizeof(struct Rust{name})");
            statements.push(state(&size, &format!("the size of {name}")));
            for (field, of) in fields {
                let place =
                    format!("offsetof({name}, {field}) == offsetof(struct Rust{name}, {field})");
                statements.push(state(&place, &format!("the place of {name}.{field}")));
                let what = format!("(({name} *)0)->{field}");
                let message = format!("{name}.{field} is");
                statements.push(state_type(&what, &self.in_c(of, ""), &message));
            }
        }
        statements.join("\n")
    }

    /// The declaration of a name of this type in C; of no name, the type. `declarator` is the name with what surrounds it.
    fn in_c(&self, of: &Type, declarator: &str) -> String {
        match of {
            Type::Ptr(pointer) => {
                let qualifier = if pointer.const_token.is_some() { "const " } else { "" };
                self.in_c(&pointer.elem, &format!("{qualifier}*{declarator}"))
            }
            Type::BareFn(function) => {
                let parameters = function.inputs.iter().map(|input| &input.ty);
                self.function(parameters, &function.output, &format!("(*{declarator})"))
            }
            Type::Path(path) => {
                let last = path.path.segments.last();
                let name = last.map(|last| last.ident.to_string()).unwrap_or_default();
                if let Some(PathArguments::AngleBracketed(list)) = last.map(|last| &last.arguments)
                    && let (true, Some(GenericArgument::Type(of))) =
                        (name == "Option", list.args.first())
                {
                    return self.in_c(of, declarator);
                }
                if let Some(alias) = self.aliases.get(&name) {
                    return self.in_c(alias, declarator);
                }
                let c = SCALARS.iter().find(|(rust, _)| *rust == name).map(|(_, c)| *c);
                format!("{} {declarator}", c.unwrap_or(&name))
            }
            other => format!("{} {declarator}", other.to_token_stream()),
        }
    }

    fn function<'t>(
        &self,
        parameters: impl Iterator<Item = &'t Type>,
        result: &ReturnType,
        declarator: &str,
    ) -> String {
        let list: Vec<String> =
            parameters.map(|of| self.in_c(of, "").trim_end().to_owned()).collect();
        let list = if list.is_empty() { "void".to_owned() } else { list.join(", ") };
        let declarator = format!("{declarator}({list})");
        match result {
            ReturnType::Default => format!("void {declarator}"),
            ReturnType::Type(_, of) => self.in_c(of, &declarator),
        }
    }

    /// The functions, structures and constants that the header alone has, of its preprocessed text and its macros.
    fn absent(&self, declared: &str, macros: &str) -> Vec<String> {
        let between = |text: &str, start: &str, end: char| -> Vec<String> {
            let rests = text.split(start).skip(1).filter_map(|rest| rest.split_once(end));
            rests.map(|(name, _)| name.trim().to_owned()).collect()
        };
        let functions = library::functions(declared).map(|(name, _)| name.to_owned());
        let structs = between(declared, "typedef struct ", '{').into_iter();
        let structs = structs.filter(|name| name.starts_with("Smf"));
        let constants = between(declared, " SMF_", '=').into_iter();
        let constants = constants.chain(between(macros, "#define SMF_", ' '));
        let constants = constants.map(|name| format!("SMF_{name}"));
        let is_constant = |name: &String| !NO_CONSTANTS.iter().any(|start| name.starts_with(start));
        functions
            .filter(|name| !self.functions.contains_key(name))
            .chain(structs.filter(|name| !self.structs.contains_key(name)))
            .chain(constants.filter(is_constant).filter(|name| !self.constants.contains_key(name)))
            .map(|name| format!("{name} is in the header alone"))
            .collect()
    }
}

/// The scalars of the interface, in Rust and in C.
const SCALARS: [(&str, &str); 12] = [
    ("c_char", "char"),
    ("c_int", "int"),
    ("c_void", "void"),
    ("f64", "double"),
    ("i8", "int8_t"),
    ("i16", "int16_t"),
    ("i32", "int32_t"),
    ("i64", "int64_t"),
    ("u8", "uint8_t"),
    ("u16", "uint16_t"),
    ("u32", "uint32_t"),
    ("u64", "uint64_t"),
];

/// The starts of names of macros that are no constants of the exports.
const NO_CONSTANTS: [&str; 3] = ["SMF_H", "SMF_TAGGED", "SMF_VERSION"];

fn state(condition: &str, message: &str) -> String {
    format!("_Static_assert({condition}, \"{message}\");")
}

/// States that `what` has a type.
fn state_type(what: &str, of: &str, message: &str) -> String {
    let of = of.trim();
    let condition = format!("__builtin_types_compatible_p(__typeof__({what}), {of})");
    state(&condition, &format!("{message} `{of}`"))
}

/// The number that is the value of a constant, or the first argument of the function that checks it.
fn number(value: &Expr) -> String {
    match value {
        Expr::Call(call) => call.args.first().map(number).unwrap_or_default(),
        value => value.to_token_stream().to_string(),
    }
}

/// Whether a structure is one of the interface.
fn is_struct(item: &ItemStruct) -> bool {
    let has_layout_of_c = item.attrs.iter().any(|attribute| attribute.path().is_ident("repr"));
    has_layout_of_c && item.ident.to_string().starts_with("Smf")
}

/// Whether a function is exported under this name.
fn is_export(name: &str) -> bool {
    library::PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// `UnknownAddress` as `_UNKNOWN_ADDRESS`.
fn in_capitals(name: &str) -> String {
    let part =
        |letter: char| [letter.is_uppercase().then_some('_'), Some(letter.to_ascii_uppercase())];
    name.chars().flat_map(part).flatten().collect()
}

/// Checks that every section with functions has one statement on threads and one on forks.
fn check_groups(header: &str) -> BTreeSet<String> {
    let mut differences = BTreeSet::new();
    let has_function = |section: &&str| {
        section.lines().any(|line| !line.starts_with([' ', '/', '#']) && line.contains('('))
    };
    for section in header.split("\n/* ---- ").filter(has_function) {
        let title =
            section.lines().next().unwrap_or_default().trim_end_matches([' ', '-', '*', '/']);
        for what in ["Threads", "Fork"] {
            let count = section.matches(&format!("\n * {what}: ")).count();
            if count != 1 {
                differences
                    .insert(format!("{count} statements of `{what}:` in the section {title}"));
            }
        }
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUST: &str = "
        #[unsafe(no_mangle)]
        pub unsafe extern \"C\" fn smf_one(a: i64, b: *const c_char, c: SmfVisitor) -> Bool {}
        #[cfg(not(feature = \"tagged\"))]
        extern \"C\" fn rt_jit_two() {}
        #[cfg(feature = \"tagged\")]
        extern \"C\" fn rt_jit_two(a: *const *mut c_void) {}
        export_weak! { rt_jit_two; }
        export! { rt_call_0(); rt_call_2(a, b); }
        macro_rules! export { () => { extern \"C\" fn smf_no() {} } }
        #[cfg(test)]
        mod tests { extern \"C\" fn smf_of_a_test() {} }
        type Bool = bool;
        pub type SmfVisitor = Option<unsafe extern \"C\" fn(*const SmfPair, *mut c_void) -> i32>;
        #[repr(C)] pub struct SmfPair { pub size: i64, pub other: i32, pub free: Option<extern \"C\" fn()> }
        const SMF_ONE: i32 = 1;
        const SMF_TWO: i32 = known(-2, Two::Two);
        enum Code { OutOfRange = 4 }";
    const C: &str = "
/*
 * Threads: any.
 * Fork: none.
 */
#define SMF_H
#include <stdbool.h>
#include <stdint.h>
#define SMF_ONE 1 /* void smf_no(void); */
#define SMF_TWO (-2)
typedef enum SmfErrorCode { SMF_OK = 0, SMF_ERROR_OUT_OF_RANGE = 4 } SmfErrorCode;
typedef struct SmfPair {
    int64_t size;
    int32_t other;
    void (*free)(void);
} SmfPair;
typedef int32_t (*SmfVisitor)(const SmfPair *pair, void *user);
bool smf_one(int64_t a, const char *b, SmfVisitor c);
#ifdef SMF_TAGGED
void rt_jit_two(void *const *a);
#else
void rt_jit_two(void);
#endif
int64_t rt_call_0(int64_t f);
int64_t rt_call_2(int64_t f, int64_t a, int64_t b);
";

    /// The differences between sources and a header.
    fn differences(name: &str, rust: &str, c: &str) -> Vec<String> {
        let directory = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let header = directory.join("smf.h");
        fs::write(&header, c).unwrap();
        let sources = BTreeMap::from([(PathBuf::from("a.rs"), rust.to_owned())]);
        let found = compare(&header, &sources, &directory).unwrap();
        fs::remove_dir_all(&directory).unwrap();
        found.into_iter().collect()
    }

    /// The header with the version of this package.
    fn header() -> String {
        let version = env!("CARGO_PKG_VERSION");
        let numbers = ["MAJOR", "MINOR", "PATCH"].iter().zip(version.split('.'));
        let numbers = numbers.map(|(part, n)| format!("#define SMF_VERSION_{part} {n}\n"));
        format!("{}#define SMF_VERSION \"{version}\"\n{C}", numbers.collect::<String>())
    }

    #[test]
    fn header_of_the_repository_has_no_differences() {
        run().unwrap();
    }

    #[test]
    fn matching_header_has_no_differences() {
        assert_eq!(differences("header-equal", RUST, &header()), [""; 0]);
    }

    /// Each difference, made by a replacement in the header, and a part of what the compiler says.
    #[test]
    fn every_difference_is_found() {
        for (from, to, expected) in [
            ("bool smf_one", "int32_t smf_one", "smf_one is exported as `bool (int64_t"),
            ("int64_t a, const", "int32_t a, const", "smf_one is exported as"),
            ("const char *b", "char *b", "smf_one is exported as"),
            ("SmfVisitor c)", "void *c)", "smf_one is exported as"),
            ("SmfVisitor c)", "SmfVisitor c, int d)", "smf_one is exported as"),
            ("void *const *a", "void **a", "rt_jit_two is exported as `void (void *const *)`"),
            ("rt_jit_two(void)", "rt_jit_two(int a)", "rt_jit_two is exported as `void (void)`"),
            ("rt_call_2(int64_t f, ", "rt_call_2(", "rt_call_2 is exported as"),
            ("int64_t rt_call_0", "int32_t rt_call_1", "rt_call_0"),
            ("int64_t rt_call_0", "void smf_four(int); int64_t rt_call_0", "smf_four is in the"),
            (
                "bool smf_one(",
                "bool smf_one(int64_t, const char *, SmfVisitor); bool smf_one(",
                "redundant",
            ),
            ("const SmfPair *pair", "SmfPair *pair", "SmfVisitor is `int32_t (*)("),
            ("int32_t (*SmfVisitor)", "bool (*SmfVisitor)", "SmfVisitor is"),
            ("int32_t other", "uint32_t other", "SmfPair.other is `int32_t`"),
            ("int32_t other", "int16_t other", "SmfPair.other is `int32_t`"),
            ("int32_t other", "int32_t others", "others"),
            ("int32_t other", "int32_t other, more", "missing initializer"),
            ("void (*free)(void);", "", "free"),
            ("void (*free)(void)", "int (*free)(void)", "SmfPair.free is `void (*)(void)`"),
            ("(void);\n} SmfPair", "(void); int64_t more;\n} SmfPair", "the size of SmfPair"),
            ("int64_t size;\n    int32_t other;", "int32_t other; int64_t size;", "the place of"),
            (
                "int64_t rt_call_0",
                "typedef struct SmfNew { int a; } SmfNew; int64_t rt_call_0",
                "SmfNew is in",
            ),
            ("SMF_ONE 1", "SMF_ONE 2", "SMF_ONE is 1"),
            ("(-2)", "2", "SMF_TWO is - 2"),
            ("#define SMF_ONE 1", "", "SMF_ONE"),
            ("#define SMF_ONE 1", "#define SMF_ONE 1\n#define SMF_NEW 1", "SMF_NEW is in the"),
            ("= 4", "= 5", "SMF_ERROR_OUT_OF_RANGE is 4"),
            ("= 4", "= 4, SMF_ERROR_NEW = 5", "SMF_ERROR_NEW is in the"),
            ("#define SMF_VERSION \"", "#define SMF_VERSION \"9", "SMF_VERSION is"),
            ("MINOR ", "MINOR 9", "SMF_VERSION is"),
        ] {
            let changed = header().replace(from, to);
            assert_ne!(changed, header(), "{from}");
            let found = differences("header-changed", RUST, &changed).join("\n");
            assert!(found.contains(expected), "{from} -> {to}: {found}");
        }
    }

    #[test]
    fn export_without_a_declaration_is_found() {
        for (from, to, expected) in [
            ("smf_one", "smf_three", "smf_three"),
            ("export_weak! { rt_jit_two; }", "", "rt_jit_two is not a weak symbol"),
            (
                "export_weak! { rt_jit_two; }",
                "export_weak! { rt_jit_two; rt_jit_none; }",
                "rt_jit_none is a weak symbol",
            ),
            ("a: i64, b", "a: usize, b", "usize"),
            ("#[repr(C)]", "", "SmfPair is in the header alone"),
        ] {
            let found = differences("header-export", &RUST.replace(from, to), &header()).join("\n");
            assert!(found.contains(expected), "{from} -> {to}: {found}");
        }
    }

    #[test]
    fn section_without_statements_on_threads_and_forks_is_found() {
        let statements = "/*\n * Threads: any.\n * Fork: as in the parent.\n */\n";
        let header = format!(
            "#define A 1\n/* ---- One -- */\n{statements}void a(void);\n/* ---- Two --- */\n"
        );
        let groups = |header: &str| check_groups(header).into_iter().collect::<Vec<_>>();
        assert_eq!(groups(&header), [""; 0]);
        let two = format!("{header}void b(void);\n");
        let absent =
            ["Fork", "Threads"].map(|w| format!("0 statements of `{w}:` in the section Two"));
        assert_eq!(groups(&two), absent);
        assert_eq!(groups(&format!("{two}{statements}")), [""; 0]);
        assert_eq!(groups(&format!("{header}{statements}void b(void);\n")), [""; 0]);
        assert_eq!(groups(&header.replace("/* ---- One -- */", "")).len(), 0);
        assert_eq!(groups(&format!("{statements}{header}")).len(), 0);
        assert_eq!(groups(&header.replace(statements, &statements.repeat(2))).len(), 2);
    }
}

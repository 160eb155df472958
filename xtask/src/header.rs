//! Checks `smf.h`, which is written by hand, against the exports: functions with their types, fields of structures, error
//! numbers, and the version.
//!
//! The check supports only the plain form in which this repository writes both languages: an export is `#[unsafe(no_mangle)]`
//! directly before its function; a declaration is a statement outside of braces. An item in another form is missing on one side,
//! and therefore reported.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The header, from the top of the repository.
pub(crate) const HEADER: &str = "shell/include/smf.h";

/// The directory of the exports.
const EXPORTS: &str = "shell/src/ffi";

/// The types of the interface, in Rust and in C.
const TYPES: [(&str, &str); 49] = [
    ("()", "void"),
    ("bool", "bool"),
    ("u64", "uint64_t"),
    ("i32", "int32_t"),
    ("i64", "int64_t"),
    ("*const c_char", "const char *"),
    ("*const *const c_char", "const char *const *"),
    ("*const u8", "const uint8_t *"),
    ("*mut i32", "int32_t *"),
    ("*mut u8", "uint8_t *"),
    ("*const RuntimeValue", "const RuntimeValue *"),
    ("*mut RuntimeValue", "RuntimeValue *"),
    ("*const SmfValueHooks", "const SmfValueHooks *"),
    ("Bytes", "SmfBytes"),
    ("Value", "SmfValue"),
    ("Path", "SmfPath"),
    ("Mapping", "SmfMapping"),
    ("SmfError", "SmfError"),
    ("*const SmfCacheOptions", "const SmfCacheOptions *"),
    ("SmfCacheFile", "SmfCacheFile"),
    ("SmfCachePart", "SmfCachePart"),
    ("*mut SmfCacheStatistics", "SmfCacheStatistics *"),
    ("*mut SmfCacheSample", "SmfCacheSample *"),
    ("SmfPrefetchProgress", "SmfPrefetchProgress"),
    ("*mut c_void", "void *"),
    ("*const i64", "const int64_t *"),
    ("*mut i64", "int64_t *"),
    ("*const u64", "const uint64_t *"),
    ("*const SmfLoaderOptions", "const SmfLoaderOptions *"),
    ("*mut SmfLoaderStatistics", "SmfLoaderStatistics *"),
    ("*mut SmfReloaded", "SmfReloaded *"),
    ("*mut SmfSymbol", "SmfSymbol *"),
    ("SmfMissing", "SmfMissing"),
    ("SmfResolver", "SmfResolver"),
    ("SmfModuleVisitor", "SmfModuleVisitor"),
    ("SmfSymbolVisitor", "SmfSymbolVisitor"),
    ("*mut SmfConcrete", "SmfConcrete *"),
    ("*mut SmfTakenReloc", "SmfTakenReloc *"),
    ("*mut SmfDeferred", "SmfDeferred *"),
    ("SmfConcreteVisitor", "SmfConcreteVisitor"),
    ("SmfDeferredVisitor", "SmfDeferredVisitor"),
    ("*mut c_char", "char *"),
    ("*const SmfJitOptions", "const SmfJitOptions *"),
    ("*mut SmfJitInstance", "SmfJitInstance *"),
    ("*mut SmfJitStatistics", "SmfJitStatistics *"),
    ("*const SmfTemplate", "const SmfTemplate *"),
    ("SmfCompiler", "SmfCompiler"),
    ("Json", "SmfJson"),
    ("Answer", "SmfAnswer"),
];

/// The structures of the interface.
const STRUCTS: [&str; 21] = [
    "SmfError",
    "SmfValueHooks",
    "SmfMapping",
    "SmfCacheOptions",
    "SmfCacheFile",
    "SmfCachePart",
    "SmfCacheStatistics",
    "SmfCacheSample",
    "SmfPrefetchProgress",
    "SmfLoaderOptions",
    "SmfMissing",
    "SmfSymbol",
    "SmfReloaded",
    "SmfLoaderStatistics",
    "SmfTakenReloc",
    "SmfConcrete",
    "SmfDeferred",
    "SmfJitOptions",
    "SmfJitInstance",
    "SmfJitStatistics",
    "SmfTemplate",
];

/// A function, with the types of C.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: String,
    /// The return type.
    pub(crate) result: String,
    /// The types of its arguments.
    pub(crate) arguments: Vec<String>,
}

/// A function of the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Declared {
    /// Name and types.
    pub(crate) function: Function,
    /// Whether the tagged convention exports it as well.
    pub(crate) in_tagged: bool,
    /// Whether only libraries with the feature `jit` export it.
    pub(crate) needs_jit: bool,
}

/// Compares the header with the exports.
///
/// # Errors
/// Every difference, one a line.
pub(crate) fn check(root: &Path) -> Result<(), String> {
    let header = read(&root.join(HEADER))?;
    let (mut exported, mut rust) = (Vec::new(), String::new());
    let mut places = vec![root.join(EXPORTS)];
    while let Some(place) = places.pop() {
        if place.is_dir() {
            let files = fs::read_dir(&place).map_err(|error| told(&place, &error))?;
            let paths = files.map(|file| Ok(file?.path())).collect::<Result<Vec<_>, _>>();
            places.extend(paths.map_err(|error| told(&place, &error))?);
            continue;
        }
        let text = read(&place)?;
        exported.extend(exports(&text));
        rust.push_str(&text);
    }
    let declared = declared(&header);
    let mut differences = compare(&exported, &declared);
    differences.extend(compare_structs(&STRUCTS, &rust, &header));
    differences.extend(compare_codes(&rust, &header));
    differences.extend(compare_version(&read(&root.join("Cargo.toml"))?, &header));
    if exported.is_empty() {
        differences.push("there are no exports".to_owned());
    }
    if differences.is_empty() { Ok(()) } else { Err(differences.join("\n")) }
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| told(path, &error))
}

fn told(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

fn compare(exported: &[Function], declared: &[Declared]) -> Vec<String> {
    let mut differences = Vec::new();
    let by_name: BTreeMap<&str, &Function> =
        declared.iter().map(|d| (&*d.function.name, &d.function)).collect();
    for function in exported {
        match by_name.get(&*function.name) {
            None => differences.push(format!("{} is exported and not declared", function.name)),
            Some(found) if *found != function => {
                let (here, there) = (function.in_c(), found.in_c());
                differences.push(format!("exported as `{here}`, declared as `{there}`"));
            }
            Some(_) => {}
        }
    }
    if by_name.len() != declared.len() {
        differences.push("a function is declared twice".to_owned());
    }
    let undefined = by_name.keys().filter(|name| exported.iter().all(|f| f.name != **name));
    differences.extend(undefined.map(|name| format!("{name} is declared and not exported")));
    differences
}

impl Function {
    fn in_c(&self) -> String {
        format!("{} {}({})", self.result, self.name, self.arguments.join(", "))
    }
}

/// The exports of a Rust file.
pub(crate) fn exports(rust: &str) -> Vec<Function> {
    let mut found = Vec::new();
    for (at, marker) in rust.match_indices("#[unsafe(no_mangle)]\n") {
        let rest = rust.get(at + marker.len()..).unwrap_or_default().trim_start();
        // Attributes may precede the function.
        let rest = rest.lines().skip_while(|line| line.trim_start().starts_with("#["));
        let rest: String = rest.collect::<Vec<_>>().join("\n");
        let head = rest.split(['{', ';']).next().unwrap_or_default();
        if let Some(function) = export(head).filter(|f| !f.name.starts_with('$')) {
            found.push(function);
        }
    }
    // The functions that a macro generates: a name and the number of integer arguments.
    let family = rust.split_once("\nexport! {\n").and_then(|(_, rest)| rest.split_once("\n}"));
    for line in family.map(|(lines, _)| lines).unwrap_or_default().lines() {
        if let Some((name, arguments)) = line.trim().trim_end_matches(");").split_once('(') {
            let count = 1 + arguments.split(',').filter(|a| !a.trim().is_empty()).count();
            let integer = || "int64_t".to_owned();
            let arguments = (0..count).map(|_| integer()).collect();
            found.push(Function { name: name.to_owned(), result: integer(), arguments });
        }
    }
    found
}

/// `pub extern "C" fn name(argument: type, ...) -> type`.
fn export(head: &str) -> Option<Function> {
    let (_, signature) = head.split_once("extern \"C\" fn ")?;
    let (name, rest) = signature.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(')')?;
    let arguments = arguments.split(',').filter_map(|argument| argument.split_once(':'));
    let result = result.trim().strip_prefix("->").unwrap_or("()");
    Some(Function {
        name: name.trim().to_owned(),
        result: type_in_c(result),
        arguments: arguments.map(|(_, of)| type_in_c(of)).collect(),
    })
}

fn type_in_c(rust: &str) -> String {
    let rust = rust.trim();
    let known = TYPES.iter().find(|(name, _)| *name == rust);
    known.map_or_else(|| format!("`{rust}`, which has no type in C"), |(_, c)| (*c).to_owned())
}

/// The functions of a header.
pub(crate) fn declared(header: &str) -> Vec<Declared> {
    let mut found = Vec::new();
    let (mut depth, mut statement) = (0usize, String::new());
    let mut conditions: Vec<String> = Vec::new();
    for line in without_comments(header).lines() {
        match line.split_whitespace().next() {
            Some("#endif") => drop(conditions.pop()),
            Some("#else") => conditions.last_mut().into_iter().for_each(String::clear),
            Some(word) if word.starts_with("#if") => conditions.push(line.trim().to_owned()),
            _ => {}
        }
        let only_if = |condition| conditions.iter().any(|known| known == condition);
        let in_tagged = !only_if("#ifndef SMF_TAGGED");
        let needs_jit = only_if("#ifndef SMF_NO_JIT");
        // The braces around everything are for C++.
        if line.starts_with('#') || line.starts_with("extern \"C\" {") || line == "}" {
            continue;
        }
        for letter in line.chars() {
            match letter {
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                ';' if depth == 0 => {
                    let whole = std::mem::take(&mut statement);
                    found.extend(declaration(&whole).map(|function| Declared {
                        function,
                        in_tagged,
                        needs_jit,
                    }));
                }
                letter => statement.push(letter),
            }
        }
        statement.push(' ');
    }
    found
}

/// `type name(type argument, ...)`.
fn declaration(statement: &str) -> Option<Function> {
    let statement = statement.trim();
    if statement.starts_with("typedef") {
        return None;
    }
    let (head, arguments) = statement.split_once('(')?;
    let arguments = arguments.trim_end().strip_suffix(')')?;
    let (result, name) = type_and_name(head)?;
    let arguments = arguments.split(',').filter(|argument| argument.trim() != "void");
    let arguments =
        arguments.map(|argument| Some(type_and_name(argument)?.0)).collect::<Option<_>>()?;
    Some(Function { name, result, arguments })
}

/// `const char *name` as `const char *` and `name`.
fn type_and_name(text: &str) -> Option<(String, String)> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let at = text.rfind([' ', '*'])? + 1;
    let (of, name) = text.split_at_checked(at)?;
    Some((of.trim().to_owned(), name.to_owned()))
}

fn without_comments(c: &str) -> String {
    let mut pieces = c.split("/*");
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        text.push_str(piece.split_once("*/").map_or("", |(_, rest)| rest));
    }
    text
}

/// The fields of each structure, by name and order.
fn compare_structs(names: &[&str], rust: &str, header: &str) -> Vec<String> {
    let header = without_comments(header);
    let mut differences = Vec::new();
    for name in names {
        let start = [format!("pub struct {name} {{"), format!("typedef struct {name} {{")];
        let [ours, theirs] = start;
        let ours: Vec<&str> = body(rust, &ours)
            .lines()
            .filter_map(|line| line.trim().strip_prefix("pub ")?.split_once(':').map(|(n, _)| n))
            .collect();
        let theirs: Vec<&str> = body(&header, &theirs).split(';').filter_map(field).collect();
        if ours != theirs || ours.is_empty() {
            differences
                .push(format!("{name} has the fields {ours:?}, and {theirs:?} in the header"));
        }
    }
    differences
}

/// The name in `type name` or `type (*name)(...)`.
fn field(declaration: &str) -> Option<&str> {
    let declaration = declaration.trim();
    match declaration.split_once("(*") {
        Some((_, rest)) => rest.split(')').next(),
        None => declaration.rsplit([' ', '*']).next().filter(|name| !name.is_empty()),
    }
}

fn body<'t>(text: &'t str, start: &str) -> &'t str {
    let rest = text.split_once(start).map_or("", |(_, rest)| rest);
    rest.split_once("\n}").map_or("", |(body, _)| body)
}

/// The numbers of the errors.
fn compare_codes(rust: &str, header: &str) -> Vec<String> {
    let header = without_comments(header);
    let numbers = |text: &str| -> Vec<(String, String)> {
        let entries = text.split(',').filter_map(|entry| entry.split_once('='));
        entries.map(|(name, number)| (name.trim().to_owned(), number.trim().to_owned())).collect()
    };
    let mut ours = vec![("SMF_OK".to_owned(), "0".to_owned())];
    let named =
        |(name, number): (String, String)| (format!("SMF_ERROR_{}", in_capitals(&name)), number);
    ours.extend(numbers(body(rust, "enum Code {")).into_iter().map(named));
    let theirs = numbers(body(&header, "typedef enum SmfErrorCode {"));
    let differ = ours.iter().filter(|entry| !theirs.contains(entry));
    let mut differences: Vec<String> =
        differ.map(|(name, number)| format!("{name} = {number} is not in the header")).collect();
    if ours.len() != theirs.len() || ours.len() == 1 {
        differences.push(format!("{} error codes, and {} in the header", ours.len(), theirs.len()));
    }
    differences
}

/// `UnknownAddress` as `UNKNOWN_ADDRESS`.
fn in_capitals(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.extend(letter.to_uppercase());
    }
    text
}

fn compare_version(manifest: &str, header: &str) -> Option<String> {
    let ours = manifest.lines().find_map(|line| line.strip_prefix("version = "))?;
    let theirs = header.lines().find_map(|line| line.strip_prefix("#define SMF_VERSION "));
    (Some(ours) != theirs).then(|| format!("version {ours}, and {theirs:?} in the header"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUST: &str = "\
/// Doc.
#[unsafe(no_mangle)]
pub extern \"C\" fn one(a: i64, b: *const c_char) -> bool {
}
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern \"C\" fn two() {
}
macro_rules! export { }
#[unsafe(no_mangle)]
pub extern \"C\" fn $name($(a: i64),*) -> i64 {
}
export! {
    three_0();
    three_2(a, b);
}
";
    const C: &str = "\
#ifdef __cplusplus
extern \"C\" {
#endif
/* bool no(void); */
typedef struct S { int (*f)(int); } S;
bool one(int64_t a,
         const char *b);
#ifndef SMF_NO_JIT
#ifndef SMF_TAGGED
void two(void);
#else
#endif
int64_t three_0(int64_t f);
#endif
int64_t three_2(int64_t f, int64_t a, int64_t b);
#ifdef __cplusplus
}
#endif
";

    #[test]
    fn matching_header_is_accepted() {
        let declared = declared(C);
        assert_eq!(compare(&exports(RUST), &declared), [""; 0]);
        let in_tagged: Vec<bool> = declared.iter().map(|d| d.in_tagged).collect();
        assert_eq!(in_tagged, [true, false, true, true]);
        let needs_jit: Vec<bool> = declared.iter().map(|d| d.needs_jit).collect();
        assert_eq!(needs_jit, [false, true, true, false]);
    }

    #[test]
    fn every_difference_is_found() {
        let found = |rust: &str, c: &str| compare(&exports(rust), &declared(c));
        let wrong = |from, to| found(RUST, &C.replace(from, to)).join("; ");
        assert!(wrong("bool one", "int32_t one").contains("exported as `bool one("));
        assert!(wrong("const char *b", "char *b").contains("declared as"));
        assert!(wrong("int64_t three_2(int64_t f, ", "int64_t three_2(").contains("three_2"));
        assert_eq!(wrong("void two(void);", ""), "two is exported and not declared");
        assert_eq!(
            wrong("void two(", "void four(void); void two("),
            "four is declared and not exported"
        );
        assert_eq!(wrong("void two(", "void two(void); void two("), "a function is declared twice");
        assert!(
            found(&RUST.replace("b: *const c_char", "b: usize"), C)[0].contains("no type in C")
        );
    }

    #[test]
    fn structures_codes_and_versions_are_compared() {
        let rust = "pub struct SmfError {\n    pub code: i32,\n}\npub struct SmfValueHooks {\n    pub size: i64,\n    pub free: Option<F>,\n}\nenum Code {\n    Argument = 1,\n    OutOfRange = 4,\n}\n";
        let c = "typedef struct SmfError {\n    int32_t code; /* x */\n} SmfError;\ntypedef struct SmfValueHooks {\n    int64_t size;\n    void (*free)(RuntimeValue *);\n} SmfValueHooks;\ntypedef enum SmfErrorCode {\n    SMF_OK = 0,\n    SMF_ERROR_ARGUMENT = 1, /* y */\n    SMF_ERROR_OUT_OF_RANGE = 4\n} SmfErrorCode;\n";
        let names = ["SmfError", "SmfValueHooks"];
        assert_eq!(compare_structs(&names, rust, c), [""; 0]);
        assert_eq!(compare_codes(rust, c), [""; 0]);
        assert_eq!(compare_structs(&names, rust, &c.replace("(*free)", "(*release)")).len(), 1);
        assert_eq!(compare_codes(rust, &c.replace("= 4", "= 5")).len(), 1);
        assert_eq!(compare_codes(rust, &c.replace("= 4", "= 4,\n    SMF_MORE = 6")).len(), 1);
        let header = "#define SMF_VERSION \"1.2.3\"\n";
        assert_eq!(compare_version("version = \"1.2.3\"\n", header), None);
        assert!(compare_version("version = \"1.2.4\"\n", header).is_some());
    }
}

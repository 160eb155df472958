//! Checks `smf.h`, which is written by hand, against the exports: functions with their types, fields of structures,
//! error numbers, and the version. Every function must be in a section that states its behaviour with threads and forks.
//!
//! The check supports only the plain form in which this repository writes both languages: an export is
//! `#[unsafe(no_mangle)]` directly before its function; a declaration is a statement outside of braces. An item in
//! another form is missing on one side, and therefore reported.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The header, from the top of the repository.
pub(crate) const HEADER: &str = "shell/include/smf.h";

/// The directory of the exports.
const EXPORTS: &str = "shell/src/ffi";

/// The types of the interface, in Rust and in C.
const TYPES: [(&str, &str); 68] = [
    ("()", "void"),
    ("bool", "bool"),
    ("Bool", "SmfBool"),
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
    ("*mut SmfCacheBucket", "SmfCacheBucket *"),
    ("SmfPrefetchProgress", "SmfPrefetchProgress"),
    ("*mut c_void", "void *"),
    ("*const *mut c_void", "void *const *"),
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
    ("*mut SmfModuleHeader", "SmfModuleHeader *"),
    ("*mut SmfModuleSection", "SmfModuleSection *"),
    ("*mut SmfExecEvent", "SmfExecEvent *"),
    ("*const SmfHostSymbol", "const SmfHostSymbol *"),
    ("*const SmfSymbolTable", "const SmfSymbolTable *"),
    ("*const SmfHostFunction", "const SmfHostFunction *"),
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
    ("*mut SmfTakenObject", "SmfTakenObject *"),
    ("SmfTypeHintVisitor", "SmfTypeHintVisitor"),
    ("*const SmfTemplate", "const SmfTemplate *"),
    ("SmfCompiler", "SmfCompiler"),
    ("Json", "SmfJson"),
    ("Answer", "SmfAnswer"),
    ("Text", "SmfText"),
    ("*const SmfExecOptions", "const SmfExecOptions *"),
    ("*const SmfExecValue", "const SmfExecValue *"),
    ("*mut SmfExecValue", "SmfExecValue *"),
    ("*mut SmfExecFunction", "SmfExecFunction *"),
    ("*mut SmfExecDiagnostic", "SmfExecDiagnostic *"),
    ("*mut SmfExecStatistics", "SmfExecStatistics *"),
    ("SmfFrontEnd", "SmfFrontEnd"),
];

/// The structures of the interface.
const STRUCTS: [&str; 35] = [
    "SmfError",
    "SmfValueHooks",
    "SmfMapping",
    "SmfCacheOptions",
    "SmfCacheFile",
    "SmfCachePart",
    "SmfCacheStatistics",
    "SmfCacheBucket",
    "SmfCacheSample",
    "SmfPrefetchProgress",
    "SmfLoaderOptions",
    "SmfMissing",
    "SmfSymbol",
    "SmfReloaded",
    "SmfLoaderStatistics",
    "SmfModuleHeader",
    "SmfModuleSection",
    "SmfTakenReloc",
    "SmfConcrete",
    "SmfDeferred",
    "SmfJitOptions",
    "SmfJitInstance",
    "SmfJitStatistics",
    "SmfTakenObject",
    "SmfTypeHint",
    "SmfTemplate",
    "SmfExecEvent",
    "SmfHostSymbol",
    "SmfSymbolTable",
    "SmfHostFunction",
    "SmfExecOptions",
    "SmfExecValue",
    "SmfExecFunction",
    "SmfExecDiagnostic",
    "SmfExecStatistics",
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
    let (mut exported, mut rust, mut weakly) = (Vec::new(), String::new(), Vec::new());
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
        weakly.extend(weak(&text).map(str::to_owned));
        rust.push_str(&text);
    }
    let declared = declared(&header);
    let mut differences = compare(&exported, &declared);
    differences.extend(compare_structs(&STRUCTS, &rust, &header));
    differences.extend(compare_codes(&rust, &header));
    differences.extend(check_groups(&header));
    differences.extend(compare_version(&read(&root.join("Cargo.toml"))?, &header));
    weakly.sort_unstable();
    if weakly != RUNTIME {
        differences.push(format!("the weak exports are {weakly:?}, and the runtime's {RUNTIME:?}"));
    }
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

/// The names that the Simple runtime may define itself: those of its mapping functions, what its module loader calls, and
/// the execution manager.
const RUNTIME: [&str; 50] = [
    "rt_call_ptr_0",
    "rt_call_ptr_1",
    "rt_call_ptr_2",
    "rt_call_ptr_3",
    "rt_close_fd",
    "rt_exec_manager_backend_name",
    "rt_exec_manager_cleanup",
    "rt_exec_manager_clear_error",
    "rt_exec_manager_compile",
    "rt_exec_manager_compile_file",
    "rt_exec_manager_compile_mir",
    "rt_exec_manager_compile_source",
    "rt_exec_manager_create",
    "rt_exec_manager_execute",
    "rt_exec_manager_execute_string",
    "rt_exec_manager_execute_void",
    "rt_exec_manager_get_last_error",
    "rt_exec_manager_get_opt_level",
    "rt_exec_manager_has_function",
    "rt_exec_manager_is_valid",
    "rt_exec_manager_list_functions",
    "rt_exec_manager_set_opt_level",
    "rt_get_jit_backend",
    "rt_jit_backend_name",
    "rt_jit_call_i64",
    "rt_jit_call_i64_i64",
    "rt_jit_call_void",
    "rt_jit_cleanup",
    "rt_jit_compile_source",
    "rt_jit_create",
    "rt_jit_create_for_target",
    "rt_jit_has_function",
    "rt_madvise",
    "rt_madvise_raw",
    "rt_mlock",
    "rt_mmap_raw",
    "rt_mprotect",
    "rt_msync",
    "rt_msync_flags",
    "rt_munlock",
    "rt_munmap",
    "rt_munmap_raw",
    "rt_open_fd",
    "rt_page_size",
    "rt_ptr_read_u8",
    "rt_ptr_write_bytes_raw",
    "rt_ptr_write_i32",
    "rt_ptr_write_i64",
    "rt_ptr_write_u8",
    "rt_set_jit_backend",
];

/// The names that a Rust file exports as weak symbols.
fn weak(rust: &str) -> impl Iterator<Item = &str> {
    let list = rust.split_once("\nexport_weak! {\n").and_then(|(_, rest)| rest.split_once("\n}"));
    list.map(|(names, _)| names).unwrap_or_default().lines().map(|l| l.trim().trim_end_matches(';'))
}

/// The functions that a macro generates: a name and the number of integer arguments.
fn family(rust: &str, macro_name: &str) -> Vec<Function> {
    let start = format!("\n{macro_name}! {{\n");
    let family = rust.split_once(&start).and_then(|(_, rest)| rest.split_once("\n}"));
    let mut found = Vec::new();
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

/// The exports of a Rust file.
pub(crate) fn exports(rust: &str) -> Vec<Function> {
    let mut found = family(rust, "export");
    let calls = family(rust, "calls");
    for name in weak(rust) {
        let generated = calls.iter().find(|function| function.name == name).cloned();
        let start = format!("extern \"C\" fn {name}(");
        let head = rust.find(&start).and_then(|at| rust.get(at..)?.split('{').next());
        found.extend(generated.or_else(|| export(head?)));
    }
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
        // Functions with other types in the tagged convention are declared a second time.
        if only_if("#ifdef SMF_TAGGED") {
            continue;
        }
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

/// Checks that every function is in a section with one statement on threads and one on forks.
fn check_groups(header: &str) -> Vec<String> {
    let mut differences = Vec::new();
    for section in header.split("\n/* ---- ").filter(|section| !declared(section).is_empty()) {
        let title =
            section.lines().next().unwrap_or_default().trim_end_matches([' ', '-', '*', '/']);
        for what in ["Threads", "Fork"] {
            let count = section.matches(&format!("\n * {what}: ")).count();
            if count != 1 {
                differences.push(format!("{count} statements of `{what}:` in the section {title}"));
            }
        }
    }
    differences
}

fn compare_version(manifest: &str, header: &str) -> Option<String> {
    let ours = manifest.lines().find_map(|line| line.strip_prefix("version = "))?;
    let macro_of =
        |name| header.lines().find_map(|line| line.strip_prefix("#define ")?.strip_prefix(name));
    let theirs = macro_of("SMF_VERSION ");
    let parts = ["SMF_VERSION_MAJOR ", "SMF_VERSION_MINOR ", "SMF_VERSION_PATCH "].map(macro_of);
    let is_equal = Some(ours) == theirs && ours.trim_matches('"').split('.').map(Some).eq(parts);
    (!is_equal).then(|| format!("version {ours}, and {theirs:?} {parts:?} in the header"))
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
    fn section_without_statements_on_threads_and_forks_is_found() {
        let statements = "/*\n * Threads: any.\n * Fork: as in the parent.\n */\n";
        let header = format!(
            "#define A 1\n/* ---- One -- */\n{statements}void a(void);\n/* ---- Two --- */\n"
        );
        assert_eq!(check_groups(&header), [""; 0]);
        let two = format!("{header}void b(void);\n");
        let absent =
            ["Threads", "Fork"].map(|w| format!("0 statements of `{w}:` in the section Two"));
        assert_eq!(check_groups(&two), absent);
        assert_eq!(check_groups(&format!("{two}{statements}")), [""; 0]);
        assert_eq!(check_groups(&format!("{header}{statements}void b(void);\n")), [""; 0]);
        assert_eq!(check_groups(&header.replace("/* ---- One -- */", "")).len(), 0);
        assert_eq!(check_groups(&format!("{statements}{header}")).len(), 0);
        assert_eq!(check_groups(&header.replace(statements, &statements.repeat(2))).len(), 2);
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
        let header = "#define SMF_VERSION \"1.2.3\"\n#define SMF_VERSION_MAJOR 1\n\
                      #define SMF_VERSION_MINOR 2\n#define SMF_VERSION_PATCH 3\n";
        assert_eq!(compare_version("version = \"1.2.3\"\n", header), None);
        assert!(compare_version("version = \"1.2.4\"\n", header).is_some());
        let other = header.replace("MINOR 2", "MINOR 3");
        assert!(compare_version("version = \"1.2.3\"\n", &other).is_some());
    }
}

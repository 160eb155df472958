//! Debugging information of objects from the compiler for aarch64: compared with that of the GNU linker, as the tools of
//! binutils show it, and in the report of a crash.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use smf_core::format::ext::debug_addresses::DebugFields;
use smf_core::format::{Layout, SectionKind, Smf};
use smf_loader::pack::{Input, Options, pack};
use smf_tests::compile::{scratch, succeed};

use crate::tools::{File, LAYOUTS, Loader, TOOLS, compiled};

const ONE: &str = "struct pair { long first; unsigned char second[3]; };
long total; extern long counted(const struct pair *, long);
static inline long twice(long x) {
    return x + x;
}
long outer(long x) {
    struct pair pair = {twice(x), {1, 2, 3}};
    total += pair.first;
    return counted(&pair, x) + total;
}
";
const TWO: &str = "struct pair { long first; unsigned char second[3]; };
extern long total;
__attribute__((noinline)) long read_at(volatile long *at) {
    return *at;
}
long counted(const struct pair *pair, long x) {
    for (int i = 0; i < 3; i++)
        x += pair->second[i];
    return x + total;
}
long crash(long x) {
    return read_at((long *)x) + 1;
}
";
const FUNCTIONS: [&str; 4] = ["outer", "read_at", "counted", "crash"];

/// Runs a tool of binutils and returns what it prints.
fn tool(name: &str, arguments: &[&str], file: &Path) -> String {
    let mut command = Command::new(format!("{TOOLS}{name}"));
    let output = command.args(arguments).arg(file).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    succeed(&command, &output);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(errors, "", "{command:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The line table of a file: source file, line, function and offset in it. `functions` are in order of their addresses.
fn lines(file: &Path, functions: &[(u64, String)]) -> BTreeSet<(String, u32, String, u64)> {
    let text = tool("objdump", &["--dwarf=decodedline"], file);
    let rows = text.lines().filter_map(|row| {
        let mut words = row.split_whitespace();
        let (name, line) = (words.next()?, words.next()?.parse().ok()?);
        // Zero has no prefix.
        let address = u64::from_str_radix(words.next()?.trim_start_matches("0x"), 16).ok()?;
        let (start, function) = functions.iter().rfind(|(start, _)| *start <= address)?;
        Some((name.to_owned(), line, function.clone(), address - start))
    });
    rows.collect()
}

/// The names and places of declarations, in the order of the debugging information.
fn declarations(file: &Path) -> Vec<String> {
    let text = tool("readelf", &["--debug-dump=info", "--wide"], file);
    let is_kept =
        |line: &&str| ["DW_AT_name", "DW_AT_decl_line"].iter().any(|at| line.contains(at));
    // The value, without the place of the attribute and of its string.
    let value = |line: &str| line.rsplit(['\t', ':']).next().unwrap().trim().to_owned();
    text.lines().filter(is_kept).map(value).collect()
}

/// An object with the code and the debug sections of a module, whose fields get the address of the code, 0, added.
fn object_of(module: &Smf<'_>, directory: &Path) -> std::path::PathBuf {
    let mut text = String::new();
    for section in module.sections().iter() {
        let is_code = section.kind == SectionKind::Code;
        if !is_code && section.kind != SectionKind::Debug || section.name.starts_with(b".smf.debug")
        {
            continue;
        }
        let name = std::str::from_utf8(section.name).unwrap();
        let path = directory.join(&name[1..]);
        fs::write(&path, section.data).unwrap();
        let flags = if is_code { "\"ax\"" } else { "\"\",@progbits" };
        // Names are cut to 16 bytes.
        let name = if name == ".debug_str_offse" { ".debug_str_offsets" } else { name };
        text += &format!(".section {name},{flags}\n.incbin \"{}\"\n", path.display());
    }
    let (source, object) = (directory.join("module.s"), directory.join("module.o"));
    fs::write(&source, text).unwrap();
    let mut assembler = Command::new(format!("{TOOLS}as"));
    let output = assembler.arg("-o").arg(&object).arg(&source).output().unwrap();
    succeed(&assembler, &output);
    object
}

/// The objects of both sources; `None` without a compiler.
fn objects(directory: &Path, flags: &[&str]) -> Option<[Vec<u8>; 2]> {
    let object = |name: &str, source: &str| {
        let path = directory.join(name);
        fs::write(&path, source).unwrap();
        compiled(&path, flags)
    };
    Some([object("one.c", ONE)?, object("two.c", TWO)?])
}

fn debugged(objects: &[Vec<u8>; 2], layout: Layout) -> Vec<u8> {
    let [one, two] = objects;
    let inputs = [Input { name: "one.o", data: one }, Input { name: "two.o", data: two }];
    let options = Options { layout, debug_info: true, ..Options::default() };
    pack(&inputs, &options).unwrap_or_else(|error| panic!("{error}")).bytes
}

/// The same, of two modules.
fn debugged_modules(objects: &[Vec<u8>; 2], layout: Layout) -> Vec<u8> {
    let options = Options { layout, debug_info: true, emit_relocs: true, ..Options::default() };
    let pack = |inputs: &[Input<'_>]| pack(inputs, &options).unwrap().bytes;
    let [one, two] = [&objects[0], &objects[1]].map(|data| pack(&[Input { name: "a.o", data }]));
    pack(&[Input { name: "one.smf", data: &one }, Input { name: "two.smf", data: &two }])
}

#[test]
fn debugging_information_is_that_of_the_linker() {
    for flags in [["-O0", "-gdwarf-5"], ["-O2", "-gdwarf-5"], ["-O2", "-gdwarf-4"]] {
        let directory = scratch();
        let Some(objects) = objects(directory.path(), &[&flags[..], &["-fPIC"]].concat()) else {
            return;
        };
        let linked = directory.path().join("linked.so");
        let mut ld = Command::new(format!("{TOOLS}ld"));
        ld.args(["-shared", "-o"]).arg(&linked);
        for (number, object) in objects.iter().enumerate() {
            let path = directory.path().join(format!("{number}.o"));
            fs::write(&path, object).unwrap();
            ld.arg(path);
        }
        let output = ld.output().unwrap();
        succeed(&ld, &output);
        let mut of_linked: Vec<_> = tool("nm", &["--defined-only"], &linked)
            .lines()
            .filter_map(|line| {
                let (address, name) = (line.split(' ').next()?, line.split(' ').next_back()?);
                let address = u64::from_str_radix(address, 16).ok()?;
                FUNCTIONS.contains(&name).then(|| (address, name.to_owned()))
            })
            .collect();
        of_linked.sort();
        let expected = lines(&linked, &of_linked);
        assert!(expected.len() > 10 && of_linked.len() == FUNCTIONS.len());
        for (layout, link) in LAYOUTS
            .into_iter()
            .flat_map(|layout| [(layout, debugged as fn(_, _) -> _), (layout, debugged_modules)])
        {
            let bytes = link(&objects, layout);
            let smf = Smf::parse(&bytes).unwrap();
            smf.verify().unwrap();
            let symbols = smf.symbols().iter().map(Result::unwrap);
            let mut functions: Vec<_> = symbols
                .map(|s| (s.value, String::from_utf8(s.name().to_vec()).unwrap()))
                .filter(|(_, name)| FUNCTIONS.contains(&&**name))
                .collect();
            functions.sort();
            let object = object_of(&smf, directory.path());
            assert_eq!(lines(&object, &functions), expected, "{flags:?} {layout:?}");
            assert_eq!(declarations(&object), declarations(&linked), "{flags:?} {layout:?}");
            // The addresses are those of code and of the variable.
            let addresses = DebugFields::addresses(&smf).unwrap().unwrap();
            let loaded: BTreeSet<_> = addresses.lists().map(|list| list.target.name).collect();
            let variable = if layout == Layout::Packed { b".bss" } else { &b".data"[..] };
            assert_eq!(loaded, BTreeSet::from([&b".text"[..], variable]));
        }
    }
}

#[test]
fn report_of_a_crash_names_source_lines() {
    let Some(loader) = Loader::get() else { return };
    let directory = scratch();
    for layout in LAYOUTS {
        let flags = ["-O1", "-g", "-fno-optimize-sibling-calls"];
        let Some(objects) = objects(directory.path(), &flags) else { return };
        let module = File::new(&debugged(&objects, layout));
        let path = module.path();
        let call = |name: &str, x: &str| loader.says(&["run", path.to_str().unwrap(), name, x]);
        assert_eq!(call("outer", "5"), (true, "31\n".to_owned(), String::new()), "{layout:?}");
        let (done, _, errors) = call("crash", "16");
        assert!(!done);
        for part in ["SIGSEGV", "in read_at + 0x", "two.c:4", "in crash + 0x", "two.c:12"] {
            assert!(errors.contains(part), "{layout:?}: {part}: {errors}");
        }
    }
}

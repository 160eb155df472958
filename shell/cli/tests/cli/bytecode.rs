//! The commands for bytecode.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use smf_core::format::write::{Module, NewSection, NewSymbol, Place};
use smf_core::format::{Arch, Header, Layout, SymbolKind};

use super::{contains, fails, fed, ok, sample, scratch, smf, text};

/// A directory for sources and modules.
struct Scratch(PathBuf);

impl Scratch {
    fn new(test: &str) -> Self {
        Self(scratch(test))
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// Assembles a module; its path.
    #[track_caller]
    fn module(&self, name: &str, source: &str) -> String {
        self.module_with(name, source, &[])
    }

    #[track_caller]
    fn module_with(&self, name: &str, source: &str, options: &[&str]) -> String {
        let (text, module) = (self.path("source.sbc"), self.path(name));
        fs::write(&text, source).unwrap();
        assert_eq!(ok(&[&["asm", &text, "-o", &module], options].concat()), "");
        module
    }
}

#[test]
fn function_that_takes_more_than_a_host_passes_is_refused_with_the_reason() {
    let scratch_dir = Scratch::new("bytecode-nine");
    let module = scratch_dir.module("nine.smf", "function nine, 9, 9\nLOAD 0, 0\nRET 0\n");
    let source = scratch_dir.path("user.spl");
    let params = (0..9).map(|number| format!("p{number}: i64")).collect::<Vec<_>>().join(", ");
    let call = "nine(1, 2, 3, 4, 5, 6, 7, 8, 9)";
    let text = format!("extern fn nine({params}) -> i64\nfn main() -> i64: {call}\n");
    fs::write(&source, text).unwrap();
    let error = fails(&["run", &source, "--with", &module]);
    contains(&error, &["nine.smf: function 0 takes 9 arguments, and a host passes 8 at most"]);
}

#[test]
fn bytecode_is_assembled_disassembled_and_run() {
    assert_eq!(ok(&["run", "bcod.smf", "answer"]), "42\n");
    assert_eq!(ok(&["run", "--interpret", "bcod.smf", "sum", "100"]), "5050\n");
    let scratch_dir = Scratch::new("bytecode");
    let (source, again) = (scratch_dir.path("source.sbc"), scratch_dir.path("b.smf"));
    let program = "function half, 0, 0\nCONST_F64 0, 0.5\nRET 0\n\
        function main, 0, 0 ; the entry point\nCONST_I64_PUSH 1\nCONST_I64_PUSH 0\nDIV_I64\nRET 0\n";
    let module = scratch_dir.module("a.smf", program);
    assert_eq!(ok(&["verify", &module]), format!("{module}: ok\n"));
    assert_eq!(ok(&["run", &module, "half"]), "0.5\n");
    contains(&fails(&["run", &module]), &["division by zero", "function 1", "offset 0x14"]);
    fs::write(&source, ok(&["disasm", &module])).unwrap();
    assert_eq!(ok(&["asm", &source, "-o", &again]), "");
    assert_eq!(fs::read(&module).unwrap(), fs::read(&again).unwrap());
    let one = ok(&["disasm", "bcod.smf", "answer"]);
    assert_eq!(one, "function answer, 0, 1\n    CONST_I64 0, 42\n    RET 0\n");
    // A module of machine code has no bytecode: its instructions are shown.
    contains(
        &ok(&["disasm", "packed.smf", "answer"]),
        &["function answer, 6 bytes\n", "b8 2a 00 00 00", "mov eax, 0x2a"],
    );
    contains(
        &fails(&["disasm", "packed.smf", "none"]),
        &["no function `none`; it has `answer`, `add`"],
    );
    contains(&fails(&["disasm", "compact.smf"]), &["no bytecode"]);
    fs::write(&source, "function f, 0, 0\nADD_I64\nPUSH\n").unwrap();
    contains(&fails(&["asm", &source, "-o", &again]), &["line 3", "1"]);
    fs::write(&source, "function f, 0, 0\nRET 0\nfunction g, 0, 0\n").unwrap();
    contains(&fails(&["asm", &source, "-o", &again]), &["`g` has no instructions"]);
    let long = "9".repeat(100);
    for (line, shown) in [
        ("FROB 3", "line 2: no instruction has this name: `FROB 3`"),
        (&*format!("PUSH {long}"), &*format!("`PUSH {}...`", &long[..55])),
    ] {
        fs::write(&source, format!("function f, 0, 0\n    {line}\n")).unwrap();
        contains(&fails(&["asm", &source, "-o", &again]), &[shown]);
    }
}

#[test]
fn disasm_shows_the_functions_of_every_code_section() {
    let sections = [
        NewSection::code(b"\xb8\x01\0\0\0\xc3"),
        NewSection { name: b".text2", ..NewSection::code(b"\x90\xb8\x02\0\0\0\xc3") },
    ];
    let function = |name, section, size| NewSymbol {
        name,
        kind: SymbolKind::Function,
        place: Place::Section(section),
        size,
        ..NewSymbol::default()
    };
    let symbols = [function(b"two", 1, 7), function(b"one", 0, 6)];
    let header = Header { arch: Arch::X86_64, ..Header::default() };
    let module = Module {
        layout: Layout::Packed,
        header,
        stub: &[],
        sections: &sections,
        symbols: &symbols,
    };
    let path = Scratch::new("two-code-sections").path("two.smf");
    fs::write(&path, module.to_vec().unwrap()).unwrap();
    let two = ok(&["disasm", &path, "two"]);
    contains(&two, &["function two, 7 bytes\n", "mov eax, 2\n"]);
    let one = ok(&["disasm", &path, "one"]);
    contains(&one, &["function one, 6 bytes\n", "mov eax, 1\n"]);
    assert_eq!(ok(&["disasm", &path]), one + &two);
}

#[test]
fn bytecode_on_objects_is_assembled_disassembled_and_run() {
    let scratch_dir = Scratch::new("objects");
    let program = "constant string \"text\"\nconstant f64 1.5\n\
        function main, 2, 2\n    LOAD_PUSH 0\n    LOAD_PUSH 1\n    LOAD_STRING 2, 0\n    LOAD_CONST 3, 1\n    \
        TUPLE_LIT 0, 2\n    PUSH 0\n    ARRAY_LIT 1, 2, 0\n    RET 1\n\
        function text, 0, 0\n    LOAD_STRING 0, 0\n    RET 0\n\
        function outside, 1, 1\n    ARRAY_LIT 0, 0, 0\n    LOAD 1, 0\n    INDEX_GET 2, 0, 1\n    RET 2\n\
        function count, 1, 1\n    LOAD_PUSH 0\n    LOAD_PUSH 0\n    ARRAY_LIT 0, 1, 0\n    LEN 1, 0\n    RET 1\n";
    let module = scratch_dir.module("a.smf", program);
    assert_eq!(ok(&["verify", &module]), format!("{module}: ok\n"));
    assert_eq!(ok(&["disasm", &module]), program);
    for options in [&[][..], &["--compile"], &["--interpret"]] {
        let run = |rest: &[&str]| ok(&[&["run", &module][..], rest, options].concat());
        assert_eq!(run(&["text"]), "text\n");
        assert_eq!(run(&["count", "5"]), "1\n");
        assert_eq!(run(&["main", "5", "6"]), "[6, (\"text\", 1.5)]\n");
        let trap = fails(&[&["run", &module, "outside", "3"][..], options].concat());
        contains(&trap, &["an index outside of the object", "function 2", "offset 0xe"]);
    }
    let (source, broken) = (scratch_dir.path("source.sbc"), scratch_dir.path("b.smf"));
    fs::write(&source, "function main, 0, 0\nLOAD_STRING 0, 1\nRET 0\n").unwrap();
    assert_eq!(ok(&["asm", &source, "-o", &broken]), "");
    contains(&fails(&["verify", &broken]), &["LOAD_STRING loads constant 1 of a pool of 0"]);
    fs::write(&source, "constant text 1\n").unwrap();
    contains(&fails(&["asm", &source, "-o", &broken]), &["line 1", "constant TYPE VALUE"]);
}

/// Found: a function beyond a limit of the compiler kept all functions of its module from being compiled, and from being run.
#[test]
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn function_beyond_a_limit_of_the_compiler_is_interpreted_and_told_once() {
    let scratch_dir = Scratch::new("limits");
    let arguments = "LOAD_PUSH 0\n".repeat(65);
    let source = format!(
        "function main, 1, 1\n{arguments}CALL many, 65\nRET 0\nfunction many, 65, 65\nLOAD_PUSH 64\nRET 0\n\
         function small, 1, 1\nLOAD_PUSH 0\nRET 0\n"
    );
    let module = scratch_dir.module("limits.smf", &source);
    let refusal = "function 0 cannot be compiled: 65 arguments of a call, and the limit is 64";
    let told = format!("warning: {module}: {refusal}; it is interpreted, as is 1 other function\n");
    for (call, result) in [(&["main", "5"], "5\n"), (&["small", "7"], "7\n")] {
        let output = smf(&[&["run", &module][..], call, &["--compile"]].concat());
        assert_eq!((text(&output.stdout).as_str(), text(&output.stderr)), (result, told.clone()));
        assert!(output.status.success());
    }
}

#[test]
fn disasm_native_lists_machine_code_in_comments() {
    let listed = ok(&["disasm", "--native", "bcod.smf", "answer"]);
    contains(
        &listed,
        &["CONST_I64 0, 42\n", "        ; 0000: ", "  mov ", "0x2a\n", " c3 ", "  ret\n"],
    );
    // Every byte once: the offsets follow each other.
    let listed = ok(&["disasm", "--native", "bcod.smf", "sum"]);
    let mut next = 0;
    for line in listed.lines().filter_map(|line| line.strip_prefix("        ; ")) {
        let (offset, rest) = line.split_once(": ").unwrap();
        assert_eq!(usize::from_str_radix(offset, 16).unwrap(), next, "{listed}");
        let bytes = rest.split("  ").next().unwrap().split(' ');
        next += bytes.inspect(|byte| assert_eq!(byte.len(), 2, "{line}")).count();
        let (_, instruction) = rest.rsplit_once("  ").unwrap();
        assert!(!instruction.is_empty() && !instruction.starts_with("(bad)"), "{line}");
    }
    assert!(next > 20);
    let scratch_dir = Scratch::new("listing");
    let module = scratch_dir.module("again.smf", &listed);
    assert_eq!(ok(&["run", &module, "sum", "100"]), "5050\n");
}

#[test]
fn result_is_shown_by_its_kind() {
    let directory = Scratch::new("kinds");
    let source = "function less, 2, 2\nLOAD_PUSH 0\nLOAD_PUSH 1\nLT\nRET 0\nfunction nothing, 0, 1\nLOAD_PUSH 0\nRET 0\n\
        function same, 1, 1\nLOAD_PUSH 0\nRET 0\nfunction tenth, 0, 0\nCONST_F64 0, 0.1\nRET 0\n\
        function less_objects, 2, 2\nLOAD_PUSH 0\nLOAD_PUSH 1\nLT\nARRAY_LIT 1, 0, 0\nRET 0\n\
        function no_objects, 0, 1\nLOAD_PUSH 0\nARRAY_LIT 1, 0, 0\nRET 0\n";
    let module = directory.module("kinds.smf", source);
    for mode in MODES {
        if mode == ["--compile"] && !cfg!(target_arch = "x86_64") {
            continue;
        }
        for (call, shown) in [
            (&["less", "1", "2"][..], "true\n"),
            (&["less", "2", "1"], "false\n"),
            (&["nothing"], "nil\n"),
            (&["same", "7"], "7\n"),
            (&["less_objects", "1", "2"], "true\n"),
            (&["no_objects"], "nil\n"),
            // The exit status of a float is 0.
            (&["tenth", "--exit"], "0.1\n"),
        ] {
            assert_eq!(ok(&[&["run", &module][..], call, mode].concat()), shown);
        }
    }
}

const MODES: [&[&str]; 3] = [&[], &["--interpret"], &["--compile"]];

#[test]
fn bytecode_from_standard_input_is_run() {
    let bcod = fs::read(sample("bcod.smf")).unwrap();
    for mode in MODES {
        if mode == ["--compile"] && !cfg!(target_arch = "x86_64") {
            continue;
        }
        let output = fed(&[&["run", "-", "sum", "9"], mode].concat(), &bcod);
        assert_eq!((text(&output.stdout), text(&output.stderr)), ("45\n".into(), String::new()));
    }
    let output = fed(&["run", "-", "sum", "9", "--time", "--exit"], &bcod);
    assert_eq!((text(&output.stdout), output.status.code()), ("45\n".into(), Some(45)));
    contains(&text(&output.stderr), &["load ", "link ", "call ", " us"]);
    assert!(!text(&output.stderr).contains("compile"));
    if cfg!(target_arch = "x86_64") {
        let output = fed(&["run", "-", "sum", "9", "--time", "--compile"], &bcod);
        contains(&text(&output.stderr), &["load ", "link ", "compile ", "call "]);
    }
    contains(&text(&fed(&["run", "-"], &bcod).stderr), &["no entry point", "`answer`, `sum`"]);
}

/// Returns three times its argument, and divides by zero for 13.
const SCALE: &str = "function scale, 1, 1\nLOAD_PUSH 0\nCONST_I64_PUSH 13\nEQ_JMP_IF_NOT on\n\
    LOAD_PUSH 0\nCONST_I64_PUSH 0\nDIV_I64\nRET 0\non:\nLOAD_PUSH 0\nCONST_I64_PUSH 3\nMUL_I64\nRET 0\n";

#[cfg(target_arch = "x86_64")]
#[test]
fn machine_code_imports_bytecode_in_every_execution_mode() {
    let scratch_dir = Scratch::new("imports");
    let scale = scratch_dir.module("scale.smf", SCALE);
    let archive = scratch_dir.path("scale.lsm");
    ok(&["lib", "create", "-o", &archive, &format!("std/scale={scale}")]);
    for mode in MODES {
        for with in [&scale, &archive] {
            for function in ["direct", "through_got"] {
                let run = |n| [&["run", "app.smf", function, n, "--with", with], mode].concat();
                assert_eq!(ok(&run("7")), "21\n");
                let stopped = fails(&run("13"));
                contains(&stopped, &["division by zero", "function 0 at offset 0x"]);
            }
        }
        // A module without imports ignores the provider.
        assert_eq!(ok(&[&["run", "bcod.smf", "answer", "--with", &scale], mode].concat()), "42\n");
    }
    contains(&fails(&["run", "bcod.smf", "answer", "--with", "absent.smf"]), &["absent.smf"]);
}

#[test]
fn invalid_bytecode_is_refused_with_function_and_offset() {
    let scratch_dir = Scratch::new("unsound");
    for (source, words) in [
        ("ADD_I64\nRET 0", &["function 1: ADD_I64 pops 2", "offset 0x0"][..]),
        ("BYTES 1 0 0", &["function 1", "offset 0x0"]),
        ("BYTES 0xff 0xff", &["function 1", "0xffff", "offset 0x0"]),
        ("CONST_I64 0, 1\nJMP -7", &["function 1", "offset 0xc"]),
        ("CONST_I64 0, 1\nJMP +100", &["function 1", "offset 0xc"]),
        ("PUSH 3\nRET 0", &["function 1", "offset 0x0"]),
        ("LOAD 0, 1\nRET 0", &["function 1", "offset 0x0"]),
        ("POP_STORE 65535\nRET 0", &["function 1", "offset 0x0"]),
        // Different stack depths, then different types at a merge point.
        ("CONST_TRUE 0\nJMP_IF on\nCONST_I64_PUSH 1\non:\nRET 0", &["function 1", "offset 0x"]),
        (
            "CONST_TRUE 0\nJMP_IF on\nCONST_I64_PUSH 1\nJMP off\non:\nCONST_F64 0, 1.5\noff:\nPUSH 0\n\
             ADD_I64\nRET 0",
            &["function 1", "offset 0x"],
        ),
        ("CALL first, 3\nRET 0", &["function 1", "offset 0x0"]),
        ("CALL #77, 0\nRET 0", &["function 1", "77", "offset 0x0"]),
        // A block in a slot that does not exist.
        ("BYTES 0x65 0 0 0 0 0 0 0 0 0\nRET 0", &["function 1", "STORE_HEAP", "offset 0x0"]),
        // Opcodes without a complete definition are not supported.
        ("BYTES 0x62 0 0 0 0 0\nRET 0", &["function 1", "LOCAL_ADDR", "offset 0x0"]),
        ("BYTES 0x80 0 0 0 0 0 0 0 0 0\nRET 0", &["function 1", "PATTERN_TEST", "offset 0x0"]),
        ("BYTES 0x90 0 0 0 0 0\nRET 0", &["function 1", "AWAIT", "offset 0x0"]),
    ] {
        let source = format!("function first, 0, 0\nRET_VOID\nfunction main, 0, 1\n{source}\n");
        let module = scratch_dir.module("m.smf", &source);
        let refused = fails(&["verify", &module]);
        contains(&refused, words);
        for mode in MODES {
            let run = fails(&[&["run", &module], mode].concat());
            if mode != ["--compile"] || cfg!(target_arch = "x86_64") {
                assert_eq!(run, refused);
            }
        }
    }
    let host = scratch_dir.module("m.smf", "function main, 0, 0\nCALL_SFFI 0, 0\nRET 0\n");
    assert_eq!(ok(&["verify", &host]), format!("{host}: ok\n"));
    contains(&fails(&["run", &host]), &["host function 0", "every call between functions"]);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn endless_recursion_is_stopped_and_large_code_runs() {
    let scratch_dir = Scratch::new("bounds");
    let slots =
        scratch_dir.module("slots.smf", "function main, 0, 0\nCONST_I64 65534, 1\nRET 65534\n");
    let forever = scratch_dir
        .module("forever.smf", "function main, 1, 1\nLOAD_PUSH 0\nCALL main, 1\nRET 0\n");
    let many: String =
        (0..100_000).map(|n| format!("function f{n}, 0, 0\nCONST_I64 0, {n}\nRET 0\n")).collect();
    let many = scratch_dir.module("many.smf", &many);
    let adds = "LOAD_PUSH 0\nCONST_I64_PUSH 1\nADD_I64\nPOP_STORE 0\n".repeat(500_000);
    let large =
        scratch_dir.module("large.smf", &format!("function main, 1, 1\n{adds}LOAD 0, 0\nRET 0\n"));
    assert!(fs::metadata(&large).unwrap().len() > 10_000_000);
    for mode in MODES {
        let run =
            |module, name, args: &'static [&str]| [&["run", module, name], args, mode].concat();
        contains(&fails(&run(&slots, "main", &[])), &["function 0 at offset 0x0"]);
        contains(&fails(&run(&forever, "main", &["1"])), &["function 0 at offset 0x0"]);
        assert_eq!(ok(&run(&many, "f99999", &[])), "99999\n");
        assert_eq!(ok(&run(&large, "main", &["-1"])), "499999\n");
    }
}

/// A running command and its output.
struct Running(Child, BufReader<ChildStdout>);

impl Running {
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.1.read_line(&mut line).unwrap();
        line
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Machine code calls the bytecode of another module, whose trap is not one of the caller.
#[test]
#[cfg(target_arch = "x86_64")]
fn trap_in_another_module_names_that_module() {
    let scratch_dir = Scratch::new("trap-elsewhere");
    let source = "function divz, 1, 1\nCONST_I64_PUSH 1\nLOAD_PUSH 0\nDIV_I64\nPOP 0\nRET 0\n";
    let bytecode = scratch_dir.module("divz.smf", source);
    let (object, out) = crate::pack::object(
        "trap-elsewhere-native",
        "long divz(long); long call(long x) { return divz(x) + 1; }",
    );
    ok(&["pack", &object, "-o", &out]);
    let error = fails(&["run", &out, "call", "0", "--with", &bytecode]);
    contains(&error, &[&format!("error: {bytecode}: division by zero")]);
    assert_eq!(ok(&["run", &out, "call", "1", "--with", &bytecode]), "2\n");
}

#[test]
fn watch_runs_the_new_version_when_the_file_changes() {
    let scratch_dir = Scratch::new("watch");
    let version = |name: &str, number: i32, options: &[&str]| {
        let source = format!("function main, 0, 0\nCONST_I64 0, {number}\nRET 0\n");
        scratch_dir.module_with(name, &source, options)
    };
    let fixed = version("fixed.smf", 1, &[]);
    contains(
        &fails(&["run", "--watch", &fixed]),
        &["not marked as reloadable", "smf asm --reloadable"],
    );
    let module = version("m.smf", 1, &["--reloadable"]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_smf"));
    let command =
        command.args(["run", "--watch", &module]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let mut running = Running(child, out);
    assert_eq!(running.line(), "1\n");
    for number in [2, 30] {
        let next = version("next.smf", number, &["--reloadable"]);
        fs::rename(next, &module).unwrap();
        assert_eq!(running.line(), format!("{number}\n"));
    }
}

/// Runs a function with a profiling tool enabled; returns the process id and standard error.
#[cfg(target_arch = "x86_64")]
fn run_with_tool(module: &Path, mode: &str, tool: (&str, &str)) -> (u32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_smf"));
    command.args(["run", mode, "app.smf", "direct", "7", "--with"]).arg(module);
    let child = command.current_dir(sample(".")).env(tool.0, tool.1).stdout(Stdio::piped()).spawn();
    let child = child.unwrap();
    let process = child.id();
    let output = child.wait_with_output().unwrap();
    assert_eq!(text(&output.stdout), "21\n");
    (process, text(&output.stderr))
}

#[cfg(target_arch = "x86_64")]
#[test]
fn perf_map_and_jitdump_name_bytecode_functions() {
    let scratch_dir = Scratch::new("named");
    let module = scratch_dir.module("scale.smf", SCALE);
    for (mode, compiled) in [("--compile", true), ("--interpret", false)] {
        let (process, stderr) = run_with_tool(Path::new(&module), mode, ("SMF_PERF_MAP", "1"));
        assert_eq!(stderr, "");
        let map = format!("/tmp/perf-{process}.map");
        let names = fs::read_to_string(&map).unwrap();
        fs::remove_file(map).unwrap();
        let has =
            |name: &str| names.lines().any(|line| line.ends_with(&format!(" {module}:{name}")));
        assert!(has("scale:entry"), "{names}");
        assert_eq!(has("scale"), compiled, "{names}");
    }
    let dumps = scratch_dir.path("dumps");
    fs::create_dir(&dumps).unwrap();
    run_with_tool(Path::new(&module), "--compile", ("SMF_JITDUMP", &dumps));
    let dump = fs::read_dir(&dumps).unwrap().next().unwrap().unwrap().path();
    let dump = fs::read(dump).unwrap();
    let name = format!("{module}:scale\0");
    assert!(dump.starts_with(b"DTiJ"));
    assert!(dump.windows(name.len()).any(|bytes| bytes == name.as_bytes()));
    // Without a tool there is no output.
    assert!(smf(&["run", "bcod.smf", "answer"]).stderr.is_empty());
}

/// RLIMIT_STACK limits the stack of the main thread. Found: 1,000 activations of 1 KB overflowed it.
#[test]
fn recursion_beyond_the_stack_limit_is_an_error() {
    let scratch_dir = Scratch::new("recursion");
    // A hundred locals live across the call.
    let each = |text: fn(u32) -> String| (1..100).map(text).collect::<String>();
    let source = format!(
        "function leaf, 1, 1\nLOAD_PUSH 0\nRET 0\nfunction forever, 1, 100\n{}LOAD_PUSH 99\n\
         CALL forever, 1\n{}RET 0\n",
        each(|local| format!("LOAD_PUSH 0\nCONST_I64_PUSH {local}\nADD_I64\nPOP_STORE {local}\n")),
        each(|local| format!("LOAD_PUSH {local}\nADD_I64\n")),
    );
    let module = scratch_dir.module("a.smf", &source);
    let limited = |function: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", "ulimit -s 512 && exec \"$0\" run --compile \"$1\" \"$2\" 7"]);
        shell.args([env!("CARGO_BIN_EXE_smf"), &module, function]).output().unwrap()
    };
    let leaf = limited("leaf");
    assert_eq!((leaf.status.code(), text(&leaf.stdout)), (Some(0), "7\n".to_owned()));
    let forever = limited("forever");
    let stderr = text(&forever.stderr);
    assert_eq!(forever.status.code(), Some(1), "{stderr}");
    // Other machines interpret, so that activations use no native stack.
    let why = if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        "than the thread has stack for"
    } else {
        "1000 calls"
    };
    contains(&stderr, &[why, "in function 1 at offset 0x0"]);
}

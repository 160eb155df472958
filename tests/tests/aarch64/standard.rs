//! Programs with the standard libraries of C++ and Rust: packed, and loaded by `smf run`, by a program in C and by one in
//! Rust; alone, as two modules, and as two modules that are linked into one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use smf_core::format::ext::gnu_property::Properties;
use smf_core::format::{Layout, Smf};
use smf_loader::pack::{Input, Options, pack};
use smf_tests::compile::{scratch, succeed};
use smf_tests::skip::has;

use crate::tools::{File, LAYOUTS, Loader, TARGET, TOOLS, assembled, compiled, compiler, try_pack};

const SHELL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shell");

/// The C++ compiler; `None`, with a message, if it is missing.
fn cpp_compiler() -> Option<Command> {
    let gcc = format!("{TOOLS}g++");
    if !has(&gcc) {
        return None;
    }
    let mut command = Command::new(gcc);
    command.args(["-std=c++17", "-Wall", "-Werror", "-c"]);
    Some(command)
}

/// Compiles one of the programs with `command` and packs it; `exports` are names that are hidden in archives.
fn packed(mut command: Command, source: &str, exports: &[&str]) -> File {
    let directory = scratch();
    let compiled = directory.path().join("compiled");
    command.arg("-o").arg(&compiled).arg(Path::new(SHELL).join("tests/programs").join(source));
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    succeed(&command, &output);
    let input = Input { name: source, data: &fs::read(&compiled).unwrap() };
    let options = Options { exports, emit_relocs: true, ..Options::default() };
    let module = pack(&[input], &options).unwrap_or_else(|error| panic!("{source}: {error}"));
    File::new(&module.bytes)
}

/// The module that modules are linked into.
fn merged(modules: &[&File]) -> File {
    let contents: Vec<_> = modules.iter().map(|module| fs::read(module.path()).unwrap()).collect();
    let contents: Vec<_> = contents.iter().map(Vec::as_slice).collect();
    let module = try_pack(&contents, Layout::Packed).unwrap_or_else(|error| panic!("{error}"));
    File::new(&module.bytes)
}

/// The programs in C and Rust that load modules and call a function of the first.
pub(crate) struct Host {
    loader: &'static Loader,
    programs: [PathBuf; 2],
    _directory: tempfile::TempDir,
}

impl Host {
    pub(crate) fn new(loader: &'static Loader) -> Self {
        let directory = scratch();
        let program = directory.path().join("standard");
        let sources = Path::new(SHELL).join("tests/c");
        let mut gcc = Command::new(compiler().unwrap());
        gcc.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-pthread", "-DSMF_NO_JIT"]);
        gcc.args(["-Wno-unused-function", "-I"]).arg(Path::new(SHELL).join("include"));
        gcc.arg("-o").arg(&program).arg(sources.join("standard.c"));
        gcc.arg(loader.library("typed-calls").join("libsmf_loader.a")).args(["-lm", "-ldl"]);
        let output = gcc.output().unwrap();
        succeed(&gcc, &output);
        Self { loader, programs: [program, loader.rust_host("typed-calls")], _directory: directory }
    }

    /// Calls a function of the first of `modules` in the programs in C and Rust and with `smf run`. All print `said` and
    /// return `result`.
    pub(crate) fn check(&self, modules: &[&File], call: (&str, i64), said: [&str; 2], result: i64) {
        let (function, argument) = (call.0, call.1.to_string());
        let [at_load, at_end] = said;
        let paths: Vec<PathBuf> = modules.iter().map(|module| module.path()).collect();
        for (number, program) in self.programs.iter().enumerate() {
            let mut command = self.loader.command(program);
            command.args([function, &argument]).args(&paths);
            let output = command.output().unwrap();
            succeed(&command, &output);
            let text = String::from_utf8(output.stdout).unwrap();
            // The main thread has used thread-local variables of the module: it stays until that ends, as with dlclose.
            let expected = match (number, function) {
                (0, "alone") => format!("{at_load}{result}\nok\n{at_end}"),
                _ => format!("{at_load}{result}\n{at_end}ok\n"),
            };
            assert_eq!(text, expected, "{program:?} {function}");
        }
        let paths: Vec<&str> = paths.iter().map(|path| path.to_str().unwrap()).collect();
        let mut arguments = vec!["run", paths[0], "--host-symbols", "--host-library", "stdc++"];
        paths[1..].iter().for_each(|path| arguments.extend(["--with", path]));
        arguments.extend([function, "--", &argument]);
        let (done, text, errors) = self.loader.says(&arguments);
        assert!(done, "{function}: {errors}");
        assert_eq!(text, format!("{at_load}{result}\n{at_end}"), "{function}");
    }
}

#[test]
fn cpp_with_streams_exceptions_and_threads_runs_in_c_rust_and_smf() {
    let Some(loader) = Loader::get() else { return };
    let host = Host::new(loader);
    for flags in [["-O0", "-fpic"], ["-O2", "-fPIC"]] {
        let module = |source: &str| {
            let mut gcc = cpp_compiler()?;
            gcc.args(flags);
            Some(packed(gcc, source, &[]))
        };
        let (Some(one), Some(two)) = (module("one.cc"), module("two.cc")) else { return };
        host.check(&[&one], ("alone", 5), ["negative: -1\n", ""], 300_621);
        host.check(&[&two, &one], ("across", 5), ["made\n", "ended\n"], 5);
        host.check(&[&two, &one], ("across", -5), ["made\n", "ended\n"], -12);
        // Both in one, with the unwinding tables, the storage and the exit handlers of both.
        let merged = merged(&[&two, &one]);
        for module in [&merged, &self::merged(&[&merged])] {
            host.check(&[module], ("across", -5), ["made\n", "ended\n"], -12);
            let said = ["made\nnegative: -1\n", "ended\n"];
            host.check(&[module], ("alone", 5), said, 300_621);
        }
    }
}

#[test]
fn rust_with_maps_threads_and_panics_runs_in_c_rust_and_smf() {
    let Some(loader) = Loader::get() else { return };
    let host = Host::new(loader);
    let module = |source: &str, exports: &[&str]| {
        let mut rustc = Command::new(std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into()));
        rustc.args(["--edition=2024", "--crate-type=staticlib", "-Copt-level=1"]);
        rustc.args(["--target", TARGET]);
        packed(rustc, source, exports)
    };
    let one = module("one.rs", &["count", "caught"]);
    let two = module("two.rs", &["distinct"]);
    host.check(&[&one], ("count", 10), ["", ""], 90_045);
    host.check(&[&one], ("caught", -3), ["", ""], -1);
    host.check(&[&two, &one], ("distinct", 3), ["", ""], 104);
}

/// A program that calls every function for atomic operations. `check` returns the number of the first that is wrong.
fn atomics() -> String {
    let mut calls = String::new();
    for (name, expected) in [
        ("swp", "new"),
        ("ldadd", "old + new"),
        ("ldclr", "old & ~new"),
        ("ldeor", "old ^ new"),
        ("ldset", "old | new"),
        ("cas", "new"),
    ] {
        for order in ["relax", "acq", "rel", "acq_rel", "sync"] {
            let pair = (name == "cas").then_some((16, 128));
            for (size, bits) in [(1, 8), (2, 16), (4, 32), (8, 64)].into_iter().chain(pair) {
                let (macro_name, value) = match name {
                    "cas" => ("CAS", String::new()),
                    _ => ("MODIFY", format!(", (uint{bits}_t)({expected})")),
                };
                let function = format!("__aarch64_{name}{size}_{order}");
                calls += &format!("{macro_name}({function}, uint{bits}_t{value})\n");
            }
        }
    }
    let source = r#"
        #include <pthread.h>
        #include <stdint.h>
        typedef unsigned __int128 uint128_t;
        static __attribute__((aligned(16))) uint64_t words[6] = {0, ~0ul, 0, 0, ~0ul, 0};
        static int around(void) { return words[1] == ~0ul && words[4] == ~0ul; }
        #define MODIFY(name, type, expected) extern type name(type, type *); \
            static int test_##name(void) { \
                type old = (type)0xf1e2d3c4b5a69788, new = (type)0x8899aabbccddee9f, *p = (type *)(words + 2); \
                *p = old; \
                return name(new, p) == old && *p == expected && around(); }
        #define CAS(name, type) extern type name(type, type, type *); \
            static int test_##name(void) { \
                type old = (type)0xf1e2d3c4b5a69788, new = (type)0x8899aabbccddee9f, *p = (type *)(words + 2); \
                if (sizeof(type) == 16) old |= (type)7 << (sizeof(type) * 8 - 8), new |= (type)9 << (sizeof(type) * 8 - 8); \
                *p = old; \
                if (sizeof(type) == 16 && name(old ^ (type)1 << (sizeof(type) * 8 - 1), 5, p) != old) return 0; \
                if (name(new, 5, p) != old || *p != old) return 0; \
                return name(old, new, p) == old && *p == new && around(); }
        CALLS
        #undef MODIFY
        #undef CAS
        #define MODIFY(name, type, expected) test_##name,
        #define CAS(name, type) test_##name,
        static int (*const tests[])(void) = { CALLS };
        long check(void) {
            for (unsigned i = 0; i < sizeof tests / sizeof *tests; i++)
                if (!tests[i]()) return i + 1;
            return 0;
        }
        static long count; static unsigned char small; static short exchanged;
        static void *work(void *rounds) {
            for (long i = 0; i < (long)rounds; i++) {
                __atomic_fetch_add(&count, 1, __ATOMIC_RELAXED);
                __atomic_fetch_xor(&small, 1, __ATOMIC_SEQ_CST);
                short old = exchanged;
                while (!__atomic_compare_exchange_n(&exchanged, &old, old + 1, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {}
            }
            return 0;
        }
        long contend(long rounds) {
            pthread_t threads[3];
            for (int i = 0; i < 3; i++) pthread_create(threads + i, 0, work, (void *)rounds);
            for (int i = 0; i < 3; i++) pthread_join(threads[i], 0);
            return count * 10 + small + (exchanged == (short)count ? 0 : 5);
        }"#;
    source.replace("CALLS", &calls)
}

#[test]
fn outline_atomics_are_part_of_the_module() {
    let Some(loader) = Loader::get() else { return };
    let directory = scratch();
    let source = directory.path().join("atomics.c");
    fs::write(&source, atomics()).unwrap();
    let flags = ["-O1", "-moutline-atomics", "-mbranch-protection=standard"];
    let Some(object) = compiled(&source, &flags) else { return };
    for layout in LAYOUTS {
        let module = File::packed(&[&object], layout);
        let call = |name: &str, arguments: &[i64]| {
            loader.call(&module.path(), name, arguments, &["--host-symbols"])
        };
        assert_eq!(call("check", &[]), 0);
        assert_eq!(call("contend", &[5001]), 150_031);
        let packed = fs::read(module.path()).unwrap();
        let smf = Smf::parse(&packed).unwrap();
        assert_eq!(Properties::of(&smf).unwrap().unwrap().count(), 1);
    }
    // A definition of the inputs takes precedence.
    let own = ".text\n.globl __aarch64_ldadd8_relax\n__aarch64_ldadd8_relax: mov x0, #42\nret\n";
    let caller = ".text\n.globl go\ngo: str x30, [sp, #-16]!\nbl __aarch64_ldadd8_relax\n\
                  ldr x30, [sp], #16\nret\n.globl other\nother: b __aarch64_swp4_acq\n";
    let (Some(own), Some(caller)) = (assembled(own), assembled(caller)) else { return };
    let module = File::packed(&[&caller, &own], Layout::Packed);
    assert_eq!(loader.call(&module.path(), "go", &[0, 0], &[]), 42);
}

/// The loops of exclusive accesses as an assembler encodes them.
#[test]
fn outline_atomics_are_encoded_as_by_the_assembler() {
    let (mut calls, mut loops) = (String::new(), String::new());
    for name in ["cas", "swp", "add", "bic", "eor", "orr"] {
        let modified = match name {
            "cas" | "swp" => name.to_owned(),
            "bic" => "ldclr".to_owned(),
            "orr" => "ldset".to_owned(),
            name => format!("ld{name}"),
        };
        for (order, a, l) in [
            ("relax", "", ""),
            ("acq", "a", ""),
            ("rel", "", "l"),
            ("acq_rel", "a", "l"),
            ("sync", "a", "l"),
        ] {
            let sizes = [(1, 'w', "b"), (2, 'w', "h"), (4, 'w', ""), (8, 'x', ""), (16, 'x', "")];
            for (size, r, suffix) in sizes {
                if size == 16 && name != "cas" {
                    continue;
                }
                calls += &format!("bl __aarch64_{modified}{size}_{order}\n");
                let kept = match (name, size) {
                    ("cas", 1) => "uxtb w16, w0".to_owned(),
                    ("cas", 2) => "uxth w16, w0".to_owned(),
                    _ => format!("mov {r}16, {r}0"),
                };
                let kept = if size == 16 { "mov x15, x0\nmov x16, x1".to_owned() } else { kept };
                loops += &format!("hint #34\n{kept}\n");
                loops += &match name {
                    "cas" if size == 16 => format!(
                        "0: ld{a}xp x0, x1, [x4]\ncmp x0, x15\nccmp x1, x16, #0, eq\n\
                         csel x13, x2, x0, eq\ncsel x14, x3, x1, eq\n\
                         st{l}xp w17, x13, x14, [x4]\ncbnz w17, 0b\n"
                    ),
                    "cas" => format!(
                        "0: ld{a}xr{suffix} {r}0, [x2]\ncmp {r}0, {r}16\nb.ne 1f\n\
                         st{l}xr{suffix} w17, {r}1, [x2]\ncbnz w17, 0b\n1:\n"
                    ),
                    "swp" => format!(
                        "0: ld{a}xr{suffix} {r}0, [x1]\nst{l}xr{suffix} w17, {r}16, [x1]\ncbnz w17, 0b\n"
                    ),
                    _ => format!(
                        "0: ld{a}xr{suffix} {r}0, [x1]\n{name} {r}17, {r}0, {r}16\n\
                         st{l}xr{suffix} w15, {r}17, [x1]\ncbnz w15, 0b\n"
                    ),
                };
                loops += if order == "sync" { "dmb ish\nret\n" } else { "ret\n" };
            }
        }
    }
    let text = |body: &str| assembled(&format!(".text\n.globl go\ngo:\n{body}"));
    let (Some(calls), Some(loops)) = (text(&calls), text(&loops)) else { return };
    let code = |object: &[u8]| {
        let packed = try_pack(&[object], Layout::Packed).unwrap();
        let smf = Smf::parse(&packed.bytes).unwrap();
        let words = smf.code().unwrap().data.as_chunks::<4>().0.to_vec();
        words.into_iter().map(u32::from_le_bytes)
    };
    // Functions are padded to eight bytes.
    let found: Vec<_> = code(&calls).skip(125).filter(|word| *word != 0).collect();
    assert_eq!(found, code(&loops).collect::<Vec<_>>());
}

//! Constructors, destructors, exit handlers and exceptions of modules from the installed compilers, run by `smf run`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::skip::lacks;
use super::{contains, fails, ok, scratch};

/// A directory with sources and the modules made of them.
struct Program(PathBuf);

impl Program {
    fn new(test: &str) -> Self {
        Self(scratch(test))
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// Compiles a source to `NAME.o` and packs it as `NAME.smf`, whose path it returns.
    fn module(&self, name: &str, source: &str, flags: &[&str], pack: &[&str]) -> String {
        let object = self.object(name, source, flags);
        let module = self.path(&Path::new(name).with_extension("smf").to_string_lossy());
        let output = super::smf(&[&["pack", &object, "-o", &module], pack].concat());
        let remarks = super::text(&output.stderr);
        assert!(output.status.success() && !remarks.contains("error"), "{remarks}");
        module
    }

    fn object(&self, name: &str, source: &str, flags: &[&str]) -> String {
        let (input, object) = (self.path(name), self.path(&format!("{name}.o")));
        fs::write(&input, source).unwrap();
        let compiler = if name.ends_with(".c") { "cc" } else { "c++" };
        let mut command = Command::new(compiler);
        let output = command.args(flags).args(["-c", "-o", &object, &input]).output().unwrap();
        assert!(output.status.success(), "{}", super::text(&output.stderr));
        object
    }
}

const ORDER: &str = r#"
    #include <stdio.h>
    #include <stdlib.h>
    static int count;
    static void say(const char *what) { printf("%d %s\n", ++count, what); }
    static void handler(void) { say("handler"); }
    __attribute__((constructor)) static void plain(int argc, char **argv) {
        say(argc > 1 && argv && argv[1][0] == 'r' ? "plain run" : "plain");
        atexit(handler);
    }
    __attribute__((constructor(101))) static void first(void) { say("first"); }
    __attribute__((constructor(200))) static void later(void) { say("later"); }
    __attribute__((destructor)) static void fini(void) { say("fini"); }
    __attribute__((destructor(101))) static void fini_last(void) { say("fini last"); }
    long go(void) { say("go"); return count; }
"#;

#[test]
fn constructors_run_by_priority_and_destructors_at_exit() {
    let program = Program::new("init-order");
    let ways: [&[&str]; 3] = [&["-O2"], &["-O0", "-fPIC"], &["-O2", "-ffunction-sections"]];
    for flags in ways {
        for layout in ["packed", "native"] {
            let module = program.module("order.c", ORDER, flags, &["--layout", layout]);
            let expected =
                "1 first\n2 later\n3 plain run\n4 go\n4\n5 handler\n6 fini\n7 fini last\n";
            assert_eq!(ok(&["run", &module, "go", "--host-symbols"]), expected, "{flags:?}");
            assert_eq!(ok(&["verify", &module]), format!("{module}: ok\n"));
        }
    }
}

#[test]
fn old_sections_of_constructors_run_in_the_order_of_ld() {
    let program = Program::new("init-ctors");
    let source = r#"
        static long order;
        #define ENTRY(name, section_name, digit) \
            static void name(void) { order = order * 10 + digit; } \
            __attribute__((section(section_name), used)) static void (*const name##_entry)(void) = name;
        ENTRY(a, ".ctors", 5)
        ENTRY(b, ".ctors", 4)
        ENTRY(c, ".ctors.65434", 1)
        ENTRY(d, ".init_array.00102", 2)
        ENTRY(e, ".ctors.65000", 3)
        long go(void) { return order; }
    "#;
    let module = program.module("old.c", source, &["-O1", "-fno-toplevel-reorder"], &[]);
    assert_eq!(ok(&["run", &module, "go", "--host-symbols"]), "12345\n");
}

#[test]
fn fragments_of_init_and_fini_are_joined_in_link_order() {
    let program = Program::new("init-fragments");
    let call = if cfg!(target_arch = "x86_64") { "call" } else { "bl" };
    let source = |name: &str| {
        format!(
            r#"
            #include <stdio.h>
            #define FRAGMENT(section, function) \
                __asm__(".pushsection " section ",\"ax\",%progbits\n\t.p2align 4\n\t{call} " function "\n\t.popsection")
            void init_{name}(void) {{ puts("init {name}"); }}
            void fini_{name}(void) {{ puts("fini {name}"); }}
            FRAGMENT(".init", "init_{name}");
            FRAGMENT(".fini", "fini_{name}");
            __attribute__((constructor(101))) static void first(void) {{ puts("constructor {name}"); }}
            __attribute__((destructor(101))) static void last(void) {{ puts("destructor {name}"); }}
            long go_{name}(void) {{ return 7; }}
            "#
        )
        .replace("%progbits", if cfg!(target_arch = "x86_64") { "@progbits" } else { "%progbits" })
    };
    let flags = ["-O2", "-fPIC"];
    let [one, two] = ["one", "two"].map(|n| program.object(&format!("{n}.c"), &source(n), &flags));
    let start_file = |name: &str| {
        let output = Command::new("cc").arg(format!("-print-file-name={name}")).output().unwrap();
        super::text(&output.stdout).trim().to_owned()
    };
    let (crti, crtn) = (start_file("crti.o"), start_file("crtn.o"));
    let module = program.path("fragments.smf");
    for inputs in [&[&one, &two][..], &[&crti, &one, &two, &crtn]] {
        for layout in ["packed", "native"] {
            let mut pack = vec!["pack", "--layout", layout, "-o", &module];
            pack.extend(inputs.iter().map(|input| input.as_str()));
            let output = super::smf(&pack);
            assert!(output.status.success(), "{}", super::text(&output.stderr));
            assert_eq!(
                ok(&["run", &module, "go_two", "--host-symbols"]),
                "init one\ninit two\nconstructor one\nconstructor two\n7\n\
                 destructor two\ndestructor one\nfini one\nfini two\n",
            );
        }
    }
}

#[test]
fn constructors_run_in_dependency_order_across_modules() {
    let program = Program::new("init-modules");
    let provider = r#"
        #include <stdio.h>
        long value;
        __attribute__((constructor)) static void set(void) { value = 40; puts("provider"); }
        __attribute__((destructor)) static void end(void) { puts("provider ends"); }
        long get(void) { return value; }
    "#;
    let user = r#"
        #include <stdio.h>
        extern long get(void);
        static long seen;
        __attribute__((constructor)) static void set(void) { seen = get() + 2; puts("user"); }
        __attribute__((destructor)) static void end(void) { printf("user ends with %ld\n", get()); }
        long go(void) { return seen; }
    "#;
    let provider = program.module("provider.c", provider, &["-O2"], &[]);
    let user = program.module("user.c", user, &["-O2"], &[]);
    let run = ["run", &user, "go", "--host-symbols", "--with", &provider];
    assert_eq!(ok(&run), "provider\nuser\n42\nuser ends with 40\nprovider ends\n");
    contains(
        &fails(&["run", &user, "go", "--host-symbols", "--no-constructors", "--with", &provider]),
        &[
            "has constructors, destructors, exit handlers or indirect functions, which the options refuse",
        ],
    );
    let dynlib = super::sample("dynlib.smf").to_str().unwrap().to_owned();
    for run in [&["run", &dynlib, "plugin", "37"][..], &["run", &user, "go", "--with", &dynlib]] {
        let why = "dynlib.smf: this is a dynlib, whose initialisers would run";
        contains(&fails(&[run, &["--no-constructors"]].concat()), &[why]);
    }
}

#[test]
fn arguments_are_checked_before_constructors_run() {
    let program = Program::new("init-arguments");
    let source = r#"
        #include <stdio.h>
        __attribute__((constructor)) static void set(void) { puts("constructor"); }
        long go(long x) { return x; }
    "#;
    let module = program.module("go.c", source, &["-O2"], &[]);
    let run = ["run", &module, "go", "--host-symbols"];
    for args in [&["x"][..], &["1", "2", "3", "4", "5", "6", "7", "8", "9"]] {
        let output = super::smf(&[&run, args].concat());
        assert_eq!((output.status.code(), &*output.stdout), (Some(2), &b""[..]), "{args:?}");
    }
    assert_eq!(ok(&[&run[..], &["7"]].concat()), "constructor\n7\n");
}

#[test]
fn constructor_and_destructor_in_another_module_run() {
    let program = Program::new("init-imported");
    let provider = r#"
        #include <stdio.h>
        void begin(int count, char **arguments) { printf("begin %d\n", count > 0 && arguments[0] != 0); }
        void finish(void) { puts("end"); }
    "#;
    let user = r#"
        extern void begin(int, char **), finish(void);
        __attribute__((section(".init_array"), used)) static void (*first)(int, char **) = begin;
        __attribute__((section(".fini_array"), used)) static void (*last)(void) = finish;
        long go(void) { return 7; }
    "#;
    let provider = program.module("provider.c", provider, &["-O2"], &[]);
    for options in [&[][..], &["--layout", "native"]] {
        let user = program.module("user.c", user, &["-O2"], options);
        let run = ["run", &user, "go", "--host-symbols", "--with", &provider];
        assert_eq!(ok(&run), "begin 1\n7\nend\n", "{options:?}");
    }
}

#[test]
fn inspect_lists_what_runs_at_load() {
    let program = Program::new("init-inspect");
    let module = program.module("order.c", ORDER, &["-O2"], &[]);
    let shown = ok(&["inspect", &module]);
    contains(&shown, &["constructors (3)", "destructors (2)", "__smf_requires_constructors"]);
    let shown: serde_json::Value =
        serde_json::from_str(&ok(&["inspect", "--json", &module])).unwrap();
    assert_eq!(shown["constructors"].as_array().map(Vec::len), Some(3));
    assert_eq!(shown["destructors"].as_array().map(Vec::len), Some(2));
}

const CATCH: &str = r#"
    #include <cstdio>
    #include <iostream>
    #include <stdexcept>
    #include <string>
    #include <vector>
    struct Noisy {
        std::string name;
        explicit Noisy(const char *n) : name(n) { std::cout << "make " << name << std::endl; }
        ~Noisy() { std::cout << "end " << name << std::endl; }
    };
    static Noisy global("global");
    static long thrower(long n) {
        Noisy local("local");
        if (n > 10) throw std::out_of_range("n is " + std::to_string(n));
        return std::vector<long>(5, n).at(static_cast<size_t>(n));
    }
    extern "C" long go(long n) {
        static Noisy once("once");
        try { return thrower(n); }
        catch (const std::out_of_range &error) { std::cout << error.what() << std::endl; return -1; }
        catch (...) { return -2; }
    }
"#;

#[test]
fn cpp_module_with_iostream_catches_exceptions() {
    let program = Program::new("init-cpp");
    for (flags, pack) in [
        (&["-O2"][..], &[][..]),
        (&["-O0", "-fPIC"], &[]),
        (&["-O2", "-ffunction-sections"], &["--compress", "zstd"]),
        (&["-O2", "-fPIC"], &["--layout", "native"]),
    ] {
        let module = program.module("catch.cc", CATCH, flags, pack);
        let run = |n| ok(&["run", &module, "go", n, "--host-symbols", "--host-library", "stdc++"]);
        let ends = "end once\nend global\n";
        let start = "make global\nmake once\nmake local\nend local\n";
        assert_eq!(run("3"), format!("{start}3\n{ends}"), "{flags:?}");
        assert_eq!(run("99"), format!("{start}n is 99\n-1\n{ends}"), "{flags:?}");
        let caught = run("7");
        assert!(caught.contains("-1\n") && caught.ends_with(ends), "{caught}");
    }
}

#[test]
fn exception_crosses_modules() {
    let program = Program::new("init-cross");
    let thrower = r#"
        #include <string>
        struct Problem {
            std::string text;
            explicit Problem(const char *t) : text(t) {}
            virtual ~Problem();
        };
        Problem::~Problem() {}
        void fail(const char *text) { throw Problem(text); }
        long through(long (*callback)(long), long n) {
            struct Guard { long *count; ~Guard() { ++*count; } };
            static long unwound;
            Guard guard{&unwound};
            return n < 0 ? unwound : callback(n);
        }
    "#;
    let catcher = r#"
        #include <string>
        struct Problem { std::string text; Problem(); virtual ~Problem(); };
        void fail(const char *text);
        long through(long (*callback)(long), long n);
        static long callback(long n) { if (n > 1) throw n; fail("over there"); return 0; }
        extern "C" long go(long n) {
            try { through(callback, n); }
            catch (const Problem &problem) { return (long)problem.text.size() * 10 + through(callback, -1); }
            catch (long n) { return n * 10 + through(callback, -1); }
            return 0;
        }
    "#;
    let thrower = program.module("thrower.cc", thrower, &["-O2"], &[]);
    let catcher = program.module("catcher.cc", catcher, &["-O2"], &[]);
    let run = |n| {
        let host = ["--host-symbols", "--host-library", "stdc++"];
        ok(&[&["run", &catcher, "go", n, "--with", &thrower][..], &host].concat())
    };
    assert_eq!(run("1"), "101\n");
    assert_eq!(run("7"), "71\n");
}

/// Found: a panic of the command, for which the handler of the program never ran; with handlers of signals that throw, as
/// those of Ada, one panic after another.
#[test]
fn exception_without_a_handler_is_the_affair_of_the_program() {
    use std::os::unix::process::ExitStatusExt;
    let program = Program::new("init-terminate");
    let source = r#"
        #include <cstdio>
        #include <cstdlib>
        #include <exception>
        int main(int argc, char **) {
            if (argc > 1) std::set_terminate([] { std::puts("the last save"); std::exit(3); });
            throw 5;
        }
    "#;
    let module = program.module("terminate.cc", source, &["-O2"], &[]);
    let host = ["--host-symbols", "--host-library", "stdc++"];
    let run = |rest: &[&str]| {
        let output = super::smf(&[&["run", "--main", &module][..], &host, rest].concat());
        (output.status, super::text(&output.stdout), super::text(&output.stderr))
    };
    let (status, shown, error) = run(&["--", "x"]);
    assert_eq!((status.code(), &*shown), (Some(3), "the last save\n"), "{error}");
    let (status, _, error) = run(&[]);
    assert_eq!(status.signal(), Some(libc::SIGABRT));
    contains(&error, &["terminate called after throwing an instance of 'int'"]);
}

#[test]
fn exception_passes_through_a_module_without_relocations() {
    let program = Program::new("init-through");
    let through = "long through(long (*callback)(long), long n) { return callback(n) + 1; }";
    let catcher = r#"
        extern "C" long through(long (*callback)(long), long n);
        static long callback(long n) { if (n < 0) throw n; return n; }
        extern "C" long go(long n) {
            try { return through(callback, n); } catch (long caught) { return caught * 10; }
        }
    "#;
    let through = program.module("through.c", through, &["-O1"], &[]);
    let catcher = program.module("catcher.cc", catcher, &["-O2"], &[]);
    let run = |n| {
        let host = ["--host-symbols", "--host-library", "stdc++"];
        ok(&[&["run", &catcher, "go", n, "--with", &through][..], &host].concat())
    };
    assert_eq!([run("5"), run("-5")], ["6\n", "-50\n"]);
}

#[test]
fn module_without_unwinding_tables_is_smaller() {
    let program = Program::new("init-plain");
    let with = program.module("catch.cc", CATCH, &["-O2"], &[]);
    let with = fs::metadata(with).unwrap().len();
    let module = program.module("catch.cc", CATCH, &["-O2"], &["--no-unwind-tables"]);
    assert!(fs::metadata(&module).unwrap().len() < with);
    let host = ["--host-symbols", "--host-library", "stdc++"];
    let shown = ok(&[&["run", &module, "go", "2"][..], &host].concat());
    contains(&shown, &["make global\n", "2\n", "end global\n"]);
}

#[test]
fn backtrace_goes_through_module_frames() {
    let program = Program::new("init-backtrace");
    let source = r#"
        #include <execinfo.h>
        __attribute__((noinline)) static int depth(int n) {
            void *frames[64];
            int count = n ? depth(n - 1) + 1 : backtrace(frames, 64);
            return count;
        }
        long go(long n) { return depth((int)n) - depth(0); }
    "#;
    let module = program.module("trace.c", source, &["-O0"], &[]);
    let run = |n| ok(&["run", &module, "go", n, "--host-symbols"]);
    // Each frame is seen once by the unwinder and counted once by the program.
    assert_eq!([run("0"), run("5"), run("20")], ["0\n", "10\n", "40\n"]);
}

#[test]
fn exit_handlers_are_those_of_the_module() {
    let program = Program::new("init-handlers");
    let source = r#"
        #include <pthread.h>
        #include <stdio.h>
        #include <stdlib.h>
        #include <sys/wait.h>
        #include <unistd.h>
        static int forks;
        static void before(void) { forks += 1; }
        static void parent(void) { forks += 10; }
        static void child(void) { _exit(7); }
        static void quick(void) { puts("quick"); fflush(stdout); }
        long go(void) {
            pthread_atfork(before, parent, child);
            int status = 0;
            pid_t pid = fork();
            waitpid(pid, &status, 0);
            return forks * 100 + WEXITSTATUS(status);
        }
        long quickly(void) { at_quick_exit(quick); quick_exit(0); }
    "#;
    let module = program.module("handlers.c", source, &["-O2"], &[]);
    assert_eq!(ok(&["run", &module, "go", "--host-symbols"]), "1107\n");
    assert_eq!(ok(&["run", &module, "quickly", "--host-symbols"]), "quick\n");
    contains(&ok(&["inspect", &module]), &["__register_atfork", "__cxa_at_quick_exit"]);
}

#[test]
fn functions_that_every_program_has_of_its_own_are_found() {
    let program = Program::new("init-nonshared");
    let source = include_str!("../../../tests/programs/nonshared.c");
    for more in [&["--export", "calls"][..], &["-lc"]] {
        let module = program.module("nonshared.c", source, &["-O1", "-fPIC"], more);
        assert_eq!(ok(&["run", &module, "calls", "0", "--host-symbols"]), "0\nleft\n", "{more:?}");
    }
    // Its own copy belongs to every program too, but is hidden, so that only the library's static part defines it.
    let source = "extern __attribute__((visibility(\"hidden\"))) void __stack_chk_fail_local(void);
        long go(long x) { if (x > 9) __stack_chk_fail_local(); return x; }";
    let object = program.object("stack.c", source, &["-fPIC"]);
    let error = fails(&["pack", &object, "-o", &program.path("stack.smf")]);
    contains(&error, &["the hidden symbol `__stack_chk_fail_local`", "(-lc)"]);
    let module = program.module("stack.c", source, &["-fPIC"], &["-lc"]);
    assert_eq!(ok(&["run", &module, "go", "5", "--host-symbols"]), "5\n");
}

#[test]
fn functions_that_only_executables_can_run_are_refused() {
    let program = Program::new("init-refused");
    let source = "void f(void) {} __attribute__((section(\".preinit_array\"), used)) \
                  static void (*const entry)(void) = f;";
    let object = program.object("early.c", source, &[]);
    let error = fails(&["pack", &object, "-o", &program.path("early.smf")]);
    contains(&error, &["section `.preinit_array`", "only an executable"]);
}

#[test]
fn rust_library_with_std_catches_panics() {
    let program = Program::new("init-rust");
    let source = r#"
        use std::collections::HashMap;
        #[unsafe(no_mangle)]
        pub extern "C" fn go(n: i64) -> i64 {
            std::panic::set_hook(Box::new(|_| {}));
            let result = std::panic::catch_unwind(|| {
                let mut map: HashMap<String, i64> = HashMap::new();
                for i in 0..n { *map.entry(format!("key {}", i % 7)).or_default() += i; }
                if n > 100 { panic!("too many"); }
                map.values().sum::<i64>()
            });
            result.unwrap_or(-1)
        }
    "#;
    let (input, archive) = (program.path("lib.rs"), program.path("lib.a"));
    fs::write(&input, source).unwrap();
    let mut rustc = Command::new(std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into()));
    rustc.args([
        "--edition=2024",
        "--crate-type=staticlib",
        "-Copt-level=1",
        "-o",
        &archive,
        &input,
    ]);
    let output = rustc.output().unwrap();
    assert!(output.status.success(), "{}", super::text(&output.stderr));
    let module = program.path("lib.smf");
    ok(&["pack", &archive, "--entry", "go", "-o", &module]);
    let run = |n| ok(&["run", &module, "go", n, "--host-symbols", "--host-library", "gcc_s"]);
    assert_eq!([run("10"), run("200")], ["45\n", "-1\n"]);
}

const TYPED: &str = r#"
    #include <stdint.h>
    #include <string.h>
    int negative(int a) { return a - 10; }
    unsigned char narrow(unsigned char a) { return a + 1; }
    float halved(float a) { return a / 2; }
    double mixed(int a, double b, float c) { return a + b * c; }
    _Bool is_positive(double a) { return a > 0; }
    const char *tail(const char *text) { return strlen(text) > 2 ? text + 2 : 0; }
    void fill(unsigned char *to, long size) { memset(to, 7, size); }
    long sum(const int64_t *from, long count) { long s = 0; while (count--) s += *from++; return s; }
    void negate(float *all, long count) { while (count--) { *all = -*all; all++; } }
"#;

#[test]
fn arguments_and_results_have_the_types_that_are_stated() {
    let program = Program::new("typed-values");
    let module = program.module("typed.c", TYPED, &["-O2"], &[]);
    let run = |returns: &'static str, args: &[&str]| {
        ok(&[&["run", "--host-symbols", "--returns", returns, &module][..], args].concat())
    };
    assert_eq!(run("i32", &["negative", "5"]), "-5\n");
    assert_eq!(ok(&["run", &module, "negative", "5", "--host-symbols"]), "4294967291\n");
    assert_eq!(run("u8", &["narrow", "u8:255"]), "0\n");
    assert_eq!(run("f32", &["halved", "f32:5"]), "2.5\n");
    assert_eq!(run("f64", &["mixed", "3", "-1.5", "f32:2"]), "0.0\n");
    assert_eq!(run("bool", &["is_positive", "1e-3"]), "true\n");
    assert_eq!(run("str", &["tail", "str:abcd"]), "cd\n");
    assert_eq!(run("str", &["tail", "str:a"]), "null\n");
    assert_eq!(run("void", &["fill", "buf:3", "3"]), "u8:7,7,7\n");
    assert_eq!(run("i64", &["sum", "i64:1,2,39", "3"]), "42\n");
    assert_eq!(run("void", &["negate", "f32:1.5,", "1"]), "f32:-1.5\n");
    let refused = super::smf(&["run", "--host-symbols", &module, "sum", "i64:x,1"]);
    let refused = super::text(&refused.stderr);
    contains(&refused, &["`x` is not a valid i64"]);
    contains(
        &fails(&["run", &module, "tail", "str:abcd"]),
        &["`strlen`", "--host-symbols", "--with"],
    );
}

const PROGRAM: &str = r#"
    #include <elf.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    #include <unistd.h>
    /* As programs read it that have no getauxval: behind the environment. */
    static int finds_page_size(char **envp) {
        while (*envp) envp++;
        for (const Elf64_auxv_t *entry = (void *)(envp + 1); entry->a_type != AT_NULL; entry++)
            if (entry->a_type == AT_PAGESZ) return entry->a_un.a_val == (unsigned long)getpagesize();
        return 0;
    }
    extern char **environ;
    int main(int argc, char **argv, char **envp) {
        for (int i = 1; i < argc; i++) printf("%d=%s\n", i, argv[i]);
        printf("%s %d %d\n", getenv("SMF_PROGRAM_TEST"), argv[argc] == 0, envp == environ);
        int is_behind = envp == argv + argc + 1 && argv[1] == argv[0] + strlen(argv[0]) + 1;
        printf("%d %d\n", is_behind, finds_page_size(envp));
        return argc + 300;
    }
"#;

#[test]
fn main_is_called_as_a_program() {
    let program = Program::new("main-program");
    let module = program.module("main.c", PROGRAM, &["-O1"], &[]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_smf"));
    command.env("SMF_PROGRAM_TEST", "here").args(["run", "--host-symbols", "--main", &module]);
    let output = command.args(["--", "one", "-x", "--exit", "u9:z"]).output().unwrap();
    assert_eq!(super::text(&output.stdout), "1=one\n2=-x\n3=--exit\n4=u9:z\nhere 1 1\n1 1\n");
    assert_eq!(output.status.code(), Some(305 & 0xff));
    for option in ["--exit", "--time"] {
        assert_eq!(super::smf(&["run", "--main", option, &module]).status.code(), Some(2));
    }
}

const CRASHES: &str = r#"
    #include <stdlib.h>
    #define KEEP __attribute__((noinline, noipa))
    KEEP long read_at(long *p) { return *p + 1; }
    KEEP long outer(long *p) { return read_at(p) * 3; }
    KEEP long divide(long a, long b) { return a / b + 1; }
    KEEP long deep(volatile char *p) { volatile char block[4096]; block[0] = *p; return deep(block) + 1; }
    KEEP long call_null(long (*f)(void)) { return f() + 1; }
    KEEP long through(long (*f)(void)) { return call_null(f) * 5; }
    KEEP long give_up(void) { abort(); }
    static KEEP long hidden(long *p) { return *p - 1; }
    KEEP long open_door(long *p) { return hidden(p) * 5; }
    static inline __attribute__((always_inline)) long inner(long *p) { return *p + 2; }
    KEEP long around(long *p) { return inner(p) * 7; }
    KEEP long stop(long n) { __asm__ volatile("int3"); __builtin_unreachable(); }
"#;

#[cfg(target_arch = "x86_64")]
#[test]
fn crash_is_reported_with_signal_function_line_and_backtrace() {
    use std::os::unix::process::ExitStatusExt;
    let program = Program::new("crashes");
    let module = program.module("crash.c", CRASHES, &["-O1", "-g"], &["-g"]);
    let plain = program.module("plain.c", CRASHES, &["-O1"], &[]);
    let crash = |module: &str, args: &[&str], signal: i32, words: &[&str]| {
        let all = [&["run", "--host-symbols", module][..], args].concat();
        let output = super::smf(&all);
        assert_eq!(output.status.signal(), Some(signal), "{args:?}");
        let said = super::text(&output.stderr);
        contains(&said, words);
        // The backtrace ends with the function that the command has called, unless it is cut.
        let last = said.trim_end().trim_end_matches("  ...").trim_end().lines().last().unwrap();
        assert!(last.contains(".smf)"), "{said}");
    };
    for (args, signal, words) in [
        (
            &["outer", "16"][..],
            libc::SIGSEGV,
            &["SIGSEGV", "0x10", "#0", "in read_at + 0x", "#1", "in outer + 0x"][..],
        ),
        (&["divide", "1", "0"], libc::SIGFPE, &["SIGFPE", "in divide + 0x"]),
        (
            &["call_null", "0"],
            libc::SIGSEGV,
            &["SIGSEGV", "#0 0x000000000000", "in call_null + 0x"],
        ),
        // An address where nothing is mapped, and one whose page is not executable.
        (
            &["call_null", "0x7000"],
            libc::SIGSEGV,
            &[
                "SIGSEGV (a jump to memory that is not code)",
                "#0 0x000000007000 (no code)",
                "#1",
                "in call_null + 0x",
            ],
        ),
        (
            &["through", "str:a"],
            libc::SIGSEGV,
            &["#0", "(no code)", "#1", "in call_null + 0x", "#2", "in through + 0x"],
        ),
        (&["deep", "str:a"], libc::SIGSEGV, &["SIGSEGV", "in deep + 0x", "#31", "  ...\n"]),
        (&["give_up"], libc::SIGABRT, &["SIGABRT", "in give_up + 0x", "#3"]),
        (&["stop", "1"], libc::SIGTRAP, &["SIGTRAP (trap instruction)", "#0", "in stop + 0x"]),
    ] {
        crash(&module, args, signal, words);
        crash(&plain, args, signal, words);
    }
    crash(&module, &["outer", "16"], libc::SIGSEGV, &["crash.c:4", "crash.c:5"]);
    let words = ["in around + 0x", "crash.c:13 of the inlined function inner\n"];
    crash(&module, &["around", "16"], libc::SIGSEGV, &words);
    // With -g static functions have symbols. A function without one is not named by the symbol before it.
    let args = ["open_door", "16"];
    let words = ["#0", "in hidden + 0x", "crash.c:11", "#1", "in open_door + 0x", "crash.c:12"];
    crash(&module, &args, libc::SIGSEGV, &words);
    let words = ["#0", "in a function without a name (", "#1", "in open_door + 0x"];
    crash(&plain, &args, libc::SIGSEGV, &words);
}

/// Of modules that source may import from.
#[test]
fn source_loads_the_providers_that_it_needs() {
    let program = Program::new("init-source");
    let pack = |name: &str, source: &str| {
        let object = program.object(&format!("{name}.c"), source, &["-O1"]);
        let module = program.path(&format!("{name}.smf"));
        ok(&["pack", &object, "-o", &module]);
        module
    };
    let start = "#include <stdio.h>\n__attribute__((constructor)) static void start(void)";
    let unused = pack("unused", &format!("{start} {{ puts(\"unused\"); }} int other;"));
    let used = pack(
        "used",
        &format!(
            "{start} {{ puts(\"used\"); fflush(stdout); }} long twice(long n) {{ return 2 * n; }}"
        ),
    );
    let archive = program.path("all.lsm");
    ok(&["lib", "create", "-o", &archive, &format!("unused={unused}"), &format!("used={used}")]);
    let source = program.path("a.spl");
    fs::write(&source, "extern fn twice(n: i64) -> i64\nfn f() -> i64: 3\nprint twice(4)\n")
        .unwrap();
    let plain = program.path("plain.spl");
    fs::write(&plain, "print 1\n").unwrap();
    assert_eq!(ok(&["run", &plain, "--with", &unused]), "1\n");
    for backend in ["native", "interpret"] {
        let run = ["run", &source, "--host-symbols", "--backend", backend, "--with"];
        assert_eq!(ok(&[&run[..], &[&archive]].concat()), "used\n8\n");
        assert_eq!(ok(&[&run[..], &[&unused, "--with", &used]].concat()), "used\n8\n");
    }
    let error = fails(&["run", &source, "--with", &used]);
    let words = ["unresolved imports `puts`", "used.smf)", "--host-symbols"];
    contains(&error, &words);
    let error = fails(&["run", &source, "--with", &unused]);
    contains(&error, &["calls `twice`, which is undefined", "--host-symbols"]);
}

/// Of a function in two objects a partial link keeps one; what it leaves of the unwinding tables of the other differs by
/// linker.
#[test]
fn partially_linked_objects_keep_their_unwinding_tables() {
    let program = Program::new("init-partial");
    let shared = "struct Error { int number; };
        inline __attribute__((noinline)) int square(int n) {
            try { if (n > 9) throw Error{n}; } catch (long) { return 0; }
            return n * n;
        }\n";
    let one = format!("{shared}int one(int n) {{ return square(n); }}");
    let two = format!(
        "{shared}int one(int);
        extern \"C\" int two(int n) {{
            try {{ return one(n) + square(n + 1); }} catch (const Error &error) {{ return error.number; }}
        }}"
    );
    let objects =
        [program.object("one.cc", &one, &["-O1"]), program.object("two.cc", &two, &["-O1"])];
    let (object, module) = (program.path("partial.o"), program.path("partial.smf"));
    for linker in ["ld", "ld.gold", "ld.lld", "mold"] {
        let made = Command::new(linker).args(["-r", "-o", &object]).args(&objects).output();
        let Ok(made) = made else {
            lacks(linker);
            continue;
        };
        assert!(made.status.success(), "{linker}: {}", super::text(&made.stderr));
        let output = super::smf(&["pack", &object, "-o", &module, "-l", "stdc++"]);
        assert_eq!(super::text(&output.stderr), "", "{linker}");
        for (argument, result) in [("3", "25\n"), ("9", "10\n"), ("12", "12\n")] {
            let said = ok(&["run", &module, "two", argument, "--host-symbols"]);
            assert_eq!(said, result, "{linker} {argument}");
        }
    }
}

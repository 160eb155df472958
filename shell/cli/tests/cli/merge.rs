//! `smf pack` with modules as inputs.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::pack::compiled;
use super::{contains, fails, inspected, ok, scratch, smf};

/// Packs, with relocations, so that modules can be linked again, and with warnings on standard error, which are returned.
#[track_caller]
pub(super) fn packed(args: &[&str]) -> String {
    let output = smf(&[&["pack", "--emit-relocs"], args].concat());
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{args:?}: {errors}");
    errors
}

/// A module of a C source, without unwinding tables.
fn module(test: &str, source: &str, flags: &[&str], pack: &[&str]) -> String {
    let flags = [&["-O2", "-fPIC", "-fno-asynchronous-unwind-tables"], flags].concat();
    let (object, out) = compiled(&format!("merge-{test}"), source, &flags);
    packed(&[&[&*object, "-o", &out], pack].concat());
    out
}

const A: &str = "long b(long); long shared = 40; const char *names[] = {\"zero\", \"one\"};
    static long count; long a(long x) { return b(x) + ++count; }
    long letter(long i) { return names[1][i]; }";
const B: &str = "extern long shared; long c(long); long b(long x) { return c(x) + shared; }
    long apply(long (*f)(long), long x) { return f(x); }";
const C: &str = "long a(long); long apply(long (*)(long), long);
    long c(long x) { return 2 * x; } long main(void) { return apply(a, 0) + 1; }";

#[test]
fn modules_and_objects_of_all_layouts_are_one_module() {
    let (object, out) = compiled("merge-c", C, &["-O2", "-fno-asynchronous-unwind-tables"]);
    for (first, second) in [("packed", "packed"), ("native", "packed"), ("native", "native")] {
        let a = module("a", A, &[], &["--layout", first]);
        let b = module("b", B, &[], &["--layout", second, "--compress", "zstd"]);
        for layout in ["packed", "native"] {
            packed(&[&a, &b, &object, "-o", &out, "--layout", layout]);
            assert_eq!(ok(&["verify", &out]), format!("{out}: ok\n"));
            let symbols = inspected(&out)["symbols"].clone();
            assert!(symbols.as_array().unwrap().iter().all(|symbol| symbol["defined"] == true));
            assert_eq!(ok(&["run", &out]), "42\n", "{first} {second} {layout}");
            assert_eq!(ok(&["run", &out, "letter", "2"]), format!("{}\n", b'e'));
            // A merged module can be merged again.
            let again = out.replace("out.smf", "again.smf");
            packed(&[&out, "-o", &again]);
            assert_eq!(ok(&["run", &again]), "42\n");
        }
    }
}

#[test]
fn archive_members_that_are_needed_are_linked() {
    let b = module("archive-b", B, &[], &[]);
    let other = module("archive-x", "long shared; long unused(void) { return 1; }", &[], &[]);
    let (object, out) = compiled("merge-archive", &format!("{A}\n{C}"), &["-O2"]);
    let dir = scratch("merge-archives");
    let library = dir.join("modules.lsm");
    let library = library.to_str().unwrap();
    ok(&["lib", "create", "-o", library, &format!("b={b}"), &format!("other={other}")]);
    let archive = dir.join("modules.a");
    let mut ar = Command::new("ar");
    assert!(ar.arg("rcs").arg(&archive).args([&b, &other]).status().unwrap().success());
    for archive in [library, archive.to_str().unwrap()] {
        packed(&[&object, archive, "-o", &out]);
        assert_eq!(ok(&["run", &out]), "42\n");
        let symbols = inspected(&out)["symbols"].clone();
        assert!(!symbols.to_string().contains("unused"));
    }
}

#[test]
fn needed_libraries_are_united() {
    let a = module("needed-a", A, &[], &["--needed", "libm.so.6"]);
    let b = module("needed-b", B, &[], &["--needed", "libc.so.6", "--needed", "libm.so.6"]);
    let (object, out) = compiled("merge-needed", C, &["-O2"]);
    packed(&[&a, &b, &object, "-o", &out, "--needed", "libc.so.6"]);
    assert_eq!(inspected(&out)["needed_libraries"], json!(["libc.so.6", "libm.so.6"]));
    assert_eq!(ok(&["run", &out]), "42\n");
}

/// As those of the same objects, which run in the order of ld.
#[test]
fn constructors_of_merged_modules_run_by_priority() {
    let source = |name: &str, priorities: [u32; 2]| {
        let function = |kind: &str, priority: String| {
            let function = format!("{kind}_{name}_{priority}");
            format!(
                "__attribute__(({kind}{})) static void {function}(void) {{ puts(\"{function}\"); }}\n",
                if priority.is_empty() { priority } else { format!("({priority})") }
            )
        };
        let all = ["constructor", "destructor"].map(|kind| {
            let [one, two] = priorities.map(|priority| function(kind, priority.to_string()));
            one + &function(kind, String::new()) + &two
        });
        format!("int puts(const char *);\n{}long go_{name}(void) {{ return 7; }}", all.concat())
    };
    let (a, b) = (source("a", [150, 200]), source("b", [160, 120]));
    let flags = ["-O2", "-fPIC"];
    let (first, out) = compiled("merge-priorities-a-o", &a, &flags);
    let (second, _) = compiled("merge-priorities-b-o", &b, &flags);
    packed(&[&first, &second, "-o", &out]);
    let run = |module: &str| ok(&["run", module, "go_a", "--host-symbols"]);
    let expected = run(&out);
    contains(&expected, &["constructor_b_120\nconstructor_a_150\nconstructor_b_160\n"]);
    let again = out.replace("out.smf", "again.smf");
    for layout in ["packed", "native"] {
        let [one, two] = [("a", &a), ("b", &b)].map(|(name, source)| {
            let name = format!("priorities-{name}-{layout}");
            module(&name, source, &[], &["--layout", layout])
        });
        for inputs in [[&one, &two], [&one, &second], [&first, &two]] {
            packed(&[inputs[0], inputs[1], "-o", &out, "--layout", layout]);
            assert_eq!(run(&out), expected, "{layout} {inputs:?}");
            packed(&[&out, "-o", &again]);
            assert_eq!(run(&again), expected, "{layout} {inputs:?}");
        }
    }
}

/// Offsets in thread-local storage are final in the code and the tables of a module, and change when it is merged.
#[test]
fn thread_local_storage_and_constructors_of_several_modules_are_merged() {
    let first = "static __thread char pad[100] = {1}; __thread long t = 30; static long made;
        __attribute__((constructor)) static void make(void) { made = 9; }
        long b(long x) { return x + ++t + made + pad[x & 63]; }";
    let second = "static __thread long s __attribute__((aligned(64))); static __thread long u = 2;
        long c(void) { s += u; u++; return (unsigned long)&s % 64 * 1000 + s; }";
    let zeroes = "static __thread long zeroes[3]; long d(long x) { return zeroes[x]++; }";
    let user = "static __thread long own = 1; long b(long), c(void), d(long);
        long main(void) { c(); d(1); return b(own) - 1 + c() * 10 + d(1) * 100; }";
    for model in ["global-dynamic", "local-dynamic", "initial-exec", "local-exec", "descriptors"] {
        let flag = match model {
            "descriptors" => "-mtls-dialect=gnu2".to_owned(),
            model => format!("-ftls-model={model}"),
        };
        if !cfg!(target_arch = "x86_64") && ["descriptors", "local-exec"].contains(&model) {
            continue;
        }
        let module = |name: &str, source| module(&format!("tls-{name}"), source, &[&flag], &[]);
        let modules = [module("b", first), module("c", second), module("d", zeroes)];
        let (object, out) = compiled("merge-tls-use", user, &["-O2", "-fPIC", &flag]);
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let [one, two, three] = order.map(|number: usize| &*modules[number]);
            packed(&[one, &object, two, three, "-o", &out]);
            assert_eq!(ok(&["verify", &out]), format!("{out}: ok\n"));
            assert_eq!(ok(&["run", &out, "--host-symbols"]), "190\n", "{model} {order:?}");
            let again = out.replace("out.smf", "again.smf");
            packed(&[&out, "-o", &again]);
            assert_eq!(ok(&["run", &again, "--host-symbols"]), "190\n", "{model} {order:?}");
        }
    }
}

const THROWER: &str = r#"
    #include <cstdio>
    #include <stdexcept>
    #include <string>
    struct End { const char *name; ~End() { std::printf("end of %s\n", name); std::fflush(stdout); } };
    static End end{"thrower"};
    static thread_local long thrown = 100, ended = 5;
    struct Guard { std::string text; ~Guard() { ended += 1; } };
    void fail(const std::string &why) {
        thrown += 1; Guard guard{why}; throw std::runtime_error(why + "0");
    }
    extern "C" long count(void) { return thrown * 1000 + ended; }
    extern "C" long run(long);
    extern "C" long twice(long x) {
        long first = run(x);
        try { fail("z"); } catch (...) { return first + count(); }
        return 0;
    }
"#;
const CATCHER: &str = r#"
    #include <cstdio>
    #include <stdexcept>
    #include <string>
    struct End { const char *name; ~End() { std::printf("end of %s\n", name); std::fflush(stdout); } };
    static End end{"catcher"};
    static thread_local long calls = 10; static thread_local char buffer[40];
    void fail(const std::string &why);
    static long inner(long x) {
        try { fail(std::to_string(x)); } catch (const std::logic_error &) { return -1; }
        return -2;
    }
    extern "C" long run(long x) {
        calls += 1; buffer[x % 40] += 1;
        try { return inner(x); }
        catch (const std::runtime_error &error) {
            return std::stol(error.what()) + calls + buffer[x % 40];
        }
    }
"#;

/// Exceptions pass from one merged module to the other, and destructors of both run at the end.
#[test]
fn exceptions_and_exit_handlers_of_merged_modules_work() {
    // Native modules have no local-exec code.
    for (flags, inputs, outs) in [
        (&["-O2", "-fPIC"][..], ["native", "packed"], &["packed", "native"][..]),
        (&["-O2", "-fPIC"], ["native", "native"], &["packed", "native"]),
        (&["-O1"], ["packed", "packed"], &["packed"]),
    ] {
        let module = |name: &str, source, layout| {
            let flags = [&["-x", "c++"], flags].concat();
            let (object, out) = compiled(&format!("merge-throw-{name}"), source, &flags);
            packed(&[&object, "-o", &out, "--needed", "libstdc++.so.6", "--layout", layout]);
            out
        };
        let thrower = module("thrower", THROWER, inputs[0]);
        let catcher = module("catcher", CATCHER, inputs[1]);
        let out = scratch("merge-throw").join("out.smf");
        let out = out.to_str().unwrap();
        let again = out.replace("out.smf", "again.smf");
        for layout in outs {
            packed(&[&thrower, &catcher, "-o", out, "--layout", layout]);
            packed(&[out, "-o", &again]);
            for merged in [out, &again] {
                assert_eq!(ok(&["verify", merged]), format!("{merged}: ok\n"));
                let printed = ok(&["run", merged, "twice", "4", "--host-symbols"]);
                let lines: Vec<_> = printed.lines().collect();
                let expected = ["102059", "end of catcher", "end of thrower"];
                assert_eq!(lines, expected, "{flags:?} {layout}");
                let needs = inspected(merged)["symbols"].to_string();
                contains(&needs, &["__smf_requires_unwinding", "__smf_requires_constructors"]);
            }
        }
    }
}

/// Handlers are registered under the handle of the linked module: they run when it is unloaded, in reverse order, also
/// where an address beside the handle looks like it.
#[test]
fn exit_handlers_of_native_modules_belong_to_the_linked_module() {
    let source = "#include <stdio.h>
        extern void *__dso_handle __attribute__((visibility(\"hidden\")));
        int __cxa_atexit(void (*)(void *), void *, void *);
        static long table[4] = {1, 2, 3, 4}; static void *handle = &__dso_handle;
        static void end(void *at) { printf(\"NAME %ld\\n\", *(long *)at); fflush(stdout); }
        long NAME(void) { return __cxa_atexit(end, table + 3, &__dso_handle); }
        void *NAME_handle(void) { return &handle == 0 ? 0 : handle; }
        void *NAME_end(void) { return table + 4; }";
    let user =
        "long one(void), two(void); void *one_handle(void), *two_handle(void), *one_end(void);
        extern void *__dso_handle __attribute__((visibility(\"hidden\")));
        long run(void) { one(); two();
            return (one_handle() == &__dso_handle) + 2 * (two_handle() == &__dso_handle)
                + 4 * (*((long *)one_end() - 1) == 4) + 8 * (one_handle() != one_end()); }";
    for flags in [&["-O2", "-fPIC"][..], &["-O0"], &["-O2", "-fno-pie"]] {
        let made = |name: &str, layout| {
            let source = source.replace("NAME", name);
            let (object, out) = compiled(&format!("merge-handle-{name}"), &source, flags);
            packed(&[&object, "-o", &out, "--layout", layout]);
            out
        };
        let (object, out) = compiled("merge-handle", user, flags);
        // Native modules cannot hold 32-bit addresses.
        let native = if flags.contains(&"-fno-pie") { "packed" } else { "native" };
        let (one, two) = (made("one", native), made("two", "packed"));
        for layout in [native, "packed"] {
            packed(&[&one, &two, &object, "-o", &out, "--layout", layout]);
            let again = out.replace("out.smf", "again.smf");
            packed(&[&out, "-o", &again, "--layout", native]);
            for merged in [&out, &again] {
                let printed = ok(&["run", merged, "run", "--host-symbols"]);
                assert_eq!(printed, "15\ntwo 4\none 4\n", "{flags:?} {layout}");
            }
        }
    }
}

/// The resolvers of merged modules run once for each function, and pointers to a function are equal everywhere.
#[test]
#[cfg(target_arch = "x86_64")]
fn indirect_functions_of_several_modules_are_merged() {
    let source = "static long choice = NUMBER; static long calls;
        static long plus(long x) { return x + choice; } static long minus(long x) { return x - choice; }
        static void *pick(void) { calls++; return choice > 2 ? (void *)plus : (void *)minus; }
        long NAME(long) __attribute__((ifunc(\"pick\")));
        static long hidden(long) __attribute__((ifunc(\"pick\")));
        long (*NAME_pointer)(long) = NAME; long NAME_calls(void) { return calls; }
        long NAME_hidden(long x) { return hidden(x); }";
    let user = "long one(long), two(long), three(long), one_hidden(long), two_hidden(long);
        long one_calls(void), two_calls(void), three_calls(void);
        extern long (*one_pointer)(long), (*two_pointer)(long), (*three_pointer)(long);
        long run(void) {
            if (one_pointer != one || two_pointer != two || three_pointer != three) return -1;
            return one(100) * 1000000 + two(100) * 1000 + three_pointer(100) + one_hidden(0) + two_hidden(0)
                + 10000000000 * (one_calls() * 100 + two_calls() * 10 + three_calls()); }";
    for flags in [&["-O2", "-fPIC"][..], &["-O0"]] {
        let made = |name: &str, number: &str| {
            let source = source.replace("NAME", name).replace("NUMBER", number);
            let (object, out) = compiled(&format!("merge-ifunc-{name}"), &source, flags);
            packed(&[&object, "-o", &out]);
            (object, out)
        };
        let [one, two, three] =
            [("one", "1"), ("two", "5"), ("three", "7")].map(|m| made(m.0, m.1));
        let (object, out) = compiled("merge-ifunc", user, flags);
        // 100 - 1, 100 + 5, 100 + 7, -1 and +5; the hidden function shares the slot of the other.
        let expected = "1110099105111\n";
        packed(&[&one.0, &two.0, &three.0, &object, "-o", &out]);
        assert_eq!(ok(&["run", &out, "run"]), expected, "objects {flags:?}");
        packed(&[&one.1, &three.0, &two.1, &object, "-o", &out]);
        let again = out.replace("out.smf", "again.smf");
        packed(&[&out, "-o", &again]);
        for merged in [&out, &again] {
            assert_eq!(ok(&["verify", merged]), format!("{merged}: ok\n"));
            assert_eq!(ok(&["run", merged, "run"]), expected, "{flags:?}");
        }
        let error = fails(&["pack", &out, "-o", &again, "--layout", "native"]);
        contains(&error, &["(IFUNC)", "packed layout"]);
    }
}

/// The resolver is the compiler's own, and asks its runtime for the features of the processor.
#[test]
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
fn clones_of_a_function_are_chosen_by_processor() {
    let source = "__attribute__((target_clones(\"avx2\", \"default\")))
        long sum(const long *p, long n) { long s = 0; for (long i = 0; i < n; i++) s += p[i]; return s; }
        long run(void) { long all[] = {1, 2, 3, 4, 5, 6, 7, 8, 9}; return sum(all, 9); }
        int has_avx2(void) { return __builtin_cpu_supports(\"avx2\") != 0; }";
    let (object, out) = compiled("clones", source, &["-O3", "-fPIC"]);
    packed(&[&object, "-o", &out]);
    assert_eq!(ok(&["run", &out, "run", "--host-symbols"]), "45\n");
    let has_avx2 = i32::from(std::arch::is_x86_feature_detected!("avx2"));
    let found = ok(&["run", &out, "has_avx2", "--host-symbols", "--returns", "i32"]);
    assert_eq!(found, format!("{has_avx2}\n"));
}

#[test]
fn contradicting_modules_are_refused_by_name() {
    let a = module("conflict-a", A, &[], &[]);
    let twice = module("conflict-twice", "long a(long x) { return x; }", &[], &[]);
    let out = scratch("merge-conflict").join("out.smf");
    let out = out.to_str().unwrap();
    contains(&fails(&["pack", &a, &twice, "-o", out]), &["duplicate", "`a`", &a, &twice]);
    let reloadable =
        module("conflict-reload", "long r(void) { return 1; }", &[], &["--reloadable"]);
    let error = fails(&["pack", &a, &reloadable, "-o", out]);
    contains(&error, &[&a, &reloadable, "reloadable"]);
    packed(&[&a, &reloadable, "-o", out, "--reloadable"]);
    assert_eq!(inspected(out)["flags"], json!(["reloadable", "pic"]));
    // Of another machine, and malformed.
    let foreign = scratch("merge-foreign").join("foreign.smf");
    let mut bytes = fs::read(&a).unwrap();
    let header = bytes.len() - 128;
    bytes[header + 7] = 1;
    fs::write(&foreign, &bytes).unwrap();
    let foreign = foreign.to_str().unwrap();
    let error = smf(&["pack", &a, foreign, "-o", out]);
    assert!(!error.status.success());
    contains(&String::from_utf8_lossy(&error.stderr), &["foreign.smf"]);
    bytes[header + 7] = 0;
    bytes[header + 20] ^= 0xff;
    fs::write(foreign, &bytes).unwrap();
    assert!(!smf(&["pack", &a, foreign, "-o", out]).status.success());
    for sample in ["bcod.smf", "dynlib.smf", "compact.smf"] {
        contains(&fails(&["pack", sample, "-o", out]), &[sample]);
    }
}

/// The size of the unwinding tables of a module.
fn tables(module: &str) -> u64 {
    let sections = inspected(module)["sections"].clone();
    let tables = sections.as_array().unwrap().iter().find(|s| s["name"] == ".eh_frame").cloned();
    tables.map_or(0, |tables| tables["size"].as_u64().unwrap())
}

#[test]
fn unwinding_tables_of_modules_are_merged() {
    let flags = &["-O2", "-fasynchronous-unwind-tables"];
    let [one, two] = ["one", "two"].map(|name| {
        let source = format!("long {name}(long (*f)(long)) {{ return f(41) + 1; }}");
        let (object, out) = compiled(&format!("merge-tables-{name}"), &source, flags);
        packed(&[&object, "-o", &out]);
        (object, out)
    });
    let out = scratch("merge-tables").join("out.smf");
    let out = out.to_str().unwrap();
    packed(&[&one.0, &two.0, "-o", out]);
    let of_objects = tables(out);
    packed(&[&one.1, &two.1, "-o", out]);
    // The common records are equal and become one.
    assert_eq!(tables(out), of_objects);
    assert!(tables(&one.1) < of_objects && of_objects < 2 * tables(&one.1));
    assert_eq!(ok(&["verify", out]), format!("{out}: ok\n"));
    packed(&[&one.1, &two.1, "-o", out, "--no-unwind-tables"]);
    assert_eq!(tables(out), 0);
}

/// A module of Simple source.
pub(super) fn of_source(dir: &Path, name: &str, text: &str) -> String {
    let [source, module] = ["spl", "smf"].map(|end| dir.join(name).with_extension(end));
    fs::write(&source, text).unwrap();
    ok(&["compile", source.to_str().unwrap(), "-o", module.to_str().unwrap()]);
    module.into_os_string().into_string().unwrap()
}

/// A private function of one module has the name of an exported one of another, with other types.
#[test]
#[cfg(target_arch = "x86_64")]
fn exported_functions_keep_their_types_beside_private_ones_of_their_name() {
    let dir = scratch("merge-types");
    let private = of_source(
        &dir,
        "private",
        "fn calc(x: f64) -> f64: x * 2.5\npub fn area(x: f64) -> f64: calc(x) + 1.0\n",
    );
    let public = of_source(&dir, "public", "pub fn calc(x: i64) -> i64: x * 3\n");
    let (object, out) = compiled("merge-types-c", "long calc(long x) { return x * 3; }", &["-O2"]);
    for order in
        [[&private, &public], [&public, &private], [&private, &object], [&object, &private]]
    {
        packed(&[order[0], order[1], "-o", &out]);
        let again = out.replace("out.smf", "again.smf");
        packed(&[&out, "-o", &again, "-g"]);
        for merged in [&out, &again] {
            assert_eq!(ok(&["run", merged, "calc", "4"]), "12\n", "{order:?}");
            assert_eq!(ok(&["run", merged, "area", "4"]), "11.0\n", "{order:?}");
        }
    }
}

/// Modules that were compiled apart, linked into one and by the loader.
#[test]
#[cfg(target_arch = "x86_64")]
fn extern_fn_with_other_types_than_those_of_the_other_module_is_refused() {
    let dir = scratch("merge-extern");
    let library = of_source(&dir, "library", "fn sum(xs: [i64]) -> i64: xs[0] + xs[1]\n");
    let user = |name, ty: &str| {
        let declared = format!("extern fn sum(xs: [{ty}]) -> i64\nextern fn labs(x: i64) -> i64\n");
        let main = format!("fn f() -> i64: sum([4{ty}, labs(5) as {ty}])\n");
        of_source(&dir, name, &(declared + &main))
    };
    let (right, wrong) = (user("right", "i64"), user("wrong", "i8"));
    let (out, again) = (dir.join("out.smf"), dir.join("again.smf"));
    let [out, again] = [&out, &again].map(|path| path.to_str().unwrap());
    packed(&[&library, &right, "-o", out]);
    assert_eq!(ok(&["run", out, "f", "--host-symbols"]), "9\n");
    let note = ok(&["note", out]);
    assert!(note.contains("\"labs\"") && note.matches("\"sum\"").count() == 1, "{note}");
    let refusal =
        format!("{wrong}: `extern fn sum` has other types than the function in {library}");
    contains(&fails(&["pack", &library, &wrong, "-o", out]), &[&refusal]);
    let run = |user: &str| smf(&["run", user, "f", "--host-symbols", "--with", &library]);
    assert_eq!(String::from_utf8(run(&right).stdout).unwrap(), "9\n");
    contains(&String::from_utf8(run(&wrong).stderr).unwrap(), &[&refusal]);
    // A linked module keeps what its imports are declared as.
    packed(&[&wrong, "-o", out]);
    packed(&[out, "-o", again]);
    contains(&String::from_utf8(run(again).stderr).unwrap(), &["`extern fn sum` has other types"]);
    contains(&fails(&["pack", &library, again, "-o", out]), &["`extern fn sum` has other types"]);
}

/// Traps in functions without symbols, and in functions that have one name and one line.
#[test]
#[cfg(target_arch = "x86_64")]
fn traps_of_merged_modules_name_the_function_the_file_and_the_message() {
    let dir = scratch("merge-traps");
    let source = |name: &str, limit: &str| {
        let text = format!(
            "fn check(x: i64) -> i64:\n    assert x > {limit}, \"in {name}\"\n    var r = 0\n    \
             for i in 0..x:\n        r = r + part(i)\n    r\n\
             fn part(x: i64) -> i64:\n    if x < 2: 1 else: part(x - 1) + part(x - 2)\n\
             pub fn {name}(x: i64) -> i64: check(x) + check(x + 1)\n"
        );
        of_source(&dir, name, &text)
    };
    let (a, b) = (source("a", "0"), source("b", "100"));
    let [out, again] = ["out.smf", "again.smf"].map(|name| dir.join(name));
    let [out, again] = [&out, &again].map(|path| path.to_str().unwrap());
    let trap = |name: &str| {
        let file = dir.join(name).with_extension("spl");
        let file = file.to_str().unwrap();
        format!("assertion failed: in {name} in function `check` at {file}:2")
    };
    for (inputs, functions) in
        [(&[&*a][..], &["a"][..]), (&[&a, &b], &["a", "b"]), (&[&b, &a], &["a", "b"])]
    {
        for more in [&[][..], &["-g"]] {
            packed(&[inputs, &["-o", out], more].concat());
            packed(&[out, "-o", again]);
            for module in [out, again] {
                for function in functions {
                    let error = fails(&["run", module, function, "--", "-1"]);
                    contains(&error, &[&trap(function)]);
                }
            }
        }
    }
}

/// Weak definitions give way to those of other modules, as between objects, also for references of their own module.
#[test]
#[cfg(target_arch = "x86_64")]
fn weak_definitions_of_merged_modules_give_way() {
    let strong = "int weak(void) { return 1; } int data = 10;";
    let weak =
        "__attribute__((weak)) int weak(void) { return 2; } __attribute__((weak)) int data = 20;
        int *at = &data; int (*pointer)(void) = weak;
        int go(void) { return weak() + 100 * pointer() + 10000 * data + 1000000 * *at; }";
    for flags in [&["-O2", "-fPIC"][..], &["-O0", "-fPIC", "-fno-plt"], &["-O2", "-fno-pie"]] {
        let objects = [("strong", strong), ("weak", weak)]
            .map(|(name, source)| compiled(&format!("merge-weak-{name}"), source, flags).0);
        let native = if flags.contains(&"-fno-pie") { "packed" } else { "native" };
        for layout in ["packed", native] {
            let [one, two] = objects.each_ref().map(|object| {
                let module = object.replace("in.o", layout);
                packed(&[object, "-o", &module, "--layout", layout]);
                module
            });
            let out = scratch("merge-weak").join("out.smf");
            let out = out.to_str().unwrap();
            assert_eq!(ok(&["run", &two, "go"]), "20200202\n", "{flags:?} {layout}");
            for order in [[&one, &two], [&two, &one]] {
                packed(&[order[0], order[1], "-o", out]);
                assert_eq!(ok(&["run", out, "go"]), "10100101\n", "{flags:?} {layout}");
            }
            // Merged with itself alone, the module keeps its definitions, and they give way later.
            let again = out.replace("out.smf", "again.smf");
            packed(&[&two, "-o", &again]);
            assert_eq!(ok(&["run", &again, "go"]), "20200202\n", "{flags:?} {layout}");
            packed(&[&again, &one, "-o", out]);
            assert_eq!(ok(&["run", out, "go"]), "10100101\n", "{flags:?} {layout}");
        }
    }
}

/// A variable of an inline function and a static member of a template of C++ are one in all merged modules.
#[test]
#[cfg(target_arch = "x86_64")]
fn variables_of_inline_functions_of_merged_modules_are_one() {
    let source = "inline int &count() { static int n; return n; }
        template <class T> struct Shared { static int n; };
        template <class T> int Shared<T>::n = 7;
        extern \"C\" int NAME() { Shared<int>::n += 10; return ++count() + Shared<int>::n; }";
    let user = "int one(void), two(void); int go(void) { one(); two(); return one(); }";
    for layout in ["packed", "native"] {
        let modules = ["one", "two"].map(|name| {
            let source = source.replace("NAME", name);
            let flags = ["-x", "c++", "-O2", "-fPIC"];
            let (object, out) = compiled(&format!("merge-inline-{name}"), &source, &flags);
            packed(&[&object, "-o", &out, "--layout", layout]);
            out
        });
        let (object, out) = compiled("merge-inline", user, &["-O2"]);
        packed(&[&modules[0], &modules[1], &object, "-o", &out]);
        assert_eq!(ok(&["run", &out, "go"]), "40\n", "{layout}");
    }
}

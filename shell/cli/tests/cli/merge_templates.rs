//! `smf pack` with modules as inputs: their templates, instances and notes.

use std::fs;

use smf_core::format::Smf;
use smf_core::format::template::TemplateMeta;

use super::merge::{of_source, packed};
use super::pack::compiled;
use super::{contains, fails, inspected, ok, scratch};

#[test]
fn templates_and_notes_are_merged() {
    let dir = scratch("merge-templates");
    let out = dir.join("out.smf");
    let out = out.to_str().unwrap();
    let flags = &["-O2", "-fno-asynchronous-unwind-tables"];
    let (object, _) = compiled("merge-templates-c", "long f(void) { return 7; }", flags);
    packed(&[&object, "note-zero-size.smf", "-o", out]);
    let (one, merged) = (inspected("note-zero-size.smf"), inspected(out));
    assert_eq!((&one["templates"], &one["note"]), (&merged["templates"], &merged["note"]));
    assert_eq!(ok(&["run", out, "f"]), "7\n");

    let template = |name: &str, source: &str| {
        let (text, module) = (dir.join(name).with_extension("sbt"), dir.join(name));
        fs::write(&text, source).unwrap();
        let module = module.to_str().unwrap().to_owned();
        ok(&["asm", text.to_str().unwrap(), "-o", &module]);
        module
    };
    let body = |name: &str, operation: &str| {
        format!(
            "template {name}<T0>(v0: T0, v1: T0) -> T0\n    local r: T0\n    {operation} T0 r, v0, v1\n    return T0 r\nend\n"
        )
    };
    let (plus, minus) = (body("plus", "add"), body("minus", "sub"));
    let one = template("one.smf", &format!("{plus}possible plus<i64>\n"));
    let two = template("two.smf", &format!("{plus}{minus}possible minus<i64>, plus<i64>\n"));
    packed(&[&object, &one, &two, "-o", out]);
    assert_eq!(ok(&["verify", out]), format!("{out}: ok\n"));
    let merged = inspected(out);
    let names = |key: &str, of: &serde_json::Value| {
        let rows = of.as_array().unwrap().iter();
        rows.map(|row| row[key].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("name", &merged["templates"]), ["plus", "minus"]);
    let possible = &merged["note"]["possible"];
    assert_eq!(names("mangled_name", possible), ["fn$plus$i64", "fn$minus$i64"]);
    assert_eq!(names("id", possible), ["0", "1"]);
    assert_eq!(ok(&["jit", out, "fn$minus$i64", "44", "2"]), "42\n");

    // A template that differs, and one symbol for two instances.
    let other = template("other.smf", &format!("{}possible plus<i64>\n", body("plus", "sub")));
    let error = fails(&["pack", &object, &one, &other, "-o", out]);
    contains(&error, &["`plus`", &one, &other]);
    let named = template("named.smf", &format!("{plus}possible plus<u8> as fn$plus$i64\n"));
    let error = fails(&["pack", &object, &one, &named, "-o", out]);
    contains(&error, &["`fn$plus$i64`", &one, &named]);

    // An instance that the program calls.
    let source =
        "long plus(long, long) __asm__(\"fn$plus$i64\"); long g(void) { return plus(40, 2); }";
    let (user, _) = compiled("merge-instance", source, flags);
    packed(&[&user, &one, "-o", out, "--defer"]);
    // The loader compiles it.
    assert_eq!(ok(&["run", out, "g"]), "42\n");
    assert_eq!(names("mangled_name", &inspected(out)["note"]["possible"]), ["fn$plus$i64"]);
    packed(&[&user, &one, "-o", out]);
    assert_eq!(ok(&["run", out, "g"]), "42\n");
    let note = inspected(out)["note"].clone();
    assert_eq!(names("mangled_name", &note["instantiations"]), ["fn$plus$i64"]);
    assert_eq!(names("status", &note["instantiations"]), ["compiled"]);
    assert!(names("mangled_name", &note["possible"]).is_empty());
}

/// The number of functions in the unwinding tables of a module.
fn frames(module: &str) -> usize {
    let file = fs::read(module).unwrap();
    let smf = Smf::parse(&file).unwrap();
    let mut rest = smf.sections().named(b".eh_frame").unwrap().data;
    let mut count = 0;
    loop {
        let word = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
        let length = word(0) as usize;
        if length == 0 {
            return count;
        }
        count += usize::from(word(4) != 0);
        rest = &rest[4 + length..];
    }
}

/// Instances that call others, that trap, and that cannot be compiled.
#[test]
fn instances_are_compiled_with_those_that_they_require() {
    let dir = scratch("merge-instances");
    let lists = dir.join("lists.smf");
    let lists = lists.to_str().unwrap();
    ok(&["asm", "../templates/lists.sbt", "-o", lists]);
    let source = "long sum(long *, long) __asm__(\"fn$sum$i64\");
        void sort(long *, long, long) __asm__(\"fn$sort$i64\");
        long run(void) { long v[40]; for (int i = 0; i < 40; i++) v[i] = 39 - i;
            sort(v, 0, 39); for (int i = 0; i < 40; i++) if (v[i] != i) return -1;
            return sum(v, 40); }";
    let (user, out) = compiled("merge-lists", source, &["-O2"]);
    packed(&[&user, lists, "-o", &out]);
    assert_eq!(ok(&["run", &out, "run"]), "780\n");
    // The instances have unwinding tables too.
    let all = frames(&out);
    packed(&[&user, lists, "-o", &out, "--defer"]);
    assert_eq!((frames(&out), all), (1, 1 + 2));
    let source =
        "long sum(void *, long) __asm__(\"fn$sum$text\"); long run(void) { return sum(0, 0); }";
    let (user, out) = compiled("merge-broken", source, &["-O2"]);
    let broken = dir.join("broken.sbt");
    let lists = include_str!("../../../../tests/templates/lists.sbt");
    fs::write(&broken, format!("{lists}\npossible sum<text>\n")).unwrap();
    let module = dir.join("broken.smf");
    let module = module.to_str().unwrap();
    ok(&["asm", broken.to_str().unwrap(), "-o", module]);
    let error = fails(&["pack", &user, module, "-o", &out]);
    contains(&error, &["broken.smf", "`fn$sum$text`", "cannot be compiled", "--defer"]);
    packed(&[&user, module, "-o", &out, "--defer"]);
}

/// An instance that the loader makes calls functions of the module that imports it: of its own source, and of the importer.
#[test]
fn instances_call_the_module_that_imports_them() {
    let dir = scratch("merge-around");
    let own = of_source(
        &dir,
        "own",
        "fn bump(n: i64) -> i64: n + 1\nfn wrap<T>(x: T, n: i64) -> i64: bump(n)\n\
         fn listed() -> i64: wrap<i8>(1, 2)\n",
    );
    let extern_ = of_source(
        &dir,
        "extern",
        "extern fn host_add(a: i64, b: i64) -> i64\n\
         fn callback<T>(x: T, n: i64) -> i64: host_add(n, 5)\n",
    );
    let (object, out) = compiled(
        "merge-around-own",
        "long wrap(long x, long n) __asm__(\"wrap$i64\"); long go(long n) { return 10 * wrap(1, n); }",
        &["-O2"],
    );
    for more in [&[][..], &["--defer"]] {
        packed(&[&[&*object, &own, "-o", &out], more].concat());
        assert_eq!(ok(&["run", &out, "go", "4"]), "50\n");
    }
    let (object, out) = compiled(
        "merge-around-extern",
        "long callback(signed char x, long n) __asm__(\"callback$i8\");
         long host_add(long a, long b) { return a + b; } long go(long n) { return 10 * callback(1, n); }",
        &["-O2"],
    );
    packed(&[&object, "-o", &out]);
    assert_eq!(ok(&["run", &out, "go", "4", "--with", &extern_]), "90\n");
    packed(&[&object, &extern_, "-o", &out]);
    assert_eq!(ok(&["run", &out, "go", "4"]), "90\n");
}

/// Templates that call each other, and the two spellings of one instance.
#[test]
fn instances_require_each_other_and_have_two_symbols() {
    let dir = scratch("merge-mutual");
    let [source, module] = ["m.spl", "m.smf"].map(|name| dir.join(name));
    let text = "fn even<T>(x: T, n: i64) -> bool: if n == 0: true else: odd(x, n - 1)\n\
                fn odd<T>(x: T, n: i64) -> bool: if n == 0: false else: even(x, n - 1)\n\
                fn check(n: i64) -> bool: even(1.5, n)\n";
    fs::write(&source, text).unwrap();
    let module = module.to_str().unwrap();
    ok(&["compile", source.to_str().unwrap(), "-o", module]);
    let (object, out) = compiled(
        "merge-mutual-c",
        "_Bool even(long x, long n) __asm__(\"even$i64\"), odd(long x, long n) __asm__(\"odd$i64\");
         _Bool fodd(long x, long n) __asm__(\"fn$odd$i64\");
         long go(long n) { return 100 * even(1, n) + 10 * odd(1, n) + fodd(1, n); }
         long same(void) { return (void *)odd == (void *)fodd; }",
        &["-O2", "-fPIC"],
    );
    packed(&[&object, module, "-o", &out]);
    assert_eq!(ok(&["run", &out, "go", "4"]) + &ok(&["run", &out, "go", "7"]), "100\n11\n");
    assert_eq!(ok(&["run", &out, "same"]), "1\n");
    let imports = inspected(&out)["imports"].clone();
    assert!(!imports.to_string().contains("$i64"), "{imports}");
    let note = inspected(&out)["note"].clone();
    let made = note["instantiations"].as_array().unwrap().iter();
    let made = made.filter(|row| row["mangled_name"].as_str().unwrap().ends_with("$i64"));
    assert_eq!(made.count(), 2, "{note}");
}

const MAX: &str = "fn max<T>(a: T, b: T) -> T:\n    if a > b: a else: b\n";

/// Two modules that were packed with one template library each contain its instance.
#[test]
fn modules_with_the_same_instance_are_merged() {
    let dir = scratch("merge-twice");
    let library = of_source(&dir, "max", MAX);
    let modules = ["one", "two"].map(|name| {
        let source = format!(
            "double max(double, double) __asm__(\"max$f64\");
             long {name}(void) {{ return 10 * max(1.5, 4.2); }}"
        );
        let (object, out) = compiled(&format!("merge-twice-{name}"), &source, &["-O2", "-fPIC"]);
        packed(&[&object, &library, "-o", &out]);
        out
    });
    let out = dir.join("out.smf");
    let out = out.to_str().unwrap();
    packed(&[&modules[0], &modules[1], "-o", out]);
    assert_eq!(ok(&["run", out, "one"]) + &ok(&["run", out, "two"]), "42\n42\n");
    assert_eq!(ok(&["run", out, "max$f64", "1", "2"]), "2.0\n");
}

/// An instance that a loader has recorded in the file, and one that is imported by its other spelling.
#[test]
fn instances_are_compiled_and_noted_under_either_name() {
    let dir = scratch("merge-recorded");
    let library = of_source(&dir, "max", MAX);
    let user = |symbol: &str| {
        let source = format!(
            "double max(double, double) __asm__(\"{symbol}\"); long go(void) {{ return max(1.5, 42); }}"
        );
        compiled("merge-recorded-c", &source, &["-O2"])
    };
    for (symbol, is_recorded) in [("fn$max$f64", false), ("max$f64", true), ("fn$max$f64", true)] {
        if is_recorded {
            ok(&["jit", &library, "max<f64>", "1", "2", "--update"]);
        }
        let (object, out) = user(symbol);
        packed(&[&object, &library, "-o", &out]);
        let file = inspected(&out);
        assert!(!file["imports"].to_string().contains("max"), "{file}");
        assert_eq!(ok(&["run", &out, "go"]), "42\n");
        let is_it =
            |row: &&serde_json::Value| row["mangled_name"].as_str().unwrap().ends_with("max$f64");
        let rows = |table: &str| file["note"][table].as_array().unwrap().clone();
        assert_eq!(rows("possible").iter().filter(is_it).count(), 0, "{file}");
        let made = rows("instantiations");
        let made = made.iter().filter(is_it).filter(|row| row["status"] == "compiled");
        assert_eq!(made.count(), 1, "{file}");
    }
}

#[test]
fn instances_of_the_packer_are_described_in_the_note() {
    let dir = scratch("merge-described");
    let library = of_source(
        &dir,
        "library",
        "fn part<T>(x: T, n: i64) -> i64:\n    assert n > 0, \"positive\"\n    n * 2\n\
         fn whole<T>(x: T, n: i64) -> i64: part(x, n) + part(x, n + 1)\n",
    );
    let (object, out) = compiled(
        "merge-described-c",
        "long part(long, long) __asm__(\"part$i64\"), whole(long, long) __asm__(\"whole$i64\");
         long go(long n) { return part(1, n); } long both(long n) { return whole(1, n); }",
        &["-O2"],
    );
    packed(&[&object, &library, "-o", &out]);
    assert_eq!(ok(&["run", &out, "both", "2"]), "10\n");
    assert_eq!(ok(&["run", &out, "whole$i64", "1", "2"]), "10\n");
    let error = fails(&["run", &out, "go", "--", "-1"]);
    let place = library.replace(".smf", ".spl:2");
    contains(&error, &[&format!("assertion failed: positive in function `part$i64` at {place}")]);
    let edges = inspected(&out)["note"]["dependencies"].clone();
    contains(&edges.to_string(), &["whole$i64", "part$i64"]);
}

#[test]
fn templates_alone_are_merged_and_those_that_differ_are_explained() {
    let dir = scratch("merge-libraries");
    let max = of_source(&dir, "max", MAX);
    let min = of_source(&dir, "min", "fn min<T>(a: T, b: T) -> T:\n    if a < b: a else: b\n");
    let out = dir.join("out.smf");
    let out = out.to_str().unwrap();
    for inputs in [&[&*max, &min][..], &[&max]] {
        packed(&[inputs, &["-o", out]].concat());
        assert_eq!(ok(&["verify", out]), format!("{out}: ok\n"));
        assert_eq!(ok(&["jit", out, "max<i64>", "1", "42"]), "42\n");
    }
    // A copy of the file.
    fs::create_dir(dir.join("copies")).unwrap();
    let copy = of_source(&dir.join("copies"), "max", MAX);
    packed(&[&max, &copy, "-o", out]);
    assert_eq!(ok(&["jit", out, "max<i64>", "1", "42"]), "42\n");
    assert_eq!(inspected(out)["templates"], inspected(&max)["templates"]);
    let file = fs::read(out).unwrap();
    let section = Smf::parse(&file).unwrap().sections().named(b"template_meta").unwrap();
    assert_eq!(TemplateMeta::parse(section.data, 0).unwrap().functions, 1);
    let other = of_source(&dir, "other", &format!("fn own(x: i64) -> i64: x\n{MAX}"));
    contains(&fails(&["pack", &max, &other, "-o", out]), &["`max` differs", "`use`"]);
    // Two programs that use one file.
    fs::write(dir.join("plain.spl"), "pub fn plain(x: i64) -> i64: x\n").unwrap();
    let [one, two] = ["one", "two"].map(|name| {
        let text = format!("use plain.*\npub fn {name}(x: i64) -> i64: plain(x)\n");
        of_source(&dir, name, &text)
    });
    let error = fails(&["pack", &one, &two, "-o", out]);
    contains(&error, &["duplicate definition of `plain`", "plain.spl", "extern fn"]);
}

/// The loader makes instances that require each other 50 deep, and so does the packer.
#[test]
fn instances_are_compiled_as_deep_as_the_loader_makes_them() {
    let dir = scratch("merge-deep");
    let [text, library] = ["deep.sbt", "deep.smf"].map(|name| dir.join(name));
    let [text, library] = [&text, &library].map(|path| path.to_str().unwrap());
    for (depth, is_made) in [(50, true), (51, false)] {
        let templates = (0..depth).map(|n: u32| {
            let call = match n.checked_sub(1) {
                None => "move T r, n".to_owned(),
                Some(next) => format!("call r = f{next}<T>(n)"),
            };
            format!(
                "template f{n}<T>(n: T) -> T\n    local r: T\n    {call}\n    return T r\nend\n"
            )
        });
        let last = depth - 1;
        let templates = templates.collect::<String>() + &format!("possible f{last}<i64>\n");
        fs::write(text, templates).unwrap();
        ok(&["asm", text, "-o", library]);
        let source =
            format!("long f(long) __asm__(\"fn$f{last}$i64\"); long go(void) {{ return f(60); }}");
        let (object, out) = compiled("merge-deep-c", &source, &["-O2"]);
        if is_made {
            packed(&[&object, library, "-o", &out]);
            assert_eq!(ok(&["run", &out, "go"]), "60\n");
        } else {
            let error = fails(&["pack", &object, library, "-o", &out]);
            contains(&error, &["more than 50 deep"]);
            assert!(!error.contains("--defer"), "{error}");
        }
    }
}

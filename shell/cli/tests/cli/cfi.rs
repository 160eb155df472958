//! `smf verify --cfi` on modules of compiled objects, with and without control-flow protection.

use std::fs;
use std::process::Command;

use super::skip::lacks;
use super::{contains, fails, ok, scratch, smf};

/// Functions that are exported, in a table, taken by an instruction, an initialiser, or called directly; a switch, and
/// labels whose address is taken.
const SOURCE: &str = "
    extern int ext(int);
    static int in_table(int x) { return x * 3; }
    static int direct(int x) { return x + 7; }
    int (*table[2])(int) = { in_table, ext };
    int exported(int x) { return table[x & 1](x) + direct(x); }
    typedef int (*function)(int);
    static int taken(int x) { return x ^ 5; }
    function get(void) { return taken; }
    __attribute__((constructor)) static void start(void) { table[1] = taken; }
    int choose(int x) {
        switch (x) {
        case 0: return ext(4);
        case 1: return ext(99);
        case 2: return ext(7);
        case 3: return ext(12);
        case 4: return ext(1000);
        case 5: return ext(x) + 2;
        case 6: return 3 * ext(8);
        }
        return 0;
    }
    int labels(int x) {
        static void *all[] = { &&a, &&b, &&c };
        goto *all[x % 3];
        a: return 1;
        b: return ext(2);
        c: return ext(3) + 1;
    }
";

/// A module of the objects that `compiler` makes of sources with their flags; `None` without that compiler.
fn module(name: &str, compiler: &str, inputs: &[(&str, &[&str])]) -> Option<String> {
    let directory = scratch(&format!("cfi-{name}"));
    let mut objects = Vec::new();
    for (number, (source, flags)) in inputs.iter().enumerate() {
        let path = |extension: &str| {
            directory.join(format!("{number}.{extension}")).to_str().unwrap().to_owned()
        };
        fs::write(path("c"), source).unwrap();
        let mut command = Command::new(compiler);
        command.args(["-O1", "-fno-inline", "-fPIC", "-c", "-o"]).args([path("o"), path("c")]);
        let Ok(output) = command.args(*flags).output() else {
            lacks(compiler);
            return None;
        };
        assert!(output.status.success(), "{}", super::text(&output.stderr));
        objects.push(path("o"));
    }
    let out = directory.join("out.smf").to_str().unwrap().to_owned();
    let mut arguments = vec!["pack", "--emit-relocs", "-o", &out];
    arguments.extend(objects.iter().map(String::as_str));
    ok(&arguments);
    // Only distances in constants and data, such as those of switch tables, are unknown without relocations.
    let without = without_relocs(&out);
    (arguments[1], arguments[3]) = ("--quiet", &without);
    ok(&arguments);
    let is_protected = |module: &str| smf(&["verify", "--cfi", module]).status.success();
    assert_eq!(is_protected(&without), is_protected(&out), "{name}");
    Some(out)
}

/// The path of the same module without superfluous relocations.
fn without_relocs(module: &str) -> String {
    module.replace("out.smf", "without.smf")
}

#[test]
#[cfg(target_arch = "x86_64")]
fn x86_64_code_with_full_protection_has_all_landing_pads() {
    let full: &[&str] = &["-fcf-protection=full"];
    let out = module("full", "cc", &[(SOURCE, full)]).unwrap();
    let line = ok(&["verify", "--cfi", &out]);
    assert!(line.ends_with(" landing pads\n"), "{line}");
    assert_eq!(ok(&["verify", &out]), format!("{out}: ok\n"));
}

#[test]
#[cfg(target_arch = "x86_64")]
fn report_of_many_places_ends_with_an_ellipsis() {
    let functions = (0..30).map(|n| format!("int f{n}(void) {{ return {n}; }}\n"));
    let source: String = functions.collect();
    let none: &[&str] = &["-fcf-protection=none"];
    let out = module("many", "cc", &[(&source, none)]).unwrap();
    let error = fails(&["verify", "--cfi", &out]);
    contains(&error, &["30 of 30 landing pads are missing; ", "; ...\n"]);
    assert_eq!(error.matches("is exported").count(), 20, "{error}");
    let archive = out.replace(".smf", ".lsm");
    ok(&["lib", "create", "-o", &archive, &format!("m={out}")]);
    let error = fails(&["verify", "--cfi", &archive]);
    assert!(
        error.contains(": module `m`, which starts at 0x") && error.ends_with("; ...\n"),
        "{error}"
    );
}

#[test]
#[cfg(target_arch = "x86_64")]
fn x86_64_code_without_protection_is_reported_place_by_place() {
    let none: &[&str] = &["-fcf-protection=none"];
    let out = module("none", "cc", &[(SOURCE, none)]).unwrap();
    let error = fails(&["verify", "--cfi", &out]);
    let expected = [
        "landing pads are missing; ",
        "`exported` (section 0, offset 0x",
        "is exported",
        "address is stored at offset 0x0 of .data",
        "address is stored at offset 0x0 of .init_array",
        "computes its address",
        "`labels`+0x",
        "`choose`+0x",
    ];
    contains(&error, &expected);
    let without = fails(&["verify", "--cfi", &without_relocs(&out)]);
    contains(&without, &expected[..expected.len() - 1]);
    assert!(!error.contains("although"), "{error}");
    ok(&["verify", &out]);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn x86_64_property_is_compared_with_the_code() {
    let full: &[&str] = &["-fcf-protection=full"];
    // The notes of an object are those of its compiler, whatever its code is.
    let lie = "__asm__(\".globl lie\\nlie: ret\\n.type lie, @function\");";
    let out = module("lie", "cc", &[(SOURCE, full), (lie, full)]).unwrap();
    let error = fails(&["verify", "--cfi", &out]);
    contains(&error, &["1 of ", "missing, although .smf.property states them; `lie`"]);
    let honest = "__asm__(\".globl f\\n.type f, @function\\nf: endbr64\\n ret\");";
    let out = module("silent", "cc", &[(honest, &["-fcf-protection=none"])]).unwrap();
    let line = ok(&["verify", "--cfi", &out]);
    assert!(
        line.ends_with(": ok, 1 landing pads, but .smf.property does not state it\n"),
        "{line}"
    );
}

#[test]
#[cfg(target_arch = "x86_64")]
fn x86_64_stubs_whose_address_is_taken_have_landing_pads() {
    let full: &[&str] = &["-fcf-protection=full"];
    let ifunc = "
        static int one(void) { return 1; }
        static void *choose(void) { return one; }
        int chosen(void) __attribute__((ifunc(\"choose\")));
        int (*pointer)(void) = chosen;
        int call(void) { return chosen() + pointer(); }
        extern int far(void);
        __asm__(\".data\\n.globl relative\\nrelative: .reloc ., R_X86_64_PLT32, far\\n.long 0\\n.text\");";
    let out = module("stubs", "cc", &[(ifunc, full)]).unwrap();
    let line = ok(&["verify", "--cfi", &out]);
    assert!(line.ends_with(" landing pads\n"), "{line}");
}

#[test]
fn aarch64_landing_pads_are_those_of_bti() {
    let compiler = "aarch64-linux-gnu-gcc";
    for protection in ["standard", "bti"] {
        let flag = format!("-mbranch-protection={protection}");
        let Some(out) = module(protection, compiler, &[(SOURCE, &[&flag])]) else { return };
        let line = ok(&["verify", "--cfi", &out]);
        assert!(line.ends_with(" landing pads\n"), "{line}");
    }
    let none: &[&str] = &["-mbranch-protection=none"];
    let Some(out) = module("unprotected", compiler, &[(SOURCE, none)]) else { return };
    let error = fails(&["verify", "--cfi", &out]);
    let expected =
        ["`exported` (section 0", "of .init_array", "computes its address", "`labels`+0x"];
    contains(&error, &expected);
}

#[test]
fn code_without_landing_pads_is_named() {
    let line = ok(&["verify", "--cfi", "bcod.smf"]);
    assert_eq!(line, "bcod.smf: ok, no machine code with landing pads\n");
}

//! `smf run`: results, exit status and errors.

use std::fs;

use serde_json::{Value, json};
#[cfg(target_arch = "x86_64")]
use smf_core::format::write::{Module, NewSection, NewSymbol, Payload, Place};
#[cfg(target_arch = "x86_64")]
use smf_core::format::{Header, Layout, SectionKind, SymbolKind};

use super::{contains, fails, ok, scratch, smf, text};

#[cfg(target_arch = "x86_64")]
#[test]
fn functions_of_samples_return_documented_results() {
    for (args, result) in [
        (&["packed.smf", "answer"][..], "42"),
        (&["packed.smf", "add", "2", "3"], "5"),
        (&["packed.smf", "add", "-2", "-0x10"], "-18"),
        (&["packed.smf", "add", "0x7fffffffffffffff", "1"], "-9223372036854775808"),
        (&["packed.smf", "add", "0xffffffffffffffff", "0"], "-1"),
        (&["packed.smf", "add", "18446744073709551615", "2"], "1"),
        (&["packed.smf", "add", "--", "-1", "-0x1"], "-2"),
        (&["packed.smf", "bump", "5"], "105"),
        (&["packed.smf", "roget"], "7777"),
        (&["packed.smf", "absload"], "100"),
        (&["packed.smf"], "42"),
        (&["native.smf", "answer"], "42"),
        (&["native.smf", "bump", "-1"], "99"),
        (&["native-stub219.smf"], "0"),
        (&["native-stub219.smf", "main"], "0"),
        (&["lib.smf", "scale", "14"], "42"),
        // An executable module without `main` starts at its first function; missing arguments are 0.
        (&["lib.smf"], "0"),
        (&["packed.smf", "add", "7"], "7"),
        (&["stub-declared.smf", "answer"], "42"),
        (&["stub-cat.smf", "answer"], "42"),
        (&["packed-leading.smf", "answer"], "42"),
        (&["driver.smf"], "42"),
        (&["note-zero-size.smf", "main"], "42"),
        (&["app.smf", "direct", "7", "--with", "lib.smf"], "21"),
        (&["app.smf", "through_got", "7", "--with", "lib.smf"], "21"),
        (&["app.smf", "direct", "-0x10", "--with", "library.lsm"], "-48"),
        (&["--with", "lib.smf", "app.smf", "through_got", "1"], "3"),
        (&["app-native.smf", "direct", "7", "--with", "lib.smf"], "21"),
        (&["app-native.smf", "through_got", "7", "--with=library.lsm"], "21"),
        (&["dynlib.smf", "plugin", "37"], "42"),
    ] {
        let args: Vec<_> = std::iter::once(&"run").chain(args).copied().collect();
        assert_eq!(ok(&args), format!("{result}\n"), "{args:?}");
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn function_outside_of_the_code_is_not_called() {
    let data = NewSection::new(SectionKind::Data, b".data", Payload::Bytes(&[0xc3]));
    let sections = [NewSection::code(&[0xc3]), data];
    let symbols = [NewSymbol { name: b"f", place: Place::Section(1), ..NewSymbol::default() }];
    let (layout, header) = (Layout::Packed, Header::default());
    let module = Module { layout, header, stub: &[], sections: &sections, symbols: &symbols };
    let file = scratch("run-data").join("data.smf");
    fs::write(&file, module.to_vec().unwrap()).unwrap();
    let file = file.to_str().unwrap();
    contains(&fails(&["run", file, "f"]), &["the function is outside the module's code"]);
}

#[test]
fn module_that_cannot_run_is_refused_with_a_reason() {
    for (args, words) in [
        (&["bcod.smf"][..], &["no entry point", "`answer`, `sum`"][..]),
        (&["bcod.smf", "nothing"], &["no function `nothing`", "`answer`, `sum`"]),
        (&["dynlib.smf"], &["dynlib.smf", "no entry point"]),
        (&["dynlib.smf", "nothing"], &["no function `nothing`"]),
        (&["library.lsm"], &["archive of 3 modules", "smf lib"]),
        (&["compact.smf"], &["no code"]),
        (&["absent.smf"], &["absent.smf", "no such file"]),
        (&["."], &["directory"]),
        (&["packed.smf", "--with", "absent.smf"], &["absent.smf", "no such file"]),
        (&["packed.smf", "--host-library", "no-such-lib"], &["no-such-lib"]),
    ] {
        let args: Vec<_> = std::iter::once(&"run").chain(args).copied().collect();
        contains(&fails(&args), words);
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn name_that_is_not_callable_is_refused_with_suggestions() {
    for (file, name, words) in [
        ("packed.smf", "nope", &["no function `nope`", "`answer`, `add`, `bump`"][..]),
        ("packed.smf", "counter", &["`counter` is not a function", "data"]),
        ("packed.smf", "answ", &["no function `answ`"]),
        ("lib.smf", "direct", &["no function `direct`", "scale"]),
    ] {
        contains(&fails(&["run", file, name]), words);
    }
    contains(&fails(&["run", "app.smf", "scale", "--with", "lib.smf"]), &["`scale` is an import"]);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn missing_import_is_named_with_its_importer() {
    for file in ["bad/missing-import.smf", "app.smf"] {
        contains(
            &fails(&["run", file, "direct", "1"]),
            &["`scale`", &format!("imported by {file}")],
        );
    }
    let with = fails(&["run", "app.smf", "direct", "1", "--with", "native.smf"]);
    contains(&with, &["`scale` (imported by app.smf)"]);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn exit_option_returns_the_result_as_status() {
    for (sum, status) in [(["2", "3"], 5), (["0x100", "7"], 7), (["0", "-1"], 255)] {
        let output = smf(&["run", "--exit", "packed.smf", "add", sum[0], sum[1]]);
        assert_eq!(output.status.code(), Some(status));
        assert!(!output.stdout.is_empty());
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn time_option_prints_to_standard_error() {
    let output = smf(&["run", "packed.smf", "answer", "--time"]);
    assert_eq!(text(&output.stdout), "42\n");
    contains(&text(&output.stderr), &["load ", "link ", "call ", " us"]);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn stats_option_prints_counters_as_json() {
    let counters = |args: &[&str]| -> Value {
        let output = smf(&[&["run", "--stats"], args].concat());
        assert_eq!((output.status.code(), &*text(&output.stdout)), (Some(0), "42\n"));
        serde_json::from_str(&text(&output.stderr)).unwrap()
    };
    let native = counters(&["app.smf", "direct", "14", "--with", "lib.smf"]);
    assert_eq!((&native["version"], &native["loaders"][0]["modules"]), (&json!(1), &json!(2)));
    assert_eq!(native["instantiators"][0]["cached"], 0);
    assert!(native["executable_memory"]["live_bytes"].is_u64());
    let bytecode = counters(&["bcod.smf", "answer", "--compile"]);
    assert!(bytecode["executable_memory"]["live_blocks"].as_u64() > Some(0), "{bytecode}");
    let source = scratch("run-stats").join("answer.spl");
    fs::write(&source, "fn answer(): 42\n").unwrap();
    let source = counters(&[source.to_str().unwrap(), "answer"]);
    assert_eq!((&source["managers"][0]["functions"], &source["version"]), (&json!(1), &json!(1)));
    assert!(source["managers"][0]["code_bytes"].as_u64() > Some(0), "{source}");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn function_in_a_section_that_is_not_loaded_is_not_called_local() {
    let section = |kind, name| NewSection { kind, name, ..NewSection::code(&[0xc3]) };
    let symbol = |name, section| NewSymbol {
        name,
        kind: SymbolKind::Function,
        place: Place::Section(section),
        ..NewSymbol::default()
    };
    let module = Module {
        layout: Layout::Packed,
        header: Header::default(),
        stub: &[],
        sections: &[section(SectionKind::Code, b".text"), section(SectionKind::Debug, b".dbg")],
        symbols: &[symbol(b"loaded", 0), symbol(b"other", 1)],
    };
    let path = scratch("run-not-loaded").join("a.smf");
    fs::write(&path, module.to_vec().unwrap()).unwrap();
    let error = fails(&["run", path.to_str().unwrap(), "other"]);
    contains(&error, &["`other` lies in a section that is not loaded; it exports `loaded`\n"]);
}

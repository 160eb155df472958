//! `smf convert`, `strip-stub` and `extract`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::{GOOD, contains, fails, fed, inspected, ok, sample, scratch, smf, text};

/// Samples with relocations that the native layout cannot express.
const NOT_NATIVE: [&str; 4] = ["needed.smf", "packed.smf", "relative.smf", "services.smf"];

/// Found: exit status 0 and a warning, with a module that crashes.
#[test]
fn convert_refuses_a_layout_that_cannot_express_the_relocations() {
    let out = scratch("convert-lost").join("out.smf");
    for file in NOT_NATIVE {
        let error = fails(&["convert", file, "-o", out.to_str().unwrap(), "--layout", "native"]);
        contains(&error, &[file, "the native layout cannot express", "relocation ", " against "]);
        contains(&error, &["`smf pack --layout native`"]);
        assert!(!out.exists(), "{file}");
    }
}

#[test]
fn converted_module_has_the_same_contents() {
    let directory = scratch("convert");
    for file in GOOD.iter().filter(|file| !matches!(**file, "library.lsm" | "dynlib.smf")) {
        for layout in ["packed", "native"] {
            if (*file, layout) == ("without-relocs.smf", "native") {
                let error = fails(&["convert", file, "-o", "x", "--layout", layout]);
                contains(&error, &[file, "`--layout native`"]);
                continue;
            }
            if NOT_NATIVE.contains(file) && layout == "native" {
                continue;
            }
            let out = directory.join(format!("{layout}-{file}"));
            let out = out.to_str().unwrap();
            let output = smf(&["convert", file, "-o", out, "--layout", layout]);
            assert_eq!(output.status.code(), Some(0), "{file}: {}", text(&output.stderr));
            let said = text(&output.stderr);
            let is_loss = |line: &str| line.starts_with("dropped: ");
            assert!(said.lines().all(is_loss) && !said.contains("relocation"), "{said}");
            ok(&["verify", out]);
            assert_eq!(inspected(out)["layout"], layout);
            assert_eq!(inspected(out)["note"], inspected(file)["note"]);
            assert_eq!(inspected(out)["templates"], inspected(file)["templates"]);
        }
    }
    if cfg!(target_arch = "x86_64") {
        let native = directory.join("native-app.smf");
        let run = ["run", native.to_str().unwrap(), "direct", "2", "--with", "lib.smf"];
        assert_eq!(ok(&run), "6\n");
        let packed = directory.join("packed-app-native.smf");
        let run = ["run", packed.to_str().unwrap(), "direct", "2", "--with", "lib.smf"];
        assert_eq!(ok(&run), "6\n");
        let packed = directory.join("packed-without-relocs.smf");
        let run = ["run", packed.to_str().unwrap(), "apply", "1", "7", "--with", "lib.smf"];
        assert_eq!(ok(&run), "51\n");
    }
    contains(&fails(&["convert", "dynlib.smf", "-o", "x", "--layout", "native"]), &["dynlib"]);
    contains(&fails(&["convert", "library.lsm", "-o", "x", "--layout", "native"]), &["archive"]);
}

#[test]
fn convert_reports_what_the_layout_cannot_express() {
    let output = smf(&["convert", "stub-declared.smf", "-o", "/dev/null", "--layout", "native"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stderr), "dropped: stub of 22 bytes\n");
}

#[test]
fn strip_stub_and_extract_return_the_module() {
    let directory = scratch("stub");
    let out = directory.join("out");
    let out_text = out.to_str().unwrap();
    for command in ["strip-stub", "extract"] {
        for file in ["stub-declared.smf", "stub-cat.smf"] {
            ok(&[command, file, "-o", out_text]);
            let shown = inspected(out_text);
            assert_eq!((&shown["size"], &shown["data_offset"]), (&json!(264), &json!(0)));
            assert!(shown.get("base").is_none());
            if cfg!(target_arch = "x86_64") {
                assert_eq!(ok(&["run", out_text, "answer"]), "42\n");
            }
        }
        let stub = fs::read(sample("stub-cat.smf")).unwrap();
        let output = fed(&[command, "-", "-o", out_text], &stub);
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
        assert_eq!(inspected(out_text)["size"], 264);
        ok(&[command, "packed.smf", "-o", out_text]);
        assert_eq!(fs::read(&out).unwrap(), fs::read(sample("packed.smf")).unwrap());
    }
    ok(&["extract", "dynlib.smf", "-o", out_text]);
    let object = fs::read(&out).unwrap();
    assert!(object.starts_with(b"\x7fELF") && object.len() == 13184 - 128);
    contains(&fails(&["strip-stub", "dynlib.smf", "-o", out_text]), &["smf extract"]);
    assert_eq!(fs::read(&out).unwrap(), object);
}

#[test]
fn converted_hybrid_stays_executable() {
    let directory = scratch("executable");
    let (hybrid, out) = (directory.join("hybrid"), directory.join("out"));
    fs::copy(sample("stub-declared.smf"), &hybrid).unwrap();
    let execute = || fs::metadata(&out).unwrap().permissions().mode() & 0o111 != 0;
    let convert = || {
        let (hybrid, out) = (hybrid.to_str().unwrap(), out.to_str().unwrap());
        ok(&["convert", hybrid, "-o", out, "--layout", "packed"]);
    };
    fs::set_permissions(&hybrid, fs::Permissions::from_mode(0o755)).unwrap();
    convert();
    assert!(execute());
    fs::set_permissions(&hybrid, fs::Permissions::from_mode(0o644)).unwrap();
    convert();
    assert!(!execute());
}

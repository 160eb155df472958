//! `smf lib`.

use std::fs;

use super::{contains, fails, ok, sample, scratch};

#[test]
fn archive_is_created_listed_and_extracted() {
    let directory = scratch("lib");
    let (archive, out) = (directory.join("a.lsm"), directory.join("out.smf"));
    let (archive, out) = (archive.to_str().unwrap(), out.to_str().unwrap());
    ok(&["lib", "create", "-o", archive, "math/scale=lib.smf", "app=app.smf", "p=packed.smf"]);
    contains(&ok(&["lib", "list", archive]), &["math/scale", "app"]);
    assert_eq!(ok(&["verify", archive]), format!("{archive}: ok\n"));
    ok(&["lib", "extract", archive, "app", "-o", out]);
    assert_eq!(fs::read(out).unwrap(), fs::read(sample("app.smf")).unwrap());
    if cfg!(target_arch = "x86_64") {
        assert_eq!(ok(&["run", "app.smf", "direct", "2", "--with", archive]), "6\n");
        let module = |name| format!("{archive}:{name}");
        assert_eq!(ok(&["run", &module("app"), "direct", "2", "--with", archive]), "6\n");
        assert_eq!(ok(&["run", &module("p"), "answer"]), "42\n");
        let why = format!("{archive}: no module called nope in this archive");
        contains(&fails(&["run", &module("nope")]), &[&why]);
    }
    contains(&fails(&["lib", "extract", archive, "nope", "-o", out]), &["no module `nope`"]);
    contains(&fails(&["lib", "list", "packed.smf"]), &["LSMF"]);
    let error = fails(&["lib", "create", "-o", out, "b=lib.smf", "a=lib.smf", "a=app.smf"]);
    contains(&error, &["`a=lib.smf` and `a=app.smf` have the same name\n"]);
    contains(&fails(&["lib", "create", "-o", out, "a=bad/empty.smf"]), &["bad/empty.smf"]);
    let error = fails(&["lib", "create", "-o", out, "a=library.lsm"]);
    contains(&error, &["library.lsm: this is an archive: name one of its modules"]);
    let long = format!("{}=lib.smf", "x".repeat(64));
    contains(&fails(&["lib", "create", "-o", out, &long]), &["63"]);
}

#[test]
fn names_with_colons_are_found() {
    let directory = scratch("lib-colons");
    let archive = directory.join("a:b.lsm");
    let archive = archive.to_str().unwrap();
    ok(&["lib", "create", "-o", archive, "std::math=packed.smf"]);
    contains(&ok(&["nm", &format!("{archive}:std::math")]), &["T answer"]);
    contains(&fails(&["nm", &format!("{archive}:std:math")]), &["no module called std:math"]);
    if cfg!(target_arch = "x86_64") {
        assert_eq!(ok(&["run", &format!("{archive}:std::math"), "answer"]), "42\n");
    }
    contains(&fails(&["run", archive]), &["this is an archive of 1 module: name one of them"]);
}

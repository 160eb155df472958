//! `smf inspect --json`: its keys, their order, their values.

use serde_json::{Value, json};

use super::{inspected, ok};

#[test]
fn module_json_has_stable_keys_in_order() {
    let printed = ok(&["inspect", "--json", "packed.smf"]);
    let mut at = 0;
    for key in [
        "file",
        "size",
        "layout",
        "version",
        "platform",
        "arch",
        "flags",
        "compression",
        "entry_point",
        "stub_size",
        "data_offset",
        "sections",
        "symbols",
        "relocations",
        "templates",
        "note",
        "phases",
    ] {
        let quoted = format!("\"{key}\":");
        at += printed[at..].find(&quoted).unwrap_or_else(|| panic!("{key} after {at}"));
    }
    let shown: Value = serde_json::from_str(&printed).unwrap();
    let mut expected = json!({
        "file": "packed.smf", "size": 1029, "layout": "packed", "version": "1.1",
        "platform": "linux", "arch": "x86_64", "flags": ["executable"], "compression": "none",
        "entry_point": 0, "stub_size": 0, "data_offset": 0, "templates": [], "note": null,
    });
    let symbol = |name: &str, kind: &str, binding: &str, section: u32, value: u32, size: u32| {
        let exported = ["steady", "event_loop_anchor", "pinned"];
        let flags = if binding == "global" { &exported[..] } else { &[] };
        json!({"name": name, "kind": kind, "binding": binding, "defined": true, "section": section,
               "value": value, "size": size, "flags": flags, "template_params": 0})
    };
    let section = |index: u32, name: &str, kind: &str, flags: &str, place: [u32; 3]| {
        let [offset, size, alignment] = place;
        json!({"index": index, "name": name, "kind": kind, "flags": flags, "offset": offset,
               "size": size, "virtual_size": size, "alignment": alignment, "compressed": false})
    };
    let reloc = |offset: u32, symbol: &str, kind: &str, addend: i32| json!({"section": 0, "offset": offset, "symbol": symbol, "kind": kind, "addend": addend});
    expected["sections"] = json!([
        section(0, ".text", "code", "r-x", [0, 94, 16]),
        section(1, ".data", "data", "rw-", [96, 8, 16]),
        section(2, ".rodata", "rodata", "r--", [104, 8, 16]),
        section(3, ".rela", "reloc", "---", [112, 96, 8]),
    ]);
    expected["symbols"] = json!([
        symbol("answer", "function", "global", 0, 0, 6),
        symbol("add", "function", "global", 0, 16, 5),
        symbol("bump", "function", "global", 0, 32, 18),
        symbol("roget", "function", "global", 0, 64, 8),
        symbol("absload", "function", "global", 0, 80, 14),
        symbol("counter", "data", "local", 1, 0, 8),
        symbol("magic", "data", "local", 2, 0, 8),
    ]);
    expected["relocations"] = json!([
        reloc(35, "counter", "pc32", -4),
        reloc(45, "counter", "pc32", -4),
        reloc(67, "magic", "pc32", -4),
        reloc(82, "counter", "abs64", 0),
    ]);
    let phase = |phase: &str, [functions, bytes, pages]: [u32; 3]| json!({"phase": phase, "functions": functions, "bytes": bytes, "pages": pages, "pages_packed": pages});
    expected["phases"] = json!([
        phase("startup", [0, 0, 0]),
        phase("first_frame", [0, 0, 0]),
        phase("steady", [5, 51, 1]),
        phase("cold", [0, 0, 0]),
    ]);
    assert_eq!(shown, expected);
}

#[test]
fn json_shows_imports_templates_notes_and_bytecode() {
    let app = inspected("app.smf");
    let scale = app["symbols"].as_array().unwrap().iter().find(|s| s["name"] == "scale").unwrap();
    assert_eq!((&scale["defined"], &scale["section"]), (&json!(false), &Value::Null));
    let note = inspected("note-zero-size.smf");
    assert_eq!(
        note["templates"],
        json!([
            {"name": "identity", "kind": "function", "params": 1},
            {"name": "Pair", "kind": "struct", "params": 2},
            {"name": "max", "kind": "function", "params": 1},
        ])
    );
    assert_eq!(note["note"]["possible"][1]["required_by"], "quote \"here\", comma");
    let compact = inspected("compact.smf");
    let unknown = |name: &str| json!({"name": name, "kind": "unknown", "params": 0});
    assert_eq!(compact["templates"], json!([unknown("Vec"), unknown("List")]));
    let bytecode = inspected("bcod.smf");
    assert_eq!(bytecode["symbols"][1]["name"], "sum");
    assert_eq!(bytecode["functions"][1]["params"], 1);
    assert_eq!(inspected("dynlib.smf")["layout"], "dynlib");
}

#[test]
fn json_of_an_archive_lists_its_modules() {
    let shown = inspected("library.lsm");
    let module = |name: &str, offset: u32, size: u32, hash: &str| json!({"name": name, "offset": offset, "size": size, "hash": hash});
    let expected = json!({
        "file": "library.lsm", "size": 1524, "layout": "library", "modules": [
            module("std/math/scale", 512, 263, "0xbc3de6432d3b324a"),
            module("app/main", 775, 530, "0x345da8812c705898"),
            module("legacy/stub", 1305, 219, "0x39f02b75009b3986"),
        ],
    });
    assert_eq!(shown, expected);
    let listed: Value =
        serde_json::from_str(&ok(&["lib", "list", "--json", "library.lsm"])).unwrap();
    assert_eq!(listed, expected);
}

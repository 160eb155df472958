//! Instances of templates, by a program whose compiler takes scripts for bodies.

use std::fs;
use std::path::Path;
use std::process::Command;

use smf_core::format::ext::hash_index;
use smf_core::format::write::{Module as NewModule, NewSection};
use smf_core::format::{Header, Layout, SectionKind};
use smf_core::ir::text::parse;
use smf_loader::pack::{Input, Options, pack};

use super::{JIT, Linking, SCRATCH, compile, succeed};

/// Bodies of templates for the compiler in `jit.c`.
const TEMPLATES: [(&str, &str); 10] = [
    ("one", "111"),
    ("calls", ">two$i64"),
    ("two", "222"),
    ("fails", "!on purpose"),
    ("ping", ">pong$i64"),
    ("pong", ">ping$i64"),
    ("later", ">slow$i64"),
    ("slow", "333"),
    ("up", ">down"),
    ("far", ">distant"),
];

/// Modules that import instances: each with its C source.
const USERS: [(&str, &str); 8] = [
    ("user", "long later(void) __asm__(\"later$i64\"); long main(void) { return later(); }"),
    // The instance calls the module that imports it.
    (
        "around",
        "long up(void) __asm__(\"up$i64\"); long down(void) { return 7; } long main(void) { return up() + 1; }",
    ),
    (
        "broken",
        "long up(void) __asm__(\"up$i64\"), absent(void); long down(void) { return 8; } \
         long main(void) { return up() + absent(); }",
    ),
    ("version-1", "long answer(void) { return 1; }"),
    (
        "version-2",
        "long up(void) __asm__(\"up$i64\"); long down(void) { return 7; } \
         long answer(void) { return up() + 2; }",
    ),
    ("counted", "long distant(void); long main(void) { return distant() + 2; }"),
    ("distant", "long distant(void) { return 9; }"),
    ("reaches", "long far(void) __asm__(\"far$i64\"); long main(void) { return far() + 1; }"),
];

/// A module with templates, and one that imports an instance of one.
pub(super) fn make_modules(directory: &Path) {
    fs::create_dir_all(directory).unwrap();
    let mut note = "possible |template, type_args, mangled_name|\n".to_owned();
    let half = "template half<T>(a: T, b: T) -> T\n div T a, a, b\n return T a\nend\n";
    let half = parse(half).unwrap().remove(0).body;
    let scripts = TEMPLATES.map(|(name, body)| (name, body.as_bytes()));
    let all = scripts.into_iter().chain([("half", &half[..])]);
    let mut templates = u32::try_from(all.clone().count()).unwrap().to_le_bytes().to_vec();
    for (name, body) in all {
        note += &format!("    \"{name}\", \"i64\", \"{name}$i64\"\n");
        for bytes in [name.as_bytes(), body] {
            templates.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
            templates.extend(bytes);
        }
    }
    let section = |kind, name, payload| NewSection { kind, name, ..hash_index::section(payload) };
    let sections = [
        section(SectionKind::Code, &b".text"[..], &[0xc3]),
        section(SectionKind::TemplateCode, b".templates", &templates),
        section(SectionKind::Note, b"note.sdn", note.as_bytes()),
    ];
    let (layout, header) = (Layout::Packed, Header::default());
    let module = NewModule { layout, header, stub: &[], sections: &sections, symbols: &[] };
    for name in ["templates.smf", "kept.smf", "cached.smf"] {
        fs::write(directory.join(name), module.to_vec().unwrap()).unwrap();
    }
    // Another version of `later`.
    let later = b"\x01\0\0\0\x05\0\0\0later\x03\0\0\x00444";
    let note = b"possible |template, type_args, mangled_name|\n    later, i64, \"later$i64\"\n";
    let later = section(SectionKind::TemplateCode, b".templates", later);
    let others = [sections[0], later, section(SectionKind::Note, b"note.sdn", note)];
    let module = NewModule { layout, header, stub: &[], sections: &others, symbols: &[] };
    fs::write(directory.join("others.smf"), module.to_vec().unwrap()).unwrap();
    let note = section(SectionKind::Note, b"note.sdn", b"possible |template|\n    a, b\n");
    let module =
        NewModule { layout, header, stub: &[], sections: &[sections[0], note], symbols: &[] };
    fs::write(directory.join("malformed.smf"), module.to_vec().unwrap()).unwrap();
    let uses = "type_inferences |inferred_type, expr, context, from_file, from_loc|\n    \
                \"f64\", \"half(a, b)\", \"argument 0\", \"user.spl\", \"user.spl:3:9\"\n";
    let sections = [section(SectionKind::Note, b"note.sdn", uses.as_bytes())];
    let module = NewModule { layout, header, stub: &[], sections: &sections, symbols: &[] };
    fs::write(directory.join("uses.smf"), module.to_vec().unwrap()).unwrap();
    let quarter = "template quarter<T>(a: T, b: T) -> T\n call a = half<T>(a, b)\n \
                   call_host twice(a)\n call a = quarter<T>(a, b)\n return T a\nend\n";
    let quarter = parse(quarter).unwrap().remove(0).body;
    for (name, body) in [("half", &half), ("quarter", &quarter)] {
        let json = format!("{{\"name\":\"{name}\",\"type_params\":[\"T\"],\"body\":{body:?}}}");
        fs::write(directory.join(name).with_extension("json"), json).unwrap();
    }
    for (name, source) in USERS {
        let [c, o, smf] = ["c", "o", "smf"].map(|end| directory.join(name).with_extension(end));
        fs::write(&c, source).unwrap();
        let mut gcc = Command::new("gcc");
        succeed(gcc.args(["-O2", "-fPIC", "-Wno-main", "-c", "-o"]).arg(&o).arg(&c));
        let data = fs::read(&o).unwrap();
        let options = Options { reloadable: name.starts_with("version"), ..Options::default() };
        let packed = pack(&[Input { name, data: &data }], &options).unwrap();
        fs::write(&smf, packed.bytes).unwrap();
    }
}

#[test]
fn templates_are_instantiated_from_c() {
    for (linking, program) in
        [Linking::Static, Linking::Shared].map(|l| (l, compile("jit", JIT, l)))
    {
        // Instances are recorded in the file.
        let directory = Path::new(SCRATCH).join(format!("templates-{linking:?}"));
        make_modules(&directory);
        assert!(succeed(Command::new(program).arg(&directory)).contains("ok"));
    }
}

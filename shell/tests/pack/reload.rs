//! Reloading of packed modules, with their data.
#![allow(unsafe_code)]

use smf_core::format::{Binding, Layout, SymbolKind};
use smf_core::loader::{LoaderOptions, ModuleBytes, ModuleHandle, ModuleLoader, StateMigration};
use smf_core::trap::call;
use smf_loader::pack::Options;

use crate::made::{Made, c, try_pack, with_relocs, without_relocs};

/// Counters of every kind, incremented by `STEP`.
const COUNTERS: &str = r#"
    static long calls;
    static long total = 100;
    __attribute__((visibility("hidden"))) long hidden = 7;
    __attribute__((visibility("hidden"))) long tentative;
    static long table[3] = {1, 2, 3};
    static long get(void), set(void);
    static long (*jumps[2])(void) = {get, set};
    static long get(void) { return total; }
    static long set(void) { return STEP; }
    long visible = 1;
    long count(void) { static long count = 1000; calls++; count += STEP; return count; }
    long again(void) { static long count = 2000; calls++; count += STEP; return count; }
    long how_often(void) { return calls; }
    long add(long n) { total += n; hidden += n; tentative += n; table[1] += n; visible += n;
        return total + hidden + tentative + table[1] + visible; }
    long jump(long n) { jumps[0] = n ? jumps[0] : set; return jumps[0](); }
"#;

fn version(step: u32, layout: Layout, flags: &[&str]) -> Made {
    let step = format!("-DSTEP={step}");
    let object = c(COUNTERS, &[&[step.as_str()], flags].concat());
    let options = Options { reloadable: true, layout, ..Options::default() };
    try_pack(&[("a.o", &object)], &options).unwrap()
}

fn bytes(made: &Made) -> ModuleBytes {
    ModuleBytes::new(made.bytes().to_vec()).unwrap()
}

fn run(loader: &ModuleLoader, module: ModuleHandle, name: &str, args: &[i64]) -> i64 {
    let loaded = loader.get(module).unwrap();
    let function = loaded.function(name.as_bytes()).unwrap();
    // SAFETY: the functions above take and return integers, and the module is held.
    unsafe { call(function, args) }.unwrap()
}

#[test]
fn new_version_takes_over_static_data() {
    let flags: [&[&str]; 4] =
        [&["-O0"], &["-O2"], &["-O2", "-fPIC", "-fdata-sections"], &["-O1", "-fcommon"]];
    for (layout, flags) in
        [Layout::Packed, Layout::Native].into_iter().flat_map(|layout| flags.map(|f| (layout, f)))
    {
        let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
        let module = loader.load(b"m", bytes(&version(1, layout, flags))).unwrap();
        let run = |name, args: &[i64]| run(&loader, module, name, args);
        assert_eq!((run("count", &[]), run("count", &[]), run("again", &[])), (1001, 1002, 2001));
        assert_eq!(run("add", &[10]), 110 + 17 + 10 + 12 + 11);
        assert_eq!((run("jump", &[1]), run("jump", &[0])), (110, 1));

        let new = bytes(&version(50, layout, flags));
        let moved = loader.reload(module, new, StateMigration::Copy, &mut |_| {}).unwrap().migrated;
        // calls, total, hidden, tentative, table, visible, count twice; not the pointers.
        assert_eq!((moved.symbols, moved.bytes), (8, 8 * 7 + 24), "{layout:?} {flags:?}");
        assert_eq!(run("how_often", &[]), 3);
        assert_eq!((run("count", &[]), run("again", &[])), (1052, 2051));
        assert_eq!(run("add", &[0]), 110 + 17 + 10 + 12 + 11);
        assert_eq!((run("jump", &[1]), run("jump", &[0])), (110, 50), "addresses of its own");
    }
}

#[test]
fn imported_data_is_shared_by_both_versions() {
    let flags: [&[&str]; 4] =
        [&["-O0"], &["-O2"], &["-O2", "-fPIC", "-fdata-sections"], &["-O1", "-fcommon"]];
    let user = c("extern long visible; long *where(void) { return &visible; }", &["-O2", "-fPIC"]);
    let user = try_pack(&[("user.o", &user)], &Options::default()).unwrap();
    for (layout, flags) in
        [Layout::Packed, Layout::Native].into_iter().flat_map(|layout| flags.map(|f| (layout, f)))
    {
        let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
        let module = loader.load(b"m", bytes(&version(1, layout, flags))).unwrap();
        let user = loader.load(b"user", bytes(&user)).unwrap();
        let there = loader.resolve(b"visible").unwrap().unwrap().address as i64;
        let sum = |n| run(&loader, module, "add", &[n]);
        assert_eq!((sum(10), run(&loader, user, "where", &[])), (160, there));
        for step in [50, 60] {
            let new = bytes(&version(step, layout, flags));
            let done = loader.reload(module, new, StateMigration::Copy, &mut |_| {}).unwrap();
            assert_eq!((done.migrated.symbols, done.kept), (7, 1), "{layout:?} {flags:?}");
            assert_eq!(run(&loader, user, "where", &[]), there);
            // The other data was copied; this datum stayed.
            let visible = there as *mut i64;
            // SAFETY: the module is loaded, and no other reference to its datum exists.
            unsafe { *visible += 1000 };
            assert_eq!(sum(0), 160 + if step == 50 { 1000 } else { 2000 });
        }
    }
}

#[test]
fn only_writable_data_of_reloadable_modules_gets_symbols() {
    let source = r#"
        static const long fixed[2] = {3, 4};
        static long counter;
        __attribute__((used)) static long unused = 5;
        __attribute__((visibility("hidden"))) long hidden = 6;
        static const char *text = "text";
        long get(long i) { static long sum; sum += fixed[i & 1]; return sum + counter++ + hidden + text[i]; }
        void set(const char *to) { text = to; }
    "#;
    let object = c(source, &["-O1", "-fPIC", "-fdata-sections"]);
    let pack = |reloadable| {
        try_pack(&[("a.o", &object)], &Options { reloadable, ..with_relocs() }).unwrap()
    };
    let locals = |made: &Made| {
        let symbols = made.symbols().into_iter();
        let named = symbols.filter(|s| s.binding == Binding::Local && s.size != 0);
        let mut found: Vec<_> = named
            .map(|symbol| {
                assert_eq!(symbol.kind, SymbolKind::Data);
                let section = made.smf().section(symbol.section.unwrap()).unwrap();
                let name = String::from_utf8_lossy(symbol.name());
                let name = name.split('.').next().unwrap().to_owned();
                (name, symbol.size, String::from_utf8_lossy(section.name).into_owned())
            })
            .collect();
        found.sort();
        found
    };
    let row = |name: &str, section: &str| (name.to_owned(), 8, section.to_owned());
    let expected =
        [row("counter", ".bss"), row("hidden", ".data"), row("sum", ".bss"), row("text", ".data")];
    assert_eq!(locals(&pack(true)), expected);
    assert_eq!(locals(&pack(false)), []);
    let names = |made: &Made| made.smf().symbols().len();
    assert_eq!(names(&pack(true)), names(&pack(false)) + expected.len());
}

#[test]
fn ambiguous_data_stays_with_the_old_version() {
    let objects = |step: u32| {
        let source = |function: &str| {
            format!("static long calls; long {function}(void) {{ return calls += {step}; }}")
        };
        let (one, two) = (c(&source("one"), &["-O1"]), c(&source("two"), &["-O1"]));
        let options = Options { reloadable: true, ..Options::default() };
        try_pack(&[("one.o", &one), ("two.o", &two)], &options).unwrap()
    };
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    let module = loader.load(b"m", bytes(&objects(1))).unwrap();
    assert_eq!(run(&loader, module, "one", &[]), 1);
    let new = bytes(&objects(5));
    let moved = loader.reload(module, new, StateMigration::Copy, &mut |_| {}).unwrap().migrated;
    assert_eq!((moved.symbols, run(&loader, module, "one", &[])), (0, 5));
}

/// Addresses that the image alone lists are not copied: they are those of each version.
#[test]
fn addresses_without_relocations_are_those_of_the_new_version() {
    let version = |step: u32| {
        let source = format!(
            "static const char text[] = \"version {step}\"; const char *names[2] = {{text, text + 8}}; long count = {step};
            long digit(void) {{ return *((const char *volatile *)names)[1]; }} long bump(void) {{ return ++count; }}"
        );
        let made = without_relocs(&[("a.o", &c(&source, &["-O1", "-fPIC"]))]);
        assert!(made.relocs(".data", false).is_empty() && made.relocs(".data", true).is_empty());
        ModuleBytes::new(made.bytes().to_vec()).unwrap()
    };
    let options = LoaderOptions { reload_unmarked: true, ..LoaderOptions::default() };
    let loader = ModuleLoader::new(options).unwrap();
    let module = loader.load(b"m", version(1)).unwrap();
    let run = |name| run(&loader, module, name, &[]);
    assert_eq!((run("digit"), run("bump")), (i64::from(b'1'), 2));
    let reloaded = loader.reload(module, version(2), StateMigration::Copy, &mut |_| {}).unwrap();
    assert_eq!(reloaded.migrated.symbols, 1);
    assert_eq!((run("digit"), run("bump")), (i64::from(b'2'), 3));
}

//! Constructors, destructors and unwinding tables of modules from the compiler for aarch64.

use smf_core::format::Smf;

use crate::tools::{File, LAYOUTS, Loader, compiled, try_pack};

const SOURCE: &str = r#"
    #include <execinfo.h>
    #include <stdio.h>
    #include <stdlib.h>
    static long order;
    static void handler(void) { printf("handler %ld\n", order); }
    __attribute__((constructor)) static void second(void) { order = order * 10 + 2; atexit(handler); }
    __attribute__((constructor(101))) static void first(void) { order = order * 10 + 1; }
    __attribute__((destructor)) static void end(void) { printf("end %ld\n", order); }
    long get(void) { return order; }
    __attribute__((noinline)) static int depth(int n) {
        void *frames[64];
        return n ? depth(n - 1) + 1 : backtrace(frames, 64);
    }
    long trace(long n) { return depth((int)n) - depth(0); }
"#;

#[test]
fn constructors_and_destructors_run() {
    let Some(loader) = Loader::get() else { return };
    let directory = smf_tests::compile::scratch();
    let source = directory.path().join("init.c");
    std::fs::write(&source, SOURCE).unwrap();
    for flags in [&["-O0"][..], &["-O1", "-fPIC", "-fno-optimize-sibling-calls"]] {
        let Some(object) = compiled(&source, flags) else { return };
        for layout in LAYOUTS {
            let module = File::packed(&[&object], layout);
            let path = module.path();
            let run = |arguments: &[&str]| {
                let start = ["run", path.to_str().unwrap(), "--host-symbols"];
                let (done, text, errors) = loader.says(&[&start, arguments].concat());
                assert!(done, "{layout:?} {flags:?}: {errors}");
                text
            };
            assert_eq!(run(&["get"]), "12\nhandler 12\nend 12\n", "{layout:?} {flags:?}");
            assert_eq!(run(&["trace", "5"]), "10\nhandler 12\nend 12\n", "{layout:?} {flags:?}");
            let packed = try_pack(&[&object], layout).unwrap();
            let smf = Smf::parse(&packed.bytes).unwrap();
            assert!(smf.sections().named(b".eh_frame").is_some());
        }
    }
}

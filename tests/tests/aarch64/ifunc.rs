//! Indirect functions (IFUNC): the resolvers take the hardware capabilities, and modules are merged.

use std::fs;

use smf_core::format::Layout;
use smf_tests::compile::scratch;

use crate::tools::{File, LAYOUTS, Loader, compiled, try_pack};

const FLAGS: [&[&str]; 3] =
    [&["-O2", "-fPIC"], &["-O0", "-fPIE"], &["-O2", "-fno-pie", "-mbranch-protection=standard"]];

/// What the resolver is called with is compared with the auxiliary vector, which the C library returns.
const ARGUMENTS: &str = r#"
    #include <sys/auxv.h>
    #include <sys/ifunc.h>
    static unsigned long hwcap, size, words[2];
    static long calls;
    static long yes(long x) { return x + 1; }
    static long no(long x) { return x - 1; }
    static void *choose(unsigned long first, const __ifunc_arg_t *second) {
        hwcap = first; size = second->_size; words[0] = second->_hwcap; words[1] = second->_hwcap2; calls++;
        return first & HWCAP_FP ? (void *)yes : (void *)no;
    }
    long add(long) __attribute__((ifunc("choose")));
    static long local(long) __attribute__((ifunc("choose")));
    long (*pointer)(long) = add;
    long call(long x) { return add(x) * 1000000 + local(x) * 1000 + pointer(x); }
    long same(void) { return pointer == add; }
    long wrong(void) {
        unsigned long one = getauxval(AT_HWCAP), two = getauxval(AT_HWCAP2);
        return (hwcap != (one | _IFUNC_ARG_HWCAP)) + 2 * (size != sizeof(__ifunc_arg_t)) + 4 * (words[0] != one)
            + 8 * (words[1] != two) + 16 * (calls < 1 || calls > 2);
    }
"#;

/// The object compiled from a text in C.
fn object(text: &str, flags: &[&str]) -> Option<Vec<u8>> {
    let directory = scratch();
    let source = directory.path().join("in.c");
    fs::write(&source, text).unwrap();
    compiled(&source, flags)
}

#[test]
fn resolvers_get_the_hardware_capabilities() {
    let Some(loader) = Loader::get() else { return };
    for flags in FLAGS {
        let Some(object) = object(ARGUMENTS, flags) else { return };
        let file = File::packed(&[&object], Layout::Packed);
        let call = |name: &str, arguments: &[i64]| {
            loader.call(&file.path(), name, arguments, &["--host-symbols"])
        };
        assert_eq!(call("wrong", &[]), 0, "{flags:?}");
        // Called by its export, by a call and through a pointer.
        let found = (call("add", &[5]), call("call", &[1]), call("same", &[]));
        assert_eq!(found, (6, 2_002_002, 1), "{flags:?}");
        let error = try_pack(&[&object], Layout::Native).unwrap_err().to_string();
        assert!(error.contains("(IFUNC)") && error.contains("packed layout"), "{error}");
    }
}

const PART: &str = "static long choice = NUMBER; static long calls;
    static long plus(long x) { return x + choice; } static long minus(long x) { return x - choice; }
    static void *pick(void) { calls++; return choice > 2 ? (void *)plus : (void *)minus; }
    long NAME(long) __attribute__((ifunc(\"pick\")));
    long (*NAME_pointer)(long) = NAME; long NAME_calls(void) { return calls; }";

const USER: &str = "long one(long), two(long), one_calls(void), two_calls(void);
    extern long (*one_pointer)(long), (*two_pointer)(long);
    long run(void) {
        if (one_pointer != one || two_pointer != two) return -1;
        return one(100) * 1000 + two_pointer(100) + 1000000 * (one_calls() * 10 + two_calls()); }";

#[test]
fn modules_with_indirect_functions_are_linked() {
    let Some(loader) = Loader::get() else { return };
    for flags in FLAGS {
        let part = |name: &str, number: &str| {
            object(&PART.replace("NAME", name).replace("NUMBER", number), flags)
        };
        let (Some(one), Some(two)) = (part("one", "1"), part("two", "5")) else { return };
        let user = object(USER, flags).unwrap();
        let module = |objects: &[&[u8]]| try_pack(objects, Layout::Packed).unwrap().bytes;
        let inputs = [module(&[&one]), module(&[&two])];
        let merged = module(&[&inputs[0], &inputs[1], &user]);
        let again = module(&[&merged]);
        for merged in [&merged, &again, &module(&[&one, &two, &user])] {
            let file = File::new(merged);
            // 100 - 1 and 100 + 5, with one call of each resolver.
            assert_eq!(loader.call(&file.path(), "run", &[], &[]), 11_099_105, "{flags:?}");
        }
        assert!(try_pack(&[&merged], LAYOUTS[1]).is_err());
    }
}

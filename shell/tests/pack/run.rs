//! Execution of packed modules.
#![allow(unsafe_code)]

use smf_core::format::Layout;
use smf_core::link::{Image, NoImports};

use smf_core::trap::call;
use smf_loader::pack::{Options, PackWarning};

use crate::made::{Made, c, linked, packed, refusal, rust, try_pack};

const PROGRAM: &str = r#"
    typedef unsigned int u32; typedef unsigned char u8; typedef unsigned long size_t;
    static u32 table[256];
    static void make(void) {
        for (u32 i = 0; i < 256; i++) { u32 c = i; for (int k = 0; k < 8; k++)
            c = c & 1 ? 0xEDB88320u ^ (c >> 1) : c >> 1; table[i] = c; }
    }
    long crc(void) {
        const char *text = "123456789"; u32 c = ~0u;
        if (!table[1]) make();
        while (*text) c = table[(u8)(c ^ (u8)*text++)] ^ (c >> 8);
        return (long)(u32)~c;
    }
    static int less(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }
    int (*compare)(const void *, const void *) = less;
    static void sort(int *v, int n, int (*cmp)(const void *, const void *)) {
        for (int i = 1; i < n; i++) for (int j = i; j && cmp(&v[j - 1], &v[j]) > 0; j--) {
            int t = v[j]; v[j] = v[j - 1]; v[j - 1] = t; }
    }
    long sorted(long at) { int v[] = {5, 3, 9, 1, 7}; sort(v, 5, compare); return v[at]; }
    long jump(long x) { switch (x) { case 0: return crc(); case 1: return 20; case 2: return sorted(0);
        case 3: return 40; case 4: return 50; case 5: return -1; default: return 99; } }
    long area(long r) { double d = (double)r; return (long)(3.14159 * d * d * 100.0); }
    long count(long n) { static long sum; for (; n; n--) sum += n; return sum; }
    const char *const words[] = {"zero", "one", "two"};
    long letter(long w, long i) { return words[w][i]; }
    __attribute__((weak)) extern int absent(void);
    long missing(void) { return absent ? absent() : 7; }
    __attribute__((weak)) extern int nothing;
    long no_data(void) { return &nothing == 0; }
"#;

/// Calls a function of a module.
fn run(made: &Made, name: &str, args: &[i64]) -> i64 {
    let smf = made.smf();
    let module = Image::map(&smf).unwrap().link(&NoImports).unwrap();
    let address = module.function(name.as_bytes()).unwrap();
    // SAFETY: the functions of these tests take integers, as many as are passed, and return one;
    // the module lives until the end of the block.
    let result = unsafe { call(address, args) };
    result.unwrap()
}

/// Checks both layouts, and the packed one without its prelink note.
fn in_every_form(object: &[u8], check: impl Fn(&Made)) {
    for layout in [Layout::Packed, Layout::Native] {
        let options = Options { layout, ..Options::default() };
        let made = try_pack(&[("a.o", object)], &options).unwrap();
        check(&made);
        if layout == Layout::Packed {
            let options = Options { emit_relocs: true, ..options };
            let made = try_pack(&[("a.o", object)], &options).unwrap();
            check(&made);
            check(&made.without_image());
        }
    }
}

/// Packs each object as a module, and links the modules.
fn merged(objects: &[&[u8]]) -> Made {
    let names: Vec<_> = (0..objects.len()).map(|number| format!("{number}.smf")).collect();
    let modules: Vec<_> = objects.iter().map(|object| packed(object)).collect();
    let inputs: Vec<_> =
        names.iter().zip(&modules).map(|(name, made)| (&**name, made.bytes())).collect();
    linked(&inputs)
}

/// Calls `set` with a value, and returns the result of `get`.
fn set_and_get(made: &Made, value: i64) -> i64 {
    let smf = made.smf();
    let module = Image::map(&smf).unwrap().link(&NoImports).unwrap();
    let [set, get] = [&b"set"[..], b"get"].map(|name| module.function(name).unwrap());
    // SAFETY: as above.
    unsafe { call(set, &[value]) }.unwrap();
    // SAFETY: as above.
    unsafe { call(get, &[]) }.unwrap()
}

#[test]
fn common_symbol_of_several_modules_is_the_largest_one() {
    let [small, large] = [
        "char before[3], shared[4]; long set(long x) { shared[3] = x; before[0] = 1; return 0; }",
        "char shared[4000] __attribute__((aligned(256))), *const address = shared;
         long get(void) { shared[3999] = 1; return address[3] + ((long)shared & 255); }",
    ];
    let weak = c("__attribute__((weak)) char shared[1] = {9};", &["-fPIC"]);
    for flags in [&["-O0", "-fcommon"][..], &["-O2", "-fPIC", "-fcommon"]] {
        let [small, large] = [small, large].map(|source| c(source, flags));
        for objects in [[&*small, &*large, &*weak], [&*weak, &*large, &*small]] {
            let made = merged(&objects);
            assert_eq!(set_and_get(&made, 42), 42, "{flags:?}");
            assert_eq!(made.export("shared").unwrap().size, 4000);
            // The linked module is an input like the others.
            let again = linked(&[("small.o", &small), ("other.smf", packed(&large).bytes())]);
            assert_eq!(set_and_get(&again, 43), 43, "{flags:?}");
        }
        let again = merged(&[&large]);
        let again = linked(&[("a.smf", again.bytes()), ("b.smf", packed(&small).bytes())]);
        assert_eq!(set_and_get(&again, 44), 44);
    }
}

#[test]
fn definition_takes_precedence_over_the_common_symbol_of_a_module() {
    let common = c("int shared; long get(void) { return shared; }", &["-O1", "-fcommon"]);
    let strong = c("int shared = 40; long set(long x) { shared += x; return 0; }", &["-O1"]);
    for objects in [[&*common, &*strong], [&*strong, &*common]] {
        assert_eq!(set_and_get(&merged(&objects), 2), 42);
    }
}

/// The names of linkers for the ends of code and data, as in a shared object.
#[test]
fn ends_of_code_and_data_are_those_of_the_module() {
    let source = "extern char _etext[], _edata[], __bss_start[], _end[], etext[], edata[], end[];
        long initialised[5] = {1, 2, 3, 4, 5}; char zeroes[33];
        static int between(const void *at, const char *from, const char *to) { return (char *)at >= from && (char *)at < to; }
        long check(void) {
            return (char *)check < _etext && between(initialised, _etext, _edata)
                && between(zeroes, __bss_start, _end) && between(zeroes + 32, __bss_start, _end)
                && _edata == __bss_start && _end - zeroes < 64
                && end == _end && edata == _edata && etext == _etext; }
        long zero(void) { zeroes[0] = 1; return 0; }";
    in_every_form(&c(source, &["-O1"]), |made| {
        assert_eq!(run(made, "check", &[]), 1);
    });
    // Without data, they are the end of the code.
    let code = "extern char _etext[], _end[], _edata[]; long check(void) { return _end == _etext && _edata == _end; }";
    let object = c(code, &["-O1", "-fno-asynchronous-unwind-tables"]);
    for layout in [Layout::Packed, Layout::Native] {
        let options = Options { layout, ..Options::default() };
        assert_eq!(run(&try_pack(&[("a.o", &object)], &options).unwrap(), "check", &[]), 1);
    }
}

/// The names without an underscore are defined only where no input defines them, as linkers do.
#[test]
fn linker_name_that_other_modules_may_have_is_defined_with_a_warning() {
    let source = |name| format!("extern char {name}[]; char *f(void) {{ return {name}; }}");
    for name in ["end", "edata", "etext"] {
        let warning = PackWarning::LinkerDefined { name: name.to_owned() };
        assert_eq!(packed(&c(&source(name), &["-O1", "-fPIC"])).warnings, [warning]);
    }
    assert_eq!(packed(&c(&source("_end"), &["-O1", "-fPIC"])).warnings, []);
}

#[test]
fn own_symbol_called_end_takes_precedence() {
    let source = "extern long end; long read(void) { return end; }";
    let [user, definer] = [c(source, &["-O1"]), c("long end = 7;", &[])];
    assert_eq!(run(&linked(&[("a.o", &user), ("b.o", &definer)]), "read", &[]), 7);
}

#[test]
fn elf_header_is_refused_by_name() {
    let source = |attributes| {
        let declared = format!("extern char __ehdr_start[] __attribute__(({attributes}));");
        c(&format!("{declared} char *header(void) {{ return __ehdr_start; }}"), &["-fPIC"])
    };
    for attributes in ["", "visibility(\"hidden\")"] {
        let error = refusal(&source(attributes));
        let expected = "refers to `__ehdr_start`, which denotes the ELF header of the image";
        assert!(error.contains(expected), "{error}");
    }
    let weak = packed(&source("weak, visibility(\"hidden\")"));
    assert_eq!(run(&weak, "header", &[]), 0);
}

#[test]
fn c_objects_run() {
    for flags in [&["-O0"][..], &["-O2"], &["-O2", "-fPIC"], &["-O3", "-fPIC", "-fno-plt"]] {
        in_every_form(&c(PROGRAM, flags), |made| {
            for (name, args, expected) in [
                ("crc", &[][..], 0xcbf4_3926),
                ("jump", &[0], 0xcbf4_3926),
                ("jump", &[2], 1),
                ("jump", &[4], 50),
                ("jump", &[9], 99),
                ("sorted", &[3], 7),
                ("area", &[10], 31415),
                ("count", &[3], 6),
                ("letter", &[2, 1], i64::from(b'w')),
                ("missing", &[], 7),
                ("no_data", &[], 1),
            ] {
                assert_eq!(run(made, name, args), expected, "{name} {args:?} {flags:?}");
            }
        });
    }
}

#[test]
fn rust_objects_run() {
    let source = r#"
        #![no_std]
        #[panic_handler]
        fn panic(_: &core::panic::PanicInfo) -> ! { loop {} }
        trait Shape { fn area(&self) -> i64; }
        struct Square(i64);
        struct Pair(i64, i64);
        impl Shape for Square { fn area(&self) -> i64 { self.0.wrapping_mul(self.0) } }
        impl Shape for Pair { fn area(&self) -> i64 { self.0.wrapping_mul(self.1) } }
        static SHAPES: [&(dyn Shape + Sync); 2] = [&Square(3), &Pair(4, 5)];
        #[unsafe(no_mangle)]
        pub extern "C" fn areas(first: i64) -> i64 {
            let shapes = core::hint::black_box(&SHAPES);
            shapes.iter().fold(first, |sum, shape| sum.wrapping_add(shape.area()))
        }
        #[unsafe(no_mangle)]
        pub extern "C" fn name(at: i64) -> i64 {
            let name = match at { 0 => "zero", 1 => "one", 2 => "two", 3 => "three", _ => "many" };
            core::hint::black_box(name).bytes().fold(0, |sum, byte| sum ^ i64::from(byte))
        }
    "#;
    for level in ["opt-level=1", "opt-level=3"] {
        in_every_form(&rust(source, &["-C", level]), |made| {
            assert_eq!(run(made, "areas", &[100]), 129, "{level}");
            let name = b"three".iter().fold(0, |sum, byte| sum ^ i64::from(*byte));
            assert_eq!(run(made, "name", &[3]), name, "{level}");
        });
    }
}

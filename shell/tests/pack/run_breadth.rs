//! Execution of packed modules with imported data at any distance, in large code models, and with indirect functions.
#![allow(unsafe_code)]

use std::mem::offset_of;

use smf_core::format::error::ExtensionError;
use smf_core::format::{FormatError, Smf};
use smf_core::link::{Image, LinkError, Module, NoImports};
use smf_core::trap::call;
use smf_loader::pack::{Algorithm, Options};

use crate::breadth::{IFUNC, MODELS};
use crate::made::{asm, c, packed, try_pack};

fn run(module: &Module<'_>, name: &str, args: &[i64]) -> i64 {
    let address = module.function(name.as_bytes()).unwrap();
    // SAFETY: the functions of these tests take integers, as many as are passed, and return one.
    unsafe { call(address, args) }.unwrap()
}

extern "C" fn triple(x: i64) -> i64 {
    3 * x
}

#[test]
fn large_code_models_run() {
    let import = |name: &[u8]| {
        (name == b"far_call").then_some(triple as extern "C" fn(i64) -> i64 as usize as u64)
    };
    for flags in [
        &["-O2", "-mcmodel=medium"][..],
        &["-O2", "-mcmodel=medium", "-fPIC"],
        &["-O2", "-mcmodel=large", "-fno-pie"],
        &["-O2", "-mcmodel=large", "-fPIC"],
        &["-O0", "-mcmodel=large", "-fPIC"],
    ] {
        let made = packed(&c(MODELS, flags));
        let smf = made.smf();
        let module = Image::map(&smf).unwrap().link(&import).unwrap();
        assert_eq!(run(&module, "sum", &[0]), 3 + 4 + 1, "{flags:?}");
        assert_eq!(run(&module, "sum", &[5]), 3 + 5 + 6);
        assert_eq!(run(&module, "through", &[5]), 3 + 10 + 6);
        assert_eq!(run(&module, "outside", &[7]), 21);
    }
}

#[test]
fn indirect_function_calls_what_its_resolver_returns() {
    for flags in [&["-O1"][..], &["-O1", "-fPIC"], &["-O0", "-fno-pie"]] {
        for (source, sum) in [(IFUNC.to_owned(), 6), (IFUNC.replace("choice = 1", "choice = 0"), 7)]
        {
            let made = packed(&c(&source, flags));
            let smf = made.smf();
            let module = Image::map(&smf).unwrap().link(&NoImports).unwrap();
            for name in ["add", "call", "call_local"] {
                assert_eq!(run(&module, name, &[5]), sum, "{name} {flags:?}");
            }
            // One address for the function, wherever it is taken.
            let address = run(&module, "address", &[]);
            assert_eq!(Some(address.cast_unsigned()), module.function(b"add"));
            let pointer = module.symbol(b"pointer").unwrap() as *const i64;
            // SAFETY: the module exports a pointer of this name and stays loaded.
            assert_eq!(unsafe { pointer.read() }, address);
        }
    }
}

#[test]
fn slots_of_indirect_functions_are_not_compressed() {
    let function = |n| {
        format!(
            "static int t{n}(void) {{ return {n}; }} static void *r{n}(void) {{ return (void *)t{n}; }}
             int p{n}(void) __attribute__((ifunc(\"r{n}\"))); "
        )
    };
    let functions: String = (0..16).map(function).collect();
    let calls: String = (0..16).map(|n| format!(" + p{n}()")).collect();
    let object =
        c(&format!("{functions} long call(void) {{ return 0{calls}; }}"), &["-O1", "-fPIC"]);
    for algorithm in [Algorithm::Zstd, Algorithm::Lz4] {
        let options = Options { compress: Some(algorithm), ..Options::default() };
        let made = try_pack(&[("a.o", &object)], &options).unwrap();
        assert!(!made.section(".igot").is_compressed());
        let smf = made.smf();
        let module = Image::map(&smf).unwrap().link(&NoImports).unwrap();
        assert_eq!(run(&module, "call", &[]), 120);
    }
}

#[test]
fn module_with_indirect_functions_without_slots_is_malformed() {
    let mut bytes = packed(&c(IFUNC, &["-O1"])).bytes().to_vec();
    assert_eq!(Smf::parse(&bytes).unwrap().verify(), Ok(()));
    let names: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(b".igot")).collect();
    names.into_iter().for_each(|at| bytes[at + 1] = b'j');
    let error = Smf::parse(&bytes).unwrap().verify().unwrap_err();
    let expected = |error| matches!(error, ExtensionError::IndirectFunctions { .. });
    assert!(matches!(error, FormatError::Extension(error) if expected(error)), "{error}");
}

#[test]
fn indirect_function_without_a_resolver_in_the_module_is_refused() {
    let refused = |smf: &Smf<'_>| Image::map(smf).unwrap().link(&NoImports).err().unwrap();
    let refused_bytes = |bytes: &[u8]| refused(&Smf::parse(bytes).unwrap());
    let null = asm(".text\n.globl f\n.type f, @gnu_indirect_function\nf: xorl %eax, %eax\nret\n");
    assert_eq!(refused(&packed(&null).smf()), LinkError::IndirectFunction { index: 0 });
    // The slot holds the address of a datum, which is no code.
    let made = packed(&c(IFUNC, &["-O1"]));
    let mut bytes = made.bytes().to_vec();
    let slot = usize::try_from(made.section(".igot").offset).unwrap();
    let datum = made.plan_offset(made.section(".data").index).unwrap();
    bytes[slot..slot + 8].copy_from_slice(&datum.to_le_bytes());
    assert_eq!(refused_bytes(&bytes), LinkError::IndirectFunction { index: 0 });
    // The same by a relocation.
    let made = made.without_relative();
    let mut bytes = made.bytes().to_vec();
    let (reloc, data) = (made.relocs(".igot", false).remove(0).0, made.symbols());
    let data = data.iter().position(|symbol| symbol.name() == b".data").unwrap() as u32;
    let table = made.section(".rela.igot");
    let at = table.offset as usize;
    assert_eq!(bytes[at..at + 8], reloc.offset.to_le_bytes());
    bytes[at + 8..at + 12].copy_from_slice(&data.to_le_bytes());
    assert_eq!(refused_bytes(&bytes), LinkError::IndirectFunction { index: 0 });
}

const FAR: &str = r#"
    extern long value; extern int counter; extern double ratio; extern unsigned char bytes[16];
    extern struct { long a, b; } pair; extern __int128 wide;
    long load(void) { return value; }
    long store(long x) { value = x; return x; }
    long test(void) { return counter == 7 ? 1 : counter > 7 ? 2 : 3; }
    long count(long by) { counter++; counter += by; return counter; }
    long half(void) { return (long)(ratio / 2); }
    long third(void) { return bytes[3]; }
    long second(void) { return pair.b; }
    long copy(void) { pair.a = pair.b; return pair.a; }
    long leaf(long a, long b) { long c = a * 3, d = b * 5; value = c; pair.a = d; return c + d + value + pair.a; }
    long large(void) { wide += 1; return (long)(wide >> 64); }
    extern long table[4]; long triple(long);
    long at(long i) { return table[i]; }
    long *address(long i) { return &table[i]; }
    long is_triple(long (*f)(long)) { return f == triple; }
    void *function(void) { return triple; }
    long through(long x) { long (*volatile f)(long) = triple; return f(x); }
    extern long (*callback)(long);
    long call_back(long x) { return callback(x) + 1; }
    long jump_back(long x) { return callback(x); }
    long atomic(long x) { return __atomic_fetch_add(&value, x, __ATOMIC_SEQ_CST); }
"#;

/// The data of the host, on the heap, which is far from modules or near them.
#[repr(C, align(16))]
struct Data {
    wide: u128,
    bytes: [u8; 16],
    pair: [i64; 2],
    table: [i64; 4],
    callback: extern "C" fn(i64) -> i64,
    value: i64,
    ratio: f64,
    counter: i32,
}

#[test]
fn imported_data_at_any_distance_is_accessed() {
    for flags in
        [&["-O2", "-fpie"][..], &["-O0", "-fpie"], &["-O2", "-fpie", "-mavx"], &["-O1", "-fno-pie"]]
    {
        let made = packed(&c(FAR, flags));
        let new = || Data {
            wide: u128::from(u64::MAX),
            bytes: [9; 16],
            pair: [1, 2],
            table: [10, 11, 12, 13],
            callback: triple,
            value: 100,
            ratio: 9.0,
            counter: 7,
        };
        // Far below the module, or where the kernel puts it.
        let size = smf_core::memory::PageCount::one();
        for placement in
            [smf_core::memory::Placement::Low2GiB, smf_core::memory::Placement::Anywhere]
        {
            let mut pages = smf_core::memory::WritablePages::allocate(size, placement).unwrap();
            let data = pages.as_mut_slice().as_mut_ptr().cast::<Data>();
            // SAFETY: a page is large enough, aligned, and used through this pointer alone until the end of the block.
            unsafe { data.write(new()) };
            let start = data.expose_provenance();
            let address = |name: &[u8]| {
                let offset = match name {
                    b"wide" => offset_of!(Data, wide),
                    b"bytes" => offset_of!(Data, bytes),
                    b"pair" => offset_of!(Data, pair),
                    b"value" => offset_of!(Data, value),
                    b"callback" => offset_of!(Data, callback),
                    b"table" => offset_of!(Data, table),
                    b"ratio" => offset_of!(Data, ratio),
                    b"counter" => offset_of!(Data, counter),
                    b"triple" => return Some(triple as extern "C" fn(i64) -> i64 as usize as u64),
                    _ => return None,
                };
                Some((start + offset) as u64)
            };
            let smf = made.smf();
            let module = Image::map(&smf).unwrap().link(&address).unwrap();
            let is = |name, args: &[i64], result| {
                assert_eq!(run(&module, name, args), result, "{name} {flags:?}")
            };
            is("load", &[], 100);
            is("store", &[-5], -5);
            is("load", &[], -5);
            is("test", &[], 1);
            is("count", &[10], 18);
            is("test", &[], 2);
            is("half", &[], 4);
            is("third", &[], 9);
            is("second", &[], 2);
            is("copy", &[], 2);
            is("leaf", &[2, 3], 42);
            is("large", &[], 1);
            is("atomic", &[4], 6);
            is("load", &[], 10);
            is("at", &[3], 13);
            is("call_back", &[4], 13);
            is("jump_back", &[4], 12);
            let table = address(b"table").unwrap().cast_signed();
            is("address", &[2], table + 16);
            let triple = address(b"triple").unwrap().cast_signed();
            is("function", &[], triple);
            is("is_triple", &[triple], 1);
            is("through", &[5], 15);
        }
    }
}

#[test]
fn module_of_data_alone_is_loaded_and_aligned() {
    let source = "const int table[3] = {1, 2, 3}; _Alignas(65536) long far[2] = {7, 8}; _Alignas(2097152) char zeroes[5];";
    let made = packed(&c(source, &["-fdata-sections"]));
    let smf = made.smf();
    let module = Image::map(&smf).unwrap().link(&NoImports).unwrap();
    assert_eq!(module.symbol(b"far").unwrap() % 65536, 0);
    assert_eq!(module.symbol(b"zeroes").unwrap() % (2 << 20), 0);
    let far = module.symbol(b"far").unwrap() as *const [i64; 2];
    // SAFETY: the module exports two integers of this name and stays loaded.
    assert_eq!(unsafe { far.read() }, [7, 8]);
    assert_eq!(module.code().count(), 0);
}

#[test]
fn table_before_its_start_is_addressed_by_a_sign_extended_address() {
    let source = "long table[4] = {5, 6, 7, 8}; long from_one(long i) { return table[i - 1]; }";
    let object = c(source, &["-O2", "-fno-pie"]);
    let made = try_pack(&[("a.o", &object)], &Options::default()).unwrap();
    let smf = made.smf();
    let module = Image::map(&smf).unwrap().link(&NoImports).unwrap();
    assert_eq!((run(&module, "from_one", &[1]), run(&module, "from_one", &[4])), (5, 8));
}

/// What code for an executable takes the addresses of: data and functions of the host, and its own tables.
const FIXED: &str = r#"
    extern long host_data[], host_fn(long), (*host_table[])(long); extern int host_ints[];
    extern char host_bytes[]; extern double host_ratios[];
    static const long own[] = {3, 1, 4, 1, 5}; static int counters[8];
    long *kept; long (*kept_fn)(long); struct pair { long *data; long (*fn)(long); };
    __attribute__((noinline, noipa)) static long many(long a, long b, long c, long d, long e, long f, long *g, long (*h)(long)) {
        return a + b + c + d + e + f + g[1] + h(2); }
    long pushed(void) { return many(1, 2, 3, 4, 5, 6, host_data, host_fn); }
    long stored(void) { kept = host_data; kept_fn = host_fn; return kept_fn(kept[2]); }
    __attribute__((noinline, noipa)) static void fill(struct pair *p) { p->data = host_data + 1; p->fn = host_fn; }
    long filled(void) { struct pair p; fill(&p); return p.fn(*p.data); }
    long called(long i) { return host_table[i](i) + 1; }
    long jumped(long i, long x) { return host_table[i](x); }
    long is_data(long *p) { return p == host_data; }
    long is_fn(struct pair *p) { return p->fn == host_fn; }
    long index(long *p) { return p - host_data; }
    long counted(long i) { host_ints[i]++; host_data[3] += i; host_bytes[i] = 7; counters[i & 7] += 2;
        return host_ints[i] * 100 + host_bytes[i] * 10 + counters[i & 7]; }
    long halved(long i) { return (long)(host_ratios[i] * 2 + host_ratios[i + 1]); }
    long scaled(long n) { for (long i = 0; i < n; i++) host_ints[i + 4] *= 3; return host_ints[5]; }
    long switched(long i) { switch (i) { case 0: return own[i]; case 1: return host_data[1]; case 2: return 17;
        case 3: return host_fn(3); case 4: return own[4]; case 5: return -1; default: return counters[i & 7]; } }
    const char *names[] = {"one", "two", "three"};
    long named(long i) { return names[i][1]; }
    long *data(void) { return host_data; }
    void *function(void) { return host_fn; }
"#;

/// The host: in the low 2 GiB if it is for an executable.
const FIXED_HOST: &str = r#"
    long host_data[4] = {10, 11, 12, 13}; long host_fn(long x) { return 3 * x; }
    static long other(long x) { return 5 * x; } long (*host_table[])(long) = {host_fn, other};
    int host_ints[16] = {1, 2, 3, 4, 5, 6}; char host_bytes[16]; double host_ratios[] = {1.5, 2.5, 3.5};
    long in_host(long i) { return host_data[i]; }
"#;

#[test]
fn position_dependent_code_addresses_imports_below_2_gib() {
    for level in ["-O0", "-O1", "-O2", "-Os", "-O3"] {
        let made = packed(&c(FIXED, &[level, "-fno-pic", "-fno-pie"]));
        let host = packed(&c(FIXED_HOST, &["-O1", "-fno-pic", "-fno-pie"]));
        let (host, smf) = (host.smf(), made.smf());
        let host = Image::map(&host).unwrap().link(&NoImports).unwrap();
        let address = |name: &[u8]| host.symbol(name);
        let module = Image::map(&smf).unwrap().link(&address).unwrap();
        let data = address(b"host_data").unwrap().cast_signed();
        let function = address(b"host_fn").unwrap().cast_signed();
        assert!(data < 1 << 31 && function < 1 << 31, "the host has no 32-bit addresses");
        let pair = [data, function];
        let is = |name, args: &[i64], result| {
            assert_eq!(run(&module, name, args), result, "{name} {level}");
        };
        is("pushed", &[], 21 + 11 + 6);
        is("stored", &[], 36);
        is("filled", &[], 33);
        is("called", &[1], 6);
        is("jumped", &[0, 7], 21);
        is("is_data", &[data], 1);
        is("is_data", &[data + 8], 0);
        is("is_fn", &[pair.as_ptr().expose_provenance().cast_signed() as i64], 1);
        is("index", &[data + 24], 3);
        is("counted", &[1], 372);
        is("counted", &[1], 474);
        is("halved", &[1], 8);
        is("scaled", &[2], 18);
        for (case, result) in [(0, 3), (1, 11), (2, 17), (3, 9), (4, 5), (5, -1), (9, 4)] {
            is("switched", &[case], result);
        }
        is("named", &[2], i64::from(b'h'));
        is("data", &[], data);
        is("function", &[], function);
        assert_eq!(run(&host, "in_host", &[3]), 13 + 2);
    }
}

#[test]
fn import_above_2_gib_of_position_dependent_code_is_refused_with_the_remedy() {
    let host = packed(&c(FIXED_HOST, &["-O1", "-fPIC"]));
    let host = host.smf();
    let host = Image::map(&host).unwrap().link(&NoImports).unwrap();
    let address = |name: &[u8]| host.symbol(if name == b"many" { b"host_fn" } else { name });
    // Instructions that cannot be moved: `call *host_table(,%rdi,8)` and `push $host_fn`.
    let push = "extern long host_fn(long);
        long many(long, long, long, long, long, long, long (*)(long), long);
        long f(void) { return many(1, 2, 3, 4, 5, 6, host_fn, 8) + 1; }";
    for (source, name) in [
        (
            "extern long (*host_table[])(long); long f(long i) { return host_table[i](i); }",
            "host_table",
        ),
        (push, "host_fn"),
    ] {
        let made = packed(&c(source, &["-O2", "-fno-pic", "-fno-pie"]));
        let warning = made.warnings.iter().map(ToString::to_string).find(|w| w.contains(name));
        let expected =
            format!("a.o, section `.text`: holds the address of the import `{name}` in 32 bits");
        assert!(warning.unwrap().starts_with(&expected));
        let smf = made.smf();
        let error = Image::map(&smf).unwrap().link(&address).err().unwrap().to_string();
        let start = format!("the relocation abs32s against the import `{name}` cannot reach 0x");
        assert!(error.starts_with(&start), "{error}");
        let end =
            "because it holds 32 bits of an address; compile the objects that use it with -fPIC";
        assert!(error.ends_with(end), "{error}");
    }
}

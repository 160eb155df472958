//! Execution of packed modules with imported data at any distance, in large code models, and with indirect functions.
#![allow(unsafe_code)]

use std::mem::offset_of;

use smf_core::link::{Image, LinkError, Module, NoImports};
use smf_core::trap::call;
use smf_loader::pack::Options;

use crate::breadth::{IFUNC, MODELS};
use crate::made::{Made, asm, c, packed, try_pack};

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
fn indirect_function_without_a_resolver_in_the_module_is_refused() {
    let refused = |made: &Made| Image::map(&made.smf()).unwrap().link(&NoImports).err().unwrap();
    let null = asm(".text\n.globl f\n.type f, @gnu_indirect_function\nf: xorl %eax, %eax\nret\n");
    assert_eq!(refused(&packed(&null)), LinkError::IndirectFunction { index: 0 });
    // The slot holds the address of a datum, which is no code.
    let made = packed(&c(IFUNC, &["-O1"]));
    let mut bytes = made.bytes().to_vec();
    let (reloc, data) = (made.relocs(".igot", false).remove(0).0, made.symbols());
    let data = data.iter().position(|symbol| symbol.name() == b".data").unwrap() as u32;
    let table = made.section(".rela.igot");
    let at = table.offset as usize;
    assert_eq!(bytes[at..at + 8], reloc.offset.to_le_bytes());
    bytes[at + 8..at + 12].copy_from_slice(&data.to_le_bytes());
    let error =
        Image::map(&smf_core::format::Smf::parse(&bytes).unwrap()).unwrap().link(&NoImports);
    assert_eq!(error.err(), Some(LinkError::IndirectFunction { index: 0 }));
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

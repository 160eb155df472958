//! C and Rust programs, compiled here, packed, loaded and called.
//!
//! Each program is compiled with several options and packed into both layouts; each result is compared with a
//! computation in this file.
#![allow(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

use smf_core::format::{Layout, Smf};
use smf_core::link::{Image, Module};

use smf_core::trap::call;
use smf_loader::host_symbols::HostSymbols;
use smf_loader::pack::{Input, Options, PackError, pack};
use smf_tests::compile::{Compiler, scratch, smf};
use smf_tests::skip::skip;
use smf_tests::wrap::wrap;

/// The optimisation level and additional options of a compiler.
type Way = (u8, &'static [&'static str]);

const C_WAYS: [Way; 5] =
    [(0, &[]), (2, &[]), (2, &["-fPIC"]), (0, &["-fno-pie"]), (2, &["-fno-pie"])];
const RUST_WAYS: [Way; 3] = [(0, &[]), (2, &[]), (2, &["-Crelocation-model=static"])];

/// Options for 32-bit addresses. Some of these cannot be expressed, and then the error tells the user
/// what to do.
const STATIC: [&str; 2] = ["-fno-pie", "-Crelocation-model=static"];

/// Whether the machine code of the compilers here can be called.
fn can_run() -> bool {
    let can = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));
    if !can {
        skip("objects are packed for x86-64 and aarch64 alone");
    }
    can
}

/// A loaded module.
struct Program<'d>(Module<'d>);

impl Program<'_> {
    fn address(&self, name: &str) -> u64 {
        self.0.symbol(name.as_bytes()).unwrap_or_else(|| panic!("there is no {name}"))
    }

    fn call(&self, name: &str, arguments: &[i64]) -> i64 {
        let address = self.0.function(name.as_bytes()).unwrap_or_else(|| panic!("no {name}"));
        // SAFETY: the functions are those of the programs of this test, called with their declared types.
        unsafe { call(address, arguments) }.unwrap()
    }

    /// The integer that the program exports.
    fn datum(&self, name: &str) -> i64 {
        let place = self.address(name) as *const i64;
        // SAFETY: the programs export only functions and integers, and stay loaded meanwhile.
        unsafe { place.read() }
    }
}

fn address_of<T>(values: &[T]) -> i64 {
    values.as_ptr().addr().cast_signed() as i64
}

/// Compiles the sources with all options, packs each result into both layouts, loads it and passes it to
/// `check`. An object without imports from others is also loaded unpacked.
fn with_every(sources: &[&str], check: impl Fn(&Program<'_>)) {
    let ways = match Compiler::of(Path::new(sources[0])) {
        Compiler::Gcc => &C_WAYS[..],
        Compiler::Rustc => &RUST_WAYS[..],
    };
    for &way in ways {
        let directory = scratch();
        let Some(objects) = compile(sources, way, directory.path()) else { return };
        for layout in [Layout::Packed, Layout::Native] {
            println!("{sources:?} -O{} {:?} {}", way.0, way.1, layout.name());
            let is_static = way.1.iter().any(|argument| STATIC.contains(argument));
            let module = match pack_objects(&objects, layout) {
                Ok(module) => module,
                // Fixed addresses need Abs32, which only the packed layout has.
                Err(error) if is_static && layout == Layout::Native => {
                    assert!(error.to_string().contains("compile with -fPIC"), "{error}");
                    continue;
                }
                Err(error) => panic!("{error}"),
            };
            let host = HostSymbols::of_process().unwrap();
            let smf = Smf::parse(&module).unwrap();
            smf.verify().unwrap();
            check(&Program(Image::map(&smf).unwrap().link(&host).unwrap()));
        }
        if let [object] = &objects[..] {
            println!("{sources:?} -O{} {:?} as it is", way.0, way.1);
            let module = wrap(&fs::read(object).unwrap(), Layout::Packed, 0, &[]);
            let smf = Smf::parse(&module).unwrap();
            smf.verify().unwrap();
            let host = HostSymbols::of_process().unwrap();
            check(&Program(Image::map(&smf).unwrap().link(&host).unwrap()));
        }
    }
}

/// The objects of the sources; `None` if the machine has no compiler for them.
fn compile(sources: &[&str], (level, extra): Way, directory: &Path) -> Option<Vec<PathBuf>> {
    let programs = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs"));
    if !can_run() {
        return None;
    }
    let compiled = sources.iter().map(|source| {
        let source = programs.join(source);
        let object = directory.join(source.file_name().unwrap()).with_extension("o");
        let there = Compiler::of(&source).compile(&source, level, extra, &object);
        there.then_some(object)
    });
    compiled.collect()
}

fn pack_objects(objects: &[PathBuf], layout: Layout) -> Result<Vec<u8>, PackError> {
    let files: Vec<_> = objects.iter().map(|path| (path, fs::read(path).unwrap())).collect();
    let inputs: Vec<_> =
        files.iter().map(|(path, data)| Input { name: path.to_str().unwrap(), data }).collect();
    let options = Options { layout, ..Options::default() };
    pack(&inputs, &options).map(|packed| packed.bytes)
}

fn crc32(data: &[u8]) -> i64 {
    let step = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    let crc = data
        .iter()
        .fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)));
    i64::from(!crc)
}

fn check_crc32(program: &Program<'_>) {
    assert_eq!(program.call("crc32_of_digits", &[]), 0xcbf4_3926);
    for len in [0, 1, 2, 255, 1000] {
        let data: Vec<u8> = (0..len).map(|i| u8::try_from(i * 31 % 251).unwrap()).collect();
        assert_eq!(program.call("crc32", &[address_of(&data), len]), crc32(&data));
    }
}

#[test]
fn crc32_over_a_table_in_c() {
    with_every(&["crc32.c"], check_crc32);
}

#[test]
fn crc32_over_a_table_in_rust() {
    with_every(&["crc32.rs"], check_crc32);
}

/// Even numbers first, then by size: an order that only the callback can define.
extern "C" fn even_first(a: i64, b: i64) -> i64 {
    (a & 1, a).cmp(&(b & 1, b)) as i64
}

fn check_quicksort(program: &Program<'_>) {
    for len in [0, 1, 2, 3, 100, 1000] {
        let values: Vec<i64> = (0..len).map(|i| (i * 7919 + 13) % 101 - 50).collect();
        let (mut sorted, mut expected) = (values.clone(), values.clone());
        expected.sort_by_key(|value| (value & 1, *value));
        let compare = (even_first as extern "C" fn(i64, i64) -> i64) as usize as i64;
        let place = sorted.as_mut_ptr().expose_provenance().cast_signed() as i64;
        program.call("quicksort", &[place, len, compare]);
        assert_eq!(sorted, expected);

        expected.sort_by(|a, b| b.cmp(a));
        let place = sorted.as_mut_ptr().expose_provenance().cast_signed() as i64;
        program.call("sort_downwards", &[place, len]);
        assert_eq!(sorted, expected);
    }
}

#[test]
fn quicksort_with_callback_in_c_sorts() {
    with_every(&["quicksort.c"], check_quicksort);
}

#[test]
fn quicksort_with_callback_in_rust_sorts() {
    with_every(&["quicksort.rs"], check_quicksort);
}

fn check_jump_table(program: &Program<'_>) {
    for (a, b) in [(100, 7), (-100, 7), (3, 0), (0, 0), (1 << 40, 5)] {
        let expected = [
            a + b,
            a - b,
            a * b,
            i64::checked_div(a, b).unwrap_or(0),
            a & b,
            a | b,
            a ^ b,
            a << (b & 31),
            a >> (b & 31),
            i64::from(a < b),
            -1,
            -1,
        ];
        for (operation, expected) in (0..).zip(expected) {
            assert_eq!(
                program.call("calculate", &[operation, a, b]),
                expected,
                "{operation} {a} {b}"
            );
        }
        assert_eq!(program.call("calculate", &[-1, a, b]), -1);
    }
}

#[test]
fn jump_table_in_c_selects_the_case() {
    with_every(&["jump_table.c"], check_jump_table);
}

#[test]
fn jump_table_in_rust_selects_the_case() {
    with_every(&["jump_table.rs"], check_jump_table);
}

fn check_floats(program: &Program<'_>) {
    for value in [0, 1, -1, 2, 17, -1000] {
        let radius = value as f64;
        let circle = (std::f64::consts::PI * radius * radius * 1000.0) as i64;
        assert_eq!(program.call("circle_in_thousandths", &[value]), circle);
        assert_eq!(program.call("mirrored", &[value]), value * -500 + value * -25);
    }
}

#[test]
fn float_constants_in_c_are_loaded() {
    with_every(&["floats.c"], check_floats);
}

#[test]
fn float_constants_in_rust_are_loaded() {
    with_every(&["floats.rs"], check_floats);
}

fn check_state(program: &Program<'_>) {
    assert_eq!([1, 2, 3].map(|by| program.call("bump", &[by])), [101, 103, 106]);
    for index in [0, 1, 999] {
        assert_eq!(program.call("record", &[index, index + 5]), 0);
    }
    for index in [0, 1, 999] {
        assert_eq!(program.call("record", &[index, 0]), index + 5);
    }
    assert_eq!((program.datum("exported"), program.datum("exported_zero")), (7, 0));
    assert_eq!(program.call("add_exported", &[10]), 17);
    assert_eq!((program.datum("exported"), program.datum("exported_zero")), (17, 10));
}

#[test]
fn data_keeps_its_value_in_c() {
    with_every(&["state.c"], check_state);
}

#[test]
fn data_keeps_its_value_in_rust() {
    with_every(&["state.rs"], check_state);
}

#[test]
fn function_in_another_object_is_called() {
    with_every(&["caller.c", "callee.c"], |program| {
        assert_eq!(program.call("scaled_sum", &[4, 5]), 27);
        assert_eq!(program.call("set_scale", &[10]), 3);
        assert_eq!(program.call("scaled_sum", &[4, 5]), 90);
        let word = |name| (0..5).map(|at| program.call("letter_of_name", &[name, at])).collect();
        let words: [Vec<i64>; 2] = [word(0), word(1)];
        assert_eq!(words, [b"major", b"minor"].map(|word| word.map(i64::from).to_vec()));
    });
}

#[test]
fn c_library_of_the_process_is_called() {
    with_every(&["libc.c"], |program| {
        assert_eq!(program.call("sorted_digits", &[0]), 12345);
        assert_eq!(program.call("sorted_digits", &[4]), 56789);
    });
}

/// The same on the command line: compile, pack, run.
#[test]
fn command_packs_and_runs_objects() {
    let directory = scratch();
    let ran = |module: &Path, arguments: &[&str]| {
        let output = smf([&["run", module.to_str().unwrap()], arguments].concat());
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{errors}");
        String::from_utf8(output.stdout).unwrap()
    };
    for layout in ["packed", "native"] {
        let Some(objects) = compile(&["libc.c"], (2, &[]), directory.path()) else { return };
        let module = directory.path().join(layout);
        let packed = smf([
            "pack".as_ref(),
            objects[0].as_os_str(),
            "-o".as_ref(),
            module.as_os_str(),
            "--layout".as_ref(),
            layout.as_ref(),
        ]);
        assert!(packed.status.success(), "{}", String::from_utf8_lossy(&packed.stderr));
        assert_eq!(ran(&module, &["sorted_digits", "0", "--host-symbols"]), "12345\n");
        let alone =
            smf(["run".as_ref(), module.as_os_str(), "sorted_digits".as_ref(), "0".as_ref()]);
        let errors = String::from_utf8(alone.stderr).unwrap();
        assert_eq!(alone.status.code(), Some(1));
        for name in ["malloc", "memcpy", "qsort", "snprintf", "strtol", "free"] {
            // Calls of `memcpy` are generated by the compiler and need no import.
            assert!(errors.contains(name) || name == "memcpy", "{name} is not in {errors}");
        }
    }
    assert_eq!(ran(&smf_tests::sample("packed.smf").path(), &["answer"]), "42\n");
}

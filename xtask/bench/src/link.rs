//! Loading and looking up: the same C code as a module and as a shared object.
//!
//! One generator writes the source: 1,000 exported functions that call each other, and a table of
//! 2,000 pointers to them, which makes 3,000 relocations. gcc compiles it once, to an object that is
//! linked into the shared object by gcc and into modules in two ways: as `smf pack` does it, which
//! settles all distances inside the module, and with all 3,000 relocations left to the loader.
#![allow(unsafe_code)]

use std::fmt::Write;
use std::fs;
use std::hint::black_box;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use libloading::os::unix::{Library, RTLD_LAZY, RTLD_LOCAL, RTLD_NOW};
use smf_core::format::{Smf, SymbolIndex};
use smf_core::link::{Image, Module, NoImports, call};
use smf_core::memory::{FileBytes, PagePool};
use smf_loader::pack::{Input, Options, pack};

use crate::measure::{Bench, Measure, Target, repeat, repeat_prepared};
use crate::object_to_smf;

const LOAD_PACKED: &str = "load 1,000 functions, as packed";
const LOAD_ALL: &str = "load 1,000 functions, 3,000 relocations left";
const LOAD_LAZY: &str = "load 1,000 functions, as packed, peer lazy";
const LOAD_FRESH: &str = "load 1,000 functions, as packed, fresh pages";
const HIT: &str = "look up one of 1,000 symbols";
const MISS: &str = "look up a symbol that is not there";
const FIRST: &str = "look up the first symbol after loading";
const HIT_IN_FILE: &str = "look up one of 1,000 symbols, index in the file";
const MISS_IN_FILE: &str = "look up a symbol that is not there, index in the file";
const FIRST_IN_FILE: &str = "look up the first symbol after loading, index in the file";

const FUNCTIONS: usize = 1000;
const POINTERS: usize = 2000;
const RELOCS: usize = FUNCTIONS + POINTERS;

/// The function that is called after loading, its argument and its result.
const CALLED: (&str, i64, i64) = ("function_500", 3, result_of(500, 3));

pub(crate) fn measure(bench: &mut Bench) {
    let lookups = [HIT, MISS, FIRST, HIT_IN_FILE, MISS_IN_FILE, FIRST_IN_FILE];
    if !bench.wants(&[LOAD_PACKED, LOAD_ALL, LOAD_LAZY, LOAD_FRESH]) && !bench.wants(&lookups) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let files = Files::build(directory.path());
    files.measure_loading(bench);
    files.measure_lookup(bench);
}

/// Which function a function calls.
const fn callee(number: usize) -> usize {
    (number * 7 + 1) % FUNCTIONS
}

/// What function `number` returns for `depth`; the oracle of the C code.
const fn result_of(number: usize, depth: i64) -> i64 {
    if depth > 0 { result_of(callee(number), depth - 1) + number as i64 } else { number as i64 }
}

/// The C source of both.
fn source() -> String {
    let mut c = String::from("typedef long i64;\n");
    for number in 0..FUNCTIONS {
        writeln!(c, "i64 function_{number}(i64);").unwrap();
    }
    for number in 0..FUNCTIONS {
        let callee = callee(number);
        writeln!(
            c,
            "i64 function_{number}(i64 depth) {{ return depth > 0 ? function_{callee}(depth - 1) + {number} : {number}; }}"
        )
        .unwrap();
    }
    writeln!(c, "i64 (*table[{POINTERS}])(i64) = {{").unwrap();
    for pointer in 0..POINTERS {
        writeln!(c, "function_{},", pointer * 13 % FUNCTIONS).unwrap();
    }
    c.push_str("};\n");
    c
}

struct Files {
    shared_object: PathBuf,
    packed: PathBuf,
    all_relocs: PathBuf,
}

impl Files {
    fn build(directory: &Path) -> Self {
        let path = |name| directory.join(name);
        fs::write(path("module.c"), source()).unwrap();
        let gcc = |arguments: &[&str]| {
            // The unwinding tables have relocations of their own, which a module has no use for.
            let common = ["-O2", "-fPIC", "-fno-asynchronous-unwind-tables"];
            let mut command = Command::new("gcc");
            let status = command.args(common).args(arguments).current_dir(directory).status();
            assert!(status.is_ok_and(|status| status.success()), "{command:?}");
        };
        gcc(&["-c", "module.c"]);
        gcc(&["-shared", "module.o", "-o", "module.so"]);
        let object = fs::read(path("module.o")).unwrap();

        let input = Input { name: "module.o", data: &object };
        let packed = pack(&[input], &Options::default()).unwrap().bytes;
        let all_relocs = object_to_smf::convert(&object);
        assert_eq!(relocs_in(&all_relocs), RELOCS);
        fs::write(path("packed.smf"), &packed).unwrap();
        fs::write(path("all.smf"), &all_relocs).unwrap();
        eprintln!(
            "relocations left to the loader: {} as packed, {RELOCS} with all",
            relocs_in(&packed)
        );
        Files {
            shared_object: path("module.so"),
            packed: path("packed.smf"),
            all_relocs: path("all.smf"),
        }
    }

    fn measure_loading(&self, bench: &mut Bench) {
        // What a loader that lives on does; the system's loader finds its pages in the page cache.
        let (kept, fresh) = (PagePool::new(1 << 20), PagePool::new(0));
        let mut against = |name, smf: &Path, pool, peer, flags, target| {
            let measure = Measure { name, peer, batches: 600, target, ..Measure::default() };
            let theirs = repeat(move || dlopen_and_call(&self.shared_object, flags));
            bench.take(&measure, repeat(move || load_and_call(smf, pool)), Some(theirs));
        };
        let target = Target::ratio(0.35);
        against(LOAD_PACKED, &self.packed, &kept, "dlopen, RTLD_NOW", RTLD_NOW, target);
        against(LOAD_ALL, &self.all_relocs, &kept, "dlopen, RTLD_NOW", RTLD_NOW, target);
        against(LOAD_LAZY, &self.packed, &kept, "dlopen, RTLD_LAZY", RTLD_LAZY, Target::NONE);
        against(LOAD_FRESH, &self.packed, &fresh, "dlopen, RTLD_NOW", RTLD_NOW, Target::NONE);
    }

    /// The module with all relocations left brings no index, that of `smf pack` does.
    fn measure_lookup(&self, bench: &mut Bench) {
        let without = Lookup { hit: (HIT, 20.0), miss: (MISS, 10.0), first: FIRST };
        let hit = (HIT_IN_FILE, 15.0);
        let with = Lookup { hit, miss: (MISS_IN_FILE, 8.0), first: FIRST_IN_FILE };
        for (path, indexed, lookup) in
            [(&self.all_relocs, false, without), (&self.packed, true, with)]
        {
            let file = FileBytes::read(path.as_os_str().as_bytes(), u64::MAX).unwrap();
            let symbols = Smf::parse(&file).unwrap().symbols();
            assert_eq!(SymbolIndex::of(symbols).unwrap().is_some(), indexed);
            lookup.measure(&file, &self.shared_object, bench);
        }
    }
}

/// The names of the lookups in one module, and what they may take.
struct Lookup {
    hit: (&'static str, f64),
    miss: (&'static str, f64),
    first: &'static str,
}

impl Lookup {
    fn measure(&self, file: &[u8], shared_object: &Path, bench: &mut Bench) {
        let module = load(file);
        // SAFETY: the library is the generated one, which has no initialisers.
        let library = unsafe { Library::open(Some(shared_object), RTLD_NOW | RTLD_LOCAL) };
        let library = library.unwrap();
        let (mut names, mut absent) = (shuffled("function_"), shuffled("functiom_"));
        // What dlsym wants has a NUL behind it.
        names.iter_mut().chain(&mut absent).for_each(|name| name.push('\0'));

        for ((name, target), names, found) in
            [(self.hit, &names, FUNCTIONS), (self.miss, &absent, 0)]
        {
            let ours = || names.iter().filter(|n| module.symbol(bare(n)).is_some()).count();
            // SAFETY: the symbol is not used.
            let get = |n: &String| unsafe { library.get::<*const ()>(n.as_bytes()) }.is_ok();
            let theirs = || names.iter().filter(|name| get(name)).count();
            assert_eq!((ours(), theirs()), (found, found));
            let per = names.len() as u64;
            let target = Target::nanoseconds(target);
            let measure = Measure { name, peer: "dlsym", per, target, ..Measure::default() };
            bench.take(&measure, repeat(ours), Some(repeat(theirs)));
        }
        let name = CALLED.0.as_bytes();
        let first = repeat_prepared(|| load(file), |module: &Module<'_>| module.symbol(name));
        bench.take(&Measure { name: self.first, ..Measure::default() }, first, None);
    }
}

fn bare(name: &str) -> &[u8] {
    name.as_bytes().strip_suffix(b"\0").unwrap_or(name.as_bytes())
}

/// As many names as there are functions, in an order that no cache can foresee.
fn shuffled(prefix: &str) -> Vec<String> {
    let mut order: Vec<usize> = (0..FUNCTIONS).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for at in (1..order.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let other = usize::try_from(state % (at as u64 + 1)).unwrap();
        order.swap(at, other);
    }
    order.into_iter().map(|number| format!("{prefix}{number}")).collect()
}

fn relocs_in(module: &[u8]) -> usize {
    let smf = Smf::parse(module).unwrap();
    smf.verify().unwrap();
    smf.reloc_tables().map(|table| table.unwrap().len()).sum()
}

fn load(file: &[u8]) -> Module<'_> {
    let smf = Smf::parse(file).unwrap();
    Image::place(&smf).unwrap().link(&NoImports).unwrap()
}

/// Opens, parses, places, links, looks up, calls, unloads.
fn load_and_call(path: &Path, pool: &PagePool) {
    let (name, argument, result) = CALLED;
    let file = FileBytes::read(path.as_os_str().as_bytes(), u64::MAX).unwrap();
    let smf = Smf::parse(&file).unwrap();
    let module = Image::place_in(&smf, pool).unwrap().link(&NoImports).unwrap();
    let function = module.symbol(name.as_bytes()).unwrap();
    // SAFETY: the code is the generated one, and its functions take one integer.
    let found = unsafe { call(function, &[black_box(argument)]) };
    assert_eq!(found.unwrap(), result);
}

/// The same with the system's loader.
fn dlopen_and_call(path: &Path, flags: i32) {
    let (name, argument, result) = CALLED;
    // SAFETY: the library is the generated one, which has no initialisers.
    let library = unsafe { Library::open(Some(path), flags | RTLD_LOCAL) }.unwrap();
    // SAFETY: the function is declared so in the generated source.
    let function = unsafe { library.get::<unsafe extern "C" fn(i64) -> i64>(name.as_bytes()) };
    let function = function.unwrap();
    // SAFETY: it takes one integer, and the library is open.
    assert_eq!(unsafe { function(black_box(argument)) }, result);
    library.close().unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_loading_gives_the_same_result() {
        let directory = tempfile::tempdir().unwrap();
        let files = Files::build(directory.path());
        load_and_call(&files.packed, &PagePool::new(0));
        load_and_call(&files.all_relocs, &PagePool::new(0));
        dlopen_and_call(&files.shared_object, RTLD_NOW);
        dlopen_and_call(&files.shared_object, RTLD_LAZY);
    }
}

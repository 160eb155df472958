//! Loading and lookup: the same C code as a module and as a shared object.
//!
//! One generator writes the source: 1,000 exported functions that call each other, and a table of
//! 2,000 pointers to them, with 3,000 relocations in total; or ten times as many of all. gcc compiles it
//! once, to an object. gcc links the object into the shared object. It becomes modules in two ways: by
//! `smf pack`, which resolves all distances inside the module, and with all relocations left to the
//! loader. The peers are the system's loader and one written in Rust, `elf_loader`, both with the
//! same shared object.
#![allow(unsafe_code)]

use std::fmt::Write;
use std::fs;
use std::hint::black_box;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use elf_loader::{AddressSpaceId, Domain, Loader, Relocator};
use libloading::os::unix::{Library, RTLD_LAZY, RTLD_LOCAL, RTLD_NOW};
use smf_core::alloc_util::TryArc;
use smf_core::format::{Smf, SymbolIndex};
use smf_core::link::{Image, Module, NoImports};

use smf_core::loader::{LoaderOptions, ModuleBytes, ModuleLoader, StateMigration};
use smf_core::memory::{FileBytes, PagePool};
use smf_core::trap::call;
use smf_loader::pack::{Input, Options, pack};

use crate::measure::{Bench, Measure, Target, repeat, repeat_prepared, write_settled};
use crate::object_to_smf;

const LOAD_PACKED: &str = "load 1,000 functions, as packed";
const LOAD_ALL: &str = "load 1,000 functions, 3,000 relocations left";
const LOAD_ELF: &str = "load 1,000 functions, as packed, peer in Rust";
const LOAD_MANY: &str = "load 10,000 functions, as packed";
const LOAD_MANY_ELF: &str = "load 10,000 functions, as packed, peer in Rust";
const LOAD_LAZY: &str = "load 1,000 functions, as packed, peer lazy";
const LOAD_FRESH: &str = "load 1,000 functions, as packed, fresh pages";
const RELOAD: &str = "reload a module of 1,000 functions";
const HIT: &str = "look up one of 1,000 symbols";
const MISS: &str = "look up a symbol that is not there";
const FIRST: &str = "look up the first symbol after loading";
const HIT_IN_FILE: &str = "look up one of 1,000 symbols, index in the file";
const MISS_IN_FILE: &str = "look up a symbol that is not there, index in the file";
const FIRST_IN_FILE: &str = "look up the first symbol after loading, index in the file";

const FUNCTIONS: usize = 1000;
const MANY: usize = 10_000;

/// The function that is called after loading, and its argument. Its result depends on
/// the number of functions.
const CALLED: (&str, i64) = ("function_500", 3);

pub(crate) fn measure(bench: &mut Bench) {
    let loads = [LOAD_PACKED, LOAD_ALL, LOAD_ELF, LOAD_LAZY, LOAD_FRESH, RELOAD];
    let lookups = [HIT, MISS, FIRST, HIT_IN_FILE, MISS_IN_FILE, FIRST_IN_FILE];
    if bench.wants(&loads) || bench.wants(&lookups) {
        let directory = tempfile::tempdir().unwrap();
        let files = Files::build(directory.path(), FUNCTIONS);
        files.measure_loading(bench);
        files.measure_lookup(bench);
    }
    if bench.wants(&[LOAD_MANY, LOAD_MANY_ELF]) {
        let directory = tempfile::tempdir().unwrap();
        Files::build(directory.path(), MANY).measure_loading_many(bench);
    }
}

/// The function that function `number` of `functions` calls.
const fn callee(number: usize, functions: usize) -> usize {
    (number * 7 + 1) % functions
}

/// The result of function `number` for `depth`; the oracle of the C code.
const fn result_of(number: usize, depth: i64, functions: usize) -> i64 {
    if depth > 0 {
        result_of(callee(number, functions), depth - 1, functions) + number as i64
    } else {
        number as i64
    }
}

/// The number of pointers to this number of functions.
const fn pointers(functions: usize) -> usize {
    functions * 2
}

/// The number of their relocations.
const fn relocs(functions: usize) -> usize {
    functions + pointers(functions)
}

/// The C source of modules and shared objects.
fn source(functions: usize) -> String {
    let mut c = String::from("typedef long i64;\n");
    for number in 0..functions {
        writeln!(c, "i64 function_{number}(i64);").unwrap();
    }
    for number in 0..functions {
        let callee = callee(number, functions);
        writeln!(
            c,
            "i64 function_{number}(i64 depth) {{ return depth > 0 ? function_{callee}(depth - 1) + {number} : {number}; }}"
        )
        .unwrap();
    }
    let pointers = pointers(functions);
    writeln!(c, "i64 (*table[{pointers}])(i64) = {{").unwrap();
    for pointer in 0..pointers {
        writeln!(c, "function_{},", pointer * 13 % functions).unwrap();
    }
    c.push_str("};\n");
    c
}

struct Files {
    /// The result of the called function.
    result: i64,
    shared_object: PathBuf,
    packed: PathBuf,
    all_relocs: PathBuf,
    reloadable: PathBuf,
}

impl Files {
    fn build(directory: &Path, functions: usize) -> Self {
        let path = |name| directory.join(name);
        fs::write(path("module.c"), source(functions)).unwrap();
        let gcc = |arguments: &[&str]| {
            // The unwinding tables have relocations of their own, and are useless in a module.
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
        let relocs = relocs(functions);
        assert_eq!(relocs_in(&all_relocs), relocs);
        write_settled(&path("packed.smf"), &packed);
        write_settled(&path("all.smf"), &all_relocs);
        let reloadable = Options { reloadable: true, ..Options::default() };
        write_settled(&path("reload.smf"), &pack(&[input], &reloadable).unwrap().bytes);
        eprintln!(
            "relocations left to the loader: {} as packed, {relocs} with all",
            relocs_in(&packed)
        );
        Files {
            result: result_of(500, CALLED.1, functions),
            shared_object: path("module.so"),
            packed: path("packed.smf"),
            all_relocs: path("all.smf"),
            reloadable: path("reload.smf"),
        }
    }

    fn measure_loading(&self, bench: &mut Bench) {
        let (kept, fresh) = (pool(1 << 20), pool(0));
        let (now, lazy) = (Peer::System(RTLD_NOW), Peer::System(RTLD_LAZY));
        let target = Target::ratio(0.20);
        self.measure_load(bench, (LOAD_PACKED, target), (&self.packed, &kept), now);
        self.measure_load(bench, (LOAD_ALL, Target::ratio(0.35)), (&self.all_relocs, &kept), now);
        let target = Target::ratio(0.25);
        self.measure_load(bench, (LOAD_ELF, target), (&self.packed, &kept), Peer::Rust);
        self.measure_load(bench, (LOAD_LAZY, Target::NONE), (&self.packed, &kept), lazy);
        self.measure_load(bench, (LOAD_FRESH, Target::NONE), (&self.packed, &fresh), now);
        self.measure_reload(bench);
    }

    /// From the file to the new version that all callers reach, with the old one freed.
    fn measure_reload(&self, bench: &mut Bench) {
        let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
        let read = || {
            let path = self.reloadable.as_os_str().as_bytes();
            ModuleBytes::new(FileBytes::read(path, u64::MAX).unwrap()).unwrap()
        };
        let module = loader.load(b"module", read()).unwrap();
        let reload = || loader.reload(module, read(), StateMigration::Copy, &mut |_| {}).unwrap();
        let target = Target::limit(60_000.0);
        let measure = Measure { name: RELOAD, batches: 600, target, ..Measure::default() };
        bench.take(&measure, repeat(reload), None);
    }

    fn measure_loading_many(&self, bench: &mut Bench) {
        let kept = pool(4 << 20);
        let now = Peer::System(RTLD_NOW);
        let target = Target::ratio(0.10);
        self.measure_load(bench, (LOAD_MANY, target), (&self.packed, &kept), now);
        let target = Target::ratio(0.25);
        self.measure_load(bench, (LOAD_MANY_ELF, target), (&self.packed, &kept), Peer::Rust);
    }

    fn measure_load(
        &self,
        bench: &mut Bench,
        (name, target): (&str, Target),
        (smf, pool): (&Path, &TryArc<PagePool>),
        peer: Peer,
    ) {
        let batches = 600;
        let measure = Measure { name, peer: peer.name(), batches, target, ..Measure::default() };
        let ours = repeat(|| assert_eq!(load_and_call(smf, pool), self.result));
        let theirs = repeat(|| assert_eq!(peer.load_and_call(&self.shared_object), self.result));
        bench.take(&measure, ours, Some(theirs));
    }

    /// The module with all relocations left has no index; that of `smf pack` has one.
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

/// The names to look up in one module, and the target.
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
        // dlsym requires a NUL behind each name.
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
            let target = Target::limit(target);
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

/// As many names as there are functions, in an order that defeats caches.
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
    Image::map(&smf).unwrap().link(&NoImports).unwrap()
}

/// The page pool of a long-lived loader; the system's loader finds its pages in the page cache.
fn pool(bytes: usize) -> TryArc<PagePool> {
    TryArc::new(PagePool::new(bytes)).unwrap()
}

/// Opens, parses, maps, links, looks up, calls, unloads.
fn load_and_call(path: &Path, pool: &TryArc<PagePool>) -> i64 {
    let (name, argument) = CALLED;
    let file = FileBytes::read(path.as_os_str().as_bytes(), u64::MAX).unwrap();
    let smf = Smf::parse(&file).unwrap();
    let module = Image::map_in(&smf, pool).unwrap().link(&NoImports).unwrap();
    let function = module.symbol(name.as_bytes()).unwrap();
    // SAFETY: the code is the generated one, and its functions take one integer.
    unsafe { call(function, &[black_box(argument)]) }.unwrap()
}

/// The peers that load shared objects.
#[derive(Clone, Copy)]
enum Peer {
    /// The system's loader, with these flags.
    System(i32),
    /// The crate `elf_loader`.
    Rust,
}

impl Peer {
    fn name(self) -> &'static str {
        match self {
            Peer::System(RTLD_LAZY) => "dlopen, RTLD_LAZY",
            Peer::System(_) => "dlopen, RTLD_NOW",
            Peer::Rust => "elf_loader",
        }
    }

    /// The same as [`load_and_call`].
    fn load_and_call(self, path: &Path) -> i64 {
        match self {
            Peer::System(flags) => dlopen_and_call(path, flags),
            Peer::Rust => elf_load_and_call(path.to_str().unwrap()),
        }
    }
}

fn dlopen_and_call(path: &Path, flags: i32) -> i64 {
    let (name, argument) = CALLED;
    // SAFETY: the library is the generated one, which has no initialisers.
    let library = unsafe { Library::open(Some(path), flags | RTLD_LOCAL) }.unwrap();
    // SAFETY: the function is declared so in the generated source.
    let function = unsafe { library.get::<unsafe extern "C" fn(i64) -> i64>(name.as_bytes()) };
    let function = function.unwrap();
    // SAFETY: it takes one integer, and the library is open.
    let result = unsafe { function(black_box(argument)) };
    library.close().unwrap();
    result
}

fn elf_load_and_call(path: &str) -> i64 {
    let (name, argument) = CALLED;
    let (loader, relocator) = (Loader::new(), Relocator::new());
    let mut loader = loader.run(Domain::native(AddressSpaceId::PROCESS));
    let library = relocator.run(loader.load_dylib(path).unwrap()).relocate().unwrap();
    // SAFETY: the function is declared so in the generated source.
    let function = unsafe { library.get::<unsafe extern "C" fn(i64) -> i64>(name) };
    let function = function.unwrap().unwrap();
    // SAFETY: it takes one integer, and the library is loaded.
    unsafe { function(black_box(argument)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_loading_gives_the_same_result() {
        let directory = tempfile::tempdir().unwrap();
        let files = Files::build(directory.path(), FUNCTIONS);
        let pool = pool(0);
        for smf in [&files.packed, &files.all_relocs] {
            assert_eq!(load_and_call(smf, &pool), files.result);
        }
        for peer in [Peer::System(RTLD_NOW), Peer::System(RTLD_LAZY), Peer::Rust] {
            assert_eq!(peer.load_and_call(&files.shared_object), files.result);
        }
    }
}

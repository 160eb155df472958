//! Templates in IR: instantiation, lookup, and the speed of the code.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use smf_core::codegen::{Options, X64Compiler};
use smf_core::format::template::{Constraints, Container, Template, TemplateKind};
use smf_core::format::write::note::NewPossible;
use smf_core::format::write::{NewTemplates, write_templates};
use smf_core::ir::text::{ParsedFunction, parse};
use smf_core::ir::{Argument, Arguments, Function, Scalar, VerifiedTemplate};
use smf_core::memory::code_alloc::CodeMemory;
use smf_core::templates::{JitConfig, JitInstantiator, JitSymbolResolver};
use smf_core::trap::call_catching;
use smf_tests::ir::LISTS;

use crate::measure::{Bench, Measure, Target, repeat, repeat_prepared, write_settled};

const MAKE: &str = "instantiate an IR template of 50 operations, metadata loaded, note not written";
const COMPILE: &str = "compile an IR template of 50 operations";
const FIND: &str = "resolve an instance of an IR template that exists";
const FIRST: &str = "first instance of an IR template in a fresh process";
const KEPT: &str =
    "first instance of an IR template in a fresh process, its code cached in the file";
const SORT: &str = "generic sort of 10^6 i64, instance of an IR template, per element";

/// The argument that makes this program the fresh process.
pub(crate) const FIRST_OPTION: &str = "--first-instance";

/// The number of instances of an instantiator before it is dropped.
const MANY: usize = 10_000;
const ELEMENTS: usize = 1_000_000;

pub(crate) fn measure(bench: &mut Bench) {
    if !bench.wants(&[MAKE, COMPILE, FIND, FIRST, KEPT, SORT]) {
        return;
    }
    let work = work();
    // The second parameter only serves to distinguish the instances.
    let rows: Vec<_> = (0..MANY).map(|n| row("work", &format!("i64, T{n}"))).collect();
    let file = module(std::slice::from_ref(&work), &rows);
    let next = Cell::new(0);
    let jit = Cell::new(Some(open(&file)));
    let make = || {
        if next.get() == MANY {
            jit.set(Some(open(&file)));
            next.set(0);
        }
        let [_, _, symbol] = &rows[next.replace(next.get() + 1)];
        let open = jit.take();
        assert!(open.as_ref().unwrap().try_jit_instantiate(symbol.as_bytes()).is_ok());
        jit.set(open);
    };
    let target = Target::limit;
    let measure = Measure { name: MAKE, target: target(2000.0), ..Measure::default() };
    bench.take(&measure, repeat(make), None);

    let template = VerifiedTemplate::new(&work.body).unwrap();
    let mut compiler = X64Compiler::new();
    let arguments = Arguments::new(&[Scalar::I64.into(), Argument::Named]).unwrap();
    let compile = || {
        let instance = template.instance(arguments).unwrap();
        compiler.compile(&instance, &Options::default()).unwrap().bytes.len()
    };
    let measure = Measure { name: COMPILE, target: target(1000.0), ..Measure::default() };
    bench.take(&measure, repeat(compile), None);

    let resolver = JitSymbolResolver::new(open(&file));
    let [_, _, symbol] = &rows[7];
    assert!(resolver.resolve(symbol.as_bytes()).is_some());
    let measure = Measure { name: FIND, target: target(20.0), ..Measure::default() };
    bench.take(&measure, repeat(|| resolver.resolve(symbol.as_bytes())), None);

    measure_first(bench, &module(&[work], &rows[..100]));
    measure_sort(bench);
}

fn measure_first(bench: &mut Bench, module: &[u8]) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ir.smf");
    write_settled(&path, module);
    let measure =
        Measure { name: FIRST, batches: 60, target: Target::limit(300e3), ..Measure::default() };
    let first = |keep| {
        let path = path.clone();
        move |times| (0..times).map(|_| in_fresh_process(&path, keep)).sum()
    };
    bench.take(&measure, Box::new(first(false)), None);
    keep_code(&path);
    let measure = Measure {
        name: KEPT,
        peer: "compiling it there",
        batches: 60,
        target: Target::ratio(1.0),
        ..Measure::default()
    };
    bench.take(&measure, Box::new(first(true)), Some(Box::new(first(false))));
}

/// Caches the code of the instance in the file, and checks that it is used from there.
fn keep_code(path: &Path) {
    let symbol = first_row();
    for kept in [0, 1] {
        let jit = JitInstantiator::new(
            JitConfig { keep_code: true, ..JitConfig::default() },
            CodeMemory::default(),
        )
        .unwrap();
        jit.load_smf_metadata(path.as_os_str().as_encoded_bytes()).unwrap();
        assert!(jit.try_jit_instantiate(symbol.as_bytes()).is_ok());
        assert_eq!(jit.stats().cache_hit_count, kept);
    }
}

fn first_row() -> String {
    let [_, _, symbol] = row("work", "i64, T50");
    symbol
}

/// The time from the start of a new process to the return of an instance, as reported by that process.
fn in_fresh_process(module: &Path, keep: bool) -> Duration {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(FIRST_OPTION).arg(module).args(keep.then_some("keep"));
    let output = command.output().unwrap();
    let nanoseconds = String::from_utf8(output.stdout).unwrap();
    Duration::from_nanos(nanoseconds.trim().parse().unwrap())
}

/// The fresh process.
pub(crate) fn first_instance(module: &str, keep_code: bool) {
    let start = Instant::now();
    let config = JitConfig { update_smf: false, keep_code, ..JitConfig::default() };
    let jit = JitInstantiator::new(config, CodeMemory::default()).unwrap();
    jit.load_smf_metadata(module.as_bytes()).unwrap();
    let made = jit.try_jit_instantiate(first_row().as_bytes());
    // SAFETY: `work` takes two integers, an address, which it does not access if the count is 0, and the count.
    let called = unsafe { call_catching(made.as_ref().unwrap().address(), &[40, 2, 0, 0]) };
    let elapsed = start.elapsed();
    assert_eq!(called.unwrap(), 40);
    println!("{}", elapsed.as_nanos());
}

fn measure_sort(bench: &mut Bench) {
    let lists: String = LISTS
        .lines()
        .filter(|line| !line.starts_with("possible"))
        .fold(String::new(), |text, line| text + line + "\n");
    let sort = row("sort", "i64");
    let jit = open(&module(&parse(&lists).unwrap(), std::slice::from_ref(&sort)));
    let made = jit.try_jit_instantiate(sort[2].as_bytes());
    let address = made.as_ref().unwrap().address();
    let mut state = 1u64;
    let numbers: Vec<i64> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 1).cast_signed()
    })
    .take(ELEMENTS)
    .collect();
    let ours = |list: &Vec<Cell<i64>>| {
        let last = list.len() as i64 - 1;
        // SAFETY: the instance takes an address and two indices, and the list is not shared.
        unsafe { call_catching(address, &[list.as_ptr() as i64, 0, last]) }.unwrap()
    };
    let theirs = |list: &Vec<Cell<i64>>| {
        // SAFETY: the list is this long, and it is not shared.
        unsafe { sort_in_rust(list.as_ptr().cast::<i64>().cast_mut(), 0, list.len() as isize - 1) }
    };
    let mut expected = numbers.clone();
    expected.sort_unstable();
    // `Cell` permits changes of the elements through a shared reference.
    let fresh = || numbers.iter().copied().map(Cell::new).collect::<Vec<_>>();
    let (mine, peer) = (fresh(), fresh());
    ours(&mine);
    theirs(&peer);
    for sorted in [mine, peer] {
        assert!(sorted.into_iter().map(Cell::into_inner).eq(expected.iter().copied()));
    }
    let measure = Measure {
        name: SORT,
        peer: "rustc -O, the same algorithm",
        per: ELEMENTS as u64,
        batches: 15,
        target: Target::ratio(2.5),
        ..Measure::default()
    };
    bench.take(&measure, repeat_prepared(fresh, ours), Some(repeat_prepared(fresh, theirs)));
}

/// `sort` of lists.sbt, line by line.
///
/// # Safety
/// The list has the elements from `low` to `high`.
unsafe fn sort_in_rust(list: *mut i64, mut low: isize, high: isize) {
    // SAFETY: every index lies between `low` and `high`.
    let place = |index: isize| unsafe { list.offset(index) };
    // SAFETY: the element exists.
    let load = |index: isize| unsafe { place(index).read() };
    // SAFETY: as above.
    let store = |index: isize, item: i64| unsafe { place(index).write(item) };
    while high - low >= 16 {
        let pivot = load(((high - low) >> 1) + low);
        let (mut i, mut j) = (low - 1, high + 1);
        loop {
            i += 1;
            while load(i) < pivot {
                i += 1;
            }
            j -= 1;
            while load(j) > pivot {
                j -= 1;
            }
            if i >= j {
                break;
            }
            let (a, b) = (load(i), load(j));
            store(i, b);
            store(j, a);
        }
        // SAFETY: a subrange of the caller's.
        unsafe { sort_in_rust(list, low, j) };
        low = j + 1;
    }
    for i in low + 1..=high {
        let a = load(i);
        let mut j = i;
        while j > low {
            let b = load(j - 1);
            if b <= a {
                break;
            }
            store(j, b);
            j -= 1;
        }
        store(j, a);
    }
}

/// Template, type arguments and symbol.
fn row(template: &str, arguments: &str) -> [String; 3] {
    let symbol = format!("fn${template}${}", arguments.replace(", ", "_"));
    [template.to_owned(), arguments.to_owned(), symbol]
}

/// A template of 50 operations: a loop over a buffer, with arithmetic and branches.
fn work() -> ParsedFunction {
    let mut text = "template work<T, U>(a: T, b: T, p: ptr, n: i64) -> T\nlocal t: T\nlocal u: T\n\
                    local i: i64\nlocal c: bool\nmore:\nbr_ge i64 i, n, done\n"
        .to_owned();
    for k in 0..7 {
        text += &format!(
            "load_element T t, p[i + {k}]\nmul T u, t, b\nadd T a, a, u\nlt T c, a, t\n\
             br_true c, skip{k}\nsub T a, a, 3\nskip{k}:\n"
        );
    }
    text += "store_element T a, p[i]\nneg T t, a\nxor T u, t, 5\nadd i64 i, i, 7\njump more\n\
             done:\nmove T t, a\nreturn T t\nend\n";
    let work = parse(&text).unwrap().remove(0);
    assert_eq!(Function::parse(&work.body).unwrap().len(), 50);
    work
}

fn module(templates: &[ParsedFunction], rows: &[[String; 3]]) -> Vec<u8> {
    fn new(template: &ParsedFunction) -> Template<'_> {
        let ParsedFunction { name, type_params, body, .. } = template;
        let (name, kind, params) = (name.as_bytes(), Some(TemplateKind::Function), *type_params);
        Template { name, kind, params, constraints: Constraints::default(), body }
    }
    let templates: Vec<_> = templates.iter().map(new).collect();
    let container = Container::Gtpl { constrained: false };
    let rows = rows.iter();
    let rows: Vec<_> = rows
        .map(|[template, type_args, mangled_name]| NewPossible {
            template,
            type_args,
            mangled_name,
        })
        .collect();
    write_templates(&NewTemplates { container, templates: &templates }, &rows).unwrap()
}

fn open(file: &[u8]) -> JitInstantiator {
    let jit = JitInstantiator::new(
        JitConfig { update_smf: false, ..JitConfig::default() },
        CodeMemory::default(),
    )
    .unwrap();
    jit.load_smf_bytes(b"bench", file).unwrap();
    jit
}

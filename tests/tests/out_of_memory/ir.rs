//! Instances of templates with IR functions, and their code in the code cache of a file.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use smf_core::format::Smf;
use smf_core::format::ext::cached_code::{payload_of, records};
use smf_core::format::template::{Constraints, Container, Template};
use smf_core::format::write::note::NewPossible;
use smf_core::format::write::{NewTemplates, write_templates};
use smf_core::ir::text::parse;
use smf_core::ir::{
    Arguments, BuildError, Condition, Function, FunctionBuilder, IrError, Memory, ProgramHost,
    Scalar, Stop, TypeArgument, Verified,
};
use smf_core::memory::code_alloc::CodeMemory;
use smf_core::templates::{InstantiateError, JitConfig, JitInstantiator};

use super::{Scenario, directory, judge};

/// An instance that requires others: of named and composite types, and of the host.
const SOURCE: &str = r#"
template main<T>(a: T, n: i64) -> T
    local b: T
    local c: i64
    call b = half<T>(a)
    call c = count<"Pair"<T, f32x4, "Set"<T>>>(n)
    call_host n = same(c)
    add T b, b, b
    return T b
end
template half<T>(a: T) -> T
    local two: T
    const T two, 2
    div T a, a, two
    return T a
end
template count<T>(n: i64) -> i64
    local i: i64
    const i64 i, 0
more:
    add i64 i, i, 1
    br_lt i64 i, n, more
    return i64 i
end
"#;

/// The requested instance; it requires two more.
const SYMBOL: &[u8] = b"fn$main$i64";
const MADE: usize = 3;

extern "C" fn same(value: i64) -> i64 {
    value
}

fn host(name: &[u8]) -> Option<u64> {
    (name == b"same").then_some(same as *const () as u64)
}

fn module() -> Vec<u8> {
    let templates = parse(SOURCE).unwrap();
    let new = |(name, body)| {
        let constraints = Constraints::default();
        Template { name, kind: None, params: 0, constraints, body }
    };
    let all = templates.iter().map(|template| (template.name.as_bytes(), &template.body[..]));
    let all: Vec<_> = all.map(new).collect();
    let templates = NewTemplates { container: Container::Counted, templates: &all };
    let row = NewPossible { template: "main", type_args: "i64", mangled_name: "fn$main$i64" };
    write_templates(&templates, &[row]).unwrap()
}

fn instantiator(keep_code: bool) -> JitInstantiator {
    let config = JitConfig { keep_code, ..JitConfig::default() };
    JitInstantiator::new(config, CodeMemory::default()).unwrap().with_symbols(host).unwrap()
}

/// Makes the instance, or finds it.
fn instantiate(jit: &JitInstantiator) -> Result<(), InstantiateError> {
    jit.try_jit_instantiate(SYMBOL).map(drop)
}

/// A new instantiator, as in another process, for a file with cached code.
fn taken(path: &Path) -> JitInstantiator {
    let jit = instantiator(true);
    jit.load_smf_metadata(path.as_os_str().as_bytes()).unwrap();
    jit
}

/// A file with the cached code of all instances.
fn keeping(directory: &Path) -> std::path::PathBuf {
    let path = directory.join("ir.smf");
    fs::write(&path, module()).unwrap();
    instantiate(&taken(&path)).unwrap();
    path
}

/// A function with every table, and one like it in the memory of the first.
fn build(out: &mut Vec<u8>, types: &[TypeArgument]) -> Result<(), BuildError> {
    let mut builder = FunctionBuilder::new(0, None);
    for round in 0..2 {
        builder.reset(0, Some(Scalar::I64.into()));
        let (n, p) = (builder.param(Scalar::I64), builder.local(Scalar::Pointer));
        let (slot, data) = (builder.slot(8, 8), builder.data(b"four", 4));
        let end = builder.label();
        let file = builder.file("a file");
        builder.location(1, 1, Some(file));
        builder.branch(Condition::Equal, Scalar::I64, n, round, end);
        builder.wide_constant(Scalar::I64, n, 1 << 40);
        builder.slot_address(p, slot, 0);
        builder.data_address(p, data, 0);
        builder.call("f", types, Some(n), &[n], None);
        builder.call_function(3, Some(n), &[n], None);
        builder.bind(end);
        builder.return_value(Scalar::I64, n);
        builder.finish_into(out)?;
    }
    Ok(())
}

pub(super) const SCENARIOS: &[Scenario] = &[
    ("build, verify and interpret an IR function", |granted| {
        let types = [TypeArgument::Named("Pair".into(), vec![Scalar::U8.into()])];
        let refused = |error| assert_eq!(error, IrError::OutOfMemory);
        let stopped = |stop| assert_eq!(stop, Stop::OutOfMemory);
        let act = || {
            let mut out = Vec::new();
            build(&mut out, &types).map_err(|error| assert_eq!(error, BuildError::OutOfMemory))?;
            let function = Function::parse(&out).map_err(refused)?;
            let verified = Verified::new(function).map_err(refused)?;
            let functions = [verified.instance(Arguments::NONE).map_err(refused)?];
            let mut memory = Memory { base: 0, bytes: &mut [] };
            let mut program = ProgramHost::new(&functions, &mut memory, 10).map_err(stopped)?;
            program.call_function(0, &[1]).map_err(stopped)
        };
        judge(granted, || act().map_err(|()| "out of memory"), |result| assert_eq!(result, 1))
    }),
    ("make IR instances", |granted| {
        let jit = instantiator(false);
        jit.load_smf_bytes(b"ir", &module()).unwrap();
        judge(granted, || instantiate(&jit), drop)
    }),
    ("make IR instances and cache their code", |granted| {
        let directory = directory();
        let path = directory.path().join("ir.smf");
        fs::write(&path, module()).unwrap();
        let jit = taken(&path);
        let made = judge(granted, || instantiate(&jit), drop);
        // Required if the instance was made but the update of the file failed.
        jit.update().unwrap();
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        let file = fs::read(&path).unwrap();
        let smf = Smf::parse(&file).unwrap();
        smf.verify().unwrap();
        let kept = records(payload_of(&smf).unwrap_or(&[])).count();
        // Instances that are missing from the file are compiled again later.
        assert!(kept <= MADE && (granted != usize::MAX || kept == MADE), "{kept}");
        instantiate(&taken(&path)).unwrap();
        made
    }),
    ("read a file with cached code", |granted| {
        let directory = directory();
        let path = keeping(directory.path());
        let jit = instantiator(true);
        judge(granted, || jit.load_smf_metadata(path.as_os_str().as_bytes()), drop)
    }),
    ("use the cached code of a file", |granted| {
        let directory = directory();
        let jit = taken(&keeping(directory.path()));
        let made = judge(granted, || instantiate(&jit), drop);
        assert!(granted != usize::MAX || jit.stats().cache_hit_count == MADE);
        made
    }),
];

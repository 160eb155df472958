//! The code cache of a module's file: valid records are used by the next process, others are ignored.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use smf_core::format::ext::cached_code::{
    CachedCode, CachedReloc, encode, hash, payload_of, records,
};
use smf_core::format::note::{Instantiation, Possible};
use smf_core::format::write::rewrite::{RewriteError, with_cached_code};
use smf_core::format::{Layout, Smf};
use smf_core::ir::text::parse;
use smf_core::link::host_arch;
use smf_core::memory::code_alloc::CodeMemory;
use smf_core::templates::{
    CachePolicy, Callback, CompileRequest, Compiled, CpuFeatures, Environment, InstantiateError,
    JitConfig, JitInstantiator, UpdateError,
};
use smf_core::trap::{TrapError, call_catching};

use crate::build::{Directory, Spec, compile};
use crate::call_at;

const KEEPING: JitConfig = JitConfig {
    update_smf: true,
    max_depth: 50,
    max_instances: usize::MAX,
    enabled: true,
    verbose: false,
    keep_code: true,
    ..JitConfig::DEFAULT
};

const COMPILER: CachePolicy = CachePolicy { compiler: 7, features: CpuFeatures::NONE };

/// A new instantiator, as in another process, with a compiler of scripts whose code is cached.
fn process(config: JitConfig, keep: CachePolicy) -> (JitInstantiator, Arc<AtomicU32>) {
    let count = Arc::new(AtomicU32::new(0));
    let counted = count.clone();
    let compiler =
        Callback::new(move |request: &CompileRequest<'_>, environment: &mut dyn Environment| {
            counted.fetch_add(1, Ordering::Relaxed);
            compile(std::str::from_utf8(request.body).unwrap(), environment)
        });
    let jit = JitInstantiator::new(config, CodeMemory::default())
        .unwrap()
        .with_compiler(compiler.with_cache_policy(keep))
        .unwrap();
    (jit, count)
}

/// The result of `f$i64` in a new instantiator, and its number of compilations.
fn run(path: &[u8], config: JitConfig, keep: CachePolicy) -> (i64, u32, JitInstantiator) {
    let (jit, count) = process(config, keep);
    jit.load_smf_metadata(path).unwrap();
    let address = match jit.try_jit_instantiate(b"f$i64") {
        Ok(instance) => instance.address(),
        Err(error) => error.instance().unwrap_or_else(|| panic!("{error}")).address(),
    };
    (call_at(address, &[]), count.load(Ordering::Relaxed), jit)
}

fn chain() -> Spec {
    Spec::new().both("f", "instance g i64").both("g", "call h$i64").both("h", "ret 4")
}

fn read(path: &[u8]) -> Vec<u8> {
    fs::read(Path::new(std::str::from_utf8(path).unwrap())).unwrap()
}

fn payload(path: &[u8]) -> Vec<u8> {
    let file = read(path);
    payload_of(&Smf::parse(&file).unwrap()).unwrap().to_vec()
}

/// The same file with another payload.
fn put(path: &[u8], payload: &[u8]) {
    let file = with_cached_code(&Smf::parse(&read(path)).unwrap(), payload).unwrap();
    fs::write(Path::new(std::str::from_utf8(path).unwrap()), file).unwrap();
}

#[test]
fn cached_code_is_used_by_the_next_process() {
    for layout in [Layout::Packed, Layout::Native] {
        let directory = Directory::new("kept");
        let path = directory.file("a.smf", &chain().layout(layout).file());
        let (first, compiled, jit) = run(&path, KEEPING, COMPILER);
        assert_eq!((first, compiled, jit.stats().cache_hit_count), (4, 3, 0));
        let file = read(&path);
        Smf::parse(&file).unwrap().verify().unwrap();
        assert_eq!(fs::read_dir(&directory.0).unwrap().count(), 1);
        let (second, compiled, jit) = run(&path, KEEPING, COMPILER);
        assert_eq!((second, compiled), (4, 0));
        assert_eq!((jit.stats().cache_hit_count, jit.stats().cache_stale_count), (3, 0));
        // It records no update.
        assert_eq!(read(&path), file);
    }
}

#[test]
fn compact_module_caches_code() {
    let directory = Directory::new("compact");
    let sample = include_bytes!("../../../tests/samples/compact.smf");
    let path = directory.file("a.smf", sample);
    let made = |count: &AtomicU32| {
        let (jit, asked) = {
            let counted = Arc::new(AtomicU32::new(0));
            let inner = counted.clone();
            let compiler = Callback::new(move |_: &CompileRequest<'_>, _: &mut dyn Environment| {
                inner.fetch_add(1, Ordering::Relaxed);
                Ok(Compiled { code: vec![0xb8, 42, 0, 0, 0, 0xc3], relocations: Vec::new() })
            });
            let compiler = compiler.with_cache_policy(COMPILER);
            (
                JitInstantiator::new(KEEPING, CodeMemory::default())
                    .unwrap()
                    .with_compiler(compiler)
                    .unwrap(),
                counted,
            )
        };
        jit.load_smf_metadata(&path).unwrap();
        let smf = sample;
        let note = Smf::parse(smf).unwrap().note().unwrap().unwrap();
        for row in note.entries::<Possible>() {
            let symbol = row.unwrap().mangled_name().to_string();
            let result = jit.try_jit_instantiate(symbol.as_bytes());
            assert!(!matches!(result, Err(InstantiateError::UpdateFailed { .. })), "{result:?}");
            if let Ok(instance) = result {
                assert_eq!(call_at(instance.address(), &[]), 42);
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
        asked.load(Ordering::Relaxed)
    };
    let instances = AtomicU32::new(0);
    let first = made(&instances);
    assert!(first > 0 && instances.load(Ordering::Relaxed) == first);
    assert_eq!(made(&instances), 0);
}

/// IR functions: callees without rows, traps, and the signatures that callers expect of their callees.
#[test]
#[cfg(target_arch = "x86_64")]
fn ir_instances_are_cached_with_their_callees() {
    let text = "template f<T>(a: T, b: T) -> T\ncall a = halve<T>(a)\ndiv T a, a, b\nreturn T a\nend\n\
                template halve<T>(a: T) -> T\nlocal two: T\nconst T two, 2\ndiv T a, a, two\n\
                return T a\nend";
    let mut module = Spec::new().possible("f", "i64", "f$i64");
    for template in parse(text).unwrap() {
        module = module.template(&template.name, &template.body);
    }
    let directory = Directory::new("ir");
    let path = directory.file("a.smf", &module.file());
    for taken in [0, 2] {
        let jit = JitInstantiator::new(KEEPING, CodeMemory::default()).unwrap();
        jit.load_smf_metadata(&path).unwrap();
        let result = jit.try_jit_instantiate(b"f$i64");
        assert!(result.is_ok(), "{result:?}");
        assert_eq!((jit.stats().cache_hit_count, jit.stats().cached_count), (taken, 2));
        let address = result.as_ref().unwrap().address();
        // SAFETY: a function of two integers, which may trap.
        let call = |args: &[i64]| unsafe { call_catching(address, args) };
        assert_eq!(call(&[84, 6]), Ok(7));
        assert!(matches!(call(&[84, 0]), Err(TrapError::Trap(_))));
    }
    assert_eq!(records(&payload(&path)).count(), 2);
}

#[test]
fn code_is_cached_only_if_enabled() {
    let directory = Directory::new("off");
    let path = directory.file("a.smf", &chain().file());
    let off = JitConfig { keep_code: false, ..KEEPING };
    run(&path, off, COMPILER);
    assert!(Smf::parse(&read(&path)).unwrap().sections().named(b".smf.code").is_none());
    // An instance that another process made is made again, although it is no longer listed as possible.
    let (value, compiled, jit) = run(&path, off, COMPILER);
    assert_eq!((value, compiled), (4, 3));
    assert!(!jit.can_jit_instantiate(b"f$i64") && jit.find_possible(b"f$i64").unwrap().is_none());
    // An existing cache is not read either.
    run(&path, KEEPING, COMPILER);
    assert_eq!(run(&path, off, COMPILER).1, 3);
    assert_eq!(run(&path, KEEPING, COMPILER).1, 0);
    // The cache can be read without being written.
    let silent = JitConfig { update_smf: false, ..KEEPING };
    let before = read(&path);
    assert_eq!(run(&path, silent, COMPILER).1, 0);
    assert_eq!(read(&path), before);
}

#[test]
fn cached_code_of_other_template_or_compiler_is_stale() {
    let directory = Directory::new("stale");
    let path = directory.file("a.smf", &chain().file());
    run(&path, KEEPING, COMPILER);
    let kept = payload(&path);
    // Another compiler.
    let silent = JitConfig { update_smf: false, ..KEEPING };
    let newer = CachePolicy { compiler: 8, ..COMPILER };
    let (value, compiled, jit) = run(&path, silent, newer);
    assert_eq!((value, compiled, jit.stats().cache_stale_count), (4, 3, 3));
    // Another body of `h`, with the record of the old one.
    let changed =
        Spec::new().both("f", "instance g i64").both("g", "call h$i64").both("h", "ret 5");
    directory.file("a.smf", &changed.file());
    put(&path, &kept);
    let (value, compiled, jit) = run(&path, KEEPING, COMPILER);
    assert_eq!(
        (value, compiled, jit.stats().cache_stale_count, jit.stats().cache_hit_count),
        (5, 1, 1, 2)
    );
    // The stale record is removed by the next write.
    assert_eq!(records(&payload(&path)).count(), 3);
    assert_eq!(run(&path, KEEPING, COMPILER).1, 0);
}

/// Replaces the cached record by one for `f$i64` that returns 9, changed by `change`.
fn with_record(path: &[u8], change: impl FnOnce(&mut CachedCode<'static>)) {
    let code: &'static [u8] = &[0xb8, 9, 0, 0, 0, 0xc3];
    let mut record = CachedCode::new(host_arch(), b"f$i64", hash(b"ret 4"), code);
    (record.template, record.arguments, record.compiler) = (b"f", b"i64", COMPILER.compiler);
    change(&mut record);
    let record = record.encode(&[] as &[CachedReloc<'_>], &[]).unwrap();
    put(path, &encode([&record[..]].into_iter()).unwrap());
}

#[test]
fn record_is_valid_only_if_all_fields_match() {
    let directory = Directory::new("record");
    let path = directory.file("a.smf", &Spec::new().both("f", "ret 4").file());
    let silent = JitConfig { update_smf: false, ..KEEPING };
    let ran = || run(&path, silent, COMPILER);
    with_record(&path, |_| {});
    assert_eq!((ran().0, ran().1), (9, 0));
    let here = CpuFeatures::SSE3 | CpuFeatures::POPCNT;
    with_record(&path, |record| record.features = here.0);
    assert_eq!(ran().0, if here.are_available() { 9 } else { 4 });
    let changes: [fn(&mut CachedCode<'static>); 8] = [
        |record| record.features = 1 << 63,
        |record| record.body_hash ^= 1,
        |record| record.compiler += 1,
        |record| record.template = b"g",
        |record| record.arguments = b"u64",
        |record| record.symbol = b"f$u64",
        |record| record.arch.0 ^= 1,
        // A block cannot be empty.
        |record| record.code = b"",
    ];
    for (number, change) in changes.into_iter().enumerate() {
        with_record(&path, change);
        let (value, compiled, jit) = ran();
        assert_eq!((value, compiled, jit.stats().cache_hit_count), (4, 1, 0), "change {number}");
        assert_eq!(jit.stats().cache_stale_count, usize::from(number != 5), "change {number}");
    }
}

/// Every prefix of the section, and every flipped bit of it: the instance is that of its template.
#[test]
fn damaged_cached_code_is_not_run() {
    let directory = Directory::new("damage");
    let path = directory.file("a.smf", &chain().file());
    run(&path, KEEPING, COMPILER);
    let sound = payload(&path);
    let file = Smf::parse(&read(&path)).map(|smf| smf.file().to_vec()).unwrap();
    let smf = Smf::parse(&file).unwrap();
    let silent = JitConfig { update_smf: false, ..KEEPING };
    let check = |payload: &[u8]| {
        let Ok(module) = with_cached_code(&smf, payload) else { return };
        let (jit, _) = process(silent, COMPILER);
        jit.load_smf_bytes(b"m", &module).unwrap();
        let result = jit.try_jit_instantiate(b"f$i64");
        assert_eq!(call_at(result.as_ref().unwrap().address(), &[]), 4);
    };
    (0..sound.len()).for_each(|len| check(&sound[..len]));
    for bit in 0..sound.len() * 8 {
        let mut damaged = sound.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        check(&damaged);
    }
}

/// Records with a correct hash and invalid contents: at worst the instance is compiled, or an error.
#[test]
fn malformed_records_are_ignored() {
    use smf_core::format::RelocKind;
    use smf_core::format::ext::cached_code::CachedTarget;
    let directory = Directory::new("hostile");
    let path = directory.file("a.smf", &Spec::new().both("f", "ret 4").file());
    let silent = JitConfig { update_smf: false, ..KEEPING };
    let targets = [
        CachedTarget::Own,
        CachedTarget::TrapHook,
        CachedTarget::Symbol(b""),
        CachedTarget::Symbol(b"f$i64"),
        CachedTarget::Symbol(&[0xff; 300]),
        CachedTarget::Instance(b"gone", b"i64"),
        CachedTarget::Instance(b"f", b"i64>"),
        CachedTarget::Instance(b"f", b"\xff"),
        CachedTarget::Instance(b"", b""),
        CachedTarget::Instance(b"f", b"?T"),
    ];
    for target in targets {
        for (offset, kind) in
            [(0, RelocKind::Plt32), (3, RelocKind::Abs64), (u32::MAX, RelocKind::Pc32)]
        {
            let reloc = CachedReloc { offset, kind, target, interface: b"SMTB", addend: i64::MIN };
            let code: &[u8] = &[0xb8, 9, 0, 0, 0, 0xc3];
            let mut record = CachedCode::new(host_arch(), b"f$i64", hash(b"ret 4"), code);
            (record.template, record.arguments) = (b"f", b"i64");
            record.compiler = COMPILER.compiler;
            let record = record.encode(&[reloc], &[]).unwrap();
            put(&path, &encode([&record[..]].into_iter()).unwrap());
            let (jit, _) = process(silent, COMPILER);
            jit.load_smf_metadata(&path).unwrap();
            match jit.try_jit_instantiate(b"f$i64") {
                Ok(_) => {}
                result => assert!(result.is_err(), "{result:?}"),
            }
        }
    }
}

#[test]
fn cache_of_other_version_is_kept_and_reported() {
    let directory = Directory::new("version");
    let path = directory.file("a.smf", &Spec::new().both("f", "ret 4").file());
    let newer = b"CODE\x02\0\0\0something newer";
    put(&path, newer);
    let (jit, count) = process(KEEPING, COMPILER);
    jit.load_smf_metadata(&path).unwrap();
    let result = jit.try_jit_instantiate(b"f$i64");
    assert!(
        matches!(
            result,
            Err(InstantiateError::UpdateFailed {
                error: UpdateError::CodeCache(RewriteError::Foreign),
                ..
            })
        ),
        "{result:?}"
    );
    assert_eq!((count.load(Ordering::Relaxed), payload(&path)), (1, newer.to_vec()));
    // The note records the instance nevertheless, and no update remains.
    let note = read(&path);
    let note =
        Smf::parse(&note).unwrap().note().unwrap().unwrap().entries::<Instantiation>().count();
    assert_eq!((note, jit.update()), (1, Ok(())));
}

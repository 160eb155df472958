//! Concurrent requests for the same instance, or for instances that require each other.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use smf_core::memory::code_alloc::CodeMemory;
use smf_core::templates::{
    Callback, CompileRequest, Environment, InstantiateError, InstantiateErrorKind, JitConfig,
    JitInstantiator,
};

use crate::build::{Directory, SILENT, Spec, compile, instantiator, loaded};
use crate::call_at;

const THREADS: usize = 8;

/// Runs `act` in every thread at once.
fn all<T: Send>(act: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let (barrier, act) = (Barrier::new(THREADS), &act);
    thread::scope(|scope| {
        let run = |thread| {
            let barrier = &barrier;
            scope.spawn(move || {
                barrier.wait();
                act(thread)
            })
        };
        let threads: Vec<_> = (0..THREADS).map(run).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Like the compiler of scripts, with a delay, so that other threads interleave.
fn slow(count: Arc<AtomicU32>, modules: &[Spec]) -> JitInstantiator {
    let compiler = Callback::new(move |request: &CompileRequest<'_>, env: &mut dyn Environment| {
        count.fetch_add(1, Relaxed);
        thread::sleep(Duration::from_millis(2));
        compile(std::str::from_utf8(request.body).unwrap(), env)
    });
    let jit = JitInstantiator::new(SILENT, CodeMemory::default())
        .unwrap()
        .with_compiler(compiler)
        .unwrap();
    for (number, module) in modules.iter().enumerate() {
        jit.load_smf_bytes(&number.to_le_bytes(), &module.file()).unwrap();
    }
    jit
}

#[test]
fn eight_threads_compile_an_instance_once() {
    for _ in 0..20 {
        let count = Arc::new(AtomicU32::new(0));
        let jit =
            slow(count.clone(), &[Spec::new().both("f", "instance g i64").both("g", "ret 3")]);
        let addresses = all(|thread| {
            let symbol = if thread % 2 == 0 { &b"f$i64"[..] } else { b"g$i64" };
            let result = jit.try_jit_instantiate(symbol);
            let address = result.as_ref().unwrap().address();
            assert_eq!(call_at(address, &[]), 3);
            (thread % 2, address)
        });
        assert_eq!(count.load(Relaxed), 2);
        for (which, address) in &addresses {
            assert!(addresses.iter().all(|(other, a)| (other == which) == (a == address)));
        }
    }
}

#[test]
fn eight_threads_get_the_same_failure() {
    let count = Arc::new(AtomicU32::new(0));
    let jit = slow(count.clone(), &[Spec::new().both("f", "fail why")]);
    let told = all(|_| jit.try_jit_instantiate(b"f$i64").unwrap_err().to_string());
    assert!(told.iter().all(|told| told == "cannot instantiate `f$i64`: why"), "{told:?}");
    assert_eq!(count.load(Relaxed), 1);
}

/// A cycle across threads: each waits for an instance that another thread compiles.
#[test]
fn circular_dependency_across_threads_is_detected() {
    for _ in 0..20 {
        let module = Spec::new()
            .both("a", "instance b i64")
            .both("b", "instance c i64")
            .both("c", "instance a i64")
            .both("user", "instance a i64");
        let jit = slow(Arc::default(), &[module]);
        let results = all(|thread| {
            jit.try_jit_instantiate([&b"a$i64"[..], b"b$i64", b"c$i64", b"user$i64"][thread % 4])
        });
        for result in results {
            let Err(InstantiateError::CircularDependency { cycle }) = result else {
                panic!("{result:?}")
            };
            assert_eq!((cycle.len(), &cycle[0]), (4, &cycle[3]), "{cycle:?}");
            let order = cycle.iter().map(|symbol| symbol[0]).collect::<Vec<_>>();
            assert!([b"abca", b"bcab", b"cabc"].iter().any(|path| path[..] == order), "{cycle:?}");
        }
        assert_eq!(jit.stats().cached_count, 0);
    }
}

/// The depth of a thread does not limit another thread.
#[test]
fn depth_is_counted_per_thread() {
    let module = (0..10).fold(Spec::new(), |module, number| {
        module.both(&format!("f{number}"), format!("instance f{} i64", number + 1))
    });
    let (jit, _) = loaded(JitConfig { max_depth: 6, ..SILENT }, &[module.both("f10", "ret 1")]);
    let made = all(|thread| {
        let symbol = format!("f{}$i64", 10 - thread);
        (0..1_000_000).any(|_| jit.try_jit_instantiate(symbol.as_bytes()).is_ok())
    });
    assert!(made.iter().all(|made| *made), "{made:?}");
}

/// Failed jobs count no longer, and existing instances are returned at the limit.
#[test]
fn instances_of_all_threads_together_are_limited() {
    let module = (0..40).fold(Spec::new(), |module, number| {
        module.both(&format!("f{number}"), format!("ret {number}"))
    });
    let module = module.both("fails", "fail").both("needs", "instance f39 i64");
    let (jit, _) = loaded(JitConfig { max_instances: 10, ..SILENT }, &[module]);
    assert!(jit.try_jit_instantiate(b"fails$i64").is_err());
    let is_refused = |symbol: &str| match jit.try_jit_instantiate(symbol.as_bytes()) {
        Ok(_) => false,
        Err(InstantiateError::Failed(failure)) => {
            assert_eq!(failure.kind, InstantiateErrorKind::Instances { limit: 10 });
            assert!(failure.to_string().contains("Maximum number of JIT instances (10) exceeded"));
            true
        }
        Err(error) => panic!("{error}"),
    };
    let refused = all(|thread| {
        (0..40).filter(|number| is_refused(&format!("f{}$i64", (number + thread * 5) % 40))).count()
    });
    assert!(refused.iter().all(|refused| *refused <= 30), "{refused:?}");
    assert_eq!(jit.stats().cached_count, 10);
    assert_eq!((0..40).filter(|number| is_refused(&format!("f{number}$i64"))).count(), 30);

    // A required instance counts as well.
    let module = Spec::new().both("f39", "ret 39").both("needs", "instance f39 i64");
    let (jit, _) = loaded(JitConfig { max_instances: 1, ..SILENT }, &[module]);
    assert!(jit.try_jit_instantiate(b"needs$i64").is_err() && jit.stats().cached_count == 0);
    assert!(jit.try_jit_instantiate(b"f39$i64").is_ok() && jit.stats().cached_count == 1);
}

#[test]
fn concurrent_updates_lose_no_rows() {
    let (directory, (jit, count)) = (Directory::new("threads"), instantiator(JitConfig::default()));
    let module = (0..40).fold(Spec::new(), |module, number| {
        module.both(&format!("f{number}"), format!("ret {number}"))
    });
    let path = directory.file("a.smf", &module.file());
    jit.load_smf_metadata(&path).unwrap();
    all(|thread| {
        for number in 0..40 {
            let number = (number + thread * 5) % 40;
            let result = jit.try_jit_instantiate(format!("f{number}$i64").as_bytes());
            assert!(result.is_ok(), "{result:?}");
            assert_eq!(call_at(result.as_ref().unwrap().address(), &[]), number as i64);
        }
    });
    assert_eq!((count.load(Relaxed), jit.stats().cached_count), (40, 40));
    let (other, _) = instantiator(SILENT);
    other.load_smf_metadata(&path).unwrap();
    assert!((0..40).all(|number| !other.can_jit_instantiate(format!("f{number}$i64").as_bytes())));
}

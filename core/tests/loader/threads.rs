//! Calls and lookups while other threads load, replace and unload modules.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use smf_core::loader::{LoadError, LoaderOptions, ModuleLoader, StateMigration};

use crate::build::{Does, Spec};
use crate::scale::scale;
use crate::set_at_end::SetAtEnd;
use crate::{call, call_at, collect};

/// A leaked name that leak checkers find reachable.
fn for_ever(name: &str) -> &'static str {
    static NAMES: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());
    let name: &'static str = name.to_owned().leak();
    NAMES.lock().unwrap().push(name);
    name
}

#[test]
fn callers_see_versions_in_order_during_loads_and_unloads() {
    let loader = &ModuleLoader::new(LoaderOptions::default()).unwrap();
    let version = |value| Spec::new().reloadable().function("f", Does::Returns(value)).bytes();
    let module = loader.load(b"m", version(0)).unwrap();
    let user = loader.load(b"user", Spec::new().function("u", Does::Calls("f")).bytes()).unwrap();
    let (done, calls) = (&AtomicBool::new(false), &AtomicU64::new(0));
    const VERSIONS: i32 = 400;
    thread::scope(|scope| {
        let _end = SetAtEnd(done);
        // By stable address.
        scope.spawn(move || {
            let _end = SetAtEnd(done);
            let mut last = 0;
            while !done.load(Ordering::Relaxed) {
                let now = call(loader, user, "u", &[]);
                assert!(now >= last, "{now} after {last}");
                last = now;
                calls.fetch_add(1, Ordering::Relaxed);
            }
        });
        // By name, and in the held version.
        scope.spawn(move || {
            let _end = SetAtEnd(done);
            while !done.load(Ordering::Relaxed) {
                let resolved = loader.resolve(b"f").unwrap().unwrap();
                let held = resolved.module.as_ref().unwrap();
                let own = call_at(held.function(b"f").unwrap(), &[]);
                assert!(call_at(resolved.address, &[]) >= own);
                assert_eq!(call_at(held.function(b"f").unwrap(), &[]), own, "it does not change");
            }
        });
        // Modules that import from it are loaded and unloaded.
        scope.spawn(move || {
            let _end = SetAtEnd(done);
            let mut unloaded = 0;
            while !done.load(Ordering::Relaxed) || unloaded == 0 {
                let spec = Spec::new().function("passing", Does::Calls("f"));
                let passing = loader.load(b"passing", spec.bytes()).unwrap();
                call(loader, passing, "passing", &[]);
                match loader.unload(passing) {
                    Ok(()) => unloaded += 1,
                    Err(error) => panic!("{error}"),
                }
            }
        });
        for value in 1..=VERSIONS {
            loader.reload(module, version(value), StateMigration::Copy, &mut |_| {}).unwrap();
            collect(loader);
        }
        while calls.load(Ordering::Relaxed) < 1000 {
            assert!(!done.load(Ordering::Relaxed), "a thread failed");
            thread::yield_now();
        }
    });
    assert_eq!(call(loader, user, "u", &[]), i64::from(VERSIONS));
    collect(loader);
    assert_eq!((loader.statistics().retired, loader.statistics().modules), (0, 2));
}

/// Eight threads call held modules by stable address and by the address in the held version: 10,000 reloads in the
/// exhaustive mode, else 500. shell/tests/c/reload_threads.c covers the calls of threads that hold nothing.
#[test]
fn code_is_not_freed_while_a_thread_that_holds_it_is_inside() {
    let loader = &ModuleLoader::new(LoaderOptions::default()).unwrap();
    let version = |value| Spec::new().reloadable().function("f", Does::Returns(value)).bytes();
    let versions = [version(1), version(2)];
    let module = loader.load(b"m", versions[0].clone()).unwrap();
    let done = &AtomicBool::new(false);
    let reloads = scale(10_000, 500);
    thread::scope(|scope| {
        let _end = SetAtEnd(done);
        for thread in 0..8 {
            scope.spawn(move || {
                let _end = SetAtEnd(done);
                while !done.load(Ordering::Relaxed) {
                    let value = if thread % 2 == 0 {
                        let resolved = loader.resolve(b"f").unwrap().unwrap();
                        call_at(resolved.address, &[])
                    } else {
                        call(loader, module, "f", &[])
                    };
                    assert!(value == 1 || value == 2, "{value}");
                }
            });
        }
        for next in versions.iter().cycle().skip(1).take(reloads) {
            loader.reload(module, next.clone(), StateMigration::Copy, &mut |_| {}).unwrap();
            collect(loader);
        }
    });
    collect(loader);
    assert_eq!(loader.statistics().retired, 0);
}

/// A module with this many functions, all of which return `value`.
fn many(count: u32, value: i32) -> Spec {
    let function = |spec: Spec, number| spec.function(&format!("f{number}"), Does::Returns(value));
    (0..count).fold(Spec::new().reloadable(), function)
}

#[test]
fn function_is_first_imported_from_a_continuously_replaced_module() {
    const FUNCTIONS: u32 = 300;
    let loader = &ModuleLoader::new(LoaderOptions::default()).unwrap();
    let module = loader.load(b"m", many(FUNCTIONS, 0).bytes()).unwrap();
    let (done, reloads) = (&AtomicBool::new(false), &AtomicU64::new(0));
    thread::scope(|scope| {
        let _end = SetAtEnd(done);
        scope.spawn(move || {
            let _end = SetAtEnd(done);
            let versions = [many(FUNCTIONS, 1).bytes(), many(FUNCTIONS, 2).bytes()];
            for version in versions.iter().cycle() {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                loader.reload(module, version.clone(), StateMigration::Copy, &mut |_| {}).unwrap();
                collect(loader);
                reloads.fetch_add(1, Ordering::Relaxed);
            }
        });
        for number in 0..FUNCTIONS {
            let name = format!("f{number}");
            let user = Spec::new().function("u", Does::Calls(for_ever(&name))).bytes();
            // Waits for another version.
            let before = reloads.load(Ordering::Relaxed);
            while reloads.load(Ordering::Relaxed) == before {
                assert!(!done.load(Ordering::Relaxed), "a thread failed");
                thread::yield_now();
            }
            if number % 3 == 0 {
                let resolved = loader.resolve(name.as_bytes()).unwrap().unwrap();
                assert!((1..=2).contains(&call_at(resolved.address, &[])));
            }
            let user = loader.load(b"user", user).unwrap();
            assert!((1..=2).contains(&call(loader, user, "u", &[])));
            loader.unload(user).unwrap();
        }
    });
    collect(loader);
    assert_eq!((loader.statistics().retired, loader.statistics().modules), (0, 1));
}

#[test]
fn data_is_first_imported_from_a_continuously_replaced_module() {
    const ROUNDS: usize = 200;
    let loader = &ModuleLoader::new(LoaderOptions::default()).unwrap();
    // The more symbols there are to resolve, the more often the module has been replaced by then.
    let data: Vec<&'static str> = (0..64).map(|n| for_ever(&format!("d{n}"))).collect();
    let version = |value: i32| {
        let spec = Spec::new().reloadable().function("f", Does::Returns(value));
        data.iter().fold(spec, |spec, name| spec.data(name, 7))
    };
    let versions = [version(1).bytes(), version(2).bytes()];
    let module = loader.load(b"m", versions[0].clone()).unwrap();
    let done = &AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = SetAtEnd(done);
        for version in &versions {
            scope.spawn(move || {
                let _end = SetAtEnd(done);
                while !done.load(Ordering::Relaxed) {
                    match loader.reload(module, version.clone(), StateMigration::Copy, &mut |_| {})
                    {
                        // Another thread was faster.
                        Ok(_) | Err(LoadError::Changed { .. }) => collect(loader),
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
        for _ in 0..ROUNDS {
            let read = |spec: Spec, name: &&'static str| {
                spec.function(&format!("read {name}"), Does::Reads(name))
            };
            let user = data.iter().fold(Spec::new(), read);
            let user = loader.load(b"user", user.bytes()).unwrap();
            assert_eq!(call(loader, user, "read d63", &[]), 7);
            loader.unload(user).unwrap();
        }
    });
    collect(loader);
    assert_eq!((loader.statistics().retired, loader.statistics().modules), (0, 1));
}

#[test]
fn shared_data_has_one_copy_during_a_thousand_reloads() {
    let loader = &ModuleLoader::new(LoaderOptions::default()).unwrap();
    let version = |value| {
        let spec = Spec::new().reloadable().function("f", Does::Returns(value));
        spec.function("add", Does::Adds("d")).data("d", 0).bytes()
    };
    let module = loader.load(b"m", version(0)).unwrap();
    let user = Spec::new().function("there", Does::AddsThere("d"));
    let user = user.function("read", Does::Reads("d")).function("through", Does::Calls("add"));
    let user = loader.load(b"user", user.bytes()).unwrap();
    let (done, added) = (&AtomicBool::new(false), &AtomicU64::new(0));
    thread::scope(|scope| {
        let _end = SetAtEnd(done);
        for (number, name) in ["there", "through", "add"].into_iter().enumerate() {
            scope.spawn(move || {
                let _end = SetAtEnd(done);
                let mut last = 0;
                while !done.load(Ordering::Relaxed) {
                    // By stable address, and in the held version.
                    let who = if number == 2 { module } else { user };
                    let now = call(loader, who, name, &[1]);
                    assert!(now > last, "{now} after {last}");
                    last = now;
                    added.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        scope.spawn(move || {
            let _end = SetAtEnd(done);
            let mut last = 0;
            while !done.load(Ordering::Relaxed) {
                let now = call(loader, user, "read", &[]);
                assert!(now >= last, "{now} after {last}");
                last = now;
            }
        });
        for value in 1..=1000 {
            let done =
                loader.reload(module, version(value), StateMigration::Copy, &mut |_| {}).unwrap();
            assert_eq!((done.migrated.symbols, done.kept), (0, 1));
            collect(loader);
        }
        while added.load(Ordering::Relaxed) < 1000 {
            assert!(!done.load(Ordering::Relaxed), "a thread failed");
            thread::yield_now();
        }
    });
    // No addition is lost.
    let sum = added.load(Ordering::Relaxed) as i64;
    assert_eq!((call(loader, user, "read", &[]), call(loader, module, "add", &[0])), (sum, sum));
    collect(loader);
    assert_eq!((loader.statistics().retired, loader.statistics().modules), (0, 2));
    loader.unload_all(&[user, module]).unwrap();
    assert_eq!(loader.statistics().modules, 0);
}

#[test]
fn second_concurrent_reload_of_a_version_is_refused() {
    let loader = &ModuleLoader::new(LoaderOptions::default()).unwrap();
    let version = |value| Spec::new().reloadable().function("f", Does::Returns(value)).bytes();
    let module = loader.load(b"m", version(0)).unwrap();
    let replaced = AtomicU64::new(0);
    thread::scope(|scope| {
        for thread in 0..4 {
            let replaced = &replaced;
            scope.spawn(move || {
                for round in 0..200 {
                    let new = version(thread * 1000 + round);
                    match loader.reload(module, new, StateMigration::Copy, &mut |_| {}) {
                        Ok(_) => drop(replaced.fetch_add(1, Ordering::Relaxed)),
                        Err(LoadError::Changed { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    assert!(replaced.into_inner() >= 200);
    collect(loader);
    assert_eq!(loader.statistics().retired, 0);
}

#[test]
fn concurrent_loads_of_one_name_succeed_once() {
    let loader = &ModuleLoader::new(LoaderOptions::default()).unwrap();
    let loaded = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..100 {
                    let name = format!("m{round}");
                    let spec = Spec::new().function(&name, Does::Returns(round));
                    match loader.load(name.as_bytes(), spec.bytes()) {
                        Ok(_) => drop(loaded.fetch_add(1, Ordering::Relaxed)),
                        Err(LoadError::NameTaken { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    assert_eq!((loaded.into_inner(), loader.statistics().modules), (100, 100));
}

//! Configuration, construction and statistics.

use smf_core::memory::code_alloc::CodeMemory;
use smf_core::templates::{JitConfig, JitInstantiator};

use crate::build::{SILENT, Spec, instantiator, loaded};

#[test]
fn default_configuration_has_the_documented_values() {
    let config = JitConfig::default();
    assert_eq!((config.update_smf, config.enabled), (true, true));
    assert_eq!((config.verbose, config.keep_code), (false, false));
    assert_eq!((config.max_depth, config.max_instances), (50, usize::MAX));
    assert_eq!((config.max_module_instances, config.max_nesting), (1 << 16, 16));
    assert_eq!(config.max_code, 16 << 20);
}

#[test]
fn custom_configuration_is_kept() {
    let config = JitConfig {
        update_smf: false,
        max_depth: 100,
        max_instances: 7,
        max_module_instances: 3,
        max_nesting: 2,
        max_code: 100,
        enabled: false,
        verbose: true,
        keep_code: true,
    };
    assert_eq!(*JitInstantiator::new(config, CodeMemory::default()).unwrap().config(), config);
}

#[test]
fn instantiation_can_be_disabled() {
    let config = JitConfig { enabled: false, ..JitConfig::default() };
    assert!(!JitInstantiator::new(config, CodeMemory::default()).unwrap().config().enabled);
}

#[test]
fn new_instantiator_with_default_configuration_is_empty() {
    let stats = JitInstantiator::new(JitConfig::default(), CodeMemory::default()).unwrap().stats();
    assert_eq!((stats.cached_count, stats.loaded_smf_count), (0, 0));
}

#[test]
fn new_instantiator_has_its_configuration() {
    let config = JitConfig { max_depth: 25, verbose: true, ..SILENT };
    let jit = JitInstantiator::new(config, CodeMemory::default()).unwrap();
    assert_eq!((jit.config().max_depth, jit.config().verbose), (25, true));
}

#[test]
fn new_instantiator_finds_nothing() {
    let (jit, count) = instantiator(JitConfig::default());
    assert!(jit.find_possible(b"f$i64").unwrap().is_none() && jit.address(b"f$i64").is_none());
    assert!(jit.note(b"m0").unwrap().is_none() && jit.stats().failed_count == 0);
    assert_eq!(count.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[test]
fn statistics_count_modules() {
    let (jit, _) = loaded(SILENT, &[Spec::new(), Spec::new()]);
    assert_eq!(jit.stats().loaded_smf_count, 2);
}

#[test]
fn statistics_count_instances() {
    let (jit, _) = loaded(SILENT, &[Spec::new().both("f", "ret 1").both("g", "call f$i64")]);
    assert!(jit.try_jit_instantiate(b"g$i64").is_ok());
    assert_eq!(jit.stats().cached_count, 2);
    assert!(jit.try_jit_instantiate(b"f$i64").is_ok());
    assert_eq!(jit.stats().cached_count, 2);
}

#[test]
fn statistics_count_failures_until_the_metadata_changes() {
    let (jit, _) = loaded(SILENT, &[Spec::new().both("f", "fail because")]);
    assert!(jit.try_jit_instantiate(b"f$i64").is_err());
    assert_eq!((jit.stats().failed_count, jit.stats().cached_count), (1, 0));
    jit.load_smf_bytes(b"other", &Spec::new().file()).unwrap();
    assert_eq!(jit.stats().failed_count, 0);
}

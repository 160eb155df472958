//! Loading of metadata.

use smf_core::memory::MemoryError;
use smf_core::templates::{JitConfig, MetadataError};

use crate::build::{Directory, Spec, instantiator};

#[test]
fn metadata_is_loaded() {
    let (directory, (jit, _)) = (Directory::new("load"), instantiator(JitConfig::default()));
    let spec = Spec::new().both("f", "ret 1");
    let path = directory.file("a.smf", &spec.file());
    jit.load_smf_metadata(&path).unwrap();
    assert_eq!(jit.note(&path).unwrap().unwrap(), spec.note_text().into_bytes());
    assert!(jit.can_jit_instantiate(b"f$i64"));
}

#[test]
fn second_load_replaces_the_first() {
    let (directory, (jit, _)) = (Directory::new("again"), instantiator(JitConfig::default()));
    let path = directory.file("a.smf", &Spec::new().both("f", "ret 1").both("h", "ret 2").file());
    jit.load_smf_metadata(&path).unwrap();
    directory.file("a.smf", &Spec::new().both("g", "ret 1").both("h", "ret 2").file());
    jit.load_smf_metadata(&path).unwrap();
    let can = [b"f$i64", b"g$i64", b"h$i64"].map(|symbol| jit.can_jit_instantiate(symbol));
    assert_eq!((can, jit.stats().loaded_smf_count), ([false, true, true], 1));
}

#[test]
fn missing_file_is_refused() {
    let (directory, (jit, _)) = (Directory::new("missing"), instantiator(JitConfig::default()));
    let path = directory.0.join("nonexistent.smf").into_os_string().into_encoded_bytes();
    let error = jit.load_smf_metadata(&path).unwrap_err();
    assert!(matches!(error, MetadataError::Read(MemoryError::Open { .. })), "{error:?}");
    assert_eq!(error.to_string(), "cannot open the file: no such file or directory");
    assert_eq!(jit.stats().loaded_smf_count, 0);
}

#[test]
fn loaded_modules_are_counted() {
    let (directory, (jit, _)) = (Directory::new("count"), instantiator(JitConfig::default()));
    for name in ["test1.smf", "test2.smf", "test1.smf"] {
        jit.load_smf_metadata(&directory.file(name, &Spec::new().file())).unwrap();
    }
    assert_eq!(jit.stats().loaded_smf_count, 2);
}

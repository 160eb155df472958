//! Templates: instantiate, with and without an update of the note; replace a file.
#![allow(unsafe_code)]

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::string::{String, ToString};
use std::vec::Vec;
use std::{env, format, fs, process};

use super::fail_each;
use crate::format::ext::hash_index;
use crate::format::template::{Container, Template};
use crate::format::write::{Module, NewSection, NewTemplates};
use crate::format::{Arch, Header, Layout, RelocKind, SectionKind, Smf};
use crate::memory::code_alloc::CodeMemory;
use crate::memory::testing::alone;
use crate::memory::{ReplaceError, replace_file};
use crate::templates::{
    InstantiateError, JitConfig, JitInstantiator, PrecompiledReloc, Variant, encode_precompiled,
};

/// A module with a template that adds its arguments, and one that calls an instance of it.
fn module() -> Vec<u8> {
    let variant =
        |code, relocations| Variant { arch: Arch::X86_64, arguments: &[], code, relocations };
    // lea rax, [rdi + rsi]; ret
    let add = encode_precompiled(&[variant(&[0x48, 0x8d, 0x04, 0x37, 0xc3][..], &[][..])]).unwrap();
    let call =
        [PrecompiledReloc { offset: 1, kind: RelocKind::Plt32, symbol: b"add$i64", addend: -4 }];
    let tail = encode_precompiled(&[variant(&[0xe9, 0, 0, 0, 0], &call)]).unwrap();
    let templates = [(&b"add"[..], &add[..]), (b"tail", &tail)].map(|(name, body)| {
        let (kind, params, constraints) = (None, 0, Default::default());
        Template { name, kind, params, constraints, body }
    });
    let list = NewTemplates { container: Container::Counted, templates: &templates };
    let list = list.to_vec().unwrap();
    let note = "possible |template, type_args, mangled_name|\n    add, i64, add$i64\n    \
                tail, i64, tail$i64\n";
    let section = |kind, name, payload| NewSection { kind, name, ..hash_index::section(payload) };
    let sections = [
        section(SectionKind::TemplateCode, &b".templates"[..], &list[..]),
        section(SectionKind::Note, b"note.sdn", note.as_bytes()),
    ];
    let (layout, header) = (Layout::Native, Header::default());
    Module { layout, header, stub: &[], sections: &sections, symbols: &[] }.to_vec().unwrap()
}

/// A file in its own directory, removed when dropped.
struct TestFile {
    directory: PathBuf,
    file: PathBuf,
    old: Vec<u8>,
}

impl TestFile {
    fn new(name: &str, old: Vec<u8>) -> Self {
        let directory = env::temp_dir().join(format!("smf-faults-{name}-{}", process::id()));
        fs::create_dir_all(&directory).unwrap();
        let file = directory.join("file");
        fs::write(&file, &old).unwrap();
        Self { directory, file, old }
    }

    fn path(&self) -> &[u8] {
        self.file.as_os_str().as_bytes()
    }

    fn assert_unchanged(&self) {
        assert!(fs::read(&self.file).unwrap() == self.old, "a failure has changed the file");
    }

    /// Checks that no temporary file is left, and restores the old file.
    fn restore(&self) {
        assert!(fs::read(&self.file).unwrap() != self.old, "the file was not replaced");
        assert_eq!(fs::read_dir(&self.directory).unwrap().count(), 1);
        fs::write(&self.file, &self.old).unwrap();
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Calls the instance of `tail` with 40 and 2.
fn call(jit: &JitInstantiator) -> i64 {
    let address = jit.address(b"tail$i64").unwrap();
    // SAFETY: the instance takes two integers, and its code lives as long as the instantiator.
    unsafe { crate::trap::call(address, &[40, 2]) }.unwrap()
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes in the interpreter")]
fn failed_call_replaces_a_file_or_leaves_it_unchanged() {
    if !alone("faults::instantiate::failed_call_replaces_a_file_or_leaves_it_unchanged") {
        return;
    }
    let place = TestFile::new("replace", b"old".to_vec());
    let replace = || {
        replace_file(place.path(), 1 << 20, |old| Ok::<_, ReplaceError>(Some([old, b"!"].concat())))
    };
    let points =
        fail_each("replace a file", replace, || place.assert_unchanged(), |_| place.restore());
    assert!(points > 300, "the faults did not reach the calls");
}

#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn failed_call_yields_an_instance_or_an_error() {
    if !alone("faults::instantiate::failed_call_yields_an_instance_or_an_error") {
        return;
    }
    let bytes = module();
    // Each run uses a new instantiator: code memory does not retry a refused backing.
    let make = || {
        let jit = JitInstantiator::new(JitConfig::default(), CodeMemory::default()).unwrap();
        jit.load_smf_bytes(b"module", &bytes).map_err(|error| error.to_string())?;
        match jit.try_jit_instantiate(b"tail$i64") {
            Ok(_) => Ok(jit),
            Err(error) => Err(error.to_string()),
        }
    };
    let made = |jit: JitInstantiator| assert_eq!((call(&jit), jit.stats().cached_count), (42, 2));
    let mut points = fail_each("instantiate", make, || {}, made);

    let place = TestFile::new("instantiate", bytes.clone());
    let update = || {
        let jit = JitInstantiator::new(JitConfig::default(), CodeMemory::default()).unwrap();
        jit.load_smf_metadata(place.path()).map_err(|error| error.to_string())?;
        match jit.try_jit_instantiate(b"tail$i64") {
            Ok(_) => Ok(jit),
            Err(InstantiateError::UpdateFailed { error, .. }) => {
                // The instance is usable. The update for the required instance may have been recorded before.
                assert_eq!(call(&jit), 42);
                Smf::parse(&fs::read(&place.file).unwrap()).unwrap().verify().unwrap();
                fs::write(&place.file, &place.old).unwrap();
                Err(error.to_string())
            }
            Err(error) => Err::<_, String>(error.to_string()),
        }
    };
    let told = |jit: JitInstantiator| {
        assert_eq!(call(&jit), 42);
        // Delayed updates are written now.
        jit.update().unwrap();
        place.restore();
    };
    points += fail_each("instantiate and update", update, || {}, told);
    std::println!("{points} points in instantiation");
    assert!(points > crate::testing::scale(1000, 200), "the faults did not reach the calls");
}

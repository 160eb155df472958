//! Bytecode on aarch64: interpreted, compiled, and called by machine code of a module.

use std::path::Path;

use smf_core::format::Layout;

use crate::tools::{File, Loader, assembled};

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/samples/bcod.smf");
#[test]
fn bytecode_is_interpreted_and_compiled_and_has_addresses() {
    let Some(loader) = Loader::get() else { return };
    for way in [&[][..], &["--interpret"], &["--compile"]] {
        assert_eq!(loader.call(Path::new(SAMPLE), "sum", &[100], way), 5050);
        assert_eq!(loader.call(Path::new(SAMPLE), "answer", &[], way), 42);
    }
    let Some(object) = assembled(".globl through\n.type through, %function\nthrough: b sum\n")
    else {
        return;
    };
    let file = File::packed(&[&object], Layout::Packed);
    let path = file.path();
    let path = path.to_str().unwrap();
    assert_eq!(loader.call(Path::new(path), "through", &[100], &["--with", SAMPLE]), 5050);
}

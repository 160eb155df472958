//! Bytecode on aarch64, for which there is no compiler.

use std::path::Path;

use smf_core::format::Layout;

use crate::tools::{File, Loader, assembled};

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/samples/bcod.smf");
const WHY: &str = "bcod.smf: there is no compiler of bytecode for this machine";

#[test]
fn bytecode_is_interpreted_and_has_no_addresses() {
    let Some(loader) = Loader::get() else { return };
    for way in [&[][..], &["--interpret"]] {
        assert_eq!(loader.call(Path::new(SAMPLE), "sum", &[100], way), 5050);
        assert_eq!(loader.call(Path::new(SAMPLE), "answer", &[], way), 42);
    }
    let refused = loader.refuses(&["run", SAMPLE, "answer", "--compile"]);
    assert!(refused.contains(WHY), "{refused}");
    let Some(object) = assembled(".globl through\n.type through, %function\nthrough: b sum\n")
    else {
        return;
    };
    let file = File::packed(&[&object], Layout::Packed);
    let path = file.path();
    let refused =
        loader.refuses(&["run", path.to_str().unwrap(), "through", "1", "--with", SAMPLE]);
    assert!(refused.contains(WHY), "{refused}");
}

//! Rare modules in a core without the feature `all-files`: errors that name it.
#![cfg(not(feature = "all-files"))]

use smf_core::format::Smf;

fn refusal(sample: &[u8]) -> String {
    let verified = Smf::parse(sample).and_then(|module| module.verify());
    verified.unwrap_err().to_string()
}

#[test]
fn rare_module_without_the_feature_names_the_feature() {
    let compact = refusal(include_bytes!("../../tests/samples/compact.smf"));
    assert!(compact.contains("nor compact, which needs the feature `all-files`"), "{compact}");
    let object = refusal(include_bytes!("../../tests/samples/elf-object.smf"));
    assert!(object.contains("the feature `all-files`"), "{object}");
}

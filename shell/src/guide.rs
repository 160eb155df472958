//! The guide: a chapter a module. `smf help TOPIC` prints them.

/// The chapters: the topic and the text.
pub const CHAPTERS: &[(&str, &str)] = &[
    ("command", include_str!("guide/command.md")),
    ("simple", include_str!("guide/simple.md")),
    ("rust", include_str!("guide/rust.md")),
    ("c", include_str!("guide/c.md")),
    ("bytecode", include_str!("guide/bytecode.md")),
    ("templates", include_str!("guide/templates.md")),
    ("exec", include_str!("guide/exec.md")),
    ("ir", include_str!("guide/ir.md")),
    ("reload", include_str!("guide/reload.md")),
    ("formats", include_str!("guide/formats.md")),
    ("security", include_str!("guide/security.md")),
    ("performance", include_str!("guide/performance.md")),
    ("tools", include_str!("guide/tools.md")),
    ("porting", include_str!("guide/porting.md")),
];

#[doc = include_str!("guide/command.md")]
pub mod command {}

#[doc = include_str!("guide/simple.md")]
pub mod simple {}

#[doc = include_str!("guide/rust.md")]
pub mod rust {}

#[doc = include_str!("guide/c.md")]
pub mod c {}

#[doc = include_str!("guide/bytecode.md")]
pub mod bytecode {}

#[doc = include_str!("guide/templates.md")]
pub mod templates {}

// Its examples need the feature.
#[cfg_attr(feature = "exec", doc = include_str!("guide/exec.md"))]
/// The execution manager.
pub mod exec {}

// Its example needs the feature.
#[cfg_attr(feature = "exec", doc = include_str!("guide/ir.md"))]
/// The intermediate representation.
pub mod ir {}

#[doc = include_str!("guide/reload.md")]
pub mod reload {}

#[doc = include_str!("guide/formats.md")]
pub mod formats {}

#[doc = include_str!("guide/security.md")]
pub mod security {}

#[doc = include_str!("guide/performance.md")]
pub mod performance {}

#[doc = include_str!("guide/tools.md")]
pub mod tools {}

#[doc = include_str!("guide/porting.md")]
pub mod porting {}

#[cfg(all(test, feature = "exec"))]
mod tests {
    use smf_core::ir::Opcode;

    use super::CHAPTERS;

    #[test]
    fn chapter_on_ir_names_every_instruction() {
        let (_, chapter) = CHAPTERS.iter().find(|(topic, _)| *topic == "ir").unwrap();
        let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let words: Vec<&str> = chapter.split(|letter| !is_word(letter)).collect();
        let names = (0..=u8::MAX).filter_map(Opcode::from_code).map(|(opcode, _)| opcode.name());
        let missing: Vec<&str> = names.filter(|name| !words.contains(name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}

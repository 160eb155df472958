//! Kinds and flags of sections.

use core::fmt;

named_enum! {
    /// The contents of a section, independent of its number in the layout.
    SectionKind {
        /// Machine code, a relocatable ELF object, or bytecode.
        Code = "code",
        /// Data that the program may write.
        Data = "data",
        /// Data that it may not.
        RoData = "rodata",
        /// Zeroes that the program may write; no bytes in the file.
        Bss = "bss",
        /// Relocations.
        Reloc = "reloc",
        /// A symbol table of another format; the header's one is what counts.
        SymTab = "symtab",
        /// The names of symbols.
        StrTab = "strtab",
        /// Debugging information.
        Debug = "debug",
        /// Type descriptions.
        TypeInfo = "typeinfo",
        /// Versions.
        Version = "version",
        /// Where the code came from.
        SrcMap = "srcmap",
        /// Notes: `note.sdn`, and data of this project's own under a `.smf.` name.
        Note = "note",
        /// Bodies of generic templates.
        TemplateCode = "templatecode",
        /// How many templates there are of each kind.
        TemplateMeta = "templatemeta",
        /// A driver's manifest.
        DrvManifest = "drvmanifest",
        /// How to launch the program.
        LaunchMeta = "launchmeta",
        /// The directory of an aspect pack.
        AspectPackDirectory = "aspectpack",
    } or Unknown
}

impl SectionKind {
    /// Whether the section is loaded into memory.
    pub const fn is_loaded(self) -> bool {
        matches!(
            self,
            SectionKind::Code | SectionKind::Data | SectionKind::RoData | SectionKind::Bss
        )
    }

    /// Whether sections of this kind and `name` may be compressed. Those may not that are read where
    /// they stand: code, relocations, tables of symbols and strings, this project's own `.smf.` notes.
    /// Bss has nothing to compress.
    pub fn is_compressible(self, name: &[u8]) -> bool {
        use SectionKind as S;
        let in_place = matches!(self, S::Code | S::Bss | S::Reloc | S::SymTab | S::StrTab);
        !in_place && !name.starts_with(b".smf.")
    }

    /// The kind of a compact section, which has nothing but a name: the kind's own name, with or
    /// without a leading dot and underscores, in any case; `.text` and `note.sdn` besides.
    pub(crate) fn from_name(name: &[u8]) -> SectionKind {
        let plain = name.strip_prefix(b".").unwrap_or(name);
        let is = |text: &str| {
            plain.iter().filter(|b| **b != b'_').map(u8::to_ascii_lowercase).eq(text.bytes())
        };
        if is("text") {
            return SectionKind::Code;
        }
        if plain.starts_with(b"rela") {
            return SectionKind::Reloc;
        }
        if plain.starts_with(b"note.") {
            return SectionKind::Note;
        }
        Self::ALL.into_iter().find(|kind| is(kind.name())).unwrap_or(SectionKind::Unknown(0))
    }
}

/// The flags of a section. Unknown bits are preserved and ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SectionFlags(pub u32);

impl SectionFlags {
    /// May be read.
    pub const READ: u32 = 1;
    /// May be written.
    pub const WRITE: u32 = 2;
    /// May be executed.
    pub const EXECUTE: u32 = 4;
    /// The payload is compressed with the header's algorithm.
    pub const COMPRESSED: u32 = 8;

    /// Whether `bit` is set.
    pub const fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }
}

impl fmt::Display for SectionFlags {
    /// As `ls` writes it: `r-x`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = |bit, letter| if self.has(bit) { letter } else { '-' };
        let (r, w) = (letter(Self::READ, 'r'), letter(Self::WRITE, 'w'));
        write!(f, "{r}{w}{}", letter(Self::EXECUTE, 'x'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compact_names_say_the_kind() {
        for (name, kind) in [
            (&b"TemplateCode"[..], SectionKind::TemplateCode),
            (b"template_meta", SectionKind::TemplateMeta),
            (b".text", SectionKind::Code),
            (b"code", SectionKind::Code),
            (b".rodata", SectionKind::RoData),
            (b"note.sdn", SectionKind::Note),
            (b".rela", SectionKind::Reloc),
            (b"whatever", SectionKind::Unknown(0)),
        ] {
            assert_eq!(SectionKind::from_name(name), kind);
        }
    }

    #[test]
    fn what_is_read_in_place_is_not_compressible() {
        for kind in [SectionKind::Data, SectionKind::Debug, SectionKind::TemplateCode] {
            assert!(kind.is_compressible(b".some") && !kind.is_compressible(b".smf.some"));
        }
        for kind in [SectionKind::Code, SectionKind::Bss, SectionKind::Reloc, SectionKind::StrTab] {
            assert!(!kind.is_compressible(b".some"));
        }
    }
}

//! Kinds and flags of sections.

use core::fmt;

/// The name of the section with the slots of indirect functions.
pub(crate) const IFUNC_SLOTS: &[u8] = b".igot";

named_enum! {
    /// The contents of a section, independent of its number in the layout.
    SectionKind {
        /// Machine code, a relocatable ELF object, or bytecode.
        Code = "code",
        /// Writable data.
        Data = "data",
        /// Read-only data.
        RoData = "rodata",
        /// Zero-initialised writable data, without bytes in the file.
        Bss = "bss",
        /// Relocations.
        Reloc = "reloc",
        /// A symbol table of another format. The symbol table of the module is the one that the header refers to.
        SymTab = "symtab",
        /// The names of the symbols.
        StrTab = "strtab",
        /// Debugging information.
        Debug = "debug",
        /// Type descriptions.
        TypeInfo = "typeinfo",
        /// Versions.
        Version = "version",
        /// Source locations of the code.
        SrcMap = "srcmap",
        /// Notes: `note.sdn`, and data of this project under a `.smf.` name.
        Note = "note",
        /// Bodies of generic templates.
        TemplateCode = "templatecode",
        /// The number of templates of each kind.
        TemplateMeta = "templatemeta",
        /// A driver's manifest.
        DrvManifest = "drvmanifest",
        /// Launch metadata of the program.
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

    /// Whether sections of this kind and `name` may be compressed. Sections that are read in place may not: code,
    /// relocations, symbol and string tables, `.smf.` notes, the slots of indirect functions. Bss has no bytes to compress.
    pub fn is_compressible(self, name: &[u8]) -> bool {
        use SectionKind as S;
        let in_place = matches!(self, S::Code | S::Bss | S::Reloc | S::SymTab | S::StrTab);
        !in_place && !name.starts_with(b".smf.") && name != IFUNC_SLOTS
    }

    /// The kind of a compact section, whose entry has a name but no kind. The name is that of the kind, with or without
    /// a leading dot and underscores, in any case, or `.text` or `note.sdn`.
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
    /// The section is readable.
    pub const READ: u32 = 1;
    /// The section is writable.
    pub const WRITE: u32 = 2;
    /// The section is executable.
    pub const EXECUTE: u32 = 4;
    /// The payload is compressed with the header's algorithm.
    pub const COMPRESSED: u32 = 8;

    /// Whether `bit` is set.
    pub const fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }
}

impl fmt::Display for SectionFlags {
    /// Formats the flags as `ls` does: `r-x`.
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
    fn compact_section_name_determines_the_kind() {
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
    fn section_read_in_place_is_not_compressible() {
        for kind in [SectionKind::Data, SectionKind::Debug, SectionKind::TemplateCode] {
            assert!(kind.is_compressible(b".some") && !kind.is_compressible(b".smf.some"));
        }
        for kind in [SectionKind::Code, SectionKind::Bss, SectionKind::Reloc, SectionKind::StrTab] {
            assert!(!kind.is_compressible(b".some"));
        }
        assert!(!SectionKind::Data.is_compressible(IFUNC_SLOTS));
    }
}

//! The tags of the dynamic section.

use core::fmt;

/// A tag of the dynamic section. Unknown tags are harmless: no loader reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag(pub u32);

macro_rules! tags {
    (
        once { $($once:ident = $once_value:literal,)+ }
        others { $($name:ident = $value:literal,)+ }
    ) => {
        #[expect(missing_docs, reason = "the names are those of ELF")]
        impl Tag {
            $(pub const $once: Self = Self($once_value);)+
            $(pub const $name: Self = Self($value);)+

            /// The tags that a loader reads and that must occur at most once.
            pub(crate) const ONCE: &[Self] = &[$(Self::$once),+];

            fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($once_value => Some(concat!("DT_", stringify!($once))),)+
                    $($value => Some(concat!("DT_", stringify!($name))),)+
                    _ => None,
                }
            }
        }
    };
}

tags! {
    once {
        PLTRELSZ = 2,
        HASH = 4,
        STRTAB = 5,
        SYMTAB = 6,
        RELA = 7,
        RELASZ = 8,
        RELAENT = 9,
        STRSZ = 10,
        SYMENT = 11,
        INIT = 12,
        FINI = 13,
        REL = 17,
        RELSZ = 18,
        RELENT = 19,
        PLTREL = 20,
        JMPREL = 23,
        INIT_ARRAY = 25,
        FINI_ARRAY = 26,
        INIT_ARRAYSZ = 27,
        FINI_ARRAYSZ = 28,
        PREINIT_ARRAY = 32,
        PREINIT_ARRAYSZ = 33,
        RELRSZ = 35,
        RELR = 36,
        RELRENT = 37,
        GNU_HASH = 0x6fff_fef5,
        VERSYM = 0x6fff_fff0,
        RELACOUNT = 0x6fff_fff9,
        RELCOUNT = 0x6fff_fffa,
        VERDEF = 0x6fff_fffc,
        VERNEED = 0x6fff_fffe,
    }
    others {
        NULL = 0,
        NEEDED = 1,
        PLTGOT = 3,
        SONAME = 14,
        RPATH = 15,
        TEXTREL = 22,
        RUNPATH = 29,
        FLAGS = 30,
        CONFIG = 0x6fff_fefa,
        DEPAUDIT = 0x6fff_fefb,
        AUDIT = 0x6fff_fefc,
        AUXILIARY = 0x7fff_fffd,
        FILTER = 0x7fff_ffff,
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "the dynamic entry 0x{:x}", self.0),
        }
    }
}

//! The contents of a module, independent of their encoding in a layout.

/// Declares an enum of named variants, with an optional last variant for undefined numbers.
macro_rules! named_enum {
    (
        $(#[$doc:meta])* $type:ident {
            $($(#[$variant_doc:meta])* $variant:ident = $name:literal,)+
        } $(or $unknown:ident)?
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $type {
            $($(#[$variant_doc])* $variant,)+
            $(/// A number without a meaning in the layout.
            $unknown(u8),)?
        }

        impl $type {
            /// All named variants.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$variant),+];

            /// The name, in lower case.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                    $(Self::$unknown(_) => "unknown",)?
                }
            }
        }

        impl core::fmt::Display for $type {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match *self {
                    $(Self::$unknown(value) => write!(f, "unknown({value})"),)?
                    named => f.pad(named.name()),
                }
            }
        }
    };
}

mod header;
mod reloc;
mod section;
mod symbol;
mod template;

pub use header::{AppType, Arch, Compression, Flags, Header, Platform};
pub(crate) use named_enum;
pub use reloc::{Reloc, RelocKind};
pub(crate) use section::IFUNC_SLOTS;
pub use section::{SectionFlags, SectionKind};
pub use symbol::{Binding, Phase, SymbolFlags, SymbolKind};
pub use template::TemplateKind;

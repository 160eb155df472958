//! What a module consists of, independent of how a layout encodes it.

mod header;
mod reloc;
mod section;
mod symbol;
mod template;

pub use header::{AppType, Arch, Compression, Flags, Header, Platform};
pub use reloc::{Reloc, RelocKind};
pub use section::{SectionFlags, SectionKind};
pub use symbol::{Binding, Phase, SymbolFlags, SymbolKind};
pub use template::TemplateKind;

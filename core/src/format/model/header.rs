//! The header fields, independent of the layout.
//!
//! Codes are open: an unnamed platform or architecture is a number, not an error. Only running a module requires a
//! known one.

use core::fmt;

/// Declares an open code: a byte on the wire, some of whose values have names.
macro_rules! open_code {
    ($(#[$doc:meta])* $type:ident { $($(#[$vdoc:meta])* $name:ident = $value:literal $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct $type(pub u8);

        impl $type {
            $($(#[$vdoc])* pub const $name: Self = Self($value);)*

            /// The name of the code; `None` when it has none.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($text),)*
                    _ => None,
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.name() {
                    Some(name) => f.pad(name),
                    None => write!(f, "{}", self.0),
                }
            }
        }
    };
}

open_code! {
    /// The target operating system of a module.
    Platform {
        /// Any system.
        ANY = 0 "any",
        /// Linux.
        LINUX = 1 "linux",
        /// Windows.
        WINDOWS = 2 "windows",
        /// MacOS.
        MACOS = 3 "macos",
        /// FreeBSD.
        FREEBSD = 4 "freebsd",
        /// No system: bare metal.
        NONE = 5 "none",
    }
}

open_code! {
    /// The instruction set of a module's code.
    Arch {
        /// x86-64.
        X86_64 = 0 "x86_64",
        /// 64-bit ARM.
        AARCH64 = 1 "aarch64",
        /// 32-bit x86.
        X86 = 2 "x86",
        /// 32-bit ARM.
        ARM = 3 "arm",
        /// 64-bit RISC-V.
        RISCV64 = 4 "riscv64",
        /// 32-bit RISC-V.
        RISCV32 = 5 "riscv32",
        /// 32-bit WebAssembly.
        WASM32 = 6 "wasm32",
        /// 64-bit WebAssembly.
        WASM64 = 7 "wasm64",
    }
}

open_code! {
    /// The algorithm of the sections that are marked compressed.
    Compression {
        /// No section is compressed.
        NONE = 0 "none",
        /// Zstandard.
        ZSTD = 1 "zstd",
        /// LZ4.
        LZ4 = 2 "lz4",
    }
}

open_code! {
    /// The kind of program that a module contains.
    AppType {
        /// A command.
        CLI = 0 "cli",
        /// A program that draws in the terminal.
        TUI = 1 "tui",
        /// A program with windows.
        GUI = 2 "gui",
        /// A service.
        SERVICE = 3 "service",
        /// A program that reads commands in a loop.
        REPL = 4 "repl",
    }
}

/// The flags of a header. Unknown bits are preserved and ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u32);

impl Flags {
    /// The module is executable.
    pub const EXECUTABLE: u32 = 1;
    /// The module may be replaced while it runs.
    pub const RELOADABLE: u32 = 2;
    /// The module holds debugging information.
    pub const DEBUG_INFO: u32 = 4;
    /// The code is position-independent.
    pub const PIC: u32 = 8;
    /// A stub precedes the module.
    pub const HAS_STUB: u32 = 0x10;
    /// The module holds a note.sdn. Read, never set by a writer.
    pub const NOTE: u32 = 0x20;
    /// The module holds an aspect pack.
    pub const ASPECT_PACK: u32 = 0x40;

    /// Whether `bit` is set.
    pub const fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }

    /// The names of the known bits that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        const NAMES: [(u32, &str); 7] = [
            (Flags::EXECUTABLE, "executable"),
            (Flags::RELOADABLE, "reloadable"),
            (Flags::DEBUG_INFO, "debug_info"),
            (Flags::PIC, "pic"),
            (Flags::HAS_STUB, "has_stub"),
            (Flags::NOTE, "note"),
            (Flags::ASPECT_PACK, "aspect_pack"),
        ];
        NAMES.into_iter().filter(move |(bit, _)| self.has(*bit)).map(|(_, name)| name)
    }
}

/// The fields of a header. Offsets are as written: they count from the module's base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Major and minor version; they do not distinguish the layouts.
    pub version: (u8, u8),
    /// The target system of the module.
    pub platform: Platform,
    /// The instruction set of the code.
    pub arch: Arch,
    /// The flags of the module.
    pub flags: Flags,
    /// The algorithm of compressed sections.
    pub compression: Compression,
    /// The compression level, as the writer states it.
    pub compression_level: u8,
    /// The number of entries in the section table.
    pub section_count: u32,
    /// The offset of the section table, in bytes.
    pub section_table: u64,
    /// The offset of the symbol table, in bytes; 0 if the file has no symbol table.
    pub symbol_table: u64,
    /// The number of entries in the symbol table.
    pub symbol_count: u32,
    /// The number of exported symbols, as the writer states it.
    pub exported_count: u32,
    /// The offset of the entry point from the start of the code section, in bytes.
    pub entry_point: u64,
    /// The length of the stub before the module, in bytes.
    pub stub_size: u32,
    /// The base of every offset in the file, in bytes; 0 if undeclared.
    pub data_offset: u32,
    /// A hash of the module, as the writer defines it.
    pub module_hash: u64,
    /// A hash of the source, as the writer defines it.
    pub source_hash: u64,
    /// The kind of program.
    pub app_type: AppType,
    /// The window's width, in pixels.
    pub window_width: u16,
    /// The window's height, in pixels.
    pub window_height: u16,
    /// Whether files on the program's command line are read ahead: 0 no, 1 yes.
    pub prefetch_hint: u8,
    /// The number of files to read ahead, if the hint is not 0.
    pub prefetch_files: u8,
}

impl Header {
    /// The number of files on the program's command line to read ahead.
    pub fn files_to_prefetch(&self) -> usize {
        if self.prefetch_hint == 0 { 0 } else { usize::from(self.prefetch_files) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_code_is_shown_as_its_number() {
        use std::string::ToString;
        assert_eq!(
            (Arch(77).to_string(), Arch::RISCV64.to_string()),
            ("77".into(), "riscv64".into())
        );
    }
}

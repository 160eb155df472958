//! The constants of `smf.h`, by their names there. `cargo xtask header` compares the numbers.

// Numbers that the core returns are passed on without a use of their names, and some names are used under features only.
#![allow(dead_code)]

use smf_core::format::template::TemplateKind;
use smf_core::format::{AppType, Arch, Binding, Compression, Flags, Platform, SectionFlags};
use smf_core::ir::Scalar;

/// A number that the core has too, which must be the same.
const fn known(number: i32, in_core: i64) -> i32 {
    assert!(number as i64 == in_core);
    number
}

pub(super) const SMF_PROT_NONE: i32 = 0;
pub(super) const SMF_PROT_READ: i32 = 1;
pub(super) const SMF_PROT_WRITE: i32 = 2;
pub(super) const SMF_PROT_EXEC: i32 = 4;

pub(super) const SMF_MAP_SHARED: i32 = 1;
pub(super) const SMF_MAP_PRIVATE: i32 = 2;
pub(super) const SMF_MAP_FIXED: i32 = 0x10;
pub(super) const SMF_MAP_ANONYMOUS: i32 = 0x20;

pub(super) const SMF_POLICY_LRU: i32 = 0;
pub(super) const SMF_POLICY_SIEVE: i32 = 1;

pub(super) const SMF_FRESHNESS_ON_REQUEST: i32 = 0;
pub(super) const SMF_FRESHNESS_EACH_GET: i32 = 1;

pub(super) const SMF_HISTOGRAM_FILE_SIZES: i32 = 0;
pub(super) const SMF_HISTOGRAM_LOAD_TIMES: i32 = 1;

pub(super) const SMF_CLASH_FIRST_WINS: i32 = 0;
pub(super) const SMF_CLASH_REFUSE: i32 = 1;

pub(super) const SMF_LOADER_RELOAD_ALL: i32 = 1;
pub(super) const SMF_LOADER_PROCESS_SYMBOLS: i32 = 2;
pub(super) const SMF_LOADER_REFUSE_CONSTRUCTORS: i32 = 4;
pub(super) const SMF_LOADER_COPY_FILES: i32 = 8;
pub(super) const SMF_LOADER_MAP_FILES: i32 = 16;

pub(super) const SMF_COMPILE_NEVER: i64 = -1;
pub(super) const SMF_COMPILE_FIRST: i64 = -2;

pub(super) const SMF_SYMBOL_UNKNOWN: i32 = 0;
pub(super) const SMF_SYMBOL_FUNCTION: i32 = 1;
pub(super) const SMF_SYMBOL_DATA: i32 = 2;
pub(super) const SMF_SYMBOL_CONSTANT: i32 = 3;
pub(super) const SMF_SYMBOL_SECTION: i32 = 4;

pub(super) const SMF_BINDING_LOCAL: i32 = known(0, Binding::Local.number() as i64);
pub(super) const SMF_BINDING_GLOBAL: i32 = known(1, Binding::Global.number() as i64);
pub(super) const SMF_BINDING_WEAK: i32 = known(2, Binding::Weak.number() as i64);

pub(super) const SMF_DATA_RESET: i32 = 0;
pub(super) const SMF_DATA_KEEP: i32 = 1;
pub(super) const SMF_DATA_KEEP_CONSTRUCTED: i32 = 2;

pub(super) const SMF_LAYOUT_NATIVE: i32 = 1;
pub(super) const SMF_LAYOUT_PACKED: i32 = 2;
pub(super) const SMF_LAYOUT_COMPACT: i32 = 3;
pub(super) const SMF_LAYOUT_DYNLIB: i32 = 4;

pub(super) const SMF_PLATFORM_ANY: i32 = known(0, Platform::ANY.0 as i64);
pub(super) const SMF_PLATFORM_LINUX: i32 = known(1, Platform::LINUX.0 as i64);
pub(super) const SMF_PLATFORM_WINDOWS: i32 = known(2, Platform::WINDOWS.0 as i64);
pub(super) const SMF_PLATFORM_MACOS: i32 = known(3, Platform::MACOS.0 as i64);
pub(super) const SMF_PLATFORM_FREEBSD: i32 = known(4, Platform::FREEBSD.0 as i64);
pub(super) const SMF_PLATFORM_NONE: i32 = known(5, Platform::NONE.0 as i64);

pub(super) const SMF_ARCH_X86_64: i32 = known(0, Arch::X86_64.0 as i64);
pub(super) const SMF_ARCH_AARCH64: i32 = known(1, Arch::AARCH64.0 as i64);
pub(super) const SMF_ARCH_X86: i32 = known(2, Arch::X86.0 as i64);
pub(super) const SMF_ARCH_ARM: i32 = known(3, Arch::ARM.0 as i64);
pub(super) const SMF_ARCH_RISCV64: i32 = known(4, Arch::RISCV64.0 as i64);
pub(super) const SMF_ARCH_RISCV32: i32 = known(5, Arch::RISCV32.0 as i64);
pub(super) const SMF_ARCH_WASM32: i32 = known(6, Arch::WASM32.0 as i64);
pub(super) const SMF_ARCH_WASM64: i32 = known(7, Arch::WASM64.0 as i64);

pub(super) const SMF_MODULE_EXECUTABLE: i32 = known(1, Flags::EXECUTABLE as i64);
pub(super) const SMF_MODULE_RELOADABLE: i32 = known(2, Flags::RELOADABLE as i64);
pub(super) const SMF_MODULE_DEBUG_INFO: i32 = known(4, Flags::DEBUG_INFO as i64);
pub(super) const SMF_MODULE_PIC: i32 = known(8, Flags::PIC as i64);
pub(super) const SMF_MODULE_HAS_STUB: i32 = known(0x10, Flags::HAS_STUB as i64);
pub(super) const SMF_MODULE_NOTE: i32 = known(0x20, Flags::NOTE as i64);
pub(super) const SMF_MODULE_ASPECT_PACK: i32 = known(0x40, Flags::ASPECT_PACK as i64);

pub(super) const SMF_COMPRESSION_NONE: i32 = known(0, Compression::NONE.0 as i64);
pub(super) const SMF_COMPRESSION_ZSTD: i32 = known(1, Compression::ZSTD.0 as i64);
pub(super) const SMF_COMPRESSION_LZ4: i32 = known(2, Compression::LZ4.0 as i64);

pub(super) const SMF_APP_CLI: i32 = known(0, AppType::CLI.0 as i64);
pub(super) const SMF_APP_TUI: i32 = known(1, AppType::TUI.0 as i64);
pub(super) const SMF_APP_GUI: i32 = known(2, AppType::GUI.0 as i64);
pub(super) const SMF_APP_SERVICE: i32 = known(3, AppType::SERVICE.0 as i64);
pub(super) const SMF_APP_REPL: i32 = known(4, AppType::REPL.0 as i64);

pub(super) const SMF_SECTION_UNKNOWN: i32 = 0;
pub(super) const SMF_SECTION_CODE: i32 = 1;
pub(super) const SMF_SECTION_DATA: i32 = 2;
pub(super) const SMF_SECTION_RODATA: i32 = 3;
pub(super) const SMF_SECTION_BSS: i32 = 4;
pub(super) const SMF_SECTION_RELOC: i32 = 5;
pub(super) const SMF_SECTION_SYMTAB: i32 = 6;
pub(super) const SMF_SECTION_STRTAB: i32 = 7;
pub(super) const SMF_SECTION_DEBUG: i32 = 8;
pub(super) const SMF_SECTION_TYPEINFO: i32 = 9;
pub(super) const SMF_SECTION_VERSION: i32 = 10;
pub(super) const SMF_SECTION_SRCMAP: i32 = 11;
pub(super) const SMF_SECTION_NOTE: i32 = 12;
pub(super) const SMF_SECTION_TEMPLATE_CODE: i32 = 13;
pub(super) const SMF_SECTION_TEMPLATE_META: i32 = 14;
pub(super) const SMF_SECTION_DRV_MANIFEST: i32 = 15;
pub(super) const SMF_SECTION_LAUNCH_META: i32 = 16;
pub(super) const SMF_SECTION_ASPECT_PACK: i32 = 17;

pub(super) const SMF_SECTION_FLAG_READ: i32 = known(1, SectionFlags::READ as i64);
pub(super) const SMF_SECTION_FLAG_WRITE: i32 = known(2, SectionFlags::WRITE as i64);
pub(super) const SMF_SECTION_FLAG_EXECUTE: i32 = known(4, SectionFlags::EXECUTE as i64);
pub(super) const SMF_SECTION_FLAG_COMPRESSED: i32 = known(8, SectionFlags::COMPRESSED as i64);

pub(super) const SMF_RELOC_NONE: i32 = 0;
pub(super) const SMF_RELOC_ABS64: i32 = 1;
pub(super) const SMF_RELOC_PC32: i32 = 2;
pub(super) const SMF_RELOC_PLT32: i32 = 3;
pub(super) const SMF_RELOC_GOTPCREL: i32 = 4;
pub(super) const SMF_RELOC_ABS32: i32 = 5;
pub(super) const SMF_RELOC_ABS32S: i32 = 6;
pub(super) const SMF_RELOC_PC64: i32 = 7;
pub(super) const SMF_RELOC_ARM64_BRANCH26: i32 = 8;
pub(super) const SMF_RELOC_ARM64_PAGE21: i32 = 9;
pub(super) const SMF_RELOC_ARM64_PAGEOFF12: i32 = 10;
pub(super) const SMF_RELOC_ARM64_GOT_LOAD_PAGE21: i32 = 11;
pub(super) const SMF_RELOC_ARM64_GOT_LOAD_PAGEOFF12: i32 = 12;

pub(super) const SMF_CONTAINER_GTPL: i32 = 1;
pub(super) const SMF_CONTAINER_GTPL_CONSTRAINED: i32 = 2;
pub(super) const SMF_CONTAINER_COUNTED: i32 = 3;
pub(super) const SMF_CONTAINER_RECORDS: i32 = 4;

pub(super) const SMF_TEMPLATE_UNKNOWN: i32 = 0;
pub(super) const SMF_TEMPLATE_FUNCTION: i32 = known(1, TemplateKind::Function as i64 + 1);
pub(super) const SMF_TEMPLATE_STRUCT: i32 = known(2, TemplateKind::Struct as i64 + 1);
pub(super) const SMF_TEMPLATE_CLASS: i32 = known(3, TemplateKind::Class as i64 + 1);
pub(super) const SMF_TEMPLATE_ENUM: i32 = known(4, TemplateKind::Enum as i64 + 1);
pub(super) const SMF_TEMPLATE_TRAIT: i32 = known(5, TemplateKind::Trait as i64 + 1);

pub(super) const SMF_OBJECT_CODE: i32 = 1;
pub(super) const SMF_OBJECT_INSTANCE: i32 = 2;
pub(super) const SMF_OBJECT_TEMPLATE: i32 = 3;

pub(super) const SMF_HINT_VARIABLE: i32 = 1;
pub(super) const SMF_HINT_EQUALS: i32 = 2;
pub(super) const SMF_HINT_IMPLEMENTS: i32 = 3;
pub(super) const SMF_HINT_USAGE: i32 = 4;

pub(super) const SMF_EXEC_PROCESS_SYMBOLS: i32 = 1;

pub(super) const SMF_TYPE_NONE: i32 = 0;
pub(super) const SMF_TYPE_I8: i32 = known(1, Scalar::I8 as i64);
pub(super) const SMF_TYPE_I16: i32 = known(2, Scalar::I16 as i64);
pub(super) const SMF_TYPE_I32: i32 = known(3, Scalar::I32 as i64);
pub(super) const SMF_TYPE_I64: i32 = known(4, Scalar::I64 as i64);
pub(super) const SMF_TYPE_U8: i32 = known(5, Scalar::U8 as i64);
pub(super) const SMF_TYPE_U16: i32 = known(6, Scalar::U16 as i64);
pub(super) const SMF_TYPE_U32: i32 = known(7, Scalar::U32 as i64);
pub(super) const SMF_TYPE_U64: i32 = known(8, Scalar::U64 as i64);
pub(super) const SMF_TYPE_F32: i32 = known(9, Scalar::F32 as i64);
pub(super) const SMF_TYPE_F64: i32 = known(10, Scalar::F64 as i64);
pub(super) const SMF_TYPE_BOOL: i32 = known(11, Scalar::Bool as i64);
pub(super) const SMF_TYPE_POINTER: i32 = known(12, Scalar::Pointer as i64);

pub(super) const SMF_SEVERITY_ERROR: i32 = 1;
pub(super) const SMF_SEVERITY_WARNING: i32 = 2;

pub(super) const SMF_EXEC_ALLOCATE: i32 = 1;
pub(super) const SMF_EXEC_PUBLISH: i32 = 2;
pub(super) const SMF_EXEC_FREE: i32 = 3;
pub(super) const SMF_EXEC_REFUSE: i32 = 4;

pub(super) const SMF_JIT_SILENT: i32 = 1;
pub(super) const SMF_JIT_DISABLED: i32 = 2;
pub(super) const SMF_JIT_VERBOSE: i32 = 4;
pub(super) const SMF_JIT_KEEP_CODE: i32 = 8;

pub(super) const SMF_JIT_SUCCESS: i32 = 0;
pub(super) const SMF_JIT_NOT_FOUND: i32 = 1;
pub(super) const SMF_JIT_CIRCULAR: i32 = 2;
pub(super) const SMF_JIT_FAILED: i32 = 3;
pub(super) const SMF_JIT_UPDATE_FAILED: i32 = 4;
pub(super) const SMF_JIT_DEFERRED: i32 = 5;

//! `smf_module_*`: the header and the sections of a module that a cache or a loader holds.
#![allow(unsafe_code)]

use std::ffi::c_char;
use std::ptr;

use smf_core::format::{Header, Layout, Section, SectionKind, Smf};
use smf_core::link::Name;

use super::args::{self, to_i64};
use super::cache_handles::with_held;
use super::constants::*;
use super::error::{ApiError, succeeded};
use super::loader_handles;
use super::versioned_struct::{self, versioned};

/// The header of a module.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfModuleHeader {
    /// In: `sizeof(SmfModuleHeader)`. Out: the number of bytes filled in.
    pub size: i64,
    /// The number of sections.
    pub sections: i64,
    /// The number of symbols.
    pub symbols: i64,
    /// The number of exported symbols, as the writer states it.
    pub exported: i64,
    /// The offset of the entry point from the start of the code section in bytes.
    pub entry_point: i64,
    /// The length of the stub before the module in bytes.
    pub stub_size: i64,
    /// A hash of the module, as the writer defines it.
    pub module_hash: u64,
    /// A hash of the source, as the writer defines it.
    pub source_hash: u64,
    /// `SMF_LAYOUT_*`.
    pub layout: i32,
    /// The major version of the format.
    pub version_major: i32,
    /// The minor version of the format.
    pub version_minor: i32,
    /// `SMF_PLATFORM_*`.
    pub platform: i32,
    /// `SMF_ARCH_*`.
    pub arch: i32,
    /// A sum of `SMF_MODULE_*`.
    pub flags: i32,
    /// The algorithm of compressed sections: `SMF_COMPRESSION_*`.
    pub compression: i32,
    /// The compression level, as the writer states it.
    pub compression_level: i32,
    /// The kind of program: `SMF_APP_*`.
    pub app_type: i32,
    /// The width of the window in pixels.
    pub window_width: i32,
    /// The height of the window in pixels.
    pub window_height: i32,
    /// The number of files on the command line to read ahead.
    pub prefetch_files: i32,
}

versioned!(SmfModuleHeader, 112);

/// A section of a module.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfModuleSection {
    /// In: `sizeof(SmfModuleSection)`. Out: the number of bytes filled in.
    pub size: i64,
    /// The name, not NUL-terminated.
    pub name: *const c_char,
    /// The length of the name in bytes.
    pub name_length: i64,
    /// The bytes in the file, compressed or not; null without bytes.
    pub bytes: *const u8,
    /// Their length.
    pub length: i64,
    /// Their offset in the file in bytes, as the table states it.
    pub offset: i64,
    /// The size in memory in bytes.
    pub memory_size: i64,
    /// The alignment in memory in bytes.
    pub alignment: i64,
    /// `SMF_SECTION_*`.
    pub kind: i32,
    /// A sum of `SMF_SECTION_FLAG_*`.
    pub flags: i32,
}

versioned!(SmfModuleSection, 72);

/// Fills in the header of a held module.
///
/// # Safety
/// `header` is null or points to the `size` bytes that its first field says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_module_header(
    from: u64,
    module: u64,
    header: *mut SmfModuleHeader,
) -> bool {
    // SAFETY: the caller's promise.
    let fill =
        |smf: &Smf<'_>| unsafe { versioned_struct::write(header, SmfModuleHeader::new(smf)) };
    succeeded(with_module(from, module, fill))
}

/// Fills in a section of a held module, by its index from 0.
///
/// # Safety
/// `section` is null or points to the `size` bytes that its first field says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_module_section(
    from: u64,
    module: u64,
    index: i64,
    section: *mut SmfModuleSection,
) -> bool {
    succeeded(with_module(from, module, |smf| {
        let index = args::length("the index of the section", index)?;
        let count = to_i64(smf.sections().len());
        let found = u32::try_from(index).ok().and_then(|index| smf.sections().get(index));
        let found = found.ok_or_else(|| ApiError::NoSection { index, count })?;
        // SAFETY: the caller's promise.
        unsafe { versioned_struct::write(section, SmfModuleSection::new(&found)) }
    }))
}

/// Calls `read` with a file that a cache holds, or with a version that a loader holds. Pointers into the module stay
/// valid while it is held.
///
/// # Errors
/// Those of the handles; [`ApiError::NotSmf`], a malformed module, and those of `read`.
pub(super) fn with_module<T>(
    from: u64,
    module: u64,
    read: impl FnOnce(&Smf<'_>) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    if loader_handles::is_loader(from) {
        let loader = loader_handles::enter(from)?;
        let version = loader.held_version(module)?;
        let not_smf = || Name::in_error(version.name(), |module| ApiError::NotSmf { module });
        return read(version.smf().ok_or_else(not_smf)?);
    }
    with_held(from, module, |view| read(&view.smf()?))
}

impl SmfModuleHeader {
    fn new(smf: &Smf<'_>) -> Self {
        let header = smf.header();
        let Header { version: (major, minor), platform, arch, flags, compression, .. } = header;
        Self {
            size: 0,
            sections: to_i64(smf.sections().len()),
            symbols: to_i64(smf.symbols().len()),
            exported: i64::from(header.exported_count),
            entry_point: to_i64(header.entry_point),
            stub_size: to_i64(smf.base()),
            module_hash: header.module_hash,
            source_hash: header.source_hash,
            layout: layout_code(smf.layout()),
            version_major: i32::from(major),
            version_minor: i32::from(minor),
            platform: i32::from(platform.0),
            arch: i32::from(arch.0),
            flags: flags.0.cast_signed(),
            compression: i32::from(compression.0),
            compression_level: i32::from(header.compression_level),
            app_type: i32::from(header.app_type.0),
            window_width: i32::from(header.window_width),
            window_height: i32::from(header.window_height),
            // At most 255.
            prefetch_files: header.files_to_prefetch() as i32,
        }
    }
}

impl SmfModuleSection {
    fn new(section: &Section<'_>) -> Self {
        let Section { name, data, .. } = section;
        Self {
            size: 0,
            name: name.as_ptr().cast(),
            name_length: to_i64(name.len()),
            bytes: if data.is_empty() { ptr::null() } else { data.as_ptr() },
            length: to_i64(data.len()),
            offset: to_i64(section.offset),
            memory_size: to_i64(section.memory_size()),
            alignment: to_i64(section.alignment),
            kind: section_kind_code(section.kind),
            flags: section.flags.0.cast_signed(),
        }
    }
}

/// `SMF_LAYOUT_*`.
fn layout_code(layout: Layout) -> i32 {
    match layout {
        Layout::Native => SMF_LAYOUT_NATIVE,
        Layout::Packed => SMF_LAYOUT_PACKED,
        Layout::Compact => SMF_LAYOUT_COMPACT,
        Layout::Dynlib => SMF_LAYOUT_DYNLIB,
        // No file has another layout.
        _ => 0,
    }
}

/// `SMF_SECTION_*`.
fn section_kind_code(kind: SectionKind) -> i32 {
    match kind {
        SectionKind::Unknown(_) => SMF_SECTION_UNKNOWN,
        SectionKind::Code => SMF_SECTION_CODE,
        SectionKind::Data => SMF_SECTION_DATA,
        SectionKind::RoData => SMF_SECTION_RODATA,
        SectionKind::Bss => SMF_SECTION_BSS,
        SectionKind::Reloc => SMF_SECTION_RELOC,
        SectionKind::SymTab => SMF_SECTION_SYMTAB,
        SectionKind::StrTab => SMF_SECTION_STRTAB,
        SectionKind::Debug => SMF_SECTION_DEBUG,
        SectionKind::TypeInfo => SMF_SECTION_TYPEINFO,
        SectionKind::Version => SMF_SECTION_VERSION,
        SectionKind::SrcMap => SMF_SECTION_SRCMAP,
        SectionKind::Note => SMF_SECTION_NOTE,
        SectionKind::TemplateCode => SMF_SECTION_TEMPLATE_CODE,
        SectionKind::TemplateMeta => SMF_SECTION_TEMPLATE_META,
        SectionKind::DrvManifest => SMF_SECTION_DRV_MANIFEST,
        SectionKind::LaunchMeta => SMF_SECTION_LAUNCH_META,
        SectionKind::AspectPackDirectory => SMF_SECTION_ASPECT_PACK,
    }
}

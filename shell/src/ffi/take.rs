//! `smf_take_*`: extracts functions and templates from modules, for a linker.
//!
//! The source is a module file that a cache holds, which may have unresolved imports, or a version that a loader
//! holds. Names, code and templates point into the bytes of that file and are valid while it is held. Relocations are
//! copied into an array of the caller, or are valid during a visitor's call.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_void};
use std::ops::Range;

use smf_core::alloc_util::try_push;
use smf_core::extract::{
    self, ExtractError, ExtractedReloc, FunctionBody, FunctionExtractor, TemplateBody,
};
use smf_core::format::template::Container;
use smf_core::format::{RelocKind, Smf};

use super::args::to_i64;
use super::constants::*;
use super::cptr::{slice_mut, text};
use super::error::{ApiError, ArgumentError, Code, attempt, succeeded};
use super::loader_symbols::symbol_kind_code;
use super::module_info::with_module;
use super::versioned_struct::{self, versioned};

/// A relocation of an extracted function. It will not get more fields.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfTakenReloc {
    /// In bytes from the start of the function.
    pub offset: i64,
    /// Added to the symbol's address.
    pub addend: i64,
    /// The name of the symbol, not NUL-terminated.
    pub symbol: *const c_char,
    /// The length of the name in bytes.
    pub symbol_length: i64,
    /// The symbol's offset in its section in bytes; 0 for an import.
    pub value: i64,
    /// The index of that section; -1 for an import.
    pub section: i32,
    /// `SMF_RELOC_*`.
    pub kind: i32,
    /// `SMF_SYMBOL_*`.
    pub symbol_kind: i32,
    /// `SMF_BINDING_*`.
    pub binding: i32,
}

/// An extracted function.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SmfConcrete {
    /// In: `sizeof(SmfConcrete)`. Out: the number of bytes filled in.
    pub size: i64,
    /// The name, not NUL-terminated.
    pub name: *const c_char,
    /// The length of the name in bytes.
    pub name_length: i64,
    /// The code; null if it cannot be extracted.
    pub bytes: *const u8,
    /// The length of the code in bytes.
    pub length: i64,
    /// The offset of the function in its section in bytes.
    pub offset: i64,
    /// The alignment of that section, in bytes.
    pub alignment: i64,
    /// The number of relocations.
    pub relocations: i64,
    /// `SMF_BINDING_*`.
    pub binding: i32,
    /// `SMF_OK`, or why it cannot be extracted.
    pub error: i32,
}

/// An extracted template.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SmfDeferred {
    /// In: `sizeof(SmfDeferred)`. Out: the number of bytes filled in.
    pub size: i64,
    /// The name, not NUL-terminated.
    pub name: *const c_char,
    /// The length of the name in bytes.
    pub name_length: i64,
    /// The whole entry in its container; null if it cannot be extracted.
    pub entry: *const u8,
    /// The length of the entry in bytes.
    pub entry_length: i64,
    /// The body, the last part of the entry.
    pub body: *const u8,
    /// The length of the body in bytes.
    pub body_length: i64,
    /// `SMF_CONTAINER_*`.
    pub container: i32,
    /// `SMF_TEMPLATE_*`.
    pub kind: i32,
    /// The number of type parameters; 0 if the container does not record it.
    pub parameters: i32,
    /// `SMF_OK`, or why it cannot be extracted.
    pub error: i32,
}

versioned!(SmfConcrete, 72);
versioned!(SmfDeferred, 72);

/// A callback for each function: receives it, its relocations and the user pointer. Returns whether to continue.
pub type SmfConcreteVisitor =
    Option<unsafe extern "C" fn(*const SmfConcrete, *const SmfTakenReloc, *mut c_void) -> bool>;

/// A callback for each template, as [`SmfConcreteVisitor`].
pub type SmfDeferredVisitor = Option<unsafe extern "C" fn(*const SmfDeferred, *mut c_void) -> bool>;

/// Extracts the function called `name` from a held module, with the first `count` of its relocations.
///
/// # Safety
/// `name` is null or NUL-terminated; `concrete` is null or points to the `size` bytes that its first field
/// says; `relocations` is null or points to memory for `count` relocations.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_take_concrete(
    from: u64,
    module: u64,
    name: *const c_char,
    concrete: *mut SmfConcrete,
    relocations: *mut SmfTakenReloc,
    count: i64,
) -> bool {
    succeeded(with_module(from, module, |smf| {
        // SAFETY: the caller's promise.
        unsafe { versioned_struct::check_optional(concrete) }?;
        let all = FunctionExtractor::new(smf)?;
        // SAFETY: as above.
        let output = unsafe { slice_mut("the list of relocations", relocations, count) }?;
        // SAFETY: as above.
        let found = all.function(unsafe { text("the name", name) }?)?;
        for (slot, reloc) in output.iter_mut().zip(found.relocations()) {
            slot.write(SmfTakenReloc::new(&reloc?));
        }
        // SAFETY: as above.
        unsafe { versioned_struct::write_optional(concrete, SmfConcrete::new(&found)) }
    }))
}

/// Calls `visit` for each function of a held module. Returns the number of calls; -1 on failure.
///
/// # Safety
/// `visit` is null, or may be called with these arguments and does not unwind.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_take_concretes(
    from: u64,
    module: u64,
    visit: SmfConcreteVisitor,
    user: *mut c_void,
) -> i64 {
    attempt(-1, || {
        let visit = visit.ok_or(ArgumentError::Null { what: "the visitor" })?;
        let (functions, relocs) = with_module(from, module, functions)?;
        Ok(visit_all(&functions, |(concrete, range)| {
            let relocs = relocs.get(range.clone()).unwrap_or_default();
            // SAFETY: the caller's promise.
            unsafe { visit(concrete, relocs.as_ptr(), user) }
        }))
    })
}

/// Extracts the template called `name` from a held module.
///
/// # Safety
/// `name` is null or NUL-terminated; `deferred` is null or points to the `size` bytes that its first field
/// says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_take_deferred(
    from: u64,
    module: u64,
    name: *const c_char,
    deferred: *mut SmfDeferred,
) -> bool {
    succeeded(with_module(from, module, |smf| {
        // SAFETY: the caller's promise.
        let name = unsafe { text("the name", name) }?;
        let found = extract::template(smf, name)?;
        // SAFETY: as above.
        unsafe { versioned_struct::write_optional(deferred, SmfDeferred::new(&found)) }
    }))
}

/// Calls `visit` for each template of a held module. Returns the number of calls; -1 on failure.
///
/// # Safety
/// `visit` is null, or may be called with these arguments and does not unwind.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_take_all_deferred(
    from: u64,
    module: u64,
    visit: SmfDeferredVisitor,
    user: *mut c_void,
) -> i64 {
    attempt(-1, || {
        let visit = visit.ok_or(ArgumentError::Null { what: "the visitor" })?;
        let templates = with_module(from, module, templates)?;
        // SAFETY: the caller's promise.
        Ok(visit_all(&templates, |deferred| unsafe { visit(deferred, user) }))
    })
}

/// Calls `visit` until it returns false; the number of calls. No object is in use meanwhile, so that `visit` may
/// release and close any.
pub(super) fn visit_all<T>(all: &[T], mut visit: impl FnMut(&T) -> bool) -> i64 {
    let visited = all.iter().position(|item| !visit(item)).map_or(all.len(), |last| last + 1);
    to_i64(visited)
}

/// Functions, each with the range of its relocations, and the relocations of all.
type Functions = (Vec<(SmfConcrete, Range<usize>)>, Vec<SmfTakenReloc>);

/// The functions of a module.
fn functions(smf: &Smf<'_>) -> Result<Functions, ApiError> {
    let all = FunctionExtractor::new(smf)?;
    let (mut functions, mut relocs) = Functions::default();
    for found in all.iter() {
        let first = relocs.len();
        let concrete = match found {
            Ok(found) => {
                for reloc in found.relocations() {
                    try_push(&mut relocs, SmfTakenReloc::new(&reloc?))?;
                }
                SmfConcrete::new(&found)
            }
            Err(ExtractError::Format(error)) => return Err(error.into()),
            Err(error) => SmfConcrete {
                error: Code::of_extract(&error) as i32,
                ..SmfConcrete::named(error.name().unwrap_or_default())
            },
        };
        try_push(&mut functions, (concrete, first..relocs.len()))?;
    }
    Ok((functions, relocs))
}

fn templates(smf: &Smf<'_>) -> Result<Vec<SmfDeferred>, ApiError> {
    let mut found = Vec::new();
    for item in extract::templates(smf)? {
        let deferred = match item {
            Ok(deferred) => SmfDeferred::new(&deferred),
            Err(ExtractError::Format(error)) => return Err(error.into()),
            Err(error) => SmfDeferred {
                error: Code::of_extract(&error) as i32,
                ..SmfDeferred::named(error.name().unwrap_or_default())
            },
        };
        try_push(&mut found, deferred)?;
    }
    Ok(found)
}

impl SmfConcrete {
    /// Nothing but a name.
    fn named(name: &[u8]) -> Self {
        Self {
            size: size_of::<Self>() as i64,
            name: name.as_ptr().cast(),
            name_length: to_i64(name.len()),
            ..Self::default()
        }
    }

    fn new(found: &FunctionBody<'_, '_>) -> Self {
        let FunctionBody { symbol, bytes, alignment, .. } = found;
        Self {
            bytes: bytes.as_ptr(),
            length: to_i64(bytes.len()),
            offset: symbol.value.cast_signed(),
            alignment: alignment.cast_signed(),
            relocations: to_i64(found.relocations().len()),
            binding: i32::from(symbol.binding.number()),
            ..Self::named(symbol.name())
        }
    }
}

impl SmfTakenReloc {
    fn new(reloc: &ExtractedReloc<'_>) -> Self {
        let ExtractedReloc { offset, kind, addend, symbol } = reloc;
        let section = symbol.section.filter(|_| !symbol.is_import());
        Self {
            offset: offset.cast_signed(),
            addend: *addend,
            symbol: symbol.name().as_ptr().cast(),
            symbol_length: to_i64(symbol.name().len()),
            value: if section.is_some() { symbol.value.cast_signed() } else { 0 },
            section: section.and_then(|section| i32::try_from(section).ok()).unwrap_or(-1),
            kind: reloc_code(*kind),
            symbol_kind: symbol_kind_code(symbol.kind),
            binding: i32::from(symbol.binding.number()),
        }
    }
}

impl SmfDeferred {
    /// Nothing but a name.
    fn named(name: &[u8]) -> Self {
        Self {
            size: size_of::<Self>() as i64,
            name: name.as_ptr().cast(),
            name_length: to_i64(name.len()),
            ..Self::default()
        }
    }

    fn new(found: &TemplateBody<'_>) -> Self {
        let TemplateBody { template, container, entry } = found;
        Self {
            entry: entry.as_ptr(),
            entry_length: to_i64(entry.len()),
            body: template.body.as_ptr(),
            body_length: to_i64(template.body.len()),
            container: match container {
                Container::Gtpl { constrained: false } => SMF_CONTAINER_GTPL,
                Container::Gtpl { constrained: true } => SMF_CONTAINER_GTPL_CONSTRAINED,
                Container::Counted => SMF_CONTAINER_COUNTED,
                Container::Records { .. } => SMF_CONTAINER_RECORDS,
            },
            kind: template.kind.map_or(SMF_TEMPLATE_UNKNOWN, |kind| kind as i32 + 1),
            parameters: i32::from(template.params),
            ..Self::named(template.name)
        }
    }
}

fn reloc_code(kind: RelocKind) -> i32 {
    match kind {
        RelocKind::None => SMF_RELOC_NONE,
        RelocKind::Abs64 => SMF_RELOC_ABS64,
        RelocKind::Pc32 => SMF_RELOC_PC32,
        RelocKind::Plt32 => SMF_RELOC_PLT32,
        RelocKind::GotPcRel => SMF_RELOC_GOTPCREL,
        RelocKind::Abs32 => SMF_RELOC_ABS32,
        RelocKind::Abs32S => SMF_RELOC_ABS32S,
        RelocKind::Pc64 => SMF_RELOC_PC64,
        RelocKind::Arm64Branch26 => SMF_RELOC_ARM64_BRANCH26,
        RelocKind::Arm64Page21 => SMF_RELOC_ARM64_PAGE21,
        RelocKind::Arm64PageOff12 => SMF_RELOC_ARM64_PAGEOFF12,
        RelocKind::Arm64GotLoadPage21 => SMF_RELOC_ARM64_GOT_LOAD_PAGE21,
        RelocKind::Arm64GotLoadPageOff12 => SMF_RELOC_ARM64_GOT_LOAD_PAGEOFF12,
        // Refused by the extraction.
        RelocKind::Unknown(_) => -1,
    }
}

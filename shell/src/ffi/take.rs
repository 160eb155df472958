//! `smf_take_*`: functions and templates taken out of modules, for a linker that makes another one of them.
//!
//! A linker takes from modules that lack what it is about to give them, so a file that a cache holds will
//! do; a version that a loader holds will as well. Whatever is told points into the bytes of that file:
//! they stay as long as the caller holds it, and nothing has to be freed. The list of relocations alone is
//! written out: into an array of the caller, or for as long as a visitor is shown it.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_void};
use std::ops::Range;

use smf_core::alloc_util::try_push;
use smf_core::cache::CacheError;
use smf_core::extract::{
    self, ExtractError, ExtractedReloc, FunctionBody, FunctionExtractor, TemplateBody,
};
use smf_core::format::template::Container;
use smf_core::format::{RelocKind, Smf};

use super::cptr::{slice_mut, text};
use super::error::{ApiError, Code, or};
use super::loader_symbols::{binding_code, kind_code};
use super::versioned_struct::{self, sized};
use super::{cache_handles, loader_handles};

/// One thing for the linker to do to a function that was taken. It never gets more fields.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfTakenReloc {
    /// Its place, in bytes from the begin of the function.
    pub offset: i64,
    /// What is added to the symbol's address.
    pub addend: i64,
    /// The name of the symbol, without a NUL behind it.
    pub symbol: *const c_char,
    /// Its bytes.
    pub symbol_length: i64,
    /// Where the symbol is, in bytes from the begin of its section; 0 for an import.
    pub value: i64,
    /// The number of that section; -1 for an import.
    pub section: i32,
    /// How it is computed: `SMF_RELOC_*`.
    pub kind: i32,
    /// What the symbol is: `SMF_SYMBOL_*`.
    pub symbol_kind: i32,
    /// `SMF_BINDING_*`.
    pub binding: i32,
}

/// A function with what it is made of.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfConcrete {
    /// `sizeof(SmfConcrete)`; how much of it was filled in.
    pub size: i64,
    /// Its name, without a NUL behind it.
    pub name: *const c_char,
    /// The bytes of the name.
    pub name_length: i64,
    /// Its code; null when it cannot be taken.
    pub bytes: *const u8,
    /// The bytes of the code.
    pub length: i64,
    /// Where it begins in its section, in bytes.
    pub offset: i64,
    /// The alignment of that section, in bytes.
    pub alignment: i64,
    /// How many relocations it has.
    pub relocations: i64,
    /// `SMF_BINDING_*`.
    pub binding: i32,
    /// `SMF_OK`, or why it cannot be taken.
    pub error: i32,
}

/// A template as it stands in its container.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfDeferred {
    /// `sizeof(SmfDeferred)`; how much of it was filled in.
    pub size: i64,
    /// Its name, without a NUL behind it.
    pub name: *const c_char,
    /// The bytes of the name.
    pub name_length: i64,
    /// All its bytes in the container; null when it cannot be taken.
    pub entry: *const u8,
    /// Their number.
    pub entry_length: i64,
    /// What its writer made of it: the last of those bytes.
    pub body: *const u8,
    /// Their number.
    pub body_length: i64,
    /// `SMF_CONTAINER_*`.
    pub container: i32,
    /// `SMF_TEMPLATE_*`.
    pub kind: i32,
    /// How many type parameters it has; 0 where its container does not say.
    pub parameters: i32,
    /// `SMF_OK`, or why it cannot be taken.
    pub error: i32,
}

sized!(SmfConcrete, 72);
sized!(SmfDeferred, 72);

/// Who is shown each function, its relocations, and what was given with it. Returns whether to go on.
pub type SmfConcreteVisitor =
    Option<unsafe extern "C" fn(*const SmfConcrete, *const SmfTakenReloc, *mut c_void) -> bool>;

/// Who is shown each template, as [`SmfConcreteVisitor`].
pub type SmfDeferredVisitor = Option<unsafe extern "C" fn(*const SmfDeferred, *mut c_void) -> bool>;

/// Takes the function called `name` out of a module that is held, with the first `count` of its relocations.
///
/// # Safety
/// `name` is null or points to bytes that end with a NUL; `concrete` is null or points to the `size` bytes
/// that its first field says; `relocations` is null or points to room for `count`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_take_concrete(
    from: u64,
    module: u64,
    name: *const c_char,
    concrete: *mut SmfConcrete,
    relocations: *mut SmfTakenReloc,
    count: i64,
) -> bool {
    // SAFETY: passed on to the caller.
    let name = unsafe { text("the name", name) };
    // SAFETY: as above.
    let room = unsafe { slice_mut("the list of relocations", relocations, count) };
    let taken = look_into(from, module, |smf| {
        // SAFETY: as above.
        unsafe { versioned_struct::check_wanted(concrete) }?;
        let (all, room) = (FunctionExtractor::new(smf)?, room?);
        let found = all.function(name?.to_bytes())?;
        for (place, reloc) in room.iter_mut().zip(found.relocations()) {
            place.write(SmfTakenReloc::of(&reloc?));
        }
        // SAFETY: as above.
        unsafe { versioned_struct::write_wanted(concrete, SmfConcrete::of(&found)) }?;
        Ok(true)
    });
    or(false, taken)
}

/// Shows each function of a module that is held. Returns how many were shown; -1 on failure.
///
/// # Safety
/// `visit` is null, or may be called so and does not unwind.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_take_concretes(
    from: u64,
    module: u64,
    visit: SmfConcreteVisitor,
    user: *mut c_void,
) -> i64 {
    let wanted = visit.ok_or(ApiError::Null { what: "the visitor" });
    let found = wanted.and_then(|visit| Ok((visit, look_into(from, module, Gathered::of)?)));
    let shown = found.map(|(visit, Gathered { functions, relocs })| {
        show(&functions, |(concrete, of_it)| {
            let relocs = relocs.get(of_it.clone()).unwrap_or_default();
            // SAFETY: passed on to the caller.
            unsafe { visit(concrete, relocs.as_ptr(), user) }
        })
    });
    or(-1, shown)
}

/// Takes the template called `name` out of a module that is held.
///
/// # Safety
/// `name` is null or points to bytes that end with a NUL; `deferred` is null or points to the `size` bytes
/// that its first field says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_take_deferred(
    from: u64,
    module: u64,
    name: *const c_char,
    deferred: *mut SmfDeferred,
) -> bool {
    // SAFETY: passed on to the caller.
    let name = unsafe { text("the name", name) };
    let taken = look_into(from, module, |smf| {
        let found = extract::template(smf, name?.to_bytes())?;
        // SAFETY: as above.
        unsafe { versioned_struct::write_wanted(deferred, SmfDeferred::of(&found)) }?;
        Ok(true)
    });
    or(false, taken)
}

/// Shows each template of a module that is held. Returns how many were shown; -1 on failure.
///
/// # Safety
/// `visit` is null, or may be called so and does not unwind.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_take_all_deferred(
    from: u64,
    module: u64,
    visit: SmfDeferredVisitor,
    user: *mut c_void,
) -> i64 {
    let wanted = visit.ok_or(ApiError::Null { what: "the visitor" });
    let found = wanted.and_then(|visit| Ok((visit, look_into(from, module, templates)?)));
    // SAFETY: passed on to the caller.
    or(-1, found.map(|(visit, found)| show(&found, |deferred| unsafe { visit(deferred, user) })))
}

/// Shows one after another until `visit` has had enough; how many. Nothing is entered meanwhile, so that it
/// may release and close what it likes.
fn show<T>(all: &[T], mut visit: impl FnMut(&T) -> bool) -> i64 {
    let shown = all.iter().position(|one| !visit(one)).map_or(all.len(), |last| last + 1);
    i64::try_from(shown).unwrap_or(i64::MAX)
}

/// Reads the module that C means: a file that a cache holds for it, or a version that a loader does. What
/// comes out of it stays good as long as that is held.
fn look_into<T>(
    from: u64,
    module: u64,
    read: impl FnOnce(&Smf<'_>) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    if loader_handles::is_number(from) {
        let loader = loader_handles::enter(from)?;
        let version = loader.held_version(module)?;
        let name = version.name();
        return read(version.smf().ok_or_else(|| ApiError::no_smf(name))?);
    }
    let cache = cache_handles::enter(from)?;
    let handle = cache.handle_of(module)?;
    let view = cache.get_by_handle(handle)?;
    if !cache.is_retained(handle) {
        return Err(CacheError::NotRetained { handle }.into());
    }
    read(&view.smf()?)
}

/// The functions of a module, and the relocations of all of them.
#[derive(Default)]
struct Gathered {
    functions: Vec<(SmfConcrete, Range<usize>)>,
    relocs: Vec<SmfTakenReloc>,
}

impl Gathered {
    fn of(smf: &Smf<'_>) -> Result<Self, ApiError> {
        let all = FunctionExtractor::new(smf)?;
        let mut gathered = Self::default();
        for found in all.iter() {
            let first = gathered.relocs.len();
            let concrete = match found {
                Ok(found) => {
                    for reloc in found.relocations() {
                        try_push(&mut gathered.relocs, SmfTakenReloc::of(&reloc?))?;
                    }
                    SmfConcrete::of(&found)
                }
                Err(ExtractError::Format(error)) => return Err(error.into()),
                Err(error) => {
                    let nothing = SmfConcrete::named(error.name().unwrap_or_default());
                    SmfConcrete { error: code(&error), ..nothing }
                }
            };
            try_push(&mut gathered.functions, (concrete, first..gathered.relocs.len()))?;
        }
        Ok(gathered)
    }
}

fn templates(smf: &Smf<'_>) -> Result<Vec<SmfDeferred>, ApiError> {
    let mut found = Vec::new();
    for item in extract::templates(smf)? {
        let deferred = match item {
            Ok(deferred) => SmfDeferred::of(&deferred),
            Err(ExtractError::Format(error)) => return Err(error.into()),
            Err(error) => {
                let nothing = SmfDeferred::named(error.name().unwrap_or_default());
                SmfDeferred { error: code(&error), ..nothing }
            }
        };
        try_push(&mut found, deferred)?;
    }
    Ok(found)
}

impl SmfConcrete {
    const SIZE: i64 = size_of::<Self>() as i64;

    fn named(name: &[u8]) -> Self {
        let (name, name_length) = text_of(name);
        let (bytes, length) = (std::ptr::null(), 0);
        let (offset, alignment, relocations, binding, error) = (0, 0, 0, 0, 0);
        let size = Self::SIZE;
        Self {
            size,
            name,
            name_length,
            bytes,
            length,
            offset,
            alignment,
            relocations,
            binding,
            error,
        }
    }

    fn of(found: &FunctionBody<'_, '_>) -> Self {
        let FunctionBody { symbol, bytes, alignment, .. } = found;
        Self {
            bytes: bytes.as_ptr(),
            length: number(bytes.len()),
            offset: symbol.value.cast_signed(),
            alignment: alignment.cast_signed(),
            relocations: number(found.relocations().len()),
            binding: binding_code(symbol.binding),
            ..Self::named(symbol.name())
        }
    }
}

impl SmfTakenReloc {
    fn of(reloc: &ExtractedReloc<'_>) -> Self {
        let ExtractedReloc { offset, kind, addend, symbol } = reloc;
        let (name, symbol_length) = text_of(symbol.name());
        let section = symbol.section.filter(|_| !symbol.is_import());
        Self {
            offset: offset.cast_signed(),
            addend: *addend,
            symbol: name,
            symbol_length,
            value: if section.is_some() { symbol.value.cast_signed() } else { 0 },
            section: section.and_then(|section| i32::try_from(section).ok()).unwrap_or(-1),
            kind: reloc_code(*kind),
            symbol_kind: kind_code(symbol.kind),
            binding: binding_code(symbol.binding),
        }
    }
}

impl SmfDeferred {
    const SIZE: i64 = size_of::<Self>() as i64;

    fn named(name: &[u8]) -> Self {
        let (name, name_length) = text_of(name);
        let (entry, entry_length) = (std::ptr::null(), 0);
        let (body, body_length) = (entry, entry_length);
        let (container, kind, parameters, error) = (0, 0, 0, 0);
        let size = Self::SIZE;
        Self {
            size,
            name,
            name_length,
            entry,
            entry_length,
            body,
            body_length,
            container,
            kind,
            parameters,
            error,
        }
    }

    fn of(found: &TemplateBody<'_>) -> Self {
        let TemplateBody { template, container, entry } = found;
        Self {
            entry: entry.as_ptr(),
            entry_length: number(entry.len()),
            body: template.body.as_ptr(),
            body_length: number(template.body.len()),
            container: match container {
                Container::Gtpl { constrained: false } => 1,
                Container::Gtpl { constrained: true } => 2,
                Container::Counted => 3,
            },
            kind: template.kind.map_or(0, |kind| i32::from(kind.code()) + 1),
            parameters: i32::from(template.params),
            ..Self::named(template.name)
        }
    }
}

fn reloc_code(kind: RelocKind) -> i32 {
    match kind {
        RelocKind::None => 0,
        RelocKind::Abs64 => 1,
        RelocKind::Pc32 => 2,
        RelocKind::Plt32 => 3,
        RelocKind::GotPcRel => 4,
        RelocKind::Abs32 => 5,
        RelocKind::Abs32S => 6,
        RelocKind::Pc64 => 7,
        RelocKind::Arm64Branch26 => 8,
        RelocKind::Arm64Page21 => 9,
        RelocKind::Arm64PageOff12 => 10,
        RelocKind::Arm64GotLoadPage21 => 11,
        RelocKind::Arm64GotLoadPageOff12 => 12,
        // Refused before anything is taken.
        RelocKind::Unknown(_) => -1,
    }
}

/// A name as C has it, which knows where it ends by its length.
fn text_of(name: &[u8]) -> (*const c_char, i64) {
    (name.as_ptr().cast(), number(name.len()))
}

/// The length of a slice, which fits.
fn number(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}

/// The number of the error that taking one thing gave.
fn code(error: &ExtractError<'_>) -> i32 {
    Code::of_take(error) as i32
}

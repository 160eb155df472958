//! The image of a module: its sections at their final addresses, in pages that are still writable.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::eh_frame;
use super::error::{LinkError, Result};
use super::file_parts::{self, Piece};
use super::host_resources::{EhFrame, HostResources};
use super::host_services::{
    Host, HostServiceError, HostServices, LibraryToken, TlsBlock, TlsTemplate,
};
use super::init_arrays::{self, InitArrays};
use super::layout::ImageLayout;
use super::libraries::Libraries;
use super::machine::{HOST_PLATFORM, host_arch};
use super::module::{Module, Pages};
use super::preserved_data::{self, DataSymbol, PreserveError};
use super::relocate::{self, PreparedRelocation, Requirements};
use super::resolve::{Exports, Resolve};
use crate::alloc_util::{TryArc, try_box, try_collect};
use crate::format::{Layout, Platform, Section, SectionKind, Smf, functions};
use crate::memory::{FilePart, GuardedFile, PageCount, PagePool, Placement, WritablePages};

/// A module whose addresses are final and whose pages are still writable.
pub struct Image<'d> {
    smf: Smf<'d>,
    /// The ELF object in the code section, if the code is one.
    object: Option<Box<Smf<'d>>>,
    layout: Box<ImageLayout<'d>>,
    pages: WritablePages,
    exports: Exports<'d>,
    pool: Option<TryArc<PagePool>>,
    /// The mapped file that `smf` lies in, if some pages of the image are pages of it.
    file: Option<TryArc<GuardedFile>>,
    parts: Vec<FilePart>,
}

/// Where the pages of an image come from.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sources<'s> {
    /// Pages of unloaded modules.
    pub(crate) pool: Option<&'s TryArc<PagePool>>,
    /// The mapped file that the module lies in, pages of which may become pages of the image.
    pub(crate) file: Option<&'s TryArc<GuardedFile>>,
}

/// Whether pages of files become pages of images.
const MAPS_FILES: bool = cfg!(feature = "all-files");

/// What an image should lie near.
pub(crate) struct Reach<'r> {
    /// An address that it should reach if code in it addresses no import by a 32-bit distance.
    pub(crate) neighbour: Option<u64>,
    /// The addresses of imports that are known before the image is mapped.
    pub(crate) imports: &'r dyn Fn(&[u8]) -> Option<u64>,
}

impl<'d> Image<'d> {
    /// Assigns an address to every section of `smf` and copies or decompresses it there.
    ///
    /// `smf` need not be verified: symbols are checked here, and so are relocations that affect the size of the image.
    /// [`Image::link`] checks 64-bit absolute addresses, the most frequent relocations, when it applies them.
    ///
    /// # Errors
    /// [`LinkError`]: a module for another machine or system, or of a kind that cannot be linked; a malformed
    /// file; a relocation kind of another machine; a failed allocation.
    pub fn map(smf: &Smf<'d>) -> Result<Self> {
        Self::map_with(smf, Sources::default(), Placement::Anywhere, &|_| None)
    }

    /// As [`Image::map`], with pages from `pool`, which they return to when the module is dropped.
    ///
    /// # Errors
    /// As [`Image::map`].
    pub fn map_in(smf: &Smf<'d>, pool: &TryArc<PagePool>) -> Result<Self> {
        let sources = Sources { pool: Some(pool), file: None };
        Self::map_with(smf, sources, Placement::Anywhere, &|_| None)
    }

    /// Whether code addresses an import by a 32-bit distance.
    pub(crate) fn has_near_imports(&self) -> bool {
        self.layout.has_near_imports
    }

    /// The address of the first page.
    pub(crate) fn address(&self) -> u64 {
        self.pages.address() as u64
    }

    /// As [`Image::map_in`], with `data` left at its address in an older version of the module. The pages are
    /// allocated within reach of the first datum if possible, and without data, within `reach`.
    ///
    /// # Errors
    /// [`PreserveError`]; as [`Image::map_in`].
    pub(crate) fn map_preserving(
        smf: &Smf<'d>,
        sources: Sources<'_>,
        data: &[DataSymbol<'_>],
        reach: &Reach<'_>,
    ) -> Result<Self, PreserveError> {
        let first = data.first().map(|datum| datum.address).or(reach.neighbour);
        let first = first.and_then(|address| usize::try_from(address).ok());
        let placement = first.map_or(Placement::Anywhere, Placement::PreferNear);
        let none = |_: &[u8]| None;
        let imports = if data.is_empty() { reach.imports } else { &none };
        // Code that refers to preserved data is relocated, so that its pages are not those of the file.
        let file = sources.file.filter(|_| data.is_empty());
        let sources = Sources { file, ..sources };
        let mut image = Self::map_with(smf, sources, placement, imports)?;
        if !data.is_empty() {
            let linked = image.object.as_deref().unwrap_or(&image.smf);
            let preserved = preserved_data::find(linked, data)?;
            preserved_data::apply(linked, &mut image.layout, &preserved)?;
            let addresses = addresses(&image.layout, &image.pages)?;
            image.exports = Exports::new(linked.symbols(), addresses, preserved)?;
        }
        Ok(image)
    }

    fn map_with(
        smf: &Smf<'d>,
        sources: Sources<'_>,
        placement: Placement,
        imports: &dyn Fn(&[u8]) -> Option<u64>,
    ) -> Result<Self> {
        check_host(smf)?;
        let object = linked_object(smf)?;
        let linked = object.as_deref().unwrap_or(smf);
        let layout = ImageLayout::new(linked, PageCount::one().bytes() as u64)?;
        let size = PageCount::covering(layout.size)?;
        let near = layout.near_imports(linked, imports)?.and_then(near);
        let file = sources.file.filter(|_| MAPS_FILES);
        let parts = match file {
            Some(file) => file_parts::find(linked, &layout, file.as_slice())?,
            None => Vec::new(),
        };
        let file = file.filter(|_| !parts.is_empty());
        // Pages of the pool are in memory already; replacing them would waste that.
        let pool = sources.pool.filter(|_| parts.is_empty());
        let (mut pool, placement) = match near {
            _ if layout.needs_low_2gib => (None, Placement::Low2GiB),
            Some(near) => (pool, near),
            None => (pool, placement),
        };
        let alignment = PageCount::covering(layout.alignment)?;
        // The pool takes no account of alignments.
        pool = pool.filter(|_| alignment <= PageCount::one());
        let mut pages = match pool {
            Some(pool) => pool.take(size, placement)?,
            None => WritablePages::allocate_aligned(size, alignment, placement)?,
        };
        copy_sections(linked, &layout, &parts, &mut pages)?;
        let exports = Exports::new(linked.symbols(), addresses(&layout, &pages)?, Vec::new())?;
        let (pool, file) = (pool.cloned(), file.cloned());
        Ok(Image { smf: *smf, object, layout, pages, exports, pool, file, parts })
    }

    /// The exported symbols, with their final addresses.
    pub fn exports(&self) -> Exports<'d> {
        self.exports.clone()
    }

    /// Resolves the imports through `imports`, applies every relocation and publishes the pages.
    ///
    /// # Errors
    /// [`LinkError`]: an unresolved import that is not weak; a malformed relocation or one out of range; pages
    /// that the kernel refuses to protect. The image is dropped.
    pub fn link(self, imports: &dyn Resolve) -> Result<Module<'d>> {
        self.link_with(imports, Host::NONE)
    }

    /// As [`Image::link`], with the services of the process that the module may need.
    ///
    /// # Errors
    /// As [`Image::link`]; [`LinkError::Host`] for a service that the process does not grant.
    pub fn link_with(self, imports: &dyn Resolve, host: Host) -> Result<Module<'d>> {
        let libraries = Libraries::open(&self.smf, host, false)?;
        let module = self.prepare(imports, libraries, false)?.link(imports)?;
        module.resolve_indirect_functions()?;
        Ok(module)
    }

    /// Checks what [`Image::link`] checks before it publishes the pages, as if every import had an address in the image and
    /// the process granted every service. Nothing runs, and no library is opened.
    ///
    /// # Errors
    /// As [`Image::link`], but for unresolved imports and refused services.
    pub fn check(self) -> Result<()> {
        let base = self.address();
        let anything = move |_: &[u8]| Some(base);
        let libraries = Libraries::unopened(&self.smf, Host::new(&EveryService))?;
        self.prepare(&anything, libraries, false)?.relocate(&anything).map(|_| ())
    }

    /// Resolves the imports and allocates the thread-local storage. `libraries` are those that the module needs.
    /// `has_static_users`: other modules access that storage at a fixed offset from the thread pointer.
    pub(crate) fn prepare(
        mut self,
        imports: &dyn Resolve,
        libraries: Libraries,
        has_static_users: bool,
    ) -> Result<PreparedImage<'d>> {
        let linked = self.object.as_deref().unwrap_or(&self.smf);
        let memory = (self.pages.address() as u64, self.pages.as_mut_slice());
        let mut resources = HostResources::new(libraries);
        let (layout, is_static) = (&self.layout, has_static_users);
        let relocation =
            relocate::prepare(linked, layout, memory, imports, is_static, &mut resources)?;
        Ok(PreparedImage { relocation, resources, image: self })
    }
}

/// An image whose imports are resolved and whose thread-local storage is allocated.
pub(crate) struct PreparedImage<'d> {
    relocation: PreparedRelocation<'d>,
    /// Dropped before the pages.
    resources: HostResources,
    image: Image<'d>,
}

impl<'d> PreparedImage<'d> {
    /// The thread-local storage of the module.
    pub(crate) fn tls(&self) -> Option<TlsBlock> {
        self.resources.tls
    }

    /// Applies every relocation, and checks the constructors and the unwinding tables.
    #[inline]
    fn relocate(self, modules: &dyn Resolve) -> Result<RelocatedImage<'d>> {
        let Self { relocation, mut resources, mut image } = self;
        let linked = image.object.as_deref().unwrap_or(&image.smf);
        let (base, memory) = (image.pages.address() as u64, image.pages.as_mut_slice());
        let needs = relocation.requirements;
        relocation.apply(linked, &image.layout, (base, memory), modules, &mut resources)?;
        let init = InitArrays::read(linked, &image.layout, base, memory, needs.constructors)?;
        let contents = (base, &*memory, &*image.parts);
        let eh_frame = find_eh_frame(linked, &image.layout, contents, needs.unwinding)?;
        Ok(RelocatedImage { image, resources, needs, init, eh_frame })
    }

    /// As [`Image::link_with`], without calling the resolvers of indirect functions, which may need modules that are not
    /// linked yet. `modules` resolves the thread-local symbols of other modules.
    pub(crate) fn link(self, modules: &dyn Resolve) -> Result<Module<'d>> {
        let relocated = self.relocate(modules)?;
        let RelocatedImage { image: this, resources, needs, init, eh_frame } = relocated;
        let Image { smf, object, exports, pool, parts, .. } = this;
        let segments = this.layout.segments;
        let pages = match this.file.filter(|_| MAPS_FILES) {
            Some(file) => Pages::File(GuardedFile::publish(&file, this.pages, &segments, &parts)?),
            None => Pages::Private { pages: Some(this.pages.publish(&segments)?), pool },
        };
        // A failure drops the resources before the pages.
        let mut module = Module { smf, object, resources, pages, segments, exports, init };
        let Module { resources, init, .. } = &mut module;
        if let Some(eh_frame) = eh_frame {
            resources.register_unwinding(eh_frame, needs.unwinding)?;
        }
        if !init.is_empty() {
            resources.init = Some(resources.services.prepare_init(&init.functions())?);
        }
        Ok(module)
    }
}

/// An image whose contents are final.
struct RelocatedImage<'d> {
    image: Image<'d>,
    /// Dropped before the pages.
    resources: HostResources,
    needs: Requirements,
    init: InitArrays,
    eh_frame: Option<EhFrame>,
}

/// Grants what relocation asks for, to no effect.
struct EveryService;

/// Its addresses mean nothing.
const BLOCK: TlsBlock = TlsBlock { module: 1, block_offset: 0, offset: Some(0), token: 0 };

impl HostServices for EveryService {
    fn allocate_tls(&self, _: &TlsTemplate<'_>) -> Result<TlsBlock, HostServiceError> {
        Ok(BLOCK)
    }

    fn find_tls(
        &self,
        _: &[u8],
        _: bool,
        _: &[LibraryToken],
    ) -> Result<Option<TlsBlock>, HostServiceError> {
        Ok(Some(BLOCK))
    }

    fn tls_descriptor_function(&self) -> Result<u64, HostServiceError> {
        Ok(0)
    }
}

/// The placement within reach of the addresses between two.
#[cold]
fn near((low, high): (u64, u64)) -> Option<Placement> {
    let (low, high) = usize::try_from(low).ok().zip(usize::try_from(high).ok())?;
    Some(Placement::PreferNearBoth(low, high))
}

/// The unwinding tables of an image, checked; `None` if there are none. The image has an address, its memory, and the
/// parts that are still to be mapped. `is_needed`: the module catches exceptions.
///
/// Distances in the tables are final in the prelinked layout, or the file has relocations for them. Otherwise
/// the tables are not used.
fn find_eh_frame(
    smf: &Smf<'_>,
    layout: &ImageLayout<'_>,
    (base, memory, parts): (u64, &[u8], &[FilePart]),
    is_needed: bool,
) -> Result<Option<EhFrame>> {
    let found = smf
        .sections()
        .named(b".eh_frame")
        .filter(|section| section.kind == SectionKind::RoData && !smf.layout().is_object());
    let Some((section, start)) = found.and_then(|s| Some((s, layout.section(s.index)?))) else {
        return Ok(None);
    };
    let is_relocated =
        || smf.reloc_tables().any(|table| table.is_ok_and(|t| t.target.index == section.index));
    if !layout.is_prelinked() && !is_relocated() {
        return if is_needed { Err(LinkError::Prelink) } else { Ok(None) };
    }
    let bytes = usize::try_from(start).ok().and_then(|start| {
        let size = usize::try_from(section.memory_size()).ok()?;
        // No relocation is left for a section with pages of the file, so that its bytes are those in the file.
        let is_mapped = file_parts::is_in(parts, start, size);
        if is_mapped { Some(section.data) } else { memory.get(start..)?.get(..size) }
    });
    let bytes = bytes.ok_or(LinkError::TooLarge)?;
    let address = base.checked_add(start).ok_or(LinkError::TooLarge)?;
    let code = init_arrays::code_ranges(smf, layout, base)?;
    eh_frame::check(section.index, bytes, address, &code)?;
    let address = usize::try_from(address).map_err(|_| LinkError::TooLarge)?;
    Ok(Some(EhFrame { address, size: bytes.len() }))
}

/// The address of each section; 0 if it is not loaded.
fn addresses(layout: &ImageLayout<'_>, pages: &WritablePages) -> Result<Vec<u64>> {
    let base = pages.address() as u64;
    Ok(try_collect(layout.sections.iter().map(|at| at.map_or(0, |at| base + at)))?)
}

fn check_host(smf: &Smf<'_>) -> Result<()> {
    let (module, host) = (smf.header().arch, host_arch());
    if module != host {
        return Err(LinkError::Arch { module, host });
    }
    match smf.header().platform {
        Platform::ANY | HOST_PLATFORM => Ok(()),
        module => Err(LinkError::Platform { module, host: HOST_PLATFORM }),
    }
}

/// The ELF object in the code section, if the code is one. Checks that the module has code or data that can be linked.
fn linked_object<'d>(smf: &Smf<'d>) -> Result<Option<Box<Smf<'d>>>> {
    if smf.layout() == Layout::Dynlib {
        return Err(LinkError::Dynlib);
    }
    let (mut has_contents, mut object) = (false, None);
    for section in smf.sections().iter().filter(|section| section.kind.is_loaded()) {
        if section.kind == SectionKind::Code {
            if section.is_compressed() {
                return Err(LinkError::CompressedCode { section: section.index });
            }
            if functions::is_bytecode(section.data) {
                return Err(LinkError::Bytecode);
            }
            object = object.or_else(|| Some(section).filter(Section::holds_object));
        }
        has_contents |= section.memory_size() != 0;
        // Before any page is allocated.
        smf.check_compressed(&section)?;
    }
    let Some(code) = object else {
        smf.verify_entry_point()?;
        return if has_contents { Ok(None) } else { Err(LinkError::NoCode) };
    };
    let object = try_box(smf.object_in(&code)?)?;
    let is_code = |section: Section<'_>| section.kind == SectionKind::Code && section.size != 0;
    if object.sections().iter().any(is_code) { Ok(Some(object)) } else { Err(LinkError::NoCode) }
}

/// The most bytes between sections that are prefaulted with them: less time than another system call takes.
const MAX_PREFAULTED_GAP: usize = 64 << 10;

/// Copies every section, except `parts`, to its place in ascending order and zeroes the gaps in reused pages.
fn copy_sections(
    smf: &Smf<'_>,
    layout: &ImageLayout<'_>,
    parts: &[FilePart],
    pages: &mut WritablePages,
) -> Result<()> {
    let pieces = file_parts::pieces(smf, layout, parts)?;
    let is_used = pages.is_reused();
    if !is_used {
        // Fresh pages behind the last section, and those of a file, stay untouched until they are used, and so do the many that
        // a section may have behind its contents.
        let is_near = |one: &Piece<'_>, next: &Piece<'_>| {
            let gap = next.place.start.saturating_sub(one.place.end);
            gap <= MAX_PREFAULTED_GAP && !file_parts::is_between(parts, one, next)
        };
        for run in pieces.chunk_by(is_near) {
            if let (Some(first), Some(last)) = (run.first(), run.last()) {
                pages.prefault_range(first.place.start..last.place.end)?;
            }
        }
    }
    let (memory, mut end) = (pages.as_mut_slice(), 0);
    for Piece { place, section, from } in pieces {
        let (before, rest) = memory.split_at_mut_checked(place.start).ok_or(LinkError::TooLarge)?;
        let target = rest.get_mut(..place.len()).ok_or(LinkError::TooLarge)?;
        if section.is_compressed() {
            smf.decompress_into(&section, target)?;
        } else {
            let bytes = section.data.get(from..).and_then(|data| data.get(..target.len()));
            target.copy_from_slice(bytes.ok_or(LinkError::TooLarge)?);
        }
        if is_used {
            before.get_mut(end..).unwrap_or(&mut []).fill(0);
        }
        end = place.end;
    }
    if is_used {
        // Pages behind the image become inaccessible and need no zeroes.
        let size = usize::try_from(layout.size).map_err(|_| LinkError::TooLarge)?;
        memory.get_mut(end..size).unwrap_or(&mut []).fill(0);
    }
    Ok(())
}

//! The note of a module: the copy in memory, and its update in the module's file.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use hashbrown::HashMap;

use super::code_cache::merge_records;
use super::error::UpdateError;
use super::instance::Instance;
use crate::alloc_util::sort::sort;
use crate::alloc_util::{AllocError, TryArc, try_collect, try_copy_bytes, try_copy_str, try_push};
use crate::format::ext::cached_code;
use crate::format::library::Library;
use crate::format::template::Templates;
use crate::format::write::library::with_module;
use crate::format::write::note_edit::{Call, LISTS_CALLS, with_made};
use crate::format::write::rewrite::{RewriteError, with_cached_code, with_note};
use crate::format::{FormatError, SectionKind, Smf};
use crate::link::Name;
use crate::memory::lock::Lock;
use crate::memory::{FileBytes, replace_file};

/// The storage of a module, which is updated with its note.
pub(super) enum Storage {
    /// Memory only.
    Memory,
    /// Memory only, of a module that a loader has read.
    Loader,
    /// The file at the module's path.
    File,
    /// The module `name` of the archive at `path`.
    Archive { path: Box<[u8]>, name: String },
}

impl Storage {
    pub(super) fn try_clone(&self) -> Result<Self, AllocError> {
        Ok(match self {
            Self::Memory => Self::Memory,
            Self::Loader => Self::Loader,
            Self::File => Self::File,
            Self::Archive { path, name } => {
                Self::Archive { path: try_copy_bytes(path)?, name: try_copy_str(name)? }
            }
        })
    }
}

/// The note of a module, and the updates that its file has not got yet.
pub(super) struct ModuleNote {
    pub(super) path: Name,
    storage: Storage,
    /// Whether the file gets the code of instances.
    caches_code: bool,
    text: Lock<NoteText>,
    /// Shared by the notes that replaced each other, so that no update is lost.
    queue: TryArc<Lock<Queue>>,
}

#[derive(Default)]
struct NoteText {
    text: Vec<u8>,
    /// The offset of the note in the file.
    offset: u64,
}

/// The updates that a file has not got yet.
#[derive(Default)]
struct Queue {
    /// Compiled instances that the file does not list.
    pending: Vec<Instance>,
    /// Code cache records that the file does not contain.
    records: Vec<Vec<u8>>,
}

impl ModuleNote {
    pub(super) fn new(path: Name, storage: Storage, caches_code: bool) -> Result<Self, AllocError> {
        let (text, queue) = (Lock::default(), TryArc::new(Lock::default())?);
        Ok(Self { path, storage, caches_code, text, queue })
    }

    /// Makes this the note that replaces `old`: it gets the updates which that was to get.
    pub(super) fn replace(&mut self, old: &Self) {
        self.queue = old.queue.clone();
    }

    pub(super) fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Whether a loader has read the module, so that its note is updated in memory only.
    pub(super) fn is_of_loader(&self) -> bool {
        matches!(self.storage, Storage::Loader)
    }

    /// Sets the text, which starts at `offset` in the file.
    pub(super) fn set_text(&self, text: Vec<u8>, offset: u64) {
        *self.text.lock() = NoteText { text, offset };
    }

    /// A copy of the text.
    pub(super) fn text(&self) -> Result<Vec<u8>, AllocError> {
        try_copy_bytes(&self.text.lock().text).map(Vec::from)
    }

    /// Whether the note in memory is `text`.
    pub(super) fn is_text(&self, text: &[u8]) -> bool {
        self.text.lock().text == text
    }

    /// Queues the move of a row to `instantiations`, and the instances that this one calls.
    pub(super) fn add_pending(&self, made: &Instance) -> Result<(), AllocError> {
        try_push(&mut self.queue.lock().pending, made.clone())
    }

    /// Queues a code cache record. False if the module has no file, or code is not cached.
    pub(super) fn add_record(&self, record: Vec<u8>) -> bool {
        let is_cached =
            self.caches_code && !matches!(self.storage, Storage::Memory | Storage::Loader);
        // Without memory the record is lost, and the instance is compiled again by another process.
        is_cached && try_push(&mut self.queue.lock().records, record).is_ok()
    }

    /// Writes the queued updates to the note in memory and to the file, and calls `replaced` with the path of the file,
    /// which may have been replaced even on failure.
    pub(super) fn write_pending(&self, replaced: &dyn Fn(&[u8])) -> Result<(), UpdateError> {
        let (mut pending, records) = {
            let mut queue = self.queue.lock();
            (core::mem::take(&mut queue.pending), core::mem::take(&mut queue.records))
        };
        // What was replaced meanwhile is made again of the new templates.
        pending.retain(Instance::is_current);
        if pending.is_empty() && records.is_empty() {
            return Ok(());
        }
        let written = self.write(&pending, &records);
        match &self.storage {
            Storage::Memory | Storage::Loader => {}
            Storage::File => replaced(&self.path),
            Storage::Archive { path, .. } => replaced(path),
        }
        if !matches!(written, Ok(()) | Err(UpdateError::Changed | UpdateError::CodeCache(_))) {
            // The next update tries again.
            let mut queue = self.queue.lock();
            requeue(&mut queue.pending, pending);
            requeue(&mut queue.records, records);
        }
        written
    }

    fn write(&self, pending: &[Instance], records: &[Vec<u8>]) -> Result<(), UpdateError> {
        // A note is text: a symbol that is not UTF-8 has no row.
        let made =
            pending.iter().filter_map(|made| Some((str::from_utf8(made.symbol()).ok()?, made)));
        let calls = made.clone().flat_map(|(caller, made)| {
            let calls = made.0.dependencies.calls.iter();
            calls.filter_map(move |called| Some((caller, str::from_utf8(called).ok()?)))
        });
        let symbols = ordered(made.map(|made| made.0))?;
        let calls = if LISTS_CALLS { ordered(calls)? } else { Vec::new() };
        let path = &lossy(&self.path);
        let update = Update { path, symbols: &symbols, calls: &calls, records };
        if !symbols.is_empty() {
            let mut note = self.text.lock();
            let edited = with_made(&note.text, note.offset, path, &symbols, &calls)?;
            note.text = edited.note;
        }
        let mut outcome = Ok(());
        let mut apply = |old: &[u8]| {
            let (module, applied) = update.apply(old)?;
            outcome = applied;
            Ok::<_, UpdateError>(module)
        };
        match &self.storage {
            Storage::Memory | Storage::Loader => {}
            Storage::File => drop(replace_file(&self.path, FileBytes::DEFAULT_LIMIT, apply)?),
            Storage::Archive { path, name } => {
                replace_file(path, FileBytes::DEFAULT_LIMIT, |old| {
                    let library = Library::parse(old)?;
                    let module = library.find(name).ok_or(UpdateError::Changed)??;
                    let new = apply(module.data)?;
                    let new = new.map(|new| with_module(&library, module.index, &new));
                    Ok::<_, UpdateError>(new.transpose()?)
                })?;
            }
        }
        outcome
    }
}

/// The items in ascending order, each once.
fn ordered<T: Ord>(items: impl Iterator<Item = T>) -> Result<Vec<T>, AllocError> {
    let mut items = try_collect(items)?;
    sort(&mut items);
    items.dedup();
    Ok(items)
}

/// Puts `taken` back in front of `list`. Without memory for both, `list` is lost.
fn requeue<T>(list: &mut Vec<T>, mut taken: Vec<T>) {
    if taken.try_reserve(list.len()).is_ok() {
        taken.append(list);
    }
    *list = taken;
}

/// Displays bytes as UTF-8 with replacement characters.
fn lossy(bytes: &[u8]) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        for chunk in bytes.utf8_chunks() {
            f.write_str(chunk.valid())?;
            if !chunk.invalid().is_empty() {
                f.write_char(char::REPLACEMENT_CHARACTER)?;
            }
        }
        Ok(())
    })
}

/// An update of a module's file.
struct Update<'p> {
    path: &'p dyn fmt::Display,
    /// The compiled instances, in ascending order.
    symbols: &'p [&'p str],
    /// The instances that they call, in ascending order.
    calls: &'p [Call<'p>],
    records: &'p [Vec<u8>],
}

/// The new bytes of a file, if they differ, and the part of the update that failed.
type Applied = (Option<Vec<u8>>, Result<(), UpdateError>);

impl Update<'_> {
    fn apply(&self, old: &[u8]) -> Result<Applied, UpdateError> {
        let (noted, is_listed) = self.with_rows_moved(old)?;
        let cached = self.with_records(noted.as_deref().unwrap_or(old));
        let (file, cached) = match cached {
            Ok(Some(file)) => (Some(file), Ok(())),
            Ok(None) => (noted, Ok(())),
            Err(RewriteError::Format(FormatError::OutOfMemory)) => return Err(AllocError.into()),
            Err(error) => (noted, Err(UpdateError::CodeCache(error))),
        };
        Ok((file, if is_listed { cached } else { Err(UpdateError::Changed) }))
    }

    /// Moves the rows of the symbols. Also returns whether the note lists all of them.
    fn with_rows_moved(&self, old: &[u8]) -> Result<(Option<Vec<u8>>, bool), UpdateError> {
        if self.symbols.is_empty() {
            return Ok((None, true));
        }
        let smf = Smf::parse(old)?;
        let (note, offset) = smf.note_contents()?.ok_or(UpdateError::Changed)?;
        let edited = with_made(&note, offset, self.path, self.symbols, self.calls)?;
        let is_listed = edited.done.iter().all(|done| *done);
        let new = edited.changed.then(|| with_note(&smf, &edited.note)).transpose()?;
        Ok((new, is_listed))
    }

    /// Adds the code cache records whose template bodies are unchanged.
    fn with_records(&self, old: &[u8]) -> Result<Option<Vec<u8>>, RewriteError> {
        if self.records.is_empty() {
            return Ok(None);
        }
        let smf = Smf::parse(old)?;
        let hashes = body_hashes(&smf)?;
        let payload = cached_code::payload_of(&smf).unwrap_or(&[]);
        let new = merge_records(payload, self.records, |template| hashes.get(template).copied())?;
        new.map(|payload| with_cached_code(&smf, &payload)).transpose()
    }
}

/// The hashes of the template bodies of a module, by template name.
fn body_hashes(smf: &Smf<'_>) -> Result<HashMap<Box<[u8]>, u64>, FormatError> {
    let mut hashes = HashMap::new();
    if let Some(section) = smf.sections().of_kind(SectionKind::TemplateCode) {
        let payload = smf.contents(&section)?;
        for template in Templates::parse(&payload, section.offset)?.iter() {
            let template = template?;
            hashes.try_reserve(1).map_err(|_| FormatError::OutOfMemory)?;
            let name = try_copy_bytes(template.name).map_err(|_| FormatError::OutOfMemory)?;
            hashes.entry(name).or_insert_with(|| cached_code::hash(template.body));
        }
    }
    Ok(hashes)
}

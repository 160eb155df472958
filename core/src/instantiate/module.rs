//! What one module says of its templates: which there are, and what they may become.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use core::hash::BuildHasher;
use core::ops::Range;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::error::{MetadataError, UpdateError};
use super::state::Symbol;
use crate::format::bytes::offset_in;
use crate::format::library::is_library;
use crate::format::note::Note;
use crate::format::note::edit::with_made;
use crate::format::renote::with_note;
use crate::format::sdn::Cell;
use crate::format::template::{TemplateKind, Templates};
use crate::format::{SectionKind, Smf};
use crate::memory::lock::Lock;
use crate::memory::{FileBytes, replace_file};

/// A row of `possible`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) symbol: Span,
    template: Span,
    arguments: Span,
    /// Of the note, from 1.
    pub(super) line: u32,
    /// The line of another row that means something else by the same symbol; 0 for none.
    pub(super) clash: u32,
}

/// Bytes of [`Module::text`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) len: u32,
}

/// A template and where it stands in [`Module::templates`].
struct TemplateEntry {
    name: Range<usize>,
    body: Range<usize>,
    kind: Option<TemplateKind>,
    params: u8,
}

/// A template as a compiler gets it.
#[derive(Clone, Copy)]
pub(super) struct FoundTemplate<'m> {
    pub(super) body: &'m [u8],
    pub(super) kind: Option<TemplateKind>,
    /// `None` where the container does not say.
    pub(super) parameters: Option<u8>,
}

/// The note and the templates of a module.
pub(super) struct Module {
    pub(super) path: Box<[u8]>,
    /// Whether the path is that of its file.
    on_disk: bool,
    templates: Vec<u8>,
    hasher: DefaultHashBuilder,
    by_name: HashTable<u32>,
    entries: Vec<TemplateEntry>,
    pub(super) rows: Vec<Row>,
    /// The cells of the rows, one after another.
    text: String,
    note: Lock<NoteText>,
}

/// The note as it is in memory.
struct NoteText {
    bytes: Vec<u8>,
    /// Where it began in the file.
    at: u64,
    /// The symbols that were made and that the file does not know of.
    pending: Vec<Symbol>,
}

impl Module {
    /// Reads the module at `path`.
    pub(super) fn read(path: &[u8]) -> Result<Self, MetadataError> {
        let bytes = FileBytes::read(path, FileBytes::DEFAULT_LIMIT)?;
        Self::parse(path, true, &bytes)
    }

    /// The module whose bytes these are.
    pub(super) fn parse(path: &[u8], on_disk: bool, bytes: &[u8]) -> Result<Self, MetadataError> {
        if is_library(bytes) {
            return Err(MetadataError::Archive);
        }
        let smf = Smf::parse(bytes)?;
        let mut module = Self {
            path: path.into(),
            on_disk,
            templates: Vec::new(),
            hasher: DefaultHashBuilder::default(),
            by_name: HashTable::new(),
            entries: Vec::new(),
            rows: Vec::new(),
            text: String::new(),
            note: Lock::new(NoteText { bytes: Vec::new(), at: 0, pending: Vec::new() }),
        };
        if let Some(section) = smf.sections().of_kind(SectionKind::TemplateCode) {
            module.templates = smf.contents(&section)?.to_vec();
            module.list_templates(section.offset)?;
        }
        if let Some((note, at)) = smf.note_contents()? {
            let note = note.to_vec();
            module.list_rows(&Note::parse(&note, at)?)?;
            let note = NoteText { bytes: note, at, pending: Vec::new() };
            module.note = Lock::new(note);
        }
        Ok(module)
    }

    fn list_templates(&mut self, at: u64) -> Result<(), MetadataError> {
        let payload = &self.templates;
        let place = |part: &[u8]| {
            let start = usize::try_from(offset_in(payload, part)).unwrap_or(0);
            start..start + part.len()
        };
        for template in Templates::parse(payload, at)?.iter() {
            let template = template?;
            let number = u32::try_from(self.entries.len()).map_err(|_| MetadataError::TooLarge)?;
            let (hasher, entries) = (&self.hasher, &self.entries);
            let hash_of = |number: &u32| hasher.hash_one(name_of(entries, payload, *number));
            let same = |number: &u32| name_of(entries, payload, *number) == template.name;
            let hash = hasher.hash_one(template.name);
            // Of two templates of one name the first counts.
            if let hashbrown::hash_table::Entry::Vacant(free) =
                self.by_name.entry(hash, same, hash_of)
            {
                free.insert(number);
            }
            let (name, body) = (place(template.name), place(template.body));
            let (kind, params) = (template.kind, template.params);
            self.entries.push(TemplateEntry { name, body, kind, params });
        }
        Ok(())
    }

    fn list_rows(&mut self, note: &Note<'_>) -> Result<(), MetadataError> {
        note.check()?;
        for row in note.possible() {
            let row = row?;
            let symbol = self.keep(row.mangled_name())?;
            let template = self.keep(row.template())?;
            let arguments = self.keep(row.type_args())?;
            self.rows.push(Row { symbol, template, arguments, line: row.row().line(), clash: 0 });
        }
        u32::try_from(self.rows.len()).map_err(|_| MetadataError::TooLarge)?;
        Ok(())
    }

    fn keep(&mut self, cell: Cell<'_>) -> Result<Span, MetadataError> {
        let start = self.text.len();
        match cell.as_plain() {
            Some(plain) => self.text.push_str(plain),
            // Writing to a string cannot fail.
            None => write!(self.text, "{cell}").map_err(|_| MetadataError::TooLarge)?,
        }
        let number = |len: usize| u32::try_from(len).map_err(|_| MetadataError::TooLarge);
        Ok(Span { start: number(start)?, len: number(self.text.len() - start)? })
    }

    #[inline]
    pub(super) fn text(&self, span: Span) -> &str {
        let at = |place: u32| usize::try_from(place).unwrap_or(usize::MAX);
        let start = at(span.start);
        self.text.get(start..start.saturating_add(at(span.len))).unwrap_or("")
    }

    pub(super) fn row(&self, row: u32) -> Option<Row> {
        self.rows.get(usize::try_from(row).ok()?).copied()
    }

    pub(super) fn row_template(&self, row: &Row) -> &str {
        self.text(row.template)
    }

    pub(super) fn row_arguments(&self, row: &Row) -> &str {
        self.text(row.arguments)
    }

    /// The template of this name.
    pub(super) fn template(&self, name: &[u8]) -> Option<FoundTemplate<'_>> {
        let same = |number: &u32| name_of(&self.entries, &self.templates, *number) == name;
        let number = *self.by_name.find(self.hasher.hash_one(name), same)?;
        let entry = self.entries.get(usize::try_from(number).ok()?)?;
        let body = self.templates.get(entry.body.clone())?;
        // The counted container does not know kinds either.
        let parameters = entry.kind.map(|_| entry.params);
        Some(FoundTemplate { body, kind: entry.kind, parameters })
    }

    /// The note as it is in memory.
    pub(super) fn note(&self) -> Vec<u8> {
        self.note.lock().bytes.clone()
    }

    /// Remembers that these were made.
    pub(super) fn add_pending(&self, symbol: &Symbol) {
        self.note.lock().pending.push(symbol.clone());
    }

    /// Moves what was made from `possible` to `instantiations`, in memory and in the file.
    pub(super) fn write_pending(&self) -> Result<(), UpdateError> {
        let pending = core::mem::take(&mut self.note.lock().pending);
        if pending.is_empty() {
            return Ok(());
        }
        // A note is text: what is none stands in no row.
        let symbols = pending.iter().filter_map(|symbol| core::str::from_utf8(symbol).ok());
        let symbols: BTreeSet<&str> = symbols.collect();
        let path = String::from_utf8_lossy(&self.path);
        let written = self
            .move_in_memory(&path, &symbols)
            .and_then(|()| if self.on_disk { self.move_on_disk(&path, &symbols) } else { Ok(()) });
        if written.is_err() && written != Err(UpdateError::Changed) {
            // Another time, perhaps.
            self.note.lock().pending.extend(pending);
        }
        written
    }

    fn move_in_memory(&self, path: &str, symbols: &BTreeSet<&str>) -> Result<(), UpdateError> {
        let mut note = self.note.lock();
        let edited = with_made(&note.bytes, note.at, path, symbols)?;
        note.bytes = edited.note;
        Ok(())
    }

    fn move_on_disk(&self, path: &str, symbols: &BTreeSet<&str>) -> Result<(), UpdateError> {
        let mut known = false;
        replace_file(&self.path, FileBytes::DEFAULT_LIMIT, |old| {
            let smf = Smf::parse(old)?;
            let (note, at) = smf.note_contents()?.ok_or(UpdateError::Changed)?;
            let edited = with_made(&note, at, path, symbols)?;
            known = symbols.iter().all(|symbol| edited.done.contains(*symbol));
            if !edited.changed {
                return Ok(None);
            }
            Ok::<_, UpdateError>(Some(with_note(&smf, &edited.note)?))
        })?;
        if known { Ok(()) } else { Err(UpdateError::Changed) }
    }
}

fn name_of<'m>(entries: &[TemplateEntry], payload: &'m [u8], number: u32) -> &'m [u8] {
    let entry = usize::try_from(number).ok().and_then(|number| entries.get(number));
    entry.and_then(|entry| payload.get(entry.name.clone())).unwrap_or(&[])
}

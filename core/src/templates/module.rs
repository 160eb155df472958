//! What one module says of its templates: which there are, and what they may become.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use core::hash::BuildHasher;
use core::ops::Range;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use super::code_cache::{Kept, with_records};
use super::error::{MetadataError, UpdateError};
use super::state::Symbol;
use crate::alloc_util::sort::sort;
use crate::alloc_util::{
    AllocError, TryWriter, try_collect, try_concat, try_copy_bytes as copy_of, try_copy_str,
    try_push, try_push_str,
};
use crate::format::bytes::offset_in;
use crate::format::ext::cached_code::{self, CachedCode};
use crate::format::library::{Library, is_library};
use crate::format::note::{Note, Status};
use crate::format::sdn::Cell;
use crate::format::template::{TemplateKind, Templates};
use crate::format::write::library::with_module;
use crate::format::write::note_edit::{JIT_MEMORY, with_made};
use crate::format::write::rewrite::{RewriteError, with_kept, with_note};
use crate::format::{FormatError, SectionKind, Smf};
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
    /// Whether the file says already that it was made.
    pub(super) is_told: bool,
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

/// Where a module is, and so who is told of what is made of it.
pub(super) enum Home {
    /// Nowhere but in memory.
    Memory,
    /// In the file of its path.
    File,
    /// In the archive at `path`, under this name.
    Archive { path: Box<[u8]>, name: String },
}

/// The note and the templates of a module.
pub(super) struct Module {
    pub(super) path: Box<[u8]>,
    home: Home,
    templates: Box<[u8]>,
    hasher: DefaultHashBuilder,
    by_name: HashTable<u32>,
    entries: Vec<TemplateEntry>,
    pub(super) rows: Vec<Row>,
    /// Rows of instances that were made in the memory of another process.
    pub(super) gone: Vec<Row>,
    /// The code that the file keeps, when that is asked for.
    kept: Option<Kept>,
    /// The cells of the rows, one after another.
    text: String,
    note: Lock<NoteText>,
}

/// The note as it is in memory.
#[derive(Default)]
struct NoteText {
    bytes: Vec<u8>,
    /// Where it began in the file.
    at: u64,
    /// The symbols that were made and that the file does not know of.
    pending: Vec<Symbol>,
    /// Records of code that the file does not have.
    records: Vec<Vec<u8>>,
}

impl Module {
    /// Reads the module at `path`.
    pub(super) fn read(path: &[u8], keep: bool) -> Result<Self, MetadataError> {
        let bytes = FileBytes::read(path, FileBytes::DEFAULT_LIMIT)?;
        Self::parse(path, Home::File, keep, &bytes)
    }

    /// Reads the module called `name` in the archive at `path`. Its own path is then `path(name)`.
    pub(super) fn read_archived(
        path: &[u8],
        name: &str,
        keep: bool,
    ) -> Result<Self, MetadataError> {
        let bytes = FileBytes::read(path, FileBytes::DEFAULT_LIMIT)?;
        let module = Library::parse(&bytes)?.find(name).ok_or(MetadataError::NoModule)??;
        let own = try_concat(&[path, b"(", name.as_bytes(), b")"])?;
        let home = Home::Archive { path: copy_of(path)?, name: try_copy_str(name)? };
        Self::parse(&own, home, keep, module.data)
    }

    /// The module whose bytes these are; `keep` when the code that it keeps is wanted.
    pub(super) fn parse(
        path: &[u8],
        home: Home,
        keep: bool,
        bytes: &[u8],
    ) -> Result<Self, MetadataError> {
        if is_library(bytes) {
            return Err(MetadataError::Archive);
        }
        let smf = Smf::parse(bytes)?;
        let kept = || Kept::new(cached_code::payload_of(&smf).unwrap_or(&[]));
        let mut module = Self {
            path: copy_of(path)?,
            home,
            templates: Box::default(),
            hasher: DefaultHashBuilder::default(),
            by_name: HashTable::new(),
            entries: Vec::new(),
            rows: Vec::new(),
            gone: Vec::new(),
            kept: keep.then(kept).transpose()?,
            text: String::new(),
            note: Lock::new(NoteText::default()),
        };
        if let Some(section) = smf.sections().of_kind(SectionKind::TemplateCode) {
            module.templates = copy_of(&smf.contents(&section)?)?;
            module.list_templates(section.offset)?;
        }
        if let Some((note, at)) = smf.note_contents()? {
            let note = copy_of(&note)?.into_vec();
            module.list_rows(&Note::parse(&note, at)?)?;
            let note = NoteText { bytes: note, at, ..NoteText::default() };
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
            self.by_name.try_reserve(1, hash_of).map_err(|_| AllocError)?;
            // Of two templates of one name the first counts.
            if let hashbrown::hash_table::Entry::Vacant(free) =
                self.by_name.entry(hash, same, hash_of)
            {
                free.insert(number);
            }
            let (name, body) = (place(template.name), place(template.body));
            let (kind, params) = (template.kind, template.params);
            try_push(&mut self.entries, TemplateEntry { name, body, kind, params })?;
        }
        Ok(())
    }

    fn list_rows(&mut self, note: &Note<'_>) -> Result<(), MetadataError> {
        note.check()?;
        for row in note.possible() {
            let row = row?;
            let cells = [row.mangled_name(), row.template(), row.type_args()];
            let row = self.row_of(cells, row.row().line())?;
            try_push(&mut self.rows, row)?;
        }
        for row in note.instantiations() {
            let row = row?;
            let by_a_loader = matches!(row.status(), Status::JitCompiled);
            if by_a_loader && row.to_obj().eq_str(JIT_MEMORY) {
                let cells = [row.mangled_name(), row.template(), row.type_args()];
                let row = self.row_of(cells, row.row().line())?;
                try_push(&mut self.gone, Row { is_told: true, ..row })?;
            }
        }
        u32::try_from(self.rows.len()).map_err(|_| MetadataError::TooLarge)?;
        Ok(())
    }

    fn row_of(&mut self, cells: [Cell<'_>; 3], line: u32) -> Result<Row, MetadataError> {
        let [symbol, template, arguments] = cells;
        let symbol = self.keep(symbol)?;
        let (template, arguments) = (self.keep(template)?, self.keep(arguments)?);
        Ok(Row { symbol, template, arguments, line, clash: 0, is_told: false })
    }

    fn keep(&mut self, cell: Cell<'_>) -> Result<Span, MetadataError> {
        let start = self.text.len();
        match cell.as_plain() {
            Some(plain) => try_push_str(&mut self.text, plain)?,
            None => write!(TryWriter(&mut self.text), "{cell}").map_err(|_| AllocError)?,
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
    pub(super) fn note(&self) -> Result<Vec<u8>, AllocError> {
        copy_of(&self.note.lock().bytes).map(Vec::from)
    }

    /// The sound records of code that the file keeps for a symbol; none when that was not asked for.
    pub(super) fn kept<'k>(&'k self, symbol: &'k [u8]) -> impl Iterator<Item = CachedCode<'k>> {
        self.kept.iter().flat_map(|kept| kept.find(symbol))
    }

    /// Remembers that this was made.
    pub(super) fn add_pending(&self, symbol: &Symbol) -> Result<(), AllocError> {
        try_push(&mut self.note.lock().pending, symbol.clone())
    }

    /// Remembers the record of an instance, if there is a file that can keep it; whether there is.
    pub(super) fn add_record(&self, record: Vec<u8>) -> bool {
        let wanted = !matches!(self.home, Home::Memory) && self.kept.is_some();
        // Without memory for it, it is compiled again another time.
        wanted && try_push(&mut self.note.lock().records, record).is_ok()
    }

    /// Moves what was made from `possible` to `instantiations`, in memory and in the file, and has the file
    /// keep its code.
    pub(super) fn write_pending(&self) -> Result<(), UpdateError> {
        let (pending, records) = {
            let mut note = self.note.lock();
            (core::mem::take(&mut note.pending), core::mem::take(&mut note.records))
        };
        if pending.is_empty() && records.is_empty() {
            return Ok(());
        }
        let written = self.tell(&pending, &records);
        if !matches!(written, Ok(()) | Err(UpdateError::Changed | UpdateError::CachePolicy(_))) {
            // Another time, perhaps.
            let mut note = self.note.lock();
            put_back(&mut note.pending, pending);
            put_back(&mut note.records, records);
        }
        written
    }

    fn tell(&self, pending: &[Symbol], records: &[Vec<u8>]) -> Result<(), UpdateError> {
        // A note is text: what is none stands in no row.
        let symbols = pending.iter().filter_map(|symbol| core::str::from_utf8(symbol).ok());
        let mut symbols = try_collect(symbols)?;
        sort(&mut symbols);
        symbols.dedup();
        let new = Pending { path: Lossy(&self.path), symbols: &symbols, records };
        self.move_in_memory(&new).and_then(|()| self.move_on_disk(&new))
    }

    fn move_in_memory(&self, new: &Pending<'_>) -> Result<(), UpdateError> {
        let mut note = self.note.lock();
        if !new.symbols.is_empty() {
            let edited = with_made(&note.bytes, note.at, &new.path, new.symbols)?;
            note.bytes = edited.note;
        }
        Ok(())
    }

    fn move_on_disk(&self, new: &Pending<'_>) -> Result<(), UpdateError> {
        let mut outcome = Ok(());
        let mut tell = |old: &[u8]| {
            let (module, told) = new.put_into(old)?;
            outcome = told;
            Ok::<_, UpdateError>(module)
        };
        match &self.home {
            Home::Memory => {}
            Home::File => drop(replace_file(&self.path, FileBytes::DEFAULT_LIMIT, tell)?),
            Home::Archive { path, name } => {
                replace_file(path, FileBytes::DEFAULT_LIMIT, |old| {
                    let library = Library::parse(old)?;
                    let module = library.find(name).ok_or(UpdateError::Changed)??;
                    let new = tell(module.data)?;
                    let new = new.map(|new| with_module(&library, module.index, &new));
                    Ok::<_, UpdateError>(new.transpose()?)
                })?;
            }
        }
        outcome
    }
}

/// A file that is another one now, if it is, and what could not be said in it.
type Put = (Option<Vec<u8>>, Result<(), UpdateError>);

/// Puts what was taken out of a list before what has come since. Without memory for both, what was taken
/// stays.
fn put_back<T>(list: &mut Vec<T>, mut taken: Vec<T>) {
    if taken.try_reserve(list.len()).is_ok() {
        taken.append(list);
    }
    *list = taken;
}

/// Bytes as text, with a sign for what is none.
struct Lossy<'p>(&'p [u8]);

impl fmt::Display for Lossy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            f.write_str(chunk.valid())?;
            if !chunk.invalid().is_empty() {
                f.write_char(char::REPLACEMENT_CHARACTER)?;
            }
        }
        Ok(())
    }
}

/// What a file is to be told.
struct Pending<'p> {
    path: Lossy<'p>,
    /// In ascending order.
    symbols: &'p [&'p str],
    records: &'p [Vec<u8>],
}

impl Pending<'_> {
    /// The file that knows it.
    fn put_into(&self, old: &[u8]) -> Result<Put, UpdateError> {
        let (noted, known) = self.with_note(old)?;
        let kept = self.with_records(noted.as_deref().unwrap_or(old));
        let (file, kept) = match kept {
            Ok(Some(file)) => (Some(file), Ok(())),
            Ok(None) => (noted, Ok(())),
            // Another time, perhaps.
            Err(RewriteError::Format(FormatError::OutOfMemory)) => {
                return Err(UpdateError::OutOfMemory);
            }
            Err(error) => (noted, Err(UpdateError::CachePolicy(error))),
        };
        Ok((file, if known { kept } else { Err(UpdateError::Changed) }))
    }

    /// With the rows moved, if any is to move; and whether all are where they belong.
    fn with_note(&self, old: &[u8]) -> Result<(Option<Vec<u8>>, bool), UpdateError> {
        if self.symbols.is_empty() {
            return Ok((None, true));
        }
        let smf = Smf::parse(old)?;
        let (note, at) = smf.note_contents()?.ok_or(UpdateError::Changed)?;
        let edited = with_made(&note, at, &self.path, self.symbols)?;
        let known = edited.done.iter().all(|done| *done);
        let new = edited.changed.then(|| with_note(&smf, &edited.note)).transpose()?;
        Ok((new, known))
    }

    /// With the code of instances whose templates are still the same.
    fn with_records(&self, old: &[u8]) -> Result<Option<Vec<u8>>, RewriteError> {
        if self.records.is_empty() {
            return Ok(None);
        }
        let smf = Smf::parse(old)?;
        let bodies = bodies_of(&smf)?;
        let body_of = |template: &[u8]| bodies.get(template).copied();
        let payload = cached_code::payload_of(&smf).unwrap_or(&[]);
        let new = with_records(payload, self.records, body_of)?;
        new.map(|payload| with_kept(&smf, &payload)).transpose()
    }
}

/// What the bodies of the templates of a module hash to, by the names of the templates.
fn bodies_of(smf: &Smf<'_>) -> Result<HashMap<Box<[u8]>, u64>, FormatError> {
    let mut bodies = HashMap::new();
    if let Some(section) = smf.sections().of_kind(SectionKind::TemplateCode) {
        let payload = smf.contents(&section)?;
        for template in Templates::parse(&payload, section.offset)?.iter() {
            let template = template?;
            bodies.try_reserve(1).map_err(|_| FormatError::OutOfMemory)?;
            let name = copy_of(template.name).map_err(|AllocError| FormatError::OutOfMemory)?;
            bodies.entry(name).or_insert_with(|| cached_code::hash(template.body));
        }
    }
    Ok(bodies)
}

fn name_of<'m>(entries: &[TemplateEntry], payload: &'m [u8], number: u32) -> &'m [u8] {
    let entry = usize::try_from(number).ok().and_then(|number| entries.get(number));
    entry.and_then(|entry| payload.get(entry.name.clone())).unwrap_or(&[])
}

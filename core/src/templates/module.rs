//! A loaded module: its templates, and the instances that its note lists.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use core::ops::Range;

use hashbrown::HashMap;

use super::code_cache::CachedRecords;
use super::error::MetadataError;
use super::instance::Source;
use super::module_note::{ModuleNote, Storage};
use super::template_uses::TemplateUses;
use crate::alloc_util::{
    AllocError, TryArc, TryWriter, try_concat, try_copy_bytes, try_copy_str, try_push, try_push_str,
};
use crate::format::bytes::offset_in;
use crate::format::ext::cached_code::{self, CachedCode};
use crate::format::library::Library;
use crate::format::note::{Instantiation, Note, Possible, Status};
use crate::format::sdn::Cell;
use crate::format::template::{Template, TemplateKind, Templates};
use crate::format::write::note_edit::JIT_MEMORY;
use crate::format::{File, SectionKind};
use crate::link::Name;
use crate::memory::FileBytes;

#[cfg(feature = "source")]
pub(super) mod declaration;

/// A row of the note that lists an instance.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) symbol: Span,
    pub(super) template: Span,
    pub(super) arguments: Span,
    /// The line of the note, from 1.
    pub(super) line: u32,
    /// The line of a row that defines the symbol differently; 0 for none.
    pub(super) conflicting_line: u32,
    /// Whether the row is in `instantiations` already.
    pub(super) is_instantiated: bool,
}

/// A range of [`Module::text`], in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    len: u32,
}

/// A template in [`Module::bodies`].
struct TemplateEntry {
    body: Range<usize>,
    kind: Option<TemplateKind>,
    params: u8,
}

/// A template.
#[derive(Clone, Copy)]
pub(super) struct TemplateRef<'m> {
    pub(super) body: &'m [u8],
    pub(super) kind: Option<TemplateKind>,
    /// The number of type parameters, if the container states it.
    pub(super) parameters: Option<u8>,
}

/// A loaded module.
pub(super) struct Module {
    pub(super) note: ModuleNote,
    /// The section that holds the templates.
    bodies: Box<[u8]>,
    templates: HashMap<Box<[u8]>, TemplateEntry>,
    #[cfg(feature = "source")]
    declared: declaration::Declared,
    /// The rows of `possible`.
    pub(super) rows: Vec<Row>,
    /// The rows of `instantiations` whose instances existed only in the memory of another process.
    pub(super) lost_rows: Vec<Row>,
    /// The code cache of the file, if enabled.
    cached: Option<CachedRecords>,
    /// The cells of all rows.
    text: String,
    /// The uses of templates that its note lists.
    pub(super) uses: TemplateUses,
    pub(super) source: TryArc<Source>,
}

impl Module {
    /// Reads the module at `path`.
    pub(super) fn read(path: &[u8], cache_code: bool) -> Result<Self, MetadataError> {
        let bytes = FileBytes::read(path, FileBytes::DEFAULT_LIMIT)?;
        Self::parse(path, Storage::File, cache_code, &bytes)
    }

    /// Reads the module `name` of the archive at `path`. The path of the module is `path(name)`.
    pub(super) fn read_archived(
        path: &[u8],
        name: &str,
        cache_code: bool,
    ) -> Result<Self, MetadataError> {
        let bytes = FileBytes::read(path, FileBytes::DEFAULT_LIMIT)?;
        Self::parse_archived(path, name, cache_code, &bytes)
    }

    /// As [`read_archived`](Self::read_archived), with the bytes of the archive.
    pub(super) fn parse_archived(
        path: &[u8],
        name: &str,
        cache_code: bool,
        bytes: &[u8],
    ) -> Result<Self, MetadataError> {
        let module = Library::parse(bytes)?.find(name).ok_or(MetadataError::NoModule)??;
        let module_path = try_concat(&[path, b"(", name.as_bytes(), b")"])?;
        let storage = Storage::Archive { path: try_copy_bytes(path)?, name: try_copy_str(name)? };
        Self::parse(&module_path, storage, cache_code, module.data)
    }

    /// A module without templates and rows.
    fn empty(note: ModuleNote) -> Result<Self, AllocError> {
        Ok(Self {
            note,
            bodies: Box::default(),
            templates: HashMap::new(),
            #[cfg(feature = "source")]
            declared: declaration::Declared::default(),
            rows: Vec::new(),
            lost_rows: Vec::new(),
            cached: None,
            text: String::new(),
            uses: TemplateUses::default(),
            source: TryArc::new(Source::default())?,
        })
    }

    /// Parses a module.
    pub(super) fn parse(
        path: &[u8],
        storage: Storage,
        cache_code: bool,
        bytes: &[u8],
    ) -> Result<Self, MetadataError> {
        let smf = File::parse(bytes)?.module().ok_or(MetadataError::Archive)?;
        let mut module = Self::empty(ModuleNote::new(Name::new(path)?, storage, cache_code)?)?;
        if cache_code {
            let payload = cached_code::payload_of(&smf).unwrap_or(&[]);
            module.cached = Some(CachedRecords::new(payload)?);
        }
        if let Some(section) = smf.sections().of_kind(SectionKind::TemplateCode) {
            module.bodies = try_copy_bytes(&smf.contents(&section)?)?;
            module.index_templates(section.offset)?;
        }
        if let Some((note, offset)) = smf.note_contents()? {
            let note = try_copy_bytes(&note)?.into_vec();
            let parsed = Note::parse(&note, offset)?;
            module.read_rows(&parsed)?;
            if cfg!(feature = "source") {
                module.uses = TemplateUses::read(&parsed)?;
            }
            module.note.set_text(note, offset);
        }
        Ok(module)
    }

    /// Indexes the templates by name. `offset` is that of the section in the file.
    fn index_templates(&mut self, offset: u64) -> Result<(), MetadataError> {
        let payload = &self.bodies;
        for template in Templates::parse(payload, offset)?.iter() {
            let Template { name, body, kind, params, .. } = template?;
            let start = usize::try_from(offset_in(payload, body)).unwrap_or(0);
            self.templates.try_reserve(1).map_err(|_| AllocError)?;
            // The first template of a name wins.
            let entry = TemplateEntry { body: start..start + body.len(), kind, params };
            #[cfg(feature = "source")]
            self.declared.add(kind);
            self.templates.entry(try_copy_bytes(name)?).or_insert(entry);
        }
        Ok(())
    }

    fn read_rows(&mut self, note: &Note<'_>) -> Result<(), MetadataError> {
        note.check()?;
        for row in note.entries::<Possible>() {
            let row = row?;
            let cells = [row.mangled_name(), row.template(), row.type_args()];
            let row = self.read_row(cells, row.row().line())?;
            try_push(&mut self.rows, row)?;
        }
        for row in note.entries::<Instantiation>() {
            let row = row?;
            let is_jit_compiled = matches!(row.status(), Status::JitCompiled);
            if is_jit_compiled && row.to_obj().eq_str(JIT_MEMORY) {
                let cells = [row.mangled_name(), row.template(), row.type_args()];
                let row = self.read_row(cells, row.row().line())?;
                try_push(&mut self.lost_rows, row)?;
            }
        }
        u32::try_from(self.rows.len() + self.lost_rows.len())
            .map_err(|_| MetadataError::TooLarge)?;
        Ok(())
    }

    fn read_row(
        &mut self,
        [symbol, template, arguments]: [Cell<'_>; 3],
        line: u32,
    ) -> Result<Row, MetadataError> {
        let symbol = self.add_text(symbol)?;
        let (template, arguments) = (self.add_text(template)?, self.add_text(arguments)?);
        let is_instantiated = false;
        Ok(Row { symbol, template, arguments, line, conflicting_line: 0, is_instantiated })
    }

    fn add_text(&mut self, cell: Cell<'_>) -> Result<Span, MetadataError> {
        let start = self.text.len();
        match cell.as_plain() {
            Some(plain) => try_push_str(&mut self.text, plain)?,
            None => write!(TryWriter(&mut self.text), "{cell}").map_err(|_| AllocError)?,
        }
        let number = |len: usize| u32::try_from(len).map_err(|_| MetadataError::TooLarge);
        Ok(Span { start: number(start)?, len: number(self.text.len() - start)? })
    }

    pub(super) fn text(&self, span: Span) -> &str {
        let (start, len) = (span.start as usize, span.len as usize);
        self.text.get(start..start.saturating_add(len)).unwrap_or("")
    }

    /// Whether exactly `owner` has the module, and its path is `path`.
    pub(super) fn is_at(&self, owner: u64, path: &[u8]) -> bool {
        self.source.owner == owner && *self.note.path == *path
    }

    pub(super) fn row(&self, row: u32) -> Option<Row> {
        self.rows.get(row as usize).copied()
    }

    /// The template `name`.
    pub(super) fn template(&self, name: &[u8]) -> Option<TemplateRef<'_>> {
        let entry = self.templates.get(name)?;
        let body = self.bodies.get(entry.body.clone())?;
        // The counted container states neither kinds nor parameters.
        let parameters = entry.kind.map(|_| entry.params);
        Some(TemplateRef { body, kind: entry.kind, parameters })
    }

    /// The template section.
    pub(super) fn section(&self) -> &[u8] {
        &self.bodies
    }

    /// The well-formed code cache records of a symbol; empty if the cache is disabled.
    pub(super) fn cached<'k>(&'k self, symbol: &'k [u8]) -> impl Iterator<Item = CachedCode<'k>> {
        self.cached.iter().flat_map(|cached| cached.find(symbol))
    }
}

//! Merges what modules contain beside code and data: templates, notes, and sections that only one of them has.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use hashbrown::{HashMap, HashSet};
use indexmap::{IndexMap, IndexSet};

use smf_core::format::SectionKind;
use smf_core::format::ext::{debug_addresses, gnu_property};
use smf_core::format::note::{Entry, FunctionSignature, ImportSignature, Note, Possible};
use smf_core::format::sdn::{Cell, Table};
use smf_core::format::template::{Template, TemplateKind, TemplateMeta, Templates};
#[cfg(feature = "source")]
use smf_core::format::write::WriteError;
use smf_core::format::write::note_edit::put_text;
use smf_core::format::write::{NewSection, NewTemplates, Payload};

use super::inputs::{InputModule, Inputs, template_sections};
#[cfg(feature = "source")]
use super::instances::INSTANCE_SECTION;
use super::instances::{Instance, Instances, other_spelling};
#[cfg(feature = "source")]
use crate::compile::note;
use crate::pack::error::{PackError, Result};
use crate::pack::layout::ModuleLayout;
use crate::pack::object::{Origin, SectionId};
use crate::pack::relocate::OutputOffset;

/// Columns of the tables with types of functions.
const FUNCTION: &str = "function";
const CODE_OFFSET: &str = "code_offset";

/// An empty cell.
const EMPTY: &str = "\"\"";

/// A section that is not loaded.
pub(in crate::pack) struct ExtraSection {
    kind: SectionKind,
    name: Vec<u8>,
    bytes: Vec<u8>,
}

impl ExtraSection {
    pub(in crate::pack) fn new_section(&self) -> NewSection<'_> {
        NewSection::new(self.kind, &self.name, Payload::Bytes(&self.bytes))
    }
}

/// The sections that are not loaded: the metadata of the linked modules, merged, and the section with these `properties`.
///
/// # Errors
/// Modules that contradict each other.
pub(in crate::pack) fn merge(
    inputs: &Inputs<'_>,
    addresses: &ModuleLayout<'_, '_>,
    instances: &Instances,
    properties: Option<Vec<u8>>,
) -> Result<Vec<ExtraSection>> {
    let mut modules = inputs.linked_modules(addresses.program);
    let linked: HashSet<_> = modules.iter().map(|module| module.number).collect();
    let used: BTreeSet<_> = instances.all().iter().map(|instance| instance.module).collect();
    let others = used.into_iter().filter(|number| !linked.contains(number));
    modules.extend(others.filter_map(|number| inputs.modules.get(number)));
    let modules = &*modules;
    let mut merged = Vec::new();
    let (templates, counts) = merge_templates(modules)?;
    merged.extend(templates);
    merged.extend(merge_counts(modules, counts)?);
    merged.extend(merge_notes(inputs, modules, addresses, instances)?);
    merged.extend(properties.map(|bytes| {
        let (kind, name) = (SectionKind::Note, gnu_property::NAME.to_vec());
        ExtraSection { kind, name, bytes }
    }));
    merged.extend(other_sections(modules)?);
    Ok(merged)
}

/// The sections of other kinds, each of which only one module may have. Tables that the linker makes itself and
/// caches are left out.
fn other_sections(modules: &[&InputModule<'_>]) -> Result<Vec<ExtraSection>> {
    let mut sections = Vec::new();
    let mut owners: HashMap<(SectionKind, &[u8]), &InputModule<'_>> = HashMap::new();
    for module in modules {
        for section in module.smf.sections().iter() {
            let made_again = matches!(
                section.kind,
                SectionKind::Reloc
                    | SectionKind::SymTab
                    | SectionKind::StrTab
                    | SectionKind::TemplateCode
                    | SectionKind::TemplateMeta
                    | SectionKind::Unknown(_)
            );
            let is_note = section.name == b"note.sdn" || section.name.starts_with(b".smf.");
            // It is linked with the code.
            let is_dwarf = section.kind == SectionKind::Debug
                && debug_addresses::elf_name(section.name).is_some();
            let is_left_out = section.kind.is_loaded() || made_again || is_note || is_dwarf;
            if is_left_out || section.size == 0 {
                continue;
            }
            if let Some(first) = owners.insert((section.kind, section.name), module) {
                let why = "have a section of one name that is neither code, data, templates nor a note, and that cannot be merged";
                return Err(PackError::conflict(&first.name, &module.name, why));
            }
            let bytes = module.smf.contents(&section);
            let bytes = bytes.map_err(|error| module.malformed(error))?.into_owned();
            let (kind, name) = (section.kind, section.name.to_vec());
            sections.push(ExtraSection { kind, name, bytes });
        }
    }
    Ok(sections)
}

/// One container with the templates of all modules. Templates of one name are one template, the first, if they are equal, or
/// compiled from copies of one file. Also returns how many there are of each kind, if several modules have templates.
fn merge_templates(
    modules: &[&InputModule<'_>],
) -> Result<(Option<ExtraSection>, Option<TemplateCounts>)> {
    let payloads = template_sections(modules.iter().copied())?;
    let section = |bytes| {
        let (kind, name) = (SectionKind::TemplateCode, b"templates".to_vec());
        Some(ExtraSection { kind, name, bytes })
    };
    if let [(_, payload, _)] = &*payloads {
        return Ok((section(payload.to_vec()), None));
    }
    let mut merged: IndexMap<&[u8], (&InputModule<'_>, Template<'_>)> = IndexMap::new();
    let mut container = None;
    for (module, payload, at) in &payloads {
        let malformed = |error| module.malformed(error);
        let templates = Templates::parse(payload, *at).map_err(malformed)?;
        let (first, known) = *container.get_or_insert((*module, templates.container));
        if known != templates.container {
            let why = "have template sections in different containers";
            return Err(PackError::conflict(&first.name, &module.name, why));
        }
        // The body of an only template extends to the end.
        if templates.has_opaque_bodies && templates.count != 1 {
            let why = "has several templates without lengths of their bodies, so that they cannot be merged with those of others";
            return Err(PackError::ModuleRefused { module: module.name.clone(), why });
        }
        for template in templates.iter() {
            let template = template.map_err(malformed)?;
            let (first, known) = merged.entry(template.name).or_insert((*module, template));
            if !is_same(known, &template)? {
                let template = String::from_utf8_lossy(template.name).into_owned();
                let (first, second) = (first.name.clone(), module.name.clone());
                return Err(PackError::TemplatesDiffer { template, first, second });
            }
        }
    }
    let Some((_, container)) = container else { return Ok((None, None)) };
    let templates: Vec<_> = merged.into_values().map(|(_, template)| template).collect();
    let bytes = NewTemplates { container, templates: &templates }.to_vec()?;
    Ok((section(bytes), counts(&templates)))
}

/// The numbers of templates of the kinds in [`COUNTED`].
type TemplateCounts = [u32; COUNTED.len()];

/// The kinds that the counts of templates state, in their order.
const COUNTED: [TemplateKind; 4] =
    [TemplateKind::Function, TemplateKind::Struct, TemplateKind::Enum, TemplateKind::Trait];

/// The numbers of templates of each kind; `None` if one has another kind or none.
fn counts(templates: &[Template<'_>]) -> Option<TemplateCounts> {
    let mut counts = [0; COUNTED.len()];
    for template in templates {
        let kind = COUNTED.iter().position(|kind| Some(*kind) == template.kind)?;
        *counts.get_mut(kind)? += 1;
    }
    Some(counts)
}

fn is_same(one: &Template<'_>, other: &Template<'_>) -> Result<bool> {
    let constraints = |template: &Template<'_>| {
        template.constraints.iter().map(|c| (c.parameter, c.bound)).collect::<Vec<_>>()
    };
    let has_same_header = one.kind == other.kind
        && one.params == other.params
        && constraints(one) == constraints(other);
    Ok(has_same_header && (one.body == other.body || is_same_source(one.body, other.body)?))
}

#[cfg(feature = "source")]
fn is_same_source(one: &[u8], other: &[u8]) -> Result<bool, WriteError> {
    Ok(smf_core::templates::is_same_source(one, other)?)
}

#[cfg(not(feature = "source"))]
fn is_same_source(_: &[u8], _: &[u8]) -> Result<bool> {
    Ok(false)
}

/// The counts of templates, if a module states any: `counts`, else the only ones or their sums.
fn merge_counts(
    modules: &[&InputModule<'_>],
    counts: Option<TemplateCounts>,
) -> Result<Option<ExtraSection>> {
    let mut found = Vec::new();
    for module in modules {
        let Some(section) = module.smf.sections().of_kind(SectionKind::TemplateMeta) else {
            continue;
        };
        let payload = module.smf.contents(&section).map_err(|error| module.malformed(error))?;
        let meta = TemplateMeta::parse(&payload, section.offset);
        let meta = meta.map_err(|error| module.malformed(error))?;
        found.push((*module, meta, payload.into_owned()));
    }
    let Some((first, first_meta, payload)) = found.first() else { return Ok(None) };
    let mut sums: TemplateCounts = [0; COUNTED.len()];
    for (module, meta, _) in &found {
        if meta.version != first_meta.version {
            let why = "have template metadata of different versions";
            return Err(PackError::conflict(&first.name, &module.name, why));
        }
        let stated = [meta.functions, meta.structs, meta.enums, meta.traits];
        for (sum, count) in sums.iter_mut().zip(stated) {
            *sum = sum.saturating_add(count);
        }
    }
    let mut bytes = payload.clone();
    if counts.is_some() || found.len() > 1 {
        bytes = [b"META", &first_meta.version.to_le_bytes()[..]].concat();
        bytes.extend(counts.unwrap_or(sums).iter().flat_map(|count| count.to_le_bytes()));
    }
    Ok(Some(ExtraSection {
        kind: SectionKind::TemplateMeta,
        name: b"template_meta".to_vec(),
        bytes,
    }))
}

/// The cells of a row that are not empty, by column; without that of the number of the row.
type MergedRow = BTreeMap<usize, String>;

/// The rows of one table of all notes. Of equal rows there is one.
#[derive(Default)]
struct MergedTable {
    columns: IndexSet<String>,
    rows: IndexSet<MergedRow>,
}

impl MergedTable {
    fn column(&mut self, name: &str) -> usize {
        self.columns.insert_full(name.to_owned()).0
    }

    /// Adds the rows of a table of a module, except those about a symbol that `is_left_out` names.
    fn add(
        &mut self,
        module: &InputModule<'_>,
        table: &Table<'_>,
        is_left_out: impl Fn(&[u8]) -> bool,
    ) -> Result<()> {
        let columns: Vec<_> = table.columns().map(|name| self.column(name)).collect();
        let function = table.column(FUNCTION);
        for row in table.rows() {
            let row = row.map_err(|error| module.malformed(error))?;
            let function = function.and_then(|at| row.cell(at)).map(|cell| cell.to_string());
            if !function.is_some_and(|function| is_left_out(function.as_bytes())) {
                self.insert(columns.iter().copied().zip(row.cells().map(|cell| spelled(&cell))));
            }
        }
        Ok(())
    }

    /// Adds the signatures of functions of a module, with the offsets of their code in the linked module.
    fn add_signatures(
        &mut self,
        module: &InputModule<'_>,
        table: &Table<'_>,
        code: &ModuleCode<'_>,
    ) -> Result<()> {
        let columns: Vec<_> = table.columns().map(|name| self.column(name)).collect();
        let known = [FUNCTION, CODE_OFFSET].map(|name| table.columns().position(|c| c == name));
        let offset_column = self.column(CODE_OFFSET);
        for row in table.rows() {
            let row = row.map_err(|error| module.malformed(error))?;
            let [function, offset] = known.map(|at| at.and_then(|at| row.cells().nth(at)));
            let stated = offset.and_then(|cell| cell.raw().parse().ok());
            let named = || code.functions.get(function?.to_string().as_bytes()).copied();
            // A function that was not linked, or whose symbol an earlier version left out.
            let Some(offset) = stated.or_else(named) else { continue };
            let Some(offset) = code.start.checked_add(offset) else { continue };
            let cells = columns.iter().copied().zip(row.cells().map(|cell| spelled(&cell)));
            let cells = cells.filter(|(column, _)| *column != offset_column);
            self.insert(cells.chain([(offset_column, offset.to_string())]));
        }
        Ok(())
    }

    fn push<'c>(&mut self, cells: impl IntoIterator<Item = (&'c str, String)>) {
        let cells = cells.into_iter().map(|(name, cell)| (self.column(name), cell));
        let cells: Vec<_> = cells.collect();
        self.insert(cells);
    }

    fn insert(&mut self, cells: impl IntoIterator<Item = (usize, String)>) {
        let id = self.columns.get_index_of("id");
        let is_kept = |(column, cell): &(usize, String)| {
            Some(*column) != id && !cell.is_empty() && cell != EMPTY
        };
        self.rows.insert(cells.into_iter().filter(is_kept).collect());
    }

    /// Removes the rows of instances, but of compiled ones, into `taken`. `symbols`: the cells that name them.
    fn take_instances(&mut self, symbols: &HashSet<String>, taken: &mut TakenRows) {
        let [name, status] = ["mangled_name", "status"].map(|c| self.columns.get_index_of(c));
        let columns = TAKEN_COLUMNS.map(|name| self.columns.get_index_of(name));
        let cell = |row: &MergedRow, column: Option<usize>| row.get(&column?).cloned();
        let compiled = ["compiled".to_owned(), quoted("compiled")];
        self.rows.retain(|row| {
            let is_compiled = cell(row, status).is_some_and(|status| compiled.contains(&status));
            let symbol = cell(row, name).filter(|s| !is_compiled && symbols.contains(s));
            let Some(symbol) = symbol else { return true };
            let cells = columns.map(|column| cell(row, column).unwrap_or_default());
            taken.entry(symbol).or_insert(cells);
            false
        });
    }

    fn write(&self, name: &str, text: &mut String) -> std::fmt::Result {
        let columns: Vec<_> = self.columns.iter().map(String::as_str).collect();
        writeln!(text, "{name} |{}|", columns.join(", "))?;
        let id = self.columns.get_index_of("id");
        for (number, row) in self.rows.iter().enumerate() {
            let cells = (0..columns.len()).map(|column| match row.get(&column) {
                _ if Some(column) == id => number.to_string(),
                Some(cell) => cell.clone(),
                None => EMPTY.to_owned(),
            });
            writeln!(text, "    {}", cells.collect::<Vec<_>>().join(", "))?;
        }
        Ok(())
    }
}

/// The code of an input module, or of an instance, in the linked module.
struct ModuleCode<'m> {
    /// Where it begins in the code of the linked module.
    start: u64,
    /// The offsets of its functions that have symbols.
    functions: HashMap<&'m [u8], u64>,
}

impl<'m> ModuleCode<'m> {
    fn new(module: &'m InputModule<'_>, starts: &CodeStarts<'_>) -> Option<Self> {
        let code = module.smf.code()?;
        let start = starts.of(Origin::Module(module.number), code.name)?;
        let symbols = module.smf.symbols().iter().filter_map(Result::ok);
        let here = symbols.filter(|s| s.defined && s.section == Some(code.index));
        let functions = here.map(|symbol| (symbol.name(), symbol.value)).collect();
        Some(Self { start, functions })
    }
}

/// Where the code of objects begins in the code of the linked module.
struct CodeStarts<'l> {
    addresses: &'l ModuleLayout<'l, 'l>,
    /// The numbers of the objects.
    objects: HashMap<Origin, usize>,
}

impl<'l> CodeStarts<'l> {
    fn new(addresses: &'l ModuleLayout<'_, '_>) -> Self {
        let objects = (0..).zip(&addresses.program.objects);
        Self { addresses, objects: objects.map(|(number, o)| (o.origin, number)).collect() }
    }

    /// Where the code in a section of an object begins that the packer made.
    fn of(&self, origin: Origin, section: &[u8]) -> Option<u64> {
        let object = *self.objects.get(&origin)?;
        let Self { addresses, .. } = self;
        let sections = &addresses.program.object(object)?.sections;
        let section = sections.iter().position(|s| s.is_code() && s.name == section)?;
        let at = OutputOffset::of(addresses.section(SectionId { object, section }))?;
        let code = addresses.outputs.iter().position(|output| output.kind == SectionKind::Code);
        (code == Some(at.output)).then_some(at.offset)
    }
}

/// A cell as it is written.
fn spelled(cell: &Cell<'_>) -> String {
    if cell.is_quoted() { format!("\"{}\"", cell.raw()) } else { cell.raw().to_owned() }
}

/// One note with the tables of all modules. Instances that were compiled at link time move to `instantiations`.
fn merge_notes(
    inputs: &Inputs<'_>,
    modules: &[&InputModule<'_>],
    addresses: &ModuleLayout<'_, '_>,
    instances: &Instances,
) -> Result<Option<ExtraSection>> {
    let (kind, name) = (SectionKind::Note, b"note.sdn".to_vec());
    let mut notes = Vec::new();
    for module in modules {
        let contents = module.smf.note_contents().map_err(|error| module.malformed(error))?;
        notes.extend(contents.map(|(note, at)| (*module, note, at)));
    }
    if notes.is_empty() {
        return Ok(None);
    }
    if let ([(module, note, at)], []) = (&*notes, instances.all()) {
        let parsed = Note::parse(note, *at).map_err(|error| module.malformed(error))?;
        if parsed.entries::<FunctionSignature<'_>>().next().is_none() {
            return Ok(Some(ExtraSection { kind, name, bytes: note.to_vec() }));
        }
    }
    let mut tables: IndexMap<String, MergedTable> = IndexMap::new();
    let mut possible: HashMap<String, (&InputModule<'_>, [String; 2])> = HashMap::new();
    let starts = CodeStarts::new(addresses);
    let is_defined = |name: &[u8]| addresses.program.find(name).is_some();
    for (module, note, at) in &notes {
        let malformed = |error| module.malformed(error);
        let note = Note::parse(note, *at).map_err(malformed)?;
        note.check().map_err(malformed)?;
        check_possible(module, &note, &mut possible)?;
        let code = ModuleCode::new(module, &starts);
        for table in note.document().tables() {
            let table = table.map_err(malformed)?;
            let merged = tables.entry(table.name().to_owned()).or_default();
            match (table.name(), &code) {
                (FunctionSignature::TABLE, Some(code)) => {
                    merged.add_signatures(module, &table, code)?;
                }
                (ImportSignature::TABLE, _) => merged.add(module, &table, is_defined)?,
                _ => merged.add(module, &table, |_| false)?,
            }
        }
    }
    add_instances(&mut tables, inputs, instances);
    #[cfg(feature = "source")]
    for (number, instance) in instances.all().iter().enumerate() {
        let start = starts.of(Origin::Instance(number), INSTANCE_SECTION);
        describe_instance(&mut tables, instance, start);
    }
    let mut text = String::new();
    // Writing to a string does not fail.
    for (name, table) in &tables {
        let _ = table.write(name, &mut text);
    }
    text.push_str("# END_NOTE\n");
    Ok(Some(ExtraSection { kind, name, bytes: text.into_bytes() }))
}

/// Moves the rows of instances that were compiled at link time to `instantiations`.
fn add_instances(
    tables: &mut IndexMap<String, MergedTable>,
    inputs: &Inputs<'_>,
    instances: &Instances,
) {
    let mut taken = take_instances(tables, instances);
    for instance in instances.all() {
        let module = inputs.module_name(instance.module);
        for symbol in instance.symbols() {
            move_instance(tables, module, symbol, &mut taken);
        }
        let required = instance.targets.iter().filter(|target| instances.has(target));
        required.for_each(|target| add_dependency(tables, quoted(&instance.symbol), target));
    }
}

/// Refuses two modules that list one symbol for different instances.
fn check_possible<'m, 'a>(
    module: &'m InputModule<'a>,
    note: &Note<'_>,
    known: &mut HashMap<String, (&'m InputModule<'a>, [String; 2])>,
) -> Result<()> {
    for row in note.entries::<Possible>() {
        let row = row.map_err(|error| module.malformed(error))?;
        let symbol = row.mangled_name().to_string();
        let cells = [row.template().to_string(), row.type_args().to_string()];
        let (first, other) = known.entry(symbol.clone()).or_insert_with(|| (module, cells.clone()));
        if *other != cells {
            let (first, second) = (first.name.clone(), module.name.clone());
            return Err(PackError::PossibleDiffers { symbol, first, second });
        }
    }
    Ok(())
}

/// Text as a cell.
fn quoted(text: &str) -> String {
    let mut cell = String::new();
    // Writing to a string does not fail.
    let _ = put_text(&mut cell, text);
    cell
}

/// Adds the types and the assertions of an instance, whose code begins at `start`: callers and traps find them by it.
#[cfg(feature = "source")]
fn describe_instance(
    tables: &mut IndexMap<String, MergedTable>,
    instance: &Instance,
    start: Option<u64>,
) {
    let Some(unit) = &instance.unit else { return };
    let (Some(function), Some(start)) = (unit.functions.first(), start) else { return };
    for symbol in instance.symbols() {
        let [_, types @ ..] = note::signature(unit, function);
        let cells = std::iter::once(symbol.clone()).chain(types);
        let cells = note::SIGNATURE_COLUMNS.into_iter().zip(cells);
        let cells = cells.map(|(name, cell)| (name, quoted(&cell)));
        let table = tables.entry(FunctionSignature::TABLE.to_owned()).or_default();
        table.push(cells.chain([(CODE_OFFSET, start.to_string())]));
    }
    for cells in note::assertion_rows(unit) {
        let table = tables.entry("assertions".to_owned()).or_default();
        let cells = note::ASSERTION_COLUMNS.into_iter().zip(cells);
        table.push(cells.map(|(name, cell)| (name, quoted(&cell))));
    }
}

/// The cells in [`TAKEN_COLUMNS`] of the first row of an instance, by the cell with its symbol.
type TakenRows = HashMap<String, [String; 3]>;

const TAKEN_COLUMNS: [&str; 3] = ["template", "type_args", "required_by"];

/// The cells by which a note may name an instance with this symbol: the note may list the other spelling.
fn symbol_cells(symbol: &str) -> [String; 4] {
    let other = other_spelling(symbol);
    [symbol.to_owned(), quoted(symbol), quoted(&other), other]
}

/// Removes the rows of instances that are possible, or that a loader made as such.
fn take_instances(tables: &mut IndexMap<String, MergedTable>, instances: &Instances) -> TakenRows {
    let symbols = instances.all().iter().flat_map(Instance::symbols);
    let symbols = symbols.flat_map(|symbol| symbol_cells(symbol)).collect();
    let mut taken = HashMap::new();
    for name in ["possible", "instantiations"] {
        if let Some(table) = tables.get_mut(name) {
            table.take_instances(&symbols, &mut taken);
        }
    }
    taken
}

/// Adds the row of an instance of a template of `module` to `instantiations`, and notes what required it.
fn move_instance(
    tables: &mut IndexMap<String, MergedTable>,
    module: &str,
    symbol: &str,
    taken: &mut TakenRows,
) {
    let row = symbol_cells(symbol).iter().find_map(|cell| taken.remove(cell));
    let Some([template, arguments, required_by]) = row else { return };
    let quoted_symbol = quoted(symbol);
    let place = format!("{module}:0:0:link");
    let made = tables.entry("instantiations".to_owned()).or_default();
    let cells = [
        ("id", String::new()),
        ("template", template),
        ("type_args", arguments),
        ("mangled_name", quoted_symbol.clone()),
        ("from_file", quoted(module)),
        ("from_loc", quoted(&place)),
        ("to_obj", quoted("link_output.o")),
        ("status", quoted("compiled")),
    ];
    made.push(cells);
    if !required_by.is_empty() {
        add_dependency(tables, required_by, symbol);
    }
}

/// Notes that an instance, whose cell is `from`, requires another.
fn add_dependency(tables: &mut IndexMap<String, MergedTable>, from: String, to: &str) {
    let edges = tables.entry("dependencies".to_owned()).or_default();
    let kind = quoted("type_param");
    edges.push([("from_inst", from), ("to_inst", quoted(to)), ("dep_kind", kind)]);
}

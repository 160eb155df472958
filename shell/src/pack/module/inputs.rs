//! The inputs of the packer, with modules converted to objects.

use std::borrow::Cow;

use hashbrown::HashSet;

use smf_core::format::ext::debug_addresses;
use smf_core::format::ext::needed::NeededLibraries;
use smf_core::format::note::Note;
use smf_core::format::{Contents, File, Flags, FormatError, Library, Platform, SectionKind, Smf};
use smf_core::link::REQUIRES_UNWINDING;

use super::convert::{ENTRY, NamedModule, imports, needs_entry};
use super::debug_info::debug_sections;
use crate::import_types;
use crate::pack::archive::{self, Input, LinkInput, Member, is_archive};
use crate::pack::error::{PackError, PackWarning, Refusals, Result};
use crate::pack::object::Origin;
use crate::pack::options::Options;
use crate::pack::resolve::Program;

/// The bytes that stand for one input.
enum Linked<'a> {
    /// An object as it is.
    Given(Input<'a>),
    /// An object made of a module; `None` for a module of templates alone.
    Object(&'a str, Origin, Option<Vec<u8>>),
    /// The members of an archive, as they are or converted.
    Members(Vec<ConvertedMember<'a>>),
}

struct ConvertedMember<'a> {
    name: String,
    data: Cow<'a, [u8]>,
    origin: Origin,
}

/// A module of the input.
pub(in crate::pack) struct InputModule<'a> {
    /// Its position in [`Inputs::modules`].
    pub(super) number: usize,
    /// The name of its object in messages.
    pub(super) name: String,
    pub(super) smf: Smf<'a>,
    pub(super) from_archive: bool,
}

/// The inputs, with modules converted to objects.
pub(in crate::pack) struct Inputs<'a> {
    linked: Vec<Linked<'a>>,
    pub(in crate::pack) modules: Vec<InputModule<'a>>,
    /// Whether all inputs are modules of templates alone.
    pub(in crate::pack) are_templates: bool,
    /// Whether debugging information is kept.
    debug_info: bool,
}

impl<'a> Inputs<'a> {
    /// Converts the modules among `inputs`.
    ///
    /// # Errors
    /// A malformed module, or one that cannot be linked again.
    pub(in crate::pack) fn new(inputs: &[Input<'a>], debug_info: bool) -> Result<Self> {
        let (linked, modules, are_templates) = (Vec::new(), Vec::new(), false);
        let mut converted = Self { linked, modules, are_templates, debug_info };
        for input in inputs {
            let linked = converted.convert(*input)?;
            converted.linked.push(linked);
        }
        let is_code = |linked: &Linked<'_>| !matches!(linked, Linked::Object(.., None));
        converted.are_templates = !converted.linked.iter().any(is_code);
        let first = converted.linked.first_mut().zip(converted.modules.first());
        if let Some((Linked::Object(name, _, object @ None), first)) = first
            && converted.are_templates
        {
            // Something has to be linked.
            *object = Some(NamedModule { name, smf: first.smf }.to_empty_object()?);
        }
        Ok(converted)
    }

    fn convert(&mut self, input: Input<'a>) -> Result<Linked<'a>> {
        if is_archive(input.data) {
            return self.convert_archive(input);
        }
        match module_file(input.data) {
            None => Ok(Linked::Given(input)),
            Some(Ok(File::Module(smf))) => {
                let object = NamedModule { name: input.name, smf }.to_object(self.debug_info)?;
                let origin = self.add(input.name.to_owned(), smf, false);
                Ok(Linked::Object(input.name, origin, object))
            }
            Some(Ok(File::Library(library))) => self.convert_library(input.name, &library),
            Some(Err(error)) => Err(PackError::Module { module: input.name.to_owned(), error }),
        }
    }

    fn add(&mut self, name: String, smf: Smf<'a>, from_archive: bool) -> Origin {
        let number = self.modules.len();
        self.modules.push(InputModule { number, name, smf, from_archive });
        Origin::Module(number)
    }

    fn convert_library(&mut self, name: &'a str, library: &Library<'a>) -> Result<Linked<'a>> {
        let malformed = |error| PackError::Module { module: name.to_owned(), error };
        library.verify().map_err(malformed)?;
        let mut members = Vec::new();
        for module in library.modules() {
            let module = module.map_err(malformed)?;
            let title = format!("{name}({})", module.name);
            members.extend(self.convert_member(title, module.data)?);
        }
        Ok(Linked::Members(members))
    }

    fn convert_archive(&mut self, input: Input<'a>) -> Result<Linked<'a>> {
        let mut converted = Vec::new();
        for Member { name, data, .. } in archive::members(&input)? {
            converted.extend(self.convert_member(name, data)?);
        }
        Ok(Linked::Members(converted))
    }

    /// Converts a member of an archive; `None` for a module of templates alone.
    fn convert_member(
        &mut self,
        name: String,
        data: &'a [u8],
    ) -> Result<Option<ConvertedMember<'a>>> {
        let smf = match module_file(data) {
            None => {
                let (data, origin) = (Cow::Borrowed(data), Origin::Given);
                return Ok(Some(ConvertedMember { name, data, origin }));
            }
            Some(Ok(File::Module(smf))) => smf,
            Some(Ok(File::Library(_))) => {
                let why = "is an archive inside an archive";
                return Err(PackError::ModuleRefused { module: name, why });
            }
            Some(Err(error)) => return Err(PackError::Module { module: name, error }),
        };
        let object = NamedModule { name: &name, smf }.to_object(self.debug_info)?;
        let origin = self.add(name.clone(), smf, true);
        Ok(object.map(|object| ConvertedMember { name, data: Cow::Owned(object), origin }))
    }

    /// The inputs of the linker, followed by instances.
    pub(in crate::pack) fn link_inputs<'i>(
        &'i self,
        instances: impl Iterator<Item = Input<'i>>,
    ) -> Vec<LinkInput<'i>> {
        let mut inputs = Vec::new();
        for linked in &self.linked {
            match linked {
                Linked::Given(input) => inputs.push(LinkInput::File(*input, Origin::Given)),
                Linked::Object(name, origin, data) => {
                    let input = data.as_deref().map(|data| Input { name, data });
                    inputs.extend(input.map(|input| LinkInput::File(input, *origin)));
                }
                Linked::Members(members) => {
                    let members = members.iter().map(|ConvertedMember { name, data, origin }| {
                        Member { name: name.clone(), data, origin: *origin }
                    });
                    inputs.push(LinkInput::Members(members.collect()));
                }
            }
        }
        let instances = instances.zip((0..).map(Origin::Instance));
        inputs.extend(instances.map(|(input, origin)| LinkInput::File(input, origin)));
        inputs
    }

    /// The name of a module in messages.
    pub(super) fn module_name(&self, number: usize) -> &str {
        self.modules.get(number).map_or("", |module| &module.name)
    }

    /// The modules that are part of the program.
    pub(super) fn linked_modules<'i>(&'i self, program: &Program<'_>) -> Vec<&'i InputModule<'a>> {
        let origins: HashSet<_> = program.objects.iter().map(|object| object.origin).collect();
        let is_linked = |module: &&InputModule<'_>| {
            !module.from_archive || origins.contains(&Origin::Module(module.number))
        };
        self.modules.iter().filter(is_linked).collect()
    }

    /// The names of the libraries that the linked modules need.
    pub(in crate::pack) fn needed(&self, program: &Program<'_>) -> Result<Vec<&'a [u8]>> {
        let mut names = Vec::new();
        for module in self.linked_modules(program) {
            let needed =
                NeededLibraries::of(&module.smf).map_err(|error| module.malformed(error))?;
            names.extend(needed.iter().flat_map(NeededLibraries::iter));
        }
        Ok(names)
    }

    /// Whether code of a linked module catches exceptions.
    pub(in crate::pack) fn need_unwinding(&self, program: &Program<'_>) -> bool {
        let mut modules = self.linked_modules(program).into_iter();
        modules.any(|module| imports(&module.smf, REQUIRES_UNWINDING))
    }

    /// Compares the types by which modules declare their imports with those of the modules that define them.
    pub(in crate::pack) fn check_import_types(
        &self,
        program: &Program<'_>,
        refusals: &mut Refusals,
    ) {
        let definer = |name: &[u8]| {
            let object = program.object(program.defining_object(program.find(name)?))?;
            let Origin::Module(number) = object.origin else { return None };
            let module = self.modules.get(number)?;
            Some((module.name.as_bytes(), &module.smf))
        };
        for module in self.linked_modules(program) {
            let checked = import_types::check((module.name.as_bytes(), &module.smf), definer);
            refusals.check(checked.map_err(PackError::from));
        }
    }

    /// Warns of modules whose debugging information does not say where it refers to other sections.
    pub(in crate::pack) fn warn_of_debug_info(
        &self,
        program: &Program<'_>,
        warnings: &mut Vec<PackWarning>,
    ) {
        for module in self.linked_modules(program) {
            let has_dwarf = debug_sections(&module.smf).next().is_some();
            let lists_offsets =
                module.smf.sections().named(debug_addresses::OFFSETS_NAME).is_some();
            if has_dwarf && !lists_offsets {
                warnings.push(PackWarning::DebugInfoLeftOut { module: module.name.clone() });
            }
        }
    }

    /// Whether the module is reloadable: as the options say, or as all linked modules agree.
    ///
    /// # Errors
    /// Modules for different systems; modules of which only some are reloadable, unless the options decide.
    pub(in crate::pack) fn check_flags(
        &self,
        program: &Program<'_>,
        options: &Options<'_>,
    ) -> Result<bool> {
        let modules = self.linked_modules(program);
        let Some(&first) = modules.first() else { return Ok(options.reloadable) };
        let platform = |module: &InputModule<'_>| module.smf.header().platform;
        // A module for any system agrees with all others.
        let of_one = modules.iter().find(|module| platform(module) != Platform::ANY);
        let systems = of_one.map(|first| {
            let is_other = |module: &&InputModule<'_>| {
                ![Platform::ANY, platform(first)].contains(&platform(module))
            };
            (first, modules.iter().copied().find(is_other))
        });
        if let Some((first, Some(other))) = systems {
            return Err(PackError::conflict(&first.name, &other.name, "are for different systems"));
        }
        let reloadable =
            |module: &InputModule<'_>| module.smf.header().flags.has(Flags::RELOADABLE);
        for other in modules {
            if !options.reloadable && reloadable(other) != reloadable(first) {
                let why = "differ in whether they are reloadable; decide with --reloadable";
                return Err(PackError::conflict(&first.name, &other.name, why));
            }
            if other.smf.header().app_type != first.smf.header().app_type {
                let why = "are programs of different kinds";
                return Err(PackError::conflict(&first.name, &other.name, why));
            }
        }
        Ok(options.reloadable || reloadable(first))
    }

    /// Names the source of a function that two modules contain because both use its file.
    pub(in crate::pack) fn explain(&self, error: PackError) -> PackError {
        match error {
            PackError::Several(errors) => {
                PackError::Several(errors.into_iter().map(|error| self.explain(error)).collect())
            }
            PackError::DuplicateDefinition { name, first, second } => {
                let [file, other] = [&first, &second].map(|module| self.source_of(module, &name));
                match file.filter(|file| other.as_ref() == Some(file)) {
                    Some(file) => PackError::SourceLinkedTwice { name, first, second, file },
                    None => PackError::DuplicateDefinition { name, first, second },
                }
            }
            error => error,
        }
    }

    /// The source file of a function of a module, as its note states it.
    fn source_of(&self, module: &str, function: &str) -> Option<String> {
        let module = self.modules.iter().find(|known| known.name == module)?;
        let (note, at) = module.smf.note_contents().ok()??;
        let symbol = module.smf.symbols().find_export(function.as_bytes())?;
        let signature = Note::parse(&note, at).ok()?.signature(&symbol)?;
        Some(signature.file().to_string()).filter(|file| !file.is_empty())
    }

    /// The name of the entry point that a module states, if it is not `main`.
    pub(in crate::pack) fn entry<'e>(&self, options: &Options<'e>) -> Option<&'e str> {
        let stated = |module: &InputModule<'_>| needs_entry(&module.smf) && !module.from_archive;
        options.entry.or_else(|| self.modules.iter().any(stated).then_some(ENTRY))
    }
}

impl InputModule<'_> {
    pub(in crate::pack) fn malformed(&self, error: FormatError) -> PackError {
        PackError::Module { module: self.name.clone(), error }
    }
}

/// A module, the contents of its template section, and their offset.
pub(super) type TemplateSection<'m, 'a> = (&'m InputModule<'a>, Contents<'a>, u64);

/// The template sections of those modules that have one.
pub(super) fn template_sections<'m, 'a>(
    modules: impl IntoIterator<Item = &'m InputModule<'a>>,
) -> Result<Vec<TemplateSection<'m, 'a>>> {
    let mut sections = Vec::new();
    for module in modules {
        let Some(section) = module.smf.sections().of_kind(SectionKind::TemplateCode) else {
            continue;
        };
        let contents = module.smf.contents(&section).map_err(|error| module.malformed(error))?;
        sections.push((module, contents, section.offset));
    }
    Ok(sections)
}

/// The module or the archive of modules in `data`; `None` for an object and for other files.
fn module_file(data: &[u8]) -> Option<Result<File<'_>, FormatError>> {
    // ET_REL.
    let is_object = data.starts_with(b"\x7fELF") && data.get(16) == Some(&1);
    if is_object {
        return None;
    }
    let is_module = data.starts_with(b"SMF\0") || data.starts_with(b"LSMF");
    match File::parse(data) {
        Err(error) if is_module => Some(Err(error)),
        Err(_) => None,
        file => Some(file),
    }
}

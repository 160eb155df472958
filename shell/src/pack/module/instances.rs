//! Instances of templates that the program imports: compiled at link time, as the loader does it at run time.
//!
//! An instance that the note of a module lists as possible becomes an object of its own. Instances that it calls are
//! compiled with it. Compilers, symbols and types are those of [`smf_core::templates`]. A note may permit that an
//! instance is left to the loader; that happens if the options say so.

use hashbrown::HashMap;

use ::object::elf;
use smf_core::AllocError;
use smf_core::codegen::registry::FunctionTables;
use smf_core::codegen::unwind::UnwindTable;
use smf_core::codegen::unwind_machine;
use smf_core::format::Arch;
#[cfg(feature = "source")]
use smf_core::format::ext::source_template::SourceTemplate;
use smf_core::format::note::{Instantiation, Note, Possible, Status};
use smf_core::format::sdn::Cell;
use smf_core::format::template::{Template, Templates};
use smf_core::link::{Name, TRAP_HOOK};
#[cfg(feature = "source")]
use smf_core::source::{SourceFile, TranslationUnit, instantiate};
use smf_core::templates::{
    Aarch64Bodies, CompileError, CompileRequest, Compiled, Compiler, Environment,
    InstantiateErrorKind, JitConfig, PrecompiledBodies, Target, X64Bodies, instance_symbols,
};
#[cfg(feature = "source")]
use smf_core::templates::{RecordBodies, SourceBodies};
use smf_core::trap::trap_hook;
use smf_core::types::Type;

use super::convert::reloc_type;
use super::elf_writer::{ElfObject, ElfPlace, ElfReloc, ElfSection, ElfSymbol};
use super::inputs::{Inputs, TemplateSection, template_sections};
use crate::pack::archive::Input;
use crate::pack::error::{PackError, Result};

/// The prefix of function symbols.
const FUNCTION: &str = "fn$";

/// The section with the code of an instance.
pub(super) const INSTANCE_SECTION: &[u8] = b".text.instance";

/// A possible instance in the note of a module.
struct PossibleRow {
    template: String,
    arguments: String,
    module: usize,
    can_defer: bool,
}

/// An instance that was compiled at link time.
pub(in crate::pack) struct Instance {
    pub(super) symbol: String,
    /// The number of the module whose template it is of.
    pub(super) module: usize,
    /// The name in messages.
    title: String,
    object: ElfObject,
    /// The bytes of the object.
    pub(super) data: Vec<u8>,
    /// Its other symbols.
    aliases: Vec<String>,
    signature: Box<[u8]>,
    /// The symbols that it refers to.
    pub(super) targets: Vec<String>,
    /// What its source declares: the instance itself first.
    #[cfg(feature = "source")]
    pub(super) unit: Option<TranslationUnit>,
}

impl Instance {
    /// Its symbols.
    pub(super) fn symbols(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.symbol).chain(&self.aliases)
    }

    /// Adds a symbol for its start.
    fn add_alias(&mut self, symbol: &str) {
        let own = self.object.symbols.first();
        let Some(alias) = own.map(|own| ElfSymbol { name: symbol.into(), ..own.clone() }) else {
            return;
        };
        self.object.symbols.push(alias);
        self.data = self.object.to_vec();
        self.aliases.push(symbol.to_owned());
    }
}

/// The instances that were compiled so far.
#[derive(Default)]
pub(in crate::pack) struct Instances {
    all: Vec<Instance>,
    /// The number of the instance that has a symbol, its own or another.
    by_symbol: HashMap<String, usize>,
}

impl Instances {
    /// The objects.
    pub(in crate::pack) fn inputs(&self) -> impl Iterator<Item = Input<'_>> {
        self.all.iter().map(|instance| Input { name: &instance.title, data: &instance.data })
    }

    pub(super) fn all(&self) -> &[Instance] {
        &self.all
    }

    pub(super) fn has(&self, symbol: &str) -> bool {
        self.by_symbol.contains_key(symbol)
    }

    /// The instance that has the symbol, its own or another.
    fn find(&self, symbol: &str) -> Option<&Instance> {
        self.all.get(*self.by_symbol.get(symbol)?)
    }

    fn push(&mut self, instance: Instance) {
        self.by_symbol.insert(instance.symbol.clone(), self.all.len());
        self.all.push(instance);
    }

    /// Gives the instance with one symbol another one, if there is such an instance.
    fn add_alias(&mut self, symbol: &str, alias: &str) -> bool {
        let Some(&number) = self.by_symbol.get(symbol) else { return false };
        let Some(instance) = self.all.get_mut(number) else { return false };
        instance.add_alias(alias);
        self.by_symbol.insert(alias.to_owned(), number);
        true
    }
}

impl Inputs<'_> {
    /// Compiles the possible instances that the program imports. `imports`: the names that it imports when it is linked with
    /// the instances so far, and its machine; `None` if it cannot be linked. Instances may need archive members, which may
    /// need further instances.
    ///
    /// # Errors
    /// A malformed note or template; [`PackError::Instance`] for an instance that cannot be compiled.
    pub(in crate::pack) fn instantiate(
        &self,
        defers: bool,
        imports: impl Fn(&Instances) -> Option<(Vec<Vec<u8>>, Arch)>,
    ) -> Result<Instances> {
        let mut instances = Instances::default();
        let rows = self.possible()?;
        if rows.is_empty() {
            return Ok(instances);
        }
        let sections = template_sections(&self.modules)?;
        let templates = templates_by_name(&sections)?;
        let context = Context { inputs: self, rows: &rows, templates: &templates };
        while let Some((names, arch)) = imports(&instances) {
            if !context.instantiate(&names, arch, defers, &mut instances)? {
                break;
            }
        }
        Ok(instances)
    }

    /// The possible instances of all modules, the first of each symbol.
    fn possible(&self) -> Result<HashMap<String, PossibleRow>> {
        let mut rows = HashMap::new();
        for (number, module) in self.modules.iter().enumerate() {
            let malformed = |error| module.malformed(error);
            let Some((note, at)) = module.smf.note_contents().map_err(malformed)? else {
                continue;
            };
            let note = Note::parse(&note, at).map_err(malformed)?;
            let mut add = |[symbol, template, arguments]: [Cell<'_>; 3], can_defer| {
                rows.entry(symbol.to_string()).or_insert_with(|| {
                    let (template, arguments) = (template.to_string(), arguments.to_string());
                    PossibleRow { template, arguments, module: number, can_defer }
                });
            };
            for row in note.entries::<Possible>() {
                let row = row.map_err(malformed)?;
                let can_defer = row.can_defer().unwrap_or(true);
                add([row.mangled_name(), row.template(), row.type_args()], can_defer);
            }
            // A loader made it, and its code is not among that of the module.
            let of_loader = |row: &Result<Instantiation<'_>, _>| {
                row.as_ref().map_or(true, |row| matches!(row.status(), Status::JitCompiled))
            };
            for row in note.entries::<Instantiation>().filter(of_loader) {
                let row = row.map_err(malformed)?;
                add([row.mangled_name(), row.template(), row.type_args()], true);
            }
        }
        Ok(rows)
    }
}

/// The row of a symbol. A module may import `fn$f$i64`, and the note list `f$i64`: the loader takes both for one instance.
fn row_of<'r>(rows: &'r HashMap<String, PossibleRow>, symbol: &str) -> Option<&'r PossibleRow> {
    rows.get(symbol).or_else(|| rows.get(&other_spelling(symbol)))
}

pub(super) fn other_spelling(symbol: &str) -> String {
    match symbol.strip_prefix(FUNCTION) {
        Some(plain) => plain.to_owned(),
        None => format!("{FUNCTION}{symbol}"),
    }
}

/// A template, and the number of its module.
struct ModuleTemplate<'t> {
    module: usize,
    template: Template<'t>,
    /// The section that contains it.
    section: &'t [u8],
}

/// The templates of all modules, in their order.
type TemplatesByName<'t> = HashMap<&'t [u8], Vec<ModuleTemplate<'t>>>;

fn templates_by_name<'t>(sections: &'t [TemplateSection<'_, '_>]) -> Result<TemplatesByName<'t>> {
    let mut found = TemplatesByName::new();
    for (module, section, at) in sections {
        let malformed = |error| module.malformed(error);
        for template in Templates::parse(section, *at).map_err(malformed)?.iter() {
            let (module, template) = (module.number, template.map_err(malformed)?);
            let of_name = found.entry(template.name).or_default();
            of_name.push(ModuleTemplate { module, template, section });
        }
    }
    Ok(found)
}

/// What instances are compiled from.
#[derive(Clone, Copy)]
struct Context<'i, 'a> {
    inputs: &'i Inputs<'a>,
    rows: &'i HashMap<String, PossibleRow>,
    templates: &'i TemplatesByName<'i>,
}

impl<'i> Context<'i, '_> {
    /// Compiles the possible instances among the imports `names`. Returns whether there are any new ones.
    fn instantiate(
        self,
        names: &[Vec<u8>],
        arch: Arch,
        defers: bool,
        instances: &mut Instances,
    ) -> Result<bool> {
        let mut has_new = false;
        for name in names.iter().filter_map(|name| str::from_utf8(name).ok()) {
            let Some(row) = row_of(self.rows, name) else { continue };
            if defers && row.can_defer || instances.has(name) {
                continue;
            }
            has_new = true;
            if instances.add_alias(&other_spelling(name), name) {
                continue;
            }
            let (stack, is_circular) = (Vec::new(), false);
            let mut linker = Instantiator { context: self, arch, instances, stack, is_circular };
            linker.instantiate(name, None)?;
        }
        Ok(has_new)
    }

    /// The template of a name: that of the module `owner`, else that of the first module that has one.
    fn template(&self, name: &str, owner: Option<usize>) -> Option<&'i ModuleTemplate<'i>> {
        let all = self.templates.get(name.as_bytes())?;
        all.iter().find(|template| Some(template.module) == owner).or(all.first())
    }
}

/// The state of compiling one instance and those that it requires.
struct Instantiator<'i, 'a> {
    context: Context<'i, 'a>,
    arch: Arch,
    instances: &'i mut Instances,
    /// The symbols of the instances being compiled, each required by the one before.
    stack: Vec<String>,
    /// Whether the last failure is a circular dependency.
    is_circular: bool,
}

impl Instantiator<'_, '_> {
    /// Compiles `symbol`, unless that is done: the instance of its row, else `request`.
    fn instantiate(&mut self, symbol: &str, request: Option<(&str, &[Type])>) -> Result<()> {
        if self.instances.has(symbol) {
            return Ok(());
        }
        let context = self.context;
        let listed = row_of(context.rows, symbol);
        let owner = listed.map(|row| row.module);
        let title = context.inputs.module_name(owner.unwrap_or(0));
        let refused = |why: String| PackError::Instance {
            symbol: symbol.to_owned(),
            module: title.to_owned(),
            why,
        };
        // As deep as the loader makes them.
        let max_depth = JitConfig::default().max_depth;
        if self.stack.len() >= usize::try_from(max_depth).unwrap_or(usize::MAX) {
            return Err(PackError::InstanceDepth {
                symbol: symbol.to_owned(),
                module: title.to_owned(),
                max_depth,
            });
        }
        if let Some(first) = self.stack.iter().position(|other| other == symbol) {
            self.is_circular = true;
            let cycle = self.stack.get(first..).unwrap_or_default().join(" -> ");
            return Err(refused(format!("circular dependency: {cycle} -> {symbol}")));
        }
        let (template, arguments) = match (listed, request) {
            (Some(row), _) => {
                let arguments = Type::parse_arguments(&row.arguments);
                let arguments = arguments.map_err(|error| refused(error.to_string()))?;
                (row.template.clone(), arguments)
            }
            (None, Some((template, arguments))) => (template.to_owned(), arguments.to_vec()),
            (None, None) => return Err(refused("no module lists it as possible".to_owned())),
        };
        let missing = || refused(format!("no module has a template `{template}`"));
        let found = context.template(&template, owner).ok_or_else(missing)?;
        self.stack.push(symbol.to_owned());
        let compiled = self.compile_instance(found, symbol, &arguments);
        self.stack.pop();
        self.instances.push(compiled?);
        Ok(())
    }

    fn compile_instance(
        &mut self,
        found: &ModuleTemplate<'_>,
        symbol: &str,
        arguments: &[Type],
    ) -> Result<Instance> {
        let module = self.context.inputs.module_name(found.module);
        let refused = |why: String| PackError::Instance {
            symbol: symbol.to_owned(),
            module: module.to_owned(),
            why,
        };
        let (compiled, environment) =
            self.compile(found, symbol, arguments).map_err(|error| match error {
                Failure::Compile(error) => refused(error.to_string()),
                Failure::Required(error) => error,
            })?;
        let Compilation { targets, signature, tables } = environment;
        let title = format!("{module}({symbol})");
        let object = object(self.arch, symbol, compiled, &targets, &tables).map_err(refused)?;
        Ok(Instance {
            symbol: symbol.to_owned(),
            module: found.module,
            title,
            data: object.to_vec(),
            object,
            aliases: Vec::new(),
            signature,
            targets,
            #[cfg(feature = "source")]
            unit: unit(&found.template, arguments),
        })
    }

    fn compile(
        &mut self,
        found: &ModuleTemplate<'_>,
        symbol: &str,
        arguments: &[Type],
    ) -> Result<(Compiled, Compilation), Failure> {
        let ModuleTemplate { template, section, .. } = found;
        if template.kind.is_some() && usize::from(template.params) != arguments.len() {
            let (parameters, arguments) = (template.params, arguments.len());
            let why = Name::in_error(template.name, |template| InstantiateErrorKind::Parameters {
                template,
                parameters,
                arguments,
            });
            return Err(Failure::Compile(CompileError::because(why)));
        }
        let (x64, aarch64) = (X64Bodies::new(), Aarch64Bodies::new());
        // Each refuses the other machines.
        let ir: &dyn Compiler = if self.arch == Arch::AARCH64 { &aarch64 } else { &x64 };
        #[cfg(feature = "source")]
        let (text, records) = (SourceBodies::new(), RecordBodies::new());
        let compilers: &[&dyn Compiler] = &[
            &PrecompiledBodies,
            ir,
            #[cfg(feature = "source")]
            &text,
            #[cfg(feature = "source")]
            &records,
        ];
        let compiler = compilers.iter().find(|compiler| compiler.recognizes(template.body));
        let unknown =
            || CompileError::because("no compiler of the linker knows the form of its body");
        let compiler = compiler.ok_or_else(unknown).map_err(Failure::Compile)?;
        let request = CompileRequest {
            symbol: symbol.as_bytes(),
            template: template.name,
            kind: template.kind,
            parameters: template.kind.map(|_| template.params),
            body: template.body,
            section,
            requester: &[],
            arguments,
            arch: self.arch,
        };
        let mut environment = LinkEnvironment {
            linker: self,
            symbol,
            targets: Vec::new(),
            signature: Box::default(),
            tables: Vec::new(),
            failure: None,
        };
        let compiled = compiler.compile(&request, &mut environment);
        let LinkEnvironment { targets, signature, tables, failure, .. } = environment;
        match (compiled, failure) {
            (Ok(compiled), _) => Ok((compiled, Compilation { targets, signature, tables })),
            (Err(CompileError::Needs), Some(failure)) => Err(Failure::Required(failure)),
            (Err(error), _) => Err(Failure::Compile(error)),
        }
    }
}

/// What the source of an instance declares, for the note; `None` for a body in another form.
#[cfg(feature = "source")]
fn unit(template: &Template<'_>, arguments: &[Type]) -> Option<TranslationUnit> {
    let body = SourceTemplate::parse(template.body)?;
    let name = str::from_utf8(template.name).ok()?;
    let file = SourceFile { name: "", module: name, text: body.text };
    instantiate(file, name, arguments).ok()?.unit
}

/// Why an instance is not compiled.
enum Failure {
    Compile(CompileError),
    /// An instance that it requires.
    Required(PackError),
}

/// What a compilation has requested and declared.
struct Compilation {
    /// The symbols of its targets.
    targets: Vec<String>,
    signature: Box<[u8]>,
    /// The unwind instructions of its functions.
    tables: Vec<FunctionTables>,
}

/// The [`Environment`] of a compilation: targets are symbols, to be linked.
struct LinkEnvironment<'e, 'i, 'a> {
    linker: &'e mut Instantiator<'i, 'a>,
    /// The symbol of the instance.
    symbol: &'e str,
    targets: Vec<String>,
    signature: Box<[u8]>,
    tables: Vec<FunctionTables>,
    failure: Option<PackError>,
}

impl LinkEnvironment<'_, '_, '_> {
    fn target(&mut self, symbol: &str) -> Result<Target, CompileError> {
        if symbol == self.symbol {
            return Ok(Target::OWN);
        }
        let known = self.targets.iter().position(|known| known == symbol);
        let number = known.unwrap_or(self.targets.len());
        if known.is_none() {
            self.targets.push(symbol.to_owned());
        }
        let target = u32::try_from(number).ok().and_then(Target::of);
        target.ok_or_else(|| CompileError::because("too many relocation targets"))
    }

    fn required(
        &mut self,
        symbol: &str,
        request: Option<(&str, &[Type])>,
    ) -> Result<Target, CompileError> {
        self.linker.is_circular = false;
        if symbol != self.symbol
            && let Err(error) = self.linker.instantiate(symbol, request)
        {
            self.failure = Some(error);
            return Err(CompileError::Needs);
        }
        self.target(symbol)
    }
}

impl Environment for LinkEnvironment<'_, '_, '_> {
    fn instance(&mut self, template: &[u8], arguments: &[Type]) -> Result<Target, CompileError> {
        let unnamed = || CompileError::because("it requires an instance without a symbol");
        let template = str::from_utf8(template).map_err(|_| unnamed())?;
        // As the loader does: one that exists, or else is listed, or else has the spelling of this instance.
        let names = instance_symbols(template, arguments, self.symbol.starts_with(FUNCTION))?;
        let Instantiator { context, instances, stack, .. } = &*self.linker;
        let exists = |name: &&String| stack.contains(name) || instances.has(name);
        let known = names.iter().find(exists);
        let known = known.or_else(|| names.iter().find(|name| context.rows.contains_key(*name)));
        let symbol = known.or(names.first()).ok_or_else(unnamed)?;
        self.required(symbol, Some((template, arguments)))
    }

    fn symbol(&mut self, symbol: &[u8]) -> Result<Target, CompileError> {
        let symbol = str::from_utf8(symbol)
            .map_err(|_| CompileError::because("it requires a symbol that is not UTF-8"))?;
        let is_listed = row_of(self.linker.context.rows, symbol).is_some();
        if is_listed { self.required(symbol, None) } else { self.target(symbol) }
    }

    fn absolute(&mut self, address: u64) -> Result<Target, CompileError> {
        // The loader knows the address in its own process.
        if address == trap_hook as *const () as usize as u64 {
            return self.target(&String::from_utf8_lossy(TRAP_HOOK));
        }
        Err(CompileError::because("it refers to an address in the process of the linker"))
    }

    fn address(&self, _: Target) -> Option<u64> {
        None
    }

    fn is_circular(&self) -> bool {
        self.linker.is_circular
    }

    fn declare_signature(&mut self, signature: Box<[u8]>) {
        self.signature = signature;
    }

    fn declare_tables(&mut self, tables: FunctionTables) -> Result<(), CompileError> {
        self.tables.push(tables);
        Ok(())
    }

    fn needs_tables(&self) -> bool {
        true
    }

    fn signature(&self, target: Target) -> Option<&[u8]> {
        let symbol = self.targets.get(usize::try_from(target.number()?).ok()?)?;
        let instance = self.linker.instances.find(symbol)?;
        Some(&*instance.signature).filter(|signature| !signature.is_empty())
    }
}

/// The object of an instance.
fn object(
    arch: Arch,
    symbol: &str,
    compiled: Compiled,
    targets: &[String],
    tables: &[FunctionTables],
) -> Result<ElfObject, String> {
    let machine = if arch == Arch::X86_64 { elf::EM_X86_64 } else { elf::EM_AARCH64 };
    // Another module may have been packed with the same instance.
    let own = ElfSymbol {
        place: ElfPlace::Section(0),
        size: compiled.code.len() as u64,
        ..ElfSymbol::new(symbol.as_bytes(), elf::STB_WEAK, elf::STT_FUNC)
    };
    let other = |name: &String| ElfSymbol::new(name.as_bytes(), elf::STB_GLOBAL, elf::STT_NOTYPE);
    let others = targets.iter().map(other);
    let symbols = std::iter::once(own).chain(others).collect();
    let mut relocs = Vec::new();
    for reloc in &compiled.relocations {
        let at = usize::try_from(reloc.offset).unwrap_or(usize::MAX);
        let word = compiled.code.get(at..).and_then(|code| code.first_chunk());
        let word = word.map_or(0, |bytes| u32::from_le_bytes(*bytes));
        let kind = reloc_type(machine, reloc.kind, word);
        let kind = kind.ok_or_else(|| format!("the relocation {} cannot be linked", reloc.kind))?;
        let symbol = reloc.target.number().map_or(0, |number| number.saturating_add(1));
        let (offset, addend) = (u64::from(reloc.offset), reloc.addend);
        relocs.push(ElfReloc { offset, symbol, kind, addend });
    }
    let flags = elf::SHF_ALLOC.0 | elf::SHF_EXECINSTR.0;
    let section = ElfSection {
        // Instructions may require that constants behind the code are aligned.
        alignment: 16,
        relocs,
        ..ElfSection::new(INSTANCE_SECTION, elf::SHT_PROGBITS, flags, compiled.code)
    };
    let unwinding = eh_frame(arch, tables).map_err(|error| error.to_string())?;
    let sections = std::iter::once(section).chain(unwinding).collect();
    Ok(ElfObject { machine, sections, symbols })
}

/// The unwinding table of an instance, which is symbol 0; `None` if its frames are unknown.
fn eh_frame(arch: Arch, tables: &[FunctionTables]) -> Result<Option<ElfSection>, AllocError> {
    let Some(machine) = unwind_machine(arch) else { return Ok(None) };
    let (mut table, mut relocs) = (UnwindTable::for_file(machine)?, Vec::new());
    for (start, size, instructions) in tables.iter().filter_map(FunctionTables::frames) {
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        // The distance is that of the relocation.
        let Some(field) = table.add_at(instructions, 0, size)? else { continue };
        let kind = if arch == Arch::X86_64 { elf::R_X86_64_PC32 } else { elf::R_AARCH64_PREL32 };
        let addend = i64::try_from(start).unwrap_or(i64::MAX);
        relocs.push(ElfReloc { offset: field as u64, symbol: 0, kind: kind.0, addend });
    }
    let bytes = table.finish()?;
    let section = ElfSection::new(b".eh_frame", elf::SHT_PROGBITS, elf::SHF_ALLOC.0, bytes);
    Ok((!relocs.is_empty()).then_some(ElfSection { relocs, ..section }))
}

//! From Simple source to a module: native code, symbols, templates, their metadata, note.sdn and line tables.
//!
//! | part | contents |
//! |---|---|
//! | `.text` | the functions of the program, and the instances of generic functions that they need |
//! | `.eh_frame` | how to find the caller of each function, at every instruction |
//! | `.smf.property` | the protections of control flow that the code supports |
//! | symbols | every function; those without a mark are local where the file marks any by `pub` or `export`. Functions of other units and of the host are imports |
//! | `templates` | the generic functions in source text, with the IR of those that need scalars only |
//! | `note.sdn` | the instances in the code, those that can be made, inferred types and dependencies |
//! | `.debug_*` | the lines of the code, if asked for |
//!
//! Code traps through the loader: it imports [`TRAP_HOOK`](smf_core::link::TRAP_HOOK).

mod error;
mod line_table;
pub(crate) mod note;
mod object;
mod unwind_table;

use ::object::elf;
use indexmap::IndexMap;
use smf_core::format::ext::{debug_addresses, gnu_property, prelink};
use smf_core::format::template::{Container, Template, TemplateKind};
use smf_core::format::write::{
    Module, NewSection, NewSymbol, NewTemplates, Payload, Place, WriteError,
};
use smf_core::format::{
    Arch, Binding, Flags, Header, Layout, Platform, Reloc, SectionFlags, SectionKind,
};
use smf_core::ir::CalleeKind;
use smf_core::source::{FunctionDefinition, TranslationUnit};
use smf_core::templates::encode_source;

pub use error::{CompileError, CompileOptions};

use error::Result;
use object::{Code, CodeReloc, Target};

/// Compiles the functions of a program to the bytes of a module.
///
/// # Errors
/// [`CompileError`].
pub fn compile(unit: &TranslationUnit, options: &CompileOptions<'_>) -> Result<Vec<u8>> {
    let code = Code::generate(unit, options)?;
    let symbols = Symbols::new(unit, &code);
    let relocs = symbols.relocs(&code);
    let templates = templates(unit)?;
    let counts = template_counts(unit);
    let note = note::write(unit, |name| symbols.imports.contains_key(name.as_bytes()))?;
    let debug = match options.debug_directory {
        Some(directory) => Vec::from(line_table::sections(unit, &code, directory)?),
        None => Vec::new(),
    };
    let frames = unwind_table::encode(unit, &code, options.arch)?;
    let mut sections = vec![text(&code)];
    sections.extend(frames.as_deref().map(unwinding));
    if !relocs.is_empty() {
        sections.push(metadata(SectionKind::Reloc, b".rela.text", Payload::Relocs(&relocs)));
    }
    if let Some(templates) = &templates {
        let payload = Payload::Bytes(templates);
        sections.push(metadata(SectionKind::TemplateCode, b"templates", payload));
        sections.push(metadata(
            SectionKind::TemplateMeta,
            b"template_meta",
            Payload::Bytes(&counts),
        ));
    }
    sections.push(metadata(SectionKind::Note, b"note.sdn", Payload::Bytes(note.as_bytes())));
    let (addresses, offsets) = match debug.is_empty() {
        true => (None, None),
        false => (line_table::addresses(&debug)?, line_table::offsets(&debug)?),
    };
    for section in &debug {
        let name = debug_addresses::stored_name(section.name);
        sections.push(metadata(SectionKind::Debug, name, Payload::Bytes(&section.bytes)));
    }
    sections.extend(addresses.as_deref().map(debug_addresses::section));
    sections.extend(offsets.as_deref().map(debug_addresses::offsets_section));
    let properties = properties(options.arch)?;
    sections.extend(properties.as_deref().map(gnu_property::section));
    let image = frames.is_some().then(|| unwind_table::image(&code, sections.len() + 1)).flatten();
    sections.extend(
        image
            .as_deref()
            .map(|image| metadata(SectionKind::Note, prelink::NAME, Payload::Bytes(image))),
    );
    let module = Module {
        layout: Layout::Native,
        header: header(unit, &code, options, !debug.is_empty()),
        stub: &[],
        sections: &sections,
        symbols: &symbols.list,
    };
    module.to_vec().map_err(|error| symbols.named(error))
}

fn text(code: &Code) -> NewSection<'_> {
    NewSection { alignment: code.align, ..NewSection::code(&code.bytes) }
}

fn unwinding(bytes: &[u8]) -> NewSection<'_> {
    metadata(SectionKind::RoData, unwind_table::NAME, Payload::Bytes(bytes))
}

/// A section that is only read.
fn metadata<'a>(kind: SectionKind, name: &'a [u8], payload: Payload<'a>) -> NewSection<'a> {
    let flags = SectionFlags(SectionFlags::READ);
    NewSection { kind, name, flags, alignment: 8, virtual_size: None, payload }
}

/// The payload of the section with the properties of the code: every function begins with a landing pad, and on x86-64
/// returns match calls.
fn properties(arch: Arch) -> Result<Option<Vec<u8>>> {
    let (kind, value) = match arch {
        Arch::X86_64 => (
            elf::GNU_PROPERTY_X86_FEATURE_1_AND,
            elf::GNU_PROPERTY_X86_FEATURE_1_IBT | elf::GNU_PROPERTY_X86_FEATURE_1_SHSTK,
        ),
        Arch::AARCH64 => {
            (elf::GNU_PROPERTY_AARCH64_FEATURE_1_AND, elf::GNU_PROPERTY_AARCH64_FEATURE_1_BTI)
        }
        other => return Err(CompileError::Arch(other)),
    };
    Ok(gnu_property::encode(&[(kind.0, value)])?)
}

fn header(
    unit: &TranslationUnit,
    code: &Code,
    options: &CompileOptions<'_>,
    has_debug_info: bool,
) -> Header {
    let main = unit.find("main").and_then(|index| code.functions.get(index));
    let mut header = Header {
        platform: Platform::ANY,
        arch: options.arch,
        entry_point: main.map_or(0, |main| u64::from(main.start)),
        ..Header::default()
    };
    header.flags.0 |= Flags::PIC;
    header.flags.0 |= if main.is_some() { Flags::EXECUTABLE } else { 0 };
    header.flags.0 |= if has_debug_info { Flags::DEBUG_INFO } else { 0 };
    header
}

/// The symbols: the functions in order, then the imports.
struct Symbols<'u> {
    list: Vec<NewSymbol<'u>>,
    /// The number of each import.
    imports: IndexMap<&'u [u8], u32>,
}

impl<'u> Symbols<'u> {
    fn new(unit: &'u TranslationUnit, code: &'u Code) -> Self {
        let functions = unit.functions.iter().zip(&code.functions);
        let mut list: Vec<NewSymbol<'_>> = functions
            .map(|(function, compiled)| NewSymbol {
                name: function.symbol.as_bytes(),
                binding: binding(function),
                place: Place::Section(0),
                value: compiled.start.into(),
                size: compiled.size.into(),
                ..NewSymbol::default()
            })
            .collect();
        let mut imports = IndexMap::new();
        for reloc in &code.relocs {
            let Target::Import(name) = &reloc.target else { continue };
            imports.entry(&**name).or_insert_with(|| {
                let number = u32::try_from(list.len()).unwrap_or(u32::MAX);
                let (place, visibility) = (Place::Import, 0);
                list.push(NewSymbol { name, place, visibility, ..NewSymbol::default() });
                number
            });
        }
        Self { list, imports }
    }

    /// An error with the name of the function instead of its number.
    fn named(&self, error: WriteError) -> CompileError {
        let WriteError::SymbolName(index) = error else { return error.into() };
        let symbol = self.list.get(index as usize).map_or(&[][..], |symbol| symbol.name);
        let function = String::from_utf8_lossy(symbol).chars().take(64).collect();
        CompileError::SymbolName { function }
    }

    fn relocs(&self, code: &Code) -> Vec<Reloc> {
        let reloc = |CodeReloc { offset, kind, target, addend }: &CodeReloc| {
            let symbol = match target {
                Target::Function(index) => u32::try_from(*index).unwrap_or(u32::MAX),
                Target::Import(name) => self.imports.get(&**name).copied().unwrap_or(u32::MAX),
            };
            Reloc { offset: u64::from(*offset), symbol, kind: *kind, addend: *addend }
        };
        code.relocs.iter().map(reloc).collect()
    }
}

/// The visibility of a function.
fn binding(function: &FunctionDefinition) -> Binding {
    match () {
        () if function.instance_of.is_some() => Binding::Weak,
        () if function.is_local => Binding::Local,
        () => Binding::Global,
    }
}

/// The template section; `None` without generic functions.
fn templates(unit: &TranslationUnit) -> Result<Option<Vec<u8>>> {
    if unit.templates.is_empty() {
        return Ok(None);
    }
    let bodies: Vec<Vec<u8>> =
        unit.templates.iter().map(encode_source).collect::<Result<_, _>>()?;
    let templates = unit.templates.iter().zip(&bodies).map(|(template, body)| Template {
        name: template.name.as_bytes(),
        kind: Some(TemplateKind::Function),
        // The front end limits the number of type parameters.
        params: u8::try_from(template.type_params.len()).unwrap_or(u8::MAX),
        constraints: Default::default(),
        body,
    });
    let templates: Vec<_> = templates.collect();
    let container = Container::Gtpl { constrained: false };
    Ok(Some(NewTemplates { container, templates: &templates }.to_vec()?))
}

/// The metadata of templates: their numbers by kind.
fn template_counts(unit: &TranslationUnit) -> Vec<u8> {
    let functions = u32::try_from(unit.templates.len()).unwrap_or(u32::MAX);
    let mut bytes = b"META\x01\0".to_vec();
    for count in [functions, 0, 0, 0] {
        bytes.extend(count.to_le_bytes());
    }
    bytes
}

/// The functions that the code of a function calls, by number.
fn callees(function: &FunctionDefinition) -> Vec<usize> {
    let Ok(body) = smf_core::ir::Function::parse(function.ir()) else { return Vec::new() };
    let callees = (0..body.callee_count()).filter_map(|number| body.callee(number).ok());
    let numbers = callees.filter_map(|callee| match callee.kind {
        CalleeKind::Function(index) => usize::try_from(index).ok(),
        _ => None,
    });
    numbers.collect()
}

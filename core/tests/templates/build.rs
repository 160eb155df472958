//! Modules with templates and notes, built for tests, and a compiler for templates of a few words.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use smf_core::format::ext::hash_index;
use smf_core::format::template::{Container, Template, TemplateKind};
use smf_core::format::write::{Module, NewSection, NewTemplates};
use smf_core::format::{Header, Layout, RelocKind, SectionKind};
use smf_core::memory::code_alloc::CodeMemory;
use smf_core::templates::{
    Callback, CodeReloc, CompileError, CompileRequest, Compiled, Compiler, Environment, JitConfig,
    JitInstantiator, Target,
};
use smf_core::types::Type;

/// A module to be built.
#[derive(Clone)]
pub(crate) struct Spec {
    pub(crate) layout: Layout,
    templates: Vec<(String, Vec<u8>)>,
    /// Template, type arguments, symbol.
    possible: Vec<[String; 3]>,
    /// A text that replaces the generated note.
    note: Option<Vec<u8>>,
    gtpl: Option<u8>,
}

impl Spec {
    pub(crate) fn new() -> Self {
        Self {
            layout: Layout::Packed,
            templates: Vec::new(),
            possible: Vec::new(),
            note: None,
            gtpl: None,
        }
    }

    /// Adds a template, whose body may be a script for [`compiler`].
    pub(crate) fn template(mut self, name: &str, body: impl AsRef<[u8]>) -> Self {
        self.templates.push((name.into(), body.as_ref().to_vec()));
        self
    }

    pub(crate) fn possible(mut self, template: &str, arguments: &str, symbol: &str) -> Self {
        self.possible.push([template, arguments, symbol].map(str::to_owned));
        self
    }

    /// A template and a row for it with `i64`.
    pub(crate) fn both(self, name: &str, body: impl AsRef<[u8]>) -> Self {
        let symbol = format!("{name}$i64");
        self.template(name, body).possible(name, "i64", &symbol)
    }

    pub(crate) fn layout(self, layout: Layout) -> Self {
        Self { layout, ..self }
    }

    pub(crate) fn note(self, note: &[u8]) -> Self {
        Self { note: Some(note.to_vec()), ..self }
    }

    /// Selects a container that states the number of parameters of the only template.
    pub(crate) fn parameters(self, parameters: u8) -> Self {
        Self { gtpl: Some(parameters), ..self }
    }

    pub(crate) fn note_text(&self) -> String {
        let mut text = String::from(
            "instantiations |id, template, type_args, mangled_name, from_file, from_loc, to_obj, status|\n\
             possible |id, template, type_args, mangled_name, required_by, can_defer|\n",
        );
        for (id, [template, arguments, symbol]) in self.possible.iter().enumerate() {
            text += &format!(
                "    {id}, \"{template}\", \"{arguments}\", \"{symbol}\", \"a.spl\", true\n"
            );
        }
        text + "# END_NOTE\n"
    }

    pub(crate) fn file(&self) -> Vec<u8> {
        let templates: Vec<_> = self
            .templates
            .iter()
            .map(|(name, body)| Template {
                name: name.as_bytes(),
                kind: self.gtpl.map(|_| TemplateKind::Function),
                params: self.gtpl.unwrap_or(0),
                constraints: Default::default(),
                body,
            })
            .collect();
        let container = match self.gtpl {
            Some(_) => Container::Gtpl { constrained: false },
            None => Container::Counted,
        };
        let templates = NewTemplates { container, templates: &templates }.to_vec().unwrap();
        let note = self.note.clone().unwrap_or_else(|| self.note_text().into_bytes());
        let section =
            |kind, name, payload| NewSection { kind, name, ..hash_index::section(payload) };
        let sections = [
            section(SectionKind::Code, b".text", &[0xc3; 16][..]),
            section(SectionKind::TemplateCode, b".templates", &templates),
            section(SectionKind::Note, b"note.sdn", &note),
        ];
        let (header, stub) = (Header::default(), &b""[..]);
        let module =
            Module { layout: self.layout, header, stub, sections: &sections, symbols: &[] };
        module.to_vec().unwrap()
    }
}

/// The temporary directory of a test, removed on drop.
pub(crate) struct Directory(pub(crate) PathBuf);

impl Directory {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("smf-instantiate-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Writes a file and returns its path.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> Vec<u8> {
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap();
        path.into_os_string().into_encoded_bytes()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A compiler of scripts that counts its calls. A script is a list of commands, one a line: `ret N`; `call
/// SYMBOL` and `instance TEMPLATE TYPES`, tail calls; `down`, recursion with the argument less one until it is
/// 0; `fail REASON`; `needs TEMPLATE TYPES`, a required instance that is not called; `empty`, no code; `far`, a
/// relocation out of bounds.
pub(crate) fn compiler(count: Arc<AtomicU32>) -> impl Compiler {
    Callback::new(move |request: &CompileRequest<'_>, environment: &mut dyn Environment| {
        count.fetch_add(1, Ordering::Relaxed);
        assert!(request.symbol != b"" && !request.arguments.is_empty());
        compile(std::str::from_utf8(request.body).unwrap(), environment)
    })
}

pub(crate) fn compile(
    script: &str,
    environment: &mut dyn Environment,
) -> Result<Compiled, CompileError> {
    let jump = |target| {
        let relocations = vec![CodeReloc { offset: 1, kind: RelocKind::Plt32, target, addend: -4 }];
        Compiled { code: vec![0xe9, 0, 0, 0, 0], relocations }
    };
    let mut compiled = Compiled::default();
    for line in script.lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let mut instance = || {
            let (template, types) = rest.split_once(' ').unwrap();
            environment.instance(template.as_bytes(), &Type::parse_arguments(types).unwrap())
        };
        compiled = match word {
            "ret" => returns(rest.parse().unwrap()),
            "call" => jump(environment.symbol(rest.as_bytes())?),
            "instance" => jump(instance()?),
            "needs" => instance().map(|_| compiled)?,
            "down" => {
                // test rdi, rdi; jz out; dec rdi; call own; inc rax; ret; out: xor eax, eax; ret
                let code = [0x48, 0x85, 0xff, 0x74, 12, 0x48, 0xff, 0xcf, 0xe8, 0, 0, 0, 0];
                let rest = [0x48, 0xff, 0xc0, 0xc3, 0x31, 0xc0, 0xc3];
                let own =
                    CodeReloc { offset: 9, kind: RelocKind::Pc32, target: Target::OWN, addend: -4 };
                Compiled { code: [&code[..], &rest].concat(), relocations: vec![own] }
            }
            "fail" => return Err(CompileError::because(rest)),
            "empty" => Compiled::default(),
            "far" => Compiled { code: vec![0xc3], ..jump(Target::OWN) },
            _ => panic!("{line}"),
        };
    }
    Ok(compiled)
}

/// `mov eax, value; ret`
pub(crate) fn returns(value: i32) -> Compiled {
    let code = [&[0xb8][..], &value.to_le_bytes(), &[0xc3]].concat();
    Compiled { code, relocations: Vec::new() }
}

/// An instantiator with the compiler of scripts, and the number of its compilations.
pub(crate) fn instantiator(config: JitConfig) -> (JitInstantiator, Arc<AtomicU32>) {
    let count = Arc::new(AtomicU32::new(0));
    (
        JitInstantiator::new(config, CodeMemory::default())
            .unwrap()
            .with_compiler(compiler(count.clone()))
            .unwrap(),
        count,
    )
}

/// As [`instantiator`], with modules in memory.
pub(crate) fn loaded(config: JitConfig, modules: &[Spec]) -> (JitInstantiator, Arc<AtomicU32>) {
    let (jit, count) = instantiator(config);
    for (number, module) in modules.iter().enumerate() {
        jit.load_smf_bytes(format!("m{number}").as_bytes(), &module.file()).unwrap();
    }
    (jit, count)
}

/// Options without file updates and messages.
pub(crate) const SILENT: JitConfig = JitConfig {
    update_smf: false,
    max_depth: 50,
    max_instances: usize::MAX,
    enabled: true,
    verbose: false,
    keep_code: false,
    ..JitConfig::DEFAULT
};

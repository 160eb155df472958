//! Builders of objects and archives, and a view of packed modules.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use smf_core::format::ext::prelink::Prelink;
use smf_core::format::{Layout, Reloc, Section, SectionKind, Smf, Symbol};
use smf_loader::pack::{Input, Options, PackError, PackWarning, pack};

/// A directory that is removed when dropped.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("smf-pack-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn command(program: &str, args: &[&str], dir: &Path) {
    let output = Command::new(program).args(args).current_dir(dir).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {errors}");
}

fn compiled(file: &str, source: &str, flags: &[&str]) -> Vec<u8> {
    let scratch = Scratch::new();
    std::fs::write(scratch.path(file), source).unwrap();
    let args = [flags, &["-c", file, "-o", "out.o"]].concat();
    command("cc", &args, &scratch.0);
    std::fs::read(scratch.path("out.o")).unwrap()
}

/// Compiles C.
pub(crate) fn c(source: &str, flags: &[&str]) -> Vec<u8> {
    compiled("in.c", source, flags)
}

/// Assembles.
pub(crate) fn asm(source: &str) -> Vec<u8> {
    compiled("in.s", source, &[])
}

/// Compiles Rust, without unwinding.
pub(crate) fn rust(source: &str, flags: &[&str]) -> Vec<u8> {
    let scratch = Scratch::new();
    std::fs::write(scratch.path("in.rs"), source).unwrap();
    let args = ["--edition=2024", "--crate-type=lib", "--emit=obj", "-Cpanic=abort", "-oout.o"];
    let args = [&args, flags, &["in.rs"]].concat();
    let compiler = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    command(&compiler, &args, &scratch.0);
    std::fs::read(scratch.path("out.o")).unwrap()
}

/// Creates an archive.
pub(crate) fn ar(flags: &str, members: &[(&str, &[u8])]) -> Vec<u8> {
    let scratch = Scratch::new();
    for (name, data) in members {
        std::fs::write(scratch.path(name), data).unwrap();
    }
    let names: Vec<_> = members.iter().map(|(name, _)| *name).collect();
    command("ar", &[&[flags, "out.a"], &names[..]].concat(), &scratch.0);
    std::fs::read(scratch.path("out.a")).unwrap()
}

pub(crate) fn try_pack(
    objects: &[(&str, &[u8])],
    options: &Options<'_>,
) -> Result<Made, PackError> {
    let inputs: Vec<_> = objects.iter().map(|&(name, data)| Input { name, data }).collect();
    let packed = pack(&inputs, options)?;
    Ok(Made::new(packed.bytes, packed.warnings))
}

/// Packs objects without the relocations that the image makes superfluous.
pub(crate) fn without_relocs(objects: &[(&str, &[u8])]) -> Made {
    try_pack(objects, &Options::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// The options of a module that has all its relocations, which these tests read.
pub(crate) fn with_relocs() -> Options<'static> {
    Options { emit_relocs: true, ..Options::default() }
}

/// Packs one object.
pub(crate) fn packed(object: &[u8]) -> Made {
    linked(&[("a.o", object)])
}

/// Packs objects.
pub(crate) fn linked(objects: &[(&str, &[u8])]) -> Made {
    try_pack(objects, &with_relocs()).unwrap_or_else(|error| panic!("{error}"))
}

/// Packs one object in the native layout.
pub(crate) fn native(object: &[u8]) -> Made {
    let options = Options { layout: Layout::Native, ..Options::default() };
    try_pack(&[("a.o", object)], &options).unwrap_or_else(|error| panic!("{error}"))
}

/// The error of packing an object.
pub(crate) fn refusal(object: &[u8]) -> String {
    refusal_of(&[("a.o", object)])
}

/// The error of packing objects.
pub(crate) fn refusal_of(objects: &[(&str, &[u8])]) -> String {
    try_pack(objects, &Options::default()).err().expect("the objects can be packed").to_string()
}

/// The module as packed without relative relocations, so that loaders apply the relocation sections: the note ends before
/// them.
pub(crate) fn without_relative(module: &[u8]) -> Vec<u8> {
    let mut module = module.to_vec();
    let note = Smf::parse(&module).unwrap().sections().named(b".smf.image").unwrap();
    let len = note.data.windows(4).position(|magic| magic == b"RELR").unwrap() as u64;
    let entry = usize::try_from(note.entry_offset).unwrap();
    // The sizes in the file and in memory.
    for size in [entry + 16, entry + 24] {
        module[size..size + 8].copy_from_slice(&len.to_le_bytes());
    }
    module
}

/// A packed module, verified.
pub(crate) struct Made {
    bytes: Vec<u8>,
    pub(crate) warnings: Vec<PackWarning>,
}

impl Made {
    fn new(bytes: Vec<u8>, warnings: Vec<PackWarning>) -> Self {
        let smf = Smf::parse(&bytes).unwrap();
        smf.verify().unwrap();
        if let Some(plan) = Prelink::of(&smf).unwrap() {
            plan.verify_prelinked(&smf).unwrap();
        }
        Made { bytes, warnings }
    }

    /// The same module with its prelink note renamed, so that loaders ignore it.
    pub(crate) fn without_image(&self) -> Self {
        let mut bytes = self.bytes.clone();
        let entry = usize::try_from(self.section(".smf.image").entry_offset).unwrap();
        bytes[entry + 40..][..10].copy_from_slice(b".not.image");
        Made::new(bytes, Vec::new())
    }

    /// See [`without_relative`].
    pub(crate) fn without_relative(&self) -> Self {
        Made::new(without_relative(&self.bytes), Vec::new())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn smf(&self) -> Smf<'_> {
        Smf::parse(&self.bytes).unwrap()
    }

    pub(crate) fn plan(&self) -> Prelink<'_> {
        Prelink::of(&self.smf()).unwrap().unwrap()
    }

    /// The image offset of a section, if there is an image.
    pub(crate) fn plan_offset(&self, index: u32) -> Option<u64> {
        Prelink::of(&self.smf()).unwrap()?.section_offset(index)
    }

    pub(crate) fn find(&self, name: &str) -> Option<Section<'_>> {
        self.smf().sections().named(name.as_bytes())
    }

    pub(crate) fn section(&self, name: &str) -> Section<'_> {
        self.find(name).unwrap_or_else(|| panic!("no section {name}"))
    }

    pub(crate) fn code(&self) -> &[u8] {
        self.section(".text").data
    }

    pub(crate) fn symbols(&self) -> Vec<Symbol<'_>> {
        self.smf().symbols().iter().map(Result::unwrap).collect()
    }

    pub(crate) fn export(&self, name: &str) -> Option<Symbol<'_>> {
        self.symbols().into_iter().find(|s| s.is_export() && s.name() == name.as_bytes())
    }

    /// The section and the offset of an exported symbol.
    pub(crate) fn place(&self, name: &str) -> (String, u64) {
        let symbol = self.export(name).unwrap_or_else(|| panic!("no export {name}"));
        let section = self.smf().section(symbol.section.unwrap()).unwrap();
        (String::from_utf8_lossy(section.name).into_owned(), symbol.value)
    }

    /// The contents of a section from an exported symbol on.
    pub(crate) fn at(&self, name: &str) -> &[u8] {
        let (section, offset) = self.place(name);
        &self.section(&section).data[usize::try_from(offset).unwrap()..]
    }

    pub(crate) fn imports(&self) -> Vec<String> {
        let imports = self.symbols().into_iter().filter(|symbol| symbol.is_import());
        imports.map(|symbol| String::from_utf8_lossy(symbol.name()).into_owned()).collect()
    }

    /// The relocations of a section with their symbols, prelinked or not.
    pub(crate) fn relocs(&self, section: &str, settled: bool) -> Vec<(Reloc, String)> {
        let smf = self.smf();
        let plan = Prelink::of(&smf).unwrap();
        let mut found = Vec::new();
        for table in smf.reloc_tables().map(Result::unwrap) {
            let is_prelinked = plan.is_some_and(|plan| plan.is_prelinked(table.section.index));
            if table.target.name == section.as_bytes() && is_prelinked == settled {
                found.extend(table.iter().map(|reloc| {
                    let symbol = smf.symbols().get(reloc.symbol).unwrap();
                    (reloc, String::from_utf8_lossy(symbol.name()).into_owned())
                }));
            }
        }
        found
    }

    /// The target of the distance at `offset` of the code: section and offset.
    pub(crate) fn follow(&self, offset: usize) -> (String, u64) {
        let operand: [u8; 4] = self.code()[offset..offset + 4].try_into().unwrap();
        let distance = i64::from(i32::from_le_bytes(operand));
        let smf = self.smf();
        let begin = |section: &Section<'_>| match Prelink::of(&smf).unwrap() {
            Some(plan) => plan.section_offset(section.index),
            None => (section.kind == SectionKind::Code).then_some(0),
        };
        let place = begin(&self.section(".text")).unwrap() + offset as u64 + 4;
        let target = place.checked_add_signed(distance).unwrap();
        let loaded = smf.sections().iter().filter_map(|s| begin(&s).map(|begin| (s, begin)));
        let (section, begin) = loaded.filter(|(_, begin)| *begin <= target).last().unwrap();
        (String::from_utf8_lossy(section.name).into_owned(), target - begin)
    }
}

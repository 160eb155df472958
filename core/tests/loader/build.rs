//! Modules built for tests, with a few instructions per function.

use smf_core::format::write::{Module, NewSection, NewSymbol, Payload, Place};
use smf_core::format::{
    Binding, Flags, Header, Layout, Reloc, RelocKind, SectionFlags, SectionKind, SymbolKind,
};
use smf_core::loader::ModuleBytes;

/// The behaviour of a function.
#[derive(Clone)]
pub(crate) enum Does {
    /// Returns a number.
    Returns(i32),
    /// Counts to 10,000 and returns a number, so that a thread is often inside.
    #[allow(dead_code, reason = "shell/tests/reload_threads.rs constructs it")]
    ReturnsLate(i32),
    /// Tail-calls an import with its own arguments.
    Calls(&'static str),
    /// Adds its argument to data of its own and returns the sum.
    Adds(&'static str),
    /// Returns data of another module.
    Reads(&'static str),
    /// Adds its argument to data of another module and returns the sum.
    AddsThere(&'static str),
    /// As `Adds`, to data of another module within 2 GiB.
    AddsNear(&'static str),
    /// As `Adds`, but the relocations name the section.
    AddsBySection(&'static str),
    /// As `Adds`, by addresses of 32 bits, so that the module must lie below 2 GiB.
    AddsLow(&'static str),
}

/// A module to be built.
#[derive(Clone, Default)]
pub(crate) struct Spec {
    reloadable: bool,
    functions: Vec<(String, Binding, Does)>,
    /// Names, initial values, and whether the linker fills them with the address of the first function.
    data: Vec<(&'static str, i64, bool)>,
    /// Names of data of two words, and the second word.
    wide: Vec<(&'static str, i64)>,
    /// Names and values of constants.
    constants: Vec<(&'static str, i64)>,
    imports: Vec<(String, Binding, SymbolKind)>,
    /// Functions with the types of their parameters and results, and where the code of each begins.
    signatures: Vec<([&'static str; 3], Option<u64>)>,
    /// The hash of the structs that their types name.
    type_hash: &'static str,
}

impl Spec {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn reloadable(mut self) -> Self {
        self.reloadable = true;
        self
    }

    pub(crate) fn function(mut self, name: &str, does: Does) -> Self {
        self.functions.push((name.into(), Binding::Global, does));
        self
    }

    pub(crate) fn weak(mut self, name: &str, does: Does) -> Self {
        self.functions.push((name.into(), Binding::Weak, does));
        self
    }

    pub(crate) fn data(mut self, name: &'static str, value: i64) -> Self {
        self.data.push((name, value, false));
        self
    }

    pub(crate) fn pointer(mut self, name: &'static str) -> Self {
        self.data.push((name, 0, true));
        self
    }

    /// Data of two words.
    pub(crate) fn wide(mut self, name: &'static str, second: i64) -> Self {
        self.wide.push((name, second));
        self
    }

    pub(crate) fn constant(mut self, name: &'static str, value: i64) -> Self {
        self.constants.push((name, value));
        self
    }

    pub(crate) fn import(mut self, name: &str, binding: Binding, kind: SymbolKind) -> Self {
        self.imports.push((name.into(), binding, kind));
        self
    }

    /// Adds a row of the table `signatures` to the note.
    pub(crate) fn signature(mut self, function: &'static str, types: [&'static str; 2]) -> Self {
        self.signatures.push(([function, types[0], types[1]], None));
        self
    }

    /// Sets the column `type_hash` of all rows.
    pub(crate) fn type_hash(mut self, type_hash: &'static str) -> Self {
        self.type_hash = type_hash;
        self
    }

    /// As [`signature`](Self::signature), of the function whose code begins at `offset`.
    pub(crate) fn signature_at(mut self, offset: u64, row: [&'static str; 3]) -> Self {
        self.signatures.push((row, Some(offset)));
        self
    }

    pub(crate) fn bytes(&self) -> ModuleBytes {
        ModuleBytes::new(self.file()).unwrap()
    }

    pub(crate) fn file(&self) -> Vec<u8> {
        let mut made = Made { note: self.note(), ..Made::default() };
        for (name, value, _) in &self.data {
            let at = made.data.len() as u64;
            made.data.extend_from_slice(&value.to_le_bytes());
            made.symbol(name, Binding::Global, SymbolKind::Data, Place::Section(1), at, 8);
        }
        for (name, second) in &self.wide {
            let at = made.data.len() as u64;
            made.data.extend_from_slice(&[0; 8]);
            made.data.extend_from_slice(&second.to_le_bytes());
            made.symbol(name, Binding::Global, SymbolKind::Data, Place::Section(1), at, 16);
        }
        for (name, value) in &self.constants {
            let at = made.constants.len() as u64;
            made.constants.extend_from_slice(&value.to_le_bytes());
            made.symbol(name, Binding::Global, SymbolKind::Constant, Place::Section(4), at, 8);
        }
        for (name, binding, kind) in &self.imports {
            made.symbol(name, *binding, *kind, Place::Import, 0, 0);
        }
        for (name, binding, does) in &self.functions {
            let at = made.code.len() as u64;
            made.does(does);
            let size = made.code.len() as u64 - at;
            made.symbol(name, *binding, SymbolKind::Function, Place::Section(0), at, size);
        }
        let first = made.number_of(self.functions.first().map_or("", |(name, ..)| name));
        for (number, (.., is_pointer)) in self.data.iter().enumerate() {
            if *is_pointer {
                let offset = number as u64 * 8;
                let kind = RelocKind::Abs64;
                made.data_relocs.push(Reloc { offset, symbol: first, kind, addend: 0 });
            }
        }
        made.file(if self.reloadable { Flags::RELOADABLE } else { 0 })
    }

    fn note(&self) -> String {
        if self.signatures.is_empty() {
            return String::new();
        }
        let mut note =
            "signatures |id, function, parameters, result, type_hash, code_offset|\n".to_owned();
        let type_hash = self.type_hash;
        for (id, ([function, parameters, result], offset)) in self.signatures.iter().enumerate() {
            let offset = offset.map_or("\"\"".to_owned(), |offset| offset.to_string());
            note += &format!(
                "    {id}, \"{function}\", \"{parameters}\", \"{result}\", \"{type_hash}\", {offset}\n"
            );
        }
        note + "# END_NOTE\n"
    }
}

#[derive(Default)]
struct Made {
    note: String,
    code: Vec<u8>,
    data: Vec<u8>,
    constants: Vec<u8>,
    symbols: Vec<(String, Binding, SymbolKind, Place, u64, u64)>,
    relocs: Vec<Reloc>,
    data_relocs: Vec<Reloc>,
}

impl Made {
    fn symbol(
        &mut self,
        name: &str,
        binding: Binding,
        kind: SymbolKind,
        place: Place,
        value: u64,
        size: u64,
    ) -> u32 {
        self.symbols.push((name.into(), binding, kind, place, value, size));
        self.symbols.len() as u32 - 1
    }

    fn number_of(&mut self, name: &str) -> u32 {
        self.symbols.iter().position(|symbol| symbol.0 == name).unwrap_or(0) as u32
    }

    /// The index of an import, which is added if it is missing.
    fn import(&mut self, name: &str, kind: SymbolKind) -> u32 {
        let found = self.symbols.iter().position(|symbol| symbol.0 == name);
        let new = |made: &mut Self| made.symbol(name, Binding::Global, kind, Place::Import, 0, 0);
        found.map_or_else(|| new(self), |found| found as u32)
    }

    /// Appends instructions; their last four bytes are a distance to a symbol.
    fn with_distance(&mut self, code: &[u8], symbol: u32, kind: RelocKind) {
        self.with_distance_beyond(code, symbol, kind, 0);
    }

    /// Like `with_distance`, to this number of bytes behind the symbol.
    fn with_distance_beyond(&mut self, code: &[u8], symbol: u32, kind: RelocKind, beyond: i64) {
        self.code.extend_from_slice(code);
        let offset = self.code.len() as u64;
        self.code.extend_from_slice(&[0; 4]);
        self.relocs.push(Reloc { offset, symbol, kind, addend: beyond - 4 });
    }

    fn does(&mut self, does: &Does) {
        match does {
            Does::ReturnsLate(value) => {
                // mov ecx, 10000; 1: dec ecx; jnz 1b; mov eax, value; ret
                self.code
                    .extend_from_slice(&[0xb9, 0x10, 0x27, 0, 0, 0xff, 0xc9, 0x75, 0xfc, 0xb8]);
                self.code.extend_from_slice(&value.to_le_bytes());
                self.code.push(0xc3);
            }
            Does::Returns(value) => {
                // movsxd rax, imm; ret
                self.code.extend_from_slice(&[0x48, 0xc7, 0xc0]);
                self.code.extend_from_slice(&value.to_le_bytes());
                self.code.push(0xc3);
            }
            Does::Calls(name) => {
                let symbol = self.import(name, SymbolKind::Function);
                // jmp name
                self.with_distance(&[0xe9], symbol, RelocKind::Plt32);
            }
            Does::Adds(name) => {
                let symbol = self.number_of(name);
                // lock add [rip + name], rdi; mov rax, [rip + name]; ret
                self.code.push(0xf0);
                self.with_distance(&[0x48, 0x01, 0x3d], symbol, RelocKind::Pc32);
                self.with_distance(&[0x48, 0x8b, 0x05], symbol, RelocKind::Pc32);
                self.code.push(0xc3);
            }
            Does::AddsNear(name) => {
                let symbol = self.import(name, SymbolKind::Data);
                // As `Adds`.
                self.code.push(0xf0);
                self.with_distance(&[0x48, 0x01, 0x3d], symbol, RelocKind::Pc32);
                self.with_distance(&[0x48, 0x8b, 0x05], symbol, RelocKind::Pc32);
                self.code.push(0xc3);
            }
            Does::AddsBySection(name) => {
                let place = self.number_of(name) as usize;
                let beyond = self.symbols[place].4 as i64;
                let at = Place::Section(1);
                let data = self.symbol(".data", Binding::Local, SymbolKind::Data, at, 0, 0);
                self.with_distance_beyond(&[0x48, 0x01, 0x3d], data, RelocKind::Pc32, beyond);
                self.with_distance_beyond(&[0x48, 0x8b, 0x05], data, RelocKind::Pc32, beyond);
                self.code.push(0xc3);
            }
            Does::AddsLow(name) => {
                let symbol = self.number_of(name);
                // lock add [name], rdi; mov rax, [name]; ret
                let code = [0xf0, 0x48, 0x01, 0x3c, 0x25];
                self.with_distance_beyond(&code, symbol, RelocKind::Abs32, 4);
                let code = [0x48, 0x8b, 0x04, 0x25];
                self.with_distance_beyond(&code, symbol, RelocKind::Abs32, 4);
                self.code.push(0xc3);
            }
            Does::AddsThere(name) => {
                let symbol = self.import(name, SymbolKind::Data);
                // mov rax, [rip + slot]; lock add [rax], rdi; mov rax, [rax]; ret
                self.with_distance(&[0x48, 0x8b, 0x05], symbol, RelocKind::GotPcRel);
                self.code.extend_from_slice(&[0xf0, 0x48, 0x01, 0x38, 0x48, 0x8b, 0x00, 0xc3]);
            }
            Does::Reads(name) => {
                let symbol = self.import(name, SymbolKind::Data);
                // mov rax, [rip + slot]; mov rax, [rax]; ret
                self.with_distance(&[0x48, 0x8b, 0x05], symbol, RelocKind::GotPcRel);
                self.code.extend_from_slice(&[0x48, 0x8b, 0x00, 0xc3]);
            }
        }
    }

    fn file(&self, flags: u32) -> Vec<u8> {
        let section = |kind, name: &'static str, flags, payload| NewSection {
            kind,
            name: name.as_bytes(),
            flags: SectionFlags(flags),
            alignment: 8,
            virtual_size: None,
            payload,
        };
        let mut sections = vec![
            section(SectionKind::Code, ".text", 5, Payload::Bytes(&self.code)),
            section(SectionKind::Data, ".data", 3, Payload::Bytes(&self.data)),
            section(SectionKind::Reloc, ".rela", 0, Payload::Relocs(&self.relocs)),
            section(SectionKind::Reloc, ".rela.data", 0, Payload::Relocs(&self.data_relocs)),
            section(SectionKind::RoData, ".rodata", 1, Payload::Bytes(&self.constants)),
        ];
        if !self.note.is_empty() {
            let note = Payload::Bytes(self.note.as_bytes());
            sections.push(section(SectionKind::Note, "note.sdn", 1, note));
        }
        let symbol =
            |s: &'_ (String, Binding, SymbolKind, Place, u64, u64)| (s.1, s.2, s.3, s.4, s.5);
        let symbols: Vec<_> = self
            .symbols
            .iter()
            .map(|s| {
                let (binding, kind, place, value, size) = symbol(s);
                let name = s.0.as_bytes();
                NewSymbol { name, binding, kind, place, value, size, ..NewSymbol::default() }
            })
            .collect();
        let header = Header { flags: Flags(flags), ..Header::default() };
        let (layout, stub) = (Layout::Packed, &[][..]);
        let module = Module { layout, header, stub, sections: &sections, symbols: &symbols };
        module.to_vec().unwrap()
    }
}

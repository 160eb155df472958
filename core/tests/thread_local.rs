//! Thread-local storage of modules, with a host that records what it is asked for.
#![cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#![allow(unsafe_code, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::sync::Mutex;

use smf_core::format::write::{Module, NewSection, NewSymbol, Payload, Place};
use smf_core::format::{Binding, Header, Layout, Reloc, RelocKind, SectionKind, Smf, SymbolKind};
use smf_core::link::{
    Host, HostService, HostServiceError, HostServices, Image, LibraryToken, LinkError, NoImports,
    TlsBlock, TlsTemplate, host_arch,
};

/// A host whose module numbers count up from 7.
#[derive(Default)]
struct Recorder(Mutex<Record>);

#[derive(Default)]
struct Record {
    allocated: Vec<(Vec<u8>, usize, usize, bool)>,
    found: Vec<(Vec<u8>, bool)>,
    live: Vec<usize>,
}

const FUNCTION: u64 = 0x7777_0000;
const OFFSET: i64 = -0x140;

impl Recorder {
    fn leak() -> &'static Self {
        Box::leak(Box::default())
    }

    fn block(&self, block_offset: u64, is_static: bool) -> TlsBlock {
        let mut record = self.0.lock().unwrap();
        let token = record.allocated.len() + record.found.len();
        record.live.push(token);
        let offset = is_static.then_some(OFFSET + token as i64);
        TlsBlock { module: 6 + token as u64, block_offset, offset, token }
    }

    fn live(&self) -> usize {
        self.0.lock().unwrap().live.len()
    }
}

impl HostServices for Recorder {
    fn allocate_tls(&self, template: &TlsTemplate<'_>) -> Result<TlsBlock, HostServiceError> {
        let &TlsTemplate { initial, size, alignment, is_static } = template;
        let request = (initial.to_vec(), size, alignment, is_static);
        self.0.lock().unwrap().allocated.push(request);
        Ok(self.block(0, is_static))
    }

    fn find_tls(
        &self,
        name: &[u8],
        is_static: bool,
        _: &[LibraryToken],
    ) -> Result<Option<TlsBlock>, HostServiceError> {
        match name {
            b"absent" => return Ok(None),
            b"refused" => {
                let (service, reason) = (HostService::ThreadLocalStorage, "no more");
                return Err(HostServiceError::Refused { service, reason });
            }
            _ => {}
        }
        self.0.lock().unwrap().found.push((name.to_vec(), is_static));
        Ok(Some(self.block(0x30, is_static)))
    }

    fn tls_descriptor_function(&self) -> Result<u64, HostServiceError> {
        Ok(FUNCTION)
    }

    fn release_tls(&self, block: TlsBlock) {
        let mut record = self.0.lock().unwrap();
        let at = record.live.iter().position(|token| *token == block.token).unwrap();
        record.live.remove(at);
    }
}

/// A module whose data has one word for each of these imports, with an addend that is the number of the import.
fn module(imports: &[&str], tdata: Option<(&[u8], u64, u64)>) -> Vec<u8> {
    let numbered = (0..).zip(imports).map(|(number, name)| (*name, RelocKind::Abs64, number));
    module_with(&numbered.collect::<Vec<_>>(), tdata)
}

/// A module whose data has one word for each of these imports, with a relocation of this kind and addend.
fn module_with(imports: &[(&str, RelocKind, i64)], tdata: Option<(&[u8], u64, u64)>) -> Vec<u8> {
    let zeroes = vec![0; imports.len() * 8];
    let symbol = |name, kind, binding, place| NewSymbol {
        name,
        kind,
        binding,
        place,
        ..NewSymbol::default()
    };
    let mut symbols = vec![
        symbol(&b".text"[..], SymbolKind::Function, Binding::Local, Place::Section(0)),
        symbol(b"words", SymbolKind::Data, Binding::Global, Place::Section(1)),
    ];
    symbols[1].size = zeroes.len() as u64;
    symbols.extend(imports.iter().map(|(name, ..)| NewSymbol {
        visibility: 0,
        ..symbol(name.as_bytes(), SymbolKind::Data, Binding::Global, Place::Import)
    }));
    let words = (0u32..).zip(imports).map(|(number, &(_, kind, addend))| {
        let (offset, symbol) = (u64::from(number) * 8, number + 2);
        Reloc { offset, symbol, kind, addend }
    });
    let words: Vec<_> = words.collect();
    // The first word of the storage is an address.
    let own = [Reloc { offset: 0, symbol: 0, kind: RelocKind::Abs64, addend: 4 }];
    let mut sections = vec![
        NewSection::code(&[0xc3; 16]),
        NewSection::new(SectionKind::Data, b".data", Payload::Bytes(&zeroes)),
        NewSection::new(SectionKind::Reloc, b".rela.data", Payload::Relocs(&words)),
    ];
    if let Some((initial, size, alignment)) = tdata {
        let section = NewSection::new(SectionKind::RoData, b".tdata", Payload::Bytes(initial));
        sections.push(NewSection { virtual_size: Some(size), alignment, ..section });
        sections.push(NewSection::new(SectionKind::Reloc, b".rela.tdata", Payload::Relocs(&own)));
    }
    let (layout, header) = (Layout::Packed, Header { arch: host_arch(), ..Header::default() });
    let (sections, symbols) = (&sections[..], &symbols[..]);
    Module { layout, header, stub: &[], sections, symbols }.to_vec().unwrap()
}

fn link<'f>(
    file: &'f [u8],
    host: &'static Recorder,
) -> Result<smf_core::link::Module<'f>, LinkError> {
    let smf = Smf::parse(file).unwrap();
    smf.verify().unwrap();
    Image::map(&smf)?.link_with(&NoImports, Host::new(host))
}

fn words(module: &smf_core::link::Module<'_>, count: usize) -> Vec<u64> {
    let words = module.symbol(b"words").unwrap() as *const u64;
    // SAFETY: the module exports this many words.
    unsafe { std::slice::from_raw_parts(words, count) }.to_vec()
}

#[test]
fn imports_get_the_values_of_the_host() {
    let imports = [
        "__smf_requires_tls_module",
        "__smf_requires_tls_offset",
        "__smf_requires_tls_offset32",
        "__smf_requires_tls_descriptor",
        "__smf_requires_tls_module:far",
        "__smf_requires_tls_block_offset:far",
        "__smf_requires_tls_offset:far:er",
    ];
    let file = module(&imports, Some((&[1; 12], 100, 32)));
    let host = Recorder::leak();
    let module = link(&file, host).unwrap();
    let offset = OFFSET as u64;
    let expected =
        [7, (offset + 1) + 1, (offset + 1) + 2, FUNCTION + 3, 8 + 4, 0x30 + 5, (offset + 4) + 6];
    assert_eq!(words(&module, imports.len()), expected);
    let record = host.0.lock().unwrap();
    let [(initial, 100, 32, true)] = &record.allocated[..] else { panic!() };
    // The contents are relocated before they are copied.
    let code = module.code().next().unwrap().start as u64;
    assert_eq!(initial[..8], (code + 4).to_le_bytes());
    assert_eq!(initial[8..], [1; 4]);
    let far = |name: &str, is_static| (name.as_bytes().to_vec(), is_static);
    assert_eq!(record.found, [far("far", false), far("far", false), far("far:er", true)]);
    drop(record);
    assert_eq!(host.live(), 4);
    drop(module);
    assert_eq!(host.live(), 0);
}

/// Code adds the offset, sign-extended, to the thread pointer and an index, so that a compiler may fold any part of the index
/// into the addend.
#[test]
fn offset32_with_an_addend_is_signed() {
    const NAME: &str = "__smf_requires_tls_offset32";
    // That of the first block.
    const FIRST: i64 = OFFSET + 1;
    let storage = Some((&[1; 8][..], 8, 8));
    let limits = [i64::from(i32::MIN) - FIRST, i64::from(i32::MAX) - FIRST];
    for addend in [0, -FIRST - 1, -FIRST, 8000, limits[0], limits[1]] {
        let file = module_with(&[(NAME, RelocKind::Abs32, addend)], storage);
        let module = link(&file, Recorder::leak()).unwrap();
        let found = words(&module, 1)[0] as u32;
        assert_eq!(found, (FIRST + addend) as i32 as u32, "{addend}");
    }
    for (name, shown) in [(NAME, ".tdata"), ("__smf_requires_tls_offset32:far", "far")] {
        for addend in [limits[0] - 1, limits[1] + 1] {
            let file = module_with(&[(name, RelocKind::Abs32, addend)], storage);
            let error = link(&file, Recorder::leak()).err().unwrap();
            let expected =
                format!("the relocation abs32 against the import `{shown}` cannot reach");
            assert!(error.to_string().starts_with(&expected), "{error}");
        }
    }
}

#[test]
fn storage_that_no_offset_is_needed_of_is_not_static() {
    let file = module(&["__smf_requires_tls_module"], Some((&[1; 8], 8, 8)));
    let host = Recorder::leak();
    drop(link(&file, host).unwrap());
    assert!(!host.0.lock().unwrap().allocated[0].3);
}

#[test]
fn failed_link_releases_storage() {
    let imports = ["__smf_requires_tls_module", "__smf_requires_tls_module:absent"];
    let file = module(&imports, Some((&[1; 8], 8, 8)));
    let host = Recorder::leak();
    let error = link(&file, host).err().unwrap();
    assert!(matches!(error, LinkError::MissingTls { .. }), "{error}");
    let allocated = host.0.lock().unwrap().allocated.len();
    assert_eq!((allocated, host.live()), (1, 0));
}

#[test]
fn refused_import_is_named() {
    let file = module(&["__smf_requires_tls_offset:refused"], None);
    let error = link(&file, Recorder::leak()).err().unwrap();
    assert_eq!(error.to_string(), "thread-local `refused`: no more");
}

#[test]
fn module_without_the_section_is_refused() {
    for import in ["__smf_requires_tls_module", "__smf_requires_tls_offset"] {
        let file = module(&[import], None);
        let host = Recorder::leak();
        assert!(matches!(link(&file, host).err(), Some(LinkError::NoTlsSection)));
        assert_eq!(host.live(), 0);
    }
    // Descriptors and imported symbols need no storage of the module.
    let file = module(&["__smf_requires_tls_descriptor", "__smf_requires_tls_module:far"], None);
    assert!(link(&file, Recorder::leak()).is_ok());
}

#[test]
fn malformed_name_is_an_unresolved_import() {
    for name in [
        "__smf_requires_tls_",
        "__smf_requires_tls_module:",
        "__smf_requires_tls_block_offset",
        "__smf_requires_tls_descriptor:far",
        "__smf_requires_tls_segment",
    ] {
        let file = module(&[name], Some((&[1; 8], 8, 8)));
        let error = link(&file, Recorder::leak()).err().unwrap();
        assert_eq!(error.to_string(), format!("unresolved import `{name}`"));
    }
}

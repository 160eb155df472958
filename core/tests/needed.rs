//! Modules that need shared libraries, with a host that counts what it opens.
#![allow(unsafe_code, clippy::unwrap_used, clippy::panic, missing_docs)]

use std::sync::Mutex;

use smf_core::format::ext::needed;
use smf_core::format::write::{Module as NewModule, NewSection, NewSymbol, Payload, Place};
use smf_core::format::{Header, Layout, Reloc, RelocKind, SectionKind, Smf};
use smf_core::link::{
    Host, HostServices, Image, LibraryError, LibraryToken, LinkError, Name, NoImports, host_arch,
};
use smf_core::loader::{LoadError, LoaderOptions, ModuleBytes, ModuleLoader};

/// Opens `liba.so` and `libb.so`, which define `both`, and `in_a` or `in_b`.
struct Opener {
    /// The open libraries, in the order of opening.
    open: Mutex<Vec<u64>>,
    /// Those closed, in order.
    closed: Mutex<Vec<u64>>,
}

impl Opener {
    fn leaked() -> &'static Self {
        Box::leak(Box::new(Self { open: Mutex::default(), closed: Mutex::default() }))
    }

    fn closed(&self) -> Vec<u64> {
        self.closed.lock().unwrap().clone()
    }
}

impl HostServices for Opener {
    fn open_libraries(&self, names: &[&[u8]]) -> Result<Vec<LibraryToken>, (usize, LibraryError)> {
        let number = |name: &&[u8]| match *name {
            b"liba.so" => Some(LibraryToken(1)),
            b"libb.so" => Some(LibraryToken(2)),
            _ => None,
        };
        if let Some(absent) = names.iter().position(|name| number(name).is_none()) {
            return Err((absent, LibraryError::Refused(Name::new(b"no such file").unwrap())));
        }
        let open: Vec<_> = names.iter().filter_map(number).collect();
        self.open.lock().unwrap().extend(open.iter().map(|library| library.0));
        Ok(open)
    }

    /// The process has `liba.so` open.
    fn find_library(&self, name: &[u8]) -> Result<Option<LibraryToken>, LibraryError> {
        let open = (name == b"liba.so").then(|| self.open_libraries(&[name]));
        let open = open.transpose().map_err(|(_, error)| error)?;
        Ok(open.and_then(|open| open.first().copied()))
    }

    fn library_symbol(&self, library: LibraryToken, name: &[u8]) -> Option<u64> {
        match (library.0, name) {
            (1, b"in_a") => Some(0xa000),
            (2, b"in_b") => Some(0xb000),
            (number, b"both") => Some(number),
            _ => None,
        }
    }

    fn close_library(&self, library: LibraryToken) {
        self.closed.lock().unwrap().push(library.0);
    }
}

const NAMES: [&[u8]; 4] = [b"in_a", b"in_b", b"both", needed::IMPORT];

/// A module whose data holds the addresses of the first three imports, with this list of libraries.
fn module(libraries: Option<&[&[u8]]>) -> Vec<u8> {
    let payload = libraries.map(|names| needed::encode(names).unwrap().unwrap());
    let relocs = [0, 1, 2].map(|number| Reloc {
        offset: u64::from(number) * 8,
        symbol: number + 1,
        kind: RelocKind::Abs64,
        addend: 0,
    });
    let mut sections = vec![
        NewSection::code(&[0; 16]),
        NewSection::new(SectionKind::Data, b".data", Payload::Bytes(&[0; 24])),
        NewSection::new(SectionKind::Reloc, b".rela.data", Payload::Relocs(&relocs)),
    ];
    sections.extend(payload.as_deref().map(needed::section));
    let import = |name| NewSymbol { name, place: Place::Import, ..NewSymbol::default() };
    let words =
        NewSymbol { name: b"words", place: Place::Section(1), size: 24, ..NewSymbol::default() };
    let words = NewSymbol { kind: smf_core::format::SymbolKind::Data, ..words };
    let symbols: Vec<_> = [words].into_iter().chain(NAMES.map(import)).collect();
    let header = Header { arch: host_arch(), ..Header::default() };
    let module = NewModule {
        layout: Layout::Packed,
        header,
        stub: &[],
        sections: &sections,
        symbols: &symbols,
    };
    module.to_vec().unwrap()
}

#[test]
fn libraries_are_opened_in_order_and_closed_with_the_module() {
    let (host, file) = (Opener::leaked(), module(Some(&[b"liba.so", b"libb.so"])));
    let image = Image::map(&Smf::parse(&file).unwrap()).unwrap();
    let module = image.link_with(&NoImports, Host::new(host)).unwrap();
    assert_eq!(*host.open.lock().unwrap(), [1, 2]);
    assert!(host.closed().is_empty() && module.symbol(b"words").is_some());
    drop(module);
    assert_eq!(host.closed(), [2, 1]);
}

#[test]
fn unresolved_import_closes_the_libraries() {
    let (host, file) = (Opener::leaked(), module(Some(&[b"liba.so"])));
    let image = Image::map(&Smf::parse(&file).unwrap()).unwrap();
    let error = image.link_with(&NoImports, Host::new(host)).err().unwrap();
    assert!(matches!(error, LinkError::MissingImports { count: 1, .. }), "{error}");
    assert_eq!(host.closed(), [1]);
}

#[test]
fn missing_library_or_list_or_service_is_refused() {
    let link = |file: &[u8], host| {
        let image = Image::map(&Smf::parse(file).unwrap()).unwrap();
        image.link_with(&NoImports, host).err().unwrap().to_string()
    };
    let host = Opener::leaked();
    let error = link(&module(Some(&[b"liba.so", b"libx.so"])), Host::new(host));
    assert!(error.contains("`libx.so`") && error.contains("no such file"), "{error}");
    let error = link(&module(None), Host::new(host));
    assert!(error.contains(".smf.needed"), "{error}");
    let error = link(&module(Some(&[b"liba.so"])), Host::NONE);
    assert!(error.contains("`liba.so`") && error.contains("does not offer"), "{error}");
}

#[test]
fn loader_names_the_module_and_closes_at_unload() {
    let host = Opener::leaked();
    let options = LoaderOptions { host_services: Host::new(host), ..LoaderOptions::default() };
    let loader = ModuleLoader::new(options).unwrap();
    let load = |name: &[u8], libraries| {
        loader.load(name, ModuleBytes::new(module(Some(libraries))).unwrap())
    };
    let error = load(b"missing.smf", &[b"libx.so"]).unwrap_err().to_string();
    assert!(error.starts_with("missing.smf: ") && error.contains("`libx.so`"), "{error}");
    let module = load(b"m", &[b"liba.so", b"libb.so"]).unwrap();
    // Neither this module's libraries nor its symbols are visible to others.
    assert!(load(b"n", &[b"liba.so"]).is_err() && loader.resolve(b"in_b").unwrap().is_none());
    assert_eq!(host.closed(), [1]);
    loader.unload(module).unwrap();
    assert_eq!(host.closed(), [1, 2, 1]);
    // A library of the loader serves all modules, after definitions of the host.
    // SAFETY: the host opens no library; it counts.
    let add = |name| unsafe { loader.add_library(name) };
    add(b"libb.so").unwrap();
    let error = add(b"libx.so").unwrap_err();
    assert!(matches!(error, LoadError::Library { .. }), "{error}");
    load(b"n", &[b"liba.so"]).unwrap();
    assert_eq!(loader.resolve(b"both").unwrap().unwrap().address, 2);
    loader.define(b"both", 7).unwrap();
    assert_eq!(loader.resolve(b"both").unwrap().unwrap().address, 7);
    drop(loader);
    // The module's own first.
    assert_eq!(host.closed(), [1, 2, 1, 1, 2]);
}

#[test]
fn loader_that_refuses_constructors_opens_no_library() {
    let host = Opener::leaked();
    let options = LoaderOptions {
        host_services: Host::new(host),
        refuse_constructors: true,
        ..LoaderOptions::default()
    };
    let loader = ModuleLoader::new(options).unwrap();
    loader.define(b"in_b", 1).unwrap();
    let load = |libraries| loader.load(b"m", ModuleBytes::new(module(Some(libraries))).unwrap());
    let error = load(&[b"liba.so", b"libb.so"]).unwrap_err();
    let LoadError::Link { error: LinkError::Library { library, error: why }, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!((library.as_bytes(), why), (&b"libb.so"[..], &LibraryError::Initialisers));
    assert_eq!((host.open.lock().unwrap().clone(), host.closed()), (vec![1], vec![1]));
    // The process has it open, so that nothing runs.
    load(&[b"liba.so"]).unwrap();
    drop(loader);
    assert_eq!(host.closed(), [1, 1]);
}

//! The index of exported names, compared with a walk of the symbol table: for any index, a lookup finds
//! only existing symbols, and in a valid file all of them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "../../tests/src/random.rs"]
mod random;

use smf_core::format::error::ExtensionError;
use std::collections::BTreeSet;

use smf_core::format::MAX_NAME;
use smf_core::format::ext::hash_index::{self, PROBES};
use smf_core::format::write::convert::convert;
use smf_core::format::write::{Module, NewSection, NewSymbol, Place, WriteError};
use smf_core::format::{
    Binding, FormatError, Header, Layout, SectionKind, Smf, Symbol, SymbolIndex, SymbolKind,
};

use random::Random;

const CODE: [u8; 64] = [0xc3; 64];

/// The sizes in bytes of the header of an index, of a bucket, and of its tags, which come first.
const HEADER: usize = 20;
const BUCKET: usize = 40;
const TAGS: usize = 8;

impl Random {
    /// A name of any bytes but NUL; most names are short.
    fn name(&mut self) -> Vec<u8> {
        let len = match self.below(40) {
            0 => 4096,
            1 => 17 + self.below(100),
            2 => 0,
            _ => self.below(20),
        };
        // An alphabet of four bytes, so that many names are similar.
        (0..len).map(|_| [b'a', b'_', 0xff, 0xc3][self.below(4)]).collect()
    }
}

fn symbol(name: &[u8], binding: Binding, place: Place) -> NewSymbol<'_> {
    NewSymbol { name, binding, place, ..NewSymbol::default() }
}

/// A file with these symbols and, in a section behind the code, this index.
fn file(layout: Layout, symbols: &[NewSymbol<'_>], payload: Option<&[u8]>) -> Vec<u8> {
    let code = NewSection::code(&CODE);
    let sections: Vec<_> = [code].into_iter().chain(payload.map(hash_index::section)).collect();
    let header = Header::default();
    Module { layout, header, stub: &[], sections: &sections, symbols }.to_vec().unwrap()
}

fn indexed(layout: Layout, symbols: &[NewSymbol<'_>]) -> Vec<u8> {
    file(layout, symbols, Some(&hash_index::encode(symbols).unwrap()))
}

fn of<'d>(smf: &Smf<'d>) -> SymbolIndex<'d> {
    SymbolIndex::of(smf.symbols()).unwrap().unwrap()
}

/// Asserts that lookup and walk find the same symbol, in all its fields.
fn assert_same(index: &SymbolIndex<'_>, smf: &Smf<'_>, name: &[u8]) {
    let walked = smf.symbols().find_export(name);
    assert_eq!(index.find(name), walked.map(Into::into), "{}", name.escape_ascii());
}

/// Names that differ slightly from a name.
fn neighbours(name: &[u8]) -> Vec<Vec<u8>> {
    let mut near = vec![[name, b"a"].concat(), [name, b"\0"].concat(), [name, b"\0x"].concat()];
    if let Some((_, rest)) = name.split_last() {
        near.push(rest.to_vec());
        for at in [0, name.len() / 2, name.len() - 1] {
            let mut other = name.to_vec();
            other[at] ^= 1;
            near.push(other);
        }
    }
    near
}

fn symbols_of<'d>(smf: &Smf<'d>) -> Vec<Symbol<'d>> {
    smf.symbols().iter().filter_map(Result::ok).collect()
}

#[test]
fn index_of_every_sample_agrees_with_a_walk() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/samples");
    let mut seen = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let Some(data) = std::fs::read(&path).ok() else { continue };
        let Ok(smf) = Smf::parse(&data) else { continue };
        let symbols = symbols_of(&smf);
        let place = |s: &Symbol<'_>| if s.defined { Place::Unstated } else { Place::Import };
        let new: Vec<_> = symbols.iter().map(|s| symbol(s.name(), s.binding, place(s))).collect();
        let payload = hash_index::encode(&new).unwrap();
        let index = SymbolIndex::parse(&payload, 0, smf.symbols()).unwrap().unwrap();
        index.verify().unwrap();
        for name in symbols.iter().map(Symbol::name).chain([&b"main"[..], b"", b"absent"]) {
            assert_same(&index, &smf, name);
            neighbours(name).iter().for_each(|near| assert_same(&index, &smf, near));
            seen += usize::from(index.find(name).is_some());
        }
        assert!(SymbolIndex::of(smf.symbols()).unwrap().is_none(), "{}", path.display());
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn index_of_random_symbols_agrees_with_a_walk() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let counts = [0, 1, 2, 3, 7, 8, 9, 31, 32, 33, 100, 1000, 3000];
    let most = if cfg!(miri) { 33 } else { 3000 };
    for (round, count) in counts.into_iter().filter(|&count| count <= most).enumerate() {
        let names: Vec<_> = (0..count).map(|_| random.name()).collect();
        let bindings = [Binding::Global, Binding::Weak, Binding::Weak, Binding::Local];
        let places = [Place::Unstated, Place::Unstated, Place::Unstated, Place::Import];
        let symbols: Vec<_> = names
            .iter()
            .map(|name| {
                let binding = bindings[random.below(4)];
                // The native layout cannot express a local import.
                let local = binding == Binding::Local;
                let place = if local { Place::Unstated } else { places[random.below(4)] };
                let kinds = [SymbolKind::Function, SymbolKind::Type];
                NewSymbol { kind: kinds[random.below(2)], ..symbol(name, binding, place) }
            })
            .collect();
        let layout = [Layout::Packed, Layout::Native][round % 2];
        let file = indexed(layout, &symbols);
        assert_eq!(file, indexed(layout, &symbols));
        let smf = Smf::parse(&file).unwrap();
        smf.verify().unwrap();
        let index = of(&smf);
        let wanted: BTreeSet<&[u8]> = names.iter().map(Vec::as_slice).collect();
        let exports = wanted.iter().filter(|name| smf.symbols().find_export(name).is_some());
        assert_eq!(exports.count(), usize::try_from(index.names()).unwrap());
        for name in wanted {
            assert_same(&index, &smf, name);
        }
        for name in names.iter().take(50) {
            neighbours(name).iter().for_each(|near| assert_same(&index, &smf, near));
        }
    }
}

#[test]
fn name_is_found_up_to_the_maximum_length_only() {
    let names = [vec![b'x'; MAX_NAME], vec![b'x'; MAX_NAME + 1]];
    let symbols = [symbol(&names[0], Binding::Global, Place::Unstated)];
    let file = indexed(Layout::Packed, &symbols);
    let smf = Smf::parse(&file).unwrap();
    names.iter().for_each(|name| assert_same(&of(&smf), &smf, name));
    assert!(of(&smf).find(&names[0]).is_some());
}

#[test]
fn name_beyond_the_maximum_length_is_neither_written_nor_found() {
    let (name, long) = (vec![b'x'; MAX_NAME], vec![b'x'; MAX_NAME + 1]);
    let symbols_of =
        |name| [name, &b""[..]].map(|name| symbol(name, Binding::Global, Place::Unstated));
    let (layout, header) = (Layout::Packed, Header::default());
    let (sections, symbols) = (&[NewSection::code(&CODE)], &symbols_of(&long)[..]);
    let module = Module { layout, header, stub: &[], sections, symbols };
    assert_eq!(module.to_vec(), Err(WriteError::SymbolName(0)));
    // It ends at the NUL of the empty name behind it.
    let index = hash_index::encode(symbols).unwrap();
    let mut file = file(layout, &symbols_of(&name), Some(&index));
    let end = file.windows(2).rposition(|bytes| bytes == b"x\0").unwrap() + 1;
    file[end] = b'x';
    let smf = Smf::parse(&file).unwrap();
    assert_same(&of(&smf), &smf, &long);
    assert_eq!(of(&smf).find(&long), None);
}

#[test]
fn name_with_a_nul_is_not_found() {
    let symbols = [b"left", b"next"].map(|name| symbol(name, Binding::Global, Place::Unstated));
    let file = indexed(Layout::Packed, &symbols);
    let smf = Smf::parse(&file).unwrap();
    // As in the string table.
    for name in [&b"left\0next"[..], b"left\0", b"\0left"] {
        assert!(smf.symbols().find_export(name).is_none());
        assert_same(&of(&smf), &smf, name);
    }
}

/// Twenty symbols, some with equal names, some not exported.
fn some_symbols() -> Vec<NewSymbol<'static>> {
    let mut symbols = vec![
        symbol(b"twice", Binding::Weak, Place::Unstated),
        symbol(b"twice", Binding::Global, Place::Unstated),
        symbol(b"twice", Binding::Global, Place::Unstated),
        symbol(b"weak", Binding::Weak, Place::Unstated),
        symbol(b"weak", Binding::Weak, Place::Unstated),
        symbol(b"imported", Binding::Global, Place::Import),
        symbol(b"local", Binding::Local, Place::Unstated),
        symbol(b"", Binding::Global, Place::Unstated),
    ];
    let names = [
        "a",
        "ab",
        "abc",
        "abcd",
        "abcdefg",
        "abcdefgh",
        "sixteen_letters_",
        "more_than_16_letters",
    ];
    symbols.extend(names.map(|name| symbol(name.as_bytes(), Binding::Global, Place::Unstated)));
    symbols.extend(
        [b"x1", b"x2", b"x3", b"x4"].map(|name| symbol(name, Binding::Weak, Place::Unstated)),
    );
    symbols
}

#[test]
fn flipped_bit_of_index_never_finds_another_symbol() {
    let symbols = some_symbols();
    let mut names: Vec<_> = symbols.iter().map(|symbol| symbol.name.to_vec()).collect();
    let near = symbols.iter().flat_map(|symbol| neighbours(symbol.name));
    names.extend(near.step_by(if cfg!(miri) { 10 } else { 1 }));
    for layout in [Layout::Packed, Layout::Native] {
        let sound = indexed(layout, &symbols);
        let (mut lost, mut refused, mut passed) = (0, 0, 0);
        for bit in (0..sound.len() * 8).step_by(if cfg!(miri) { 1601 } else { 1 }) {
            let mut file = sound.clone();
            file[bit / 8] ^= 1 << (bit % 8);
            let Ok(smf) = Smf::parse(&file) else { continue };
            let Ok(Some(index)) = SymbolIndex::of(smf.symbols()) else { continue };
            let verdict = smf.verify();
            refused += usize::from(verdict.is_err());
            passed += usize::from(verdict.is_ok());
            let own = symbols_of(&smf).into_iter().map(|symbol| symbol.name());
            for name in own.chain(names.iter().map(Vec::as_slice)) {
                let (found, walked) = (index.find(name), smf.symbols().find_export(name));
                if verdict.is_ok() {
                    assert_eq!(found, walked.map(Into::into), "bit {bit}");
                }
                let Some(found) = found else {
                    lost += usize::from(walked.is_some());
                    continue;
                };
                let symbol = smf.symbols().get(found.index).unwrap();
                assert!(symbol.is_export() && symbol.name() == name, "bit {bit}");
                assert_eq!(found, symbol.into());
                assert!(walked.is_some(), "bit {bit}");
            }
        }
        let seen = refused + passed;
        assert!(lost > 0 && refused > seen / 10 && passed > seen / 10, "{lost} {refused} {seen}");
    }
}

/// The payload of the index of a file of the symbols above, changed.
fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let symbols = some_symbols();
    let mut payload = hash_index::encode(&symbols).unwrap();
    change(&mut payload);
    file(Layout::Packed, &symbols, Some(&payload))
}

fn verdict(change: impl FnOnce(&mut Vec<u8>)) -> Result<(), FormatError> {
    let file = changed(change);
    let result = Smf::parse(&file).unwrap().verify();
    if let Err(error) = result {
        assert!(error.to_string().contains("at offset 0x"), "{error}");
    }
    result
}

/// The first used slot of a payload: the offsets of its tag and of its number.
fn first_taken(payload: &[u8]) -> (usize, usize) {
    let bucket = (HEADER..payload.len()).step_by(BUCKET).find(|at| payload[*at] != 0).unwrap();
    (bucket, bucket + TAGS)
}

#[test]
fn inconsistent_index_is_refused() {
    use FormatError as E;
    assert_eq!(verdict(|_| ()), Ok(()));
    // Bytes behind the buckets are reserved for later versions.
    assert_eq!(verdict(|payload| payload.push(7)), Ok(()));
    for (result, what) in [
        (verdict(|p| p[0] = b'h'), "magic"),
        (verdict(|p| p.truncate(7)), "no version"),
        (verdict(|p| p.truncate(HEADER - 1)), "no header"),
        (verdict(|p| p.truncate(p.len() - 1)), "a bucket cut off"),
        (verdict(|p| p[16] = 3), "no power of two"),
        (verdict(|p| p[16] = 0), "no bucket"),
        (verdict(|p| p[19] = 0x80), "buckets out of all proportion"),
    ] {
        assert!(
            matches!(result, Err(E::Extension(ExtensionError::HashIndexHeader { .. }))),
            "{what}: {result:?}"
        );
    }
    assert!(matches!(
        verdict(|p| p[12] += 1),
        Err(E::Extension(ExtensionError::HashIndexNameCount { .. }))
    ));
    let slot = |change: fn(&mut Vec<u8>, usize, usize)| {
        verdict(|payload| {
            let (tag, number) = first_taken(payload);
            change(payload, tag, number);
        })
    };
    for (result, what) in [
        (slot(|p, _, number| p[number] = 5), "an import"),
        (slot(|p, _, number| p[number] = 6), "a local symbol"),
        (slot(|p, _, number| p[number] = 200), "no symbol at all"),
        (slot(|p, tag, _| p[tag] ^= 0x55), "a tag of another name"),
        (slot(|p, tag, _| p[tag + 7] = p[tag]), "a gap before a slot"),
        (slot(|p, _, number| p[number + 28] = 1), "a number in an empty slot"),
    ] {
        assert!(
            matches!(result, Err(E::Extension(ExtensionError::HashIndexSlot { .. }))),
            "{what}: {result:?}"
        );
    }
}

#[test]
fn index_with_missing_or_wrong_preferred_symbol_is_refused() {
    let all = some_symbols();
    // Computed for other bindings, so that the counts agree and the choice does not.
    for (number, binding, index) in
        [(1, Binding::Local, 1), (0, Binding::Global, 1), (8, Binding::Local, 8)]
    {
        let mut others = all.clone();
        others[number].binding = binding;
        let file = file(Layout::Packed, &all, Some(&hash_index::encode(&others).unwrap()));
        let smf = Smf::parse(&file).unwrap();
        let error = smf.verify().unwrap_err();
        assert!(
            matches!(error, FormatError::Extension(ExtensionError::HashIndexSymbol { index: i, .. }) if i == index),
            "{error}"
        );
        let at = smf.symbols().get(index).unwrap().entry_offset;
        assert!(error.to_string().ends_with(&format!("at offset 0x{at:x}")), "{error}");
    }
}

#[test]
fn index_of_later_version_or_other_symbols_is_ignored() {
    for at in [4, 8] {
        let file = changed(|payload| payload[at] += 1);
        let smf = Smf::parse(&file).unwrap();
        smf.verify().unwrap();
        assert!(SymbolIndex::of(smf.symbols()).unwrap().is_none());
    }
}

/// One bucket whose slots all have the tag of the name: the number of steps is bounded nevertheless.
#[test]
#[cfg_attr(miri, ignore = "looks among twenty thousand names")]
fn lookup_with_equal_tags_takes_bounded_steps() {
    let names: Vec<_> = (0..20_000).map(|number| format!("n{number}")).collect();
    let tag = |name: &str| hash_index::hash(name.as_bytes()) >> 56;
    let alike: Vec<_> = names.iter().filter(|name| tag(name) == 7).collect();
    let new = alike.iter().map(|name| symbol(name.as_bytes(), Binding::Global, Place::Unstated));
    let symbols: Vec<_> = new.take(8 * PROBES).collect();
    assert_eq!(symbols.len(), 8 * PROBES);
    let mut payload = hash_index::encode(&symbols[..1]).unwrap();
    payload[8] = u8::try_from(symbols.len()).unwrap();
    for slot in 0..8 {
        payload[HEADER + slot] = 7;
        payload[HEADER + TAGS + slot * 4] = u8::try_from(slot).unwrap();
    }
    let file = file(Layout::Packed, &symbols, Some(&payload));
    let smf = Smf::parse(&file).unwrap();
    let found = symbols.iter().filter(|symbol| of(&smf).find(symbol.name).is_some()).count();
    assert_eq!(found, 4);
}

/// Names constructed to collide get no index, instead of a slow one.
#[test]
fn colliding_names_get_no_index() {
    // Both halves of a product with 0 are 0: the last eight bytes are the constant.
    let end = 0x1319_8a2e_0370_7344u64.to_le_bytes();
    let names: Vec<_> = (0..9u8).map(|n| [&[b'a' + n; 8], &end[..]].concat()).collect();
    let symbols: Vec<_> =
        names.iter().map(|name| symbol(name, Binding::Global, Place::Unstated)).collect();
    assert_eq!(hash_index::hash(&names[0]), hash_index::hash(&names[1]));
    assert!(hash_index::encode(&symbols[..4]).is_some());
    assert!(hash_index::encode(&symbols[..5]).is_none());
    // A conversion generates none either: the section stays, empty, and is reported as dropped.
    let file = file(Layout::Packed, &symbols, Some(b"HASH\x02\0\0\0"));
    let smf = Smf::parse(&file).unwrap();
    let converted = convert(&smf, Layout::Native).unwrap();
    assert_eq!(converted.dropped.len(), 1);
    let smf = Smf::parse(&converted.bytes).unwrap();
    smf.verify().unwrap();
    assert!(SymbolIndex::of(smf.symbols()).unwrap().is_none());
}

#[test]
fn conversion_indexes_the_new_symbol_numbers() {
    let mut symbols = some_symbols();
    // In a section that the native layout cannot state for a function: dropped there.
    symbols.insert(3, symbol(b"gone", Binding::Global, Place::Section(1)));
    let file = indexed(Layout::Packed, &symbols);
    let packed = Smf::parse(&file).unwrap();
    packed.verify().unwrap();
    let native = convert(&packed, Layout::Native).unwrap();
    assert_eq!(native.dropped.len(), 1, "{:?}", native.dropped);
    let smf = Smf::parse(&native.bytes).unwrap();
    smf.verify().unwrap();
    assert_eq!(smf.section(1).unwrap().kind, SectionKind::Note);
    symbols.iter().for_each(|symbol| assert_same(&of(&smf), &smf, symbol.name));
    assert_eq!(of(&smf).names() + 1, of(&packed).names());
    // Back, to the bytes that a writer produces for the remaining symbols.
    symbols.remove(3);
    let back = convert(&smf, Layout::Packed).unwrap();
    let smf = Smf::parse(&back.bytes).unwrap();
    smf.verify().unwrap();
    assert_eq!(smf.section(1).unwrap().data, hash_index::encode(&symbols).unwrap());
}

//! `.smf.needed`: the shared libraries of the system that a module needs, as `DT_NEEDED` in a shared object.
//!
//! A loader opens the libraries before it links the module, resolves imports in them that it finds nowhere else, and
//! closes them after the module is unloaded. The file imports [`IMPORT`], which no module exports: a loader without
//! support for the section refuses the file, because the import is unresolved.
//!
//! A library is named as by its `DT_SONAME`, without a path, so that the search path of the process decides which file
//! it is.
//!
//! This is an extension of this project, in a Note section called [`NAME`]. In the native layout, which has no notes,
//! the section has the number of Debug, and the name takes precedence. The section is never compressed. All numbers are
//! little-endian:
//!
//! | offset | type | contents |
//! |---|---|---|
//! | 0 | 4 bytes | `NEED` |
//! | 4 | u32 | version: 1 |
//! | 8 | u32 | n, the number of names |
//! | 12 | n names | each: u8 length, from 1 to 255, and as many bytes, neither zero nor `/` |
//!
//! The last name ends the section. No name occurs twice, and there are at most 1,024. Libraries are opened and searched in this order.

use crate::format::error::{ExtensionError, NeededNameError, Result, ensure};
use crate::format::read::{Section, Smf};
use crate::format::wire::{SECTION_NAME, note_name, u32_at};
#[cfg(feature = "alloc")]
use crate::{
    alloc_util::{AllocError, try_with_capacity},
    format::model::SectionKind,
    format::write::module::{NewSection, Payload},
};
#[cfg(feature = "alloc")]
use alloc::vec::Vec;

/// The name of the section.
pub const NAME: &[u8] = note_name::NEEDED;
/// The import of a module with the section.
pub const IMPORT: &[u8] = b"__smf_requires_libraries";
/// The maximum length of a name in bytes: that of a file name.
pub const MAX_LIBRARY_NAME: usize = 255;
/// The maximum number of names. More are an error: the check for repeated names is quadratic.
pub const MAX_LIBRARIES: u32 = 1024;

const MAGIC: &[u8; 4] = b"NEED";
const VERSION: u32 = 1;
const HEADER: usize = 12;

/// The names of the libraries that a file needs, as a view of its section.
#[derive(Clone, Copy, Debug)]
pub struct NeededLibraries<'d>(&'d [u8]);

impl<'d> NeededLibraries<'d> {
    /// The names in `smf`; `None` without the section.
    ///
    /// # Errors
    /// As [`NeededLibraries::parse`].
    pub fn of(smf: &Smf<'d>) -> Result<Option<Self>> {
        let Some(section) = smf.sections().note(NAME) else { return Ok(None) };
        Self::parse(&section).map(Some)
    }

    /// Parses the section and checks every name.
    ///
    /// # Errors
    /// [`ExtensionError::NeededHeader`], [`ExtensionError::NeededTooMany`], [`ExtensionError::NeededCount`],
    /// [`ExtensionError::NeededName`], [`ExtensionError::NeededEnd`].
    pub fn parse(section: &Section<'d>) -> Result<Self> {
        let (payload, at, section) = (section.data, section.offset, section.index);
        let header = ExtensionError::NeededHeader { section, at };
        let is_known = payload.starts_with(MAGIC) && u32_at(payload, 4) == Some(VERSION);
        let stated = u32_at(payload, 8).filter(|_| is_known).ok_or(header)?;
        let names = Self(payload.get(HEADER..).ok_or(header)?);
        let count_at = at.saturating_add(8);
        let count = |found| ExtensionError::NeededCount { section, stated, found, at: count_at };
        let too_many = ExtensionError::NeededTooMany { section, stated, at: count_at };
        ensure(stated <= MAX_LIBRARIES, too_many)?;
        let mut end = 0;
        let mut found = 0;
        for (index, name) in (0u32..).zip(names.iter()) {
            ensure(index < stated, count(index.saturating_add(1)))?;
            let at = at.saturating_add((HEADER + end) as u64);
            let error = |kind| ExtensionError::NeededName { section, index, kind, at };
            check_name(name).map_err(error)?;
            let first = (0u32..index).zip(names.iter()).find(|(_, other)| *other == name);
            if let Some((first, _)) = first {
                return Err(error(NeededNameError::Repeated { first }).into());
            }
            (end, found) = (end + 1 + name.len(), index + 1);
        }
        ensure(found == stated, count(found))?;
        let at = at.saturating_add((HEADER + end) as u64);
        // The payload ends with the last name.
        ensure(end == names.0.len(), ExtensionError::NeededEnd { section, at })?;
        Ok(names)
    }

    /// The names, in the order in which the libraries are opened and searched.
    pub fn iter(&self) -> impl Iterator<Item = &'d [u8]> + use<'d> {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            let (len, bytes) = rest.split_first()?;
            let (name, behind) = bytes.split_at_checked(usize::from(*len))?;
            rest = behind;
            Some(name)
        })
    }
}

/// Checks that `name` can be that of a needed library.
///
/// # Errors
/// The reason why not.
pub fn check_name(name: &[u8]) -> Result<(), NeededNameError> {
    if name.is_empty() {
        return Err(NeededNameError::Empty);
    }
    if name.len() > MAX_LIBRARY_NAME {
        return Err(NeededNameError::Long { len: name.len() as u64 });
    }
    match name.iter().find(|byte| matches!(byte, 0 | b'/')) {
        Some(0) => Err(NeededNameError::Nul),
        Some(_) => Err(NeededNameError::Slash),
        None => Ok(()),
    }
}

/// Encodes the payload of the section for `names`, each of which [`check_name`] accepts, without repetitions; `None` if
/// one is longer than its length can state.
///
/// # Errors
/// [`AllocError`].
#[cfg(feature = "alloc")]
pub fn encode(names: &[&[u8]]) -> Result<Option<Vec<u8>>, AllocError> {
    let bytes = names.iter().map(|name| name.len().saturating_add(1)).sum::<usize>();
    let mut payload = try_with_capacity(HEADER.saturating_add(bytes))?;
    payload.extend_from_slice(MAGIC);
    payload.extend_from_slice(&VERSION.to_le_bytes());
    let Ok(count) = u32::try_from(names.len()) else { return Ok(None) };
    payload.extend_from_slice(&count.to_le_bytes());
    for name in names {
        let Ok(len) = u8::try_from(name.len()) else { return Ok(None) };
        payload.push(len);
        payload.extend_from_slice(name);
    }
    Ok(Some(payload))
}

/// The section with this payload.
#[cfg(feature = "alloc")]
pub fn section(payload: &[u8]) -> NewSection<'_> {
    NewSection::new(SectionKind::Note, NAME, Payload::Bytes(payload))
}

const _: () = assert!(NAME.len() <= SECTION_NAME);

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::format::error::FormatError;
    use crate::format::wire::Layout;
    use crate::format::write::module::Module;

    /// A file with this payload, and the offset of the payload in it.
    fn file(layout: Layout, payload: &[u8]) -> (Vec<u8>, u64) {
        let code = NewSection::code(&[0xc3]);
        let sections = [code, section(payload)];
        let module = Module {
            layout,
            header: Default::default(),
            stub: &[],
            sections: &sections,
            symbols: &[],
        };
        let file = module.to_vec().unwrap();
        let at = Smf::parse(&file).unwrap().sections().get(1).unwrap().offset;
        (file, at)
    }

    /// The names in a file with this payload, which verifies exactly if they can be read. The offset of an error is
    /// relative to the payload.
    fn read(payload: &[u8]) -> Result<Vec<Vec<u8>>, ExtensionError> {
        let (file, start) = file(Layout::Packed, payload);
        let smf = Smf::parse(&file).unwrap();
        let names = NeededLibraries::of(&smf).map(|names| names.unwrap());
        assert_eq!(smf.verify().err(), names.err());
        let relative = |error| match error {
            FormatError::Extension(ExtensionError::NeededHeader { section: 1, at }) => {
                ExtensionError::NeededHeader { section: 1, at: at - start }
            }
            FormatError::Extension(ExtensionError::NeededCount { section, stated, found, at }) => {
                ExtensionError::NeededCount { section, stated, found, at: at - start }
            }
            FormatError::Extension(ExtensionError::NeededTooMany { section, stated, at }) => {
                ExtensionError::NeededTooMany { section, stated, at: at - start }
            }
            FormatError::Extension(ExtensionError::NeededEnd { section, at }) => {
                ExtensionError::NeededEnd { section, at: at - start }
            }
            FormatError::Extension(ExtensionError::NeededName { section, index, kind, at }) => {
                ExtensionError::NeededName { section, index, kind, at: at - start }
            }
            error => panic!("{error}"),
        };
        names.map(|names| names.iter().map(<[u8]>::to_vec).collect()).map_err(relative)
    }

    fn encoded(names: &[&[u8]]) -> Vec<u8> {
        encode(names).unwrap().unwrap()
    }

    #[test]
    fn names_are_read_as_encoded_in_both_layouts() {
        let long = [b'x'; MAX_LIBRARY_NAME];
        let names = [&b"libm.so.6"[..], b"libstdc++.so.6", &long];
        for layout in [Layout::Packed, Layout::Native] {
            let (file, _) = file(layout, &encoded(&names));
            let smf = Smf::parse(&file).unwrap();
            smf.verify().unwrap();
            let read = NeededLibraries::of(&smf).unwrap().unwrap();
            assert!(read.iter().eq(names));
        }
        assert_eq!(read(&encoded(&[])), Ok(Vec::new()));
        assert_eq!(encode(&[&[b'x'; 256]]), Ok(None));
        let smf = include_bytes!("../../../../tests/samples/packed.smf");
        assert!(NeededLibraries::of(&Smf::parse(smf).unwrap()).unwrap().is_none());
    }

    #[test]
    fn malformed_name_is_refused_with_its_offset() {
        let name =
            |index, kind, at| Err(ExtensionError::NeededName { section: 1, index, kind, at });
        for (names, expected) in [
            (&[&b"a"[..], b""][..], name(1, NeededNameError::Empty, 14)),
            (&[b"a\0b"], name(0, NeededNameError::Nul, 12)),
            (&[b"./a"], name(0, NeededNameError::Slash, 12)),
            (&[b"a", b"b", b"a"], name(2, NeededNameError::Repeated { first: 0 }, 16)),
        ] {
            assert_eq!(read(&encoded(names)), expected);
        }
        assert_eq!(check_name(&[b'x'; 256]), Err(NeededNameError::Long { len: 256 }));
    }

    #[test]
    fn contradicting_count_is_refused() {
        let good = encoded(&[b"ab", b"c"]);
        let count =
            |stated, found| Err(ExtensionError::NeededCount { section: 1, stated, found, at: 8 });
        for (stated, found) in [(0, 1), (1, 2), (3, 2), (MAX_LIBRARIES, 2)] {
            let mut payload = good.clone();
            payload[8..12].copy_from_slice(&stated.to_le_bytes());
            assert_eq!(read(&payload), count(stated, found));
        }
        assert_eq!(read(&good[..good.len() - 1]), count(2, 1));
        let mut longer = good.clone();
        longer.push(9);
        assert_eq!(read(&longer), Err(ExtensionError::NeededEnd { section: 1, at: 17 }));
        let many: Vec<_> = (0..=MAX_LIBRARIES).map(|number| std::format!("{number}")).collect();
        let many: Vec<_> = many.iter().map(|name| name.as_bytes()).collect();
        let too_many = Err(ExtensionError::NeededTooMany { section: 1, stated: 1025, at: 8 });
        assert_eq!(read(&encoded(&many)), too_many);
        assert_eq!(read(&encoded(&many[1..])).unwrap().len(), 1024);
    }

    #[test]
    fn every_prefix_and_changed_byte_is_refused_or_read() {
        let good = encoded(&[b"libm.so.6", b"libz.so.1"]);
        for len in 0..good.len() {
            assert!(read(&good[..len]).is_err(), "{len}");
        }
        let header = Err(ExtensionError::NeededHeader { section: 1, at: 0 });
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut payload = good.clone();
                payload[at] ^= 1 << bit;
                let result = read(&payload);
                match at {
                    0..8 => assert_eq!(result, header),
                    8..13 | 22 => assert!(result.is_err(), "{at} {bit}"),
                    _ => {}
                }
            }
        }
    }
}

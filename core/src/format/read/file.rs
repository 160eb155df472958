//! Files of either kind: a module or an archive of modules.

use crate::format::error::FormatError;
use crate::format::read::library::{Library, is_library};
use crate::format::read::smf::Smf;

/// A file of either kind, a view like [`Smf`] and [`Library`].
///
/// [`Smf::layout`] is the layout of a module, [`Smf::object`] the relocatable ELF object in it and
/// [`Smf::shared_object`] its shared object.
///
/// ```
/// use smf_core::format::{File, Layout};
///
/// # macro_rules! sample { ($name:literal) => { concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/samples/", $name) } }
/// let module = std::fs::read(sample!("packed.smf"))?;
/// assert_eq!(File::parse(&module)?.module().unwrap().layout(), Layout::Packed);
/// let archive = std::fs::read(sample!("library.lsm"))?;
/// assert!(matches!(File::parse(&archive)?, File::Library(library) if library.len() == 3));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub enum File<'d> {
    /// A module of any layout.
    Module(Smf<'d>),
    /// An archive of modules, which begins with its magic number.
    Library(Library<'d>),
}

impl<'d> File<'d> {
    /// Determines the kind of a file and parses it.
    ///
    /// # Errors
    /// As [`Library::parse`] for a file with the magic number of archives, as [`Smf::parse`] for every other.
    pub fn parse(data: &'d [u8]) -> Result<Self, FormatError> {
        if is_library(data) {
            Library::parse(data).map(File::Library)
        } else {
            Smf::parse(data).map(File::Module)
        }
    }

    /// The module; `None` for an archive.
    pub fn module(self) -> Option<Smf<'d>> {
        match self {
            File::Module(smf) => Some(smf),
            File::Library(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Layout;

    #[test]
    fn kind_of_a_file_is_determined_by_its_bytes() {
        for (data, layout) in [
            (&include_bytes!("../../../../tests/samples/packed.smf")[..], Some(Layout::Packed)),
            (include_bytes!("../../../../tests/samples/compact.smf"), Some(Layout::Compact)),
            (include_bytes!("../../../../tests/samples/dynlib.smf"), Some(Layout::Dynlib)),
            (include_bytes!("../../../../tests/samples/app-native.smf"), Some(Layout::Native)),
            (include_bytes!("../../../../tests/samples/library.lsm"), None),
        ] {
            let file = File::parse(data).unwrap();
            assert_eq!(file.module().map(|smf| smf.layout()), layout);
        }
    }

    #[test]
    fn malformed_file_is_refused_as_its_kind() {
        let archive = &include_bytes!("../../../../tests/samples/library.lsm")[..20];
        assert_eq!(File::parse(archive).err(), Library::parse(archive).err());
        assert_eq!(File::parse(b"text").err(), Smf::parse(b"text").err());
    }
}

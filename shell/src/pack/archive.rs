//! Archives of objects (`ar`), and the names that their members define.
//!
//! The archive's own symbol index is optional and may be stale, so the members' symbol tables are read. A
//! member that is not an object causes a warning.

use std::collections::HashMap;

use ::object::read::archive::ArchiveFile;

use super::error::{PackError, PackWarning, Result};
use super::object::{self, Object, SymbolLocation, text};

/// An object or an archive of objects.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The name in messages, usually the path.
    pub name: &'a str,
    /// The contents of the file.
    pub data: &'a [u8],
}

/// Whether `data` is an archive and not an object.
pub(super) fn is_archive(data: &[u8]) -> bool {
    data.starts_with(&::object::archive::MAGIC) || data.starts_with(&::object::archive::THIN_MAGIC)
}

/// The archive members that are not linked yet.
#[derive(Default)]
pub(super) struct Archives<'d> {
    members: Vec<Option<Object<'d>>>,
    /// The first member that defines a name; a full definition takes precedence over a common one.
    definitions: HashMap<&'d [u8], Definition>,
}

struct Definition {
    member: usize,
    is_common: bool,
}

impl<'d> Archives<'d> {
    /// Adds the members of an archive.
    ///
    /// # Errors
    /// [`PackError::ThinArchive`], or [`PackError::Broken`] for a malformed archive.
    pub(super) fn add(&mut self, input: &Input<'d>, warnings: &mut Vec<PackWarning>) -> Result<()> {
        let broken = |_| PackError::Broken {
            object: input.name.to_owned(),
            reason: "the archive is truncated or has a broken header",
        };
        let archive = ArchiveFile::parse(input.data).map_err(broken)?;
        if archive.is_thin() {
            return Err(PackError::ThinArchive { archive: input.name.to_owned() });
        }
        for member in archive.members() {
            let member = member.map_err(broken)?;
            let name = format!("{}({})", input.name, text(member.name()));
            let data = member.data(input.data).map_err(broken)?;
            match object::parse(&name, data, true) {
                Ok(object) => self.index(object),
                Err(error) => {
                    let reason = error.to_string();
                    warnings.push(PackWarning::IgnoredMember { member: name, reason });
                }
            }
        }
        Ok(())
    }

    fn index(&mut self, object: Object<'d>) {
        let member = self.members.len();
        for symbol in object.symbols.iter().filter(|symbol| !symbol.is_local) {
            let is_common = match symbol.place {
                SymbolLocation::Undefined => continue,
                SymbolLocation::Common { .. } => true,
                SymbolLocation::Absolute(_) | SymbolLocation::Section { .. } => false,
            };
            let known = self.definitions.get(symbol.name);
            if known.is_none_or(|known| known.is_common && !is_common) {
                self.definitions.insert(symbol.name, Definition { member, is_common });
            }
        }
        self.members.push(Some(object));
    }

    /// Takes the member that defines `name`, unless it was taken. A name that is common so far
    /// (`has_common`) only needs a member with a full definition.
    pub(super) fn take(&mut self, name: &[u8], has_common: bool) -> Option<Object<'d>> {
        let definition = self.definitions.get(name)?;
        if has_common && definition.is_common {
            return None;
        }
        self.members.get_mut(definition.member)?.take()
    }

    /// Takes all remaining members.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Object<'d>> + '_ {
        self.members.iter_mut().filter_map(Option::take)
    }
}

//! Archives of objects (`ar`), and which member defines which name.
//!
//! An archive's own symbol index is optional and may be stale, so the members themselves are asked.
//! A member that is no object is no error until something needs it, and nothing can need it by name.

use std::collections::HashMap;

use ::object::read::archive::ArchiveFile;

use super::Input;
use super::error::{PackError, PackWarning};
use super::object::{self, Object, Place, text};

/// Whether `data` is an archive and not an object.
pub(super) fn is_archive(data: &[u8]) -> bool {
    data.starts_with(&::object::archive::MAGIC) || data.starts_with(&::object::archive::THIN_MAGIC)
}

/// The members of all archives that are not linked in yet.
#[derive(Default)]
pub(super) struct Archives<'d> {
    members: Vec<Option<Object<'d>>>,
    /// Which member defines a name; the first one, but one that defines it really before one that
    /// has it in common.
    definitions: HashMap<&'d [u8], Definition>,
}

#[derive(Clone, Copy)]
struct Definition {
    member: usize,
    is_common: bool,
}

impl<'d> Archives<'d> {
    /// Adds the members of an archive.
    ///
    /// # Errors
    /// [`PackError::ThinArchive`], or why it cannot be read.
    pub(super) fn add(
        &mut self,
        input: &Input<'d>,
        warnings: &mut Vec<PackWarning>,
    ) -> Result<(), PackError> {
        let broken = |_| PackError::Broken {
            object: input.name.to_owned(),
            reason: "the archive is cut off or has a broken header",
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
                Place::Undefined => continue,
                Place::Common { .. } => true,
                Place::Absolute(_) | Place::Section { .. } => false,
            };
            let known = self.definitions.entry(symbol.name);
            let known = known.or_insert(Definition { member, is_common });
            if known.is_common && !is_common {
                *known = Definition { member, is_common };
            }
        }
        self.members.push(Some(object));
    }

    /// Takes the member that defines `name`, unless it has been taken. A name that is common so far
    /// is only worth a member that really defines it.
    pub(super) fn take(&mut self, name: &[u8], has_common: bool) -> Option<Object<'d>> {
        let definition = self.definitions.get(name)?;
        if has_common && definition.is_common {
            return None;
        }
        self.members.get_mut(definition.member)?.take()
    }

    /// Takes all members that are left.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Object<'d>> + '_ {
        self.members.iter_mut().filter_map(Option::take)
    }
}

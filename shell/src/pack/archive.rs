//! Archives of objects (`ar`), and the names that their members define.
//!
//! The archive's own symbol index is optional and may be stale, so the members' symbol tables are read. A
//! member that is not an object causes a warning.

use hashbrown::HashMap;

use ::object::read::archive::ArchiveFile;

use super::error::{PackError, PackWarning, Result};
use super::object::{self, Object, Origin, SymbolLocation, text};
use super::parallel;

/// An object or an archive of objects.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The name in messages, usually the path.
    pub name: &'a str,
    /// The contents of the file.
    pub data: &'a [u8],
}

/// An input of the linker.
pub(super) enum LinkInput<'d> {
    /// An object.
    File(Input<'d>, Origin),
    /// The members of an archive.
    Members(Vec<Member<'d>>),
}

/// A member of an archive.
pub(super) struct Member<'d> {
    /// The name in messages.
    pub(super) name: String,
    pub(super) data: &'d [u8],
    pub(super) origin: Origin,
}

/// Whether `data` is an archive and not an object.
pub(super) fn is_archive(data: &[u8]) -> bool {
    data.starts_with(&::object::archive::MAGIC) || data.starts_with(&::object::archive::THIN_MAGIC)
}

/// The number of members that a thread parses at a time.
const MEMBERS_AT_A_TIME: usize = 32;

/// Parses members.
fn parse_all<'d>(members: &[Member<'d>]) -> impl Iterator<Item = Result<Object<'d>>> {
    let parse = |m: &Member<'d>| object::parse(&m.name, m.data, m.origin);
    let parts = members.chunks(MEMBERS_AT_A_TIME).collect();
    let parsed = parallel::map(parts, |part| part.iter().map(parse).collect::<Vec<_>>());
    parsed.into_iter().flatten()
}

/// The members of an archive.
///
/// # Errors
/// [`PackError::ThinArchive`], or [`PackError::Broken`] for a malformed archive.
pub(super) fn members<'d>(input: &Input<'d>) -> Result<Vec<Member<'d>>> {
    let broken = |_| PackError::Broken {
        object: input.name.to_owned(),
        reason: "the archive is truncated or has a broken header",
    };
    let archive = ArchiveFile::parse(input.data).map_err(broken)?;
    if archive.is_thin() {
        return Err(PackError::ThinArchive { archive: input.name.to_owned() });
    }
    let mut counts: HashMap<&[u8], u32> = HashMap::new();
    let mut members = Vec::new();
    for member in archive.members() {
        let member = member.map_err(broken)?;
        let count = counts.entry(member.name()).or_default();
        *count += 1;
        let number = if *count == 1 { String::new() } else { format!("#{count}") };
        let name = format!("{}({}{number})", input.name, text(member.name()));
        let data = member.data(input.data).map_err(broken)?;
        members.push(Member { name, data, origin: Origin::Given });
    }
    Ok(members)
}

/// The archive members that are not linked yet.
#[derive(Default)]
pub(super) struct Archives<'d> {
    members: Vec<Option<Object<'d>>>,
    /// The first member that defines a name, and whether the definition is a common one, over which a full one takes
    /// precedence.
    definitions: HashMap<&'d [u8], (usize, bool)>,
}

impl<'d> Archives<'d> {
    /// Adds the members of an archive.
    ///
    /// # Errors
    /// [`PackError::ThinArchive`], or [`PackError::Broken`] for a malformed archive.
    pub(super) fn add(&mut self, input: &Input<'d>, warnings: &mut Vec<PackWarning>) -> Result<()> {
        self.add_members(&members(input)?, warnings);
        Ok(())
    }

    /// Adds members. One that is not an object causes a warning.
    pub(super) fn add_members(&mut self, members: &[Member<'d>], warnings: &mut Vec<PackWarning>) {
        for (parsed, member) in parse_all(members).zip(members) {
            match parsed {
                Ok(object) => self.index(object),
                Err(error) => {
                    let (member, reason) = (member.name.clone(), error.to_string());
                    warnings.push(PackWarning::IgnoredMember { member, reason });
                }
            }
        }
    }

    fn index(&mut self, object: Object<'d>) {
        let member = self.members.len();
        for symbol in object.symbols.iter().filter(|symbol| !symbol.is_local) {
            let is_common = match symbol.place {
                SymbolLocation::Undefined => continue,
                SymbolLocation::Common { .. } => true,
                SymbolLocation::Absolute(_) | SymbolLocation::Section { .. } => false,
            };
            let known = self.definitions.entry(symbol.name).or_insert((member, is_common));
            if known.1 && !is_common {
                *known = (member, is_common);
            }
        }
        self.members.push(Some(object));
    }

    /// Takes the member that defines `name`, unless it was taken. A name that is common so far
    /// (`has_common`) only needs a member with a full definition.
    pub(super) fn take(&mut self, name: &[u8], has_common: bool) -> Option<Object<'d>> {
        let (member, is_common) = *self.definitions.get(name)?;
        let member = self.members.get_mut(member).filter(|_| !(has_common && is_common))?;
        member.take()
    }

    /// The members, in their order; `None` for those that were taken.
    pub(super) fn members(&mut self) -> &mut [Option<Object<'d>>] {
        &mut self.members
    }
}

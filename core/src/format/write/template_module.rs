//! A module of templates and of what they may become, without code of its own.

use alloc::vec::Vec;

use thiserror::Error;

use crate::format::model::{Header, SectionKind};
use crate::format::wire::Layout;
use crate::format::write::error::WriteError;
use crate::format::write::module::{Module, NewSection, Payload};
use crate::format::write::note::{NewPossible, write_possible};
use crate::format::write::template::{NewTemplates, TemplateWriteError};

/// Why a module of templates cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TemplateModuleError {
    /// The templates.
    #[error(transparent)]
    Templates(#[from] TemplateWriteError),
    /// The module around them.
    #[error(transparent)]
    Module(#[from] WriteError),
}

/// A packed module of these templates, whose note has these rows.
///
/// # Errors
/// What the container cannot say, or more than 32 bits can place.
pub fn write_templates(
    templates: &NewTemplates<'_>,
    rows: &[NewPossible<'_>],
) -> Result<Vec<u8>, TemplateModuleError> {
    let templates = templates.to_vec()?;
    let note = write_possible(rows).map_err(WriteError::from)?;
    let (templates, note) = (Payload::Bytes(&templates), Payload::Bytes(note.as_bytes()));
    let sections = [
        NewSection::new(SectionKind::TemplateCode, b".templates", templates),
        NewSection::new(SectionKind::Note, b"note.sdn", note),
    ];
    let sections = sections.map(|section| NewSection { alignment: 8, ..section });
    let (layout, header) = (Layout::Packed, Header::default());
    let module = Module { layout, header, stub: &[], sections: &sections, symbols: &[] };
    Ok(module.to_vec()?)
}

//! Writing of modules of templates and their possible instances, without code.

use alloc::vec::Vec;

use thiserror::Error;

use crate::format::model::{Header, SectionKind};
use crate::format::wire::Layout;
use crate::format::write::error::WriteError;
use crate::format::write::module::{Module, NewSection, Payload};
use crate::format::write::note::{NewPossible, write_possible};
use crate::format::write::template::{NewTemplates, TemplateWriteError};

/// The reason why a module of templates cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TemplateModuleError {
    /// The template section cannot be written.
    #[error(transparent)]
    Templates(#[from] TemplateWriteError),
    /// The module cannot be written.
    #[error(transparent)]
    Module(#[from] WriteError),
}

/// Writes a packed module of these templates, with a note of these rows.
///
/// # Errors
/// A template that the container cannot express, or offsets that exceed 32 bits.
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

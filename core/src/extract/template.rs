//! Extraction of templates.

use crate::extract::error::ExtractError;
use crate::format::template::{Container, Template};
use crate::format::{Result, Smf};

/// A template with its bytes in the container.
#[derive(Clone, Copy, Debug)]
pub struct TemplateBody<'d> {
    /// The header and the body.
    pub template: Template<'d>,
    /// The container that holds the template.
    pub container: Container,
    /// The bytes of the entry, without a body behind all headers of a GTPL. They can be appended to a container of
    /// the same kind and version, whose count then grows by one. `template` serves both containers.
    pub entry: &'d [u8],
}

/// The templates of a module in file order.
///
/// An item is an error for a template that does not lie inside its section, and for one of unknown length; the
/// iterator ends after it.
///
/// # Errors
/// A section that is not a template container.
pub fn templates<'d>(
    smf: &Smf<'d>,
) -> Result<impl Iterator<Item = Result<TemplateBody<'d>, ExtractError<'d>>> + use<'d>> {
    let templates = smf.templates()?;
    let items = templates.into_iter().flat_map(|templates| {
        let container = templates.container;
        // The body of a single template extends to the end of the section.
        let has_unknown_length = templates.has_opaque_bodies && templates.count > 1;
        templates.entries().map(move |found| {
            let (template, entry) = found?;
            if has_unknown_length {
                return Err(ExtractError::UnknownLength { name: template.name });
            }
            Ok(TemplateBody { template, container, entry })
        })
    });
    Ok(items)
}

/// The template called `name`. Time is linear in the number of templates.
///
/// # Errors
/// [`ExtractError::Missing`], [`ExtractError::Ambiguous`], and the errors of [`templates`].
pub fn template<'d: 'n, 'n>(
    smf: &Smf<'d>,
    name: &'n [u8],
) -> Result<TemplateBody<'d>, ExtractError<'n>> {
    let mut found = None;
    for item in templates(smf)? {
        match item {
            Ok(item) if item.template.name != name => {}
            Ok(item) if found.is_none() => found = Some(item),
            Ok(_) => return Err(ExtractError::Ambiguous { name }),
            Err(error) => return Err(error),
        }
    }
    found.ok_or(ExtractError::Missing { name })
}

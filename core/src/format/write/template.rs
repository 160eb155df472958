//! Writing of template sections in either container.
//!
//! A template that the container cannot express is an error that names it; nothing is dropped silently. GTPL states no
//! lengths of bodies. The body of an only template follows its header, where all readers expect it. Several bodies
//! follow all headers, each with its length.

use alloc::vec::Vec;

use thiserror::Error;

use crate::alloc_util::try_with_capacity;
use crate::format::model::TemplateKind;
use crate::format::read::template::{
    BODIES, BODIES_HEADER, Constraints, Container, MAGIC, Template,
};

/// A description of a template.
#[derive(Clone, Copy, Debug)]
pub struct NewTemplate<'a> {
    /// The name.
    pub name: &'a [u8],
    /// The kind; `None` if unknown.
    pub kind: Option<TemplateKind>,
    /// The number of type parameters.
    pub params: u8,
    /// The constraints of the type parameters.
    pub constraints: Constraints<'a>,
    /// The body, in a format of the writer.
    pub body: &'a [u8],
}

impl<'a> From<Template<'a>> for NewTemplate<'a> {
    fn from(template: Template<'a>) -> Self {
        let Template { name, kind, params, constraints, body, .. } = template;
        NewTemplate { name, kind, params, constraints, body }
    }
}

/// The reason why templates cannot be written. The field is the index of the template, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TemplateWriteError {
    /// A template of unknown kind; GTPL must state a kind.
    #[error("template {0}: GTPL must state its kind, which is unknown")]
    NoKind(u32),
    /// A template with a kind, parameters or constraints, which the counted container cannot state.
    #[error(
        "template {0}: the counted container cannot state its kind, parameters and constraints"
    )]
    Header(u32),
    /// A template with constraints, which GTPL of version 1.0 cannot state.
    #[error("template {0}: GTPL of version 1.0 cannot state its constraints")]
    Constraints(u32),
    /// A template with an empty name, which makes a GTPL header ambiguous.
    #[error("template {0}: it has no name, and GTPL needs one")]
    NoName(u32),
    /// A name, a body, or a number of templates of 2^32 or more.
    #[error("template {0}: lengths and counts of 2^32 and more cannot be written")]
    TooLarge(u32),
    /// The allocator has no memory for the section.
    #[error("no memory for the template section")]
    OutOfMemory,
}

/// A description of a template section.
#[derive(Clone, Copy, Debug)]
pub struct NewTemplates<'a> {
    /// The container.
    pub container: Container,
    /// The templates, in order.
    pub templates: &'a [NewTemplate<'a>],
}

impl NewTemplates<'_> {
    /// Encodes the payload of the section.
    ///
    /// # Errors
    /// A template that the container cannot express, or [`TemplateWriteError::OutOfMemory`].
    pub fn to_vec(&self) -> Result<Vec<u8>, TemplateWriteError> {
        let mut len = 0usize;
        self.each(&mut |bytes| len = len.saturating_add(bytes.len()))?;
        let mut payload = try_with_capacity(len).map_err(|_| TemplateWriteError::OutOfMemory)?;
        self.each(&mut |bytes| payload.extend_from_slice(bytes))?;
        Ok(payload)
    }

    /// Passes the payload to `put` piece by piece.
    fn each(&self, put: &mut dyn FnMut(&[u8])) -> Result<(), TemplateWriteError> {
        let too_large = TemplateWriteError::TooLarge(u32::MAX);
        let count = u32::try_from(self.templates.len()).map_err(|_| too_large)?;
        if let Container::Gtpl { constrained } = self.container {
            put(MAGIC);
            put(&[1, u8::from(constrained)]);
        }
        put(&count.to_le_bytes());
        for (index, template) in (0u32..).zip(self.templates) {
            match self.container {
                Container::Counted => counted(index, template, put)?,
                Container::Gtpl { constrained } => gtpl(index, template, constrained, put)?,
            }
        }
        match self.container {
            Container::Counted => Ok(()),
            Container::Gtpl { .. } => self.bodies(put),
        }
    }

    /// Passes the bodies after the headers of a GTPL: an only body as it is, several with lengths.
    fn bodies(&self, put: &mut dyn FnMut(&[u8])) -> Result<(), TemplateWriteError> {
        let has_bodies = self.templates.iter().any(|template| !template.body.is_empty());
        if let [template] = self.templates
            && !template.body.starts_with(BODIES)
        {
            put(template.body);
            return Ok(());
        }
        if !has_bodies {
            return Ok(());
        }
        let lengths = self.templates.iter().map(|template| template.body.len());
        let whole =
            lengths.fold(BODIES_HEADER, |sum, len| sum.saturating_add(len).saturating_add(4));
        let last = u32::try_from(self.templates.len()).unwrap_or(u32::MAX).saturating_sub(1);
        let whole = u32::try_from(whole).map_err(|_| TemplateWriteError::TooLarge(last))?;
        put(BODIES);
        put(&whole.to_le_bytes());
        for (index, template) in (0u32..).zip(self.templates) {
            put(&length(index, template.body)?);
            put(template.body);
        }
        Ok(())
    }
}

fn counted(
    index: u32,
    template: &NewTemplate<'_>,
    put: &mut dyn FnMut(&[u8]),
) -> Result<(), TemplateWriteError> {
    let NewTemplate { kind, params, constraints, .. } = template;
    if kind.is_some() || *params != 0 || !constraints.entries.is_empty() {
        return Err(TemplateWriteError::Header(index));
    }
    put(&length(index, template.name)?);
    put(template.name);
    put(&length(index, template.body)?);
    put(template.body);
    Ok(())
}

fn gtpl(
    index: u32,
    template: &NewTemplate<'_>,
    constrained: bool,
    put: &mut dyn FnMut(&[u8]),
) -> Result<(), TemplateWriteError> {
    let kind = template.kind.ok_or(TemplateWriteError::NoKind(index))?;
    if template.name.is_empty() {
        return Err(TemplateWriteError::NoName(index));
    }
    put(&[kind.code()]);
    put(&length(index, template.name)?);
    put(template.name);
    put(&[template.params]);
    let entries = template.constraints.entries;
    if constrained {
        let count =
            u32::try_from(entries.len()).map_err(|_| TemplateWriteError::TooLarge(index))?;
        put(&count.to_le_bytes());
        put(entries.as_flattened());
    } else if !entries.is_empty() {
        return Err(TemplateWriteError::Constraints(index));
    }
    Ok(())
}

fn length(index: u32, bytes: &[u8]) -> Result<[u8; 4], TemplateWriteError> {
    let len = u32::try_from(bytes.len()).map_err(|_| TemplateWriteError::TooLarge(index))?;
    Ok(len.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::read::template::Templates;

    const NATIVE: &[u8] = include_bytes!("../../../../tests/samples/note-zero-size.smf");
    const COMPACT: &[u8] = include_bytes!("../../../../tests/samples/compact.smf");

    const GTPL: Container = Container::Gtpl { constrained: false };
    const CONSTRAINED: Container = Container::Gtpl { constrained: true };

    fn read(payload: &[u8]) -> Vec<NewTemplate<'_>> {
        let templates = Templates::parse(payload, 0).unwrap();
        templates.iter().map(|template| template.unwrap().into()).collect()
    }

    fn write(
        container: Container,
        templates: &[NewTemplate<'_>],
    ) -> Result<Vec<u8>, TemplateWriteError> {
        NewTemplates { container, templates }.to_vec()
    }

    #[test]
    fn what_was_read_is_written_byte_for_byte() {
        for (payload, container) in
            [(&NATIVE[0x146..][..0x2b], GTPL), (&COMPACT[0xc0..][..0x24], Container::Counted)]
        {
            assert_eq!(write(container, &read(payload)).unwrap(), payload);
        }
        let constrained =
            [&b"GTPL\x01\x01\x01\0\0\0\x01\x01\0\0\0P\x02"[..], b"\x01\0\0\0\0\0\x07\0"].concat();
        assert_eq!(write(CONSTRAINED, &read(&constrained)).unwrap(), constrained);
        let alone = b"GTPL\x01\0\x01\0\0\0\x04\x01\0\0\0T\x02body";
        assert_eq!(write(GTPL, &read(alone)).unwrap(), alone);
        for container in [GTPL, CONSTRAINED, Container::Counted] {
            let empty = write(container, &[]).unwrap();
            assert_eq!(Templates::parse(&empty, 0).unwrap().container, container);
        }
    }

    #[test]
    fn templates_go_from_one_container_to_another_that_can_say_them() {
        let plain = read(&NATIVE[0x146..][..0x2b]);
        let with_room = write(CONSTRAINED, &plain).unwrap();
        let back = read(&with_room);
        assert_eq!(back.len(), 3);
        assert_eq!(write(GTPL, &back).unwrap(), &NATIVE[0x146..][..0x2b]);

        let counted = read(&COMPACT[0xc0..][..0x24]);
        assert_eq!(write(GTPL, &counted), Err(TemplateWriteError::NoKind(0)));
        let known = NewTemplate { kind: Some(TemplateKind::Struct), params: 1, ..counted[1] };
        let payload = write(GTPL, &[known]).unwrap();
        assert_eq!((read(&payload)[0].name, read(&payload)[0].body), (&b"List"[..], known.body));
        let both = write(GTPL, &[plain[0], known]).unwrap();
        assert_eq!((read(&both)[0].body, read(&both)[1].body), (&b""[..], known.body));
        // A body that resembles bodies with lengths gets a length itself.
        let odd = NewTemplate { body: b"GBDY\x0c\0\0\0\0\0\0\0", ..known };
        assert_eq!(read(&write(GTPL, &[odd]).unwrap())[0].body, odd.body);
        assert_eq!(write(Container::Counted, &plain), Err(TemplateWriteError::Header(0)));
        let bounds = [[0, 0, 7, 0]];
        let bound = NewTemplate { constraints: Constraints { entries: &bounds }, ..plain[1] };
        assert_eq!(write(GTPL, &[plain[0], bound]), Err(TemplateWriteError::Constraints(1)));
    }
}

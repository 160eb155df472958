//! Writing of template sections in either container, and of modules of templates without code.
//!
//! A template that the container cannot express is an error that names it; nothing is dropped silently. GTPL states no
//! lengths of bodies. The body of an only template follows its header, where all readers expect it. Several bodies
//! follow all headers, each with its length.

use alloc::vec::Vec;

use crate::alloc_util::try_with_capacity;
use crate::format::model::{Header, SectionKind};
use crate::format::read::template::{BODIES, BODIES_HEADER, Container, MAGIC, Template};
use crate::format::read::template_record::Reader;
use crate::format::wire::{Cursor, Layout};
use crate::format::write::error::WriteError;
use crate::format::write::module::{Module, NewSection, Payload};
use crate::format::write::note::{NewPossible, write_possible};

/// A description of a template section.
#[derive(Clone, Copy, Debug)]
pub struct NewTemplates<'a> {
    /// The container.
    pub container: Container,
    /// The templates, in order.
    pub templates: &'a [Template<'a>],
}

impl NewTemplates<'_> {
    /// Encodes the payload of the section.
    ///
    /// # Errors
    /// A template that the container cannot express, or [`WriteError::OutOfMemory`].
    pub fn to_vec(&self) -> Result<Vec<u8>, WriteError> {
        let mut len = 0usize;
        self.each(&mut |bytes| len = len.saturating_add(bytes.len()))?;
        let mut payload = try_with_capacity(len)?;
        self.each(&mut |bytes| payload.extend_from_slice(bytes))?;
        Ok(payload)
    }

    /// Passes the payload to `put` piece by piece.
    fn each(&self, put: &mut dyn FnMut(&[u8])) -> Result<(), WriteError> {
        let too_large = WriteError::TemplateTooLarge(u32::MAX);
        let count = u32::try_from(self.templates.len()).map_err(|_| too_large)?;
        match self.container {
            Container::Gtpl { constrained } => {
                put(MAGIC);
                put(&[1, u8::from(constrained)]);
            }
            Container::Records { version } => {
                put(MAGIC);
                put(&[version, 0]);
            }
            Container::Counted => {}
        }
        put(&count.to_le_bytes());
        for (index, template) in (0u32..).zip(self.templates) {
            match self.container {
                Container::Counted => counted(index, template, put)?,
                Container::Gtpl { constrained } => gtpl(index, template, constrained, put)?,
                Container::Records { version } => record(index, template, version, put)?,
            }
        }
        match self.container {
            Container::Counted | Container::Records { .. } => Ok(()),
            Container::Gtpl { .. } => self.bodies(put),
        }
    }

    /// Passes the bodies after the headers of a GTPL: an only body as it is, several with lengths.
    fn bodies(&self, put: &mut dyn FnMut(&[u8])) -> Result<(), WriteError> {
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
        let whole = u32::try_from(whole).map_err(|_| WriteError::TemplateTooLarge(last))?;
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
    template: &Template<'_>,
    put: &mut dyn FnMut(&[u8]),
) -> Result<(), WriteError> {
    let Template { kind, params, constraints, .. } = template;
    if kind.is_some() || *params != 0 || !constraints.entries.is_empty() {
        return Err(WriteError::TemplateHeader(index));
    }
    put(&length(index, template.name)?);
    put(template.name);
    put(&length(index, template.body)?);
    put(template.body);
    Ok(())
}

/// A record, which must have the name and the kind of the template, and the form of the version.
fn record(
    index: u32,
    template: &Template<'_>,
    version: u8,
    put: &mut dyn FnMut(&[u8]),
) -> Result<(), WriteError> {
    let kind = template.kind.ok_or(WriteError::TemplateKind(index))?;
    let mut reader = Reader(Cursor::new(template.body));
    let record = reader.record(kind, version).ok().filter(|_| reader.0.rest().is_empty());
    if record.is_none_or(|record| record.name.as_bytes() != template.name) {
        return Err(WriteError::TemplateRecord(index));
    }
    if !template.constraints.entries.is_empty() {
        return Err(WriteError::TemplateConstraints(index));
    }
    put(&[kind as u8]);
    put(template.body);
    Ok(())
}

fn gtpl(
    index: u32,
    template: &Template<'_>,
    constrained: bool,
    put: &mut dyn FnMut(&[u8]),
) -> Result<(), WriteError> {
    let kind = template.kind.ok_or(WriteError::TemplateKind(index))?;
    if template.name.is_empty() {
        return Err(WriteError::TemplateName(index));
    }
    put(&[kind as u8]);
    put(&length(index, template.name)?);
    put(template.name);
    put(&[template.params]);
    let entries = template.constraints.entries;
    if constrained {
        let count =
            u32::try_from(entries.len()).map_err(|_| WriteError::TemplateTooLarge(index))?;
        put(&count.to_le_bytes());
        put(entries.as_flattened());
    } else if !entries.is_empty() {
        return Err(WriteError::TemplateConstraints(index));
    }
    Ok(())
}

fn length(index: u32, bytes: &[u8]) -> Result<[u8; 4], WriteError> {
    let len = u32::try_from(bytes.len()).map_err(|_| WriteError::TemplateTooLarge(index))?;
    Ok(len.to_le_bytes())
}

/// Writes a packed module of these templates, with a note of these rows.
///
/// # Errors
/// A template that the container cannot express, or offsets that exceed 32 bits.
pub fn write_templates(
    templates: &NewTemplates<'_>,
    rows: &[NewPossible<'_>],
) -> Result<Vec<u8>, WriteError> {
    let templates = templates.to_vec()?;
    let note = write_possible(rows)?;
    let (templates, note) = (Payload::Bytes(&templates), Payload::Bytes(note.as_bytes()));
    let sections = [
        NewSection::new(SectionKind::TemplateCode, b".templates", templates),
        NewSection::new(SectionKind::Note, b"note.sdn", note),
    ];
    let sections = sections.map(|section| NewSection { alignment: 8, ..section });
    let (layout, header) = (Layout::Packed, Header::default());
    let module = Module { layout, header, stub: &[], sections: &sections, symbols: &[] };
    module.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::read::template::{Constraints, TemplateKind, Templates};

    const NATIVE: &[u8] = include_bytes!("../../../../tests/samples/note-zero-size.smf");
    const COMPACT: &[u8] = include_bytes!("../../../../tests/samples/compact.smf");

    const GTPL: Container = Container::Gtpl { constrained: false };
    const CONSTRAINED: Container = Container::Gtpl { constrained: true };

    fn read(payload: &[u8]) -> Vec<Template<'_>> {
        let templates = Templates::parse(payload, 0).unwrap();
        templates.iter().map(Result::unwrap).collect()
    }

    fn write(container: Container, templates: &[Template<'_>]) -> Result<Vec<u8>, WriteError> {
        NewTemplates { container, templates }.to_vec()
    }

    #[test]
    fn template_is_rewritten_byte_for_byte() {
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
    fn templates_convert_to_containers_that_can_express_them() {
        let plain = read(&NATIVE[0x146..][..0x2b]);
        let with_room = write(CONSTRAINED, &plain).unwrap();
        let back = read(&with_room);
        assert_eq!(back.len(), 3);
        assert_eq!(write(GTPL, &back).unwrap(), &NATIVE[0x146..][..0x2b]);

        let counted = read(&COMPACT[0xc0..][..0x24]);
        assert_eq!(write(GTPL, &counted), Err(WriteError::TemplateKind(0)));
        let known = Template { kind: Some(TemplateKind::Struct), params: 1, ..counted[1] };
        let payload = write(GTPL, &[known]).unwrap();
        assert_eq!((read(&payload)[0].name, read(&payload)[0].body), (&b"List"[..], known.body));
        let both = write(GTPL, &[plain[0], known]).unwrap();
        assert_eq!((read(&both)[0].body, read(&both)[1].body), (&b""[..], known.body));
        // A body that resembles bodies with lengths gets a length itself.
        let odd = Template { body: b"GBDY\x0c\0\0\0\0\0\0\0", ..known };
        assert_eq!(read(&write(GTPL, &[odd]).unwrap())[0].body, odd.body);
        assert_eq!(write(Container::Counted, &plain), Err(WriteError::TemplateHeader(0)));
        let bounds = [[0, 0, 7, 0]];
        let bound = Template { constraints: Constraints { entries: &bounds }, ..plain[1] };
        assert_eq!(write(GTPL, &[plain[0], bound]), Err(WriteError::TemplateConstraints(1)));
    }
}

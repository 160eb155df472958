//! Generic templates in a module, and their counts (FORMAT.md, section 5).
//!
//! There are two containers, distinguished by the first four bytes. **GTPL** has a magic, a version and a header for
//! each template. The writer defines the body after a header, which has no length. Writers of version 1 store no
//! bodies, so the headers are back to back: if all headers are valid in this form and the last one ends with the
//! section, the section is read this way. Otherwise only the first template is listed, its body is the rest of the
//! section, and [`Templates::has_opaque_bodies`] is set. **Counted** has no magic, and a length for every template.
//!
//! An extension of this project stores delimited bodies for several templates in a GTPL. They follow the last header,
//! where readers without support have stopped. All numbers are little-endian.
//!
//! | bytes | |
//! |---|---|
//! | 4 | `GBDY` |
//! | 4 | length of the extension in bytes, these eight bytes included; it ends with the section |
//! | 4 + n | for each template, in the order of the headers: the length of its body, and the body |
//!
//! The **records** of the Simple compiler share the magic, in versions 1 and 2: see
//! [`template_record`](super::template_record). A version 1 whose templates are all records, to the end of the section,
//! is read as records.
//!
//! Bodies are not parsed. A count is checked against the length of the bytes that follow.

use crate::format::error::{Result, TemplateError};
pub use crate::format::model::TemplateKind;
use crate::format::read::template_record::{MalformedField, Reader};
use crate::format::wire::{Cursor, u16_at, u32_at};

/// The first bytes of a GTPL container.
pub(crate) const MAGIC: &[u8; 4] = b"GTPL";

/// The first bytes of the bodies after the headers of a GTPL.
pub(crate) const BODIES: &[u8; 4] = b"GBDY";

/// The size of the magic and length of the bodies, in bytes.
pub(crate) const BODIES_HEADER: usize = 8;

/// The size of the magic, version and count, in bytes.
const GTPL_HEADER: usize = 10;

/// The size of a template without a name, in bytes: kind, length of the name, number of parameters.
const MIN_GTPL_TEMPLATE: usize = 6;

/// The size of a template without a name and body, in bytes: two lengths.
const MIN_COUNTED_TEMPLATE: usize = 8;

/// The container of a template section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// `GTPL`: headers with a kind and a number of parameters.
    Gtpl {
        /// Whether constraints follow each header: version bytes (1, 1).
        constrained: bool,
    },
    /// A name and a body, each with its length.
    Counted,
    /// `GTPL`: a kind and a [record](super::template_record) of the Simple compiler, which is the body.
    Records {
        /// The version, 1 or 2.
        version: u8,
    },
}

/// One template, read or to be written.
#[derive(Clone, Copy, Debug)]
pub struct Template<'d> {
    /// The name as spelled in the file; not necessarily UTF-8.
    pub name: &'d [u8],
    /// The kind; `None` in the counted container, which does not state it.
    pub kind: Option<TemplateKind>,
    /// The number of type parameters; 0 in the counted container, which does not state it.
    pub params: u8,
    /// The constraints of the type parameters.
    pub constraints: Constraints<'d>,
    /// The body, opaque: the writer defines its format.
    pub body: &'d [u8],
}

/// A bound on one type parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Constraint {
    /// The index of the parameter, from 0.
    pub parameter: u16,
    /// The number of the bound, as the writer defines it.
    pub bound: u16,
}

/// The constraints of a [`Template`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Constraints<'d> {
    pub(crate) entries: &'d [[u8; 4]],
}

impl<'d> Constraints<'d> {
    /// The constraints in the order of the file.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Constraint> + Clone + use<'d> {
        self.entries.iter().map(|&[p0, p1, b0, b1]| Constraint {
            parameter: u16::from_le_bytes([p0, p1]),
            bound: u16::from_le_bytes([b0, b1]),
        })
    }
}

/// The templates of a section.
#[derive(Clone, Copy, Debug)]
pub struct Templates<'d> {
    /// The bytes after the count.
    entries: &'d [u8],
    /// The offset of `entries` in the file.
    at: u64,
    /// The container.
    pub container: Container,
    /// The number of templates that the container states.
    pub count: u32,
    /// Whether bodies of unknown length follow the headers, so that only the first template is listed. Its body then
    /// extends to the end of the section.
    pub has_opaque_bodies: bool,
    /// The bodies after the headers of a GTPL, each with its length; `None` without them.
    bodies: Option<&'d [u8]>,
}

impl<'d> Templates<'d> {
    /// Parses the templates in `payload`, which starts at offset `at` of the file.
    ///
    /// # Errors
    /// [`TemplateError::Container`] for bytes that are neither container; [`TemplateError::Version`] for a GTPL of an
    /// unknown version;
    /// [`TemplateError::Truncated`] for a count that exceeds the bytes, and for a truncated first template of a GTPL;
    /// [`TemplateError::Record`] if a template of version 2 is no record;
    /// [`TemplateError::Kind`] if its kind is undefined.
    pub fn parse(payload: &'d [u8], at: u64) -> Result<Self> {
        let neither = TemplateError::Container { at };
        let container = match payload.strip_prefix(MAGIC) {
            None => return Self::parse_counted(payload, at),
            Some([2, 0, ..]) => Container::Records { version: 2 },
            Some([1, 0, ..]) => Container::Gtpl { constrained: false },
            Some([1, 1, ..]) => Container::Gtpl { constrained: true },
            Some(&[low, high, ..]) => {
                let version = u16::from_le_bytes([low, high]);
                return Err(TemplateError::Version { version, at }.into());
            }
            Some(_) => return Err(neither.into()),
        };
        let count = u32_at(payload, GTPL_HEADER - 4).ok_or(neither)?;
        let entries = payload.get(GTPL_HEADER..).ok_or(neither)?;
        let at = at.saturating_add(GTPL_HEADER as u64);
        let mut templates =
            Self { entries, at, container, count, has_opaque_bodies: false, bodies: None };
        let max_count = entries.len() / MIN_GTPL_TEMPLATE;
        if let Some(index) = u32::try_from(max_count).ok().filter(|&max| max < count) {
            return Err(TemplateError::Truncated { index, at }.into());
        }
        if let Container::Records { version } = container {
            templates.check_records(version)?;
            return Ok(templates);
        }
        let rest = templates.behind_headers();
        templates.bodies = rest.and_then(|rest| read_bodies(rest, count));
        templates.has_opaque_bodies =
            rest.is_none_or(|rest| !rest.is_empty()) && templates.bodies.is_none();
        let may_be_records = container == Container::Gtpl { constrained: false };
        if may_be_records && templates.has_opaque_bodies && templates.check_records(1).is_ok() {
            let container = Container::Records { version: 1 };
            return Ok(Self { container, has_opaque_bodies: false, ..templates });
        }
        if count > 0 {
            templates.header(&mut Cursor::new(entries), 0)?;
        }
        Ok(templates)
    }

    /// Checks that all templates are records, and that the last one ends with the section.
    fn check_records(&self, version: u8) -> Result<()> {
        let mut cursor = Cursor::new(self.entries);
        for index in 0..self.count {
            self.record(&mut cursor, index, version)?;
        }
        if cursor.rest().is_empty() {
            return Ok(());
        }
        let at = self.at.saturating_add(cursor.position() as u64);
        let (index, field) = (self.count.saturating_sub(1), "bytes behind it");
        Err(TemplateError::Record { index, field, at }.into())
    }

    /// Reads a kind and a record. The record is the body.
    fn record(&self, cursor: &mut Cursor<'d>, index: u32, version: u8) -> Result<Template<'d>> {
        let at = self.at.saturating_add(cursor.position() as u64);
        let value = cursor.u8().ok_or(TemplateError::Record { index, field: "kind", at })?;
        let Some(kind) = TemplateKind::from_code(value) else {
            return Err(TemplateError::Kind { index, value, at }.into());
        };
        let (start, rest) = (cursor.position(), cursor.rest());
        let mut reader = Reader(*cursor);
        let record = reader.record(kind, version);
        let record = record.map_err(|MalformedField { field, at }| {
            let at = self.at.saturating_add(at as u64);
            TemplateError::Record { index, field, at }
        })?;
        *cursor = reader.0;
        let body = rest.get(..cursor.position().saturating_sub(start)).unwrap_or(&[]);
        Ok(Template {
            name: record.name.as_bytes(),
            kind: Some(kind),
            params: u8::try_from(record.type_params.len()).unwrap_or(u8::MAX),
            constraints: Constraints::default(),
            body,
        })
    }

    fn parse_counted(payload: &'d [u8], at: u64) -> Result<Self> {
        let neither = TemplateError::Container { at };
        let count = u32_at(payload, 0).ok_or(neither)?;
        let entries = payload.get(4..).ok_or(neither)?;
        // Without a magic, a count that is too large is the only sign of another format.
        if u64::from(count) > (entries.len() / MIN_COUNTED_TEMPLATE) as u64 {
            return Err(neither.into());
        }
        let at = at.saturating_add(4);
        let container = Container::Counted;
        Ok(Self { entries, at, container, count, has_opaque_bodies: false, bodies: None })
    }

    /// The number of templates that [`Templates::iter`] lists: all, or one if [`Templates::has_opaque_bodies`].
    pub fn listed(&self) -> u32 {
        if self.has_opaque_bodies { self.count.min(1) } else { self.count }
    }

    /// The templates in the order of the file.
    ///
    /// An item is an error for a template that does not lie inside the section; the iterator ends there.
    pub fn iter(&self) -> impl Iterator<Item = Result<Template<'d>>> + Clone + use<'d> {
        self.entries().map(|entry| entry.map(|(template, _)| template))
    }

    /// The templates, each with all its bytes in the container: its header and its body.
    pub(crate) fn entries(
        &self,
    ) -> impl Iterator<Item = Result<(Template<'d>, &'d [u8])>> + Clone + use<'d> {
        let templates = *self;
        let mut cursor = Cursor::new(self.entries);
        let mut bodies = Cursor::new(self.bodies.unwrap_or(&[]));
        let mut indices = 0..self.listed();
        core::iter::from_fn(move || {
            let start = cursor.position();
            let found = templates.next(&mut cursor, &mut bodies, indices.next()?);
            if found.is_err() {
                indices = 0..0;
            }
            Some(found.map(|template| {
                // An opaque body is the rest of the section; the cursor stays before it.
                let opaque = if templates.has_opaque_bodies { template.body.len() } else { 0 };
                let end = cursor.position().saturating_add(opaque);
                (template, templates.entries.get(start..end).unwrap_or(&[]))
            }))
        })
    }

    /// Reads every template that can be listed.
    ///
    /// # Errors
    /// [`TemplateError::Truncated`] for the first template that does not lie inside the section.
    pub fn check(&self) -> Result<()> {
        self.iter().try_for_each(|template| template.map(drop))
    }

    /// The bytes after the headers, if all headers are valid and named. To be mistaken for headers, a body must match
    /// the format to its last byte.
    fn behind_headers(&self) -> Option<&'d [u8]> {
        let mut cursor = Cursor::new(self.entries);
        for index in 0..self.count {
            self.header(&mut cursor, index).ok().filter(|template| !template.name.is_empty())?;
        }
        Some(cursor.rest())
    }

    fn next(
        &self,
        cursor: &mut Cursor<'d>,
        bodies: &mut Cursor<'d>,
        index: u32,
    ) -> Result<Template<'d>> {
        match self.container {
            Container::Gtpl { .. } => {
                let template = self.header(cursor, index)?;
                let body = match self.has_opaque_bodies {
                    true => cursor.rest(),
                    false => take_counted(bodies).unwrap_or(&[]),
                };
                Ok(Template { body, ..template })
            }
            Container::Records { version } => self.record(cursor, index, version),
            Container::Counted => {
                let cut = self.cut_off(cursor, index);
                let (name, body) = take_counted(cursor).zip(take_counted(cursor)).ok_or(cut)?;
                let constraints = Constraints::default();
                Ok(Template { name, kind: None, params: 0, constraints, body })
            }
        }
    }

    /// Reads a GTPL header, and the constraints after it if the version has them.
    fn header(&self, cursor: &mut Cursor<'d>, index: u32) -> Result<Template<'d>> {
        let cut = self.cut_off(cursor, index);
        let at = self.at.saturating_add(cursor.position() as u64);
        let value = cursor.u8().ok_or(cut)?;
        let kind = TemplateKind::from_code(value);
        if kind.is_none() {
            return Err(TemplateError::Kind { index, value, at }.into());
        }
        let name = take_counted(cursor).ok_or(cut)?;
        let params = cursor.u8().ok_or(cut)?;
        let constraints = match self.container {
            Container::Gtpl { constrained: true } => read_constraints(cursor).ok_or(cut)?,
            _ => Constraints::default(),
        };
        Ok(Template { name, kind, params, constraints, body: &[] })
    }

    fn cut_off(&self, cursor: &Cursor<'d>, index: u32) -> TemplateError {
        let at = self.at.saturating_add(cursor.position() as u64);
        TemplateError::Truncated { index, at }
    }
}

/// Reads a `u32` length and that many bytes.
fn take_counted<'d>(cursor: &mut Cursor<'d>) -> Option<&'d [u8]> {
    let len = usize::try_from(cursor.u32()?).ok()?;
    cursor.take(len)
}

/// The bodies in `rest`, the bytes after the headers; `None` if they are not delimited bodies of `count` templates.
fn read_bodies(rest: &[u8], count: u32) -> Option<&[u8]> {
    let stated = u32_at(rest.strip_prefix(BODIES)?, 0)?;
    let bodies = rest.get(BODIES_HEADER..)?;
    let mut cursor = Cursor::new(bodies);
    for _ in 0..count {
        take_counted(&mut cursor)?;
    }
    let whole = rest.len() as u64 == u64::from(stated) && cursor.rest().is_empty();
    whole.then_some(bodies)
}

fn read_constraints<'d>(cursor: &mut Cursor<'d>) -> Option<Constraints<'d>> {
    let len = usize::try_from(cursor.u32()?).ok()?.checked_mul(4)?;
    Some(Constraints { entries: cursor.take(len)?.as_chunks().0 })
}

/// The number of templates of each kind in a module: the section TemplateMeta.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TemplateMeta {
    /// The version as stated in the file; only 1 is defined.
    pub version: u16,
    /// The number of function templates.
    pub functions: u32,
    /// The number of struct templates.
    pub structs: u32,
    /// The number of enum templates.
    pub enums: u32,
    /// The number of trait templates.
    pub traits: u32,
}

impl TemplateMeta {
    /// Parses the counts in `payload`, which starts at offset `at` of the file. Bytes after the counts are ignored. The
    /// counts are not compared with the templates.
    ///
    /// # Errors
    /// [`TemplateError::Meta`] if the payload does not start with `META` or is too short.
    pub fn parse(payload: &[u8], at: u64) -> Result<Self> {
        Ok(Self::read(payload).ok_or(TemplateError::Meta { at })?)
    }

    fn read(payload: &[u8]) -> Option<Self> {
        let fields = payload.strip_prefix(b"META")?;
        Some(Self {
            version: u16_at(fields, 0)?,
            functions: u32_at(fields, 2)?,
            structs: u32_at(fields, 6)?,
            enums: u32_at(fields, 10)?,
            traits: u32_at(fields, 14)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::format::error::FormatError;
    use crate::testing::{cut, flipped};

    const NATIVE: &[u8] = include_bytes!("../../../../tests/samples/note-zero-size.smf");
    const COMPACT: &[u8] = include_bytes!("../../../../tests/samples/compact.smf");

    fn gtpl() -> &'static [u8] {
        &NATIVE[0x146..0x146 + 0x2b]
    }

    fn counted() -> &'static [u8] {
        &COMPACT[0xc0..0xc0 + 0x24]
    }

    /// Name, kind, parameters and body.
    type Listed<'d> = (&'d [u8], Option<TemplateKind>, u8, &'d [u8]);

    fn list(payload: &[u8]) -> Vec<Listed<'_>> {
        let templates = Templates::parse(payload, 0).unwrap();
        templates.iter().map(|t| t.unwrap()).map(|t| (t.name, t.kind, t.params, t.body)).collect()
    }

    /// A container with the given version and count before `entries`.
    fn container(version: [u8; 2], count: u32, entries: &[&[u8]]) -> Vec<u8> {
        let mut bytes = [b"GTPL", &version[..], &count.to_le_bytes()].concat();
        bytes.extend(entries.concat());
        bytes
    }

    #[test]
    fn gtpl_without_bodies_is_read() {
        use TemplateKind::{Function, Struct};
        let expected: [Listed; 3] = [
            (b"identity", Some(Function), 1, b""),
            (b"Pair", Some(Struct), 2, b""),
            (b"max", Some(Function), 1, b""),
        ];
        assert_eq!(list(gtpl()), expected);
        let templates = Templates::parse(gtpl(), 0x146).unwrap();
        assert_eq!(templates.container, Container::Gtpl { constrained: false });
        assert_eq!((templates.count, templates.listed()), (3, 3));
        assert!(!templates.has_opaque_bodies && templates.check().is_ok());
    }

    #[test]
    fn counted_container_is_read() {
        let expected: [Listed; 2] =
            [(b"Vec", None, 0, &[1, 2, 3]), (b"List", None, 0, &counted()[30..])];
        assert_eq!(list(counted()), expected);
        assert_eq!(list(counted())[1].3.len(), 6);
        assert_eq!(Templates::parse(counted(), 0).unwrap().container, Container::Counted);
    }

    #[test]
    fn opaque_bytes_are_the_body_of_the_first_template() {
        let payload = [gtpl(), b"!"].concat();
        let templates = Templates::parse(&payload, 0).unwrap();
        assert!(templates.has_opaque_bodies && templates.check().is_ok());
        assert_eq!((templates.count, templates.listed(), templates.iter().count()), (3, 1, 1));
        assert_eq!(list(&payload)[0].3, &payload[24..]);
        let alone = container([1, 0], 1, &[b"\x04\x01\0\0\0T\x02", b"body"]);
        assert_eq!(list(&alone), [(&b"T"[..], Some(TemplateKind::Trait), 2, &b"body"[..])]);
        assert!(Templates::parse(&alone, 0).unwrap().has_opaque_bodies);
    }

    #[test]
    fn bodies_after_the_headers_are_read() {
        let tail = b"GBDY\x18\0\0\0\x02\0\0\0ab\0\0\0\0\x02\0\0\0cd";
        let payload = [gtpl(), tail].concat();
        let bodies: Vec<_> = list(&payload).into_iter().map(|listed| listed.3).collect();
        assert_eq!(bodies, [&b"ab"[..], b"", b"cd"]);
        let templates = Templates::parse(&payload, 0).unwrap();
        assert!(!templates.has_opaque_bodies && templates.listed() == 3);
        let headers: usize = templates.entries().map(|entry| entry.unwrap().1.len()).sum();
        assert_eq!(headers + GTPL_HEADER, gtpl().len());
        // Any other bytes there are in a format of the writer.
        for (place, byte) in [(0, b'H'), (4, 0x17), (8, 3), (18, 9)] {
            let mut broken = payload.clone();
            broken[gtpl().len() + place] = byte;
            assert!(Templates::parse(&broken, 0).unwrap().has_opaque_bodies, "{place}");
        }
        let longer = [&payload[..], b"!"].concat();
        assert!(Templates::parse(&longer, 0).unwrap().has_opaque_bodies);
    }

    /// A reader without support for the extension: it reads as many headers as the count states, and nothing after
    /// them.
    fn names_by_an_old_reader(payload: &[u8]) -> Vec<&[u8]> {
        let count = u32_at(payload, 6).unwrap();
        let mut at = GTPL_HEADER;
        let name = |_| {
            let len = u32_at(payload, at + 1).unwrap() as usize;
            let name = &payload[at + 5..at + 5 + len];
            at += 6 + len;
            name
        };
        (0..count).map(name).collect()
    }

    #[test]
    fn old_readers_ignore_the_bodies() {
        let tail = b"GBDY\x18\0\0\0\x02\0\0\0ab\0\0\0\0\x02\0\0\0cd";
        let payload = [gtpl(), tail].concat();
        assert_eq!(names_by_an_old_reader(&payload), names_by_an_old_reader(gtpl()));
        assert_eq!(names_by_an_old_reader(&payload), [&b"identity"[..], b"Pair", b"max"]);
    }

    #[test]
    fn constraints_of_version_1_1_are_read() {
        let header = b"\x01\x01\0\0\0P\x02";
        let constraints = b"\x02\0\0\0\0\0\x07\0\x01\0\x08\x01";
        let payload = container([1, 1], 2, &[header, constraints, header, &[0; 4]]);
        let templates = Templates::parse(&payload, 0).unwrap();
        assert_eq!(templates.container, Container::Gtpl { constrained: true });
        let found: Vec<_> = templates.iter().map(|t| t.unwrap().constraints).collect();
        assert!(found.len() == 2 && found[0].iter().len() == 2 && found[1].iter().len() == 0);
        let expected =
            [Constraint { parameter: 0, bound: 7 }, Constraint { parameter: 1, bound: 0x108 }];
        assert_eq!(found[0].iter().collect::<Vec<_>>(), expected);
        let endless = container([1, 1], 1, &[header, &[0xff; 4]]);
        let error = FormatError::Template(TemplateError::Truncated { index: 0, at: 10 });
        assert_eq!(Templates::parse(&endless, 0).unwrap_err(), error);
    }

    #[test]
    fn impossible_templates_are_refused() {
        let fault = |payload: &[u8]| Templates::parse(payload, 0x100).and_then(|t| t.check()).err();
        let neither = Some(FormatError::Template(TemplateError::Container { at: 0x100 }));
        for payload in [&b""[..], b"\0\0\0", b"GTPL", b"GTPL\x01\0\0\0\0"] {
            assert_eq!(fault(payload), neither, "{payload:?}");
        }
        for version in [[0, 0], [3, 0], [1, 2], [2, 1]] {
            let number = u16::from_le_bytes(version);
            let error = TemplateError::Version { version: number, at: 0x100 };
            let expected = std::format!(
                "the template section is a GTPL of version {number}; this loader reads 1 and 2, at offset 0x100"
            );
            assert_eq!(std::format!("{error}"), expected);
            assert_eq!(fault(&container(version, 0, &[])), Some(FormatError::Template(error)));
        }
        assert_eq!(fault(b"\xff\xff\xff\xff12345678"), neither);
        let template = |index, at: u64| {
            Some(FormatError::Template(TemplateError::Truncated { index, at: 0x100 + at }))
        };
        assert_eq!(fault(&container([1, 0], u32::MAX, &[&[0; 60]])), template(10, 10));
        assert_eq!(fault(&container([1, 0], 1, &[b"\0\x09\0\0\0name"])), template(0, 10));
        let kind = FormatError::Template(TemplateError::Kind { index: 0, value: 5, at: 0x10a });
        assert_eq!(fault(&container([1, 0], 1, &[b"\x05\x01\0\0\0T\0"])), Some(kind));
        assert_eq!(fault(&counted()[..35]), template(1, 18));
        assert_eq!(fault(&counted()[..18]), neither);
        let mut iter = Templates::parse(&counted()[..35], 0).unwrap().iter();
        assert!(iter.next().unwrap().is_ok() && iter.next().unwrap().is_err());
        assert!(iter.next().is_none());
    }

    #[test]
    fn count_of_zero_yields_an_empty_list() {
        assert_eq!(list(&container([1, 0], 0, &[])), []);
        assert_eq!(list(&[0; 4]), []);
        assert_eq!(list(&container([1, 0], 0, &[b"rest"])), []);
        assert_eq!(list(&container([2, 0], 0, &[])), []);
    }

    fn walk(payload: &[u8]) {
        let Ok(templates) = Templates::parse(payload, u64::MAX - 9) else { return };
        let found: Vec<_> = templates.iter().collect();
        assert_eq!(
            templates.check().is_ok(),
            found.len() as u32 == templates.listed() && found.iter().all(|t| t.is_ok())
        );
    }

    #[test]
    fn damaged_input_never_panics() {
        let constrained = container([1, 1], 1, &[b"\x01\x01\0\0\0P\x02", b"\x01\0\0\0\0\0\x07\0"]);
        let bodies = [gtpl(), b"GBDY\x18\0\0\0\x02\0\0\0ab\0\0\0\0\x02\0\0\0cd"].concat();
        for payload in [gtpl(), counted(), &constrained, &bodies] {
            cut(payload).for_each(walk);
            flipped(payload).for_each(|(_, damaged)| walk(&damaged));
        }
    }

    #[test]
    fn template_counts_are_read() {
        let payload = &NATIVE[0x171..0x171 + 0x16];
        let meta = TemplateMeta { version: 1, functions: 2, structs: 1, enums: 0, traits: 0 };
        assert_eq!(TemplateMeta::parse(payload, 0), Ok(meta));
        for len in 0..payload.len() {
            let error = FormatError::Template(TemplateError::Meta { at: 5 });
            assert_eq!(TemplateMeta::parse(&payload[..len], 5), Err(error));
        }
        assert!(TemplateMeta::parse(b"GTPL\x01\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 0).is_err());
    }
}

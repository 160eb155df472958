//! Template records of the Simple compiler: definitions made of source texts.
//!
//! The compiler writes a GTPL of version 1 or 2 in which every template is a kind and a record. A record has the name,
//! the type parameters, and, for a function, its parameters, its result type and the texts of its body. All numbers are
//! little-endian; `text` is a `u32` length and UTF-8; a list is a `u32` count and its entries.
//!
//! | kind | record |
//! |---|---|
//! | function | name, type parameters, parameters, optional result, body, flag, optional original, bindings |
//! | struct | name, type parameters, fields, flag, optional original, bindings |
//! | class | name, type parameters, fields, methods, flag, optional original, bindings |
//! | enum of version 1 | name, type parameters, variants, flag, optional original, bindings |
//! | enum of version 2 | `ENV2`, the record of version 1, and lists that describe the payloads |
//! | trait | name, type parameters, methods, flag |
//!
//! The type parameters have a `u8` count. A flag is 0 or 1, an optional text a flag and, after 1, the text; an empty
//! text means the same as none. The bindings of a specialisation are pairs of a type parameter and a type.

use crate::format::model::TemplateKind;
use crate::format::wire::Cursor;

/// The first bytes of an enum of version 2.
const ENUM_2: &[u8; 4] = b"ENV2";

/// A list of texts, or of pairs of texts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Texts<'d> {
    count: u32,
    bytes: &'d [u8],
}

impl<'d> Texts<'d> {
    /// The number of texts.
    pub fn len(&self) -> usize {
        usize::try_from(self.count).unwrap_or(usize::MAX)
    }

    /// Whether there are no texts.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The texts in order.
    pub fn iter(&self) -> impl Iterator<Item = &'d str> + Clone + use<'d> {
        let mut reader = Reader(Cursor::new(self.bytes));
        (0..self.count).map_while(move |_| reader.text())
    }

    /// The texts two by two: the keys and values of a dictionary.
    pub fn pairs(&self) -> impl Iterator<Item = (&'d str, &'d str)> + Clone + use<'d> {
        let mut texts = self.iter();
        core::iter::from_fn(move || Some((texts.next()?, texts.next()?)))
    }
}

/// The record of a template.
#[derive(Clone, Copy, Debug)]
pub struct TemplateRecord<'d> {
    /// The name.
    pub name: &'d str,
    /// The type parameters, such as `T`.
    pub type_params: Texts<'d>,
    /// The parameters of a function, the fields of a struct or class, or the variants of an enum.
    pub members: Texts<'d>,
    /// The result type of a function.
    pub result: Option<&'d str>,
    /// The body of a function, or the methods of a class or trait.
    pub body: Texts<'d>,
    /// Whether the compiler marks it as generic.
    pub is_generic: bool,
    /// The template that this is a specialisation of.
    pub original: Option<&'d str>,
    /// The types of a specialisation: pairs of a type parameter and a type.
    pub bindings: Texts<'d>,
    /// What version 2 states of the variants of an enum.
    variants: Option<VariantLists<'d>>,
}

/// A variant in the record of an enum.
#[derive(Clone, Copy, Debug)]
pub struct VariantRecord<'d> {
    /// The name.
    pub name: &'d str,
    /// The types of the payload.
    pub payload: Texts<'d>,
    /// The names of the fields of the payload, as many as there are types; empty for a position.
    pub fields: Texts<'d>,
    /// The discriminant, if the source states it.
    pub discriminant: Option<i64>,
}

/// The lists at the end of an enum of version 2. They have been checked against each other.
#[derive(Clone, Copy, Debug)]
struct VariantLists<'d> {
    /// The number of types of each payload, of 8 bytes.
    counts: &'d [u8],
    /// The types of all payloads.
    types: Texts<'d>,
    /// The names of the fields of all payloads.
    fields: Texts<'d>,
    /// Of each variant, of 8 bytes.
    discriminants: &'d [u8],
    /// Whether the source states the discriminant, 0 or 1 of each variant.
    is_explicit: &'d [u8],
}

/// The numbers in a list of numbers of 8 bytes.
fn words(list: &[u8]) -> impl Iterator<Item = i64> + Clone {
    list.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes))
}

impl<'d> TemplateRecord<'d> {
    /// The variants of an enum. Version 1 states their names only.
    pub fn variants(&self) -> impl Iterator<Item = VariantRecord<'d>> + use<'d> {
        let lists = self.variants;
        let (counts, discriminants) =
            lists.map_or((&[][..], &[][..]), |lists| (lists.counts, lists.discriminants));
        let (mut counts, mut discriminants) = (words(counts), words(discriminants));
        let mut is_explicit = lists.map_or(&[][..], |lists| lists.is_explicit).iter();
        let rest =
            |texts: Option<Texts<'d>>| Reader(Cursor::new(texts.map_or(&[], |texts| texts.bytes)));
        let mut types = rest(lists.map(|lists| lists.types));
        let mut fields = rest(lists.map(|lists| lists.fields));
        self.members.iter().map(move |name| {
            let count = counts.next().and_then(|count| u32::try_from(count).ok()).unwrap_or(0);
            let payload = types.texts(count).unwrap_or_default();
            let fields = fields.texts(count).unwrap_or_default();
            let discriminant = discriminants.next().filter(|_| is_explicit.next() == Some(&1));
            VariantRecord { name, payload, fields, discriminant }
        })
    }

    /// Reads `bytes`, a whole record of this kind and nothing else.
    pub fn parse(kind: TemplateKind, bytes: &'d [u8]) -> Option<Self> {
        let mut reader = Reader(Cursor::new(bytes));
        // The version shows in the enum itself.
        let version = if bytes.starts_with(ENUM_2) { 2 } else { 1 };
        let record = reader.record(kind, version).ok()?;
        reader.0.rest().is_empty().then_some(record)
    }
}

/// The part of a record that is malformed, or contradicts the parts before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MalformedField {
    pub(crate) field: &'static str,
    /// The position of the cursor where it begins.
    pub(crate) at: usize,
}

/// Reads the parts of a record.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'d>(pub(crate) Cursor<'d>);

impl<'d> Reader<'d> {
    /// The next record.
    pub(crate) fn record(
        &mut self,
        kind: TemplateKind,
        version: u8,
    ) -> Result<TemplateRecord<'d>, MalformedField> {
        let is_enum_2 = kind == TemplateKind::Enum && version > 1;
        if is_enum_2 {
            let marker = |reader: &mut Self| reader.0.take(ENUM_2.len());
            self.field("marker ENV2", |reader| marker(reader).filter(|found| found == ENUM_2))?;
        }
        let name = self.field("name", |reader| reader.text().filter(|name| !name.is_empty()))?;
        let type_params = self.field("type parameters", |reader| {
            let count = reader.0.u8()?;
            reader.texts(count.into())
        })?;
        let (members, texts) = match kind {
            TemplateKind::Function => (Some("parameters"), Some("body")),
            TemplateKind::Struct => (Some("fields"), None),
            TemplateKind::Class => (Some("fields"), Some("methods")),
            TemplateKind::Enum => (Some("variants"), None),
            TemplateKind::Trait => (None, Some("methods")),
        };
        let members = self.list_if(members)?;
        let result = match kind {
            TemplateKind::Function => self.field("result type", Self::optional)?,
            _ => None,
        };
        let body = self.list_if(texts)?;
        let is_generic = self.field("generic flag", Self::flag)?;
        let (mut original, mut bindings) = (None, Texts::default());
        if kind != TemplateKind::Trait {
            original = self.field("original", Self::optional)?;
            bindings = self.field("type bindings", |reader| reader.list(2))?;
        }
        let variants = is_enum_2.then(|| self.variant_lists(members)).transpose()?;
        Ok(TemplateRecord {
            name,
            type_params,
            members,
            result,
            body,
            is_generic,
            original,
            bindings,
            variants,
        })
    }

    /// Reads a field, or states where it begins.
    fn field<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Result<T, MalformedField> {
        let at = self.0.position();
        read(self).ok_or(MalformedField { field, at })
    }

    fn list_if(&mut self, field: Option<&'static str>) -> Result<Texts<'d>, MalformedField> {
        let list = field.map(|field| self.field(field, |reader| reader.list(1)));
        list.transpose().map(Option::unwrap_or_default)
    }

    /// The lists at the end of an enum of version 2. They must not contradict each other: those with an entry for each
    /// variant have as many entries, and there are as many types and names of fields as the counts say.
    fn variant_lists(&mut self, variants: Texts<'_>) -> Result<VariantLists<'d>, MalformedField> {
        let each = variants.len();
        let counts = self.field("payload counts", |reader| {
            reader.numbers(8, each).filter(|list| words(list).all(|count| count >= 0))
        })?;
        let fits = |(count, kind): (i64, &u8)| match kind {
            0 => count == 0,
            1 | 2 => true,
            _ => false,
        };
        self.field("payload kinds", |reader| {
            reader.numbers(1, each).filter(|kinds| words(counts).zip(*kinds).all(fits))
        })?;
        let total = words(counts).fold(0, i64::saturating_add);
        let has_all = |list: &Texts<'_>| i64::from(list.count) == total;
        let types = self.field("payload types", |reader| reader.list(1).filter(has_all))?;
        let fields = self.field("payload fields", |reader| reader.list(1).filter(has_all))?;
        let discriminants = self.field("discriminants", |reader| reader.numbers(8, each))?;
        let is_explicit = self.field("explicit discriminants", |reader| {
            reader.numbers(1, each).filter(|list| list.iter().all(|&byte| byte < 2))
        })?;
        let names = self.field("attribute names", |reader| reader.list(1))?;
        self.field("attribute arguments", |reader| {
            reader.list(1).filter(|arguments| arguments.count == names.count)
        })?;
        self.field("open flags", |reader| reader.flag().and(reader.flag()))?;
        Ok(VariantLists { counts, types, fields, discriminants, is_explicit })
    }

    fn flag(&mut self) -> Option<bool> {
        match self.0.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub(crate) fn text(&mut self) -> Option<&'d str> {
        let len = usize::try_from(self.0.u32()?).ok()?;
        core::str::from_utf8(self.0.take(len)?).ok()
    }

    fn optional(&mut self) -> Option<Option<&'d str>> {
        let text = if self.flag()? { self.text()? } else { "" };
        Some((!text.is_empty()).then_some(text))
    }

    /// A counted list whose entries are `width` texts each.
    pub(crate) fn list(&mut self, width: u32) -> Option<Texts<'d>> {
        let count = self.0.u32()?.checked_mul(width)?;
        self.texts(count)
    }

    pub(crate) fn texts(&mut self, count: u32) -> Option<Texts<'d>> {
        let bytes = self.0.rest();
        let start = self.0.position();
        for _ in 0..count {
            self.text()?;
        }
        let bytes = bytes.get(..self.0.position().saturating_sub(start))?;
        Some(Texts { count, bytes })
    }

    /// The bytes of a counted list of `count` numbers of `size` bytes.
    fn numbers(&mut self, size: usize, count: usize) -> Option<&'d [u8]> {
        let stated = usize::try_from(self.0.u32()?).ok()?;
        let bytes = self.0.take(stated.checked_mul(size)?)?;
        (stated == count).then_some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::format::template::{Container, Template, Templates};
    use crate::testing::{cut, flipped};

    /// `fn id<T>(x: T) -> T` with the body `x`, as the compiler's documentation spells it byte for byte.
    const ID: &[u8] = b"GTPL\x02\0\x01\0\0\0\0\x02\0\0\0id\x01\x01\0\0\0T\x01\0\0\0\x04\0\0\0x: T\
        \x01\x01\0\0\0T\x01\0\0\0\x01\0\0\0x\x01\0\0\0\0\0";

    fn text(out: &mut Vec<u8>, text: &str) {
        out.extend((text.len() as u32).to_le_bytes());
        out.extend(text.bytes());
    }

    fn list(out: &mut Vec<u8>, texts: &[&str]) {
        out.extend((texts.len() as u32).to_le_bytes());
        texts.iter().for_each(|entry| text(out, entry));
    }

    fn head(kind: u8, name: &str, type_params: &[&str]) -> Vec<u8> {
        let mut out = Vec::from([kind]);
        if kind == 3 {
            out.extend(b"ENV2");
        }
        text(&mut out, name);
        out.push(type_params.len() as u8);
        type_params.iter().for_each(|entry| text(&mut out, entry));
        out
    }

    /// A specialised function, a struct, a class, an enum and a trait.
    fn every_kind() -> Vec<u8> {
        let mut out = b"GTPL\x02\0\x05\0\0\0".to_vec();
        let mut function = head(0, "id$i64", &[]);
        list(&mut function, &["x: T"]);
        function.push(0);
        list(&mut function, &["x"]);
        function.extend([0, 1]);
        text(&mut function, "id");
        function.extend([1, 0, 0, 0]);
        ["T", "i64"].iter().for_each(|entry| text(&mut function, entry));
        let mut of_struct = head(1, "Pair", &["A", "B"]);
        list(&mut of_struct, &["a: A", "b: B"]);
        of_struct.extend([1, 0, 0, 0, 0, 0]);
        let mut class = head(2, "Cell", &["T"]);
        list(&mut class, &["value: T"]);
        list(&mut class, &["fn get() -> T: self.value"]);
        class.extend([1, 0, 0, 0, 0, 0]);
        let mut of_enum = head(3, "Opt", &["T"]);
        list(&mut of_enum, &["None", "Some"]);
        of_enum.extend([1, 0, 0, 0, 0, 0]);
        of_enum.extend([2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        of_enum.extend([2, 0, 0, 0, 0, 1]);
        list(&mut of_enum, &["T"]);
        list(&mut of_enum, &[""]);
        of_enum.extend([2, 0, 0, 0]);
        of_enum.extend([0; 8]);
        of_enum.extend((-3_i64).to_le_bytes());
        of_enum.extend([2, 0, 0, 0, 0, 1]);
        of_enum.extend([0; 10]);
        let mut of_trait = head(4, "Show", &[]);
        list(&mut of_trait, &["fn show()"]);
        of_trait.push(0);
        out.extend([function, of_struct, class, of_enum, of_trait].concat());
        out
    }

    #[test]
    fn function_record_of_the_documentation_is_read() {
        let templates = Templates::parse(ID, 0).unwrap();
        assert_eq!(templates.container, Container::Records { version: 2 });
        let all: Vec<Template<'_>> = templates.iter().map(Result::unwrap).collect();
        assert_eq!((all.len(), all[0].name, all[0].params), (1, &b"id"[..], 1));
        let record = TemplateRecord::parse(TemplateKind::Function, all[0].body).unwrap();
        assert_eq!(record.members.iter().collect::<Vec<_>>(), ["x: T"]);
        assert_eq!((record.result, record.is_generic, record.original), (Some("T"), true, None));
        assert_eq!(record.body.iter().collect::<Vec<_>>(), ["x"]);
    }

    #[test]
    fn records_of_every_kind_are_read() {
        let payload = every_kind();
        let templates = Templates::parse(&payload, 0).unwrap();
        let all: Vec<Template<'_>> = templates.iter().map(Result::unwrap).collect();
        let names: Vec<_> = all.iter().map(|t| std::str::from_utf8(t.name).unwrap()).collect();
        assert_eq!(names, ["id$i64", "Pair", "Cell", "Opt", "Show"]);
        let records: Vec<_> = all
            .iter()
            .map(|template| TemplateRecord::parse(template.kind.unwrap(), template.body).unwrap())
            .collect();
        assert_eq!(records[0].original, Some("id"));
        assert_eq!(records[0].bindings.pairs().collect::<Vec<_>>(), [("T", "i64")]);
        assert_eq!(records[1].members.iter().collect::<Vec<_>>(), ["a: A", "b: B"]);
        assert_eq!(records[2].body.len(), 1);
        assert_eq!(records[3].members.iter().collect::<Vec<_>>(), ["None", "Some"]);
        let variants: Vec<_> = records[3].variants().collect();
        assert_eq!((variants[0].name, variants[0].payload.len()), ("None", 0));
        assert_eq!(variants[1].payload.iter().collect::<Vec<_>>(), ["T"]);
        assert_eq!(variants[1].fields.iter().collect::<Vec<_>>(), [""]);
        assert_eq!([variants[0].discriminant, variants[1].discriminant], [None, Some(-3)]);
        assert_eq!(records[1].variants().count(), 2);
        assert!(records[4].members.is_empty() && !records[4].is_generic);
    }

    #[test]
    fn version_one_is_told_from_the_native_writer_by_content() {
        let mut one = ID.to_vec();
        one[4] = 1;
        let templates = Templates::parse(&one, 0).unwrap();
        assert_eq!(templates.container, Container::Records { version: 1 });
        // The version bytes of headers with constraints.
        one[5] = 1;
        let is_records = Templates::parse(&one, 0)
            .is_ok_and(|templates| matches!(templates.container, Container::Records { .. }));
        assert!(!is_records);
        let native = b"GTPL\x01\0\x01\0\0\0\0\x02\0\0\0id\x01";
        let templates = Templates::parse(native, 0).unwrap();
        assert_eq!(templates.container, Container::Gtpl { constrained: false });
    }

    #[test]
    fn bad_record_of_version_two_is_an_error_with_its_place() {
        for (place, byte, field, at) in [
            (11, 99, "name", 0x10b),
            (11, 0, "name", 0x10b),
            (17, 9, "type parameters", 0x111),
            (22, 0xff, "type parameters", 0x111),
            (23, 9, "parameters", 0x117),
            (35, 2, "result type", 0x123),
            (41, 9, "body", 0x129),
            (50, 2, "generic flag", 0x132),
            (51, 9, "original", 0x133),
            (52, 9, "type bindings", 0x134),
        ] {
            let mut bad = ID.to_vec();
            bad[place] = byte;
            let error = Templates::parse(&bad, 0x100).unwrap_err();
            let expected = std::format!(
                "template 0: malformed record of the Simple compiler ({field}), at offset {at:#x}"
            );
            assert_eq!(std::format!("{error}"), expected, "{place}");
        }
        let longer = [ID, b"!"].concat();
        let error = std::format!("{}", Templates::parse(&longer, 0).unwrap_err());
        assert!(error.contains("template 0: ") && error.contains("(bytes behind it)"), "{error}");
        let mut enums = every_kind();
        let marker = enums.windows(4).position(|bytes| bytes == b"ENV2").unwrap();
        enums[marker] = b'F';
        let error = Templates::parse(&enums, 0).unwrap_err();
        assert!(std::format!("{error}").starts_with("template 3: malformed record"), "{error}");
        assert!(std::format!("{error}").contains("(marker ENV2)"), "{error}");
    }

    #[test]
    fn lists_of_variants_that_contradict_each_other_are_refused() {
        let enums = every_kind();
        let counts =
            enums.windows(12).position(|bytes| bytes == [2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let counts = counts.unwrap() + 4;
        let template = 0x100 + counts;
        // Two payload types instead of one, -1, 2^62, one for a unit, and an unknown kind.
        for (place, byte, refused) in [
            (8, 2, Some(("payload types", 22))),
            (15, 0xff, Some(("payload counts", -4))),
            (14, 0x40, Some(("payload types", 22))),
            (0, 1, Some(("payload kinds", 16))),
            (8, 0, Some(("payload types", 22))),
            (21, 9, Some(("payload kinds", 16))),
            (20, 1, None),
            (21, 0, Some(("payload kinds", 16))),
        ] {
            let mut damaged = enums.clone();
            damaged[counts + place] = byte;
            let refused = refused.map(|(field, from)| {
                let at = template as i64 + from;
                std::format!(
                    "template 3: malformed record of the Simple compiler ({field}), at offset {at:#x}"
                )
            });
            let error = Templates::parse(&damaged, 0x100).err();
            assert_eq!(error.map(|error| std::format!("{error}")), refused, "{place} {byte}");
        }
    }

    #[test]
    fn damaged_records_never_panic() {
        let all = every_kind();
        for payload in [ID, &all] {
            let walk = |payload: &[u8]| {
                let Ok(templates) = Templates::parse(payload, 0) else { return };
                for template in templates.iter().flatten() {
                    let record =
                        template.kind.and_then(|k| TemplateRecord::parse(k, template.body));
                    let Some(record) = record else { continue };
                    assert_eq!(record.body.iter().count(), record.body.len());
                    assert_eq!(record.bindings.pairs().count() * 2, record.bindings.len());
                    for variant in record.variants() {
                        assert_eq!(variant.payload.iter().count(), variant.payload.len());
                        assert_eq!(variant.fields.iter().count(), variant.payload.len());
                    }
                }
            };
            cut(payload).for_each(walk);
            flipped(payload).for_each(|(_, damaged)| walk(&damaged));
        }
    }
}

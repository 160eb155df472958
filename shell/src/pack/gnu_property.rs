//! Combines the properties of the linked objects, `.note.gnu.property`: the protections of control flow that all of them
//! support, and the instruction sets that any of them needs.
//!
//! An object without a property supports nothing: one such object clears a property that has to hold for all.
//! Input modules have the notes of [`gnu_property`] in their objects. Properties of other types than those here are left
//! out: they concern executables. The packer's own code holds what they state: its stubs whose address is taken, and those
//! of indirect functions (IFUNC), begin with landing pads.
//!
//! Source: Linux Extensions to gABI, section "Program Property"; System V ABI, supplements for x86-64 (Linux) and aarch64.

use std::collections::BTreeMap;

use ::object::elf::{GNU_PROPERTY_AARCH64_FEATURE_1_AND, GnuPropertyType};
use smf_core::format::ext::gnu_property::{self, Properties, PropertyError};

use super::error::{PackError, Refusals, Result};
use super::machine::Machine;
use super::object::{Object, PROPERTY_SECTION, SectionId};
use super::resolve::Program;

/// How the values of two objects are combined.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// A bit is set if it is set in both.
    And,
    /// A bit is set if it is set in either.
    Or,
    /// A bit is set if it is set in either, and both have the property.
    OrAnd,
}

impl Rule {
    /// The rule for a type; `None` for one that is left out.
    fn of(machine: Machine, kind: u32) -> Option<Self> {
        let kind = GnuPropertyType(kind);
        match machine {
            _ if kind.is_uint32_and() => Some(Self::And),
            _ if kind.is_uint32_or() => Some(Self::Or),
            Machine::X86_64 if kind.is_x86_uint32_and() => Some(Self::And),
            Machine::X86_64 if kind.is_x86_uint32_or() => Some(Self::Or),
            Machine::X86_64 if kind.is_x86_uint32_or_and() => Some(Self::OrAnd),
            Machine::Aarch64 if kind == GNU_PROPERTY_AARCH64_FEATURE_1_AND => Some(Self::And),
            _ => None,
        }
    }

    fn combine(self, one: Option<u32>, other: Option<u32>) -> Option<u32> {
        match (self, one, other) {
            (Self::And, Some(one), Some(other)) => Some(one & other),
            (Self::Or | Self::OrAnd, Some(one), Some(other)) => Some(one | other),
            (Self::Or, one, other) => one.or(other),
            _ => None,
        }
    }
}

/// The values by type.
type Values = BTreeMap<u32, u32>;

/// The payload of the section with the combined properties; `None` without any.
pub(super) fn combine(program: &Program<'_>, refusals: &mut Refusals) -> Option<Vec<u8>> {
    let machine = program.machine();
    let rule = |kind: &u32| Rule::of(machine, *kind);
    let mut combined: Option<Values> = None;
    for (number, object) in program.objects.iter().enumerate() {
        let own = refusals.check(values(program, number, object))?;
        combined = Some(match combined {
            None => own,
            Some(others) => {
                let kinds = others.keys().chain(own.keys());
                let both = kinds.filter_map(|kind| {
                    let (one, other) = (others.get(kind).copied(), own.get(kind).copied());
                    Some((*kind, rule(kind)?.combine(one, other)?))
                });
                both.collect()
            }
        });
    }
    let mut pairs: Vec<_> = combined?.into_iter().collect();
    // No bits are the same as no property, unless that says that none is used.
    pairs.retain(|(kind, value)| *value != 0 || rule(kind) == Some(Rule::OrAnd));
    if pairs.is_empty() { None } else { gnu_property::encode(&pairs).ok().flatten() }
}

/// The values in the notes of an object. Those of one type are united.
fn values(program: &Program<'_>, number: usize, object: &Object<'_>) -> Result<Values> {
    let mut values = Values::new();
    for (section, contents) in object.sections.iter().enumerate() {
        if contents.name != PROPERTY_SECTION {
            continue;
        }
        let place = || program.place(SectionId { object: number, section });
        let malformed = |PropertyError { kind, offset }| PackError::SectionContents {
            place: place(),
            reason: kind.name(),
            offset,
        };
        for property in Properties::new(contents.bytes) {
            let property = property.map_err(malformed)?;
            if Rule::of(object.machine, property.kind).is_some() {
                *values.entry(property.kind).or_default() |=
                    property.number().map_err(malformed)?;
            }
        }
    }
    Ok(values)
}

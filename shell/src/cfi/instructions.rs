//! Where the instructions of functions end, as unwinding tables state it: constants follow in generated code.

use std::collections::BTreeMap;

use addr2line::gimli::{BaseAddresses, CieOrFde, EhFrame, LittleEndian, UnwindSection as _};
use smf_core::format::ext::prelink::Prelink;
use smf_core::format::{SectionKind, Smf};

use super::Place;

/// The end of the instructions of each function, by its start. Empty for a module without unwinding tables whose distances
/// hold in its image. A malformed record ends the list.
pub(super) fn ends(smf: &Smf<'_>, image: Option<&Prelink<'_>>) -> BTreeMap<Place, u64> {
    list(smf, image).unwrap_or_default()
}

fn list(smf: &Smf<'_>, image: Option<&Prelink<'_>>) -> Option<BTreeMap<Place, u64>> {
    let image = image?;
    let table = smf.sections().named(b".eh_frame").filter(|s| s.kind == SectionKind::RoData)?;
    let bases = BaseAddresses::default().set_eh_frame(image.section_offset(table.index)?);
    let section = EhFrame::new(table.data, LittleEndian);
    let mut entries = section.entries(&bases);
    let mut ends = BTreeMap::new();
    while let Ok(Some(entry)) = entries.next() {
        let CieOrFde::Fde(record) = entry else { continue };
        let Ok(record) = record.parse(|_, bases, offset| section.cie_from_offset(bases, offset))
        else {
            break;
        };
        let code = smf.sections().iter().filter(|section| section.kind == SectionKind::Code);
        let place = code.filter_map(|section| {
            let start = image.section_offset(section.index)?;
            let offset = record.initial_address().checked_sub(start)?;
            (offset < section.size).then_some((section.index, offset))
        });
        let Some(place) = place.last() else { continue };
        ends.insert(place, place.1.saturating_add(record.len()));
    }
    Some(ends)
}

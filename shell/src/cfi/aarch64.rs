//! aarch64: `bti`, `paciasp`, and the instructions that compute addresses.

use smf_core::format::{RelocKind, Section};

use super::{Code, Targets};

/// Hints that an indirect call may go to: `bti c`, `bti jc`, `paciasp`, `pacibsp`.
const CALL_PADS: [u32; 4] = [0xd503_245f, 0xd503_24df, 0xd503_233f, 0xd503_237f];

/// `bti j`, which an indirect jump may go to, as `bti jc`.
const BTI_J: u32 = 0xd503_249f;

/// The instructions behind an `adrp` among which its `add` is searched.
const MAX_DISTANCE: usize = 8;

/// Whether a function, or a place in one, begins with a landing pad.
pub(super) fn is_landing_pad(bytes: &[u8], is_function: bool) -> bool {
    let word = bytes.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
    word.is_some_and(|word| CALL_PADS.contains(&word) || (!is_function && word == BTI_J))
}

/// Finds the addresses that the instructions of a section compute: by `adr`, and by `adrp` and `add`.
pub(super) fn scan(code: &Code<'_>, section: &Section<'_>, targets: &mut Targets) {
    let words = section.data.as_chunks().0;
    for (index, word) in words.iter().enumerate() {
        let at = index as u64 * 4;
        let word = u32::from_le_bytes(*word);
        let reloc = code.relocs.get(&(section.index, at));
        let place = match reloc {
            // `add x, x, symbol`; a load of a datum has another opcode.
            Some(reloc) if reloc.kind == RelocKind::Arm64PageOff12 => {
                if is_add(word) {
                    code.target(reloc, reloc.addend)
                } else {
                    None
                }
            }
            Some(_) => None,
            None if is_adr(word) => {
                code.reached(section.index, at.cast_signed().saturating_add(distance_of(word)))
            }
            None if is_adrp(word) => {
                let page = page_of(code, section, at, word);
                let behind = words.iter().skip(index + 1).take(MAX_DISTANCE);
                let mut adds = behind.map(|word| u32::from_le_bytes(*word));
                let add = adds.find(|add| is_add(*add) && (add >> 5 & 31) == (word & 31));
                add.zip(page).and_then(|(add, page)| {
                    code.reached(section.index, page.saturating_add(i64::from(add >> 10 & 0xfff)))
                })
            }
            None => None,
        };
        if let Some(place) = place {
            targets.computed(code, (section.index, at), place);
        }
    }
}

/// The distance of the page that an `adrp` computes from the start of its section.
fn page_of(code: &Code<'_>, section: &Section<'_>, at: u64, word: u32) -> Option<i64> {
    // The start of an image is that of a page, and so is that of a section that is not in an image.
    let start = code.starts.get(&section.index).copied().unwrap_or(0);
    let page = (start.checked_add(at)? & !0xfff).cast_signed();
    let pages = distance_of(word).checked_mul(0x1000)?;
    page.checked_add(pages)?.checked_sub(start.cast_signed())
}

fn is_adr(word: u32) -> bool {
    word & 0x9f00_0000 == 0x1000_0000
}

fn is_adrp(word: u32) -> bool {
    word & 0x9f00_0000 == 0x9000_0000
}

/// `add` of an unshifted number to a register of 64 bits.
fn is_add(word: u32) -> bool {
    word & 0xffc0_0000 == 0x9100_0000
}

/// The signed number of 21 bits in an `adr` or `adrp`.
fn distance_of(word: u32) -> i64 {
    let bits = (word >> 5 & 0x7_ffff) << 2 | word >> 29 & 3;
    i64::from((bits << 11).cast_signed() >> 11)
}

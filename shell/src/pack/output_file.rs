//! The file in the making: the contents of the sections at the offsets that they get, so that they are written once.

use smf_core::format::Header;
use smf_core::format::write::{Module, NewSection, Payload, WriteError};

use super::error::{PackError, Result};
use super::options::Options;
use super::output::OutputSection;

/// The bytes of a file up to the end of its last mapped section.
pub(super) struct OutputFile {
    bytes: Vec<u8>,
    /// The offset and the length of each section.
    sections: Vec<(usize, usize)>,
}

impl OutputFile {
    /// Zeroes for the sections of a module without other sections. Only the native layout, where the table of sections
    /// comes first, moves them.
    /// `more` bytes are expected behind them.
    pub(super) fn new(
        outputs: &[OutputSection],
        options: &Options<'_>,
        more: usize,
    ) -> Result<Self> {
        let usize = |number: u64| usize::try_from(number).map_err(|_| PackError::TooLarge);
        let lens = outputs.iter().map(|output| usize(output.len)).collect::<Result<Vec<_>>>()?;
        let space = |(output, len): (&OutputSection, &usize)| {
            output.new_section(Payload::Space(*len), false)
        };
        let spaces: Vec<_> = outputs.iter().zip(&lens).map(space).collect();
        let module = Module { sections: &spaces, ..module(options) };
        let offset = |index| module.payload_offset(index).ok_or(PackError::TooLarge);
        let offsets = (0..lens.len()).map(|index| usize(offset(index)?));
        let offsets = offsets.collect::<Result<Vec<_>>>()?;
        let sections: Vec<_> = offsets.into_iter().zip(lens).collect();
        let end = sections.iter().map(|(offset, len)| offset.saturating_add(*len)).max();
        let end = end.unwrap_or(0);
        // Zeroed by the kernel.
        let mut bytes = vec![0; end.saturating_add(more)];
        bytes.truncate(end);
        Ok(Self { bytes, sections })
    }

    /// The contents of the sections, to be written.
    pub(super) fn sections(&mut self) -> Vec<&mut [u8]> {
        let mut rest = &mut *self.bytes;
        let mut end = 0;
        let mut parts = Vec::with_capacity(self.sections.len());
        for (offset, len) in &self.sections {
            let gap = offset.saturating_sub(end).min(rest.len());
            let others = rest.split_at_mut(gap).1;
            let (part, others) = others.split_at_mut((*len).min(others.len()));
            (rest, end) = (others, offset.saturating_add(*len));
            parts.push(part);
        }
        parts
    }

    /// The contents of the sections, to be read.
    pub(super) fn contents(&self) -> impl Iterator<Item = &[u8]> {
        let range = |(offset, len): &(usize, usize)| *offset..offset.saturating_add(*len);
        self.sections.iter().map(move |section| self.bytes.get(range(section)).unwrap_or(&[]))
    }

    /// Writes the module around its first sections, whose payload is space where the contents are to stay.
    pub(super) fn finish(mut self, module: Module<'_>) -> Result<Vec<u8>, WriteError> {
        let is_space = |section: &NewSection<'_>| matches!(section.payload, Payload::Space(_));
        let stays = |(index, (offset, _)): (usize, &(usize, usize))| {
            module.sections.get(index).is_some_and(is_space)
                && module.payload_offset(index) == Some(*offset as u64)
        };
        if self.sections.iter().enumerate().all(stays) {
            module.write_around(&mut self.bytes)?;
            return Ok(self.bytes);
        }
        let contents = self.contents().map(Some).chain(std::iter::repeat(None));
        let sections = module.sections.iter().zip(contents).map(|(section, bytes)| match bytes {
            Some(bytes) if is_space(section) => {
                NewSection { payload: Payload::Bytes(bytes), ..*section }
            }
            _ => *section,
        });
        let sections: Vec<_> = sections.collect();
        Module { sections: &sections, ..module }.to_vec()
    }
}

/// A module without sections and symbols.
fn module<'a>(options: &Options<'a>) -> Module<'a> {
    let (layout, stub) = (options.layout, options.stub);
    Module { layout, header: Header::default(), stub, sections: &[], symbols: &[] }
}

#[cfg(test)]
mod tests {
    use smf_core::format::SectionKind;

    use super::*;

    #[test]
    fn contents_are_not_moved_when_the_module_is_written_around_them() {
        let output = |kind, alignment, len| OutputSection {
            name: b".part",
            kind,
            alignment,
            len,
            size: len,
            image: None,
        };
        // Large sections start on pages of the file, where alignments matter.
        let outputs = [
            output(SectionKind::Code, 1, (64 << 10) + 1),
            output(SectionKind::RoData, 8, (64 << 10) + 3),
            output(SectionKind::RoData, 128, 5),
            output(SectionKind::Data, 32, 7),
        ];
        let options = Options::default();
        let mut file = OutputFile::new(&outputs, &options, 1 << 12).unwrap();
        for (number, part) in (1..).zip(file.sections()) {
            part.fill(number);
        }
        let before = file.bytes.as_ptr();
        let sections = outputs
            .each_ref()
            .map(|output| output.new_section(Payload::Space(output.len as usize), false));
        let bytes = file.finish(Module { sections: &sections, ..module(&options) }).unwrap();
        assert_eq!(bytes.as_ptr(), before);
        let parsed = smf_core::format::Smf::parse(&bytes).unwrap();
        for (number, section) in (1..).zip(parsed.sections().iter()) {
            let is_filled = section.data.iter().all(|byte| *byte == number);
            assert!(is_filled && !section.data.is_empty());
        }
    }
}

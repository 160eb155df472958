//! Functions whose blocks go to any block, so that loops overlap and have several entries.

use smf_core::ir::{Binary, Condition, Label, Scalar};

use super::Writer;

/// The number of blocks that run before the function returns.
const BLOCKS: i32 = 24;

impl Writer<'_, '_> {
    pub(super) fn graph(&mut self) {
        let left = self.temporary(Scalar::I64);
        self.builder.constant(Scalar::I64, left, BLOCKS);
        let count = 2 + usize::from(self.source.below(7));
        let labels: Vec<Label> = (0..count).map(|_| self.builder.label()).collect();
        let end = self.builder.label();
        let any = |writer: &mut Self| labels[usize::from(writer.source.byte()) % count];
        for &label in &labels {
            self.builder.bind(label);
            self.builder.binary(Binary::Subtract, Scalar::I64, left, left, 1);
            self.builder.branch(Condition::Less, Scalar::I64, left, 0, end);
            for _ in 0..self.source.below(4) {
                self.simple();
            }
            for _ in 0..self.source.below(3) {
                let target = any(self);
                match self.source.below(3) {
                    0 => self.branch_on_variable(target),
                    _ => self.branch_to(target),
                }
            }
            match self.source.below(4) {
                0 => {
                    let target = any(self);
                    self.builder.jump(target);
                }
                1 => self.leave(),
                _ => {}
            }
        }
        self.builder.bind(end);
        self.leave();
    }
}

//! Random types for tests.

use std::boxed::Box;
use std::string::String;
use std::vec;

use super::term::Type;

/// Deterministic pseudorandom numbers (xorshift64).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    /// A random type of at most `depth` levels.
    pub(super) fn ty(&mut self, depth: u64, variables: bool) -> Type {
        let few = |n: &mut Self| (0..n.below(4)).map(|_| n.ty(depth - 1, variables)).collect();
        match self.below(if depth <= 1 { 6 } else { 12 }) {
            0 => Type::int([8, 16, 32, 64, 128][self.below(5) as usize], self.below(2) == 0),
            1 => Type::Float { bits: [16, 32, 64, 128][self.below(4) as usize] },
            2 => [Type::Bool, Type::Text, Type::Pointer][self.below(3) as usize].clone(),
            3 => Type::from_word(["i8x16", "f32x4", "boolx8"][self.below(3) as usize]).unwrap(),
            4 if variables => Type::Variable(["T", "U", "V"][self.below(3) as usize].into()),
            4 | 5 => Type::Named { name: self.name(), args: vec![] },
            6 | 7 => Type::Named { name: self.name(), args: few(self) },
            8 => Type::Array(Box::new(self.ty(depth - 1, variables))),
            9 => Type::Tuple(few(self)),
            10 => {
                let args = few(self);
                Type::Function { args, result: Box::new(self.ty(depth - 1, variables)) }
            }
            _ => {
                let elem = Box::new(Type::Named { name: self.name(), args: few(self) });
                Type::Simd { lanes: 1 + self.below(64) as u32, elem }
            }
        }
    }

    /// A name that resembles other tokens.
    pub(super) fn name(&mut self) -> Box<str> {
        const PARTS: [&str; 13] =
            ["Vec", "_", "a", "x4", "fn", "i6", "4", "$", ".", "g", "ü", "l", "Int"];
        let mut name = String::new();
        for _ in 0..=self.below(3) {
            name.push_str(PARTS[self.below(13) as usize]);
        }
        name.into()
    }
}

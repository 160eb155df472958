//! The type arguments of an instance.

use super::error::IrError;
use super::types::{Argument, MAX_PARAMETERS, PARAMETER, Scalar, ValueType};

/// An argument for each type parameter of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// By type code: the scalar itself, or the argument for the parameter.
    scalars: [Option<Scalar>; 0x80],
    count: u8,
}

/// The scalars by code.
const SCALARS: [Option<Scalar>; 0x80] = scalars();

#[expect(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, which refuses an index out of bounds"
)]
const fn scalars() -> [Option<Scalar>; 0x80] {
    let mut table = [None; 0x80];
    let mut index = 0;
    while index < Scalar::ALL.len() {
        let scalar = Scalar::ALL[index];
        table[scalar as usize] = Some(scalar);
        index += 1;
    }
    table
}

impl Arguments {
    /// The arguments of a function without type parameters.
    pub const NONE: Self = Self { scalars: SCALARS, count: 0 };

    /// The arguments in the order of the parameters.
    ///
    /// # Errors
    /// [`IrError::Parameters`] for more arguments than a template can have parameters.
    pub fn new(arguments: &[Argument]) -> Result<Self, IrError> {
        let count = u8::try_from(arguments.len()).unwrap_or(u8::MAX);
        if count > MAX_PARAMETERS {
            return Err(IrError::Parameters { count });
        }
        let mut scalars = SCALARS;
        let places = scalars.iter_mut().skip(usize::from(PARAMETER));
        for (place, argument) in places.zip(arguments) {
            *place = match argument {
                Argument::Scalar(scalar) => Some(*scalar),
                Argument::Named => None,
            };
        }
        Ok(Self { scalars, count })
    }

    /// The number of arguments.
    pub fn len(&self) -> u8 {
        self.count
    }

    /// Whether there are no arguments.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The scalar that a type code stands for; `None` for an argument that is no scalar, and for other codes.
    #[inline]
    pub fn scalar(&self, code: u8) -> Option<Scalar> {
        self.scalars.get(usize::from(code)).copied().flatten()
    }

    /// The argument for parameter `index`.
    pub fn get(&self, index: u8) -> Option<Argument> {
        if index >= self.count {
            return None;
        }
        let scalar = self.scalar(ValueType::Parameter(index).code());
        Some(scalar.map_or(Argument::Named, Argument::Scalar))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_stand_where_their_parameters_do() {
        let given = [Argument::Scalar(Scalar::F32), Argument::Named];
        let arguments = Arguments::new(&given).unwrap();
        assert_eq!((arguments.len(), arguments.is_empty()), (2, false));
        assert_eq!([0, 1].map(|index| arguments.get(index).unwrap()), given);
        assert_eq!(arguments.get(2), None);
        assert_eq!(Arguments::new(&[]), Ok(Arguments::NONE));
        assert_eq!(arguments.scalar(Scalar::U16.code()), Some(Scalar::U16));
        assert_eq!(arguments.scalar(0x40), Some(Scalar::F32));
        assert_eq!([0, 0x0d, 0x41, 0x42, 0xff].map(|code| arguments.scalar(code)), [None; 5]);
        let many = [Argument::Named; 65];
        assert_eq!(Arguments::new(&many), Err(IrError::Parameters { count: 65 }));
        assert!(Arguments::new(&many[1..]).is_ok());
    }
}

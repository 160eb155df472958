//! What a template is a template of, in words and numbers.

/// What a template is a template of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemplateKind {
    /// A function.
    Function,
    /// A struct.
    Struct,
    /// A class.
    Class,
    /// An enum.
    Enum,
    /// A trait.
    Trait,
}

impl TemplateKind {
    /// The kind with this number in a file.
    pub fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Function,
            1 => Self::Struct,
            2 => Self::Class,
            3 => Self::Enum,
            4 => Self::Trait,
            _ => return None,
        })
    }

    /// Its number in a file.
    pub fn code(self) -> u8 {
        match self {
            Self::Function => 0,
            Self::Struct => 1,
            Self::Class => 2,
            Self::Enum => 3,
            Self::Trait => 4,
        }
    }

    /// The kind as a word in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Function => "function",
            Self::Struct => "struct",
            Self::Class => "class",
            Self::Enum => "enum",
            Self::Trait => "trait",
        }
    }
}

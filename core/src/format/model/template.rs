//! What a template is a template of, in words and numbers.

named_enum! {
    /// What a template is a template of.
    TemplateKind {
        /// A function.
        Function = "function",
        /// A struct.
        Struct = "struct",
        /// A class.
        Class = "class",
        /// An enum.
        Enum = "enum",
        /// A trait.
        Trait = "trait",
    }
}

impl TemplateKind {
    /// The kind with this number in a file.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// Its number in a file.
    pub fn code(self) -> u8 {
        self as u8
    }
}

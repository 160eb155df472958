//! Kinds of templates.

named_enum! {
    /// The kind of entity that a template generates.
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
}

//! The stable codes of diagnostics.

macro_rules! codes {
    ($($name:ident $text:literal $about:literal,)*) => {
        /// The kind of a diagnostic. The code of a kind does not change between versions.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = $about] $name,)*
        }

        impl Code {
            /// All kinds, by ascending code.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The code as it is printed.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// Whether the lexer or the parser found the error.
            pub(super) fn is_syntax(self) -> bool {
                self.as_str().starts_with("E10") || self.as_str().starts_with("E11")
            }

            /// Whether the cause of an error at `place` is a declaration, or the nesting around it, so that others repeat it.
            pub(super) fn is_of_declaration(self, place: &str) -> bool {
                match self {
                    Self::UnknownField | Self::TooDeep => true,
                    // A type parameter, which has one letter, is missing once in each function.
                    Self::UnknownType => place.len() > 1,
                    Self::UnknownName => place.starts_with(char::is_uppercase),
                    _ => false,
                }
            }

            /// Whether it sums up the errors in front of it.
            pub(super) fn is_summary(self) -> bool {
                matches!(self, Self::TooManyErrors | Self::TooManyUnresolved)
            }
        }
    };
}

codes! {
    TooManyErrors "E1000" "More errors than are reported.",
    UnknownCharacter "E1001" "A character that no token starts with.",
    UnclosedLiteral "E1002" "A text literal or a comment without its end.",
    BadNumber "E1003" "A number that does not fit 64 bits, or that has an unknown suffix.",
    BadIndentation "E1004" "Indentation that fits no open block, or mixes tabs behind blanks.",
    BadEscape "E1005" "An escape sequence without its digits, or whose number no character has.",
    TooLarge "E1006" "A file, function, type or template beyond a limit.",
    Unexpected "E1101" "A token that the grammar has no place for.",
    TooDeep "E1102" "Nesting beyond the limit.",
    Ambiguous "E1103" "An expression that the two parsers of Simple group differently.",
    Refused "E1201" "A construct of Simple that is outside of the subset.",
    UnknownName "E1301" "A name without a declaration.",
    DuplicateName "E1302" "A second declaration of a name.",
    UnknownModule "E1303" "A module that was not given to the compiler.",
    UnknownField "E1304" "A field, method or variant that the type does not have.",
    NotAssignable "E1305" "An assignment to a name or place that is not mutable.",
    BadLabel "E1306" "A label without its loop, `break` outside of a loop, or `return` outside of a function.",
    ImportCycle "E1307" "Modules that import each other.",
    TypeMismatch "E1401" "A value of another type than the one that its position requires.",
    MissingParameterType "E1402" "A parameter without a type.",
    MissingResultType "E1403" "A recursive function without a result type.",
    NoOperation "E1404" "An operation that the types of its operands do not have.",
    BadCall "E1405" "Arguments that do not match the parameters.",
    UnknownType "E1406" "A type name without a declaration, or a wrong number of type arguments.",
    OutOfRange "E1407" "A literal or constant outside of the range of its type.",
    NotConstant "E1408" "An expression that has no value at compile time where one is required.",
    NotExhaustive "E1409" "A match without an arm for some value.",
    BadPattern "E1410" "A pattern that the type of the value cannot have.",
    RecursiveType "E1411" "A type that contains itself by value.",
    Unresolved "E-MONO-032" "A generic call whose type arguments are not known.",
    TooManyUnresolved "E-MONO-033" "The number of generic calls that were left unresolved.",
    Bound "E1502" "A type argument without the operations of its bound.",
    InstanceLimit "E1503" "More or deeper instances than are permitted.",
    UnusedAttribute "W2001" "An attribute without a meaning here.",
    Unreachable "W2002" "A statement that is never reached.",
    OldForm "W2003" "A deprecated spelling.",
}

//! Tests of the front end.

mod random;
mod syntax;

//! The assembler against a decoder, against a naive assembler, and against the processor.
#![cfg(feature = "alloc")]

mod forms;
mod labels;
mod limits;
mod reader;
mod run;

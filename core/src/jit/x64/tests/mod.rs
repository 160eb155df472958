//! The assembler against a decoder, against a naive assembler, and against the processor.

mod forms;
mod labels;
mod reader;
mod run;

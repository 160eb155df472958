//! Compiled code against the interpreter.
use std::vec;
use std::vec::Vec;

use super::*;
use crate::jit::interpret::Alone;
use crate::jit::text;
use crate::jit::verify::FunctionCode;

fn nothing() {}

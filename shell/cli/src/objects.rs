//! Calls of bytecode functions, and values as text.

use std::fmt::{self, Write};

use smf_core::bytecode::objects::{ObjectArena, ObjectHandle, Objects, Value, ValueKind};
use smf_core::bytecode::verify::Kind;
use smf_core::vm::{CallError, Engine};

/// The maximum nesting depth of objects in the text of a value.
const MAX_DEPTH: u32 = 8;

/// The maximum number of values in the text of a value.
const MAX_VALUES: u32 = 10_000;

/// Calls a function with integers. Returns an integer for the exit status, which is 0 for what is no integer or bool, and
/// the text of the result.
pub(crate) fn call(
    engine: &Engine<'_>,
    function: u32,
    args: &[i64],
) -> Result<(i64, String), CallError> {
    let program = engine.program();
    let mut arena = ObjectArena::new();
    let result = if program.compiles(function) {
        let result = engine.call(function, args)?;
        match program.summary(function).map_or(Kind::Nil, |summary| summary.result) {
            Kind::F64 => Value::F64(f64::from_bits(result.cast_unsigned())),
            Kind::Bool => Value::Bool(result != 0),
            Kind::Nil => Value::Nil,
            Kind::I64 | Kind::Value => Value::I64(result),
        }
    } else {
        let args: Vec<_> = args.iter().copied().map(Value::I64).collect();
        engine.call_with(&mut arena, function, &args)?
    };
    let number = match result {
        Value::I64(value) => value,
        Value::Bool(value) => value.into(),
        _ => 0,
    };
    Ok((number, Text::of(&arena, result)))
}

/// The text of a value, while it is written.
struct Text<'a> {
    arena: &'a ObjectArena,
    out: String,
    /// How many values may still be written.
    left: u32,
}

impl<'a> Text<'a> {
    fn of(arena: &'a ObjectArena, value: Value) -> String {
        let mut text = Self { arena, out: String::new(), left: MAX_VALUES };
        // Writing to a string does not fail.
        let _ = match value {
            Value::Object(object) if arena.text(object).is_some() => {
                let bytes = arena.text(object).unwrap_or_default();
                write!(text.out, "{}", String::from_utf8_lossy(bytes))
            }
            value => text.write(value, MAX_DEPTH),
        };
        text.out
    }

    fn write(&mut self, value: Value, depth: u32) -> fmt::Result {
        let Some(left) = self.left.checked_sub(1).filter(|_| depth > 0) else {
            return self.out.write_str("...");
        };
        self.left = left;
        match value {
            Value::Nil => self.out.write_str("nil"),
            Value::Bool(value) => write!(self.out, "{value}"),
            Value::I64(value) => write!(self.out, "{value}"),
            Value::F64(value) => write!(self.out, "{value:?}"),
            Value::Function(index) => write!(self.out, "function {index}"),
            Value::Object(object) => self.write_object(object, depth - 1),
        }
    }

    fn write_object(&mut self, object: ObjectHandle, depth: u32) -> fmt::Result {
        let arena = self.arena;
        if let Some(text) = arena.text(object) {
            return write!(self.out, "{:?}", String::from_utf8_lossy(text));
        }
        if let Some(elements) = arena.elements(object) {
            let (open, close) = match arena.variant(object) {
                Ok(Some(variant)) if variant.type_id == 0 => {
                    (format!("variant {}(", variant.discriminant), ")")
                }
                Ok(Some(variant)) => {
                    (format!("variant {}:{}(", variant.type_id, variant.discriminant), ")")
                }
                _ if arena.kind(object) == Ok(ValueKind::Tuple) => ("(".to_owned(), ")"),
                _ => ("[".to_owned(), "]"),
            };
            self.out.write_str(&open)?;
            for (number, &element) in elements.iter().enumerate() {
                self.separate(number)?;
                self.write(element, depth)?;
            }
            return self.out.write_str(close);
        }
        match arena.kind(object) {
            Ok(ValueKind::Dict) => {
                self.out.write_char('{')?;
                for (number, (key, value)) in arena.pairs(object).enumerate() {
                    self.separate(number)?;
                    self.write(key, depth)?;
                    self.out.write_str(": ")?;
                    self.write(value, depth)?;
                }
                self.out.write_char('}')
            }
            Ok(kind) => write!(self.out, "{kind}"),
            Err(error) => write!(self.out, "{error}"),
        }
    }

    fn separate(&mut self, number: usize) -> fmt::Result {
        if number == 0 { Ok(()) } else { self.out.write_str(", ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_text() {
        let mut arena = ObjectArena::new();
        let text = arena.new_string(b"a\"b").unwrap();
        let tuple = arena.new_tuple(&[Value::Nil, Value::Bool(true), Value::Object(text)]).unwrap();
        let array = arena.new_array(0, &[Value::F64(1.0), Value::Object(tuple)]).unwrap();
        assert_eq!(Text::of(&arena, Value::Object(array)), r#"[1.0, (nil, true, "a\"b")]"#);
        assert_eq!(Text::of(&arena, Value::Object(text)), "a\"b");
        let dict = arena.new_dict(&[Value::I64(1), Value::Object(text)]).unwrap();
        assert_eq!(Text::of(&arena, Value::Object(dict)), r#"{1: "a\"b"}"#);
        arena.append(array, Value::Object(array)).unwrap();
        assert!(Text::of(&arena, Value::Object(array)).contains("..."));
        let block = arena.new_block(16, 0).unwrap();
        assert_eq!(Text::of(&arena, Value::Object(block)), "a block");
    }
}

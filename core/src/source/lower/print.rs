//! `print`, `eprint` and `print_raw`: calls of the host for each value.
//!
//! | symbol | argument |
//! |---|---|
//! | `rt_print_i64` | i64; narrower signed integers are widened |
//! | `rt_print_u64` | u64; narrower unsigned integers are widened |
//! | `rt_print_f64` | f64 |
//! | `rt_print_f32` | f32 |
//! | `rt_print_bool` | bool |
//! | `rt_print_text` | address, length in bytes as i64 |
//!
//! `eprint` calls `rt_eprint_i64` and so on. Values are separated by a blank; `print` and `eprint` end the line. All values are
//! computed before the first is printed: what they print themselves comes before, and a trap leaves no half line.

use core::ops::Range;

use super::*;

/// What is to be printed.
#[derive(Default)]
struct Line {
    is_error: bool,
    /// The literal parts, gathered so that there are few calls.
    text: Vec<u8>,
    values: Vec<Printed>,
}

/// A value to be printed.
struct Printed {
    /// The number of bytes of literal parts before it.
    at: usize,
    symbol: &'static str,
    value: Local,
    /// Of a text.
    length: Option<Local>,
}

impl Body<'_, '_, '_> {
    pub(super) fn print(&mut self, name: Name, arguments: List) {
        let (tree, text) = (self.tree, self.name(name));
        if self.has_names(format_args!("`{text}`"), arguments) {
            return;
        }
        let mut line = Line { is_error: name == Name::EPRINT, ..Line::default() };
        let last = tree.entries(&tree.arguments, arguments).last().map(|argument| argument.value);
        for (index, argument) in tree.entries(&tree.arguments, arguments).enumerate() {
            if index > 0 {
                self.add_bytes(&mut line.text, b" ");
            }
            self.add_value(argument.value, last.unwrap_or(argument.value), &mut line);
        }
        if name != Name::PRINT_RAW {
            self.add_bytes(&mut line.text, b"\n");
        }
        self.print_line(&line);
    }

    fn add_bytes(&mut self, text: &mut Vec<u8>, bytes: &[u8]) {
        let added = bytes.iter().try_for_each(|&byte| try_push(text, byte));
        self.program().diagnostics.allocated(added);
    }

    fn print_line(&mut self, line: &Line) {
        let mut from = 0;
        for Printed { at, symbol, value, length } in &line.values {
            self.print_text(line, from..*at);
            match length {
                Some(length) => self.builder.call_host(symbol, None, &[*value, *length]),
                None => self.builder.call_host(symbol, None, &[*value]),
            }
            from = *at;
        }
        self.print_text(line, from..line.text.len());
    }

    fn print_text(&mut self, line: &Line, range: Range<usize>) {
        let Some(text) = line.text.get(range).filter(|text| !text.is_empty()) else { return };
        if let Value::Pair(pointer, length) = self.text_bytes(text).value {
            let symbol = if line.is_error { "rt_eprint_text" } else { "rt_print_text" };
            self.builder.call_host(symbol, None, &[pointer, length]);
        }
    }

    /// Computes a value; `last` is the last argument.
    fn add_value(&mut self, id: ExprId, last: ExprId, line: &mut Line) {
        let tree = self.tree;
        match tree.expr(id).kind {
            ExprKind::Text(number) => self.add_bytes(&mut line.text, tree.text(number)),
            ExprKind::Interpolation(parts) => {
                for &part in tree.list(parts) {
                    self.add_value(ExprId(part), last, line);
                }
            }
            _ => {
                let value = self.expr(id, Want::NOTHING);
                let value = self.settle(value);
                let value = self.stable(value, id, last);
                let printed = self.printed(value, line, self.span(id));
                let pushed = printed.map_or(Ok(()), |value| try_push(&mut line.values, value));
                self.program().diagnostics.allocated(pushed);
            }
        }
    }

    /// The call that prints a value; `None` after an error.
    fn printed(&mut self, value: Typed, line: &Line, span: Span) -> Option<Printed> {
        let at = line.text.len();
        if value.ty.fits_all() {
            return None;
        }
        if self.is_template && self.unit.program.types.has_params(value.ty) {
            self.opaque();
            return None;
        }
        if let Value::Pair(pointer, length) = value.value
            && value.ty == TypeId::TEXT
        {
            let symbol = if line.is_error { "rt_eprint_text" } else { "rt_print_text" };
            return Some(Printed { at, symbol, value: pointer, length: Some(length) });
        }
        let (ty, symbols) = match self.scalar(value.ty) {
            Some(Scalar::F64) => (TypeId::F64, ["rt_print_f64", "rt_eprint_f64"]),
            Some(Scalar::F32) => (TypeId::F32, ["rt_print_f32", "rt_eprint_f32"]),
            Some(Scalar::Bool) => (TypeId::BOOL, ["rt_print_bool", "rt_eprint_bool"]),
            Some(scalar) if scalar.is_signed() => (TypeId::I64, ["rt_print_i64", "rt_eprint_i64"]),
            Some(_) => (TypeId::U64, ["rt_print_u64", "rt_eprint_u64"]),
            None => {
                let text = self.type_text(value.ty);
                let message = format_args!(
                    "printing a value of `{text}` is not supported: print its numbers"
                );
                self.error(span, Code::Refused, message);
                return None;
            }
        };
        let value = self.convert(value, ty);
        let [out, err] = symbols;
        let symbol = if line.is_error { err } else { out };
        Some(Printed { at, symbol, value: self.local_of(value), length: None })
    }
}

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
//! `eprint` calls `rt_eprint_i64` and so on. Values are separated by a blank; `print` and `eprint` end the line.

use super::*;

impl Body<'_, '_, '_> {
    pub(super) fn print(&mut self, name: Name, arguments: List, span: Span) {
        let tree = self.tree;
        let is_error = name == Name::EPRINT;
        // Literal parts are gathered, so that there are few calls.
        let mut pending = Vec::new();
        for (index, argument) in tree.entries(&tree.arguments, arguments).enumerate() {
            if argument.name.is_some() {
                let message = format_args!("`print` has no named arguments");
                self.error(span, Code::BadCall, message);
            }
            if index > 0 {
                self.add_bytes(&mut pending, b" ");
            }
            self.print_value(argument.value, is_error, &mut pending);
        }
        if name != Name::PRINT_RAW {
            self.add_bytes(&mut pending, b"\n");
        }
        self.flush(is_error, &mut pending);
    }

    fn add_bytes(&mut self, pending: &mut Vec<u8>, bytes: &[u8]) {
        let added = bytes.iter().try_for_each(|&byte| try_push(pending, byte));
        self.program().diagnostics.allocated(added);
    }

    fn flush(&mut self, is_error: bool, pending: &mut Vec<u8>) {
        if pending.is_empty() {
            return;
        }
        if let Value::Pair(pointer, length) = self.text_bytes(pending).value {
            let symbol = if is_error { "rt_eprint_text" } else { "rt_print_text" };
            self.builder.call_host(symbol, None, &[pointer, length]);
        }
        pending.clear();
    }

    fn print_value(&mut self, id: ExprId, is_error: bool, pending: &mut Vec<u8>) {
        let tree = self.tree;
        match tree.expr(id).kind {
            ExprKind::Text(number) => self.add_bytes(pending, tree.text(number)),
            ExprKind::Interpolation(parts) => {
                for &part in tree.list(parts) {
                    self.print_value(ExprId(part), is_error, pending);
                }
            }
            _ => {
                let value = self.expr(id, Want::NOTHING);
                let value = self.settle(value);
                self.flush(is_error, pending);
                self.print_typed(value, is_error, self.span(id));
            }
        }
    }

    fn print_typed(&mut self, value: Typed, is_error: bool, span: Span) {
        if value.ty.fits_all() {
            return;
        }
        if self.is_template && self.unit.program.types.has_params(value.ty) {
            self.opaque();
            return;
        }
        if let Value::Pair(pointer, length) = value.value
            && value.ty == TypeId::TEXT
        {
            let symbol = if is_error { "rt_eprint_text" } else { "rt_print_text" };
            return self.builder.call_host(symbol, None, &[pointer, length]);
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
                return;
            }
        };
        let value = self.convert(value, ty);
        let local = self.local_of(value);
        let [out, err] = symbols;
        self.builder.call_host(if is_error { err } else { out }, None, &[local]);
    }
}

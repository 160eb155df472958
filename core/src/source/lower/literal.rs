//! Literals: numbers, texts and constants.

use super::*;

impl Body<'_, '_, '_> {
    /// An integer literal; one with a suffix has to fit its type.
    pub(super) fn integer_literal(&mut self, number: i128, suffix: Suffix, span: Span) -> Typed {
        let literal = integer_literal(number, suffix);
        if let (None, Some(scalar)) = (literal, suffix) {
            let message = format_args!("the number does not fit `{}`", scalar.name());
            return self.error(span, Code::OutOfRange, message);
        }
        literal.map_or(Typed::ERROR, |literal| self.evaluated(literal))
    }

    /// A text literal: its bytes are read-only data of the function.
    pub(super) fn text_of(&mut self, tree: &Tree, number: u32) -> Typed {
        self.text_bytes(tree.text(number))
    }

    pub(super) fn text_bytes(&mut self, bytes: &[u8]) -> Typed {
        let data = self.builder.data(bytes, 1);
        let pointer = self.builder.local(Scalar::Pointer);
        self.builder.data_address(pointer, data, 0);
        let len = self.builder.local(Scalar::I64);
        let count = i128::try_from(bytes.len()).unwrap_or(0);
        self.set_number(Scalar::I64.into(), len, count);
        Typed::new(TypeId::TEXT, Value::Pair(pointer, len))
    }

    /// The value of a declared constant.
    pub(super) fn constant(&mut self, number: u32, want: Want, span: Span) -> Typed {
        let Some(&info) = at(&self.unit.program.consts, number) else { return Typed::ERROR };
        if let Some(evaluated) = self.program().constant(number) {
            return self.evaluated(evaluated);
        }
        if let Some(value) = self.constant_in_data(number, want) {
            let declared = info.decl.ty.map(|ty| self.program().resolve(info.source, ty, &[]));
            return declared.map_or(value, |declared| self.coerce(value, declared, span));
        }
        self.written_constant(number, want, span)
    }

    /// An array or tuple that lies in read-only data, from where its parts are read, while there are few enough of them.
    fn constant_in_data(&mut self, number: u32, want: Want) -> Option<Typed> {
        let data = self.unit.constant_data(number)?;
        let (ty, align) = (data.ty, data.align);
        let has_type = at(&self.unit.program.consts, number)?.decl.ty.is_some();
        let element = |ty| self.unit.program.types.part(ty, 0);
        let fits =
            |want| want == ty || self.head(want) == Head::View && element(want) == element(ty);
        if !has_type && !want.ty.is_none_or(fits) {
            // Its literals take another type.
            return None;
        }
        let known = self.data.iter().find(|known| known.0 == number).map(|known| known.1);
        let data = match known {
            Some(data) => data,
            None => {
                let size = self.unit.constant_data(number)?.bytes.len();
                self.unit.data_left = self.unit.data_left.checked_sub(size)?;
                let bytes = &self.unit.constant_data(number)?.bytes;
                let data = self.builder.data(bytes, align);
                self.push(|body| &mut body.data, (number, data));
                data
            }
        };
        let pointer = self.builder.local(Scalar::Pointer);
        self.builder.data_address(pointer, data, 0);
        Some(Typed::new(ty, Value::Place(Place::at(Base::Pointer(pointer)))))
    }

    /// An array or struct of constants, written out where it is used.
    pub(super) fn written_constant(&mut self, number: u32, want: Want, span: Span) -> Typed {
        let Some(&info) = at(&self.unit.program.consts, number) else { return Typed::ERROR };
        if self.depth >= MAX_DEPTH / 2 {
            return self.error(span, Code::NotConstant, format_args!("not a constant"));
        }
        if !self.program().begin_lowering(number) {
            return Typed::ERROR;
        }
        let errors = self.unit.program.diagnostics.error_count();
        let ty = info.decl.ty.map(|ty| self.program().resolve(info.source, ty, &[]));
        let want = Want { ty: ty.or(want.ty), ..want };
        let mut value = Typed::ERROR;
        self.elsewhere((info.source, None), |body| {
            let typed = body.expr(info.decl.value, want);
            value = match ty {
                Some(ty) => body.coerce(typed, ty, body.span(info.decl.value)),
                None => body.settle(typed),
            };
        });
        self.program().end_lowering(number, errors);
        value
    }

    /// A value that is known at compile time.
    pub(super) fn evaluated(&mut self, evaluated: Evaluated) -> Typed {
        let value = match evaluated.value {
            ConstValue::Integer(number) => Value::Number(number),
            ConstValue::Bool(value) => Value::Number(value.into()),
            ConstValue::Float(value) => Value::Float(value),
            ConstValue::Text(source, number) => {
                let Some(source) = self.unit.program.source(source) else { return Typed::ERROR };
                return self.text_of(&source.tree, number);
            }
        };
        let typed = Typed::new(evaluated.ty, value);
        Typed { flexible: evaluated.is_flexible, ..typed }
    }
}

//! An interpreter of bytecode on objects that is slow and simple: values are reference-counted, dictionaries are lists,
//! and a call of a function is a call.

use std::cell::RefCell;
use std::rc::Rc;

use smf_core::bytecode::instruction::{Instruction as I, Instructions};
use smf_core::bytecode::objects::{Value, ValueError, ValueKind};
use smf_core::bytecode::verify::FunctionCode;
use smf_core::format::constants::{Constant, Constants};
use smf_core::trap::bytecode::{Cause, Trap};

/// A value.
#[derive(Clone, Debug)]
enum V {
    Nil,
    Bool(bool),
    I64(i64),
    F64(f64),
    Function(u32),
    Array(Rc<RefCell<Vec<V>>>),
    Tuple(Rc<Vec<V>>),
    Dict(Rc<RefCell<Vec<(V, V)>>>),
    Text(Rc<Vec<u8>>),
    Variant(Rc<(u32, u32, Vec<V>)>),
    Block(Rc<RefCell<Vec<V>>>),
}

impl V {
    fn of(value: Value) -> Self {
        match value {
            Value::Nil => V::Nil,
            Value::Bool(value) => V::Bool(value),
            Value::I64(value) => V::I64(value),
            Value::F64(value) => V::F64(value),
            Value::Function(index) => V::Function(index),
            Value::Object(_) => panic!("arguments are no objects"),
        }
    }

    /// The kind, as errors of an operation that looks at the object name it.
    fn kind(&self) -> ValueKind {
        match self {
            V::Nil => ValueKind::Nil,
            V::Bool(_) => ValueKind::Bool,
            V::I64(_) => ValueKind::I64,
            V::F64(_) => ValueKind::F64,
            V::Function(_) => ValueKind::Function,
            V::Array(_) => ValueKind::Array,
            V::Tuple(_) => ValueKind::Tuple,
            V::Dict(_) => ValueKind::Dict,
            V::Text(_) => ValueKind::Text,
            V::Variant(_) => ValueKind::Variant,
            V::Block(_) => ValueKind::Block,
        }
    }

    fn is_object(&self) -> bool {
        !matches!(self, V::Nil | V::Bool(_) | V::I64(_) | V::F64(_) | V::Function(_))
    }

    /// An error that does not look at an object.
    fn shallow(&self, needed: ValueKind) -> Cause {
        let found = if self.is_object() { ValueKind::Object } else { self.kind() };
        ValueError::WrongKind { needed, found }.into()
    }

    /// An error that does.
    fn wrong(&self, needed: ValueKind) -> Cause {
        ValueError::WrongKind { needed, found: self.kind() }.into()
    }

    fn int(&self) -> Result<i64, Cause> {
        if let V::I64(value) = self { Ok(*value) } else { Err(self.shallow(ValueKind::I64)) }
    }

    fn float(&self) -> Result<f64, Cause> {
        if let V::F64(value) = self { Ok(*value) } else { Err(self.shallow(ValueKind::F64)) }
    }

    fn bool(&self) -> Result<bool, Cause> {
        if let V::Bool(value) = self { Ok(*value) } else { Err(self.shallow(ValueKind::Bool)) }
    }

    fn number(&self) -> Result<f64, Cause> {
        match self {
            V::I64(value) => Ok(*value as f64),
            V::F64(value) => Ok(*value),
            other => Err(other.shallow(ValueKind::Number)),
        }
    }

    fn equals(&self, other: &V) -> bool {
        match (self, other) {
            (V::Nil, V::Nil) => true,
            (V::Bool(one), V::Bool(two)) => one == two,
            (V::I64(one), V::I64(two)) => one == two,
            (V::I64(_) | V::F64(_), V::I64(_) | V::F64(_)) => {
                self.number().unwrap() == other.number().unwrap()
            }
            (V::Function(one), V::Function(two)) => one == two,
            (V::Text(one), V::Text(two)) => one == two,
            (V::Array(one), V::Array(two)) | (V::Block(one), V::Block(two)) => Rc::ptr_eq(one, two),
            (V::Tuple(one), V::Tuple(two)) => Rc::ptr_eq(one, two),
            (V::Dict(one), V::Dict(two)) => Rc::ptr_eq(one, two),
            (V::Variant(one), V::Variant(two)) => Rc::ptr_eq(one, two),
            _ => false,
        }
    }

    fn less(&self, other: &V) -> Result<std::cmp::Ordering, Option<Cause>> {
        if let (V::I64(one), V::I64(two)) = (self, other) {
            return Ok(one.cmp(two));
        }
        let (one, two) = (self.number().map_err(Some)?, other.number().map_err(Some)?);
        one.partial_cmp(&two).ok_or(None)
    }

    /// Whether it may be a key, and if so whether `other`, a key, is the same.
    fn same_key(&self, other: &V) -> bool {
        match (self, other) {
            (V::F64(one), V::F64(two)) => one == two || one.to_bits() == two.to_bits(),
            (V::I64(_), V::F64(_)) | (V::F64(_), V::I64(_)) => false,
            (one, two) => one.equals(two),
        }
    }

    fn check_key(&self) -> Result<(), Cause> {
        match self {
            V::Bool(_) | V::I64(_) | V::F64(_) | V::Function(_) | V::Text(_) => Ok(()),
            other => Err(other.wrong(ValueKind::Key)),
        }
    }

    /// The text of the value, as that of the loader's objects.
    fn text(&self, depth: u32) -> String {
        let elements: Vec<V> = match self {
            V::Nil => return "Nil".to_owned(),
            V::Bool(value) => return format!("Bool({value})"),
            V::I64(value) => return format!("I64({value})"),
            V::F64(value) => return format!("F64({value:?})"),
            V::Function(index) => return format!("Function({index})"),
            V::Text(text) => return format!("Text({text:?})"),
            V::Array(elements) => elements.borrow().clone(),
            V::Tuple(elements) => elements.to_vec(),
            V::Dict(pairs) => pairs
                .borrow()
                .iter()
                .flat_map(|(key, value)| [key.clone(), value.clone()])
                .collect(),
            V::Variant(variant) => variant.2.clone(),
            V::Block(_) => Vec::new(),
        };
        let Some(depth) = depth.checked_sub(1) else { return "...".to_owned() };
        let variant = match self {
            V::Variant(variant) => format!(" {}:{}", variant.0, variant.1),
            _ => String::new(),
        };
        let elements: Vec<_> = elements.iter().map(|element| element.text(depth)).collect();
        format!("{}{variant}[{}]", self.kind(), elements.join(", "))
    }
}

fn out_of_range() -> Cause {
    ValueError::IndexOutOfRange.into()
}

/// The position of an index, which may count from the end.
fn position(index: i64, length: usize) -> Result<usize, Cause> {
    let length = i64::try_from(length).unwrap();
    let index = if index < 0 { index.checked_add(length).unwrap_or(-1) } else { index };
    if (0..length).contains(&index) {
        Ok(usize::try_from(index).unwrap())
    } else {
        Err(out_of_range())
    }
}

fn get(collection: &V, index: &V) -> Result<V, Cause> {
    match collection {
        V::Array(elements) => {
            let elements = elements.borrow();
            Ok(elements[position(index.int()?, elements.len())?].clone())
        }
        V::Tuple(elements) => {
            let index = usize::try_from(index.int()?).map_err(|_| out_of_range())?;
            elements.get(index).cloned().ok_or(out_of_range())
        }
        V::Dict(pairs) => {
            index.check_key()?;
            let pairs = pairs.borrow();
            let found = pairs.iter().find(|(key, _)| key.same_key(index));
            Ok(found.map_or(V::Nil, |(_, value)| value.clone()))
        }
        V::Text(text) => {
            let index = usize::try_from(index.int()?).map_err(|_| out_of_range())?;
            let text = String::from_utf8(text.to_vec()).map_err(|_| out_of_range())?;
            let character = text.chars().nth(index).ok_or(out_of_range())?;
            Ok(V::Text(Rc::new(character.to_string().into_bytes())))
        }
        other if other.is_object() => Err(other.wrong(ValueKind::Collection)),
        other => Err(other.shallow(ValueKind::Collection)),
    }
}

fn set(collection: &V, index: &V, value: V) -> Result<(), Cause> {
    match collection {
        V::Array(elements) => {
            let length = elements.borrow().len();
            let position = position(index.int()?, length)?;
            elements.borrow_mut()[position] = value;
        }
        V::Dict(pairs) => {
            index.check_key()?;
            let mut pairs = pairs.borrow_mut();
            match pairs.iter_mut().find(|(key, _)| key.same_key(index)) {
                Some((_, place)) => *place = value,
                None => pairs.push((index.clone(), value)),
            }
        }
        other => return Err(other.wrong(ValueKind::Array)),
    }
    Ok(())
}

fn slice(collection: &V, start: &V, end: &V) -> Result<V, Cause> {
    if !collection.is_object() {
        return Err(collection.shallow(ValueKind::Array));
    }
    let (start, end) = (start.int()?, end.int()?);
    let range = |length: usize| {
        let length = i64::try_from(length).unwrap();
        let bound = |index: i64| {
            (if index < 0 { index.saturating_add(length) } else { index }).clamp(0, length)
        };
        let (start, end) = (bound(start), bound(end).max(bound(start)));
        usize::try_from(start).unwrap()..usize::try_from(end).unwrap()
    };
    match collection {
        V::Array(elements) => {
            let elements = elements.borrow();
            Ok(V::Array(Rc::new(RefCell::new(elements[range(elements.len())].to_vec()))))
        }
        V::Text(text) => Ok(V::Text(Rc::new(text[range(text.len())].to_vec()))),
        other => Err(other.wrong(ValueKind::Array)),
    }
}

/// The value of a cell of a block.
fn cell(block: &V, offset: u32, store: Option<V>) -> Result<V, Cause> {
    let V::Block(cells) = block else { return Err(block.wrong(ValueKind::Block)) };
    let mut cells = cells.borrow_mut();
    let index = usize::try_from(offset / 8).unwrap();
    if !offset.is_multiple_of(8) || index >= cells.len() {
        return Err(out_of_range());
    }
    if let Some(value) = store {
        cells[index] = value;
    }
    Ok(cells[index].clone())
}

/// A program.
pub(super) struct Naive<'c> {
    functions: &'c [FunctionCode<'c>],
    constants: Constants<'c>,
}

struct Activation {
    locals: Vec<V>,
    stack: Vec<V>,
}

impl Activation {
    fn pop(&mut self) -> V {
        self.stack.pop().expect("the verifier has counted")
    }

    fn pop_many(&mut self, count: u16) -> Vec<V> {
        self.stack.split_off(self.stack.len() - usize::from(count))
    }

    fn slot(&self, slot: u16) -> &V {
        &self.stack[usize::from(slot)]
    }

    fn write(&mut self, slot: u16, value: V) {
        let slot = usize::from(slot);
        if slot >= self.stack.len() {
            self.stack.resize(slot + 1, V::Nil);
        }
        self.stack[slot] = value;
    }
}

enum Next {
    Follows,
    Jumps,
    Returns(V),
    Calls(u32, Vec<V>),
    TailCalls(u32, Vec<V>),
}

impl<'c> Naive<'c> {
    pub(super) fn new(functions: &'c [FunctionCode<'c>], constants: Constants<'c>) -> Self {
        Self { functions, constants }
    }

    /// The result of a function as text.
    pub(super) fn call(&self, function: u32, args: &[Value], depth: u32) -> Result<String, Trap> {
        let args = args.iter().map(|&arg| V::of(arg)).collect();
        self.run(function, args).map(|value| value.text(depth))
    }

    fn run(&self, mut function: u32, mut locals: Vec<V>) -> Result<V, Trap> {
        'function: loop {
            let code = self.functions[usize::try_from(function).unwrap()];
            locals.resize(code.locals.into(), V::Nil);
            let mut activation = Activation { locals, stack: Vec::new() };
            let mut at = 0;
            while usize::try_from(at).unwrap() < code.code.len() {
                let rest = &code.code[usize::try_from(at).unwrap()..];
                let (_, instruction) = Instructions::new(rest).next().unwrap().unwrap();
                let trap = |cause| Trap { cause, function, at };
                let next = self.step(&mut activation, instruction).map_err(trap)?;
                let behind = at + instruction.size();
                match next {
                    Next::Follows => at = behind,
                    Next::Jumps => {
                        at = behind.checked_add_signed(instruction.jump_offset().unwrap()).unwrap();
                    }
                    Next::Returns(value) => return Ok(value),
                    Next::Calls(callee, args) => {
                        let result = self.run(callee, args)?;
                        activation.stack.push(result);
                        at = behind;
                    }
                    Next::TailCalls(callee, args) => {
                        (function, locals) = (callee, args);
                        continue 'function;
                    }
                }
            }
            return Ok(activation.pop());
        }
    }

    fn step(&self, a: &mut Activation, instruction: I) -> Result<Next, Cause> {
        let jump = |jumps| Ok(if jumps { Next::Jumps } else { Next::Follows });
        match instruction {
            I::ConstI64 { dest, value } => a.write(dest, V::I64(value)),
            I::ConstF64 { dest, bits } => a.write(dest, V::F64(f64::from_bits(bits))),
            I::ConstTrue { dest } => a.write(dest, V::Bool(true)),
            I::ConstFalse { dest } => a.write(dest, V::Bool(false)),
            I::ConstNone { dest } | I::ConstUnit { dest } => a.write(dest, V::Nil),
            I::LoadConst { dest, index } | I::LoadString { dest, index } => {
                let value = match self.constants.get(index).unwrap() {
                    Constant::I64(value) => V::I64(value),
                    Constant::F64(bits) => V::F64(f64::from_bits(bits)),
                    Constant::Bool(value) => V::Bool(value),
                    Constant::Nil => V::Nil,
                    Constant::Text(text) => V::Text(Rc::new(text.to_vec())),
                };
                a.write(dest, value);
            }
            I::Push { src } => a.stack.push(a.slot(src).clone()),
            I::Pop { dest } => {
                let value = a.pop();
                a.write(dest, value);
            }
            I::Dup { src, dest } => a.write(dest, a.slot(src).clone()),
            I::Swap { a: one, b: two } => a.stack.swap(one.into(), two.into()),
            I::Load { dest, local } => a.write(dest, a.locals[usize::from(local)].clone()),
            I::Store { local, src } => a.locals[usize::from(local)] = a.slot(src).clone(),
            I::ConstI64Push { value } => a.stack.push(V::I64(value)),
            I::LoadPush { local } => a.stack.push(a.locals[usize::from(local)].clone()),
            I::PopStore { local } => a.locals[usize::from(local)] = a.pop(),
            I::Jmp { .. } => return Ok(Next::Jumps),
            I::JmpIf { .. } => return jump(a.pop().bool()?),
            I::JmpIfNot { .. } => return jump(!a.pop().bool()?),
            I::LtJmpIfNot { .. } => {
                let (right, left) = (a.pop(), a.pop());
                return jump(!compare(&left, &right, |order| order.is_lt())?);
            }
            I::EqJmpIfNot { .. } => {
                let (right, left) = (a.pop(), a.pop());
                return jump(!left.equals(&right));
            }
            I::Call { function, argc } => return Ok(Next::Calls(function, a.pop_many(argc))),
            I::TailCall { function, argc } => {
                return Ok(Next::TailCalls(function, a.pop_many(argc)));
            }
            I::CallIndirect { argc } => {
                let callee = match a.pop() {
                    V::Function(index) => Ok(index),
                    V::I64(index) => u32::try_from(index).map_err(|_| ValueError::NoFunction),
                    other => return Err(other.shallow(ValueKind::Function)),
                }?;
                let function = self.functions.get(usize::try_from(callee).unwrap());
                if function.ok_or(ValueError::NoFunction)?.params != argc {
                    return Err(ValueError::Arguments.into());
                }
                return Ok(Next::Calls(callee, a.pop_many(argc)));
            }
            I::CallSffi { argc, .. } => {
                let args = a.pop_many(argc);
                let args: Result<Vec<i64>, Cause> = args.iter().map(V::int).collect();
                a.stack.push(V::I64(super::super::mix(&args?)));
            }
            I::CallRuntime { argc, .. } => {
                let args = a.pop_many(argc);
                let result = match args.as_slice() {
                    [_, V::Nil, _] => return Err(Cause::Host(77)),
                    [] => V::Function(0),
                    _ => V::Tuple(Rc::new(args)),
                };
                a.stack.push(result);
            }
            I::Ret { src } => return Ok(Next::Returns(a.slot(src).clone())),
            I::RetVoid => return Ok(Next::Returns(V::Nil)),
            instruction => self.compute(a, instruction)?,
        }
        Ok(Next::Follows)
    }

    fn compute(&self, a: &mut Activation, instruction: I) -> Result<(), Cause> {
        let result = match instruction {
            I::NegI64 => V::I64(a.pop().int()?.wrapping_neg()),
            I::Not => V::Bool(!a.pop().bool()?),
            I::AddI64Pop { dest } | I::SubI64Pop { dest } | I::MulI64Pop { dest } => {
                let (right, left) = (a.pop(), a.pop());
                let (left, right) = (left.int()?, right.int()?);
                let value = match instruction {
                    I::AddI64Pop { .. } => left.wrapping_add(right),
                    I::SubI64Pop { .. } => left.wrapping_sub(right),
                    _ => left.wrapping_mul(right),
                };
                a.write(dest, V::I64(value));
                return Ok(());
            }
            I::AddI64 | I::SubI64 | I::MulI64 | I::DivI64 | I::ModI64 => {
                let (right, left) = (a.pop(), a.pop());
                let (left, right) = (left.int()?, right.int()?);
                V::I64(match instruction {
                    I::AddI64 => left.wrapping_add(right),
                    I::SubI64 => left.wrapping_sub(right),
                    I::MulI64 => left.wrapping_mul(right),
                    _ if right == 0 => return Err(Cause::DivisionByZero),
                    I::DivI64 => left.wrapping_div(right),
                    _ => left.wrapping_rem(right),
                })
            }
            I::AddF64 | I::SubF64 | I::MulF64 | I::DivF64 => {
                let (right, left) = (a.pop(), a.pop());
                let (left, right) = (left.float()?, right.float()?);
                V::F64(match instruction {
                    I::AddF64 => left + right,
                    I::SubF64 => left - right,
                    I::MulF64 => left * right,
                    _ => left / right,
                })
            }
            I::And | I::Or => {
                let (right, left) = (a.pop(), a.pop());
                let (left, right) = (left.bool()?, right.bool()?);
                V::Bool(if instruction == I::And { left && right } else { left || right })
            }
            I::Eq | I::Ne => {
                let (right, left) = (a.pop(), a.pop());
                V::Bool(left.equals(&right) == (instruction == I::Eq))
            }
            I::Lt | I::Le | I::Gt | I::Ge => {
                let (right, left) = (a.pop(), a.pop());
                V::Bool(compare(&left, &right, |order| match instruction {
                    I::Lt => order.is_lt(),
                    I::Le => order.is_le(),
                    I::Gt => order.is_gt(),
                    _ => order.is_ge(),
                })?)
            }
            instruction => return self.object(a, instruction),
        };
        a.stack.push(result);
        Ok(())
    }

    fn object(&self, a: &mut Activation, instruction: I) -> Result<(), Cause> {
        let (dest, value) = match instruction {
            I::ArrayLit { dest, count, .. } => {
                (dest, V::Array(Rc::new(RefCell::new(a.pop_many(count)))))
            }
            I::TupleLit { dest, count } => (dest, V::Tuple(Rc::new(a.pop_many(count)))),
            I::DictLit { dest, count } => {
                let pairs = a.pop_many(2 * count);
                let dict = V::Dict(Rc::default());
                for pair in pairs.chunks(2) {
                    set(&dict, &pair[0], pair[1].clone())?;
                }
                (dest, dict)
            }
            I::EnumNew { dest, discriminant, count } => {
                (dest, V::Variant(Rc::new((0, discriminant.into(), a.pop_many(count)))))
            }
            I::EnumNewTyped { dest, type_id, discriminant, count } => {
                (dest, V::Variant(Rc::new((type_id, discriminant, a.pop_many(count)))))
            }
            I::GcAlloc { dest, size, .. } => {
                let cells = vec![V::Nil; usize::try_from(size / 8).unwrap()];
                (dest, V::Block(Rc::new(RefCell::new(cells))))
            }
            I::LoadHeap { dest, ptr, offset } => (dest, cell(a.slot(ptr), offset, None)?),
            I::StoreHeap { ptr, offset, src } => {
                return cell(a.slot(ptr), offset, Some(a.slot(src).clone())).map(drop);
            }
            I::IndexGet { dest, collection, index } => {
                (dest, get(a.slot(collection), a.slot(index))?)
            }
            I::IndexSet { collection, index, value } => {
                return set(a.slot(collection), a.slot(index), a.slot(value).clone());
            }
            I::Len { dest, collection } => {
                let length = match a.slot(collection) {
                    V::Array(elements) => elements.borrow().len(),
                    V::Tuple(elements) => elements.len(),
                    V::Dict(pairs) => pairs.borrow().len(),
                    V::Text(text) => text.len(),
                    other => return Err(other.wrong(ValueKind::Collection)),
                };
                (dest, V::I64(i64::try_from(length).unwrap()))
            }
            I::Append { collection, value } => {
                let value = a.slot(value).clone();
                let V::Array(elements) = a.slot(collection) else {
                    return Err(a.slot(collection).wrong(ValueKind::Array));
                };
                elements.borrow_mut().push(value);
                return Ok(());
            }
            I::Slice { dest, collection, start, end } => {
                (dest, slice(a.slot(collection), a.slot(start), a.slot(end))?)
            }
            I::EnumMatch { dest, value, discriminant } => {
                let matches =
                    matches!(a.slot(value), V::Variant(v) if v.1 == u32::from(discriminant));
                (dest, V::Bool(matches))
            }
            I::EnumMatchTyped { dest, value, type_id, discriminant } => {
                let wanted = (type_id, discriminant);
                (dest, V::Bool(matches!(a.slot(value), V::Variant(v) if (v.0, v.1) == wanted)))
            }
            I::EnumPayload { dest, value, field } => {
                let V::Variant(variant) = a.slot(value) else {
                    return Err(a.slot(value).wrong(ValueKind::Variant));
                };
                (dest, variant.2.get(usize::from(field)).cloned().ok_or(out_of_range())?)
            }
            I::IsSome { dest, value } => (dest, V::Bool(!matches!(a.slot(value), V::Nil))),
            other => panic!("{other:?} is not generated"),
        };
        a.write(dest, value);
        Ok(())
    }
}

/// Compares two numbers; a comparison with a NaN does not hold.
fn compare(
    left: &V,
    right: &V,
    holds: impl FnOnce(std::cmp::Ordering) -> bool,
) -> Result<bool, Cause> {
    match left.less(right) {
        Ok(order) => Ok(holds(order)),
        Err(None) => Ok(false),
        Err(Some(cause)) => Err(cause),
    }
}

//! Template types as JSON, in the schema of the runtime.
//!
//! | JSON | type |
//! |---|---|
//! | `{"kind": "int", "bits": 64, "signed": true}` | integer |
//! | `{"kind": "float", "bits": 64}` | float |
//! | `{"kind": "bool"}`, `{"kind": "string"}`, `{"kind": "pointer"}` | boolean, text, address |
//! | `{"kind": "named", "name": "Vec", "args": [...]}` | named type; `args` may be absent |
//! | `{"kind": "generic", "name": "T"}` | variable |
//! | `{"kind": "array", "elem": ...}` | array |
//! | `{"kind": "simd", "lanes": 4, "elem": ...}` | SIMD vector |
//! | `{"kind": "tuple", "args": [...]}` | tuple |
//! | `{"kind": "function", "args": [...], "elem": ...}` | function; `elem` is the result |
//!
//! Other keys are ignored. `bits` and `signed` may be absent if a `name` such as `u8` implies them; otherwise an integer
//! is signed. The limits of [`smf_core::types`] apply.
//!
//! Every type is written with a `name`, and its own keys before those of nested types: the runtime's reader takes the
//! first occurrence of a key in the whole text.

use serde_core::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};
use smf_core::alloc_util::AllocError;
use smf_core::types::{MAX_DEPTH, MAX_LANES, MAX_NODES, Type};
use thiserror::Error;

use crate::fallible_buf::FallibleBuf;

/// The reason why JSON is not a type.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TypeJsonError {
    /// The value is not an object.
    #[error("a type is an object with a `kind`")]
    NotAnObject,
    /// The `kind` is unknown or missing.
    #[error("unknown kind of type `{}`", .0.escape_debug())]
    Kind(String),
    /// A key of the kind is missing or has an invalid value.
    #[error("`{key}` of a type of the kind `{kind}` is missing or invalid")]
    Key {
        /// The kind.
        kind: &'static str,
        /// The key.
        key: &'static str,
    },
    /// The type has too many nodes or levels.
    #[error("a type has more than {MAX_NODES} nodes or {MAX_DEPTH} levels")]
    TooLarge,
    /// The allocator has no memory left.
    #[error(transparent)]
    OutOfMemory(#[from] AllocError),
}

/// The JSON of a type.
pub fn type_to_json(ty: &Type) -> Value {
    // The serializer below produces no errors.
    serde_json::to_value(TypeJson(ty)).unwrap_or_default()
}

/// The JSON of a list of types as text.
///
/// # Errors
/// No memory.
#[cfg_attr(not(any(feature = "c-api", test)), expect(dead_code, reason = "passed to C compilers"))]
pub(crate) fn types_to_text(types: &[Type]) -> Result<Vec<u8>, AllocError> {
    let mut text = FallibleBuf::default();
    // The buffer records a failed allocation; `finish` returns it.
    let _ = serde_json::to_writer(&mut text, &List(types));
    text.finish()
}

struct List<'t>(&'t [Type]);

impl Serialize for List<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0.iter().map(TypeJson))
    }
}

/// Serializes a type as JSON.
pub(crate) struct TypeJson<'t>(pub(crate) &'t Type);

impl Serialize for TypeJson<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Self(ty) = *self;
        let mut object = to.serialize_map(None)?;
        object.serialize_entry("kind", kind_of(ty))?;
        match ty {
            Type::Named { name, .. } | Type::Variable(name) => {
                object.serialize_entry("name", &**name)?;
            }
            Type::Int { .. } | Type::Float { .. } => {
                object.serialize_entry("name", &format_args!("{ty}"))?;
            }
            _ => object.serialize_entry("name", kind_of(ty))?,
        }
        match ty {
            Type::Int { bits, signed } => {
                object.serialize_entry("bits", bits)?;
                object.serialize_entry("signed", signed)?;
            }
            Type::Float { bits } => object.serialize_entry("bits", bits)?,
            Type::Simd { lanes, .. } => object.serialize_entry("lanes", lanes)?,
            _ => {}
        }
        match ty {
            Type::Named { args, .. } if args.is_empty() => {}
            Type::Named { args, .. } | Type::Tuple(args) | Type::Function { args, .. } => {
                object.serialize_entry("args", &List(args))?;
            }
            _ => {}
        }
        if let Type::Array(elem) | Type::Simd { elem, .. } | Type::Function { result: elem, .. } =
            ty
        {
            object.serialize_entry("elem", &TypeJson(elem))?;
        }
        object.end()
    }
}

fn kind_of(ty: &Type) -> &'static str {
    match ty {
        Type::Int { .. } => "int",
        Type::Float { .. } => "float",
        Type::Bool => "bool",
        Type::Text => "string",
        Type::Pointer => "pointer",
        Type::Named { .. } => "named",
        Type::Array(_) => "array",
        Type::Simd { .. } => "simd",
        Type::Tuple(_) => "tuple",
        Type::Function { .. } => "function",
        Type::Variable(_) => "generic",
    }
}

/// Parses a type.
///
/// # Errors
/// [`TypeJsonError`].
pub fn type_from_json(value: &Value) -> Result<Type, TypeJsonError> {
    let mut left = MAX_NODES;
    read(value, 1, &mut left)
}

fn read(value: &Value, depth: usize, left: &mut usize) -> Result<Type, TypeJsonError> {
    *left = left.checked_sub(1).filter(|_| depth <= MAX_DEPTH).ok_or(TypeJsonError::TooLarge)?;
    let object = value.as_object().ok_or(TypeJsonError::NotAnObject)?;
    let fields = |kind| Fields { object, kind, depth };
    Ok(match object.get("kind").and_then(Value::as_str).unwrap_or("") {
        "int" => {
            let (fields, named) = (fields("int"), implied(object)?);
            let (bits, signed) = match named {
                Some(Type::Int { bits, signed }) => (Some(bits), signed),
                _ => (None, true),
            };
            let signed = fields.get_or("signed", Some(signed), Value::as_bool)?;
            Type::int(fields.bits(&[8, 16, 32, 64, 128], bits)?, signed)
        }
        "float" => {
            let bits = match implied(object)? {
                Some(Type::Float { bits }) => Some(bits),
                _ => None,
            };
            Type::Float { bits: fields("float").bits(&[16, 32, 64, 128], bits)? }
        }
        "bool" => Type::Bool,
        "string" | "text" => Type::Text,
        "pointer" => Type::Pointer,
        "named" => {
            let fields = fields("named");
            let name = fields.name()?;
            let args = if object.contains_key("args") { fields.args(left)? } else { Vec::new() };
            match args.is_empty() {
                true => Type::from_word(name)?,
                false => Type::Named { name: name.into(), args },
            }
        }
        "generic" => Type::Variable(fields("generic").name()?.into()),
        "array" => Type::Array(fields("array").elem(left)?),
        "simd" => {
            let fields = fields("simd");
            let in_range = |lanes: &u32| (1..=MAX_LANES).contains(lanes);
            let lanes = |lanes: &Value| u32::try_from(lanes.as_u64()?).ok().filter(in_range);
            Type::Simd { lanes: fields.get("lanes", lanes)?, elem: fields.elem(left)? }
        }
        "tuple" => Type::Tuple(fields("tuple").args(left)?),
        "function" => {
            let fields = fields("function");
            Type::Function { args: fields.args(left)?, result: fields.elem(left)? }
        }
        other => return Err(TypeJsonError::Kind(other.chars().take(64).collect())),
    })
}

/// The primitive type that the `name` implies.
fn implied(object: &Map<String, Value>) -> Result<Option<Type>, AllocError> {
    object.get("name").and_then(Value::as_str).map(Type::from_word).transpose()
}

/// The members of a type of one kind.
struct Fields<'v> {
    object: &'v Map<String, Value>,
    kind: &'static str,
    depth: usize,
}

impl<'v> Fields<'v> {
    fn get<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&'v Value) -> Option<T>,
    ) -> Result<T, TypeJsonError> {
        let kind = self.kind;
        self.object.get(key).and_then(read).ok_or(TypeJsonError::Key { kind, key })
    }

    /// As [`get`](Self::get), with a value for an absent key.
    fn get_or<T>(
        &self,
        key: &'static str,
        absent: Option<T>,
        read: impl FnOnce(&'v Value) -> Option<T>,
    ) -> Result<T, TypeJsonError> {
        match absent.filter(|_| !self.object.contains_key(key)) {
            Some(absent) => Ok(absent),
            None => self.get(key, read),
        }
    }

    fn bits(&self, allowed: &[u8], absent: Option<u8>) -> Result<u8, TypeJsonError> {
        let is_allowed = |bits: &u8| allowed.contains(bits);
        let read = |bits: &Value| u8::try_from(bits.as_u64()?).ok().filter(is_allowed);
        self.get_or("bits", absent, read)
    }

    fn name(&self) -> Result<&'v str, TypeJsonError> {
        self.get("name", |name| name.as_str().filter(|name| !name.is_empty()))
    }

    fn elem(&self, left: &mut usize) -> Result<Box<Type>, TypeJsonError> {
        read(self.get("elem", Some)?, self.depth + 1, left).map(Box::new)
    }

    fn args(&self, left: &mut usize) -> Result<Vec<Type>, TypeJsonError> {
        let args = self.get("args", Value::as_array)?;
        args.iter().map(|arg| read(arg, self.depth + 1, left)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(text: &str) -> Result<Type, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        type_from_json(&value).map_err(|error| error.to_string())
    }

    #[test]
    fn every_kind_is_read_and_written() {
        for text in [
            "i64",
            "u8",
            "f32",
            "bool",
            "text",
            "pointer",
            "Vec<i32>",
            "HashMap<text, i64>",
            "?T",
            "[f64]",
            "f32x4",
            "(i8, u16)",
            "fn(i64, i64) -> i64",
            "Point",
            "()",
            "fn() -> [?T]",
        ] {
            let ty = Type::parse(text).unwrap();
            let (json, written) = (type_to_json(&ty), types_to_text(&[ty.clone(), ty.clone()]));
            let list = Value::from(vec![json.clone(), json.clone()]);
            assert_eq!(String::from_utf8(written.unwrap()), Ok(list.to_string()), "{text}");
            assert_eq!(type_from_json(&json), Ok(ty), "{text}");
        }
        let vec = r#"{"kind": "named", "name": "Vec", "args": [
            {"kind": "int", "bits": 32, "signed": true, "comment": 1}]}"#;
        assert_eq!(from(vec), Ok(Type::parse("Vec<i32>").unwrap()));
        let int = type_to_json(&Type::I64);
        let written = r#"{"kind":"int","name":"i64","bits":64,"signed":true}"#;
        assert_eq!(int.to_string(), written);
        // The keys of a type precede those of its parts.
        let vec = type_to_json(&Type::parse("f32x4").unwrap()).to_string();
        let elem = r#"{"kind":"float","name":"f32","bits":32}"#;
        assert_eq!(vec, format!(r#"{{"kind":"simd","name":"simd","lanes":4,"elem":{elem}}}"#));
    }

    #[test]
    fn absent_bits_and_signs_are_implied_by_the_name() {
        for (text, ty) in [
            (r#"{"kind": "int", "bits": 32}"#, "i32"),
            (r#"{"kind": "int", "name": "u16", "bits": 16}"#, "u16"),
            (r#"{"kind": "int", "name": "u8"}"#, "u8"),
            (r#"{"kind": "int", "name": "u8", "bits": 64, "signed": true}"#, "i64"),
            (r#"{"kind": "float", "name": "f32"}"#, "f32"),
        ] {
            assert_eq!(from(text), Ok(Type::parse(ty).unwrap()), "{text}");
        }
    }

    #[test]
    fn value_that_is_no_type_is_refused() {
        for (text, why) in [
            ("1", "a type is an object"),
            ("{}", "unknown kind of type ``"),
            (r#"{"kind": "int"}"#, "`bits` of a type of the kind `int` is missing or invalid"),
            (r#"{"kind": "int", "bits": 8, "signed": 1}"#, "`signed` of a type of the kind `int`"),
            (r#"{"kind": "float", "name": "i64"}"#, "`bits` of a type"),
            (r#"{"kind": "int", "bits": 37, "signed": true}"#, "`bits` of a type"),
            (r#"{"kind": "int", "bits": -8, "signed": true}"#, "`bits` of a type"),
            (r#"{"kind": "float", "bits": 1e3}"#, "`bits` of a type"),
            (r#"{"kind": "named", "name": ""}"#, "`name` of a type"),
            (r#"{"kind": "named", "name": "A", "args": 1}"#, "`args` of a type"),
            (r#"{"kind": "array"}"#, "`elem` of a type"),
            (r#"{"kind": "simd", "lanes": 0, "elem": {"kind": "bool"}}"#, "`lanes` of a type"),
            (r#"{"kind": "array", "elem": []}"#, "a type is an object"),
            (r#"{"kind": "actor\n"}"#, r"unknown kind of type `actor\n`"),
        ] {
            let error = from(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        let deep = r#"{"kind":"array","elem":"#.repeat(40) + "1" + &"}".repeat(40);
        assert!(from(&deep).unwrap_err().contains("levels"));
        let bomb = r#"{"kind":"array","elem":"#.repeat(100_000);
        assert!(from(&bomb).is_err());
        let wide = vec![r#"{"kind":"bool"}"#; 2000].join(",");
        let wide = format!(r#"{{"kind":"tuple","args":[{wide}]}}"#);
        assert!(from(&wide).unwrap_err().contains("more than 1024 nodes"));
    }
}

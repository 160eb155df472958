//! The types of a function of a module that `smf compile` made.

use std::ffi::OsStr;

use smf_core::format::note::Note;
use smf_core::ir::Scalar;
use smf_core::loader::ModuleRef;
use smf_core::plural;
use smf_core::trap::CallArg;
use smf_core::types::Type;

use crate::source::arguments::Arguments;
use crate::values::{ArgumentMemory, Returns, typed_word};

/// The types that the note of the module has for a function.
pub(crate) struct Signature {
    name: String,
    /// The types of the parameters; `None` if they are malformed.
    parameters: Option<Vec<Type>>,
    result: String,
}

impl Signature {
    pub(crate) fn of(module: &ModuleRef<'_>, name: &str) -> Option<Self> {
        let (note, at) = module.linked()?.note_contents().ok()??;
        let note = Note::parse(&note, at).ok()?;
        let found = note.signature(name)?;
        let parameters = found.parameters().to_string();
        let parameters = match parameters.is_empty() {
            true => Some(Vec::new()),
            false => Type::parse_arguments(&parameters).ok(),
        };
        Some(Self { name: name.to_owned(), parameters, result: found.result().to_string() })
    }

    /// The arguments of a call, as texts of the types of the parameters.
    pub(crate) fn words(
        &self,
        texts: &[impl AsRef<OsStr>],
        memory: &mut ArgumentMemory,
    ) -> Result<Vec<CallArg>, String> {
        let Some(parameters) = &self.parameters else { return words(texts, memory) };
        if parameters.len() != texts.len() {
            let (name, wanted, given) = (&self.name, parameters.len(), texts.len());
            let (one, other) = (plural::s(wanted), plural::s(given));
            return Err(format!(
                "`{name}` has {wanted} parameter{one}, {given} argument{other} given"
            ));
        }
        let mut arguments = Arguments { memory: std::mem::take(memory), ..Arguments::default() };
        let mut added = Ok(());
        for (number, (text, ty)) in texts.iter().zip(parameters).enumerate() {
            let one = arguments.add(text.as_ref(), ty);
            added = added.and(one.map_err(|why| in_argument(number, &why)));
        }
        *memory = arguments.memory;
        added.map(|()| arguments.values.iter().map(|value| value.argument()).collect())
    }

    /// How the result is returned; an error if it is in memory.
    pub(crate) fn returns(&self) -> Result<Returns, String> {
        if self.result == "()" {
            return Ok(Returns::Nothing);
        }
        Scalar::from_name(&self.result).map(Returns::Scalar).ok_or_else(|| {
            let Self { name, result, .. } = self;
            format!("the result of function `{name}` is of type `{result}`, which only code takes")
        })
    }
}

/// The arguments of a call, whose texts state their types.
pub(crate) fn words(
    texts: &[impl AsRef<OsStr>],
    memory: &mut ArgumentMemory,
) -> Result<Vec<CallArg>, String> {
    let word = |(number, text): (usize, &_)| {
        typed_word(AsRef::<OsStr>::as_ref(text), memory).map_err(|why| in_argument(number, &why))
    };
    texts.iter().enumerate().map(word).collect()
}

fn in_argument(number: usize, why: &str) -> String {
    format!("argument {}: {why}", number + 1)
}

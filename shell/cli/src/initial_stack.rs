//! The memory in which a program finds its arguments, as the kernel lays it out on the initial stack of a process.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;

/// Pointers to the arguments, 0, pointers to the variables of the environment, 0, and the auxiliary vector of this process
/// (System V ABI, initial process stack). Programs find the vector behind the environment, as those of gccgo do.
pub(crate) struct InitialStack {
    words: Vec<u64>,
    arguments: usize,
    /// The texts, one behind the other: programs that change their title overwrite them.
    _texts: Vec<u8>,
}

impl InitialStack {
    pub(crate) fn new(arguments: &[OsString]) -> Self {
        let variables = std::env::vars_os().map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            name
        });
        let all: Vec<OsString> = arguments.iter().cloned().chain(variables).collect();
        let mut texts = Vec::with_capacity(all.iter().map(|text| text.len() + 1).sum());
        let mut places = Vec::with_capacity(all.len());
        for text in all {
            places.push(texts.len());
            texts.extend(text.into_vec());
            texts.push(0);
        }
        let start = texts.as_ptr();
        let address = |place: &usize| start.wrapping_add(*place).expose_provenance() as u64;
        let (of_arguments, of_variables) = places.split_at(arguments.len());
        let mut words: Vec<u64> = of_arguments.iter().map(address).chain([0]).collect();
        words.extend(of_variables.iter().map(address).chain([0]));
        // Without /proc the vector is empty.
        let vector = fs::read("/proc/self/auxv").unwrap_or_default();
        words.extend(vector.as_chunks::<8>().0.iter().copied().map(u64::from_ne_bytes));
        words.extend([0, 0]);
        Self { words, arguments: arguments.len(), _texts: texts }
    }

    /// The number of arguments.
    pub(crate) fn argc(&self) -> u64 {
        self.arguments as u64
    }

    pub(crate) fn argv(&self) -> *const u64 {
        self.words.as_ptr()
    }

    pub(crate) fn envp(&self) -> *const u64 {
        self.words.as_ptr().wrapping_add(self.arguments + 1)
    }
}

//! Programs of Simple source: a file, and the modules that it uses.
//!
//! `use a.b` names the file `a/b.spl` below the directory of the program's first file, or below that of the file that
//! uses it; or the item `b` of the file `a.spl` ([`imports`]). A module that is not found there is an error of the
//! [compiler](smf_core::source::compile), as are modules that use each other.

use std::path::{Path, PathBuf};

use smf_core::AllocError;
use smf_core::source::{SourceFile, imports};
use thiserror::Error;

use crate::files::{self, Input, ReadError};

/// The maximum number of files of a program.
const MAX_FILES: usize = 4096;

/// Why a program was not read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// A file was not read.
    #[error("{}: {error}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        error: ReadError,
    },
    /// A file that is not UTF-8.
    #[error("{}: not UTF-8 text, at offset {offset:#x}", file.display())]
    NotText {
        /// The file.
        file: PathBuf,
        /// Of the first wrong byte.
        offset: usize,
    },
    /// A package is imported.
    #[error(
        "{}: packages are not supported; name the file of the module behind `use`",
        file.display()
    )]
    Package {
        /// Its `__init__.spl`.
        file: PathBuf,
    },
    /// A program of too many files.
    #[error("the program has more than {MAX_FILES} files")]
    TooManyFiles,
    /// The allocator has no memory left.
    #[error(transparent)]
    OutOfMemory(#[from] AllocError),
}

/// A file of a program.
#[derive(Debug)]
struct ProgramFile {
    name: String,
    module: String,
    text: String,
}

/// The files of a program.
#[derive(Debug)]
pub struct Program {
    files: Vec<ProgramFile>,
    /// Those of the modules.
    paths: Vec<PathBuf>,
}

impl Program {
    /// Reads the file at `path` and the modules that it uses; standard input for `-`, whose modules lie in the
    /// working directory.
    ///
    /// # Errors
    /// [`ProgramError`].
    pub fn read(path: &Path) -> Result<Self, ProgramError> {
        Self::of_file(path, &read(path)?)
    }

    /// As [`read`](Self::read), with the bytes of the first file.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn of_file(path: &Path, bytes: &[u8]) -> Result<Self, ProgramError> {
        let text = text(path, bytes)?;
        match files::is_standard_stream(path) {
            true => Self::from_text("<stdin>", Path::new(""), text),
            false => {
                let directory = path.parent().unwrap_or(Path::new(""));
                Self::from_text(&path.to_string_lossy(), directory, text)
            }
        }
    }

    /// The program whose first file is a text with a name for diagnostics; its modules lie in `directory`.
    ///
    /// # Errors
    /// As [`read`](Self::read), for the modules.
    pub fn from_text(name: &str, directory: &Path, text: String) -> Result<Self, ProgramError> {
        let first = ProgramFile { name: name.to_owned(), module: first_module(name), text };
        let mut program = Self { files: vec![first], paths: Vec::new() };
        let mut next = 0;
        while let Some(file) = program.files.get(next) {
            for modules in imports(&file.module, &file.text)? {
                for module in modules {
                    if program.add(directory, module)? {
                        break;
                    }
                }
            }
            next += 1;
        }
        Ok(program)
    }

    /// Adds a module unless the program has it; whether there is one of this name.
    fn add(&mut self, directory: &Path, module: String) -> Result<bool, ProgramError> {
        if self.files.iter().any(|known| known.module == module) {
            return Ok(true);
        }
        let path = directory.join(module.replace('.', "/"));
        let package = path.join("__init__.spl");
        if package.is_file() {
            return Err(ProgramError::Package { file: package });
        }
        let path = path.with_added_extension("spl");
        if !path.is_file() {
            return Ok(false);
        }
        if self.files.len() >= MAX_FILES {
            return Err(ProgramError::TooManyFiles);
        }
        let text = text(&path, &read(&path)?)?;
        let name = path.to_string_lossy().into_owned();
        self.files.push(ProgramFile { name, module, text });
        self.paths.push(path);
        Ok(true)
    }

    /// The paths of the modules that the first file uses, directly or through others.
    pub fn module_paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// The files for the compiler, the first one of the program first.
    pub fn files(&self) -> Vec<SourceFile<'_>> {
        let files = self.files.iter();
        let file =
            files.map(|ProgramFile { name, module, text, .. }| SourceFile { name, module, text });
        file.collect()
    }
}

/// The module of the first file: one in brackets, which no `use` names, if no `use` can name the file.
fn first_module(name: &str) -> String {
    let path = Path::new(name);
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    match path.extension().is_some_and(|extension| extension == "spl") && !stem.contains('.') {
        true => stem.into_owned(),
        false if name.starts_with('<') => name.to_owned(),
        false => format!("<{}>", stem.replace('.', "_")),
    }
}

fn read(path: &Path) -> Result<Input, ProgramError> {
    files::read(path).map_err(|error| ProgramError::Read { file: path.to_owned(), error })
}

fn text(path: &Path, bytes: &[u8]) -> Result<String, ProgramError> {
    let text = str::from_utf8(bytes).map(str::to_owned);
    text.map_err(|error| ProgramError::NotText {
        file: path.to_owned(),
        offset: error.valid_up_to(),
    })
}

/// Whether a file is Simple source: by its name, `.spl`, or by a first line `#!` that names `smf` as interpreter.
pub fn is_source(path: &Path, bytes: &[u8]) -> bool {
    if path.extension().is_some_and(|extension| extension == "spl") {
        return true;
    }
    let Some(rest) = bytes.strip_prefix(b"#!") else { return false };
    let line = rest.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let mut words = line.split(u8::is_ascii_whitespace);
    let is_smf = |word: &[u8]| word.rsplit(|&byte| byte == b'/').next() == Some(b"smf");
    // A module behind a stub that is a script contains NULs.
    words.any(is_smf) && !bytes.contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_is_known_by_name_or_by_its_first_line() {
        for (name, text, expected) in [
            ("a.spl", "", true),
            ("a", "#!/usr/bin/env -S smf run\nprint 1\n", true),
            ("a", "#! /opt/bin/smf\n", true),
            ("a", "#!/bin/sh\nexec smf run\n", false),
            ("a", "#!/usr/bin/env smf\n\0", false),
            ("a", "#!/bin/smfish\n", false),
            ("a.smf", "print 1\n", false),
        ] {
            assert_eq!(is_source(Path::new(name), text.as_bytes()), expected, "{name} {text}");
        }
    }

    #[test]
    fn modules_are_found_below_the_program_and_beside_their_user() {
        let root = std::env::temp_dir().join(format!("smf-program-{}", std::process::id()));
        std::fs::create_dir_all(root.join("geo/deep")).unwrap();
        let write = |name: &str, text: &str| std::fs::write(root.join(name), text).unwrap();
        write(
            "main.spl",
            "use geo.shape.{area}\nuse nowhere\nuse geo.shape.side\nuse std.io.print\n",
        );
        write("geo/shape.spl", "use deep.base\nuse geo.unit\n");
        write("geo/unit.spl", "use main\n");
        write("geo/deep/base.spl", "use unit\nuse geo.unit\n");
        std::fs::create_dir_all(root.join("pack")).unwrap();
        write("pack/__init__.spl", "fn f(): 1\n");
        write("pack.spl", "fn f(): 2\n");
        let package = Program::from_text("t", &root, "use pack.{f}\n".to_owned()).unwrap_err();
        assert!(package.to_string().ends_with(
            "__init__.spl: packages are not supported; name the file of the module behind `use`"
        ));
        let program = Program::read(&root.join("main.spl")).unwrap();
        let modules: Vec<&str> = program.files().iter().map(|file| file.module).collect();
        assert_eq!(modules, ["main", "geo.shape", "geo.deep.base", "geo.unit"]);
        // A module is not mistaken for a program of the same name.
        write("tool.spl", "");
        write("tool", "use tool\n");
        let program = Program::read(&root.join("tool")).unwrap();
        let modules: Vec<&str> = program.files().iter().map(|file| file.module).collect();
        assert_eq!(modules, ["<tool>", "tool"]);
        write("geo/unit.spl", "\u{e9}");
        std::fs::write(root.join("main.spl"), b"# \xff").unwrap();
        let error = Program::read(&root.join("main.spl")).unwrap_err();
        assert!(error.to_string().ends_with("main.spl: not UTF-8 text, at offset 0x2"), "{error}");
        std::fs::remove_dir_all(&root).unwrap();
    }
}

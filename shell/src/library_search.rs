//! Finds libraries by their short names, as ld does for `-l` and `-L`.
//!
//! After the directories of `-L` come those of the newest gcc, with its own libraries, and of the system. In each directory,
//! `libNAME.so` comes before `libNAME.a`; a library for another machine is skipped. A text file is a
//! linker script: the files in its commands INPUT and GROUP take its place, and those in AS_NEEDED are needed only if
//! they define an import.
//!
//! Source: the manual of GNU ld, options `-l` and `-L`, and File Commands.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::files::system_error;
use crate::pack::{Input, Machine, SharedLibrary, SharedObject};

/// How deep linker scripts may refer to each other.
const MAX_DEPTH: usize = 8;

/// Why a library is not found.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LibrarySearchError {
    /// No directory has it.
    #[error(
        "there is no library {name}: searched lib{name}.so and lib{name}.a in {directories}; a library that is installed without its development files is needed by its full name (--needed)"
    )]
    NotFound {
        /// The short name.
        name: String,
        /// Where it was searched.
        directories: String,
    },
    /// A file cannot be read.
    #[error("{}: cannot read the file: {}", path.display(), system_error(error))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Neither a shared library, nor an archive or an object, nor a linker script.
    #[error("{}: {why}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        why: &'static str,
    },
}

type Result<T, E = LibrarySearchError> = std::result::Result<T, E>;

/// A file to link.
#[derive(Debug)]
pub struct FoundFile {
    name: String,
    data: Vec<u8>,
}

impl FoundFile {
    /// The file as an input of the packer.
    pub fn input(&self) -> Input<'_> {
        Input { name: &self.name, data: &self.data }
    }
}

/// A shared library that a module may need.
#[derive(Debug)]
pub struct FoundLibrary {
    soname: String,
    /// The file, if the library is needed only for what it defines.
    as_needed: Option<Vec<u8>>,
}

impl FoundLibrary {
    /// The library as an option of the packer.
    pub fn library(&self) -> SharedLibrary<'_> {
        SharedLibrary { name: &self.soname, as_needed: self.as_needed.as_deref() }
    }
}

/// The files of libraries, in the order in which they were found, each once.
#[derive(Debug, Default)]
pub struct Found {
    /// Archives and objects.
    pub archives: Vec<FoundFile>,
    /// Shared libraries.
    pub shared: Vec<FoundLibrary>,
    paths: HashSet<(PathBuf, bool)>,
}

impl Found {
    /// The paths of the files, and of the linker scripts that name them.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.paths.iter().map(|(path, _)| path.as_path())
    }
}

/// The directories of libraries for one machine.
#[derive(Debug)]
pub struct LibrarySearch {
    directories: Vec<PathBuf>,
    machine: Machine,
}

/// How a file is asked for.
#[derive(Clone, Copy)]
struct Demand {
    as_needed: bool,
    depth: usize,
}

impl LibrarySearch {
    /// Searches `directories` and then those of the system for this machine.
    pub fn new(directories: &[PathBuf], machine: Machine) -> Self {
        let triple = match machine {
            Machine::X86_64 => "x86_64-linux-gnu",
            Machine::Aarch64 => "aarch64-linux-gnu",
        };
        let of_machine =
            ["/usr/local/lib", "/lib", "/usr/lib"].map(|dir| format!("{dir}/{triple}"));
        let cross = format!("/usr/{triple}/lib");
        let common =
            ["/usr/local/lib64", "/lib64", "/usr/lib64", "/usr/local/lib", "/lib", "/usr/lib"];
        let of_system = of_machine.iter().chain([&cross]).map(String::as_str).chain(common);
        let of_compiler = compiler_directories(Path::new("/usr/lib"), machine);
        let directories = directories.iter().cloned().chain(of_compiler);
        let directories = directories.chain(of_system.map(PathBuf::from)).collect();
        Self { directories, machine }
    }

    /// Adds the files of the library `name` to `found`: `libNAME.so` or `libNAME.a`, or FILE for `:FILE`.
    ///
    /// # Errors
    /// [`LibrarySearchError`].
    pub fn find(&self, name: &str, found: &mut Found) -> Result<()> {
        self.find_as(name, Demand { as_needed: false, depth: 0 }, found)
    }

    fn find_as(&self, name: &str, demand: Demand, found: &mut Found) -> Result<()> {
        let files = match name.strip_prefix(':') {
            Some(file) => vec![file.to_owned()],
            None => vec![format!("lib{name}.so"), format!("lib{name}.a")],
        };
        for path in self.directories.iter().flat_map(|dir| files.iter().map(|file| dir.join(file)))
        {
            if path.is_file() && self.add(&path, demand, found)? {
                return Ok(());
            }
        }
        let directories: Vec<_> =
            self.directories.iter().map(|dir| dir.to_string_lossy()).collect();
        let (name, directories) = (name.to_owned(), directories.join(", "));
        Err(LibrarySearchError::NotFound { name, directories })
    }

    /// Adds a file; returns `false` if it is for another machine.
    fn add(&self, path: &Path, demand: Demand, found: &mut Found) -> Result<bool> {
        let read = |error| LibrarySearchError::Read { path: path.to_owned(), error };
        let malformed = |why| LibrarySearchError::Malformed { path: path.to_owned(), why };
        let data = fs::read(path).map_err(read)?;
        let object = SharedObject::read(&data);
        if let Some((machine, soname)) =
            object.map(|object| (object.machine, object.soname.map(<[u8]>::to_vec)))
        {
            if machine != self.machine {
                return Ok(false);
            }
            if !found.paths.insert((path.to_owned(), demand.as_needed)) {
                return Ok(true);
            }
            let file_name = || Some(path.file_name()?.to_str()?.to_owned());
            let soname = soname.map_or_else(file_name, |soname| String::from_utf8(soname).ok());
            let soname = soname.ok_or_else(|| malformed("its name is not UTF-8"))?;
            let as_needed = demand.as_needed.then_some(data);
            found.shared.push(FoundLibrary { soname, as_needed });
            return Ok(true);
        }
        if data.starts_with(b"!<arch>\n") || data.starts_with(b"\x7fELF") {
            if Machine::of_object(&data).is_some_and(|machine| machine != self.machine) {
                return Ok(false);
            }
            if found.paths.insert((path.to_owned(), false)) {
                found.archives.push(FoundFile { name: path.to_string_lossy().into_owned(), data });
            }
            return Ok(true);
        }
        let script = str::from_utf8(&data).map_err(|_| malformed("not a library"))?;
        if demand.depth == MAX_DEPTH {
            return Err(malformed("linker scripts refer to each other too often"));
        }
        let files = script_files(script).map_err(malformed)?;
        found.paths.insert((path.to_owned(), demand.as_needed));
        let dir = path.parent().unwrap_or(Path::new("."));
        for (file, as_needed) in files {
            let demand =
                Demand { as_needed: demand.as_needed || as_needed, depth: demand.depth + 1 };
            self.add_of_script(&file, dir, demand, found)?;
        }
        Ok(true)
    }

    /// Adds a file that a linker script in `dir` names.
    fn add_of_script(
        &self,
        file: &str,
        dir: &Path,
        demand: Demand,
        found: &mut Found,
    ) -> Result<()> {
        if let Some(name) = file.strip_prefix("-l") {
            return self.find_as(name, demand, found);
        }
        let beside = dir.join(file);
        // A path with a directory, or a name beside the script.
        if file.contains('/') || beside.is_file() {
            if !self.add(&beside, demand, found)? {
                let why = "a library for another machine, which a linker script names";
                return Err(LibrarySearchError::Malformed { path: beside, why });
            }
            return Ok(());
        }
        self.find_as(&format!(":{file}"), demand, found)
    }
}

/// The directories of gcc with its own libraries, such as libstdc++, for this machine: `gcc/TRIPLE/VERSION` and, for a cross
/// compiler, `gcc-cross/TRIPLE/VERSION`, below `lib`. The newest version comes first.
fn compiler_directories(lib: &Path, machine: Machine) -> Vec<PathBuf> {
    let arch = match machine {
        Machine::X86_64 => "x86_64-",
        Machine::Aarch64 => "aarch64-",
    };
    let mut found = Vec::new();
    for triple in ["gcc", "gcc-cross"].iter().flat_map(|dir| entries(&lib.join(dir))) {
        let name = triple.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !name.starts_with(arch) || !name.contains("linux") || name.contains("musl") {
            continue;
        }
        found.extend(entries(&triple).into_iter().filter_map(|path| {
            let parts = path.file_name()?.to_str()?.split('.').map(str::parse);
            let version: Vec<u32> = parts.collect::<Result<_, _>>().ok()?;
            Some((version, path))
        }));
    }
    found.sort_by(|one, other| other.0.cmp(&one.0).then_with(|| one.1.cmp(&other.1)));
    found.into_iter().map(|(_, path)| path).collect()
}

/// The paths in a directory; none if it cannot be read.
fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// The files that a linker script names, and whether each is in AS_NEEDED.
fn script_files(script: &str) -> Result<Vec<(String, bool)>, &'static str> {
    const MALFORMED: &str = "neither a library nor a linker script of INPUT and GROUP";
    let mut words = tokens(script)?.into_iter();
    let mut files = Vec::new();
    while let Some(command) = words.next() {
        if command == ";" {
            continue;
        }
        if words.next().as_deref() != Some("(") {
            return Err(MALFORMED);
        }
        let is_input = match &*command {
            "INPUT" | "GROUP" => true,
            "OUTPUT_FORMAT" | "OUTPUT_ARCH" | "SEARCH_DIR" | "TARGET" => false,
            _ => return Err(MALFORMED),
        };
        let (mut depth, mut as_needed) = (1, false);
        while depth != 0 {
            let word = words.next().ok_or(MALFORMED)?;
            match &*word {
                ")" => (depth, as_needed) = (depth - 1, false),
                "AS_NEEDED" if is_input && depth == 1 => {
                    if words.next().as_deref() != Some("(") {
                        return Err(MALFORMED);
                    }
                    (depth, as_needed) = (2, true);
                }
                "(" => return Err(MALFORMED),
                _ if is_input => files.push((word, as_needed)),
                _ => {}
            }
        }
    }
    if files.is_empty() { Err(MALFORMED) } else { Ok(files) }
}

/// The words of a linker script; parentheses and semicolons are words.
fn tokens(script: &str) -> Result<Vec<String>, &'static str> {
    let mut rest = script;
    let mut words = Vec::new();
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
        let Some(first) = rest.chars().next() else { return Ok(words) };
        if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").ok_or("a comment without an end")?.1;
            continue;
        }
        let (word, behind) = if let Some(quoted) = rest.strip_prefix('"') {
            quoted.split_once('"').ok_or("a quoted name without an end")?
        } else if matches!(first, '(' | ')' | ';') {
            rest.split_at(1)
        } else {
            let is_end = |c: char| c.is_whitespace() || matches!(c, '(' | ')' | ';' | ',' | '"');
            rest.split_at(rest.find(is_end).unwrap_or(rest.len()))
        };
        words.push(word.to_owned());
        rest = behind;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linker_script_is_read_as_ld_does() {
        let libc = "/* GNU ld script\n   Use the shared library. */\nOUTPUT_FORMAT(elf64-x86-64)\nGROUP ( /lib/libc.so.6 \"/a b/c.a\"  AS_NEEDED ( /lib64/ld.so.2, -lz ) x.so )\nINPUT(-lgcc)";
        let expected = [
            ("/lib/libc.so.6", false),
            ("/a b/c.a", false),
            ("/lib64/ld.so.2", true),
            ("-lz", true),
            ("x.so", false),
            ("-lgcc", false),
        ];
        let expected = expected.map(|(file, as_needed)| (file.to_owned(), as_needed));
        assert_eq!(script_files(libc).unwrap(), expected);
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "",
            "hello",
            "GROUP",
            "GROUP (",
            "GROUP ( a",
            "GROUP ( AS_NEEDED ( a )",
            "GROUP ( ( a ) )",
            "SECTIONS { }",
            "/* comment",
            "GROUP ( \"a )",
            "OUTPUT_FORMAT(elf64-x86-64)",
        ] {
            assert!(script_files(text).is_err(), "{text}");
        }
    }

    #[test]
    fn newest_compiler_for_the_machine_comes_first() {
        let lib = std::env::temp_dir().join(format!("smf-gcc-{}", std::process::id()));
        for path in [
            "gcc/x86_64-linux-gnu/9",
            "gcc/x86_64-linux-gnu/12",
            "gcc/x86_64-linux-gnu/12.2.0",
            "gcc/x86_64-linux-gnu/plugin",
            "gcc/x86_64-linux-musl/14",
            "gcc/x86_64-w64-mingw32/13",
            "gcc/aarch64-unknown-linux-gnu/13.1",
            "gcc-cross/aarch64-linux-gnu/14",
            "gcc-cross/riscv64-linux-gnu/15",
        ] {
            fs::create_dir_all(lib.join(path)).unwrap();
        }
        let found = |machine| -> Vec<String> {
            let all = compiler_directories(&lib, machine).into_iter();
            all.map(|path| path.strip_prefix(&lib).unwrap().display().to_string()).collect()
        };
        let of_x86_64 =
            ["12.2.0", "12", "9"].map(|version| format!("gcc/x86_64-linux-gnu/{version}"));
        assert_eq!(found(Machine::X86_64), of_x86_64);
        let of_aarch64 = ["gcc-cross/aarch64-linux-gnu/14", "gcc/aarch64-unknown-linux-gnu/13.1"];
        assert_eq!(found(Machine::Aarch64), of_aarch64);
        fs::remove_dir_all(&lib).unwrap();
        assert!(compiler_directories(&lib, Machine::X86_64).is_empty());
    }

    #[test]
    fn missing_library_is_named_with_the_directories() {
        let search = LibrarySearch::new(&[PathBuf::from("/nowhere")], Machine::X86_64);
        let error = search.find("no-such", &mut Found::default()).unwrap_err().to_string();
        for part in ["no-such", "/nowhere, /usr/l", ", /usr/local/lib", "--needed"] {
            assert!(error.contains(part), "{error}");
        }
    }
}

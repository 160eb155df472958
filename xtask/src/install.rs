//! `cargo xtask install`: builds the libraries for C and the command, and installs them below a directory.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::error::{At, Error};
use crate::library;
use crate::load_order;
use crate::shell::{Command, cargo, root, target};

/// Where files go.
pub(crate) struct Directories {
    /// The directory below which the files will be used, `/usr/local` for example.
    pub(crate) prefix: PathBuf,
    /// The directory of the libraries, relative to the prefix.
    pub(crate) libraries: String,
    /// The directory that stands for `/` while a package is built; empty for the root itself.
    pub(crate) destination: PathBuf,
}

impl Directories {
    /// Everything below `prefix`.
    pub(crate) fn below(prefix: &Path) -> Self {
        let (libraries, destination) = ("lib".to_owned(), PathBuf::new());
        Self { prefix: prefix.to_owned(), libraries, destination }
    }

    /// The directory `below` the prefix, which is made if it does not exist.
    fn directory(&self, below: &str) -> Result<PathBuf, Error> {
        let path = self.prefix.join(below);
        let path = match self.destination.as_os_str().is_empty() {
            true => path,
            false => self.destination.join(path.strip_prefix("/").unwrap_or(&path)),
        };
        fs::create_dir_all(&path).at(&path)?;
        Ok(path)
    }

    fn library_directory(&self, below: &str) -> Result<PathBuf, Error> {
        self.directory(&format!("{}/{below}", self.libraries))
    }
}

/// `[--prefix DIR] [--libdir DIR] [--destdir DIR] [--features LIST] [--libraries]`.
pub(crate) fn run(arguments: &[String]) -> Result<(), Error> {
    let mut directories = Directories::below(&target().join("install"));
    let (mut features, mut with_command) = ("gdb,exec", true);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "--libraries" {
            with_command = false;
            continue;
        }
        let value = rest.next().ok_or_else(|| Error::Usage(argument.clone()))?;
        match &**argument {
            "--features" => features = value,
            "--prefix" => directories.prefix = absolute(value)?,
            "--libdir" => directories.libraries.clone_from(value),
            "--destdir" => directories.destination = absolute(value)?,
            _ => return Err(Error::Usage(argument.clone())),
        }
    }
    install(features, &directories)?;
    if with_command {
        install_command(&directories)?;
    }
    println!("installed below {}", directories.prefix.display());
    Ok(())
}

/// The absolute form of a path, relative to the directory of the caller.
fn absolute(path: &str) -> Result<PathBuf, Error> {
    std::path::absolute(path).at(path)
}

/// The target directory of the libraries: one of its own, because the features change what cargo keeps under one name.
pub(crate) fn built() -> PathBuf {
    target().join("library")
}

/// Installs release builds of both libraries, the headers, and the files for pkg-config and CMake.
pub(crate) fn install(features: &str, directories: &Directories) -> Result<(), Error> {
    let has = |wanted| features.split(',').any(|feature| feature == wanted);
    let (is_tagged, needs_libffi) = (has("tagged"), has("libffi"));
    let built = built();
    cargo("build --quiet --release --package smf-capi --package smf-capi-static")
        .args(["--no-default-features", "--features", features, "--target-dir"])
        .args([&built])
        .run()?;
    let name = library::name(is_tagged);
    let lib = directories.library_directory("")?;
    install_headers(directories)?;
    copy(&built.join("release/libsmf_loader.a"), &lib.join(format!("lib{name}.a")))?;

    let script = built.join(format!("{name}.map"));
    let header = root().join(library::HEADER);
    let exports = library::version_script(&header, is_tagged);
    write(&script, &exports.at(&header)?)?;
    let shared = library::soname(is_tagged);
    let linked = built.join(&shared);
    let archive = built.join("release/libsmf_loader_shared.a");
    let layout = ["unwind.ld", "load_order.ld"].map(|name| root().join("shell/capi").join(name));
    // The list was made with these features; with others, the compiler inlines other functions.
    if load_order::FEATURES.contains(&features) {
        load_order::check(&archive, &layout[1])?;
    }
    let link = library::Link {
        archive: &archive,
        script: &script,
        to: &linked,
        is_tagged,
        needs_libffi,
        layout: &layout,
    };
    Command::from(link.command()).run()?;
    replace_whole(&linked, &lib.join(&shared))?;
    replace_link(&lib.join(format!("lib{name}.so")), &shared)?;
    if cfg!(target_arch = "x86_64") {
        let compile = Command::from(std::process::Command::new(library::compiler()));
        let source = root().join("shell/capi/tls_reserve.c");
        let object = lib.join(library::TLS_RESERVE);
        compile.args(["-O2", "-c"]).args([&source]).args(["-o"]).args([&object]).run()?;
    }
    describe(directories, is_tagged, needs_libffi)
}

/// Installs the headers.
fn install_headers(directories: &Directories) -> Result<(), Error> {
    let include = directories.directory("include")?;
    ["smf.h", "smf.hpp"]
        .iter()
        .try_for_each(|name| copy(&root().join("shell/include").join(name), &include.join(name)))
}

/// Writes the files for pkg-config and, in the C convention, for CMake.
fn describe(directories: &Directories, is_tagged: bool, needs_libffi: bool) -> Result<(), Error> {
    let (name, shared) = (library::name(is_tagged), library::soname(is_tagged));
    let fill = |template: &str| -> Result<String, Error> {
        let template = root().join("shell").join(template);
        let text = fs::read_to_string(&template).at(&template)?;
        Ok(text
            .replace("@prefix@", &directories.prefix.display().to_string())
            .replace("@libdir@", &format!("${{prefix}}/{}", directories.libraries))
            .replace("@library@", name)
            .replace("@shared@", &shared)
            .replace("@private@", if needs_libffi { "-lffi " } else { "" })
            .replace("@version@", env!("CARGO_PKG_VERSION")))
    };
    let package = if is_tagged { "smf_tagged.pc" } else { "smf.pc" };
    let text = fill("smf.pc.in")?.replace("@includedir@", "${prefix}/include");
    // The description of the template is for its readers.
    let text = text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    write(&directories.library_directory("pkgconfig")?.join(package), &(text + "\n"))?;
    if is_tagged {
        return Ok(());
    }
    let up = Path::new(&directories.libraries).components().map(|_| "../").collect::<String>();
    let cmake = directories.library_directory("cmake/smf")?;
    let text = fill("smf-config.cmake.in")?.replace("@up@", &up);
    write(&cmake.join("smf-config.cmake"), &text)?;
    write(&cmake.join("smf-config-version.cmake"), &fill("smf-config-version.cmake.in")?)
}

/// Installs the command, its man pages and its completions.
pub(crate) fn install_command(directories: &Directories) -> Result<(), Error> {
    cargo("build --quiet --release --package smf-cli").run()?;
    let built = target().join("release/smf");
    let smf = || Command::from(std::process::Command::new(&built));
    copy(&built, &directories.directory("bin")?.join("smf"))?;
    let pages = directories.directory("share/man/man1")?;
    smf().args(["man", "--directory"]).args([pages]).run()?;
    let completions = [
        ("bash", "share/bash-completion/completions", "smf"),
        ("zsh", "share/zsh/site-functions", "_smf"),
        ("fish", "share/fish/vendor_completions.d", "smf.fish"),
    ];
    for (shell, directory, name) in completions {
        let text = smf().args(["completions", shell]).output()?;
        write(&directories.directory(directory)?.join(name), &text)?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    fs::copy(from, to).map(drop).at(from)
}

/// Copies a file by one write: the kernel then has it in few large folios, which programs map by fewer page faults than
/// the small ones that a linker's writes leave. Processes that have mapped the old file keep it.
fn replace_whole(from: &Path, to: &Path) -> Result<(), Error> {
    let bytes = fs::read(from).at(from)?;
    let permissions = fs::metadata(from).at(from)?.permissions();
    if to.symlink_metadata().is_ok() {
        fs::remove_file(to).at(to)?;
    }
    fs::write(to, bytes).at(to)?;
    fs::set_permissions(to, permissions).at(to)
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).at(path)
}

/// Makes `path` a symbolic link to `target`.
fn replace_link(path: &Path, target: &str) -> Result<(), Error> {
    if path.symlink_metadata().is_ok() {
        fs::remove_file(path).at(path)?;
    }
    symlink(target, path).at(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skip::lacks;

    /// Sets of `find_package`, and whether this version is compatible and exact.
    fn requests() -> Vec<(String, [bool; 2])> {
        let version = env!("CARGO_PKG_VERSION");
        let one = |wanted: &str| format!("set(PACKAGE_FIND_VERSION {wanted})");
        let range = |min: &str, kind: &str, max: &str| {
            format!(
                "{}\nset(PACKAGE_FIND_VERSION_RANGE {min}...{max})\nset(PACKAGE_FIND_VERSION_MAX {max})\n\
                 set(PACKAGE_FIND_VERSION_RANGE_MAX {kind})",
                one(min)
            )
        };
        vec![
            (one(version), [true, true]),
            (one("0.0.1"), [true, false]),
            (one("99.0"), [false, false]),
            (range("0.0.1", "INCLUDE", version), [true, false]),
            (range("0.0.1", "EXCLUDE", version), [false, false]),
            (range("0.0.1", "INCLUDE", "0.0.2"), [false, false]),
            (range("99.0", "INCLUDE", "99.1"), [false, false]),
        ]
    }

    #[test]
    fn cmake_finds_a_moved_installation_and_compares_its_version() {
        let prefix = std::env::temp_dir().join(format!("install-{}", std::process::id()));
        let libraries = "lib/x86_64-linux-gnu".to_owned();
        let directories =
            Directories { prefix: prefix.clone(), libraries, destination: PathBuf::new() };
        describe(&directories, false, false).unwrap();
        let cmake = directories.library_directory("cmake/smf").unwrap();
        let config = fs::read_to_string(cmake.join("smf-config.cmake")).unwrap();
        assert!(
            !config.contains(&prefix.display().to_string()) && !config.contains('@'),
            "{config}"
        );
        assert!(config.contains("${_smf_libdir}/../../include"), "{config}");
        let (script, version) = (prefix.join("test.cmake"), cmake.join("smf-config-version.cmake"));
        for (request, expected) in requests() {
            let (start, show) = (
                "set(PACKAGE_VERSION_EXACT FALSE)",
                "message(\"${PACKAGE_VERSION_COMPATIBLE} ${PACKAGE_VERSION_EXACT}\")",
            );
            let version = version.display();
            let text = format!("{start}\n{request}\ninclude({version})\n{show}\n");
            write(&script, &text).unwrap();
            let run = std::process::Command::new("cmake").arg("-P").arg(&script).output();
            let Ok(output) = run else {
                lacks("cmake");
                break;
            };
            let shown = String::from_utf8_lossy(&output.stderr);
            let expected = expected.map(|is| is.to_string().to_uppercase()).join(" ");
            assert_eq!(shown.trim_end(), expected, "{request}");
        }
        fs::remove_dir_all(&prefix).unwrap();
    }
}

//! `cargo xtask deb`: builds the packages for Debian and derived systems, in `target/deb`.
//!
//! | package | contents |
//! |---|---|
//! | `libsmf-loader0` | the shared library; the number is that of its soname |
//! | `libsmf-loader-dev` | the static library, the headers, and the files for pkg-config and CMake |
//! | `smf` | the command with its man pages and completions |
//!
//! Sources: Debian Policy Manual, chapters 5, 8 and 10; deb-control(5), deb-shlibs(5), deb-triggers(5).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{At, Error};
use crate::install::{self, Directories};
use crate::library;
use crate::sbom;
use crate::shell::{Command, command, root, target};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A package: its name, section, the packages that it needs, a line and a paragraph of description.
struct Package {
    name: &'static str,
    section: &'static str,
    depends: String,
    summary: &'static str,
    description: &'static str,
}

fn packages() -> [Package; 3] {
    // The library needs `dl_iterate_phdr` and pthread in libc, which is so from this version on.
    let system = "libc6 (>= 2.34), libgcc-s1".to_owned();
    [
        Package {
            name: "libsmf-loader0",
            section: "libs",
            depends: system.clone(),
            summary: "loader for SMF modules - shared library",
            description: "Loads, links, reloads and calls modules of the Simple Module Format, and\n\
                \x20compiles their bytecode and generic templates. This package contains the\n\
                \x20shared library.",
        },
        Package {
            name: "libsmf-loader-dev",
            section: "libdevel",
            depends: format!("libsmf-loader0 (= {VERSION})"),
            summary: "loader for SMF modules - development files",
            description: "Loads, links, reloads and calls modules of the Simple Module Format. This\n\
                \x20package contains the headers for C and C++, the static library, and files\n\
                \x20for pkg-config and CMake.",
        },
        Package {
            name: "smf",
            section: "devel",
            depends: system,
            summary: "packs, inspects, verifies and runs SMF modules",
            description: "The command for modules of the Simple Module Format: it makes modules of\n\
                \x20the objects of C, C++ and Rust compilers, shows and verifies them, and\n\
                \x20runs them.",
        },
    ]
}

/// `deb [--check] [--maintainer 'NAME <ADDRESS>']`.
pub(crate) fn task(arguments: &[String]) -> Result<(), Error> {
    let (mut is_check, mut stated) = (false, None);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match &**argument {
            "--check" => is_check = true,
            "--maintainer" => {
                let value = rest.next().ok_or_else(|| Error::Usage(argument.clone()))?;
                stated = Some(value.as_str());
            }
            _ => return Err(Error::Usage(argument.clone())),
        }
    }
    let maintainer = maintainer(stated)?;
    if is_check { check(&maintainer) } else { run(&maintainer).map(drop) }
}

/// Builds the packages and prints their paths.
fn run(maintainer: &str) -> Result<Vec<PathBuf>, Error> {
    let directory = target().join("deb");
    if directory.exists() {
        fs::remove_dir_all(&directory).at(&directory)?;
    }
    let staged = directory.join("all");
    let multiarch = command("dpkg-architecture -qDEB_HOST_MULTIARCH").output()?;
    let libraries = format!("lib/{}", multiarch.trim());
    let (prefix, destination) = (PathBuf::from("/usr"), staged.clone());
    let directories = Directories { prefix, libraries: libraries.clone(), destination };
    install::install("gdb,exec", &directories)?;
    install::install_command(&directories)?;
    strip(&staged, &libraries)?;
    let architecture = command("dpkg-architecture -qDEB_HOST_ARCH").output()?;
    let build = |package: &Package| -> Result<PathBuf, Error> {
        let to = directory.join(package.name);
        distribute(package.name, &staged.join("usr"), &to.join("usr"), &libraries)?;
        documentation(package.name, maintainer, &to)?;
        control(package, architecture.trim(), maintainer, &to)?;
        let file = format!("{}_{VERSION}_{}.deb", package.name, architecture.trim());
        let file = directory.join(file);
        command("dpkg-deb --root-owner-group --build").args([&to, &file]).run()?;
        Ok(file)
    };
    packages().iter().map(build).collect()
}

fn strip(staged: &Path, libraries: &str) -> Result<(), Error> {
    let libraries = staged.join("usr").join(libraries);
    let options = "--strip-unneeded --remove-section=.comment --remove-section=.note";
    let objects = [libraries.join("libsmf_loader.so.0"), staged.join("usr/bin/smf")];
    command(&format!("strip {options}")).args(objects).run()?;
    command("strip --strip-debug --remove-section=.comment --enable-deterministic-archives")
        .args([libraries.join("libsmf_loader.a")])
        .run()
}

/// Moves the files of a package from `staged` to `to`.
fn distribute(name: &str, staged: &Path, to: &Path, libraries: &str) -> Result<(), Error> {
    let in_libraries = |file: &str| format!("{libraries}/{file}");
    let files = match name {
        "libsmf-loader0" => vec![in_libraries("libsmf_loader.so.0")],
        "libsmf-loader-dev" => ["libsmf_loader.so", "libsmf_loader.a", "pkgconfig", "cmake"]
            .into_iter()
            .map(in_libraries)
            .chain(cfg!(target_arch = "x86_64").then(|| in_libraries(library::TLS_RESERVE)))
            .chain(["include".to_owned()])
            .collect(),
        _ => vec!["bin".to_owned(), "share".to_owned()],
    };
    for file in files {
        let to = to.join(&file);
        let parent = to.parent().unwrap_or(&to);
        fs::create_dir_all(parent).at(parent)?;
        fs::rename(staged.join(&file), &to).at(&to)?;
    }
    Ok(())
}

/// The copyright file, the bill of materials and the change log; man pages are compressed.
fn documentation(name: &str, maintainer: &str, to: &Path) -> Result<(), Error> {
    let documents = to.join("usr/share/doc").join(name);
    let mit = root().join("LICENSE-MIT");
    let mit = fs::read_to_string(&mit).at(&mit)?;
    let paragraph = |text: &str| -> String {
        let lines = text.lines().map(|line| match line.trim_end() {
            "" => " .\n".to_owned(),
            line => format!(" {line}\n"),
        });
        lines.collect()
    };
    let copyright = format!(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\
         Upstream-Name: smf\n\n\
         Files: *\n\
         Copyright: The smf authors\n\
         License: MIT or Apache-2.0\n\n\
         License: MIT\n{}\n\
         License: Apache-2.0\n On Debian systems, the text of the Apache License, version 2.0, is in\n \
         /usr/share/common-licenses/Apache-2.0.\n",
        paragraph(&mit)
    );
    write(&documents.join("copyright"), &copyright)?;
    let date = command("git log -1 --format=%cD").output()?;
    let log = format!(
        "smf ({VERSION}) unstable; urgency=medium\n\n  * Release {VERSION}; CHANGELOG.md of the sources lists the changes.\n\n \
         -- {maintainer}  {date}"
    );
    sbom::write(&documents)?;
    let log_file = documents.join("changelog");
    write(&log_file, &log)?;
    gzip(&[log_file])?;
    let pages = to.join("usr/share/man/man1");
    match pages.exists() {
        true => gzip(&entries(&pages)?),
        false => Ok(()),
    }
}

/// The name and address of the maintainer: `--maintainer`, or `metadata.deb.maintainer` of the package `smf-cli`.
fn maintainer(stated: Option<&str>) -> Result<String, Error> {
    let path = root().join("shell/cli/Cargo.toml");
    let metadata = command("cargo metadata --no-deps --format-version 1").output()?;
    let metadata: Value = serde_json::from_str(&metadata).at(&path)?;
    let packages = metadata.get("packages").and_then(Value::as_array).into_iter().flatten();
    let is_command = |package: &&Value| package.get("name").is_some_and(|name| name == "smf-cli");
    let own = packages
        .filter(is_command)
        .find_map(|package| package.pointer("/metadata/deb/maintainer").and_then(Value::as_str));
    let maintainer = stated.or(own);
    let maintainer = maintainer.ok_or(Error::Missing("metadata.deb.maintainer", path))?;
    let is_valid = maintainer.split_once(" <").is_some_and(|(name, address)| {
        !name.is_empty() && address.contains('@') && address.ends_with('>')
    });
    match is_valid && !maintainer.contains('\n') {
        true => Ok(maintainer.to_owned()),
        false => Err(Error::Usage(format!("--maintainer {maintainer}"))),
    }
}

/// Compresses files without times in them, so that two builds give the same bytes.
fn gzip(files: &[PathBuf]) -> Result<(), Error> {
    command("gzip --no-name --best").args(files).run()
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(directory).at(directory)?;
    entries.map(|entry| Ok(entry.at(directory)?.path())).collect()
}

/// The files in `DEBIAN`: control, and for the shared library shlibs and triggers.
fn control(
    package: &Package,
    architecture: &str,
    maintainer: &str,
    to: &Path,
) -> Result<(), Error> {
    let Package { name, section, depends, summary, description } = package;
    let size = command("du --summarize --block-size=1024 --apparent-size")
        .args([to.join("usr")])
        .output()?;
    let size = size.split_whitespace().next().unwrap_or("0").to_owned();
    let same = if *name == "smf" { "" } else { "Multi-Arch: same\n" };
    let text = format!(
        "Package: {name}\nSource: smf\nVersion: {VERSION}\nArchitecture: {architecture}\n\
         Maintainer: {maintainer}\nInstalled-Size: {size}\nDepends: {depends}\n{same}\
         Section: {section}\nPriority: optional\nHomepage: {}\n\
         Description: {summary}\n {description}\n",
        env!("CARGO_PKG_REPOSITORY")
    );
    let debian = to.join("DEBIAN");
    write(&debian.join("control"), &text)?;
    if *name == "libsmf-loader0" {
        write(&debian.join("shlibs"), &format!("libsmf_loader 0 {name} (>= {VERSION})\n"))?;
        write(&debian.join("triggers"), "activate-noawait ldconfig\n")?;
    }
    permissions(to)
}

/// Directories and programs 0755, other files 0644, whatever the umask is.
fn permissions(path: &Path) -> Result<(), Error> {
    let kind = path.symlink_metadata().at(path)?.file_type();
    if kind.is_symlink() {
        return Ok(());
    }
    if kind.is_dir() {
        entries(path)?.iter().try_for_each(|entry| permissions(entry))?;
    }
    let is_program = path.parent().is_some_and(|parent| parent.ends_with("usr/bin"));
    let mode = if kind.is_dir() || is_program { 0o755 } else { 0o644 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).at(path)
}

/// Builds the packages, and checks them with lintian; then installs, uses and removes them in a new Debian system.
pub(crate) fn check(maintainer: &str) -> Result<(), Error> {
    let packages = run(maintainer)?;
    command("lintian --fail-on error,warning --tag-display-limit 0 --allow-root")
        .args(&packages)
        .run()?;
    let system = target().join("deb/system");
    command("debootstrap --variant=minbase --include=gcc,libc6-dev,pkg-config stable")
        .args([&system])
        .run()?;
    let inside = |line: &str| {
        let chroot = Command::from(std::process::Command::new("chroot"));
        chroot.args([&system]).args(["sh", "-ec", line])
    };
    for package in &packages {
        copy_into(package, &system.join("srv"))?;
    }
    let example = root().join("shell/examples/c");
    for source in ["plugin.c", "plugin_host.c"] {
        copy_into(&example.join(source), &system.join("srv"))?;
    }
    inside("dpkg --install /srv/*.deb").run()?;
    let build = "cd /srv && cc -c plugin.c -o one.o && cc -c -DSTEP=10 plugin.c -o two.o \
        && smf pack --reloadable one.o -o one.smf && smf pack --reloadable two.o -o two.smf \
        && cc plugin_host.c $(pkg-config --cflags --libs smf) -o host && ./host one.smf two.smf";
    let said = inside(build).output()?;
    let expected =
        "plugin: calls 1\nreloaded, 1 data symbols kept their values\nplugin: calls 11\n";
    if said != expected {
        let command = build.to_owned();
        return Err(Error::Output { command, expected, found: said });
    }
    inside("dpkg --purge smf libsmf-loader-dev libsmf-loader0").run()?;
    let left = inside("find /usr -name '*smf*'").output()?;
    match left.is_empty() {
        true => Ok(()),
        false => {
            let command = "find /usr -name '*smf*'".to_owned();
            Err(Error::Output { command, expected: "", found: left })
        }
    }
}

fn copy_into(file: &Path, directory: &Path) -> Result<(), Error> {
    let name = file.file_name().unwrap_or_default();
    fs::copy(file, directory.join(name)).map(drop).at(file)
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).and_then(|()| fs::write(path, text)).at(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maintainer_is_that_of_the_manifest_or_the_stated_one() {
        assert!(maintainer(None).unwrap().ends_with('>'));
        assert_eq!(maintainer(Some("A B <a@b.org>")).unwrap(), "A B <a@b.org>");
        for wrong in ["", "A B", "<a@b.org>", "A <b>", "A\nB <a@b.org>"] {
            assert!(matches!(maintainer(Some(wrong)), Err(Error::Usage(_))), "{wrong}");
        }
    }
}

//! `cargo xtask library`: builds the libraries for C and installs them below a directory.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::header;
use crate::library;
use crate::shell::{Command, cargo, root, target};

/// `[--features LIST] [PREFIX]`.
pub(crate) fn run(arguments: &[String]) -> Result<(), Error> {
    let (mut features, mut prefix) = ("gdb", None);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match &**argument {
            "--features" => features = rest.next().map_or("", String::as_str),
            path => prefix = Some(PathBuf::from(path)),
        }
    }
    let prefix = prefix.unwrap_or_else(|| target().join("install"));
    // Before the commands that run in the top directory.
    directory(&prefix)?;
    let prefix = prefix.canonicalize().map_err(|error| Error::File(prefix, error))?;
    install(features, &prefix)?;
    println!("installed below {}", prefix.display());
    Ok(())
}

/// Installs release builds of both libraries, the header and the pkg-config file.
pub(crate) fn install(features: &str, prefix: &Path) -> Result<(), Error> {
    let has = |wanted| features.split(',').any(|feature| feature == wanted);
    let (is_tagged, needs_libffi) = (has("tagged"), has("libffi"));
    // A directory of its own, because the features change what cargo keeps under one name.
    let built = target().join("library");
    cargo("build --quiet --release --package smf-capi --package smf-capi-static")
        .args(["--no-default-features", "--features", features, "--target-dir"])
        .args([&built])
        .run()?;
    let name = library::name(is_tagged);
    let (include, lib) = (prefix.join("include"), prefix.join("lib"));
    [&include, &lib.join("pkgconfig")].into_iter().try_for_each(|path| directory(path))?;

    let header = read(&root().join(header::HEADER))?;
    write(&include.join("smf.h"), &header)?;
    let archive = built.join("release/libsmf_loader.a");
    let to = lib.join(format!("lib{name}.a"));
    fs::copy(&archive, &to).map_err(|error| Error::File(archive, error))?;

    let script = built.join(format!("{name}.map"));
    write(&script, &library::version_script(&header::declared(&header), is_tagged))?;
    let shared = library::soname(is_tagged);
    let link = library::Link {
        archive: &built.join("release/libsmf_loader_shared.a"),
        script: &script,
        to: &lib.join(&shared),
        is_tagged,
        needs_libffi,
        unwind: Some(&root().join("shell/capi/unwind.ld")),
    };
    Command::from(link.command()).run()?;
    replace_link(&lib.join(format!("lib{name}.so")), &shared)?;

    let template = read(&root().join("shell/smf.pc.in"))?;
    let description = template
        .replace("@prefix@", &prefix.display().to_string())
        .replace("@libdir@", "${prefix}/lib")
        .replace("@includedir@", "${prefix}/include")
        .replace("@library@", name)
        .replace("@private@", if needs_libffi { "-lffi " } else { "" })
        .replace("@version@", env!("CARGO_PKG_VERSION"));
    let package = if is_tagged { "smf_tagged.pc" } else { "smf.pc" };
    write(&lib.join("pkgconfig").join(package), &description)
}

fn directory(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(|error| Error::File(path.to_owned(), error))
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|error| Error::File(path.to_owned(), error))
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(|error| Error::File(path.to_owned(), error))
}

/// Makes `path` a symbolic link to `target`.
fn replace_link(path: &Path, target: &str) -> Result<(), Error> {
    let broken = |error| Error::File(path.to_owned(), error);
    if path.symlink_metadata().is_ok() {
        fs::remove_file(path).map_err(broken)?;
    }
    symlink(target, path).map_err(broken)
}

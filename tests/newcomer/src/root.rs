//! A root directory with the files of a C compiler, a shell and the basic programs, and nothing else of the machine; the
//! Rust toolchain, the downloaded crates and the builds are mounted in it, at the same places, without a network.
//!
//! The files are those of installed Debian packages, so that nothing is downloaded and it takes seconds.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{At, Error};

/// The packages whose files are in the root, with those that they depend on.
const PACKAGES: [&str; 7] = ["gcc", "libc6-dev", "make", "coreutils", "dash", "grep", "libc-bin"];

/// Mounts what is shared with the machine, in a namespace of its own, and enters the root: the first arguments are root,
/// toolchain, crates, repository and builds, the others the command. Nothing is mounted on `/tmp`, because the repository
/// may lie there.
const ENTER: &str = r#"
root=$1 toolchain=$2 crates=$3 repository=$4 builds=$5; shift 5
mount --make-rprivate /
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount --bind "$toolchain" "$root$toolchain"
mount -o remount,bind,ro "$root$toolchain"
mount --bind "$crates" "$root$crates"
mount --bind "$builds" "$root$repository/target"
exec chroot "$root" "$@"
"#;

/// Builds the root, copies the files of the repository that are under version control, and follows the texts there.
pub(crate) fn run(is_quick: bool) -> Result<bool, Error> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let repository = repository.canonicalize().at(&repository)?;
    if output("dpkg-query", ["--version"]).is_err() {
        return Err(Error::Lacks("no dpkg-query: the root is made of Debian packages".into()));
    }
    let files = files_of_packages()?;
    if output("unshare", ["--mount", "--net", "--pid", "--fork", "true"]).is_err() {
        return Err(Error::Lacks("no mount namespaces (root, and `unshare`)".into()));
    }
    let toolchain =
        PathBuf::from(in_directory(&repository, "rustc", ["--print", "sysroot"])?.trim());
    let cargo_home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let cargo_home = cargo_home.ok_or_else(|| Error::Lacks("no HOME".into()))?;
    let builds = std::env::var_os("CARGO_TARGET_DIR").unwrap_or("target".into());
    let builds = repository.join(builds);
    for manifest in ["Cargo.toml", "tests/freestanding/Cargo.toml"] {
        in_directory(&repository, "cargo", ["fetch", "--locked", "--manifest-path", manifest])?;
    }

    let root = builds.join("newcomer");
    if root.exists() {
        fs::remove_dir_all(&root).at(&root)?;
    }
    for directory in ["dev", "proc", "tmp", "etc", "root"] {
        make(&root.join(directory))?;
    }
    system(&root, &files)?;
    clone(&repository, &root)?;
    let crates = cargo_home.join("registry");
    for directory in [&toolchain, &crates, &repository.join("target")] {
        make(&inside(&root, directory))?;
    }
    let config = cargo_home.join("config.toml");
    if config.exists() {
        fs::copy(&config, inside(&root, &config)).at(&config)?;
    }
    let program = std::env::current_exe().at(Path::new("/proc/self/exe"))?;
    fs::copy(&program, root.join("newcomer")).at(&program)?;
    enter(&root, &[&toolchain, &crates, &repository, &builds], &cargo_home, is_quick)
}

/// Follows the texts inside of the root.
fn enter(root: &Path, shared: &[&Path], home: &Path, is_quick: bool) -> Result<bool, Error> {
    let &[toolchain, _, repository, _] = shared else { return Ok(false) };
    let directories = [
        home.join("bin"),
        toolchain.join("bin"),
        // In the full form, the text installs the command before it is used.
        repository.join(if is_quick { "target/release" } else { "none" }),
    ];
    let directories = directories.map(|directory| directory.display().to_string());
    let path = format!("{}:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", directories.join(":"));
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-ec", ENTER, "sh"]);
    command.arg(root).args(shared).args(["/newcomer", "follow"]);
    if is_quick {
        command.arg("--quick");
    }
    command.arg(repository).env_clear();
    let passed = std::env::vars_os().filter(|(name, _)| {
        let name = name.to_string_lossy();
        name.starts_with("CARGO_PROFILE_") || name == "CARGO_INCREMENTAL" || name == "RUSTFLAGS"
    });
    command.envs(passed).env("PATH", path).env("HOME", "/root").env("CARGO_HOME", home);
    command.env("CARGO_NET_OFFLINE", "true").env("LC_ALL", "C.UTF-8");
    let status = command.status();
    let status = status.map_err(|error| Error::Program(format!("unshare: {error}")))?;
    Ok(status.success())
}

/// A path of the machine inside of the root.
fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn make(directory: &Path) -> Result<(), Error> {
    fs::create_dir_all(directory).at(directory)
}

/// Copies the files of packages; directories that are symbolic links stay so.
fn system(root: &Path, files: &BTreeSet<PathBuf>) -> Result<(), Error> {
    for name in ["bin", "sbin", "lib", "lib32", "lib64", "libx32"] {
        if let Ok(target) = fs::read_link(Path::new("/").join(name)) {
            make(&root.join(&target))?;
            symlink(&target, root.join(name)).at(&root.join(name))?;
        }
    }
    for file in files {
        let to = inside(root, file);
        let Ok(kind) = file.symlink_metadata() else { continue };
        if kind.is_dir() || to.symlink_metadata().is_ok() {
            continue;
        }
        make(to.parent().unwrap_or(root))?;
        match fs::read_link(file) {
            Ok(target) => symlink(target, &to).at(&to)?,
            Err(_) => fs::copy(file, &to).map(drop).at(file)?,
        }
    }
    Ok(())
}

/// Copies what a clone contains, with times, so that builds of the repository count as up to date.
fn clone(repository: &Path, root: &Path) -> Result<(), Error> {
    let names = in_directory(repository, "git", ["ls-files", "-z"])?;
    for name in names.split_terminator('\0') {
        let (from, to) = (repository.join(name), inside(root, &repository.join(name)));
        make(to.parent().unwrap_or(root))?;
        if let Ok(target) = fs::read_link(&from) {
            symlink(target, &to).at(&to)?;
            continue;
        }
        fs::copy(&from, &to).at(&from)?;
        let modified = from.metadata().and_then(|found| found.modified()).at(&from)?;
        let file = fs::File::options().write(true).open(&to).at(&to)?;
        file.set_modified(modified).at(&to)?;
    }
    Ok(())
}

/// The files of the packages and of those that they depend on.
fn files_of_packages() -> Result<BTreeSet<PathBuf>, Error> {
    let mut wanted: Vec<String> = PACKAGES.map(str::to_owned).to_vec();
    let mut known = BTreeSet::new();
    let mut files = BTreeSet::new();
    while let Some(package) = wanted.pop() {
        if !known.insert(package.clone()) {
            continue;
        }
        let format = "--showformat=${db:Status-Status}, ${Pre-Depends}, ${Depends}";
        // An alternative that is not installed, or a name that another package provides.
        let Ok(depends) = output("dpkg-query", ["--show", format, &package]) else {
            continue;
        };
        if !depends.starts_with("installed,") {
            continue;
        }
        let list = output("dpkg-query", ["--listfiles", &package])?;
        files.extend(list.lines().filter(|line| line.starts_with('/')).map(PathBuf::from));
        let names = depends.split([',', '|']).filter_map(|part| part.split_whitespace().next());
        wanted.extend(names.map(|name| name.split(':').next().unwrap_or(name).to_owned()));
    }
    files.retain(|file| !file.starts_with("/usr/share/doc") && !file.starts_with("/usr/share/man"));
    // `cc` and `c99` are links that the alternatives of Debian manage.
    files.extend(["/usr/bin/cc", "/etc/alternatives/cc"].map(PathBuf::from));
    match files.contains(Path::new("/usr/bin/gcc")) {
        true => Ok(files),
        false => Err(Error::Lacks("the package gcc is not installed".into())),
    }
}

fn output<A: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = A>,
) -> Result<String, Error> {
    in_directory(Path::new("/"), program, arguments)
}

/// What a program prints.
fn in_directory<A: AsRef<OsStr>>(
    directory: &Path,
    program: &str,
    arguments: impl IntoIterator<Item = A>,
) -> Result<String, Error> {
    let mut command = Command::new(program);
    let output = command.args(arguments).current_dir(directory).output();
    let output = output.map_err(|error| Error::Program(format!("{program}: {error}")))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(Error::Program(format!("{program}: {}: {said}", output.status)))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Enters a root whose repository lies below `/tmp`, with a `chroot` that looks for the file of the builds.
    #[test]
    fn repository_below_tmp_is_there_with_its_builds() {
        if output("unshare", ["--mount", "true"]).is_err() {
            println!("skipped: no mount namespaces");
            return;
        }
        let top = PathBuf::from(format!("/tmp/newcomer-root-{}", std::process::id()));
        let [root, toolchain, crates] = ["root", "toolchain", "crates"].map(|name| top.join(name));
        let [repository, builds] = ["repository", "builds"].map(|name| top.join(name));
        for directory in ["dev", "proc", "tmp"] {
            make(&root.join(directory)).unwrap();
        }
        for directory in [&toolchain, &crates, &builds] {
            make(directory).unwrap();
            make(&inside(&root, directory)).unwrap();
        }
        make(&inside(&root, &repository.join("target"))).unwrap();
        fs::write(inside(&root, &repository.join("README.md")), "text").unwrap();
        fs::write(builds.join("built"), "").unwrap();
        let program = top.join("chroot");
        fs::write(&program, "#!/bin/sh\ncat \"$1$2/README.md\" && ls \"$1$2/target\"\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();

        let path = format!("{}:{}", top.display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "sh", "-ec", ENTER, "sh"]).arg(&root);
        command.args([&toolchain, &crates, &repository, &builds]).arg(&repository);
        let entered = command.env("PATH", path).output().unwrap();
        let seen = String::from_utf8_lossy(&entered.stdout).into_owned();
        fs::remove_dir_all(&top).unwrap();
        assert_eq!(seen, "textbuilt\n", "{}", String::from_utf8_lossy(&entered.stderr));
    }
}

//! The bill of materials of what is shipped: the crates in the libraries and in the command, with their versions,
//! licences and checksums, as SPDX 2.3 in JSON; and the texts of their licences.
//!
//! Source: the SPDX specification 2.3, chapters 6, 7 and 11.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::error::{At, Error};
use crate::shell::{cargo, command, root};

/// A crate from the registry that is part of a shipped file.
struct Dependency {
    version: String,
    license: String,
    repository: String,
    directory: PathBuf,
    checksum: Option<String>,
}

/// By name and version.
type Dependencies = BTreeMap<(String, String), Dependency>;

/// Writes `sbom.spdx.json` and `licences.txt` into a directory.
pub(crate) fn write(directory: &Path) -> Result<(), Error> {
    let dependencies = dependencies()?;
    let bill = directory.join("sbom.spdx.json");
    let text = format!("{:#}\n", document(&dependencies)?);
    fs::write(&bill, text).at(&bill)?;
    let licences = directory.join("licences.txt");
    fs::write(&licences, texts(&dependencies)?).at(&licences)
}

/// The crates that cargo links into the shipped packages, tests and build scripts left out.
fn dependencies() -> Result<Dependencies, Error> {
    let mut linked = Vec::new();
    for package in ["smf-capi --features gdb,exec", "smf-cli"] {
        let tree = format!(
            "tree --locked --edges normal,no-proc-macro --prefix none --no-dedupe --package {package}"
        );
        let lines = cargo(&tree).args(["--format", "{p}"]).output()?;
        linked.extend(lines.lines().filter_map(name_and_version));
    }
    let metadata =
        cargo("metadata --locked --format-version 1 --filter-platform x86_64-unknown-linux-gnu")
            .output()?;
    let metadata: Value = serde_json::from_str(&metadata).unwrap_or_default();
    let checksums = checksums()?;
    let text = |package: &Value, name: &str| {
        package.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let packages = metadata.get("packages").and_then(Value::as_array).into_iter().flatten();
    let dependencies: Dependencies = packages
        .filter(|package| package.get("source").is_some_and(|source| !source.is_null()))
        .map(|package| ((text(package, "name"), text(package, "version")), package))
        .filter(|(key, _)| linked.contains(key))
        .map(|(key, package)| {
            let manifest = PathBuf::from(text(package, "manifest_path"));
            let dependency = Dependency {
                version: key.1.clone(),
                license: text(package, "license"),
                repository: text(package, "repository"),
                directory: manifest.parent().unwrap_or(&manifest).to_owned(),
                checksum: checksums.get(&key).cloned(),
            };
            (key, dependency)
        })
        .collect();
    match dependencies.is_empty() {
        true => {
            Err(Error::Missing("list of packages in `cargo metadata`", root().join("Cargo.toml")))
        }
        false => Ok(dependencies),
    }
}

/// Of a line `hashbrown v0.17.1 (proc-macro)`; crates of this repository have a path at the end.
fn name_and_version(line: &str) -> Option<(String, String)> {
    let mut words = line.split_whitespace();
    let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
    Some((name.to_owned(), version.to_owned()))
}

/// The SHA-256 checksums in Cargo.lock.
fn checksums() -> Result<BTreeMap<(String, String), String>, Error> {
    let path = root().join("Cargo.lock");
    let lock = fs::read_to_string(&path).at(&path)?;
    let field = |package: &str, name: &str| {
        let mut lines = package.lines().filter_map(|line| line.strip_prefix(name));
        Some(lines.next()?.strip_prefix(" = \"")?.strip_suffix('"')?.to_owned())
    };
    let packages = lock.split("[[package]]").filter_map(|package| {
        let key = (field(package, "name")?, field(package, "version")?);
        Some((key, field(package, "checksum")?))
    });
    Ok(packages.collect())
}

fn document(dependencies: &Dependencies) -> Result<Value, Error> {
    let version = env!("CARGO_PKG_VERSION");
    // The time of the commit, so that two builds give the same bytes.
    let created = command("git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd")
        .env("TZ", "UTC")
        .output()?;
    let id =
        |name: &str, version: &str| format!("SPDXRef-{name}-{version}").replace(['_', '+'], "-");
    let mut packages = vec![json!({
        "SPDXID": "SPDXRef-smf",
        "name": "smf",
        "versionInfo": version,
        "downloadLocation": env!("CARGO_PKG_REPOSITORY"),
        "filesAnalyzed": false,
        "licenseDeclared": env!("CARGO_PKG_LICENSE"),
        "copyrightText": "NOASSERTION",
    })];
    let mut relationships = vec![json!({
        "spdxElementId": "SPDXRef-DOCUMENT",
        "relationshipType": "DESCRIBES",
        "relatedSpdxElement": "SPDXRef-smf",
    })];
    for ((name, version), dependency) in dependencies {
        let checksums = dependency.checksum.iter();
        let checksums: Vec<Value> =
            checksums.map(|value| json!({"algorithm": "SHA256", "checksumValue": value})).collect();
        let download = match dependency.repository.is_empty() {
            true => "NOASSERTION",
            false => &dependency.repository,
        };
        packages.push(json!({
            "SPDXID": id(name, version),
            "name": name,
            "versionInfo": dependency.version,
            "downloadLocation": download,
            "filesAnalyzed": false,
            // The old form of cargo for a choice.
            "licenseDeclared": dependency.license.replace('/', " OR "),
            "copyrightText": "NOASSERTION",
            "checksums": checksums,
            "externalRefs": [{
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": format!("pkg:cargo/{name}@{version}"),
            }],
        }));
        relationships.push(json!({
            "spdxElementId": "SPDXRef-smf",
            "relationshipType": "DEPENDS_ON",
            "relatedSpdxElement": id(name, version),
        }));
    }
    Ok(json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": format!("smf-{version}"),
        "documentNamespace": format!("{}/sbom/{version}", env!("CARGO_PKG_REPOSITORY")),
        "creationInfo": {"created": created.trim(), "creators": ["Organization: The smf authors"]},
        "packages": packages,
        "relationships": relationships,
    }))
}

/// The licence files in the sources of the crates, each text once.
fn texts(dependencies: &Dependencies) -> Result<String, Error> {
    let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for ((name, version), dependency) in dependencies {
        let directory = &dependency.directory;
        for entry in fs::read_dir(directory).at(directory)? {
            let path = entry.at(directory)?.path();
            let file = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
            let is_licence = ["LICEN", "COPYING", "COPYRIGHT", "NOTICE"];
            if path.is_file() && is_licence.iter().any(|start| file.starts_with(start)) {
                let text = fs::read_to_string(&path).at(&path)?;
                users.entry(text).or_default().push(format!("{name} {version}"));
            }
        }
    }
    let mut sections: Vec<(Vec<String>, String)> =
        users.into_iter().map(|(text, users)| (users, text)).collect();
    sections.sort();
    let mut all = String::new();
    for (users, text) in sections {
        // Writing to a string does not fail.
        let _ = write!(all, "==== {} ====\n\n{}\n\n", users.join(", "), text.trim_end());
    }
    Ok(all)
}

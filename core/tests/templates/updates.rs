//! Updates of notes: in memory, on disk, and failed ones.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use smf_core::format::note::{Instantiation, Note, Possible, Status};
use smf_core::format::write::library;
use smf_core::format::{Layout, Library, Smf};
use smf_core::memory::ReplaceError;
use smf_core::templates::{InstantiateError, JitConfig, MetadataError, UpdateError};

use crate::build::{Directory, SILENT, Spec, instantiator, loaded};
use crate::call_at;

/// The symbols of a note: those of `possible`, and those of `instantiations` with status and location.
fn rows(note: &[u8]) -> (Vec<String>, Vec<[String; 4]>) {
    let note = Note::parse(note, 0).unwrap();
    note.check().unwrap();
    let possible =
        note.entries::<Possible>().map(|row| row.unwrap().mangled_name().to_string()).collect();
    let made = note.entries::<Instantiation>().map(|row| {
        let row = row.unwrap();
        [row.mangled_name(), row.from_loc(), row.to_obj(), row.status_text()].map(|c| c.to_string())
    });
    (possible, made.collect())
}

fn on_disk(path: &[u8]) -> (Vec<String>, Vec<[String; 4]>) {
    let file = fs::read(Path::new(std::ffi::OsStr::from_bytes(path))).unwrap();
    let smf = Smf::parse(&file).unwrap();
    smf.verify().unwrap();
    rows(smf.note_bytes().unwrap().unwrap().0)
}

fn two() -> Spec {
    Spec::new().both("f", "ret 1").both("g", "ret 2")
}

#[test]
fn note_is_updated_in_memory() {
    let (jit, _) = loaded(JitConfig::default(), &[two()]);
    assert!(jit.try_jit_instantiate(b"f$i64").is_ok());
    let (possible, made) = rows(&jit.note(b"m0").unwrap().unwrap());
    assert_eq!((possible, made.len()), (vec!["g$i64".into()], 1));
}

#[cfg(feature = "source")]
#[test]
fn note_lists_the_instances_that_an_instance_calls() {
    use smf_core::format::note::Dependency;

    let calling = Spec::new().both("f", "ret 1").both("g", "call f$i64").both("h", "call g$i64");
    let (directory, (jit, _)) = (Directory::new("calls"), instantiator(JitConfig::default()));
    let path = directory.file("a.smf", &calling.file());
    jit.load_smf_metadata(&path).unwrap();
    assert!(jit.try_jit_instantiate(b"h$i64").is_ok());
    let calls = |note: &[u8]| {
        let note = Note::parse(note, 0).unwrap();
        let edges = note.entries::<Dependency>().map(|edge| {
            let edge = edge.unwrap();
            (edge.from_inst().to_string(), edge.to_inst().to_string())
        });
        edges.collect::<Vec<_>>()
    };
    let expected = [("g$i64", "f$i64"), ("h$i64", "g$i64")].map(|(f, t)| (f.into(), t.into()));
    assert_eq!(calls(&jit.note(&path).unwrap().unwrap()), expected);
    let file = fs::read(directory.0.join("a.smf")).unwrap();
    let (note, _) = Smf::parse(&file).unwrap().note_contents().unwrap().unwrap();
    assert_eq!(calls(&note), expected);
}

#[test]
fn note_is_updated_on_disk() {
    for layout in [Layout::Packed, Layout::Native] {
        let (directory, (jit, _)) = (Directory::new("disk"), instantiator(JitConfig::default()));
        let path = directory.file("a.smf", &two().layout(layout).file());
        let file = directory.0.join("a.smf");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o750)).unwrap();
        jit.load_smf_metadata(&path).unwrap();
        assert!(jit.try_jit_instantiate(b"f$i64").is_ok());
        let text = String::from_utf8_lossy(&path);
        let row = ["f$i64", &format!("{text}:0:0:jit"), "jit_memory", "jit_compiled"];
        let expected = (vec!["g$i64".to_owned()], vec![row.map(str::to_owned)]);
        assert_eq!(on_disk(&path), expected);
        assert_eq!(rows(&jit.note(&path).unwrap().unwrap()), expected);
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o750);
        // A new process finds it there.
        let (other, _) = instantiator(JitConfig::default());
        other.load_smf_metadata(&path).unwrap();
        assert!(!other.can_jit_instantiate(b"f$i64") && other.can_jit_instantiate(b"g$i64"));
        assert_eq!(fs::read_dir(&directory.0).unwrap().count(), 1);
    }
}

#[test]
fn compiled_instance_is_no_longer_possible() {
    let (jit, _) = loaded(JitConfig::default(), &[two()]);
    assert!(jit.try_jit_instantiate(b"f$i64").is_ok());
    assert!(!jit.can_jit_instantiate(b"f$i64") && jit.find_possible(b"f$i64").unwrap().is_none());
    assert!(jit.can_jit_instantiate(b"g$i64"));
    assert!(jit.try_jit_instantiate(b"f$i64").is_ok());
}

#[test]
fn status_of_row_is_jit_compiled() {
    let (jit, _) = loaded(JitConfig::default(), &[two()]);
    assert!(jit.try_jit_instantiate(b"f$i64").is_ok());
    let note = jit.note(b"m0").unwrap().unwrap();
    let row = Note::parse(&note, 0).unwrap().entries::<Instantiation>().next().unwrap().unwrap();
    assert!(matches!(row.status(), Status::JitCompiled));
    assert!(row.from_loc().eq_str("m0:0:0:jit") && row.template().eq_str("f"));
    assert!(row.to_obj().eq_str("jit_memory") && row.type_args().eq_str("i64"));
}

#[test]
fn failed_update_leaves_the_instance_and_the_old_file() {
    let (directory, (jit, count)) = (Directory::new("fails"), instantiator(JitConfig::default()));
    let path = directory.file("a.smf", &two().file());
    let file = directory.0.join("a.smf");
    jit.load_smf_metadata(&path).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).unwrap();
    let before = fs::read(&file).unwrap();
    let result = jit.try_jit_instantiate(b"f$i64");
    let Err(InstantiateError::UpdateFailed { instance, error }) = &result else {
        panic!("{result:?}")
    };
    assert_eq!(*error, UpdateError::Replace(ReplaceError::ReadOnly));
    let message = result.as_ref().unwrap_err().to_string();
    assert!(message.ends_with("but its module was not updated: the file is read-only"));
    assert_eq!(call_at(instance.address(), &[]), 1);
    assert_eq!(fs::read(&file).unwrap(), before);
    // The instance exists; a later update writes the file.
    assert!(jit.try_jit_instantiate(b"f$i64").is_ok());
    assert_eq!(count.load(std::sync::atomic::Ordering::Relaxed), 1);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(jit.update(), Ok(()));
    assert_eq!(on_disk(&path).0, ["g$i64"]);
}

#[test]
fn disabled_updates_leave_the_file_unchanged() {
    let (directory, (jit, _)) = (Directory::new("off"), instantiator(SILENT));
    let path = directory.file("a.smf", &two().file());
    jit.load_smf_metadata(&path).unwrap();
    assert!(jit.try_jit_instantiate(b"f$i64").is_ok());
    assert_eq!(jit.note(&path).unwrap().unwrap(), two().note_text().into_bytes());
    assert_eq!(on_disk(&path).0, ["f$i64", "g$i64"]);
    assert!(!jit.can_jit_instantiate(b"f$i64") && jit.can_jit_instantiate(b"g$i64"));
    // Until they are requested.
    assert!(jit.try_jit_instantiate(b"g$i64").is_ok());
    assert_eq!(jit.update(), Ok(()));
    assert_eq!((on_disk(&path).0.len(), on_disk(&path).1.len()), (0, 2));
}

/// An instance that was made before is as much an instance of the module.
#[test]
fn module_that_is_loaded_again_records_earlier_instances() {
    let (directory, (jit, _)) = (Directory::new("again"), instantiator(SILENT));
    let path = directory.file("a.smf", &two().file());
    jit.load_smf_metadata(&path).unwrap();
    assert!(jit.try_jit_instantiate(b"f$i64").is_ok());
    jit.load_smf_metadata(&path).unwrap();
    assert_eq!(jit.update(), Ok(()));
    let (possible, made) = on_disk(&path);
    assert_eq!((possible, made.len()), (vec!["g$i64".into()], 1));
}

/// All instances of one request are recorded together, each in its module.
#[test]
fn required_instances_are_recorded() {
    let (directory, (jit, _)) = (Directory::new("needed"), instantiator(JitConfig::default()));
    let one = directory.file("a.smf", &Spec::new().both("f", "instance g i64").file());
    let other =
        directory.file("b.smf", &Spec::new().both("g", "instance h i64").both("h", "ret 4").file());
    jit.load_smf_metadata(&one).unwrap();
    jit.load_smf_metadata(&other).unwrap();
    let result = jit.try_jit_instantiate(b"f$i64");
    assert_eq!(call_at(result.as_ref().unwrap().address(), &[]), 4);
    assert_eq!((on_disk(&one).1.len(), on_disk(&other).1.len()), (1, 2));
}

/// An archive of these modules.
pub(crate) fn archive(modules: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = vec![0; library::length(modules).unwrap()];
    library::write(modules, &mut archive).unwrap();
    archive
}

/// The module is replaced inside the archive; the other modules and the hashes remain valid.
#[test]
fn archived_module_is_updated_in_its_archive() {
    let (directory, (jit, _)) = (Directory::new("archive"), instantiator(JitConfig::default()));
    let module = two().file();
    let path =
        directory.file("a.lsm", &archive(&[("x", b"first"), ("m", &module), ("y", b"last")]));
    assert!(jit.load_smf_metadata(&path).is_err());
    assert_eq!(jit.load_archived_metadata(&path, "none"), Err(MetadataError::NoModule));
    assert!(jit.load_archived_metadata(&directory.file("m.smf", &module), "m").is_err());
    jit.load_archived_metadata(&path, "m").unwrap();
    let name = [&path[..], b"(m)"].concat();
    assert_eq!(jit.find_possible(b"f$i64").unwrap().unwrap().path[..], name[..]);
    assert!(jit.try_jit_instantiate(b"f$i64").is_ok());
    let file = fs::read(directory.0.join("a.lsm")).unwrap();
    let library = Library::parse(&file).unwrap();
    library.verify().unwrap();
    let data = |name| library.find(name).unwrap().unwrap().data;
    assert_eq!((data("x"), data("y")), (&b"first"[..], &b"last"[..]));
    let told = Smf::parse(data("m")).unwrap();
    told.verify().unwrap();
    let (possible, made) = rows(told.note_bytes().unwrap().unwrap().0);
    assert_eq!((possible, made.len()), (vec!["g$i64".to_owned()], 1));
    assert_eq!(made[0][1], format!("{}:0:0:jit", String::from_utf8_lossy(&name)));
    assert_eq!(fs::read_dir(&directory.0).unwrap().count(), 2);
    // A damaged archive is an error and remains unchanged.
    let mut damaged = archive(&[("m", &module), ("y", b"last")]);
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    directory.file("a.lsm", &damaged);
    let result = jit.try_jit_instantiate(b"g$i64");
    assert!(
        matches!(
            result,
            Err(InstantiateError::UpdateFailed { error: UpdateError::Library(_), .. })
        ),
        "{result:?}"
    );
    assert_eq!(fs::read(directory.0.join("a.lsm")).unwrap(), damaged);
    // So does an archive without the module.
    directory.file("a.lsm", &archive(&[("y", b"last")]));
    assert_eq!(jit.update(), Err(UpdateError::Changed));
}

#[test]
fn replaced_file_is_left_unchanged() {
    let (directory, (jit, _)) = (Directory::new("other"), instantiator(JitConfig::default()));
    let path = directory.file("a.smf", &two().file());
    jit.load_smf_metadata(&path).unwrap();
    let built = Spec::new().both("new", "ret 1").file();
    directory.file("a.smf", &built);
    let result = jit.try_jit_instantiate(b"f$i64");
    assert!(
        matches!(result, Err(InstantiateError::UpdateFailed { error: UpdateError::Changed, .. })),
        "{result:?}"
    );
    assert_eq!(fs::read(directory.0.join("a.smf")).unwrap(), built);
    directory.file("a.smf", b"broken");
    let result = jit.try_jit_instantiate(b"g$i64");
    assert!(
        matches!(result, Err(InstantiateError::UpdateFailed { error: UpdateError::Format(_), .. })),
        "{result:?}"
    );
}

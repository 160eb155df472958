//! A new version in the place of an old one.
//!
//! The new version is placed and linked beside the old one, takes over its data if that is wanted, and
//! only then becomes what others reach, by one store to the root of the table of entry points. Until
//! that store, whatever fails leaves the old version as it was.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Missing;
use super::bytes::{ModuleBytes, ReadModule};
use super::entries::Redirection;
use super::group::{Group, LinkedMember};
use super::loaded::Loaded;
use super::modules::{ModuleLoader, enter_members, read, retry, take_slots};
use super::moving::{self, Moved};
use super::state::Scope;
use super::version::{Body, EntryPoints, Version};
use super::{LoadError, ModuleHandle};
use crate::format::SymbolKind;

/// What becomes of the data of the old version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OldData {
    /// Data of one name and one size in both versions is copied into the new one: each symbol in a
    /// writable section whose name is unique in its version and in whose bytes the linker has written
    /// no address. Addresses that the program itself has stored are copied as they are: those of the
    /// old version must not be among them.
    #[default]
    Move,
    /// The new version begins with its own.
    Leave,
}

/// How a module was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// Symbols of data that were copied.
    pub moved: Moved,
}

impl ModuleLoader {
    /// Replaces a module by a new version of it. Others that import functions from it call the new
    /// version from then on, and so does who has [resolved](Self::resolve) one; the handle stays.
    /// Who is inside of the old version finishes there, and then its memory is given back.
    ///
    /// No thread should be writing to data that is moved.
    ///
    /// # Errors
    /// [`LoadError::NotReloadable`] when its file does not allow it;
    /// [`LoadError::FunctionGone`] when the new version lacks a function that others may call;
    /// [`LoadError::DataInUse`] when another module refers to its data; everything that
    /// [`load`](Self::load) may say. The old version is then as it was.
    pub fn reload(
        &self,
        handle: ModuleHandle,
        bytes: ModuleBytes,
        old_data: OldData,
        missing: &mut dyn FnMut(&Missing<'_>),
    ) -> Result<Reloaded, LoadError> {
        // What was unloaded before refers to no data any more.
        self.collect();
        let reloaded = self.reload_held(handle, bytes, old_data, missing);
        self.collect();
        reloaded
    }

    /// Holds the old version while it lasts.
    fn reload_held(
        &self,
        handle: ModuleHandle,
        bytes: ModuleBytes,
        old_data: OldData,
        missing: &mut dyn FnMut(&Missing<'_>),
    ) -> Result<Reloaded, LoadError> {
        let old = self.get(handle)?;
        let read = read(&old.version().name, bytes)?;
        retry(&old.version().name, || self.reload_once(&old, &read, old_data, missing))
    }

    fn reload_once(
        &self,
        old: &Loaded<'_>,
        read: &ReadModule,
        old_data: OldData,
        missing: &mut dyn FnMut(&Missing<'_>),
    ) -> Result<Reloaded, LoadError> {
        let (name, handle) = (&old.version().name, old.handle());
        let Some(EntryPoints { entries, .. }) = &old.version().entries else {
            return Err(LoadError::NotReloadable { module: old.version().short_name() });
        };
        let mut group = Group::new(self, self.state().scope(), Some(handle));
        group.place(name.clone(), read.clone(), Some(entries.clone()))?;
        let (scope, mut members) = group.link(missing)?;
        self.check_clashes(&scope, &members, Some(handle))?;
        let Some(new) = members.first_mut() else { return Err(LoadError::OutOfMemory) };
        let moved = match (&old.version().body, old_data) {
            (Body::Linked(from), OldData::Move) => moving::move_data(from, &new.module)?,
            _ => Moved::default(),
        };
        let function = |name: &[u8]| {
            let export = new.module.find(name)?;
            (export.kind == SymbolKind::Function).then_some(export.address)
        };
        let step = entries.prepare(function).map_err(|refusal| refusal.of(name))?;
        let version = step.version();
        new.entries = Some(EntryPoints { entries: entries.clone(), version });
        self.replace(old.version(), &scope, members, step)?;
        Ok(Reloaded { moved })
    }

    /// Takes the step to a new version, if nothing has come in between.
    fn replace(
        &self,
        old: &Arc<Version>,
        scope: &Scope,
        members: Vec<LinkedMember>,
        step: Redirection<'_>,
    ) -> Result<(), LoadError> {
        let handle = old.handle;
        let mut state = self.state();
        check_unchanged(state.version(handle), old)?;
        self.check_commit(&state, scope, &members, Some(handle))?;
        if let Some(by) = state.data_user(handle) {
            return Err(LoadError::DataInUse { module: old.short_name(), by });
        }
        state.reserve_retired()?;
        let mut handles = take_slots(&mut state, members.len().saturating_sub(1))?;
        handles.insert(0, handle);
        let tables = step.commit();
        if let Some(replaced) = enter_members(&mut state, &handles, members) {
            state.retire(replaced, tables, self.eras());
        }
        Ok(())
    }
}

fn check_unchanged(
    now: Result<&Arc<Version>, LoadError>,
    then: &Arc<Version>,
) -> Result<(), LoadError> {
    match now {
        Ok(now) if Arc::ptr_eq(now, then) => Ok(()),
        _ => Err(LoadError::Changed { module: then.short_name() }),
    }
}

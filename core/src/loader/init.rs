//! The order in which constructors run, and the calls of them.
//!
//! Constructors of a module run after those of the modules that it imports from; in a cycle, the module that was asked
//! for comes last. No lock of the loader is held while one of them runs.

use alloc::vec::Vec;

use super::bytes::LinkedModule;
use super::inner::ModuleLoader;
use super::version::Version;
use crate::alloc_util::{AllocError, TryArc, try_filled, try_push, try_with_capacity};
use crate::codegen::registry::Phase;

/// The members in the order in which their constructors run. Empty if no member has any.
pub(super) fn init_order(members: &[TryArc<Version>]) -> Result<Vec<usize>, AllocError> {
    if !members.iter().any(|member| member.body.linked().is_some_and(LinkedModule::has_init)) {
        return Ok(Vec::new());
    }
    let mut order = try_with_capacity(members.len())?;
    let mut visited = try_filled(members.len(), &false)?;
    let mut path: Vec<(usize, usize)> = Vec::new();
    for first in 0..members.len() {
        visit(first, &mut visited, &mut path)?;
        while let Some((member, next)) = path.last_mut() {
            let dependencies = members.get(*member).map_or(&[][..], |member| &*member.dependencies);
            match dependencies.get(*next).map(|dependency| dependency.handle) {
                Some(handle) => {
                    *next += 1;
                    if let Some(provider) = handle.as_member() {
                        visit(provider, &mut visited, &mut path)?;
                    }
                }
                None => {
                    order.push(*member);
                    path.pop();
                }
            }
        }
    }
    Ok(order)
}

/// Appends a member to the path, unless it has been visited.
fn visit(
    member: usize,
    visited: &mut [bool],
    path: &mut Vec<(usize, usize)>,
) -> Result<(), AllocError> {
    match visited.get_mut(member) {
        Some(visited @ false) => *visited = true,
        _ => return Ok(()),
    }
    try_push(path, (member, 0))
}

/// Runs the constructors of new versions in this order. Those of modules from other loads, which another thread may be
/// running, end first.
pub(super) fn construct<'v>(loader: &ModuleLoader, versions: impl Iterator<Item = &'v Version>) {
    for version in versions {
        for dependency in &version.dependencies {
            let provider = loader.state().version(dependency.handle).ok().cloned();
            if let Some(module) = provider.as_ref().and_then(|version| version.body.linked()) {
                module.init_state().wait();
            }
        }
        if let Some(module) = version.body.linked() {
            let _span = module.has_init().then(|| loader.phase(Phase::Construct, &version.name));
            module.run_constructors();
        }
    }
}

/// The members with these numbers.
pub(super) fn in_order<'v>(
    members: &'v [TryArc<Version>],
    order: &[usize],
) -> impl DoubleEndedIterator<Item = &'v Version> {
    order.iter().filter_map(|member| members.get(*member)).map(|member| &**member)
}

/// Runs the destructors of members whose constructors have run, in reverse order, because they do not become visible.
pub(super) fn undo(members: &[TryArc<Version>], order: &[usize]) {
    for module in in_order(members, order).rev().filter_map(|version| version.body.linked()) {
        module.run_destructors();
    }
}

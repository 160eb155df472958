//! Modules that import each other.

use super::*;

/// The progress of the search in a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Search {
    New,
    /// On the path from the first module.
    Open,
    Done,
}

impl Program<'_, '_> {
    /// Refuses imports that lead back to their module: the first in each cycle that is found. The modules, each behind those
    /// that it imports.
    pub(super) fn check_cycles(&mut self) -> Vec<u32> {
        let states = crate::alloc_util::try_filled(self.sources.len(), &Search::New);
        let mut order = Vec::new();
        let Some(mut states) = self.diagnostics.allocated(states) else { return order };
        // Modules on the path, each with the number of its next import.
        let mut path: Vec<(u32, usize)> = Vec::new();
        for first in 0..count(self.sources) {
            self.enter_module(&mut states, &mut path, first);
            while let Some(&mut (module, ref mut next)) = path.last_mut() {
                let index = *next;
                *next += 1;
                let Some(&import) = self.imports_of(module).get(index) else {
                    set(&mut states, module, Search::Done);
                    self.diagnostics.push(&mut order, module);
                    path.pop();
                    continue;
                };
                let Some(Import { module: target, .. }) = import else { continue };
                match at(&states, target) {
                    Some(Search::New) => self.enter_module(&mut states, &mut path, target),
                    Some(Search::Open) => self.report_cycle(&path, target, index),
                    _ => {}
                }
            }
        }
        order
    }

    fn enter_module(&mut self, states: &mut [Search], path: &mut Vec<(u32, usize)>, module: u32) {
        if at(states, module) == Some(&Search::New) {
            set(states, module, Search::Open);
            self.diagnostics.push(path, (module, 0));
        }
    }

    fn report_cycle(&mut self, path: &[(u32, usize)], target: u32, import: usize) {
        let sources = self.sources;
        let name = |number| at(sources, number).map_or("", |source| source.module);
        let start = path.iter().position(|open| open.0 == target).unwrap_or(0);
        let cycle = path.get(start..).unwrap_or(&[]);
        let shown = fmt::from_fn(|f| {
            cycle.iter().try_for_each(|open| write!(f, "`{}`, ", name(open.0)))?;
            write!(f, "`{}`", name(target))
        });
        let Some(&(last, _)) = path.last() else { return };
        let import = self.source(last).and_then(|source| source.tree.uses.get(import));
        let span = import.map_or(Span::default(), |import| import.span);
        let message = format_args!("modules import each other: {shown}");
        self.error(last, span, Code::ImportCycle, message);
    }
}

fn set(states: &mut [Search], module: u32, state: Search) {
    let place = usize::try_from(module).ok().and_then(|at| states.get_mut(at));
    if let Some(place) = place {
        *place = state;
    }
}

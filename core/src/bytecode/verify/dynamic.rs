//! Which functions work on objects, directly or through the functions that they call.
//!
//! Such a function is *dynamic*: the kinds of its values are known at run time alone, where they are checked. Its
//! parameters and the results of its calls are values of any kind, and paths that meet may leave different kinds in one
//! position. A caller of a dynamic function is dynamic as well, because the result of the call has any kind. So a
//! function that is not dynamic calls only functions that are not, and its kinds are known as ever. A dynamic function
//! may call one that is not, also with arguments that are no i64; then that call, too, is checked at run time.

use alloc::vec::Vec;

use super::Verifier;
use super::error::VerifyError;
use super::program::FunctionCode;
use crate::alloc_util::sort::sort;
use crate::alloc_util::{AllocError, try_filled, try_push};
use crate::format::constants::Constants;

impl Verifier {
    /// Finds the dynamic functions of a program: for each function whether it is dynamic.
    pub(super) fn find_dynamic(
        &mut self,
        functions: &[FunctionCode<'_>],
        constants: Constants<'_>,
    ) -> Result<Vec<bool>, VerifyError> {
        let mut dynamic = try_filled(functions.len(), &false)?;
        let (mut edges, mut waiting) = (Vec::new(), Vec::new());
        for ((function, is_dynamic), caller) in functions.iter().zip(&mut dynamic).zip(0..) {
            let scanned = self.scan_function(functions, constants, caller, Some(&mut edges));
            scanned.map_err(|(at, fault)| VerifyError::new(caller, function.code, at, fault))?;
            if self.scan.uses_objects {
                *is_dynamic = true;
                try_push(&mut waiting, caller)?;
            }
        }
        mark_callers(&mut dynamic, edges, waiting)?;
        Ok(dynamic)
    }
}

/// Marks all callers of the functions in `waiting`, and their callers. An edge is a callee and its caller.
fn mark_callers(
    dynamic: &mut [bool],
    mut edges: Vec<(u32, u32)>,
    mut waiting: Vec<u32>,
) -> Result<(), AllocError> {
    sort(&mut edges);
    while let Some(callee) = waiting.pop() {
        let first = edges.partition_point(|&(other, _)| other < callee);
        let callers = edges.get(first..).unwrap_or(&[]);
        for &(_, caller) in callers.iter().take_while(|&&(other, _)| other == callee) {
            let index = usize::try_from(caller).unwrap_or(usize::MAX);
            let Some(is_dynamic) = dynamic.get_mut(index).filter(|marked| !**marked) else {
                continue;
            };
            *is_dynamic = true;
            try_push(&mut waiting, caller)?;
        }
    }
    Ok(())
}

//! Functions by example, before and after a pass.

//! The execution manager with std: back ends by name, Simple source, files, and the functions of the host.

pub mod host_functions;

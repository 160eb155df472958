//! Named functions in memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// A function in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function<'n> {
    /// Its address.
    pub address: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Its name, as tools display it.
    pub name: &'n [u8],
}

impl Function<'_> {
    /// Reads its bytes through the kernel, so that unmapped memory is an error.
    pub(crate) fn code(&self) -> io::Result<Vec<u8>> {
        let mut code = Vec::new();
        let size = usize::try_from(self.size).unwrap_or(0);
        code.try_reserve_exact(size).map_err(|_| io::ErrorKind::OutOfMemory)?;
        code.resize(size, 0);
        File::open("/proc/self/mem")?.read_exact_at(&mut code, self.address)?;
        Ok(code)
    }
}

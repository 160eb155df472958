//! What the process has granted to one module.

use alloc::vec::Vec;

use super::host_services::{HostServiceError, HostServices, InitToken, TlsBlock};
use super::libraries::Libraries;

/// What the process has granted to one module. Dropping it ends all grants; no code of the module may run then.
pub(super) struct HostResources {
    pub(super) services: &'static dyn HostServices,
    /// The thread-local storage of the module.
    pub(super) tls: Option<TlsBlock>,
    /// The thread-local symbols of shared objects that the module uses.
    pub(super) imported_tls: Vec<TlsBlock>,
    /// The constructors and destructors.
    pub(super) init: Option<InitToken>,
    /// The registered section `.eh_frame`, and its token.
    pub(super) eh_frame: Option<(EhFrame, usize)>,
    /// The open libraries, closed last.
    pub(super) libraries: Libraries,
}

/// A section `.eh_frame` in the pages of its module: its address and its size in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct EhFrame {
    pub(super) address: usize,
    pub(super) size: usize,
}

impl HostResources {
    /// No grants yet.
    pub(super) fn new(libraries: Libraries) -> Self {
        let services = libraries.services();
        let imported_tls = Vec::new();
        Self { services, tls: None, imported_tls, init: None, eh_frame: None, libraries }
    }

    /// Registers unwinding tables. A host without an unwinder is an error only if the module `needs` it.
    pub(super) fn register_unwinding(
        &mut self,
        eh_frame: EhFrame,
        needs: bool,
    ) -> Result<(), HostServiceError> {
        match self.services.register_unwinding(eh_frame.address, eh_frame.size) {
            Ok(token) => self.eh_frame = Some((eh_frame, token)),
            Err(HostServiceError::Unavailable(_)) if !needs => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

impl Drop for HostResources {
    fn drop(&mut self) {
        if let Some(init) = self.init.take() {
            self.services.release_init(init);
        }
        if let Some((EhFrame { address, size }, token)) = self.eh_frame.take() {
            self.services.deregister_unwinding(address, size, token);
        }
        for tls in self.tls.take().into_iter().chain(self.imported_tls.drain(..)) {
            self.services.release_tls(tls);
        }
    }
}

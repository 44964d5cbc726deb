//! One file a command; each `run` checks what may be done, does it in one call, and says what came of it.

pub(crate) mod connect;
pub(crate) mod rpc;
pub(crate) mod subscribe;
pub(crate) mod unsubscribe;

//! Zabbix's JSON-RPC 2.0 API from outside: 6.0 to 7.2 and later.
//!
//! [`ZabbixApi`] is one frontend and one token; [`ZabbixApi::session`] asks for the version, which decides how the
//! token is sent and what parameters are called, and has the calls. What they answer is in [`signalbox_zabbix::api`].
//! [`ApiError`] tells apart what an admin would mend in different places.

mod call;
mod client;
mod error;
mod version;

pub use call::{Session, Source, Update};
pub use client::{Token, ZabbixApi};
pub use error::ApiError;
pub use version::Version;

#[cfg(test)]
mod tests;

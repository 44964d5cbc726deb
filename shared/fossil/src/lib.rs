//! Fossil delta: what changed between two versions of a document, in the encoding of the Fossil version control system
//! (fossil-scm.org, "Fossil Delta Format") as the Centrifuge SDKs read it.
//!
//! ```text
//! delta   = <length of the target> "\n" command* <checksum of the target> ";"
//! command = <length> "@" <offset in the origin> ","     copy
//!         | <length> ":" <bytes>                        literal
//! ```
//! Numbers are in Fossil's base 64, without padding.
//!
//! In the JSON protocol a delta travels as a string, so it has to be text: the crate fossil-delta on crates.io (0.2.0, January 2023,
//! its last release) cuts characters in two, and what it writes for text "might not be valid utf-8" by its own README.

mod apply;
mod create;
mod format;

pub use apply::{DeltaError, apply};
pub use create::create;

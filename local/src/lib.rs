//! The whole cloud on one machine.

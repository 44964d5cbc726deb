//! Flows through the real handlers, and the whole on the local cloud.

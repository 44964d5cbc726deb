//! Flows through the real handlers, and the whole on the local cloud. One binary.

mod flow_connect;
mod flow_status;
mod world;

//! Flows through the real handlers, and the whole on the local cloud. One binary.

mod cloud;
mod end_to_end;
mod events;
mod flow_connect;
mod flow_status;
mod world;

//! An API Gateway in process, as unfriendly as the real one may be, and everything around it: DynamoDB, clients, time and chance.

pub(crate) mod cloud;
pub(crate) mod dynamo;
pub(crate) mod frames;
pub(crate) mod oracle;
pub(crate) mod schedule;
pub(crate) mod sdk;
pub(crate) mod seeds;
pub(crate) mod sockets;
pub(crate) mod workers;

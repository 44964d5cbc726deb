//! The record queue into Postgres, in batches.

//! GET /api/status and /api/status/history, from Postgres.

fn main() {}

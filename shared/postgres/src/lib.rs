//! Postgres: connections through a transaction pooler, the record and what is asked of it.

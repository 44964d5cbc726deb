//! What every function shares: boot, telemetry, AWS configuration, SQS batches.

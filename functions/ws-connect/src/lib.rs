//! $connect: admits a socket from an allowed origin to the connection table.

use std::net::{Ipv4Addr, TcpListener};

use serde::{Deserialize, Serialize};

use crate::StartError;

/// Ports above this are handed out by the kernel to outgoing connections: one of them may hold ours at any time.
const FIRST_EPHEMERAL: u16 = 32768;

/// The four ports of a local cloud, all on 127.0.0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// `base`: MiniStack, that is every AWS API, the WebSocket API and the HTTP API.
    pub aws: u16,
    /// `base + 1`: the board.
    pub web: u16,
    /// `base + 2`: Postgres.
    pub postgres: u16,
    /// `base + 3`: PgBouncer, when there is one.
    pub pooler: u16,
}

impl Ports {
    /// The range that begins at `base`.
    pub(crate) fn from_base(base: u16) -> Result<Self, StartError> {
        if !(1024..=FIRST_EPHEMERAL - 4).contains(&base) {
            return Err(StartError::new(
                format!("--port-base {base} is outside 1024 to {}", FIRST_EPHEMERAL - 4),
                "ports above that are the kernel's to give away",
            ));
        }
        Ok(Self { aws: base, web: base + 1, postgres: base + 2, pooler: base + 3 })
    }

    /// Fails if one of them is taken.
    pub(crate) fn check_free(self) -> Result<(), StartError> {
        let all = [
            (self.aws, "the AWS endpoint"),
            (self.web, "the board"),
            (self.postgres, "Postgres"),
            (self.pooler, "PgBouncer"),
        ];
        for (port, whose) in all {
            if let Err(error) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                return Err(match error.kind() {
                    std::io::ErrorKind::AddrInUse => StartError::new(
                        format!("port {port} (for {whose}) is in use"),
                        "stop what uses it or choose another range with --port-base",
                    ),
                    _ => StartError::failed(&format!("opening port {port} (for {whose})"), error),
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A range of four ports that nobody uses right now.
    fn free_range() -> Ports {
        (20_000..30_000)
            .step_by(4)
            .map(|base| Ports::from_base(base).unwrap())
            .find(|ports| ports.check_free().is_ok())
            .unwrap()
    }

    #[test]
    fn a_port_in_use_is_named_with_the_option_that_moves_it() {
        let ports = free_range();
        let _holder = TcpListener::bind((Ipv4Addr::LOCALHOST, ports.postgres)).unwrap();
        let error = ports.check_free().unwrap_err().to_string();
        assert!(
            error.contains(&ports.postgres.to_string()) && error.contains("Postgres") && error.contains("--port-base"),
            "{error}"
        );
    }

    #[test]
    fn a_port_that_another_process_holds_on_every_interface_is_in_use_too() {
        let ports = free_range();
        let _holder = TcpListener::bind((Ipv4Addr::UNSPECIFIED, ports.aws)).unwrap();
        assert!(ports.check_free().is_err());
    }

    #[test]
    fn a_range_that_reaches_into_the_ephemeral_ports_is_refused() {
        assert!(Ports::from_base(80).is_err());
        assert!(Ports::from_base(32_765).is_err());
        assert_eq!(Ports::from_base(32_764).unwrap().pooler, 32_767);
    }
}

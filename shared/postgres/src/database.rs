use std::time::{Duration, SystemTime};

use tokio::{sync::Mutex, time::timeout};
use tokio_postgres::Client;

use crate::{Config, Error};

/// TCP, TLS and login together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// One piece of work: a query, or a transaction from BEGIN to COMMIT. Counted here and not by `statement_timeout`: a pooled
/// session may not be changed, and this also holds when no answer comes at all.
const WORK_TIMEOUT: Duration = Duration::from_secs(10);

/// How often work starts again at once after a collision (deadlock, serialization) before it is left to the caller's retry.
const ATTEMPTS: u32 = 3;

/// The database: one connection, made on first use and made anew when it is lost.
///
/// A Lambda environment serves one invocation at a time, so a pool would hold idle connections; the pool is the proxy's.
#[derive(Debug)]
pub struct Database {
    config: Config,
    connection: Mutex<Option<Client>>,
    work_timeout: Duration,
}

impl Database {
    /// Does not connect yet.
    pub fn new(config: Config) -> Self {
        Self { config, connection: Mutex::new(None), work_timeout: WORK_TIMEOUT }
    }

    /// Allows one piece of work more or less than ten seconds.
    #[must_use]
    pub fn with_work_timeout(self, work_timeout: Duration) -> Self {
        Self { work_timeout, ..self }
    }

    /// Connects if there is no connection yet.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database cannot be reached within three seconds.
    pub async fn connect(&self) -> Result<(), Error> {
        let mut slot = self.connection.lock().await;
        if slot.as_ref().is_none_or(Client::is_closed) {
            *slot = Some(connect(&self.config).await?);
        }
        Ok(())
    }

    /// Runs `work` on the connection. Work must be idempotent: on a connection that turns out to be lost (Lambda froze the
    /// environment, the server restarted) it runs once more on a fresh one, and after a collision it starts again.
    pub(crate) async fn run<T>(&self, work: impl AsyncFn(&mut Client) -> Result<T, Error>) -> Result<T, Error> {
        let mut slot = self.connection.lock().await;
        let mut attempt = 1;
        loop {
            // Taken out while in use: if this future is dropped in the middle, the connection goes with it, and an open
            // transaction with that.
            let reused = slot.take().filter(|client| !client.is_closed());
            let fresh = reused.is_none();
            let mut client = match reused {
                Some(client) => client,
                None => connect(&self.config).await?,
            };
            let result = timeout(self.work_timeout, work(&mut client))
                .await
                .unwrap_or_else(|_| Err(Error::Unavailable(format!("no answer within {:?}", self.work_timeout))));
            if result.as_ref().err().is_none_or(Error::keeps_connection) {
                *slot = Some(client);
            }
            match result {
                Err(Error::Collided(_)) if attempt < ATTEMPTS => attempt += 1,
                Err(Error::Unavailable(reason)) if !fresh && attempt < ATTEMPTS => {
                    tracing::warn!(reason, "database connection lost; once more on a fresh one");
                    attempt = ATTEMPTS;
                }
                result => return result,
            }
        }
    }
}

async fn connect(config: &Config) -> Result<Client, Error> {
    let login = config.login(SystemTime::now()).map_err(|cause| Error::Failed(cause.to_string()))?;
    let (client, connection) = timeout(CONNECT_TIMEOUT, login.connect(config.tls.0.clone()))
        .await
        .map_err(|_| Error::Unavailable(format!("no connection within {CONNECT_TIMEOUT:?}")))??;
    #[expect(clippy::disallowed_methods, reason = "drives the socket of a client that is awaited; it has no work of its own")]
    tokio::spawn(async move {
        if let Err(cause) = connection.await {
            // Whoever uses the connection gets the error too, and reports it
            tracing::debug!(error = %cause, "database connection ended");
        }
    });
    Ok(client)
}

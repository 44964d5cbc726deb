use std::time::{Duration, SystemTime};

use tokio::{sync::Mutex, time::timeout};
use tokio_postgres::Client;

use crate::{Config, Error};

/// TCP, TLS and login together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// One piece of work: a query, or a transaction from BEGIN to COMMIT. Counted here and not by `statement_timeout`: a pooled
/// session may not be changed, and this also holds when no answer comes at all.
const WORK_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection may be idle and be used unseen.
const IDLE_BEFORE_CHECK: Duration = Duration::from_secs(30);

/// How long a server may take to say that it is there.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// How often work starts again at once after a collision (deadlock, serialization) before it is left to the caller's retry.
const ATTEMPTS: u32 = 3;

/// The database: one connection, made on first use and made anew when it is lost.
///
/// A Lambda environment serves one invocation at a time, so a pool would hold idle connections; the pool is the proxy's.
#[derive(Debug)]
pub struct Database {
    config: Config,
    connection: Mutex<Option<Idle>>,
    work_timeout: Duration,
}

/// Something to do on the connection, as often as it takes: [`Database::run`]. (An `AsyncFn` would do, but the compiler cannot yet
/// show that its future is `Send`.)
pub(crate) trait Work: Sync {
    type Output;

    fn on(&self, client: &mut Client) -> impl Future<Output = Result<Self::Output, Error>> + Send;
}

/// A connection between two pieces of work.
#[derive(Debug)]
struct Idle {
    client: Client,
    /// By the wall clock: others may stand still while Lambda keeps an environment frozen.
    since: SystemTime,
}

impl Idle {
    fn now(client: Client) -> Self {
        Self { client, since: SystemTime::now() }
    }

    /// The client, unless the connection is known to be gone. What has been idle for long is asked first: something on the
    /// way may have forgotten it without telling (a load balancer after 350 s), and the work would wait for its full time.
    async fn wake(self) -> Option<Client> {
        if self.client.is_closed() {
            return None;
        }
        let idle = self.since.elapsed().unwrap_or(Duration::MAX);
        if idle > IDLE_BEFORE_CHECK
            && !matches!(timeout(CHECK_TIMEOUT, self.client.check_connection()).await, Ok(Ok(())))
        {
            return None;
        }
        Some(self.client)
    }
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
        if slot.as_ref().is_none_or(|idle| idle.client.is_closed()) {
            *slot = Some(Idle::now(connect(&self.config).await?));
        }
        Ok(())
    }

    /// Runs `work` on the connection. Work must be idempotent: on a connection that turns out to be lost (Lambda froze the
    /// environment, the server restarted) it runs once more on a fresh one, and after a collision it starts again.
    pub(crate) async fn run<W: Work>(&self, work: &W) -> Result<W::Output, Error> {
        let mut slot = self.connection.lock().await;
        let mut attempt = 1;
        loop {
            // Taken out while in use: if this future is dropped in the middle, the connection goes with it, and an open
            // transaction with that.
            let reused = match slot.take() {
                Some(idle) => idle.wake().await,
                None => None,
            };
            let fresh = reused.is_none();
            let mut client = match reused {
                Some(client) => client,
                None => connect(&self.config).await?,
            };
            let Ok(result) = timeout(self.work_timeout, work.on(&mut client)).await else {
                // Not again: the same would take as long, and the invocation has to end in time.
                return Err(Error::Unavailable(format!("no answer within {:?}", self.work_timeout)));
            };
            if result.as_ref().err().is_none_or(Error::keeps_connection) {
                *slot = Some(Idle::now(client));
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
    #[expect(
        clippy::disallowed_methods,
        reason = "drives the socket of a client that is awaited; it has no work of its own"
    )]
    tokio::spawn(async move {
        if let Err(cause) = connection.await {
            // Whoever uses the connection gets the error too, and reports it
            tracing::debug!(error = %cause, "database connection ended");
        }
    });
    Ok(client)
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use std::time::Instant;

    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::testing::TestDatabase;

    async fn grow_old(database: &Database) {
        let mut slot = database.connection.lock().await;
        slot.iter_mut().for_each(|idle| idle.since = SystemTime::UNIX_EPOCH);
    }

    #[tokio::test]
    async fn a_connection_that_was_idle_for_long_and_still_lives_is_used_again() {
        let test = TestDatabase::new().await;
        for url in [&test.pooled_url, &test.direct_url] {
            let database = Database::new(Config::from_url(url).unwrap());
            database.connect().await.unwrap();
            grow_old(&database).await;
            let idle = database.connection.lock().await.take().unwrap();
            assert!(idle.wake().await.is_some(), "{url}");
        }
    }

    /// What a load balancer does that forgets a connection: packets go nowhere, and nobody says so.
    #[tokio::test]
    async fn a_connection_that_was_forgotten_on_the_way_costs_a_second_and_not_the_whole_time() {
        let test = TestDatabase::new().await;
        let address = test.direct_url.split(['@', '/']).nth(3).unwrap().to_owned();
        let way = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = test.direct_url.replace(&address, &way.local_addr().unwrap().to_string());
        let database = Database::new(Config::from_url(&url).unwrap());
        let forward = async |until_forgotten: Duration| {
            let (mut inside, _) = way.accept().await.unwrap();
            let mut outside = TcpStream::connect(&address).await.unwrap();
            let _ = timeout(until_forgotten, tokio::io::copy_bidirectional(&mut inside, &mut outside)).await;
            (inside, outside)
        };
        let (forgotten, ()) =
            tokio::join!(forward(Duration::from_millis(500)), async { database.connect().await.unwrap() });
        grow_old(&database).await;
        let started = Instant::now();
        tokio::select! {
            status = database.status() => assert!(status.is_ok(), "{status:?}"),
            _ = forward(Duration::from_mins(1)) => {}
        }
        assert!(started.elapsed() < CHECK_TIMEOUT * 3, "{:?}", started.elapsed());
        drop(forgotten);
    }
}

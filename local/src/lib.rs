//! The whole cloud on one machine: the library behind `cargo local`, and what end-to-end tests start theirs with.
//!
//! [`Cloud::start`] builds the functions, starts Postgres, PgBouncer and MiniStack, deploys the real `template.yaml` into
//! the latter and serves the board. It blocks until all is ready, and may be called from any thread, an async one too.
//! Dropping the [`Cloud`] stops everything.
//!
//! No child outlives us, not even when we are killed: each reads from a pipe that only we hold (`local/python/guard.py`).

mod aws;
mod demo;
mod deploy;
mod error;
mod functions;
mod ministack;
/// The command line.
pub mod options;
/// Which ports are used.
pub mod ports;
mod postgres;
mod process;
mod progress;
mod python;
mod sign;
mod state;
mod web;
mod workspace;

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{Timestamp, ToSpan};
use serde::Serialize;
use signalbox_channels::ChannelsConfig;
use tokio::runtime::{Handle, Runtime};

use crate::{
    aws::Aws,
    deploy::{Deploy, Outputs, Parameters},
    ports::Ports,
    postgres::Postgres,
    process::Guarded,
    progress::Progress,
    python::Tools,
    state::State,
    workspace::Workspace,
};
pub use crate::{
    error::StartError,
    options::{Interrupt, Options},
};

/// Vite's development server: whoever works on the page opens it there.
const DEVELOPMENT_ORIGINS: [&str; 2] = ["http://localhost:5173", "http://127.0.0.1:5173"];

/// Where everything is. This is what `endpoints.json` holds.
#[derive(Debug, Clone, Serialize)]
pub struct Endpoints {
    /// Where clients connect, `ws://…`.
    pub ws_url: String,
    /// Base of the read API; ends in `/api`.
    pub api_url: String,
    /// The board, with a viewer's token in the fragment.
    pub web_url: String,
    /// What Zabbix posts to.
    pub webhook_url: String,
    /// What Zabbix signs with.
    pub webhook_secret: String,
    /// The `X-API-Key` of the read API.
    pub api_key: String,
    /// Secret of viewers' HS256 tokens.
    pub token_secret: String,
    /// The functions' database, past the pooler: any client works with it.
    pub postgres_url: String,
    /// The AWS APIs; key and secret are both `test`, the region is `us-east-1`.
    pub aws_endpoint_url: String,
    /// The same database as the functions reach it: through PgBouncer where there is one.
    pub postgres_pooled_url: String,
    /// Same as `postgres_url`.
    pub postgres_direct_url: String,
    /// An origin that may open a socket and call the API.
    pub web_origin: String,
    /// Is the board served at `web_url`?
    pub web_served: bool,
    /// The state directory.
    pub state_dir: PathBuf,
    /// Where the logs are.
    pub log_dir: PathBuf,
    /// Outputs of the stack.
    pub outputs: BTreeMap<String, String>,
}

/// A running local cloud. Dropping it stops everything.
#[derive(Debug)]
pub struct Cloud {
    endpoints: Endpoints,
    how: How,
    children: Mutex<Children>,
    web: Option<web::Server>,
    runtime: Option<Runtime>,
    // Last: nobody else may take the directory before all is stopped.
    state: State,
}

/// What is needed to start a part again.
#[derive(Debug)]
struct How {
    tools: Tools,
    ports: Ports,
    auth: bool,
    postgres: Postgres,
    aws: Aws,
    logs: Logs,
}

#[derive(Debug)]
struct Logs {
    ministack: File,
    postgres: File,
    pgbouncer: File,
}

/// In the order in which they are stopped.
#[derive(Debug, Default)]
struct Children {
    ministack: Option<Guarded>,
    pooler: Option<Guarded>,
    postgres: Option<Guarded>,
}

impl Children {
    fn stop(&mut self) {
        // Functions first: what they hold of Postgres goes with them.
        if let Some(mut ministack) = self.ministack.take() {
            ministack.stop(ministack::STOP);
        }
        if let Some(mut pooler) = self.pooler.take() {
            pooler.stop(Duration::from_secs(2));
        }
        if let Some(mut postgres) = self.postgres.take() {
            postgres.stop(postgres::STOP + Duration::from_secs(2));
        }
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Cloud {
    /// Starts everything and waits until it is ready.
    ///
    /// # Errors
    /// One line that says what is wrong and what to do. Nothing is left running then.
    pub fn start(options: Options) -> Result<Self, StartError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|error| StartError::failed("starting threads", error))?;
        let handle = runtime.handle().clone();
        let interrupt = options.interrupt.clone();
        let started = Start::new(options, handle).and_then(Start::run);
        match started {
            Ok(parts) => Ok(parts.into_cloud(runtime)),
            Err(error) => {
                runtime.shutdown_background();
                Err(if interrupt.is_raised() { StartError::interrupted() } else { error })
            }
        }
    }

    /// Where everything is.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Folder of the logs: `ministack.log` (the functions' too), `postgres.log`, `pgbouncer.log`, `sam-deploy.log`, `demo.log`.
    pub fn log_dir(&self) -> PathBuf {
        self.state.path("logs")
    }

    /// Does PgBouncer stand between the functions and Postgres?
    pub fn is_pooled(&self) -> bool {
        self.how.postgres.pooler.is_some()
    }

    /// Stops everything, in order. The state stays for the next start.
    pub fn stop(mut self) {
        self.shut_down();
    }

    /// Stops Postgres; the functions lose their database.
    pub fn stop_postgres(&self) {
        if let Some(mut postgres) = self.children().postgres.take() {
            postgres.stop(postgres::STOP + Duration::from_secs(2));
        }
    }

    /// Starts Postgres again after [`Cloud::stop_postgres`] and waits until it answers.
    ///
    /// # Errors
    /// When it does not.
    pub fn start_postgres(&self) -> Result<(), StartError> {
        let mut children = self.children();
        if children.postgres.is_none() {
            let log = self.state.log("postgres");
            let postgres = self.how.postgres.start(&self.how.logs.postgres, &log, &Interrupt::default())?;
            self.state.record("postgres", postgres.id());
            children.postgres = Some(postgres);
        }
        Ok(())
    }

    /// Kills (SIGKILL) all processes of one function, for example `status-router`, and tells how many there were.
    /// The next event gets a new one.
    ///
    /// # Errors
    /// When the system does not tell which processes there are (it has no `/proc`).
    pub fn kill_function(&self, name: &str) -> io::Result<usize> {
        let binaries = functions::binaries(&self.state, name);
        binaries.iter().map(|binary| process::kill_by_program(binary)).sum()
    }

    /// Stops MiniStack as on Ctrl-C and starts it again: sockets are cut, everything else is kept.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart_ministack(&self) -> Result<(), StartError> {
        let mut children = self.children();
        if let Some(mut ministack) = children.ministack.take() {
            ministack.stop(ministack::STOP);
        }
        let How { tools, ports, auth, aws, logs, .. } = &self.how;
        let mut ministack = ministack::spawn(tools, &self.state, *ports, *auth, &logs.ministack)?;
        self.state.record("ministack", ministack.id());
        let log = self.state.log("ministack");
        if let Some(runtime) = &self.runtime {
            let interrupt = Interrupt::default();
            wait_for(runtime.handle(), ministack::wait_until_ready(aws, &mut ministack, &log, &interrupt))?;
        }
        children.ministack = Some(ministack);
        // It was removed as MiniStack stopped: for that while not all was ready.
        let written = self.state.write_json("endpoints.json", &self.endpoints);
        written.map_err(|error| StartError::failed("writing endpoints.json", error))
    }

    /// What has ended though nobody stopped it, for example `Postgres`.
    pub fn ended(&self) -> Option<&'static str> {
        let mut children = self.children();
        let Children { ministack, pooler, postgres } = &mut *children;
        let all = [("MiniStack", ministack), ("PgBouncer", pooler), ("Postgres", postgres)];
        all.into_iter().find_map(|(name, child)| child.as_mut()?.ended().map(|_| name))
    }

    fn children(&self) -> MutexGuard<'_, Children> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shut_down(&mut self) {
        let _ = std::fs::remove_file(self.state.path("endpoints.json"));
        self.web = None;
        self.children().stop();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// Waits for async work, from an async thread too.
fn wait_for<T: Send>(handle: &Handle, work: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| match scope.spawn(|| handle.block_on(work)).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// A start under way.
struct Start {
    options: Options,
    handle: Handle,
    progress: Progress,
    interrupt: Interrupt,
    workspace: Workspace,
    template: PathBuf,
    channels: PathBuf,
    python: PathBuf,
    ports: Ports,
    state: State,
}

/// What has been started.
struct Parts {
    endpoints: Endpoints,
    how: How,
    children: Children,
    web: Option<web::Server>,
    state: State,
}

impl Parts {
    fn into_cloud(self, runtime: Runtime) -> Cloud {
        let Self { endpoints, how, children, web, state } = self;
        Cloud { endpoints, how, children: Mutex::new(children), web, runtime: Some(runtime), state }
    }
}

impl Start {
    /// Checks everything that can be checked before anything is started.
    fn new(mut options: Options, handle: Handle) -> Result<Self, StartError> {
        let progress = Progress::new(options.quiet);
        let ports = Ports::from_base(options.port_base)?;
        let workspace = Workspace::find()?;
        let python = workspace::find_python()?;
        if options.web {
            workspace::check_node()?;
        }
        let template = options.template.clone().unwrap_or_else(|| workspace.root.join("template.yaml"));
        let channels = options.channels.clone().unwrap_or_else(|| workspace.root.join("channels.json"));
        take_keys(&mut options, &functions::check_sources(&workspace, &template, &channels)?, &channels)?;
        let dir = options.dir.clone().unwrap_or_else(|| workspace.root.join(".signalbox"));
        let state = State::open(&dir, options.fresh)?;
        ports.check_free()?;
        let interrupt = options.interrupt.clone();
        Ok(Self { options, handle, progress, interrupt, workspace, template, channels, python, ports, state })
    }

    fn run(self) -> Result<Parts, StartError> {
        let Self { options, progress, interrupt, workspace, ports, state, .. } = &self;
        let tools = match Tools::find(workspace, &self.python) {
            Ok(tools) => tools,
            Err(_) => progress.step("Python tools (the first time: a minute or two)", || {
                Tools::install(workspace, &self.python, &state.log("python"), interrupt)
            })?,
        };
        let logs = Logs {
            ministack: state.begin_log("ministack")?,
            postgres: state.begin_log("postgres")?,
            pgbouncer: state.begin_log("pgbouncer")?,
        };
        let aws = Aws::new(wait_for(&self.handle, async { aws::http_client() }), ports.aws);
        let mut children = Children::default();

        ministack::move_saved_state(state, *ports)?;
        // MiniStack takes a second or two to be ready; cargo and Postgres do not need it.
        children.ministack = Some(ministack::spawn(&tools, state, *ports, options.auth, &logs.ministack)?);
        record(state, "ministack", children.ministack.as_ref());

        let postgres = progress.step("Postgres", || {
            let postgres = Postgres::prepare(&tools, state, *ports, interrupt)?;
            children.postgres = Some(postgres.start(&logs.postgres, &state.log("postgres"), interrupt)?);
            record(state, "postgres", children.postgres.as_ref());
            postgres.make_database(state, interrupt)?;
            children.pooler = postgres.start_pooler(&logs.pgbouncer, &state.log("pgbouncer"), interrupt)?;
            record(state, "pgbouncer", children.pooler.as_ref());
            Ok(postgres)
        })?;
        if postgres.pooler.is_none() {
            progress.note(
                "no pgbouncer on this machine: functions connect to Postgres directly (apt-get install pgbouncer)",
            );
        }
        progress.long_step("functions (cargo build)", || {
            functions::build(workspace, &tools.guard, &state.log("cargo-build"), progress.is_quiet(), interrupt)
        })?;
        let dist = if options.web {
            let build = || web::build(workspace, &tools.guard, &state.log("web"), interrupt);
            Some(progress.step("board (npm)", build)?)
        } else {
            None
        };
        progress.step("MiniStack", || {
            let Some(child) = &mut children.ministack else { return Ok(()) };
            wait_for(&self.handle, ministack::wait_until_ready(&aws, child, &state.log("ministack"), interrupt))
        })?;
        let outputs = self.deploy(&tools, &aws, &postgres)?;
        let endpoints = self.endpoints(&aws, &postgres, outputs)?;
        let web = match dist {
            None => None,
            Some(dist) => Some(wait_for(
                &self.handle,
                web::Server::start(&self.handle, &dist, ports.web, &endpoints.ws_url, &endpoints.api_url),
            )?),
        };
        if options.demo {
            self.start_demo(&endpoints);
        }
        if interrupt.is_raised() {
            return Err(StartError::interrupted());
        }
        state
            .write_json("endpoints.json", &endpoints)
            .map_err(|error| StartError::failed("writing endpoints.json", error))?;
        progress.done();
        let how = How { tools, ports: *ports, auth: options.auth, postgres, aws, logs };
        Ok(Parts { endpoints, how, children, web, state: self.state })
    }

    fn deploy(&self, tools: &Tools, aws: &Aws, postgres: &Postgres) -> Result<Outputs, StartError> {
        let Self { progress, interrupt, state, .. } = self;
        let trouble = |error: anyhow::Error| StartError::failed("talking to MiniStack", format!("{error:#}"));
        let parameters = wait_for(&self.handle, self.parameters(aws, postgres)).map_err(trouble)?;
        let bundle =
            functions::bundle(&self.workspace, state, &self.template, &self.channels, &deploy::digest(&parameters))?;
        let deploy = Deploy { tools, state, aws, bundle: &bundle, parameters: &parameters, interrupt };
        let outputs = match wait_for(&self.handle, deploy::unchanged(aws, state, &bundle, &parameters)) {
            Some(outputs) => outputs,
            None => progress.step("sam deploy", || wait_for(&self.handle, deploy.run()))?,
        };
        let origins = self.origins();
        wait_for(&self.handle, deploy::set_what_is_dropped(aws, &outputs, &origins))
            .map_err(|error| StartError::failed("finishing the deploy", format!("{error:#}")))?;
        Ok(outputs)
    }

    fn origins(&self) -> Vec<String> {
        let web = self.ports.web;
        let mut origins = vec![format!("http://127.0.0.1:{web}"), format!("http://localhost:{web}")];
        origins.extend(DEVELOPMENT_ORIGINS.map(str::to_owned));
        origins
    }

    async fn parameters(&self, aws: &Aws, postgres: &Postgres) -> anyhow::Result<Parameters> {
        let pooled = aws.put_secret("signalbox-local/database", &postgres.pooled_url()).await?;
        let direct = aws.put_secret("signalbox-local/migrations-database", &postgres.direct_url()).await?;
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
        let ours = [
            ("AllowedOrigins", self.origins().join(",")),
            ("Architecture", architecture.to_owned()),
            ("DatabaseMode", "external".to_owned()),
            ("DatabaseSecretArn", pooled),
            ("MigrationsDatabaseSecretArn", direct),
            ("LocalEndpoint", aws.endpoint().to_owned()),
        ];
        let secret = self.options.token_secret.clone().map(|secret| ("TokenHmacSecret", secret));
        let key = self.options.api_key.clone().map(|key| ("ApiKey", key));
        let ours = ours.into_iter().chain(secret).chain(key);
        let mut parameters: Parameters = ours.map(|(name, value)| (name.to_owned(), value)).collect();
        parameters.extend(self.options.parameters.iter().cloned());
        Ok(parameters)
    }

    fn endpoints(&self, aws: &Aws, postgres: &Postgres, outputs: Outputs) -> Result<Endpoints, StartError> {
        let output = |name: &str| {
            outputs
                .get(name)
                .cloned()
                .ok_or_else(|| StartError::failed("reading the stack", format!("template.yaml has no output {name}")))
        };
        let secret = |name: &str| {
            let arn = output(name)?;
            let value = wait_for(&self.handle, aws.secret(&arn));
            value.map_err(|error| StartError::failed(&format!("reading {name}"), format!("{error:#}")))
        };
        let token_secret = secret("TokenSecretArn")?;
        let expires = Timestamp::now().saturating_add((30 * 24).hours()).map_or(0, Timestamp::as_second);
        let web_origin = format!("http://127.0.0.1:{}", self.ports.web);
        Ok(Endpoints {
            ws_url: output("WebSocketUrl")?,
            api_url: output("ApiUrl")?,
            web_url: format!("{web_origin}/#token={}", sign::token(&token_secret, "local", expires)),
            webhook_url: output("WebhookUrl")?,
            webhook_secret: secret("WebhookSecretArn")?,
            api_key: secret("ApiKeySecretArn")?,
            token_secret,
            postgres_url: postgres.direct_url(),
            aws_endpoint_url: aws.endpoint().to_owned(),
            postgres_pooled_url: postgres.pooled_url(),
            postgres_direct_url: postgres.direct_url(),
            web_origin,
            web_served: self.options.web,
            state_dir: self.state.dir().to_path_buf(),
            log_dir: self.state.path("logs"),
            outputs,
        })
    }

    fn start_demo(&self, endpoints: &Endpoints) {
        let target = demo::Target { url: endpoints.webhook_url.clone(), secret: endpoints.webhook_secret.clone() };
        let (state, log) = (self.state.path("demo.json"), self.state.log("demo"));
        self.handle.spawn(async move { demo::run(aws::http_client(), target, state, log).await });
    }
}

/// Fails when a file cannot be the channels', as a start with it would.
///
/// # Errors
/// A line that names the file, and one for each mistake in it, by its path.
pub fn check_channels(file: &Path) -> Result<(), StartError> {
    functions::read_channels(file).map(drop)
}

/// The functions prefer the keys of the channels' file: the stack has the same, or whoever reads `endpoints.json` is misled.
fn take_keys(options: &mut Options, channels: &ChannelsConfig, file: &Path) -> Result<(), StartError> {
    let pairs = [
        (&mut options.api_key, "--api-key", &channels.http_api.key, "http_api.key"),
        (
            &mut options.token_secret,
            "--token-secret",
            &channels.client.token.hmac_secret_key,
            "client.token.hmac_secret_key",
        ),
    ];
    for (given, option, configured, path) in pairs {
        let Some(configured) = configured.as_ref().filter(|key| !key.is_empty()) else { continue };
        if given.as_ref().is_some_and(|given| given != configured) {
            return Err(StartError::new(
                format!("{option} is not the {path} of {}", file.display()),
                "leave one of them out, or give both the same value",
            ));
        }
        *given = Some(configured.clone());
    }
    Ok(())
}

fn record(state: &State, name: &str, child: Option<&Guarded>) {
    if let Some(child) = child {
        state.record(name, child.id());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: &str = r#"{"http_api": {"key": "k"}, "client": {"token": {"hmac_secret_key": "t"}}}"#;

    fn taken(mut options: Options, channels: &str) -> Result<(Option<String>, Option<String>), String> {
        let channels = ChannelsConfig::parse(channels).unwrap();
        take_keys(&mut options, &channels, Path::new("c.json")).map_err(|error| error.to_string())?;
        Ok((options.api_key, options.token_secret))
    }

    #[test]
    fn keys_of_the_channels_file_are_the_stacks() {
        assert_eq!(taken(Options::default(), KEYS), Ok((Some("k".to_owned()), Some("t".to_owned()))));
        assert_eq!(taken(Options::default(), "{}"), Ok((None, None)));
        let given = Options { api_key: Some("a".to_owned()), ..Options::default() };
        assert_eq!(taken(given, "{}"), Ok((Some("a".to_owned()), None)));
        let same = Options { token_secret: Some("t".to_owned()), ..Options::default() };
        assert_eq!(taken(same, KEYS), Ok((Some("k".to_owned()), Some("t".to_owned()))));
    }

    #[test]
    fn another_key_on_the_command_line_is_refused_and_neither_is_told() {
        for (options, says) in [
            (
                Options { api_key: Some("other".to_owned()), ..Options::default() },
                "--api-key is not the http_api.key of c.json",
            ),
            (
                Options { token_secret: Some("other".to_owned()), ..Options::default() },
                "--token-secret is not the client.token.hmac_secret_key of c.json",
            ),
        ] {
            let error = taken(options, KEYS).unwrap_err();
            assert!(error.starts_with(says) && !error.contains("other"), "{error}");
        }
    }
}

//! Cold start of ws-default: from the start of the process to its first request for work, and to the answer of its first message
//! over TLS, so that nothing can hide in lazy set-up. Beside it the same work in Node with the same two SDK clients, as it is and
//! bundled, and a Rust function that does nothing.
//!
//! Lambda's runtime API, DynamoDB's endpoint and `@connections` are played here, the latter two over TLS with a certificate
//! authority of their own, which both trust beside those compiled into them. What is hidden: the network (loopback), and Lambda's own
//! work before the process starts.

use std::{
    cell::{Cell, RefCell},
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::{net::TcpListener, process::Command, sync::Notify, task::LocalSet};
use tokio_rustls::TlsAcceptor;

use crate::{
    child::Child,
    client::Http,
    database::Database,
    functions::{Environment, connection_id, socket_event, token},
    meter::{Target, median, say, target},
    node,
    serve::{self, Answer},
};

const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Program {
    name: &'static str,
    command: PathBuf,
    script: Option<PathBuf>,
    answers: bool,
    next_ms: Vec<f64>,
    answer_ms: Vec<f64>,
}

pub(crate) async fn run(arguments: &[String]) -> anyhow::Result<()> {
    let runs: usize = arguments.first().map_or(Ok(21), |runs| runs.parse())?;
    let target_folder = std::env::current_exe()?.parent().context("a folder")?.to_path_buf();
    build("ws-default", "ws-default").await?;
    build("signalbox-bench", "echo").await?;
    node::install().await?;
    LocalSet::new().run_until(measure(runs, &target_folder)).await
}

/// As the Makefile does. Not all of a package, or this binary would be replaced, which is running.
async fn build(package: &str, binary: &str) -> anyhow::Result<()> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut command = Command::new(cargo);
    command.args([
        "rustc",
        "--release",
        "--quiet",
        "-p",
        package,
        "--bin",
        binary,
        "--",
        "-C",
        "relocation-model=static",
    ]);
    ensure!(command.current_dir(root).status().await?.success(), "{command:?}");
    Ok(())
}

async fn measure(runs: usize, target_folder: &Path) -> anyhow::Result<()> {
    let database = Database::start().await?;
    let stage = Stage::start(database.endpoint()).await?;
    let environment = Environment::new(database.endpoint(), "https://localhost".to_owned())?;
    let authority = environment.folder().join("authority.pem");
    std::fs::write(&authority, &stage.authority)?;
    Child::start(&["admit", &(runs * 4).to_string()], &environment.variables())?.answer().await?;
    let bundled = node::bundle("function.mjs", environment.folder()).await?;
    let program = |name, command: PathBuf, script, answers| Program {
        name,
        command,
        script,
        answers,
        next_ms: Vec::new(),
        answer_ms: Vec::new(),
    };
    let node = PathBuf::from("node");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("node/function.mjs");
    let mut programs = [
        program("ws-default", target_folder.join("ws-default"), None, true),
        program("an empty Rust function", target_folder.join("echo"), None, false),
        program("Node with the same two clients", node.clone(), Some(script), true),
        program("the same, bundled and minified", node, Some(bundled), true),
    ];
    let mut connection = 0;
    for _ in 0..runs {
        for program in &mut programs {
            let (next, _) = stage.once(program, &environment, &authority, None).await?;
            program.next_ms.push(next);
            if program.answers {
                let (_, answer) = stage.once(program, &environment, &authority, Some(connection)).await?;
                connection += 1;
                program.answer_ms.push(answer);
            }
        }
    }
    report(runs, &programs);
    Ok(())
}

fn report(runs: usize, programs: &[Program; 4]) {
    say(&format!(
        "| process (median of {runs}) | to the first /next, ms | ws-default / this | to the answer over TLS, ms | ws-default / this |\n|---|---|---|---|---|"
    ));
    let (next, answer) = (median(&programs[0].next_ms), median(&programs[0].answer_ms));
    for program in programs {
        let (its_next, its_answer) = (median(&program.next_ms), median(&program.answer_ms));
        let answers = if program.answers {
            format!("{its_answer:.1} | 1/{:.1}", its_answer / answer)
        } else {
            "– | –".to_owned()
        };
        say(&format!("| {} | {its_next:.1} | 1/{:.1} | {answers} |", program.name, its_next / next));
    }
    say("");
    target("to the first /next, ws-default / Node", next / median(&programs[2].next_ms), Target::AtMost(1.0 / 30.0));
    target(
        "to the first /next, ws-default / an empty Rust function",
        next / median(&programs[1].next_ms),
        Target::AtMost(1.5),
    );
    target("to the answer over TLS, ws-default / Node", answer / median(&programs[2].answer_ms), Target::AtMost(0.1));
}

/// An authority of its own (PEM), and a server for `localhost` that it vouches for.
pub(crate) fn self_signed() -> anyhow::Result<(String, rustls::ServerConfig)> {
    let key = rcgen::KeyPair::generate()?;
    let mut parameters = rcgen::CertificateParams::new(Vec::new())?;
    // of another name than whom it vouches for: OpenSSL takes a certificate whose issuer has its own name for self-signed
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "an authority of a bench");
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = parameters.self_signed(&key)?.pem();
    let issuer = rcgen::Issuer::new(parameters, key);
    let key = rcgen::KeyPair::generate()?;
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()])?.signed_by(&key, &issuer)?;
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok((authority, config))
}

/// What a function under test talks to.
struct Stage {
    runtime: String,
    database: String,
    connections: String,
    authority: String,
    scene: Rc<Scene>,
}

/// One start of one process.
#[derive(Default)]
struct Scene {
    begun: Cell<Option<Instant>>,
    event: RefCell<Option<Value>>,
    next: Cell<Option<Duration>>,
    answered: Cell<Option<Duration>>,
    failure: RefCell<Option<String>>,
    moved: Notify,
}

impl Stage {
    async fn start(upstream: String) -> anyhow::Result<Self> {
        let (authority, config) = self_signed()?;
        let acceptor = TlsAcceptor::from(Arc::new(config));

        let scene = Rc::new(Scene::default());
        let listen = || TcpListener::bind("127.0.0.1:0");
        let (runtime, database, connections) = (listen().await?, listen().await?, listen().await?);
        let stage = Self {
            runtime: runtime.local_addr()?.to_string(),
            database: format!("https://localhost:{}", database.local_addr()?.port()),
            connections: format!("https://localhost:{}/live", connections.local_addr()?.port()),
            authority,
            scene: scene.clone(),
        };
        let http = Http::new();
        let (for_runtime, for_connections) = (scene.clone(), scene);
        tokio::task::spawn_local(serve::plain(runtime, move |request| invoke(request, for_runtime.clone())));
        tokio::task::spawn_local(serve::tls(database, acceptor.clone(), move |request| {
            forward(request, http.clone(), upstream.clone())
        }));
        tokio::task::spawn_local(serve::tls(connections, acceptor, move |request| {
            post(request, for_connections.clone())
        }));
        Ok(stage)
    }

    /// Milliseconds to the first `/next`, and to the answer of a message where one is given.
    async fn once(
        &self,
        program: &Program,
        environment: &Environment,
        authority: &Path,
        connection: Option<usize>,
    ) -> anyhow::Result<(f64, f64)> {
        let scene = &self.scene;
        let event = connection.map(|n| -> anyhow::Result<Value> {
            let connect = json!({ "id": 1, "connect": { "token": token("anna")?, "name": "js" } }).to_string();
            Ok(socket_event(&connection_id(n), "MESSAGE", Some(&connect)))
        });
        *scene.event.borrow_mut() = event.transpose()?;
        scene.next.set(None);
        scene.answered.set(None);
        *scene.failure.borrow_mut() = None;
        let mut command = Command::new(&program.command);
        command.args(&program.script).env_clear().kill_on_drop(true);
        for name in ["PATH", "HOME"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.envs(environment.variables()).envs([
            ("AWS_LAMBDA_RUNTIME_API", self.runtime.as_str()),
            ("AWS_ENDPOINT_URL", &self.database),
            ("CONNECTIONS_ENDPOINT", &self.connections),
        ]);
        // the SDK warns of the versions of Node that it is going to drop
        command.env("NODE_NO_WARNINGS", "1").stdout(std::process::Stdio::null());
        if connection.is_some() {
            // otherwise nobody is called, and roots are read from where they are in production
            command.env("SSL_CERT_FILE", authority).env("NODE_EXTRA_CA_CERTS", authority);
        }
        scene.begun.set(Some(Instant::now()));
        let mut process = command.spawn().with_context(|| format!("{command:?}"))?;
        let done = async {
            loop {
                let wanted = if connection.is_some() { scene.answered.get() } else { scene.next.get() };
                if let Some(failure) = scene.failure.take() {
                    bail!("{}: {failure}", program.name);
                }
                if wanted.is_some() {
                    return Ok(());
                }
                scene.moved.notified().await;
            }
        };
        tokio::select! {
            done = done => done?,
            status = process.wait() => bail!("{} ended: {}", program.name, status?),
            () = tokio::time::sleep(PATIENCE) => bail!("{}: no answer in {PATIENCE:?}", program.name),
        }
        scene.begun.set(None);
        process.kill().await?;
        let ms = |at: Option<Duration>| at.map_or(0.0, |at| at.as_secs_f64() * 1000.0);
        Ok((ms(scene.next.get()), ms(scene.answered.get())))
    }
}

impl Scene {
    /// The first of its kind counts.
    fn note(&self, at: &Cell<Option<Duration>>) {
        if let (Some(begun), None) = (self.begun.get(), at.get()) {
            at.set(Some(begun.elapsed()));
        }
        self.moved.notify_one();
    }
}

/// Lambda's runtime API.
async fn invoke(request: Request<Incoming>, scene: Rc<Scene>) -> Answer {
    let path = request.uri().path().to_owned();
    if path.ends_with("/invocation/next") {
        scene.note(&scene.next);
        let Some(event) = scene.event.take() else { return std::future::pending().await };
        let mut answer = serve::answer(200, event.to_string());
        let deadline = (crate::meter::now_us() / 1000 + 30_000).to_string();
        for (name, value) in [
            ("lambda-runtime-aws-request-id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd"),
            ("lambda-runtime-deadline-ms", &deadline),
            ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:123456789012:function:bench"),
            ("lambda-runtime-trace-id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0"),
            ("content-type", "application/json"),
        ] {
            if let Ok(value) = HeaderValue::from_str(value) {
                answer.headers_mut().insert(name, value);
            }
        }
        return answer;
    }
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    if path.ends_with("/error") {
        *scene.failure.borrow_mut() = Some(String::from_utf8_lossy(&body).into_owned());
        scene.moved.notify_one();
    }
    serve::answer(202, "")
}

/// `@connections`: the answer to a message is there when it has arrived whole.
async fn post(request: Request<Incoming>, scene: Rc<Scene>) -> Answer {
    let frame = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let frame: Value = serde_json::from_slice(&frame).unwrap_or_default();
    if frame["connect"]["client"].is_string() {
        scene.note(&scene.answered);
    } else {
        *scene.failure.borrow_mut() = Some(format!("answered {frame}"));
        scene.moved.notify_one();
    }
    serve::answer(200, "")
}

/// DynamoDB behind TLS.
async fn forward(request: Request<Incoming>, http: Http, upstream: String) -> Answer {
    let forwarded = async {
        let (parts, body) = request.into_parts();
        let mut headers: HeaderMap = parts.headers;
        headers.remove(http::header::HOST);
        let (status, headers, body) =
            http.send(Method::POST, &format!("{upstream}/"), &headers, body.collect().await?.to_bytes()).await?;
        let mut answer = serve::answer(status.as_u16(), body);
        *answer.headers_mut() = headers;
        anyhow::Ok(answer)
    };
    forwarded.await.unwrap_or_else(|cause| serve::answer(502, format!("{cause:#}")))
}

//! The board: built when its sources changed, then served as it would be from a bucket.

use std::{
    fs, io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use axum::{Json, Router, routing::get};
use http::{HeaderValue, header::CACHE_CONTROL};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::{net::TcpListener, sync::oneshot};
use tower_http::{
    services::{ServeDir, ServeFile},
    set_header::SetResponseHeaderLayer,
};

use crate::{
    Interrupt, StartError,
    process::{Guard, run},
    workspace::{Workspace, clean_of_cargo},
};

/// Folders of web/ that are not sources.
const NOT_SOURCES: [&str; 5] = ["node_modules", "dist", "tests", ".vite", "test-results"];

/// Installs the packages and builds the page, each only when what it depends on changed.
///
/// # Errors
/// When npm fails; `log` has its output.
pub(crate) fn build(
    workspace: &Workspace,
    guard: &Guard,
    log: &Path,
    interrupt: &Interrupt,
) -> Result<PathBuf, StartError> {
    let web = workspace.root.join("web");
    let trouble = |error: io::Error| StartError::failed("building the board", error);
    let _lock = workspace.lock("web.lock", interrupt)?;
    let npm = |arguments: &[&str], doing: &str| {
        let none: [&str; 0] = [];
        let mut command = guard.command(none, "npm");
        clean_of_cargo(&mut command);
        run(command.args(arguments).current_dir(&web), doing, log, interrupt)
    };
    let packages = hex::encode(Sha256::digest(fs::read(web.join("package-lock.json")).map_err(trouble)?));
    let packages_stamp = web.join("node_modules/.signalbox-packages");
    if fs::read_to_string(&packages_stamp).ok().as_deref() != Some(packages.as_str()) {
        npm(&["ci", "--no-audit", "--no-fund"], "npm ci")?;
        fs::write(&packages_stamp, &packages).map_err(trouble)?;
    }
    let sources = digest(&web).map_err(trouble)?;
    let dist = web.join("dist");
    let stamp = workspace.cache().join("web-built");
    if !dist.join("index.html").is_file() || fs::read_to_string(&stamp).ok().as_deref() != Some(sources.as_str()) {
        npm(&["run", "build"], "npm run build")?;
        fs::write(&stamp, &sources).map_err(trouble)?;
    }
    Ok(dist)
}

/// Of all sources' paths and contents.
fn digest(web: &Path) -> io::Result<String> {
    fn walk(dir: &Path, top: bool, files: &mut Vec<PathBuf>) -> io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                if !(top && NOT_SOURCES.contains(&entry.file_name().to_string_lossy().as_ref())) {
                    walk(&entry.path(), false, files)?;
                }
            } else {
                files.push(entry.path());
            }
        }
        Ok(())
    }
    let mut files = Vec::new();
    walk(web, true, &mut files)?;
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        let content = fs::read(&file)?;
        hash.update(file.strip_prefix(web).unwrap_or(&file).as_os_str().as_encoded_bytes());
        hash.update(content.len().to_be_bytes());
        hash.update(content);
    }
    Ok(hex::encode(hash.finalize()))
}

/// The board being served. Dropping it ends that.
#[derive(Debug)]
pub(crate) struct Server {
    _stop: oneshot::Sender<()>,
}

impl Server {
    /// Serves `dist` on the port of the board, with a `config.json` that names this stack.
    pub(crate) async fn start(
        runtime: &tokio::runtime::Handle,
        dist: &Path,
        port: u16,
        ws_url: &str,
        api_url: &str,
    ) -> Result<Self, StartError> {
        let trouble = |error: io::Error| StartError::failed("serving the board", error);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(trouble)?;
        // the page names the paths from the root on
        let api_url = api_url.trim_end_matches("/api");
        let app = app(dist, json!({ "ws_url": ws_url, "api_url": api_url, "title": "Signalbox (local)" }));
        let (stop, stopped) = oneshot::channel::<()>();
        runtime.spawn(async move {
            let serve = axum::serve(listener, app).into_future();
            // No graceful end: a browser keeps its connections open.
            tokio::select! { _ = serve => {}, _ = stopped => {} }
        });
        Ok(Self { _stop: stop })
    }
}

fn app(dist: &Path, config: Value) -> Router {
    let cached =
        |value: &'static str| SetResponseHeaderLayer::overriding(CACHE_CONTROL, HeaderValue::from_static(value));
    // Names of assets hold a hash of their content; everything else may change with the next build.
    let assets = Router::new()
        .fallback_service(ServeDir::new(dist.join("assets")))
        .layer(cached("public, max-age=31536000, immutable"));
    Router::new()
        .route("/config.json", get(move || async move { Json(config) }))
        .nest("/assets", assets)
        .fallback_service(ServeDir::new(dist).fallback(ServeFile::new(dist.join("index.html"))))
        .layer(SetResponseHeaderLayer::if_not_present(CACHE_CONTROL, HeaderValue::from_static("no-cache")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::{http_client, send};
    use http::Request;
    use http_body_util::Full;

    #[tokio::test]
    async fn the_page_its_configuration_and_its_assets_are_served() {
        let dist = std::env::temp_dir().join(format!("signalbox-dist-{}", std::process::id()));
        fs::create_dir_all(dist.join("assets")).unwrap();
        fs::write(dist.join("index.html"), "<title>board</title>").unwrap();
        fs::write(dist.join("assets/a-1234.js"), "let a;").unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = axum::serve(listener, app(&dist, json!({ "ws_url": "ws://x" }))).into_future();
        let http = http_client();
        let get = |path: &str| {
            let request = Request::get(format!("http://127.0.0.1:{port}{path}")).body(Full::default()).unwrap();
            let http = http.clone();
            async move { send(&http, request).await.unwrap() }
        };
        let checks = async {
            assert_eq!(get("/").await.1, "<title>board</title>");
            assert_eq!(get("/config.json").await.1, r#"{"ws_url":"ws://x"}"#);
            assert_eq!(get("/assets/a-1234.js").await.1, "let a;");
            assert_eq!(get("/assets/gone.js").await.0, 404);
            assert_eq!(get("/any/path").await.1, "<title>board</title>");
        };
        tokio::select! { _ = server => unreachable!(), () = checks => {} }
        fs::remove_dir_all(dist).unwrap();
    }
}

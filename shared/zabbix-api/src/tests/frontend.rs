//! A frontend of Zabbix on a socket, for the tests of who asks one.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// A request as the frontend saw it.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) authorization: Option<String>,
    pub(crate) body: Value,
}

impl Asked {
    pub(crate) fn method(&self) -> &str {
        self.body["method"].as_str().unwrap()
    }
}

/// Bytes on the wire; the connection is closed after them.
pub(crate) fn http(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()).into_bytes()
}

pub(crate) fn result(asked: &Asked, result: &Value) -> Vec<u8> {
    http("200 OK", &json!({ "jsonrpc": "2.0", "result": result, "id": asked.body["id"] }).to_string())
}

pub(crate) fn recorded(version: &str, name: &str) -> Value {
    let path = format!("../../shared/zabbix/fixtures/api/{version}/{name}.json");
    let file = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    serde_json::from_slice::<Value>(&file).unwrap()["response"].take()
}

/// A recorded answer, to the request that is asked now.
pub(crate) fn replay(asked: &Asked, version: &str, name: &str) -> Vec<u8> {
    let mut response = recorded(version, name);
    if response["body"].is_object() {
        response["body"]["id"] = asked.body["id"].clone();
    }
    let status = response["status"].as_u64().unwrap();
    let body = if response["body"].is_object() { response["body"].to_string() } else { String::new() };
    http(&format!("{status} Recorded"), &body)
}

pub(crate) async fn read_request(stream: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(bytes).unwrap();
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    };
    assert_eq!(header("content-type").as_deref(), Some("application/json-rpc"), "Zabbix answers 412 to any other");
    assert!(head.starts_with("POST /api_jsonrpc.php HTTP/1.1"), "{head}");
    let mut body = vec![0; header("content-length").unwrap().parse().unwrap()];
    stream.read_exact(&mut body).await.ok()?;
    Some(Asked { authorization: header("authorization"), body: serde_json::from_slice(&body).unwrap() })
}

/// What `work`, which is given the frontend's URL, comes to with a frontend that answers so, and what was asked of it.
pub(crate) async fn with<T>(
    answer: impl Fn(&Asked) -> Vec<u8>,
    work: impl AsyncFnOnce(String) -> T,
) -> (T, Vec<Asked>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let frontend = async {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let Some(request) = read_request(&mut stream).await else { continue };
            let bytes = answer(&request);
            asked.lock().unwrap().push(request);
            // one that does not read to the end is what some tests are about
            let _ = stream.write_all(&bytes).await;
        }
    };
    let done = tokio::select! {
        done = work(url) => done,
        never = frontend => never,
    };
    let asked = asked.lock().unwrap().clone();
    (done, asked)
}

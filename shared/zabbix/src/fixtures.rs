//! The recorded requests, for the tests of this crate.

use std::path::Path;

use signalbox_messages::StatusChanged;

use crate::{Zone, status_changed};

/// One recorded request.
#[derive(serde::Deserialize)]
pub(crate) struct Fixture {
    #[serde(skip)]
    pub(crate) name: String,
    pub(crate) raw_body: String,
}

impl Fixture {
    /// Parsed as if it had been accepted when it was sent (the machine's zone was UTC).
    pub(crate) fn message(&self) -> StatusChanged {
        let mut message = status_changed(self.raw_body.as_bytes(), 0, &Zone::Auto).unwrap();
        message.accepted_at_ms = message.sent_at_ms.unwrap();
        message
    }
}

/// All requests of `recommended`, `v6.0` or `v7.0`, in the order of their names.
pub(crate) fn all(folder: &str) -> Vec<Fixture> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(folder);
    let mut fixtures: Vec<Fixture> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let mut fixture: Fixture = serde_json::from_slice(&std::fs::read(entry.path()).unwrap()).unwrap();
            fixture.name = entry.file_name().into_string().unwrap().trim_end_matches(".json").to_owned();
            fixture
        })
        .collect();
    fixtures.sort_by(|a, b| a.name.cmp(&b.name));
    fixtures
}

/// The message of one fixture, for example `v7.0/06-update-suppress`.
pub(crate) fn message(path: &str) -> StatusChanged {
    let (folder, name) = path.split_once('/').unwrap();
    all(folder).into_iter().find(|fixture| fixture.name == name).unwrap().message()
}

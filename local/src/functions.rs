//! The functions, built for this machine, and template.yaml pointing at them.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use signalbox_channels::ChannelsConfig;
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use crate::{
    Interrupt, StartError,
    process::{Guard, Guarded, run},
    state::State,
    workspace::{Workspace, cargo},
};

/// Functions that read `channels.json` beside their binary.
const WITH_CHANNELS: [&str; 7] =
    ["ws-connect", "ws-disconnect", "ws-default", "status-router", "api", "keeper", "fanout"];

/// Folders of `functions/`, that is packages, that is binaries.
pub(crate) fn names(workspace: &Workspace) -> Result<Vec<String>, StartError> {
    let dir = workspace.root.join("functions");
    let entries =
        fs::read_dir(&dir).map_err(|error| StartError::failed(&format!("reading {}", dir.display()), error))?;
    let mut names: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.path().join("Cargo.toml").is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    Ok(names)
}

/// Fails where [`bundle`] would, before anything is started; what is in the channels' file.
pub(crate) fn check_sources(
    workspace: &Workspace,
    template: &Path,
    channels: &Path,
) -> Result<ChannelsConfig, StartError> {
    rewrite_template(&read_template(template)?, &names(workspace)?)?;
    read_channels(channels).map(|(_, config)| config)
}

fn read_template(path: &Path) -> Result<String, StartError> {
    fs::read_to_string(path).map_err(|error| StartError::failed(&format!("reading {}", path.display()), error))
}

/// Builds every function with the profile that `cargo test` uses.
pub(crate) fn build(
    workspace: &Workspace,
    guard: &Guard,
    log: &Path,
    quiet: bool,
    interrupt: &Interrupt,
) -> Result<(), StartError> {
    let plain = cargo();
    let none: [&str; 0] = [];
    let mut command = guard.command(none, plain.get_program());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    // all but what measures them
    command.args(["build", "--workspace", "--exclude", "signalbox-bench", "--bins"]).current_dir(&workspace.root);
    if quiet {
        return run(&mut command, "cargo build", log, interrupt);
    }
    let status =
        Guarded::spawn(&mut command).map_err(|error| StartError::failed("cargo build", error))?.wait(interrupt)?;
    if status.success() {
        Ok(())
    } else {
        Err(StartError::new("the functions do not build", "cargo's errors are above"))
    }
}

/// What is to be deployed.
#[derive(Debug)]
pub(crate) struct Bundle {
    pub(crate) template: PathBuf,
    /// Changes whenever anything in it does.
    pub(crate) digest: String,
}

/// Puts one zip per function and the template that names them into `<state>/build`.
///
/// A zip holds a `bootstrap` of two lines that runs the binary where it is: debug builds are large, and MiniStack would
/// hold each in memory, write it into its state and unpack it again. `salt` is in it too, so that a changed parameter
/// updates every function: their environments hold values of secrets that CloudFormation does not see change.
pub(crate) fn bundle(
    workspace: &Workspace,
    state: &State,
    template: &Path,
    channels: &Path,
    salt: &str,
) -> Result<Bundle, StartError> {
    let names = names(workspace)?;
    let rewritten = rewrite_template(&read_template(template)?, &names)?;
    let (channels, _) = read_channels(channels)?;
    let build = state.path("build");
    let trouble = |error: std::io::Error| StartError::failed("packing the functions", error);
    fs::create_dir_all(build.join("bin")).map_err(trouble)?;
    let mut digest = Sha256::new();
    digest.update(&rewritten);
    for name in &names {
        let binary = link_binary(&workspace.target.join("debug").join(name), &build.join("bin"), name)?;
        let zip = build.join(format!("{name}.zip"));
        let script = format!("#!/bin/sh\n# parameters: {salt}\nexec {} \"$@\"\n", quoted(&binary));
        let extra = WITH_CHANNELS.contains(&name.as_str()).then_some(channels.as_slice());
        let content = pack(&script, extra).map_err(|error| StartError::failed("packing the functions", error))?;
        digest.update(&content);
        if fs::read(&zip).ok().as_deref() != Some(content.as_slice()) {
            fs::write(&zip, &content).map_err(trouble)?;
        }
    }
    let template = build.join("template.yaml");
    fs::write(&template, &rewritten).map_err(trouble)?;
    Ok(Bundle { template, digest: hex::encode(digest.finalize()) })
}

/// Where a function's binary runs from; processes are found by it.
pub(crate) fn binaries(state: &State, name: &str) -> Vec<PathBuf> {
    let prefix = format!("{name}@");
    let Ok(entries) = fs::read_dir(state.path("build/bin")) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path())
        .collect()
}

/// Replaces exactly the lines `CodeUri: functions/<name>/` by the zips.
fn rewrite_template(source: &str, names: &[String]) -> Result<String, StartError> {
    let mut found = vec![0; names.len()];
    let mut lines = Vec::new();
    for line in source.lines() {
        let Some((indent, path)) = line.split_once("CodeUri:") else {
            lines.push(line.to_owned());
            continue;
        };
        let path = path.split('#').next().unwrap_or_default().trim().trim_matches(['"', '\'']);
        let name = path.strip_prefix("functions/").map(|rest| rest.trim_end_matches('/'));
        let Some(index) = name.and_then(|name| names.iter().position(|known| known == name)) else {
            if indent.trim().is_empty() {
                return Err(StartError::new(
                    format!("template.yaml has CodeUri {path}"),
                    "it must be functions/<name>/ of a folder there",
                ));
            }
            lines.push(line.to_owned());
            continue;
        };
        found[index] += 1;
        lines.push(format!("{indent}CodeUri: {}.zip", names[index]));
    }
    for (name, times) in names.iter().zip(found) {
        if times != 1 {
            return Err(StartError::new(
                format!("template.yaml names CodeUri functions/{name}/ {times} times"),
                "each function's folder must be there exactly once",
            ));
        }
    }
    Ok(lines.join("\n") + "\n")
}

/// The file as it is, and what is in it.
pub(crate) fn read_channels(path: &Path) -> Result<(Vec<u8>, ChannelsConfig), StartError> {
    let trouble = |cause: &str| {
        StartError::new(format!("{} cannot be used{cause}", path.display()), "see docs/CONFIG.md for its format")
    };
    let content = fs::read_to_string(path).map_err(|error| trouble(&format!(": {error}")))?;
    // A function that cannot read its channels would only say so in its log.
    let config = ChannelsConfig::parse(&content).map_err(|error| trouble("").with_mistakes(error.mistakes()))?;
    Ok((content.into_bytes(), config))
}

/// Gives this build's binary a name of its own in the state. Cargo replaces the file when it builds anew and never
/// changes it, so a hard link is enough.
fn link_binary(built: &Path, bin: &Path, name: &str) -> Result<PathBuf, StartError> {
    use std::os::unix::fs::MetadataExt;
    let trouble = |error| StartError::failed(&format!("linking {}", built.display()), error);
    let metadata = fs::metadata(built).map_err(trouble)?;
    let identity = format!("{name}@{:x}-{:x}-{:x}", metadata.mtime(), metadata.mtime_nsec(), metadata.size());
    let linked = bin.join(identity);
    if !linked.exists() {
        for entry in fs::read_dir(bin).map_err(trouble)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(&format!("{name}@")) {
                let _ = fs::remove_file(entry.path());
            }
        }
        if fs::hard_link(built, &linked).is_err() {
            let temporary = bin.join(format!("{name}.tmp"));
            fs::copy(built, &temporary).and_then(|_| fs::rename(&temporary, &linked)).map_err(trouble)?;
        }
    }
    Ok(linked)
}

fn pack(bootstrap: &str, channels: Option<&[u8]>) -> Result<Vec<u8>, zip::result::ZipError> {
    // A fixed time: the same content is the same zip.
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(zip::DateTime::default());
    let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file("bootstrap", options.unix_permissions(0o755))?;
    zip.write_all(bootstrap.as_bytes())?;
    if let Some(channels) = channels {
        zip.start_file("channels.json", options.unix_permissions(0o644))?;
        zip.write_all(channels)?;
    }
    Ok(zip.finish()?.into_inner())
}

/// A path as one word of the shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn exactly_the_code_uris_are_replaced() {
        let source = "A:\n  Properties:\n    CodeUri: functions/ws-connect/\n    # CodeUri: see the Makefile\n    Other: functions/query/\nB:\n    CodeUri: functions/query/ # why\n";
        let rewritten = rewrite_template(source, &names(&["query", "ws-connect"])).unwrap();
        assert_eq!(
            rewritten,
            "A:\n  Properties:\n    CodeUri: ws-connect.zip\n    # CodeUri: see the Makefile\n    Other: functions/query/\nB:\n    CodeUri: query.zip\n"
        );
    }

    #[test]
    fn a_function_that_is_missing_twice_there_or_unknown_is_an_error() {
        let known = names(&["query"]);
        for (source, expected) in [
            ("Resources:\n", "0 times"),
            ("    CodeUri: functions/query/\n    CodeUri: functions/query/\n", "2 times"),
            ("    CodeUri: functions/query/\n    CodeUri: functions/qeury/\n", "CodeUri functions/qeury/"),
            ("    CodeUri: functions/query/\n    CodeUri: elsewhere/\n", "CodeUri elsewhere/"),
        ] {
            let error = rewrite_template(source, &known).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_same_content_is_the_same_zip() {
        let zip = pack("#!/bin/sh\n", Some(b"{}")).unwrap();
        assert_eq!(zip, pack("#!/bin/sh\n", Some(b"{}")).unwrap());
        assert_ne!(zip, pack("#!/bin/sh\n", None).unwrap());
    }

    #[test]
    fn channels_that_cannot_be_read_are_named_with_one_mistake_a_line() {
        let path = std::env::temp_dir().join(format!("signalbox-channels-{}.json", std::process::id()));
        let told = |content: &str| {
            fs::write(&path, content).unwrap();
            let error = read_channels(&path).unwrap_err().to_string();
            let lines: Vec<_> = error.lines().map(str::to_owned).collect();
            assert!(lines[0].contains(path.to_str().unwrap()) && lines[0].contains("docs/CONFIG.md"), "{error}");
            lines
        };
        assert_eq!(told("namespaces:\n  - status\n").len(), 2);
        let lines = told(r#"{"client": {"channel_limit": 128, "chanel_limit": 1}, "http_api": {"insecure": 1}}"#);
        let paths: Vec<_> = lines[1..].iter().map(|line| line.split_once(": ").unwrap().0).collect();
        assert_eq!(paths, ["client.channel_limit", "client.chanel_limit", "http_api.insecure"], "{lines:?}");
        fs::remove_file(&path).unwrap();
        assert!(read_channels(&path).is_err());
    }

    #[test]
    fn a_path_with_a_quote_stays_one_word() {
        assert_eq!(quoted(Path::new("/it's here/x")), r"'/it'\''s here/x'");
    }
}

use std::{
    ffi::OsString,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use lexopt::prelude::*;

/// First port of the default range. The offsets are in [`crate::ports::Ports`].
pub const DEFAULT_PORT_BASE: u16 = 4560;

/// What `cargo local --help` prints.
pub const HELP: &str = "\
cargo local: the whole Signalbox cloud on this machine

Builds the functions, starts Postgres and MiniStack, deploys template.yaml into it, serves the board
and prints where everything is. Ctrl-C stops all of it; the next start goes on from the same state.

Usage: cargo local [OPTIONS]
       cargo local check-channels FILE   only say whether a channels' file can be used

  --dir DIR          where the state lives           [default: .signalbox in the workspace]
  --port-base N      first of four ports: N AWS endpoint, N+1 board, N+2 Postgres, N+3 PgBouncer
                                                     [default: 4560]
  --channels FILE    the channels, in the shape of Centrifugo's configuration
                                                     [default: channels.json in the workspace]
  --template FILE    what to deploy                  [default: template.yaml in the workspace]
  --token-secret S   secret of viewers' HS256 tokens [default: client.token.hmac_secret_key of the channels' file,
                                                     else generated and kept in the state]
  --api-key K        the X-API-Key of /api           [default: http_api.key of the channels' file, else generated
                                                     and kept in the state]
  --parameter N=V    a parameter of the template, for example ZabbixApiUrl=http://127.0.0.1:8080; may be there again
  --demo             send real Zabbix messages at a human pace, so that the board is alive
  --no-web           neither build nor serve the board (needs no Node)
  --fresh            forget the state in DIR and begin anew
  -h, --help         print this

Everything is in DIR/endpoints.json too, when, and only when, all of it is ready.
A second stack beside the first: another --dir and another --port-base.";

/// What a local cloud is made of.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "they are switches of a command line")]
pub struct Options {
    /// Where the state lives; `None` is `.signalbox` in the workspace.
    pub dir: Option<PathBuf>,
    /// First of four consecutive ports, see [`crate::ports::Ports`].
    pub port_base: u16,
    /// The channels, in the shape of Centrifugo's configuration; `None` is `channels.json` in the workspace.
    pub channels: Option<PathBuf>,
    /// Secret of viewers' HS256 tokens; `None` takes the channels' `client.token.hmac_secret_key`, or lets the stack
    /// generate one.
    pub token_secret: Option<String>,
    /// The `X-API-Key` of `/api`; `None` takes the channels' `http_api.key`, or lets the stack generate one.
    pub api_key: Option<String>,
    /// More parameters of the template; they go before what the local cloud sets.
    pub parameters: Vec<(String, String)>,
    /// Keep sending real Zabbix messages.
    pub demo: bool,
    /// Build and serve the board.
    pub web: bool,
    /// Forget the state first.
    pub fresh: bool,
    /// Enforce IAM: functions may do only what the template's policies allow them.
    pub auth: bool,
    /// Template to deploy; `None` is `template.yaml` in the workspace.
    pub template: Option<PathBuf>,
    /// Say nothing on standard error.
    pub quiet: bool,
    /// Set from outside (a signal handler) to give up a start half-way.
    pub interrupt: Interrupt,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            dir: None,
            port_base: DEFAULT_PORT_BASE,
            channels: None,
            token_secret: None,
            api_key: None,
            parameters: Vec::new(),
            demo: false,
            web: true,
            fresh: false,
            auth: false,
            template: None,
            quiet: false,
            interrupt: Interrupt::default(),
        }
    }
}

/// Asks a start that is under way to give up. Clones share the flag.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Give up: the start stops what it has started and fails.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Was it raised?
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Command {
    /// Print [`HELP`].
    Help,
    /// Start a cloud.
    Start(Box<Options>),
    /// Only say whether this file can be the channels' ([`crate::check_channels`]).
    CheckChannels(PathBuf),
}

/// Reads the command line (without the program's name).
///
/// # Errors
/// One line that names the argument.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    read(lexopt::Parser::from_args(arguments)).map_err(|error| error.to_string())
}

fn read(mut parser: lexopt::Parser) -> Result<Command, lexopt::Error> {
    let mut options = Options::default();
    let mut first = true;
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(Command::Help),
            Value(command) if first && command == "check-channels" => {
                let file = parser.value()?.into();
                return match parser.next()? {
                    None => Ok(Command::CheckChannels(file)),
                    Some(other) => Err(other.unexpected()),
                };
            }
            Long("dir") => options.dir = Some(parser.value()?.into()),
            Long("port-base") => options.port_base = parser.value()?.parse()?,
            Long("channels") => options.channels = Some(parser.value()?.into()),
            Long("template") => options.template = Some(parser.value()?.into()),
            Long("token-secret") => {
                options.token_secret = Some(not_empty("--token-secret", parser.value()?.string()?)?);
            }
            Long("api-key") => options.api_key = Some(not_empty("--api-key", parser.value()?.string()?)?),
            Long("parameter") => options.parameters.push(pair(&parser.value()?.string()?)?),
            Long("demo") => options.demo = true,
            Long("no-web") => options.web = false,
            Long("fresh") => options.fresh = true,
            other => return Err(other.unexpected()),
        }
        first = false;
    }
    Ok(Command::Start(Box::new(options)))
}

fn not_empty(option: &str, value: String) -> Result<String, lexopt::Error> {
    if value.is_empty() { Err(format!("{option} is empty").into()) } else { Ok(value) }
}

fn pair(text: &str) -> Result<(String, String), lexopt::Error> {
    let named = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = named.ok_or_else(|| format!("--parameter {text} is not NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str]) -> Options {
        match parse(arguments.iter().map(Into::into)).unwrap() {
            Command::Start(options) => *options,
            other => panic!("{other:?}"),
        }
    }

    fn error(arguments: &[&str]) -> String {
        parse(arguments.iter().map(Into::into)).unwrap_err()
    }

    #[test]
    fn every_option_is_read() {
        let read = options(&[
            "--dir",
            "/s",
            "--port-base=5000",
            "--channels",
            "c.json",
            "--token-secret",
            "t",
            "--api-key",
            "k",
            "--parameter",
            "ZabbixPollSeconds=1",
            "--parameter=ZabbixApiUrl=http://z/?a=b",
            "--demo",
            "--no-web",
            "--fresh",
        ]);
        assert_eq!(read.dir, Some("/s".into()));
        assert_eq!(read.port_base, 5000);
        assert_eq!(read.channels, Some("c.json".into()));
        assert_eq!(read.token_secret.as_deref(), Some("t"));
        assert_eq!(read.api_key.as_deref(), Some("k"));
        let parameters = [("ZabbixPollSeconds", "1"), ("ZabbixApiUrl", "http://z/?a=b")];
        assert_eq!(read.parameters, parameters.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert!(read.demo && read.fresh && !read.web);
    }

    #[test]
    fn without_arguments_the_board_is_served_and_the_state_kept() {
        let read = options(&[]);
        assert!(read.web && !read.fresh && !read.demo && !read.auth);
        assert_eq!(read.port_base, DEFAULT_PORT_BASE);
    }

    #[test]
    fn a_wrong_argument_is_named_in_one_line() {
        for (arguments, name) in [
            (&["--prot-base", "1"][..], "--prot-base"),
            (&["--port-base", "many"], "many"),
            (&["--dir"], "--dir"),
            (&["up"], "up"),
            (&["--api-key", ""], "--api-key"),
            (&["--parameter", "Architecture"], "Architecture"),
            (&["--parameter", "=x"], "--parameter"),
        ] {
            let error = error(arguments);
            assert!(error.contains(name) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_channels_file_can_be_checked_alone() {
        let read = |arguments: &[&str]| parse(arguments.iter().map(Into::into));
        assert!(matches!(read(&["check-channels", "c.json"]), Ok(Command::CheckChannels(file)) if file == *"c.json"));
        for wrong in [&["check-channels"][..], &["check-channels", "c.json", "d.json"], &["--demo", "check-channels"]] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn help_wins_and_names_every_option() {
        assert!(matches!(parse(["--demo", "--help"].map(Into::into)), Ok(Command::Help)));
        for option in [
            "--dir",
            "--port-base",
            "--channels",
            "--template",
            "--token-secret",
            "--api-key",
            "--demo",
            "--no-web",
            "--fresh",
            "check-channels",
        ] {
            assert!(HELP.contains(option), "{option}");
        }
    }
}

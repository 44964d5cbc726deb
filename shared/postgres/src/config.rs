use std::{path::PathBuf, sync::Arc, time::SystemTime};

use aws_credential_types::Credentials;
use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer, pki_types::pem::PemObject as _};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::iam;

/// Where the database is and how to log in. Its `Debug` shows no password.
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) server: Server,
    pub(crate) tls: Tls,
}

#[derive(Debug, Clone)]
pub(crate) enum Server {
    /// RDS Proxy: IAM token as password.
    Rds { login: iam::Login, database: String },
    /// Whatever a connection string says.
    External(Box<tokio_postgres::Config>),
}

#[derive(Clone)]
pub(crate) struct Tls(pub(crate) MakeRustlsConnect);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

/// A configuration that cannot be used; names the variable, never its value.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Neither way to a database is configured.
    #[error("set DATABASE_URL, or DATABASE_HOST, DATABASE_NAME and DATABASE_USER: {0} is missing")]
    Missing(&'static str),
    /// A variable that cannot be used.
    #[error("{name} {problem}")]
    Invalid {
        /// The variable.
        name: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The IAM token could not be made.
    #[error("RDS token: {0}")]
    Token(String),
    /// TLS could not be set up.
    #[error("TLS: {0}")]
    Tls(String),
}

impl Config {
    /// `DATABASE_URL` if it is set, else RDS Proxy with an IAM token: `DATABASE_HOST`, `DATABASE_PORT` (5432),
    /// `DATABASE_NAME`, `DATABASE_USER`, `AWS_REGION` and the function's credentials.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_variables(variable)
    }

    /// `MIGRATIONS_DATABASE_URL` if it is set (a way past the pooler), else [`Config::from_env`].
    pub fn for_migrations_from_env() -> Result<Self, ConfigError> {
        match variable("MIGRATIONS_DATABASE_URL") {
            Some(url) => Self::external("MIGRATIONS_DATABASE_URL", &url),
            None => Self::from_env(),
        }
    }

    /// From a connection string `postgres://user:password@host:port/database?sslmode=…`.
    ///
    /// `sslmode`: `require` (also `verify-ca`, `verify-full`: all three verify certificate and host name) · `prefer` · `disable`.
    /// Without it: `require`, but `prefer` for this machine. `sslrootcert=FILE` adds the certificates of a private CA (RDS
    /// without a proxy), relative to the function's folder; the public ones are always trusted.
    pub fn from_url(url: &str) -> Result<Self, ConfigError> {
        Self::external("DATABASE_URL", url)
    }

    fn from_variables(variable: impl Fn(&'static str) -> Option<String>) -> Result<Self, ConfigError> {
        if let Some(url) = variable("DATABASE_URL") {
            return Self::external("DATABASE_URL", &url);
        }
        let require = |name| variable(name).ok_or(ConfigError::Missing(name));
        let login = iam::Login {
            host: require("DATABASE_HOST")?,
            port: match variable("DATABASE_PORT") {
                None => 5432,
                Some(port) => port.parse().map_err(|_| invalid("DATABASE_PORT", "is not a port"))?,
            },
            user: require("DATABASE_USER")?,
            region: require("AWS_REGION")?,
            // Lambda's are valid for as long as the environment lives.
            credentials: Credentials::new(
                require("AWS_ACCESS_KEY_ID")?,
                require("AWS_SECRET_ACCESS_KEY")?,
                variable("AWS_SESSION_TOKEN"),
                None,
                "environment",
            ),
        };
        let database = require("DATABASE_NAME")?;
        // RDS Proxy has a certificate of the public Amazon CA (RDS user guide, "TLS with RDS Proxy").
        Ok(Self { server: Server::Rds { login, database }, tls: tls(None)? })
    }

    fn external(name: &'static str, url: &str) -> Result<Self, ConfigError> {
        let ConnectionString { rest, sslmode, root_certificates } = ConnectionString::parse(url);
        let mut config: tokio_postgres::Config = rest
            .parse()
            .map_err(|_| invalid(name, "is not a connection string (postgres://user:password@host:port/database)"))?;
        // Sent at start-up and pooled apart; a pooler that does not know one refuses the connection.
        if config.get_options().is_some_and(|options| options.contains("-c")) {
            return Err(invalid(
                name,
                "must not set session parameters (options=-c …): a transaction pooler shares sessions",
            ));
        }
        config.ssl_mode(match sslmode.as_deref() {
            Some("prefer" | "allow") => SslMode::Prefer,
            Some("disable") => SslMode::Disable,
            None if is_local(&config) => SslMode::Prefer,
            Some("require" | "verify-ca" | "verify-full") | None => SslMode::Require,
            Some(_) => return Err(invalid(name, "has an unknown sslmode (require, prefer, disable)")),
        });
        if config.get_application_name().is_none() {
            config.application_name("signalbox");
        }
        Ok(Self { server: Server::External(Box::new(config)), tls: tls(root_certificates.as_deref())? })
    }

    /// What to connect with now: the IAM token, if one is needed, is made here.
    pub(crate) fn login(&self, now: SystemTime) -> Result<tokio_postgres::Config, ConfigError> {
        match &self.server {
            Server::External(config) => Ok((**config).clone()),
            Server::Rds { login, database } => {
                let mut config = tokio_postgres::Config::new();
                config
                    .host(&login.host)
                    .port(login.port)
                    .dbname(database)
                    .user(&login.user)
                    .password(iam::token(login, now)?)
                    .application_name("signalbox")
                    .ssl_mode(SslMode::Require);
                Ok(config)
            }
        }
    }
}

fn variable(name: &'static str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn invalid(name: &'static str, problem: &str) -> ConfigError {
    ConfigError::Invalid { name, problem: problem.to_owned() }
}

fn is_local(config: &tokio_postgres::Config) -> bool {
    config.get_hosts().iter().all(|host| match host {
        Host::Tcp(name) => matches!(name.as_str(), "localhost" | "127.0.0.1" | "::1"),
        Host::Unix(_) => true,
    })
}

/// A connection string without what tokio-postgres does not know: its own `sslmode` has three values, and `sslrootcert` none.
struct ConnectionString {
    rest: String,
    sslmode: Option<String>,
    root_certificates: Option<String>,
}

impl ConnectionString {
    fn parse(url: &str) -> Self {
        let (mut sslmode, mut root_certificates) = (None, None);
        let Some((address, query)) = url.split_once('?') else {
            return Self { rest: url.to_owned(), sslmode, root_certificates };
        };
        let kept: Vec<&str> = query
            .split('&')
            .filter(|pair| match pair.split_once('=') {
                Some(("sslmode", value)) => {
                    sslmode = Some(value.to_owned());
                    false
                }
                Some(("sslrootcert", value)) => {
                    root_certificates =
                        Some(percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned());
                    false
                }
                _ => true,
            })
            .collect();
        let rest = if kept.is_empty() { address.to_owned() } else { format!("{address}?{}", kept.join("&")) };
        Self { rest, sslmode, root_certificates }
    }
}

fn tls(root_certificates: Option<&str>) -> Result<Tls, ConfigError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    // `system` is libpq's name for the public ones
    if let Some(file) = root_certificates.filter(|file| *file != "system") {
        let folder = variable("LAMBDA_TASK_ROOT").map(PathBuf::from).unwrap_or_default();
        let certificates = CertificateDer::pem_file_iter(folder.join(file))
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|cause| ConfigError::Tls(format!("sslrootcert cannot be read: {cause}")))?;
        roots.add_parsable_certificates(certificates);
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|cause| ConfigError::Tls(cause.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Tls(MakeRustlsConnect::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn external(url: &str) -> tokio_postgres::Config {
        Config::from_url(url).unwrap().login(SystemTime::UNIX_EPOCH).unwrap()
    }

    #[test]
    fn a_remote_database_without_sslmode_gets_verified_tls() {
        assert_eq!(external("postgres://u:p@db.example/x").get_ssl_mode(), SslMode::Require);
        assert_eq!(external("postgres://u:p@127.0.0.1:6432/x").get_ssl_mode(), SslMode::Prefer);
        assert_eq!(external("postgres://u:p@db.example/x?sslmode=disable").get_ssl_mode(), SslMode::Disable);
        assert_eq!(external("postgres://u:p@db.example/x?sslmode=verify-full").get_ssl_mode(), SslMode::Require);
    }

    #[test]
    fn a_neon_connection_string_is_understood() {
        let config =
            external("postgresql://u:p@ep-x-pooler.eu.aws.neon.tech/neondb?sslmode=require&channel_binding=require");
        assert_eq!(config.get_ssl_mode(), SslMode::Require);
        assert_eq!(config.get_channel_binding(), tokio_postgres::config::ChannelBinding::Require);
        assert_eq!(config.get_dbname(), Some("neondb"));
    }

    #[test]
    fn errors_name_the_variable_and_never_its_value() {
        for (url, part) in [
            ("postgres://u:hunter2@h:notaport/x", "DATABASE_URL is not a connection string"),
            ("postgres://u:hunter2@h/x?sslmode=maybe", "DATABASE_URL has an unknown sslmode"),
            (
                "postgres://u:hunter2@h/x?options=-c%20statement_timeout%3D5",
                "DATABASE_URL must not set session parameters",
            ),
        ] {
            let error = Config::from_url(url).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert!(!format!("{:?}", Config::from_url("postgres://u:hunter2@h/x").unwrap()).contains("hunter2"));
    }

    #[test]
    fn rds_mode_logs_in_with_a_token_over_tls() {
        let variables = |name: &'static str| {
            Some(match name {
                "DATABASE_HOST" => "proxy.example".to_owned(),
                "DATABASE_NAME" => "signalbox".to_owned(),
                "DATABASE_USER" => "recorder".to_owned(),
                "AWS_REGION" => "eu-west-1".to_owned(),
                "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => "key".to_owned(),
                _ => return None,
            })
        };
        let config = Config::from_variables(variables).unwrap().login(SystemTime::now()).unwrap();
        assert_eq!(config.get_ssl_mode(), SslMode::Require);
        let password = String::from_utf8(config.get_password().unwrap().to_vec()).unwrap();
        assert!(password.starts_with("proxy.example:5432/?Action=connect&DBUser=recorder&X-Amz-"), "{password}");
    }

    #[test]
    fn a_missing_variable_is_named() {
        let error = Config::from_variables(|_| None).unwrap_err().to_string();
        assert!(error.contains("DATABASE_HOST is missing"), "{error}");
    }
}

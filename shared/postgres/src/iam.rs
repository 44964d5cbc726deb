//! RDS IAM authentication: the password is a presigned URL, made here without any call.
//!
//! There is no cache: signing takes microseconds, a token is needed once per connection, and one made for the connection at
//! hand cannot be too old.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use crate::ConfigError;

/// How long RDS accepts a token for opening a connection (RDS user guide, "IAM database authentication").
const VALID_FOR: Duration = Duration::from_mins(15);

/// What RFC 3986 does not leave unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Whom the token is for.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) region: String,
    pub(crate) credentials: Credentials,
}

/// The token: `host:port/?Action=connect&DBUser=user&X-Amz-…`, a presigned `rds-db` URL without its scheme.
pub(crate) fn token(login: &Login, now: SystemTime) -> Result<String, ConfigError> {
    let Login { host, port, user, region, credentials } = login;
    let user = percent_encode(user.as_bytes(), RESERVED);
    let url = format!("https://{host}:{port}/?Action=connect&DBUser={user}");
    let mut settings = SigningSettings::default();
    settings.expires_in = Some(VALID_FOR);
    settings.signature_location = SignatureLocation::QueryParams;
    let identity = credentials.clone().into();
    let params = SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("rds-db")
        .time(now)
        .settings(settings)
        .build()
        .map_err(|cause| ConfigError::Token(cause.to_string()))?;
    let request = SignableRequest::new("GET", &url, std::iter::empty(), SignableBody::Bytes(&[]))
        .map_err(|cause| ConfigError::Token(cause.to_string()))?;
    let (instructions, _) =
        sign(request, &params.into()).map_err(|cause| ConfigError::Token(cause.to_string()))?.into_parts();
    let mut request =
        http::Request::builder().uri(&url).body(()).map_err(|cause| ConfigError::Token(cause.to_string()))?;
    instructions.apply_to_request_http1x(&mut request);
    let signed = request.uri().to_string();
    Ok(signed.strip_prefix("https://").unwrap_or(&signed).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login() -> Login {
        Login {
            host: "proxy.example.eu-west-1.rds.amazonaws.com".to_owned(),
            port: 5432,
            user: "signal_box user".to_owned(),
            region: "eu-west-1".to_owned(),
            credentials: Credentials::new("AKID", "SECRET", Some("session/token=".to_owned()), None, "test"),
        }
    }

    #[test]
    fn a_token_is_a_presigned_connect_url_without_its_scheme() {
        let token = token(&login(), SystemTime::UNIX_EPOCH + Duration::from_hours(479_086)).unwrap();
        assert!(
            token.starts_with(
                "proxy.example.eu-west-1.rds.amazonaws.com:5432/?Action=connect&DBUser=signal_box%20user&"
            ),
            "{token}"
        );
        for part in [
            "X-Amz-Algorithm=AWS4-HMAC-SHA256",
            "X-Amz-Credential=AKID%2F20240826%2Feu-west-1%2Frds-db%2Faws4_request",
            "X-Amz-Date=20240826T220000Z",
            "X-Amz-Expires=900",
            "X-Amz-SignedHeaders=host",
            "X-Amz-Security-Token=session%2Ftoken%3D",
            "X-Amz-Signature=",
        ] {
            assert!(token.contains(part), "{part} is not in {token}");
        }
        assert!(!token.contains("SECRET"));
    }

    #[test]
    fn the_signature_is_the_one_the_aws_sdk_makes() {
        // The vector of aws-sdk-rds's own auth_token test
        let login = Login {
            host: "prod-instance.us-east-1.rds.amazonaws.com".to_owned(),
            port: 3306,
            user: "peccy".to_owned(),
            region: "us-east-1".to_owned(),
            credentials: Credentials::new("akid", "secret", None, None, "test"),
        };
        assert_eq!(
            token(&login, SystemTime::UNIX_EPOCH + Duration::from_hours(479_086)).unwrap(),
            "prod-instance.us-east-1.rds.amazonaws.com:3306/?Action=connect&DBUser=peccy&X-Amz-Algorithm=AWS4-HMAC-SHA256\
             &X-Amz-Credential=akid%2F20240826%2Fus-east-1%2Frds-db%2Faws4_request&X-Amz-Date=20240826T220000Z\
             &X-Amz-Expires=900&X-Amz-SignedHeaders=host\
             &X-Amz-Signature=dd0cba843009474347af724090233265628ace491ea17ce3eb3da098b983ad89"
        );
    }
}

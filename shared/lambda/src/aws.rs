use std::time::Duration;

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_smithy_types::{retry::RetryConfig, timeout::TimeoutConfig};
use aws_types::{SdkConfig, region::Region};

use crate::env;

/// The AWS configuration of a function, from its environment alone.
///
/// Lambda puts the role's credentials into the environment of each execution environment for as long as that lives (Lambda
/// guide, "Defined runtime environment variables"), so there is no provider chain to walk and `aws-config` is not needed:
/// it would cost start-up time and several crates. `AWS_ENDPOINT_URL` points at a local cloud; empty means AWS.
pub fn sdk_config() -> anyhow::Result<SdkConfig> {
    let credentials = Credentials::new(
        env::require("AWS_ACCESS_KEY_ID")?,
        env::require("AWS_SECRET_ACCESS_KEY")?,
        env::optional("AWS_SESSION_TOKEN"),
        None,
        "environment",
    );
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(env::require("AWS_REGION")?))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(signalbox_http::sdk_client()?)
        .sleep_impl(TokioSleep::new())
        .retry_config(RetryConfig::standard().with_max_attempts(4).with_initial_backoff(Duration::from_millis(50)))
        .timeout_config(
            // connecting is limited by the client itself
            TimeoutConfig::builder().operation_attempt_timeout(Duration::from_secs(3)).build(),
        );
    config.set_endpoint_url(env::optional("AWS_ENDPOINT_URL"));
    Ok(config.build())
}

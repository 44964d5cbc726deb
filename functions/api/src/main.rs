//! The server API: `POST /api/<method>`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), signalbox_lambda::Error> {
    let boot = signalbox_lambda::boot("api");
    let state = api::State::from_env(&boot).await?;
    boot.run_http(state, api::handle).await
}

//! `$disconnect`: removes a connection and its subscriptions.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), signalbox_lambda::Error> {
    let boot = signalbox_lambda::boot("ws-disconnect");
    let state = ws_disconnect::State::from_env(&boot).await?;
    boot.run_websocket(state, ws_disconnect::handle).await
}

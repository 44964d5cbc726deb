//! `$default`: the commands of the client protocol.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), signalbox_lambda::Error> {
    let boot = signalbox_lambda::boot("ws-default");
    let state = ws_default::State::from_env(&boot).await?;
    boot.run_websocket(state, ws_default::handle).await
}

//! `$connect`: admits a socket from an allowed origin to the connection table.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), signalbox_lambda::Error> {
    let boot = signalbox_lambda::boot("ws-connect");
    let state = ws_connect::State::from_env(&boot)?;
    boot.run_websocket(state, ws_connect::handle).await
}

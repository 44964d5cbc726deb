//! What the bus brings, kept and published.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), signalbox_lambda::Error> {
    let boot = signalbox_lambda::boot("status-router");
    let state = status_router::State::from_env(&boot).await?;
    boot.run(state, status_router::route).await
}

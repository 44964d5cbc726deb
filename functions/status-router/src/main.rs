//! What the bus brings, kept and published.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), signalbox_lambda::Error> {
    let boot = signalbox_lambda::boot("status-router");
    let state = status_router::State::from_env(&boot).await?;
    let dead_letters = signalbox_lambda::sqs::DeadLetters::from_env(&boot.aws()?);
    boot.run_sqs(state, dead_letters, status_router::handle).await
}

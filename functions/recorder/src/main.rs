//! The record queue into Postgres, in batches.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), signalbox_lambda::Error> {
    let boot = signalbox_lambda::boot("recorder");
    let state = recorder::State::from_env()?;
    let dead_letters = signalbox_lambda::sqs::DeadLetters::from_env(&boot.aws()?);
    boot.run_sqs(state, dead_letters, recorder::handle).await
}

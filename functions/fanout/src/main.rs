//! The fan-out queue: posts publications to the shards of big channels.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), signalbox_lambda::Error> {
    let boot = signalbox_lambda::boot("fanout");
    let state = fanout::State::from_env(&boot).await?;
    // what can be decoded is buried by the handler, which knows what a FIFO queue wants
    boot.run_sqs(state, signalbox_lambda::sqs::DeadLetters::Redrive, fanout::handle).await
}

//! Every minute: unfinished deliveries, connections whose time is over, sockets that must not fall asleep.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), signalbox_lambda::Error> {
    let boot = signalbox_lambda::boot("keeper");
    let state = keeper::State::from_env(&boot).await?;
    boot.run(state, keeper::handle).await
}

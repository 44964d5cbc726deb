//! The action queue: what viewers ask Zabbix to do with problems.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), signalbox_lambda::Error> {
    let boot = signalbox_lambda::boot("zabbix-acknowledge");
    let state = zabbix_acknowledge::State::from_env(&boot)?;
    let dead_letters = signalbox_lambda::sqs::DeadLetters::from_env(&boot.aws()?);
    boot.run_sqs(state, dead_letters, zabbix_acknowledge::handle).await
}

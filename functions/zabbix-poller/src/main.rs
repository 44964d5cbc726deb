//! Every few seconds: what Zabbix says, compared with what is known.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), signalbox_lambda::Error> {
    let boot = signalbox_lambda::boot("zabbix-poller");
    let state = zabbix_poller::State::from_env(&boot)?;
    boot.run(state, zabbix_poller::handle).await
}

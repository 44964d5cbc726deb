//! `POST /webhook/zabbix`: a signed Zabbix notification becomes a `StatusChanged` on the bus.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), signalbox_lambda::Error> {
    let boot = signalbox_lambda::boot("zabbix-webhook");
    let state = zabbix_webhook::State::from_env(&boot)?;
    boot.run_http(state, zabbix_webhook::handle).await
}

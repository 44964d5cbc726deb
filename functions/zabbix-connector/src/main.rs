//! `POST /connector/zabbix/…`: what a Zabbix connector streams becomes messages on the bus.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), signalbox_lambda::Error> {
    let boot = signalbox_lambda::boot("zabbix-connector");
    let state = zabbix_connector::State::from_env(&boot)?;
    boot.run_http(state, zabbix_connector::handle).await
}

//! `GET /api/status` and `/api/status/history`, from Postgres.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), signalbox_lambda::Error> {
    let boot = signalbox_lambda::boot("query");
    let state = query::State::from_env()?;
    boot.run_http(state, query::handle).await
}

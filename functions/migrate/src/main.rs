//! Applies the database migrations on deploy (a CloudFormation custom resource), and looks after the record's months once a day.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), signalbox_lambda::Error> {
    let boot = signalbox_lambda::boot("migrate");
    // A configuration that cannot be used is CloudFormation's to hear, too: no `?` here.
    let state = migrate::State::from_env();
    boot.run(state, migrate::handle).await
}

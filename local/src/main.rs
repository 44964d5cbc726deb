//! `cargo local`: the whole cloud on this machine, until Ctrl-C.

use std::{
    io::{Write, stderr, stdout},
    process::ExitCode,
    thread::sleep,
    time::Duration,
};

use signalbox_local::{
    Cloud, Endpoints, Interrupt, check_channels,
    options::{Command, HELP, parse},
};

fn main() -> ExitCode {
    let mut options = match parse(std::env::args_os().skip(1)) {
        Ok(Command::Start(options)) => *options,
        Ok(Command::Help) => {
            let _ = writeln!(stdout(), "{HELP}");
            return ExitCode::SUCCESS;
        }
        Ok(Command::CheckChannels(file)) => {
            return check_channels(&file).map_or_else(|error| fail(&error.to_string(), 1), |()| ExitCode::SUCCESS);
        }
        Err(error) => return fail(&format!("{error}; see cargo local --help"), 2),
    };
    options.interrupt = match stop_signals() {
        Ok(interrupt) => interrupt,
        Err(error) => return fail(&format!("listening for signals failed: {error}"), 1),
    };
    let stopped = options.interrupt.clone();
    let cloud = match Cloud::start(options) {
        Ok(cloud) => cloud,
        // Somebody asked for it: not a failure of ours, but not a success either.
        Err(error) if stopped.is_raised() => return fail(&error.to_string(), 130),
        Err(error) => return fail(&error.to_string(), 1),
    };
    print(&cloud);
    let mut ended = None;
    while !stopped.is_raised() && ended.is_none() {
        sleep(Duration::from_millis(50));
        ended = cloud.ended();
    }
    let logs = cloud.log_dir();
    let _ = writeln!(stderr(), "\nstopping …");
    cloud.stop();
    match ended {
        Some(name) => fail(&format!("{name} ended by itself; start again, its log is in {}", logs.display()), 1),
        None => ExitCode::SUCCESS,
    }
}

fn fail(error: &str, code: u8) -> ExitCode {
    let _ = writeln!(stderr(), "error: {error}");
    ExitCode::from(code)
}

/// Ctrl-C, SIGTERM and SIGHUP all mean the same, during the start too.
fn stop_signals() -> std::io::Result<Interrupt> {
    use tokio::signal::unix::{SignalKind, signal};
    let interrupt = Interrupt::default();
    let raised = interrupt.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut signals = {
        let _runtime = runtime.enter();
        [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal)
    };
    if let Some(error) = signals.iter_mut().find_map(|signal| signal.as_mut().err()) {
        return Err(std::io::Error::new(error.kind(), error.to_string()));
    }
    std::thread::spawn(move || {
        runtime.block_on(async move {
            let [Ok(mut first), Ok(mut second), Ok(mut third)] = signals else { return };
            tokio::select! { _ = first.recv() => {}, _ = second.recv() => {}, _ = third.recv() => {} }
            raised.raise();
            // A second Ctrl-C is of no use: the stop is bounded. Keep listening, or it would kill us half-way.
            std::future::pending::<()>().await;
        });
    });
    Ok(interrupt)
}

fn print(cloud: &Cloud) {
    let Endpoints {
        ws_url,
        api_url,
        web_url,
        webhook_url,
        webhook_secret,
        api_key,
        postgres_url,
        aws_endpoint_url,
        ..
    } = cloud.endpoints();
    let board =
        if cloud.endpoints().web_served { web_url.clone() } else { format!("{web_url} (not served: --no-web)") };
    let rows = [
        ("Board", board.as_str()),
        ("WebSocket", ws_url),
        ("API", api_url),
        ("  X-API-Key", api_key),
        ("Webhook", webhook_url),
        ("  secret", webhook_secret),
        ("Postgres", postgres_url),
        ("AWS endpoint", aws_endpoint_url),
    ];
    let mut out = stdout().lock();
    let _ = writeln!(out);
    for (name, value) in rows {
        let _ = writeln!(out, "{name:<13} {value}");
    }
    let _ = writeln!(out, "\nLogs in {}. Ctrl-C stops everything.", cloud.log_dir().display());
    let _ = out.flush();
}

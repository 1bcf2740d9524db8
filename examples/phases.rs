//! An ordered shutdown on smol: an HTTP server that queues jobs, workers that finish the queue, an SQLite
//! database, and metrics last.
//!
//! `cargo run --example phases -- [ADDRESS] [DATABASE]`, then
//! `curl -X POST 'http://127.0.0.1:8000/jobs?count=100'`, and Ctrl-C while the jobs run.

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("this example is built on Linux alone, as its database is compiled for it");
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    linux::main()
}

#[cfg(target_os = "linux")]
mod linux {
    use std::error::Error;
    use std::fmt::Display;
    use std::io::Write;
    use std::process::ExitCode;
    use std::sync::{Arc, Mutex, PoisonError};
    use std::time::Duration;

    use async_channel::{Receiver, Sender};
    use http_body_util::Full;
    use hyper::body::{Bytes, Incoming};
    use hyper::server::conn::http1::{Builder, Connection as Http};
    use hyper::service::service_fn;
    use hyper::{Request, Response};
    use rusqlite::Connection;
    use smol::net::{TcpListener, TcpStream};
    use smol::stream::StreamExt;
    use smol_hyper::rt::{FuturesIo, SmolTimer};
    use winddown::{Callback, Shutdown, ShutdownExt, Waiter};
    use winddown_http::refuse_on_shutdown;

    type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

    const GRACE_PERIOD: Duration = Duration::from_secs(30);

    pub(super) fn main() -> ExitCode {
        match smol::block_on(run()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                say_error(format_args!("error: {error}"));
                ExitCode::FAILURE
            }
        }
    }

    async fn run() -> Result<()> {
        let mut args = std::env::args().skip(1);
        let address = args.next().unwrap_or_else(|| "127.0.0.1:8000".into());
        let database = args.next().unwrap_or_else(|| "jobs.sqlite".into());

        // The order in which the parts stop: the reverse of that in which they start.
        let shutdown = Shutdown::builder().grace_period(GRACE_PERIOD).install()?;
        let http = shutdown.phase("http").build();
        // Told later, so that a connection that was just accepted can send its request.
        let pause = Duration::from_millis(500);
        let connections = http.phase("connections").delay(pause).build();
        let workers = shutdown
            .phase("workers")
            .after(&http)
            .time_limit(Duration::from_secs(20)) // so that the database has its time
            .build();
        let storage = shutdown.phase("storage").after(&workers).build();
        let metrics = shutdown.phase("metrics").after(&storage).build();

        let listener = TcpListener::bind(&address).await?;
        let database = Arc::new(Mutex::new(open(&database)?));
        let (queue, jobs) = async_channel::unbounded();

        let _said = [
            announce(&http, || "http".into()),
            announce(&workers, {
                let jobs = jobs.clone();
                move || format!("workers, {} jobs are queued", jobs.len())
            }),
            announce(&storage, || "storage".into()),
            announce(&metrics, || "metrics".into()),
        ];

        let report = metrics.track(report(metrics.clone()));
        smol::spawn(report).detach();
        // Work of its phase; but its failure begins the whole shutdown, and not that of the phase alone.
        let close = shutdown.supervise("storage", close(storage.clone(), database.clone()));
        smol::spawn(storage.track(close)).detach();
        for _ in 0..2 {
            let work = shutdown.supervise("worker", work(jobs.clone(), database.clone()));
            smol::spawn(workers.track(work)).detach();
        }
        say(format_args!(
            "ready: listening on http://{}",
            listener.local_addr()?
        ));
        let refusing = refuse_on_shutdown(&listener, &http)?;
        let accept = http.track(accept(listener, http.clone(), connections, queue));
        let accepted = accept.await;
        drop(refusing);

        shutdown.drained().await?;
        accepted?;
        let report = shutdown.report();
        if !report.timed_out_phases().is_empty() {
            return Err(report.to_string().into()); // storage came before the last job
        }
        let cause = shutdown.cause().ok_or("it was requested")?;
        if cause.error().is_some() {
            return Err(cause.to_string().into()); // a part has failed
        }
        say("stopped: every job is done");
        Ok(())
    }

    /// Says when a phase is asked.
    fn announce(phase: &Shutdown, what: impl FnOnce() -> String + Send + 'static) -> Callback {
        phase.call_on_shutdown(move || say(format_args!("phase: {}", what())))
    }

    /// Prints a line. Unlike `println!`, it does not panic if the other end of the pipe is gone.
    fn say(line: impl Display) {
        let _ = writeln!(std::io::stdout(), "{line}");
    }

    /// Prints a line to stderr, likewise.
    fn say_error(line: impl Display) {
        let _ = writeln!(std::io::stderr(), "{line}");
    }

    // HTTP: accepts, and puts jobs into the queue.

    async fn accept(
        listener: TcpListener,
        http: Shutdown,
        connections: Shutdown,
        queue: Sender<u32>,
    ) -> Result<()> {
        let is_late = || http.is_stopping() && http.remaining() < Some(GRACE_PERIOD / 2);
        let mut left = None;
        // Also connections that the kernel has accepted when the signal comes.
        let mut incoming = listener.incoming().finish_on_shutdown(http.waiter());
        while let Some(accepted) = incoming.next().await {
            match accepted {
                Ok(stream) => {
                    left = None;
                    let connection = connection(stream, connections.waiter(), queue.clone());
                    smol::spawn(connections.track(connection)).detach();
                }
                Err(error) => {
                    // Out of descriptors, most likely: give the connections time to end.
                    say_error(format_args!("can't accept: {error}"));
                    left = Some(error);
                    if is_late() {
                        break; // the rest of the time is for what it has accepted
                    }
                    smol::Timer::after(Duration::from_millis(100)).await;
                }
            }
        }
        // With the last connection goes the last sender, so the queue ends.
        match left.filter(|_| is_late()) {
            Some(error) => Err(format!("connections may be left in the queue: {error}").into()),
            None => Ok(()),
        }
    }

    async fn connection(stream: TcpStream, stop: Waiter, queue: Sender<u32>) {
        let service = service_fn(|request| answer(request, &queue));
        let connection = Builder::new()
            .timer(SmolTimer::new())
            .serve_connection(FuturesIo::new(stream), service)
            .on_shutdown(stop, Http::graceful_shutdown);
        if let Err(error) = connection.await {
            say_error(format_args!("connection: {error}"));
        }
    }

    /// `POST /jobs?count=100`
    async fn answer(
        request: Request<Incoming>,
        queue: &Sender<u32>,
    ) -> hyper::http::Result<Response<Full<Bytes>>> {
        let count = request.uri().query().unwrap_or_default();
        let count: u32 = count.trim_start_matches("count=").parse().unwrap_or(1);
        let mut queued = 0;
        while queued < count && queue.send(queued).await.is_ok() {
            queued += 1;
        }
        Response::builder()
            .header("connection", "close")
            .body(Full::new(format!("queued {queued}\n").into()))
    }

    // Workers: take jobs until the queue ends.

    async fn work(jobs: Receiver<u32>, database: Arc<Mutex<Connection>>) -> Result<()> {
        while let Ok(job) = jobs.recv().await {
            smol::Timer::after(Duration::from_millis(20)).await; // the work
            with(&database, move |database| {
                database.execute("INSERT INTO jobs (job) VALUES (?1)", [job])
            })
            .await?;
        }
        Ok(())
    }

    // Storage: closes the database when no worker needs it any more.

    fn open(path: &str) -> rusqlite::Result<Connection> {
        let database = Connection::open(path)?;
        database.execute_batch(
            "PRAGMA journal_mode = WAL; CREATE TABLE IF NOT EXISTS jobs (job INTEGER);",
        )?;
        Ok(database)
    }

    /// Runs a statement where it may block.
    async fn with<T: Send + 'static>(
        database: &Arc<Mutex<Connection>>,
        run: impl FnOnce(&Connection) -> T + Send + 'static,
    ) -> T {
        let database = database.clone();
        smol::unblock(move || run(&database.lock().unwrap_or_else(PoisonError::into_inner))).await
    }

    async fn close(storage: Shutdown, database: Arc<Mutex<Connection>>) -> Result<()> {
        storage.waiter().await;
        let rows: u32 = with(&database, |database| {
            database.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
            database.query_row("SELECT count(*) FROM jobs", [], |row| row.get(0))
        })
        .await?;
        say(format_args!("storage: {rows} jobs are in the database"));
        Ok(())
    }

    // Metrics: the last figures, when nothing changes any more.

    async fn report(metrics: Shutdown) {
        metrics.waiter().await;
        say(format_args!(
            "metrics: sent; {:?} were left",
            metrics.remaining()
        ));
    }
}

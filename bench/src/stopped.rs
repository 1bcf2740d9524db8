//! The servers of the rows "stop": one on hyper for each contender, as its documentation writes it.
//!
//! winddown's are those of `examples/`, but tell connections at once, as the peers do, where the examples
//! wait 500 ms. A server prints where it listens, then when all slow requests have begun, and last the most
//! memory that it has had.

mod on_smol;
mod on_tokio;

use std::convert::Infallible;
use std::future::Future;
use std::net::TcpListener;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Request, Response};
use nix::sys::socket::{Backlog, listen};

use crate::process::{memory, raise_limit};

pub const BODY: &[u8] = b"Welcome HTTP Server\n";
/// How many slow requests there are.
pub const IN_FLIGHT: usize = 100;
/// How long one takes.
const WORK: Duration = Duration::from_millis(200);
/// Longer than any stop takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A contender, and its server.
pub type Server = (
    &'static str,
    fn(TcpListener) -> Pin<Box<dyn Future<Output = ()>>>,
);

pub fn servers(runtime: &str) -> &'static [Server] {
    match runtime {
        "tokio" => &on_tokio::SERVERS,
        _ => &on_smol::SERVERS,
    }
}

/// What a child does.
pub fn role(name: &str, runtime: &str) {
    raise_limit();
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("there is a port");
    // More than std's 128 may wait, because clients connect while the server is busy with its stop.
    listen(&listener, Backlog::MAXCONN).expect("it listens already");
    let address = listener.local_addr().expect("it is bound");
    let of_name = |server: &&Server| server.0 == name;
    let (_, serve) = servers(runtime)
        .iter()
        .find(of_name)
        .expect("a row asks for it");
    let served = async {
        println!("{address}");
        serve(listener).await;
    };
    match runtime {
        "tokio" => tokio::runtime::Runtime::new()
            .expect("a runtime can be made")
            .block_on(served),
        _ => smol::block_on(served),
    }
    println!("{}", memory("self", "VmHWM"));
}

/// Answers, and sleeps before that if the request is slow.
async fn answer<B, S: Future>(
    request: Request<B>,
    sleep: fn(Duration) -> S,
) -> Result<Response<Full<Bytes>>, Infallible> {
    static BEGUN: AtomicUsize = AtomicUsize::new(0);
    if request.uri().path() == "/slow" {
        if BEGUN.fetch_add(1, Ordering::Relaxed) + 1 == IN_FLIGHT {
            println!("begun");
        }
        sleep(WORK).await;
    }
    Ok(Response::new(Full::new(Bytes::from_static(BODY))))
}

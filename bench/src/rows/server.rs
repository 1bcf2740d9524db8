//! What a waiter beside each connection costs a server.
//!
//! Each server is a process of its own, with one thread. Requests per second on a machine with
//! neighbours say little about 1 %; so what is compared is the processor time that the server's
//! process needs for a request, by the kernel's account. A server that is saturated answers as many
//! requests in a second as this time fits into one.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::pin;

use futures_lite::future::or;
use http_body_util::Full;
use hyper::Response;
use hyper::body::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use smol::Async;
use smol_hyper::rt::FuturesIo;

use crate::harness::{Contender, Goal, OURS, Row};
use crate::peers::{Peer, SwansongInterrupt, Token, Winddown};
use crate::process::{Process, raise_limit};

const CONNECTIONS: usize = 1_000;
/// Requests on each connection for a sample.
const WAVES: usize = 5;
const NONE: &str = "no shutdown";

pub fn rows() -> Vec<Row> {
    let row = |(name, runtime)| {
        Row::new(
            name,
            "a request over keep-alive, the server's processor time",
        )
        .rounds(101)
        .goal(Goal::Times(NONE, 1.01))
        .with(contender(runtime, NONE).yardstick())
        .with(contender(runtime, OURS))
        .with(contender(runtime, Token::NAME))
        .with(contender(runtime, SwansongInterrupt::NAME))
    };
    [("server, tokio", "tokio"), ("server, smol", "smol")]
        .map(row)
        .into()
}

fn contender(runtime: &'static str, name: &'static str) -> Contender {
    let mut load = None;
    Contender::sample(name, move || {
        let load = load
            .get_or_insert_with(|| Load::on(Process::start(&format!("server/{name}/{runtime}"))));
        load.sample()
    })
}

/// A server, and the connections on which this process sends it requests.
struct Load {
    server: Process,
    connections: Vec<TcpStream>,
    /// The length of a response; all are the same.
    response: usize,
}

impl Load {
    fn on(mut server: Process) -> Self {
        raise_limit();
        let address: SocketAddr = server.line().parse().expect("the server says where it is");
        let connect = |_| {
            let stream = TcpStream::connect(address).expect("the server accepts");
            stream.set_nodelay(true).expect("it is a TCP connection");
            stream
        };
        let mut this = Self {
            server,
            connections: (0..CONNECTIONS).map(connect).collect(),
            response: 0,
        };
        this.response = this.first_response();
        this.wave(); // each connection's first
        this
    }

    /// One request on each connection, and then the responses.
    fn wave(&mut self) {
        for stream in &mut self.connections {
            stream.write_all(REQUEST).expect("the server reads");
        }
        let mut response = [0; 1024];
        for stream in &mut self.connections {
            stream
                .read_exact(&mut response[..self.response])
                .expect("the server answers");
        }
    }

    fn first_response(&mut self) -> usize {
        let stream = &mut self.connections[0];
        stream.write_all(REQUEST).expect("the server reads");
        let mut response = Vec::new();
        while !response.ends_with(BODY) {
            let mut part = [0; 1024];
            let length = stream.read(&mut part).expect("the server answers");
            assert!(length > 0, "the server has closed the connection");
            response.extend_from_slice(&part[..length]);
        }
        response.len()
    }

    fn sample(&mut self) -> f64 {
        let before = self.server.cpu_time();
        for _ in 0..WAVES {
            self.wave();
        }
        (self.server.cpu_time() - before).as_nanos() as f64 / (WAVES * CONNECTIONS) as f64
    }
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
const BODY: &[u8] = b"Welcome HTTP Server\n";

/// What a child does.
pub fn role(name: &str, runtime: &str) {
    raise_limit();
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("there is a port");
    println!("{}", listener.local_addr().expect("it is bound"));
    match name {
        OURS => serve(runtime, listener, Some(Winddown::new())),
        SwansongInterrupt::NAME => serve(runtime, listener, Some(SwansongInterrupt::new())),
        Token::NAME => serve(runtime, listener, Some(Token::new())),
        _ => serve(runtime, listener, None::<Winddown>),
    }
}

fn serve<P: Peer>(runtime: &str, listener: TcpListener, peer: Option<P>) {
    // For the rest of the process.
    let peer = Option::as_ref(Box::leak(Box::new(peer)));
    match runtime {
        "tokio" => on_tokio(listener, peer),
        _ => on_smol(listener, peer),
    }
    .expect("the listener accepts")
}

fn on_tokio<P: Peer>(listener: TcpListener, peer: Option<&'static P>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(connection(TokioIo::new(stream), peer));
        }
    })
}

fn on_smol<P: Peer>(listener: TcpListener, peer: Option<&'static P>) -> std::io::Result<()> {
    let executor = smol::LocalExecutor::new();
    smol::block_on(executor.run(async {
        let listener = Async::<TcpListener>::try_from(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            executor
                .spawn(connection(FuturesIo::new(stream), peer))
                .detach();
        }
    }))
}

/// A connection, with a waiter beside it that is polled whenever the connection is.
async fn connection<P: Peer>(
    io: impl hyper::rt::Read + hyper::rt::Write + Unpin,
    peer: Option<&'static P>,
) {
    let service = service_fn(|_| async {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(BODY))))
    });
    let mut connection = pin!(http1::Builder::new().serve_connection(io, service));
    let Some(peer) = peer else {
        let _ = connection.await;
        return;
    };
    let stopped = async {
        peer.waiter().await;
        true
    };
    let served = async {
        let _ = connection.as_mut().await;
        false
    };
    if or(stopped, served).await {
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}

//! Every recipe of a server: a request is in flight when the signal comes.
#![cfg(unix)]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use nix::sys::signal::Signal;
use support::{Program, WHOLE, ask, body, head, queued, server};
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_prost::ProstCodec;

macro_rules! servers {
    ($($test:ident $name:literal $all:literal),* $(,)?) => {
        $(mod $test {
            use super::*;

            #[test]
            fn in_flight() {
                server(recipe!($name));
            }

            #[test]
            fn in_the_listen_queue() {
                queued(recipe!($name), $all);
            }
        })*
    };
}

// Whether every connection in the listen queue is answered. Rocket alone does not give out its listener.
servers!(
    axum "axum" true,
    hyper "hyper" true,
    actix "actix" true,
    poem "poem" true,
    rocket "rocket" false,
    salvo "salvo" true,
    tide "tide" true,
    trillium "trillium" true,
    warp "warp" true,
);

#[test]
fn prefork() {
    server(recipe!("prefork"));
}

/// Ctrl-C does not reach the workers, which have a request in flight.
#[test]
fn prefork_ctrl_c() {
    let mut program = recipe!("prefork");
    let mut client = ask(program.address(), "");
    program.line("in flight");
    program.send_to_group(Signal::SIGINT);
    assert_eq!(body(&mut client), WHOLE);
    let status = program.end("Ctrl-C, the answer was whole");
    assert_eq!(status.code(), Some(0));
}

/// The force of the parent: its workers finish, although it is gone.
#[test]
fn prefork_force() {
    let mut program = recipe!("prefork");
    let mut client = ask(program.address(), "");
    program.line("in flight");
    program.send(Signal::SIGINT);
    program.send(Signal::SIGTERM);
    let status = program.end("forced, the worker finished");
    assert_eq!(status.code(), Some(1));
    assert_eq!(body(&mut client), WHOLE);
    program.rest(); // the workers have ended too
}

#[test]
fn axum_sse() {
    let mut program = recipe!("axum_sse");
    let mut client = ask(program.address(), "");
    head(&mut client);
    program.line("in flight");
    let mut events = String::new();
    while !events.ends_with("event: tick\ndata: news\n\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).expect("an event comes");
        events.push(char::from(byte[0]));
    }
    program.send(Signal::SIGTERM);
    client
        .read_to_string(&mut events)
        .expect("the connection is closed in order");
    assert!(
        events.contains("event: bye\ndata: restarting\n\n"),
        "{events}"
    );
    assert!(events.ends_with("\r\n0\r\n\r\n"), "{events}");
    let status = program.end("the last event came, and the end of the answer");
    assert_eq!(status.code(), Some(0));
}

/// Opens a websocket.
fn websocket(program: &Program) -> TcpStream {
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
        sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let mut client = ask(program.address(), upgrade);
    assert!(head(&mut client).starts_with("HTTP/1.1 101 "));
    program.line("in flight");
    client
}

#[test]
fn axum_ws() {
    let mut program = recipe!("axum_ws");
    let mut client = websocket(&program);
    // Frames of a client are masked; a mask of zeros leaves the text as it is.
    client.write_all(b"\x81\x82\0\0\0\0hi").expect("it is sent");
    let mut echo = [0; 4];
    client.read_exact(&mut echo).expect("it is answered");
    assert_eq!(&echo, b"\x81\x02hi");

    program.send(Signal::SIGTERM);
    let mut close = [0; 4];
    client.read_exact(&mut close).expect("it is closed");
    assert_eq!(close[0], 0x88, "it is a close frame");
    assert_eq!(u16::from_be_bytes([close[2], close[3]]), 1001);
    client
        .write_all(b"\x88\x82\0\0\0\0\x03\xe9")
        .expect("it is sent");
    let status = program.end("closed with code 1001");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn axum_ws_closed_by_the_client() {
    let program = recipe!("axum_ws");
    let mut client = websocket(&program);
    let close = b"\x88\x82\0\0\0\0\x03\xe8"; // 1000
    client.write_all(close).expect("it is sent");
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).expect("it is closed");
    assert_eq!(answer, b"\x88\x02\x03\xe8");
}

#[test]
fn axum_ws_client_that_reads_no_more() {
    let mut program = recipe!("axum_ws");
    let mut client = websocket(&program);
    // A binary frame of 60,000 bytes, until no more is echoed.
    let frame = [&b"\x82\xfe\xea\x60\0\0\0\0"[..], &[0; 60_000]].concat();
    let time = Some(Duration::from_millis(300));
    client.set_write_timeout(time).expect("it is not zero");
    while client.write_all(&frame).is_ok() {}
    program.send(Signal::SIGTERM);
    let status = program.end("a client that reads no more has 5 s");
    assert_eq!(status.code(), Some(0));
}

/// On several threads, because the harness blocks the one that it runs on.
#[tokio::test(flavor = "multi_thread")]
async fn tonic() {
    let mut program = recipe!("tonic");
    let url = format!("http://{}", program.address());
    let channel = Channel::from_shared(url)
        .expect("it is a URL")
        .connect()
        .await
        .expect("it listens");

    let mut watch = HealthClient::new(channel.clone())
        .watch(HealthCheckRequest::default())
        .await
        .expect("it has a health service")
        .into_inner();
    let mut status = async || watch.message().await.map(|it| it.map(|it| it.status));
    let serving = Some(ServingStatus::Serving as i32);
    assert_eq!(status().await.expect("it says so"), serving);

    let call = tokio::spawn(async move {
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await.expect("it is connected");
        let path = "/recipes.Slow/Call".parse().expect("it is a path");
        let codec = ProstCodec::<String, String>::default();
        let request = tonic::Request::new("ask".to_owned());
        client.unary(request, path, codec).await
    });
    program.line("in flight");
    program.send(Signal::SIGTERM);
    let stopping = Some(ServingStatus::NotServing as i32);
    assert_eq!(status().await.expect("it says so"), stopping);
    assert_eq!(status().await.map_err(|it| it.code()), Ok(None));
    let answer = call.await.expect("no panic").expect("it is answered");
    assert_eq!(answer.into_inner(), "slow, but whole: ask");
    let status = tokio::task::spawn_blocking(move || {
        program.end("the call was answered, and the health watch ended")
    });
    assert_eq!(status.await.expect("no panic").code(), Some(0));
}

#[test]
fn tower() {
    let mut program = recipe!("tower");
    let address = program.address();
    let mut client = std::net::TcpStream::connect(address).expect("it listens");
    client.write_all(b"ask\n").expect("it is sent");
    program.line("in flight");
    program.send(Signal::SIGTERM);
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("it is answered");
    assert_eq!(answer, "slow, but whole: ask\n");
    let status = program.end("the call was answered");
    assert_eq!(status.code(), Some(0));
}

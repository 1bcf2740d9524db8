//! tonic on `serve`: calls of each kind, and the health service, end as gRPC wants.

mod support;

use std::convert::Infallible;
use std::future::ready;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut};
use futures_lite::{Stream, StreamExt, stream};
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{BoxFuture, Service};
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus as Answered;
use tonic_health::pb::health_client::HealthClient;
use tower::ServiceBuilder;
use tower::service_fn;
use winddown::Shutdown;
use winddown_http::{GuardLayer, ServeError, Server, StreamingExt, TokioIncoming};

use support::PATIENCE;

/// Messages that are text, so that no code has to be generated.
#[derive(Clone, Copy, Default)]
struct Text;

impl Codec for Text {
    type Encode = String;
    type Decode = String;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Text {
    type Item = String;
    type Error = Status;

    fn encode(&mut self, item: String, dst: &mut EncodeBuf<'_>) -> Result<(), Status> {
        dst.put_slice(item.as_bytes());
        Ok(())
    }
}

impl Decoder for Text {
    type Item = String;
    type Error = Status;

    fn decode(&mut self, src: &mut DecodeBuf<'_>) -> Result<Option<String>, Status> {
        let bytes = src.copy_to_bytes(src.remaining());
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }
}

/// What tonic-build would generate for a service with a call of each kind.
#[derive(Clone)]
struct Echo {
    shutdown: Shutdown,
}

impl NamedService for Echo {
    const NAME: &'static str = "test.Echo";
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let shutdown = self.shutdown.clone();
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(Text);
            Ok(match request.uri().path() {
                "/test.Echo/Unary" => grpc.unary(service_fn(unary), request).await,
                "/test.Echo/Down" => {
                    let down = |request| ready(down(request, &shutdown));
                    grpc.server_streaming(service_fn(down), request).await
                }
                "/test.Echo/Both" => {
                    let both = |request| ready(both(request, &shutdown));
                    grpc.streaming(service_fn(both), request).await
                }
                _ => unreachable!("no client calls it"),
            })
        })
    }
}

type Messages = Pin<Box<dyn Stream<Item = Result<String, Status>> + Send>>;

/// How many calls with the text "counted" have begun.
static BEGUN: AtomicUsize = AtomicUsize::new(0);

/// Takes 300 ms.
async fn unary(request: Request<String>) -> Result<Response<String>, Status> {
    if request.get_ref() == "counted" {
        BEGUN.fetch_add(1, Relaxed);
    }
    sleep(Duration::from_millis(300)).await;
    Ok(Response::new(request.into_inner()))
}

/// An endless stream.
fn down(request: Request<String>, shutdown: &Shutdown) -> Result<Response<Messages>, Status> {
    let ticks = stream::repeat(request.into_inner()).then(|text| async {
        sleep(Duration::from_millis(10)).await;
        Ok(text)
    });
    Ok(Response::new(until_shutdown(ticks, shutdown)))
}

/// What the client sends, for as long as it does.
fn both(
    request: Request<Streaming<String>>,
    shutdown: &Shutdown,
) -> Result<Response<Messages>, Status> {
    Ok(Response::new(until_shutdown(
        request.into_inner(),
        shutdown,
    )))
}

fn until_shutdown(
    messages: impl Stream<Item = Result<String, Status>> + Send + 'static,
    shutdown: &Shutdown,
) -> Messages {
    let bye = || Err(Status::unavailable("the server is stopping"));
    Box::pin(messages.end_with(shutdown.waiter(), bye))
}

type Running = tokio::task::JoinHandle<Result<(), ServeError>>;

async fn start(shutdown: &Shutdown) -> (SocketAddr, Running) {
    let (reporter, health) = tonic_health::server::health_reporter();
    let of_health = shutdown.clone();
    tokio::spawn(async move {
        let mut reporter = reporter;
        of_health.requested().await;
        reporter
            .set_service_status("", ServingStatus::NotServing)
            .await;
        of_health.waiter().await;
        // Ends the calls that watch it.
        reporter.clear_service_status("").await;
    });
    let echo = Echo {
        shutdown: shutdown.clone(),
    };
    let app = ServiceBuilder::new()
        .layer(GuardLayer::new(shutdown, "call"))
        .service(Routes::new(echo).add_service(health).prepare());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::tokio(shutdown)
        .pause(Duration::from_millis(200))
        .client_timeout(Duration::from_secs(1))
        .serve(TokioIncoming::new(listener), app);
    (address, tokio::spawn(server))
}

async fn connect(address: SocketAddr) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
    endpoint.connect().await.unwrap()
}

async fn call(channel: Channel, text: &str) -> Result<String, Status> {
    let mut client = tonic::client::Grpc::new(channel);
    client
        .ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let path = "/test.Echo/Unary".parse().unwrap();
    let response = client
        .unary(Request::new(text.to_owned()), path, Text)
        .await?;
    Ok(response.into_inner())
}

async fn stream_down(channel: Channel) -> Streaming<String> {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let path = "/test.Echo/Down".parse().unwrap();
    let response = client
        .server_streaming(Request::new("tick".to_owned()), path, Text)
        .await;
    response.unwrap().into_inner()
}

async fn stream_both(
    channel: Channel,
    messages: impl Stream<Item = String> + Send + 'static,
) -> Streaming<String> {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let path = "/test.Echo/Both".parse().unwrap();
    let response = client.streaming(Request::new(messages), path, Text).await;
    response.unwrap().into_inner()
}

async fn health(channel: Channel) -> Answered {
    let request = HealthCheckRequest::default();
    let response = HealthClient::new(channel).check(request).await.unwrap();
    response.into_inner().status()
}

#[tokio::test]
async fn each_call_ends_as_grpc_wants() {
    let lame_duck = Duration::from_millis(300);
    let shutdown = Shutdown::builder()
        .lame_duck(lame_duck)
        .grace_period(Duration::from_secs(30))
        .build();
    let (address, server) = start(&shutdown).await;
    let channel = connect(address).await;
    assert_eq!(health(channel.clone()).await, Answered::Serving);
    let mut watching = HealthClient::new(channel.clone());
    let watch = watching.watch(HealthCheckRequest::default()).await;
    let mut watch = watch.unwrap().into_inner();
    assert_eq!(
        watch.next().await.unwrap().unwrap().status(),
        Answered::Serving
    );
    let mut down = stream_down(channel.clone()).await;
    assert_eq!(down.next().await.unwrap().unwrap(), "tick");
    let endless = stream::once("one".to_owned()).chain(stream::pending());
    let mut both = stream_both(channel.clone(), endless).await;
    assert_eq!(both.next().await.unwrap().unwrap(), "one");
    assert_eq!(shutdown.in_flight(), 2 + 3, "{}", shutdown.report());

    // The lame duck: not serving, and yet all calls are served, on new connections too.
    shutdown.request_shutdown();
    let start = Instant::now();
    assert_eq!(
        watch.next().await.unwrap().unwrap().status(),
        Answered::NotServing
    );
    assert_eq!(health(connect(address).await).await, Answered::NotServing);
    assert_eq!(down.next().await.unwrap().unwrap(), "tick");
    let in_lame_duck = tokio::spawn(call_twice(connect(address).await));

    // The stop: streams end with a status, calls in flight are answered, and so are calls that a client
    // makes before it hears of it.
    let late = loop {
        match down.next().await.unwrap() {
            Ok(tick) => assert_eq!(tick, "tick"),
            Err(status) => break status,
        }
    };
    assert_eq!(late.code(), Code::Unavailable);
    assert!(shutdown.is_stopping());
    assert_eq!(
        both.next().await.unwrap().unwrap_err().code(),
        Code::Unavailable
    );
    assert!(watch.next().await.is_none());
    // Unless the client has heard of the stop, and finds no listener.
    match call(channel.clone(), "late").await {
        Ok(answer) => assert_eq!(answer, "late"),
        Err(status) => assert_eq!(status.code(), Code::Unavailable),
    }
    assert_eq!(in_lame_duck.await.unwrap().unwrap(), "second");
    timeout(PATIENCE, server).await.unwrap().unwrap().unwrap();
    println!("ended after {:.2?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(
        call(channel, "refused").await.unwrap_err().code(),
        Code::Unavailable
    );
}

async fn call_twice(channel: Channel) -> Result<String, Status> {
    call(channel.clone(), "first").await?;
    call(channel, "second").await
}

/// Calls that are made all the time, while the server stops: each that has begun is answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_is_lost() {
    let mut answered = 0;
    let mut refused_calls = 0;
    for _ in 0..5 {
        let shutdown = Shutdown::new();
        let (address, server) = start(&shutdown).await;
        let clients: Vec<_> = (0..16)
            .map(|_| {
                tokio::spawn(async move {
                    let channel = connect(address).await;
                    let mut count = 0;
                    loop {
                        match call(channel.clone(), "counted").await {
                            Ok(_) => count += 1,
                            Err(status) => return (count, status),
                        }
                    }
                })
            })
            .collect();
        sleep(Duration::from_millis(500)).await;
        shutdown.request_shutdown();
        timeout(PATIENCE, server).await.unwrap().unwrap().unwrap();
        for client in clients {
            let (count, status) = timeout(PATIENCE, client).await.unwrap().unwrap();
            answered += count;
            let message = format!("{status:?}");
            // The client cancels a call that it has not sent when it hears that the server stops; or it is
            // told that the server has not begun it, by a GOAWAY with the number of the last.
            let refusals = ["ConnectionRefused", "Canceled", "NO_ERROR, Remote"];
            let refused = refusals.iter().any(|refusal| message.contains(refusal));
            assert!(refused, "{message}");
            refused_calls += 1;
        }
    }
    println!("calls: {answered} answered, {refused_calls} refused");
    assert!(answered > 0);
    assert_eq!(answered, BEGUN.load(Relaxed));
}

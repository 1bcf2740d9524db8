//! TLS on `serve_with`: the handshake belongs to the connection's task and time.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use winddown::Shutdown;
use winddown_http::{Server, TokioIncoming};

use support::{PATIENCE, app, eventually};

fn config() -> (TlsAcceptor, CertificateDer<'static>) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = cert.der().clone();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    (TlsAcceptor::from(Arc::new(config)), certificate)
}

async fn connect(
    address: SocketAddr,
    certificate: &CertificateDer<'static>,
    protocol: &str,
) -> TokioIo<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TokioIo::new(connector.connect(name, stream).await.unwrap())
}

fn request(uri: &str) -> Request<Empty<&'static [u8]>> {
    let request = Request::get(uri).header("host", "localhost");
    request.body(Empty::new()).unwrap()
}

#[tokio::test]
async fn http1_and_http2_by_tls() {
    let shutdown = Shutdown::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (acceptor, certificate) = config();
    let app = app();
    let server = Server::tokio(&shutdown)
        .pause(Duration::from_millis(300))
        .client_timeout(Duration::from_secs(1))
        .serve_with(
            TokioIncoming::new(listener),
            move |io: TokioIo<TcpStream>| {
                let tls = acceptor.accept(io.into_inner());
                let app = app.clone();
                async move { Ok((TokioIo::new(tls.await?), app)) }
            },
        );
    let server = tokio::spawn(server);

    // The end is one of TLS, which an attacker could not make.
    let mut whole = connect(address, &certificate, "http/1.1")
        .await
        .into_inner();
    let head = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    whole.write_all(head).await.unwrap();
    let mut answer = String::new();
    whole.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("hello"), "{answer}");

    let io = connect(address, &certificate, "h2").await;
    let executor = TokioExecutor::new();
    let (mut http2, connection) = hyper::client::conn::http2::handshake(executor, io)
        .await
        .unwrap();
    tokio::spawn(connection);
    let io = connect(address, &certificate, "http/1.1").await;
    let (mut http1, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let slow1 = tokio::spawn(http1.send_request(request("/sleep/400")));
    let slow2 = tokio::spawn(http2.send_request(request("https://localhost/sleep/400")));
    // Half a handshake: the first bytes of a client hello.
    let mut half = TcpStream::connect(address).await.unwrap();
    half.write_all(&[22, 3, 1, 0, 200, 1, 0]).await.unwrap();
    // A whole one, and then nothing.
    let silent = connect(address, &certificate, "http/1.1").await;
    eventually("all are there", || shutdown.in_flight() == 5).await;

    shutdown.request_shutdown();
    let start = Instant::now();
    for slow in [slow1, slow2] {
        let answer = slow.await.unwrap().unwrap();
        assert_eq!(
            answer.into_body().collect().await.unwrap().to_bytes(),
            "slept"
        );
    }
    // It ends as TLS does, too.
    let rest = silent.into_inner().read_to_end(&mut Vec::new()).await;
    assert_eq!(rest.unwrap(), 0);
    timeout(PATIENCE, server).await.unwrap().unwrap().unwrap();
    let took = start.elapsed();
    println!("half a TLS handshake: ended after {took:.2?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
    drop(half);
}

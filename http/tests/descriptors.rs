//! A shortage of descriptors, which is one of the whole process: so all is in one test.
#![cfg(unix)]

mod support;

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, socket};
use winddown::Shutdown;

use support::{Client, RUNTIMES, Running, Settings, app};

/// Takes all descriptors that are left.
fn exhaust() -> Vec<File> {
    let mut files = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        files.push(file);
    }
    files
}

fn unconnected() -> OwnedFd {
    let (family, kind) = (AddressFamily::Inet, SockType::Stream);
    socket(family, kind, SockFlag::empty(), None).unwrap()
}

fn connected(socket: OwnedFd, address: SocketAddr) -> Client {
    let SocketAddr::V4(address) = address else {
        unreachable!("it is bound to one");
    };
    connect(socket.as_raw_fd(), &SockaddrIn::from(address)).unwrap();
    Client::new(TcpStream::from(socket))
}

#[test]
fn shortage_of_descriptors() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 256, hard).unwrap();
    accepting_goes_on_after_it();
    queue_that_is_left_for_it_is_an_error();
}

fn accepting_goes_on_after_it() {
    for runtime in RUNTIMES {
        for stop in [false, true] {
            println!("{runtime:?}, stop {stop}");
            let server = Running::start(runtime, &Shutdown::new(), Settings::default(), app());
            server.connect().get("/").unwrap();
            // The clients have descriptors, and the server has none.
            let sockets = [(); 3].map(|()| unconnected());
            let files = exhaust();
            let mut clients = sockets.map(|socket| {
                let mut client = connected(socket, server.address);
                client.request("/").unwrap();
                client
            });
            thread::sleep(Duration::from_millis(250));
            if stop {
                server.shutdown.request_shutdown();
                thread::sleep(Duration::from_millis(250));
            }
            drop(files);
            for client in &mut clients {
                assert_eq!(client.answer().unwrap().body, b"hello");
            }
            if !stop {
                assert_eq!(server.connect().get("/").unwrap().body, b"hello");
                server.shutdown.request_shutdown();
            }
            server.join().unwrap();
        }
    }
}

/// It lasts until the server gives up. What it has accepted is answered.
fn queue_that_is_left_for_it_is_an_error() {
    for runtime in RUNTIMES {
        let settings = Settings {
            pause: Duration::from_millis(50),
            client_timeout: Duration::from_millis(400),
            ..Settings::default()
        };
        let server = Running::start(runtime, &Shutdown::new(), settings, app());
        let mut accepted = server.connect();
        accepted.get("/").unwrap();
        accepted.request("/sleep/1500").unwrap();
        let sockets = [(); 2].map(|()| unconnected());
        let files = exhaust();
        let [mut first, mut second] = sockets.map(|socket| {
            let mut client = connected(socket, server.address);
            client.request("/sleep/1500").unwrap();
            client
        });
        server.shutdown.request_shutdown();
        // The listener's copy has a descriptor, which is free then.
        assert_eq!(accepted.answer().unwrap().body, b"slept");
        assert_eq!(first.answer().unwrap().body, b"slept");
        second.answer().unwrap_err();
        let error = server.join().unwrap_err();
        drop(files);
        assert_eq!(
            error.listener.unwrap().raw_os_error(),
            Some(Errno::EMFILE as i32)
        );
        assert!(error.drain.is_none());
    }
}

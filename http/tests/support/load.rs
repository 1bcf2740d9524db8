//! Clients that send requests all the time, and count what becomes of them.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::Client;

const CLIENTS: usize = 24;

#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    pub answered: usize,
    pub refused: usize,
    /// On a connection that was just made: its handshake ended between the last look at the queue and the
    /// close.
    pub lost: usize,
    /// On a connection that had an answer before.
    pub lost_kept: usize,
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.answered += other.answered;
        self.refused += other.refused;
        self.lost += other.lost;
        self.lost_kept += other.lost_kept;
    }
}

/// A client that sends requests until the server refuses its connections.
fn client(address: SocketAddr, keep_alive: bool, over: &AtomicBool) -> Count {
    let mut count = Count::default();
    let mut kept: Option<Client> = None;
    while !over.load(Ordering::Relaxed) {
        let reused = kept.is_some();
        let mut client = match kept.take() {
            Some(client) => client,
            None => match TcpStream::connect(address) {
                Ok(stream) => Client::new(stream),
                Err(error) => {
                    assert!(
                        // A reset before the handshake ends is a refusal too.
                        [ErrorKind::ConnectionRefused, ErrorKind::ConnectionReset]
                            .contains(&error.kind()),
                        "{error}"
                    );
                    count.refused += 1;
                    break;
                }
            },
        };
        let path = match fastrand::u64(0..4) {
            0 => "/".to_owned(),
            _ => format!("/sleep/{}", fastrand::u64(0..50)),
        };
        let answer: io::Result<_> = client.get(&path);
        match answer {
            Ok(answer) => {
                assert_eq!(answer.status(), 200);
                count.answered += 1;
                if keep_alive && !answer.closes() {
                    kept = Some(client);
                }
            }
            Err(_) if reused => count.lost_kept += 1,
            Err(_) => count.lost += 1,
        }
    }
    count
}

/// Clients in threads of their own.
pub struct Load {
    clients: Vec<thread::JoinHandle<Count>>,
    over: Arc<AtomicBool>,
}

impl Load {
    /// Starts clients that connect anew for each request, or keep their connections alive.
    pub fn start(address: SocketAddr, keep_alive: bool) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let clients = (0..CLIENTS).map(|_| {
            let over = over.clone();
            thread::spawn(move || client(address, keep_alive, &over))
        });
        Self {
            clients: clients.collect(),
            over,
        }
    }

    /// Waits until the clients have noticed that the server has ended.
    pub fn join(self) -> Count {
        self.over.store(true, Ordering::Relaxed);
        let mut total = Count::default();
        for client in self.clients {
            total += client.join().unwrap();
        }
        total
    }
}

//! What a shutdown means for a future or a stream: one word for each.
//!
//! `cargo run --example 08_adapters`, then Ctrl-C.

use std::error::Error;
use std::net::{TcpListener, TcpStream};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use smol::stream::{StreamExt, repeat};
use smol::{Async, Timer, future};
use winddown::{Shutdown, ShutdownExt};

fn main() -> Result<(), Box<dyn Error>> {
    let shutdown = Shutdown::builder()
        .grace_period(Duration::from_secs(5))
        .install()?;
    smol::block_on(async {
        let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0))?;
        let address = listener.get_ref().local_addr()?;
        let _clients = [TcpStream::connect(address)?, TcpStream::connect(address)?];
        // A stream whose items may be left out ends before the next item.
        let ticks = repeat(()).then(|()| Timer::after(Duration::from_millis(50)));
        let mut ticks = pin!(ticks.end_on_shutdown(shutdown.waiter()));
        println!("ready: press Ctrl-C");
        while ticks.next().await.is_some() {}
        println!("end_on_shutdown: ended");

        // The connections in the queue of a listener, which the kernel has accepted, are still given out.
        let accepted = listener.incoming().finish_on_shutdown(shutdown.waiter());
        println!("finish_on_shutdown: {} accepted", accepted.count().await);

        // A future that may be dropped.
        let never = future::pending::<()>();
        let stopped = never.cancel_on_shutdown(shutdown.waiter()).await;
        println!("cancel_on_shutdown: {stopped:?}");

        // Work that may go on for a while.
        let slow = Timer::after(Duration::from_secs(3600));
        let limit = Duration::from_millis(100);
        let stopped = slow.limit_on_shutdown(shutdown.waiter(), limit).await;
        println!(
            "limit_on_shutdown: {}",
            stopped.map_or("stopped", |_| "done")
        );

        // A future that knows how to end well is told, and finishes.
        let connection = Connection { told: false };
        let tell = |it: Pin<&mut Connection>| it.get_mut().told = true;
        let end = connection.on_shutdown(shutdown.waiter(), tell).await;
        println!("on_shutdown: {end}");
        Ok(())
    })
}

/// Ends when it is told, as hyper's connections do.
struct Connection {
    told: bool,
}

impl Future for Connection {
    type Output = &'static str;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<&'static str> {
        match self.told {
            true => Poll::Ready("finished"),
            false => Poll::Pending,
        }
    }
}

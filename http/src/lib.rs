//! A hyper server that loses no request at shutdown.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod accept;
mod body;
mod connection;
mod error;
mod hold;
mod io;
mod layer;
mod monitor;
mod rt;
mod server;
mod service;
mod slots;
mod timer;

pub use body::{Chunk, RequestBody, RequestBodyError, ResponseBody};
pub use error::ServeError;
pub use hold::{EndWith, Hold, StreamingExt};
pub use layer::{GuardFuture, GuardLayer, GuardService, RequestGuard};
#[cfg(feature = "smol")]
pub use rt::smol::{SmolExecutor, SmolIncoming};
#[cfg(feature = "tokio")]
pub use rt::tokio::TokioIncoming;
pub use server::{ConnectionTask, Server};
pub use service::{AnswerFuture, HttpService, Hyper, Tower, TowerFuture};

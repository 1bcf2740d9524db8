//! Installs a shutdown in the process.

use std::sync::{Arc, Mutex, Weak};

use async_signal::Signal;

use crate::model::policy::Policy;
use crate::node::Node;
use crate::os::error::InstallError;
use crate::os::process::Process;
#[cfg(unix)]
use crate::os::unix as platform;
#[cfg(windows)]
use crate::os::windows as platform;
use crate::util::sync::lock;

/// The installed shutdown. Once set it stays, even if the shutdown itself is gone.
static INSTALLED: Mutex<Option<Weak<Node>>> = Mutex::new(None);

/// Held by the thread that installs. Not `INSTALLED`, because Windows registers a handler under a lock
/// under which it also calls handlers, and one of the program may call `request_shutdown`.
static INSTALLING: Mutex<()> = Mutex::new(());

/// Returns the node of the installed shutdown, if one is installed and a handle to it is left.
pub(crate) fn installed() -> Option<Arc<Node>> {
    lock(&INSTALLED).as_ref().and_then(Weak::upgrade)
}

pub(crate) fn install(
    signals: &[Signal],
    exit_code: i32,
    policy: Option<Policy>,
) -> Result<Arc<Node>, InstallError> {
    let _installing = lock(&INSTALLING);
    if lock(&INSTALLED).is_some() {
        return Err(InstallError::AlreadyInstalled);
    }
    if signals.is_empty() {
        return Err(InstallError::NoSignals);
    }
    // Each once: a handler that runs twice for one signal would take it for two.
    let mut signals = signals.to_vec();
    signals.sort_unstable();
    signals.dedup();
    if let Some(signal) = signals.iter().find(|signal| !platform::is_usable(**signal)) {
        return Err(InstallError::Unusable(*signal));
    }

    let node = Node::new(Some(Box::new(Process { exit_code })), policy);
    platform::listen(signals, exit_code, &node)?;
    *lock(&INSTALLED) = Some(Arc::downgrade(&node));
    Ok(node)
}

//! Installs a shutdown in the process.

use std::sync::{Arc, Mutex, Weak};

use crate::model::policy::Policy;
use crate::node::Node;
use crate::os::error::InstallError;
use crate::os::process::Process;
use crate::os::settings::Settings;
#[cfg(unix)]
use crate::os::unix as platform;
#[cfg(windows)]
use crate::os::windows as platform;
use crate::util::background::WAKERS;
use crate::util::sync::lock_std;

/// The installed shutdown, and the process that installed it.
struct Installed {
    /// Once set it stays, even if the shutdown itself is gone.
    node: Weak<Node>,
    process: u32,
}

static INSTALLED: Mutex<Option<Installed>> = Mutex::new(None);

/// Held by the thread that installs. Not `INSTALLED`, because Windows registers a handler under a lock
/// under which it also calls handlers, and one of the program may call `request_shutdown`.
static INSTALLING: Mutex<()> = Mutex::new(());

/// Returns the node of the installed shutdown, if one is installed and a handle to it is left.
pub(crate) fn installed() -> Option<Arc<Node>> {
    let installed = lock_std(&INSTALLED);
    installed
        .as_ref()
        .and_then(|installed| installed.node.upgrade())
}

pub(crate) fn install(mut settings: Settings, policy: Policy) -> Result<Arc<Node>, InstallError> {
    let _installing = lock_std(&INSTALLING);
    let process = std::process::id();
    match &*lock_std(&INSTALLED) {
        None => {}
        Some(installed) if installed.process == process => {
            return Err(InstallError::AlreadyInstalled);
        }
        Some(_) => return Err(InstallError::Forked),
    }
    if settings.signals.is_empty() {
        return Err(InstallError::NoSignals);
    }
    if policy.lacks_deadline() {
        return Err(InstallError::NoGracePeriod);
    }
    // Each once: a handler that runs twice for one signal would take it for two.
    settings.signals.sort_unstable();
    settings.signals.dedup();
    let mut signals = settings.signals.iter();
    if let Some(signal) = signals.find(|signal| !platform::is_usable(**signal)) {
        return Err(InstallError::Unusable(*signal));
    }

    let host = Process {
        exit_code: settings.exit_code,
        force_by_signal: settings.force_by_signal,
    };
    let node = Node::new(Some(Box::new(host)), policy);
    if node.policy().needs_timekeeper() {
        WAKERS.keep().map_err(InstallError::Thread)?;
    }
    platform::listen(&settings, &node)?;
    *lock_std(&INSTALLED) = Some(Installed {
        node: Arc::downgrade(&node),
        process,
    });
    Ok(node)
}

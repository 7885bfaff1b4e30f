//! Tells the service manager how the process is: the datagram protocol of systemd's `sd_notify(3)`.
//!
//! The manager names a Unix datagram socket in `NOTIFY_SOCKET`. Without that variable nobody is listening, and every
//! call does nothing.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// What the service manager is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Start-up is over; units that wait for this one may start.
    Ready,
    /// The process is on its way out.
    Stopping,
    /// The process is alive. Due before the watchdog's time is over.
    Watchdog,
}

impl State {
    /// The datagram.
    pub fn message(self) -> &'static str {
        match self {
            Self::Ready => "READY=1",
            Self::Stopping => "STOPPING=1",
            Self::Watchdog => "WATCHDOG=1",
        }
    }
}

/// Why the service manager cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// `NOTIFY_SOCKET` is neither a path nor an abstract name.
    #[error("cannot use NOTIFY_SOCKET={address:?}: it must begin with / or @")]
    Unsupported {
        /// The variable's value.
        address: OsString,
    },
    /// The address is too long, or no socket can be made.
    #[error("cannot open a socket for NOTIFY_SOCKET={address:?}")]
    Open {
        /// The variable's value.
        address: OsString,
        /// What the operating system says.
        source: io::Error,
    },
    /// `WATCHDOG_USEC` or `WATCHDOG_PID` is not a number.
    #[error("cannot read {name}={value:?}: it must be a whole number above 0")]
    Watchdog {
        /// The variable's name.
        name: &'static str,
        /// The variable's value.
        value: OsString,
    },
    /// The datagram was not taken.
    #[error("cannot send {} to the service manager", state.message())]
    Send {
        /// What was to be sent.
        state: State,
        /// What the operating system says.
        source: io::Error,
    },
}

/// The way to the service manager, or to nobody.
#[derive(Debug, Default)]
pub struct Notifier {
    target: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// From `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` of the process.
    ///
    /// # Errors
    /// When a variable is present and makes no sense.
    pub fn from_environment() -> Result<Self, NotifyError> {
        Self::from_values(
            std::env::var_os("NOTIFY_SOCKET"),
            std::env::var_os("WATCHDOG_USEC"),
            std::env::var_os("WATCHDOG_PID"),
        )
    }

    /// From values of the caller's.
    ///
    /// # Errors
    /// As [`Notifier::from_environment`].
    pub fn from_values(
        socket: Option<OsString>,
        watchdog_usec: Option<OsString>,
        watchdog_pid: Option<OsString>,
    ) -> Result<Self, NotifyError> {
        let Some(address) = socket.filter(|value| !value.is_empty()) else {
            return Ok(Self::default());
        };
        let target = open(&address)?;
        // The variables are inherited; the watchdog watches only the process that it names.
        let ours = match watchdog_pid {
            Some(value) => number("WATCHDOG_PID", value)? == u64::from(std::process::id()),
            None => true,
        };
        let watchdog = match watchdog_usec {
            Some(value) if ours => Some(Duration::from_micros(number("WATCHDOG_USEC", value)?)),
            _ => None,
        };
        Ok(Self {
            target: Some(target),
            watchdog,
        })
    }

    /// How often [`State::Watchdog`] is due: half of the watchdog's time, as `sd_watchdog_enabled(3)` advises.
    pub fn watchdog_interval(&self) -> Option<Duration> {
        // An interval of zero would be a busy loop.
        self.watchdog.map(|time| (time / 2).max(Duration::from_millis(1)))
    }

    /// Sends one state. Never blocks.
    ///
    /// # Errors
    /// When the datagram is not taken at once.
    pub fn send(&self, state: State) -> Result<(), NotifyError> {
        let Some((socket, address)) = &self.target else {
            return Ok(());
        };
        socket
            .send_to_addr(state.message().as_bytes(), address)
            .map(|_sent| ())
            .map_err(|source| NotifyError::Send { state, source })
    }
}

fn open(address: &OsStr) -> Result<(UnixDatagram, SocketAddr), NotifyError> {
    let target = match address.as_bytes() {
        [b'/', ..] => SocketAddr::from_pathname(address),
        [b'@', name @ ..] => abstract_address(name),
        _ => {
            return Err(NotifyError::Unsupported {
                address: address.to_owned(),
            });
        }
    };
    let cannot_open = |source| NotifyError::Open {
        address: address.to_owned(),
        source,
    };
    let target = target.map_err(cannot_open)?;
    let socket = UnixDatagram::unbound().map_err(cannot_open)?;
    socket.set_nonblocking(true).map_err(cannot_open)?;
    Ok((socket, target))
}

#[cfg(target_os = "linux")]
fn abstract_address(name: &[u8]) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt as _;

    SocketAddr::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn abstract_address(_name: &[u8]) -> io::Result<SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}

fn number(name: &'static str, value: OsString) -> Result<u64, NotifyError> {
    match value.to_str().and_then(|text| text.parse().ok()) {
        Some(number) if number > 0 => Ok(number),
        _ => Err(NotifyError::Watchdog { name, value }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(socket: &UnixDatagram) -> String {
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn states_arrive_at_a_socket_with_a_path() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::from_values(Some(path.into()), None, None).unwrap();
        for state in [State::Ready, State::Watchdog, State::Stopping] {
            notifier.send(state).unwrap();
            assert_eq!(receive(&manager), state.message());
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn states_arrive_at_an_abstract_socket() {
        let name = format!("carepost-notify-test-{}", std::process::id());
        let manager = UnixDatagram::bind_addr(&abstract_address(name.as_bytes()).unwrap()).unwrap();
        let notifier = Notifier::from_values(Some(format!("@{name}").into()), None, None).unwrap();
        notifier.send(State::Ready).unwrap();
        assert_eq!(receive(&manager), "READY=1");
    }

    #[test]
    fn without_a_socket_nothing_happens() {
        for socket in [None, Some(OsString::new())] {
            let notifier = Notifier::from_values(socket, Some("nonsense".into()), None).unwrap();
            notifier.send(State::Ready).unwrap();
            assert_eq!(notifier.watchdog_interval(), None);
        }
    }

    #[test]
    fn a_manager_that_went_away_is_an_error_and_not_a_panic() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let notifier = Notifier::from_values(Some(path.into()), None, None).unwrap();
        assert!(matches!(
            notifier.send(State::Ready),
            Err(NotifyError::Send {
                state: State::Ready,
                ..
            })
        ));
    }

    #[test]
    fn addresses_that_are_not_sockets_are_refused() {
        let refuse = |address: &str| Notifier::from_values(Some(address.into()), None, None).unwrap_err();
        assert!(matches!(refuse("vsock:2:1234"), NotifyError::Unsupported { .. }));
        assert!(matches!(
            refuse(&format!("/{}", "x".repeat(200))),
            NotifyError::Open { .. }
        ));
    }

    #[test]
    fn the_watchdog_is_fed_at_half_of_its_time_by_the_process_that_it_names() {
        let interval = |usec: &str, pid: Option<u32>| {
            Notifier::from_values(
                Some("/nowhere".into()),
                Some(usec.into()),
                pid.map(|pid| pid.to_string().into()),
            )
            .map(|notifier| notifier.watchdog_interval())
        };
        let own = std::process::id();
        assert_eq!(interval("3000000", None).unwrap(), Some(Duration::from_millis(1_500)));
        assert_eq!(
            interval("3000000", Some(own)).unwrap(),
            Some(Duration::from_millis(1_500))
        );
        assert_eq!(interval("3000000", Some(own + 1)).unwrap(), None);
        assert_eq!(interval("1", None).unwrap(), Some(Duration::from_millis(1)));
        for usec in ["0", "-1", "soon", ""] {
            assert!(matches!(
                interval(usec, None),
                Err(NotifyError::Watchdog {
                    name: "WATCHDOG_USEC",
                    ..
                })
            ));
        }
    }
}

//! What the process is told about itself: directories, ports, limits. What clients get is the plan's.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use crate::boot::image::ImageSource;
use crate::limits::{BLKSIZE_MAX, WINDOWSIZE_MAX};

/// Settings of `serve`, checked
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The directory that TFTP and HTTP serve; `None`: images only
    pub root: Option<PathBuf>,
    /// What they serve below `/images/NAME`
    pub images: Vec<ImageSource>,
    /// Where the leases are kept
    pub state_dir: PathBuf,
    /// The only address that TFTP, HTTP and the boot server listen on; `None`: all of them
    pub listen: Option<Ipv4Addr>,
    /// HTTP's port
    pub http_port: u16,
    /// TFTP's port
    pub tftp_port: u16,
    /// Transfers answer from TFTP's own port: for firewalls and address translation that lose the RFC's second port
    pub single_port: bool,
    /// The largest `blksize` granted
    pub blksize_max: u16,
    /// The largest `windowsize` granted
    pub windowsize_max: u16,
    /// Event loops; `None`: one a core
    pub shards: Option<u16>,
    /// How the event loops wait and send
    pub io: Io,
    /// How decisions are printed
    pub log: LogFormat,
    /// Where the conversations are kept; `None`: nowhere
    pub capture: Option<PathBuf>,
}

impl Settings {
    /// All but the root as it is when nothing is said
    pub fn new(root: impl Into<Option<PathBuf>>) -> Self {
        Self {
            root: root.into(),
            images: Vec::new(),
            state_dir: PathBuf::from("/var/lib/reveille"),
            listen: None,
            http_port: 80,
            tftp_port: 69,
            single_port: false,
            blksize_max: BLKSIZE_MAX,
            windowsize_max: WINDOWSIZE_MAX,
            shards: None,
            io: Io::Auto,
            log: LogFormat::Text,
            capture: None,
        }
    }
}

/// `--io`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Io {
    /// The best that this build has
    Auto,
    /// epoll
    Epoll,
    /// io_uring
    Uring,
}

/// `--log`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One readable line a decision
    Text,
    /// One JSON object a decision
    Json,
}

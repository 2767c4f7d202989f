//! The sockets of one shard.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd};

use mio::net::TcpListener;
use socket2::Socket;

use super::flush::Way;
use super::packet::{self, Link};
use super::socket::{self, OpenError};
use crate::boot::plan::{Mode, Network};

/// Where a server listens
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The address of TFTP, HTTP and the boot server; 0.0.0.0: all of this host
    pub address: Ipv4Addr,
    /// TFTP's port; 69 where clients are to find it
    pub tftp_port: u16,
    /// HTTP's port
    pub http_port: u16,
    /// Transfers leave from TFTP's own port (for firewalls and load balancers) instead of a transfer identifier of their own
    pub single_port: bool,
}

/// The sockets of one shard
#[derive(Debug)]
pub struct Sockets {
    pub(super) tftp: Socket,
    /// `None` in single-port mode
    pub(super) transfers: Option<Socket>,
    pub(super) http: Option<TcpListener>,
    /// What only the first shard has
    pub(super) boot_server: Option<Socket>,
    pub(super) routed: Option<Socket>,
    /// By the plan's networks; `None` where DHCP is off, and on other shards
    pub(super) links: Vec<Option<Link>>,
    /// Indexes of the networks' interfaces
    pub(super) interfaces: Vec<u32>,
}

impl Sockets {
    /// Opens all sockets of all shards. The first shard has DHCP and the boot server.
    ///
    /// # Errors
    /// The first that cannot be opened, in words for the operator.
    pub fn open(listen: Listen, networks: &[Network], shards: usize) -> Result<Vec<Self>, OpenError> {
        let interfaces = networks
            .iter()
            .map(|network| packet::index(&network.interface))
            .collect::<Result<Vec<_>, _>>()?;
        let tftp = socket::tftp(SocketAddrV4::new(listen.address, listen.tftp_port), shards)?;
        let http = socket::http(SocketAddrV4::new(listen.address, listen.http_port), shards)?;
        let mut opened = Vec::with_capacity(shards);
        for (tftp, http) in tftp.into_iter().zip(http) {
            let transfers = (!listen.single_port).then(|| socket::transfers(listen.address)).transpose()?;
            let links = networks.iter().map(|_| None).collect();
            let interfaces = interfaces.clone();
            let http = Some(http);
            opened.push(Self { tftp, transfers, http, boot_server: None, routed: None, links, interfaces });
        }
        if let Some(first) = opened.first_mut().filter(|_| networks.iter().any(|n| n.mode != Mode::Off)) {
            first.boot_server = Some(socket::boot_server(listen.address)?);
            first.routed = Some(socket::routed_replies()?);
            for (link, network) in first.links.iter_mut().zip(networks) {
                if network.mode != Mode::Off {
                    *link = Some(Link::open(&network.interface, network.mac, network.mode == Mode::Full)?);
                }
            }
        }
        Ok(opened)
    }

    /// The socket that replies leave by
    pub(super) fn by(&self, way: Way) -> Option<BorrowedFd<'_>> {
        match way {
            Way::Tftp => Some(self.tftp.as_fd()),
            Way::Transfer => Some(self.transfers.as_ref().unwrap_or(&self.tftp).as_fd()),
            Way::BootServer => self.boot_server.as_ref().map(AsFd::as_fd),
            Way::Routed => self.routed.as_ref().map(AsFd::as_fd),
            Way::Link(network) => self.link(network).map(|link| link.dhcp.as_fd()),
        }
    }

    /// The packet sockets of a network
    pub(super) fn link(&self, network: usize) -> Option<&Link> {
        self.links.get(network)?.as_ref()
    }

    /// The index of a network's interface; 0 where there is no such network
    pub(super) fn interface(&self, network: usize) -> u32 {
        self.interfaces.get(network).copied().unwrap_or(0)
    }

    /// The network of an interface
    pub(super) fn network(&self, interface: u32) -> Option<usize> {
        self.interfaces.iter().position(|&index| index == interface)
    }
}

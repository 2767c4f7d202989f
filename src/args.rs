//! The command line. Values are text here and checked with the configuration's, so that all that is wrong is told at once.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Boots machines over the network: DHCP or ProxyDHCP, PXE boot servers, TFTP and HTTP from one process
#[derive(Debug, Parser)]
#[command(name = "reveille", version, disable_help_subcommand = true)]
pub struct CommandLine {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The commands
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Answer machines until told to stop
    Serve(Serve),
    /// Say what is wrong with a configuration, and what each architecture would boot
    Check(Check),
    /// Say what one machine would get at each stage of its boot, and by which rule
    Explain(Explain),
    /// Print a dnsmasq configuration as one of reveille's, and say what it cannot carry over
    Import(Import),
    /// Cut a capture to its boots, without the files' contents, and give its machines other names
    Trim(Trim),
    /// Feed a capture to the server, and compare what it answers with what was answered
    Replay(Replay),
    /// Boot a rack of simulated machines: from this server's own code in virtual time (no network and no root needed), or with
    /// --interface on a wire, from any server
    Rack(Rack),
}

/// `serve`
#[derive(Debug, Args)]
pub struct Serve {
    /// The configuration
    #[command(flatten)]
    pub setup: Setup,
    /// The process
    #[command(flatten)]
    pub process: Process,
}

/// `check`
#[derive(Debug, Args)]
pub struct Check {
    /// The configuration
    #[command(flatten)]
    pub setup: Setup,
}

/// `explain`
#[derive(Debug, Args)]
pub struct Explain {
    /// The configuration
    #[command(flatten)]
    pub setup: Setup,
    /// Each client of this capture (pcap or pcapng), by its own requests
    #[arg(value_name = "CAPTURE", conflicts_with_all = ["mac", "uuid", "arch", "loader", "ip", "relay", "vendor", "user_class", "circuit", "remote"])]
    pub capture: Option<PathBuf>,
    /// The machine's MAC address
    #[arg(long, value_name = "MAC", required_unless_present = "capture")]
    pub mac: Option<String>,
    /// Its SMBIOS UUID
    #[arg(long)]
    pub uuid: Option<String>,
    /// Its architecture; without it, every one that would boot something
    #[arg(long)]
    pub arch: Option<String>,
    /// The one stage of interest: rom, ipxe, grub, u-boot, raspberry-pi, onie or system
    #[arg(long)]
    pub loader: Option<String>,
    /// The address that it holds
    #[arg(long, value_name = "ADDRESS")]
    pub ip: Option<Ipv4Addr>,
    /// The relay that sends its requests on
    #[arg(long, value_name = "ADDRESS")]
    pub relay: Option<Ipv4Addr>,
    /// Its vendor class (option 60), in place of the usual one of its architecture
    #[arg(long, value_name = "TEXT")]
    pub vendor: Option<String>,
    /// Its user class (option 77)
    #[arg(long, value_name = "TEXT")]
    pub user_class: Option<String>,
    /// The circuit that its relay names (option 82.1); hex after 0x
    #[arg(long, value_name = "TEXT")]
    pub circuit: Option<String>,
    /// The remote id that its relay names (option 82.2); hex after 0x
    #[arg(long, value_name = "TEXT")]
    pub remote: Option<String>,
}

/// `import`
#[derive(Debug, Args)]
pub struct Import {
    /// dnsmasq's configuration; the files that it names are read too
    pub file: PathBuf,
    /// dnsmasq's lease file (else the one that the configuration names, or /var/lib/misc/dnsmasq.leases)
    #[arg(long, value_name = "FILE")]
    pub leases: Option<PathBuf>,
    /// Put dnsmasq's live leases into this state directory
    #[arg(long, value_name = "DIRECTORY")]
    pub state_dir: Option<PathBuf>,
}

/// `replay`
#[derive(Debug, Args)]
pub struct Replay {
    /// The capture: pcap or pcapng
    pub file: PathBuf,
    /// The configuration; without one, it is what the capture suggests
    #[command(flatten)]
    pub setup: Setup,
    /// How the comparison is printed: text or json
    #[arg(long, value_name = "FORMAT")]
    pub log: Option<String>,
    /// Do the first boot of the capture again, as so many machines on --interface, against whatever server answers there. Their
    /// MAC addresses are 0a:52:56:c0:NN:NN
    #[arg(long, value_name = "N", requires = "interface", value_parser = clap::value_parser!(u32).range(1..=45_000))]
    pub clone: Option<u32>,
    /// The clones are powered on all at once (burst), or one after another (ramp:60s)
    #[arg(long, value_name = "HOW", default_value = "burst", requires = "clone")]
    pub power_on: String,
}

/// `trim`
#[derive(Debug, Args)]
pub struct Trim {
    /// The capture: pcap or pcapng
    pub file: PathBuf,
    /// Where the result goes, as pcapng
    pub out: PathBuf,
    /// Leave addresses, host names, UUIDs and serial numbers as they are
    #[arg(long)]
    pub keep_names: bool,
}

/// `rack`
#[derive(Debug, Args)]
pub struct Rack {
    /// How many machines
    #[arg(long, value_name = "N", default_value_t = 42, value_parser = clap::value_parser!(u32).range(1..=45_000))]
    pub machines: u32,
    /// Of which kind: mix, or some of bios, uefi-grub, uefi-ipxe, uefi-http, ipxe, u-boot, linux with commas between them
    #[arg(long, value_name = "KINDS", default_value = "mix")]
    pub firmware: String,
    /// Boot them on this interface, in real time, from whatever server answers there. Their MAC addresses are 0a:52:56:KK:NN:NN,
    /// where KK is the place of the kind in the list above
    #[arg(long, value_name = "NAME")]
    pub interface: Option<String>,
    /// Hold what they load against the files below this directory; without it, against what the first machine got
    #[arg(long, value_name = "DIRECTORY", requires = "interface")]
    pub root: Option<PathBuf>,
    /// Decides everything that is left to chance: the same seed, the same run
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Frames lost on each machine's link, as 2% or 0.5%
    #[arg(long, value_name = "PERCENT", default_value = "0%", conflicts_with = "interface")]
    pub loss: String,
    /// All at once (burst), or one after another (ramp:60s)
    #[arg(long, value_name = "HOW", default_value = "burst")]
    pub power_on: String,
    /// The server's port, as 1G or 100M (bits a second)
    #[arg(long, value_name = "RATE", default_value = "10G", conflicts_with = "interface")]
    pub uplink: String,
    /// What the server may take of its port, as the configuration's `rate`: who began first is served first
    #[arg(long, value_name = "RATE", conflicts_with = "interface")]
    pub rate: Option<String>,
    /// Size of the kernel that they load, as 8M (256K); the initrd is twice as large
    #[arg(long, value_name = "SIZE", conflicts_with = "interface")]
    pub kernel: Option<String>,
    /// Switch ports forward nothing for the first 30 s, as with spanning tree
    #[arg(long, conflicts_with = "interface")]
    pub spanning_tree: bool,
    /// Another DHCP server answers on the same link
    #[arg(long, conflicts_with = "interface")]
    pub rogue: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

/// The configuration: a file, or all of it by flags
#[derive(Debug, Default, Args)]
pub struct Setup {
    /// Read this file (without it, and without --interface: /etc/reveille.toml)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Serve this interface (may be repeated)
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    pub interface: Vec<String>,
    /// Serve the files of this directory, by TFTP and HTTP
    #[arg(long, value_name = "DIRECTORY")]
    pub root: Option<PathBuf>,
    /// Serve what is in this ISO image below /images/NAME, named as the file is (may be repeated)
    #[arg(long, value_name = "FILE")]
    pub iso: Vec<PathBuf>,
    /// Be the DHCP server, and give these addresses (may be repeated)
    #[arg(long, value_name = "FIRST-LAST", requires = "interface", conflicts_with = "config")]
    pub pool: Vec<String>,
    /// Leave addresses to another DHCP server, and add what is needed to boot
    #[arg(long, requires = "interface", conflicts_with = "config")]
    pub proxy: bool,
    /// Give this boot file to that architecture, or to a loader such as ipxe (may be repeated)
    #[arg(long, value_name = "ARCH=FILE_OR_URL", requires = "interface", conflicts_with = "config")]
    pub boot: Vec<String>,
    /// Lease time, as 12h, 30m or infinite
    #[arg(long, value_name = "TIME", requires = "interface", conflicts_with = "config")]
    pub lease: Option<String>,
    /// The clients' router (may be repeated)
    #[arg(long, value_name = "ADDRESS", requires = "interface", conflicts_with = "config")]
    pub router: Vec<String>,
    /// The clients' DNS servers (may be repeated)
    #[arg(long, value_name = "ADDRESS", requires = "interface", conflicts_with = "config")]
    pub dns: Vec<String>,
    /// Serve HTTP on this port (80)
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub http_port: Option<u16>,
    /// Serve TFTP on this port (69)
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub tftp_port: Option<u16>,
    /// Listen on this address only
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<Ipv4Addr>,
}

/// How the process itself runs
#[derive(Debug, Default, Args)]
pub struct Process {
    /// Event loops (one a core)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub shards: Option<u16>,
    /// How they wait and receive: auto, epoll or uring
    #[arg(long, value_name = "WAY")]
    pub io: Option<String>,
    /// Keep the leases in this directory (/var/lib/reveille)
    #[arg(long, value_name = "DIRECTORY")]
    pub state_dir: Option<PathBuf>,
    /// How decisions are printed: text or json
    #[arg(long, value_name = "FORMAT")]
    pub log: Option<String>,
    /// Keep the boot conversations, without the files' contents, in this pcapng file
    #[arg(long, value_name = "FILE")]
    pub capture: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn a_file_and_networks_by_flags_exclude_each_other() {
        let parse = |line: &str| CommandLine::try_parse_from(line.split(' '));
        for line in [
            "reveille serve --interface eth0 --root /data/pxe --proxy",
            "reveille serve --interface eth0 --root /data/pxe --pool 192.168.99.50-192.168.99.99 --lease 12h",
            "reveille serve --config /etc/reveille.toml --http-port 8080 --log json --io epoll --shards 2 --capture boot.pcapng",
            "reveille check",
            "reveille explain --mac 88:99:aa:bb:cc:dd --uuid 4c4c4544-0051-3510-8052-b4c04f564231 --arch x64-uefi --ip 10.0.0.1",
            "reveille explain boot.pcap --config r.toml",
            "reveille import dnsmasq.conf --leases dnsmasq.leases --state-dir /var/lib/reveille",
            "reveille replay boot.pcap --config r.toml",
            "reveille replay boot.pcap --clone 400 --interface veth0 --power-on ramp:5s --log json",
            "reveille trim a.pcap b.pcapng --keep-names",
            "reveille rack --machines 42 --firmware mix --seed 7 --loss 2% --power-on ramp:60s --uplink 1G --rate 1G --kernel 8M --rogue --json",
            "reveille rack --machines 400 --interface veth0 --firmware bios,ipxe --power-on ramp:60s --root /data/pxe --json",
        ] {
            assert!(parse(line).is_ok(), "{line}");
        }
        for line in [
            "reveille serve --config r.toml --proxy",
            "reveille serve --proxy",
            "reveille serve --http-port 0",
            "reveille rack --interface veth0 --loss 1%",
            "reveille rack --root /data/pxe",
            "reveille replay boot.pcap --clone 400",
            "reveille explain",
            "reveille explain boot.pcap --mac 88:99:aa:bb:cc:dd",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}

//! DHCP option codes (RFC 2132 unless said otherwise), with the names IANA gives them.

/// Fills the space between options.
pub const PAD: u8 = 0;
/// Network mask of the client's link.
pub const SUBNET_MASK: u8 = 1;
/// Offset from UTC, in seconds; deprecated by RFC 4833.
pub const TIME_OFFSET: u8 = 2;
/// Default routers.
pub const ROUTER: u8 = 3;
/// Time servers (RFC 868).
pub const TIME_SERVER: u8 = 4;
/// Name servers.
pub const DNS: u8 = 6;
/// Log servers.
pub const LOG_SERVER: u8 = 7;
/// The client's name.
pub const HOST_NAME: u8 = 12;
/// Size of the boot file in blocks of 512 bytes.
pub const BOOT_FILE_SIZE: u8 = 13;
/// The client's domain.
pub const DOMAIN_NAME: u8 = 15;
/// Root directory: the NFS root of a diskless Linux.
pub const ROOT_PATH: u8 = 17;
/// MTU of the interface.
pub const INTERFACE_MTU: u8 = 26;
/// Broadcast address of the client's link.
pub const BROADCAST_ADDRESS: u8 = 28;
/// Static routes by class.
pub const STATIC_ROUTE: u8 = 33;
/// NIS domain.
pub const NIS_DOMAIN: u8 = 40;
/// Time servers (NTP).
pub const NTP_SERVERS: u8 = 42;
/// Vendor-specific: PXE's own options, see [`crate::wire::pxe`].
pub const VENDOR_SPECIFIC: u8 = 43;
/// The address a client asks for.
pub const REQUESTED_ADDRESS: u8 = 50;
/// Lease time in seconds.
pub const LEASE_TIME: u8 = 51;
/// `file` and `sname` hold options.
pub const OVERLOAD: u8 = 52;
/// What a message is: [`super::MessageType`].
pub const MESSAGE_TYPE: u8 = 53;
/// Which server speaks, or is chosen.
pub const SERVER_ID: u8 = 54;
/// What a client asks for.
pub const PARAMETER_LIST: u8 = 55;
/// Text of an error.
pub const MESSAGE: u8 = 56;
/// The largest message a client takes, IP and UDP headers included.
pub const MAX_MESSAGE_SIZE: u8 = 57;
/// T1 in seconds.
pub const RENEWAL_TIME: u8 = 58;
/// T2 in seconds.
pub const REBINDING_TIME: u8 = 59;
/// What a client is: `PXEClient:Arch:00007:UNDI:003016`.
pub const VENDOR_CLASS: u8 = 60;
/// Who a client is.
pub const CLIENT_ID: u8 = 61;
/// Name or address of the TFTP server, as text.
pub const TFTP_SERVER_NAME: u8 = 66;
/// Name of the boot file.
pub const BOOT_FILE_NAME: u8 = 67;
/// WWW servers: where ONIE looks.
pub const WWW_SERVER: u8 = 72;
/// User class (RFC 3004): `iPXE`.
pub const USER_CLASS: u8 = 77;
/// The client's full name (RFC 4702).
pub const CLIENT_FQDN: u8 = 81;
/// Relay agent information (RFC 3046).
pub const RELAY_AGENT: u8 = 82;
/// When the client last spoke to the server (RFC 4388).
pub const CLIENT_LAST_TRANSACTION: u8 = 91;
/// Client system architectures (RFC 4578 §2.1).
pub const ARCHITECTURE: u8 = 93;
/// Version of the client's network interface, UNDI (RFC 4578 §2.2).
pub const NETWORK_INTERFACE: u8 = 94;
/// UUID of the machine (RFC 4578 §2.3).
pub const PXE_UUID: u8 = 97;
/// Default URL (RFC 3679, RFC 8910): where ONIE finds its installer.
pub const URL: u8 = 114;
/// The subnet an address should come from (RFC 3011).
pub const SUBNET_SELECTION: u8 = 118;
/// Domain search list (RFC 3397).
pub const DOMAIN_SEARCH: u8 = 119;
/// Classless static routes (RFC 3442).
pub const CLASSLESS_ROUTES: u8 = 121;
/// Vendor-identifying options by enterprise number (RFC 3925).
pub const VENDOR_IDENTIFYING: u8 = 125;
/// Addresses of TFTP servers (RFC 5859).
pub const TFTP_SERVER_ADDRESS: u8 = 150;
/// iPXE's (Etherboot's) own options.
pub const IPXE: u8 = 175;
/// pxelinux: magic number, no longer required (RFC 5071).
pub const PXELINUX_MAGIC: u8 = 208;
/// pxelinux: configuration file (RFC 5071).
pub const PXELINUX_CONFIG_FILE: u8 = 209;
/// pxelinux: prefix of all names (RFC 5071).
pub const PXELINUX_PATH_PREFIX: u8 = 210;
/// pxelinux: seconds until it reboots (RFC 5071).
pub const PXELINUX_REBOOT_TIME: u8 = 211;
/// Ends an option area.
pub const END: u8 = 255;

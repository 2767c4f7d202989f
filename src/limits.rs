//! Every bound of the program, with the arithmetic between them asserted at compile time.
//!
//! A bound that is reached is a counted drop or a clear refusal, never growth.

use crate::time::Duration;

/// The largest UDP payload that an Ethernet frame of 1500 bytes carries (1500 − IPv4 20 − UDP 8)
pub const UDP_PAYLOAD_MAX: usize = 1472;
/// The shortest DHCP reply: BOOTP relays and U-Boot want 300 bytes (RFC 951 §3, RFC 2131 §2)
pub const DHCP_REPLY_MIN: usize = 300;
/// What a client takes that names no size (RFC 2131 §3.5: 576-byte datagrams, less IPv4 and UDP headers)
pub const DHCP_REPLY_DEFAULT: usize = 548;
/// EDK2 ignores offers longer than this, whatever option 57 says
pub const DHCP_REPLY_MAX: usize = 1472;

/// Bytes of a datagram slot in the outbox: one Ethernet payload's worth of UDP
pub const SLOT_BYTES: usize = 1472;
/// Datagrams the kernel hands over in one call
pub const BATCH: usize = 64;
/// The most replies that one received datagram, or one expired timer, may cause
pub const REPLIES_PER_EVENT: usize = 4;
/// Slots of an outbox: a whole batch can be answered before a flush
pub const OUTBOX_SLOTS: usize = BATCH * REPLIES_PER_EVENT;
/// Replies held back for their leases' commit; more wait for the client's next try
pub const HELD_MAX: usize = 8192;

/// Bytes of lease changes beside the lease table: a storm's last half second, moved into the table in about a hundredth of one
pub const JOURNAL_BYTES_MAX: usize = 512 << 10;
/// Leases and holds of the whole server
pub const LEASES_MAX: usize = 1 << 20;
/// An OFFER holds its address this long for its chaddr, the length of a ROM's retries (4 + 8 + 16 + 32 s)
pub const OFFER_HOLD: Duration = Duration::from_secs(60);

/// Kinds of replies whose options are kept composed; a rack has two for each kind of machine and loader
pub const TEMPLATES_MAX: usize = 32;
/// Clients that are watched for doing the same again and again; more take each other's places
pub const TALLIED_MAX: usize = 4_096;
/// Machines whose last DHCP request is remembered by their address, for the loaders that follow; more take the places of the
/// oldest. Some 300 bytes each.
pub const CALLERS_MAX: usize = 1 << 16;
/// Offers held back for a probe at a time; more leave at once, unprobed
pub const PROBES_MAX: usize = 256;
/// An address is probed this long before it is offered: an ARP answer on a LAN takes well under a tenth of it
pub const PROBE_WAIT: Duration = Duration::from_millis(150);
/// An address that somebody was found using stays out of use this long
pub const DECLINE_HOLD: Duration = Duration::from_secs(600);
/// Addresses that one client may keep out of use by DECLINE: one that declines whatever it gets must not empty a pool
pub const DECLINES_MAX: usize = 4;
/// Who had an address last is remembered on disk for this long after the lease ended
pub const LAPSED_KEEP: Duration = Duration::from_secs(90 * 24 * 3600);

/// Machines that have done what they were booted for once
pub const DONE_MAX: usize = 1 << 17;
/// Their reports that wait to be on disk
pub const DONE_WAITING_MAX: usize = 1_024;

/// Bytes of a template's file
pub const TEMPLATE_BYTES_MAX: u64 = 256 << 10;
/// Files of one `[template.NAME]`, those that it includes among them
pub const TEMPLATE_FILES_MAX: usize = 64;
/// Bytes of a text made from one
pub const TEMPLATE_OUTPUT_MAX: usize = 1 << 20;
/// What making a text may cost: instructions, and 64 bytes of data each. It is used up in some 3 ms.
pub const TEMPLATE_FUEL: u64 = 1 << 16;
/// Templates that include each other, or macros that call each other, to this depth
pub const TEMPLATE_DEPTH_MAX: usize = 32;

/// TFTP transfers of one shard
pub const TRANSFERS_MAX: usize = 16_384;
/// The largest `windowsize` granted (RFC 7440 allows 65535); a burst of 64 × 1468 bytes is 92 KiB
pub const WINDOWSIZE_MAX: u16 = 64;
/// The largest `blksize` granted: fits one Ethernet frame with its headers (1500 − 20 − 8 − 4)
pub const BLKSIZE_MAX: u16 = 1468;
/// The largest `blksize` of RFC 2348
pub const BLKSIZE_RFC_MAX: u16 = 65_464;
/// The smallest `blksize` of RFC 2348
pub const BLKSIZE_MIN: u16 = 8;

/// HTTP connections of one shard
pub const CONNECTIONS_MAX: usize = 16_384;
/// The longest HTTP request head
pub const HTTP_HEAD_MAX: usize = 8_192;
/// Ranges answered in one multipart response; more get the whole file (RFC 9110 §14.2 allows it)
pub const HTTP_RANGES_MAX: usize = 16;

/// What is sent ahead of a wire with a bound (`rate`): enough to keep it busy until the next deadline, and soon over
pub const ADMITTED_AHEAD: Duration = Duration::from_millis(5);
/// Bytes that a connection on such a wire may write before it asks again
pub const ADMITTED_BYTES: u64 = 64 << 10;
/// Bytes of each body that it may write unasked: scripts and configurations wait for nobody
pub const UNASKED_BYTES: u64 = 8 << 10;
/// How often a client that is held back is sent a little, so that its firmware goes on waiting: ONIE's wget gives up after 3 s
pub const ADMISSION_TRICKLE: Duration = Duration::from_secs(2);
/// A client that was not seen for this long begins anew, behind the others
pub const ADMISSION_IDLE: Duration = Duration::from_secs(60);
/// Clients whose turn is remembered; more take the places of those that were not seen for longest
pub const TICKETS_MAX: usize = 1 << 16;

/// Open files in one shard's cache
pub const OPEN_FILES_MAX: usize = 4_096;
/// The longest path served, in bytes after decoding
pub const PATH_MAX: usize = 1_024;

/// Bytes of a datagram socket's buffers, each way: what a rack sends in its first second waits there
pub const SOCKET_BUFFER_BYTES: usize = 4 << 20;
/// Bytes of the buffer in which frames for simulated machines wait: a window of TCP for a thousand of them
pub const RACK_BUFFER_BYTES: usize = 64 << 20;
/// Connections that the kernel holds until they are accepted
pub const ACCEPT_BACKLOG: i32 = 4_096;
/// Bytes of a datagram that a socket's batch has room for; longer ones are cut, and a cut one is dropped
pub const DATAGRAM_MAX: usize = 2_048;
/// Bytes of one segmented send: a UDP datagram's 65,507, with room for the IPv4 options of a route
pub const SEGMENTED_BYTES_MAX: usize = 65_000;
/// Bytes of blocks that are read before they are sent: three windows at least
pub const STAGE_BYTES: usize = 256 << 10;
/// Replies kept while a socket's buffer is full; more are counted, not kept
pub const PARKED_MAX: usize = 1_024;
/// How soon a full socket is tried again: a socket's buffer lasts longer at any speed
pub const PARKED_RETRY: Duration = Duration::from_millis(1);
/// Replies that find no way out for this long are dropped: their clients have asked again
pub const PARKED_TIME_MAX: Duration = Duration::from_secs(1);
/// Bytes that one connection may send before the next has its turn: all that its socket takes (Linux: 4 MiB). Shorter turns
/// wake a receiver that sleeps again and again; at 512 KiB that cost more than twice the CPU of all the rest.
pub const STREAM_TURN_BYTES: usize = 4 << 20;
/// Bytes that connections may send before datagrams have their turn: DHCP waits for 3 ms at most, and one turn more
pub const STREAM_ROUND_BYTES: usize = 12 << 20;
/// Connections that have their turn before datagrams have theirs, where they send little: 1 ms
pub const STREAM_TURNS: usize = 64;
/// Bytes that a connection may send when it is accepted, before the next is: a script or a small loader, whole
pub const STREAM_FIRST_TURN_BYTES: usize = 128 << 10;
/// Connections accepted before other events have their turn
pub const ACCEPT_TURN: usize = 64;
/// Connections that io_uring accepted and the shard has not looked at yet
pub const ACCEPTED_MAX: usize = 4_096;
/// Operations that wait to be handed to an io_uring
pub const RING_ENTRIES: u32 = 256;
/// Completions that wait to be taken from it
pub const RING_COMPLETIONS: u32 = 4_096;
/// Buffers that datagrams of one socket are received into by io_uring, a page of their descriptions
pub const RING_BUFFERS: u16 = 256;
/// Bytes read from a connection by one operation of an io_uring: a request's head is mostly shorter
pub const RING_READ_BYTES: usize = 2_048;
/// A head and a body of so many bytes together are copied side by side for one plain send
pub const TOGETHER_BYTES_MAX: usize = 8 << 10;
/// A connection's last bytes wait for its end, and share a segment with it, where they fit one: of more, the kernel would send
/// the whole segments at once and the rest apart from the end
pub const LAST_SEGMENT_MAX: usize = 1_400;
/// Bytes read from a connection in one call
pub const STREAM_READ_BYTES: usize = 64 << 10;
/// How long a client may take to notice that its connection is closed
pub const LINGER_TIME: Duration = Duration::from_secs(2);
/// How much it may send until then
pub const LINGER_BYTES: usize = 256 << 10;
/// How long no connection is accepted after the process ran out of descriptors
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Transfers under way have this long when the server is told to stop
pub const STOP_TIME: Duration = Duration::from_secs(10);
/// How long a name means what it meant when the file system was last asked
pub const FRESH_TIME: Duration = Duration::from_millis(1);
/// Files that nobody reads and that one shard's cache keeps open for the next client
pub const IDLE_FILES_MAX: usize = 256;
/// Bytes of hot files that a server keeps in memory; a file larger than half of it is read from the page cache each time
pub const SNAPSHOT_BYTES_MAX: usize = 256 << 20;
/// Bytes of a hot file that are read into memory at a time: from a page cache in well under 0.1 ms
pub const SNAPSHOT_PIECE_BYTES: usize = 256 << 10;
/// Bytes of a cold file that the kernel is to read before they are needed: a client at 1 Gbit/s takes 16 ms over them, longer
/// than a disk seeks
pub const READ_AHEAD_BYTES: u64 = 2 << 20;
/// The longest body that leaves in one call with its head, from memory; longer ones by sendfile, which copies nothing
pub const BODY_IN_MEMORY_MAX: usize = 64 << 10;
/// The largest file converted to netascii, as converted: it is held in memory while it is sent
pub const NETASCII_MAX: usize = 4 << 20;
/// Bytes of listings and netascii conversions that one shard holds at once
pub const GENERATED_BYTES_MAX: usize = 32 << 20;
/// Entries that a listing shows; a directory with more says so at its end
pub const LISTING_ENTRIES_MAX: usize = 5_000;

/// Files and directories of one ISO image; a DVD of packages holds some ten thousand
pub const ISO_ENTRIES_MAX: usize = 1 << 20;
/// Bytes of directories read from one image
pub const ISO_DIRECTORY_BYTES_MAX: u64 = 256 << 20;
/// Bytes of one directory in an image: some three hundred thousand names
pub const ISO_DIRECTORY_MAX: u32 = 32 << 20;
/// Bytes of all names in one image
pub const ISO_NAMES_BYTES_MAX: usize = 64 << 20;
/// Bytes of a name, or of a symbolic link's target; longer names are left out
pub const ISO_NAME_MAX: usize = 1_024;
/// Symbolic links followed on the way to one file in an image
pub const ISO_LINKS_MAX: usize = 8;
/// Parts of a path walked on the way to one file in an image, those of links among them
pub const ISO_STEPS_MAX: usize = 512;
/// Bytes of the table of clusters in the FAT file system that firmware starts an image from: a million clusters at least
pub const FAT_TABLE_MAX: u64 = 4 << 20;
/// Bytes of all directories in it: some thirty thousand names
pub const FAT_DIRECTORIES_BYTES_MAX: u64 = 1 << 20;

/// Bytes of later requests held while a response is sent; more end the connection after it
pub const HTTP_PIPELINE_MAX: usize = 16_384;
/// A request's head is whole this long after its first byte, or it is answered with 408
pub const HTTP_HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// A connection without a request is closed after this; firmware needs 10 s at least
pub const HTTP_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// A response that makes no progress for this long ends: a loader may sit at its own menu with a file half read
pub const HTTP_STALL_TIMEOUT: Duration = Duration::from_secs(120);
/// A body sent along with a GET is read and dropped up to this length
pub const HTTP_BODY_MAX: u64 = 65_536;

/// Decisions waiting to be printed; more are counted, not kept
pub const NOTES_MAX: usize = 8_192;
/// Sentences for the operator waiting to be printed
pub const SENTENCES_MAX: usize = 64;

/// Packets waiting to be written to a capture; more are counted, not kept. Of DHCP's size they are 25 MB.
pub const TAPPED_MAX: usize = 16_384;
/// Bytes of a capture: some hundred thousand boots by heads alone
pub const CAPTURE_BYTES_MAX: u64 = 256 << 20;
/// Clients whose requests are remembered while a capture is written, until they are answered
pub const CAPTURED_CLIENTS_MAX: usize = 65_536;

const _: () = {
    assert!(DHCP_REPLY_MAX <= SLOT_BYTES && DHCP_REPLY_MIN <= DHCP_REPLY_DEFAULT);
    assert!(BLKSIZE_MAX as usize + 4 <= UDP_PAYLOAD_MAX);
    assert!(IDLE_FILES_MAX <= OPEN_FILES_MAX && NETASCII_MAX <= GENERATED_BYTES_MAX);
    assert!(BODY_IN_MEMORY_MAX <= SNAPSHOT_PIECE_BYTES && BODY_IN_MEMORY_MAX <= STREAM_TURN_BYTES);
    assert!(TOGETHER_BYTES_MAX <= STREAM_READ_BYTES);
    assert!(HTTP_PIPELINE_MAX >= HTTP_HEAD_MAX);
    assert!(PATH_MAX < HTTP_HEAD_MAX && HTTP_IDLE_TIMEOUT.as_secs() >= 10);
    assert!(STAGE_BYTES >= 3 * SEGMENTED_BYTES_MAX && STAGE_BYTES > BLKSIZE_RFC_MAX as usize + 4);
    assert!(DATAGRAM_MAX >= UDP_PAYLOAD_MAX + 64 && PARKED_MAX >= OUTBOX_SLOTS);
    assert!(ISO_NAME_MAX <= u16::MAX as usize && ISO_NAMES_BYTES_MAX <= u32::MAX as usize);
    assert!(ADMISSION_TRICKLE.as_millis() < 3_000 && UNASKED_BYTES <= ADMITTED_BYTES);
    assert!(REPLIES_PER_EVENT >= 2 && OUTBOX_SLOTS >= BATCH && RING_ENTRIES as usize >= BATCH);
};

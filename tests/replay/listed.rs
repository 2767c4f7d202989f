//! What we answer otherwise than dnsmasq and nginx did, and why ours is right: every difference of every capture.
//!
//! A difference that is not here fails the test, and so does a row that no longer occurs.

/// One difference, of these frames (numbered from 1, as Wireshark does)
#[derive(Debug)]
pub struct Row {
    /// The requests
    pub frames: &'static [u32],
    /// Field, option or header
    pub what: &'static str,
    /// What was answered
    pub theirs: &'static str,
    /// What we answer
    pub ours: &'static str,
    /// Why that is right
    pub why: &'static str,
}

const fn row(
    frames: &'static [u32],
    what: &'static str,
    theirs: &'static str,
    ours: &'static str,
    why: &'static str,
) -> Row {
    Row { frames, what, theirs, ours, why }
}

const SECS: &str = "RFC 2131 table 3: a reply's secs is 0; dnsmasq returns the client's, which iPXE fills with \
    other things than seconds";
const HOPS: &str = "RFC 2131 table 3: a reply's hops is 0; only a Raspberry Pi 3 wants its own back";
const SNAME: &str = "pxelinux and old ROMs read the boot server's name here: the same address as in siaddr and \
    option 66";
const FILE: &str = "the same name in the field and in option 67: shim, U-Boot and old ROMs read the field alone, \
    GRUB and EDK2 the option";
const PROXY_FILE: &str = "the offer names what 4011 will: firmware that takes a file from the offer need not ask; EDK2 \
    asks 4011 all the same";
const SERVER_NAME: &str = "RPi reads 66 before siaddr; the same address as text in 66, siaddr and sname";
const SIADDR: &str = "syslinux takes a proxy's siaddr even where it is zero, EDK2 and U-Boot know no other: it is \
    never left empty";
const NO_MENU: &str = "no menu was asked of us: a BIOS ROM that finds 43.6 bit 3 and a file loads it, without a menu \
    of one item and a way to 4011 (pixiecore does so in the field)";
const WHOLE_OFFER: &str = "a BIOS ROM takes an offer without option 60 for plain DHCP and waits 4 to 12 s for a better \
    one; with 43.6 bit 3 it loads the file at once";
const CLIENT_ID: &str = "RFC 6842 section 3: a server returns the client identifier";
const UUID: &str = "RFC 4578 section 2.3 and PXE 2.1: the UUID of a PXE client is echoed; dnsmasq does so for its \
    own menus only";
const NO_PROXY: &str = "iPXE waits two seconds for a ProxyDHCP offer unless 175.176 says that none will come";
const SYSTEM: &str = "an operating system that binds its lease has no use for a boot file, and could follow it by \
    mistake";
const WINDOWSIZE: &str =
    "RFC 7440: EDK2 asks for windows of 4 blocks and dnsmasq has none; four blocks a round trip";
const TIMEOUT: &str = "RFC 2349: the value that U-Boot asked for, unchanged, since it takes no other; dnsmasq leaves \
    the option out";
const NO_SERVER: &str = "RFC 9110 section 10.2.4: the header is optional, and no firmware reads it";
const PERSISTS: &str = "RFC 9112 section 9.3: HTTP/1.1 persists unless it says otherwise, and EDK2 reads the header for \
    `close` alone";
const MEDIA_TYPE: &str = "what the file is; nginx was left at text/plain for what it does not know. No loader reads it of \
    a kernel";
const EFI_TYPE: &str = "EDK2 compares the whole value with application/efi before it looks at the name";
const NOT_FOUND: &str =
    "the text of a 404 is for people; the code and the open connection are what shim reads";

/// The captures, and the rows of each
pub const LISTED: &[(&str, &[Row])] = &[
    (
        "dnsmasq-arm64-uboot",
        &[
            row(&[1909, 1911], "option 61 (client id)", "none", "01525400aa0006", CLIENT_ID),
            row(&[47, 54, 1261], "timeout", "none", "5", TIMEOUT),
            row(&[1917], "Server", "nginx/1.22.1", "none", NO_SERVER),
        ],
    ),
    (
        "dnsmasq-bios-full",
        &[
            row(&[17], "secs", "4", "0", SECS),
            row(&[23], "secs", "8", "0", SECS),
            row(&[32], "secs", "14", "0", SECS),
            row(&[17, 23, 32], "sname", "none", "\"192.168.99.181\"", SNAME),
            row(&[17, 23, 32], "file", "none", "\"lpxelinux.0\"", FILE),
            row(&[17, 23, 32], "option 43 (PXE)", "none", "{6=\\x08}", WHOLE_OFFER),
            row(&[17, 23, 32], "option 60 (vendor class)", "none", "\"PXEClient\"", WHOLE_OFFER),
            row(&[17, 23, 32], "option 61 (client id)", "none", "01525400aa0002", CLIENT_ID),
            row(&[17, 23, 32], "option 66 (TFTP server)", "none", "\"192.168.99.181\"", SERVER_NAME),
            row(&[17, 23, 32], "option 97 (UUID)", "none", "0000000000000000000000000000000000", UUID),
            row(&[17, 23, 32], "option 175 (iPXE)", "none", "{176=\\x01}", NO_PROXY),
            row(&[355, 4061], "Server", "nginx/1.22.1", "none", NO_SERVER),
            row(&[355], "Content-Type", "text/plain", "application/octet-stream", MEDIA_TYPE),
            row(&[4061], "Content-Type", "text/plain", "application/gzip", MEDIA_TYPE),
        ],
    ),
    (
        "dnsmasq-bios-proxy",
        &[
            row(&[17, 46], "secs", "4", "0", SECS),
            row(&[24], "secs", "9", "0", SECS),
            row(&[17, 24], "siaddr", "0.0.0.0", "192.168.99.181", SIADDR),
            row(&[17, 24, 46], "sname", "none", "\"192.168.99.181\"", SNAME),
            row(&[17, 24], "file", "none", "\"lpxelinux.0\"", NO_MENU),
            row(
                &[17, 24],
                "option 43 (PXE)",
                "{6=\\x03, 10=\\x00PXE, 8=\\x80\\x00\\x01\\xc0\\xa8c\\xb5, 9=\\x80\\x00\\tPXE-Linux}",
                "{6=\\x08}",
                NO_MENU,
            ),
            row(&[17, 24, 46], "option 66 (TFTP server)", "none", "\"192.168.99.181\"", SERVER_NAME),
            row(&[17, 24, 46], "option 67 (boot file)", "none", "\"lpxelinux.0\\x00\"", FILE),
        ],
    ),
    (
        "dnsmasq-bios-relay",
        &[
            row(&[3, 7, 9, 328, 330], "hops", "1", "0", HOPS),
            row(&[3], "secs", "4", "0", SECS),
            row(&[7], "secs", "10", "0", SECS),
            row(&[9], "secs", "18", "0", SECS),
            row(&[328], "secs", "2", "0", SECS),
            row(&[330], "secs", "3", "0", SECS),
            row(&[3, 7, 9], "sname", "none", "\"192.168.99.1\"", SNAME),
            row(&[3, 7, 9], "file", "none", "\"lpxelinux.0\"", FILE),
            row(&[3, 7, 9], "option 43 (PXE)", "none", "{6=\\x08}", WHOLE_OFFER),
            row(&[3, 7, 9], "option 60 (vendor class)", "none", "\"PXEClient\"", WHOLE_OFFER),
            row(&[3, 7, 9, 328, 330], "option 61 (client id)", "none", "01525400aa0002", CLIENT_ID),
            row(&[3, 7, 9], "option 66 (TFTP server)", "none", "\"192.168.99.1\"", SERVER_NAME),
            row(&[3, 7, 9], "option 97 (UUID)", "none", "001011ee52000000408000525400aa0002", UUID),
            row(&[3, 7, 9], "option 175 (iPXE)", "none", "{176=\\x01}", NO_PROXY),
            row(&[328, 330], "file", "\"lpxelinux.0\"", "none", SYSTEM),
            row(&[318, 324, 334], "Server", "nginx/1.22.1", "none", NO_SERVER),
            row(&[318], "Content-Type", "text/plain", "application/octet-stream", MEDIA_TYPE),
            row(&[324], "Content-Type", "text/plain", "application/gzip", MEDIA_TYPE),
        ],
    ),
    (
        "dnsmasq-ipxe-http",
        &[
            row(&[1], "secs", "4", "0", SECS),
            row(&[3], "secs", "10", "0", SECS),
            row(&[5], "secs", "18", "0", SECS),
            row(&[1, 3, 5], "sname", "none", "\"192.168.99.1\"", SNAME),
            row(&[1, 3, 5], "file", "none", "\"http://192.168.99.1/boot.ipxe\"", FILE),
            row(&[1, 3, 5], "option 43 (PXE)", "none", "{6=\\x08}", WHOLE_OFFER),
            row(&[1, 3, 5], "option 60 (vendor class)", "none", "\"PXEClient\"", WHOLE_OFFER),
            row(&[1, 3, 5, 20, 22], "option 61 (client id)", "none", "01525400aa0003", CLIENT_ID),
            row(&[1, 3, 5], "option 66 (TFTP server)", "none", "\"192.168.99.1\"", SERVER_NAME),
            row(&[1, 3, 5], "option 97 (UUID)", "none", "001011ee52000000408000525400aa0003", UUID),
            row(&[1, 3, 5], "option 175 (iPXE)", "none", "{176=\\x01}", NO_PROXY),
            row(&[20, 22], "file", "\"http://192.168.99.1/boot.ipxe\"", "none", SYSTEM),
            row(&[12, 14, 16, 28], "Server", "nginx/1.22.1", "none", NO_SERVER),
            row(&[12, 14, 16], "Connection", "keep-alive", "none", PERSISTS),
            row(&[14], "Content-Type", "text/plain", "application/octet-stream", MEDIA_TYPE),
            row(&[16], "Content-Type", "text/plain", "application/gzip", MEDIA_TYPE),
        ],
    ),
    (
        "dnsmasq-uefi-full",
        &[
            row(&[1, 3], "sname", "none", "\"192.168.99.181\"", SNAME),
            row(&[5, 8, 1447], "windowsize", "none", "4", WINDOWSIZE),
        ],
    ),
    (
        "dnsmasq-uefi-http-full",
        &[
            row(&[1, 3], "sname", "none", "\"192.168.99.1\"", SNAME),
            row(&[1, 3], "file", "none", "\"http://192.168.99.1/bootnetx64.efi\"", FILE),
            row(&[1, 3], "option 66 (TFTP server)", "none", "\"192.168.99.1\"", SERVER_NAME),
            row(&[1, 3], "option 97 (UUID)", "none", "001011ee52000000408000525400aa0004", UUID),
            row(&[36, 38], "option 61 (client id)", "none", "01525400aa0004", CLIENT_ID),
            row(&[9, 11, 18, 23, 28, 33, 44], "Server", "nginx/1.22.1", "none", NO_SERVER),
            row(&[9, 11, 18, 23, 28, 33], "Connection", "keep-alive", "none", PERSISTS),
            row(&[9, 11, 33], "Content-Type", "text/plain", "application/efi", EFI_TYPE),
            row(&[18, 23, 28], "Content-Type", "text/html", "text/plain", NOT_FOUND),
            row(&[18, 23, 28], "Content-Length", "153", "10", NOT_FOUND),
        ],
    ),
    (
        "dnsmasq-uefi-proxy",
        &[
            row(&[1201], "secs", "4", "0", SECS),
            row(&[18, 1201], "sname", "none", "\"192.168.99.181\"", SNAME),
            row(&[18], "file", "none", "\"ipxe.efi\"", PROXY_FILE),
            row(&[18, 32, 1201], "option 66 (TFTP server)", "none", "\"192.168.99.181\"", SERVER_NAME),
            row(&[18], "option 67 (boot file)", "none", "\"ipxe.efi\\x00\"", PROXY_FILE),
            row(&[32], "option 67 (boot file)", "none", "\"ipxe.efi\\x00\"", FILE),
            row(&[1201], "option 67 (boot file)", "none", "\"http://192.168.99.181/boot.ipxe\\x00\"", FILE),
            row(&[34, 37], "windowsize", "none", "4", WINDOWSIZE),
        ],
    ),
];

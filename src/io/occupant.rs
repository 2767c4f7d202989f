//! Which program has a port: the sentence "address in use" is of little help without its name.
//!
//! Read from /proc when a bind fails, never else. Without privilege only the user's own programs can be seen.

use std::fs;
use std::path::Path;

/// A transport
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// UDP
    Udp,
    /// TCP
    Tcp,
}

/// The program that holds a local port, as `dnsmasq (pid 812)`
pub(super) fn of(kind: Kind, port: u16) -> Option<String> {
    let table = match kind {
        Kind::Udp => "/proc/net/udp",
        Kind::Tcp => "/proc/net/tcp",
    };
    let ipv4 = fs::read_to_string(table).unwrap_or_default();
    let ipv6 = fs::read_to_string(format!("{table}6")).unwrap_or_default();
    let inode = ipv4.lines().chain(ipv6.lines()).find_map(|line| inode(line, kind, port))?;
    let link = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.path());
    let holder = processes.filter(|path| is_process(path)).find(|path| holds(path, &link))?;
    let name = fs::read_to_string(holder.join("comm")).ok()?;
    Some(format!("{} (pid {})", name.trim_end(), holder.file_name()?.to_str()?))
}

/// The inode of a socket on this local port, from a line of /proc/net/udp or tcp (proc_net(5)):
/// `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode`, addresses in hexadecimal
fn inode(line: &str, kind: Kind, port: u16) -> Option<&str> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (_, local_port) = fields.get(1)?.rsplit_once(':')?;
    let is_it =
        u16::from_str_radix(local_port, 16) == Ok(port) && (kind == Kind::Udp || *fields.get(3)? == LISTEN);
    if is_it { fields.get(9).copied() } else { None }
}

fn is_process(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit))
}

fn holds(process: &Path, link: &str) -> bool {
    let Ok(files) = fs::read_dir(process.join("fd")) else { return false };
    files.flatten().any(|file| fs::read_link(file.path()).is_ok_and(|target| target == Path::new(link)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_proc_are_read() {
        let line = "  123: 00000000:0045 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2";
        assert_eq!(inode(line, Kind::Udp, 69), Some("4711"));
        assert_eq!(inode(line, Kind::Udp, 67), None);
        assert_eq!(inode(line, Kind::Tcp, 69), None, "not listening");
        assert_eq!(inode("  sl  local_address rem_address", Kind::Udp, 69), None);
    }

    #[test]
    fn this_program_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let who = of(Kind::Tcp, port).expect("its holder");
        assert!(who.ends_with(&format!("(pid {})", std::process::id())), "{who}");
    }
}

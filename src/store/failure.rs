//! What goes wrong with the files of a store, as sentences for the operator with the way out.

use std::io;
use std::path::Path;

/// A file that is not what was written
pub(super) fn damaged(path: &Path, why: &str) -> io::Error {
    let text = format!(
        "{}: damaged, or no lease store ({why}): restore it from a backup, or move it away to start without leases; \
         clients then ask for the addresses that they have",
        path.display()
    );
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// A file or directory that the system does not let us use
pub(super) fn unusable(path: &Path, error: &io::Error) -> io::Error {
    let way_out = match error.kind() {
        io::ErrorKind::PermissionDenied => ": run as root, or choose another directory with --state-dir",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            ": no address is acknowledged until there is room"
        }
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::NotADirectory => {
            ": choose another directory with --state-dir"
        }
        _ => "",
    };
    io::Error::new(error.kind(), format!("{}: {error}{way_out}", path.display()))
}

//! Real files in a directory of the test's own: ways out, and files that change under a transfer.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use reveille::boot::image::{Form, Image, Images, Miss};
use reveille::content::Tree;
use reveille::note::Outcome;

use crate::client::{Server, pattern};

/// A directory that goes with the test
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("reveille-http-{}-{number}", std::process::id()));
        fs::create_dir_all(path.join("root/efi/boot")).unwrap();
        let scratch = Self(path);
        scratch.write("root/efi/boot/bootx64.efi", &pattern(300_000));
        scratch.write("root/menu.cfg", b"default linux\n");
        scratch.write("secret", b"not yours");
        scratch
    }

    fn root(&self) -> PathBuf {
        self.0.join("root")
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        fs::write(self.0.join(path), bytes).unwrap();
    }

    fn server(&self) -> Server<Tree> {
        Server::with(Tree::open(&self.root()).unwrap())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn read(tree: &mut Tree, image: &Image) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(image.size).unwrap()];
    assert_eq!(tree.read_at(image.id, 0, &mut bytes).unwrap(), bytes.len());
    bytes
}

#[test]
fn files_come_from_the_tree() {
    let scratch = Scratch::new();
    let mut server = scratch.server();
    assert!(server.get("/efi/boot/bootx64.efi").body == pattern(300_000));
    let listing = server.get("/efi/");
    assert!(listing.text().contains("<a href=\"boot/\">boot/</a>"));
    assert_eq!(server.get("/efi/boot/bootx64.efi/").status, 404);
    assert_eq!(server.get("/menu.cfg").text(), "default linux\n");
}

#[test]
fn a_root_that_cannot_be_read_is_named() {
    let scratch = Scratch::new();
    for path in ["none", "secret"] {
        let path = scratch.0.join(path);
        let error = Tree::open(&path).unwrap_err();
        assert!(error.to_string().starts_with(&*path.to_string_lossy()), "{error}");
    }
}

#[test]
fn no_path_and_no_link_leaves_the_root() {
    let scratch = Scratch::new();
    let root = scratch.root();
    symlink("../secret", root.join("up")).unwrap();
    symlink(scratch.0.join("secret"), root.join("absolute")).unwrap();
    symlink("/proc/self/root", root.join("magic")).unwrap();
    symlink("..", root.join("parent")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    symlink("efi/boot", root.join("inside")).unwrap();
    symlink("../menu.cfg", root.join("efi/back")).unwrap();
    let mut tree = Tree::open(&root).unwrap();
    for path in [
        "up",
        "absolute",
        "magic/etc/passwd",
        "parent/secret",
        "loop",
        "../secret",
        "/../secret",
        "efi/../../secret",
        "efi/boot/../../../secret",
        "....//secret",
        "..\\secret",
        "inside/../../secret",
        "menu.cfg\0.efi",
    ] {
        for form in [Form::Octet, Form::Netascii] {
            assert_eq!(tree.open(path.as_bytes(), form), Err(Miss::NotFound), "{path}");
        }
        assert_eq!(tree.listing(path.as_bytes()), Err(Miss::NotFound), "{path}");
    }
    for path in ["inside/bootx64.efi", "efi/back", "/efi//./boot/../boot/bootx64.efi", "none/../menu.cfg"] {
        let image = tree.open(path.as_bytes(), Form::Octet).expect(path);
        tree.close(image.id);
    }
    let listing = tree.listing(b"/").unwrap();
    let page = String::from_utf8(tree.bytes(listing.id).unwrap().to_vec()).unwrap();
    assert!(page.contains(">inside/</a>"), "{page}");
    for hidden in ["up", "absolute", "magic", "parent", "loop"] {
        assert!(!page.contains(&format!(">{hidden}")), "{hidden}");
    }
    tree.close(listing.id);
}

#[test]
fn only_regular_files_are_served() {
    let scratch = Scratch::new();
    let _socket = std::os::unix::net::UnixListener::bind(scratch.root().join("socket")).unwrap();
    let fifo = std::process::Command::new("mkfifo").arg(scratch.root().join("fifo")).status().unwrap();
    assert!(fifo.success());
    let mut tree = Tree::open(&scratch.root()).unwrap();
    assert_eq!(tree.open(b"socket", Form::Octet), Err(Miss::Forbidden));
    assert_eq!(tree.open(b"fifo", Form::Octet), Err(Miss::Forbidden));
    assert_eq!(tree.open(b"efi", Form::Octet), Err(Miss::Directory));
}

#[test]
fn one_version_is_one_open_file() {
    let scratch = Scratch::new();
    let mut tree = Tree::open(&scratch.root()).unwrap();
    let first = tree.open(b"menu.cfg", Form::Octet).unwrap();
    let second = tree.open(b"/menu.cfg", Form::Octet).unwrap();
    assert_eq!(first, second);
    tree.close(first.id);
    tree.close(second.id);
    assert_eq!(tree.open(b"menu.cfg", Form::Octet).unwrap(), first, "kept open while idle");
    tree.close(first.id);
    tree.close_idle();
    assert_eq!(tree.open_images(), 0);
}

#[test]
fn a_replaced_file_is_another_image_and_the_old_one_is_read_to_its_end() {
    let scratch = Scratch::new();
    let mut tree = Tree::open(&scratch.root()).unwrap();
    let old = tree.open(b"menu.cfg", Form::Octet).unwrap();
    scratch.write("root/new", b"default memtest\n");
    fs::rename(scratch.root().join("new"), scratch.root().join("menu.cfg")).unwrap();
    let new = tree.open(b"menu.cfg", Form::Octet).unwrap();
    assert_ne!((old.id, old.version), (new.id, new.version));
    assert_eq!(read(&mut tree, &old), b"default linux\n");
    assert_eq!(read(&mut tree, &new), b"default memtest\n");
    fs::remove_file(scratch.root().join("menu.cfg")).unwrap();
    assert_eq!(tree.open(b"menu.cfg", Form::Octet), Err(Miss::NotFound));
    assert!(tree.verify(old.id) && tree.verify(new.id));
    assert_eq!(read(&mut tree, &new), b"default memtest\n");
    tree.close(old.id);
    tree.close(new.id);
    assert_eq!(tree.open_images(), 0, "nobody can ask for them any more");
}

/// Sends half a file, lets `change` happen, and sends on
fn transfer_under(change: impl FnOnce(&Path)) -> (Server<Tree>, usize) {
    let scratch = Scratch::new();
    let mut server = scratch.server();
    server.write_max = 50_000;
    server.receive(b"GET /efi/boot/bootx64.efi HTTP/1.1\r\nHost: h\r\n\r\n");
    for _ in 0..4 {
        server.write_once();
    }
    change(&scratch.root().join("efi/boot/bootx64.efi"));
    server.drain();
    let head = server.written.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let body = &server.written[head..];
    assert!(*body == pattern(300_000)[..body.len()], "never a byte of another version");
    let len = body.len();
    (server, len)
}

#[test]
fn a_file_replaced_or_unlinked_under_a_transfer_is_sent_whole() {
    let replaced = |path: &Path| {
        fs::write(path.with_extension("new"), "other").unwrap();
        fs::rename(path.with_extension("new"), path).unwrap();
    };
    let unlinked = |path: &Path| fs::remove_file(path).unwrap();
    for change in [&replaced as &dyn Fn(&Path), &unlinked] {
        let (server, sent) = transfer_under(change);
        assert_eq!(sent, 300_000);
        assert_eq!(server.outcomes(), [Outcome::Done]);
        assert!(!server.closed);
    }
}

#[test]
fn a_file_changed_in_place_under_a_transfer_ends_it() {
    let truncated = |path: &Path| fs::write(path, "short").unwrap();
    let grown = |path: &Path| fs::write(path, pattern(300_001)).unwrap();
    let overwritten = |path: &Path| fs::write(path, vec![7; 300_000]).unwrap();
    let disguised = |path: &Path| {
        let modified = fs::metadata(path).unwrap().modified().unwrap();
        fs::write(path, vec![7; 300_000]).unwrap();
        fs::File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
    };
    for change in [&truncated as &dyn Fn(&Path), &grown, &overwritten, &disguised] {
        // A file system's clock ticks every few milliseconds.
        let (server, sent) = transfer_under(|path| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            change(path);
        });
        assert!(sent < 300_000);
        assert_eq!(server.outcomes(), [Outcome::FileFailed]);
        assert!(server.closed);
    }
}

#[test]
fn netascii_is_converted_once_and_has_its_own_size() {
    let scratch = Scratch::new();
    let mut tree = Tree::open(&scratch.root()).unwrap();
    let text = tree.open(b"menu.cfg", Form::Netascii).unwrap();
    assert_eq!(read(&mut tree, &text), b"default linux\r\n");
    assert_eq!(tree.open(b"menu.cfg", Form::Netascii).unwrap().id, text.id);
    tree.close(text.id);
    tree.close(text.id);
    assert_eq!(tree.open_images(), 0, "a conversion is not kept");
    fs::File::create(scratch.root().join("large")).unwrap().set_len(5 << 20).unwrap();
    assert_eq!(tree.open(b"large", Form::Netascii), Err(Miss::Busy));
    assert_eq!(tree.open(b"efi", Form::Netascii), Err(Miss::Directory));
}

#[test]
fn a_read_ends_with_the_image() {
    let scratch = Scratch::new();
    let mut tree = Tree::open(&scratch.root()).unwrap();
    for image in [tree.open(b"menu.cfg", Form::Octet).unwrap(), tree.listing(b"/").unwrap()] {
        let mut buffer = [0; 8];
        assert_eq!(tree.read_at(image.id, image.size - 3, &mut buffer).unwrap(), 3);
        assert_eq!(tree.read_at(image.id, image.size, &mut buffer).unwrap(), 0);
        assert_eq!(tree.read_at(image.id, u64::MAX, &mut buffer).unwrap(), 0);
        tree.close(image.id);
        tree.close_idle();
        assert!(tree.read_at(image.id, 0, &mut buffer).is_err() && !tree.verify(image.id));
    }
}

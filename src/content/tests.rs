//! Files out of images: in pieces, listed, and replaced under their readers

#![allow(clippy::cast_possible_truncation, reason = "numbers chosen to fit")]

use std::fs::{self, OpenOptions};
use std::net::Ipv4Addr;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::{env, process, thread};

use super::iso::testing::{ROOT, dots, image, record};
use super::{Library, Placed, Snapshots, Tree};
use crate::boot::image::{Form, ImageSource, Images, Miss, Origin};
use crate::boot::plan::{ImageMenu, Mode, Network, Plan};
use crate::boot::script::Asker;
use crate::limits::{FRESH_TIME, SNAPSHOT_PIECE_BYTES};
use crate::time::{Duration, Instant};
use crate::wire::ethernet::MacAddr;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("reveille-content-{name}-{}", process::id()));
        fs::create_dir_all(path.join("root/images/own")).unwrap();
        fs::create_dir_all(path.join("folder/below")).unwrap();
        fs::write(path.join("root/images/own/file"), "root's").unwrap();
        fs::write(path.join("folder/below/file"), "folder's").unwrap();
        fs::write(path.join("disc.iso"), disc(b'a')).unwrap();
        Self(path)
    }

    fn library(&self) -> Library {
        let mut library = Library::default();
        library.add(&ImageSource::new("disc", Origin::Iso(self.0.join("disc.iso")))).unwrap();
        library.add(&ImageSource::new("folder", Origin::Directory(self.0.join("folder")))).unwrap();
        library
    }

    fn tree(&self) -> Tree {
        Tree::with_images(Some(&self.0.join("root")), &self.library()).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// An image with a file in three pieces, whose bytes begin with `first`, and one below a directory
fn disc(first: u8) -> Vec<u8> {
    let mut root = dots(ROOT as u32).to_vec();
    root.push(record(b"PARTS.;1", 50, 2048, 0x80, b""));
    root.push(record(b"PARTS.;1", 45, 2048, 0x80, b""));
    root.push(record(b"PARTS.;1", 48, 7, 0, b""));
    root.push(record(b"DIR", 30, 2048, 2, b""));
    let below = [&dots(30)[..], &[record(b"TEXT.CFG;1", 60, 4, 0, b"")]].concat();
    let mut bytes = image(&[(ROOT, &root), (30, &below)]);
    for (block, byte) in [(50, first), (45, first + 1), (48, first + 2)] {
        bytes[block * 2048..][..2048].fill(byte);
    }
    bytes[60 * 2048..][..4].copy_from_slice(b"a\nb\n");
    bytes
}

fn all(tree: &mut Tree, path: &str) -> Result<Vec<u8>, Miss> {
    let image = tree.open(path.as_bytes(), Form::Octet)?;
    let mut bytes = vec![0; image.size as usize];
    assert_eq!(tree.read_at(image.id, 0, &mut bytes).unwrap(), bytes.len());
    tree.close(image.id);
    Ok(bytes)
}

/// As [`all`], once a replaced image was read: until then it is the old one, whole, or none
fn settled(tree: &mut Tree, path: &str, expected: &Result<&[u8], Miss>) {
    for _ in 0..1_000 {
        let got = all(tree, path);
        match (&got, expected) {
            (Ok(bytes), Ok(begin)) if bytes.starts_with(begin) => return,
            (Err(miss), Err(other)) if miss == other => return,
            (Ok(bytes), _) => assert_eq!(bytes[2048], bytes[0] + 1, "parts of two versions"),
            (Err(miss), _) => assert_eq!(*miss, Miss::Busy),
        }
        thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("{path}: never {expected:?}");
}

fn page(tree: &mut Tree, path: &str) -> String {
    let image = tree.listing(path.as_bytes()).unwrap();
    let page = String::from_utf8(tree.bytes(image.id).unwrap().to_vec()).unwrap();
    tree.close(image.id);
    page
}

#[test]
fn a_file_in_pieces_is_read_as_one() {
    let scratch = Scratch::new("pieces");
    let mut tree = scratch.tree();
    let expected = [vec![b'a'; 2048], vec![b'b'; 2048], vec![b'c'; 7]].concat();
    assert_eq!(all(&mut tree, "/images/disc/parts").unwrap(), expected);
    let image = tree.open(b"images/disc/parts", Form::Octet).unwrap();
    for (offset, len) in [(0, 10), (2040, 16), (2047, 2050), (4095, 100), (4103, 1), (5000, 5)] {
        let mut bytes = vec![0; len];
        let read = tree.read_at(image.id, offset as u64, &mut bytes).unwrap();
        let end = expected.len().min(offset + len);
        assert_eq!(bytes[..read], expected[offset.min(end)..end]);
        // The same by parts, as a driver sends them
        let mut sent = Vec::new();
        while sent.len() < read {
            let part = tree.file(image.id, (offset + sent.len()) as u64).unwrap();
            let mut bytes = vec![0; (part.len as usize).min(read - sent.len())];
            let file = fs::File::from(part.file.try_clone_to_owned().unwrap());
            file.read_exact_at(&mut bytes, part.offset).unwrap();
            sent.extend(bytes);
        }
        assert_eq!(sent, expected[offset.min(end)..end]);
    }
    assert_eq!(tree.file(image.id, 4103).unwrap().len, 0);
    let text = tree.open(b"images/disc/DIR/text.cfg", Form::Netascii).unwrap();
    assert_eq!(tree.bytes(text.id).unwrap(), b"a\r\nb\r\n");
    assert_eq!(text.media_type, "text/plain");
}

#[test]
fn images_stand_beside_the_root() {
    let scratch = Scratch::new("beside");
    let mut tree = scratch.tree();
    assert_eq!(all(&mut tree, "images/own/file").unwrap(), b"root's");
    assert_eq!(all(&mut tree, "images/folder/below/file").unwrap(), b"folder's");
    for path in
        ["images", "images/", "images/disc", "images/disc/dir", "images/folder", "images/folder/below"]
    {
        assert_eq!(all(&mut tree, path), Err(Miss::Directory), "{path}");
    }
    for path in
        ["images/none/x", "images/disc/none", "images/disc/parts/", "images/folder/../../x", "disc/parts"]
    {
        assert_eq!(all(&mut tree, path), Err(Miss::NotFound), "{path}");
    }
    let folder = page(&mut tree, "/images/");
    for name in [">own/<", ">disc/<", ">folder/<"] {
        assert!(folder.contains(name), "{folder}");
    }
    assert!(page(&mut tree, "/images/disc").contains(">parts<"));
    assert!(page(&mut tree, "/images/folder/").contains(">below/<"));
    // Without a root there are the images, and the way to them.
    let mut tree = Tree::with_images(None, &scratch.library()).unwrap();
    assert!(page(&mut tree, "/").contains(">images/<"));
    assert!(!page(&mut tree, "/images/").contains("own"));
    assert_eq!(all(&mut tree, "/"), Err(Miss::Directory));
    assert_eq!(all(&mut tree, "own/file"), Err(Miss::NotFound));
    assert_eq!(tree.listing(b"own").unwrap_err(), Miss::NotFound);
    assert!(all(&mut tree, "images/disc/dir/text.cfg").is_ok());
}

#[test]
fn hot_files_of_an_image_are_in_memory_and_of_one_version() {
    /// Long after any file's times
    const LATER: Instant = Instant::from_secs(100_000_000_000);
    let scratch = Scratch::new("hot");
    let len = 2 * SNAPSHOT_PIECE_BYTES + 5;
    let mut root = dots(ROOT as u32).to_vec();
    root.push(record(b"HOT.;1", 40, 2048, 0x80, b""));
    root.push(record(b"HOT.;1", 64, len as u32 - 2048, 0, b""));
    let mut bytes = image(&[(ROOT, &root)]);
    bytes[40 * 2048..][..2048].fill(b'h');
    bytes.extend((2048..len).map(|at| (at / 7 % 251) as u8));
    let path = scratch.0.join("disc.iso");
    fs::write(&path, &bytes).unwrap();
    let expected = [&bytes[40 * 2048..][..2048], &bytes[64 * 2048..]].concat();

    let library = scratch.library();
    let snapshots = Arc::new(Snapshots::new());
    let mut trees =
        [0, 1].map(|_| Tree::with_images(None, &library).unwrap().sharing(Arc::clone(&snapshots)));
    let ids = trees.each_mut().map(|tree| tree.open(b"images/disc/hot", Form::Octet).unwrap().id);
    assert!(trees[0].load(LATER, ids[0], 0, SNAPSHOT_PIECE_BYTES + 1));
    assert!(trees[1].resident_from(ids[1], 0).is_none(), "it has asked for nothing yet");
    assert!(trees[1].load(LATER, ids[1], 0, 1));
    let resident = |tree: &Tree, id, at| tree.resident_from(id, at as u64).map(<[u8]>::to_vec);
    for (tree, id) in trees.iter().zip(ids) {
        assert_eq!(resident(tree, id, 0).unwrap(), expected[..SNAPSHOT_PIECE_BYTES]);
        assert_eq!(resident(tree, id, SNAPSHOT_PIECE_BYTES).unwrap().len(), SNAPSHOT_PIECE_BYTES);
        assert_eq!(resident(tree, id, 2 * SNAPSHOT_PIECE_BYTES), None, "nobody asked for the last piece");
    }
    // Written over, or cut short: what is in memory is what it was, and what is not ends the transfer.
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"z", 64 * 2048).unwrap();
    file.set_len(70 * 2048).unwrap();
    for (tree, id) in trees.iter_mut().zip(ids) {
        assert!(!tree.load(LATER, id, 2 * SNAPSHOT_PIECE_BYTES as u64, 5));
        assert!(tree.read_at(id, 2 * SNAPSHOT_PIECE_BYTES as u64, &mut [0; 5]).is_err());
        assert_eq!(
            resident(tree, id, SNAPSHOT_PIECE_BYTES).unwrap()[..9],
            expected[SNAPSHOT_PIECE_BYTES..][..9]
        );
    }
    // Another image in its place is another version, with bytes of its own.
    fs::write(scratch.0.join("new.iso"), disc(b'x')).unwrap();
    fs::rename(scratch.0.join("new.iso"), &path).unwrap();
    settled(&mut trees[0], "images/disc/parts", &Ok(b"xx"));
    let new = trees[0].open(b"images/disc/parts", Form::Octet).unwrap();
    assert!(trees[0].load(LATER, new.id, 0, 4103));
    assert_eq!(trees[0].resident(new.id, 4095, 2).unwrap(), b"yz");
}

#[test]
fn a_replaced_image_is_noticed_and_its_readers_keep_theirs() {
    let scratch = Scratch::new("replaced");
    let library = scratch.library();
    let mut trees = [0, 1].map(|_| Tree::with_images(None, &library).unwrap());
    let old = trees[0].open(b"images/disc/parts", Form::Octet).unwrap();
    assert!(all(&mut trees[1], "images/disc/parts").is_ok());
    fs::write(scratch.0.join("new.iso"), disc(b'x')).unwrap();
    fs::rename(scratch.0.join("new.iso"), scratch.0.join("disc.iso")).unwrap();
    for tree in &mut trees {
        settled(tree, "images/disc/parts", &Ok(b"xx"));
    }
    let mut first = [0];
    trees[0].read_at(old.id, 0, &mut first).unwrap();
    assert_eq!(first, *b"a", "who began with the old one goes on with it");
    let new = trees[0].open(b"images/disc/parts", Form::Octet).unwrap();
    assert_ne!((new.id, new.version), (old.id, old.version));
}

#[test]
fn a_name_is_looked_at_once_a_moment_and_never_later() {
    let scratch = Scratch::new("fresh");
    let (path, next) = (scratch.0.join("root/images/own/file"), scratch.0.join("next"));
    let mut tree = scratch.tree();
    let now = Instant::from_secs(1_800_000_000);
    tree.set_now(now);
    let old = tree.open(b"images/own/file", Form::Octet).unwrap();
    assert_eq!(tree.open(b"images/own/file", Form::Octet).unwrap(), old, "looked at: it is the same");
    fs::write(&next, "another").unwrap();
    fs::rename(&next, &path).unwrap();
    // Within the moment the name means what it meant; at its end it is looked at.
    tree.set_now(now + Duration::from_micros(FRESH_TIME.as_micros() - 1));
    assert_eq!(tree.open(b"images/own/file", Form::Octet).unwrap(), old);
    tree.set_now(now + FRESH_TIME);
    let new = tree.open(b"images/own/file", Form::Octet).unwrap();
    assert_ne!((new.id, new.version), (old.id, old.version));
    let mut bytes = [0; 7];
    tree.read_at(old.id, 0, &mut bytes[..6]).unwrap();
    assert_eq!(&bytes[..6], b"root's", "who began with the old one goes on with it");
    tree.read_at(new.id, 0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"another");
    // Written in place within the moment: what is opened is what it was, or nothing.
    tree.open(b"images/own/file", Form::Octet).unwrap();
    fs::write(&path, "changed").unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    let opened = tree.open(b"images/own/file", Form::Octet).unwrap();
    assert!(tree.read_at(opened.id, 0, &mut bytes).is_err());
    tree.set_now(now + FRESH_TIME + FRESH_TIME);
    let opened = tree.open(b"images/own/file", Form::Octet).unwrap();
    tree.read_at(opened.id, 0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"changed");
}

#[test]
fn an_image_that_is_written_over_ends_its_readers() {
    let scratch = Scratch::new("written");
    let mut tree = scratch.tree();
    let image = tree.open(b"images/disc/parts", Form::Octet).unwrap();
    assert!(tree.verify(image.id));
    let file = OpenOptions::new().write(true).open(scratch.0.join("disc.iso")).unwrap();
    file.write_all_at(b"z", 50 * 2048).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert!(!tree.verify(image.id));
    assert!(tree.read_at(image.id, 0, &mut [0]).is_err());
    settled(&mut tree, "images/disc/parts", &Ok(b"za"));
    // What is no image any more is not served, and what is one again is.
    file.set_len(40 * 2048).unwrap();
    settled(&mut tree, "images/disc/parts", &Err(Miss::Unreadable));
    assert_eq!(all(&mut tree, "images/disc/parts"), Err(Miss::Unreadable));
    fs::remove_file(scratch.0.join("disc.iso")).unwrap();
    assert_eq!(all(&mut tree, "images/disc/parts"), Err(Miss::NotFound));
    fs::write(scratch.0.join("disc.iso"), disc(b'k')).unwrap();
    settled(&mut tree, "images/disc/parts", &Ok(b"kk"));
}

#[test]
fn other_images_are_served_without_a_restart() {
    let scratch = Scratch::new("remount");
    let mut tree = scratch.tree();
    let old = tree.open(b"images/disc/parts", Form::Octet).unwrap();
    assert!(all(&mut tree, "images/folder/below/file").is_ok());
    fs::write(scratch.0.join("other.iso"), disc(b'o')).unwrap();
    let mut library = Library::default();
    for name in ["new", "disc"] {
        library.add(&ImageSource::new(name, Origin::Iso(scratch.0.join("other.iso")))).unwrap();
    }
    tree.remount(library.mounted().unwrap());
    for name in ["new", "disc"] {
        assert_eq!(all(&mut tree, &format!("images/{name}/parts")).unwrap()[..2], *b"oo", "{name}");
    }
    assert_eq!(all(&mut tree, "images/folder/below/file"), Err(Miss::NotFound));
    assert_eq!(all(&mut tree, "images/own/file").unwrap(), b"root's");
    let mut bytes = [0; 4103];
    tree.read_at(old.id, 0, &mut bytes).unwrap();
    assert_eq!((bytes[0], bytes[4102]), (b'a', b'c'), "who began with the old one goes on with it");
    tree.close(old.id);
}

#[test]
fn an_image_that_cannot_be_served_says_why() {
    let scratch = Scratch::new("why");
    let mut library = Library::default();
    let path = scratch.0.join("root/images/own/file");
    let error = library.add(&ImageSource::new("x", Origin::Iso(path.clone()))).unwrap_err();
    assert_eq!(error.to_string(), format!("{}: it is not an ISO 9660 image", path.display()));
    assert!(library.add(&ImageSource::new("x", Origin::Directory(path))).is_err());
    for (path, kind) in [("/", "directory"), ("/dev/null", "device")] {
        let error = library.add(&ImageSource::new("x", Origin::Iso(path.into()))).unwrap_err();
        assert_eq!(error.to_string(), format!("{path}: it is a {kind}, not a file"));
    }
}

/// A plan that serves 192.168.99.1, and a library whose only image boots
fn bootable(scratch: &Scratch) -> Library {
    for file in ["vmlinuz", "initrd"] {
        fs::create_dir_all(scratch.0.join("casper/casper")).unwrap();
        fs::write(scratch.0.join("casper/casper").join(file), file).unwrap();
    }
    let network = Network {
        interface: "eth0".into(),
        mac: MacAddr([2, 0, 0, 0, 0, 1]),
        address: Ipv4Addr::new(192, 168, 99, 1),
        mode: Mode::Full,
        authoritative: true,
        probe: true,
        subnets: Vec::new(),
    };
    let plan = Arc::new(Plan::new(vec![network], Vec::new(), Vec::new(), Vec::new()));
    let image = ImageSource::new("jammy", Origin::Directory(scratch.0.join("casper")));
    Library::open(&[image], &plan).unwrap()
}

#[test]
fn the_operators_file_goes_before_a_generated_one() {
    let scratch = Scratch::new("generated");
    let library = bootable(&scratch);
    let root = scratch.0.join("root");
    let mut tree = Tree::with_images(Some(&root), &library).unwrap();
    let generated = all(&mut tree, "pxelinux.cfg/default").unwrap();
    assert!(generated.starts_with(b"DEFAULT jammy\n"), "{}", String::from_utf8_lossy(&generated));
    assert!(all(&mut tree, "EFI/centos/grub.cfg").unwrap().starts_with(b"source "));
    assert_eq!(all(&mut tree, "pxelinux.cfg/01-02-00-00-00-00-01"), Err(Miss::NotFound));
    let text = tree.open(b"pxelinux.cfg/default", Form::Netascii).unwrap();
    assert!(tree.bytes(text.id).unwrap().starts_with(b"DEFAULT jammy\r\n"));
    tree.close(text.id);
    assert_eq!(tree.open_images(), 0, "nothing generated stays");
    // It is there at once, and gone at once.
    fs::create_dir_all(root.join("pxelinux.cfg")).unwrap();
    fs::write(root.join("pxelinux.cfg/default"), "mine").unwrap();
    assert_eq!(all(&mut tree, "pxelinux.cfg/default").unwrap(), b"mine");
    let path = root.canonicalize().unwrap().join("pxelinux.cfg/default");
    assert_eq!(tree.place(Asker::default(), b"pxelinux.cfg/default"), Some(Placed::File(path)));
    fs::remove_file(root.join("pxelinux.cfg/default")).unwrap();
    let text = String::from_utf8(generated).unwrap();
    assert_eq!(tree.place(Asker::default(), b"pxelinux.cfg/default"), Some(Placed::Generated(text)));
}

#[test]
fn a_new_plan_is_heard_by_what_is_generated() {
    let scratch = Scratch::new("plan");
    let mut tree = Tree::with_images(None, &bootable(&scratch)).unwrap();
    let title = ImageMenu { title: "Rack 7".into(), always: true, ..ImageMenu::default() };
    let networks = vec![Network {
        interface: "eth0".into(),
        mac: MacAddr([2, 0, 0, 0, 0, 1]),
        address: Ipv4Addr::new(10, 0, 0, 1),
        mode: Mode::Full,
        authoritative: true,
        probe: true,
        subnets: Vec::new(),
    }];
    let plan = Plan::new(networks, Vec::new(), Vec::new(), Vec::new()).with_image_menu(title);
    tree.on_plan(&Arc::new(plan));
    let text = String::from_utf8(all(&mut tree, "pxelinux.cfg/default").unwrap()).unwrap();
    assert!(text.contains("Rack 7") && text.contains("LINUX ::images/jammy/casper/vmlinuz"), "{text}");
}

#[test]
fn loaders_of_the_root_lie_in_an_images_own_folder_too() {
    let scratch = Scratch::new("loaders");
    let root = scratch.0.join("root");
    fs::write(root.join("lpxelinux.0"), "mine").unwrap();
    fs::write(root.join("ldlinux.c32"), "its library").unwrap();
    let mut tree = Tree::with_images(Some(&root), &bootable(&scratch)).unwrap();
    let folder = "images/192.168.99.1/jammy";
    assert_eq!(all(&mut tree, &format!("{folder}/lpxelinux.0")).unwrap(), b"mine");
    let kept = tree.open(format!("{folder}/ldlinux.c32").as_bytes(), Form::Octet).unwrap();
    tree.close(kept.id);
    let again = tree.open(format!("{folder}/ldlinux.c32").as_bytes(), Form::Octet).unwrap();
    assert_eq!(again.id, kept.id, "it is kept open as any file");
    // The system's modules are of another version than the operator's pxelinux.
    for path in ["menu.c32", "images/192.168.99.1/jammy/menu.c32", "images/192.168.99.1/other/lpxelinux.0"] {
        assert_eq!(all(&mut tree, path), Err(Miss::NotFound), "{path}");
    }
    let text = all(&mut tree, &format!("{folder}/pxelinux.cfg/default")).unwrap();
    assert!(text.starts_with(b"DEFAULT jammy\n"));
    let mut bare = Tree::with_images(None, &bootable(&scratch)).unwrap();
    let system = fs::read("/usr/lib/PXELINUX/lpxelinux.0");
    match system {
        Ok(bytes) => assert_eq!(all(&mut bare, &format!("{folder}/lpxelinux.0")).unwrap(), bytes),
        Err(_) => assert_eq!(all(&mut bare, "lpxelinux.0"), Err(Miss::NotFound)),
    }
}

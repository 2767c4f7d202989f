//! Images that xorriso builds, images that a hostile hand changed, and images made here byte by byte

#![allow(clippy::cast_possible_truncation, reason = "numbers chosen to fit")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, io, process};

use super::{Fault, Index, ReadAt, What, read};

/// An image in memory
struct Bytes<'b>(&'b [u8]);

impl ReadAt for Bytes<'_> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap();
        // A read that is not within the image is a fault of the reader.
        bytes.copy_from_slice(self.0.get(start..start + bytes.len()).unwrap_or_else(|| {
            assert!(bytes.is_empty(), "reads {start}+{} of {}", bytes.len(), self.0.len());
            &[]
        }));
        Ok(())
    }
}

/// A directory of its own that goes with the test
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("reveille-iso-{name}-{}", process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Builds an image of `tree`, or says why not
fn xorriso(tree: &Path, options: &[&str]) -> Option<PathBuf> {
    let image = tree.with_extension("iso");
    // It reads names in the locale's character set, which is ASCII where none is set.
    let output = Command::new("xorriso")
        .env("LC_ALL", "C.UTF-8")
        .args(["-as", "mkisofs", "-quiet", "-o"])
        .arg(&image)
        .args(options)
        .arg(tree)
        .output();
    match output {
        Ok(output) if output.status.success() => Some(image),
        Ok(output) => panic!("xorriso: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => {
            assert!(env::var_os("CI").is_none(), "skipped in CI: xorriso: {error}");
            eprintln!("skipped: xorriso: {error}");
            None
        }
    }
}

fn put(tree: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    let path = tree.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// The bytes that the index says a path has
fn bytes_of(image: &[u8], index: &Index, path: &str) -> Option<Vec<u8>> {
    match index.find(path.as_bytes())?.0 {
        What::File(extents) => Some(
            extents
                .iter()
                .flat_map(|extent| {
                    let start = usize::try_from(extent.offset).unwrap();
                    &image[start..start + usize::try_from(extent.len).unwrap()]
                })
                .copied()
                .collect(),
        ),
        _ => None,
    }
}

fn names(index: &Index, path: &str) -> Vec<String> {
    let entries = index.entries(path.as_bytes()).unwrap();
    entries.map(|entry| String::from_utf8_lossy(entry.name).into_owned()).collect()
}

/// A tree with what an installation image has, and what is hard to read
fn sample(tree: &Path) {
    let long = "n".repeat(200);
    put(tree, "images/pxeboot/vmlinuz", b"kernel".repeat(1000));
    put(tree, "images/pxeboot/initrd.img", b"initrd".repeat(777));
    put(tree, ".treeinfo", "[general]\n");
    put(tree, "EFI/BOOT/BOOTX64.EFI", "MZ");
    put(tree, "empty", "");
    put(tree, &format!("Packages/{long}.rpm"), "long");
    put(tree, "a/b/c/d/e/f/g/h/i/j/deep", "deep");
    put(tree, "Name/Case", "upper");
    put(tree, "Name/case", "lower");
    put(tree, "tés/ü.txt", "utf-8");
    let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, tree.join(name)).unwrap();
    link("pxeboot/vmlinuz", "images/kernel");
    link("/EFI/BOOT", "efi-link");
    link("../../../../../etc/passwd", "out");
    link("loop-b", "loop-a");
    link("loop-a", "loop-b");
    link(&format!("Packages/./../Packages/{long}.rpm"), "far");
}

#[test]
fn rock_ridge_names_links_and_deep_directories() {
    let scratch = Scratch::new("rock");
    let tree = scratch.0.join("tree");
    sample(&tree);
    let Some(image) = xorriso(&tree, &["-R", "-J", "-joliet-long"]) else { return };
    let bytes = fs::read(&image).unwrap();
    let index = read(&File::open(&image).unwrap()).unwrap();
    let at = |path: &str| bytes_of(&bytes, &index, path);
    assert_eq!(at("images/pxeboot/vmlinuz").unwrap(), b"kernel".repeat(1000));
    assert_eq!(at("images/pxeboot/initrd.img").unwrap(), b"initrd".repeat(777));
    assert_eq!(at("empty").unwrap(), b"");
    assert_eq!(at("a/b/c/d/e/f/g/h/i/j/deep").unwrap(), b"deep");
    assert_eq!(at(&format!("Packages/{}.rpm", "n".repeat(200))).unwrap(), b"long");
    assert_eq!(at("tés/ü.txt").unwrap(), b"utf-8");
    // Case, as it is first
    assert_eq!(at("Name/Case").unwrap(), b"upper");
    assert_eq!(at("Name/case").unwrap(), b"lower");
    assert_eq!(at("efi/boot/bootx64.efi").unwrap(), b"MZ");
    // Links
    assert_eq!(at("images/kernel").unwrap(), b"kernel".repeat(1000));
    assert_eq!(at("efi-link/BOOTX64.EFI").unwrap(), b"MZ");
    assert_eq!(at("far").unwrap(), b"long");
    for path in ["out", "loop-a", "none", "empty/x", "empty/", "a"] {
        assert_eq!(at(path), None, "{path}");
    }
    assert_eq!(index.find(b"a/").unwrap().0, What::Directory);
    assert_eq!(names(&index, "images"), ["kernel", "pxeboot"]);
    assert!(!names(&index, "").contains(&"out".to_owned()), "a link out of the image leads nowhere");
    assert!(index.find(b"empty").unwrap().1 > 1_700_000_000, "the file's own date");
}

#[test]
fn joliet_and_plain_names() {
    let scratch = Scratch::new("joliet");
    let tree = scratch.0.join("tree");
    put(&tree, "Images/Long Name with spaces.Image", "joliet");
    put(&tree, "isolinux/isolinux.cfg", "default");
    put(&tree, "isolinux/kernel", "no dot");
    put(&tree, "ü/x.txt", "umlaut");
    let Some(image) = xorriso(&tree, &["-no-pad", "--norock", "-J"]) else { return };
    let bytes = fs::read(&image).unwrap();
    let index = read(&Bytes(&bytes)).unwrap();
    assert_eq!(bytes_of(&bytes, &index, "images/long name WITH spaces.image").unwrap(), b"joliet");
    assert_eq!(bytes_of(&bytes, &index, "ü/x.txt").unwrap(), b"umlaut");
    assert_eq!(names(&index, "Images"), ["Long Name with spaces.Image"]);
    let Some(image) = xorriso(&tree, &["--norock", "-iso-level", "1"]) else { return };
    let bytes = fs::read(&image).unwrap();
    let index = read(&Bytes(&bytes)).unwrap();
    for path in ["isolinux/isolinux.cfg", "ISOLINUX/ISOLINUX.CFG;1", "isolinux/Isolinux.cfg;1"] {
        assert_eq!(bytes_of(&bytes, &index, path).unwrap(), b"default", "{path}");
    }
    assert_eq!(bytes_of(&bytes, &index, "isolinux/kernel").unwrap(), b"no dot");
    assert_eq!(names(&index, "isolinux"), ["isolinux.cfg", "kernel"]);
}

#[test]
fn a_hundred_thousand_files_open_in_under_a_second() {
    let scratch = Scratch::new("many");
    let tree = scratch.0.join("tree");
    for folder in 0..100 {
        let folder = tree.join(format!("folder-{folder}"));
        fs::create_dir_all(&folder).unwrap();
        for file in 0..1_000 {
            File::create(folder.join(format!("package-with-a-usual-name-{file}.noarch.rpm"))).unwrap();
        }
    }
    let Some(image) = xorriso(&tree, &["-R"]) else { return };
    let file = File::open(&image).unwrap();
    let begun = std::time::Instant::now();
    let index = read(&file).unwrap();
    let taken = begun.elapsed();
    assert_eq!(index.len(), 100_101);
    assert!(index.find(b"folder-99/package-with-a-usual-name-999.noarch.rpm").is_some());
    let held = size_of_val(&*index.nodes) + index.names.len();
    assert!(held < 12 << 20, "{held} bytes");
    eprintln!("100,000 files: {taken:?}, {held} bytes");
    assert!(taken.as_millis() < 1_000, "{taken:?}");
}

#[test]
fn a_file_above_four_gibibytes_is_one_extent() {
    let scratch = Scratch::new("large");
    let tree = scratch.0.join("tree");
    fs::create_dir_all(&tree).unwrap();
    let large = File::create(tree.join("large")).unwrap();
    large.set_len((5 << 30) + 1).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&large, b"mark", (4 << 30) - 2).unwrap();
    let Ok(room) = Command::new("df").args(["--output=avail", "-B1"]).arg(&scratch.0).output() else {
        return;
    };
    let room = String::from_utf8_lossy(&room.stdout);
    if room.lines().nth(1).and_then(|line| line.trim().parse::<u64>().ok()).is_none_or(|room| room < 8 << 30)
    {
        assert!(env::var_os("CI").is_none(), "skipped in CI: no room for an image of 5 GiB");
        eprintln!("skipped: no room for an image of 5 GiB");
        return;
    }
    let Some(image) = xorriso(&tree, &["-R", "-iso-level", "3"]) else { return };
    let file = File::open(&image).unwrap();
    let index = read(&file).unwrap();
    let (What::File(&[extent]), _) = index.find(b"large").unwrap() else { panic!("one extent") };
    assert_eq!(extent.len, (5 << 30) + 1);
    let mut mark = [0; 6];
    file.read_exact_at(&mut mark, extent.offset + (4 << 30) - 3).unwrap();
    assert_eq!(&mark, b"\0mark\0");
}

#[test]
fn what_is_no_image_says_so() {
    let fault = |bytes: &[u8]| read(&Bytes(bytes)).unwrap_err();
    assert!(matches!(fault(b""), Fault::NotIso));
    assert!(matches!(fault(&[0; 100_000]), Fault::NotIso));
    let mut sector = vec![0; 17 * 2048];
    sector[16 * 2048..][..6].copy_from_slice(b"\x01CD001");
    assert!(matches!(fault(&sector), Fault::BlockSize(0)));
    sector[16 * 2048 + 128..][..2].copy_from_slice(&2048_u16.to_le_bytes());
    assert!(matches!(fault(&sector), Fault::Directory(_)));
}

mod hostile {
    use super::super::testing::{ROOT, dots, image, record};
    use super::*;

    fn fault(entries: &[Vec<u8>]) -> Fault {
        let mut root = dots(ROOT as u32).to_vec();
        root.extend_from_slice(entries);
        read(&Bytes(&image(&[(ROOT, &root)]))).unwrap_err()
    }

    #[test]
    fn loops_lies_and_what_lies_outside_are_errors() {
        let loops = fault(&[record(b"A", ROOT as u32, 2048, 2, b"")]);
        assert_eq!(loops.to_string(), "the directory /a is one that was read before: a loop");
        let twice = [record(b"A", 30, 2048, 2, b""), record(b"B", 30, 2048, 2, b"")];
        assert!(matches!(fault(&twice), Fault::Loop(_)));
        let outside = fault(&[record(b"VMLINUZ.;1", 40, 100_000, 0, b"")]);
        assert!(outside.to_string().starts_with("/vmlinuz lies beyond its end"), "{outside}");
        assert!(matches!(fault(&[record(b"X", u32::MAX, 1, 0, b"")]), Fault::CutShort(_)));
        assert!(matches!(fault(&[record(b"X", 63, 4096, 2, b"")]), Fault::CutShort(_)));
        assert!(matches!(fault(&[record(b"X", 1, u32::MAX, 2, b"")]), Fault::TooLarge));
        assert!(matches!(fault(&[vec![33; 33]]), Fault::Directory(_)), "no room for a name");
        assert!(matches!(fault(&[vec![250; 20]]), Fault::Directory(_)));
    }

    #[test]
    fn pieces_lie_where_they_lie() {
        let mut root = dots(ROOT as u32).to_vec();
        root.push(record(b"NEXT.;1", 40, 2048, 0x80, b""));
        root.push(record(b"NEXT.;1", 41, 10, 0, b""));
        root.push(record(b"PARTS.;1", 50, 2048, 0x80, b""));
        root.push(record(b"PARTS.;1", 45, 2048, 0x80, b""));
        root.push(record(b"PARTS.;1", 48, 7, 0, b""));
        root.push(record(b"LAST.;1", 60, 1, 0, b""));
        let bytes = image(&[(ROOT, &root)]);
        let index = read(&Bytes(&bytes)).unwrap();
        let extents = |path: &str| match index.find(path.as_bytes()).unwrap().0 {
            What::File(extents) => extents.iter().map(|e| (e.offset / 2048, e.len)).collect::<Vec<_>>(),
            what => panic!("{what:?}"),
        };
        assert_eq!(extents("next"), [(40, 2058)]);
        assert_eq!(extents("parts"), [(50, 2048), (45, 2048), (48, 7)]);
        assert_eq!(extents("last"), [(60, 1)]);
        assert_eq!(names(&index, ""), ["last", "next", "parts"]);
    }

    #[test]
    fn compressed_files_are_known_as_such() {
        let sp = b"SP\x07\x01\xbe\xef\x00";
        let px = [&b"PX\x24\x01"[..], &0o100_444_u32.to_le_bytes(), &[0; 28]].concat();
        let zf = b"ZF\x10\x01pz\x04\x0f\0\0\0\0\0\0\0\0";
        let mut root = vec![record(&[0], ROOT as u32, 2048, 2, &[&sp[..], &px].concat())];
        let name = b"NM\x08\x01\0abc";
        root.push(record(b"ABC.;1", 40, 100, 0, &[&name[..], &px, zf].concat()));
        let index = read(&Bytes(&image(&[(ROOT, &root)]))).unwrap();
        assert_eq!(index.find(b"abc").unwrap().0, What::Compressed);
        assert_eq!(index.compressed(), 1);
    }

    /// SplitMix64
    struct Random(u64);

    impl Random {
        fn below(&mut self, end: usize) -> usize {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) % end as u64) as usize
        }
    }

    /// Changes bytes where structures lie, reads all that is left, and looks every name up
    fn mutate(original: &[u8], seed: u64, rounds: usize) {
        let mut random = Random(seed);
        let interesting: Vec<usize> = (16 * 2048..original.len()).filter(|&at| original[at] != 0).collect();
        let mut bytes = original.to_vec();
        let mut read_well = 0;
        for round in 0..rounds {
            bytes.truncate(original.len());
            bytes.resize(original.len(), 0);
            bytes.copy_from_slice(original);
            for _ in 0..=random.below(6) {
                let near = interesting[random.below(interesting.len())];
                let at = (near + random.below(4)).min(bytes.len() - 1);
                bytes[at] = match random.below(4) {
                    0 => 0xff,
                    1 => 0,
                    2 => bytes[at] ^ (1 << random.below(8)),
                    _ => random.below(256) as u8,
                };
            }
            if random.below(10) == 0 {
                bytes.truncate(random.below(original.len()));
            }
            let Ok(index) = read(&Bytes(&bytes)) else { continue };
            read_well += 1;
            walk(&bytes, &index, round);
        }
        assert!(
            read_well > rounds / 20,
            "{read_well} of {rounds} were read: the others hide what comes later"
        );
    }

    fn walk(bytes: &[u8], index: &Index, round: usize) {
        let mut unread = vec![Vec::new()];
        let mut seen = 0;
        while let Some(folder) = unread.pop() {
            for entry in index.entries(&folder).into_iter().flatten() {
                seen += 1;
                let path = [&folder, &b"/"[..], entry.name].concat();
                // What a path leads to by too many links is not found.
                let Some(found) = index.find(&path) else { continue };
                match found.0 {
                    What::File(extents) => {
                        let end = extents.iter().map(|e| e.offset + e.len).max().unwrap_or(0);
                        assert!(end <= bytes.len() as u64, "round {round}: outside the image");
                    }
                    What::Directory if seen < 10_000 && path.len() < 4_000 && entry.is_directory => {
                        unread.push(path);
                    }
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn thirty_thousand_changed_images_are_read_or_refused() {
        let scratch = Scratch::new("changed");
        let tree = scratch.0.join("tree");
        sample(&tree);
        fs::remove_file(tree.join("loop-a")).unwrap();
        let seed = env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x6973_6f39);
        eprintln!("SEED={seed}");
        for options in
            [&["-R", "-no-pad"][..], &["--norock", "-J", "-joliet-long", "-no-pad"], &["--norock", "-no-pad"]]
        {
            let Some(image) = xorriso(&tree, options) else { return };
            mutate(&fs::read(image).unwrap(), seed, 10_000);
        }
    }
}

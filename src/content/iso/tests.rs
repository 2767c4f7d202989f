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
    match index.find(path.as_bytes())?.what {
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
    assert_eq!(index.find(b"a/").unwrap().what, What::Directory);
    assert_eq!(names(&index, "images"), ["kernel", "pxeboot"]);
    assert!(!names(&index, "").contains(&"out".to_owned()), "a link out of the image leads nowhere");
    assert!(index.find(b"empty").unwrap().modified_s > 1_700_000_000, "the file's own date");
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
    let What::File(&[extent]) = index.find(b"large").unwrap().what else { panic!("one extent") };
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

#[test]
fn a_udf_file_system_is_told() {
    use super::testing::{ROOT, dots, image};
    let mut bytes = image(&[(ROOT, &dots(ROOT as u32))]);
    assert!(!read(&Bytes(&bytes)).unwrap().has_udf());
    // As on the disc of Windows: UDF's descriptors follow those of ISO 9660.
    for (sector, name) in [(18, b"\0BEA01"), (19, b"\0NSR02")] {
        bytes[sector * 2048..][..6].copy_from_slice(name);
    }
    assert!(read(&Bytes(&bytes)).unwrap().has_udf());
    for (sector, name) in [(16, b"\0BEA01"), (17, b"\0NSR03"), (18, b"\0TEA01")] {
        bytes[sector * 2048..][..6].copy_from_slice(name);
    }
    let said = read(&Bytes(&bytes)).unwrap_err().to_string();
    assert_eq!(said, "it holds a UDF file system only, which is not read");
}

/// What `mkfs.fat` is to make, and how many KiB of it
type Format = (&'static [&'static str], u64);
const FAT12: Format = (&["-F", "12"], 1_440);
const FAT16: Format = (&["-F", "16"], 16 << 10);
const FAT32: Format = (&["-F", "32"], 34 << 10);

/// Runs a program of mtools or dosfstools, or says why not
fn made(program: &str, args: &[&str], file: &Path) -> Option<()> {
    // What does not look like a disk is none of its business.
    let output = Command::new(program).env("MTOOLS_SKIP_CHECK", "1").args(args).arg(file).output();
    match output {
        Ok(output) => {
            assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
            Some(())
        }
        Err(error) => {
            assert!(env::var_os("CI").is_none(), "skipped in CI: {program}: {error}");
            eprintln!("skipped: {program}: {error}");
            None
        }
    }
}

/// The file that is written into a gap, and behind it
fn torn() -> Vec<u8> {
    (0..70_000_u32).map(|at| (at / 3 % 251) as u8).collect()
}

/// An image that UEFI starts from a file system with a file in pieces in it, and where that lies
fn with_boot_image(scratch: &Path, (format, kib): Format) -> Option<(Vec<u8>, usize)> {
    let fat = scratch.join(format!("fat{}.img", format[1]));
    let _ = fs::remove_file(&fat);
    let kib = kib.to_string();
    let output = Command::new("mkfs.fat").args(format).args(["-n", "ESP", "-C"]).arg(&fat).arg(&kib).output();
    if let Err(error) = output {
        assert!(env::var_os("CI").is_none(), "skipped in CI: mkfs.fat: {error}");
        eprintln!("skipped: mkfs.fat: {error}");
        return None;
    }
    let from = scratch.join("from");
    put(&from, "shim", b"shim".repeat(9_000));
    put(&from, "grub", b"grub".repeat(9_000));
    put(&from, "torn", torn());
    put(&from, "empty", "");
    let image = fat.display().to_string();
    let run = |program: &str, args: &[&str]| {
        let (last, args) = args.split_last().unwrap();
        made(program, &[&["-i", &*image], args].concat(), Path::new(last))
    };
    let from = |name: &str| from.join(name).display().to_string();
    run("mmd", &["::/EFI", "::/EFI/BOOT", "::/EFI/a folder with a long name"])?;
    run("mcopy", &[&from("grub"), "::/EFI/BOOT/GAP"])?;
    run("mcopy", &[&from("shim"), "::/EFI/BOOT/BOOTX64.EFI"])?;
    run("mdel", &["::/EFI/BOOT/GAP"])?;
    if format == FAT32.0 {
        // Where the next free cluster is to be looked for: nobody knows, so in the gap.
        let file = File::options().write(true).open(&fat).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &[0xff; 4], 512 + 492).unwrap();
    }
    run("mcopy", &[&from("torn"), "::/EFI/BOOT/grubx64.efi"])?;
    run(
        "mcopy",
        &[&from("empty"), "::/EFI/a folder with a long name/Nothing \u{fc}berhaupt, in a file.txt"],
    )?;
    let tree = scratch.join("tree");
    put(&tree, "readme", "hello");
    fs::copy(&fat, tree.join("efi.img")).unwrap();
    let iso = xorriso(&tree, &["-R", "-no-pad", "-c", "boot.cat", "-e", "efi.img", "-no-emul-boot"])?;
    let bytes = fs::read(iso).unwrap();
    let index = read(&Bytes(&bytes)).unwrap();
    let What::File(&[extent]) = index.find(b"efi.img").unwrap().what else { panic!("one extent") };
    Some((bytes, usize::try_from(extent.offset).unwrap()))
}

#[test]
fn what_firmware_starts_an_image_from_is_read() {
    let scratch = Scratch::new("boot-image");
    for format in [FAT12, FAT16, FAT32] {
        let Some((bytes, _)) = with_boot_image(&scratch.0, format) else { return };
        let index = read(&Bytes(&bytes)).unwrap();
        let at = |path: &str| bytes_of(&bytes, &index, path);
        assert_eq!(at("[BOOT]/EFI/BOOT/BOOTX64.EFI").unwrap(), b"shim".repeat(9_000));
        assert_eq!(at("[boot]/efi/boot/GRUBX64.EFI").unwrap(), torn());
        let What::File(pieces) = index.find(b"[BOOT]/EFI/BOOT/grubx64.efi").unwrap().what else {
            panic!("a file")
        };
        assert!(pieces.len() > 1, "it was to lie in pieces");
        let folder = "[BOOT]/EFI/a folder with a long name";
        assert_eq!(names(&index, folder), ["Nothing überhaupt, in a file.txt"]);
        assert_eq!(at(&format!("{folder}/nothing überhaupt, in a file.txt")).unwrap(), b"");
        assert!(index.find(b"[BOOT]/EFI/BOOT/grubx64.efi").unwrap().in_boot_image);
        assert!(!index.find(b"efi.img").unwrap().in_boot_image);
        assert!(names(&index, "").contains(&"[BOOT]".to_owned()));
        assert_eq!(names(&index, "[BOOT]"), ["EFI"], "the label is no file");
        assert_eq!(at("[BOOT]/../readme").unwrap(), b"hello");
        assert_eq!(index.boot_image().unwrap().unwrap(), 6);
        assert!(index.find(b"[BOOT]/EFI/BOOT/grubx64.efi").unwrap().modified_s > 1_700_000_000);
    }
}

#[test]
fn the_packages_images_have_what_mtools_finds_in_them() {
    let scratch = Scratch::new("packaged");
    for (path, block, files) in [
        ("/usr/lib/ipxe/ipxe.iso", 34, &["EFI/BOOT/BOOTX64.EFI"][..]),
        ("/usr/lib/memtest86+/memtest86+x64.iso", 826, &["EFI/BOOT/BOOTX64.EFI"]),
    ] {
        let Ok(bytes) = fs::read(path) else {
            assert!(env::var_os("CI").is_none(), "skipped in CI: {path} is not installed");
            eprintln!("skipped: {path} is not installed");
            continue;
        };
        let index = read(&Bytes(&bytes)).unwrap();
        for file in files {
            let copy = scratch.0.join("copy");
            let (image, source) = (format!("{path}@@{}", block * 2048), format!("::/{file}"));
            if made("mcopy", &["-n", "-o", "-i", &image, &source], &copy).is_none() {
                return;
            }
            let found = bytes_of(&bytes, &index, &format!("[BOOT]/{file}"));
            assert!(found.unwrap() == fs::read(&copy).unwrap(), "{path}: {file}");
        }
    }
}

mod hostile {
    use std::ops::Range;

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
        let extents = |path: &str| match index.find(path.as_bytes()).unwrap().what {
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
        assert_eq!(index.find(b"abc").unwrap().what, What::Compressed);
        assert_eq!(index.compressed(), 1);
    }

    #[test]
    fn clusters_that_loop_or_lie_leave_the_boot_image_out() {
        let scratch = Scratch::new("clusters");
        let Some((original, at)) = with_boot_image(&scratch.0, FAT16) else { return };
        let le16 = |at: usize| u16::from_le_bytes([original[at], original[at + 1]]);
        let table = at + usize::from(le16(at + 14)) * usize::from(le16(at + 11));
        let entry = original.windows(11).position(|name| name == b"GRUBX64 EFI").unwrap();
        let first = le16(entry + 26);
        let said = |change: &dyn Fn(&mut [u8])| {
            let mut bytes = original.clone();
            change(&mut bytes);
            let index = read(&Bytes(&bytes)).unwrap();
            assert_eq!(bytes_of(&bytes, &index, "readme").unwrap(), b"hello", "the rest is served");
            assert!(index.find(b"[BOOT]").is_none() && !names(&index, "").contains(&"[BOOT]".to_owned()));
            index.boot_image().unwrap().unwrap_err().to_string()
        };
        let next = table + 2 * usize::from(first);
        let chain =
            "the clusters of /[BOOT]/EFI/BOOT/grubx64.efi end early, lead nowhere, or belong to another file";
        for number in [first, 0, 1, 2, 0xfff7, 0xffff, le16(entry - 32 + 26)] {
            assert_eq!(said(&|bytes| bytes[next..][..2].copy_from_slice(&number.to_le_bytes())), chain);
        }
        assert_eq!(said(&|bytes| bytes[entry + 28..][..4].fill(0xff)), chain, "it says that it is longer");
        assert_eq!(said(&|bytes| bytes[entry + 26..][..2].fill(0)), chain, "it begins nowhere");
        assert_eq!(said(&|bytes| bytes[at + 13] = 3), "it is not a FAT file system");
        let endless = |bytes: &mut [u8]| {
            bytes[at + 19..][..2].fill(0);
            bytes[at + 22..][..2].fill(0xff);
            bytes[at + 32..][..4].fill(0xff);
        };
        assert_eq!(said(&endless), "it holds more files than reveille serves from one image");
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

    fn from_environment(name: &str) -> Option<u64> {
        env::var(name).ok()?.parse().ok()
    }

    /// How many times as long as usual
    fn rounds() -> usize {
        from_environment("ROUNDS").unwrap_or(1) as usize
    }

    /// Changes bytes where structures lie, reads all that is left, and looks every name up
    fn mutate(original: &[u8], structures: Range<usize>, seed: u64, rounds: usize) {
        let has_boot_image = matches!(read(&Bytes(original)).unwrap().boot_image(), Some(Ok(_)));
        let mut random = Random(seed);
        let interesting: Vec<usize> = structures.filter(|&at| original[at] != 0).collect();
        let mut bytes = original.to_vec();
        let mut read_well = 0;
        for round in 0..rounds {
            let mut changed = Vec::new();
            for _ in 0..=random.below(6) {
                let near = interesting[random.below(interesting.len())];
                let at = (near + random.below(4)).min(bytes.len() - 1);
                bytes[at] = match random.below(4) {
                    0 => 0xff,
                    1 => 0,
                    2 => bytes[at] ^ (1 << random.below(8)),
                    _ => random.below(256) as u8,
                };
                changed.push(at);
            }
            let len = if random.below(10) == 0 { random.below(original.len()) } else { original.len() };
            if let Ok(index) = read(&Bytes(&bytes[..len])) {
                read_well += usize::from(!has_boot_image || matches!(index.boot_image(), Some(Ok(_))));
                walk(&bytes[..len], &index, round);
            }
            changed.into_iter().for_each(|at| bytes[at] = original[at]);
        }
        assert!(
            read_well > rounds / 20,
            "{read_well} of {rounds} were read: the others hide what comes later"
        );
    }

    fn walk(bytes: &[u8], index: &Index, round: usize) {
        let mut unread = vec![Vec::new()];
        let mut seen = 0;
        let mut of_boot_image = Vec::new();
        while let Some(folder) = unread.pop() {
            for entry in index.entries(&folder).into_iter().flatten() {
                seen += 1;
                let path = [&folder, &b"/"[..], entry.name].concat();
                // What a path leads to by too many links is not found.
                let Some(found) = index.find(&path) else { continue };
                match found.what {
                    What::File(extents) => {
                        let end = extents.iter().map(|e| e.offset + e.len).max().unwrap_or(0);
                        assert!(end <= bytes.len() as u64, "round {round}: outside the image");
                        if found.in_boot_image {
                            of_boot_image.extend(extents.iter().map(|e| (e.offset, e.offset + e.len)));
                        }
                    }
                    What::Directory if seen < 10_000 && path.len() < 4_000 && entry.is_directory => {
                        unread.push(path);
                    }
                    _ => {}
                }
            }
        }
        of_boot_image.sort_unstable();
        let is_apart = of_boot_image.windows(2).all(|pair| pair[0].1 <= pair[1].0);
        assert!(is_apart, "round {round}: a cluster in two files");
    }

    #[test]
    fn thirty_thousand_changed_images_are_read_or_refused() {
        let scratch = Scratch::new("changed");
        let tree = scratch.0.join("tree");
        sample(&tree);
        fs::remove_file(tree.join("loop-a")).unwrap();
        let seed = from_environment("SEED").unwrap_or(0x6973_6f39);
        eprintln!("SEED={seed}");
        for options in
            [&["-R", "-no-pad"][..], &["--norock", "-J", "-joliet-long", "-no-pad"], &["--norock", "-no-pad"]]
        {
            let Some(image) = xorriso(&tree, options) else { return };
            let image = fs::read(image).unwrap();
            mutate(&image, 16 * 2048..image.len(), seed, 10_000 * rounds());
        }
    }

    #[test]
    fn ten_thousand_changed_boot_images_are_read_or_left_out() {
        let scratch = Scratch::new("changed-boot");
        let seed = from_environment("SEED").unwrap_or(0x6661_7431);
        eprintln!("SEED={seed}");
        for (format, tables) in [(FAT12, 512..8 << 10), (FAT16, 512..60 << 10), (FAT32, 16 << 10..60 << 10)] {
            let Some((image, at)) = with_boot_image(&scratch.0, format) else { return };
            mutate(&image, at..at + 62, seed, 400 * rounds());
            mutate(&image, at + tables.start..at + tables.end, seed, 3_000 * rounds());
        }
    }
}

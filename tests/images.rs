//! Images out of ISO files by a running server: what a machine fetches when only `--iso` was said.

mod support;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use support::{Folder, Net, SERVER, Server, has, run, skip};

/// An installation image in the layout of the RHEL family, and its files' bytes
fn image(folder: &Folder) -> Option<(Vec<u8>, Vec<u8>)> {
    for program in ["xorriso", "curl", "tftp"] {
        if !has(program) {
            skip(&format!("{program} is not installed"));
            return None;
        }
    }
    let tree = folder.0.join("tree");
    fs::create_dir_all(tree.join("images/pxeboot")).expect("a folder");
    let kernel = folder.file("tree/images/pxeboot/vmlinuz", 3 * 1024 * 1024 + 17);
    let initrd = folder.file("tree/images/pxeboot/initrd.img", 1024 * 1024 + 1);
    folder.put(
        "tree/.treeinfo",
        b"[images-x86_64]\nkernel = images/pxeboot/vmlinuz\ninitrd = images/pxeboot/initrd.img\n",
    );
    let iso = folder.0.join("centos-7.iso");
    let made =
        run(Command::new("xorriso").args(["-as", "mkisofs", "-quiet", "-R", "-o"]).arg(&iso).arg(&tree));
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Some((kernel, initrd))
}

fn fetch(net: &Net, line: &str) -> Vec<u8> {
    let output = net.client_shell(line);
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn an_iso_named_on_the_command_line_boots() {
    let folder = Folder::new("images");
    let Some((kernel, initrd)) = image(&folder) else { return };
    let Some(net) = Net::new() else { return };
    let iso = folder.0.join("centos-7.iso");
    let empty = Folder::new("images-root");
    let _server = Server::start(&net, &empty, &["--proxy", "--iso", &iso.display().to_string()]);

    let script = String::from_utf8(fetch(&net, &format!("curl -sf http://{SERVER}/images/{SERVER}.ipxe")));
    let script = script.expect("text");
    let url = format!("http://{SERVER}/images/centos-7");
    let expected =
        format!("kernel {url}/images/pxeboot/vmlinuz initrd=initrd.img inst.repo={url} ip=dhcp ||");
    assert!(script.starts_with("#!ipxe\n") && script.contains(&expected), "{script}");

    // pxelinux and GRUB find the same, by TFTP and by HTTP, wherever they look.
    let pxelinux = "\nLABEL centos-7\n  LINUX ::images/centos-7/images/pxeboot/vmlinuz\n".to_owned();
    for line in [
        format!("curl -sf http://{SERVER}/bios/pxelinux.cfg/default"),
        format!("tftp -m binary {SERVER} -c get pxelinux.cfg/default /dev/stdout"),
    ] {
        let text = String::from_utf8(fetch(&net, &line)).expect("text");
        let by_http = pxelinux.replace("::", &format!("http://{SERVER}/"));
        assert!(text.contains(&pxelinux) || text.contains(&by_http), "{line}: {text}");
    }
    let grub = String::from_utf8(fetch(&net, &format!("curl -sf http://{SERVER}/EFI/centos/grub.cfg")))
        .expect("text");
    let path =
        grub.trim().strip_prefix(&format!("source (tftp,{SERVER})")).expect("where to look").to_owned();
    let path = path
        .replace("$net_default_mac", "02:00:00:00:00:01")
        .replace("$grub_cpu-$grub_platform", "x86_64-efi");
    let menu = String::from_utf8(fetch(&net, &format!("curl -sf http://{SERVER}{path}"))).expect("text");
    assert!(menu.contains("if $linux $from/images/centos-7/images/pxeboot/vmlinuz inst.repo="), "{menu}");

    let base = format!("curl -sf {url}/images/pxeboot");
    assert!(fetch(&net, &format!("{base}/vmlinuz")) == kernel);
    assert!(fetch(&net, &format!("{base}/VMLINUZ -r 1000000-2000000")) == kernel[1_000_000..=2_000_000]);
    assert!(fetch(&net, &format!("curl -sf {url}.iso")) == fs::read(&iso).expect("the image"));
    let listing = String::from_utf8(fetch(&net, &format!("curl -sf {url}/images/pxeboot/"))).expect("text");
    assert!(listing.contains(">initrd.img</a>"), "{listing}");
    let out = folder.0.join("initrd").display().to_string();
    fetch(&net, &format!("tftp -m binary {SERVER} -c get images/centos-7/images/pxeboot/initrd.img {out}"));
    assert!(fs::read(&out).expect("the file") == initrd);
    if fs::exists("/usr/lib/ipxe/undionly.kpxe").expect("an answer") {
        let loader = fetch(&net, &format!("curl -sf http://{SERVER}/undionly.kpxe"));
        assert!(loader == fs::read("/usr/lib/ipxe/undionly.kpxe").expect("the loader"));
    }
}

#[test]
fn loaders_come_out_of_what_firmware_starts_an_image_from() {
    let folder = Folder::new("torito");
    for program in ["mkfs.fat", "mcopy"] {
        if !has(program) {
            return skip(&format!("{program} is not installed"));
        }
    }
    if image(&folder).is_none() {
        return;
    }
    let Some(net) = Net::new() else { return };
    fs::create_dir_all(folder.0.join("esp/EFI/BOOT")).expect("a folder");
    let shim = folder.file("esp/EFI/BOOT/BOOTX64.EFI", 900_000);
    let mut grub = folder.file("esp/EFI/BOOT/grubx64.efi", 1_500_000);
    // A GRUB that knows this word has TFTP.
    grub[1_000..1_005].copy_from_slice(b"tsize");
    folder.put("esp/EFI/BOOT/grubx64.efi", &grub);
    let made = Command::new("sh")
        .current_dir(&folder.0)
        .args([
            "-ec",
            "mkfs.fat -C esp.img 4096; mcopy -i esp.img -s esp/EFI ::; rm centos-7.iso;
            xorriso -as mkisofs -quiet -R -o centos-7.iso -append_partition 2 0xef esp.img \
                -e --interval:appended_partition_2:all:: -no-emul-boot tree",
        ])
        .output()
        .expect("a shell");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));

    let iso = folder.0.join("centos-7.iso").display().to_string();
    let empty = Folder::new("torito-root");
    let _server = Server::start(&net, &empty, &["--proxy", "--iso", &iso]);
    let out = folder.0.join("out").display().to_string();
    let url = format!("http://{SERVER}");
    for (name, bytes) in [("bootx64.efi", &shim), ("grubx64.efi", &grub)] {
        fetch(&net, &format!("tftp -m binary {SERVER} -c get {name} {out}"));
        assert!(fs::read(&out).expect("the file") == *bytes, "{name}");
        assert!(fetch(&net, &format!("curl -sf {url}/{name}")) == *bytes, "{name}");
        let path = format!("images/centos-7/%5BBOOT%5D/EFI/BOOT/{name}");
        assert!(fetch(&net, &format!("curl -sf {url}/{path}")) == *bytes, "{path}");
    }
    let page = fetch(&net, &format!("curl -sf {url}/images/centos-7/"));
    let page = String::from_utf8(page).expect("text");
    let link = page.split("href=\"").filter_map(|rest| rest.split('"').next()).find(|to| to.contains("BOOT"));
    fetch(&net, &format!("curl -sf '{url}/images/centos-7/{}'", link.expect("it is listed")));

    let said = |command: &str| {
        let line = format!("--interface lo --proxy --boot x64-uefi=bootx64.efi --iso {iso}");
        let bin = env!("CARGO_BIN_EXE_reveille");
        let output = net.client_shell(&format!("{bin} {command} {line}"));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let told = said("check");
    assert!(
        told.contains("bootx64.efi is EFI/BOOT/bootx64.efi in the El Torito image of centos-7"),
        "{told}"
    );
    let told = said("explain --mac 52:54:00:aa:00:01 --arch x64-uefi");
    let offset = fs::read(&iso).expect("the image").windows(999).position(|window| *window == shim[..999]);
    let offset = offset.expect("it lies there in one piece");
    let place = format!("bootx64.efi: 900000 bytes at {offset} in {iso}, in its El Torito image");
    assert!(told.contains(&place), "{place}: {told}");
}

/// ISO images that Debian packages bring
const PACKAGED: [&str; 4] = [
    "/usr/lib/ipxe/ipxe.iso",
    "/usr/lib/memtest86+/memtest86+x64.iso",
    "/usr/lib/memtest86+/memtest86+ia32.iso",
    "/usr/lib/grub-rescue/grub-rescue-cdrom.iso",
];

/// Every file below a folder, as paths from it
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).expect("a readable folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(folder).expect("below it").display().to_string());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn images_of_debian_packages_are_served_as_xorriso_reads_them() {
    for program in ["xorriso", "curl", "atftp"] {
        if !has(program) {
            return skip(&format!("{program} is not installed"));
        }
    }
    if let Some(lacking) = PACKAGED.iter().find(|iso| !Path::new(iso).is_file()) {
        return skip(&format!("there is no {lacking}"));
    }
    let Some(net) = Net::new() else { return };
    let empty = Folder::new("packaged-root");
    let arguments: Vec<_> = PACKAGED.iter().flat_map(|iso| ["--iso", iso]).collect();
    let _server = Server::start(&net, &empty, &[&["--proxy"], &arguments[..]].concat());
    for iso in PACKAGED {
        let name = Path::new(iso).file_stem().expect("a name").to_string_lossy().replace('+', "-");
        let folder = Folder::new(&format!("packaged-{name}"));
        let [expected, by_http, by_tftp] = ["expected", "http", "tftp"].map(|one| folder.0.join(one));
        let made = run(Command::new("xorriso")
            .args(["-osirrox", "on", "-indev", iso, "-extract", "/"])
            .arg(&expected));
        assert!(made.status.success(), "{iso}: {}", String::from_utf8_lossy(&made.stderr));
        let files = files(&expected);
        assert!(files.len() > 1, "{iso}: {files:?}");

        // One client a protocol for all of them, as an installer's would be.
        let (mut urls, mut requests) = (String::new(), String::new());
        for file in &files {
            let (http, tftp) = (by_http.join(file), by_tftp.join(file));
            fs::create_dir_all(tftp.parent().expect("a folder")).expect("a folder");
            let _ = writeln!(urls, "url = http://{SERVER}/images/{name}/{file}\noutput = {}", http.display());
            let _ = writeln!(requests, "get images/{name}/{file} {}", tftp.display());
        }
        folder.put("urls", urls.as_bytes());
        folder.put("requests", format!("mode octet\n{requests}quit\n").as_bytes());
        let path = folder.0.display();
        fetch(&net, &format!("curl -sf --create-dirs -K {path}/urls"));
        fetch(&net, &format!("atftp {SERVER} <{path}/requests"));
        for file in &files {
            let bytes = fs::read(expected.join(file)).expect("xorriso's file");
            for served in [&by_http, &by_tftp] {
                let served = served.join(file);
                let same = fs::read(&served).is_ok_and(|served| served == bytes);
                assert!(same, "{iso}: {} differs from {file}", served.display());
            }
            let (folder, leaf) =
                file.rsplit_once('/').map_or(("", file.as_str()), |(folder, leaf)| (folder, leaf));
            let page = fetch(&net, &format!("curl -sf http://{SERVER}/images/{name}/{folder}/"));
            assert!(
                String::from_utf8_lossy(&page).contains(&format!(">{leaf}</a>")),
                "{iso}: {file} is not listed"
            );
        }
    }
}

#[test]
fn images_come_and_go_by_a_signal_and_transfers_go_on() {
    let folder = Folder::new("reload");
    let Some((kernel, _)) = image(&folder) else { return };
    let Some(net) = Net::new() else { return };
    let path = folder.0.display();
    let config = |images: &str| {
        let images: String = images
            .split_whitespace()
            .map(|name| format!("[image.{name}]\niso = \"{path}/{name}.iso\"\n"))
            .collect();
        let network = "[[network]]\ninterface = \"s0\"\ndhcp = \"proxy\"\n";
        folder.put("reveille.toml", format!("state-dir = \"{path}/state\"\n{network}{images}").as_bytes());
    };
    let copy = |name: &str| {
        fs::copy(folder.0.join("centos-7.iso"), folder.0.join(name)).expect("a copy");
    };
    copy("first.iso");
    config("first");
    let mut server = Server::start_with_config(&net, &folder.0.join("reveille.toml"));
    let url = |name: &str| format!("http://{SERVER}/images/{name}/images/pxeboot/vmlinuz");
    let download = format!("curl -sf --limit-rate 2M -o {path}/slow {}", url("first"));
    let mut slow = net.client_command("sh").arg("-c").arg(&download).spawn().expect("curl starts");

    copy("second.iso");
    config("second");
    // The first part must have come before its image goes.
    while !fs::metadata(folder.0.join("slow")).is_ok_and(|file| file.len() > 0) {
        assert!(slow.try_wait().expect("a status").is_none(), "it ended before anything came");
        thread::sleep(Duration::from_millis(10));
    }
    server.signal("HUP");
    server.wait_for("/images/second/", Duration::from_secs(20));
    let status = format!("curl -s -o {path}/got -w %{{http_code}} ");
    // The signal is answered before each shard has heard of it.
    let settles = |name: &str, expected: &[u8]| {
        (0..500).any(|_| {
            let got = fetch(&net, &format!("{status}{}", url(name)));
            thread::sleep(Duration::from_millis(10));
            got == expected
        })
    };
    assert!(settles("second", b"200") && fs::read(folder.0.join("got")).expect("the file") == kernel);
    assert!(settles("first", b"404"));
    assert!(slow.wait().expect("curl ends").success());
    assert!(
        fs::read(folder.0.join("slow")).expect("the file") == kernel,
        "it went on with the image that is gone"
    );
}

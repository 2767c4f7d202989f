//! Templates, `boot-once` and `local`: what is read, and exactly what is said of what is wrong.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use minijinja::Value;

use super::Source;
use super::testing::{interfaces, load};
use crate::args::{Process, Setup};
use crate::boot::plan::{Local, Once, Plan};
use crate::boot::template::Serves;

/// The root, and below it the configuration and the templates
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("reveille-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("image")).unwrap();
        fs::write(path.join("image/linux"), "").unwrap();
        Self(path)
    }

    fn put(&self, name: &str, text: &[u8]) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Loads a configuration in which `@` is this folder
    fn load(&self, rest: &str) -> Result<Plan, String> {
        let head = "root = \"@\"\n[[network]]\ninterface = \"eth0\"\ndhcp = \"proxy\"\n[image.i]\ndir = \"@/image\"\nkernel = \"linux\"\n";
        let at = self.0.display().to_string();
        self.put("r.toml", format!("{head}{rest}\n").replace('@', &at).as_bytes());
        let setup = Setup { config: Some(self.0.join("r.toml")), ..Setup::default() };
        let loaded = Source::new(setup, Process::default()).load_for(&interfaces());
        loaded.map(|(plan, _)| plan).map_err(|errors| errors.to_string().replace(&at, "@"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn templates_are_read_with_all_that_they_include() {
    let scratch = Scratch::new("templates");
    scratch.put("t/node.ks", b"{% include 'parts/net' %}{{ mac }}");
    scratch.put("t/parts/net", b"{% include 'parts/dns' ignore missing %}{% include './plain' %}");
    scratch.put("t/plain", b"p");
    for name in ["user-data", "meta-data", "_part", ".hidden", "old~", "parts/x"] {
        scratch.put(&format!("seed/{name}"), b"{# #}");
    }
    let plan =
        scratch.load("[template.ks]\nfile = \"@/t/node.ks\"\n[template.seed]\ndir = \"@/seed\"").unwrap();
    let sets: Vec<_> = plan.templates().sets().iter().map(|set| (&*set.name, &set.serves)).collect();
    let files = Serves::Files(vec!["meta-data".to_owned(), "user-data".to_owned()]);
    assert_eq!(sets, [("ks", &Serves::File("node.ks".to_owned())), ("seed", &files)]);
}

#[test]
fn templates_that_are_wrong() {
    let scratch = Scratch::new("templates-wrong");
    scratch.put("bad", b"a\n{{ mac");
    scratch.put("up", b"{% include '../secret' %}");
    scratch.put("root", b"{% include '/etc/passwd' %}");
    scratch.put("none", b"{% include 'nonesuch' %}");
    scratch.put("bytes", b"\xff\xfe");
    scratch.put("long", &vec![b'x'; 300_000]);
    scratch.put("needs", b"{{ disk }}");
    scratch.put("empty/.x", b"");
    scratch.put("links/_", b"");
    symlink("/etc/passwd", scratch.0.join("links/user-data")).unwrap();
    let file = |name: &str| format!("[template.ks]\nfile = \"@/{name}\"");
    let machine = "[[machine]]\nmac = \"88:99:aa:bb:cc:dd\"\nimage = \"i\"\nargs = \"ks=http://{server}/ks/{mac}.cfg\"\n";
    for (rest, said) in [
        (
            file("bad"),
            "@/r.toml:9:8: @/bad:2: syntax error: unexpected end of input, expected end of variable block\n",
        ),
        (file("up"), "@/r.toml:9:8: @/up: `../secret` is no path in the template's folder\n"),
        (file("root"), "@/r.toml:9:8: @/root: `/etc/passwd` is no path in the template's folder\n"),
        (file("none"), "@/r.toml:9:8: cannot read @/nonesuch: No such file or directory (os error 2)\n"),
        (file("bytes"), "@/r.toml:9:8: @/bytes is not UTF-8 text\n"),
        (file("long"), "@/r.toml:9:8: @/long has 300000 bytes; a template has 262144 at most\n"),
        (file("empty"), "@/r.toml:9:8: @/empty is no file\n"),
        (
            "[template.s]\ndir = \"@/empty\"".to_owned(),
            "@/r.toml:9:7: @/empty holds no file: put user-data and meta-data there\n",
        ),
        (
            "[template.s]\ndir = \"@/links\"".to_owned(),
            "@/r.toml:9:7: @/links/user-data is a link out of the template's folder\n",
        ),
        (
            "[template.s]\ndir = \"@/a\"\nfile = \"@/b\"".to_owned(),
            "@/r.toml:9:7: a template is a file or a dir of files: leave one of them out\n",
        ),
        (
            "[template.s]".to_owned(),
            "@/r.toml:8:11: a template needs file = \"/data/ks.cfg\", or dir with the folder that holds its files\n",
        ),
        (
            "[template.images]\ndir = \"@/links\"".to_owned(),
            "@/r.toml:8:11: paths below /images are this server's own: choose another name\n",
        ),
        (
            format!("{machine}{}", file("needs")),
            "@/r.toml:8:1: @/needs:1: `disk` is undefined, for this machine, whose arguments ask for template ks: give it one in \
             [machine.vars], or write `default(…)` there\n",
        ),
    ] {
        let errors = scratch.load(&rest).unwrap_err();
        assert!(errors.starts_with(said), "{errors}");
    }
    let plan = scratch.load(&format!("{machine}[machine.vars]\ndisk = \"sda\"\n{}", file("needs"))).unwrap();
    assert_eq!(plan.machines()[0].vars["disk"], Value::from("sda"));
    scratch.load(&format!("[vars]\ndisk = \"sda\"\n{machine}{}", file("needs"))).unwrap();
    // Whom a template is for that no argument names is not known.
    scratch.load(&file("needs")).unwrap();
}

fn config(rest: &str) -> String {
    format!(
        "root = \"/data\"\n[[network]]\ninterface = \"eth0\"\ndhcp = \"proxy\"\n[image.i]\ndir = \"/i\"\n{rest}\n"
    )
}

#[test]
fn values_are_what_toml_says() {
    let text = "[vars]\na = 0x10\nb = [1, \"x\"]\nc = { d = true }\ne = 1.5\nf = 2026-11-24\n[[boot]]\nmatch = { mac = \"88:99\" }\nvars = { rack = 7 }";
    let (plan, _) = load(&config(text)).unwrap();
    assert_eq!(plan.rules()[0].vars["rack"], Value::from(7));
    let mut seen = String::new();
    for (name, value) in super::text::read(&config(text), &mut super::Errors::default()).vars {
        seen += &format!("{name}={value};");
    }
    assert_eq!(seen, "a=16;b=[1, 'x'];c={'d': True};e=1.5;f=2026-11-24;");
}

#[test]
fn a_term_and_a_file_end_booting_from_the_network() {
    let machine = "[[machine]]\nmac = \"88:99:aa:bb:cc:dd\"\nimage = \"i\"\n";
    let once = |term: &str, file: Option<&str>| {
        Local::After(Once { term: term.into(), file: file.map(str::to_owned) })
    };
    for (keys, local) in [
        ("", Local::Never),
        ("local = false", Local::Never),
        ("boot-once = false", Local::Never),
        ("boot-once = true", once("true", None)),
        ("boot-once = \"2026-11-24\"", once("2026-11-24", None)),
        ("boot-once = true\ndone-after = \"initrd\"", once("true", Some("images/i/initrd.img"))),
        ("boot-once = true\ndone-after = \"/a/b\"", once("true", Some("a/b"))),
    ] {
        let (plan, _) = load(&config(&format!("{machine}{keys}"))).unwrap();
        assert_eq!(plan.machines()[0].local, local, "{keys}");
        let (plan, _) = load(&config(&format!("[[boot]]\nimage = \"i\"\n{keys}"))).unwrap();
        assert_eq!(plan.rules()[0].local, local, "{keys}");
    }
    let (plan, _) = load(&config("[[boot]]\nlocal = true")).unwrap();
    assert_eq!(plan.rules()[0].local, Local::Always);
}

#[test]
fn keys_that_are_wrong() {
    let machine = "[[machine]]\nmac = \"88:99:aa:bb:cc:dd\"\n";
    for (rest, said) in [
        (
            format!("{machine}boot-once = \"a b\""),
            "r.toml:9:13: `a b` is no term: write true, or a text like \"2026-11-24\" of letters, digits, `-`, `_`, `.`, `:` and `+`, 64 at most",
        ),
        (
            format!("{machine}boot-once = 1"),
            "r.toml:9:13: `boot-once` takes true, or a string in quotes, not a number",
        ),
        (
            format!("{machine}done-after = \"initrd\""),
            "r.toml:9:14: `done-after` says when `boot-once` is over: write boot-once = true too",
        ),
        (
            format!("{machine}boot-once = true\ndone-after = \"initrd\""),
            "r.toml:10:14: no `image` is named here whose initrd could be meant: write the file's path",
        ),
        (
            format!("{machine}boot-once = true\ndone-after = \"http://h/a\""),
            "r.toml:10:14: `http://h/a` is no file that this server has: write \"initrd\", or a path like",
        ),
        (
            format!("{machine}boot-once = true\nlocal = true"),
            "r.toml:10:9: `local` boots the disk at once, `boot-once` after something else: leave one of them out",
        ),
        (
            format!("{machine}image = \"i\"\nlocal = true"),
            "r.toml:10:9: `local` boots the disk: leave out the `file` and the `image`",
        ),
        (
            "[[boot]]\nfile = \"a\"\nlocal = true".to_owned(),
            "r.toml:9:9: `local` boots the disk: leave out the `file` and the `image`",
        ),
        (
            "[[boot]]\nboot-once = true\ndhcp = \"off\"".to_owned(),
            "r.toml:8:13: `boot-once` ends what the rule boots: give it the `image` or the `file` that is booted until then",
        ),
        (
            "[[machine]]\nserial = \"7\"\nimage = \"i\"\nboot-once = true".to_owned(),
            "r.toml:10:13: `boot-once` is remembered by MAC address or UUID: write the machine's mac or uuid too",
        ),
        (
            "[[boot]]\nmatch = { arch = \"x64-uefi\" }\nvars = { a = 1 }".to_owned(),
            "r.toml:7:1: `vars` are for who asks by HTTP, which tells no more than mac, uuid and subnet: match by these",
        ),
        (
            format!("{machine}vars = {{ ip = 1 }}"),
            "r.toml:9:10: `ip` is known of each machine by itself: give it another name",
        ),
        (
            format!("{machine}vars = {{ \"a-b\" = 1 }}"),
            "r.toml:9:10: `a-b` is no name of a value: a template takes letters, digits and `_`",
        ),
        (format!("{machine}boot-onc = true"), "r.toml:9:1: unknown key `boot-onc`: write `boot-once`"),
    ] {
        let errors = load(&config(&rest)).unwrap_err().to_string();
        assert!(errors.starts_with(said), "{errors}");
    }
}

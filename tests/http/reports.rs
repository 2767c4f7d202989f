//! Reports: what is asked for by GET or POST, and answered when it is on disk.

use std::sync::Arc;

use reveille::boot::image::{Form, Image, ImageId, Images, Miss};
use reveille::boot::register::{MachineId, Record, Register, Ticket};
use reveille::content::Memory;
use reveille::proto::http::{Http, Output};
use reveille::proto::outbox::Outbox;
use reveille::stats::Stats;
use reveille::wire::ethernet::MacAddr;

use crate::client::{PEER, START, Server, Source};

/// Files, and `/done`, which is written down
struct Site {
    files: Memory,
    register: Arc<Register>,
    open: usize,
}

impl Site {
    fn new() -> Self {
        let mut files = Memory::new();
        files.insert("thanks", "thank you\n", 0);
        let register = Arc::new(Register::default());
        register.done.has_writer();
        Self { files, register, open: 0 }
    }
}

impl Images for Site {
    fn open(&mut self, path: &[u8], form: Form) -> Result<Image, Miss> {
        self.open += 1;
        self.files.open(path, form).inspect_err(|_| self.open -= 1)
    }

    fn report(
        &mut self,
        _: std::net::Ipv4Addr,
        path: &[u8],
    ) -> Option<Result<(Image, Option<Ticket>), Miss>> {
        match path {
            b"/done" => {}
            b"/done/far" => return Some(Err(Miss::Forbidden)),
            _ => return None,
        }
        let id = MachineId::Mac(MacAddr([2, 0, 0, 0, 0, 1]));
        let record = Record { id, term: "true".to_owned(), at_s: 7 };
        let ticket = (!self.register.done.is_done(id, "true"))
            .then(|| self.register.done.report(record).expect("there is room"));
        Some(self.open(b"thanks", Form::Octet).map(|image| (image, ticket)))
    }

    fn listing(&mut self, path: &[u8]) -> Result<Image, Miss> {
        self.files.listing(path)
    }

    fn close(&mut self, id: ImageId) {
        self.open -= 1;
        self.files.close(id);
    }
}

impl Source for Site {
    fn fetch(&mut self, id: ImageId, offset: u64, len: usize) -> Option<Vec<u8>> {
        self.files.fetch(id, offset, len)
    }
}

/// All connections of a shard, with one client
struct Bench {
    http: Http,
    site: Site,
    stats: Stats,
    outbox: Outbox,
}

impl Bench {
    fn new() -> Self {
        Self { http: Http::new(START), site: Site::new(), stats: Stats::new(), outbox: Outbox::new() }
    }

    /// What the store's thread does
    fn write_down(&mut self, is_written: bool) {
        let records = self.site.register.done.take().expect("a report");
        self.site.register.done.settle(records, is_written);
        self.hear();
    }

    fn hear(&mut self) {
        let register = Arc::clone(&self.site.register);
        let standing = |ticket| register.done.standing(ticket);
        self.http.on_recorded(START, standing, &mut self.site, &mut self.stats);
    }
}

#[test]
fn a_report_is_answered_when_it_is_on_disk() {
    for is_written in [true, false] {
        let mut bench = Bench::new();
        let id = bench.http.on_accept(START, PEER, &mut bench.stats).unwrap();
        let request = b"POST /done HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n";
        bench.http.on_bytes(START, id, request, &mut bench.site, &mut bench.stats);
        assert_eq!((bench.http.poll_output(id), bench.http.poll_body(id)), (Output::Hold, None));
        bench.hear();
        assert_eq!(bench.http.poll_output(id), Output::Hold);
        assert_eq!(bench.http.poll_changed(), None);
        bench.write_down(is_written);
        assert_eq!(bench.http.poll_changed(), Some(id));
        let Output::Bytes { bytes, .. } = bench.http.poll_output(id) else { panic!("it is answered") };
        let status = if is_written { "HTTP/1.1 200 OK\r\n" } else { "HTTP/1.1 503 Service Unavailable\r\n" };
        assert!(bytes.starts_with(status.as_bytes()), "{}", bytes.escape_ascii());
        assert!(!bench.http.awaits_records());
        bench.http.on_hangup(START, id, &mut bench.site, &mut bench.outbox);
        assert_eq!(bench.site.open, 0);
    }
}

#[test]
fn who_leaves_before_it_is_on_disk_has_reported_all_the_same() {
    let mut bench = Bench::new();
    let id = bench.http.on_accept(START, PEER, &mut bench.stats).unwrap();
    bench.http.on_bytes(START, id, b"GET /done HTTP/1.0\r\n\r\n", &mut bench.site, &mut bench.stats);
    bench.http.on_hangup(START, id, &mut bench.site, &mut bench.outbox);
    bench.write_down(true);
    assert_eq!((bench.http.poll_changed(), bench.site.open), (None, 0));
    assert!(bench.site.register.done.is_done(MachineId::Mac(MacAddr([2, 0, 0, 0, 0, 1])), "true"));
}

#[test]
fn reports_by_any_method_that_an_installer_has() {
    let mut server = Server::with(Site::new());
    let record = Record { id: MachineId::Mac(MacAddr([2, 0, 0, 0, 0, 1])), term: "true".into(), at_s: 7 };
    server.images.register.done.restore([record]);
    let thanks = server.ask("POST /done HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na=b");
    assert_eq!((thanks.status, thanks.text(), thanks.closes()), (200, "thank you\n", false));
    assert_eq!(server.ask("GET /done HTTP/1.1\r\nHost: h\r\n\r\n").text(), "thank you\n");
    assert_eq!(server.ask("GET /done/far HTTP/1.1\r\nHost: h\r\n\r\n").status, 403);
    // HEAD is for those who only look.
    assert_eq!(server.ask("HEAD /done HTTP/1.1\r\nHost: h\r\n\r\n").status, 404);
    assert_eq!(server.ask("POST /thanks HTTP/1.1\r\nHost: h\r\n\r\n").status, 405);
}

//! What a request gets: the one place that decides it.

use std::net::Ipv4Addr;

use super::condition::{Verdict, evaluate};
use super::response::Response;
use super::target::TargetPath;
use crate::boot::image::{Form, Image, Images, Miss};
use crate::limits::HTTP_BODY_MAX;
use crate::wire::http::{Method, RangeError, RequestHead, parse_ranges};

/// A directory's own page
const INDEX: &[u8] = b"index.html";

/// Decides about a request of the client at `peer`. An image in the response is open, and the response's to close.
pub(super) fn answer<I: Images>(head: &RequestHead<'_>, peer: Ipv4Addr, images: &mut I) -> Response {
    let mut response = match refused(head) {
        Some(status) => Response::refusal(status),
        None => match TargetPath::parse(head.path_and_query()) {
            Ok(path) => found(head, peer, path, images),
            Err(error) => Response::refusal(error.status()),
        },
    };
    response.head_only = head.method == Method::Head;
    // RFC 9112 §9.3 lets an HTTP/1.0 client ask for keep-alive; lpxelinux and U-Boot wait for the end of the connection.
    let is_last = head.version_minor == 0 || head.connection_close;
    // What a refusal answers may not be all that the client sends.
    response.is_last = is_last && !response.closes;
    response.closes |= is_last;
    response
}

/// The status of what is not served at all
fn refused(head: &RequestHead<'_>) -> Option<u16> {
    if head.method == Method::Other {
        return Some(405);
    }
    // A body means nothing to GET (RFC 9110 §9.3.1): a short one is passed over, another ends the connection.
    if head.has_transfer_encoding {
        return Some(411);
    }
    (head.content_length.unwrap_or(0) > HTTP_BODY_MAX).then_some(413)
}

fn found<I: Images>(head: &RequestHead<'_>, peer: Ipv4Addr, path: TargetPath, images: &mut I) -> Response {
    // HEAD changes nothing (RFC 9110 §9.2.1). GET does so here, since installers have wget and little else.
    let reported = Some(head.method != Method::Head).filter(|does| *does);
    match reported.and_then(|_| images.report(peer, path.as_bytes())) {
        Some(Ok((image, ticket))) => return Response::receipt(image, ticket),
        Some(Err(miss)) => return Response::status(status_of(miss)),
        None if head.method == Method::Post => return Response::refusal(405),
        None => {}
    }
    let image = match images.open_for(peer, path.as_bytes(), Form::Octet) {
        Err(Miss::Directory) => directory(path, images),
        result => result,
    };
    let image = match image {
        Ok(image) => image,
        Err(miss) => return Response::status(status_of(miss)),
    };
    match evaluate(head, &image) {
        Verdict::NotModified => Response::not_modified(image),
        Verdict::Failed => {
            images.close(image.id);
            Response::status(412)
        }
        Verdict::Serve { range } => served(head, image, range, images),
    }
}

/// The page of a directory: its own, or a listing. Its own only where the path ends with a slash: relative links in it
/// would lead elsewhere without one, and firmware follows no redirect to where they would not. A listing knows how it
/// was asked for.
fn directory<I: Images>(mut path: TargetPath, images: &mut I) -> Result<Image, Miss> {
    let len = path.as_bytes().len();
    if path.as_bytes().ends_with(b"/") && path.push_name(INDEX).is_ok() {
        match images.open(path.as_bytes(), Form::Octet) {
            Err(Miss::NotFound | Miss::Directory) => {}
            result => return result,
        }
    }
    images.listing(&path.as_bytes()[..len])
}

fn served<I: Images>(head: &RequestHead<'_>, image: Image, range: bool, images: &mut I) -> Response {
    // RFC 9110 §14.2: ranges are for GET alone.
    let asked = head.range.filter(|_| range && head.method == Method::Get);
    match asked.map(|ranges| parse_ranges(ranges, image.size)) {
        Some(Ok(ranges)) => Response::ranges(image, ranges),
        Some(Err(RangeError::Unsatisfiable)) => {
            images.close(image.id);
            Response::unsatisfied(image.size)
        }
        // A server may ignore what it does not understand, and what asks for more than the file (RFC 9110 §14.2).
        None | Some(Err(RangeError::Malformed | RangeError::Excessive)) => {
            Response::whole(image, head.method == Method::Head)
        }
    }
}

fn status_of(miss: Miss) -> u16 {
    match miss {
        Miss::NotFound | Miss::Directory => 404,
        Miss::Forbidden => 403,
        Miss::Busy => 503,
        Miss::Unreadable => 500,
        // RFC 9110 §15.6.2: what it takes to serve it is not there.
        Miss::Compressed => 501,
    }
}

//! What is made for one client: texts from templates, and answers to its reports.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::super::table::Source;
use super::{Tree, hash};
use crate::boot::image::{Image, ImageId, Miss};
use crate::boot::plan::{Name, NotReported, Reported};
use crate::boot::register::Ticket;
use crate::boot::template;
use crate::limits::SENTENCES_MAX;
use crate::time::Instant;

impl Tree {
    /// Takes what the operator is to be told: why a template gave no text, who is done
    pub fn poll_sentence(&mut self) -> Option<String> {
        self.sentences.pop_front()
    }

    fn say(&mut self, sentence: String) {
        // Whoever asks again and again says the same again and again.
        if self.sentences.len() < SENTENCES_MAX {
            self.sentences.push_back(sentence);
        }
    }

    /// The text of a template, where the path in hand is one's
    pub(super) fn made_from_template(&mut self) -> Option<Result<String, Miss>> {
        let catalogue = self.catalogue.as_ref()?;
        let plan = catalogue.plan();
        let path = std::str::from_utf8(self.plain()).ok()?;
        let asked = plan.templates().find(path)?;
        let who = plan.who(asked.name(plan, self.peer)?, self.peer)?;
        let made = plan.templates().render(&asked, plan, &who, &|image| catalogue.image_args(image));
        let path = path.escape_debug().to_string();
        Some(made.map_err(|error| {
            let whom = self.peer.map_or_else(String::new, |peer| format!(" for {peer}"));
            let sentence = format!("/{path}{whom} was not made: {error}");
            self.say(sentence);
            Miss::Unreadable
        }))
    }

    /// What answers the report that the client at `peer` makes by asking for `path`: see [`crate::boot::image::Images::report`]
    pub(super) fn reported(
        &mut self,
        peer: Ipv4Addr,
        path: &[u8],
    ) -> Option<Result<(Image, Option<Ticket>), Miss>> {
        self.set_key(b'r', path).ok()?;
        let plan = Arc::clone(self.catalogue.as_ref()?.plan());
        let path = std::str::from_utf8(self.plain()).ok()?;
        // Without a boot-once the name is the root's, as any other.
        let whom = done_by(path).filter(|_| plan.boots_once())?.to_owned();
        let name = match &*whom {
            "" => Some(Name::Address(peer)),
            whom => template::name_of(&plan, whom),
        };
        let now = self.now.unwrap_or(Instant::ZERO);
        let told = name.ok_or(NotReported::NotOnce).and_then(|name| plan.report(name, peer, now));
        let whom = if whom.is_empty() { peer.to_string() } else { whom.escape_debug().to_string() };
        let (text, ticket) = match told {
            Ok(Reported::Now(ticket)) => {
                self.say(format!("{whom} is done, says {peer}: it boots from its own disk from now on"));
                (format!("{whom} is done: it boots from its own disk from now on\n"), Some(ticket))
            }
            Ok(Reported::Before) => (format!("{whom} was done before\n"), None),
            Err(why) => {
                let (why, miss) = match why {
                    NotReported::Elsewhere => ("it is not in that machine's network", Miss::Forbidden),
                    NotReported::NotOnce => ("no boot-once is for it", Miss::NotFound),
                    NotReported::Busy => ("there is no room for more", Miss::Busy),
                };
                self.say(format!("{peer} says that {whom} is done, and is not believed: {why}"));
                return Some(Err(miss));
            }
        };
        let image = Image {
            id: ImageId(0),
            size: text.len() as u64,
            modified_s: now.as_secs(),
            version: hash(&text),
            media_type: "text/plain",
        };
        let opened = self.table.insert(None, image, Source::Generated(text.into_bytes().into()));
        Some(opened.map(|image| (image, ticket)))
    }
}

/// Who is said to be done by a path; empty: whoever asks
fn done_by(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("done")?;
    let whom = if rest.is_empty() { rest } else { rest.strip_prefix('/')? };
    (!whom.contains('/')).then_some(whom)
}

//! What is made for one client: texts from templates, and answers to its reports.

use std::ffi::CStr;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use super::Places;
use crate::boot::image::Miss;
use crate::boot::plan::{Name, NotReported, Plan, Reported};
use crate::boot::register::Ticket;
use crate::boot::template;
use crate::limits::SENTENCES_MAX;
use crate::time::Instant;

impl Places {
    /// Takes what the operator is to be told: why a template gave no text, who is done
    pub(in super::super) fn poll_sentence(&mut self) -> Option<String> {
        self.sentences.pop_front()
    }

    fn say(&mut self, sentence: String) {
        // Whoever asks again and again says the same again and again.
        if self.sentences.len() < SENTENCES_MAX {
            self.sentences.push_back(sentence);
        }
    }

    fn plan(&self) -> Option<&Arc<Plan>> {
        Some(self.catalogue.as_ref()?.plan())
    }

    /// The file of the template whose text lies at that path
    pub(in super::super) fn template(&self, path: &CStr) -> Option<PathBuf> {
        let templates = self.plan()?.templates();
        Some(templates.file(&templates.find(path.to_str().ok()?)?))
    }

    /// The text of a template, where the path is one's
    pub(super) fn made_from_template(
        &mut self,
        path: &CStr,
        peer: Option<Ipv4Addr>,
    ) -> Option<Result<String, Miss>> {
        let catalogue = self.catalogue.as_ref()?;
        let plan = catalogue.plan();
        let path = path.to_str().ok()?;
        let asked = plan.templates().find(path)?;
        let who = plan.who(asked.name(plan, peer)?, peer)?;
        let made = plan.templates().render(&asked, plan, &who, &|image| catalogue.image_args(image));
        Some(made.map_err(|error| {
            let whom = peer.map_or_else(String::new, |peer| format!(" for {peer}"));
            self.say(format!("/{}{whom} was not made: {error}", path.escape_debug()));
            Miss::Unreadable
        }))
    }

    /// What answers the report that the client at `peer` makes by asking for `path`: see [`crate::boot::image::Images::report`]
    pub(in super::super) fn report(
        &mut self,
        peer: Ipv4Addr,
        path: &CStr,
        now: Instant,
    ) -> Option<Result<(String, Option<Ticket>), Miss>> {
        let plan = Arc::clone(self.plan()?);
        // Without a boot-once the name is the root's, as any other.
        let whom = done_by(path.to_str().ok()?).filter(|_| plan.boots_once())?;
        let name = match whom {
            "" => Some(Name::Address(peer)),
            whom => template::name_of(&plan, whom),
        };
        let told = name.ok_or(NotReported::NotOnce).and_then(|name| plan.report(name, peer, now));
        let whom = if whom.is_empty() { peer.to_string() } else { whom.escape_debug().to_string() };
        Some(match told {
            Ok(Reported::Now(ticket)) => {
                self.say(format!("{whom} is done, says {peer}: it boots from its own disk from now on"));
                Ok((format!("{whom} is done: it boots from its own disk from now on\n"), Some(ticket)))
            }
            Ok(Reported::Before) => Ok((format!("{whom} was done before\n"), None)),
            Err(why) => {
                let (why, miss) = match why {
                    NotReported::Elsewhere => ("it is not in that machine's network", Miss::Forbidden),
                    NotReported::NotOnce => ("no boot-once is for it", Miss::NotFound),
                    NotReported::Busy => ("there is no room for more", Miss::Busy),
                };
                self.say(format!("{peer} says that {whom} is done, and is not believed: {why}"));
                Err(miss)
            }
        })
    }
}

/// Who is said to be done by a path; empty: whoever asks
fn done_by(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("done")?;
    let whom = if rest.is_empty() { rest } else { rest.strip_prefix('/')? };
    (!whom.contains('/')).then_some(whom)
}

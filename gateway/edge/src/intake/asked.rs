//! Something that is asked for about an alarm, by a message to `alarms/{gateway}/{series}/{kind}/{verb}`.

use super::{Intake, State};
use broker::{Client, Publish, Verdict};
use journal::Append;
use replica::alarm::{Body, Target};
use replica::record::{Record, Refusal, SessionEvent as Logged};
use role::alarms::Refused;

/// A request on its way to the lock.
pub(super) struct Asked<'a> {
    target: Target<'a>,
    body: Result<Body, Wrong>,
}

enum Wrong {
    /// It never can be done.
    Never(Refusal, String),
    /// It cannot be taken now.
    NotNow,
}

impl Intake {
    /// Whether a message asks for something, and what is wrong with that.
    pub(super) fn asked<'a>(&self, publish: &Publish<'a>) -> Option<Box<Asked<'a>>> {
        let target = self.desk.target(publish.topic)?;
        let body = match self.desk.admit(&target) {
            Ok(()) => Body::parse(target.verb, publish.payload, settings::unit::duration_ms)
                .map_err(|why| Wrong::Never(Refusal::Payload, why.to_string())),
            Err(Refused::Unknown) => Err(Wrong::Never(Refusal::Series, "there is no such alarm".into())),
            Err(Refused::Busy(_)) => Err(Wrong::NotNow),
        };
        Some(Box::new(Asked { target, body }))
    }

    /// Logs a request; it is done once that is durable.
    pub(super) fn ask(
        &self,
        state: &mut State,
        append: &mut Append<'_>,
        client: &Client,
        publish: &Publish<'_>,
        asked: &Asked<'_>,
    ) -> Verdict {
        let body = match &asked.body {
            Ok(body) => body,
            Err(Wrong::Never(reason, why)) => return self.refuse_message(state, append, client, publish, *reason, why),
            Err(Wrong::NotNow) => return Verdict::Refuse(broker::Refusal::QuotaExceeded),
        };
        let mut ticket = state.push(append, &Record::Asked { request: asked.target.request(rand::random(), body) });
        if publish.qos == 2 && client.session != 0 {
            let event = Logged::Qos2Received { packet_id: publish.packet_id };
            ticket = state.push(append, &Record::Session { number: client.session, event });
        }
        Verdict::After { ticket, route: false }
    }
}

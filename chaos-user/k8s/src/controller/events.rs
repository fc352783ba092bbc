//! Events on objects, also on those whose names are as long as a name may be.

use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::PostParams,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

/// Longest name of an object (RFC 1123 as Kubernetes reads it).
const NAME: usize = 253;
/// What an event's name has behind that of its object: a dot and a time in 16 hexadecimal digits.
const SUFFIX: usize = 17;

/// Writes events. Repeated ones on the same object are counted in one.
#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
    client: Client,
    reporter: Reporter,
}

impl Events {
    /// In the name of this reporter.
    #[must_use]
    pub fn new(client: Client, reporter: Reporter) -> Self {
        Self { recorder: Recorder::new(client.clone(), reporter.clone()), client, reporter }
    }

    /// One event. What fails is in the log: an event is no more than a word.
    pub async fn publish(&self, event: &Event, on: &ObjectReference) {
        let is_long = on.name.as_ref().is_some_and(|name| name.len() + SUFFIX > NAME);
        // The recorder makes the event's name of the object's, which is too long then.
        let result = if is_long { self.create(event, on).await } else { self.recorder.publish(event, on).await };
        if let Err(error) = result {
            tracing::warn!("event: {error}");
        }
    }

    async fn create(&self, event: &Event, on: &ObjectReference) -> Result<(), kube::Error> {
        let now = Timestamp::now();
        let api: Api<v1::Event> = Api::namespaced(self.client.clone(), on.namespace.as_deref().unwrap_or("default"));
        let kind = match event.type_ {
            EventType::Normal => "Normal",
            EventType::Warning => "Warning",
        };
        let event = v1::Event {
            metadata: ObjectMeta {
                name: Some(name(on.name.as_deref().unwrap_or_default(), now.as_nanosecond())),
                namespace: on.namespace.clone(),
                ..ObjectMeta::default()
            },
            action: Some(event.action.clone()),
            reason: Some(event.reason.clone()),
            note: event.note.clone(),
            type_: Some(kind.to_owned()),
            event_time: Some(MicroTime(now)),
            regarding: Some(on.clone()),
            reporting_controller: Some(self.reporter.controller.clone()),
            reporting_instance: self.reporter.instance.clone().or_else(|| Some(self.reporter.controller.clone())),
            ..v1::Event::default()
        };
        api.create(&PostParams::default(), &event).await.map(drop)
    }
}

/// As the recorder makes it, of the begin of the object's name. A part of a name ends in a letter or a digit.
fn name(object: &str, nanoseconds: i128) -> String {
    let mut end = object.len().min(NAME - SUFFIX);
    while !object.is_char_boundary(end) {
        end -= 1;
    }
    let begin = object[..end].trim_end_matches(|letter: char| !letter.is_ascii_alphanumeric());
    format!("{begin}.{nanoseconds:x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_events_fit() {
        let now = Timestamp::now().as_nanosecond();
        for object in
            ["web".to_owned(), "a".repeat(236), "a".repeat(253), format!("{}-.{}", "a".repeat(234), "b".repeat(10))]
        {
            let name = name(&object, now);
            assert!(name.len() <= NAME && !name.contains("-.") && !name.contains(".."), "{name}");
            assert!(name.starts_with(&object[..object.len().min(200)]));
        }
    }
}

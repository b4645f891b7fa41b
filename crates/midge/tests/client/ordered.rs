//! What an ordered consumer leaves behind where the answers to its requests go wrong.

use midge::jetstream::{Ordered, OrderedError};

use crate::api::{Api, Asked};
use crate::rig::Task;

const CREATED: &str = r#"{"stream_name":"S","name":"c","created":"2026-01-01T00:00:00Z","config":{},"delivered":{"consumer_seq":0,"stream_seq":0},"ack_floor":{"consumer_seq":0,"stream_seq":0},"num_ack_pending":0,"num_redelivered":0,"num_waiting":0,"num_pending":0}"#;
const STREAM: &str = r#"{"config":{"name":"S"},"created":"2026-01-01T00:00:00Z","state":{"messages":0,"bytes":0,"first_seq":0,"last_seq":0}}"#;
const REFUSED: &str = r#"{"error":{"code":503,"err_code":10008,"description":"JetStream system temporarily unavailable"}}"#;

/// How a call goes.
#[derive(Clone, Copy, Debug)]
enum Goes {
    Well,
    Refused,
    Unheard,
    Garbled,
}

/// Answers, and gives the names of the consumers that were created and deleted.
struct Answers {
    created: Vec<String>,
    deleted: Vec<String>,
    create: Goes,
    stream: Goes,
}

impl Answers {
    fn new(create: Goes, stream: Goes) -> Self {
        Self { created: Vec::new(), deleted: Vec::new(), create, stream }
    }

    /// False when nothing was asked.
    fn give(&mut self, api: &mut Api) -> bool {
        let all = api.asked();
        for request in &all {
            let call = request.subject.strip_prefix("$JS.API.").expect("a call");
            if let Some(name) = call.strip_prefix("CONSUMER.CREATE.S.") {
                self.created.push(name.to_owned());
                answer(api, request, self.create, CREATED);
            } else if let Some(name) = call.strip_prefix("CONSUMER.DELETE.S.") {
                self.deleted.push(name.to_owned());
            } else if call == "STREAM.INFO.S" {
                answer(api, request, self.stream, STREAM);
            }
        }
        !all.is_empty()
    }
}

fn answer(api: &mut Api, request: &Asked, goes: Goes, well: &str) {
    match goes {
        Goes::Well => api.answer(request, well),
        Goes::Refused => api.answer(request, REFUSED),
        Goes::Unheard => api.status(request, "503"),
        Goes::Garbled => api.answer(request, "{"),
    }
}

/// Begins one, as far as the answers let it.
fn begin(api: &mut Api, push: bool, answers: &mut Answers) -> Result<Ordered, OrderedError> {
    let builder = api.jetstream().ordered("S");
    let mut begin = Task::new(if push { builder.push() } else { builder });
    loop {
        if let std::task::Poll::Ready(result) = begin.poll() {
            drop(begin);
            if result.is_err() {
                answers.give(api);
            }
            return result;
        }
        assert!(answers.give(api), "it waits for nothing");
    }
}

#[test]
fn a_consumer_is_deleted_that_is_there_and_cannot_be_begun_with() {
    for push in [false, true] {
        for stream in [Goes::Refused, Goes::Unheard, Goes::Garbled] {
            let (mut api, mut answers) = (Api::new(), Answers::new(Goes::Well, stream));
            begin(&mut api, push, &mut answers).expect_err("nothing is known of the stream");
            assert_eq!(answers.created.len(), 1);
            assert!(answers.deleted.contains(&answers.created[0]), "{stream:?}");
        }
    }
}

#[test]
fn a_consumer_is_not_deleted_that_was_never_there() {
    for create in [Goes::Refused, Goes::Unheard] {
        let (mut api, mut answers) = (Api::new(), Answers::new(create, Goes::Well));
        begin(&mut api, false, &mut answers).expect_err("there is no consumer");
        assert!(!answers.deleted.contains(&answers.created[0]), "{create:?}");
    }
    let (mut api, mut answers) = (Api::new(), Answers::new(Goes::Garbled, Goes::Well));
    begin(&mut api, false, &mut answers).expect_err("nobody knows whether there is a consumer");
    assert!(answers.deleted.contains(&answers.created[0]));
}

#[test]
fn a_consumer_that_cannot_be_gone_on_with_is_deleted_before_the_next_one() {
    for stream in [Goes::Refused, Goes::Unheard, Goes::Garbled] {
        let (mut api, mut answers) = (Api::new(), Answers::new(Goes::Well, Goes::Well));
        let mut ordered = begin(&mut api, false, &mut answers).expect("all goes well");
        answers.stream = stream;
        let mut next = Task::new(ordered.next());
        assert!(next.poll().is_pending());
        let pulls = api.asked();
        let pull = pulls.iter().find(|it| it.subject.contains("MSG.NEXT")).expect("it pulls");
        api.status(pull, "409 Consumer Deleted");
        while answers.created.len() < 3 {
            assert!(next.poll().is_pending());
            if !answers.give(&mut api) {
                api.rig.sleep(std::time::Duration::from_millis(100));
            }
        }
        assert!(answers.deleted.contains(&answers.created[1]), "{stream:?}: {:?}", answers.deleted);
    }
}

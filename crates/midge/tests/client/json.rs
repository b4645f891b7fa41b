//! Typed payloads.

use std::collections::BTreeMap;

use midge::Json;
use midge::json::ReadJson;

use crate::rig::{Rig, message, options, ready};

#[test]
fn values_go_out_and_come_in_as_json() {
    let (client, mut rig) = Rig::connected(options());
    let mut subscription = ready(client.subscribe("s")).unwrap();
    let value = BTreeMap::from([("a".to_owned(), vec![1, 2])]);
    ready(client.publish("s", Json::new(&value).unwrap())).unwrap();
    rig.run();
    assert!(rig.take_sent().contains("{\"a\":[1,2]}"));
    rig.receive(&message(subscription.sid(), "{\"a\":[1,2]}"));
    let received = ready(subscription.next()).unwrap();
    assert_eq!(received.json::<BTreeMap<String, Vec<u32>>>().unwrap(), value);
    let error = received.json::<u32>().unwrap_err();
    assert_eq!(error.subject(), "s");
    assert!(error.to_string().contains("not the JSON expected"), "{error}");
}

#[test]
fn a_value_without_a_json_form_is_refused() {
    let error = Json::new(&BTreeMap::from([(vec![1], 2)])).unwrap_err();
    assert!(error.to_string().contains("cannot be written as JSON"), "{error}");
}

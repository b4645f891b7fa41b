//! Subjects and queue groups: what is valid, what matches.

use std::collections::BTreeSet;

use midge_proto::{AsSubject, QueueGroup, QueueGroupError, Subject, SubjectError, SubjectRef};
use proptest::prelude::*;

#[test]
fn valid_subjects_tell_whether_they_have_wildcards() {
    let table = [
        ("a", false),
        ("a.b.c", false),
        ("_INBOX.x.1", false),
        ("$JS.API.INFO", false),
        ("größe.ü", false),
        ("a*b.c>d.>>.**", false),
        ("*", true),
        (">", true),
        ("a.*", true),
        ("*.a", true),
        ("a.*.b", true),
        ("a.>", true),
        ("*.*.>", true),
    ];
    for (text, wildcards) in table {
        let subject = SubjectRef::new(text).unwrap();
        assert_eq!(subject.has_wildcards(), wildcards, "{text}");
        assert_eq!(subject.as_bytes(), text.as_bytes());
        assert_eq!(subject.to_subject().as_str(), text);
    }
}

#[test]
fn invalid_subjects_are_refused_at_the_offending_byte() {
    use SubjectError::{Blank, Empty, EmptyToken, MisplacedWildcard};
    let table = [
        ("", Empty),
        (".", EmptyToken { position: 0 }),
        (".a", EmptyToken { position: 0 }),
        ("a.", EmptyToken { position: 2 }),
        ("a..b", EmptyToken { position: 2 }),
        (" ", Blank { position: 0 }),
        ("a b", Blank { position: 1 }),
        ("a\tb", Blank { position: 1 }),
        ("a\r\nPING", Blank { position: 1 }),
        ("a.b\n", Blank { position: 3 }),
        ("a\0", Blank { position: 1 }),
        ("a\u{7f}", Blank { position: 1 }),
        (">.a", MisplacedWildcard { position: 0 }),
        ("a.>.b", MisplacedWildcard { position: 2 }),
        ("a.>.", MisplacedWildcard { position: 2 }),
    ];
    for (text, error) in table {
        assert_eq!(SubjectRef::new(text), Err(error), "{text:?}");
        assert_eq!(text.parse::<Subject>(), Err(error), "{text:?}");
        assert_eq!(Subject::try_from(String::from(text)), Err(error), "{text:?}");
    }
}

#[test]
fn a_subject_off_the_wire_need_not_be_utf8() {
    let subject = SubjectRef::from_bytes(b"a.\xff").unwrap().to_subject();
    assert_eq!(subject.as_bytes(), b"a.\xff");
    assert_eq!(subject.as_str(), "\u{fffd}");
    assert_eq!(subject.to_string(), "a.\u{fffd}");
}

#[test]
fn patterns_match_as_on_the_server() {
    let table: &[(&str, &[u8], bool)] = &[
        ("a.b", b"a.b", true),
        ("a.b", b"a", false),
        ("a.b", b"a.b.c", false),
        ("a.b", b"a.B", false),
        ("a.*", b"a.b", true),
        ("a.*", b"a", false),
        ("a.*", b"a.b.c", false),
        ("a.*", b"a.", false),
        ("*.b", b"a.b", true),
        ("*", b"a", true),
        ("*", b"a.b", false),
        ("a.>", b"a.b", true),
        ("a.>", b"a.b.c.d", true),
        ("a.>", b"a", false),
        ("a.>", b"a.b..c", false),
        (">", b"a.b.c", true),
        (">", b"", false),
        ("a*.b", b"ax.b", false),
        ("a*.b", b"a*.b", true),
        ("a.b", b"a.*", false),
        ("a.*", b"a.\xff", true),
    ];
    for (pattern, subject, expected) in table {
        let pattern: Subject = pattern.parse().unwrap();
        assert_eq!(pattern.matches(subject), *expected, "{pattern} {}", subject.escape_ascii());
    }
}

#[test]
fn a_constant_subject_equals_one_made_at_run_time() {
    const ORDERS: Subject = Subject::from_static("orders.>");
    assert_eq!(ORDERS, Subject::new("orders.>").unwrap());
    assert_eq!(ORDERS, "orders.>");
    assert!(ORDERS.has_wildcards());
    let set: BTreeSet<Subject> = ["b", "a", "a"].map(|s| s.parse().unwrap()).into();
    assert_eq!(set.iter().map(Subject::as_str).collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
#[should_panic = "empty token"]
fn an_invalid_static_subject_panics() {
    let _ = Subject::from_static("a..b");
}

#[test]
fn text_and_checked_subjects_are_taken_alike() {
    fn bytes(subject: impl AsSubject) -> Result<Vec<u8>, SubjectError> {
        subject.as_subject().map(|subject| subject.as_bytes().to_vec())
    }
    let owned = Subject::from_static("a.b");
    let expected = Ok(b"a.b".to_vec());
    assert_eq!(bytes("a.b"), expected);
    let text = String::from("a.b");
    assert_eq!(bytes(&text), expected);
    assert_eq!(bytes(text), expected);
    assert_eq!(bytes(owned.borrowed()), expected);
    assert_eq!(bytes(&owned), expected);
    assert_eq!(bytes(owned), expected);
    assert_eq!(bytes("a b"), Err(SubjectError::Blank { position: 1 }));
}

#[test]
fn queue_groups_are_anything_without_blanks() {
    for name in ["q", "q.*", "q..x", ">", "größe"] {
        let group: QueueGroup = name.parse().unwrap();
        assert_eq!((group.as_str(), group.to_string().as_str()), (name, name));
        assert_eq!(group, QueueGroup::try_from(String::from(name)).unwrap());
    }
    let table = [
        ("", QueueGroupError::Empty),
        ("a b", QueueGroupError::Blank { position: 1 }),
        ("q\r\n", QueueGroupError::Blank { position: 1 }),
        ("\u{7f}", QueueGroupError::Blank { position: 0 }),
    ];
    for (name, error) in table {
        assert_eq!(QueueGroup::new(name), Err(error), "{name:?}");
    }
}

/// The rules once more, token by token.
fn valid(bytes: &[u8]) -> Option<bool> {
    let tokens: Vec<&[u8]> = bytes.split(|&byte| byte == b'.').collect();
    let (last, front) = tokens.split_last()?;
    let sound = tokens
        .iter()
        .all(|token| !token.is_empty() && token.iter().all(|&byte| byte > 0x20 && byte != 0x7f));
    let wildcards = tokens.contains(&&b"*"[..]) || *last == b">";
    (sound && !front.contains(&&b">"[..])).then_some(wildcards)
}

proptest! {
    #[test]
    fn one_pass_finds_what_the_rules_say(
        bytes in proptest::collection::vec(
            prop_oneof![4 => proptest::sample::select(b"..ab*>> \t\r\n\x7f".to_vec()), 1 => any::<u8>()],
            0..12,
        ),
    ) {
        let checked = SubjectRef::from_bytes(&bytes).ok().map(SubjectRef::has_wildcards);
        prop_assert_eq!(checked, valid(&bytes));
    }

    #[test]
    fn a_subject_without_wildcards_matches_itself_only(a in "[ab](\\.[ab]){0,3}", b in "[ab](\\.[ab]){0,3}") {
        let subject: Subject = a.parse().unwrap();
        prop_assert_eq!(subject.matches(b.as_bytes()), a == b);
    }
}

#[test]
fn a_subject_is_the_same_however_it_was_made_and_however_long_it_is() {
    use std::hash::{BuildHasher, RandomState};

    const STATIC: Subject = Subject::from_static("orders.*");
    assert_eq!(STATIC, Subject::new("orders.*").unwrap());
    let state = RandomState::new();
    for length in 1..100 {
        let text = format!("{}*", "a.".repeat(50)).split_off(101 - length);
        let text = text.trim_start_matches('.').to_owned();
        let copied = Subject::new(&text).unwrap();
        let taken = Subject::try_from(text.clone()).unwrap();
        let fixed = Subject::from_static(text.clone().leak());
        for subject in [&copied, &taken, &fixed] {
            assert_eq!(subject, &copied, "{text}");
            assert_eq!(subject.cmp(&copied), std::cmp::Ordering::Equal, "{text}");
            assert_eq!(state.hash_one(subject), state.hash_one(&copied), "{text}");
            assert_eq!(subject.as_str(), text);
            assert_eq!(subject.clone().as_bytes(), text.as_bytes());
            assert!(subject.has_wildcards() && subject.borrowed().has_wildcards(), "{text}");
            let longer = Subject::new(&format!("{text}a")).unwrap();
            assert!(*subject < longer && !longer.has_wildcards(), "{text}");
        }
    }
}

//! Which `nats-server` a search settles on. The fakes print a release and do nothing else.

#![allow(
    clippy::unwrap_used,
    reason = "also outside of test functions, a failed step fails the test"
)]

use std::path::{Path, PathBuf};
use std::sync::Barrier;

use midge_testing::{FindError, Search, Version};

fn fake(release: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fakes").join(release).join("nats-server")
}

fn path_of(releases: &[&str]) -> std::ffi::OsString {
    let directories = releases.iter().map(|release| fake(release).with_file_name(""));
    std::env::join_paths(directories).unwrap()
}

/// A search that sees nothing of this machine.
fn nowhere(tools: &Path) -> Search {
    Search::from_env().binary(None).path("").tools_dir(tools).fetch(false)
}

#[test]
fn a_named_binary_is_taken_whatever_its_release() {
    let tools = tempfile::tempdir().unwrap();
    let search = nowhere(tools.path()).binary(Some(fake("2.9.10")));
    let found = search.find().unwrap();
    assert_eq!((found.path(), found.release()), (&*fake("2.9.10"), "2.9.10"));
}

#[test]
fn a_named_binary_that_is_no_server_is_an_error_and_not_passed_over() {
    let tools = tempfile::tempdir().unwrap();
    for name in ["silent", "absent"] {
        let search = nowhere(tools.path()).path(path_of(&["2.12.1"])).binary(Some(fake(name)));
        let error = search.find().unwrap_err();
        assert!(matches!(error, FindError::Unusable { .. }), "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn path_counts_from_release_2_10_on() {
    let tools = tempfile::tempdir().unwrap();
    let search = nowhere(tools.path());
    let old = search.clone().path(path_of(&["2.9.10", "silent"])).find();
    assert!(matches!(old, Err(FindError::NotFound { .. })), "{old:?}");
    let new = search.path(path_of(&["2.9.10", "2.12.1"])).find().unwrap();
    assert_eq!(new.release(), "2.12.1");
}

#[test]
fn a_release_that_was_asked_for_passes_over_servers_of_other_releases() {
    let tools = tempfile::tempdir().unwrap();
    let search = nowhere(tools.path()).binary(Some(fake("2.9.10"))).path(path_of(&["2.12.1"]));
    let found = search.clone().version(Version::V2_12).find().unwrap();
    assert_eq!(found.release(), "2.12.1");
    let error = search.version(Version::V2_14).find().unwrap_err();
    assert!(matches!(error, FindError::NotFound { .. }), "{error}");
}

#[test]
fn a_fetched_server_comes_before_path() {
    let tools = tempfile::tempdir().unwrap();
    let kept = tools.path().join("nats-server/2.15.1/bin/nats-server");
    std::fs::create_dir_all(kept.parent().unwrap()).unwrap();
    std::fs::copy(fake("2.12.1"), &kept).unwrap();
    let search = nowhere(tools.path()).path(path_of(&["2.12.1"]));
    assert_eq!(search.find().unwrap().path(), kept);
}

#[test]
fn a_missing_server_is_an_error_that_names_every_way_to_supply_one() {
    let tools = tempfile::tempdir().unwrap();
    let text = nowhere(tools.path()).find().unwrap_err().to_string();
    for way in ["NATS_SERVER_BIN", "PATH", "fetching", "nats-server/2.15.1"] {
        assert!(text.contains(way), "{way} is missing in: {text}");
    }
}

#[test]
fn searches_at_the_same_time_fetch_one_whole_server() {
    let tools = tempfile::tempdir().unwrap();
    let search = nowhere(tools.path()).version(Version::V2_10).fetch(true);
    let together = Barrier::new(3);
    let found = std::thread::scope(|scope| {
        let searches: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    together.wait();
                    search.find().unwrap()
                })
            })
            .collect();
        searches.into_iter().map(|search| search.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(found.iter().all(|binary| *binary == found[0]), "{found:?}");
    // What the program says itself, not the directory it is in.
    let asked = nowhere(tools.path()).binary(Some(found[0].path().to_owned()));
    assert_eq!(asked.find().unwrap().release(), "2.10.26");
    let left: Vec<_> = std::fs::read_dir(tools.path().join("nats-server"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 2, "the lock and the release: {left:?}");
}

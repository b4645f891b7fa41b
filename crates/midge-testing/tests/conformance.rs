//! The list of cases is whole.
#![cfg(feature = "conformance")]

use std::fs;
use std::path::Path;

#[test]
fn each_case_is_in_the_list_of_its_room() -> std::io::Result<()> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/conformance");
    let list = fs::read_to_string(source.join("macros.rs"))?;
    let mut cases = 0;
    for room in fs::read_dir(source.join("cases"))? {
        let room = room?.path();
        let name = room.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let listed = list.split_once(&format!(" {name} {{")).map_or("", |(_, rest)| rest);
        let listed = listed.split_once('}').map_or("", |(listed, _)| listed);
        for line in fs::read_to_string(&room)?.lines() {
            let Some(case) = line.strip_prefix("pub async fn ") else { continue };
            let case = case.split('<').next().unwrap_or_default();
            assert!(listed.split_whitespace().any(|known| known == case), "{name}::{case}");
            cases += 1;
        }
    }
    assert!(cases > 100, "only {cases} cases were found");
    Ok(())
}

//! The programs in README are those that are compiled and run here.

/// README names a server where the programs take one from their arguments.
const IN_README: &str = "\"nats://localhost:4222\"";
const IN_PROGRAM: &str = "midge_examples::url()";

/// Of a program, the lines that README shows: those behind the head, which is for this repository.
fn shown(program: &str) -> &str {
    program.split_once("]\n\n").expect("a head that ends in an attribute").1
}

fn blocks(text: &str) -> Vec<String> {
    let fenced = text.split("```rust,no_run\n").skip(1).filter_map(|rest| rest.split_once("```"));
    fenced.map(|(code, _)| code.replace(IN_README, IN_PROGRAM)).collect()
}

#[test]
fn readme_shows_the_programs_as_they_are() {
    let blocks = blocks(include_str!("../../README.md"));
    let programs = [
        include_str!("../src/bin/ten_lines_tokio.rs"),
        include_str!("../src/bin/ten_lines_smol.rs"),
        include_str!("../src/bin/ten_lines_std.rs"),
        include_str!("../src/bin/ten_lines_by_hand.rs"),
    ];
    assert_eq!(blocks, programs.map(shown), "README and examples/src/bin/ten_lines_*.rs differ");
}

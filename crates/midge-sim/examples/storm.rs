//! Looks for a seed that fails: `cargo run -p midge-sim --example storm -- FIRST LAST`.

fn main() {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<u64>().expect("a number"));
    let first = args.next().unwrap_or(0);
    let last = args.next().unwrap_or(first + 1);
    let mut failed = 0;
    for seed in first..last {
        match midge_sim::storm(seed, 0) {
            Ok(outcome) if last - first < 20 => {
                println!("{seed}: {outcome:?}");
                if std::env::var_os("TRACE").is_some() {
                    for line in midge_sim::storm(seed, 100_000).expect("as before").trace {
                        println!("{line}");
                    }
                }
            }
            Ok(_) => {}
            Err(failure) if last - first > 1 => {
                failed += 1;
                println!("{seed}: {}", failure.what.chars().take(300).collect::<String>());
            }
            Err(_) => println!("{}", midge_sim::storm(seed, 100_000).unwrap_err()),
        }
    }
    println!("{failed} of {} failed", last - first);
}

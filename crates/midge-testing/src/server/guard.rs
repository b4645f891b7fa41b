//! The directory of a server, kept by a process that removes it, and ends the server, when this
//! process dies.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

/// A shell that makes the directory and prints its name, is told on its input which process to
/// watch (`+<id>`) and that it has ended (`-<id>`), and cleans up at the end of its input, which
/// comes when this process dies in whatever way. A parent-death signal would need unsafe code
/// between fork and exec, and follows the thread that forked, not the process.
///
/// Nobody may be left to reap a killed server, so the wait for its end is bounded; a thread of
/// it may still make a file meanwhile, so the removal is repeated.
const KEEP: &str = r#"
trap '' HUP INT PIPE TERM
directory=$(mktemp -d "$1/midge-testing-XXXXXXXXXX") || exit 1
printf '%s\n' "${directory##*/}"
server=
while read -r line; do
    case $line in
        +*) server=${line#+} ;;
        -"$server") server= ;;
    esac
done
looks=0
if [ -n "$server" ]; then
    while kill -9 "$server" && [ "$looks" -lt 5 ]; do
        looks=$((looks + 1))
        sleep 0.02
    done
fi
looks=0
while rm -rf -- "$directory"; [ -e "$directory" ] && [ "$looks" -lt 50 ]; do
    looks=$((looks + 1))
    sleep 0.02
done
"#;

/// Tells the guard its own process id, then becomes the program. Until it has told, it holds the
/// guard's input open itself: there is no moment at which the guard could end without knowing.
const LAUNCH: &str = r#"echo "+$$" >&0 && exec "$@" </dev/null"#;

/// A directory of its own for a server. Dropping it removes it, after the server was dropped.
#[derive(Debug)]
pub(super) struct Guard {
    shell: Child,
    /// There until the drop.
    input: Option<ChildStdin>,
    directory: PathBuf,
}

impl Guard {
    /// Makes the directory, in the system's place for temporary files.
    pub(super) fn start() -> io::Result<Guard> {
        let parent = std::path::absolute(std::env::temp_dir())?;
        let mut shell = Command::new("sh")
            .args(["-c", KEEP, "sh"])
            .arg(&parent)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // A signal to the test's group must not end the guard too.
            .process_group(0)
            .spawn()?;
        let mut name = String::new();
        if let Some(output) = shell.stdout.take() {
            BufReader::new(output).read_line(&mut name)?;
        }
        let Some(name) = name.strip_suffix('\n') else {
            let status = shell.wait()?;
            let parent = parent.display();
            let text = format!("`sh` and `mktemp` made none in {parent} and ended with {status}");
            return Err(io::Error::other(text));
        };
        let input = shell.stdin.take();
        Ok(Guard { shell, input, directory: parent.join(name) })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// `command`, started so that the guard knows of it before it runs; and where to say that it
    /// has ended. Its input is empty.
    pub(super) fn watch(&self, command: &Command) -> io::Result<(Command, Watch)> {
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        let input = self.input.as_ref().ok_or_else(gone)?;
        let duplicate = || -> io::Result<OwnedFd> { input.as_fd().try_clone_to_owned() };
        let mut launch = Command::new("sh");
        launch
            .args(["-c", LAUNCH, "sh"])
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(duplicate()?);
        Ok((launch, Watch { input: duplicate()?.into() }))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // The end of its input. The guard goes when the files are gone, not before.
        self.input = None;
        let _ = self.shell.wait();
        // Only there if somebody ended the guard. Nobody is left who could do something about
        // a failure.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A server that the guard ends.
#[derive(Debug)]
pub(super) struct Watch {
    input: File,
}

impl Watch {
    /// Makes the guard forget `process`. To be called before it is waited for: afterwards its id
    /// may be that of a stranger.
    pub(super) fn end(&mut self, process: &Child) {
        // A guard that is gone has nothing to forget.
        let _ = writeln!(self.input, "-{}", process.id());
    }
}

//! What tests need of processes: an end that happens for certain, and waiting with a
//! deadline.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Runs a shell script when it is dropped or when this process ends, however it ends.
///
/// `Drop` alone does not run on Ctrl-C, on `kill -9` or for a `static`. So the script
/// waits in a process of its own, on a pipe whose other end only this process holds:
/// the kernel closes that end when the process is gone.
///
/// (Linux's parent-death signal is not an alternative: it is sent when the *thread*
/// that started the child ends, and the test harness has one thread for each test.)
#[derive(Debug)]
pub struct Janitor {
    shell: Child,
}

impl Janitor {
    /// Makes `script` (POSIX shell) wait for the end; `arguments` are its `$1`, `$2`…
    ///
    /// # Errors
    ///
    /// The shell could not be started; nothing is waiting then.
    pub fn new<I>(script: &str, arguments: I) -> io::Result<Self>
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        let waiting = "trap '' HUP INT QUIT TERM\nwhile read -r _; do :; done\n";
        let shell = Command::new("sh")
            .args(["-c", &format!("{waiting}{script}"), "janitor"])
            .args(arguments)
            // A working directory that nobody wants to remove meanwhile.
            .current_dir("/")
            // A Ctrl-C is sent to the whole group of the terminal's foreground job.
            .process_group(0)
            .stdin(Stdio::piped())
            // Whoever reads this process's output must not wait for the janitor too.
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { shell })
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // Nothing can be done here about a script that failed.
        let _ = self.shell.wait();
    }
}

/// Sends the signal with this name (`INT`, without `SIG`) to a process.
///
/// # Errors
///
/// There is no such process, or it belongs to somebody else.
pub fn signal(process_id: u32, name: &str) -> io::Result<()> {
    let output = Command::new("sh")
        .args(["-c", "kill -s \"$1\" \"$2\"", "kill", name])
        .arg(process_id.to_string())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "cannot send SIG{name} to process {process_id}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    )))
}

/// Asks `probe` until it has an answer.
///
/// # Errors
///
/// `TimedOut` naming `what` when there is none after `timeout`, or the probe's own
/// error, at once.
pub fn wait_until<T>(
    timeout: Duration,
    what: &str,
    mut probe: impl FnMut() -> io::Result<Option<T>>,
) -> io::Result<T> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(answer) = probe()? {
            return Ok(answer);
        }
        if Instant::now() >= deadline {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("waited {timeout:?} in vain: {what}"),
            ));
        }
        thread::sleep(Duration::from_millis(10));
    }
}

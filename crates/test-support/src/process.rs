//! Processes in tests: clean-up that always happens, signals, and waiting with a deadline.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::child::run;

/// How long a janitor's script may take.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(120);
/// How long sending a signal may take.
const SIGNAL_TIMEOUT: Duration = Duration::from_secs(20);

/// Runs a shell script when it is dropped or when this process ends, however it ends.
///
/// `Drop` alone does not run on Ctrl-C, on `kill -9` or for a `static`. The script therefore
/// waits in its own process, on a pipe whose other end only this process holds: the kernel
/// closes that end when this process ends.
///
/// (Linux's parent-death signal is not an alternative: it is sent when the *thread* that
/// started the child ends, and the test harness has one thread per test.)
#[derive(Debug)]
pub struct Janitor {
    shell: Child,
}

impl Janitor {
    /// Registers `script` (POSIX shell) to run at the end; `arguments` are its `$1`, `$2`…
    ///
    /// # Errors
    ///
    /// The shell cannot be started; the script will not run.
    pub fn new<I>(script: &str, arguments: I) -> io::Result<Self>
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        let waiting = "trap '' HUP INT QUIT TERM\nwhile read -r _; do :; done\n";
        let shell = Command::new("sh")
            .args(["-c", &format!("{waiting}{script}"), "janitor"])
            .args(arguments)
            // A working directory that no test removes meanwhile.
            .current_dir("/")
            // The terminal sends Ctrl-C to the whole foreground process group.
            .process_group(0)
            .stdin(Stdio::piped())
            // A reader of this process's output must not wait for the janitor as well.
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { shell })
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let ended = wait_until(SCRIPT_TIMEOUT, "the janitor's script has ended", || {
            self.shell.try_wait()
        });
        if let Err(error) = ended {
            eprintln!("{error}");
            // `drop` cannot report that it failed.
            self.shell.kill().ok();
        }
    }
}

/// Sends the signal with this name (`INT`, without `SIG`) to a process.
///
/// # Errors
///
/// The process does not exist, or belongs to another user.
pub fn signal(process_id: u32, name: &str) -> io::Result<()> {
    let mut kill = Command::new("sh");
    kill.args(["-c", "kill -s \"$1\" \"$2\"", "kill", name])
        .arg(process_id.to_string());
    let output = run(&mut kill, SIGNAL_TIMEOUT)?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "cannot send SIG{name} to process {process_id}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    )))
}

/// Calls `probe` until it returns a value.
///
/// # Errors
///
/// `TimedOut`, naming `what`, if there is no value within `timeout`; or the first error of
/// the probe.
pub fn wait_until<T>(
    timeout: Duration,
    what: &str,
    mut probe: impl FnMut() -> io::Result<Option<T>>,
) -> io::Result<T> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(value) = probe()? {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("timed out after {timeout:?} waiting until {what}"),
            ));
        }
        thread::sleep(Duration::from_millis(10));
    }
}

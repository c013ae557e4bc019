//! Child processes whose output is collected, and for which no wait is without a deadline.

use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::process::wait_until;

/// How long a killed process may take to end.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs a program to its end and returns its exit status and output.
///
/// # Errors
///
/// The program cannot be started; or `TimedOut`, if it has not ended within `timeout`. It is
/// then killed, and the error ends with its output.
pub fn run(command: &mut Command, timeout: Duration) -> io::Result<Output> {
    let deadline = Instant::now() + timeout;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", name(command))))?;
    let stdout = read_all(child.stdout.take());
    let stderr = read_all(child.stderr.take());
    let ended = wait_until(timeout, "the program ends", || child.try_wait());
    if ended.is_err() {
        kill(&mut child);
    }
    // A process that the program started may keep the pipes open.
    let left = || match ended {
        Ok(_) => deadline.saturating_duration_since(Instant::now()),
        Err(_) => KILL_TIMEOUT,
    };
    let stdout = stdout.recv_timeout(left());
    let stderr = stderr.recv_timeout(left());
    match (ended, stdout, stderr) {
        (Ok(status), Ok(stdout), Ok(stderr)) => Ok(Output {
            status,
            stdout,
            stderr,
        }),
        (_, stdout, stderr) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!(
                "{} has not ended after {timeout:?}:\n{}{}",
                name(command),
                String::from_utf8_lossy(&stdout.unwrap_or_default()),
                String::from_utf8_lossy(&stderr.unwrap_or_default()),
            ),
        )),
    }
}

/// Reads to the end on a thread of its own, which ends when the pipe is closed.
fn read_all(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            pipe.read_to_end(&mut bytes).ok();
        }
        sender.send(bytes).ok();
    });
    receiver
}

fn kill(child: &mut Child) {
    child.kill().ok();
    wait_until(KILL_TIMEOUT, "the killed process ends", || child.try_wait()).ok();
}

fn name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

/// A running program. Killed when it is dropped; its output is printed if the thread that
/// drops it is panicking.
#[derive(Debug)]
pub struct ChildProcess {
    child: Child,
    program: String,
    output: Arc<Collected>,
    /// How many bytes of the output `next_line` has returned.
    read: usize,
}

/// The lines of standard output and standard error, as they arrive.
#[derive(Debug, Default)]
struct Collected {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    text: String,
    /// How many of the two pipes are closed.
    closed: usize,
}

impl Collected {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Collects lines on a thread of its own, which ends when the pipe is closed.
    fn collect(self: &Arc<Self>, pipe: Option<impl Read + Send + 'static>) {
        let collected = self.clone();
        thread::spawn(move || {
            if let Some(pipe) = pipe {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    collected.lock().text += &format!("{line}\n");
                    collected.changed.notify_all();
                }
            }
            collected.lock().closed += 1;
            collected.changed.notify_all();
        });
    }
}

impl State {
    fn is_complete(&self) -> bool {
        self.closed == 2
    }
}

impl ChildProcess {
    /// Starts a program whose standard input is a pipe.
    ///
    /// # Errors
    ///
    /// The program cannot be started; the error names it.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        let program = name(command);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("{program}: {error}")))?;
        let output = Arc::new(Collected::default());
        output.collect(child.stdout.take());
        output.collect(child.stderr.take());
        Ok(Self {
            child,
            program,
            output,
            read: 0,
        })
    }

    /// Returns the process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns everything that it has printed so far, line by line.
    #[must_use]
    pub fn output(&self) -> String {
        self.output.lock().text.clone()
    }

    /// Waits until `find` returns a value for the output.
    ///
    /// # Errors
    ///
    /// `TimedOut`, naming `what`; `UnexpectedEof` if the program has closed its output.
    pub fn wait_for_output<T>(
        &self,
        what: &str,
        timeout: Duration,
        find: impl Fn(&str) -> Option<T>,
    ) -> io::Result<T> {
        self.wait_for(what, timeout, |state| match find(&state.text) {
            None if state.is_complete() => Err(self.ended_before(what)),
            found => Ok(found),
        })
    }

    /// Waits for the next line of its output.
    ///
    /// # Errors
    ///
    /// `TimedOut`; `UnexpectedEof` if the program has closed its output.
    pub fn next_line(&mut self, timeout: Duration) -> io::Result<String> {
        let read = self.read;
        let line = self.wait_for_output("a line", timeout, |text| {
            Some(text[read..].split_once('\n')?.0.to_owned())
        })?;
        self.read += line.len() + 1;
        Ok(line)
    }

    /// Waits for the next line with this prefix, and returns the rest of it.
    ///
    /// # Errors
    ///
    /// `TimedOut`, naming the prefix; `UnexpectedEof` if the program has closed its output.
    pub fn next_line_with(&mut self, prefix: &str, timeout: Duration) -> io::Result<String> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.next_line(left).map_err(|error| {
                let text = format!("no line begins with {prefix:?}: {error}");
                io::Error::new(error.kind(), text)
            })?;
            if let Some(rest) = line.strip_prefix(prefix) {
                return Ok(rest.to_owned());
            }
        }
    }

    /// Writes a line to its standard input.
    ///
    /// # Errors
    ///
    /// The program does not read its input any more.
    pub fn write_line(&mut self, line: &str) -> io::Result<()> {
        self.input()?.write_all(format!("{line}\n").as_bytes())
    }

    /// Closes its standard input.
    pub fn close_input(&mut self) {
        self.child.stdin = None;
    }

    /// Waits until the program has ended and everything that it has printed is collected.
    ///
    /// # Errors
    ///
    /// `TimedOut`.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<ExitStatus> {
        let deadline = Instant::now() + timeout;
        // The kernel closes the pipes when the process ends.
        self.wait_for("its end", timeout, |state| {
            Ok(state.is_complete().then_some(()))
        })?;
        let left = deadline.saturating_duration_since(Instant::now());
        wait_until(left, &format!("{} ends", self.program), || {
            self.child.try_wait()
        })
    }

    fn input(&mut self) -> io::Result<&mut ChildStdin> {
        let closed = || io::Error::from(io::ErrorKind::BrokenPipe);
        self.child.stdin.as_mut().ok_or_else(closed)
    }

    fn ended_before(&self, what: &str) -> io::Error {
        let text = format!("{} has closed its output before {what}", self.program);
        io::Error::new(io::ErrorKind::UnexpectedEof, text)
    }

    fn wait_for<T>(
        &self,
        what: &str,
        timeout: Duration,
        find: impl Fn(&State) -> io::Result<Option<T>>,
    ) -> io::Result<T> {
        let deadline = Instant::now() + timeout;
        let mut state = self.output.lock();
        loop {
            if let Some(found) = find(&state)? {
                return Ok(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let text = format!(
                    "{}: timed out after {timeout:?} waiting for {what}",
                    self.program
                );
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            let waited = self.output.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        kill(&mut self.child);
        if thread::panicking() {
            eprintln!("the output of {}:\n{}", self.program, self.output());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_program_that_runs_too_long_is_killed_and_its_output_reported() {
        let script = "echo stuck; echo here >&2; echo $$; exec sleep 600";
        let error = run(&mut shell(script), Duration::from_secs(1)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let text = error.to_string();
        assert!(
            text.contains("stuck\n") && text.contains("here\n"),
            "{text}"
        );
        let process_id = text.lines().find(|line| line.parse::<u32>().is_ok());
        let folder = format!("/proc/{}", process_id.unwrap());
        assert!(!std::path::Path::new(&folder).exists(), "it still runs");
    }

    #[test]
    fn the_status_and_both_outputs_of_a_program_are_returned() {
        let output = run(&mut shell("echo out; echo error >&2; exit 3"), TIMEOUT).unwrap();
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(output.stdout, b"out\n");
        assert_eq!(output.stderr, b"error\n");
    }

    #[test]
    fn lines_are_returned_one_after_the_other_until_the_end() {
        let script = "echo one; read line; echo \"two $line\"; echo three";
        let mut child = ChildProcess::start(&mut shell(script)).unwrap();
        assert_eq!(child.next_line(TIMEOUT).unwrap(), "one");
        child.write_line("is here").unwrap();
        assert_eq!(child.next_line_with("two ", TIMEOUT).unwrap(), "is here");
        assert_eq!(child.next_line(TIMEOUT).unwrap(), "three");
        let error = child.next_line(TIMEOUT).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(child.wait(TIMEOUT).unwrap().success());
        assert_eq!(child.output(), "one\ntwo is here\nthree\n");
    }

    #[test]
    fn every_wait_for_a_program_that_does_nothing_times_out() {
        let mut child = ChildProcess::start(&mut shell("exec sleep 600")).unwrap();
        let short = Duration::from_millis(100);
        let errors = [
            child.next_line(short).unwrap_err(),
            child.next_line_with("x", short).unwrap_err(),
            child
                .wait_for_output("x", short, |_| None::<()>)
                .unwrap_err(),
            child.wait(short).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
        }
    }
}

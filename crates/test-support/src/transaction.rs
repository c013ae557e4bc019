//! Transactions whose locks a test holds until it ends them.

use std::io;
use std::time::Duration;

use crate::child::ChildProcess;
use crate::programs::Programs;

const TIMEOUT: Duration = Duration::from_secs(30);
/// What psql prints when it has carried out the statements before it.
const DONE: &str = "the statements before this line are done";

/// An open transaction on a session of its own. It is rolled back when it is dropped.
#[derive(Debug)]
pub struct Transaction {
    psql: ChildProcess,
}

impl Transaction {
    /// Begins a transaction and runs SQL in it. When this returns, the transaction has the
    /// locks that the SQL takes.
    ///
    /// # Errors
    ///
    /// The connection failed, or a statement did; the error has the server's message.
    pub fn begin(url: &str, sql: &str) -> io::Result<Self> {
        let mut psql = Programs::find_client()?.psql_session(url);
        let mut transaction = Self {
            psql: ChildProcess::start(&mut psql)?,
        };
        transaction.execute(&format!("BEGIN; {sql}"))?;
        Ok(transaction)
    }

    /// Runs more SQL in the transaction.
    ///
    /// # Errors
    ///
    /// A statement failed; the error has the server's message.
    pub fn execute(&mut self, sql: &str) -> io::Result<()> {
        // A statement that fails ends psql before it prints the line.
        let sent = self.psql.write_line(&format!("{sql};\n\\echo {DONE}"));
        let done = sent.and_then(|()| self.psql.next_line_with(DONE, TIMEOUT));
        done.map(drop).map_err(|error| {
            let text = format!("{error}\n{}", self.psql.output());
            io::Error::new(error.kind(), text)
        })
    }

    /// Commits the transaction, which releases its locks.
    ///
    /// # Errors
    ///
    /// The commit failed; the error has the server's message.
    pub fn commit(mut self) -> io::Result<()> {
        self.execute("COMMIT")
    }
}

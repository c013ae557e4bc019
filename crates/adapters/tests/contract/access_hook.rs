//! The contract of `AccessHook`, over HTTP to a product that never answers, or always.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chat_adapters::access_hook::{
    AccessHookObserver, AccessHookOptions, AnsweredBy, CallOutcome, HttpAccessHook,
};
use chat_adapters::standard_webhooks::Signer;
use chat_domain::ports::AccessHook as _;
use chat_domain::{Role, UserId, one_line};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::{poll_once, room};

const DEADLINE: Duration = Duration::from_secs(20);

/// What was observed.
#[derive(Default)]
struct Observed {
    asked: Mutex<HashMap<&'static str, usize>>,
    called: AtomicUsize,
    breaker: watch::Sender<bool>,
}

impl AccessHookObserver for Observed {
    fn called(&self, _: CallOutcome) {
        self.called.fetch_add(1, Ordering::Relaxed);
    }

    fn asked(&self, answered_by: AnsweredBy) {
        let name = match answered_by {
            AnsweredBy::Cache => "cache",
            AnsweredBy::SharedCall => "shared",
            AnsweredBy::Call => "call",
            AnsweredBy::Breaker => "breaker",
            AnsweredBy::Overload => "overload",
        };
        *self.asked.lock().unwrap().entry(name).or_default() += 1;
    }

    fn breaker(&self, is_open: bool) {
        self.breaker.send_replace(is_open);
    }
}

impl Observed {
    fn asked(&self, name: &str) -> usize {
        self.asked.lock().unwrap().get(name).copied().unwrap_or(0)
    }
}

/// A server that gives this response to every request, or none. Counts its connections.
async fn product(response: Option<&'static str>) -> (String, watch::Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (connections, count) = watch::channel(0);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            connections.send_modify(|count| *count += 1);
            tokio::spawn(respond(stream, response));
        }
    });
    (url, count)
}

async fn respond(mut stream: TcpStream, response: Option<&'static str>) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    // The body ends with the claims.
    while !request.ends_with(b"}}") {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => request.extend_from_slice(&buffer[..count]),
        }
    }
    if let Some(response) = response {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
            response.len()
        );
        stream.write_all(head.as_bytes()).await.ok();
        stream.write_all(response.as_bytes()).await.ok();
    }
    // Until the peer closes the connection.
    stream.read_to_end(&mut request).await.ok();
}

fn hook(url: &str) -> (Arc<HttpAccessHook>, Arc<Observed>) {
    let observed = Arc::new(Observed::default());
    let options = AccessHookOptions {
        url: url.parse().unwrap(),
        signer: Signer {
            current: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap(),
            previous: None,
        },
    };
    let hook = HttpAccessHook::new(options, observed.clone()).unwrap();
    (Arc::new(hook), observed)
}

async fn ask(hook: &HttpAccessHook, user: usize) -> Result<Option<Role>, String> {
    let user = UserId::new(user.to_string()).unwrap();
    let asking = hook.ask(&user, room(1), "{}");
    let answer = timeout(DEADLINE, asking).await.expect("an outcome in time");
    answer.map_err(|error| one_line(&error))
}

#[tokio::test]
async fn only_so_many_calls_and_questions_are_under_way() {
    const CALLS: usize = 64;
    const QUESTIONS: usize = 1024;
    const FAILURES: usize = 5;
    let (url, mut connections) = product(None).await;
    let (hook, observed) = hook(&url);
    let asking: Vec<_> = (0..QUESTIONS)
        .map(|user| {
            let hook = hook.clone();
            tokio::spawn(async move { ask(&hook, user).await })
        })
        .collect();
    let begun = connections.wait_for(|count| *count >= CALLS);
    timeout(DEADLINE, begun).await.unwrap().unwrap();
    assert_eq!(observed.asked("call"), QUESTIONS);
    // One more has no answer; one of those that wait has theirs.
    let refused = ask(&hook, QUESTIONS).await.unwrap_err();
    assert!(refused.contains("too many calls are waiting"), "{refused}");
    assert_eq!(observed.asked("overload"), 1);
    let shared = ask(&hook, 0).await;
    assert_eq!(observed.asked("shared"), 1);
    assert!(shared.is_err());
    for asking in asking {
        assert!(asking.await.unwrap().is_err());
    }
    // The breaker has opened. Only the first of those that waited, if any, were called before.
    assert!(*observed.breaker.borrow());
    let connections = *connections.borrow();
    assert!(
        (CALLS..CALLS + FAILURES).contains(&connections),
        "{connections}"
    );
    assert_eq!(observed.called.load(Ordering::Relaxed), connections);
    // What has failed can be asked again.
    let refused = ask(&hook, 0).await.unwrap_err();
    assert!(refused.contains("the last calls have failed"), "{refused}");
    assert_eq!(observed.asked("breaker"), 1);
}

#[tokio::test]
async fn a_question_outlives_the_join_that_asked_it_first() {
    let response = r#"{"allow":true,"role":"reader","ttlSeconds":60}"#;
    let (url, connections) = product(Some(response)).await;
    let (hook, observed) = hook(&url);
    // It has been asked when it waits for the first time.
    let mut first = Box::pin(ask(&hook, 1));
    assert!(poll_once(&mut first).await.is_pending());
    drop(first);
    for _ in 0..2 {
        assert_eq!(ask(&hook, 1).await, Ok(Some(Role::Reader)));
    }
    assert_eq!(*connections.borrow(), 1);
    let asked = ["call", "shared", "cache"].map(|name| observed.asked(name));
    assert_eq!(asked, [1, 1, 1]);
}

/// The hook's calls end with it: nothing is left that a runtime has to wait for.
#[tokio::test]
async fn a_call_ends_with_the_hook() {
    let (url, mut connections) = product(None).await;
    let (hook, observed) = hook(&url);
    let mut asking = Box::pin(ask(&hook, 1));
    assert!(poll_once(&mut asking).await.is_pending());
    let begun = connections.wait_for(|count| *count == 1);
    timeout(DEADLINE, begun).await.unwrap().unwrap();
    drop(asking);
    drop(hook);
    let released = async {
        while Arc::strong_count(&observed) > 1 {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, released)
        .await
        .expect("the call has ended");
    assert_eq!(observed.called.load(Ordering::Relaxed), 0);
}

//! Two users of a Rust client from crates.io converse, over each transport.

use std::env;
use std::error::Error;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use serde_json::{Value, json};
use tf_rust_socketio::client::Client;
use tf_rust_socketio::{ClientBuilder, Event, Payload, TransportType};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// How long the program waits for an event that must happen.
const DEADLINE: Duration = Duration::from_secs(10);

const TRANSPORTS: [(&str, TransportType); 3] = [
    ("the default transports", TransportType::Any),
    ("websocket only", TransportType::Websocket),
    ("polling only", TransportType::Polling),
];

fn main() -> Outcome<()> {
    for (room, (name, transport)) in (1..).zip(TRANSPORTS) {
        println!("{name}");
        two_users_converse(&transport, room)?;
        an_expired_token_is_refused(&transport)?;
    }
    Ok(())
}

fn two_users_converse(transport: &TransportType, room: u64) -> Outcome<()> {
    let ada = User::connect(transport, "TOKEN_ADA")?;
    let grace = User::connect(transport, "TOKEN_GRACE")?;
    for user in [&ada, &grace] {
        let joined = user.call("joinRoom", json!({ "roomId": room }))?;
        check(joined["ok"] == true && joined["seq"] == 0, &joined)?;
        check(user.next()?.0 == "joinedRoom", &joined)?;
    }
    for n in 0..20 {
        let sender = if n % 2 == 0 { &ada } else { &grace };
        let content = format!("message {n} ✓");
        let sent = sender.call("sendMessage", json!({ "roomId": room, "content": content }))?;
        check(sent["message"]["content"] == content, &sent)?;
        check(sent["message"]["seq"] == n + 1, &sent)?;
        for user in [&ada, &grace] {
            let (event, message) = user.next()?;
            check(
                event == "newMessage" && message == sent["message"],
                &message,
            )?;
        }
    }
    let refused = ada.call("sendMessage", json!({ "roomId": room, "content": "" }))?;
    check(refused["error"]["code"] == "invalid_payload", &refused)?;
    let (event, error) = ada.next()?;
    check(
        event == "error" && error["code"] == "invalid_payload",
        &error,
    )?;
    ada.client.disconnect()?;
    grace.client.disconnect()?;
    Ok(())
}

fn an_expired_token_is_refused(transport: &TransportType) -> Outcome<()> {
    let user = User::open(transport, "TOKEN_EXPIRED")?;
    let (event, error) = user.next()?;
    // Over long-polling, this client first answers the heartbeat that came with the refusal,
    // and reports that it cannot: the session has ended.
    let has_reason = error.to_string().contains("token_expired");
    let is_refused = has_reason || *transport == TransportType::Polling;
    check(event == "error" && is_refused, &error)
}

/// A connection, and the events that it received, in their order.
struct User {
    client: Client,
    events: Receiver<(String, Value)>,
}

impl User {
    /// Connects as the user of the token in this environment variable.
    fn connect(transport: &TransportType, token: &str) -> Outcome<Self> {
        let user = Self::open(transport, token)?;
        let (event, payload) = user.next()?;
        check(event == "open", &payload)?;
        Ok(user)
    }

    fn open(transport: &TransportType, token: &str) -> Outcome<Self> {
        let (sender, events) = mpsc::channel();
        let client = ClientBuilder::new(env::var("GATEWAY_URL")?)
            .auth(json!({ "token": env::var(token)? }))
            .transport_type(transport.clone())
            .reconnect(false)
            .on_any({
                let sender = sender.clone();
                move |event: Event, payload: Payload, _| {
                    sender.send((event.into(), argument_of(payload))).ok();
                }
            })
            .on(Event::Connect, {
                let sender = sender.clone();
                move |payload, _| {
                    sender.send(("open".to_owned(), argument_of(payload))).ok();
                }
            })
            .on(Event::Error, move |payload, _| {
                sender.send(("error".to_owned(), argument_of(payload))).ok();
            })
            .connect()?;
        Ok(Self { client, events })
    }

    /// Waits for the next event.
    fn next(&self) -> Outcome<(String, Value)> {
        Ok(self.events.recv_timeout(DEADLINE)?)
    }

    /// Sends an event and waits for its acknowledgement.
    fn call(&self, event: &str, payload: Value) -> Outcome<Value> {
        let (sender, answer) = mpsc::channel();
        // This client passes the arguments of an acknowledgement as one array.
        let acknowledged = move |payload: Payload, _| {
            sender.send(argument_of(payload)[0].take()).ok();
        };
        self.client
            .emit_with_ack(event, payload, DEADLINE, acknowledged)?;
        Ok(answer.recv_timeout(DEADLINE)?)
    }
}

/// Returns an event's only argument.
fn argument_of(payload: Payload) -> Value {
    match payload {
        Payload::Text(arguments, _) => arguments.into_iter().next().unwrap_or_default(),
        other => Value::String(format!("{other:?}")),
    }
}

fn check(holds: bool, seen: &Value) -> Outcome<()> {
    match holds {
        true => Ok(()),
        false => Err(format!("unexpected: {seen}").into()),
    }
}

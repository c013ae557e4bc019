//! Handling packets: events, and answers to requests.

use std::sync::atomic::Ordering;

use serde_json::Value;

use super::{Client, Request};
use crate::record::{Event, Message, Shown, compact, original};
use crate::stage::RULED;

impl Client {
    /// Handles a packet and returns whether the connection continues.
    pub(super) fn handle(&mut self, packet: &str) -> bool {
        if packet == "2" {
            self.pending.packets.push("3".to_owned());
        } else if let Some(event) = packet.strip_prefix("42") {
            let [name, payload]: [Value; 2] = serde_json::from_str(event).expect(event);
            self.handle_event(name.as_str().unwrap(), &payload);
        } else if let Some(ack) = packet.strip_prefix("43") {
            let (id, answer) = ack.split_at(ack.find('[').unwrap());
            let [answer]: [Value; 1] = serde_json::from_str(answer).expect(ack);
            self.handle_answer(id.parse().unwrap(), &answer);
        } else if packet == "1" || packet.starts_with("41") {
            return false;
        } else {
            panic!("an unexpected packet: {packet}");
        }
        true
    }

    fn handle_event(&mut self, name: &str, payload: &Value) {
        let room = payload["roomId"].as_u64();
        match name {
            "newMessage" => {
                let message = self.message(payload);
                self.saw(message.room, message.seq);
                self.record(Event::Received(message));
                self.shown(payload, Shown::Message);
            }
            "messageChanged" if self.is_editor() => self.message_changed(payload),
            "joinedRoom" => self.joined(payload),
            "leftRoom" => match payload["reason"].as_str() {
                None => self.left(room.unwrap()),
                Some(reason) => self.excluded(room.unwrap(), reason),
            },
            "roomChanged" | "memberChanged" => {
                self.record(Event::Announced {
                    room: room.unwrap(),
                });
            }
            "markedRead" => self.record(Event::MarkedRead {
                room: room.unwrap(),
                user: payload["userId"].as_str().unwrap().to_owned(),
                seq: payload["seq"].as_u64().unwrap(),
            }),
            "error" => self.record(Event::Error {
                event: payload["event"].as_str().map(str::to_owned),
                code: payload["code"].as_str().unwrap().to_owned(),
            }),
            _ => panic!("an unexpected event: {name} {payload}"),
        }
    }

    fn handle_answer(&mut self, id: u64, answer: &Value) {
        let request = self
            .pending
            .requests
            .remove(&id)
            .expect("each request is answered once");
        match answer["ok"].as_bool().unwrap() {
            true => self.succeeded(request, answer),
            false => self.failed(request, &answer["error"]),
        }
    }

    fn succeeded(&mut self, request: Request, answer: &Value) {
        match request {
            Request::Send {
                attempt, content, ..
            } => {
                let message = self.message(&answer["message"]);
                self.may_edit(message.seq, &content);
                if !RULED.contains(&message.room) {
                    self.crowd.acknowledged[self.node].fetch_add(1, Ordering::Relaxed);
                }
                self.record(Event::Acknowledged { attempt, message });
                self.send_acknowledged(&content);
            }
            Request::Join { room } => self.join_acknowledged(room, answer),
            Request::Leave { .. } => {}
            Request::List { room, after } => {
                let listed = answer["messages"].as_array().unwrap();
                for message in listed {
                    self.shown(message, Shown::Page);
                }
                let messages = listed.iter().map(|m| self.message(m)).collect();
                let has_more = answer["hasMore"].as_bool().unwrap();
                self.listed(room, after, Some((messages, has_more)));
            }
            Request::Mark { room, seq } => self.record(Event::Marked {
                room,
                requested: seq,
                seq: answer["seq"].as_u64().unwrap(),
                unread: answer["unread"].as_u64().unwrap(),
            }),
            Request::Change { change, .. } => self.changed(change),
            Request::Look { room, .. } => self.looked(room, answer),
            Request::Edit { .. } => self.edit_answered(Some(answer), false),
            Request::ListChanges { after } => self.changes_listed(after, Some(answer)),
        }
    }

    fn failed(&mut self, request: Request, error: &Value) {
        let code = error["code"].as_str().unwrap();
        self.record(Event::Refused {
            operation: request.operation(),
            code: code.to_owned(),
        });
        match request {
            Request::Send { room, content, .. } => {
                if !RULED.contains(&room) {
                    self.crowd.refused.fetch_add(1, Ordering::Relaxed);
                }
                self.send_refused(&content, code, error["retryable"] == true);
            }
            Request::Join { room } => self.join_refused(room),
            Request::Leave { room } => self.leave_refused(room),
            Request::List { room, after } => self.listed(room, after, None),
            Request::Mark { .. } => {}
            Request::Change { .. } | Request::Look { .. } => {
                self.step_refused(error["retryable"] == true);
            }
            Request::Edit { .. } => self.edit_answered(None, error["retryable"] == true),
            Request::ListChanges { after } => self.changes_listed(after, None),
        }
    }

    /// Reads a `Message` of the wire, with the content that it was stored with.
    fn message(&self, value: &Value) -> Message {
        let message = message(value);
        let id = message.client_message_id.as_deref();
        let content = original(&message.content, id, self.crowd.length);
        Message { content, ..message }
    }
}

/// Reads a `Message` of the wire.
fn message(value: &Value) -> Message {
    let number = |name: &str| {
        value[name]
            .as_u64()
            .unwrap_or_else(|| panic!("{name} in {value}"))
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let user = text(&value["userId"]).expect("the author's id");
    assert_eq!(text(&value["user"]["id"]).as_ref(), Some(&user), "{value}");
    Message {
        id: number("id"),
        room: number("roomId"),
        seq: number("seq"),
        user,
        name: text(&value["user"]["name"]).expect("the author's name"),
        client_message_id: text(&value["clientMessageId"]),
        content: compact(value["content"].as_str().expect("the content")),
        created_at: text(&value["createdAt"]).expect("the time"),
    }
}

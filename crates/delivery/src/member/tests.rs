use chat_domain::{ConnectionId, RoomSequencer};

use super::*;
use crate::recipient::Gone;

/// A recipient that records what it is given.
#[derive(Default)]
struct Recorder(Mutex<Vec<Bytes>>);

impl Recipient for Recorder {
    fn id(&self) -> ConnectionId {
        ConnectionId::new(1)
    }

    fn give(&self, frames: Bytes) {
        lock(&self.0).push(frames);
    }

    fn give_live(&self, frames: &Bytes) -> LiveGive {
        self.give(frames.clone());
        LiveGive::Taken
    }

    async fn space(&self) -> Result<(), Gone> {
        Ok(())
    }

    fn is_gone(&self) -> bool {
        false
    }
}

fn seq(n: u64) -> Seq {
    Seq::new(n).unwrap()
}

fn enter(start: Start) -> Member<Recorder> {
    let seam = Seam {
        seq: seq(4),
        ..Seam::default()
    };
    Member::enter(Arc::default(), seam, start)
}

fn given(member: &Member<Recorder>) -> Vec<Bytes> {
    std::mem::take(&mut lock(&member.recipient.0))
}

fn frame(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn message(text: &'static str) -> Frame {
    let (bytes, rev) = (frame(text), Rev::START);
    Frame { bytes, rev }
}

/// The messages 4 to 6.
fn batch() -> Batch {
    let mut sequencer = RoomSequencer::start(seq(3), 9);
    for (n, text) in [(4, "4"), (5, "5"), (6, "6")] {
        sequencer.offer(seq(n), message(text));
    }
    Batch::release(&mut sequencer).unwrap()
}

fn updates(at: u64, text: &'static str) -> Updates {
    let update = Update {
        seq: seq(at),
        frame: frame(text),
    };
    Updates {
        list: vec![(UserId::new("7").unwrap(), update)],
        frames: frame(text),
        newest: seq(at),
    }
}

/// Two tasks may serve a member after one of them panicked.
#[test]
fn a_member_is_not_given_a_message_that_it_has() {
    let member = enter(Start::Behind);
    for n in [4, 5, 5, 6] {
        assert!(member.give(seq(n), message("x")).is_ok());
    }
    assert_eq!(given(&member).len(), 2);
}

#[test]
fn a_batch_that_overlaps_what_a_member_has_is_handed_over_in_part() {
    let member = enter(Start::Live);
    for expected in [vec![frame("56")], Vec::new()] {
        assert_eq!(member.hand_out(&batch()), Handed::Done);
        assert_eq!(given(&member), expected);
    }
}

#[test]
fn a_read_pointer_follows_the_batch_with_the_message_that_it_names() {
    let member = enter(Start::Live);
    assert_eq!(member.hand_out_reads(&updates(6, "read")), Handed::Done);
    assert!(given(&member).is_empty());
    assert_eq!(member.hand_out(&batch()), Handed::Done);
    assert_eq!(given(&member), [frame("56"), frame("read")]);
}

/// A room forgets users when there are very many, and may then hand out an old pointer.
#[test]
fn an_older_read_pointer_does_not_replace_a_newer_one_that_waits() {
    let member = enter(Start::Behind);
    for updates in [updates(3, "3"), updates(4, "4"), updates(2, "2")] {
        assert_eq!(member.hand_out_reads(&updates), Handed::Done);
    }
    assert!(given(&member).is_empty());
    assert_eq!(member.catch_up(seq(4), Rev::START), NextRead::CaughtUp);
    assert_eq!(given(&member), [frame("4")]);
}

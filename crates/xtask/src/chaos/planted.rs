//! A gateway with planted bugs, which the chaos tests must find. All of them are in one program;
//! its environment variable `PLANTED_BUG` selects one.
//!
//! The program is built from a copy of the workspace in `target/planted`, in the same target
//! folder, so that only the crates of the workspace are built once more.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::Error;
use crate::machine::{run, workspace};

/// The program's name.
const PROGRAM: &str = "chat-gateway-planted";

/// Text that stands once in a source file of the workspace, and what stands there instead.
struct Plant {
    file: &'static str,
    from: &'static str,
    to: &'static str,
}

const PLANTS: [Plant; 7] = [
    Plant {
        file: "crates/gateway/Cargo.toml",
        from: "[package]\nname = \"chat-gateway\"\n",
        to: "[[bin]]\nname = \"chat-gateway-planted\"\npath = \"src/main.rs\"\n\n\
             [package]\nname = \"chat-gateway\"\nautobins = false\n",
    },
    // The transaction ends after the answer.
    Plant {
        file: "crates/adapters/src/postgres/store/append.rs",
        from: "        match in_time(calling).await {\n",
        to: "        let is_planted = std::env::var(\"PLANTED_BUG\")
            .is_ok_and(|bug| bug == \"acknowledged_before_the_commit\");
        if is_planted {
            self.client.batch_execute(\"BEGIN\").await.ok();
        }
        let outcome = in_time(calling).await;
        for later in [\"SELECT pg_sleep(0.03)\", \"COMMIT\"] {
            let mut sent = std::pin::pin!(self.client.batch_execute(later));
            if is_planted {
                std::future::poll_fn(|context| {
                    let _ = sent.as_mut().poll(context);
                    std::task::Poll::Ready(())
                })
                .await;
            }
        }
        match outcome {\n",
    },
    // A batch whose outcome is unknown does not keep its rooms.
    Plant {
        file: "crates/adapters/src/postgres/store.rs",
        from: "        let unsettled = self.unsettled.take()?;\n",
        to: "        let unsettled = self.unsettled.take()?;
        if std::env::var(\"PLANTED_BUG\").is_ok_and(|bug| bug == \"no_fence\") {
            return None;
        }\n",
    },
    // A message is handed out although one before it is missing.
    Plant {
        file: "crates/domain/src/sequencer.rs",
        from: "        self.reaches(seq);\n        if seq <= self.released {\n",
        to: "        self.reaches(seq);
        if std::env::var(\"PLANTED_BUG\").is_ok_and(|bug| bug == \"a_hint_is_trusted\") {
            self.complete_to = self.complete_to.max(seq.before());
        }
        if seq <= self.released {\n",
    },
    // A message is stored although the rules have changed since it was decided.
    Plant {
        file: "crates/adapters/src/sqlite/store.rs",
        from: "    let counted = diesel::update(rooms::table.find(room_id))
        .filter(rooms::rules.eq(decided_by))\n",
        to: "    let is_planted = std::env::var(\"PLANTED_BUG\")
            .is_ok_and(|bug| bug == \"rules_are_not_compared\");
        let any = if is_planted { 0 } else { i64::MAX };
        let counted = diesel::update(rooms::table.find(room_id))
            .filter(rooms::rules.eq(decided_by).or(rooms::rules.ge(any)))\n",
    },
    // A connection stays in a room from which its user is excluded.
    Plant {
        file: "crates/gateway/src/rules.rs",
        from: "                if permit.decide(Action::Read).is_err() {\n",
        to: "                let is_planted = std::env::var(\"PLANTED_BUG\")
                    .is_ok_and(|bug| bug == \"an_excluded_member_stays\");
                if !is_planted && permit.decide(Action::Read).is_err() {\n",
    },
    // Cargo finds the sources of the copy, not of this workspace.
    Plant {
        file: "Cargo.toml",
        from: "members = [\"crates/*\"]\n",
        to: "members = [\"crates/gateway\"]\n",
    },
];

/// Builds the program and returns its path.
pub(super) fn build(mut cargo: Command) -> Result<PathBuf, Error> {
    let target = workspace().join("target");
    let copy = target.join("planted");
    fs::create_dir_all(&copy)?;
    for name in ["Cargo.toml", "Cargo.lock", "crates", "migrations"] {
        copy_changed(&workspace().join(name), &copy.join(name), Path::new(name))?;
    }
    cargo
        .args(["build", "--quiet", "--bin", PROGRAM, "--manifest-path"])
        .arg(copy.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target);
    run(&mut cargo)?;
    Ok(target.join("debug").join(PROGRAM))
}

/// Copies what has changed, with the plants.
fn copy_changed(from: &Path, to: &Path, name: &Path) -> Result<(), Error> {
    if from.is_dir() {
        if name.ends_with("node_modules") {
            return Ok(());
        }
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?.file_name();
            copy_changed(&from.join(&entry), &to.join(&entry), &name.join(&entry))?;
        }
        return Ok(());
    }
    let mut bytes = fs::read(from)?;
    for plant in PLANTS.iter().filter(|plant| Path::new(plant.file) == name) {
        bytes = plant.apply(&String::from_utf8(bytes)?)?.into_bytes();
    }
    // An unchanged file is not compiled again.
    if fs::read(to).ok().as_ref() != Some(&bytes) {
        fs::write(to, bytes)?;
    }
    Ok(())
}

impl Plant {
    fn apply(&self, text: &str) -> Result<String, Error> {
        match text.matches(self.from).count() {
            1 => Ok(text.replace(self.from, self.to)),
            count => Err(format!("{} has {:?} {count} times", self.file, self.from).into()),
        }
    }
}

#[test]
fn every_plant_has_its_place() -> Result<(), Error> {
    for plant in &PLANTS {
        plant.apply(&fs::read_to_string(workspace().join(plant.file))?)?;
    }
    Ok(())
}

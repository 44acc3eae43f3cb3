//! The campaign's side of a broker in another process.

use std::collections::HashMap;
use std::io::BufReader;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use cordon_broker::log::{PeerError, Peers};
use cordon_protocol::frame::{MAX_FRAME_BYTES, read_message, write_message};
use cordon_protocol::message::{FromBroker, ToBroker};
use cordon_types::PartyId;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use super::tracer::Tracer;
use super::wire::{Answer, Ask, FromChild, Start, ToChild};
use crate::world::Direct;

/// A broker in a process of its own.
pub(super) struct Remote {
    shared: Arc<Shared>,
    process: Mutex<Child>,
    pub tracer: Option<Tracer>,
    life: watch::Receiver<Life>,
}

struct Shared {
    next: AtomicU64,
    /// `None` when the child is gone.
    waiting: Mutex<Option<HashMap<u64, oneshot::Sender<Answer>>>>,
    input: Mutex<ChildStdin>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Starting,
    Running,
    Gone,
}

impl Remote {
    /// Starts it; it asks the other brokers through `direct`.
    ///
    /// # Errors
    /// If there is no process to be had, or it cannot be traced.
    pub fn start(program: &Path, start: &Start, direct: &Direct) -> Result<Self> {
        let mut process = Command::new(program)
            .arg("broker")
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{}`", program.display()))?;
        let input = process.stdin.take().context("an input")?;
        let output = process.stdout.take().context("an output")?;
        let tracer = start.traced.then(|| Tracer::attach(process.id())).transpose()?;
        let waiting = Mutex::new(Some(HashMap::new()));
        let shared =
            Arc::new(Shared { next: AtomicU64::new(0), waiting, input: Mutex::new(input) });
        shared.write(&ToChild::Start(start.clone()))?;
        let (lives, life) = watch::channel(Life::Starting);
        let (reading, direct, runtime) = (shared.clone(), direct.clone(), Handle::current());
        std::thread::Builder::new()
            .name("from-child".to_owned())
            .spawn(move || read(&reading, output, &direct, &runtime, &lives))?;
        Ok(Self { shared, process: Mutex::new(process), tracer, life })
    }

    /// Resolves when it runs; `false` if it ended before.
    pub async fn is_started(&self) -> bool {
        let mut life = self.life.clone();
        let found = life.wait_for(|life| *life != Life::Starting).await;
        found.is_ok_and(|life| *life == Life::Running)
    }

    /// Resolves when it is gone, and everything that it said was read.
    pub async fn gone(&self) {
        let mut life = self.life.clone();
        // A reader that is gone means the same.
        let _ = life.wait_for(|life| *life == Life::Gone).await;
        if self.tracer.is_none() {
            // The tracer sees the end of what it traces itself.
            let _ = self.process().wait();
        }
    }

    /// Kills it now.
    pub fn kill(&self) {
        // It may have ended by itself.
        let _ = self.process().kill();
    }

    /// Asks; `None` if it is gone before it answers.
    pub async fn ask(&self, ask: Ask) -> Option<Answer> {
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.shared.waiting().as_mut()?.insert(id, sender);
        self.shared.write(&ToChild::Ask { id, ask }).ok()?;
        answer.await.ok()
    }

    fn process(&self) -> MutexGuard<'_, Child> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.kill();
        if self.tracer.is_none() {
            let _ = self.process().wait();
        }
    }
}

impl Shared {
    fn write(&self, message: &ToChild) -> Result<()> {
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(write_message(&mut *input, message)?)
    }

    fn waiting(&self) -> MutexGuard<'_, Option<HashMap<u64, oneshot::Sender<Answer>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(
    shared: &Arc<Shared>,
    output: ChildStdout,
    direct: &Direct,
    runtime: &Handle,
    lives: &watch::Sender<Life>,
) {
    let mut output = BufReader::new(output);
    // A frame that was cut off by the kill did not arrive.
    while let Ok(message) = read_message(&mut output, MAX_FRAME_BYTES) {
        match message {
            FromChild::Started => {
                lives.send_replace(Life::Running);
            }
            FromChild::Answer { id, answer } => {
                let waiting = shared.waiting().as_mut().and_then(|waiting| waiting.remove(&id));
                if let Some(waiting) = waiting {
                    let _ = waiting.send(answer);
                }
            }
            FromChild::Peer { id, party, message } => {
                let (shared, direct) = (shared.clone(), direct.clone());
                runtime.spawn(async move {
                    let answer = direct.send(&party, *message).await.map(Box::new);
                    let _ = shared.write(&ToChild::PeerAnswer { id, answer });
                });
            }
        }
    }
    // Whoever waits learns that no answer comes.
    shared.waiting().take();
    lives.send_replace(Life::Gone);
}

impl Peers for Remote {
    fn ask<'a>(
        &'a self,
        _party: &'a PartyId,
        message: ToBroker,
    ) -> BoxFuture<'a, Result<FromBroker, PeerError>> {
        Box::pin(async move {
            match Self::ask(self, Ask::Message(Box::new(message))).await {
                Some(Answer::Message(Some(answer))) => Ok(*answer),
                Some(other) => Err(PeerError(format!("{other:?}"))),
                None => Err(PeerError("gone".to_owned())),
            }
        })
    }
}

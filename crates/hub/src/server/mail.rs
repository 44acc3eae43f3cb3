//! Mailboxes on disk: one folder each, one file per message, named by its cursor.
//!
//! Cursors grow and are never used twice, not even after a restart: the newest file of a mailbox
//! stays, as an empty `.floor`, when its message has been acknowledged. Messages become visible
//! in the order of their cursors, so a reader that acknowledges up to what it has seen can never
//! acknowledge what it has not.
//!
//! What a crash leaves: of a post, nothing, a torn file (dropped at start: its sender was told
//! nothing and posts again), or the message; of an acknowledgement, some messages, which are
//! delivered again. Messages to parties and persons are synced before the sender hears of them.
//! Those in reply mailboxes are not: they survive the hub, but not a power cut, after which
//! their readers, live processes, ask again.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use cordon_crypto::sha256;
use cordon_types::{PartyId, PersonId, Sha256Digest, UnixMillis};
use tokio::sync::Notify;

use super::problem::{Code, Problem};
use super::{durable, lock};
use crate::api::{MailboxName, Message, digest_from_hex};

/// Most messages in one answer.
const MAX_BATCH_MESSAGES: usize = 64;
/// An answer ends with the message that passes this.
const BATCH_BYTES: u64 = 8 * 1024 * 1024;
/// A reply mailbox that nobody has read for this long is removed.
const REPLY_IDLE_MS: u64 = 60 * 60 * 1000;

/// How much mail a hub holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MailLimits {
    /// Waiting messages per mailbox. Unknown senders may fill half of it, so that they cannot
    /// shut out those whom the hub knows.
    pub(crate) messages: usize,
    /// Their bytes; likewise.
    pub(crate) bytes: u64,
    /// Bytes in all mailboxes.
    pub(crate) all_bytes: u64,
    /// Reply mailboxes at a time.
    pub(crate) replies: usize,
}

/// All mailboxes.
pub(crate) struct Mail {
    folder: PathBuf,
    limits: MailLimits,
    mailboxes: Mutex<BTreeMap<MailboxName, Arc<Mailbox>>>,
    bytes: AtomicU64,
}

/// One mailbox.
pub(crate) struct Mailbox {
    folder: PathBuf,
    durable: bool,
    state: Mutex<State>,
    /// Wakes long polls.
    pub(crate) arrived: Notify,
}

struct State {
    waiting: BTreeMap<u64, Waiting>,
    by_content: HashMap<Sha256Digest, u64>,
    next: u64,
    bytes: u64,
    last_read: UnixMillis,
}

struct Waiting {
    bytes: u64,
    content: Sha256Digest,
}

impl Mail {
    pub(crate) fn open(
        folder: PathBuf,
        limits: MailLimits,
        now: UnixMillis,
    ) -> std::io::Result<Self> {
        let mail = Self { folder, limits, mailboxes: Mutex::default(), bytes: AtomicU64::new(0) };
        for kind in [PARTIES, PERSONS, REPLIES] {
            durable::create_folder(&mail.folder.join(kind))?;
        }
        let mut names = Vec::new();
        for party in durable::list(&mail.folder.join(PARTIES))? {
            names.extend(party.parse::<PartyId>().map(MailboxName::Party));
        }
        for party in durable::list(&mail.folder.join(PERSONS))? {
            let Ok(id) = party.parse::<PartyId>() else { continue };
            for person in durable::list(&mail.folder.join(PERSONS).join(&party))? {
                let person = person.parse::<PersonId>();
                names.extend(person.map(|person| MailboxName::Person(id.clone(), person)));
            }
        }
        for key in durable::list(&mail.folder.join(REPLIES))? {
            names.extend(digest_from_hex(&key).map(MailboxName::Reply));
        }
        for name in names {
            let mailbox = Mailbox::load(mail.folder_of(&name), is_durable(&name), now)?;
            mail.bytes.fetch_add(lock(&mailbox.state).bytes, Ordering::Relaxed);
            lock(&mail.mailboxes).insert(name, Arc::new(mailbox));
        }
        Ok(mail)
    }

    /// The mailbox, if it is there.
    pub(crate) fn find(&self, name: &MailboxName) -> Option<Arc<Mailbox>> {
        lock(&self.mailboxes).get(name).cloned()
    }

    /// The mailbox, made if missing. Blocks.
    pub(crate) fn open_mailbox(
        &self,
        name: &MailboxName,
        now: UnixMillis,
    ) -> Result<Arc<Mailbox>, Problem> {
        if let Some(mailbox) = self.find(name) {
            return Ok(mailbox);
        }
        if let MailboxName::Reply(_) = name {
            self.remove_idle(now);
        }
        let mut mailboxes = lock(&self.mailboxes);
        if let MailboxName::Reply(_) = name {
            let replies = mailboxes.keys().filter(|n| matches!(n, MailboxName::Reply(_))).count();
            if replies >= self.limits.replies {
                return Err(Problem::new(Code::TooMany));
            }
        }
        if let Some(mailbox) = mailboxes.get(name) {
            return Ok(mailbox.clone());
        }
        let folder = self.folder_of(name);
        let mailbox = durable::create_folder(&folder)
            .and_then(|()| match folder.parent() {
                Some(parent) => durable::sync_folder_of(parent),
                None => Ok(()),
            })
            .and_then(|()| Mailbox::load(folder, is_durable(name), now))
            .map_err(|e| Problem::from_io("open mailbox", &e))?;
        let mailbox = Arc::new(mailbox);
        mailboxes.insert(name.clone(), mailbox.clone());
        Ok(mailbox)
    }

    /// Removes a reply mailbox with what is in it. Blocks.
    pub(crate) fn remove(&self, name: &MailboxName) -> Result<(), Problem> {
        let Some(mailbox) = lock(&self.mailboxes).remove(name) else { return Ok(()) };
        let mut state = lock(&mailbox.state);
        self.bytes.fetch_sub(state.bytes, Ordering::Relaxed);
        // Posts that still hold the mailbox find it full from now on.
        *state = State::removed();
        fs::remove_dir_all(&mailbox.folder).map_err(|e| Problem::from_io("remove mailbox", &e))
    }

    /// Puts a message into a mailbox. The same bytes twice are one message while the first still
    /// waits: a sender that got no answer may post again. Blocks.
    pub(crate) fn post(
        &self,
        mailbox: &Mailbox,
        body: &[u8],
        sender_known: bool,
    ) -> Result<u64, Problem> {
        let content = sha256(&[body]);
        let bytes = body.len() as u64;
        let share = if sender_known || !mailbox.durable { 1 } else { 2 };
        let mut state = lock(&mailbox.state);
        if let Some(cursor) = state.by_content.get(&content) {
            return Ok(*cursor);
        }
        if state.waiting.len() >= self.limits.messages / share
            || state.bytes + bytes > self.limits.bytes / share as u64
            || state.next == u64::MAX
        {
            return Err(Problem::new(Code::MailboxFull));
        }
        if self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > self.limits.all_bytes {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Problem::new(Code::StorageFull));
        }
        let cursor = state.next;
        let written = durable::create_checked(&mailbox.message(cursor), body, mailbox.durable);
        if let Err(error) = written {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Problem::from_io("write message", &error));
        }
        state.add(cursor, bytes, content);
        state.next = cursor + 1;
        drop(state);
        mailbox.arrived.notify_waiters();
        Ok(cursor)
    }

    /// Forgets messages up to and including `upto`. Blocks.
    pub(crate) fn acknowledge(&self, mailbox: &Mailbox, upto: u64) -> Result<(), Problem> {
        let mut state = lock(&mailbox.state);
        let kept = state.waiting.split_off(&upto.saturating_add(1));
        let gone = std::mem::replace(&mut state.waiting, kept);
        let newest = state.next.saturating_sub(1);
        let mut failed = None;
        for (cursor, message) in gone {
            state.by_content.remove(&message.content);
            state.bytes -= message.bytes;
            self.bytes.fetch_sub(message.bytes, Ordering::Relaxed);
            let path = mailbox.message(cursor);
            let result = if cursor == newest {
                mailbox.keep_as_floor(cursor, &path)
            } else {
                fs::remove_file(&path)
            };
            failed = result.err().or(failed);
        }
        match failed {
            // What could not be removed is delivered again after a restart, as it may be.
            Some(error) => Err(Problem::from_io("remove message", &error)),
            None => Ok(()),
        }
    }

    fn remove_idle(&self, now: UnixMillis) {
        let idle: Vec<_> = lock(&self.mailboxes)
            .iter()
            .filter(|(name, mailbox)| {
                matches!(name, MailboxName::Reply(_))
                    && now.get().saturating_sub(lock(&mailbox.state).last_read.get())
                        > REPLY_IDLE_MS
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in idle {
            // A folder that cannot be removed is found again, and idle again, after a restart.
            let _ = self.remove(&name);
        }
    }

    fn folder_of(&self, name: &MailboxName) -> PathBuf {
        match name {
            MailboxName::Party(party) => self.folder.join(PARTIES).join(party.as_str()),
            MailboxName::Person(party, person) => {
                self.folder.join(PERSONS).join(party.as_str()).join(person.as_str())
            }
            MailboxName::Reply(key) => self.folder.join(REPLIES).join(key.to_hex()),
        }
    }
}

impl Mailbox {
    fn load(folder: PathBuf, durable: bool, now: UnixMillis) -> std::io::Result<Self> {
        // Cursors start at the time in milliseconds: higher than any that a reader has seen, even
        // where a power cut took an unsynced mailbox back.
        let mut state = State { last_read: now, next: now.get().max(1), ..State::removed() };
        for name in durable::list(&folder)? {
            let path = folder.join(&name);
            let Some((cursor, kind)) = name.split_once('.') else { continue };
            let Ok(cursor) = cursor.parse::<u64>() else { continue };
            if kind == MESSAGE {
                match durable::read_checked(&path)? {
                    Some(body) => state.add(cursor, body.len() as u64, sha256(&[&body])),
                    None => fs::remove_file(&path)?,
                }
            }
            // A torn message used no cursor that anybody has seen; skipping it is safe too.
            state.next = state.next.max(cursor.saturating_add(1));
        }
        Ok(Self { folder, durable, state: Mutex::new(state), arrived: Notify::new() })
    }

    /// Messages after `after`, oldest first: as many as fit one answer. Blocks.
    pub(crate) fn messages(&self, after: u64, now: UnixMillis) -> Result<Vec<Message>, Problem> {
        let mut state = lock(&self.state);
        state.last_read = now;
        let mut messages = Vec::new();
        let mut bytes = 0;
        let start = after.saturating_add(1);
        for (cursor, waiting) in state.waiting.range(start..).take(MAX_BATCH_MESSAGES) {
            let body = durable::read_checked(&self.message(*cursor))
                .map_err(|e| Problem::from_io("read message", &e))?
                .ok_or_else(|| Problem::new(Code::Internal))?;
            bytes += waiting.bytes;
            messages.push(Message { cursor: *cursor, body: body.into() });
            if bytes >= BATCH_BYTES {
                break;
            }
        }
        Ok(messages)
    }

    /// Whether something waits after `after`.
    pub(crate) fn has_after(&self, after: u64) -> bool {
        lock(&self.state).waiting.range(after.saturating_add(1)..).next().is_some()
    }

    /// Turns the newest message into the file that remembers its cursor, and forgets the older
    /// ones that did.
    fn keep_as_floor(&self, cursor: u64, message: &Path) -> std::io::Result<()> {
        let floor = self.folder.join(format!("{cursor:020}.{FLOOR}"));
        fs::rename(message, &floor)?;
        fs::OpenOptions::new().write(true).open(&floor)?.set_len(0)?;
        for name in durable::list(&self.folder)? {
            let old = name.strip_suffix(FLOOR).and_then(|n| n.strip_suffix('.'));
            if old.and_then(|n| n.parse::<u64>().ok()).is_some_and(|old| old < cursor) {
                fs::remove_file(self.folder.join(name))?;
            }
        }
        Ok(())
    }

    fn message(&self, cursor: u64) -> PathBuf {
        self.folder.join(format!("{cursor:020}.{MESSAGE}"))
    }
}

impl State {
    /// Accepts nothing.
    fn removed() -> Self {
        Self {
            waiting: BTreeMap::new(),
            by_content: HashMap::new(),
            next: u64::MAX,
            bytes: 0,
            last_read: UnixMillis::new(0),
        }
    }

    fn add(&mut self, cursor: u64, bytes: u64, content: Sha256Digest) {
        self.waiting.insert(cursor, Waiting { bytes, content });
        self.by_content.insert(content, cursor);
        self.bytes += bytes;
    }
}

fn is_durable(name: &MailboxName) -> bool {
    !matches!(name, MailboxName::Reply(_))
}

const PARTIES: &str = "parties";
const PERSONS: &str = "persons";
const REPLIES: &str = "replies";
const MESSAGE: &str = "msg";
const FLOOR: &str = "floor";

//! The broker's database: SQLite, one writer, durable before anything is told to anybody.
//!
//! Operations that wait while a commit is on its way to the disk share the next one (group
//! commit): each runs in a savepoint of its own, so that one refusal undoes only itself, and
//! nobody hears of success before the one `COMMIT` of all. With `synchronous=FULL` that commit
//! has reached the disk.

use std::fs::File;
use std::path::Path;
use std::str::FromStr;

use futures_util::future::BoxFuture;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection as _, SqlSafeStr as _, SqliteConnection, SqlitePool};
use tokio::sync::{mpsc, oneshot};

use crate::log::LogError;

/// Most operations in one commit: bounds how long the first of them waits.
const MAX_GROUP: usize = 128;
/// Most operations that wait; beyond that callers wait to hand theirs in.
const MAX_WAITING: usize = 1024;
/// Readers beside the one writer.
const READERS: u32 = 4;

/// Why the database did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another broker process has this folder.
    #[error("another broker process uses `{0}`: stop it first")]
    InUse(String),
    /// The folder cannot be used.
    #[error("cannot open `{path}`")]
    Open {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// There is no room for it. It was not recorded, and what is recorded is safe.
    #[error("the disk is full: nothing was recorded")]
    Full,
    /// The commit failed.
    #[error("the disk failed: nothing was recorded")]
    NotCommitted,
    /// SQLite failed.
    #[error("the database failed")]
    Database(#[source] sqlx::Error),
    /// Migrating failed, for example because a newer program wrote the database.
    #[error("cannot bring the database to this program's version")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// A stored document does not read back: a bug, or somebody edited the file.
    #[error("a stored document of kind `{0}` does not read back")]
    Corrupt(&'static str),
    /// A rule that the database keeps refused the row.
    #[error("refused: {0}")]
    Conflict(Conflict),
    /// The log could not take an entry.
    #[error("the log refused an entry")]
    Log(#[source] LogError),
    /// The writer is gone.
    #[error("the broker is shutting down")]
    Closed,
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if is_full(&error) { Self::Full } else { Self::Database(error) }
    }
}

/// Rules that rows keep among each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// A signed document came a second time.
    #[error("this document was used before")]
    NonceUsed,
    /// All runs of the agreement are spent.
    #[error("the agreement's runs are spent")]
    RunsSpent,
    /// This run was granted to another guard key.
    #[error("this run was granted to another guard")]
    OtherGuard,
    /// This person rejected the agreement, which is for good.
    #[error("this person rejected the agreement before, which is for good")]
    Rejected,
    /// The study was stopped, or the agreement rejected, while a decision was made.
    #[error("the study was stopped, or its agreement rejected, meanwhile")]
    Closed,
    /// Something came in while a decision was made, which is to be made again.
    #[error("something new came in meanwhile")]
    Changed,
    /// A rejection came when the release had left, or was about to.
    #[error("the output is released already, or on its way")]
    Opened,
    /// A reviewer rejected what was about to be released.
    #[error("a reviewer rejected the output meanwhile")]
    Reviewed,
    /// Something of this name is already there, and it is another.
    #[error("already there, and different")]
    Exists,
}

/// The tables, in the order in which they came. sqlx's macro would do the same, and build SQLite a
/// second time for itself.
fn schema() -> Migrator {
    let step = |version, name: &'static str, sql: &'static str| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(vec![
        step(1, "log", include_str!("../migrations/0001_log.sql")),
        step(2, "broker", include_str!("../migrations/0002_broker.sql")),
    ])
}

type Operation<T> =
    dyn for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send;

/// The database of one broker.
pub struct Store {
    jobs: mpsc::Sender<Task>,
    readers: SqlitePool,
    /// Held until it is closed or the process ends; the operating system frees it whatever
    /// happens.
    lock: File,
}

impl Store {
    /// Opens or makes the database in `folder`.
    ///
    /// # Errors
    /// If another process has it, or it cannot be opened or migrated.
    pub async fn open(folder: &Path) -> Result<Self, StoreError> {
        let lock_path = folder.join("broker.lock");
        let open_error =
            |source| StoreError::Open { path: lock_path.display().to_string(), source };
        let lock = File::create(&lock_path).map_err(open_error)?;
        lock.try_lock().map_err(|_| StoreError::InUse(folder.display().to_string()))?;

        let url = format!("sqlite://{}", folder.join("broker.sqlite").display());
        let options = SqliteConnectOptions::from_str(&url)?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true);
        let mut connection = SqliteConnection::connect_with(&options).await?;
        schema().run(&mut connection).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options.read_only(true).create_if_missing(false))
            .await?;
        let (jobs, queue) = mpsc::channel(MAX_WAITING);
        tokio::spawn(write_in_groups(connection, queue));
        Ok(Self { jobs, readers, lock })
    }

    /// Connections that read what is committed.
    pub fn readers(&self) -> &SqlitePool {
        &self.readers
    }

    /// Runs `operation` in a transaction; returns after it is on the disk.
    ///
    /// # Errors
    /// What the operation returned, in which case it left no trace; or the database's failure.
    pub async fn write<T, F>(&self, operation: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, StoreError>>
            + Send
            + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = TypedJob { operation: Some(Box::new(operation)), result: None, reply };
        self.jobs.send(Task::Job(Box::new(job))).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Finishes what waits and closes the database: its files stand still from here on.
    pub async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.jobs.send(Task::Close(reply)).await.is_ok() {
            // An error means that somebody else closed it meanwhile.
            let _ = closed.await;
        }
        self.readers.close().await;
        // Somebody may still hold this store; its folder is free all the same.
        let _ = self.lock.unlock();
    }
}

/// What the writer is asked for.
enum Task {
    Job(Box<dyn Job>),
    Close(oneshot::Sender<()>),
}

/// One waiting operation, whatever it returns.
trait Job: Send {
    /// Runs it; says what becomes of its savepoint.
    fn run<'c>(&'c mut self, connection: &'c mut SqliteConnection) -> BoxFuture<'c, End>;
    /// Tells the caller, after the commit or its failure.
    fn finish(self: Box<Self>, commit: Commit);
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Keep,
    Undo,
    /// SQLite may have undone the whole transaction by itself.
    DiskFull,
}

/// What became of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Commit {
    Durable,
    DiskFull,
    Failed,
}

/// Whether SQLite says that there is no room (`SQLITE_FULL`, or an extended code of it).
fn is_full(error: &sqlx::Error) -> bool {
    const SQLITE_FULL: i32 = 13;
    let code = error.as_database_error().and_then(|error| error.code());
    code.and_then(|code| code.parse::<i32>().ok()).is_some_and(|code| code & 0xff == SQLITE_FULL)
}

struct TypedJob<T> {
    operation: Option<Box<Operation<T>>>,
    result: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T: Send + 'static> Job for TypedJob<T> {
    fn run<'c>(&'c mut self, connection: &'c mut SqliteConnection) -> BoxFuture<'c, End> {
        Box::pin(async move {
            let Some(operation) = self.operation.take() else { return End::Undo };
            let result = match operation(connection).await {
                Err(StoreError::Log(LogError::Database(error))) => Err(error.into()),
                result => result,
            };
            let end = match &result {
                Ok(_) => End::Keep,
                Err(StoreError::Full) => End::DiskFull,
                Err(_) => End::Undo,
            };
            self.result = Some(result);
            end
        })
    }

    fn finish(self: Box<Self>, commit: Commit) {
        let result = match (self.result, commit) {
            (Some(Err(error)), Commit::Durable | Commit::Failed) => Err(error),
            (Some(Ok(value)), Commit::Durable) => Ok(value),
            (_, Commit::DiskFull) => Err(StoreError::Full),
            (_, Commit::Durable | Commit::Failed) => Err(StoreError::NotCommitted),
        };
        // The caller may have given up waiting; what is committed stays committed.
        let _ = self.reply.send(result);
    }
}

async fn write_in_groups(mut connection: SqliteConnection, mut queue: mpsc::Receiver<Task>) {
    let mut closing = None;
    while closing.is_none() {
        let mut next = queue.recv().await;
        let mut group = Vec::new();
        loop {
            match next {
                Some(Task::Job(job)) => group.push(job),
                Some(Task::Close(reply)) => closing = Some(reply),
                None => return,
            }
            next = match queue.try_recv() {
                Ok(task) if closing.is_none() && group.len() < MAX_GROUP => Some(task),
                _ => break,
            };
        }
        if group.is_empty() {
            continue;
        }
        let committed = commit_group(&mut connection, &mut group).await;
        if let Err(error) = &committed {
            tracing::error!(error = crate::why(error), "a commit failed");
            // An error means that SQLite did that already.
            let _ = sqlx::query("ROLLBACK").execute(&mut connection).await;
        }
        let commit = match committed {
            Ok(()) => Commit::Durable,
            Err(StoreError::Full) => Commit::DiskFull,
            Err(_) => Commit::Failed,
        };
        for job in group {
            job.finish(commit);
        }
    }
    if let Err(error) = connection.close().await {
        tracing::error!(error = crate::why(&error), "the database does not close");
    }
    if let Some(reply) = closing {
        let _ = reply.send(());
    }
}

async fn commit_group(
    connection: &mut SqliteConnection,
    group: &mut [Box<dyn Job>],
) -> Result<(), StoreError> {
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await?;
    // Alone, it needs no savepoint: each statement is a way to another thread and back.
    if let [job] = group {
        let end = match job.run(&mut *connection).await {
            End::Keep => "COMMIT",
            End::Undo => "ROLLBACK",
            End::DiskFull => return Err(StoreError::Full),
        };
        sqlx::query(end).execute(&mut *connection).await?;
        return Ok(());
    }
    for job in group {
        sqlx::query("SAVEPOINT job").execute(&mut *connection).await?;
        match job.run(&mut *connection).await {
            End::Keep => {}
            End::Undo => {
                sqlx::query("ROLLBACK TO job").execute(&mut *connection).await?;
            }
            End::DiskFull => return Err(StoreError::Full),
        }
        sqlx::query("RELEASE job").execute(&mut *connection).await?;
    }
    sqlx::query("COMMIT").execute(&mut *connection).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No test that kills a process shows this: only a machine that loses power would.
    #[tokio::test]
    async fn every_commit_waits_for_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).await.unwrap();
        let (synchronous, journal): (i64, String) = store
            .write(|c| {
                Box::pin(async move {
                    let level = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut *c).await?;
                    let journal = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(c).await?;
                    Ok((level, journal))
                })
            })
            .await
            .unwrap();
        assert_eq!((synchronous, journal.as_str()), (2, "wal"), "2 is FULL");
    }

    async fn insert(store: &Store, name: &'static str, fail: bool) -> Result<(), StoreError> {
        store
            .write(move |c| {
                Box::pin(async move {
                    sqlx::query("INSERT INTO fixed (name, value) VALUES (?, 'x')")
                        .bind(name)
                        .execute(&mut *c)
                        .await?;
                    if fail { Err(StoreError::Conflict(Conflict::Exists)) } else { Ok(()) }
                })
            })
            .await
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_refused_operation_undoes_only_itself() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).await.unwrap();
        let (a, b, c) = tokio::join!(
            insert(&store, "a", false),
            insert(&store, "b", true),
            insert(&store, "c", false),
        );
        assert!(a.is_ok() && c.is_ok());
        assert!(matches!(b, Err(StoreError::Conflict(Conflict::Exists))));
        let names: Vec<String> = sqlx::query_scalar("SELECT name FROM fixed ORDER BY name")
            .fetch_all(store.readers())
            .await
            .unwrap();
        assert_eq!(names, ["a", "c"]);
    }

    #[tokio::test]
    async fn a_refused_operation_that_is_alone_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).await.unwrap();
        let refused = insert(&store, "a", true).await;
        assert!(matches!(refused, Err(StoreError::Conflict(Conflict::Exists))));
        insert(&store, "b", false).await.unwrap();
        let names: Vec<String> =
            sqlx::query_scalar("SELECT name FROM fixed").fetch_all(store.readers()).await.unwrap();
        assert_eq!(names, ["b"]);
    }

    /// Full while the first of a group writes: all of the group are told the same, and the next
    /// one, with room again, finds the database as it was.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_full_disk_is_told_to_all_who_waited_and_harms_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).await.unwrap();
        insert(&store, "before", false).await.unwrap();
        limit(&store, 1).await;
        let big = || {
            store.write(|c| {
                Box::pin(async move {
                    sqlx::query("INSERT INTO fixed (name, value) VALUES (?, hex(zeroblob(50000)))")
                        .bind("big")
                        .execute(&mut *c)
                        .await?;
                    Ok(())
                })
            })
        };
        let alone = big().await;
        assert!(matches!(alone, Err(StoreError::Full)), "{alone:?}");
        let (one, two) = tokio::join!(big(), big());
        for told in [one, two] {
            assert!(matches!(told, Err(StoreError::Full)), "{told:?}");
        }
        limit(&store, 1_000_000).await;
        insert(&store, "after", false).await.unwrap();
        let names: Vec<String> = sqlx::query_scalar("SELECT name FROM fixed ORDER BY name")
            .fetch_all(store.readers())
            .await
            .unwrap();
        assert_eq!(names, ["after", "before"]);
    }

    /// SQLite itself says that the disk is full beyond so many pages; never fewer than it has.
    async fn limit(store: &Store, pages: u32) {
        let limit = store.write(move |c| {
            Box::pin(async move {
                let pragma = format!("PRAGMA max_page_count = {pages}");
                sqlx::query(sqlx::AssertSqlSafe(pragma)).execute(&mut *c).await?;
                Ok(())
            })
        });
        limit.await.unwrap();
    }

    #[tokio::test]
    async fn a_second_process_on_the_same_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let _first = Store::open(folder.path()).await.unwrap();
        assert!(matches!(Store::open(folder.path()).await, Err(StoreError::InUse(_))));
    }
}

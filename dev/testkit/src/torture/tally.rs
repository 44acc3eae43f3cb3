//! What a campaign counts.

use std::collections::BTreeMap;
use std::fmt;

/// What a broker was doing when it died.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Task {
    /// Challenge, evidence, grant.
    Grant,
    /// Receipt, review, release of its share.
    Clearance,
}

/// How far it was with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// No trace of it.
    NothingRecorded,
    /// The receipt is in a signed head (clearances only).
    Held,
    /// The review is, too (clearances only).
    Reviewed,
    /// Record and entry are in the database (grants only: a clearance goes on by itself after a
    /// start, so that nobody can look before).
    Recorded,
    /// A head that covers the entry was signed.
    Signed,
    /// Every witness cosigned such a head.
    Cosigned,
    /// Grant or share left the broker.
    Sent,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Kills within a grant or a clearance.
    pub kills: u32,
    /// Of these, before or after a durable step.
    pub at_steps: u32,
    /// Durable steps that one task makes.
    pub steps: BTreeMap<Task, u32>,
    /// Kills more, while the broker was starting again.
    pub kills_at_start: u32,
    /// Grants and shares of results that left the broker without an entry in its log.
    pub without_entry: u32,
    /// Agreements for one run that paid more than one, and runs of which two outputs were cleared.
    pub spent_twice: u32,
    /// How far the tasks were.
    pub stages: BTreeMap<(Task, Stage), u32>,
    /// Whatever else was not as it must be.
    pub violations: Vec<String>,
}

impl Tally {
    /// Whether everything held.
    pub fn is_clean(&self) -> bool {
        self.without_entry == 0 && self.spent_twice == 0 && self.violations.is_empty()
    }

    /// How many tasks died at this stage.
    pub fn died_at(&self, task: Task, stage: Stage) -> u32 {
        self.stages.get(&(task, stage)).copied().unwrap_or_default()
    }

    fn show_stages(&self, f: &mut fmt::Formatter<'_>, task: Task) -> fmt::Result {
        let found = self.stages.iter().filter(|((of, _), _)| *of == task);
        let total: u32 = found.clone().map(|(_, count)| count).sum();
        for ((_, stage), count) in found {
            let name = match stage {
                Stage::NothingRecorded => "nothing recorded",
                Stage::Held => "receipt logged",
                Stage::Reviewed => "review logged",
                Stage::Recorded => "recorded",
                Stage::Signed => "in a signed head",
                Stage::Cosigned => "cosigned",
                Stage::Sent => "sent",
            };
            let bar = "#".repeat((count * 40 / total.max(1)) as usize);
            writeln!(f, "  {name:17} {count:5} {bar}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kills, at_steps, kills_at_start, .. } = self;
        writeln!(
            f,
            "{kills} kills: {} keys or shares without an entry, {} runs spent or cleared twice",
            self.without_entry, self.spent_twice
        )?;
        let steps = |task| self.steps.get(&task).copied().unwrap_or_default();
        writeln!(
            f,
            "{at_steps} of them before or after one of the {} durable steps of a grant or the {} of a clearance, the others at a random moment; {kills_at_start} more while the broker started again",
            steps(Task::Grant),
            steps(Task::Clearance)
        )?;
        writeln!(f, "how far a grant was:")?;
        self.show_stages(f, Task::Grant)?;
        writeln!(f, "how far a clearance was:")?;
        self.show_stages(f, Task::Clearance)?;
        self.violations.iter().try_for_each(|violation| writeln!(f, "VIOLATION: {violation}"))
    }
}

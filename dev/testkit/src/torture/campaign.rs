//! The campaign: which broker is killed when, how often, and doing what.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use super::field::Field;
use super::tally::{Tally, Task};
use super::tracer::KillPoint;

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// The program whose argument `broker` calls [`super::serve`].
    pub program: PathBuf,
    /// How many kills within a grant or a clearance.
    pub kills: u32,
    /// Draws the random moments.
    pub seed: u64,
}

/// When a broker dies.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kill {
    Step(KillPoint),
    Time(Duration),
}

/// One round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    pub task: Task,
    pub kill: Kill,
    /// A second kill, while the first is being mended.
    pub again: Option<KillPoint>,
    /// Whether those who cheat come before those who may.
    pub cheats_first: bool,
    /// Whether the holder presses stop as soon as its broker runs again.
    pub stops: bool,
}

/// How long a task takes, and how many durable steps it makes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measure {
    pub time: Duration,
    pub steps: u32,
}

impl Campaign {
    /// Kills, and counts.
    ///
    /// # Errors
    /// If the campaign itself fails; what the broker does wrong is in the tally.
    pub async fn run(&self, mut progress: impl FnMut(&Tally)) -> Result<Tally> {
        let mut field = Field::prepare(&self.program).await?;
        let grant = field.measure(Task::Grant).await?;
        let clearance = field.measure(Task::Clearance).await?;
        let start_steps = field.measure_start().await?;
        let mut dice = Dice(self.seed);
        let mut tally = Tally::default();
        tally.steps.extend([(Task::Grant, grant.steps), (Task::Clearance, clearance.steps)]);
        for number in 0..self.kills {
            // Three of one task, then three of the other: one of each three by the clock.
            let (task, measure) = match number / 3 % 2 {
                0 => (Task::Grant, grant),
                _ => (Task::Clearance, clearance),
            };
            let kill = match number % 3 {
                0 => Kill::Time(measure.time.mul_f64(1.25 * dice.unit())),
                _ => Kill::Step(spread(number, measure.steps)),
            };
            let round = Round {
                task,
                kill,
                again: (number % 4 == 3).then(|| spread(number, start_steps)),
                cheats_first: number % 2 == 0,
                stops: number % 5 == 4,
            };
            field.play(round, &mut tally).await?;
            progress(&tally);
        }
        Ok(tally)
    }
}

/// A place among all that there are, such that few rounds are spread over all of them, too.
fn spread(round: u32, steps: u32) -> KillPoint {
    const GOLDEN: f64 = 0.618_033_988_749_895;
    let places = f64::from(steps.max(1) * 2);
    let place = ((f64::from(round) * GOLDEN).fract() * places) as u32;
    KillPoint { step: place / 2 + 1, after: place % 2 == 1 }
}

/// A generator for moments (SplitMix64): the seed gives the campaign again.
struct Dice(u64);

impl Dice {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

//! What was planted, and what was counted while it was written.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::ResourceKind;
use super::codes;
use super::model::{Person, readmitted};
use super::output::{Fixed, dollars};
use crate::temporal::civil_from_days;

/// The truths of one run, the content of `truth.json`. Decimals are strings.
#[derive(Debug, Clone, Serialize)]
pub struct Truth {
    /// `cordon/synth-truth/v1`
    pub format: &'static str,
    /// The seed.
    pub seed: u64,
    /// How many people there are.
    pub patients: u32,
    /// The parameters that the model was run with.
    pub planted: Planted,
    /// Counts of people, each once wherever they are known.
    pub people: PeopleTruth,
    /// The arms of the trial over all sites: `treatment` and `control`.
    pub trial: BTreeMap<&'static str, Arm>,
    /// Counts of what each site's files hold.
    pub sites: BTreeMap<String, SiteTruth>,
    /// What the owners of the codes ask to be said.
    pub notices: Vec<&'static str>,
}

/// Parameters of the model; estimates from the files scatter around them.
#[derive(Debug, Clone, Serialize)]
pub struct Planted {
    /// Of heart failure admission, treatment to control.
    pub hazard_ratio: String,
    /// Admissions per year in the control arm.
    pub control_hazard_per_year: String,
    /// Change of HbA1c by metformin, in percentage points.
    pub metformin_effect_on_hba1c: String,
    /// Probability that a readmission follows a first stay within 30 days; none follows that one.
    pub readmission_rate: String,
    /// Probability of being known to a second site.
    pub shared_rate: String,
    /// Probability of each chronic diagnosis by sex, for ages 20-39, 40-59, 60-74 and
    /// 75-92 at the start of 2021.
    pub prevalence: BTreeMap<&'static str, BTreeMap<&'static str, Vec<String>>>,
}

/// Counts of people.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PeopleTruth {
    /// People known to two sites.
    pub shared: u64,
    /// The same by pair of sites, `a+b` in alphabetical order.
    pub shared_by_pair: BTreeMap<String, u64>,
    /// People with a diagnosis at one site or more, by code.
    pub with_condition: BTreeMap<&'static str, u64>,
}

/// One arm of the trial.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Arm {
    /// The RxNorm code of its drug.
    pub drug: &'static str,
    /// People in it.
    pub people: u64,
    /// First admissions for heart failure within three years.
    pub events: u64,
    /// Days until the event or the end of follow-up.
    pub days_at_risk: u64,
}

/// Counts by sex, then by decade of birth (1950 is 1950 to 1959).
pub type BySexAndDecade = BTreeMap<&'static str, BTreeMap<i64, u64>>;

/// Counts of one site's files.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SiteTruth {
    /// Lines per file.
    pub resources: BTreeMap<ResourceKind, u64>,
    /// Patients by sex and decade of birth.
    pub patients: BySexAndDecade,
    /// Diagnoses by ICD-10-CM code.
    pub conditions: BTreeMap<&'static str, ConditionTruth>,
    /// Observations by LOINC code.
    pub observations: BTreeMap<&'static str, ObservationTruth>,
    /// Prescriptions by RxNorm code.
    pub medications: BTreeMap<&'static str, CodeTruth>,
    /// Encounters by class, `AMB` or `IMP`.
    pub encounters: BTreeMap<&'static str, CodeTruth>,
    /// Ends of inpatient stays.
    pub discharges: u64,
    /// Of these, how many another stay at the site followed within 30 days.
    pub readmitted_within_30_days: u64,
    /// Claims.
    pub claims: ClaimTruth,
    /// The arms of the trial at this site.
    pub trial: BTreeMap<&'static str, Arm>,
}

/// A code in the files of a site.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CodeTruth {
    /// Resources with it.
    pub rows: u64,
    /// Patients with at least one of them.
    pub patients: u64,
}

/// A diagnosis in the files of a site.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ConditionTruth {
    /// Resources with it.
    pub rows: u64,
    /// Patients with it.
    pub patients: u64,
    /// The same by sex and decade of birth.
    pub by_sex_and_decade: BySexAndDecade,
}

/// A measurement in the files of a site.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ObservationTruth {
    /// Resources with it.
    pub rows: u64,
    /// Patients with at least one of them.
    pub patients: u64,
    /// The exact sum of the values.
    pub sum: Sum,
}

/// An exact sum, written as a decimal string.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sum {
    units: i64,
    digits: usize,
}

impl std::fmt::Display for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Sum { units, digits } = *self;
        Fixed { units, digits }.fmt(f)
    }
}

impl Serialize for Sum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Claims of a site; amounts in dollars.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ClaimTruth {
    /// Claims.
    pub claims: u64,
    /// Their lines.
    pub lines: u64,
    /// What was asked for.
    pub submitted: String,
    /// What was paid.
    pub paid: String,
    #[serde(skip)]
    submitted_cents: i64,
    #[serde(skip)]
    paid_cents: i64,
}

impl Truth {
    pub(super) fn new(seed: u64, patients: u32, sites: &[String]) -> Truth {
        let site = |name: &String| {
            let mut site = SiteTruth::default();
            site.claims.add(0, 0);
            site.trial = arms();
            site.resources = ResourceKind::ALL.map(|kind| (kind, 0)).into();
            (name.clone(), site)
        };
        Truth {
            format: "cordon/synth-truth/v1",
            seed,
            patients,
            planted: Planted::new(),
            people: PeopleTruth::default(),
            trial: arms(),
            sites: sites.iter().map(site).collect(),
            notices: vec![codes::LOINC_NOTICE],
        }
    }

    pub(super) fn count_resource(&mut self, site: &str, kind: ResourceKind) {
        if let Some(site) = self.sites.get_mut(site) {
            *site.resources.entry(kind).or_default() += 1;
        }
    }

    pub(super) fn count(&mut self, person: &Person, names: &[String]) {
        let sex = if person.is_female { "female" } else { "male" };
        let decade = civil_from_days(person.birth).0 / 10 * 10;
        let mut conditions = Vec::new();
        for chart in &person.charts {
            let name = names.get(chart.site);
            let Some(site) = name.and_then(|name| self.sites.get_mut(name)) else {
                continue;
            };
            *site.patients.entry(sex).or_default().entry(decade).or_default() += 1;
            for diagnosis in &chart.conditions {
                let truth = site.conditions.entry(diagnosis.code.code).or_default();
                // A chart has each diagnosis once.
                truth.rows += 1;
                truth.patients += 1;
                *truth.by_sex_and_decade.entry(sex).or_default().entry(decade).or_default() += 1;
                conditions.push(diagnosis.code.code);
            }
            let mut measured = Vec::new();
            for lab in &chart.labs {
                let code = lab.measure.code.code;
                let truth = site.observations.entry(code).or_default();
                truth.rows += 1;
                truth.sum.units += lab.value;
                truth.sum.digits = lab.measure.digits;
                truth.patients += u64::from(is_new(&mut measured, code));
            }
            let mut ordered = Vec::new();
            for order in &chart.orders {
                let truth = site.medications.entry(order.drug.code).or_default();
                truth.rows += 1;
                truth.patients += u64::from(is_new(&mut ordered, order.drug.code));
            }
            let mut visited = Vec::new();
            for visit in &chart.visits {
                let class = if visit.is_inpatient { "IMP" } else { "AMB" };
                let truth = site.encounters.entry(class).or_default();
                truth.rows += 1;
                truth.patients += u64::from(is_new(&mut visited, class));
            }
            for claim in &chart.claims {
                site.claims.claims += 1;
                for line in &claim.lines {
                    site.claims.lines += 1;
                    site.claims.add(line.submitted, line.paid);
                }
            }
            let (discharges, followed) = readmitted(chart);
            site.discharges += discharges;
            site.readmitted_within_30_days += followed;
        }
        self.count_person(person, names, conditions);
    }

    fn count_person(
        &mut self,
        person: &Person,
        names: &[String],
        mut conditions: Vec<&'static str>,
    ) {
        conditions.sort_unstable();
        conditions.dedup();
        for code in conditions {
            *self.people.with_condition.entry(code).or_default() += 1;
        }
        if let [home, other] = person.charts.as_slice() {
            let mut pair = [names[home.site].as_str(), names[other.site].as_str()];
            pair.sort_unstable();
            self.people.shared += 1;
            *self.people.shared_by_pair.entry(pair.join("+")).or_default() += 1;
        }
        let home = person.charts.first().and_then(|chart| names.get(chart.site));
        if let (Some(trial), Some(home)) = (person.trial, home) {
            let name = if trial.is_treated { "treatment" } else { "control" };
            let site = self.sites.get_mut(home).map(|site| &mut site.trial);
            for arms in site.into_iter().chain([&mut self.trial]) {
                let arm = arms.entry(name).or_default();
                arm.people += 1;
                arm.events += u64::from(trial.event.is_some());
                arm.days_at_risk += trial.days_at_risk() as u64;
            }
        }
    }
}

impl Planted {
    fn new() -> Planted {
        let rates = |rates: [f64; 4]| rates.iter().map(f64::to_string).collect::<Vec<_>>();
        let by_sex = |chronic: &codes::Chronic| {
            let women_and_men = [("female", rates(chronic.women)), ("male", rates(chronic.men))];
            (chronic.code.code, BTreeMap::from(women_and_men))
        };
        Planted {
            hazard_ratio: format!("{:.2}", codes::HAZARD_RATIO),
            control_hazard_per_year: codes::CONTROL_HAZARD.to_string(),
            metformin_effect_on_hba1c: codes::METFORMIN_EFFECT.to_string(),
            readmission_rate: codes::READMISSION_RATE.to_string(),
            shared_rate: codes::SHARED_RATE.to_string(),
            prevalence: codes::CHRONIC.iter().map(by_sex).collect(),
        }
    }
}

impl ClaimTruth {
    fn add(&mut self, submitted_cents: i64, paid_cents: i64) {
        self.submitted_cents += submitted_cents;
        self.paid_cents += paid_cents;
        self.submitted = dollars(self.submitted_cents).to_string();
        self.paid = dollars(self.paid_cents).to_string();
    }
}

fn arms() -> BTreeMap<&'static str, Arm> {
    let arm = |drug: &'static codes::Code| Arm { drug: drug.code, ..Arm::default() };
    BTreeMap::from([("treatment", arm(&codes::EMPAGLIFLOZIN)), ("control", arm(&codes::GLIPIZIDE))])
}

fn is_new(seen: &mut Vec<&'static str>, code: &'static str) -> bool {
    let is_new = !seen.contains(&code);
    if is_new {
        seen.push(code);
    }
    is_new
}

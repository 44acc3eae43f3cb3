//! A patient's life between 2021 and 2024, before it is written down.

use super::codes::{self, Code, Measure};
use super::dice::Dice;
use crate::temporal::days_from_civil;

/// One person and what each site knows of them.
pub(super) struct Person {
    pub index: u32,
    pub is_female: bool,
    /// Days since 1970-01-01.
    pub birth: i64,
    pub death: Option<i64>,
    pub trial: Option<Trial>,
    /// Home site first.
    pub charts: Vec<Chart>,
}

/// The part in a trial of heart failure admissions in diabetes.
#[derive(Clone, Copy)]
pub(super) struct Trial {
    pub is_treated: bool,
    pub start: i64,
    /// Day of the first admission for heart failure, if it came in time.
    pub event: Option<i64>,
    /// Last day of follow-up.
    pub end: i64,
}

/// What one site recorded.
#[derive(Default)]
pub(super) struct Chart {
    pub site: usize,
    pub conditions: Vec<Diagnosis>,
    pub visits: Vec<Visit>,
    pub labs: Vec<Lab>,
    pub orders: Vec<Order>,
    pub claims: Vec<Claim>,
}

pub(super) struct Diagnosis {
    pub code: &'static Code,
    pub onset: i64,
    pub is_chronic: bool,
}

#[derive(Clone, Copy)]
pub(super) struct Visit {
    pub is_inpatient: bool,
    pub reason: &'static Code,
    pub start: Moment,
    pub end: Moment,
}

/// A day and a minute of it.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    pub day: i64,
    pub minute: i64,
}

pub(super) struct Lab {
    pub measure: &'static Measure,
    pub at: Moment,
    /// The value in units of its last reported digit.
    pub value: i64,
}

pub(super) struct Order {
    pub drug: &'static Code,
    pub day: i64,
}

pub(super) struct Claim {
    /// The visit that it is for.
    pub visit: usize,
    pub lines: Vec<ClaimLine>,
}

/// Amounts are in cents.
pub(super) struct ClaimLine {
    pub service: &'static Code,
    pub submitted: i64,
    pub eligible: i64,
    pub paid: i64,
}

const READMISSION_DAYS: i64 = 30;
const FOLLOW_UP_DAYS: i64 = 3 * 365;

fn first_day() -> i64 {
    days_from_civil(2021, 1, 1)
}

/// The day after the last.
fn end_day() -> i64 {
    days_from_civil(2025, 1, 1)
}

impl Person {
    pub fn new(seed: u64, index: u32, sites: usize) -> Person {
        let mut dice = Dice::new(seed, index);
        let is_female = dice.chance(0.52);
        let band = band(dice.unit());
        let (youngest, oldest, _) = codes::BANDS[band];
        let age_days = dice.between(youngest * 366, (oldest + 1) * 365);
        let birth = first_day() - age_days;
        let home = dice.below(sites as i64) as usize;
        let is_shared = dice.chance(codes::SHARED_RATE) && sites > 1;
        let other = (home + 1 + dice.below(sites as i64 - 1) as usize) % sites;

        let chronic: Vec<Diagnosis> = codes::CHRONIC
            .iter()
            .filter_map(|chronic| {
                let rates = if is_female { chronic.women } else { chronic.men };
                let onset = first_day() - dice.below(8 * 365);
                dice.chance(rates[band]).then_some(Diagnosis {
                    code: chronic.code,
                    onset,
                    is_chronic: true,
                })
            })
            .collect();
        let has = |code: &Code| chronic.iter().any(|diagnosis| diagnosis.code == code);
        let trial = has(&codes::DIABETES).then(|| Trial::new(&mut dice));
        // Nobody in the trial dies in it, so that its truth is simply exponential.
        let dies = dice.chance(codes::DEATH_RATE[band]) && trial.is_none();
        let death_day = first_day() + dice.below(end_day() - first_day());
        let mut life =
            Life { dice, band, chronic, trial, end: if dies { death_day } else { end_day() } };
        let mut charts = vec![life.home_chart(home)];
        if is_shared {
            charts.push(life.other_chart(other));
        }
        Person { index, is_female, birth, death: dies.then_some(death_day), trial, charts }
    }
}

impl Trial {
    fn new(dice: &mut Dice) -> Trial {
        let is_treated = dice.chance(0.5);
        let start = first_day() + dice.below(365);
        let ratio = if is_treated { codes::HAZARD_RATIO } else { 1.0 };
        let years = dice.exponential(codes::CONTROL_HAZARD * ratio);
        // An event is seen on the day that it happens on, never on day 0.
        let days = 1 + (years * 365.25) as i64;
        let end = start + FOLLOW_UP_DAYS;
        let event = Some(start + days).filter(|day| *day <= end);
        Trial { is_treated, start, event, end }
    }

    pub fn drug(&self) -> &'static Code {
        match self.is_treated {
            true => &codes::EMPAGLIFLOZIN,
            false => &codes::GLIPIZIDE,
        }
    }

    pub fn days_at_risk(&self) -> i64 {
        self.event.unwrap_or(self.end) - self.start
    }
}

/// A person while their charts are being made.
struct Life {
    dice: Dice,
    band: usize,
    chronic: Vec<Diagnosis>,
    trial: Option<Trial>,
    /// The day of death, or the day after the last.
    end: i64,
}

impl Life {
    fn home_chart(&mut self, site: usize) -> Chart {
        let mut chart = Chart { site, conditions: self.copy_chronic(1.0), ..Chart::default() };
        let visits = 1 + self.dice.below(3) + 2 * self.chronic.len() as i64;
        self.clinic_visits(&mut chart, visits);
        self.stays(&mut chart);
        self.readmissions(&mut chart);
        self.diabetes_labs(&mut chart);
        self.prescriptions(&mut chart);
        self.finish(chart)
    }

    fn other_chart(&mut self, site: usize) -> Chart {
        let mut chart = Chart { site, conditions: self.copy_chronic(0.8), ..Chart::default() };
        let visits = 1 + self.dice.below(3);
        self.clinic_visits(&mut chart, visits);
        self.finish(chart)
    }

    fn copy_chronic(&mut self, probability: f64) -> Vec<Diagnosis> {
        let dice = &mut self.dice;
        let known = self.chronic.iter().filter(|_| dice.chance(probability));
        let copy = |diagnosis: &Diagnosis| Diagnosis { ..*diagnosis };
        known.map(copy).collect()
    }

    fn clinic_visits(&mut self, chart: &mut Chart, visits: i64) {
        let reasons: Vec<&'static Code> = self.chronic.iter().map(|d| d.code).collect();
        for _ in 0..visits {
            let start = Moment {
                day: first_day() + self.dice.below(self.end - first_day()),
                minute: self.dice.between(8 * 60, 16 * 60),
            };
            let end = Moment { day: start.day, minute: start.minute + self.dice.between(15, 45) };
            let reason = self.dice.pick(&reasons, &codes::CHECK_UP);
            chart.visits.push(Visit { is_inpatient: false, reason, start, end });
            let pressure =
                if self.has(&codes::HYPERTENSION) { (142.0, 12.0) } else { (122.0, 10.0) };
            self.lab(chart, &codes::SYSTOLIC, end, pressure);
            if self.dice.chance(0.5) {
                let creatinine =
                    if self.has(&codes::KIDNEY_DISEASE) { (1.9, 0.3) } else { (0.9, 0.12) };
                self.lab(chart, &codes::CREATININE, end, creatinine);
            }
            if !self.has(&codes::DIABETES) && self.dice.chance(0.2) {
                self.lab(chart, &codes::HBA1C, end, (5.4, 0.3));
            }
        }
    }

    /// Admissions for something that just happened.
    fn stays(&mut self, chart: &mut Chart) {
        let span = self.end - first_day();
        if self.dice.chance(codes::SEPSIS_RATE[self.band]) {
            let day = first_day() + self.dice.below(span);
            self.stay(chart, &codes::SEPSIS, day);
        }
        if self.has(&codes::COPD) && self.dice.chance(0.35) {
            let day = first_day() + self.dice.below(span);
            self.stay(chart, &codes::EXACERBATION, day);
        }
        let at_risk = self.has(&codes::HYPERTENSION) && self.band >= 2;
        match self.trial {
            Some(Trial { event: Some(day), .. }) => self.stay(chart, &codes::HEART_FAILURE, day),
            Some(Trial { event: None, .. }) => {}
            None if at_risk && self.dice.chance(0.06) => {
                let day = first_day() + self.dice.below(span);
                self.stay(chart, &codes::HEART_FAILURE, day);
            }
            None => {}
        }
    }

    fn stay(&mut self, chart: &mut Chart, reason: &'static Code, day: i64) {
        let start = Moment { day, minute: self.dice.below(24 * 60) };
        let end = Moment {
            day: day + self.dice.between(2, 9),
            minute: self.dice.between(9 * 60, 17 * 60),
        };
        chart.visits.push(Visit { is_inpatient: true, reason, start, end });
        if !chart.conditions.iter().any(|known| known.code == reason) {
            chart.conditions.push(Diagnosis { code: reason, onset: day, is_chronic: false });
        }
    }

    fn readmissions(&mut self, chart: &mut Chart) {
        let stays: Vec<Visit> = chart.visits.iter().filter(|v| v.is_inpatient).copied().collect();
        for stay in stays {
            if self.dice.chance(codes::READMISSION_RATE) {
                let day = stay.end.day + self.dice.between(3, READMISSION_DAYS - 3);
                self.stay(chart, stay.reason, day);
            }
        }
    }

    /// One HbA1c before and one after metformin; without it, two that only vary.
    fn diabetes_labs(&mut self, chart: &mut Chart) {
        if !self.has(&codes::DIABETES) {
            return;
        }
        let start = first_day() + 60 + self.dice.below(400);
        let is_treated = self.dice.chance(codes::METFORMIN_RATE);
        let before = 8.2 + 0.9 * self.dice.normal();
        let effect = if is_treated { codes::METFORMIN_EFFECT } else { 0.0 };
        let moment = |day| Moment { day, minute: 9 * 60 };
        self.lab(chart, &codes::HBA1C, moment(start - 30), (before, 0.0));
        self.lab(chart, &codes::HBA1C, moment(start + 90), (before + effect, 0.4));
        if is_treated {
            let drug = &codes::METFORMIN;
            chart.orders.push(Order { drug, day: start });
        }
    }

    fn prescriptions(&mut self, chart: &mut Chart) {
        if let Some(trial) = self.trial {
            chart.orders.push(Order { drug: trial.drug(), day: trial.start });
        }
        let for_hypertension =
            self.dice.pick(&[&codes::LISINOPRIL, &codes::AMLODIPINE], &codes::LISINOPRIL);
        for (condition, drug, probability) in [
            (&codes::HYPERTENSION, for_hypertension, 0.8),
            (&codes::DIABETES, &codes::ATORVASTATIN, 0.5),
            (&codes::COPD, &codes::ALBUTEROL, 0.9),
            (&codes::BREAST_CANCER, &codes::TAMOXIFEN, 0.6),
        ] {
            let day = first_day() + self.dice.below(365);
            if self.dice.chance(probability) && self.has(condition) {
                chart.orders.push(Order { drug, day });
            }
        }
    }

    fn lab(
        &mut self,
        chart: &mut Chart,
        measure: &'static Measure,
        at: Moment,
        (mean, spread): (f64, f64),
    ) {
        let unit = 10_i64.pow(measure.digits as u32) as f64;
        let value = (mean + spread * self.dice.normal()) * unit;
        chart.labs.push(Lab { measure, at, value: (value.round() as i64).max(1) });
    }

    /// Nothing happens after death; what did is in order and has been claimed.
    fn finish(&mut self, mut chart: Chart) -> Chart {
        let end = self.end;
        chart.visits.retain(|visit| visit.start.day < end);
        chart.labs.retain(|lab| lab.at.day < end);
        chart.orders.retain(|order| order.day < end);
        chart.conditions.retain(|condition| condition.onset < end);
        for visit in &mut chart.visits {
            visit.end.day = visit.end.day.min(end);
        }
        chart.visits.sort_by_key(|visit| (visit.start.day, visit.start.minute));
        chart.labs.sort_by_key(|lab| (lab.at.day, lab.at.minute));
        chart.orders.sort_by_key(|order| order.day);
        for index in 0..chart.visits.len() {
            let visit = chart.visits[index];
            let lines = self.claim_lines(&visit);
            chart.claims.push(Claim { visit: index, lines });
        }
        chart
    }

    fn claim_lines(&mut self, visit: &Visit) -> Vec<ClaimLine> {
        let mut services: Vec<(&'static Code, i64, i64)> = Vec::new();
        match visit.is_inpatient {
            true => {
                let days = visit.end.day - visit.start.day;
                services.push((&codes::OBSERVATION_HOUR, 90_000 * days, 160_000 * days));
                if visit.reason == &codes::SEPSIS {
                    services.push((&codes::CEFTRIAXONE, 4_000, 12_000));
                }
                if self.dice.chance(0.3) {
                    services.push((&codes::AMBULANCE, 60_000, 110_000));
                }
            }
            false => {
                services.push((&codes::CLINIC_VISIT, 12_000, 35_000));
                if self.has(&codes::DIABETES) && self.dice.chance(0.4) {
                    services.push((&codes::TEST_STRIPS, 2_000, 6_000));
                }
            }
        }
        let line = |(service, least, most)| {
            let submitted = self.dice.between(least, most);
            let eligible = submitted * self.dice.between(55, 85) / 100;
            ClaimLine { service, submitted, eligible, paid: eligible * 80 / 100 }
        };
        services.into_iter().map(line).collect()
    }

    fn has(&self, code: &Code) -> bool {
        self.chronic.iter().any(|diagnosis| diagnosis.code == code)
    }
}

/// Discharges of a chart, and how many of them another stay followed in 30 days.
pub(super) fn readmitted(chart: &Chart) -> (u64, u64) {
    let stays = || chart.visits.iter().filter(|visit| visit.is_inpatient);
    let instant = |moment: Moment| moment.day * 24 * 60 + moment.minute;
    let followed = stays().filter(|stay| {
        let discharge = instant(stay.end);
        let window = discharge..=discharge + READMISSION_DAYS * 24 * 60;
        stays().any(|other| window.contains(&instant(other.start)))
    });
    (stays().count() as u64, followed.count() as u64)
}

fn band(at: f64) -> usize {
    let mut below = 0.0;
    let found = codes::BANDS.iter().position(|(_, _, share)| {
        below += share;
        at < below
    });
    found.unwrap_or(codes::BANDS.len() - 1)
}

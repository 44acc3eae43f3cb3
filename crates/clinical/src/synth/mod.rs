//! Patients who do not exist, with known truths to find again.
//!
//! A seed and the number of a patient decide everything about that patient, so the
//! same call gives the same bytes on every machine and in any order. Some patients
//! are known to two sites. What was planted (a hazard ratio, an effect on a
//! laboratory value, rates) and what was counted on the way is in [`Truth`].
//!
//! Every name, identifier and date is made up, and visibly so. Codes are ICD-10-CM,
//! LOINC, RxNorm ingredients and HCPCS level II.
//!
//! ```
//! use cordon_clinical::synth::{Generator, ResourceKind};
//!
//! let generator = Generator::new(7, 20, &["northside", "riverton"])?;
//! let mut files = std::collections::BTreeMap::new();
//! let truth = generator.write(|site, kind, line| {
//!     let file: &mut Vec<u8> = files.entry((site.to_owned(), kind)).or_default();
//!     file.extend_from_slice(line);
//!     Ok(())
//! })?;
//! let patients: u64 = truth.sites.values().map(|site| site.resources[&ResourceKind::Patient]).sum();
//! assert_eq!(patients, 20 + truth.people.shared);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod codes;
mod dice;
mod model;
mod output;
mod resources;
mod truth;

use std::io;

use serde::Serialize;

pub use truth::{
    Arm, BySexAndDecade, ClaimTruth, CodeTruth, ConditionTruth, ObservationTruth, PeopleTruth,
    Planted, SiteTruth, Sum, Truth,
};

/// The most patients of one run.
pub const MAX_PATIENTS: u32 = 10_000_000;

/// The most sites of one run.
pub const MAX_SITES: usize = 32;

/// The sites that `cordon synth` and the demo use.
pub const DEFAULT_SITES: &[&str] = &["northside", "riverton", "lakeview"];

/// Makes synthetic patients.
#[derive(Debug, Clone)]
pub struct Generator {
    seed: u64,
    patients: u32,
    sites: Vec<String>,
}

/// Why a generator was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SynthError {
    /// There are no patients, or more than [`MAX_PATIENTS`].
    #[error("expected 1 to {MAX_PATIENTS} patients, found {found}")]
    Patients {
        /// How many were asked for.
        found: u32,
    },
    /// There are no sites, or more than [`MAX_SITES`].
    #[error("expected 1 to {MAX_SITES} sites, found {found}")]
    Sites {
        /// How many were asked for.
        found: usize,
    },
    /// A site's name is not 1 to 40 lower-case letters, digits and hyphens, or is
    /// there twice.
    #[error(
        "site name `{name}` is repeated or is not 1 to 40 lower-case letters, digits and hyphens"
    )]
    SiteName {
        /// The name given.
        name: String,
    },
}

/// The resource types that are made, each with a file of its own per site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum ResourceKind {
    /// Who the patient is.
    Patient,
    /// Visits and stays.
    Encounter,
    /// Diagnoses.
    Condition,
    /// Laboratory values and blood pressure.
    Observation,
    /// Prescriptions.
    MedicationRequest,
    /// Adjudicated claims.
    ExplanationOfBenefit,
}

impl ResourceKind {
    /// All kinds, in the order in which a patient's resources are written.
    pub const ALL: [ResourceKind; 6] = [
        ResourceKind::Patient,
        ResourceKind::Encounter,
        ResourceKind::Condition,
        ResourceKind::Observation,
        ResourceKind::MedicationRequest,
        ResourceKind::ExplanationOfBenefit,
    ];

    /// The FHIR name, which is also a good name for the file.
    pub fn name(self) -> &'static str {
        match self {
            ResourceKind::Patient => "Patient",
            ResourceKind::Encounter => "Encounter",
            ResourceKind::Condition => "Condition",
            ResourceKind::Observation => "Observation",
            ResourceKind::MedicationRequest => "MedicationRequest",
            ResourceKind::ExplanationOfBenefit => "ExplanationOfBenefit",
        }
    }
}

impl Generator {
    /// Prepares `patients` patients, spread over `sites`.
    ///
    /// # Errors
    /// A number or name is outside its limits.
    pub fn new(seed: u64, patients: u32, sites: &[&str]) -> Result<Generator, SynthError> {
        if !(1..=MAX_PATIENTS).contains(&patients) {
            return Err(SynthError::Patients { found: patients });
        }
        if !(1..=MAX_SITES).contains(&sites.len()) {
            return Err(SynthError::Sites { found: sites.len() });
        }
        for (index, name) in sites.iter().enumerate() {
            let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
            let is_legal = (1..=40).contains(&name.len()) && name.bytes().all(is_plain);
            if !is_legal || sites.iter().take(index).any(|earlier| earlier == name) {
                let name = (*name).to_owned();
                return Err(SynthError::SiteName { name });
            }
        }
        Ok(Generator {
            seed,
            patients,
            sites: sites.iter().map(|name| (*name).to_owned()).collect(),
        })
    }

    /// The names of the sites.
    pub fn sites(&self) -> &[String] {
        &self.sites
    }

    /// Makes all patients. `take` gets one resource at a time, as a line of NDJSON
    /// with its end, together with the site and the file that it belongs to.
    ///
    /// # Errors
    /// The first one of `take`.
    pub fn write(
        &self,
        mut take: impl FnMut(&str, ResourceKind, &[u8]) -> io::Result<()>,
    ) -> io::Result<Truth> {
        let mut truth = Truth::new(self.seed, self.patients, &self.sites);
        let mut line = Vec::with_capacity(4096);
        for index in 0..self.patients {
            let person = model::Person::new(self.seed, index, self.sites.len());
            truth.count(&person, &self.sites);
            for chart in &person.charts {
                let Some(site) = self.sites.get(chart.site) else {
                    continue;
                };
                resources::write_chart(&person, chart, site, &mut line, |kind, line| {
                    truth.count_resource(site, kind);
                    take(site, kind, line)
                })?;
            }
        }
        Ok(truth)
    }
}

#[cfg(test)]
mod tests;

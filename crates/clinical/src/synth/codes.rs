//! Codes that the synthetic records use, and the rates behind them.

/// A code of a code system.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Code {
    pub system: &'static str,
    pub code: &'static str,
    pub display: &'static str,
}

const ICD_10_CM: &str = "http://hl7.org/fhir/sid/icd-10-cm";
const LOINC: &str = "http://loinc.org";
const RXNORM: &str = "http://www.nlm.nih.gov/research/umls/rxnorm";
const HCPCS: &str = "http://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets";

/// What LOINC asks those who use its codes to say.
pub(super) const LOINC_NOTICE: &str = "This material contains content from LOINC (http://loinc.org). LOINC is copyright \
     Regenstrief Institute, Inc. and the Logical Observation Identifiers Names and Codes (LOINC) Committee and is \
     available at no cost under the license at http://loinc.org/license.";

const fn icd(code: &'static str, display: &'static str) -> Code {
    Code { system: ICD_10_CM, code, display }
}

const fn rxnorm(code: &'static str, display: &'static str) -> Code {
    Code { system: RXNORM, code, display }
}

const fn hcpcs(code: &'static str, display: &'static str) -> Code {
    Code { system: HCPCS, code, display }
}

pub(super) static DIABETES: Code = icd("E11.9", "Type 2 diabetes mellitus without complications");
pub(super) static HYPERTENSION: Code = icd("I10", "Essential (primary) hypertension");
pub(super) static KIDNEY_DISEASE: Code =
    icd("N18.30", "Chronic kidney disease, stage 3 unspecified");
pub(super) static COPD: Code = icd("J44.9", "Chronic obstructive pulmonary disease, unspecified");
pub(super) static BREAST_CANCER: Code =
    icd("C50.919", "Malignant neoplasm of unspecified site of unspecified female breast");
pub(super) static SEPSIS: Code = icd("A41.9", "Sepsis, unspecified organism");
pub(super) static EXACERBATION: Code =
    icd("J44.1", "Chronic obstructive pulmonary disease with (acute) exacerbation");
pub(super) static HEART_FAILURE: Code = icd("I50.9", "Heart failure, unspecified");
pub(super) static CHECK_UP: Code =
    icd("Z00.00", "General adult medical examination without abnormal findings");

pub(super) static METFORMIN: Code = rxnorm("6809", "metformin");
pub(super) static LISINOPRIL: Code = rxnorm("29046", "lisinopril");
pub(super) static AMLODIPINE: Code = rxnorm("17767", "amlodipine");
pub(super) static ATORVASTATIN: Code = rxnorm("83367", "atorvastatin");
pub(super) static ALBUTEROL: Code = rxnorm("435", "albuterol");
pub(super) static TAMOXIFEN: Code = rxnorm("10324", "tamoxifen");
/// The drug of the treatment arm.
pub(super) static EMPAGLIFLOZIN: Code = rxnorm("1545653", "empagliflozin");
/// The drug of the control arm.
pub(super) static GLIPIZIDE: Code = rxnorm("4821", "glipizide");

pub(super) static CLINIC_VISIT: Code = hcpcs("G0463", "Hospital outpatient clinic visit");
pub(super) static TEST_STRIPS: Code = hcpcs("A4253", "Blood glucose test strips");
pub(super) static OBSERVATION_HOUR: Code = hcpcs("G0378", "Hospital observation service, per hour");
pub(super) static CEFTRIAXONE: Code = hcpcs("J0696", "Injection, ceftriaxone sodium");
pub(super) static AMBULANCE: Code = hcpcs("A0427", "Ambulance service, emergency");

/// A measurement: its code, its unit, and how many digits it is reported with.
#[derive(Debug)]
pub(super) struct Measure {
    pub code: Code,
    pub unit: &'static str,
    pub category: &'static str,
    /// Digits after the point.
    pub digits: usize,
}

pub(super) static HBA1C: Measure = Measure {
    code: Code {
        system: LOINC,
        code: "4548-4",
        display: "Hemoglobin A1c/Hemoglobin.total in Blood",
    },
    unit: "%",
    category: "laboratory",
    digits: 1,
};

pub(super) static SYSTOLIC: Measure = Measure {
    code: Code { system: LOINC, code: "8480-6", display: "Systolic blood pressure" },
    unit: "mm[Hg]",
    category: "vital-signs",
    digits: 0,
};

pub(super) static CREATININE: Measure = Measure {
    code: Code {
        system: LOINC,
        code: "2160-0",
        display: "Creatinine [Mass/volume] in Serum or Plasma",
    },
    unit: "mg/dL",
    category: "laboratory",
    digits: 2,
};

/// A chronic diagnosis and how likely it is by age band, for women and for men.
pub(super) struct Chronic {
    pub code: &'static Code,
    pub women: [f64; 4],
    pub men: [f64; 4],
}

/// Youngest and oldest age of each band at the start, and its share of patients.
pub(super) const BANDS: [(i64, i64, f64); 4] =
    [(20, 39, 0.30), (40, 59, 0.34), (60, 74, 0.24), (75, 92, 0.12)];

pub(super) static CHRONIC: [Chronic; 5] = [
    Chronic { code: &DIABETES, women: [0.03, 0.09, 0.18, 0.20], men: [0.03, 0.11, 0.22, 0.24] },
    Chronic { code: &HYPERTENSION, women: [0.06, 0.27, 0.58, 0.72], men: [0.10, 0.33, 0.58, 0.68] },
    Chronic {
        code: &KIDNEY_DISEASE,
        women: [0.01, 0.03, 0.12, 0.26],
        men: [0.01, 0.03, 0.12, 0.24],
    },
    Chronic { code: &COPD, women: [0.005, 0.04, 0.10, 0.11], men: [0.005, 0.04, 0.12, 0.15] },
    Chronic {
        code: &BREAST_CANCER,
        women: [0.001, 0.015, 0.035, 0.040],
        men: [0.0, 0.0, 0.0, 0.0],
    },
];

/// Sepsis and death within the four years, by age band.
pub(super) const SEPSIS_RATE: [f64; 4] = [0.004, 0.010, 0.030, 0.060];
pub(super) const DEATH_RATE: [f64; 4] = [0.004, 0.015, 0.060, 0.220];

pub(super) const SHARED_RATE: f64 = 0.08;
pub(super) const READMISSION_RATE: f64 = 0.16;
/// Heart failure admissions per year in the control arm.
pub(super) const CONTROL_HAZARD: f64 = 0.12;
pub(super) const HAZARD_RATIO: f64 = 0.70;
/// Percentage points of HbA1c.
pub(super) const METFORMIN_EFFECT: f64 = -0.8;
pub(super) const METFORMIN_RATE: f64 = 0.7;

//! Charts as FHIR R4 resources.

use std::io;

use super::ResourceKind;
use super::model::{Chart, Claim, Diagnosis, Lab, Order, Person, Visit};
use super::output::{Date, DateTime, Fixed, Object, dollars, object};

const EXAMPLE: &str = "https://example.org/synthetic";
const TERMINOLOGY: &str = "http://terminology.hl7.org/CodeSystem";

/// Writes all resources of a chart, each as a line.
pub(super) fn write_chart(
    person: &Person,
    chart: &Chart,
    site: &str,
    line: &mut Vec<u8>,
    mut take: impl FnMut(ResourceKind, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let writer = Writer { person, site, patient: format!("{site}-{:06}", person.index) };
    let mut emit = |kind: ResourceKind, number: usize, fill: &dyn Fn(&mut Object<'_>)| {
        line.clear();
        writer.resource(line, kind, number, fill);
        take(kind, line)
    };
    emit(ResourceKind::Patient, 0, &|o| writer.patient(o))?;
    for (number, visit) in chart.visits.iter().enumerate() {
        emit(ResourceKind::Encounter, number, &|o| writer.encounter(o, visit))?;
    }
    for (number, diagnosis) in chart.conditions.iter().enumerate() {
        emit(ResourceKind::Condition, number, &|o| writer.condition(o, diagnosis))?;
    }
    for (number, lab) in chart.labs.iter().enumerate() {
        emit(ResourceKind::Observation, number, &|o| writer.observation(o, lab))?;
    }
    for (number, order) in chart.orders.iter().enumerate() {
        emit(ResourceKind::MedicationRequest, number, &|o| writer.medication(o, order))?;
    }
    for (number, claim) in chart.claims.iter().enumerate() {
        let Some(visit) = chart.visits.get(claim.visit) else {
            continue;
        };
        emit(ResourceKind::ExplanationOfBenefit, number, &|o| writer.benefit(o, claim, visit))?;
    }
    Ok(())
}

struct Writer<'w> {
    person: &'w Person,
    site: &'w str,
    /// The patient's id at this site.
    patient: String,
}

impl Writer<'_> {
    fn resource(
        &self,
        line: &mut Vec<u8>,
        kind: ResourceKind,
        number: usize,
        fill: &dyn Fn(&mut Object<'_>),
    ) {
        let patient = &self.patient;
        let short = match kind {
            ResourceKind::Patient => "",
            ResourceKind::Encounter => "e",
            ResourceKind::Condition => "c",
            ResourceKind::Observation => "o",
            ResourceKind::MedicationRequest => "m",
            ResourceKind::ExplanationOfBenefit => "b",
        };
        object(line, |o| {
            o.plain("resourceType", kind.name());
            match kind {
                ResourceKind::Patient => o.plain("id", patient),
                _ => o.plain("id", format_args!("{patient}-{short}{number}")),
            }
            o.object("meta", |meta| {
                // HL7's own mark for data about nobody.
                let system = format!("{TERMINOLOGY}/v3-ActReason");
                meta.only("tag", |tag| tag.coding(&system, "HTEST"));
            });
            fill(o);
        });
        line.push(b'\n');
    }

    fn patient(&self, o: &mut Object<'_>) {
        let person = self.person;
        let number = format!("{:06}", person.index);
        let identifiers = [
            (format!("{EXAMPLE}/{}/mrn", self.site), format!("MRN-{number}")),
            (format!("{EXAMPLE}/person"), format!("SYN-{number}")),
        ];
        o.objects("identifier", identifiers, |o, (system, value)| {
            o.text("system", &system);
            o.text("value", &value);
        });
        o.bare("active", person.death.is_none());
        o.only("name", |name| {
            name.plain("use", "official");
            name.plain("family", format_args!("Synthetic-{number}"));
            name.plain("text", format_args!("{} Synthetic-{number}", given_name(person.index)));
        });
        o.plain("gender", if person.is_female { "female" } else { "male" });
        o.plain("birthDate", Date(person.birth));
        if let Some(death) = person.death {
            o.plain("deceasedDateTime", Date(death));
        }
    }

    fn encounter(&self, o: &mut Object<'_>, visit: &Visit) {
        o.plain("status", "finished");
        o.object("class", |class| {
            let code = if visit.is_inpatient { "IMP" } else { "AMB" };
            class.coding(&format!("{TERMINOLOGY}/v3-ActCode"), code);
        });
        self.subject(o, "subject");
        o.object("period", |period| {
            period.plain("start", DateTime(visit.start));
            period.plain("end", DateTime(visit.end));
        });
        o.only("reasonCode", |concept| {
            concept.only("coding", |coding| {
                coding.coding(visit.reason.system, visit.reason.code);
                coding.text("display", visit.reason.display);
            });
        });
    }

    fn condition(&self, o: &mut Object<'_>, diagnosis: &Diagnosis) {
        o.fhir_concept("clinicalStatus", &format!("{TERMINOLOGY}/condition-clinical"), "active");
        let system = format!("{TERMINOLOGY}/condition-ver-status");
        o.fhir_concept("verificationStatus", &system, "confirmed");
        o.only("category", |concept| {
            let code =
                if diagnosis.is_chronic { "problem-list-item" } else { "encounter-diagnosis" };
            concept
                .only("coding", |c| c.coding(&format!("{TERMINOLOGY}/condition-category"), code));
        });
        o.concept("code", diagnosis.code);
        self.subject(o, "subject");
        o.plain("onsetDateTime", Date(diagnosis.onset));
        o.plain("recordedDate", Date(diagnosis.onset));
    }

    fn observation(&self, o: &mut Object<'_>, lab: &Lab) {
        o.plain("status", "final");
        o.only("category", |concept| {
            let system = format!("{TERMINOLOGY}/observation-category");
            concept.only("coding", |coding| coding.coding(&system, lab.measure.category));
        });
        o.concept("code", &lab.measure.code);
        self.subject(o, "subject");
        o.plain("effectiveDateTime", DateTime(lab.at));
        o.object("valueQuantity", |quantity| {
            let digits = lab.measure.digits;
            let units = lab.value;
            quantity.bare("value", Fixed { units, digits });
            quantity.text("unit", lab.measure.unit);
            quantity.text("system", "http://unitsofmeasure.org");
            quantity.text("code", lab.measure.unit);
        });
    }

    fn medication(&self, o: &mut Object<'_>, order: &Order) {
        o.plain("status", "active");
        o.plain("intent", "order");
        o.concept("medicationCodeableConcept", order.drug);
        self.subject(o, "subject");
        o.plain("authoredOn", Date(order.day));
    }

    fn benefit(&self, o: &mut Object<'_>, claim: &Claim, visit: &Visit) {
        o.plain("status", "active");
        o.fhir_concept("type", &format!("{TERMINOLOGY}/claim-type"), "institutional");
        o.plain("use", "claim");
        self.subject(o, "patient");
        o.object("billablePeriod", |period| {
            period.plain("start", Date(visit.start.day));
            period.plain("end", Date(visit.end.day));
        });
        o.plain("created", Date(visit.end.day + 7));
        // By name: there are no records of organisations and coverage to refer to.
        o.object("insurer", |insurer| insurer.plain("display", "Synthetic payer"));
        o.object("provider", |provider| provider.text("display", self.site));
        o.plain("outcome", "complete");
        o.only("diagnosis", |diagnosis| {
            diagnosis.bare("sequence", 1);
            diagnosis.concept("diagnosisCodeableConcept", visit.reason);
            diagnosis.only("type", |concept| {
                let system = format!("{TERMINOLOGY}/ex-diagnosistype");
                concept.only("coding", |coding| coding.coding(&system, "principal"));
            });
        });
        o.only("insurance", |insurance| {
            insurance.bare("focal", true);
            insurance
                .object("coverage", |coverage| coverage.plain("display", "Synthetic coverage"));
        });
        o.objects("item", claim.lines.iter().enumerate(), |item, (index, line)| {
            item.bare("sequence", index + 1);
            item.bare("diagnosisSequence", "[1]");
            item.concept("productOrService", line.service);
            item.plain("servicedDate", Date(visit.start.day));
            let amounts = [
                ("submitted", line.submitted),
                ("eligible", line.eligible),
                ("copay", line.eligible - line.paid),
                ("benefit", line.paid),
            ];
            item.objects("adjudication", amounts, adjudication);
        });
        let submitted = claim.lines.iter().map(|line| line.submitted).sum();
        let paid = claim.lines.iter().map(|line| line.paid).sum();
        o.objects("total", [("submitted", submitted), ("benefit", paid)], adjudication);
        o.object("payment", |payment| payment.object("amount", |amount| money(amount, paid)));
    }

    fn subject(&self, o: &mut Object<'_>, key: &str) {
        o.reference(key, format_args!("Patient/{}", self.patient));
    }
}

fn adjudication(o: &mut Object<'_>, (category, cents): (&str, i64)) {
    o.fhir_concept("category", &format!("{TERMINOLOGY}/adjudication"), category);
    o.object("amount", |amount| money(amount, cents));
}

fn money(o: &mut Object<'_>, cents: i64) {
    o.bare("value", dollars(cents));
    o.plain("currency", "USD");
}

/// A given name of syllables that no register has.
fn given_name(index: u32) -> String {
    const FIRST: [&str; 8] = ["Zab", "Quo", "Vex", "Ilq", "Tyx", "Wub", "Jyn", "Kez"];
    const SECOND: [&str; 8] = ["ora", "imu", "equ", "ulo", "azi", "oxo", "yra", "ibo"];
    let pick = |from: [&'static str; 8], at: u32| from[(at % 8) as usize];
    format!("{}{}", pick(FIRST, index), pick(SECOND, index / 8))
}

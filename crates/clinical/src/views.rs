//! The views that ship with Cordon, for FHIR R4.
//!
//! Each begins with `subject`, the key of the patient, and is a plain
//! ViewDefinition in `views/`: read it, copy it, change it.

/// A view of the pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedView {
    /// Its name, which is also a good name for the table.
    pub name: &'static str,
    /// The FHIR resource type that gives its rows.
    pub resource: &'static str,
    /// The ViewDefinition as JSON.
    pub json: &'static str,
}

/// All views of the pack.
pub fn pack() -> &'static [PackedView] {
    PACK
}

/// Finds a view of the pack by its name.
pub fn find(name: &str) -> Option<PackedView> {
    PACK.iter().find(|view| view.name == name).copied()
}

macro_rules! packed {
    ($name:literal, $resource:literal) => {
        PackedView {
            name: $name,
            resource: $resource,
            json: include_str!(concat!("../views/", $name, ".json")),
        }
    };
}

const PACK: &[PackedView] = &[
    packed!("patient", "Patient"),
    packed!("encounter", "Encounter"),
    packed!("condition", "Condition"),
    packed!("observation", "Observation"),
    packed!("medication", "MedicationRequest"),
    packed!("claim_line", "ExplanationOfBenefit"),
    packed!("claim_diagnosis", "ExplanationOfBenefit"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{ColumnKind, CompiledView};

    #[test]
    fn every_view_compiles_without_a_warning_and_begins_with_the_subject() {
        for packed in pack() {
            let view = CompiledView::parse(packed.json.as_bytes()).expect(packed.name);
            assert_eq!(view.name(), Some(packed.name));
            assert_eq!(view.resource(), packed.resource, "{}", packed.name);
            assert_eq!(view.warnings(), [], "{}", packed.name);
            assert_eq!(view.columns()[0].name, "subject", "{}", packed.name);
            assert_eq!(find(packed.name), Some(*packed));
            for column in view.columns() {
                // Sealed tables keep four digits after the point, and refuse to cut others off.
                let fits = !matches!(column.kind, ColumnKind::Decimal { scale: 5.., .. });
                assert!(fits, "{}.{}", packed.name, column.name);
            }
        }
        assert_eq!(find("nobody"), None);
    }
}

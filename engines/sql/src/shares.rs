use cordon_protocol::table::Share;

/// What the patients of a holder add to a sum.
#[derive(Clone, Copy)]
pub(crate) struct Contributions {
    /// Patients whose own sum is not zero.
    pub(crate) patients: u64,
    /// The magnitudes of theirs, together.
    pub(crate) together: f64,
    /// The largest of them.
    pub(crate) largest: f64,
}

/// What contributions to a column are counted in: a small part of all of them, so that whole
/// numbers are fine enough to compare those of all rows and holders.
#[derive(Clone, Copy)]
pub(crate) struct Unit(f64);

impl Unit {
    pub(crate) fn of(all: impl Iterator<Item = Contributions>) -> Self {
        let all: f64 = all.map(|of| of.together).filter(|together| together.is_finite()).sum();
        Self(all.min(f64::MAX) / UNITS as f64)
    }

    /// Rounded so that no patient seems to add less of it than it does.
    pub(crate) fn share(self, of: &Contributions) -> Share {
        if of.patients == 0 {
            return Share::default();
        }
        let units = |magnitude: f64| (magnitude / self.0).min(UNITS as f64);
        // A float that is no number becomes 0 here; its row is `share_of_one` anyway.
        let largest = (units(of.largest).ceil() as u64).max(1);
        Share {
            patients: of.patients,
            total: (units(of.together).floor() as u64).max(largest),
            largest,
        }
    }

    /// As if it were all of one patient's, though nobody knows of which.
    pub(crate) fn share_of_one(patients: u64) -> Share {
        let all = if patients == 0 { 0 } else { UNITS };
        Share { patients, total: all, largest: all }
    }
}

/// Below 2^53, so that sums of some of them stay numbers that a document can carry.
const UNITS: u64 = 1 << 50;

#[cfg(test)]
mod tests {
    use super::*;

    fn share(all: &[f64], of: Contributions) -> Share {
        let all = all.iter().map(|together| Contributions { together: *together, ..of });
        Unit::of(all).share(&of)
    }

    #[test]
    fn shares_are_rounded_against_the_largest() {
        let third = Contributions { patients: 3, together: 1.0, largest: 1.0 / 3.0 };
        let found = share(&[1.0, 2.0], third);
        assert_eq!((found.patients, found.total), (3, UNITS / 3));
        assert!(found.largest * 3 >= found.total && found.largest * 3 < found.total + 4);
        // Next to nothing of it all is still something.
        let tiny = Contributions { patients: 1, together: 1e-300, largest: 1e-300 };
        assert_eq!(share(&[1e-300, 1e300], tiny), Share { patients: 1, total: 1, largest: 1 });
        let nothing = Contributions { patients: 0, together: 0.0, largest: 0.0 };
        assert_eq!(share(&[0.0], nothing), Share::default());
        // A patient alone has all of it.
        let alone = Contributions { patients: 1, together: 0.1, largest: 0.1 };
        let found = share(&[0.1, 0.2], alone);
        assert_eq!(found.total, found.largest);
    }

    #[test]
    fn numbers_that_are_none_are_somebodys_alone() {
        for together in [f64::NAN, f64::INFINITY, f64::MAX] {
            let of = Contributions { patients: 4, together, largest: together };
            let found = share(&[together, f64::MAX, 1.0], of);
            assert!(found.total <= UNITS && found.largest <= found.total && found.largest > 0);
        }
        assert_eq!(Unit::share_of_one(4), Share { patients: 4, total: UNITS, largest: UNITS });
        assert_eq!(Unit::share_of_one(0), Share::default());
    }
}

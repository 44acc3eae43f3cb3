//! Step 2, what the brokers would release: manifests, checked against the agreement.

use std::collections::{BTreeMap, BTreeSet};

use cordon_crypto::canonical::to_canonical;
use cordon_crypto::dsse::Envelope;
use cordon_crypto::sha256;
use cordon_protocol::agreement::{DatasetTerms, Holder, TableSource};
use cordon_protocol::dataset::{ManifestTable, TableSchema};
use cordon_protocol::{Agreement, Manifest};
use cordon_types::{ColumnName, DatasetId, PartyId, Sha256Digest};

use crate::failure::Code;

/// One dataset version that a broker offers.
#[derive(Debug)]
pub(crate) struct Offer {
    /// What it is.
    pub manifest: Manifest,
    /// Its name.
    pub digest: Sha256Digest,
}

/// The offers of all holders.
#[derive(Debug)]
pub(crate) struct Inputs(BTreeMap<(PartyId, DatasetId), Offer>);

/// One sealed table under a query table, with all that is known of it.
pub(crate) struct Source<'a> {
    /// Where it comes from.
    pub source: &'a TableSource,
    /// The dataset version.
    pub offer: &'a Offer,
    /// The table in it.
    pub table: &'a ManifestTable,
    /// Its schema.
    pub schema: TableSchema,
    /// The agreed columns, sorted.
    pub columns: Vec<ColumnName>,
}

impl Inputs {
    /// Joins the offers of all holders.
    pub fn new(offers: impl IntoIterator<Item = Offer>) -> Self {
        let keyed = offers
            .into_iter()
            .map(|offer| ((offer.manifest.holder.clone(), offer.manifest.dataset.clone()), offer));
        Self(keyed.collect())
    }

    /// The offer of one dataset.
    pub fn offer(&self, holder: &PartyId, dataset: &DatasetId) -> Option<&Offer> {
        self.0.get(&(holder.clone(), dataset.clone()))
    }

    /// All offers, sorted by holder and dataset.
    pub fn offers(&self) -> impl Iterator<Item = &Offer> {
        self.0.values()
    }

    /// The sealed table that a source names.
    pub fn source<'a>(
        &'a self,
        agreement: &Agreement,
        source: &'a TableSource,
    ) -> Option<Source<'a>> {
        let offer = self.offer(&source.holder, &source.dataset)?;
        let table = offer.manifest.table(&source.table)?;
        let schema = offer.manifest.schema();
        let schema = schema.tables.into_iter().find(|schema| schema.name == source.table)?;
        let mut terms = agreement.holder(&source.holder)?.datasets.iter();
        let terms = terms.find(|terms| terms.dataset == source.dataset)?;
        let mut columns = terms.columns.get(&source.table)?.clone();
        columns.sort_unstable();
        Some(Source { source, offer, table, schema, columns })
    }
}

/// Checks the manifests that one broker offers: each signed by a manifest key of that holder, of
/// a dataset of the agreement, with its schema; and one of each dataset that the program uses.
pub(crate) fn check(
    agreement: &Agreement,
    holder: &Holder,
    manifests: &[Envelope],
) -> Result<Vec<Offer>, Code> {
    let mut offers: BTreeMap<DatasetId, Offer> = BTreeMap::new();
    for envelope in manifests {
        let (offer, terms) = check_one(holder, envelope)?;
        if !table_names_fit(&offer.manifest) || !agreed_columns_exist(&offer.manifest, terms) {
            return Err(Code::ManifestInvalid);
        }
        if offers.insert(offer.manifest.dataset.clone(), offer).is_some() {
            return Err(Code::ManifestInvalid);
        }
    }
    let used = |terms: &&DatasetTerms| !agreement.granted_keys(&holder.party, terms).is_empty();
    if !holder.datasets.iter().filter(used).all(|terms| offers.contains_key(&terms.dataset)) {
        return Err(Code::ManifestInvalid);
    }
    Ok(offers.into_values().collect())
}

fn check_one<'a>(
    holder: &'a Holder,
    envelope: &Envelope,
) -> Result<(Offer, &'a DatasetTerms), Code> {
    // 1. Signed by a key that may sign this holder's manifests.
    let signer = envelope.claimed_signer();
    if !holder.manifest_keys.contains(&signer) {
        return Err(Code::ManifestSignature);
    }
    let signed = envelope.open::<Manifest>(&signer).map_err(|_| Code::ManifestSignature)?;
    let digest = signed.digest();
    let manifest = signed.into_value();

    // 2. A dataset of this holder, in the agreement.
    if manifest.holder != holder.party || manifest.version == 0 {
        return Err(Code::ManifestInvalid);
    }
    let mut datasets = holder.datasets.iter();
    let terms = datasets.find(|terms| terms.dataset == manifest.dataset);
    let terms = terms.ok_or(Code::ManifestInvalid)?;

    // 3. With the schema that people approved.
    let schema = to_canonical(&manifest.schema()).map_err(|_| Code::ManifestInvalid)?;
    if sha256(&[&schema]) != terms.schema {
        return Err(Code::SchemaNotAgreed);
    }
    Ok((Offer { manifest, digest }, terms))
}

fn table_names_fit(manifest: &Manifest) -> bool {
    manifest.tables.is_sorted_by(|a, b| a.name < b.name)
        && manifest.tables.iter().all(|table| {
            let names: BTreeSet<_> = table.columns.iter().map(|column| &column.name).collect();
            // The key frame numbers columns with 16 bits and uses the last number otherwise.
            names.len() == table.columns.len()
                && names.contains(&table.subject)
                && table.columns.len() < usize::from(u16::MAX)
        })
}

fn agreed_columns_exist(manifest: &Manifest, terms: &DatasetTerms) -> bool {
    terms.columns.iter().all(|(table, columns)| {
        manifest.table(table).is_some_and(|table| {
            columns.iter().all(|agreed| table.columns.iter().any(|column| column.name == *agreed))
        })
    })
}

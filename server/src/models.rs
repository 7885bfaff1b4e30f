//! What the quirk table knows of a registered meter's model.

use carepost_domain::meter::Meter;
use carepost_domain::quirks::{Quirk, QuirkTable, Traits};

/// The meter's entry, if it has one.
pub(crate) fn entry(meter: &Meter) -> Option<&'static Quirk> {
    QuirkTable::current().find(&Traits::of(meter))
}

/// `supported` or `recognised_unsupported` by the entry; `standard` without one: such a meter is read as the
/// specification says.
pub(crate) fn support_code(entry: Option<&Quirk>) -> &'static str {
    entry.map_or(STANDARD, |quirk| quirk.support.code())
}

/// For meters without an entry.
pub(crate) const STANDARD: &str = "standard";

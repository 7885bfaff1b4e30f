//! What the pressure chart's marks mean, in words: only those that are on it. Pure.

use carepost_domain::reading::Place;

use super::catalogue::Texts;
use super::charts::{BpBand, BpPoint, Doubt};

/// What is in the chart and needs a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Legend {
    /// Home sessions are there.
    pub(crate) home: bool,
    /// Store sessions are there.
    pub(crate) store: bool,
    /// Doubtful sessions are there.
    pub(crate) hollow: bool,
    /// The target in words, if there is one.
    pub(crate) target: Option<String>,
}

/// The legend of a chart with these points.
pub(crate) fn legend(texts: Texts, points: &[BpPoint], band: Option<BpBand>) -> Legend {
    let at = |place: Place| points.iter().any(|point| point.place == place);
    Legend {
        home: at(Place::Home),
        store: at(Place::Store),
        hollow: points.iter().any(|point| point.doubt != Doubt::None),
        target: band.map(|band| {
            texts.fill(
                "legend-target",
                &[
                    ("systolic", band.systolic_mmhg.1.into()),
                    ("diastolic", band.diastolic_mmhg.1.into()),
                ],
            )
        }),
    }
}

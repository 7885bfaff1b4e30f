//! Shared statements and the use cases made of them: written once, compiled against each driver.
//!
//! A file holds its statements on top (`statements!`), then one function per use case or step over `&mut Conn`. Nothing
//! here asks which engine it runs on; what differs comes from the module around (`in_ids!`, `row_lock!`, `skip_locked!`,
//! `ids`, `insert_readings`).

pub(crate) mod alerts;
pub(crate) mod audit;
pub(crate) mod care;
pub(crate) mod consent;
pub(crate) mod counter;
pub(crate) mod counts;
pub(crate) mod down;
pub(crate) mod fleet;
pub(crate) mod ingest;
pub(crate) mod jobs;
pub(crate) mod lanes;
pub(crate) mod meter_list;
pub(crate) mod meters;
pub(crate) mod people;
pub(crate) mod quarantine;
pub(crate) mod readings;
pub(crate) mod registration;
pub(crate) mod sessions;
pub(crate) mod staff;
pub(crate) mod symptoms;
pub(crate) mod tasks;
pub(crate) mod trends;
pub(crate) mod views;
pub(crate) mod work;

use super::{Conn, ids, insert_readings};

/// Every shared statement, by file and name. The suite checks that no file is missing.
#[cfg(feature = "testing")]
pub(crate) const ALL: &[(&str, &[(&str, &str)])] = &[
    ("alerts", alerts::ALL),
    ("audit", audit::ALL),
    ("consent", consent::ALL),
    ("counter", counter::ALL),
    ("counts", counts::ALL),
    ("down", down::ALL),
    ("fleet", fleet::ALL),
    ("ingest", ingest::ALL),
    ("jobs", jobs::ALL),
    ("lanes", lanes::ALL),
    ("meter_list", meter_list::ALL),
    ("meters", meters::ALL),
    ("people", people::ALL),
    ("quarantine", quarantine::ALL),
    ("readings", readings::ALL),
    ("registration", registration::ALL),
    ("sessions", sessions::ALL),
    ("staff", staff::ALL),
    ("symptoms", symptoms::ALL),
    ("tasks", tasks::ALL),
    ("trends", trends::ALL),
    ("views", views::ALL),
];

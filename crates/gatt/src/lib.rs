//! Byte layouts of the Bluetooth characteristics that blood-pressure cuffs, glucose meters, weight scales, thermometers
//! and pulse oximeters speak, and the conversation by which stored glucose records are fetched.
//!
//! This crate does not know: what time it is, who a person is, what a plausible reading is, where bytes come from
//! or go to. It has no clock, no IO, no randomness, no threads, no logging and no floating point. It is `no_std`
//! with `alloc`, depends on nothing, and returns a value or a typed error for every sequence of bytes.
//!
//! Every characteristic is a type with `decode(&[u8]) -> Result<Decoded<Self>, DecodeError>` and
//! `encode(&self) -> Result<Vec<u8>, EncodeError>`. All multi-byte fields are little-endian. Numbers stay exact
//! decimals, mantissa and exponent as sent; nothing is rounded unless a method says so.
//!
//! Decoding is structural: a packet that has the fields its flags promise is decoded even if a cuff pressure is
//! negative or a date impossible. Judging values is the caller's work.
//!
//! ```
//! use carepost_gatt::blood_pressure::Measurement;
//! use carepost_gatt::{Decimal, MedFloat};
//!
//! let decoded = Measurement::decode(&[0x00, 0x7E, 0x00, 0x4E, 0x00, 0xFF, 0x07])?;
//! assert_eq!(decoded.value.systolic, MedFloat::Number(Decimal::new(126, 0)));
//! assert_eq!(decoded.value.map, MedFloat::NaN);
//! # Ok::<(), carepost_gatt::DecodeError>(())
//! ```
#![no_std]
#![deny(clippy::arithmetic_side_effects)]

extern crate alloc;

mod bytes;
mod codes;
mod date_time;
mod decimal;
mod error;
mod med_float;

pub mod battery;
pub mod blood_pressure;
pub mod current_time;
pub mod device_information;
pub mod enhanced;
pub mod glucose;
pub mod pulse_oximeter;
pub mod racp;
pub mod report;
pub mod sync;
pub mod thermometer;
pub mod user_control_point;
pub mod uuid16;
pub mod vendor_clock;
pub mod weight_scale;

pub use date_time::{Calendar, DateTime};
pub use decimal::Decimal;
pub use error::{DecodeError, Decoded, EncodeError};
pub use med_float::MedFloat;

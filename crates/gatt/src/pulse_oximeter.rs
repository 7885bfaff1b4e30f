//! Pulse Oximeter Service 0x1822: spot-check measurement 2A5E and continuous measurement 2A5F.

use alloc::vec::Vec;

use crate::bytes::{self, Reader};
use crate::codes::set_names;
use crate::{DateTime, DecodeError, Decoded, EncodeError, MedFloat};

const SPOT_TIMESTAMP: u8 = 1;
const SPOT_MEASUREMENT_STATUS: u8 = 1 << 1;
const SPOT_SENSOR_STATUS: u8 = 1 << 2;
const SPOT_PULSE_AMPLITUDE: u8 = 1 << 3;
const SPOT_CLOCK_NOT_SET: u8 = 1 << 4;
const SPOT_RFU_MASK: u8 = 0b1110_0000;
const SPOT_OPTIONAL_LENGTHS: [(u8, usize); 4] = [
    (SPOT_TIMESTAMP, DateTime::LENGTH),
    (SPOT_MEASUREMENT_STATUS, 2),
    (SPOT_SENSOR_STATUS, 3),
    (SPOT_PULSE_AMPLITUDE, 2),
];

const CONTINUOUS_FAST: u8 = 1;
const CONTINUOUS_SLOW: u8 = 1 << 1;
const CONTINUOUS_MEASUREMENT_STATUS: u8 = 1 << 2;
const CONTINUOUS_SENSOR_STATUS: u8 = 1 << 3;
const CONTINUOUS_PULSE_AMPLITUDE: u8 = 1 << 4;
const CONTINUOUS_RFU_MASK: u8 = 0b1110_0000;
const CONTINUOUS_OPTIONAL_LENGTHS: [(u8, usize); 5] = [
    (CONTINUOUS_FAST, 4),
    (CONTINUOUS_SLOW, 4),
    (CONTINUOUS_MEASUREMENT_STATUS, 2),
    (CONTINUOUS_SENSOR_STATUS, 3),
    (CONTINUOUS_PULSE_AMPLITUDE, 2),
];

/// Flags, oxygen saturation, pulse rate.
const FIXED_LENGTH: usize = 5;

/// An oxygen saturation and the pulse rate that goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpO2AndPulse {
    /// Oxygen saturation in percent.
    pub spo2_pct: MedFloat,
    /// Pulse rate in beats per minute.
    pub pulse: MedFloat,
}

impl SpO2AndPulse {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            spo2_pct: reader.sfloat()?,
            pulse: reader.sfloat()?,
        })
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        bytes::put_sfloat(out, &self.spo2_pct)?;
        bytes::put_sfloat(out, &self.pulse)
    }
}

/// Measurement status as sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct MeasurementStatus(pub u16);

impl MeasurementStatus {
    /// Bit 6: early estimate.
    pub const EARLY_ESTIMATE: u16 = 1 << 6;
    /// Bit 12: calibration ongoing.
    pub const CALIBRATION: u16 = 1 << 12;
    /// Bit 10: data for demonstration.
    pub const DEMONSTRATION: u16 = 1 << 10;
    /// Bit 11: data for testing.
    pub const TESTING: u16 = 1 << 11;
    /// Bit 13: no measurement available.
    pub const UNAVAILABLE: u16 = 1 << 13;
    /// Bit 14: questionable measurement detected.
    pub const QUESTIONABLE: u16 = 1 << 14;
    /// Bit 15: invalid measurement detected.
    pub const INVALID: u16 = 1 << 15;
    const RFU: u16 = 0x001F;
    const NAMES: [(u16, &'static str); 10] = [
        (1 << 5, "measurement_ongoing"),
        (Self::EARLY_ESTIMATE, "early_estimate"),
        (1 << 7, "validated"),
        (1 << 8, "fully_qualified"),
        (1 << 9, "from_storage"),
        (Self::DEMONSTRATION, "demonstration"),
        (Self::TESTING, "testing"),
        (Self::CALIBRATION, "calibration_ongoing"),
        (Self::UNAVAILABLE, "measurement_unavailable"),
        (Self::QUESTIONABLE, "questionable"),
    ];
    const INVALID_NAME: [(u16, &'static str); 1] = [(Self::INVALID, "invalid")];

    /// Whether any bit of `mask` is set.
    #[must_use]
    pub const fn any(self, mask: u16) -> bool {
        self.0 & mask != 0
    }

    /// Bits 0-4, in place.
    #[must_use]
    pub const fn rfu_bits(self) -> u16 {
        self.0 & Self::RFU
    }

    /// Stable names of the flags that are set, lowest bit first.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        set_names(self.0, &Self::NAMES).chain(set_names(self.0, &Self::INVALID_NAME))
    }
}

/// Device and sensor status as sent: 24 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SensorStatus(pub u32);

impl SensorStatus {
    /// Bit 1: equipment malfunction detected.
    pub const EQUIPMENT_MALFUNCTION: u32 = 1 << 1;
    /// Bits 2 to 8 and 10: the signal is irregular, inadequate, poor, low, erratic, without pulse, questionable or
    /// disturbed.
    pub const POOR_SIGNAL: u32 = 0b101_1111_1100;
    /// Bit 13: the sensor is not where it belongs.
    pub const SENSOR_DISPLACED: u32 = 1 << 13;
    /// Bits 11 and 15: the sensor is not on the person, or not on the device.
    pub const SENSOR_OFF: u32 = (1 << 11) | (1 << 15);
    /// Bit 14: sensor malfunctioning.
    pub const SENSOR_MALFUNCTION: u32 = 1 << 14;
    /// The field has three bytes.
    const MAX: u32 = 0x00FF_FFFF;
    const NAMES: [(u16, &'static str); 16] = [
        (1, "extended_display_update_ongoing"),
        (1 << 1, "equipment_malfunction"),
        (1 << 2, "signal_processing_irregularity"),
        (1 << 3, "inadequate_signal"),
        (1 << 4, "poor_signal"),
        (1 << 5, "low_perfusion"),
        (1 << 6, "erratic_signal"),
        (1 << 7, "non_pulsatile_signal"),
        (1 << 8, "questionable_pulse"),
        (1 << 9, "signal_analysis_ongoing"),
        (1 << 10, "sensor_interference"),
        (1 << 11, "sensor_unconnected_to_user"),
        (1 << 12, "unknown_sensor"),
        (1 << 13, "sensor_displaced"),
        (1 << 14, "sensor_malfunction"),
        (1 << 15, "sensor_disconnected"),
    ];

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (low, high) = (reader.u16()?, reader.u8()?);
        Ok(Self(u32::from(low) | (u32::from(high) << 16)))
    }

    fn encode(self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if self.0 > Self::MAX {
            return Err(EncodeError::OutOfRange { field: "sensor_status" });
        }
        let [low, middle, high, _] = self.0.to_le_bytes();
        out.extend_from_slice(&[low, middle, high]);
        Ok(())
    }

    /// Whether any bit of `mask` is set.
    #[must_use]
    pub const fn any(self, mask: u32) -> bool {
        self.0 & mask != 0
    }

    /// Bits 16-23, in place.
    #[must_use]
    pub const fn rfu_bits(self) -> u32 {
        self.0 & 0x00FF_0000
    }

    /// Stable names of the flags that are set, lowest bit first.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        // Only the lower 16 bits have names.
        let [low, middle, ..] = self.0.to_le_bytes();
        set_names(u16::from_le_bytes([low, middle]), &Self::NAMES)
    }
}

/// PLX Spot-Check Measurement 2A5E, indicated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpotCheck {
    /// Saturation and pulse.
    pub values: SpO2AndPulse,
    /// The oximeter's own time.
    pub timestamp: Option<DateTime>,
    /// The oximeter says that nobody ever set its clock, so that `timestamp` means nothing.
    pub clock_not_set: bool,
    /// Measurement status.
    pub measurement_status: Option<MeasurementStatus>,
    /// Device and sensor status.
    pub sensor_status: Option<SensorStatus>,
    /// Pulse amplitude index in percent.
    pub pulse_amplitude_pct: Option<MedFloat>,
    /// Reserved flag bits 5-7, in place, as sent.
    pub rfu_flags: u8,
}

impl SpotCheck {
    /// Reads a spot check.
    ///
    /// # Errors
    /// `TooShort` if a field that the flags promise is missing.
    pub fn decode(bytes: &[u8]) -> Result<Decoded<Self>, DecodeError> {
        let need = bytes::length_by_flags(FIXED_LENGTH, bytes::flags_of(bytes), &SPOT_OPTIONAL_LENGTHS);
        let mut reader = Reader::new(bytes, need)?;
        let flags = reader.u8()?;
        let values = SpO2AndPulse::decode(&mut reader)?;
        let timestamp = if flags & SPOT_TIMESTAMP != 0 {
            Some(reader.date_time()?)
        } else {
            None
        };
        let (measurement_status, sensor_status, pulse_amplitude_pct) = decode_tail(
            &mut reader,
            flags & SPOT_MEASUREMENT_STATUS != 0,
            flags & SPOT_SENSOR_STATUS != 0,
            flags & SPOT_PULSE_AMPLITUDE != 0,
        )?;
        Ok(reader.finish(Self {
            values,
            timestamp,
            clock_not_set: flags & SPOT_CLOCK_NOT_SET != 0,
            measurement_status,
            sensor_status,
            pulse_amplitude_pct,
            rfu_flags: flags & SPOT_RFU_MASK,
        }))
    }

    /// Writes the spot check, at most 19 bytes.
    ///
    /// # Errors
    /// If a number or field has no exact place in the packet.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let flags = bytes::flag(self.timestamp.is_some(), SPOT_TIMESTAMP)
            | bytes::flag(self.measurement_status.is_some(), SPOT_MEASUREMENT_STATUS)
            | bytes::flag(self.sensor_status.is_some(), SPOT_SENSOR_STATUS)
            | bytes::flag(self.pulse_amplitude_pct.is_some(), SPOT_PULSE_AMPLITUDE)
            | bytes::flag(self.clock_not_set, SPOT_CLOCK_NOT_SET)
            | bytes::check_rfu(self.rfu_flags, SPOT_RFU_MASK)?;
        let mut out = alloc::vec![flags];
        self.values.encode(&mut out)?;
        if let Some(timestamp) = &self.timestamp {
            bytes::put_date_time(&mut out, timestamp)?;
        }
        encode_tail(
            &mut out,
            self.measurement_status,
            self.sensor_status,
            self.pulse_amplitude_pct,
        )?;
        Ok(out)
    }
}

/// PLX Continuous Measurement 2A5F, notified while the sensor is on. Never a reading: it has no time and no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Continuous {
    /// Saturation and pulse with the usual averaging.
    pub normal: SpO2AndPulse,
    /// With fast averaging.
    pub fast: Option<SpO2AndPulse>,
    /// With slow averaging.
    pub slow: Option<SpO2AndPulse>,
    /// Measurement status.
    pub measurement_status: Option<MeasurementStatus>,
    /// Device and sensor status.
    pub sensor_status: Option<SensorStatus>,
    /// Pulse amplitude index in percent.
    pub pulse_amplitude_pct: Option<MedFloat>,
    /// Reserved flag bits 5-7, in place, as sent.
    pub rfu_flags: u8,
}

impl Continuous {
    /// Reads a continuous measurement.
    ///
    /// # Errors
    /// `TooShort` if a field that the flags promise is missing.
    pub fn decode(bytes: &[u8]) -> Result<Decoded<Self>, DecodeError> {
        let need = bytes::length_by_flags(FIXED_LENGTH, bytes::flags_of(bytes), &CONTINUOUS_OPTIONAL_LENGTHS);
        let mut reader = Reader::new(bytes, need)?;
        let flags = reader.u8()?;
        let normal = SpO2AndPulse::decode(&mut reader)?;
        let fast = if flags & CONTINUOUS_FAST != 0 {
            Some(SpO2AndPulse::decode(&mut reader)?)
        } else {
            None
        };
        let slow = if flags & CONTINUOUS_SLOW != 0 {
            Some(SpO2AndPulse::decode(&mut reader)?)
        } else {
            None
        };
        let (measurement_status, sensor_status, pulse_amplitude_pct) = decode_tail(
            &mut reader,
            flags & CONTINUOUS_MEASUREMENT_STATUS != 0,
            flags & CONTINUOUS_SENSOR_STATUS != 0,
            flags & CONTINUOUS_PULSE_AMPLITUDE != 0,
        )?;
        Ok(reader.finish(Self {
            normal,
            fast,
            slow,
            measurement_status,
            sensor_status,
            pulse_amplitude_pct,
            rfu_flags: flags & CONTINUOUS_RFU_MASK,
        }))
    }

    /// Writes the continuous measurement, at most 20 bytes.
    ///
    /// # Errors
    /// If a number or field has no exact place in the packet.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let flags = bytes::flag(self.fast.is_some(), CONTINUOUS_FAST)
            | bytes::flag(self.slow.is_some(), CONTINUOUS_SLOW)
            | bytes::flag(self.measurement_status.is_some(), CONTINUOUS_MEASUREMENT_STATUS)
            | bytes::flag(self.sensor_status.is_some(), CONTINUOUS_SENSOR_STATUS)
            | bytes::flag(self.pulse_amplitude_pct.is_some(), CONTINUOUS_PULSE_AMPLITUDE)
            | bytes::check_rfu(self.rfu_flags, CONTINUOUS_RFU_MASK)?;
        let mut out = alloc::vec![flags];
        self.normal.encode(&mut out)?;
        for values in [&self.fast, &self.slow].into_iter().flatten() {
            values.encode(&mut out)?;
        }
        encode_tail(
            &mut out,
            self.measurement_status,
            self.sensor_status,
            self.pulse_amplitude_pct,
        )?;
        Ok(out)
    }
}

type Tail = (Option<MeasurementStatus>, Option<SensorStatus>, Option<MedFloat>);

/// Reads the fields that end both characteristics.
fn decode_tail(
    reader: &mut Reader<'_>,
    has_measurement_status: bool,
    has_sensor_status: bool,
    has_amplitude: bool,
) -> Result<Tail, DecodeError> {
    let measurement_status = if has_measurement_status {
        Some(MeasurementStatus(reader.u16()?))
    } else {
        None
    };
    let sensor_status = if has_sensor_status {
        Some(SensorStatus::decode(reader)?)
    } else {
        None
    };
    let amplitude = if has_amplitude { Some(reader.sfloat()?) } else { None };
    Ok((measurement_status, sensor_status, amplitude))
}

fn encode_tail(
    out: &mut Vec<u8>,
    measurement_status: Option<MeasurementStatus>,
    sensor_status: Option<SensorStatus>,
    amplitude: Option<MedFloat>,
) -> Result<(), EncodeError> {
    if let Some(status) = measurement_status {
        out.extend_from_slice(&status.0.to_le_bytes());
    }
    if let Some(status) = sensor_status {
        status.encode(out)?;
    }
    if let Some(amplitude) = &amplitude {
        bytes::put_sfloat(out, amplitude)?;
    }
    Ok(())
}

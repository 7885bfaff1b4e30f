//! 16-bit UUIDs assigned by the Bluetooth SIG.

use alloc::string::String;

/// The full UUID of a 16-bit one, in lower case: `0000xxxx-0000-1000-8000-00805f9b34fb`.
#[must_use]
pub fn to_uuid128(uuid: u16) -> String {
    alloc::format!("0000{uuid:04x}-0000-1000-8000-00805f9b34fb")
}

/// The 16-bit UUID of a text: four hex digits, with or without `0x`, or the full UUID on the Bluetooth base; in any
/// case.
#[must_use]
pub fn parse(text: &str) -> Option<u16> {
    let text = text.trim();
    let short = if text.len() == 36 {
        let lower = text.to_ascii_lowercase();
        String::from(
            lower
                .strip_prefix("0000")?
                .strip_suffix("-0000-1000-8000-00805f9b34fb")?,
        )
    } else {
        String::from(
            text.strip_prefix("0x")
                .or_else(|| text.strip_prefix("0X"))
                .unwrap_or(text),
        )
    };
    // from_str_radix would take a sign.
    if short.len() != 4 || !short.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u16::from_str_radix(&short, 16).ok()
}

/// Service: Current Time.
pub const CURRENT_TIME_SERVICE: u16 = 0x1805;
/// Service: Glucose.
pub const GLUCOSE_SERVICE: u16 = 0x1808;
/// Service: Health Thermometer.
pub const HEALTH_THERMOMETER_SERVICE: u16 = 0x1809;
/// Service: Device Information.
pub const DEVICE_INFORMATION_SERVICE: u16 = 0x180A;
/// Service: Battery.
pub const BATTERY_SERVICE: u16 = 0x180F;
/// Service: Blood Pressure.
pub const BLOOD_PRESSURE_SERVICE: u16 = 0x1810;
/// Service: User Data.
pub const USER_DATA_SERVICE: u16 = 0x181C;
/// Service: Weight Scale.
pub const WEIGHT_SCALE_SERVICE: u16 = 0x181D;
/// Service: Pulse Oximeter.
pub const PULSE_OXIMETER_SERVICE: u16 = 0x1822;

/// Characteristic: Date Time.
pub const DATE_TIME: u16 = 0x2A08;
/// Characteristic: Glucose Measurement.
pub const GLUCOSE_MEASUREMENT: u16 = 0x2A18;
/// Characteristic: Battery Level.
pub const BATTERY_LEVEL: u16 = 0x2A19;
/// Characteristic: Temperature Measurement.
pub const TEMPERATURE_MEASUREMENT: u16 = 0x2A1C;
/// Characteristic: Model Number String.
pub const MODEL_NUMBER: u16 = 0x2A24;
/// Characteristic: Serial Number String.
pub const SERIAL_NUMBER: u16 = 0x2A25;
/// Characteristic: Firmware Revision String.
pub const FIRMWARE_REVISION: u16 = 0x2A26;
/// Characteristic: Hardware Revision String.
pub const HARDWARE_REVISION: u16 = 0x2A27;
/// Characteristic: Software Revision String.
pub const SOFTWARE_REVISION: u16 = 0x2A28;
/// Characteristic: Manufacturer Name String.
pub const MANUFACTURER_NAME: u16 = 0x2A29;
/// Characteristic: Current Time.
pub const CURRENT_TIME: u16 = 0x2A2B;
/// Characteristic: Glucose Measurement Context.
pub const GLUCOSE_CONTEXT: u16 = 0x2A34;
/// Characteristic: Blood Pressure Measurement.
pub const BLOOD_PRESSURE_MEASUREMENT: u16 = 0x2A35;
/// Characteristic: Intermediate Cuff Pressure.
pub const INTERMEDIATE_CUFF_PRESSURE: u16 = 0x2A36;
/// Characteristic: Blood Pressure Feature.
pub const BLOOD_PRESSURE_FEATURE: u16 = 0x2A49;
/// Characteristic: Glucose Feature.
pub const GLUCOSE_FEATURE: u16 = 0x2A51;
/// Characteristic: Record Access Control Point.
pub const RECORD_ACCESS_CONTROL_POINT: u16 = 0x2A52;
/// Characteristic: PLX Spot-Check Measurement.
pub const PLX_SPOT_CHECK: u16 = 0x2A5E;
/// Characteristic: PLX Continuous Measurement.
pub const PLX_CONTINUOUS: u16 = 0x2A5F;
/// Characteristic: Weight Measurement.
pub const WEIGHT_MEASUREMENT: u16 = 0x2A9D;
/// Characteristic: User Control Point.
pub const USER_CONTROL_POINT: u16 = 0x2A9F;
/// Characteristic: Enhanced Blood Pressure Measurement.
pub const ENHANCED_BLOOD_PRESSURE_MEASUREMENT: u16 = 0x2B34;
/// Characteristic: Enhanced Intermediate Cuff Pressure.
pub const ENHANCED_INTERMEDIATE_CUFF_PRESSURE: u16 = 0x2B35;
/// Characteristic: Blood Pressure Record.
pub const BLOOD_PRESSURE_RECORD: u16 = 0x2B36;
/// Descriptor: Client Characteristic Configuration.
pub const CLIENT_CHARACTERISTIC_CONFIGURATION: u16 = 0x2902;

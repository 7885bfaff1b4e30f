//! The simulator's configuration of one measurement.

use std::fmt::Write as _;

/// Most records that one simulated meter remembers.
pub(crate) const FULL_MEMORY: usize = 5_000;

/// What stands around the gateway.
#[derive(Debug)]
pub(crate) struct Neighbourhood {
    /// Time between two advertisements of one meter.
    pub(crate) advertising_interval_ms: u64,
    /// Glucose meters with a full memory, out of range at first.
    pub(crate) glucose: usize,
    /// Cuffs with an empty memory, out of range at first.
    pub(crate) cuffs: usize,
    /// Meters of strangers, in range from the start, which advertise and are never connected.
    pub(crate) strangers: usize,
}

impl Neighbourhood {
    /// Names and addresses of the glucose meters.
    pub(crate) fn glucose_meters(&self) -> Vec<(String, String)> {
        (0..self.glucose).map(|n| meter("glucose", 0x02, n)).collect()
    }

    /// Names and addresses of the cuffs.
    pub(crate) fn cuff_meters(&self) -> Vec<(String, String)> {
        (0..self.cuffs).map(|n| meter("cuff", 0x01, n)).collect()
    }

    /// The configuration file. Every delay that only a radio would cost is as short as the simulator allows.
    pub(crate) fn file(&self) -> String {
        let mut text = format!(
            "[log]\nfilter = \"warn\"\n\n[adapter]\nadvertising_interval_ms = {}\nconnect_delay_ms = 0\nresolve_delay_ms = 0\n",
            self.advertising_interval_ms
        );
        for (n, (name, address)) in self.glucose_meters().iter().enumerate() {
            section(&mut text, name, "glucose", address, false);
            add(
                &mut text,
                &format!(
                    "memory = {FULL_MEMORY}\n[meters.glucose]\ncontexts = false\nnotification_interval_ms = 0\n\
                     [meters.stored]\ncount = {FULL_MEMORY}\nseed = {}\nspacing_minutes = 5\n",
                    n + 1
                ),
            );
        }
        for (name, address) in self.cuff_meters() {
            section(&mut text, &name, "cuff", &address, false);
            add(&mut text, "memory = 5000\n[meters.cuff]\nindication_interval_ms = 0\n");
        }
        for n in 0..self.strangers {
            let (name, address) = meter("stranger", 0x03, n);
            section(&mut text, &name, "cuff", &address, true);
        }
        text
    }
}

fn meter(kind: &str, block: u8, n: usize) -> (String, String) {
    let [.., high, low] = n.to_be_bytes();
    (
        format!("{kind}-{n}"),
        format!("C4:DE:{block:02X}:BE:{high:02X}:{low:02X}"),
    )
}

fn section(text: &mut String, name: &str, kind: &str, address: &str, in_range: bool) {
    add(
        text,
        &format!(
            "\n[[meters]]\nname = \"{name}\"\nkind = \"{kind}\"\naddress = \"{address}\"\nlocal_name = \"{name}\"\n\
             in_range = {in_range}\nadvertise = \"always\"\nidle_disconnect_ms = 3600000\n"
        ),
    );
}

fn add(text: &mut String, more: &str) {
    // Writing to a text does not fail.
    write!(text, "{more}").ok();
}

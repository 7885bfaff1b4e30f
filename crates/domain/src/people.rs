//! Members and what is on file about them that rules read.

use serde::{Deserialize, Serialize};

use crate::code_enum;
use crate::id::{MemberId, StoreId};

/// A chronic-disease member of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The member.
    pub id: MemberId,
    /// What the person shows or types at a kiosk; no part of the name or phone is in it.
    pub code: MemberCode,
    /// Name as on file.
    pub name: crate::Phi<String>,
    /// Calendar year of birth.
    pub birth_year: i32,
    /// Administrative sex as on file.
    pub sex: Sex,
    /// Telephone, for the pharmacist's call; never a key.
    pub phone: Option<crate::Phi<String>>,
    /// Owns the follow-up.
    pub home_store: StoreId,
    /// Conditions on file.
    pub conditions: Vec<Condition>,
    /// Classes of dispensed drugs.
    pub drugs: Vec<DrugClass>,
}

code_enum! {
    /// Administrative sex.
    pub enum Sex ("sex") {
        /// Female.
        Female = "female",
        /// Male.
        Male = "male",
        /// Not recorded.
        Unknown = "unknown",
    }
}

code_enum! {
    /// Conditions that rules read (page 5, section 5.6, codes).
    pub enum Condition ("condition") {
        /// Diagnosed hypertension.
        Hypertension = "hypertension",
        /// Diabetes of any type.
        Diabetes = "diabetes",
        /// Chronic kidney disease.
        Ckd = "ckd",
        /// Known atrial fibrillation.
        AtrialFibrillation = "atrial_fibrillation",
        /// Pregnant.
        Pregnant = "pregnant",
        /// Up to six weeks after birth.
        Postpartum = "postpartum",
    }
}

code_enum! {
    /// Drug classes that rules read (page 5, section 5.6, codes).
    pub enum DrugClass ("drug class") {
        /// Any blood-pressure-lowering drug.
        Antihypertensive = "antihypertensive",
        /// Beta blocker.
        BetaBlocker = "beta_blocker",
        /// Insulin.
        Insulin = "insulin",
        /// Long-acting insulin.
        InsulinLong = "insulin_long",
        /// Sulfonylurea.
        Sulfonylurea = "sulfonylurea",
        /// Acarbose, voglibose, miglitol: only glucose treats a hypoglycaemia.
        AlphaGlucosidaseInhibitor = "alpha_glucosidase_inhibitor",
        /// Any other.
        Other = "other",
    }
}

code_enum! {
    /// Symptoms that are asked for or recorded (page 5, section 5.6, codes).
    pub enum Symptom ("symptom") {
        /// Chest pain.
        ChestPain = "chest_pain",
        /// Face, arm or speech change.
        FaceArmSpeech = "face_arm_speech",
        /// Confusion.
        Confusion = "confusion",
        /// Fainting.
        Fainting = "fainting",
        /// Breathlessness at rest.
        BreathlessAtRest = "breathless_at_rest",
        /// Sudden loss of vision.
        VisionLoss = "vision_loss",
        /// Worst headache ever.
        WorstHeadache = "worst_headache",
        /// Dizziness.
        Dizziness = "dizziness",
        /// Vomiting.
        Vomiting = "vomiting",
        /// Deep breathing.
        DeepBreathing = "deep_breathing",
        /// Acetone breath.
        AcetoneBreath = "acetone_breath",
        /// Drowsiness.
        Drowsiness = "drowsiness",
        /// A hypoglycaemia that needed another person's help.
        NeededHelp = "needed_help",
        /// Seizure.
        Seizure = "seizure",
        /// Unconscious.
        Unconscious = "unconscious",
    }
}

impl Symptom {
    /// Whether the symptom alone is SY-01 (page 5, section 5.6).
    #[must_use]
    pub const fn is_danger(self) -> bool {
        matches!(
            self,
            Self::ChestPain
                | Self::FaceArmSpeech
                | Self::Confusion
                | Self::Fainting
                | Self::BreathlessAtRest
                | Self::VisionLoss
                | Self::WorstHeadache
        )
    }
}

/// A member's card code: 4 to 32 ASCII letters, digits or dashes, upper case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MemberCode(String);

/// A text that is no member code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a member code has 4 to 32 letters A-Z, digits or dashes")]
pub struct BadMemberCode;

impl MemberCode {
    /// The code's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for MemberCode {
    type Err = BadMemberCode;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim().to_ascii_uppercase();
        let legal = text
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-');
        if legal && (4..=32).contains(&text.len()) {
            Ok(Self(text))
        } else {
            Err(BadMemberCode)
        }
    }
}
impl TryFrom<String> for MemberCode {
    type Error = BadMemberCode;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}
impl From<MemberCode> for String {
    fn from(code: MemberCode) -> Self {
        code.0
    }
}
impl std::fmt::Display for MemberCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name with all but its first character hidden, as lists and kiosks show it (王**).
#[must_use]
pub fn masked_name(name: &str) -> String {
    let mut chars = name.trim().chars();
    chars
        .next()
        .map_or_else(|| "**".to_owned(), |first| format!("{first}**"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn member_codes_are_checked_and_folded_to_upper_case() {
        assert_eq!("cp-1024".parse::<MemberCode>().unwrap().as_str(), "CP-1024");
        for bad in ["", "abc", "has space", "ünïcode", &"A".repeat(33)] {
            assert_eq!(bad.parse::<MemberCode>(), Err(BadMemberCode), "{bad}");
        }
    }

    #[test]
    fn masked_names_show_one_character() {
        assert_eq!(masked_name("王秀英"), "王**");
        assert_eq!(masked_name("Ann Lee"), "A**");
        assert_eq!(masked_name("  "), "**");
    }
}

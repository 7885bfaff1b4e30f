//! Groups 4, 6 and 7: what is stored and how it is sent, whose it is, and how it is numbered.

use std::time::Duration;

use super::{Group, Kinds, Profile};
use crate::meters::{AfterConfirm, Fault};

const ALL_STORED: &str = "Every record is there as it was made.";

const fn backlog(name: &'static str, kinds: Kinds, faults: &'static [Fault], texts: [&'static str; 3]) -> Profile {
    Profile::of(Group::Backlog, kinds, name, faults, texts)
}

const fn slots(name: &'static str, faults: &'static [Fault], texts: [&'static str; 3]) -> Profile {
    Profile::of(Group::Slots, Kinds::WithSlots, name, faults, texts)
}

const fn sequence(name: &'static str, kinds: Kinds, faults: &'static [Fault], texts: [&'static str; 3]) -> Profile {
    Profile::of(Group::Sequence, kinds, name, faults, texts)
}

pub(super) const PROFILES: &[Profile] = &[
    backlog(
        "backlog-0",
        Kinds::Any,
        &[Fault::Backlog(0)],
        [
            "Has nothing stored when the profile is switched on.",
            "A sync ends at once, and that is a success.",
            "What was in the memory is forgotten, by the meter.",
        ],
    ),
    backlog(
        "backlog-1",
        Kinds::Any,
        &[Fault::Backlog(1)],
        [
            "Has one record stored when the profile is switched on.",
            "One record comes.",
            ALL_STORED,
        ],
    ),
    backlog(
        "backlog-60",
        Kinds::Any,
        &[Fault::Backlog(60)],
        [
            "Has 60 records stored when the profile is switched on.",
            "60 records come.",
            ALL_STORED,
        ],
    ),
    backlog(
        "backlog-450",
        Kinds::Any,
        &[Fault::Backlog(450)],
        [
            "Has 450 records stored when the profile is switched on, as far as its memory goes.",
            "450 records come.",
            ALL_STORED,
        ],
    ),
    backlog(
        "records-fast",
        Kinds::Any,
        &[Fault::Pace(Duration::ZERO)],
        [
            "Sends the next record as soon as the last one is out of the way.",
            "A burst as fast as the link carries it.",
            ALL_STORED,
        ],
    ),
    backlog(
        "records-slow",
        Kinds::Any,
        &[Fault::Pace(Duration::from_millis(300))],
        [
            "Waits 300 ms from one record to the next.",
            "Long histories take minutes.",
            ALL_STORED,
        ],
    ),
    backlog(
        "records-twice",
        Kinds::Any,
        &[Fault::Duplicates],
        [
            "Sends every record twice in a row.",
            "The second copy is a duplicate and changes nothing.",
            "Sent twice, made once.",
        ],
    ),
    backlog(
        "records-identical",
        Kinds::Any,
        &[Fault::Twins],
        [
            "Stores every measurement as two records with the same content; those of glucose differ in their number.",
            "Two records that look like one.",
            "Two entries for each measurement.",
        ],
    ),
    backlog(
        "delete-after-transfer",
        Kinds::Any,
        &[Fault::AfterConfirm(AfterConfirm::Delete)],
        [
            "Deletes what was confirmed, or reported to the end.",
            "What was not kept by the client is gone.",
            "Sent records are deleted; what nobody heard is lost behind the meter.",
        ],
    ),
    backlog(
        "sends-all-again",
        Kinds::Indicating,
        &[Fault::AfterConfirm(AfterConfirm::Resend)],
        [
            "Sends its whole memory on every link.",
            "Old records come again and are duplicates.",
            "Sent once on every link.",
        ],
    ),
    backlog(
        "all-users",
        Kinds::WithSlots,
        &[Fault::Slots(&[1, 2])],
        [
            "Sends the records of all slots, whoever measured last.",
            "Records of other people come too.",
            "Every record is sent, of both slots.",
        ],
    ),
    backlog(
        "current-user-only",
        Kinds::WithSlots,
        &[Fault::Slots(&[1, 2]), Fault::CurrentUserOnly],
        [
            "Sends the records of the slot that measured last, and keeps the others.",
            "Records of the other slot come when that person measures.",
            "Records of the other slot wait.",
        ],
    ),
    slots(
        "slots-0-1",
        &[Fault::Slots(&[0, 1])],
        [
            "Its slots send the user ids 0 and 1.",
            "0 is a person and not nobody.",
            ALL_STORED,
        ],
    ),
    slots(
        "slots-1-2",
        &[Fault::Slots(&[1, 2])],
        [
            "Its slots send the user ids 1 and 2.",
            "A and B are 1 and 2.",
            ALL_STORED,
        ],
    ),
    slots(
        "slot-unknown",
        &[Fault::UnknownUser],
        [
            "Sends the user id 255: unknown.",
            "Nobody can be told from the record.",
            ALL_STORED,
        ],
    ),
    slots(
        "slot-missing",
        &[Fault::NoUser],
        [
            "Sends no user id although it has slots.",
            "Nobody can be told from the record.",
            ALL_STORED,
        ],
    ),
    slots(
        "slot-guest",
        &[Fault::GuestUser],
        [
            "Sends the user id after its last slot: a guest.",
            "A slot that belongs to nobody.",
            ALL_STORED,
        ],
    ),
    sequence(
        "sequence-from-0",
        Kinds::Glucose,
        &[Fault::NextSequence(0)],
        [
            "Numbers its records from 0; a meter with records keeps its numbers.",
            "0 is the number of a record and not none.",
            ALL_STORED,
        ],
    ),
    sequence(
        "sequence-wraps",
        Kinds::Glucose,
        &[Fault::NextSequence(65_533)],
        [
            "Numbers its next records 65533, 65534, 65535, 0, 1.",
            "Newer records have lower numbers; a request from a number on misses them.",
            ALL_STORED,
        ],
    ),
    sequence(
        "sequence-gaps",
        Kinds::Glucose,
        &[Fault::SequenceStep(7)],
        [
            "Leaves out six numbers between two records.",
            "Gaps that are no loss.",
            ALL_STORED,
        ],
    ),
    sequence(
        "sequence-restarts",
        Kinds::Glucose,
        &[Fault::ForgetsAfter(3)],
        [
            "Resets after three records made: forgets its memory and numbers from its first number again.",
            "Other records under numbers that were seen before.",
            "The records before the reset are forgotten, by the meter.",
        ],
    ),
    sequence(
        "newest-first",
        Kinds::Any,
        &[Fault::NewestFirst],
        [
            "Sends the newest record first.",
            "The highest number comes first, and a broken link leaves the oldest behind.",
            ALL_STORED,
        ],
    ),
    sequence(
        "newer-number-older-time",
        Kinds::Any,
        &[Fault::TimesRunBackwards],
        [
            "Gives every record an older time than the one before.",
            "Newer numbers with older times.",
            "The times of the records run backwards, as stored.",
        ],
    ),
];

//! Group 9: the Record Access Control Point, and contexts.

use carepost_gatt::racp::CountWidth;

use super::{Group, Kinds, Profile};
use crate::meters::Fault;
use crate::meters::faults::{Asked, ContextFault, RacpFault};

const ALL_STAY: &str = "Every record stays on the meter, whatever was sent.";

const fn racp(name: &'static str, faults: &'static [Fault], texts: [&'static str; 2]) -> Profile {
    let [summary, changes] = texts;
    Profile::of(Group::Racp, Kinds::Glucose, name, faults, [summary, changes, ALL_STAY])
}

pub(super) const PROFILES: &[Profile] = &[
    racp(
        "racp-op-not-supported",
        &[Fault::Racp(RacpFault::Refuses(Asked::Number, 2))],
        [
            "Answers requests for a number with 2: op code not supported.",
            "The sync goes on without a count.",
        ],
    ),
    racp(
        "racp-invalid-operator",
        &[Fault::Racp(RacpFault::Refuses(Asked::Report, 3))],
        [
            "Answers reports with 3: invalid operator.",
            "No records; the reason is told.",
        ],
    ),
    racp(
        "racp-operator-not-supported",
        &[Fault::Racp(RacpFault::Refuses(Asked::Report, 4))],
        [
            "Answers reports with 4: operator not supported.",
            "No records; the reason is told.",
        ],
    ),
    racp(
        "racp-invalid-operand",
        &[Fault::Racp(RacpFault::Refuses(Asked::Report, 5))],
        [
            "Answers reports with 5: invalid operand.",
            "No records; the reason is told.",
        ],
    ),
    racp(
        "racp-no-records",
        &[Fault::Racp(RacpFault::Refuses(Asked::Report, 6))],
        [
            "Answers reports with 6: no records found, although it has some.",
            "A success with nothing, against the count.",
        ],
    ),
    racp(
        "racp-abort-unsuccessful",
        &[Fault::Racp(RacpFault::Refuses(Asked::Abort, 7))],
        [
            "Answers abort with 7: abort unsuccessful.",
            "The client has to hang up.",
        ],
    ),
    racp(
        "racp-not-completed",
        &[Fault::Racp(RacpFault::StopsHalfway)],
        [
            "Ends a report after half of the records with 8: procedure not completed.",
            "Half of the records, which are valid; the rest is asked for again.",
        ],
    ),
    racp(
        "racp-operand-not-supported",
        &[Fault::Racp(RacpFault::Refuses(Asked::Report, 9))],
        [
            "Answers reports with 9: operand not supported.",
            "No records; the reason is told.",
        ],
    ),
    racp(
        "racp-unknown-code",
        &[Fault::Racp(RacpFault::Refuses(Asked::Anything, 10))],
        [
            "Answers everything with 10, which has no meaning.",
            "No records; the code is told as it is.",
        ],
    ),
    racp(
        "racp-no-answer",
        &[Fault::Racp(RacpFault::NoAnswer)],
        [
            "Reports all records and never says that it is done.",
            "The records are valid; the client gives up waiting after its time.",
        ],
    ),
    racp(
        "racp-silent",
        &[Fault::Racp(RacpFault::Silent)],
        [
            "Takes requests and answers none, neither counts nor ends of reports.",
            "The client gives up waiting after its time.",
        ],
    ),
    racp(
        "racp-answer-early",
        &[Fault::Racp(RacpFault::AnswersEarly)],
        [
            "Says that it is done before the last record.",
            "The last record comes after the answer and is not lost.",
        ],
    ),
    racp(
        "racp-extra-records",
        &[Fault::Racp(RacpFault::Extra(2))],
        [
            "Notifies the last two records again after the answer.",
            "Duplicates outside of a procedure.",
        ],
    ),
    racp(
        "racp-abort-race",
        &[Fault::Racp(RacpFault::Straggling(2))],
        [
            "Sends two more records between an abort and its answer.",
            "Records that are valid although nobody wanted them any more.",
        ],
    ),
    racp(
        "racp-busy",
        &[Fault::Racp(RacpFault::BusyAtFirst)],
        [
            "Refuses the first request on every link with ATT error 80: procedure in progress.",
            "The client tries again.",
        ],
    ),
    racp(
        "racp-improper",
        &[Fault::Racp(RacpFault::ImproperAtFirst)],
        [
            "Refuses the first request on every link with ATT error 81: configuration improper.",
            "The client tries again.",
        ],
    ),
    racp(
        "racp-count-1-byte",
        &[Fault::Racp(RacpFault::CountWidth(CountWidth::One))],
        ["Sends counts in one byte.", "Read all the same."],
    ),
    racp(
        "racp-count-2-bytes",
        &[Fault::Racp(RacpFault::CountWidth(CountWidth::Two))],
        ["Sends counts in two bytes, as the service says.", "Read as ever."],
    ),
    racp(
        "racp-count-4-bytes",
        &[Fault::Racp(RacpFault::CountWidth(CountWidth::Four))],
        ["Sends counts in four bytes.", "Read all the same."],
    ),
    racp(
        "racp-count-too-high",
        &[Fault::Racp(RacpFault::CountOff(3))],
        [
            "Counts three records more than it reports.",
            "The count is advice, not a promise.",
        ],
    ),
    racp(
        "racp-count-too-low",
        &[Fault::Racp(RacpFault::CountOff(-3))],
        [
            "Counts three records fewer than it reports.",
            "The count is advice, not a promise.",
        ],
    ),
    racp(
        "context-missing",
        &[Fault::Context(ContextFault::Missing)],
        [
            "Announces contexts and never sends them.",
            "A reading without its meal.",
        ],
    ),
    racp(
        "context-late",
        &[Fault::Context(ContextFault::Late)],
        [
            "Sends a context after the next record.",
            "It belongs to the record of its number all the same.",
        ],
    ),
    racp(
        "context-early",
        &[Fault::Context(ContextFault::Early)],
        [
            "Sends a context before its measurement.",
            "It belongs to the record of its number all the same.",
        ],
    ),
    racp(
        "context-foreign",
        &[Fault::Context(ContextFault::Foreign)],
        [
            "Sends contexts with a sequence number that no record has.",
            "A context that belongs to nothing.",
        ],
    ),
];

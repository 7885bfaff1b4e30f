//! Why data is kept but not used.

use crate::code_enum;

code_enum! {
    /// The reason beside a quarantined packet or reading, on gateway and server alike.
    pub enum Reason ("quarantine reason") {
        /// The bytes do not decode.
        Undecodable = "undecodable",
        /// The meter reported a failed measurement (all values NaN, or no value).
        MeasurementError = "measurement_error",
        /// A value outside what a meter of this kind can measure, or systolic not above diastolic.
        Implausible = "implausible",
        /// A control-solution sample; never a reading of a person.
        ControlSolution = "control_solution",
        /// A ketone value by the meter's entry in the quirk table; never a glucose reading.
        Ketone = "ketone",
        /// The context says meal 6, one maker's mark of a ketone value, and no entry says what this meter means by it.
        KetoneSuspected = "ketone_suspected",
        /// The meter marks ketone values in a context, announced one and did not send it.
        ContextMissing = "context_missing",
        /// A record that this model makes up when its memory is full.
        PhantomRecord = "phantom_record",
        /// Data for demonstration or testing; never a reading of a person.
        TestData = "test_data",
        /// The bytes after the date make sense only with their order reversed, and the registered model is not known to
        /// reverse it.
        ByteOrderSuspected = "byte_order_suspected",
        /// Decoded by an entry of the quirk table that is not known here.
        QuirkUnknown = "quirk_unknown",
        /// Decoded by an entry of the quirk table that is not for the registered model.
        QuirkMismatch = "quirk_mismatch",
        /// No usable time, and not known to be measured just now.
        TimeUnknown = "time_unknown",
        /// A date that does not exist.
        TimeImpossible = "time_impossible",
        /// Measured in the future by a clock that is trusted.
        TimeInFuture = "time_in_future",
        /// Measured before the meter was bound to its owner.
        BeforeBinding = "before_binding",
        /// The user slot is absent, unknown or bound to nobody.
        SlotUnknown = "slot_unknown",
        /// The same packet was claimed for two members.
        MemberConflict = "member_conflict",
        /// The gateway's copy names nobody for the meter any more.
        NobodyBound = "nobody_bound",
        /// The server does not know the member.
        UnknownMember = "unknown_member",
        /// The server does not know the meter.
        UnknownMeter = "unknown_meter",
        /// The server finds no binding or sitting that makes the attribution plausible.
        NotAttributable = "not_attributable",
        /// The decoded values do not follow from the raw bytes, or the id not from the content.
        Inconsistent = "inconsistent",
        /// The message or item does not parse.
        Malformed = "malformed",
        /// The signature does not verify.
        BadSignature = "bad_signature",
        /// Sent under a gateway id that is not the sender's.
        WrongGateway = "wrong_gateway",
        /// Larger than the contract allows.
        TooLarge = "too_large",
    }
}

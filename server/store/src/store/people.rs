//! Members, meters, bindings and consent.

use carepost_domain::consent::Purpose;
use carepost_domain::id::{BindingId, GatewayId, MemberId, MeterId, StoreId};
use carepost_domain::meter::Meter;
use carepost_domain::people::{Condition, DrugClass, Member, MemberCode};
use chrono::{DateTime, Utc};

use super::{Priority, Store, audited, read, write};
use crate::error::{ConsentError, PeopleError, RegisterError};
use crate::model::{
    BindingRequest, By, GrantRecord, MemberRecord, MeterPage, NewGrant, Registered, Registration, Withdrawal,
};

impl Store {
    /// Adds a member; the same again is no change.
    ///
    /// # Errors
    /// [`PeopleError::MemberTaken`] when id or code are somebody else's, [`PeopleError::StoreUnknown`],
    /// [`PeopleError::BadText`].
    #[tracing::instrument(name = "store.add_member", skip_all)]
    pub async fn add_member(&self, by: &By, member: &Member) -> Result<(), PeopleError> {
        write!(self, Priority::Staff, |conn| sql::people::add_member(conn, by, member))
    }

    /// One member's particulars. Audited.
    ///
    /// # Errors
    /// [`PeopleError::MemberUnknown`].
    #[tracing::instrument(name = "store.member", skip_all)]
    pub async fn member(&self, by: &By, id: MemberId) -> Result<MemberRecord, PeopleError> {
        audited!(self, |conn| sql::people::member(conn, by, id))
    }

    /// Searches a member by exact card code. Audited, also when nobody is found.
    ///
    /// # Errors
    /// When the database fails.
    #[tracing::instrument(name = "store.find_member_by_code", skip_all)]
    pub async fn find_member_by_code(&self, by: &By, code: &MemberCode) -> Result<Option<MemberRecord>, PeopleError> {
        audited!(self, |conn| sql::people::find_by_code(conn, by, code))
    }

    /// Replaces a member's conditions, and has the member assessed again.
    ///
    /// # Errors
    /// [`PeopleError::MemberUnknown`].
    #[tracing::instrument(name = "store.set_conditions", skip_all)]
    pub async fn set_conditions(&self, by: &By, member: MemberId, conditions: &[Condition]) -> Result<(), PeopleError> {
        write!(self, Priority::Staff, |conn| sql::people::set_conditions(
            conn, by, member, conditions
        ))
    }

    /// Replaces a member's drug classes, and has the member assessed again.
    ///
    /// # Errors
    /// [`PeopleError::MemberUnknown`].
    #[tracing::instrument(name = "store.set_drugs", skip_all)]
    pub async fn set_drugs(&self, by: &By, member: MemberId, drugs: &[DrugClass]) -> Result<(), PeopleError> {
        write!(self, Priority::Staff, |conn| sql::people::set_drugs(
            conn, by, member, drugs
        ))
    }

    /// Registers a meter under the id that follows from its address, and returns it as it is registered; the same particulars
    /// again are no change.
    ///
    /// # Errors
    /// [`PeopleError::MeterDiffers`] when it is registered otherwise or the id is not the address's,
    /// [`PeopleError::StoreUnknown`], [`PeopleError::BadText`].
    #[tracing::instrument(name = "store.register_meter", skip_all)]
    pub async fn register_meter(&self, by: &By, meter: &Meter) -> Result<Meter, PeopleError> {
        write!(self, Priority::Staff, |conn| sql::meters::register_meter(
            conn, by, meter
        ))
    }

    /// One meter.
    ///
    /// # Errors
    /// [`PeopleError::MeterUnknown`].
    #[tracing::instrument(name = "store.meter", skip_all)]
    pub async fn meter(&self, id: MeterId) -> Result<Meter, PeopleError> {
        read!(self, |conn| sql::meters::meter(conn, id))
    }

    /// A page of meters of one store or of all, by model and address, behind `after`; at most [`crate::limits::MAX_PAGE`].
    ///
    /// # Errors
    /// [`PeopleError::MeterUnknown`] when there is no `after`.
    #[tracing::instrument(name = "store.meters", skip_all)]
    pub async fn meters(
        &self,
        store: Option<StoreId>,
        after: Option<MeterId>,
        limit: u32,
        now: DateTime<Utc>,
    ) -> Result<MeterPage, PeopleError> {
        read!(self, |conn| sql::meter_list::page(conn, store, after, limit, now))
    }

    /// Registers a meter that staff paired at a gateway, with its owners, all or nothing; a repeat changes nothing. Of a
    /// known meter only what it says of itself may differ, and is brought up to date.
    ///
    /// # Errors
    /// [`RegisterError`] says why it is refused; nothing is changed then.
    #[tracing::instrument(name = "store.register_from_gateway", skip_all)]
    pub async fn register_from_gateway(
        &self,
        gateway: GatewayId,
        registration: &Registration,
        now: DateTime<Utc>,
    ) -> Result<Registered, RegisterError> {
        write!(self, Priority::Staff, |conn| sql::registration::register(
            conn,
            gateway,
            registration,
            now
        ))
    }

    /// Binds a personal meter, or one of its slots, to a member; the same request again is no change.
    ///
    /// # Errors
    /// [`PeopleError::BindingOverlaps`] when the meter or slot is somebody's in that time, [`PeopleError::SlotMismatch`],
    /// [`PeopleError::MeterShared`], [`PeopleError::MeterUnknown`], [`PeopleError::MemberUnknown`].
    #[tracing::instrument(name = "store.bind_meter", skip_all)]
    pub async fn bind_meter(&self, by: &By, request: &BindingRequest) -> Result<(), PeopleError> {
        write!(self, Priority::Staff, |conn| sql::meters::bind(conn, by, request))
    }

    /// Ends a binding at an instant; the same end again is no change. With `scope`, only a binding whose meter stands in that
    /// store or whose member belongs to it; any other looks as if there were none.
    ///
    /// # Errors
    /// [`PeopleError::BindingUnknown`], [`PeopleError::BindingEnd`].
    #[tracing::instrument(name = "store.end_binding", skip_all)]
    pub async fn end_binding(
        &self,
        by: &By,
        binding: BindingId,
        end: DateTime<Utc>,
        scope: Option<StoreId>,
    ) -> Result<(), PeopleError> {
        write!(self, Priority::Staff, |conn| sql::meters::end_binding(
            conn, by, binding, end, scope
        ))
    }

    /// Records a grant; the same again is no change.
    ///
    /// # Errors
    /// [`ConsentError::BadGrant`] when the id is another grant's or the dates contradict each other,
    /// [`ConsentError::MemberUnknown`], [`ConsentError::StoreUnknown`], [`ConsentError::WitnessUnknown`].
    #[tracing::instrument(name = "store.grant", skip_all)]
    pub async fn grant(&self, by: &By, grant: &NewGrant) -> Result<(), ConsentError> {
        write!(self, Priority::Staff, |conn| sql::consent::grant(conn, by, grant))
    }

    /// Withdraws every grant for a purpose at `by.at`. For `care_record` the member's alerts close with that reason, and
    /// tasks and jobs are cancelled, all in this transaction.
    ///
    /// # Errors
    /// [`ConsentError::NothingToWithdraw`], [`ConsentError::MemberUnknown`].
    #[tracing::instrument(name = "store.withdraw", skip_all)]
    pub async fn withdraw(&self, by: &By, member: MemberId, purpose: Purpose) -> Result<Withdrawal, ConsentError> {
        write!(self, Priority::Staff, |conn| sql::consent::withdraw(
            conn, by, member, purpose
        ))
    }

    /// A member's grants, withdrawn ones included, the newest first. Audited.
    ///
    /// # Errors
    /// [`ConsentError::MemberUnknown`].
    #[tracing::instrument(name = "store.grants", skip_all)]
    pub async fn grants(&self, by: &By, member: MemberId) -> Result<Vec<GrantRecord>, ConsentError> {
        audited!(self, |conn| sql::consent::grants(conn, by, member))
    }
}

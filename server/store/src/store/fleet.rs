//! Stores, gateways, what gateways work from, and what operators count.

use carepost_domain::id::{GatewayId, StoreId};
use chrono::{DateTime, Utc};

use super::{Priority, Store, read, write};
use crate::error::{Fault, FleetError};
use crate::model::{
    By, ChangedRows, Counts, Cursors, Gateway, HelloOutcome, NewGateway, ScopeRows, StoreSite, TechnicalFlag,
};

impl Store {
    /// Adds a store; the same particulars again are no change.
    ///
    /// # Errors
    /// [`FleetError::StoreDiffers`] when it is there with others.
    #[tracing::instrument(name = "store.add_store", skip_all)]
    pub async fn add_store(&self, by: &By, site: &StoreSite) -> Result<(), FleetError> {
        write!(self, Priority::Staff, |conn| sql::fleet::add_store(conn, by, site))
    }

    /// All stores, by name.
    ///
    /// # Errors
    /// When the database fails.
    #[tracing::instrument(name = "store.stores", skip_all)]
    pub async fn stores(&self) -> Result<Vec<StoreSite>, FleetError> {
        read!(self, |conn| sql::fleet::stores(conn))
    }

    /// One store.
    ///
    /// # Errors
    /// [`FleetError::StoreUnknown`].
    #[tracing::instrument(name = "store.store", skip_all)]
    pub async fn site(&self, id: StoreId) -> Result<StoreSite, FleetError> {
        read!(self, |conn| sql::fleet::site(conn, id))
    }

    /// Enrols a gateway; the same key, store and name again are no change.
    ///
    /// # Errors
    /// [`FleetError::GatewayDiffers`] when it is enrolled otherwise, [`FleetError::GatewayRevoked`] once revoked,
    /// [`FleetError::StoreUnknown`].
    #[tracing::instrument(name = "store.add_gateway", skip_all)]
    pub async fn add_gateway(&self, by: &By, gateway: &NewGateway) -> Result<(), FleetError> {
        write!(self, Priority::Staff, |conn| sql::fleet::add_gateway(conn, by, gateway))
    }

    /// One gateway, revoked or not.
    ///
    /// # Errors
    /// [`FleetError::GatewayUnknown`].
    #[tracing::instrument(name = "store.gateway", skip_all)]
    pub async fn gateway(&self, id: GatewayId) -> Result<Gateway, FleetError> {
        read!(self, |conn| sql::fleet::gateway(conn, id))
    }

    /// All gateways, by name.
    ///
    /// # Errors
    /// When the database fails.
    #[tracing::instrument(name = "store.gateways", skip_all)]
    pub async fn gateways(&self) -> Result<Vec<Gateway>, FleetError> {
        read!(self, |conn| sql::fleet::gateways(conn))
    }

    /// Revokes a gateway for good; once more is no change.
    ///
    /// # Errors
    /// [`FleetError::GatewayUnknown`].
    #[tracing::instrument(name = "store.revoke_gateway", skip_all)]
    pub async fn revoke_gateway(&self, by: &By, id: GatewayId) -> Result<(), FleetError> {
        write!(self, Priority::Staff, |conn| sql::fleet::revoke(conn, by, id))
    }

    /// Notes that a gateway's connection stands or is gone.
    ///
    /// # Errors
    /// [`FleetError::GatewayUnknown`].
    #[tracing::instrument(name = "store.note_presence", skip_all)]
    pub async fn note_presence(&self, id: GatewayId, online: bool, now: DateTime<Utc>) -> Result<(), FleetError> {
        write!(self, Priority::Live, |conn| sql::fleet::note_presence(
            conn, id, online, now
        ))
    }

    /// Notes that nobody is connected, as is so when the broker starts.
    ///
    /// # Errors
    /// When the database fails.
    #[tracing::instrument(name = "store.all_gateways_offline", skip_all)]
    pub async fn all_gateways_offline(&self) -> Result<(), FleetError> {
        write!(self, Priority::Staff, |conn| sql::fleet::all_offline(conn))
    }

    /// A gateway's hello: records its epoch, says where its lanes stand in it, and raises the flag `cloned_gateway` when an
    /// epoch comes back that another one had followed.
    ///
    /// # Errors
    /// [`FleetError::GatewayUnknown`], [`FleetError::GatewayRevoked`], [`FleetError::BadEpoch`].
    #[tracing::instrument(name = "store.hello", skip_all)]
    pub async fn hello(&self, id: GatewayId, epoch: &str, now: DateTime<Utc>) -> Result<HelloOutcome, FleetError> {
        write!(self, Priority::Live, |conn| sql::fleet::hello(conn, id, epoch, now))
    }

    /// Where a gateway's lanes stand in an epoch.
    ///
    /// # Errors
    /// [`FleetError::GatewayUnknown`].
    #[tracing::instrument(name = "store.cursors", skip_all)]
    pub async fn cursors(&self, id: GatewayId, epoch: &str) -> Result<Cursors, FleetError> {
        read!(self, |conn| sql::fleet::cursors(conn, id, epoch))
    }

    /// What staff who run the machines must look at, the oldest first.
    ///
    /// # Errors
    /// When the database fails.
    #[tracing::instrument(name = "store.technical_flags", skip_all)]
    pub async fn technical_flags(&self) -> Result<Vec<TechnicalFlag>, FleetError> {
        read!(self, |conn| sql::fleet::flags(conn))
    }

    /// Somebody has looked at a flag; it rises again if its cause does.
    ///
    /// # Errors
    /// When the database fails.
    #[tracing::instrument(name = "store.clear_technical_flag", skip_all)]
    pub async fn clear_technical_flag(&self, by: &By, gateway: GatewayId, kind: &str) -> Result<(), FleetError> {
        write!(self, Priority::Staff, |conn| sql::fleet::clear_flag(
            conn, by, gateway, kind
        ))
    }

    /// Everything in a gateway's scope, with the version it has.
    ///
    /// # Errors
    /// [`FleetError::GatewayUnknown`], [`FleetError::GatewayRevoked`].
    #[tracing::instrument(name = "store.down_snapshot", skip_all)]
    pub async fn down_snapshot(&self, gateway: GatewayId) -> Result<ScopeRows, FleetError> {
        read!(self, |conn| sql::down::snapshot(conn, gateway))
    }

    /// What changed in a gateway's scope since a version. The rows may be none while the version has moved. A `version`
    /// above the one that comes back means that the database is older than the gateway's copy: it needs a snapshot.
    ///
    /// # Errors
    /// [`FleetError::GatewayUnknown`], [`FleetError::GatewayRevoked`].
    #[tracing::instrument(name = "store.down_changes", skip_all)]
    pub async fn down_changes(&self, gateway: GatewayId, version: i64) -> Result<ChangedRows, FleetError> {
        read!(self, |conn| sql::down::changes(conn, gateway, version))
    }

    /// The version of members, meters, bindings and grants, for polling; commits come in its order. At least 1.
    ///
    /// # Errors
    /// When the database fails.
    #[tracing::instrument(name = "store.down_version", skip_all)]
    pub async fn down_version(&self) -> Result<i64, Fault> {
        read!(self, |conn| sql::counter::read(conn, sql::counter::Counter::Down))
    }

    /// Notes the version that a gateway works from.
    ///
    /// # Errors
    /// [`FleetError::GatewayUnknown`].
    #[tracing::instrument(name = "store.note_applied", skip_all)]
    pub async fn note_applied(&self, gateway: GatewayId, version: i64, now: DateTime<Utc>) -> Result<(), FleetError> {
        write!(self, Priority::Live, |conn| sql::fleet::note_applied(
            conn, gateway, version, now
        ))
    }

    /// Numbers for health pages and metrics.
    ///
    /// # Errors
    /// When the database fails.
    #[tracing::instrument(name = "store.counts", skip_all)]
    pub async fn counts(&self, now: DateTime<Utc>) -> Result<Counts, Fault> {
        read!(self, |conn| sql::counts::counts(conn, now))
    }
}

//! Meters as staff see them.

use carepost_domain::Id;
use carepost_domain::id::{MeterId, StoreId};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::Conn;
use super::meters::{self, MeterRow, meter_columns};
use crate::codec::{instant, instant_opt, us};
use crate::error::{Doing as _, Fault, PeopleError};
use crate::limits::MAX_PAGE;
use crate::model::{MeterPage, MeterRecord};

/// A page behind (model, address, id); `$5` is now.
macro_rules! page {
    ($of_store:literal) => {
        concat!(
            "SELECT ",
            meter_columns!("m."),
            ", m.registered_at, m.registered_via, m.last_seen,
                (SELECT COUNT(DISTINCT b.member) FROM binding b WHERE b.meter = m.id AND b.valid_from <= $5
                    AND (b.valid_to IS NULL OR b.valid_to > $5)) AS owners
            FROM meter m WHERE (m.model, m.address, m.id) > ($1, $2, $3)",
            $of_store,
            " ORDER BY m.model, m.address, m.id LIMIT $4"
        )
    };
}

statements! {
    PAGE = page!("");
    PAGE_OF_STORE = page!(" AND m.store = $6");
}

#[derive(sqlx::FromRow)]
struct Row {
    #[sqlx(flatten)]
    meter: MeterRow,
    registered_at: i64,
    registered_via: Option<Uuid>,
    last_seen: Option<i64>,
    owners: i64,
}

impl Row {
    fn into_model(self) -> Result<MeterRecord, Fault> {
        Ok(MeterRecord {
            meter: self.meter.into_model()?,
            registered_at: instant(self.registered_at)?,
            registered_via: self.registered_via.map(Id::from_uuid),
            last_seen: instant_opt(self.last_seen)?,
            owners: self.owners,
        })
    }
}

/// A page of meters of one store or of all, behind `after`.
pub(crate) async fn page(
    conn: &mut Conn,
    store: Option<StoreId>,
    after: Option<MeterId>,
    limit: u32,
    now: DateTime<Utc>,
) -> Result<MeterPage, PeopleError> {
    let after = match after {
        Some(id) => Some(meters::meter(conn, id).await?),
        None => None,
    };
    // Every address is behind an empty text.
    let (model, address, id) = after.map_or_else(
        || (String::new(), String::new(), Uuid::nil()),
        |meter| (meter.model, meter.address.to_string(), meter.id.uuid()),
    );
    let limit = limit.clamp(1, MAX_PAGE) as usize;
    let query = match store {
        None => sqlx::query_as(PAGE),
        Some(_) => sqlx::query_as(PAGE_OF_STORE),
    };
    let query = query
        .bind(model)
        .bind(address)
        .bind(id)
        .bind(i64::try_from(limit + 1).unwrap_or(i64::MAX))
        .bind(us(now));
    let query = match store {
        None => query,
        Some(store) => query.bind(store.uuid()),
    };
    let rows: Vec<Row> = query.fetch_all(conn).await.doing("list meters")?;
    let more = rows.len() > limit;
    let meters = rows
        .into_iter()
        .take(limit)
        .map(Row::into_model)
        .collect::<Result<Vec<_>, Fault>>()?;
    Ok(MeterPage {
        next: meters.last().filter(|_| more).map(|record| record.meter.id),
        meters,
    })
}

//! Every use case of the spool, and what is left of it after a stop at any point.

mod batches;
mod consent;
mod contexts;
mod delivery;
mod fresh;
mod full;
mod interleavings;
mod joint;
mod links;
mod packets;
mod registrations;

impl crate::testing::Bench {
    /// Keeps the file from growing beyond so many pages, or beyond what it is: to the engine that is a full disk. A connection
    /// that is given up takes the limit with it.
    async fn limit_to_pages(&self, pages: u32) {
        let limit = format!("PRAGMA max_page_count = {pages}");
        let limit = sqlx::query(sqlx::AssertSqlSafe(limit));
        limit.execute(&self.spool.inner.pool).await.unwrap();
    }
}

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

use std::cell::Cell;

impl crate::testing::Bench {
    /// Both wait for the connection, the capture first, and get it when the page that is settled is on offer. If none is, the
    /// settlement is awaited while the connection is held.
    async fn both<C, S>(&self, capture: impl Future<Output = C>, settle: impl Future<Output = S>) -> (C, S) {
        let held = self.spool.begin_at_the_end("hold the connection").await.unwrap();
        let over = Cell::new(false);
        let settle = async {
            let settled = settle.await;
            over.set(true);
            settled
        };
        let release = async {
            while !over.get() && !self.spool.has_an_offer() {
                tokio::task::yield_now().await;
            }
            drop(held);
        };
        let (captured, settled, ()) = tokio::join!(capture, settle, release);
        (captured, settled)
    }

    /// Keeps the file from growing beyond so many pages, or beyond what it is: to the engine that is a full disk. A connection
    /// that is given up takes the limit with it.
    async fn limit_to_pages(&self, pages: u32) {
        let limit = format!("PRAGMA max_page_count = {pages}");
        let limit = sqlx::query(sqlx::AssertSqlSafe(limit));
        limit.execute(&self.spool.inner.pool).await.unwrap();
    }
}

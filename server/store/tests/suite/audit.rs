//! The audit's chain.

use carepost_store::model::Verdict;
use carepost_store::testing::execute;

use crate::bench::Bench;

pub(crate) async fn the_chain_finds_an_altered_row(bench: Bench) {
    assert_eq!(bench.store.verify_audit().await.unwrap(), Verdict::Intact { rows: 0 });
    let sealed = bench.store.seal_audit().await.unwrap();
    assert!(sealed.rows >= 8 && !sealed.more);
    let rows = i64::try_from(sealed.rows).unwrap();
    assert_eq!(bench.store.verify_audit().await.unwrap(), Verdict::Intact { rows });
    execute(
        &bench.store,
        "UPDATE audit SET detail = 'nothing happened' WHERE chain_no = 3",
    )
    .await
    .unwrap();
    assert_eq!(
        bench.store.verify_audit().await.unwrap(),
        Verdict::BrokenAt { chain_no: 3 }
    );
}

pub(crate) async fn the_chain_finds_a_missing_end(bench: Bench) {
    let rows = i64::try_from(bench.store.seal_audit().await.unwrap().rows).unwrap();
    execute(&bench.store, &format!("DELETE FROM audit WHERE chain_no = {rows}"))
        .await
        .unwrap();
    assert_eq!(
        bench.store.verify_audit().await.unwrap(),
        Verdict::BrokenAt { chain_no: rows }
    );
    assert!(
        bench.store.seal_audit().await.is_err(),
        "nothing is chained to a missing row"
    );
}

pub(crate) async fn sealing_goes_on_where_it_stopped(bench: Bench) {
    let first = bench.store.seal_audit().await.unwrap().rows;
    assert_eq!(bench.store.seal_audit().await.unwrap().rows, 0);
    bench.store.member(&bench.by(), bench.member).await.unwrap();
    assert_eq!(
        bench.store.counts(bench.now).await.unwrap().audit_unsealed,
        1,
        "a read is a row"
    );
    assert_eq!(bench.store.seal_audit().await.unwrap().rows, 1);
    let rows = i64::try_from(first).unwrap() + 1;
    assert_eq!(bench.store.verify_audit().await.unwrap(), Verdict::Intact { rows });
    execute(&bench.store, "DELETE FROM audit WHERE chain_no = 2")
        .await
        .unwrap();
    assert_eq!(
        bench.store.verify_audit().await.unwrap(),
        Verdict::BrokenAt { chain_no: 2 }
    );
}

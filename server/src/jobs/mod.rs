//! Work that waits for its time: [`worker`] does due jobs, [`sealer`] chains new audit rows.

pub(crate) mod sealer;
pub(crate) mod worker;

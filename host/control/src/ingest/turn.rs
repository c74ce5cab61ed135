//! One control plane at a time takes in what regions report: the one whose turn it is. See `store::turns`.
//!
//! Not a consumer group: Kafka gives a member that was killed six seconds at the least, and keeps how far it was where
//! no backup of the database has it.

use std::time::Duration;

use parking_lot::Mutex;
use senren_bus::{Delivery, Position};
use uuid::Uuid;

use crate::store::{Store, turns};

/// How long a turn lasts that is not renewed: so long after the end of one control plane another one goes on.
const TIME: Duration = Duration::from_secs(2);
/// How often it is renewed, and how often the others look whether it is free.
pub(super) const BEAT: Duration = Duration::from_millis(500);

/// The turn of this control plane.
pub(super) struct Turn<'a> {
    store: &'a Store,
    topic: String,
    owner: Uuid,
    /// Everything before it is stored.
    position: Mutex<Position>,
}

impl<'a> Turn<'a> {
    /// `None`: it is another one's.
    pub async fn take(store: &'a Store, topic: String, owner: Uuid) -> sqlx::Result<Option<Self>> {
        let mut connection = store.acquire().await?;
        let position = turns::take(&mut connection, &topic, owner, TIME).await?;
        Ok(position.map(|position| Self { store, topic, owner, position: Mutex::new(position) }))
    }

    /// Where to go on.
    pub fn position(&self) -> Position {
        self.position.lock().clone()
    }

    /// The log that is read now.
    pub fn reads(&self, log: &str) {
        let mut position = self.position.lock();
        if position.log != log {
            *position = Position::of(log);
        }
    }

    /// These are stored.
    pub fn pass<'d>(&self, deliveries: impl IntoIterator<Item = &'d Delivery>) {
        let mut position = self.position.lock();
        deliveries.into_iter().for_each(|delivery| position.pass(delivery));
    }

    /// Renews it, until it is another one's.
    pub async fn keep(&self) {
        loop {
            tokio::time::sleep(BEAT).await;
            match self.renew(TIME).await {
                Ok(true) => {}
                Ok(false) => return,
                // Nothing can be stored now either; whoever gets through first goes on.
                Err(error) => tracing::debug!(%error, "cannot renew the turn to take in reports"),
            }
        }
    }

    /// Lets the others go on at once.
    pub async fn end(&self) {
        if let Err(error) = self.renew(Duration::ZERO).await {
            tracing::debug!(%error, "cannot hand on the turn to take in reports; it ends by itself");
        }
    }

    async fn renew(&self, time: Duration) -> sqlx::Result<bool> {
        let position = self.position();
        let mut transaction = self.store.begin_what_need_not_last().await?;
        let renewed = turns::renew(&mut transaction, &self.topic, self.owner, time, &position).await?;
        transaction.commit().await?;
        Ok(renewed)
    }
}

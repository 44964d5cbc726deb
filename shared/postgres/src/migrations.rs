use refinery_core::traits::r#async::{AsyncQuery, AsyncTransaction};
use refinery_core::{AsyncMigrate, Migration};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio_postgres::{Client, Transaction, error::SqlState};

use crate::{Database, Error, database::Work};

#[allow(clippy::all, clippy::pedantic, clippy::unwrap_used, missing_docs, unreachable_pub)]
mod embedded {
    refinery::embed_migrations!("migrations");
}

/// refinery's default
const HISTORY_TABLE: &str = "refinery_schema_history";

impl Database {
    /// Brings the schema to the newest version and answers what was applied now, for example `["V1__status"]`.
    ///
    /// All pending migrations run in one transaction that holds a lock on refinery's table: all or none, and a second
    /// `migrate` at the same time waits and then finds nothing to do. No session state, so it may go through a pooler.
    ///
    /// # Errors
    /// [`Error::Failed`] with the migration's name and the server's message; the schema is then as it was.
    pub async fn migrate(&self) -> Result<Vec<String>, Error> {
        self.run(&Migrate).await
    }
}

struct Migrate;

impl Work for Migrate {
    type Output = Vec<String>;

    async fn on(&self, client: &mut Client) -> Result<Vec<String>, Error> {
        // CREATE TABLE IF NOT EXISTS is not safe against itself: of two at once one can fail on the catalogue's own keys.
        let create = Migrator::assert_migrations_table_query(HISTORY_TABLE);
        if let Err(error) = client.batch_execute(&create).await {
            let lost_race = matches!(
                error.code(),
                Some(&SqlState::UNIQUE_VIOLATION | &SqlState::DUPLICATE_TABLE | &SqlState::DUPLICATE_OBJECT)
            );
            if !lost_race {
                return Err(error.into());
            }
        }
        let transaction = client.transaction().await?;
        transaction.batch_execute(&format!("LOCK TABLE {HISTORY_TABLE} IN SHARE ROW EXCLUSIVE MODE")).await?;
        let mut migrator = Migrator { transaction: &transaction };
        let report = embedded::migrations::runner().run_async(&mut migrator).await.map_err(|error| named(&error))?;
        transaction.commit().await?;
        Ok(report.applied_migrations().iter().map(ToString::to_string).collect())
    }
}

fn named(error: &refinery::Error) -> Error {
    let context = error.to_string();
    match std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<Error>()) {
        Some(Error::Unavailable(reason)) => Error::Unavailable(reason.clone()),
        Some(Error::Collided(reason)) => Error::Collided(reason.clone()),
        Some(cause) => Error::Failed(format!("{context}: {cause}")),
        None => Error::Failed(context),
    }
}

/// refinery over one transaction of ours, with unnamed statements; its own driver prepares named ones.
struct Migrator<'a> {
    transaction: &'a Transaction<'a>,
}

impl AsyncTransaction for Migrator<'_> {
    type Error = Error;

    async fn execute<'a, T: Iterator<Item = &'a str> + Send + 'a>(&mut self, queries: T) -> Result<usize, Error> {
        let mut count = 0;
        for query in queries {
            self.transaction.batch_execute(query).await?;
            count += 1;
        }
        Ok(count)
    }
}

impl AsyncQuery<Vec<Migration>> for Migrator<'_> {
    async fn query(&mut self, query: &str) -> Result<Vec<Migration>, Error> {
        let rows = self.transaction.query_typed(query, &[]).await?;
        let unreadable = || Error::Failed(format!("{HISTORY_TABLE} has a row that refinery did not write"));
        rows.iter()
            .map(|row| {
                let applied_on = OffsetDateTime::parse(row.try_get(2)?, &Rfc3339).map_err(|_| unreadable())?;
                let checksum = row.try_get::<_, &str>(3)?.parse().map_err(|_| unreadable())?;
                Ok(Migration::applied(row.try_get(0)?, row.try_get(1)?, applied_on, checksum))
            })
            .collect()
    }
}

impl AsyncMigrate for Migrator<'_> {}

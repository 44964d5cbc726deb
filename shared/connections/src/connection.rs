use anyhow::Context as _;
use aws_sdk_dynamodb::{
    operation::{delete_item::DeleteItemError, put_item::PutItemError, update_item::UpdateItemError},
    types::{AttributeValue, DeleteRequest, ReturnValue, WriteRequest},
};

use crate::{
    ConnectionTable,
    attribute::{Item, find_number, get_number, get_text, number, text},
    subscription::subscription_row,
    table::{applied, despite_conflicts, key},
};

/// Seconds that the rows of a connection are kept: a socket lives two hours at most (API Gateway quotas), its rows ten minutes
/// longer.
pub const CONNECTION_TTL: i64 = 2 * 60 * 60 + 10 * 60;

/// A connection of API Gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// API Gateway's connection id.
    pub id: String,
    /// Whether the `connect` command has been answered.
    pub state: ConnectionState,
    /// Unix seconds after which the rows vanish.
    pub ttl: i64,
}

/// How far a connection has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionState {
    /// The socket is open, the `connect` command has not come yet.
    New,
    /// The `connect` command was accepted.
    Ready {
        /// Subject of the token; empty = anonymous.
        user: String,
        /// Id of the connection towards other clients.
        client: String,
        /// Unix seconds when the token expires.
        expires_at: Option<i64>,
    },
}

/// What came of [`ConnectionTable::admit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// The row was written.
    Admitted,
    /// The connection has a row: `$connect` was delivered twice.
    Known,
}

/// What came of [`ConnectionTable::authenticate`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    /// The connection is ready.
    Accepted,
    /// It was ready before: a second `connect` on one connection.
    Repeated,
    /// There is no such connection (any more).
    Gone,
}

pub(crate) fn connection_pk(id: &str) -> String {
    format!("conn#{id}")
}

impl ConnectionTable {
    /// Writes the row of a new socket.
    pub async fn admit(&self, id: &str, now: i64) -> anyhow::Result<Admission> {
        let mut item = key(connection_pk(id), "conn");
        item.insert("state".to_owned(), text("new"));
        item.insert("connected_at".to_owned(), number(now));
        item.insert("ttl".to_owned(), number(now + CONNECTION_TTL));
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        let put = put.condition_expression("attribute_not_exists(pk)").send().await;
        let admitted = applied(put, PutItemError::is_conditional_check_failed_exception).context("put connection")?;
        Ok(if admitted { Admission::Admitted } else { Admission::Known })
    }

    /// The connection, read consistently.
    pub async fn connection(&self, id: &str) -> anyhow::Result<Option<Connection>> {
        let get = self.client.get_item().table_name(&self.table).set_key(Some(key(connection_pk(id), "conn")));
        let item = get.consistent_read(true).send().await.context("get connection")?.item;
        item.map(|item| read_connection(id, &item)).transpose()
    }

    /// Completes the row when the `connect` command was accepted.
    pub async fn authenticate(
        &self,
        id: &str,
        user: &str,
        client: &str,
        expires_at: Option<i64>,
    ) -> anyhow::Result<Authentication> {
        let mut update = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(connection_pk(id), "conn")))
            .condition_expression("#state = :new")
            .expression_attribute_names("#state", "state")
            .expression_attribute_names("#user", "user")
            .expression_attribute_values(":new", text("new"))
            .expression_attribute_values(":ready", text("ready"))
            .expression_attribute_values(":user", text(user))
            .expression_attribute_values(":client", text(client));
        let mut expression = "SET #state = :ready, #user = :user, client = :client".to_owned();
        if let Some(at) = expires_at {
            expression.push_str(", expires_at = :expires_at");
            update = update.expression_attribute_values(":expires_at", number(at));
        }
        let update = update.update_expression(expression);
        let result = despite_conflicts(UpdateItemError::is_transaction_conflict_exception, || update.clone().send());
        if applied(result.await, UpdateItemError::is_conditional_check_failed_exception)
            .context("complete connection")?
        {
            return Ok(Authentication::Accepted);
        }
        Ok(match self.connection(id).await?.map(|connection| connection.state) {
            None => Authentication::Gone,
            // our own write, whose answer was lost and which the SDK repeated
            Some(ConnectionState::Ready { client: known, .. }) if known == client => Authentication::Accepted,
            Some(_) => Authentication::Repeated,
        })
    }

    /// Removes a connection with its subscriptions; removing what is not there is fine. The connection's own row goes first:
    /// a subscribe that runs at the same time checks for it, so no subscription row can be left behind.
    ///
    /// Returns whether this call removed it, and the channels it was subscribed to.
    pub async fn remove(&self, id: &str) -> anyhow::Result<(bool, Vec<String>)> {
        let delete = || {
            let delete = self.client.delete_item().table_name(&self.table);
            delete.set_key(Some(key(connection_pk(id), "conn"))).return_values(ReturnValue::AllOld).send()
        };
        let old = despite_conflicts(DeleteItemError::is_transaction_conflict_exception, delete).await;
        let old = old.context("delete connection")?;
        let removed = old.attributes.is_some_and(|item| !item.is_empty());

        let mut channels = Vec::new();
        let mut start = None;
        loop {
            let page = self
                .client
                .query()
                .table_name(&self.table)
                .consistent_read(true)
                .key_condition_expression("pk = :pk AND begins_with(sk, :sub)")
                .expression_attribute_values(":pk", text(connection_pk(id)))
                .expression_attribute_values(":sub", text("sub#"))
                .set_exclusive_start_key(start)
                .send()
                .await
                .context("query subscriptions of a connection")?;
            let mut rows = Vec::new();
            for item in page.items() {
                let sk = get_text(item, "sk")?;
                let channel = sk.strip_prefix("sub#").unwrap_or(sk);
                rows.push(key(connection_pk(id), sk));
                rows.push(subscription_row(channel, id));
                channels.push(channel.to_owned());
            }
            self.delete_rows(rows).await?;
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok((removed, channels));
            }
        }
    }

    async fn delete_rows(&self, rows: Vec<Item>) -> anyhow::Result<()> {
        // BatchWriteItem takes 25 (DynamoDB API reference)
        for chunk in rows.chunks(25) {
            let mut requests: Vec<WriteRequest> = chunk
                .iter()
                .map(|row| {
                    let delete = DeleteRequest::builder().set_key(Some(row.clone())).build()?;
                    Ok(WriteRequest::builder().delete_request(delete).build())
                })
                .collect::<anyhow::Result<_>>()?;
            while !requests.is_empty() {
                let batch = self.client.batch_write_item().request_items(&self.table, requests);
                let answer = batch.send().await.context("delete rows")?;
                requests = answer.unprocessed_items.and_then(|mut left| left.remove(&self.table)).unwrap_or_default();
            }
        }
        Ok(())
    }
}

fn read_connection(id: &str, item: &Item) -> anyhow::Result<Connection> {
    let state = if item.get("state") == Some(&AttributeValue::S("ready".to_owned())) {
        ConnectionState::Ready {
            user: get_text(item, "user")?.to_owned(),
            client: get_text(item, "client")?.to_owned(),
            expires_at: find_number(item, "expires_at")?,
        }
    } else {
        ConnectionState::New
    };
    Ok(Connection { id: id.to_owned(), state, ttl: get_number(item, "ttl")? })
}

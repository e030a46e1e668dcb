//! Tokens: who may do what. Kept as the SHA-256 of 256 random bits, so that the database gives none away.

use super::rows::get;
use super::{Store, StoreError, now};

/// A token as it is kept.
#[derive(Clone, Debug)]
pub struct KeptToken {
    /// Place in the order of creation.
    pub id: i64,
    /// What it is called.
    pub name: String,
    /// SHA-256 of it, in hex.
    pub hash: String,
    /// Names of its scopes, with spaces between.
    pub scopes: String,
    /// When it was made; microseconds, UTC.
    pub created_at: i64,
    /// When it was revoked; microseconds, UTC.
    pub revoked_at: Option<i64>,
}

impl Store {
    /// Keeps a new token.
    ///
    /// # Errors
    /// [`StoreError::Unique`] when there is one of that name, revoked or not.
    pub async fn add_token(&self, name: &str, hash: &str, scopes: &str) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        sqlx::query("INSERT INTO tokens (name, hash, scopes, created_at) VALUES ($1, $2, $3, $4)")
            .bind(name.to_owned())
            .bind(hash.to_owned())
            .bind(scopes.to_owned())
            .bind(now())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Returns all tokens, oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn tokens(&self) -> Result<Vec<KeptToken>, StoreError> {
        let text = "SELECT id, name, hash, scopes, created_at, revoked_at FROM tokens ORDER BY id";
        let rows = sqlx::query(text).fetch_all(self.read()).await?;
        let read = |row| {
            Ok(KeptToken {
                id: get(row, 0)?,
                name: get(row, 1)?,
                hash: get(row, 2)?,
                scopes: get(row, 3)?,
                created_at: get(row, 4)?,
                revoked_at: get(row, 5)?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// Revokes a token. Returns whether there was one of this name that was not revoked.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn revoke_token(&self, name: &str) -> Result<bool, StoreError> {
        let mut transaction = self.begin().await?;
        let done = sqlx::query("UPDATE tokens SET revoked_at = $2 WHERE name = $1 AND revoked_at IS NULL")
            .bind(name.to_owned())
            .bind(now())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(done.rows_affected() > 0)
    }
}

//! Migrated databases, one for each test.

use chat_adapters::{postgres, sqlite};
use chat_test_support::TestDatabase;

pub(crate) struct Sqlite {
    pub(crate) database: sqlite::Database,
    pub(crate) path: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

impl Sqlite {
    pub(crate) async fn fresh() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new directory/chat.db");
        let database = sqlite::Database::open(path.clone(), 4).unwrap();
        let applied = database.migrate().await.unwrap();
        assert!(!applied.is_empty());
        Self {
            database,
            path,
            _folder: folder,
        }
    }
}

pub(crate) struct Postgres {
    pub(crate) database: postgres::Database,
    pub(crate) server: TestDatabase,
}

impl Postgres {
    pub(crate) async fn fresh() -> Self {
        let server = TestDatabase::create_from_env();
        let database = postgres::Database::open(&server.url().parse().unwrap(), 10).unwrap();
        let applied = database.migrate().await.unwrap();
        assert!(!applied.is_empty());
        Self { database, server }
    }
}

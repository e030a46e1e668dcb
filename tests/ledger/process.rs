//! The program: starting on what is there, refusing what it does not know, ending.

use super::support::{Database, Server, command, on_both};

on_both! {
    async fn what_was_kept_is_there_after_a_restart(server: &Server) {
        let entity = server.entity("e").await;
        server.signal("TERM");
        assert!(server.wait().success(), "{:#?}", server.log());
        let again = Server::on(server.database().clone()).await;
        again.get(&format!("/api/v1/entities/{entity}")).await.expect(200);
    }

    async fn a_database_that_is_newer_than_the_program_is_refused_with_words(server: &Server) {
        server.signal("TERM");
        server.wait();
        let pool = server.database().open().await;
        sqlx::query("INSERT INTO schema_versions (version, applied_at, program) VALUES (99, 0, 'x')").execute(&pool).await.unwrap();
        let ended = command().args(["serve", "--listen", "127.0.0.1:0", "--database", &server.database().address()]).output().unwrap();
        let told = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(1));
        assert!(told.contains("the database has schema 99"), "{told}");
    }
}

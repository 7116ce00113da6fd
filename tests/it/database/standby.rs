//! Standbys that take the place of the server.

use overnight_simulator::SimulatorOptions;

use crate::postgres_server::{self, Server};
use crate::support::{TestEnv, high_limits, wait_until};

const ROWS: usize = 40;

/// A server with a standby, and a queue on it with [`ROWS`] rows.
struct Pair {
    env: TestEnv,
    primary: Server,
    standby: Server,
    /// The database on the server.
    url: String,
}

impl Pair {
    fn new(is_synchronous: bool) -> Self {
        let primary = Server::start();
        let standby = primary.start_standby();
        if is_synchronous {
            primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'");
            primary.execute("SELECT pg_reload_conf()");
        }
        let sql = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
        wait_until("the standby follows", || primary.number(sql) == 1);
        let url = primary.create_database();
        let mut env = TestEnv::new(SimulatorOptions {
            speed: 300.0,
            ..high_limits()
        });
        env.queue = Some(postgres_server::with_host(&url, &standby));
        env.variables = vec![("OVERNIGHT_MIN_UPTIME_MS", "0")];
        Self {
            env,
            primary,
            standby,
            url,
        }
    }

    /// Lets the standby take the server's place in the middle of a run, and expects that the run ends and says
    /// why. The next run is as sure as any.
    fn fail_over(&self, before_the_end: impl FnOnce()) {
        let mut run = self.env.command(&["run"]);
        let errors = self.env.dir.path().join("errors");
        run.stderr(std::fs::File::create(&errors).expect("a file"));
        let mut run = run.spawn().expect("the binary starts");
        self.env.await_submissions(10);
        before_the_end();
        self.primary.end();
        self.standby.execute("SELECT pg_promote()");
        let code = run.wait().expect("the process exits").code();
        let errors = std::fs::read_to_string(&errors).expect("the errors");
        assert_eq!(code, Some(1), "{errors}");
        assert!(
            errors.contains("another server answers for postgres://"),
            "{errors}"
        );
        let next = self.env.run(&["run"]);
        assert_eq!(next.code, 0, "{next:?}");
        let noted = "another server answers for this queue than in its last run";
        assert!(next.stderr.contains(noted), "{next:?}");
        self.env.assert_all_rendered_once(ROWS);
        // The server is known by now.
        let last = self.env.run(&["run"]);
        assert_eq!(last.code, 0, "{last:?}");
        assert!(!last.stderr.contains(noted), "{last:?}");
    }
}

#[test]
fn a_synchronous_standby_that_takes_over_knows_everything_that_was_paid() {
    if !postgres_server::is_available() {
        return;
    }
    let pair = Pair::new(true);
    pair.env.load(ROWS, "eachlabs,fal");
    pair.fail_over(|| ());
}

#[test]
fn what_an_asynchronous_standby_forgets_is_found_in_the_histories_and_not_paid_again() {
    if !postgres_server::is_available() {
        return;
    }
    let pair = Pair::new(false);
    pair.env.load(ROWS, "eachlabs,fal");
    let refused = pair.env.run(&["run"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused.stderr.contains("does not wait for its standbys"),
        "{refused:?}"
    );
    pair.env.accept_loss();
    let attempts = "SELECT count(*) FROM attempts";
    pair.fail_over(|| {
        pair.standby
            .execute("ALTER SYSTEM SET primary_conninfo = ''");
        pair.standby.execute("SELECT pg_reload_conf()");
        let followers = "SELECT count(*) FROM pg_stat_replication";
        wait_until("the standby follows no more", || {
            pair.primary.number(followers) == 0
        });
        let kept = postgres_server::number(&pair.url, attempts);
        wait_until("more is submitted", || {
            postgres_server::number(&pair.url, attempts) >= kept + 4
        });
    });
}

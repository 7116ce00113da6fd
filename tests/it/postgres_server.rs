//! A PostgreSQL server for the tests: the one that `OVERNIGHT_TEST_POSTGRES` names by its URL, or one that is
//! started in a temporary folder and ends with this process.
//!
//! Where there is neither, tests that need it are skipped and say so. `OVERNIGHT_TEST_POSTGRES=require` fails
//! them instead.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Output, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs};

use tokio_postgres::NoTls;

use crate::skipped;
use crate::support::{send_signal, wait_until};

/// The variable that names the server, or requires one.
const VARIABLE: &str = "OVERNIGHT_TEST_POSTGRES";

static SERVER: LazyLock<Result<Server, String>> = LazyLock::new(find_server);

/// Number of databases that this process has made.
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// A server, which ends when it is dropped if it was started for the tests.
pub(crate) struct Server {
    /// The URL of its first database, and what comes after the name of a database in it.
    url: String,
    /// What was started; `None` if the server was running before.
    started: Option<Started>,
}

struct Started {
    /// The folder of its data and of its socket.
    folder: PathBuf,
    /// Ends the server when it is closed.
    _stdin: ChildStdin,
}

/// Returns whether there is a server. Says so if the calling test is skipped for that.
pub(crate) fn is_available() -> bool {
    match &*SERVER {
        Ok(_) => true,
        Err(reason) => {
            let is_required = env::var(VARIABLE).is_ok_and(|value| value == "require");
            assert!(!is_required, "{VARIABLE} requires a server: {reason}");
            skipped::tell(reason);
            false
        }
    }
}

/// Creates an empty database on the server of all tests, and returns its URL.
pub(crate) fn create_database() -> String {
    let Ok(server) = &*SERVER else {
        panic!("there is no server")
    };
    server.create_database()
}

impl Server {
    /// Starts a server that other tests do not use, and that is as durable as that of a user.
    pub(crate) fn start() -> Self {
        start_server("on").expect("a server")
    }

    /// Creates an empty database and returns its URL.
    pub(crate) fn create_database(&self) -> String {
        let number = DATABASES.fetch_add(1, Ordering::Relaxed);
        let name = format!("overnight_test_{}_{number}", std::process::id());
        execute(&self.url, &format!("CREATE DATABASE {name}"));
        let (start, query) = self.url.split_once('?').unwrap_or((&self.url, ""));
        let (host, _) = start.rsplit_once('/').expect("a database in the URL");
        format!("{host}/{name}?{query}")
    }

    /// Starts a standby that follows the server.
    pub(crate) fn start_standby(&self) -> Self {
        let installation = Installation::find().expect("an installation");
        let folder = installation.create_folder().expect("a folder");
        let copied = installation
            .run("pg_basebackup", &folder)
            .args([
                "--write-recovery-conf",
                "--username=overnight",
                "--checkpoint=fast",
                "-D",
            ])
            .arg(folder.join("data"))
            .arg("-h")
            .arg(&self.started().folder)
            .output();
        ensure_success(copied).expect("a copy of the data");
        installation.start(folder, "on").expect("a standby")
    }

    fn started(&self) -> &Started {
        self.started.as_ref().expect("a server of its own")
    }

    /// Runs a statement.
    pub(crate) fn execute(&self, sql: &str) {
        execute(&self.url, sql);
    }

    /// Runs a query and returns its number.
    pub(crate) fn number(&self, sql: &str) -> i64 {
        number(&self.url, sql)
    }

    /// Kills the server for good.
    pub(crate) fn end(&self) {
        fs::write(self.started().folder.join("ended"), "").expect("written");
        self.crash();
    }

    /// Waits until the server answers.
    pub(crate) fn await_ready(&self) {
        wait_until("the server answers", || {
            try_number(&self.url, "SELECT 1").is_ok()
        });
    }

    /// Kills the server, which starts again at once. Does nothing while it is starting.
    pub(crate) fn crash(&self) {
        let text = fs::read_to_string(self.started().folder.join("data/postmaster.pid"));
        let text = text.unwrap_or_default();
        if let Some(Ok(pid)) = text.lines().next().map(str::parse) {
            send_signal("KILL", pid);
        }
    }
}

/// Returns the URL of a database that may be on another server as well.
pub(crate) fn with_host(url: &str, other: &Server) -> String {
    format!("{url},{}", escape(&other.started().folder))
}

/// Returns the socket of the server of a URL, and the name of its database; `None` if it has no socket.
pub(crate) fn socket_and_database(url: &str) -> Option<(PathBuf, String)> {
    let (start, folder) = url.split_once("?host=")?;
    let (_, database) = start.rsplit_once('/')?;
    let folder = PathBuf::from(folder.replace("%2F", "/"));
    Some((folder.join(".s.PGSQL.5432"), database.to_owned()))
}

/// Runs a query on the schema of a queue, and returns its number.
pub(crate) fn number(url: &str, sql: &str) -> i64 {
    try_number(url, sql).expect("a number")
}

fn try_number(url: &str, sql: &str) -> Result<i64, tokio_postgres::Error> {
    let sql = format!("SELECT ({sql})::BIGINT");
    on_thread(url, async move |client| {
        client.batch_execute("SET search_path = overnight").await?;
        client.query_one(&sql, &[]).await?.try_get(0)
    })
}

/// Runs a statement in a database.
pub(crate) fn execute(url: &str, sql: &str) {
    let sql = sql.to_owned();
    on_thread(url, async move |client| client.batch_execute(&sql).await).expect("executed");
}

/// Runs a statement in a database again and again, while `goes_on`.
pub(crate) fn repeat(url: &str, sql: &'static str, goes_on: impl Fn() -> bool + Send + 'static) {
    let ran = on_thread(url, async move |client| {
        while goes_on() {
            client.batch_execute(sql).await?;
        }
        Ok(())
    });
    ran.expect("executed");
}

/// Connects on a thread of its own, because the caller's may serve asynchronous code.
fn on_thread<T: Send + 'static>(
    url: &str,
    run: impl AsyncFnOnce(tokio_postgres::Client) -> Result<T, tokio_postgres::Error> + Send + 'static,
) -> Result<T, tokio_postgres::Error> {
    let url = url.to_owned();
    let ran = std::thread::spawn(move || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
            tokio::spawn(connection);
            run(client).await
        })
    });
    ran.join().expect("no panic")
}

fn find_server() -> Result<Server, String> {
    match env::var(VARIABLE) {
        Ok(url) if url != "require" => Ok(Server { url, started: None }),
        _ => start_server("off"),
    }
}

/// Returns the folder of the newest installed server.
fn find_programs() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut installed: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"))
        .collect();
    installed.sort();
    let newest_first = installed.into_iter().rev();
    let mut folders = newest_first.chain(env::split_paths(&path));
    folders.find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
}

fn start_server(fsync: &str) -> Result<Server, String> {
    let installation = Installation::find()?;
    let folder = installation.create_folder()?;
    let initialized = installation
        .run("initdb", &folder)
        .args([
            "--username=overnight",
            "--auth=trust",
            "--encoding=UTF8",
            "--no-sync",
            "-D",
        ])
        .arg(folder.join("data"))
        .output();
    ensure_success(initialized)?;
    installation.start(folder, fsync)
}

fn ensure_success(output: std::io::Result<Output>) -> Result<(), String> {
    let output = output.map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The programs of the newest installed server, and the user that they run as.
struct Installation {
    programs: PathBuf,
    /// `None` for the user of this process.
    user: Option<(u32, u32)>,
}

/// Starts the server again whenever it is killed, until its input ends. Outlives this process just long enough to
/// end the server and to remove its folder.
const SCRIPT: &str = r#"
    while [ ! -e "$2/ended" ]; do
        "$1" -D "$2/data" -k "$2" -c listen_addresses= -c fsync="$3" -c max_connections=200 >>"$2/log" 2>&1
        sleep 0.05
    done &
    for check in $(seq 600); do
        grep -q 'ready to accept' "$2/log" 2>/dev/null && echo started && break
        sleep 0.05
    done
    exec >/dev/null 2>&1
    cat >/dev/null
    touch "$2/ended"
    kill -QUIT $(head -1 "$2/data/postmaster.pid")
    wait
    rm -rf "$2"
"#;

impl Installation {
    fn find() -> Result<Self, String> {
        let programs = find_programs().ok_or("no PostgreSQL is installed (no initdb)")?;
        // The server refuses to run as root.
        let own = fs::metadata("/proc/self").map_err(|error| error.to_string())?;
        let user = (own.uid() == 0).then(|| user_id("postgres")).flatten();
        Ok(Self { programs, user })
    }

    fn create_folder(&self) -> Result<PathBuf, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        if let Some((uid, gid)) = self.user {
            chown(folder.path(), Some(uid), Some(gid)).map_err(|error| error.to_string())?;
        }
        // Removed by the script.
        Ok(folder.keep())
    }

    fn run(&self, program: &str, folder: &Path) -> Command {
        self.run_as_user(self.programs.join(program).as_os_str(), folder)
    }

    fn run_as_user(&self, program: &OsStr, folder: &Path) -> Command {
        let mut command = Command::new(program);
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command.current_dir(folder).env("LC_ALL", "C.UTF-8");
        command
    }

    /// Starts a server on the data in a folder.
    fn start(&self, folder: PathBuf, fsync: &str) -> Result<Server, String> {
        let mut shell = self
            .run_as_user(OsStr::new("sh"), &folder)
            .args(["-c", SCRIPT, "sh"])
            .arg(self.programs.join("postgres"))
            .arg(&folder)
            .arg(fsync)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut said = [0; 8];
        let stdout = shell.stdout.take();
        let read = stdout.map(|mut stdout| stdout.read_exact(&mut said));
        if !matches!(read, Some(Ok(()))) || &said != b"started\n" {
            return Err("the server did not start".into());
        }
        Ok(Server {
            url: format!("postgres://overnight@/postgres?host={}", escape(&folder)),
            started: shell.stdin.take().map(|stdin| Started {
                folder,
                _stdin: stdin,
            }),
        })
    }
}

fn escape(folder: &Path) -> String {
    folder.display().to_string().replace('/', "%2F")
}

/// Returns the number of a user, and of its group.
fn user_id(name: &str) -> Option<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let user = users
        .lines()
        .find(|line| line.split(':').next() == Some(name))?;
    let mut fields = user.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

//! The text after each command's `--help`. Every example can be pasted as it is; a test parses
//! each.

/// After the help of `overnight` itself.
pub(super) const QUICK_START: &str = "\
Exit codes:
  0    all jobs succeeded, or the command did what it was asked to do
  1    could not start or continue: no API key, queue or disk error, or every provider paused
  2    usage, config or manifest error; nothing was loaded or changed
  3    finished, but some jobs failed or are in doubt
  4    stopped at a budget
  130  interrupted, or a prompt was declined; the state is saved

Quick start:
  overnight demo                                             # see it work: no API key, no network
  overnight load mugs.csv --model kling-v1-standard --check  # check and price your rows
  overnight run                                              # after the same load without --check
  overnight status                                           # in another terminal, at any time";

pub(super) const INIT: &str = "\
The file lists every setting, commented out, with its default, its unit and its meaning. The \
settings are for all batches. API keys do not belong in the file; they are read from environment \
variables.

Examples:
  overnight init
  overnight init --config studio.toml";

pub(super) const DOCTOR: &str = "\
Changes nothing and costs nothing. Each provider whose API key is set is asked for one row of its \
history, all at the same time, with a time limit of 5 seconds. Your balance at a provider is not \
checked. The exit code is 1 if a check is a problem; warnings do not count.

Examples:
  overnight doctor
  overnight doctor --json";

pub(super) const QUEUE: &str = "\
Examples:
  overnight queue copy overnight.db postgres://overnight@db/overnight";

pub(super) const QUEUE_COPY: &str = "\
Batches, jobs, attempts and sums are copied, so that the work goes on where it is: nothing is paid twice \
and no clip is lost. No run may be active. The original is marked as moved, and no program uses it \
again, because two queues with the same rows would both pay for them. A copy that is interrupted is \
finished by the same command. Clips and images stay where they are: all machines need them in the same \
folders.

Examples:
  overnight queue copy overnight.db postgres://overnight@db/overnight
  overnight queue copy postgres://overnight@db/overnight overnight.db";

pub(super) const MIGRATE: &str = "\
A queue in a file is migrated by the first `run` or `load` of a new version, and needs this command only \
to be migrated earlier. A queue in a database is never migrated but by this command, because runs of \
other machines may use it. If an older version cannot go on with the new format, its runs must have ended \
before.

Examples:
  overnight migrate
  overnight migrate --queue postgres://overnight@db/overnight";

pub(super) const COMPLETIONS: &str = "\
Examples:
  overnight completions bash > ~/.local/share/bash-completion/completions/overnight
  overnight completions zsh > ~/.zfunc/_overnight
  overnight completions fish > ~/.config/fish/completions/overnight.fish";

pub(super) const MAN: &str = "\
Examples:
  overnight man > overnight.1
  overnight man --out ~/.local/share/man/man1";

pub(super) const LOAD: &str = "\
Loading a manifest again queues only the rows that are new or have changed; a changed row is \
submitted and paid for again, and its new clip replaces the old one. Whatever changes a row's \
input counts, also a different --set, --map or --prompt; how a program saves the same text or link \
does not. --check counts the new and changed rows \
and queues nothing. Without --budget, an existing batch keeps its budget. If any row has a mistake, all mistakes are listed and nothing is loaded.

Examples:
  overnight load mugs.csv --model kling-v1-standard --check
  overnight load mugs.csv --model kling-v1-standard --via eachlabs,fal --budget 25
  overnight load shop.csv --model kling-v1-standard --map id=SKU --map image='Image Src' \\
      --prompt 'Slow turntable of {Title|the product}' --set duration=10
  overnight load products_export.csv --model kling-v1-standard --preset shopify \\
      --prompt 'A slow turn of {Title}'
  overnight load jobs/spring.toml --check";

pub(super) const REHEARSE: &str = "\
Needs no API key and no network, and leaves nothing behind. The worker of `run` runs in virtual \
time, with the limits, pace and models configured here. Within 15 %, predictions take as long as \
this queue has measured; without measurements, as long as the config or `overnight models` says. \
No provider failure is simulated. The manifest is rehearsed from an empty queue, so rows \
that are already done are priced and run again; `load --check` prices only what is new or changed.

The providers are those of --via; else those of the model whose API key is set; else all of the \
model. \
each::labs and AI/ML API are assumed to run `in_flight` predictions at once and to refuse more. \
fal.ai queues what it does not run: it is assumed to run two fewer than `in_flight`, unless its \
times were measured, because these include the wait.

Exit codes:
  0    every row would become a clip
  1    some rows would wait for a provider
  2    usage or manifest error
  3    some rows would fail
  4    a budget would stop the run
  130  interrupted

Examples:
  overnight rehearse mugs.csv --model kling-v1-standard
  overnight rehearse mugs.csv --model kling-v1-standard --via eachlabs --budget 25 --json";

pub(super) const RUN: &str = "\
On a terminal, `run` prints a price and asks before it pays for the first job of a batch; the exit \
code is 130 if you decline. It does not ask about a batch that was paid for before, even if rows \
were loaded since. Without a terminal, as under cron, it never prompts, with or \
without --yes; the exit code reports the result. There --canary stops after its clips, with exit \
code 0, or 3 if one failed; with --yes it continues if all succeeded.

An interrupted run continues where it stopped: the next run only polls and downloads what was \
submitted. API keys are read when a run starts; a new key needs a new run.

Examples:
  overnight run
  overnight run --batch spring --budget 25
  overnight run --canary 3                  # review three clips before the rest is submitted
  overnight run --yes                       # never prompt
  overnight run --watch --log-format json";

pub(super) const STATUS: &str = "\
On a terminal, --watch shows the same screen as the run itself. `budget` is a batch's total budget, \
and `time left` an estimate, or - if there is none.

Examples:
  overnight status
  overnight status --batch spring --watch
  overnight status --json";

pub(super) const CTL: &str = "\
Every run on this queue applies a change within two seconds and logs who made it. A change, also \
a pause, lasts until the last active run ends: a later run starts without it. Only a batch's own \
budget is stored permanently. After a limit is lowered below what is in progress, nothing is \
submitted until enough of it has finished.

Examples:
  overnight ctl pause
  overnight ctl resume
  overnight ctl set --workers 8 --in-flight fal=2 --in-flight eachlabs=20
  overnight ctl set --budget 60
  overnight ctl set --batch spring --budget none";

pub(super) const CTL_PAUSE: &str = "\
Clips in progress are polled, downloaded and paid for. The pause lasts until `overnight ctl resume`, \
or until the last active run ends: a later run is not paused.

Examples:
  overnight ctl pause";

pub(super) const CTL_ACCEPT_PRICE: &str = "\
A provider that bills more than half above the catalog's price for a model gets no further \
submissions of it until its price is accepted. `overnight status` shows such routes with both figures.

Examples:
  overnight ctl accept-price eachlabs/kling-v1-standard-image-to-video";

pub(super) const CTL_KEY: &str = "\
A run leaves a provider alone at which an active run uses another key: if the keys were of two accounts, \
each would take what the other has submitted for absent, and pay for it again. This command says that \
the key in this machine's environment is of the same account.

Examples:
  overnight ctl key fal --same-account";

pub(super) const CTL_RESUME: &str = "\
Examples:
  overnight ctl resume";

pub(super) const CTL_SET: &str = "\
A change lasts until the last active run ends; only a batch's own budget is stored permanently.

Examples:
  overnight ctl set --workers 8 --in-flight fal=2 --in-flight eachlabs=20
  overnight ctl set --budget 60
  overnight ctl set --batch spring --budget none";

pub(super) const JOBS: &str = "\
Columns: job number, row id, state, provider, cost, and the reason of a failure or the path of the \
clip. A cost with ~ is an estimate.

Examples:
  overnight jobs --state failed
  overnight jobs --batch spring --json";

pub(super) const SHOW: &str = "\
Examples:
  overnight show MUG-001
  overnight show MUG-001 --batch spring --json";

pub(super) const RETRY: &str = "\
Only queues the jobs; `overnight run` processes them. Without --state or JOB, queues every failed \
job of every batch, or of --batch.

A job whose prediction may have a clip, because only its polls or its download failed or it was \
cancelled, is polled and downloaded again, which costs nothing. Any other job is submitted and paid \
for again. Jobs in other states cannot be retried: to render a clip again that succeeded, change \
its row, for example its prompt, and load the manifest again.

Examples:
  overnight retry
  overnight retry --batch spring --state cancelled
  overnight retry MUG-001 MUG-002";

pub(super) const CANCEL: &str = "\
Never prompts. Without --state or JOB, cancels every queued job of every batch, or of --batch. \
`overnight retry --state cancelled` queues them again.

Jobs that are queued, running or downloading can be cancelled. If one of the selected jobs is in \
another state, nothing is changed; for a job in doubt, use `overnight resolve`. If a job is \
running, its provider is asked to stop; the provider may bill it all the same, so its price counts \
as spent.

Examples:
  overnight cancel --batch spring
  overnight cancel MUG-001 MUG-002";

pub(super) const RESOLVE: &str = "\
A job is in doubt if its submission got no usable response, so the provider may or may not have \
accepted it. A run searches the provider's history for it; resolve it if the run holds it for your \
decision. `overnight show JOB` prints when, where and with which input it was submitted: look for \
it on the provider's website. After --adopt or --resubmit, `overnight run` continues with the job.

Examples:
  overnight resolve MUG-001 --adopt 7f3c2a10-5b1e-4f57-9c0e-2a51d0c7e1aa
  overnight resolve MUG-001 --resubmit
  overnight resolve MUG-001 --batch spring --fail";

pub(super) const VERIFY: &str = "\
Compares the size and SHA-256 of every clip that was saved with the queue. --fix downloads at once; \
it submits nothing, and no `overnight run` is needed. Of a clip in object storage, the size and SHA-256 \
that were stored with it are compared; --deep reads it. The exit code is 3 if a clip is missing or damaged.

Examples:
  overnight verify
  overnight verify --batch spring --fix
  overnight verify --deep";

pub(super) const MOVE: &str = "\
Moves every clip, checks its size and SHA-256, and records the folder. Clips that are in DIR already, \
because you moved them yourself, are checked and stay. No file is overwritten. If it is stopped, repeat \
it: it continues. No run may be active. The exit code is 3 if a clip is in neither folder, or damaged.

Examples:
  overnight move spring /mnt/archive/spring
  overnight move spring s3://shop-clips/spring";

pub(super) const CLEAN: &str = "\
The clip of a changed row replaces the earlier one, which is kept in the folder `earlier`. This removes \
those for good; at a terminal it asks first. Rows whose new clip is not there yet keep theirs, and files that \
were edited stay.

Examples:
  overnight clean --earlier --batch spring";

pub(super) const BACKUP: &str = "\
Runs may be active. The copy is one file that is as the queue was at one instant; it knows nothing of \
what is submitted after that. docs/operations.md says how to restore one.

Examples:
  overnight backup ~/backups/overnight-monday.db";

pub(super) const BILL: &str = "\
Columns:
  attempts     submissions that a provider accepted, or may have accepted
  refused      submissions that were refused, which cost nothing
  estimate     expected cost of the finished attempts
  cost         actual cost of the finished attempts
  not charged  finished attempts that failed at no cost, with their estimate; not part of cost
  reserved     what the attempts in progress may cost
  at risk      the part of reserved whose jobs are in doubt

All amounts are in US dollars, as the providers' prices are.

Examples:
  overnight bill
  overnight bill --batch spring --by day --json";

pub(super) const REPORT: &str = "\
The page is a single file and works offline. It links to the clips by paths relative to itself. \
Source images are loaded from their own servers, and only when the reader asks for them. Clips in object \
storage are linked if --links is given, or `out_public` is set in the config.

Examples:
  overnight report
  overnight report --batch spring --out renders/spring.html
  overnight report --links 7d";

pub(super) const EXPORT: &str = "\
Examples:
  overnight export > clips.csv
  overnight export --batch spring --format jsonl";

pub(super) const MODELS: &str = "\
Examples:
  overnight models
  overnight models kling-v1-standard";

pub(super) const SIMULATE: &str = "\
Prints the environment variables that point other commands at the simulator, then serves until \
interrupted.

Examples:
  overnight simulate --speed 60
  overnight simulate --port 0 --fault garbage=0.2 --fault poll:server-error=0.1 --no-history";

pub(super) const DEMO: &str = "\
The demo has its own queue in its folder, and starts it anew each time; your queue is not touched.

Examples:
  overnight demo
  overnight demo --dir /tmp/overnight-demo";

//! The examples at the end of each command's `--help`: lines that can be typed as they stand. A test parses each.

/// After the help of `overnight` itself.
pub(super) const FIRST_RUN: &str = "\
Exit codes: 0 all jobs succeeded · 1 could not go on · 2 usage or manifest error, nothing \
loaded · 3 finished, but some jobs failed or are in doubt · 4 stopped at the budget · 130 interrupted, state saved

Your first night:
  overnight demo                                             # see it work: no key, no network
  overnight load mugs.csv --model kling-v1-standard --check  # your rows, checked and priced
  overnight run                                              # after the same load without --check
  overnight status                                           # from another terminal, at any time";

pub(super) const INIT: &str = "\
Every key is in it, commented out with its default and what it means.

Examples:
  overnight init
  overnight init --config nights/spring.toml";

pub(super) const DOCTOR: &str = "\
Changes nothing and costs nothing: each provider is asked for one row of its history, all at once, and given 5 seconds. \
Ends with exit code 1 when something is a problem; a warning is none.

Examples:
  overnight doctor
  overnight doctor --json";

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
Examples:
  overnight load mugs.csv --model kling-v1-standard --check
  overnight load mugs.csv --model kling-v1-standard --via eachlabs,fal --budget 25
  overnight load shop.csv --model kling-v1-standard --map id=SKU --map image='Image Src' \\
      --prompt 'Slow turntable of {Title|the product}' --set duration=10
  overnight load products_export.csv --model kling-v1-standard --preset shopify \\
      --prompt 'A slow turn of {Title}'
  overnight load jobs/spring.toml --check";

pub(super) const REHEARSE: &str = "\
Needs no key and no network, and leaves nothing behind. Time is virtual; the worker is the one of `run`, with \
the limits, pace and catalogue of this machine. Predictions take as long as this queue has measured (else as the config or \
the catalogue say, 15 % more or less), and none fails. The manifest is played from empty: rows the queue has made already are \
played and priced again.

Providers: those of --via; else those of the model whose key is set; else all of the model.
each::labs and AI/ML API are taken to work on `in_flight` predictions at once, and to refuse what exceeds that. fal.ai lets \
it wait: it is taken to work on two fewer than `in_flight`, unless its times were measured, which have that wait in them.

Exit codes: 0 all rows would become clips · 1 some would wait for a provider · 2 usage or manifest error · 3 some would fail · 4 a budget would \
stop it · 130 interrupted

Examples:
  overnight rehearse mugs.csv --model kling-v1-standard
  overnight rehearse mugs.csv --model kling-v1-standard --via eachlabs --budget 25 --json";

pub(super) const RUN: &str = "\
At a terminal a batch that nothing was ever sent of is begun when you say yes. Anywhere else nothing is asked: --canary \
stops after its clips, with exit code 0, or 3 where something failed, unless --yes says to go on. A no to the first question \
ends with 130.

Examples:
  overnight run
  overnight run --batch spring --budget 25
  overnight run --canary 3                  # three clips first; go on when they please
  overnight run --yes                       # from cron: nobody is there to ask
  overnight run --watch --log-format json";

pub(super) const STATUS: &str = "\
With --watch on a terminal it shows the screen of the run, from another terminal as well.

Examples:
  overnight status
  overnight status --batch spring --watch
  overnight status --json";

pub(super) const CTL: &str = "\
Heeded within a second or two by every run on this queue, and told in its log with who asked. It lasts as long as a run goes \
on: the next that starts alone begins without. Only a batch's own budget stays. Limits that are lowered below what is under \
way wait for it to end.

Examples:
  overnight ctl pause
  overnight ctl resume
  overnight ctl set --workers 8 --in-flight fal=2 --in-flight eachlabs=20
  overnight ctl set --budget 60
  overnight ctl set --batch spring --budget none";

pub(super) const JOBS: &str = "\
Examples:
  overnight jobs --state failed
  overnight jobs --batch spring --json";

pub(super) const SHOW: &str = "\
Examples:
  overnight show MUG-001
  overnight show MUG-001 --batch spring --json";

pub(super) const RETRY: &str = "\
Examples:
  overnight retry
  overnight retry --batch spring --state cancelled
  overnight retry MUG-001 MUG-002";

pub(super) const CANCEL: &str = "\
Examples:
  overnight cancel --batch spring
  overnight cancel MUG-001 MUG-002";

pub(super) const RESOLVE: &str = "\
`overnight show JOB` tells when it was sent and where to: look there whether the provider has it.

Examples:
  overnight resolve MUG-001 --adopt 7f3c2a10-5b1e-4f57-9c0e-2a51d0c7e1aa
  overnight resolve MUG-001 --resubmit
  overnight resolve MUG-001 --batch spring --fail";

pub(super) const VERIFY: &str = "\
Ends with exit code 3 when a clip is not as it was saved.

Examples:
  overnight verify
  overnight verify --batch spring --fix";

pub(super) const BILL: &str = "\
attempts: submissions a provider took, or may have taken; refused: turned away, never to be paid. The estimate \
is that of the settled attempts, to hold their cost against; refunds are those among them that failed and were not billed. \
reserved: what open attempts may cost; at risk: the part of it that is in doubt.

Examples:
  overnight bill
  overnight bill --batch spring --by day --json";

pub(super) const REPORT: &str = "\
The page is one file and works offline; it links to the clips where they are, from where it is. Source images are \
loaded from their own servers only when the reader asks for them.

Examples:
  overnight report
  overnight report --batch spring --out renders/spring.html";

pub(super) const EXPORT: &str = "\
Examples:
  overnight export > clips.csv
  overnight export --batch spring --format jsonl";

pub(super) const MODELS: &str = "\
Examples:
  overnight models
  overnight models kling-v1-standard";

pub(super) const SIMULATE: &str = "\
Prints the environment that points other commands at it.

Examples:
  overnight simulate --speed 60
  overnight simulate --port 0 --fault garbage=0.2 --fault poll:server-error=0.1 --no-history";

pub(super) const DEMO: &str = "\
Examples:
  overnight demo
  overnight demo --dir /tmp/overnight-demo";

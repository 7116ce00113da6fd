// Exploration
import { Logger, makeWorkerUtils, run } from "graphile-worker";
import pg from "pg";
const TASK = "render";
const url = process.argv[2], jobs = Number(process.argv[3]);
function payload(number) {
  return { image: `https://images.example.com/catalogue/${number}.jpg`,
    prompt: `Slow turntable of product ${number} on a linen cloth, soft light from the left`, duration: 5 };
}
const logger = new Logger(() => (level, message) => { if (level === "error" || level === "warning") process.stderr.write(`${level}: ${message}\n`); });
const poolSize = Number(process.env.POOL ?? 10);
async function reset() {
  const pool = new pg.Pool({ connectionString: url, max: 1 });
  await pool.query("DROP SCHEMA IF EXISTS graphile_worker CASCADE"); await pool.end();
}
async function enqueue() {
  await reset();
  const utils = await makeWorkerUtils({ connectionString: url, logger });
  const t = performance.now();
  for (let i = 0; i < jobs; i++) await utils.addJob(TASK, payload(i));
  const r = jobs / (performance.now() - t) * 1000;
  await utils.release(); return r;
}
async function work(workers) {
  await reset();
  const pool = new pg.Pool({ connectionString: url, max: Math.max(poolSize, workers + 2) });
  pool.on("error", () => {});
  const utils = await makeWorkerUtils({ pgPool: pool, logger });
  await utils.addJobs(Array.from({ length: jobs }, (_, i) => ({ identifier: TASK, payload: payload(i) })));
  await pool.query("ANALYZE");
  let left = jobs; let done; const all = new Promise(r => done = r);
  let first = 0;
  const x0 = (await pool.query("select xact_commit from pg_stat_database where datname=current_database()")).rows[0].xact_commit;
  const t = performance.now();
  const size = Number(process.env.LQ ?? -1);
  const runner = await run({ pgPool: pool, logger, noHandleSignals: true, crontab: "", 
    taskList: { [TASK]: async () => { if (!first) first = performance.now(); if (--left === 0) done(); } },
    preset: { worker: { concurrentJobs: workers, localQueue: { size }, } } });
  await all;
  const t2 = performance.now();
  let polls = 0;
  for (;;) { const { rows } = await pool.query("SELECT count(*)::int AS n FROM graphile_worker.jobs"); polls++; if (rows[0].n === 0) break; }
  const t3 = performance.now();
  await runner.stop(); 
  await new Promise(r => setTimeout(r, 1100));
  const x1 = (await pool.query("select xact_commit from pg_stat_database where datname=current_database()")).rows[0].xact_commit;
  console.error({ workers, size, pool: pool.options.max, startup: first - t, handled: t2 - t, done: t3 - t, polls, commits: x1 - x0 });
  await pool.end();
  return jobs / (t3 - t) * 1000;
}
console.log(JSON.stringify({ enqueue: await enqueue(), work_1: await work(1), work_10: await work(10) }));

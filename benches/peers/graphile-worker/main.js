// Measures Graphile Worker: how many jobs per second it enqueues one by one, and how many it claims
// and completes with 1 and with 10 workers. Prints the rates as one line of JSON.
//
// Arguments: the URL of a PostgreSQL database, the number of jobs, and how many jobs a worker claims
// at a time; without it one, as by default.
//
// The settings that matter are those of "Performance" in its documentation. `localQueue` claims many
// jobs at a time. `completeJobBatchDelay` stays off, because it completes many jobs in one
// transaction. Each job is then completed by a statement, and a commit, of its own.
//
// Since version 0.17 a worker does not wait for that commit before it takes its next job. Even one
// worker has as many completions under way as there are connections, so `work_1` is more than the
// rate of one connection. The clock stops only when the last completion is committed.
//
// Graphile Worker asks for Node 22.18. On Node 20 npm warns, and it runs.

import { Logger, makeWorkerUtils, runTaskList } from 'graphile-worker';
import pg from 'pg';

const TASK = 'render';
// The default logger writes to stdout.
const logger = new Logger(() => (level, message) => {
  if (level === 'error' || level === 'warning') process.stderr.write(`${level}: ${message}\n`);
});

/** Returns the payload of a job. */
function payload(number) {
  return {
    image: `https://images.example.com/catalogue/${number}.jpg`,
    prompt: `Slow turntable of product ${number} on a linen cloth, soft light from the left`,
    duration: 5,
  };
}

/** Returns connections to a database in which Graphile Worker has just been installed. */
async function open(url, connections) {
  const pool = new pg.Pool({ connectionString: url, max: connections });
  // Graphile Worker asks for both handlers. A failed query is also rejected where it was made.
  pool.on('error', (error) => process.stderr.write(`${error}\n`));
  pool.on('connect', (client) => client.on('error', () => {}));
  await pool.query('DROP SCHEMA IF EXISTS graphile_worker CASCADE');
  const utils = await makeWorkerUtils({ pgPool: pool, logger });
  return { pool, utils };
}

/** Returns the rate of enqueueing one job at a time. */
async function enqueue(url, jobs) {
  const { pool, utils } = await open(url, 2);
  const startedAt = performance.now();
  for (let number = 0; number < jobs; number += 1) await utils.addJob(TASK, payload(number));
  const rate = jobs / ((performance.now() - startedAt) / 1000);
  await utils.release();
  await pool.end();
  return rate;
}

/** Returns the rate of claiming and completing jobs. */
async function work(url, workers, jobs) {
  // `maxPoolSize` in the documentation: "10 or `concurrentJobs + 2`, whichever is larger".
  const { pool, utils } = await open(url, Math.max(10, workers + 2));
  const batch = Array.from({ length: jobs }, (_, number) => ({
    identifier: TASK,
    payload: payload(number),
  }));
  await utils.addJobs(batch);
  // Autovacuum would do this, but not within the first minute of a queue.
  await pool.query('ANALYZE');
  let remaining = jobs;
  let reportHandled;
  const handled = new Promise((resolve) => {
    reportHandled = resolve;
  });
  const tasks = {
    [TASK]: async () => {
      remaining -= 1;
      if (remaining === 0) reportHandled();
    },
  };
  const localQueue = claimed === undefined ? undefined : { size: Number(claimed) };
  const preset = { worker: { concurrentJobs: workers, localQueue } };
  const startedAt = performance.now();
  const workerPool = runTaskList({ preset, logger, noHandleSignals: true }, tasks, pool);
  // The second promise is there for its rejection, if the workers fail.
  await Promise.race([handled, workerPool.promise]);
  // The `job:complete` event comes before the commit. A completed job's row is deleted.
  let rows;
  do {
    ({ rows } = await pool.query('SELECT FROM graphile_worker.jobs LIMIT 1'));
  } while (rows.length > 0);
  const rate = jobs / ((performance.now() - startedAt) / 1000);
  await workerPool.gracefulShutdown();
  await utils.release();
  await pool.end();
  return rate;
}

const [url, count, claimed] = process.argv.slice(2);
if (url === undefined) throw new Error('missing argument: URL of a database');
if (count === undefined) throw new Error('missing argument: number of jobs');
const jobs = Number(count);
const rates = {
  enqueue: await enqueue(url, jobs),
  work_1: await work(url, 1, jobs),
  work_10: await work(url, 10, jobs),
};
process.stdout.write(`${JSON.stringify(rates)}\n`);

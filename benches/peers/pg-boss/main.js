// Measures pg-boss: how many jobs per second it enqueues one by one, and how many it claims and
// completes with 1 and with 10 workers. Prints the rates as one line of JSON.
//
// Arguments: the URL of a PostgreSQL database, and the number of jobs.
//
// The workers are loops over `fetch()` and `complete()`, from "Jobs" in its documentation. Jobs are
// claimed many at a time, and each is completed by a statement, and a commit, of its own.
//
// `work()`, from "Workers", does not do both. With a `batchSize` above 1 it completes a whole batch
// in one statement. With 1 it claims one by one, and only one per half second, the shortest
// `pollingIntervalSeconds`, unless the cached statistics of the queue exceed
// `burstWhenReadyExceeds`.
//
// pg-boss asks for Node 22.12. On Node 20 npm warns, and it runs.

import pg from 'pg';
import { PgBoss } from 'pg-boss';

const QUEUE = 'render';
// The size in the example of `fetch()`.
const BATCH_SIZE = 20;

/** Returns the payload of a job. */
function payload(number) {
  return {
    image: `https://images.example.com/catalogue/${number}.jpg`,
    prompt: `Slow turntable of product ${number} on a linen cloth, soft light from the left`,
    duration: 5,
  };
}

/** Runs a statement on a connection of its own. Returns the rows. */
async function query(url, statement) {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const { rows } = await client.query(statement);
  await client.end();
  return rows;
}

/** Returns pg-boss, just installed, with an empty queue. */
async function open(url, connections) {
  await query(url, 'DROP SCHEMA IF EXISTS pgboss CASCADE');
  const boss = new PgBoss({
    connectionString: url,
    max: connections,
    // Neither maintenance nor cron jobs, which would run beside the measurement.
    supervise: false,
    schedule: false,
  });
  boss.on('error', (error) => process.stderr.write(`${error}\n`));
  await boss.start();
  await boss.createQueue(QUEUE);
  return boss;
}

/** Returns the rate of enqueueing one job at a time. */
async function enqueue(url, jobs) {
  const boss = await open(url, 2);
  const startedAt = performance.now();
  for (let number = 0; number < jobs; number += 1) await boss.send(QUEUE, payload(number));
  const rate = jobs / ((performance.now() - startedAt) / 1000);
  await boss.stop();
  return rate;
}

/** Claims and completes jobs until there are none left. */
async function drain(boss) {
  for (;;) {
    const batch = await boss.fetch(QUEUE, { batchSize: BATCH_SIZE });
    if (batch.length === 0) return;
    for (const job of batch) await boss.complete(QUEUE, job);
  }
}

/** Returns the rate of claiming and completing jobs. */
async function work(url, workers, jobs) {
  const boss = await open(url, workers + 2);
  const batch = Array.from({ length: jobs }, (_, number) => ({ data: payload(number) }));
  await boss.insert(QUEUE, batch);
  // Autovacuum would do this, but not within the first minute of a queue.
  await query(url, 'ANALYZE');
  const startedAt = performance.now();
  await Promise.all(Array.from({ length: workers }, () => drain(boss)));
  const rate = jobs / ((performance.now() - startedAt) / 1000);
  await boss.stop();
  const [{ completed }] = await query(
    url,
    `SELECT count(*)::int AS completed FROM pgboss.job
     WHERE name = '${QUEUE}' AND state = 'completed'`,
  );
  if (completed !== jobs) throw new Error(`it completed ${completed} of ${jobs} jobs`);
  return rate;
}

const [url, count] = process.argv.slice(2);
if (url === undefined) throw new Error('missing argument: URL of a database');
if (count === undefined) throw new Error('missing argument: number of jobs');
const jobs = Number(count);
const rates = {
  enqueue: await enqueue(url, jobs),
  work_1: await work(url, 1, jobs),
  work_10: await work(url, 10, jobs),
};
process.stdout.write(`${JSON.stringify(rates)}\n`);

import { PgBoss } from "pg-boss";
import pg from "pg";
const Q = "render";
const url = process.argv[2], jobs = Number(process.argv[3]);
function payload(number) {
  return { image: `https://images.example.com/catalogue/${number}.jpg`,
    prompt: `Slow turntable of product ${number} on a linen cloth, soft light from the left`, duration: 5 };
}
const admin = new pg.Pool({ connectionString: url, max: 1 });
const open = async (workers, fill = jobs) => {
  await admin.query("DROP SCHEMA IF EXISTS pgboss CASCADE");
  const mk = () => { const b = new PgBoss({ connectionString: url, max: workers + 2, schedule: false, supervise: false, registerInstance: false }); b.on("error", e => console.error(e)); b.on("warning", w => console.error(w)); return b; };
  const boss = mk();
  await boss.start();
  await boss.createQueue(Q, { partition: !!process.env.PART });
  return { boss, mk };
};
const fill = async (boss) => { await boss.insert(Q, Array.from({ length: jobs }, (_, i) => ({ data: payload(i) }))); await admin.query("ANALYZE"); };
async function enqueue() {
  const { boss } = await open(1);
  const t = performance.now();
  for (let i = 0; i < jobs; i++) await boss.send(Q, payload(i));
  const r = jobs / (performance.now() - t) * 1000;
  await boss.stop(); return r;
}
async function check() { const { rows } = await admin.query("select state, count(*) from pgboss.job where name=$1 group by 1", [Q]); console.error(JSON.stringify(rows)); }
async function loops(workers, batch) {
  const { boss } = await open(workers); await fill(boss);
  const t = performance.now();
  await Promise.all(Array.from({ length: workers }, async () => {
    for (;;) { const js = await boss.fetch(Q, { batchSize: batch }); if (!js.length) return; for (const j of js) await boss.complete(Q, process.env.FENCE ? j : j.id); }
  }));
  const r = jobs / (performance.now() - t) * 1000;
  await check(); await boss.stop(); return r;
}
async function burst(workers) {
  let { boss, mk } = await open(workers); await fill(boss);
  await boss.supervise(Q); await boss.stop(); boss = mk(); await boss.start();
  console.error("ready", (await boss.getQueue(Q)).readyCount);
  let left = jobs; 
  const t = performance.now();
  await boss.work(Q, { batchSize: 1, localConcurrency: workers, pollingIntervalSeconds: 0.5, burstWhenReadyExceeds: 1 }, async () => { --left; });
  for (;;) { if (left === 0) { const { rows } = await admin.query("select count(*)::int n from pgboss.job where name=$1 and state<>'completed'", [Q]); if (!rows[0].n) break; } await new Promise(r => setTimeout(r, 1)); }
  const r = jobs / (performance.now() - t) * 1000;
  await check(); await boss.stop(); return r;
}
const out = { enqueue: await enqueue() };
out.loop1 = [await loops(1, 1), await loops(10, 1)];
out.loop20 = [await loops(1, 20), await loops(10, 20)];
out.loop100 = [await loops(1, 100), await loops(10, 100)];
out.burst = [await burst(1), await burst(10)];
console.log(JSON.stringify(out)); await admin.end();

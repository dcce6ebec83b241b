// SPDX-License-Identifier: Apache-2.0
/* node-postgres through an interlay. pg_node.mjs PORT WHO; see common.mjs. */
import pg from 'pg';
import { Report, sleep } from './common.mjs';

const [port, who] = process.argv.slice(2);
const conf = { host: '127.0.0.1', port: Number(port), user: 'app', password: 'sesame', database: 'app' };
const r = new Report();
const INSERT = 'INSERT INTO facts (who, job, n, t) VALUES ($1, $2, $3, $4)';
const open = [];

async function client(name) {
	const c = new pg.Client(conf);
	c.on('error', (e) => r.fail(name, e));
	await c.connect();
	open.push(c);
	return c;
}

const simple = await client('simple');
const bound = await client('bound');
const named = await client('named');
const whole = await client('whole');
const many = await client('many');
const says = await client('says');
const hears = await client('hears');
const pool = new pg.Pool({ ...conf, max: 4, idleTimeoutMillis: 50 });
pool.on('error', (e) => r.fail('pool', e));
const order = r.order('notify');
hears.on('notification', (m) => order.take(m.payload));
await hears.query(`LISTEN "${who}"`);

const jobs = {
	async simple(n) {
		await simple.query(`INSERT INTO facts VALUES ('${who}', 'simple', ${n}, 's')`);
		const got = await simple.query(`SELECT 1 AS a; SELECT t FROM facts WHERE who = '${who}' AND job = 'simple' AND n = ${n}`);
		r.same('simple', got.map((x) => x.rows), [[{ a: 1 }], [{ t: 's' }]]);
	},
	async bound(n) {
		await bound.query(INSERT, [who, 'bound', n, 'ü'.repeat(n % 50)]);
		const got = await bound.query('SELECT length(t) AS l FROM facts WHERE who = $1 AND job = $2 AND n = $3', [who, 'bound', n]);
		r.same('bound', got.rows, [{ l: n % 50 }]);
	},
	async named(n) {
		await named.query({ name: 'put', text: INSERT, values: [who, 'named', n, null] });
		const got = await named.query({ name: 'get', text: 'SELECT $1::int8 + 1 AS x', values: [n], rowMode: 'array' });
		r.same('named', got.rows, [[String(n + 1)]]);
	},
	async whole(n) {
		for (const end of n % 3 ? ['COMMIT'] : ['ROLLBACK', 'COMMIT']) {
			await whole.query('BEGIN');
			await whole.query(INSERT, [who, 'whole', n, null]);
			try {
				await whole.query('SAVEPOINT s');
				await whole.query('SELECT 1 / 0');
				r.fail('whole', 'nothing failed');
			} catch (e) {
				r.same('whole', e.code, '22012');
			}
			await whole.query('ROLLBACK TO s');
			await whole.query(end);
		}
	},
	/* Queries that are queued in the driver. */
	async many(n) {
		const got = await Promise.all([...Array(5).keys()].map((i) => many.query('SELECT $1::int AS i', [i])));
		r.same('many', got.map((x) => x.rows[0].i), [0, 1, 2, 3, 4]);
		await many.query(INSERT, [who, 'many', n, null]);
	},
	/* Connections that come and go. */
	async pool(n) {
		await Promise.all([0, 1, 2].map((i) => pool.query('SELECT pg_sleep(0.001 * $1)', [i])));
		await pool.query(INSERT, [who, 'pool', n, null]);
		await sleep(n % 5 ? 0 : 60);
	},
	async notify(n) {
		await says.query('BEGIN');
		await says.query(INSERT, [who, 'notify', n, null]);
		await says.query('SELECT pg_notify($1, $2)', [who, String(n)]);
		await says.query('COMMIT');
	},
};

await r.run(Object.entries(jobs).map(([name, round]) => r.job(name, round)), async () => {
	await r.until('notify', order, r.jobs.notify);
	for (const name of Object.keys(jobs))
		r.facts.push([`SELECT count(*) || ' ' || max(n) FROM facts WHERE who = '${who}' AND job = '${name}'`,
			`${r.jobs[name]} ${r.jobs[name]}`]);
	await pool.end();
	for (const c of open) await c.end();
});

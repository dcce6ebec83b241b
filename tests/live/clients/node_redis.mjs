// SPDX-License-Identifier: Apache-2.0
/*
 * node-redis through an interlay: node node_redis.mjs PORT PREFIX [RESP]. Each
 * job knows what every answer has to be. See common.mjs for the report.
 */
import { createClient, createClientPool, defineScript, WatchError } from 'redis';
import { Report, Guarded, UNLOCK, BOTH, sleep } from './common.mjs';

const [port, prefix, resp] = process.argv.slice(2);
const report = new Report();
const key = (name) => `${prefix}:${name}`;
const made = [];

/* A script as the library wants it: its keys and arguments, nothing changed. */
function lua(text, n) {
	return defineScript({
		SCRIPT: text,
		NUMBER_OF_KEYS: n,
		parseCommand: (parser, keys, args) => {
			parser.pushKeys(keys);
			parser.push(...args);
		},
		transformReply: undefined,
	});
}

const options = {
	socket: { port: Number(port), host: '127.0.0.1' },
	scripts: { unlock: lua(UNLOCK, 1), both: lua(BOTH, 2) },
};
if (resp) {
	options.RESP = Number(resp);
	options.unstableResp3 = true; // raw answers to XREADGROUP
}

/* A client with the library's defaults; a connection that ends is an error. */
async function client(name, more = {}) {
	const c = createClient({ ...options, ...more });
	c.on('error', (e) => report.fail(name, e));
	c.on('reconnecting', () => report.fail(name, 'the connection was closed'));
	await c.connect();
	made.push(c);
	return c;
}

const jobs = [];
const ends = [];

async function count() {
	const c = await client('count');
	let last = 0;
	jobs.push(report.job('count', async (n) => {
		report.same('count', await c.incr(key('count')), n);
		report.same('count', await c.get(key('count')), String(n));
		last = n;
	}));
	ends.push(() => report.fact('string', key('count'), String(last)));
}

/* Calls of one turn go out as one pipeline: what is written is read behind. */
async function pipeline() {
	const c = await client('pipeline');
	const hash = {};
	jobs.push(report.job('pipeline', async (n) => {
		const got = [];
		const want = [];
		for (let i = 0; i < 20; i++) {
			const f = `f${(n * 7 + i) % 50}`;
			want.push(f in hash ? 0 : 1, `${n}.${i}`);
			hash[f] = `${n}.${i}`;
			got.push(c.hSet(key('hash'), f, hash[f]), c.hGet(key('hash'), f));
		}
		report.same('pipeline', await Promise.all(got), want);
	}, 3));
	ends.push(() => report.fact('hash', key('hash'), hash));
}

/* Another database, and a pool of connections. */
async function pool() {
	const p = createClientPool({ ...options, database: 3 }, { maximum: 4 });
	p.on('error', (e) => report.fail('pool', e));
	await p.connect();
	made.push(p);
	let last = 0;
	jobs.push(report.job('pool', async (n) => {
		const got = await Promise.all(
			[...Array(10).keys()].map((i) => p.incr(key(`pool:${i}`))));
		report.same('pool', got, Array(10).fill(n));
		last = n;
	}, 3));
	ends.push(() => report.fact('string@3', key('pool:4'), String(last)));
}

async function transaction() {
	const c = await client('transaction');
	let last = 0;
	jobs.push(report.job('transaction', async (n) => {
		const got = await c.multi().incr(key('left')).incr(key('right')).get(key('left')).exec();
		report.same('transaction', got, [n, n, String(n)]);
		last = n;
	}));
	ends.push(() => report.fact('string', key('left'), String(last)));
	ends.push(() => report.fact('string', key('right'), String(last)));
}

/* Two clients raise one number by WATCH: a WatchError means again. */
async function watch() {
	let raised = 0;
	for (const name of ['one', 'two']) {
		const c = await client('watch');
		jobs.push(report.job('watch', async () => {
			for (;;) {
				await c.watch(key('watched'));
				const v = Number(await c.get(key('watched')));
				try {
					const got = await c.multi().set(key('watched'), String(v + 1))
						.rPush(key('who'), String(v)).exec();
					raised++;
					report.same('watch ' + name, got, ['OK', v + 1]);
					return;
				} catch (e) {
					if (!(e instanceof WatchError))
						throw e;
				}
			}
		}, 5));
	}
	ends.push(() => report.fact('string', key('watched'), String(raised)));
	ends.push(() => report.fact('list0', key('who'), raised));
}

/* Messages by name and by pattern, each once, in order. */
async function pubsub() {
	const sub = await client('pubsub');
	const pat = await client('pubsub');
	const pub = await client('pubsub');
	const names = report.order('message');
	const patterns = report.order('pmessage');
	let last = 0;
	await sub.subscribe(key('news'), (text) => names.take(text));
	await pat.pSubscribe(key('new?'), (text) => patterns.take(text));
	jobs.push(report.job('pubsub', async (n) => {
		report.same('pubsub', await pub.publish(key('news'), String(n)), 2);
		last = n;
	}, 2));
	ends.push(() => report.until('message', names, last));
	ends.push(() => report.until('pmessage', patterns, last));
}

/* Holders in turn add to a number that only the lock protects. */
async function lock() {
	const guard = new Guarded(report, 'lock');
	let added = 0;
	for (const name of ['one', 'two', 'three']) {
		const c = await client('lock');
		jobs.push(report.job('lock', async (n) => {
			const token = `${name}.${n}`;
			while (await c.set(key('lock'), token, { PX: 30000, NX: true }) !== 'OK')
				await sleep(2);
			await guard.section(async () => {
				const v = Number(await c.get(key('guarded')));
				await c.set(key('guarded'), String(v + 1));
				added++;
			});
			report.same('lock', await c.unlock([key('lock')], [token]), 1);
		}, 2));
	}
	ends.push(() => report.fact('string', key('guarded'), String(added)));
	ends.push(() => report.fact('absent', key('lock')));
}

/* A command of its own: EVALSHA, and EVAL where the server says NOSCRIPT. */
async function script() {
	const c = await client('script');
	let last = 0;
	jobs.push(report.job('script', async (n) => {
		report.same('script', await c.both([key('s:n'), key('s:list')], []), n);
		last = n;
	}));
	ends.push(() => report.fact('string', key('s:n'), String(last)));
	ends.push(() => report.fact('list', key('s:list'), last));
}

/* A queue: a blocked consumer gets each element once, in order. */
async function queue() {
	const put = await client('queue');
	const get = await client('queue');
	const order = report.order('blpop');
	let last = 0;
	jobs.push(report.job('queue', async (n) => {
		await put.rPush(key('queue'), String(n));
		last = n;
	}, 4));
	jobs.push((async () => {
		while (!report.over || order.last() < last) {
			const got = await get.blPop(key('queue'), 1).catch((e) => report.fail('blpop', e));
			if (got === undefined)
				return;
			if (got)
				order.take(got.element);
		}
	})());
	ends.push(() => report.until('blpop', order, last));
	ends.push(() => report.fact('absent', key('queue')));
}

/* [id, n] of each entry; RESP3's answer comes as the server said it. */
function entries(got) {
	if (got === null)
		return [];
	if (Array.isArray(got))
		return got.flatMap((s) => s.messages).map((m) => [m.id, m.message.n]);
	return Object.values(got).flat().map(([id, fields]) => [id, fields[1]]);
}

/* A stream and its group: each entry once, in order, and acknowledged. */
async function stream() {
	const put = await client('stream');
	const get = await client('stream');
	const order = report.order('xreadgroup');
	let last = 0;
	await put.xGroupCreate(key('stream'), 'g', '$', { MKSTREAM: true });
	jobs.push((async () => {
		while (!report.over || order.last() < last) {
			const got = await get.xReadGroup('g', 'c', { key: key('stream'), id: '>' },
				{ COUNT: 10, BLOCK: 500 }).catch((e) => report.fail('xreadgroup', e));
			if (got === undefined)
				return;
			for (const [id, n] of entries(got)) {
				order.take(n);
				report.same('xack', await get.xAck(key('stream'), 'g', id), 1);
			}
		}
	})());
	jobs.push(report.job('stream', async (n) => {
		last = n; // the reader waits for what is on its way
		await put.xAdd(key('stream'), '*', { n: String(n) });
	}, 4));
	ends.push(() => report.until('xreadgroup', order, last));
	ends.push(() => report.fact('length', key('stream'), last));
}

/* SCAN with the library's iterator: what is there all the time comes. */
async function scan() {
	const c = await client('scan');
	const all = [...Array(300).keys()].map((i) => key(`scan:${i}`));
	await c.mSet(all.map((k) => [k, 'x']));
	jobs.push(report.job('scan', async () => {
		const seen = new Set();
		for await (const keys of c.scanIterator({ MATCH: key('scan:*'), COUNT: 100 }))
			keys.forEach((k) => seen.add(k));
		report.same('scan', all.filter((k) => !seen.has(k)), []);
	}, 20));
	ends.push(() => report.fact('string', key('scan:7'), 'x'));
}

for (const start of [count, pipeline, pool, transaction, watch, pubsub, lock, script, queue, stream, scan])
	await start();
await report.run(jobs, async () => {
	for (const end of ends)
		await end();
	await Promise.all(made.map((c) => c.close()));
});

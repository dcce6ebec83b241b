// SPDX-License-Identifier: Apache-2.0
/*
 * ioredis through an interlay: node ioredis.mjs PORT PREFIX. Each job knows
 * what every answer has to be. See common.mjs for the report.
 */
import Redis from 'ioredis';
import { Report, Guarded, UNLOCK, BOTH, sleep } from './common.mjs';

const [port, prefix] = process.argv.slice(2);
const report = new Report();
const key = (name) => `${prefix}:${name}`;
const made = [];

/* A client with the library's defaults; a connection that ends is an error. */
function client(name) {
	const c = new Redis(Number(port), '127.0.0.1');
	c.on('error', (e) => report.fail(name, e));
	c.on('close', () => report.over || report.fail(name, 'the connection was closed'));
	c.defineCommand('unlock', { numberOfKeys: 1, lua: UNLOCK });
	c.defineCommand('both', { numberOfKeys: 2, lua: BOTH });
	made.push(c);
	return c;
}

const jobs = [];
const ends = [];

function count() {
	const c = client('count');
	let last = 0;
	jobs.push(report.job('count', async (n) => {
		report.same('count', await c.incr(key('count')), n);
		report.same('count', await c.get(key('count')), String(n));
		last = n;
	}));
	ends.push(() => report.fact('string', key('count'), String(last)));
}

function list() {
	const c = client('list');
	let last = 0;
	jobs.push(report.job('list', async (n) => {
		report.same('list', await c.rpush(key('list'), n), n);
		last = n;
	}));
	ends.push(() => report.fact('list', key('list'), last));
}

/* Forty requests in one pipeline: what is written is read behind it. */
function pipeline() {
	const c = client('pipeline');
	const hash = {};
	jobs.push(report.job('pipeline', async (n) => {
		const p = c.pipeline();
		const want = [];
		for (let i = 0; i < 20; i++) {
			const f = `f${(n * 7 + i) % 50}`;
			want.push([null, f in hash ? 0 : 1], [null, `${n}.${i}`]);
			hash[f] = `${n}.${i}`;
			p.hset(key('hash'), f, hash[f]).hget(key('hash'), f);
		}
		report.same('pipeline', await p.exec(), want);
	}, 3));
	ends.push(() => report.fact('hash', key('hash'), hash));
}

/* Automatic pipelines: many calls at once on one connection, two databases. */
function parallel() {
	const c = new Redis({ port: Number(port), db: 3, enableAutoPipelining: true });
	c.on('error', (e) => report.fail('parallel', e));
	made.push(c);
	let last = 0;
	jobs.push(report.job('parallel', async (n) => {
		const got = await Promise.all(
			[...Array(10).keys()].map((i) => c.incr(key(`parallel:${i}`))));
		report.same('parallel', got, Array(10).fill(n));
		last = n;
	}, 3));
	ends.push(() => report.fact('string@3', key('parallel:4'), String(last)));
}

function transaction() {
	const c = client('transaction');
	let last = 0;
	jobs.push(report.job('transaction', async (n) => {
		const got = await c.multi().incr(key('left')).incr(key('right')).get(key('left')).exec();
		report.same('transaction', got, [[null, n], [null, n], [null, String(n)]]);
		last = n;
	}));
	ends.push(() => report.fact('string', key('left'), String(last)));
	ends.push(() => report.fact('string', key('right'), String(last)));
}

/* Two clients raise one number by WATCH: nil means again. */
function watch() {
	let raised = 0;
	for (const name of ['one', 'two']) {
		const c = client('watch');
		jobs.push(report.job('watch', async () => {
			for (;;) {
				await c.watch(key('watched'));
				const v = Number(await c.get(key('watched')));
				const got = await c.multi().set(key('watched'), v + 1).rpush(key('who'), v).exec();
				if (got === null)
					continue;
				raised++;
				report.same('watch ' + name, got, [[null, 'OK'], [null, v + 1]]);
				return;
			}
		}, 5));
	}
	ends.push(() => report.fact('string', key('watched'), String(raised)));
	ends.push(() => report.fact('list0', key('who'), raised));
}

/* Messages by name and by pattern, each once, in order. */
function pubsub() {
	const sub = client('pubsub');
	const pat = client('pubsub');
	const pub = client('pubsub');
	const names = report.order('message');
	const patterns = report.order('pmessage');
	let last = 0;
	sub.on('message', (channel, text) => names.take(text));
	pat.on('pmessage', (pattern, channel, text) => patterns.take(text));
	jobs.push((async () => {
		await sub.subscribe(key('news'));
		await pat.psubscribe(key('new?'));
		await report.job('pubsub', async (n) => {
			report.same('pubsub', await pub.publish(key('news'), n), 2);
			last = n;
		}, 2);
	})());
	ends.push(() => report.until('message', names, last));
	ends.push(() => report.until('pmessage', patterns, last));
}

/* Two holders in turn add to a number that only the lock protects. */
function lock() {
	const guard = new Guarded(report, 'lock');
	let added = 0;
	for (const name of ['one', 'two', 'three']) {
		const c = client('lock');
		jobs.push(report.job('lock', async (n) => {
			const token = `${name}.${n}`;
			while (await c.set(key('lock'), token, 'PX', 30000, 'NX') !== 'OK')
				await sleep(2);
			await guard.section(async () => {
				const v = Number(await c.get(key('guarded')));
				await c.set(key('guarded'), v + 1);
				added++;
			});
			report.same('lock', await c.unlock(key('lock'), token), 1);
		}, 2));
	}
	ends.push(() => report.fact('string', key('guarded'), String(added)));
	ends.push(() => report.fact('absent', key('lock')));
}

/* A command of its own: EVALSHA, and EVAL where the server says NOSCRIPT. */
function script() {
	const c = client('script');
	let last = 0;
	jobs.push(report.job('script', async (n) => {
		report.same('script', await c.both(key('s:n'), key('s:list')), n);
		last = n;
	}));
	ends.push(() => report.fact('string', key('s:n'), String(last)));
	ends.push(() => report.fact('list', key('s:list'), last));
}

/* A queue: a blocked consumer gets each element once, in order. */
function queue() {
	const put = client('queue');
	const get = client('queue');
	const order = report.order('blpop');
	let last = 0;
	jobs.push(report.job('queue', async (n) => {
		await put.rpush(key('queue'), n);
		last = n;
	}, 4));
	jobs.push((async () => {
		while (!report.over || order.last() < last) {
			const got = await get.blpop(key('queue'), 1).catch((e) => report.fail('blpop', e));
			if (got === undefined)
				return;
			if (got)
				order.take(got[1]);
		}
	})());
	ends.push(() => report.until('blpop', order, last));
	ends.push(() => report.fact('absent', key('queue')));
}

/* A stream and its group: each entry once, in order, and acknowledged. */
function stream() {
	const put = client('stream');
	const get = client('stream');
	const order = report.order('xreadgroup');
	let last = 0;
	jobs.push((async () => {
		await put.xgroup('CREATE', key('stream'), 'g', '$', 'MKSTREAM');
		const reader = (async () => {
			while (!report.over || order.last() < last) {
				const got = await get.xreadgroup('GROUP', 'g', 'c', 'COUNT', 10, 'BLOCK', 500,
					'STREAMS', key('stream'), '>').catch((e) => report.fail('xreadgroup', e));
				if (got === undefined)
					return;
				for (const [id, fields] of got ? got[0][1] : []) {
					order.take(fields[1]);
					report.same('xack', await get.xack(key('stream'), 'g', id), 1);
				}
			}
		})();
		await report.job('stream', async (n) => {
			last = n; // the reader waits for what is on its way
			await put.xadd(key('stream'), '*', 'n', n);
		}, 4);
		await reader;
	})());
	ends.push(() => report.until('xreadgroup', order, last));
	ends.push(() => report.fact('length', key('stream'), last));
}

/* SCAN with the library's stream: what is there all the time comes. */
function scan() {
	const c = client('scan');
	jobs.push((async () => {
		const all = [...Array(300).keys()].map((i) => key(`scan:${i}`));
		await c.mset(...all.flatMap((k) => [k, 'x']));
		await report.job('scan', async () => {
			const seen = new Set();
			for await (const keys of c.scanStream({ match: key('scan:*'), count: 100 }))
				keys.forEach((k) => seen.add(k));
			report.same('scan', all.filter((k) => !seen.has(k)), []);
		}, 20);
	})());
	ends.push(() => report.fact('string', key('scan:7'), 'x'));
}

for (const start of [count, list, pipeline, parallel, transaction, watch, pubsub, lock, script, queue, stream, scan])
	start();
await report.run(jobs, async () => {
	for (const end of ends)
		await end();
	await Promise.all(made.map((c) => c.quit()));
});

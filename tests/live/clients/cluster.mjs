// SPDX-License-Identifier: Apache-2.0
/*
 * The jobs of cluster clients, for any library: client(name) gives an object with
 * incr, get, set, pair (two INCR as a transaction), script, push, pop, publish,
 * subscribe, nodes and end; and spublish and ssubscribe, where it has them.
 */
import { BOTH } from './common.mjs';

const KEYS = 40;
const NODES = 3; // that the interlay announces

export async function run(report, prefix, client) {
	const key = (name) => `${prefix}:${name}`;
	const jobs = [];
	const ends = [];
	const made = [];
	const open = async (name) => {
		const c = await client(name);
		made.push(c);
		return c;
	};

	/* Keys of all nodes, all at once. */
	const counter = await open('count');
	report.same('nodes', counter.nodes(), NODES);
	let counted = 0;
	jobs.push(report.job('count', async (n) => {
		const all = [...Array(KEYS).keys()].map((i) => counter.incr(key(`c${i}`)));
		report.same('count', await Promise.all(all), Array(KEYS).fill(n));
		report.same('count', await counter.get(key(`c${n % KEYS}`)), String(n));
		counted = n;
	}, 3));
	ends.push(() => [...Array(KEYS).keys()].forEach((i) => report.fact('string', key(`c${i}`), String(counted))));

	/* One after the other, each of another slot. */
	const setter = await open('set');
	let set = 0;
	jobs.push(report.job('set', async (n) => {
		await setter.set(key(`s${n % KEYS}`), String(n));
		report.same('set', await setter.get(key(`s${n % KEYS}`)), String(n));
		set = n;
	}));
	ends.push(() => report.fact('string', key(`s${set % KEYS}`), String(set)));

	const tx = await open('transaction');
	let pairs = 0;
	jobs.push(report.job('transaction', async (n) => {
		report.same('transaction', await tx.pair(key('{t}a'), key('{t}b')), [n, n]);
		pairs = n;
	}));
	ends.push(() => report.fact('string', key('{t}a'), String(pairs)));
	ends.push(() => report.fact('string', key('{t}b'), String(pairs)));

	const scripts = await open('script');
	let ran = 0;
	jobs.push(report.job('script', async (n) => {
		report.same('script', await scripts.script(BOTH, [key('{s}n'), key('{s}list')]), n);
		ran = n;
	}));
	ends.push(() => report.fact('list', key('{s}list'), ran));

	/* A blocked consumer gets each element once, in order. */
	const put = await open('queue');
	const get = await open('queue');
	const order = report.order('queue');
	let pushed = 0;
	jobs.push(report.job('queue', async (n) => {
		await put.push(key('queue'), n);
		pushed = n;
	}, 4));
	jobs.push((async () => {
		while (!report.over || order.last() < pushed) {
			const got = await get.pop(key('queue')).catch((e) => report.fail('queue', e) ?? NaN);
			if (Number.isNaN(got))
				return;
			if (got !== undefined)
				order.take(got);
		}
	})());
	ends.push(() => report.until('queue', order, pushed));
	ends.push(() => report.fact('absent', key('queue'), 0));

	const pub = await open('pubsub');
	const sub = await open('pubsub');
	const heard = report.order('pubsub');
	let said = 0;
	await sub.subscribe(key('news'), (text) => heard.take(text));
	jobs.push(report.job('pubsub', async (n) => {
		/* two while Godwit exchanges the subscriber's connection */
		report.same('pubsub', [1, 2].includes(await pub.publish(key('news'), n)), true);
		said = n;
	}, 2));
	ends.push(() => report.until('pubsub', heard, said));

	/* Shard channels, of several slots. */
	for (const name of counter.ssubscribe ? ['one', 'two', 'three'] : []) {
		const pub = await open('shard');
		const sub = await open('shard');
		const heard = report.order(`shard ${name}`);
		let said = 0;
		await sub.ssubscribe(key(name), (text) => heard.take(text));
		jobs.push(report.job(`shard ${name}`, async (n) => {
			report.same('shard', [1, 2].includes(await pub.spublish(key(name), n)), true);
			said = n;
		}, 3));
		ends.push(() => report.until(`shard ${name}`, heard, said));
	}

	await report.run(jobs, async () => {
		for (const end of ends)
			await end();
		await Promise.all(made.map((c) => c.end()));
	});
}
